//! What every part of alerting has: settings, rules, ports. Built once, cheap to share.

use std::sync::{Arc, RwLock};

use model::drive::Nudge;
use model::event::{Actor, Event, EventKind, Subject};
use model::ids::{EventId, IdSource};
use model::labels::Labels;
use model::query::{MetricQuery, RowQuery};
use model::sink::SeriesSink;
use model::state::{Commit, Fence, StateError, StateStore, TRIES};
use model::tenant::TenantId;
use model::time::{Clock, Timestamp};
use model::work::{Work, WorkChange};
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::delivery::Outbox;
use crate::evaluate::forecasts::Forecasts;
use crate::meters::Meters;
use crate::routing::Routing;
use crate::rules::{Ladder, RuleSet};
use crate::turn::Turn;

/// Settings, rules, ports.
pub struct Shared {
    pub(crate) config: Config,
    pub(crate) rules: RwLock<Arc<RuleSet>>,
    pub(crate) routing: RwLock<Arc<Routing>>,
    /// What fires of alerts that others sent, as the last sweep on this node saw it: they mute too.
    pub(crate) foreign: RwLock<Arc<Vec<(u64, Labels)>>>,
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) metrics: Arc<dyn MetricQuery>,
    pub(crate) rows: Arc<dyn RowQuery>,
    pub(crate) series: Arc<dyn SeriesSink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) nudge: Nudge,
    pub(crate) meters: Meters,
    /// Where notices may be handed over.
    pub(crate) outbox: Outbox,
    /// What was learned for rules about anomalies.
    pub(crate) forecasts: Forecasts,
    /// Whose turn it is to decide about groups.
    pub(crate) turn: Turn,
    pub(crate) tenant: TenantId,
    pub(crate) started_at: Timestamp,
}

impl Shared {
    /// The job in a work row; a row that holds none is dead. `what` names the job.
    pub(crate) async fn job<J: DeserializeOwned>(
        &self,
        what: &str,
        work: &Work,
        state: &dyn StateStore,
        fence: Option<&Fence>,
        now: Timestamp,
    ) -> Result<Option<J>, StateError> {
        match work.body.read() {
            Ok(job) => Ok(Some(job)),
            Err(error) => {
                self.give_up(format!("the row's body is no {what}: {error}"), work, state, fence, now).await?;
                Ok(None)
            }
        }
    }

    /// Nothing can be done with a work row: it is dead.
    pub(crate) async fn give_up(
        &self,
        error: String,
        work: &Work,
        state: &dyn StateStore,
        fence: Option<&Fence>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let mut commit = Commit { fence: fence.cloned(), ..Commit::at(now) };
        commit.change(&work.tenant, WorkChange::Dead { id: work.id, lease: work.lease, error });
        state.commit(commit).await.map(drop)
    }

    /// Commits what a work row's job comes to, with the row done. False where somebody else was first and there is another try.
    pub(crate) async fn done(
        &self,
        commit: Commit,
        work: &Work,
        state: &dyn StateStore,
        fence: Option<&Fence>,
        attempt: usize,
    ) -> Result<bool, StateError> {
        self.moved(commit, work, WorkChange::Done { id: work.id, lease: work.lease }, state, fence, attempt).await
    }

    /// Commits what a part of a work row's job comes to, with how the row changes. False where somebody else was first and there is another try.
    pub(crate) async fn moved(
        &self,
        mut commit: Commit,
        work: &Work,
        change: WorkChange,
        state: &dyn StateStore,
        fence: Option<&Fence>,
        attempt: usize,
    ) -> Result<bool, StateError> {
        commit.fence = fence.cloned();
        // The row is due again where this is lost, and nothing was done outside; unless something is, as soon as this is written.
        commit.derived = !commit.takes();
        commit.change(&work.tenant, change);
        match state.commit(commit).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() && attempt < TRIES => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The rules as they stand.
    pub(crate) fn rules(&self) -> Arc<RuleSet> {
        match self.rules.read() {
            Ok(rules) => rules.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// Sets the rules.
    pub(crate) fn set_rules(&self, rules: RuleSet) {
        self.forecasts.keep(&rules);
        match self.rules.write() {
            Ok(mut slot) => *slot = Arc::new(rules),
            Err(poisoned) => *poisoned.into_inner() = Arc::new(rules),
        }
    }

    /// The routing tree as it stands.
    pub(crate) fn routing(&self) -> Arc<Routing> {
        match self.routing.read() {
            Ok(routing) => routing.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// Sets the routing tree.
    pub(crate) fn set_routing(&self, routing: Routing) {
        match self.routing.write() {
            Ok(mut slot) => *slot = Arc::new(routing),
            Err(poisoned) => *poisoned.into_inner() = Arc::new(routing),
        }
    }

    /// What fires of alerts that others sent.
    pub(crate) fn foreign(&self) -> Arc<Vec<(u64, Labels)>> {
        match self.foreign.read() {
            Ok(firing) => firing.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// Remembers what fires of alerts that others sent.
    pub(crate) fn set_foreign(&self, firing: Vec<(u64, Labels)>) {
        match self.foreign.write() {
            Ok(mut slot) => *slot = Arc::new(firing),
            Err(poisoned) => *poisoned.into_inner() = Arc::new(firing),
        }
    }

    /// A ladder by name: from the configuration, else from the rule files.
    pub(crate) fn ladder(&self, name: &str) -> Option<Ladder> {
        let rules = self.rules();
        self.config.escalations.iter().chain(&rules.escalations).find(|ladder| ladder.name == name).cloned()
    }

    /// An event of alerting.
    pub(crate) fn event(&self, at: Timestamp, subject: Subject, kind: EventKind) -> Event {
        Event { id: EventId::new(at, &*self.ids), tenant: self.tenant.clone(), at, actor: Actor::system("alerting"), subject, kind }
    }
}
