//! The series of one metric, by fingerprint. A series is appended to before it is known what its labels are (after a start, or where it was
//! forgotten): until somebody has said, the metric answers nothing.

mod writing;

use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use hashbrown::HashMap;
use model::labels::{Labels, METRIC_NAME, MatchOp, Matcher};
use model::tables::TEMPORALITIES;

use super::NO_VALUE;
use super::postings::{Narrowed, Postings};
use super::samples::{Held, Recent};
use crate::promql::clickhouse::{kind_of, labels_of, named};
use crate::promql::histogram::bound_text;
use crate::promql::source::{BUCKET_LABEL, Part, Shape};
use crate::promql::value::ABSENT;

pub use self::writing::Writing;

/// What a series weighs without its labels, their index and its samples, about.
const SERIES: isize = 200;

/// What is known of a series beside its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Its labels, `__name__` included.
    pub labels: Arc<Labels>,
    /// Whether its samples are deltas.
    pub delta: bool,
    /// Whether the store knows that it is a counter.
    pub counter: bool,
    /// Which part it is of a histogram, if it is made of one.
    pub part: Option<Part>,
}

impl Known {
    /// Of a row of `series`: the metric's name, the labels, and the codes of kind, temporality and monotonicity.
    pub fn new(name: &str, pairs: Vec<(String, String)>, (kind, temporality, monotonic): (i8, i8, u8)) -> Self {
        Known {
            labels: Arc::new(labels_of(name, Shape::Numbers, pairs)),
            delta: named(TEMPORALITIES, temporality) == "delta",
            counter: kind_of(kind, monotonic).is_counter(),
            part: None,
        }
    }

    /// Of a part of the histogram that this is; `bound` is a bucket's.
    pub fn of_part(&self, part: Part, bound: f64) -> Self {
        let name = format!("{}{}", self.labels.get(METRIC_NAME).unwrap_or(""), part.suffix());
        let mut labels = Labels::clone(&self.labels).with(METRIC_NAME, &name);
        if part == Part::Bucket {
            labels.set(BUCKET_LABEL, &bound_text(bound));
        }
        Known { labels: Arc::new(labels), part: Some(part), ..*self }
    }

    /// Memory, about, in bytes.
    pub fn weight(&self) -> isize {
        self.labels.iter().map(|(name, value)| (name.len() + value.len() + 64) as isize).sum()
    }
}

struct One {
    fingerprint: u64,
    known: Option<Known>,
    /// Whether it is made of a histogram's rows: then the histogram must be known.
    made: bool,
    samples: Recent,
}

impl One {
    /// Of a series that is not known both of two samples at a moment are kept: they might be deltas.
    fn keeps_both(&self) -> bool {
        self.known.as_ref().is_none_or(|known| known.delta)
    }
    fn weight(&self) -> isize {
        SERIES + self.known.as_ref().map_or(0, Known::weight)
    }
}

/// Samples of some series of one metric.
pub struct Points<'a> {
    /// Whose they are.
    pub fingerprints: &'a [u64],
    /// Milliseconds.
    pub times: &'a [i64],
    /// Their values.
    pub values: &'a [f64],
    /// Bit 0: no value.
    pub flags: &'a [u32],
}

#[derive(Default)]
struct AllSeries {
    index: HashMap<u64, u32>,
    all: Vec<One>,
    /// The places in `all` in order of labels, without those in `fresh`.
    order: Vec<u32>,
    /// Where each place stands in `order`.
    rank: Vec<u32>,
    /// Places whose labels became known since.
    fresh: Vec<u32>,
    postings: Postings,
    unknown: usize,
}

impl AllSeries {
    /// Where a series stands; a new one where there is none. `guess` is where it probably is. Says how many bytes that took.
    fn place(&mut self, fingerprint: u64, guess: usize) -> (usize, isize) {
        if self.all.get(guess).is_some_and(|one| one.fingerprint == fingerprint) {
            return (guess, 0);
        }
        if let Some(at) = self.index.get(&fingerprint) {
            return (*at as usize, 0);
        }
        let at = self.all.len();
        self.index.insert(fingerprint, at as u32);
        self.all.push(One { fingerprint, known: None, made: false, samples: Recent::default() });
        self.unknown += 1;
        (at, SERIES)
    }

    fn labels(&self, place: u32) -> Option<&Arc<Labels>> {
        self.all[place as usize].known.as_ref().map(|known| &known.labels)
    }

    /// By what series are in order: labels, and of two that share them the plain one goes first, as the store's shapes do.
    fn rank_of(&self, place: u32) -> Option<(&Labels, bool)> {
        self.all[place as usize].known.as_ref().map(|known| (&*known.labels, known.part.is_some()))
    }

    /// Says what the series at a place is. Returns by how many bytes that grows.
    fn describe(&mut self, at: usize, known: Known) -> isize {
        let place = at as u32;
        let before = self.all[at].known.take();
        let changed = before.as_ref().is_none_or(|before| before.labels != known.labels);
        let weight = (known.weight(), before.as_ref().map_or(0, Known::weight), self.postings.weight() as isize);
        if changed {
            if let Some(before) = &before {
                self.postings.remove(place, &before.labels);
                self.order.retain(|other| *other != place);
                self.fresh.retain(|other| *other != place);
            }
            self.postings.add(place, &known.labels);
            self.fresh.push(place);
        }
        self.unknown -= usize::from(before.is_none());
        self.all[at].known = Some(known);
        weight.0 - weight.1 + self.postings.weight() as isize - weight.2
    }

    /// Puts those that became known in their places in the order of labels.
    fn settle(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.sort_by(|a, b| self.rank_of(*a).cmp(&self.rank_of(*b)));
        let mut order = Vec::with_capacity(self.order.len() + fresh.len());
        let mut taken = 0;
        for place in fresh {
            let before = taken + self.order[taken..].partition_point(|other| self.rank_of(*other) <= self.rank_of(place));
            order.extend_from_slice(&self.order[taken..before]);
            order.push(place);
            taken = before;
        }
        order.extend_from_slice(&self.order[taken..]);
        self.rank = vec![u32::MAX; self.all.len()];
        order.iter().enumerate().for_each(|(rank, place)| self.rank[*place as usize] = rank as u32);
        self.order = order;
    }

    /// The places of the series that match, in order of labels, and how many were looked at. All are known and settled.
    fn matching(&self, matchers: &[&Matcher]) -> (Vec<u32>, usize) {
        let (mut places, by) = match self.postings.narrow(matchers) {
            Some(Narrowed { places, by }) => (places, Some(by)),
            None => (self.order.clone(), None),
        };
        let looked_at = places.len();
        for (_, matcher) in matchers.iter().enumerate().filter(|(number, _)| Some(*number) != by) {
            // A pattern is tried once on each value.
            let mut known: HashMap<&str, bool> = HashMap::new();
            let mut matches = |value| match matcher.op {
                MatchOp::Equal | MatchOp::NotEqual => matcher.matches_value(value),
                MatchOp::Regex | MatchOp::NotRegex => *known.entry(value).or_insert_with(|| matcher.matches_value(value)),
            };
            places.retain(|place| self.labels(*place).is_some_and(|labels| matches(labels.get(&matcher.name).unwrap_or(""))));
        }
        if by.is_some() {
            places.sort_unstable_by_key(|place| self.rank[*place as usize]);
        }
        (places, looked_at)
    }

    /// Forgets the series without samples. Returns how many bytes that frees.
    fn sweep(&mut self) -> usize {
        let before = std::mem::take(self);
        let mut freed = before.postings.weight();
        let mut places = vec![u32::MAX; before.all.len()];
        for (at, one) in before.all.into_iter().enumerate() {
            if one.samples.is_empty() {
                freed += one.weight().unsigned_abs();
                continue;
            }
            let place = self.all.len() as u32;
            places[at] = place;
            self.index.insert(one.fingerprint, place);
            match &one.known {
                Some(known) => self.postings.add(place, &known.labels),
                None => self.unknown += 1,
            }
            self.all.push(one);
        }
        let moved = |old: Vec<u32>| old.into_iter().map(|place| places[place as usize]).filter(|place| *place != u32::MAX).collect();
        (self.order, self.fresh) = (moved(before.order), moved(before.fresh));
        self.settle();
        freed - self.postings.weight()
    }
}

/// Series that match.
pub struct Found {
    /// What may have samples within the time span, in order of labels.
    pub held: Vec<(Known, Held)>,
    /// How many series were looked at.
    pub looked_at: usize,
}

/// The series of one metric.
#[derive(Default)]
pub struct Metric {
    series: RwLock<AllSeries>,
}

impl Metric {
    fn write(&self) -> RwLockWriteGuard<'_, AllSeries> {
        self.series.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what a series is. Returns by how many bytes that grows.
    pub fn name(&self, fingerprint: u64, known: Known) -> isize {
        let mut series = self.write();
        let (at, new) = series.place(fingerprint, usize::MAX);
        new + series.describe(at, known)
    }

    /// Adds samples that are after `floor`. Returns by how many bytes that grows.
    pub fn append(&self, points: &Points<'_>, floor: i64) -> isize {
        let mut series = self.write();
        let (mut grown, mut guess) = (0, 0);
        let rows = points.fingerprints.iter().zip(points.times).zip(points.values.iter().zip(points.flags));
        for ((fingerprint, at), (value, flags)) in rows {
            if *at <= floor {
                continue;
            }
            let (place, new) = series.place(*fingerprint, guess);
            guess = place + 1;
            let one = &mut series.all[place];
            let keeps_both = one.keeps_both();
            let value = if flags & NO_VALUE == 0 { *value } else { ABSENT };
            grown += new + one.samples.add(*at, value, keeps_both);
        }
        grown
    }

    /// Adds what the store has of a series in a time span. Returns by how many bytes that grows.
    pub fn fill(&self, fingerprint: u64, times: Vec<i64>, values: Vec<f64>) -> isize {
        let mut series = self.write();
        let (place, new) = series.place(fingerprint, usize::MAX);
        let one = &mut series.all[place];
        let keeps_both = one.keeps_both();
        new + one.samples.fill(times, values, keeps_both)
    }

    /// The series that match and may have samples within a time span, one more than `most` at most; nothing where the labels of some are
    /// not known.
    pub fn hold(&self, matchers: &[Matcher], after: i64, until: i64, most: usize) -> Option<Found> {
        let mut series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if series.unknown == 0 && !series.fresh.is_empty() {
            drop(series);
            self.write().settle();
            series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        }
        if series.unknown > 0 || !series.fresh.is_empty() {
            return None; // where new ones came in between, the store may answer this once
        }
        let (names, others): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(|matcher| matcher.name == METRIC_NAME);
        let mut found = Found { held: Vec::new(), looked_at: 0 };
        // All of them have the same name.
        let Some(first) = series.order.first().and_then(|place| series.labels(*place)) else { return Some(found) };
        if !names.iter().all(|matcher| matcher.matches(first)) {
            return Some(found);
        }
        let (places, looked_at) = series.matching(&others);
        found.looked_at = looked_at;
        for one in places.iter().map(|place| &series.all[*place as usize]) {
            let Some(known) = &one.known else { continue };
            let held = one.samples.hold(after, until);
            if held.count() > 0 {
                found.held.push((known.clone(), held));
            }
            if found.held.len() > most {
                break;
            }
        }
        Some(found)
    }

    /// Fingerprints of the series whose labels are not known, without those that are made of histograms.
    pub fn unknown(&self) -> Vec<u64> {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if series.unknown == 0 {
            return Vec::new();
        }
        series.all.iter().filter(|one| one.known.is_none() && !one.made).map(|one| one.fingerprint).collect()
    }

    /// Forgets what is not after a moment, and series of which nothing is left. Returns how many bytes that frees.
    pub fn forget(&self, until: i64) -> usize {
        let mut series = self.write();
        let mut freed = 0;
        for one in &mut series.all {
            freed += one.samples.forget(until);
        }
        if series.all.iter().any(|one| one.samples.is_empty()) {
            freed += series.sweep();
        }
        freed
    }

    /// Appends when each part of the samples ends, and what it weighs.
    pub fn weights(&self, all: &mut Vec<(i64, usize)>) {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        series.all.iter().for_each(|one| one.samples.weights(all));
    }
}

#[cfg(test)]
mod tests;
