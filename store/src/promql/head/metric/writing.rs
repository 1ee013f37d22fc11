//! Samples for many series of one metric under one lock: for the series that are made of a histogram's rows.

use std::sync::RwLockWriteGuard;

use super::{AllSeries, Known, Metric};

/// The series of a metric while they are written. It stands at one of them.
pub struct Writing<'a> {
    series: RwLockWriteGuard<'a, AllSeries>,
    at: usize,
    grown: isize,
}

impl Metric {
    /// To write series that are made of another one's rows. Nobody reads or writes the metric meanwhile.
    pub fn writing(&self) -> Writing<'_> {
        // The one after it is the first.
        Writing { series: self.write(), at: usize::MAX, grown: 0 }
    }
}

impl Writing<'_> {
    /// Goes to a series; says whether it is new. The one that stands after the last is found without a look into the index.
    pub fn open(&mut self, fingerprint: u64) -> bool {
        let (at, new) = self.series.place(fingerprint, self.at.wrapping_add(1));
        self.at = at;
        self.grown += new;
        if new == 0 {
            return false;
        }
        self.series.all[at].made = true;
        true
    }

    /// Goes to a series if there is one.
    pub fn find(&mut self, fingerprint: u64) -> bool {
        let found = self.series.index.get(&fingerprint).map(|at| *at as usize);
        self.at = found.unwrap_or(self.at);
        found.is_some()
    }

    /// Says what the series is.
    pub fn describe(&mut self, known: Known) {
        self.grown += self.series.describe(self.at, known);
    }

    /// Adds a sample to the series.
    pub fn push(&mut self, at: i64, value: f64) {
        let one = &mut self.series.all[self.at];
        let keeps_both = one.keeps_both();
        self.grown += one.samples.add(at, value, keeps_both);
    }

    /// Adds to the series what the store has of it in a time span.
    pub fn fill(&mut self, times: Vec<i64>, values: Vec<f64>) {
        let one = &mut self.series.all[self.at];
        let keeps_both = one.keeps_both();
        self.grown += one.samples.fill(times, values, keeps_both);
    }

    /// By how many bytes the metric has grown.
    pub fn grown(&self) -> isize {
        self.grown
    }
}
