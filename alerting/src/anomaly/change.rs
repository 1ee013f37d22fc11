//! A lasting change of a series: all is higher or lower by the same, or by the same factor. Pure. In: values after the change, each with
//! what was foreseen. Out: what brings the history before it to where it would be now, so that its seasons go on to be of use.

use super::spread;

/// How a series changed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// By so much.
    Moved(f64),
    /// To so much of what it was.
    Scaled(f64),
}

/// A change that lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    /// The first step after it.
    pub from: usize,
    how: How,
}

impl Change {
    /// From pairs of a value and what was foreseen.
    pub(super) fn of(from: usize, pairs: impl Iterator<Item = (f64, f64)>) -> Self {
        let pairs: Vec<(f64, f64)> = pairs.collect();
        let by = spread::middle(&pairs.iter().map(|(value, foreseen)| value - foreseen).collect::<Vec<f64>>());
        let ratios: Vec<f64> = pairs.iter().filter(|(_, foreseen)| *foreseen != 0.0).map(|(value, foreseen)| value / foreseen).collect();
        let to = spread::middle(&ratios);
        let moved: f64 = pairs.iter().map(|(value, foreseen)| (value - foreseen - by).abs()).sum();
        let scaled: f64 = pairs.iter().map(|(value, foreseen)| (value - foreseen * to).abs()).sum();
        let how = if to >= 0.0 && scaled < moved { How::Scaled(to) } else { How::Moved(by) };
        Change { from, how }
    }

    /// The history before it becomes what it would be now.
    pub(super) fn carry(&self, values: &mut [f64]) {
        for value in values.iter_mut().take(self.from) {
            *value = match self.how {
                How::Moved(by) => *value + by,
                How::Scaled(to) => *value * to,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(what: impl Fn(f64) -> f64) -> Vec<f64> {
        let foreseen = [100.0, 200.0, 500.0, 300.0, 150.0];
        // One pair is an outlier.
        let pairs = foreseen.iter().map(|foreseen| (what(*foreseen), *foreseen)).chain([(9_000.0, 100.0)]);
        let mut values = vec![10.0, 20.0, 7.0];
        Change::of(2, pairs).carry(&mut values);
        values
    }

    #[test]
    fn what_moved_and_what_was_scaled_are_told_apart() {
        assert_eq!(changed(|value| value + 50.0), [60.0, 70.0, 7.0]);
        assert_eq!(changed(|value| value * 2.0), [20.0, 40.0, 7.0]);
        assert_eq!(changed(|_| 0.0), [0.0, 0.0, 7.0]);
    }

    #[test]
    fn what_was_foreseen_as_nothing_moves() {
        let mut values = vec![0.0, 0.0];
        Change::of(1, [(4.0, 0.0), (4.0, 0.0)].into_iter()).carry(&mut values);
        assert_eq!(values, [4.0, 0.0]);
    }
}
