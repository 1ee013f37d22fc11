//! A state store in memory, for the tests of the packages that decide (feature `testing`; never in a build that serves): records,
//! journal, work rows, the leader's token, one clock. In: commits. Out: what was committed. Fails on purpose: the process that uses
//! it "ends" in a chosen commit, before or after it takes effect, whatever was done in the world before; everything fails until
//! another process looks at it ([`Memory::revive`]).

#![allow(clippy::unwrap_used, clippy::expect_used)] // tests fail by panicking

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::event::{EventKind, Recorded};
use crate::ids::WorkId;
use crate::state::{
    Backlog, Commit, Expect, Fence, Journal, JournalQuery, Leases, Put, Record, RecordQuery, Records, StateError, WorkRows,
};
use crate::tenant::TenantId;
use crate::time::{Clock, SimulatedClock, Timestamp};
use crate::work::{Claim, FIRST_LEASE, Queue, Work, WorkChange, WorkQuery, WorkState};
use async_trait::async_trait;

/// At which commit the process ends, counted from 1 and from the moment at which this is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The commit does not take effect.
    Before(usize),
    /// The commit takes effect, and nobody hears of it.
    After(usize),
}

#[derive(Clone, Default)]
struct Data {
    records: Vec<Record>,
    journal: Vec<Recorded>,
    /// With the moment until which each row is held.
    work: Vec<(Work, Timestamp)>,
    claims: u64,
    /// The token of the present leader: commits under another one are refused.
    leader: u64,
    commits: usize,
}

/// The store. Whoever asks for a lease gets it.
pub struct Memory {
    data: Mutex<Data>,
    clock: Arc<SimulatedClock>,
    fuse: Mutex<Fuse>,
    lists: AtomicUsize,
}

/// When it ends.
#[derive(Clone, Copy, PartialEq)]
enum Fuse {
    Never,
    At(Death),
    Dead,
}

impl Memory {
    /// Empty, with a clock that is moved by hand.
    pub fn new(clock: Arc<SimulatedClock>) -> Arc<Self> {
        Arc::new(Memory { data: Mutex::default(), clock, fuse: Mutex::new(Fuse::Never), lists: AtomicUsize::new(0) })
    }
    /// Its clock.
    pub fn clock(&self) -> &SimulatedClock {
        &self.clock
    }
    /// The process ends at a commit.
    pub fn die(&self, death: Death) {
        *self.fuse.lock().unwrap() = Fuse::At(death);
    }
    /// Lets `commits` more through and loses the next one.
    pub fn crash_after(&self, commits: usize) {
        self.die(Death::Before(commits + 1));
    }
    /// Another process looks at the same state. Says whether the one before had ended.
    pub fn revive(&self) -> bool {
        std::mem::replace(&mut *self.fuse.lock().unwrap(), Fuse::Never) == Fuse::Dead
    }
    /// Whether the process has ended.
    pub fn is_dead(&self) -> bool {
        *self.fuse.lock().unwrap() == Fuse::Dead
    }
    /// Another node leads from now on, under this token (0 at first).
    pub fn lead(&self, token: u64) -> Fence {
        self.data.lock().unwrap().leader = token;
        Fence { lease: "leader".to_owned(), token }
    }
    /// How many commits took effect.
    pub fn commits(&self) -> usize {
        self.data.lock().unwrap().commits
    }
    /// How often rows were listed.
    pub fn lists(&self) -> usize {
        self.lists.load(Ordering::SeqCst)
    }
    /// All events, in order.
    pub fn journal(&self) -> Vec<Recorded> {
        self.data.lock().unwrap().journal.clone()
    }
    /// What happened, in order.
    pub fn kinds(&self) -> Vec<EventKind> {
        self.journal().into_iter().map(|recorded| recorded.event.kind).collect()
    }
    /// All work rows.
    pub fn rows(&self) -> Vec<Work> {
        self.data.lock().unwrap().work.iter().map(|(row, _)| row.clone()).collect()
    }
    /// When the next pending row can be claimed.
    pub fn next_due(&self) -> Option<Timestamp> {
        let data = self.data.lock().unwrap();
        data.work.iter().filter(|(row, _)| row.state == WorkState::Pending).map(|(row, held)| row.due_at.max(*held)).min()
    }
    fn alive(&self) -> Result<(), StateError> {
        if self.is_dead() { Err(dead()) } else { Ok(()) }
    }
    /// Counts down a commit that nothing else refuses. `Err`: it is lost; `Ok(true)`: it is the last that takes effect.
    fn burn(&self) -> Result<bool, StateError> {
        let mut fuse = self.fuse.lock().unwrap();
        let (next, lost, last) = match *fuse {
            Fuse::Never => (Fuse::Never, false, false),
            Fuse::At(Death::Before(left)) if left > 1 => (Fuse::At(Death::Before(left - 1)), false, false),
            Fuse::At(Death::After(left)) if left > 1 => (Fuse::At(Death::After(left - 1)), false, false),
            Fuse::At(Death::Before(_)) | Fuse::Dead => (Fuse::Dead, true, false),
            Fuse::At(Death::After(_)) => (Fuse::Dead, false, true),
        };
        *fuse = next;
        if lost { Err(dead()) } else { Ok(last) }
    }
}

fn dead() -> StateError {
    StateError::Backend { doing: "being dead", source: "the process ended on purpose".into() }
}

fn conflict(what: impl Into<String>) -> StateError {
    StateError::Conflict { what: what.into() }
}

impl Data {
    fn put(&mut self, put: Put, at: Timestamp) -> Result<(), StateError> {
        let same = |record: &Record| record.tenant == put.tenant && record.kind == put.kind && record.id == put.id;
        let place = self.records.iter().position(same);
        let held = place.map_or(0, |place| self.records[place].version);
        let fits = match put.expect {
            Expect::New => held == 0,
            Expect::Version(version) => held == version,
            Expect::Any => true,
        };
        let key_taken = put.key.is_some()
            && self.records.iter().any(|one| one.tenant == put.tenant && one.kind == put.kind && one.key == put.key && one.id != put.id);
        if !fits || key_taken {
            return Err(conflict(format!("{} {}", put.kind, put.id)));
        }
        if let Some(place) = place {
            self.records.remove(place);
        }
        let Put { tenant, kind, id, key, status, body, .. } = put;
        if let Some(body) = body {
            self.records.push(Record { tenant, kind: kind.to_owned(), id, key, status, version: held + 1, updated_at: at, body });
        }
        Ok(())
    }

    fn held(&mut self, tenant: &TenantId, id: WorkId, lease: u64) -> Result<&mut (Work, Timestamp), StateError> {
        let held = |row: &Work| row.id == id && row.tenant == *tenant && row.lease == lease && lease > 0 && row.state == WorkState::Pending;
        self.work.iter_mut().find(|(row, _)| held(row)).ok_or_else(|| conflict(format!("work {id}")))
    }

    fn change(&mut self, tenant: TenantId, change: WorkChange, at: Timestamp) -> Result<(), StateError> {
        match change {
            WorkChange::Schedule(new) => {
                if self.work.iter().any(|(row, _)| row.tenant == tenant && row.queue == new.queue && row.key == new.key) {
                    return Ok(());
                }
                self.work.push((new.row(&tenant, at), Timestamp::EPOCH));
            }
            WorkChange::Take { new, lease_for, progress } => {
                if self.work.iter().any(|(row, _)| row.tenant == tenant && row.queue == new.queue && row.key == new.key) {
                    return Err(conflict(format!("work {}", new.key)));
                }
                self.claims = self.claims.max(FIRST_LEASE);
                self.work.push((new.taken(&tenant, at, progress), at.plus(lease_for)));
            }
            WorkChange::Cancel { queue, key } => {
                for (row, held) in &mut self.work {
                    if row.tenant == tenant && row.queue == queue && row.key == key && row.state == WorkState::Pending {
                        row.state = WorkState::Cancelled;
                        *held = at;
                    }
                }
            }
            WorkChange::Progress { id, lease, progress } => self.held(&tenant, id, lease)?.0.progress = Some(progress),
            WorkChange::Done { id, lease } => {
                let (row, held) = self.held(&tenant, id, lease)?;
                (row.state, row.lease) = (WorkState::Done, 0);
                *held = at;
            }
            WorkChange::Retry { id, lease, due_at, error, progress } => {
                let (row, held) = self.held(&tenant, id, lease)?;
                (row.due_at, row.error, row.progress, row.lease) = (due_at, Some(error), progress, 0);
                *held = Timestamp::EPOCH;
            }
            WorkChange::Dead { id, lease, error } => {
                let (row, held) = self.held(&tenant, id, lease)?;
                (row.state, row.error, row.lease) = (WorkState::Dead, Some(error), 0);
                *held = Timestamp::EPOCH;
            }
            WorkChange::Replay { id, due_at } => {
                let dead = |row: &Work| row.id == id && row.tenant == tenant && row.state == WorkState::Dead;
                let (row, _) = self.work.iter_mut().find(|(row, _)| dead(row)).ok_or_else(|| conflict(format!("work {id}")))?;
                (row.state, row.due_at, row.attempts) = (WorkState::Pending, due_at, 0);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Records for Memory {
    async fn commit(&self, commit: Commit) -> Result<Vec<u64>, StateError> {
        self.alive()?;
        let mut data = self.data.lock().unwrap();
        if let Some(fence) = commit.fence.as_ref().filter(|fence| fence.token != data.leader) {
            return Err(StateError::Fenced { lease: fence.lease.clone() });
        }
        let mut next = data.clone();
        let at = commit.at;
        for put in commit.puts {
            next.put(put, at)?;
        }
        let mut numbers = Vec::new();
        for event in commit.events {
            if next.journal.iter().any(|recorded| recorded.event.id == event.id) {
                return Err(conflict(format!("event {}", event.id)));
            }
            let seq = next.journal.len() as u64 + 1;
            next.journal.push(Recorded { seq, event });
            numbers.push(seq);
        }
        for (tenant, change) in commit.work {
            next.change(tenant, change, at)?;
        }
        next.commits += 1;
        let last = self.burn()?;
        *data = next;
        if last { Err(dead()) } else { Ok(numbers) }
    }
    async fn get(&self, tenant: &TenantId, kind: &'static str, id: &str) -> Result<Option<Record>, StateError> {
        self.alive()?;
        let data = self.data.lock().unwrap();
        Ok(data.records.iter().find(|record| record.tenant == *tenant && record.kind == kind && record.id == id).cloned())
    }
    async fn find(&self, query: &RecordQuery) -> Result<Vec<Record>, StateError> {
        self.alive()?;
        let data = self.data.lock().unwrap();
        let fits = |record: &&Record| {
            record.kind == query.kind
                && query.tenant.as_ref().is_none_or(|tenant| record.tenant == *tenant)
                && (query.statuses.is_empty() || query.statuses.contains(&record.status))
                && (query.key.is_none() || record.key == query.key)
                && query.key_begins.as_ref().is_none_or(|start| record.key.as_ref().is_some_and(|key| key.starts_with(start)))
                && (query.ids.is_empty() || query.ids.contains(&record.id))
                && (query.keys.is_empty() || record.key.as_ref().is_some_and(|key| query.keys.contains(key)))
                && query.before.as_ref().is_none_or(|before| record.id < *before)
        };
        let mut found: Vec<Record> = data.records.iter().filter(fits).cloned().collect();
        found.sort_by(|a, b| b.id.cmp(&a.id));
        found.truncate(if query.limit == 0 { 1_000 } else { query.limit });
        Ok(found)
    }
}

#[async_trait]
impl Journal for Memory {
    async fn events(&self, query: &JournalQuery) -> Result<Vec<Recorded>, StateError> {
        self.alive()?;
        let data = self.data.lock().unwrap();
        let fits = |one: &&Recorded| {
            one.seq > query.after
                && query.tenant.as_ref().is_none_or(|tenant| one.event.tenant == *tenant)
                && (query.incident.is_none() || one.event.subject.incident == query.incident)
                && (query.alert.is_none() || one.event.subject.alert == query.alert)
        };
        let limit = if query.limit == 0 { 1_000 } else { query.limit };
        Ok(data.journal.iter().filter(fits).take(limit).cloned().collect())
    }
    async fn head(&self) -> Result<u64, StateError> {
        Ok(self.data.lock().unwrap().journal.len() as u64)
    }
}

#[async_trait]
impl WorkRows for Memory {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Work>, StateError> {
        self.alive()?;
        let mut data = self.data.lock().unwrap();
        let mut due: Vec<usize> = (0..data.work.len())
            .filter(|at| {
                let (row, held) = &data.work[*at];
                row.state == WorkState::Pending && row.queue == claim.queue && row.due_at <= claim.now && *held <= claim.now
            })
            .collect();
        due.sort_by_key(|at| (data.work[*at].0.lane, data.work[*at].0.due_at));
        due.truncate(claim.limit);
        let mut rows = Vec::new();
        for at in due {
            data.claims += 1;
            let lease = data.claims;
            let (row, held) = &mut data.work[at];
            (row.lease, *held) = (lease, claim.now.plus(claim.lease_for));
            row.attempts += 1;
            rows.push(row.clone());
        }
        Ok(rows)
    }
    async fn pending(&self, queue: Queue) -> Result<Vec<WorkId>, StateError> {
        self.alive()?;
        let data = self.data.lock().unwrap();
        let waits = |row: &&Work| row.queue == queue && row.state == WorkState::Pending;
        Ok(data.work.iter().map(|(row, _)| row).filter(waits).map(|row| row.id).collect())
    }
    async fn list(&self, query: &WorkQuery) -> Result<Vec<Work>, StateError> {
        self.alive()?;
        self.lists.fetch_add(1, Ordering::SeqCst);
        let data = self.data.lock().unwrap();
        let fits = |row: &&Work| {
            query.tenant.as_ref().is_none_or(|tenant| row.tenant == *tenant)
                && query.queue.is_none_or(|queue| row.queue == queue)
                && query.state.is_none_or(|state| row.state == state)
                && (query.ids.is_empty() || query.ids.contains(&row.id))
                && (query.alert.is_none() || query.alert == row.subject.alert)
                && (query.incident.is_none() || query.incident == row.subject.incident)
                && query.since.is_none_or(|since| row.id >= WorkId::lowest(since))
                && query.before.is_none_or(|before| row.id < before)
        };
        let limit = if query.limit == 0 { 100 } else { query.limit };
        let mut found: Vec<&Work> = data.work.iter().map(|(row, _)| row).filter(fits).collect();
        found.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
        Ok(found.into_iter().take(limit).cloned().collect())
    }
    async fn backlog(&self, now: Timestamp) -> Result<Vec<Backlog>, StateError> {
        self.alive()?;
        let data = self.data.lock().unwrap();
        let of = |queue: Queue, state: WorkState| {
            data.work.iter().map(|(row, _)| row).filter(move |row| row.queue == queue && row.state == state)
        };
        let queues: BTreeSet<Queue> = data.work.iter().map(|(row, _)| row.queue).collect();
        let backlog = |queue| Backlog {
            queue,
            pending: of(queue, WorkState::Pending).count() as u64,
            dead: of(queue, WorkState::Dead).count() as u64,
            overdue: of(queue, WorkState::Pending).map(|row| now.since(row.due_at)).max().unwrap_or_default(),
        };
        Ok(queues.into_iter().map(backlog).filter(|backlog| backlog.pending + backlog.dead > 0).collect())
    }
    async fn next_due_in(&self, queue: Queue, _: Timestamp) -> Result<Option<Timestamp>, StateError> {
        self.alive()?;
        let data = self.data.lock().unwrap();
        let pending = data.work.iter().filter(|(row, _)| row.queue == queue && row.state == WorkState::Pending);
        Ok(pending.map(|(row, held)| row.due_at.max(*held)).min())
    }
    async fn prune_work(&self, before: Timestamp) -> Result<u64, StateError> {
        self.alive()?;
        let mut data = self.data.lock().unwrap();
        let count = data.work.len();
        data.work.retain(|(row, ended)| !matches!(row.state, WorkState::Done | WorkState::Cancelled) || *ended >= before);
        Ok((count - data.work.len()) as u64)
    }
}

#[async_trait]
impl Leases for Memory {
    async fn acquire(&self, lease: &str, _: &str, _: Timestamp, _: Duration) -> Result<Option<Fence>, StateError> {
        self.alive()?;
        Ok(Some(Fence { lease: lease.to_owned(), token: self.data.lock().unwrap().leader }))
    }
    async fn release(&self, _: &Fence, _: &str) -> Result<(), StateError> {
        self.alive()
    }
    /// There is one node here: all claims are its own.
    async fn take_back(&self, _: &str) -> Result<u64, StateError> {
        self.alive()?;
        let mut data = self.data.lock().unwrap();
        data.leader += 1;
        let mut freed = 0;
        for (row, held) in data.work.iter_mut().filter(|(row, _)| row.state == WorkState::Pending && row.lease > 0) {
            (row.lease, *held) = (0, Timestamp::EPOCH);
            freed += 1;
        }
        Ok(freed)
    }
    async fn now(&self) -> Result<Timestamp, StateError> {
        self.alive()?;
        Ok(self.clock.now())
    }
}
