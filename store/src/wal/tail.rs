//! Tail sampling: spans wait in the log until their trace is decided ([`decide`]), longest for the time of the policy. In: blocks of
//! [`tables::UNDECIDED_SPANS`] that are durable. Out: a record with the spans that are kept, which names the blocks that it decides: one
//! frame, so a crash leaves either the blocks, which are decided again, or the record, which settles them. A block that is kept whole is
//! sent as it stands. Memory: what [`decide::Memory`] holds, a place per block, and the blocks of one decision. Fails: never loses a
//! span; what cannot be written now waits.

pub(crate) mod decide;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::columns::{Column, TableBlock, TableSpec};
use model::sink::{Batch, Refusal};
use model::tables::{SPANS, TAIL_DECISIONS, UNDECIDED_SPANS};
use model::tail::TailPolicy;
use model::tenant::TenantId;
use tokio::sync::{mpsc, oneshot};

use super::appender::Job;
use super::record::{self, BlockRef, EncodedRecord};
use super::sink::{Shared, permits};
use super::{lock, writer};
use crate::native;
use decide::{Facts, Fate, Memory};

/// Segment -> offsets of blocks that are decided.
pub(crate) type Settled = BTreeMap<u64, Vec<u64>>;

/// How often it looks whether a decision is due.
const TICK: Duration = Duration::from_millis(200);

/// Adds what the decisions in a segment settle, and the decisions themselves. What cannot be read settles nothing.
pub(crate) fn settled(path: &Path, blocks: &[(&'static TableSpec, BlockRef)], to: &mut Settled) -> io::Result<()> {
    let mut decisions = blocks.iter().filter(|(table, _)| table.number == TAIL_DECISIONS.number).map(|(_, block)| block).peekable();
    if decisions.peek().is_none() {
        return Ok(());
    }
    let file = File::open(path)?;
    for decision in decisions {
        let mut bytes = vec![0; decision.length as usize];
        file.read_exact_at(&mut bytes, decision.offset)?;
        let Some(rows) = unpacked(&bytes, &TAIL_DECISIONS) else { continue };
        for block in rows {
            if let [Column::UInt64(segments), Column::UInt64(offsets)] = block.columns.as_slice() {
                segments.iter().zip(offsets).for_each(|(segment, offset)| to.entry(*segment).or_default().push(*offset));
            }
        }
        to.entry(decision.segment).or_default().push(decision.offset);
    }
    Ok(())
}

/// The blocks in packed bytes; `None` where they are of another version's columns.
fn unpacked(bytes: &[u8], table: &'static TableSpec) -> Option<Vec<TableBlock>> {
    let plain = native::packed::unpack(bytes).ok()?;
    native::decode(&plain, table).inspect_err(|error| tracing::warn!(%error, "spans that wait cannot be looked into: all are kept")).ok()
}

/// What is known between looks.
struct State {
    memory: Memory,
    /// Blocks whose spans were noted, the oldest first.
    held: VecDeque<BlockRef>,
    rows: u64,
}

impl State {
    fn push(&mut self, block: BlockRef) {
        self.rows += u64::from(block.rows);
        self.held.push_back(block);
    }
    /// Traces and spans that wait.
    fn waiting(&self) -> (usize, u64) {
        (self.memory.waiting(), self.rows)
    }
    fn pop(&mut self) -> Option<BlockRef> {
        let block = self.held.pop_front()?;
        self.rows = self.rows.saturating_sub(u64::from(block.rows));
        Some(block)
    }
}

/// What a look came to.
#[derive(Default)]
struct Decision {
    record: Option<EncodedRecord>,
    settled: Vec<BlockRef>,
    /// Kept whole.
    whole: Vec<BlockRef>,
    /// Their bytes went bad.
    lost: Vec<BlockRef>,
    fates: HashMap<&'static str, u64>,
    kept: u64,
    dropped: u64,
}

/// The task. Ends when the log stops; what waits then waits for the next start.
pub(crate) async fn run(shared: Arc<Shared>, queue: mpsc::WeakSender<Job>) {
    let Some(waiting) = shared.queues.get(&UNDECIDED_SPANS.number) else { return };
    let mut draining = shared.draining.subscribe();
    let mut state: Option<Arc<Mutex<State>>> = None;
    loop {
        let policy = lock(&shared.tail).clone();
        let fresh = lock(&waiting.lanes).take(&shared.config.batch);
        let more = !fresh.is_empty();
        match policy {
            None => pass(&shared, state.take(), fresh),
            Some(policy) => {
                let now = shared.clock.now();
                let known = state.get_or_insert_with(|| {
                    Arc::new(Mutex::new(State { memory: Memory::new(&policy, now), held: VecDeque::new(), rows: 0 }))
                });
                note(&shared, known, &policy, fresh).await;
                while due(&shared, &lock(known), &policy) {
                    if !decide(&shared, &queue, known, &policy).await {
                        break;
                    }
                }
                let (traces, spans) = lock(known).waiting();
                shared.metrics.tail.waiting(traces, spans);
            }
        }
        if *draining.borrow() {
            return;
        }
        if !more {
            tokio::select! {
                () = waiting.wake.notified() => {}
                () = tokio::time::sleep(TICK) => {}
                _ = draining.changed() => {}
            }
        }
    }
}

/// Without a policy everything is kept.
fn pass(shared: &Shared, state: Option<Arc<Mutex<State>>>, fresh: Vec<BlockRef>) {
    if let Some(state) = state {
        let mut state = lock(&state);
        while let Some(block) = state.pop() {
            send_whole(shared, block);
        }
        shared.metrics.tail.waiting(0, 0);
    }
    fresh.into_iter().for_each(|block| send_whole(shared, block));
}

/// A block's bytes are those of spans: it is sent as it stands. Its age counts from now, because until now it was to wait.
fn send_whole(shared: &Shared, block: BlockRef) {
    shared.enqueue(SPANS.number, BlockRef { arrived: shared.clock.now(), ..block });
}

/// Whether the oldest block is to be decided: its time has come, or there is too much that waits.
fn due(shared: &Shared, state: &State, policy: &TailPolicy) -> bool {
    let Some(oldest) = state.held.front() else { return false };
    if shared.clock.now().since(oldest.arrived) >= policy.wait {
        return true;
    }
    let early = crowded(shared, state, policy);
    if early {
        shared.metrics.tail.early.inc();
    }
    early
}

fn crowded(shared: &Shared, state: &State, policy: &TailPolicy) -> bool {
    let (totals, config) = (shared.segments.totals(), &shared.config);
    state.memory.waiting() > policy.max_traces || totals.bytes > config.max_bytes / 2 || totals.blocks > config.max_blocks / 2
}

/// Notes the spans of blocks that came.
async fn note(shared: &Arc<Shared>, state: &Arc<Mutex<State>>, policy: &Arc<TailPolicy>, blocks: Vec<BlockRef>) {
    if blocks.is_empty() {
        return;
    }
    let wanted = blocks.clone();
    let read = writer::persist(shared, "reading spans that wait", move |shared| {
        let one = |block: &BlockRef| {
            let mut bytes = Vec::new();
            shared.segments.read(block, &mut bytes).map(|whole| (*block, whole.then_some(bytes)))
        };
        wanted.iter().map(one).collect::<io::Result<Vec<_>>>()
    })
    .await;
    let (own, known, policy) = (Arc::clone(shared), Arc::clone(state), Arc::clone(policy));
    let noted = tokio::task::spawn_blocking(move || {
        let (mut state, now, mut lost) = (lock(&known), own.clock.now(), Vec::new());
        for (block, bytes) in read {
            match bytes.map(|bytes| unpacked(&bytes, &UNDECIDED_SPANS)) {
                Some(Some(found)) => {
                    found.iter().for_each(|rows| each(rows, |_, facts| state.memory.note(&policy, facts, now)));
                    state.push(block);
                }
                Some(None) => send_whole(&own, block),
                None => lost.push(block),
            }
        }
        lost
    });
    match noted.await {
        Ok(lost) if lost.is_empty() => {}
        Ok(lost) => writer::lose(shared, lost).await,
        Err(error) => tracing::error!(%error, "spans that wait could not be noted because of a defect; the next start takes them up"),
    }
}

/// Decides the oldest blocks; false where that must be tried again later.
async fn decide(shared: &Arc<Shared>, queue: &mpsc::WeakSender<Job>, state: &Arc<Mutex<State>>, policy: &Arc<TailPolicy>) -> bool {
    let group = group(shared, &mut lock(state), policy);
    let (own, policy, blocks) = (Arc::clone(state), Arc::clone(policy), group.clone());
    let decision = tokio::task::spawn_blocking({
        let shared = Arc::clone(shared);
        move || look(&shared, &mut lock(&own), &policy, &blocks)
    })
    .await
    .map_err(io::Error::other)
    .flatten();
    let mut decision = match decision {
        Ok(decision) => decision,
        Err(error) => {
            tracing::error!(%error, "spans that wait could not be decided; trying again");
            give_back(state, &group);
            return false;
        }
    };
    for (label, traces) in &decision.fates {
        shared.metrics.tail.traces.with_label_values(&[label]).inc_by(*traces);
    }
    if let Some(record) = decision.record.take() {
        if let Err(refusal) = append(shared, queue, record).await {
            if !matches!(refusal, Refusal::Stopping) {
                tracing::error!(%refusal, "a decision about traces could not be written; trying again");
            }
            give_back(state, &group);
            return false;
        }
        settle(shared, std::mem::take(&mut decision.settled)).await;
    }
    decision.whole.iter().for_each(|block| send_whole(shared, *block));
    shared.metrics.tail.spans.with_label_values(&["kept"]).inc_by(decision.kept);
    shared.metrics.tail.spans.with_label_values(&["dropped"]).inc_by(decision.dropped);
    if !decision.lost.is_empty() {
        writer::lose(shared, decision.lost).await;
    }
    true
}

/// The oldest blocks that are due, up to an insert's size, at least one.
fn group(shared: &Shared, state: &mut State, policy: &TailPolicy) -> Vec<BlockRef> {
    let (limits, now) = (&shared.config.batch, shared.clock.now());
    let (mut group, mut rows, mut bytes) = (Vec::new(), 0, 0);
    while let Some(next) = state.held.front() {
        let (more_rows, more_bytes) = (rows + u64::from(next.rows), bytes + u64::from(next.length));
        let fits = more_rows <= limits.rows && more_bytes <= limits.bytes && now.since(next.arrived) >= policy.wait;
        if !group.is_empty() && !fits {
            break;
        }
        (rows, bytes) = (more_rows, more_bytes);
        group.extend(state.pop());
    }
    group
}

fn give_back(state: &Mutex<State>, group: &[BlockRef]) {
    let mut state = lock(state);
    for block in group.iter().rev() {
        state.rows += u64::from(block.rows);
        state.held.push_front(*block);
    }
}

/// Decides the traces of some blocks. What was decided stays so, also where writing it fails.
fn look(shared: &Shared, state: &mut State, policy: &TailPolicy, group: &[BlockRef]) -> io::Result<Decision> {
    let (mut decision, now) = (Decision::default(), shared.clock.now());
    let (mut kept, mut decisions) = (TableBlock::new(&SPANS), TableBlock::new(&TAIL_DECISIONS));
    for block in group {
        let mut bytes = Vec::new();
        if !shared.segments.read(block, &mut bytes)? {
            decision.lost.push(*block);
            continue;
        }
        let Some(found) = unpacked(&bytes, &UNDECIDED_SPANS) else {
            decision.whole.push(*block);
            continue;
        };
        let mut weights = Vec::with_capacity(found.len());
        for rows in &found {
            let mut of_rows = vec![0u32; rows.rows()];
            each(rows, |row, facts| {
                let (fate, is_new) = state.memory.fate(policy, facts.trace, now);
                if is_new {
                    *decision.fates.entry(fate.label()).or_default() += 1;
                }
                of_rows[row] = fate.weight();
            });
            weights.push(of_rows);
        }
        let all = weights.iter().flatten();
        let left = all.clone().filter(|weight| **weight > 0).count() as u64;
        decision.kept += left;
        decision.dropped += u64::from(block.rows).saturating_sub(left);
        if all.clone().all(|weight| *weight == 1) {
            decision.whole.push(*block);
            continue;
        }
        found.iter().zip(&weights).for_each(|(rows, weights)| keep(rows, weights, &mut kept));
        if let [Column::UInt64(segments), Column::UInt64(offsets)] = decisions.columns.as_mut_slice() {
            segments.push(block.segment);
            offsets.push(block.offset);
        }
        decision.settled.push(*block);
    }
    if !decision.settled.is_empty() {
        let batch = Batch { tenant: TenantId::default(), request: None, arrived: now, blocks: vec![kept, decisions] };
        decision.record = Some(record::encode(&batch).map_err(io::Error::other)?);
    }
    Ok(decision)
}

/// What counts of each span of a block.
fn each(block: &TableBlock, mut take: impl FnMut(usize, &Facts<'_>)) {
    let column = |name: &str| SPANS.position(name).and_then(|at| block.columns.get(at));
    let (
        Some(Column::LowCardinality(tenants)),
        Some(Column::LowCardinality(services)),
        Some(Column::LowCardinality(names)),
        Some(Column::Fixed { width, bytes: traces }),
        Some(Column::UInt64(durations)),
        Some(Column::UInt8(statuses)),
    ) = (column("tenant"), column("service"), column("name"), column("trace_id"), column("duration"), column("status"))
    else {
        return;
    };
    let [tenant_keys, service_keys, name_keys]: [Vec<&[u8]>; 3] = [tenants, services, names].map(|words| words.keys().iter().collect());
    for (row, trace_id) in traces.chunks_exact((*width).max(1)).enumerate() {
        let tenant = tenant_keys[tenants.rows()[row] as usize];
        let facts = Facts {
            trace: decide::trace_key(tenant, trace_id),
            error: statuses[row] == ERROR,
            duration: durations[row],
            service: service_keys[services.rows()[row] as usize],
            name: name_keys[names.rows()[row] as usize],
        };
        take(row, &facts);
    }
}

/// OTLP's number of a failed span.
const ERROR: u8 = 2;

/// Appends the spans with a weight, each of which stands for that many times what it stood for.
fn keep(rows: &TableBlock, weights: &[u32], to: &mut TableBlock) {
    let kept: Vec<bool> = weights.iter().map(|weight| *weight > 0).collect();
    let rate = SPANS.position("sample_rate");
    for (at, (from, to)) in rows.columns.iter().zip(&mut to.columns).enumerate() {
        let before = to.rows();
        to.append_rows(from, &kept);
        if Some(at) == rate
            && let Column::UInt32(rates) = to
        {
            let weights = weights.iter().filter(|weight| **weight > 0);
            rates[before..].iter_mut().zip(weights).for_each(|(rate, weight)| *rate = rate.saturating_mul(*weight));
        }
    }
}

async fn append(shared: &Arc<Shared>, queue: &mpsc::WeakSender<Job>, record: EncodedRecord) -> Result<(), Refusal> {
    let kib = permits(record.frame.len() as u64).min(permits(shared.config.waiting_bytes));
    let permit = Arc::clone(&shared.waiting).acquire_many_owned(kib).await.map_err(|_| Refusal::Stopping)?;
    let (reply, answer) = oneshot::channel();
    // Not held on to: the log ends when nobody can send to it any more.
    let queue = queue.upgrade().ok_or(Refusal::Stopping)?;
    queue.send(Job { record, claim: None, permit, frees: true, reply }).await.map_err(|_| Refusal::Stopping)?;
    drop(queue);
    answer.await.map_err(|_| Refusal::Stopping)?
}

/// Logs that the blocks are decided and lets go of them; then the decision itself need not be read again.
async fn settle(shared: &Arc<Shared>, mut settled: Vec<BlockRef>) {
    if let Some(queue) = shared.queues.get(&TAIL_DECISIONS.number) {
        let mut lanes = lock(&queue.lanes);
        loop {
            let decisions = lanes.take(&shared.config.batch);
            if decisions.is_empty() {
                break;
            }
            settled.extend(decisions);
        }
    }
    let logged = settled.clone();
    writer::persist(shared, "logging decisions about traces", move |shared| lock(&shared.log).blocks_done(&logged)).await;
    writer::release(shared, settled).await;
}

impl Fate {
    /// All that a trace can become, by label.
    pub(crate) const LABELS: [&'static str; 6] = ["error", "slow", "rare", "unsure", "share", "dropped"];
}
