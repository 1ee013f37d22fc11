//! `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`: orders for an instant vector; a range query is not affected.

use std::cmp::Ordering;

use crate::promql::plan::{Direction, SortBy};
use crate::promql::value::Column;

/// Sorts columns of one step.
pub fn sort(columns: &mut [Column], by: &SortBy, direction: Direction) {
    match by {
        SortBy::Value => columns.sort_by(|a, b| by_value(first(a), first(b), direction)),
        SortBy::Labels(names) => columns.sort_by(|a, b| {
            let order = names
                .iter()
                .map(|name| natural(a.labels.get(name).unwrap_or(""), b.labels.get(name).unwrap_or("")))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| a.labels.cmp(&b.labels));
            if direction == Direction::Ascending { order } else { order.reverse() }
        }),
    }
}

fn first(column: &Column) -> f64 {
    column.cells.first().copied().unwrap_or(f64::NAN)
}

/// NaN comes last either way.
pub fn by_value(a: f64, b: f64, direction: Direction) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if direction == Direction::Ascending { order } else { order.reverse() }
        }
    }
}

/// Natural order: runs of digits compare as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        match (left.is_empty(), right.is_empty()) {
            (true, true) => return a.cmp(b),
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        let (one, left_rest) = chunk(left);
        let (two, right_rest) = chunk(right);
        let numbers = one.as_bytes()[0].is_ascii_digit() && two.as_bytes()[0].is_ascii_digit();
        let order = if numbers {
            let (one, two) = (one.trim_start_matches('0'), two.trim_start_matches('0'));
            one.len().cmp(&two.len()).then_with(|| one.cmp(two))
        } else {
            one.cmp(two)
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
}

/// The leading run of digits or of other characters; the text is not empty.
fn chunk(text: &str) -> (&str, &str) {
    let digits = text.as_bytes()[0].is_ascii_digit();
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_sort_as_numbers() {
        let mut names = ["a10", "a9", "a", "b1", "a09", "10", "9"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["9", "10", "a", "a09", "a9", "a10", "b1"]);
    }
}
