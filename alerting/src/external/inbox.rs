//! Large batches of alerts. A request becomes durable at once as it came, in a record with a work row, and is answered; the worker of queue
//! `intake` takes such requests apart in their order, some alerts a commit. So a storm is taken in as fast as it can be written down, and
//! holds up no page. Small requests are taken at once, unless large ones wait before them: what came first counts first.

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
use super::{Sent, decide, take};
use crate::shared::Shared;

/// The records' kind. Frozen.
const KIND: &str = "received_alerts";
/// So many alerts are taken while their sender waits.
const FEW: usize = 100;
/// So many of a waiting request are taken in one commit.
const SOME: usize = 500;
/// So many requests may wait: more are refused, and their senders come again.
const WAITING: usize = 128;
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
    let before = shared.state.pending(Queue::Intake).await?.len();
    let became = |outcome| shared.meters.requests.with_label_values(&[outcome]).inc();
    if before == 0 && request.batch.len() <= FEW {
        take(shared, &request.batch, request.at).await?;
        became("taken");
        return Ok(());
    }
    if before >= WAITING {
        became("refused");
        return Err(Refusal::Full);
    }
    if !request.batch.is_empty() {
        shared.meters.requests_waiting.set(i64::try_from(before).unwrap_or(0) + 1);
        shared.state.commit(waiting(shared, &request)?).await?;
        became("waiting");
    }
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

    /// Takes the alerts from `first` on, some a commit; the last one ends the row and the record.
    async fn take_apart(
        &self,
        work: &Work,
        waiting: Waiting,
        version: u64,
        record: &str,
        state: &dyn StateStore,
        fence: Option<&Fence>,
    ) -> Result<(), StateError> {
        let first = work.progress.as_ref().and_then(|progress| progress["taken"].as_u64()).unwrap_or(0);
        let Waiting { at, actor, timeout, alerts } = waiting;
        // What is wrong with the others was told to their sender.
        let batch: Vec<Sent> = alerts.into_iter().filter_map(|alert| alert.into_sent(&actor, at, timeout).ok()).collect();
        let mut taken = usize::try_from(first).unwrap_or(0).min(batch.len());
        loop {
            let some = &batch[taken..(taken + SOME).min(batch.len())];
            taken += some.len();
            let last = taken == batch.len();
            for attempt in 1..=TRIES {
                let now = state.now().await?;
                let (mut commit, _) = decide(&self.shared, state, some, now).await?;
                commit.at = now;
                // The record stays until all of it is taken: what is lost is taken again.
                commit.derived = true;
                commit.fence = fence.cloned();
                let (id, lease) = (work.id, work.lease);
                if last {
                    commit.puts.push(gone(work, record, version));
                    commit.change(&work.tenant, WorkChange::Done { id, lease });
                } else {
                    commit.change(&work.tenant, WorkChange::Progress { id, lease, progress: json!({"taken": taken}) });
                }
                match state.commit(commit).await {
                    Ok(_) => break,
                    Err(error) if error.is_conflict() && attempt < TRIES => {}
                    Err(error) => return Err(error),
                }
            }
            if last {
                return Ok(());
            }
        }
    }
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
        let dead = |error: String| {
            let mut commit = Commit { fence: fence.cloned(), ..Commit::at(now) };
            commit.change(&work.tenant, WorkChange::Dead { id: work.id, lease: work.lease, error });
            commit
        };
        let Some(found) = found else {
            return state.commit(dead(format!("the record {KIND} {} is gone", job.record))).await.map(drop);
        };
        match found.body.read::<Waiting>() {
            Ok(waiting) => self.take_apart(&work, waiting, found.version, &job.record, state, fence).await?,
            Err(error) => state.commit(dead(format!("{KIND} {} cannot be read: {error}", job.record))).await.map(drop)?,
        }
        let left = state.pending(Queue::Intake).await?.len();
        self.shared.meters.requests_waiting.set(i64::try_from(left).unwrap_or(0));
        Ok(())
    }
}
