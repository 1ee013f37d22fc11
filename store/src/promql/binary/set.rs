//! `and`, `or`, `unless`: which series there are at a step.

use std::collections::HashMap;

use model::labels::Labels;
use model::query::QueryError;

use super::signature;
use crate::promql::plan::{Matching, SetOperator};
use crate::promql::value::{ABSENT, Column, merge_columns, present};

/// At which steps a signature has a series.
type Presence = HashMap<Labels, Vec<bool>>;

fn presence(columns: &[Column], matching: &Matching, steps: usize) -> Presence {
    let mut all = Presence::new();
    for column in columns {
        let steps = all.entry(signature(&column.labels, matching)).or_insert_with(|| vec![false; steps]);
        for (there, value) in steps.iter_mut().zip(&column.cells) {
            *there |= present(*value);
        }
    }
    all
}

/// Keeps the cells at whose step the signature's presence is as wanted.
fn keep(mut columns: Vec<Column>, matching: &Matching, other: &Presence, wanted: bool) -> Vec<Column> {
    for column in &mut columns {
        match other.get(&signature(&column.labels, matching)) {
            Some(steps) => {
                for (cell, there) in column.cells.iter_mut().zip(steps) {
                    if *there != wanted {
                        *cell = ABSENT;
                    }
                }
            }
            None if wanted => column.cells.fill(ABSENT),
            None => {}
        }
    }
    columns
}

/// Evaluates a set operator.
pub fn set(
    operator: SetOperator,
    left: Vec<Column>,
    right: Vec<Column>,
    matching: &Matching,
    steps: usize,
) -> Result<Vec<Column>, QueryError> {
    merge_columns(match operator {
        SetOperator::And => keep(left, matching, &presence(&right, matching, steps), true),
        SetOperator::Unless => keep(left, matching, &presence(&right, matching, steps), false),
        SetOperator::Or => {
            let mut rest = keep(right, matching, &presence(&left, matching, steps), false);
            let mut all = left;
            all.append(&mut rest);
            all
        }
    })
}
