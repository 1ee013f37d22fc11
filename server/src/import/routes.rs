//! Alertmanager's routing tree as Watchfire's. In: YAML. Out: receivers, the tree, time intervals, inhibition. What has no counterpart is
//! told with its line.

use alerting::matchers::{MatcherText, Matchers};
use alerting::routing::intervals::{IntervalConfig, TimesConfig};
use alerting::routing::{NamedIntervals, RouteConfig};
use model::labels::Matcher;
use model::time::Span;

use super::matchers;
use super::receivers::{self, Group, Receiver};
use super::tree::{Node, Notes};

/// What an Alertmanager configuration comes to.
pub(super) struct Plan {
    pub receivers: Vec<Receiver>,
    pub inhibit: Vec<Inhibit>,
    /// `group_by` of the root, without `alertname`: what incidents are grouped by.
    pub group_by: Vec<String>,
    pub route: Option<RouteConfig>,
    pub intervals: Vec<NamedIntervals>,
    /// `global.resolve_timeout`.
    pub resolve_timeout: Option<Span>,
}

/// An inhibition rule.
pub(super) struct Inhibit {
    pub source: Vec<Matcher>,
    pub target: Vec<Matcher>,
    pub equal: Vec<String>,
}

const REST: &str = "Watchfire has no counterpart";

fn span(node: &Node, key: &str, notes: &mut Notes) -> Option<Span> {
    let value = node.get(key)?;
    let read = value.as_text().and_then(|text| text.parse::<Span>().ok());
    if read.is_none() {
        notes.say(value.line, format!("`{key}` is no duration and is left out"));
    }
    read
}

/// `told`: whether the route above tells of ends. Alertmanager asks the receiver, Watchfire's routes inherit it.
fn route(node: &Node, groups: &[Group], mut told: bool, notes: &mut Notes) -> Option<RouteConfig> {
    let mut made = RouteConfig::default();
    if let Some(name) = node.text("receiver") {
        match groups.iter().find(|group| group.name == name) {
            Some(group) => {
                made.receivers = Some(group.members.clone());
                made.send_resolved = (group.send_resolved != told).then_some(group.send_resolved);
                told = group.send_resolved;
                made.name = (group.members != [name]).then(|| name.to_owned());
            }
            None => notes.say(node.line, format!("the route's receiver `{name}` does not exist")),
        }
    }
    made.r#continue = node.text("continue") == Some("true");
    // An empty list is as none: the labels of the route above.
    made.group_by = node.get("group_by").map(|_| node.texts("group_by")).filter(|labels| !labels.is_empty());
    made.group_wait = span(node, "group_wait", notes);
    made.group_interval = span(node, "group_interval", notes);
    made.repeat_interval = span(node, "repeat_interval", notes);
    made.mute_time_intervals = node.texts("mute_time_intervals");
    made.active_time_intervals = node.texts("active_time_intervals");
    // A route whose matchers cannot be read would take everything: it is left out with all below it, and that is told.
    made.matchers = Matchers(matchers::read(node, "", notes)?);
    made.routes = node
        .list("routes")
        .iter()
        .filter_map(|child| {
            let made = route(child, groups, told, notes);
            if made.is_none() {
                notes.say(child.line, "the route is left out, because its matchers cannot be read");
            }
            child.tell_rest("a route", REST, notes);
            made
        })
        .collect();
    Some(made)
}

fn inhibit(node: &Node, notes: &mut Notes) -> Option<Inhibit> {
    let (source, target) = (matchers::read(node, "source_", notes), matchers::read(node, "target_", notes));
    let equal = node.texts("equal");
    node.tell_rest("an inhibition rule", REST, notes);
    let (source, target) = (source?, target?);
    if source.is_empty() || target.is_empty() {
        notes.say(node.line, "an inhibition rule without matchers on both sides is left out: it would mute everything");
        return None;
    }
    Some(Inhibit { source, target, equal })
}

fn interval(node: &Node, notes: &mut Notes) -> IntervalConfig {
    let times = node.list("times").iter().map(|times| TimesConfig {
        start_time: times.text("start_time").unwrap_or_default().to_owned(),
        end_time: times.text("end_time").unwrap_or_default().to_owned(),
    });
    let made = IntervalConfig {
        times: times.collect(),
        weekdays: node.texts("weekdays"),
        days_of_month: node.texts("days_of_month"),
        months: node.texts("months"),
        years: node.texts("years"),
        location: node.text("location").map(str::to_owned),
    };
    node.tell_rest("a time interval", REST, notes);
    if let Err(error) = made.read() {
        notes.say(node.line, format!("the time interval cannot be taken over as it is: {error}"));
    }
    made
}

fn intervals(root: &Node, notes: &mut Notes) -> Vec<NamedIntervals> {
    let lists = ["time_intervals", "mute_time_intervals"].into_iter().flat_map(|key| root.list(key));
    let named = lists.map(|node| NamedIntervals {
        name: node.text("name").unwrap_or_default().to_owned(),
        time_intervals: node.list("time_intervals").iter().map(|one| interval(one, notes)).collect(),
    });
    named.collect()
}

/// What Alertmanager waits where its root route does not say it; those of Watchfire are shorter.
fn usual_waits(root: &mut RouteConfig) {
    root.group_wait.get_or_insert(Span::secs(30));
    root.group_interval.get_or_insert(Span::secs(300));
    root.repeat_interval.get_or_insert(Span::secs(4 * 3600));
}

/// Reads the configuration.
pub(super) fn plan(root: &Node, notes: &mut Notes) -> Plan {
    let resolve_timeout = root.get("global").and_then(|global| span(global, "resolve_timeout", notes));
    let (receivers, groups) = receivers::read(root, notes);
    let (mut top, mut group_by) = (None, Vec::new());
    if let Some(node) = root.get("route") {
        top = route(node, &groups, true, notes);
        top.iter_mut().for_each(usual_waits);
        group_by = node.texts("group_by");
        if group_by.iter().any(|label| label == "...") {
            group_by.clear();
        }
        group_by.retain(|label| label != "alertname");
        node.tell_rest("the root route", REST, notes);
    } else {
        notes.say(0, "there is no `route`: nobody is told of anything");
    }
    let inhibit = root.list("inhibit_rules").iter().filter_map(|node| inhibit(node, notes)).collect();
    let intervals = intervals(root, notes);
    if let Some(value) = root.get("templates") {
        notes.say(value.line, "`templates` is left out: Watchfire writes its own texts");
    }
    root.tell_rest("the configuration", REST, notes);
    Plan { receivers, inhibit, group_by, route: top, intervals, resolve_timeout }
}

/// Matchers as texts.
pub(super) fn texts(matchers: &[Matcher]) -> Vec<String> {
    matchers.iter().map(|matcher| MatcherText(matcher.clone()).to_string()).collect()
}
