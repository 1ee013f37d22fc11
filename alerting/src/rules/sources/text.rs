//! Pieces of SQL: literals, conditions on columns, labels. What a user wrote gets into a statement as a literal only.

use std::collections::BTreeMap;

use super::{OneOrMany, values};

/// A literal. Braces are escaped, so that no text is taken for a bound.
pub(super) fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 2);
    escaped.push('\'');
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\'' => escaped.push_str("\\'"),
            '{' => escaped.push_str("\\x7B"),
            '\n' => escaped.push_str("\\n"),
            c => escaped.push(c),
        }
    }
    escaped.push('\'');
    escaped
}

/// `column` is one of the values.
pub(super) fn one_of(column: &str, values: &[String]) -> Option<String> {
    match values {
        [] => None,
        [one] => Some(format!("{column} = {}", literal(one))),
        many => Some(format!("{column} IN ({})", many.iter().map(|value| literal(value)).collect::<Vec<_>>().join(", "))),
    }
}

/// Conditions on a map: one of the values, or `*` for whatever is there.
pub(super) fn entries(column: &str, wanted: &BTreeMap<String, OneOrMany>) -> Vec<String> {
    let condition = |(key, written): (&String, &OneOrMany)| {
        let values = values(Some(written));
        let has = format!("mapContains({column}, {})", literal(key));
        match values.as_slice() {
            [any] if any == "*" => Some(has),
            values => one_of(&format!("{column}[{}]", literal(key)), values).map(|equal| format!("{has} AND {equal}")),
        }
    };
    wanted.iter().filter_map(condition).collect()
}

/// Within the window, for tables whose sort key has five minutes in it. Left-open, as PromQL's ranges.
pub(super) const MINUTES: &str = "ts > {from} AND ts <= {to} \
     AND toStartOfFiveMinutes(ts) BETWEEN toStartOfFiveMinutes({from}) AND toStartOfFiveMinutes({to})";

/// A column that makes a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub name: String,
    pub column: String,
}

/// The labels that `by` names. `known`: the word in YAML, the label, the column; `maps`: the word before the dot, the column.
pub(super) fn labels(by: &[String], known: &[(&str, &str, &str)], maps: &[&str]) -> Result<Vec<Label>, String> {
    let mut labels: Vec<Label> = Vec::new();
    for word in by {
        let fixed = known.iter().find(|(name, _, _)| name == word).map(|(_, label, column)| ((*label).to_owned(), (*column).to_owned()));
        let entry = || {
            let (map, key) = word.split_once('.').filter(|(map, key)| maps.contains(map) && !key.is_empty())?;
            Some((sanitized(key), format!("{map}[{}]", literal(key))))
        };
        let Some((name, column)) = fixed.or_else(entry) else {
            let words: Vec<&str> = known.iter().map(|(name, _, _)| *name).collect();
            let maps: String = maps.iter().map(|map| format!(", {map}.<key>")).collect();
            return Err(format!("`by` names `{word}`: use {}{maps}", words.join(", ")));
        };
        if labels.iter().any(|label| label.name == name) {
            return Err(format!("`by` names the label `{name}` twice: keep one of them"));
        }
        if ["alertname", "severity", "value"].contains(&name.as_str()) || name.starts_with("example_") {
            return Err(format!("`by` names `{word}`, but a label `{name}` means something else here: group by another key"));
        }
        labels.push(Label { name, column });
    }
    Ok(labels)
}

/// An attribute's key as the name of a label.
fn sanitized(key: &str) -> String {
    let name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// A grouped statement. `measures` are expressions over the rows, with their names; the first is `value`. Labels are named outside, so
/// that none of them can be taken for a column inside.
pub(super) fn grouped(table: &str, conditions: &[String], labels: &[Label], measures: &[(&str, String)], having: Option<&str>) -> String {
    let inner: Vec<String> = labels
        .iter()
        .enumerate()
        .map(|(at, label)| format!("toString({}) AS label_{at}", label.column))
        .chain(measures.iter().map(|(name, expression)| format!("{expression} AS measured_{name}")))
        .collect();
    let outer: Vec<String> = labels
        .iter()
        .enumerate()
        .map(|(at, label)| format!("label_{at} AS `{}`", label.name))
        .chain(measures.iter().map(|(name, _)| format!("measured_{name} AS {name}")))
        .collect();
    let keys: Vec<String> = (0..labels.len()).map(|at| format!("label_{at}")).collect();
    let group = if keys.is_empty() { String::new() } else { format!(" GROUP BY {}", keys.join(", ")) };
    let having = having.map(|condition| format!(" HAVING {condition}")).unwrap_or_default();
    let (inner, outer, conditions) = (inner.join(", "), outer.join(", "), conditions.join(" AND "));
    format!("SELECT {outer} FROM (SELECT {inner} FROM {table} WHERE {conditions}{group}{having}) ORDER BY value DESC")
}

/// The trace of a row that is chosen: empty where none has one.
pub(super) fn example_trace(by: &str, among: Option<&str>) -> (&'static str, String) {
    let among = among.map(|condition| format!("({condition}) AND ")).unwrap_or_default();
    ("example_trace", format!("lower(hex(argMaxIf(trace_id, {by}, {among}notEmpty(trace_id))))"))
}

/// Whether there is a row at all.
pub(super) fn presence(table: &str, services: &[String]) -> String {
    let service = one_of("service", services).map(|condition| format!(" AND {condition}")).unwrap_or_default();
    format!("SELECT 1 AS value FROM {table} WHERE {MINUTES}{service} LIMIT 1")
}
