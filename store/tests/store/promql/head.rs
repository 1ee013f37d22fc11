//! What the head in memory answers is what the store would: fed from the log in pieces, some late, some twice; filled after a start beside
//! what comes live; cut short where its room is.

use std::sync::Arc;

use async_trait::async_trait;
use model::columns::TableBlock;
use model::query::QueryOptions;
use model::sink::{Appended, Batch, Refusal, TelemetrySink};
use model::tenant::TenantId;
use model::time::{SimulatedClock, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store::promql::PromQl;
use store::promql::arrivals::Watched;
use store::promql::clickhouse::ClickHouseSource;
use store::promql::head::Head;
use store::promql::head::fill::Filler;
use store::promql::head::source::HeadSource;
use store::promql::memory::MemorySource;
use store::promql::source::{Samples, SeriesKind, Temporality};
use tokio::sync::Notify;

use super::clickhouse::{ORIGIN, blocks, compare, distributions, store};
use super::generate::{Made, Spacing, expressions, series};
use super::harness::labels;
use crate::fixture::TestEngine;

/// A log that takes everything once it is let.
#[derive(Default)]
struct Log {
    waits: Option<Arc<Notify>>,
}

#[async_trait]
impl TelemetrySink for Log {
    async fn append(&self, batch: Batch) -> Result<Appended, Refusal> {
        if let Some(gate) = &self.waits {
            gate.notified().await;
        }
        Ok(if batch.request.is_some() { Appended::Duplicate } else { Appended::Durable })
    }
}

fn batch(blocks: Vec<TableBlock>) -> Batch {
    Batch { tenant: TenantId::default(), request: None, arrived: Timestamp::from_millis(ORIGIN), blocks }
}

pub struct World {
    pub head: Arc<Head>,
    registry: prometheus::Registry,
    way: Watched,
    pub engine: TestEngine,
}

impl World {
    pub async fn new(limit: usize) -> Self {
        let registry = prometheus::Registry::new();
        let head = Arc::new(Head::new(limit, &registry).unwrap());
        let way = Watched::new(Arc::new(Log::default()), None, Some(head.clone()));
        World { head, registry, way, engine: TestEngine::with_schema().await }
    }

    pub async fn fill(&self) {
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_millis(ORIGIN)));
        Filler::new(self.head.clone(), self.engine.clickhouse.client(), clock, Box::new(|| None)).fill().await.unwrap();
    }

    pub fn promql(&self) -> PromQl {
        PromQl::new(Arc::new(HeadSource::new(self.head.clone(), Arc::new(ClickHouseSource::new(self.engine.clickhouse.client())))))
    }

    pub async fn send(&self, source: &MemorySource) {
        self.give(blocks(source)).await;
    }

    pub async fn give(&self, blocks: Vec<TableBlock>) {
        self.way.append(batch(blocks)).await.unwrap();
    }

    fn looked_at(&self) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "watchfire_promql_head_series_examined_total").unwrap();
        family.get_metric()[0].get_counter().get_value()
    }

    pub fn answered(&self, from: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "watchfire_promql_head_questions_total").unwrap();
        let of = family.get_metric().iter().find(|metric| metric.get_label()[0].value() == from);
        of.map_or(0.0, |metric| metric.get_counter().get_value())
    }
}

/// The samples of series from one moment to another; `None` where there is none.
fn piece(all: &[Made], from: i64, to: i64) -> MemorySource {
    let source = MemorySource::new();
    for made in all {
        let kept = made.samples.times.iter().zip(&made.samples.values).filter(|(at, _)| (from..to).contains(*at));
        let (times, values): (Vec<i64>, Vec<f64>) = kept.map(|(at, value)| (*at, *value)).unzip();
        if !times.is_empty() {
            source.add(&TenantId::default(), &made.labels, made.kind, Temporality::Cumulative, &Samples { times, values });
        }
    }
    source
}

fn all_of(all: &[Made]) -> MemorySource {
    piece(all, i64::MIN, i64::MAX)
}

/// So many quarters of a minute in the order in which they come: some late, by minutes.
pub fn pieces(seed: u64, count: i64) -> Vec<i64> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut pieces: Vec<i64> = (0..count).map(|at| ORIGIN + at * 15_000).collect();
    for _ in 0..12 {
        let (a, b) = (rng.random_range(0..pieces.len()), rng.random_range(0..pieces.len()));
        pieces.swap(a, b);
    }
    pieces
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_through_the_log_is_answered_from_memory() {
    let world = World::new(64 << 20).await;
    world.fill().await;
    let made = series(11, ORIGIN, Spacing::Jittered);
    for from in pieces(1, 120) {
        world.send(&piece(&made, from, from + 15_000)).await;
    }
    let memory = PromQl::new(Arc::new(all_of(&made)));
    let by_name: Vec<String> = expressions(ORIGIN).into_iter().filter(|expr| !expr.contains("__name__")).collect();
    let samples = compare(&memory, &world.promql(), &by_name).await;
    assert!(samples > 8_000, "only {samples} samples compared");
    assert_eq!(world.answered("store"), 0.0, "ClickHouse has none of them");
    let before = world.looked_at();
    compare(&memory, &world.promql(), &["temperature{job=\"api\",instance=\"1\"}".to_owned()]).await;
    let questions = world.looked_at() - before;
    assert!(questions > 0.0 && questions <= 3.0 * 8.0, "{questions} of the six series were looked at");
    // An answer that nobody waits for any more, a request that came twice, and a tenant without series.
    let twice = piece(&made, ORIGIN, ORIGIN + 15_000);
    let duplicate = Batch { request: Some(model::sink::RequestHash(1)), ..batch(blocks(&twice)) };
    assert_eq!(world.way.append(duplicate).await.unwrap(), Appended::Duplicate);
    compare(&memory, &world.promql(), &["count_over_time(limit[30m])".to_owned()]).await;
    let nobody = TenantId::new("nobody").unwrap();
    let answer =
        world.promql().instant(&nobody, "limit", Timestamp::from_millis(ORIGIN + 300_000), &QueryOptions::default()).await.unwrap();
    assert!(!answer.matched_any_series);
    world.engine.supervisor.stop().await;
}

use model::query::MetricQuery;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_start_it_holds_what_was_stored_and_what_came_meanwhile() {
    // Two hours meet in the midst of the samples.
    let made = series(12, ORIGIN - 900_000, Spacing::Jittered);
    let world = World::new(64 << 20).await;
    store(&world.engine, &piece(&made, i64::MIN, ORIGIN + 600_000), "before").await;
    // These come live, and ClickHouse has some of them too before it is asked.
    let late = piece(&made, ORIGIN - 300_000, ORIGIN - 100_000);
    store(&world.engine, &piece(&made, ORIGIN + 600_000, ORIGIN + 700_000), "live").await;
    world.send(&late).await;
    world.send(&piece(&made, ORIGIN + 600_000, ORIGIN + 700_000)).await;
    let memory = PromQl::new(Arc::new(all_of(&made)));
    world.fill().await;
    world.send(&piece(&made, ORIGIN + 700_000, i64::MAX)).await;
    let by_name: Vec<String> = expressions(ORIGIN - 900_000).into_iter().filter(|expr| !expr.contains("__name__")).collect();
    let samples = compare(&memory, &world.promql(), &by_name).await;
    assert!(samples > 4_000, "only {samples} samples compared");
    assert!(world.answered("head") > 100.0);
    // Running totals are held; deltas of histograms and other distributions are asked of the store.
    let before = world.answered("store");
    let delta = super::delta::red(ORIGIN);
    store(&world.engine, &delta, "red").await;
    world.way.append(batch(blocks(&delta))).await.unwrap();
    let exprs = [
        "sum by (service_name) (rate(traces_span_metrics_calls_total[5m]))",
        "sum_over_time(traces_span_metrics_calls_total[45s])",
        "traces_span_metrics_calls_total",
    ];
    let delta = PromQl::new(Arc::new(delta));
    compare(&delta, &world.promql(), &exprs.map(str::to_owned)).await;
    assert_eq!(world.answered("store"), before, "numbers are the head's");
    let quantile = "histogram_quantile(0.95, sum by (le, service_name) (rate(traces_span_metrics_duration_seconds_bucket[5m])))";
    compare(&delta, &world.promql(), &[quantile.to_owned()]).await;
    assert!(world.answered("store") > before, "histograms that are deltas are not");
    let before = world.answered("store");
    let others = distributions();
    store(&world.engine, &others, "others").await;
    world.send(&others).await;
    let exprs = ["lat", "rate(lat[5m])", "lat_count", "rpc{quantile=\"0.99\"}", "rate(rpc_sum[5m]) / rate(rpc_count[5m])"];
    compare(&PromQl::new(Arc::new(others)), &world.promql(), &exprs.map(str::to_owned)).await;
    assert!(world.answered("store") > before, "the others are not");
    world.engine.supervisor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_its_room_ends_the_store_answers() {
    let world = World::new(40_000).await;
    world.fill().await;
    let made = series(13, ORIGIN, Spacing::Jittered);
    for from in (0..30).map(|minute| ORIGIN + minute * 60_000) {
        let piece = piece(&made, from, from + 60_000);
        store(&world.engine, &piece, &format!("at-{from}")).await;
        world.send(&piece).await;
        assert!(world.head.bytes() < 60_000, "{} bytes", world.head.bytes());
    }
    assert!(world.head.covered() > ORIGIN, "the oldest went");
    let memory = PromQl::new(Arc::new(all_of(&made)));
    // Series that were forgotten and come again are known once ClickHouse has said what they are.
    let samples = compare(&memory, &world.promql(), &expressions(ORIGIN)).await;
    assert!(samples > 8_000, "only {samples} samples compared");
    world.head.forget(ORIGIN + 3_600_000);
    assert!(world.head.bytes() < 1_000, "{}", world.head.bytes());
    world.engine.supervisor.stop().await;
}

#[tokio::test]
async fn what_the_log_takes_is_kept_though_nobody_waits_for_the_answer() {
    let registry = prometheus::Registry::new();
    let head = Arc::new(Head::new(1 << 20, &registry).unwrap());
    let gate = Arc::new(Notify::new());
    let way = Watched::new(Arc::new(Log { waits: Some(gate.clone()) }), None, Some(head.clone()));
    let source = MemorySource::new();
    let one = Samples { times: vec![ORIGIN], values: vec![1.0] };
    source.add(&TenantId::default(), &labels("up{job=\"a\"}"), SeriesKind::Gauge, Temporality::Cumulative, &one);
    {
        let append = way.append(batch(blocks(&source)));
        tokio::pin!(append);
        tokio::select! {
            biased;
            _ = &mut append => panic!("the log waits"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(head.bytes(), 0);
    gate.notify_one();
    while head.bytes() == 0 {
        tokio::task::yield_now().await;
    }
}
