//! Native histograms, the same message in both versions: sparse spans and deltas or float counts in, dense buckets out. Fails:
//! histograms that contradict themselves are refused one by one.

use model::tables::CUSTOM_SCALE;

use crate::decode::protobuf::{Field, MAX_BUCKETS, WireError, zigzag};
use crate::record::{Buckets, Data, Exponential};
use crate::rows::named::Native;
use crate::rows::points::STALE_NAN;
use crate::rows::tally::Reason;

/// `RESET_HINT_GAUGE`.
const GAUGE: u64 = 3;
/// Integers are exact in a float up to here.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A histogram as it is sent. Either `deltas` or `counts` of a side are used.
#[derive(Debug, Default)]
pub(super) struct Raw {
    count: Count,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: Count,
    negative: Side,
    positive: Side,
    hint: u64,
    /// Milliseconds.
    pub(super) at: i64,
    /// Milliseconds, 0 where unknown.
    pub(super) start: i64,
    custom: Vec<f64>,
}

/// A count of an integer or a float histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Count {
    Whole(u64),
    Float(f64),
}

impl Default for Count {
    fn default() -> Self {
        Count::Whole(0)
    }
}

impl Count {
    fn float(self) -> f64 {
        match self {
            Count::Whole(count) => count as f64,
            Count::Float(count) => count,
        }
    }
}

/// The buckets of one sign.
#[derive(Debug, Default)]
struct Side {
    /// Gap to the span before (of the first: its index) and length.
    spans: Vec<(i32, u32)>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl Side {
    fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.deltas.is_empty() && self.counts.is_empty()
    }
    fn span(&mut self, field: &Field<'_>) -> Result<(), WireError> {
        let (mut message, mut span) = (field.message("BucketSpan")?, (0, 0));
        while let Some(field) = message.next()? {
            match field.number {
                1 => span.0 = field.sint32()?,
                2 => span.1 = field.uint32()?,
                _ => {}
            }
        }
        if self.spans.len() >= MAX_BUCKETS {
            return Err(field.error("it holds more spans than a histogram may have buckets"));
        }
        self.spans.push(span);
        Ok(())
    }
    /// The absolute counts of the buckets that the spans name.
    fn absolute(&self, float: bool) -> Result<Vec<f64>, Reason> {
        if float {
            let fit = self.deltas.is_empty() && self.counts.iter().all(|count| *count >= 0.0 && count.is_finite());
            return if fit { Ok(self.counts.clone()) } else { Err(Reason::BadNativeHistogram) };
        }
        if !self.counts.is_empty() {
            return Err(Reason::BadNativeHistogram);
        }
        let mut count = 0i64;
        let next = |delta: &i64| {
            count = count.checked_add(*delta).filter(|count| *count >= 0).ok_or(Reason::BadNativeHistogram)?;
            Ok(count as f64)
        };
        self.deltas.iter().map(next).collect()
    }
    /// The first index and the counts without gaps.
    fn dense(&self, float: bool) -> Result<(i64, Vec<f64>), Reason> {
        let counts = self.absolute(float)?;
        let (mut first, mut index, mut rest) = (None, 0i64, counts.as_slice());
        let mut dense: Vec<f64> = Vec::with_capacity(counts.len());
        for (at, (offset, length)) in self.spans.iter().enumerate() {
            let (taken, after) = rest.split_at_checked(*length as usize).ok_or(Reason::BadNativeHistogram)?;
            rest = after;
            if at > 0 && *offset < 0 {
                return Err(Reason::BadNativeHistogram);
            }
            index += i64::from(*offset);
            if !taken.is_empty() {
                let start = *first.get_or_insert(index);
                let gap = usize::try_from(index - start).map_err(|_| Reason::BadNativeHistogram)?;
                if gap + taken.len() > MAX_BUCKETS {
                    return Err(Reason::BadNativeHistogram);
                }
                dense.resize(gap, 0.0);
                dense.extend_from_slice(taken);
                index += i64::from(*length);
            }
        }
        if rest.is_empty() { Ok((first.unwrap_or(0), dense)) } else { Err(Reason::BadNativeHistogram) }
    }
    /// With OpenTelemetry's indices: Prometheus's bucket `i` reaches to base^i, OpenTelemetry's to base^(i+1).
    fn buckets(&self, float: bool) -> Result<Buckets, Reason> {
        let (first, counts) = self.dense(float)?;
        let offset = if counts.is_empty() { 0 } else { i32::try_from(first - 1).map_err(|_| Reason::BadNativeHistogram)? };
        Ok(Buckets { offset, counts })
    }
}

impl Raw {
    /// Reads the message.
    pub(super) fn read(field: &Field<'_>) -> Result<Self, WireError> {
        let (mut message, mut raw) = (field.message("Histogram")?, Raw::default());
        while let Some(field) = message.next()? {
            match field.number {
                1 => raw.count = Count::Whole(field.varint()?),
                2 => raw.count = Count::Float(field.double()?),
                3 => raw.sum = field.double()?,
                4 => raw.schema = field.sint32()?,
                5 => raw.zero_threshold = field.double()?,
                6 => raw.zero_count = Count::Whole(field.varint()?),
                7 => raw.zero_count = Count::Float(field.double()?),
                8 => raw.negative.span(&field)?,
                9 => deltas(&field, &mut raw.negative.deltas)?,
                10 => doubles(&field, &mut raw.negative.counts)?,
                11 => raw.positive.span(&field)?,
                12 => deltas(&field, &mut raw.positive.deltas)?,
                13 => doubles(&field, &mut raw.positive.counts)?,
                14 => raw.hint = field.varint()?,
                15 => raw.at = field.varint()? as i64,
                16 => doubles(&field, &mut raw.custom)?,
                17 => raw.start = field.varint()? as i64,
                _ => {}
            }
        }
        Ok(raw)
    }

    /// As it is stored; the buckets are dense.
    pub(super) fn sample(&self) -> Result<Native, Reason> {
        let gauge = self.hint == GAUGE;
        let data = if self.sum.to_bits() == STALE_NAN {
            Data::None
        } else if self.schema == CUSTOM_SCALE {
            Data::Exponential(Box::new(self.own_bounds()?))
        } else if (-9..=52).contains(&self.schema) {
            Data::Exponential(Box::new(self.exponential()?))
        } else {
            return Err(Reason::UnknownSchema);
        };
        Ok(Native { data, gauge })
    }

    fn float(&self) -> bool {
        matches!(self.count, Count::Float(_))
    }

    /// Integer counts add up exactly; floats need not, and where NaN was measured it lies in no bucket.
    fn adds_up(&self, buckets: f64) -> Result<(), Reason> {
        let (count, zero) = (self.count.float(), self.zero_count.float());
        let fit = match self.count {
            Count::Float(_) => count >= 0.0 && zero >= 0.0 && zero.is_finite(),
            Count::Whole(_) if self.sum.is_nan() || count > EXACT => buckets + zero <= count,
            Count::Whole(_) => buckets + zero == count,
        };
        if fit { Ok(()) } else { Err(Reason::BadNativeHistogram) }
    }

    fn exponential(&self) -> Result<Exponential, Reason> {
        let (positive, negative) = (self.positive.buckets(self.float())?, self.negative.buckets(self.float())?);
        self.adds_up(positive.counts.iter().chain(&negative.counts).sum())?;
        if !self.custom.is_empty() || self.zero_threshold.is_nan() || self.zero_threshold < 0.0 {
            return Err(Reason::BadNativeHistogram);
        }
        Ok(Exponential {
            count: self.count.float(),
            sum: Some(self.sum),
            min: None,
            max: None,
            scale: self.schema,
            zero_count: self.zero_count.float(),
            zero_threshold: self.zero_threshold,
            positive,
            negative,
            custom_bounds: Vec::new(),
        })
    }

    /// Custom buckets: their index is that of their upper bound, the last one reaches to infinity.
    fn own_bounds(&self) -> Result<Exponential, Reason> {
        let (first, found) = self.positive.dense(self.float())?;
        self.adds_up(found.iter().sum())?;
        let finite = self.custom.iter().all(|bound| bound.is_finite());
        let rising = self.custom.is_sorted_by(|a, b| a < b);
        if !finite || !rising || !self.negative.is_empty() || self.zero_count.float() != 0.0 || self.zero_threshold != 0.0 {
            return Err(Reason::BadNativeHistogram);
        }
        let start = usize::try_from(first).map_err(|_| Reason::BadNativeHistogram)?;
        let mut counts = vec![0.0; self.custom.len() + 1];
        let end = start.checked_add(found.len()).ok_or(Reason::BadNativeHistogram)?;
        counts.get_mut(start..end).ok_or(Reason::BadNativeHistogram)?.copy_from_slice(&found);
        Ok(Exponential {
            count: self.count.float(),
            sum: Some(self.sum),
            scale: CUSTOM_SCALE,
            positive: Buckets { offset: 0, counts },
            custom_bounds: self.custom.clone(),
            ..Exponential::default()
        })
    }
}

fn deltas(field: &Field<'_>, to: &mut Vec<i64>) -> Result<(), WireError> {
    field.varints(MAX_BUCKETS, |delta| {
        to.push(zigzag(delta));
        to.len()
    })
}

fn doubles(field: &Field<'_>, to: &mut Vec<f64>) -> Result<(), WireError> {
    field.fixed64s(MAX_BUCKETS, |bits| {
        to.push(f64::from_bits(bits));
        to.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(spans: &[(i32, u32)], deltas: &[i64], counts: &[f64]) -> Side {
        Side { spans: spans.into(), deltas: deltas.into(), counts: counts.into() }
    }

    fn raw(count: u64, positive: Side) -> Raw {
        Raw { count: Count::Whole(count), sum: 1.0, positive, ..Raw::default() }
    }

    #[test]
    fn spans_become_dense_buckets_one_index_lower() {
        // Buckets 1, 2 and 5 of Prometheus: (1, base], (base, base^2], (base^4, base^5].
        let sample = raw(12, side(&[(1, 2), (2, 1)], &[3, 1, 1], &[])).sample().unwrap();
        let Data::Exponential(histogram) = sample.data else { panic!("{sample:?}") };
        assert_eq!(histogram.positive, Buckets { offset: 0, counts: vec![3.0, 4.0, 0.0, 0.0, 5.0] });
        assert_eq!(histogram.negative, Buckets::default());
        let mut float = raw(0, side(&[(-3, 1), (0, 1), (1, 0), (1, 1)], &[], &[0.5, 1.5, 2.0]));
        float.count = Count::Float(4.0);
        float.hint = GAUGE;
        let sample = float.sample().unwrap();
        assert!(sample.gauge);
        let Data::Exponential(histogram) = sample.data else { panic!("{sample:?}") };
        assert_eq!(histogram.positive, Buckets { offset: -4, counts: vec![0.5, 1.5, 0.0, 0.0, 2.0] });
    }

    #[test]
    fn custom_buckets_are_dense_beside_their_bounds() {
        let custom = |bounds: &[f64], count: Count, positive: Side| {
            let raw = Raw { schema: CUSTOM_SCALE, custom: bounds.into(), count, ..raw(0, positive) };
            raw.sample().map(|sample| {
                let Data::Exponential(histogram) = sample.data else { panic!("{sample:?}") };
                assert_eq!((histogram.scale, histogram.zero_count, &histogram.negative), (-53, 0.0, &Buckets::default()));
                assert_eq!(histogram.positive.offset, 0);
                (histogram.custom_bounds, histogram.positive.counts, histogram.count)
            })
        };
        let whole = Count::Whole;
        let found = custom(&[0.1, 1.0, 5.0], whole(6), side(&[(1, 1), (1, 1)], &[2, 2], &[]));
        assert_eq!(found, Ok((vec![0.1, 1.0, 5.0], vec![0.0, 2.0, 0.0, 4.0], 6.0)));
        assert_eq!(custom(&[], whole(2), side(&[(0, 1)], &[2], &[])), Ok((vec![], vec![2.0], 2.0)));
        assert_eq!(custom(&[-1.0, 1.0], whole(0), side(&[], &[], &[])), Ok((vec![-1.0, 1.0], vec![0.0; 3], 0.0)));
        // Counts of a recording rule need not be whole.
        assert_eq!(custom(&[1.0], Count::Float(0.75), side(&[(0, 2)], &[], &[0.5, 0.25])), Ok((vec![1.0], vec![0.5, 0.25], 0.75)));
        for (bounds, positive) in [
            (&[1.0][..], side(&[(2, 1)], &[2], &[])),
            (&[1.0], side(&[(-1, 1)], &[2], &[])),
            (&[1.0], side(&[(i32::MAX, 1)], &[2], &[])),
            (&[1.0, 1.0], side(&[(0, 1)], &[2], &[])),
            (&[2.0, 1.0], side(&[(0, 1)], &[2], &[])),
            (&[f64::NAN], side(&[(0, 1)], &[2], &[])),
            (&[f64::INFINITY], side(&[(0, 1)], &[2], &[])),
        ] {
            assert_eq!(custom(bounds, whole(2), positive), Err(Reason::BadNativeHistogram), "{bounds:?}");
        }
        let sound = || Raw { schema: CUSTOM_SCALE, custom: vec![1.0], ..raw(2, side(&[(0, 1)], &[2], &[])) };
        assert!(sound().sample().is_ok());
        for (name, bad) in [
            ("a negative bucket", Raw { negative: side(&[(0, 1)], &[0], &[]), ..sound() }),
            ("a zero bucket", Raw { zero_count: Count::Whole(1), count: Count::Whole(3), ..sound() }),
            ("a zero threshold", Raw { zero_threshold: 0.1, ..sound() }),
            ("bounds of exponential buckets", Raw { schema: 0, ..sound() }),
        ] {
            assert_eq!(bad.sample(), Err(Reason::BadNativeHistogram), "{name}");
        }
    }

    #[test]
    fn histograms_that_contradict_themselves_are_refused() {
        for (name, bad) in [
            ("count", raw(3, side(&[(0, 1)], &[2], &[]))),
            ("negative bucket", raw(1, side(&[(0, 2)], &[2, -3], &[]))),
            ("fewer buckets than spans say", raw(2, side(&[(0, 2)], &[2], &[]))),
            ("more buckets than spans say", raw(4, side(&[(0, 1)], &[2, 0], &[]))),
            ("a second span that goes back", raw(4, side(&[(0, 1), (-1, 1)], &[2, 0], &[]))),
            ("a gap that would take the memory", raw(4, side(&[(0, 1), (i32::MAX, 1)], &[2, 0], &[]))),
            ("an index out of range", raw(2, side(&[(i32::MIN, 1)], &[2], &[]))),
            ("floats in an integer histogram", raw(2, side(&[(0, 1)], &[], &[2.0]))),
            ("zero threshold", Raw { zero_threshold: f64::NAN, ..raw(2, side(&[(0, 1)], &[2], &[])) }),
        ] {
            assert_eq!(bad.sample(), Err(Reason::BadNativeHistogram), "{name}");
        }
        assert_eq!(Raw { schema: 99, ..raw(0, Side::default()) }.sample(), Err(Reason::UnknownSchema));
        let many = side(&[(i32::MAX, 0), (i32::MAX, 0), (i32::MAX, 1)], &[2], &[]);
        assert_eq!(raw(2, many).sample(), Err(Reason::BadNativeHistogram), "offsets add up without overflow");
    }

    #[test]
    fn a_staleness_marker_has_no_buckets() {
        let stale = Raw { sum: f64::from_bits(STALE_NAN), ..Raw::default() }.sample().unwrap();
        assert_eq!(stale, Native { data: Data::None, gauge: false });
        let nan = Raw { sum: f64::NAN, ..raw(5, side(&[(0, 1)], &[2], &[])) }.sample().unwrap();
        assert!(matches!(nan.data, Data::Exponential(_)), "measurements of NaN lie in no bucket");
    }
}
