//! Questions about the past. [`Answers`] asks for many ticks at once and answers rules one by one; [`HttpHistory`] and [`HttpRows`] ask a
//! running server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use model::issue::Issue;
use model::labels::Labels;
use model::query::{Answer, MetricQuery, QueryError, QueryOptions, QueryValue, RowQuery, RowQuestion, Rows, Series, SeriesSample};
use model::tenant::TenantId;
use model::time::Timestamp;
use serde_json::Value;
use store::promql::{PromQl, parse};
use store::sql::{bound, check_question, table};

use crate::cli::client::{AskError, Client};
use crate::simulate::Known;

use super::warmup::reads_only;

/// How many ticks are asked for at once.
const CHUNK: u32 = 1_000;

type Moments = BTreeMap<i64, Vec<(Labels, SeriesSample)>>;

/// PromQL for a replay: over what rules recorded, or over the history.
pub struct Answers {
    history: Arc<dyn MetricQuery>,
    own: PromQl,
    /// The metrics that only the replay knows.
    recorded: BTreeSet<String>,
    /// How often each rule's expression is asked.
    steps: HashMap<String, Duration>,
    to: Timestamp,
    asked: Mutex<HashMap<String, Moments>>,
}

impl Answers {
    /// `steps`: how often each expression is asked; `recorded`: names of metrics that are in `known` only.
    pub fn new(
        history: Arc<dyn MetricQuery>,
        known: Arc<Known>,
        recorded: BTreeSet<String>,
        steps: HashMap<String, Duration>,
        to: Timestamp,
    ) -> Self {
        Answers { history, own: PromQl::new(known), recorded, steps, to, asked: Mutex::default() }
    }

    /// Whether an expression reads nothing but what the replay recorded.
    fn is_own(&self, expr: &str) -> bool {
        parse::parse(expr).is_ok_and(|plan| reads_only(&plan, &self.recorded))
    }

    fn known(&self, expr: &str, at: Timestamp) -> Option<Vec<(Labels, SeriesSample)>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let moments = asked.get_mut(expr)?;
        // Time only goes on: what is past is not asked again.
        *moments = moments.split_off(&at.millis());
        moments.get(&at.millis()).cloned()
    }

    fn remember(&self, expr: &str, at: Timestamp, step: Duration, steps: u32, series: Vec<Series>) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let moments = asked.entry(expr.to_owned()).or_default();
        for index in 0..=steps {
            moments.entry(at.plus(step * index).millis()).or_default().clear();
        }
        for series in series {
            for sample in series.samples {
                moments.entry(sample.at.millis()).or_default().push((series.labels.clone(), sample));
            }
        }
    }
}

fn answer(vector: Vec<(Labels, SeriesSample)>) -> Answer {
    let value = QueryValue::Vector(vector);
    Answer { value, histograms: Vec::new(), samples_read: 0, warnings: Vec::new(), infos: Vec::new(), matched_any_series: true }
}

#[async_trait]
impl MetricQuery for Answers {
    async fn instant(&self, tenant: &TenantId, expr: &str, at: Timestamp, options: &QueryOptions) -> Result<Answer, QueryError> {
        if self.is_own(expr) {
            return self.own.instant(tenant, expr, at, options).await;
        }
        let Some(step) = self.steps.get(expr).copied() else {
            return self.history.instant(tenant, expr, at, options).await;
        };
        if let Some(known) = self.known(expr, at) {
            return Ok(answer(known));
        }
        let left = self.to.since(at).as_nanos() / step.as_nanos().max(1);
        let steps = u32::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let found = self.history.range(tenant, expr, at, at.plus(step * steps), step, options).await?;
        let QueryValue::Matrix(series) = found.value else {
            return Err(QueryError::Execution("the answer about a span of time is no matrix".to_owned()));
        };
        self.remember(expr, at, step, steps, series);
        Ok(answer(self.known(expr, at).unwrap_or_default()))
    }

    async fn range(
        &self,
        tenant: &TenantId,
        expr: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        self.history.range(tenant, expr, start, end, step, options).await
    }

    fn check(&self, expr: &str) -> Result<(), QueryError> {
        self.own.check(expr)
    }
}

/// The history of a running server, over its Prometheus API.
pub struct HttpHistory(pub Client);

fn failed(error: anyhow::Error) -> QueryError {
    match error.downcast_ref::<AskError>() {
        Some(AskError::Refused { status, .. }) if status.is_client_error() => QueryError::BadData(format!("{error:#}")),
        Some(AskError::Refused { .. } | AskError::NotFound(_) | AskError::Unreachable { .. }) | None => {
            QueryError::Unavailable(format!("{error:#}"))
        }
    }
}

fn sample(pair: &Value) -> Option<SeriesSample> {
    let at = Timestamp::from_secs_f64(pair.get(0)?.as_f64()?)?;
    let model::units::Value(value) = pair.get(1)?.as_str()?.parse().ok()?;
    Some(SeriesSample { at, value })
}

fn seconds(at: Timestamp) -> String {
    format!("{}.{:03}", at.millis().div_euclid(1_000), at.millis().rem_euclid(1_000))
}

fn read(json: &Value) -> Option<QueryValue> {
    let (kind, result) = (json.pointer("/data/resultType")?.as_str()?, json.pointer("/data/result")?);
    let labels = |one: &Value| serde_json::from_value::<Labels>(one.get("metric")?.clone()).ok();
    Some(match kind {
        "scalar" => QueryValue::Scalar(sample(result)?),
        "vector" => {
            let all = result.as_array()?.iter().filter(|one| one.get("value").is_some());
            QueryValue::Vector(all.map(|one| Some((labels(one)?, sample(one.get("value")?)?))).collect::<Option<_>>()?)
        }
        "matrix" => {
            let all = result.as_array()?.iter().filter(|one| one.get("values").is_some());
            let series = |one: &Value| {
                let samples = one.get("values")?.as_array()?.iter().map(sample).collect::<Option<_>>()?;
                Some(Series { labels: labels(one)?, samples })
            };
            QueryValue::Matrix(all.map(series).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

impl HttpHistory {
    async fn ask(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, QueryError> {
        let json = self.0.get(path, query).await.map_err(failed)?;
        let value = read(&json).ok_or_else(|| QueryError::Unavailable("the server's answer is not Prometheus's JSON".to_owned()))?;
        Ok(Answer { value, ..answer(Vec::new()) })
    }
}

#[async_trait]
impl MetricQuery for HttpHistory {
    async fn instant(&self, _: &TenantId, expr: &str, at: Timestamp, _: &QueryOptions) -> Result<Answer, QueryError> {
        self.ask("/api/v1/query", &[("query", expr.to_owned()), ("time", seconds(at))]).await
    }

    async fn range(
        &self,
        _: &TenantId,
        expr: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        _: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let step = format!("{}", step.as_secs_f64());
        self.ask("/api/v1/query_range", &[("query", expr.to_owned()), ("start", seconds(start)), ("end", seconds(end)), ("step", step)])
            .await
    }

    fn check(&self, expr: &str) -> Result<(), QueryError> {
        parse::parse(expr).map(drop)
    }
}

/// The tables of a running server, over its SQL route: one statement for each tick.
pub struct HttpRows(pub Client);

/// The error issues of a running server.
pub async fn http_issues(client: &Client) -> anyhow::Result<Vec<Issue>> {
    let (mut issues, mut asked) = (Vec::new(), Vec::new());
    loop {
        let mut page = client.get("/api/watchfire/v1/errors/records", &asked).await?;
        let found: Vec<Issue> = serde_json::from_value(page["issues"].take()).context("the server's answer holds no error issues")?;
        issues.extend(found);
        match page["next_before"].as_str() {
            Some(before) => asked = vec![("before", before.to_owned())],
            None => return Ok(issues),
        }
    }
}

/// The name that statements may put before a table; the server has its own.
const DATABASE: &str = "watchfire";

#[async_trait]
impl RowQuery for HttpRows {
    async fn rows(&self, _: &TenantId, question: &RowQuestion<'_>) -> Result<Rows, QueryError> {
        let statement = bound(question.statement, question.from, question.to);
        let body = self.0.post_text("/api/watchfire/v1/sql", &[("format", "JSONCompact".to_owned())], statement).await.map_err(failed)?;
        table(body.as_bytes(), question.limit)
    }
    fn check(&self, statement: &str) -> Result<(), QueryError> {
        check_question(statement, DATABASE)
    }
}
