//! The metrics of remediation. In: runs and acts as they end. Out: `watchfire_remediation_*` in the server's registry.

use model::repair::RepairOutcome;
use prometheus::{IntCounterVec, Opts, Registry};

use crate::config::Action;
use crate::perform::{Outcome, Performed};
use crate::run::{RepairRun, outcome_word};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meters {
    runs: IntCounterVec,
    actions: IntCounterVec,
}

impl Meters {
    /// Registers them. Fails if the registry has them already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let runs = IntCounterVec::new(
            Opts::new("watchfire_remediation_runs_total", "Remediation runs that ended, by outcome."),
            &["remediation", "outcome"],
        )?;
        let actions = IntCounterVec::new(
            Opts::new("watchfire_remediation_actions_total", "Actions carried out (phase act or undo), by how they ended."),
            &["remediation", "action", "phase", "result"],
        )?;
        registry.register(Box::new(runs.clone()))?;
        registry.register(Box::new(actions.clone()))?;
        Ok(Meters { runs, actions })
    }

    /// Counts a run that is over.
    pub fn ended(&self, remediation: &str, outcome: &RepairOutcome) {
        self.runs.with_label_values(&[remediation, outcome_word(outcome)]).inc();
    }

    /// Counts an act or an undo.
    pub fn performed(&self, run: &RepairRun, action: &Action, phase: &str, performed: &Performed) {
        let result = match performed.outcome {
            Outcome::Done => "ok",
            Outcome::Failed => "failed",
            Outcome::NotSent => "not_sent",
            Outcome::Unknown => "unknown",
        };
        self.actions.with_label_values(&[run.plan.name.as_str(), action.word(), phase, result]).inc();
    }
}
