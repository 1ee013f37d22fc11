//! Takes up a changed configuration while Watchfire runs: rules of alerts and of grouping, escalations, receivers, remediations,
//! scrape jobs, health checks and processing. In: a freshly read configuration. Out: the parts go on with it, all or none; what needs a restart is
//! named. A configuration with a mistake changes
//! nothing and is told in the log and by `watchfire_config_last_reload_successful`.

pub mod changes;
pub mod files;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alerting::Alerting;
use alerting::delivery::DeliveryWorker;
use alerting::routing::Routing;
use collector::Collector;
use collector::checks::Checker;
use collector::pipeline::Pipeline;
use collector::scrape::Scraper;
use model::fingerprint::Rules;
use model::time::Clock;
use prometheus::{IntGauge, Registry};
use remediation::Remediation;

use crate::config::Config;
use crate::pipeline::load_rules;
use changes::{needs_restart, with_reloadable};

/// What goes on with other settings.
pub struct Parts {
    /// Rules and escalations.
    pub alerting: Arc<Alerting>,
    /// Receivers.
    pub delivery: Arc<DeliveryWorker>,
    /// Remediations.
    pub remediation: Remediation,
    /// Processing, and rules that group errors.
    pub collector: Collector,
    /// Jobs and their targets.
    pub scraper: Scraper,
    /// Health checks.
    pub checker: Checker,
    /// When a reload happened.
    pub clock: Arc<dyn Clock>,
}

/// The settings that run, and the parts that run with them.
pub struct Reloading {
    running: Arc<Mutex<Config>>,
    file: Option<PathBuf>,
    parts: Parts,
    successful: IntGauge,
    at: IntGauge,
}

impl Reloading {
    /// With the settings of the start, which count as the first success; who shares them sees what is taken up. Registers `watchfire_config_last_reload_successful` and
    /// `watchfire_config_last_reload_success_timestamp_seconds`.
    pub fn new(running: Arc<Mutex<Config>>, file: Option<PathBuf>, parts: Parts, registry: &Registry) -> Result<Self, prometheus::Error> {
        let successful =
            IntGauge::new("watchfire_config_last_reload_successful", "Whether the last reading of the configuration was taken up.")?;
        let at = IntGauge::new("watchfire_config_last_reload_success_timestamp_seconds", "When one was last taken up.")?;
        registry.register(Box::new(successful.clone()))?;
        registry.register(Box::new(at.clone()))?;
        let reloading = Reloading { running, file, parts, successful, at };
        reloading.succeeded();
        Ok(reloading)
    }

    /// The file, if there is one.
    pub fn file(&self) -> Option<PathBuf> {
        self.file.clone()
    }

    /// The settings that run.
    pub fn running(&self) -> Config {
        self.lock().clone()
    }

    /// Takes up a configuration, or says in one log line why not. Returns whether it was taken up.
    pub fn reload(&self, read: Result<Config, String>) -> bool {
        match read.and_then(|fresh| self.take_up(&fresh)) {
            Ok(rules) => {
                self.succeeded();
                tracing::info!(rules, "the configuration was read again and is taken up");
                true
            }
            Err(problem) => {
                self.successful.set(0);
                tracing::error!(problem, "the configuration was read again and is NOT taken up: Watchfire goes on with the old one");
                false
            }
        }
    }

    fn take_up(&self, fresh: &Config) -> Result<usize, String> {
        let mut running = self.lock();
        let restart = needs_restart(&running, fresh);
        let next = with_reloadable(&running, fresh);
        // The new settings are right by themselves; they must be so beside the old ones that stay until a restart.
        let problems = next.problems();
        if !problems.is_empty() {
            return Err(format!("{} (with {} as before: restart to take up everything)", problems.join("; "), restart.join(", ")));
        }
        let grouping = Rules::new(&next.errors.rules).map_err(|problems| problems.join("; "))?;
        let rules = load_rules(&next, self.file.as_deref()).map_err(|problems| problems.join("; "))?;
        let pipeline =
            Pipeline::new(&next.pipeline).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let scrape = self.parts.scraper.prepare(&next.scrape).map_err(|error| crate::runtime::chain(&error))?;
        let checks = self.parts.checker.prepare(&next.checks).map_err(|error| crate::runtime::chain(&error))?;
        self.parts.delivery.reload(&next.receivers).map_err(|error| crate::runtime::chain(&error))?;
        let count = rules.len();
        self.parts.collector.set_pipeline(Arc::new(pipeline));
        self.parts.remediation.reload(next.remediation.remediations.clone());
        let routing = Routing::of(&next.alerting).knowing(next.receivers.iter().map(|one| one.name().to_owned()));
        self.parts.alerting.take_up(rules, routing);
        self.parts.collector.set_error_rules(grouping);
        self.parts.scraper.take_up(scrape);
        self.parts.checker.take_up(checks);
        *running = next;
        if !restart.is_empty() {
            tracing::warn!(settings = restart.join(", "), "these settings changed too and need a restart: until then the old ones hold");
        }
        Ok(count)
    }

    fn succeeded(&self) {
        self.successful.set(1);
        self.at.set(self.parts.clock.now().millis() / 1_000);
    }

    fn lock(&self) -> MutexGuard<'_, Config> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
