//! A remediation run as it is kept: plan, facts, state, history. In: a fired alert and a plan. Out: a record from which everything that
//! must still happen can be read. A run is stepped by `machine` only.

use model::alert::{Acknowledgement, Alert};
use model::event::{Event, EventKind};
use model::ids::{AlertId, IncidentId, RemediationId};
use model::labels::Labels;
use model::repair::RepairOutcome;
use model::state::Entity;
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Plan, Rung};
use crate::template::Facts;

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RunState {
    /// The guards have not been asked yet.
    Planned,
    /// The guards have nothing against it; a person must say yes.
    Awaiting {
        /// Without a yes by then it is refused.
        until: Timestamp,
    },
    /// A rung is to act, or acts.
    Acting {
        /// From 0.
        rung: usize,
    },
    /// A rung acted; the alert's expression is evaluated from `check_at` on.
    Settling {
        /// From 0.
        rung: usize,
        /// From 0: which check is next.
        check: u32,
        /// When it is.
        check_at: Timestamp,
        /// When the rung counts as no help.
        deadline: Timestamp,
        /// What the last check saw.
        seen: Option<Seen>,
    },
    /// A rung that did not help is to be undone, or is.
    Undoing {
        /// From 0.
        rung: usize,
        /// What comes afterwards.
        then: Then,
    },
    /// It is over.
    Finished {
        /// How.
        outcome: RepairOutcome,
        /// When.
        at: Timestamp,
    },
}

/// What a check saw while the alert had not cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It is still true.
    Active,
    /// Nobody knows.
    Unknown,
}

/// What comes after an undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "then", rename_all = "snake_case")]
pub enum Then {
    /// The next rung, if there is one.
    NextRung,
    /// People.
    HandOver {
        /// Why.
        reason: String,
    },
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Ask the guards.
    Guard {
        /// Whether somebody has said yes meanwhile, so that they are asked a second time.
        #[serde(default)]
        approved: bool,
    },
    /// Nobody has said yes.
    Expire,
    /// Carry out the rung's action.
    Act {
        /// From 0.
        rung: usize,
    },
    /// Evaluate the alert's expression.
    Check {
        /// From 0.
        rung: usize,
        /// From 0.
        check: u32,
    },
    /// Carry out the rung's undo.
    Undo {
        /// From 0.
        rung: usize,
    },
}

impl Step {
    /// The part of keys that says which step.
    pub fn key(self) -> String {
        match self {
            Step::Guard { approved: false } => "guard".to_owned(),
            Step::Guard { approved: true } => "guard/approved".to_owned(),
            Step::Expire => "expire".to_owned(),
            Step::Act { rung } => format!("{rung}/act"),
            Step::Check { rung, check } => format!("{rung}/check/{check}"),
            Step::Undo { rung } => format!("{rung}/undo"),
        }
    }
}

/// One thing that the run did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// When.
    pub at: Timestamp,
    /// What, as journaled.
    pub event: EventKind,
}

/// A remediation run. State kind `repair_run`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RepairRun {
    /// Its id: the same alert and remediation always give the same one.
    pub id: RemediationId,
    /// Whose.
    pub tenant: TenantId,
    /// The alert it is for.
    pub alert: AlertId,
    /// The alert's record when the run was planned, if there was one.
    pub snapshot: Option<Alert>,
    /// The incident of the alert, once it is known.
    pub incident: Option<IncidentId>,
    /// What it works on.
    pub target: Labels,
    /// The plan as it was; secret values are not kept, they come from the configuration when they are used.
    pub plan: Plan,
    /// What its templates speak of.
    pub facts: Facts,
    /// Where it stands.
    pub state: RunState,
    /// Who said yes to it, and when: the guards' patience begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Acknowledgement>,
    /// Somebody wants it to stop after the present act: who and why.
    pub stop: Option<String>,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it last carried out an action.
    pub acted_at: Option<Timestamp>,
    /// What it did, in order.
    pub history: Vec<Past>,
}

impl RepairRun {
    /// The step that must happen next, and not before when; none where it is over.
    pub fn next(&self, now: Timestamp) -> Option<(Step, Timestamp)> {
        match &self.state {
            RunState::Planned => Some((Step::Guard { approved: self.approved.is_some() }, now)),
            RunState::Awaiting { until } => Some((Step::Expire, *until)),
            RunState::Acting { rung } => Some((Step::Act { rung: *rung }, now)),
            RunState::Settling { rung, check, check_at, .. } => Some((Step::Check { rung: *rung, check: *check }, *check_at)),
            RunState::Undoing { rung, .. } => Some((Step::Undo { rung: *rung }, now)),
            RunState::Finished { .. } => None,
        }
    }
    /// Whether it holds its target: from the guards' yes to its end.
    pub fn is_at_work(&self) -> bool {
        match self.state {
            RunState::Acting { .. } | RunState::Settling { .. } | RunState::Undoing { .. } => true,
            RunState::Planned | RunState::Awaiting { .. } | RunState::Finished { .. } => false,
        }
    }
    /// Since when the guards are asked.
    pub fn guarded_since(&self) -> Timestamp {
        self.approved.as_ref().map_or(self.created_at, |approved| approved.at)
    }
    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        matches!(self.state, RunState::Finished { .. })
    }
    /// A rung of its plan.
    pub fn rung(&self, rung: usize) -> Option<&Rung> {
        self.plan.rungs.get(rung)
    }
    /// A rung's name.
    pub fn rung_name(&self, rung: usize) -> String {
        self.rung(rung).map_or_else(|| format!("#{rung}"), |rung| rung.name.clone())
    }
    /// Remembers what was journaled.
    pub fn remember(&mut self, event: &Event) {
        self.history.push(Past { at: event.at, event: event.kind.clone() });
    }
}

/// The statuses of runs that are not over.
pub const LIVE: [&str; 5] = ["planned", "awaiting_approval", "acting", "settling", "undoing"];

impl Entity for RepairRun {
    const KIND: &'static str = "repair_run";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn status(&self) -> &'static str {
        match &self.state {
            RunState::Planned => "planned",
            RunState::Awaiting { .. } => "awaiting_approval",
            RunState::Acting { .. } => "acting",
            RunState::Settling { .. } => "settling",
            RunState::Undoing { .. } => "undoing",
            RunState::Finished { outcome, .. } => outcome_word(outcome),
        }
    }
}

/// The word for an outcome in metrics and lists.
pub fn outcome_word(outcome: &RepairOutcome) -> &'static str {
    match outcome {
        RepairOutcome::Verified { .. } => "verified",
        RepairOutcome::HandedOver { .. } => "handed_over",
        RepairOutcome::Refused { .. } => "refused",
        RepairOutcome::DryRun => "dry_run",
        RepairOutcome::NotNeeded => "not_needed",
    }
}

/// Makes the guards' decisions of a tenant happen one after the other: each yes changes this record. State kind `repair_gate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Whose.
    pub tenant: TenantId,
    /// How many runs have passed.
    pub passed: u64,
}

impl Entity for Gate {
    const KIND: &'static str = "repair_gate";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.tenant.to_string()
    }
    fn status(&self) -> &'static str {
        "live"
    }
}
