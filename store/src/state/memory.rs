//! The state in memory: for simulations, where a year passes in milliseconds. It means what the SQL backends mean, under the same suite.

mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::event::Recorded;
use model::state::{Backlog, Commit, Fence, Journal, JournalQuery, Leases, Record, RecordQuery, Records, StateError, WorkRows};
use model::tenant::TenantId;
use model::time::{Clock, Timestamp};
use model::work::{Claim, Queue, Work, WorkQuery, WorkState};

use super::text::{USUAL_RECORDS, USUAL_WORK, backlogs, limit, storable, stored};
use tables::Tables;

struct Lease {
    /// `None` once it is given back.
    holder: Option<String>,
    token: u64,
    until: Timestamp,
}

#[derive(Default)]
struct Inner {
    tables: Tables,
    leases: BTreeMap<String, Lease>,
}

/// The state in memory.
pub struct MemoryState {
    inner: Mutex<Inner>,
    clock: Arc<dyn Clock>,
    /// Whose claims these are.
    node: Option<String>,
}

impl MemoryState {
    /// Empty. `clock` is the one that [`now`](Leases::now) tells.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryState { inner: Mutex::default(), clock, node: None }
    }

    /// Makes its claims in the name of a node, which can [take them back](Leases::take_back) when it starts again.
    pub fn named(self, node: &str) -> Self {
        MemoryState { node: Some(node.to_owned()), ..self }
    }

    /// The machine loses its power: what was [derived](Commit::derived), or claimed, since the last commit that had to outlive it is gone.
    pub fn lose_power(&self) {
        self.lock().tables.lose();
    }

    /// Everything so far outlives the machine.
    pub fn sync(&self) {
        self.lock().tables.sync();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Records for MemoryState {
    async fn commit(&self, commit: Commit) -> Result<Vec<u64>, StateError> {
        let mut inner = self.lock();
        if let Some(fence) = &commit.fence {
            let held = inner.leases.get(&fence.lease).is_some_and(|lease| lease.holder.is_some() && lease.token == fence.token);
            if !held {
                return Err(StateError::Fenced { lease: fence.lease.clone() });
            }
        }
        inner.tables.commit(commit, self.node.as_deref())
    }

    async fn get(&self, tenant: &TenantId, kind: &'static str, id: &str) -> Result<Option<Record>, StateError> {
        Ok(self.lock().tables.record(&(kind.to_owned(), storable(id).into_owned(), tenant.clone())).cloned())
    }

    async fn find(&self, query: &RecordQuery) -> Result<Vec<Record>, StateError> {
        let inner = self.lock();
        let (key, before) = (query.key.as_deref().map(storable), query.before.as_deref().map(storable));
        let begins = query.key_begins.as_deref().map(storable);
        let keys: BTreeSet<_> = query.keys.iter().map(|key| storable(key)).collect();
        let ids: BTreeSet<_> = query.ids.iter().map(|id| storable(id)).collect();
        let found = inner
            .tables
            .newest_records(query.kind)
            .filter(|record| query.tenant.as_ref().is_none_or(|tenant| *tenant == record.tenant))
            .filter(|record| key.is_none() || key.as_deref() == record.key.as_deref())
            .filter(|record| {
                begins.is_none() || record.key.as_deref().zip(begins.as_deref()).is_some_and(|(key, begins)| key.starts_with(begins))
            })
            .filter(|record| ids.is_empty() || ids.contains(record.id.as_str()))
            .filter(|record| keys.is_empty() || record.key.as_ref().is_some_and(|key| keys.contains(key.as_str())))
            .filter(|record| before.as_deref().is_none_or(|before| record.id.as_str() < before))
            .filter(|record| query.statuses.is_empty() || query.statuses.iter().any(|status| storable(status) == record.status));
        Ok(found.take(limit(query.limit, USUAL_RECORDS)).cloned().collect())
    }
}

#[async_trait]
impl Journal for MemoryState {
    async fn events(&self, query: &JournalQuery) -> Result<Vec<Recorded>, StateError> {
        let inner = self.lock();
        let journal = inner.tables.journal();
        let start = usize::try_from(query.after).unwrap_or(usize::MAX).min(journal.len());
        let found = journal[start..]
            .iter()
            .filter(|recorded| query.tenant.as_ref().is_none_or(|tenant| *tenant == recorded.event.tenant))
            .filter(|recorded| query.incident.is_none() || query.incident == recorded.event.subject.incident)
            .filter(|recorded| query.alert.is_none() || query.alert == recorded.event.subject.alert);
        Ok(found.take(limit(query.limit, USUAL_RECORDS)).cloned().collect())
    }

    async fn head(&self) -> Result<u64, StateError> {
        Ok(self.lock().tables.journal().len() as u64)
    }
}

#[async_trait]
impl WorkRows for MemoryState {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Work>, StateError> {
        Ok(self.lock().tables.claim(claim, self.node.as_deref()))
    }

    async fn list(&self, query: &WorkQuery) -> Result<Vec<Work>, StateError> {
        let inner = self.lock();
        let found = inner
            .tables
            .newest_work()
            .filter(|work| query.tenant.as_ref().is_none_or(|tenant| *tenant == work.tenant))
            .filter(|work| query.queue.is_none_or(|queue| queue == work.queue))
            .filter(|work| query.state.is_none_or(|state| state == work.state))
            .filter(|work| query.ids.is_empty() || query.ids.contains(&work.id))
            .filter(|work| query.alert.is_none() || query.alert == work.subject.alert)
            .filter(|work| query.incident.is_none() || query.incident == work.subject.incident)
            .filter(|work| query.since.is_none_or(|since| work.id >= model::ids::WorkId::lowest(since)))
            .filter(|work| query.before.is_none_or(|before| work.id < before));
        Ok(found.take(limit(query.limit, USUAL_WORK)).cloned().collect())
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<Backlog>, StateError> {
        let inner = self.lock();
        let mut counts = BTreeMap::new();
        for work in inner.tables.newest_work() {
            let (pending, dead) = (work.state == WorkState::Pending, work.state == WorkState::Dead);
            let count = counts.entry(work.queue).or_insert((0, 0, Timestamp::from_micros(i64::MAX)));
            count.0 += u64::from(pending);
            count.1 += u64::from(dead);
            if pending {
                count.2 = count.2.min(work.due_at);
            }
        }
        Ok(backlogs(&counts, now))
    }

    async fn next_due_in(&self, queue: Queue, _: Timestamp) -> Result<Option<Timestamp>, StateError> {
        Ok(self.lock().tables.next_due(queue))
    }

    async fn prune_work(&self, before: Timestamp) -> Result<u64, StateError> {
        Ok(self.lock().tables.prune(stored(before)))
    }
}

#[async_trait]
impl Leases for MemoryState {
    async fn acquire(&self, lease: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<Option<Fence>, StateError> {
        let mut inner = self.lock();
        let token = match inner.leases.get(lease) {
            None => 1,
            Some(Lease { holder: Some(by), token, .. }) if by == holder => *token,
            Some(Lease { holder: Some(_), until, .. }) if *until > stored(now) => return Ok(None),
            Some(Lease { token, .. }) => token + 1,
        };
        inner.tables.sync();
        inner.leases.insert(lease.to_owned(), Lease { holder: Some(holder.to_owned()), token, until: stored(now.plus(ttl)) });
        Ok(Some(Fence { lease: lease.to_owned(), token }))
    }

    async fn release(&self, fence: &Fence, holder: &str) -> Result<(), StateError> {
        let mut inner = self.lock();
        let found = inner.leases.get_mut(&fence.lease);
        if let Some(found) = found.filter(|found| found.holder.as_deref() == Some(holder) && found.token == fence.token) {
            found.holder = None;
        }
        Ok(())
    }

    async fn take_back(&self, node: &str) -> Result<u64, StateError> {
        let mut inner = self.lock();
        let begins = format!("{node}/");
        for lease in inner.leases.values_mut().filter(|lease| lease.holder.as_ref().is_some_and(|holder| holder.starts_with(&begins))) {
            lease.holder = None;
        }
        Ok(inner.tables.free(node))
    }

    async fn now(&self) -> Result<Timestamp, StateError> {
        Ok(self.clock.now())
    }
}
