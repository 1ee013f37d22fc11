//! Where series come from: a small port with two homes, memory (tests, rule tests) and ClickHouse. A source gives raw samples;
//! everything that PromQL means by them happens in the evaluator.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::labels::{Labels, METRIC_NAME, MatchOp, Matcher};
use model::query::{Cardinality, MetricMetadata, QueryError, SeriesExemplars};
use model::tenant::TenantId;

use super::eval::LoadedSeries;
use super::native::Histogram;
use super::value::Frame;

/// What a series measures, as its `series` row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesKind {
    /// A value that goes up and down.
    Gauge,
    /// A monotonic sum.
    Counter,
    /// Not known, or a sum that may fall.
    Untyped,
    /// An explicit-bucket histogram: a virtual series made of one.
    Histogram,
}

impl SeriesKind {
    /// Whether the store knows that it only grows.
    pub fn is_counter(self) -> bool {
        matches!(self, SeriesKind::Counter | SeriesKind::Histogram)
    }
}

/// Whether samples are running totals or each counts from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temporality {
    /// Running totals, or no totals at all.
    Cumulative,
    /// Each sample counts what happened since the one before.
    Delta,
}

/// The virtual series of an OTLP histogram, which is stored as one row a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `x_bucket`, one series per bound, with `le`.
    Bucket,
    /// `x_sum`.
    Sum,
    /// `x_count`.
    Count,
}

impl Part {
    /// What the virtual name ends in.
    pub fn suffix(self) -> &'static str {
        match self {
            Part::Bucket => "_bucket",
            Part::Sum => "_sum",
            Part::Count => "_count",
        }
    }
}

/// The virtual series of an OTLP summary, which is stored as one row a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SummaryPart {
    /// `x`, one series per quantile, with `quantile`.
    Quantile,
    /// `x_sum`.
    Sum,
    /// `x_count`.
    Count,
}

impl SummaryPart {
    /// What the virtual name ends in.
    pub fn suffix(self) -> &'static str {
        match self {
            SummaryPart::Quantile => "",
            SummaryPart::Sum => "_sum",
            SummaryPart::Count => "_count",
        }
    }
}

/// What kind of rows a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Number samples.
    Numbers,
    /// A part of histograms.
    Histograms(Part),
    /// Native histograms, whole: exponential buckets or custom ones.
    Native,
    /// A part of summaries.
    Summaries(SummaryPart),
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 8] = [
        Shape::Numbers,
        Shape::Histograms(Part::Bucket),
        Shape::Histograms(Part::Sum),
        Shape::Histograms(Part::Count),
        Shape::Native,
        Shape::Summaries(SummaryPart::Quantile),
        Shape::Summaries(SummaryPart::Sum),
        Shape::Summaries(SummaryPart::Count),
    ];

    /// What is appended to the stored metric name before matchers see it.
    pub fn suffix(self) -> &'static str {
        match self {
            Shape::Numbers | Shape::Native => "",
            Shape::Histograms(part) => part.suffix(),
            Shape::Summaries(part) => part.suffix(),
        }
    }

    /// The label that no row stores: each row becomes a series for each of its values.
    pub fn virtual_label(self) -> Option<&'static str> {
        match self {
            Shape::Histograms(Part::Bucket) => Some(BUCKET_LABEL),
            Shape::Summaries(SummaryPart::Quantile) => Some(QUANTILE_LABEL),
            Shape::Numbers | Shape::Native | Shape::Histograms(_) | Shape::Summaries(_) => None,
        }
    }

    /// Whether the matchers leave room for a series of this shape at all.
    pub fn may_match(self, matchers: &[Matcher]) -> bool {
        matchers.iter().all(|m| m.name != METRIC_NAME || m.op != MatchOp::Equal || m.value.ends_with(self.suffix()))
    }
}

/// The matchers that a source checks: a virtual label is not stored and is checked after the split into its series.
pub fn stored_matchers(matchers: &[Matcher], shape: Shape) -> Vec<Matcher> {
    matchers.iter().filter(|m| shape.virtual_label() != Some(&m.name)).cloned().collect()
}

/// The label that holds a summary's quantile.
pub const QUANTILE_LABEL: &str = "quantile";

/// The label that holds a bucket's upper bound.
pub const BUCKET_LABEL: &str = "le";

/// A question for samples.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    /// Whose series.
    pub tenant: &'a TenantId,
    /// All must match; see [`stored_matchers`].
    pub matchers: &'a [Matcher],
    /// Which rows.
    pub shape: Shape,
    /// Samples after this moment (milliseconds, exclusive) ...
    pub after: i64,
    /// ... and up to this one (inclusive).
    pub until: i64,
    /// More series than this are an [`QueryError::Execution`].
    pub max_series: usize,
    /// More samples than this are an [`QueryError::Execution`].
    pub max_samples: usize,
    /// How long the store may take.
    pub timeout: Duration,
}

/// A function that a store may compute itself, at every step of a frame, from stored numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GridFunction {
    /// The newest sample within the range, none where it is a staleness marker.
    Newest,
    /// `last_over_time`: the same without staleness markers.
    Last,
    /// `rate`
    Rate,
    /// `increase`
    Increase,
    /// `delta`
    Delta,
    /// `irate`
    Irate,
    /// `idelta`
    Idelta,
}

/// A function over the left-open windows that end at the moments of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wish {
    /// What to compute.
    pub function: GridFunction,
    /// Where windows end, `offset` taken away.
    pub frame: Frame,
    /// How long they are, in milliseconds.
    pub range: i64,
}

/// What a function gives for one series.
#[derive(Clone, Debug, PartialEq)]
pub struct GridSeries {
    /// Its labels, `__name__` included.
    pub labels: Labels,
    /// What it measures.
    pub kind: SeriesKind,
    /// One cell per moment; [`ABSENT`](super::value::ABSENT) where there is no value.
    pub cells: Vec<f64>,
    /// How many samples it was computed from.
    pub samples: usize,
}

/// Everything that a selector matches, where all of it is plain numbers.
#[derive(Clone, Debug)]
pub enum Numbers {
    /// The samples.
    Samples(Vec<StoredSeries>),
    /// The same, ready for the evaluator: in order of labels, each with its samples in order of time. Two may have the same labels.
    Ready(Vec<LoadedSeries>),
    /// The wish, granted: series with at least one sample in the time span.
    Grid(Vec<GridSeries>),
}

/// A question for what series there are.
#[derive(Clone, Debug)]
pub struct Listing<'a> {
    /// Whose series.
    pub tenant: &'a TenantId,
    /// All must match; see [`stored_matchers`].
    pub matchers: &'a [Matcher],
    /// Which rows.
    pub shape: Shape,
    /// Series with samples from here (milliseconds, inclusive), as exactly as the source knows ...
    pub start: i64,
    /// ... to here (inclusive).
    pub end: i64,
    /// At most so many answers.
    pub limit: usize,
}

/// A series without its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesHead {
    /// Its labels, `__name__` with the virtual suffix included.
    pub labels: Labels,
    /// Of [`Part::Bucket`]: its bounds, without +Inf; of [`SummaryPart::Quantile`]: its quantiles.
    pub bounds: Vec<f64>,
}

/// Samples in order of time. Two may share a moment in a series with delta temporality: both count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Milliseconds.
    pub times: Vec<i64>,
    /// As many; a staleness marker where the series ended.
    pub values: Vec<f64>,
}

/// The buckets of one histogram point.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketPoint {
    /// Milliseconds.
    pub at: i64,
    /// Upper bounds, ascending, without +Inf.
    pub bounds: Vec<f64>,
    /// One more than bounds, each for itself; empty where the sender gave only a count.
    pub counts: Vec<u64>,
    /// All observations.
    pub count: u64,
    /// No recorded value: the series ended.
    pub stale: bool,
}

/// The quantiles of one summary point.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantilePoint {
    /// Milliseconds.
    pub at: i64,
    /// Each from 0 to 1.
    pub quantiles: Vec<f64>,
    /// As many.
    pub values: Vec<f64>,
    /// No recorded value: the series ended.
    pub stale: bool,
}

/// One native histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct NativePoint {
    /// Milliseconds.
    pub at: i64,
    /// `None`: no recorded value, the series ended.
    pub histogram: Option<Arc<Histogram>>,
}

/// What a stored series holds.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredData {
    /// Number samples ([`Shape::Numbers`], sums and counts).
    Numbers(Samples),
    /// Bucket points in order of time ([`Part::Bucket`]).
    Buckets(Vec<BucketPoint>),
    /// Native histograms in order of time ([`Shape::Native`]).
    Native(Vec<NativePoint>),
    /// Quantile points in order of time ([`SummaryPart::Quantile`]).
    Quantiles(Vec<QuantilePoint>),
}

/// One series with its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSeries {
    /// Its labels, `__name__` with the virtual suffix included.
    pub labels: Labels,
    /// What it measures.
    pub kind: SeriesKind,
    /// How its samples count.
    pub temporality: Temporality,
    /// Its samples.
    pub data: StoredData,
}

/// Where series come from.
#[async_trait]
pub trait SeriesSource: Send + Sync {
    /// The series with samples in the time span, in any order. Fails with [`QueryError::Execution`] past a limit.
    async fn select(&self, selection: &Selection<'_>) -> Result<Vec<StoredSeries>, QueryError>;
    /// What [`SeriesSource::numbers`] gives, where all of it is in memory: nothing has to be read for it. `None`: ask on.
    async fn at_hand(&self, _selection: &Selection<'_>, _wish: Option<&Wish>) -> Result<Option<Numbers>, QueryError> {
        Ok(None)
    }
    /// The same for all shapes at once, if `selection` (its shape is [`Shape::Numbers`]) matches plain numbers and nothing else; `None`
    /// where each shape must be asked with [`SeriesSource::select`]. A wish is granted only where the answer is the evaluator's own: the
    /// samples may come instead.
    async fn numbers(&self, _selection: &Selection<'_>, _wish: Option<&Wish>) -> Result<Option<Numbers>, QueryError> {
        Ok(None)
    }
    /// The series without samples, in any order.
    async fn series(&self, listing: &Listing<'_>) -> Result<Vec<SeriesHead>, QueryError>;
    /// The label names of the series, without `__name__` and `le` of buckets, in any order.
    async fn label_names(&self, listing: &Listing<'_>) -> Result<Vec<String>, QueryError>;
    /// The values of a stored label or of `__name__` (with the virtual suffix), in any order.
    async fn label_values(&self, name: &str, listing: &Listing<'_>) -> Result<Vec<String>, QueryError>;
    /// What is known of the metrics, sorted by name; names as stored, without virtual suffixes.
    async fn metadata(&self, tenant: &TenantId, limit: usize) -> Result<Vec<MetricMetadata>, QueryError>;
    /// Exemplars of the series of a listing, in any order of series, at most `limit` of them all.
    async fn exemplars(&self, listing: &Listing<'_>) -> Result<Vec<SeriesExemplars>, QueryError>;
    /// What makes the tenant's series many; stored series, without virtual ones. At most `limit` entries a list.
    async fn cardinality(&self, tenant: &TenantId, limit: usize) -> Result<Cardinality, QueryError>;
}

/// The error of a selection that matches too many series.
pub fn too_many_series(limit: usize) -> QueryError {
    QueryError::Execution(format!("the query selects more than {limit} series; narrow its matchers"))
}

const TOO_MANY_SAMPLES: &str = "query processing would load too many samples into memory in query execution";

/// The error of a selection or an evaluation that holds too many samples; Prometheus's words.
pub fn too_many_samples(limit: usize) -> QueryError {
    QueryError::Execution(format!("{TOO_MANY_SAMPLES} (limit {limit}); shorten its ranges or narrow its matchers"))
}

/// Whether an error is that one.
pub fn is_too_many_samples(error: &QueryError) -> bool {
    matches!(error, QueryError::Execution(message) if message.starts_with(TOO_MANY_SAMPLES))
}
