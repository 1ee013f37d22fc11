//! What is left out of simulations: postmortems and review meetings. They write files and ask the telemetry store; no rule test speaks
//! of them. And what a chat provider would answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use incidents::job::Job;
use model::drive::Worker;
use model::event::{Actor, Event, EventKind, Subject};
use model::evidence::{Evidence, EvidenceQuery, EvidenceSource, VersionChange, VersionQuery};
use model::ids::EventId;
use model::message::{Delivery, Message};
use model::query::{QueryError, RowQuery, RowQuestion, Rows};
use model::state::{Commit, Fence, StateError, StateStore};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Queue, Work, WorkChange};

/// There is no telemetry to look into.
pub(super) struct NoEvidence;

#[async_trait]
impl EvidenceSource for NoEvidence {
    async fn evidence(&self, _: &EvidenceQuery) -> Result<Evidence, QueryError> {
        Err(QueryError::Unavailable("this is a simulation".to_owned()))
    }
    async fn versions(&self, _: &VersionQuery) -> Result<Vec<VersionChange>, QueryError> {
        Ok(Vec::new())
    }
}

/// There are no tables to look into.
pub struct NoRows;

#[async_trait]
impl RowQuery for NoRows {
    async fn rows(&self, _: &TenantId, _: &RowQuestion<'_>) -> Result<Rows, QueryError> {
        Err(QueryError::Unavailable("this simulation has no tables".to_owned()))
    }
    fn check(&self, _: &str) -> Result<(), QueryError> {
        Ok(())
    }
}

/// A worker of incidents that drafts nothing.
pub(super) struct WithoutPapers(pub Arc<dyn Worker>);

#[async_trait]
impl Worker for WithoutPapers {
    fn queue(&self) -> Queue {
        self.0.queue()
    }
    fn lease(&self) -> Duration {
        self.0.lease()
    }
    fn batch(&self) -> usize {
        self.0.batch()
    }
    async fn work(&self, work: Work, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<(), StateError> {
        match work.body.read::<Job>() {
            Ok(Job::Postmortem { .. } | Job::Review { .. }) => {
                let mut commit = Commit::at(now);
                commit.change(&work.tenant, WorkChange::Done { id: work.id, lease: work.lease });
                state.commit(commit).await.map(drop)
            }
            Ok(Job::Resolve { .. } | Job::Clock { .. } | Job::Archive { .. }) | Err(_) => self.0.work(work, state, fence, now).await,
        }
    }
}

/// What the delivery worker journals when a chat channel is opened or archived.
pub(super) fn opened(delivery: &Delivery, now: Timestamp) -> Option<Event> {
    let channel = "simulated".to_owned();
    let (incident, kind) = match &delivery.message {
        Message::ChatOpen { incident, name, .. } => {
            (incident, EventKind::ChatChannelOpened { receiver: delivery.receiver.clone(), channel, name: name.clone() })
        }
        Message::ChatArchive { incident } => (incident, EventKind::ChatChannelArchived { channel }),
        Message::ChatPost { .. } | Message::Document { .. } | Message::Notice(_) => return None,
    };
    let id = EventId::derived(now, &format!("{}/{}", delivery.id, kind.tag()));
    let (tenant, subject) = (delivery.tenant.clone(), Subject::incident(*incident));
    Some(Event { id, tenant, at: now, actor: Actor::system("delivery"), subject, kind })
}
