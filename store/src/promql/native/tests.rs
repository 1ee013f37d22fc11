//! Bounds, resolution, zero buckets, resets, quantiles: numbers worked out by hand.

use proptest::prelude::*;

use super::*;

/// `(schema, zero threshold, zero count, sum, positive, negative)`.
fn histogram(schema: i32, threshold: f64, zero: f64, sum: f64, positive: &[(i32, f64)], negative: &[(i32, f64)]) -> Histogram {
    let count = zero + positive.iter().chain(negative).map(|(_, count)| count).sum::<f64>();
    let (positive, negative) = (positive.to_vec(), negative.to_vec());
    Histogram { schema, custom: None, zero_threshold: threshold, zero_count: zero, count, sum, positive, negative, gauge: false }
}

#[test]
fn bounds_are_powers_of_the_base() {
    for (index, schema, bound) in
        [(0, 0, 1.0), (1, 0, 2.0), (-3, 0, 0.125), (2, 1, 2.0), (1, 2, 2f64.powf(0.25)), (1, -1, 4.0), (-1, -2, 0.0625)]
    {
        assert!((upper_bound(index, schema) - bound).abs() < 1e-15 * bound, "{index} {schema}");
    }
    assert_eq!(upper_bound(1024, 0), f64::MAX);
    assert_eq!(upper_bound(1023, 0), 2f64.powi(1023));
    assert_eq!(upper_bound(1025, 0), f64::INFINITY);
    assert_eq!(upper_bound(64, -4), f64::MAX);
    assert_eq!(upper_bound(-1074, 0), f64::from_bits(1));
}

#[test]
fn otlp_buckets_shift_by_one_and_finer_scales_are_merged() {
    let from = |scale, counts: &[f64]| Histogram::from_exponential(scale, (0.5, 1.0), (10.0, 7.0), (-1, counts), (0, &[])).unwrap();
    assert_eq!(from(0, &[1.0, 0.0, 3.0]).positive, [(0, 1.0), (2, 3.0)]);
    // At scale 9 two neighbours share a bucket of schema 8.
    assert_eq!(from(9, &[1.0, 2.0, 3.0]).positive, [(0, 1.0), (1, 5.0)]);
    assert!(Histogram::from_exponential(-5, (0.0, 0.0), (0.0, 0.0), (0, &[]), (0, &[])).is_none());
}

#[test]
fn sums_meet_in_the_coarser_schema_and_the_wider_zero_bucket() {
    // Schema 1 has bounds 1, 1.41, 2, 2.83, 4; schema 0 has 1, 2, 4.
    let mut sum = histogram(1, 0.0, 1.0, 9.0, &[(1, 1.0), (2, 2.0), (3, 3.0)], &[(4, 1.0)]);
    sum.add(&histogram(0, 0.25, 5.0, 1.0, &[(1, 4.0)], &[])).unwrap();
    assert_eq!(sum, histogram(0, 0.25, 6.0, 10.0, &[(1, 7.0), (2, 3.0)], &[(2, 1.0)]));
    // A threshold inside of a populated bucket moves to that bucket's end.
    let mut cut = histogram(0, 0.0, 0.0, 3.0, &[(1, 2.0), (3, 1.0)], &[]);
    cut.add(&histogram(0, 1.5, 1.0, 0.0, &[], &[])).unwrap();
    assert_eq!(cut, histogram(0, 2.0, 3.0, 3.0, &[(3, 1.0)], &[]));
}

#[test]
fn what_shrinks_is_a_reset() {
    let before = histogram(0, 0.001, 2.0, 9.0, &[(1, 3.0), (2, 4.0)], &[(1, 1.0)]);
    let after = |change: &dyn Fn(&mut Histogram)| {
        let mut after = before.clone();
        change(&mut after);
        after.is_reset_after(&before)
    };
    assert!(!after(&|_| ()));
    assert!(!after(&|h| h.positive.push((3, 1.0))));
    assert!(after(&|h| h.count -= 1.0));
    assert!(after(&|h| h.positive[0].1 -= 1.0), "one bucket fell while another took it over");
    assert!(after(&|h| {
        h.negative.remove(0);
    }));
    assert!(after(&|h| h.zero_count -= 1.0));
    assert!(after(&|h| h.schema = 1));
    assert!(!after(&|h| h.reduce(-1)), "a coarser schema is none");
    assert!(after(&|h| h.zero_threshold = 0.0001));
    assert!(after(&|h| h.zero_threshold = 1.5), "a threshold that cuts a populated bucket");
    assert!(!after(&|h| h.gauge = true), "gauges have none");
}

#[test]
fn quantiles_interpolate_exponentially_and_linearly_around_zero() {
    // (1,2]: 4, (2,4]: 4
    let one = histogram(0, 0.0, 0.0, 20.0, &[(1, 4.0), (2, 4.0)], &[]);
    let close = |q: f64, expected: f64| assert!((one.quantile(q).value() - expected).abs() < 1e-12, "{q}: {:?}", one.quantile(q));
    close(0.25, 2f64.sqrt());
    close(0.5, 2.0);
    close(0.75, 2.0 * 2f64.sqrt());
    close(1.0, 4.0);
    close(0.0, 1.0);
    assert_eq!(one.quantile(-0.1).value(), f64::NEG_INFINITY);
    assert_eq!(one.quantile(1.1).value(), f64::INFINITY);
    // The zero bucket of a positive histogram starts at zero.
    assert_eq!(histogram(0, 0.5, 4.0, 5.0, &[(1, 4.0)], &[]).quantile(0.25).value(), 0.25);
    assert_eq!(histogram(0, 0.5, 4.0, 0.0, &[], &[]).quantile(0.25).value(), -0.25);
    // [-2,-1): 4
    let negative = histogram(0, 0.0, 0.0, -6.0, &[], &[(1, 4.0)]);
    assert!((negative.quantile(0.5).value() + 2f64.sqrt()).abs() < 1e-12);
    assert!(histogram(0, 0.0, 0.0, 0.0, &[], &[]).quantile(0.5).value().is_nan());
    let mut nan = one.clone();
    (nan.count, nan.sum) = (16.0, f64::NAN);
    assert_eq!(nan.quantile(0.9), Quantile::AmongNan);
    assert_eq!(nan.quantile(0.25), Quantile::Skewed(2.0));
}

#[test]
fn fractions_are_the_inverse() {
    let one = histogram(0, 0.0, 0.0, 20.0, &[(1, 4.0), (2, 4.0)], &[(1, 8.0)]);
    assert_eq!(one.fraction(1.0, 2.0), 0.25);
    assert_eq!(one.fraction(2f64.sqrt(), 4.0), 0.375);
    assert_eq!(one.fraction(f64::NEG_INFINITY, 0.0), 0.5);
    assert!((one.fraction(-2f64.sqrt(), 0.0) - 0.25).abs() < 1e-12);
    assert_eq!(one.fraction(f64::NEG_INFINITY, f64::INFINITY), 1.0);
    assert_eq!(one.fraction(3.0, 1.0), 0.0);
    assert!(one.fraction(f64::NAN, 1.0).is_nan());
}

#[test]
fn the_variance_looks_at_the_middle_of_buckets() {
    // Eight at the root of 2, mean 1.5.
    let one = histogram(0, 0.0, 0.0, 12.0, &[(1, 8.0)], &[]);
    assert!((one.variance() - (2f64.sqrt() - 1.5).powi(2)).abs() < 1e-12);
}

#[test]
fn the_text_is_prometheus_own() {
    let one = histogram(0, 0.5, 1.0, 2.5, &[(1, 2.0)], &[(2, 1.0)]);
    assert_eq!(one.text(), "{count:4, sum:2.5, [-4,-2):1, [-0.5,0.5]:1, (1,2]:2}");
}

fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
    Histogram::from_custom(Arc::from(bounds), (counts.iter().sum(), 1.0), counts).unwrap()
}

#[test]
fn custom_buckets_reach_from_bound_to_bound() {
    let one = custom(&[-1.0, 5.0], &[1.0, 0.0, 2.5]);
    assert_eq!(one.positive, [(0, 1.0), (2, 2.5)]);
    let shown: Vec<_> = one.buckets().iter().map(|bucket| (bucket.edges, bucket.lower, bucket.upper, bucket.count)).collect();
    let (first, last) = (BucketEdges::ClosedBoth, BucketEdges::OpenLeft);
    assert_eq!(shown, [(first, f64::NEG_INFINITY, -1.0, 1.0), (last, 5.0, f64::INFINITY, 2.5)]);
    assert_eq!(one.text(), "{count:3.5, sum:1, [-Inf,-1]:1, (5,+Inf]:2.5}");
    assert!(Histogram::from_custom(Arc::from([1.0]), (3.0, 1.0), &[1.0, 1.0, 1.0]).is_none(), "more counts than buckets");
    assert!(one.same(&one) && !one.same(&custom(&[-1.0, 6.0], &[1.0, 0.0, 2.5])), "other bounds are another histogram");
}

#[test]
fn custom_bounds_meet_in_those_that_both_have() {
    for (left, right, both) in [
        (&[1.0, 2.0, 3.0][..], &[2.0, 3.0, 4.0][..], &[2.0, 3.0][..]),
        (&[1.0, 2.0], &[3.0, 4.0], &[]),
        (&[], &[1.0], &[]),
        (&[1.0, 5.0], &[1.0, 2.0, 3.0, 5.0], &[1.0, 5.0]),
        (&[-2.0, 0.0], &[-2.0, 0.0], &[-2.0, 0.0]),
    ] {
        assert_eq!(bounds::common(left, right), both);
        assert_eq!(bounds::common(right, left), both);
    }
    let mut sum = custom(&[1.0, 2.0, 5.0], &[1.0, 2.0, 2.0, 1.0]);
    assert_eq!(sum.add(&custom(&[2.0, 5.0, 7.0], &[1.0, 1.0, 1.0, 1.0])), Ok(Fit::Reconciled));
    assert_eq!((sum.custom.as_deref(), sum.positive.as_slice()), (Some(&[2.0, 5.0][..]), &[(0, 4.0), (1, 3.0), (2, 3.0)][..]));
    assert_eq!(sum.add(&custom(&[2.0, 5.0], &[1.0])), Ok(Fit::Whole));
    assert_eq!((sum.count, sum.positive[0]), (11.0, (0, 5.0)));
    assert_eq!(sum.subtract(&custom(&[9.0], &[3.0])), Ok(Fit::Reconciled));
    assert_eq!((sum.custom.as_deref(), sum.positive.as_slice(), sum.gauge), (Some(&[][..]), &[(0, 8.0)][..], true));
}

#[test]
fn custom_and_exponential_buckets_do_not_come_together() {
    let (own, other) = (custom(&[1.0], &[1.0]), histogram(0, 0.0, 0.0, 1.0, &[(1, 1.0)], &[]));
    for (left, right) in [(&own, &other), (&other, &own)] {
        let mut sum = left.clone();
        assert_eq!((sum.add(right), sum.subtract(right)), (Err(Misfit), Err(Misfit)));
        assert_eq!(&sum, left, "nothing was done");
        assert!(left.is_reset_after(right) && !left.same(right));
    }
}

#[test]
fn what_shrinks_between_common_bounds_is_a_reset() {
    let before = custom(&[1.0, 2.0], &[2.0, 1.0, 1.0]);
    for (bounds, counts, reset) in [
        (&[1.0, 2.0][..], &[2.0, 1.0, 1.0][..], false),
        (&[1.0, 2.0], &[2.0, 0.0, 9.0], true),
        (&[1.0, 2.0], &[2.0, 1.0, 0.5], true),
        (&[1.0, 3.0], &[2.0, 0.0, 2.0], false),
        (&[1.0, 3.0], &[1.0, 4.0, 4.0], true),
        (&[9.0], &[0.0, 4.0], false),
        (&[9.0], &[0.0, 3.5], true),
    ] {
        assert_eq!(custom(bounds, counts).is_reset_after(&before), reset, "{bounds:?} {counts:?}");
    }
}

#[test]
fn custom_buckets_are_interpolated_linearly_as_classic_ones_are() {
    let one = custom(&[5.0, 10.0], &[2.0, 4.0, 2.0]);
    for (q, expected) in [(0.0, 0.0), (0.125, 2.5), (0.25, 5.0), (0.5, 7.5), (0.75, 10.0), (0.9, 10.0), (1.0, 10.0)] {
        assert_eq!(one.quantile(q), Quantile::Value(expected), "{q}");
    }
    for (lower, upper, expected) in [
        (0.0, 5.0, 0.25),
        (2.5, 7.5, 0.375),
        (-3.0, 5.0, 0.25),
        (10.0, 20.0, 0.0),
        (12.0, f64::INFINITY, 0.25),
        (f64::NEG_INFINITY, 20.0, 0.75),
    ] {
        assert_eq!(one.fraction(lower, upper), expected, "{lower} {upper}");
    }
    let below = custom(&[-5.0, 0.0, 5.0], &[2.0, 1.0, 1.0]);
    assert_eq!((below.quantile(0.25), below.quantile(0.625)), (Quantile::Value(-5.0), Quantile::Value(-2.5)));
    assert_eq!((below.fraction(f64::NEG_INFINITY, -5.0), below.fraction(-10.0, -5.0)), (0.5, 0.0));
    let mut nan = one.clone();
    (nan.count, nan.sum) = (16.0, f64::NAN);
    nan.positive.pop();
    assert_eq!((nan.quantile(0.125), nan.quantile(0.9)), (Quantile::Skewed(5.0), Quantile::AmongNan));
}

#[test]
fn the_variance_of_custom_buckets_looks_at_their_arithmetic_middle() {
    let mut one = custom(&[0.0, 5.0, 10.0], &[0.0, 2.0, 2.0]);
    one.sum = 30.0;
    assert_eq!(one.variance(), 12.5);
    assert_eq!(custom(&[5.0], &[1.0]).variance(), f64::INFINITY);
}

fn any_custom() -> impl Strategy<Value = Histogram> {
    (prop::collection::btree_set(-4i32..8, 0..6), prop::collection::vec(0u8..5, 7)).prop_map(|(bounds, counts)| {
        let bounds: Vec<f64> = bounds.into_iter().map(f64::from).collect();
        let counts: Vec<f64> = counts.into_iter().take(bounds.len() + 1).map(f64::from).collect();
        custom(&bounds, &counts)
    })
}

fn any() -> impl Strategy<Value = Histogram> {
    let buckets = || prop::collection::btree_map(-12i32..12, 1u8..9, 0..6);
    (-2i32..4, prop::sample::select(vec![0.0, 0.01, 0.3, 2.0]), 0u8..5, buckets(), buckets()).prop_map(|(schema, threshold, zero, p, n)| {
        let list =
            |map: std::collections::BTreeMap<i32, u8>| map.into_iter().map(|(at, count)| (at, f64::from(count))).collect::<Buckets>();
        // A bucket below the threshold would be in the zero bucket.
        let outside =
            |buckets: Buckets| -> Buckets { buckets.into_iter().filter(|(at, _)| upper_bound(at - 1, schema) >= threshold).collect() };
        histogram(schema, threshold, f64::from(zero), 1.0, &outside(list(p)), &outside(list(n)))
    })
}

proptest! {
    #[test]
    fn nothing_is_lost_or_made(a in any(), b in any()) {
        let mut sum = a.clone();
        sum.add(&b).unwrap();
        let total: f64 = sum.buckets().iter().map(|bucket| bucket.count).sum();
        prop_assert_eq!(total, a.count + b.count);
        let mut other = b.clone();
        other.add(&a).unwrap();
        prop_assert_eq!(&sum, &other);
        prop_assert!(!sum.is_reset_after(&a) , "{:?} {:?}", a, sum);
        let mut rest = sum.clone();
        rest.subtract(&b).unwrap();
        prop_assert_eq!(rest.count, a.count);
    }

    #[test]
    fn nothing_is_lost_between_custom_bounds(a in any_custom(), b in any_custom()) {
        let (mut sum, mut other) = (a.clone(), b.clone());
        let fit = sum.add(&b).unwrap();
        prop_assert_eq!(fit == Fit::Whole, a.custom == b.custom);
        other.add(&a).unwrap();
        prop_assert_eq!(&sum, &other);
        prop_assert_eq!(sum.buckets().iter().map(|bucket| bucket.count).sum::<f64>(), a.count + b.count);
        prop_assert!(!sum.is_reset_after(&a), "{:?} {:?}", a, sum);
        for bound in sum.custom.iter().flat_map(|bounds| bounds.iter()) {
            let up_to = |one: &Histogram| {
                one.buckets().iter().filter(|bucket| bucket.upper <= *bound).map(|bucket| bucket.count).sum::<f64>()
            };
            prop_assert_eq!(up_to(&sum), up_to(&a) + up_to(&b));
        }
        let mut rest = sum.clone();
        rest.subtract(&b).unwrap();
        prop_assert_eq!(rest.count, a.count);
    }

    #[test]
    fn quantiles_rise_and_fractions_undo_them(a in any(), q in 0.01f64..0.99) {
        prop_assume!(a.count > 0.0);
        let (low, high) = (a.quantile(q * 0.9).value(), a.quantile(q).value());
        prop_assert!(low <= high + 1e-9, "{} {}", low, high);
        let back = a.fraction(f64::NEG_INFINITY, high);
        prop_assert!((back - q).abs() < 0.5 / a.count.max(1.0) + 1e-6 || a.buckets().iter().any(|b| b.lower == high || b.upper == high));
    }
}
