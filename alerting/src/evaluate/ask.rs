//! One rule's question: the query, the thresholds, the templates. In: a rule and a moment. Out: the label sets that are active, or
//! why nothing is known. Asks PromQL (beside a forecast, where the rule has one), SQL or the list of error issues, as the rule says; the decisions in it are pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::issue::{FingerprintOwner, Issue, IssueState};
use model::labels::{Labels, METRIC_NAME};
use model::query::{Answer, Overlay, QueryError, QueryOptions, QueryValue, RowQuestion, SeriesSample, Together};
use model::severity::Severity;
use model::state::{all, load};
use model::time::Timestamp;
use model::units::Value;

use super::rows::{self, Element};
use super::unusual::{self, Foreseen};
use crate::machine::{Active, Outcome, fingerprint};
use crate::rules::{AlertRule, Anomaly, IGNORED, Question, RecordRule, Regressed, SqlQuestion, Thresholds};
use crate::shared::Shared;
use crate::template::{Answers, Expansion, QuerySample, Template, TemplateData, error_text};

/// The most issues that are looked at for one question.
const MOST_ISSUES: usize = 10_000;
/// So many alerts of one evaluation say which issue they are about.
const NAMED_ISSUES: usize = 50;

/// A question's moment and surroundings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    /// The moment that is asked about.
    pub at: Timestamp,
    /// The moment of the evaluation, which is later where there is a query offset.
    pub now: Timestamp,
    /// Series of this cycle that are not stored yet.
    pub overlay: &'a Overlay,
    /// What else is asked about it.
    pub together: Option<&'a Arc<Together>>,
    /// The most label sets; 0: no limit.
    pub limit: usize,
}

/// What came back.
pub(crate) struct Asked<T> {
    /// The result, or one sentence.
    pub outcome: Result<T, String>,
    /// Whether any selector matched a series.
    pub matched: bool,
    /// Why that is no data although there are series: their history is too short to foresee them.
    pub reason: Option<String>,
    /// What was expected of each series.
    pub foreseen: Vec<Foreseen>,
}

impl<T> Asked<T> {
    fn new(outcome: Result<T, String>, matched: bool) -> Self {
        Asked { outcome, matched, reason: None, foreseen: Vec::new() }
    }
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
    let (overlay, together) = (moment.overlay.clone(), moment.together.map(Arc::clone));
    let options = QueryOptions { timeout, overlay, together, ..QueryOptions::default() };
    // The store keeps its own time limit; this one holds even where it does not.
    let grace = timeout.saturating_add(Duration::from_secs(5));
    match tokio::time::timeout(grace, shared.metrics.instant(&shared.tenant, expr, moment.at, &options)).await {
        Ok(answer) => answer,
        Err(_) => Err(QueryError::Timeout(timeout)),
    }
}

/// Asks a question, whatever it goes to.
async fn ask(shared: &Shared, question: &Question, expr: &str, moment: Moment<'_>, scored: bool) -> Asked<Vec<Element>> {
    let failed = |error: String| Asked::new(Err(error), false);
    match question {
        Question::PromQl => match instant(shared, expr, moment).await {
            Ok(answer) => {
                // `vector(1)` selects nothing and is no less there.
                let matched = answer.matched_any_series || matches!(&answer.value, QueryValue::Vector(samples) if !samples.is_empty());
                let element = |(labels, sample): (Labels, SeriesSample)| Element { labels, value: sample.value, ..Element::default() };
                Asked::new(vector(answer).map(|samples| samples.into_iter().map(element).collect()), matched)
            }
            Err(error) => failed(error.to_string()),
        },
        Question::Sql(asked) => sql(shared, asked, moment).await.unwrap_or_else(failed),
        Question::Regressed(asked) => match regressed(shared, asked, moment.at).await {
            Ok(elements) => Asked::new(Ok(elements), true),
            Err(error) => failed(error),
        },
        Question::Anomaly(asked) => anomaly(shared, asked, expr, moment, scored).await.unwrap_or_else(failed),
    }
}

/// `scored`: thresholds decide.
async fn anomaly(shared: &Shared, asked: &Anomaly, expr: &str, moment: Moment<'_>, scored: bool) -> Result<Asked<Vec<Element>>, String> {
    let answer = instant(shared, expr, moment).await.map_err(|error| error.to_string())?;
    let matched = answer.matched_any_series;
    let samples = vector(answer)?;
    if samples.is_empty() {
        return Ok(Asked::new(Ok(Vec::new()), matched));
    }
    if samples.len() > asked.max_series {
        return Err(format!(
            "{} series are more than `max_series: {}`: aggregate them, for example sum by (service_name), or raise it",
            samples.len(),
            asked.max_series
        ));
    }
    let timeout = shared.config.query_timeout.0;
    let learned = shared.forecasts.of(&shared.metrics, &shared.tenant, expr, asked, moment.at, timeout).await?;
    let (elements, foreseen) = unusual::told(asked, samples, |labels| learned.band(labels, moment.at), scored);
    let reason = foreseen.is_empty().then(|| learned.why_none());
    Ok(Asked { outcome: Ok(elements), matched: reason.is_none(), reason, foreseen })
}

async fn statement(shared: &Shared, text: &str, asked: &SqlQuestion, at: Timestamp) -> Result<Vec<Element>, String> {
    let timeout = shared.config.query_timeout.0;
    let limit = shared.config.max_alerts_per_rule;
    let question = RowQuestion { statement: text, from: at.minus(asked.window.0), to: at, timeout, limit };
    let grace = timeout.saturating_add(Duration::from_secs(5));
    let answer = tokio::time::timeout(grace, shared.rows.rows(&shared.tenant, &question)).await;
    let rows = answer.unwrap_or(Err(QueryError::Timeout(timeout))).map_err(|error| error.to_string())?;
    rows::elements(rows)
}

async fn sql(shared: &Shared, asked: &SqlQuestion, moment: Moment<'_>) -> Result<Asked<Vec<Element>>, String> {
    let mut text = asked.statement.clone();
    if text.contains(IGNORED) {
        text = text.replace(IGNORED, &ignored(shared).await?);
    }
    let mut elements = statement(shared, &text, asked, moment.at).await?;
    let matched = match &asked.presence {
        Some(presence) if !elements.iter().any(|element| element.value > 0.0) => {
            !statement(shared, presence, asked, moment.at).await?.is_empty()
        }
        Some(_) | None => true,
    };
    if asked.found_only {
        elements.retain(|element| element.value > 0.0);
    }
    Ok(Asked::new(Ok(elements), matched))
}

/// The fingerprints of ignored issues, as a list of numbers for SQL.
async fn ignored(shared: &Shared) -> Result<String, String> {
    let found = all::<Issue>(&*shared.state, Some(&shared.tenant), &["ignored"], MOST_ISSUES).await;
    let found = found.map_err(|error| format!("the list of error issues cannot be read: {error}"))?;
    let prints: Vec<String> =
        found.iter().flat_map(|issue| issue.entity.fingerprints()).take(MOST_ISSUES).map(|print| print.0.to_string()).collect();
    Ok(if prints.is_empty() { "0".to_owned() } else { prints.join(", ") })
}

async fn regressed(shared: &Shared, asked: &Regressed, now: Timestamp) -> Result<Vec<Element>, String> {
    let found = all::<Issue>(&*shared.state, Some(&shared.tenant), &["regressed"], MOST_ISSUES).await;
    let found = found.map_err(|error| format!("the list of error issues cannot be read: {error}"))?;
    let from = now.minus(asked.window.0);
    let fits = |wanted: &[String], of: &[&str]| wanted.is_empty() || wanted.iter().any(|one| of.contains(&one.as_str()));
    let element = |issue: &Issue| {
        let IssueState::Regressed { at, release } = &issue.state else { return None };
        let services: Vec<&str> = issue.services.iter().map(String::as_str).collect();
        let wanted = *at > from
            && *at <= now
            && fits(&asked.services, &services)
            && fits(&asked.releases, release.as_deref().as_slice())
            && fits(&asked.types, &[issue.kind.as_str()]);
        wanted.then(|| rows::regressed(issue, release.as_deref()))
    };
    Ok(found.iter().filter_map(|found| element(&found.entity)).collect())
}

/// Which issue a kind of error is. `None` where the list has not come to it yet: the next evaluation asks again.
async fn issue(shared: &Shared, element: &Element) -> Option<String> {
    let (state, tenant) = (&*shared.state, &shared.tenant);
    let owner = load::<FingerprintOwner>(state, tenant, &element.fingerprint?.to_string()).await.ok()??;
    let issue = load::<Issue>(state, tenant, &owner.entity.issue.to_string()).await.ok()??;
    Some(rows::issue_line(&issue.entity))
}

/// Evaluates an alerting rule.
pub(crate) async fn alert(shared: &Shared, rule: &AlertRule, moment: Moment<'_>) -> Asked<BTreeMap<u64, Active>> {
    let Asked { outcome, matched, reason, foreseen } = ask(shared, &rule.question, &rule.expr, moment, rule.thresholds.is_some()).await;
    let outcome = async {
        let mut cache = Answers::new();
        let mut active = BTreeMap::new();
        for mut found in outcome? {
            let measured = found.score.unwrap_or(found.value);
            let lingering = level(rule, measured).is_none();
            let Some(level) = level(rule, measured).or_else(|| lingers(rule, measured).map(Some)) else { continue };
            if active.len() < NAMED_ISSUES
                && let Some(issue) = issue(shared, &found).await
            {
                found.evidence.insert("issue".to_owned(), issue);
            }
            let mut one = element(shared, rule, moment, &found, level, &mut cache).await;
            one.lingers = lingering;
            for (name, text) in found.evidence {
                one.annotations.entry(name).or_insert(text);
            }
            let identity = fingerprint(&rule.key, &one.labels);
            if active.insert(identity, one).is_some() {
                return Err("vector contains metrics with the same labelset after applying alert labels".to_owned());
            }
        }
        let alerts = active.values().filter(|one| !one.lingers).count();
        if moment.limit > 0 && alerts > moment.limit {
            return Err(format!("exceeded limit of {} with {alerts} alerts", moment.limit));
        }
        Ok(active)
    };
    Asked { outcome: outcome.await, matched, reason, foreseen }
}

/// What an alerting rule's question says, whether or not it is active: each label set as its alert would have it, by its identity.
pub(crate) async fn values(shared: &Shared, rule: &AlertRule, moment: Moment<'_>) -> Result<BTreeMap<u64, (Labels, f64)>, String> {
    let asked = ask(shared, &rule.question, &rule.expr, moment, rule.thresholds.is_some()).await;
    let (mut cache, mut values) = (Answers::new(), BTreeMap::new());
    let found = asked.outcome?;
    if moment.limit > 0 && found.len() > moment.limit {
        return Err(format!("{} label sets are more than {}", found.len(), moment.limit));
    }
    for found in found {
        // With thresholds the severity is no part of the identity, whichever it is.
        let level = rule.thresholds.as_ref().map(|_| Severity::Info);
        let one = element(shared, rule, moment, &found, level, &mut cache).await;
        values.insert(fingerprint(&rule.key, &one.labels), (one.labels, found.value));
    }
    Ok(values)
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

/// Where no threshold holds: the severity in which an alert that fires goes on, because the recovery threshold does not hold either. What
/// is not a number is nothing to hold on to.
fn lingers(rule: &AlertRule, value: f64) -> Option<Severity> {
    rule.recovery.filter(|recovery| !value.is_nan() && !recovery.holds(value))?;
    rule.thresholds.as_ref().and_then(Thresholds::mildest)
}

async fn element(
    shared: &Shared,
    rule: &AlertRule,
    moment: Moment<'_>,
    found: &Element,
    level: Option<Severity>,
    cache: &mut Answers,
) -> Active {
    let Element { labels, value, figures, .. } = found;
    let data = TemplateData {
        labels: labels.clone(),
        value: *value,
        figures: figures.clone(),
        external_labels: shared.config.external_labels.clone().into(),
        external_url: shared.config.external_url.clone().unwrap_or_default(),
        at: moment.now,
    };
    let mut identity = labels.clone().without(METRIC_NAME);
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
    Active { labels: identity, annotations, value: Value(*value), severity, lingers: false }
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
                    // It is none of those that were foreseen: it takes no other's part of what is read for them.
                    let moment = Moment { together: None, ..moment };
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
    let Asked { outcome, matched, reason, foreseen } = ask(shared, &rule.question, &rule.expr, moment, false).await;
    Asked { outcome: outcome.and_then(|elements| recorded(rule, elements, moment.limit)), matched, reason, foreseen }
}

fn recorded(rule: &RecordRule, elements: Vec<Element>, limit: usize) -> Result<BTreeMap<Labels, f64>, String> {
    let mut series = BTreeMap::new();
    for Element { mut labels, value: number, .. } in elements {
        labels.set(METRIC_NAME, &rule.metric);
        for (name, value) in &rule.labels {
            labels.set(name, value);
        }
        if series.insert(labels, number).is_some() {
            return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
        }
    }
    if limit > 0 && series.len() > limit {
        return Err(format!("exceeded limit of {limit} with {} series", series.len()));
    }
    Ok(series)
}
