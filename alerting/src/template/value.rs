//! The values that templates compute with, and how Go prints and compares them.

use std::collections::BTreeMap;

use model::labels::Labels;

use super::QuerySample;
use super::number::{format_float, format_time};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Val {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    /// A moment, in milliseconds since the epoch.
    Time(i64),
    List(Vec<Val>),
    /// A Go map: a missing key is the empty string, as in `map[string]string`.
    Map(BTreeMap<String, Val>),
    /// A Go struct: a missing field is an error.
    Struct(BTreeMap<String, Val>),
    /// One sample of a query.
    Sample(QuerySample),
}

impl Val {
    pub(super) fn of_labels(labels: &Labels) -> Val {
        Val::Map(labels.iter().map(|(name, value)| (name.to_owned(), Val::Str(value.to_owned()))).collect())
    }

    /// Go's word for the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Val::Nil => "nil",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::Float(_) => "float64",
            Val::Str(_) => "string",
            Val::Time(_) => "time.Time",
            Val::List(_) => "list",
            Val::Map(_) => "map",
            Val::Struct(_) => "struct",
            Val::Sample(_) => "sample",
        }
    }

    /// Go's `%v`.
    pub(super) fn print(&self) -> String {
        match self {
            Val::Nil => "<no value>".to_owned(),
            Val::Bool(value) => value.to_string(),
            Val::Int(value) => value.to_string(),
            Val::Float(value) => format_float(*value),
            Val::Str(value) => value.clone(),
            Val::Time(millis) => format_time(*millis),
            Val::List(values) => format!("[{}]", values.iter().map(Val::print).collect::<Vec<_>>().join(" ")),
            Val::Map(map) | Val::Struct(map) => {
                format!("map[{}]", map.iter().map(|(key, value)| format!("{key}:{}", value.print())).collect::<Vec<_>>().join(" "))
            }
            Val::Sample((labels, value)) => format!("{{{} {}}}", Val::of_labels(labels).print(), format_float(*value)),
        }
    }

    /// Whether `if` takes it as true.
    pub(super) fn truth(&self) -> bool {
        match self {
            Val::Nil => false,
            Val::Bool(value) => *value,
            Val::Int(value) => *value != 0,
            Val::Float(value) => *value != 0.0,
            Val::Str(value) => !value.is_empty(),
            Val::List(values) => !values.is_empty(),
            Val::Map(map) => !map.is_empty(),
            Val::Time(_) | Val::Struct(_) | Val::Sample(_) => true,
        }
    }

    /// A field: `.Labels`, `.Value`, a map's key.
    pub(super) fn field(&self, name: &str) -> Result<Val, String> {
        match self {
            Val::Map(map) => Ok(map.get(name).cloned().unwrap_or(Val::Str(String::new()))),
            Val::Struct(map) => map.get(name).cloned().ok_or_else(|| format!("can't evaluate field {name}")),
            Val::Sample((labels, _)) if name == "Labels" => Ok(Val::of_labels(labels)),
            Val::Sample((_, value)) if name == "Value" => Ok(Val::Float(*value)),
            Val::Nil => Err(format!("nil data; no entry for key {name:?}")),
            Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::Str(_) | Val::Time(_) | Val::List(_) | Val::Sample(_) => {
                Err(format!("can't evaluate field {name} in type {}", self.type_name()))
            }
        }
    }

    /// As a text: what functions that take strings accept.
    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Val::Str(text) => Ok(text),
            Val::Nil
            | Val::Bool(_)
            | Val::Int(_)
            | Val::Float(_)
            | Val::Time(_)
            | Val::List(_)
            | Val::Map(_)
            | Val::Struct(_)
            | Val::Sample(_) => Err(format!("wrong type for value; expected string; got {}", self.type_name())),
        }
    }

    /// As a number: floats, integers and texts that are numbers, as Prometheus's humanize functions accept.
    pub(super) fn number(&self) -> Result<f64, String> {
        match self {
            Val::Float(value) => Ok(*value),
            Val::Int(value) => Ok(*value as f64),
            Val::Time(millis) => Ok(*millis as f64 / 1e3),
            Val::Str(text) => text.trim().parse().map_err(|_| format!("parsing {text:?} as a number: invalid syntax")),
            Val::Nil | Val::Bool(_) | Val::List(_) | Val::Map(_) | Val::Struct(_) | Val::Sample(_) => {
                Err(format!("can't convert {} to float", self.type_name()))
            }
        }
    }

    /// As the samples of a query.
    pub(super) fn samples(&self) -> Result<Vec<QuerySample>, String> {
        let fail = || format!("wrong type for value; expected the result of a query; got {}", self.type_name());
        let Val::List(values) = self else { return Err(fail()) };
        values.iter().map(|value| if let Val::Sample(sample) = value { Ok(sample.clone()) } else { Err(fail()) }).collect()
    }

    /// As one sample of a query.
    pub(super) fn sample(&self) -> Result<&QuerySample, String> {
        if let Val::Sample(sample) = self {
            Ok(sample)
        } else {
            Err(format!("wrong type for value; expected a sample of a query; got {}", self.type_name()))
        }
    }
}
