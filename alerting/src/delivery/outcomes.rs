//! What became of rows that were handed over, written many at a time: each commit writes the same pages of the journal and of the queue
//! again, and whoever sends need not wait for it. One by itself is written at once; while many more are under way it waits a moment for
//! company. Until it is written the row is held, with its note, and its line is open: whoever finds it after a crash sends it again under
//! its key, marked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::state::{Commit, StateError, StateStore};
use model::time::Timestamp;
use tokio::sync::Notify;

use super::DeliveryWorker;
use super::hand_over::Handed;
use super::progress::Next;
use super::settle;
use crate::channels::chain;

/// So many are written together at most.
const TOGETHER: usize = 512;
/// Where so many more are under way, one waits until so many have come.
const COMPANY: usize = 256;
/// And so long at most.
const LINGER: Duration = Duration::from_millis(20);

/// What became of a row, to be written.
pub(super) struct Outcome {
    pub row: Handed,
    pub next: Next,
    pub now: Timestamp,
}

/// Those that are not written. As many as rows are held: each of them is still counted.
#[derive(Default)]
pub(super) struct Outcomes {
    line: Mutex<Line>,
    enough: Notify,
}

#[derive(Default)]
struct Line {
    waiting: Vec<Outcome>,
    /// Whether a task sees to it.
    served: bool,
}

impl Outcomes {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        self.line().waiting.len()
    }
}

/// The task that sees to it.
struct Scribe {
    worker: Arc<DeliveryWorker>,
    /// From then on it is another's.
    over: bool,
}

impl Scribe {
    async fn run(mut self, state: Arc<dyn StateStore>) {
        loop {
            self.linger().await;
            let Some(some) = self.next() else { return };
            self.worker.write_down(some, &*state).await;
        }
    }

    /// Waits a moment where many more are under way.
    async fn linger(&self) {
        let outcomes = &self.worker.outcomes;
        let (handed, waiting) = (*self.worker.handed.borrow(), outcomes.len());
        if handed.saturating_sub(waiting) >= COMPANY && waiting < COMPANY && !self.worker.is_stopping() {
            // Without company it is written alone.
            let _ = tokio::time::timeout(LINGER, outcomes.enough.notified()).await;
        }
    }

    /// The next ones. Where there are none, this task is over: under the same lock, so that none waits for nobody.
    fn next(&mut self) -> Option<Vec<Outcome>> {
        let mut line = self.worker.outcomes.line();
        if line.waiting.is_empty() {
            line.served = false;
            self.over = true;
            return None;
        }
        let some = line.waiting.len().min(TOGETHER);
        Some(line.waiting.drain(..some).collect())
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        if !self.over {
            // It ended in the middle: what it leaves is claimed when its lease ends.
            let left = {
                let mut line = self.worker.outcomes.line();
                line.served = false;
                std::mem::take(&mut line.waiting)
            };
            drop(left);
        }
    }
}

impl DeliveryWorker {
    /// Has it written what became of a row.
    pub(super) fn became(self: &Arc<Self>, outcome: Outcome, state: &Arc<dyn StateStore>) {
        let (count, begins) = {
            let mut line = self.outcomes.line();
            line.waiting.push(outcome);
            (line.waiting.len(), !std::mem::replace(&mut line.served, true))
        };
        if count == COMPANY {
            self.outcomes.enough.notify_one();
        }
        if begins {
            tokio::spawn(Scribe { worker: self.clone(), over: false }.run(state.clone()));
        }
    }

    /// Writes all of them, those under one lease in one commit. Where one of them cannot be written (it was ended meanwhile), the others are
    /// found by halves; where the store fails or another node leads, the rest is left to the end of its leases.
    async fn write_down(&self, outcomes: Vec<Outcome>, state: &dyn StateStore) {
        for alike in outcomes.chunk_by(|a, b| a.row.fence == b.row.fence) {
            let mut parts = vec![alike];
            while let Some(part) = parts.pop() {
                match self.commit_ended(self.ended(part), state).await {
                    Ok(()) => {
                        for Outcome { row, next, now } in part {
                            let again = self.settled(Some(&row.delivery), next, *now);
                            self.picture(&row.work, Ok(again), row.at);
                        }
                    }
                    Err(error) if error.is_conflict() && part.len() > 1 => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                    Err(error) => {
                        let mut left: Vec<&Outcome> = part.iter().collect();
                        if !error.is_conflict() {
                            parts.drain(..).for_each(|part| left.extend(part));
                        }
                        self.leave(&left, &error);
                    }
                }
            }
        }
    }

    /// They are held until their leases end.
    fn leave(&self, left: &[&Outcome], error: &StateError) {
        let (rows, error) = (left.len(), chain(error));
        tracing::warn!(rows, error, "deliveries were not finished; they are taken again when their leases end");
        left.iter().for_each(|one| self.lines().put_off(one.row.work.id, one.row.at.plus(self.lease)));
    }

    fn ended(&self, outcomes: &[Outcome]) -> Commit {
        let mut all = Commit { derived: true, ..Commit::default() };
        for Outcome { row, next, now } in outcomes {
            let one = settle::settled(&row.work, Some(&row.delivery), next, Some(&row.fence), *now, &*self.ids);
            all.at = all.at.max(one.at);
            all.derived &= one.derived;
            all.fence.clone_from(&one.fence);
            all.merge(one);
        }
        all
    }
}
