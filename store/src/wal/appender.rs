//! The one thread that writes segments. In: encoded records; out: their durability. Whatever waits while a group is being fsynced
//! makes the next group, so that a quiet log answers after one fsync and a busy one shares it. A record is handed to the writer, and
//! its sender answered, after the fsync and never before.

use std::io;
use std::sync::Arc;

use model::sink::Refusal;
use model::time::Stopwatch;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::caps::{self, Usage};
use super::file::AppendFile;
use super::record::EncodedRecord;
use super::requests::Claim;
use super::sink::Shared;
use super::{lock, segments};

/// One batch on its way to the disk.
#[derive(Debug)]
pub struct Job {
    /// What to write.
    pub record: EncodedRecord,
    /// The right to write it, if its protocol resends.
    pub claim: Option<Claim>,
    /// Its share of the memory for what waits.
    pub permit: OwnedSemaphorePermit,
    /// Whether it frees more than it takes: then the caps do not hold it up.
    pub frees: bool,
    /// Who waits for the answer.
    pub reply: oneshot::Sender<Result<(), Refusal>>,
}

/// A group is closed at this size, so that nobody waits long behind a flood.
const GROUP_BYTES: usize = 16 << 20;

/// The segment that is being written.
struct Active {
    number: u64,
    file: AppendFile,
    stamp: u64,
}

/// Runs until the queue is closed and empty; then closes the segment.
pub fn run(shared: &Arc<Shared>, mut queue: mpsc::Receiver<Job>) {
    let mut active = None;
    while let Some(first) = queue.blocking_recv() {
        let mut bytes = first.record.frame.len();
        let mut group = vec![first];
        while bytes < GROUP_BYTES {
            let Ok(next) = queue.try_recv() else { break };
            bytes += next.record.frame.len();
            group.push(next);
        }
        write_group(shared, &mut active, group);
        if active.as_ref().is_some_and(|segment| segment.file.len() >= shared.config.segment_bytes) {
            seal(shared, active.take());
        }
    }
    seal(shared, active);
}

fn seal(shared: &Shared, active: Option<Active>) {
    if let Some(active) = active {
        // Where that fails, the rest is taken for a torn end at the next start: nothing of it counts.
        if let Err(error) = active.file.trim() {
            tracing::warn!(%error, segment = active.number, "the rest of a segment that was written over could not be cut off");
        }
        shared.segments.seal(active.number);
        shared.retire();
    }
}

fn write_group(shared: &Shared, active: &mut Option<Active>, group: Vec<Job>) {
    let mut group = admitted(shared, group);
    if group.is_empty() {
        return;
    }
    let watch = Stopwatch::start();
    let outcome = write(shared, active, &mut group);
    shared.metrics.fsync.observe(watch.elapsed().as_secs_f64());
    match outcome {
        Ok((number, start)) => confirm(shared, number, start, group),
        Err(error) => {
            tracing::error!(%error, batches = group.len(), "the write-ahead log could not be written; the batches are refused");
            lock(&shared.trouble).disk = Some(error.to_string());
            for job in group {
                // The error itself cannot be shared out: each gets its kind and text.
                let copy = io::Error::new(error.kind(), error.to_string());
                refuse(job, Refusal::Io(copy));
            }
        }
    }
}

/// The jobs that are within the limits; the others are answered.
fn admitted(shared: &Shared, group: Vec<Job>) -> Vec<Job> {
    let totals = shared.segments.totals();
    let mut usage = Usage { bytes: totals.bytes, blocks: totals.blocks, disk_free: shared.disk_free() };
    let mut kept = Vec::with_capacity(group.len());
    for job in group {
        let bytes = job.record.frame.len() as u64;
        let refusal = if job.frees { None } else { shared.caps.admit(usage, bytes).err() };
        match refusal {
            None => {
                usage.bytes += bytes;
                usage.blocks += job.record.meta.blocks.len() as u64;
                usage.disk_free = usage.disk_free.map(|free| free.saturating_sub(bytes));
                kept.push(job);
            }
            Some(refusal) => refuse(job, refusal),
        }
    }
    kept
}

/// Writes all records; returns the segment and where in it they start.
fn write(shared: &Shared, active: &mut Option<Active>, group: &mut [Job]) -> io::Result<(u64, u64)> {
    let segment = match active {
        Some(segment) => segment,
        None => active.insert(begin(shared)?),
    };
    #[cfg(test)]
    segment.file.faults.extend(lock(&shared.faults).drain(..));
    let start = segment.file.len();
    for job in group.iter_mut() {
        super::frame::stamp(&mut job.record.frame, segment.stamp);
    }
    let parts: Vec<&[u8]> = group.iter().map(|job| job.record.frame.as_slice()).collect();
    segment.file.append(&parts)?;
    Ok((segment.number, start))
}

fn begin(shared: &Shared) -> io::Result<Active> {
    let number = shared.next_segment.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    lock(&shared.log).next_segment(number);
    let dir = shared.segments.dir();
    let path = segments::path(dir, number);
    let recycled = shared.segments.take_spare().and_then(|spare| {
        let header = segments::header(shared.epoch, number, true);
        let file = AppendFile::recycle(&spare, &path, &header);
        file.inspect_err(|error| tracing::warn!(%error, "a segment that is done could not be written over")).ok()
    });
    let file = match recycled {
        Some(file) => file,
        None => AppendFile::create(&path, &segments::header(shared.epoch, number, false))?,
    };
    shared.segments.add(number, file.len(), 0, false, Vec::new())?;
    Ok(Active { number, file, stamp: segments::stamp(shared.epoch, number) })
}

/// Everything that follows from "it is on disk", the answer last.
fn confirm(shared: &Shared, number: u64, mut start: u64, group: Vec<Job>) {
    lock(&shared.trouble).disk = None;
    for job in group {
        let length = job.record.frame.len() as u64;
        let meta = &job.record.meta;
        shared.segments.appended(number, length, meta);
        for (table, block) in meta.placed(number, start + super::frame::HEADER as u64) {
            shared.enqueue(table, block);
        }
        start += length;
        if let Some(claim) = job.claim {
            claim.accepted(shared.clock.steady());
        }
        drop(job.permit);
        // A sender that went away needs no answer.
        let _ = job.reply.send(Ok(()));
    }
    shared.refresh_gauges();
}

fn refuse(job: Job, refusal: Refusal) {
    drop((job.claim, job.permit));
    let _ = job.reply.send(Err(refusal));
}

impl Shared {
    /// What the disk has left; unknown (and logged) where the system does not say.
    pub(crate) fn disk_free(&self) -> Option<u64> {
        caps::disk_free(&self.config.dir)
            .inspect_err(|error| tracing::warn!(%error, "cannot find out how much space the disk has left"))
            .ok()
    }
}
