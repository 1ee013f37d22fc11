//! Range functions of windows that hold native histograms, alone or among numbers.

use std::borrow::Cow;
use std::sync::Arc;

use super::rate::{self, Meaning};
use super::{RangeFunction as F, Window};
use crate::promql::native::{Fit, Histogram, Misfit};
use crate::promql::notes::Notes;
use crate::promql::value::is_histogram;

/// A window with histograms beside its samples.
#[derive(Clone, Copy, Debug)]
pub struct Mixed<'s> {
    /// Times and numbers.
    pub window: Window<'s>,
    /// As many as samples.
    pub histograms: &'s [Option<Arc<Histogram>>],
    /// The metric's name, for annotations.
    pub name: &'s str,
    /// Whether each sample counts from the one before.
    pub delta: bool,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A number.
    Number(f64),
    /// A histogram.
    Histogram(Histogram),
}

impl<'s> Mixed<'s> {
    fn at(&self, index: usize) -> Option<&'s Arc<Histogram>> {
        if is_histogram(self.window.values[index]) { self.histograms.get(index).and_then(Option::as_ref) } else { None }
    }

    fn cell(&self, index: usize) -> Cell {
        self.at(index).map_or_else(|| Cell::Number(self.window.values[index]), |histogram| Cell::Histogram(Histogram::clone(histogram)))
    }

    /// All samples, if each is a histogram; else a warning.
    fn whole(&self, notes: &mut Notes) -> Option<Vec<&'s Histogram>> {
        let all: Option<Vec<&Histogram>> = (0..self.window.values.len()).map(|index| self.at(index).map(Arc::as_ref)).collect();
        if all.is_none() {
            notes.warn(&format!("encountered a mix of histograms and floats for metric name {:?}", self.name));
        }
        all
    }

    /// The sum of all samples, if they are histograms that fit.
    fn total(&self, notes: &mut Notes) -> Option<Histogram> {
        total(self.whole(notes)?.into_iter().map(|histogram| (self.name, histogram)), notes)
    }

    /// The value of a function for a window that holds at least one sample.
    pub fn apply(&self, function: F, params: &[f64], scratch: &mut Vec<f64>, notes: &mut Notes) -> Option<Cell> {
        let len = self.window.values.len();
        match function {
            F::CountOverTime | F::PresentOverTime | F::TsOfFirstOverTime | F::TsOfLastOverTime => {
                function.apply(&self.window, params, scratch).map(Cell::Number)
            }
            F::LastOverTime => len.checked_sub(1).map(|last| self.cell(last)),
            F::FirstOverTime => (len > 0).then(|| self.cell(0)),
            F::Changes => Some(Cell::Number(
                self.pairs(|before, now| !before.same(now), |before, now| before != now && !(before.is_nan() && now.is_nan())),
            )),
            F::Resets => Some(Cell::Number(self.pairs(|before, now| now.is_reset_after(before), |before, now| now < before))),
            F::Rate | F::Increase if self.delta => {
                let mut sum = self.total(notes)?;
                if function == F::Rate {
                    sum.scale(1.0 / self.window.seconds());
                }
                Some(Cell::Histogram(sum))
            }
            F::Rate | F::Increase => self.extrapolated(Meaning::Counter, function == F::Rate, notes),
            F::Delta => self.extrapolated(Meaning::Gauge, false, notes),
            F::Irate => self.instant(Meaning::Counter, notes),
            F::Idelta => self.instant(Meaning::Gauge, notes),
            F::SumOverTime => self.total(notes).map(Cell::Histogram),
            F::AvgOverTime => {
                let mut sum = self.total(notes)?;
                sum.divide(len as f64);
                Some(Cell::Histogram(sum))
            }
            F::Deriv | F::PredictLinear | F::DoubleExponentialSmoothing | F::MinOverTime | F::MaxOverTime | F::QuantileOverTime => {
                self.numbers_only(function, params, scratch, notes)
            }
            F::StddevOverTime | F::StdvarOverTime | F::MadOverTime | F::TsOfMinOverTime | F::TsOfMaxOverTime => {
                self.numbers_only(function, params, scratch, notes)
            }
        }
    }

    /// Of the numbers in the window, with an info that histograms were passed over; nothing where there is no number.
    fn numbers_only(&self, function: F, params: &[f64], scratch: &mut Vec<f64>, notes: &mut Notes) -> Option<Cell> {
        let numbers = self.window.times.iter().zip(self.window.values).filter(|(_, value)| !is_histogram(**value));
        let (times, values): (Vec<i64>, Vec<f64>) = numbers.map(|(at, value)| (*at, *value)).unzip();
        if values.is_empty() {
            return None;
        }
        notes.inform(&format!("ignored histograms in a range containing both floats and histograms for metric name {:?}", self.name));
        function.apply(&Window { times: &times, values: &values, ..self.window }, params, scratch).map(Cell::Number)
    }

    /// How many neighbours fulfil a condition; a number beside a histogram always does.
    fn pairs(&self, histograms: impl Fn(&Histogram, &Histogram) -> bool, numbers: impl Fn(f64, f64) -> bool) -> f64 {
        let values = self.window.values;
        let fulfils = |now: &usize| match (self.at(now - 1), self.at(*now)) {
            (Some(before), Some(now)) => histograms(before, now),
            (None, None) => numbers(values[now - 1], values[*now]),
            (Some(_), None) | (None, Some(_)) => true,
        };
        (1..values.len()).filter(fulfils).count() as f64
    }

    /// A counter must not be a gauge, nor a gauge a counter: said, and computed all the same.
    fn doubt(&self, meaning: Meaning, all: &[&Histogram], notes: &mut Notes) {
        let counter = meaning == Meaning::Counter;
        if all.iter().any(|histogram| histogram.gauge == counter) {
            let not = if counter { "counter" } else { "gauge" };
            notes.warn(&format!("this native histogram metric is not a {not}: {:?}", self.name));
        }
    }

    fn extrapolated(&self, meaning: Meaning, per_second: bool, notes: &mut Notes) -> Option<Cell> {
        let last = self.window.values.len().checked_sub(1).filter(|last| *last > 0)?;
        let all = self.whole(notes)?;
        let counter = meaning == Meaning::Counter;
        // A counter that started again right after the first sample: that sample counts for nothing, not even its buckets.
        let begins = usize::from(counter && all[1].is_reset_after(all[0]));
        let custom = all[begins].custom.is_some();
        let between = if counter { &all[1..] } else { &all[last..] };
        if between.iter().any(|histogram| histogram.custom.is_some() != custom) {
            notes.mixed_buckets(self.name);
            return None;
        }
        self.doubt(meaning, &all, notes);
        let mut change = all[last].clone();
        let base = if begins == 0 { Cow::Borrowed(all[0]) } else { Cow::Owned(all[1].emptied()) };
        fitted(change.subtract(&base), "subtraction", self.name, notes)?;
        if counter {
            for pair in all[begins..].windows(2).filter(|pair| pair[1].is_reset_after(pair[0])) {
                fitted(change.add(pair[0]), "addition", self.name, notes)?;
            }
        }
        let (first, grown) = (all[0].count, change.count);
        let to_zero = (counter && grown > 0.0 && first >= 0.0).then(|| first / grown);
        let factor = rate::stretch(&self.window, to_zero);
        change.scale(if per_second { factor / self.window.seconds() } else { factor });
        change.gauge = true;
        Some(Cell::Histogram(change))
    }

    fn instant(&self, meaning: Meaning, notes: &mut Notes) -> Option<Cell> {
        let last = self.window.values.len().checked_sub(1).filter(|last| *last > 0)?;
        let millis = self.window.times[last] - self.window.times[last - 1];
        if millis == 0 {
            return None;
        }
        let (before, now) = match (self.at(last - 1), self.at(last)) {
            (Some(before), Some(now)) => (before, now),
            (None, None) => {
                let values = rate::instant(&self.window, meaning);
                return values.map(Cell::Number);
            }
            (Some(_), None) | (None, Some(_)) => {
                notes.warn(&format!("encountered a mix of histograms and floats for metric name {:?}", self.name));
                return None;
            }
        };
        self.doubt(meaning, &[before, now], notes);
        let mut change = Histogram::clone(now);
        if meaning == Meaning::Gauge || !now.is_reset_after(before) {
            fitted(change.subtract(before), "subtraction", self.name, notes)?;
        }
        if meaning == Meaning::Counter {
            change.scale(1_000.0 / millis as f64);
        }
        change.gauge = true;
        Some(Cell::Histogram(change))
    }
}

/// The sum of histograms of these metrics; `None` of nothing, and where exponential and custom buckets are among them.
pub fn total<'h>(mut all: impl Iterator<Item = (&'h str, &'h Histogram)>, notes: &mut Notes) -> Option<Histogram> {
    let mut sum = Histogram::clone(all.next()?.1);
    for (name, histogram) in all {
        fitted(sum.add(histogram), "aggregation", name, notes)?;
    }
    Some(sum)
}

/// Says how histograms came together; `None` where they did not.
fn fitted(fit: Result<Fit, Misfit>, doing: &str, name: &str, notes: &mut Notes) -> Option<()> {
    match fit {
        Ok(Fit::Whole) => {}
        Ok(Fit::Reconciled) => notes.reconciled(doing),
        Err(Misfit) => {
            notes.mixed_buckets(name);
            return None;
        }
    }
    Some(())
}
