//! Escalation ladders (GoAlert's model). In: journal events and due work rows. Out: commits with the run, its journal events, the
//! notices of a step and the row of the next step, all or nothing. Only open, unacknowledged, unmuted alerts climb; no step is taken
//! twice, because every step has one work key.

mod climb;
mod follower;
pub(crate) mod notice;
pub(crate) mod wanted;
mod worker;

use std::time::Duration;

use model::ids::{AlertId, IncidentId, LadderRunId};
use model::severity::Severity;
use model::state::Entity;
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::routing::Hours;
use crate::rules::Ladder;

pub(crate) use climb::{settle_rows, wake_row};
pub use follower::LadderFollower;
pub use worker::LadderWorker;

/// The pause before a ladder with a single step is repeated or counts as exhausted.
const SINGLE_STEP_PAUSE: Duration = Duration::from_secs(300);
/// The shortest pause before a repetition, and between steps that are late.
const SHORTEST_PAUSE: Duration = Duration::from_secs(60);

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum LadderSubject {
    /// An incident.
    Incident {
        /// Which.
        id: IncidentId,
    },
    /// An alert without an incident.
    Alert {
        /// Which.
        id: AlertId,
    },
}

impl LadderSubject {
    fn text(&self) -> String {
        match self {
            LadderSubject::Incident { id } => id.to_string(),
            LadderSubject::Alert { id } => id.to_string(),
        }
    }
    fn subject(&self) -> model::event::Subject {
        match self {
            LadderSubject::Incident { id } => model::event::Subject::incident(*id),
            LadderSubject::Alert { id } => model::event::Subject::alert(*id, None),
        }
    }
}

/// Why a run stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Somebody has it.
    Acknowledged,
    /// A silence or an inhibition mutes it; it goes on where it stood.
    Muted,
    /// The ladder of a higher severity climbs instead.
    Superseded,
}

impl StopReason {
    /// The word in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            StopReason::Acknowledged => "acknowledged",
            StopReason::Muted => "muted",
            StopReason::Superseded => "superseded by a higher ladder",
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum LadderStatus {
    /// It climbs.
    Running,
    /// It stands still.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// Nobody answered to the end.
    Exhausted,
    /// Its alert or incident is over.
    Closed,
}

/// One run of a ladder. State kind `ladder_run`; key = `<incident or alert id>/<ladder>`, so that it exists once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LadderRun {
    /// Its id.
    pub id: LadderRunId,
    /// Whose.
    pub tenant: TenantId,
    /// What it is about.
    pub subject: LadderSubject,
    /// The ladder as it was at the start: later edits do not change a run.
    pub ladder: Ladder,
    /// Whether it is the notice to the default receivers: it has one step and is never exhausted.
    pub route: bool,
    /// When it may climb: the hours of the route that wanted it at its last step.
    #[serde(default)]
    pub hours: Hours,
    /// The severity that started it.
    pub severity: Severity,
    /// One line for people.
    pub title: String,
    /// The providers' key: the incident's id, else the alert's fingerprint in hex. Never changes.
    pub dedup_key: String,
    /// Where it stands.
    #[serde(flatten)]
    pub status: LadderStatus,
    /// Rises at every restart, so that the steps of each climb have work keys of their own.
    pub generation: u32,
    /// From 0: which repetition.
    pub round: u32,
    /// From 0: the step that is next; as many as there are steps: it waits to be exhausted.
    pub step: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When this repetition began.
    pub round_started: Timestamp,
    /// When the next step is due.
    pub next_at: Option<Timestamp>,
    /// Until when its hours hold the next step back; `None`: they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Timestamp>,
    /// The receivers that were triggered.
    pub notified: Vec<String>,
}

impl Entity for LadderRun {
    const KIND: &'static str = "ladder_run";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn key(&self) -> Option<String> {
        Some(run_key(&self.subject, &self.ladder.name))
    }
    fn status(&self) -> &'static str {
        match self.status {
            LadderStatus::Running => "running",
            LadderStatus::Stopped { .. } => "stopped",
            LadderStatus::Exhausted => "exhausted",
            LadderStatus::Closed => "closed",
        }
    }
}

fn run_key(subject: &LadderSubject, ladder: &str) -> String {
    format!("{}/{ladder}", subject.text())
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenStep {
    /// From 0.
    pub step: u32,
    /// From 0.
    pub round: u32,
    /// How long after the start of the round.
    pub after: Duration,
}

impl LadderRun {
    fn after(&self, step: u32) -> Option<Duration> {
        self.ladder.steps.get(step as usize).map(|step| step.after.0)
    }

    /// The pause after the last step.
    fn last_pause(&self) -> Duration {
        match self.ladder.steps.as_slice() {
            [.., before, last] => last.after.0.saturating_sub(before.after.0).max(SHORTEST_PAUSE),
            [] | [_] => SINGLE_STEP_PAUSE,
        }
    }

    /// Begins to climb from the first step: its first step is due at `next_at`.
    fn begin(&mut self, now: Timestamp) {
        self.status = LadderStatus::Running;
        self.held_until = None;
        (self.round, self.step, self.round_started) = (0, 0, now);
        self.next_at = self.after(0).map(|after| now.plus(after));
    }

    /// Takes the step that is next, of which these receivers hear, and says when the following one is due. `None` where no step is
    /// left: the run is exhausted.
    fn take(&mut self, now: Timestamp, reached: &[String]) -> Option<TakenStep> {
        let Some(step) = self.ladder.steps.get(self.step as usize).cloned() else {
            self.status = LadderStatus::Exhausted;
            self.next_at = None;
            return None;
        };
        self.held_until = None;
        let taken = TakenStep { step: self.step, round: self.round, after: step.after.0 };
        for receiver in reached {
            if !self.notified.contains(receiver) {
                self.notified.push(receiver.clone());
            }
        }
        self.step += 1;
        self.next_at = match self.after(self.step) {
            Some(after) => {
                // On time: as configured. Late: steps do not come all at once.
                let pause = after.saturating_sub(step.after.0).min(SHORTEST_PAUSE);
                Some(self.round_started.plus(after).max(now.plus(pause)))
            }
            None if self.route => None,
            None if self.round < self.ladder.repeat => {
                self.round += 1;
                self.step = 0;
                self.round_started = now.plus(self.last_pause());
                self.after(0).map(|after| self.round_started.plus(after))
            }
            None => Some(now.plus(self.last_pause())),
        };
        Some(taken)
    }

    /// The step that is next is due now; those after it come as much earlier. After the last step the ladder begins again.
    fn hurry(&mut self, now: Timestamp) {
        self.held_until = None;
        let over = matches!(self.status, LadderStatus::Exhausted);
        self.status = LadderStatus::Running;
        self.generation += 1;
        match self.after(self.step) {
            Some(after) if !over => self.round_started = now.minus(after),
            Some(_) | None => {
                (self.round, self.step) = (0, 0);
                self.round_started = now.minus(self.after(0).unwrap_or_default());
            }
        }
        self.next_at = Some(now);
    }

    /// The steps that are left come later, each by the same time.
    fn wait_until(&mut self, until: Timestamp) {
        let Some(next) = self.next_at else { return };
        self.round_started = self.round_started.plus(until.since(next));
        self.next_at = Some(until.max(next));
        self.held_until = Some(until);
        self.generation += 1;
    }

    /// What was held back until a later moment is due now.
    fn release(&mut self, now: Timestamp) {
        self.held_until = None;
        self.generation += 1;
        self.next_at = Some(now);
        if let Some(after) = self.after(self.step) {
            self.round_started = now.minus(after);
        }
    }

    /// Goes on where it stood.
    fn resume(&mut self, now: Timestamp) {
        self.status = LadderStatus::Running;
        self.generation += 1;
        let waits = self.after(self.step).is_none();
        self.next_at = if !waits {
            Some(now)
        } else if self.route {
            None
        } else {
            Some(now.plus(self.last_pause()))
        };
        if let Some(after) = self.after(self.step) {
            self.round_started = now.minus(after);
        }
    }

    fn stop(&mut self, status: LadderStatus) {
        self.status = status;
        (self.next_at, self.held_until) = (None, None);
    }

    /// The work key of the step that is next.
    fn work_key(&self) -> String {
        format!("{}/{}/{}/{}", self.id, self.generation, self.round, self.step)
    }
}

#[cfg(test)]
mod tests;
