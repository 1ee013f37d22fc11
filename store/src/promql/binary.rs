//! Binary operators: number with number, vector with number, vector with vector. Which series belong together is found once for all
//! steps; that a match is unique is checked at each step, as Prometheus does.

mod histograms;
mod set;

use std::collections::HashMap;
use std::sync::Arc;

use model::labels::{Labels, METRIC_NAME};
use model::query::QueryError;

pub use set::set;

use super::notes::Notes;
use super::plan::{Arithmetic, Bool, Cardinality, Comparison, Matching, Operator};
use super::value::{ABSENT, Column, is_histogram, merge_columns, nameless, present};

/// Computes.
pub fn compute(operator: Arithmetic, left: f64, right: f64) -> f64 {
    match operator {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Divide => left / right,
        Arithmetic::Modulo => left % right,
        Arithmetic::Power => left.powf(right),
        Arithmetic::Atan2 => left.atan2(right),
    }
}

/// Compares; everything but `!=` is false with a NaN.
pub fn compare(comparison: Comparison, left: f64, right: f64) -> bool {
    match comparison {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
    }
}

/// The cell of a pair: `kept` is what a comparison lets through.
fn cell(operator: Operator, left: f64, right: f64, kept: f64) -> f64 {
    match operator {
        Operator::Arithmetic(arithmetic) => compute(arithmetic, left, right),
        Operator::Compare(comparison, Bool::Filter) => {
            if compare(comparison, left, right) {
                kept
            } else {
                ABSENT
            }
        }
        Operator::Compare(comparison, Bool::Number) => f64::from(u8::from(compare(comparison, left, right))),
        Operator::Set(_) => ABSENT,
    }
}

/// Whether the result keeps the metric name.
fn keeps_name(operator: Operator) -> bool {
    matches!(operator, Operator::Compare(_, Bool::Filter) | Operator::Set(_))
}

/// Number with number.
pub fn scalars(operator: Operator, left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter().zip(right).map(|(left, right)| cell(operator, *left, *right, *left)).collect()
}

/// On which side the number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `1 - x`
    Left,
    /// `x - 1`
    Right,
}

/// Vector with number. A comparison keeps the vector's value on either side.
pub fn vector_scalar(
    operator: Operator,
    columns: Vec<Column>,
    numbers: &[f64],
    number_on: Side,
    notes: &mut Notes,
) -> Result<Vec<Column>, QueryError> {
    let mut out = Vec::with_capacity(columns.len());
    for mut column in columns {
        if column.has_histograms() {
            histograms::with_numbers(operator, &mut column, numbers, number_on, notes);
        }
        for (value, number) in column.cells.iter_mut().zip(numbers) {
            if present(*value) && !is_histogram(*value) {
                *value = match number_on {
                    Side::Left => cell(operator, *number, *value, *value),
                    Side::Right => cell(operator, *value, *number, *value),
                };
            }
        }
        if !keeps_name(operator) {
            column.labels = nameless(&column.labels);
        }
        out.push(column);
    }
    merge_columns(out)
}

/// The labels that two matching series share.
pub fn signature(labels: &Labels, matching: &Matching) -> Labels {
    match matching {
        Matching::On(names) => labels.filtered(|name| names.iter().any(|wanted| wanted == name)),
        Matching::Ignoring(names) => labels.filtered(|name| name != METRIC_NAME && !names.iter().any(|ignored| ignored == name)),
    }
}

struct Join<'a> {
    operator: Operator,
    matching: &'a Matching,
    cardinality: &'a Cardinality,
    many: &'a [Column],
    one: &'a [Column],
    /// At which steps both sides have any series: elsewhere nothing is matched, so nothing can be ambiguous.
    both: Vec<bool>,
    notes: &'a mut Notes,
}

/// Vector with vector, arithmetic or comparison.
pub fn vectors(
    operator: Operator,
    [left, right]: [&[Column]; 2],
    matching: &Matching,
    cardinality: &Cardinality,
    steps: usize,
    notes: &mut Notes,
) -> Result<Vec<Column>, QueryError> {
    let (many, one) = if matches!(cardinality, Cardinality::OneToMany(_)) { (right, left) } else { (left, right) };
    let any = |columns: &[Column], step: usize| columns.iter().any(|column| present(column.cells[step]));
    let both = (0..steps).map(|step| any(many, step) && any(one, step)).collect();
    Join { operator, matching, cardinality, many, one, both, notes }.run(steps)
}

impl Join<'_> {
    fn run(mut self, steps: usize) -> Result<Vec<Column>, QueryError> {
        let mut ones: HashMap<Labels, Vec<usize>> = HashMap::new();
        for (index, column) in self.one.iter().enumerate() {
            ones.entry(signature(&column.labels, self.matching)).or_default().push(index);
        }
        self.check_ones(&ones, steps)?;
        let mut manys: HashMap<Labels, Vec<usize>> = HashMap::new();
        let mut order: Vec<(usize, &[usize])> = Vec::new();
        for (index, column) in self.many.iter().enumerate() {
            let labels = signature(&column.labels, self.matching);
            if let Some(matches) = ones.get(&labels) {
                order.push((index, matches));
                manys.entry(labels).or_default().push(index);
            }
        }
        let mut out = Vec::with_capacity(order.len());
        for (many, matches) in order {
            for one in matches {
                let (many, one) = (&self.many[many], &self.one[*one]);
                let labels = self.labels(&many.labels, &one.labels);
                out.push(self.column(labels, many, one));
            }
        }
        self.check_result(&out, steps)?;
        merge_columns(out)
    }

    fn column(&mut self, labels: Arc<Labels>, many: &Column, one: &Column) -> Column {
        if many.has_histograms() || one.has_histograms() {
            let swapped = matches!(self.cardinality, Cardinality::OneToMany(_));
            let (left, right) = if swapped { (one, many) } else { (many, one) };
            return histograms::columns(self.operator, labels, left, right, self.notes);
        }
        Column::new(labels, self.cells(many, one))
    }

    fn cells(&self, many: &Column, one: &Column) -> Vec<f64> {
        let swapped = matches!(self.cardinality, Cardinality::OneToMany(_));
        let pair = |(many, one): (&f64, &f64)| {
            if !present(*many) || !present(*one) {
                ABSENT
            } else if swapped {
                // The left side's value is what a comparison keeps, also where the right side is the many.
                cell(self.operator, *one, *many, *one)
            } else {
                cell(self.operator, *many, *one, *many)
            }
        };
        many.cells.iter().zip(&one.cells).map(pair).collect()
    }

    /// Two series of the "one" side with the same signature at the same step are an error.
    fn check_ones(&self, ones: &HashMap<Labels, Vec<usize>>, steps: usize) -> Result<(), QueryError> {
        let side = if matches!(self.cardinality, Cardinality::OneToMany(_)) { "left" } else { "right" };
        for (group, members) in ones.iter().filter(|(_, members)| members.len() > 1) {
            for step in (0..steps).filter(|step| self.both[*step]) {
                let mut here = members.iter().map(|member| &self.one[*member]).filter(|column| present(column.cells[step]));
                if let (Some(first), Some(second)) = (here.next(), here.next()) {
                    return Err(QueryError::Execution(format!(
                        "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                        second.labels, first.labels
                    )));
                }
            }
        }
        Ok(())
    }

    /// One result per match group (one-to-one) or per label set (grouped) and step.
    fn check_result(&self, out: &[Column], steps: usize) -> Result<(), QueryError> {
        let message = match self.cardinality {
            Cardinality::OneToOne => "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
            Cardinality::ManyToOne(_) | Cardinality::OneToMany(_) => {
                "multiple matches for labels: grouping labels must ensure unique matches"
            }
        };
        let mut groups: HashMap<Labels, Vec<&Column>> = HashMap::new();
        for column in out {
            let key = match self.cardinality {
                Cardinality::OneToOne => signature(&column.labels, self.matching),
                Cardinality::ManyToOne(_) | Cardinality::OneToMany(_) => Labels::clone(&column.labels),
            };
            groups.entry(key).or_default().push(column);
        }
        for members in groups.values().filter(|members| members.len() > 1) {
            if (0..steps).any(|step| members.iter().filter(|column| present(column.cells[step])).count() > 1) {
                return Err(QueryError::Execution(message.to_owned()));
            }
        }
        Ok(())
    }

    fn labels(&self, many: &Arc<Labels>, one: &Arc<Labels>) -> Arc<Labels> {
        let drop_name = !keeps_name(self.operator);
        let included = match self.cardinality {
            Cardinality::OneToOne => {
                let dropped = |name: &str| match self.matching {
                    Matching::On(names) => !names.iter().any(|kept| kept == name),
                    Matching::Ignoring(names) => names.iter().any(|ignored| ignored == name),
                };
                let unnamed = if drop_name { nameless(many) } else { Arc::clone(many) };
                return if unnamed.iter().any(|(name, _)| dropped(name)) {
                    Arc::new(unnamed.filtered(|name| !dropped(name)))
                } else {
                    unnamed
                };
            }
            Cardinality::ManyToOne(included) | Cardinality::OneToMany(included) => included,
        };
        let mut labels = if drop_name { Labels::clone(&nameless(many)) } else { Labels::clone(many) };
        for name in included {
            labels.set(name, one.get(name).unwrap_or(""));
        }
        Arc::new(labels)
    }
}
