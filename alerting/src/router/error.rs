//! Errors of the API: a status, a word for machines and one sentence for people. What the state store says stays in the log.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::access::Forbidden;
use model::state::StateError;
use serde_json::json;

/// An error answer.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl ApiError {
    /// The request is wrong.
    pub fn bad_data(message: impl Into<String>) -> Self {
        ApiError { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }
    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        ApiError { status: StatusCode::NOT_FOUND, kind: "not_found", message: message.into() }
    }
    /// What it needs does not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        ApiError { status: StatusCode::SERVICE_UNAVAILABLE, kind: "unavailable", message: message.into() }
    }
    /// It cannot be done in the present state.
    pub fn conflict(message: impl Into<String>) -> Self {
        ApiError { status: StatusCode::CONFLICT, kind: "conflict", message: message.into() }
    }
}

impl From<Forbidden> for ApiError {
    fn from(error: Forbidden) -> Self {
        ApiError { status: StatusCode::FORBIDDEN, kind: "forbidden", message: error.to_string() }
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> Self {
        if error.is_conflict() {
            return ApiError::conflict("this is being changed by others at this moment; try again");
        }
        tracing::error!(error = &error as &dyn std::error::Error, "the state store failed under an API request");
        let message = "the state store does not answer at present; try again".to_owned();
        ApiError { status: StatusCode::SERVICE_UNAVAILABLE, kind: "unavailable", message }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"status": "error", "errorType": self.kind, "error": self.message}))).into_response()
    }
}
