//! Series in ClickHouse: the tables `series`, `points` and `histograms`. The tenant stands first in every condition and key;
//! matchers become bound parameters and are checked again here. Samples come back as arrays per series.

mod sql;

use std::collections::HashMap;
use std::time::Duration;

use ::clickhouse::{Client, Row};
use async_trait::async_trait;
use model::labels::{Labels, METRIC_NAME, Matcher};
use model::query::{MetricMetadata, QueryError};
use model::tables::{SERIES_KINDS, TEMPORALITIES};
use model::tenant::TenantId;
use serde::Deserialize;

use self::sql::Statement;
use super::source::{
    BucketPoint, Listing, Part, Samples, Selection, SeriesHead, SeriesKind, SeriesSource, Shape, StoredData, StoredSeries, Temporality,
    too_many_samples, too_many_series,
};
use crate::clickhouse::ClickHouseError;

/// For questions that name no time of their own.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(30);

/// The source over the telemetry store.
#[derive(Clone)]
pub struct ClickHouseSource {
    client: Client,
}

#[derive(Row, Deserialize)]
struct SeriesRow {
    name: String,
    fingerprint: u64,
    label_map: Vec<(String, String)>,
    kind_code: i8,
    temporality_code: i8,
    is_monotonic: u8,
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
        ClickHouseSource { client }
    }

    fn query(&self, statement: Statement, timeout: Duration) -> ::clickhouse::query::Query {
        let seconds = timeout.as_secs_f64().ceil().max(1.0);
        statement.bind(self.client.query(&statement.text)).with_setting("max_execution_time", seconds.to_string())
    }

    /// The series that match, by fingerprint.
    async fn heads(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        shape: Shape,
        timeout: Duration,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<HashMap<u64, (Labels, SeriesKind, Temporality)>, QueryError> {
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
                found.insert(row.fingerprint, (labels, kind_of(row.kind_code, row.is_monotonic), temporality));
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
                match found.entry(row.fingerprint).or_insert_with(|| StoredData::Buckets(Vec::new())) {
                    StoredData::Buckets(points) => points.push(point),
                    StoredData::Numbers(_) => {}
                }
                room(size, found.len())?;
            }
            for data in found.values_mut() {
                if let StoredData::Buckets(points) = data {
                    points.sort_by_key(|point| point.at);
                }
            }
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
        self.query(statement, CATALOG_TIMEOUT).fetch_all::<String>().await.map_err(|error| failure(error, CATALOG_TIMEOUT))
    }
}

#[async_trait]
impl SeriesSource for ClickHouseSource {
    async fn select(&self, selection: &Selection<'_>) -> Result<Vec<StoredSeries>, QueryError> {
        let mut samples = self.samples(selection).await?;
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = |fingerprint: u64| samples.contains_key(&fingerprint);
        let heads = self.heads(selection.tenant, selection.matchers, selection.shape, selection.timeout, wanted).await?;
        let join = |(fingerprint, (labels, kind, temporality))| {
            samples.remove(&fingerprint).map(|data| StoredSeries { labels, kind, temporality, data })
        };
        Ok(heads.into_iter().filter_map(join).collect())
    }

    async fn series(&self, listing: &Listing<'_>) -> Result<Vec<SeriesHead>, QueryError> {
        let fail = |error| failure(error, CATALOG_TIMEOUT);
        let mut cursor = self.query(sql::listed(listing), CATALOG_TIMEOUT).fetch::<SeriesRow>().map_err(fail)?;
        let mut heads: Vec<(u64, SeriesHead)> = Vec::new();
        while let Some(row) = cursor.next().await.map_err(fail)? {
            let labels = labels_of(&row.name, listing.shape, row.label_map);
            if listing.matchers.iter().all(|matcher| matcher.matches(&labels)) {
                heads.push((row.fingerprint, SeriesHead { labels, bounds: Vec::new() }));
            }
        }
        if listing.shape == Shape::Histograms(Part::Bucket) && !heads.is_empty() {
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
}

fn labels_of(name: &str, shape: Shape, pairs: Vec<(String, String)>) -> Labels {
    let name = format!("{name}{}", shape.suffix());
    pairs.into_iter().collect::<Labels>().with(METRIC_NAME, &name)
}

fn named(names: &[(&'static str, i8)], code: i8) -> &'static str {
    names.iter().find(|(_, number)| *number == code).map_or("", |(name, _)| name)
}

fn kind_of(code: i8, monotonic: u8) -> SeriesKind {
    match named(SERIES_KINDS, code) {
        "gauge" => SeriesKind::Gauge,
        "sum" if monotonic != 0 => SeriesKind::Counter,
        "histogram" => SeriesKind::Histogram,
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
    let error = ClickHouseError::from(error);
    match error.code {
        Some(159 | 160) => QueryError::Timeout(timeout),
        // Too much memory, rows or bytes: this query's own fault.
        Some(241 | 158 | 307 | 396) => QueryError::Execution(format!("the query needs too much memory in the store: {}", error.message)),
        Some(427) => QueryError::BadData(format!("a label pattern is no RE2 regular expression: {}", error.message)),
        Some(_) if !error.retryable => QueryError::Execution(error.message),
        Some(_) | None => QueryError::Unavailable(error.message),
    }
}
