//! Annotations: what the evaluator has to say about an answer, and where in the expression. Texts as Prometheus words them; each is kept
//! once, and only so many.

use std::collections::BTreeSet;

use super::plan::{NotePlaces, Place};

/// At most so many of each kind are kept.
const CAP: usize = 1_000;

/// The annotations of one evaluation.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    warnings: BTreeSet<String>,
    infos: BTreeSet<String>,
    places: NotePlaces,
}

impl Notes {
    /// What is said from now on is about these places. Returns those before.
    pub fn at(&mut self, places: NotePlaces) -> NotePlaces {
        std::mem::replace(&mut self.places, places)
    }
    /// Something may be wrong with the answer.
    pub fn warn(&mut self, text: &str) {
        add(&mut self.warnings, "PromQL warning: ", text, self.places.of);
    }
    /// Something may be wrong with the parameter.
    pub fn warn_of_parameter(&mut self, text: &str) {
        add(&mut self.warnings, "PromQL warning: ", text, self.places.parameter);
    }
    /// Something to know about the answer.
    pub fn inform(&mut self, text: &str) {
        add(&mut self.infos, "PromQL info: ", text, self.places.of);
    }
    /// What a note about a metric ends in: nothing where the name is gone.
    pub fn of_metric(name: &str) -> String {
        if name.is_empty() { String::new() } else { format!(" for metric name {name:?}") }
    }
    /// Exponential and custom buckets cannot be put together.
    pub fn mixed_buckets(&mut self, name: &str) {
        self.warn(&format!("vector contains a mix of histograms with exponential and custom buckets schemas for metric name {name:?}"));
    }
    /// Custom bounds that differ were put together: those that all have are left.
    pub fn reconciled(&mut self, doing: &str) {
        self.inform(&format!("mismatched custom buckets were reconciled during {doing}"));
    }
    /// The `q` of a quantile lies outside 0..=1.
    pub fn quantile(&mut self, q: f64) {
        if q.is_nan() || !(0.0..=1.0).contains(&q) {
            self.warn_of_parameter(&format!("quantile value should be between 0 and 1, got {}", model::units::Value(q)));
        }
    }
    /// The warnings and the infos, sorted.
    pub fn into_parts(self) -> (Vec<String>, Vec<String>) {
        (self.warnings.into_iter().collect(), self.infos.into_iter().collect())
    }
}

fn add(texts: &mut BTreeSet<String>, prefix: &str, text: &str, place: Place) {
    if texts.len() < CAP {
        texts.insert(match place {
            Place { line: 0, .. } => format!("{prefix}{text}"),
            Place { line, column } => format!("{prefix}{text} ({line}:{column})"),
        });
    }
}
