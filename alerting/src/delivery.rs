//! Empties the outbox: claims due deliveries, keeps each destination's pace and order, sends, and commits what became of each. The
//! row was written with the state change that caused it; before a send the worker notes that it is about to, so that a
//! successor knows what is uncertain, asks the provider, and only then sends again, marked as a resend.

pub mod api;
pub mod decide;
pub mod pace;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use model::event::{Actor, Event, EventKind, page_action_word};
use model::ids::{EventId, IdSource};
use model::incident::Incident;
use model::message::{Delivery, Message};
use model::state::{Commit, Fence, StateError, StateStore, load};
use model::time::Timestamp;
use model::work::{Claim, Queue, Work, WorkChange, WorkQuery, WorkState, backoff};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use serde::{Deserialize, Serialize};

use crate::channels::{Attempt, Channels, ReceiverConfig, Reconciled, SendError, Sent};
use decide::{Order, Verdict};
use pace::Pace;

/// How long a claim is held: longer than any attempt may take.
const LEASE: Duration = Duration::from_secs(60);
/// How many deliveries are at work at the same time.
const BATCH: usize = 32;
/// After this long without success a delivery is a dead letter.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What is noted before a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    /// Which attempt.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
}

struct Meters {
    outcomes: IntCounterVec,
    seconds: HistogramVec,
}

/// The worker of the outbox.
pub struct DeliveryWorker {
    channels: Channels,
    pace: Mutex<Pace>,
    ids: Arc<dyn IdSource>,
    meters: Meters,
}

impl DeliveryWorker {
    /// With a channel for each receiver.
    pub fn new(
        receivers: &[ReceiverConfig],
        client: &reqwest::Client,
        ids: Arc<dyn IdSource>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let outcomes =
            IntCounterVec::new(Opts::new("watchfire_notifications_total", "Attempts to notify, by outcome."), &["receiver", "outcome"])?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("watchfire_notification_seconds", "From writing a notification to its provider's yes."),
            &["receiver"],
        )?;
        registry.register(Box::new(outcomes.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        let rates = receivers.iter().map(|receiver| (receiver.name.clone(), receiver.rate())).collect();
        let channels = crate::channels::open(receivers, client);
        Ok(DeliveryWorker { channels, pace: Mutex::new(Pace::new(rates)), ids, meters: Meters { outcomes, seconds } })
    }

    /// Claims due deliveries and works on them: destinations side by side, each destination's rows one after the other. Returns how
    /// many were claimed.
    pub async fn deliver_due(&self, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<usize, StateError> {
        let claim = Claim { queue: Queue::Delivery, now, lease_for: LEASE, limit: BATCH };
        let rows = state.claim(&claim).await?;
        let claimed = rows.len();
        let mut destinations: BTreeMap<String, Vec<Work>> = BTreeMap::new();
        for row in rows {
            let receiver = row.body.get("receiver").and_then(|name| name.as_str()).unwrap_or("").to_owned();
            destinations.entry(receiver).or_default().push(row);
        }
        join_all(destinations.into_values().map(|rows| self.one_destination(rows, state, fence))).await;
        Ok(claimed)
    }

    async fn one_destination(&self, mut rows: Vec<Work>, state: &dyn StateStore, fence: Option<&Fence>) {
        rows.sort_by_key(|row| (row.lane, row.created_at, row.id));
        for row in rows {
            let id = row.id;
            if let Err(error) = self.one(row, state, fence).await {
                tracing::warn!(work = %id, %error, "a delivery was not finished; its lease runs out and it is taken again");
            }
        }
    }

    /// One row to its outcome.
    async fn one(&self, work: Work, state: &dyn StateStore, fence: Option<&Fence>) -> Result<(), StateError> {
        let now = state.now().await?;
        let delivery: Delivery = match serde_json::from_value(work.body.clone()) {
            Ok(delivery) => delivery,
            Err(error) => {
                return self
                    .commit(
                        state,
                        fence,
                        now,
                        &work,
                        WorkChange::Dead { id: work.id, lease: work.lease, error: format!("the row cannot be read: {error}") },
                        None,
                    )
                    .await;
            }
        };
        let outcome = self.attempt(&work, &delivery, state, fence, now).await?;
        let now = state.now().await?;
        self.settle(work, delivery, outcome, state, fence, now).await
    }

    async fn attempt(
        &self,
        work: &Work,
        delivery: &Delivery,
        state: &dyn StateStore,
        fence: Option<&Fence>,
        now: Timestamp,
    ) -> Result<Outcome, StateError> {
        let Some(channel) = self.channels.get(&delivery.receiver) else {
            return Ok(Outcome::Failed(SendError::fatal(format!("there is no receiver `{}` in the configuration", delivery.receiver))));
        };
        if let Verdict::Wait = self.order(work, delivery, state).await? {
            return Ok(Outcome::Later {
                due_at: now.plus(Duration::from_secs(1)),
                why: "an earlier message to this receiver is still on its way".to_owned(),
            });
        }
        if let Err(wait) = self.pace.lock().unwrap_or_else(PoisonError::into_inner).take(&delivery.receiver, now) {
            return Ok(Outcome::Later { due_at: now.plus(wait), why: "the receiver's rate limit".to_owned() });
        }
        let chat = chat_of(delivery, state).await?;
        let mut attempt = Attempt { resend: false, chat: chat.as_deref() };
        if work.progress.is_some() {
            // The worker before us died between send and mark.
            match channel.reconcile(delivery, attempt).await {
                Reconciled::Arrived(sent) => return Ok(Outcome::Sent { sent, resend: false }),
                Reconciled::NotArrived => {}
                Reconciled::Unknown => attempt.resend = true,
            }
        }
        let note = serde_json::json!(Sending { attempt: work.attempts, at: now });
        let mut commit = Commit { fence: fence.cloned(), ..Commit::at(now) };
        commit.change(&work.tenant, WorkChange::Progress { id: work.id, lease: work.lease, progress: note });
        state.commit(commit).await?;
        Ok(match channel.send(delivery, attempt).await {
            Ok(sent) => Outcome::Sent { sent, resend: attempt.resend },
            Err(error) => Outcome::Failed(error),
        })
    }

    /// Whether an earlier message with the same key to the same receiver is still on its way.
    async fn order(&self, work: &Work, delivery: &Delivery, state: &dyn StateStore) -> Result<Verdict, StateError> {
        let Some(mine) = Order::of(work, delivery) else { return Ok(Verdict::Go) };
        let query =
            WorkQuery { tenant: Some(work.tenant.clone()), queue: Some(Queue::Delivery), state: Some(WorkState::Pending), limit: 2_000 };
        let others = state.list(&query).await?;
        let pending = others.iter().filter(|other| other.id != work.id).filter_map(|other| {
            let delivery: Delivery = serde_json::from_value(other.body.clone()).ok()?;
            Order::of(other, &delivery)
        });
        Ok(mine.among(pending))
    }

    async fn settle(
        &self,
        work: Work,
        delivery: Delivery,
        outcome: Outcome,
        state: &dyn StateStore,
        fence: Option<&Fence>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let (id, lease) = (work.id, work.lease);
        let count = |word: &str| self.meters.outcomes.with_label_values(&[delivery.receiver.as_str(), word]).inc();
        match outcome {
            Outcome::Later { due_at, why } => {
                // Nothing was sent: an uncertain earlier attempt stays uncertain.
                let change = WorkChange::Retry { id, lease, due_at, error: why, progress: work.progress.clone() };
                self.commit(state, fence, now, &work, change, None).await
            }
            Outcome::Sent { sent, resend } => {
                count("sent");
                self.meters.seconds.with_label_values(&[delivery.receiver.as_str()]).observe(now.since(delivery.queued_at).as_secs_f64());
                let kinds = sent_events(&work, &delivery, &sent, resend);
                self.commit_all(state, fence, now, &work, WorkChange::Done { id, lease }, &delivery, kinds).await
            }
            Outcome::Failed(SendError::Retry { after, reason, uncertain }) if now.since(delivery.queued_at) < GIVE_UP_AFTER => {
                count("retried");
                let random = (self.ids.random() as u32) as f64 / f64::from(u32::MAX);
                let pause = after.unwrap_or_else(|| backoff(work.attempts, Duration::from_secs(1), Duration::from_secs(300), random));
                let next_at = now.plus(pause);
                tracing::warn!(receiver = delivery.receiver, attempt = work.attempts, %reason, "a notification was not taken; it is sent again");
                let kind = EventKind::NotificationRetried {
                    notification: delivery.id,
                    receiver: delivery.receiver.clone(),
                    attempt: work.attempts,
                    error: reason.clone(),
                    next_at,
                };
                // A provider's no is certain. After a broken connection or a timeout it may have arrived all the same.
                let progress = if uncertain { work_note(&work, now) } else { None };
                let change = WorkChange::Retry { id, lease, due_at: next_at, error: reason, progress };
                self.commit_all(state, fence, now, &work, change, &delivery, vec![kind]).await
            }
            Outcome::Failed(error) => {
                count("dead");
                let reason = error.to_string();
                tracing::error!(receiver = delivery.receiver, %reason, "a notification cannot be delivered; it is a dead letter now");
                let kind = EventKind::NotificationDead {
                    notification: delivery.id,
                    receiver: delivery.receiver.clone(),
                    attempts: work.attempts,
                    error: reason.clone(),
                };
                self.commit_all(state, fence, now, &work, WorkChange::Dead { id, lease, error: reason }, &delivery, vec![kind]).await
            }
        }
    }

    async fn commit(
        &self,
        state: &dyn StateStore,
        fence: Option<&Fence>,
        now: Timestamp,
        work: &Work,
        change: WorkChange,
        event: Option<Event>,
    ) -> Result<(), StateError> {
        let mut commit = Commit { fence: fence.cloned(), ..Commit::at(now) };
        commit.change(&work.tenant, change);
        commit.events.extend(event);
        state.commit(commit).await.map(|_| ())
    }

    #[allow(clippy::too_many_arguments)] // one commit, all of its parts
    async fn commit_all(
        &self,
        state: &dyn StateStore,
        fence: Option<&Fence>,
        now: Timestamp,
        work: &Work,
        change: WorkChange,
        delivery: &Delivery,
        kinds: Vec<EventKind>,
    ) -> Result<(), StateError> {
        let mut commit = Commit { fence: fence.cloned(), ..Commit::at(now) };
        commit.change(&work.tenant, change);
        for kind in kinds {
            commit.event(Event {
                id: EventId::new(now, &*self.ids),
                tenant: work.tenant.clone(),
                at: now,
                actor: Actor::system("delivery"),
                subject: delivery.subject.clone(),
                kind,
            });
        }
        state.commit(commit).await.map(|_| ())
    }
}

enum Outcome {
    Sent { sent: Sent, resend: bool },
    Later { due_at: Timestamp, why: String },
    Failed(SendError),
}

fn work_note(work: &Work, now: Timestamp) -> Option<serde_json::Value> {
    Some(serde_json::json!(Sending { attempt: work.attempts, at: now }))
}

async fn chat_of(delivery: &Delivery, state: &dyn StateStore) -> Result<Option<String>, StateError> {
    let incident = match &delivery.message {
        Message::ChatPost { incident, .. } | Message::ChatArchive { incident } => incident,
        Message::Notice(_) | Message::ChatOpen { .. } | Message::Document { .. } => return Ok(None),
    };
    let found = load::<Incident>(state, &delivery.tenant, &incident.to_string()).await?;
    Ok(found.and_then(|incident| incident.entity.chat).map(|chat| chat.id))
}

fn sent_events(work: &Work, delivery: &Delivery, sent: &Sent, resend: bool) -> Vec<EventKind> {
    let action = match &delivery.message {
        Message::Notice(notice) => page_action_word(notice.action),
        Message::ChatOpen { .. } => "chat_open",
        Message::ChatPost { .. } => "chat_post",
        Message::ChatArchive { .. } => "chat_archive",
        Message::Document { .. } => "document",
    };
    let mut kinds = vec![EventKind::NotificationSent {
        notification: delivery.id,
        receiver: delivery.receiver.clone(),
        action: action.to_owned(),
        attempt: work.attempts,
        resend,
        provider_id: sent.provider_id.clone(),
    }];
    match (&delivery.message, &sent.channel) {
        (Message::ChatOpen { .. }, Some((channel, name))) => {
            kinds.push(EventKind::ChatChannelOpened { receiver: delivery.receiver.clone(), channel: channel.clone(), name: name.clone() })
        }
        (Message::ChatArchive { .. }, _) => {
            kinds.push(EventKind::ChatChannelArchived { channel: sent.provider_id.clone().unwrap_or_default() });
        }
        (Message::Notice(_) | Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::Document { .. }, _) => {}
    }
    kinds
}
