//! The functions that templates call: Go's own and Prometheus's.

use std::cmp::Ordering;

use regex::Regex;

use super::eval::{Stop, World};
use super::value::Val;
use super::{number, printf};

/// Every function.
const NAMES: [&str; 47] = [
    "and",
    "or",
    "not",
    "len",
    "index",
    "slice",
    "print",
    "printf",
    "println",
    "html",
    "js",
    "urlquery",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "query",
    "first",
    "value",
    "label",
    "strvalue",
    "sortByLabel",
    "args",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "toTime",
    "title",
    "toUpper",
    "toLower",
    "match",
    "reReplaceAll",
    "safeHtml",
    "stripPort",
    "stripDomain",
    "parseDuration",
    "externalURL",
    "pathPrefix",
    "graphLink",
    "tableLink",
    "urlQueryEscape",
    "toDuration",
    "now",
];

/// Whether there is such a function.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls one. `and` and `or` are the evaluator's own: they do not look at all their arguments.
pub(super) fn call(name: &str, arguments: &[Val], world: &World<'_>) -> Result<Val, Stop> {
    match (name, arguments) {
        ("query", [expr]) => query(expr.text()?, world),
        ("not", [value]) => Ok(Val::Bool(!value.truth())),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)).map_err(Stop::Error),
        ("slice", [value, bounds @ ..]) => slice(value, bounds).map_err(Stop::Error),
        ("print", values) => Ok(Val::Str(printf::print(values))),
        ("println", values) => Ok(Val::Str(values.iter().map(Val::print).collect::<Vec<_>>().join(" ") + "\n")),
        ("printf", [format, values @ ..]) => Ok(Val::Str(printf::printf(format.text()?, values))),
        ("html", values) => Ok(Val::Str(escape_html(&printf::print(values)))),
        ("js", values) => Ok(Val::Str(escape_js(&printf::print(values)))),
        ("urlquery" | "urlQueryEscape", values) => Ok(Val::Str(escape_query(&printf::print(values)))),
        ("eq", [left, right, others @ ..]) => {
            for other in std::iter::once(right).chain(others) {
                if compare(left, other)? == Some(Ordering::Equal) {
                    return Ok(Val::Bool(true));
                }
            }
            Ok(Val::Bool(false))
        }
        ("ne", [left, right]) => Ok(Val::Bool(compare(left, right)? != Some(Ordering::Equal))),
        ("lt", [left, right]) => Ok(Val::Bool(compare(left, right)? == Some(Ordering::Less))),
        ("gt", [left, right]) => Ok(Val::Bool(compare(left, right)? == Some(Ordering::Greater))),
        ("le", [left, right]) => Ok(Val::Bool(matches!(compare(left, right)?, Some(Ordering::Less | Ordering::Equal)))),
        ("ge", [left, right]) => Ok(Val::Bool(matches!(compare(left, right)?, Some(Ordering::Greater | Ordering::Equal)))),
        ("args", values) => Ok(Val::Map(values.iter().enumerate().map(|(at, value)| (format!("arg{at}"), value.clone())).collect())),
        _ => prometheus(name, arguments, world).map_err(Stop::Error),
    }
}

/// Prometheus's own functions (template/template.go), none of which asks a query.
fn prometheus(name: &str, arguments: &[Val], world: &World<'_>) -> Result<Val, String> {
    let text = |text: String| Ok(Val::Str(text));
    match (name, arguments) {
        ("first", [samples]) => {
            samples.samples()?.into_iter().next().map(Val::Sample).ok_or_else(|| "first() called on vector with no elements".to_owned())
        }
        ("value", [sample]) => Ok(Val::Float(sample.sample()?.1)),
        ("label", [label, sample]) => text(sample.sample()?.0.get(label.text()?).unwrap_or("").to_owned()),
        ("strvalue", [sample]) => text(sample.sample()?.0.get("__value__").unwrap_or("").to_owned()),
        ("sortByLabel", [label, samples]) => {
            let label = label.text()?;
            let mut samples = samples.samples()?;
            samples.sort_by(|(a, _), (b, _)| a.get(label).unwrap_or("").cmp(b.get(label).unwrap_or("")));
            Ok(Val::List(samples.into_iter().map(Val::Sample).collect()))
        }
        ("humanize", [value]) => text(number::humanize(value.number()?)),
        ("humanize1024", [value]) => text(number::humanize_1024(value.number()?)),
        ("humanizeDuration", [value]) => text(number::humanize_duration(value.number()?)),
        ("humanizePercentage", [value]) => text(number::humanize_percentage(value.number()?)),
        ("humanizeTimestamp", [value]) => {
            let seconds = value.number()?;
            if !seconds.is_finite() {
                return text(number::format_g(seconds, Some(4)));
            }
            moment(seconds).map(|time| Val::Str(time.print()))
        }
        ("toTime", [value]) => moment(value.number()?),
        ("toDuration", [value]) => text(number::format_duration(value.number()?)),
        ("title", [value]) => text(title(value.text()?)),
        ("toUpper", [value]) => text(value.text()?.to_uppercase()),
        ("toLower", [value]) => text(value.text()?.to_lowercase()),
        ("match", [pattern, value]) => Ok(Val::Bool(regex(pattern.text()?)?.is_match(value.text()?))),
        ("reReplaceAll", [pattern, replacement, value]) => {
            text(regex(pattern.text()?)?.replace_all(value.text()?, replacement.text()?).into_owned())
        }
        ("safeHtml", [value]) => text(value.text()?.to_owned()),
        ("stripPort", [value]) => text(strip_port(value.text()?).to_owned()),
        ("stripDomain", [value]) => text(strip_domain(value.text()?)),
        ("parseDuration", [value]) => {
            value.text()?.parse::<model::time::Span>().map(|span| Val::Float(span.0.as_secs_f64())).map_err(|error| error.to_string())
        }
        ("now", []) => Ok(Val::Float(world.now.millis() as f64 / 1_000.0)),
        ("externalURL", []) => text(world.external_url.to_owned()),
        ("pathPrefix", []) => {
            text(url::Url::parse(world.external_url).map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default())
        }
        ("graphLink", [expr]) => text(format!("/graph?g0.expr={}&g0.tab=0", escape_query(expr.text()?))),
        ("tableLink", [expr]) => text(format!("/graph?g0.expr={}&g0.tab=1", escape_query(expr.text()?))),
        _ => Err(format!("wrong number of args for {name}: got {}", arguments.len())),
    }
}

fn query(expr: &str, world: &World<'_>) -> Result<Val, Stop> {
    match world.answers.get(expr) {
        Some(Ok(samples)) => Ok(Val::List(samples.iter().cloned().map(Val::Sample).collect())),
        Some(Err(reason)) => Err(Stop::Error(reason.clone())),
        None => Err(Stop::Query(expr.to_owned())),
    }
}

fn length(value: &Val) -> Result<Val, Stop> {
    match value {
        Val::Str(text) => Ok(Val::Int(text.len() as i64)),
        Val::List(values) => Ok(Val::Int(values.len() as i64)),
        Val::Map(map) => Ok(Val::Int(map.len() as i64)),
        Val::Nil | Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::Time(_) | Val::Struct(_) | Val::Sample(_) => {
            Err(Stop::Error(format!("len of type {}", value.type_name())))
        }
    }
}

fn index(value: &Val, key: &Val) -> Result<Val, String> {
    match (value, key) {
        (Val::Map(_), Val::Str(name)) => value.field(name),
        (Val::List(values), Val::Int(at)) => {
            usize::try_from(*at).ok().and_then(|at| values.get(at)).cloned().ok_or_else(|| format!("index out of range: {at}"))
        }
        _ => Err(format!("can't index item of type {} with {}", value.type_name(), key.type_name())),
    }
}

/// `x[from:to]`, in bytes of a text.
fn slice(value: &Val, bounds: &[Val]) -> Result<Val, String> {
    let length = match value {
        Val::Str(text) => text.len(),
        Val::List(values) => values.len(),
        _ => return Err(format!("can't slice item of type {}", value.type_name())),
    };
    let place = |at: usize, otherwise: usize| match bounds.get(at) {
        None => Ok(otherwise),
        Some(Val::Int(at)) => usize::try_from(*at).ok().filter(|at| *at <= length).ok_or_else(|| format!("index out of range: {at}")),
        Some(other) => Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let (from, to) = (place(0, 0)?, place(1, length)?);
    if bounds.len() > 2 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match value {
        Val::Str(text) => Val::Str(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned()),
        Val::List(values) => Val::List(values[from..to].to_vec()),
        other => other.clone(),
    })
}

/// Go compares only values of one basic kind; integers and floats are compared here too, because `gt $value 5` can mean one thing only.
fn compare(left: &Val, right: &Val) -> Result<Option<Ordering>, Stop> {
    match (left, right) {
        (Val::Int(a), Val::Int(b)) => Ok(Some(a.cmp(b))),
        (Val::Float(_) | Val::Int(_), Val::Float(_) | Val::Int(_)) => Ok(left.number()?.partial_cmp(&right.number()?)),
        (Val::Str(a), Val::Str(b)) => Ok(Some(a.cmp(b))),
        (Val::Bool(a), Val::Bool(b)) => Ok(Some(a.cmp(b))),
        (Val::Time(a), Val::Time(b)) => Ok(Some(a.cmp(b))),
        (Val::Nil, Val::Nil) => Ok(Some(Ordering::Equal)),
        _ => Err(Stop::Error("incompatible types for comparison".to_owned())),
    }
}

fn moment(seconds: f64) -> Result<Val, String> {
    number::to_millis(seconds).map(Val::Time).ok_or_else(|| format!("{} is no time", number::format_float(seconds)))
}

fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(&model::re2::translate(pattern)).map_err(|_| format!("{pattern:?} is not a regular expression (RE2 syntax)"))
}

/// Go's `strings.Title`: the first letter of every word.
fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .flat_map(|c| {
            let first = std::mem::replace(&mut start, !c.is_alphanumeric() && c != '_' && (c.is_ascii() || c.is_whitespace()));
            let letters: Vec<char> = if first { c.to_uppercase().collect() } else { vec![c] };
            letters
        })
        .collect()
}

/// `host:9100` -> `host`, `[::1]:9100` -> `::1`; anything else as it is.
fn strip_port(address: &str) -> &str {
    if let Some((host, rest)) = address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return if rest.starts_with(':') { host } else { address };
    }
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        Some(_) | None => address,
    }
}

/// `web1.example.com:80` -> `web1:80`; addresses stay.
fn strip_domain(address: &str) -> String {
    let host = strip_port(address);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return address.to_owned();
    }
    let port = address.strip_prefix(host).unwrap_or("");
    format!("{}{port}", host.split('.').next().unwrap_or(host))
}

fn escape_query(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn escape_js(text: &str) -> String {
    let one = |c: char| match c {
        '\\' | '\'' | '"' => format!("\\{c}"),
        '<' | '>' | '&' | '=' => format!("\\u{:04X}", c as u32),
        c if c.is_control() => format!("\\u{:04X}", c as u32),
        c => c.to_string(),
    };
    text.chars().map(one).collect()
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('\'', "&#39;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}
