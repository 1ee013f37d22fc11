//! The settings of users, teams and schedules. In: YAML. Out: what is configured, read into a [`Plan`] where it makes sense, and one
//! sentence for each thing that does not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::NaiveDateTime;
use model::time::Span;
use serde::{Deserialize, Serialize};

use super::rotation::Rotation;
use super::{Plan, Turns};
use crate::config::Config;
use crate::routing::intervals::zone;

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name by which ladders, teams and schedules call them; `watchfire keys create --user` makes a key theirs.
    pub name: String,
    /// All of these are told at once.
    pub receivers: Vec<String>,
}

/// People who are told together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Team {
    /// Its name.
    pub name: String,
    /// Users and schedules.
    pub members: Vec<String>,
}

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// The IANA zone of its local times; none: UTC.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Rotations; of those that name somebody the last one decides.
    pub layers: Vec<Layer>,
}

/// One rotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Who takes turns, in this order.
    pub users: Vec<String>,
    /// When the first turn begins, in local time: `2026-01-05 09:00`.
    pub from: String,
    /// How long a turn is.
    pub turn: Span,
    /// Named time intervals: outside of them the layer names nobody. Empty: always.
    #[serde(default)]
    pub within: Vec<String>,
}

/// How short and how long a turn may be.
const TURN: std::ops::RangeInclusive<Duration> = Duration::from_secs(3600)..=Duration::from_secs(365 * 86_400);

fn local_time(text: &str) -> Result<NaiveDateTime, String> {
    let read = ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"].into_iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    read.ok_or_else(|| format!("`{text}` is not a local time: write it as 2026-01-05 09:00"))
}

impl Schedule {
    /// Reads it; the error is one sentence.
    pub fn read(&self) -> Result<Plan, String> {
        let zone = zone(self.time_zone.as_deref())?;
        if self.layers.is_empty() {
            return Err("it has no layers: give it at least one with `users`, `from` and `turn`".to_owned());
        }
        let mut layers = Vec::new();
        for (place, layer) in self.layers.iter().enumerate() {
            let place = place + 1;
            if layer.users.is_empty() {
                return Err(format!("layer {place} has no users: name at least one"));
            }
            let from = local_time(&layer.from).map_err(|error| format!("layer {place}: {error}"))?;
            if !TURN.contains(&layer.turn.0) {
                return Err(format!("layer {place}: `turn` is {}: use from 1h to 365d", layer.turn));
            }
            let rotation = Rotation { from, turn: layer.turn.0, zone };
            layers.push(Turns { rotation, users: layer.users.clone(), within: layer.within.clone() });
        }
        Ok(Plan { name: self.name.clone(), zone, layers })
    }
}

/// What is wrong with users, teams and schedules, one sentence each.
pub fn check(config: &Config, receivers: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut names: BTreeMap<&str, usize> = receivers.iter().map(|name| (name.as_str(), 1)).collect();
    let users = config.users.iter().map(|user| &user.name);
    for name in users.chain(config.teams.iter().map(|team| &team.name)).chain(config.schedules.iter().map(|one| &one.name)) {
        *names.entry(name).or_default() += 1;
    }
    for (name, _) in names.iter().filter(|(_, count)| **count > 1) {
        problems.push(format!("alerting: `{name}` names two things among receivers, users, teams and schedules: rename one of them"));
    }
    if names.contains_key("") {
        problems.push("alerting: a user, team or schedule has no name: add `name`".to_owned());
    }
    let user_names: BTreeSet<&str> = config.users.iter().map(|user| user.name.as_str()).collect();
    let schedules: BTreeSet<&str> = config.schedules.iter().map(|schedule| schedule.name.as_str()).collect();
    for user in &config.users {
        let name = &user.name;
        if user.receivers.is_empty() {
            problems.push(format!("alerting.users: user `{name}` has no receivers: name at least one, or nobody can reach them"));
        }
        for missing in user.receivers.iter().filter(|receiver| !receivers.contains(*receiver)) {
            problems
                .push(format!("alerting.users: user `{name}` names the receiver `{missing}`, which is not configured under `receivers`"));
        }
    }
    for team in &config.teams {
        let name = &team.name;
        if team.members.is_empty() {
            problems.push(format!("alerting.teams: team `{name}` has no members: name at least one user or schedule"));
        }
        for missing in team.members.iter().filter(|one| !user_names.contains(one.as_str()) && !schedules.contains(one.as_str())) {
            problems.push(format!("alerting.teams: team `{name}` names `{missing}`, which is no user and no schedule"));
        }
    }
    let intervals: BTreeSet<&str> = config.time_intervals.iter().map(|named| named.name.as_str()).collect();
    for schedule in &config.schedules {
        let say = |problem: String| format!("alerting.schedules: schedule `{}` {problem}", schedule.name);
        problems.extend(schedule.read().err().map(|error| format!("alerting.schedules: schedule `{}`: {error}", schedule.name)));
        let layers = || schedule.layers.iter();
        for missing in layers().flat_map(|layer| &layer.users).filter(|user| !user_names.contains(user.as_str())) {
            problems.push(say(format!("names `{missing}`, which is not under alerting.users")));
        }
        for missing in layers().flat_map(|layer| &layer.within).filter(|name| !intervals.contains(name.as_str())) {
            problems.push(say(format!("has a layer within `{missing}`: `{missing}` is not under alerting.time_intervals")));
        }
    }
    problems
}
