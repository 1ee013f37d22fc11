//! Functions whose value in a window follows from the window before: each sample is looked at about once, however many windows it lies
//! in. Gives what [`RangeFunction::apply`] gives of each window by itself, to the last bit.

use std::collections::VecDeque;

use super::rate::{self, Meaning};
use super::{RangeFunction, Window};
use crate::promql::range::Bounds;

/// What is remembered of a series from window to window.
#[derive(Clone, Debug)]
pub enum Moving {
    /// `max_over_time`, `min_over_time`
    Extreme(Extreme),
    /// `rate`
    Rate(Falls),
    /// `increase`
    Increase(Falls),
}

impl Moving {
    /// Of a series that has no deltas; `None` for a function that needs all samples of each window.
    pub fn new(function: RangeFunction, values: &[f64]) -> Option<Self> {
        match function {
            RangeFunction::MaxOverTime => Some(Moving::Extreme(Extreme::new(|a, b| a > b))),
            RangeFunction::MinOverTime => Some(Moving::Extreme(Extreme::new(|a, b| a < b))),
            RangeFunction::Rate => Some(Moving::Rate(Falls::of(values))),
            RangeFunction::Increase => Some(Moving::Increase(Falls::of(values))),
            _ => None,
        }
    }

    /// The value in the next window, which is not empty; `values` are the whole series'.
    pub fn next(&mut self, window: &Window<'_>, values: &[f64], bounds: &Bounds) -> Option<f64> {
        match self {
            Moving::Extreme(extreme) => Some(extreme.of(values, bounds.from(), bounds.to())),
            Moving::Rate(falls) => falls.increase(window, values, bounds).map(|increase| increase / window.seconds()),
            Moving::Increase(falls) => falls.increase(window, values, bounds),
        }
    }
}

/// The greatest or the least of moving windows.
#[derive(Clone, Debug)]
pub struct Extreme {
    /// Whether a value wins over one before it.
    beats: fn(f64, f64) -> bool,
    /// Positions, none of which is beaten by a later one.
    candidates: VecDeque<usize>,
    /// Values before this position were looked at.
    seen: usize,
}

impl Extreme {
    /// Of no window yet.
    pub fn new(beats: fn(f64, f64) -> bool) -> Self {
        Extreme { beats, candidates: VecDeque::new(), seen: 0 }
    }

    /// Of the values from one position to before another; neither may go back. NaN only if all are.
    pub fn of(&mut self, values: &[f64], from: usize, to: usize) -> f64 {
        for at in self.seen.max(from)..to {
            let value = values[at];
            if value.is_nan() {
                continue;
            }
            while self.candidates.back().is_some_and(|last| (self.beats)(value, values[*last])) {
                self.candidates.pop_back();
            }
            self.candidates.push_back(at);
        }
        self.seen = self.seen.max(to);
        while self.candidates.front().is_some_and(|first| *first < from) {
            self.candidates.pop_front();
        }
        self.candidates.front().map_or(f64::NAN, |first| values[*first])
    }
}

/// Where a counter falls.
#[derive(Clone, Debug)]
pub struct Falls {
    /// Positions of samples that are less than the one before, ascending.
    positions: Vec<usize>,
    /// How many of them lie before the window's second sample.
    passed: usize,
}

impl Falls {
    fn of(values: &[f64]) -> Self {
        let fell = |(at, pair): (usize, &[f64])| (pair[1] < pair[0]).then_some(at + 1);
        Falls { positions: values.windows(2).enumerate().filter_map(fell).collect(), passed: 0 }
    }

    fn increase(&mut self, window: &Window<'_>, values: &[f64], bounds: &Bounds) -> Option<f64> {
        while self.positions.get(self.passed).is_some_and(|at| *at <= bounds.from()) {
            self.passed += 1;
        }
        let inside = self.positions[self.passed..].iter().take_while(|at| **at < bounds.to());
        rate::extrapolated_over(window, Meaning::Counter, inside.map(|at| values[at - 1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::functions::over_time::{greatest, least};

    #[test]
    fn moving_windows_have_the_extremes_of_each() {
        let values: Vec<f64> = (0..500u64)
            .map(|at| if at % 7 == 3 || (200..240).contains(&at) { f64::NAN } else { (at * 7_919 % 23) as f64 - 11.0 })
            .collect();
        let values: Vec<f64> = values.into_iter().enumerate().map(|(at, value)| if at % 11 == 5 { value * -0.0 } else { value }).collect();
        for (width, step) in [(1, 1), (12, 1), (40, 3), (5, 9), (500, 100)] {
            let (mut max, mut min) = (Extreme::new(|a, b| a > b), Extreme::new(|a, b| a < b));
            for to in (1..=values.len()).step_by(step) {
                let from = to.saturating_sub(width);
                let (window, bits) = (&values[from..to], |value: f64| if value.is_nan() { 0 } else { value.to_bits() });
                assert_eq!(bits(max.of(&values, from, to)), bits(greatest(window)), "{from}..{to}");
                assert_eq!(bits(min.of(&values, from, to)), bits(least(window)), "{from}..{to}");
            }
        }
    }

    #[test]
    fn moving_windows_have_the_increase_of_each() {
        let values: Vec<f64> = (0..400u64).map(|at| if at % 97 == 3 { f64::NAN } else { (at * 7_919 % 230) as f64 / 3.0 }).collect();
        let times: Vec<i64> = (0..400).map(|at| at * 1_000 + at % 7 * 60).collect();
        for (range, step) in [(1_000, 500), (10_000, 1_000), (90_000, 7_000), (3_000, 20_000), (500_000, 1_000)] {
            for function in [RangeFunction::Rate, RangeFunction::Increase] {
                let (mut moving, mut bounds) = (Moving::new(function, &values).unwrap(), Bounds::default());
                for end in (0..420_000).step_by(step) {
                    bounds.advance(&times, end, range);
                    let window = bounds.window(&times, &values, end, range, end);
                    if window.times.is_empty() {
                        continue;
                    }
                    let (one, other) = (moving.next(&window, &values, &bounds), function.apply(&window, &[], &mut Vec::new()));
                    assert_eq!(one.map(f64::to_bits), other.map(f64::to_bits), "{function:?} {range} {end}");
                }
            }
        }
    }
}
