//! PromQL with the meaning of Prometheus 3: text to plan (`parse`, `plan`), samples for the whole query at once (`load`, from a
//! [`source::SeriesSource`]), evaluation in memory over step-aligned columns (`eval` and the families of functions beside it).
//! Ranges and lookback are left-open. Fails with the error types of Prometheus; stops when its future is dropped.

pub mod aggregate;
pub mod arrivals;
pub mod binary;
pub mod cache;
mod catalog;
pub mod clickhouse;
pub mod eval;
pub mod functions;
pub mod head;
pub mod histogram;
pub mod load;
pub mod memory;
mod metrics;
pub mod native;
pub mod notes;
pub mod parse;
pub mod plan;
mod plans;
pub mod range;
mod scans;
mod slices;
pub mod source;
mod stack;
mod together;
pub mod value;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::labels::Matcher;
use model::query::{
    Answer, HistogramSeries, MetricQuery, QueryError, QueryOptions, QueryValue, Series, SeriesSample, StepSamples, Together,
};
use model::tenant::TenantId;
use model::time::{Stopwatch, Timestamp};
use tokio::sync::Semaphore;

use cache::{Cache, Key, join};
use eval::{Evaluator, Extent, Loaded, Needs, Setting, needs};
use load::{LoadLimits, load};
use metrics::Metrics;
use plan::{Node, Plan, Root};
use plans::Plans;
use scans::Scans;
use source::{SeriesSource, is_too_many_samples, too_many_samples};
use together::Reads;
use value::{Column, Frame, Value, is_number};

use crate::sql::Watermark;

/// What a query may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Series that one selector may match.
    pub max_series: usize,
    /// Samples of all selectors together, and cells of one value in the evaluation.
    pub max_samples: usize,
    /// Steps of a range query after the first.
    pub max_steps: usize,
    /// Queries at the same time; more wait.
    pub concurrency: usize,
    /// The step of a subquery that names none.
    pub subquery_step: Duration,
}

impl Default for Limits {
    /// 500,000 series, 50,000,000 samples, 11,000 steps, 20 queries, 1 minute: Prometheus's own where it has them.
    fn default() -> Self {
        Limits { max_series: 500_000, max_samples: 50_000_000, max_steps: 11_000, concurrency: 20, subquery_step: Duration::from_secs(60) }
    }
}

/// The evaluator behind `model`'s ports.
#[derive(Clone)]
pub struct PromQl {
    source: Arc<dyn SeriesSource>,
    limits: Limits,
    permits: Arc<Semaphore>,
    /// Evaluations at the same time that take a thread: no more than there are cores, so that intake keeps its share of them.
    threads: Arc<Semaphore>,
    metrics: Option<Arc<Metrics>>,
    cache: Option<Arc<Cache>>,
    plans: Arc<Plans>,
    scans: Option<Arc<Scans>>,
    watermark: Option<Arc<Watermark>>,
}

/// An evaluation that looks at fewer samples than these, though each step looked at all of them, is not worth a thread of its own.
const FEW: usize = 100_000;

/// Sets the flag when the future that waits is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is wanted of an evaluation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The value at the only step.
    AsIs,
    /// Series over the steps, in order of labels.
    Matrix,
}

/// What an evaluation gives.
enum Outcome {
    Value(Value),
    Matrix(Vec<Series>, Vec<HistogramSeries>),
}

/// What an evaluation gives with what there is to say about it.
struct Ran {
    outcome: Outcome,
    notes: notes::Notes,
    matched: bool,
    samples: usize,
    /// Whether samples were read by another question that had begun before.
    joined: bool,
}

/// What an evaluation gives, what there is to say about it, and how many samples each step looked at.
type Evaluated = Result<(Outcome, notes::Notes, Vec<u64>), QueryError>;

impl PromQl {
    /// Over a source, with the default limits and without metrics.
    pub fn new(source: Arc<dyn SeriesSource>) -> Self {
        let limits = Limits::default();
        PromQl {
            source,
            limits,
            permits: Arc::new(Semaphore::new(limits.concurrency)),
            threads: one_per_core(),
            metrics: None,
            cache: None,
            plans: Arc::default(),
            scans: Some(Arc::default()),
            watermark: None,
        }
    }

    /// With other limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.permits = Arc::new(Semaphore::new(limits.concurrency.max(1)));
        self.limits = limits;
        self
    }

    /// Counts and times its queries in a registry (`watchfire_promql_...`). Fails if the registry has these metrics already.
    pub fn with_metrics(mut self, registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        self.metrics = Some(Arc::new(Metrics::register(registry)?));
        Ok(self)
    }

    /// Keeps the answers of range queries for when they are asked again.
    pub fn with_cache(mut self, cache: Arc<Cache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// The same over another source with turns of its own, so that nobody who waits here keeps those there waiting. Without the cache, and
    /// nobody joins a scan that may have begun before what is asked about was there: only the questions of one moment read together.
    pub fn apart(&self, source: Arc<dyn SeriesSource>, concurrency: usize) -> Self {
        let limits = Limits { concurrency, ..self.limits };
        PromQl {
            source,
            limits,
            permits: Arc::new(Semaphore::new(concurrency.max(1))),
            threads: one_per_core(),
            metrics: self.metrics.clone(),
            cache: None,
            plans: Arc::clone(&self.plans),
            scans: None,
            watermark: None,
        }
    }

    /// What is not in memory is read when what was received before the end of a question is stored: else the question is about the moment
    /// until which that is so. For rules, which fire and resolve by what they find.
    pub fn waiting_for(mut self, watermark: Arc<Watermark>) -> Self {
        self.watermark = Some(watermark);
        self
    }

    fn from<'a>(&'a self, together: Option<load::Together<'a>>) -> load::From<'a> {
        let (scans, metrics) = (self.scans.as_deref(), self.metrics.as_deref());
        let (joined, watermark, earlier) = (AtomicBool::new(false), self.watermark.as_deref(), AtomicI64::new(0));
        load::From { source: &self.source, scans, together, metrics, joined, watermark, earlier }
    }

    /// What the questions about one moment read together.
    fn reads(&self, together: &Together, setting: &Setting, frame: &Frame) -> Option<Arc<Reads>> {
        together.kept(|| {
            // What is wrong with one of them it says itself.
            let plans: Vec<Arc<Plan>> = together.exprs().iter().filter_map(|expr| self.plans.of(expr).ok()).collect();
            let mut wanted: Vec<(&[Matcher], Extent)> = Vec::new();
            for plan in &plans {
                let Ok(Needs { extents, .. }) = needed(plan, setting, frame) else { continue };
                let asked = plan.selectors.iter().zip(extents).filter_map(|(selector, extent)| Some((&*selector.matchers, extent?)));
                let from = wanted.len();
                for one in asked {
                    // The same selector of one question is asked once.
                    if !wanted[from..].contains(&one) {
                        wanted.push(one);
                    }
                }
            }
            Reads::of(&wanted)
        })
    }

    fn setting(&self, query: Frame, options: &QueryOptions) -> Setting {
        Setting {
            query,
            lookback: as_millis(options.lookback).max(1),
            subquery_step: as_millis(self.limits.subquery_step),
            max_samples: self.limits.max_samples,
        }
    }

    /// A range query, as far as it is not known from before.
    async fn matrix(
        &self,
        tenant: &TenantId,
        expr: &str,
        plan: Arc<Plan>,
        frame: Frame,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let setting = self.setting(frame, options);
        let plain = options.overlay.is_empty() && options.step_samples.is_none();
        let steady = plain && self.cache.is_some() && needed(&plan, &setting, &frame)?.steady;
        let Some(cache) = self.cache.as_ref().filter(|_| steady) else {
            return self.computed(tenant, plan, frame, frame, options).await.map(|(answer, _)| answer);
        };
        let key = Key {
            tenant: tenant.clone(),
            expr: expr.to_owned(),
            step: frame.step,
            phase: frame.start.rem_euclid(frame.step),
            steps: frame.len(),
            lookback: setting.lookback,
        };
        let seen = cache.arrivals().seen(tenant);
        let (answer, joined) = match cache.find(&key, &frame) {
            Some(known) => {
                let rest = Frame { start: known.end + frame.step, ..frame };
                cache.count(frame.len() - rest.len(), rest.len());
                let rest = if rest.is_empty() { None } else { Some(self.computed(tenant, plan, rest, rest, options).await?) };
                let joined = rest.as_ref().is_some_and(|(_, joined)| *joined);
                (join(&known, &frame, rest.map(|(answer, _)| answer)), joined)
            }
            None => {
                cache.count(0, frame.len());
                self.computed(tenant, plan, frame, frame, options).await?
            }
        };
        // What was read before the question began was not looked at for samples that came since.
        if !joined {
            cache.keep(key, &frame, &answer, seen);
        }
        Ok(answer)
    }

    /// A range query: all steps of a frame, which is a part of the query's. Where they need more samples than may be in memory, half of
    /// them after the other. Says whether samples were read by a question that had begun before.
    async fn computed(
        &self,
        tenant: &TenantId,
        plan: Arc<Plan>,
        query: Frame,
        frame: Frame,
        options: &QueryOptions,
    ) -> Result<(Answer, bool), QueryError> {
        let (stopwatch, timeout) = (Stopwatch::start(), options.timeout);
        let (mut answer, mut joined): (Option<Answer>, bool) = (None, false);
        let mut left = vec![frame];
        while let Some(frame) = left.pop() {
            let options = QueryOptions { timeout: timeout.saturating_sub(stopwatch.elapsed()), ..options.clone() };
            let part = match self.run(tenant, Arc::clone(&plan), query, frame, &options, Form::Matrix).await {
                Ok(ran) => {
                    joined |= ran.joined;
                    matrix_of(ran)
                }
                Err(error) => match slices::halves(&frame).filter(|_| is_too_many_samples(&error)) {
                    Some([first, second]) => {
                        left.extend([second, first]);
                        continue;
                    }
                    None if matches!(error, QueryError::Timeout(_)) => return Err(QueryError::Timeout(timeout)),
                    None => return Err(error),
                },
            };
            let Some(all) = &mut answer else {
                answer = Some(part);
                continue;
            };
            if slices::append(all, part) > self.limits.max_samples {
                return Err(too_many_samples(self.limits.max_samples));
            }
        }
        answer.map(|answer| (answer, joined)).ok_or_else(|| QueryError::Execution("the query has no steps".to_owned()))
    }

    async fn run(
        &self,
        tenant: &TenantId,
        plan: Arc<Plan>,
        query: Frame,
        frame: Frame,
        options: &QueryOptions,
        form: Form,
    ) -> Result<Ran, QueryError> {
        let stopwatch = Stopwatch::start();
        let outcome = tokio::time::timeout(options.timeout, self.load_and_evaluate(tenant, plan, query, frame, options, form))
            .await
            .unwrap_or(Err(QueryError::Timeout(options.timeout)));
        if let Some(metrics) = &self.metrics {
            metrics.observe(stopwatch.elapsed(), outcome.as_ref().err());
        }
        outcome
    }

    async fn loaded(
        &self,
        tenant: &TenantId,
        plan: &Plan,
        (query, frame): (Frame, Frame),
        options: &QueryOptions,
        form: Form,
        waits: bool,
    ) -> Result<Loading, QueryError> {
        let setting = self.setting(query, options);
        let mut spans = needed(plan, &setting, &frame)?.extents;
        let count = options.step_samples.is_some();
        if count {
            // What a store computes, nobody counts.
            spans.iter_mut().flatten().for_each(|extent| extent.wish = None);
        }
        let limits = LoadLimits { max_series: self.limits.max_series, max_samples: self.limits.max_samples, timeout: options.timeout };
        let together = options.together.as_deref().filter(|_| form == Form::AsIs && !count);
        let mut from = self.from(together.map(|together| -> load::Together<'_> { Box::new(|| self.reads(together, &setting, &frame)) }));
        from.watermark = from.watermark.filter(|_| waits);
        let data = load(&from, tenant, &plan.selectors, &spans, &options.overlay, limits).await;
        let (joined, earlier) = (from.joined.load(Ordering::Relaxed), from.earlier.load(Ordering::Relaxed));
        drop(from);
        match data {
            // Whichever selector was asked first: the expression is about one moment, and all of it has to be stored.
            Err(_) if earlier > 0 => Ok(Loading::Early(self.missing(&spans).max(earlier))),
            Err(error) => Err(error),
            Ok(data) => Ok(Loading::Done((setting, frame, data, joined))),
        }
    }

    /// How much of what these read is not stored yet, in milliseconds.
    fn missing(&self, extents: &[Option<Extent>]) -> i64 {
        let missing = |extent: &Extent| self.watermark.as_ref().map(|watermark| watermark.missing(Timestamp::from_millis(extent.until)));
        extents.iter().flatten().filter_map(missing).max().map_or(0, as_millis)
    }

    async fn load_and_evaluate(
        &self,
        tenant: &TenantId,
        plan: Arc<Plan>,
        query: Frame,
        frame: Frame,
        options: &QueryOptions,
        form: Form,
    ) -> Result<Ran, QueryError> {
        let _permit = self.permits.acquire().await.map_err(|_| stopping())?;
        let (setting, frame, data, joined) = match self.loaded(tenant, &plan, (query, frame), options, form, true).await? {
            Loading::Done(loaded) => loaded,
            Loading::Early(by) => {
                let early = |frame: Frame| Frame { start: frame.start - by, end: frame.end - by, ..frame };
                // That much is stored, whatever is heard of the logs meanwhile.
                match self.loaded(tenant, &plan, (early(query), early(frame)), options, form, false).await? {
                    Loading::Done(loaded) => loaded,
                    Loading::Early(_) => return Err(QueryError::Execution("it was to be asked without waiting".to_owned())),
                }
            }
        };
        let count = options.step_samples.as_deref();
        let matched = data.iter().any(|series| !series.is_empty());
        let samples: usize = data.iter().map(|loaded| loaded.read()).sum();
        let series = data.iter().map(|loaded| loaded.len()).sum::<usize>();
        if !plan.subqueries && plan.depth <= stack::SHALLOW && (samples + series).saturating_mul(frame.len().max(1)) < FEW {
            let (outcome, notes, looked_at) = evaluate(&plan, &setting, &frame, &data, &AtomicBool::new(false), (form, count.is_some()))?;
            note_samples(count, &frame, &looked_at);
            return Ok(Ran { outcome, notes, matched, samples, joined });
        }
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| stopping())?;
        let cancel = CancelOnDrop(Arc::new(AtomicBool::new(false)));
        let (flag, counted) = (Arc::clone(&cancel.0), count.is_some());
        // The thread holds its turn itself: an evaluation that nobody waits for any more goes on for a moment.
        let evaluation = move || {
            let evaluated = stack::with_room(plan.depth, || evaluate(&plan, &setting, &frame, &data, &flag, (form, counted)));
            drop(thread);
            evaluated
        };
        let evaluated = tokio::task::spawn_blocking(evaluation)
            .await
            .map_err(|error| QueryError::Execution(format!("the evaluation died: {error}")))?;
        drop(cancel);
        let (outcome, notes, looked_at) = evaluated?;
        note_samples(count, &frame, &looked_at);
        Ok(Ran { outcome, notes, matched, samples, joined })
    }
}

/// What a question is evaluated over, and whether another one that had begun before read some of it.
type Read = (Setting, Frame, Vec<Arc<Loaded>>, bool);

/// How far a question was read.
enum Loading {
    Done(Read),
    /// It has to be about an earlier moment, by so many milliseconds.
    Early(i64),
}

fn one_per_core() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)))
}

/// How far before the moment of an evaluation each selector of an expression reads, in order of appearance. Parameters of `options`: the
/// lookback of instant selectors.
pub fn reaches(plan: &Plan, options: &QueryOptions) -> Result<Vec<Duration>, QueryError> {
    let now = Frame { start: 0, end: 0, step: 1 };
    let limits = Limits::default();
    let subquery_step = as_millis(limits.subquery_step);
    let setting = Setting { query: now, lookback: as_millis(options.lookback).max(1), subquery_step, max_samples: limits.max_samples };
    let back = |extent: Option<Extent>| extent.map_or(0, |extent| u64::try_from(extent.after.saturating_neg()).unwrap_or(0));
    Ok(needed(plan, &setting, &now)?.extents.into_iter().map(|extent| Duration::from_millis(back(extent))).collect())
}

fn needed(plan: &Plan, setting: &Setting, frame: &Frame) -> Result<Needs, QueryError> {
    stack::with_room(plan.depth, || Ok(needs(&plan.root, plan.selectors.len(), setting, frame)))
}

/// A number as people write it: `11,000`.
fn thousands(number: usize) -> String {
    match number / 1_000 {
        0 => number.to_string(),
        more => format!("{},{:03}", thousands(more), number % 1_000),
    }
}

fn stopping() -> QueryError {
    QueryError::Unavailable("the server is stopping".to_owned())
}

/// Notes how many samples the steps of a frame looked at, where somebody asks.
fn note_samples(count: Option<&StepSamples>, frame: &Frame, looked_at: &[u64]) {
    if let Some(count) = count {
        frame.times().zip(looked_at).for_each(|(at, samples)| count.add(Timestamp::from_millis(at), *samples));
    }
}

fn evaluate(
    plan: &Plan,
    setting: &Setting,
    frame: &Frame,
    data: &[Arc<Loaded>],
    cancelled: &AtomicBool,
    (form, counted): (Form, bool),
) -> Evaluated {
    let looked_at = if counted { vec![0; frame.len()] } else { Vec::new() };
    let mut evaluator = Evaluator { data, setting, cancelled, notes: notes::Notes::default(), looked_at, nested: 0, held: 0 };
    let outcome = match &plan.root {
        Root::Node(node) => {
            let value = evaluator.node(node, frame)?;
            match form {
                Form::AsIs => Outcome::Value(value),
                Form::Matrix => as_matrix(value, frame),
            }
        }
        Root::Range(range) => {
            let sample = |(at, value)| SeriesSample { at: Timestamp::from_millis(at), value };
            let (mut numbers, mut histograms) = (Vec::new(), Vec::new());
            for series in evaluator.matrix(range, frame)? {
                if !series.numbers.is_empty() {
                    let labels = model::labels::Labels::clone(&series.labels);
                    numbers.push(Series { labels, samples: series.numbers.into_iter().map(sample).collect() });
                }
                if !series.histograms.is_empty() {
                    let samples = series.histograms.iter().map(|(at, one)| (Timestamp::from_millis(*at), Arc::new(one.shown()))).collect();
                    histograms.push(HistogramSeries { labels: Arc::unwrap_or_clone(series.labels), samples });
                }
            }
            Outcome::Matrix(numbers, histograms)
        }
    };
    Ok((outcome, evaluator.notes, evaluator.looked_at))
}

fn as_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

fn answer(value: QueryValue, histograms: Vec<HistogramSeries>, notes: notes::Notes, ran: (bool, usize)) -> Answer {
    let (warnings, infos) = notes.into_parts();
    Answer { value, histograms, samples_read: ran.1, warnings, infos, matched_any_series: ran.0 }
}

/// The answer of a range query.
fn matrix_of(ran: Ran) -> Answer {
    let Ran { outcome, notes, matched, samples, .. } = ran;
    let (series, native) = match outcome {
        Outcome::Matrix(series, native) => (series, native),
        // It was asked for as a matrix.
        Outcome::Value(_) => (Vec::new(), Vec::new()),
    };
    answer(QueryValue::Matrix(series), native, notes, (matched, samples))
}

/// A value over the steps of a frame as series, in order of labels.
fn as_matrix(value: Value, frame: &Frame) -> Outcome {
    let mut native = Vec::new();
    let mut series = match value {
        Value::Text(_) => Vec::new(),
        Value::Scalar(numbers) => vec![as_series(Column::new(model::labels::Labels::empty(), numbers), frame)],
        Value::Vector(columns) => {
            native = histograms(&columns, frame);
            columns.into_iter().map(|column| as_series(column, frame)).filter(|series| !series.samples.is_empty()).collect()
        }
    };
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    native.sort_by(|a, b| a.labels.cmp(&b.labels));
    Outcome::Matrix(series, native)
}

/// The histograms of columns.
fn histograms(columns: &[Column], frame: &Frame) -> Vec<HistogramSeries> {
    let series = |column: &Column| {
        let shown = |(step, at)| column.histogram(step).map(|one| (Timestamp::from_millis(at), Arc::new(one.shown())));
        let samples: Vec<_> = frame.times().enumerate().filter_map(shown).collect();
        (!samples.is_empty()).then(|| HistogramSeries { labels: model::labels::Labels::clone(&column.labels), samples })
    };
    columns.iter().filter(|column| column.has_histograms()).filter_map(series).collect()
}

/// A column as a series of the answer.
fn as_series(column: Column, frame: &Frame) -> Series {
    let samples = frame.times().zip(column.cells).filter(|(_, value)| is_number(*value));
    let samples = samples.map(|(at, value)| SeriesSample { at: Timestamp::from_millis(at), value }).collect();
    Series { labels: Arc::unwrap_or_clone(column.labels), samples }
}

#[async_trait]
impl MetricQuery for PromQl {
    async fn instant(&self, tenant: &TenantId, expr: &str, at: Timestamp, options: &QueryOptions) -> Result<Answer, QueryError> {
        let plan = self.plans.of(expr)?;
        let frame = Frame { start: at.millis(), end: at.millis(), step: 1 };
        let Ran { outcome, notes, matched, samples, .. } = self.run(tenant, plan, frame, frame, options, Form::AsIs).await?;
        let mut native = Vec::new();
        let sample = |value: f64| SeriesSample { at: Timestamp::from_millis(frame.start), value };
        let value = match outcome {
            Outcome::Matrix(series, histograms) => {
                native = histograms;
                QueryValue::Matrix(series)
            }
            Outcome::Value(Value::Text(text)) => QueryValue::Text(Timestamp::from_millis(frame.start), text),
            Outcome::Value(Value::Scalar(numbers)) => QueryValue::Scalar(sample(numbers.first().copied().unwrap_or(f64::NAN))),
            Outcome::Value(Value::Vector(columns)) => {
                native = histograms(&columns, &frame);
                let one = |column: Column| {
                    let value = column.cells.first().copied().filter(|value| is_number(*value))?;
                    Some((Arc::unwrap_or_clone(column.labels), sample(value)))
                };
                QueryValue::Vector(columns.into_iter().filter_map(one).collect())
            }
        };
        Ok(answer(value, native, notes, (matched, samples)))
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
        let plan = self.plans.of(expr)?;
        let wrong_type = |kind: &str| {
            Err(QueryError::BadData(format!("invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector")))
        };
        match &plan.root {
            Root::Range(_) => return wrong_type("range vector"),
            Root::Node(Node::Text(_)) => return wrong_type("string"),
            Root::Node(_) => {}
        }
        if end < start {
            return Err(QueryError::BadData("invalid parameter \"end\": end timestamp must not be before start time".to_owned()));
        }
        if step.as_millis() == 0 {
            let message = "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(QueryError::BadData(message.to_owned()));
        }
        let frame = Frame { start: start.millis(), end: end.millis(), step: as_millis(step) };
        // As Prometheus counts them: the first step is none of them.
        if frame.len() > self.limits.max_steps.saturating_add(1) {
            let most = thousands(self.limits.max_steps);
            let message = "points per timeseries. Try decreasing the query resolution (?step=XX)";
            return Err(QueryError::BadData(format!("exceeded maximum resolution of {most} {message}")));
        }
        self.matrix(tenant, expr, plan, frame, options).await
    }

    fn check(&self, expr: &str) -> Result<(), QueryError> {
        parse::parse(expr).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use model::labels::Labels;
    use model::query::QueryValue;
    use model::time::SimulatedClock;

    use super::memory::MemorySource;
    use super::source::{Samples, SeriesKind, Temporality};
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    /// A gauge that says how many seconds before NOW it was taken, every five of them.
    fn rules(behind: &Arc<Mutex<Option<Duration>>>) -> PromQl {
        let source = Arc::new(MemorySource::new());
        let ages: Vec<i64> = (0..=12).rev().map(|five| five * 5).collect();
        let samples =
            Samples { times: ages.iter().map(|age| NOW - age * 1_000).collect(), values: ages.iter().map(|age| *age as f64).collect() };
        let labels = Labels::empty().with("__name__", "age");
        source.add(&TenantId::default(), &labels, SeriesKind::Gauge, Temporality::Cumulative, &samples);
        let (clock, behind) = (Arc::new(SimulatedClock::new(Timestamp::from_millis(NOW))), behind.clone());
        let watermark = Watermark::new(clock, Box::new(move || *behind.lock().unwrap()));
        PromQl::new(source.clone()).apart(source, 20).waiting_for(Arc::new(watermark))
    }

    async fn asked(rules: &PromQl, expr: &str) -> Result<f64, QueryError> {
        let answer = rules.instant(&TenantId::default(), expr, Timestamp::from_millis(NOW), &QueryOptions::default()).await?;
        let QueryValue::Vector(found) = answer.value else { panic!("{answer:?}") };
        assert!(found.iter().all(|(_, sample)| sample.at.millis() == NOW), "what it found counts for the moment that was asked about");
        Ok(found.first().map_or(f64::NAN, |(_, sample)| sample.value))
    }

    /// Samples that are still in the log neither fire nor resolve anything: the window ends where the stored ones do.
    #[tokio::test(start_paused = true)]
    async fn a_rule_asks_about_what_is_stored() {
        let behind = Arc::new(Mutex::new(None));
        let rules = rules(&behind);
        let begun = tokio::time::Instant::now();
        assert_eq!(asked(&rules, "age").await.unwrap(), 0.0);
        *behind.lock().unwrap() = Some(Duration::from_secs(12));
        assert_eq!(asked(&rules, "age offset 20s").await.unwrap(), 20.0, "that is stored");
        assert!(begun.elapsed().is_zero(), "and neither waits");
        assert_eq!(asked(&rules, "age").await.unwrap(), 15.0);
        assert_eq!(asked(&rules, "max_over_time(age[11s]) - min_over_time(age[11s])").await.unwrap(), 5.0, "of 20 and 15 s ago");
        assert_eq!(asked(&rules, "time() - timestamp(age)").await.unwrap(), 3.0, "all of it is about that moment");
        assert_eq!(begun.elapsed(), Duration::from_secs(2), "the first of them waited for all");
        for both in ["age offset 5s - age", "age - age offset 5s"] {
            assert_eq!(asked(&rules, both).await.unwrap().abs(), 5.0, "{both}: of both what is stored");
        }
        *behind.lock().unwrap() = Some(Duration::from_secs(400));
        let error = asked(&rules, "age").await.unwrap_err().to_string();
        assert!(error.contains("the log waits for ClickHouse"), "{error}");
    }

    /// How far the log is behind is heard anew each time, by clocks that are not of one piece: it may seem to fall back a little.
    #[tokio::test(start_paused = true)]
    async fn a_rule_that_looks_earlier_looks_once() {
        let (source, heard) = (Arc::new(MemorySource::new()), std::sync::atomic::AtomicU64::new(12_000));
        let samples = Samples { times: vec![NOW - 60_000], values: vec![7.0] };
        source.add(&TenantId::default(), &Labels::empty().with("__name__", "age"), SeriesKind::Gauge, Temporality::Cumulative, &samples);
        let falls_back = Box::new(move || Some(Duration::from_millis(heard.fetch_add(1, Ordering::Relaxed))));
        let watermark = Watermark::new(Arc::new(SimulatedClock::new(Timestamp::from_millis(NOW))), falls_back);
        let rules = PromQl::new(source.clone()).apart(source, 20).waiting_for(Arc::new(watermark));
        assert_eq!(asked(&rules, "age").await.unwrap(), 7.0);
    }

    /// What comes while it is waited for is read.
    #[tokio::test(start_paused = true)]
    async fn a_rule_waits_a_moment_for_what_is_on_its_way() {
        let behind = Arc::new(Mutex::new(Some(Duration::from_secs(12))));
        let rules = rules(&behind);
        let stored = behind.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            *stored.lock().unwrap() = None;
        });
        assert_eq!(asked(&rules, "age").await.unwrap(), 0.0);
    }
}
