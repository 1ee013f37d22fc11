//! The routing tree as an Alertmanager configuration: what `amtool config show` and `amtool config routes` read. Pure. It holds names of
//! receivers only, never how they are reached.

use serde_json::{Map, Value, json};

use crate::routing::tree::GroupBy;
use crate::routing::{Route, Routing};

/// What the receiver is called that hears of alerts where there is no tree.
pub(super) const DEFAULT: &str = "default";

fn span(duration: std::time::Duration) -> String {
    model::time::Span(duration).to_string()
}

fn route(one: &Route, parent: Option<&Route>) -> Value {
    let mut out = Map::new();
    let mut set = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    set("receiver", one.name.clone().into());
    if parent.is_none_or(|parent| parent.group_by != one.group_by) {
        let labels: Vec<&str> = match &one.group_by {
            GroupBy::All => vec!["..."],
            GroupBy::Labels(labels) => labels.iter().map(String::as_str).collect(),
        };
        if parent.is_some() || !labels.is_empty() {
            set("group_by", json!(labels));
        }
    }
    if parent.is_some() {
        if !one.matchers.0.is_empty() {
            set("matchers", json!(one.matchers.texts()));
        }
        set("continue", one.goes_on.into());
    }
    let mut time = |key: &str, own, inherited: Option<std::time::Duration>| {
        if inherited != Some(own) {
            set(key, span(own).into());
        }
    };
    time("group_wait", one.group_wait, parent.map(|parent| parent.group_wait));
    time("group_interval", one.group_interval, parent.map(|parent| parent.group_interval));
    time("repeat_interval", one.repeat_interval, parent.map(|parent| parent.repeat_interval));
    for (key, names) in [("mute_time_intervals", &one.hours.mute), ("active_time_intervals", &one.hours.active)] {
        if !names.is_empty() {
            set(key, json!(names));
        }
    }
    if !one.children.is_empty() {
        set("routes", one.children.iter().map(|child| route(child, Some(one))).collect());
    }
    Value::Object(out)
}

/// The names of receivers, sorted, each once.
pub(super) fn receivers(routing: &Routing) -> Vec<String> {
    let mut names: Vec<String> = match &routing.root {
        Some(root) => root.all().into_iter().map(|route| route.name.clone()).collect(),
        None => vec![DEFAULT.to_owned()],
    };
    names.sort();
    names.dedup();
    names
}

/// The configuration as YAML.
pub(super) fn original(routing: &Routing) -> String {
    let tree = match &routing.root {
        Some(root) => route(root, None),
        None => json!({"receiver": DEFAULT}),
    };
    let names: Vec<Value> = receivers(routing).into_iter().map(|name| json!({"name": name})).collect();
    let mut out = json!({
        "global": {"resolve_timeout": routing.resolve_timeout.to_string()},
        "route": tree,
        "receivers": names,
    });
    if !routing.inhibit_rules.is_empty() {
        out["inhibit_rules"] = json!(routing.inhibit_rules);
    }
    if !routing.time_intervals.is_empty() {
        out["time_intervals"] = json!(routing.time_intervals);
    }
    // JSON's texts and lists are YAML; written as YAML it is meant for people.
    serde_saphyr::to_string(&out).unwrap_or_else(|_| out.to_string())
}
