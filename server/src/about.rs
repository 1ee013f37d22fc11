//! What the console's page about Watchfire itself shows beyond metrics: how long telemetry is kept, where it is kept, how the log and the engine are,
//! and which API keys exist. Reads only. No secret and no place on the disk is told: of a key its name, permissions and times.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Json, Router};
use dashboards::answer::ApiError;
use model::access::{Permission, Principal};
use model::state::{Fence, StateStore};
use serde_json::{Value, json};
use store::engine::supervisor::Supervisor;
use store::wal::Wal;
use tokio::sync::watch;

use crate::access::keys;
use crate::config::Config;

/// What the routes read.
pub struct About {
    /// The settings that run.
    pub running: Arc<Mutex<Config>>,
    /// Keys.
    pub state: Arc<dyn StateStore>,
    /// The log.
    pub wal: Wal,
    /// The embedded engine, if it is that.
    pub engine: Option<Arc<Supervisor>>,
    /// The leader's fence while this node leads.
    pub fence: watch::Receiver<Option<Fence>>,
}

/// The routes.
pub fn router(about: Arc<About>) -> Router {
    Router::new().route("/api/watchfire/v1/system", get(system)).route("/api/watchfire/v1/keys", get(list)).with_state(about)
}

async fn system(State(about): State<Arc<About>>, Extension(principal): Extension<Principal>) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let config = about.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let log = about.wal.health();
    let engine = about.engine.as_ref().map(|engine| {
        let status = engine.status();
        json!({
            "up": status.up, "restarts": status.restarts, "since": status.since, "resident_bytes": status.resident_bytes,
            "memory_bytes": config.storage.clickhouse.engine_memory.0, "trouble": status.trouble, "serves_sql": status.tcp.is_some(),
        })
    });
    Ok(Json(json!({
        "retention_days": config.collector.retention_days,
        "finished_work_seconds": config.storage.finished_work.0.as_secs(),
        "state": if config.storage.postgres_url.is_some() { "postgresql" } else { "sqlite" },
        "leads": about.fence.borrow().is_some(),
        "telemetry": if config.storage.clickhouse.url.is_some() { "server" } else { "embedded" },
        "log": {
            "lag_seconds": log.lag.map(|lag| lag.as_secs_f64()), "bytes": log.bytes, "max_bytes": log.max_bytes,
            "quarantined": log.quarantined, "damaged": log.damaged, "disk_error": log.disk_error, "insert_errors": log.insert_errors,
        },
        "engine": engine,
        "sampling": {"tail": config.pipeline.tail_sampling.enabled, "redaction": config.pipeline.redaction.enabled},
    })))
}

async fn list(State(about): State<Arc<About>>, Extension(principal): Extension<Principal>) -> Result<Json<Value>, ApiError> {
    // Without any key there is nothing to tell, and who sits at this machine may know that.
    if !principal.keyless {
        principal.require(Permission::Admin)?;
    }
    let found = keys::list(&*about.state).await.map_err(|error| ApiError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind: "unavailable",
        message: error.to_string(),
    })?;
    let view = |key: &keys::ApiKey| json!({"id": key.id, "name": key.name, "permissions": key.permissions, "user": key.user, "created_at": key.created_at, "revoked_at": key.revoked_at});
    let keys: Vec<Value> = found.iter().filter(|key| key.tenant == principal.tenant).map(view).collect();
    Ok(Json(json!({"keys": keys, "keyless": principal.keyless})))
}
