//! Forecasts of series with seasons, and how far a value is from what was expected. Pure. In: the history of a series on an even grid.
//! Out: the value expected at each of the next steps with the interval in which it lies if all is as usual, or why the history is too
//! little to say. The seasons are learned by augurs (MSTL: Bandara, Hyndman, Bergmeir 2021), averaged over the whole history and with
//! outliers left out, so that yesterday's incident is not expected again today; one that goes on is not learned from at all (`hold`).

mod change;
mod clean;
mod grid;
mod hold;
mod level;
mod places;
mod spread;

use augurs_core::Fit;
use augurs_mstl::MSTLModel;
use augurs_mstl::stlrs::{MstlParams, MstlResult, StlParams};

pub use grid::TooLittle;

use hold::{Held, Marks};
use level::Level;
use spread::Parts;

/// How a series is learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Learning {
    /// Seasons in steps, the shortest first, each at least 2.
    pub periods: Vec<usize>,
    /// How sure, in (0, 1): so large a share of usual values lies in the interval.
    pub level: f64,
    /// So many steps ahead it is meant to be used.
    pub horizon: usize,
    /// So many steps are forecast.
    pub steps: usize,
    /// Values outside of their interval are not learned from for so many steps, and for an eighth of the history at most; then they are
    /// usual. 0: at once.
    pub hold: usize,
}

impl Learning {
    /// An interval ends so many standard deviations from what is expected.
    fn ends(&self) -> f64 {
        distrs::Normal::ppf(0.5 + self.level / 2.0, 0.0, 1.0)
    }
}

/// Why there is no forecast.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoForecast {
    /// The history is too little.
    #[error("{0}")]
    TooLittle(TooLittle),
    /// The decomposition failed: a defect on our side.
    #[error("its seasons cannot be learned: {0}")]
    Model(String),
}

/// What is expected at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// The value.
    pub expected: f64,
    /// The lower end of the interval.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

impl Band {
    /// How far a value is from what was expected: 1 at the end of the interval, 2 twice as far. Above is positive.
    pub fn score(&self, value: f64) -> f64 {
        let off = value - self.expected;
        let width = if off < 0.0 { self.expected - self.lower } else { self.upper - self.expected };
        if off == 0.0 { 0.0 } else { off / width.max(f64::MIN_POSITIVE) }
    }

    fn mixed(&self, other: &Band, share: f64) -> Band {
        let mix = |a: f64, b: f64| a + (b - a) * share;
        Band { expected: mix(self.expected, other.expected), lower: mix(self.lower, other.lower), upper: mix(self.upper, other.upper) }
    }
}

/// The forecast of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// One per step; the first stands where the newest value of the history stands.
    bands: Vec<Band>,
    held: Option<Hold>,
}

/// The newest values are not learned from, because they are not usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hold {
    /// For so many steps, the newest value's included.
    pub since: usize,
    /// In so many steps they are usual, unless others come before.
    pub left: usize,
}

impl Forecast {
    /// Whether what is seen now is not learned from.
    pub fn held(&self) -> Option<Hold> {
        self.held
    }

    /// What is expected so many steps after the newest value of the history, in between as well; none where that is too far ahead.
    pub fn at(&self, ahead: f64) -> Option<Band> {
        let position = ahead.max(0.0);
        if !position.is_finite() || position > self.bands.len().checked_sub(1)? as f64 {
            return None;
        }
        let (at, share) = (position.floor() as usize, position.fract());
        let band = self.bands.get(at)?;
        Some(match self.bands.get(at + 1) {
            Some(next) => band.mixed(next, share),
            None => *band,
        })
    }
}

/// The decomposition: each season is the same over the whole history; outliers weigh less and less.
fn decomposition(periods: &[usize], length: usize) -> MstlParams {
    let mut stl = StlParams::new();
    stl.seasonal_degree(0).inner_loops(1).outer_loops(3);
    let mut mstl = MstlParams::new();
    let whole: Vec<usize> = periods.iter().map(|period| 10 * (length / period + 1) + 1).collect();
    mstl.seasonal_lengths(&whole).stl_params(stl);
    mstl
}

/// How many steps of history a season of so many steps needs: two cycles.
pub fn shortest_history(period: usize) -> usize {
    2 * period
}

/// Learns a series: one value a step, the newest last, NaN where there is none.
pub fn forecast(history: &[f64], learning: &Learning) -> Result<Forecast, NoForecast> {
    let longest = learning.periods.iter().copied().max().unwrap_or(2).max(2);
    let filled = grid::fill(history, &learning.periods, shortest_history(longest)).map_err(NoForecast::TooLittle)?;
    let Held { values, usual, marks } = hold::look(&filled.values, &filled.measured, learning);
    // The decomposition computes in f32: around 0, in units of the series' own spread.
    let center = spread::middle(&values);
    let sizes: Vec<f64> = values.iter().map(|value| (value - center).abs()).collect();
    let largest = sizes.iter().copied().fold(0.0, f64::max);
    let wide = spread::wide_deviation(&sizes, learning.horizon);
    let unit = if wide > 0.0 { wide } else { 1.0 };
    let in_units = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| (value - center) / unit).collect() };
    let scaled = in_units(&values);
    let cleaned = clean::without_outliers(&in_units(&usual), &learning.periods);
    let mut best = Seasons::none(&scaled, &marks, learning);
    for count in 1..=learning.periods.len() {
        let seasons = Seasons::learn(&learning.periods[..count], &scaled, &cleaned, &marks, learning)?;
        // What has no seasons is foreseen better without.
        if seasons.level.cost < best.level.cost * BETTER {
            best = seasons;
        }
    }
    let Seasons { cycles, rest, level } = best;
    let errors: Vec<f64> = (0..rest.len()).map(|at| if marks.counted[at] { rest[at] - level.before[at] } else { f64::NAN }).collect();
    let shortest = learning.periods.iter().copied().min().unwrap_or(2).max(2);
    let parts = Parts::of(&errors, shortest);
    let ends = learning.ends();
    // Rounding is no anomaly.
    let least = (center.abs() + largest) * 1e-6;
    let held = marks.open.map_or(0, |hold| hold.since);
    let band = |ahead: usize| {
        let season: f64 = cycles.iter().map(|cycle| cycle[(ahead + cycle.len() - 1) % cycle.len()]).sum();
        let moved = if held > 0 { level.slope * ahead as f64 } else { 0.0 };
        let expected = center + unit * (level.now + moved + season);
        let deviation = if held > 0 { level.deviation_held(held + ahead) } else { level.deviation(ahead.max(1)) };
        let width = ends * unit * deviation * parts.factor(rest.len() + ahead - 1);
        let width = width.max(least);
        Band { expected, lower: expected - width, upper: expected + width }
    };
    Ok(Forecast { bands: (0..=learning.steps).map(band).collect(), held: marks.open })
}

/// A season must make errors so much smaller.
const BETTER: f64 = 0.95;

/// A series taken apart.
struct Seasons {
    /// The last cycle of each season.
    cycles: Vec<Vec<f64>>,
    /// The series less its seasons.
    rest: Vec<f64>,
    /// Where that stands and how it moves.
    level: Level,
}

impl Seasons {
    fn none(values: &[f64], marks: &Marks, learning: &Learning) -> Self {
        Seasons { cycles: Vec::new(), rest: values.to_vec(), level: Level::of(values, marks, learning.horizon, learning.hold) }
    }

    fn learn(periods: &[usize], values: &[f64], cleaned: &[f64], marks: &Marks, learning: &Learning) -> Result<Self, NoForecast> {
        let model = MSTLModel::naive(periods.to_vec()).mstl_params(decomposition(periods, values.len()));
        let fitted = model.fit(cleaned).map_err(|error| NoForecast::Model(error.to_string()))?;
        let learned = fitted.fit();
        let longest = periods.iter().copied().max().unwrap_or(2);
        let rest = without_seasons(learned, values, cleaned, longest);
        let level = Level::of(&rest, marks, learning.horizon, learning.hold);
        let last = |(season, period): (&Vec<f32>, &usize)| season[season.len() - period..].iter().copied().map(f64::from).collect();
        Ok(Seasons { cycles: learned.seasonal().iter().zip(periods).map(last).collect(), rest, level })
    }
}

/// The series less its seasons, each value as if its own cycle had not been among those that the season was learned from: with few
/// cycles a season takes in a part of every value, but nothing of those to come.
fn without_seasons(learned: &MstlResult, values: &[f64], cleaned: &[f64], longest: usize) -> Vec<f64> {
    let count = values.len();
    let one = |at: usize| {
        let cycles = (count - at % longest).div_ceil(longest) as f64;
        let own = f64::from(learned.remainder()[at]) * cycles / (cycles - 1.0);
        f64::from(learned.trend()[at]) + own + values[at] - cleaned[at]
    };
    (0..count).map(one).collect()
}

#[cfg(test)]
mod tests;
