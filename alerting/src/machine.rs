//! The alert state machine: Prometheus's, exactly, with a severity ladder on top. Pure: the rule, the instances there are, what the
//! expression gave, the moment -> the instances there are next, and what happened.
//!
//! inactive -> pending at the first sample; pending -> firing when it has been true for `for`; a pending instance that vanishes is
//! forgotten; a firing one that vanishes goes on for `keep_firing_for`, then is resolved. A later return is a new alert.

use std::collections::{BTreeMap, BTreeSet};

use model::alert::{Alert, AlertState, RuleKey};
use model::event::EventKind;
use model::ids::{AlertId, IdSource};
use model::labels::Labels;
use model::severity::Severity;
use model::tenant::TenantId;
use model::time::Timestamp;
use model::units::Value;

use crate::rules::{AlertRule, Rule};

/// One result of the expression, after thresholds and templates.
#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    /// Labels by which the alert is known (with `alertname`, without `severity` where a ladder sets it).
    pub identity: Labels,
    /// How bad.
    pub severity: Severity,
    /// The value.
    pub value: f64,
    /// Expanded annotations.
    pub annotations: BTreeMap<String, String>,
}

/// An instance as the machine keeps it: the alert, and since when a milder severity has held.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The alert.
    pub alert: Alert,
    /// Since when the severity would be milder: it falls only after `for`.
    pub milder_since: Option<Timestamp>,
}

/// What one evaluation changed about one alert. The alert is as it is afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The alert.
    pub alert: Alert,
    /// What happened, in order; empty where only a clock moved.
    pub events: Vec<EventKind>,
}

/// What one evaluation leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// The instances that are pending or firing now, by fingerprint.
    pub instances: BTreeMap<u64, Instance>,
    /// What is to be written.
    pub changes: Vec<Change>,
}

/// Why a rule's evaluation is void: nothing changes, nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Prometheus's rule.
    #[error("vector contains metrics with the same labelset after applying alert labels: {0}")]
    Duplicate(String),
    /// The group's `limit`.
    #[error("exceeded limit of {limit} with {count} alerts")]
    Limit {
        /// The limit.
        limit: usize,
        /// How many there would be.
        count: usize,
    },
}

/// xxh3-64 over rule key and identity labels.
pub fn fingerprint(rule: &RuleKey, identity: &Labels) -> u64 {
    let keyed = identity.clone().with("__source__", &rule.source).with("__group__", &rule.group).with("__rule__", &rule.name);
    keyed.fingerprint()
}

/// What a step needs beside the rule and its results.
pub struct Context<'a> {
    /// Whose alerts.
    pub tenant: &'a TenantId,
    /// The moment of the evaluation.
    pub now: Timestamp,
    /// Fresh ids.
    pub ids: &'a dyn IdSource,
    /// The most alerts; 0: any number.
    pub limit: usize,
}

/// One evaluation that gave results.
pub fn step(rule: &Rule, alerting: &AlertRule, before: &BTreeMap<u64, Instance>, active: Vec<Active>, context: &Context<'_>) -> Result<Step, StepError> {
    if context.limit > 0 && active.len() > context.limit {
        return Err(StepError::Limit { limit: context.limit, count: active.len() });
    }
    let mut step = Step::default();
    let mut seen = BTreeSet::new();
    for one in active {
        let fingerprint = fingerprint(&rule.key, &one.identity);
        if !seen.insert(fingerprint) {
            return Err(StepError::Duplicate(one.identity.to_string()));
        }
        let (instance, events) = match before.get(&fingerprint) {
            None => begin(rule, alerting, fingerprint, &one, context),
            Some(instance) => go_on(alerting, instance, &one, context.now),
        };
        let changed = before.get(&fingerprint).is_none_or(|old| old.alert.state != instance.alert.state) || !events.is_empty();
        if changed {
            step.changes.push(Change { alert: instance.alert.clone(), events });
        }
        step.instances.insert(fingerprint, instance);
    }
    for (fingerprint, instance) in before.iter().filter(|(fingerprint, _)| !seen.contains(fingerprint)) {
        vanish(alerting, *fingerprint, instance, context.now, &mut step);
    }
    Ok(step)
}

fn labels(identity: &Labels, severity: Severity) -> Labels {
    identity.clone().with("severity", severity.as_str())
}

fn fired(alert: &Alert) -> EventKind {
    EventKind::AlertFired {
        rule: alert.rule.clone(),
        labels: alert.labels.clone(),
        severity: alert.severity,
        value: alert.value,
        summary: alert.summary(),
        escalation: alert.escalation.clone(),
        remediation: alert.remediation.clone(),
    }
}

fn begin(rule: &Rule, alerting: &AlertRule, fingerprint: u64, one: &Active, context: &Context<'_>) -> (Instance, Vec<EventKind>) {
    let now = context.now;
    let at_once = alerting.for_.is_zero();
    let state = if at_once {
        AlertState::Firing { active_at: now, fired_at: now, keep_firing_since: None }
    } else {
        AlertState::Pending { active_at: now }
    };
    let alert = Alert {
        id: AlertId::new(now, context.ids),
        tenant: context.tenant.clone(),
        rule: rule.key.clone(),
        fingerprint,
        labels: labels(&one.identity, one.severity),
        annotations: one.annotations.clone(),
        severity: one.severity,
        state,
        value: Value(one.value),
        expr: rule.expr.clone(),
        escalation: alerting.escalation.get(&one.severity).cloned(),
        remediation: alerting.remediation.clone(),
        acknowledged: None,
        incident: None,
        unknown: false,
        muted: false,
    };
    let event = if at_once {
        fired(&alert)
    } else {
        EventKind::AlertPending { rule: rule.key.clone(), labels: alert.labels.clone(), value: alert.value }
    };
    (Instance { alert, milder_since: None }, vec![event])
}

fn go_on(alerting: &AlertRule, instance: &Instance, one: &Active, now: Timestamp) -> (Instance, Vec<EventKind>) {
    let mut next = instance.clone();
    let mut events = Vec::new();
    next.alert.value = Value(one.value);
    next.alert.annotations = one.annotations.clone();
    next.alert.unknown = false;
    match instance.alert.state {
        AlertState::Pending { active_at } => {
            set_severity(alerting, &mut next, one.severity);
            next.alert.labels = labels(&one.identity, one.severity);
            if now.since(active_at) >= alerting.for_ {
                next.alert.state = AlertState::Firing { active_at, fired_at: now, keep_firing_since: None };
                events.push(fired(&next.alert));
            }
        }
        AlertState::Firing { active_at, fired_at, .. } => {
            next.alert.state = AlertState::Firing { active_at, fired_at, keep_firing_since: None };
            events.extend(shift(alerting, &mut next, one, now));
        }
        AlertState::Resolved { .. } => {}
    }
    (next, events)
}

fn set_severity(alerting: &AlertRule, instance: &mut Instance, severity: Severity) {
    instance.alert.severity = severity;
    instance.alert.escalation = alerting.escalation.get(&severity).cloned();
    instance.milder_since = None;
}

/// Rising continues the alert at once; falling happens only after the milder severity has held for `for`.
fn shift(alerting: &AlertRule, next: &mut Instance, one: &Active, now: Timestamp) -> Option<EventKind> {
    let from = next.alert.severity;
    if one.severity == from {
        next.milder_since = None;
        return None;
    }
    if one.severity < from {
        let since = *next.milder_since.get_or_insert(now);
        if now.since(since) < alerting.for_ {
            return None;
        }
    }
    set_severity(alerting, next, one.severity);
    next.alert.labels = labels(&one.identity, one.severity);
    Some(EventKind::AlertSeverityChanged { from, to: one.severity, value: next.alert.value, escalation: next.alert.escalation.clone() })
}

fn vanish(alerting: &AlertRule, fingerprint: u64, instance: &Instance, now: Timestamp, step: &mut Step) {
    let mut next = instance.clone();
    match instance.alert.state {
        AlertState::Pending { active_at } => {
            // Forgotten: its record ends as resolved without ever having fired.
            next.alert.state = AlertState::Resolved { active_at, fired_at: active_at, resolved_at: now };
            step.changes.push(Change { alert: next.alert, events: vec![EventKind::AlertCancelled] });
        }
        AlertState::Firing { active_at, fired_at, keep_firing_since } => {
            let since = keep_firing_since.unwrap_or(now);
            if now.since(since) < alerting.keep_firing_for {
                next.alert.state = AlertState::Firing { active_at, fired_at, keep_firing_since: Some(since) };
                if keep_firing_since.is_none() {
                    step.changes.push(Change { alert: next.alert.clone(), events: Vec::new() });
                }
                step.instances.insert(fingerprint, next);
            } else {
                next.alert.state = AlertState::Resolved { active_at, fired_at, resolved_at: now };
                let value = next.alert.value;
                step.changes.push(Change { alert: next.alert, events: vec![EventKind::AlertResolved { value }] });
            }
        }
        AlertState::Resolved { .. } => {}
    }
}

/// The query failed: every alert is held as it is and marked; the event is journalled by the caller, once.
pub fn hold(before: &BTreeMap<u64, Instance>) -> Step {
    let mut step = Step::default();
    for (fingerprint, instance) in before {
        let mut next = instance.clone();
        if !next.alert.unknown {
            next.alert.unknown = true;
            step.changes.push(Change { alert: next.alert.clone(), events: Vec::new() });
        }
        step.instances.insert(*fingerprint, next);
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{RuleKind, load};
    use model::ids::SequentialIds;
    use proptest::prelude::*;

    fn rule(extra: &str) -> Rule {
        let text = format!("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n{extra}");
        load(&[("a.yaml".into(), text)]).unwrap().groups.remove(0).rules.remove(0)
    }

    struct World {
        rule: Rule,
        instances: BTreeMap<u64, Instance>,
        ids: SequentialIds,
    }

    impl World {
        fn new(extra: &str) -> Self {
            World { rule: rule(extra), instances: BTreeMap::new(), ids: SequentialIds::default() }
        }
        fn at(&mut self, second: i64, active: &[(&str, Severity)]) -> Vec<String> {
            let RuleKind::Alert(alerting) = &self.rule.kind else { panic!() };
            let results = active.iter().map(|(label, severity)| Active { identity: [("x", *label)].into_iter().collect(), severity: *severity, value: 1.0, annotations: BTreeMap::new() });
            let context = Context { tenant: &TenantId::default(), now: Timestamp::from_secs(second), ids: &self.ids, limit: 0 };
            let step = step(&self.rule, alerting, &self.instances, results.collect(), &context).unwrap();
            self.instances = step.instances;
            step.changes.iter().flat_map(|change| change.events.iter().map(EventKind::tag)).collect()
        }
    }

    const W: Severity = Severity::Warning;
    const C: Severity = Severity::Critical;

    #[test]
    fn for_pending_and_firing_as_in_prometheus() {
        let mut world = World::new("    for: 20s\n");
        assert_eq!(world.at(0, &[("a", W)]), ["alert_pending"]);
        assert!(world.at(10, &[("a", W)]).is_empty());
        assert_eq!(world.at(20, &[("a", W)]), ["alert_fired"]);
        assert_eq!(world.at(30, &[]), ["alert_resolved"]);
        assert_eq!(world.at(40, &[("a", W)]), ["alert_pending"]);
        assert_eq!(world.at(50, &[]), ["alert_cancelled"]);
        assert!(world.instances.is_empty());
    }

    #[test]
    fn keep_firing_for_is_reset_by_a_return() {
        let mut world = World::new("    keep_firing_for: 30s\n");
        assert_eq!(world.at(0, &[("a", W)]), ["alert_fired"]);
        assert!(world.at(10, &[]).is_empty());
        assert!(world.at(20, &[("a", W)]).is_empty());
        assert!(world.at(30, &[]).is_empty());
        assert!(world.at(50, &[]).is_empty());
        assert_eq!(world.at(60, &[]), ["alert_resolved"]);
    }

    #[test]
    fn severity_rises_at_once_and_falls_after_for() {
        let mut world = World::new("    for: 20s\n");
        world.at(0, &[("a", W)]);
        assert_eq!(world.at(20, &[("a", W)]), ["alert_fired"]);
        let id = world.instances.values().next().unwrap().alert.id;
        assert_eq!(world.at(30, &[("a", C)]), ["alert_severity_changed"]);
        assert!(world.at(40, &[("a", W)]).is_empty());
        assert!(world.at(50, &[("a", C)]).is_empty());
        assert!(world.at(60, &[("a", W)]).is_empty());
        assert_eq!(world.at(80, &[("a", W)]), ["alert_severity_changed"]);
        assert_eq!(world.instances.values().next().unwrap().alert.id, id, "it is the same alert all along");
    }

    #[test]
    fn a_failing_query_holds_everything() {
        let mut world = World::new("");
        world.at(0, &[("a", W)]);
        let held = hold(&world.instances);
        assert_eq!(held.instances.len(), 1);
        assert!(held.changes[0].alert.unknown && held.changes[0].events.is_empty());
        assert!(hold(&held.instances).changes.is_empty(), "marked once");
    }

    #[test]
    fn equal_identities_void_the_evaluation() {
        let rule = rule("");
        let RuleKind::Alert(alerting) = &rule.kind else { panic!() };
        let one = Active { identity: Labels::empty(), severity: W, value: 1.0, annotations: BTreeMap::new() };
        let context = Context { tenant: &TenantId::default(), now: Timestamp::EPOCH, ids: &SequentialIds::default(), limit: 0 };
        assert!(matches!(step(&rule, alerting, &BTreeMap::new(), vec![one.clone(), one], &context), Err(StepError::Duplicate(_))));
    }

    proptest! {
        /// An independent reading of Prometheus's rules: fires when it has been true without a gap for `for`, ends after
        /// `keep_firing_for` without it.
        #[test]
        fn it_agrees_with_a_naive_reading(truth in prop::collection::vec(any::<bool>(), 1..80), for_steps in 0u64..5, keep_steps in 0u64..5) {
            let mut world = World::new(&format!("    for: {}s\n    keep_firing_for: {}s\n", for_steps * 10, keep_steps * 10));
            let (mut true_since, mut firing, mut last_true) = (None, false, 0i64);
            for (at, holds) in truth.iter().enumerate() {
                let now = at as i64 * 10;
                world.at(now, if *holds { &[("a", W)] } else { &[] });
                if *holds {
                    last_true = now;
                    let since = *true_since.get_or_insert(now);
                    firing = firing || now - since >= for_steps as i64 * 10;
                } else if firing {
                    // keep_firing_since is the first evaluation without a sample.
                    firing = now - (last_true + 10) < keep_steps as i64 * 10;
                    if !firing { true_since = None; }
                } else {
                    true_since = None;
                }
                let is = world.instances.values().next().is_some_and(|instance| instance.alert.is_firing());
                prop_assert_eq!(is, firing, "at {}", now);
            }
        }
    }

    #[test]
    fn a_year_of_evaluations_passes_quickly() {
        let mut world = World::new("    for: 2m\n");
        for minute in 0..525_600i64 {
            let active: &[(&str, Severity)] = if minute % 97 < 5 { &[("a", W)] } else { &[] };
            world.at(minute * 60, active);
        }
    }
}
