//! OTLP's JSON: what other writers send, and equality with protobuf row for row.

use proptest::prelude::*;

use crate::config::{Config, RetentionDays};
use crate::decode::{Format, Signal};
use crate::tests::fixtures::{self, World, build, dump};

#[test]
fn lenient_forms_are_read() {
    let body = br#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}},
        {"key":"n","value":{"intValue":"12"}},{"key":"m","value":{"intValue":12}},{"key":"f","value":{"doubleValue":"NaN"}},
        {"key":"new","value":{"someFutureValue":{"x":[1]}}},{"key":"null","value":null},
        {"key":"b","value":{"bytesValue":"-_8"}},{"key":"l","value":{"arrayValue":{"values":[{"boolValue":true},{"kvlistValue":{}}]}}}]},
        "scopeSpans":[{"scope":null,"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","parentSpanId":"",
        "name":"pay","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,
        "status":{"code":"STATUS_CODE_ERROR"},"events":null,"unknownField":{"deep":[[]]},"droppedEventsCount":3}]}]}],"schemaUrl":"x"}"#;
    let world =
        World::new(&Config { max_age: None, retention_days: RetentionDays { spans: 9_999, ..Default::default() }, ..Config::default() });
    let built = build(Signal::Traces, Format::Json, body, world.arrival()).unwrap();
    let spans = fixtures::rows(&built.blocks, "spans");
    assert_eq!(spans[0]["resource"], "{b=+/8=,f=NaN,l=[true,{}],m=12,n=12,new=,null=,service.name=shop}");
    let found: Vec<&str> =
        ["kind", "status", "trace_id", "ts", "duration", "dropped_events"].iter().map(|column| spans[0][column].as_str()).collect();
    assert_eq!(found, ["SERVER", "ERROR", "5b8efff798038103d269b633813fc60c", "1544712660000000000", "1000000000", "3"]);
}

#[test]
fn maps_and_lists_may_be_bare() {
    let body = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1772323200000000000",
        "body":{"kvlistValue":[{"key":"a","value":{"arrayValue":[{"intValue":1},{"kvlistValue":{"more":0,"values":null}}]}}]}}]}]}]}"#;
    let world = World::default();
    let built = build(Signal::Logs, Format::Json, body, world.arrival()).unwrap();
    assert_eq!(fixtures::rows(&built.blocks, "logs")[0]["body"], r#"{"a":[1,{}]}"#);
}

#[test]
fn the_data_of_a_metric_is_told_by_its_field() {
    let body = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"g","gauge":{"dataPoints":[{"asInt":"-3","timeUnixNano":"1772323200000000000"},{"asDouble":1.5,"timeUnixNano":"1772323200000000000"}],
            "aggregationTemporality":3,"isMonotonic":true}},
        {"name":"s","sum":{"dataPoints":[],"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA","isMonotonic":true}},
        {"name":"h","histogram":{"dataPoints":[{"timeUnixNano":"1772323200000000000","count":"3","sum":1,"bucketCounts":["1",2],"explicitBounds":[0.5]}],"aggregationTemporality":2}},
        {"name":"e","exponentialHistogram":{"dataPoints":[{"timeUnixNano":"1772323200000000000","scale":1,"count":"4","zeroCount":1,
            "positive":{"offset":-2,"bucketCounts":["1","2"]}}],"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE"}},
        {"name":"q","summary":{"dataPoints":[{"timeUnixNano":"1772323200000000000","count":2,"sum":"3","quantileValues":[{"quantile":0.5,"value":1}]}],
            "aggregationTemporality":77}},
        {"name":"none"}]}]}]}"#;
    let world = World::default();
    let built = build(Signal::Metrics, Format::Json, body, world.arrival()).unwrap();
    let cells = |table: &str, columns: &[&str]| -> Vec<String> {
        let rows = fixtures::rows(&built.blocks, table);
        rows.iter().map(|row| columns.iter().map(|column| row[column].as_str()).collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(cells("points", &["metric", "value"]), ["g -3", "g 1.5"]);
    assert_eq!(cells("histograms", &["metric", "bounds", "counts"]), ["h [0.5] [1,2]"]);
    let columns = ["metric", "scale", "count", "zero_count", "positive_offset", "positive_counts", "negative_counts"];
    assert_eq!(cells("exp_histograms", &columns), ["e 1 4 1 -2 [1,2] []"]);
    assert_eq!(cells("summaries", &["metric", "count", "sum", "quantiles", "values"]), ["q 2 3 [0.5] [1]"]);
    // What a gauge or a summary has no field for is nothing, whatever it says; a block with a number beyond the known ones could not be stored.
    let series = ["g gauge unspecified 0", "h histogram cumulative 0", "e exp_histogram cumulative 0", "q summary unspecified 0"];
    assert_eq!(cells("series", &["metric", "kind", "temporality", "monotonic"]), series);
}

#[test]
fn what_is_no_otlp_json_is_refused_with_its_place() {
    let world = World::default();
    let logs = |body: &[u8]| match build(Signal::Logs, Format::Json, body, world.arrival()) {
        Ok(_) => panic!("{} was read", String::from_utf8_lossy(body)),
        Err(error) => error.to_string(),
    };
    for (body, words) in [
        (&br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"x"}]}]}]}"#[..], "64-bit integer"),
        (br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":-1}]}]}]}"#, "64-bit integer"),
        (br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":"LOUD"}]}]}]}"#, "enum"),
        (br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"zz"}]}]}]}"#, "hex"),
        (br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"bytesValue":"*"}}]}]}]}"#, "base64"),
        (br#"{"resourceLogs":{}}"#, "a list"),
        (br#"{"resourceLogs":[]} x"#, "trailing"),
        (br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"kvlistValue":"x"}}]}]}]}"#, "an object with `values`"),
        (br#"{"resourceLogs":["#, "EOF"),
        (br#""#, "EOF"),
    ] {
        let error = logs(body);
        assert!(error.contains(words) && error.contains("line 1"), "{error}");
    }
    assert!(logs(b" [[]]").contains("expected an object, found a list"));
    let error = logs(b"{\"resourceLogs\":[{\"schemaUrl\":\"\xff\"}]}");
    assert!(error.contains("not UTF-8") && error.contains("index 31"), "{error}");
    let deep = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{}{{}}{}}}]}}]}}]}}"#,
        r#"{"arrayValue":{"values":["#.repeat(500),
        "]}}".repeat(500)
    );
    let error = logs(deep.as_bytes());
    assert!(error.contains("recursion"), "deep nesting is refused, not run into: {error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn traces_as_json_become_the_same_rows(request in fixtures::any_traces()) {
        // The other side's encoder: opentelemetry-proto's own.
        let json = serde_json::to_vec(&request).unwrap();
        let (one, other) = (World::default(), World::default());
        let again = build(Signal::Traces, Format::Json, &json, other.arrival()).unwrap();
        prop_assert_eq!(dump(&fixtures::spans::build(&request, one.arrival()).blocks), dump(&again.blocks));
    }

    #[test]
    fn logs_as_json_become_the_same_rows(request in fixtures::any_logs()) {
        let json = serde_json::to_vec(&request).unwrap();
        let (one, other) = (World::default(), World::default());
        let again = build(Signal::Logs, Format::Json, &json, other.arrival()).unwrap();
        prop_assert_eq!(dump(&fixtures::logs::build(&request, one.arrival()).blocks), dump(&again.blocks));
    }

    #[test]
    fn metrics_as_json_become_the_same_rows(request in fixtures::any_metrics()) {
        let json = serde_json::to_vec(&request).unwrap();
        let (one, other) = (World::default(), World::default());
        let again = build(Signal::Metrics, Format::Json, &json, other.arrival()).unwrap();
        prop_assert_eq!(dump(&fixtures::points::build(&request, one.arrival()).blocks), dump(&again.blocks));
    }
}
