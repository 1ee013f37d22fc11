//! What others need to know of a remediation run. The run itself is `remediation`'s own record.

use serde::{Deserialize, Serialize};

/// How a remediation run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RepairOutcome {
    /// A rung helped: the alert's own expression was false after it.
    Verified {
        /// The rung's name.
        rung: String,
    },
    /// Nothing helped; people have it.
    HandedOver {
        /// Why.
        reason: String,
    },
    /// A guard said no; nothing was done.
    Refused {
        /// Which guard and why.
        reason: String,
    },
    /// Planned and written down only.
    DryRun,
    /// The alert ended before anything was done.
    NotNeeded,
}
