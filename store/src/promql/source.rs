//! Where series come from: a small port with two implementations, memory (tests, rule tests) and ClickHouse.

use async_trait::async_trait;
use model::labels::{Labels, Matcher};
use model::query::{MetricMetadata, QueryError};
use model::tenant::TenantId;
use model::time::Timestamp;

/// The bits of the NaN that marks a series as gone (Prometheus's staleness marker).
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// Whether a value is the staleness marker.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}

/// A stored series.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSeries {
    /// Its labels, `__name__` included.
    pub labels: Labels,
    /// Whether its samples are increments (delta temporality): each counts once, several may share a moment.
    pub delta: bool,
    /// Milliseconds and values, in order of time.
    pub samples: Vec<(i64, f64)>,
}

/// A source of series. Explicit histograms appear as `x_bucket` (with `le`), `x_sum` and `x_count`.
#[async_trait]
pub trait SeriesSource: Send + Sync {
    /// Series that match, with their samples after `start` and up to `end`.
    async fn select(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<StoredSeries>, QueryError>;
    /// Label sets of series that match and were seen in the span of time.
    async fn labels(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
        limit: usize,
    ) -> Result<Vec<Labels>, QueryError>;
    /// Names of metrics seen in the span of time, sorted.
    async fn metric_names(&self, tenant: &TenantId, start: Timestamp, end: Timestamp) -> Result<Vec<String>, QueryError>;
    /// What is known of each metric.
    async fn metadata(&self, tenant: &TenantId, limit: usize) -> Result<Vec<MetricMetadata>, QueryError>;
}
