//! The worker of queue `ladder`: takes the steps that are due, while what they are about is open, unacknowledged and not muted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::drive::Worker;
use model::event::{EventKind, Subject};
use model::state::{Expect, Fence, StateError, StateStore, load};
use model::time::Timestamp;
use model::work::{Queue, Work, WorkChange};

use super::climb::{Climb, Job};
use super::{LadderRun, LadderStatus};
use crate::machine::Instance;
use crate::shared::Shared;

/// How often a step is decided again when somebody else was first.
const TRIES: usize = 8;

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

    async fn work(&self, work: Work, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<(), StateError> {
        let job: Job = match serde_json::from_value(work.body.clone()) {
            Ok(job) => job,
            Err(error) => {
                let mut commit = model::state::Commit { fence: fence.cloned(), ..model::state::Commit::at(now) };
                let error = format!("the row's body is no ladder job: {error}");
                commit.change(&work.tenant, WorkChange::Dead { id: work.id, lease: work.lease, error });
                return state.commit(commit).await.map(drop);
            }
        };
        for attempt in 1..=TRIES {
            let mut climb = Climb::new(&self.shared, state, now);
            decide(&mut climb, &job).await?;
            climb.commit.fence = fence.cloned();
            climb.commit.change(&work.tenant, WorkChange::Done { id: work.id, lease: work.lease });
            match state.commit(climb.commit).await {
                Ok(_) => {
                    self.shared.nudge.nudge();
                    return Ok(());
                }
                Err(error) if error.is_conflict() && attempt < TRIES => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

async fn decide(climb: &mut Climb<'_>, job: &Job) -> Result<(), StateError> {
    match job {
        Job::Start { alert } => match climb.alert(*alert).await? {
            Some(alert) => climb.start(&alert, alert.severity, alert.escalation.as_deref(), false).await,
            None => Ok(()),
        },
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
            let mut run = found.entity;
            let mine = run.status == LadderStatus::Running && (run.generation, run.round, run.step) == (*generation, *round, *step);
            // The journal says the same a moment later; the follower then stops or closes the run.
            let Some(scene) = climb.scene(&run.subject).await?.filter(|scene| mine && scene.open && !scene.acknowledged && !scene.muted)
            else {
                return Ok(());
            };
            climb.climb(&mut run, &scene)?;
            climb.commit.put(&run, Expect::Version(found.version))
        }
    }
}
