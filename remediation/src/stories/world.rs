//! A simulated world for the stories: one clock, the state in memory, a service that only one act heals, and everybody else played.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use model::alert::{Alert, AlertProbe, AlertState, RuleKey, Verdict};
use model::drive::{advance, work_once};
use model::event::{Actor, Event, EventKind, Subject};
use model::ids::{AlertId, EventId, IncidentId, SequentialIds};
use model::incident::{Incident, IncidentClocks, IncidentStatus};
use model::labels::Labels;
use model::severity::Severity;
use model::state::{Commit, Expect, Records, StateError, Versioned, all, load};
use model::tenant::TenantId;
use model::time::{Clock, SimulatedClock, Timestamp};
use model::units::Value;

use crate::machine::{Input, decide};
use crate::perform::{Hands, Order, Outcome, Performed, describe};
use crate::run::{RepairRun, RunState};
use crate::{Config, Deps, Remediation};
use model::testing::Memory;

pub(crate) const START: Timestamp = Timestamp::from_secs(1_772_000_000);

/// The service under repair, the expression over it and the hands that reach it.
pub(crate) struct Service {
    pub(crate) broken: Mutex<bool>,
    /// The act whose description contains this heals it.
    pub(crate) healed_by: Mutex<String>,
    /// What acts whose description contains this come to.
    pub(crate) fails: Mutex<Option<(String, Outcome)>>,
    /// The expression cannot be evaluated.
    pub(crate) blind: Mutex<bool>,
    /// A person stops the run while an act is at work.
    pub(crate) stop_during_act: Mutex<bool>,
    /// Every act: key and description.
    pub(crate) acts: Mutex<Vec<(String, String)>>,
    state: Arc<Memory>,
}

#[async_trait]
impl Hands for Service {
    async fn perform(&self, order: Order<'_>) -> Performed {
        let what = describe(order.action, order.facts).unwrap();
        self.acts.lock().unwrap().push((order.key.to_owned(), what.clone()));
        if *self.stop_during_act.lock().unwrap() {
            let found = all::<RepairRun>(&*self.state, None, &[], 0).await.unwrap().pop().unwrap();
            let decision = decide(&found.entity, &Input::Stop { reason: "ana stopped it".into() }, START).unwrap();
            let mut commit = Commit::at(START);
            commit.put(&decision.run, Expect::Version(found.version)).unwrap();
            self.state.commit(commit).await.unwrap();
        }
        if let Some((word, outcome)) = &*self.fails.lock().unwrap()
            && what.contains(word.as_str())
        {
            return Performed { outcome: *outcome, text: format!("{what} -> 500") };
        }
        if what.contains(self.healed_by.lock().unwrap().as_str()) {
            *self.broken.lock().unwrap() = false;
        }
        Performed { outcome: Outcome::Done, text: format!("{what} -> 200") }
    }
}

#[async_trait]
impl AlertProbe for Service {
    async fn probe(&self, alert: &Alert, _: Timestamp) -> Verdict {
        if *self.blind.lock().unwrap() {
            return Verdict::Unknown { reason: "the store does not answer".into() };
        }
        if *self.broken.lock().unwrap() { Verdict::Active { value: Value(0.08), severity: alert.severity } } else { Verdict::Cleared }
    }
}

pub(crate) struct World {
    pub(crate) clock: Arc<SimulatedClock>,
    pub(crate) state: Arc<Memory>,
    pub(crate) service: Arc<Service>,
    pub(crate) keyless: Arc<AtomicBool>,
    pub(crate) remediation: Remediation,
    pub(crate) registry: prometheus::Registry,
    config: Config,
    ids: Arc<SequentialIds>,
}

/// Two rungs: `restart` does not help and can be undone, `scale` helps.
pub(crate) fn two_rungs() -> Config {
    serde_json::from_str(
        r#"{"remediations": [{"name": "heal", "rungs": [
            {"name": "restart", "settle": "10s", "check_every": "5s", "verify_timeout": "20s",
             "action": {"type": "http", "url": "http://svc/restart/{{labels.service_name}}"},
             "undo": {"type": "http", "url": "http://svc/unrestart", "method": "DELETE"}},
            {"name": "scale", "settle": "10s", "check_every": "5s", "verify_timeout": "20s",
             "action": {"type": "http", "url": "http://svc/scale", "headers": {"authorization": "Bearer s3cret"}},
             "undo": {"type": "http", "url": "http://svc/unscale"}}]}]}"#,
    )
    .unwrap()
}

/// The same with a command as its first rung and as its undo.
pub(crate) fn with_commands() -> Config {
    let mut config = two_rungs();
    config.allow_commands = vec!["/usr/bin/restart".into(), "/usr/bin/unrestart".into()];
    let command = |program: &str| serde_json::from_str(&format!(r#"{{"type": "command", "program": "{program}"}}"#)).unwrap();
    config.remediations[0].rungs[0].action = command("/usr/bin/restart");
    config.remediations[0].rungs[0].undo = Some(command("/usr/bin/unrestart"));
    config
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        let clock = Arc::new(SimulatedClock::new(START));
        let state = Memory::new(clock.clone());
        let service = Arc::new(Service {
            broken: Mutex::new(true),
            healed_by: Mutex::new("http://svc/scale".into()),
            fails: Mutex::new(None),
            blind: Mutex::new(false),
            stop_during_act: Mutex::new(false),
            acts: Mutex::default(),
            state: state.clone(),
        });
        let (keyless, ids, registry) = (Arc::new(AtomicBool::new(false)), Arc::new(SequentialIds::default()), prometheus::Registry::new());
        let remediation = wire(&config, &state, &service, &keyless, &ids, &registry);
        World { clock, state, service, keyless, remediation, registry, config, ids }
    }

    /// The process ends and starts again.
    pub(crate) fn restart(&mut self) {
        self.state.revive();
        self.registry = prometheus::Registry::new();
        self.remediation = wire(&self.config, &self.state, &self.service, &self.keyless, &self.ids, &self.registry);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn settle(&self) -> Result<(), StateError> {
        loop {
            let mut moved = 0;
            for follower in self.remediation.followers() {
                moved += advance(&*follower, &*self.state, None, self.now(), 16).await?;
            }
            if let Some(worker) = self.remediation.workers().first() {
                moved += work_once(&**worker, &*self.state, None, self.now()).await?;
            }
            if moved == 0 {
                return Ok(());
            }
        }
    }

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

    pub(crate) fn event(&self, subject: Subject, kind: EventKind) -> Event {
        let (at, actor) = (self.now(), Actor::system("alerting"));
        Event { id: EventId::new(at, &*self.ids), tenant: TenantId::default(), at, actor, subject, kind }
    }

    pub(crate) fn alert(&self, service: &str) -> Alert {
        let labels: Labels = [("alertname", "Errors"), ("service_name", service), ("severity", "critical")].into_iter().collect();
        Alert {
            id: AlertId::new(self.now(), &*self.ids),
            tenant: TenantId::default(),
            rule: RuleKey { source: "file:a.yaml".into(), group: "g".into(), name: "Errors".into() },
            fingerprint: labels.fingerprint(),
            labels,
            annotations: Default::default(),
            severity: Severity::Critical,
            state: AlertState::Firing { active_at: self.now(), fired_at: self.now(), keep_firing_since: None },
            value: Value(0.08),
            expr: "errors > 0.05".into(),
            escalation: None,
            remediation: Some("heal".into()),
            acknowledged: None,
            incident: None,
            unknown: false,
            muted: false,
            generator_url: String::new(),
        }
    }

    /// `alerting` fires it, and `incidents` opens an incident for it.
    pub(crate) async fn fire(&self, alert: &Alert) -> Result<Incident, StateError> {
        let mut commit = Commit::at(self.now());
        commit.put(alert, Expect::New)?;
        let kind = EventKind::AlertFired {
            rule: alert.rule.clone(),
            labels: alert.labels.clone(),
            severity: alert.severity,
            value: alert.value,
            summary: alert.summary(),
            escalation: None,
            remediation: alert.remediation.clone(),
        };
        commit.event(self.event(Subject::alert(alert.id, None), kind));
        let incident = self.incident(alert);
        commit.put(&incident, Expect::New)?;
        let opened = EventKind::IncidentOpened { number: incident.number, title: "x".into(), severity: incident.severity };
        commit.event(self.event(Subject::alert(alert.id, Some(incident.id)), opened));
        self.state.commit(commit).await?;
        Ok(incident)
    }

    fn incident(&self, alert: &Alert) -> Incident {
        Incident {
            id: IncidentId::derived(self.now(), &alert.id.to_string()),
            tenant: TenantId::default(),
            number: self.state.journal().len() as u64 + 42,
            title: "x".into(),
            severity: alert.severity,
            status: IncidentStatus::Open,
            group: Labels::empty(),
            alerts: vec![alert.id],
            firing: vec![alert.id],
            clocks: IncidentClocks {
                started: self.now(),
                detected: self.now(),
                acknowledged: None,
                mitigated: None,
                resolved: None,
                closed: None,
                cancelled: None,
            },
            acknowledged: None,
            resolved_by: None,
            chat: None,
            repair: None,
            last_update: None,
        }
    }

    /// `alerting` says something.
    pub(crate) async fn say(&self, subject: Subject, kind: EventKind) -> Result<(), StateError> {
        let mut commit = Commit::at(self.now());
        commit.event(self.event(subject, kind));
        self.state.commit(commit).await?;
        self.settle().await
    }

    /// Somebody resolves the incident.
    pub(crate) async fn resolve(&self, incident: &Incident, actor: Actor) -> Result<(), StateError> {
        let found: Versioned<Incident> = load(&*self.state, &incident.tenant, &incident.id.to_string()).await?.unwrap();
        let mut commit = Commit::at(self.now());
        let resolved = Incident { status: IncidentStatus::Resolved, resolved_by: Some(actor.clone()), ..found.entity };
        commit.put(&resolved, Expect::Version(found.version))?;
        let event = self.event(Subject::incident(incident.id), EventKind::IncidentResolved { reason: "by hand".into() });
        commit.event(Event { actor, ..event });
        self.state.commit(commit).await.map(|_| ())
    }

    /// Changes the alert's record.
    pub(crate) async fn change(&self, id: AlertId, change: impl FnOnce(&mut Alert)) {
        let mut found: Versioned<Alert> = load(&*self.state, &TenantId::default(), &id.to_string()).await.unwrap().unwrap();
        change(&mut found.entity);
        let mut commit = Commit::at(self.now());
        commit.put(&found.entity, Expect::Version(found.version)).unwrap();
        self.state.commit(commit).await.unwrap();
    }

    /// All runs, the oldest first.
    pub(crate) async fn runs(&self) -> Vec<RepairRun> {
        let mut runs: Vec<RepairRun> = all(&*self.state, None, &[], 0).await.unwrap().into_iter().map(|found| found.entity).collect();
        runs.sort_by_key(|run| (run.created_at, run.id));
        runs
    }

    pub(crate) async fn outcome(&self) -> model::repair::RepairOutcome {
        match self.runs().await.pop().unwrap().state {
            RunState::Finished { outcome, .. } => outcome,
            other => panic!("the run is not over: {other:?}"),
        }
    }

    /// What was done, in order, without keys.
    pub(crate) fn acts(&self) -> Vec<String> {
        self.service.acts.lock().unwrap().iter().map(|(_, what)| what.clone()).collect()
    }

    /// The tags of remediation's own events, in order.
    pub(crate) fn tags(&self) -> Vec<String> {
        let own = |one: &model::event::Recorded| one.event.actor == Actor::system("remediation");
        self.state.journal().into_iter().filter(own).map(|one| one.event.kind.tag().to_owned()).collect()
    }
}

fn wire(
    config: &Config,
    state: &Arc<Memory>,
    service: &Arc<Service>,
    keyless: &Arc<AtomicBool>,
    ids: &Arc<SequentialIds>,
    registry: &prometheus::Registry,
) -> Remediation {
    assert_eq!(config.check(), Vec::<String>::new());
    let deps = Deps { config: config.clone(), state: state.clone(), probe: service.clone(), ids: ids.clone(), keyless: keyless.clone() };
    Remediation::with_hands(deps, service.clone(), registry).unwrap()
}
