//! `query`, `query_range`, `query_exemplars`, `format_query`, `parse_query`.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use model::access::{Permission, Principal};
use model::query::{Answer, QueryOptions};
use model::time::Stopwatch;
use serde_json::{Value, json};

use crate::Sources;
use crate::answer::{ApiError, labels_json, query_answer, seconds, success};
use crate::parameters::Parameters;

/// Prometheus refuses range queries of more points a series than this.
const MAX_POINTS: u128 = 11_000;

/// `stats`: what was looked at and how long it took, where it is asked for; with `all`, step by step.
fn statistics(parameters: &Parameters, options: &QueryOptions, answer: &Answer, took: Duration) -> Option<Value> {
    let (wanted, steps) = (parameters.get("stats")?, options.step_samples.as_ref()?.all());
    let (took, total) = (took.as_secs_f64(), steps.iter().map(|(_, samples)| samples).sum::<u64>());
    let mut samples = json!({"totalQueryableSamples": total, "peakSamples": answer.samples_read});
    if let ("all", Some(fields)) = (wanted, samples.as_object_mut()) {
        let steps: Vec<Value> = steps.iter().map(|(at, samples)| json!([seconds(at.millis()), samples])).collect();
        fields.insert("totalQueryableSamplesPerStep".into(), steps.into());
    }
    let timings = json!({"evalTotalTime": took, "resultSortTime": 0, "queryPreparationTime": 0, "innerEvalTime": took, "execQueueTime": 0,
        "execTotalTime": took});
    Some(json!({"timings": timings, "samples": samples}))
}

pub(super) async fn instant(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let limit = parameters.limit()?;
    let at = parameters.time("time")?.unwrap_or_else(|| sources.clock.now());
    let (expr, options) = (parameters.query()?, parameters.options()?);
    let stopwatch = Stopwatch::start();
    let answer = sources.metrics.instant(&principal.tenant, expr, at, &options).await.map_err(ApiError::of_parameter("query"))?;
    let stats = statistics(&parameters, &options, &answer, stopwatch.elapsed());
    Ok(query_answer(answer, limit, stats).await)
}

pub(super) async fn range(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let limit = parameters.limit()?;
    let (start, end) = (parameters.required_time("start")?, parameters.required_time("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = parameters.step()?;
    if end.since(start).as_millis() / step.as_millis() > MAX_POINTS {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let (expr, options) = (parameters.query()?, parameters.options()?);
    let stopwatch = Stopwatch::start();
    let answer = sources.metrics.range(&principal.tenant, expr, start, end, step, &options).await;
    let answer = answer.map_err(ApiError::of_parameter("query"))?;
    let stats = statistics(&parameters, &options, &answer, stopwatch.elapsed());
    Ok(query_answer(answer, limit, stats).await)
}

pub(super) async fn exemplars(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let (start, end) = parameters.span(sources.clock.now())?;
    let expr = parameters.query()?;
    let found = sources.catalog.exemplars(&principal.tenant, expr, start, end).await.map_err(ApiError::of_parameter("query"))?;
    let all: Vec<Value> = found
        .iter()
        .map(|series| {
            let exemplars: Vec<Value> = series
                .exemplars
                .iter()
                .map(|one| {
                    let (at, value) = (seconds(one.sample.at.millis()), model::units::Value(one.sample.value).to_string());
                    json!({"labels": labels_json(&one.labels), "value": value, "timestamp": at})
                })
                .collect();
            json!({"seriesLabels": labels_json(&series.labels), "exemplars": exemplars})
        })
        .collect();
    Ok(success(all.into()))
}

pub(super) async fn format(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let text = sources.catalog.format(parameters.query()?).map_err(ApiError::of_parameter("query"))?;
    Ok(success(text.into()))
}

pub(super) async fn parse(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let tree = sources.catalog.syntax_tree(parameters.query()?).map_err(ApiError::of_parameter("query"))?;
    // As it is: a deep tree is more than a reader of JSON takes by default.
    Ok(([(CONTENT_TYPE, "application/json")], format!("{{\"status\":\"success\",\"data\":{tree}}}")).into_response())
}
