//! What is usual at each place of a season, quickly and robustly: the middle of what the same place of other cycles had, each value beside
//! the middle of its own cycle. Good enough to tell what is not usual, before the seasons are learned. The newest values, which may be
//! an incident's, say nothing about what is usual. Pure.

use super::hold::Marks;
use super::level::Level;
use super::spread::Parts;
use super::{BETTER, Learning, clean};

/// An error of so many standard deviations is no noise.
const APART: f64 = 5.0;

/// What is usual in a history.
pub(super) struct Usual {
    /// The season at each step.
    pub season: Vec<f64>,
    /// The values less that.
    pub rest: Vec<f64>,
    /// How the rest moves, learned from all but the newest values.
    pub level: Level,
    /// Rounding is no anomaly.
    pub least: f64,
    parts: Parts,
}

impl Usual {
    /// The last `newest` values may be an incident.
    pub(super) fn of(values: &[f64], measured: &[bool], learning: &Learning, newest: usize) -> Self {
        let known = values.len() - newest;
        let level = |rest: &[f64], counted: &[bool]| Level::of(&rest[..known], &Marks::none(&counted[..known]), learning.horizon, newest);
        let (mut season, mut rest, mut counted) = (vec![0.0; values.len()], values.to_vec(), measured.to_vec());
        let mut best = level(&rest, &counted);
        for period in &learning.periods {
            let found = seasons(values, *period, known);
            let other_rest: Vec<f64> = values.iter().zip(&found).map(|(value, season)| value - season.unwrap_or_default()).collect();
            let other_counted: Vec<bool> = found.iter().zip(measured).map(|(season, measured)| season.is_some() && *measured).collect();
            let other = level(&other_rest, &other_counted);
            if other.cost < best.cost * BETTER {
                season = found.into_iter().map(Option::unwrap_or_default).collect();
                (rest, counted, best) = (other_rest, other_counted, other);
            }
        }
        // A part of a season has few errors: an incident would make the whole part wide.
        let noise = APART * best.deviation(1);
        let error = |at: usize| Some(rest[at] - best.before[at]).filter(|error| counted[at] && error.abs() <= noise).unwrap_or(f64::NAN);
        let errors: Vec<f64> = (0..known).map(error).collect();
        let shortest = learning.periods.iter().copied().min().unwrap_or(2).max(2);
        let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        Usual { season, rest, level: best, least: largest * 1e-6, parts: Parts::of(&errors, shortest) }
    }

    /// One standard deviation of the error at a step, where the last value was learned so many steps before.
    pub(super) fn deviation(&self, at: usize, ahead: usize) -> f64 {
        self.level.deviation_held(ahead) * self.parts.factor(at)
    }
}

/// The season at each step, from other cycles of the first `known` values; none where there is no other.
fn seasons(values: &[f64], period: usize, known: usize) -> Vec<Option<f64>> {
    let middles = clean::rolling_middle(&values[..known], period);
    let mut seasons = vec![None; values.len()];
    for place in 0..period.min(values.len()) {
        let mut found: Vec<(f64, usize)> = (place..known).step_by(period).map(|at| (values[at] - middles[at], at)).collect();
        found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for at in (place..values.len()).step_by(period) {
            seasons[at] = middle_of_others(&found, at);
        }
    }
    seasons
}

/// The middle of sorted values without the one of a step; of an even number between the two.
fn middle_of_others(sorted: &[(f64, usize)], step: usize) -> Option<f64> {
    let own = sorted.iter().position(|(_, at)| *at == step).unwrap_or(sorted.len());
    let others = sorted.len() - usize::from(own < sorted.len());
    let other = |index: usize| sorted[index + usize::from(index >= own)].0;
    (others > 0).then(|| (other((others - 1) / 2) + other(others / 2)) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_nothing_about_itself_and_the_newest_nothing_at_all() {
        let mut values: Vec<f64> = (0..40).map(|at| f64::from(at % 4)).collect();
        let usual = seasons(&values, 4, 32);
        assert_eq!(usual[5], usual[9]);
        values[5] = 1e6;
        values[32..].fill(-1e6);
        assert_eq!(seasons(&values, 4, 32), usual);
        // Of one cycle nobody can say what is usual.
        assert_eq!(seasons(&values, 40, 32), vec![None; 40]);
    }

    #[test]
    fn the_middle_leaves_the_own_value_out() {
        let sorted = [(1.0, 4), (2.0, 0), (7.0, 8)];
        assert_eq!([0, 4, 8, 12].map(|step| middle_of_others(&sorted, step)), [Some(4.0), Some(4.5), Some(1.5), Some(2.0)]);
        assert_eq!(middle_of_others(&sorted[..1], 4), None);
    }
}
