//! Writes a stepped run into a commit: its record, its events, the row of its next step. In: a decision. Out: a fuller commit.

use std::sync::Arc;

use model::event::{Actor, Event, EventKind, Subject};
use model::ids::{AlertId, EventId, IdSource, IncidentId, RemediationId};
use model::json::Json;
use model::state::{Commit, Expect, StateError};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Lane, NewWork, Queue};
use serde::{Deserialize, Serialize};

use crate::machine::Decision;
use crate::run::{RepairRun, Step};

/// The body of a work row of queue `remediation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Which run.
    pub run: RemediationId,
    /// Which step of it.
    pub step: Step,
}

/// Gives events their ids.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
}

impl Writer {
    /// An event of remediation's own.
    pub fn event(&self, tenant: &TenantId, alert: AlertId, incident: Option<IncidentId>, kind: EventKind, now: Timestamp) -> Event {
        Event {
            id: EventId::new(now, &*self.ids),
            tenant: tenant.clone(),
            at: now,
            actor: Actor::system("remediation"),
            subject: Subject::alert(alert, incident),
            kind,
        }
    }

    /// Adds the record, the events and the next row. Returns the run as it was written.
    pub fn write(&self, commit: &mut Commit, decision: Decision, expect: Expect, now: Timestamp) -> Result<RepairRun, StateError> {
        let Decision { mut run, events } = decision;
        for kind in events {
            let event = self.event(&run.tenant, run.alert, run.incident, kind, now);
            run.remember(&event);
            commit.event(event);
        }
        commit.put(&run, expect)?;
        if let Some((step, due_at)) = run.next(now) {
            commit.schedule(&run.tenant, row(&run, step, due_at)?);
        }
        Ok(run)
    }
}

fn row(run: &RepairRun, step: Step, due_at: Timestamp) -> Result<NewWork, StateError> {
    let body = Json::of(&Job { run: run.id, step }).map_err(|source| StateError::Body {
        kind: "repair_run".to_owned(),
        id: run.id.to_string(),
        source,
    })?;
    Ok(NewWork {
        queue: Queue::Remediation,
        key: format!("{}/{}", run.id, step.key()),
        lane: Lane::Page,
        subject: Subject::alert(run.alert, run.incident),
        due_at,
        body,
    })
}
