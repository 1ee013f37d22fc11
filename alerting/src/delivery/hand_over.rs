//! Handing over: the notice of a new group goes out as soon as it is written. The row is written as held by this process and with the note
//! "about to be sent" ([`WorkChange::Take`]), so that between the alert and the request stand one commit and one sync, and no claim.
//!
//! Only where nothing is lost by it: this node leads, the receiver is a program that knows a repeated message by its key (after a crash
//! between the commit and the send it is sent again under the same key, marked), it has a token to spare, and nothing waits that must go
//! out before. Everything else is scheduled as usual. What was handed over and cannot be begun in time is given back without its note.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use model::message::{Delivery, Message};
use model::state::{Fence, StateError, StateStore};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{NewWork, Queue, Work, WorkChange};
use serde_json::Value;
use tokio::sync::watch;

use super::carry::NOT_IN_TIME;
use super::destination::Destination;
use super::lines::Place;
use super::outcomes::Outcome;
use super::progress::{Next, Progress};
use super::{Counted, DeliveryWorker};
use crate::channels::{Attempt, ReceiverConfig};

/// So many rows are held at most.
const HELD: usize = 2_560;
/// How long whoever has more to hand over waits for room.
const PATIENCE: Duration = Duration::from_millis(100);
/// Where more pending rows than this are unknown, there is a backlog: it goes first.
const UNKNOWN: usize = 64;

/// Whether the receiver knows a message that comes again by its key. What is not named here is claimed, which is right for everybody.
pub(super) fn knows_keys(config: &ReceiverConfig) -> bool {
    matches!(config, ReceiverConfig::Pagerduty(_) | ReceiverConfig::Webhook(_) | ReceiverConfig::Opsgenie(_))
}

/// Where notices are handed over to; empty until the process has a delivery worker.
#[derive(Default)]
pub(crate) struct Outbox(OnceLock<(Arc<DeliveryWorker>, watch::Receiver<Option<Fence>>)>);

impl Outbox {
    /// From now on notices are handed over to this worker while this node leads. Only the first one counts.
    pub(crate) fn open(&self, worker: Arc<DeliveryWorker>, leading: watch::Receiver<Option<Fence>>) {
        self.0.get_or_init(|| (worker, leading));
    }

    /// Waits a moment until so many more can be held: what is written sooner than it can be sent has to be claimed, which costs more.
    pub(crate) async fn wait_for_room(&self, more: usize) {
        if let Some((worker, _)) = self.0.get() {
            let mut handed = worker.handed.subscribe();
            // Without room it is scheduled.
            let _ = tokio::time::timeout(PATIENCE, handed.wait_for(|held| held + more <= HELD)).await;
        }
    }

    /// Whether this node leads, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        self.0.get().is_some_and(|(_, leading)| leading.borrow().is_some())
    }

    /// For the notices of one commit; `None` where they are scheduled as usual. To be asked after what the commit depends on was read: it
    /// looks at what is pending at this moment.
    pub(crate) async fn begin(&self, state: &dyn StateStore) -> Option<Handing> {
        let (worker, leading) = self.0.get()?;
        let fence = leading.borrow().clone()?;
        if worker.is_stopping() || !worker.knows_pending(state).await {
            return None;
        }
        Some(Handing { worker: worker.clone(), leading: leading.clone(), fence, rows: Vec::new() })
    }
}

/// The rows of one commit that are handed over. Dropped without [`Handing::go`], it comes to nothing.
pub(crate) struct Handing {
    worker: Arc<DeliveryWorker>,
    leading: watch::Receiver<Option<Fence>>,
    /// The commit must be made under it.
    pub(crate) fence: Fence,
    rows: Vec<Handed>,
}

/// A row that is held.
pub(super) struct Handed {
    pub work: Work,
    /// The note that stands in it.
    begun: Progress,
    pub delivery: Delivery,
    place: Place,
    destination: Arc<Destination>,
    leading: watch::Receiver<Option<Fence>>,
    pub fence: Fence,
    /// The moment of its commit.
    pub at: Timestamp,
    _counted: Counted,
}

impl Handing {
    /// Whether anything is handed over.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How the row of a delivery about something new is written: held, or as usual.
    pub(crate) fn write(&mut self, tenant: &TenantId, delivery: Delivery, mut new: NewWork, at: Timestamp) -> WorkChange {
        let worker = &self.worker;
        let Some(destination) = worker.ready(&delivery) else { return WorkChange::Schedule(new) };
        // Counted before it is asked whether the process ends: whoever ends it waits for what is counted.
        let counted = Counted::new(&worker.handed, 1);
        let begun = Progress::default().begun(at);
        let progress = begun.note();
        // What is to be said is at hand: the row need not hold it twice.
        let body = std::mem::replace(&mut new.body, Value::Null.into());
        let work = new.clone().taken(tenant, at, progress.clone());
        new.body = body;
        let place = Place::of(&work, &delivery);
        let waits = worker.is_stopping() || worker.lines().is_open(&place.line) || destination.is_waited_for(&delivery, at);
        if waits || worker.take_token(&delivery, work.lane, &destination, at).is_err() {
            return WorkChange::Schedule(new);
        }
        let (leading, fence) = (self.leading.clone(), self.fence.clone());
        self.rows.push(Handed { work, begun, delivery, place, destination, leading, fence, at, _counted: counted });
        WorkChange::Take { new, lease_for: self.worker.lease, progress }
    }

    /// The commit is made: they are sent.
    pub(crate) fn go(mut self, state: &Arc<dyn StateStore>) {
        self.worker.clone().take_over(std::mem::take(&mut self.rows), state);
    }
}

impl Drop for Handing {
    fn drop(&mut self) {
        self.rows.iter().for_each(|row| row.destination.put_back(&row.delivery));
    }
}

/// What was handed over and is not begun, by receiver.
pub(super) type Hand = HashMap<String, Waiting>;

#[derive(Default)]
pub(super) struct Waiting {
    rows: VecDeque<Handed>,
    /// Tasks that take them.
    carriers: usize,
}

/// A carrier of a receiver's rows is one no longer.
fn leave(hand: &mut Hand, receiver: &str) {
    if let Some(waiting) = hand.get_mut(receiver) {
        waiting.carriers -= 1;
        if waiting.carriers == 0 {
            hand.remove(receiver);
        }
    }
}

/// How a row that was handed over leaves its carrier.
enum End {
    /// To be written.
    Became(Next, Timestamp),
    /// As it stands; it is due then.
    Left(Timestamp),
}

/// A task that carries a receiver's rows, one after the other, until there are none.
struct Carrier {
    worker: Arc<DeliveryWorker>,
    receiver: String,
    /// Whether it is one of those that are counted.
    counted: bool,
}

impl Carrier {
    /// The next row. Where there is none, this carrier is no longer one: under the same lock, so that no row waits for nobody.
    fn next(&mut self) -> Option<Handed> {
        let mut hand = self.worker.hand();
        let row = hand.get_mut(&self.receiver)?.rows.pop_front();
        if row.is_none() {
            leave(&mut hand, &self.receiver);
            self.counted = false;
        }
        row
    }

    async fn run(mut self, state: Arc<dyn StateStore>) {
        while let Some(row) = self.next() {
            match self.worker.send_handed(&row, &*state).await {
                Ok(End::Became(next, now)) => self.worker.became(Outcome { row, next, now }, &state),
                Ok(End::Left(due)) => drop(self.worker.picture(&row.work, Ok(Some(due)), row.at)),
                Err(error) => drop(self.worker.picture(&row.work, Err(error), row.at)),
            }
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // Only where it ended in the middle of a row. What the last one leaves is claimed when its lease ends.
        if self.counted {
            leave(&mut self.worker.hand(), &self.receiver);
        }
    }
}

impl DeliveryWorker {
    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the picture of the lines has all pending rows, or can have them soon. Where that cannot be found out it has not.
    async fn knows_pending(&self, state: &dyn StateStore) -> bool {
        if self.lines().len() > HELD {
            return false;
        }
        let Ok(pending) = state.pending(Queue::Delivery).await else { return false };
        let unknown: Vec<_> = {
            let lines = self.lines();
            pending.into_iter().filter(|id| !lines.knows(*id)).take(UNKNOWN + 1).collect()
        };
        unknown.len() <= UNKNOWN && self.get_to_know(&unknown, state).await.is_ok()
    }

    /// The receiver, where a notice may be handed over to it.
    fn ready(&self, delivery: &Delivery) -> Option<Arc<Destination>> {
        let destinations = self.destinations();
        let (_, destination) = destinations.get(&delivery.receiver)?;
        let fits =
            matches!(delivery.message, Message::Notice(_)) && destination.keyed && destination.channel.has_use_for(&delivery.message);
        (fits && *self.handed.borrow() < HELD).then(|| destination.clone())
    }

    /// Sends rows that were just written.
    fn take_over(self: Arc<Self>, rows: Vec<Handed>, state: &Arc<dyn StateStore>) {
        let mut begin = Vec::new();
        {
            let (mut hand, mut lines) = (self.hand(), self.lines());
            for row in rows {
                lines.add(&row.work, Some(row.place.clone()));
                let receiver = row.delivery.receiver.clone();
                let waiting = hand.entry(receiver.clone()).or_default();
                waiting.rows.push_back(row);
                if waiting.carriers < self.config.per_destination {
                    waiting.carriers += 1;
                    begin.push(receiver);
                }
            }
        }
        for receiver in begin {
            tokio::spawn(Carrier { worker: self.clone(), receiver, counted: true }.run(state.clone()));
        }
    }

    async fn send_handed(&self, row: &Handed, state: &dyn StateStore) -> Result<End, StateError> {
        let Handed { begun, delivery, destination, leading, fence, at, .. } = row;
        let Some(slots) = self.slots(destination).await else { return Ok(End::Left(*at)) };
        if leading.borrow().as_ref() != Some(fence) {
            return Ok(End::Left(at.plus(self.lease))); // whoever leads now takes it when its lease ends
        }
        let now = state.now().await.inspect_err(|_| destination.put_back(delivery))?;
        let given_back = |at, reason: &str| {
            destination.put_back(delivery);
            Next::Wait { at, reason: reason.to_owned(), progress: Progress::default() }
        };
        let next = match destination.paused_until(delivery, now) {
            _ if self.is_too_late(now, *at) => given_back(now, NOT_IN_TIME),
            Some(until) => given_back(until, "waits for the receiver's patience"),
            None => {
                let attempt = Attempt { now, number: begun.attempts, ..Attempt::default() };
                self.send(delivery, destination, &attempt, begun, tokio::time::sleep(self.budget()), state).await
            }
        };
        drop(slots);
        Ok(End::Became(next, state.now().await.unwrap_or(now)))
    }
}
