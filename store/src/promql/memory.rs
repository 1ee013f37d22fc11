//! Series in memory: for tests and for the unit tests of rules.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use model::labels::{Labels, METRIC_NAME};
use model::query::{MetricMetadata, QueryError};
use model::tenant::TenantId;

use super::source::{
    BucketPoint, Listing, Part, Samples, Selection, SeriesHead, SeriesKind, SeriesSource, Shape, StoredData, StoredSeries, Temporality,
    too_many_samples, too_many_series,
};

/// One point of a histogram as intake stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramPoint {
    /// Buckets and count.
    pub buckets: BucketPoint,
    /// The sum of all observations.
    pub sum: f64,
}

/// What a series in memory holds.
#[derive(Clone, Debug)]
pub enum MemoryRows {
    /// Number samples.
    Numbers(Samples),
    /// Histogram points.
    Histograms(Vec<HistogramPoint>),
}

use MemoryRows as Rows;

/// A series in memory.
#[derive(Clone, Debug)]
pub struct MemorySeries {
    /// Whose it is.
    pub tenant: TenantId,
    /// With `__name__`.
    pub labels: Labels,
    /// What it measures.
    pub kind: SeriesKind,
    /// How its samples count.
    pub temporality: Temporality,
    /// Its samples.
    pub rows: MemoryRows,
}

/// A source that holds what it is given.
#[derive(Debug, Default)]
pub struct MemorySource(Mutex<Vec<MemorySeries>>);

impl MemorySource {
    /// An empty one.
    pub fn new() -> Self {
        MemorySource::default()
    }

    /// Adds samples of a number series; `labels` include `__name__`. Samples must come in order of time, as in the store after sorting.
    pub fn add(&self, tenant: &TenantId, labels: &Labels, kind: SeriesKind, temporality: Temporality, samples: &Samples) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter_mut().find(|s| s.tenant == *tenant && s.labels == *labels && matches!(s.rows, Rows::Numbers(_)));
        match known.map(|series| &mut series.rows) {
            Some(Rows::Numbers(rows)) => {
                rows.times.extend(&samples.times);
                rows.values.extend(&samples.values);
            }
            Some(Rows::Histograms(_)) | None => {
                let rows = Rows::Numbers(samples.clone());
                all.push(MemorySeries { tenant: tenant.clone(), labels: labels.clone(), kind, temporality, rows });
            }
        }
    }

    /// Adds a histogram series; `labels` include `__name__`.
    pub fn add_histogram(&self, tenant: &TenantId, labels: &Labels, temporality: Temporality, points: Vec<HistogramPoint>) {
        let series = MemorySeries {
            tenant: tenant.clone(),
            labels: labels.clone(),
            kind: SeriesKind::Histogram,
            temporality,
            rows: Rows::Histograms(points),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(series);
    }

    /// A copy of everything it holds.
    pub fn all(&self) -> Vec<MemorySeries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn heads(&self, listing: &Listing<'_>) -> Vec<SeriesHead> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut heads = Vec::new();
        for series in all.iter().filter(|series| series.tenant == *listing.tenant) {
            let Some(labels) = series.matched(listing.shape, listing.matchers) else { continue };
            let mut bounds = Vec::new();
            let within = |at: i64| (listing.start..=listing.end).contains(&at);
            let seen = match &series.rows {
                Rows::Numbers(rows) => rows.times.iter().copied().any(within),
                Rows::Histograms(rows) => {
                    for row in rows.iter().filter(|row| within(row.buckets.at)) {
                        bounds.extend(row.buckets.bounds.iter().copied());
                    }
                    rows.iter().any(|row| within(row.buckets.at))
                }
            };
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
            if listing.shape != Shape::Histograms(Part::Bucket) {
                bounds.clear();
            }
            if seen {
                heads.push(SeriesHead { labels, bounds });
            }
        }
        heads.sort_by(|a, b| a.labels.cmp(&b.labels));
        heads.truncate(listing.limit);
        heads
    }
}

impl MemorySeries {
    /// The labels as matchers see them, if this series has the shape and matches.
    fn matched(&self, shape: Shape, matchers: &[model::labels::Matcher]) -> Option<Labels> {
        let labels = match (&self.rows, shape) {
            (Rows::Numbers(_), Shape::Numbers) => self.labels.clone(),
            (Rows::Histograms(_), Shape::Histograms(part)) => {
                let name = format!("{}{}", self.labels.get(METRIC_NAME).unwrap_or(""), part.suffix());
                self.labels.clone().with(METRIC_NAME, &name)
            }
            (Rows::Numbers(_), Shape::Histograms(_)) | (Rows::Histograms(_), Shape::Numbers) => return None,
        };
        matchers.iter().all(|matcher| matcher.matches(&labels)).then_some(labels)
    }

    fn data(&self, shape: Shape, after: i64, until: i64) -> StoredData {
        let within = |at: i64| at > after && at <= until;
        match (&self.rows, shape) {
            (Rows::Numbers(rows), _) => {
                let kept = rows.times.iter().zip(&rows.values).filter(|(at, _)| within(**at));
                let (times, values) = kept.map(|(at, value)| (*at, *value)).unzip();
                StoredData::Numbers(Samples { times, values })
            }
            (Rows::Histograms(rows), Shape::Histograms(Part::Bucket)) => {
                StoredData::Buckets(rows.iter().filter(|row| within(row.buckets.at)).map(|row| row.buckets.clone()).collect())
            }
            (Rows::Histograms(rows), Shape::Numbers | Shape::Histograms(_)) => {
                let mut samples = Samples::default();
                for row in rows.iter().filter(|row| within(row.buckets.at)) {
                    let value = if shape == Shape::Histograms(Part::Sum) { row.sum } else { row.buckets.count as f64 };
                    samples.times.push(row.buckets.at);
                    samples.values.push(if row.buckets.stale { super::value::ABSENT } else { value });
                }
                StoredData::Numbers(samples)
            }
        }
    }
}

#[async_trait]
impl SeriesSource for MemorySource {
    async fn select(&self, selection: &Selection<'_>) -> Result<Vec<StoredSeries>, QueryError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut found, mut samples) = (Vec::new(), 0);
        for series in all.iter().filter(|series| series.tenant == *selection.tenant) {
            let Some(labels) = series.matched(selection.shape, selection.matchers) else { continue };
            let data = series.data(selection.shape, selection.after, selection.until);
            let size = match &data {
                StoredData::Numbers(rows) => rows.times.len(),
                StoredData::Buckets(points) => points.iter().map(|point| point.counts.len().max(1)).sum(),
            };
            if size == 0 {
                continue;
            }
            samples += size;
            found.push(StoredSeries { labels, kind: series.kind, temporality: series.temporality, data });
            if found.len() > selection.max_series {
                return Err(too_many_series(selection.max_series));
            }
            if samples > selection.max_samples {
                return Err(too_many_samples(selection.max_samples));
            }
        }
        Ok(found)
    }

    async fn series(&self, listing: &Listing<'_>) -> Result<Vec<SeriesHead>, QueryError> {
        Ok(self.heads(listing))
    }

    async fn label_names(&self, listing: &Listing<'_>) -> Result<Vec<String>, QueryError> {
        let heads = self.heads(&Listing { limit: usize::MAX, ..listing.clone() });
        let names: BTreeSet<&str> = heads.iter().flat_map(|head| head.labels.iter().map(|(name, _)| name)).collect();
        Ok(names.into_iter().filter(|name| *name != METRIC_NAME).take(listing.limit).map(str::to_owned).collect())
    }

    async fn label_values(&self, name: &str, listing: &Listing<'_>) -> Result<Vec<String>, QueryError> {
        let heads = self.heads(&Listing { limit: usize::MAX, ..listing.clone() });
        let values: BTreeSet<&str> = heads.iter().filter_map(|head| head.labels.get(name)).collect();
        Ok(values.into_iter().take(listing.limit).map(str::to_owned).collect())
    }

    async fn metadata(&self, tenant: &TenantId, limit: usize) -> Result<Vec<MetricMetadata>, QueryError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut metrics: Vec<MetricMetadata> = Vec::new();
        for series in all.iter().filter(|series| series.tenant == *tenant) {
            let metric = series.labels.get(METRIC_NAME).unwrap_or("");
            if !metrics.iter().any(|known| known.metric == metric) {
                let kind = match series.kind {
                    SeriesKind::Gauge => "gauge",
                    SeriesKind::Counter => "counter",
                    SeriesKind::Untyped => "unknown",
                    SeriesKind::Histogram => "histogram",
                };
                metrics.push(MetricMetadata { metric: metric.to_owned(), kind: kind.to_owned(), help: String::new(), unit: String::new() });
            }
        }
        metrics.sort_by(|a, b| a.metric.cmp(&b.metric));
        metrics.truncate(limit);
        Ok(metrics)
    }
}
