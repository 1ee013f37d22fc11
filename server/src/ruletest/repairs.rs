//! `remediation_test`: which plan ran, what it did and how it ended. Pure.

use std::collections::BTreeMap;

use model::event::{EventKind, Recorded};
use model::ids::RemediationId;
use model::repair::RepairOutcome;
use model::time::{Span, Timestamp};

use super::diff;
use super::file::{RemediationYaml, StepYaml};

const EVENTS: [&str; 4] = ["started", "acted", "undone", "finished"];

#[derive(Debug)]
struct Step {
    at: Span,
    event: &'static str,
    remediation: String,
    rung: Option<String>,
    ok: Option<bool>,
    outcome: Option<&'static str>,
    text: String,
}

impl Step {
    fn shown(&self) -> String {
        let mut text = format!("at {}: {} {}", self.at, self.remediation, self.event);
        text.push_str(&self.rung.as_ref().map_or_else(String::new, |rung| format!(", rung {rung}")));
        text.push_str(&self.ok.map_or_else(String::new, |ok| format!(", ok: {ok}")));
        text.push_str(&self.outcome.map_or_else(String::new, |outcome| format!(", {outcome}")));
        if !self.text.is_empty() {
            text.push_str(&format!(" [{}]", self.text));
        }
        text
    }
}

fn ended(outcome: &RepairOutcome) -> (&'static str, String) {
    match outcome {
        RepairOutcome::Verified { rung } => ("verified", rung.clone()),
        RepairOutcome::HandedOver { reason } => ("handed_over", reason.clone()),
        RepairOutcome::Refused { reason } => ("refused", reason.clone()),
        RepairOutcome::DryRun => ("dry_run", String::new()),
        RepairOutcome::NotNeeded => ("not_needed", String::new()),
    }
}

fn steps(journal: &[Recorded], start: Timestamp, until: Span) -> Vec<Step> {
    let mut names: BTreeMap<RemediationId, String> = BTreeMap::new();
    let mut steps = Vec::new();
    for event in journal.iter().map(|recorded| &recorded.event) {
        let at = Span(event.at.since(start));
        let name = |names: &BTreeMap<RemediationId, String>, run| names.get(run).cloned().unwrap_or_default();
        let plain = Step { at, event: "", remediation: String::new(), rung: None, ok: None, outcome: None, text: String::new() };
        let step = match &event.kind {
            EventKind::RepairStarted { run, remediation, .. } => {
                names.insert(*run, remediation.clone());
                Step { event: "started", remediation: remediation.clone(), ..plain }
            }
            EventKind::RepairActed { run, rung, result, ok } => {
                let (remediation, rung, ok, text) = (name(&names, run), Some(rung.clone()), Some(*ok), result.clone());
                Step { event: "acted", remediation, rung, ok, text, ..plain }
            }
            EventKind::RepairUndone { run, rung, result, ok } => {
                let (remediation, rung, ok, text) = (name(&names, run), Some(rung.clone()), Some(*ok), result.clone());
                Step { event: "undone", remediation, rung, ok, text, ..plain }
            }
            EventKind::RepairFinished { remediation, outcome, .. } => {
                let (word, text) = ended(outcome);
                Step { event: "finished", remediation: remediation.clone(), outcome: Some(word), text, ..plain }
            }
            _ => continue,
        };
        if step.at <= until {
            steps.push(step);
        }
    }
    steps
}

fn wanted(step: &StepYaml) -> String {
    let mut text = format!("at {}: {} {}", step.at, step.remediation.as_deref().unwrap_or("any remediation"), step.event);
    text.push_str(&step.rung.as_ref().map_or_else(String::new, |rung| format!(", rung {rung}")));
    text.push_str(&step.ok.map_or_else(String::new, |ok| format!(", ok: {ok}")));
    text.push_str(&step.outcome.as_ref().map_or_else(String::new, |outcome| format!(", {outcome}")));
    text.push_str(&step.text.as_ref().map_or_else(String::new, |part| format!(" [..{part}..]")));
    text
}

fn fits(wanted: &StepYaml, step: &Step) -> bool {
    wanted.at == step.at
        && wanted.event == step.event
        && wanted.remediation.as_ref().is_none_or(|name| *name == step.remediation)
        && wanted.rung.as_ref().is_none_or(|rung| step.rung.as_ref() == Some(rung))
        && wanted.ok.is_none_or(|ok| step.ok == Some(ok))
        && wanted.outcome.as_deref().is_none_or(|outcome| step.outcome == Some(outcome))
        && wanted.text.as_ref().is_none_or(|part| step.text.contains(part.as_str()))
}

/// Why the test fails, if it does. Nothing may be missing, nothing may be too much.
pub(super) fn check(test: &RemediationYaml, journal: &[Recorded], start: Timestamp, until: Span) -> Option<String> {
    let expected: Vec<&StepYaml> = test.exp_steps.iter().flatten().map(|step| &step.value).collect();
    if let Some(step) = expected.iter().find(|step| !EVENTS.contains(&step.event.as_str())) {
        return Some(format!("event `{}` is unknown: use {}\n", step.event, EVENTS.join(", ")));
    }
    let got = steps(journal, start, until);
    let (missing, extra) = diff::pair(&expected, &got, |wanted, step| fits(wanted, step));
    let missing: Vec<String> = missing.into_iter().map(|at| wanted(expected[at])).collect();
    let extra: Vec<String> = extra.into_iter().map(|at| got[at].shown()).collect();
    diff::lines(&missing, &extra)
}
