//! The API of the outbox: list deliveries, replay dead ones. In: a principal with `respond` (list) or `admin` (replay). Out: JSON that shows
//! what a delivery is about and why it failed, never a receiver's settings or secrets.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use model::access::{Permission, Principal};
use model::drive::Nudge;
use model::event::{Event, EventKind, Recorded};
use model::ids::{AlertId, EventId, IdSource, IncidentId, NotificationId, WorkId};
use model::message::{Delivery, Message, PageAction};
use model::state::{Commit, JournalQuery, StateError, StateStore, pages};
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
/// How much the clocks of two nodes may differ: nothing that counts was written by so much before what it counts for.
const APART: Duration = Duration::from_secs(600);

struct Api {
    state: Arc<dyn StateStore>,
    ids: Arc<dyn IdSource>,
    nudge: Nudge,
}

/// `GET /api/watchfire/v1/deliveries?state=pending|done|dead|cancelled&alert=&incident=&before=&limit=`,
/// `GET /api/watchfire/v1/deliveries/{work id}` with its attempts, and `POST /api/watchfire/v1/deliveries/{work id}/replay?force=`. The server's access layer puts the [`Principal`] into the request's
/// extensions; without it every request fails. `nudge` is told of a replay.
pub fn router(state: Arc<dyn StateStore>, ids: Arc<dyn IdSource>, nudge: Nudge) -> Router {
    Router::new()
        .route("/api/watchfire/v1/deliveries", get(list))
        .route("/api/watchfire/v1/deliveries/{id}", get(show))
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
        let delivery = row.body.read::<Delivery>().ok();
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
    alert: Option<AlertId>,
    incident: Option<IncidentId>,
    before: Option<WorkId>,
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
    let ListQuery { alert, incident, before, .. } = query;
    let (tenant, queue) = (Some(principal.tenant), Some(Queue::Delivery));
    // Nothing is told of what is not there yet: older rows need not be looked at.
    let began = alert.map(|alert| alert.made_at()).into_iter().chain(incident.map(|incident| incident.made_at())).min();
    let since = began.map(|began| began.minus(APART));
    let wanted = WorkQuery { tenant, queue, state, alert, incident, since, before, limit, ..WorkQuery::default() };
    let rows = api.state.list(&wanted).await?;
    let deliveries: Vec<Shown> = rows.iter().map(Shown::of).collect();
    Ok(Json(json!({"deliveries": deliveries})).into_response())
}

/// One attempt, or what ended them.
#[derive(Debug, Serialize)]
struct Attempt {
    at: Timestamp,
    /// sent, failed, dead or unsent
    outcome: &'static str,
    /// From 1; none: nothing was tried.
    attempt: Option<u32>,
    error: Option<String>,
    /// When it was to be tried again.
    next_at: Option<Timestamp>,
}

impl Attempt {
    fn of(recorded: &Recorded, wanted: &str) -> Option<Self> {
        let at = recorded.event.at;
        let none = Attempt { at, outcome: "sent", attempt: None, error: None, next_at: None };
        let is = |notification: &NotificationId| notification.to_string() == wanted;
        match &recorded.event.kind {
            EventKind::NotificationSent { notification, attempt, .. } if is(notification) => {
                Some(Attempt { attempt: Some(*attempt), ..none })
            }
            EventKind::NotificationRetried { notification, attempt, error, next_at, .. } if is(notification) => {
                Some(Attempt { outcome: "failed", attempt: Some(*attempt), error: Some(error.clone()), next_at: Some(*next_at), ..none })
            }
            EventKind::NotificationDead { notification, attempts, error, .. } if is(notification) => {
                Some(Attempt { outcome: "dead", attempt: Some(*attempts), error: Some(error.clone()), ..none })
            }
            EventKind::Noted { text, details } if details.get("notification").is_some_and(|one| one == wanted) => {
                Some(Attempt { outcome: "unsent", error: Some(text.clone()), ..none })
            }
            _ => None,
        }
    }
}

/// One delivery with its attempts, as the journal has them.
async fn show(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Respond)?;
    let id: WorkId = id.parse().map_err(|error: model::ids::IdError| ApiError::bad_data(error.to_string()))?;
    let one = WorkQuery { tenant: Some(principal.tenant.clone()), queue: Some(Queue::Delivery), ids: vec![id], ..WorkQuery::default() };
    let rows = api.state.list(&one).await?;
    let Some(row) = rows.first() else { return Err(ApiError::not_found(format!("there is no delivery {id}"))) };
    let shown = Shown::of(row);
    let about = JournalQuery { tenant: Some(principal.tenant), limit: MOST, ..JournalQuery::default() };
    // Its events are told of the same subject as it is.
    let about = match (row.subject.alert, row.subject.incident) {
        (Some(alert), _) => Some(JournalQuery { alert: Some(alert), ..about }),
        (None, Some(incident)) => Some(JournalQuery { incident: Some(incident), ..about }),
        (None, None) => None,
    };
    let mut attempts = Vec::new();
    if let Some(query) = about {
        pages(&*api.state, query, |page| {
            attempts.extend(page.iter().filter_map(|recorded| Attempt::of(recorded, &shown.notification)));
            ControlFlow::<()>::Continue(())
        })
        .await?;
    }
    Ok(Json(json!({"delivery": shown, "attempts": attempts})).into_response())
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
    let (tenant, queue) = (Some(principal.tenant.clone()), Some(Queue::Delivery));
    let wanted = WorkQuery { tenant, queue, state: Some(WorkState::Dead), ids: vec![id], ..WorkQuery::default() };
    let row = api.state.list(&wanted).await?.pop().ok_or_else(|| no_dead_letter(id))?;
    if !query.force && reopens(&*api.state, &row).await? {
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

/// What a row tells of an incident or alert; `None` where it tells something else.
fn action(row: &Work) -> Option<PageAction> {
    match row.body.read::<Delivery>().ok()?.message {
        Message::Notice(notice) => Some(notice.action),
        Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } | Message::Document { .. } => None,
    }
}

/// Whether it is a trigger or an acknowledgement and older than a resolve that was delivered. Looks at all that was delivered since.
async fn reopens(state: &dyn StateStore, row: &Work) -> Result<bool, StateError> {
    let opens = matches!(action(row), Some(PageAction::Trigger | PageAction::Acknowledge));
    let Some(place) = Place::read(row).filter(|_| opens) else { return Ok(false) };
    let closes = |done: &Work| {
        action(done) == Some(PageAction::Resolve) && Place::read(done).is_some_and(|done| done.line == place.line && done.turn > place.turn)
    };
    let mut later = WorkQuery {
        tenant: Some(row.tenant.clone()),
        queue: Some(Queue::Delivery),
        state: Some(WorkState::Done),
        since: Some(row.created_at.minus(APART)),
        limit: MOST,
        ..WorkQuery::default()
    };
    loop {
        let page = state.list(&later).await?;
        if page.iter().any(closes) {
            return Ok(true);
        }
        if page.len() < MOST {
            return Ok(false);
        }
        later.before = page.last().map(|done| done.id);
    }
}
