//! What remains of a series without its seasons: a level that moves slowly and is not carried away by outliers. Simple exponential
//! smoothing with bounded innovations (Gelper, Fried, Croux 2010); how fast it follows and how wide its intervals are comes from its own
//! errors so many steps ahead in the history. Pure.

use super::spread;

/// An innovation counts as at most so many standard deviations.
const BOUND: f64 = 3.0;
/// How fast the level may follow, by the number of steps in which it forgets half.
const HALF_LIVES: [f64; 6] = [384.0, 96.0, 24.0, 6.0, 2.0, 0.25];
/// Each faster one must make errors so much smaller: what follows fast takes an incident for usual soon.
const BETTER: f64 = 0.85;

/// A level, fitted.
#[derive(Clone, Debug)]
pub(super) struct Level {
    /// Where it is after the last value.
    pub now: f64,
    /// The level before each value.
    pub before: Vec<f64>,
    /// One standard deviation of the error one step ahead.
    near: f64,
    /// And `horizon` steps ahead.
    far: f64,
    /// By which levels are compared: the error, and more for one that follows fast.
    pub cost: f64,
    horizon: usize,
}

/// The level before each value and after the last one. `bound` limits how much one value counts.
fn smooth(y: &[f64], half_life: f64, bound: f64) -> Vec<f64> {
    let share = 1.0 - 0.5f64.powf(1.0 / half_life);
    // The first values say where it begins; one alone may be an outlier.
    let mut level = spread::middle(&y[..y.len().min(25)]);
    let mut levels = Vec::with_capacity(y.len() + 1);
    for value in y {
        levels.push(level);
        level += share * (value - level).clamp(-bound, bound);
    }
    levels.push(level);
    levels
}

/// The sizes of errors `ahead` steps ahead, of what was measured.
fn errors(y: &[f64], measured: &[bool], levels: &[f64], ahead: usize) -> Vec<f64> {
    // The first tenth is where the level finds its place.
    let from = y.len() / 10 + ahead - 1;
    (from..y.len()).filter(|at| measured[*at]).map(|at| (y[at] - levels[at + 1 - ahead]).abs()).collect()
}

impl Level {
    /// Of values without seasons; errors count where a value was measured. It is meant to be used up to `horizon` steps ahead.
    pub(super) fn of(y: &[f64], measured: &[bool], horizon: usize) -> Self {
        let mut steps: Vec<f64> = y.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
        let middle = spread::middle(y);
        let mut from_middle: Vec<f64> = y.iter().map(|value| (value - middle).abs()).collect();
        // Differences of neighbours do not see where the level moved; of white noise they are sqrt(2) times its deviation.
        let white = spread::deviation(&mut steps) / std::f64::consts::SQRT_2;
        let bound = BOUND * white.min(spread::deviation(&mut from_middle));
        let far = horizon.clamp(1, y.len() / 4 + 1);
        let mut best: Option<(f64, f64, Vec<f64>)> = None;
        let mut price = 1.0;
        for half_life in HALF_LIVES {
            // What follows at once is a random walk, whose steps are all real.
            let levels = smooth(y, half_life, if half_life < 1.0 { f64::INFINITY } else { bound });
            let wide = spread::wide_deviation(&errors(y, measured, &levels, far), horizon);
            let cost = wide * price;
            if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                best = Some((cost, wide, levels));
            }
            price /= BETTER;
        }
        let (cost, wide, mut before) = best.unwrap_or_default();
        let near = spread::wide_deviation(&errors(y, measured, &before, 1), horizon);
        let now = before.pop().unwrap_or_default();
        Level { now, before, near, far: wide.max(near), cost, horizon: horizon.max(2) }
    }

    /// One standard deviation of the error so many steps ahead, from 1: the variance grows evenly.
    pub(super) fn deviation(&self, ahead: usize) -> f64 {
        let (near, far) = (self.near.powi(2), self.far.powi(2));
        (near + (far - near) * ahead.saturating_sub(1) as f64 / (self.horizon - 1) as f64).sqrt()
    }
}
