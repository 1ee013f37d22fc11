//! The log as the rest of the program sees it: the intake port, the age of stored data, health, and the stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use model::columns::{TableSpec, spare};
use model::query::{Freshness, QueryError};
use model::sink::{Appended, Batch, Refusal, TelemetrySink};
use model::tables;
use model::tail::TailPolicy;
use model::time::{Clock, Timestamp};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::appender::Job;
use super::batchlog::{BatchLog, Planned};
use super::caps::{Caps, Usage};
use super::lanes::Lanes;
use super::metrics::Metrics;
use super::record::{BlockRef, EncodedRecord, Scratch};
use super::requests::{Admission, Claim, Requests};
use super::segments::Segments;
use super::writer::{AHEAD, INSERTS};
use super::{WalConfig, lock, tail, writer};
use crate::native;

/// The write-ahead log. Clones share it.
#[derive(Clone, Debug)]
pub struct Wal {
    pub(crate) shared: Arc<Shared>,
    pub(crate) running: Arc<Running>,
}

/// What runs, for the stop.
#[derive(Debug)]
pub(crate) struct Running {
    pub queue: Mutex<Option<mpsc::Sender<Job>>>,
    pub appender: Mutex<Option<JoinHandle<()>>>,
    pub writers: Mutex<JoinSet<()>>,
}

/// What the parts share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub config: WalConfig,
    pub clock: Arc<dyn Clock>,
    pub caps: Caps,
    pub metrics: Metrics,
    /// New at every start, so that no token is ever used twice.
    pub epoch: u128,
    pub segments: Segments,
    pub next_segment: AtomicU64,
    pub log: Mutex<BatchLog>,
    pub queues: BTreeMap<u16, TableQueue>,
    pub requests: Arc<Requests>,
    pub waiting: Arc<Semaphore>,
    pub encoders: Semaphore,
    /// As many as there are encoders at most.
    pub scratch: Mutex<Vec<Scratch>>,
    pub unfinished: Mutex<Vec<Planned>>,
    pub next_batch: AtomicU64,
    pub newest: Mutex<BTreeMap<u16, Timestamp>>,
    pub trouble: Mutex<Trouble>,
    /// Which traces are kept; none: all.
    pub tail: Mutex<Option<Arc<TailPolicy>>>,
    pub stopping: AtomicBool,
    pub draining: watch::Sender<bool>,
    pub quarantine: PathBuf,
    /// Held open: the lock on the folder.
    pub _folder_lock: std::fs::File,
    /// What the next write of a segment meets.
    #[cfg(test)]
    pub faults: Mutex<Vec<super::file::Fault>>,
}

/// The blocks of one table that wait for ClickHouse.
#[derive(Debug)]
pub(crate) struct TableQueue {
    pub table: &'static TableSpec,
    pub lanes: Mutex<Lanes>,
    /// A block came: whoever makes inserts of whatever there is.
    pub wake: Notify,
    /// There is a whole insert: whoever makes whole inserts only.
    pub whole: Notify,
    /// The inserts that are under way.
    pub under_way: Mutex<UnderWay>,
}

/// The inserts of a table that are under way, by their place.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    places: [Option<Begun>; INSERTS],
    /// How many were begun.
    begun: u64,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    /// Which one it is.
    number: u64,
    /// Arrival of the oldest block that was not stored when it began.
    oldest: Option<Timestamp>,
}

impl UnderWay {
    /// Whether another one may begin. ClickHouse knows the tokens of the last thousand inserts only: past one that may have to be sent
    /// again there are few, so that its token is known then.
    pub fn may_begin(&self) -> bool {
        self.places.iter().flatten().all(|one| self.begun - one.number < AHEAD)
    }
    /// One began, with rows as old as this.
    pub fn begin(&mut self, place: usize, oldest: Option<Timestamp>) {
        self.begun += 1;
        self.places[place] = Some(Begun { number: self.begun, oldest });
    }
    /// It is stored, or set aside.
    pub fn end(&mut self, place: usize) {
        self.places[place] = None;
    }
    /// Arrival of the oldest block in them.
    fn oldest(&self) -> Option<Timestamp> {
        self.places.iter().flatten().filter_map(|one| one.oldest).min()
    }
}

impl TableQueue {
    /// Nothing waits.
    pub fn new(table: &'static TableSpec) -> Self {
        let (lanes, under_way) = (Mutex::new(Lanes::default()), Mutex::default());
        TableQueue { table, lanes, wake: Notify::new(), whole: Notify::new(), under_way }
    }
}

/// What is wrong right now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    pub disk: Option<String>,
    /// Of a table, and of which of its inserts that may be under way.
    pub inserts: BTreeMap<(&'static str, usize), String>,
    pub quarantined: u64,
    pub damaged: u64,
}

/// How the log is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct WalHealth {
    /// Age of the oldest durable row that ClickHouse does not hold yet; `None` if it holds them all.
    pub lag: Option<Duration>,
    /// The same without spans of traces that are still decided about.
    pub behind: Option<Duration>,
    /// Bytes in the segments.
    pub bytes: u64,
    /// The configured cap.
    pub max_bytes: u64,
    /// Inserts in quarantine: rows that were accepted and that a person must look at.
    pub quarantined: u64,
    /// Damaged places found in the log since the start.
    pub damaged: u64,
    /// Why the disk cannot be written, if it cannot.
    pub disk_error: Option<String>,
    /// Table -> why its insert keeps failing.
    pub insert_errors: BTreeMap<&'static str, String>,
}

impl WalHealth {
    /// Whether a person should look.
    pub fn is_ok(&self) -> bool {
        self.quarantined == 0 && self.damaged == 0 && self.disk_error.is_none() && self.insert_errors.is_empty()
    }
}

/// What the stop left behind. Everything in it is on disk and will be sent at the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopReport {
    /// Blocks that ClickHouse has not confirmed.
    pub unwritten_blocks: u64,
}

impl Wal {
    /// Starts to send what is durable; what an earlier run planned and did not finish goes first, unchanged. Call it once, inside a
    /// tokio runtime, when ClickHouse's tables exist.
    pub fn start_writer(&self, insert: Arc<dyn super::BlockInsert>) {
        let mut unfinished: BTreeMap<u16, Vec<Planned>> = BTreeMap::new();
        {
            let mut planned = lock(&self.shared.unfinished);
            for planned in planned.iter() {
                unfinished.entry(planned.table).or_default().push(planned.clone());
            }
            // They are under way before they are no longer unfinished: the lag never misses one.
            for (table, list) in &unfinished {
                if let Some(queue) = self.shared.queues.get(table) {
                    lock(&queue.under_way).begin(0, list.iter().filter_map(Planned::oldest).min());
                }
            }
            planned.clear();
        }
        let mut writers = lock(&self.running.writers);
        let to_send = self.shared.queues.keys().filter(|number| !tables::LOG_ONLY.iter().any(|table| table.number == **number));
        for number in to_send {
            let (shared, insert) = (Arc::clone(&self.shared), Arc::clone(&insert));
            for place in 1..INSERTS {
                writers.spawn(writer::run(Arc::clone(&shared), *number, Arc::clone(&insert), place, Vec::new()));
            }
            writers.spawn(writer::run(shared, *number, insert, 0, unfinished.remove(number).unwrap_or_default()));
        }
        writers.spawn(writer::housekeeping(Arc::clone(&self.shared)));
        if let Some(queue) = lock(&self.running.queue).as_ref() {
            writers.spawn(tail::run(Arc::clone(&self.shared), queue.downgrade()));
        }
    }

    /// How it is doing.
    pub fn health(&self) -> WalHealth {
        let totals = self.shared.segments.totals();
        let trouble = lock(&self.shared.trouble).clone();
        WalHealth {
            lag: self.shared.lag(),
            behind: self.shared.behind(),
            bytes: totals.bytes,
            max_bytes: self.shared.config.max_bytes,
            quarantined: trouble.quarantined,
            damaged: trouble.damaged,
            disk_error: trouble.disk,
            insert_errors: trouble.inserts.into_iter().map(|((table, _), error)| (table, error)).collect(),
        }
    }

    /// What ClickHouse already held at start (`max(received)` by table name), for [`Freshness`]. Never moves a time back.
    pub fn seed_freshness(&self, stored: impl IntoIterator<Item = (String, Timestamp)>) {
        for (name, at) in stored {
            if let Some(table) = tables::ALL.iter().find(|table| table.name == name) {
                self.shared.stored(table.number, at);
            }
        }
    }

    /// Refuses what comes from now on, makes what waits durable, and sends what is durable for at most `grace`.
    pub async fn stop(&self, grace: Duration) -> StopReport {
        self.shared.stopping.store(true, Ordering::SeqCst);
        lock(&self.running.queue).take();
        let appender = lock(&self.running.appender).take();
        if let Some(appender) = appender
            && !matches!(tokio::task::spawn_blocking(move || appender.join()).await, Ok(Ok(())))
        {
            tracing::error!("the thread that writes the log ended badly");
        }
        self.shared.draining.send_replace(true);
        let mut writers = std::mem::take(&mut *lock(&self.running.writers));
        let all = async { while writers.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!("not everything was sent within the grace time; it will be sent at the next start");
        }
        writers.shutdown().await;
        self.shared.refresh_gauges();
        StopReport { unwritten_blocks: self.shared.segments.totals().blocks }
    }

    async fn claim(&self, batch: &Batch) -> Result<Option<Claim>, Appended> {
        let Some(hash) = batch.request else { return Ok(None) };
        loop {
            match self.shared.requests.admit((batch.tenant.clone(), hash.0), self.shared.clock.steady()) {
                Admission::First(claim) => return Ok(Some(claim)),
                Admission::Duplicate => return Err(Appended::Duplicate),
                Admission::Wait(mut outcome) => {
                    if outcome.wait_for(Option::is_some).await.is_ok_and(|stored| *stored == Some(true)) {
                        return Err(Appended::Duplicate);
                    }
                }
            }
        }
    }

    async fn write(&self, batch: Batch, claim: Option<Claim>) -> Result<Appended, Refusal> {
        let shared = &self.shared;
        let retry_after = shared.config.retry_after;
        let size: usize = batch.blocks.iter().map(native::size_hint).sum();
        let totals = shared.segments.totals();
        shared.caps.admit(Usage { bytes: totals.bytes, blocks: totals.blocks, disk_free: None }, 0)?;
        let kib = permits(size as u64).min(permits(shared.config.waiting_bytes));
        let permit = Arc::clone(&shared.waiting).try_acquire_many_owned(kib).map_err(|_| Refusal::Busy { retry_after })?;
        let record = {
            let _turn = shared.encoders.acquire().await.map_err(|_| Refusal::Stopping)?;
            let own = Arc::clone(shared);
            tokio::task::spawn_blocking(move || own.encode(batch)).await.map_err(|error| Refusal::Io(std::io::Error::other(error)))??
        };
        let queue = lock(&self.running.queue).clone().ok_or(Refusal::Stopping)?;
        let (reply, answer) = oneshot::channel();
        queue.send(Job { record, claim, permit, frees: false, reply }).await.map_err(|_| Refusal::Stopping)?;
        drop(queue);
        match answer.await {
            Ok(Ok(())) => Ok(Appended::Durable),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(Refusal::Io(std::io::Error::other("the thread that writes the log is gone"))),
        }
    }
}

/// Permits of one KiB each.
pub(crate) fn permits(bytes: u64) -> u32 {
    u32::try_from((bytes / 1024).max(1)).unwrap_or(u32::MAX).min(1 << 28)
}

#[async_trait]
impl TelemetrySink for Wal {
    async fn append(&self, batch: Batch) -> Result<Appended, Refusal> {
        if batch.blocks.iter().all(|block| block.rows() == 0) {
            return Ok(Appended::Durable);
        }
        if self.shared.stopping.load(Ordering::SeqCst) {
            self.shared.metrics.refused(&Refusal::Stopping);
            return Err(Refusal::Stopping);
        }
        let claim = match self.claim(&batch).await {
            Ok(claim) => claim,
            Err(duplicate) => {
                self.shared.metrics.duplicates.inc();
                return Ok(duplicate);
            }
        };
        self.write(batch, claim).await.inspect_err(|refusal| self.shared.metrics.refused(refusal))
    }

    fn set_tail_policy(&self, policy: Option<Arc<TailPolicy>>) {
        *lock(&self.shared.tail) = policy;
    }
}

#[async_trait]
impl Freshness for Wal {
    async fn newest(&self) -> Result<Vec<(String, Option<Timestamp>)>, QueryError> {
        let newest = lock(&self.shared.newest);
        Ok(tables::ALL.iter().map(|table| (table.name.to_owned(), newest.get(&table.number).copied())).collect())
    }
}

impl Shared {
    /// The record of a batch. Its columns serve the next request.
    fn encode(&self, batch: Batch) -> Result<EncodedRecord, Refusal> {
        let mut scratch = lock(&self.scratch).pop().unwrap_or_default();
        let record = scratch.encode(&batch);
        batch.blocks.into_iter().for_each(spare::give);
        let mut kept = lock(&self.scratch);
        if kept.len() < self.config.encoders {
            kept.push(scratch);
        }
        record
    }

    /// A block became durable.
    pub fn enqueue(&self, table: u16, block: BlockRef) {
        if let Some(queue) = self.queues.get(&table) {
            let whole = {
                let mut lanes = lock(&queue.lanes);
                lanes.push_fresh(block);
                lanes.has_whole(&self.config.batch)
            };
            queue.wake.notify_one();
            if whole {
                queue.whole.notify_one();
            }
        }
    }

    /// ClickHouse holds a row of the table that arrived then.
    pub fn stored(&self, table: u16, at: Timestamp) {
        let mut newest = lock(&self.newest);
        let known = newest.entry(table).or_insert(at);
        *known = at.max(*known);
    }

    /// Age of the oldest durable row that is not stored.
    pub fn lag(&self) -> Option<Duration> {
        self.lag_of(|_| true)
    }

    /// The same without spans of traces that are still decided about: those wait on purpose.
    pub fn behind(&self) -> Option<Duration> {
        self.lag_of(|table| table != tables::UNDECIDED_SPANS.number)
    }

    fn lag_of(&self, counts: impl Fn(u16) -> bool) -> Option<Duration> {
        let oldest = self.queues.iter().filter(|(table, _)| counts(**table)).filter_map(|(_, queue)| {
            let waiting = lock(&queue.lanes).oldest();
            let under_way = lock(&queue.under_way).oldest();
            [waiting, under_way].into_iter().flatten().min()
        });
        let unfinished = lock(&self.unfinished).iter().filter_map(Planned::oldest).min();
        oldest.chain(unfinished).min().map(|oldest| self.clock.now().since(oldest))
    }

    /// Removes segments that are done; trouble with it is logged and tried again later.
    pub fn retire(&self) {
        match self.segments.retire() {
            Ok(gone) => lock(&self.log).forget(&gone),
            Err(error) => tracing::warn!(%error, "a segment that is done could not be removed"),
        }
        self.refresh_gauges();
    }

    /// Sets the gauges.
    pub fn refresh_gauges(&self) {
        let totals = self.segments.totals();
        self.metrics.bytes.set(i64::try_from(totals.bytes).unwrap_or(i64::MAX));
        self.metrics.segments.set(i64::try_from(totals.segments).unwrap_or(i64::MAX));
        self.metrics.blocks.set(i64::try_from(totals.blocks).unwrap_or(i64::MAX));
        self.metrics.lag.set(self.lag().unwrap_or_default().as_secs_f64());
    }
}
