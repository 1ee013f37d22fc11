//! Unit tests of rules in promtool's format, and what Watchfire adds to it: what people do meanwhile, who is paged when, what is repaired.
//! In: test files. Out: a verdict for each expectation, with what was expected and what was there. The rules run through the real
//! evaluator, ladders, incidents and remediations, over series in memory and rows of a real engine.

mod alerts;
mod diff;
mod file;
mod folk;
mod issues;
pub mod load;
pub mod notation;
mod pages;
mod promql;
mod repairs;
mod run;
mod signals;

use serde::Serialize;

pub use pages::Page;
pub use run::{Options, run_file, run_text};
pub use signals::EnginePlace;

/// What became of one expectation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    /// The test's name, or `test 3`.
    pub test: String,
    /// `alert_rule_test`, `promql_expr_test`, `delivery_test`, `remediation_test`, or `rules` where they cannot be evaluated.
    pub kind: &'static str,
    /// What it is about: an alert's name and a time, an expression.
    pub about: String,
    /// Where it stands, from 1; 0 where that is not known.
    pub line: u64,
    /// Why it fails: lines for people; none where it passes.
    pub failure: Option<String>,
}

/// What became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file.
    pub file: String,
    /// Why it could not be run at all.
    pub errors: Vec<String>,
    /// What to know, although nothing fails for it.
    pub warnings: Vec<String>,
    /// Its expectations, in order.
    pub cases: Vec<Case>,
}

impl Report {
    /// Whether all is as expected.
    pub fn passed(&self) -> bool {
        self.errors.is_empty() && self.cases.iter().all(|case| case.failure.is_none())
    }
}

#[cfg(test)]
mod tests;
