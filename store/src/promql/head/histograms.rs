//! Explicit histograms in memory: a row of one becomes a sample of each series that PromQL sees in it, `x_bucket` by `le`, `x_sum` and
//! `x_count`. These stand among the plain series of their names. Here is what the series of one histogram have in common: what it is, which
//! bounds it has had, and when it ended. They mean what [`split_buckets`] makes of stored rows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use super::metric::{Known, Metric, Writing};
use super::rows::HistogramRow;
use crate::promql::histogram::split_buckets;
use crate::promql::source::{BucketPoint, Part};
use crate::promql::value::{ABSENT, present};

/// What a histogram weighs without its labels, bounds and ends, about.
const BASE: isize = 160;

/// A histogram.
#[derive(Default)]
struct Base {
    known: Option<Known>,
    /// Of all its buckets that have samples, +Inf among them. Until the next sweep some may have none any more, and some may stand twice.
    bounds: Vec<f64>,
    /// When it ended, in order: each of its buckets has a staleness marker there, whether it had begun before or begins later.
    ends: Vec<i64>,
}

impl Base {
    fn weight(&self) -> isize {
        BASE + self.known.as_ref().map_or(0, Known::weight) + self.room()
    }

    /// What bounds and ends weigh.
    fn room(&self) -> isize {
        (self.bounds.capacity() * size_of::<f64>() + self.ends.capacity() * size_of::<i64>()) as isize
    }
}

/// The histograms of a name by fingerprint.
#[derive(Default)]
struct Bases {
    all: HashMap<u64, Base>,
    /// How many are not known.
    unknown: usize,
}

/// The histograms of one name.
pub struct Histograms {
    bases: Mutex<Bases>,
    buckets: Arc<Metric>,
    sums: Arc<Metric>,
    counts: Arc<Metric>,
}

impl Histograms {
    /// None yet; their buckets, sums and counts are series of these metrics.
    pub fn new([buckets, sums, counts]: [Arc<Metric>; 3]) -> Self {
        Histograms { bases: Mutex::default(), buckets, sums, counts }
    }

    fn lock(&self) -> MutexGuard<'_, Bases> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().all.len()
    }

    /// Always after the histograms themselves, and always in this order.
    fn parts(&self) -> Parts<'_> {
        Parts { buckets: self.buckets.writing(), sums: self.sums.writing(), counts: self.counts.writing(), grown: 0 }
    }

    /// Says what a histogram is, and so what the series are that are made of it. Returns by how many bytes that grows.
    pub fn name(&self, fingerprint: u64, known: Known) -> isize {
        let mut bases = self.lock();
        let (base, new) = bases.base(fingerprint);
        if base.known.as_ref() == Some(&known) {
            return new;
        }
        let mut parts = self.parts();
        for part in [Part::Sum, Part::Count] {
            parts.describe(fingerprint, part, f64::INFINITY, &known);
        }
        base.bounds.iter().for_each(|bound| parts.describe(fingerprint, Part::Bucket, *bound, &known));
        let before = base.known.replace(known);
        let weight = base.known.as_ref().map_or(0, Known::weight) - before.as_ref().map_or(0, Known::weight);
        bases.unknown -= usize::from(before.is_none());
        new + weight + parts.grown()
    }

    /// Adds rows that are after `floor`. Returns by how many bytes that grows.
    pub fn append<'a>(&self, rows: impl Iterator<Item = (u64, HistogramRow<'a>)>, floor: i64) -> isize {
        let mut bases = self.lock();
        let mut parts = self.parts();
        for (fingerprint, row) in rows.filter(|(_, row)| row.at > floor) {
            let (base, new) = bases.base(fingerprint);
            parts.grown += new;
            parts.take(fingerprint, base, &row);
        }
        parts.grown()
    }

    /// Adds what the store has of a histogram in a time span: its points in order of time, and as many sums. Returns by how many bytes that
    /// grows.
    pub fn fill(&self, fingerprint: u64, points: Vec<BucketPoint>, sums: &[f64]) -> isize {
        let mut bases = self.lock();
        let mut parts = self.parts();
        let (base, new) = bases.base(fingerprint);
        parts.grown += new;
        let times: Vec<i64> = points.iter().map(|point| point.at).collect();
        let unless_stale = |point: &BucketPoint, value: f64| if point.stale { ABSENT } else { value };
        let values = points.iter().zip(sums).map(|(point, sum)| unless_stale(point, *sum)).collect();
        parts.open(fingerprint, base, Part::Sum);
        parts.sums.fill(times.clone(), values);
        let values = points.iter().map(|point| unless_stale(point, point.count as f64)).collect();
        parts.open(fingerprint, base, Part::Count);
        parts.counts.fill(times, values);
        let (ended, points): (Vec<BucketPoint>, Vec<BucketPoint>) = points.into_iter().partition(|point| point.stale);
        ended.iter().for_each(|point| parts.end(fingerprint, base, point.at));
        for (bound, samples) in split_buckets(&points) {
            parts.open_bucket(fingerprint, base, bound);
            parts.buckets.fill(samples.times, samples.values);
        }
        parts.grown()
    }

    /// Fingerprints of the histograms that are not known.
    pub fn unknown(&self) -> Vec<u64> {
        let bases = self.lock();
        if bases.unknown == 0 {
            return Vec::new();
        }
        bases.all.iter().filter(|(_, base)| base.known.is_none()).map(|(fingerprint, _)| *fingerprint).collect()
    }

    /// Forgets the ends that are not after a moment, the bounds whose buckets are gone, and the histograms of which nothing is left: after
    /// samples were forgotten. Returns how many bytes that frees.
    pub fn sweep(&self, until: i64) -> usize {
        let mut bases = self.lock();
        let mut parts = self.parts();
        let mut freed = 0;
        bases.all.retain(|fingerprint, base| {
            let before = base.weight();
            let mut lives = |part, bound| parts.of(part).find(made(*fingerprint, part, bound));
            base.bounds.sort_by(f64::total_cmp);
            base.bounds.dedup_by_key(|bound| bits(*bound));
            base.bounds.retain(|bound| lives(Part::Bucket, *bound));
            base.ends.retain(|at| *at > until);
            base.bounds.shrink_to_fit();
            base.ends.shrink_to_fit();
            let lives = !base.bounds.is_empty() || lives(Part::Sum, f64::INFINITY) || lives(Part::Count, f64::INFINITY);
            freed += before - if lives { base.weight() } else { 0 };
            lives
        });
        bases.unknown = bases.all.values().filter(|base| base.known.is_none()).count();
        freed.unsigned_abs()
    }
}

impl Bases {
    /// The histogram of a fingerprint, a new one where there is none, and how many bytes that took.
    fn base(&mut self, fingerprint: u64) -> (&mut Base, isize) {
        let mut new = 0;
        let unknown = &mut self.unknown;
        let base = self.all.entry(fingerprint).or_insert_with(|| {
            (new, *unknown) = (BASE, *unknown + 1);
            Base::default()
        });
        (base, new)
    }
}

/// The metrics of the parts, while they are written.
struct Parts<'a> {
    buckets: Writing<'a>,
    sums: Writing<'a>,
    counts: Writing<'a>,
    /// By how many bytes the histograms have grown, without their series.
    grown: isize,
}

impl<'a> Parts<'a> {
    fn of(&mut self, part: Part) -> &mut Writing<'a> {
        match part {
            Part::Bucket => &mut self.buckets,
            Part::Sum => &mut self.sums,
            Part::Count => &mut self.counts,
        }
    }

    fn grown(&self) -> isize {
        self.grown + self.buckets.grown() + self.sums.grown() + self.counts.grown()
    }

    /// Says what the series of a part is, if there is one.
    fn describe(&mut self, fingerprint: u64, part: Part, bound: f64, known: &Known) {
        let series = self.of(part);
        if series.find(made(fingerprint, part, bound)) {
            series.describe(known.of_part(part, bound));
        }
    }

    /// A row's samples.
    fn take(&mut self, fingerprint: u64, base: &mut Base, row: &HistogramRow<'_>) {
        self.open(fingerprint, base, Part::Sum);
        self.sums.push(row.at, if row.stale { ABSENT } else { row.sum });
        self.open(fingerprint, base, Part::Count);
        self.counts.push(row.at, if row.stale { ABSENT } else { row.count as f64 });
        if row.stale {
            self.end(fingerprint, base, row.at);
            return;
        }
        let count = |index: usize| row.counts.get(index).copied().unwrap_or(0);
        let mut total = 0u64;
        for (index, bound) in row.bounds.iter().enumerate() {
            total = total.wrapping_add(count(index));
            self.open_bucket(fingerprint, base, *bound);
            self.buckets.push(row.at, total as f64);
        }
        total = total.wrapping_add(count(row.bounds.len()));
        let all = if row.counts.is_empty() { row.count } else { total };
        self.open_bucket(fingerprint, base, f64::INFINITY);
        self.buckets.push(row.at, all as f64);
    }

    /// Goes to the sum or the count of a histogram.
    fn open(&mut self, fingerprint: u64, base: &Base, part: Part) {
        let series = self.of(part);
        if series.open(made(fingerprint, part, f64::INFINITY))
            && let Some(known) = &base.known
        {
            series.describe(known.of_part(part, f64::INFINITY));
        }
    }

    /// Goes to a bucket of a histogram.
    #[inline]
    fn open_bucket(&mut self, fingerprint: u64, base: &mut Base, bound: f64) {
        if self.buckets.open(made(fingerprint, Part::Bucket, bound)) {
            self.begin_bucket(base, bound);
        }
    }

    /// The bucket at which it stands is new.
    #[cold]
    fn begin_bucket(&mut self, base: &mut Base, bound: f64) {
        if let Some(known) = &base.known {
            self.buckets.describe(known.of_part(Part::Bucket, bound));
        }
        let before = base.room();
        base.bounds.push(bound);
        self.grown += base.room() - before;
        base.ends.iter().for_each(|at| self.buckets.push(*at, ABSENT));
    }

    /// The histogram ends at a moment: each of its buckets does.
    #[cold]
    fn end(&mut self, fingerprint: u64, base: &mut Base, at: i64) {
        let Err(place) = base.ends.binary_search(&at) else { return };
        let before = base.room();
        base.ends.insert(place, at);
        self.grown += base.room() - before;
        for bound in &base.bounds {
            if self.buckets.find(made(fingerprint, Part::Bucket, *bound)) {
                self.buckets.push(at, ABSENT);
            }
        }
    }
}

/// The bits by which bounds are told apart: the two zeros are one.
fn bits(bound: f64) -> u64 {
    (bound + 0.0).to_bits()
}

/// The fingerprint of a series that is made of a histogram's rows; `bound` is +Inf of sum and count.
fn made(fingerprint: u64, part: Part, bound: f64) -> u64 {
    let mut bytes = [part as u8; 17];
    bytes[..8].copy_from_slice(&fingerprint.to_le_bytes());
    bytes[8..16].copy_from_slice(&bits(bound).to_le_bytes());
    xxh3_64(&bytes)
}

/// Takes the staleness markers before a bucket's first value away: what has not begun does not end.
pub fn begin(times: &mut Vec<i64>, values: &mut Vec<f64>) {
    let first = values.iter().position(|value| present(*value)).unwrap_or(values.len());
    times.drain(..first);
    values.drain(..first);
}

#[cfg(test)]
mod tests;
