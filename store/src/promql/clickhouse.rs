//! Series in ClickHouse: the tables `series`, `points`, `histograms`, `exp_histograms`, `summaries` and `exemplars`. The tenant stands first in every condition and key;
//! matchers become bound parameters and are checked again here. Samples come back as arrays per series.

mod known;
pub(super) mod sql;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ::clickhouse::{Client, Row};
use async_trait::async_trait;
use model::labels::{Labels, METRIC_NAME, Matcher};
use model::query::{Cardinality, Exemplar, MetricMetadata, QueryError, SeriesExemplars, SeriesSample};
use model::tables::{SERIES_KINDS, TEMPORALITIES};
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::sql::{Counted, Statement};
use super::native::{CUSTOM_SCHEMA, Histogram};
use super::source::{
    BucketPoint, Listing, NativePoint, Numbers, Part, QuantilePoint, Samples, Selection, SeriesHead, SeriesKind, SeriesSource, Shape,
    StoredData, StoredSeries, SummaryPart, Temporality, Wish, too_many_samples, too_many_series,
};
use crate::clickhouse::ClickHouseError;

/// For questions that name no time of their own.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(30);

/// The source over the telemetry store.
#[derive(Clone)]
pub struct ClickHouseSource {
    client: Client,
    /// What one statement may hold in the store's memory, in bytes.
    memory: Option<u64>,
    /// Set once the store has said that it does not know the functions of [`sql::grid`].
    plain: Arc<AtomicBool>,
    /// How many statements run at the same time; more wait.
    turns: Option<Arc<Semaphore>>,
    /// How often a function was computed by the store.
    computed: Arc<AtomicU64>,
}

/// What a series is, as [`sql::SERIES_COLUMNS`] asks.
#[derive(Row, Deserialize)]
pub(super) struct SeriesRow {
    pub(super) name: String,
    pub(super) fingerprint: u64,
    pub(super) label_map: Vec<(String, String)>,
    pub(super) kind_code: i8,
    pub(super) temporality_code: i8,
    pub(super) is_monotonic: u8,
}

#[derive(Row, Deserialize)]
struct SampleRow {
    fingerprint: u64,
    times: Vec<i64>,
    samples: Vec<f64>,
}

#[derive(Row, Deserialize)]
struct BucketRow {
    fingerprint: u64,
    at: i64,
    total: u64,
    bounds: Vec<f64>,
    counts: Vec<u64>,
    flags: u32,
}

#[derive(Row, Deserialize)]
struct NativeRow {
    fingerprint: u64,
    at: i64,
    total: f64,
    summed: f64,
    fine: i32,
    zeros: f64,
    threshold: f64,
    above_from: i32,
    above: Vec<f64>,
    below_from: i32,
    below: Vec<f64>,
    flags: u32,
    bounds: Vec<f64>,
}

impl NativeRow {
    /// How much it counts against the limit of samples.
    fn size(&self) -> usize {
        1 + (self.above.len() + self.below.len()) / 16
    }

    /// `bounds` are the custom bounds seen last: rows of a series nearly always have the same, and share them.
    fn histogram(&self, bounds: &mut Arc<[f64]>) -> Option<Histogram> {
        let (zero, total) = ((self.threshold, self.zeros), (self.total, self.summed));
        if self.fine != CUSTOM_SCHEMA {
            return Histogram::from_exponential(self.fine, zero, total, (self.above_from, &self.above), (self.below_from, &self.below));
        }
        if **bounds != *self.bounds {
            *bounds = Arc::from(self.bounds.as_slice());
        }
        Histogram::from_custom(Arc::clone(bounds), total, &self.above)
    }

    fn point(&self, bounds: &mut Arc<[f64]>) -> NativePoint {
        let histogram = if self.flags & 1 == 1 { None } else { self.histogram(bounds) };
        NativePoint { at: self.at, histogram: histogram.map(Arc::new) }
    }
}

#[derive(Row, Deserialize)]
struct QuantileRow {
    fingerprint: u64,
    at: i64,
    shares: Vec<f64>,
    numbers: Vec<f64>,
    flags: u32,
}

#[derive(Row, Deserialize)]
struct ExemplarRow {
    fingerprint: u64,
    at: i64,
    seen: f64,
    trace: String,
    span: String,
    noted: Vec<(String, String)>,
}

#[derive(Row, Deserialize)]
struct TotalsRow {
    number: u64,
    pairs: u64,
    since: i64,
    last: i64,
}

#[derive(Row, Deserialize)]
struct CountedRow {
    name: String,
    number: u64,
}

#[derive(Row, Deserialize)]
struct BoundsRow {
    fingerprint: u64,
    all_bounds: Vec<f64>,
}

#[derive(Row, Deserialize)]
struct MetadataRow {
    name: String,
    kind_code: i8,
    is_monotonic: u8,
    help: String,
    unit_text: String,
}

impl ClickHouseSource {
    /// Over a client that knows its database.
    pub fn new(client: Client) -> Self {
        ClickHouseSource { client, memory: None, plain: Arc::default(), turns: None, computed: Arc::default() }
    }

    /// The same, with a cap on what one statement may hold in the store's memory.
    pub fn with_memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// The same, with at most so many questions at the same time: its clones share them.
    pub fn with_turns(mut self, at_once: usize) -> Self {
        self.turns = Some(Arc::new(Semaphore::new(at_once.max(1))));
        self
    }

    /// How often a function of a selector was computed by the store instead of from its samples.
    pub fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    async fn turn(&self) -> Result<Option<SemaphorePermit<'_>>, QueryError> {
        let stopping = |_| QueryError::Unavailable("the server is stopping".to_owned());
        match &self.turns {
            Some(turns) => turns.acquire().await.map(Some).map_err(stopping),
            None => Ok(None),
        }
    }

    fn query(&self, statement: Statement, timeout: Duration) -> ::clickhouse::query::Query {
        let seconds = timeout.as_secs_f64().ceil().max(1.0);
        let query = statement.bind(self.client.query(&statement.text)).with_setting("max_execution_time", seconds.to_string());
        // A server ends what nobody waits for only where it is told to, and only what cannot write.
        let query = query.with_setting("readonly", "2").with_setting("cancel_http_readonly_queries_on_client_close", "1");
        match self.memory {
            Some(bytes) => query.with_setting("max_memory_usage", bytes.to_string()),
            None => query,
        }
    }

    /// The series that match, by fingerprint.
    async fn heads(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        shape: Shape,
        timeout: Duration,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<HashMap<u64, Head>, QueryError> {
        let mut cursor = self.query(sql::series(tenant, matchers, shape), timeout).fetch::<SeriesRow>().map_err(|e| failure(e, timeout))?;
        let mut found = HashMap::new();
        while let Some(row) = cursor.next().await.map_err(|e| failure(e, timeout))? {
            if !wanted(row.fingerprint) {
                continue;
            }
            let labels = labels_of(&row.name, shape, row.label_map);
            if matchers.iter().all(|matcher| matcher.matches(&labels)) {
                let delta = named(TEMPORALITIES, row.temporality_code) == "delta";
                let temporality = if delta { Temporality::Delta } else { Temporality::Cumulative };
                let kind = if shape == Shape::Summaries(SummaryPart::Quantile) {
                    SeriesKind::Gauge
                } else {
                    kind_of(row.kind_code, row.is_monotonic)
                };
                let gauge = shape == Shape::Native && named(TEMPORALITIES, row.temporality_code) == "unspecified";
                found.insert(row.fingerprint, Head { labels, kind, temporality, gauge });
            }
        }
        Ok(found)
    }

    /// Samples by fingerprint, in no order.
    async fn samples(&self, selection: &Selection<'_>) -> Result<HashMap<u64, StoredData>, QueryError> {
        let fail = |error| failure(error, selection.timeout);
        let mut found: HashMap<u64, StoredData> = HashMap::new();
        let mut total = 0;
        let mut room = |more: usize, series: usize| {
            total += more;
            if series > selection.max_series {
                return Err(too_many_series(selection.max_series));
            }
            if total > selection.max_samples { Err(too_many_samples(selection.max_samples)) } else { Ok(()) }
        };
        if selection.shape == Shape::Histograms(Part::Bucket) {
            let mut cursor = self.query(sql::buckets(selection), selection.timeout).fetch::<BucketRow>().map_err(fail)?;
            while let Some(row) = cursor.next().await.map_err(fail)? {
                let size = row.counts.len().max(1);
                let stale = row.flags & 1 == 1;
                let point = BucketPoint { at: row.at, bounds: row.bounds, counts: row.counts, count: row.total, stale };
                if let StoredData::Buckets(points) = found.entry(row.fingerprint).or_insert_with(|| StoredData::Buckets(Vec::new())) {
                    points.push(point);
                }
                room(size, found.len())?;
            }
        } else if selection.shape == Shape::Native {
            let mut cursor = self.query(sql::natives(selection), selection.timeout).fetch::<NativeRow>().map_err(fail)?;
            let mut bounds: Arc<[f64]> = Arc::from([]);
            while let Some(row) = cursor.next().await.map_err(fail)? {
                let (size, data) = (row.size(), found.entry(row.fingerprint).or_insert_with(|| StoredData::Native(Vec::new())));
                if let StoredData::Native(points) = data {
                    points.push(row.point(&mut bounds));
                }
                room(size, found.len())?;
            }
        } else if selection.shape == Shape::Summaries(SummaryPart::Quantile) {
            let mut cursor = self.query(sql::quantiles(selection), selection.timeout).fetch::<QuantileRow>().map_err(fail)?;
            while let Some(row) = cursor.next().await.map_err(fail)? {
                let size = row.numbers.len().max(1);
                let point = QuantilePoint { at: row.at, quantiles: row.shares, values: row.numbers, stale: row.flags & 1 == 1 };
                if let StoredData::Quantiles(points) = found.entry(row.fingerprint).or_insert_with(|| StoredData::Quantiles(Vec::new())) {
                    points.push(point);
                }
                room(size, found.len())?;
            }
        }
        for data in found.values_mut() {
            match data {
                StoredData::Buckets(points) => points.sort_by_key(|point| point.at),
                StoredData::Native(points) => points.sort_by_key(|point| point.at),
                StoredData::Quantiles(points) => points.sort_by_key(|point| point.at),
                StoredData::Numbers(_) => {}
            }
        }
        if selection.shape.virtual_label().is_some() || selection.shape == Shape::Native {
            return Ok(found);
        }
        let mut cursor = self.query(sql::numbers(selection), selection.timeout).fetch::<SampleRow>().map_err(fail)?;
        while let Some(row) = cursor.next().await.map_err(fail)? {
            room(row.times.len(), found.len() + 1)?;
            found.insert(row.fingerprint, StoredData::Numbers(Samples { times: row.times, values: row.samples }));
        }
        Ok(found)
    }

    async fn texts(&self, statement: Statement) -> Result<Vec<String>, QueryError> {
        let _turn = self.turn().await?;
        self.query(statement, CATALOG_TIMEOUT).fetch_all::<String>().await.map_err(|error| failure(error, CATALOG_TIMEOUT))
    }
}

#[async_trait]
impl SeriesSource for ClickHouseSource {
    async fn select(&self, selection: &Selection<'_>) -> Result<Vec<StoredSeries>, QueryError> {
        let _turn = self.turn().await?;
        let mut samples = self.samples(selection).await?;
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = |fingerprint: u64| samples.contains_key(&fingerprint);
        let heads = self.heads(selection.tenant, selection.matchers, selection.shape, selection.timeout, wanted).await?;
        let join = |(fingerprint, head): (u64, Head)| {
            let mut data = samples.remove(&fingerprint)?;
            if let (true, StoredData::Native(points)) = (head.gauge, &mut data) {
                points.iter_mut().filter_map(|point| point.histogram.as_mut()).for_each(|histogram| Arc::make_mut(histogram).gauge = true);
            }
            Some(StoredSeries { labels: head.labels, kind: head.kind, temporality: head.temporality, data })
        };
        Ok(heads.into_iter().filter_map(join).collect())
    }

    async fn numbers(&self, selection: &Selection<'_>, wish: Option<&Wish>) -> Result<Option<Numbers>, QueryError> {
        let _turn = self.turn().await?;
        self.known_numbers(selection, wish).await
    }

    async fn series(&self, listing: &Listing<'_>) -> Result<Vec<SeriesHead>, QueryError> {
        let fail = |error| failure(error, CATALOG_TIMEOUT);
        let _turn = self.turn().await?;
        let mut cursor = self.query(sql::listed(listing), CATALOG_TIMEOUT).fetch::<SeriesRow>().map_err(fail)?;
        let mut heads: Vec<(u64, SeriesHead)> = Vec::new();
        while let Some(row) = cursor.next().await.map_err(fail)? {
            let labels = labels_of(&row.name, listing.shape, row.label_map);
            if listing.matchers.iter().all(|matcher| matcher.matches(&labels)) {
                heads.push((row.fingerprint, SeriesHead { labels, bounds: Vec::new() }));
            }
        }
        if listing.shape.virtual_label().is_some() && !heads.is_empty() {
            let rows: Vec<BoundsRow> = self.query(sql::bounds(listing), CATALOG_TIMEOUT).fetch_all().await.map_err(fail)?;
            let mut bounds: HashMap<u64, Vec<f64>> = rows.into_iter().map(|row| (row.fingerprint, row.all_bounds)).collect();
            for (fingerprint, head) in &mut heads {
                head.bounds = bounds.remove(fingerprint).unwrap_or_default();
            }
        }
        Ok(heads.into_iter().map(|(_, head)| head).collect())
    }

    async fn label_names(&self, listing: &Listing<'_>) -> Result<Vec<String>, QueryError> {
        self.texts(sql::label_names(listing)).await
    }

    async fn label_values(&self, name: &str, listing: &Listing<'_>) -> Result<Vec<String>, QueryError> {
        self.texts(sql::label_values(name, listing)).await
    }

    async fn metadata(&self, tenant: &TenantId, limit: usize) -> Result<Vec<MetricMetadata>, QueryError> {
        let rows: Vec<MetadataRow> =
            self.query(sql::metadata(tenant, limit), CATALOG_TIMEOUT).fetch_all().await.map_err(|error| failure(error, CATALOG_TIMEOUT))?;
        let row = |row: MetadataRow| MetricMetadata {
            metric: row.name,
            kind: prometheus_type(row.kind_code, row.is_monotonic).to_owned(),
            help: row.help,
            unit: row.unit_text,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    async fn exemplars(&self, listing: &Listing<'_>) -> Result<Vec<SeriesExemplars>, QueryError> {
        let fail = |error| failure(error, CATALOG_TIMEOUT);
        let rows: Vec<ExemplarRow> = self.query(sql::exemplars(listing), CATALOG_TIMEOUT).fetch_all().await.map_err(fail)?;
        let mut found: HashMap<u64, Vec<Exemplar>> = HashMap::new();
        for row in rows {
            let mut labels: Labels = row.noted.into_iter().collect();
            for (name, id) in [("trace_id", &row.trace), ("span_id", &row.span)] {
                if id.bytes().any(|digit| digit != b'0') {
                    labels.set(name, id);
                }
            }
            let sample = SeriesSample { at: Timestamp::from_millis(row.at), value: row.seen };
            found.entry(row.fingerprint).or_default().push(Exemplar { labels, sample });
        }
        let wanted = |fingerprint: u64| found.contains_key(&fingerprint);
        let heads = self.heads(listing.tenant, listing.matchers, listing.shape, CATALOG_TIMEOUT, wanted).await?;
        let join = |(fingerprint, head): (u64, Head)| {
            found.remove(&fingerprint).map(|exemplars| SeriesExemplars { labels: head.labels, exemplars })
        };
        Ok(heads.into_iter().filter_map(join).collect())
    }

    async fn cardinality(&self, tenant: &TenantId, limit: usize) -> Result<Cardinality, QueryError> {
        let fail = |error| failure(error, CATALOG_TIMEOUT);
        let totals: TotalsRow = self.query(sql::totals(tenant), CATALOG_TIMEOUT).fetch_one().await.map_err(fail)?;
        let list = async |what: Counted| -> Result<Vec<(String, u64)>, QueryError> {
            let rows = self.query(sql::counted(what, tenant, limit), CATALOG_TIMEOUT).fetch_all::<CountedRow>().await.map_err(fail)?;
            Ok(rows.into_iter().map(|row| (row.name, row.number)).collect())
        };
        Ok(Cardinality {
            series: totals.number,
            label_pairs: totals.pairs,
            by_metric: list(Counted::Metrics).await?,
            values_by_label: list(Counted::Values).await?,
            bytes_by_label: list(Counted::Bytes).await?,
            by_pair: list(Counted::Pairs).await?,
            seen: (totals.number > 0).then(|| (Timestamp::from_millis(totals.since), Timestamp::from_millis(totals.last))),
        })
    }
}

/// What is known of a series without its samples.
struct Head {
    labels: Labels,
    kind: SeriesKind,
    temporality: Temporality,
    /// Of a native histogram: it is no running total.
    gauge: bool,
}

pub(super) fn labels_of(name: &str, shape: Shape, pairs: Vec<(String, String)>) -> Labels {
    let name = format!("{name}{}", shape.suffix());
    pairs.into_iter().collect::<Labels>().with(METRIC_NAME, &name)
}

pub(super) fn named(names: &[(&'static str, i8)], code: i8) -> &'static str {
    names.iter().find(|(_, number)| *number == code).map_or("", |(name, _)| name)
}

pub(super) fn kind_of(code: i8, monotonic: u8) -> SeriesKind {
    match named(SERIES_KINDS, code) {
        "gauge" => SeriesKind::Gauge,
        "sum" if monotonic != 0 => SeriesKind::Counter,
        "histogram" | "exp_histogram" | "summary" => SeriesKind::Histogram,
        _ => SeriesKind::Untyped,
    }
}

/// The metric's type in Prometheus's words.
fn prometheus_type(code: i8, monotonic: u8) -> &'static str {
    match named(SERIES_KINDS, code) {
        "gauge" => "gauge",
        "sum" if monotonic != 0 => "counter",
        // A sum that may fall is a gauge in Prometheus.
        "sum" => "gauge",
        "histogram" | "exp_histogram" => "histogram",
        "summary" => "summary",
        _ => "unknown",
    }
}

/// What a failure of the store means to who asked.
fn failure(error: ::clickhouse::error::Error, timeout: Duration) -> QueryError {
    meaning(ClickHouseError::from(error), timeout)
}

fn meaning(error: ClickHouseError, timeout: Duration) -> QueryError {
    match error.code {
        Some(159 | 160) => QueryError::Timeout(timeout),
        // Too much memory, rows or bytes: this query's own fault.
        Some(241 | 158 | 307 | 396) => QueryError::Execution(format!("the query needs too much memory in the store: {}", error.message)),
        Some(427) => QueryError::BadData(format!("a label pattern is no RE2 regular expression: {}", error.message)),
        Some(_) if !error.retryable => QueryError::Execution(error.message),
        Some(_) | None => QueryError::Unavailable(error.message),
    }
}
