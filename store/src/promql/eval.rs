//! Walks an expression at one moment. Pure: everything it reads is loaded.

use std::collections::{BTreeMap, BTreeSet};

use model::labels::{Labels, METRIC_NAME};
use model::query::{QueryError, Series, SeriesSample};
use model::time::Timestamp;
use promql_parser::parser::{Call, Expr, MatrixSelector, SubqueryExpr, VectorSelector};

use super::load::{DEFAULT_SUBQUERY_STEP, Loaded, first_aligned, moment};
use super::range::{self, Window};
use super::source::is_stale;
use super::{Steps, aggregate, binary, instant, millis};

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// The value of an expression at a moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(f64),
    /// A text.
    Text(String),
    /// An instant vector.
    Vector(Vec<Element>),
}

/// One evaluation: its steps, and what it had to say.
#[derive(Debug)]
pub struct Evaluation {
    /// The steps of the whole query (`@ start()`, `@ end()`).
    pub steps: Steps,
    /// How far back an instant selector looks, in milliseconds.
    pub lookback: i64,
    /// What may be wrong with the answer.
    pub warnings: BTreeSet<String>,
    /// What to know about it.
    pub infos: BTreeSet<String>,
}

/// A range vector's row: labels, whether it holds increments, and the samples of the window.
pub struct RangeRow {
    /// Its labels.
    pub labels: Labels,
    /// Whether its samples are increments.
    pub delta: bool,
    /// The samples, staleness markers left out.
    pub samples: Vec<(i64, f64)>,
}

/// Refuses two elements with the same labels.
pub fn distinct(elements: Vec<Element>) -> Result<Vec<Element>, QueryError> {
    let mut seen = BTreeSet::new();
    for element in &elements {
        if !seen.insert(&element.labels) {
            return Err(QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned()));
        }
    }
    Ok(elements)
}

/// The vector in a value; a scalar or text where one is needed is a defect of the expression.
pub fn vector(value: Value) -> Result<Vec<Element>, QueryError> {
    match value {
        Value::Vector(elements) => Ok(elements),
        Value::Scalar(_) => Err(QueryError::BadData("expected an instant vector, got a scalar".to_owned())),
        Value::Text(_) => Err(QueryError::BadData("expected an instant vector, got a string".to_owned())),
    }
}

/// The number in a value.
pub fn scalar(value: Value) -> Result<f64, QueryError> {
    match value {
        Value::Scalar(value) => Ok(value),
        Value::Vector(_) => Err(QueryError::BadData("expected a scalar, got an instant vector".to_owned())),
        Value::Text(_) => Err(QueryError::BadData("expected a scalar, got a string".to_owned())),
    }
}

fn unwrapped(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(paren) => unwrapped(&paren.expr),
        other => other,
    }
}

impl Evaluation {
    /// Nothing said yet.
    pub fn new(steps: Steps, lookback: i64) -> Self {
        Evaluation { steps, lookback, warnings: BTreeSet::new(), infos: BTreeSet::new() }
    }

    /// The expression at every step, as series.
    pub fn series(&mut self, expr: &Expr, loaded: &Loaded) -> Result<Vec<Series>, QueryError> {
        let mut rows: BTreeMap<Labels, Vec<SeriesSample>> = BTreeMap::new();
        let mut at = self.steps.start;
        while at <= self.steps.end {
            let moment = Timestamp::from_millis(at);
            match self.value(expr, loaded, at)? {
                Value::Scalar(value) => rows.entry(Labels::empty()).or_default().push(SeriesSample { at: moment, value }),
                Value::Text(_) => return Err(QueryError::BadData("a string cannot be evaluated over a range".to_owned())),
                Value::Vector(elements) => {
                    for element in distinct(elements)? {
                        rows.entry(element.labels).or_default().push(SeriesSample { at: moment, value: element.value });
                    }
                }
            }
            at += self.steps.step;
        }
        Ok(rows.into_iter().map(|(labels, samples)| Series { labels, samples }).collect())
    }

    /// For a range selector or subquery at the top of an instant query: its samples as they are.
    pub fn raw_matrix(&mut self, expr: &Expr, loaded: &Loaded, at: i64) -> Result<Option<Vec<Series>>, QueryError> {
        if !matches!(unwrapped(expr), Expr::MatrixSelector(_) | Expr::Subquery(_)) {
            return Ok(None);
        }
        let (_, rows) = self.range_rows(expr, loaded, at)?;
        let samples = |row: &RangeRow| {
            row.samples.iter().map(|(at, value)| SeriesSample { at: Timestamp::from_millis(*at), value: *value }).collect()
        };
        Ok(Some(
            rows.iter()
                .filter(|row| !row.samples.is_empty())
                .map(|row| Series { labels: row.labels.clone(), samples: samples(row) })
                .collect(),
        ))
    }

    /// The expression at a moment.
    pub fn value(&mut self, expr: &Expr, loaded: &Loaded, at: i64) -> Result<Value, QueryError> {
        match expr {
            Expr::NumberLiteral(number) => Ok(Value::Scalar(number.val)),
            Expr::StringLiteral(text) => Ok(Value::Text(text.val.clone())),
            Expr::Paren(paren) => self.value(&paren.expr, loaded, at),
            Expr::Unary(unary) => Ok(match self.value(&unary.expr, loaded, at)? {
                Value::Scalar(value) => Value::Scalar(-value),
                Value::Text(_) => return Err(QueryError::BadData("a string has no negative".to_owned())),
                Value::Vector(elements) => Value::Vector(instant::map(elements, |value| -value)),
            }),
            Expr::VectorSelector(selector) => {
                Ok(Value::Vector(self.instant_selector(selector, loaded, at).into_iter().map(|(element, _)| element).collect()))
            }
            Expr::MatrixSelector(_) | Expr::Subquery(_) => {
                Err(QueryError::BadData("expected an instant vector, got a range vector".to_owned()))
            }
            Expr::Aggregate(one) => aggregate::aggregate(self, one, loaded, at),
            Expr::Binary(one) => binary::binary(self, one, loaded, at),
            Expr::Call(call) => self.call(call, loaded, at),
            Expr::Extension(_) => Err(QueryError::BadData("extension expressions are not supported".to_owned())),
        }
    }

    fn call(&mut self, call: &Call, loaded: &Loaded, at: i64) -> Result<Value, QueryError> {
        let name = call.func.name;
        if range::knows(name) {
            return self.range_call(call, loaded, at);
        }
        instant::call(self, call, loaded, at)
    }

    /// The elements of an instant selector with the moment of their sample.
    pub fn instant_selector(&mut self, selector: &VectorSelector, loaded: &Loaded, at: i64) -> Vec<(Element, i64)> {
        let moment = moment(at, selector.at.as_ref(), selector.offset.as_ref(), self.steps);
        let mut elements = Vec::new();
        for series in loaded.series(selector) {
            if series.delta {
                let name = series.labels.get(METRIC_NAME).unwrap_or("");
                self.warnings.insert(format!("{name} holds increments (delta temporality): use it inside rate() or increase()"));
                continue;
            }
            let after = series.samples.partition_point(|(time, _)| *time <= moment);
            let Some((time, value)) = after.checked_sub(1).map(|before| series.samples[before]) else { continue };
            if time > moment - self.lookback && !is_stale(value) {
                elements.push((Element { labels: series.labels.clone(), value }, time));
            }
        }
        elements
    }

    /// The window of a range argument and its rows.
    pub fn range_rows(&mut self, expr: &Expr, loaded: &Loaded, at: i64) -> Result<(Window, Vec<RangeRow>), QueryError> {
        match unwrapped(expr) {
            Expr::MatrixSelector(matrix) => Ok(self.matrix(matrix, loaded, at)),
            Expr::Subquery(subquery) => self.subquery(subquery, loaded, at),
            _ => Err(QueryError::BadData("expected a range vector".to_owned())),
        }
    }

    fn matrix(&mut self, matrix: &MatrixSelector, loaded: &Loaded, at: i64) -> (Window, Vec<RangeRow>) {
        let end = moment(at, matrix.vs.at.as_ref(), matrix.vs.offset.as_ref(), self.steps);
        let window = Window { start: end - millis(matrix.range), end };
        let rows = loaded.series(&matrix.vs).iter().map(|series| {
            let from = series.samples.partition_point(|(time, _)| *time <= window.start);
            let to = series.samples.partition_point(|(time, _)| *time <= window.end);
            let samples = series.samples[from..to].iter().copied().filter(|(_, value)| !is_stale(*value)).collect();
            RangeRow { labels: series.labels.clone(), delta: series.delta, samples }
        });
        (window, rows.collect())
    }

    fn subquery(&mut self, subquery: &SubqueryExpr, loaded: &Loaded, at: i64) -> Result<(Window, Vec<RangeRow>), QueryError> {
        let end = moment(at, subquery.at.as_ref(), subquery.offset.as_ref(), self.steps);
        let window = Window { start: end - millis(subquery.range), end };
        let step = subquery.step.map_or(DEFAULT_SUBQUERY_STEP, millis).max(1);
        let mut rows: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
        let mut inner = first_aligned(window.start, step);
        while inner <= window.end {
            match self.value(&subquery.expr, loaded, inner)? {
                Value::Scalar(value) => rows.entry(Labels::empty()).or_default().push((inner, value)),
                Value::Text(_) => return Err(QueryError::BadData("a string cannot be evaluated over a range".to_owned())),
                Value::Vector(elements) => {
                    for element in distinct(elements)? {
                        rows.entry(element.labels).or_default().push((inner, element.value));
                    }
                }
            }
            inner += step;
        }
        Ok((window, rows.into_iter().map(|(labels, samples)| RangeRow { labels, delta: false, samples }).collect()))
    }

    fn range_call(&mut self, call: &Call, loaded: &Loaded, at: i64) -> Result<Value, QueryError> {
        let name = call.func.name;
        let arguments = &call.args.args;
        let place = range::range_argument(name);
        let argument = arguments.get(place).ok_or_else(|| QueryError::BadData(format!("{name} needs a range vector")))?;
        let mut numbers = Vec::new();
        for (at_argument, other) in arguments.iter().enumerate() {
            if at_argument != place {
                numbers.push(scalar(self.value(other, loaded, at)?)?);
            }
        }
        let (window, rows) = self.range_rows(argument, loaded, at)?;
        if name == "absent_over_time" {
            let any = rows.iter().any(|row| !row.samples.is_empty());
            return Ok(Value::Vector(if any {
                Vec::new()
            } else {
                vec![Element { labels: instant::absent_labels(argument), value: 1.0 }]
            }));
        }
        if name == "quantile_over_time" && numbers.first().is_some_and(|q| !(0.0..=1.0).contains(q)) {
            self.warnings.insert(format!("PromQL warning: quantile value should be between 0 and 1, got {}", numbers[0]));
        }
        let keeps_name = matches!(name, "last_over_time" | "first_over_time");
        let mut elements = Vec::new();
        for row in rows {
            if row.delta && !range::takes_delta(name) {
                let metric = row.labels.get(METRIC_NAME).unwrap_or("").to_owned();
                self.warnings.insert(format!("{name}() means nothing for {metric}, which holds increments (delta temporality)"));
                continue;
            }
            if let Some(value) = range::apply(name, &row, window, &numbers, at) {
                let labels = if keeps_name { row.labels } else { row.labels.without(METRIC_NAME) };
                elements.push(Element { labels, value });
            }
        }
        distinct(elements).map(Value::Vector)
    }
}
