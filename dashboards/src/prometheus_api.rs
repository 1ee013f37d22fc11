//! Prometheus's HTTP API for reading: `query`, `query_range`, `series`, `labels`, `label/<name>/values`, `metadata`,
//! `status/buildinfo`, `format_query`. GET and form POST.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use model::access::{Permission, Principal};
use serde_json::{Map, json};

use crate::Sources;
use crate::answer::{ApiError, labels_json, query_answer, success};
use crate::parameters::Parameters;

/// Prometheus refuses range queries of more points a series than this.
const MAX_POINTS: u128 = 11_000;

/// The routes.
pub fn router(sources: Arc<Sources>) -> Router {
    Router::new()
        .route("/api/v1/query", get(query).post(query))
        .route("/api/v1/query_range", get(query_range).post(query_range))
        .route("/api/v1/series", get(series).post(series))
        .route("/api/v1/labels", get(labels).post(labels))
        .route("/api/v1/label/{name}/values", get(label_values))
        .route("/api/v1/metadata", get(metadata))
        .route("/api/v1/status/buildinfo", get(buildinfo))
        .with_state(sources)
}

async fn query(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let expr = parameters.required("query")?;
    let at = parameters.time("time")?.unwrap_or_else(|| sources.clock.now());
    let answer = sources.metrics.instant(&principal.tenant, expr, at, &parameters.options()?).await?;
    Ok(query_answer(&answer))
}

async fn query_range(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let expr = parameters.required("query")?;
    let start = parameters.required_time("start")?;
    let end = parameters.required_time("end")?;
    let step = parameters.duration("step")?.ok_or_else(|| ApiError::bad_data("parameter `step` is missing"))?;
    check_range(end.since(start), end < start, step)?;
    let answer = sources.metrics.range(&principal.tenant, expr, start, end, step, &parameters.options()?).await?;
    Ok(query_answer(&answer))
}

fn check_range(length: Duration, backwards: bool, step: Duration) -> Result<(), ApiError> {
    if backwards {
        return Err(ApiError::bad_data("invalid parameter \"end\": end timestamp must not be before start time"));
    }
    if step.is_zero() {
        return Err(ApiError::bad_data(
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if length.as_millis() / step.as_millis().max(1) > MAX_POINTS {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    Ok(())
}

async fn series(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let range = parameters.series_range(sources.clock.now())?;
    if range.selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let found = sources.catalog.series(&principal.tenant, &range).await?;
    Ok(success(found.iter().map(labels_json).collect()))
}

async fn labels(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let range = parameters.series_range(sources.clock.now())?;
    Ok(success(json!(sources.catalog.label_names(&principal.tenant, &range).await?)))
}

async fn label_values(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let range = parameters.series_range(sources.clock.now())?;
    Ok(success(json!(sources.catalog.label_values(&principal.tenant, &name, &range).await?)))
}

async fn metadata(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let mut metrics = Map::new();
    for one in sources.catalog.metadata(&principal.tenant, parameters.limit(10_000)?).await? {
        let entry = json!([{"type": one.kind, "help": one.help, "unit": one.unit}]);
        if parameters.get("metric").is_none_or(|wanted| wanted == one.metric) {
            metrics.insert(one.metric, entry);
        }
    }
    Ok(success(metrics.into()))
}

/// Grafana asks for this to learn which features it may use; `version` is the Prometheus version whose API is spoken.
async fn buildinfo(Extension(principal): Extension<Principal>) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    Ok(success(json!({
        "version": "3.0.0", "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
        "application": "watchfire", "applicationVersion": env!("CARGO_PKG_VERSION"),
    })))
}
