//! Spans that wait, against a made-up ClickHouse: through crashes at any point every kept trace is stored whole and once, and what is
//! stored stands for what came.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::columns::{Column, Dictionary, TableBlock};
use model::sink::{Appended, Batch, RequestHash, TelemetrySink};
use model::tables::UNDECIDED_SPANS;
use model::tail::TailPolicy;
use model::tenant::TenantId;
use model::time::Clock;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::wal::Wal;
use crate::wal::samples::block_of;
use crate::wal::tests::fake::{ClickHouse, World};

/// A span: its trace, its number, whether it failed.
#[derive(Clone, Copy, Debug)]
struct Span {
    trace: u64,
    id: u64,
    error: bool,
}

fn words(rows: usize, word: &str) -> Column {
    let mut words = Dictionary::default();
    (0..rows).for_each(|_| words.push(word.as_bytes()));
    Column::LowCardinality(words)
}

fn spans(world: &World, spans: &[Span], request: u64) -> Batch {
    let mut block = block_of(&UNDECIDED_SPANS, spans.len(), request);
    let mut set = |name: &str, column: Column| block.columns[UNDECIDED_SPANS.position(name).unwrap()] = column;
    let traces = spans.iter().flat_map(|span| u128::from(span.trace).to_be_bytes()).collect();
    set("trace_id", Column::Fixed { width: 16, bytes: traces });
    set("duration", Column::UInt64(spans.iter().map(|span| span.id).collect()));
    set("status", Column::UInt8(spans.iter().map(|span| if span.error { 2 } else { 0 }).collect()));
    set("sample_rate", Column::UInt32(vec![1; spans.len()]));
    set("service", words(spans.len(), "shop"));
    set("name", words(spans.len(), "GET /"));
    let hash = Some(RequestHash::of("test", &request.to_le_bytes()));
    Batch { tenant: TenantId::default(), request: hash, arrived: world.clock.now(), blocks: vec![block] }
}

fn policy(ratio: f64) -> TailPolicy {
    TailPolicy {
        wait: Duration::from_secs(10),
        remember: Duration::from_secs(60),
        ratio,
        errors: true,
        slow: None,
        slow_by_service: BTreeMap::new(),
        rare: None,
        max_traces: 1_000,
    }
}

fn start(wal: &Wal, clickhouse: &Arc<ClickHouse>, policy: Option<TailPolicy>) {
    wal.set_tail_policy(policy.map(Arc::new));
    wal.start_writer(clickhouse.clone());
}

fn trace_of(id: u64) -> u64 {
    id / 100
}

fn span(trace: u64, part: u64, error: bool) -> Span {
    Span { trace, id: trace * 100 + part, error }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_traces_are_stored_whole_when_they_have_waited_and_late_spans_follow() {
    let world = World::new();
    let clickhouse = Arc::new(ClickHouse::default());
    let wal = world.open();
    start(&wal, &clickhouse, Some(TailPolicy { remember: Duration::ZERO, ..policy(0.0) }));
    let sent = [span(1, 0, false), span(2, 0, false), span(3, 0, false)];
    wal.append(spans(&world, &sent, 1)).await.unwrap();
    world.wait_for(|| world.counter("watchfire_tail_sampling_waiting_spans") == 3.0).await;
    world.clock.advance(Duration::from_secs(5));
    wal.append(spans(&world, &[span(2, 1, true), span(4, 0, false)], 2)).await.unwrap();
    world.wait_for(|| world.counter("watchfire_tail_sampling_waiting_spans") == 5.0).await;
    assert_eq!(clickhouse.stored("spans"), [0u64; 0], "nothing is decided yet");
    world.clock.advance(Duration::from_secs(5));
    world.wait_for(|| clickhouse.stored("spans") == [200]).await;
    world.wait_for(|| world.counter("watchfire_tail_sampling_waiting_spans") == 2.0).await;
    world.clock.advance(Duration::from_secs(5));
    world.wait_for(|| clickhouse.stored("spans") == [200, 201]).await;
    world.wait_for(|| world.counter("watchfire_tail_sampling_spans_total") == 5.0).await;
    wal.stop(Duration::from_secs(20)).await;
    clickhouse.assert_stored("spans", &[200, 201]);
    assert_eq!(world.files("segments", "wal"), 0, "the decisions are done with, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_everything_that_waits_is_kept() {
    let world = World::new();
    let clickhouse = Arc::new(ClickHouse::default());
    let wal = world.open();
    start(&wal, &clickhouse, Some(policy(0.0)));
    wal.append(spans(&world, &[span(1, 0, false)], 1)).await.unwrap();
    world.wait_for(|| world.counter("watchfire_tail_sampling_waiting_spans") == 1.0).await;
    wal.set_tail_policy(None);
    wal.append(spans(&world, &[span(2, 0, false)], 2)).await.unwrap();
    world.wait_for(|| clickhouse.stored("spans") == [100, 200]).await;
    wal.stop(Duration::from_secs(20)).await;
    assert_eq!(world.files("segments", "wal"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_traces_are_decided_early_and_none_is_refused() {
    let world = World::new();
    let clickhouse = Arc::new(ClickHouse::default());
    let wal = world.open();
    start(&wal, &clickhouse, Some(TailPolicy { max_traces: 10, ..policy(1.0) }));
    for trace in 0..100 {
        wal.append(spans(&world, &[span(trace, 0, false)], trace)).await.unwrap();
    }
    world.wait_for(|| clickhouse.stored("spans").len() >= 90).await;
    assert!(world.counter("watchfire_tail_sampling_early_decisions_total") > 0.0);
    wal.stop(Duration::from_secs(20)).await;
}

/// One life of the process: some spans come, time goes on, and it ends anywhere.
async fn one_life(world: &World, wal: &Wal, plan: &mut Plan, rng: &mut StdRng) {
    for _ in 0..rng.random_range(1..40) {
        let count = rng.random_range(1..6);
        let batch: Vec<Span> = (0..count).map(|_| plan.next(rng)).collect();
        plan.request += 1;
        let request = plan.request;
        assert_eq!(wal.append(spans(world, &batch, request)).await.unwrap(), Appended::Durable);
        plan.acknowledged.extend(batch);
        world.clock.advance(Duration::from_millis(rng.random_range(0..3_000)));
        for _ in 0..rng.random_range(0..40) {
            tokio::task::yield_now().await;
        }
        if rng.random_bool(0.2) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..250))).await;
        }
    }
}

#[derive(Default)]
struct Plan {
    acknowledged: Vec<Span>,
    parts: BTreeMap<u64, u64>,
    request: u64,
}

impl Plan {
    /// A span of a trace that is young, or of a new one. Every fifth trace fails, in its first span: later ones follow.
    fn next(&mut self, rng: &mut StdRng) -> Span {
        let newest = self.parts.len() as u64;
        let trace = rng.random_range(newest.saturating_sub(2)..=newest);
        let part = self.parts.entry(trace).or_default();
        *part += 1;
        span(trace, *part - 1, trace.is_multiple_of(5) && *part == 1)
    }
}

/// Killed at any moment, over and over: nothing that was acknowledged of a failed trace is lost, no span is stored twice. Gives how many
/// spans were dropped.
fn killed_anywhere(seed: u64) -> usize {
    // Longer than the spans of a trace take to come.
    let policy = |ratio| TailPolicy { remember: Duration::from_secs(15), ..policy(ratio) };
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new();
    let clickhouse = Arc::new(ClickHouse::failing(seed, 0.1, 0.1));
    let mut plan = Plan::default();
    for _ in 0..rng.random_range(2..6) {
        let runtime = runtime();
        runtime.block_on(async {
            let wal = world.reopen().await;
            start(&wal, &clickhouse, Some(policy(0.3)));
            one_life(&world, &wal, &mut plan, &mut rng).await;
            if rng.random_bool(0.3) {
                wal.stop(Duration::from_secs(20)).await;
            }
        });
        // Ends like a process: no task goes on.
        runtime.shutdown_timeout(Duration::from_secs(10));
    }
    clickhouse.heal();
    runtime().block_on(async {
        let wal = world.reopen().await;
        start(&wal, &clickhouse, Some(policy(0.3)));
        world.clock.advance(Duration::from_secs(3_600));
        world.wait_for(|| world.counter("watchfire_wal_blocks") == 0.0).await;
        wal.stop(Duration::from_secs(20)).await;
    });
    let stored = clickhouse.stored("spans");
    let mut once = stored.clone();
    once.dedup();
    assert_eq!(once, stored, "seed {seed}: a span is stored twice");
    let failed: Vec<u64> = plan.acknowledged.iter().filter(|span| span.trace.is_multiple_of(5)).map(|span| span.id).collect();
    for id in failed {
        assert!(stored.binary_search(&id).is_ok(), "seed {seed}: span {id} of the failed trace {} is lost", trace_of(id));
    }
    assert!(stored.iter().all(|id| plan.acknowledged.iter().any(|span| span.id == *id)));
    clickhouse.assert_stored("spans", &stored);
    assert_eq!(world.files("segments", "wal"), 0, "seed {seed}: the log is empty in the end");
    plan.acknowledged.len() - stored.len()
}

#[test]
fn killed_anywhere_no_kept_trace_loses_a_span() {
    let dropped: usize = (0..16).map(killed_anywhere).sum();
    assert!(dropped > 0, "a run that drops nothing shows nothing");
}

/// The frame with the decision is there, and what follows from it is not: it settles its blocks at the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_was_written_and_not_logged_counts() {
    let world = World::new();
    let wal = world.open();
    wal.append(spans(&world, &[span(1, 0, false), span(2, 0, true)], 1)).await.unwrap();
    let waiting = wal.shared.queues.get(&UNDECIDED_SPANS.number).unwrap();
    let blocks = crate::wal::lock(&waiting.lanes).take(&wal.shared.config.batch);
    let mut state = super::State {
        memory: super::Memory::new(&TailPolicy { remember: Duration::ZERO, ..policy(0.0) }, world.clock.now()),
        held: Default::default(),
        rows: 0,
    };
    let of_policy = TailPolicy { remember: Duration::ZERO, ..policy(0.0) };
    let mut bytes = Vec::new();
    assert!(wal.shared.segments.read(&blocks[0], &mut bytes).unwrap());
    for rows in super::unpacked(&bytes, &UNDECIDED_SPANS).unwrap() {
        super::each(&rows, |_, facts| state.memory.note(&of_policy, facts, world.clock.now()));
    }
    let decision = super::look(&wal.shared, &mut state, &of_policy, &blocks).unwrap();
    assert_eq!((decision.kept, decision.dropped, decision.settled.len()), (1, 1, 1));
    let queue = crate::wal::lock(&wal.running.queue).as_ref().unwrap().downgrade();
    super::append(&wal.shared, &queue, decision.record.unwrap()).await.unwrap();
    drop(wal);
    let clickhouse = Arc::new(ClickHouse::default());
    let wal = world.reopen().await;
    // Were the block still waiting, no policy would keep all of it.
    start(&wal, &clickhouse, None);
    world.wait_for(|| world.counter("watchfire_wal_blocks") == 0.0).await;
    clickhouse.assert_stored("spans", &[200]);
    wal.stop(Duration::from_secs(20)).await;
    drop(wal);
    let wal = world.reopen().await;
    start(&wal, &clickhouse, None);
    wal.stop(Duration::from_secs(20)).await;
    clickhouse.assert_stored("spans", &[200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_stands_for_what_came() {
    const TRACES: u64 = 4_000;
    let mut world = World::new();
    world.config.batch.rows = 5_000;
    world.config.segment_bytes = 1 << 20;
    let clickhouse = Arc::new(ClickHouse::default());
    let wal = world.open();
    start(&wal, &clickhouse, Some(TailPolicy { remember: Duration::ZERO, max_traces: 100_000, ..policy(0.1) }));
    for request in 0..40 {
        let of_request = request * TRACES / 40..(request + 1) * TRACES / 40;
        let batch: Vec<Span> =
            of_request.flat_map(|trace| (0..3).map(move |part| span(trace, part, trace % 50 == 0 && part == 0))).collect();
        wal.append(spans(&world, &batch, request)).await.unwrap();
    }
    world.wait_for(|| world.counter("watchfire_tail_sampling_waiting_spans") == (TRACES * 3) as f64).await;
    world.clock.advance(Duration::from_secs(10));
    world.wait_for(|| world.counter("watchfire_tail_sampling_spans_total") == (TRACES * 3) as f64).await;
    wal.stop(Duration::from_secs(20)).await;
    let (stored, weight) = (clickhouse.stored("spans"), clickhouse.weight());
    assert!((600..2_400).contains(&stored.len()), "about a tenth: {}", stored.len());
    assert!((0..TRACES).step_by(50).all(|trace| (0..3).all(|part| stored.binary_search(&(trace * 100 + part)).is_ok())));
    // Each of about 400 traces stands for ten of three spans: one standard deviation is about 600.
    assert!((9_000..15_000).contains(&weight), "{weight} for {}", TRACES * 3);
    for ids in stored.chunk_by(|a, b| trace_of(*a) == trace_of(*b)) {
        assert_eq!(ids.len(), 3, "whole traces: {ids:?}");
    }
}

#[test]
fn rows_are_chosen_column_by_column() {
    use crate::wal::samples::rows_of;
    let block = block_of(&UNDECIDED_SPANS, 40, 7);
    let keep: Vec<bool> = (0..40).map(|row| row % 3 == 0).collect();
    let mut to = TableBlock::new(&UNDECIDED_SPANS);
    for _ in 0..2 {
        block.columns.iter().zip(&mut to.columns).for_each(|(from, to)| to.append_rows(from, &keep));
    }
    to.check().unwrap();
    let wanted: Vec<_> = rows_of(&block).into_iter().step_by(3).collect();
    assert_eq!(rows_of(&to), [wanted.clone(), wanted].concat());
}
