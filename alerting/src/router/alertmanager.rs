//! Alertmanager's API v2, field by field as 0.25 documents it: status, receivers, alerts, groups, silences. In: requests of Prometheus and
//! amtool with a `Principal` in their extensions. Out: what Alertmanager would answer, about Watchfire's alerts and silences. Errors are
//! JSON texts, as there.

mod alerts;
mod config;
mod groups;
mod receive;
mod silences;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::SecondsFormat;
use model::access::Forbidden;
use model::alert::Alert;
use model::labels::{Labels, Matcher};
use model::state::StateError;
use model::tenant::TenantId;
use model::time::Timestamp;
use regex::Regex;
use serde::Serialize;

use super::Api;
use crate::evaluate::everything;
use crate::external::{self, Hush, Refusal, Surroundings};
use crate::machine::Instance;
use crate::matchers;

/// The routes.
pub(super) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/api/v2/status", get(status::status))
        .route("/api/v2/receivers", get(status::receivers))
        .route("/api/v2/alerts", get(alerts::list).post(receive::receive))
        .route("/api/v2/alerts/groups", get(groups::list))
        .route("/api/v2/silences", get(silences::list).post(silences::make))
        .route("/api/v2/silence/{id}", get(silences::one).delete(silences::expire))
}

/// An error: a status and a text, which is the body as JSON.
#[derive(Debug)]
pub(super) struct Problem(StatusCode, String);

impl Problem {
    fn bad(text: impl Into<String>) -> Self {
        Problem(StatusCode::BAD_REQUEST, text.into())
    }
}

impl From<Forbidden> for Problem {
    fn from(error: Forbidden) -> Self {
        Problem(StatusCode::FORBIDDEN, error.to_string())
    }
}

impl From<StateError> for Problem {
    fn from(error: StateError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the state store failed under a request to Alertmanager's API");
        Problem(StatusCode::SERVICE_UNAVAILABLE, "the state store does not answer at present; try again".to_owned())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::State(error) => error.into(),
            Refusal::Full => Problem(StatusCode::SERVICE_UNAVAILABLE, refusal.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.0, Json(self.1)).into_response();
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A moment as Alertmanager writes it: milliseconds, UTC.
fn moment(at: Timestamp) -> String {
    at.to_chrono().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A yes or no in any of the words that Alertmanager's API takes for one.
fn flag(word: &str) -> Option<bool> {
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "true" | "1" | "yes" | "ok" | "y" | "on" | "selected" | "checked" | "t" | "enabled" => Some(true),
        "false" | "0" | "no" | "n" | "off" | "f" | "disabled" => Some(false),
        _ => None,
    }
}

/// What a list of alerts is filtered by.
#[derive(Debug)]
struct Filter {
    active: bool,
    silenced: bool,
    inhibited: bool,
    unprocessed: bool,
    matchers: Vec<Matcher>,
    receiver: Option<Regex>,
}

impl Filter {
    /// From a query; names may be repeated.
    fn read(query: &[(String, String)]) -> Result<Self, Problem> {
        let mut filter = Filter { active: true, silenced: true, inhibited: true, unprocessed: true, matchers: Vec::new(), receiver: None };
        // A parameter without a value is as good as none, as there.
        for (name, value) in query.iter().filter(|(name, value)| name == "filter" || !value.is_empty()) {
            let flag = || flag(value).ok_or_else(|| Problem::bad(format!("{name} in query must be of type boolean: {value:?}")));
            match name.as_str() {
                "active" => filter.active = flag()?,
                "silenced" => filter.silenced = flag()?,
                "inhibited" => filter.inhibited = flag()?,
                "unprocessed" => filter.unprocessed = flag()?,
                "filter" => filter.matchers.extend(matchers::read(value).map_err(|error| Problem::bad(error.to_string()))?),
                "receiver" => {
                    let pattern = Regex::new(&format!("^(?:{value})$"));
                    filter.receiver = Some(pattern.map_err(|_| Problem::bad(format!("failed to parse receiver param: {value}")))?);
                }
                _ => {}
            }
        }
        Ok(filter)
    }

    fn lets(&self, shown: &Shown) -> bool {
        let suppressed = !shown.alert.status.silenced_by.is_empty() || !shown.alert.status.inhibited_by.is_empty();
        (self.active || suppressed)
            && (self.silenced || shown.alert.status.silenced_by.is_empty())
            && (self.inhibited || shown.alert.status.inhibited_by.is_empty())
            && self.matchers.iter().all(|matcher| matcher.matches(&shown.labels))
    }

    fn lets_receiver(&self, name: &str) -> bool {
        self.receiver.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }
}

/// `gettableAlert`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GettableAlert {
    annotations: BTreeMap<String, String>,
    ends_at: String,
    fingerprint: String,
    receivers: Vec<Name>,
    starts_at: String,
    status: Status,
    updated_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    generator_url: String,
    labels: Labels,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Name {
    name: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    inhibited_by: Vec<String>,
    silenced_by: Vec<String>,
    state: &'static str,
}

/// An alert as it is answered, and what it is filtered by.
#[derive(Clone, Debug)]
struct Shown {
    alert: GettableAlert,
    labels: Labels,
    record: Alert,
}

/// Every alert that fires, as Alertmanager would show it.
async fn firing(api: &Api, tenant: &TenantId, now: Timestamp) -> Result<Vec<Shown>, Problem> {
    let state = &*api.shared.state;
    external::settled(&api.shared).await?;
    let found: Vec<Instance> = everything::<Instance>(state, tenant, &["firing"]).await?.into_iter().map(|found| found.entity).collect();
    let alerts: Vec<Alert> = found.iter().map(|instance| instance.alert.clone()).collect();
    let surroundings = Surroundings::read(&api.shared, state, Some(&alerts)).await?;
    let hush = Hush::of(&surroundings);
    let mut shown: Vec<Shown> = found.into_iter().map(|instance| show(api, instance, &hush, now)).collect();
    shown.sort_by(|a, b| a.alert.fingerprint.cmp(&b.alert.fingerprint));
    Ok(shown)
}

fn show(api: &Api, instance: Instance, hush: &Hush<'_>, now: Timestamp) -> Shown {
    let Instance { alert, memory } = instance;
    let mut silenced_by: Vec<String> = hush.silences(&alert.labels, now).into_iter().map(|silence| silence.id.uuid().to_string()).collect();
    silenced_by.sort();
    let window = api.shared.routing().maintained(&alert.labels, now).is_some();
    let inhibited_by: Vec<String> =
        hush.inhibited(alert.fingerprint, &alert.labels).map(Labels::alertmanager_fingerprint).into_iter().collect();
    let suppressed = window || !silenced_by.is_empty() || !inhibited_by.is_empty();
    let started = alert.state.fired_at().unwrap_or(now);
    let foreign = memory.foreign;
    let ends_at = foreign.as_ref().map_or_else(|| now.plus(api.shared.routing().resolve_timeout.0), |foreign| foreign.ends_at);
    let gettable = GettableAlert {
        annotations: alert.annotations.clone(),
        ends_at: moment(ends_at),
        fingerprint: alert.labels.alertmanager_fingerprint(),
        receivers: receivers(api, &alert),
        starts_at: moment(started),
        status: Status { inhibited_by, silenced_by, state: if suppressed { "suppressed" } else { "active" } },
        updated_at: moment(foreign.as_ref().map_or(started, |foreign| foreign.updated_at)),
        generator_url: alert.generator_url.clone(),
        labels: alert.labels.clone(),
    };
    Shown { alert: gettable, labels: alert.labels.clone(), record: alert }
}

/// The names of the routes that take an alert; of one whose rule names a ladder, the ladder.
fn receivers(api: &Api, alert: &Alert) -> Vec<Name> {
    let routing = api.shared.routing();
    let mut names: Vec<Name> = routing.routes(alert).into_iter().map(|route| Name { name: route.name.clone() }).collect();
    if names.is_empty() {
        names.push(Name { name: alert.escalation.clone().unwrap_or_else(|| config::DEFAULT.to_owned()) });
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.name.clone()));
    names
}

#[cfg(test)]
mod tests;
