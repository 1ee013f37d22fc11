//! `deriv`, `predict_linear` and `double_exponential_smoothing`.

use super::{Window, over_time};

/// Slope and value at `origin` (milliseconds) of the least-squares line.
fn line(window: &Window<'_>, origin: i64) -> (f64, f64) {
    let first = window.values[0];
    if window.values.iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let n = window.values.len() as f64;
    let xs = || window.times.iter().map(|at| (at - origin) as f64 / 1_000.0);
    let ys = || window.values.iter().copied();
    let plain_sum = |values: &mut dyn Iterator<Item = f64>| over_time::sum(values);
    let (sum_x, sum_y) = (plain_sum(&mut xs()), plain_sum(&mut ys()));
    let sum_xy = plain_sum(&mut xs().zip(ys()).map(|(x, y)| x * y));
    let sum_xx = plain_sum(&mut xs().map(|x| x * x));
    let slope = (sum_xy - sum_x * sum_y / n) / (sum_xx - sum_x * sum_x / n);
    (slope, sum_y / n - slope * sum_x / n)
}

/// The slope per second; `None` with less than two samples.
pub fn deriv(window: &Window<'_>) -> Option<f64> {
    (window.values.len() > 1).then(|| line(window, window.times[0]).0)
}

/// The value so many seconds after the step.
pub fn predict_linear(window: &Window<'_>, seconds: f64) -> Option<f64> {
    (window.values.len() > 1).then(|| {
        let (slope, here) = line(window, window.step_time);
        slope * seconds + here
    })
}

/// Double exponential smoothing (Holt's linear method): smoothing factor, trend factor.
pub fn smooth(values: &[f64], smoothing: f64, trend: f64) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let (mut before, mut level, mut slope) = (0.0, values[0], values[1] - values[0]);
    for (index, value) in values.iter().enumerate().skip(1) {
        if index > 1 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + slope);
        (before, level) = (level, next);
    }
    Some(level)
}
