//! Series from memory where all that is asked for is there, else from ClickHouse.

use std::sync::Arc;

use async_trait::async_trait;
use model::query::{Cardinality, MetricMetadata, QueryError, SeriesExemplars};
use model::tenant::TenantId;

use super::Head;
use crate::promql::source::{Listing, Numbers, Selection, SeriesHead, SeriesSource, StoredSeries, Wish};

/// More samples than these are unpacked off the async threads.
const FEW: usize = 50_000;

/// The source over both.
#[derive(Clone)]
pub struct HeadSource {
    head: Arc<Head>,
    store: Arc<dyn SeriesSource>,
}

impl HeadSource {
    /// `store` answers what the head cannot.
    pub fn new(head: Arc<Head>, store: Arc<dyn SeriesSource>) -> Self {
        HeadSource { head, store }
    }
}

#[async_trait]
impl SeriesSource for HeadSource {
    async fn select(&self, selection: &Selection<'_>) -> Result<Vec<StoredSeries>, QueryError> {
        self.store.select(selection).await
    }

    async fn numbers(&self, selection: &Selection<'_>, wish: Option<&Wish>) -> Result<Option<Numbers>, QueryError> {
        self.store.numbers(selection, wish).await
    }

    async fn at_hand(&self, selection: &Selection<'_>, wish: Option<&Wish>) -> Result<Option<Numbers>, QueryError> {
        let Some(held) = self.head.hold(selection) else { return Ok(None) };
        let held = held?;
        // Too much to unpack: ClickHouse may compute what is wanted without handing out the samples.
        if wish.is_some() && held.samples() > selection.max_samples {
            return Ok(None);
        }
        if held.samples() <= FEW {
            return held.unpack().map(|series| Some(Numbers::Ready(series)));
        }
        let unpacked = tokio::task::spawn_blocking(move || held.unpack()).await;
        let series = unpacked.map_err(|error| QueryError::Execution(format!("reading from memory died: {error}")))?;
        series.map(|series| Some(Numbers::Ready(series)))
    }

    async fn series(&self, listing: &Listing<'_>) -> Result<Vec<SeriesHead>, QueryError> {
        self.store.series(listing).await
    }

    async fn label_names(&self, listing: &Listing<'_>) -> Result<Vec<String>, QueryError> {
        self.store.label_names(listing).await
    }

    async fn label_values(&self, name: &str, listing: &Listing<'_>) -> Result<Vec<String>, QueryError> {
        self.store.label_values(name, listing).await
    }

    async fn metadata(&self, tenant: &TenantId, limit: usize) -> Result<Vec<MetricMetadata>, QueryError> {
        self.store.metadata(tenant, limit).await
    }

    async fn exemplars(&self, listing: &Listing<'_>) -> Result<Vec<SeriesExemplars>, QueryError> {
        self.store.exemplars(listing).await
    }

    async fn cardinality(&self, tenant: &TenantId, limit: usize) -> Result<Cardinality, QueryError> {
        self.store.cardinality(tenant, limit).await
    }
}
