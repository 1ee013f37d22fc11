//! Prometheus's HTTP API for reading. GET and form POST where Prometheus takes both; gzip and CORS everywhere. `targets`, `rules` and
//! `alerts` live in the packages that know them.

mod catalog;
pub(crate) mod federate;
mod query;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use crate::Sources;
use crate::browser;

/// The routes.
pub fn router(sources: Arc<Sources>) -> Router {
    let started = sources.clock.now();
    Router::new()
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/query_exemplars", get(query::exemplars).post(query::exemplars))
        .route("/api/v1/format_query", get(query::format).post(query::format))
        .route("/api/v1/parse_query", get(query::parse).post(query::parse))
        .route("/api/v1/series", get(catalog::series).post(catalog::series))
        .route("/api/v1/labels", get(catalog::labels).post(catalog::labels))
        .route("/api/v1/label/{name}/values", get(catalog::label_values))
        .route("/api/v1/metadata", get(catalog::metadata))
        .route("/api/v1/status/buildinfo", get(status::buildinfo))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/runtimeinfo", get(move |state, principal| status::runtimeinfo(started, state, principal)))
        .route("/api/v1/status/tsdb", get(status::tsdb))
        .route("/federate", get(federate::federate))
        .layer(axum::middleware::from_fn(browser::serve))
        .with_state(sources)
}

#[cfg(test)]
mod tests;
