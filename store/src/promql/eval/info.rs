//! `info(v)`: labels of info series (`target_info`) added to the series of the same `instance` and `job`.

use std::collections::HashMap;
use std::sync::Arc;

use model::labels::{Labels, METRIC_NAME};
use model::query::QueryError;

use super::{Evaluator, LoadedSeries};
use crate::promql::plan::{Info, Node, Shift};
use crate::promql::value::{ABSENT, Column, Frame, Histograms, merge_columns, present, written};

/// The labels that say which target a series is about.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

fn identity(labels: &Labels) -> Labels {
    labels.filtered(|name| IDENTIFYING.contains(&name))
}

/// The info series of one target: labels, and per step the time of the newest sample, if it counts there.
type Candidates = Vec<(Arc<Labels>, Vec<Option<i64>>)>;

impl Evaluator<'_> {
    pub(super) fn info(&mut self, of: &Node, info: &Info, frame: &Frame) -> Result<Vec<Column>, QueryError> {
        let columns = self.vector(of, frame)?;
        if let Some(series) = self.data[info.selector].samples().iter().find(|series| !series.histograms.is_empty()) {
            return Err(QueryError::Execution(format!("this should be an info metric, with float samples: {}", written(&series.labels))));
        }
        let newest = self.newest(info.selector, &Shift::default(), frame, |series: &LoadedSeries, to| series.times[to - 1] as f64)?;
        let mut by_target: HashMap<Labels, Candidates> = HashMap::new();
        for column in newest {
            let times = column.cells.iter().map(|at| present(*at).then_some(*at as i64)).collect();
            by_target.entry(identity(&column.labels)).or_default().push((column.labels, times));
        }
        let mut out = Vec::with_capacity(columns.len());
        for column in columns {
            self.go_on()?;
            let name = column.labels.get(METRIC_NAME).unwrap_or("");
            let is_info = info.names.iter().all(|matcher| matcher.matches_value(name));
            let target = identity(&column.labels);
            if is_info || target.is_empty() {
                out.push(column);
                continue;
            }
            let none = Vec::new();
            enrich(&column, info, by_target.get(&target).unwrap_or(&none), &mut out)?;
        }
        merge_columns(out)
    }
}

/// The column with labels added: one column for each set of labels that the steps give it.
fn enrich(column: &Column, info: &Info, candidates: &Candidates, out: &mut Vec<Column>) -> Result<(), QueryError> {
    let mut made: Vec<Column> = Vec::new();
    for (step, cell) in column.cells.iter().enumerate().filter(|(_, cell)| present(**cell)) {
        let Some(labels) = labels_at(column, info, candidates, step)? else { continue };
        let at = made.iter().position(|known| *known.labels == labels).unwrap_or_else(|| {
            let mut fresh = Column::new(labels, vec![ABSENT; column.cells.len()]);
            fresh.histograms = if column.has_histograms() { column.histograms.clone() } else { Histograms::new() };
            fresh.delta = column.delta;
            made.push(fresh);
            made.len() - 1
        });
        made[at].cells[step] = *cell;
    }
    out.append(&mut made);
    Ok(())
}

/// The labels at a step; `None` where the selector asks for labels that no info series has.
fn labels_at(column: &Column, info: &Info, candidates: &Candidates, step: usize) -> Result<Option<Labels>, QueryError> {
    // Of the series of one info metric the one with the newest sample counts.
    let mut chosen: HashMap<&str, (&Arc<Labels>, i64)> = HashMap::new();
    for (labels, at) in candidates.iter().filter_map(|(labels, times)| times[step].map(|at| (labels, at))) {
        let name = labels.get(METRIC_NAME).unwrap_or("");
        match chosen.get(name) {
            Some((other, newest)) if *newest == at => {
                return Err(QueryError::Execution(format!(
                    "found duplicate series for info metric: existing {} @ {at}, new {} @ {at}",
                    written(other),
                    written(labels)
                )));
            }
            Some((_, newest)) if *newest > at => {}
            Some(_) | None => {
                chosen.insert(name, (labels, at));
            }
        }
    }
    let mut labels = Labels::clone(&column.labels);
    let mut added = Labels::empty();
    for (info_labels, _) in chosen.values() {
        for (name, value) in info_labels.iter() {
            let wanted = info.wanted.is_empty() || info.wanted.iter().any(|matcher| matcher.name == name);
            if name == METRIC_NAME || !wanted || column.labels.get(name).is_some() {
                continue;
            }
            if added.get(name).is_some_and(|other| other != value) {
                return Err(QueryError::Execution(format!("conflicting label: {name}")));
            }
            added.set(name, value);
            labels.set(name, value);
        }
    }
    let may_lack = info.wanted.iter().all(|matcher| matcher.matches_value(""));
    Ok((!chosen.is_empty() || may_lack).then_some(labels))
}
