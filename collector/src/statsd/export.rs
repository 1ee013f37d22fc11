//! A flush as OTLP's request, so that it goes the way of all metrics: counters as delta sums, gauges and sets as gauges, timers and
//! distributions as delta histograms. Pure.

use model::time::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};

use super::aggregate::{State, whole};

/// What all points of a flush share.
struct Interval<'b> {
    bounds: &'b [f64],
    start: u64,
    end: u64,
}

/// The request for series sorted by key, each with the time of its own that it has, in seconds since 1970.
pub(super) fn export(
    series: &[(&str, Option<i64>, &State)],
    bounds: &[f64],
    since: Timestamp,
    now: Timestamp,
) -> ExportMetricsServiceRequest {
    let nanos = |time: Timestamp| u64::try_from(time.nanos()).unwrap_or(0);
    let interval = Interval { bounds, start: nanos(since), end: nanos(now) };
    let mut metrics: Vec<Metric> = Vec::new();
    let mut last = "";
    for (key, time, state) in series {
        let (identity, tags) = key.split_at(key.find('\u{1}').unwrap_or(key.len()));
        if identity != last {
            metrics.extend(metric(identity));
            last = identity;
        }
        if let Some(data) = metrics.last_mut().and_then(|metric| metric.data.as_mut()) {
            interval.at(*time).point(data, attributes(tags), state);
        }
    }
    let scope = Some(InstrumentationScope { name: "statsd".to_owned(), ..InstrumentationScope::default() });
    let scope_metrics = vec![ScopeMetrics { scope, metrics, ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }] }
}

/// The metric of a kind and a name, without points.
fn metric(identity: &str) -> Option<Metric> {
    let delta = AggregationTemporality::Delta as i32;
    let (kind, name) = identity.split_at_checked(1)?;
    let (data, unit) = match kind {
        "c" => (Data::Sum(Sum { aggregation_temporality: delta, is_monotonic: true, ..Sum::default() }), ""),
        "m" => (Data::Histogram(Histogram { aggregation_temporality: delta, ..Histogram::default() }), "ms"),
        "h" => (Data::Histogram(Histogram { aggregation_temporality: delta, ..Histogram::default() }), ""),
        _ => (Data::Gauge(Gauge::default()), ""),
    };
    Some(Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() })
}

fn attributes(tags: &str) -> Vec<KeyValue> {
    let pairs = tags.split('\u{1}').filter_map(|tag| tag.split_once('\u{2}'));
    pairs
        .map(|(key, value)| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
            ..KeyValue::default()
        })
        .collect()
}

impl Interval<'_> {
    /// The moment that a sample names, where it names one.
    fn at(&self, seconds: Option<i64>) -> Self {
        let moment = seconds.map(|seconds| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000));
        Interval { bounds: self.bounds, start: moment.unwrap_or(self.start), end: moment.unwrap_or(self.end) }
    }

    fn point(&self, data: &mut Data, attributes: Vec<KeyValue>, state: &State) {
        let number = |value: f64, attributes| NumberDataPoint {
            attributes,
            start_time_unix_nano: self.start,
            time_unix_nano: self.end,
            value: Some(Number::AsDouble(value)),
            ..NumberDataPoint::default()
        };
        match (data, state) {
            (Data::Sum(sum), State::Counter(value)) => sum.data_points.push(number(*value, attributes)),
            (Data::Gauge(gauge), State::Gauge(value)) => gauge.data_points.push(number(*value, attributes)),
            (Data::Gauge(gauge), State::Set(values)) => gauge.data_points.push(number(values.len() as f64, attributes)),
            (Data::Histogram(histogram), State::Histogram(state)) => {
                let counts: Vec<u64> = state.weights.iter().map(|weight| whole(*weight)).collect();
                histogram.data_points.push(HistogramDataPoint {
                    attributes,
                    start_time_unix_nano: self.start,
                    time_unix_nano: self.end,
                    count: counts.iter().fold(0, |sum, count| sum.saturating_add(*count)),
                    sum: Some(state.sum),
                    min: state.min.is_finite().then_some(state.min),
                    max: state.max.is_finite().then_some(state.max),
                    explicit_bounds: self.bounds.to_vec(),
                    bucket_counts: counts,
                    ..HistogramDataPoint::default()
                });
            }
            // The key tells the kind of both.
            (_, State::Counter(_) | State::Gauge(_) | State::Histogram(_) | State::Set(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use model::time::Span;

    use super::super::aggregate::{Aggregator, Lost};
    use super::super::line::parse;
    use super::*;
    use crate::config::StatsdConfig;

    fn config() -> StatsdConfig {
        StatsdConfig { bounds: vec![10.0, 100.0], max_series: 6, max_set_values: 2, gauge_ttl: Span::secs(60), ..StatsdConfig::default() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_772_323_200 + seconds)
    }

    fn add(to: &mut Aggregator, lines: &[&str], seconds: i64) -> Vec<Lost> {
        let mut lost = Vec::new();
        for line in lines {
            to.add(&parse(line.as_bytes()).unwrap(), at(seconds), |why| lost.push(why));
        }
        lost
    }

    /// A flush of which there is one part.
    fn flush(all: &mut Aggregator, now: Timestamp) -> Option<ExportMetricsServiceRequest> {
        let mut parts = all.flush(now, usize::MAX);
        assert!(parts.len() < 2);
        parts.pop().map(|part| part.request)
    }

    /// `name{tags} value` or `name{tags} [counts] sum`, sorted.
    fn shown(request: Option<ExportMetricsServiceRequest>) -> Vec<String> {
        let Some(request) = request else { return Vec::new() };
        let tags = |list: &[KeyValue]| {
            let pairs: Vec<_> = list
                .iter()
                .map(|pair| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
                    Some(Value::StringValue(text)) => format!("{}={text}", pair.key),
                    other => panic!("{other:?}"),
                })
                .collect();
            pairs.join(",")
        };
        let number = |point: &NumberDataPoint| match point.value {
            Some(Number::AsDouble(value)) => value,
            _ => panic!("{point:?}"),
        };
        let mut lines = Vec::new();
        for metric in &request.resource_metrics[0].scope_metrics[0].metrics {
            let name = &metric.name;
            match metric.data.as_ref().unwrap() {
                Data::Sum(sum) => lines.extend(sum.data_points.iter().map(|p| format!("{name}{{{}}} +{}", tags(&p.attributes), number(p)))),
                Data::Gauge(gauge) => {
                    lines.extend(gauge.data_points.iter().map(|p| format!("{name}{{{}}} {}", tags(&p.attributes), number(p))))
                }
                Data::Histogram(histogram) => lines.extend(histogram.data_points.iter().map(|p| {
                    format!("{name}{{{}}} {:?} {} of {}{}", tags(&p.attributes), p.bucket_counts, p.sum.unwrap(), p.count, metric.unit)
                })),
                other => panic!("{other:?}"),
            }
        }
        lines
    }

    #[test]
    fn samples_add_up_and_begin_anew_after_a_flush() {
        let mut all = Aggregator::new(config(), at(0));
        let lines = [
            "hits:1|c",
            "hits:2|c|@0.5",
            "hits:1|c|#b:2,a:1",
            "hits:1|c|#a:1,b:2,a:3",
            "t:5:50:500|ms",
            "q:7|g",
            "q:+3|g",
            "q:-1|g",
            "u:x|s",
            "u:x|s",
            "u:y|s",
        ];
        assert_eq!(add(&mut all, &lines, 1), []);
        assert_eq!(shown(flush(&mut all, at(10))), ["hits{} +5", "hits{a=1,b=2} +2", "q{} 9", "t{} [1, 1, 1] 555 of 3ms", "u{} 2"]);
        assert_eq!(shown(flush(&mut all, at(20))), ["q{} 9"], "a gauge is written on");
        add(&mut all, &["q:+1|g"], 21);
        assert_eq!(shown(flush(&mut all, at(30))), ["q{} 10"]);
        assert_eq!(shown(flush(&mut all, at(90))), [] as [&str; 0], "until nobody set it for a while");
        assert_eq!(all.len(), 0);
    }

    #[test]
    fn a_flush_has_the_interval_of_its_samples() {
        let mut all = Aggregator::new(config(), at(0));
        add(&mut all, &["hits:1|c"], 1);
        flush(&mut all, at(10));
        add(&mut all, &["hits:1|c"], 11);
        let request = flush(&mut all, at(20)).unwrap();
        let Some(Data::Sum(sum)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else { panic!() };
        let point = &sum.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (at(10).nanos() as u64, at(20).nanos() as u64));
        assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (1, true));
    }

    #[test]
    fn samples_with_a_time_are_written_at_it_and_only_once() {
        let mut all = Aggregator::new(config(), at(0));
        let time = |seconds: i64| at(seconds).nanos() / 1_000_000_000;
        let lines = [
            format!("hits:1|c|T{}", time(-300)),
            format!("hits:2|c|@0.5|T{}", time(-300)),
            format!("hits:5|c|T{}", time(-200)),
            "hits:7|c".to_owned(),
            format!("q:3|g|T{}", time(-300)),
            format!("q:-4|g|T{}", time(-300)),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(add(&mut all, &lines, 1), []);
        assert_eq!(all.len(), 4);
        let request = flush(&mut all, at(10)).unwrap();
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!() };
        let times: Vec<u64> = sum.data_points.iter().map(|point| point.time_unix_nano / 1_000_000_000).collect();
        assert_eq!(times, [time(10) as u64, time(-300) as u64, time(-200) as u64]);
        assert_eq!(sum.data_points[1].start_time_unix_nano, sum.data_points[1].time_unix_nano);
        assert_eq!(shown(Some(request)), ["hits{} +7", "hits{} +5", "hits{} +5", "q{} -4"]);
        assert_eq!(shown(flush(&mut all, at(20))), [] as [&str; 0], "a gauge of another time is not written on");
        let many: Vec<String> = (1..9).map(|number| format!("hits:1|c|T{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(add(&mut all, &many, 21), [Lost::TooManySeries, Lost::TooManySeries], "times are bounded as series are");
    }

    #[test]
    fn shares_that_are_no_whole_numbers_even_out() {
        let mut all = Aggregator::new(config(), at(0));
        let mut total = 0;
        for round in 0..30 {
            add(&mut all, &["t:5|ms|@0.3"], round);
            let request = flush(&mut all, at(round + 1)).unwrap();
            let Some(Data::Histogram(histogram)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else { panic!() };
            total += histogram.data_points[0].count;
        }
        assert_eq!(total, 100);
    }

    #[test]
    fn bounds_hold_and_what_is_lost_is_told() {
        let mut all = Aggregator::new(config(), at(0));
        let lines: Vec<String> = (0..8).map(|n| format!("m{n}:1|c")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(add(&mut all, &lines, 1), [Lost::TooManySeries, Lost::TooManySeries]);
        flush(&mut all, at(10));
        flush(&mut all, at(20));
        assert_eq!(
            add(&mut all, &["u:a:b:c:a|s", "x:1:y:inf:NaN:2|ms", "z:::|s"], 21).len(),
            7,
            "one of the set, three of the timer, three empty"
        );
        assert_eq!(shown(flush(&mut all, at(30))), ["x{} [2, 0, 0] 3 of 2ms", "u{} 2"]);
    }

    #[test]
    fn a_flush_is_stored_in_parts_and_bytes_are_bounded() {
        let roomy = StatsdConfig { max_series: 1_000_000, max_set_values: 1_000_000, ..config() };
        let mut all = Aggregator::new(roomy, at(0));
        let lines: Vec<String> = (0..12_000).map(|n| format!("m{n}{}:1|c", "x".repeat(8_000))).collect();
        let lost = lines.iter().map(|line| add(&mut all, &[line], 1)).filter(|lost| *lost == [Lost::TooManySeries]).count();
        assert!((3_000..6_000).contains(&lost), "{lost}");
        assert_eq!(
            add(&mut all, &["s:a|s"], 1).len() + add(&mut all, &[&lines[0]], 1).len(),
            0,
            "what is small fits, what is there goes on"
        );
        let parts = all.flush(at(10), usize::MAX);
        let points: u64 = parts.iter().map(|part| part.points).sum();
        assert_eq!(points, (12_000 - lost) as u64 + 1);
        assert!(parts.len() > 60 && parts.iter().all(|part| prost::Message::encoded_len(&part.request) < 2 << 20));
        assert_eq!(all.flush(at(20), usize::MAX).len(), 0);
        assert_eq!(add(&mut all, &[&lines[11_999]], 21), [], "there is room again");
    }

    proptest::proptest! {
        #[test]
        fn no_samples_make_it_panic(lines in proptest::collection::vec("[ab]{1}:[-+0-9.e:]{1,9}\\|(c|g|ms|h|s)(\\|@0\\.[1-9]{1,3})?", 0..20)) {
            let mut all = Aggregator::new(config(), at(0));
            for line in &lines {
                if let Ok(sample) = parse(line.as_bytes()) {
                    all.add(&sample, at(1), |_| {});
                }
            }
            flush(&mut all, at(2));
            flush(&mut all, at(3));
        }
    }
}
