//! What Watchfire says about its keeping of issues on `/metrics`.

use model::issue::IssueChange;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meters {
    changes: IntCounterVec,
    arrivals: IntCounter,
    behind: IntGauge,
}

impl Meters {
    /// Registers them. Fails if the registry has them already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let changes = IntCounterVec::new(
            Opts::new(
                "watchfire_issue_changes_total",
                "What Watchfire did to error issues by itself: opened, regressed, unignored, forgotten.",
            ),
            &["change"],
        )?;
        let arrivals = IntCounter::new("watchfire_issue_arrivals_total", "Arrivals of error events that were handled.")?;
        let behind = IntGauge::new(
            "watchfire_issue_behind_seconds",
            "How long the oldest arrival of the last round had been stored before it was handled.",
        )?;
        registry.register(Box::new(changes.clone()))?;
        registry.register(Box::new(arrivals.clone()))?;
        registry.register(Box::new(behind.clone()))?;
        Ok(Meters { changes, arrivals, behind })
    }

    /// Counts a change that was committed.
    pub fn changed(&self, change: &IssueChange) {
        self.changes.with_label_values(&[change.word()]).inc();
    }

    /// Counts arrivals that were handled; the oldest had waited so long.
    pub fn handled(&self, arrivals: usize, waited_secs: u64) {
        self.arrivals.inc_by(arrivals as u64);
        self.behind.set(i64::try_from(waited_secs).unwrap_or(i64::MAX));
    }
}
