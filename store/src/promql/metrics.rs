//! What the evaluator measures of itself.

use std::time::Duration;

use model::query::QueryError;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

/// `watchfire_promql_query_duration_seconds`, `watchfire_promql_queries_total{outcome}` and `watchfire_promql_scans_total{from}`.
pub struct Metrics {
    duration: Histogram,
    queries: IntCounterVec,
    scans: IntCounterVec,
}

impl Metrics {
    /// Registers all.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let duration = Histogram::with_opts(
            HistogramOpts::new("watchfire_promql_query_duration_seconds", "Time from question to answer, waiting for a turn included.")
                .buckets(buckets),
        )?;
        let queries = IntCounterVec::new(Opts::new("watchfire_promql_queries_total", "PromQL queries by how they ended."), &["outcome"])?;
        let help =
            "Selectors of PromQL queries by who read their samples: the query `own`, or `joined` one that read the same at the same time.";
        let scans = IntCounterVec::new(Opts::new("watchfire_promql_scans_total", help), &["from"])?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(queries.clone()))?;
        registry.register(Box::new(scans.clone()))?;
        Ok(Metrics { duration, queries, scans })
    }

    /// The samples of one selector were read.
    pub fn scanned(&self, joined: bool) {
        self.scans.with_label_values(&[if joined { "joined" } else { "own" }]).inc();
    }

    /// One query ended.
    pub fn observe(&self, took: Duration, error: Option<&QueryError>) {
        self.duration.observe(took.as_secs_f64());
        let outcome = match error {
            None => "success",
            Some(QueryError::BadData(_)) => "bad_data",
            Some(QueryError::Execution(_)) => "execution",
            Some(QueryError::Timeout(_)) => "timeout",
            Some(QueryError::Unavailable(_)) => "unavailable",
        };
        self.queries.with_label_values(&[outcome]).inc();
    }
}
