//! The HTTP API of incidents under `/api/watchfire/v1/incidents`, and of deployments beside it. In: requests with a `Principal` in their extensions. Out: JSON,
//! Markdown, iCalendar. An incident is named by its id (`inc_...`) or its number; errors are one sentence in JSON.

mod deployments;
mod editing;
mod error;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use model::access::{Permission, Principal};
use model::alert::Alert;
use model::event::UpdatePhase;
use model::ids::{AlertId, IncidentId};
use model::incident::Incident;
use model::state::{Commit, Expect, RecordQuery, StateStore, TRIES, Versioned, by_key, decode, load};
use model::tenant::TenantId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::job::Clock;
use crate::lifecycle::{Command, decide};
use crate::postmortem::{Postmortem, invitation};
use crate::timeline;
use crate::worker::load_postmortem;
use crate::writer::{Change, Writer};

pub use error::ApiError;

/// The longest text of a person, in bytes.
const LONGEST_TEXT: usize = 8 * 1024;

/// What the handlers need.
pub struct Desk {
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) writer: Writer,
}

/// The routes.
pub fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/api/watchfire/v1/deployments", get(deployments::list).post(deployments::post))
        .route("/api/watchfire/v1/alerts/{id}/timeline", get(alert_timeline))
        .route("/api/watchfire/v1/incidents", get(list))
        .route("/api/watchfire/v1/incidents/{incident}", get(show))
        .route("/api/watchfire/v1/incidents/{incident}/timeline", get(show_timeline))
        .route("/api/watchfire/v1/incidents/{incident}/postmortem", get(show_postmortem).put(editing::edit))
        .route("/api/watchfire/v1/incidents/{incident}/review.ics", get(show_invitation))
        .route("/api/watchfire/v1/incidents/{incident}/{command}", post(command))
        .with_state(desk)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    status: Option<String>,
    limit: Option<usize>,
    before: Option<String>,
}

/// `open` means: still asks for somebody (open or acknowledged).
fn statuses(word: Option<&str>) -> Result<Vec<String>, ApiError> {
    let words: &[&str] = match word {
        None | Some("all") => &[],
        Some("open") => &["open", "acknowledged"],
        Some("unacknowledged") => &["open"],
        Some("acknowledged") => &["acknowledged"],
        Some("resolved") => &["resolved"],
        Some("closed") => &["closed"],
        Some("cancelled") => &["cancelled"],
        Some(other) => {
            let known = "open, unacknowledged, acknowledged, resolved, closed, cancelled or all";
            return Err(ApiError::bad_request(format!("status `{other}` is unknown: use {known}")));
        }
    };
    Ok(words.iter().map(|word| (*word).to_owned()).collect())
}

async fn list(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let query = RecordQuery {
        tenant: Some(principal.tenant),
        kind: "incident",
        statuses: statuses(wanted.status.as_deref())?,
        before: wanted.before,
        limit: wanted.limit.unwrap_or(100).clamp(1, 1_000),
        ..RecordQuery::default()
    };
    let found: Result<Vec<Versioned<Incident>>, _> = desk.state.find(&query).await?.into_iter().map(decode).collect();
    let incidents: Vec<Value> = found?.iter().map(|one| view(&one.entity)).collect();
    Ok(Json(json!({"incidents": incidents})).into_response())
}

/// The record with its clocks in seconds.
fn view(incident: &Incident) -> Value {
    let mut value = json!(incident);
    if let Some(fields) = value.as_object_mut() {
        for clock in Clock::ALL {
            fields.insert(format!("seconds_to_{}", clock.word()), json!(clock.seconds(incident)));
        }
    }
    value
}

async fn find(desk: &Desk, tenant: &TenantId, reference: &str) -> Result<Versioned<Incident>, ApiError> {
    let found = match reference.parse::<IncidentId>() {
        Ok(id) => load(&*desk.state, tenant, &id.to_string()).await?,
        Err(_) => {
            let number: u64 = reference.strip_prefix("incident-").unwrap_or(reference).parse().map_err(|_| {
                ApiError::bad_request(format!("`{reference}` names no incident: use its number, for example 42, or its id inc_..."))
            })?;
            by_key(&*desk.state, tenant, &number.to_string()).await?
        }
    };
    found.ok_or_else(|| ApiError::not_found(format!("there is no incident {reference}")))
}

async fn show(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Path(reference): Path<String>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let incident = find(&desk, &principal.tenant, &reference).await?.entity;
    let mut alerts = Vec::new();
    for id in &incident.alerts {
        alerts.extend(load::<Alert>(&*desk.state, &principal.tenant, &id.to_string()).await?.map(|found| found.entity));
    }
    let timeline = timeline::lines(&timeline::collect(&*desk.state, &incident).await?);
    Ok(Json(json!({"incident": view(&incident), "alerts": alerts, "timeline": timeline})).into_response())
}

async fn show_timeline(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Path(reference): Path<String>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let incident = find(&desk, &principal.tenant, &reference).await?.entity;
    let timeline = timeline::lines(&timeline::collect(&*desk.state, &incident).await?);
    Ok(Json(json!({"incident": incident.id, "number": incident.number, "timeline": timeline})).into_response())
}

/// What the journal tells of one alert.
async fn alert_timeline(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let id: AlertId = id.parse().map_err(|error: model::ids::IdError| ApiError::bad_request(error.to_string()))?;
    if load::<Alert>(&*desk.state, &principal.tenant, &id.to_string()).await?.is_none() {
        return Err(ApiError::not_found(format!("there is no alert {id}")));
    }
    let timeline = timeline::lines(&timeline::about_alert(&*desk.state, &principal.tenant, id).await?);
    Ok(Json(json!({"alert": id, "timeline": timeline})).into_response())
}

async fn show_postmortem(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let incident = find(&desk, &principal.tenant, &reference).await?.entity;
    let found: Option<Versioned<Postmortem>> = by_key(&*desk.state, &principal.tenant, &incident.id.to_string()).await?;
    let Some(Versioned { entity: postmortem, version }) = found else {
        let number = incident.number;
        return Err(ApiError::not_found(format!("incident {number} has no postmortem yet: it is drafted when the incident resolves")));
    };
    let wants_json = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("application/json"));
    if wants_json {
        return Ok(Json(json!({"postmortem": postmortem, "version": version})).into_response());
    }
    Ok(([(CONTENT_TYPE, "text/markdown; charset=utf-8")], postmortem.markdown).into_response())
}

async fn show_invitation(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Path(reference): Path<String>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let incident = find(&desk, &principal.tenant, &reference).await?.entity;
    let Some(postmortem) = load_postmortem(&*desk.state, &principal.tenant, &incident).await? else {
        return Err(ApiError::not_found(format!("no review of incident {} is scheduled yet", incident.number)));
    };
    let calendar = invitation::calendar(&postmortem, &desk.writer.config);
    let name = format!("attachment; filename=\"incident-{}.ics\"", incident.number);
    let headers = [(CONTENT_TYPE, "text/calendar; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, calendar).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    reason: Option<String>,
    how: Option<String>,
    text: Option<String>,
    phase: Option<String>,
}

fn parse(word: &str, body: &[u8]) -> Result<Command, ApiError> {
    if body.len() > LONGEST_TEXT {
        return Err(ApiError::bad_request(format!("the body is longer than {LONGEST_TEXT} bytes: shorten the text")));
    }
    let blank = body.iter().all(u8::is_ascii_whitespace);
    let said: Said = if blank { Ok(Said::default()) } else { serde_json::from_slice(body) }
        .map_err(|error| ApiError::bad_request(format!("the body is not JSON such as {{\"reason\": \"...\"}}: {error}")))?;
    if said.phase.is_some() && word != "update" {
        return Err(ApiError::bad_request("`phase` belongs to `update`: leave it out"));
    }
    let words = said.reason.or(said.how).or(said.text);
    let or = |default: &str| words.clone().unwrap_or_else(|| default.to_owned());
    match word {
        "acknowledge" | "ack" => Ok(Command::Acknowledge),
        "unacknowledge" | "unack" => Ok(Command::Unacknowledge),
        "escalate" => Ok(Command::Escalate { reason: or("escalated by hand") }),
        "update" => Ok(Command::Update { phase: phase(said.phase.as_deref())?, text: or("") }),
        "mitigate" => Ok(Command::Mitigate { how: or("by hand") }),
        "resolve" => Ok(Command::Resolve { reason: or("resolved by hand") }),
        "close" => Ok(Command::Close),
        "cancel" => Ok(Command::Cancel { reason: or("cancelled by hand") }),
        "note" => Ok(Command::Note { text: or("") }),
        other => Err(ApiError::not_found(format!(
            "`{other}` is no command for an incident: use acknowledge, unacknowledge, escalate, update, mitigate, resolve, close, cancel or note"
        ))),
    }
}

/// How it stands: `investigating` where nothing is said.
fn phase(word: Option<&str>) -> Result<UpdatePhase, ApiError> {
    let Some(word) = word else { return Ok(UpdatePhase::Investigating) };
    UpdatePhase::parse(word).ok_or_else(|| {
        let known = UpdatePhase::ALL.map(UpdatePhase::as_str).join(", ");
        ApiError::bad_request(format!("phase `{word}` is unknown: use one of {known}"))
    })
}

async fn command(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Path((reference, word)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, ApiError> {
    principal.require(Permission::Respond)?;
    let command = parse(&word, &body)?;
    for attempt in 1.. {
        let found = find(&desk, &principal.tenant, &reference).await?;
        let now = desk.state.now().await?;
        let decision = decide(&found.entity, &command, now, &principal.actor)?;
        let expect = Expect::Version(found.version);
        let change = Change { incident: &decision.incident, expect, actor: &principal.actor, alert: None, now };
        let mut commit = Commit::at(now);
        desk.writer.write(&mut commit, &change, decision.events)?;
        match desk.state.commit(commit).await {
            Ok(_) => return Ok(Json(json!({"incident": view(&decision.incident), "message": decision.message})).into_response()),
            Err(error) if error.is_conflict() && attempt < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::busy())
}
