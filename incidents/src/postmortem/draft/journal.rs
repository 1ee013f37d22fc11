//! What the journal tells a postmortem about repairs, ladders and notifications. In: events in order. Out: one record per run, ladder and
//! notification. Never fails.

use model::event::{EventKind, Recorded};
use model::ids::NotificationId;
use serde::Serialize;

use super::moment;
use crate::timeline::{notified, outcome_sentence};

/// One remediation run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repair {
    /// The run's id.
    pub run: String,
    /// The remediation's name.
    pub remediation: String,
    /// How it ended, as half a sentence.
    pub outcome: String,
    /// Whether a rung was verified to have helped.
    pub helped: bool,
    /// Whether an undo failed.
    pub undo_failed: bool,
    /// Its rungs that acted, in order.
    pub rungs: Vec<Rung>,
}

/// One rung of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rung {
    /// Its name.
    pub name: String,
    /// When it acted.
    pub at: String,
    /// What it did and what came back.
    pub result: String,
    /// Whether the act went well.
    pub ok: bool,
    /// What the checks said.
    pub checks: Vec<String>,
    /// What undoing it gave; none where it was not undone.
    pub undone: Option<String>,
    /// Whether it helped.
    pub helped: bool,
}

/// One step of a ladder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ladder {
    /// When.
    pub at: String,
    /// Which ladder.
    pub ladder: String,
    /// From 1.
    pub step: u32,
    /// From 1.
    pub round: u32,
    /// Whom.
    pub notify: String,
}

/// One notification.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notification {
    /// When the provider took it, or when it was given up.
    pub at: String,
    /// To whom.
    pub receiver: String,
    /// What.
    pub action: String,
    /// How many attempts.
    pub attempts: u32,
    /// `delivered`, `delivered (a resend: ...)` or `NOT delivered: ...`.
    pub outcome: String,
    /// Whether it was delivered.
    pub delivered: bool,
}

/// The runs, in order of their first event.
pub fn repairs(events: &[Recorded]) -> Vec<Repair> {
    let mut runs: Vec<Repair> = Vec::new();
    for Recorded { event, .. } in events {
        match &event.kind {
            EventKind::RepairStarted { run, remediation, .. } => {
                run_of(&mut runs, run.to_string()).remediation.clone_from(remediation);
            }
            EventKind::RepairActed { run, rung, result, ok } => run_of(&mut runs, run.to_string()).rungs.push(Rung {
                name: rung.clone(),
                at: moment(event.at),
                result: result.clone(),
                ok: *ok,
                checks: Vec::new(),
                undone: None,
                helped: false,
            }),
            EventKind::RepairChecked { run, rung, cleared, detail } => {
                if let Some(rung) = rung_of(&mut runs, &run.to_string(), rung) {
                    rung.helped |= cleared;
                    rung.checks.push(detail.clone());
                }
            }
            EventKind::RepairUndone { run, rung, result, ok } => {
                run_of(&mut runs, run.to_string()).undo_failed |= !ok;
                if let Some(rung) = rung_of(&mut runs, &run.to_string(), rung) {
                    rung.undone = Some(if *ok { result.clone() } else { format!("FAILED: {result}") });
                }
            }
            EventKind::RepairFinished { run, remediation, outcome } => {
                let found = run_of(&mut runs, run.to_string());
                found.remediation.clone_from(remediation);
                found.outcome = outcome_sentence(outcome);
                found.helped = matches!(outcome, model::repair::RepairOutcome::Verified { .. });
            }
            _ => {} // not about repairs
        }
    }
    runs
}

fn run_of(runs: &mut Vec<Repair>, run: String) -> &mut Repair {
    let at = runs.iter().position(|one| one.run == run).unwrap_or_else(|| {
        runs.push(Repair {
            run,
            remediation: String::new(),
            outcome: "still at work when this was drafted".to_owned(),
            helped: false,
            undo_failed: false,
            rungs: Vec::new(),
        });
        runs.len() - 1
    });
    &mut runs[at]
}

fn rung_of<'a>(runs: &'a mut [Repair], run: &str, rung: &str) -> Option<&'a mut Rung> {
    runs.iter_mut().find(|one| one.run == run)?.rungs.iter_mut().rev().find(|one| one.name == rung)
}

/// The steps, in order.
pub fn ladders(events: &[Recorded]) -> Vec<Ladder> {
    let step = |one: &Recorded| {
        let EventKind::LadderStepTaken { ladder, step, round, notify, people, .. } = &one.event.kind else { return None };
        let at = moment(one.event.at);
        Some(Ladder { at, ladder: ladder.clone(), step: step + 1, round: round + 1, notify: notified(people, notify) })
    };
    events.iter().filter_map(step).collect()
}

/// The notifications, in order of their end. One that is still being tried is there with its last failure.
pub fn notifications(events: &[Recorded]) -> Vec<Notification> {
    let mut rows: Vec<(NotificationId, Notification)> = Vec::new();
    for Recorded { event, .. } in events {
        let at = moment(event.at);
        let (id, row) = match &event.kind {
            EventKind::NotificationSent { notification, receiver, action, attempt, resend, .. } => {
                let outcome = if *resend { "delivered, marked as a resend: an earlier attempt may have arrived too" } else { "delivered" };
                let (receiver, action) = (receiver.clone(), action.clone());
                (notification, Notification { at, receiver, action, attempts: *attempt, outcome: outcome.to_owned(), delivered: true })
            }
            EventKind::NotificationRetried { notification, receiver, attempt, error, .. } => {
                let outcome = format!("being tried again: {error}");
                (
                    notification,
                    Notification { at, receiver: receiver.clone(), action: "-".to_owned(), attempts: *attempt, outcome, delivered: false },
                )
            }
            EventKind::NotificationDead { notification, receiver, attempts, error, .. } => {
                let outcome = format!("NOT delivered: {error}");
                (
                    notification,
                    Notification { at, receiver: receiver.clone(), action: "-".to_owned(), attempts: *attempts, outcome, delivered: false },
                )
            }
            _ => continue, // not about notifications
        };
        rows.retain(|(known, _)| known != id);
        rows.push((*id, row));
    }
    rows.into_iter().map(|(_, row)| row).collect()
}
