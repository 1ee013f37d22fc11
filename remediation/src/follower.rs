//! The follower that plans runs and stops them. In: journal events, in order. Out: one commit each. A fired alert whose rule names a
//! remediation gets one run; a person who ends the incident stops it. Fails only with the state store.

use std::collections::BTreeMap;

use async_trait::async_trait;
use model::alert::Alert;
use model::drive::Follower;
use model::event::{EventKind, Recorded};
use model::ids::{AlertId, IncidentId, RemediationId};
use model::incident::Incident;
use model::labels::Labels;
use model::repair::RepairOutcome;
use model::severity::Severity;
use model::state::{Commit, Expect, StateError, StateStore, Versioned, all, load};
use model::time::Timestamp;
use model::units::Value;

use crate::config::{Live, Plan};
use crate::guard::is_person;
use crate::machine::{Decision, Input, decide};
use crate::meters::Meters;
use crate::run::{LIVE, RepairRun, RunState};
use crate::template::Facts;
use crate::writer::Writer;

/// Plans and stops runs.
pub struct RepairFollower {
    pub(crate) config: Live,
    pub(crate) writer: Writer,
    pub(crate) meters: Meters,
}

/// What the event of a fired alert says.
struct Fired<'a> {
    alert: AlertId,
    labels: &'a Labels,
    severity: Severity,
    value: Value,
    remediation: &'a str,
}

#[async_trait]
impl Follower for RepairFollower {
    fn name(&self) -> &'static str {
        "remediation"
    }

    async fn follow(&self, event: &Recorded, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
        match &event.event.kind {
            EventKind::AlertFired { labels, severity, value, remediation: Some(remediation), .. } => {
                let Some(alert) = event.event.subject.alert else { return Ok(Commit::at(now)) };
                let fired = Fired { alert, labels, severity: *severity, value: *value, remediation };
                self.plan(event, fired, state, now).await
            }
            EventKind::IncidentOpened { .. } | EventKind::IncidentAlertAttached { .. } => self.tie(event, state, now).await,
            EventKind::IncidentResolved { .. } | EventKind::IncidentCancelled { .. } => self.ended(event, state, now).await,
            EventKind::RepairFinished { remediation, outcome, .. } => {
                self.meters.ended(remediation, outcome);
                Ok(Commit::at(now))
            }
            EventKind::AlertFired { remediation: None, .. }
            | EventKind::AlertPending { .. }
            | EventKind::AlertCancelled
            | EventKind::AlertSeverityChanged { .. }
            | EventKind::AlertResolved { .. }
            | EventKind::AlertAcknowledged
            | EventKind::AlertUnacknowledged { .. }
            | EventKind::AlertMuted { .. }
            | EventKind::AlertUnmuted
            | EventKind::RuleUnknown { .. }
            | EventKind::RuleRecovered { .. }
            | EventKind::SilenceCreated { .. }
            | EventKind::SilenceExpired { .. }
            | EventKind::IncidentAcknowledged
            | EventKind::IncidentUnacknowledged
            | EventKind::IncidentMitigated { .. }
            | EventKind::IncidentClosed
            | EventKind::IncidentNoted { .. }
            | EventKind::ChatChannelOpened { .. }
            | EventKind::ChatChannelArchived { .. }
            | EventKind::LadderStarted { .. }
            | EventKind::LadderStepTaken { .. }
            | EventKind::LadderExhausted { .. }
            | EventKind::LadderStopped { .. }
            | EventKind::NotificationSent { .. }
            | EventKind::NotificationRetried { .. }
            | EventKind::NotificationDead { .. }
            | EventKind::RepairStarted { .. }
            | EventKind::RepairActed { .. }
            | EventKind::RepairChecked { .. }
            | EventKind::RepairUndone { .. }
            | EventKind::PostmortemDrafted { .. }
            | EventKind::ReviewScheduled { .. }
            | EventKind::ReviewDue
            | EventKind::KeyCreated { .. }
            | EventKind::KeyRevoked { .. }
            | EventKind::Issue { .. }
            | EventKind::DeploymentRecorded { .. }
            | EventKind::DeploymentMarked { .. }
            | EventKind::Noted { .. } => Ok(Commit::at(now)),
        }
    }
}

impl RepairFollower {
    async fn plan(&self, event: &Recorded, fired: Fired<'_>, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
        let tenant = &event.event.tenant;
        let id = RemediationId::derived(event.event.at, &format!("{}/{}", fired.alert, fired.remediation));
        let mut commit = Commit::at(now);
        if state.get(tenant, "repair_run", &id.to_string()).await?.is_some() {
            return Ok(commit);
        }
        let config = self.config.get();
        let Some(plan) = config.plan(fired.remediation) else {
            let reason = format!("the configuration has no remediation named {}", fired.remediation);
            let outcome = RepairOutcome::Refused { reason };
            let kind = EventKind::RepairFinished { run: id, remediation: fired.remediation.to_owned(), outcome };
            commit.event(self.writer.event(tenant, fired.alert, event.event.subject.incident, kind, now));
            return Ok(commit);
        };
        let snapshot = load::<Alert>(state, tenant, &fired.alert.to_string()).await?.map(|found| found.entity);
        let incident = event.event.subject.incident.or(snapshot.as_ref().and_then(|alert| alert.incident));
        let run = RepairRun {
            id,
            tenant: tenant.clone(),
            alert: fired.alert,
            incident,
            target: self.target(fired.labels),
            plan: without_values(plan),
            facts: facts(&fired, snapshot.as_ref(), id),
            snapshot,
            state: RunState::Planned,
            stop: None,
            created_at: now,
            acted_at: None,
            history: Vec::new(),
        };
        self.writer.write(&mut commit, Decision { run, events: Vec::new() }, Expect::New, now)?;
        Ok(commit)
    }

    fn target(&self, labels: &Labels) -> Labels {
        let config = self.config.get();
        let target = labels.filtered(|name| config.target_labels.iter().any(|wanted| wanted == name));
        if target.is_empty() { labels.filtered(|name| name == "alertname") } else { target }
    }

    /// The alert's incident is known now.
    async fn tie(&self, event: &Recorded, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
        let (alert, incident) = (event.event.subject.alert, event.event.subject.incident);
        let mut commit = Commit::at(now);
        for Versioned { entity: mut run, version } in all::<RepairRun>(state, Some(&event.event.tenant), &LIVE, 0).await? {
            if Some(run.alert) == alert && run.incident.is_none() {
                run.incident = incident;
                commit.put(&run, Expect::Version(version))?;
            }
        }
        Ok(commit)
    }

    /// A person ended the incident: its runs stop after the present act.
    async fn ended(&self, event: &Recorded, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
        let mut commit = Commit::at(now);
        let Some(id) = event.event.subject.incident.filter(|_| is_person(&event.event.actor)) else { return Ok(commit) };
        let tenant = &event.event.tenant;
        let incident = load::<Incident>(state, tenant, &id.to_string()).await?.map(|found| found.entity);
        for Versioned { entity: run, version } in all::<RepairRun>(state, Some(tenant), &LIVE, 0).await? {
            if !belongs(&run, id, incident.as_ref()) {
                continue;
            }
            let reason = format!("{} ended the incident", event.event.actor);
            if let Ok(decision) = decide(&run, &Input::Stop { reason }, now) {
                self.writer.write(&mut commit, decision, Expect::Version(version), now)?;
            }
        }
        Ok(commit)
    }
}

fn belongs(run: &RepairRun, id: IncidentId, incident: Option<&Incident>) -> bool {
    run.incident == Some(id) || incident.is_some_and(|incident| incident.alerts.contains(&run.alert))
}

/// The plan as it is kept: serialising takes the secret values away; what is kept in memory shall be the same.
fn without_values(plan: &Plan) -> Plan {
    serde_json::to_value(plan).and_then(serde_json::from_value).unwrap_or_else(|_| Plan { rungs: Vec::new(), ..plan.clone() })
}

fn facts(fired: &Fired<'_>, snapshot: Option<&Alert>, run: RemediationId) -> Facts {
    let alert = [
        ("id", fired.alert.to_string()),
        ("name", fired.labels.get("alertname").unwrap_or("").to_owned()),
        ("severity", fired.severity.to_string()),
        ("value", fired.value.to_string()),
    ];
    Facts {
        labels: fired.labels.clone(),
        annotations: snapshot.map(|alert| alert.annotations.clone()).unwrap_or_default(),
        alert: alert.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        incident: BTreeMap::new(),
        run: run.to_string(),
    }
}
