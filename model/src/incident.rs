//! Incidents: one outage. `incidents` decides their state; everybody else reads them.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::alert::Acknowledgement;
use crate::event::{Actor, EventKind, UpdatePhase};
use crate::ids::{AlertId, IncidentId, RemediationId};
use crate::labels::Labels;
use crate::severity::Severity;
use crate::state::{Entity, Journal, JournalQuery, Records, StateError, Versioned, load, pages};
use crate::tenant::TenantId;
use crate::time::Timestamp;

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStatus {
    /// Nobody has it yet.
    Open,
    /// Somebody works on it.
    Acknowledged,
    /// The harm is over.
    Resolved,
    /// The aftermath is done too.
    Closed,
    /// It was none.
    Cancelled,
}

impl IncidentStatus {
    /// The word in APIs and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            IncidentStatus::Open => "open",
            IncidentStatus::Acknowledged => "acknowledged",
            IncidentStatus::Resolved => "resolved",
            IncidentStatus::Closed => "closed",
            IncidentStatus::Cancelled => "cancelled",
        }
    }
    /// Whether it still asks for somebody.
    pub fn is_open(self) -> bool {
        match self {
            IncidentStatus::Open | IncidentStatus::Acknowledged => true,
            IncidentStatus::Resolved | IncidentStatus::Closed | IncidentStatus::Cancelled => false,
        }
    }
}

/// The clocks of an incident, each kept apart: MTTD = detected - started, MTTA = acknowledged - detected, MTTM = mitigated -
/// detected, MTTR = resolved - detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentClocks {
    /// When the harm began, as far as the data shows (the earliest ActiveAt of its alerts).
    pub started: Timestamp,
    /// When the first alert fired.
    pub detected: Timestamp,
    /// When somebody took it.
    pub acknowledged: Option<Timestamp>,
    /// When the harm was contained.
    pub mitigated: Option<Timestamp>,
    /// When it was over.
    pub resolved: Option<Timestamp>,
    /// When the aftermath was done.
    pub closed: Option<Timestamp>,
    /// When it turned out to be none; records from before the field have none.
    #[serde(default)]
    pub cancelled: Option<Timestamp>,
}

/// The chat channel of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatChannel {
    /// The receiver that opened it.
    pub receiver: String,
    /// The provider's id (`C012345`).
    pub id: String,
    /// Its name (`incident-42`).
    pub name: String,
    /// Whether it is archived.
    pub archived: bool,
}

/// What those who wait were told last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusUpdate {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: Actor,
    /// How it stands.
    pub phase: UpdatePhase,
    /// The text.
    pub text: String,
}

/// An incident. State kind `incident`, key = its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// Whose.
    pub tenant: TenantId,
    /// Its running number within the tenant, from 1: used in CLI, titles and channel names.
    pub number: u64,
    /// One line for people.
    pub title: String,
    /// The worst severity it has had.
    pub severity: Severity,
    /// Where it stands.
    pub status: IncidentStatus,
    /// What alerts of the same outage share: a new alert with these labels joins.
    pub group: Labels,
    /// Its alerts, in the order in which they came.
    pub alerts: Vec<AlertId>,
    /// Those of them that still fire.
    pub firing: Vec<AlertId>,
    /// Its clocks.
    pub clocks: IncidentClocks,
    /// Who took it.
    pub acknowledged: Option<Acknowledgement>,
    /// Who or what resolved it.
    pub resolved_by: Option<Actor>,
    /// Its chat channel, once the provider has answered.
    pub chat: Option<ChatChannel>,
    /// The remediation run that is at work: the incident does not resolve by itself before it ends.
    pub repair: Option<RemediationId>,
    /// The newest status update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update: Option<StatusUpdate>,
}

impl Incident {
    /// `incident-42`
    pub fn channel_name(&self) -> String {
        format!("incident-{}", self.number)
    }

    /// The service that it is about, where its alerts share one: the label `service_name`, else `service`.
    pub fn service(&self) -> Option<&str> {
        ["service_name", "service"].into_iter().find_map(|name| self.group.get(name))
    }
}

impl Entity for Incident {
    const KIND: &'static str = "incident";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn key(&self) -> Option<String> {
        Some(self.number.to_string())
    }
    fn status(&self) -> &'static str {
        self.status.as_str()
    }
}

/// The open incident that holds an alert. `linked`: what the alert's record says, which may be a moment behind.
pub async fn open_for(
    store: &(impl Records + Journal + ?Sized),
    tenant: &TenantId,
    alert: AlertId,
    linked: Option<IncidentId>,
) -> Result<Option<Versioned<Incident>>, StateError> {
    if let Some(id) = linked
        && let Some(found) = load::<Incident>(store, tenant, &id.to_string()).await?
        && found.entity.status.is_open()
        && found.entity.alerts.contains(&alert)
    {
        return Ok(Some(found));
    }
    Ok(holding(store, tenant, alert).await?.into_iter().find(|found| found.entity.status.is_open()))
}

/// The incidents that hold an alert or held it, the one that it joined last first. Whoever puts an alert into an incident journals that in the
/// same commit, about both: the alert's own events name them, however many incidents there are.
pub async fn holding(
    store: &(impl Records + Journal + ?Sized),
    tenant: &TenantId,
    alert: AlertId,
) -> Result<Vec<Versioned<Incident>>, StateError> {
    let mut joined: Vec<IncidentId> = Vec::new();
    let query = JournalQuery { tenant: Some(tenant.clone()), alert: Some(alert), limit: 1_000, ..JournalQuery::default() };
    let _ = pages::<()>(store, query, |events| {
        for event in events {
            let joins = matches!(event.event.kind, EventKind::IncidentOpened { .. } | EventKind::IncidentAlertAttached { .. });
            joined.extend(event.event.subject.incident.filter(|_| joins));
        }
        ControlFlow::Continue(())
    })
    .await?;
    let mut found = Vec::new();
    for id in joined.into_iter().rev() {
        let known = |found: &Versioned<Incident>| found.entity.id == id;
        if !found.iter().any(known) {
            let incident = load::<Incident>(store, tenant, &id.to_string()).await?;
            found.extend(incident.filter(|incident| incident.entity.alerts.contains(&alert)));
        }
    }
    Ok(found)
}
