//! Prometheus's JSON envelopes: `{"status":"success","data":...}` and `{"status":"error","errorType":...,"error":...}`, and its
//! way of writing values.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::access::Forbidden;
use model::labels::Labels;
use model::query::{Answer, QueryError, QueryValue, SeriesSample};
use model::units::Value;
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

/// A success envelope around any data.
pub fn success(data: Json_) -> Response {
    Json(json!({"status": "success", "data": data})).into_response()
}

/// A success envelope around a query's answer.
pub fn query_answer(answer: &Answer) -> Response {
    let mut envelope = Map::new();
    envelope.insert("status".into(), "success".into());
    envelope.insert("data".into(), value_json(&answer.value));
    for (name, texts) in [("warnings", &answer.warnings), ("infos", &answer.infos)] {
        if !texts.is_empty() {
            envelope.insert(name.into(), json!(texts));
        }
    }
    Json(Json_::Object(envelope)).into_response()
}

/// `{"resultType":...,"result":...}`
pub fn value_json(value: &QueryValue) -> Json_ {
    match value {
        QueryValue::Scalar(sample) => json!({"resultType": "scalar", "result": sample_json(sample)}),
        QueryValue::Text(at, text) => json!({"resultType": "string", "result": [seconds(at.millis()), text]}),
        QueryValue::Vector(samples) => {
            let result: Vec<Json_> =
                samples.iter().map(|(labels, sample)| json!({"metric": labels_json(labels), "value": sample_json(sample)})).collect();
            json!({"resultType": "vector", "result": result})
        }
        QueryValue::Matrix(series) => {
            let result: Vec<Json_> = series
                .iter()
                .map(|one| json!({"metric": labels_json(&one.labels), "values": one.samples.iter().map(sample_json).collect::<Vec<_>>()}))
                .collect();
            json!({"resultType": "matrix", "result": result})
        }
    }
}

/// A label set as a JSON object.
pub fn labels_json(labels: &Labels) -> Json_ {
    Json_::Object(labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
}

fn sample_json(sample: &SeriesSample) -> Json_ {
    json!([seconds(sample.at.millis()), Value(sample.value).to_string()])
}

/// Seconds with three decimals at most, whole where they are whole.
fn seconds(millis: i64) -> Json_ {
    if millis % 1000 == 0 { json!(millis / 1000) } else { json!(millis as f64 / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::time::Timestamp;

    #[test]
    fn values_are_strings_and_times_are_seconds() {
        let labels: Labels = [("job", "a")].into_iter().collect();
        let value = QueryValue::Vector(vec![(labels, SeriesSample { at: Timestamp::from_millis(1_500), value: f64::NAN })]);
        assert_eq!(value_json(&value), json!({"resultType": "vector", "result": [{"metric": {"job": "a"}, "value": [1.5, "NaN"]}]}));
        let scalar = QueryValue::Scalar(SeriesSample { at: Timestamp::from_secs(2), value: 0.5 });
        assert_eq!(value_json(&scalar), json!({"resultType": "scalar", "result": [2, "0.5"]}));
    }
}
