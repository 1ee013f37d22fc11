//! The alert state machine: Prometheus's, exactly, plus what Watchfire adds (severity ladders, failing queries that hold alerts,
//! flapping). Pure. In: a rule, its state before, the outcome of one evaluation, the moment, fresh ids. Out: the state after and
//! what changed. Cannot fail: a failing query is an outcome.

mod severity;

use std::collections::BTreeMap;
use std::time::Duration;

use model::alert::{Alert, AlertState};
use model::ids::{AlertId, IdSource};
use model::labels::Labels;
use model::severity::Severity;
use model::state::Entity;
use model::tenant::TenantId;
use model::time::Timestamp;
use model::units::Value;
use serde::{Deserialize, Serialize};

use crate::rules::{AlertRule, Question, Threshold, Thresholds};

/// How long a resolved alert is kept in memory and shown (Prometheus: `resolvedRetention`).
pub const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);

/// What the machine remembers of an alert beyond what others read. Kept in the alert's own record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// For each severity above the present level, up to the alert's: since when the value has been below it.
    pub below_since: BTreeMap<Severity, Timestamp>,
    /// The last 64 evaluations, newest in bit 0: whether the alert fired by Prometheus's rules.
    pub history: u64,
    /// When the newest of them was. What is written only where something changes may be older than the last evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged_at: Option<Timestamp>,
    /// Whether it flaps: it is held open until it has settled.
    pub flapping: bool,
    /// The rule's thresholds and label templates when it was last written: what a probe needs when the rule is gone.
    pub thresholds: Option<Thresholds>,
    /// The rule's recovery threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Threshold>,
    /// Label templates of the rule.
    pub rule_labels: BTreeMap<String, String>,
    /// What is known of an alert that somebody else's rules made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign: Option<Foreign>,
    /// What the rule asks, where that is more than the alert's `expr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
}

/// An alert that came through an API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Foreign {
    /// Without news it counts as over from then on.
    pub ends_at: Timestamp,
    /// When there was news.
    pub updated_at: Timestamp,
    /// The sender's own key for it (PagerDuty's `dedup_key`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
}

/// An alert with the machine's memory. It is what stands in the record of kind `alert`; everybody else reads the [`Alert`] in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
    /// The memory.
    #[serde(default)]
    pub memory: Memory,
}

impl Entity for Instance {
    const KIND: &'static str = Alert::KIND;
    fn tenant(&self) -> &TenantId {
        self.alert.tenant()
    }
    fn id(&self) -> String {
        self.alert.id()
    }
    fn key(&self) -> Option<String> {
        self.alert.key()
    }
    fn status(&self) -> &'static str {
        self.alert.status()
    }
}

/// When an alert flaps: `changes` between firing and not firing within `evaluations`. 0 changes: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flapping {
    /// So many changes ...
    pub changes: u32,
    /// ... within so many evaluations (at most 64).
    pub evaluations: u32,
}

impl Default for Flapping {
    fn default() -> Self {
        Flapping { changes: 6, evaluations: 20 }
    }
}

impl Flapping {
    fn holds(&self, history: u64) -> bool {
        let window = self.evaluations.clamp(2, 64);
        let pairs = (history ^ (history >> 1)) & (u64::MAX >> (65 - window));
        self.changes > 0 && pairs.count_ones() >= self.changes
    }
}

/// One element of a rule's result, after templating.
#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    /// The identity: labels after templating with `alertname`, without `__name__` and without a ladder's severity.
    pub labels: Labels,
    /// Expanded annotations.
    pub annotations: BTreeMap<String, String>,
    /// The value.
    pub value: Value,
    /// How bad this value is.
    pub severity: Severity,
    /// No threshold holds, but neither does the recovery threshold: what fires goes on, nothing begins.
    pub lingers: bool,
}

/// What an evaluation said.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// These label sets are active; no two have the same identity.
    Samples(BTreeMap<u64, Active>),
    /// It failed: nothing is known.
    Failed(String),
}

/// A rule that fails, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// The first failed evaluation.
    pub since: Timestamp,
    /// Failed evaluations in a row.
    pub failures: u32,
    /// The last reason.
    pub error: String,
}

/// Alerts by fingerprint.
pub type Instances = BTreeMap<u64, Instance>;

/// A rule's state between evaluations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleState {
    /// Its alerts: pending, firing, and resolved within the last 15 minutes.
    pub instances: Instances,
    /// Set while its query fails.
    pub failing: Option<Failing>,
}

/// What changed about one alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is true for the first time, but not long enough.
    Pending,
    /// It vanished while pending and is forgotten.
    Cancelled,
    /// It fires.
    Fired,
    /// It got worse or better.
    SeverityChanged {
        /// From.
        from: Severity,
    },
    /// It is over.
    Resolved,
    /// It changes too often: held open.
    FlappingBegan,
    /// It has settled.
    FlappingEnded,
}

/// What changed about the rule itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleChange {
    /// Its query fails now: its alerts are held.
    Unknown(String),
    /// It answers again.
    Recovered,
}

/// The state after an evaluation, and what changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// The state.
    pub state: RuleState,
    /// About alerts, in order of fingerprint; with the alert as it is after the change.
    pub changes: Vec<(Change, Instance)>,
    /// About the rule.
    pub rule: Option<RuleChange>,
}

/// What the machine needs to know of a rule.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// The rule.
    pub rule: &'a AlertRule,
    /// When its alerts flap.
    pub flapping: Flapping,
    /// Between evaluations.
    pub interval: Duration,
}

/// One evaluation.
pub fn step(setting: Setting<'_>, before: &RuleState, outcome: &Outcome, now: Timestamp, ids: &dyn IdSource) -> Step {
    match outcome {
        Outcome::Failed(error) => hold(before, error, now),
        Outcome::Samples(samples) => advance(setting, before, samples, now, ids),
    }
}

/// The identity of a label set under a rule.
pub fn fingerprint(rule: &model::alert::RuleKey, labels: &Labels) -> u64 {
    let keyed = labels.clone().with("__source__", &rule.source).with("__group__", &rule.group).with("__rule__", &rule.name);
    keyed.fingerprint()
}

fn hold(before: &RuleState, error: &str, now: Timestamp) -> Step {
    let mut step = Step { state: before.clone(), ..Step::default() };
    for instance in step.state.instances.values_mut() {
        instance.alert.unknown = match instance.alert.state {
            AlertState::Pending { .. } | AlertState::Firing { .. } => true,
            AlertState::Resolved { .. } => false,
        };
    }
    let (since, failures) = before.failing.as_ref().map_or((now, 0), |failing| (failing.since, failing.failures));
    step.state.failing = Some(Failing { since, failures: failures.saturating_add(1), error: error.to_owned() });
    step.rule = before.failing.is_none().then(|| RuleChange::Unknown(error.to_owned()));
    step
}

fn advance(setting: Setting<'_>, before: &RuleState, samples: &BTreeMap<u64, Active>, now: Timestamp, ids: &dyn IdSource) -> Step {
    let mut step = Step { rule: before.failing.as_ref().map(|_| RuleChange::Recovered), ..Step::default() };
    let fingerprints: std::collections::BTreeSet<u64> = before.instances.keys().chain(samples.keys()).copied().collect();
    for fingerprint in fingerprints {
        let previous = before.instances.get(&fingerprint);
        // Not one that is kept open only by `keep_firing_for` or because it flaps: that has recovered.
        let fires = previous.is_some_and(|instance| instance.alert.is_firing() && instance.memory.history & 1 == 1);
        let mut changes = Vec::new();
        let after = match (samples.get(&fingerprint).filter(|sample| fires || !sample.lingers), previous) {
            (Some(sample), previous) => Some(present(setting, fingerprint, previous, sample, now, ids, &mut changes)),
            (None, Some(previous)) => absent(setting, previous, now, &mut changes),
            (None, None) => None,
        };
        if let Some(last) = after.as_ref().or(previous) {
            step.changes.extend(changes.into_iter().map(|change| (change, last.clone())));
        }
        if let Some(after) = after {
            step.state.instances.insert(fingerprint, after);
        }
    }
    step
}

/// The label set is in the result.
fn present(
    setting: Setting<'_>,
    fingerprint: u64,
    previous: Option<&Instance>,
    sample: &Active,
    now: Timestamp,
    ids: &dyn IdSource,
    changes: &mut Vec<Change>,
) -> Instance {
    let open = previous.filter(|instance| instance.alert.state.resolved_at().is_none()).cloned();
    let fresh = open.is_none();
    let mut instance = open.unwrap_or_else(|| begin(setting, fingerprint, previous, sample, now, ids));
    instance.alert.value = sample.value;
    instance.alert.annotations = sample.annotations.clone();
    instance.alert.unknown = false;
    instance.alert.state = match instance.alert.state {
        AlertState::Pending { active_at } if now.since(active_at) >= setting.rule.hold => {
            changes.push(Change::Fired);
            AlertState::Firing { active_at, fired_at: now, keep_firing_since: None }
        }
        AlertState::Firing { active_at, fired_at, .. } => AlertState::Firing { active_at, fired_at, keep_firing_since: None },
        state @ (AlertState::Pending { .. } | AlertState::Resolved { .. }) => state,
    };
    let firing = instance.alert.is_firing();
    if fresh && !firing {
        changes.push(Change::Pending);
    }
    let from = instance.alert.severity;
    let just_fired = changes.contains(&Change::Fired);
    instance.alert.severity = if firing && !just_fired {
        severity::settle(&mut instance.memory.below_since, from, sample.severity, setting.rule.hold, now)
    } else {
        instance.memory.below_since.clear();
        sample.severity
    };
    if firing && !just_fired && from != instance.alert.severity {
        changes.push(Change::SeverityChanged { from });
    }
    dress(setting.rule, &mut instance, sample);
    remember(setting, &mut instance, firing, now, changes);
    instance
}

/// What follows from the rule as it stands.
fn dress(rule: &AlertRule, instance: &mut Instance, sample: &Active) {
    let alert = &mut instance.alert;
    alert.labels = match rule.thresholds {
        Some(_) => sample.labels.clone().with("severity", alert.severity.as_str()),
        None => sample.labels.clone(),
    };
    alert.expr.clone_from(&rule.expr);
    alert.escalation = rule.escalation.ladder(alert.severity).map(str::to_owned);
    alert.remediation.clone_from(&rule.remediation);
    instance.memory.thresholds.clone_from(&rule.thresholds);
    instance.memory.recovery = rule.recovery;
    instance.memory.question = Some(&rule.question).filter(|question| **question != Question::PromQl).cloned();
    instance.memory.rule_labels = rule.labels.iter().map(|(name, template)| (name.clone(), template.text().to_owned())).collect();
}

fn begin(
    setting: Setting<'_>,
    fingerprint: u64,
    previous: Option<&Instance>,
    sample: &Active,
    now: Timestamp,
    ids: &dyn IdSource,
) -> Instance {
    let alert = Alert {
        id: AlertId::new(now, ids),
        tenant: setting.tenant.clone(),
        rule: setting.rule.key.clone(),
        fingerprint,
        labels: sample.labels.clone(),
        annotations: BTreeMap::new(),
        severity: sample.severity,
        state: AlertState::Pending { active_at: now },
        value: sample.value,
        expr: String::new(),
        escalation: None,
        remediation: None,
        acknowledged: None,
        incident: None,
        unknown: false,
        muted: false,
        generator_url: String::new(),
    };
    let (history, judged_at) = previous.map_or((0, None), |resolved| (resolved.memory.history, resolved.memory.judged_at));
    Instance { alert, memory: Memory { history, judged_at, ..Memory::default() } }
}

/// The label set is not in the result. `None`: nothing is left of it.
fn absent(setting: Setting<'_>, previous: &Instance, now: Timestamp, changes: &mut Vec<Change>) -> Option<Instance> {
    let mut instance = previous.clone();
    instance.alert.unknown = false;
    remember(setting, &mut instance, false, now, changes);
    match instance.alert.state {
        AlertState::Pending { .. } => {
            changes.clear();
            changes.push(Change::Cancelled);
            None
        }
        AlertState::Firing { active_at, fired_at, keep_firing_since } => {
            let keeps = setting.rule.keep_firing_for;
            let since = keep_firing_since.or((!keeps.is_zero()).then_some(now));
            let kept = since.is_some_and(|since| now.since(since) < keeps);
            instance.alert.state = if kept || instance.memory.flapping {
                AlertState::Firing { active_at, fired_at, keep_firing_since: since }
            } else {
                changes.push(Change::Resolved);
                AlertState::Resolved { active_at, fired_at, resolved_at: now }
            };
            Some(instance)
        }
        AlertState::Resolved { resolved_at, .. } => (now.since(resolved_at) <= RESOLVED_RETENTION).then_some(instance),
    }
}

fn remember(setting: Setting<'_>, instance: &mut Instance, fires: bool, now: Timestamp, changes: &mut Vec<Change>) {
    let memory = &mut instance.memory;
    // Evaluations of which nothing was written, as before a restart: nothing changed in them.
    let passed = memory.judged_at.map_or(0, |before| now.since(before).as_nanos() / setting.interval.as_nanos().max(1));
    for _ in 1..passed.min(64) {
        memory.history = memory.history << 1 | memory.history & 1;
    }
    memory.history = memory.history << 1 | u64::from(fires);
    memory.judged_at = (!setting.interval.is_zero()).then_some(now);
    let flaps = instance.alert.is_firing() && setting.flapping.holds(memory.history);
    if flaps != memory.flapping {
        changes.push(if flaps { Change::FlappingBegan } else { Change::FlappingEnded });
    }
    memory.flapping = flaps;
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
