//! Health checks: Watchfire asks services whether they are well. In: the `checks` part of the configuration and who leads. Out: series
//! `watchfire_check_*` through the log, like scraped samples, and a list at `/api/watchfire/v1/checks`. Fails: what does not answer is
//! down, and never in the way of another; samples that the log refuses are counted and left out.
//!
//! [`config`] says what to ask; [`ask`] does, over the network; [`verdict`] says what it means; [`board`] shows it.

mod ask;
mod board;
mod certificate;
mod config;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::labels::{Labels, METRIC_NAME};
use model::query::SeriesSample;
use model::sink::SeriesSink;
use model::state::Fence;
use model::tenant::TenantId;
use model::time::{Clock, Span, Stopwatch};
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use ask::{Client, ask};
use board::Board;
pub use config::{Check, ClickHouseCheck, Config, DnsCheck, HttpCheck, Kind, PostgresCheck, RedisCheck, TcpCheck, TlsCheck};
pub use verdict::Health;
use verdict::{judge, samples};

/// Prometheus's staleness marker.
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// A check, ready to run.
struct Plan {
    check: Check,
    tenant: TenantId,
    client: Option<Client>,
    labels: Labels,
    interval: Duration,
    timeout: Duration,
    turns: Arc<Semaphore>,
}

/// A configuration that can be taken up.
pub struct Prepared(Vec<Arc<Plan>>);

struct Shared {
    series: Arc<dyn SeriesSink>,
    clock: Arc<dyn Clock>,
    board: Board,
    runs: IntCounterVec,
    seed: u64,
}

/// Runs the configured checks while this node leads.
#[derive(Clone)]
pub struct Checker {
    shared: Arc<Shared>,
    plans: Arc<watch::Sender<Arc<Vec<Arc<Plan>>>>>,
}

/// Checks that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The configuration makes no sense: one sentence each.
    #[error("{}", .0.join("; "))]
    Config(Vec<String>),
    /// A client cannot be made.
    #[error("checks: check `{0}`: {1}")]
    Client(String, String),
    /// A metric's name is taken.
    #[error("checks: the metrics could not be registered")]
    Metrics(#[from] prometheus::Error),
}

impl Checker {
    /// With a configuration to begin with. `node` tells this server from others, so that they do not all ask at the same moment.
    /// Registers `watchfire_checks_total{check,outcome}`.
    ///
    /// # Errors
    /// [`CheckError`].
    pub fn new(
        config: &Config,
        node: &str,
        series: Arc<dyn SeriesSink>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, CheckError> {
        let runs = IntCounterVec::new(Opts::new("watchfire_checks_total", "Health checks by what they came to."), &["check", "outcome"])?;
        registry.register(Box::new(runs.clone()))?;
        let seed = xxhash_rust::xxh3::xxh3_64(node.as_bytes());
        let shared = Arc::new(Shared { series, clock, board: Board::default(), runs, seed });
        let checker = Checker { shared, plans: Arc::new(watch::Sender::new(Arc::default())) };
        checker.take_up(checker.prepare(config)?);
        Ok(checker)
    }

    /// Checks a configuration and makes its clients. Changes nothing.
    ///
    /// # Errors
    /// [`CheckError`].
    pub fn prepare(&self, config: &Config) -> Result<Prepared, CheckError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(CheckError::Config(problems));
        }
        let turns = Arc::new(Semaphore::new(config.concurrency.min(Semaphore::MAX_PERMITS)));
        let plan = |check: &Check| {
            let (interval, timeout) = (check.interval.unwrap_or(config.interval).0, check.timeout.unwrap_or(config.timeout).0);
            let kinds = check.kinds();
            let kind = kinds.first().ok_or_else(|| CheckError::Client(check.name.clone(), "asks nothing".to_owned()))?;
            let client = Client::of(*kind, timeout).map_err(|why| CheckError::Client(check.name.clone(), why))?;
            let mut labels: Labels = check.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            labels.set("check", &check.name);
            labels.set("kind", kind.word());
            let (check, tenant, turns) = (check.clone(), config.tenant.clone(), turns.clone());
            Ok(Arc::new(Plan { check, tenant, client, labels, interval, timeout, turns }))
        };
        Ok(Prepared(config.checks.iter().map(plan).collect::<Result<_, CheckError>>()?))
    }

    /// Goes on with other checks. The series of checks that are gone are marked stale.
    pub fn take_up(&self, prepared: Prepared) {
        self.plans.send_replace(Arc::new(prepared.0));
    }

    /// `GET /api/watchfire/v1/checks`. Takes the [`model::access::Principal`] from the request's extensions.
    pub fn router(&self) -> axum::Router {
        self.shared.board.router()
    }

    /// Checks while `fence` says that this node leads, until `stop`. What is asked at the end is dropped.
    pub async fn run(self, mut fence: watch::Receiver<Option<Fence>>, stop: CancellationToken) {
        let mut plans = self.plans.subscribe();
        let mut before: Vec<Arc<Plan>> = Vec::new();
        loop {
            tokio::select! {
                leads = fence.wait_for(Option::is_some) => if leads.is_err() { return },
                () = stop.cancelled() => return,
            }
            let wanted = plans.borrow_and_update().clone();
            self.bury(&before, &wanted).await;
            self.shared.board.keep(wanted.iter().map(|plan| (plan.check.name.as_str(), &plan.labels)));
            before = wanted.to_vec();
            let mut running = JoinSet::new();
            for plan in wanted.iter() {
                running.spawn(repeat(self.shared.clone(), plan.clone()));
            }
            tokio::select! {
                changed = plans.changed() => if changed.is_err() { return },
                // Also where nobody tells any more who leads.
                _ = fence.wait_for(Option::is_none) => {}
                () = stop.cancelled() => return,
                Some(ended) = running.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a health check ended because of a defect; all of them begin again");
                    }
                }
            }
            running.shutdown().await;
        }
    }

    /// Marks the series of checks that are gone, or have other labels now.
    async fn bury(&self, before: &[Arc<Plan>], now: &[Arc<Plan>]) {
        let kept: BTreeSet<(&TenantId, &Labels)> = now.iter().map(|plan| (&plan.tenant, &plan.labels)).collect();
        let at = self.shared.clock.now();
        let mut gone: BTreeMap<&TenantId, Vec<(Labels, SeriesSample)>> = BTreeMap::new();
        for plan in before.iter().filter(|plan| !kept.contains(&(&plan.tenant, &plan.labels))) {
            let names = self.shared.board.written(&plan.labels);
            let stale = names.into_iter().map(|name| (plan.labels.clone().with(METRIC_NAME, &name), SeriesSample { at, value: STALE }));
            gone.entry(&plan.tenant).or_default().extend(stale);
        }
        for (tenant, samples) in gone.into_iter().filter(|(_, samples)| !samples.is_empty()) {
            if let Err(error) = self.shared.series.write(tenant, samples).await {
                tracing::warn!(%error, "series of health checks that are gone could not be marked stale");
            }
        }
    }
}

/// A place in the interval that stays the same, so that not everything is asked at once.
fn offset(plan: &Plan, shared: &Shared) -> Duration {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(plan.check.name.as_bytes(), shared.seed);
    let every = u64::try_from(plan.interval.as_millis()).unwrap_or(u64::MAX).max(1);
    let now = u64::try_from(shared.clock.now().millis()).unwrap_or(0);
    Duration::from_millis((hash % every + every - now % every) % every)
}

/// The longest wait before a check's first answer: nobody wants to wait an hour to see whether a new check works.
const FIRST: Duration = Duration::from_secs(5);

async fn repeat(shared: Arc<Shared>, plan: Arc<Plan>) {
    tokio::time::sleep(offset(&plan, &shared).min(FIRST)).await;
    let mut ticks = interval(plan.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        once(&shared, &plan).await;
    }
}

async fn once(shared: &Shared, plan: &Plan) {
    let started = shared.clock.now();
    let timeout = Span(plan.timeout);
    let mut watch = None;
    let asking = async {
        let _turn = plan.turns.acquire().await.map_err(|_| "the checks are closing".to_owned())?;
        watch = Some(Stopwatch::start());
        let kinds = plan.check.kinds();
        let kind = kinds.first().ok_or("asks nothing")?;
        ask(*kind, plan.client.as_ref(), started).await
    };
    let answer = tokio::time::timeout(plan.timeout, asking).await;
    let took = watch.map_or(Duration::ZERO, |watch| watch.elapsed());
    let answer = answer.unwrap_or_else(|_| {
        Err(match watch {
            Some(_) => format!("no answer within {timeout}"),
            None => format!("no turn within {timeout}: too many checks at the same time (checks.concurrency)"),
        })
    });
    let verdict = judge(answer, took, plan.check.degraded_after);
    let samples = samples(&plan.labels, &verdict, took, started);
    let names: Vec<String> = samples.iter().filter_map(|(labels, _)| labels.get(METRIC_NAME).map(str::to_owned)).collect();
    let outcome = match (shared.series.write(&plan.tenant, samples).await, verdict.health) {
        (Err(error), _) => {
            tracing::warn!(check = plan.check.name, %error, "the samples of a health check could not be stored");
            "refused"
        }
        (Ok(()), Health::Healthy | Health::Unknown) => "healthy",
        (Ok(()), Health::Degraded) => "degraded",
        (Ok(()), Health::Down) => "down",
    };
    shared.runs.with_label_values(&[plan.check.name.as_str(), outcome]).inc();
    let before = shared.board.note(&plan.check.name, &plan.labels, &verdict, started, took, names);
    if before != verdict.health {
        let (check, health) = (plan.check.name.as_str(), verdict.health);
        match health {
            Health::Healthy | Health::Unknown => tracing::info!(check, "a health check is well"),
            Health::Degraded | Health::Down => tracing::warn!(check, ?health, reason = verdict.reason, "a health check is not well"),
        }
    }
}

#[cfg(test)]
mod tests;
