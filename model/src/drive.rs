//! How parts move: followers read the journal in order, workers take due rows. Both are driven on a tick and on a nudge, and
//! both can be driven by hand in a simulated test. The drivers here only call ports.

mod reading;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::Instrument;

use crate::event::Recorded;
use crate::state::{Commit, Entity, Fence, StateError, StateStore};
use crate::tenant::TenantId;
use crate::time::Timestamp;
use crate::work::{Claim, QUEUES, Queue, Work, WorkChange};

pub use reading::{Step, advance, step};

/// "Something was committed: look now." Cheap to clone; many may listen, to the journal or to a queue of work rows.
#[derive(Clone, Debug)]
pub struct Nudge(Arc<Bells>);

#[derive(Debug)]
struct Bells {
    journal: watch::Sender<u64>,
    queues: [watch::Sender<u64>; QUEUES.len()],
}

impl Default for Nudge {
    fn default() -> Self {
        Nudge(Arc::new(Bells { journal: watch::Sender::new(0), queues: QUEUES.map(|_| watch::Sender::new(0)) }))
    }
}

/// Loops look again after so long, nudged or not: a row that is due much later wakes nobody when it is written.
pub const LOOKS_AGAIN: Duration = Duration::from_secs(10);

/// Whom a commit concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Concerns {
    journal: bool,
    queues: [bool; QUEUES.len()],
}

impl Concerns {
    /// Who must look after this commit: readers of the journal at its events, workers at what can be taken now or later.
    pub fn of(commit: &Commit) -> Self {
        let mut concerns = Concerns { journal: !commit.events.is_empty(), ..Concerns::default() };
        for (_, change) in &commit.work {
            match change {
                // Twice, because the commit may be written a while after its moment.
                WorkChange::Schedule(new) if new.due_at > commit.at.plus(2 * LOOKS_AGAIN) => {}
                WorkChange::Schedule(new) => concerns.add(|queue| queue == new.queue),
                // They do not say of which queue.
                WorkChange::Retry { .. } | WorkChange::Replay { .. } => concerns.add(|_| true),
                WorkChange::Take { .. }
                | WorkChange::Cancel { .. }
                | WorkChange::Progress { .. }
                | WorkChange::Done { .. }
                | WorkChange::Dead { .. } => {}
            }
        }
        concerns
    }

    fn add(&mut self, which: impl Fn(Queue) -> bool) {
        for (slot, queue) in self.queues.iter_mut().zip(QUEUES) {
            *slot |= which(queue);
        }
    }
}

impl Nudge {
    /// Wakes everyone who listens, or is about to.
    pub fn nudge(&self) {
        self.wake(&Concerns { journal: true, queues: [true; QUEUES.len()] });
    }
    /// Wakes those whom a commit concerns.
    pub fn wake(&self, concerns: &Concerns) {
        let bells = self.0.queues.iter().zip(concerns.queues).chain([(&self.0.journal, concerns.journal)]);
        for (bell, _) in bells.filter(|(_, concerned)| *concerned) {
            bell.send_modify(|count| *count += 1);
        }
    }
    /// A listener to the journal that misses no nudge between two waits.
    pub fn listener(&self) -> NudgeListener {
        NudgeListener(self.0.journal.subscribe())
    }
    /// A listener to a queue that misses no nudge between two waits.
    pub fn listener_for(&self, queue: Queue) -> NudgeListener {
        let mut bells = QUEUES.into_iter().zip(&self.0.queues);
        NudgeListener(bells.find(|(of, _)| *of == queue).map_or(&self.0.journal, |(_, bell)| bell).subscribe())
    }
}

/// Waits for nudges.
#[derive(Clone, Debug)]
pub struct NudgeListener(watch::Receiver<u64>);

impl NudgeListener {
    /// Returns at once if there was a nudge since the last wait, else with the next one, at most after this time.
    pub async fn wait(&mut self, at_most: Duration) {
        // A timeout is the ordinary tick; either way the loop looks again.
        let _ = tokio::time::timeout(at_most, self.0.changed()).await;
    }
}

/// Decides what follows from each journal event. Every event is handled exactly once: what it causes is committed together with
/// the follower's place in the journal.
#[async_trait]
pub trait Follower: Send + Sync {
    /// Its name: the key of its cursor. Frozen.
    fn name(&self) -> &'static str;
    /// What follows from the event; an empty commit where nothing does. Reads state, writes nothing itself.
    async fn follow(&self, event: &Recorded, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError>;
}

/// Carries out work rows of one queue.
#[async_trait]
pub trait Worker: Send + Sync {
    /// Which queue.
    fn queue(&self) -> Queue;
    /// How long a claim is held; longer than the act may take.
    fn lease(&self) -> Duration;
    /// How many rows at a time.
    fn batch(&self) -> usize {
        32
    }
    /// How many of them side by side. More than one where rows are about different things: what they read and write together is settled
    /// by the versions of the records.
    fn abreast(&self) -> usize {
        1
    }
    /// Carries out one claimed row and commits its outcome (Done, Retry, Dead or Cancelled) itself, with whatever else changes.
    async fn work(&self, work: Work, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<(), StateError>;
}

/// A follower's place in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The follower's name.
    pub name: String,
    /// The number of the last event it handled.
    pub seq: u64,
    /// Cursors are nobody's.
    pub tenant: TenantId,
}

impl Entity for Cursor {
    const KIND: &'static str = "cursor";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.name.clone()
    }
    fn status(&self) -> &'static str {
        "live"
    }
}

/// Claims due rows and lets the worker carry them out, begun in their order. Returns how many were claimed. A row whose worker
/// fails to commit is claimed again when its lease ends.
pub async fn work_once(worker: &dyn Worker, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<usize, StateError> {
    let claim = Claim { queue: worker.queue(), now, lease_for: worker.lease(), limit: worker.batch() };
    let rows = state.claim(&claim).await?;
    let claimed = rows.len();
    let carry_out = async |row: Work| {
        let id = row.id;
        let queue = worker.queue().as_str();
        let span = tracing::info_span!("work", otel.name = queue, work = %id, key = row.key, attempt = row.attempts);
        if let Err(error) = worker.work(row, state, fence, now).instrument(span).await {
            tracing::warn!(queue, work = %id, %error, "a work row was not finished; its lease runs out and it is taken again");
        }
    };
    futures_util::stream::iter(rows).for_each_concurrent(worker.abreast().max(1), carry_out).await;
    Ok(claimed)
}

/// The commit that finishes a row.
pub fn done(work: &Work, now: Timestamp) -> Commit {
    let mut commit = Commit::at(now);
    commit.change(&work.tenant, WorkChange::Done { id: work.id, lease: work.lease });
    commit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Subject;
    use crate::work::{Lane, NewWork};

    #[test]
    fn who_looks_again_in_time_is_not_woken_for_what_is_due_later() {
        let now = Timestamp::from_secs(1_800_000_000);
        let concerns = |wait: Duration| {
            let mut commit = Commit::at(now);
            let (key, due_at, subject) = ("x".to_owned(), now.plus(wait), Subject::default());
            let body = serde_json::Value::Null.into();
            commit.schedule(&TenantId::default(), NewWork { queue: Queue::Ladder, key, lane: Lane::Page, subject, due_at, body });
            Concerns::of(&commit)
        };
        let mut woken = Concerns::default();
        woken.add(|queue| queue == Queue::Ladder);
        assert_eq!(concerns(Duration::ZERO), woken);
        assert_eq!(concerns(2 * LOOKS_AGAIN), woken);
        assert_eq!(concerns(2 * LOOKS_AGAIN + Duration::from_millis(1)), Concerns::default());
    }
}
