//! Functions over instant vectors and scalars: mathematics, labels, time, histograms.

use std::collections::BTreeMap;

use chrono::{Datelike, Timelike};
use model::labels::{Labels, METRIC_NAME, MatchOp};
use model::query::QueryError;
use model::time::Timestamp;
use promql_parser::parser::{Call, Expr};
use regex::Regex;

use super::eval::{Element, Evaluation, Value, scalar, vector};
use super::load::{Loaded, matchers};

type Math = fn(f64) -> f64;

const MATH: [(&str, Math); 24] = [
    ("abs", f64::abs),
    ("ceil", f64::ceil),
    ("floor", f64::floor),
    ("exp", f64::exp),
    ("ln", f64::ln),
    ("log2", f64::log2),
    ("log10", f64::log10),
    ("sqrt", f64::sqrt),
    ("sin", f64::sin),
    ("cos", f64::cos),
    ("tan", f64::tan),
    ("asin", f64::asin),
    ("acos", f64::acos),
    ("atan", f64::atan),
    ("sinh", f64::sinh),
    ("cosh", f64::cosh),
    ("tanh", f64::tanh),
    ("asinh", f64::asinh),
    ("acosh", f64::acosh),
    ("atanh", f64::atanh),
    ("deg", f64::to_degrees),
    ("rad", f64::to_radians),
    ("sgn", sign),
    ("round", round_to_one),
];

const OTHERS: [&str; 26] = [
    "pi",
    "time",
    "timestamp",
    "vector",
    "scalar",
    "absent",
    "clamp",
    "clamp_min",
    "clamp_max",
    "label_replace",
    "label_join",
    "sort",
    "sort_desc",
    "sort_by_label",
    "sort_by_label_desc",
    "histogram_quantile",
    "minute",
    "hour",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "month",
    "year",
    "histogram_fraction",
    "round",
];

fn sign(value: f64) -> f64 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        value
    }
}

fn round_to_one(value: f64) -> f64 {
    (value + 0.5).floor()
}

/// Whether it is one of these functions.
pub fn knows(name: &str) -> bool {
    MATH.iter().any(|(known, _)| *known == name) || OTHERS.contains(&name)
}

/// Applies a function to every value and drops the metric's name.
pub fn map(elements: Vec<Element>, apply: impl Fn(f64) -> f64) -> Vec<Element> {
    elements.into_iter().map(|Element { labels, value }| Element { labels: labels.without(METRIC_NAME), value: apply(value) }).collect()
}

/// The labels of `absent(...)`: those that the selector pins with `=`, each once.
pub fn absent_labels(expr: &Expr) -> Labels {
    let selector = match expr {
        Expr::VectorSelector(selector) => selector,
        Expr::MatrixSelector(matrix) => &matrix.vs,
        Expr::Paren(paren) => return absent_labels(&paren.expr),
        _ => return Labels::empty(),
    };
    let mut counts: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for matcher in matchers(selector).unwrap_or_default() {
        let entry = counts.entry(matcher.name).or_default();
        entry.0 += if matcher.op == MatchOp::Equal { 1 } else { 2 };
        entry.1 = matcher.value;
    }
    counts.into_iter().filter(|(name, (count, _))| *count == 1 && name != METRIC_NAME).map(|(name, (_, value))| (name, value)).collect()
}

/// Evaluates a call at a moment.
pub fn call(evaluation: &mut Evaluation, call: &Call, loaded: &Loaded, at: i64) -> Result<Value, QueryError> {
    let name = call.func.name;
    let arguments = &call.args.args;
    let argument =
        |place: usize| arguments.get(place).ok_or_else(|| QueryError::BadData(format!("{name}: argument {} is missing", place + 1)));
    let mut vector_of = |place: usize| vector(evaluation.value(argument(place)?, loaded, at)?);
    let seconds = at as f64 / 1e3;
    if let Some((_, apply)) = MATH.iter().find(|(known, _)| *known == name).filter(|_| name != "round") {
        return Ok(Value::Vector(map(vector_of(0)?, apply)));
    }
    match name {
        "pi" => Ok(Value::Scalar(std::f64::consts::PI)),
        "time" => Ok(Value::Scalar(seconds)),
        "vector" => {
            let value = scalar(evaluation.value(argument(0)?, loaded, at)?)?;
            Ok(Value::Vector(vec![Element { labels: Labels::empty(), value }]))
        }
        "scalar" => {
            let elements = vector_of(0)?;
            Ok(Value::Scalar(if elements.len() == 1 { elements[0].value } else { f64::NAN }))
        }
        "timestamp" => timestamps(evaluation, argument(0)?, loaded, at),
        "absent" => {
            let elements = vector_of(0)?;
            let absent = Element { labels: absent_labels(argument(0)?), value: 1.0 };
            Ok(Value::Vector(if elements.is_empty() { vec![absent] } else { Vec::new() }))
        }
        "clamp" | "clamp_min" | "clamp_max" | "round" => bounded(evaluation, call, loaded, at),
        "label_replace" | "label_join" => relabelled(evaluation, call, loaded, at),
        "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => sorted(evaluation, call, loaded, at),
        "histogram_quantile" | "histogram_fraction" => histogram(evaluation, call, loaded, at),
        _ => dates(evaluation, call, loaded, at),
    }
}

fn timestamps(evaluation: &mut Evaluation, argument: &Expr, loaded: &Loaded, at: i64) -> Result<Value, QueryError> {
    let mut inner = argument;
    while let Expr::Paren(paren) = inner {
        inner = &paren.expr;
    }
    if let Expr::VectorSelector(selector) = inner {
        let elements = evaluation
            .instant_selector(selector, loaded, at)
            .into_iter()
            .map(|(element, time)| Element { labels: element.labels.without(METRIC_NAME), value: time as f64 / 1e3 });
        return Ok(Value::Vector(elements.collect()));
    }
    let elements = vector(evaluation.value(argument, loaded, at)?)?;
    Ok(Value::Vector(map(elements, |_| at as f64 / 1e3)))
}

fn numbers(evaluation: &mut Evaluation, call: &Call, from: usize, loaded: &Loaded, at: i64) -> Result<Vec<f64>, QueryError> {
    call.args.args.iter().skip(from).map(|argument| scalar(evaluation.value(argument, loaded, at)?)).collect()
}

fn first_vector(evaluation: &mut Evaluation, call: &Call, loaded: &Loaded, at: i64) -> Result<Vec<Element>, QueryError> {
    let first = call.args.args.first().ok_or_else(|| QueryError::BadData(format!("{} needs a vector", call.func.name)))?;
    vector(evaluation.value(first, loaded, at)?)
}

fn bounded(evaluation: &mut Evaluation, call: &Call, loaded: &Loaded, at: i64) -> Result<Value, QueryError> {
    let elements = first_vector(evaluation, call, loaded, at)?;
    let numbers = numbers(evaluation, call, 1, loaded, at)?;
    let first = numbers.first().copied();
    let clamp = |low: f64, high: f64| move |value: f64| if low.is_nan() || high.is_nan() { f64::NAN } else { value.max(low).min(high) };
    let elements = match (call.func.name, first, numbers.get(1)) {
        ("clamp", Some(low), Some(high)) if low > *high => Vec::new(),
        ("clamp", Some(low), Some(high)) => map(elements, clamp(low, *high)),
        ("clamp_min", Some(low), _) => map(elements, clamp(low, f64::INFINITY)),
        ("clamp_max", Some(high), _) => map(elements, clamp(f64::NEG_INFINITY, high)),
        ("round", nearest, _) => {
            let inverse = 1.0 / nearest.unwrap_or(1.0);
            map(elements, |value| (value * inverse + 0.5).floor() / inverse)
        }
        (name, ..) => return Err(QueryError::BadData(format!("{name}: an argument is missing"))),
    };
    Ok(Value::Vector(elements))
}

fn texts(call: &Call, from: usize) -> Result<Vec<String>, QueryError> {
    let text = |argument: &Expr| match argument {
        Expr::StringLiteral(text) => Ok(text.val.clone()),
        _ => Err(QueryError::BadData(format!("{}: expected a string literal", call.func.name))),
    };
    call.args.args.iter().skip(from).map(|argument| text(argument)).collect()
}

fn relabelled(evaluation: &mut Evaluation, call: &Call, loaded: &Loaded, at: i64) -> Result<Value, QueryError> {
    let elements = first_vector(evaluation, call, loaded, at)?;
    let texts = texts(call, 1)?;
    let relabel: Box<dyn Fn(Labels) -> Labels> = match (call.func.name, texts.as_slice()) {
        ("label_replace", [target, replacement, source, pattern]) => {
            let (target, replacement, source) = (target.clone(), replacement.clone(), source.clone());
            let pattern = Regex::new(&format!("^(?s:{pattern})$"))
                .map_err(|_| QueryError::BadData(format!("invalid regular expression in label_replace(): {pattern}")))?;
            Box::new(move |labels| {
                let value = labels.get(&source).unwrap_or("").to_owned();
                let Some(captures) = pattern.captures(&value) else { return labels };
                let mut expanded = String::new();
                captures.expand(&replacement, &mut expanded);
                labels.with(&target, &expanded)
            })
        }
        ("label_join", [target, separator, sources @ ..]) => {
            let (target, separator, sources) = (target.clone(), separator.clone(), sources.to_vec());
            Box::new(move |labels| {
                let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or("")).collect();
                let joined = values.join(&separator);
                labels.with(&target, &joined)
            })
        }
        (name, _) => return Err(QueryError::BadData(format!("{name}: an argument is missing"))),
    };
    let elements = elements.into_iter().map(|Element { labels, value }| Element { labels: relabel(labels), value }).collect();
    super::eval::distinct(elements).map(Value::Vector)
}

fn sorted(evaluation: &mut Evaluation, call: &Call, loaded: &Loaded, at: i64) -> Result<Value, QueryError> {
    let mut elements = first_vector(evaluation, call, loaded, at)?;
    match call.func.name {
        "sort" => elements.sort_by(|a, b| a.value.is_nan().cmp(&b.value.is_nan()).then(a.value.total_cmp(&b.value))),
        "sort_desc" => elements.sort_by(|a, b| a.value.is_nan().cmp(&b.value.is_nan()).then(b.value.total_cmp(&a.value))),
        name => {
            let labels = texts(call, 1)?;
            let key = |element: &Element| -> Vec<String> {
                labels.iter().map(|label| element.labels.get(label).unwrap_or("").to_owned()).collect()
            };
            elements.sort_by_key(key);
            if name == "sort_by_label_desc" {
                elements.reverse();
            }
        }
    }
    Ok(Value::Vector(elements))
}

fn dates(evaluation: &mut Evaluation, call: &Call, loaded: &Loaded, at: i64) -> Result<Value, QueryError> {
    let elements = if call.args.args.is_empty() {
        vec![Element { labels: Labels::empty(), value: at as f64 / 1e3 }]
    } else {
        first_vector(evaluation, call, loaded, at)?
    };
    let name = call.func.name;
    let part = |value: f64| -> f64 {
        let Some(time) = Timestamp::from_secs_f64(value.floor()).map(Timestamp::to_chrono) else { return f64::NAN };
        f64::from(match name {
            "minute" => time.minute(),
            "hour" => time.hour(),
            "day_of_month" => time.day(),
            "day_of_week" => time.weekday().num_days_from_sunday(),
            "day_of_year" => time.ordinal(),
            "days_in_month" => days_in_month(time.year(), time.month()),
            "month" => time.month(),
            _ => time.year().unsigned_abs(),
        })
    };
    Ok(Value::Vector(map(elements, part)))
}

fn days_in_month(year: i32, month: u32) -> u32 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn histogram(evaluation: &mut Evaluation, call: &Call, loaded: &Loaded, at: i64) -> Result<Value, QueryError> {
    let count = call.args.args.len();
    let mut parameters = Vec::new();
    for argument in call.args.args.iter().take(count.saturating_sub(1)) {
        parameters.push(scalar(evaluation.value(argument, loaded, at)?)?);
    }
    let last = call.args.args.last().ok_or_else(|| QueryError::BadData(format!("{} needs a vector", call.func.name)))?;
    let elements = vector(evaluation.value(last, loaded, at)?)?;
    let mut groups: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for Element { labels, value } in elements {
        let Some(bound) = labels.get("le").and_then(|le| le.parse::<f64>().ok()) else { continue };
        groups.entry(labels.without(METRIC_NAME).without("le")).or_default().push((bound, value));
    }
    if call.func.name == "histogram_quantile" && parameters.first().is_some_and(|q| !(0.0..=1.0).contains(q)) {
        evaluation.warnings.insert(format!("PromQL warning: quantile value should be between 0 and 1, got {}", parameters[0]));
    }
    let elements = groups.into_iter().filter_map(|(labels, mut buckets)| {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let value = match (call.func.name, parameters.as_slice()) {
            ("histogram_quantile", [q]) => bucket_quantile(*q, buckets),
            ("histogram_fraction", [lower, upper]) => bucket_fraction(*lower, *upper, buckets),
            _ => return None,
        };
        value.map(|value| Element { labels, value })
    });
    Ok(Value::Vector(elements.collect()))
}

/// Buckets with equal bounds added up, and counts that never fall.
fn tidy(buckets: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut tidy: Vec<(f64, f64)> = Vec::with_capacity(buckets.len());
    for (bound, count) in buckets {
        match tidy.last_mut() {
            Some(last) if last.0 == bound => last.1 += count,
            _ => tidy.push((bound, count)),
        }
    }
    let mut highest = 0.0f64;
    for bucket in &mut tidy {
        highest = highest.max(bucket.1);
        bucket.1 = highest;
    }
    tidy
}

/// Prometheus's `bucketQuantile`: linear inside a bucket; the first bucket begins at 0 where its bound is positive; the highest is
/// never interpolated.
pub fn bucket_quantile(q: f64, buckets: Vec<(f64, f64)>) -> Option<f64> {
    if q.is_nan() {
        return Some(f64::NAN);
    }
    if q < 0.0 {
        return Some(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return Some(f64::INFINITY);
    }
    let buckets = tidy(buckets);
    let (bound, total) = *buckets.last()?;
    if bound != f64::INFINITY || buckets.len() < 2 || total == 0.0 || total.is_nan() {
        return Some(f64::NAN);
    }
    let mut rank = q * total;
    let last = buckets.len() - 1;
    let at = buckets[..last].iter().position(|(_, count)| *count >= rank).unwrap_or(last);
    if at == last {
        return Some(buckets[last - 1].0);
    }
    let (end, mut count) = buckets[at];
    if at == 0 && end <= 0.0 {
        return Some(end);
    }
    let mut start = 0.0;
    if at > 0 {
        start = buckets[at - 1].0;
        count -= buckets[at - 1].1;
        rank -= buckets[at - 1].1;
    }
    Some(start + (end - start) * (rank / count))
}

/// The share of observations between two values, linear inside a bucket.
fn bucket_fraction(lower: f64, upper: f64, buckets: Vec<(f64, f64)>) -> Option<f64> {
    let buckets = tidy(buckets);
    let (bound, total) = *buckets.last()?;
    if bound != f64::INFINITY || buckets.len() < 2 || total == 0.0 || lower.is_nan() || upper.is_nan() {
        return Some(f64::NAN);
    }
    if lower >= upper {
        return Some(0.0);
    }
    let rank = |value: f64| -> f64 {
        let (mut start, mut before) = (if buckets[0].0 > 0.0 { 0.0 } else { f64::NEG_INFINITY }, 0.0);
        for (end, count) in &buckets {
            if value <= *end {
                if value <= start {
                    return before;
                }
                let inside = if end.is_infinite() || start.is_infinite() { 0.0 } else { (value - start) / (end - start) };
                return if value == *end { *count } else { before + (count - before) * inside };
            }
            (start, before) = (*end, *count);
        }
        total
    };
    Some((rank(upper) - rank(lower)) / total)
}
