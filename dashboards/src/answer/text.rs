//! A query's answer as the text of Prometheus's JSON, written in one go: answers may have millions of samples, of which a tree of values
//! would take many times the memory. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::labels::Labels;
use model::query::{Answer, HistogramSeries, HistogramValue, QueryValue, Series, SeriesSample};
use model::units::Value;
use serde_json::Value as Json;

/// The envelope around an answer, with the statistics if they are given; `warnings` and `infos` as they are shown.
pub fn envelope(answer: &Answer, stats: Option<&Json>, warnings: &[String], infos: &[String]) -> String {
    let mut out = String::with_capacity(256 + samples(answer) * 32);
    out.push_str("{\"status\":\"success\",\"data\":");
    value(&mut out, &answer.value, &answer.histograms, stats);
    for (name, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            let _ = write!(out, ",\"{name}\":");
            list(&mut out, texts, string);
        }
    }
    out.push('}');
    out
}

/// How many samples an answer has.
pub fn samples(answer: &Answer) -> usize {
    let numbers = match &answer.value {
        QueryValue::Scalar(_) | QueryValue::Text(..) => 1,
        QueryValue::Vector(all) => all.len(),
        QueryValue::Matrix(all) => all.iter().map(|series| series.samples.len()).sum(),
    };
    numbers + answer.histograms.iter().map(|series| series.samples.len()).sum::<usize>()
}

/// `{"resultType":...,"result":...}`
fn value(out: &mut String, value: &QueryValue, histograms: &[HistogramSeries], stats: Option<&Json>) {
    let kind = match value {
        QueryValue::Scalar(_) => "scalar",
        QueryValue::Text(..) => "string",
        QueryValue::Vector(_) => "vector",
        QueryValue::Matrix(_) => "matrix",
    };
    let _ = write!(out, "{{\"resultType\":\"{kind}\",\"result\":");
    match value {
        QueryValue::Scalar(one) => sample(out, one),
        QueryValue::Text(at, text) => {
            out.push('[');
            seconds(out, at.millis());
            out.push(',');
            string(out, text);
            out.push(']');
        }
        QueryValue::Vector(numbers) => vector(out, numbers, histograms),
        QueryValue::Matrix(numbers) => matrix(out, numbers, histograms),
    }
    if let Some(stats) = stats {
        let _ = write!(out, ",\"stats\":{stats}");
    }
    out.push('}');
}

fn vector(out: &mut String, numbers: &[(Labels, SeriesSample)], histograms: &[HistogramSeries]) {
    out.push('[');
    for (number, (labels, one)) in numbers.iter().enumerate() {
        comma(out, number);
        metric(out, labels);
        out.push_str(",\"value\":");
        sample(out, one);
        out.push('}');
    }
    let newest = histograms.iter().filter_map(|series| Some((&series.labels, series.samples.first()?)));
    for (number, (labels, one)) in newest.enumerate() {
        comma(out, numbers.len() + number);
        metric(out, labels);
        out.push_str(",\"histogram\":");
        histogram(out, (one.0.millis(), &one.1));
        out.push('}');
    }
    out.push(']');
}

/// Numbers and histograms of one series stand in one object; series in order of labels.
fn matrix(out: &mut String, numbers: &[Series], histograms: &[HistogramSeries]) {
    let mut all: BTreeMap<&Labels, (Option<&Series>, Option<&HistogramSeries>)> = BTreeMap::new();
    numbers.iter().for_each(|series| all.entry(&series.labels).or_default().0 = Some(series));
    histograms.iter().for_each(|series| all.entry(&series.labels).or_default().1 = Some(series));
    out.push('[');
    for (number, (labels, (numbers, histograms))) in all.into_iter().enumerate() {
        comma(out, number);
        metric(out, labels);
        if let Some(series) = numbers {
            out.push_str(",\"values\":");
            list(out, &series.samples, sample);
        }
        if let Some(series) = histograms {
            out.push_str(",\"histograms\":");
            list(out, &series.samples, |out, (at, one)| histogram(out, (at.millis(), one)));
        }
        out.push('}');
    }
    out.push(']');
}

fn comma(out: &mut String, number: usize) {
    if number > 0 {
        out.push(',');
    }
}

fn list<T>(out: &mut String, all: &[T], write: impl Fn(&mut String, &T)) {
    out.push('[');
    for (number, one) in all.iter().enumerate() {
        comma(out, number);
        write(out, one);
    }
    out.push(']');
}

/// The beginning of a series: it is left open.
fn metric(out: &mut String, labels: &Labels) {
    out.push_str("{\"metric\":{");
    for (number, (name, value)) in labels.iter().enumerate() {
        comma(out, number);
        string(out, name);
        out.push(':');
        string(out, value);
    }
    out.push('}');
}

fn string<T: AsRef<str> + ?Sized>(out: &mut String, text: &T) {
    let text = text.as_ref();
    if text.bytes().all(|byte| byte >= 0x20 && !matches!(byte, b'"' | b'\\')) {
        out.extend(["\"", text, "\""]);
    } else {
        let _ = write!(out, "{}", Json::from(text));
    }
}

fn sample(out: &mut String, one: &SeriesSample) {
    out.push('[');
    seconds(out, one.at.millis());
    let _ = write!(out, ",\"{}\"]", Value(one.value));
}

/// Seconds with three decimals at most, whole where they are whole.
fn seconds(out: &mut String, millis: i64) {
    let _ = if millis % 1_000 == 0 { write!(out, "{}", millis / 1_000) } else { write!(out, "{}", millis as f64 / 1_000.0) };
}

/// A native histogram as Prometheus prints it: numbers as texts, a bucket as `[edges, lower, upper, count]`.
fn histogram(out: &mut String, (at, one): (i64, &HistogramValue)) {
    out.push('[');
    seconds(out, at);
    let _ = write!(out, ",{{\"count\":\"{}\",\"sum\":\"{}\"", Value(one.count), Value(one.sum));
    if !one.buckets.is_empty() {
        out.push_str(",\"buckets\":");
        list(out, &one.buckets, |out, bucket| {
            let (lower, upper, count) = (Value(bucket.lower), Value(bucket.upper), Value(bucket.count));
            let _ = write!(out, "[{},\"{lower}\",\"{upper}\",\"{count}\"]", bucket.edges as u8);
        });
    }
    out.push_str("}]");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::query::{BucketEdges, HistogramBucket};
    use model::time::Timestamp;
    use serde_json::json;

    use super::*;

    fn shown(value: QueryValue, histograms: Vec<HistogramSeries>) -> Json {
        let answer = Answer { value, histograms, samples_read: 0, warnings: Vec::new(), infos: Vec::new(), matched_any_series: true };
        let text = envelope(&answer, None, &[], &[]);
        serde_json::from_str::<Json>(&text).unwrap_or_else(|error| panic!("{error}: {text}"))["data"].take()
    }

    #[test]
    fn values_are_strings_and_times_are_seconds() {
        let labels: Labels = [("job", "a\"\\\n\u{1}é")].into_iter().collect();
        let at = Timestamp::from_millis;
        let value = QueryValue::Vector(vec![(labels, SeriesSample { at: at(1_500), value: f64::NAN })]);
        assert_eq!(
            shown(value, Vec::new()),
            json!({"resultType": "vector", "result": [{"metric": {"job": "a\"\\\n\u{1}é"}, "value": [1.5, "NaN"]}]})
        );
        let scalar = QueryValue::Scalar(SeriesSample { at: at(2_000), value: 0.5 });
        assert_eq!(shown(scalar, Vec::new()), json!({"resultType": "scalar", "result": [2, "0.5"]}));
        let text = QueryValue::Text(at(-1_001), "t\"".to_owned());
        assert_eq!(shown(text, Vec::new()), json!({"resultType": "string", "result": [-1.001, "t\""]}));
        let nothing = shown(QueryValue::Matrix(Vec::new()), Vec::new());
        assert_eq!(nothing, json!({"resultType": "matrix", "result": []}));
        let mut out = String::new();
        seconds(&mut out, 1_793_491_200_003);
        assert_eq!(out, "1793491200.003");
    }

    #[test]
    fn numbers_and_histograms_of_one_series_stand_in_one_object() {
        let labels: Labels = [("job", "a")].into_iter().collect();
        let bucket = |edges, lower, upper, count| HistogramBucket { edges, lower, upper, count };
        let value = Arc::new(HistogramValue {
            count: 3.0,
            sum: 1.5,
            buckets: vec![bucket(BucketEdges::OpenRight, -2.0, -1.0, 1.0), bucket(BucketEdges::ClosedBoth, -0.001, 0.001, 2.0)],
        });
        let histograms = || vec![HistogramSeries { labels: labels.clone(), samples: vec![(Timestamp::from_secs(2), value.clone())] }];
        let sample = SeriesSample { at: Timestamp::from_secs(1), value: 4.0 };
        let numbers = QueryValue::Matrix(vec![Series { labels: labels.clone(), samples: vec![sample] }]);
        let printed = json!({"count": "3", "sum": "1.5", "buckets": [[1, "-2", "-1", "1"], [3, "-0.001", "0.001", "2"]]});
        assert_eq!(
            shown(numbers, histograms())["result"],
            json!([{"metric": {"job": "a"}, "values": [[1, "4"]], "histograms": [[2, printed]]}])
        );
        let other: Labels = [("job", "b")].into_iter().collect();
        assert_eq!(
            shown(QueryValue::Vector(vec![(other, sample)]), histograms())["result"],
            json!([{"metric": {"job": "b"}, "value": [1, "4"]}, {"metric": {"job": "a"}, "histogram": [2, printed]}])
        );
    }

    #[test]
    fn custom_buckets_have_ends_without_number() {
        let bucket = |edges, lower, upper, count| HistogramBucket { edges, lower, upper, count };
        let value = HistogramValue {
            count: 3.5,
            sum: 9.0,
            buckets: vec![
                bucket(BucketEdges::ClosedBoth, f64::NEG_INFINITY, 5.0, 1.0),
                bucket(BucketEdges::OpenLeft, 5.0, f64::INFINITY, 2.5),
            ],
        };
        let mut out = String::new();
        histogram(&mut out, (2_000, &value));
        assert_eq!(out, r#"[2,{"count":"3.5","sum":"9","buckets":[[3,"-Inf","5","1"],[0,"5","+Inf","2.5"]]}]"#);
    }

    #[test]
    fn notes_and_statistics_stand_beside_the_data() {
        let value = QueryValue::Scalar(SeriesSample { at: Timestamp::from_secs(2), value: 0.5 });
        let answer =
            Answer { value, histograms: Vec::new(), samples_read: 0, warnings: Vec::new(), infos: Vec::new(), matched_any_series: true };
        let text = envelope(&answer, Some(&json!({"samples": 1})), &["w \"1\"".to_owned()], &["i".to_owned(), "j".to_owned()]);
        let expected = json!({"status": "success", "warnings": ["w \"1\""], "infos": ["i", "j"],
            "data": {"resultType": "scalar", "result": [2, "0.5"], "stats": {"samples": 1}}});
        assert_eq!(serde_json::from_str::<Json>(&text).unwrap(), expected);
    }
}
