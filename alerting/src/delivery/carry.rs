//! One line's rows, carried one after the other: wait for a slot and a token, note, ask, send, settle. The shell around `progress` and
//! `settle`; every failure of the state store leaves the row to the end of its lease, and what was noted decides what happens then.

use std::sync::Arc;
use std::time::Duration;

use model::ids::WorkId;
use model::incident::{ChatChannel, Incident};
use model::message::{Delivery, Message, PageAction};
use model::state::{Commit, Fence, StateError, StateStore, load};
use model::time::{Stopwatch, Timestamp};
use model::work::Work;
use tokio::sync::SemaphorePermit;

use super::destination::Destination;
use super::digest;
use super::progress::{Next, Progress, after, no_channel_yet, rest};
use super::settle;
use super::{Claimed, DeliveryWorker, Job};
use crate::channels::{Attempt, Reconciled, SendError, Sent, chain};
use crate::ladder;

/// How often the outcome of a send is written again where the store fails.
const SETTLE_TRIES: u32 = 3;
const WAITS_FOR_ITS_TURN: Duration = Duration::from_millis(500);
/// Why a row goes back to the others.
pub(super) const NOT_IN_TIME: &str = "was not begun in time and is taken up again";

impl DeliveryWorker {
    /// Carries out a job. Rows that fail to commit are taken up again when their lease ends.
    pub(super) async fn run(&self, job: Job, state: &dyn StateStore, fence: Option<&Fence>, claimed_at: Timestamp) {
        let Job { destination, rows } = job;
        let mut behind = None;
        for Claimed { work, delivery, waits_for, .. } in rows {
            behind = behind.or(waits_for);
            let result = match behind {
                Some((first, due)) => self.wait_behind(&work, delivery.as_deref().ok(), first, due, state, fence).await,
                None => self.carry(&work, &delivery, destination.as_deref(), state, fence, claimed_at).await,
            };
            let again = self.picture(&work, result, claimed_at);
            behind = behind.or(again.map(|due| (work.id, due)));
        }
    }

    /// Takes what became of a row that is held since a moment into the picture of the lines. `None` where it is finished, else when it is due
    /// again.
    pub(super) fn picture(&self, work: &Work, result: Result<Option<Timestamp>, StateError>, held_since: Timestamp) -> Option<Timestamp> {
        let again = result.unwrap_or_else(|error| {
            let error = chain(&error);
            tracing::warn!(work = %work.id, key = work.key, error, "a delivery was not finished; it is taken again when its lease ends");
            Some(held_since.plus(self.lease))
        });
        match again {
            None => self.lines().remove(work.id),
            Some(due) => self.lines().put_off(work.id, due),
        }
        again
    }

    /// Room for a send. Acquired in this order everywhere: a hanging receiver fills its own slots and no others. `None` at the very end.
    pub(super) async fn slots<'a>(&'a self, destination: &'a Destination) -> Option<(SemaphorePermit<'a>, SemaphorePermit<'a>)> {
        Some((destination.slots.acquire().await.ok()?, self.slots.acquire().await.ok()?))
    }

    async fn wait_behind(
        &self,
        work: &Work,
        delivery: Option<&Delivery>,
        first: WorkId,
        due: Timestamp,
        state: &dyn StateStore,
        fence: Option<&Fence>,
    ) -> Result<Option<Timestamp>, StateError> {
        let now = state.now().await?;
        let next = Next::Wait {
            at: due.max(now.plus(WAITS_FOR_ITS_TURN)),
            reason: format!("waits for {first}, which was written before it"),
            progress: Progress::of(work.progress.as_ref(), now),
        };
        self.settle(work, delivery, &next, now, state, fence).await
    }

    /// `None` where the row is finished, else when it is due again.
    async fn carry(
        &self,
        work: &Work,
        delivery: &Result<Arc<Delivery>, String>,
        destination: Option<&Destination>,
        state: &dyn StateStore,
        fence: Option<&Fence>,
        claimed_at: Timestamp,
    ) -> Result<Option<Timestamp>, StateError> {
        let now = state.now().await?;
        let progress = Progress::of(work.progress.as_ref(), now);
        let delivery: &Delivery = match delivery {
            Ok(delivery) => delivery,
            Err(error) => {
                let reason = format!("the row's body is no delivery: {error}");
                return self.settle(work, None, &Next::Dead { reason, progress }, now, state, fence).await;
            }
        };
        let Some(destination) = destination else {
            let reason = format!("no receiver is called `{}`: configure it and replay", delivery.receiver);
            return self.settle(work, Some(delivery), &Next::Dead { reason, progress }, now, state, fence).await;
        };
        if !destination.channel.has_use_for(&delivery.message) {
            let reason = format!("{} has no use for `{}`", delivery.receiver, settle::action_word(&delivery.message));
            return self.settle(work, Some(delivery), &Next::Unneeded { reason, page: false, progress }, now, state, fence).await;
        }
        let Some(slots) = self.slots(destination).await else { return Ok(Some(now)) };
        let now = state.now().await?;
        let next = match self.may_begin(delivery, work, destination, &progress, now, claimed_at, state).await? {
            Begin::Not(next) => next,
            Begin::With { chat, unneeded } => {
                let attempt = Attempt { now, chat, since: progress.sending, resend: progress.resend, ..Attempt::default() };
                self.attempt(work, delivery, destination, progress, attempt, unneeded, state, fence).await?
            }
        };
        // The receiver is done with it; what is left to write holds up no other send.
        drop(slots);
        let now = state.now().await?;
        self.settle(work, Some(delivery), &next, now, state, fence).await
    }

    #[allow(clippy::too_many_arguments)] // the row, its surroundings and the moment
    async fn may_begin(
        &self,
        delivery: &Delivery,
        work: &Work,
        destination: &Destination,
        progress: &Progress,
        now: Timestamp,
        claimed_at: Timestamp,
        state: &dyn StateStore,
    ) -> Result<Begin, StateError> {
        let wait = |at, reason: &str| Begin::Not(Next::Wait { at, reason: reason.to_owned(), progress: progress.clone() });
        if self.is_too_late(now, claimed_at) {
            return Ok(wait(now, NOT_IN_TIME));
        }
        // What waited may have been overtaken by an acknowledgement.
        let unneeded = ladder::wanted::unneeded(state, work, delivery).await?;
        if let Some(reason) = &unneeded
            && progress.sending.is_none()
        {
            return Ok(Begin::Not(overtaken(delivery, reason.clone(), progress.clone())));
        }
        let chat = match &delivery.message {
            Message::ChatOpen { incident, .. } | Message::ChatPost { incident, .. } | Message::ChatArchive { incident } => {
                let found = load::<Incident>(state, &delivery.tenant, &incident.to_string()).await?;
                found.and_then(|found| found.entity.chat)
            }
            Message::Notice(_) | Message::Document { .. } => None,
        };
        let needs_chat = matches!(delivery.message, Message::ChatPost { .. } | Message::ChatArchive { .. });
        if needs_chat && chat.is_none() {
            return Ok(Begin::Not(no_channel_yet(progress, now, &self.config)));
        }
        match self.take_token(delivery, work.lane, destination, now) {
            Ok(()) => Ok(Begin::With { chat, unneeded }),
            Err(at) => {
                let storm = self.config.digest_after > 0 && destination.ahead(delivery, now) > self.config.digest_after;
                let folds = storm && destination.read && digest::may_fold(delivery, work.lane);
                let at = if folds { at.min(digest::together(now)) } else { at };
                Ok(wait(at, "waits for the receiver's rate limit"))
            }
        }
    }

    /// Asks where there is doubt, notes, sends, and says what follows.
    #[allow(clippy::too_many_arguments)] // the row, its surroundings and the attempt
    async fn attempt(
        &self,
        work: &Work,
        delivery: &Delivery,
        destination: &Destination,
        mut progress: Progress,
        mut attempt: Attempt,
        unneeded: Option<String>,
        state: &dyn StateStore,
        fence: Option<&Fence>,
    ) -> Result<Next, StateError> {
        let deadline = tokio::time::sleep(self.budget());
        tokio::pin!(deadline);
        if progress.sending.is_some() {
            let asked = tokio::select! {
                asked = destination.channel.reconcile(delivery, &attempt) => asked,
                () = &mut deadline => Reconciled::Unknown,
            };
            self.meters.reconciled(&delivery.receiver, &asked);
            match asked {
                Reconciled::Arrived(sent) => {
                    destination.put_back(delivery);
                    return Ok(Next::Done { sent, attempt: progress.attempts.max(1), resend: progress.resend });
                }
                Reconciled::NotArrived => (progress.sending, progress.resend) = (None, false),
                Reconciled::Partly { reached } => {
                    attempt.reached = reached;
                    progress.resend = false;
                }
                Reconciled::Unknown => progress.resend = true,
            }
        }
        if let Some(reason) = unneeded {
            destination.put_back(delivery);
            return Ok(overtaken(delivery, reason, progress));
        }
        let begun = progress.begun(attempt.now);
        attempt.number = begun.attempts;
        attempt.resend = begun.resend;
        state.commit(settle::noted(work, &begun, fence, attempt.now)).await?;
        Ok(self.send(delivery, destination, &attempt, &begun, deadline, state).await)
    }

    /// Sends what was noted, and says what follows.
    pub(super) async fn send(
        &self,
        delivery: &Delivery,
        destination: &Destination,
        attempt: &Attempt,
        begun: &Progress,
        deadline: impl Future<Output = ()>,
        state: &dyn StateStore,
    ) -> Next {
        let watch = Stopwatch::start();
        let result = tokio::select! {
            result = destination.channel.send(delivery, attempt) => result,
            () = deadline => Err(SendError::doubtful(format!("not finished within {:?}", self.budget()))),
        };
        self.meters.sent(&delivery.receiver, watch.elapsed());
        let now = state.now().await.unwrap_or(attempt.now);
        self.note_health(destination, delivery, &result, now);
        after(result, begun, now, self.random(), &self.config)
    }

    /// A provider that asks for patience gets it from all rows; one that fails again and again is left alone for a while.
    fn note_health(&self, destination: &Destination, delivery: &Delivery, result: &Result<Sent, SendError>, now: Timestamp) {
        match result {
            Ok(_) | Err(SendError::Final { .. }) => destination.worked(),
            Err(SendError::Retry { after: Some(after), .. }) => destination.pause(delivery, now.plus(*after)),
            Err(SendError::Retry { after: None, .. }) => {
                let pause = rest(destination.failed(), self.random());
                destination.pause(delivery, now.plus(pause));
            }
        }
    }

    /// Commits what became of a row. Where the store fails it is tried again: after a send, the outcome is worth it.
    pub(super) async fn settle(
        &self,
        work: &Work,
        delivery: Option<&Delivery>,
        next: &Next,
        now: Timestamp,
        state: &dyn StateStore,
        fence: Option<&Fence>,
    ) -> Result<Option<Timestamp>, StateError> {
        let commit = settle::settled(work, delivery, next, fence, now, &*self.ids);
        self.commit_ended(commit, state).await?;
        Ok(self.settled(delivery, next, now))
    }

    /// Commits what became of rows; where the store fails, some times.
    pub(super) async fn commit_ended(&self, commit: Commit, state: &dyn StateStore) -> Result<(), StateError> {
        let mut tried = 1;
        loop {
            match state.commit(commit.clone()).await {
                Ok(_) => return Ok(()),
                Err(StateError::Backend { .. }) if tried < SETTLE_TRIES => tokio::time::sleep(Duration::from_millis(20) * tried).await,
                Err(error) => return Err(error),
            }
            tried += 1;
        }
    }

    /// Counts what was committed. `None` where the row is finished, else when it is due again.
    pub(super) fn settled(&self, delivery: Option<&Delivery>, next: &Next, now: Timestamp) -> Option<Timestamp> {
        if let Some(delivery) = delivery {
            let known = self.destinations().contains_key(&delivery.receiver).then_some(delivery.receiver.as_str());
            self.meters.settled(known, delivery, next, now);
        }
        match next {
            Next::Done { .. } | Next::Unneeded { .. } | Next::Dead { .. } => None,
            Next::Retry { at, .. } | Next::Wait { at, .. } => Some(*at),
        }
    }

    /// How long asking and sending may take together: less than the lease, so that nobody else sends meanwhile.
    pub(super) fn budget(&self) -> Duration {
        self.lease * 2 / 3
    }

    /// Whether what is held since a moment may no longer be begun: the process stops, or the lease could end before the send.
    pub(super) fn is_too_late(&self, now: Timestamp, held_since: Timestamp) -> bool {
        self.is_stopping() || now.plus(self.budget()) > held_since.plus(self.lease)
    }

    /// In `0.0..1.0`.
    fn random(&self) -> f64 {
        (self.ids.random() & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }
}

/// What becomes of a notice that is not sent any more.
fn overtaken(delivery: &Delivery, reason: String, progress: Progress) -> Next {
    let page = matches!(&delivery.message, Message::Notice(notice) if notice.action == PageAction::Trigger);
    Next::Unneeded { reason, page, progress }
}

/// Whether a row may be sent now.
enum Begin {
    /// Yes.
    With {
        /// The incident's chat channel, where it has one.
        chat: Option<ChatChannel>,
        /// It is only to be found out whether an earlier attempt arrived: why it is not sent again.
        unneeded: Option<String>,
    },
    /// No; what becomes of it.
    Not(Next),
}
