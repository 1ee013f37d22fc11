//! The HTTP API of alerting: Prometheus's `/api/v1/rules` and `/api/v1/alerts`, and our own alerts, silences and ladders. In: requests
//! with a `Principal` in their extensions. Out: JSON; errors are one sentence in JSON.

mod alertmanager;
mod error;
mod on_call;
mod own;
mod pagerduty;
mod prometheus;
mod values;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};
use tokio::sync::Semaphore;

use crate::evaluate::Evaluator;
use crate::shared::Shared;

pub use error::ApiError;
pub use pagerduty::KeyLookup;

/// What the handlers need.
pub(crate) struct Api {
    pub shared: Arc<Shared>,
    pub evaluator: Arc<Evaluator>,
    /// Who may ask for the values of a rule at present.
    pub values: Semaphore,
}

impl Api {
    pub(crate) fn new(shared: Arc<Shared>, evaluator: Arc<Evaluator>) -> Self {
        Api { shared, evaluator, values: Semaphore::new(1) }
    }
}

/// The routes.
pub(crate) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/api/v1/rules", get(prometheus::rules))
        .route("/api/v1/alerts", get(prometheus::alerts))
        .route("/api/watchfire/v1/alerts", get(own::alerts))
        .route("/api/watchfire/v1/alerts/{id}", get(own::alert))
        .route("/api/watchfire/v1/alerts/{id}/acknowledge", post(own::acknowledge))
        .route("/api/watchfire/v1/alerts/{id}/unacknowledge", post(own::unacknowledge))
        .route("/api/watchfire/v1/alerts/{id}/snooze", post(own::snooze))
        .route("/api/watchfire/v1/silences", get(own::silences).post(own::create_silence))
        .route("/api/watchfire/v1/silences/{id}", delete(own::end_silence))
        .route("/api/watchfire/v1/maintenance", get(own::maintenance).post(own::create_maintenance))
        .route("/api/watchfire/v1/maintenance/{id}", delete(own::end_silence))
        .route("/api/watchfire/v1/rules/values", get(values::values))
        .route("/api/watchfire/v1/ladders", get(own::ladders))
        .route("/api/watchfire/v1/on-call", get(on_call::show))
        .route("/api/watchfire/v1/on-call/overrides", post(on_call::create))
        .route("/api/watchfire/v1/on-call/overrides/{id}", delete(on_call::end))
        .route("/v2/enqueue", post(pagerduty::enqueue))
        .merge(alertmanager::router())
        .with_state(api)
}

#[cfg(test)]
mod tests;
