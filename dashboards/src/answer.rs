//! Prometheus's JSON envelopes: `{"status":"success","data":...}` and `{"status":"error","errorType":...,"error":...}`, and its
//! way of writing values.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::access::Forbidden;
use model::labels::Labels;
use model::query::{Answer, HistogramSeries, HistogramValue, QueryError, QueryValue, SeriesSample};
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

/// A success envelope around a query's answer: at most `limit` series, with the statistics if they are given.
pub fn query_answer(mut answer: Answer, limit: Option<usize>, stats: Option<Json_>) -> Response {
    let was_cut = cut(&mut answer, limit.unwrap_or(usize::MAX));
    let mut data = value_json(&answer.value, &answer.histograms);
    if let (Some(stats), Some(fields)) = (stats, data.as_object_mut()) {
        fields.insert("stats".into(), stats);
    }
    let mut warnings = first_notes(answer.warnings, "warning");
    warnings.extend(was_cut.then(|| TRUNCATED.to_owned()));
    envelope(data, &warnings, &first_notes(answer.infos, "info"))
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

/// `{"resultType":...,"result":...}`
pub fn value_json(value: &QueryValue, histograms: &[HistogramSeries]) -> Json_ {
    match value {
        QueryValue::Scalar(sample) => json!({"resultType": "scalar", "result": sample_json(sample)}),
        QueryValue::Text(at, text) => json!({"resultType": "string", "result": [seconds(at.millis()), text]}),
        QueryValue::Vector(samples) => {
            let numbers = samples.iter().map(|(labels, sample)| json!({"metric": labels_json(labels), "value": sample_json(sample)}));
            let histograms = histograms.iter().filter_map(|series| {
                let (at, histogram) = series.samples.first()?;
                Some(json!({"metric": labels_json(&series.labels), "histogram": [seconds(at.millis()), histogram_json(histogram)]}))
            });
            json!({"resultType": "vector", "result": numbers.chain(histograms).collect::<Vec<_>>()})
        }
        QueryValue::Matrix(series) => {
            let mut all: BTreeMap<&Labels, Map<String, Json_>> = BTreeMap::new();
            for one in series {
                let values = one.samples.iter().map(sample_json).collect::<Vec<_>>();
                entry(&mut all, &one.labels).insert("values".into(), values.into());
            }
            for one in histograms {
                let values = one.samples.iter().map(|(at, value)| json!([seconds(at.millis()), histogram_json(value)])).collect::<Vec<_>>();
                entry(&mut all, &one.labels).insert("histograms".into(), values.into());
            }
            json!({"resultType": "matrix", "result": all.into_values().map(Json_::Object).collect::<Vec<_>>()})
        }
    }
}

fn entry<'m, 'l>(all: &'m mut BTreeMap<&'l Labels, Map<String, Json_>>, labels: &'l Labels) -> &'m mut Map<String, Json_> {
    all.entry(labels).or_insert_with(|| Map::from_iter([("metric".to_owned(), labels_json(labels))]))
}

/// A native histogram as Prometheus prints it: numbers as texts, a bucket as `[edges, lower, upper, count]`.
fn histogram_json(histogram: &HistogramValue) -> Json_ {
    let text = |number: f64| Value(number).to_string();
    let mut fields = json!({"count": text(histogram.count), "sum": text(histogram.sum)});
    if let (false, Some(object)) = (histogram.buckets.is_empty(), fields.as_object_mut()) {
        let bucket = |b: &model::query::HistogramBucket| json!([b.edges as u8, text(b.lower), text(b.upper), text(b.count)]);
        object.insert("buckets".into(), histogram.buckets.iter().map(bucket).collect());
    }
    fields
}

/// A label set as a JSON object.
pub fn labels_json(labels: &Labels) -> Json_ {
    Json_::Object(labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
}

fn sample_json(sample: &SeriesSample) -> Json_ {
    json!([seconds(sample.at.millis()), Value(sample.value).to_string()])
}

/// Seconds with three decimals at most, whole where they are whole.
pub fn seconds(millis: i64) -> Json_ {
    if millis % 1000 == 0 { json!(millis / 1000) } else { json!(millis as f64 / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use model::query::{BucketEdges, HistogramBucket, Series};
    use model::time::Timestamp;

    #[test]
    fn values_are_strings_and_times_are_seconds() {
        let labels: Labels = [("job", "a")].into_iter().collect();
        let value = QueryValue::Vector(vec![(labels, SeriesSample { at: Timestamp::from_millis(1_500), value: f64::NAN })]);
        assert_eq!(value_json(&value, &[]), json!({"resultType": "vector", "result": [{"metric": {"job": "a"}, "value": [1.5, "NaN"]}]}));
        let scalar = QueryValue::Scalar(SeriesSample { at: Timestamp::from_secs(2), value: 0.5 });
        assert_eq!(value_json(&scalar, &[]), json!({"resultType": "scalar", "result": [2, "0.5"]}));
    }

    #[test]
    fn numbers_and_histograms_of_one_series_stand_in_one_object() {
        let labels: Labels = [("job", "a")].into_iter().collect();
        let bucket = |edges, lower, upper, count| HistogramBucket { edges, lower, upper, count };
        let value = Arc::new(HistogramValue {
            count: 3.0,
            sum: 1.5,
            buckets: vec![bucket(BucketEdges::OpenRight, -2.0, -1.0, 1.0), bucket(BucketEdges::ClosedBoth, -0.001, 0.001, 2.0)],
        });
        let histograms = [HistogramSeries { labels: labels.clone(), samples: vec![(Timestamp::from_secs(2), value)] }];
        let numbers = QueryValue::Matrix(vec![Series { labels, samples: vec![SeriesSample { at: Timestamp::from_secs(1), value: 4.0 }] }]);
        let shown = json!({"count": "3", "sum": "1.5", "buckets": [[1, "-2", "-1", "1"], [3, "-0.001", "0.001", "2"]]});
        assert_eq!(
            value_json(&numbers, &histograms)["result"],
            json!([{"metric": {"job": "a"}, "values": [[1, "4"]], "histograms": [[2, shown]]}])
        );
        assert_eq!(
            value_json(&QueryValue::Vector(Vec::new()), &histograms)["result"],
            json!([{"metric": {"job": "a"}, "histogram": [2, shown]}])
        );
    }
}
