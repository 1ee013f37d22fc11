//! `people`: what somebody does while the rules run. In: an act. Out: requests to the very HTTP API that people use. Fails with the
//! API's own sentence.

use axum::body::Body;
use axum::http::Request;
use model::access::{Permission, Principal};
use model::event::Actor;
use model::tenant::TenantId;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::file::ActYaml;
use crate::simulate::Simulation;

/// The largest answer that is read.
const LARGEST: usize = 1 << 20;

async fn post(simulation: &Simulation, path: &str, body: &Value) -> Result<(), String> {
    let mut request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .map_err(|error| error.to_string())?;
    request.extensions_mut().insert(Principal {
        tenant: TenantId::default(),
        permissions: vec![Permission::Read, Permission::Respond],
        actor: Actor::User { id: "test".to_owned() },
        keyless: false,
    });
    let response = match simulation.router().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if response.status().is_success() {
        return Ok(());
    }
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), LARGEST).await.map_err(|error| error.to_string())?;
    let said = serde_json::from_slice::<Value>(&bytes).ok().and_then(|json| Some(json.get("error")?.as_str()?.to_owned()));
    Err(said.unwrap_or_else(|| format!("the answer was {status}")))
}

/// The API's path for the thing that an alert's name stands for: its incident, else the alert itself.
async fn thing(simulation: &Simulation, name: &str) -> Result<(bool, String), String> {
    let alerts = simulation.alerts().await.map_err(|error| format!("{error:#}"))?;
    let alert = alerts.iter().rev().find(|alert| alert.labels.get("alertname") == Some(name) && alert.state.fired_at().is_some());
    let alert = alert.ok_or_else(|| format!("no alert `{name}` has fired by then"))?;
    Ok(match alert.incident {
        Some(incident) => (true, format!("/api/watchfire/v1/incidents/{incident}")),
        None => (false, format!("/api/watchfire/v1/alerts/{}", alert.id)),
    })
}

/// Does it.
pub(super) async fn act(simulation: &Simulation, act: &ActYaml) -> Result<(), String> {
    let ActYaml { acknowledge, unacknowledge, resolve, resolve_error, in_release, ignore_error, silence, lasts, at: _ } = act;
    if in_release.is_some() && resolve_error.is_none() {
        return Err("`in_release` belongs to `resolve_error`: the release that has the fix".to_owned());
    }
    match [acknowledge, unacknowledge, resolve, resolve_error, ignore_error].into_iter().flatten().count() + usize::from(silence.is_some())
    {
        1 if act.is_about_errors() => return Ok(()), // done already: `issues::past`
        1 => {}
        _ => {
            let acts = "acknowledge, unacknowledge, resolve, resolve_error, ignore_error and silence";
            return Err(format!("an entry of `people` holds exactly one of {acts}"));
        }
    }
    let on_incident = async |name: &str, command: &str| match thing(simulation, name).await? {
        (true, path) => post(simulation, &format!("{path}/{command}"), &json!({})).await,
        (false, _) => Err(format!("alert `{name}` has no incident that could be {command}d: only severity critical and high have one")),
    };
    match (acknowledge, unacknowledge, resolve, silence) {
        (Some(name), None, None, None) => {
            let (_, path) = thing(simulation, name).await?;
            post(simulation, &format!("{path}/acknowledge"), &json!({})).await
        }
        (None, Some(name), None, None) => on_incident(name, "unacknowledge").await,
        (None, None, Some(name), None) => on_incident(name, "resolve").await,
        (None, None, None, Some(matchers)) => {
            let duration = lasts.ok_or("a silence needs `for`, how long it lasts")?;
            post(simulation, "/api/watchfire/v1/silences", &json!({"matchers": matchers, "duration": duration})).await
        }
        _ => Ok(()),
    }
}
