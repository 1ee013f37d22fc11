//! Delta temporality and OTLP histograms: the series that the collector derives from spans.

use std::sync::Arc;

use model::query::{MetricQuery, QueryOptions, QueryValue};
use model::tenant::TenantId;
use model::time::Timestamp;
use store::promql::PromQl;
use store::promql::memory::{HistogramPoint, MemorySource};
use store::promql::source::{BucketPoint, Samples, SeriesKind, Temporality};

use super::harness::{equal, labels};

/// A point in seconds with counts per bucket.
pub fn point(secs: i64, bounds: &[f64], counts: &[u64], sum: f64) -> HistogramPoint {
    let buckets =
        BucketPoint { at: secs * 1_000, bounds: bounds.to_vec(), counts: counts.to_vec(), count: counts.iter().sum(), stale: false };
    HistogramPoint { buckets, sum }
}

/// Calls and durations of two services as two collector nodes write them: every 10 s, some rows twice at the same moment.
pub fn red(origin: i64) -> MemorySource {
    let source = MemorySource::new();
    let tenant = TenantId::default();
    for (service, scale) in [("checkout", 1u64), ("cart", 2)] {
        let name = labels(&format!("traces_span_metrics_calls_total{{service_name=\"{service}\"}}"));
        let mut samples = Samples::default();
        for step in 1..=60 {
            for node in 0..2u64 {
                samples.times.push(origin + step * 10_000);
                samples.values.push((scale * (1 + node)) as f64);
            }
        }
        source.add(&tenant, &name, SeriesKind::Counter, Temporality::Delta, &samples);
        let name = labels(&format!("traces_span_metrics_duration_seconds{{service_name=\"{service}\"}}"));
        let mut points = Vec::new();
        for step in 1..=60 {
            for _ in 0..2 {
                let mut point = point(step * 10, &[0.1, 0.5, 1.0], &[5 * scale, 4 * scale, scale, 0], scale as f64);
                point.buckets.at += origin;
                points.push(point);
            }
        }
        source.add_histogram(&tenant, &name, Temporality::Delta, points);
    }
    source
}

async fn ask(source: &Arc<MemorySource>, expr: &str, secs: i64) -> (Vec<(String, f64)>, Vec<String>, Vec<String>) {
    let promql = PromQl::new(source.clone());
    let answer = promql.instant(&TenantId::default(), expr, Timestamp::from_secs(secs), &QueryOptions::default()).await;
    let answer = answer.unwrap_or_else(|error| panic!("{expr}: {error}"));
    let QueryValue::Vector(all) = answer.value else { panic!("{expr}: no vector") };
    let mut all: Vec<(String, f64)> = all.into_iter().map(|(labels, sample)| (labels.to_string(), sample.value)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    (all, answer.warnings, answer.infos)
}

async fn gives(source: &Arc<MemorySource>, expr: &str, secs: i64, expected: &[(&str, f64)]) {
    let (found, warnings, _) = ask(source, expr, secs).await;
    let same =
        found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a.0 == labels(b.0).to_string() && equal(a.1, b.1, 1e-9));
    assert!(same, "{expr}: {found:?}, expected {expected:?}");
    assert!(warnings.is_empty(), "{expr}: {warnings:?}");
}

#[tokio::test]
async fn rates_add_deltas_up_without_extrapolation() {
    let source = Arc::new(red(0));
    // 30 moments in (0, 300], two rows each: 3 calls.
    gives(
        &source,
        "increase(traces_span_metrics_calls_total{service_name=\"checkout\"}[5m])",
        300,
        &[("{service_name=\"checkout\"}", 90.0)],
    )
    .await;
    gives(&source, "rate(traces_span_metrics_calls_total{service_name=\"checkout\"}[5m])", 300, &[("{service_name=\"checkout\"}", 0.3)])
        .await;
    // The left edge is open: at 305 the window (5, 305] still has 30; (10, 310] has 30 as well.
    gives(
        &source,
        "increase(traces_span_metrics_calls_total{service_name=\"checkout\"}[5m])",
        305,
        &[("{service_name=\"checkout\"}", 90.0)],
    )
    .await;
    // A window that covers a part only counts what is there.
    gives(
        &source,
        "increase(traces_span_metrics_calls_total{service_name=\"checkout\"}[5m])",
        45,
        &[("{service_name=\"checkout\"}", 12.0)],
    )
    .await;
    // One moment is enough.
    gives(&source, "increase(traces_span_metrics_calls_total{service_name=\"cart\"}[5s])", 300, &[("{service_name=\"cart\"}", 6.0)]).await;
    gives(&source, "sum(rate(traces_span_metrics_calls_total[5m]))", 300, &[("{}", 0.9)]).await;
    gives(&source, "increase(traces_span_metrics_calls_total[5m])", 1_200, &[]).await;
}

#[tokio::test]
async fn quantiles_of_span_durations_work() {
    let source = Arc::new(red(0));
    let p95 = "histogram_quantile(0.95, sum by (le, service_name) (rate(traces_span_metrics_duration_seconds_bucket[5m])))";
    let expected = [("{service_name=\"cart\"}", 0.75), ("{service_name=\"checkout\"}", 0.75)];
    gives(&source, p95, 300, &expected).await;
    gives(&source, "histogram_quantile(0.5, sum by (le) (rate(traces_span_metrics_duration_seconds_bucket[1m])))", 300, &[("{}", 0.1)])
        .await;
    gives(
        &source,
        "histogram_fraction(0, 0.1, sum by (le) (increase(traces_span_metrics_duration_seconds_bucket[1m])))",
        300,
        &[("{}", 0.5)],
    )
    .await;
}

#[tokio::test]
async fn histograms_are_seen_as_bucket_sum_and_count() {
    let source = Arc::new(red(0));
    let checkout = "service_name=\"checkout\"";
    gives(
        &source,
        &format!("increase(traces_span_metrics_duration_seconds_bucket{{{checkout}}}[20s])"),
        300,
        &[
            ("{le=\"+Inf\",service_name=\"checkout\"}", 40.0),
            ("{le=\"0.1\",service_name=\"checkout\"}", 20.0),
            ("{le=\"0.5\",service_name=\"checkout\"}", 36.0),
            ("{le=\"1\",service_name=\"checkout\"}", 40.0),
        ],
    )
    .await;
    let le = format!("increase(traces_span_metrics_duration_seconds_bucket{{{checkout},le=\"0.5\"}}[20s])");
    gives(&source, &le, 300, &[("{le=\"0.5\",service_name=\"checkout\"}", 36.0)]).await;
    let le = format!("count(increase(traces_span_metrics_duration_seconds_bucket{{{checkout},le=~\"0.*\"}}[20s]))");
    gives(&source, &le, 300, &[("{}", 2.0)]).await;
    gives(&source, "sum(increase(traces_span_metrics_duration_seconds_count[1m]))", 300, &[("{}", 360.0)]).await;
    gives(&source, "sum(increase(traces_span_metrics_duration_seconds_sum[1m]))", 300, &[("{}", 36.0)]).await;
    let mean = "sum(rate(traces_span_metrics_duration_seconds_sum[1m])) / sum(rate(traces_span_metrics_duration_seconds_count[1m]))";
    gives(&source, mean, 300, &[("{}", 0.1)]).await;
    // The bare name is no series; a pattern over names sees the virtual ones.
    gives(&source, "traces_span_metrics_duration_seconds", 300, &[]).await;
    gives(
        &source,
        "count by (__name__) ({__name__=~\"traces_span_metrics_.+\"})",
        300,
        &[
            ("traces_span_metrics_calls_total", 2.0),
            ("traces_span_metrics_duration_seconds_bucket", 8.0),
            ("traces_span_metrics_duration_seconds_count", 2.0),
            ("traces_span_metrics_duration_seconds_sum", 2.0),
        ],
    )
    .await;
}

#[tokio::test]
async fn deltas_as_they_are_where_that_means_something_else_refused() {
    let source = Arc::new(red(0));
    let calls = "traces_span_metrics_calls_total{service_name=\"checkout\"}";
    for (expr, expected) in [
        (format!("sum_over_time({calls}[1m])"), 18.0),
        (format!("count_over_time({calls}[1m])"), 12.0),
        (format!("max_over_time({calls}[1m])"), 2.0),
    ] {
        gives(&source, &expr, 300, &[("{service_name=\"checkout\"}", expected)]).await;
    }
    let (found, warnings, infos) = ask(&source, calls, 300).await;
    assert_eq!(found[0].1, 3.0, "both rows of the newest moment count");
    assert!(warnings.is_empty() && infos[0].contains("delta temporality"), "{warnings:?} {infos:?}");
    for function in ["irate", "idelta", "delta", "deriv", "resets"] {
        let (found, warnings, _) = ask(&source, &format!("{function}({calls}[1m])"), 300).await;
        assert!(found.is_empty(), "{function}: {found:?}");
        assert!(warnings.iter().any(|text| text.contains(&format!("{function}() means nothing"))), "{function}: {warnings:?}");
    }
    let (found, warnings, _) = ask(&source, &format!("rate({calls}[1m:10s])"), 300).await;
    assert!(found.is_empty() && warnings.iter().any(|text| text.contains("rate() of a subquery means nothing")), "{warnings:?}");
    // A subquery of a rate is an ordinary series.
    let (found, warnings, _) = ask(&source, &format!("max_over_time(rate({calls}[1m])[2m:10s])"), 300).await;
    assert!(equal(found[0].1, 0.3, 1e-9) && warnings.is_empty(), "{found:?} {warnings:?}");
}

#[tokio::test]
async fn cumulative_histograms_and_classic_series_stand_side_by_side() {
    let source = Arc::new(MemorySource::new());
    let tenant = TenantId::default();
    let points = (0..=30).map(|n| point(n * 10, &[1.0], &[2 * n as u64, n as u64], n as f64)).collect();
    source.add_histogram(&tenant, &labels("h{from=\"otlp\"}"), Temporality::Cumulative, points);
    for (le, by) in [("1", 2.0), ("+Inf", 4.0)] {
        let samples = Samples { times: (0..=30).map(|n| n * 10_000).collect(), values: (0..=30).map(|n| f64::from(n) * by).collect() };
        let name = labels(&format!("h_bucket{{from=\"scrape\",le=\"{le}\"}}"));
        source.add(&tenant, &name, SeriesKind::Counter, Temporality::Cumulative, &samples);
    }
    let expected = [("{from=\"otlp\"}", 0.75), ("{from=\"scrape\"}", 1.0)];
    gives(&source, "histogram_quantile(0.5, rate(h_bucket[1m]))", 300, &expected).await;
    gives(&source, "sum by (from) (rate(h_bucket{le=\"+Inf\"}[1m]))", 300, &[("{from=\"otlp\"}", 0.3), ("{from=\"scrape\"}", 0.4)]).await;
    gives(&source, "h_sum", 300, &[("h_sum{from=\"otlp\"}", 30.0)]).await;
    // A point without a recorded value ends the virtual series.
    let mut end = point(310, &[], &[], 0.0);
    end.buckets.stale = true;
    let source = Arc::new(MemorySource::new());
    source.add_histogram(&tenant, &labels("g"), Temporality::Cumulative, vec![point(300, &[1.0], &[1, 1], 1.0), end]);
    gives(&source, "count({__name__=~\"g_.*\"})", 305, &[("{}", 4.0)]).await;
    gives(&source, "count({__name__=~\"g_.*\"})", 310, &[]).await;
}
