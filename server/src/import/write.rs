//! The configuration as YAML. Pure.

use std::fmt::Write as _;

use super::Note;
use super::alerts::Ladders;
use super::receivers::quoted;
use super::routes::{Inhibit, Plan, texts};

/// The folder of rule files beside the configuration.
pub const RULES: &str = "rules";

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

fn alerting(out: &mut String, plan: Option<&Plan>, ladders: &Ladders) {
    let _ = writeln!(out, "alerting:\n  rules: {RULES}");
    let Some(plan) = plan else { return };
    let root = plan.root().map(|name| plan.members(name)).unwrap_or_default();
    let _ = writeln!(out, "  # Who hears of alerts that no route below the root takes.\n  default_receivers: {}", list(root));
    if !ladders.is_empty() {
        let _ = writeln!(out, "  # A step more for when nobody answers: - {{ after: 5m, notify: [...] }}\n  escalations:");
    }
    for (name, members) in ladders {
        let _ = writeln!(out, "  - name: {}\n    steps:\n    - {{ after: 0s, notify: {} }}", quoted(name), list(members));
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
pub(super) fn config(plan: Option<&Plan>, ladders: &Ladders, notes: &[Note]) -> String {
    let mut out = String::from("# Written by `watchfire rules import`. Check it with `watchfire check --config <this file>`.\n");
    if !notes.is_empty() {
        out.push_str("#\n# What has no counterpart:\n");
    }
    for note in notes {
        let _ = writeln!(out, "# - {}", note.to_string().replace(['\n', '\r'], " "));
    }
    out.push('\n');
    alerting(&mut out, plan, ladders);
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
