//! The functions of PromQL, by family. Pure: a window or a value in, a value out.

pub mod date;
pub mod label;
pub mod math;
pub mod moving;
pub mod native;
pub mod over_time;
pub mod rate;
pub mod regression;
pub mod sort;

use model::query::QueryError;

/// The samples of one series inside a range, left-open: none is a staleness marker.
#[derive(Clone, Copy, Debug)]
pub struct Window<'s> {
    /// Milliseconds, ascending.
    pub times: &'s [i64],
    /// As many.
    pub values: &'s [f64],
    /// The right edge of the range in milliseconds, after `@` and `offset`.
    pub end: i64,
    /// Its length in milliseconds.
    pub range: i64,
    /// The step for which it is evaluated, before `@` and `offset`.
    pub step_time: i64,
}

impl Window<'_> {
    /// The range in seconds.
    pub fn seconds(&self) -> f64 {
        self.range as f64 / 1_000.0
    }
}

/// A function of a range vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are PromQL's
pub enum RangeFunction {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Deriv,
    PredictLinear,
    DoubleExponentialSmoothing,
    Changes,
    Resets,
    AvgOverTime,
    MinOverTime,
    MaxOverTime,
    SumOverTime,
    CountOverTime,
    QuantileOverTime,
    StddevOverTime,
    StdvarOverTime,
    MadOverTime,
    LastOverTime,
    FirstOverTime,
    PresentOverTime,
    TsOfFirstOverTime,
    TsOfLastOverTime,
    TsOfMinOverTime,
    TsOfMaxOverTime,
}

/// What a function does with a series of delta temporality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDelta {
    /// Adds the deltas up.
    AddUp,
    /// Works on the deltas as they are.
    AsStored,
    /// Means nothing: the series is left out, with a warning.
    Refuse,
}

use RangeFunction as F;

const BY_NAME: [(&str, RangeFunction); 26] = [
    ("rate", F::Rate),
    ("increase", F::Increase),
    ("delta", F::Delta),
    ("irate", F::Irate),
    ("idelta", F::Idelta),
    ("deriv", F::Deriv),
    ("predict_linear", F::PredictLinear),
    ("double_exponential_smoothing", F::DoubleExponentialSmoothing),
    ("changes", F::Changes),
    ("resets", F::Resets),
    ("avg_over_time", F::AvgOverTime),
    ("min_over_time", F::MinOverTime),
    ("max_over_time", F::MaxOverTime),
    ("sum_over_time", F::SumOverTime),
    ("count_over_time", F::CountOverTime),
    ("quantile_over_time", F::QuantileOverTime),
    ("stddev_over_time", F::StddevOverTime),
    ("stdvar_over_time", F::StdvarOverTime),
    ("mad_over_time", F::MadOverTime),
    ("last_over_time", F::LastOverTime),
    ("first_over_time", F::FirstOverTime),
    ("present_over_time", F::PresentOverTime),
    ("ts_of_first_over_time", F::TsOfFirstOverTime),
    ("ts_of_last_over_time", F::TsOfLastOverTime),
    ("ts_of_min_over_time", F::TsOfMinOverTime),
    ("ts_of_max_over_time", F::TsOfMaxOverTime),
];

impl RangeFunction {
    /// The function with a name.
    pub fn by_name(name: &str) -> Option<Self> {
        BY_NAME.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        BY_NAME.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }
    /// How many scalars it takes beside the range vector.
    pub fn parameters(self) -> usize {
        match self {
            F::PredictLinear | F::QuantileOverTime => 1,
            F::DoubleExponentialSmoothing => 2,
            F::Rate | F::Increase | F::Delta | F::Irate | F::Idelta | F::Deriv | F::Changes | F::Resets => 0,
            F::AvgOverTime | F::MinOverTime | F::MaxOverTime | F::SumOverTime | F::CountOverTime | F::PresentOverTime => 0,
            F::StddevOverTime | F::StdvarOverTime | F::MadOverTime | F::LastOverTime | F::FirstOverTime => 0,
            F::TsOfFirstOverTime | F::TsOfLastOverTime | F::TsOfMinOverTime | F::TsOfMaxOverTime => 0,
        }
    }
    /// Whether the result keeps the metric name.
    pub fn keeps_name(self) -> bool {
        matches!(self, F::LastOverTime | F::FirstOverTime)
    }
    /// Whether it says so where a name is not a counter's.
    pub fn wants_counter(self) -> bool {
        matches!(self, F::Rate | F::Increase)
    }
    /// What it does with a series of delta temporality.
    pub fn on_delta(self) -> OnDelta {
        match self {
            F::Rate | F::Increase => OnDelta::AddUp,
            F::Delta | F::Irate | F::Idelta | F::Deriv | F::PredictLinear | F::DoubleExponentialSmoothing | F::Resets => OnDelta::Refuse,
            F::Changes | F::AvgOverTime | F::MinOverTime | F::MaxOverTime | F::SumOverTime | F::CountOverTime => OnDelta::AsStored,
            F::QuantileOverTime | F::StddevOverTime | F::StdvarOverTime | F::MadOverTime => OnDelta::AsStored,
            F::LastOverTime | F::FirstOverTime | F::PresentOverTime => OnDelta::AsStored,
            F::TsOfFirstOverTime | F::TsOfLastOverTime | F::TsOfMinOverTime | F::TsOfMaxOverTime => OnDelta::AsStored,
        }
    }

    /// The value for a window that holds at least one sample; `None` where there is none. `params` are the scalars of the step,
    /// `scratch` is memory to sort in.
    pub fn apply(self, window: &Window<'_>, params: &[f64], scratch: &mut Vec<f64>) -> Option<f64> {
        let param = |at: usize| params.get(at).copied().unwrap_or(f64::NAN);
        let (Some(&first), Some(&last)) = (window.values.first(), window.values.last()) else { return None };
        match self {
            F::Rate => rate::extrapolated(window, rate::Meaning::Counter).map(|increase| increase / window.seconds()),
            F::Increase => rate::extrapolated(window, rate::Meaning::Counter),
            F::Delta => rate::extrapolated(window, rate::Meaning::Gauge),
            F::Irate => rate::instant(window, rate::Meaning::Counter),
            F::Idelta => rate::instant(window, rate::Meaning::Gauge),
            F::Deriv => regression::deriv(window),
            F::PredictLinear => regression::predict_linear(window, param(0)),
            F::DoubleExponentialSmoothing => regression::smooth(window.values, param(0), param(1)),
            F::Changes => Some(over_time::changes(window.values)),
            F::Resets => Some(over_time::resets(window.values)),
            F::AvgOverTime => Some(over_time::mean(window.values.iter().copied())),
            F::MinOverTime => Some(over_time::least(window.values)),
            F::MaxOverTime => Some(over_time::greatest(window.values)),
            F::SumOverTime => Some(over_time::sum(window.values.iter().copied())),
            F::CountOverTime => Some(window.values.len() as f64),
            F::QuantileOverTime => Some(over_time::quantile(param(0), window.values.iter().copied(), scratch)),
            F::StddevOverTime => Some(over_time::variance(window.values).sqrt()),
            F::StdvarOverTime => Some(over_time::variance(window.values)),
            F::MadOverTime => Some(over_time::median_deviation(window.values, scratch)),
            F::LastOverTime => Some(last),
            F::FirstOverTime => Some(first),
            F::PresentOverTime => Some(1.0),
            F::TsOfFirstOverTime => window.times.first().map(|at| *at as f64 / 1_000.0),
            F::TsOfLastOverTime => window.times.last().map(|at| *at as f64 / 1_000.0),
            F::TsOfMinOverTime => over_time::time_of(window, |value, best| value <= best),
            F::TsOfMaxOverTime => over_time::time_of(window, |value, best| value >= best),
        }
    }

    /// Checks the scalars of a step.
    pub fn check(self, params: &[f64]) -> Result<(), QueryError> {
        if self == F::DoubleExponentialSmoothing {
            for (at, name) in ["smoothing", "trend"].into_iter().enumerate() {
                let factor = params.get(at).copied().unwrap_or(f64::NAN);
                // A NaN passes, as in Prometheus.
                if factor <= 0.0 || factor >= 1.0 {
                    return Err(QueryError::Execution(format!(
                        "invalid {name} factor. Expected: 0 < {}f < 1, got: {factor:.6}",
                        &name[..1]
                    )));
                }
            }
        }
        Ok(())
    }
}
