//! `limit_ratio`: a share of the series, chosen by the hash of their labels as Prometheus chooses them: the same ones every time.

use model::labels::Labels;
use model::query::QueryError;
use xxhash_rust::xxh64::xxh64;

use crate::promql::notes::Notes;
use crate::promql::value::{ABSENT, Column};

/// Prometheus's hash of a label set: of name and value of each label in order, each after its length.
fn hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        let length = text.len();
        match u8::try_from(length) {
            Ok(short) if short < 255 => bytes.push(short),
            Ok(_) | Err(_) => {
                bytes.push(255);
                bytes.extend_from_slice(&(length as u32).to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes, 0)
}

/// Where a series lies between 0 and 1.
fn place(labels: &Labels) -> f64 {
    hash(labels) as f64 / u64::MAX as f64
}

/// A positive ratio keeps the lower part, a negative one the upper: `r` and `r - 1` are each other's rest.
fn keeps(ratio: f64, place: f64) -> bool {
    (ratio >= 0.0 && place < ratio) || (ratio < 0.0 && place >= 1.0 + ratio)
}

/// Keeps a share of the series at each step.
pub(super) fn limit(mut columns: Vec<Column>, ratios: &[f64], notes: &mut Notes) -> Result<Vec<Column>, QueryError> {
    if ratios.iter().any(|ratio| ratio.is_nan()) {
        return Err(QueryError::Execution("Ratio value is NaN".to_owned()));
    }
    for ratio in ratios.iter().filter(|ratio| ratio.abs() > 1.0) {
        let (given, capped) = (model::units::Value(*ratio), ratio.signum());
        notes.warn_of_parameter(&format!("ratio value should be between -1 and 1, got {given}, capping to {capped}"));
    }
    for column in &mut columns {
        let place = place(&column.labels);
        for (cell, ratio) in column.cells.iter_mut().zip(ratios) {
            if !keeps(ratio.clamp(-1.0, 1.0), place) {
                *cell = ABSENT;
            }
        }
    }
    columns.retain(|column| !column.is_absent());
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_and_its_rest_share_everything() {
        for name in 0..50 {
            let place = place(&[("n", name.to_string())].into_iter().collect());
            assert!((0.0..=1.0).contains(&place));
            assert!(keeps(0.3, place) != keeps(-0.7, place));
            assert!(keeps(1.0, place) && keeps(-1.0, place) && !keeps(0.0, place));
        }
    }
}
