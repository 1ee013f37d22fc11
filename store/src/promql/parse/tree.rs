//! An expression as Prometheus's `parse_query` writes it. In: what the crate read of a text whose unary pluses it was given as minuses,
//! and what we read of the text, which knows them apart; out: JSON. Pure.

use std::time::{Duration, SystemTime};

use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    AggregateExpr, AtModifier, BinaryExpr, Call, Expr, LabelModifier, Offset, SubqueryExpr, VectorMatchCardinality, VectorSelector,
};
use serde_json::{Map, Value, json};

use super::grammar::{Part, Tree};
use super::types;

/// The expression as JSON.
pub fn json(expr: &Expr, tree: Option<&Tree>) -> Value {
    let child = |at: usize| tree.and_then(|tree| tree.children.get(at));
    match expr {
        Expr::Paren(of) => object([("type", "parenExpr".into()), ("expr", json(&of.expr, child(0)))]),
        Expr::Unary(of) => {
            let plus = tree.is_some_and(|tree| tree.part == Part::Unary { plus: true });
            let op = if plus { "+" } else { "-" };
            object([("type", "unaryExpr".into()), ("op", op.into()), ("expr", json(&of.expr, child(0)))])
        }
        Expr::NumberLiteral(number) => json!({"type": "numberLiteral", "val": number_text(number.val)}),
        Expr::StringLiteral(text) => json!({"type": "stringLiteral", "val": text.val}),
        Expr::VectorSelector(of) => selector("vectorSelector", of).into(),
        Expr::MatrixSelector(of) => {
            let mut fields = selector("matrixSelector", &of.vs);
            fields.insert("range".to_owned(), millis(of.range).into());
            fields.into()
        }
        Expr::Subquery(of) => subquery(of, child(0)),
        Expr::Aggregate(of) => aggregation(of, tree),
        Expr::Binary(of) => binary(of, child(0), child(1)),
        Expr::Call(of) => call(of, tree),
        Expr::Extension(_) => Value::Null,
    }
}

/// An object of fields that are moved: `json!` copies what is given to it, at each level all that is below.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
}

fn subquery(of: &SubqueryExpr, inner: Option<&Tree>) -> Value {
    let mut fields = moment(&of.at, &of.offset);
    fields.insert("type".to_owned(), "subquery".into());
    fields.insert("expr".to_owned(), json(&of.expr, inner));
    fields.insert("range".to_owned(), millis(of.range).into());
    fields.insert("step".to_owned(), of.step.map_or(0, millis).into());
    fields.into()
}

fn aggregation(of: &AggregateExpr, tree: Option<&Tree>) -> Value {
    let children = tree.map(|tree| tree.children.as_slice()).unwrap_or_default();
    let (grouping, without): (&[String], bool) = match &of.modifier {
        None => (&[], false),
        Some(LabelModifier::Include(labels)) => (&labels.labels, false),
        Some(LabelModifier::Exclude(labels)) => (&labels.labels, true),
    };
    object([
        ("type", "aggregation".into()),
        ("op", of.op.to_string().into()),
        ("expr", json(&of.expr, children.last())),
        ("param", of.param.as_ref().map_or(Value::Null, |param| json(param, children.first()))),
        ("grouping", grouping.into()),
        ("without", without.into()),
    ])
}

fn binary(of: &BinaryExpr, left: Option<&Tree>, right: Option<&Tree>) -> Value {
    let modifier = of.modifier.clone().unwrap_or_default();
    let vectors = [&of.lhs, &of.rhs].iter().all(|side| side.value_type() == ValueType::Vector);
    let operator = of.op.to_string();
    let sets = matches!(operator.as_str(), "and" | "or" | "unless");
    let none = Vec::new();
    let matching = vectors.then(|| {
        let (card, include) = match &modifier.card {
            VectorMatchCardinality::ManyToMany => ("many-to-many", &none),
            VectorMatchCardinality::OneToOne if sets => ("many-to-many", &none),
            VectorMatchCardinality::OneToOne => ("one-to-one", &none),
            VectorMatchCardinality::ManyToOne(labels) => ("many-to-one", &labels.labels),
            VectorMatchCardinality::OneToMany(labels) => ("one-to-many", &labels.labels),
        };
        let (labels, on) = match &modifier.matching {
            None => (&none, false),
            Some(LabelModifier::Include(labels)) => (&labels.labels, true),
            Some(LabelModifier::Exclude(labels)) => (&labels.labels, false),
        };
        let fill = json!({"lhs": modifier.fill_values.lhs, "rhs": modifier.fill_values.rhs});
        json!({"card": card, "labels": labels, "on": on, "include": include, "fillValues": fill})
    });
    object([
        ("type", "binaryExpr".into()),
        ("op", operator.into()),
        ("lhs", json(&of.lhs, left)),
        ("rhs", json(&of.rhs, right)),
        ("matching", matching.unwrap_or_default()),
        ("bool", modifier.return_bool.into()),
    ])
}

fn call(of: &Call, tree: Option<&Tree>) -> Value {
    let child = |at: usize| tree.and_then(|tree| tree.children.get(at));
    let arguments: Vec<Value> = of.args.args.iter().enumerate().map(|(at, argument)| json(argument, child(at))).collect();
    let function = types::function(of.func.name).map(|function| {
        json!({
            "name": function.name,
            "argTypes": function.types().map(word).collect::<Vec<_>>(),
            "variadic": function.variadic,
            "returnType": word(function.result()),
        })
    });
    object([("type", "call".into()), ("func", function.unwrap_or_default()), ("args", arguments.into())])
}

fn selector(kind: &str, of: &VectorSelector) -> Map<String, Value> {
    let mut fields = moment(&of.at, &of.offset);
    let named = of.name.iter().map(|name| json!({"name": "__name__", "type": "=", "value": name}));
    let matcher =
        |matcher: &promql_parser::label::Matcher| json!({"name": matcher.name, "type": matcher.op.to_string(), "value": matcher.value});
    // A name in braces is a matcher only, as in Prometheus.
    fields.insert("name".to_owned(), of.name.as_deref().unwrap_or("").into());
    fields.insert("type".to_owned(), kind.into());
    fields.insert("matchers".to_owned(), of.matchers.matchers.iter().map(matcher).chain(named).collect());
    fields.insert("anchored".to_owned(), false.into());
    fields.insert("smoothed".to_owned(), false.into());
    fields
}

/// `@` and `offset`.
fn moment(at: &Option<AtModifier>, offset: &Option<Offset>) -> Map<String, Value> {
    let (timestamp, word) = match at {
        None => (None, None),
        Some(AtModifier::Start) => (None, Some("start")),
        Some(AtModifier::End) => (None, Some("end")),
        Some(AtModifier::At(time)) => match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => (Some(millis(since)), None),
            Err(before) => (Some(-millis(before.duration())), None),
        },
    };
    let offset = match offset {
        None => 0,
        Some(Offset::Pos(duration)) => millis(*duration),
        Some(Offset::Neg(duration)) => -millis(*duration),
    };
    [("timestamp", Value::from(timestamp)), ("startOrEnd", word.into()), ("offset", offset.into())]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A number as Go writes it without an exponent.
fn number_text(number: f64) -> String {
    if number == f64::INFINITY {
        "+Inf".to_owned()
    } else if number == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        number.to_string()
    }
}

/// A type as the API calls it.
fn word(kind: ValueType) -> &'static str {
    match kind {
        ValueType::Vector => "vector",
        ValueType::Scalar => "scalar",
        ValueType::Matrix => "matrix",
        ValueType::String => "string",
    }
}
