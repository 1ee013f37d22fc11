//! `rate`, `increase`, `delta`, `irate`, `idelta` on running totals, with Prometheus's extrapolation; and the sum of deltas.

use super::Window;

/// Whether a fall is a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A counter: a fall means that it started again at zero.
    Counter,
    /// A gauge: a fall is a fall.
    Gauge,
}

/// The change over the whole range. Where the first or last sample is nearer to the edge than 1.1 times the average distance of
/// samples, it is extrapolated to the edge, else by half that distance; a counter never below zero. `None` with less than two samples.
pub fn extrapolated(window: &Window<'_>, meaning: Meaning) -> Option<f64> {
    extrapolated_over(window, meaning, window.values.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]))
}

/// The same; `lost` are the values from which a counter fell within the window, in order.
pub fn extrapolated_over(window: &Window<'_>, meaning: Meaning, lost: impl Iterator<Item = f64>) -> Option<f64> {
    let gaps = window.times.len().checked_sub(1).filter(|gaps| *gaps > 0)?;
    let (first, last) = (window.values[0], window.values[gaps]);
    let mut change = last - first;
    if meaning == Meaning::Counter {
        // One after the other, as Prometheus does: another order may round, or overflow, elsewhere.
        change = lost.fold(change, |change, value| change + value);
    }
    let to_zero = (meaning == Meaning::Counter && change > 0.0 && first >= 0.0).then(|| first / change);
    Some(change * stretch(window, to_zero))
}

/// By how much the change between the first and the last of at least two samples grows towards the edges of the window. `to_zero` is the
/// share of the sampled time after which a counter, going back, would be at zero.
pub fn stretch(window: &Window<'_>, to_zero: Option<f64>) -> f64 {
    let gaps = window.times.len() - 1;
    let (first_at, last_at) = (window.times[0], window.times[gaps]);
    let sampled = (last_at - first_at) as f64 / 1_000.0;
    let distance = sampled / gaps as f64;
    let threshold = distance * 1.1;
    let mut to_start = (first_at - (window.end - window.range)) as f64 / 1_000.0;
    if to_start >= threshold {
        to_start = distance / 2.0;
    }
    if let Some(share) = to_zero {
        to_start = to_start.min(sampled * share);
    }
    let mut to_end = (window.end - last_at) as f64 / 1_000.0;
    if to_end >= threshold {
        to_end = distance / 2.0;
    }
    (sampled + to_start + to_end) / sampled
}

/// From the last two samples: per second for a counter, the plain difference for a gauge.
pub fn instant(window: &Window<'_>, meaning: Meaning) -> Option<f64> {
    let last = window.times.len().checked_sub(1).filter(|last| *last > 0)?;
    let millis = window.times[last] - window.times[last - 1];
    if millis == 0 {
        return None;
    }
    let (before, now) = (window.values[last - 1], window.values[last]);
    Some(match meaning {
        Meaning::Gauge => now - before,
        Meaning::Counter => (if now < before { now } else { now - before }) / (millis as f64 / 1_000.0),
    })
}

/// The sum of deltas in the window: what happened in it, exactly. `None` without a sample.
pub fn added_up(window: &Window<'_>) -> Option<f64> {
    (!window.values.is_empty()).then(|| super::over_time::sum(window.values.iter().copied()))
}
