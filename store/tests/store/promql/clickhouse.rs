//! The ClickHouse source gives what the memory source gives: same series, same questions, the embedded engine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::columns::{Column, TableBlock, TableSpec};
use model::labels::{Labels, METRIC_NAME};
use model::query::{
    Answer, Exemplar, HistogramSeries, MetricCatalog, MetricQuery, QueryError, QueryOptions, QueryValue, SeriesSample, Together,
};
use model::tables::{EXEMPLARS, EXP_HISTOGRAMS, HISTOGRAMS, POINTS, SERIES, SUMMARIES};
use model::tenant::TenantId;
use model::time::Timestamp;
use store::promql::clickhouse::ClickHouseSource;
use store::promql::memory::{HistogramPoint, MemoryRows, MemorySource, SummaryPoint};
use store::promql::native::Histogram;
use store::promql::source::{BucketPoint, NativePoint, QuantilePoint, Samples, SeriesKind, Temporality};
use store::promql::value::ABSENT;
use store::promql::{Limits, PromQl};
use store::wal::BlockInsert;

use super::generate::{Spacing, expressions, fill};
use super::harness::{equal, labels};
use super::{catalog, delta};
use crate::fixture::TestEngine;

/// 2026-11-01T00:00:00Z.
pub const ORIGIN: i64 = 1_793_491_200_000;

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
            Column::Int32(rows) => rows.push(value as i32),
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
    fn floats(&mut self, name: &str, values: &[f64]) {
        self.array(name, |items| {
            let Column::Float64(items) = items else { panic!() };
            items.extend(values);
            values.len()
        });
    }
    /// Hexadecimal digits; none are zeros.
    fn id(&mut self, name: &str, digits: Option<&str>) {
        let Column::Fixed { width, bytes } = self.column(name) else { panic!("{name}") };
        let given = digits.map_or_else(|| vec![0; *width], |digits| hex::decode(digits).unwrap());
        bytes.extend(given);
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

/// Writes what a memory source holds into the tables, as intake does.
pub async fn store(engine: &TestEngine, source: &MemorySource, token: &str) {
    for block in blocks(source) {
        let token = format!("{token}-{}", block.table.name);
        Rows(block).insert(engine, &token).await;
    }
}

/// What a memory source holds as rows of the tables. Each series is described twice: rows repeat.
pub fn blocks(source: &MemorySource) -> Vec<TableBlock> {
    let (mut series, mut points, mut histograms) = (Rows::new(&SERIES), Rows::new(&POINTS), Rows::new(&HISTOGRAMS));
    let (mut natives, mut summaries, mut exemplars) = (Rows::new(&EXP_HISTOGRAMS), Rows::new(&SUMMARIES), Rows::new(&EXEMPLARS));
    for one in source.all() {
        let (metric, fingerprint) = (one.labels.get(METRIC_NAME).unwrap().to_owned(), one.labels.fingerprint() as i64);
        let times = one.rows.times();
        for seen in [times.first().copied().unwrap(), times.last().copied().unwrap()] {
            let kind = match &one.rows {
                MemoryRows::Numbers(_) | MemoryRows::Histograms(_) => kind_code(one.kind),
                MemoryRows::Native(_) => 3,
                MemoryRows::Summaries(_) => 4,
            };
            let gauge = matches!(&one.rows, MemoryRows::Native(rows) if rows.iter().flat_map(|row| &row.histogram).any(|h| h.gauge));
            let temporality = if gauge { 0 } else { 1 + i64::from(one.temporality == Temporality::Cumulative) };
            let monotonic = one.kind == SeriesKind::Counter;
            describe(&mut series, one.tenant.as_str(), &metric, fingerprint, &one.labels, (kind, temporality, monotonic), seen);
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
            MemoryRows::Native(rows) => {
                for row in rows {
                    key(&mut natives, row.at);
                    native_row(&mut natives, row);
                }
            }
            MemoryRows::Summaries(rows) => {
                for row in rows {
                    key(&mut summaries, row.quantiles.at);
                    summary_row(&mut summaries, row);
                }
            }
        }
        for exemplar in &one.exemplars {
            exemplars.text("tenant", one.tenant.as_str());
            exemplars.text("metric", &metric);
            exemplars.whole("fingerprint", fingerprint);
            exemplars.whole("ts", exemplar.sample.at.millis());
            exemplars.whole("retention_days", 30);
            exemplars.float("value", exemplar.sample.value);
            exemplars.id("trace_id", exemplar.labels.get("trace_id"));
            exemplars.id("span_id", exemplar.labels.get("span_id"));
            exemplars.map("attributes", exemplar.labels.iter().filter(|(name, _)| !["trace_id", "span_id"].contains(name)));
        }
    }
    [natives, summaries, exemplars, series, points, histograms].map(|rows| rows.0).into()
}

fn describe(rows: &mut Rows, tenant: &str, metric: &str, fingerprint: i64, labels: &Labels, kind: (i64, i64, bool), seen: i64) {
    rows.text("tenant", tenant);
    rows.text("metric", metric);
    rows.whole("fingerprint", fingerprint);
    rows.whole("kind", kind.0);
    rows.whole("temporality", kind.1);
    rows.whole("monotonic", i64::from(kind.2));
    for name in ["otel_name", "unit", "description", "scope_name", "scope_version"] {
        rows.text(name, "");
    }
    rows.map("labels", labels.iter().filter(|(name, _)| *name != METRIC_NAME));
    rows.map("resource", []);
    rows.whole("first_seen", seen);
    rows.whole("last_seen", seen);
    rows.whole("resource_dropped_attributes", 0);
    rows.whole("scope_dropped_attributes", 0);
}

fn kind_code(kind: SeriesKind) -> i64 {
    match kind {
        SeriesKind::Gauge => 0,
        SeriesKind::Counter => 1,
        SeriesKind::Histogram => 2,
        SeriesKind::Untyped => 5,
    }
}

/// As OTLP sends it: dense counts after an offset; those of custom buckets beside their bounds.
fn native_row(rows: &mut Rows, row: &NativePoint) {
    let h = row.histogram.as_deref();
    let number = |of: fn(&Histogram) -> f64| h.map_or(0.0, of);
    let floats: [(&str, f64); 6] = [
        ("count", number(|h| h.count)),
        ("sum", number(|h| h.sum)),
        ("min", f64::NAN),
        ("max", f64::NAN),
        ("zero_count", number(|h| h.zero_count)),
        ("zero_threshold", number(|h| h.zero_threshold)),
    ];
    floats.into_iter().for_each(|(name, value)| rows.float(name, value));
    rows.whole("scale", h.map_or(0, |h| i64::from(h.schema)));
    let custom = h.and_then(|h| h.custom.as_deref());
    rows.floats("custom_bounds", custom.unwrap_or_default());
    for (name, buckets) in [("positive", h.map(|h| &h.positive)), ("negative", h.map(|h| &h.negative))] {
        let buckets = buckets.cloned().unwrap_or_default();
        if let (Some(bounds), "positive") = (custom, name) {
            let mut counts = vec![0.0; bounds.len() + 1];
            buckets.iter().for_each(|(index, count)| counts[*index as usize] = *count);
            rows.whole("positive_offset", 0);
            rows.floats("positive_counts", &counts);
            continue;
        }
        let first = buckets.first().map_or(1, |(index, _)| *index);
        let mut counts = vec![0.0; buckets.last().map_or(0, |(last, _)| (last - first + 1) as usize)];
        buckets.iter().for_each(|(index, count)| counts[(index - first) as usize] = *count);
        rows.whole(&format!("{name}_offset"), i64::from(first - 1));
        rows.floats(&format!("{name}_counts"), &counts);
    }
    rows.whole("flags", i64::from(h.is_none()));
}

fn summary_row(rows: &mut Rows, row: &SummaryPoint) {
    rows.whole("count", row.count as i64);
    rows.float("sum", row.sum);
    rows.floats("quantiles", &row.quantiles.quantiles);
    rows.floats("values", &row.quantiles.values);
    rows.whole("flags", i64::from(row.quantiles.stale));
}

fn histogram_row(rows: &mut Rows, row: &HistogramPoint) {
    rows.whole("count", row.buckets.count as i64);
    for (name, value) in [("sum", row.sum), ("min", f64::NAN), ("max", f64::NAN)] {
        rows.float(name, value);
    }
    rows.floats("bounds", &row.buckets.bounds);
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
pub async fn compare(memory: &PromQl, stored: &PromQl, exprs: &[String]) -> usize {
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

/// Asks all at the same moment, of the store as the rules of one group are asked, and compares.
async fn compare_together(memory: &PromQl, stored: &PromQl, exprs: &[String]) {
    let (tenant, alone, at) = (TenantId::default(), QueryOptions::default(), Timestamp::from_millis(ORIGIN + 901_003));
    let together = QueryOptions { together: Some(Arc::new(Together::new(exprs.into()))), ..alone.clone() };
    for expr in exprs {
        let here = memory.instant(&tenant, expr, at, &alone).await;
        agree(expr, here, stored.instant(&tenant, expr, at, &together).await);
    }
}

pub fn agree(expr: &str, memory: Result<Answer, QueryError>, stored: Result<Answer, QueryError>) -> usize {
    match (memory, stored) {
        (Ok(memory), Ok(stored)) => {
            assert_eq!(memory.matched_any_series, stored.matched_any_series, "{expr}");
            assert_eq!((&memory.warnings, &memory.infos), (&stored.warnings, &stored.infos), "{expr}");
            let sorted = |mut all: Vec<HistogramSeries>| {
                all.sort_by(|a, b| a.labels.cmp(&b.labels));
                all
            };
            let natives = (sorted(memory.histograms.clone()), sorted(stored.histograms.clone()));
            let native_samples = natives.0.iter().map(|series| series.samples.len()).sum::<usize>();
            let (memory, stored) = (lines(memory), lines(stored));
            assert_eq!(natives.0, natives.1, "{expr}");
            assert!(same(&memory, &stored), "{expr}\nmemory {memory:?}\nstored {stored:?}");
            memory.iter().map(|(_, samples)| samples.len()).sum::<usize>() + native_samples
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
    compare_together(&memory, &stored, &exprs).await;
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
    let exprs = exprs.map(str::to_owned);
    let samples = compare(&memory, &stored, &exprs).await;
    compare_together(&memory, &stored, &exprs).await;
    assert!(samples > 400, "only {samples} samples compared");
    engine.supervisor.stop().await;
}

fn native(at: i64, scale: i32, counts: &[f64], below: &[f64]) -> NativePoint {
    let total = counts.iter().chain(below).sum::<f64>() + 1.0;
    let histogram = Histogram::from_exponential(scale, (0.001, 1.0), (total, total * 1.5), (-2, counts), (3, below));
    NativePoint { at, histogram: histogram.map(Arc::new) }
}

/// Bounds that change, a moment without a recorded value, fractional counts.
fn custom(n: i64) -> NativePoint {
    let bounds: &[f64] = if n < 50 { &[0.5, 1.0, 5.0] } else { &[0.5, 5.0] };
    let counts: Vec<f64> = (0..=bounds.len()).map(|bucket| n as f64 * (bucket as f64 + 0.5)).collect();
    let total = counts.iter().sum::<f64>();
    let histogram = Histogram::from_custom(Arc::from(bounds), (total, total * 1.5), &counts).filter(|_| n != 30);
    NativePoint { at: ORIGIN + n * 15_000, histogram: histogram.map(Arc::new) }
}

/// Exponential histograms, gauges and deltas among them, histograms with custom buckets, summaries and exemplars.
pub fn distributions() -> MemorySource {
    let (source, tenant) = (MemorySource::new(), TenantId::default());
    let at = |n: i64| ORIGIN + n * 15_000;
    source.add_native(&tenant, &labels("own{job=\"a\"}"), Temporality::Cumulative, (0..80).map(custom).collect());
    let growing = |n: i64, scale| native(at(n), scale, &[n as f64, 2.0 * n as f64, 0.0, 3.0], &[n as f64]);
    let mut points: Vec<NativePoint> = (0..80).map(|n| growing(n, if n < 40 { 3 } else { 2 })).collect();
    points[70].histogram = None;
    source.add_native(&tenant, &labels("lat{job=\"a\"}"), Temporality::Cumulative, points);
    let deltas = (0..80).map(|n| native(at(n), 20, &[1.0, 0.0, 2.0], &[])).collect();
    source.add_native(&tenant, &labels("lat{job=\"d\"}"), Temporality::Delta, deltas);
    let gauges = (0..80).map(|n| native(at(n), 0, &[(n % 7) as f64], &[1.0])).map(|mut point| {
        point.histogram.iter_mut().for_each(|h| Arc::make_mut(h).gauge = true);
        point
    });
    source.add_native(&tenant, &labels("lat{job=\"g\"}"), Temporality::Cumulative, gauges.collect());
    let summary = |n: i64| SummaryPoint {
        quantiles: QuantilePoint { at: at(n), quantiles: vec![0.5, 0.99], values: vec![n as f64, n as f64 * 3.0], stale: n == 75 },
        sum: n as f64 * 10.0,
        count: n as u64,
    };
    source.add_summary(&tenant, &labels("rpc{job=\"a\"}"), (0..80).map(summary).collect());
    let trace = "0123456789abcdef0123456789abcdef";
    let exemplar = |n: i64, pairs: &[(&str, &str)]| Exemplar {
        labels: pairs.iter().copied().collect(),
        sample: SeriesSample { at: Timestamp::from_millis(at(n)), value: n as f64 },
    };
    let noted = vec![exemplar(1, &[("trace_id", trace), ("span_id", "00000000000000ab")]), exemplar(9, &[("user", "7")])];
    source.add_exemplars(&tenant, &labels("lat{job=\"a\"}"), noted);
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_native_histograms_and_summaries_answer_as_those_in_memory() {
    let engine = TestEngine::with_schema().await;
    let source = distributions();
    store(&engine, &source, "distributions").await;
    let stored = PromQl::new(Arc::new(ClickHouseSource::new(engine.clickhouse.client())));
    let memory = PromQl::new(Arc::new(source));
    let exprs = [
        "lat",
        "lat{job=\"a\"}",
        "rate(lat[5m])",
        "increase(lat[2m])",
        "delta(lat{job=\"g\"}[2m])",
        "sum(rate(lat[5m]))",
        "histogram_quantile(0.9, sum by (job) (rate(lat[5m])))",
        "histogram_fraction(0, 1, lat)",
        "histogram_count(lat)",
        "histogram_avg(avg_over_time(lat[1m]))",
        "count(lat)",
        "lat_count",
        "rpc",
        "rpc{quantile=\"0.99\"}",
        "rpc{quantile!=\"0.99\"}",
        "max_over_time(rpc{quantile=~\"0.9.*\"}[3m])",
        "rate(rpc_sum[5m]) / rate(rpc_count[5m])",
        "{__name__=~\"rpc.*\"}",
        "{job=\"a\"}",
        "lat[1m]",
        "own",
        "own[2m]",
        "rate(own[5m])",
        "sum_over_time(own[10m])",
        "histogram_quantile(0.9, rate(own[5m]))",
        "histogram_fraction(0.2, 2, own)",
        "sum({__name__=~\"own|lat\"})",
        "own_bucket",
        "own_count",
    ];
    let exprs = exprs.map(str::to_owned);
    let samples = compare(&memory, &stored, &exprs).await;
    compare_together(&memory, &stored, &exprs).await;
    assert!(samples > 1_000, "{samples}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_knows_summaries_native_histograms_and_exemplars() {
    let engine = TestEngine::with_schema().await;
    let source = distributions();
    store(&engine, &source, "catalog").await;
    let stored = PromQl::new(Arc::new(ClickHouseSource::new(engine.clickhouse.client())));
    let memory = PromQl::new(Arc::new(source));
    let tenant = TenantId::default();
    let (start, end) = (Timestamp::from_millis(ORIGIN), Timestamp::from_millis(ORIGIN + 3_600_000));
    for selectors in [vec![], vec!["{__name__=~\"rpc.*\"}"], vec!["lat"], vec!["rpc{quantile=\"0.5\"}", "lat{job=\"g\"}"]] {
        let selectors: Vec<String> = selectors.into_iter().map(str::to_owned).collect();
        let range = model::query::SeriesRange { selectors, start, end, limit: 100 };
        let (here, there) = (memory.series(&tenant, &range).await.unwrap(), stored.series(&tenant, &range).await.unwrap());
        assert!(!here.is_empty());
        assert_eq!(here, there, "{:?}", range.selectors);
        let names = (memory.label_names(&tenant, &range).await.unwrap(), stored.label_names(&tenant, &range).await.unwrap());
        assert_eq!(names.0, names.1, "{:?}", range.selectors);
        for name in ["quantile", "__name__", "job"] {
            let values =
                (memory.label_values(&tenant, name, &range).await.unwrap(), stored.label_values(&tenant, name, &range).await.unwrap());
            assert_eq!(values.0, values.1, "{name} {:?}", range.selectors);
        }
    }
    let expr = "histogram_quantile(0.9, rate(lat{job=~\"a|d\"}[5m]))";
    let found = stored.exemplars(&tenant, expr, start, end).await.unwrap();
    assert_eq!(found, memory.exemplars(&tenant, expr, start, end).await.unwrap());
    assert_eq!(found[0].exemplars.len(), 2);
    assert_eq!(found[0].exemplars[0].labels.get("span_id"), Some("00000000000000ab"));
    assert_eq!(found[0].exemplars[1].labels, [("user", "7")].into_iter().collect::<Labels>());
    assert!(stored.exemplars(&tenant, expr, start, start).await.unwrap().is_empty());
    assert!(stored.exemplars(&tenant, "lat{job=\"d\"}", start, end).await.unwrap().is_empty());
    for limit in [2, 100] {
        let counted = (memory.cardinality(&tenant, limit).await.unwrap(), stored.cardinality(&tenant, limit).await.unwrap());
        assert_eq!(counted.0.series, 5);
        assert_eq!(counted.0, counted.1);
    }
    let newest = stored
        .newest(&tenant, &["rpc_count".to_owned(), "lat".to_owned()], Timestamp::from_millis(ORIGIN + 31_000), Duration::from_secs(300))
        .await;
    let sample = SeriesSample { at: Timestamp::from_millis(ORIGIN + 30_000), value: 2.0 };
    assert_eq!(newest.unwrap(), [(labels("rpc_count{job=\"a\"}"), sample)]);
}

/// A server of its own looks after clients that hang up only where it is told to, and only for statements that cannot write.
#[tokio::test(flavor = "multi_thread")]
async fn every_statement_may_be_ended_by_hanging_up() {
    use tokio::io::AsyncReadExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = ::clickhouse::Client::default().with_url(format!("http://{}", listener.local_addr().unwrap()));
    let promql = PromQl::new(Arc::new(ClickHouseSource::new(client)));
    for expr in ["x", "{__name__=~\"x|y\"}", "rate(x[5m])", "absent(x{a=\"b\"})"] {
        let promql = promql.clone();
        let asking = tokio::spawn(async move {
            let (start, end) = (Timestamp::from_millis(ORIGIN), Timestamp::from_millis(ORIGIN + 600_000));
            promql.range(&TenantId::default(), expr, start, end, Duration::from_secs(15), &QueryOptions::default()).await
        });
        // Connections of the question before that came too late to ask anything end at once.
        let (mut stream, head) = loop {
            let ((mut stream, _), mut head) = (listener.accept().await.unwrap(), Vec::new());
            while !head.windows(4).any(|end| end == b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
            if !head.is_empty() {
                break (stream, head);
            }
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        for setting in ["cancel_http_readonly_queries_on_client_close=1", "readonly=2", "max_execution_time="] {
            assert!(head.lines().next().unwrap().contains(setting), "{expr}: {setting} is not in {head}");
        }
        // Nobody waits for the answer any more: the server sees the end of the connection.
        asking.abort();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{expr}: the connection stays open");
    }
}
