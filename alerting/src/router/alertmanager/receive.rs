//! `POST /api/v2/alerts`: a batch is one commit, or where it is large it is written down whole and taken apart later. What is wrong with an alert is told, and the others are taken all the same.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, body::Bytes};
use model::access::{Permission, Principal};

use super::Problem;
use crate::external::{self, PostableAlert, Request};
use crate::router::Api;

/// The most alerts of one request.
const MOST: usize = 10_000;
pub(super) async fn receive(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    principal.require(Permission::Ingest)?;
    if principal.tenant != api.shared.tenant {
        return Err(Problem(StatusCode::FORBIDDEN, "alerts are taken for the tenant whose rules this server evaluates".to_owned()));
    }
    let unread = |error: &dyn std::fmt::Display| Problem::bad(format!("parsing alerts body failed: {error}"));
    let body = std::str::from_utf8(&body).map_err(|error| unread(&error))?;
    let alerts: Vec<PostableAlert> = serde_json::from_str(body).map_err(|error| unread(&error))?;
    if alerts.len() > MOST {
        return Err(Problem::bad(format!("at most {MOST} alerts are taken in one request: send them in several")));
    }
    let (at, timeout) = (api.shared.state.now().await?, api.shared.routing().resolve_timeout);
    let (mut batch, mut problems) = (Vec::with_capacity(alerts.len()), Vec::new());
    for alert in alerts {
        match alert.into_sent(&principal.actor, at, timeout) {
            Ok(sent) => batch.push(sent),
            Err(problem) => problems.push(problem),
        }
    }
    let request = Request { body, batch, actor: &principal.actor, at, timeout };
    external::receive(&api.shared, request).await?;
    if problems.is_empty() { Ok(StatusCode::OK) } else { Err(Problem::bad(problems.join("; "))) }
}
