//! The evaluator: walks a plan over the steps of a frame with all samples already in memory. Synchronous and pure; it stops when
//! the cancel flag is set.

mod extent;
mod info;
mod over;
mod select;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::labels::Labels;
use model::query::QueryError;

pub use extent::{Extent, Needs, needs};

use super::aggregate::{self, Operation};
use super::binary::{self, Side};
use super::functions::{label, math, sort};
use super::histogram;
use super::notes::Notes;
use super::plan::{Aggregate, Aggregator, Binary, Node, Operator, Pick, QueryTime, SortBy};
use super::source::too_many_samples;
use super::value::{ABSENT, Column, Frame, Histograms, Value, is_number, merge_columns, nameless, present};

/// A series as the evaluator sees it: samples in order of time.
#[derive(Clone, Debug)]
pub struct LoadedSeries {
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Whether its samples are deltas.
    pub delta: bool,
    /// Whether the store knows that it is a counter.
    pub counter: bool,
    /// Milliseconds.
    pub times: Vec<i64>,
    /// As many; staleness markers included.
    pub values: Vec<f64>,
    /// The histogram of each sample that is one: none at all, or as many as times.
    pub histograms: Histograms,
}

impl LoadedSeries {
    /// Of two samples at the same moment the later one counts; in a delta series both do. Samples are in order of time.
    pub fn settle(&mut self) {
        if self.delta || self.times.windows(2).all(|pair| pair[0] != pair[1]) {
            return;
        }
        let mut kept = 0;
        for index in 0..self.times.len() {
            if kept == 0 || self.times[kept - 1] != self.times[index] {
                kept += 1;
            }
            (self.times[kept - 1], self.values[kept - 1]) = (self.times[index], self.values[index]);
            if !self.histograms.is_empty() {
                self.histograms.swap(kept - 1, index);
            }
        }
        self.times.truncate(kept);
        self.values.truncate(kept);
        self.histograms.truncate(kept);
    }
}

/// A series of which a store computed what the plan wants of it.
#[derive(Clone, Debug)]
pub struct GridColumn {
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Whether the store knows that it is a counter.
    pub counter: bool,
    /// One cell per step.
    pub cells: Vec<f64>,
    /// How many samples there were.
    pub samples: usize,
}

/// What was loaded for a selector, in order of labels.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// Samples.
    Samples(Vec<LoadedSeries>),
    /// The only thing that the plan wants of them.
    Grid(Vec<GridColumn>),
}

impl Default for Loaded {
    fn default() -> Self {
        Loaded::Samples(Vec::new())
    }
}

impl Loaded {
    /// The samples; none where a store kept them.
    pub fn samples(&self) -> &[LoadedSeries] {
        match self {
            Loaded::Samples(series) => series,
            Loaded::Grid(_) => &[],
        }
    }
    /// How many series there are.
    pub fn len(&self) -> usize {
        match self {
            Loaded::Samples(series) => series.len(),
            Loaded::Grid(columns) => columns.len(),
        }
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// How many samples were read.
    pub fn read(&self) -> usize {
        match self {
            Loaded::Samples(series) => series.iter().map(|series| series.times.len()).sum(),
            Loaded::Grid(columns) => columns.iter().map(|column| column.samples).sum(),
        }
    }
}

/// What does not change during an evaluation.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The frame of the whole query: `start()` and `end()`.
    pub query: Frame,
    /// How far back an instant selector looks, in milliseconds.
    pub lookback: i64,
    /// The step of a subquery that names none, in milliseconds.
    pub subquery_step: i64,
    /// More cells than this in one value are refused.
    pub max_samples: usize,
}

/// Evaluates one plan.
pub struct Evaluator<'a> {
    /// What was loaded, per selector.
    pub data: &'a [Arc<Loaded>],
    /// What does not change.
    pub setting: &'a Setting,
    /// Set when nobody waits any more.
    pub cancelled: &'a AtomicBool,
    /// What there is to say.
    pub notes: Notes,
    /// How many samples each step of the outermost frame looked at; empty where nobody asks.
    pub looked_at: Vec<u64>,
    /// How many subqueries are being evaluated.
    pub nested: usize,
    /// Cells of operands that wait for another one to be evaluated.
    pub held: usize,
}

impl Evaluator<'_> {
    /// The value of a node at every step of a frame.
    pub fn node(&mut self, node: &Node, frame: &Frame) -> Result<Value, QueryError> {
        self.go_on()?;
        match node {
            Node::Noting(places, of) => {
                let before = self.notes.at(*places);
                let value = self.node(of, frame);
                self.notes.at(before);
                value
            }
            Node::Number(number) => self.constant(*number, frame),
            Node::Text(text) => Ok(Value::Text(text.clone())),
            Node::Select(selector, shift) => self.select(*selector, shift, frame).map(Value::Vector),
            Node::Negate(of) => self.negate(of, frame),
            Node::Binary(binary) => self.binary(binary, frame),
            Node::Aggregate(aggregate) => self.aggregate(aggregate, frame).map(Value::Vector),
            Node::Time => self.room(1, frame).map(|()| Value::Scalar(frame.times().map(seconds).collect())),
            Node::QueryTime(what) => self.constant(self.query_time(*what), frame),
            Node::Pick(which, left, right) => self.pick(*which, left, right, frame),
            Node::Scalar(of) => self.only_value(of, frame),
            Node::Vector(of) => Ok(Value::Vector(vec![Column::new(Labels::empty(), self.scalar(of, frame)?)])),
            Node::Timestamp(of) => self.timestamp(of, frame).map(Value::Vector),
            Node::Nothing(of) => self.vector(of, frame).map(|_| Value::Vector(Vec::new())),
            Node::Map(function, of) => self.map(of, frame, |value, _| function(value)),
            Node::Clamp(of, min, max) => self.clamp(of, min, max, frame),
            Node::Round(of, nearest) => {
                let nearest = self.scalar(nearest, frame)?;
                self.beside(nearest.len(), |all| all.map(of, frame, |value, step| math::round(value, nearest[step])))
            }
            Node::Date(part, Some(of)) => self.map(of, frame, |value, _| part.of(value)),
            Node::Date(part, None) => {
                let cells = frame.times().map(|at| part.of(at.div_euclid(1_000) as f64)).collect();
                Ok(Value::Vector(vec![Column::new(Labels::empty(), cells)]))
            }
            Node::Over(function, params, range) => self.over(*function, params, range, frame).map(Value::Vector),
            Node::Absent(of, labels) => self.absent(of, labels, frame),
            Node::AbsentOver(range, labels) => self.absent_over(range, labels, frame).map(Value::Vector),
            Node::HistogramQuantile(q, of) => {
                let q = self.scalar(q, frame)?;
                let columns = self.beside(q.len(), |all| all.vector(of, frame))?;
                histogram::evaluate(histogram::Of::Quantile(&q), &columns, frame.len(), &mut self.notes).map(Value::Vector)
            }
            Node::HistogramFraction(lower, upper, of) => {
                let [lower, upper] = self.scalars(lower, upper, frame)?;
                let columns = self.beside(2 * lower.len(), |all| all.vector(of, frame))?;
                let of = histogram::Of::Fraction(&lower, &upper);
                histogram::evaluate(of, &columns, frame.len(), &mut self.notes).map(Value::Vector)
            }
            Node::HistogramQuantiles(of, label, qs) => self.histogram_quantiles(of, label, qs, frame).map(Value::Vector),
            Node::HistogramPart(part, of) => {
                let mut columns = self.vector(of, frame)?;
                for column in &mut columns {
                    histogram::part(*part, column);
                }
                merge_columns(columns).map(Value::Vector)
            }
            Node::Info(of, info) => self.info(of, info, frame).map(Value::Vector),
            Node::LabelReplace(of, with) => self.relabel(of, frame, |labels| label::replace(labels, with)),
            Node::LabelJoin(of, with) => self.relabel(of, frame, |labels| label::join(labels, with)),
            Node::Sort(of, by, direction) => {
                let mut columns = self.vector(of, frame)?;
                if *by == SortBy::Value {
                    columns.iter_mut().for_each(Column::drop_histograms);
                }
                if frame.len() == 1 {
                    // A value without one sorts nowhere: drop it first.
                    columns.retain(|column| !column.is_absent());
                    sort::sort(&mut columns, by, *direction);
                } else {
                    self.notes.warn("sort is ineffective for range queries since results are always ordered by labels");
                }
                Ok(Value::Vector(columns))
            }
        }
    }

    /// Counts samples that a step looked at. What subqueries are made of counts for none.
    fn look_at(&mut self, step: usize, samples: usize) {
        if self.nested == 0
            && let Some(count) = self.looked_at.get_mut(step)
        {
            *count += samples as u64;
        }
    }

    /// Fails once nobody waits for the answer.
    fn go_on(&self) -> Result<(), QueryError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(QueryError::Execution("query was canceled".to_owned()));
        }
        Ok(())
    }

    /// Fails if a value of so many columns would be too large, with those that wait for it.
    fn room(&self, columns: usize, frame: &Frame) -> Result<(), QueryError> {
        if columns.saturating_mul(frame.len()).saturating_add(self.held) > self.setting.max_samples {
            return Err(too_many_samples(self.setting.max_samples));
        }
        self.go_on()
    }

    /// Evaluates something while an operand of so many cells waits.
    fn beside<T>(&mut self, cells: usize, evaluate: impl FnOnce(&mut Self) -> Result<T, QueryError>) -> Result<T, QueryError> {
        self.held = self.held.saturating_add(cells);
        let value = evaluate(self);
        self.held = self.held.saturating_sub(cells);
        value
    }

    fn constant(&self, number: f64, frame: &Frame) -> Result<Value, QueryError> {
        self.room(1, frame).map(|()| Value::Scalar(vec![number; frame.len()]))
    }

    fn scalars(&mut self, first: &Node, second: &Node, frame: &Frame) -> Result<[Vec<f64>; 2], QueryError> {
        let first = self.scalar(first, frame)?;
        let second = self.beside(first.len(), |all| all.scalar(second, frame))?;
        Ok([first, second])
    }

    fn scalar(&mut self, node: &Node, frame: &Frame) -> Result<Vec<f64>, QueryError> {
        match self.node(node, frame)? {
            Value::Scalar(numbers) => Ok(numbers),
            Value::Vector(_) | Value::Text(_) => Err(QueryError::Execution("expected a scalar".to_owned())),
        }
    }

    fn vector(&mut self, node: &Node, frame: &Frame) -> Result<Vec<Column>, QueryError> {
        match self.node(node, frame)? {
            Value::Vector(columns) => Ok(columns),
            Value::Scalar(_) | Value::Text(_) => Err(QueryError::Execution("expected an instant vector".to_owned())),
        }
    }

    /// Maps every number and drops the metric name; histograms are left out.
    fn map(&mut self, of: &Node, frame: &Frame, function: impl Fn(f64, usize) -> f64) -> Result<Value, QueryError> {
        let mut columns = self.vector(of, frame)?;
        for column in &mut columns {
            column.drop_histograms();
            for (step, value) in column.cells.iter_mut().enumerate() {
                if present(*value) {
                    *value = function(*value, step);
                }
            }
            column.labels = nameless(&column.labels);
        }
        merge_columns(columns).map(Value::Vector)
    }

    fn negate(&mut self, of: &Node, frame: &Frame) -> Result<Value, QueryError> {
        match self.node(of, frame)? {
            Value::Scalar(numbers) => Ok(Value::Scalar(numbers.into_iter().map(|number| -number).collect())),
            Value::Vector(mut columns) => {
                for column in &mut columns {
                    column.cells.iter_mut().filter(|value| is_number(**value)).for_each(|value| *value = -*value);
                    for histogram in column.histograms.iter_mut().flatten() {
                        Arc::make_mut(histogram).scale(-1.0);
                    }
                    column.labels = nameless(&column.labels);
                }
                merge_columns(columns).map(Value::Vector)
            }
            Value::Text(_) => Err(QueryError::Execution("a text has no negative".to_owned())),
        }
    }

    fn clamp(&mut self, of: &Node, min: &Node, max: &Node, frame: &Frame) -> Result<Value, QueryError> {
        let [min, max] = self.scalars(min, max, frame)?;
        // Bounds that cross leave nothing.
        let clamp = |value, step: usize| if max[step] < min[step] { ABSENT } else { math::clamp(value, min[step], max[step]) };
        self.beside(2 * min.len(), |all| all.map(of, frame, clamp))
    }

    fn relabel(&mut self, of: &Node, frame: &Frame, with: impl Fn(&Arc<Labels>) -> Arc<Labels>) -> Result<Value, QueryError> {
        let mut columns = self.vector(of, frame)?;
        for column in &mut columns {
            column.labels = with(&column.labels);
        }
        merge_columns(columns).map(Value::Vector)
    }

    fn pick(&mut self, which: Pick, left: &Node, right: &Node, frame: &Frame) -> Result<Value, QueryError> {
        let [left, right] = self.scalars(left, right, frame)?;
        let choose = |(left, right): (&f64, &f64)| match which {
            Pick::Least => math::least(*left, *right),
            Pick::Greatest => math::greatest(*left, *right),
        };
        Ok(Value::Scalar(left.iter().zip(&right).map(choose).collect()))
    }

    fn query_time(&self, what: QueryTime) -> f64 {
        let query = &self.setting.query;
        match what {
            QueryTime::Start => seconds(query.start),
            QueryTime::End => seconds(query.end),
            QueryTime::Step if query.start == query.end => 0.0,
            QueryTime::Step => seconds(query.step),
            QueryTime::Range => seconds(query.end - query.start),
        }
    }

    /// The value of the only series at each step, else NaN.
    fn only_value(&mut self, of: &Node, frame: &Frame) -> Result<Value, QueryError> {
        let columns = self.vector(of, frame)?;
        let only = |step: usize| {
            let mut here = columns.iter().map(|column| column.cells[step]).filter(|value| is_number(*value));
            match (here.next(), here.next()) {
                (Some(value), None) => value,
                _ => f64::NAN,
            }
        };
        Ok(Value::Scalar((0..frame.len()).map(only).collect()))
    }

    fn absent(&mut self, of: &Node, labels: &Labels, frame: &Frame) -> Result<Value, QueryError> {
        let columns = self.vector(of, frame)?;
        let cell = |step: usize| if columns.iter().any(|column| present(column.cells[step])) { ABSENT } else { 1.0 };
        let cells = (0..frame.len()).map(cell).collect();
        merge_columns(vec![Column::new(labels.clone(), cells)]).map(Value::Vector)
    }

    fn binary(&mut self, binary: &Binary, frame: &Frame) -> Result<Value, QueryError> {
        let left = self.node(&binary.left, frame)?;
        let right = self.beside(left.cells(), |all| all.node(&binary.right, frame))?;
        let operator = binary.operator;
        match (left, right) {
            (Value::Scalar(left), Value::Scalar(right)) => Ok(Value::Scalar(binary::scalars(operator, &left, &right))),
            (Value::Vector(left), Value::Scalar(right)) => {
                binary::vector_scalar(operator, left, &right, Side::Right, &mut self.notes).map(Value::Vector)
            }
            (Value::Scalar(left), Value::Vector(right)) => {
                binary::vector_scalar(operator, right, &left, Side::Left, &mut self.notes).map(Value::Vector)
            }
            (Value::Vector(left), Value::Vector(right)) => match operator {
                Operator::Set(set) => binary::set(set, left, right, &binary.matching, frame.len()).map(Value::Vector),
                Operator::Arithmetic(_) | Operator::Compare(..) => {
                    binary::vectors(binary, [&left, &right], frame.len(), &mut self.notes).map(Value::Vector)
                }
            },
            (Value::Text(_), _) | (_, Value::Text(_)) => Err(QueryError::Execution("a text is no operand".to_owned())),
        }
    }

    /// One series per quantile, with the quantile in a label.
    fn histogram_quantiles(&mut self, of: &Node, label: &str, qs: &[Node], frame: &Frame) -> Result<Vec<Column>, QueryError> {
        let columns = self.vector(of, frame)?;
        let mut waiting: usize = columns.iter().map(Column::cells).sum();
        let mut out: Vec<Column> = Vec::new();
        for q in qs {
            let q = self.beside(waiting, |all| all.scalar(q, frame))?;
            // A quantile that changes from step to step belongs to another series at each.
            let mut values: Vec<f64> = q.clone();
            values.sort_by(f64::total_cmp);
            values.dedup();
            let found = histogram::evaluate(histogram::Of::Quantile(&q), &columns, frame.len(), &mut self.notes)?;
            for value in values {
                self.beside(waiting, |all| all.room(found.len(), frame))?;
                waiting += found.len() * frame.len();
                let text = histogram::quantile_text(value);
                out.extend(found.iter().map(|column| {
                    let here = |(cell, q): (&f64, &f64)| if q.total_cmp(&value).is_eq() { *cell } else { ABSENT };
                    Column::new(Labels::clone(&column.labels).with(label, &text), column.cells.iter().zip(&q).map(here).collect())
                }));
            }
        }
        merge_columns(out)
    }

    fn aggregate(&mut self, aggregate: &Aggregate, frame: &Frame) -> Result<Vec<Column>, QueryError> {
        let parameter = match &aggregate.aggregator {
            Aggregator::Quantile(node) | Aggregator::Topk(node) | Aggregator::Bottomk(node) => self.scalar(node, frame)?,
            Aggregator::Limitk(node) | Aggregator::LimitRatio(node) => self.scalar(node, frame)?,
            Aggregator::Sum | Aggregator::Avg | Aggregator::Min | Aggregator::Max | Aggregator::Count | Aggregator::Group => Vec::new(),
            Aggregator::Stddev | Aggregator::Stdvar | Aggregator::CountValues(_) => Vec::new(),
        };
        let operation = match &aggregate.aggregator {
            Aggregator::Sum => Operation::Sum,
            Aggregator::Avg => Operation::Avg,
            Aggregator::Min => Operation::Min,
            Aggregator::Max => Operation::Max,
            Aggregator::Count => Operation::Count,
            Aggregator::Group => Operation::Group,
            Aggregator::Stddev => Operation::Stddev,
            Aggregator::Stdvar => Operation::Stdvar,
            Aggregator::Quantile(_) => Operation::Quantile(&parameter),
            Aggregator::Topk(_) => Operation::Topk(&parameter),
            Aggregator::Bottomk(_) => Operation::Bottomk(&parameter),
            Aggregator::Limitk(_) => Operation::Limitk(&parameter),
            Aggregator::LimitRatio(_) => Operation::LimitRatio(&parameter),
            Aggregator::CountValues(label) => Operation::CountValues(label),
        };
        let columns = self.beside(parameter.len(), |all| all.vector(&aggregate.of, frame))?;
        aggregate::evaluate(operation, &aggregate.grouping, columns, frame.len(), &mut self.notes)
    }
}

/// Milliseconds to seconds.
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}
