//! Killed anywhere, damaged anywhere: what was acknowledged is stored exactly once, under the same tokens with the same bytes.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use model::sink::{Appended, TelemetrySink};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::fake::{ClickHouse, World, batch, ids};
use crate::wal::codec::Fields;
use crate::wal::frame::{Found, Scan};
use crate::wal::{Wal, frame, record, replay, segments};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Cuts the batch log where a crash may cut it: behind everything that something else on disk, or in ClickHouse, already follows from.
fn cut_batch_log(world: &World, rng: &mut StdRng) {
    let Some(path) = world.list("batches", "log").pop() else { return };
    let live: HashSet<u64> = segments::numbered(&world.config.dir.join("segments"), "wal").unwrap().into_iter().collect();
    let mut scan = Scan::new(File::open(&path).unwrap(), 0, Some(frame::NO_STAMP)).unwrap();
    let (mut keep, mut end, mut planned) = (0u64, 0u64, HashMap::<String, Vec<u64>>::new());
    while let Found::Record { at } = scan.next().unwrap() {
        end = at + scan.payload.len() as u64;
        let mut fields = Fields(&scan.payload);
        match fields.u8().unwrap() {
            5 => {
                let gone = planned.get(fields.text().unwrap()).is_some_and(|on| on.iter().any(|segment| !live.contains(segment)));
                keep = if gone { end } else { keep };
            }
            4 => {
                let token = fields.text().unwrap().to_owned();
                let (_, _, count) = (fields.u16().unwrap(), fields.u32().unwrap(), fields.u32().unwrap());
                let block = |fields: &mut Fields<'_>| {
                    let segment = fields.u64().unwrap();
                    fields.bytes(32).unwrap();
                    segment
                };
                planned.insert(token, (0..count).map(|_| block(&mut fields)).collect());
                keep = end;
            }
            _ => keep = end,
        }
    }
    File::options().write(true).open(&path).unwrap().set_len(rng.random_range(keep..=end)).unwrap();
}

/// Adds to the newest segment what a write that was never acknowledged may leave behind.
fn leave_unacknowledged(world: &World, n: u64, rng: &mut StdRng) -> bool {
    let Some(path) = world.list("segments", "wal").pop() else { return false };
    let frame = record::encode(&batch(&ids(n, 3), Some(n))).unwrap().frame;
    let cut = if rng.random_bool(0.2) { frame.len() } else { rng.random_range(0..frame.len()) };
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(&frame[..cut]);
    std::fs::write(&path, bytes).unwrap();
    true
}

async fn one_life(world: &World, wal: &Wal, clickhouse: &Arc<ClickHouse>, next: &mut u64, acknowledged: &mut Vec<u64>, rng: &mut StdRng) {
    if rng.random_bool(0.8) {
        wal.start_writer(clickhouse.clone());
    }
    // Resends: everything that was acknowledged is known.
    if let Some(n) = acknowledged.last() {
        assert_eq!(wal.append(batch(&ids(*n, 3), Some(*n))).await.unwrap(), Appended::Duplicate);
    }
    for _ in 0..rng.random_range(1..12) {
        let n = *next;
        *next += 1;
        wal.append(batch(&ids(n, 3), Some(n))).await.unwrap();
        acknowledged.push(n);
        for _ in 0..rng.random_range(0..6) {
            tokio::task::yield_now().await;
        }
    }
    // Somewhere in the middle of what the writer does.
    if rng.random_bool(0.7) {
        let calls = clickhouse.calls() + rng.random_range(0..4usize);
        let _ = tokio::time::timeout(Duration::from_millis(20), world.wait_for(|| clickhouse.calls() > calls)).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn killed_anywhere_every_acknowledged_row_is_stored_exactly_once(seed: u64) {
        runtime().block_on(async {
            let rng = &mut StdRng::seed_from_u64(seed);
            let world = World::new();
            let clickhouse = Arc::new(ClickHouse::failing(seed, rng.random_range(0.0..0.5), rng.random_range(0.0..0.5)));
            let (mut next, mut acknowledged, mut unanswered) = (1u64, Vec::new(), None);
            for _ in 0..rng.random_range(1..5) {
                let wal = world.reopen().await;
                // A sender that got no answer sends the same again, and then has one.
                if let Some(n) = Option::take(&mut unanswered) {
                    wal.append(batch(&ids(n, 3), Some(n))).await.unwrap();
                    acknowledged.push(n);
                }
                one_life(&world, &wal, &clickhouse, &mut next, &mut acknowledged, rng).await;
                drop(wal); // killed: no flush, no farewell
                drop(world.reopen().await); // waits until the last thread is gone; an open and a kill more
                while world.try_open().is_err() {
                    tokio::task::yield_now().await;
                }
                let registry_free = world.reopen().await;
                drop(registry_free);
                cut_batch_log(&world, rng);
                if leave_unacknowledged(&world, next, rng) {
                    unanswered = Some(next);
                    next += 1;
                }
            }
            let wal = world.reopen().await;
            if let Some(n) = unanswered {
                wal.append(batch(&ids(n, 3), Some(n))).await.unwrap();
                acknowledged.push(n);
            }
            clickhouse.heal();
            wal.start_writer(clickhouse.clone());
            let report = wal.stop(Duration::from_secs(30)).await;
            assert_eq!(report.unwritten_blocks, 0);
            let wanted: Vec<u64> = acknowledged.iter().flat_map(|n| ids(*n, 3)).collect();
            clickhouse.assert_stored("points", &wanted);
            clickhouse.assert_stored("histograms", &wanted);
            assert_eq!(wal.health().quarantined, 0);
            assert_eq!(world.files("segments", "wal"), 0);
            assert_eq!(world.files("aside", "wal"), 0);
        });
    }

    #[test]
    fn a_damaged_segment_costs_only_its_damaged_records_and_is_kept(seed: u64) {
        runtime().block_on(async {
            let rng = &mut StdRng::seed_from_u64(seed);
            let mut world = World::new();
            world.config.segment_bytes = 1 << 20;
            let wal = world.open();
            for n in 0..6 {
                wal.append(batch(&ids(n, 3), Some(n))).await.unwrap();
            }
            drop(wal);
            drop(world.reopen().await);
            let path = world.list("segments", "wal").remove(0);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = rng.random_range(segments::HEADER..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
            let (wal, _) = {
                // The log before may still hold the folder: damage only what nobody reads.
                drop(world.reopen().await);
                std::fs::write(&path, &bytes).unwrap();
                world.reopen_report().await
            };
            let clickhouse = Arc::new(ClickHouse::default());
            wal.start_writer(clickhouse.clone());
            assert_eq!(wal.stop(Duration::from_secs(30)).await.unwritten_blocks, 0);
            let stored = clickhouse.stored("points");
            assert_eq!(stored, clickhouse.stored("histograms"), "a record is whole or not there");
            assert_eq!(stored.len(), 5 * 3);
            // In the last record it looks like a write that was cut short.
            let torn = world.counter("watchfire_wal_torn_records_total");
            let corrupt = world.counter("watchfire_wal_corrupt_records_total");
            assert_eq!(torn + corrupt, 1.0);
            assert_eq!(world.files("aside", "wal"), corrupt as usize);
            assert_eq!(wal.health().is_ok(), corrupt == 0.0);
        });
    }
}

#[test]
fn a_segment_cut_at_every_byte_gives_its_whole_records() {
    let world = World::new();
    let stamped = |n| {
        let mut frame = record::encode(&batch(&ids(n, 2), Some(n))).unwrap().frame;
        frame::stamp(&mut frame, segments::stamp(1, 5));
        frame
    };
    let frames: Vec<Vec<u8>> = (0..3).map(stamped).collect();
    let mut bytes = segments::header(1, 5, false).to_vec();
    let mut ends = vec![bytes.len()];
    for frame in &frames {
        bytes.extend_from_slice(frame);
        ends.push(bytes.len());
    }
    let dir = world.dir.path();
    for cut in 0..=bytes.len() {
        std::fs::write(segments::path(dir, 5), &bytes[..cut]).unwrap();
        let Some(found) = replay::read(dir, 5, Duration::ZERO).unwrap() else {
            assert!(cut < segments::HEADER);
            continue;
        };
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!((found.blocks.len(), found.requests.len(), found.damage), (whole * 2, whole, 0), "cut at {cut}");
        assert_eq!(found.torn, !ends.contains(&cut));
        assert_eq!(std::fs::metadata(segments::path(dir, 5)).unwrap().len() as usize, ends[whole], "the torn end is cut off");
    }
}

#[test]
fn a_segment_written_over_another_gives_its_own_records_wherever_it_was_cut_short() {
    let world = World::new();
    let stamped = |n, number| {
        let mut frame = record::encode(&batch(&ids(n, 2), Some(n))).unwrap().frame;
        frame::stamp(&mut frame, segments::stamp(1, number));
        frame
    };
    let old = [segments::header(1, 4, false).to_vec(), stamped(7, 4), stamped(8, 4), stamped(9, 4)].concat();
    let new = [segments::header(1, 5, true).to_vec(), stamped(1, 5), stamped(2, 5)].concat();
    let first = segments::HEADER + stamped(1, 5).len();
    assert!(old.len() > new.len());
    let dir = world.dir.path();
    for written in segments::HEADER..=new.len() {
        let bytes = [&new[..written], &old[written..]].concat();
        std::fs::write(segments::path(dir, 5), &bytes).unwrap();
        let found = replay::read(dir, 5, Duration::ZERO).unwrap().unwrap();
        let whole = usize::from(written >= first) + usize::from(written == new.len());
        assert_eq!((found.requests.len(), found.damage, found.torn), (whole, 0, false), "written {written}");
    }
}

#[test]
fn blocks_that_go_bad_under_a_planned_batch_end_in_quarantine_and_take_nothing_else_along() {
    runtime().block_on(async {
        let mut world = World::new();
        world.config.segment_bytes = 1 << 20;
        let clickhouse = Arc::new(ClickHouse::failing(1, 1.0, 0.0));
        let wal = world.open();
        wal.append(batch(&ids(1, 3), None)).await.unwrap();
        wal.start_writer(clickhouse.clone());
        world.wait_for(|| clickhouse.calls() > 3).await;
        wal.append(batch(&ids(2, 3), None)).await.unwrap();
        drop(wal);
        drop(world.reopen().await);
        let path = world.list("segments", "wal").remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[segments::HEADER + 200] ^= 1;
        drop(world.reopen().await);
        std::fs::write(&path, &bytes).unwrap();
        let (wal, report) = world.reopen_report().await;
        assert_eq!((report.unfinished, report.damaged), (2, 1));
        clickhouse.heal();
        wal.start_writer(clickhouse.clone());
        assert_eq!(wal.stop(Duration::from_secs(30)).await.unwritten_blocks, 0);
        clickhouse.assert_stored("points", &ids(2, 3));
        assert!(wal.health().quarantined >= 1);
        assert_eq!(world.files("aside", "wal"), 1, "the damaged segment is kept");
    });
}
