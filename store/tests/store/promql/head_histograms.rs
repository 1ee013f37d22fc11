//! Explicit histograms in the head are answered as the store answers them: while they come through the log, late and twice, after a start,
//! beside classic buckets of the same name, and where room ends.

use std::sync::Arc;

use model::labels::Labels;
use model::tenant::TenantId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store::promql::PromQl;
use store::promql::clickhouse::ClickHouseSource;
use store::promql::memory::{HistogramPoint, MemorySource};
use store::promql::source::{BucketPoint, Samples, SeriesKind, Temporality};

use super::clickhouse::{ORIGIN, blocks, compare, distributions, store};
use super::harness::labels;
use super::head::{World, pieces};

/// A histogram with all its points, in order of time.
struct Made {
    labels: Labels,
    temporality: Temporality,
    points: Vec<HistogramPoint>,
}

fn point(at: i64, bounds: &[f64], counts: &[u64], sum: f64) -> HistogramPoint {
    let count = counts.iter().sum();
    HistogramPoint { buckets: BucketPoint { at, bounds: bounds.to_vec(), counts: counts.to_vec(), count, stale: false }, sum }
}

/// Half an hour of running totals whose bounds change and that end for a while, of totals without a sum, of a count alone, and of deltas of
/// which two may come at the same moment. All times end in 3 ms: no window of a question has a sample on its edge.
fn histograms(seed: u64, origin: i64) -> Vec<Made> {
    let mut rng = StdRng::seed_from_u64(seed);
    let times: Vec<i64> = (0..120).map(|n| origin + n * 15_000 + rng.random_range(0..900) * 10 + 3).collect();
    let mut totals = [[0u64; 4]; 2];
    let mut all: Vec<Made> = Vec::new();
    let mut add = |text: &str, temporality, points| all.push(Made { labels: labels(text), temporality, points });
    let mut growing = |n: usize, at: i64, job: usize| {
        totals[job].iter_mut().for_each(|total| *total += rng.random_range(0..20));
        let bounds: &[f64] = if job == 1 || n < 40 { &[0.5, 1.0, 7.5] } else { &[0.25, 1.0, 1e10] };
        let mut point = point(at, bounds, &totals[job], if job == 1 { f64::NAN } else { totals[job].iter().sum::<u64>() as f64 * 0.3 });
        point.buckets.stale = job == 0 && (n == 60 || n == 90);
        point
    };
    let points = times.iter().enumerate().map(|(n, at)| growing(n, *at, 0)).filter(|p| !(times[61]..times[70]).contains(&p.buckets.at));
    add("http_duration{job=\"a\"}", Temporality::Cumulative, points.collect());
    add("http_duration{job=\"b\"}", Temporality::Cumulative, times.iter().enumerate().map(|(n, at)| growing(n, *at, 1)).collect());
    let counts = times.iter().enumerate().map(|(n, at)| point(*at, &[], &[n as u64 * 3], n as f64));
    add("http_duration{job=\"c\",zone=\"z\"}", Temporality::Cumulative, counts.collect());
    let deltas = times.iter().enumerate().flat_map(|(n, at)| {
        let one = point(*at, &[1.0, 2.0], &[n as u64 % 5, 1, n as u64 % 2], n as f64);
        vec![one; 1 + n % 2]
    });
    add("calls_duration{job=\"d\"}", Temporality::Delta, deltas.collect());
    all
}

/// What of them lies from one moment to another, and classic buckets of one of the names beside: one of them has the labels of a bucket
/// that is made of a histogram, and half of its moments.
fn piece(all: &[Made], from: i64, to: i64) -> MemorySource {
    let (source, tenant) = (MemorySource::new(), TenantId::default());
    for made in all {
        let points: Vec<HistogramPoint> = made.points.iter().filter(|point| (from..to).contains(&point.buckets.at)).cloned().collect();
        if !points.is_empty() {
            source.add_histogram(&tenant, &made.labels, made.temporality, points);
        }
    }
    let times: Vec<i64> = all[1].points.iter().map(|point| point.buckets.at).collect();
    for (text, by) in [("job=\"classic\",le=\"1\"", 2.0), ("job=\"classic\",le=\"+Inf\"", 3.0), ("job=\"b\",le=\"1\"", 1e6)] {
        let at = |(n, at): (usize, &i64)| (at + if n.is_multiple_of(2) { 0 } else { 1_000 }, n as f64 * by);
        let samples = times.iter().enumerate().map(at).filter(|(at, _)| (from..to).contains(at));
        let (times, values): (Vec<i64>, Vec<f64>) = samples.unzip();
        if !times.is_empty() {
            let labels = labels(&format!("http_duration_bucket{{{text}}}"));
            source.add(&tenant, &labels, SeriesKind::Untyped, Temporality::Cumulative, &Samples { times, values });
        }
    }
    source
}

fn all_of(all: &[Made]) -> MemorySource {
    piece(all, i64::MIN, i64::MAX)
}

fn expressions() -> Vec<String> {
    let all = [
        "histogram_quantile(0.99, sum by (le) (rate(http_duration_bucket[5m])))",
        "histogram_quantile(0.5, rate(http_duration_bucket{job!=\"b\"}[2m]))",
        "histogram_fraction(0, 1, sum by (le, job) (increase(http_duration_bucket[4m])))",
        "http_duration_bucket",
        "http_duration_bucket{le=\"1\"}",
        "http_duration_bucket{le=\"1.0\"}",
        "http_duration_bucket{le=\"10000000000\"}",
        "http_duration_bucket{le=~\"0.*|[+]Inf\"}",
        "http_duration_bucket{le!=\"1\",job=~\"a|classic\"}",
        "http_duration_bucket{zone=\"\",le=\"+Inf\"}",
        "http_duration_bucket[7m]",
        "http_duration_bucket{le=\"1\"} offset 4m",
        "count_over_time(http_duration_bucket[1m])",
        "http_duration_sum",
        "http_duration_sum[3m]",
        "http_duration_count",
        "http_duration_count{job=\"c\"}",
        "http_duration_sum / http_duration_count",
        "increase(http_duration_count[3m])",
        "resets(http_duration_count[10m])",
        "http_duration",
        "absent(http_duration_bucket{le=\"7\"})",
    ];
    all.map(str::to_owned).into()
}

/// About those that are not held.
fn about_deltas() -> Vec<String> {
    let all = [
        "sum by (le) (rate(calls_duration_bucket[2m]))",
        "calls_duration_bucket{le=\"2\"}",
        "calls_duration_count",
        "sum_over_time(calls_duration_sum[1m])",
        "calls_duration_bucket[2m]",
    ];
    all.map(str::to_owned).into()
}

/// The rows of a piece without what says what its series are.
fn rows(source: &MemorySource) -> Vec<model::columns::TableBlock> {
    blocks(source).into_iter().filter(|block| block.table.name != "series").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn histograms_that_came_through_the_log_are_answered_from_memory() {
    let world = World::new(64 << 20).await;
    world.fill().await;
    let made = histograms(21, ORIGIN);
    for from in pieces(2, 122) {
        world.send(&piece(&made, from, from + 15_000)).await;
    }
    let memory = PromQl::new(Arc::new(all_of(&made)));
    let samples = compare(&memory, &world.promql(), &expressions()).await;
    assert!(samples > 3_000, "only {samples} samples compared");
    assert_eq!(world.answered("store"), 0.0, "ClickHouse has none of them");
    world.engine.supervisor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_start_it_holds_the_histograms_that_were_stored() {
    // Two hours meet in the midst of the points.
    let made = histograms(22, ORIGIN - 900_000);
    let world = World::new(64 << 20).await;
    let until = |secs: i64| ORIGIN + secs * 1_000;
    store(&world.engine, &piece(&made, i64::MIN, until(300)), "before").await;
    store(&world.engine, &distributions(), "others").await;
    // These come live, and ClickHouse has them too before it is asked. Nobody says what they are.
    store(&world.engine, &piece(&made, until(300), until(400)), "live").await;
    world.give(rows(&piece(&made, until(-400), until(-300)))).await;
    world.give(rows(&piece(&made, until(300), until(400)))).await;
    world.fill().await;
    world.give(rows(&piece(&made, until(400), i64::MAX))).await;
    let memory = PromQl::new(Arc::new(all_of(&made)));
    let samples = compare(&memory, &world.promql(), &expressions()).await;
    assert!(samples > 1_500, "only {samples} samples compared");
    assert_eq!(world.answered("store"), 0.0, "it knows what ClickHouse has told");
    // ClickHouse gives the same once it has all.
    store(&world.engine, &piece(&made, until(400), i64::MAX), "after").await;
    compare(&memory, &world.promql(), &about_deltas()).await;
    let before = world.answered("store");
    assert!(before > 0.0, "deltas are not held");
    let stored = PromQl::new(Arc::new(ClickHouseSource::new(world.engine.clickhouse.client())));
    assert_eq!(compare(&stored, &world.promql(), &expressions()).await, samples);
    let exprs = ["lat", "rpc", "rpc_sum", "rpc_bucket"].map(str::to_owned);
    compare(&PromQl::new(Arc::new(distributions())), &world.promql(), &exprs).await;
    assert_eq!(world.answered("store") - before, 12.0, "what has other distributions' names, and nothing else");
    world.engine.supervisor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_room_ends_the_store_answers_for_histograms() {
    let limit = 40_000;
    let world = World::new(limit).await;
    world.fill().await;
    let made = histograms(23, ORIGIN);
    for from in (0..31).map(|minute| ORIGIN + minute * 60_000) {
        let piece = piece(&made, from, from + 60_000);
        store(&world.engine, &piece, &format!("at-{from}")).await;
        // What is forgotten comes again without a word of what it is.
        world.give(if from == ORIGIN { blocks(&piece) } else { rows(&piece) }).await;
        assert!(world.head.bytes() < 2 * limit, "{} bytes", world.head.bytes());
    }
    assert!(world.head.covered() > ORIGIN, "the oldest went");
    let memory = PromQl::new(Arc::new(all_of(&made)));
    let samples = compare(&memory, &world.promql(), &expressions()).await;
    assert!(samples > 3_000, "only {samples} samples compared");
    compare(&memory, &world.promql(), &about_deltas()).await;
    // After another start with so little room it is no different.
    world.fill().await;
    assert!(world.head.bytes() < 2 * limit, "{} bytes", world.head.bytes());
    assert_eq!(compare(&memory, &world.promql(), &expressions()).await, samples);
    world.head.forget(ORIGIN + 3_600_000);
    assert_eq!(world.head.bytes(), 0);
    world.engine.supervisor.stop().await;
}

/// With this limit there is room for 64.
#[tokio::test(flavor = "multi_thread")]
async fn of_more_histograms_than_there_is_room_for_the_store_answers() {
    let (source, tenant) = (MemorySource::new(), TenantId::default());
    for name in 0..70 {
        let points = (1..20).map(|n| point(ORIGIN + n * 15_000, &[1.0], &[n as u64, 2 * n as u64], n as f64)).collect();
        source.add_histogram(&tenant, &labels(&format!("h{name:02}_seconds")), Temporality::Cumulative, points);
    }
    let (live, again) = (World::new(8 << 20).await, World::new(8 << 20).await);
    live.fill().await;
    live.send(&source).await;
    store(&live.engine, &source, "many").await;
    store(&again.engine, &source, "many").await;
    again.fill().await;
    let memory = PromQl::new(Arc::new(source));
    for world in [live, again] {
        compare(&memory, &world.promql(), &["h00_seconds_count".to_owned(), "h63_seconds_bucket".to_owned()]).await;
        assert_eq!(world.answered("store"), 0.0);
        let head = world.answered("head");
        compare(&memory, &world.promql(), &["h64_seconds_sum".to_owned(), "rate(h69_seconds_bucket[1m])".to_owned()]).await;
        assert_eq!(world.answered("head"), head, "they would take the room of all else");
        world.engine.supervisor.stop().await;
    }
}
