//! What the cache gives is what the store would give: dashboards that are refreshed while samples arrive, some of them late, some of them
//! long on their way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use model::columns::{Column, TableBlock};
use model::query::{Answer, MetricQuery, QueryOptions, QueryValue};
use model::sink::{Appended, Batch, Refusal, TelemetrySink};
use model::tables::POINTS;
use model::tenant::TenantId;
use model::time::{Clock, SimulatedClock, Timestamp};
use proptest::prelude::*;
use store::promql::PromQl;
use store::promql::arrivals::{Arrivals, Watched};
use store::promql::cache::Cache;
use store::promql::memory::MemorySource;
use store::promql::source::{Samples, SeriesKind, Temporality};

use super::harness::labels;

/// A log in front of a store in memory: what is appended is seen only once it was stored.
struct Way {
    clock: Arc<SimulatedClock>,
    source: Arc<MemorySource>,
    waiting: Mutex<VecDeque<(Timestamp, i64, f64)>>,
}

impl Way {
    fn store(&self) {
        for (_, at, value) in self.waiting.lock().unwrap().drain(..) {
            let samples = Samples { times: vec![at], values: vec![value] };
            for instance in ["0", "1"] {
                let labels = labels(&format!("x_total{{instance=\"{instance}\"}}"));
                self.source.add(&TenantId::default(), &labels, SeriesKind::Counter, Temporality::Cumulative, &samples);
            }
        }
    }
}

/// The end of the way.
struct Log(Arc<Way>);

#[async_trait]
impl TelemetrySink for Log {
    async fn append(&self, batch: Batch) -> Result<Appended, Refusal> {
        let Column::Int64(times) = &batch.blocks[0].columns[POINTS.position("ts").unwrap()] else { panic!() };
        let Column::Float64(values) = &batch.blocks[0].columns[POINTS.position("value").unwrap()] else { panic!() };
        self.0.waiting.lock().unwrap().push_back((self.0.clock.now(), times[0], values[0]));
        Ok(Appended::Durable)
    }
}

struct World {
    way: Arc<Way>,
    watched: Watched,
    fresh: PromQl,
    cached: PromQl,
    registry: prometheus::Registry,
}

impl World {
    fn new(max_bytes: usize) -> Self {
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_secs(1_000_000)));
        let way = Arc::new(Way { clock: clock.clone(), source: Arc::new(MemorySource::new()), waiting: Mutex::default() });
        let behind = way.clone();
        let lag = move || behind.waiting.lock().unwrap().front().map(|(arrived, ..)| behind.clock.now().since(*arrived));
        let registry = prometheus::Registry::new();
        let cache = Arc::new(Cache::new(Arrivals::new(clock, Box::new(lag)), max_bytes, &registry).unwrap());
        let fresh = PromQl::new(way.source.clone());
        let cached = fresh.clone().with_cache(cache.clone());
        World { watched: Watched::new(Arc::new(Log(way.clone())), Some(cache), None), way, fresh, cached, registry }
    }

    fn now(&self) -> i64 {
        self.way.clock.now().millis()
    }

    async fn append(&self, at: i64, value: f64) {
        let mut block = TableBlock::new(&POINTS);
        for (column, spec) in block.columns.iter_mut().zip(POINTS.columns) {
            match column {
                Column::Int64(rows) => rows.push(if spec.name == "ts" { at } else { 0 }),
                Column::Float64(rows) => rows.push(value),
                Column::UInt64(rows) => rows.push(1),
                Column::UInt32(rows) => rows.push(0),
                Column::UInt16(rows) => rows.push(30),
                Column::LowCardinality(rows) => rows.push(b"x_total"),
                other => panic!("{}: {other:?}", spec.name),
            }
        }
        let batch = Batch { tenant: TenantId::default(), request: None, arrived: self.way.clock.now(), blocks: vec![block] };
        self.watched.append(batch).await.unwrap();
    }

    async fn ask(&self, promql: &PromQl, expr: &str, back: i64, step: i64, phase: i64) -> Answer {
        let end = self.now().div_euclid(step) * step + phase;
        let (start, end) = (Timestamp::from_millis(end - back / step * step), Timestamp::from_millis(end));
        let step = Duration::from_millis(step as u64);
        promql.range(&TenantId::default(), expr, start, end, step, &QueryOptions::default()).await.unwrap()
    }

    fn steps(&self, from: &str) -> u64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let name = format!("watchfire_promql_cache_steps_total{{from=\"{from}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |digits| digits.parse().unwrap())
    }
}

/// What a dashboard may show; the last ones must never be kept.
const PANELS: [&str; 9] = [
    "rate(x_total[5m])",
    "sum(rate(x_total[5m]))",
    "x_total",
    "max_over_time(rate(x_total[2m])[10m:1m])",
    "absent(x_total{instance=\"0\"})",
    "time() - timestamp(x_total)",
    "x_total offset 10m",
    "x_total offset -5m",
    "x_total @ end()",
];

#[derive(Clone, Debug)]
enum Step {
    /// Time passes (seconds).
    Pass(i64),
    /// A sample arrives so many seconds after its own time.
    Sample(i64),
    /// What the log holds is stored.
    Store,
    /// Every panel is asked.
    Refresh,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1i64..120).prop_map(Step::Pass),
        6 => (0i64..30).prop_map(Step::Sample),
        1 => (100i64..3_000).prop_map(Step::Sample),
        3 => Just(Step::Store),
        4 => Just(Step::Refresh),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_refresh_gives_what_the_store_gives(steps in prop::collection::vec(step(), 10..80), small in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let world = World::new(if small { 8_000 } else { 1 << 20 });
            let mut value = 0.0;
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Pass(seconds) => world.way.clock.advance(Duration::from_secs(seconds as u64)),
                    Step::Sample(late) => {
                        value += 1.0;
                        world.append(world.now() - late * 1_000, if number % 17 == 0 { 0.0 } else { value }).await;
                    }
                    Step::Store => world.way.store(),
                    Step::Refresh => {
                        for expr in PANELS {
                            for (step, phase) in [(15_000, 0), (60_000, 7)] {
                                let here = world.ask(&world.cached, expr, 3_600_000, step, phase).await;
                                let there = world.ask(&world.fresh, expr, 3_600_000, step, phase).await;
                                // A step that is known was computed when the store held as much of its samples as now.
                                assert_eq!(here.value, there.value, "{expr} by {step}");
                            }
                        }
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn a_refresh_computes_only_what_is_new_and_a_late_sample_what_it_changes() {
    let world = World::new(1 << 20);
    for n in 0..240 {
        world.way.clock.advance(Duration::from_secs(15));
        world.append(world.now(), f64::from(n)).await;
        world.way.store();
    }
    let expr = "sum(rate(x_total[5m]))";
    world.ask(&world.cached, expr, 3_600_000, 15_000, 0).await;
    assert_eq!((world.steps("cache"), world.steps("store")), (0, 241));
    world.way.clock.advance(Duration::from_secs(15));
    let answer = world.ask(&world.cached, expr, 3_600_000, 15_000, 0).await;
    // Two minutes are never taken from the cache, and one step is new.
    assert_eq!((world.steps("cache"), world.steps("store")), (232, 241 + 9));
    assert_eq!(answer, Answer { samples_read: answer.samples_read, ..world.ask(&world.fresh, expr, 3_600_000, 15_000, 0).await });
    // Half an hour late, and not yet stored: nothing from there on is taken from the cache.
    world.append(world.now() - 1_800_000, 1e6).await;
    world.ask(&world.cached, expr, 3_600_000, 15_000, 0).await;
    assert_eq!(world.steps("cache"), 232 + 121);
    world.way.store();
    let answer = world.ask(&world.cached, expr, 3_600_000, 15_000, 0).await;
    assert_eq!(answer.value, world.ask(&world.fresh, expr, 3_600_000, 15_000, 0).await.value);
    let QueryValue::Matrix(series) = answer.value else { panic!() };
    assert!(series[0].samples.iter().any(|sample| sample.value > 1e3), "the late sample shows");
    assert_eq!(world.steps("cache"), 232 + 121 + 121);
}

#[tokio::test]
async fn nothing_is_kept_before_what_the_log_held_at_the_start_is_stored() {
    let world = World::new(1 << 20);
    // It arrived before the process began.
    world.way.waiting.lock().unwrap().push_back((Timestamp::from_secs(999_000), 999_000_000, 1.0));
    for _ in 0..3 {
        world.way.clock.advance(Duration::from_secs(600));
        world.ask(&world.cached, "x_total", 3_600_000, 15_000, 0).await;
    }
    assert_eq!(world.steps("cache"), 0);
    world.way.store();
    for _ in 0..2 {
        world.ask(&world.cached, "x_total", 3_600_000, 15_000, 0).await;
    }
    assert!(world.steps("cache") > 200);
}
