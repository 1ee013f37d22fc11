//! Prometheus's notation for series in tests: `up{job="api"}` and `1+2x3 _ stale {{schema:0 count:2 sum:3 buckets:[1 1]}}x4`, histograms also
//! with custom buckets: `{{schema:-53 count:2 sum:9 custom_values:[5 10] buckets:[1 1]}}`. In: text.
//! Out: labels, samples. Pure; fails with one sentence.

use std::sync::Arc;

use model::labels::{Labels, METRIC_NAME, MatchOp};
use store::promql::native::{Buckets, CUSTOM_SCHEMA, Histogram, MAX_SCHEMA, MIN_SCHEMA};
use store::promql::parse;
use store::promql::value::ABSENT;

/// The most samples that one series may have: a typing error such as `1x1000000000` must not fill the memory.
const MOST_SAMPLES: usize = 5_000_000;

/// One place in a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// No sample.
    Blank,
    /// A number; a staleness marker is one with the bits of [`ABSENT`].
    Number(f64),
    /// A native histogram.
    Histogram(Box<Histogram>),
}

/// A label set as tests write it: `name{label="value"}`, `{label="value"}`, `{}`.
pub fn labels(text: &str) -> Result<Labels, String> {
    let text = text.trim();
    if text.is_empty() || text == "{}" {
        return Ok(Labels::empty());
    }
    // A name such as `nan` is a number to the parser of expressions.
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
    let plain = plain && !text.starts_with(|c: char| c.is_ascii_digit());
    if plain {
        return Ok([(METRIC_NAME, text)].into_iter().collect());
    }
    let wrong = |why: &str| format!("`{text}` is no label set such as up{{job=\"api\"}}: {why}");
    let matchers = match parse::selector(text) {
        Ok(matchers) => matchers,
        // Selectors must match something; label sets need not.
        Err(error) => parse::selector(&padded(text)).map_err(|_| wrong(&error.to_string()))?,
    };
    let mut labels = Labels::empty();
    for matcher in matchers.iter().filter(|matcher| matcher.name != PADDING) {
        if matcher.op != MatchOp::Equal {
            return Err(wrong("only `=` may stand between a label and its value"));
        }
        labels.set(&matcher.name, &matcher.value);
    }
    Ok(labels)
}

const PADDING: &str = "__padding__";

/// The same with one more label, for sets whose values are all empty.
fn padded(text: &str) -> String {
    match text.find('{') {
        Some(open) => format!("{}{{{PADDING}=\"1\",{}", &text[..open], &text[open + 1..]),
        None => text.to_owned(),
    }
}

fn number(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "stale" => Some(ABSENT),
        "inf" | "+inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        "nan" => Some(f64::NAN),
        other if other.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | '+' | '-')) => other.parse().ok(),
        _ => None,
    }
}

/// How often something is repeated: `x4`, or not at all.
fn times(text: &str) -> Result<(Option<usize>, &str), String> {
    let Some(rest) = text.strip_prefix('x') else { return Ok((None, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let count: usize = rest[..end].parse().map_err(|_| format!("`{text}`: after x stands how often, for example x10"))?;
    if count > MOST_SAMPLES {
        return Err(format!("x{count} would be more than {MOST_SAMPLES} samples: shorten the series or lengthen the interval"));
    }
    Ok((Some(count), &rest[end..]))
}

/// The samples of a series.
pub fn points(text: &str) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        rest = match rest.strip_prefix("{{") {
            Some(inside) => histograms(inside, &mut points)?,
            None => {
                let (token, next) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                numbers(token, &mut points)?;
                next
            }
        }
        .trim_start();
        if points.len() > MOST_SAMPLES {
            return Err(format!("the series has more than {MOST_SAMPLES} samples: shorten it or lengthen the interval"));
        }
    }
    Ok(points)
}

fn numbers(token: &str, points: &mut Vec<Point>) -> Result<(), String> {
    let wrong = || format!("`{token}` is no sample: write a number, a+bxn, a-bxn, axn, _, _xn or stale");
    if let Some(value) = number(token) {
        points.push(Point::Number(value));
        return Ok(());
    }
    let (head, count) = match token.split_once('x') {
        Some(("", _)) => return Err(wrong()),
        Some((head, _)) => (head, times(&token[head.len()..])?),
        None => (token, (None, "")),
    };
    let (count, "") = count else { return Err(wrong()) };
    if head == "_" {
        points.extend(std::iter::repeat_n(Point::Blank, count.unwrap_or(1)));
        return Ok(());
    }
    let count = count.ok_or_else(wrong)?;
    let sign = head.char_indices().skip(1).find(|(at, c)| matches!(c, '+' | '-') && !head[..*at].ends_with(['e', 'E']));
    let (first, step) = match sign {
        Some((at, _)) => (number(&head[..at]), number(&head[at..])),
        None => (number(head), Some(0.0)),
    };
    let (mut value, step) = first.zip(step).ok_or_else(wrong)?;
    for _ in 0..=count {
        points.push(Point::Number(value));
        // Added up, as Prometheus does: the rounding is the same.
        if sign.is_some() {
            value += step;
        }
    }
    Ok(())
}

/// `{{...}}`, `{{...}}xn`, `{{...}}+{{...}}xn`; gives back what follows.
fn histograms<'a>(inside: &'a str, points: &mut Vec<Point>) -> Result<&'a str, String> {
    let open = "a histogram begins with {{ and ends with }}";
    let (first, rest) = inside.split_once("}}").ok_or(open)?;
    let mut now = histogram(first)?;
    let (sign, step, rest) = match (rest.strip_prefix("+{{"), rest.strip_prefix("-{{")) {
        (Some(more), _) => more.split_once("}}").ok_or(open).map(|(step, rest)| (1.0, Some(step), rest))?,
        (None, Some(more)) => more.split_once("}}").ok_or(open).map(|(step, rest)| (-1.0, Some(step), rest))?,
        (None, None) => (1.0, None, rest),
    };
    let step = step.map(histogram).transpose()?;
    let (count, rest) = times(rest)?;
    if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
        return Err(format!("`{rest}` stands right behind a histogram: separate samples by spaces"));
    }
    for index in 0..=count.unwrap_or(0) {
        if let (true, Some(step)) = (index > 0, &step) {
            let gauge = now.gauge;
            let mut by = step.clone();
            by.scale(sign);
            now.add(&by).map_err(|error| format!("a histogram cannot grow by one of another schema: {error}"))?;
            now.gauge = gauge;
        }
        points.push(Point::Histogram(Box::new(now.clone())));
    }
    Ok(rest)
}

/// A native histogram as tests write it, without the braces: `schema:0 count:2 sum:3 buckets:[1 1]`.
pub fn histogram(text: &str) -> Result<Histogram, String> {
    let (schema, positive, negative) = (0, Buckets::new(), Buckets::new());
    let mut out =
        Histogram { schema, custom: None, zero_threshold: 0.0, zero_count: 0.0, count: 0.0, sum: 0.0, positive, negative, gauge: false };
    let (mut offset, mut n_offset) = (0i32, 0i32);
    let (mut positive, mut negative, mut custom) = (Vec::new(), Vec::new(), None);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(|| format!("`{rest}`: a histogram holds pairs such as count:2"))?;
        let (value, next) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']').ok_or_else(|| format!("the list of `{key}` has no ]"))?,
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        let key = key.trim();
        let float = || number(value).ok_or_else(|| format!("`{value}` is no number for `{key}` of a histogram"));
        let whole = || value.parse::<i32>().map_err(|_| format!("`{value}` is no whole number for `{key}` of a histogram"));
        let list = || {
            let wrong = || format!("`{key}` of a histogram is a list of numbers such as [1 2]");
            value.split_whitespace().map(|one| number(one).ok_or_else(wrong)).collect::<Result<Vec<f64>, String>>()
        };
        match key {
            "schema" => out.schema = whole()?,
            "sum" => out.sum = float()?,
            "count" => out.count = float()?,
            "z_bucket" => out.zero_count = float()?,
            "z_bucket_w" => out.zero_threshold = float()?,
            "offset" => offset = whole()?,
            "n_offset" => n_offset = whole()?,
            "buckets" => positive = list()?,
            "n_buckets" => negative = list()?,
            "custom_values" => custom = Some(list()?),
            "counter_reset_hint" => out.gauge = value == "gauge",
            other => return Err(format!("`{other}` is no key of a histogram that Watchfire knows: remove it")),
        }
        rest = next.trim_start();
    }
    let buckets = |offset: i32, counts: Vec<f64>| (offset..).zip(counts).filter(|(_, count)| *count != 0.0).collect();
    out.positive = buckets(offset, positive);
    out.negative = buckets(n_offset, negative);
    checked(out, custom)
}

/// With its custom bounds, which it has if its schema says so.
fn checked(mut histogram: Histogram, custom: Option<Vec<f64>>) -> Result<Histogram, String> {
    let schema = histogram.schema;
    match custom {
        _ if schema == CUSTOM_SCHEMA => {}
        Some(_) => return Err(format!("custom_values of a histogram belong to schema {CUSTOM_SCHEMA}, not to schema {schema}")),
        None if (MIN_SCHEMA..=MAX_SCHEMA).contains(&schema) => return Ok(histogram),
        None => return Err(format!("schema {schema} of a histogram is neither {CUSTOM_SCHEMA} nor between {MIN_SCHEMA} and {MAX_SCHEMA}")),
    }
    let bounds = custom.unwrap_or_default();
    if !bounds.is_sorted_by(|a, b| a < b) || bounds.iter().any(|bound| !bound.is_finite()) {
        return Err("custom_values of a histogram must be finite and rise".to_owned());
    }
    if histogram.zero_count != 0.0 || histogram.zero_threshold != 0.0 || !histogram.negative.is_empty() {
        return Err(format!(
            "a histogram of schema {CUSTOM_SCHEMA} has neither z_bucket nor n_buckets: its first bucket reaches down to -Inf"
        ));
    }
    let last = i32::try_from(bounds.len()).unwrap_or(i32::MAX);
    if histogram.positive.iter().any(|(index, _)| !(0..=last).contains(index)) {
        return Err(format!("a histogram with {last} custom_values has {} buckets at most", i64::from(last) + 1));
    }
    histogram.custom = Some(Arc::from(bounds));
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<String> {
        let word = |point: Point| match point {
            Point::Blank => "_".to_owned(),
            Point::Number(value) if value.to_bits() == ABSENT.to_bits() => "stale".to_owned(),
            Point::Number(value) => value.to_string(),
            Point::Histogram(one) => one.text(),
        };
        points(text).unwrap().into_iter().map(word).collect()
    }

    #[test]
    fn series_read_as_prometheus_reads_them() {
        assert_eq!(values("1 -2 3e1 .5 NaN Inf -Inf"), ["1", "-2", "30", "0.5", "NaN", "inf", "-inf"]);
        assert_eq!(values("1+2x3"), ["1", "3", "5", "7"]);
        assert_eq!(values("1-2x2 _ _x2 stale 7x1"), ["1", "-1", "-3", "_", "_", "_", "stale", "7", "7"]);
        assert_eq!(values("-1e-1-1e-1x1"), ["-0.1", "-0.2"]);
        assert_eq!(values("5x0"), ["5"]);
        assert_eq!(values("_x0").len(), 0);
        let summed = values("0+0.1x10");
        assert_eq!(summed[10], "0.9999999999999999", "added up step by step");
    }

    #[test]
    fn native_histograms_grow() {
        let all = values("{{schema:0 count:2 sum:3 buckets:[1 1]}}+{{count:1 sum:1 buckets:[1]}}x2 4");
        assert_eq!(all.len(), 4);
        assert_eq!(all[2], "{count:4, sum:5, (0.5,1]:3, (1,2]:1}");
        assert_eq!(all[3], "4");
    }

    #[test]
    fn histograms_with_custom_buckets_grow_too() {
        let all = values(
            "{{schema:-53 count:2 sum:9 custom_values:[5 10] buckets:[1 0 1]}}+{{schema:-53 count:1 sum:7 custom_values:[5 10] buckets:[1] offset:1}}x2",
        );
        assert_eq!(all[0], "{count:2, sum:9, [-Inf,5]:1, (10,+Inf]:1}");
        assert_eq!(all[2], "{count:4, sum:23, [-Inf,5]:1, (5,10]:2, (10,+Inf]:1}");
        assert_eq!(values("{{schema:-53 count:2 sum:9 buckets:[2]}}"), ["{count:2, sum:9, [-Inf,+Inf]:2}"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("1+x3", "`1+x3` is no sample"),
            ("a", "`a` is no sample"),
            ("1x", "how often"),
            ("1+2", "is no sample"),
            ("1x99999999999", "more than"),
            ("{{count:1", "ends with }}"),
            ("{{counter:1}}", "`counter` is no key"),
            ("{{schema:99}}", "schema 99"),
            ("{{custom_values:[1]}}", "belong to schema -53"),
            ("{{schema:-53 custom_values:[2 1]}}", "finite and rise"),
            ("{{schema:-53 custom_values:[1 Inf]}}", "finite and rise"),
            ("{{schema:-53 custom_values:[1] z_bucket:1}}", "neither z_bucket"),
            ("{{schema:-53 custom_values:[1] n_buckets:[1]}}", "neither z_bucket"),
            ("{{schema:-53 custom_values:[1] buckets:[1 1 1]}}", "2 buckets at most"),
            ("{{schema:-53 custom_values:[1] buckets:[1] offset:-1}}", "2 buckets at most"),
            ("{{schema:-53 custom_values:[1]}}+{{buckets:[1]}}x1", "another schema"),
        ] {
            let error = points(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        for text in ["up{job!=\"a\"}", "up{", "sum(up)"] {
            assert!(labels(text).is_err(), "{text}");
        }
        for (text, back) in
            [("up", "up{}"), ("nan", "nan{}"), ("{}", "{}"), ("{a=\"\"}", "{}"), ("up{a=\"x{y}\",b=\"\"}", "up{a=\"x{y}\"}")]
        {
            assert_eq!(labels(text).unwrap().to_string(), back);
        }
    }
}
