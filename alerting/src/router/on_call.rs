//! The HTTP API of who is on call. The turns of schedules come from the configuration; overrides are records, so that every node answers
//! the same.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use model::access::{Permission, Principal};
use model::event::{Actor, EventKind, Subject};
use model::ids::OverrideId;
use model::state::{Commit, Expect, Versioned, load};
use model::time::{Span, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::own::{end_of, event};
use super::{Api, ApiError};
use crate::evaluate::everything;
use crate::on_call::{By, LONGEST, Override, Plan, Shift, live_overrides, shifts};
use crate::routing::Routing;

const DAY: Duration = Duration::from_secs(86_400);
/// How far ahead the next turn is looked for.
const AHEAD: u32 = 40;
/// The longest comment, in bytes.
const LONGEST_COMMENT: usize = 1024;
/// The most overrides that hold now or later.
const MOST_OVERRIDES: usize = 500;
/// After its end an override is put away when the next one is made.
const PUT_AWAY_AFTER: Duration = DAY;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    days: Option<u64>,
}

/// The configuration's people belong to the tenant of its rules: another one has none.
fn routing_of(api: &Api, principal: &Principal) -> Arc<Routing> {
    if principal.tenant == api.shared.tenant { api.shared.routing() } else { Arc::default() }
}

/// Who is on call now and in the next days, everybody who can be, and what was changed by hand.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Query(Wanted { days }): Query<Wanted>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let days = days.unwrap_or(14);
    if days == 0 || DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)) > LONGEST {
        return Err(ApiError::bad_data(format!("`days` is {days}: use from 1 to {}", LONGEST.as_secs() / DAY.as_secs())));
    }
    let now = api.shared.clock.now();
    let routing = routing_of(&api, &principal);
    let overrides = routing.roster.usable(live_overrides(&*api.shared.state, &principal.tenant, now).await?);
    let to = now.plus(Duration::from_secs(days * DAY.as_secs()));
    let schedules: Vec<Value> = routing.roster.plans().iter().map(|plan| schedule(plan, &routing, &overrides, now, to)).collect();
    let users: Vec<Value> = routing
        .roster
        .users()
        .map(|user| {
            let on_call = |plan: &&Plan| plan.on_call(&overrides, &routing.calendar, now).is_some_and(|(who, _)| who == user.name);
            let plans: Vec<&str> = routing.roster.plans().iter().filter(on_call).map(|plan| plan.name.as_str()).collect();
            json!({"name": user.name, "receivers": user.receivers, "on_call": plans})
        })
        .collect();
    let teams: Vec<Value> = routing.roster.teams().iter().map(|(name, members)| json!({"name": name, "members": members})).collect();
    let you = match &principal.actor {
        Actor::User { id } => routing.roster.user(id).map(|user| user.name.as_str()),
        Actor::System { .. } | Actor::Key { .. } | Actor::Chat { .. } | Actor::Provider { .. } => None,
    };
    let overrides: Vec<Value> = overrides.iter().map(view).collect();
    Ok(Json(json!({"at": now, "you": you, "schedules": schedules, "users": users, "teams": teams, "overrides": overrides})))
}

fn schedule(plan: &Plan, routing: &Routing, overrides: &[Override], now: Timestamp, to: Timestamp) -> Value {
    let ahead = to.max(now.plus(DAY * AHEAD));
    let all = shifts(plan, overrides, &routing.calendar, now, ahead);
    let user = |shift: &Shift| shift.who.as_ref().map(|(who, _)| who.clone());
    let first = all.first().map(user);
    // Whoever is named by another layer or an override goes on without a change of hands.
    let end = all.iter().find(|shift| Some(user(shift)) != first);
    let shown: Vec<Value> = all
        .iter()
        .filter(|shift| shift.from < to)
        .map(|shift| {
            let (layer, by) = match &shift.who {
                Some((_, By::Layer(place))) => (Some(place + 1), None),
                Some((_, By::Override(id))) => (None, Some(id)),
                None => (None, None),
            };
            json!({"from": shift.from, "to": shift.to.min(to), "user": user(shift), "layer": layer, "override": by})
        })
        .collect();
    json!({
        "name": plan.name,
        "time_zone": plan.zone.name(),
        "user": first.flatten(),
        "until": end.map(|shift| shift.from),
        "next": end.map(|shift| json!({"user": user(shift), "from": shift.from})),
        "shifts": shown,
    })
}

fn view(one: &Override) -> Value {
    json!({
        "id": one.id, "schedule": one.schedule, "user": one.user, "starts_at": one.starts_at, "ends_at": one.ends_at,
        "created_by": one.created_by, "comment": one.comment,
    })
}

/// The body of a new override. It ends at `ends_at`, or `duration` after its start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOverride {
    schedule: String,
    user: String,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    duration: Option<Span>,
    #[serde(default)]
    comment: String,
}

impl NewOverride {
    fn into_override(self, api: &Api, principal: &Principal, now: Timestamp) -> Result<Override, ApiError> {
        let routing = routing_of(api, principal);
        if routing.roster.plan(&self.schedule).is_none() {
            let known: Vec<&str> = routing.roster.plans().iter().map(|plan| plan.name.as_str()).collect();
            let known = if known.is_empty() { "none is under alerting.schedules".to_owned() } else { format!("use {}", known.join(", ")) };
            return Err(ApiError::not_found(format!("there is no schedule `{}`: {known}", self.schedule)));
        }
        if routing.roster.user(&self.user).is_none() {
            return Err(ApiError::not_found(format!("there is no user `{}` under alerting.users", self.user)));
        }
        let starts_at = self.starts_at.unwrap_or(now);
        let ends_at = end_of("an override", starts_at, self.ends_at, self.duration, now)?;
        if ends_at.since(now) > LONGEST * 4 {
            return Err(ApiError::bad_data("an override ends within a year: change the schedule in the configuration instead"));
        }
        if self.comment.len() > LONGEST_COMMENT {
            return Err(ApiError::bad_data(format!("`comment` has at most {LONGEST_COMMENT} bytes")));
        }
        Ok(Override {
            id: OverrideId::new(now, &*api.shared.ids),
            tenant: principal.tenant.clone(),
            schedule: self.schedule,
            user: self.user,
            starts_at,
            ends_at,
            created_by: principal.actor.clone(),
            comment: self.comment,
            over: false,
        })
    }
}

/// Somebody takes a turn of another one.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    body: Result<Json<NewOverride>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    principal.require(Permission::Respond)?;
    let Json(body) = body.map_err(|error| ApiError::bad_data(error.body_text()))?;
    let now = api.shared.clock.now();
    let one = body.into_override(&api, &principal, now)?;
    let mut commit = Commit::at(now);
    commit.put(&one, Expect::New)?;
    let live = everything::<Override>(&*api.shared.state, &principal.tenant, &["live"]).await?;
    let (old, live): (Vec<_>, Vec<_>) = live.into_iter().partition(|one| one.entity.ends_at.plus(PUT_AWAY_AFTER) <= now);
    if live.len() >= MOST_OVERRIDES {
        return Err(ApiError::conflict(format!("there are {MOST_OVERRIDES} overrides already: take some back")));
    }
    // Whoever puts it away at the same moment writes the same.
    for old in old.into_iter().take(MOST_OVERRIDES) {
        commit.put(&Override { over: true, ..old.entity }, Expect::Any)?;
    }
    let (schedule, user) = (one.schedule.clone(), one.user.clone());
    let kind = EventKind::OnCallOverridden { id: one.id, schedule, user, starts_at: one.starts_at, ends_at: one.ends_at };
    commit.event(event(&api, &principal, now, Subject::default(), kind));
    api.shared.state.commit(commit).await?;
    Ok((StatusCode::CREATED, Json(json!({"override": view(&one)}))))
}

/// Takes an override back.
pub(super) async fn end(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Respond)?;
    let id: OverrideId = id.parse().map_err(|error: model::ids::IdError| ApiError::bad_data(error.to_string()))?;
    let found = load::<Override>(&*api.shared.state, &principal.tenant, &id.to_string()).await?;
    let Some(Versioned { entity: mut one, version }) = found else {
        return Err(ApiError::not_found(format!("there is no override {id}")));
    };
    if !one.over {
        let now = api.shared.clock.now();
        one.over = true;
        let mut commit = Commit::at(now);
        commit.put(&one, Expect::Version(version))?;
        let kind = EventKind::OnCallRestored { id, schedule: one.schedule.clone(), user: one.user.clone() };
        commit.event(event(&api, &principal, now, Subject::default(), kind));
        api.shared.state.commit(commit).await?;
    }
    Ok(Json(json!({"override": view(&one)})))
}
