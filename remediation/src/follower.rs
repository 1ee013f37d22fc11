//! The follower that plans runs and stops them. In: journal events, in order. Out: one commit each. A fired alert whose rule names a
//! remediation gets one run; a person who ends the incident stops it. Fails only with the state store.

use async_trait::async_trait;
use model::alert::Alert;
use model::drive::Follower;
use model::event::{EventKind, Recorded};
use model::ids::{IncidentId, RemediationId};
use model::incident::Incident;
use model::repair::RepairOutcome;
use model::state::{Commit, Expect, StateError, StateStore, Versioned, all, load};
use model::time::Timestamp;

use crate::config::Live;
use crate::guard::is_person;
use crate::machine::{Decision, Input, decide};
use crate::meters::Meters;
use crate::planning::{Fired, Origin, planned};
use crate::run::{LIVE, RepairRun};
use crate::writer::Writer;

/// Plans and stops runs.
pub struct RepairFollower {
    pub(crate) config: Live,
    pub(crate) writer: Writer,
    pub(crate) meters: Meters,
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
                let fired = Fired { alert, labels, severity: *severity, value: *value };
                self.plan(event, &fired, remediation, state, now).await
            }
            EventKind::IncidentOpened { .. } | EventKind::IncidentAlertAttached { .. } => self.tie(event, state, now).await,
            EventKind::IncidentResolved { .. } | EventKind::IncidentCancelled { .. } => self.ended(event, state, now).await,
            EventKind::AlertResolved { .. } => self.over(event, state, now).await,
            EventKind::RepairFinished { remediation, outcome, .. } => {
                self.meters.ended(remediation, outcome);
                Ok(Commit::at(now))
            }
            EventKind::AlertFired { remediation: None, .. }
            | EventKind::AlertPending { .. }
            | EventKind::AlertCancelled
            | EventKind::AlertSeverityChanged { .. }
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
            | EventKind::IncidentEscalated { .. }
            | EventKind::IncidentUpdated { .. }
            | EventKind::OnCallOverridden { .. }
            | EventKind::OnCallRestored { .. }
            | EventKind::RepairRequested { .. }
            | EventKind::RepairAwaitsApproval { .. }
            | EventKind::RepairApproved { .. }
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
    async fn plan(
        &self,
        event: &Recorded,
        fired: &Fired<'_>,
        remediation: &str,
        state: &dyn StateStore,
        now: Timestamp,
    ) -> Result<Commit, StateError> {
        let tenant = &event.event.tenant;
        let id = RemediationId::derived(event.event.at, &format!("{}/{}", fired.alert, remediation));
        let mut commit = Commit::at(now);
        if state.get(tenant, "repair_run", &id.to_string()).await?.is_some() {
            return Ok(commit);
        }
        let config = self.config.get();
        let Some(plan) = config.plan(remediation) else {
            let reason = format!("the configuration has no remediation named {}", remediation);
            let outcome = RepairOutcome::Refused { reason };
            let kind = EventKind::RepairFinished { run: id, remediation: remediation.to_owned(), outcome };
            commit.event(self.writer.event(tenant, fired.alert, event.event.subject.incident, kind, now));
            return Ok(commit);
        };
        let snapshot = load::<Alert>(state, tenant, &fired.alert.to_string()).await?.map(|found| found.entity);
        let incident = event.event.subject.incident.or(snapshot.as_ref().and_then(|alert| alert.incident));
        let run = planned(&config, plan, fired, Origin { id, tenant, snapshot, incident, now });
        self.writer.write(&mut commit, Decision { run, events: Vec::new() }, Expect::New, now)?;
        Ok(commit)
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

    /// The alert is over: what waits for a yes is not needed any more.
    async fn over(&self, event: &Recorded, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
        let mut commit = Commit::at(now);
        for Versioned { entity: run, version } in all::<RepairRun>(state, Some(&event.event.tenant), &["awaiting_approval"], 0).await? {
            if Some(run.alert) == event.event.subject.alert
                && let Ok(decision) = decide(&run, &Input::AlertOver, now)
            {
                self.writer.write(&mut commit, decision, Expect::Version(version), now)?;
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
