//! Native histograms: exponential buckets of a schema with a zero bucket, or custom buckets, which have bounds of their own; count and
//! sum. Pure arithmetic with the meaning of Prometheus 3; empty buckets are never kept.
//!
//! Bucket `i` of schema `s` holds `(b^(i-1), b^i]` with `b = 2^(2^-s)`; negative buckets mirror it. Custom bucket `i` reaches from bound
//! `i-1` to bound `i`, the first one from minus infinity, the one after the last bound to infinity.

mod arithmetic;
mod bounds;
mod statistics;

use std::fmt::Write as _;
use std::sync::Arc;

use model::query::{BucketEdges, HistogramBucket, HistogramValue};

pub use arithmetic::{Fit, Misfit};
pub use bounds::upper_bound;
pub use model::tables::CUSTOM_SCALE as CUSTOM_SCHEMA;
pub use statistics::Quantile;

/// The finest schema there is.
pub const MAX_SCHEMA: i32 = 8;
/// The coarsest.
pub const MIN_SCHEMA: i32 = -4;

/// Index and count, ascending, no count zero.
pub type Buckets = Vec<(i32, f64)>;

/// One native histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Resolution: bounds grow by `2^(2^-schema)`; [`CUSTOM_SCHEMA`] where there are custom bounds.
    pub schema: i32,
    /// The upper bounds of custom buckets, finite and rising; such a histogram has neither a zero bucket nor negative ones.
    pub custom: Option<Arc<[f64]>>,
    /// Observations up to this distance from zero are in the zero bucket.
    pub zero_threshold: f64,
    /// How many those are.
    pub zero_count: f64,
    /// All observations; more than the buckets hold where some were NaN.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Buckets of positive values.
    pub positive: Buckets,
    /// Buckets of negative values, by the index of the mirrored bucket.
    pub negative: Buckets,
    /// Not a running total: a result of subtraction, a rate, or sent as a gauge.
    pub gauge: bool,
}

impl Histogram {
    /// From OTLP's form: bucket `offset + n` holds `(b^(offset + n), b^(offset + n + 1)]`. A scale outside of Prometheus's schemas is
    /// brought into them where that is possible: a finer one is merged down, a coarser one is refused (`None`).
    pub fn from_exponential(
        scale: i32,
        zero: (f64, f64),
        total: (f64, f64),
        positive: (i32, &[f64]),
        negative: (i32, &[f64]),
    ) -> Option<Self> {
        if scale < MIN_SCHEMA {
            return None;
        }
        let buckets = |(offset, counts): (i32, &[f64])| -> Buckets {
            let indexed = counts.iter().zip(i64::from(offset) + 1..);
            // Where the scale is so fine that its indices leave the numbers, they are merged down below.
            indexed.filter(|(count, _)| **count != 0.0).filter_map(|(count, at)| i32::try_from(at).ok().map(|at| (at, *count))).collect()
        };
        let mut histogram = Histogram {
            zero_threshold: zero.0,
            zero_count: zero.1,
            count: total.0,
            sum: total.1,
            positive: buckets(positive),
            negative: buckets(negative),
            ..Histogram::empty(scale, None)
        };
        histogram.reduce(scale.min(MAX_SCHEMA));
        Some(histogram)
    }

    /// With custom bounds: as many counts as bounds and one more, or fewer; `None` where there are more.
    pub fn from_custom(bounds: Arc<[f64]>, total: (f64, f64), counts: &[f64]) -> Option<Self> {
        if counts.len() > bounds.len() + 1 {
            return None;
        }
        Some(Histogram {
            count: total.0,
            sum: total.1,
            positive: (0..).zip(counts).filter(|(_, count)| **count != 0.0).map(|(at, count)| (at, *count)).collect(),
            ..Histogram::empty(CUSTOM_SCHEMA, Some(bounds))
        })
    }

    /// A counter with nothing in it.
    pub fn empty(schema: i32, custom: Option<Arc<[f64]>>) -> Self {
        Histogram {
            schema,
            custom,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: Buckets::new(),
            negative: Buckets::new(),
            gauge: false,
        }
    }

    /// The same buckets with nothing in them.
    pub fn emptied(&self) -> Self {
        Histogram { gauge: self.gauge, ..Histogram::empty(self.schema, self.custom.clone()) }
    }

    /// Where the bucket of positive values ends.
    fn bound(&self, index: i32) -> f64 {
        match (&self.custom, usize::try_from(index)) {
            (None, _) => upper_bound(index, self.schema),
            (Some(_), Err(_)) => f64::NEG_INFINITY,
            (Some(bounds), Ok(index)) => bounds.get(index).copied().unwrap_or(f64::INFINITY),
        }
    }

    /// The buckets that hold something, from the lowest value to the highest.
    pub fn buckets(&self) -> Vec<HistogramBucket> {
        let bound = |index: i32| self.bound(index);
        let mut all = Vec::with_capacity(self.negative.len() + self.positive.len() + 1);
        all.extend(self.negative.iter().rev().map(|(index, count)| HistogramBucket {
            edges: BucketEdges::OpenRight,
            lower: -bound(*index),
            upper: -bound(index.saturating_sub(1)),
            count: *count,
        }));
        if self.zero_count != 0.0 {
            let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
            all.push(HistogramBucket { edges: BucketEdges::ClosedBoth, lower, upper, count: self.zero_count });
        }
        let first = |index: i32| index == 0 && self.custom.is_some();
        all.extend(self.positive.iter().map(|(index, count)| HistogramBucket {
            edges: if first(*index) { BucketEdges::ClosedBoth } else { BucketEdges::OpenLeft },
            lower: bound(index.saturating_sub(1)),
            upper: bound(*index),
            count: *count,
        }));
        all
    }

    /// Whether all observations look the same; two NaN sums do.
    pub fn same(&self, other: &Histogram) -> bool {
        let number = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
        self.schema == other.schema
            && self.custom == other.custom
            && self.zero_threshold == other.zero_threshold
            && number(self.sum, other.sum)
            && (self.count, self.zero_count) == (other.count, other.zero_count)
            && (&self.positive, &self.negative) == (&other.positive, &other.negative)
    }

    /// As an answer shows it.
    pub fn shown(&self) -> HistogramValue {
        HistogramValue { count: self.count, sum: self.sum, buckets: self.buckets() }
    }

    /// Prometheus's text form: `{count:3, sum:4.5, [-0.001,0.001]:1, (1,2]:2}`.
    pub fn text(&self) -> String {
        let number = |value: f64| model::units::Value(value).to_string();
        let mut text = format!("{{count:{}, sum:{}", number(self.count), number(self.sum));
        for bucket in self.buckets() {
            let (open, close) = match bucket.edges {
                BucketEdges::OpenLeft => ('(', ']'),
                BucketEdges::OpenRight => ('[', ')'),
                BucketEdges::OpenBoth => ('(', ')'),
                BucketEdges::ClosedBoth => ('[', ']'),
            };
            let _ = write!(text, ", {open}{},{}{close}:{}", number(bucket.lower), number(bucket.upper), number(bucket.count));
        }
        text.push('}');
        text
    }
}

#[cfg(test)]
mod tests;
