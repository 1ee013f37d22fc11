//! The worker of queue `alerting`: looks at groups that are due, and sweeps over alerts of others (their ends, what mutes them).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::alert::Alert;
use model::drive::Worker;
use model::event::Subject;
use model::ids::AlertId;
use model::json::Json;
use model::state::{Commit, Expect, Fence, StateError, StateStore, TRIES, Versioned, load};
use model::time::Timestamp;
use model::work::{Lane, NewWork, Queue, Work};
use serde::{Deserialize, Serialize};

use super::follower::Placing;
use super::group::{AlertGroup, Member, fresh};
use super::looking::{Kept, Looking, Seat};
use super::notice::tell_elsewhere;
use super::settle::{Settling, announcement, settle};
use crate::evaluate::everything;
use crate::external;
use crate::shared::Shared;

/// From so many members on, alerts are read at once instead of one by one.
const MANY: usize = 200;

/// The body of a work row of queue `alerting`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub(crate) enum Job {
    /// Look at a group.
    Look { group: String },
    /// Resolve what others no longer send, mute and unmute.
    Sweep,
    /// Place what fires by another tree than before: a page of it.
    Settle(Settling),
}

/// A row for a job.
pub(crate) fn row(key: String, due_at: Timestamp, job: &Job) -> Result<NewWork, StateError> {
    let body = Json::of(job).map_err(|source| StateError::Body { kind: "routing job".to_owned(), id: key.clone(), source })?;
    Ok(NewWork { queue: Queue::Alerting, key, lane: Lane::Page, subject: Subject::default(), due_at, body })
}

/// Carries out the jobs of queue `alerting`.
pub struct RouteWorker {
    shared: Arc<Shared>,
}

impl RouteWorker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        RouteWorker { shared }
    }
}

#[async_trait]
impl Worker for RouteWorker {
    fn queue(&self) -> Queue {
        Queue::Alerting
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn batch(&self) -> usize {
        256
    }

    fn abreast(&self) -> usize {
        16
    }

    async fn work(&self, work: Work, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<(), StateError> {
        let Some(job) = self.shared.job::<Job>("job of the routes", &work, state, fence, now).await? else { return Ok(()) };
        let mut alone = None;
        for attempt in 1..=TRIES {
            self.shared.turn.wait(attempt, &mut alone).await;
            let now = if attempt == 1 { now } else { state.now().await? };
            let routing = self.shared.routing();
            let mut commit = match &job {
                Job::Look { group } => look_at(&self.shared, state, group, &work.key, now).await?,
                Job::Sweep => external::sweep(&self.shared, state, now).await?,
                Job::Settle(settling) => settle(&self.shared, state, settling, now).await?,
            };
            commit.merge(announcement(&self.shared, state, now).await?);
            if !Arc::ptr_eq(&routing, &self.shared.routing()) && attempt < TRIES {
                continue; // decided by a tree that is no longer this node's
            }
            if self.shared.done(commit, &work, state, fence, attempt).await? {
                break;
            }
        }
        Ok(())
    }
}

/// The members of a group that have records of their own, all of them.
pub(crate) async fn members(shared: &Shared, state: &dyn StateStore, group: &str) -> Result<Vec<Versioned<Member>>, StateError> {
    let mut all = everything::<Member>(state, &shared.tenant, &[group]).await?;
    // The oldest first: ids are ordered by time.
    all.reverse();
    Ok(all)
}

/// Alerts by id, read one by one or, where there are many, at once.
pub(super) struct Alerts<'a> {
    shared: &'a Shared,
    state: &'a dyn StateStore,
    firing: BTreeMap<AlertId, Alert>,
}

impl<'a> Alerts<'a> {
    /// `wanted`: how many will be asked for.
    pub(super) async fn read(shared: &'a Shared, state: &'a dyn StateStore, wanted: usize) -> Result<Self, StateError> {
        let mut firing = BTreeMap::new();
        if wanted >= MANY {
            firing.extend(
                everything::<Alert>(state, &shared.tenant, &["firing"]).await?.into_iter().map(|found| (found.entity.id, found.entity)),
            );
        }
        Ok(Alerts { shared, state, firing })
    }

    /// Each is asked for once.
    pub(super) async fn take(&mut self, id: AlertId) -> Result<Option<Alert>, StateError> {
        match self.firing.remove(&id) {
            Some(alert) => Ok(Some(alert)),
            None => Ok(load::<Alert>(self.state, &self.shared.tenant, &id.to_string()).await?.map(|found| found.entity)),
        }
    }
}

/// A look at a group: what is told, remembered, forgotten, and when the next one is.
pub(super) async fn look_at(shared: &Shared, state: &dyn StateStore, id: &str, key: &str, now: Timestamp) -> Result<Commit, StateError> {
    let nothing = Commit::at(now);
    let Some(Versioned { entity: mut group, version }) = load::<AlertGroup>(state, &shared.tenant, id).await? else { return Ok(nothing) };
    if group.pending.take_if(|pending| pending.key == key).is_none() {
        return Ok(nothing); // another row is the next look
    }
    let found = members(shared, state, id).await?;
    let routing = shared.routing();
    let Some(route) = routing.root.as_ref().and_then(|root| root.find(&group.route)) else {
        return resettle(shared, state, Versioned { entity: group, version }, found, now).await;
    };
    let mut alerts = Alerts::read(shared, state, found.len()).await?;
    let (mut seats, mut gone) = (Vec::new(), Vec::new());
    if let Some(member) = group.first.take()
        && let Some(alert) = alerts.take(member.alert).await?
    {
        group.first = Some(member.clone());
        seats.push(Seat { member, kept: Kept::InGroup, alert });
    }
    for one in found {
        match alerts.take(one.entity.alert).await? {
            Some(alert) => seats.push(Seat { member: one.entity, kept: Kept::Record(Expect::Version(one.version)), alert }),
            None => gone.push(one),
        }
    }
    let moved = |seat: &&Seat| seat.alert.is_firing() && !routing.belongs(&seat.alert, &group);
    let moved: Vec<Alert> = seats.iter().filter(moved).map(|seat| seat.alert.clone()).collect();
    let looking = Looking { shared, routing: &routing, route, group: group.clone(), seats, now, handing: None };
    let (mut commit, after) = looking.look(&fresh(now, &*shared.ids))?;
    // Where a node with another tree put an alert that it took in, only this look sees it.
    let mut placing = Placing::new(shared, state, now);
    for alert in &moved {
        placing.place(alert, false).await?;
    }
    commit.merge(placing.finish()?);
    for one in gone {
        commit.delete(&one.entity, Expect::Version(one.version));
    }
    match after {
        Some(group) => commit.put(&group, Expect::Version(version))?,
        None => commit.delete(&group, Expect::Version(version)),
    }
    Ok(commit)
}

/// The route is gone from the tree: what still fires goes where the tree leads it now; for who heard of it here it is over.
async fn resettle(
    shared: &Shared,
    state: &dyn StateStore,
    group: Versioned<AlertGroup>,
    members: Vec<Versioned<Member>>,
    now: Timestamp,
) -> Result<Commit, StateError> {
    let Versioned { entity: group, version } = group;
    let mut placing = Placing::new(shared, state, now);
    let (mut alerts, mut owed) = (Vec::new(), Vec::new());
    let mut known = Alerts::read(shared, state, members.len()).await?;
    for member in group.first.iter().chain(members.iter().map(|one| &one.entity)) {
        if let Some(alert) = known.take(member.alert).await? {
            alerts.push(alert);
            owed.push(member.owed);
        }
    }
    if !group.ends_untold {
        let heard = alerts.iter().zip(&owed).filter(|(_, owed)| **owed).map(|(alert, _)| alert).collect();
        let key = fresh(now, &*shared.ids);
        tell_elsewhere(shared, &mut placing.commit, &group, &group.route, heard, group.left_out(None), &key, now)?;
    }
    for one in members {
        placing.commit.delete(&one.entity, Expect::Version(one.version));
    }
    placing.commit.delete(&group, Expect::Version(version));
    for alert in alerts.iter().filter(|alert| alert.is_firing()) {
        placing.place(alert, false).await?;
    }
    placing.finish()
}
