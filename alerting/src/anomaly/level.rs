//! What remains of a series without its seasons: a level that moves slowly and is not carried away by outliers. Simple exponential
//! smoothing with bounded innovations (Gelper, Fried, Croux 2010); how fast it follows and how wide its intervals are comes from its own
//! errors so many steps ahead in the history. What is held ([`Marks`]) moves nothing. Pure.

use super::hold::{Marks, Pace};
use super::spread;

/// An innovation counts as at most so many standard deviations.
const BOUND: f64 = 3.0;
/// How fast the level may follow, by the number of steps in which it forgets half.
const HALF_LIVES: [f64; 6] = [384.0, 96.0, 24.0, 6.0, 2.0, 0.25];
/// There is a trend where errors far ahead are so much smaller with it.
const TREND: f64 = 2.0;
/// Errors far ahead are wider where they are so much wider.
const SURELY: f64 = 1.25;
/// Each faster one must make errors so much smaller: what follows fast takes an incident for usual soon.
const BETTER: f64 = 0.85;

/// How a level moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Follows {
    /// The share of an innovation that it takes in.
    share: f64,
    /// An innovation counts as so much at most.
    bound: f64,
}

impl Follows {
    /// So much moves a level by a value that is so far from it.
    pub(super) fn innovation(self, off: f64) -> f64 {
        self.share * off.clamp(-self.bound, self.bound)
    }
}

/// A level, fitted.
#[derive(Clone, Debug)]
pub(super) struct Level {
    /// Where it is after the last value.
    pub now: f64,
    /// The level before each value.
    pub before: Vec<f64>,
    /// How it moved.
    pub follows: Follows,
    /// One standard deviation of the error one step ahead.
    near: f64,
    /// And `horizon` steps ahead.
    far: f64,
    /// And `reach` steps ahead.
    long: f64,
    /// So much it moves a step while nothing is learned.
    pub slope: f64,
    /// By which levels are compared: the error, and more for one that follows fast.
    pub cost: f64,
    horizon: usize,
    reach: usize,
}

/// Where a level begins: the first values say so; one alone may be an outlier.
pub(super) fn beginning(y: &[f64]) -> f64 {
    spread::middle(&y[..y.len().min(25)])
}

/// The level before each value and after the last one. While it is held it moves by `slope` a step.
fn smooth(y: &[f64], pace: &[Pace], follows: Follows, slope: f64) -> Vec<f64> {
    let mut level = beginning(y);
    let mut levels = Vec::with_capacity(y.len() + 1);
    for (value, pace) in y.iter().zip(pace) {
        levels.push(level);
        level += match pace {
            Pace::Learn => follows.innovation(value - level),
            Pace::Hold => slope,
            Pace::Anchor(share) => share * (value - level),
        };
    }
    levels.push(level);
    levels
}

/// The errors `ahead` steps ahead, of what counts.
fn errors(y: &[f64], counted: &[bool], levels: &[f64], ahead: usize) -> Vec<f64> {
    // The first tenth is where the level finds its place.
    let from = y.len() / 10 + ahead - 1;
    (from..y.len()).filter(|at| counted[*at]).map(|at| y[at] - levels[at + 1 - ahead]).collect()
}

fn sizes(errors: &[f64]) -> Vec<f64> {
    errors.iter().map(|error| error.abs()).collect()
}

/// How far values are from a level that stood still for `reach` steps, and by how much a step they went the same way. By the middle: a
/// lasting change is in many errors so far ahead.
fn long_errors(y: &[f64], counted: &[bool], levels: &[f64], reach: usize) -> (f64, f64) {
    let long = errors(y, counted, levels, reach);
    let way = spread::middle(&long);
    let still = spread::deviation(&mut sizes(&long));
    let moving = spread::deviation(&mut long.iter().map(|error| (error - way).abs()).collect::<Vec<f64>>());
    // A random walk goes the same way for long, too.
    if reach > 1 && moving * TREND < still {
        let lag = spread::middle(&errors(y, counted, levels, 1));
        return (moving, (way - lag) / (reach - 1) as f64);
    }
    (still, 0.0)
}

impl Level {
    /// Of values without seasons. It is meant to be used up to `horizon` steps ahead, and held for up to `reach` steps.
    pub(super) fn of(y: &[f64], marks: &Marks, horizon: usize, reach: usize) -> Self {
        let Marks { pace, counted, .. } = marks;
        let mut steps: Vec<f64> = y.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
        let middle = spread::middle(y);
        let mut from_middle: Vec<f64> = y.iter().map(|value| (value - middle).abs()).collect();
        // Differences of neighbours do not see where the level moved; of white noise they are sqrt(2) times its deviation.
        let white = spread::deviation(&mut steps) / std::f64::consts::SQRT_2;
        let bound = BOUND * white.min(spread::deviation(&mut from_middle));
        let far = horizon.clamp(1, y.len() / 4 + 1);
        let mut best: Option<(f64, f64, Vec<f64>, Follows)> = None;
        let mut price = 1.0;
        for half_life in HALF_LIVES {
            // What follows at once is a random walk, whose steps are all real.
            let bound = if half_life < 1.0 { f64::INFINITY } else { bound };
            let follows = Follows { share: 1.0 - 0.5f64.powf(1.0 / half_life), bound };
            let levels = smooth(y, pace, follows, 0.0);
            let wide = spread::wide_deviation(&sizes(&errors(y, counted, &levels, far)), horizon);
            let cost = wide * price;
            if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                best = Some((cost, wide, levels, follows));
            }
            price /= BETTER;
        }
        let (cost, wide, mut before, follows) = best.unwrap_or((0.0, 0.0, vec![0.0], Follows { share: 0.0, bound: 0.0 }));
        let mut now = before.pop().unwrap_or_default();
        let near = spread::wide_deviation(&sizes(&errors(y, counted, &before, 1)), horizon);
        let far = wide.max(near);
        let reach = reach.clamp(1, y.len() / 2 + 1);
        let (long, slope) = long_errors(y, counted, &before, reach);
        // The middle is less sure, so a little more is no more.
        let long = if long > SURELY * far { long } else { far };
        if slope != 0.0 && pace.contains(&Pace::Hold) {
            before = smooth(y, pace, follows, slope);
            now = before.pop().unwrap_or_default();
        }
        Level { now, before, follows, near, far, long, slope, cost, horizon: horizon.max(2), reach }
    }

    /// One standard deviation of the error so many steps ahead, from 1: the variance grows evenly.
    pub(super) fn deviation(&self, ahead: usize) -> f64 {
        let (near, far) = (self.near.powi(2), self.far.powi(2));
        (near + (far - near) * ahead.saturating_sub(1) as f64 / (self.horizon - 1) as f64).sqrt()
    }

    /// The same of a level that is held, so many steps after the last value that it learned.
    pub(super) fn deviation_held(&self, ahead: usize) -> f64 {
        if ahead <= self.horizon {
            return self.deviation(ahead);
        }
        let (far, long) = (self.far.powi(2), self.long.powi(2));
        let beyond = (ahead - self.horizon) as f64 / self.reach.saturating_sub(self.horizon).max(1) as f64;
        (far + (long - far) * beyond.min(1.0)).sqrt()
    }

    /// The share of how far values are from it that a level takes in which was held until so many steps ahead: all the more, the less sure
    /// it is.
    pub(super) fn anchor(&self, ahead: usize) -> f64 {
        let (near, held) = (self.near.powi(2), self.deviation_held(ahead).powi(2));
        if held > near { 1.0 - near / held } else { 0.0 }
    }
}
