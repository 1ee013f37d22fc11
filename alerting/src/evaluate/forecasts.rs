//! What was learned of series with seasons: asked of the store, learned off the async threads, kept until it is time to learn anew. In: an
//! expression, how it is learned, a moment. Out: a forecast per series, or one sentence why there is none. The moments of learning follow
//! from the clock alone, so that a restart, another node and a replay learn the same. What could not be learned anew is used as long as
//! it reaches.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::labels::{Labels, METRIC_NAME};
use model::query::{MetricQuery, QueryError, QueryOptions, QueryValue};
use model::tenant::TenantId;
use model::time::{Span, Timestamp};
use tokio::sync::Semaphore;

use crate::anomaly::{Band, Forecast, Hold, NoForecast, TooLittle, forecast};
use crate::rules::{Anomaly, Question, RuleSet};

/// So many values of a series are asked for at once.
const CHUNK: usize = 2_000;
/// So many rules learn at once.
const LEARNERS: usize = 2;
/// An evaluation waits so long for what is being learned; then the others of its group go on.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was learned of an expression at one moment.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    at: Timestamp,
    step: Duration,
    series: HashMap<Labels, Forecast>,
    /// Why one of the series that could not be learned could not, and how many there are.
    without: usize,
    reason: Option<String>,
}

/// A series is not as usual, so what is seen is not learned from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Held {
    /// The first value.
    pub since: Timestamp,
    /// If it stays so, it is usual then.
    pub until: Timestamp,
}

impl Learned {
    /// What is expected of a series at a moment, which is not long after the moment of learning.
    pub(crate) fn band(&self, labels: &Labels, at: Timestamp) -> Option<(Band, Option<Held>)> {
        let ahead = at.since(self.at).as_secs_f64() / self.step.as_secs_f64();
        let forecast = self.series.get(&labels.clone().without(METRIC_NAME))?;
        let steps = |count: usize| self.step * u32::try_from(count).unwrap_or(u32::MAX);
        let held = |hold: Hold| Held { since: self.at.minus(steps(hold.since.saturating_sub(1))), until: self.at.plus(steps(hold.left)) };
        Some((forecast.at(ahead)?, forecast.held().map(held)))
    }

    /// Why there is no forecast of any series, in one sentence.
    pub(crate) fn why_none(&self) -> String {
        match &self.reason {
            Some(reason) => format!("no forecast: of {} series none can be learned yet, {reason}", self.without),
            None => "no forecast: none of its series was there when it was last learned".to_owned(),
        }
    }
}

#[derive(Debug, Default)]
struct Place {
    learned: Mutex<Option<Arc<Learned>>>,
    /// Held while somebody learns.
    learning: Arc<tokio::sync::Mutex<()>>,
    failure: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All that was learned. One per process.
#[derive(Debug)]
pub(crate) struct Forecasts {
    places: Mutex<HashMap<String, Arc<Place>>>,
    learners: Arc<Semaphore>,
    /// Whether evaluations go on while something is learned; by hand they wait.
    patient: AtomicBool,
}

impl Default for Forecasts {
    fn default() -> Self {
        Forecasts { places: Mutex::default(), learners: Arc::new(Semaphore::new(LEARNERS)), patient: AtomicBool::new(true) }
    }
}

/// What is to be learned.
#[derive(Clone)]
struct Task {
    metrics: Arc<dyn MetricQuery>,
    tenant: TenantId,
    expr: String,
    asked: Anomaly,
    /// Up to here, inclusive.
    at: Timestamp,
    /// Of each question.
    timeout: Duration,
}

fn key(expr: &str, asked: &Anomaly) -> String {
    format!("{expr}\n{}", serde_json::to_string(asked).unwrap_or_default())
}

impl Forecasts {
    /// From now on evaluations do not wait long for what is being learned.
    pub(crate) fn hurry(&self) {
        self.patient.store(false, Ordering::SeqCst);
    }

    /// Forgets what no rule asks any more.
    pub(crate) fn keep(&self, rules: &RuleSet) {
        let all = rules.groups.iter().flat_map(|group| &group.rules);
        let asked = all.filter_map(|rule| match rule.question() {
            Question::Anomaly(asked) => Some(key(rule.expr(), asked)),
            Question::PromQl | Question::Sql(_) | Question::Regressed(_) => None,
        });
        let asked: std::collections::HashSet<String> = asked.collect();
        lock(&self.places).retain(|key, _| asked.contains(key));
    }

    /// What was learned of an expression, for a moment.
    pub(crate) async fn of(
        &self,
        metrics: &Arc<dyn MetricQuery>,
        tenant: &TenantId,
        expr: &str,
        asked: &Anomaly,
        at: Timestamp,
        timeout: Duration,
    ) -> Result<Arc<Learned>, String> {
        let place = lock(&self.places).entry(key(expr, asked)).or_default().clone();
        let wanted = asked.learned_at(at);
        let known = || lock(&place.learned).clone();
        let fresh = || known().filter(|learned| learned.at >= wanted);
        if let Some(learned) = fresh() {
            return Ok(learned);
        }
        let task =
            Task { metrics: metrics.clone(), tenant: tenant.clone(), expr: expr.to_owned(), asked: asked.clone(), at: wanted, timeout };
        if self.patient.load(Ordering::SeqCst) {
            let mine = place.learning.clone().lock_owned().await;
            learn_once(&place, task, &self.learners, mine).await;
        } else if let Ok(mine) = place.learning.clone().try_lock_owned() {
            let (place, learners) = (place.clone(), self.learners.clone());
            let learning = tokio::spawn(async move { learn_once(&place, task, &learners, mine).await });
            let _ended_or_goes_on = tokio::time::timeout(PATIENCE, learning).await;
        } else {
            let _ended_or_goes_on = tokio::time::timeout(PATIENCE, place.learning.lock()).await;
        }
        let reaches = |learned: &Arc<Learned>| at.since(learned.at) <= asked.refit.0 * 3;
        if let Some(learned) = known().filter(reaches) {
            return Ok(learned);
        }
        Err(lock(&place.failure).clone().unwrap_or_else(|| "the forecast is being learned from the history".to_owned()))
    }
}

/// Learns, unless somebody else has done so meanwhile.
async fn learn_once(place: &Place, task: Task, learners: &Semaphore, _mine: tokio::sync::OwnedMutexGuard<()>) {
    if lock(&place.learned).as_ref().is_some_and(|learned| learned.at >= task.at) {
        return;
    }
    let Ok(_turn) = learners.acquire().await else { return };
    match learn(&task).await {
        Ok(learned) => {
            *lock(&place.failure) = None;
            *lock(&place.learned) = Some(Arc::new(learned));
        }
        Err(reason) => {
            tracing::warn!(expr = task.expr, reason, "a forecast could not be learned; it is tried again at the next evaluation");
            *lock(&place.failure) = Some(format!("the forecast cannot be learned: {reason}"));
        }
    }
}

async fn learn(task: &Task) -> Result<Learned, String> {
    let histories = ask(task).await?;
    let (asked, at) = (task.asked.clone(), task.at);
    let learn = move || {
        let learning = asked.learning();
        let mut learned = Learned { at, step: asked.step.0, ..Learned::default() };
        for (labels, history) in histories {
            match forecast(&history, &learning) {
                Ok(forecast) => drop(learned.series.insert(labels, forecast)),
                Err(reason) => {
                    learned.without += 1;
                    learned.reason.get_or_insert_with(|| sentence(&asked, &reason));
                }
            }
        }
        learned
    };
    tokio::task::spawn_blocking(learn).await.map_err(|error| format!("the learner ended early: {error}"))
}

fn sentence(asked: &Anomaly, reason: &NoForecast) -> String {
    match reason {
        NoForecast::TooLittle(TooLittle::Short { steps, needed: _ }) => {
            let there = Span(asked.step.0 * u32::try_from(*steps).unwrap_or(u32::MAX));
            format!("for example one whose history of {there} is too short: {} are needed", asked.needed())
        }
        NoForecast::TooLittle(TooLittle::Sparse { .. }) | NoForecast::Model(_) => format!("for example one because {reason}"),
    }
}

/// The history of every series on its grid, NaN where there is nothing.
async fn ask(task: &Task) -> Result<HashMap<Labels, Vec<f64>>, String> {
    let Task { metrics, tenant, expr, asked, at, timeout } = task;
    let (length, step) = (asked.length(), asked.step.0);
    let options = QueryOptions { timeout: *timeout, ..QueryOptions::default() };
    let moment = |index: usize| at.minus(step * u32::try_from(length - 1 - index).unwrap_or(u32::MAX));
    let mut histories: HashMap<Labels, Vec<f64>> = HashMap::new();
    // The newest first: what ended before that is not learned.
    for (number, to) in (0..length).rev().step_by(CHUNK).enumerate() {
        let from = (to + 1).saturating_sub(CHUNK);
        let answer = metrics.range(tenant, expr, moment(from), moment(to), step, &options);
        // The store keeps its own time limit; this one holds even where it does not.
        let answer = tokio::time::timeout(*timeout + Duration::from_secs(5), answer).await;
        let answer = answer.unwrap_or(Err(QueryError::Timeout(*timeout))).map_err(|error| error.to_string())?;
        let QueryValue::Matrix(series) = answer.value else { return Err("the history is no matrix".to_owned()) };
        for one in series {
            let labels = one.labels.without(METRIC_NAME);
            if number == 0 {
                histories.entry(labels.clone()).or_insert_with(|| vec![f64::NAN; length]);
            }
            let Some(values) = histories.get_mut(&labels) else { continue };
            for sample in one.samples {
                let index = (sample.at.since(moment(0)).as_nanos() / step.as_nanos().max(1)) as usize;
                if let Some(slot) = values.get_mut(index) {
                    *slot = sample.value;
                }
            }
        }
        if histories.len() > asked.max_series {
            return Err(format!(
                "the history has more than `max_series: {}` series: aggregate them, for example sum by (service_name), or raise it",
                asked.max_series
            ));
        }
    }
    Ok(histories)
}

#[cfg(test)]
mod tests;
