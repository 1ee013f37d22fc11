//! The API of the outbox: list deliveries, replay dead ones. In: a principal with `respond` (list) or `admin` (replay). Out: JSON that shows
//! what a delivery is about and why it failed, never a receiver's settings or secrets.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use model::access::{Permission, Principal};
use model::drive::Nudge;
use model::event::{Event, EventKind};
use model::ids::{EventId, IdSource, WorkId};
use model::message::{Delivery, Message, PageAction};
use model::state::{Commit, StateStore};
use model::time::Timestamp;
use model::work::{Queue, Work, WorkChange, WorkQuery, WorkState};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::lines::Place;
use super::progress::Progress;
use super::settle::action_word;
use crate::router::ApiError;

const USUAL: usize = 100;
const MOST: usize = 1_000;
/// How many rows are looked at to find one by its id.
const SEARCHED: usize = 100_000;

struct Api {
    state: Arc<dyn StateStore>,
    ids: Arc<dyn IdSource>,
    nudge: Nudge,
}

/// `GET /api/watchfire/v1/deliveries?state=pending|done|dead|cancelled&limit=` and
/// `POST /api/watchfire/v1/deliveries/{work id}/replay?force=`. The server's access layer puts the [`Principal`] into the request's
/// extensions; without it every request fails. `nudge` is told of a replay.
pub fn router(state: Arc<dyn StateStore>, ids: Arc<dyn IdSource>, nudge: Nudge) -> Router {
    Router::new()
        .route("/api/watchfire/v1/deliveries", get(list))
        .route("/api/watchfire/v1/deliveries/{id}/replay", post(replay))
        .with_state(Arc::new(Api { state, ids, nudge }))
}

/// A delivery as readers see it.
#[derive(Debug, Serialize)]
struct Shown {
    id: WorkId,
    notification: String,
    receiver: String,
    /// trigger, acknowledge, resolve, chat or document
    action: &'static str,
    title: String,
    state: WorkState,
    attempts: u32,
    due_at: Timestamp,
    queued_at: Timestamp,
    error: Option<String>,
    /// Why it was done without a send.
    unneeded: Option<String>,
    /// The notification of the digest that told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    alert: Option<String>,
    incident: Option<String>,
}

impl Shown {
    fn of(row: &Work) -> Self {
        let delivery = serde_json::from_value::<Delivery>(row.body.clone()).ok();
        let (receiver, action, title, notification) = match &delivery {
            Some(delivery) => {
                (delivery.receiver.clone(), action_word(&delivery.message), title(&delivery.message), delivery.id.to_string())
            }
            None => (String::new(), "unreadable", String::new(), String::new()),
        };
        let progress = Progress::of(row.progress.as_ref(), row.due_at);
        Shown {
            id: row.id,
            notification,
            receiver,
            action,
            title,
            state: row.state,
            attempts: progress.attempts,
            digest: progress.digest.map(|id| id.to_string()),
            due_at: row.due_at,
            queued_at: row.created_at,
            error: row.error.clone(),
            unneeded: progress.unneeded,
            alert: row.subject.alert.map(|alert| alert.to_string()),
            incident: row.subject.incident.map(|incident| incident.to_string()),
        }
    }
}

fn title(message: &Message) -> String {
    match message {
        Message::Notice(notice) => notice.title.clone(),
        Message::ChatOpen { name, .. } => format!("open {name}"),
        Message::ChatPost { .. } => "post".to_owned(),
        Message::ChatArchive { .. } => "archive".to_owned(),
        Message::Document { title, .. } => title.clone(),
    }
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    state: Option<String>,
    limit: Option<usize>,
}

async fn list(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Respond)?;
    let state = match query.state.as_deref() {
        None => None,
        Some(word) => Some(
            WorkState::parse(word)
                .ok_or_else(|| ApiError::bad_data(format!("state={word}: use pending, done, dead or cancelled, or leave it out")))?,
        ),
    };
    let limit = query.limit.unwrap_or(USUAL).clamp(1, MOST);
    let rows = api
        .state
        .list(&WorkQuery { tenant: Some(principal.tenant), queue: Some(Queue::Delivery), state, limit, ..WorkQuery::default() })
        .await?;
    let deliveries: Vec<Shown> = rows.iter().map(Shown::of).collect();
    Ok(Json(json!({"deliveries": deliveries})).into_response())
}

#[derive(Debug, Deserialize)]
struct ReplayQuery {
    #[serde(default)]
    force: bool,
}

async fn replay(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    Query(query): Query<ReplayQuery>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Admin)?;
    let id: WorkId = id.parse().map_err(|error: model::ids::IdError| ApiError::bad_data(error.to_string()))?;
    let rows = |state| WorkQuery {
        tenant: Some(principal.tenant.clone()),
        queue: Some(Queue::Delivery),
        state: Some(state),
        limit: SEARCHED,
        ..WorkQuery::default()
    };
    let dead = api.state.list(&rows(WorkState::Dead)).await?;
    let row = dead.into_iter().find(|row| row.id == id).ok_or_else(|| no_dead_letter(id))?;
    if !query.force && reopens(&row, &api.state.list(&rows(WorkState::Done)).await?) {
        let said = "a later resolve of the same incident or alert has been delivered: this would open it again at the receiver; add ?force=true to send it anyway";
        return Err(ApiError::conflict(said));
    }
    let now = api.state.now().await?;
    let mut commit = Commit::at(now);
    commit.change(&row.tenant, WorkChange::Replay { id, due_at: now });
    let details = [("work".to_owned(), id.to_string())].into();
    let kind = EventKind::Noted { text: format!("delivery replayed: {}", Shown::of(&row).title), details };
    commit.event(Event {
        id: EventId::new(now, &*api.ids),
        tenant: row.tenant.clone(),
        at: now,
        actor: principal.actor.clone(),
        subject: row.subject.clone(),
        kind,
    });
    match api.state.commit(commit).await {
        Ok(_) => {
            api.nudge.nudge();
            Ok((StatusCode::ACCEPTED, Json(json!({"id": id, "state": WorkState::Pending}))).into_response())
        }
        Err(error) if error.is_conflict() => Err(no_dead_letter(id)),
        Err(error) => Err(error.into()),
    }
}

fn no_dead_letter(id: WorkId) -> ApiError {
    ApiError::not_found(format!("there is no dead delivery {id}"))
}

/// Whether a trigger or acknowledgement is older than a resolve that was delivered.
fn reopens(row: &Work, done: &[Work]) -> bool {
    let action = |row: &Work| match serde_json::from_value::<Delivery>(row.body.clone()).map(|delivery| delivery.message) {
        Ok(Message::Notice(notice)) => Some(notice.action),
        Ok(Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } | Message::Document { .. }) | Err(_) => None,
    };
    let Some(place) = Place::of(row) else { return false };
    matches!(action(row), Some(PageAction::Trigger | PageAction::Acknowledge))
        && done
            .iter()
            .filter(|done| action(done) == Some(PageAction::Resolve))
            .filter_map(Place::of)
            .any(|done| done.line == place.line && done.turn > place.turn)
}
