//! `PUT /api/watchfire/v1/incidents/<incident>/postmortem`: people finish the document. In: the whole Markdown and the version that it was made
//! from. Out: the record as it is now; the timeline says who wrote. Fails with 409 where somebody else wrote meanwhile, so that nothing is lost.

use std::path::Path as FilePath;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::access::{Permission, Principal};
use model::event::EventKind;
use model::state::{Commit, Expect, Versioned, by_key};
use serde::Deserialize;
use serde_json::json;

use super::{ApiError, Desk, find};
use crate::postmortem::{Postmortem, files};
use crate::writer::Change;

/// The longest document, in bytes.
const LONGEST: usize = 256 * 1024;

/// A document as somebody wants it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The whole document.
    markdown: String,
    /// The version that was read.
    version: u64,
}

/// Replaces the document.
pub async fn edit(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Path(reference): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    principal.require(Permission::Respond)?;
    let edit: Edit = serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad_request(format!("the body is not JSON such as {{\"markdown\": \"# ...\", \"version\": 1}}: {error}"))
    })?;
    if edit.markdown.trim().is_empty() || edit.markdown.len() > LONGEST {
        return Err(ApiError::bad_request(format!("`markdown` must have between 1 and {LONGEST} bytes")));
    }
    let incident = find(&desk, &principal.tenant, &reference).await?.entity;
    let found: Option<Versioned<Postmortem>> = by_key(&*desk.state, &principal.tenant, &incident.id.to_string()).await?;
    let Some(Versioned { entity: before, version }) = found else {
        return Err(ApiError::not_found(format!(
            "incident {} has no postmortem yet: it is drafted when the incident resolves",
            incident.number
        )));
    };
    let meanwhile =
        || ApiError::taken(format!("somebody changed this postmortem since version {}: read it again and put both together", edit.version));
    if version != edit.version {
        return Err(meanwhile());
    }
    let now = desk.state.now().await?;
    let postmortem = Postmortem { markdown: edit.markdown, ..before };
    let change = Change { incident: &incident, expect: Expect::Any, actor: &principal.actor, alert: None, now };
    let mut commit = Commit::at(now);
    commit.put(&postmortem, Expect::Version(version))?;
    commit.event(desk.writer.event(&change, EventKind::IncidentNoted { text: "edited the postmortem".to_owned() }));
    match desk.state.commit(commit).await {
        Ok(_) => {}
        Err(error) if error.is_conflict() => return Err(meanwhile()),
        Err(error) => return Err(error.into()),
    }
    if let Some(path) = &postmortem.path
        && let Err(error) = files::whole(FilePath::new(path), &postmortem.markdown).await
    {
        tracing::warn!(incident = incident.number, %error, "the postmortem is kept, but its file could not be written");
    }
    Ok((StatusCode::OK, Json(json!({"postmortem": postmortem, "version": version + 1, "message": "The postmortem is saved"})))
        .into_response())
}
