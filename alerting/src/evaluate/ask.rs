//! One rule's question: the query, the thresholds, the templates. In: a rule and a moment. Out: the label sets that are active, or
//! why nothing is known. Asks `MetricQuery`; the decisions in it are pure.

use std::collections::BTreeMap;
use std::time::Duration;

use model::labels::{Labels, METRIC_NAME};
use model::query::{Answer, Overlay, QueryError, QueryOptions, QueryValue, SeriesSample};
use model::severity::Severity;
use model::time::Timestamp;
use model::units::Value;

use crate::machine::{Active, Outcome, fingerprint};
use crate::rules::{AlertRule, RecordRule};
use crate::shared::Shared;
use crate::template::{Answers, Expansion, QuerySample, Template, TemplateData, error_text};

/// A question's moment and surroundings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    /// The moment that is asked about.
    pub at: Timestamp,
    /// Series of this cycle that are not stored yet.
    pub overlay: &'a Overlay,
    /// The most label sets; 0: no limit.
    pub limit: usize,
}

/// What came back.
pub(crate) struct Asked<T> {
    /// The result, or one sentence.
    pub outcome: Result<T, String>,
    /// Whether any selector matched a series.
    pub matched: bool,
}

/// The vector of an answer, as Prometheus's rules take it: a scalar is one sample without labels.
fn vector(answer: Answer) -> Result<Vec<(Labels, SeriesSample)>, String> {
    match answer.value {
        QueryValue::Vector(samples) => Ok(samples),
        QueryValue::Scalar(sample) => Ok(vec![(Labels::empty(), sample)]),
        QueryValue::Text(..) | QueryValue::Matrix(_) => Err("rule result is not a vector or scalar".to_owned()),
    }
}

async fn instant(shared: &Shared, expr: &str, moment: Moment<'_>) -> Result<Answer, QueryError> {
    let timeout = shared.config.query_timeout.0;
    let options = QueryOptions { timeout, overlay: moment.overlay.clone(), ..QueryOptions::default() };
    // The store keeps its own time limit; this one holds even where it does not.
    let grace = timeout.saturating_add(Duration::from_secs(5));
    match tokio::time::timeout(grace, shared.metrics.instant(&shared.tenant, expr, moment.at, &options)).await {
        Ok(answer) => answer,
        Err(_) => Err(QueryError::Timeout(timeout)),
    }
}

/// Evaluates an alerting rule.
pub(crate) async fn alert(shared: &Shared, rule: &AlertRule, moment: Moment<'_>) -> Asked<BTreeMap<u64, Active>> {
    let answer = match instant(shared, &rule.expr, moment).await {
        Ok(answer) => answer,
        Err(error) => return Asked { outcome: Err(error.to_string()), matched: false },
    };
    let matched = answer.matched_any_series;
    let outcome = async {
        let mut cache = Answers::new();
        let mut active = BTreeMap::new();
        for (labels, sample) in vector(answer)? {
            let Some(level) = level(rule, sample.value) else { continue };
            let one = element(shared, rule, moment, labels, sample.value, level, &mut cache).await;
            let identity = fingerprint(&rule.key, &one.labels);
            if active.insert(identity, one).is_some() {
                return Err("vector contains metrics with the same labelset after applying alert labels".to_owned());
            }
        }
        if moment.limit > 0 && active.len() > moment.limit {
            return Err(format!("exceeded limit of {} with {} alerts", moment.limit, active.len()));
        }
        Ok(active)
    };
    Asked { outcome: outcome.await, matched }
}

impl Asked<BTreeMap<u64, Active>> {
    /// As the machine takes it.
    pub(crate) fn into_outcome(self) -> Outcome {
        match self.outcome {
            Ok(samples) => Outcome::Samples(samples),
            Err(error) => Outcome::Failed(error),
        }
    }
}

/// With thresholds: the severity, or `None` where no threshold holds. Without: any value is active.
fn level(rule: &AlertRule, value: f64) -> Option<Option<Severity>> {
    match &rule.thresholds {
        Some(thresholds) => thresholds.severity(value).map(Some),
        None => Some(None),
    }
}

async fn element(
    shared: &Shared,
    rule: &AlertRule,
    moment: Moment<'_>,
    labels: Labels,
    value: f64,
    level: Option<Severity>,
    cache: &mut Answers,
) -> Active {
    let data = TemplateData {
        labels: labels.clone(),
        value,
        external_labels: shared.config.external_labels.clone().into(),
        external_url: shared.config.external_url.clone().unwrap_or_default(),
    };
    let mut identity = labels.without(METRIC_NAME);
    for (name, template) in &rule.labels {
        identity.set(name, &expand(shared, template, &data, moment, cache).await);
    }
    identity.set("alertname", &rule.name);
    let mut annotations = BTreeMap::new();
    for (name, template) in &rule.annotations {
        annotations.insert(name.clone(), expand(shared, template, &data, moment, cache).await);
    }
    let severity = match level {
        Some(level) => {
            identity.set("severity", "");
            level
        }
        None => identity.get("severity").and_then(|word| word.parse().ok()).unwrap_or(Severity::Warning),
    };
    Active { labels: identity, annotations, value: Value(value), severity }
}

/// Expands a template, asking each query that it names once per evaluation of its rule.
async fn expand(shared: &Shared, template: &Template, data: &TemplateData, moment: Moment<'_>, cache: &mut Answers) -> String {
    let mut answers = Answers::new();
    loop {
        match template.expand(data, &answers) {
            Expansion::Text(text) => return text,
            Expansion::Failed(reason) => return error_text(&reason),
            Expansion::NeedsQuery(expr) => {
                if !cache.contains_key(&expr) {
                    cache.insert(expr.clone(), query(shared, &expr, moment).await);
                }
                let answer = cache.get(&expr).cloned().unwrap_or_else(|| Ok(Vec::new()));
                answers.insert(expr, answer);
            }
        }
    }
}

async fn query(shared: &Shared, expr: &str, moment: Moment<'_>) -> Result<Vec<QuerySample>, String> {
    let answer = instant(shared, expr, moment).await.map_err(|error| error.to_string())?;
    Ok(vector(answer)?.into_iter().map(|(labels, sample)| (labels, sample.value)).collect())
}

/// Evaluates a recording rule.
pub(crate) async fn record(shared: &Shared, rule: &RecordRule, moment: Moment<'_>) -> Asked<BTreeMap<Labels, f64>> {
    let answer = match instant(shared, &rule.expr, moment).await {
        Ok(answer) => answer,
        Err(error) => return Asked { outcome: Err(error.to_string()), matched: false },
    };
    let matched = answer.matched_any_series;
    let outcome = vector(answer).and_then(|samples| recorded(rule, samples, moment.limit));
    Asked { outcome, matched }
}

fn recorded(rule: &RecordRule, samples: Vec<(Labels, SeriesSample)>, limit: usize) -> Result<BTreeMap<Labels, f64>, String> {
    let mut series = BTreeMap::new();
    for (mut labels, sample) in samples {
        labels.set(METRIC_NAME, &rule.metric);
        for (name, value) in &rule.labels {
            labels.set(name, value);
        }
        if series.insert(labels, sample.value).is_some() {
            return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
        }
    }
    if limit > 0 && series.len() > limit {
        return Err(format!("exceeded limit of {limit} with {} series", series.len()));
    }
    Ok(series)
}
