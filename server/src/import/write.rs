//! The configuration as YAML. Pure.

use std::fmt::Write as _;

use super::Note;
use super::receivers::{plain, quoted};
use super::routes::{Inhibit, Plan, texts};

/// The folder of rule files beside the configuration.
pub const RULES: &str = "rules";

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A value as YAML below a key, indented.
fn block(out: &mut String, key: &str, value: &impl serde::Serialize) {
    let text = plain(&serde_saphyr::to_string(value).unwrap_or_default());
    let _ = writeln!(out, "  {key}:");
    for line in text.lines() {
        let _ = writeln!(out, "    {line}");
    }
}

fn alerting(out: &mut String, plan: Option<&Plan>) {
    let _ = writeln!(out, "alerting:\n  rules: {RULES}");
    let Some(plan) = plan else { return };
    if let Some(timeout) = plan.resolve_timeout {
        let _ = writeln!(out, "  resolve_timeout: {timeout}");
    }
    if let Some(route) = &plan.route {
        let _ = writeln!(
            out,
            "  # Whom alerts reach. `escalation: NAME` on a route lets a ladder climb until somebody acknowledges:\n  # escalations: [{{ name: NAME, steps: [{{ after: 0s, notify: [...] }}, {{ after: 5m, notify: [...] }}] }}]"
        );
        block(out, "route", route);
    }
    if !plan.intervals.is_empty() {
        block(out, "time_intervals", &plan.intervals);
    }
    if !plan.inhibit.is_empty() {
        let _ = writeln!(out, "  inhibit_rules:");
    }
    for Inhibit { source, target, equal } in &plan.inhibit {
        let (source, target) = (list(&texts(source)), list(&texts(target)));
        let _ = writeln!(out, "  - source_matchers: {source}\n    target_matchers: {target}\n    equal: {}", list(equal));
    }
}

/// The whole file.
pub(super) fn config(plan: Option<&Plan>, notes: &[Note]) -> String {
    let mut out = String::from("# Written by `watchfire rules import`. Check it with `watchfire check --config <this file>`.\n");
    if !notes.is_empty() {
        out.push_str("#\n# What has no counterpart:\n");
    }
    for note in notes {
        let _ = writeln!(out, "# - {}", note.to_string().replace(['\n', '\r'], " "));
    }
    out.push('\n');
    alerting(&mut out, plan);
    let Some(plan) = plan else { return out };
    if !plan.group_by.is_empty() {
        let _ = writeln!(out, "\nincidents:\n  # From group_by of the root route.\n  group_by: {}", list(&plan.group_by));
    }
    if !plan.receivers.is_empty() {
        let _ = writeln!(out, "\n# Secrets can come from the environment: ${{NAME}}.\nreceivers:");
    }
    for receiver in &plan.receivers {
        let _ = writeln!(out, "- name: {}", quoted(&receiver.name));
        for (key, value) in &receiver.keys {
            let _ = writeln!(out, "  {key}: {value}");
        }
    }
    out
}
