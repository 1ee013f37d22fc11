//! The worker of queue `ladder`: takes the steps that are due, while what they are about is open, unacknowledged and not muted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::drive::Worker;
use model::event::{EventKind, Subject};
use model::state::{Expect, Fence, StateError, StateStore, TRIES, load};
use model::time::Timestamp;
use model::work::{Queue, Work};

use super::climb::{Climb, Job};
use super::{LadderRun, LadderStatus, StopReason};
use crate::machine::Instance;
use crate::routing::settle::announcement;
use crate::shared::Shared;

/// Takes ladder steps.
pub struct LadderWorker {
    shared: Arc<Shared>,
}

impl LadderWorker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        LadderWorker { shared }
    }
}

#[async_trait]
impl Worker for LadderWorker {
    fn queue(&self) -> Queue {
        Queue::Ladder
    }

    /// A step is one commit; should the process die in it, another node takes the step this much later, this node when it starts.
    fn lease(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn batch(&self) -> usize {
        256
    }

    fn abreast(&self) -> usize {
        16
    }

    async fn work(&self, work: Work, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<(), StateError> {
        let Some(job) = self.shared.job::<Job>("ladder job", &work, state, fence, now).await? else { return Ok(()) };
        for attempt in 1..=TRIES {
            let mut climb = Climb::new(&self.shared, state, now);
            climb.held = Some(work.key.clone());
            decide(&mut climb, &job).await?;
            if matches!(job, Job::Start { .. } | Job::Settle { .. } | Job::Hours { .. }) {
                climb.commit.merge(announcement(&self.shared, state, now).await?);
            }
            if self.shared.done(climb.commit, &work, state, fence, attempt).await? {
                break;
            }
        }
        Ok(())
    }
}

async fn decide(climb: &mut Climb<'_>, job: &Job) -> Result<(), StateError> {
    match job {
        Job::Start { alert } => climb.start_now(*alert).await,
        Job::Settle { alert } => climb.settle(*alert).await,
        Job::Hours { run } => climb.keep_hours(*run).await,
        Job::Wake { alert, acknowledged_at } => {
            let Some(found) = load::<Instance>(climb.state, &climb.shared.tenant, &alert.to_string()).await? else { return Ok(()) };
            let mut instance = found.entity;
            let same = instance.alert.acknowledged.as_ref().is_some_and(|taken| taken.at == *acknowledged_at);
            if !same || !instance.alert.is_firing() {
                return Ok(());
            }
            instance.alert.acknowledged = None;
            climb.commit.put(&instance, Expect::Version(found.version))?;
            let kind = EventKind::AlertUnacknowledged { reason: "it was snoozed until now".to_owned() };
            climb.commit.event(climb.shared.event(climb.now, Subject::alert(*alert, instance.alert.incident), kind));
            Ok(())
        }
        Job::Step { run, generation, round, step } => {
            let Some(found) = load::<LadderRun>(climb.state, &climb.shared.tenant, &run.to_string()).await? else { return Ok(()) };
            let mut run = found.entity.clone();
            let mine = run.status == LadderStatus::Running && (run.generation, run.round, run.step) == (*generation, *round, *step);
            // The journal says the same a moment later; the follower then stops or closes the run.
            let Some(scene) = climb.scene(&run.subject).await?.filter(|scene| mine && scene.open && !scene.acknowledged) else {
                return Ok(());
            };
            if scene.muted {
                // What was not muted in its incident may be over: no event tells of that.
                return climb.stop(found, StopReason::Muted);
            }
            if let Some(by) = climb.joins_what_is_taken(&run.subject, &scene).await? {
                return climb.acknowledge(found, &by).await;
            }
            climb.climb(&mut run, &scene).await?;
            climb.commit.put(&run, Expect::Version(found.version))
        }
    }
}
