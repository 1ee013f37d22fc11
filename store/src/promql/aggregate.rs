//! Aggregations: `sum by (...)`, `topk`, `quantile`, `count_values` and the rest.

use std::collections::BTreeMap;

use model::labels::{Labels, METRIC_NAME};
use model::query::QueryError;
use model::units;
use promql_parser::parser::{AggregateExpr, LabelModifier};

use super::eval::{Element, Evaluation, Value, scalar, vector};
use super::load::Loaded;
use super::range::{compensated, quantile};

const NAMES: [&str; 13] =
    ["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk", "count_values", "quantile", "limitk"];

/// Refuses an aggregation that is not supported.
pub fn check(name: &str) -> Result<(), QueryError> {
    if NAMES.contains(&name) { Ok(()) } else { Err(QueryError::BadData(format!("aggregation `{name}` is not supported"))) }
}

fn group_of(labels: &Labels, modifier: Option<&LabelModifier>) -> Labels {
    match modifier {
        None => Labels::empty(),
        Some(LabelModifier::Include(names)) => labels.filtered(|label| names.labels.iter().any(|name| name == label)),
        Some(LabelModifier::Exclude(names)) => {
            labels.filtered(|label| label != METRIC_NAME && !names.labels.iter().any(|name| name == label))
        }
    }
}

/// Evaluates an aggregation at a moment.
pub fn aggregate(evaluation: &mut Evaluation, expr: &AggregateExpr, loaded: &Loaded, at: i64) -> Result<Value, QueryError> {
    let name = expr.op.to_string();
    check(&name)?;
    let elements = vector(evaluation.value(&expr.expr, loaded, at)?)?;
    let mut groups: BTreeMap<Labels, Vec<Element>> = BTreeMap::new();
    for element in elements {
        groups.entry(group_of(&element.labels, expr.modifier.as_ref())).or_default().push(element);
    }
    let parameter = expr.param.as_ref().map(|param| evaluation.value(param, loaded, at)).transpose()?;
    match (name.as_str(), parameter) {
        ("topk" | "bottomk" | "limitk", Some(parameter)) => Ok(Value::Vector(ranked(&name, scalar(parameter)?, groups))),
        ("count_values", Some(Value::Text(label))) => count_values(&label, groups),
        ("quantile", Some(parameter)) => {
            let q = scalar(parameter)?;
            if !(0.0..=1.0).contains(&q) {
                evaluation.warnings.insert(format!("PromQL warning: quantile value should be between 0 and 1, got {q}"));
            }
            Ok(Value::Vector(fold(groups, |elements| quantile(q, &mut elements.iter().map(|element| element.value).collect::<Vec<_>>()))))
        }
        ("topk" | "bottomk" | "limitk" | "count_values" | "quantile", _) => {
            Err(QueryError::BadData(format!("{name} needs a parameter of another type")))
        }
        _ => Ok(Value::Vector(fold(groups, |elements| reduce(&name, elements)))),
    }
}

fn fold(groups: BTreeMap<Labels, Vec<Element>>, reduce: impl Fn(&[Element]) -> f64) -> Vec<Element> {
    groups.into_iter().map(|(labels, elements)| Element { labels, value: reduce(&elements) }).collect()
}

fn reduce(name: &str, elements: &[Element]) -> f64 {
    let values = || elements.iter().map(|element| element.value);
    let count = elements.len() as f64;
    let variance = || {
        let (mut seen, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for value in values() {
            seen += 1.0;
            let delta = value - mean;
            mean += delta / seen;
            squares += delta * (value - mean);
        }
        squares / seen
    };
    // NaN gives way to any number.
    let extreme = |better: fn(f64, f64) -> bool| {
        values().reduce(|best, value| if better(value, best) || best.is_nan() { value } else { best }).unwrap_or(f64::NAN)
    };
    match name {
        "sum" => compensated(values()),
        "avg" => {
            let sum = compensated(values());
            if sum.is_infinite() && values().all(f64::is_finite) { compensated(values().map(|value| value / count)) } else { sum / count }
        }
        "count" => count,
        "min" => extreme(|a, b| a < b),
        "max" => extreme(|a, b| a > b),
        "stdvar" => variance(),
        "stddev" => variance().sqrt(),
        _ => 1.0,
    }
}

fn ranked(name: &str, parameter: f64, groups: BTreeMap<Labels, Vec<Element>>) -> Vec<Element> {
    let keep = if parameter >= 1.0 { parameter as usize } else { 0 };
    let mut kept = Vec::new();
    for mut elements in groups.into_values() {
        match name {
            // NaN comes last either way.
            "topk" => elements.sort_by(|a, b| a.value.is_nan().cmp(&b.value.is_nan()).then(b.value.total_cmp(&a.value))),
            "bottomk" => elements.sort_by(|a, b| a.value.is_nan().cmp(&b.value.is_nan()).then(a.value.total_cmp(&b.value))),
            _ => {}
        }
        elements.truncate(keep);
        kept.extend(elements);
    }
    kept
}

fn count_values(label: &str, groups: BTreeMap<Labels, Vec<Element>>) -> Result<Value, QueryError> {
    let mut counts: BTreeMap<Labels, f64> = BTreeMap::new();
    for (labels, elements) in groups {
        for element in elements {
            *counts.entry(labels.clone().with(label, &units::Value(element.value).to_string())).or_default() += 1.0;
        }
    }
    Ok(Value::Vector(counts.into_iter().map(|(labels, value)| Element { labels, value }).collect()))
}
