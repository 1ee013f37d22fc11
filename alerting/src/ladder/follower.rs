//! The follower `ladders`: alerts that fire start ladders, acknowledgements and ends stop them, silences pause them. Reads state,
//! returns one commit per event. Fails with the state store only.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::alert::Alert;
use model::drive::Follower;
use model::event::{EventKind, Recorded, Subject};
use model::ids::{AlertId, IncidentId};
use model::incident::{Incident, IncidentStatus};
use model::state::{Commit, StateError, StateStore, Versioned, load};
use model::time::Timestamp;

use super::climb::{Climb, Wanted, about_alert, taken_by};
use super::{LadderRun, LadderStatus, LadderSubject, StopReason};
use crate::external::is_foreign;
use crate::routing::settle::announcement;
use crate::shared::Shared;

/// The runs of so many alerts are asked for one by one; of more, all there are are gone through.
const MANY: usize = 100;

/// So long after its incident the record of an alert says that nobody has it.
const LINKED: Duration = Duration::from_secs(1);

/// Starts, stops and pauses ladders.
pub struct LadderFollower {
    shared: Arc<Shared>,
}

impl LadderFollower {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        LadderFollower { shared }
    }
}

#[async_trait]
impl Follower for LadderFollower {
    fn name(&self) -> &'static str {
        "ladders"
    }

    async fn follow(&self, event: &Recorded, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
        let event = &event.event;
        let mut climb = Climb::new(&self.shared, state, now);
        if event.tenant != self.shared.tenant {
            return Ok(climb.commit);
        }
        let mut by_tree = matches!(
            event.kind,
            EventKind::AlertSeverityChanged { .. }
                | EventKind::IncidentOpened { .. }
                | EventKind::IncidentAlertAttached { .. }
                | EventKind::AlertUnmuted
                | EventKind::AlertUnacknowledged { .. }
                | EventKind::IncidentUnacknowledged
                | EventKind::IncidentEscalated { .. }
        );
        match (&event.kind, event.subject.alert, event.subject.incident) {
            (EventKind::AlertFired { rule, severity, escalation, labels, .. }, Some(alert), _) => {
                climb.is_new = true;
                let wants = climb.wants(labels, escalation.as_deref());
                by_tree = wants || !is_foreign(rule);
                if wants && let Some(alert) = climb.alert(alert).await? {
                    climb.start(&alert, *severity, escalation.as_deref(), true).await?;
                }
            }
            (EventKind::AlertSeverityChanged { from, to, escalation, .. }, Some(alert), _) if to > from => {
                if let Some(alert) = climb.alert(alert).await? {
                    climb.start(&alert, *to, escalation.as_deref(), true).await?;
                }
            }
            (EventKind::IncidentOpened { .. } | EventKind::IncidentAlertAttached { .. }, Some(alert), Some(incident)) => {
                attached(&mut climb, alert, incident).await?;
            }
            (EventKind::AlertMuted { .. }, Some(alert), _) => pause(&mut climb, alert).await?,
            (EventKind::AlertUnmuted, Some(alert), _) => unmuted(&mut climb, alert).await?,
            (EventKind::AlertAcknowledged, Some(alert), _) => {
                for run in climb.runs_about(LadderSubject::Alert { id: alert }).await? {
                    climb.acknowledge(run, &event.actor.to_string()).await?;
                }
            }
            (EventKind::AlertUnacknowledged { .. }, Some(alert), _) => climb.given_back(alert).await?,
            (EventKind::AlertResolved { .. }, Some(alert), _) => {
                for run in climb.runs_about(LadderSubject::Alert { id: alert }).await? {
                    climb.close(run, "resolved").await?;
                }
            }
            (EventKind::IncidentAcknowledged, _, Some(incident)) => {
                for run in runs_of(&climb, incident).await? {
                    climb.acknowledge(run, &event.actor.to_string()).await?;
                }
            }
            (EventKind::IncidentUnacknowledged, _, Some(incident)) => given_back(&mut climb, incident).await?,
            (EventKind::IncidentEscalated { reason }, _, Some(incident)) => {
                climb.asked = Some(format!("{} calls for help: {reason}", event.actor));
                escalated(&mut climb, incident).await?;
            }
            (EventKind::IncidentResolved { reason }, _, Some(incident)) => {
                over(&mut climb, incident, &format!("resolved: {reason}")).await?
            }
            (EventKind::IncidentCancelled { reason }, _, Some(incident)) => {
                over(&mut climb, incident, &format!("cancelled: {reason}")).await?
            }
            (EventKind::LadderStepTaken { ladder, .. }, _, _) => self.shared.meters.steps.with_label_values(&[ladder]).inc(),
            // Nothing else moves a ladder.
            (_, _, _) => {}
        }
        if by_tree {
            climb.commit.merge(announcement(&self.shared, state, now).await?);
        }
        Ok(climb.commit)
    }
}

async fn runs_of(climb: &Climb<'_>, incident: IncidentId) -> Result<Vec<Versioned<LadderRun>>, StateError> {
    let Some(found) = load::<Incident>(climb.state, &climb.shared.tenant, &incident.to_string()).await? else { return Ok(Vec::new()) };
    runs_about(climb, &found.entity).await
}

/// Runs about an incident and about each of its alerts.
async fn runs_about(climb: &Climb<'_>, incident: &Incident) -> Result<Vec<Versioned<LadderRun>>, StateError> {
    let mut runs = climb.runs_about(LadderSubject::Incident { id: incident.id }).await?;
    if incident.alerts.len() > MANY {
        let alerts: BTreeSet<AlertId> = incident.alerts.iter().copied().collect();
        let its_own = |run: &Versioned<LadderRun>| matches!(run.entity.subject, LadderSubject::Alert { id } if alerts.contains(&id));
        runs.extend(climb.runs().await?.into_iter().filter(its_own));
    } else {
        for id in &incident.alerts {
            runs.extend(climb.runs_about(LadderSubject::Alert { id: *id }).await?);
        }
    }
    Ok(runs)
}

/// Runs about an alert, and about its incident as a whole.
async fn runs_over(climb: &Climb<'_>, alert: AlertId, incident: Option<&Incident>) -> Result<Vec<Versioned<LadderRun>>, StateError> {
    let mut runs = climb.runs_about(LadderSubject::Alert { id: alert }).await?;
    if let Some(incident) = incident {
        runs.extend(climb.runs_about(LadderSubject::Incident { id: incident.id }).await?);
    }
    Ok(runs)
}

/// Nobody has the incident any more: its ladders climb again from the first step, and what began to want a ladder while somebody had it has
/// that begin.
async fn given_back(climb: &mut Climb<'_>, id: IncidentId) -> Result<(), StateError> {
    let Some(found) = load::<Incident>(climb.state, &climb.shared.tenant, &id.to_string()).await? else { return Ok(()) };
    let runs = runs_about(climb, &found.entity).await?;
    let wants = wants(climb, &found.entity, &runs).await?;
    for run in runs {
        // Those of its alerts become the incident's own, or give way, where one begins.
        let kept = wants.is_none() || run.entity.subject == LadderSubject::Incident { id };
        if kept && run.entity.status == (LadderStatus::Stopped { reason: StopReason::Acknowledged }) {
            climb.again(run, true).await?;
        }
    }
    if let Some(alert) = wants {
        // It was taken with its incident; its record may say so a moment longer.
        let alert = Alert { acknowledged: None, ..alert };
        climb.start(&alert, alert.severity, alert.escalation.as_deref(), true).await?;
    }
    // Another tree may want other ladders, each of its alerts its own.
    for alert in &found.entity.firing {
        if let Some(alert) = climb.alert(*alert).await? {
            climb.catch_up(&Alert { acknowledged: None, ..alert }, climb.now.plus(LINKED)).await?;
        }
    }
    Ok(())
}

/// Of the alerts of an incident that fire unmuted, the worst one that wants a ladder to begin: it is worse than every ladder that ever
/// climbed for the incident, or as bad, and the tree has changed since.
async fn wants(climb: &Climb<'_>, incident: &Incident, runs: &[Versioned<LadderRun>]) -> Result<Option<Alert>, StateError> {
    let highest = runs.iter().map(|run| run.entity.severity).max();
    let mut worst: Option<Alert> = None;
    for id in &incident.firing {
        let Some(alert) = climb.alert(*id).await?.filter(|alert| alert.is_firing() && !alert.muted) else { continue };
        let below =
            highest.is_some_and(|highest| alert.severity < highest) || worst.as_ref().is_some_and(|worst| alert.severity <= worst.severity);
        let wanted = if below { Vec::new() } else { climb.wanted(&alert, alert.escalation.as_deref()) };
        let gave_way = LadderStatus::Stopped { reason: StopReason::Superseded };
        let began = |wanted: &Wanted| runs.iter().any(|run| run.entity.ladder.name == wanted.ladder.name && run.entity.status != gave_way);
        let worse = highest.is_none_or(|highest| alert.severity > highest);
        let by_new_tree = alert.escalation.is_none() && !wanted.iter().all(began);
        if !wanted.is_empty() && (worse || by_new_tree) {
            worst = Some(alert);
        }
    }
    Ok(worst)
}

/// Somebody called for help: every ladder of the incident goes one step further now, and on from there; what began to want a ladder
/// while somebody had it has that begin. Where none can climb, that is told.
async fn escalated(climb: &mut Climb<'_>, incident: IncidentId) -> Result<(), StateError> {
    let Some(found) = load::<Incident>(climb.state, &climb.shared.tenant, &incident.to_string()).await? else { return Ok(()) };
    if found.entity.status != IncidentStatus::Open {
        return Ok(()); // somebody took or ended it meanwhile
    }
    let runs = runs_about(climb, &found.entity).await?;
    let wants = wants(climb, &found.entity, &runs).await?;
    let mut reached = wants.is_some();
    for run in runs {
        // Those of its alerts become the incident's own, or give way, where one begins.
        if wants.is_none() || run.entity.subject == (LadderSubject::Incident { id: incident }) {
            reached |= climb.further(run).await?;
        }
    }
    if let Some(alert) = wants {
        // It may have been taken with its incident; its record says so a moment longer.
        let alert = Alert { acknowledged: None, ..alert };
        climb.start(&alert, alert.severity, alert.escalation.as_deref(), false).await?;
    }
    if !reached {
        let text = "nobody further can be told: no ladder of this incident can climb (see alerting.escalations and silences)".to_owned();
        let kind = EventKind::Noted { text, details: Default::default() };
        climb.commit.event(climb.shared.event(climb.now, Subject::incident(incident), kind));
    }
    Ok(())
}

/// An incident opened with this alert, or this alert joined it.
async fn attached(climb: &mut Climb<'_>, alert: AlertId, incident: IncidentId) -> Result<(), StateError> {
    let Some(alert) = climb.alert(alert).await?.filter(|alert| alert.is_firing() && !alert.muted) else { return Ok(()) };
    let found = load::<Incident>(climb.state, &climb.shared.tenant, &incident.to_string()).await?;
    let Some(incident) = found.map(|found| found.entity).filter(|incident| incident.status.is_open()) else { return Ok(()) };
    for run in climb.runs_about(LadderSubject::Incident { id: incident.id }).await? {
        climb.goes_on(run).await?;
    }
    let wanted = climb.wanted(&alert, alert.escalation.as_deref());
    if wanted.is_empty() { Ok(()) } else { climb.start_for_incident(&incident, &alert, alert.severity, wanted).await }
}

/// The incident is over: its own runs close. Those of its alerts close with their alerts.
async fn over(climb: &mut Climb<'_>, incident: IncidentId, reason: &str) -> Result<(), StateError> {
    for run in climb.runs_about(LadderSubject::Incident { id: incident }).await? {
        climb.close(run, reason).await?;
    }
    Ok(())
}

/// A silence began: runs stand still; one of an incident only when all that fires in it is muted.
async fn pause(climb: &mut Climb<'_>, alert: AlertId) -> Result<(), StateError> {
    let incident = climb.incident_of(alert).await?;
    for run in runs_over(climb, alert, incident.as_ref()).await? {
        let running = run.entity.status == LadderStatus::Running;
        if running && climb.scene(&run.entity.subject).await?.is_some_and(|scene| scene.muted) {
            climb.stop(run, StopReason::Muted)?;
        }
    }
    Ok(())
}

/// A silence ended while the alert goes on: paused runs go on; where there is none, the ladder starts now.
async fn unmuted(climb: &mut Climb<'_>, id: AlertId) -> Result<(), StateError> {
    let Some(alert) = climb.alert(id).await?.filter(|alert| alert.is_firing()) else { return Ok(()) };
    let incident = climb.incident_of(id).await?;
    // It may join, in this very moment, an incident that somebody has: its record says so a moment later.
    let taken = incident.as_ref().filter(|_| alert.incident.is_none()).and_then(taken_by);
    let mut resumed = false;
    for run in runs_over(climb, id, incident.as_ref()).await? {
        if run.entity.status == (LadderStatus::Stopped { reason: StopReason::Muted }) {
            match &taken {
                Some(by) if about_alert(&run.entity, id) => climb.acknowledge(run, by).await?,
                _ => climb.again(run, false).await?,
            }
            resumed = true;
        } else if incident.as_ref().is_some_and(|incident| run.entity.subject == LadderSubject::Incident { id: incident.id }) {
            climb.goes_on(run).await?;
        }
    }
    if resumed {
        climb.catch_up(&alert, climb.now).await
    } else {
        climb.start(&alert, alert.severity, alert.escalation.as_deref(), true).await
    }
}
