//! Moving windows over samples: two pointers per series, so that a range query walks each series once.

use super::functions::Window;
use super::value::Histograms;

/// The bounds of a left-open window `(end - range, end]` in ascending times, moved forward from step to step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    from: usize,
    to: usize,
}

impl Bounds {
    /// Moves to the window that ends at `end`; `end` must not go back.
    pub fn advance(&mut self, times: &[i64], end: i64, range: i64) {
        while times.get(self.to).is_some_and(|at| *at <= end) {
            self.to += 1;
        }
        let start = end.saturating_sub(range);
        while self.from < self.to && times[self.from] <= start {
            self.from += 1;
        }
    }

    /// The samples inside.
    pub fn window<'s>(&self, times: &'s [i64], values: &'s [f64], end: i64, range: i64, step_time: i64) -> Window<'s> {
        Window { times: &times[self.from..self.to], values: &values[self.from..self.to], end, range, step_time }
    }

    /// The histograms beside the samples inside.
    pub fn histograms<'s>(&self, all: &'s Histograms) -> &'s [Option<std::sync::Arc<super::native::Histogram>>] {
        if all.is_empty() { &[] } else { &all[self.from..self.to] }
    }

    /// The position of the first sample inside.
    pub fn from(&self) -> usize {
        self.from
    }

    /// The position after the last sample at or before the end.
    pub fn to(&self) -> usize {
        self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_left_open() {
        let (times, values) = ([10, 20, 30, 40], [1.0, 2.0, 3.0, 4.0]);
        let mut bounds = Bounds::default();
        let mut seen = Vec::new();
        for end in [5, 20, 30, 30, 55, 100] {
            bounds.advance(&times, end, 20);
            seen.push(bounds.window(&times, &values, end, 20, end).times.to_vec());
        }
        assert_eq!(seen, [vec![], vec![10, 20], vec![20, 30], vec![20, 30], vec![40], vec![]]);
    }
}
