//! The world: rules and settings as YAML, what PromQL answers as a table, time that is moved second by second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use model::access::{Permission, Principal};
use model::alert::Acknowledgement;
use model::drive::{Follower, Nudge, advance, work_once};
use model::event::{Actor, Event, EventKind, Subject};
use model::ids::{AlertId, EventId, SequentialIds};
use model::labels::{Labels, METRIC_NAME, MatchOp, Matcher};
use model::message::{Delivery, Message, PageAction};
use model::query::{Answer, MetricQuery, QueryError, QueryOptions, QueryValue, RowQuery, RowQuestion, Rows, Series, SeriesSample};
use model::sink::{Refusal, SeriesSink};
use model::state::{Commit, Expect, Fence, Records, StateError, all, load};
use model::tenant::TenantId;
use model::time::{SimulatedClock, Timestamp};
use model::work::Queue;
use serde_json::Value;
use tower::ServiceExt;

use super::Memory;
use super::incidents::{Incidents, act};
use crate::config::Config;
use crate::ladder::LadderRun;
use crate::machine::Instance;
use crate::rules::RuleSet;
use crate::{Alerting, AlertingDeps};

/// A label set.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

/// The samples of an expression at a moment.
type Curve = Arc<dyn Fn(Timestamp) -> Vec<(Labels, f64)> + Send + Sync>;

type Table = BTreeMap<String, Result<Vec<(Labels, f64)>, QueryError>>;

/// Answers by the text of the expression; the name of an overlay series answers with that.
#[derive(Default)]
pub(crate) struct Metrics {
    table: Mutex<Table>,
    curves: Mutex<BTreeMap<String, Curve>>,
    asked: Mutex<Vec<(String, Timestamp)>>,
    rows: Mutex<BTreeMap<String, Result<Rows, QueryError>>>,
}

/// A statement is answered by the first key that stands in it; without one it has no rows.
#[async_trait]
impl RowQuery for Metrics {
    async fn rows(&self, _: &TenantId, question: &RowQuestion<'_>) -> Result<Rows, QueryError> {
        self.asked.lock().unwrap().push((question.statement.to_owned(), question.to));
        let rows = self.rows.lock().unwrap();
        let known = rows.iter().find(|(part, _)| question.statement.contains(part.as_str()));
        known.map_or_else(|| Ok(Rows { columns: vec!["value".to_owned()], rows: Vec::new() }), |(_, answer)| answer.clone())
    }
    fn check(&self, _: &str) -> Result<(), QueryError> {
        Ok(())
    }
}

#[async_trait]
impl MetricQuery for Metrics {
    async fn instant(&self, _: &TenantId, expr: &str, at: Timestamp, options: &QueryOptions) -> Result<Answer, QueryError> {
        self.asked.lock().unwrap().push((expr.to_owned(), at));
        let fresh = |value: f64| value.to_bits() != crate::evaluate::STALE.to_bits();
        let name = Matcher::new(METRIC_NAME, MatchOp::Equal, expr).unwrap();
        let named = options.overlay.matching(&[name]);
        let overlay: Vec<(Labels, f64)> =
            named.into_iter().map(|series| (series.labels.clone(), series.samples[0].value)).filter(|(_, value)| fresh(*value)).collect();
        let known = self.table.lock().unwrap().get(expr).cloned();
        let curve = self.curves.lock().unwrap().get(expr).cloned();
        let samples = match known.or_else(|| Some(Ok(curve?(at)))) {
            Some(Err(error)) => return Err(error),
            Some(Ok(samples)) => samples,
            None => overlay,
        };
        let matched_any_series = !samples.is_empty();
        let vector = samples.into_iter().map(|(labels, value)| (labels, SeriesSample { at, value })).collect();
        Ok(Answer {
            value: QueryValue::Vector(vector),
            histograms: Vec::new(),
            samples_read: 0,
            warnings: Vec::new(),
            infos: Vec::new(),
            matched_any_series,
        })
    }
    async fn range(
        &self,
        _: &TenantId,
        expr: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        _: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let curve = self.curves.lock().unwrap().get(expr).cloned();
        let curve = curve.ok_or_else(|| QueryError::BadData("rules ask no ranges".to_owned()))?;
        let mut series: BTreeMap<Labels, Vec<SeriesSample>> = BTreeMap::new();
        let mut at = start;
        while at <= end {
            for (labels, value) in curve(at) {
                series.entry(labels).or_default().push(SeriesSample { at, value });
            }
            at = at.plus(step);
        }
        let matched_any_series = !series.is_empty();
        let matrix = series.into_iter().map(|(labels, samples)| Series { labels, samples }).collect();
        let (histograms, warnings, infos) = Default::default();
        Ok(Answer { value: QueryValue::Matrix(matrix), histograms, samples_read: 0, warnings, infos, matched_any_series })
    }
    fn check(&self, _: &str) -> Result<(), QueryError> {
        Ok(())
    }
}

/// Keeps what is written.
#[derive(Default)]
pub(crate) struct Written(Mutex<Vec<(Labels, SeriesSample)>>);

impl Written {
    /// What was written since the last call.
    pub(crate) fn take(&self) -> Vec<(Labels, SeriesSample)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[async_trait]
impl SeriesSink for Written {
    async fn write(&self, _: &TenantId, samples: Vec<(Labels, SeriesSample)>) -> Result<(), Refusal> {
        self.0.lock().unwrap().extend(samples);
        Ok(())
    }
}

pub(crate) struct World {
    pub clock: Arc<SimulatedClock>,
    pub state: Arc<Memory>,
    pub metrics: Arc<Metrics>,
    pub written: Arc<Written>,
    pub alerting: Alerting,
    pub fence: Option<Fence>,
    /// Whether the incidents follower runs.
    pub incidents: bool,
    config: Config,
    rules: RuleSet,
    ids: Arc<SequentialIds>,
    start: Timestamp,
}

/// A moment that is a multiple of every interval in these tests.
const START: i64 = 1_800_000_000;

impl World {
    pub(crate) fn new(config: &str, rules: &str) -> Self {
        let config: Config = serde_saphyr::from_str(config).unwrap_or_else(|error| panic!("{error}"));
        let rules = RuleSet::load(vec![("a.yaml".to_owned(), rules.to_owned())]).unwrap_or_else(|errors| panic!("{errors:?}"));
        let start = Timestamp::from_secs(START);
        let clock = Arc::new(SimulatedClock::new(start));
        let state = Memory::new(clock.clone());
        let (metrics, written, ids) = (Arc::<Metrics>::default(), Arc::<Written>::default(), Arc::<SequentialIds>::default());
        let alerting = build(&config, &rules, &clock, &state, &metrics, &written, &ids);
        World { clock, state, metrics, written, alerting, fence: None, incidents: true, config, rules, ids, start }
    }

    /// Another process on the same store.
    pub(crate) fn another(&self) -> Alerting {
        build(&self.config, &self.rules, &self.clock, &self.state, &self.metrics, &self.written, &self.ids)
    }

    /// The process ends and starts again.
    pub(crate) fn restart(&mut self) {
        self.alerting = self.another();
    }

    /// Other rules.
    pub(crate) fn reload(&mut self, rules: &str) {
        self.rules = RuleSet::load(vec![("a.yaml".to_owned(), rules.to_owned())]).unwrap();
        self.alerting.reload(self.rules.clone());
    }

    /// What an expression answers from now on.
    pub(crate) fn set(&self, expr: &str, samples: &[(&[(&str, &str)], f64)]) {
        let samples = samples.iter().map(|(pairs, value)| (labels(pairs), *value)).collect();
        self.metrics.table.lock().unwrap().insert(expr.to_owned(), Ok(samples));
    }
    /// What an expression answers at every moment, past ones too; only here can ranges be asked.
    pub(crate) fn set_curve(&self, expr: &str, curve: impl Fn(Timestamp) -> Vec<(Labels, f64)> + Send + Sync + 'static) {
        self.metrics.curves.lock().unwrap().insert(expr.to_owned(), Arc::new(curve));
    }
    pub(crate) fn fail(&self, expr: &str) {
        self.metrics.table.lock().unwrap().insert(expr.to_owned(), Err(QueryError::Unavailable("engine down".to_owned())));
    }
    /// What statements with this part answer from now on.
    pub(crate) fn set_rows(&self, part: &str, answer: Result<Rows, QueryError>) {
        self.metrics.rows.lock().unwrap().insert(part.to_owned(), answer);
    }
    pub(crate) fn asked(&self) -> Vec<(String, Timestamp)> {
        self.metrics.asked.lock().unwrap().clone()
    }
    pub(crate) fn take_written(&self) -> Vec<(Labels, SeriesSample)> {
        self.written.take()
    }

    pub(crate) fn now(&self) -> Timestamp {
        model::time::Clock::now(&*self.clock)
    }

    pub(crate) async fn evaluate(&self) -> Result<(), StateError> {
        self.alerting.evaluator().evaluate_all(self.now(), self.fence.as_ref()).await
    }

    /// A request to the routes, by somebody who may do everything but administer: status and body.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let permissions = vec![Permission::Ingest, Permission::Read, Permission::Respond];
        let principal =
            Principal { tenant: TenantId::default(), permissions, actor: Actor::User { id: "local".to_owned() }, keyless: true };
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        request.extensions_mut().unwrap().insert(principal);
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        let response = self.alerting.router().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Followers and the ladder worker, until nothing moves.
    pub(crate) async fn settle(&self) -> Result<(), StateError> {
        let mut followers: Vec<Arc<dyn Follower>> = Vec::new();
        if self.incidents {
            followers.push(Arc::new(Incidents));
        }
        followers.extend(self.alerting.followers());
        for _ in 0..100 {
            let mut moved = 0;
            for follower in &followers {
                moved += advance(&**follower, &*self.state, self.fence.as_ref(), self.now(), 256).await?;
            }
            for worker in self.alerting.workers() {
                moved += work_once(&*worker, &*self.state, self.fence.as_ref(), self.now()).await?;
            }
            if moved == 0 {
                return Ok(());
            }
        }
        panic!("it never settles");
    }

    /// Only these followers, each once, in this order.
    pub(crate) async fn follow(&self, names: &[&str]) {
        let all = self.alerting.followers().into_iter().chain([Arc::new(Incidents) as Arc<dyn Follower>]).collect::<Vec<_>>();
        for name in names {
            let follower = all.iter().find(|follower| follower.name() == *name).unwrap();
            advance(&**follower, &*self.state, self.fence.as_ref(), self.now(), 256).await.unwrap();
        }
    }

    /// Only what is due in this queue.
    pub(crate) async fn work(&self, queue: Queue) {
        let worker = self.alerting.workers().into_iter().find(|worker| worker.queue() == queue).unwrap();
        work_once(&*worker, &*self.state, self.fence.as_ref(), self.now()).await.unwrap();
    }

    /// Lets seconds pass; rules are evaluated every 15.
    pub(crate) async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            if self.elapsed().is_multiple_of(15) {
                self.evaluate().await.unwrap();
            }
            self.settle().await.unwrap();
        }
    }

    /// Evaluates now and lets everything settle.
    pub(crate) async fn tick(&self) {
        self.evaluate().await.unwrap();
        self.settle().await.unwrap();
    }

    pub(crate) fn elapsed(&self) -> u64 {
        self.now().since(self.start).as_secs()
    }

    /// A person acts on the open incident.
    pub(crate) async fn act(&self, kind: EventKind) {
        self.try_act(kind).await.unwrap();
    }
    /// The same, and nobody has heard of it yet.
    pub(crate) async fn say(&self, kind: EventKind) {
        act(&*self.state, self.now(), kind).await.unwrap();
    }
    pub(crate) async fn try_act(&self, kind: EventKind) -> Result<(), StateError> {
        act(&*self.state, self.now(), kind).await?;
        self.settle().await
    }

    /// A person takes the oldest firing alert, or gives it back.
    pub(crate) async fn take(&self, takes: bool) {
        let alert = self.alerts().await.into_iter().find(|one| one.alert.is_firing()).unwrap().alert;
        self.take_one(alert.id, takes).await;
    }
    /// The same with a certain one.
    pub(crate) async fn take_one(&self, id: AlertId, takes: bool) {
        self.say_taken(id, takes).await;
        self.settle().await.unwrap();
    }
    /// The same, and nobody has heard of it yet.
    pub(crate) async fn say_taken(&self, id: AlertId, takes: bool) {
        let found = load::<Instance>(&*self.state, &TenantId::default(), &id.to_string()).await.unwrap().unwrap();
        let alert = found.entity.alert.clone();
        let (mut instance, by, at) = (found.entity, Actor::User { id: "ada".to_owned() }, self.now());
        instance.alert.acknowledged = takes.then(|| Acknowledgement { at, by: by.clone() });
        let reason = "given back".to_owned();
        let kind = if takes { EventKind::AlertAcknowledged } else { EventKind::AlertUnacknowledged { reason } };
        let mut commit = Commit::at(at);
        commit.put(&instance, Expect::Version(found.version)).unwrap();
        let (event, subject) = (EventId::derived(at, &format!("take {takes} {id}")), Subject::alert(alert.id, alert.incident));
        commit.event(Event { id: event, tenant: alert.tenant, at, actor: by, subject, kind });
        self.state.commit(commit).await.unwrap();
    }

    /// A silence over everything of `shop`.
    pub(crate) async fn silence(&self, starts_at: Timestamp, ends_at: Timestamp) {
        let silence = crate::silence::Silence {
            id: model::ids::SilenceId::derived(starts_at, "silence"),
            tenant: TenantId::default(),
            matchers: vec![model::labels::Matcher::new("service", model::labels::MatchOp::Equal, "shop").unwrap()],
            starts_at,
            ends_at,
            created_by: Actor::User { id: "ada".to_owned() },
            comment: String::new(),
            over: false,
            maintenance: None,
            author: None,
            updated_at: None,
        };
        let mut commit = Commit::at(self.now());
        commit.put(&silence, Expect::New).unwrap();
        self.state.commit(commit).await.unwrap();
    }

    /// The outbox: `<second> <receiver> <action>`, in order of writing.
    pub(crate) fn outbox(&self) -> Vec<String> {
        self.deliveries().iter().map(|(second, delivery, action)| format!("{second}s {} {action}", delivery.receiver)).collect()
    }

    pub(crate) fn deliveries(&self) -> Vec<(u64, Delivery, &'static str)> {
        let rows = self.state.rows().into_iter().filter(|row| row.queue == Queue::Delivery);
        rows.map(|row| {
            let delivery: Delivery = row.body.read().unwrap();
            let Message::Notice(notice) = &delivery.message else { panic!("{delivery:?}") };
            let word = match notice.action {
                PageAction::Trigger => "trigger",
                PageAction::Acknowledge => "acknowledge",
                PageAction::Resolve => "resolve",
            };
            (row.created_at.since(self.start).as_secs(), delivery, word)
        })
        .collect()
    }

    /// The journal: `<second> <kind>`, without what `incidents` says.
    pub(crate) fn journal(&self) -> Vec<String> {
        let events = self.state.journal().into_iter().map(|recorded| recorded.event);
        events.map(|event| format!("{}s {}", event.at.since(self.start).as_secs(), event.kind.tag())).collect()
    }

    pub(crate) fn count(&self, tag: &str) -> usize {
        self.state.journal().iter().filter(|recorded| recorded.event.kind.tag() == tag).count()
    }

    pub(crate) async fn alerts(&self) -> Vec<Instance> {
        let mut found: Vec<Instance> =
            all::<Instance>(&*self.state, None, &[], 0).await.unwrap().into_iter().map(|found| found.entity).collect();
        found.reverse();
        found
    }

    pub(crate) async fn runs(&self) -> Vec<LadderRun> {
        let mut found: Vec<LadderRun> =
            all::<LadderRun>(&*self.state, None, &[], 0).await.unwrap().into_iter().map(|found| found.entity).collect();
        found.reverse();
        found
    }
}

fn build(
    config: &Config,
    rules: &RuleSet,
    clock: &Arc<SimulatedClock>,
    state: &Arc<Memory>,
    metrics: &Arc<Metrics>,
    written: &Arc<Written>,
    ids: &Arc<SequentialIds>,
) -> Alerting {
    let deps = AlertingDeps {
        config: config.clone(),
        rules: rules.clone(),
        state: state.clone(),
        metrics: metrics.clone(),
        rows: metrics.clone(),
        series: written.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        nudge: Nudge::default(),
        registry: prometheus::Registry::new(),
        tenant: TenantId::default(),
    };
    Alerting::new(deps).unwrap()
}
