//! A small state store for tests: one commit at a time, all or nothing, with leases on rows as the real backends have them. It can die:
//! at the n-th commit, before or after it takes effect; from then on every call fails, as for a process that ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use model::event::{EventKind, Recorded};
use model::ids::WorkId;
use model::message::{Delivery, Notice, NoticeAlert, PageAction};
use model::severity::Severity;
use model::state::*;
use model::tenant::TenantId;
use model::time::{Clock, SimulatedClock, Timestamp};
use model::work::{Claim, Lane, Queue, Work, WorkChange, WorkQuery, WorkState};

/// The moment at which tests begin.
pub const START: Timestamp = Timestamp::from_secs(1_772_000_000);

/// When the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The n-th commit (from 1) does not take effect.
    Before(usize),
    /// The n-th commit takes effect, and nobody hears of it.
    After(usize),
}

#[derive(Default)]
struct Inner {
    records: BTreeMap<(TenantId, String, String), Record>,
    journal: Vec<Recorded>,
    work: BTreeMap<WorkId, (Work, Option<Timestamp>, u64)>,
    commits: usize,
    lists: usize,
    death: Option<Death>,
    dead: bool,
    fence: u64,
}

/// The state of one test.
pub struct TestState {
    inner: Mutex<Inner>,
    /// Its clock.
    pub clock: Arc<SimulatedClock>,
}

impl TestState {
    pub fn new() -> Arc<Self> {
        Arc::new(TestState { inner: Mutex::default(), clock: Arc::new(SimulatedClock::new(START)) })
    }
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
    fn alive(&self) -> Result<MutexGuard<'_, Inner>, StateError> {
        let inner = self.lock();
        if inner.dead { Err(gone()) } else { Ok(inner) }
    }
    /// Dies at a commit, counted from now.
    pub fn die(&self, death: Death) {
        let mut inner = self.lock();
        inner.commits = 0;
        inner.death = Some(death);
    }
    /// A new process looks at the same state.
    pub fn revive(&self) {
        let mut inner = self.lock();
        inner.dead = false;
        inner.death = None;
    }
    pub fn has_died(&self) -> bool {
        self.lock().dead
    }
    pub fn events(&self) -> Vec<EventKind> {
        self.lock().journal.iter().map(|recorded| recorded.event.kind.clone()).collect()
    }
    pub fn rows(&self, state: WorkState) -> Vec<Work> {
        self.lock().work.values().map(|(work, ..)| work.clone()).filter(|work| work.state == state).collect()
    }
    pub fn lists(&self) -> usize {
        self.lock().lists
    }
    /// The next moment at which a row can be claimed.
    pub fn next_due(&self) -> Option<Timestamp> {
        let inner = self.lock();
        let pending = inner.work.values().filter(|(work, ..)| work.state == WorkState::Pending);
        pending.map(|(work, until, _)| work.due_at.max(until.unwrap_or(work.due_at))).min()
    }
    /// Another node became the leader.
    pub fn depose(&self) {
        self.lock().fence += 1;
    }
}

fn gone() -> StateError {
    StateError::Backend { doing: "being dead", source: "the process ended".into() }
}

fn conflict(id: WorkId) -> StateError {
    StateError::Conflict { what: format!("work {id}") }
}

impl Inner {
    fn change(&mut self, tenant: &TenantId, change: &WorkChange, at: Timestamp) -> Result<(), StateError> {
        let id = match change {
            WorkChange::Schedule(new) => {
                if self.work.values().any(|(work, ..)| work.tenant == *tenant && work.queue == new.queue && work.key == new.key) {
                    return Ok(());
                }
                let id = WorkId::derived(at, &format!("{tenant}/{}", new.key));
                let work = Work {
                    id,
                    tenant: tenant.clone(),
                    queue: new.queue,
                    key: new.key.clone(),
                    lane: new.lane,
                    subject: new.subject.clone(),
                    state: WorkState::Pending,
                    due_at: new.due_at,
                    attempts: 0,
                    body: new.body.clone(),
                    progress: None,
                    error: None,
                    created_at: at,
                    lease: 0,
                };
                self.work.insert(id, (work, None, 0));
                return Ok(());
            }
            WorkChange::Cancel { .. } => panic!("deliveries are not cancelled here"),
            WorkChange::Progress { id, .. }
            | WorkChange::Done { id, .. }
            | WorkChange::Retry { id, .. }
            | WorkChange::Dead { id, .. }
            | WorkChange::Replay { id, .. } => *id,
        };
        let (work, until, claims) = self.work.get_mut(&id).filter(|(work, ..)| work.tenant == *tenant).ok_or_else(|| conflict(id))?;
        let held = |lease: u64| work.state == WorkState::Pending && until.is_some() && *claims == lease;
        match change {
            WorkChange::Progress { lease, progress, .. } if held(*lease) => {
                work.progress = Some(progress.clone());
                return Ok(());
            }
            WorkChange::Done { lease, .. } if held(*lease) => work.state = WorkState::Done,
            WorkChange::Retry { lease, due_at, error, progress, .. } if held(*lease) => {
                (work.due_at, work.error, work.progress) = (*due_at, Some(error.clone()), progress.clone());
            }
            WorkChange::Dead { lease, error, .. } if held(*lease) => {
                (work.state, work.error) = (WorkState::Dead, Some(error.clone()));
            }
            WorkChange::Replay { due_at, .. } if work.state == WorkState::Dead => {
                (work.state, work.attempts, work.due_at) = (WorkState::Pending, 0, *due_at);
            }
            _ => return Err(conflict(id)),
        }
        (*until, work.lease) = (None, 0);
        Ok(())
    }
}

#[async_trait]
impl Records for TestState {
    async fn commit(&self, commit: Commit) -> Result<Vec<u64>, StateError> {
        let mut inner = self.alive()?;
        inner.commits += 1;
        if inner.death == Some(Death::Before(inner.commits)) {
            inner.dead = true;
            return Err(gone());
        }
        if commit.fence.as_ref().is_some_and(|fence| fence.token != inner.fence) {
            return Err(StateError::Fenced { lease: "leader".to_owned() });
        }
        let before = inner.work.clone();
        for (tenant, change) in &commit.work {
            if let Err(error) = inner.change(tenant, change, commit.at) {
                inner.work = before;
                return Err(error);
            }
        }
        for put in commit.puts {
            let place = (put.tenant.clone(), put.kind.to_owned(), put.id.clone());
            let version = inner.records.get(&place).map_or(1, |record| record.version + 1);
            let Put { tenant, kind, id, key, status, body, .. } = put;
            let body = body.expect("nothing is deleted here");
            inner.records.insert(place, Record { tenant, kind: kind.to_owned(), id, key, status, version, updated_at: commit.at, body });
        }
        let mut numbers = Vec::new();
        for event in commit.events {
            let seq = inner.journal.len() as u64 + 1;
            assert!(inner.journal.iter().all(|recorded| recorded.event.id != event.id), "an event id twice");
            inner.journal.push(Recorded { seq, event });
            numbers.push(seq);
        }
        if inner.death == Some(Death::After(inner.commits)) {
            inner.dead = true;
            return Err(gone());
        }
        Ok(numbers)
    }
    async fn get(&self, tenant: &TenantId, kind: &'static str, id: &str) -> Result<Option<Record>, StateError> {
        Ok(self.alive()?.records.get(&(tenant.clone(), kind.to_owned(), id.to_owned())).cloned())
    }
    async fn find(&self, _: &RecordQuery) -> Result<Vec<Record>, StateError> {
        panic!("deliveries do not search records")
    }
}

#[async_trait]
impl Journal for TestState {
    async fn events(&self, _: &JournalQuery) -> Result<Vec<Recorded>, StateError> {
        Ok(self.alive()?.journal.clone())
    }
    async fn head(&self) -> Result<u64, StateError> {
        Ok(self.alive()?.journal.len() as u64)
    }
}

#[async_trait]
impl WorkRows for TestState {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Work>, StateError> {
        let mut inner = self.alive()?;
        let mut free: Vec<_> = inner
            .work
            .values()
            .filter(|(work, until, _)| {
                work.queue == claim.queue
                    && work.state == WorkState::Pending
                    && work.due_at <= claim.now
                    && until.is_none_or(|until| until <= claim.now)
            })
            .map(|(work, ..)| (work.lane, work.due_at, work.id))
            .collect();
        free.sort();
        let mut claimed = Vec::new();
        for (_, _, id) in free.into_iter().take(claim.limit) {
            let (work, until, claims) = inner.work.get_mut(&id).unwrap();
            *claims += 1;
            *until = Some(claim.now.plus(claim.lease_for));
            (work.attempts, work.lease) = (work.attempts + 1, *claims);
            claimed.push(work.clone());
        }
        Ok(claimed)
    }
    async fn list(&self, query: &WorkQuery) -> Result<Vec<Work>, StateError> {
        let mut inner = self.alive()?;
        inner.lists += 1;
        let fits = |work: &&Work| {
            query.tenant.as_ref().is_none_or(|tenant| *tenant == work.tenant) && query.state.is_none_or(|state| state == work.state)
        };
        Ok(inner.work.values().rev().map(|(work, ..)| work).filter(fits).take(query.limit).cloned().collect())
    }
    async fn backlog(&self, now: Timestamp) -> Result<Vec<Backlog>, StateError> {
        let inner = self.alive()?;
        let count = |state| inner.work.values().filter(|(work, ..)| work.state == state).count() as u64;
        let due = inner.work.values().filter(|(work, ..)| work.state == WorkState::Pending).map(|(work, ..)| work.due_at).min();
        let overdue = due.map_or(Duration::ZERO, |due| now.since(due));
        Ok(vec![Backlog { queue: Queue::Delivery, pending: count(WorkState::Pending), dead: count(WorkState::Dead), overdue }])
    }
}

#[async_trait]
impl Leases for TestState {
    async fn acquire(&self, lease: &str, _: &str, _: Timestamp, _: Duration) -> Result<Option<Fence>, StateError> {
        Ok(Some(Fence { lease: lease.to_owned(), token: self.alive()?.fence }))
    }
    async fn release(&self, _: &Fence, _: &str) -> Result<(), StateError> {
        Ok(())
    }
    async fn now(&self) -> Result<Timestamp, StateError> {
        drop(self.alive()?);
        Ok(self.clock.now())
    }
}

/// A notice about the incident or alert `key`.
pub fn notice(action: PageAction, key: &str) -> Notice {
    let resolved = action == PageAction::Resolve;
    let labels: model::labels::Labels =
        [("alertname", "CheckoutErrorRate"), ("service_name", "checkout"), ("severity", "critical")].into_iter().collect();
    Notice {
        action,
        dedup_key: key.to_owned(),
        severity: Severity::Critical,
        title: "checkout fails 7.5% of requests".to_owned(),
        incident_number: Some(42),
        group_labels: labels.filtered(|name| name == "service_name"),
        alerts: vec![NoticeAlert {
            resolved,
            labels,
            annotations: [("summary".to_owned(), "checkout fails 7.5% of requests".to_owned())].into(),
            starts_at: START.minus(Duration::from_secs(120)),
            ends_at: resolved.then_some(START),
            fingerprint: "00000000000000aa".to_owned(),
            value: "0.075".to_owned(),
            expr: "rate(errors[5m]) > 0.05".to_owned(),
        }],
        url: Some("https://watchfire.example.org/incidents/42".to_owned()),
        reason: "critical-page, step 1 of 2".to_owned(),
        details: [("team".to_owned(), "payments".to_owned())].into(),
    }
}

/// Writes a delivery into the outbox, at the clock's moment.
pub async fn queue(state: &TestState, delivery: Delivery, lane: Lane) -> WorkId {
    let now = state.clock.now();
    let key = delivery.id.to_string();
    let mut commit = Commit::at(now);
    commit.schedule(&delivery.tenant.clone(), Delivery { queued_at: now, ..delivery.clone() }.into_work(key.clone(), lane).unwrap());
    state.commit(commit).await.unwrap();
    WorkId::derived(now, &format!("{}/{key}", delivery.tenant))
}
