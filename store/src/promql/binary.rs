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
use super::plan::{Arithmetic, Binary, Bool, Cardinality, Comparison, Matching, Operator};
use super::value::{ABSENT, Column, is_histogram, merge_columns, nameless, present, written};

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

/// Vector with vector, arithmetic or comparison. The side that `group_left` or `group_right` calls the many is matched with the other.
pub fn vectors(binary: &Binary, [left, right]: [&[Column]; 2], steps: usize, notes: &mut Notes) -> Result<Vec<Column>, QueryError> {
    let swapped = matches!(binary.cardinality, Cardinality::OneToMany(_));
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let (fill_many, fill_one) = if swapped { (binary.fill.right, binary.fill.left) } else { (binary.fill.left, binary.fill.right) };
    let filled = fill_many.is_some() || fill_one.is_some();
    let any = |columns: &[Column], step: usize| columns.iter().any(|column| present(column.cells[step]));
    let both = (0..steps).map(|step| if filled { any(many, step) || any(one, step) } else { any(many, step) && any(one, step) }).collect();
    let Binary { operator, matching, cardinality, .. } = binary;
    let mut join = Join { operator: *operator, matching, cardinality, both, notes };
    join.run(many, one, fill_many, fill_one)
}

/// Columns by the labels that decide what they match.
type Groups<'c> = HashMap<Labels, Vec<&'c Column>>;

/// A result column, and at which steps there was a pair where that is not where it has values: a comparison lets through what it likes.
struct Pairs {
    column: Column,
    matched: Option<Vec<bool>>,
}

impl Pairs {
    fn at(&self, step: usize) -> bool {
        self.matched.as_ref().map_or_else(|| present(self.column.cells[step]), |matched| matched[step])
    }
}

struct Join<'a> {
    operator: Operator,
    matching: &'a Matching,
    cardinality: &'a Cardinality,
    /// At which steps anything is matched: elsewhere nothing can be ambiguous.
    both: Vec<bool>,
    notes: &'a mut Notes,
}

impl Join<'_> {
    fn groups<'c>(&self, columns: &'c [Column]) -> Groups<'c> {
        let mut groups = Groups::new();
        for column in columns {
            groups.entry(signature(&column.labels, self.matching)).or_default().push(column);
        }
        groups
    }

    fn run(&mut self, many: &[Column], one: &[Column], fill_many: Option<f64>, fill_one: Option<f64>) -> Result<Vec<Column>, QueryError> {
        let ones = self.groups(one);
        self.check_ones(&ones)?;
        let mut out = Vec::with_capacity(many.len());
        for column in many {
            let labels = signature(&column.labels, self.matching);
            let matches = ones.get(&labels).map_or(&[][..], Vec::as_slice);
            for one in matches {
                out.push(self.pair(column, one));
            }
            if let Some(fill) = fill_one {
                let stand_in = stand_in(labels, fill, matches, column.cells.len());
                out.push(self.pair(column, &stand_in));
            }
        }
        if let Some(fill) = fill_many {
            let manys = self.groups(many);
            for column in one {
                let labels = signature(&column.labels, self.matching);
                let matches = manys.get(&labels).map_or(&[][..], Vec::as_slice);
                let stand_in = stand_in(labels, fill, matches, column.cells.len());
                out.push(self.pair(&stand_in, column));
            }
        }
        self.check_result(&out)?;
        merge_columns(out.into_iter().map(|pairs| pairs.column).collect())
    }

    fn pair(&mut self, many: &Column, one: &Column) -> Pairs {
        let labels = self.labels(&many.labels, &one.labels);
        let matched = || many.cells.iter().zip(&one.cells).map(|(many, one)| present(*many) && present(*one)).collect();
        if many.has_histograms() || one.has_histograms() {
            let swapped = matches!(self.cardinality, Cardinality::OneToMany(_));
            let (left, right) = if swapped { (one, many) } else { (many, one) };
            let mut matched: Vec<bool> = matched();
            let column = histograms::columns(self.operator, labels, left, right, &mut matched, self.notes);
            return Pairs { column, matched: Some(matched) };
        }
        let matched = matches!(self.operator, Operator::Compare(_, Bool::Filter)).then(matched);
        Pairs { column: Column::new(labels, self.cells(many, one)), matched }
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
    fn check_ones(&self, ones: &Groups<'_>) -> Result<(), QueryError> {
        let side = if matches!(self.cardinality, Cardinality::OneToMany(_)) { "left" } else { "right" };
        for (group, members) in ones.iter().filter(|(_, members)| members.len() > 1) {
            for step in self.both.iter().enumerate().filter_map(|(step, both)| both.then_some(step)) {
                let mut here = members.iter().filter(|column| present(column.cells[step]));
                if let (Some(first), Some(second)) = (here.next(), here.next()) {
                    return Err(QueryError::Execution(format!(
                        "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                        written(group),
                        written(&second.labels),
                        written(&first.labels)
                    )));
                }
            }
        }
        Ok(())
    }

    /// One pair per match group (one-to-one) or per label set (grouped) and step, also where a comparison lets none through.
    fn check_result(&self, out: &[Pairs]) -> Result<(), QueryError> {
        let message = match self.cardinality {
            Cardinality::OneToOne => "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
            Cardinality::ManyToOne(_) | Cardinality::OneToMany(_) => {
                "multiple matches for labels: grouping labels must ensure unique matches"
            }
        };
        let mut groups: HashMap<Labels, Vec<&Pairs>> = HashMap::new();
        for pairs in out {
            let key = match self.cardinality {
                Cardinality::OneToOne => signature(&pairs.column.labels, self.matching),
                Cardinality::ManyToOne(_) | Cardinality::OneToMany(_) => Labels::clone(&pairs.column.labels),
            };
            groups.entry(key).or_default().push(pairs);
        }
        for members in groups.values().filter(|members| members.len() > 1) {
            if (0..self.both.len()).any(|step| members.iter().filter(|pairs| pairs.at(step)).count() > 1) {
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

/// A series of a fill value at the steps where none of the group's has a value.
fn stand_in(labels: Labels, fill: f64, group: &[&Column], steps: usize) -> Column {
    let cell = |step: usize| if group.iter().any(|column| present(column.cells[step])) { ABSENT } else { fill };
    Column::new(labels, (0..steps).map(cell).collect())
}
