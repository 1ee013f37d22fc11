//! Silences by Alertmanager's API. Ids are plain UUIDs here; Watchfire's own form is understood too.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use model::access::{Permission, Principal};
use model::event::{Event, EventKind, Subject};
use model::ids::{EventId, SilenceId};
use model::labels::{MatchOp, Matcher};
use model::state::{Commit, Expect, TRIES, Versioned, load};
use model::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Problem, moment};
use crate::evaluate::everything;
use crate::matchers;
use crate::router::Api;
use crate::silence::{Silence, asks_nothing};

/// How long an expired silence is listed.
const KEPT: std::time::Duration = std::time::Duration::from_secs(120 * 3600);
/// The longest comment, in bytes, and the most matchers.
const LONGEST_COMMENT: usize = 8 * 1024;
const MOST_MATCHERS: usize = 64;

/// A matcher in Alertmanager's words.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MatcherJson {
    /// Absent or null: yes.
    #[serde(default)]
    is_equal: Option<bool>,
    is_regex: bool,
    name: String,
    value: String,
}

impl From<&Matcher> for MatcherJson {
    fn from(matcher: &Matcher) -> Self {
        MatcherJson {
            is_equal: Some(matches!(matcher.op, MatchOp::Equal | MatchOp::Regex)),
            is_regex: matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex),
            name: matcher.name.clone(),
            value: matcher.value.clone(),
        }
    }
}

impl MatcherJson {
    fn read(&self) -> Result<Matcher, Problem> {
        let op = match (self.is_equal.unwrap_or(true), self.is_regex) {
            (true, false) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Regex,
            (false, true) => MatchOp::NotRegex,
        };
        if self.name.is_empty() {
            return Err(Problem::bad("silence invalid: invalid label matcher 0: invalid label name \"\""));
        }
        Matcher::new(&self.name, op, &self.value).map_err(|error| Problem::bad(format!("silence invalid: {error}")))
    }
}

/// `gettableSilence`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GettableSilence {
    id: String,
    status: Value,
    updated_at: String,
    comment: String,
    created_by: String,
    ends_at: String,
    matchers: Vec<MatcherJson>,
    starts_at: String,
}

fn show(silence: &Silence, now: Timestamp) -> GettableSilence {
    let window = silence.maintenance.as_ref().map_or(String::new(), |name| format!("[maintenance {name}] "));
    GettableSilence {
        id: silence.id.uuid().to_string(),
        status: json!({"state": silence.state(now)}),
        updated_at: moment(silence.updated_at.unwrap_or(silence.starts_at)),
        comment: format!("{window}{}", silence.comment),
        created_by: silence.author.clone().unwrap_or_else(|| silence.created_by.to_string()),
        ends_at: moment(silence.ends_at),
        matchers: silence.matchers.iter().map(MatcherJson::from).collect(),
        starts_at: moment(silence.starts_at),
    }
}

fn read_id(text: &str) -> Result<SilenceId, Problem> {
    let bare = text.replace('-', "");
    let full = if text.starts_with(SilenceId::PREFIX) { text.to_owned() } else { format!("{}_{bare}", SilenceId::PREFIX) };
    full.parse().map_err(|_| Problem(StatusCode::UNPROCESSABLE_ENTITY, format!("silenceID in path must be of type uuid: {text:?}")))
}

async fn find(api: &Api, principal: &Principal, id: SilenceId) -> Result<Versioned<Silence>, Problem> {
    let found = load::<Silence>(&*api.shared.state, &principal.tenant, &id.to_string()).await?;
    found.ok_or_else(|| Problem(StatusCode::NOT_FOUND, "silence not found".to_owned()))
}

/// Active first, then pending, then expired; within each by time, as Alertmanager does.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Vec<GettableSilence>>, Problem> {
    principal.require(Permission::Read)?;
    let now = api.shared.clock.now();
    let mut filter = Vec::new();
    for (_, text) in query.iter().filter(|(name, _)| name == "filter") {
        filter.extend(matchers::read(text).map_err(|error| Problem::bad(error.to_string()))?);
    }
    let found = everything::<Silence>(&*api.shared.state, &principal.tenant, &[]).await?;
    // A silence fits if it has these very matchers. Who ends what a filter finds (`amtool silence expire $(amtool silence query -q a!=b)`)
    // must not end silences that are about something else.
    let fits = |silence: &Silence| filter.iter().all(|wanted| silence.matchers.contains(wanted));
    let mut silences: Vec<Silence> = found.into_iter().map(|found| found.entity).filter(fits).collect();
    silences.retain(|silence| now.since(silence.ends_at) < KEPT);
    let rank = |silence: &Silence| match silence.state(now) {
        "active" => 0,
        "pending" => 1,
        _ => 2,
    };
    silences.sort_by(|a, b| {
        rank(a).cmp(&rank(b)).then_with(|| match rank(a) {
            0 => a.ends_at.cmp(&b.ends_at),
            1 => a.starts_at.cmp(&b.starts_at),
            _ => b.ends_at.cmp(&a.ends_at),
        })
    });
    Ok(Json(silences.iter().map(|silence| show(silence, now)).collect()))
}

pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<GettableSilence>, Problem> {
    principal.require(Permission::Read)?;
    let found = find(&api, &principal, read_id(&id)?).await?;
    Ok(Json(show(&found.entity, api.shared.clock.now())))
}

/// `postableSilence`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostableSilence {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<MatcherJson>,
    starts_at: String,
    ends_at: String,
    created_by: String,
    comment: String,
}

impl PostableSilence {
    fn into_silence(self, api: &Api, principal: &Principal, now: Timestamp) -> Result<Silence, Problem> {
        let time = |text: &str| Timestamp::parse_clamped(text).map_err(|error| Problem::bad(error.to_string()));
        let (starts_at, ends_at) = (time(&self.starts_at)?, time(&self.ends_at)?);
        if starts_at == ends_at || ends_at < starts_at {
            return Err(Problem::bad("failed to create silence: start time must be before end time"));
        }
        if ends_at < now {
            return Err(Problem::bad("failed to create silence: end time can't be in the past"));
        }
        if self.matchers.len() > MOST_MATCHERS || self.comment.len() > LONGEST_COMMENT {
            let said = format!("silence invalid: at most {MOST_MATCHERS} matchers and {LONGEST_COMMENT} bytes of comment");
            return Err(Problem::bad(said));
        }
        let matchers = self.matchers.iter().map(MatcherJson::read).collect::<Result<Vec<_>, _>>()?;
        if asks_nothing(&matchers) {
            return Err(Problem::bad("silence invalid: at least one matcher must not match the empty string"));
        }
        Ok(Silence {
            id: SilenceId::new(now, &*api.shared.ids),
            tenant: principal.tenant.clone(),
            matchers,
            starts_at: starts_at.max(now),
            ends_at,
            created_by: principal.actor.clone(),
            comment: self.comment,
            over: false,
            maintenance: None,
            author: Some(self.created_by),
            updated_at: Some(now),
        })
    }
}

fn event(api: &Api, principal: &Principal, now: Timestamp, kind: EventKind) -> Event {
    let id = EventId::new(now, &*api.shared.ids);
    Event { id, tenant: principal.tenant.clone(), at: now, actor: principal.actor.clone(), subject: Subject::default(), kind }
}

/// Whether an edit may keep the silence: the same matchers, and it is not over.
fn can_update(before: &Silence, after: &Silence, now: Timestamp) -> bool {
    before.matchers == after.matchers && before.state(now) != "expired"
}

/// Ends a silence; one that has not begun has never been.
fn ended(silence: &Silence, now: Timestamp) -> Silence {
    let starts_at = silence.starts_at.min(now);
    Silence { starts_at, ends_at: now, over: true, updated_at: Some(now), ..silence.clone() }
}

/// Makes a silence, or changes one: where it cannot be the same one, the old one ends and a new one begins.
pub(super) async fn make(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    principal.require(Permission::Respond)?;
    let posted: PostableSilence =
        serde_json::from_slice(&body).map_err(|error| Problem::bad(format!("parsing silence body failed: {error}")))?;
    let now = api.shared.clock.now();
    let id = posted.id.clone().filter(|id| !id.is_empty());
    let fresh = posted.into_silence(&api, &principal, now)?;
    for attempt in 1..=TRIES {
        let mut silence = fresh.clone();
        let mut commit = Commit::at(now);
        match &id {
            None => commit.put(&silence, Expect::New)?,
            Some(id) => {
                let Versioned { entity: before, version } = find(&api, &principal, read_id(id)?).await?;
                if can_update(&before, &silence, now) {
                    let begun = before.state(now) == "active";
                    silence.id = before.id;
                    silence.maintenance.clone_from(&before.maintenance);
                    silence.starts_at = if begun { before.starts_at } else { silence.starts_at };
                    commit.put(&silence, Expect::Version(version))?;
                } else {
                    if before.state(now) != "expired" {
                        commit.put(&ended(&before, now), Expect::Version(version))?;
                        commit.event(event(&api, &principal, now, EventKind::SilenceExpired { silence: before.id }));
                    }
                    commit.put(&silence, Expect::New)?;
                }
            }
        }
        let kind = EventKind::SilenceCreated { silence: silence.id, comment: silence.comment.clone(), ends_at: silence.ends_at };
        commit.event(event(&api, &principal, now, kind));
        match api.shared.state.commit(commit).await {
            Ok(_) => {
                api.shared.nudge.nudge();
                return Ok(Json(json!({"silenceID": silence.id.uuid().to_string()})));
            }
            Err(error) if error.is_conflict() && attempt < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem(StatusCode::SERVICE_UNAVAILABLE, "the silence is being changed by others; try again".to_owned()))
}

pub(super) async fn expire(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::Respond)?;
    let id = read_id(&id)?;
    for attempt in 1..=TRIES {
        let Versioned { entity: silence, version } = find(&api, &principal, id).await?;
        let now = api.shared.clock.now();
        if silence.state(now) == "expired" {
            return Ok(StatusCode::OK); // a list of silences may name one that ended meanwhile
        }
        let mut commit = Commit::at(now);
        commit.put(&ended(&silence, now), Expect::Version(version))?;
        commit.event(event(&api, &principal, now, EventKind::SilenceExpired { silence: id }));
        match api.shared.state.commit(commit).await {
            Ok(_) => {
                api.shared.nudge.nudge();
                return Ok(StatusCode::OK);
            }
            Err(error) if error.is_conflict() && attempt < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(StatusCode::OK)
}
