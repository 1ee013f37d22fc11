//! Series out of ClickHouse: first which series match, then their samples. The one place that adds the tenant to reads of series.
//! Label matchers go to ClickHouse as bound parameters; regular expressions are checked again here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use clickhouse::{Client, Row};
use model::labels::{Labels, METRIC_NAME, MatchOp, Matcher};
use model::query::{MetricMetadata, QueryError};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::units::Value;
use serde::{Deserialize, Serialize};

use super::source::{STALE_NAN, SeriesSource, StoredSeries};

/// The most series that one selector may match.
const MAX_SERIES: usize = 200_000;
/// `last_seen` of a series may lag behind its newest sample by this much (intake describes a known series once an hour).
const SEEN_SLACK_MILLIS: i64 = 2 * 3_600_000;
const VIRTUAL: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Reads the tables `series`, `points` and `histograms`.
pub struct ClickHouseSource {
    client: Client,
}

#[derive(Row, Serialize, Deserialize)]
struct SeriesRow {
    metric: String,
    fingerprint: u64,
    kind: i8,
    temporality: i8,
    labels: Vec<(String, String)>,
}

#[derive(Row, Serialize, Deserialize)]
struct PointRow {
    fingerprint: u64,
    at: i64,
    value: f64,
    flags: u32,
}

#[derive(Row, Serialize, Deserialize)]
struct HistogramRow {
    fingerprint: u64,
    at: i64,
    count: u64,
    sum: f64,
    bounds: Vec<f64>,
    counts: Vec<u64>,
    flags: u32,
}

#[derive(Row, Serialize, Deserialize)]
struct MetadataRow {
    metric: String,
    kind: i8,
    monotonic: u8,
    description: String,
    unit: String,
}

const HISTOGRAM: i8 = 2;
const DELTA: i8 = 1;

fn unavailable(error: clickhouse::error::Error) -> QueryError {
    let text = error.to_string();
    if text.contains("Code: ") { QueryError::Execution(text) } else { QueryError::Unavailable(text) }
}

impl ClickHouseSource {
    /// Over the database of a client.
    pub fn new(client: Client) -> Self {
        // The rows are read by position: a check of the schema on every query would cost more than it finds.
        ClickHouseSource { client: client.with_validation(false) }
    }

    /// The stored series that can give what the matchers ask for (virtual suffixes not yet expanded).
    async fn matching(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<SeriesRow>, QueryError> {
        let mut conditions = vec!["tenant = ?".to_owned()];
        let mut values = vec![tenant.as_str().to_owned()];
        for matcher in matchers {
            let (condition, bound) = condition(matcher);
            conditions.push(condition);
            values.extend(bound);
        }
        let sql = format!(
            "SELECT metric, fingerprint, toInt8(anyLast(kind)) AS k, toInt8(anyLast(temporality)) AS t, any(labels) AS l FROM series WHERE {} GROUP BY metric, fingerprint HAVING max(last_seen) >= fromUnixTimestamp64Milli(?) AND min(first_seen) <= fromUnixTimestamp64Milli(?) LIMIT {}",
            conditions.join(" AND "),
            MAX_SERIES + 1
        );
        let mut query = self.client.query(&sql);
        for value in values {
            query = query.bind(value);
        }
        let from = start.millis().saturating_sub(SEEN_SLACK_MILLIS).max(0);
        let rows = query.bind(from).bind(end.millis().max(0)).fetch_all::<SeriesRow>().await.map_err(unavailable)?;
        if rows.len() > MAX_SERIES {
            return Err(QueryError::Execution(format!("the selector matches more than {MAX_SERIES} series: narrow it")));
        }
        Ok(rows)
    }

    async fn points(
        &self,
        tenant: &TenantId,
        rows: &[&SeriesRow],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<HashMap<u64, Vec<(i64, f64)>>, QueryError> {
        let mut samples: HashMap<u64, Vec<(i64, f64)>> = HashMap::new();
        let Some(condition) = chosen(rows) else { return Ok(samples) };
        let sql = format!(
            "SELECT fingerprint, toUnixTimestamp64Milli(ts) AS at, value, flags FROM points WHERE tenant = ? AND {condition} AND ts > fromUnixTimestamp64Milli(?) AND ts <= fromUnixTimestamp64Milli(?) ORDER BY fingerprint, ts"
        );
        let query = self.client.query(&sql).bind(tenant.as_str()).bind(start.millis()).bind(end.millis());
        let mut cursor = query.fetch::<PointRow>().map_err(unavailable)?;
        while let Some(row) = cursor.next().await.map_err(unavailable)? {
            let value = if row.flags & 1 == 1 { f64::from_bits(STALE_NAN) } else { row.value };
            samples.entry(row.fingerprint).or_default().push((row.at, value));
        }
        Ok(samples)
    }

    async fn histograms(
        &self,
        tenant: &TenantId,
        rows: &[&SeriesRow],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<HashMap<u64, Vec<HistogramRow>>, QueryError> {
        let mut points: HashMap<u64, Vec<HistogramRow>> = HashMap::new();
        let Some(condition) = chosen(rows) else { return Ok(points) };
        let sql = format!(
            "SELECT fingerprint, toUnixTimestamp64Milli(ts) AS at, count, sum, bounds, counts, flags FROM histograms WHERE tenant = ? AND {condition} AND ts > fromUnixTimestamp64Milli(?) AND ts <= fromUnixTimestamp64Milli(?) ORDER BY fingerprint, ts"
        );
        let query = self.client.query(&sql).bind(tenant.as_str()).bind(start.millis()).bind(end.millis());
        let mut cursor = query.fetch::<HistogramRow>().map_err(unavailable)?;
        while let Some(row) = cursor.next().await.map_err(unavailable)? {
            points.entry(row.fingerprint).or_default().push(row);
        }
        Ok(points)
    }
}

/// A condition that holds at least for every series that the matcher takes, with its bound values.
fn condition(matcher: &Matcher) -> (String, Vec<String>) {
    let Matcher { name, op, value, .. } = matcher;
    let pattern = format!("^(?s:{value})$");
    if name == METRIC_NAME {
        // A histogram `x` also answers to `x_bucket`, `x_sum` and `x_count`.
        return match op {
            MatchOp::Equal => {
                let mut names = vec![value.clone()];
                names.extend(VIRTUAL.iter().filter_map(|suffix| value.strip_suffix(suffix).map(str::to_owned)));
                (format!("metric IN ({})", vec!["?"; names.len()].join(", ")), names)
            }
            MatchOp::Regex => {
                let forms = ["metric", "concat(metric, '_bucket')", "concat(metric, '_sum')", "concat(metric, '_count')"];
                let any: Vec<String> = forms.iter().map(|form| format!("match({form}, ?)")).collect();
                (format!("({})", any.join(" OR ")), vec![pattern; forms.len()])
            }
            // Which of a histogram's names remain is decided after the expansion.
            MatchOp::NotEqual | MatchOp::NotRegex => ("1".to_owned(), Vec::new()),
        };
    }
    if name == "le" {
        return ("1".to_owned(), Vec::new());
    }
    let both = |pattern: String| vec![name.clone(), pattern];
    match op {
        MatchOp::Equal => ("labels[?] = ?".to_owned(), both(value.clone())),
        MatchOp::NotEqual => ("labels[?] != ?".to_owned(), both(value.clone())),
        MatchOp::Regex => ("match(labels[?], ?)".to_owned(), both(pattern)),
        MatchOp::NotRegex => ("NOT match(labels[?], ?)".to_owned(), both(pattern)),
    }
}

/// `metric IN (...) AND fingerprint IN (...)`; none where there are no series.
fn chosen(rows: &[&SeriesRow]) -> Option<String> {
    if rows.is_empty() {
        return None;
    }
    let metrics: BTreeSet<String> =
        rows.iter().map(|row| format!("'{}'", row.metric.replace('\\', "\\\\").replace('\'', "\\'").replace('?', "\\x3F"))).collect();
    let fingerprints: Vec<String> = rows.iter().map(|row| row.fingerprint.to_string()).collect();
    Some(format!("metric IN ({}) AND fingerprint IN ({})", metrics.into_iter().collect::<Vec<_>>().join(", "), fingerprints.join(", ")))
}

fn named(row: &SeriesRow, suffix: &str) -> Labels {
    let labels: Labels = row.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    labels.with(METRIC_NAME, &format!("{}{suffix}", row.metric))
}

fn takes(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels))
}

/// The virtual series of one histogram series.
fn expanded(row: &SeriesRow, points: &[HistogramRow], matchers: &[Matcher]) -> Vec<StoredSeries> {
    let delta = row.temporality == DELTA;
    let mut series: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
    let (sum, count, bucket) = (named(row, "_sum"), named(row, "_count"), named(row, "_bucket"));
    let (wants_sum, wants_count) = (takes(matchers, &sum), takes(matchers, &count));
    let mut bounds: HashMap<u64, Option<Labels>> = HashMap::new();
    for point in points {
        let gone = point.flags & 1 == 1;
        let stale_or = |value: f64| if gone { f64::from_bits(STALE_NAN) } else { value };
        if wants_sum {
            series.entry(sum.clone()).or_default().push((point.at, stale_or(point.sum)));
        }
        if wants_count {
            series.entry(count.clone()).or_default().push((point.at, stale_or(point.count as f64)));
        }
        let mut cumulative = 0u64;
        let ends = point.bounds.iter().copied().chain([f64::INFINITY]);
        for (place, end) in ends.enumerate() {
            cumulative += point.counts.get(place).copied().unwrap_or(0);
            let labels = bounds.entry(end.to_bits()).or_insert_with(|| {
                let labels = bucket.clone().with("le", &Value(end).to_string());
                takes(matchers, &labels).then_some(labels)
            });
            if let Some(labels) = labels {
                // The last bucket is the count, also where a sender left the buckets out.
                let value = if end.is_infinite() { point.count as f64 } else { cumulative as f64 };
                series.entry(labels.clone()).or_default().push((point.at, stale_or(value)));
            }
        }
    }
    series.into_iter().map(|(labels, samples)| StoredSeries { labels, delta, samples }).collect()
}

#[async_trait]
impl SeriesSource for ClickHouseSource {
    async fn select(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<StoredSeries>, QueryError> {
        let rows = self.matching(tenant, matchers, start, end).await?;
        let (histograms, numbers): (Vec<&SeriesRow>, Vec<&SeriesRow>) = rows.iter().partition(|row| row.kind == HISTOGRAM);
        let numbers: Vec<&SeriesRow> = numbers.into_iter().filter(|row| takes(matchers, &named(row, ""))).collect();
        let mut samples = self.points(tenant, &numbers, start, end).await?;
        let points = self.histograms(tenant, &histograms, start, end).await?;
        let mut found = Vec::with_capacity(numbers.len());
        for row in numbers {
            if let Some(samples) = samples.remove(&row.fingerprint) {
                found.push(StoredSeries { labels: named(row, ""), delta: row.temporality == DELTA, samples });
            }
        }
        for row in histograms {
            if let Some(points) = points.get(&row.fingerprint) {
                found.extend(expanded(row, points, matchers));
            }
        }
        Ok(found)
    }

    async fn labels(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
        limit: usize,
    ) -> Result<Vec<Labels>, QueryError> {
        let rows = self.matching(tenant, matchers, start, end).await?;
        let mut found = Vec::new();
        let mut histograms = Vec::new();
        for row in &rows {
            if row.kind == HISTOGRAM {
                histograms.push(row);
                found.extend([named(row, "_sum"), named(row, "_count")].into_iter().filter(|labels| takes(matchers, labels)));
            } else if takes(matchers, &named(row, "")) {
                found.push(named(row, ""));
            }
        }
        // The bounds of a histogram stand in its points: its latest one says which buckets there are.
        let latest = Timestamp::from_millis(start.millis().max(end.millis() - SEEN_SLACK_MILLIS));
        let points = self.histograms(tenant, &histograms, latest, end).await?;
        for row in histograms {
            if let Some(last) = points.get(&row.fingerprint).and_then(|points| points.last()) {
                let buckets = expanded(row, std::slice::from_ref(last), matchers).into_iter().map(|series| series.labels);
                found.extend(buckets.filter(|labels| labels.get("le").is_some()));
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn metric_names(&self, tenant: &TenantId, start: Timestamp, end: Timestamp) -> Result<Vec<String>, QueryError> {
        #[derive(Row, Serialize, Deserialize)]
        struct Name {
            metric: String,
            kind: i8,
        }
        let sql = "SELECT metric, toInt8(anyLast(kind)) AS k FROM series WHERE tenant = ? GROUP BY metric HAVING max(last_seen) >= fromUnixTimestamp64Milli(?) AND min(first_seen) <= fromUnixTimestamp64Milli(?)";
        let from = start.millis().saturating_sub(SEEN_SLACK_MILLIS).max(0);
        let rows =
            self.client.query(sql).bind(tenant.as_str()).bind(from).bind(end.millis()).fetch_all::<Name>().await.map_err(unavailable)?;
        let mut names = BTreeSet::new();
        for Name { metric, kind } in rows {
            if kind == HISTOGRAM {
                names.extend(VIRTUAL.iter().map(|suffix| format!("{metric}{suffix}")));
            } else {
                names.insert(metric);
            }
        }
        Ok(names.into_iter().collect())
    }

    async fn metadata(&self, tenant: &TenantId, limit: usize) -> Result<Vec<MetricMetadata>, QueryError> {
        let sql = format!(
            "SELECT metric, toInt8(anyLast(kind)) AS k, anyLast(monotonic) AS m, anyLast(description) AS d, toString(anyLast(unit)) AS u FROM series WHERE tenant = ? GROUP BY metric ORDER BY metric LIMIT {limit}"
        );
        let rows = self.client.query(&sql).bind(tenant.as_str()).fetch_all::<MetadataRow>().await.map_err(unavailable)?;
        let kind = |row: &MetadataRow| match (row.kind, row.monotonic) {
            (0, _) => "gauge",
            (1, 0) => "gauge",
            (1, _) => "counter",
            (2 | 3, _) => "histogram",
            (4, _) => "summary",
            _ => "unknown",
        };
        let known = rows.into_iter().map(|row| MetricMetadata {
            kind: kind(&row).to_owned(),
            metric: row.metric,
            help: row.description,
            unit: row.unit,
        });
        Ok(known.collect())
    }
}
