//! Instant selectors: the newest sample within the lookback, unless the series ended.

use std::sync::Arc;

use model::labels::METRIC_NAME;
use model::query::QueryError;

use super::{Evaluator, GridColumn, Loaded, LoadedSeries, seconds};
use crate::promql::plan::{Node, Shift};
use crate::promql::range::Bounds;
use crate::promql::value::{ABSENT, Column, Frame, HISTOGRAM, Histograms, is_histogram, is_number, merge_columns, nameless, present};

impl Evaluator<'_> {
    pub(super) fn select(&mut self, selector: usize, shift: &Shift, frame: &Frame) -> Result<Vec<Column>, QueryError> {
        let columns = match &*self.data[selector] {
            Loaded::Grid(columns) => {
                self.room(columns.len(), frame)?;
                let column = |of: &GridColumn| Column::new(Arc::clone(&of.labels), of.cells.clone());
                columns.iter().map(column).filter(|column| !column.is_absent()).collect()
            }
            Loaded::Samples(_) => self.newest(selector, shift, frame, newest_value)?,
        };
        for column in columns.iter().filter(|column| column.delta) {
            let name = column.labels.get(METRIC_NAME).unwrap_or("");
            self.notes.inform(&format!(
                "the series have delta temporality, each sample counts only what happened since the one before; use rate() or increase(): {name:?}"
            ));
        }
        Ok(columns)
    }

    /// `timestamp`: of a bare selector the time of the sample, else the time of the step.
    pub(super) fn timestamp(&mut self, of: &Node, frame: &Frame) -> Result<Vec<Column>, QueryError> {
        let mut columns = match of {
            Node::Select(selector, shift) => self.newest(*selector, shift, frame, |series, to| seconds(series.times[to - 1]))?,
            other => {
                let mut columns = self.vector(other, frame)?;
                for column in &mut columns {
                    let cells = column.cells.iter_mut().zip(frame.times()).filter(|(cell, _)| present(**cell));
                    cells.for_each(|(cell, at)| *cell = seconds(at));
                    column.histograms = Histograms::new();
                }
                columns
            }
        };
        columns.iter_mut().for_each(|column| column.labels = nameless(&column.labels));
        merge_columns(columns)
    }

    pub(super) fn newest(
        &mut self,
        selector: usize,
        shift: &Shift,
        frame: &Frame,
        cell: impl Fn(&LoadedSeries, usize) -> f64,
    ) -> Result<Vec<Column>, QueryError> {
        let data = Arc::clone(&self.data[selector]);
        let all = data.samples();
        self.room(all.len(), frame)?;
        let mut columns = Vec::with_capacity(all.len());
        for series in all.iter() {
            self.go_on()?;
            let mut bounds = Bounds::default();
            let mut cells = Vec::with_capacity(frame.len());
            let mut histograms = if series.histograms.is_empty() { Histograms::new() } else { vec![None; frame.len()] };
            for step_time in frame.times() {
                let end = self.setting.moment(shift, step_time);
                bounds.advance(&series.times, end, self.setting.lookback);
                let to = bounds.to();
                let fresh = to > 0 && series.times[to - 1] > end.saturating_sub(self.setting.lookback);
                let value = if fresh && present(series.values[to - 1]) { cell(series, to) } else { ABSENT };
                self.look_at(cells.len(), usize::from(present(value)));
                if is_histogram(value) {
                    histograms[cells.len()].clone_from(&series.histograms[to - 1]);
                }
                cells.push(value);
            }
            let column = Column { labels: series.labels.clone(), cells, histograms, delta: series.delta };
            if !column.is_absent() {
                columns.push(column);
            }
        }
        Ok(columns)
    }
}

/// The last sample; of deltas with the same time, all of them.
fn newest_value(series: &LoadedSeries, to: usize) -> f64 {
    let last = series.values[to - 1];
    if is_histogram(last) {
        // A number that happens to have these bits is none.
        return if series.histograms.is_empty() { f64::NAN } else { HISTOGRAM };
    }
    if !series.delta {
        return last;
    }
    let at = series.times[to - 1];
    let others = series.times[..to - 1].iter().zip(&series.values).rev().take_while(|(time, _)| **time == at);
    last + others.map(|(_, value)| *value).filter(|value| is_number(*value)).sum::<f64>()
}
