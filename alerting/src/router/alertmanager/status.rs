//! `GET /api/v2/status` and `/api/v2/receivers`.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use model::access::{Permission, Principal};
use serde_json::{Value, json};

use super::{Name, Problem, config, moment};
use crate::router::Api;

/// The version of Alertmanager whose API this is: amtool compares it with its own.
const SPOKEN: &str = "0.25.0";

pub(super) async fn status(State(api): State<Arc<Api>>, Extension(principal): Extension<Principal>) -> Result<Json<Value>, Problem> {
    principal.require(Permission::Read)?;
    let original = config::original(&api.shared.routing());
    Ok(Json(json!({
        "cluster": {"peers": [], "status": "disabled"},
        "config": {"original": original},
        "uptime": moment(api.shared.started_at),
        "versionInfo": {
            "branch": "watchfire",
            "buildDate": "",
            "buildUser": "",
            "goVersion": "",
            "revision": env!("CARGO_PKG_VERSION"),
            "version": SPOKEN,
        },
    })))
}

pub(super) async fn receivers(State(api): State<Arc<Api>>, Extension(principal): Extension<Principal>) -> Result<Json<Vec<Name>>, Problem> {
    principal.require(Permission::Read)?;
    let names = config::receivers(&api.shared.routing());
    Ok(Json(names.into_iter().map(|name| Name { name }).collect()))
}
