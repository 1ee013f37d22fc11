//! Who is on call. In: users, teams and schedules of the configuration, overrides from the state store, a moment. Out: whom a step of a
//! ladder reaches and why them, and the turns of the next weeks. Pure but for [`live_overrides`].
//!
//! A schedule has layers, each a rotation; of the layers that name somebody at a moment the last one decides, as in PagerDuty. An
//! override goes before all layers. Turns change at the same local time all year round.

pub mod config;
mod rotation;
mod shifts;

use std::collections::{BTreeMap, BTreeSet};

use chrono_tz::Tz;
use model::event::Actor;
use model::ids::OverrideId;
use model::state::{Entity, StateError, StateStore};
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::evaluate::everything;
use crate::routing::Calendar;

pub use config::{Layer, Schedule, Team, User};
pub use shifts::{LONGEST, Shift, shifts};

use rotation::Rotation;

/// For a time somebody takes the place of whoever is on call. State kind `on_call_override`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Override {
    /// Its id.
    pub id: OverrideId,
    /// Whose.
    pub tenant: TenantId,
    /// On which schedule.
    pub schedule: String,
    /// Who.
    pub user: String,
    /// From, included.
    pub starts_at: Timestamp,
    /// To, not included.
    pub ends_at: Timestamp,
    /// Who said so.
    pub created_by: Actor,
    /// Why.
    #[serde(default)]
    pub comment: String,
    /// Whether it was taken back, or put away after its end.
    #[serde(default)]
    pub over: bool,
}

impl Override {
    fn holds(&self, schedule: &str, at: Timestamp) -> bool {
        !self.over && self.schedule == schedule && self.starts_at <= at && at < self.ends_at
    }
}

impl Entity for Override {
    const KIND: &'static str = "on_call_override";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn status(&self) -> &'static str {
        if self.over { "over" } else { "live" }
    }
}

/// The overrides that hold at a moment or later, newest first. Fails with the state store only.
pub async fn live_overrides(state: &dyn StateStore, tenant: &TenantId, now: Timestamp) -> Result<Vec<Override>, StateError> {
    let found = everything::<Override>(state, tenant, &["live"]).await?;
    let mut overrides: Vec<Override> = found.into_iter().map(|one| one.entity).filter(|one| one.ends_at > now).collect();
    overrides.sort_by_key(|one| std::cmp::Reverse(one.id));
    Ok(overrides)
}

/// One layer, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turns {
    rotation: Rotation,
    users: Vec<String>,
    /// Named time intervals outside of which the layer names nobody; empty: none.
    within: Vec<String>,
}

/// One schedule, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Where its local times are.
    pub zone: Tz,
    layers: Vec<Turns>,
}

/// People, teams and schedules, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roster {
    /// The receivers; none: every name that is nobody's is taken for one.
    receivers: Option<BTreeSet<String>>,
    users: BTreeMap<String, User>,
    teams: BTreeMap<String, Vec<String>>,
    plans: Vec<Plan>,
}

/// Whom a step reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// The receivers, each once.
    pub receivers: Vec<String>,
    /// The people among them, and why them: `ada (on call on primary)`.
    pub people: Vec<String>,
    /// Schedules on which nobody is on call.
    pub nobody: Vec<String>,
    /// Names that mean nothing any more.
    pub gone: Vec<String>,
}

impl Reached {
    fn add(&mut self, receivers: &[String]) {
        for receiver in receivers {
            if !self.receivers.contains(receiver) {
                self.receivers.push(receiver.clone());
            }
        }
    }
    fn add_user(&mut self, user: &User, why: Option<&str>) {
        let said = why.map_or_else(|| user.name.clone(), |why| format!("{} ({why})", user.name));
        let known = self.people.iter().any(|one| *one == user.name || one.starts_with(&format!("{} (", user.name)));
        if !known {
            self.people.push(said);
        }
        self.add(&user.receivers);
    }
}

impl Roster {
    /// From the configuration; what cannot be read has been told by its check and is left out.
    pub fn of(config: &Config) -> Self {
        Roster {
            receivers: None,
            users: config.users.iter().map(|user| (user.name.clone(), user.clone())).collect(),
            teams: config.teams.iter().map(|team| (team.name.clone(), team.members.clone())).collect(),
            plans: config.schedules.iter().filter_map(|schedule| schedule.read().ok()).collect(),
        }
    }

    /// The same, which knows the receivers too: a ladder that began before a change may name what is gone.
    #[must_use]
    pub fn knowing(self, receivers: impl IntoIterator<Item = String>) -> Self {
        Roster { receivers: Some(receivers.into_iter().collect()), ..self }
    }

    /// Whether there is such a receiver, as far as is known.
    pub fn is_receiver(&self, name: &str) -> bool {
        self.receivers.as_ref().is_none_or(|known| known.contains(name))
    }

    /// The overrides that name a user who is there.
    pub fn usable(&self, overrides: Vec<Override>) -> Vec<Override> {
        overrides.into_iter().filter(|one| self.users.contains_key(&one.user)).collect()
    }

    /// The users, by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }
    /// A user by name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }
    /// The teams with their members, by name.
    pub fn teams(&self) -> &BTreeMap<String, Vec<String>> {
        &self.teams
    }
    /// The schedules, as configured.
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }
    /// A schedule by name.
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.name == name)
    }

    /// Whether whom these names mean depends on schedules.
    pub fn asks_schedules(&self, names: &[String]) -> bool {
        let schedule = |name: &String| self.plan(name).is_some();
        names.iter().any(|name| schedule(name) || self.teams.get(name).is_some_and(|members| members.iter().any(schedule)))
    }

    /// Whom these names mean at a moment. Names that are no user, team or schedule are receivers.
    pub fn reach(&self, names: &[String], overrides: &[Override], calendar: &Calendar, at: Timestamp) -> Reached {
        let mut reached = Reached::default();
        let (mut names, mut seen): (Vec<(&str, Option<&str>)>, Vec<&str>) =
            (names.iter().rev().map(|name| (name.as_str(), None)).collect(), Vec::new());
        while let Some((name, team)) = names.pop() {
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            if let Some(user) = self.users.get(name) {
                reached.add_user(user, team.map(|team| format!("of {team}")).as_deref());
            } else if let Some(members) = self.teams.get(name) {
                names.extend(members.iter().rev().map(|member| (member.as_str(), Some(name))));
            } else if let Some(plan) = self.plan(name) {
                match plan.on_call(overrides, calendar, at).and_then(|(who, _)| self.users.get(&who)) {
                    Some(user) => reached.add_user(user, Some(&format!("on call on {name}"))),
                    None => reached.nobody.push(name.to_owned()),
                }
            } else if self.is_receiver(name) {
                reached.add(&[name.to_owned()]);
            } else {
                reached.gone.push(name.to_owned());
            }
        }
        reached
    }

    /// Everybody whom these names could ever mean: where nobody is on call and nobody else is left to tell.
    pub fn everybody(&self, names: &[String]) -> Reached {
        let mut reached = Reached::default();
        let members = names.iter().flat_map(|name| self.teams.get(name).into_iter().flatten());
        for name in names.iter().chain(members) {
            let users = self.plan(name).into_iter().flat_map(|plan| &plan.layers).flat_map(|layer| &layer.users);
            for user in users.filter_map(|user| self.users.get(user)) {
                reached.add_user(user, Some(&format!("of {name}, on which nobody is on call")));
            }
        }
        reached
    }
}

/// By what somebody is on call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A layer, from 0.
    Layer(usize),
    /// An override.
    Override(OverrideId),
}

impl Plan {
    /// Who is on call at a moment, and by what.
    pub fn on_call(&self, overrides: &[Override], calendar: &Calendar, at: Timestamp) -> Option<(String, By)> {
        if let Some(one) = overrides.iter().filter(|one| one.holds(&self.name, at)).max_by_key(|one| one.id) {
            return Some((one.user.clone(), By::Override(one.id)));
        }
        self.layers.iter().enumerate().rev().find_map(|(place, layer)| Some((layer.user(calendar, at)?.to_owned(), By::Layer(place))))
    }
}

impl Turns {
    fn user(&self, calendar: &Calendar, at: Timestamp) -> Option<&str> {
        let open = self.within.is_empty() || self.within.iter().any(|name| calendar.contains(name, at));
        let turn = self.rotation.turn(at).filter(|_| open)?;
        let place = usize::try_from(turn.rem_euclid(i64::try_from(self.users.len()).ok()?.max(1))).ok()?;
        self.users.get(place).map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
