//! What can be configured about rules and ladders. Every key with its default stands in `deploy/watchfire.yaml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use model::message::LadderStep;
use model::time::Span;
use serde::{Deserialize, Serialize};

/// Rules and ladders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The folder with rule files (`*.yaml`, `*.yml`), relative to the configuration file; none: no rules from files.
    pub rules: Option<PathBuf>,
    /// How often a group is evaluated that names no interval.
    pub evaluation_interval: Span,
    /// Added to every alert that leaves, as Prometheus does (`$externalLabels` in templates).
    pub external_labels: BTreeMap<String, String>,
    /// The escalation ladders.
    pub escalations: Vec<Escalation>,
    /// Who hears of alerts that name no ladder.
    pub default_receivers: Vec<String>,
    /// How long an alert that opens incidents waits for its incident before its ladder starts without one.
    pub incident_wait: Span,
    /// A ladder step that is overdue by this much is counted and makes `/-/ready` red.
    pub overdue_after: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rules: None,
            evaluation_interval: Span::secs(15),
            external_labels: BTreeMap::new(),
            escalations: Vec::new(),
            default_receivers: Vec::new(),
            incident_wait: Span::secs(2),
            overdue_after: Span::secs(30),
        }
    }
}

/// An escalation ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// Its name: what rules say in `escalation`.
    pub name: String,
    /// Its steps; `after` counts from the ladder's start and never falls.
    pub steps: Vec<LadderStep>,
    /// How often it begins again after its last step while nobody answers.
    #[serde(default)]
    pub repeat: u32,
}

impl Config {
    /// What is wrong with it, one sentence each.
    pub fn problems(&self, receivers: &BTreeSet<String>) -> Vec<String> {
        let mut problems = Vec::new();
        let known = || receivers.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut names = BTreeSet::new();
        for ladder in &self.escalations {
            if !names.insert(&ladder.name) {
                problems.push(format!("alerting.escalations: the name `{}` stands twice", ladder.name));
            }
            if ladder.steps.is_empty() {
                problems.push(format!("alerting.escalations: `{}` has no steps", ladder.name));
            }
            if ladder.steps.windows(2).any(|pair| pair[1].after < pair[0].after) {
                problems.push(format!("alerting.escalations: the steps of `{}` must stand in the order of `after`", ladder.name));
            }
            for name in ladder.steps.iter().flat_map(|step| &step.notify).filter(|name| !receivers.contains(*name)) {
                problems.push(format!("alerting.escalations: `{}` notifies `{name}`, which is no receiver (known: {})", ladder.name, known()));
            }
        }
        for name in self.default_receivers.iter().filter(|name| !receivers.contains(*name)) {
            problems.push(format!("alerting.default_receivers: `{name}` is no receiver (known: {})", known()));
        }
        if self.evaluation_interval.0.is_zero() {
            problems.push("alerting.evaluation_interval must be longer than 0".to_owned());
        }
        problems
    }
    /// The ladder with a name.
    pub fn ladder(&self, name: &str) -> Option<&Escalation> {
        self.escalations.iter().find(|ladder| ladder.name == name)
    }
}
