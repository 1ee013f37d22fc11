//! The keypad of a call: Twilio posts what somebody pressed. In: a form with Twilio's signature. Out: the alert (and its incident) is
//! acknowledged by a 1, and words that are read out. A request whose signature is not Twilio's changes nothing and learns nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use model::alert::Acknowledgement;
use model::drive::Nudge;
use model::event::{Actor, Event, EventKind, Subject};
use model::ids::{AlertId, EventId, IdSource};
use model::incident::Incident;
use model::state::{Commit, Expect, StateError, StateStore, TRIES, Versioned, load};
use model::tenant::TenantId;
use ring::hmac;

use super::DeliveryWorker;
use crate::channels::ReceiverConfig;
use crate::channels::config::TwilioVoiceConfig;
use crate::machine::Instance;

struct Desk {
    worker: Arc<DeliveryWorker>,
    state: Arc<dyn StateStore>,
    ids: Arc<dyn IdSource>,
    nudge: Nudge,
    tenant: TenantId,
}

/// `POST /hooks/twilio/{receiver}/{alert}`. It stands outside of the access layer: the signature is its key.
pub fn router(worker: Arc<DeliveryWorker>, state: Arc<dyn StateStore>, ids: Arc<dyn IdSource>, nudge: Nudge, tenant: TenantId) -> Router {
    let desk = Desk { worker, state, ids, nudge, tenant };
    Router::new().route("/hooks/twilio/{receiver}/{alert}", post(pressed)).with_state(Arc::new(desk))
}

/// Twilio's signature: HMAC-SHA1 with the account's token over the URL and, in order of their names, names and values of the form.
pub(crate) fn signature_fits(token: &str, url: &str, form: &BTreeMap<String, String>, signature: &str) -> bool {
    let mut text = url.to_owned();
    for (name, value) in form {
        text.push_str(name);
        text.push_str(value);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    let given = base64::engine::general_purpose::STANDARD.decode(signature.trim());
    given.is_ok_and(|given| hmac::verify(&key, text.as_bytes(), &given).is_ok())
}

impl DeliveryWorker {
    /// The settings of a receiver that calls.
    fn caller(&self, receiver: &str) -> Option<TwilioVoiceConfig> {
        match &self.destinations().get(receiver)?.0 {
            ReceiverConfig::TwilioVoice(config) => Some(config.clone()),
            _ => None,
        }
    }
}

fn say(words: &str) -> Response {
    let twiml = format!("<Response><Say>{words}</Say><Hangup/></Response>");
    ([(header::CONTENT_TYPE, "text/xml")], twiml).into_response()
}

async fn pressed(
    State(desk): State<Arc<Desk>>,
    Path((receiver, alert)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let signature = headers.get("x-twilio-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let trusted = desk.worker.caller(&receiver).is_some_and(|config| {
        let url = |base: &str| format!("{}{}", base.trim_end_matches('/'), uri.path());
        config.callback_url.is_some_and(|base| signature_fits(config.auth_token.reveal(), &url(&base), &form, signature))
    });
    let Some(alert) = alert.parse::<AlertId>().ok().filter(|_| trusted) else { return StatusCode::FORBIDDEN.into_response() };
    if form.get("Digits").map(String::as_str) != Some("1") {
        return say("That was not a 1. Nothing is acknowledged.");
    }
    match acknowledge(&desk, &receiver, alert).await {
        Ok(words) => say(words),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "an acknowledgement by keypad could not be written");
            say("Watchfire could not write that down. Please acknowledge elsewhere.")
        }
    }
}

/// What a press is about: the alert of the call or, where that ended before somebody pressed, one that still fires in its incident: the
/// incident is what pages on.
async fn meant(desk: &Desk, id: AlertId) -> Result<Option<Versioned<Instance>>, StateError> {
    let instance = async |id: AlertId| load::<Instance>(&*desk.state, &desk.tenant, &id.to_string()).await;
    let Some(called) = instance(id).await? else { return Ok(None) };
    let (firing, incident) = (called.entity.alert.is_firing(), called.entity.alert.incident);
    let Some(incident) = incident.filter(|_| !firing) else { return Ok(firing.then_some(called)) };
    let found = load::<Incident>(&*desk.state, &desk.tenant, &incident.to_string()).await?;
    for other in found.iter().flat_map(|found| &found.entity.firing) {
        if let Some(other) = instance(*other).await?.filter(|other| other.entity.alert.is_firing()) {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

async fn acknowledge(desk: &Desk, receiver: &str, id: AlertId) -> Result<&'static str, StateError> {
    for attempt in 1.. {
        let Some(Versioned { entity: mut instance, version }) = meant(desk, id).await? else { return Ok("It is over already.") };
        let id = instance.alert.id;
        if instance.alert.acknowledged.is_some() {
            return Ok("Somebody has it already.");
        }
        let at = desk.state.now().await?;
        let actor = Actor::Provider { name: format!("keypad of {receiver}") };
        instance.alert.acknowledged = Some(Acknowledgement { at, by: actor.clone() });
        let mut commit = Commit::at(at);
        commit.put(&instance, Expect::Version(version))?;
        let subject = Subject::alert(id, instance.alert.incident);
        let (event, tenant) = (EventId::new(at, &*desk.ids), desk.tenant.clone());
        commit.event(Event { id: event, tenant, at, actor, subject, kind: EventKind::AlertAcknowledged });
        match desk.state.commit(commit).await {
            Ok(_) => {
                desk.nudge.nudge();
                return Ok("Acknowledged. Thank you.");
            }
            Err(error) if error.is_conflict() && attempt < TRIES => {}
            Err(error) => return Err(error),
        }
    }
    Ok("Please try again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Twilio's documentation ("Validating Signatures from Twilio").
    #[test]
    fn signatures_are_twilios() {
        let form: BTreeMap<String, String> = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+12349013030"),
            ("Digits", "1234"),
            ("From", "+12349013030"),
            ("To", "+18005551212"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        assert!(signature_fits("12345", url, &form, "0/KCTR6DLpKmkAf8muzZqo1nDgQ="));
        assert!(!signature_fits("12346", url, &form, "0/KCTR6DLpKmkAf8muzZqo1nDgQ="));
        assert!(!signature_fits("12345", "https://mycompany.com/other", &form, "0/KCTR6DLpKmkAf8muzZqo1nDgQ="));
        assert!(!signature_fits("12345", url, &form, ""));
    }
}
