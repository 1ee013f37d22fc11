//! Test scripts in the language of Prometheus's `promqltest` (documented there), for our own scripts beside this file and, with
//! `PROMQL_SCRIPTS=<folder>`, for whatever `*.test` files lie in a folder (`PROMQL_CLOSED=1`: they were written for Prometheus 2, whose
//! ranges and lookback are closed on both sides: each is asked 1 ms longer).
//!
//! ```text
//! load 1m
//!   h {{schema:0 sum:5 count:4 buckets:[1 2 1]}}+{{sum:1 count:1 buckets:[1]}}x5
//! eval instant at 5m histogram_count(h)
//!   expect no_warn
//!   {} 9
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::labels::Labels;
use model::query::{Answer, HistogramValue, MetricQuery, QueryError, QueryOptions, QueryValue};
use model::tenant::TenantId;
use model::time::Timestamp;
use store::promql::memory::MemorySource;
use store::promql::native::{CUSTOM_SCHEMA, Histogram};
use store::promql::source::{NativePoint, Samples, SeriesKind, Temporality};
use store::promql::value::ABSENT;
use store::promql::{PromQl, parse};

use super::harness::{equal, millis};

#[tokio::test]
async fn our_scripts_pass() {
    for (name, script) in [
        ("native.test", include_str!("scripts/native.test")),
        ("custom.test", include_str!("scripts/custom.test")),
        ("language.test", include_str!("scripts/language.test")),
    ] {
        let report = run(script).await;
        assert!(report.failures.is_empty(), "{name}: {} of {}:\n{}", report.failures.len(), report.ran, report.failures.join("\n"));
        assert!(report.ran > 20, "{name}: {} cases", report.ran);
    }
}

#[tokio::test]
async fn scripts_of_a_folder_are_reported() {
    let Some(folder) = std::env::var_os("PROMQL_SCRIPTS") else { return };
    let mut paths: Vec<_> = std::fs::read_dir(Path::new(&folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|kind| kind == "test")) {
        let report = run(&std::fs::read_to_string(path).unwrap()).await;
        println!("{}: {} of {}", path.file_name().unwrap().display(), report.ran - report.failures.len(), report.ran);
        report.failures.iter().for_each(|failure| println!("  {failure}"));
    }
}

/// What became of a script.
struct Report {
    ran: usize,
    failures: Vec<String>,
}

async fn run(script: &str) -> Report {
    let lines: Vec<&str> = script.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let (mut source, mut at) = (Arc::new(MemorySource::new()), 0);
    let mut report = Report { ran: 0, failures: Vec::new() };
    while at < lines.len() {
        let head = lines[at];
        at += 1;
        if head.is_empty() {
            continue;
        }
        let body: Vec<&str> = lines[at..].iter().copied().take_while(|line| !line.is_empty()).collect();
        if head == "clear" {
            source = Arc::new(MemorySource::new());
        } else if let Some(step) = head.strip_prefix("load ") {
            at += body.len();
            body.iter().for_each(|line| load(&source, millis(step.trim()), line));
        } else if head.starts_with("eval") {
            let body: Vec<&str> =
                body.into_iter().take_while(|line| !line.starts_with("eval") && *line != "clear" && !line.starts_with("load ")).collect();
            at += body.len();
            report.ran += 1;
            if let Err(why) = case(&source, head, &body).await {
                report.failures.push(format!("{at}: {head}: {why}"));
            }
        }
    }
    report
}

/// A number, a histogram, or a marker.
#[derive(Clone, Debug)]
enum Sample {
    None,
    Number(f64),
    Histogram(Histogram),
}

fn number(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "stale" => Some(ABSENT),
        "inf" | "+inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        "nan" => Some(f64::NAN),
        other => other.parse().ok(),
    }
}

/// `{{...}}`: keys as in Prometheus's test language.
fn histogram(text: &str) -> Histogram {
    let mut out = Histogram::empty(0, None);
    let (mut offset, mut n_offset) = (0, 0);
    let (mut positive, mut negative, mut custom) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').unwrap_or_else(|| panic!("no key: {rest}"));
        let (value, next) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']').unwrap(),
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        let list = || value.split_whitespace().map(|one| number(one).unwrap()).collect::<Vec<f64>>();
        match key.trim() {
            "schema" => out.schema = value.parse().unwrap(),
            "sum" => out.sum = number(value).unwrap(),
            "count" => out.count = number(value).unwrap(),
            "z_bucket" => out.zero_count = number(value).unwrap(),
            "z_bucket_w" => out.zero_threshold = number(value).unwrap(),
            "offset" => offset = value.parse().unwrap(),
            "n_offset" => n_offset = value.parse().unwrap(),
            "buckets" => positive = list(),
            "n_buckets" => negative = list(),
            "counter_reset_hint" => out.gauge = value == "gauge",
            "custom_values" => custom = list(),
            other => panic!("unknown key {other}"),
        }
        rest = next.trim();
    }
    let buckets = |offset: i32, counts: Vec<f64>| (offset..).zip(counts).filter(|(_, count)| *count != 0.0).collect();
    out.positive = buckets(offset, positive);
    out.negative = buckets(n_offset, negative);
    out.custom = (out.schema == CUSTOM_SCHEMA).then(|| Arc::from(custom));
    out
}

/// The samples of the text after a series.
fn samples(text: &str) -> Vec<Sample> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("{{") {
            let (inside, after) = after.split_once("}}").unwrap();
            let first = histogram(inside);
            let (sign, by, after) = match (after.strip_prefix("+{{"), after.strip_prefix("-{{")) {
                (Some(more), _) => more.split_once("}}").map(|(by, after)| (1.0, Some(histogram(by)), after)).unwrap(),
                (None, Some(more)) => more.split_once("}}").map(|(by, after)| (-1.0, Some(histogram(by)), after)).unwrap(),
                (None, None) => (1.0, None, after),
            };
            let (times, next) = match after.strip_prefix('x') {
                Some(more) => more.split_once(' ').map_or((more, ""), |pair| pair),
                None => ("0", after),
            };
            let mut now = first;
            for index in 0..=times.trim().parse::<usize>().unwrap() {
                if let (true, Some(by)) = (index > 0, &by) {
                    let gauge = now.gauge;
                    let mut step = by.clone();
                    step.scale(sign);
                    now.add(&step).unwrap();
                    now.gauge = gauge;
                }
                out.push(Sample::Histogram(now.clone()));
            }
            rest = next.trim();
            continue;
        }
        let (token, next) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = next.trim();
        let repeated = token.rsplit_once('x').and_then(|(head, times)| Some((head, times.parse::<usize>().ok()?)));
        if let (None, Some(value)) = (repeated, number(token)) {
            out.push(Sample::Number(value));
            continue;
        }
        let (head, times) = repeated.unwrap_or((token, 0));
        if head == "_" {
            out.extend(vec![Sample::None; times.max(1)]);
            continue;
        }
        let sign = head[1..]
            .char_indices()
            .map(|(at, c)| (at + 1, c))
            .find(|(at, c)| matches!(c, '+' | '-') && !head[..*at].ends_with(['e', 'E']));
        let (first, by) = sign.map_or((head, 0.0), |(at, _)| (&head[..at], number(&head[at..]).unwrap()));
        let first = number(first).unwrap_or_else(|| panic!("no number: {token}"));
        out.extend((0..=times).map(|index| Sample::Number(first + by * index as f64)));
    }
    out
}

/// The label set of a series and the rest of the line; `None` where the line starts with no series.
fn series(line: &str) -> Option<(Labels, &str)> {
    let open = line.find('{').filter(|at| !line[*at..].starts_with("{{") && !line[..*at].contains(char::is_whitespace));
    let end = match open {
        Some(open) => {
            let (mut quoted, mut escaped) = (false, false);
            let close = line[open..].char_indices().find(|(_, c)| {
                let here = *c == '}' && !quoted;
                quoted ^= *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                here
            });
            open + close.unwrap().0 + 1
        }
        None => line.find(char::is_whitespace)?,
    };
    let text = &line[..end];
    if text == "{}" {
        return Some((Labels::empty(), line[end..].trim()));
    }
    // A name such as `nan` is a number to the parser.
    let matchers = parse::selector(text)
        .or_else(|_| parse::selector(&format!("{{__name__={text:?}}}")))
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    Some((matchers.iter().map(|matcher| (matcher.name.clone(), matcher.value.clone())).collect(), line[end..].trim()))
}

fn load(source: &MemorySource, step: i64, line: &str) {
    let Some((labels, rest)) = series(line) else { panic!("no series: {line}") };
    let (mut numbers, mut natives) = (Samples::default(), Vec::new());
    for (index, sample) in samples(rest).into_iter().enumerate() {
        let at = step * index as i64;
        match sample {
            Sample::None => {}
            Sample::Number(value) => {
                numbers.times.push(at);
                numbers.values.push(value);
            }
            Sample::Histogram(histogram) => natives.push(NativePoint { at, histogram: Some(Arc::new(histogram)) }),
        }
    }
    let tenant = TenantId::default();
    if !natives.is_empty() {
        source.add_native(&tenant, &labels, Temporality::Cumulative, natives);
    }
    if !numbers.times.is_empty() {
        source.add(&tenant, &labels, SeriesKind::Untyped, Temporality::Cumulative, &numbers);
    }
}

/// What a case expects beside values.
#[derive(Default)]
struct Expect {
    fail: bool,
    ordered: bool,
    warn: bool,
    info: bool,
    no_warn: bool,
    no_info: bool,
    messages: Vec<String>,
    text: Option<String>,
}

fn expectations<'l>(kind: &str, body: &[&'l str]) -> (Expect, Vec<&'l str>) {
    let mut expect =
        Expect { fail: kind == "fail", ordered: kind == "ordered", warn: kind == "warn", info: kind == "info", ..Expect::default() };
    let mut lines = Vec::new();
    for line in body {
        if let Some(rest) = line.strip_prefix("expect ") {
            let (what, detail) = rest.split_once(' ').unwrap_or((rest, ""));
            match what {
                "fail" => expect.fail = true,
                "ordered" => expect.ordered = true,
                "warn" => expect.warn = true,
                "info" => expect.info = true,
                "no_warn" => expect.no_warn = true,
                "no_info" => expect.no_info = true,
                "string" => expect.text = Some(detail.trim().to_owned()),
                _ => {}
            }
            if let (Some(message), true) = (detail.strip_prefix("msg:"), matches!(what, "fail" | "warn" | "info")) {
                expect.messages.push(message.trim().to_owned());
            }
        } else if let Some(message) = line.strip_prefix("expected_fail_message ") {
            expect.messages.push(message.trim().to_owned());
        } else if !line.starts_with("expected_fail_regexp") {
            lines.push(*line);
        }
    }
    (expect, lines)
}

fn check_notes(expect: &Expect, answer: &Answer) -> Result<(), String> {
    let (warnings, infos) = (&answer.warnings, &answer.infos);
    let wrong = (expect.warn && warnings.is_empty())
        || (expect.info && infos.is_empty())
        || (expect.no_warn && !warnings.is_empty())
        || (expect.no_info && !infos.is_empty());
    let said = |message: &String| warnings.iter().chain(infos).any(|text| text.contains(message.as_str()));
    if wrong || !expect.messages.iter().all(said) {
        return Err(format!("annotations {warnings:?} {infos:?}"));
    }
    Ok(())
}

/// A series with its values at the steps.
type Found = (Labels, Vec<Option<Shown>>);

#[derive(Clone, Debug)]
enum Shown {
    Number(f64),
    Histogram(HistogramValue),
}

fn found(answer: &Answer, times: &[i64]) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    let mut put = |labels: &Labels, at: i64, value: Shown| {
        let step = times.iter().position(|time| *time == at).unwrap();
        let place = all.iter().position(|(known, _)| known == labels).unwrap_or_else(|| {
            all.push((labels.clone(), vec![None; times.len()]));
            all.len() - 1
        });
        all[place].1[step] = Some(value);
    };
    match &answer.value {
        QueryValue::Scalar(sample) => put(&Labels::empty(), sample.at.millis(), Shown::Number(sample.value)),
        QueryValue::Text(..) => {}
        QueryValue::Vector(samples) => samples.iter().for_each(|(labels, s)| put(labels, s.at.millis(), Shown::Number(s.value))),
        QueryValue::Matrix(series) => {
            for one in series {
                one.samples.iter().for_each(|s| put(&one.labels, s.at.millis(), Shown::Number(s.value)));
            }
        }
    }
    for one in &answer.histograms {
        one.samples.iter().for_each(|(at, value)| put(&one.labels, at.millis(), Shown::Histogram(HistogramValue::clone(value))));
    }
    all
}

fn same(expected: &Sample, found: &Option<Shown>, tolerance: f64) -> bool {
    let close = |a: f64, b: f64| equal(a, b, tolerance);
    match (expected, found) {
        (Sample::None, None) => true,
        (Sample::Number(a), Some(Shown::Number(b))) => close(*a, *b),
        (Sample::Histogram(a), Some(Shown::Histogram(b))) => {
            let a = a.shown();
            close(a.count, b.count)
                && close(a.sum, b.sum)
                && a.buckets.len() == b.buckets.len()
                && a.buckets
                    .iter()
                    .zip(&b.buckets)
                    .all(|(a, b)| a.edges == b.edges && close(a.lower, b.lower) && close(a.upper, b.upper) && close(a.count, b.count))
        }
        (Sample::None | Sample::Number(_) | Sample::Histogram(_), _) => false,
    }
}

/// `eval[_kind] instant at T E` or `eval[_kind] range from A to B step C E`.
async fn case(source: &Arc<MemorySource>, head: &str, body: &[&str]) -> Result<(), String> {
    let (eval, rest) = head.split_once(' ').unwrap();
    let (expect, lines) = expectations(eval.strip_prefix("eval_").unwrap_or(""), body);
    let promql = PromQl::new(source.clone());
    let (tenant, mut options) = (TenantId::default(), QueryOptions::default());
    let mut rest = rest.trim().to_owned();
    let closed = std::env::var_os("PROMQL_CLOSED").is_some();
    if closed {
        options.lookback += Duration::from_millis(1);
        rest = regex::Regex::new(r"\[([0-9][0-9a-z]*)").unwrap().replace_all(&rest, "[${1}1ms").into_owned();
    }
    let rest = rest.as_str();
    let (times, answer): (Vec<i64>, Result<Answer, QueryError>) = if let Some(rest) = rest.strip_prefix("instant at ") {
        let (at, expr) = rest.trim().split_once(char::is_whitespace).unwrap();
        let at = millis(at);
        (vec![at], promql.instant(&tenant, expr.trim(), Timestamp::from_millis(at), &options).await)
    } else if let Some(rest) = rest.strip_prefix("range from ") {
        let words: Vec<&str> = rest.splitn(6, ' ').collect();
        let [start, "to", end, "step", step, expr] = words[..] else { return Err("no range".to_owned()) };
        let (start, end, step) = (millis(start), millis(end), millis(step));
        let times = (0..).map(|index| start + index * step).take_while(|at| *at <= end).collect();
        let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
        (times, promql.range(&tenant, expr, start, end, Duration::from_millis(step as u64), &options).await)
    } else {
        return Err("no case".to_owned());
    };
    let answer = match (answer, expect.fail) {
        (Err(error), true) => {
            let text = error.to_string();
            return expect.messages.iter().all(|message| text.contains(message)).then_some(()).ok_or(format!("fails with {text}"));
        }
        (Err(error), false) => return Err(error.to_string()),
        (Ok(answer), true) => return Err(format!("no failure: {:?}", answer.value)),
        (Ok(answer), false) => answer,
    };
    check_notes(&expect, &answer)?;
    if let Some(text) = &expect.text {
        return match &answer.value {
            QueryValue::Text(_, found) if format!("{found:?}") == *text || format!("`{found}`") == *text => Ok(()),
            other => Err(format!("{other:?}")),
        };
    }
    if lines.iter().any(|line| line.starts_with('"')) {
        return Ok(());
    }
    let found = found(&answer, &times);
    let expected: Vec<(Labels, Vec<Sample>)> = lines
        .iter()
        .map(|line| series(line).map_or_else(|| (Labels::empty(), samples(line)), |(labels, rest)| (labels, samples(rest))))
        .collect();
    let fits = expected.len() == found.len()
        && expected.iter().enumerate().all(|(index, (labels, samples))| {
            let here = if expect.ordered {
                found.get(index).filter(|(known, _)| known == labels)
            } else {
                found.iter().find(|(known, _)| known == labels)
            };
            here.is_some_and(|(_, values)| {
                (0..times.len())
                    .all(|step| same(samples.get(step).unwrap_or(&Sample::None), &values[step], if closed { 1e-4 } else { 1e-6 }))
            })
        });
    if fits { Ok(()) } else { Err(format!("\n    found {found:?}\n expected {expected:?}")) }
}
