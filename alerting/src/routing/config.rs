//! The routing tree as configured, in Alertmanager's words. In: YAML. Out: plain data, or sentences about what is wrong.

use std::collections::BTreeSet;

use model::time::Span;
use serde::{Deserialize, Serialize};

use super::intervals::NamedIntervals;
use crate::matchers::Matchers;

/// A route: whom alerts with these labels reach. What a child does not say it takes from its parent, its matchers and hours excepted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteConfig {
    /// What Alertmanager's API calls its receiver; none: the ladder, else the receivers joined by `+`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Receivers that hear of groups of alerts; an empty list: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receivers: Option<Vec<String>>,
    /// The ladder that climbs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalation: Option<String>,
    /// All of them must match.
    #[serde(skip_serializing_if = "is_empty")]
    pub matchers: Matchers,
    /// Whether routes after this one are asked too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub r#continue: bool,
    /// Alerts with the same values of these labels are one group; `[...]`: each alert is its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_by: Option<Vec<String>>,
    /// How long the first notice of a group waits for more alerts (default: it does not).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_wait: Option<Span>,
    /// The pause before a notice about new alerts of a group that was told already (default: 1m).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_interval: Option<Span>,
    /// After how long a notice is repeated (default: 4h).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_interval: Option<Span>,
    /// Nobody is told while the time lies in one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mute_time_intervals: Vec<String>,
    /// Nobody is told while the time lies in none of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub active_time_intervals: Vec<String>,
    /// Whether receivers hear of the end (default: yes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_resolved: Option<bool>,
    /// Children: the first that matches takes the alert, and the following ones only if it says `continue`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteConfig>,
}

fn is_empty(matchers: &Matchers) -> bool {
    matchers.0.is_empty()
}

/// A planned, recurring maintenance window: alerts that match are muted while the time lies in one of the intervals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceConfig {
    /// What the journal calls it.
    pub name: String,
    /// All of them must match.
    pub matchers: Matchers,
    /// When: names of `time_intervals`.
    pub time_intervals: Vec<String>,
}

/// What a check needs to know.
pub struct Known<'a> {
    /// Names of receivers.
    pub receivers: &'a BTreeSet<String>,
    /// Names of ladders; `None`: they are known later, with the rules.
    pub ladders: Option<&'a BTreeSet<String>>,
    /// Names of time intervals.
    pub intervals: &'a BTreeSet<&'a str>,
}

/// What is wrong with the intervals.
pub fn check_intervals(intervals: &[NamedIntervals]) -> Vec<String> {
    let (mut problems, mut names) = (Vec::new(), BTreeSet::new());
    for named in intervals {
        if named.name.is_empty() || !names.insert(named.name.as_str()) {
            problems.push(format!("alerting.time_intervals: the name `{}` is empty or exists twice", named.name));
        }
        for error in named.time_intervals.iter().filter_map(|interval| interval.read().err()) {
            problems.push(format!("alerting.time_intervals `{}`: {error}", named.name));
        }
    }
    problems
}

/// What is wrong with the tree; `root` is its first route.
pub fn check_tree(root: &RouteConfig, known: &Known<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    if !root.matchers.0.is_empty() || root.r#continue {
        problems.push("alerting.route is for every alert: it takes neither `matchers` nor `continue`".to_owned());
    }
    if root.receivers.is_none() && root.escalation.is_none() {
        problems.push("alerting.route needs `receivers` or `escalation`: whom alerts reach that no child takes".to_owned());
    }
    if !root.mute_time_intervals.is_empty() || !root.active_time_intervals.is_empty() {
        problems.push("alerting.route takes no hours: give them to its children".to_owned());
    }
    check_route("alerting.route", root, known, &mut problems);
    problems
}

fn check_route(place: &str, route: &RouteConfig, known: &Known<'_>, problems: &mut Vec<String>) {
    for name in route.receivers.iter().flatten().filter(|name| !known.receivers.contains(*name)) {
        problems.push(format!("{place}: `{name}` is not configured under `receivers`"));
    }
    if let (Some(ladder), Some(ladders)) = (&route.escalation, known.ladders)
        && !ladders.contains(ladder)
    {
        problems.push(format!("{place}: the ladder `{ladder}` does not exist: write it under alerting.escalations"));
    }
    for name in route.mute_time_intervals.iter().chain(&route.active_time_intervals).filter(|name| !known.intervals.contains(name.as_str()))
    {
        problems.push(format!("{place}: `{name}` is not under alerting.time_intervals"));
    }
    for (key, span) in [("group_interval", route.group_interval), ("repeat_interval", route.repeat_interval)] {
        if span.is_some_and(|span| span.0.as_millis() < 1_000) {
            problems.push(format!("{place}: {key} must be at least 1s"));
        }
    }
    let labels: BTreeSet<&String> = route.group_by.iter().flatten().collect();
    if labels.len() != route.group_by.iter().flatten().count() {
        problems.push(format!("{place}: group_by names a label twice"));
    }
    if labels.len() > 1 && labels.iter().any(|label| *label == "...") {
        problems.push(format!("{place}: group_by takes either `...` or labels"));
    }
    for (at, child) in route.routes.iter().enumerate() {
        check_route(&format!("{place}.routes[{at}]"), child, known, problems);
    }
}
