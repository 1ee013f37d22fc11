//! The state in memory: for simulations, where a year passes in milliseconds. Same meaning as the SQL backends, under the same suite.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::event::Recorded;
use model::ids::WorkId;
use model::state::{
    Backlog, Commit, Expect, Fence, Journal, JournalQuery, Leases, Put, Record, RecordQuery, Records, StateError, WorkRows,
};
use model::tenant::TenantId;
use model::time::{Clock, Timestamp};
use model::work::{Claim, Work, WorkChange, WorkQuery, WorkState};

type RecordKey = (String, TenantId, String);

#[derive(Clone)]
struct Row {
    work: Work,
    lease_until: Timestamp,
}

#[derive(Clone)]
struct Lease {
    holder: String,
    token: u64,
    until: Timestamp,
}

#[derive(Clone, Default)]
struct Inner {
    records: BTreeMap<RecordKey, Record>,
    journal: Vec<Recorded>,
    work: BTreeMap<WorkId, Row>,
    leases: BTreeMap<String, Lease>,
}

/// The state in memory.
pub struct MemoryState {
    inner: Mutex<Inner>,
    clock: Arc<dyn Clock>,
}

fn conflict(what: String) -> StateError {
    StateError::Conflict { what }
}

impl MemoryState {
    /// Empty.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryState { inner: Mutex::default(), clock }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, put: &Put, at: Timestamp) -> Result<(), StateError> {
        let place = (put.kind.to_owned(), put.tenant.clone(), put.id.clone());
        let what = || conflict(format!("{} {}", put.kind, put.id));
        let found = self.records.get(&place).map(|record| record.version);
        let version = match (put.expect, found) {
            (Expect::New, None) | (Expect::Any, None) => 1,
            (Expect::Any, Some(version)) => version + 1,
            (Expect::Version(wanted), Some(version)) if wanted == version => version + 1,
            (Expect::New, Some(_)) | (Expect::Version(_), _) => return Err(what()),
        };
        let Some(body) = &put.body else {
            if put.expect == Expect::New {
                return Err(what());
            }
            self.records.remove(&place);
            return Ok(());
        };
        let key_taken = put.key.is_some()
            && self
                .records
                .values()
                .any(|other| other.kind == put.kind && other.tenant == put.tenant && other.key == put.key && other.id != put.id);
        if key_taken {
            return Err(what());
        }
        let record = Record {
            tenant: put.tenant.clone(),
            kind: put.kind.to_owned(),
            id: put.id.clone(),
            key: put.key.clone(),
            status: put.status.clone(),
            version,
            updated_at: Timestamp::from_micros(at.micros()),
            body: body.clone(),
        };
        self.records.insert(place, record);
        Ok(())
    }

    fn held(&mut self, id: &WorkId, lease: u64) -> Result<&mut Row, StateError> {
        let row = self.work.get_mut(id).filter(|row| row.work.state == WorkState::Pending && row.work.lease == lease);
        row.filter(|row| row.lease_until > Timestamp::EPOCH).ok_or_else(|| conflict(format!("work {id}")))
    }

    fn change(&mut self, tenant: &TenantId, change: &WorkChange, at: Timestamp) -> Result<(), StateError> {
        match change {
            WorkChange::Schedule(new) => {
                let known =
                    self.work.values().any(|row| row.work.tenant == *tenant && row.work.queue == new.queue && row.work.key == new.key);
                if !known {
                    let id = WorkId::derived(at, &format!("{tenant}/{}/{}", new.queue.as_str(), new.key));
                    let work = Work {
                        id,
                        tenant: tenant.clone(),
                        queue: new.queue,
                        key: new.key.clone(),
                        lane: new.lane,
                        subject: new.subject.clone(),
                        state: WorkState::Pending,
                        due_at: Timestamp::from_micros(new.due_at.micros()),
                        attempts: 0,
                        body: new.body.clone(),
                        progress: None,
                        error: None,
                        created_at: Timestamp::from_micros(at.micros()),
                        lease: 0,
                    };
                    self.work.insert(id, Row { work, lease_until: Timestamp::EPOCH });
                }
            }
            WorkChange::Cancel { queue, key } => {
                let pending = |row: &&mut Row| row.work.state == WorkState::Pending && row.work.tenant == *tenant;
                for row in self.work.values_mut().filter(pending).filter(|row| row.work.queue == *queue && row.work.key == *key) {
                    row.work.state = WorkState::Cancelled;
                }
            }
            WorkChange::Progress { id, lease, progress } => self.held(id, *lease)?.work.progress = Some(progress.clone()),
            WorkChange::Done { id, lease } => {
                let row = self.held(id, *lease)?;
                row.work.state = WorkState::Done;
                row.lease_until = Timestamp::EPOCH;
            }
            WorkChange::Retry { id, lease, due_at, error, progress } => {
                let row = self.held(id, *lease)?;
                row.work.due_at = Timestamp::from_micros(due_at.micros());
                row.work.error = Some(error.clone());
                row.work.progress = progress.clone();
                row.lease_until = Timestamp::EPOCH;
            }
            WorkChange::Dead { id, lease, error } => {
                let row = self.held(id, *lease)?;
                row.work.state = WorkState::Dead;
                row.work.error = Some(error.clone());
                row.lease_until = Timestamp::EPOCH;
            }
            WorkChange::Replay { id, due_at } => {
                let row = self.work.get_mut(id).filter(|row| row.work.state == WorkState::Dead && row.work.tenant == *tenant);
                let row = row.ok_or_else(|| conflict(format!("work {id}")))?;
                row.work.state = WorkState::Pending;
                row.work.attempts = 0;
                row.work.due_at = Timestamp::from_micros(due_at.micros());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Records for MemoryState {
    async fn commit(&self, commit: Commit) -> Result<Vec<u64>, StateError> {
        let mut inner = self.lock();
        let mut next = inner.clone();
        if let Some(fence) = &commit.fence
            && next.leases.get(&fence.lease).is_none_or(|lease| lease.token != fence.token)
        {
            return Err(StateError::Fenced { lease: fence.lease.clone() });
        }
        for put in &commit.puts {
            next.put(put, commit.at)?;
        }
        let mut numbers = Vec::with_capacity(commit.events.len());
        for event in commit.events {
            let seq = next.journal.len() as u64 + 1;
            numbers.push(seq);
            next.journal.push(Recorded { seq, event });
        }
        for (tenant, change) in &commit.work {
            next.change(tenant, change, commit.at)?;
        }
        *inner = next;
        Ok(numbers)
    }

    async fn get(&self, tenant: &TenantId, kind: &'static str, id: &str) -> Result<Option<Record>, StateError> {
        Ok(self.lock().records.get(&(kind.to_owned(), tenant.clone(), id.to_owned())).cloned())
    }

    async fn find(&self, query: &RecordQuery) -> Result<Vec<Record>, StateError> {
        let inner = self.lock();
        let mut found: Vec<Record> = inner
            .records
            .values()
            .filter(|record| record.kind == query.kind)
            .filter(|record| query.tenant.as_ref().is_none_or(|tenant| *tenant == record.tenant))
            .filter(|record| query.key.is_none() || query.key == record.key)
            .filter(|record| query.before.as_ref().is_none_or(|before| record.id < *before))
            .filter(|record| query.statuses.is_empty() || query.statuses.contains(&record.status))
            .cloned()
            .collect();
        found.sort_by(|a, b| b.id.cmp(&a.id));
        found.truncate(if query.limit == 0 { 1_000 } else { query.limit });
        Ok(found)
    }
}

#[async_trait]
impl Journal for MemoryState {
    async fn events(&self, query: &JournalQuery) -> Result<Vec<Recorded>, StateError> {
        let inner = self.lock();
        let start = usize::try_from(query.after).unwrap_or(usize::MAX).min(inner.journal.len());
        let found = inner.journal[start..]
            .iter()
            .filter(|recorded| query.tenant.as_ref().is_none_or(|tenant| *tenant == recorded.event.tenant))
            .filter(|recorded| query.incident.is_none() || query.incident == recorded.event.subject.incident)
            .filter(|recorded| query.alert.is_none() || query.alert == recorded.event.subject.alert);
        Ok(found.take(if query.limit == 0 { 1_000 } else { query.limit }).cloned().collect())
    }

    async fn head(&self) -> Result<u64, StateError> {
        Ok(self.lock().journal.len() as u64)
    }
}

#[async_trait]
impl WorkRows for MemoryState {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Work>, StateError> {
        let mut inner = self.lock();
        let now = Timestamp::from_micros(claim.now.micros());
        let mut due: Vec<&mut Row> = inner
            .work
            .values_mut()
            .filter(|row| row.work.queue == claim.queue && row.work.state == WorkState::Pending)
            .filter(|row| row.work.due_at <= now && row.lease_until <= now)
            .collect();
        due.sort_by_key(|row| (row.work.lane, row.work.due_at, row.work.id));
        let limit = if claim.limit == 0 { 32 } else { claim.limit };
        let claimed = due.into_iter().take(limit).map(|row| {
            row.work.lease += 1;
            row.work.attempts += 1;
            row.lease_until = Timestamp::from_micros(claim.now.plus(claim.lease_for).micros());
            row.work.clone()
        });
        Ok(claimed.collect())
    }

    async fn list(&self, query: &WorkQuery) -> Result<Vec<Work>, StateError> {
        let inner = self.lock();
        let found = inner
            .work
            .values()
            .rev()
            .map(|row| &row.work)
            .filter(|work| query.tenant.as_ref().is_none_or(|tenant| *tenant == work.tenant))
            .filter(|work| query.queue.is_none_or(|queue| queue == work.queue))
            .filter(|work| query.state.is_none_or(|state| state == work.state));
        Ok(found.take(if query.limit == 0 { 100 } else { query.limit }).cloned().collect())
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<Backlog>, StateError> {
        let inner = self.lock();
        let mut queues: BTreeMap<&'static str, Backlog> = BTreeMap::new();
        for Row { work, .. } in inner.work.values() {
            let (pending, dead) = (work.state == WorkState::Pending, work.state == WorkState::Dead);
            if !pending && !dead {
                continue;
            }
            let fresh = Backlog { queue: work.queue, pending: 0, dead: 0, overdue: Duration::ZERO };
            let backlog = queues.entry(work.queue.as_str()).or_insert(fresh);
            backlog.pending += u64::from(pending);
            backlog.dead += u64::from(dead);
            if pending {
                backlog.overdue = backlog.overdue.max(now.since(work.due_at));
            }
        }
        Ok(queues.into_values().collect())
    }
}

#[async_trait]
impl Leases for MemoryState {
    async fn acquire(&self, lease: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<Option<Fence>, StateError> {
        let mut inner = self.lock();
        let token = match inner.leases.get(lease) {
            Some(found) if found.holder == holder => found.token,
            Some(found) if found.until > now => return Ok(None),
            Some(found) => found.token + 1,
            None => 1,
        };
        inner.leases.insert(lease.to_owned(), Lease { holder: holder.to_owned(), token, until: now.plus(ttl) });
        Ok(Some(Fence { lease: lease.to_owned(), token }))
    }

    async fn release(&self, fence: &Fence, holder: &str) -> Result<(), StateError> {
        let mut inner = self.lock();
        if let Some(found) = inner.leases.get_mut(&fence.lease).filter(|found| found.holder == holder && found.token == fence.token) {
            found.until = Timestamp::EPOCH;
            found.holder.clear();
        }
        Ok(())
    }

    async fn now(&self) -> Result<Timestamp, StateError> {
        Ok(self.clock.now())
    }
}
