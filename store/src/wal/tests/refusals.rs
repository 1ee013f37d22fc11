//! Refused means: nothing of it is stored, and the sender is told why and when to come back.

use std::sync::Arc;
use std::time::Duration;

use model::columns::Column;
use model::sink::{Appended, Refusal, TelemetrySink};

use super::fake::{ClickHouse, World, batch, ids};
use crate::wal::file::Fault;
use crate::wal::{OpenError, lock};

#[tokio::test(flavor = "multi_thread")]
async fn over_its_cap_the_log_refuses_and_takes_again_when_there_is_room() {
    let mut world = World::new();
    world.config.max_bytes = 6_000;
    let wal = world.open();
    let mut accepted = Vec::new();
    let refusal = loop {
        let n = accepted.len() as u64;
        match wal.append(batch(&ids(n, 3), Some(n))).await {
            Ok(_) => accepted.push(n),
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(refusal, Refusal::LogFull { cap: 6_000, .. }), "{refusal:?}");
    assert!(refusal.retry_after() > Duration::ZERO);
    assert!(world.counter("watchfire_wal_bytes") <= 6_000.0);
    assert_eq!(world.counter("watchfire_wal_refused_total"), 1.0);
    let clickhouse = Arc::new(ClickHouse::default());
    wal.start_writer(clickhouse.clone());
    world.wait_for(|| wal.health().lag.is_none()).await;
    let n = accepted.len() as u64;
    assert_eq!(wal.append(batch(&ids(n, 3), Some(n))).await.unwrap(), Appended::Durable, "the same request, refused before");
    wal.stop(Duration::from_secs(20)).await;
    clickhouse.assert_stored("points", &(0..=n).flat_map(|n| ids(n, 3)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_refuses() {
    let mut world = World::new();
    world.config.disk_reserve_bytes = u64::MAX;
    let wal = world.open();
    let refusal = wal.append(batch(&ids(1, 1), None)).await.unwrap_err();
    assert!(matches!(refusal, Refusal::DiskFull { reserve: u64::MAX, .. }), "{refusal:?}");
    assert_eq!(wal.shared.segments.totals().blocks, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_block_refs_refuse_too() {
    let mut world = World::new();
    world.config.max_blocks = 4;
    let wal = world.open();
    wal.append(batch(&ids(1, 1), None)).await.unwrap();
    wal.append(batch(&ids(2, 1), None)).await.unwrap();
    assert!(matches!(wal.append(batch(&ids(3, 1), None)).await, Err(Refusal::LogFull { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_too_much_waits_for_the_disk_it_is_busy() {
    let mut world = World::new();
    world.config.waiting_bytes = 4 * 1024;
    let wal = world.open();
    let (held, hold) = std::sync::mpsc::sync_channel::<()>(0);
    let shared = Arc::clone(&wal.shared);
    // The appender needs the batch log to begin a segment: as long as this holds it, it stands still.
    let (ready, is_held) = tokio::sync::oneshot::channel();
    let holder = std::thread::spawn(move || {
        let _log = lock(&shared.log);
        ready.send(()).unwrap();
        hold.recv().unwrap();
    });
    is_held.await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..20 {
        let wal = wal.clone();
        waiting.spawn(async move { wal.append(batch(&ids(n, 5), None)).await });
    }
    let first = waiting.join_next().await.unwrap().unwrap();
    assert!(matches!(first, Err(Refusal::Busy { .. })), "{first:?}");
    held.send(()).unwrap();
    holder.join().unwrap();
    let mut accepted = 0;
    while let Some(outcome) = waiting.join_next().await {
        accepted += usize::from(outcome.unwrap().is_ok());
    }
    assert!(accepted > 0, "what waited was written in the end");
    wal.append(batch(&ids(99, 5), None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_refuses_its_group_and_leaves_nothing_of_it() {
    let world = World::new();
    let wal = world.open();
    wal.append(batch(&ids(1, 2), Some(1))).await.unwrap();
    for fault in [vec![Fault::Write(100)], vec![Fault::Sync], vec![Fault::Sync, Fault::Repair]] {
        *lock(&wal.shared.faults) = fault;
        let refusal = wal.append(batch(&ids(2, 2), Some(2))).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Io(_)), "{refusal:?}");
        assert!(wal.health().disk_error.is_some());
    }
    // The sender comes back with the same request.
    assert_eq!(wal.append(batch(&ids(2, 2), Some(2))).await.unwrap(), Appended::Durable);
    assert!(wal.health().is_ok());
    drop(wal);
    let (wal, report) = world.reopen_report().await;
    assert_eq!((report.blocks, report.torn, report.damaged), (4, 0, 0));
    let clickhouse = Arc::new(ClickHouse::default());
    wal.start_writer(clickhouse.clone());
    wal.stop(Duration::from_secs(20)).await;
    clickhouse.assert_stored("points", &[ids(1, 2), ids(2, 2)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_log_that_cannot_be_written_delays_and_is_said() {
    let world = World::new();
    let wal = world.open();
    wal.append(batch(&ids(1, 2), None)).await.unwrap();
    // Longer than anyone would read: it clears itself once the faults are used up.
    lock(&wal.shared.log).file.faults.extend([Fault::Write(3), Fault::Sync, Fault::Sync, Fault::Repair, Fault::Repair, Fault::Sync]);
    let clickhouse = Arc::new(ClickHouse::default());
    wal.start_writer(clickhouse.clone());
    world.wait_for(|| wal.health().disk_error.is_some() || clickhouse.calls() > 0).await;
    world.wait_for(|| wal.health().lag.is_none()).await;
    wal.stop(Duration::from_secs(20)).await;
    assert_eq!(wal.health().disk_error, None);
    clickhouse.assert_stored("points", &ids(1, 2));
    clickhouse.assert_stored("histograms", &ids(1, 2));
    drop(wal);
    let (_, report) = world.reopen_report().await;
    assert_eq!((report.blocks, report.unfinished, report.damaged), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_many_times_at_once_is_written_once() {
    let world = World::new();
    let wal = world.open();
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let wal = wal.clone();
        senders.spawn(async move { wal.append(batch(&ids(1, 2), Some(1))).await.unwrap() });
    }
    let outcomes = senders.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Appended::Durable).count(), 1);
    assert_eq!(wal.shared.segments.totals().blocks, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_log_and_a_bad_block_refuse() {
    let world = World::new();
    let wal = world.open();
    let mut bad = batch(&ids(1, 2), Some(1));
    bad.blocks[0].columns[0] = Column::UInt8(vec![1, 2]);
    assert!(matches!(wal.append(bad).await, Err(Refusal::Block(_))));
    assert_eq!(wal.append(batch(&ids(1, 2), Some(1))).await.unwrap(), Appended::Durable, "the refused one left no trace");
    assert_eq!(wal.append(batch(&[], Some(9))).await.unwrap(), Appended::Durable, "nothing to write");
    let report = wal.stop(Duration::from_secs(5)).await;
    assert_eq!(report.unwritten_blocks, 2, "without a writer the rows stay for the next start");
    assert!(matches!(wal.append(batch(&ids(2, 2), None)).await, Err(Refusal::Stopping)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_one_user_and_a_newer_format_is_refused_with_a_sentence() {
    let world = World::new();
    let wal = world.open();
    assert!(matches!(world.try_open(), Err(OpenError::InUse { .. })));
    wal.append(batch(&ids(1, 2), None)).await.unwrap();
    drop(wal);
    drop(world.reopen().await);
    let path = &world.list("segments", "wal")[0];
    let mut bytes = std::fs::read(path).unwrap();
    bytes[8] = 9;
    let checksum = crc32c::crc32c(&bytes[..40]);
    bytes[40..44].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
    let error = loop {
        match world.try_open() {
            Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
            other => break other.unwrap_err(),
        }
    };
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("start the newer version again"), "{error:?}");
}
