//! OTLP's JSON: what other writers send, and equality with protobuf row for row.

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use proptest::prelude::*;

use crate::decode::{Format, logs, metrics, traces};
use crate::rows;
use crate::tests::fixtures::{self, World, dump};

#[test]
fn lenient_forms_are_read() {
    let body = br#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}},
        {"key":"n","value":{"intValue":"12"}},{"key":"m","value":{"intValue":12}},{"key":"f","value":{"doubleValue":"NaN"}},
        {"key":"new","value":{"someFutureValue":{"x":[1]}}},{"key":"null","value":null},
        {"key":"b","value":{"bytesValue":"-_8"}},{"key":"l","value":{"arrayValue":{"values":[{"boolValue":true},{"kvlistValue":{}}]}}}]},
        "scopeSpans":[{"scope":null,"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","parentSpanId":"",
        "name":"pay","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,
        "status":{"code":"STATUS_CODE_ERROR"},"events":null,"unknownField":{"deep":[[]]},"droppedEventsCount":3}]}]}],"schemaUrl":"x"}"#;
    let request = traces(Format::Json, body).unwrap();
    let resource = request.resource_spans[0].resource.as_ref().unwrap();
    let values: Vec<_> = resource.attributes.iter().map(|pair| rows::text::value_text(pair.value.as_ref()).into_owned()).collect();
    assert_eq!(values, ["shop", "12", "12", "NaN", "", "", "+/8=", "[true,{}]"]);
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((span.kind, span.status.as_ref().unwrap().code, span.trace_id.len()), (2, 2, 16));
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (1_544_712_660_000_000_000, 1_544_712_661_000_000_000));
}

#[test]
fn the_data_of_a_metric_is_told_by_its_field() {
    let body = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"g","gauge":{"dataPoints":[{"asInt":"-3","timeUnixNano":"1"},{"asDouble":1.5}]}},
        {"name":"s","sum":{"dataPoints":[],"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA","isMonotonic":true}},
        {"name":"h","histogram":{"dataPoints":[{"count":"3","sum":1,"bucketCounts":["1",2],"explicitBounds":[0.5]}],"aggregationTemporality":2}},
        {"name":"e","exponentialHistogram":{"dataPoints":[{"scale":1},{}]}},{"name":"q","summary":{"dataPoints":[{}]}},{"name":"none"}]}]}]}"#;
    let request = metrics(Format::Json, body).unwrap();
    let found: Vec<String> = request.resource_metrics[0].scope_metrics[0]
        .metrics
        .iter()
        .map(|metric| match &metric.data {
            Some(Data::Gauge(gauge)) => format!("gauge {:?}", gauge.data_points.iter().map(|point| point.value).collect::<Vec<_>>()),
            Some(Data::Sum(sum)) => format!("sum {} {}", sum.aggregation_temporality, sum.is_monotonic),
            Some(Data::Histogram(histogram)) => format!("histogram {:?}", histogram.data_points[0].bucket_counts),
            Some(Data::ExponentialHistogram(histogram)) => format!("exponential {}", histogram.data_points.len()),
            Some(Data::Summary(summary)) => format!("summary {}", summary.data_points.len()),
            None => "nothing".to_owned(),
        })
        .collect();
    assert_eq!(
        found,
        ["gauge [Some(AsInt(-3)), Some(AsDouble(1.5))]", "sum 1 true", "histogram [1, 2]", "exponential 2", "summary 1", "nothing"]
    );
}

#[test]
fn what_is_no_otlp_json_is_refused_with_its_place() {
    for (body, words) in [
        (&br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"x"}]}]}]}"#[..], "64-bit integer"),
        (br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":-1}]}]}]}"#, "64-bit integer"),
        (br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":"LOUD"}]}]}]}"#, "enum"),
        (br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"zz"}]}]}]}"#, "hex"),
        (br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"bytesValue":"*"}}]}]}]}"#, "base64"),
        (br#"{"resourceLogs":{}}"#, "a list"),
        (br#"{"resourceLogs":[]} x"#, "trailing"),
        (br#"{"resourceLogs":["#, "EOF"),
        (br#""#, "EOF"),
    ] {
        let error = logs(Format::Json, body).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("line 1"), "{error}");
    }
    let error = logs(Format::Json, b"{\"resourceLogs\":[{\"schemaUrl\":\"\xff\"}]}").unwrap_err().to_string();
    assert!(error.contains("not UTF-8") && error.contains("index 31"), "{error}");
    let deep = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{}1{}}}]}}]}}]}}"#,
        r#"{"arrayValue":{"values":[{"#.repeat(500),
        "}]}}".repeat(500)
    );
    assert!(logs(Format::Json, deep.as_bytes()).is_err(), "deep nesting is refused, not run into");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn traces_as_json_become_the_same_rows(request in fixtures::any_traces()) {
        // The other side's encoder: opentelemetry-proto's own.
        let json = serde_json::to_vec(&request).unwrap();
        let again = traces(Format::Json, &json).unwrap();
        let (one, other) = (World::default(), World::default());
        prop_assert_eq!(dump(&rows::traces::build(&request, one.arrival()).blocks), dump(&rows::traces::build(&again, other.arrival()).blocks));
    }

    #[test]
    fn logs_as_json_become_the_same_rows(request in fixtures::any_logs()) {
        let json = serde_json::to_vec(&request).unwrap();
        let again = logs(Format::Json, &json).unwrap();
        let (one, other) = (World::default(), World::default());
        prop_assert_eq!(dump(&rows::logs::build(&request, one.arrival()).blocks), dump(&rows::logs::build(&again, other.arrival()).blocks));
    }

    #[test]
    fn metrics_as_json_become_the_same_rows(request in fixtures::any_metrics()) {
        let json = serde_json::to_vec(&request).unwrap();
        let again = metrics(Format::Json, &json).unwrap();
        let (one, other) = (World::default(), World::default());
        prop_assert_eq!(dump(&rows::points::build(&request, one.arrival()).blocks), dump(&rows::points::build(&again, other.arrival()).blocks));
    }
}
