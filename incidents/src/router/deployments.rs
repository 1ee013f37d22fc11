//! The HTTP API of deployments under `/api/watchfire/v1/deployments`. In: what a pipeline or a person says. Out: the record as JSON;
//! 201 where it is new, 200 where it was known, 409 where its key names another one.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::access::{Permission, Principal};
use model::time::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{ApiError, Desk};
use crate::deployments::{Recording, Said, Window, check, record, within};

/// The longest body, in bytes.
const LONGEST_BODY: usize = 32 * 1024;

/// Which deployments are listed, newest first.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    service: Option<String>,
    environment: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    limit: Option<usize>,
}

/// `GET`: those of a service, an environment and a time.
pub async fn list(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let window = Window {
        tenant: principal.tenant,
        services: wanted.service.into_iter().collect(),
        environment: wanted.environment,
        from: wanted.since.unwrap_or(Timestamp::EPOCH),
        to: match wanted.until {
            Some(until) => until,
            // Those that lie a little ahead are listed too.
            None => desk.state.now().await?.plus(std::time::Duration::from_secs(3_600)),
        },
        limit: wanted.limit.unwrap_or(100).clamp(1, 1_000),
    };
    Ok(Json(json!({"deployments": within(&*desk.state, &window).await?})).into_response())
}

/// `POST`: records one.
pub async fn post(State(desk): State<Arc<Desk>>, Extension(principal): Extension<Principal>, body: Bytes) -> Result<Response, ApiError> {
    principal.require(Permission::Respond)?;
    if body.len() > LONGEST_BODY {
        return Err(ApiError::bad_request(format!("the body is longer than {LONGEST_BODY} bytes: shorten the description")));
    }
    let said: Said = serde_json::from_slice(&body).map_err(|error| {
        let example = r#"{"service": "checkout", "version": "1.4.2"}"#;
        ApiError::bad_request(format!("the body is not a deployment such as {example}: {error}"))
    })?;
    let now = desk.state.now().await?;
    let deployment = check(said, &principal.tenant, now, principal.actor).map_err(ApiError::bad_request)?;
    match record(&*desk.state, &*desk.writer.ids, deployment).await? {
        Recording::Made(made) => Ok((StatusCode::CREATED, Json(json!({"deployment": made, "created": true}))).into_response()),
        Recording::Known(known) => Ok(Json(json!({"deployment": known, "created": false})).into_response()),
        Recording::Taken(known) => Err(ApiError::taken(format!(
            "the key `{}` names {} {} in {} already: give another deployment another key",
            known.key, known.service, known.version, known.environment
        ))),
    }
}
