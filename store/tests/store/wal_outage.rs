//! A day without ClickHouse, on a clock that does not wait: within its cap the log keeps everything, past it it refuses and says when to come
//! again; afterwards every acknowledged row is stored once, and rows that arrive while it catches up do not wait for the backlog.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::columns::{Column, TableSpec};
use model::ids::RandomIds;
use model::sink::{Appended, Batch, Refusal, RequestHash, TelemetrySink};
use model::tables::LOGS;
use model::tenant::TenantId;
use model::time::{Clock, SimulatedClock, Timestamp};
use store::wal::{BlockInsert, InsertError, Wal, WalConfig};
use tokio::sync::watch;

use super::samples::{START_SECS, block_of};

/// Rows of a batch.
const ROWS: usize = 40;
/// Between batches.
const MINUTE: Duration = Duration::from_secs(60);

/// ClickHouse, that keeps its promise about tokens, and cannot be reached for a while.
struct Far {
    reachable: watch::Receiver<bool>,
    calls: AtomicU64,
    tokens: Mutex<HashSet<String>>,
    /// How often the rows of each batch are stored, and how many inserts there had been.
    stored: Mutex<BTreeMap<u32, usize>>,
    order: Mutex<Vec<Vec<u32>>>,
}

#[async_trait]
impl BlockInsert for Far {
    async fn insert(&self, table: &'static TableSpec, token: &str, bytes: Bytes) -> Result<(), InsertError> {
        if !*self.reachable.borrow() {
            // Half of the time nobody answers at all.
            if self.calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                std::future::pending::<()>().await;
            }
            return Err(InsertError { retryable: true, message: "connection refused".into() });
        }
        // A second for each insert: there is more to catch up with than comes in meanwhile.
        tokio::time::sleep(Duration::from_secs(1)).await;
        if !self.tokens.lock().unwrap().insert(token.to_owned()) {
            return Ok(());
        }
        let plain = store::native::packed::unpack(&bytes).unwrap();
        let mut numbers = Vec::new();
        for block in store::native::decode(&plain, table).unwrap() {
            let Column::UInt32(flags) = &block.columns[table.position("flags").unwrap()] else { panic!() };
            numbers.extend(flags);
        }
        let mut stored = self.stored.lock().unwrap();
        numbers.iter().for_each(|number| *stored.entry(*number).or_default() += 1);
        numbers.dedup();
        self.order.lock().unwrap().push(numbers);
        Ok(())
    }
}

fn batch(number: u32, now: Timestamp) -> Batch {
    let mut block = block_of(&LOGS, ROWS, number.into());
    block.columns[LOGS.position("flags").unwrap()] = Column::UInt32(vec![number; ROWS]);
    let request = Some(RequestHash::of("test", &number.to_le_bytes()));
    Batch { tenant: TenantId::default(), request, arrived: now, blocks: vec![block] }
}

fn open(dir: &std::path::Path, clock: Arc<SimulatedClock>) -> Wal {
    let mut config = WalConfig::new(dir.join("wal"), "node-1");
    config.disk_reserve_bytes = 0;
    config.segment_bytes = 256 << 10;
    config.max_bytes = 4 << 20;
    config.batch.rows = 400;
    Wal::open(config, clock, &RandomIds, &prometheus::Registry::new()).map(|(wal, _)| wal).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_day_without_clickhouse_is_kept_refused_and_caught_up_with() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_secs(START_SECS)));
    let (reach, reachable) = watch::channel(false);
    let far =
        Arc::new(Far { reachable, calls: AtomicU64::new(0), tokens: Mutex::default(), stored: Mutex::default(), order: Mutex::default() });
    let wal = open(dir.path(), clock.clone());
    wal.start_writer(far.clone());
    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    for minute in 0..24 * 60 {
        match wal.append(batch(minute, clock.now())).await {
            Ok(Appended::Durable) => acknowledged.push(minute),
            Ok(Appended::Duplicate) => panic!("{minute} came once"),
            Err(Refusal::LogFull { used, cap, retry_after }) => {
                assert!(used <= cap + (64 << 10) && !retry_after.is_zero(), "{used} of {cap}, again after {retry_after:?}");
                refused.push(minute);
            }
            Err(other) => panic!("{other}"),
        }
        clock.advance(MINUTE);
        tokio::time::sleep(MINUTE).await;
    }
    assert!(acknowledged.len() > 100 && refused.len() > 100, "{} kept, {} refused", acknowledged.len(), refused.len());
    assert!(acknowledged.last() < refused.first(), "what came first was kept, and nothing made room");
    assert!(far.calls.load(Ordering::SeqCst) > 100, "it was tried again and again");
    assert!(wal.health().lag.is_some_and(|lag| lag > Duration::from_secs(23 * 3_600)));
    assert!(far.stored.lock().unwrap().is_empty());

    // Back again. What was refused is sent again by its senders, beside what is new.
    reach.send(true).unwrap();
    let fresh = 1_000_000..1_000_100;
    let (mut again, mut waiting) = (refused.into_iter(), None);
    for number in fresh.clone() {
        while let Err(refusal) = wal.append(batch(number, clock.now())).await {
            clock.advance(refusal.retry_after());
            tokio::time::sleep(refusal.retry_after()).await;
        }
        acknowledged.push(number);
        waiting = waiting.or_else(|| again.next());
        if let Some(number) = waiting
            && wal.append(batch(number, clock.now())).await.is_ok()
        {
            acknowledged.push(number);
            waiting = None;
        }
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(wal.stop(Duration::from_secs(24 * 3_600)).await.unwritten_blocks, 0);
    let stored = far.stored.lock().unwrap();
    let wrong: Vec<_> = acknowledged.iter().filter(|number| stored.get(number) != Some(&ROWS)).collect();
    assert!(wrong.is_empty(), "not stored once: {wrong:?}");
    assert_eq!(stored.len(), acknowledged.len(), "nothing is stored that was not acknowledged");
    // The newest rows come before the end of the backlog.
    let order = far.order.lock().unwrap();
    let first_of = |wanted: u32| order.iter().position(|numbers| numbers.contains(&wanted)).unwrap();
    let backlog_ends = order.iter().rposition(|numbers| numbers.iter().any(|number| *number < 24 * 60)).unwrap();
    assert!(first_of(fresh.start) < backlog_ends / 2, "fresh rows were insert {} of a backlog of {backlog_ends}", first_of(fresh.start));
}
