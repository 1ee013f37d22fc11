//! Functions over ranges. In: the samples of a left-open window. Out: one value, or none. Formulas as Prometheus documents them;
//! `rate`, `increase` and `delta` extrapolate as its `extrapolatedRate` does.

use super::eval::RangeRow;

/// A window of time in milliseconds: after `start`, up to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Exclusive.
    pub start: i64,
    /// Inclusive.
    pub end: i64,
}

const NAMES: [&str; 28] = [
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "predict_linear",
    "changes",
    "resets",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "quantile_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "last_over_time",
    "first_over_time",
    "present_over_time",
    "absent_over_time",
    "mad_over_time",
    "double_exponential_smoothing",
    "holt_winters",
    "ts_of_min_over_time",
    "ts_of_max_over_time",
    "ts_of_last_over_time",
    "ts_of_first_over_time",
];

/// Whether it is a function over ranges.
pub fn knows(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Whether it means something for increments.
pub fn takes_delta(name: &str) -> bool {
    matches!(
        name,
        "rate"
            | "increase"
            | "sum_over_time"
            | "count_over_time"
            | "present_over_time"
            | "max_over_time"
            | "min_over_time"
            | "avg_over_time"
            | "last_over_time"
            | "first_over_time"
    )
}

/// Which argument is the range.
pub fn range_argument(name: &str) -> usize {
    usize::from(name == "quantile_over_time")
}

/// Applies a function to the samples of a window. `numbers` are its other arguments, `at` the step's moment.
pub fn apply(name: &str, row: &RangeRow, window: Window, numbers: &[f64], at: i64) -> Option<f64> {
    let samples = row.samples.as_slice();
    let seconds = (window.end - window.start) as f64 / 1e3;
    if row.delta && matches!(name, "rate" | "increase") {
        let sum = (!samples.is_empty()).then(|| sum(samples))?;
        return Some(if name == "rate" { sum / seconds } else { sum });
    }
    match name {
        "rate" => extrapolated(samples, window, true).map(|value| value / seconds),
        "increase" => extrapolated(samples, window, true),
        "delta" => extrapolated(samples, window, false),
        "irate" => last_two(samples, true),
        "idelta" => last_two(samples, false),
        "deriv" => (samples.len() >= 2).then(|| linear_regression(samples, samples[0].0).0),
        "predict_linear" => {
            let ahead = *numbers.first()?;
            (samples.len() >= 2).then(|| {
                let (slope, intercept) = linear_regression(samples, at);
                slope * ahead + intercept
            })
        }
        "double_exponential_smoothing" | "holt_winters" => smoothed(samples, *numbers.first()?, *numbers.get(1)?),
        "quantile_over_time" => {
            let mut values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
            (!values.is_empty()).then(|| quantile(*numbers.first().unwrap_or(&f64::NAN), &mut values))
        }
        other => over_time(other, samples),
    }
}

fn sum(samples: &[(i64, f64)]) -> f64 {
    compensated(samples.iter().map(|(_, value)| *value))
}

/// Neumaier's compensated sum.
pub fn compensated(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    for value in values {
        let next = sum + value;
        if next.is_infinite() {
            lost = 0.0;
        } else if sum.abs() >= value.abs() {
            lost += (sum - next) + value;
        } else {
            lost += (value - next) + sum;
        }
        sum = next;
    }
    if sum.is_infinite() { sum } else { sum + lost }
}

fn mean(samples: &[(i64, f64)]) -> f64 {
    let sum = sum(samples);
    if sum.is_infinite() && samples.iter().all(|(_, value)| value.is_finite()) {
        let count = samples.len() as f64;
        return compensated(samples.iter().map(|(_, value)| value / count));
    }
    sum / samples.len() as f64
}

fn variance(samples: &[(i64, f64)]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for (_, value) in samples {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
    }
    squares / count
}

fn over_time(name: &str, samples: &[(i64, f64)]) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    let extreme = |better: fn(f64, f64) -> bool| {
        let mut best = *first;
        for sample in samples {
            if better(sample.1, best.1) || best.1.is_nan() {
                best = *sample;
            }
        }
        best
    };
    let pairs = || samples.windows(2).map(|pair| (pair[0].1, pair[1].1));
    let secs = |at: i64| at as f64 / 1e3;
    Some(match name {
        "sum_over_time" => sum(samples),
        "avg_over_time" => mean(samples),
        "count_over_time" => samples.len() as f64,
        "present_over_time" => 1.0,
        "min_over_time" => extreme(|a, b| a < b).1,
        "max_over_time" => extreme(|a, b| a > b).1,
        "ts_of_min_over_time" => secs(extreme(|a, b| a <= b).0),
        "ts_of_max_over_time" => secs(extreme(|a, b| a >= b).0),
        "ts_of_last_over_time" => secs(last.0),
        "ts_of_first_over_time" => secs(first.0),
        "last_over_time" => last.1,
        "first_over_time" => first.1,
        "stdvar_over_time" => variance(samples),
        "stddev_over_time" => variance(samples).sqrt(),
        "changes" => pairs().filter(|(a, b)| a != b && !(a.is_nan() && b.is_nan())).count() as f64,
        "resets" => pairs().filter(|(a, b)| b < a).count() as f64,
        "mad_over_time" => {
            let mut values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
            let median = quantile(0.5, &mut values);
            let mut apart: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
            quantile(0.5, &mut apart)
        }
        _ => return None,
    })
}

/// Prometheus's `extrapolatedRate` for floats: the change of the samples, stretched to the window's ends where the series
/// probably goes on beyond its first and last sample.
fn extrapolated(samples: &[(i64, f64)], window: Window, counter: bool) -> Option<f64> {
    let ((first_at, first), (last_at, last)) = (*samples.first()?, *samples.last()?);
    if samples.len() < 2 {
        return None;
    }
    let mut result = last - first;
    if counter {
        let mut previous = first;
        for (_, value) in &samples[1..] {
            if *value < previous {
                result += previous;
            }
            previous = *value;
        }
    }
    let mut to_start = (first_at - window.start) as f64 / 1e3;
    let mut to_end = (window.end - last_at) as f64 / 1e3;
    let sampled = (last_at - first_at) as f64 / 1e3;
    let average = sampled / (samples.len() - 1) as f64;
    let threshold = average * 1.1;
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if counter {
        // A counter cannot have been below zero: it does not go further back than to its zero.
        let to_zero = if result > 0.0 && first >= 0.0 { sampled * (first / result) } else { to_start };
        to_start = to_start.min(to_zero);
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    Some(result * ((sampled + to_start + to_end) / sampled))
}

fn last_two(samples: &[(i64, f64)], rate: bool) -> Option<f64> {
    let [.., (before_at, before), (at, value)] = samples else { return None };
    if at == before_at {
        return None;
    }
    let change = if rate && value < before { *value } else { value - before };
    Some(if rate { change / ((at - before_at) as f64 / 1e3) } else { change })
}

/// Slope (per second) and intercept at the moment `origin`, by least squares.
fn linear_regression(samples: &[(i64, f64)], origin: i64) -> (f64, f64) {
    let first = samples[0].1;
    if samples.iter().all(|(_, value)| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let x = |at: i64| (at - origin) as f64 / 1e3;
    let count = samples.len() as f64;
    let sum_x = compensated(samples.iter().map(|(at, _)| x(*at)));
    let sum_y = compensated(samples.iter().map(|(_, value)| *value));
    let sum_xy = compensated(samples.iter().map(|(at, value)| x(*at) * value));
    let sum_xx = compensated(samples.iter().map(|(at, _)| x(*at) * x(*at)));
    let covariance = sum_xy - sum_x * sum_y / count;
    let spread = sum_xx - sum_x * sum_x / count;
    let slope = covariance / spread;
    (slope, sum_y / count - slope * sum_x / count)
}

fn smoothed(samples: &[(i64, f64)], smoothing: f64, trend: f64) -> Option<f64> {
    let inside = |factor: f64| factor > 0.0 && factor < 1.0;
    if samples.len() < 2 || !inside(smoothing) || !inside(trend) {
        return None;
    }
    let mut level = samples[0].1;
    let mut slope = samples[1].1 - samples[0].1;
    for (_, value) in &samples[1..] {
        let before = level;
        level = smoothing * value + (1.0 - smoothing) * (before + slope);
        slope = trend * (level - before) + (1.0 - trend) * slope;
    }
    Some(level)
}

/// The q-quantile with linear interpolation; below 0 it is -Inf, above 1 +Inf, for NaN NaN.
pub fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    // NaN sorts first, as in Prometheus.
    values.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.total_cmp(b),
    });
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor().max(0.0) as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}
