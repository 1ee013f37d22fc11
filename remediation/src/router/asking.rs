//! What people ask of remediation: which plans there are, start one, say yes to one that waits. A start by hand passes the same guards as
//! one that an alert asked for; it has its approval from whoever starts it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::access::{Permission, Principal};
use model::alert::{Acknowledgement, Alert};
use model::event::{Event, EventKind};
use model::ids::{AlertId, IncidentId, RemediationId};
use model::incident::Incident;
use model::state::{Commit, Expect, TRIES, by_key, load};
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, Desk, LONGEST_BODY, find, view};
use crate::machine::{Decision, Input, decide};
use crate::planning::{Fired, Origin, planned};
use crate::run::RepairRun;

/// The plans of the configuration.
pub(super) async fn plans(State(desk): State<Arc<Desk>>, Extension(principal): Extension<Principal>) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let config = desk.config.get();
    // The configuration is the default tenant's.
    let own = principal.tenant == TenantId::default();
    let plans: Vec<Value> = config
        .remediations
        .iter()
        .filter(|_| own)
        .map(|plan| {
            let rungs: Vec<&str> = plan.rungs.iter().map(|rung| rung.name.as_str()).collect();
            json!({"name": plan.name, "approval": plan.approval, "dry_run": plan.dry_run, "rungs": rungs})
        })
        .collect();
    Ok(Json(json!({"plans": plans})))
}

/// What to start, and for what: an alert, or an incident, of which the worst alert that fires is taken.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    remediation: String,
    alert: Option<String>,
    incident: Option<String>,
}

/// Starts a remediation by hand.
pub(super) async fn start(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<Response, ApiError> {
    principal.require(Permission::Respond)?;
    if body.len() > LONGEST_BODY {
        return Err(ApiError::bad_request(format!("the body is longer than {LONGEST_BODY} bytes")));
    }
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad_request(format!("the body is not JSON such as {{\"remediation\": \"restart\", \"incident\": \"42\"}}: {error}"))
    })?;
    let config = desk.config.get();
    if principal.tenant != TenantId::default() {
        return Err(ApiError::not_found(format!("there is no remediation `{}`: none is configured", asked.remediation)));
    }
    let Some(plan) = config.plan(&asked.remediation) else {
        let known: Vec<&str> = config.remediations.iter().map(|plan| plan.name.as_str()).collect();
        let known = if known.is_empty() { "none is configured".to_owned() } else { format!("use {}", known.join(", ")) };
        return Err(ApiError::not_found(format!("there is no remediation `{}`: {known}", asked.remediation)));
    };
    let alert = match (&asked.alert, &asked.incident) {
        (Some(alert), None) => named(&desk, &principal.tenant, alert).await?,
        (None, Some(incident)) => worst(&desk, &principal.tenant, incident, &asked.remediation).await?,
        (Some(_), Some(_)) | (None, None) => return Err(ApiError::bad_request("give either `alert` or `incident`".to_owned())),
    };
    let now = desk.state.now().await?;
    let id = RemediationId::new(now, &*desk.writer.ids);
    let fired = Fired { alert: alert.id, labels: &alert.labels, severity: alert.severity, value: alert.value };
    let incident = alert.incident;
    let origin = Origin { id, tenant: &principal.tenant, snapshot: Some(alert.clone()), incident, now };
    let mut run = planned(&config, plan, &fired, origin);
    run.approved = Some(Acknowledgement { at: now, by: principal.actor.clone() });
    let kind = EventKind::RepairRequested { run: id, remediation: plan.name.clone() };
    let mut commit = said(&desk, &principal, &mut run, kind, now);
    let run = desk.writer.write(&mut commit, Decision { run, events: Vec::new() }, Expect::New, now)?;
    desk.state.commit(commit).await?;
    let message = "it is started; the guards are asked first";
    Ok((StatusCode::CREATED, Json(json!({"run": view(&run), "message": message}))).into_response())
}

/// The beginning of a commit: what somebody asked of a run, in their name.
fn said(desk: &Desk, principal: &Principal, run: &mut RepairRun, kind: EventKind, now: Timestamp) -> Commit {
    let event = desk.writer.event(&run.tenant, run.alert, run.incident, kind, now);
    let event = Event { actor: principal.actor.clone(), ..event };
    run.remember(&event);
    let mut commit = Commit::at(now);
    commit.event(event);
    commit
}

fn firing(alert: Alert) -> Result<Alert, ApiError> {
    if alert.is_firing() {
        return Ok(alert);
    }
    Err(ApiError::conflict(format!("alert {} is {}: only a firing alert is repaired", alert.id, alert.state.name())))
}

async fn named(desk: &Desk, tenant: &TenantId, id: &str) -> Result<Alert, ApiError> {
    let id: AlertId = id.parse().map_err(|error| ApiError::bad_request(format!("{error}")))?;
    let found = load::<Alert>(&*desk.state, tenant, &id.to_string()).await?;
    firing(found.ok_or_else(|| ApiError::not_found(format!("there is no alert {id}")))?.entity)
}

/// Of the incident's alerts that fire: one whose rule names this remediation before the others, then the worst.
async fn worst(desk: &Desk, tenant: &TenantId, reference: &str, remediation: &str) -> Result<Alert, ApiError> {
    let found = match reference.parse::<IncidentId>() {
        Ok(id) => load::<Incident>(&*desk.state, tenant, &id.to_string()).await?,
        Err(_) => by_key::<Incident>(&*desk.state, tenant, reference.strip_prefix("incident-").unwrap_or(reference)).await?,
    };
    let incident = found.ok_or_else(|| ApiError::not_found(format!("there is no incident {reference}")))?.entity;
    let mut alerts = Vec::new();
    for id in &incident.firing {
        alerts.extend(load::<Alert>(&*desk.state, tenant, &id.to_string()).await?.map(|found| found.entity).filter(Alert::is_firing));
    }
    let rank = |alert: &Alert| (alert.remediation.as_deref() == Some(remediation), alert.severity);
    let worst = alerts.into_iter().reduce(|one, other| if rank(&other) > rank(&one) { other } else { one });
    worst.ok_or_else(|| ApiError::conflict(format!("no alert of incident {} fires: there is nothing to repair", incident.number)))
}

/// Says yes to a run that waits for it. The guards are asked once more.
pub(super) async fn approve(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Respond)?;
    for attempt in 1.. {
        let found = find(&desk, &principal.tenant, &id).await?;
        let now = desk.state.now().await?;
        let input = Input::Approved { by: principal.actor.clone() };
        let mut decision = decide(&found.entity, &input, now)
            .map_err(|illegal| ApiError::conflict(format!("the run is {}: it waits for nobody's yes", illegal.state)))?;
        let run = &mut decision.run;
        let kind = EventKind::RepairApproved { run: run.id, remediation: run.plan.name.clone() };
        let mut commit = said(&desk, &principal, run, kind, now);
        let run = desk.writer.write(&mut commit, decision, Expect::Version(found.version), now)?;
        match desk.state.commit(commit).await {
            Ok(_) => {
                return Ok(Json(json!({"run": view(&run), "message": "it is approved; the guards are asked once more"})).into_response());
            }
            Err(error) if error.is_conflict() && attempt < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::conflict("the run moved at this moment; try again".to_owned()))
}
