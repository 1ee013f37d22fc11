//! Series in memory as they are known at a moment: what comes later is not seen yet. What rules write is added.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use model::labels::Labels;
use model::query::{Cardinality, MetricMetadata, QueryError, SeriesExemplars, SeriesSample};
use model::sink::{Refusal, SeriesSink};
use model::tenant::TenantId;
use model::time::Timestamp;
use store::promql::memory::MemorySource;
use store::promql::source::{Listing, Samples, Selection, SeriesHead, SeriesKind, SeriesSource, StoredSeries, Temporality};

/// The series that are known at the moment that was last [set](Known::until).
pub struct Known {
    /// All of them.
    pub source: Arc<MemorySource>,
    until: AtomicI64,
}

impl Known {
    /// Nothing is known yet.
    pub fn new(source: Arc<MemorySource>) -> Self {
        Known { source, until: AtomicI64::new(i64::MIN) }
    }
    /// Samples up to this moment, inclusive, are known from now on.
    pub fn until(&self, at: Timestamp) {
        self.until.store(at.millis(), Ordering::SeqCst);
    }
    fn listing<'a>(&self, listing: &Listing<'a>) -> Listing<'a> {
        Listing { end: listing.end.min(self.until.load(Ordering::SeqCst)), ..listing.clone() }
    }
}

#[async_trait]
impl SeriesSource for Known {
    async fn select(&self, selection: &Selection<'_>) -> Result<Vec<StoredSeries>, QueryError> {
        let until = selection.until.min(self.until.load(Ordering::SeqCst));
        self.source.select(&Selection { until, ..selection.clone() }).await
    }
    async fn series(&self, listing: &Listing<'_>) -> Result<Vec<SeriesHead>, QueryError> {
        self.source.series(&self.listing(listing)).await
    }
    async fn label_names(&self, listing: &Listing<'_>) -> Result<Vec<String>, QueryError> {
        self.source.label_names(&self.listing(listing)).await
    }
    async fn label_values(&self, name: &str, listing: &Listing<'_>) -> Result<Vec<String>, QueryError> {
        self.source.label_values(name, &self.listing(listing)).await
    }
    async fn metadata(&self, tenant: &TenantId, limit: usize) -> Result<Vec<MetricMetadata>, QueryError> {
        self.source.metadata(tenant, limit).await
    }
    async fn exemplars(&self, listing: &Listing<'_>) -> Result<Vec<SeriesExemplars>, QueryError> {
        self.source.exemplars(&self.listing(listing)).await
    }
    async fn cardinality(&self, tenant: &TenantId, limit: usize) -> Result<Cardinality, QueryError> {
        self.source.cardinality(tenant, limit).await
    }
}

/// Takes what rules write into the series in memory.
pub struct Sink(pub Arc<MemorySource>);

#[async_trait]
impl SeriesSink for Sink {
    async fn write(&self, tenant: &TenantId, samples: Vec<(Labels, SeriesSample)>) -> Result<(), Refusal> {
        let mut series: BTreeMap<Labels, Samples> = BTreeMap::new();
        for (labels, sample) in samples {
            let rows = series.entry(labels).or_default();
            rows.times.push(sample.at.millis());
            rows.values.push(sample.value);
        }
        for (labels, rows) in &series {
            self.0.add(tenant, labels, SeriesKind::Untyped, Temporality::Cumulative, rows);
        }
        Ok(())
    }
}
