//! Everything that people and tools read: the Prometheus-compatible HTTP API, SQL, `/metrics`, health and status. Reads only;
//! every route goes through `model::access::Principal`.

pub mod answer;
pub mod boards;
mod browser;
pub mod console;
pub mod events;
pub mod health;
pub mod metrics;
pub mod openapi;
pub mod parameters;
pub mod prometheus_api;
pub mod rejections;
pub mod sql_api;

use std::sync::Arc;

use model::query::{Freshness, MetricCatalog, MetricQuery, SqlQuery};
use model::state::StateStore;
use model::time::Clock;

pub use browser::serve_prometheus;

/// What the routes read from.
#[derive(Clone)]
pub struct Sources {
    /// PromQL.
    pub metrics: Arc<dyn MetricQuery>,
    /// Series, labels, metadata.
    pub catalog: Arc<dyn MetricCatalog>,
    /// Read-only SQL.
    pub sql: Arc<dyn SqlQuery>,
    /// Age of the newest rows.
    pub freshness: Arc<dyn Freshness>,
    /// Alerts, work rows.
    pub state: Arc<dyn StateStore>,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// Watchfire's own metrics.
    pub registry: prometheus::Registry,
    /// What is configured, in the words of a `prometheus.yml`, without secrets.
    pub configuration: Arc<dyn Fn() -> String + Send + Sync>,
    /// Parts that must be well for `/-/ready`.
    pub probes: Vec<Arc<dyn health::Probe>>,
}

/// All routes of this package. `/-/healthy`, `/-/ready` and `/metrics` answer anyone who may connect; the rest asks for a
/// [`model::access::Permission::Read`].
pub fn router(sources: Sources) -> axum::Router {
    let sources = Arc::new(sources);
    prometheus_api::router(sources.clone())
        .merge(sql_api::router(sources.clone()))
        .merge(health::router(sources.clone()))
        .merge(metrics::router(sources))
        .merge(openapi::router())
}
