//! Rules -> alert instances -> groups, silences, escalation ladders -> notifications out.
//!
//! [`Alerting`] builds the parts that decide: the evaluator, the followers `alert-links` and `ladders`, the ladder worker, the probe and
//! the routes. What is to be said leaves as outbox rows; `delivery` and `channels` send them.

pub mod anomaly;
mod anyway;
pub mod channels;
pub mod config;
pub mod delivery;
pub mod evaluate;
mod external;
pub mod heartbeat;
pub mod ladder;
pub mod links;
pub mod machine;
pub mod matchers;
pub mod meters;
pub mod on_call;
pub mod probe;
pub mod router;
pub mod routing;
pub mod rules;
mod shared;
pub mod silence;
pub mod template;
#[cfg(test)]
mod testing;
mod turn;

use std::sync::{Arc, RwLock};

use model::alert::AlertProbe;
use model::drive::{Follower, Nudge, Worker};
use model::ids::IdSource;
use model::query::{MetricQuery, RowQuery};
use model::sink::SeriesSink;
use model::state::{Fence, StateStore};
use model::tenant::TenantId;
use model::time::Clock;
use prometheus::Registry;
use tokio::sync::watch;

pub use config::Config;
pub use rules::{Ladder, RuleError, RuleSet};

use evaluate::Evaluator;
use routing::Routing;
use shared::Shared;

/// What alerting needs from outside.
pub struct AlertingDeps {
    /// Its settings, checked.
    pub config: Config,
    /// Its rules, checked.
    pub rules: RuleSet,
    /// Where alerts, ladders, silences and the outbox are kept.
    pub state: Arc<dyn StateStore>,
    /// PromQL.
    pub metrics: Arc<dyn MetricQuery>,
    /// SQL.
    pub rows: Arc<dyn RowQuery>,
    /// Where recorded series and `ALERTS` go.
    pub series: Arc<dyn SeriesSink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
    /// Wakes followers and workers.
    pub nudge: Nudge,
    /// Where its metrics go.
    pub registry: Registry,
    /// Whose rules these are.
    pub tenant: TenantId,
}

/// Alerting, built.
pub struct Alerting {
    shared: Arc<Shared>,
    evaluator: Arc<Evaluator>,
}

impl Alerting {
    /// Builds it. Fails if the registry has its metrics already.
    pub fn new(deps: AlertingDeps) -> Result<Self, prometheus::Error> {
        let AlertingDeps { config, rules, state, metrics, rows, series, clock, ids, nudge, registry, tenant } = deps;
        let rules = RwLock::new(Arc::new(rules));
        let routing = RwLock::new(Arc::new(Routing::of(&config)));
        let meters = meters::Meters::new(&registry)?;
        let started_at = clock.now();
        let shared = Arc::new(Shared {
            started_at,
            config,
            rules,
            routing,
            foreign: RwLock::default(),
            state,
            metrics,
            rows,
            series,
            clock,
            ids,
            nudge,
            meters,
            outbox: Default::default(),
            forecasts: Default::default(),
            turn: Default::default(),
            tenant,
        });
        let evaluator = Arc::new(Evaluator::new(shared.clone()));
        Ok(Alerting { shared, evaluator })
    }
    /// Hands the first notices of new groups of others' alerts over to this worker while this node leads, so that they go out as soon as they
    /// are written. Without it they are claimed as all others are.
    pub fn hand_over_to(&self, worker: Arc<delivery::DeliveryWorker>, leading: watch::Receiver<Option<Fence>>) {
        self.shared.outbox.open(worker, leading);
    }
    /// The evaluator: run it, or call it by hand.
    pub fn evaluator(&self) -> Arc<Evaluator> {
        self.evaluator.clone()
    }
    /// `alert-links`, `ladders` and `routes`, in the order in which they should run.
    pub fn followers(&self) -> Vec<Arc<dyn Follower>> {
        let shared = || self.shared.clone();
        vec![Arc::new(links::AlertLinks), Arc::new(ladder::LadderFollower::new(shared())), Arc::new(routing::RouteFollower::new(shared()))]
    }
    /// The workers of ladders, of groups, and of large requests with alerts of others.
    pub fn workers(&self) -> Vec<Arc<dyn Worker>> {
        vec![
            Arc::new(ladder::LadderWorker::new(self.shared.clone())),
            Arc::new(routing::worker::RouteWorker::new(self.shared.clone())),
            Arc::new(external::IntakeWorker::new(self.shared.clone())),
        ]
    }
    /// Goes on with another routing tree, other time intervals and recurring maintenance windows (checked before). What fires goes where the
    /// new tree leads it.
    pub fn reroute(&self, routing: Routing) {
        self.shared.set_routing(routing);
        self.evaluator.restage();
    }
    /// Evaluates an alert's own expression.
    pub fn probe(&self) -> Arc<dyn AlertProbe> {
        Arc::new(probe::Probe::new(self.shared.clone()))
    }
    /// The routes.
    pub fn router(&self) -> axum::Router {
        router::router(Arc::new(router::Api::new(self.shared.clone(), self.evaluator.clone())))
    }
    /// Goes on with other rules (checked before). Open alerts keep their state where their rule is still there, by source, group
    /// and name; the alerts of rules that are gone resolve at the next evaluation.
    pub fn reload(&self, rules: RuleSet) {
        self.shared.set_rules(rules);
        self.evaluator.restage();
    }
    /// Both at once.
    pub fn take_up(&self, rules: RuleSet, routing: Routing) {
        self.shared.set_routing(routing);
        self.reload(rules);
    }
}
