//! `/api/watchfire/v1/deliveries`: what was sent to whom, dead letters, replay.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use model::access::{Permission, Principal};
use model::ids::WorkId;
use model::state::{Commit, StateError, StateStore};
use model::work::{Queue, Work, WorkChange, WorkQuery, WorkState};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Filter {
    state: Option<String>,
    limit: Option<usize>,
}

/// The routes.
pub fn router(state: Arc<dyn StateStore>) -> Router {
    Router::new()
        .route("/api/watchfire/v1/deliveries", get(list))
        .route("/api/watchfire/v1/deliveries/{id}/replay", post(replay))
        .with_state(state)
}

fn refuse(status: StatusCode, kind: &str, message: impl Into<String>) -> Response {
    (status, Json(json!({"status": "error", "errorType": kind, "error": message.into()}))).into_response()
}

fn failed(error: &StateError) -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string())
}

/// A delivery as readers see it: never its headers or keys, which are not in the row.
fn shown(work: &Work) -> Value {
    json!({
        "id": work.id, "receiver": work.body.get("receiver"), "notification": work.body.get("id"), "state": work.state,
        "attempts": work.attempts, "due_at": work.due_at, "created_at": work.created_at, "error": work.error,
        "type": work.body.pointer("/message/type"), "action": work.body.pointer("/message/action"), "subject": work.subject,
    })
}

async fn list(
    State(state): State<Arc<dyn StateStore>>,
    Extension(principal): Extension<Principal>,
    Query(filter): Query<Filter>,
) -> Response {
    if let Err(error) = principal.require(Permission::Read) {
        return refuse(StatusCode::FORBIDDEN, "forbidden", error.to_string());
    }
    let wanted = match filter.state.as_deref().map(|word| (word, WorkState::parse(word))) {
        None => None,
        Some((_, Some(state))) => Some(state),
        Some((word, None)) => {
            return refuse(StatusCode::BAD_REQUEST, "bad_data", format!("`{word}` is no state: use pending, done, dead or cancelled"));
        }
    };
    let query = WorkQuery {
        tenant: Some(principal.tenant),
        queue: Some(Queue::Delivery),
        state: wanted,
        limit: filter.limit.unwrap_or(100).min(1_000),
    };
    match state.list(&query).await {
        Ok(rows) => Json(json!({"deliveries": rows.iter().map(shown).collect::<Vec<_>>()})).into_response(),
        Err(error) => failed(&error),
    }
}

async fn replay(State(state): State<Arc<dyn StateStore>>, Extension(principal): Extension<Principal>, Path(id): Path<String>) -> Response {
    if let Err(error) = principal.require(Permission::Respond) {
        return refuse(StatusCode::FORBIDDEN, "forbidden", error.to_string());
    }
    let Ok(id) = id.parse::<WorkId>() else {
        return refuse(StatusCode::BAD_REQUEST, "bad_data", format!("`{id}` is no delivery: write wrk_..."));
    };
    let now = match state.now().await {
        Ok(now) => now,
        Err(error) => return failed(&error),
    };
    let mut commit = Commit::at(now);
    commit.change(&principal.tenant, WorkChange::Replay { id, due_at: now });
    match state.commit(commit).await {
        Ok(_) => Json(json!({"id": id, "state": "pending"})).into_response(),
        Err(error) if error.is_conflict() => refuse(StatusCode::NOT_FOUND, "not_found", format!("there is no dead letter {id}")),
        Err(error) => failed(&error),
    }
}
