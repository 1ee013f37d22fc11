//! A Watchfire without sockets, disk and waiting: the real evaluator, followers and workers over a state in memory and a clock that is
//! moved by hand. In: rules, configuration, where series come from. Out: what would have been sent, when; what was repaired. Rule
//! tests and replays run in it. Fails with the state store only.

mod hands;
mod issues;
mod papers;
mod series;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};
use std::time::Duration;

use alerting::evaluate::{Evaluator, GroupView};
use alerting::{Alerting, AlertingDeps, RuleSet};
use anyhow::Context;
use incidents::Incidents;
use model::alert::Alert;
use model::drive::{Follower, Nudge, Worker, advance, work_once};
use model::event::Recorded;
use model::ids::SequentialIds;
use model::message::Delivery;
use model::query::{MetricQuery, RowQuery};
use model::sink::SeriesSink;
use model::state::{Commit, Journal, JournalQuery, Records, WorkRows, all};
use model::tenant::TenantId;
use model::time::{Clock, SimulatedClock, Timestamp};
use model::work::{Claim, Queue, WorkChange};
use prometheus::Registry;
use remediation::Remediation;
use store::state::MemoryState;

use crate::config::Config;

pub use hands::{Script, ScriptedHands};
pub use issues::PastIssues;
pub use papers::NoRows;
pub use series::{Known, Sink};

/// The queues that anybody works here, in order.
const QUEUES: [Queue; 5] = [Queue::Ladder, Queue::Alerting, Queue::Incident, Queue::Remediation, Queue::Delivery];
/// More rounds at one moment than this are a defect, not patience.
const MOST_ROUNDS: usize = 100_000;

/// All that a simulation may bring forth.
const MOST_RECORDS: usize = 10_000_000;

/// What a simulation is made of.
pub struct Setup<'a> {
    /// Ladders, receivers, inhibition, incidents, remediations.
    pub config: &'a Config,
    /// The rules, checked; the configured ladders are added here.
    pub rules: RuleSet,
    /// PromQL.
    pub metrics: Arc<dyn MetricQuery>,
    /// SQL.
    pub rows: Arc<dyn RowQuery>,
    /// Where rules write.
    pub series: Arc<dyn SeriesSink>,
    /// What remediations come to.
    pub script: Script,
    /// What the clock shows at first.
    pub start: Timestamp,
    /// Series that become known as the clock goes on.
    pub known: Option<Arc<Known>>,
    /// Error issues that do.
    pub issues: PastIssues,
}

/// A message that would have left.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When.
    pub at: Timestamp,
    /// What and to whom.
    pub delivery: Delivery,
}

/// The simulated Watchfire.
pub struct Simulation {
    clock: Arc<SimulatedClock>,
    state: Arc<MemoryState>,
    evaluator: Arc<Evaluator>,
    followers: Vec<Arc<dyn Follower>>,
    workers: Vec<Arc<dyn Worker>>,
    router: axum::Router,
    known: Option<Arc<Known>>,
    issues: PastIssues,
    sent: Vec<Sent>,
}

impl Simulation {
    /// Builds it.
    pub fn new(setup: Setup<'_>) -> anyhow::Result<Self> {
        static TLS: Once = Once::new();
        // Only fails when a provider is there already, which is as good.
        TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let Setup { config, mut rules, metrics, rows, series, script, start, known, issues } = setup;
        for ladder in config.alerting.escalations.iter().rev() {
            if !rules.escalations.iter().any(|known| known.name == ladder.name) {
                rules.escalations.insert(0, ladder.clone());
            }
        }
        let clock = Arc::new(SimulatedClock::new(start));
        let state = Arc::new(MemoryState::new(clock.clone()));
        let ids = Arc::new(SequentialIds::default());
        let registry = Registry::new();
        let alerting = Alerting::new(AlertingDeps {
            config: config.alerting.clone(),
            rules,
            state: state.clone(),
            metrics,
            rows,
            series: series.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            nudge: Nudge::default(),
            registry: registry.clone(),
            tenant: TenantId::default(),
        })?;
        let deps = incidents::Deps {
            config: config.incidents.clone(),
            data_dir: std::path::PathBuf::new(),
            public_url: config.alerting.external_url.clone(),
            state: state.clone(),
            evidence: Arc::new(papers::NoEvidence),
            series,
            ids: ids.clone(),
        };
        let incidents = Incidents::new(deps, &registry)?;
        let deps = remediation::Deps {
            config: config.remediation.clone(),
            state: state.clone(),
            probe: alerting.probe(),
            ids,
            keyless: Arc::new(AtomicBool::new(false)),
        };
        let remediation = Remediation::with_hands(deps, Arc::new(ScriptedHands::new(script)), &registry)?;
        let mut followers = incidents.followers();
        followers.extend(alerting.followers());
        followers.extend(remediation.followers());
        let mut workers = alerting.workers();
        workers.extend(incidents.workers().into_iter().map(|worker| Arc::new(papers::WithoutPapers(worker)) as Arc<dyn Worker>));
        workers.extend(remediation.workers());
        let router = alerting.router().merge(incidents.router()).merge(remediation.router());
        Ok(Simulation { clock, state, evaluator: alerting.evaluator(), followers, workers, router, known, issues, sent: Vec::new() })
    }

    /// What the clock shows.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn set(&self, at: Timestamp) {
        self.clock.set(at);
        if let Some(known) = &self.known {
            known.until(at);
        }
    }

    /// How many groups of rules there are, the check of ladders included (the last one).
    pub fn groups(&self) -> usize {
        self.evaluator.groups()
    }

    /// Sets the clock and evaluates one group, by place.
    pub async fn evaluate(&mut self, group: usize, at: Timestamp) -> anyhow::Result<()> {
        self.set(at);
        self.issues.bring(&self.state, at).await?;
        self.evaluator.evaluate_group(group, at, None).await.context("evaluating rules")
    }

    /// What the evaluator knows of its groups, in order.
    pub fn views(&self) -> Vec<Arc<GroupView>> {
        self.evaluator.views()
    }

    /// Lets everything happen that can happen at this moment.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        for _ in 0..MOST_ROUNDS {
            let (now, mut moved) = (self.now(), 0);
            for follower in &self.followers {
                moved += advance(&**follower, &*self.state, None, now, 256).await.context("following the journal")?;
            }
            for worker in &self.workers {
                moved += work_once(&**worker, &*self.state, None, now).await.context("working")?;
            }
            moved += self.deliver().await?;
            if moved == 0 {
                return Ok(());
            }
        }
        anyhow::bail!("at {} one thing leads to another without end", self.now())
    }

    /// Lets everything happen that is due up to and including a moment, each at its own time, and sets the clock there.
    pub async fn pass_to(&mut self, end: Timestamp) -> anyhow::Result<()> {
        self.settle().await?;
        while let Some(due) = self.next_due().await?.filter(|due| *due <= end) {
            // A row that is held comes due with the end of its lease: time must go on.
            self.set(due.max(self.now().plus(Duration::from_millis(1))).min(end));
            self.settle().await?;
        }
        self.set(end);
        self.settle().await
    }

    async fn next_due(&self) -> anyhow::Result<Option<Timestamp>> {
        let mut next: Option<Timestamp> = None;
        for queue in QUEUES {
            let due = self.state.next_due_in(queue, self.now()).await?;
            next = next.into_iter().chain(due).min();
        }
        Ok(next)
    }

    /// The delivery worker, played: every message arrives at once.
    async fn deliver(&mut self) -> anyhow::Result<usize> {
        let now = self.now();
        let claim = Claim { queue: Queue::Delivery, now, lease_for: Duration::from_secs(30), limit: 64 };
        let rows = self.state.claim(&claim).await?;
        let count = rows.len();
        for row in rows {
            let delivery: Delivery = row.body.read().context("reading an outbox row")?;
            let mut commit = Commit::at(now);
            commit.change(&row.tenant, WorkChange::Done { id: row.id, lease: row.lease });
            if let Some(event) = papers::opened(&delivery, now) {
                commit.event(event);
            }
            self.state.commit(commit).await?;
            self.sent.push(Sent { at: now, delivery });
        }
        Ok(count)
    }

    /// What would have left so far, in order.
    pub fn sent(&self) -> &[Sent] {
        &self.sent
    }

    /// The journal so far.
    pub async fn journal(&self) -> anyhow::Result<Vec<Recorded>> {
        Ok(self.state.events(&JournalQuery { limit: MOST_RECORDS, ..JournalQuery::default() }).await?)
    }

    /// All alerts that were raised, the oldest first.
    pub async fn alerts(&self) -> anyhow::Result<Vec<Alert>> {
        let mut alerts: Vec<Alert> =
            all::<Alert>(&*self.state, None, &[], MOST_RECORDS).await?.into_iter().map(|found| found.entity).collect();
        alerts.sort_by_key(|alert| alert.id);
        Ok(alerts)
    }

    /// The HTTP API of alerts, incidents and repairs: how people act.
    pub fn router(&self) -> axum::Router {
        self.router.clone()
    }
}
