//! Classic histograms: one stored point into virtual `le` series; quantiles and fractions of classic and native ones.

use std::collections::HashMap;
use std::sync::Arc;

use model::labels::{Labels, METRIC_NAME};
use model::query::QueryError;

use super::native::{Histogram, Quantile};
use super::notes::Notes;
use super::plan::HistogramPart;
use super::source::{BUCKET_LABEL, BucketPoint, QuantilePoint, Samples};
use super::value::{ABSENT, Column, is_number, merge_columns, nameless};

/// The text of a bucket's bound: `0.005`, `1`, `+Inf`.
pub fn bound_text(bound: f64) -> String {
    if bound == f64::INFINITY { "+Inf".to_owned() } else { bound.to_string() }
}

/// The text of a quantile in a label, as OpenMetrics writes numbers: `0.99`, `1.0`.
pub fn quantile_text(quantile: f64) -> String {
    let text = model::units::Value(quantile).to_string();
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') { format!("{text}.0") } else { text }
}

/// Splits bucket points (in order of time) into one series per bound with running counts over the buckets, `+Inf` last. A stale
/// point ends every series of the bounds seen so far.
pub fn split_buckets(points: &[BucketPoint]) -> Vec<(f64, Samples)> {
    let mut series: Vec<(f64, Samples)> = Vec::new();
    for point in points {
        if point.stale {
            for (_, samples) in &mut series {
                samples.times.push(point.at);
                samples.values.push(ABSENT);
            }
            continue;
        }
        let (mut total, mut hint) = (0, 0);
        for (index, bound) in point.bounds.iter().enumerate() {
            total += point.counts.get(index).copied().unwrap_or(0);
            hint = push(&mut series, hint, *bound, point.at, total as f64) + 1;
        }
        total += point.counts.get(point.bounds.len()).copied().unwrap_or(0);
        let all = if point.counts.is_empty() { point.count } else { total };
        push(&mut series, hint, f64::INFINITY, point.at, all as f64);
    }
    series.sort_by(|a, b| a.0.total_cmp(&b.0));
    series
}

/// Splits quantile points (in order of time) into one series per quantile. A stale point ends every series seen so far.
pub fn split_quantiles(points: &[QuantilePoint]) -> Vec<(f64, Samples)> {
    let mut series: Vec<(f64, Samples)> = Vec::new();
    for point in points {
        if point.stale {
            for (_, samples) in &mut series {
                samples.times.push(point.at);
                samples.values.push(ABSENT);
            }
            continue;
        }
        let mut hint = 0;
        for (quantile, value) in point.quantiles.iter().zip(&point.values) {
            hint = push(&mut series, hint, *quantile, point.at, *value) + 1;
        }
    }
    series.sort_by(|a, b| a.0.total_cmp(&b.0));
    series
}

/// Appends to the series of a bound; `hint` is where it was in the last point.
fn push(series: &mut Vec<(f64, Samples)>, hint: usize, bound: f64, at: i64, value: f64) -> usize {
    let known = match series.get(hint) {
        Some((known, _)) if *known == bound => Some(hint),
        _ => series.iter().position(|(known, _)| *known == bound),
    };
    let index = known.unwrap_or_else(|| {
        series.push((bound, Samples::default()));
        series.len() - 1
    });
    let samples = &mut series[index].1;
    samples.times.push(at);
    samples.values.push(value);
    index
}

/// A bucket: upper bound and running count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Inclusive.
    pub upper: f64,
    /// Observations up to it.
    pub count: f64,
}

/// Sorts and joins equal bounds; false if there is no `+Inf`.
fn sort(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    buckets.last().is_some_and(|last| last.upper == f64::INFINITY)
}

/// Evens out counts that fall; true if one fell by more than rounding.
fn even_out(buckets: &mut [Bucket]) -> bool {
    let Some((first, rest)) = buckets.split_first_mut() else { return false };
    let (mut fell, mut before) = (false, first.count);
    for bucket in rest {
        if nearly_equal(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            bucket.count = before;
            fell = true;
        } else {
            before = bucket.count;
        }
    }
    fell
}

/// Equal but for rounding: relative difference below 1e-12.
fn nearly_equal(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, off) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE { off < 1e-12 * f64::MIN_POSITIVE } else { off / sum.min(f64::MAX) < 1e-12 }
}

/// The quantile with linear interpolation inside the bucket, and whether counts had to be evened out.
pub fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    if !sort(buckets) || buckets.len() < 2 {
        return (f64::NAN, false);
    }
    let fell = even_out(buckets);
    let top = buckets.len() - 1;
    let observations = buckets[top].count;
    if observations == 0.0 {
        return (f64::NAN, false);
    }
    let rank = q * observations;
    let at = buckets[..top].iter().position(|bucket| bucket.count >= rank).unwrap_or(top);
    if at == top {
        return (buckets[top - 1].upper, fell);
    }
    if at == 0 && buckets[0].upper <= 0.0 {
        return (buckets[0].upper, fell);
    }
    let (start, below) = if at > 0 { (buckets[at - 1].upper, buckets[at - 1].count) } else { (0.0, 0.0) };
    let share = (rank - below) / (buckets[at].count - below);
    (start + (buckets[at].upper - start) * share, fell)
}

/// The share of observations between two values, with linear interpolation inside buckets. Counts that fall are taken as they are, as
/// Prometheus does here.
pub fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    let complete = sort(buckets);
    let Some(all) = buckets.last().map(|last| last.count).filter(|all| complete && *all != 0.0 && !all.is_nan()) else { return f64::NAN };
    if lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (observations_below(upper, buckets).min(all) - observations_below(lower, buckets).min(all)) / all
}

/// How many observations lie at or below a value, as the buckets suggest.
fn observations_below(value: f64, buckets: &[Bucket]) -> f64 {
    let (mut edge, mut below) = (None, 0.0);
    for bucket in buckets {
        // The first bucket starts at zero, or nowhere if it ends at or below zero; the last one has no end to interpolate to.
        let start = edge.unwrap_or(if bucket.upper > 0.0 { 0.0 } else { f64::NEG_INFINITY });
        if value < bucket.upper {
            if value <= start || bucket.upper == f64::INFINITY {
                return below;
            }
            if start == f64::NEG_INFINITY {
                return bucket.count;
            }
            return below + (bucket.count - below) * (value - start) / (bucket.upper - start);
        }
        (edge, below) = (Some(bucket.upper), bucket.count);
    }
    below
}

/// What is computed of each histogram.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// The quantile of each step.
    Quantile(&'a [f64]),
    /// The share between lower and upper of each step.
    Fraction(&'a [f64], &'a [f64]),
}

/// One histogram: its labels, its bucket columns by upper bound, and the column of native ones.
struct Group<'c> {
    labels: Arc<Labels>,
    buckets: Vec<(f64, &'c Column)>,
    native: Option<&'c Column>,
}

/// The groups: bucket columns by everything but `le`.
fn groups<'c>(columns: &'c [Column], notes: &mut Notes) -> Vec<Group<'c>> {
    let mut groups: Vec<Group<'c>> = Vec::new();
    let mut known: HashMap<Labels, usize> = HashMap::new();
    for column in columns {
        let mut place = |groups: &mut Vec<Group<'c>>, labels: Labels| {
            *known.entry(labels).or_insert_with_key(|labels| {
                groups.push(Group { labels: Arc::new(labels.clone()), buckets: Vec::new(), native: None });
                groups.len() - 1
            })
        };
        if column.has_histograms() {
            let at = place(&mut groups, Labels::clone(&column.labels));
            groups[at].native = Some(column);
            if !column.cells.iter().copied().any(is_number) {
                continue;
            }
        }
        let text = column.labels.get(BUCKET_LABEL).unwrap_or("");
        let Some(bound) = parse_bound(text) else {
            let name = column.labels.get(METRIC_NAME).unwrap_or("");
            notes.warn(&format!("bucket label \"le\" is missing or has a malformed value of {text:?}{}", Notes::of_metric(name)));
            continue;
        };
        // The buckets of `x_bucket` and the native `x` differ in name only by that ending: names do not tell histograms apart.
        let at = place(&mut groups, column.labels.filtered(|name| name != BUCKET_LABEL));
        groups[at].buckets.push((bound, column));
    }
    groups
}

/// A number that describes each native histogram of a column; its numbers vanish.
pub fn part(part: HistogramPart, column: &mut Column) {
    for step in 0..column.cells.len() {
        column.cells[step] = match column.histogram(step) {
            None => ABSENT,
            Some(histogram) => match part {
                HistogramPart::Count => histogram.count,
                HistogramPart::Sum => histogram.sum,
                HistogramPart::Avg => histogram.sum / histogram.count,
                HistogramPart::Stddev => histogram.variance().sqrt(),
                HistogramPart::Stdvar => histogram.variance(),
            },
        };
    }
    column.histograms.clear();
    column.labels = nameless(&column.labels);
}

/// The value of a native histogram, with what there is to say about NaN observations.
fn of_native(of: Of<'_>, step: usize, histogram: &Histogram, name: &str, notes: &mut Notes) -> f64 {
    match of {
        Of::Quantile(qs) => {
            let quantile = histogram.quantile(qs[step]);
            let said = match quantile {
                Quantile::Value(_) => return quantile.value(),
                Quantile::Skewed(_) => "skewed higher",
                Quantile::AmongNan => "NaN",
            };
            notes.inform(&format!("input to histogram_quantile has NaN observations, result is {said}{}", Notes::of_metric(name)));
            quantile.value()
        }
        Of::Fraction(lower, upper) => {
            if histogram.sum.is_nan() && histogram.count > histogram.buckets().iter().map(|bucket| bucket.count).sum() {
                notes.inform(&format!(
                    "input to histogram_fraction has NaN observations, which are excluded from all fractions{}",
                    Notes::of_metric(name)
                ));
            }
            histogram.fraction(lower[step], upper[step])
        }
    }
}

/// Computes one column a histogram, classic or native.
pub fn evaluate(of: Of<'_>, columns: &[Column], steps: usize, notes: &mut Notes) -> Result<Vec<Column>, QueryError> {
    let groups = groups(columns, notes);
    if let Of::Quantile(qs) = of {
        qs.iter().for_each(|q| notes.quantile(*q));
    }
    let mut out = Vec::with_capacity(groups.len());
    let mut buckets = Vec::new();
    for Group { labels, buckets: members, native } in groups {
        let mut cells = vec![ABSENT; steps];
        let name = labels.get(METRIC_NAME).unwrap_or("");
        for (step, cell) in cells.iter_mut().enumerate() {
            buckets.clear();
            let here = members.iter().map(|(upper, column)| Bucket { upper: *upper, count: column.cells[step] });
            buckets.extend(here.filter(|bucket| is_number(bucket.count)));
            let native = native.and_then(|column| column.histogram(step));
            if let (Some(_), false) = (native, buckets.is_empty()) {
                notes.warn(&format!("vector contains a mix of classic and native histograms{}", Notes::of_metric(name)));
                continue;
            }
            if let Some(histogram) = native {
                *cell = of_native(of, step, histogram, name, notes);
                continue;
            }
            if buckets.is_empty() {
                continue;
            }
            *cell = match of {
                Of::Quantile(qs) => {
                    let (value, fell) = bucket_quantile(qs[step], &mut buckets);
                    if fell {
                        notes.inform(&format!(
                            "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
                            Notes::of_metric(name)
                        ));
                    }
                    value
                }
                Of::Fraction(lower, upper) => bucket_fraction(lower[step], upper[step], &mut buckets),
            };
        }
        out.push(Column::new(nameless(&labels), cells));
    }
    merge_columns(out)
}

/// A bound as Go's `strconv.ParseFloat` reads it; NaN is no bound.
fn parse_bound(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|bound| !bound.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(upper, count)| Bucket { upper: *upper, count: *count }).collect()
    }

    #[test]
    fn quantiles_interpolate_inside_the_bucket() {
        let all = buckets(&[(0.1, 10.0), (0.5, 20.0), (f64::INFINITY, 25.0)]);
        assert_eq!(bucket_quantile(0.2, &mut all.clone()).0, 0.05);
        assert!((bucket_quantile(0.6, &mut all.clone()).0 - 0.3).abs() < 1e-12);
        assert_eq!(bucket_quantile(0.99, &mut all.clone()).0, 0.5);
        assert_eq!(bucket_quantile(1.5, &mut all.clone()).0, f64::INFINITY);
        assert!(bucket_quantile(0.5, &mut buckets(&[(1.0, 1.0), (2.0, 2.0)])).0.is_nan());
        assert!(bucket_quantile(0.5, &mut buckets(&[(1.0, 0.0), (f64::INFINITY, 0.0)])).0.is_nan());
    }

    #[test]
    fn falling_counts_are_evened_out_and_told() {
        assert_eq!(bucket_quantile(0.5, &mut buckets(&[(1.0, 10.0), (2.0, 8.0), (f64::INFINITY, 10.0)])), (0.5, true));
        assert!(!bucket_quantile(0.5, &mut buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-13), (f64::INFINITY, 10.0)])).1);
    }

    #[test]
    fn fractions_count_what_lies_between() {
        let all = buckets(&[(1.0, 10.0), (2.0, 30.0), (f64::INFINITY, 40.0)]);
        assert_eq!(bucket_fraction(0.0, 2.0, &mut all.clone()), 0.75);
        assert_eq!(bucket_fraction(1.0, 1.5, &mut all.clone()), 0.25);
        assert_eq!(bucket_fraction(f64::NEG_INFINITY, f64::INFINITY, &mut all.clone()), 1.0);
        assert_eq!(bucket_fraction(3.0, 2.0, &mut all.clone()), 0.0);
    }

    #[test]
    fn a_point_becomes_running_buckets() {
        let point = |at, bounds: &[f64], counts: &[u64]| BucketPoint {
            at,
            bounds: bounds.to_vec(),
            counts: counts.to_vec(),
            count: counts.iter().sum(),
            stale: false,
        };
        let split = split_buckets(&[point(1, &[0.5, 1.0], &[1, 2, 3]), point(2, &[0.25, 1.0], &[4, 0, 1])]);
        let bounds: Vec<String> = split.iter().map(|(bound, _)| bound_text(*bound)).collect();
        assert_eq!(bounds, ["0.25", "0.5", "1", "+Inf"]);
        assert_eq!(split[1].1, Samples { times: vec![1], values: vec![1.0] });
        assert_eq!(split[2].1, Samples { times: vec![1, 2], values: vec![3.0, 4.0] });
        assert_eq!(split[3].1.values, [6.0, 5.0]);
    }
}
