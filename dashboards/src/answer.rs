//! Prometheus's JSON envelopes: `{"status":"success","data":...}` and `{"status":"error","errorType":...,"error":...}`, and its
//! way of writing values.

mod text;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use model::access::Forbidden;
use model::labels::Labels;
use model::query::{Answer, QueryError, QueryValue};
use serde_json::{Map, Value as Json_, json};

/// An error answer.
#[derive(Debug)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// Prometheus's errorType.
    pub kind: &'static str,
    /// One sentence.
    pub message: String,
}

impl ApiError {
    /// A wrong argument: 400 `bad_data`.
    pub fn bad_data(message: impl Into<String>) -> Self {
        ApiError { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }
    /// A wrong parameter, in Prometheus's words.
    pub fn parameter(name: &str, message: impl std::fmt::Display) -> Self {
        ApiError::bad_data(format!("invalid parameter {name:?}: {message}"))
    }
    /// What the evaluator says is wrong is wrong with a parameter.
    pub fn of_parameter(name: &'static str) -> impl Fn(QueryError) -> Self {
        move |error| match error {
            QueryError::BadData(message) => ApiError::parameter(name, message),
            other => other.into(),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let message = error.to_string();
        let (status, kind) = match error {
            QueryError::BadData(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            QueryError::Execution(_) => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            QueryError::Timeout(_) => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            QueryError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        ApiError { status, kind, message }
    }
}

impl From<Forbidden> for ApiError {
    fn from(error: Forbidden) -> Self {
        ApiError { status: StatusCode::FORBIDDEN, kind: "forbidden", message: error.to_string() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"status": "error", "errorType": self.kind, "error": self.message}))).into_response()
    }
}

/// The warning of an answer that holds less than there is; Prometheus's words.
pub const TRUNCATED: &str = "results truncated due to limit";

/// A success envelope around any data.
pub fn success(data: Json_) -> Response {
    envelope(data, &[], &[])
}

/// A success envelope around a list, cut to the limit, with a warning where it was cut.
pub fn limited<T: Into<Json_>>(mut list: Vec<T>, limit: usize) -> Response {
    let cut = list.len() > limit;
    list.truncate(limit);
    let warnings = if cut { vec![TRUNCATED.to_owned()] } else { Vec::new() };
    envelope(Json_::Array(list.into_iter().map(Into::into).collect()), &warnings, &[])
}

fn envelope(data: Json_, warnings: &[String], infos: &[String]) -> Response {
    let mut envelope = Map::new();
    envelope.insert("status".into(), "success".into());
    envelope.insert("data".into(), data);
    for (name, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            envelope.insert(name.into(), json!(texts));
        }
    }
    Json(Json_::Object(envelope)).into_response()
}

/// Answers of more samples are written off the async threads.
const MANY: usize = 10_000;

/// A success envelope around a query's answer: at most `limit` series, with the statistics if they are given.
pub async fn query_answer(mut answer: Answer, limit: Option<usize>, stats: Option<Json_>) -> Response {
    let was_cut = cut(&mut answer, limit.unwrap_or(usize::MAX));
    let mut warnings = first_notes(std::mem::take(&mut answer.warnings), "warning");
    warnings.extend(was_cut.then(|| TRUNCATED.to_owned()));
    let infos = first_notes(std::mem::take(&mut answer.infos), "info");
    let is_large = text::samples(&answer) > MANY;
    let write = move || text::envelope(&answer, stats.as_ref(), &warnings, &infos);
    let written = if is_large { tokio::task::spawn_blocking(write).await } else { Ok(write()) };
    match written {
        Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            let message = format!("the answer could not be written: {error}");
            ApiError { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "internal", message }.into_response()
        }
    }
}

/// As many annotations as Prometheus shows, and how many are left out.
fn first_notes(mut texts: Vec<String>, kind: &str) -> Vec<String> {
    const SHOWN: usize = 10;
    let omitted = texts.len().saturating_sub(SHOWN);
    texts.truncate(SHOWN);
    if omitted > 0 {
        texts.push(format!("{omitted} more {kind} annotations omitted"));
    }
    texts
}

/// Cuts the answer to so many series; says whether there were more.
fn cut(answer: &mut Answer, limit: usize) -> bool {
    let numbers = match &mut answer.value {
        QueryValue::Vector(samples) => {
            let all = samples.len();
            samples.truncate(limit);
            all
        }
        QueryValue::Matrix(series) => {
            let all = series.len();
            series.truncate(limit);
            all
        }
        QueryValue::Scalar(_) | QueryValue::Text(..) => return false,
    };
    let histograms = answer.histograms.len();
    // A series of both kinds is counted twice here: the limit bounds the answer, it does not promise a number.
    answer.histograms.truncate(limit.saturating_sub(numbers));
    numbers > limit || answer.histograms.len() < histograms
}

/// A label set as a JSON object.
pub fn labels_json(labels: &Labels) -> Json_ {
    Json_::Object(labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
}

/// Seconds with three decimals at most, whole where they are whole.
pub fn seconds(millis: i64) -> Json_ {
    if millis % 1000 == 0 { json!(millis / 1000) } else { json!(millis as f64 / 1000.0) }
}
