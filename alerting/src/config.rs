//! The settings of alerting. Every key has a default; unknown keys are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use model::secret::Secret;
use model::time::Span;
use serde::{Deserialize, Serialize};

use crate::channels::config::http_url;
use crate::machine::Flapping;
use crate::on_call::{self, Schedule, Team, User};
use crate::routing::config::{Known, check_intervals, check_tree};
use crate::routing::{MaintenanceConfig, NamedIntervals, Route, RouteConfig};
use crate::rules::Ladder;
use crate::silence::InhibitRule;

/// Rules, ladders, muting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The folder of rule files, relative to the configuration file; none: no rules.
    pub rules: Option<PathBuf>,
    /// How often groups without an `interval` are evaluated.
    pub evaluation_interval: Span,
    /// How far back rules ask when their group has no `query_offset`.
    pub query_offset: Span,
    /// The longest one query of a rule may take.
    pub query_timeout: Span,
    /// Labels of this installation: `$externalLabels` in templates.
    pub external_labels: BTreeMap<String, String>,
    /// How links in notices begin, and `$externalURL`; none: no links.
    pub external_url: Option<String>,
    /// Ladders that rules name in `escalation`.
    pub escalations: Vec<Ladder>,
    /// Receivers that hear of alerts without `escalation`, when they fire and when they resolve.
    pub default_receivers: Vec<String>,
    /// The routing tree, in Alertmanager's words: whom the alerts reach whose rules name no ladder. It takes the place of
    /// `default_receivers`.
    pub route: Option<RouteConfig>,
    /// Named times, for routes and maintenance windows.
    pub time_intervals: Vec<NamedIntervals>,
    /// People, and how each is reached.
    pub users: Vec<User>,
    /// People who are told together.
    pub teams: Vec<Team>,
    /// Whose turn it is.
    pub schedules: Vec<Schedule>,
    /// Recurring maintenance windows.
    pub maintenance: Vec<MaintenanceConfig>,
    /// How long an alert of others fires that is sent without an end and not sent again.
    pub resolve_timeout: Span,
    /// Alerts that mute other alerts.
    pub inhibit_rules: Vec<InhibitRule>,
    /// When an alert that comes and goes is held open; `changes: 0` turns it off.
    pub flapping: Flapping,
    /// How long an alert of severity critical or high waits for its incident before its ladder starts without one.
    pub incident_wait: Span,
    /// The most alerts or recorded series of one rule; more fail the rule. A group's `limit` can only be stricter.
    pub max_alerts_per_rule: usize,
    /// After so many failures in a row, over at least `failing_for`, a rule raises `WatchfireRuleFailing`.
    pub failing_after: u32,
    /// See `failing_after`: so that a short outage of the telemetry store is not told for every rule.
    pub failing_for: Span,
    /// Rules of a group that found nothing to look at for so long raise `WatchfireRuleNoData` (severity info), one for the group;
    /// `0s` turns it off. A rule's `no_data` can say otherwise.
    pub no_data_after: Span,
    /// A ladder step that is later than this raises `WatchfireLadderOverdue`.
    pub ladder_overdue: Span,
    /// A URL that is asked for every `heartbeat_interval` while Watchfire is well; none: no heartbeat.
    pub heartbeat_url: Option<Secret>,
    /// How often.
    pub heartbeat_interval: Span,
    /// The ladder of Watchfire's own alerts; none: the default receivers.
    pub own_escalation: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rules: None,
            evaluation_interval: Span::secs(15),
            query_offset: Span::secs(0),
            query_timeout: Span::secs(30),
            external_labels: BTreeMap::new(),
            external_url: None,
            escalations: Vec::new(),
            default_receivers: Vec::new(),
            route: None,
            time_intervals: Vec::new(),
            users: Vec::new(),
            teams: Vec::new(),
            schedules: Vec::new(),
            maintenance: Vec::new(),
            resolve_timeout: Span::secs(300),
            inhibit_rules: Vec::new(),
            flapping: Flapping::default(),
            incident_wait: Span::secs(2),
            max_alerts_per_rule: 10_000,
            failing_after: 3,
            failing_for: Span::secs(30),
            no_data_after: Span::secs(3_600),
            ladder_overdue: Span::secs(60),
            heartbeat_url: None,
            heartbeat_interval: Span::secs(60),
            own_escalation: None,
        }
    }
}

/// What is wrong with ladders, one sentence each. `known` is who can be told ([`Config::told`]).
pub fn check_ladders<'a>(ladders: impl Iterator<Item = &'a Ladder>, known: &BTreeSet<String>) -> Vec<String> {
    let (mut problems, mut names) = (Vec::new(), BTreeSet::new());
    for ladder in ladders {
        problems.extend(ladder.problems());
        if !names.insert(ladder.name.as_str()) {
            problems.push(format!("escalation `{}` exists twice: rename one of them", ladder.name));
        }
        for receiver in ladder.steps.iter().flat_map(|step| &step.notify).filter(|name| !known.contains(*name)) {
            problems.push(format!(
                "escalation `{}` notifies `{receiver}`, which is not configured under `receivers` (nor under alerting.users, teams or schedules)",
                ladder.name
            ));
        }
    }
    problems
}

impl Config {
    /// What is wrong with the settings, one sentence each; empty where all is well.
    pub fn check(&self, receiver_names: &BTreeSet<String>) -> Vec<String> {
        let mut problems: Vec<String> = check_ladders(self.escalations.iter(), &self.told(receiver_names))
            .into_iter()
            .map(|problem| format!("alerting.escalations: {problem}"))
            .collect();
        for name in self.default_receivers.iter().filter(|name| !receiver_names.contains(*name)) {
            problems.push(format!("alerting.default_receivers names `{name}`, which is not configured under `receivers`"));
        }
        problems.extend(self.check_routing(receiver_names));
        problems.extend(on_call::config::check(self, receiver_names));
        if self.evaluation_interval.0.is_zero() {
            problems.push("alerting.evaluation_interval is 0: write a duration such as 15s".to_owned());
        }
        if self.query_timeout.0.is_zero() {
            problems.push("alerting.query_timeout is 0: write a duration such as 30s".to_owned());
        }
        if self.flapping.changes > 0 && !(2..=64).contains(&self.flapping.evaluations) {
            problems.push("alerting.flapping.evaluations must be from 2 to 64".to_owned());
        }
        if self.flapping.changes >= self.flapping.evaluations && self.flapping.changes > 0 {
            problems.push("alerting.flapping.changes must be smaller than evaluations, or 0 to turn it off".to_owned());
        }
        problems.extend(self.heartbeat_url.as_ref().and_then(|url| http_url("alerting.heartbeat_url", url.reveal(), false)));
        if self.heartbeat_interval < Span::secs(1) {
            problems.push("alerting.heartbeat_interval must be at least 1s".to_owned());
        }
        if self.failing_after == 0 {
            problems.push("alerting.failing_after must be at least 1".to_owned());
        }
        if self.max_alerts_per_rule == 0 {
            problems.push("alerting.max_alerts_per_rule must be at least 1".to_owned());
        }
        for (at, rule) in self.inhibit_rules.iter().enumerate() {
            if rule.source_matchers.is_empty() || rule.target_matchers.is_empty() {
                problems.push(format!("alerting.inhibit_rules[{at}] needs source_matchers and target_matchers"));
            }
        }
        if let Some(name) = self.own_escalation.as_ref().filter(|name| !self.escalations.iter().any(|ladder| ladder.name == **name)) {
            problems.push(format!("alerting.own_escalation names `{name}`, which is not under alerting.escalations"));
        }
        problems
    }
}

impl Config {
    /// Whom the steps of ladders may name: receivers, users, teams and schedules.
    pub fn told(&self, receivers: &BTreeSet<String>) -> BTreeSet<String> {
        let users = self.users.iter().map(|user| &user.name);
        let teams = self.teams.iter().map(|team| &team.name);
        let schedules = self.schedules.iter().map(|schedule| &schedule.name);
        receivers.iter().chain(users).chain(teams).chain(schedules).cloned().collect()
    }

    /// What is wrong with the tree and what belongs to it. Ladders of rule files are checked with the rules.
    fn check_routing(&self, receivers: &BTreeSet<String>) -> Vec<String> {
        let mut problems = check_intervals(&self.time_intervals);
        let intervals: BTreeSet<&str> = self.time_intervals.iter().map(|named| named.name.as_str()).collect();
        if let Some(root) = &self.route {
            problems.extend(check_tree(root, &Known { receivers, ladders: None, intervals: &intervals }));
            if !self.default_receivers.is_empty() {
                let said = "alerting.default_receivers and alerting.route say the same: move the receivers to route.receivers";
                problems.push(said.to_owned());
            }
        }
        for window in &self.maintenance {
            let name = &window.name;
            if window.matchers.0.iter().all(|matcher| matcher.matches_value("")) {
                problems.push(format!("alerting.maintenance `{name}` would mute everything: give it `matchers`"));
            }
            for missing in window.time_intervals.iter().filter(|name| !intervals.contains(name.as_str())) {
                problems.push(format!("alerting.maintenance `{name}`: `{missing}` is not under alerting.time_intervals"));
            }
        }
        problems
    }

    /// Routes that name a ladder which is neither here nor in the rule files, one sentence each.
    pub fn check_routed_ladders(&self, of_rules: &[Ladder]) -> Vec<String> {
        let known: BTreeSet<&str> = self.escalations.iter().chain(of_rules).map(|ladder| ladder.name.as_str()).collect();
        let root = self.route.as_ref().map(Route::root);
        let routes = root.iter().flat_map(Route::all);
        let mut missing: Vec<&str> = routes.filter_map(|route| route.escalation.as_deref()).filter(|name| !known.contains(name)).collect();
        missing.sort_unstable();
        missing.dedup();
        missing
            .into_iter()
            .map(|name| format!("alerting.route names the ladder `{name}`, which does not exist: write it under alerting.escalations"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn defaults_are_sound_and_survive_yaml() {
        let receivers = BTreeSet::from(["pd".to_owned()]);
        assert!(Config::default().check(&receivers).is_empty());
        let text = serde_saphyr::to_string(&Config::default()).unwrap();
        assert_eq!(config(&text), Config::default());
        assert!(serde_saphyr::from_str::<Config>("rulez: x\n").is_err());
    }

    #[test]
    fn problems_name_the_key_and_the_fix() {
        let receivers = BTreeSet::from(["pd".to_owned()]);
        for (text, word) in [
            ("escalations: [{ name: a, steps: [{ after: 0s, notify: [nobody] }] }]", "`nobody`"),
            ("escalations: [{ name: a, steps: [{ after: 5m, notify: [pd] }, { after: 0s, notify: [pd] }] }]", "must not fall"),
            ("escalations: [{ name: a, steps: [{ after: 0s, notify: [] }] }]", "notifies nobody"),
            ("default_receivers: [x]", "default_receivers names `x`"),
            ("evaluation_interval: 0s", "evaluation_interval"),
            ("query_timeout: 0s", "query_timeout"),
            ("flapping: { changes: 9, evaluations: 100 }", "flapping.evaluations"),
            ("flapping: { changes: 20, evaluations: 20 }", "flapping.changes"),
            ("failing_after: 0", "failing_after"),
            ("max_alerts_per_rule: 0", "max_alerts_per_rule"),
            ("inhibit_rules: [{ equal: [a] }]", "inhibit_rules[0]"),
            ("own_escalation: b", "own_escalation names `b`"),
            ("route: { receivers: [pd] }\ndefault_receivers: [pd]", "say the same"),
            ("route: { receivers: [x] }", "`x` is not configured"),
            ("heartbeat_url: nowhere", "heartbeat_url is not a URL"),
            ("heartbeat_interval: 0s", "heartbeat_interval"),
            ("route: { group_wait: 1s }", "needs `receivers` or `escalation`"),
            ("route: { receivers: [pd], matchers: [a=b] }", "for every alert"),
            ("route: { receivers: [pd], routes: [{ mute_time_intervals: [n] }] }", "route.routes[0]: `n` is not under"),
            ("route: { receivers: [pd], group_by: ['...', a] }", "either `...` or labels"),
            ("route: { receivers: [pd], group_interval: 0s }", "group_interval must be at least 1s"),
            ("time_intervals: [{ name: n, time_intervals: [{ weekdays: [freitag] }] }]", "not a weekday"),
            ("users: [{ name: ada, receivers: [] }]", "user `ada` has no receivers"),
            ("users: [{ name: ada, receivers: [x] }]", "user `ada` names the receiver `x`"),
            ("users: [{ name: pd, receivers: [pd] }]", "`pd` names two things"),
            ("teams: [{ name: t, members: [ada] }]", "team `t` names `ada`"),
            ("teams: [{ name: t, members: [] }]", "team `t` has no members"),
            ("schedules: [{ name: s, layers: [] }]", "schedule `s`: it has no layers"),
            ("schedules: [{ name: s, layers: [{ users: [], from: '2026-01-05 09:00', turn: 7d }] }]", "layer 1 has no users"),
            ("schedules: [{ name: s, layers: [{ users: [eve], from: '2026-01-05 09:00', turn: 7d }] }]", "names `eve`"),
            ("schedules: [{ name: s, layers: [{ users: [eve], from: 'monday', turn: 7d }] }]", "`monday` is not a local time"),
            ("schedules: [{ name: s, layers: [{ users: [eve], from: '2026-01-05 09:00', turn: 1m }] }]", "from 1h to 365d"),
            (
                "schedules: [{ name: s, time_zone: Mars, layers: [{ users: [eve], from: '2026-01-05 09:00', turn: 7d }] }]",
                "`Mars` is not a time zone",
            ),
            ("schedules: [{ name: s, layers: [{ users: [eve], from: '2026-01-05 09:00', turn: 7d, within: [n] }] }]", "`n` is not under"),
            ("maintenance: [{ name: m, matchers: [], time_intervals: [] }]", "would mute everything"),
            ("maintenance: [{ name: m, matchers: [a=b], time_intervals: [n] }]", "maintenance `m`: `n`"),
        ] {
            let problems = config(text).check(&receivers);
            assert!(problems.iter().any(|problem| problem.contains(word)), "{word} in {problems:?}");
        }
    }
}
