//! What the `incidents` package does, as far as ladders see it: one incident for everything that is open at a time.

use async_trait::async_trait;
use model::alert::{Acknowledgement, Alert};
use model::drive::Follower;
use model::event::{Actor, Event, EventKind, Recorded, Subject};
use model::ids::{AlertId, EventId, IncidentId};
use model::incident::{Incident, IncidentClocks, IncidentStatus};
use model::labels::Labels;
use model::severity::Severity;
use model::state::{Commit, Expect, StateError, StateStore, Versioned, all, load};
use model::tenant::TenantId;
use model::time::Timestamp;

/// Opens, joins, acknowledges and resolves.
pub(crate) struct Incidents;

fn event(commit: &mut Commit, alert: Option<AlertId>, incident: IncidentId, kind: EventKind) {
    let cause = format!("{}/{incident}/{alert:?}/{}/{}", commit.at, kind.tag(), commit.events.len());
    let id = EventId::derived(commit.at, &cause);
    let subject = Subject { alert, incident: Some(incident) };
    commit.event(Event { id, tenant: TenantId::default(), at: commit.at, actor: Actor::system("incidents"), subject, kind });
}

async fn open(state: &dyn StateStore) -> Result<Option<Versioned<Incident>>, StateError> {
    Ok(all::<Incident>(state, None, &["open", "acknowledged"], 0).await?.pop())
}

async fn arrive(commit: &mut Commit, state: &dyn StateStore, alert: AlertId, severity: Severity) -> Result<(), StateError> {
    match open(state).await? {
        Some(found) if found.entity.alerts.contains(&alert) => {}
        Some(Versioned { entity: mut incident, version }) => {
            incident.alerts.push(alert);
            incident.firing.push(alert);
            incident.severity = incident.severity.max(severity);
            commit.put(&incident, Expect::Version(version))?;
            event(commit, Some(alert), incident.id, EventKind::IncidentAlertAttached { severity });
        }
        None => {
            let number = all::<Incident>(state, None, &[], 0).await?.len() as u64 + 1;
            let at = commit.at;
            let clocks = IncidentClocks {
                started: at,
                detected: at,
                acknowledged: None,
                mitigated: None,
                resolved: None,
                closed: None,
                cancelled: None,
            };
            let incident = Incident {
                id: IncidentId::derived(at, &format!("incident {number}")),
                tenant: TenantId::default(),
                number,
                title: format!("Incident {number}"),
                severity,
                status: IncidentStatus::Open,
                group: Labels::empty(),
                alerts: vec![alert],
                firing: vec![alert],
                clocks,
                acknowledged: None,
                resolved_by: None,
                chat: None,
                repair: None,
                last_update: None,
            };
            commit.put(&incident, Expect::New)?;
            let kind = EventKind::IncidentOpened { number, title: incident.title.clone(), severity };
            event(commit, Some(alert), incident.id, kind);
        }
    }
    Ok(())
}

/// A person's act on the open incident.
pub(crate) async fn act(state: &dyn StateStore, now: Timestamp, kind: EventKind) -> Result<(), StateError> {
    let Versioned { entity: mut incident, version } = open(state).await?.expect("no incident is open");
    let mut commit = Commit::at(now);
    let by = Actor::User { id: "ada".to_owned() };
    match &kind {
        EventKind::IncidentAcknowledged => {
            incident.status = IncidentStatus::Acknowledged;
            incident.acknowledged = Some(Acknowledgement { at: now, by: by.clone() });
        }
        EventKind::IncidentUnacknowledged => {
            incident.status = IncidentStatus::Open;
            incident.acknowledged = None;
        }
        EventKind::IncidentEscalated { .. } => {
            incident.status = IncidentStatus::Open;
            incident.acknowledged = None;
        }
        EventKind::IncidentResolved { .. } => incident.status = IncidentStatus::Resolved,
        other => panic!("{other:?} is no act"),
    }
    commit.put(&incident, Expect::Version(version)).unwrap();
    event(&mut commit, None, incident.id, kind);
    commit.events.iter_mut().for_each(|event| event.actor = by.clone());
    state.commit(commit).await.map(drop)
}

#[async_trait]
impl Follower for Incidents {
    fn name(&self) -> &'static str {
        "incidents"
    }
    async fn follow(&self, recorded: &Recorded, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
        let mut commit = Commit::at(now);
        let Some(id) = recorded.event.subject.alert else { return Ok(commit) };
        let alert = load::<Alert>(state, &TenantId::default(), &id.to_string()).await?.map(|found| found.entity);
        let wanted = alert.as_ref().is_some_and(|alert| !alert.muted && alert.is_firing());
        match &recorded.event.kind {
            EventKind::AlertFired { severity, .. } if severity.opens_incident() && wanted => {
                arrive(&mut commit, state, id, *severity).await?
            }
            EventKind::AlertSeverityChanged { to, .. } if to.opens_incident() && wanted => arrive(&mut commit, state, id, *to).await?,
            EventKind::AlertUnmuted => {
                if let Some(alert) = alert.filter(|alert| wanted && alert.severity.opens_incident()) {
                    arrive(&mut commit, state, id, alert.severity).await?;
                }
            }
            EventKind::AlertResolved { .. } => {
                if let Some(Versioned { entity: mut incident, version }) =
                    open(state).await?.filter(|found| found.entity.alerts.contains(&id))
                {
                    incident.firing.retain(|firing| *firing != id);
                    if incident.firing.is_empty() {
                        incident.status = IncidentStatus::Resolved;
                        event(&mut commit, None, incident.id, EventKind::IncidentResolved { reason: "alerts cleared".to_owned() });
                    }
                    commit.put(&incident, Expect::Version(version))?;
                }
            }
            EventKind::AlertAcknowledged => {
                if let Some(Versioned { entity: mut incident, version }) =
                    open(state).await?.filter(|found| found.entity.alerts.contains(&id))
                {
                    incident.status = IncidentStatus::Acknowledged;
                    incident.acknowledged = Some(Acknowledgement { at: recorded.event.at, by: recorded.event.actor.clone() });
                    commit.put(&incident, Expect::Version(version))?;
                    event(&mut commit, None, incident.id, EventKind::IncidentAcknowledged);
                }
            }
            _ => {}
        }
        Ok(commit)
    }
}
