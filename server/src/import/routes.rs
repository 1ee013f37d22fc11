//! Alertmanager's routing tree, asked for rules instead of alerts: a rule says which labels its alerts have, except those that come from
//! its series. In: YAML. Out: receivers, inhibition, and for each rule where it leads. What depends on unknown labels is told.

use std::cell::RefCell;
use std::collections::BTreeMap;

use alerting::silence::MatcherText;
use model::labels::{Labels, Matcher};

use super::matchers;
use super::receivers::{self, Group, Receiver};
use super::tree::{Node, Notes};

/// What an Alertmanager configuration comes to.
pub(super) struct Plan {
    pub file: String,
    pub receivers: Vec<Receiver>,
    pub groups: Vec<Group>,
    pub inhibit: Vec<Inhibit>,
    /// `group_by` of the root, without `alertname`.
    pub group_by: Vec<String>,
    root: Route,
    /// Routes that depend on labels which rules do not say, by line.
    open: RefCell<BTreeMap<u64, Open>>,
}

/// A route that depends on labels which rules do not say.
struct Open {
    labels: Vec<String>,
    rules: Vec<String>,
}

/// An inhibition rule.
pub(super) struct Inhibit {
    pub source: Vec<Matcher>,
    pub target: Vec<Matcher>,
    pub equal: Vec<String>,
}

/// A route.
struct Route {
    line: u64,
    /// `None`: unreadable, and so never followed.
    matchers: Option<Vec<Matcher>>,
    receiver: Option<String>,
    goes_on: bool,
    children: Vec<Route>,
}

/// What a rule says of the labels of its alerts.
pub(super) struct Said<'a> {
    /// The alert's name.
    pub name: &'a str,
    /// Labels with fixed values, `alertname` among them.
    pub fixed: Labels,
}

enum Fit {
    Yes,
    No,
    /// It depends on these labels.
    Open(Vec<String>),
}

const TIMES: &str = "Watchfire tells at once and repeats by the ladder, until somebody acknowledges";

fn route(node: &Node, notes: &mut Notes) -> Route {
    let matchers = matchers::read(node, "", notes);
    let receiver = node.text("receiver").map(str::to_owned);
    let goes_on = node.text("continue") == Some("true");
    for key in ["group_wait", "group_interval", "repeat_interval"] {
        if let Some(value) = node.get(key) {
            notes.say(value.line, format!("`{key}` is left out: {TIMES}"));
        }
    }
    for key in ["mute_time_intervals", "active_time_intervals"] {
        if let Some(value) = node.get(key) {
            notes.say(value.line, format!("`{key}` is left out: imported routes have no hours; use silences"));
        }
    }
    let children = node.list("routes").iter().map(|child| {
        let made = route(child, notes);
        if let Some(value) = child.get("group_by") {
            notes.say(value.line, "`group_by` of a route below the root is left out: incidents.group_by holds for all alerts");
        }
        child.tell_rest("a route", "Watchfire has no counterpart", notes);
        made
    });
    Route { line: node.line, matchers, receiver, goes_on, children: children.collect() }
}

fn inhibit(node: &Node, notes: &mut Notes) -> Option<Inhibit> {
    let (source, target) = (matchers::read(node, "source_", notes), matchers::read(node, "target_", notes));
    let equal = node.texts("equal");
    node.tell_rest("an inhibition rule", "Watchfire has no counterpart", notes);
    let (source, target) = (source?, target?);
    if source.is_empty() || target.is_empty() {
        notes.say(node.line, "an inhibition rule without matchers on both sides is left out: it would mute everything");
        return None;
    }
    Some(Inhibit { source, target, equal })
}

/// Reads the configuration.
pub(super) fn plan(file: &str, root: &Node, notes: &mut Notes) -> Plan {
    let (receivers, groups) = receivers::read(root, notes);
    let nothing = Route { line: root.line, matchers: Some(Vec::new()), receiver: None, goes_on: false, children: Vec::new() };
    let (mut top, mut group_by) = (nothing, Vec::new());
    if let Some(node) = root.get("route") {
        top = route(node, notes);
        group_by = node.texts("group_by");
        if group_by.iter().any(|label| label == "...") {
            notes.say(node.line, "`group_by: ['...']` is left out: incidents group by incidents.group_by");
            group_by.clear();
        }
        group_by.retain(|label| label != "alertname");
        node.tell_rest("the root route", "Watchfire has no counterpart", notes);
    } else {
        notes.say(0, "there is no `route`: nobody is told of anything");
    }
    let inhibit = root.list("inhibit_rules").iter().filter_map(|node| inhibit(node, notes)).collect();
    for key in ["time_intervals", "mute_time_intervals"] {
        if let Some(value) = root.get(key) {
            notes.say(value.line, format!("`{key}` is left out: imported routes have no hours; use silences"));
        }
    }
    if let Some(value) = root.get("templates") {
        notes.say(value.line, "`templates` is left out: Watchfire writes its own texts");
    }
    root.tell_rest("the configuration", "Watchfire has no counterpart", notes);
    let named = |name: &String| groups.iter().any(|group| group.name == *name);
    missing(&top, &named, notes);
    Plan { file: file.to_owned(), receivers, groups, inhibit, group_by, root: top, open: RefCell::default() }
}

fn missing(route: &Route, named: &impl Fn(&String) -> bool, notes: &mut Notes) {
    if let Some(name) = route.receiver.as_ref().filter(|name| !named(name)) {
        notes.say(route.line, format!("the route's receiver `{name}` does not exist"));
    }
    route.children.iter().for_each(|child| missing(child, named, notes));
}

impl Route {
    fn fits(&self, said: &Said<'_>) -> Fit {
        let Some(matchers) = &self.matchers else { return Fit::No };
        let mut open = Vec::new();
        for matcher in matchers {
            match said.fixed.get(&matcher.name) {
                Some(value) if matcher.matches_value(value) => {}
                Some(_) => return Fit::No,
                None => open.push(matcher.name.clone()),
            }
        }
        if open.is_empty() { Fit::Yes } else { Fit::Open(open) }
    }
}

impl Plan {
    /// The name of the root's receiver.
    pub(super) fn root(&self) -> Option<&str> {
        self.root.receiver.as_deref()
    }

    /// What one of Alertmanager's receivers became.
    pub(super) fn members(&self, name: &str) -> &[String] {
        self.groups.iter().find(|group| group.name == name).map_or(&[], |group| &group.members)
    }

    /// Where the alerts of a rule go: names of Alertmanager's receivers, in order.
    pub(super) fn lead(&self, said: &Said<'_>) -> Vec<String> {
        let mut found = Vec::new();
        self.follow(&self.root, self.root.receiver.as_deref(), said, &mut found);
        found
    }

    fn follow(&self, route: &Route, receiver: Option<&str>, said: &Said<'_>, found: &mut Vec<String>) {
        let mut taken = false;
        for child in &route.children {
            match child.fits(said) {
                Fit::No => {}
                Fit::Open(labels) => {
                    let mut open = self.open.borrow_mut();
                    let entry = open.entry(child.line).or_insert_with(|| Open { labels, rules: Vec::new() });
                    if !entry.rules.iter().any(|name| name == said.name) {
                        entry.rules.push(said.name.to_owned());
                    }
                }
                Fit::Yes => {
                    taken = true;
                    self.follow(child, child.receiver.as_deref().or(receiver), said, found);
                    if !child.goes_on {
                        return;
                    }
                }
            }
        }
        if let (false, Some(receiver)) = (taken, receiver)
            && !found.iter().any(|known| known == receiver)
        {
            found.push(receiver.to_owned());
        }
    }

    /// Tells of the routes that could not be decided.
    pub(super) fn tell_open(&self, notes: &mut Notes) {
        for (line, Open { labels, rules }) in &*self.open.borrow() {
            let shown: Vec<&str> = rules.iter().take(5).map(String::as_str).collect();
            let more = if rules.len() > shown.len() { format!(" and {} more", rules.len() - shown.len()) } else { String::new() };
            let text = format!(
                "this route depends on {}, which the rules do not set (series may bring it): it is not followed for {}{more}; set `escalation` there by hand",
                labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(" and "),
                shown.join(", ")
            );
            notes.say(*line, text);
        }
    }
}

/// Matchers as texts.
pub(super) fn texts(matchers: &[Matcher]) -> Vec<String> {
    matchers.iter().map(|matcher| MatcherText(matcher.clone()).to_string()).collect()
}
