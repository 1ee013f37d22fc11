//! A small language for tables of cases:
//!
//! ```text
//! load 10s
//!   requests_total{job="api"} 0+1x10     # eleven values: 0 1 2 ... 10
//!   gone 1 2 _ stale NaN 5x2             # `_` none, `stale` a marker, `5x2` three times 5
//! at 50s: sum(requests_total)            # an instant query, then what it gives
//!   {} 5
//! range 0s 30s 10s: requests_total       # start, end, step
//!   requests_total{job="api"} 0 1 2 3
//! fail 0s: sum(                          # `~` and a part of the message
//!   ~ unclosed
//! clear
//! ```
//!
//! An instant query that gives nothing has no lines. `ordered 50s: ...` looks at the order too. `warn`/`info` lines name a part of an
//! annotation. A scalar is a bare number, a text is quoted.

use std::sync::Arc;
use std::time::Duration;

use model::labels::Labels;
use model::query::{Answer, MetricQuery, QueryOptions, QueryValue, Series};
use model::tenant::TenantId;
use model::time::{Span, Timestamp};
use model::units::Value;
use store::promql::PromQl;
use store::promql::memory::MemorySource;
use store::promql::source::{Samples, SeriesKind, Temporality};
use store::promql::value::ABSENT;

/// Runs a script.
pub async fn run(script: &str) {
    let mut source = Arc::new(MemorySource::new());
    let lines: Vec<&str> = script.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#')).collect();
    let (mut at, mut ran) = (0, 0);
    let mut failures = Vec::new();
    while at < lines.len() {
        let head = lines[at].trim();
        let body: Vec<&str> = lines[at + 1..].iter().take_while(|line| line.starts_with("  ")).map(|line| line.trim()).collect();
        at += 1 + body.len();
        if head == "clear" {
            source = Arc::new(MemorySource::new());
        } else if let Some(step) = head.strip_prefix("load ") {
            body.iter().for_each(|line| load(&source, millis(step), line));
        } else {
            ran += 1;
            if let Err(failure) = case(&source, head, &body).await {
                failures.push(failure);
            }
        }
    }
    assert!(ran > 0, "the script has no case");
    assert!(failures.is_empty(), "{} of {ran} cases:\n{}", failures.len(), failures.join("\n"));
}

/// Milliseconds of `5m`, `-1m` or `0`.
pub fn millis(text: &str) -> i64 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let digits = if digits == "0s" { "0" } else { digits };
    sign * i64::try_from(digits.parse::<Span>().unwrap_or_else(|_| panic!("no duration: {text}")).0.as_millis()).unwrap()
}

/// `name{a="b"}` or `{a="b"}`.
pub fn labels(text: &str) -> Labels {
    let (name, rest) = text.split_once('{').unwrap_or((text, "}"));
    let inner = rest.strip_suffix('}').unwrap_or_else(|| panic!("no labels: {text}"));
    let pairs = inner.split("\",").filter(|pair| !pair.trim().is_empty()).map(|pair| {
        let (name, value) = pair.trim().split_once("=\"").unwrap_or_else(|| panic!("no label: {pair} in {text}"));
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    });
    pairs.collect::<Labels>().with("__name__", name)
}

/// The labels and the rest of a line.
fn split_labels(line: &str) -> (&str, &str) {
    let end = match line.find('{') {
        Some(_) => line.rfind('}').map_or(line.len(), |end| end + 1),
        None => line.find(' ').unwrap_or(line.len()),
    };
    (&line[..end], line[end..].trim())
}

fn number(text: &str) -> f64 {
    match text {
        "stale" => ABSENT,
        "Inf" => f64::INFINITY,
        other => other.parse::<Value>().unwrap_or_else(|_| panic!("no number: {text}")).0,
    }
}

/// The values of one token; `None` is no sample.
fn values(token: &str) -> Vec<Option<f64>> {
    let Some((head, times)) = token.rsplit_once('x').filter(|(_, times)| times.bytes().all(|b| b.is_ascii_digit())) else {
        return vec![if token == "_" { None } else { Some(number(token)) }];
    };
    let times: usize = times.parse().unwrap();
    if head == "_" {
        return vec![None; times];
    }
    let sign = head[1..].find(['+', '-']).filter(|at| !head[..=*at].ends_with('e')).map(|at| at + 1);
    let (first, by) = sign.map_or((head, "0"), |at| head.split_at(at));
    (0..=times).map(|index| Some(number(first) + number(by.trim_start_matches('+')) * index as f64)).collect()
}

fn load(source: &MemorySource, step: i64, line: &str) {
    let line = line.split(" #").next().unwrap();
    let (series, rest) = split_labels(line);
    let mut samples = Samples::default();
    for (index, value) in rest.split_whitespace().flat_map(values).enumerate() {
        if let Some(value) = value {
            samples.times.push(step * index as i64);
            samples.values.push(value);
        }
    }
    let labels = labels(series);
    let kind = if labels.get("__name__").unwrap_or("").ends_with("_total") { SeriesKind::Counter } else { SeriesKind::Untyped };
    source.add(&TenantId::default(), &labels, kind, Temporality::Cumulative, &samples);
}

async fn case(source: &Arc<MemorySource>, head: &str, body: &[&str]) -> Result<(), String> {
    let (how, expr) = head.split_once(": ").unwrap_or_else(|| panic!("no case: {head}"));
    let words: Vec<&str> = how.split_whitespace().collect();
    let promql = PromQl::new(source.clone());
    let (tenant, options) = (TenantId::default(), QueryOptions::default());
    let (notes, expected): (Vec<&str>, Vec<&str>) =
        body.iter().partition(|line| line.starts_with("warn ") || line.starts_with("info ") || line.starts_with("quiet"));
    let mut steps = None;
    let answer = match words[..] {
        ["at" | "ordered" | "fail", at] => promql.instant(&tenant, expr, Timestamp::from_millis(millis(at)), &options).await,
        ["range" | "fail", start, end, step] => {
            let (start, end, step) = (millis(start), millis(end), millis(step));
            steps = Some((0..).map(|index| start + index * step.max(1)).take_while(|at| *at <= end).collect::<Vec<i64>>());
            let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
            promql.range(&tenant, expr, start, end, Duration::from_millis(step as u64), &options).await
        }
        _ => panic!("no case: {head}"),
    };
    if words[0] == "fail" {
        let message = match answer {
            Err(error) => error.to_string(),
            Ok(answer) => return Err(format!("{head}: expected a failure, got {answer:?}")),
        };
        for line in expected {
            let part = line.strip_prefix("~ ").unwrap_or_else(|| panic!("{head}: `~ message` expected"));
            if !message.contains(part) {
                return Err(format!("{head}: {message:?} does not contain {part:?}"));
            }
        }
        return Ok(());
    }
    let answer = answer.map_err(|error| format!("{head}: {error}"))?;
    check_notes(head, &notes, &answer)?;
    let mut found = lines(&answer.value, steps);
    let mut expected: Vec<Line> = expected.iter().map(|line| expected_line(line)).collect();
    if words[0] != "ordered" {
        found.sort_by(|a, b| a.0.cmp(&b.0));
        expected.sort_by(|a, b| a.0.cmp(&b.0));
    }
    if same(&found, &expected) { Ok(()) } else { Err(format!("{head}\n   found {found:?}\nexpected {expected:?}")) }
}

fn check_notes(head: &str, notes: &[&str], answer: &Answer) -> Result<(), String> {
    for note in notes {
        let (kind, part) = note.split_once(' ').unwrap_or((note, ""));
        let fits = match kind {
            "quiet" => answer.warnings.is_empty() && answer.infos.is_empty(),
            "warn" => answer.warnings.iter().any(|text| text.contains(part)),
            _ => answer.infos.iter().any(|text| text.contains(part)),
        };
        if !fits {
            return Err(format!("{head}: {note:?} expected, found {:?} {:?}", answer.warnings, answer.infos));
        }
    }
    Ok(())
}

/// A series as text (or the scalar or text itself) and its values; `None` is no value.
type Line = (String, Vec<Option<f64>>);

fn expected_line(line: &str) -> Line {
    if line.starts_with('"') {
        return (line.to_owned(), Vec::new());
    }
    let scalar = !line.contains('{') && line.split_whitespace().count() == 1;
    let (series, rest) = if scalar { ("", line) } else { split_labels(line) };
    let values = rest.split_whitespace().flat_map(values).collect();
    (if scalar { "scalar".to_owned() } else { labels(series).to_string() }, values)
}

/// One value per step; `None` where the series has none.
fn series_line(series: &Series, times: &[i64]) -> Line {
    let value = |at: &i64| series.samples.iter().find(|sample| sample.at.millis() == *at).map(|sample| sample.value);
    (series.labels.to_string(), times.iter().map(value).collect())
}

fn lines(value: &QueryValue, steps: Option<Vec<i64>>) -> Vec<Line> {
    match value {
        QueryValue::Scalar(sample) => vec![("scalar".to_owned(), vec![Some(sample.value)])],
        QueryValue::Text(_, text) => vec![(format!("{text:?}"), Vec::new())],
        QueryValue::Vector(all) => all.iter().map(|(labels, sample)| (labels.to_string(), vec![Some(sample.value)])).collect(),
        QueryValue::Matrix(all) => {
            let times = steps.unwrap_or_else(|| {
                let mut times: Vec<i64> = all.iter().flat_map(|series| series.samples.iter().map(|sample| sample.at.millis())).collect();
                times.sort_unstable();
                times.dedup();
                times
            });
            all.iter().map(|series| series_line(series, &times)).collect()
        }
    }
}

fn same(found: &[Line], expected: &[Line]) -> bool {
    let close = |a: &Option<f64>, b: &Option<f64>| match (a, b) {
        (Some(a), Some(b)) => equal(*a, *b, 1e-9),
        (None, None) => true,
        _ => false,
    };
    let trim = |values: &[Option<f64>]| values.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(a, b)| {
            let (a_len, b_len) = (trim(&a.1), trim(&b.1));
            a.0 == b.0 && a_len == b_len && a.1[..a_len].iter().zip(&b.1[..b_len]).all(|(a, b)| close(a, b))
        })
}

/// Equal within a relative tolerance; NaN equals NaN.
pub fn equal(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1e-9)
}
