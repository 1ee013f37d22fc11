//! Large batches of alerts. A request becomes durable at once as it came, in a record with a work row, and is answered; the worker of queue
//! `intake` takes such requests apart one after the other, up to a thousand alerts a commit: a storm is taken in as fast as it can be written
//! down. Small requests that only say that alerts fire are taken at once, also while large ones wait; what was received before and is taken
//! apart after them changes nothing that they said. Ends wait behind: the end of what nobody knows yet would be lost.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::drive::Worker;
use model::event::{Actor, Subject};
use model::ids::WorkId;
use model::json::Json;
use model::state::{Commit, Expect, Fence, Put, StateError, StateStore, TRIES};
use model::time::{Span, Timestamp};
use model::work::{Lane, NewWork, Queue, Work, WorkChange};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::postable::PostableAlert;
use super::{News, Received, Sent, decide, take};
use crate::shared::Shared;

/// The records' kind. Frozen.
const KIND: &str = "received_alerts";
/// So many alerts are taken while their sender waits.
const FEW: usize = 100;
/// So many of a waiting request are taken in one commit.
const SOME: usize = 1_000;
/// About so many requests may wait (those that come in the same moment do not see each other): more are refused, and their senders come again.
const WAITING: usize = 128;
/// How soon a request that could not be taken apart is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How soon one that waits for one before it is looked at again.
const TURN: Duration = Duration::from_millis(100);
/// How long a reader waits for what was sent before its question.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(20);

/// A request of Alertmanager's API.
pub(crate) struct Request<'a> {
    /// The body: a JSON array of alerts.
    pub body: &'a str,
    /// What its alerts say, those with which something is wrong left out.
    pub batch: Vec<Sent>,
    /// Who sent it.
    pub actor: &'a Actor,
    /// When.
    pub at: Timestamp,
    /// How long an alert without an end is believed in.
    pub timeout: Span,
}

/// Why a request was not taken: nothing of it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{WAITING} large requests wait to be taken apart: send it again in a second")]
    Full,
    #[error(transparent)]
    State(#[from] StateError),
}

/// A request as it waits.
#[derive(Deserialize)]
struct Waiting {
    at: Timestamp,
    actor: Actor,
    timeout: Span,
    alerts: Vec<PostableAlert>,
}

/// What is written before the alerts.
#[derive(Serialize)]
struct Head<'a> {
    at: Timestamp,
    actor: &'a Actor,
    timeout: Span,
}

/// The body of a work row.
#[derive(Serialize, Deserialize)]
struct Job {
    record: String,
}

/// Takes a request: at once, or so that it is taken for certain. When this returns it is durable.
pub(crate) async fn receive(shared: &Shared, request: Request<'_>) -> Result<(), Refusal> {
    if request.batch.is_empty() {
        return Ok(());
    }
    let became = |outcome| shared.meters.requests.with_label_values(&[outcome]).inc();
    let begins = || request.batch.iter().all(|sent| matches!(sent.news, News::Firing { .. }));
    let small = request.batch.len() <= FEW;
    if small && (begins() || shared.state.next_due_in(Queue::Intake, request.at).await?.is_none()) {
        take(shared, &request.batch, request.at).await?;
        became("taken");
        return Ok(());
    }
    if shared.state.pending(Queue::Intake).await?.len() >= WAITING {
        became("refused");
        return Err(Refusal::Full);
    }
    shared.state.commit(waiting(shared, &request)?).await?;
    became("waiting");
    Ok(())
}

fn waiting(shared: &Shared, request: &Request<'_>) -> Result<Commit, StateError> {
    let record = format!("{:032x}", shared.ids.random());
    let wrong = |source| StateError::Body { kind: KIND.to_owned(), id: record.clone(), source };
    let head = Json::of(&Head { at: request.at, actor: request.actor, timeout: request.timeout }).map_err(wrong)?;
    // The body is JSON that was read already: it is written as it came, after the head's last field.
    let head = head.as_str().strip_suffix('}').unwrap_or_default();
    let mut commit = Commit::at(request.at);
    commit.puts.push(Put {
        tenant: shared.tenant.clone(),
        kind: KIND,
        id: record.clone(),
        key: None,
        status: "waiting".to_owned(),
        expect: Expect::New,
        body: Some(Json::stored(format!("{head},\"alerts\":{}}}", request.body))),
    });
    let body = Json::of(&Job { record: record.clone() }).map_err(wrong)?;
    let row = NewWork { queue: Queue::Intake, key: record, lane: Lane::Page, subject: Subject::default(), due_at: request.at, body };
    commit.schedule(&shared.tenant, row);
    Ok(commit)
}

/// Waits until what was sent before now is taken, a few seconds at most: who reads sees what it wrote.
pub(crate) async fn settled(shared: &Shared) -> Result<(), StateError> {
    let mut before: Vec<WorkId> = shared.state.pending(Queue::Intake).await?;
    let until = tokio::time::Instant::now() + PATIENCE;
    while !before.is_empty() && tokio::time::Instant::now() < until {
        tokio::time::sleep(AGAIN).await;
        let now = shared.state.pending(Queue::Intake).await?;
        before.retain(|id| now.contains(id));
    }
    Ok(())
}

/// Takes waiting requests apart.
pub struct IntakeWorker {
    shared: Arc<Shared>,
}

impl IntakeWorker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        IntakeWorker { shared }
    }

    /// Takes the alerts from `taken` on, some a commit; the last one ends the row and the record.
    async fn take_apart(&self, row: &Row<'_>, waiting: Waiting, taken: &mut usize) -> Result<(), StateError> {
        let Waiting { at, actor, timeout, alerts } = waiting;
        // What is wrong with the others was told to their sender.
        let batch: Vec<Sent> = alerts.into_iter().filter_map(|alert| alert.into_sent(&actor, at, timeout).ok()).collect();
        let received = Received { at, whole: batch.len() <= SOME, waited: true };
        loop {
            let from = (*taken).min(batch.len());
            let next = (from + SOME).min(batch.len());
            self.take_some(row, &batch[from..next], received, (next < batch.len()).then_some(next)).await?;
            *taken = next;
            if next == batch.len() {
                return Ok(());
            }
        }
    }

    /// One commit; `next`: where the one after it begins.
    async fn take_some(&self, row: &Row<'_>, some: &[Sent], received: Received, next: Option<usize>) -> Result<(), StateError> {
        let (id, lease, tenant) = (row.work.id, row.work.lease, &row.work.tenant);
        for attempt in 1.. {
            let now = row.state.now().await?;
            let (mut commit, _) = decide(&self.shared, row.state, some, received, now).await?;
            commit.at = now;
            // The record stays until all of it is taken: what is lost is taken again.
            commit.derived = true;
            commit.fence = row.fence.cloned();
            match next {
                Some(next) => commit.change(tenant, WorkChange::Progress { id, lease, progress: json!({"taken": next}) }),
                None => {
                    commit.puts.push(gone(row.work, row.record, row.version));
                    commit.change(tenant, WorkChange::Done { id, lease });
                }
            }
            match row.state.commit(commit).await {
                Ok(_) => break,
                Err(error) if error.is_conflict() && attempt < TRIES => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives a row back, to be claimed again after a while.
    async fn give_back(&self, row: &Row<'_>, after: Duration, taken: usize, error: String) -> Result<(), StateError> {
        let now = row.state.now().await?;
        let mut commit = Commit { fence: row.fence.cloned(), derived: true, ..Commit::at(now) };
        let progress = Some(json!({"taken": taken}));
        let change = WorkChange::Retry { id: row.work.id, lease: row.work.lease, due_at: now.plus(after), error, progress };
        commit.change(&row.work.tenant, change);
        row.state.commit(commit).await.map(drop)
    }
}

/// A row that is being worked on.
struct Row<'a> {
    work: &'a Work,
    record: &'a str,
    version: u64,
    state: &'a dyn StateStore,
    fence: Option<&'a Fence>,
}

/// The record is no longer needed.
fn gone(work: &Work, record: &str, version: u64) -> Put {
    Put {
        tenant: work.tenant.clone(),
        kind: KIND,
        id: record.to_owned(),
        key: None,
        status: String::new(),
        expect: Expect::Version(version),
        body: None,
    }
}

#[async_trait]
impl Worker for IntakeWorker {
    fn queue(&self) -> Queue {
        Queue::Intake
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// One after the other: a later request may end what an earlier one began.
    fn batch(&self) -> usize {
        1
    }

    async fn work(&self, work: Work, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<(), StateError> {
        let Some(job) = self.shared.job::<Job>("waiting request", &work, state, fence, now).await? else { return Ok(()) };
        let found = state.get(&work.tenant, KIND, &job.record).await?;
        let version = found.as_ref().map_or(0, |found| found.version);
        let row = Row { work: &work, record: &job.record, version, state, fence };
        let mut taken = work.progress.as_ref().and_then(|progress| progress["taken"].as_u64()).map_or(0, |taken| taken as usize);
        // Rows are claimed in their order, but one may be held by a node that is gone, or may have been given back.
        if state.pending(Queue::Intake).await?.into_iter().any(|other| other < work.id) {
            return self.give_back(&row, TURN, taken, "waits for a request before it".to_owned()).await;
        }
        let waiting = match found.map(|found| found.body.read::<Waiting>()) {
            Some(Ok(waiting)) => waiting,
            Some(Err(error)) => return dead(&row, now, format!("{KIND} {} cannot be read: {error}", job.record)).await,
            None => return dead(&row, now, format!("the record {KIND} {} is gone", job.record)).await,
        };
        match self.take_apart(&row, waiting, &mut taken).await {
            Ok(()) => {
                self.shared.meters.requests.with_label_values(&["taken_apart"]).inc();
                Ok(())
            }
            Err(error) => {
                // Where this fails too, its claim runs out, and those behind it wait as long.
                self.give_back(&row, RETRY, taken, error.to_string()).await?;
                Err(error)
            }
        }
    }
}

/// Nothing can be done with it: it stays to be looked at, and holds up no other.
async fn dead(row: &Row<'_>, now: Timestamp, error: String) -> Result<(), StateError> {
    tracing::error!(work = %row.work.id, error, "alerts that were answered for cannot be taken: a row of queue `intake` is given up");
    let mut commit = Commit { fence: row.fence.cloned(), ..Commit::at(now) };
    commit.change(&row.work.tenant, WorkChange::Dead { id: row.work.id, lease: row.work.lease, error });
    row.state.commit(commit).await.map(drop)
}
