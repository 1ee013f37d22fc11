//! Rules -> alert instances -> groups, silences, escalation ladders -> notifications out.
//!
//! [`Alerting`] builds the parts that decide: the evaluator, the followers `alert-links` and `ladders`, the ladder worker, the probe and
//! the routes. What is to be said leaves as outbox rows; `delivery` and `channels` send them.

pub mod channels;
pub mod config;
pub mod delivery;
pub mod evaluate;
pub mod heartbeat;
pub mod ladder;
pub mod links;
pub mod machine;
pub mod meters;
pub mod probe;
pub mod router;
pub mod rules;
mod shared;
pub mod silence;
pub mod template;
#[cfg(test)]
mod testing;

use std::sync::{Arc, RwLock};

use model::alert::AlertProbe;
use model::drive::{Follower, Nudge, Worker};
use model::ids::IdSource;
use model::query::{MetricQuery, RowQuery};
use model::sink::SeriesSink;
use model::state::StateStore;
use model::tenant::TenantId;
use model::time::Clock;
use prometheus::Registry;

pub use config::Config;
pub use rules::{Ladder, RuleError, RuleSet};

use evaluate::Evaluator;
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
        let meters = meters::Meters::new(&registry)?;
        let shared = Arc::new(Shared { config, rules, state, metrics, rows, series, clock, ids, nudge, meters, tenant });
        let evaluator = Arc::new(Evaluator::new(shared.clone()));
        Ok(Alerting { shared, evaluator })
    }
    /// The evaluator: run it, or call it by hand.
    pub fn evaluator(&self) -> Arc<Evaluator> {
        self.evaluator.clone()
    }
    /// `alert-links` and `ladders`, in the order in which they should run.
    pub fn followers(&self) -> Vec<Arc<dyn Follower>> {
        vec![Arc::new(links::AlertLinks), Arc::new(ladder::LadderFollower::new(self.shared.clone()))]
    }
    /// The ladder worker.
    pub fn workers(&self) -> Vec<Arc<dyn Worker>> {
        vec![Arc::new(ladder::LadderWorker::new(self.shared.clone()))]
    }
    /// Evaluates an alert's own expression.
    pub fn probe(&self) -> Arc<dyn AlertProbe> {
        Arc::new(probe::Probe::new(self.shared.clone()))
    }
    /// The routes.
    pub fn router(&self) -> axum::Router {
        router::router(Arc::new(router::Api { shared: self.shared.clone(), evaluator: self.evaluator.clone() }))
    }
    /// Goes on with other rules (checked before). Open alerts keep their state where their rule is still there, by source, group
    /// and name; the alerts of rules that are gone resolve at the next evaluation.
    pub fn reload(&self, rules: RuleSet) {
        self.shared.set_rules(rules);
        self.evaluator.restage();
    }
}
