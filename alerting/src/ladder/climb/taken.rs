//! Who has an alert: by its record, or with its incident, which the record says a moment later. Reads state and journal, writes nothing.

use std::ops::ControlFlow;

use model::alert::Alert;
use model::event::EventKind;
use model::ids::AlertId;
use model::incident::{Incident, IncidentStatus, open_for};
use model::state::{JournalQuery, StateError, pages};

use super::super::LadderSubject;
use super::super::notice::Scene;
use super::Climb;

/// Who has an incident.
pub(in super::super) fn taken_by(incident: &Incident) -> Option<String> {
    let taken = incident.acknowledged.as_ref().filter(|_| incident.status == IncidentStatus::Acknowledged);
    taken.map(|taken| taken.by.to_string())
}

impl Climb<'_> {
    /// The open incident of an alert.
    pub(in super::super) async fn incident_of(&self, alert: AlertId) -> Result<Option<Incident>, StateError> {
        let linked = self.alert(alert).await?.and_then(|alert| alert.incident);
        Ok(open_for(self.state, &self.shared.tenant, alert, linked).await?.map(|found| found.entity))
    }

    /// Who has the incident that an alert is just joining: its record says so a moment later.
    pub(in super::super) async fn joins_what_is_taken(&self, subject: &LadderSubject, scene: &Scene) -> Result<Option<String>, StateError> {
        let (LadderSubject::Alert { .. }, [alert]) = (subject, &*scene.alerts) else { return Ok(None) };
        if alert.incident.is_some() || !alert.is_firing() || !alert.severity.opens_incident() {
            return Ok(None);
        }
        Ok(self.incident_of(alert.id).await?.as_ref().and_then(taken_by))
    }

    /// Whether somebody took the incident of an alert since that was given back last: then the alert is taken, too, which its record says a
    /// moment later; when the incident is given back, so is the alert.
    pub(super) async fn is_taken_with_its_incident(&self, alert: &Alert) -> Result<bool, StateError> {
        if alert.incident.is_none() || alert.acknowledged.is_some() {
            return Ok(false);
        }
        let Some(incident) = self.incident_of(alert.id).await?.filter(|incident| taken_by(incident).is_some()) else { return Ok(false) };
        let about = |alert, incident| JournalQuery { tenant: Some(self.shared.tenant.clone()), alert, incident, limit: 1_000, after: 0 };
        let gives_back = |event: &EventKind| matches!(event, EventKind::AlertUnacknowledged { .. });
        let given_back = self.last(about(Some(alert.id), None), gives_back).await?;
        let taken = self.last(about(None, Some(incident.id)), |event| *event == EventKind::IncidentAcknowledged).await?;
        Ok(taken > given_back)
    }

    /// The number of the last such event; 0: there is none.
    async fn last(&self, query: JournalQuery, is_so: impl Fn(&EventKind) -> bool) -> Result<u64, StateError> {
        let mut last = 0;
        let _ = pages::<()>(self.state, query, |events| {
            last = events.iter().rev().find(|event| is_so(&event.event.kind)).map_or(last, |event| event.seq);
            ControlFlow::Continue(())
        })
        .await?;
        Ok(last)
    }
}
