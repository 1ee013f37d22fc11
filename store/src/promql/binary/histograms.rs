//! Binary operators where a side is a native histogram: `+` and `-` of two, `*` and `/` with a number, `==` and `!=` of two. Everything
//! else has no value, with an info; the same goes for `+` and `-` of exponential and custom buckets, with a warning.

use std::sync::Arc;

use model::labels::Labels;

use super::{Side, cell};
use crate::promql::native::{Fit, Histogram, Misfit};
use crate::promql::notes::Notes;
use crate::promql::plan::{Arithmetic, Bool, Comparison, Operator};
use crate::promql::value::{ABSENT, Column, present};

/// What an operator gives.
enum Outcome {
    Number(f64),
    Histogram(Histogram),
    /// A comparison lets the left side through.
    Left,
    Nothing,
    /// The operator means nothing for these types.
    Incompatible,
    /// One has exponential buckets, the other one custom ones.
    Misfit,
}

fn symbol(operator: Operator) -> &'static str {
    match operator {
        Operator::Arithmetic(Arithmetic::Add) => "+",
        Operator::Arithmetic(Arithmetic::Subtract) => "-",
        Operator::Arithmetic(Arithmetic::Multiply) => "*",
        Operator::Arithmetic(Arithmetic::Divide) => "/",
        Operator::Arithmetic(Arithmetic::Modulo) => "%",
        Operator::Arithmetic(Arithmetic::Power) => "^",
        Operator::Arithmetic(Arithmetic::Atan2) => "atan2",
        Operator::Compare(Comparison::Equal, _) => "==",
        Operator::Compare(Comparison::NotEqual, _) => "!=",
        Operator::Compare(Comparison::Less, _) => "<",
        Operator::Compare(Comparison::LessOrEqual, _) => "<=",
        Operator::Compare(Comparison::Greater, _) => ">",
        Operator::Compare(Comparison::GreaterOrEqual, _) => ">=",
        Operator::Set(_) => "",
    }
}

fn incompatible(operator: Operator, left: &str, right: &str, notes: &mut Notes) {
    let symbol = symbol(operator);
    notes.inform(&format!("incompatible sample types encountered for binary operator {symbol:?}: {left} {symbol} {right}"));
}

fn both(operator: Operator, left: &Histogram, right: &Histogram, notes: &mut Notes) -> Outcome {
    let mut combined = |with: fn(&mut Histogram, &Histogram) -> Result<Fit, Misfit>, doing: &str| {
        let mut out = left.clone();
        match with(&mut out, right) {
            Ok(Fit::Whole) => {}
            Ok(Fit::Reconciled) => notes.reconciled(doing),
            Err(Misfit) => return Outcome::Misfit,
        }
        Outcome::Histogram(out)
    };
    let compared = |holds: bool, mode: Bool| match mode {
        Bool::Number => Outcome::Number(f64::from(u8::from(holds))),
        Bool::Filter if holds => Outcome::Left,
        Bool::Filter => Outcome::Nothing,
    };
    match operator {
        Operator::Arithmetic(Arithmetic::Add) => combined(Histogram::add, "addition"),
        Operator::Arithmetic(Arithmetic::Subtract) => combined(Histogram::subtract, "subtraction"),
        Operator::Compare(Comparison::Equal, mode) => compared(left.same(right), mode),
        Operator::Compare(Comparison::NotEqual, mode) => compared(!left.same(right), mode),
        Operator::Arithmetic(_) | Operator::Compare(..) | Operator::Set(_) => Outcome::Incompatible,
    }
}

/// A histogram with a number on one side.
fn with_number(operator: Operator, histogram: &Histogram, number: f64, number_on: Side) -> Outcome {
    let mut out = histogram.clone();
    match (operator, number_on) {
        (Operator::Arithmetic(Arithmetic::Multiply), _) => out.scale(number),
        (Operator::Arithmetic(Arithmetic::Divide), Side::Right) => out.divide(number),
        (Operator::Arithmetic(_) | Operator::Compare(..) | Operator::Set(_), _) => return Outcome::Incompatible,
    }
    Outcome::Histogram(out)
}

/// The histograms of a column with the numbers of a scalar; its numbers stay as they are.
pub(super) fn with_numbers(operator: Operator, column: &mut Column, numbers: &[f64], number_on: Side, notes: &mut Notes) {
    for (step, number) in numbers.iter().enumerate() {
        let Some(histogram) = column.histogram(step).cloned() else { continue };
        match with_number(operator, &histogram, *number, number_on) {
            Outcome::Histogram(out) => column.put(step, Some(out)),
            Outcome::Number(_) | Outcome::Left | Outcome::Nothing | Outcome::Misfit => column.put(step, None),
            Outcome::Incompatible => {
                column.put(step, None);
                let (left, right) = if number_on == Side::Left { ("float", "histogram") } else { ("histogram", "float") };
                incompatible(operator, left, right, notes);
            }
        }
    }
}

/// A matched pair of which a side holds histograms. `matched` is taken back where the operator means nothing for the two types.
pub(super) fn columns(
    operator: Operator,
    labels: Arc<Labels>,
    left: &Column,
    right: &Column,
    matched: &mut [bool],
    notes: &mut Notes,
) -> Column {
    let mut out = Column::new(labels, vec![ABSENT; left.cells.len()]);
    for (step, matched) in matched.iter_mut().enumerate() {
        let (here, there) = (left.cells[step], right.cells[step]);
        if !present(here) || !present(there) {
            continue;
        }
        let (outcome, types) = match (left.histogram(step), right.histogram(step)) {
            (Some(left), Some(right)) => (both(operator, left, right, notes), ("histogram", "histogram")),
            (Some(left), None) => (with_number(operator, left, there, Side::Right), ("histogram", "float")),
            (None, Some(right)) => (with_number(operator, right, here, Side::Left), ("float", "histogram")),
            (None, None) => (Outcome::Number(cell(operator, here, there, here)), ("float", "float")),
        };
        match outcome {
            Outcome::Number(number) => out.cells[step] = number,
            Outcome::Histogram(histogram) => out.put(step, Some(histogram)),
            Outcome::Left => out.put(step, left.histogram(step).map(|histogram| Histogram::clone(histogram))),
            Outcome::Nothing => {}
            Outcome::Incompatible => {
                *matched = false;
                incompatible(operator, types.0, types.1, notes);
            }
            Outcome::Misfit => {
                *matched = false;
                notes.warn(&format!("incompatible bucket layout encountered for binary operator {}", symbol(operator)));
            }
        }
    }
    out
}
