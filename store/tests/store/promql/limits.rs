//! Limits, overlay, timeouts, tenants, metrics.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::query::{Cardinality, MetricMetadata, MetricQuery, QueryError, QueryOptions, QueryValue, Series, SeriesExemplars, SeriesSample};
use model::tenant::TenantId;
use model::time::Timestamp;
use store::promql::memory::MemorySource;
use store::promql::source::{Listing, Samples, Selection, SeriesHead, SeriesKind, SeriesSource, StoredSeries, Temporality};
use store::promql::{Limits, PromQl};

use super::harness::labels;

fn source() -> Arc<MemorySource> {
    let source = MemorySource::new();
    for index in 0..10 {
        let samples = Samples { times: (0..100).map(|n| n * 1_000).collect(), values: vec![f64::from(index); 100] };
        let labels = labels(&format!("x{{i=\"{index}\"}}"));
        source.add(&TenantId::default(), &labels, SeriesKind::Gauge, Temporality::Cumulative, &samples);
    }
    Arc::new(source)
}

async fn instant(promql: &PromQl, expr: &str, options: &QueryOptions) -> Result<model::query::Answer, QueryError> {
    promql.instant(&TenantId::default(), expr, Timestamp::from_secs(50), options).await
}

#[tokio::test]
async fn too_many_series_or_samples_are_one_clear_error() {
    let few = PromQl::new(source()).with_limits(Limits { max_series: 5, ..Limits::default() });
    let error = instant(&few, "x", &QueryOptions::default()).await.unwrap_err();
    assert!(matches!(&error, QueryError::Execution(message) if message.contains("more than 5 series")), "{error}");
    assert!(instant(&few, "x{i=\"1\"}", &QueryOptions::default()).await.is_ok());
    let small = PromQl::new(source()).with_limits(Limits { max_samples: 100, ..Limits::default() });
    for expr in ["x", "sum_over_time(x[1m])", "x{i=~\"[0-2]\"}"] {
        let error = instant(&small, expr, &QueryOptions::default()).await.unwrap_err();
        assert!(matches!(&error, QueryError::Execution(message) if message.contains("too many samples")), "{error}");
    }
    // A subquery with a tiny step over a long range is refused before it is evaluated.
    let error = instant(&small, "max_over_time(vector(1)[1h:1ms])", &QueryOptions::default()).await.unwrap_err();
    assert!(matches!(&error, QueryError::Execution(message) if message.contains("too many samples")), "{error}");
}

#[tokio::test]
async fn operands_that_wait_for_another_one_count_too() {
    let small = PromQl::new(source()).with_limits(Limits { max_samples: 300, ..Limits::default() });
    for (levels, fits) in [(1, true), (2, true), (3, false), (40, false)] {
        for operand in ["vector(0) + ", "time() * ", "0 - "] {
            let nested = format!("{}vector(1){}", format!("({operand}").repeat(levels), ")".repeat(levels));
            let answer = instant(&small, &format!("max_over_time({nested}[100s:1s])"), &QueryOptions::default()).await;
            match answer {
                Ok(_) => assert!(fits, "{levels} x {operand}"),
                Err(QueryError::Execution(message)) => {
                    assert!(!fits && message.contains("too many samples"), "{levels} x {operand}: {message}")
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[tokio::test]
async fn a_range_query_of_more_samples_than_may_be_in_memory_is_computed_slice_by_slice() {
    let (whole, small) = (PromQl::new(source()), PromQl::new(source()).with_limits(Limits { max_samples: 300, ..Limits::default() }));
    let range = async |promql: &PromQl, expr: &str| {
        let (start, end, step) = (Timestamp::from_secs(10), Timestamp::from_secs(90), Duration::from_secs(5));
        promql.range(&TenantId::default(), expr, start, end, step, &QueryOptions::default()).await
    };
    for expr in [
        "max_over_time(x[5s])",
        "sum(rate(x[10s]))",
        "x{i=\"1\"} * (end() - start()) + time()",
        "topk(2, last_over_time(x[5s])) or vector(range())",
        "sum by (i) (x{i=\"2\"} @ end() + on() group_right () count_over_time(x[5s]))",
    ] {
        assert_eq!(range(&small, expr).await.unwrap().value, range(&whole, expr).await.unwrap().value, "{expr}");
    }
    // One step alone is too much, or the answer is.
    for expr in ["sum_over_time(x[1m])", "last_over_time(x[5s])"] {
        let error = range(&PromQl::new(source()).with_limits(Limits { max_samples: 150, ..Limits::default() }), expr).await.unwrap_err();
        assert!(matches!(&error, QueryError::Execution(message) if message.contains("too many samples")), "{expr}: {error}");
    }
}

#[tokio::test]
async fn an_overlay_counts_as_if_it_were_stored() {
    let promql = PromQl::new(source());
    let sample = |secs, value| SeriesSample { at: Timestamp::from_secs(secs), value };
    let overlay = [
        Series { labels: labels("rule{a=\"b\"}"), samples: vec![sample(40, 1.0), sample(50, 7.0)] },
        Series { labels: labels("x{i=\"1\"}"), samples: vec![sample(50, 99.0)] },
        Series { labels: labels("future"), samples: vec![sample(51, 1.0)] },
    ];
    let options = QueryOptions { overlay: overlay.into_iter().collect(), ..QueryOptions::default() };
    for (expr, expected) in [("rule", 7.0), ("sum_over_time(rule[1m])", 8.0), ("x{i=\"1\"}", 99.0), ("sum(x)", 45.0 - 1.0 + 99.0)] {
        let answer = instant(&promql, expr, &options).await.unwrap();
        let QueryValue::Vector(all) = &answer.value else { panic!("{answer:?}") };
        assert_eq!(all.len(), 1, "{expr}");
        assert_eq!(all[0].1.value, expected, "{expr}");
        assert!(answer.matched_any_series);
    }
    let answer = instant(&promql, "future", &options).await.unwrap();
    assert_eq!(answer.value, QueryValue::Vector(Vec::new()));
    assert!(!answer.matched_any_series);
}

#[tokio::test]
async fn an_answer_says_whether_anything_matched() {
    let promql = PromQl::new(source());
    for (expr, matched) in [
        ("x", true),
        ("x > 1000", true),
        ("nothing", false),
        ("absent(nothing)", false),
        ("nothing or x", true),
        ("x offset 1h", false),
        ("vector(1)", false),
    ] {
        assert_eq!(instant(&promql, expr, &QueryOptions::default()).await.unwrap().matched_any_series, matched, "{expr}");
    }
}

#[tokio::test]
async fn the_lookback_is_an_option() {
    let promql = PromQl::new(source());
    let options = QueryOptions { lookback: Duration::from_secs(10), ..QueryOptions::default() };
    for (secs, count) in [(99, 1), (108, 1), (109, 0)] {
        let answer = promql.instant(&TenantId::default(), "x{i=\"0\"}", Timestamp::from_secs(secs), &options).await.unwrap();
        let QueryValue::Vector(all) = answer.value else { panic!() };
        assert_eq!(all.len(), count, "{secs}");
    }
}

#[tokio::test]
async fn a_tenant_sees_its_own_series_only() {
    let promql = PromQl::new(source());
    let other = TenantId::new("other").unwrap();
    let answer = promql.instant(&other, "x", Timestamp::from_secs(50), &QueryOptions::default()).await.unwrap();
    assert_eq!(answer.value, QueryValue::Vector(Vec::new()));
}

#[tokio::test]
async fn queries_are_counted_by_outcome() {
    let registry = prometheus::Registry::new();
    let promql = PromQl::new(source()).with_limits(Limits { max_series: 5, ..Limits::default() }).with_metrics(&registry).unwrap();
    instant(&promql, "x{i=\"1\"}", &QueryOptions::default()).await.unwrap();
    instant(&promql, "x", &QueryOptions::default()).await.unwrap_err();
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(text.contains("watchfire_promql_queries_total{outcome=\"success\"} 1"), "{text}");
    assert!(text.contains("watchfire_promql_queries_total{outcome=\"execution\"} 1"), "{text}");
    assert!(text.contains("watchfire_promql_query_duration_seconds_count 2"), "{text}");
}

/// A source that never answers.
struct Silent;

#[async_trait]
impl SeriesSource for Silent {
    async fn select(&self, _: &Selection<'_>) -> Result<Vec<StoredSeries>, QueryError> {
        std::future::pending().await
    }
    async fn series(&self, _: &Listing<'_>) -> Result<Vec<SeriesHead>, QueryError> {
        std::future::pending().await
    }
    async fn label_names(&self, _: &Listing<'_>) -> Result<Vec<String>, QueryError> {
        std::future::pending().await
    }
    async fn label_values(&self, _: &str, _: &Listing<'_>) -> Result<Vec<String>, QueryError> {
        std::future::pending().await
    }
    async fn metadata(&self, _: &TenantId, _: usize) -> Result<Vec<MetricMetadata>, QueryError> {
        std::future::pending().await
    }
    async fn exemplars(&self, _: &Listing<'_>) -> Result<Vec<SeriesExemplars>, QueryError> {
        std::future::pending().await
    }
    async fn cardinality(&self, _: &TenantId, _: usize) -> Result<Cardinality, QueryError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_a_timeout() {
    let promql = PromQl::new(Arc::new(Silent));
    let options = QueryOptions { timeout: Duration::from_secs(3), ..QueryOptions::default() };
    let error = instant(&promql, "x", &options).await.unwrap_err();
    assert!(matches!(error, QueryError::Timeout(after) if after == Duration::from_secs(3)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn rules_have_turns_of_their_own() {
    let people = PromQl::new(Arc::new(Silent)).with_limits(Limits { concurrency: 1, ..Limits::default() });
    let rules = people.apart(source(), 1);
    let options = QueryOptions { timeout: Duration::from_secs(3_600), ..QueryOptions::default() };
    let plain = QueryOptions::default();
    let stuck = [instant(&people, "x", &options), instant(&people, "x", &options)];
    let all = futures_util::future::join_all(stuck);
    tokio::select! {
        _ = all => panic!("a silent store answered"),
        answer = instant(&rules, "x", &plain) => assert!(answer.unwrap().matched_any_series),
    }
}

#[tokio::test]
async fn an_evaluation_stops_when_its_time_is_over() {
    // Some seconds of work in one expression: 10 series, 100 samples each, 11,000 steps, nested subqueries.
    let promql = PromQl::new(source());
    let expr = "max_over_time(stddev_over_time(quantile_over_time(0.5, x[90s:1s])[90s:1s])[90s:1s])";
    let options = QueryOptions { timeout: Duration::from_millis(20), ..QueryOptions::default() };
    let (start, end) = (Timestamp::from_secs(0), Timestamp::from_secs(10_000));
    let error = promql.range(&TenantId::default(), expr, start, end, Duration::from_secs(1), &options).await.unwrap_err();
    assert!(matches!(error, QueryError::Timeout(_)), "{error}");
}

#[tokio::test]
async fn deep_expressions_are_evaluated_on_any_thread() {
    let promql = PromQl::new(source());
    let chain = format!("x{}", " + x".repeat(990));
    let calls = format!("{}x{}", "abs(-".repeat(650), ")".repeat(650));
    let subqueries = format!("{}x{}", "max_over_time(".repeat(30), "[1s:1s])".repeat(30));
    for (expr, expected) in [(chain, 9.0 * 991.0), (calls, 9.0), (subqueries, 9.0)] {
        // A quarter of what a thread of the server has; a full stack ends the process.
        let (promql, expr) = (promql.clone(), format!("max({expr})"));
        let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_stack_size(512 << 10).build().unwrap();
            runtime.block_on(async { instant(&promql, &expr, &QueryOptions::default()).await })
        });
        let answer = thread.unwrap().join().unwrap().unwrap();
        let QueryValue::Vector(all) = &answer.value else { panic!("{answer:?}") };
        assert_eq!(all[0].1.value, expected);
    }
}
