//! The series of one metric, by fingerprint. A series is appended to before it is known what its labels are (after a start, or where it was
//! forgotten): until somebody has said, the metric answers nothing.

use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use hashbrown::HashMap;
use model::labels::{Labels, METRIC_NAME, Matcher};
use model::tables::TEMPORALITIES;

use super::NO_VALUE;
use super::samples::{Held, Recent};
use crate::promql::clickhouse::{kind_of, labels_of, named};
use crate::promql::source::Shape;
use crate::promql::value::ABSENT;

/// What a series weighs without its labels and samples, about.
const SERIES: isize = 200;

/// What is known of a series beside its samples.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its labels, `__name__` included.
    pub labels: Arc<Labels>,
    /// Whether its samples are deltas.
    pub delta: bool,
    /// Whether the store knows that it is a counter.
    pub counter: bool,
}

impl Known {
    /// Of a row of `series`: the metric's name, the labels, and the codes of kind, temporality and monotonicity.
    pub fn new(name: &str, pairs: Vec<(String, String)>, (kind, temporality, monotonic): (i8, i8, u8)) -> Self {
        Known {
            labels: Arc::new(labels_of(name, Shape::Numbers, pairs)),
            delta: named(TEMPORALITIES, temporality) == "delta",
            counter: kind_of(kind, monotonic).is_counter(),
        }
    }

    fn weight(&self) -> isize {
        self.labels.iter().map(|(name, value)| (name.len() + value.len() + 64) as isize).sum()
    }
}

struct One {
    fingerprint: u64,
    known: Option<Known>,
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
    /// The places in `all` in order of labels, as far as `sorted`.
    order: Vec<u32>,
    sorted: bool,
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
        self.all.push(One { fingerprint, known: None, samples: Recent::default() });
        self.unknown += 1;
        (at, SERIES)
    }

    fn sort(&mut self) {
        let mut order: Vec<u32> = (0..self.all.len() as u32).filter(|at| self.all[*at as usize].known.is_some()).collect();
        order.sort_by(|a, b| {
            let labels = |at: &u32| self.all[*at as usize].known.as_ref().map(|known| &known.labels);
            labels(a).cmp(&labels(b))
        });
        (self.order, self.sorted) = (order, true);
    }
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
        let before = series.all[at].known.as_ref().map_or(0, Known::weight);
        let grown = new + known.weight() - before;
        if series.all[at].known.replace(known).is_none() {
            series.unknown -= 1;
        }
        series.sorted = false;
        grown
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

    /// The series that match and may have samples within a time span, in order of labels, one more than `most` at most; nothing where the
    /// labels of some are not known.
    pub fn hold(&self, matchers: &[Matcher], after: i64, until: i64, most: usize) -> Option<Vec<(Known, Held)>> {
        let mut series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if series.unknown > 0 {
            return None;
        }
        if !series.sorted {
            drop(series);
            self.write().sort();
            series = self.series.read().unwrap_or_else(PoisonError::into_inner);
            if !series.sorted {
                return None; // new ones came in between: the store may answer this once
            }
        }
        let others: Vec<&Matcher> = matchers.iter().filter(|matcher| matcher.name != METRIC_NAME).collect();
        let names: Vec<&Matcher> = matchers.iter().filter(|matcher| matcher.name == METRIC_NAME).collect();
        let mut found = Vec::new();
        for at in &series.order {
            let one = &series.all[*at as usize];
            let Some(known) = &one.known else { continue };
            if found.is_empty() && !names.iter().all(|matcher| matcher.matches(&known.labels)) {
                return Some(found); // all of them have the same name
            }
            if !others.iter().all(|matcher| matcher.matches(&known.labels)) {
                continue;
            }
            let held = one.samples.hold(after, until);
            if held.count() > 0 {
                found.push((known.clone(), held));
            }
            if found.len() > most {
                break;
            }
        }
        Some(found)
    }

    /// Fingerprints of the series whose labels are not known.
    pub fn unknown(&self) -> Vec<u64> {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if series.unknown == 0 {
            return Vec::new();
        }
        series.all.iter().filter(|one| one.known.is_none()).map(|one| one.fingerprint).collect()
    }

    /// Forgets what is not after a moment, and series of which nothing is left. Returns how many bytes that frees.
    pub fn forget(&self, until: i64) -> usize {
        let mut series = self.write();
        let mut freed = 0;
        for one in &mut series.all {
            freed += one.samples.forget(until);
        }
        if series.all.iter().any(|one| one.samples.is_empty()) {
            let (left, gone): (Vec<One>, Vec<One>) = std::mem::take(&mut series.all).into_iter().partition(|one| !one.samples.is_empty());
            freed += gone.iter().map(One::weight).sum::<isize>().unsigned_abs();
            let index = left.iter().enumerate().map(|(at, one)| (one.fingerprint, at as u32)).collect();
            let unknown = left.iter().filter(|one| one.known.is_none()).count();
            *series = AllSeries { index, all: left, order: Vec::new(), sorted: false, unknown };
        }
        freed
    }

    /// Appends when each part of the samples ends, and what it weighs.
    pub fn weights(&self, all: &mut Vec<(i64, usize)>) {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        series.all.iter().for_each(|one| one.samples.weights(all));
    }
}
