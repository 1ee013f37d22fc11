//! The tables of the memory backend with their indexes. A commit is applied step by step; where a step is refused, the steps before
//! it are taken back in reverse order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use model::event::{Event, Recorded};
use model::ids::{EventId, WorkId};
use model::state::{Commit, Expect, Put, Record, StateError};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Claim, FIRST_LEASE, Lane, Queue, Work, WorkChange, WorkState};

use super::super::text::{USUAL_WORK, limit, storable, stored};

/// Kind, id, tenant: in this order, because lists are by kind and newest id.
pub type Place = (String, String, TenantId);

#[derive(Clone)]
struct Row {
    work: Work,
    /// How often it was claimed.
    claims: u64,
    /// Until when it is held, if it is.
    lease_until: Option<Timestamp>,
    /// Which node claimed it last.
    holder: Option<String>,
    finished_at: Option<Timestamp>,
}

#[derive(Default)]
pub struct Tables {
    records: BTreeMap<Place, Record>,
    /// Tenant, kind, key -> id.
    keys: HashMap<(TenantId, String, String), String>,
    journal: Vec<Recorded>,
    event_ids: HashSet<EventId>,
    work: BTreeMap<WorkId, Row>,
    work_keys: HashMap<(TenantId, Queue, String), WorkId>,
    /// The pending rows, in order of claiming.
    pending: BTreeSet<(Queue, Lane, Timestamp, WorkId)>,
    /// What was there before each step that need not outlive the machine yet.
    loose: Vec<Undo>,
}

/// What was there before a step.
enum Undo {
    Record(Place, Option<Record>),
    Work(WorkId, Option<Box<Row>>),
    /// The journal's length.
    Journal(usize),
}

fn conflict(what: String) -> StateError {
    StateError::Conflict { what }
}

impl Tables {
    /// One record.
    pub fn record(&self, place: &Place) -> Option<&Record> {
        self.records.get(place)
    }
    /// The records of a kind, newest id first.
    pub fn newest_records(&self, kind: &str) -> impl Iterator<Item = &Record> {
        let first = (kind.to_owned(), String::new(), TenantId::default());
        // Ids are never empty, so that `first` lies before all of the kind; the next kind ends it.
        let end = (format!("{kind}\0"), String::new(), TenantId::default());
        self.records.range(first..end).rev().map(|(_, record)| record)
    }
    /// The journal, in order.
    pub fn journal(&self) -> &[Recorded] {
        &self.journal
    }
    /// All work rows, newest id first.
    pub fn newest_work(&self) -> impl Iterator<Item = &Work> {
        self.work.values().rev().map(|row| &row.work)
    }

    /// Changes everything or nothing, in the name of a node; gives the numbers of the events.
    pub fn commit(&mut self, commit: Commit, node: Option<&str>) -> Result<Vec<u64>, StateError> {
        let mut undo = vec![Undo::Journal(self.journal.len())];
        match self.apply(&commit, node, &mut undo) {
            Ok(()) => {
                if commit.derived {
                    self.loose.append(&mut undo);
                } else {
                    self.loose.clear();
                }
                Ok(commit.events.into_iter().map(|event| self.append(event)).collect())
            }
            Err(error) => {
                self.undo(undo);
                Err(error)
            }
        }
    }

    fn undo(&mut self, steps: Vec<Undo>) {
        for step in steps.into_iter().rev() {
            match step {
                Undo::Record(place, before) => drop(self.set_record(place, before)),
                Undo::Work(id, before) => drop(self.set_work(id, before.map(|row| *row))),
                Undo::Journal(length) => {
                    for lost in self.journal.drain(length.min(self.journal.len())..) {
                        self.event_ids.remove(&lost.event.id);
                    }
                }
            }
        }
    }

    /// Everything so far outlives the machine.
    pub fn sync(&mut self) {
        self.loose.clear();
    }

    /// The machine stops: what was derived since the last commit that was not is gone.
    pub fn lose(&mut self) {
        let loose = std::mem::take(&mut self.loose);
        self.undo(loose);
    }

    fn apply(&mut self, commit: &Commit, node: Option<&str>, undo: &mut Vec<Undo>) -> Result<(), StateError> {
        for put in &commit.puts {
            undo.push(self.put(put, commit.at)?);
        }
        for (tenant, change) in &commit.work {
            undo.extend(self.change(tenant, change, commit.at, node)?);
        }
        let mut fresh = HashSet::new();
        match commit.events.iter().find(|event| self.event_ids.contains(&event.id) || !fresh.insert(event.id)) {
            Some(twice) => Err(conflict(format!("event {}", twice.id))),
            None => Ok(()),
        }
    }

    fn append(&mut self, event: Event) -> u64 {
        let seq = self.journal.len() as u64 + 1;
        self.event_ids.insert(event.id);
        self.journal.push(Recorded { seq, event });
        seq
    }

    fn set_record(&mut self, place: Place, record: Option<Record>) -> Option<Record> {
        let index = |record: &Record| record.key.clone().map(|key| (record.tenant.clone(), record.kind.clone(), key));
        let before = self.records.remove(&place);
        if let Some(key) = before.as_ref().and_then(index) {
            self.keys.remove(&key);
        }
        if let Some(record) = record {
            if let Some(key) = index(&record) {
                self.keys.insert(key, record.id.clone());
            }
            self.records.insert(place, record);
        }
        before
    }

    fn put(&mut self, put: &Put, at: Timestamp) -> Result<Undo, StateError> {
        let id = storable(&put.id).into_owned();
        let place = (put.kind.to_owned(), id.clone(), put.tenant.clone());
        let taken = || conflict(format!("{} {}", put.kind, put.id));
        let version = match (put.expect, self.records.get(&place).map(|record| record.version)) {
            (Expect::New | Expect::Any, None) => 1,
            (Expect::Any, Some(version)) => version + 1,
            (Expect::Version(wanted), Some(version)) if wanted == version => version + 1,
            (Expect::New, Some(_)) | (Expect::Version(_), _) => return Err(taken()),
        };
        let Some(body) = put.body.clone() else {
            return Ok(Undo::Record(place.clone(), self.set_record(place, None)));
        };
        let key = put.key.as_deref().map(|key| storable(key).into_owned());
        if let Some(key) = &key {
            let holder = self.keys.get(&(put.tenant.clone(), put.kind.to_owned(), key.clone()));
            if holder.is_some_and(|holder| *holder != id) {
                return Err(taken());
            }
        }
        let (tenant, kind, status) = (put.tenant.clone(), put.kind.to_owned(), storable(&put.status).into_owned());
        let record = Record { tenant, kind, id, key, status, version, updated_at: stored(at), body };
        Ok(Undo::Record(place.clone(), self.set_record(place, Some(record))))
    }

    fn set_work(&mut self, id: WorkId, row: Option<Row>) -> Option<Row> {
        let turn = |work: &Work| (work.queue, work.lane, work.due_at, work.id);
        let key = |work: &Work| (work.tenant.clone(), work.queue, work.key.clone());
        let before = self.work.remove(&id);
        if let Some(Row { work, .. }) = &before {
            self.pending.remove(&turn(work));
            self.work_keys.remove(&key(work));
        }
        if let Some(row) = row {
            if row.work.state == WorkState::Pending {
                self.pending.insert(turn(&row.work));
            }
            self.work_keys.insert(key(&row.work), id);
            self.work.insert(id, row);
        }
        before
    }

    fn change(&mut self, tenant: &TenantId, change: &WorkChange, at: Timestamp, node: Option<&str>) -> Result<Option<Undo>, StateError> {
        let id = match change {
            WorkChange::Schedule(new) => {
                let work = as_stored(new.clone().row(tenant, at));
                if self.has_key(&work) {
                    return Ok(None);
                }
                return Ok(Some(self.add_work(Row { work, claims: 0, lease_until: None, holder: None, finished_at: None })));
            }
            WorkChange::Take { new, lease_for, progress } => {
                let work = as_stored(new.clone().taken(tenant, at, progress.clone()));
                if self.has_key(&work) {
                    return Err(conflict(format!("work {}", work.id)));
                }
                let (lease_until, holder) = (Some(stored(at.plus(*lease_for))), node.map(str::to_owned));
                return Ok(Some(self.add_work(Row { work, claims: FIRST_LEASE, lease_until, holder, finished_at: None })));
            }
            WorkChange::Cancel { queue, key } => {
                let known = self.work_keys.get(&(tenant.clone(), *queue, storable(key).into_owned()));
                let pending = known.filter(|id| self.work.get(id).is_some_and(|row| row.work.state == WorkState::Pending));
                match pending {
                    Some(id) => *id,
                    None => return Ok(None),
                }
            }
            WorkChange::Progress { id, .. }
            | WorkChange::Done { id, .. }
            | WorkChange::Retry { id, .. }
            | WorkChange::Dead { id, .. }
            | WorkChange::Replay { id, .. } => *id,
        };
        let found = self.work.get(&id).filter(|row| row.work.tenant == *tenant).cloned();
        let changed = found.and_then(|row| row.changed(change, stored(at))).ok_or_else(|| conflict(format!("work {id}")))?;
        let before = self.set_work(id, Some(changed));
        Ok(Some(Undo::Work(id, before.map(Box::new))))
    }

    fn has_key(&self, work: &Work) -> bool {
        self.work_keys.contains_key(&(work.tenant.clone(), work.queue, work.key.clone()))
    }

    fn add_work(&mut self, row: Row) -> Undo {
        let id = row.work.id;
        self.set_work(id, Some(row));
        Undo::Work(id, None)
    }

    /// Takes due rows that nobody holds.
    pub fn claim(&mut self, claim: &Claim, node: Option<&str>) -> Vec<Work> {
        let now = stored(claim.now);
        let (nil, max) = (uuid_bound(false), uuid_bound(true));
        let due = [Lane::Page, Lane::Chat, Lane::Mail].into_iter().flat_map(|lane| {
            let first = (claim.queue, lane, Timestamp::from_nanos(i64::MIN), nil);
            self.pending.range(first..=(claim.queue, lane, now, max))
        });
        let free = due.map(|(_, _, _, id)| *id).filter(|id| {
            let until = self.work.get(id).and_then(|row| row.lease_until);
            until.is_none_or(|until| until <= now)
        });
        let ids: Vec<WorkId> = free.take(limit(claim.limit, USUAL_WORK)).collect();
        let mut claimed = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(row) = self.work.get_mut(&id) {
                self.loose.push(Undo::Work(id, Some(Box::new(row.clone()))));
                row.claims += 1;
                row.holder = node.map(str::to_owned);
                row.lease_until = Some(stored(claim.now.plus(claim.lease_for)));
                row.work.attempts += 1;
                row.work.lease = row.claims;
                claimed.push(row.work.clone());
            }
        }
        claimed
    }

    /// Ends the claims of a node that is gone; gives how many.
    pub fn free(&mut self, node: &str) -> u64 {
        self.sync();
        let held =
            |row: &&mut Row| row.lease_until.is_some() && row.holder.as_deref() == Some(node) && row.work.state == WorkState::Pending;
        let mut freed = 0;
        for row in self.work.values_mut().filter(held) {
            (row.lease_until, row.work.lease) = (None, 0);
            freed += 1;
        }
        freed
    }

    /// When the first pending row of a queue can be claimed.
    pub fn next_due(&self, queue: Queue) -> Option<Timestamp> {
        let pending = self.work.values().filter(|row| row.work.queue == queue && row.work.state == WorkState::Pending);
        pending.map(|row| row.lease_until.unwrap_or(row.work.due_at)).min()
    }

    /// Deletes rows that ended before a moment; gives how many.
    pub fn prune(&mut self, before: Timestamp) -> u64 {
        self.sync();
        let old: Vec<WorkId> =
            self.work.iter().filter(|(_, row)| row.finished_at.is_some_and(|at| at < before)).map(|(id, _)| *id).collect();
        old.iter().for_each(|id| drop(self.set_work(*id, None)));
        old.len() as u64
    }
}

/// A row with the texts that stores keep.
fn as_stored(mut work: Work) -> Work {
    work.key = storable(&work.key).into_owned();
    work
}

/// The smallest or largest id there can be.
fn uuid_bound(max: bool) -> WorkId {
    let text = format!("{}_{}", WorkId::PREFIX, if max { "f".repeat(32) } else { "0".repeat(32) });
    text.parse().unwrap_or_else(|_| WorkId::derived(Timestamp::EPOCH, ""))
}

impl Row {
    /// The row after the change; `None` where it does not apply: the claim is lost, or there is nothing to replay.
    fn changed(mut self, change: &WorkChange, at: Timestamp) -> Option<Row> {
        let pending = self.work.state == WorkState::Pending;
        let held = |lease: &u64| pending && self.lease_until.is_some() && self.claims == *lease;
        let give_back = match change {
            WorkChange::Schedule(_) | WorkChange::Take { .. } => return None,
            WorkChange::Progress { lease, progress, .. } if held(lease) => {
                self.work.progress = Some(progress.clone());
                false
            }
            WorkChange::Done { lease, .. } if held(lease) => {
                (self.work.state, self.finished_at) = (WorkState::Done, Some(at));
                true
            }
            WorkChange::Retry { lease, due_at, error, progress, .. } if held(lease) => {
                (self.work.due_at, self.work.progress) = (stored(*due_at), progress.clone());
                self.work.error = Some(storable(error).into_owned());
                true
            }
            WorkChange::Dead { lease, error, .. } if held(lease) => {
                self.work.state = WorkState::Dead;
                self.work.error = Some(storable(error).into_owned());
                true
            }
            WorkChange::Cancel { .. } if pending => {
                (self.work.state, self.finished_at) = (WorkState::Cancelled, Some(at));
                true
            }
            WorkChange::Replay { due_at, .. } if self.work.state == WorkState::Dead => {
                (self.work.state, self.work.attempts, self.work.due_at) = (WorkState::Pending, 0, stored(*due_at));
                true
            }
            WorkChange::Progress { .. }
            | WorkChange::Done { .. }
            | WorkChange::Retry { .. }
            | WorkChange::Dead { .. }
            | WorkChange::Cancel { .. }
            | WorkChange::Replay { .. } => return None,
        };
        if give_back {
            (self.lease_until, self.work.lease) = (None, 0);
        }
        Some(self)
    }
}
