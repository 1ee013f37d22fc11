//! Adding, subtracting, scaling, resolution, zero buckets, custom bounds that differ, and whether a counter started again.

use std::sync::Arc;

use super::bounds::{coarser, common};
use super::{Buckets, Histogram, upper_bound};

/// How the buckets of two histograms came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Bucket by bucket, exponential ones in the coarser schema.
    Whole,
    /// Their custom bounds differ: only those that both have are left.
    Reconciled,
}

/// One has exponential buckets, the other one custom ones: nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("exponential and custom buckets cannot come together")]
pub struct Misfit;

/// Two sorted lists as one; what adds up to nothing vanishes.
fn merged(left: &Buckets, right: &Buckets, sign: f64) -> Buckets {
    let mut out = Buckets::with_capacity(left.len().max(right.len()));
    let (mut a, mut b) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let (index, count) = match (a.peek(), b.peek()) {
            (None, None) => return out,
            (Some(&&(index, count)), None) => (index, (a.next(), count).1),
            (None, Some(&&(index, count))) => (index, (b.next(), sign * count).1),
            (Some(&&(left, here)), Some(&&(right, there))) => match left.cmp(&right) {
                std::cmp::Ordering::Less => (left, (a.next(), here).1),
                std::cmp::Ordering::Greater => (right, (b.next(), sign * there).1),
                std::cmp::Ordering::Equal => (left, ((a.next(), b.next()), here + sign * there).1),
            },
        };
        if count != 0.0 {
            out.push((index, count));
        }
    }
}

fn reduced(buckets: &Buckets, from: i32, to: i32) -> Buckets {
    let mut out = Buckets::with_capacity(buckets.len());
    for (index, count) in buckets {
        let index = coarser(*index, from, to);
        match out.last_mut() {
            Some((last, total)) if *last == index => *total += count,
            Some(_) | None => out.push((index, *count)),
        }
    }
    out
}

/// Custom buckets merged down to some of their bounds.
fn rolled_up(buckets: &Buckets, bounds: &[f64], to: &[f64]) -> Buckets {
    let mut out = Buckets::with_capacity(buckets.len());
    for (index, count) in buckets {
        let bound = usize::try_from(*index).ok().and_then(|index| bounds.get(index));
        let place = bound.map_or(to.len(), |bound| to.partition_point(|kept| kept < bound));
        let index = i32::try_from(place).unwrap_or(i32::MAX);
        match out.last_mut() {
            Some((last, total)) if *last == index => *total += count,
            Some(_) | None => out.push((index, *count)),
        }
    }
    out
}

impl Histogram {
    /// Merges exponential buckets down to a coarser schema; a finer one changes nothing.
    pub fn reduce(&mut self, schema: i32) {
        if schema < self.schema && self.custom.is_none() {
            self.positive = reduced(&self.positive, self.schema, schema);
            self.negative = reduced(&self.negative, self.schema, schema);
            self.schema = schema;
        }
    }

    /// What the zero bucket would hold if it were wider, and how wide it must be so as to cut no bucket that holds something.
    fn wider_zero(&self, wanted: f64) -> (f64, f64) {
        let mut threshold = wanted;
        if threshold <= self.zero_threshold {
            return (self.zero_count, self.zero_threshold);
        }
        loop {
            let (mut count, mut widest) = (self.zero_count, threshold);
            for (index, inside) in self.positive.iter().chain(&self.negative) {
                if upper_bound(index.saturating_sub(1), self.schema) < threshold {
                    count += inside;
                    widest = widest.max(upper_bound(*index, self.schema));
                }
            }
            if widest == threshold {
                return (count, threshold);
            }
            threshold = widest;
        }
    }

    fn widen_zero(&mut self, wanted: f64) {
        let (count, threshold) = self.wider_zero(wanted);
        let schema = self.schema;
        let outside = |(index, _): &(i32, f64)| upper_bound(index.saturating_sub(1), schema) >= threshold;
        self.positive.retain(outside);
        self.negative.retain(outside);
        (self.zero_count, self.zero_threshold) = (count, threshold);
    }

    fn combine_exponential(&mut self, other: &Histogram, sign: f64) {
        let mut other = std::borrow::Cow::Borrowed(other);
        while self.zero_threshold != other.zero_threshold {
            if self.zero_threshold < other.zero_threshold {
                self.widen_zero(other.zero_threshold);
            } else {
                other.to_mut().widen_zero(self.zero_threshold);
            }
        }
        let schema = self.schema.min(other.schema);
        self.reduce(schema);
        if other.schema > schema {
            other.to_mut().reduce(schema);
        }
        self.zero_count += sign * other.zero_count;
        self.positive = merged(&self.positive, &other.positive, sign);
        self.negative = merged(&self.negative, &other.negative, sign);
    }

    fn combine(&mut self, other: &Histogram, sign: f64) -> Result<Fit, Misfit> {
        let fit = match (&self.custom, &other.custom) {
            (None, None) => {
                self.combine_exponential(other, sign);
                Fit::Whole
            }
            (Some(here), Some(there)) if here == there => {
                self.positive = merged(&self.positive, &other.positive, sign);
                Fit::Whole
            }
            (Some(here), Some(there)) => {
                let both = common(here, there);
                self.positive = merged(&rolled_up(&self.positive, here, &both), &rolled_up(&other.positive, there, &both), sign);
                self.custom = Some(Arc::from(both));
                Fit::Reconciled
            }
            (Some(_), None) | (None, Some(_)) => return Err(Misfit),
        };
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        Ok(fit)
    }

    /// Adds another one: in the coarser schema of both with the wider zero bucket, or in the custom bounds that both have.
    pub fn add(&mut self, other: &Histogram) -> Result<Fit, Misfit> {
        let fit = self.combine(other, 1.0)?;
        self.gauge |= other.gauge;
        Ok(fit)
    }

    /// Takes another one away; what is left is a gauge.
    pub fn subtract(&mut self, other: &Histogram) -> Result<Fit, Misfit> {
        let fit = self.combine(other, -1.0)?;
        self.gauge = true;
        Ok(fit)
    }

    /// Times a number. A negative factor leaves a gauge.
    pub fn scale(&mut self, factor: f64) {
        self.each(|number| number * factor);
        self.gauge |= factor < 0.0;
    }

    /// Divided by a number. By zero: no bucket is left, as in Prometheus.
    pub fn divide(&mut self, by: f64) {
        self.each(|number| number / by);
        self.gauge |= by < 0.0;
        if by == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
    }

    fn each(&mut self, with: impl Fn(f64) -> f64) {
        for number in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            *number = with(*number);
        }
        for buckets in [&mut self.positive, &mut self.negative] {
            buckets.iter_mut().for_each(|(_, count)| *count = with(*count));
            buckets.retain(|(_, count)| *count != 0.0);
        }
    }

    /// Whether a counter started again between `before` and this one: something that only grows shrank.
    pub fn is_reset_after(&self, before: &Histogram) -> bool {
        if self.gauge || before.gauge {
            return false;
        }
        if self.count < before.count {
            return true;
        }
        match (&self.custom, &before.custom) {
            (None, None) => {}
            (Some(now), Some(then)) if now == then => return fell(&before.positive, &self.positive),
            (Some(now), Some(then)) => {
                let both = common(now, then);
                return fell(&rolled_up(&before.positive, then, &both), &rolled_up(&self.positive, now, &both));
            }
            (Some(_), None) | (None, Some(_)) => return true,
        }
        if self.schema > before.schema || self.zero_threshold < before.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = before.wider_zero(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let mut before = before.clone();
        before.widen_zero(self.zero_threshold);
        before.reduce(self.schema);
        fell(&before.positive, &self.positive) || fell(&before.negative, &self.negative)
    }
}

/// Whether any bucket holds less than before.
fn fell(before: &Buckets, now: &Buckets) -> bool {
    merged(now, before, -1.0).iter().any(|(_, grown)| *grown < 0.0)
}
