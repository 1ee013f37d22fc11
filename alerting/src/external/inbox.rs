//! Large batches of alerts. A request becomes durable at once as it came, in a record with a work row, and is answered; the worker of queue
//! `intake` takes such requests apart one after the other, some hundred alerts a commit: a storm is taken in as fast as it can be written
//! down, and told meanwhile. Small requests that only say that alerts fire are taken at once, also while large ones wait; what was received
//! before and is taken apart after them changes nothing that they said. Ends wait behind: the end of what nobody knows yet would be lost.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::drive::Worker;
use model::event::{Actor, Subject};
use model::ids::WorkId;
use model::state::{Commit, Entity, Expect, Fence, StateError, StateStore, TRIES, Versioned, load};
use model::tenant::TenantId;
use model::time::{Span, Timestamp};
use model::work::{Lane, NewWork, Queue, Work, WorkChange};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::pieces::{Piece, pieces};
use super::postable::PostableAlert;
use super::{Decided, Deciding, News, Received, Sent, begin_deciding, take};
use crate::shared::Shared;

/// So many alerts are taken while their sender waits.
pub(super) const FEW: usize = 100;
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

/// A request as it waits. State kind `received_alerts`; its work row has its id as key, and it goes with the last of its alerts.
#[derive(Serialize, Deserialize)]
struct Waiting {
    id: String,
    tenant: TenantId,
    at: Timestamp,
    actor: Actor,
    timeout: Span,
    /// As they came.
    alerts: Box<RawValue>,
}

impl Entity for Waiting {
    const KIND: &'static str = "received_alerts";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.clone()
    }
    fn status(&self) -> &'static str {
        "waiting"
    }
}

impl Waiting {
    /// What its alerts say; what is wrong with the others was told to their sender.
    fn batch(&self) -> Result<Vec<Sent>, serde_json::Error> {
        let alerts: Vec<PostableAlert> = serde_json::from_str(self.alerts.get())?;
        Ok(alerts.into_iter().filter_map(|alert| alert.into_sent(&self.actor, self.at, self.timeout).ok()).collect())
    }
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
    let id = format!("{:032x}", shared.ids.random());
    let (tenant, at, actor, timeout) = (shared.tenant.clone(), request.at, request.actor.clone(), request.timeout);
    let alerts = serde_json::from_str::<&RawValue>(request.body).map(ToOwned::to_owned);
    let alerts = alerts.map_err(|source| StateError::Body { kind: Waiting::KIND.to_owned(), id: id.clone(), source })?;
    let mut commit = Commit::at(at);
    let row = NewWork {
        queue: Queue::Intake,
        key: id.clone(),
        lane: Lane::Page,
        subject: Subject::default(),
        due_at: at,
        body: Value::Null.into(),
    };
    commit.schedule(&tenant, row);
    commit.put(&Waiting { id, tenant, at, actor, timeout, alerts }, Expect::New)?;
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

    /// Takes the alerts from `taken` on, a piece a commit; the last one ends the row and the record. While a piece is written the next one is
    /// decided, where it does not depend on it.
    async fn take_apart(&self, row: &Row<'_>, found: &Versioned<Waiting>, batch: &[Sent], taken: &mut usize) -> Result<(), StateError> {
        let mut routing = self.shared.routing();
        let mut cut = pieces(&routing, batch);
        let mut ahead = None;
        loop {
            let current = self.shared.routing();
            if !Arc::ptr_eq(&routing, &current) {
                cut = pieces(&current, batch);
                routing = current;
                ahead = None;
            }
            let from = (*taken).min(batch.len());
            let after = |from: usize| cut.iter().find(|piece| piece.end > from).copied();
            let Piece { end: next, whole } = after(from).unwrap_or(Piece { end: batch.len(), whole: true });
            // What was taken before may have ended elsewhere: by another routing, or by another version.
            let whole = whole && (from == 0 || cut.iter().any(|piece| piece.end == from));
            let received = Received { at: found.entity.at, whole, waited: true, hands_over: true };
            let last = (next == batch.len()).then_some(found);
            self.shared.outbox.wait_for_room(next - from).await;
            let steady = whole && routing.inhibit_rules.is_empty() && routing.maintenance.is_empty();
            let following = after(next).filter(|piece| piece.whole && steady);
            // The end of an alert that this piece begins would be that of one that nobody knows.
            let following = following
                .map(|piece| &batch[next..piece.end])
                .filter(|some| some.iter().all(|sent| matches!(sent.news, News::Firing { .. })));
            ahead = self.take_some(row, (&batch[from..next], received), ahead.take(), next, last, following).await?;
            *taken = next;
            if last.is_some() {
                return Ok(());
            }
        }
    }

    /// One commit; `next`: where the one after it begins. `last`: there is none, the record goes. `ahead`: what was decided of it already.
    /// Gives what was decided of the `following` ones, which come in the same way.
    async fn take_some<'a>(
        &'a self,
        row: &Row<'a>,
        (some, received): (&[Sent], Received),
        mut ahead: Option<Deciding<'a>>,
        next: usize,
        last: Option<&Versioned<Waiting>>,
        following: Option<&[Sent]>,
    ) -> Result<Option<Deciding<'a>>, StateError> {
        let (id, lease) = (row.work.id, row.work.lease);
        let mut alone = None;
        for attempt in 1..=TRIES {
            self.shared.turn.wait(attempt, &mut alone).await;
            let now = row.state.now().await?;
            let deciding = match ahead.take() {
                Some(deciding) if deciding.holds(&self.shared, row.state, now).await? => deciding,
                _ => begin_deciding(&self.shared, row.state, some, received, now).await?,
            };
            let Decided { mut commit, handing, .. } = deciding.finish().await?;
            let change = match last {
                Some(found) => {
                    commit.delete(&found.entity, Expect::Version(found.version));
                    WorkChange::Done { id, lease }
                }
                None => WorkChange::Progress { id, lease, progress: json!({"taken": next}) },
            };
            let write = async {
                let moved = self.shared.moved(commit, row.work, change, row.state, row.fence, attempt).await?;
                if let Some(handing) = handing.filter(|_| moved) {
                    handing.go(&self.shared.state);
                }
                Ok::<_, StateError>(moved)
            };
            let decide = async {
                // What fails here is decided again in its turn.
                begin_deciding(&self.shared, row.state, following?, received, row.state.now().await.ok()?).await.ok()
            };
            let (moved, decided) = tokio::join!(biased; write, decide);
            if moved? {
                return Ok(decided);
            }
        }
        Ok(None)
    }

    /// Gives a row back, to be claimed again after a while.
    async fn give_back(&self, row: &Row<'_>, after: Duration, taken: usize, error: String) -> Result<(), StateError> {
        let now = row.state.now().await?;
        let progress = Some(json!({"taken": taken}));
        let change = WorkChange::Retry { id: row.work.id, lease: row.work.lease, due_at: now.plus(after), error, progress };
        self.shared.moved(Commit::at(now), row.work, change, row.state, row.fence, TRIES).await.map(drop)
    }

    /// Nothing can be done with it: it stays to be looked at, and holds up no other.
    async fn give_up(&self, row: &Row<'_>, error: String, now: Timestamp) -> Result<(), StateError> {
        tracing::error!(work = %row.work.id, error, "alerts that were answered for cannot be taken: a row of queue `intake` is given up");
        self.shared.give_up(error, row.work, row.state, row.fence, now).await
    }
}

/// A row that is being worked on.
struct Row<'a> {
    work: &'a Work,
    state: &'a dyn StateStore,
    fence: Option<&'a Fence>,
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
        let row = Row { work: &work, state, fence };
        let mut taken = work.progress.as_ref().and_then(|progress| progress["taken"].as_u64()).map_or(0, |taken| taken as usize);
        // Rows are claimed in their order, but one may be held by a node that is gone, or may have been given back.
        if state.pending(Queue::Intake).await?.into_iter().any(|other| other < work.id) {
            return self.give_back(&row, TURN, taken, "waits for a request before it".to_owned()).await;
        }
        let unread = |error: &dyn std::fmt::Display| format!("{} {} cannot be read: {error}", Waiting::KIND, work.key);
        let found = match load::<Waiting>(state, &work.tenant, &work.key).await {
            Ok(Some(found)) => found,
            Ok(None) => return self.give_up(&row, format!("the record {} {} is gone", Waiting::KIND, work.key), now).await,
            Err(StateError::Body { source, .. }) => return self.give_up(&row, unread(&source), now).await,
            Err(error) => return Err(error),
        };
        let batch = match found.entity.batch() {
            Ok(batch) => batch,
            Err(error) => return self.give_up(&row, unread(&error), now).await,
        };
        match self.take_apart(&row, &found, &batch, &mut taken).await {
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
