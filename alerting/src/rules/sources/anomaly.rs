//! `anomaly`: a series with seasons beside its forecast. What is not written gets the value that fits days and weeks.

use std::time::Duration;

use model::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Compiled, Scalar};
use crate::anomaly::{Band, Learning, shortest_history};
use crate::rules::question::Question;

/// What is written below `anomaly`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::rules) struct AnomalyYaml {
    /// PromQL.
    pub expr: String,
    pub seasons: Option<Vec<Span>>,
    /// How far back it learns.
    pub history: Option<Span>,
    /// The distance of two values that it learns from.
    pub step: Option<Span>,
    /// How often it learns anew.
    pub refit: Option<Span>,
    /// So long at most what is not usual is not learned from.
    pub hold: Option<Span>,
    /// The share of usual values that lie in the interval.
    pub level: Option<f64>,
    /// How far a value must be off: `10` in its own unit, or `20%` of what was expected.
    pub minimum: Option<Scalar>,
    /// above, below, both.
    pub direction: Option<Direction>,
    pub max_series: Option<usize>,
}

/// On which side of the forecast a value is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More than expected.
    Above,
    /// Less than expected.
    Below,
    /// Either.
    #[default]
    Both,
}

/// How a series is compared with its forecast. The rule's `expr` is the series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// The shortest first; each a multiple of `step`.
    pub seasons: Vec<Span>,
    /// How far back it learns; a multiple of `step`.
    pub history: Span,
    /// The distance of two values that it learns from.
    pub step: Span,
    /// It learns at multiples of this since the epoch, so that a restart and a replay learn the same; a multiple of `step`.
    pub refit: Span,
    /// What is outside of its interval is not learned from; what lasts so long is usual then. A multiple of `step`, or 0.
    #[serde(default = "usual_hold")]
    pub hold: Span,
    /// So large a share of usual values lies in the interval; from 0.5 to 1, both left out.
    pub level: f64,
    /// How far from the expected value a value must be, in its unit.
    pub minimum: f64,
    /// And as a share of the expected value.
    pub minimum_share: f64,
    /// Which side counts.
    pub direction: Direction,
    /// More series are an error.
    pub max_series: usize,
}

const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
const HOUR: Duration = Duration::from_secs(3_600);
const HOLD: Duration = Duration::from_secs(2 * 86_400);
const STEP: Duration = Duration::from_secs(300);
const LEVEL: f64 = 0.999;
const SERIES: usize = 100;
/// More would be slow to learn from.
const MOST_STEPS: u128 = 20_000;
/// A season has so many steps at least, so that it has a form.
const FEWEST_STEPS: u128 = 6;

fn steps(span: Duration, step: Duration) -> usize {
    usize::try_from(span.as_nanos() / step.as_nanos().max(1)).unwrap_or(usize::MAX)
}

/// Also of what was recorded before there was one.
fn usual_hold() -> Span {
    Span(HOLD)
}

fn is_multiple(span: Duration, of: Duration) -> bool {
    !of.is_zero() && !span.is_zero() && span.as_nanos().is_multiple_of(of.as_nanos())
}

impl Anomaly {
    /// The values of its history, the newest at the moment of learning.
    pub(crate) fn length(&self) -> usize {
        steps(self.history.0, self.step.0)
    }

    /// How it learns.
    pub(crate) fn learning(&self) -> Learning {
        let horizon = steps(self.refit.0, self.step.0).max(1);
        Learning {
            periods: self.seasons.iter().map(|season| steps(season.0, self.step.0)).collect(),
            level: self.level,
            horizon,
            // Where learning anew fails for a while, the old forecast goes on.
            steps: 3 * horizon + 1,
            hold: steps(self.hold.0, self.step.0),
        }
    }

    /// The shortest history that it can learn from.
    pub(crate) fn needed(&self) -> Span {
        self.seasons.last().map_or(self.history, |longest| Span(self.step.0 * shortest_history(steps(longest.0, self.step.0)) as u32))
    }

    /// The newest moment of learning at or before a moment.
    pub(crate) fn learned_at(&self, at: Timestamp) -> Timestamp {
        let every = i64::try_from(self.refit.0.as_nanos()).unwrap_or(i64::MAX).max(1);
        Timestamp::from_nanos(at.nanos() - at.nanos().rem_euclid(every))
    }

    /// How unusual a value is: 1 at the end of the interval, 2 twice as far from what was expected; 0 where it is not off far enough, or on
    /// the side that does not count.
    pub(crate) fn score(&self, value: f64, band: &Band) -> f64 {
        let (off, score) = (value - band.expected, band.score(value));
        let far = off.abs() >= self.minimum && off.abs() >= self.minimum_share * band.expected.abs();
        let counts = match self.direction {
            Direction::Above => off > 0.0,
            Direction::Below => off < 0.0,
            Direction::Both => true,
        };
        if far && counts { score.abs() } else { 0.0 }
    }
}

/// `10` or `20%`.
fn minimum(written: Option<&Scalar>) -> Result<(f64, f64), String> {
    let Some(written) = written else { return Ok((0.0, 0.0)) };
    let text = written.text();
    let fail = || format!("`minimum: {text}` is neither a number nor a share such as 20%");
    let (number, share) = match text.trim().strip_suffix('%') {
        Some(number) => (number.trim(), true),
        None => (text.trim(), false),
    };
    let number: f64 = number.parse().map_err(|_| fail())?;
    if !number.is_finite() || number < 0.0 {
        return Err(fail());
    }
    Ok(if share { (0.0, number / 100.0) } else { (number, 0.0) })
}

impl AnomalyYaml {
    /// The question. `expr` stays PromQL.
    pub(in crate::rules) fn compile(&self) -> Result<Compiled, String> {
        let expr = self.expr.trim().to_owned();
        if expr.is_empty() {
            return Err("needs `expr`: the PromQL expression whose values are foreseen".to_owned());
        }
        let mut seasons = self.seasons.clone().unwrap_or_else(|| vec![Span(DAY), Span(WEEK)]);
        seasons.sort_unstable();
        seasons.dedup();
        let (Some(shortest), Some(longest)) = (seasons.first().copied(), seasons.last().copied()) else {
            return Err("has no `seasons`: write for example [1d, 1w]".to_owned());
        };
        let usual_step = if shortest.0 >= 6 * HOUR { STEP } else { shortest.0 / 60 };
        let step = self.step.map_or(usual_step, |step| step.0);
        if step < Duration::from_secs(1) {
            return Err(format!("`step: {}` must be at least 1s", Span(step)));
        }
        if let Some(odd) =
            seasons.iter().find(|season| !is_multiple(season.0, step) || season.0.as_nanos() / step.as_nanos() < FEWEST_STEPS)
        {
            return Err(format!("`seasons` has {odd}, which is not {FEWEST_STEPS} or more whole steps of {}: change `step`", Span(step)));
        }
        let history = self.history.map_or(longest.0 * 4, |history| history.0);
        if !is_multiple(history, step) || history < longest.0 * 2 {
            return Err(format!("`history: {}` must be whole steps of {} and at least twice {longest}", Span(history), Span(step)));
        }
        if history.as_nanos() / step.as_nanos() > MOST_STEPS {
            return Err(format!("`history` has more than {MOST_STEPS} steps of {}: shorten it, or lengthen `step`", Span(step)));
        }
        let usual_refit = step * u32::try_from(steps((shortest.0 / 24).min(HOUR), step).max(1)).unwrap_or(1);
        let refit = self.refit.map_or(usual_refit, |refit| refit.0);
        if !is_multiple(refit, step) || refit > shortest.0 {
            return Err(format!("`refit: {}` must be whole steps of {} and at most {shortest}", Span(refit), Span(step)));
        }
        let longest_hold = step * u32::try_from(steps(history / 8, step)).unwrap_or(1);
        let hold = self.hold.map_or(longest_hold.min(HOLD), |hold| hold.0);
        if hold > longest_hold || !(hold.is_zero() || is_multiple(hold, step)) {
            return Err(format!(
                "`hold: {}` must be whole steps of {} and at most {}, an eighth of the history",
                Span(hold),
                Span(step),
                Span(longest_hold)
            ));
        }
        let level = self.level.unwrap_or(LEVEL);
        if !(level > 0.5 && level < 1.0) {
            return Err(format!(
                "`level: {level}` must be more than 0.5 and less than 1: the share of usual values that lie in the interval"
            ));
        }
        let (minimum, minimum_share) = minimum(self.minimum.as_ref())?;
        let max_series = self.max_series.unwrap_or(SERIES);
        if !(1..=1_000).contains(&max_series) {
            return Err(format!("`max_series: {max_series}` must be from 1 to 1000"));
        }
        let question = Anomaly {
            seasons,
            history: Span(history),
            step: Span(step),
            refit: Span(refit),
            hold: Span(hold),
            level,
            minimum,
            minimum_share,
            direction: self.direction.unwrap_or_default(),
            max_series,
        };
        Ok(Compiled { question: Question::Anomaly(question), expr, needs_thresholds: false })
    }
}
