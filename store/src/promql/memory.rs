//! Series in memory: for tests of rules and of the evaluator itself.

use std::collections::BTreeSet;

use async_trait::async_trait;
use model::labels::{Labels, METRIC_NAME, Matcher};
use model::query::{MetricMetadata, QueryError};
use model::tenant::TenantId;
use model::time::Timestamp;

use super::source::{SeriesSource, StoredSeries};

/// A fixed set of series; every tenant sees them.
#[derive(Clone, Debug, Default)]
pub struct MemorySource(pub Vec<StoredSeries>);

#[async_trait]
impl SeriesSource for MemorySource {
    async fn select(&self, _: &TenantId, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Result<Vec<StoredSeries>, QueryError> {
        let inside = |at: i64| at > start.millis() && at <= end.millis();
        let matching = self.0.iter().filter(|series| matchers.iter().all(|matcher| matcher.matches(&series.labels)));
        let cut = matching.map(|series| StoredSeries {
            labels: series.labels.clone(),
            delta: series.delta,
            samples: series.samples.iter().copied().filter(|(at, _)| inside(*at)).collect(),
        });
        Ok(cut.filter(|series| !series.samples.is_empty()).collect())
    }

    async fn labels(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
        limit: usize,
    ) -> Result<Vec<Labels>, QueryError> {
        let found = self.select(tenant, matchers, start, end).await?;
        Ok(found.into_iter().map(|series| series.labels).take(limit).collect())
    }

    async fn metric_names(&self, tenant: &TenantId, start: Timestamp, end: Timestamp) -> Result<Vec<String>, QueryError> {
        let found = self.select(tenant, &[], start, end).await?;
        let names: BTreeSet<String> = found.iter().filter_map(|series| series.labels.get(METRIC_NAME).map(str::to_owned)).collect();
        Ok(names.into_iter().collect())
    }

    async fn metadata(&self, _: &TenantId, _: usize) -> Result<Vec<MetricMetadata>, QueryError> {
        Ok(Vec::new())
    }
}
