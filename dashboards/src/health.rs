//! `/-/healthy`, `/-/ready` and `/api/watchfire/v1/status`. Liveness is the age of data, not of a process: a part is well when
//! its probe says so, and the newest row of each signal is shown with its age.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use model::access::{Permission, Principal};
use model::alert::Alert;
use model::incident::Incident;
use model::state::{Entity, RecordQuery};
use serde::Serialize;
use serde_json::json;

use crate::Sources;
use crate::answer::ApiError;

/// How a part is.
#[derive(Clone, Debug, Serialize)]
pub struct PartHealth {
    /// engine, wal, state, alerting, ...
    pub part: String,
    /// Whether it is well.
    pub healthy: bool,
    /// One line.
    pub detail: String,
}

/// A part that can be asked how it is.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Must answer within a second.
    async fn health(&self) -> PartHealth;
}

/// The routes.
pub fn router(sources: Arc<Sources>) -> Router {
    Router::new()
        .route("/-/healthy", get(|| async { "Watchfire is healthy.\n" }))
        .route("/-/ready", get(ready))
        .route("/api/watchfire/v1/status", get(status))
        .with_state(sources)
}

async fn parts(sources: &Sources) -> Vec<PartHealth> {
    let mut parts = Vec::with_capacity(sources.probes.len());
    for probe in &sources.probes {
        parts.push(probe.health().await);
    }
    parts
}

/// 200 when every part is well, else 503 with a line for each.
async fn ready(State(sources): State<Arc<Sources>>) -> Response {
    let parts = parts(&sources).await;
    let well = parts.iter().all(|part| part.healthy);
    let mut text = String::from(if well { "Watchfire is ready.\n" } else { "Watchfire is not ready.\n" });
    for part in &parts {
        text.push_str(&format!("{} {}: {}\n", if part.healthy { "ok " } else { "BAD" }, part.part, part.detail));
    }
    (if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text).into_response()
}

async fn status(State(sources): State<Arc<Sources>>, Extension(principal): Extension<Principal>) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let now = sources.clock.now();
    let parts = parts(&sources).await;
    let failed = |error: model::state::StateError| ApiError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind: "unavailable",
        message: error.to_string(),
    };
    let count = async |kind, statuses: &[&str]| {
        let statuses = statuses.iter().map(|status| (*status).to_owned()).collect();
        sources.state.count(&RecordQuery { tenant: Some(principal.tenant.clone()), kind, statuses, ..RecordQuery::default() }).await
    };
    let incidents = count(Incident::KIND, &["open", "acknowledged"]).await.map_err(failed)?;
    let firing = count(Alert::KIND, &["firing"]).await.map_err(failed)?;
    let backlog = sources.state.backlog(now).await.map_err(failed)?;
    let newest = sources.freshness.newest().await?;
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": now,
        "ready": parts.iter().all(|part| part.healthy),
        "parts": parts,
        "open_incidents": incidents,
        "firing_alerts": firing,
        "queues": backlog.iter().map(|one| json!({
            "queue": one.queue, "pending": one.pending, "dead": one.dead, "overdue_seconds": one.overdue.as_secs_f64(),
        })).collect::<Vec<_>>(),
        "newest_rows": newest.iter().map(|(signal, at)| json!({
            "signal": signal, "received": at, "age_seconds": at.map(|at| now.since(at).as_secs_f64()),
        })).collect::<Vec<_>>(),
    }))
    .into_response())
}
