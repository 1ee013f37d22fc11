//! Rows of whole requests: each signal's mapping, column by column where it matters.

use model::labels::Labels;
use model::time::Timestamp;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, Summary, SummaryDataPoint,
};
use opentelemetry_proto::tonic::trace::v1::Span;

use super::fixtures::*;
use crate::Config;
use crate::config::RetentionDays;
use crate::rows::Built;
use crate::rows::tally::{Part, Reason};

fn check(row: &Row, expected: &[(&str, &str)]) {
    for (column, value) in expected {
        assert_eq!(row[column], *value, "column {column}");
    }
}

fn rejected(built: &Built) -> Vec<(Reason, u64)> {
    built.tally.rejected().collect()
}

#[test]
fn a_span_becomes_a_row() {
    let built = spans::build(&traces(NOW), World::default().arrival());
    let found = rows(&built.blocks, "spans");
    assert_eq!(found.len(), 1);
    check(
        &found[0],
        &[
            ("tenant", "default"),
            ("ts", "1772323199000000000"),
            ("received", "1772323200000"),
            ("trace_id", "0102030405060708090a0b0c0d0e0f10"),
            ("span_id", "0102030405060708"),
            ("parent_span_id", "0909090909090909"),
            ("service", "shop"),
            ("name", "POST /pay"),
            ("kind", "SERVER"),
            ("duration", "30000000"),
            ("status", "ERROR"),
            ("status_message", "boom"),
            ("scope_name", "lib"),
            ("scope_version", "0.1"),
            (
                "resource",
                "{deployment.environment.name=prod,service.instance.id=shop-1,service.name=shop,service.namespace=acme,service.version=1.4.2}",
            ),
            ("attributes", "{enduser.id=u7,http.response.status_code=500,http.route=/pay}"),
            ("event_ts", "[1772323199020000000]"),
            ("event_name", "[exception]"),
            ("link_trace_id", "[07070707070707070707070707070707]"),
            ("link_span_id", "[0606060606060606]"),
            ("link_attributes", "[{k=v}]"),
            ("sample_rate", "1"),
            ("retention_days", "14"),
        ],
    );
    assert!(found[0]["event_attributes"].starts_with("[{exception.escaped=True,exception.message='a',"));
    assert_eq!(built.tally.message("spans"), None);
}

#[test]
fn spans_give_rate_errors_and_duration_in_the_same_batch() {
    let world = World::default();
    let ok = Span { span_id: vec![2; 8], status: None, kind: 3, end_time_unix_nano: NOW + 20_000_000_000, ..span(NOW) };
    let built = spans::build(&traces_of(vec![span(NOW), Span { span_id: vec![3; 8], ..span(NOW) }, ok]), world.arrival());
    let series = rows(&built.blocks, "series");
    assert_eq!(series.len(), 4, "two label sets, calls and duration of each");
    let find = |metric: &str, kind: &str| {
        let labels = |row: &&Row| row["metric"] == metric && row["labels"].contains(kind);
        series.iter().find(labels).unwrap()
    };
    let calls = find("traces_span_metrics_calls_total", "SPAN_KIND_SERVER");
    check(
        calls,
        &[
            ("kind", "sum"),
            ("temporality", "delta"),
            ("monotonic", "1"),
            ("labels", "{service_name=shop,span_kind=SPAN_KIND_SERVER,span_name=POST /pay,status_code=STATUS_CODE_ERROR}"),
            ("first_seen", "1772323200000"),
        ],
    );
    let labels: Labels = [
        ("__name__", "traces_span_metrics_calls_total"),
        ("service_name", "shop"),
        ("span_kind", "SPAN_KIND_SERVER"),
        ("span_name", "POST /pay"),
        ("status_code", "STATUS_CODE_ERROR"),
    ]
    .into_iter()
    .collect();
    assert_eq!(calls["fingerprint"], labels.fingerprint().to_string());
    let points = rows(&built.blocks, "points");
    let point = points.iter().find(|row| row["fingerprint"] == calls["fingerprint"]).unwrap();
    check(
        point,
        &[
            ("metric", "traces_span_metrics_calls_total"),
            ("value", "2"),
            ("ts", "1772323200000"),
            ("start_ts", "0"),
            ("retention_days", "90"),
        ],
    );
    let duration = find("traces_span_metrics_duration_seconds", "SPAN_KIND_CLIENT");
    check(duration, &[("kind", "histogram"), ("temporality", "delta"), ("unit", "s")]);
    let histograms = rows(&built.blocks, "histograms");
    let histogram = histograms.iter().find(|row| row["fingerprint"] == duration["fingerprint"]).unwrap();
    check(
        histogram,
        &[
            ("count", "1"),
            ("sum", "21"),
            ("max", "21"),
            ("bounds", "[0.002,0.004,0.006,0.008,0.01,0.05,0.1,0.2,0.4,0.8,1,1.4,2,5,10,15]"),
            ("counts", "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1]"),
        ],
    );
    world.series.remember(&built.series);
    let again = spans::build(&traces(NOW), world.arrival());
    assert_eq!(rows(&again.blocks, "series"), [], "described once");
    assert_eq!(rows(&again.blocks, "points").len(), 1);
}

#[test]
fn span_names_past_the_limit_count_as_overflow() {
    let world = World::new(&Config { red_span_names: 2, ..Config::default() });
    let many = (0..9u8).map(|n| Span { span_id: vec![n + 1; 8], name: format!("GET /item/{n}"), ..span(NOW) }).collect();
    let built = spans::build(&traces_of(many), world.arrival());
    assert_eq!(built.tally.red_overflow, 7);
    let calls: Vec<_> = rows(&built.blocks, "points").into_iter().map(|row| row["value"].clone()).collect();
    assert_eq!(calls, ["1", "1", "7"]);
    assert_eq!(rows(&built.blocks, "spans").len(), 9, "the spans themselves keep their names");
}

#[test]
fn spans_that_can_never_be_stored_are_rejected_and_the_rest_is_kept() {
    let bad = |change: fn(&mut Span)| {
        let mut span = span(NOW);
        change(&mut span);
        span
    };
    let all = vec![
        span(NOW),
        bad(|span| span.trace_id = vec![1; 15]),
        bad(|span| span.trace_id = vec![0; 16]),
        bad(|span| span.span_id.clear()),
        bad(|span| span.parent_span_id = vec![1; 3]),
        bad(|span| span.start_time_unix_nano = 0),
        bad(|span| span.start_time_unix_nano = NOW - 15 * 86_400_000_000_000),
        bad(|span| span.start_time_unix_nano = NOW + 10 * 365 * 86_400_000_000_000),
        bad(|span| span.start_time_unix_nano = u64::MAX),
        bad(|span| span.parent_span_id.clear()),
    ];
    let built = spans::build(&traces_of(all), World::default().arrival());
    assert_eq!(rows(&built.blocks, "spans").len(), 2);
    assert_eq!(
        rejected(&built),
        [
            (Reason::TooOld, 1),
            (Reason::TooFarAhead, 2),
            (Reason::NoTime, 1),
            (Reason::BadTraceId, 2),
            (Reason::BadSpanId, 1),
            (Reason::BadParentSpanId, 1)
        ]
    );
    assert!(built.tally.message("spans").unwrap().starts_with("8 of 10 spans rejected: "));
}

#[test]
fn the_configured_age_narrows_the_retention() {
    let aged = |config: Config, hours: u64| {
        let old = Span { start_time_unix_nano: NOW - hours * 3_600_000_000_000, ..span(NOW) };
        spans::build(&traces_of(vec![old]), World::new(&config).arrival()).tally.rejected_total()
    };
    let hour = Config { max_age: Some(model::time::Span::secs(3_600)), ..Config::default() };
    assert_eq!((aged(Config::default(), 2), aged(hour.clone(), 2), aged(hour, 1)), (0, 1, 0));
    let day = Config { retention_days: RetentionDays { spans: 1, ..RetentionDays::default() }, ..Config::default() };
    assert_eq!(aged(Config { max_age: Some(model::time::Span::secs(400_000)), ..day }, 25), 1);
}

#[test]
fn an_exception_in_a_span_event_becomes_an_error_event() {
    let request = traces(NOW);
    let built = spans::build(&request, World::default().arrival());
    let found = rows(&built.blocks, "error_events");
    assert_eq!(found.len(), 1);
    check(
        &found[0],
        &[
            ("project", "shop"),
            ("ts", "1772323199020000000"),
            ("source", "otel_span"),
            ("type", "KeyError"),
            ("value", "'a'"),
            ("normalized", "<str>"),
            ("level", "error"),
            ("release", "1.4.2"),
            ("environment", "prod"),
            ("user", "u7"),
            ("trace_id", "0102030405060708090a0b0c0d0e0f10"),
            ("span_id", "0102030405060708"),
            ("frames_function", "[pay]"),
            ("frames_file", "[/srv/shop/app.py]"),
            ("frames_line", "[3]"),
            ("frames_in_app", "[1]"),
            ("tags", "{exception.escaped=True,otel.scope.name=lib,span.name=POST /pay}"),
            ("retention_days", "90"),
        ],
    );
    let again = spans::build(&request, World::default().arrival_at(Timestamp::from_nanos(NOW as i64 + 7)));
    assert_eq!(rows(&again.blocks, "error_events")[0]["event_id"], found[0]["event_id"], "a resend is the same event");
    let mut other = span(NOW);
    other.events[0].attributes[1] = text("exception.message", "'b'");
    let other = rows(&spans::build(&traces_of(vec![other]), World::default().arrival()).blocks, "error_events").remove(0);
    assert_eq!(other["fingerprint"], found[0]["fingerprint"], "KeyError('a') and KeyError('b') are one kind");
    assert_ne!(other["event_id"], found[0]["event_id"]);
}

#[test]
fn a_log_record_becomes_a_row() {
    let built = logs::build(&logs_of(vec![record(NOW)]), World::default().arrival());
    let found = rows(&built.blocks, "logs");
    check(
        &found[0],
        &[
            ("ts", "1772323199999999995"),
            ("observed", "1772323199999999997"),
            ("received", "1772323200000"),
            ("trace_id", "0102030405060708090a0b0c0d0e0f10"),
            ("severity_number", "17"),
            ("severity_text", "ERROR"),
            ("service", "shop"),
            ("body", "payment failed"),
            ("attributes", "{code.function=pay}"),
            ("event_name", ""),
            ("scope_name", "lib"),
        ],
    );
    assert_eq!(rows(&built.blocks, "error_events"), []);
}

#[test]
fn log_records_fall_back_where_something_is_missing() {
    let map = Value::ArrayValue(opentelemetry_proto::tonic::common::v1::ArrayValue {
        values: vec![AnyValue { value: Some(Value::IntValue(1)) }],
    });
    let mut bare = record(NOW);
    (bare.time_unix_nano, bare.trace_id, bare.severity_number) = (0, vec![1; 3], 99);
    bare.body = Some(AnyValue { value: Some(map) });
    bare.attributes.push(text("event.name", "paid"));
    let mut barer = record(NOW);
    (barer.time_unix_nano, barer.observed_time_unix_nano, barer.body) = (0, 0, None);
    let old = opentelemetry_proto::tonic::logs::v1::LogRecord { time_unix_nano: 5, ..record(NOW) };
    let built = logs::build(&logs_of(vec![bare, barer, old]), World::default().arrival());
    let found = rows(&built.blocks, "logs");
    check(
        &found[0],
        &[
            ("ts", "1772323199999999997"),
            ("trace_id", "00000000000000000000000000000000"),
            ("severity_number", "0"),
            ("body", "[1]"),
            ("event_name", "paid"),
        ],
    );
    check(&found[1], &[("ts", "1772323200000000000"), ("observed", "1772323200000000000"), ("body", "")]);
    assert_eq!(rejected(&built), [(Reason::TooOld, 1)]);
}

#[test]
fn an_exception_in_a_log_record_becomes_an_error_event() {
    let mut failed = record(NOW);
    failed.severity_number = 21;
    failed.attributes.push(text("exception.type", "ValueError"));
    failed.attributes.push(text("exception.stacktrace", &format!("{}ValueError: x", "File \"/a/b.py\", line 1, in f\n".repeat(5_000))));
    let built = logs::build(&logs_of(vec![failed.clone(), failed]), World::default().arrival());
    let found = rows(&built.blocks, "error_events");
    check(&found[0], &[("source", "otel_log"), ("type", "ValueError"), ("value", "payment failed"), ("level", "fatal"), ("user", "")]);
    assert!(found[0]["stack"].len() > 100_000, "a stack may be longer than an attribute value");
    assert_ne!(found[0]["event_id"], found[1]["event_id"], "two equal records are two events");
    assert_eq!(built.tally.cuts().collect::<Vec<_>>(), [(Part::Value, 2)]);
}

#[test]
fn one_exception_from_a_span_and_from_a_log_is_one_kind() {
    // What Python's SDK sends: the span event has the message `'a'`, the log record of `logger.exception` only `a`, and
    // the span's stack goes through the SDK's own frames.
    let in_span = spans::build(&traces(NOW), World::default().arrival());
    let in_log = |key: &str| {
        let mut failed = record(NOW);
        let stack = format!("Traceback (most recent call last):\n  File \"/srv/shop/app.py\", line 3, in pay\n    x\nKeyError: '{key}'\n");
        failed.attributes = vec![text("exception.type", "KeyError"), text("exception.message", key), text("exception.stacktrace", &stack)];
        rows(&logs::build(&logs_of(vec![failed]), World::default().arrival()).blocks, "error_events").remove(0)
    };
    let fingerprint = &rows(&in_span.blocks, "error_events")[0]["fingerprint"];
    assert_eq!((&in_log("a")["fingerprint"], &in_log("b")["fingerprint"]), (fingerprint, fingerprint));
    assert_eq!(in_log("b")["value"], "b", "the message stays as it was sent");
}

#[test]
fn metrics_become_points_with_series() {
    let world = World::default();
    let request = metrics_of(vec![
        gauge("process.memory.usage", vec![number(NOW, Number::AsInt(42))]),
        sum("http.server.requests", 2, true, vec![number(NOW, Number::AsDouble(1.5))]),
        sum("queue.size", 1, false, vec![number(NOW, Number::AsInt(-3))]),
    ]);
    let built = points::build(&request, world.arrival());
    let (series, found) = (rows(&built.blocks, "series"), rows(&built.blocks, "points"));
    let shown = |row: &Row| format!("{} {} {} {} {}", row["metric"], row["kind"], row["temporality"], row["monotonic"], row["otel_name"]);
    assert_eq!(
        series.iter().map(shown).collect::<Vec<_>>(),
        [
            "process_memory_usage_bytes gauge unspecified 0 process.memory.usage",
            "http_server_requests_total sum cumulative 1 http.server.requests",
            "queue_size sum delta 0 queue.size",
            "target_info gauge unspecified 0 target.info",
        ]
    );
    check(
        &series[0],
        &[
            ("labels", "{http_method=GET,instance=shop-1,job=acme/shop}"),
            ("unit", "By"),
            ("description", "d"),
            ("scope_name", "lib"),
            ("first_seen", "1772323200000"),
            ("last_seen", "1772323200000"),
        ],
    );
    assert!(series[0]["resource"].contains("service.version=1.4.2"));
    check(&series[3], &[("labels", "{deployment_environment_name=prod,instance=shop-1,job=acme/shop,service_version=1.4.2}")]);
    let labels: Labels = [("__name__", "process_memory_usage_bytes"), ("http_method", "GET"), ("instance", "shop-1"), ("job", "acme/shop")]
        .into_iter()
        .collect();
    assert_eq!(series[0]["fingerprint"], labels.fingerprint().to_string());
    let values: Vec<_> = found.iter().map(|row| (row["metric"].as_str(), row["value"].as_str(), row["start_ts"].as_str())).collect();
    assert_eq!(
        values,
        [
            ("process_memory_usage_bytes", "42", "1772323140000"),
            ("http_server_requests_total", "1.5", "1772323140000"),
            ("queue_size", "-3", "1772323140000"),
            ("target_info", "1", "0"),
        ]
    );
    world.series.remember(&built.series);
    world.targets.remember(&built.targets);
    let again = points::build(&request, world.arrival());
    assert_eq!(rows(&again.blocks, "series"), []);
    assert_eq!(rows(&again.blocks, "points").len(), 3, "target_info at most once a minute");
}

#[test]
fn stale_points_and_not_a_number_are_told_apart() {
    let stale = opentelemetry_proto::tonic::metrics::v1::NumberDataPoint { flags: 1, value: None, ..number(NOW, Number::AsInt(0)) };
    let sneaky = number(NOW, Number::AsDouble(f64::from_bits(crate::rows::points::STALE_NAN)));
    let built = points::build(&metrics_of(vec![gauge("g", vec![stale, sneaky])]), World::default().arrival());
    let block = built.blocks.iter().find(|block| block.table.name == "points").unwrap();
    let model::columns::Column::Float64(values) = &block.columns[block.table.position("value").unwrap()] else { panic!() };
    assert_eq!(values[0].to_bits(), crate::rows::points::STALE_NAN);
    assert!(values[1].is_nan() && values[1].to_bits() != crate::rows::points::STALE_NAN);
    assert_eq!(rows(&built.blocks, "points")[0]["flags"], "1");
}

#[test]
fn histograms_become_one_row_a_point() {
    let point = HistogramDataPoint {
        time_unix_nano: NOW,
        count: 6,
        sum: Some(7.5),
        max: Some(4.0),
        explicit_bounds: vec![1.0, 2.0],
        bucket_counts: vec![1, 2, 3],
        ..Default::default()
    };
    let stale = HistogramDataPoint { flags: 1, ..point.clone() };
    let bad = HistogramDataPoint { bucket_counts: vec![1], ..point.clone() };
    let data = Data::Histogram(Histogram { data_points: vec![point, stale, bad], aggregation_temporality: 1 });
    let built = points::build(&metrics_of(vec![metric("http.server.request.duration", "s", data)]), World::default().arrival());
    let found = rows(&built.blocks, "histograms");
    check(
        &found[0],
        &[
            ("metric", "http_server_request_duration_seconds"),
            ("count", "6"),
            ("sum", "7.5"),
            ("min", "NaN"),
            ("max", "4"),
            ("bounds", "[1,2]"),
            ("counts", "[1,2,3]"),
            ("flags", "0"),
        ],
    );
    check(&found[1], &[("count", "0"), ("bounds", "[]"), ("counts", "[0]"), ("flags", "1")]);
    check(&rows(&built.blocks, "series")[0], &[("kind", "histogram"), ("temporality", "delta")]);
    assert_eq!(rejected(&built), [(Reason::BadBuckets, 1)]);
}

#[test]
fn points_that_can_never_be_stored_are_rejected_and_the_rest_is_kept() {
    let with = |change: fn(&mut opentelemetry_proto::tonic::metrics::v1::NumberDataPoint)| {
        let mut point = number(NOW, Number::AsInt(1));
        change(&mut point);
        point
    };
    let exponential = ExponentialHistogram { data_points: vec![ExponentialHistogramDataPoint::default(); 2], aggregation_temporality: 1 };
    let request = metrics_of(vec![
        gauge(
            "g",
            vec![
                with(|_| ()),
                with(|point| point.value = None),
                with(|point| point.time_unix_nano = 1),
                with(|point| point.attributes.push(text("ようこそ", "x"))),
                with(|point| point.attributes.push(text("k", &"x".repeat(3_000)))),
                with(|point| point.attributes.extend((0..70).map(|n| text(&format!("k{n}"), "x")))),
            ],
        ),
        metric("@#", "", Data::Gauge(opentelemetry_proto::tonic::metrics::v1::Gauge { data_points: vec![with(|_| ())] })),
        sum("s", 0, true, vec![with(|_| ())]),
        metric("e", "", Data::ExponentialHistogram(exponential)),
        metric("q", "", Data::Summary(Summary { data_points: vec![SummaryDataPoint::default()] })),
    ]);
    let built = points::build(&request, World::default().arrival());
    assert_eq!(
        rejected(&built),
        [
            (Reason::TooOld, 1),
            (Reason::NoTime, 3),
            (Reason::BadMetricName, 1),
            (Reason::BadLabelName, 1),
            (Reason::NoTemporality, 1),
            (Reason::NoValue, 1),
            (Reason::TooManyLabels, 1),
            (Reason::LabelTooLong, 1),
        ]
    );
    assert_eq!(built.tally.records, 11);
    assert!(built.tally.message("data points").unwrap().contains("3 without a time"));
    assert_eq!(rows(&built.blocks, "points").iter().filter(|row| row["metric"] == "g_bytes").count(), 1);
}

#[test]
fn attributes_that_become_the_same_label_are_joined_and_the_resource_wins() {
    let mut point = number(NOW, Number::AsInt(1));
    point.attributes =
        vec![text("a.b", "2"), text("a_b", "3"), text("a-b", "1"), text("job", "mine"), text("empty", ""), text("__name__", "x")];
    let built = points::build(&metrics_of(vec![gauge("g", vec![point])]), World::default().arrival());
    check(&rows(&built.blocks, "series")[0], &[("labels", "{a_b=1;2;3,instance=shop-1,job=acme/shop}"), ("metric", "g_bytes")]);
}

#[test]
fn a_resource_without_identity_has_no_target_info() {
    let mut request = metrics_of(vec![gauge("g", vec![number(NOW, Number::AsInt(1))])]);
    request.resource_metrics[0].resource.as_mut().unwrap().attributes = vec![text("host.name", "h")];
    let built = points::build(&request, World::default().arrival());
    assert_eq!(rows(&built.blocks, "points").len(), 1);
    check(&rows(&built.blocks, "series")[0], &[("labels", "{http_method=GET}")]);
}

#[test]
fn a_span_with_too_much_is_cut_and_marked() {
    let config = Config { max_events: 1, max_links: 1, max_attributes: 2, ..Config::default() };
    let mut large = span(NOW);
    large.name = "n".repeat(2_000);
    large.attributes.push(text("huge", &"x".repeat(1_000_000)));
    large.attributes.swap(0, 3);
    large.events = vec![large.events[0].clone(); 3];
    large.links = vec![large.links[0].clone(); 4];
    let built = spans::build(&traces_of(vec![large]), World::new(&config).arrival());
    let row = &rows(&built.blocks, "spans")[0];
    assert!(row["name"].ends_with("...[cut from 2000 bytes]") && row["name"].len() == 1_024);
    assert!(row["attributes"].contains("...[cut from 1000000 bytes]") && row["attributes"].contains("watchfire.dropped_attributes=2"));
    let cuts: Vec<_> = built.tally.cuts().collect();
    assert!(cuts.contains(&(Part::Name, 1)) && cuts.contains(&(Part::Event, 2)) && cuts.contains(&(Part::Link, 3)), "{cuts:?}");
}
