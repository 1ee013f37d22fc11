//! The HTTP API of error issues under `/api/watchfire/v1/errors`. In: requests with a `Principal` in their extensions. Out: JSON. An
//! issue is named by its id (`iss_...`) or its number; errors are one sentence in JSON. What the telemetry store does not say is
//! missing from an answer, with a warning; commands never need it.

mod command;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use model::access::{Permission, Principal};
use model::error_events::{ErrorFacet, ErrorQuery, ErrorReads};
use model::fingerprint::Fingerprint;
use model::ids::{IdSource, IssueId};
use model::issue::{Issue, IssueState};
use model::query::QueryError;
use model::state::{Entity, RecordQuery, StateStore, Versioned, by_key, decode, load};
use model::tenant::TenantId;
use model::time::{Span, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::forget::every_issue;
use super::list::{Sort, Wanted, line, view};
use super::machine::sentence;
use crate::router::ApiError;

/// The window of counts, unless the request names one.
const WINDOW: Duration = Duration::from_secs(14 * 86_400);
/// The longest window.
const LONGEST_WINDOW: Duration = Duration::from_secs(90 * 86_400);
/// The hours of a sparkline.
const HOURS: u64 = 24;
/// The most kinds of errors that a list looks at.
const MOST_KINDS: usize = 50_000;
/// The most records in one answer.
const MOST_RECORDS: usize = 1_000;

/// What the handlers need.
pub struct Desk {
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) reads: Arc<dyn ErrorReads>,
    pub(crate) ids: Arc<dyn IdSource>,
}

/// The routes.
pub fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/api/watchfire/v1/errors", get(list))
        .route("/api/watchfire/v1/errors/records", get(records))
        .route("/api/watchfire/v1/errors/{issue}", get(show))
        .route("/api/watchfire/v1/errors/{issue}/{command}", post(command::command))
        .with_state(desk)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    status: Option<String>,
    service: Option<String>,
    release: Option<String>,
    environment: Option<String>,
    text: Option<String>,
    assignee: Option<String>,
    #[serde(default)]
    sort: Sort,
    window: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    offset: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedRecords {
    before: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedOne {
    window: Option<String>,
}

/// `open` means: asks for somebody (open or regressed).
fn statuses(word: Option<&str>) -> Result<&'static [&'static str], ApiError> {
    match word {
        None | Some("open") => Ok(&["open", "regressed"]),
        Some("regressed") => Ok(&["regressed"]),
        Some("resolved") => Ok(&["resolved"]),
        Some("ignored") => Ok(&["ignored"]),
        Some("merged") => Ok(&["merged"]),
        Some("all") => Ok(&["open", "regressed", "resolved", "ignored"]),
        Some(other) => {
            let known = "open, regressed, resolved, ignored, merged or all";
            Err(ApiError::bad_request(format!("status `{other}` is unknown: use {known}")))
        }
    }
}

fn window(text: Option<&str>) -> Result<Duration, ApiError> {
    let Some(text) = text else { return Ok(WINDOW) };
    let wrong = || ApiError::bad_request(format!("window `{text}` is not a duration from 1h to 90d, for example 14d"));
    let length = text.parse::<Span>().map_err(|_| wrong())?.0;
    if (Duration::from_secs(3_600)..=LONGEST_WINDOW).contains(&length) { Ok(length) } else { Err(wrong()) }
}

/// What was asked of the telemetry store, or a warning.
fn or_warning<T>(found: Result<T, QueryError>, what: &str, warnings: &mut Vec<String>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(error) => {
            tracing::warn!(%error, what, "the telemetry store did not answer a question about errors");
            warnings.push(format!("{what} cannot be told at present: the telemetry store does not answer"));
            None
        }
    }
}

async fn list(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let statuses = statuses(asked.status.as_deref())?;
    let (window, limit) = (window(asked.window.as_deref())?, asked.limit.unwrap_or(50).clamp(1, 200));
    let Asked { service, release, environment, text, assignee, sort, offset, .. } = asked;
    let wanted = Wanted { service, release, environment, text, assignee, sort };
    let (tenant, now) = (principal.tenant, desk.state.now().await?);
    let found = every_issue(&*desk.state, Some(&tenant), statuses).await?;
    let issues: Vec<Issue> = found.into_iter().map(|found| found.entity).collect();
    let query = wanted.query(&tenant, &issues, now, window);
    let mut warnings = Vec::new();
    let summaries = or_warning(desk.reads.summaries(&query, MOST_KINDS).await, "counts", &mut warnings);
    if summaries.as_ref().is_some_and(|summaries| summaries.len() >= MOST_KINDS) {
        warnings.push(format!("there are more than {MOST_KINDS} kinds of errors in the window: the counts of some are missing"));
    }
    let telemetry = summaries.is_some();
    let rows = wanted.arrange(issues, summaries);
    let total = rows.len();
    let page = rows.get(offset.min(total)..(offset.saturating_add(limit)).min(total)).unwrap_or(&[]);
    let fingerprints: Vec<Fingerprint> = page.iter().flat_map(|row| row.issue.fingerprints()).collect();
    let hourly = if telemetry && !fingerprints.is_empty() {
        let hours = ErrorQuery { fingerprints, ..since_hours(&query, now) };
        or_warning(desk.reads.trends(&hours, 3_600).await, "events per hour", &mut warnings)
    } else {
        None
    };
    let hourly: Option<HashMap<Fingerprint, Vec<u64>>> =
        hourly.map(|trends| trends.into_iter().map(|trend| (trend.fingerprint, trend.events)).collect());
    let quiet = vec![0; HOURS as usize];
    let lines: Vec<Value> = page
        .iter()
        .map(|row| {
            let trend =
                hourly.as_ref().map(|hourly| row.issue.fingerprints().next().and_then(|print| hourly.get(&print)).unwrap_or(&quiet));
            line(row, telemetry, trend)
        })
        .collect();
    let next = (offset + page.len() < total).then_some(offset + page.len());
    let window = json!({"start": query.start, "end": query.end});
    Ok(Json(json!({"issues": lines, "total": total, "next_offset": next, "window": window, "warnings": warnings})).into_response())
}

/// The records themselves, with what each remembers, newest id first: who replays rules needs all of them, and no numbers.
async fn records(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Query(asked): Query<AskedRecords>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let limit = asked.limit.unwrap_or(MOST_RECORDS).clamp(1, MOST_RECORDS);
    let query = RecordQuery { tenant: Some(principal.tenant), kind: Issue::KIND, before: asked.before, limit, ..RecordQuery::default() };
    let found: Result<Vec<Versioned<Issue>>, _> = desk.state.find(&query).await?.into_iter().map(decode).collect();
    let issues: Vec<Issue> = found?.into_iter().map(|found| found.entity).collect();
    let next = issues.last().filter(|_| issues.len() == limit).map(|issue| issue.id);
    Ok(Json(json!({"issues": issues, "next_before": next})).into_response())
}

/// The query over the last whole hours and the one that has begun.
fn since_hours(query: &ErrorQuery, now: Timestamp) -> ErrorQuery {
    ErrorQuery { start: begun(now, 3_600).minus(Duration::from_secs((HOURS - 1) * 3_600)), end: now, ..query.clone() }
}

/// The start of the step of so many seconds that has begun, in UTC.
fn begun(now: Timestamp, step_secs: i64) -> Timestamp {
    Timestamp::from_secs(now.nanos().div_euclid(1_000_000_000).div_euclid(step_secs) * step_secs)
}

pub(super) async fn find(desk: &Desk, tenant: &TenantId, reference: &str) -> Result<Versioned<Issue>, ApiError> {
    let found = match reference.parse::<IssueId>() {
        Ok(id) => load(&*desk.state, tenant, &id.to_string()).await?,
        Err(_) => {
            let number: u64 = reference.parse().map_err(|_| {
                ApiError::bad_request(format!("`{reference}` names no error issue: use its number, for example 42, or its id iss_..."))
            })?;
            by_key(&*desk.state, tenant, &number.to_string()).await?
        }
    };
    found.ok_or_else(|| ApiError::not_found(format!("there is no error issue {reference}")))
}

async fn show(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Path(reference): Path<String>,
    Query(asked): Query<AskedOne>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let window = window(asked.window.as_deref())?;
    let issue = find(&desk, &principal.tenant, &reference).await?.entity;
    let now = desk.state.now().await?;
    let history: Vec<Value> = issue
        .history
        .iter()
        .map(|one| json!({"at": one.at, "by": one.by.to_string(), "change": one.change.word(), "text": sentence(&one.change)}))
        .collect();
    let mut answer = json!({"issue": view(&issue), "history": history});
    let facts = match &issue.state {
        IssueState::Merged { .. } => json!({"warnings": []}),
        IssueState::Open | IssueState::Regressed { .. } | IssueState::Resolved { .. } | IssueState::Ignored { .. } => {
            telemetry(&desk, &issue, now, window).await
        }
    };
    if let (Value::Object(answer), Value::Object(facts)) = (&mut answer, facts) {
        answer.extend(facts);
    }
    Ok(Json(answer).into_response())
}

/// What the events of one issue say.
async fn telemetry(desk: &Desk, issue: &Issue, now: Timestamp, window: Duration) -> Value {
    let fingerprints = issue.fingerprints().collect();
    let query = ErrorQuery { fingerprints, ..Wanted::default().query(&issue.tenant, std::slice::from_ref(issue), now, window) };
    let mut warnings = Vec::new();
    let summary = or_warning(desk.reads.summaries(&query, 1).await, "counts", &mut warnings);
    let counts = summary.map(|found| found.first().map(|summary| summary.counts).unwrap_or_default());
    let hours = or_warning(desk.reads.trends(&since_hours(&query, now), 3_600).await, "events per hour", &mut warnings);
    let days = ErrorQuery { start: begun(query.start, 86_400), ..query.clone() };
    let days = or_warning(desk.reads.trends(&days, 86_400).await, "events per day", &mut warnings);
    let only =
        |trends: Option<Vec<model::error_events::ErrorTrend>>| trends.map(|found| found.into_iter().next().map(|trend| trend.events));
    let facets = or_warning(desk.reads.facets(&query).await, "breakdowns", &mut warnings);
    let latest = or_warning(desk.reads.latest(&query).await, "the newest event", &mut warnings);
    json!({
        "window": {"start": query.start, "end": query.end},
        "events": counts.map(|counts| counts.events),
        "users": counts.map(|counts| counts.users),
        "hourly": only(hours),
        "daily": only(days),
        "breakdowns": facets.map(breakdowns),
        "latest": latest,
        "warnings": warnings,
    })
}

/// `{release: [{value, events}], ..., tags: {name: [...]}}`
fn breakdowns(facets: Vec<ErrorFacet>) -> Value {
    let (mut own, mut tags): (BTreeMap<String, Vec<Value>>, BTreeMap<String, Vec<Value>>) = Default::default();
    for facet in facets {
        let entry = json!({"value": facet.value, "events": facet.events});
        match facet.name.strip_prefix("tag:") {
            Some(tag) => tags.entry(tag.to_owned()).or_default().push(entry),
            None => own.entry(facet.name).or_default().push(entry),
        }
    }
    let mut value = json!(own);
    value["tags"] = json!(tags);
    value
}
