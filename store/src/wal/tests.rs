//! The whole log against a made-up ClickHouse.

mod crashes;
pub(crate) mod fake;
mod refusals;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::columns::TableSpec;
use model::query::Freshness;
use model::sink::{Appended, TelemetrySink};
use model::time::{Clock, SimulatedClock, Timestamp};
use tokio::sync::Notify;

use fake::{ClickHouse, World, batch, ids};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_stored_once_and_the_segments_go() {
    let world = World::new();
    let clickhouse = Arc::new(ClickHouse::default());
    let wal = world.open();
    wal.start_writer(clickhouse.clone());
    for n in 0..40 {
        assert_eq!(wal.append(batch(&ids(n, 5), Some(n))).await.unwrap(), Appended::Durable);
    }
    assert_eq!(wal.append(batch(&ids(3, 5), Some(3))).await.unwrap(), Appended::Duplicate);
    assert_eq!(wal.stop(Duration::from_secs(20)).await, StopReport { unwritten_blocks: 0 });
    let wanted: Vec<u64> = (0..40).flat_map(|n| ids(n, 5)).collect();
    clickhouse.assert_stored("points", &wanted);
    clickhouse.assert_stored("histograms", &wanted);
    assert!(clickhouse.calls() < 80, "blocks are joined: {} inserts for 80 blocks", clickhouse.calls());
    assert_eq!(world.files("segments", "wal"), 0);
    assert_eq!(world.counter("watchfire_writer_rows_total"), 400.0);
    assert_eq!(world.counter("watchfire_wal_duplicate_requests_total"), 1.0);
    assert_eq!(world.counter("watchfire_wal_bytes"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_known_after_its_segment_is_gone_and_the_process_was_started_again() {
    let world = World::new();
    let clickhouse = Arc::new(ClickHouse::default());
    let wal = world.open();
    wal.start_writer(clickhouse.clone());
    wal.append(batch(&ids(1, 2), Some(1))).await.unwrap();
    wal.stop(Duration::from_secs(20)).await;
    drop(wal);
    assert_eq!((world.files("segments", "wal"), world.files("segments", "requests")), (0, 1));
    // Somebody sets the clock while it is down, and again while it is up: ten minutes are ten minutes.
    world.clock.set(fake::START.plus(Duration::from_secs(7_200)));
    let wal = world.reopen().await;
    assert_eq!(wal.append(batch(&ids(1, 2), Some(1))).await.unwrap(), Appended::Duplicate);
    world.clock.set(fake::START.plus(Duration::from_secs(86_400)));
    wal.shared.segments.forget_requests().unwrap();
    assert_eq!(world.files("segments", "requests"), 1);
    assert_eq!(wal.append(batch(&ids(1, 2), Some(1))).await.unwrap(), Appended::Duplicate);
    world.clock.advance(Duration::from_secs(601));
    wal.shared.segments.forget_requests().unwrap();
    assert_eq!(world.files("segments", "requests"), 0);
    let mut late = batch(&ids(1, 2), Some(1));
    late.arrived = world.clock.now();
    assert_eq!(wal.append(late).await.unwrap(), Appended::Durable, "the window is over");
    clickhouse.assert_stored("points", &ids(1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn freshness_and_lag_come_from_what_was_confirmed() {
    let world = World::new();
    let clickhouse = Arc::new(ClickHouse::default());
    let wal = world.open();
    wal.append(batch(&ids(1, 2), None)).await.unwrap();
    world.clock.advance(Duration::from_secs(7));
    assert_eq!(wal.health().lag, Some(Duration::from_secs(7)));
    let points = |newest: Vec<(String, Option<Timestamp>)>| newest.into_iter().find(|(name, _)| name == "points").unwrap().1;
    assert_eq!(points(wal.newest().await.unwrap()), None);
    wal.start_writer(clickhouse);
    world.wait_for(|| wal.health().lag.is_none()).await;
    assert_eq!(points(wal.newest().await.unwrap()), Some(fake::START));
    wal.seed_freshness([("points".to_owned(), Timestamp::EPOCH), ("spans".to_owned(), Timestamp::from_secs(5))]);
    assert_eq!(points(wal.newest().await.unwrap()), Some(fake::START), "never back");
    assert_eq!(wal.newest().await.unwrap()[0], ("spans".to_owned(), Some(Timestamp::from_secs(5))));
    assert!(wal.health().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_can_never_succeed_is_kept_and_says_so() {
    let world = World::new();
    let clickhouse = Arc::new(ClickHouse::default().refusing_points());
    let wal = world.open();
    wal.start_writer(clickhouse.clone());
    wal.append(batch(&ids(1, 3), None)).await.unwrap();
    world.wait_for(|| wal.health().quarantined == 1 && wal.health().lag.is_none()).await;
    assert!(!wal.health().is_ok());
    wal.stop(Duration::from_secs(20)).await;
    clickhouse.assert_stored("histograms", &ids(1, 3));
    clickhouse.assert_stored("points", &[]);
    assert_eq!((world.files("quarantine", "native"), world.files("quarantine", "json"), world.files("segments", "wal")), (1, 1, 0));
    let kept = world.read("quarantine", "native");
    assert_eq!(fake::row_ids(&model::tables::POINTS, &kept), ids(1, 3));
    let explanation = String::from_utf8(world.read("quarantine", "json")).unwrap();
    assert!(explanation.contains("no such column") && explanation.contains("INSERT INTO points"), "{explanation}");
    drop(wal);
    assert_eq!(world.reopen().await.health().quarantined, 1, "still said after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_delays_and_is_said_and_loses_nothing() {
    let world = World::new();
    let clickhouse = Arc::new(ClickHouse::failing(1, 1.0, 0.0));
    let wal = world.open();
    wal.start_writer(clickhouse.clone());
    for n in 0..50 {
        wal.append(batch(&ids(n, 4), Some(n))).await.unwrap();
    }
    world.wait_for(|| wal.health().insert_errors.len() == 2).await;
    assert!(world.counter("watchfire_writer_retries_total") > 0.0);
    clickhouse.heal();
    world.wait_for(|| wal.health().lag.is_none()).await;
    assert!(wal.health().is_ok());
    clickhouse.assert_stored("points", &(0..50).flat_map(|n| ids(n, 4)).collect::<Vec<_>>());
}

/// Confirms no insert of `points`, or only not the first, before it is told to; counts them.
#[derive(Default)]
struct Held {
    clickhouse: ClickHouse,
    first_only: bool,
    began: AtomicUsize,
    under_way: AtomicUsize,
    free: Notify,
}

impl Held {
    fn began(&self) -> usize {
        self.began.load(Ordering::SeqCst)
    }
    fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl BlockInsert for Held {
    async fn insert(&self, table: &'static TableSpec, token: &str, bytes: Bytes) -> Result<(), InsertError> {
        if table.name == "points" {
            let number = self.began.fetch_add(1, Ordering::SeqCst);
            self.under_way.fetch_add(1, Ordering::SeqCst);
            if number == 0 || !self.first_only {
                self.free.notified().await;
                self.free.notify_one();
            }
            self.under_way.fetch_sub(1, Ordering::SeqCst);
        }
        self.clickhouse.insert(table, token, bytes).await
    }
}

async fn append(wal: &Wal, numbers: std::ops::Range<u64>) {
    for n in numbers {
        wal.append(batch(&ids(n, 5), None)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_inserts_go_side_by_side_and_smaller_ones_wait_for_each_other() {
    let (world, held) = (World::new(), Arc::new(Held::default()));
    let wal = world.open();
    wal.start_writer(held.clone());
    append(&wal, 0..1).await;
    world.wait_for(|| held.under_way() == 1).await;
    // Less than the 20 rows of a whole insert: they wait for the one that is under way.
    append(&wal, 1..2).await;
    tokio::time::sleep(world.config.batch.linger * 10).await;
    assert_eq!(held.began(), 1);
    append(&wal, 2..20).await;
    world.wait_for(|| held.under_way() == writer::INSERTS).await;
    assert_eq!(wal.health().lag, Some(Duration::ZERO));
    held.free.notify_one();
    world.wait_for(|| wal.health().lag.is_none()).await;
    held.clickhouse.assert_stored("points", &(0..20).flat_map(|n| ids(n, 5)).collect::<Vec<_>>());
    assert_eq!(wal.stop(Duration::from_secs(20)).await, StopReport { unwritten_blocks: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn few_inserts_go_past_one_that_is_not_confirmed() {
    let (world, held) = (World::new(), Arc::new(Held { first_only: true, ..Held::default() }));
    let wal = world.open();
    wal.start_writer(held.clone());
    append(&wal, 0..1).await;
    world.wait_for(|| held.under_way() == 1).await;
    append(&wal, 1..101).await;
    let past = 1 + writer::AHEAD as usize;
    world.wait_for(|| held.began() == past && held.under_way() == 1).await;
    tokio::time::sleep(world.config.batch.linger * 10).await;
    assert_eq!(held.began(), past, "25 whole inserts wait");
    held.free.notify_one();
    world.wait_for(|| wal.health().lag.is_none()).await;
    held.clickhouse.assert_stored("points", &(0..101).flat_map(|n| ids(n, 5)).collect::<Vec<_>>());
}

#[test]
fn simulated_clocks_do_not_matter_to_tokens() {
    // Two opens within the same millisecond still get different epochs.
    let world = World::new();
    let first = world.open().shared.epoch;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let second = runtime.block_on(async { world.reopen().await.shared.epoch });
    assert_ne!(first, second);
    let _: &SimulatedClock = &world.clock;
}
