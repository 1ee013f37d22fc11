//! From durable blocks to stored rows: tasks per table join blocks into inserts, logs each before it is sent, and sends it until
//! ClickHouse has it. The same list and bytes go out under the same token every time. An insert that can never succeed is kept in
//! quarantine; nothing is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::columns::TableSpec;
use model::time::Stopwatch;
use tokio::sync::watch;

use super::batchlog::Planned;
use super::lanes::Lanes;
use super::record::BlockRef;
use super::sink::{Shared, TableQueue};
use super::{lock, quarantine};

/// Where inserts go: ClickHouse.
#[async_trait]
pub trait BlockInsert: Send + Sync {
    /// Inserts packed Native blocks (`native::packed`) into the table under a deduplication token. Returns after ClickHouse confirmed that they are durable;
    /// a token that it has seen is confirmed without storing anything.
    async fn insert(&self, table: &'static TableSpec, token: &str, bytes: Bytes) -> Result<(), InsertError>;
}

/// Why an insert was not confirmed. It may have been stored all the same.
#[derive(Clone, Debug, thiserror::Error)]
#[error("ClickHouse did not take the rows: {message}")]
pub struct InsertError {
    /// Whether the same insert may succeed later. If in doubt, yes.
    pub retryable: bool,
    /// What ClickHouse or the connection said.
    pub message: String,
}

/// Inserts of one table that may be under way at the same time: ClickHouse takes each with one core. The first is made of whatever there
/// is when it is time, the others only where a whole one waits, so that a table with few rows gets no more parts than it needs.
pub(crate) const INSERTS: usize = 2;
/// How many inserts of a table may begin past one that is not confirmed. Each may be of several partitions (days), and each of those
/// takes one of the thousand tokens that ClickHouse remembers of a table (`non_replicated_deduplication_window`).
pub(crate) const AHEAD: u64 = 8;

/// A task of one table; `place` is below [`INSERTS`]. Ends when the log is draining and nothing waits. What is `unfinished` is under way
/// already.
pub(crate) async fn run(shared: Arc<Shared>, table: u16, insert: Arc<dyn BlockInsert>, place: usize, unfinished: Vec<Planned>) {
    let Some(queue) = shared.queues.get(&table) else { return };
    let writer = Writer { shared: &shared, queue, insert: insert.as_ref(), place };
    if !unfinished.is_empty() {
        for planned in unfinished {
            writer.resume(planned).await;
        }
        writer.ended();
    }
    let mut draining = shared.draining.subscribe();
    loop {
        let blocks = if place == 0 { writer.next(&mut draining).await } else { writer.whole(&mut draining).await };
        let Some(blocks) = blocks else { return };
        if let Some((planned, bytes)) = plan(&shared, queue, blocks).await {
            writer.deliver(planned, bytes).await;
        }
        writer.ended();
    }
}

/// One place of a table.
struct Writer<'w> {
    shared: &'w Arc<Shared>,
    queue: &'w TableQueue,
    insert: &'w dyn BlockInsert,
    place: usize,
}

impl Writer<'_> {
    /// Waits until an insert is due: enough rows, a backlog, a second after the first block, or the end.
    async fn next(&self, draining: &mut watch::Receiver<bool>) -> Option<Vec<BlockRef>> {
        let limits = &self.shared.config.batch;
        let mut linger = None;
        loop {
            let expired = linger.as_ref().is_some_and(|pause: &std::pin::Pin<Box<tokio::time::Sleep>>| pause.is_elapsed());
            let ending = *draining.borrow();
            {
                let mut lanes = lock(&self.queue.lanes);
                let waits = !lanes.is_empty();
                if waits
                    && (ending || expired || lanes.is_due(limits))
                    && let Some(blocks) = self.take(&mut lanes)
                {
                    return Some(blocks);
                }
                if ending && !waits {
                    return None;
                }
                match (waits, expired) {
                    // Others took what it was for, or it is over and another insert has to end first: that one wakes this.
                    (false, _) | (true, true) => linger = None,
                    (true, false) => linger = linger.or_else(|| Some(Box::pin(tokio::time::sleep(limits.linger)))),
                }
            }
            tokio::select! {
                () = self.queue.wake.notified() => {}
                _ = draining.changed() => {}
                () = async { match linger.as_mut() { Some(pause) => pause.await, None => std::future::pending().await } } => {}
            }
        }
    }

    /// Waits until there is a whole insert; none once the log is draining and there is no whole one left.
    async fn whole(&self, draining: &mut watch::Receiver<bool>) -> Option<Vec<BlockRef>> {
        loop {
            let ending = *draining.borrow();
            {
                let mut lanes = lock(&self.queue.lanes);
                let whole = lanes.has_whole(&self.shared.config.batch);
                if whole && let Some(blocks) = self.take(&mut lanes) {
                    return Some(blocks);
                }
                if ending && !whole {
                    return None;
                }
            }
            tokio::select! {
                () = self.queue.whole.notified() => {}
                _ = draining.changed() => {}
            }
        }
    }

    /// Takes the blocks of the next insert and lets another place know where there are enough for one more. None where it may not begin yet.
    fn take(&self, lanes: &mut Lanes) -> Option<Vec<BlockRef>> {
        let limits = &self.shared.config.batch;
        {
            let mut under_way = lock(&self.queue.under_way);
            if !under_way.may_begin() {
                return None;
            }
            under_way.begin(self.place, lanes.oldest());
        }
        let blocks = lanes.take(limits);
        if lanes.has_whole(limits) {
            self.queue.whole.notify_one();
        }
        Some(blocks)
    }

    /// Its insert is over; whoever waited for that goes on.
    fn ended(&self) {
        lock(&self.queue.under_way).end(self.place);
        self.queue.wake.notify_one();
        self.queue.whole.notify_one();
    }

    /// Sends a batch of an earlier run again: the very same bytes, or none.
    async fn resume(&self, planned: Planned) {
        let wanted = planned.clone();
        let (bytes, same) = persist(self.shared, "reading a batch again", move |shared| {
            let mut bytes = Vec::with_capacity(wanted.bytes());
            for block in &wanted.blocks {
                if !shared.segments.read(block, &mut bytes)? {
                    shared.segments.damaged(block.segment);
                }
            }
            let same = crc32c::crc32c(&bytes) == wanted.checksum;
            Ok((Bytes::from(bytes), same))
        })
        .await;
        if same {
            self.deliver(planned, bytes).await;
        } else {
            let reason = "the segment was damaged after the insert was first sent: it may be stored whole or not at all, and sending what \
                          is left could store rows twice. Look whether rows of this time are there";
            self.set_aside(planned, bytes, reason.to_owned()).await;
        }
    }

    /// Sends until ClickHouse has it, or refuses it for good.
    async fn deliver(&self, planned: Planned, bytes: Bytes) {
        let (shared, name) = (self.shared, self.queue.table.name);
        let (mut pause, longest) = shared.config.retry;
        let mut refusals = 0;
        loop {
            let error = match self.attempt(&planned, bytes.clone()).await {
                Ok(()) => {
                    lock(&shared.trouble).inserts.remove(&(name, self.place));
                    shared.metrics.rows.with_label_values(&[name]).inc_by(planned.rows());
                    return finish(shared, self.queue, planned, true).await;
                }
                Err(error) => error,
            };
            refusals = if error.retryable { 0 } else { refusals + 1 };
            if refusals >= FINAL_AFTER {
                return self.set_aside(planned, bytes, error.message).await;
            }
            tracing::warn!(table = name, token = planned.token, rows = planned.rows(), %error, "insert failed; sending it again");
            lock(&shared.trouble).inserts.insert((name, self.place), error.message);
            shared.metrics.retries.with_label_values(&[name]).inc();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn attempt(&self, planned: &Planned, bytes: Bytes) -> Result<(), InsertError> {
        let (shared, queue, watch) = (self.shared, self.queue, Stopwatch::start());
        let limit = shared.config.insert_timeout;
        let outcome = tokio::time::timeout(limit, self.insert.insert(queue.table, &planned.token, bytes)).await;
        shared.metrics.insert.with_label_values(&[queue.table.name]).observe(watch.elapsed().as_secs_f64());
        outcome.unwrap_or_else(|_| Err(InsertError { retryable: true, message: format!("no answer within {limit:?}") }))
    }

    /// Keeps a batch that cannot be stored.
    async fn set_aside(&self, planned: Planned, bytes: Bytes, reason: String) {
        let (shared, name) = (self.shared, self.queue.table.name);
        tracing::error!(
            table = name,
            token = planned.token,
            rows = planned.rows(),
            reason,
            "an insert was refused for good; its rows are in quarantine"
        );
        let kept = planned.clone();
        persist(shared, "keeping a batch in quarantine", move |shared| quarantine::keep(&shared.quarantine, &kept, name, &bytes, &reason))
            .await;
        shared.metrics.quarantined.with_label_values(&[name]).inc();
        {
            let mut trouble = lock(&shared.trouble);
            trouble.quarantined += 1;
            trouble.inserts.remove(&(name, self.place));
        }
        finish(shared, self.queue, planned, false).await;
    }
}

/// Once a second: gauges; once a minute: request files that no longer count.
pub(crate) async fn housekeeping(shared: Arc<Shared>) {
    let mut draining = shared.draining.subscribe();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    for second in 0u64.. {
        tokio::select! {
            _ = tick.tick() => {}
            _ = draining.wait_for(|draining| *draining) => return,
        }
        shared.refresh_gauges();
        if second % 60 == 0 {
            let shared = Arc::clone(&shared);
            let done = tokio::task::spawn_blocking(move || {
                shared.retire();
                shared.segments.forget_requests()
            });
            if let Ok(Err(error)) = done.await {
                tracing::warn!(%error, "old request hashes could not be removed");
            }
        }
    }
}

/// Runs blocking work of the log until it succeeds: a full or failing disk delays, it loses nothing.
pub(crate) async fn persist<T: Send + 'static>(
    shared: &Arc<Shared>,
    what: &'static str,
    work: impl Fn(&Shared) -> std::io::Result<T> + Send + Sync + 'static,
) -> T {
    let work = Arc::new(work);
    let (mut pause, longest) = shared.config.retry;
    let mut failed = false;
    loop {
        let (own, work) = (Arc::clone(shared), Arc::clone(&work));
        let error = match tokio::task::spawn_blocking(move || work(&own)).await {
            Ok(Ok(done)) => {
                if failed {
                    lock(&shared.trouble).disk = None;
                }
                return done;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(error, what, "the log's own files cannot be used; trying again");
        lock(&shared.trouble).disk = Some(format!("{what}: {error}"));
        failed = true;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Reads the blocks, gives the batch its token and logs it. `None` if none of the blocks could be read.
async fn plan(shared: &Arc<Shared>, queue: &TableQueue, blocks: Vec<BlockRef>) -> Option<(Planned, Bytes)> {
    let number = shared.next_batch.fetch_add(1, Ordering::SeqCst);
    let token = format!("{}/{:032x}/{}/{number}", shared.config.node, shared.epoch, queue.table.name);
    let (bytes, whole, lost) = persist(shared, "reading a batch", move |shared| {
        let mut bytes = Vec::with_capacity(blocks.iter().map(|block| block.length as usize).sum());
        let (mut whole, mut lost) = (Vec::with_capacity(blocks.len()), Vec::new());
        for block in &blocks {
            if shared.segments.read(block, &mut bytes)? {
                whole.push(*block);
            } else {
                lost.push(*block);
            }
        }
        Ok((Bytes::from(bytes), whole, lost))
    })
    .await;
    if !lost.is_empty() {
        lose(shared, lost).await;
    }
    if whole.is_empty() {
        return None;
    }
    let planned = Planned { token, table: queue.table.number, checksum: crc32c::crc32c(&bytes), blocks: whole };
    let logged = planned.clone();
    persist(shared, "logging a batch", move |shared| lock(&shared.log).plan(logged.clone())).await;
    Some((planned, bytes))
}

/// Blocks whose bytes went bad on disk after they were acknowledged: counted, logged, their segments kept.
pub(crate) async fn lose(shared: &Arc<Shared>, lost: Vec<BlockRef>) {
    for block in &lost {
        tracing::error!(segment = block.segment, offset = block.offset, rows = block.rows, "accepted rows went bad on disk; segment kept");
        shared.segments.damaged(block.segment);
    }
    shared.metrics.corrupt.inc_by(lost.len() as u64);
    lock(&shared.trouble).damaged += lost.len() as u64;
    let logged = lost.clone();
    persist(shared, "logging what is lost", move |shared| lock(&shared.log).blocks_done(&logged)).await;
    release(shared, lost).await;
}

/// An insert goes to quarantine when ClickHouse has said this often in a row that it can never succeed: a connection that was cut
/// in the middle can look like bad data once.
const FINAL_AFTER: u32 = 3;

/// Logs that the batch is done and lets go of its blocks.
async fn finish(shared: &Arc<Shared>, queue: &TableQueue, planned: Planned, is_stored: bool) {
    if let (true, Some(newest)) = (is_stored, planned.newest()) {
        shared.stored(queue.table.number, newest);
    }
    let token = planned.token.clone();
    persist(shared, "logging that a batch is done", move |shared| lock(&shared.log).done(&token)).await;
    release(shared, planned.blocks).await;
}

/// Lets go of blocks that are done; segments that are done with them go.
pub(crate) async fn release(shared: &Arc<Shared>, blocks: Vec<BlockRef>) {
    let freed = Arc::clone(shared);
    let freeing = tokio::task::spawn_blocking(move || {
        freed.segments.complete(&blocks);
        freed.retire();
    });
    if let Err(error) = freeing.await {
        tracing::error!(%error, "segments that are done could not be let go");
    }
}
