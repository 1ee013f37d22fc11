//! A state store in memory, for the tests of the packages that decide (feature `testing`; never in a build that serves): records, journal, work rows, one clock. In: commits. Out: what was committed.
//! Fails on purpose: it "crashes" in a chosen commit, which is lost whatever was done in the world before it, and everything fails
//! until it is revived.

#![allow(clippy::unwrap_used, clippy::expect_used)] // tests fail by panicking

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use crate::event::Recorded;
use crate::ids::WorkId;
use crate::state::{
    Backlog, Commit, Expect, Fence, Journal, JournalQuery, Leases, Put, Record, RecordQuery, Records, StateError, WorkRows,
};
use crate::tenant::TenantId;
use crate::time::{Clock, SimulatedClock, Timestamp};
use crate::work::{Claim, Work, WorkChange, WorkQuery, WorkState};
use async_trait::async_trait;

#[derive(Clone, Default)]
struct Data {
    records: Vec<Record>,
    journal: Vec<Recorded>,
    work: Vec<(Work, Timestamp)>,
    leases: u64,
}

/// The store.
pub struct Memory {
    data: Mutex<Data>,
    clock: Arc<SimulatedClock>,
    fuse: Mutex<Fuse>,
}

/// When it crashes.
#[derive(Clone, Copy, PartialEq)]
enum Fuse {
    Never,
    After(usize),
    Dead,
}

impl Memory {
    /// Empty, with a clock that is moved by hand.
    pub fn new(clock: Arc<SimulatedClock>) -> Arc<Self> {
        Arc::new(Memory { data: Mutex::default(), clock, fuse: Mutex::new(Fuse::Never) })
    }
    /// Lets `commits` more through and loses the next one.
    pub fn crash_after(&self, commits: usize) {
        *self.fuse.lock().unwrap() = Fuse::After(commits);
    }
    /// Works again. Says whether it had crashed.
    pub fn revive(&self) -> bool {
        std::mem::replace(&mut *self.fuse.lock().unwrap(), Fuse::Never) == Fuse::Dead
    }
    /// All events, in order.
    pub fn journal(&self) -> Vec<Recorded> {
        self.data.lock().unwrap().journal.clone()
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
        match *self.fuse.lock().unwrap() {
            Fuse::Dead => Err(StateError::Backend { doing: "being dead", source: "crashed on purpose".into() }),
            Fuse::After(_) | Fuse::Never => Ok(()),
        }
    }
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

    fn held(&mut self, id: WorkId, lease: u64) -> Result<&mut (Work, Timestamp), StateError> {
        let row = self.work.iter_mut().find(|(row, _)| row.id == id && row.lease == lease && row.state == WorkState::Pending);
        row.ok_or_else(|| conflict(format!("work {id}")))
    }

    fn change(&mut self, tenant: TenantId, change: WorkChange, at: Timestamp) -> Result<(), StateError> {
        match change {
            WorkChange::Schedule(new) => {
                if self.work.iter().any(|(row, _)| row.tenant == tenant && row.queue == new.queue && row.key == new.key) {
                    return Ok(());
                }
                let id = WorkId::derived(at, &format!("{}/{}/{}", tenant, new.queue.as_str(), new.key));
                let row = Work {
                    id,
                    tenant,
                    queue: new.queue,
                    key: new.key,
                    lane: new.lane,
                    subject: new.subject,
                    state: WorkState::Pending,
                    due_at: new.due_at,
                    attempts: 0,
                    body: new.body,
                    progress: None,
                    error: None,
                    created_at: at,
                    lease: 0,
                };
                self.work.push((row, Timestamp::EPOCH));
            }
            WorkChange::Cancel { queue, key } => {
                for (row, _) in &mut self.work {
                    if row.tenant == tenant && row.queue == queue && row.key == key && row.state == WorkState::Pending {
                        row.state = WorkState::Cancelled;
                    }
                }
            }
            WorkChange::Progress { id, lease, progress } => self.held(id, lease)?.0.progress = Some(progress),
            WorkChange::Done { id, lease } => self.held(id, lease)?.0.state = WorkState::Done,
            WorkChange::Retry { id, lease, due_at, error, progress } => {
                let (row, held) = self.held(id, lease)?;
                (row.due_at, row.error, row.progress, row.lease) = (due_at, Some(error), progress, 0);
                *held = Timestamp::EPOCH;
            }
            WorkChange::Dead { id, lease, error } => {
                let (row, _) = self.held(id, lease)?;
                (row.state, row.error) = (WorkState::Dead, Some(error));
            }
            WorkChange::Replay { id, due_at } => {
                for (row, _) in self.work.iter_mut().filter(|(row, _)| row.id == id && row.state == WorkState::Dead) {
                    (row.state, row.due_at, row.attempts) = (WorkState::Pending, due_at, 0);
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Records for Memory {
    async fn commit(&self, commit: Commit) -> Result<Vec<u64>, StateError> {
        if *self.fuse.lock().unwrap() == Fuse::After(0) {
            *self.fuse.lock().unwrap() = Fuse::Dead;
        }
        self.alive()?;
        let mut data = self.data.lock().unwrap();
        let mut next = data.clone();
        let at = commit.at;
        for put in commit.puts {
            next.put(put, at)?;
        }
        let mut numbers = Vec::new();
        for event in commit.events {
            let seq = next.journal.len() as u64 + 1;
            next.journal.push(Recorded { seq, event });
            numbers.push(seq);
        }
        for (tenant, change) in commit.work {
            next.change(tenant, change, at)?;
        }
        *data = next;
        if let Fuse::After(left) = &mut *self.fuse.lock().unwrap() {
            *left -= 1;
        }
        Ok(numbers)
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
            data.leases += 1;
            let lease = data.leases;
            let (row, held) = &mut data.work[at];
            (row.lease, *held) = (lease, claim.now.plus(claim.lease_for));
            row.attempts += 1;
            rows.push(row.clone());
        }
        Ok(rows)
    }
    async fn list(&self, query: &WorkQuery) -> Result<Vec<Work>, StateError> {
        self.alive()?;
        let data = self.data.lock().unwrap();
        let fits = |row: &&Work| {
            query.tenant.as_ref().is_none_or(|tenant| row.tenant == *tenant)
                && query.queue.is_none_or(|queue| row.queue == queue)
                && query.state.is_none_or(|state| row.state == state)
        };
        let limit = if query.limit == 0 { 100 } else { query.limit };
        Ok(data.work.iter().rev().map(|(row, _)| row).filter(fits).take(limit).cloned().collect())
    }
    async fn backlog(&self, _: Timestamp) -> Result<Vec<Backlog>, StateError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Leases for Memory {
    async fn acquire(&self, lease: &str, _: &str, _: Timestamp, _: Duration) -> Result<Option<Fence>, StateError> {
        Ok(Some(Fence { lease: lease.to_owned(), token: 1 }))
    }
    async fn release(&self, _: &Fence, _: &str) -> Result<(), StateError> {
        Ok(())
    }
    async fn now(&self) -> Result<Timestamp, StateError> {
        Ok(self.clock.now())
    }
}
