//! A series on an even grid: where samples are missing, what would have stood there. Pure. In: samples at multiples of a step. Out: one
//! value a step and which of them were measured, or why that is too little to learn from.

use std::fmt;

/// A gap of at most so many steps is bridged in a straight line; a longer one is filled with what other cycles had there.
const BRIDGED: usize = 3;
/// So much of the history must be there.
const COVERED: f64 = 0.5;

/// Why nothing can be learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TooLittle {
    /// The first sample is so many steps old, and so many are needed.
    Short {
        /// From the first sample to the end.
        steps: usize,
        /// At least.
        needed: usize,
    },
    /// The history is long enough, but there is a sample in too few of its steps.
    Sparse {
        /// The share of steps with a sample, from 0 to 1.
        covered: f64,
    },
}

impl fmt::Display for TooLittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TooLittle::Short { .. } => f.write_str("its history is too short"),
            TooLittle::Sparse { covered } => {
                write!(f, "{:.0} % of its history is there, and {:.0} % are needed", covered * 100.0, COVERED * 100.0)
            }
        }
    }
}

/// A series without gaps.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// One a step, the newest last.
    pub values: Vec<f64>,
    /// Whether each was measured.
    pub measured: Vec<bool>,
}

/// From the first measured value on, without gaps. `raw` holds one value a step, NaN or an infinity where there is none; `periods` are
/// seasons in steps; at least `needed` steps.
pub fn fill(raw: &[f64], periods: &[usize], needed: usize) -> Result<Filled, TooLittle> {
    let first = raw.iter().position(|value| value.is_finite()).unwrap_or(raw.len());
    let raw = &raw[first..];
    if raw.len() < needed.max(1) {
        return Err(TooLittle::Short { steps: raw.len(), needed });
    }
    let measured: Vec<bool> = raw.iter().map(|value| value.is_finite()).collect();
    let covered = measured.iter().filter(|measured| **measured).count() as f64 / raw.len() as f64;
    if covered < COVERED {
        return Err(TooLittle::Sparse { covered });
    }
    let mut values = raw.to_vec();
    let mut at = 0;
    while at < values.len() {
        if measured[at] {
            at += 1;
            continue;
        }
        let end = (at..values.len()).find(|next| measured[*next]).unwrap_or(values.len());
        for (step, value) in values.iter_mut().enumerate().take(end).skip(at) {
            let line = between(raw, at, end, step);
            let cycles = || periods.iter().rev().find_map(|period| other_cycles(raw, *period, step));
            *value = if end - at <= BRIDGED { line } else { cycles().unwrap_or(line) };
        }
        at = end;
    }
    Ok(Filled { values, measured })
}

/// On the straight line over a gap from `at` to before `end`; beyond the last value, that one.
fn between(raw: &[f64], at: usize, end: usize, step: usize) -> f64 {
    // The first value is measured, so there is always one before a gap.
    let before = at.saturating_sub(1);
    match raw.get(end) {
        Some(after) => raw[before] + (after - raw[before]) * (step - before) as f64 / (end - before) as f64,
        None => raw[before],
    }
}

/// The middle of what was measured at the same place of other cycles.
fn other_cycles(raw: &[f64], period: usize, step: usize) -> Option<f64> {
    let mut found: Vec<f64> = raw.iter().skip(step % period).step_by(period).copied().filter(|value| value.is_finite()).collect();
    if found.is_empty() {
        return None;
    }
    let middle = found.len() / 2;
    Some(*found.select_nth_unstable_by(middle, f64::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GAP: f64 = f64::NAN;

    #[test]
    fn short_gaps_are_bridged_and_long_ones_filled_from_other_cycles() {
        let raw = [GAP, 1.0, GAP, 3.0, 9.0, 1.0, 2.0, 3.0, 9.0, GAP, GAP, GAP, GAP, 1.0, f64::INFINITY];
        let filled = fill(&raw, &[4], 8).unwrap();
        assert_eq!(filled.values, [1.0, 2.0, 3.0, 9.0, 1.0, 2.0, 3.0, 9.0, 1.0, 2.0, 3.0, 9.0, 1.0, 1.0]);
        assert_eq!(filled.measured.iter().filter(|measured| !**measured).count(), 6);
    }

    #[test]
    fn what_is_too_little_says_so() {
        assert_eq!(fill(&[], &[2], 4), Err(TooLittle::Short { steps: 0, needed: 4 }));
        assert_eq!(fill(&[GAP, GAP, 1.0, 2.0], &[2], 4), Err(TooLittle::Short { steps: 2, needed: 4 }));
        assert_eq!(fill(&[1.0, GAP, GAP, GAP, GAP], &[2], 4), Err(TooLittle::Sparse { covered: 0.2 }));
        assert_eq!(TooLittle::Sparse { covered: 0.2 }.to_string(), "20 % of its history is there, and 50 % are needed");
    }

    proptest! {
        #[test]
        fn no_gap_is_left_and_what_was_measured_stays(raw in prop::collection::vec(prop_oneof![3 => -1e9f64..1e9, 1 => Just(f64::NAN)], 0..200)) {
            if let Ok(Filled { values, measured }) = fill(&raw, &[5, 20], 10) {
                let raw = &raw[raw.len() - values.len()..];
                for (at, value) in values.iter().enumerate() {
                    prop_assert!(value.is_finite());
                    prop_assert!(!measured[at] || *value == raw[at]);
                }
            }
        }
    }
}
