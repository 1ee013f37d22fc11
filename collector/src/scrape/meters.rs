//! What scraping says about itself, as `watchfire_scrape_*` metrics. Fails: only at start, if a name is taken.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// The metrics of scraping.
#[derive(Clone)]
pub(crate) struct Meters {
    /// Targets by job.
    pub(crate) targets: IntGaugeVec,
    /// Scrapes by job and outcome: `ok`, `failed` (the target), `refused` (could not be stored).
    pub(crate) scrapes: IntCounterVec,
    /// Discoveries that failed, by job and kind.
    pub(crate) discovery_failures: IntCounterVec,
}

impl Meters {
    /// Registers all of them.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let targets = IntGaugeVec::new(Opts::new("watchfire_scrape_targets", "Targets that are scraped."), &["job"])?;
        let scrapes = IntCounterVec::new(Opts::new("watchfire_scrapes_total", "Scrapes, by outcome."), &["job", "outcome"])?;
        let discovery_failures = IntCounterVec::new(
            Opts::new("watchfire_scrape_discovery_failures_total", "Files and URLs of targets that could not be read."),
            &["job", "kind"],
        )?;
        registry.register(Box::new(targets.clone()))?;
        registry.register(Box::new(scrapes.clone()))?;
        registry.register(Box::new(discovery_failures.clone()))?;
        Ok(Meters { targets, scrapes, discovery_failures })
    }
}
