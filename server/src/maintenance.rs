//! What the server does for itself once a day, as a work row like everything that happens later: forgets work rows that ended long
//! ago. In: the day's row. Out: fewer rows, and the row of the next day in the same commit. Where the store fails, the row is taken
//! again when its lease ends.

use std::time::Duration;

use async_trait::async_trait;
use model::drive::{Worker, done};
use model::event::Subject;
use model::state::{Commit, Fence, StateError, StateStore};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Lane, NewWork, Queue, Work, WorkQuery, WorkState};
use prometheus::{IntCounter, Registry};
use serde_json::json;

/// A day.
const DAY: Duration = Duration::from_secs(86_400);

/// Carries out the row of the day.
pub struct Maintenance {
    keep: Duration,
    pruned: IntCounter,
}

impl Maintenance {
    /// Finished work rows are kept for `keep`. Registers `watchfire_work_rows_pruned_total`.
    pub fn new(keep: Duration, registry: &Registry) -> Result<Self, prometheus::Error> {
        let pruned = IntCounter::new("watchfire_work_rows_pruned_total", "Work rows that ended long ago and were deleted.")?;
        registry.register(Box::new(pruned.clone()))?;
        Ok(Maintenance { keep, pruned })
    }
}

/// Writes the first row, due at once, unless one waits already.
pub async fn begin(state: &dyn StateStore) -> Result<(), StateError> {
    let waiting = WorkQuery { queue: Some(Queue::Maintenance), state: Some(WorkState::Pending), limit: 1, ..WorkQuery::default() };
    if !state.list(&waiting).await?.is_empty() {
        return Ok(());
    }
    let now = state.now().await?;
    let mut commit = Commit::at(now);
    commit.schedule(&TenantId::default(), row(now));
    state.commit(commit).await.map(|_| ())
}

/// The row of a moment; one a day, whoever writes it.
fn row(due_at: Timestamp) -> NewWork {
    let day = due_at.millis().div_euclid(86_400_000);
    let subject = Subject::default();
    NewWork {
        queue: Queue::Maintenance,
        key: format!("daily/{day}"),
        lane: Lane::Mail,
        subject,
        due_at,
        body: json!({"job": "daily"}).into(),
    }
}

#[async_trait]
impl Worker for Maintenance {
    fn queue(&self) -> Queue {
        Queue::Maintenance
    }

    /// Long enough for the first time on an old store.
    fn lease(&self) -> Duration {
        Duration::from_secs(600)
    }

    async fn work(&self, work: Work, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<(), StateError> {
        let gone = state.prune_work(now.minus(self.keep)).await?;
        let mut commit = done(&work, now);
        commit.fence = fence.cloned();
        commit.schedule(&work.tenant, row(now.plus(DAY)));
        state.commit(commit).await?;
        self.pruned.inc_by(gone);
        if gone > 0 {
            tracing::info!(rows = gone, "work rows that ended long ago were deleted");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::drive::work_once;
    use model::state::{Leases, Records, WorkRows};
    use model::testing::Memory;
    use model::time::SimulatedClock;
    use model::work::{Claim, WorkChange};

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_772_000_000);

    /// A delivery that is done, one that is dead and one that waits.
    async fn deliveries(state: &Memory, day: u64) {
        let now = state.now().await.unwrap();
        let new = |key: &str| NewWork { queue: Queue::Delivery, key: format!("{key}/{day}"), ..row(now) };
        let mut commit = Commit::at(now);
        for key in ["done", "dead"] {
            commit.schedule(&TenantId::default(), new(key));
        }
        commit.schedule(&TenantId::default(), NewWork { due_at: START.plus(DAY * 999), ..new("waits") });
        state.commit(commit).await.unwrap();
        let claim = Claim { queue: Queue::Delivery, now, lease_for: Duration::from_secs(9), limit: 9 };
        for claimed in state.claim(&claim).await.unwrap() {
            let (id, lease) = (claimed.id, claimed.lease);
            let change = match claimed.key.split_once('/') {
                Some(("done", _)) => WorkChange::Done { id, lease },
                _ => WorkChange::Dead { id, lease, error: "no".into() },
            };
            let mut commit = Commit::at(now);
            commit.change(&claimed.tenant, change);
            state.commit(commit).await.unwrap();
        }
    }

    fn keys(state: &Memory, word: &str) -> Vec<String> {
        state.rows().into_iter().map(|row| row.key).filter(|key| key.starts_with(word)).collect()
    }

    #[tokio::test]
    async fn finished_rows_go_after_their_time_day_by_day() {
        let clock = Arc::new(SimulatedClock::new(START));
        let state = Memory::new(clock.clone());
        let worker = Maintenance::new(DAY * 30, &Registry::new()).unwrap();
        begin(&*state).await.unwrap();
        begin(&*state).await.unwrap();
        for day in 0..40 {
            assert_eq!(state.rows().iter().filter(|row| row.queue == Queue::Maintenance && row.state == WorkState::Pending).count(), 1);
            deliveries(&state, day).await;
            // As often as anybody looks, it happens once a day.
            let mut done = 0;
            for _ in 0..3 {
                done += work_once(&worker, &*state, None, state.now().await.unwrap()).await.unwrap();
            }
            assert_eq!(done, 1, "day {day}");
            let kept: Vec<String> = (0..=day).filter(|then| day - then <= 30).map(|then| format!("done/{then}")).collect();
            assert_eq!(keys(&state, "done/"), kept, "day {day}");
            clock.advance(DAY);
        }
        assert_eq!((keys(&state, "dead/").len(), keys(&state, "waits/").len()), (40, 40), "dead letters and what waits stay");
        assert_eq!((worker.pruned.get(), keys(&state, "daily/").len()), (18, 32), "its own rows go too");
    }

    #[tokio::test]
    async fn days_of_standstill_are_made_up_for_at_once() {
        let clock = Arc::new(SimulatedClock::new(START));
        let state = Memory::new(clock.clone());
        let worker = Maintenance::new(DAY * 2, &Registry::new()).unwrap();
        begin(&*state).await.unwrap();
        deliveries(&state, 0).await;
        work_once(&worker, &*state, None, START).await.unwrap();
        clock.advance(DAY * 9);
        begin(&*state).await.unwrap();
        assert_eq!(work_once(&worker, &*state, None, state.now().await.unwrap()).await.unwrap(), 1);
        assert_eq!(keys(&state, "done/"), [""; 0]);
        let next = state.next_due_in(Queue::Maintenance, state.now().await.unwrap()).await.unwrap();
        assert_eq!(next, Some(START.plus(DAY * 10)), "the next one is tomorrow");
    }
}
