//! Functions of range vectors: of stored samples and of subqueries.

use std::sync::Arc;

use model::labels::{Labels, METRIC_NAME};
use model::query::QueryError;

use super::{Evaluator, GridColumn, Loaded, LoadedSeries};
use crate::promql::functions::moving::Moving;
use crate::promql::functions::native::{Cell, Mixed};
use crate::promql::functions::{OnDelta, RangeFunction, rate};
use crate::promql::native::Histogram;
use crate::promql::plan::{Node, RangeNode, RangeOf};
use crate::promql::range::Bounds;
use crate::promql::value::{ABSENT, Column, Frame, Histograms, is_histogram, merge_columns, nameless, present};

/// The series of a range vector, without staleness markers.
enum Ranged<'a> {
    Loaded(&'a LoadedSeries),
    Owned(LoadedSeries),
}

impl Ranged<'_> {
    fn series(&self) -> &LoadedSeries {
        match self {
            Ranged::Loaded(series) => series,
            Ranged::Owned(series) => series,
        }
    }
}

/// The scalars beside a range vector: each with its value at every step.
struct Params(Vec<Vec<f64>>);

impl Params {
    /// Those of a step.
    fn at(&self, step: usize, to: &mut Vec<f64>) {
        to.clear();
        to.extend(self.0.iter().map(|numbers| numbers[step]));
    }
}

/// The series without staleness markers: itself where there are none.
fn without_stale(series: &LoadedSeries) -> Ranged<'_> {
    if series.values.iter().copied().all(present) {
        return Ranged::Loaded(series);
    }
    let kept = series.times.iter().zip(&series.values).filter(|(_, value)| present(**value));
    let (times, values) = kept.map(|(at, value)| (*at, *value)).unzip();
    let histograms = series.histograms.iter().zip(&series.values).filter(|(_, value)| present(**value));
    let histograms = histograms.map(|(histogram, _)| histogram.clone()).collect();
    Ranged::Owned(LoadedSeries { times, values, histograms, labels: Arc::clone(&series.labels), ..*series })
}

/// A series of a bare range vector: milliseconds and values.
#[derive(Clone, Debug)]
pub struct RawSeries {
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Its numbers.
    pub numbers: Vec<(i64, f64)>,
    /// Its histograms.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

impl<'a> Evaluator<'a> {
    fn ranged(&mut self, range: &RangeNode, frame: &Frame) -> Result<Vec<Ranged<'a>>, QueryError> {
        match &range.of {
            RangeOf::Selector(selector) => {
                let data: &'a [Arc<Loaded>] = self.data;
                Ok(data[*selector].samples().iter().map(without_stale).collect())
            }
            RangeOf::Subquery(node, step) => {
                let inner = self.setting.subquery(range, *step, frame);
                if inner.len() > self.setting.max_samples {
                    return Err(crate::promql::source::too_many_samples(self.setting.max_samples));
                }
                self.nested += 1;
                let columns = self.vector(node, &inner);
                self.nested -= 1;
                let columns = columns?;
                let owned = |column: Column| {
                    let kept = |(_, cell): &(usize, &f64)| present(**cell);
                    let histograms: Histograms = if column.has_histograms() {
                        column.cells.iter().enumerate().filter(kept).map(|(step, _)| column.histogram(step).cloned()).collect()
                    } else {
                        Histograms::new()
                    };
                    let kept = inner.times().zip(column.cells).filter(|(_, value)| present(*value));
                    let (times, values) = kept.unzip();
                    Ranged::Owned(LoadedSeries { labels: column.labels, delta: column.delta, counter: false, times, values, histograms })
                };
                Ok(columns.into_iter().map(owned).collect())
            }
        }
    }

    pub(super) fn over(
        &mut self,
        function: RangeFunction,
        params: &[Node],
        range: &RangeNode,
        frame: &Frame,
    ) -> Result<Vec<Column>, QueryError> {
        if let RangeOf::Selector(selector) = &range.of {
            let data: &'a [Arc<Loaded>] = self.data;
            if let Loaded::Grid(columns) = &*data[*selector] {
                return self.granted(function, columns, frame);
            }
        }
        let mut scalars: Vec<Vec<f64>> = Vec::with_capacity(params.len());
        for param in params {
            let scalar = self.beside(scalars.len() * frame.len(), |all| all.scalar(param, frame))?;
            scalars.push(scalar);
        }
        let params = Params(scalars);
        let all = self.beside(params.0.len() * frame.len(), |all| all.ranged(range, frame))?;
        self.room(all.len() + params.0.len(), frame)?;
        if !all.is_empty() && !params.0.is_empty() {
            let mut at = Vec::new();
            for step in 0..frame.len() {
                params.at(step, &mut at);
                function.check(&at)?;
                if function == RangeFunction::QuantileOverTime {
                    self.notes.quantile(at[0]);
                }
            }
        }
        let subquery = matches!(range.of, RangeOf::Subquery(..));
        let mut columns = Vec::with_capacity(all.len());
        for series in all.iter().map(Ranged::series) {
            self.go_on()?;
            let name = series.labels.get(METRIC_NAME).unwrap_or("");
            let refused = match function.on_delta() {
                OnDelta::Refuse => series.delta,
                // What a subquery gives of a delta series are repetitions, not deltas.
                OnDelta::AddUp => series.delta && subquery,
                OnDelta::AsStored => false,
            };
            if refused {
                self.refuse(function, name, subquery);
                continue;
            }
            let labels = if function.keeps_name() { Arc::clone(&series.labels) } else { nameless(&series.labels) };
            let mut column = Column::new(labels, Vec::new());
            column.delta = series.delta && function.keeps_name();
            if series.histograms.is_empty() {
                column.cells = self.slide(function, series, range, &params, frame);
            } else {
                self.slide_mixed(function, series, range, &params, frame, &mut column)?;
            }
            if column.is_absent() {
                continue;
            }
            if function.wants_counter() && !series.counter && !series.delta && series.histograms.is_empty() {
                self.doubt_counter(name);
            }
            columns.push(column);
        }
        merge_columns(columns)
    }

    /// What a store computed.
    fn granted(&mut self, function: RangeFunction, all: &[GridColumn], frame: &Frame) -> Result<Vec<Column>, QueryError> {
        self.room(all.len(), frame)?;
        let mut columns = Vec::with_capacity(all.len());
        for of in all {
            let labels = if function.keeps_name() { Arc::clone(&of.labels) } else { nameless(&of.labels) };
            let column = Column::new(labels, of.cells.clone());
            if column.is_absent() {
                continue;
            }
            if function.wants_counter() && !of.counter {
                self.doubt_counter(of.labels.get(METRIC_NAME).unwrap_or(""));
            }
            columns.push(column);
        }
        merge_columns(columns)
    }

    /// One cell per step.
    fn slide(&mut self, function: RangeFunction, series: &LoadedSeries, range: &RangeNode, params: &Params, frame: &Frame) -> Vec<f64> {
        let added_up = series.delta && function.on_delta() == OnDelta::AddUp;
        let (mut bounds, mut scratch) = (Bounds::default(), Vec::new());
        let mut at = Vec::new();
        let mut moving = Moving::new(function, &series.values).filter(|_| !added_up);
        let mut cells = Vec::with_capacity(frame.len());
        for step_time in frame.times() {
            if cells.len().is_multiple_of(256) && self.go_on().is_err() {
                // Nobody reads the rest; the next node fails.
                cells.resize(frame.len(), ABSENT);
                return cells;
            }
            let end = self.setting.moment(&range.shift, step_time);
            bounds.advance(&series.times, end, range.range);
            let window = bounds.window(&series.times, &series.values, end, range.range, step_time);
            self.look_at(cells.len(), window.times.len());
            let value = if window.times.is_empty() {
                None
            } else if added_up {
                let sum = rate::added_up(&window);
                if function == RangeFunction::Rate { sum.map(|sum| sum / window.seconds()) } else { sum }
            } else if let Some(moving) = &mut moving {
                moving.next(&window, &series.values, &bounds)
            } else {
                params.at(cells.len(), &mut at);
                function.apply(&window, &at, &mut scratch)
            };
            cells.push(value.unwrap_or(ABSENT));
        }
        cells
    }

    /// The same for a series that holds histograms.
    fn slide_mixed(
        &mut self,
        function: RangeFunction,
        series: &LoadedSeries,
        range: &RangeNode,
        params: &Params,
        frame: &Frame,
        column: &mut Column,
    ) -> Result<(), QueryError> {
        let delta = series.delta && function.on_delta() == OnDelta::AddUp;
        let name = series.labels.get(METRIC_NAME).unwrap_or("");
        let (mut bounds, mut scratch) = (Bounds::default(), Vec::new());
        column.cells = vec![ABSENT; frame.len()];
        let mut at = Vec::new();
        for (step, step_time) in frame.times().enumerate() {
            self.go_on()?;
            params.at(step, &mut at);
            let end = self.setting.moment(&range.shift, step_time);
            bounds.advance(&series.times, end, range.range);
            let window = bounds.window(&series.times, &series.values, end, range.range, step_time);
            self.look_at(step, window.times.len());
            if window.times.is_empty() {
                continue;
            }
            let mixed = Mixed { window, histograms: bounds.histograms(&series.histograms), name, delta };
            let value = if !window.values.iter().copied().any(is_histogram) {
                match (delta, function) {
                    (true, RangeFunction::Rate) => rate::added_up(&window).map(|sum| sum / window.seconds()),
                    (true, _) => rate::added_up(&window),
                    (false, _) => function.apply(&window, &at, &mut scratch),
                }
                .map(Cell::Number)
            } else {
                mixed.apply(function, &at, &mut scratch, &mut self.notes)
            };
            match value {
                Some(Cell::Number(number)) => column.cells[step] = number,
                Some(Cell::Histogram(histogram)) => column.put(step, Some(histogram)),
                None => {}
            }
        }
        Ok(())
    }

    fn refuse(&mut self, function: RangeFunction, name: &str, subquery: bool) {
        let function = function.name();
        let why = if subquery { "of a subquery means nothing for" } else { "means nothing for" };
        self.notes.warn(&format!(
            "{function}() {why} series of delta temporality, they were left out; use rate() or increase() on the selector itself: {name:?}"
        ));
    }

    fn doubt_counter(&mut self, name: &str) {
        let usual = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
        if !name.is_empty() && !usual {
            self.notes.inform(&format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?}"));
        }
    }

    /// 1 at each step where no series has a sample in its window.
    pub(super) fn absent_over(&mut self, range: &RangeNode, labels: &Labels, frame: &Frame) -> Result<Vec<Column>, QueryError> {
        let all = self.ranged(range, frame)?;
        let mut cells = vec![1.0; frame.len()];
        for series in all.iter().map(Ranged::series) {
            self.go_on()?;
            let mut bounds = Bounds::default();
            for (step, (step_time, cell)) in frame.times().zip(&mut cells).enumerate() {
                let end = self.setting.moment(&range.shift, step_time);
                bounds.advance(&series.times, end, range.range);
                let window = bounds.window(&series.times, &series.values, end, range.range, step_time);
                self.look_at(step, window.times.len());
                if !window.times.is_empty() {
                    *cell = ABSENT;
                }
            }
        }
        merge_columns(vec![Column::new(labels.clone(), cells)])
    }

    /// A bare range vector at the only step: the samples of its window.
    pub fn matrix(&mut self, range: &RangeNode, frame: &Frame) -> Result<Vec<RawSeries>, QueryError> {
        let end = self.setting.moment(&range.shift, frame.start);
        let all = self.ranged(range, frame)?;
        let mut out = Vec::with_capacity(all.len());
        for series in all.iter().map(Ranged::series) {
            let mut bounds = Bounds::default();
            bounds.advance(&series.times, end, range.range);
            let window = bounds.window(&series.times, &series.values, end, range.range, frame.start);
            self.look_at(0, window.times.len());
            if !window.times.is_empty() {
                let samples = || window.times.iter().copied().zip(window.values.iter().copied());
                let beside = bounds.histograms(&series.histograms).iter().cloned();
                out.push(RawSeries {
                    labels: Arc::clone(&series.labels),
                    numbers: samples().filter(|(_, value)| !is_histogram(*value)).collect(),
                    histograms: samples()
                        .zip(beside)
                        .filter(|((_, value), _)| is_histogram(*value))
                        .filter_map(|((at, _), histogram)| Some((at, histogram?)))
                        .collect(),
                });
            }
        }
        Ok(out)
    }
}
