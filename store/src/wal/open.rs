//! Opening the log: lock the folder, read what is there, decide what is still to be sent, begin a new epoch.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::ids::IdSource;
use model::tables;
use model::time::Clock;
use prometheus::Registry;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::batchlog::{self, BatchLog};
use super::caps::Caps;
use super::file::sync_folder;
use super::metrics::Metrics;
use super::replay::{self, ReplayError};
use super::requests::Requests;
use super::segments::{self, Note, Segments};
use super::sink::{Running, Shared, TableQueue, Trouble, permits};
use super::tail::{self, Settled};
use super::{Wal, WalConfig, appender, lock, quarantine};

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be used.
    #[error("the write-ahead log in {} cannot be used", dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("the write-ahead log in {} is in use by another process: stop that one, or configure another folder", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// A segment cannot be read.
    #[error("segment {number} of the write-ahead log in {} cannot be read", dir.display())]
    Segment {
        /// The folder.
        dir: PathBuf,
        /// Its number.
        number: u64,
        /// Why.
        #[source]
        source: ReplayError,
    },
    /// The metrics are registered already.
    #[error("the metrics of the write-ahead log cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Segments of earlier runs.
    pub segments: u64,
    /// Blocks that are to be batched anew.
    pub blocks: u64,
    /// Inserts that were planned and not finished: they go out unchanged.
    pub unfinished: u64,
    /// Segments whose end was cut short by a crash.
    pub torn: u64,
    /// Damaged places.
    pub damaged: u64,
}

/// What the segments of earlier runs hold.
struct Found {
    queues: BTreeMap<u16, TableQueue>,
    requests: Vec<Note>,
    next_segment: u64,
    report: OpenReport,
    /// Blocks of undecided spans that are decided, and the decisions about them, by segment: they are done.
    settled: Settled,
}

impl Wal {
    /// Opens the log in `config.dir`; the epoch comes from the clock and `ids`. Reads every segment, so it blocks for a while after an
    /// outage (about a second per GiB): call it off the async threads. Accepts at once; sends after [`Wal::start_writer`].
    pub fn open(config: WalConfig, clock: Arc<dyn Clock>, ids: &dyn IdSource, registry: &Registry) -> Result<(Wal, OpenReport), OpenError> {
        let dir = config.dir.clone();
        let io = |source| OpenError::Io { dir: dir.clone(), source };
        let folder_lock = prepare(&config.dir)?;
        let segments = Segments::new(dir.join("segments"), dir.join("aside"), config.request_window, Arc::clone(&clock));
        segments.forget_spares().map_err(io)?;
        let (state, damage) = batchlog::load(&dir.join("batches")).map_err(io)?;
        let mut found = read_segments(&segments, &state, &dir, clock.steady())?;
        found.report.damaged += damage;
        for (number, notes) in segments.kept_requests().map_err(io)? {
            found.next_segment = found.next_segment.max(number + 1);
            found.requests.extend(notes);
        }
        let requests = Requests::new(config.request_window, config.max_requests);
        // The newest last: past the cap the oldest are forgotten.
        found.requests.sort_by_key(|note| note.arrived);
        found.requests.drain(..).for_each(|note| requests.remember(note.key, note.accepted));
        let mut state = batchlog::State { next_segment: found.next_segment, ..state };
        for (segment, offsets) in std::mem::take(&mut found.settled) {
            state.done.entry(segment).or_default().extend(offsets);
        }
        let state = live(state, &segments);
        let unfinished: Vec<_> = state.open.values().cloned().collect();
        found.report.unfinished = unfinished.len() as u64;
        let log = BatchLog::begin(&dir.join("batches"), state).map_err(io)?;
        let metrics = Metrics::new(registry)?;
        metrics.torn.inc_by(found.report.torn);
        metrics.corrupt.inc_by(found.report.damaged);
        let quarantine = dir.join("quarantine");
        let trouble =
            Trouble { quarantined: quarantine::count(&quarantine).map_err(io)?, damaged: found.report.damaged, ..Trouble::default() };
        let millis = u128::try_from(clock.now().millis().max(0)).unwrap_or(0);
        let shared = Arc::new(Shared {
            caps: Caps {
                bytes: config.max_bytes,
                blocks: config.max_blocks,
                disk_reserve: config.disk_reserve_bytes,
                retry_after: config.retry_after,
            },
            waiting: Arc::new(Semaphore::new(permits(config.waiting_bytes) as usize)),
            encoders: Semaphore::new(config.encoders.max(1)),
            scratch: Mutex::default(),
            epoch: millis << 80 | (ids.random() & ((1 << 80) - 1)),
            metrics,
            segments,
            next_segment: AtomicU64::new(found.next_segment),
            log: Mutex::new(log),
            queues: found.queues,
            requests,
            unfinished: Mutex::new(unfinished),
            next_batch: AtomicU64::new(0),
            newest: Mutex::default(),
            trouble: Mutex::new(trouble),
            tail: Mutex::default(),
            stopping: false.into(),
            draining: watch::channel(false).0,
            quarantine,
            _folder_lock: folder_lock,
            config,
            clock,
            #[cfg(test)]
            faults: Mutex::default(),
        });
        shared.retire();
        let wal = start_appender(shared).map_err(io)?;
        Ok((wal, found.report))
    }
}

fn start_appender(shared: Arc<Shared>) -> io::Result<Wal> {
    let (queue, jobs) = mpsc::channel(4096);
    let own = Arc::clone(&shared);
    let appender = std::thread::Builder::new().name("wal-appender".into()).spawn(move || appender::run(&own, jobs))?;
    let running = Running { queue: Mutex::new(Some(queue)), appender: Mutex::new(Some(appender)), writers: Mutex::new(JoinSet::new()) };
    Ok(Wal { shared, running: Arc::new(running) })
}

/// Makes the folders and takes the lock.
fn prepare(dir: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { dir: dir.to_owned(), source };
    for name in ["segments", "batches", "aside", "quarantine"] {
        fs::create_dir_all(dir.join(name)).map_err(io)?;
    }
    sync_folder(&dir.join("segments")).and_then(|()| sync_folder(dir)).map_err(io)?;
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Reads all segments; what the batch log does not know goes into the queues as backlog.
fn read_segments(segments: &Segments, state: &batchlog::State, dir: &Path, now: Duration) -> Result<Found, OpenError> {
    let io = |source| OpenError::Io { dir: dir.to_owned(), source };
    let queues: BTreeMap<u16, TableQueue> =
        tables::ALL.iter().chain(&tables::LOG_ONLY).map(|table| (table.number, TableQueue::new(table))).collect();
    let next_segment = state.next_segment;
    let mut found = Found { queues, requests: Vec::new(), next_segment, report: OpenReport::default(), settled: Settled::new() };
    let mut planned: BTreeMap<u64, HashSet<u64>> = BTreeMap::new();
    for block in state.open.values().flat_map(|planned| &planned.blocks) {
        planned.entry(block.segment).or_default().insert(block.offset);
    }
    let mut all = Vec::new();
    for number in segments::numbered(segments.dir(), "wal").map_err(io)? {
        found.next_segment = found.next_segment.max(number + 1);
        let replayed =
            replay::read(segments.dir(), number, now).map_err(|source| OpenError::Segment { dir: dir.to_owned(), number, source })?;
        let Some(replayed) = replayed else {
            fs::remove_file(segments::path(segments.dir(), number)).map_err(io)?;
            continue;
        };
        tail::settled(&segments::path(segments.dir(), number), &replayed.blocks, &mut found.settled).map_err(io)?;
        all.push((number, replayed));
    }
    for (number, replayed) in all {
        let known = state.done.get(&number).into_iter().chain(found.settled.get(&number));
        let done: HashSet<u64> = known.flatten().copied().collect();
        let planned = planned.remove(&number).unwrap_or_default();
        // What was planned holds the segment until it is settled, even where it can no longer be read.
        let mut pending = planned.len() as u64;
        for (table, block) in replayed.blocks {
            if !done.contains(&block.offset)
                && !planned.contains(&block.offset)
                && let Some(queue) = found.queues.get(&table.number)
            {
                lock(&queue.lanes).push_backlog(block);
                pending += 1;
                found.report.blocks += 1;
            }
        }
        segments.add(number, replayed.bytes, pending, replayed.damage > 0, replayed.requests.clone()).map_err(io)?;
        segments.seal(number);
        found.requests.extend(replayed.requests);
        found.report.segments += 1;
        found.report.torn += u64::from(replayed.torn);
        found.report.damaged += replayed.damage;
    }
    Ok(found)
}

/// The part of the state that still matters: what is known of segments that exist, and every batch that is not done.
fn live(mut state: batchlog::State, segments: &Segments) -> batchlog::State {
    state.done.retain(|number, _| segments.has(*number));
    state
}
