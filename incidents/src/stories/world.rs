//! A simulated world for the stories: one clock, the state in memory, `alerting` and the delivery worker played by the test.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use model::alert::{Alert, AlertState, RuleKey};
use model::drive::{advance, work_once};
use model::event::{Actor, Event, EventKind, Subject};
use model::evidence::{
    ErrorGroup, Evidence, EvidenceQuery, EvidenceSource, LogGroup, ServiceImpact, SlowTrace, VersionChange, VersionQuery,
};
use model::ids::{AlertId, EventId, IncidentId, SequentialIds};
use model::incident::Incident;
use model::labels::Labels;
use model::message::{Delivery, Message};
use model::query::{QueryError, SeriesSample};
use model::severity::Severity;
use model::sink::{Refusal, SeriesSink};
use model::state::{Commit, Expect, Records, StateError, Versioned, WorkRows, all, load};
use model::tenant::TenantId;
use model::time::{Clock, SimulatedClock, Timestamp};
use model::units::Value;
use model::work::{Claim, Queue, WorkChange};

use crate::{Config, Deps, Incidents};
use model::testing::Memory;

pub(crate) const START: Timestamp = Timestamp::from_secs(1_772_000_000);

/// The telemetry store: answers, or does not, and remembers the series that it was given.
#[derive(Default)]
pub(crate) struct Telemetry {
    pub(crate) dead: Mutex<bool>,
    pub(crate) series: Mutex<Vec<(Labels, SeriesSample)>>,
    /// Versions that appeared in the spans.
    pub(crate) versions: Mutex<Vec<VersionChange>>,
}

#[async_trait]
impl EvidenceSource for Telemetry {
    async fn evidence(&self, query: &EvidenceQuery) -> Result<Evidence, QueryError> {
        if *self.dead.lock().unwrap() {
            return Err(QueryError::Unavailable("connection refused".into()));
        }
        Ok(evidence(query))
    }

    async fn versions(&self, query: &VersionQuery) -> Result<Vec<VersionChange>, QueryError> {
        if *self.dead.lock().unwrap() {
            return Err(QueryError::Unavailable("connection refused".into()));
        }
        let inside =
            |change: &&VersionChange| query.services.contains(&change.service) && (query.from..query.to).contains(&change.first_seen);
        Ok(self.versions.lock().unwrap().iter().filter(inside).cloned().collect())
    }
}

#[async_trait]
impl SeriesSink for Telemetry {
    async fn write(&self, _: &TenantId, samples: Vec<(Labels, SeriesSample)>) -> Result<(), Refusal> {
        if *self.dead.lock().unwrap() {
            return Err(Refusal::Busy { retry_after: Duration::from_secs(1) });
        }
        self.series.lock().unwrap().extend(samples);
        Ok(())
    }
}

fn evidence(query: &EvidenceQuery) -> Evidence {
    let service = query.services.first().cloned().unwrap_or_default();
    Evidence {
        impact: vec![ServiceImpact {
            service: service.clone(),
            requests: 1_200,
            errors: 96,
            users: 31,
            p95_seconds: Value(1.25),
            requests_before: 1_100,
            errors_before: 2,
            p95_seconds_before: Value(0.18),
        }],
        errors: vec![ErrorGroup {
            fingerprint: "00ab00ab00ab00ab".into(),
            service: service.clone(),
            kind: "PaymentTimeout".into(),
            message: "gateway | did not answer <b>in time</b>".into(),
            count: 90,
            count_before: 0,
            first_seen: query.start,
            last_seen: query.end,
            stack: "Traceback:\n  pay.py:12 in pay\n```\n# not a title".into(),
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        }],
        slow_traces: vec![SlowTrace {
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
            service: service.clone(),
            name: "POST /pay".into(),
            at: query.start,
            seconds: Value(5.5),
            failed: true,
        }],
        logs: vec![LogGroup { service: service.clone(), severity: "error".into(), body: "payment failed".into(), count: 90 }],
        touched: vec![service, "payments".into()],
    }
}

pub(crate) struct World {
    pub(crate) clock: Arc<SimulatedClock>,
    pub(crate) state: Arc<Memory>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) incidents: Incidents,
    pub(crate) registry: prometheus::Registry,
    config: Config,
    data_dir: PathBuf,
    ids: Arc<SequentialIds>,
}

impl World {
    pub(crate) fn new(config: Config, data_dir: &std::path::Path) -> Self {
        let clock = Arc::new(SimulatedClock::new(START));
        let state = Memory::new(clock.clone());
        let (telemetry, ids) = (Arc::new(Telemetry::default()), Arc::new(SequentialIds::default()));
        let registry = prometheus::Registry::new();
        let incidents = wire(&config, data_dir, &state, &telemetry, &ids, &registry);
        World { clock, state, telemetry, incidents, registry, config, data_dir: data_dir.to_owned(), ids }
    }

    /// The process ends and starts again.
    pub(crate) fn restart(&mut self) {
        self.state.revive();
        self.registry = prometheus::Registry::new();
        self.incidents = wire(&self.config, &self.data_dir, &self.state, &self.telemetry, &self.ids, &self.registry);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets everything happen that can happen now.
    pub(crate) async fn settle(&self) -> Result<(), StateError> {
        loop {
            let mut moved = 0;
            for follower in self.incidents.followers() {
                moved += advance(&*follower, &*self.state, None, self.now(), 16).await?;
            }
            for worker in self.incidents.workers() {
                moved += work_once(&*worker, &*self.state, None, self.now()).await?;
            }
            moved += self.deliver().await?;
            if moved == 0 {
                return Ok(());
            }
        }
    }

    /// Moves the clock and lets everything happen on the way.
    pub(crate) async fn pass(&self, seconds: u64) -> Result<(), StateError> {
        let end = self.now().plus(Duration::from_secs(seconds));
        self.settle().await?;
        while let Some(due) = self.state.next_due().filter(|due| *due <= end) {
            self.clock.set(due.max(self.now()));
            self.settle().await?;
        }
        self.clock.set(end);
        self.settle().await
    }

    /// The delivery worker, played: Slack opens and archives channels and takes everything.
    async fn deliver(&self) -> Result<usize, StateError> {
        let claim = Claim { queue: Queue::Delivery, now: self.now(), lease_for: Duration::from_secs(30), limit: 64 };
        let rows = self.state.claim(&claim).await?;
        let count = rows.len();
        for row in rows {
            let delivery: Delivery = row.body.read().unwrap();
            let mut commit = Commit::at(self.now());
            commit.change(&row.tenant, WorkChange::Done { id: row.id, lease: row.lease });
            let channel = "C1".to_owned();
            match delivery.message {
                Message::ChatOpen { incident, name, .. } => {
                    let opened = EventKind::ChatChannelOpened { receiver: delivery.receiver, channel, name };
                    commit.event(self.event(Subject::incident(incident), opened));
                }
                Message::ChatArchive { incident } => {
                    commit.event(self.event(Subject::incident(incident), EventKind::ChatChannelArchived { channel }));
                }
                Message::ChatPost { .. } | Message::Document { .. } | Message::Notice(_) => {}
            }
            self.state.commit(commit).await?;
        }
        Ok(count)
    }

    pub(crate) fn event(&self, subject: Subject, kind: EventKind) -> Event {
        let (at, actor) = (self.now(), Actor::system("alerting"));
        Event { id: EventId::new(at, &*self.ids), tenant: TenantId::default(), at, actor, subject, kind }
    }

    pub(crate) async fn say(&self, subject: Subject, kind: EventKind) -> Result<(), StateError> {
        let mut commit = Commit::at(self.now());
        commit.event(self.event(subject, kind));
        self.state.commit(commit).await.map(|_| ())
    }

    /// `alerting` fires an alert that was true for two minutes.
    pub(crate) async fn fire(&self, name: &str, service: &str, severity: Severity) -> AlertId {
        let alert = self.alert(name, service, severity);
        self.fired(&alert).await.unwrap();
        alert.id
    }

    pub(crate) fn alert(&self, name: &str, service: &str, severity: Severity) -> Alert {
        let labels: Labels = [("alertname", name), ("service_name", service)].into_iter().collect();
        Alert {
            id: AlertId::new(self.now(), &*self.ids),
            tenant: TenantId::default(),
            rule: RuleKey { source: "file:a.yaml".into(), group: "g".into(), name: name.into() },
            fingerprint: labels.fingerprint(),
            labels: labels.with("severity", severity.as_str()),
            annotations: [("summary".to_owned(), format!("{service} fails 8% of requests"))].into_iter().collect(),
            severity,
            state: AlertState::Firing {
                active_at: self.now().minus(Duration::from_secs(120)),
                fired_at: self.now(),
                keep_firing_since: None,
            },
            value: Value(0.08),
            expr: "errors / requests > 0.05".into(),
            escalation: None,
            remediation: None,
            acknowledged: None,
            incident: None,
            unknown: false,
            muted: false,
            generator_url: String::new(),
        }
    }

    pub(crate) async fn fired(&self, alert: &Alert) -> Result<(), StateError> {
        let mut commit = Commit::at(self.now());
        commit.put(alert, Expect::New)?;
        let kind = EventKind::AlertFired {
            rule: alert.rule.clone(),
            labels: alert.labels.clone(),
            severity: alert.severity,
            value: alert.value,
            summary: alert.summary(),
            escalation: None,
            remediation: None,
        };
        commit.event(self.event(Subject::alert(alert.id, None), kind));
        self.state.commit(commit).await.map(|_| ())
    }

    pub(crate) async fn clear(&self, alert: AlertId) -> Result<(), StateError> {
        let mut found: Versioned<Alert> = load(&*self.state, &TenantId::default(), &alert.to_string()).await?.unwrap();
        let (active_at, fired_at) = (found.entity.state.active_at(), found.entity.state.fired_at().unwrap());
        found.entity.state = AlertState::Resolved { active_at, fired_at, resolved_at: self.now() };
        found.entity.value = Value(0.01);
        let mut commit = Commit::at(self.now());
        commit.put(&found.entity, Expect::Version(found.version))?;
        commit.event(self.event(Subject::alert(alert, None), EventKind::AlertResolved { value: Value(0.01) }));
        self.state.commit(commit).await.map(|_| ())
    }

    /// All incidents, the oldest first.
    pub(crate) async fn all(&self) -> Vec<Incident> {
        let mut found: Vec<Incident> =
            all::<Incident>(&*self.state, None, &[], 0).await.unwrap().into_iter().map(|found| found.entity).collect();
        found.sort_by_key(|incident| incident.number);
        found
    }

    pub(crate) async fn incident(&self, number: u64) -> Incident {
        self.all().await.into_iter().find(|incident| incident.number == number).unwrap()
    }

    /// The tags of the journal's events about an incident.
    pub(crate) fn tags(&self, incident: IncidentId) -> Vec<String> {
        let about = |one: &model::event::Recorded| one.event.subject.incident == Some(incident);
        self.state.journal().into_iter().filter(about).map(|one| one.event.kind.tag().to_owned()).collect()
    }

    /// What was sent to the chat receiver, in the order in which the rows were written.
    pub(crate) fn messages(&self) -> Vec<Message> {
        let rows = self.state.rows().into_iter().filter(|row| row.queue == Queue::Delivery);
        rows.map(|row| row.body.read::<Delivery>().unwrap().message).collect()
    }
}

fn wire(
    config: &Config,
    data_dir: &std::path::Path,
    state: &Arc<Memory>,
    telemetry: &Arc<Telemetry>,
    ids: &Arc<SequentialIds>,
    registry: &prometheus::Registry,
) -> Incidents {
    let deps = Deps {
        config: config.clone(),
        data_dir: data_dir.to_owned(),
        public_url: Some("http://localhost:7700".into()),
        state: state.clone(),
        evidence: telemetry.clone(),
        series: telemetry.clone(),
        ids: ids.clone(),
    };
    Incidents::new(deps, registry).unwrap()
}
