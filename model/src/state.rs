//! The state store's ports: records, journal, work rows and leases. One commit changes all of them or none.
//!
//! A record is one entity as JSON with a version; `store` has three backends (memory, SQLite, PostgreSQL) under one contract
//! suite. Readers that decide name the version they read; a commit on a stale version is a [`StateError::Conflict`].

use std::ops::ControlFlow;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::{Event, Recorded};
use crate::ids::{AlertId, IncidentId, WorkId};
use crate::json::Json;
use crate::tenant::TenantId;
use crate::time::Timestamp;
use crate::work::{Claim, NewWork, Queue, Work, WorkChange, WorkQuery, WorkState};

/// Something that is kept as a record.
pub trait Entity: Serialize + DeserializeOwned + Send + Sync {
    /// The kind's name in the database: frozen.
    const KIND: &'static str;
    /// Whose it is.
    fn tenant(&self) -> &TenantId;
    /// Its id, unique per kind.
    fn id(&self) -> String;
    /// A second, unique way to find it (per tenant and kind) while it has one.
    fn key(&self) -> Option<String> {
        None
    }
    /// What lists are filtered by; empty where none is.
    fn status(&self) -> &'static str;
}

/// A record as the backends keep it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Whose.
    pub tenant: TenantId,
    /// Of which kind.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its key, if it has one now.
    pub key: Option<String>,
    /// Its status.
    pub status: String,
    /// 1 at creation, plus 1 at each change.
    pub version: u64,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// The entity.
    pub body: Json,
}

/// An entity with the version that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned<T> {
    /// The entity.
    pub entity: T,
    /// Its version.
    pub version: u64,
}

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No record with this id (nor one that holds this key).
    New,
    /// The record at this version.
    Version(u64),
    /// Whatever there is, or nothing.
    Any,
}

/// One record to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Put {
    /// Whose.
    pub tenant: TenantId,
    /// Of which kind.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// Its key.
    pub key: Option<String>,
    /// Its status.
    pub status: String,
    /// What is expected to be there.
    pub expect: Expect,
    /// The entity; `None` deletes.
    pub body: Option<Json>,
}

/// Only the holder of the lease at this token may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The lease's name (`leader`).
    pub lease: String,
    /// The token that taking the lease gave.
    pub token: u64,
}

/// What is to change, all or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// The moment of the change, for `updated_at`, `created_at`.
    pub at: Timestamp,
    /// The lease that must still be held.
    pub fence: Option<Fence>,
    /// It follows from what is stored and is decided again where it is lost: it need not outlive the machine (only the process) before it is
    /// confirmed. Whatever is committed later and must outlive the machine makes it lasting too. Never where somebody was answered, or
    /// something outside was done.
    pub derived: bool,
    /// Records.
    pub puts: Vec<Put>,
    /// Journal events, in order.
    pub events: Vec<Event>,
    /// Work rows, with their tenant.
    pub work: Vec<(TenantId, WorkChange)>,
}

impl Commit {
    /// Nothing yet, at a moment.
    pub fn at(at: Timestamp) -> Self {
        Commit { at, ..Commit::default() }
    }
    /// Writes an entity.
    pub fn put<T: Entity>(&mut self, entity: &T, expect: Expect) -> Result<(), StateError> {
        let body = Json::of(entity).map_err(|source| StateError::Body { kind: T::KIND.to_owned(), id: entity.id(), source })?;
        self.puts.push(Put {
            tenant: entity.tenant().clone(),
            kind: T::KIND,
            id: entity.id(),
            key: entity.key(),
            status: entity.status().to_owned(),
            expect,
            body: Some(body),
        });
        Ok(())
    }
    /// Deletes an entity.
    pub fn delete<T: Entity>(&mut self, entity: &T, expect: Expect) {
        self.puts.push(Put {
            tenant: entity.tenant().clone(),
            kind: T::KIND,
            id: entity.id(),
            key: None,
            status: String::new(),
            expect,
            body: None,
        });
    }
    /// Appends an event.
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }
    /// Schedules a work row.
    pub fn schedule(&mut self, tenant: &TenantId, work: NewWork) {
        self.work.push((tenant.clone(), WorkChange::Schedule(work)));
    }
    /// Changes a work row.
    pub fn change(&mut self, tenant: &TenantId, change: WorkChange) {
        self.work.push((tenant.clone(), change));
    }
    /// Whether it writes rows that are begun as soon as it is written: then it must outlive the machine.
    pub fn takes(&self) -> bool {
        self.work.iter().any(|(_, change)| matches!(change, WorkChange::Take { .. }))
    }
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.events.is_empty() && self.work.is_empty()
    }
    /// Adds all of another commit's changes; its fence, its time and whether it is derived are ignored.
    pub fn merge(&mut self, other: Commit) {
        self.puts.extend(other.puts);
        self.events.extend(other.events);
        self.work.extend(other.work);
    }
}

/// Why the state store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Somebody else was first: read again, decide again.
    #[error("{what} was changed by somebody else meanwhile")]
    Conflict {
        /// `incident inc_...`, `work wrk_...`, `lease leader`
        what: String,
    },
    /// This node is no longer the leader.
    #[error("the lease `{lease}` is held by another node")]
    Fenced {
        /// Which lease.
        lease: String,
    },
    /// A body does not fit its entity.
    #[error("the body of {kind} {id} does not have the expected form")]
    Body {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The database failed or cannot be reached: nothing was changed.
    #[error("the state store failed while {doing}")]
    Backend {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StateError {
    /// Whether it is worth reading and deciding again at once.
    pub fn is_conflict(&self) -> bool {
        matches!(self, StateError::Conflict { .. })
    }
}

/// Which records a reader wants.
#[derive(Clone, Debug, Default)]
pub struct RecordQuery {
    /// Of one tenant, or of all.
    pub tenant: Option<TenantId>,
    /// Of which kind.
    pub kind: &'static str,
    /// With one of these statuses; none means any.
    pub statuses: Vec<String>,
    /// With this key.
    pub key: Option<String>,
    /// With a key that begins so.
    pub key_begins: Option<String>,
    /// With one of these ids; none means any. At most 1,000.
    pub ids: Vec<String>,
    /// With one of these keys; none means any. At most 1,000.
    pub keys: Vec<String>,
    /// With ids below this one (they are time-ordered): the next page.
    pub before: Option<String>,
    /// At most so many, newest id first; 0 means 1,000.
    pub limit: usize,
    /// Whether who asks knows that few records of the kind, of any tenant, have these statuses: then the answer is worth no thread of its own.
    pub few: bool,
}

/// Records: read and change.
#[async_trait]
pub trait Records: Send + Sync {
    /// Changes everything in the commit, or nothing. Returns the journal numbers of its events, in order.
    async fn commit(&self, commit: Commit) -> Result<Vec<u64>, StateError>;
    /// One record by id.
    async fn get(&self, tenant: &TenantId, kind: &'static str, id: &str) -> Result<Option<Record>, StateError>;
    /// Some records, newest id first.
    async fn find(&self, query: &RecordQuery) -> Result<Vec<Record>, StateError>;
    /// How many records a query would find without its limit.
    async fn count(&self, query: &RecordQuery) -> Result<u64, StateError> {
        Ok(self.find(&RecordQuery { limit: usize::MAX, ..query.clone() }).await?.len() as u64)
    }
}

/// Which part of the journal a reader wants.
#[derive(Clone, Debug, Default)]
pub struct JournalQuery {
    /// Events after this number.
    pub after: u64,
    /// Of one tenant, or of all.
    pub tenant: Option<TenantId>,
    /// About this incident.
    pub incident: Option<IncidentId>,
    /// About this alert.
    pub alert: Option<AlertId>,
    /// At most so many, oldest first; 0 means 1,000.
    pub limit: usize,
}

/// The journal, in order of commit: a reader that has seen number n never later finds a smaller one it has not seen.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Some events, oldest first.
    async fn events(&self, query: &JournalQuery) -> Result<Vec<Recorded>, StateError>;
    /// The number of the newest event; 0 where there is none.
    async fn head(&self) -> Result<u64, StateError>;
}

/// Work rows: claim and look. They are changed by commits.
#[async_trait]
pub trait WorkRows: Send + Sync {
    /// Takes due rows, lane first, then due time; two claimers never get the same row while the lease lasts.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Work>, StateError>;
    /// Some rows, newest first.
    async fn list(&self, query: &WorkQuery) -> Result<Vec<Work>, StateError>;
    /// The ids of all pending rows of a queue, in no order.
    async fn pending(&self, queue: Queue) -> Result<Vec<WorkId>, StateError> {
        let all = WorkQuery { queue: Some(queue), state: Some(WorkState::Pending), limit: usize::MAX, ..WorkQuery::default() };
        Ok(self.list(&all).await?.into_iter().map(|row| row.id).collect())
    }
    /// How many rows are pending and how old the longest overdue one is, per queue.
    async fn backlog(&self, now: Timestamp) -> Result<Vec<Backlog>, StateError>;
    /// When a pending row of a queue can be claimed: the earliest due time of those that nobody holds and end of lease of those that
    /// are held; a time in the past where one can be claimed at `now`. `None` where no row is pending.
    async fn next_due_in(&self, queue: Queue, now: Timestamp) -> Result<Option<Timestamp>, StateError>;
    /// Deletes rows that were done or cancelled before a moment. Their keys can be scheduled again afterwards. Dead letters stay
    /// until they are replayed. Returns how many are gone.
    async fn prune_work(&self, before: Timestamp) -> Result<u64, StateError>;
}

/// What waits in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Which queue.
    pub queue: crate::work::Queue,
    /// Rows that are pending.
    pub pending: u64,
    /// Dead letters.
    pub dead: u64,
    /// How long the longest overdue pending row has been due.
    pub overdue: Duration,
}

/// Leases: one holder at a time, with a token that only rises.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes or renews a lease. `None` while somebody else holds it. A renewal by the holder keeps the token; a new holder gets a
    /// higher one.
    async fn acquire(&self, lease: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<Option<Fence>, StateError>;
    /// Gives it back.
    async fn release(&self, fence: &Fence, holder: &str) -> Result<(), StateError>;
    /// For a node that starts again: what an earlier process of it held is free at once, so that nothing waits for the end of a lease
    /// whose holder is gone. That is the claims on work rows made through a store of this node's name, and the leases whose holder is
    /// `<node>/...` (whoever takes them next gets a higher token). Only a process that knows to be the only one of its node may ask,
    /// before it claims anything. Returns how many rows are free again.
    async fn take_back(&self, node: &str) -> Result<u64, StateError>;
    /// The one clock: PostgreSQL's there, the injected clock elsewhere. Asked once a tick.
    async fn now(&self) -> Result<Timestamp, StateError>;
}

/// How often a decision is made again, on records read anew, when somebody else was first ([`StateError::is_conflict`]).
pub const TRIES: usize = 8;

/// All of it.
pub trait StateStore: Records + Journal + WorkRows + Leases {}

impl<T: Records + Journal + WorkRows + Leases> StateStore for T {}

/// Reads an entity out of its record.
pub fn decode<T: Entity>(record: Record) -> Result<Versioned<T>, StateError> {
    let Record { kind, id, version, body, .. } = record;
    let entity = body.read().map_err(|source| StateError::Body { kind, id, source })?;
    Ok(Versioned { entity, version })
}

/// One entity by id.
pub async fn load<T: Entity>(store: &(impl Records + ?Sized), tenant: &TenantId, id: &str) -> Result<Option<Versioned<T>>, StateError> {
    store.get(tenant, T::KIND, id).await?.map(decode).transpose()
}

/// The entity that holds a key at present.
pub async fn by_key<T: Entity>(store: &(impl Records + ?Sized), tenant: &TenantId, key: &str) -> Result<Option<Versioned<T>>, StateError> {
    let query = RecordQuery { tenant: Some(tenant.clone()), kind: T::KIND, key: Some(key.to_owned()), limit: 1, ..RecordQuery::default() };
    store.find(&query).await?.pop().map(decode).transpose()
}

/// The entities that hold some of these keys at present, in no order.
pub async fn by_keys<T: Entity>(
    store: &(impl Records + ?Sized),
    tenant: &TenantId,
    keys: &[String],
) -> Result<Vec<Versioned<T>>, StateError> {
    some_of(store, tenant, keys, |query, keys| query.keys = keys).await
}

/// The entities with some of these ids, in no order.
pub async fn by_ids<T: Entity>(
    store: &(impl Records + ?Sized),
    tenant: &TenantId,
    ids: &[String],
) -> Result<Vec<Versioned<T>>, StateError> {
    some_of(store, tenant, ids, |query, ids| query.ids = ids).await
}

/// The entities with one of the statuses whose key begins so at present, newest first.
pub async fn by_beginning<T: Entity>(
    store: &(impl Records + ?Sized),
    tenant: &TenantId,
    beginning: String,
    statuses: &[&str],
) -> Result<Vec<Versioned<T>>, StateError> {
    let statuses = statuses.iter().map(|status| (*status).to_owned()).collect();
    paged(store, RecordQuery { tenant: Some(tenant.clone()), key_begins: Some(beginning), statuses, ..RecordQuery::default() }, 0).await
}

async fn some_of<T: Entity>(
    store: &(impl Records + ?Sized),
    tenant: &TenantId,
    wanted: &[String],
    ask: impl Fn(&mut RecordQuery, Vec<String>),
) -> Result<Vec<Versioned<T>>, StateError> {
    let mut found = Vec::new();
    for some in wanted.chunks(500) {
        let mut query = RecordQuery { tenant: Some(tenant.clone()), kind: T::KIND, limit: some.len(), ..RecordQuery::default() };
        ask(&mut query, some.to_vec());
        for record in store.find(&query).await? {
            found.push(decode(record)?);
        }
    }
    Ok(found)
}

/// Reads all events that a query asks for, in order, a page of `limit` (not 0) at a time, until there are no more or a page is the last one that
/// is wanted: what it breaks off with.
pub async fn pages<B>(
    journal: &(impl Journal + ?Sized),
    mut query: JournalQuery,
    mut page: impl FnMut(Vec<Recorded>) -> ControlFlow<B>,
) -> Result<Option<B>, StateError> {
    loop {
        let events = journal.events(&query).await?;
        let next = events.last().filter(|_| events.len() >= query.limit).map(|last| last.seq);
        if let ControlFlow::Break(end) = page(events) {
            return Ok(Some(end));
        }
        match next {
            Some(seq) => query.after = seq,
            None => return Ok(None),
        }
    }
}

/// What a query finds, newest first, a page at a time: at most so many, rounded up to whole pages; 0: all. Its limit is not used; its tenant
/// is named, or the ids of the kind are unique over all tenants.
pub async fn paged<T: Entity>(
    store: &(impl Records + ?Sized),
    mut query: RecordQuery,
    most: usize,
) -> Result<Vec<Versioned<T>>, StateError> {
    const PAGE: usize = 1_000;
    (query.kind, query.limit) = (T::KIND, PAGE);
    let mut found = Vec::new();
    loop {
        let page = store.find(&query).await?;
        let full = page.len() == PAGE;
        query.before = page.last().map(|record| record.id.clone());
        for record in page {
            found.push(decode(record)?);
        }
        if !full || (most > 0 && found.len() >= most) {
            return Ok(found);
        }
    }
}

/// Entities with one of the statuses (none: any), newest first: at most so many; 0: all of them.
pub async fn all<T: Entity>(
    store: &(impl Records + ?Sized),
    tenant: Option<&TenantId>,
    statuses: &[&str],
    limit: usize,
) -> Result<Vec<Versioned<T>>, StateError> {
    let query = RecordQuery {
        tenant: tenant.cloned(),
        kind: T::KIND,
        statuses: statuses.iter().map(|status| (*status).to_owned()).collect(),
        limit,
        ..RecordQuery::default()
    };
    if limit == 0 {
        return paged(store, query, 0).await;
    }
    store.find(&query).await?.into_iter().map(decode).collect()
}
