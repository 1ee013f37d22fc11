//! How widely errors spread, measured so that outliers do not count: by quantiles. Pure.

/// 95 % of a normal distribution's errors are at most so many standard deviations.
const NORMAL_95: f64 = 1.959_963_984_540_054;
/// 99 % of them.
const NORMAL_99: f64 = 2.575_829_303_548_901;
/// An error of so many standard deviations is no noise.
const APART: f64 = 5.0;
/// In so large a share of blocks it is no incident either.
const COMMON: f64 = 0.04;
/// 90 % of them.
pub(super) const NORMAL_90: f64 = 1.644_853_626_951_472_7;
/// Half of them are at most this.
const NORMAL_50: f64 = 0.674_489_750_196_082;
/// Into so many parts a season is divided.
const PARTS: usize = 24;
/// How many errors of the whole count beside those of a part.
const SHARED: f64 = 60.0;

/// The value below which this share of the values lies; 0 without values. Reorders them.
pub(super) fn quantile(values: &mut [f64], share: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let at = ((values.len() - 1) as f64 * share).round() as usize;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}

/// The middle of the values; 0 without values.
pub(super) fn middle(values: &[f64]) -> f64 {
    quantile(&mut values.to_vec(), 0.5)
}

/// One standard deviation by the wider errors, in order of time. Outliers do not count, unless they come again and again: what counts
/// rare things is 0 most of the time, and usual where it is not. An incident lasts, so it is in few of the `block`s of steps.
pub(super) fn wide_deviation(sizes: &[f64], block: usize) -> f64 {
    let mut sorted = sizes.to_vec();
    let wide = quantile(&mut sorted, 0.95) / NORMAL_95;
    let blocks = sizes.chunks(block.max(1));
    let all = blocks.len();
    let hit = blocks.filter(|block| block.iter().any(|size| *size > APART * wide)).count();
    if hit as f64 > COMMON * all as f64 { wide.max(quantile(&mut sorted, 0.99) / NORMAL_99) } else { wide }
}

/// One standard deviation, from the sizes of errors.
pub(super) fn deviation(sizes: &mut [f64]) -> f64 {
    quantile(sizes, 0.5) / NORMAL_50
}

/// How much wider or narrower than on the whole errors are in each part of a season: nights are quieter than days.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parts {
    period: usize,
    factors: Vec<f64>,
}

impl Parts {
    /// From errors, NaN where there is none. `period` is in steps, the first error stands at step 0.
    pub(super) fn of(errors: &[f64], period: usize) -> Self {
        let count = PARTS.min(period / 2).max(1);
        let part = |step: usize| (step % period) * count / period;
        let mut by_part = vec![Vec::new(); count];
        for (step, error) in errors.iter().enumerate().filter(|(_, error)| error.is_finite()) {
            by_part[part(step)].push(error.abs());
        }
        let mut all: Vec<f64> = by_part.iter().flatten().copied().collect();
        let whole = quantile(&mut all, 0.95);
        let factor = |at: usize| {
            // With the parts before and after it: the season does not end between two of them.
            let neighbours = [(at + count - 1) % count, at, (at + 1) % count];
            let mut near: Vec<f64> = neighbours.iter().take(if count < 3 { 1 } else { 3 }).flat_map(|at| by_part[*at].clone()).collect();
            let (own, weight) = (quantile(&mut near, 0.95), near.len() as f64);
            if whole <= 0.0 {
                return 1.0;
            }
            let ratio = ((weight * (own / whole).powi(2) + SHARED) / (weight + SHARED)).sqrt();
            ratio.clamp(0.2, 5.0)
        };
        Parts { period, factors: (0..count).map(factor).collect() }
    }

    /// The factor at a step, counted as in [`Parts::of`].
    pub(super) fn factor(&self, step: usize) -> f64 {
        let at = (step % self.period) * self.factors.len() / self.period;
        self.factors.get(at).copied().unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_nights_have_narrow_errors() {
        // Two errors in turn, large by day and small by night.
        let errors: Vec<f64> =
            (0..2_400).map(|step| if step % 100 < 50 { 10.0 } else { 1.0 } * if step % 2 == 0 { 1.0 } else { -0.5 }).collect();
        let parts = Parts::of(&errors, 100);
        assert!(parts.factor(25) > 0.95 && parts.factor(75) < 0.5, "{parts:?}");
        assert_eq!(parts.factor(25), parts.factor(1_225));
        assert_eq!(Parts::of(&[0.0; 10], 4).factor(3), 1.0);
    }

    #[test]
    fn quantiles_do_not_see_outliers() {
        let mut sizes: Vec<f64> = (1..=100).map(f64::from).collect();
        sizes[99] = 1e12;
        assert_eq!(quantile(&mut sizes, 0.5), 51.0);
        assert_eq!(quantile(&mut sizes, 0.0), 1.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
        // Something rare is no outlier where all else is 0.
        let rare: Vec<f64> = (0..1_000).map(|at| if at % 50 == 0 { 5.0 } else { 0.0 }).collect();
        assert!(wide_deviation(&rare, 12) > 1.5);
        // What happened once and lasted is.
        let once: Vec<f64> = (0..3_000).map(|at| if (500..530).contains(&at) { 50.0 } else { f64::from(at % 9) / 4.0 }).collect();
        assert!(wide_deviation(&once, 12) < 1.5);
    }
}
