//! The `*_over_time` family and the statistics that aggregations share with it.

use super::Window;

/// Neumaier's form of Kahan summation: adds to a running sum and its compensation.
fn add(value: f64, (sum, lost): (f64, f64)) -> (f64, f64) {
    let total = sum + value;
    let lost = if total.is_infinite() {
        0.0
    } else if sum.abs() >= value.abs() {
        lost + ((sum - total) + value)
    } else {
        lost + ((value - total) + sum)
    };
    (total, lost)
}

/// The compensated sum.
pub fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, lost) = values.fold((0.0, 0.0), |running, value| add(value, running));
    if sum.is_infinite() { sum } else { sum + lost }
}

/// The mean: of the compensated sum while it does not overflow, incremental from there on. NaN of nothing.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut running, mut count, mut incremental) = ((0.0, 0.0), 0.0f64, false);
    for value in values {
        count += 1.0;
        if !incremental {
            let next = if count == 1.0 { (value, 0.0) } else { add(value, running) };
            if count == 1.0 || !next.0.is_infinite() {
                running = next;
                continue;
            }
            incremental = true;
            running = (running.0 / (count - 1.0), running.1 / (count - 1.0));
        }
        let share = (count - 1.0) / count;
        running = add(value / count, (share * running.0, share * running.1));
    }
    if incremental { running.0 + running.1 } else { running.0 / count + running.1 / count }
}

/// The least value; NaN only if all are.
pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, |best, value| if value < best || best.is_nan() { value } else { best })
}

/// The greatest value; NaN only if all are.
pub fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, |best, value| if value > best || best.is_nan() { value } else { best })
}

/// The population variance (Welford, compensated).
pub fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, (0.0, 0.0), (0.0, 0.0));
    for &value in values {
        count += 1.0;
        let off = value - (mean.0 + mean.1);
        mean = add(off / count, mean);
        squares = add(off * (value - (mean.0 + mean.1)), squares);
    }
    (squares.0 + squares.1) / count
}

/// The quantile with linear interpolation between ranks; NaN sorts first. -Inf and +Inf for a `q` below 0 and above 1.
pub fn quantile(q: f64, values: impl Iterator<Item = f64>, scratch: &mut Vec<f64>) -> f64 {
    scratch.clear();
    scratch.extend(values);
    if scratch.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let order = |a: &f64, b: &f64| match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.total_cmp(b),
    };
    let top = scratch.len() - 1;
    let rank = q * top as f64;
    let lower = (rank.floor().max(0.0) as usize).min(top);
    let weight = rank - rank.floor();
    // Two neighbours of the sorted order are wanted, not all of it.
    let (_, at, above) = scratch.select_nth_unstable_by(lower, order);
    let next = above.iter().copied().min_by(order).unwrap_or(*at);
    *at * (1.0 - weight) + next * weight
}

/// The median of the distances to the median.
pub fn median_deviation(values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    let median = quantile(0.5, values.iter().copied(), scratch);
    quantile(0.5, values.iter().map(|value| (value - median).abs()), scratch)
}

/// How often the value changed.
pub fn changes(values: &[f64]) -> f64 {
    values.windows(2).filter(|pair| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan())).count() as f64
}

/// How often the value fell.
pub fn resets(values: &[f64]) -> f64 {
    values.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64
}

/// The time in seconds of the last sample that `beats` all before it.
pub fn time_of(window: &Window<'_>, beats: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let (mut best, mut at) = (*window.values.first()?, *window.times.first()?);
    for (&value, &time) in window.values.iter().zip(window.times) {
        if beats(value, best) || best.is_nan() {
            (best, at) = (value, time);
        }
    }
    Some(at as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_what_floats_would_lose() {
        assert_eq!(sum([1e100, 1.0, -1e100].into_iter()), 1.0);
        assert_eq!(sum([f64::INFINITY, 1.0].into_iter()), f64::INFINITY);
        assert!(sum([f64::INFINITY, f64::NEG_INFINITY].into_iter()).is_nan());
    }

    #[test]
    fn a_mean_does_not_overflow() {
        assert_eq!(mean([f64::MAX, f64::MAX].into_iter()), f64::MAX);
        assert_eq!(mean([1.0, 2.0, 6.0].into_iter()), 3.0);
        assert_eq!(mean([f64::INFINITY, 1.0].into_iter()), f64::INFINITY);
    }

    #[test]
    fn quantiles_interpolate() {
        let mut scratch = Vec::new();
        assert_eq!(quantile(0.5, [4.0, 1.0, 2.0, 3.0].into_iter(), &mut scratch), 2.5);
        assert_eq!(quantile(1.0, [4.0, 1.0].into_iter(), &mut scratch), 4.0);
        assert_eq!(quantile(-0.1, [4.0].into_iter(), &mut scratch), f64::NEG_INFINITY);
        assert!(quantile(0.0, [4.0, f64::NAN].into_iter(), &mut scratch).is_nan());
    }
}
