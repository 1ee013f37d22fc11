//! Where buckets begin and end.

/// `fraction * 2^exponent` without a detour over infinity or zero.
fn scaled(fraction: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    fraction * 2f64.powi(half) * 2f64.powi(exponent - half)
}

/// The upper bound of a bucket. The one after the greatest float is that float; what lies beyond is infinite.
pub fn upper_bound(index: i32, schema: i32) -> f64 {
    if schema < 0 {
        let exponent = i64::from(index) << -schema;
        return match exponent {
            1024 => f64::MAX,
            1025.. => f64::INFINITY,
            _ => scaled(1.0, i32::try_from(exponent).unwrap_or(-2_000).max(-2_000)),
        };
    }
    let steps = 1i32 << schema;
    let (whole, part) = (index.div_euclid(steps), index.rem_euclid(steps));
    match (whole, part) {
        (1024, 0) => f64::MAX,
        (1024.., _) => f64::INFINITY,
        _ => scaled((f64::from(part) / f64::from(steps)).exp2(), whole.max(-2_000)),
    }
}

/// The bucket of a coarser schema that a bucket falls into.
pub(super) fn coarser(index: i32, from: i32, to: i32) -> i32 {
    let by = u32::try_from(from - to).unwrap_or(0).min(31);
    (index.wrapping_sub(1) >> by) + 1
}

/// The bounds that both have.
pub(super) fn common(left: &[f64], right: &[f64]) -> Vec<f64> {
    let mut rest = right;
    let is_shared = |bound: &&f64| {
        rest = &rest[rest.partition_point(|other| other < *bound)..];
        rest.first() == Some(*bound)
    };
    left.iter().filter(is_shared).copied().collect()
}
