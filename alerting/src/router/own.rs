//! Watchfire's own API of alerts, silences and ladders. Records come from the state store, so that every node answers the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use model::access::{Permission, Principal};
use model::alert::{Acknowledgement, Alert};
use model::event::{Event, EventKind, Subject};
use model::ids::{AlertId, EventId, SilenceId};
use model::labels::Matcher;
use model::state::{Commit, Entity, Expect, RecordQuery, StateError, TRIES, Versioned, decode, load};
use model::time::{Span, Timestamp};
use model::units::Value as SampleValue;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, ApiError};
use crate::ladder::{LadderRun, wake_row};
use crate::machine::Instance;
use crate::rules::Question;
use crate::silence::{MatcherText, Silence, asks_nothing};

/// The longest comment, in bytes.
const LONGEST_COMMENT: usize = 8 * 1024;
/// The longest time for which an alert can be put off.
const LONGEST_SNOOZE: Span = Span::secs(7 * 24 * 3600);
/// The longest name of a maintenance window, in bytes.
const LONGEST_NAME: usize = 200;
/// The most matchers of one silence.
const MOST_MATCHERS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    state: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

/// The same for alerts, which have an identity.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedAlerts {
    state: Option<String>,
    /// In hex.
    fingerprint: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

async fn records<T: Entity>(api: &Api, principal: &Principal, statuses: &[&str], wanted: &Wanted) -> Result<Vec<Versioned<T>>, StateError> {
    let query = RecordQuery {
        tenant: Some(principal.tenant.clone()),
        kind: T::KIND,
        statuses: statuses.iter().map(|word| (*word).to_owned()).collect(),
        before: wanted.before.clone(),
        limit: wanted.limit.unwrap_or(100).clamp(1, 1_000),
        ..RecordQuery::default()
    };
    api.shared.state.find(&query).await?.into_iter().map(decode).collect()
}

/// The record for readers: the fingerprint in hex (it does not fit a JSON number), the newest value that this node knows.
fn alert_view(instance: &Instance, newest: &BTreeMap<AlertId, SampleValue>) -> Value {
    let alert = &instance.alert;
    let mut view = json!(alert);
    if let Some(fields) = view.as_object_mut() {
        fields.insert("fingerprint".to_owned(), json!(alert.fingerprint_hex()));
        fields.insert("summary".to_owned(), json!(alert.summary()));
        fields.insert("flapping".to_owned(), json!(instance.memory.flapping));
        let question = instance.memory.question.as_ref().unwrap_or(&Question::PromQl);
        fields.insert("question".to_owned(), json!(question.word()));
        if let Some(value) = newest.get(&alert.id) {
            fields.insert("value".to_owned(), json!(value));
        }
    }
    view
}

fn newest(api: &Api) -> BTreeMap<AlertId, SampleValue> {
    let views = api.evaluator.views();
    views.iter().flat_map(|group| group.instances().map(|one| (one.alert.id, one.alert.value)).collect::<Vec<_>>()).collect()
}

pub(super) async fn alerts(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Query(WantedAlerts { state, fingerprint, before, limit }): Query<WantedAlerts>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let statuses: &[&str] = match state.as_deref() {
        None | Some("open") => &["pending", "firing"],
        Some("pending") => &["pending"],
        Some("firing") => &["firing"],
        Some("resolved") => &["resolved"],
        Some("all") => &[],
        Some(other) => {
            return Err(ApiError::bad_data(format!("state `{other}` is unknown: use open, pending, firing, resolved or all")));
        }
    };
    let newest = newest(&api);
    let wanted = Wanted { state, before, limit };
    let found = match fingerprint {
        None => records::<Instance>(&api, &principal, statuses, &wanted).await?,
        Some(fingerprint) => same(&api, &principal, statuses, wanted, &fingerprint).await?,
    };
    let alerts: Vec<Value> = found.iter().map(|one| alert_view(&one.entity, &newest)).collect();
    Ok(Json(json!({"alerts": alerts})))
}

/// The episodes of one alert, newest first, among the newest 10,000 records.
async fn same(
    api: &Api,
    principal: &Principal,
    statuses: &[&str],
    wanted: Wanted,
    fingerprint: &str,
) -> Result<Vec<Versioned<Instance>>, StateError> {
    let limit = wanted.limit.unwrap_or(100).clamp(1, 1_000);
    let (mut page, mut found) = (Wanted { limit: Some(1_000), ..wanted }, Vec::new());
    for _ in 0..10 {
        let some = records::<Instance>(api, principal, statuses, &page).await?;
        let last = some.last().filter(|_| some.len() == 1_000).map(|last| last.entity.alert.id.to_string());
        found.extend(some.into_iter().filter(|one| one.entity.alert.fingerprint_hex() == fingerprint));
        if last.is_none() || found.len() >= limit {
            break;
        }
        page.before = last;
    }
    found.truncate(limit);
    Ok(found)
}

async fn find_alert(api: &Api, principal: &Principal, id: &str) -> Result<Versioned<Instance>, ApiError> {
    let id: AlertId = id.parse().map_err(|error: model::ids::IdError| ApiError::bad_data(error.to_string()))?;
    let found = load::<Instance>(&*api.shared.state, &principal.tenant, &id.to_string()).await?;
    found.ok_or_else(|| ApiError::not_found(format!("there is no alert {id}")))
}

pub(super) async fn alert(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let found = find_alert(&api, &principal, &id).await?;
    Ok(Json(json!({"alert": alert_view(&found.entity, &newest(&api))})))
}

pub(super) fn event(api: &Api, principal: &Principal, at: Timestamp, subject: Subject, kind: EventKind) -> Event {
    let id = EventId::new(at, &*api.shared.ids);
    Event { id, tenant: principal.tenant.clone(), at, actor: principal.actor.clone(), subject, kind }
}

/// What a person does about an alert.
enum Act {
    Acknowledge,
    Unacknowledge,
    Snooze { until: Timestamp },
}

/// Takes an alert: its ladder stops, and so does its incident's. Taking it twice changes nothing.
pub(super) async fn acknowledge(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    act(&api, &principal, &id, &Act::Acknowledge).await
}

/// Gives it back: its ladder climbs again from the first step, and so does its incident's.
pub(super) async fn unacknowledge(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    act(&api, &principal, &id, &Act::Unacknowledge).await
}

/// How long to put an alert off.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Snooze {
    duration: Span,
}

/// Takes it for a time: if it still fires then and nobody else took it, its ladder climbs again.
pub(super) async fn snooze(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    body: Result<Json<Snooze>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(Snooze { duration }) = body.map_err(|error| ApiError::bad_data(error.body_text()))?;
    if !(Span::secs(60)..=LONGEST_SNOOZE).contains(&duration) {
        return Err(ApiError::bad_data(format!("`duration` must be from 1m to {LONGEST_SNOOZE}: use a silence for longer")));
    }
    let until = api.shared.clock.now().plus(duration.0);
    act(&api, &principal, &id, &Act::Snooze { until }).await
}

async fn act(api: &Api, principal: &Principal, id: &str, act: &Act) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Respond)?;
    let mut tries = 0;
    loop {
        tries += 1;
        let Versioned { entity: mut instance, version } = find_alert(api, principal, id).await?;
        let alert: &Alert = &instance.alert;
        if !alert.is_firing() {
            return Err(ApiError::conflict(format!("alert {id} is {}: only a firing alert can be acknowledged", alert.state.name())));
        }
        let at = api.shared.clock.now();
        let (subject, taken) = (Subject::alert(alert.id, alert.incident), alert.acknowledged.clone());
        let mut commit = Commit::at(at);
        match (act, &taken) {
            (Act::Acknowledge, Some(_)) | (Act::Unacknowledge, None) => {
                return Ok(Json(json!({"alert": alert_view(&instance, &newest(api))})));
            }
            (Act::Unacknowledge, Some(_)) => {
                instance.alert.acknowledged = None;
                let kind = EventKind::AlertUnacknowledged { reason: "given back".to_owned() };
                commit.event(event(api, principal, at, subject, kind));
            }
            (Act::Acknowledge | Act::Snooze { .. }, None) => {
                instance.alert.acknowledged = Some(Acknowledgement { at, by: principal.actor.clone() });
                commit.event(event(api, principal, at, subject, EventKind::AlertAcknowledged));
            }
            (Act::Snooze { .. }, Some(_)) => {
                // From now on it is this acknowledgement that holds, and that ends: an earlier wake-up finds another one.
                instance.alert.acknowledged = Some(Acknowledgement { at, by: principal.actor.clone() });
            }
        }
        if let (Act::Snooze { until }, Some(taken)) = (act, &instance.alert.acknowledged) {
            commit.schedule(&principal.tenant, wake_row(instance.alert.id, taken.at, *until)?);
            let details = [("until".to_owned(), until.to_string())].into();
            let kind = EventKind::Noted { text: format!("snoozed until {until}"), details };
            let subject = Subject::alert(instance.alert.id, instance.alert.incident);
            commit.event(event(api, principal, at, subject, kind));
        }
        commit.put(&instance, Expect::Version(version))?;
        match api.shared.state.commit(commit).await {
            Ok(_) => {
                api.shared.nudge.nudge();
                return Ok(Json(json!({"alert": alert_view(&instance, &newest(api))})));
            }
            Err(error) if error.is_conflict() && tries < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn silence_view(silence: &Silence, now: Timestamp) -> Value {
    let mut view = json!(silence);
    if let Some(fields) = view.as_object_mut() {
        fields.insert("state".to_owned(), json!(silence.state(now)));
        fields.remove("over");
    }
    view
}

pub(super) async fn silences(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let now = api.shared.clock.now();
    let (statuses, state): (&[&str], Option<&str>) = match wanted.state.as_deref() {
        None | Some("all") => (&[], None),
        Some(word @ ("active" | "pending")) => (&["live"], Some(word)),
        Some("expired") => (&[], Some("expired")),
        Some(other) => return Err(ApiError::bad_data(format!("state `{other}` is unknown: use active, pending, expired or all"))),
    };
    let found = records::<Silence>(&api, &principal, statuses, &wanted).await?;
    let fits = |silence: &&Silence| state.is_none_or(|state| silence.state(now) == state);
    let silences: Vec<Value> = found.iter().map(|one| &one.entity).filter(fits).map(|silence| silence_view(silence, now)).collect();
    Ok(Json(json!({"silences": silences})))
}

/// A matcher as text (`severity="critical"`) or as an object `{name, op, value}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum AnyMatcher {
    Text(String),
    Object(Matcher),
}

/// The body of a new silence. It ends at `ends_at`, or `duration` after its start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSilence {
    matchers: Vec<AnyMatcher>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    duration: Option<Span>,
    #[serde(default)]
    comment: String,
    /// Set by the route of maintenance windows.
    #[serde(skip)]
    maintenance: Option<String>,
}

/// The body of a new maintenance window: a silence with a name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMaintenance {
    name: String,
    matchers: Vec<AnyMatcher>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    duration: Option<Span>,
    #[serde(default)]
    comment: String,
}

/// When something ends that somebody asks for with an end or a length.
pub(super) fn end_of(
    what: &str,
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
    duration: Option<Span>,
    now: Timestamp,
) -> Result<Timestamp, ApiError> {
    let ends_at = match (ends_at, duration) {
        (Some(ends_at), None) => ends_at,
        (None, Some(duration)) => starts_at.plus(duration.0),
        (Some(_), Some(_)) | (None, None) => return Err(ApiError::bad_data("give either `ends_at` or `duration`")),
    };
    if ends_at <= starts_at || ends_at <= now {
        let said = format!("{what} must end after it starts, and in the future: correct `ends_at` or `duration`");
        return Err(ApiError::bad_data(said));
    }
    Ok(ends_at)
}

impl NewSilence {
    fn into_silence(self, api: &Api, principal: &Principal, now: Timestamp) -> Result<Silence, ApiError> {
        let starts_at = self.starts_at.unwrap_or(now);
        let ends_at = end_of("a silence", starts_at, self.ends_at, self.duration, now)?;
        if self.comment.len() > LONGEST_COMMENT || self.matchers.len() > MOST_MATCHERS {
            return Err(ApiError::bad_data(format!(
                "at most {MOST_MATCHERS} matchers and {LONGEST_COMMENT} bytes of `comment` are allowed"
            )));
        }
        let mut matchers = Vec::new();
        for matcher in self.matchers {
            matchers.push(match matcher {
                AnyMatcher::Object(matcher) => matcher,
                AnyMatcher::Text(text) => text.parse::<MatcherText>().map_err(|error| ApiError::bad_data(error.to_string()))?.0,
            });
        }
        if asks_nothing(&matchers) {
            return Err(ApiError::bad_data("this would silence everything: at least one matcher must need a label to be there"));
        }
        Ok(Silence {
            id: SilenceId::new(now, &*api.shared.ids),
            tenant: principal.tenant.clone(),
            matchers,
            starts_at,
            ends_at,
            created_by: principal.actor.clone(),
            comment: self.comment,
            over: false,
            maintenance: self.maintenance,
            author: None,
            updated_at: None,
        })
    }
}

pub(super) async fn create_silence(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    body: Result<Json<NewSilence>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    principal.require(Permission::Respond)?;
    let Json(body) = body.map_err(|error| ApiError::bad_data(error.body_text()))?;
    let (silence, now) = make(&api, &principal, body).await?;
    Ok((StatusCode::CREATED, Json(json!({"silence": silence_view(&silence, now)}))))
}

async fn make(api: &Api, principal: &Principal, body: NewSilence) -> Result<(Silence, Timestamp), ApiError> {
    let now = api.shared.clock.now();
    let silence = body.into_silence(api, principal, now)?;
    let mut commit = Commit::at(now);
    commit.put(&silence, Expect::New)?;
    let what = silence.maintenance.as_ref().map_or(String::new(), |name| format!("maintenance {name}: "));
    let comment = format!("{what}{}", silence.comment);
    let kind = EventKind::SilenceCreated { silence: silence.id, comment, ends_at: silence.ends_at };
    commit.event(event(api, principal, now, Subject::default(), kind));
    api.shared.state.commit(commit).await?;
    api.shared.nudge.nudge();
    Ok((silence, now))
}

/// Plans a maintenance window: what matches is recorded and shown while it lasts, and pages nobody.
pub(super) async fn create_maintenance(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    body: Result<Json<NewMaintenance>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    principal.require(Permission::Respond)?;
    let Json(NewMaintenance { name, matchers, starts_at, ends_at, duration, comment }) =
        body.map_err(|error| ApiError::bad_data(error.body_text()))?;
    if name.trim().is_empty() || name.len() > LONGEST_NAME {
        return Err(ApiError::bad_data(format!("a maintenance window needs a `name` of at most {LONGEST_NAME} bytes")));
    }
    let body = NewSilence { matchers, starts_at, ends_at, duration, comment, maintenance: Some(name.trim().to_owned()) };
    let (window, now) = make(&api, &principal, body).await?;
    Ok((StatusCode::CREATED, Json(json!({"maintenance": silence_view(&window, now)}))))
}

/// Planned windows, and the recurring ones of the configuration with whether they hold now.
pub(super) async fn maintenance(State(api): State<Arc<Api>>, Extension(principal): Extension<Principal>) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let now = api.shared.clock.now();
    let found = crate::evaluate::everything::<Silence>(&*api.shared.state, &principal.tenant, &["live"]).await?;
    let planned: Vec<Value> = found
        .iter()
        .map(|one| &one.entity)
        .filter(|silence| silence.maintenance.is_some() && silence.state(now) != "expired")
        .map(|silence| silence_view(silence, now))
        .collect();
    let routing = api.shared.routing();
    let recurring: Vec<Value> = routing
        .maintenance
        .iter()
        .map(|window| {
            let active = routing.calendar.within(&window.time_intervals, now).map(|(_, until)| until);
            json!({"name": window.name, "matchers": window.matchers.texts(), "time_intervals": window.time_intervals, "active_until": active})
        })
        .collect();
    Ok(Json(json!({"planned": planned, "recurring": recurring})))
}

pub(super) async fn end_silence(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Respond)?;
    let id: SilenceId = id.parse().map_err(|error: model::ids::IdError| ApiError::bad_data(error.to_string()))?;
    let found = load::<Silence>(&*api.shared.state, &principal.tenant, &id.to_string()).await?;
    let Some(Versioned { entity: mut silence, version }) = found else {
        return Err(ApiError::not_found(format!("there is no silence {id}")));
    };
    let now = api.shared.clock.now();
    if silence.state(now) != "expired" {
        silence.over = true;
        silence.ends_at = silence.ends_at.min(now).max(silence.starts_at.min(now));
        let mut commit = Commit::at(now);
        commit.put(&silence, Expect::Version(version))?;
        commit.event(event(&api, &principal, now, Subject::default(), EventKind::SilenceExpired { silence: id }));
        api.shared.state.commit(commit).await?;
        api.shared.nudge.nudge();
    }
    Ok(Json(json!({"silence": silence_view(&silence, now)})))
}

pub(super) async fn ladders(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let statuses: &[&str] = match wanted.state.as_deref() {
        None | Some("all") => &[],
        Some("running") => &["running"],
        Some("stopped") => &["stopped"],
        Some("exhausted") => &["exhausted"],
        Some("closed") => &["closed"],
        Some(other) => {
            return Err(ApiError::bad_data(format!("state `{other}` is unknown: use running, stopped, exhausted, closed or all")));
        }
    };
    let runs: Vec<LadderRun> = records(&api, &principal, statuses, &wanted).await?.into_iter().map(|run| run.entity).collect();
    let rules = api.shared.rules();
    let ladders: Vec<_> = api.shared.config.escalations.iter().chain(&rules.escalations).collect();
    Ok(Json(json!({"ladders": ladders, "runs": runs})))
}
