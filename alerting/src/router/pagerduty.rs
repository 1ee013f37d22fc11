//! PagerDuty's Events API v2, inbound: `POST /v2/enqueue` with trigger, acknowledge and resolve. In: an event whose `routing_key` is an API
//! key that may send. Out: an alert of Watchfire, known by its `dedup_key`; 202 as PagerDuty answers. What is wrong is told with 400.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::access::{Permission, Principal};
use model::labels::Labels;
use model::severity::Severity;
use model::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Api;
use crate::external::{self, Door, News, Sent};

/// PagerDuty's limits.
const DEDUP_KEY: usize = 255;
const SUMMARY: usize = 1024;
/// Nobody says when such an alert ends but its sender: ten years.
const FOREVER: std::time::Duration = std::time::Duration::from_secs(3650 * 24 * 3600);

/// Who a key belongs to, for requests whose key stands in their body.
#[derive(Clone)]
pub struct KeyLookup(Look);

type Look = Arc<dyn Fn(&str) -> Option<Principal> + Send + Sync>;

impl KeyLookup {
    /// Looks keys up with this.
    pub fn new(look: impl Fn(&str) -> Option<Principal> + Send + Sync + 'static) -> Self {
        KeyLookup(Arc::new(look))
    }
}

impl fmt::Debug for KeyLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLookup")
    }
}

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default)]
    routing_key: String,
    event_action: String,
    #[serde(default)]
    dedup_key: Option<String>,
    #[serde(default)]
    payload: Option<Payload>,
    #[serde(default)]
    links: Option<Vec<Value>>,
    #[serde(default)]
    client: Option<String>,
    #[serde(default)]
    client_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Payload {
    summary: Option<String>,
    source: Option<String>,
    severity: Option<String>,
    timestamp: Option<String>,
    component: Option<String>,
    group: Option<String>,
    class: Option<String>,
    #[serde(default)]
    custom_details: Value,
}

fn invalid(status: StatusCode, errors: &[String]) -> Response {
    let body = json!({"status": "invalid event", "message": "Event object is invalid", "errors": errors});
    (status, Json(body)).into_response()
}

/// The alert that a trigger is about, or what is missing in it.
fn trigger(event: &Event, key: &str, principal: &Principal, now: Timestamp) -> Result<Sent, Vec<String>> {
    let none = Payload::default();
    let payload = event.payload.as_ref().unwrap_or(&none);
    let mut errors = Vec::new();
    for (name, value) in [("summary", &payload.summary), ("source", &payload.source), ("severity", &payload.severity)] {
        if value.as_deref().is_none_or(str::is_empty) {
            errors.push(format!("'payload.{name}' is missing or blank"));
        }
    }
    let severity = match payload.severity.as_deref() {
        Some("critical") => Severity::Critical,
        Some("error") => Severity::High,
        Some("info") => Severity::Info,
        Some("warning") | None => Severity::Warning,
        Some(_) => {
            errors
                .push("'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')".to_owned());
            Severity::Warning
        }
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut labels = Labels::empty().with("alertname", payload.class.as_deref().filter(|class| !class.is_empty()).unwrap_or("event"));
    let source = [("source", &payload.source), ("component", &payload.component), ("group", &payload.group), ("class", &payload.class)];
    for (name, value) in source {
        labels.set(name, value.as_deref().unwrap_or(""));
    }
    labels.set("severity", severity.as_str());
    let summary: String = payload.summary.iter().flat_map(|text| text.chars()).take(SUMMARY).collect();
    let mut annotations: BTreeMap<String, String> = [("summary".to_owned(), summary)].into();
    if !payload.custom_details.is_null() {
        let text = payload.custom_details.as_str().map_or_else(|| payload.custom_details.to_string(), str::to_owned);
        annotations.insert("description".to_owned(), text);
    }
    let link = event.links.iter().flatten().find_map(|link| link["href"].as_str());
    annotations.extend(link.map(|href| ("runbook_url".to_owned(), href.to_owned())));
    annotations.extend(event.client.clone().map(|client| ("client".to_owned(), client)));
    let starts_at = payload.timestamp.as_deref().and_then(|text| text.parse().ok()).unwrap_or(now).min(now);
    Ok(Sent {
        generator_url: event.client_url.clone().unwrap_or_default(),
        ..about(key, principal, labels, annotations, severity, News::Firing { starts_at, ends_at: now.plus(FOREVER) })
    })
}

fn about(key: &str, principal: &Principal, labels: Labels, annotations: BTreeMap<String, String>, severity: Severity, news: News) -> Sent {
    Sent {
        door: Door::Pagerduty,
        identity: Labels::empty().with("dedup_key", key),
        labels,
        annotations,
        severity,
        generator_url: String::new(),
        dedup_key: Some(key.to_owned()),
        news,
        actor: principal.actor.clone(),
    }
}

pub(super) async fn enqueue(
    State(api): State<Arc<Api>>,
    principal: Option<Extension<Principal>>,
    lookup: Option<Extension<KeyLookup>>,
    body: Bytes,
) -> Response {
    let event: Event = match serde_json::from_slice(&body) {
        Ok(event) => event,
        Err(error) => return invalid(StatusCode::BAD_REQUEST, &[format!("the body is no event: {error}")]),
    };
    let of_key = || lookup.as_ref().and_then(|Extension(KeyLookup(look))| look(&event.routing_key));
    let known = principal.map(|Extension(principal)| principal).or_else(of_key);
    let may = |principal: &Principal| principal.tenant == api.shared.tenant && principal.require(Permission::Ingest).is_ok();
    let Some(principal) = known.filter(may) else {
        return invalid(StatusCode::BAD_REQUEST, &["'routing_key' is not an API key of Watchfire that may send".to_owned()]);
    };
    let now = api.shared.clock.now();
    let given = event.dedup_key.clone().filter(|key| !key.is_empty());
    if given.as_ref().is_some_and(|key| key.chars().count() > DEDUP_KEY) {
        return invalid(StatusCode::BAD_REQUEST, &[format!("'dedup_key' is longer than {DEDUP_KEY} characters")]);
    }
    let sent = match (event.event_action.as_str(), given) {
        ("trigger", given) => {
            let key = given.unwrap_or_else(|| format!("{:032x}", api.shared.ids.random()));
            match trigger(&event, &key, &principal, now) {
                Ok(sent) => sent,
                Err(errors) => return invalid(StatusCode::BAD_REQUEST, &errors),
            }
        }
        (action @ ("acknowledge" | "resolve"), Some(key)) => {
            let news = if action == "resolve" { News::Over { ends_at: now } } else { News::Acknowledged };
            about(&key, &principal, Labels::empty(), BTreeMap::new(), Severity::Warning, news)
        }
        ("acknowledge" | "resolve", None) => return invalid(StatusCode::BAD_REQUEST, &["'dedup_key' is missing or blank".to_owned()]),
        (_, _) => {
            let said = "'event_action' is invalid (must be one of the following: 'trigger', 'acknowledge' or 'resolve')";
            return invalid(StatusCode::BAD_REQUEST, &[said.to_owned()]);
        }
    };
    let key = sent.dedup_key.clone().unwrap_or_default();
    match external::take(&api.shared, &[sent], now).await {
        Ok(_) => {
            let body = json!({"status": "success", "message": "Event processed", "dedup_key": key});
            (StatusCode::ACCEPTED, Json(body)).into_response()
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the state store failed under an event");
            let body = json!({"status": "retry", "message": "the state store does not answer at present; try again"});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}
