//! What processing did to each record, told for people: kept only where a request is tried out, never in service.

use serde::Serialize;

use super::record::Fields;

/// What became of a record, scope or resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecordTrace {
    /// span, log record, metric point, metric, scope or resource.
    pub record: &'static str,
    /// Its name or body, as it came.
    pub name: String,
    /// `stored`, or why it is not: `dropped`, `sampled out`, `rejected`.
    pub fate: &'static str,
    /// What decided so: a rule or an entry of sampling, or the reason of a rejection.
    pub by: Option<String>,
    /// How many records it stands for.
    pub weight: u32,
    /// What changed it, in order.
    pub steps: Vec<Step>,
}

/// What one rule or redaction changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The rule, or `redaction` with the kinds that were found.
    pub by: String,
    /// Fields before and after.
    pub changes: Vec<Change>,
}

/// A field before and after.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Which one.
    pub field: String,
    /// `None` where it was not there.
    pub before: Option<String>,
    /// `None` where it is gone.
    pub after: Option<String>,
}

/// What is noted while a request is tried out.
#[derive(Default)]
pub(crate) struct Trace {
    /// Of each record, in order.
    pub(crate) records: Vec<RecordTrace>,
}

impl Trace {
    /// The records that follow change this one.
    pub(crate) fn begin(&mut self, record: &'static str, name: String) {
        self.records.push(RecordTrace { record, name, fate: "stored", by: None, weight: 1, steps: Vec::new() });
    }
    /// Notes what differs.
    pub(crate) fn step(&mut self, by: String, before: &Fields, after: &Fields) {
        let changes = differences(before, after);
        if let Some(record) = self.records.last_mut().filter(|_| !changes.is_empty()) {
            record.steps.push(Step { by, changes });
        }
    }
    /// Notes the end of the record.
    pub(crate) fn end(&mut self, fate: &'static str, by: Option<String>) {
        if let Some(record) = self.records.last_mut() {
            record.fate = fate;
            record.by = by;
        }
    }
    /// Notes how many records it stands for.
    pub(crate) fn weight(&mut self, weight: u32) {
        if let Some(record) = self.records.last_mut() {
            record.weight = weight;
        }
    }
}

/// Fields that differ; where a field stands several times they are compared in order.
fn differences(before: &Fields, after: &Fields) -> Vec<Change> {
    let mut rest: Vec<&(String, String)> = after.iter().collect();
    let mut changes = Vec::new();
    for (field, old) in before {
        let same = rest.iter().position(|(name, _)| name == field);
        match same.map(|at| rest.remove(at)) {
            Some((_, new)) if new == old => {}
            Some((_, new)) => changes.push(Change { field: field.clone(), before: Some(old.clone()), after: Some(new.clone()) }),
            None => changes.push(Change { field: field.clone(), before: Some(old.clone()), after: None }),
        }
    }
    changes.extend(rest.into_iter().map(|(field, new)| Change { field: field.clone(), before: None, after: Some(new.clone()) }));
    changes
}
