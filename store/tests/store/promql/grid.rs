//! What the store computes on a grid of steps is what the evaluator makes of the samples: on the grid of the samples and off it, with
//! resets, gaps and staleness markers; deltas and distributions are left to the evaluator. And what a question may take of the store.

use std::sync::Arc;
use std::time::Duration;

use model::query::{MetricQuery, QueryError, QueryOptions};
use model::tenant::TenantId;
use model::time::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store::promql::PromQl;
use store::promql::clickhouse::ClickHouseSource;
use store::promql::memory::MemorySource;
use store::promql::source::{Samples, SeriesKind, Temporality};
use store::promql::value::ABSENT;

use super::clickhouse::{agree, compare, store};
use super::generate::{ON_EDGES, Spacing, fill};
use super::harness::labels;
use crate::fixture::TestEngine;

/// 2026-11-01T00:00:00Z.
const ORIGIN: i64 = 1_793_491_200_000;

/// Counters and gauges of all bad habits.
fn wild(seed: u64) -> MemorySource {
    let mut random = StdRng::seed_from_u64(seed);
    let source = MemorySource::new();
    for number in 0..12 {
        let (mut at, mut value, mut samples) = (ORIGIN - 600_000, 0.0, Samples::default());
        while at < ORIGIN + 3_000_000 {
            at += match random.random_range(0..20) {
                0 => 400_000,
                1 => 1,
                2..=4 => 14_999,
                _ => 15_000,
            };
            value += random.random_range(0.0..50.0);
            let special = [f64::NAN, f64::INFINITY, -5.0, ABSENT, 0.0];
            samples.times.push(at);
            samples.values.push(match random.random_range(0..60) {
                // Infinite and undefined numbers in gauges only: how rounding makes NaN of infinity is nobody's contract.
                at @ 0..2 if number >= 8 => special[at],
                at @ 2..=4 => {
                    value = 0.0;
                    special[at]
                }
                _ => value,
            });
        }
        let kind = if number < 8 { SeriesKind::Counter } else { SeriesKind::Gauge };
        let name = if number < 8 { "w_total" } else { "g" };
        let temporality = if number == 7 { Temporality::Delta } else { Temporality::Cumulative };
        let labels = labels(&format!("{name}{{n=\"{number}\",job=\"{}\"}}", number % 3));
        source.add(&TenantId::default(), &labels, kind, temporality, &samples);
    }
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stores_functions_are_the_evaluators() {
    let engine = TestEngine::with_schema().await;
    let source = fill(5, ORIGIN, Spacing::Sharp);
    let more = wild(11);
    store(&engine, &source, "sharp").await;
    store(&engine, &more, "wild").await;
    for one in more.all() {
        let store::promql::memory::MemoryRows::Numbers(samples) = &one.rows else { panic!() };
        source.add(&one.tenant, &one.labels, one.kind, one.temporality, samples);
    }
    let stored = ClickHouseSource::new(engine.clickhouse.client());
    let (memory, promql) = (PromQl::new(Arc::new(source)), PromQl::new(Arc::new(stored.clone())));
    let edges: Vec<String> = ON_EDGES.iter().map(|expr| (*expr).to_owned()).collect();
    assert!(compare(&memory, &promql, &edges).await > 1_000);
    let before = stored.computed();
    let (tenant, options) = (TenantId::default(), QueryOptions::default());
    let (mut samples, mut asked) = (0, 0);
    for of in ["w_total{n!=\"7\"}", "w_total{n=~\"1|3\"}", "requests_total"] {
        for function in ["rate", "increase", "delta", "irate", "idelta", "last_over_time"] {
            for range in ["15s", "1m", "5m", "37m", "4999ms"] {
                let expr = format!("{function}({of}[{range}])");
                for (start, end, step) in
                    [(0, 2_400_000, 60_000), (0, 900_000, 15_000), (1_003, 1_900_000, 7_001), (-500_000, 3_500_000, 444_444)]
                {
                    let (start, end) = (Timestamp::from_millis(ORIGIN + start), Timestamp::from_millis(ORIGIN + end));
                    let step = Duration::from_millis(step);
                    let here = memory.range(&tenant, &expr, start, end, step, &options).await;
                    let there = promql.range(&tenant, &expr, start, end, step, &options).await;
                    samples += agree(&expr, here, there);
                    asked += 1;
                }
            }
        }
    }
    assert!(samples > 50_000, "{samples}");
    assert_eq!(stored.computed() - before, asked, "all of them were computed by the store");
    // Where the store's functions mean something else, the evaluator does it.
    let others = [
        "rate(w_total[5m])",
        "delta(g[5m])",
        "increase(g[20m])",
        "irate(g[2m])",
        "last_over_time(g[7m])",
        "w_total",
        "g",
        "g offset 3m",
        "sum by (job) (g)",
        "max_over_time(w_total{n=\"2\"}[10m:30s])",
        "g{n=\"none\"}",
    ];
    assert!(compare(&memory, &promql, &others.map(str::to_owned)).await > 1_000);
    engine.supervisor.stop().await;
}

/// Two million samples of 500 series, by SQL.
async fn many(engine: &TestEngine) {
    let series = "INSERT INTO series (tenant, metric, fingerprint, kind, temporality, monotonic, labels, first_seen, last_seen) \
                  SELECT 'default', 'many', number, 'gauge', 'cumulative', 0, map('n', toString(number)), now(), now() FROM numbers(500)";
    let points = format!(
        "INSERT INTO points (tenant, metric, fingerprint, ts, start_ts, value, flags, retention_days) SELECT 'default', 'many', number % 500, \
         fromUnixTimestamp64Milli(toInt64({ORIGIN} + intDiv(number, 500) * 1000)) AS at, at, rand(), 0, 90 FROM numbers(2000000)"
    );
    engine.clickhouse.execute(series).await.unwrap();
    engine.clickhouse.execute(&points).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_takes_no_more_memory_than_allowed_and_ends_with_its_client() {
    let engine = TestEngine::with_schema().await;
    many(&engine).await;
    let source = ClickHouseSource::new(engine.clickhouse.client());
    let (tenant, options) = (TenantId::default(), QueryOptions::default());
    let (start, end) = (Timestamp::from_millis(ORIGIN), Timestamp::from_millis(ORIGIN + 4_000_000));
    let capped = PromQl::new(Arc::new(source.clone().with_memory(8 << 20)));
    for expr in ["rate(many[5m])", "quantile_over_time(0.5, many[5m])"] {
        let error = capped.range(&tenant, expr, start, end, Duration::from_secs(10), &options).await.unwrap_err();
        assert!(matches!(&error, QueryError::Execution(text) if text.contains("needs too much memory in the store")), "{expr}: {error}");
    }
    assert!(capped.instant(&tenant, "many{n=\"7\"}", end, &options).await.unwrap().matched_any_series, "a small one passes");
    let promql = PromQl::new(Arc::new(source));
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%FROM points%' AND query NOT LIKE '%system.processes%'";
    let mut seen = false;
    for _ in 0..20 {
        let asking = promql.range(&tenant, "sum(rate(many[1h]))", start, end, Duration::from_secs(1), &options);
        let started = async {
            for _ in 0..2_000 {
                if engine.text(running).await != "0" {
                    return true;
                }
            }
            false
        };
        tokio::select! {
            _ = asking => {}
            begun = started => {
                assert!(begun);
                seen = true;
                break;
            }
        }
    }
    assert!(seen, "the statement was never seen at work");
    for attempt in 0.. {
        if engine.text(running).await == "0" {
            break;
        }
        assert!(attempt < 600, "the statement still runs");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    engine.supervisor.stop().await;
}
