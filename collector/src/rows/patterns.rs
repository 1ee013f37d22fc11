//! Log templates: rows of `patterns`, one for each template and severity of a request, in the same batch as the log records that they
//! count, so exactly as durable. Counts are of all records, before sampling.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::columns::TableBlock;

use super::Arrival;
use crate::columns::PatternColumns;
use crate::pipeline::patterns::Tree;

/// A sample is at most this long, in bytes.
const MAX_SAMPLE: usize = 1_024;

/// The templates of one request.
pub(crate) struct PatternRows<'r> {
    arrival: Arrival<'r>,
    /// The templates of the service that the records come from; taken at its first record.
    tree: Option<Arc<Mutex<Tree>>>,
    service: String,
    /// Service -> template and severity -> row.
    rows: HashMap<String, HashMap<(u64, u8), usize>>,
    columns: PatternColumns,
}

impl<'r> PatternRows<'r> {
    /// No rows yet.
    pub(crate) fn new(arrival: Arrival<'r>) -> Self {
        PatternRows { arrival, tree: None, service: String::new(), rows: HashMap::new(), columns: PatternColumns::reused() }
    }

    /// The records that follow come from this service.
    pub(crate) fn enter(&mut self, service: &str) {
        if self.arrival.pipeline.patterns.is_some() && self.service != service {
            self.tree = None;
            service.clone_into(&mut self.service);
        }
    }

    /// Counts a record, whose time is `ts` in nanoseconds.
    pub(crate) fn add(&mut self, body: &str, severity: u8, ts: i64) {
        let Some(config) = &self.arrival.pipeline.patterns else { return };
        if self.service.is_empty() {
            super::UNKNOWN_SERVICE.clone_into(&mut self.service);
        }
        let arrival = self.arrival;
        let tree = self.tree.get_or_insert_with(|| arrival.miner.service(config, arrival.tenant, &self.service, arrival.at));
        let template = tree.lock().unwrap_or_else(PoisonError::into_inner).learn(config, body);
        let to = &mut self.columns;
        if let Some(row) = self.rows.get(&self.service).and_then(|rows| rows.get(&(template.id, severity))) {
            to.count[*row] += 1;
            to.first_ts[*row] = to.first_ts[*row].min(ts);
            to.last_ts[*row] = to.last_ts[*row].max(ts);
            return;
        }
        self.rows.entry(self.service.clone()).or_default().insert((template.id, severity), to.count.len());
        to.tenant.push(arrival.tenant.as_str().as_bytes());
        to.service.push(self.service.as_bytes());
        to.pattern_id.push(template.id);
        to.severity_number.push(severity);
        to.first_ts.push(ts);
        to.last_ts.push(ts);
        to.received.push(arrival.at.millis());
        to.count.push(1);
        to.template.push(template.text.as_bytes());
        to.sample.push(&body.as_bytes()[..body.floor_char_boundary(MAX_SAMPLE)]);
        to.retention_days.push(arrival.limits.retention.logs);
    }

    /// About how many bytes its rows take.
    pub(crate) fn bytes(&self) -> usize {
        self.columns.bytes()
    }

    /// The block.
    pub(crate) fn into_block(self) -> TableBlock {
        self.columns.into_block()
    }
}
