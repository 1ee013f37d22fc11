//! Quantiles, fractions and the spread of the observations behind a native histogram, interpolated inside buckets: exponentially, in the
//! zero bucket and in custom buckets linearly.

use model::query::HistogramBucket;

use super::Histogram;

/// A quantile and what there is to say about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantile {
    /// The value.
    Value(f64),
    /// The value; NaN observations, which are in no bucket, move it up.
    Skewed(f64),
    /// It lies among the NaN observations.
    AmongNan,
}

impl Quantile {
    /// The value alone.
    pub fn value(self) -> f64 {
        match self {
            Quantile::Value(value) | Quantile::Skewed(value) => value,
            Quantile::AmongNan => f64::NAN,
        }
    }
}

impl Histogram {
    /// The buckets; a zero bucket of a one-sided histogram reaches to that side only, and so does a custom bucket that zero lies in.
    fn sided(&self) -> Vec<HistogramBucket> {
        let mut all = self.buckets();
        for bucket in all.iter_mut().filter(|bucket| bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            if self.negative.is_empty() && !self.positive.is_empty() {
                bucket.lower = 0.0;
            } else if self.positive.is_empty() && !self.negative.is_empty() {
                bucket.upper = 0.0;
            }
        }
        all
    }

    /// The quantile: -Inf and +Inf for a `q` below 0 and above 1, NaN of nothing.
    pub fn quantile(&self, q: f64) -> Quantile {
        if q < 0.0 {
            return Quantile::Value(f64::NEG_INFINITY);
        }
        if q > 1.0 {
            return Quantile::Value(f64::INFINITY);
        }
        if self.count == 0.0 || q.is_nan() {
            return Quantile::Value(f64::NAN);
        }
        let buckets = if self.custom.is_some() { self.buckets() } else { self.sided() };
        let with_nan = self.sum.is_nan();
        // From the nearer end, so that rounding errors stay small; where there are NaN, they lie after the last bucket.
        let forward = with_nan || q < 0.5;
        let wanted = if forward { q * self.count } else { (1.0 - q) * self.count };
        let (mut seen, mut found) = (0.0, None);
        let mut look = |bucket: &HistogramBucket| {
            seen += bucket.count;
            found = Some(*bucket);
            seen >= wanted
        };
        let _ = if forward { buckets.iter().any(&mut look) } else { buckets.iter().rev().any(&mut look) };
        let Some(mut bucket) = found else { return if with_nan { Quantile::AmongNan } else { Quantile::Value(f64::NAN) } };
        if self.custom.is_some() {
            // As in a classic histogram: the first bucket begins at zero, or is all at its end; nobody knows how far the last one reaches.
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return Quantile::Value(bucket.upper);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return Quantile::Value(bucket.lower);
            }
        }
        if with_nan && wanted > seen && seen < self.count {
            return Quantile::AmongNan;
        }
        let wanted = wanted.min(seen);
        let rank = if forward { wanted - (seen - bucket.count) } else { seen - wanted };
        let value = inside(&bucket, rank / bucket.count, self.custom.is_some());
        if with_nan { Quantile::Skewed(value) } else { Quantile::Value(value) }
    }

    /// The share of observations between two values.
    pub fn fraction(&self, lower: f64, upper: f64) -> f64 {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        let buckets = self.sided();
        (self.below(upper, &buckets) - self.below(lower, &buckets)) / self.count
    }

    /// How many observations lie below a value.
    fn below(&self, value: f64, buckets: &[HistogramBucket]) -> f64 {
        let mut rank = 0.0;
        for bucket in buckets {
            if bucket.lower >= value {
                return rank;
            }
            if bucket.upper > value {
                return rank + bucket.count * share(bucket, value, self.custom.is_some());
            }
            rank += bucket.count;
        }
        rank
    }

    /// The population variance, each observation taken at the geometric middle of its bucket, in custom buckets at the arithmetic one:
    /// infinite where there are any in a bucket without end.
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let squares = self.buckets().into_iter().map(|bucket| {
            let middle = if self.custom.is_some() {
                (bucket.lower + bucket.upper) / 2.0
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                // Two roots: the product of the bounds may overflow.
                (bucket.lower.abs().sqrt() * bucket.upper.abs().sqrt()).copysign(bucket.upper)
            };
            bucket.count * (middle - mean) * (middle - mean)
        });
        crate::promql::functions::over_time::sum(squares) / self.count
    }
}

/// The value at a share of a bucket.
fn inside(bucket: &HistogramBucket, share: f64, custom: bool) -> f64 {
    let (lower, upper) = (bucket.lower, bucket.upper);
    if custom || (lower <= 0.0 && upper >= 0.0) {
        return lower + (upper - lower) * share;
    }
    let (from, to) = (lower.abs().log2(), upper.abs().log2());
    if lower > 0.0 { (from + (to - from) * share).exp2() } else { -(to + (from - to) * (1.0 - share)).exp2() }
}

/// The share of a bucket that lies below a value inside of it.
fn share(bucket: &HistogramBucket, value: f64, custom: bool) -> f64 {
    let (lower, upper) = (bucket.lower, bucket.upper);
    if lower == f64::NEG_INFINITY {
        return 1.0;
    }
    if custom || (lower <= 0.0 && upper >= 0.0) {
        return (value - lower) / (upper - lower);
    }
    let (from, to, at) = (lower.abs().log2(), upper.abs().log2(), value.abs().log2());
    if value > 0.0 { (at - from) / (to - from) } else { 1.0 - (at - to) / (from - to) }
}
