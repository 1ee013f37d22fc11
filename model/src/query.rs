//! The ports that questions go through: PromQL over series, SQL over everything. `store` implements both.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::labels::{Labels, METRIC_NAME, MatchOp, Matcher};
use crate::tenant::TenantId;
use crate::time::Timestamp;

/// One sample: time (millisecond precision) and value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeriesSample {
    /// When.
    pub at: Timestamp,
    /// What.
    pub value: f64,
}

/// A series over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, `__name__` included where the expression keeps it.
    pub labels: Labels,
    /// In order of time.
    pub samples: Vec<SeriesSample>,
}

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryValue {
    /// A number.
    Scalar(SeriesSample),
    /// A text.
    Text(Timestamp, String),
    /// One sample for each of some series.
    Vector(Vec<(Labels, SeriesSample)>),
    /// Series over time.
    Matrix(Vec<Series>),
}

/// Which edges of a histogram's bucket belong to it; the number is Prometheus's in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketEdges {
    /// `(lower, upper]`: positive values.
    OpenLeft = 0,
    /// `[lower, upper)`: negative values.
    OpenRight = 1,
    /// `(lower, upper)`.
    OpenBoth = 2,
    /// `[lower, upper]`: the zero bucket, and the first one of custom bounds.
    ClosedBoth = 3,
}

/// One bucket that holds something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistogramBucket {
    /// Which edges belong to it.
    pub edges: BucketEdges,
    /// The lower edge.
    pub lower: f64,
    /// The upper edge.
    pub upper: f64,
    /// How many observations.
    pub count: f64,
}

/// A native histogram, as an answer shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramValue {
    /// All observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The buckets that hold something, in order of their values.
    pub buckets: Vec<HistogramBucket>,
}

/// The native histograms of a series over time.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSeries {
    /// Its labels.
    pub labels: Labels,
    /// In order of time.
    pub samples: Vec<(Timestamp, Arc<HistogramValue>)>,
}

/// A value with what the evaluator had to say about it (Prometheus's `warnings` and `infos`).
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The value.
    pub value: QueryValue,
    /// Samples of `value` (a vector or a matrix) that are native histograms; a series may have numbers in `value` and histograms
    /// here, never both at one moment.
    pub histograms: Vec<HistogramSeries>,
    /// How many stored samples were read for it.
    pub samples_read: usize,
    /// What may be wrong with it.
    pub warnings: Vec<String>,
    /// What to know about it.
    pub infos: Vec<String>,
    /// Whether any selector of the expression matched a series at all (a rule that never does has "no data").
    pub matched_any_series: bool,
}

/// Why a question has no answer. The kinds are Prometheus's `errorType`s.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// The expression or an argument is wrong; says where.
    #[error("{0}")]
    BadData(String),
    /// The evaluation failed (duplicate series, too many samples, ...).
    #[error("{0}")]
    Execution(String),
    /// It took too long.
    #[error("query timed out in expression evaluation: it took longer than {0:?}")]
    Timeout(Duration),
    /// The store cannot be reached right now.
    #[error("the telemetry store does not answer: {0}")]
    Unavailable(String),
}

/// Series that are not stored yet and yet count, by name. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Overlay(Arc<BTreeMap<String, Vec<Series>>>);

impl Overlay {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that all matchers match.
    pub fn matching(&self, matchers: &[Matcher]) -> Vec<&Series> {
        let name = matchers.iter().find(|matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal);
        let all = match name {
            Some(matcher) => self.0.get(&matcher.value).into_iter().flatten().collect::<Vec<_>>(),
            None => self.0.values().flatten().collect(),
        };
        all.into_iter().filter(|series| matchers.iter().all(|matcher| matcher.matches(&series.labels))).collect()
    }
}

impl Extend<Series> for Overlay {
    fn extend<I: IntoIterator<Item = Series>>(&mut self, series: I) {
        let all = Arc::make_mut(&mut self.0);
        for one in series {
            all.entry(one.labels.get(METRIC_NAME).unwrap_or_default().to_owned()).or_default().push(one);
        }
    }
}

impl FromIterator<Series> for Overlay {
    fn from_iter<I: IntoIterator<Item = Series>>(series: I) -> Self {
        let mut all = Overlay::default();
        all.extend(series);
        all
    }
}

/// Limits and extras of one evaluation.
#[derive(Clone, Debug)]
pub struct QueryOptions {
    /// Give up after this time.
    pub timeout: Duration,
    /// How far back an instant selector looks (Prometheus: 5 min).
    pub lookback: Duration,
    /// Series that are not stored yet and yet count (results of earlier rules of the same group and cycle).
    pub overlay: Overlay,
    /// Where to note how many samples each step looks at (Prometheus's `stats=all`); takes longer than without.
    pub step_samples: Option<Arc<StepSamples>>,
    /// What else is asked about the same moment: what several of these questions need may be read once.
    pub together: Option<Arc<Together>>,
}

impl Default for QueryOptions {
    fn default() -> Self {
        QueryOptions {
            timeout: Duration::from_secs(30),
            lookback: Duration::from_secs(300),
            overlay: Overlay::default(),
            step_samples: None,
            together: None,
        }
    }
}

/// Questions about the same moment, as the rules of a group ask them one after the other. Made for one moment and dropped after it, with
/// whatever was read for them.
pub struct Together {
    exprs: Arc<[String]>,
    kept: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Together {
    /// Of these PromQL expressions.
    pub fn new(exprs: Arc<[String]>) -> Self {
        Together { exprs, kept: OnceLock::new() }
    }
    /// The expressions, in the order in which they are asked.
    pub fn exprs(&self) -> &[String] {
        &self.exprs
    }
    /// What the one who answers keeps meanwhile; made when it is asked for first. `None`: somebody keeps something else.
    pub fn kept<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<Arc<T>> {
        Arc::clone(self.kept.get_or_init(|| Arc::new(make()))).downcast().ok()
    }
}

impl std::fmt::Debug for Together {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Together").field("exprs", &self.exprs.len()).finish_non_exhaustive()
    }
}

/// How many samples the steps of a query looked at, by their time. A sample in the windows of several steps counts for each of them.
#[derive(Debug, Default)]
pub struct StepSamples(Mutex<BTreeMap<Timestamp, u64>>);

impl StepSamples {
    /// Notes samples of a step.
    pub fn add(&self, at: Timestamp, samples: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(at).or_default() += samples;
    }
    /// Each step with its samples, in order of time.
    pub fn all(&self) -> Vec<(Timestamp, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(at, samples)| (*at, *samples)).collect()
    }
}

/// The time span and selectors of a metadata question.
#[derive(Clone, Debug)]
pub struct SeriesRange {
    /// PromQL series selectors; none means all series.
    pub selectors: Vec<String>,
    /// From, inclusive.
    pub start: Timestamp,
    /// To, inclusive.
    pub end: Timestamp,
    /// At most this many results.
    pub limit: usize,
}

/// PromQL.
#[async_trait]
pub trait MetricQuery: Send + Sync {
    /// The value at one moment.
    async fn instant(&self, tenant: &TenantId, expr: &str, at: Timestamp, options: &QueryOptions) -> Result<Answer, QueryError>;
    /// The value at `start`, `start + step`, ... up to `end`: always a matrix.
    async fn range(
        &self,
        tenant: &TenantId,
        expr: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError>;
    /// Checks an expression without evaluating it.
    fn check(&self, expr: &str) -> Result<(), QueryError>;
}

/// What series, labels and metrics there are.
#[async_trait]
pub trait MetricCatalog: Send + Sync {
    /// The label sets, `__name__` included.
    async fn series(&self, tenant: &TenantId, range: &SeriesRange) -> Result<Vec<Labels>, QueryError>;
    /// The label names, sorted.
    async fn label_names(&self, tenant: &TenantId, range: &SeriesRange) -> Result<Vec<String>, QueryError>;
    /// The values of a label, sorted.
    async fn label_values(&self, tenant: &TenantId, name: &str, range: &SeriesRange) -> Result<Vec<String>, QueryError>;
    /// Metric name -> (type in Prometheus's words, help, unit).
    async fn metadata(&self, tenant: &TenantId, limit: usize) -> Result<Vec<MetricMetadata>, QueryError>;
    /// The newest number of each series that any of the selectors matches, with its own time; none where the series ended or its
    /// newest sample is older than `lookback` before `at`. Sorted by labels.
    async fn newest(
        &self,
        tenant: &TenantId,
        selectors: &[String],
        at: Timestamp,
        lookback: Duration,
    ) -> Result<Vec<(Labels, SeriesSample)>, QueryError>;
    /// The exemplars of every series that a selector of the expression matches, from `start` to `end`, both inclusive.
    async fn exemplars(&self, tenant: &TenantId, expr: &str, start: Timestamp, end: Timestamp) -> Result<Vec<SeriesExemplars>, QueryError>;
    /// How many series there are and what makes them many; at most `limit` entries a list, greatest first.
    async fn cardinality(&self, tenant: &TenantId, limit: usize) -> Result<Cardinality, QueryError>;
    /// The expression in Prometheus's standard layout.
    fn format(&self, expr: &str) -> Result<String, QueryError>;
    /// The expression as a tree: JSON text in the form of Prometheus's `parse_query`.
    fn syntax_tree(&self, expr: &str) -> Result<String, QueryError>;
}

/// One measurement of a series with what was noted about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// `trace_id`, `span_id` and the attributes that the series lacks.
    pub labels: Labels,
    /// When and what.
    pub sample: SeriesSample,
}

/// The exemplars of one series, in order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    /// Its labels, `__name__` included.
    pub labels: Labels,
    /// At least one.
    pub exemplars: Vec<Exemplar>,
}

/// What makes series many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Stored series.
    pub series: u64,
    /// Different pairs of label name and value.
    pub label_pairs: u64,
    /// Series by metric name.
    pub by_metric: Vec<(String, u64)>,
    /// Different values by label name.
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes of all different values by label name.
    pub bytes_by_label: Vec<(String, u64)>,
    /// Series by `name=value`.
    pub by_pair: Vec<(String, u64)>,
    /// When the first of them was first seen and the last of them last, if there is any.
    pub seen: Option<(Timestamp, Timestamp)>,
}

/// What is known of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricMetadata {
    /// The Prometheus name.
    pub metric: String,
    /// counter, gauge, histogram, summary or unknown.
    pub kind: String,
    /// The description.
    pub help: String,
    /// The unit as sent.
    pub unit: String,
}

/// The answer to an SQL question, as the store formatted it.
#[derive(Clone, Debug)]
pub struct SqlAnswer {
    /// The bytes in the wanted format.
    pub body: Bytes,
    /// Their media type.
    pub content_type: String,
}

/// Read-only SQL over one tenant's telemetry.
#[async_trait]
pub trait SqlQuery: Send + Sync {
    /// Runs one SELECT under the tenant's guard; `format` is a ClickHouse format name (`JSON`, `TSVWithNames`, ...).
    async fn sql(&self, tenant: &TenantId, statement: &str, format: &str, timeout: Duration) -> Result<SqlAnswer, QueryError>;
}

/// A rule's question in SQL: one SELECT that names the time it looks at by `{from}` and `{to}`.
#[derive(Clone, Copy, Debug)]
pub struct RowQuestion<'a> {
    /// The statement; every `{from}` and `{to}` becomes an expression of type `DateTime64(9)`.
    pub statement: &'a str,
    /// What `{from}` is.
    pub from: Timestamp,
    /// What `{to}` is.
    pub to: Timestamp,
    /// Give up after this time.
    pub timeout: Duration,
    /// The most rows; an answer with more is an error.
    pub limit: usize,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL.
    Nothing,
    /// A number; those that are not finite stand as they are.
    Number(f64),
    /// Anything else, as text.
    Text(String),
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Names of the columns, in order.
    pub columns: Vec<String>,
    /// Each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

/// SQL for rules: read-only, over one tenant's telemetry, within a time.
#[async_trait]
pub trait RowQuery: Send + Sync {
    /// Runs one statement under the tenant's guard.
    async fn rows(&self, tenant: &TenantId, question: &RowQuestion<'_>) -> Result<Rows, QueryError>;
    /// Checks a statement without running it: the guard's rules, and that `{from}` and `{to}` stand in it as values.
    fn check(&self, statement: &str) -> Result<(), QueryError>;
}

/// The newest stored row per signal: liveness is the age of data, not of a process.
#[async_trait]
pub trait Freshness: Send + Sync {
    /// Signal name (`spans`, `logs`, `points`, ...) and arrival time of its newest row that ClickHouse holds.
    async fn newest(&self) -> Result<Vec<(String, Option<Timestamp>)>, QueryError>;
}
