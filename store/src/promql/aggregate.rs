//! Aggregations over columns: groups are formed once, values per step.

mod best;
mod ratio;

use std::collections::HashMap;
use std::sync::Arc;

use best::Best;
use model::labels::{Labels, METRIC_NAME};
use model::query::QueryError;

use super::functions::{native, over_time};
use super::native::Histogram;
use super::notes::Notes;
use super::plan::{Direction, Grouping};
use super::value::{ABSENT, Column, present};

/// An aggregation whose parameter is evaluated: one number per step.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the names are PromQL's
pub enum Operation<'a> {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Quantile(&'a [f64]),
    Topk(&'a [f64]),
    Bottomk(&'a [f64]),
    Limitk(&'a [f64]),
    LimitRatio(&'a [f64]),
    CountValues(&'a str),
}

/// The labels of a series' group.
fn group_labels(labels: &Labels, grouping: &Grouping) -> Labels {
    match grouping {
        Grouping::By(names) if names.is_empty() => Labels::empty(),
        Grouping::By(names) => labels.filtered(|name| names.iter().any(|wanted| wanted == name)),
        Grouping::Without(names) => labels.filtered(|name| name != METRIC_NAME && !names.iter().any(|dropped| dropped == name)),
    }
}

/// The groups in order of their first series, with the numbers of their members.
fn groups(columns: &[Column], grouping: &Grouping) -> Vec<(Arc<Labels>, Vec<usize>)> {
    let mut known: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<(Arc<Labels>, Vec<usize>)> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let labels = group_labels(&column.labels, grouping);
        let at = *known.entry(labels).or_insert_with_key(|labels| {
            groups.push((Arc::new(labels.clone()), Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(index);
    }
    groups
}

/// Aggregates.
pub fn evaluate(
    operation: Operation<'_>,
    grouping: &Grouping,
    columns: Vec<Column>,
    steps: usize,
    notes: &mut Notes,
) -> Result<Vec<Column>, QueryError> {
    let groups = groups(&columns, grouping);
    match operation {
        Operation::Topk(k) => {
            let k = counts(k)?;
            Ok(pick(numbers_of(columns, "topk", notes), &groups, &k, Pick::Best(Direction::Descending)))
        }
        Operation::Bottomk(k) => {
            let k = counts(k)?;
            Ok(pick(numbers_of(columns, "bottomk", notes), &groups, &k, Pick::Best(Direction::Ascending)))
        }
        Operation::LimitRatio(ratios) => ratio::limit(columns, ratios, notes),
        Operation::Limitk(k) => Ok(pick(columns, &groups, &counts(k)?, Pick::First)),
        Operation::CountValues(label) => Ok(count_values(label, grouping, &columns, steps)),
        Operation::Sum
        | Operation::Avg
        | Operation::Min
        | Operation::Max
        | Operation::Count
        | Operation::Group
        | Operation::Stddev
        | Operation::Stdvar
        | Operation::Quantile(_) => {
            if let (Operation::Quantile(qs), false) = (operation, groups.is_empty()) {
                qs.iter().for_each(|q| notes.quantile(*q));
            }
            let mut fold = |(labels, members): (Arc<Labels>, Vec<usize>)| {
                if members.iter().any(|member| columns[*member].has_histograms()) {
                    return reduce_mixed(operation, labels, &columns, &members, steps, notes);
                }
                Column::new(labels, reduce(operation, &columns, &members, steps))
            };
            Ok(groups.into_iter().map(&mut fold).filter(|column| !column.is_absent()).collect())
        }
    }
}

/// The numbers alone, with an info if that leaves histograms out.
fn numbers_of(mut columns: Vec<Column>, name: &str, notes: &mut Notes) -> Vec<Column> {
    for column in columns.iter_mut().filter(|column| column.has_histograms()) {
        notes.inform(&format!("ignored histogram in {name} aggregation"));
        column.drop_histograms();
    }
    columns
}

/// The histogram at a step with the name of its metric.
fn histogram_of(column: &Column, step: usize) -> Option<(&str, &Histogram)> {
    let histogram = column.histogram(step).map(Arc::as_ref)?;
    Some((column.labels.get(METRIC_NAME).unwrap_or(""), histogram))
}

/// One value per step out of members among which there are histograms.
fn reduce_mixed(
    operation: Operation<'_>,
    labels: Arc<Labels>,
    columns: &[Column],
    members: &[usize],
    steps: usize,
    notes: &mut Notes,
) -> Column {
    let mut out = Column::new(labels, vec![ABSENT; steps]);
    let numbers: Vec<Column> = members
        .iter()
        .map(|member| {
            let mut column = columns[*member].clone();
            column.drop_histograms();
            column
        })
        .collect();
    let everyone: Vec<usize> = (0..numbers.len()).collect();
    let of_numbers = reduce(operation, &numbers, &everyone, steps);
    for (step, number) in of_numbers.into_iter().enumerate() {
        let histograms: Vec<(&str, &Histogram)> = members.iter().filter_map(|member| histogram_of(&columns[*member], step)).collect();
        let has_numbers = numbers.iter().any(|column| present(column.cells[step]));
        match operation {
            _ if histograms.is_empty() => out.cells[step] = number,
            Operation::Sum | Operation::Avg if has_numbers => {
                notes.warn("encountered a mix of histograms and floats for aggregation");
            }
            Operation::Sum => out.put(step, native::total(histograms.into_iter(), notes)),
            Operation::Avg => {
                let mut mean = native::total(histograms.iter().copied(), notes);
                if let Some(mean) = &mut mean {
                    mean.divide(histograms.len() as f64);
                }
                out.put(step, mean);
            }
            Operation::Count => out.cells[step] = histograms.len() as f64 + if has_numbers { number } else { 0.0 },
            Operation::Group => out.cells[step] = 1.0,
            Operation::Min | Operation::Max | Operation::Stddev | Operation::Stdvar | Operation::Quantile(_) => {
                let name = match operation {
                    Operation::Min => "min",
                    Operation::Max => "max",
                    Operation::Stddev => "stddev",
                    Operation::Stdvar => "stdvar",
                    _ => "quantile",
                };
                notes.inform(&format!("ignored histogram in {name} aggregation"));
                out.cells[step] = number;
            }
            // These keep series and come here never.
            Operation::Topk(_) | Operation::Bottomk(_) | Operation::Limitk(_) | Operation::LimitRatio(_) | Operation::CountValues(_) => {}
        }
    }
    out
}

/// One number per step out of the members that are present.
fn reduce(operation: Operation<'_>, columns: &[Column], members: &[usize], steps: usize) -> Vec<f64> {
    let (mut values, mut scratch) = (Vec::with_capacity(members.len()), Vec::new());
    let mut cells = vec![ABSENT; steps];
    for (step, cell) in cells.iter_mut().enumerate() {
        values.clear();
        values.extend(members.iter().map(|member| columns[*member].cells[step]).filter(|value| present(*value)));
        if values.is_empty() {
            continue;
        }
        *cell = match operation {
            Operation::Sum => over_time::sum(values.iter().copied()),
            Operation::Avg => over_time::mean(values.iter().copied()),
            Operation::Min => over_time::least(&values),
            Operation::Max => over_time::greatest(&values),
            Operation::Count => values.len() as f64,
            Operation::Stddev => spread(&values).sqrt(),
            Operation::Stdvar => spread(&values),
            Operation::Quantile(qs) => over_time::quantile(qs[step], values.iter().copied(), &mut scratch),
            Operation::Group | Operation::Topk(_) | Operation::Bottomk(_) | Operation::Limitk(_) => 1.0,
            Operation::LimitRatio(_) | Operation::CountValues(_) => 1.0,
        };
    }
    cells
}

/// The population variance; NaN as soon as a value is not finite.
fn spread(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for &value in values {
        count += 1.0;
        let off = value - mean;
        mean += off / count;
        squares += off * (value - mean);
    }
    squares / count
}

/// The `k` of each step; a `k` below 1 keeps nothing.
fn counts(parameters: &[f64]) -> Result<Vec<usize>, QueryError> {
    let count = |k: &f64| {
        if k.is_nan() {
            return Err(QueryError::Execution("Parameter value is NaN".to_owned()));
        }
        if *k >= 9.223_372_036_854_776e18 || *k < -9.223_372_036_854_776e18 {
            return Err(QueryError::Execution(format!("Scalar value {} overflows int64", model::units::Value(*k))));
        }
        Ok(if *k < 1.0 { 0 } else { *k as usize })
    };
    parameters.iter().map(count).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Pick {
    /// Greatest or least values; NaN last.
    Best(Direction),
    /// In order of the series.
    First,
}

/// Keeps the first `k` of each group at each step. With one step, the series come in the order of the choice.
fn pick(mut columns: Vec<Column>, groups: &[(Arc<Labels>, Vec<usize>)], k: &[usize], by: Pick) -> Vec<Column> {
    let steps = k.len();
    let mut kept: Vec<Vec<f64>> = vec![vec![ABSENT; steps]; columns.len()];
    let mut order: Vec<usize> = Vec::new();
    for (_, members) in groups {
        for (step, k) in k.iter().enumerate() {
            let cell = |member: usize| columns[member].cells[step];
            let there = members.iter().copied().filter(|member| present(cell(*member)));
            let mut here: Vec<usize> = match by {
                Pick::First => there.take(*k).collect(),
                Pick::Best(direction) => {
                    let mut best = Best::new(*k, direction);
                    there.for_each(|member| best.offer(cell(member), member));
                    best.into_sorted().into_iter().map(|(_, member)| member).collect()
                }
            };
            for member in &here {
                kept[*member][step] = cell(*member);
            }
            if steps == 1 {
                order.append(&mut here);
            }
        }
    }
    for (column, cells) in columns.iter_mut().zip(kept) {
        column.cells = cells;
    }
    if steps == 1 {
        return order.into_iter().map(|index| columns[index].clone()).collect();
    }
    columns.retain(|column| !column.is_absent());
    columns
}

/// One series per value that occurs, with how many series have it. The label is written before the grouping looks: it may be one of its
/// labels.
fn count_values(label: &str, grouping: &Grouping, columns: &[Column], steps: usize) -> Vec<Column> {
    let grouping = match grouping {
        Grouping::By(names) => Grouping::By(names.iter().cloned().chain([label.to_owned()]).collect()),
        Grouping::Without(names) => Grouping::Without(names.clone()),
    };
    let mut out: Vec<Column> = Vec::new();
    let mut known: HashMap<Labels, usize> = HashMap::new();
    for column in columns {
        // Neighbouring steps often have the same value.
        let mut last: Option<(u64, usize)> = None;
        for step in (0..steps).filter(|step| present(column.cells[*step])) {
            let bits = column.cells[step].to_bits();
            let histogram = column.histogram(step);
            let at = match last.filter(|(known, _)| *known == bits && histogram.is_none()) {
                Some((_, at)) => at,
                None => {
                    let text = histogram.map_or_else(|| plain_text(column.cells[step]), |histogram| histogram.text());
                    let labels = group_labels(&Labels::clone(&column.labels).with(label, &text), &grouping);
                    *known.entry(labels).or_insert_with_key(|labels| {
                        out.push(Column::new(labels.clone(), vec![ABSENT; steps]));
                        out.len() - 1
                    })
                }
            };
            last = Some((bits, at));
            let cell = &mut out[at].cells[step];
            *cell = if present(*cell) { *cell + 1.0 } else { 1.0 };
        }
    }
    out
}

/// A number without exponent, as Go's `'f', -1` writes it.
fn plain_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}
