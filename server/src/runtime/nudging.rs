//! A state store that nudges the loops whenever something was committed, so that a page does not wait for a tick.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::drive::{Concerns, Nudge};
use model::event::Recorded;
use model::ids::WorkId;
use model::state::{Backlog, Commit, Fence, Journal, JournalQuery, Leases, Record, RecordQuery, Records, StateError, StateStore, WorkRows};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Claim, Queue, Work, WorkQuery};

/// Wraps a store.
pub struct Nudging {
    inner: Arc<dyn StateStore>,
    nudge: Nudge,
}

impl Nudging {
    /// Nudges on every commit those whom it concerns.
    pub fn new(inner: Arc<dyn StateStore>, nudge: Nudge) -> Self {
        Nudging { inner, nudge }
    }
}

#[async_trait]
impl Records for Nudging {
    async fn commit(&self, commit: Commit) -> Result<Vec<u64>, StateError> {
        let concerns = Concerns::of(&commit);
        let numbers = self.inner.commit(commit).await?;
        self.nudge.wake(&concerns);
        Ok(numbers)
    }
    async fn get(&self, tenant: &TenantId, kind: &'static str, id: &str) -> Result<Option<Record>, StateError> {
        self.inner.get(tenant, kind, id).await
    }
    async fn find(&self, query: &RecordQuery) -> Result<Vec<Record>, StateError> {
        self.inner.find(query).await
    }
    async fn count(&self, query: &RecordQuery) -> Result<u64, StateError> {
        self.inner.count(query).await
    }
}

#[async_trait]
impl Journal for Nudging {
    async fn events(&self, query: &JournalQuery) -> Result<Vec<Recorded>, StateError> {
        self.inner.events(query).await
    }
    async fn head(&self) -> Result<u64, StateError> {
        self.inner.head().await
    }
}

#[async_trait]
impl WorkRows for Nudging {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Work>, StateError> {
        self.inner.claim(claim).await
    }
    async fn list(&self, query: &WorkQuery) -> Result<Vec<Work>, StateError> {
        self.inner.list(query).await
    }
    async fn pending(&self, queue: Queue) -> Result<Vec<WorkId>, StateError> {
        self.inner.pending(queue).await
    }
    async fn backlog(&self, now: Timestamp) -> Result<Vec<Backlog>, StateError> {
        self.inner.backlog(now).await
    }
    async fn next_due_in(&self, queue: Queue, now: Timestamp) -> Result<Option<Timestamp>, StateError> {
        self.inner.next_due_in(queue, now).await
    }
    async fn prune_work(&self, before: Timestamp) -> Result<u64, StateError> {
        self.inner.prune_work(before).await
    }
}

#[async_trait]
impl Leases for Nudging {
    async fn acquire(&self, lease: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<Option<Fence>, StateError> {
        self.inner.acquire(lease, holder, now, ttl).await
    }
    async fn release(&self, fence: &Fence, holder: &str) -> Result<(), StateError> {
        self.inner.release(fence, holder).await
    }
    async fn take_back(&self, node: &str) -> Result<u64, StateError> {
        self.inner.take_back(node).await
    }
    async fn now(&self) -> Result<Timestamp, StateError> {
        self.inner.now().await
    }
}
