//! The ClickHouse source gives what the memory source gives: same series, same questions, the embedded engine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::columns::{Column, TableBlock, TableSpec};
use model::labels::{Labels, METRIC_NAME};
use model::query::{Answer, MetricQuery, QueryError, QueryOptions, QueryValue};
use model::tables::{HISTOGRAMS, POINTS, SERIES};
use model::tenant::TenantId;
use model::time::Timestamp;
use store::promql::clickhouse::ClickHouseSource;
use store::promql::memory::{HistogramPoint, MemoryRows, MemorySource};
use store::promql::source::{BucketPoint, Samples, SeriesKind, Temporality};
use store::promql::value::ABSENT;
use store::promql::{Limits, PromQl};
use store::wal::BlockInsert;

use super::generate::{Spacing, expressions, fill};
use super::harness::{equal, labels};
use super::{catalog, delta};
use crate::fixture::TestEngine;

/// 2026-11-01T00:00:00Z.
const ORIGIN: i64 = 1_793_491_200_000;

/// Rows for one table, by column name.
struct Rows(TableBlock);

impl Rows {
    fn new(table: &'static TableSpec) -> Self {
        Rows(TableBlock::new(table))
    }
    fn column(&mut self, name: &str) -> &mut Column {
        let at = self.0.table.position(name).unwrap();
        &mut self.0.columns[at]
    }
    fn text(&mut self, name: &str, value: &str) {
        match self.column(name) {
            Column::LowCardinality(rows) => rows.push(value.as_bytes()),
            Column::String(rows) => rows.push(value.as_bytes()),
            other => panic!("{name}: {other:?}"),
        }
    }
    fn whole(&mut self, name: &str, value: i64) {
        match self.column(name) {
            Column::UInt8(rows) => rows.push(value as u8),
            Column::UInt16(rows) => rows.push(value as u16),
            Column::UInt32(rows) => rows.push(value as u32),
            Column::UInt64(rows) => rows.push(value as u64),
            Column::Int64(rows) => rows.push(value),
            other => panic!("{name}: {other:?}"),
        }
    }
    fn float(&mut self, name: &str, value: f64) {
        let Column::Float64(rows) = self.column(name) else { panic!("{name}") };
        rows.push(value);
    }
    fn map<'a>(&mut self, name: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let Column::StringMap(rows) = self.column(name) else { panic!("{name}") };
        rows.push(pairs);
    }
    fn array(&mut self, name: &str, push: impl FnOnce(&mut Column) -> usize) {
        let Column::Array { ends, items } = self.column(name) else { panic!("{name}") };
        let count = push(items) as u64;
        let before = ends.last().copied().unwrap_or(0);
        ends.push(before + count);
    }
    async fn insert(self, engine: &TestEngine, token: &str) {
        if self.0.rows() == 0 {
            return;
        }
        self.0.check().unwrap();
        let (mut plain, mut bytes) = (Vec::new(), Vec::new());
        store::native::encode(&self.0, &mut plain).unwrap();
        store::native::packed::pack(&plain, &mut bytes).unwrap();
        engine.clickhouse.insert(self.0.table, token, Bytes::from(bytes)).await.unwrap();
    }
}

/// Writes what a memory source holds into the tables, as intake does. Each series is described twice: rows repeat.
async fn store(engine: &TestEngine, source: &MemorySource, token: &str) {
    let (mut series, mut points, mut histograms) = (Rows::new(&SERIES), Rows::new(&POINTS), Rows::new(&HISTOGRAMS));
    for one in source.all() {
        let (metric, fingerprint) = (one.labels.get(METRIC_NAME).unwrap().to_owned(), one.labels.fingerprint() as i64);
        let times: Vec<i64> = match &one.rows {
            MemoryRows::Numbers(samples) => samples.times.clone(),
            MemoryRows::Histograms(rows) => rows.iter().map(|row| row.buckets.at).collect(),
        };
        for seen in [times.first().copied().unwrap(), times.last().copied().unwrap()] {
            describe(&mut series, one.tenant.as_str(), &metric, fingerprint, &one.labels, (one.kind, one.temporality), seen);
        }
        let key = |rows: &mut Rows, at: i64| {
            rows.text("tenant", one.tenant.as_str());
            rows.text("metric", &metric);
            rows.whole("fingerprint", fingerprint);
            rows.whole("ts", at);
            rows.whole("start_ts", 0);
            rows.whole("retention_days", 30);
        };
        match &one.rows {
            MemoryRows::Numbers(samples) => {
                for (at, value) in samples.times.iter().zip(&samples.values) {
                    key(&mut points, *at);
                    let stale = value.to_bits() == ABSENT.to_bits();
                    // Half of the stale markers come as a flag only.
                    points.float("value", if stale && at % 2 == 0 { 0.0 } else { *value });
                    points.whole("flags", i64::from(stale));
                }
            }
            MemoryRows::Histograms(rows) => {
                for row in rows {
                    key(&mut histograms, row.buckets.at);
                    histogram_row(&mut histograms, row);
                }
            }
        }
    }
    series.insert(engine, &format!("{token}-series")).await;
    points.insert(engine, &format!("{token}-points")).await;
    histograms.insert(engine, &format!("{token}-histograms")).await;
}

fn describe(rows: &mut Rows, tenant: &str, metric: &str, fingerprint: i64, labels: &Labels, kind: (SeriesKind, Temporality), seen: i64) {
    rows.text("tenant", tenant);
    rows.text("metric", metric);
    rows.whole("fingerprint", fingerprint);
    let code = match kind.0 {
        SeriesKind::Gauge => 0,
        SeriesKind::Counter => 1,
        SeriesKind::Histogram => 2,
        SeriesKind::Untyped => 5,
    };
    rows.whole("kind", code);
    rows.whole("temporality", if kind.1 == Temporality::Delta { 1 } else { 2 });
    rows.whole("monotonic", i64::from(kind.0 == SeriesKind::Counter));
    for name in ["otel_name", "unit", "description", "scope_name", "scope_version"] {
        rows.text(name, "");
    }
    rows.map("labels", labels.iter().filter(|(name, _)| *name != METRIC_NAME));
    rows.map("resource", []);
    rows.whole("first_seen", seen);
    rows.whole("last_seen", seen);
}

fn histogram_row(rows: &mut Rows, row: &HistogramPoint) {
    rows.whole("count", row.buckets.count as i64);
    for (name, value) in [("sum", row.sum), ("min", f64::NAN), ("max", f64::NAN)] {
        rows.float(name, value);
    }
    rows.array("bounds", |items| {
        let Column::Float64(items) = items else { panic!() };
        items.extend(&row.buckets.bounds);
        row.buckets.bounds.len()
    });
    rows.array("counts", |items| {
        let Column::UInt64(items) = items else { panic!() };
        items.extend(&row.buckets.counts);
        row.buckets.counts.len()
    });
    rows.whole("flags", i64::from(row.buckets.stale));
}

type Lines = Vec<(String, Vec<(i64, f64)>)>;

fn lines(answer: Answer) -> Lines {
    let mut all: Lines = match answer.value {
        QueryValue::Scalar(sample) => vec![("{}".to_owned(), vec![(sample.at.millis(), sample.value)])],
        QueryValue::Vector(all) => all.into_iter().map(|(labels, s)| (labels.to_string(), vec![(s.at.millis(), s.value)])).collect(),
        QueryValue::Matrix(all) => all
            .into_iter()
            .map(|series| (series.labels.to_string(), series.samples.iter().map(|s| (s.at.millis(), s.value)).collect()))
            .collect(),
        QueryValue::Text(..) => Vec::new(),
    };
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn same(a: &Lines, b: &Lines) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().zip(&b.1).all(|(a, b)| a.0 == b.0 && equal(a.1, b.1, 1e-12)))
}

/// Asks both and compares.
async fn compare(memory: &PromQl, stored: &PromQl, exprs: &[String]) -> usize {
    let (tenant, options) = (TenantId::default(), QueryOptions::default());
    let mut samples = 0;
    for expr in exprs {
        for at in [300_050, 901_003, 2_000_000] {
            let at = Timestamp::from_millis(ORIGIN + at);
            let here = memory.instant(&tenant, expr, at, &options).await;
            let there = stored.instant(&tenant, expr, at, &options).await;
            samples += agree(expr, here, there);
        }
        let (start, end) = (Timestamp::from_millis(ORIGIN + 7_000), Timestamp::from_millis(ORIGIN + 1_900_000));
        let here = memory.range(&tenant, expr, start, end, Duration::from_secs(59), &options).await;
        let there = stored.range(&tenant, expr, start, end, Duration::from_secs(59), &options).await;
        samples += agree(expr, here, there);
    }
    samples
}

fn agree(expr: &str, memory: Result<Answer, QueryError>, stored: Result<Answer, QueryError>) -> usize {
    match (memory, stored) {
        (Ok(memory), Ok(stored)) => {
            assert_eq!(memory.matched_any_series, stored.matched_any_series, "{expr}");
            assert_eq!((&memory.warnings, &memory.infos), (&stored.warnings, &stored.infos), "{expr}");
            let (memory, stored) = (lines(memory), lines(stored));
            assert!(same(&memory, &stored), "{expr}\nmemory {memory:?}\nstored {stored:?}");
            memory.iter().map(|(_, samples)| samples.len()).sum()
        }
        (Err(_), Err(_)) => 0,
        (memory, stored) => panic!("{expr}: {memory:?} {stored:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_series_answer_as_those_in_memory() {
    let engine = TestEngine::with_schema().await;
    let source = fill(3, ORIGIN, Spacing::Jittered);
    let tenant = TenantId::default();
    let stale = Samples { times: (0..5).map(|n| ORIGIN + 890_000 + n * 3_001).collect(), values: vec![1.0, ABSENT, 3.0, ABSENT, 5.0] };
    source.add(&tenant, &labels("ends{why=\"quote ' back \\ and ?\"}"), SeriesKind::Gauge, Temporality::Cumulative, &stale);
    // Another tenant's series under the same names must never show.
    let other = Samples { times: vec![ORIGIN + 300_000, ORIGIN + 900_000], values: vec![1e9, 1e9] };
    let foreign = TenantId::new("other").unwrap();
    source.add(&foreign, &labels("limit{job=\"api\",instance=\"0\"}"), SeriesKind::Gauge, Temporality::Cumulative, &other);
    source.add(&foreign, &labels("limit{job=\"foreign\"}"), SeriesKind::Gauge, Temporality::Cumulative, &other);
    store(&engine, &source, "made").await;
    let stored = PromQl::new(Arc::new(ClickHouseSource::new(engine.clickhouse.client())));
    let memory = PromQl::new(Arc::new(source));
    let mut exprs = expressions(ORIGIN);
    exprs.extend(
        [
            "ends",
            "count_over_time(ends[1m])",
            "ends{why=~\"quote ' back .* and \\\\?\"}",
            "ends{why!=\"x\",absent=\"\"}",
            "{why!~\"x|\"}",
            "{__name__!=\"limit\",job=\"api\",instance=~\"0|1\"}",
            "{__name__!~\"limit|temp.*\",job=\"api\"}",
            "limit{job=~\"a.i|.eb\"}",
            "limit{instance!=\"\"}",
            "limit{nothing=\"\"}",
            "limit{nothing!=\"\"}",
            "count({job=~\".+\"})",
        ]
        .map(str::to_owned),
    );
    let samples = compare(&memory, &stored, &exprs).await;
    assert!(samples > 10_000, "only {samples} samples compared");
    let error = stored.instant(&tenant, "limit{job=~\"[a&&b]\"}", Timestamp::from_millis(ORIGIN), &QueryOptions::default()).await;
    assert!(!matches!(error, Err(QueryError::Unavailable(_))), "{error:?}");
    let few = PromQl::new(Arc::new(ClickHouseSource::new(engine.clickhouse.client())));
    let few = few.with_limits(Limits { max_samples: 20, ..Limits::default() });
    let error = few.instant(&tenant, "sum_over_time(limit[30m])", Timestamp::from_millis(ORIGIN + 900_000), &QueryOptions::default()).await;
    assert!(matches!(&error, Err(QueryError::Execution(message)) if message.contains("too many samples")), "{error:?}");
    let few = few.with_limits(Limits { max_series: 2, ..Limits::default() });
    let error = few.instant(&tenant, "limit", Timestamp::from_millis(ORIGIN + 900_000), &QueryOptions::default()).await;
    assert!(matches!(&error, Err(QueryError::Execution(message)) if message.contains("more than 2 series")), "{error:?}");
    engine.supervisor.stop().await;
    let error = stored.instant(&tenant, "limit", Timestamp::from_millis(ORIGIN + 900_000), &QueryOptions::default()).await;
    assert!(matches!(error, Err(QueryError::Unavailable(_))), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_deltas_and_histograms_answer_as_those_in_memory() {
    let engine = TestEngine::with_schema().await;
    let source = delta::red(ORIGIN);
    store(&engine, &source, "red").await;
    let stored = PromQl::new(Arc::new(ClickHouseSource::new(engine.clickhouse.client())));
    catalog::check(&stored, ORIGIN).await;
    // Then cumulative histograms whose bounds change and that end.
    let points = (0..60).map(|n: i64| {
        let bounds: &[f64] = if n < 30 { &[0.5, 1.0] } else { &[0.25, 1.0, 2.5] };
        let counts: Vec<u64> = (0..=bounds.len() as u64).map(|bucket| (n as u64 + 1) * (bucket + 1)).collect();
        let buckets = BucketPoint { at: ORIGIN + n * 15_000, bounds: bounds.to_vec(), count: counts.iter().sum(), counts, stale: n == 59 };
        HistogramPoint { buckets, sum: n as f64 * 1.5 }
    });
    let more = MemorySource::new();
    more.add_histogram(&TenantId::default(), &labels("latency{job=\"a\"}"), Temporality::Cumulative, points.clone().collect());
    store(&engine, &more, "more").await;
    source.add_histogram(&TenantId::default(), &labels("latency{job=\"a\"}"), Temporality::Cumulative, points.collect());
    let memory = PromQl::new(Arc::new(source));
    let exprs = [
        "histogram_quantile(0.95, sum by (le, service_name) (rate(traces_span_metrics_duration_seconds_bucket[5m])))",
        "sum by (service_name) (rate(traces_span_metrics_calls_total[5m]))",
        "increase(traces_span_metrics_duration_seconds_count[1m])",
        "increase(traces_span_metrics_duration_seconds_sum[77s])",
        "traces_span_metrics_duration_seconds_bucket{le=~\"0.*\"}",
        "traces_span_metrics_calls_total",
        "irate(traces_span_metrics_calls_total[5m])",
        "sum_over_time(traces_span_metrics_calls_total[45s])",
        "traces_span_metrics_duration_seconds",
        "{__name__=~\".*_count\"}",
        "{__name__=~\"latency.*\",le!=\"1\"}",
        "latency_bucket",
        "latency_sum + latency_count",
        "histogram_quantile(0.5, rate(latency_bucket[2m]))",
        "count by (__name__) ({job=\"a\"})",
    ];
    let samples = compare(&memory, &stored, &exprs.map(str::to_owned)).await;
    assert!(samples > 400, "only {samples} samples compared");
    engine.supervisor.stop().await;
}
