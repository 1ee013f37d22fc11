//! From a machine step to one commit: records of the alerts that changed, journal events in order. Pure. What did not change is not
//! written; a value that only moved is written once a minute.

use std::time::Duration;

use model::event::{Event, EventKind, Subject};
use model::ids::AlertId;
use model::state::{Commit, Expect, StateError};
use model::time::Timestamp;

use super::board::{FailingRule, RuleBoard, SilentRule, Stored};
use crate::machine::{Change, Instance, RuleChange, Step};
use crate::rules::AlertRule;
use crate::shared::Shared;
use crate::silence::Muting;

/// How often a record is written when only value and annotations moved.
const REFRESH: Duration = Duration::from_secs(60);

/// A commit and what the board holds once it is in.
pub(super) struct Written {
    pub commit: Commit,
    pub stored: Vec<Stored>,
    pub forgotten: Vec<AlertId>,
    pub failing_version: Option<u64>,
    pub silent_version: Option<u64>,
}

/// Whether two states of one alert differ in more than value, annotations and history. The history of one that is held open because it flaps
/// counts: whoever evaluates next, after a restart or a change of the leader, goes on from here, so that it settles.
fn differs(stored: &Instance, now: &Instance) -> bool {
    let mut same = now.clone();
    same.alert.value = stored.alert.value;
    same.alert.annotations.clone_from(&stored.alert.annotations);
    if !now.memory.flapping {
        same.memory.history = stored.memory.history;
        same.memory.judged_at = stored.memory.judged_at;
    }
    // NaN differs from itself; values are compared as bits elsewhere.
    let mut stored = stored.clone();
    (stored.alert.value, same.alert.value) = Default::default();
    stored != same
}

fn must_write(stored: &Stored, instance: &Instance, now: Timestamp) -> bool {
    let moved = || {
        stored.instance.alert.value.0.to_bits() != instance.alert.value.0.to_bits()
            || stored.instance.alert.annotations != instance.alert.annotations
    };
    differs(&stored.instance, instance) || (now.since(stored.at) >= REFRESH && moved())
}

/// Mutes and unmutes firing alerts; tells which changed.
pub(super) fn mute(step: &mut Step, muting: &Muting, now: Timestamp) -> Vec<(Instance, Option<String>)> {
    let mut changed = Vec::new();
    for (fingerprint, instance) in &mut step.state.instances {
        if !instance.alert.is_firing() {
            continue;
        }
        let by = muting.by(*fingerprint, &instance.alert.labels, now).map(|mute| mute.to_string());
        if by.is_some() != instance.alert.muted {
            instance.alert.muted = by.is_some();
            changed.push((instance.clone(), by));
        }
    }
    changed
}

/// The commit for a step; `muted` comes from [`mute`], `reason` is what `now` means in the journal.
pub(super) fn commit(
    shared: &Shared,
    rule: &AlertRule,
    board: &RuleBoard,
    step: &Step,
    muted: &[(Instance, Option<String>)],
    now: Timestamp,
) -> Result<Written, StateError> {
    let mut written = Written {
        commit: Commit::at(now),
        stored: Vec::new(),
        forgotten: Vec::new(),
        failing_version: board.failing_version,
        silent_version: board.silent_version,
    };
    match &step.rule {
        Some(RuleChange::Unknown(error)) => {
            let kind = EventKind::RuleUnknown { rule: rule.key.clone(), error: error.clone() };
            written.commit.event(shared.event(now, Subject::default(), kind));
        }
        Some(RuleChange::Recovered) => {
            written.commit.event(shared.event(now, Subject::default(), EventKind::RuleRecovered { rule: rule.key.clone() }));
        }
        None => {}
    }
    keep_failing(shared, rule, board, step, &mut written)?;
    keep_silent(shared, rule, board, now, &mut written)?;
    for (change, instance) in &step.changes {
        written.commit.event(event(shared, *change, instance, now));
        if *change == Change::Cancelled
            && let Some(stored) = board.stored.get(&instance.alert.id)
        {
            written.commit.delete(&stored.instance, Expect::Version(stored.version));
            written.forgotten.push(instance.alert.id);
        }
    }
    for (instance, by) in muted {
        let kind = by.clone().map_or(EventKind::AlertUnmuted, |by| EventKind::AlertMuted { by });
        written.commit.event(shared.event(now, Subject::alert(instance.alert.id, instance.alert.incident), kind));
    }
    for instance in step.state.instances.values() {
        let (expect, version) = match board.stored.get(&instance.alert.id) {
            None => (Expect::New, 1),
            Some(stored) if must_write(stored, instance, now) => (Expect::Version(stored.version), stored.version + 1),
            Some(_) => continue,
        };
        written.commit.put(instance, expect)?;
        written.stored.push(Stored { instance: instance.clone(), version, at: now });
    }
    Ok(written)
}

/// A failing rule is written when it begins to fail, when it has failed often enough to be told, and deleted when it answers.
fn keep_failing(shared: &Shared, rule: &AlertRule, board: &RuleBoard, step: &Step, written: &mut Written) -> Result<(), StateError> {
    let entity =
        |failing: &crate::machine::Failing| FailingRule { tenant: shared.tenant.clone(), rule: rule.key.clone(), failing: failing.clone() };
    match (&step.state.failing, &board.state.failing) {
        (Some(failing), before) if before.is_none() || failing.failures == shared.config.failing_after => {
            let expect = board.failing_version.map_or(Expect::New, Expect::Version);
            written.commit.put(&entity(failing), expect)?;
            written.failing_version = Some(board.failing_version.unwrap_or(0) + 1);
        }
        (None, Some(failing)) => {
            if let Some(version) = board.failing_version {
                written.commit.delete(&entity(failing), Expect::Version(version));
            }
            written.failing_version = None;
        }
        (Some(_), _) | (None, None) => {}
    }
    Ok(())
}

/// That a rule finds nothing is written when it has been so for a while, so that a start, when nothing has come yet, writes nothing.
fn keep_silent(shared: &Shared, rule: &AlertRule, board: &RuleBoard, now: Timestamp, written: &mut Written) -> Result<(), StateError> {
    let entity = |since| SilentRule { tenant: shared.tenant.clone(), rule: rule.key.clone(), since };
    match (board.silent_since, board.silent_version) {
        (Some(since), None) if now.since(since) >= REFRESH => {
            written.commit.put(&entity(since), Expect::New)?;
            written.silent_version = Some(1);
        }
        (None, Some(version)) => {
            written.commit.delete(&entity(now), Expect::Version(version));
            written.silent_version = None;
        }
        (Some(_) | None, _) => {}
    }
    Ok(())
}

fn event(shared: &Shared, change: Change, instance: &Instance, now: Timestamp) -> Event {
    let alert = &instance.alert;
    let kind = match change {
        Change::Pending => EventKind::AlertPending { rule: alert.rule.clone(), labels: alert.labels.clone(), value: alert.value },
        Change::Cancelled => EventKind::AlertCancelled,
        Change::Fired => EventKind::AlertFired {
            rule: alert.rule.clone(),
            labels: alert.labels.clone(),
            severity: alert.severity,
            value: alert.value,
            summary: alert.summary(),
            escalation: alert.escalation.clone(),
            remediation: alert.remediation.clone(),
        },
        Change::SeverityChanged { from } => {
            EventKind::AlertSeverityChanged { from, to: alert.severity, value: alert.value, escalation: alert.escalation.clone() }
        }
        Change::Resolved => EventKind::AlertResolved { value: alert.value },
        Change::FlappingBegan => noted("The alert comes and goes too often: it is held open until it has settled."),
        Change::FlappingEnded => noted("The alert has settled."),
    };
    shared.event(now, Subject::alert(alert.id, alert.incident), kind)
}

fn noted(text: &str) -> EventKind {
    EventKind::Noted { text: text.to_owned(), details: Default::default() }
}
