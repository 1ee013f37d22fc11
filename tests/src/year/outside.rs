//! What is outside of Watchfire: PromQL's answers, providers that take messages or do not, and no papers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alerting::channels::{Attempt, Channel, Reconciled, SendError, Sent};
use async_trait::async_trait;
use incidents::job::Job;
use model::drive::{Worker, done};
use model::event::Subject;
use model::evidence::{Evidence, EvidenceQuery, EvidenceSource, VersionChange, VersionQuery};
use model::ids::NotificationId;
use model::labels::Labels;
use model::message::{Delivery, Message, PageAction};
use model::query::{Answer, MetricQuery, QueryError, QueryOptions, QueryValue, SeriesSample};
use model::sink::{Refusal, SeriesSink};
use model::state::{Fence, Journal, StateError, StateStore};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Queue, Work};
use store::state::MemoryState;

/// What expressions answer: the name of a signal is its expression.
#[derive(Default)]
pub(super) struct Signals {
    /// Signal and service -> value.
    values: Mutex<BTreeMap<(&'static str, &'static str), f64>>,
    failing: Mutex<Vec<&'static str>>,
}

impl Signals {
    pub(super) fn set(&self, signal: &'static str, service: &'static str, value: Option<f64>) {
        let mut values = self.values.lock().unwrap();
        match value {
            Some(value) => drop(values.insert((signal, service), value)),
            None => drop(values.remove(&(signal, service))),
        }
    }
    pub(super) fn fail(&self, signal: &'static str, fails: bool) {
        let mut failing = self.failing.lock().unwrap();
        failing.retain(|other| *other != signal);
        if fails {
            failing.push(signal);
        }
    }
    pub(super) fn quiet(&self) {
        self.values.lock().unwrap().clear();
        self.failing.lock().unwrap().clear();
    }
}

#[async_trait]
impl MetricQuery for Signals {
    async fn instant(&self, _: &TenantId, expr: &str, at: Timestamp, _: &QueryOptions) -> Result<Answer, QueryError> {
        if self.failing.lock().unwrap().contains(&expr) {
            return Err(QueryError::Unavailable("the engine is down".to_owned()));
        }
        let values = self.values.lock().unwrap();
        let found = values.iter().filter(|((signal, _), _)| *signal == expr);
        let vector =
            found.map(|((_, service), value)| ([("service_name", *service)].into_iter().collect(), SeriesSample { at, value: *value }));
        Ok(Answer {
            value: QueryValue::Vector(vector.collect()),
            histograms: Vec::new(),
            samples_read: 0,
            warnings: Vec::new(),
            infos: Vec::new(),
            matched_any_series: true,
        })
    }
    async fn range(&self, _: &TenantId, _: &str, _: Timestamp, _: Timestamp, _: Duration, _: &QueryOptions) -> Result<Answer, QueryError> {
        Err(QueryError::BadData("rules ask no ranges".to_owned()))
    }
    fn check(&self, _: &str) -> Result<(), QueryError> {
        Ok(())
    }
}

#[async_trait]
impl SeriesSink for Signals {
    async fn write(&self, _: &TenantId, _: Vec<(Labels, SeriesSample)>) -> Result<(), Refusal> {
        Ok(())
    }
}

/// There is no telemetry to look into.
pub(super) struct NoEvidence;

#[async_trait]
impl EvidenceSource for NoEvidence {
    async fn evidence(&self, _: &EvidenceQuery) -> Result<Evidence, QueryError> {
        Err(QueryError::Unavailable("this is a simulation".to_owned()))
    }
    async fn versions(&self, _: &VersionQuery) -> Result<Vec<VersionChange>, QueryError> {
        Ok(Vec::new())
    }
}

/// The worker of incidents, without postmortems: they write files.
pub(super) struct NoPapers(pub Arc<dyn Worker>);

#[async_trait]
impl Worker for NoPapers {
    fn queue(&self) -> Queue {
        self.0.queue()
    }
    fn lease(&self) -> Duration {
        self.0.lease()
    }
    async fn work(&self, work: Work, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<(), StateError> {
        match work.body.read::<Job>() {
            Ok(Job::Postmortem { .. } | Job::Review { .. }) => {
                let mut commit = done(&work, now);
                commit.fence = fence.cloned();
                state.commit(commit).await.map(drop)
            }
            Ok(_) | Err(_) => self.0.work(work, state, fence, now).await,
        }
    }
}

/// How a provider behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// It takes everything.
    #[default]
    Well,
    /// It answers 500.
    Down,
    /// It answers 429 with `Retry-After`.
    Busy,
    /// It takes everything, but its answer is lost.
    Mute,
    /// It takes nothing, and no answer comes.
    Lost,
}

/// A notice that reached somebody.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub receiver: String,
    /// The idempotency key.
    pub id: NotificationId,
    /// What joins trigger, acknowledgement and end.
    pub thing: String,
    pub action: PageAction,
    /// Whether it says that it may be a repetition.
    pub resend: bool,
    /// Whether the receiver can be asked what has arrived.
    pub asked: bool,
    /// Whether a ladder said it.
    pub ladder: bool,
    /// What it is about.
    pub subject: Subject,
    /// The number of the journal's newest event when it was sent.
    pub seq: u64,
}

impl Arrival {
    /// The incident, else the alert: whoever has it is not paged about it.
    pub(super) fn about(&self) -> Subject {
        match self.subject.incident {
            Some(incident) => Subject::incident(incident),
            None => self.subject.clone(),
        }
    }
}

/// All providers.
#[derive(Default)]
pub(super) struct Providers {
    /// What each does with so many messages more.
    modes: Mutex<BTreeMap<String, (Mode, u32)>>,
    arrivals: Mutex<Vec<Arrival>>,
}

impl Providers {
    /// For so many messages; then all is well.
    pub(super) fn set(&self, receiver: &str, mode: Mode, messages: u32) {
        self.modes.lock().unwrap().insert(receiver.to_owned(), (mode, messages));
    }
    fn next(&self, receiver: &str) -> Mode {
        match self.modes.lock().unwrap().get_mut(receiver) {
            Some((mode, left)) if *left > 0 => {
                *left -= 1;
                *mode
            }
            Some(_) | None => Mode::Well,
        }
    }
    /// What has arrived, from this place on.
    pub(super) fn arrivals(&self, from: usize) -> Vec<Arrival> {
        self.arrivals.lock().unwrap().get(from..).unwrap_or_default().to_vec()
    }
}

/// The way to one of them.
pub(super) struct Way {
    pub providers: Arc<Providers>,
    /// What has been decided by the time of a send.
    pub journal: Arc<MemoryState>,
    /// Whether it can be asked what has arrived.
    pub knows: bool,
    /// Whether it takes acknowledgements.
    pub answers: bool,
}

#[async_trait]
impl Channel for Way {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let Message::Notice(notice) = &delivery.message else { return Err(SendError::last("it takes notices only")) };
        let mode = self.providers.next(&delivery.receiver);
        match mode {
            Mode::Down => return Err(SendError::retry("500")),
            Mode::Busy => return Err(SendError::Retry { after: Some(Duration::from_secs(60)), reason: "429".into(), doubt: false }),
            Mode::Lost => return Err(SendError::doubtful("timeout")),
            Mode::Well | Mode::Mute => {}
        }
        let seq = self.journal.head().await.map_err(|error| SendError::retry(error.to_string()))?;
        self.providers.arrivals.lock().unwrap().push(Arrival {
            receiver: delivery.receiver.clone(),
            id: delivery.id,
            thing: notice.dedup_key.clone(),
            action: notice.action,
            resend: attempt.resend,
            asked: self.knows,
            ladder: notice.details.contains_key("ladder"),
            subject: delivery.subject.clone(),
            seq,
        });
        if mode == Mode::Mute { Err(SendError::doubtful("timeout")) } else { Ok(Sent::with(delivery.id.to_string())) }
    }
    fn has_use_for(&self, message: &Message) -> bool {
        self.answers || !matches!(message, Message::Notice(notice) if notice.action == PageAction::Acknowledge)
    }
    async fn reconcile(&self, delivery: &Delivery, _: &Attempt) -> Reconciled {
        if !self.knows {
            return Reconciled::Unknown;
        }
        match self.providers.arrivals.lock().unwrap().iter().any(|arrival| arrival.id == delivery.id) {
            true => Reconciled::Arrived(Sent::with(delivery.id.to_string())),
            false => Reconciled::NotArrived,
        }
    }
}
