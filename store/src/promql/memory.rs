//! Series in memory: for tests and for the unit tests of rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use model::labels::{Labels, METRIC_NAME};
use model::query::{Cardinality, Exemplar, MetricMetadata, QueryError, SeriesExemplars};
use model::tenant::TenantId;
use model::time::Timestamp;

use super::source::{
    BucketPoint, Listing, NativePoint, Part, QuantilePoint, Samples, Selection, SeriesHead, SeriesKind, SeriesSource, Shape, StoredData,
    StoredSeries, SummaryPart, Temporality, too_many_samples, too_many_series,
};
use super::value::ABSENT;

/// One point of a histogram as intake stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramPoint {
    /// Buckets and count.
    pub buckets: BucketPoint,
    /// The sum of all observations.
    pub sum: f64,
}

/// One point of a summary as intake stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct SummaryPoint {
    /// The quantiles.
    pub quantiles: QuantilePoint,
    /// The sum of all observations.
    pub sum: f64,
    /// How many they are.
    pub count: u64,
}

/// What a series in memory holds.
#[derive(Clone, Debug)]
pub enum MemoryRows {
    /// Number samples.
    Numbers(Samples),
    /// Histogram points.
    Histograms(Vec<HistogramPoint>),
    /// Native histograms.
    Native(Vec<NativePoint>),
    /// Summary points.
    Summaries(Vec<SummaryPoint>),
}

impl MemoryRows {
    /// When its points were, in milliseconds.
    pub fn times(&self) -> Vec<i64> {
        match self {
            MemoryRows::Numbers(rows) => rows.times.clone(),
            MemoryRows::Histograms(rows) => rows.iter().map(|row| row.buckets.at).collect(),
            MemoryRows::Native(rows) => rows.iter().map(|row| row.at).collect(),
            MemoryRows::Summaries(rows) => rows.iter().map(|row| row.quantiles.at).collect(),
        }
    }
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
    /// Its exemplars.
    pub exemplars: Vec<Exemplar>,
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
            Some(Rows::Histograms(_) | Rows::Native(_) | Rows::Summaries(_)) | None => {
                let rows = Rows::Numbers(samples.clone());
                all.push(MemorySeries { tenant: tenant.clone(), labels: labels.clone(), kind, temporality, rows, exemplars: Vec::new() });
            }
        }
    }

    /// Adds a histogram series; `labels` include `__name__`.
    pub fn add_histogram(&self, tenant: &TenantId, labels: &Labels, temporality: Temporality, points: Vec<HistogramPoint>) {
        self.add_rows(tenant, labels, temporality, Rows::Histograms(points));
    }

    /// Adds a series of native histograms; `labels` include `__name__`.
    pub fn add_native(&self, tenant: &TenantId, labels: &Labels, temporality: Temporality, points: Vec<NativePoint>) {
        self.add_rows(tenant, labels, temporality, Rows::Native(points));
    }

    /// Adds a summary; `labels` include `__name__`.
    pub fn add_summary(&self, tenant: &TenantId, labels: &Labels, points: Vec<SummaryPoint>) {
        self.add_rows(tenant, labels, Temporality::Cumulative, Rows::Summaries(points));
    }

    fn add_rows(&self, tenant: &TenantId, labels: &Labels, temporality: Temporality, rows: MemoryRows) {
        let kind = SeriesKind::Histogram;
        let series = MemorySeries { tenant: tenant.clone(), labels: labels.clone(), kind, temporality, rows, exemplars: Vec::new() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(series);
    }

    /// Adds exemplars to a series that it has.
    pub fn add_exemplars(&self, tenant: &TenantId, labels: &Labels, exemplars: Vec<Exemplar>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = all.iter_mut().find(|series| series.tenant == *tenant && series.labels == *labels) {
            series.exemplars.extend(exemplars);
        }
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
            match &series.rows {
                Rows::Histograms(rows) => {
                    rows.iter().filter(|row| within(row.buckets.at)).for_each(|row| bounds.extend(row.buckets.bounds.iter().copied()));
                }
                Rows::Summaries(rows) => {
                    let here = rows.iter().map(|row| &row.quantiles).filter(|row| within(row.at));
                    here.for_each(|row| bounds.extend(row.quantiles.iter().copied()));
                }
                Rows::Numbers(_) | Rows::Native(_) => {}
            }
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
            if listing.shape.virtual_label().is_none() {
                bounds.clear();
            }
            if series.rows.times().into_iter().any(within) {
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
        let fits = match shape {
            Shape::Numbers => matches!(self.rows, Rows::Numbers(_)),
            Shape::Histograms(_) => matches!(self.rows, Rows::Histograms(_)),
            Shape::Native => matches!(self.rows, Rows::Native(_)),
            Shape::Summaries(_) => matches!(self.rows, Rows::Summaries(_)),
        };
        if !fits {
            return None;
        }
        let name = format!("{}{}", self.labels.get(METRIC_NAME).unwrap_or(""), shape.suffix());
        let labels = self.labels.clone().with(METRIC_NAME, &name);
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
            (Rows::Native(rows), _) => StoredData::Native(rows.iter().filter(|row| within(row.at)).cloned().collect()),
            (Rows::Summaries(rows), Shape::Summaries(SummaryPart::Quantile)) => {
                StoredData::Quantiles(rows.iter().map(|row| &row.quantiles).filter(|row| within(row.at)).cloned().collect())
            }
            (Rows::Summaries(rows), _) => {
                let here: Vec<&SummaryPoint> = rows.iter().filter(|row| within(row.quantiles.at)).collect();
                let value = |row: &SummaryPoint| match shape {
                    _ if row.quantiles.stale => ABSENT,
                    Shape::Summaries(SummaryPart::Count) => row.count as f64,
                    Shape::Numbers | Shape::Histograms(_) | Shape::Native | Shape::Summaries(_) => row.sum,
                };
                let (times, values) = here.into_iter().map(|row| (row.quantiles.at, value(row))).unzip();
                StoredData::Numbers(Samples { times, values })
            }
            (Rows::Histograms(rows), _) => {
                let mut samples = Samples::default();
                for row in rows.iter().filter(|row| within(row.buckets.at)) {
                    let value = if shape == Shape::Histograms(Part::Sum) { row.sum } else { row.buckets.count as f64 };
                    samples.times.push(row.buckets.at);
                    samples.values.push(if row.buckets.stale { ABSENT } else { value });
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
                StoredData::Native(points) => points.len(),
                StoredData::Quantiles(points) => points.iter().map(|point| point.values.len().max(1)).sum(),
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

    async fn exemplars(&self, listing: &Listing<'_>) -> Result<Vec<SeriesExemplars>, QueryError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut found, mut room) = (Vec::new(), listing.limit);
        for series in all.iter().filter(|series| series.tenant == *listing.tenant) {
            let Some(labels) = series.matched(listing.shape, listing.matchers) else { continue };
            let within = |one: &&Exemplar| (listing.start..=listing.end).contains(&one.sample.at.millis());
            let exemplars: Vec<Exemplar> = series.exemplars.iter().filter(within).take(room).cloned().collect();
            room -= exemplars.len();
            if !exemplars.is_empty() {
                found.push(SeriesExemplars { labels, exemplars });
            }
        }
        Ok(found)
    }

    async fn cardinality(&self, tenant: &TenantId, limit: usize) -> Result<Cardinality, QueryError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mine: Vec<&MemorySeries> = all.iter().filter(|series| series.tenant == *tenant).collect();
        let (mut by_metric, mut by_pair) = (BTreeMap::new(), BTreeMap::new());
        let mut values: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for (name, value) in mine.iter().flat_map(|series| series.labels.iter()) {
            if name == METRIC_NAME {
                *by_metric.entry(value.to_owned()).or_insert(0) += 1;
            }
            *by_pair.entry(format!("{name}={value}")).or_insert(0) += 1;
            values.entry(name.to_owned()).or_default().insert(value);
        }
        let top = |pairs: BTreeMap<String, u64>| {
            let mut list: Vec<(String, u64)> = pairs.into_iter().collect();
            list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            list.truncate(limit);
            list
        };
        let times = || mine.iter().flat_map(|series| series.rows.times());
        Ok(Cardinality {
            series: mine.len() as u64,
            label_pairs: by_pair.len() as u64,
            by_metric: top(by_metric),
            bytes_by_label: top(values
                .iter()
                .map(|(name, all)| (name.clone(), all.iter().map(|value| value.len() as u64).sum()))
                .collect()),
            values_by_label: top(values.iter().map(|(name, all)| (name.clone(), all.len() as u64)).collect()),
            by_pair: top(by_pair),
            seen: times().min().zip(times().max()).map(|(first, last)| (Timestamp::from_millis(first), Timestamp::from_millis(last))),
        })
    }
}
