//! What a rule's question says over a span of time: for plots of rules whose question is not PromQL, which `query_range` cannot ask. The
//! rule is asked at up to 60 moments, as an evaluation asks it, without its thresholds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use model::access::{Permission, Principal};
use model::alert::RuleKey;
use model::labels::Labels;
use model::query::Overlay;
use model::time::{Stopwatch, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, ApiError};
use crate::evaluate::ask::{self, Moment};
use crate::rules::Question;

/// The most moments of one answer.
const MOST: u32 = 60;
/// The shortest time between two moments.
const SHORTEST: Duration = Duration::from_secs(1);
/// How long one answer may take; what was asked by then is told.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most series of one answer.
const SERIES: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    source: String,
    group: String,
    name: String,
    from: Timestamp,
    to: Timestamp,
    points: Option<u32>,
}

/// A label set's values, at the moments of the answer.
struct Series {
    labels: Labels,
    values: BTreeMap<Timestamp, f64>,
}

/// The values of a rule's question over a span.
pub(super) async fn values(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let Wanted { source, group, name, from, to, points } = wanted;
    let shared = &api.shared;
    let rules = shared.rules();
    let key = RuleKey { source, group, name };
    let rule = rules.alert_rule(&key).filter(|_| principal.tenant == shared.tenant);
    let Some(mut rule) = rule.cloned() else {
        return Err(ApiError::not_found(format!("there is no alerting rule {} in group {} of {}", key.name, key.group, key.source)));
    };
    if matches!(rule.question, Question::Regressed(_)) {
        return Err(ApiError::conflict("which issues came back is known for the present only: look at the list of errors"));
    }
    // What is to come is not known yet.
    let to = to.min(shared.clock.now());
    if from >= to {
        return Err(ApiError::bad_data("`from` must be before `to`, and in the past"));
    }
    // What was expected then is not kept: the series of expectations stand in the store (`watchfire_anomaly_expected`).
    let word = rule.question.word();
    if matches!(rule.question, Question::Anomaly(_)) {
        rule.question = Question::PromQl;
    }
    let points = points.unwrap_or(MOST).clamp(2, MOST);
    let step = (to.since(from) / (points - 1)).max(SHORTEST);
    // One at a time: each may ask as much of the store as sixty evaluations.
    let Ok(_turn) = api.values.try_acquire() else {
        return Err(ApiError::conflict("the values of another rule are being asked for; try again"));
    };
    // Only which label set it is matters here, not what its notices say.
    rule.annotations.clear();
    let (watch, mut series, mut last, mut failures) = (Stopwatch::start(), BTreeMap::<u64, Series>::new(), None, 0u32);
    let (mut asked, mut at) = (0u32, to);
    // From the newest on: where time runs out, it is the oldest that is missing.
    while at >= from && asked < points && watch.elapsed() < PATIENCE {
        asked += 1;
        let moment = Moment { at, now: at, overlay: &Overlay::default(), together: None, limit: shared.config.max_alerts_per_rule };
        let left = PATIENCE.saturating_sub(watch.elapsed());
        let Ok(found) = tokio::time::timeout(left, ask::values(shared, &rule, moment)).await else {
            (last, failures) = (Some("the store takes too long".to_owned()), failures + 1);
            break;
        };
        match found {
            Ok(found) => {
                for (fingerprint, (labels, value)) in found {
                    if series.len() < SERIES || series.contains_key(&fingerprint) {
                        let one = series.entry(fingerprint).or_insert_with(|| Series { labels, values: BTreeMap::new() });
                        one.values.insert(at, value);
                    }
                }
            }
            Err(error) => (last, failures) = (Some(error), failures + 1),
        }
        at = at.minus(step);
    }
    if failures == asked {
        return Err(ApiError::unavailable(last.unwrap_or_else(|| "nothing could be asked".to_owned())));
    }
    let shown: Vec<Value> = series
        .into_iter()
        .map(|(fingerprint, one)| {
            let values: Vec<Value> = one.values.iter().map(|(at, value)| json!([at.millis() as f64 / 1e3, value.to_string()])).collect();
            json!({"fingerprint": format!("{fingerprint:016x}"), "labels": one.labels, "values": values})
        })
        .collect();
    let complete = at < from || asked >= points;
    Ok(Json(
        json!({"question": word, "step": step.as_secs_f64(), "complete": complete, "failures": failures, "error": last, "series": shown}),
    ))
}
