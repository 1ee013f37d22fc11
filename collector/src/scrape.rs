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
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod door;
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

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use model::state::Fence;
use model::tenant::TenantId;
use model::time::Span;
use prometheus::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Collector;
use board::Board;
pub use board::{Health, TargetState};
pub use config::{Authorization, BasicAuth, Config, FileDiscovery, HttpDiscovery, Job, ScrapeProtocol, TargetGroup, TlsConfig, TlsVersion};
use exposition::Format;
use fetch::Client;
pub use fetch::ClientError;
use memory::LabelLimits;
use meters::Meters;
use relabel::Rule;
pub use relabel::{Action, RelabelConfig};

/// How often jobs that ended although they are wanted are looked for.
const REVIVE: Duration = Duration::from_secs(5);

/// Scraping that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// The configuration makes no sense: one sentence each.
    #[error("{}", .0.join("; "))]
    Config(Vec<String>),
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
pub(crate) struct Plan {
    job: Job,
    tenant: TenantId,
    pace: (Span, Span),
    extra: bool,
    client: Client,
    accept: HeaderValue,
    fallback: Format,
    discoveries: Vec<Client>,
    rules: Vec<Rule>,
    metric_rules: Arc<Vec<Rule>>,
    limits: LabelLimits,
    turns: Arc<Semaphore>,
}

impl Plan {
    /// Whether series get the same labels as with the other one.
    fn labels_alike(&self, other: &Plan) -> bool {
        let (one, other) = (&self.job, &other.job);
        one.metric_relabel_configs == other.metric_relabel_configs
            && one.honor_labels == other.honor_labels
            && one.label_limit == other.label_limit
            && one.label_name_length_limit == other.label_name_length_limit
            && one.label_value_length_limit == other.label_value_length_limit
    }
}

/// Makes clients as configured.
type Clients = Arc<dyn Fn(config::Client<'_>, &Path) -> Result<Client, ClientError> + Send + Sync>;

/// What all loops share, whatever the configuration.
struct Shared {
    collector: Collector,
    board: Board,
    meters: Meters,
    clients: Clients,
    beside: Arc<Path>,
    seed: u64,
}

/// Scrapes the configured targets while this node leads.
#[derive(Clone)]
pub struct Scraper {
    shared: Arc<Shared>,
    plans: Arc<watch::Sender<Vec<Arc<Plan>>>>,
}

/// A configuration that can be taken up: its files are read, its clients made.
pub struct Prepared(Vec<Arc<Plan>>);

/// A job at work.
struct Working {
    wanted: watch::Sender<Option<Arc<Plan>>>,
    task: JoinHandle<()>,
}

impl Scraper {
    /// With a configuration to begin with. `beside` is the folder that relative paths are in, `node` tells this server from
    /// others, so that they do not all ask at the same moment. Registers its metrics.
    pub fn new(config: &Config, beside: &Path, node: &str, collector: Collector, registry: &Registry) -> Result<Self, ScrapeError> {
        Scraper::with_clients(config, beside, node, collector, registry, Arc::new(Client::new))
    }

    fn with_clients(
        config: &Config,
        beside: &Path,
        node: &str,
        collector: Collector,
        registry: &Registry,
        clients: Clients,
    ) -> Result<Self, ScrapeError> {
        let shared = Shared {
            collector,
            board: Board::default(),
            meters: Meters::new(registry)?,
            clients,
            beside: Arc::from(beside),
            seed: xxhash_rust::xxh3::xxh3_64(node.as_bytes()),
        };
        let scraper = Scraper { shared: Arc::new(shared), plans: Arc::new(watch::Sender::new(Vec::new())) };
        scraper.take_up(scraper.prepare(config)?);
        Ok(scraper)
    }

    /// Reads and compiles everything that a configuration names. Changes nothing; reads files, blocking.
    pub fn prepare(&self, config: &Config) -> Result<Prepared, ScrapeError> {
        let whole = config.with_files(&self.shared.beside).map_err(ScrapeError::Config)?;
        let turns = Arc::new(Semaphore::new(whole.concurrency.min(Semaphore::MAX_PERMITS)));
        let plan = |job: &Job| Ok(Arc::new(self.plan(&whole, job, &turns)?));
        Ok(Prepared(whole.scrape_configs.iter().map(plan).collect::<Result<_, ScrapeError>>()?))
    }

    /// Goes on with another configuration. Targets that stay keep their state; those of jobs that are gone are marked stale.
    pub fn take_up(&self, prepared: Prepared) {
        self.plans.send_replace(prepared.0);
    }

    /// `GET /api/v1/targets`, `/api/v1/targets/metadata` and `/api/v1/scrape_pools`. Takes the [`model::access::Principal`] from
    /// the request's extensions.
    pub fn router(&self) -> axum::Router {
        self.shared.board.router()
    }

    /// The jobs as they are now, those from files included; secrets serialize as `<secret>`.
    pub fn jobs(&self) -> Vec<Job> {
        self.plans.borrow().iter().map(|plan| plan.job.clone()).collect()
    }

    /// The targets that are scraped now: job, labels, state.
    pub fn targets(&self) -> Vec<(String, model::labels::Labels, TargetState)> {
        let pools = self.shared.board.pools();
        let of = |(job, pool): (&String, &board::Pool)| {
            pool.active.iter().map(|place| (job.clone(), place.target.labels.clone(), place.state())).collect::<Vec<_>>()
        };
        pools.iter().flat_map(of).collect()
    }

    /// Scrapes while `fence` says that this node leads, until `stop`. A scrape that is at work at the end is dropped. As in
    /// Prometheus, the series of a server that stops are not marked stale: it, or another node, goes on with them.
    pub async fn run(self, mut fence: watch::Receiver<Option<Fence>>, stop: CancellationToken) {
        loop {
            tokio::select! {
                leads = fence.wait_for(Option::is_some) => if leads.is_err() { return },
                () = stop.cancelled() => return,
            }
            let end = stop.child_token();
            let led = async {
                // Also where nobody tells any more who leads.
                let _ = fence.wait_for(Option::is_none).await;
            };
            self.lead(led, &end).await;
            self.shared.board.pools().clear();
            self.shared.meters.targets.reset();
            if stop.is_cancelled() {
                return;
            }
        }
    }

    /// Keeps a loop for each job until `led` is over or `end`.
    async fn lead(&self, led: impl Future<Output = ()>, end: &CancellationToken) {
        let (mut plans, mut jobs) = (self.plans.subscribe(), HashMap::new());
        let mut led = std::pin::pin!(led);
        loop {
            let wanted = plans.borrow_and_update().clone();
            self.sync(&wanted, &mut jobs, end);
            tokio::select! {
                changed = plans.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(REVIVE) => {}
                () = &mut led => break,
                () = end.cancelled() => break,
            }
        }
        end.cancel();
        for (_, job) in jobs {
            if let Err(error) = job.task.await {
                tracing::error!(%error, "a job ended because of a defect");
            }
        }
    }

    fn sync(&self, wanted: &[Arc<Plan>], jobs: &mut HashMap<(TenantId, String), Working>, end: &CancellationToken) {
        let key = |plan: &Plan| (plan.tenant.clone(), plan.job.job_name.clone());
        jobs.retain(|_, job| !job.task.is_finished());
        for (_, job) in jobs.iter().filter(|(known, _)| !wanted.iter().any(|plan| key(plan) == **known)) {
            job.wanted.send_if_modified(|before| before.take().is_some());
        }
        for plan in wanted {
            let going_on = jobs.get(&key(plan)).filter(|job| !job.wanted.is_closed());
            let Some(job) = going_on else {
                let (wanted, told) = watch::channel(Some(Arc::clone(plan)));
                let task = tokio::spawn(pool::run(Arc::clone(&self.shared), Arc::clone(plan), told, end.clone()));
                jobs.insert(key(plan), Working { wanted, task });
                continue;
            };
            job.wanted.send_if_modified(|before| {
                let differs = before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, plan));
                if differs {
                    *before = Some(Arc::clone(plan));
                }
                differs
            });
        }
    }

    fn plan(&self, config: &Config, job: &Job, turns: &Arc<Semaphore>) -> Result<Plan, ScrapeError> {
        let failed = |source| ScrapeError::Client { job: job.job_name.clone(), source };
        let client = |settings| (self.shared.clients)(settings, &self.shared.beside).map_err(failed);
        let rules = |configs: &[RelabelConfig]| {
            Rule::list(configs).map_err(|error| ScrapeError::Config(vec![format!("{}: {error}", job.job_name)]))
        };
        Ok(Plan {
            tenant: config.tenant.clone(),
            pace: job.pace(config),
            extra: config.extra_scrape_metrics,
            client: client(job.client())?,
            accept: fetch::accept(&job.scrape_protocols),
            fallback: fetch::fallback(job.fallback_scrape_protocol),
            discoveries: job.http_sd_configs.iter().map(|discovery| client(discovery.client())).collect::<Result<_, _>>()?,
            rules: rules(&job.relabel_configs)?,
            metric_rules: Arc::new(rules(&job.metric_relabel_configs)?),
            limits: LabelLimits { count: job.label_limit, name: job.label_name_length_limit, value: job.label_value_length_limit },
            turns: Arc::clone(turns),
            job: job.clone(),
        })
    }
}
