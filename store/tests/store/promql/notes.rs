//! Warnings and infos: Prometheus 3's words, with the place in the expression that each is about.

use std::sync::Arc;
use std::time::Duration;

use model::query::{MetricQuery, QueryOptions};
use model::tenant::TenantId;
use model::time::Timestamp;
use store::promql::PromQl;
use store::promql::memory::MemorySource;
use store::promql::source::{Samples, SeriesKind, Temporality};

use super::harness::labels;

/// Expression, warnings, infos.
type Case = (&'static str, &'static [&'static str], &'static [&'static str]);

const COUNTER: &str = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"requests\"";

/// Instant queries: the places and prefixes stand in front, so that a text is written once.
const CASES: &[Case] = &[
    ("rate(requests[1m])", &[], &["(1:6) counter"]),
    ("  sum by (job) (\n\trate(requests[1m])\n) > 0", &[], &["(2:7) counter"]),
    ("rate(requests[1m]) + on (job) increase(requests[1m])", &[], &["(1:40) counter", "(1:6) counter"]),
    ("max_over_time(rate(requests[1m])[2m:10s])", &[], &["(1:20) counter"]),
    ("rate(requests_total[1m])", &[], &[]),
    ("\"é\" == bool 1 or rate(requests[1m])", &[], &[]),
    ("quantile(1.5, requests)", &["(1:10) quantile value should be between 0 and 1, got 1.5"], &[]),
    ("quantile by (job) (\n  -1, requests\n)", &["(2:3) quantile value should be between 0 and 1, got -1"], &[]),
    ("quantile_over_time(2, requests[1m])", &["(1:20) quantile value should be between 0 and 1, got 2"], &[]),
    ("histogram_quantile(7, h_bucket)", &["(1:20) quantile value should be between 0 and 1, got 7"], &[]),
    (
        "histogram_quantile(0.5, requests)",
        &["(1:25) bucket label \"le\" is missing or has a malformed value of \"\" for metric name \"requests\""],
        &[],
    ),
    (
        "1 + histogram_quantile(0.5, fallen_bucket)",
        &[],
        &[
            "(1:29) input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for metric name \"fallen_bucket\"",
        ],
    ),
    ("limit_ratio(1.5, requests)", &["(1:13) ratio value should be between -1 and 1, got 1.5, capping to 1"], &[]),
];

fn source() -> MemorySource {
    let source = MemorySource::new();
    let add = |text: &str, kind, step: f64| {
        let samples = Samples { times: (0..=12).map(|n| n * 10_000).collect(), values: (0..=12).map(|n| f64::from(n) * step).collect() };
        source.add(&TenantId::default(), &labels(text), kind, Temporality::Cumulative, &samples);
    };
    add("requests{job=\"a\"}", SeriesKind::Untyped, 1.0);
    add("requests_total{job=\"a\"}", SeriesKind::Untyped, 1.0);
    for (bound, value) in [("1", 1.0), ("2", 2.0), ("+Inf", 3.0)] {
        add(&format!("h_bucket{{le=\"{bound}\"}}"), SeriesKind::Untyped, value);
    }
    for (bound, value) in [("1", 5.0), ("2", 2.0), ("+Inf", 6.0)] {
        add(&format!("fallen_bucket{{le=\"{bound}\"}}"), SeriesKind::Untyped, value);
    }
    source
}

fn written(kind: &str, cases: &[&str]) -> Vec<String> {
    let one = |case: &&str| {
        let (place, text) = case.split_once(' ').unwrap();
        if text == "counter" { format!("{COUNTER} {place}") } else { format!("PromQL {kind}: {text} {place}") }
    };
    cases.iter().map(one).collect()
}

#[tokio::test]
async fn notes_say_where_in_the_expression() {
    let promql = PromQl::new(Arc::new(source()));
    let (tenant, options, end) = (TenantId::default(), QueryOptions::default(), Timestamp::from_millis(120_000));
    for (expr, warnings, infos) in CASES {
        if expr.starts_with('"') {
            let error = promql.instant(&tenant, expr, end, &options).await.unwrap_err().to_string();
            assert!(error.contains("1:1: parse error: binary expression must contain only scalar and instant vector types"), "{error}");
            continue;
        }
        let answer = promql.instant(&tenant, expr, end, &options).await.unwrap_or_else(|error| panic!("{expr}: {error}"));
        assert_eq!((answer.warnings, answer.infos), (written("warning", warnings), written("info", infos)), "{expr}");
    }
    let range = promql.range(&tenant, "1 + sort(requests)", Timestamp::from_millis(0), end, Duration::from_secs(60), &options).await;
    let expected = "PromQL warning: sort is ineffective for range queries since results are always ordered by labels (1:5)";
    assert_eq!(range.unwrap().warnings, [expected]);
}
