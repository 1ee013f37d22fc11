//! `POST /api/watchfire/v1/sql`: one read-only SELECT over the tenant's telemetry.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use model::access::{Permission, Principal};
use serde::Deserialize;

use crate::Sources;
use crate::answer::ApiError;

#[derive(Deserialize)]
struct Format {
    #[serde(default = "json_format")]
    format: String,
}

fn json_format() -> String {
    "JSON".to_owned()
}

/// The formats that a reader may ask for.
const FORMATS: [&str; 7] = ["JSON", "JSONCompact", "JSONEachRow", "CSVWithNames", "TSVWithNames", "PrettyCompact", "Markdown"];

/// The routes.
pub fn router(sources: Arc<Sources>) -> Router {
    Router::new().route("/api/watchfire/v1/sql", post(sql)).with_state(sources)
}

async fn sql(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    Query(Format { format }): Query<Format>,
    body: Bytes,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let statement = std::str::from_utf8(&body).map_err(|_| ApiError::bad_data("the statement is not UTF-8 text"))?;
    if !FORMATS.contains(&format.as_str()) {
        return Err(ApiError::bad_data(format!("format `{format}` is not served: use one of {}", FORMATS.join(", "))));
    }
    let answer = sources.sql.sql(&principal.tenant, statement, &format, Duration::from_secs(60)).await?;
    Ok(([(CONTENT_TYPE, answer.content_type)], answer.body).into_response())
}
