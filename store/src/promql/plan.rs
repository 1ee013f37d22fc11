//! A checked expression as the evaluator walks it: names resolved to functions, matchers compiled, selectors numbered. Pure data.

use std::mem::ManuallyDrop;

use model::labels::{Labels, Matcher};
use regex::Regex;

use super::functions::RangeFunction;
use super::stack::{SHALLOW, with_room};

/// A place in an expression's text: both from 1, columns in bytes. 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// The places that notes about a node name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotePlaces {
    /// What it works on.
    pub of: Place,
    /// Its parameter.
    pub parameter: Place,
}

/// A parsed and checked expression.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The expression.
    pub root: Root,
    /// Every selector in it, in order of appearance.
    pub selectors: Vec<Selector>,
    /// Whether there are subqueries in it: what it costs does not follow from its samples then.
    pub subqueries: bool,
    /// How many levels it has.
    pub depth: usize,
}

impl Drop for Plan {
    /// A deep tree is taken apart where there is room for it.
    fn drop(&mut self) {
        if self.depth > SHALLOW {
            let root = ManuallyDrop::new(std::mem::replace(&mut self.root, Root::Node(Node::Time)));
            // Without a thread it stays in memory: there is no room to take it apart here.
            let _ = with_room(self.depth, move || {
                drop(ManuallyDrop::into_inner(root));
                Ok(())
            });
        }
    }
}

/// What stands at the top.
#[derive(Clone, Debug)]
pub enum Root {
    /// A scalar, a vector or a text.
    Node(Node),
    /// A bare range vector: allowed in instant queries only.
    Range(RangeNode),
}

/// A series selector.
#[derive(Clone, Debug)]
pub struct Selector {
    /// All must match.
    pub matchers: Vec<Matcher>,
}

/// An `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// `@ start()` of the whole query.
    Start,
    /// `@ end()` of the whole query.
    End,
    /// `@ <seconds>`, in milliseconds.
    Millis(i64),
}

/// `@` and `offset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// The moment that stands for every step.
    pub at: Option<At>,
    /// Milliseconds back.
    pub offset: i64,
}

/// A range vector.
#[derive(Clone, Debug)]
pub struct RangeNode {
    /// What gives the samples.
    pub of: RangeOf,
    /// Milliseconds.
    pub range: i64,
    /// `@` and `offset`.
    pub shift: Shift,
}

/// Where the samples of a range vector come from.
#[derive(Clone, Debug)]
pub enum RangeOf {
    /// Stored samples of the selector with this number.
    Selector(usize),
    /// An expression evaluated every so many milliseconds (`None`: the default).
    Subquery(Box<Node>, Option<i64>),
}

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A set operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum SetOperator {
    And,
    Or,
    Unless,
}

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Computes.
    Arithmetic(Arithmetic),
    /// Filters, or gives 0 and 1 with `bool`.
    Compare(Comparison, Bool),
    /// Works on which series there are.
    Set(SetOperator),
}

/// The `bool` modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bool {
    /// Keep what compares true.
    Filter,
    /// Give 1 or 0.
    Number,
}

/// Which labels decide that two series belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matching {
    /// `on (...)`
    On(Vec<String>),
    /// `ignoring (...)`, empty by default.
    Ignoring(Vec<String>),
}

/// How many series of a side may share a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// One on either side.
    OneToOne,
    /// `group_left (labels taken from the right)`
    ManyToOne(Vec<String>),
    /// `group_right (labels taken from the left)`
    OneToMany(Vec<String>),
}

/// The values that stand in where a side has no match (`fill`, `fill_left`, `fill_right`; experimental in Prometheus 3).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fill {
    /// For the left side.
    pub left: Option<f64>,
    /// For the right side.
    pub right: Option<f64>,
}

/// A binary expression.
#[derive(Clone, Debug)]
pub struct Binary {
    /// The operator.
    pub operator: Operator,
    /// Left side.
    pub left: Node,
    /// Right side.
    pub right: Node,
    /// Between vectors.
    pub matching: Matching,
    /// Between vectors, except with set operators.
    pub cardinality: Cardinality,
    /// Between vectors, except with set operators.
    pub fill: Fill,
}

/// An aggregation operator.
#[derive(Clone, Debug)]
pub enum Aggregator {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `count`
    Count,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `quantile(scalar, ...)`
    Quantile(Node),
    /// `topk(scalar, ...)`
    Topk(Node),
    /// `bottomk(scalar, ...)`
    Bottomk(Node),
    /// `limitk(scalar, ...)`
    Limitk(Node),
    /// `limit_ratio(scalar, ...)`
    LimitRatio(Node),
    /// `count_values("label", ...)`
    CountValues(String),
}

/// The labels that an aggregation keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// `by (...)`, empty by default.
    By(Vec<String>),
    /// `without (...)`
    Without(Vec<String>),
}

/// An aggregation.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// The operator with its parameter.
    pub aggregator: Aggregator,
    /// What is aggregated.
    pub of: Node,
    /// Into which groups.
    pub grouping: Grouping,
}

/// Something about the query itself (experimental functions of Prometheus 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryTime {
    /// `start()`
    Start,
    /// `end()`
    End,
    /// `step()`
    Step,
    /// `range()`
    Range,
}

/// A scalar of two scalars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// `min_of`
    Least,
    /// `max_of`
    Greatest,
}

/// An expression.
#[derive(Clone, Debug)]
pub enum Node {
    /// A node about whose values there may be something to say, with where that stands.
    Noting(NotePlaces, Box<Node>),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// An instant vector selector.
    Select(usize, Shift),
    /// Unary minus.
    Negate(Box<Node>),
    /// A binary expression.
    Binary(Box<Binary>),
    /// An aggregation.
    Aggregate(Box<Aggregate>),
    /// `time()`
    Time,
    /// `start()`, `end()`, `step()`, `range()`
    QueryTime(QueryTime),
    /// `min_of`, `max_of`
    Pick(Pick, Box<Node>, Box<Node>),
    /// `scalar(v)`
    Scalar(Box<Node>),
    /// `vector(s)`
    Vector(Box<Node>),
    /// `timestamp(v)`; of a bare selector the sample's own time.
    Timestamp(Box<Node>),
    /// No series, whatever the argument has.
    Nothing(Box<Node>),
    /// A function of each value: `abs`, `ln`, `sin`, ...
    Map(fn(f64) -> f64, Box<Node>),
    /// `clamp(v, min, max)` and its halves.
    Clamp(Box<Node>, Box<Node>, Box<Node>),
    /// `round(v, nearest)`
    Round(Box<Node>, Box<Node>),
    /// A date function of a moment in seconds; without an argument, of the step.
    Date(super::functions::date::DatePart, Option<Box<Node>>),
    /// A function of a range vector, with scalar parameters.
    Over(RangeFunction, Vec<Node>, Box<RangeNode>),
    /// `absent(v)` with the labels to show.
    Absent(Box<Node>, Labels),
    /// `absent_over_time(r)` with the labels to show.
    AbsentOver(Box<RangeNode>, Labels),
    /// `histogram_quantile(q, v)`
    HistogramQuantile(Box<Node>, Box<Node>),
    /// `histogram_fraction(lower, upper, v)`
    HistogramFraction(Box<Node>, Box<Node>, Box<Node>),
    /// `histogram_quantiles(v, "label", q, ...)`
    HistogramQuantiles(Box<Node>, String, Vec<Node>),
    /// `histogram_count`, `histogram_sum`, ...: of native histograms.
    HistogramPart(HistogramPart, Box<Node>),
    /// `info(v, selector)`
    Info(Box<Node>, Info),
    /// `label_replace`
    LabelReplace(Box<Node>, Box<LabelReplace>),
    /// `label_join`
    LabelJoin(Box<Node>, LabelJoin),
    /// `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`
    Sort(Box<Node>, SortBy, Direction),
}

/// A number that describes a native histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are PromQL's
pub enum HistogramPart {
    Count,
    Sum,
    Avg,
    Stddev,
    Stdvar,
}

/// What `info` joins with.
#[derive(Clone, Debug)]
pub struct Info {
    /// The selector of the info series.
    pub selector: usize,
    /// What their names must match.
    pub names: Vec<Matcher>,
    /// The labels to take, with the matchers for each; none means every label.
    pub wanted: Vec<Matcher>,
}

/// What `sort*` looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// The value.
    Value,
    /// These labels, then all.
    Labels(Vec<String>),
}

/// Which way `sort*` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Least first.
    Ascending,
    /// Greatest first.
    Descending,
}

/// The texts of `label_replace`.
#[derive(Clone, Debug)]
pub struct LabelReplace {
    /// The label that is written.
    pub destination: String,
    /// With `$1` and `${name}`.
    pub replacement: String,
    /// The label that is read.
    pub source: String,
    /// Anchored at both ends.
    pub pattern: Regex,
}

/// The texts of `label_join`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelJoin {
    /// The label that is written.
    pub destination: String,
    /// Between values.
    pub separator: String,
    /// The labels that are read.
    pub sources: Vec<String>,
}
