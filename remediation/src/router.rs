//! The HTTP API of remediation runs under `/api/watchfire/v1/remediations`. In: requests with a `Principal` in their extensions. Out:
//! JSON without any body, header or environment of an action; errors are one sentence.

mod asking;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use model::access::{Forbidden, Permission, Principal};
use model::ids::{AlertId, IncidentId, RemediationId};
use model::state::{Commit, Entity, Expect, RecordQuery, StateError, StateStore, TRIES, Versioned, decode, load};
use model::tenant::TenantId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::Live;
use crate::machine::{Input, decide};
use crate::perform::{describe, one_line};
use crate::run::{LIVE, RepairRun};
use crate::writer::Writer;

/// How many runs are read at a time, and looked at for one answer.
const PAGE: usize = 200;
const LOOKED_AT: usize = 10_000;
/// The longest reason, in bytes.
const LONGEST_BODY: usize = 4 * 1024;

/// What the handlers need.
pub struct Desk {
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) writer: Writer,
    pub(crate) config: Live,
}

/// The routes.
pub fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/api/watchfire/v1/remediations", get(list).post(asking::start))
        .route("/api/watchfire/v1/remediations/plans", get(asking::plans))
        .route("/api/watchfire/v1/remediations/{run}", get(show))
        .route("/api/watchfire/v1/remediations/{run}/approve", post(asking::approve))
        .route("/api/watchfire/v1/remediations/{run}/stop", post(stop))
        .with_state(desk)
}

/// An error answer.
#[derive(Debug)]
pub struct ApiError(StatusCode, &'static str, String);

impl ApiError {
    fn bad_request(message: String) -> Self {
        ApiError(StatusCode::BAD_REQUEST, "bad_data", message)
    }
    fn not_found(message: String) -> Self {
        ApiError(StatusCode::NOT_FOUND, "not_found", message)
    }
    fn conflict(message: String) -> Self {
        ApiError(StatusCode::CONFLICT, "conflict", message)
    }
}

impl From<Forbidden> for ApiError {
    fn from(error: Forbidden) -> Self {
        ApiError(StatusCode::FORBIDDEN, "forbidden", error.to_string())
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> Self {
        if error.is_conflict() {
            return ApiError::conflict("the run moved at this moment; try again".to_owned());
        }
        tracing::error!(error = &error as &dyn std::error::Error, "the state store failed under an API request");
        ApiError(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the state store does not answer at present; try again".to_owned())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let ApiError(status, kind, message) = self;
        (status, Json(json!({"status": "error", "errorType": kind, "error": message}))).into_response()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    status: Option<String>,
    alert: Option<AlertId>,
    incident: Option<IncidentId>,
    limit: Option<usize>,
    before: Option<String>,
}

async fn list(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let statuses = match wanted.status.as_deref() {
        None | Some("all") => Vec::new(),
        Some("live") => LIVE.iter().map(|word| (*word).to_owned()).collect(),
        Some(word @ ("awaiting_approval" | "verified" | "handed_over" | "refused" | "dry_run" | "not_needed")) => vec![word.to_owned()],
        Some(other) => {
            let known = "live, awaiting_approval, verified, handed_over, refused, dry_run, not_needed or all";
            return Err(ApiError::bad_request(format!("status `{other}` is unknown: use {known}")));
        }
    };
    let limit = wanted.limit.unwrap_or(100).clamp(1, 1_000);
    let fits = |run: &RepairRun| {
        (wanted.alert.is_none() || wanted.alert == Some(run.alert)) && (wanted.incident.is_none() || wanted.incident == run.incident)
    };
    let mut query = RecordQuery {
        tenant: Some(principal.tenant),
        kind: RepairRun::KIND,
        statuses,
        before: wanted.before,
        limit: PAGE,
        ..RecordQuery::default()
    };
    let mut runs: Vec<Value> = Vec::new();
    for _ in 0..LOOKED_AT / PAGE {
        let found: Vec<Versioned<RepairRun>> = desk.state.find(&query).await?.into_iter().map(decode).collect::<Result<_, _>>()?;
        runs.extend(found.iter().filter(|one| fits(&one.entity)).take(limit - runs.len()).map(|one| view(&one.entity)));
        match found.last().filter(|_| found.len() == PAGE && runs.len() < limit) {
            Some(last) => query.before = Some(last.entity.id.to_string()),
            None => break,
        }
    }
    Ok(Json(json!({"runs": runs})).into_response())
}

/// What people may see of a run.
fn view(run: &RepairRun) -> Value {
    let shown = |action| describe(action, &run.facts).unwrap_or_else(|error| error.to_string());
    let rungs: Vec<Value> = run
        .plan
        .rungs
        .iter()
        .map(|rung| json!({"name": rung.name, "action": shown(&rung.action), "undo": rung.undo.as_ref().map(shown)}))
        .collect();
    json!({
        "id": run.id,
        "remediation": run.plan.name,
        "status": run.status(),
        "state": run.state,
        "alert": run.alert,
        "incident": run.incident,
        "target": run.target,
        "dry_run": run.plan.dry_run,
        "approval": run.plan.approval,
        "approved_by": run.approved.as_ref().map(|approved| &approved.by),
        "stop": run.stop,
        "created_at": run.created_at,
        "rungs": rungs,
        "history": run.history,
    })
}

async fn find(desk: &Desk, tenant: &TenantId, id: &str) -> Result<Versioned<RepairRun>, ApiError> {
    let id: RemediationId = id.parse().map_err(|error| ApiError::bad_request(format!("{error}")))?;
    let found = load(&*desk.state, tenant, &id.to_string()).await?;
    found.ok_or_else(|| ApiError::not_found(format!("there is no remediation run {id}")))
}

async fn show(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let found = find(&desk, &principal.tenant, &id).await?;
    Ok(Json(json!({"run": view(&found.entity)})).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    reason: Option<String>,
}

async fn stop(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    principal.require(Permission::Respond)?;
    let blank = body.iter().all(u8::is_ascii_whitespace);
    if body.len() > LONGEST_BODY {
        return Err(ApiError::bad_request(format!("the body is longer than {LONGEST_BODY} bytes: shorten the reason")));
    }
    let said: Said = if blank { Ok(Said::default()) } else { serde_json::from_slice(&body) }
        .map_err(|error| ApiError::bad_request(format!("the body is not JSON such as {{\"reason\": \"...\"}}: {error}")))?;
    let why = said.reason.map(|reason| format!(": {}", one_line(&reason, 500))).unwrap_or_default();
    let reason = format!("{} stopped it{why}", principal.actor);
    for attempt in 1.. {
        let found = find(&desk, &principal.tenant, &id).await?;
        let now = desk.state.now().await?;
        let decision = decide(&found.entity, &Input::Stop { reason: reason.clone() }, now)
            .map_err(|_| ApiError::conflict(format!("the run is over already: {}", found.entity.status())))?;
        let mut commit = Commit::at(now);
        let run = desk.writer.write(&mut commit, decision, Expect::Version(found.version), now)?;
        match desk.state.commit(commit).await {
            Ok(_) => {
                let message = if run.is_over() { "the run is stopped" } else { "the run stops after the act that is at work" };
                return Ok(Json(json!({"run": view(&run), "message": message})).into_response());
            }
            Err(error) if error.is_conflict() && attempt < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::conflict("the run moved at this moment; try again".to_owned()))
}
