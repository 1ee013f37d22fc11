//! Binary operators: arithmetic, comparison, `and`/`or`/`unless`, with Prometheus's vector matching.

use std::collections::{BTreeMap, BTreeSet};

use model::labels::{Labels, METRIC_NAME};
use model::query::QueryError;
use promql_parser::parser::{BinModifier, BinaryExpr, LabelModifier, VectorMatchCardinality};

use super::eval::{Element, Evaluation, Value};
use super::load::Loaded;

/// Evaluates a binary expression at a moment.
pub fn binary(evaluation: &mut Evaluation, expr: &BinaryExpr, loaded: &Loaded, at: i64) -> Result<Value, QueryError> {
    let op = expr.op.to_string();
    let left = evaluation.value(&expr.lhs, loaded, at)?;
    let right = evaluation.value(&expr.rhs, loaded, at)?;
    let modifier = expr.modifier.as_ref();
    let bool_result = modifier.is_some_and(|modifier| modifier.return_bool);
    if modifier.is_some_and(|modifier| modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some()) {
        return Err(QueryError::BadData("fill modifiers are not supported".to_owned()));
    }
    match (left, right) {
        (Value::Scalar(a), Value::Scalar(b)) => {
            if is_comparison(&op) && !bool_result {
                return Err(QueryError::BadData("comparisons between scalars must use BOOL modifier".to_owned()));
            }
            Ok(Value::Scalar(compute(&op, a, b).0))
        }
        (Value::Vector(elements), Value::Scalar(b)) => {
            Ok(Value::Vector(with_scalar(&op, elements, bool_result, |value| compute(&op, value, b))))
        }
        (Value::Scalar(a), Value::Vector(elements)) => Ok(Value::Vector(with_scalar(&op, elements, bool_result, |value| {
            let (result, keep) = compute(&op, a, value);
            // A comparison keeps the vector's value, whichever side it is on.
            (if is_comparison(&op) && !bool_result { value } else { result }, keep)
        }))),
        (Value::Vector(left), Value::Vector(right)) => {
            if matches!(op.as_str(), "and" | "or" | "unless") {
                return Ok(Value::Vector(set(&op, left, right, modifier)));
            }
            matched(&op, left, right, modifier, bool_result).map(Value::Vector)
        }
        (Value::Text(_), _) | (_, Value::Text(_)) => Err(QueryError::BadData("a string cannot be an operand".to_owned())),
    }
}

fn is_comparison(op: &str) -> bool {
    matches!(op, "==" | "!=" | ">" | "<" | ">=" | "<=")
}

/// The result and, for comparisons, whether it holds. A comparison's result is the left value where it filters, 0 or 1 for scalars.
fn compute(op: &str, a: f64, b: f64) -> (f64, bool) {
    let truth = |holds: bool| (f64::from(u8::from(holds)), holds);
    match op {
        "+" => (a + b, true),
        "-" => (a - b, true),
        "*" => (a * b, true),
        "/" => (a / b, true),
        "%" => (a % b, true),
        "^" => (a.powf(b), true),
        "atan2" => (a.atan2(b), true),
        "==" => truth(a == b),
        "!=" => truth(a != b),
        ">" => truth(a > b),
        "<" => truth(a < b),
        ">=" => truth(a >= b),
        "<=" => truth(a <= b),
        _ => (f64::NAN, false),
    }
}

fn with_scalar(op: &str, elements: Vec<Element>, bool_result: bool, compute: impl Fn(f64) -> (f64, bool)) -> Vec<Element> {
    let filters = is_comparison(op) && !bool_result;
    let computed = elements.into_iter().filter_map(|Element { labels, value }| {
        let (result, holds) = compute(value);
        if filters {
            return holds.then_some(Element { labels, value });
        }
        Some(Element { labels: labels.without(METRIC_NAME), value: result })
    });
    computed.collect()
}

/// The labels by which two elements match.
fn signature(labels: &Labels, modifier: Option<&BinModifier>) -> Labels {
    match modifier.and_then(|modifier| modifier.matching.as_ref()) {
        None => labels.filtered(|label| label != METRIC_NAME),
        Some(LabelModifier::Include(names)) => labels.filtered(|label| names.labels.iter().any(|name| name == label)),
        Some(LabelModifier::Exclude(names)) => {
            labels.filtered(|label| label != METRIC_NAME && !names.labels.iter().any(|name| name == label))
        }
    }
}

fn set(op: &str, left: Vec<Element>, right: Vec<Element>, modifier: Option<&BinModifier>) -> Vec<Element> {
    let signatures =
        |elements: &[Element]| -> BTreeSet<Labels> { elements.iter().map(|element| signature(&element.labels, modifier)).collect() };
    match op {
        "and" => {
            let there = signatures(&right);
            left.into_iter().filter(|element| there.contains(&signature(&element.labels, modifier))).collect()
        }
        "unless" => {
            let there = signatures(&right);
            left.into_iter().filter(|element| !there.contains(&signature(&element.labels, modifier))).collect()
        }
        _ => {
            let there = signatures(&left);
            let more = right.into_iter().filter(|element| !there.contains(&signature(&element.labels, modifier)));
            left.into_iter().chain(more.collect::<Vec<_>>()).collect()
        }
    }
}

fn matched(
    op: &str,
    left: Vec<Element>,
    right: Vec<Element>,
    modifier: Option<&BinModifier>,
    bool_result: bool,
) -> Result<Vec<Element>, QueryError> {
    let card = modifier.map_or(&VectorMatchCardinality::OneToOne, |modifier| &modifier.card);
    // "many" is the left side, unless group_right says otherwise.
    let (many, one, swapped) = match card {
        VectorMatchCardinality::OneToMany(_) => (right, left, true),
        VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToOne(_) | VectorMatchCardinality::ManyToMany => {
            (left, right, false)
        }
    };
    let mut ones: BTreeMap<Labels, Element> = BTreeMap::new();
    for element in one {
        let key = signature(&element.labels, modifier);
        if let Some(other) = ones.get(&key) {
            let side = if swapped { "left" } else { "right" };
            return Err(QueryError::Execution(format!(
                "found duplicate series for the match group {key} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                other.labels, element.labels
            )));
        }
        ones.insert(key, element);
    }
    let mut results = Vec::new();
    let mut taken: BTreeSet<Labels> = BTreeSet::new();
    for element in many {
        let key = signature(&element.labels, modifier);
        let Some(partner) = ones.get(&key) else { continue };
        let (a, b) = if swapped { (partner.value, element.value) } else { (element.value, partner.value) };
        let (computed, holds) = compute(op, a, b);
        let filters = is_comparison(op) && !bool_result;
        if filters && !holds {
            continue;
        }
        // A filtering comparison gives the left hand-side's value.
        let value = if filters { a } else { computed };
        let labels = result_labels(op, &element.labels, &partner.labels, modifier, card, bool_result);
        if !taken.insert(labels.clone()) {
            return Err(match card {
                VectorMatchCardinality::OneToOne => QueryError::Execution(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)".to_owned(),
                ),
                VectorMatchCardinality::ManyToOne(_) | VectorMatchCardinality::OneToMany(_) | VectorMatchCardinality::ManyToMany => {
                    QueryError::Execution("multiple matches for labels: grouping labels must ensure unique matches".to_owned())
                }
            });
        }
        results.push(Element { labels, value });
    }
    Ok(results)
}

fn result_labels(
    op: &str,
    many: &Labels,
    one: &Labels,
    modifier: Option<&BinModifier>,
    card: &VectorMatchCardinality,
    bool_result: bool,
) -> Labels {
    let drops_name = !is_comparison(op) || bool_result;
    let mut labels = if drops_name { many.clone().without(METRIC_NAME) } else { many.clone() };
    match card {
        VectorMatchCardinality::OneToOne => match modifier.and_then(|modifier| modifier.matching.as_ref()) {
            Some(LabelModifier::Include(names)) => labels.filtered(|label| names.labels.iter().any(|name| name == label)),
            Some(LabelModifier::Exclude(names)) => labels.filtered(|label| !names.labels.iter().any(|name| name == label)),
            None => labels,
        },
        VectorMatchCardinality::ManyToOne(include) | VectorMatchCardinality::OneToMany(include) => {
            for name in &include.labels {
                labels.set(name, one.get(name).unwrap_or(""));
            }
            labels
        }
        VectorMatchCardinality::ManyToMany => labels,
    }
}
