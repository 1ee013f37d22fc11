//! Scraping: Watchfire asks targets for their metrics, as Prometheus does. In: the `scrape` part of the configuration and who
//! leads. Out: one batch a scrape into the intake's log, and the state of targets. Fails: a target that does not answer is down,
//! and never in the way of another.
//!
//! [`config`] says what to do; [`discovery`] finds addresses, [`target`] makes targets of them with the rules of [`relabel`];
//! [`schedule`] says when, [`fetch`] asks, [`exposition`] reads what comes, [`memory`] and [`rows`] make it rows; [`pool`] and
//! [`runner`] are the loops; [`board`] shows how it goes.

pub(crate) mod board;
mod config;
mod discovery;
mod exposition;
mod fetch;
mod memory;
mod meters;
mod pool;
mod relabel;
mod rows;
mod runner;
mod schedule;
mod target;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use model::state::Fence;
use prometheus::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Collector;
use board::Board;
pub use board::{Health, TargetState};
pub use config::{Authorization, BasicAuth, Config, FileDiscovery, HttpDiscovery, Job, TargetGroup, TlsConfig};
use fetch::Client;
pub use fetch::ClientError;
use memory::LabelLimits;
use meters::Meters;
use relabel::Rule;
pub use relabel::{Action, RelabelConfig};

/// Scraping that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// The configuration makes no sense; [`Config::problems`] says it better.
    #[error("scrape: {0}")]
    Config(String),
    /// A client cannot be made.
    #[error("scrape: job `{job}`")]
    Client {
        /// Which job.
        job: String,
        /// Why.
        #[source]
        source: ClientError,
    },
    /// A metric's name is taken.
    #[error("scrape: the metrics could not be registered")]
    Metrics(#[from] prometheus::Error),
}

/// A job, compiled.
struct Plan {
    job: Job,
    client: Client,
    discoveries: Vec<Client>,
    rules: Vec<Rule>,
    metric_rules: Arc<Vec<Rule>>,
    limits: LabelLimits,
}

/// What all loops share.
struct Shared {
    config: Config,
    plans: Vec<Plan>,
    collector: Collector,
    board: Board,
    meters: Meters,
    turns: Semaphore,
    beside: Arc<Path>,
    seed: u64,
}

/// Scrapes the configured targets while this node leads.
#[derive(Clone)]
pub struct Scraper(Arc<Shared>);

impl Scraper {
    /// Compiles the configuration. `beside` is the folder that relative paths are in, `node` tells this server from others, so
    /// that they do not all ask at the same moment. Registers its metrics.
    pub fn new(config: Config, beside: &Path, node: &str, collector: Collector, registry: &Registry) -> Result<Self, ScrapeError> {
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(ScrapeError::Config(problem));
        }
        let plans = config.scrape_configs.iter().map(|job| plan(job, beside)).collect::<Result<Vec<_>, _>>()?;
        Ok(Scraper(Arc::new(Shared {
            plans,
            collector,
            board: Board::default(),
            meters: Meters::new(registry)?,
            turns: Semaphore::new(config.concurrency.min(Semaphore::MAX_PERMITS)),
            beside: Arc::from(beside),
            seed: xxhash_rust::xxh3::xxh3_64(node.as_bytes()),
            config,
        })))
    }

    /// `GET /api/v1/targets` and `/api/v1/scrape_pools`. Takes the [`model::access::Principal`] from the request's extensions.
    pub fn router(&self) -> axum::Router {
        self.0.board.router()
    }

    /// The targets that are scraped now: job, labels, state.
    pub fn targets(&self) -> Vec<(String, model::labels::Labels, TargetState)> {
        let pools = self.0.board.pools();
        let of = |(job, pool): (&String, &board::Pool)| {
            pool.active.iter().map(|place| (job.clone(), place.target.labels.clone(), place.state())).collect::<Vec<_>>()
        };
        pools.iter().flat_map(of).collect()
    }

    /// Scrapes while `fence` says that this node leads, until `stop`. A scrape that is at work at the end is dropped. As in
    /// Prometheus, the series of a server that stops are not marked stale: it, or another node, goes on with them.
    pub async fn run(self, mut fence: watch::Receiver<Option<Fence>>, stop: CancellationToken) {
        if self.0.plans.is_empty() {
            return;
        }
        loop {
            tokio::select! {
                leads = fence.wait_for(Option::is_some) => if leads.is_err() { return },
                () = stop.cancelled() => return,
            }
            let (end, mut jobs) = (stop.child_token(), JoinSet::new());
            for at in 0..self.0.plans.len() {
                jobs.spawn(pool::run(Arc::clone(&self.0), at, end.clone()));
            }
            tokio::select! {
                _ = fence.wait_for(Option::is_none) => {}
                () = stop.cancelled() => {}
            }
            end.cancel();
            while jobs.join_next().await.is_some() {}
            self.0.board.pools().clear();
            if stop.is_cancelled() {
                return;
            }
        }
    }
}

fn plan(job: &Job, beside: &Path) -> Result<Plan, ScrapeError> {
    let client = |settings| Client::new(settings, beside).map_err(|source| ScrapeError::Client { job: job.job_name.clone(), source });
    let rules = |configs: &[RelabelConfig]| Rule::list(configs).map_err(|error| ScrapeError::Config(error.to_string()));
    Ok(Plan {
        client: client(job.client())?,
        discoveries: job.http_sd_configs.iter().map(|discovery| client(discovery.client())).collect::<Result<_, _>>()?,
        rules: rules(&job.relabel_configs)?,
        metric_rules: Arc::new(rules(&job.metric_relabel_configs)?),
        limits: LabelLimits { count: job.label_limit, name: job.label_name_length_limit, value: job.label_value_length_limit },
        job: job.clone(),
    })
}
