//! The OpenAPI document of the HTTP API, at `/api/openapi.json`: every route under `/api/watchfire/v1`, and those of the Prometheus API that the
//! console asks. The shapes are written down here once, for readers of other packages' answers too; the contract tests hold the running server and the
//! console's types (which are generated from this document) against them.

#![allow(dead_code)] // the types and functions below are read by the macros, not called

mod alerting;
mod basics;
mod boards;
mod deliveries;
mod editing;
mod errors;
mod incidents;
mod on_call;
mod prometheus;
mod remediation;
mod system;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Watchfire",
        license(name = "Apache-2.0"),
        description = "Times are RFC 3339 in UTC, or of the form that a field names. A sample's value is a text, so that NaN and infinities can be told. \
                       Errors are one sentence. Where keys exist every request needs one; what it may do is said at each operation."
    ),
    modifiers(&Keys),
    security(("key" = []), ("bearer" = [])),
    tags(
        (name = "incidents", description = "Outages, their timelines, postmortems, deployments."),
        (name = "alerts", description = "Alerts, rules, silences, ladders, deliveries."),
        (name = "remediation", description = "Repairs: what was tried and whether it helped."),
        (name = "errors", description = "Error events grouped into issues."),
        (name = "telemetry", description = "PromQL and SQL over what was stored."),
        (name = "system", description = "How Watchfire is, and what happens in it."),
    ),
    paths(
        incidents::list, incidents::show, incidents::timeline, incidents::postmortem, incidents::edit_postmortem, incidents::review,
        incidents::command, incidents::deployments, incidents::record_deployment,
        alerting::alerts, alerting::alert, alerting::unacknowledge, alerting::snooze, alerting::maintenance, alerting::create_maintenance, alerting::end_maintenance,
        alerting::acknowledge, alerting::silences, alerting::create_silence, alerting::end_silence,
        alerting::ladders, on_call::show, on_call::create, on_call::end, deliveries::deliveries, deliveries::delivery, deliveries::replay, alerting::values, incidents::alert_timeline, alerting::rules, alerting::open_alerts,
        remediation::list, remediation::plans, remediation::start, remediation::show, remediation::approve, remediation::stop,
        errors::list, errors::records, errors::show, errors::command,
        prometheus::query, prometheus::query_range, prometheus::series, prometheus::labels, prometheus::label_values, prometheus::metadata,
        prometheus::targets, prometheus::sql,
        boards::list, boards::show,
        editing::files, editing::write, editing::check, editing::test, editing::replay,
        system::system, system::keys, system::tail,
        system::checks, system::heartbeat, system::status, system::events, system::document,
    )
)]
struct Document;

/// How a request says who it is from.
struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Api-Key"))));
        components.add_security_scheme("bearer", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()));
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let refused =
            ResponseBuilder::new().description("No key, or one that is unknown or revoked").content("application/json", body).build();
        for path in document.paths.paths.values_mut() {
            for operation in [&mut path.get, &mut path.put, &mut path.post, &mut path.delete].into_iter().flatten() {
                operation.responses.responses.insert("401".to_owned(), refused.clone().into());
            }
        }
    }
}

/// The document as JSON.
pub fn document() -> Result<String, serde_json::Error> {
    Document::openapi().to_pretty_json()
}

/// `GET /api/openapi.json`
pub fn router() -> Router {
    Router::new().route("/api/openapi.json", get(serve))
}

async fn serve() -> impl IntoResponse {
    // It is made of literals: a document that cannot be written would fail the test below.
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")], document().unwrap_or_default())
}

#[cfg(test)]
mod tests;
