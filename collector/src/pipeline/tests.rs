//! Processing of whole requests: rules, redaction in every column, sampling with its weights, limits; mistakes in the configuration.

use model::access::Permission;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{Histogram, HistogramDataPoint, Metric};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use tonic_types::StatusExt;
use tower::ServiceExt;

use super::redact::tests::{in_context, secrets};
use super::*;
use crate::decode::{Format, Signal as Body};
use crate::rows::Built;
use crate::tests::fixtures::*;
use crate::tests::services::{PROTOBUF, post, serve, with_principal};

/// What is not said of redaction and patterns: they are on.
fn config(mut json: Value) -> Config {
    let all = json.as_object_mut().unwrap();
    for key in ["redaction", "patterns"] {
        all.entry(key).or_insert(json!({})).as_object_mut().unwrap().entry("enabled").or_insert(json!(true));
    }
    serde_json::from_value(json).unwrap()
}

/// Where nothing is configured no record is looked at: there is no stage, no template and nothing waits. What is left are branches.
#[test]
fn without_configuration_nothing_is_done_per_record() {
    let pipeline = Pipeline::new(&Config::default()).unwrap();
    assert!(stage::Stage::new(&pipeline, false).is_none());
    assert!(pipeline.patterns.is_none() && pipeline.tail.is_none() && pipeline.redactor.is_none());
    assert!(stage::Stage::new(&Pipeline::new(&Config::busy()).unwrap(), false).is_some());
}

fn world(json: Value) -> World {
    let pipeline = Pipeline::new(&config(json)).unwrap_or_else(|problems| panic!("{problems:?}"));
    World { pipeline, ..World::default() }
}

fn said(json: Value) -> Vec<String> {
    Pipeline::new(&config(json)).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn mistakes_are_named_with_place_and_fix() {
    for (json, sentence) in [
        (json!({"rules": [{"match": {"service": "a"}}]}), "pipeline.rules[0]: does nothing: say drop, keep,"),
        (json!({"rules": [{"name": "x", "drop": true, "keep": true}]}), "pipeline.rules[0] `x`: says both drop and keep"),
        (json!({"rules": [{"drop": true, "set": {"a": 1}}]}), "pipeline.rules[0]: drops the record, so its edits would be lost"),
        (json!({"rules": [{"set": {"": 1}}]}), "names an attribute without a key"),
        (json!({"rules": [{"on": "resource", "drop": true}]}), "`on` is only for attributes"),
        (json!({"rules": [{"on": "resource", "delete": ["x"], "match": {"name": "x"}}]}), "`match` may only use service and resource"),
        (json!({"rules": [{"on": "scope", "delete": ["x"], "match": {"status": "error"}}]}), "service, resource and scope"),
        (
            json!({"rules": [{"drop": true, "match": {"name": {"regex": "("}}}]}),
            "pipeline.rules[0].match: `name`: `(` is no regular expression",
        ),
        (
            json!({"rules": [{"drop": true, "match": {"any": [{}, {"body": []}]}}]}),
            "pipeline.rules[0].match.any[1]: `body`: the list of texts is empty",
        ),
        (json!({"rules": [{"drop": true, "match": {"not": {}}}]}), "`not` is empty"),
        (json!({"rules": [{"drop": true, "match": {"status": "ok", "body": "x"}}]}), "only spans and what only log records have"),
        (json!({"rules": [{"name": "a", "drop": true}, {"name": "a", "drop": true}]}), "pipeline.rules[1]: the name `a` exists twice"),
        (
            json!({"rules": [{"set_name": "x", "match": {"signal": "metric", "attributes": {"a": "b"}}}]}),
            "renames a metric, which comes before its points",
        ),
        (json!({"rules": [{"hash": ["user.id"]}]}), "pipeline.hash_key: is not set, and rule `rule 1` hashes"),
        (json!({"redaction": {"mail": "hash"}}), "pipeline.hash_key: is not set, and redaction.mail hashes"),
        (json!({"hash_key": "short"}), "pipeline.hash_key: is shorter than 16 characters"),
        (json!({"sampling": {"spans": [{"ratio": 1.5}]}}), "pipeline.sampling.spans[0]: `ratio` is 1.5: write a share from 0 to 1"),
        (
            json!({"sampling": {"spans": [{"ratio": 0.5, "match": {"body": "x"}}]}}),
            "pipeline.sampling.spans[0]: can never match one of the spans",
        ),
        (json!({"tail_sampling": {"ratio": -0.1}}), "pipeline.tail_sampling: `ratio` is -0.1: write a share from 0 to 1"),
        (json!({"tail_sampling": {"wait": "1h", "remember": "2h"}}), "pipeline.tail_sampling: `wait` must be above 0s and at most 10m"),
        (json!({"tail_sampling": {"remember": "1s"}}), "pipeline.tail_sampling: `remember` is below `wait`"),
        (json!({"tail_sampling": {"max_traces": 0}}), "pipeline.tail_sampling: `max_traces` is 0"),
        (json!({"tail_sampling": {"rare": {"per": "0s"}}}), "pipeline.tail_sampling: `rare.per` is 0s"),
        (json!({"cardinality": {"window": "1h"}}), "pipeline.cardinality: `window` is below 2h"),
        (json!({"rate_limits": {"default": {"spans": {"records": 0}}}}), "pipeline.rate_limits.default.spans: a rate is 0"),
        (json!({"rate_limits": {"tenants": {"A B": {}}}}), "`A B` is no name of a tenant"),
        (json!({"patterns": {"similarity": 3}}), "pipeline.patterns: `similarity` must be from 0.1 to 1"),
    ] {
        let said = said(json.clone());
        assert!(said.len() == 1 && said[0].contains(sentence), "{json}: {said:?}");
    }
    let both = said(json!({"hash_key": "short", "cardinality": {"window": "1h"}}));
    assert_eq!(both.len(), 2, "all mistakes at once: {both:?}");
    let unknown = serde_json::from_value::<Config>(json!({"rules": [{"match": {"servise": "a"}}]})).unwrap_err().to_string();
    assert!(unknown.contains("unknown field `servise`, expected one of"), "{unknown}");
    assert!(!format!("{:?}", config(json!({"hash_key": "hunter22"}))).contains("hunter22"));
}

#[test]
fn the_default_survives_text_and_its_key_does_not_show() {
    let default = Config::default();
    let text = serde_json::to_string(&default).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), default);
    assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), default);
    assert_ne!(
        Pipeline::new(&default).unwrap().generation,
        Pipeline::new(&config(json!({"hash_key": "0123456789abcdef"}))).unwrap().generation
    );
}

fn names(built: &Built, table: &str, column: &str) -> Vec<String> {
    rows(&built.blocks, table).iter().map(|row| row[column].clone()).collect()
}

fn named(name: &str, status: i32, millis: u64) -> opentelemetry_proto::tonic::trace::v1::Span {
    let mut span = span(NOW);
    span.name = name.to_owned();
    span.status.as_mut().unwrap().code = status;
    span.end_time_unix_nano = span.start_time_unix_nano + millis * 1_000_000;
    span.events.clear();
    span
}

#[test]
fn rules_drop_keep_and_edit_in_order() {
    let world = world(json!({"hash_key": "0123456789abcdef", "redaction": {"enabled": false}, "rules": [
        {"name": "errors stay", "keep": true, "match": {"signal": "span", "status": "error"}},
        {"name": "health", "drop": true, "match": {"service": "sh*", "name": ["GET /health*", {"regex": "^ping$"}]}},
        {"name": "slow", "set": {"slow": true}, "match": {"signal": "span", "min_duration": "1s"}},
        {"name": "edit", "rename": {"http.route": "route"}, "add": {"team": "core", "enduser.id": "nobody"}, "hash": ["enduser.id"],
         "delete": ["http.response.*"], "match": {"signal": "span", "attributes": {"http.route": "*"}, "not": {"kind": "client"}}},
        {"name": "named", "set_name": "pay", "match": {"attributes": {"route": "/pay"}, "scope": "lib"}},
        {"name": "resource", "on": "resource", "set": {"region": "eu"}, "delete": ["service.version"], "match": {"resource": {"service.namespace": "acme"}}},
        {"name": "region", "set": {"in": "eu"}, "match": {"resource": {"region": "eu"}}},
        {"name": "scope", "on": "scope", "set": {"scoped": 1}, "match": {"scope": "lib", "service": "shop"}},
    ]}));
    let mut bare = named("bare", 0, 1);
    bare.attributes.clear();
    let request =
        traces_of(vec![named("GET /healthz", 0, 1), named("GET /healthz", 2, 1), named("ping", 1, 1), named("slow", 0, 1_000), bare]);
    let built = spans::build(&request, world.arrival());
    let found = rows(&built.blocks, "spans");
    assert_eq!(names(&built, "spans", "name"), ["pay", "pay", "bare"]);
    let hash = hash::Hasher::new(&Secret::new("0123456789abcdef")).hash("u7");
    assert_eq!(found[0]["attributes"], format!("{{enduser.id={hash},in=eu,route=/pay,team=core}}"));
    assert_eq!(found[1]["attributes"], format!("{{enduser.id={hash},in=eu,route=/pay,slow=true,team=core}}"));
    assert_eq!(found[2]["attributes"], "{in=eu}");
    assert!(found[0]["resource"].contains("region=eu") && !found[0]["resource"].contains("service.version"));
    assert_eq!(found[0]["scope_attributes"], "{scoped=1}");
    assert_eq!(built.changes.dropped, [0, 2], "the second rule dropped two");
    let calls: f64 = rows(&built.blocks, "points").iter().map(|row| row["value"].parse::<f64>().unwrap()).sum();
    assert_eq!(calls, 3.0, "what is dropped is in no series");
}

#[test]
fn log_records_and_points_are_filtered_and_edited() {
    let world = world(json!({"rules": [
        {"drop": true, "match": {"signal": "log", "max_severity": "debug"}},
        {"set": {"bad": true}, "match": {"min_severity": "warning", "body": "*failed*"}},
        {"set_name": "http.duration", "match": {"signal": "metric", "name": "http.server.duration"}},
        {"drop": true, "match": {"signal": "metric", "name": "go.*"}},
        {"drop": true, "match": {"signal": "metric", "attributes": {"http.method": "OPTIONS"}}},
        {"delete": ["pod"], "rename": {"http.method": "method"}, "match": {"signal": "metric"}},
    ]}));
    let with = |severity, body: &str| {
        let mut record = record(NOW);
        record.severity_number = severity;
        record.body.as_mut().unwrap().value = Some(opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(body.into()));
        record
    };
    let built =
        logs::build(&logs_of(vec![with(5, "chatty"), with(0, "unknown"), with(13, "it failed"), with(9, "failed")]), world.arrival());
    assert_eq!(names(&built, "logs", "body"), ["it failed", "failed"]);
    assert_eq!(names(&built, "logs", "attributes"), ["{bad=true,code.function=pay}", "{code.function=pay}"]);
    let point = |method: &str, pod: &str| {
        let mut point = number(NOW, Number::AsInt(1));
        point.attributes = vec![text("http.method", method), text("pod", pod)];
        point
    };
    let request = metrics_of(vec![
        gauge("http.server.duration", vec![point("GET", "a"), point("GET", "b"), point("OPTIONS", "a")]),
        gauge("go.threads", vec![point("GET", "a")]),
    ]);
    let built = points::build(&request, world.arrival());
    assert_eq!(names(&built, "series", "metric"), ["http_duration_bytes", "target_info"]);
    assert_eq!(rows(&built.blocks, "series")[0]["labels"], "{instance=shop-1,job=acme/shop,method=GET}");
    assert_eq!(names(&built, "points", "metric").len(), 3, "two points of one series, target_info");
}

/// Puts a text into every string of a request that is text to people, each in a way of its own.
fn poison(value: &mut Value, secret: &str, key: &str) {
    let exempt =
        ["traceId", "spanId", "parentSpanId", "intValue", "asInt", "bytesValue", "count", "bucketCounts", "zeroCount", "explicitBounds"];
    match value {
        Value::String(text) if !exempt.contains(&key) && !key.ends_with("UnixNano") => {
            *text = format!("{text} {secret} ");
        }
        Value::Array(items) => items.iter_mut().for_each(|item| poison(item, secret, key)),
        Value::Object(fields) => fields.iter_mut().for_each(|(key, inner)| poison(inner, secret, key)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn any_secret() -> impl Strategy<Value = (String, String)> {
    let known = secrets().into_iter().map(|(_, secret)| (secret.clone(), secret));
    let all: Vec<(String, String)> = known.chain(in_context().into_iter().map(|(_, text, secret)| (text, secret))).collect();
    proptest::sample::select(all)
}

fn everything_once() -> &'static World {
    static ONCE: std::sync::OnceLock<World> = std::sync::OnceLock::new();
    ONCE.get_or_init(|| world(json!({"redaction": {"mail": "mask"}})))
}

fn check_clean(signal: Body, request: &impl serde::Serialize, (text, secret): &(String, String)) -> Result<(), TestCaseError> {
    let shared = everything_once();
    let mut body = serde_json::to_value(request).unwrap();
    poison(&mut body, text, "");
    // The caches are new each time: a series that is known would be described nowhere.
    let own = World::default();
    let arrival = crate::rows::Arrival { pipeline: &shared.pipeline, ..own.arrival() };
    let built = build(signal, Format::Json, body.to_string().as_bytes(), arrival).unwrap();
    for (table, rows) in dump(&built.blocks) {
        for row in rows {
            for (column, value) in row {
                prop_assert!(!value.contains(secret.as_str()), "{} stands in {}.{}: {}", secret, table, column, value);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// No secret of a known format is in any column of any table, wherever in a request it stood.
    #[test]
    fn no_secret_reaches_a_column(
        spans in any_traces(), logs in any_logs(), metrics in any_metrics(), secret in any_secret(),
    ) {
        check_clean(Body::Traces, &spans, &secret)?;
        check_clean(Body::Logs, &logs, &secret)?;
        check_clean(Body::Metrics, &metrics, &secret)?;
    }

    /// Redaction changes nothing where there is no secret, and all formats are processed alike.
    #[test]
    fn clean_requests_stay_as_they_are(spans in any_traces(), logs in any_logs(), metrics in any_metrics()) {
        // Letters at random make keys that are secrets, too: `pwd`, `p.wd`.
        let text: String = format!("{spans:?} {logs:?} {metrics:?}").to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
        prop_assume!(!["pwd", "jwt"].iter().any(|key| text.contains(key)));
        let off = World { pipeline: Pipeline::new(&config(json!({"redaction": {"enabled": false}}))).unwrap(), ..World::default() };
        for (signal, body) in [(Body::Traces, spans.encode_to_vec()), (Body::Logs, logs.encode_to_vec()), (Body::Metrics, metrics.encode_to_vec())] {
            let with = World::default();
            let arrival = crate::rows::Arrival { pipeline: &everything_once().pipeline, ..with.arrival() };
            let with = build(signal, Format::Protobuf, &body, arrival).unwrap();
            let without = build(signal, Format::Protobuf, &body, off.arrival()).unwrap();
            prop_assert_eq!(dump(&with.blocks), dump(&without.blocks));
        }
    }
}

#[test]
fn secrets_in_exceptions_do_not_reach_error_events_and_do_not_split_their_group() {
    let world = World::default();
    let with = |token: &str| {
        let mut span = span(NOW);
        let attributes = &mut span.events[0].attributes;
        attributes[1] = text("exception.message", &format!("refused: Bearer {token}"));
        attributes[2] = text(
            "exception.stacktrace",
            &format!("Traceback (most recent call last):\n  File \"/srv/app.py\", line 3, in pay\nKeyError: refused: Bearer {token}\n"),
        );
        span
    };
    let (one, other) = ("abcdefghij0123456789", "zyxwvutsrq9876543210");
    let built = spans::build(&traces_of(vec![with(one), with(other)]), world.arrival());
    let errors = rows(&built.blocks, "error_events");
    assert_eq!(errors.len(), 2);
    assert_eq!(errors[0]["fingerprint"], errors[1]["fingerprint"]);
    for row in &errors {
        assert!(row["value"] == "refused: Bearer [redacted:authorization]" && row["stack"].contains("[redacted:authorization]"), "{row:?}");
        assert!(row.values().all(|value| !value.contains(one) && !value.contains(other)));
    }
    assert!(world.pipeline.redactor.as_ref().unwrap().labels(&built.changes.redacted).eq([("authorization", 4)]));
}

#[test]
fn an_error_event_that_came_by_another_way_is_redacted_too() {
    use crate::errors::Frame;
    use crate::errors::event::{ErrorEvent, ErrorRows};
    let world = World::default();
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    let dirty = format!("x {secret} y");
    let frame = Frame { function: dirty.clone(), file: dirty.clone(), line: 1, in_app: true };
    let mut rows_of = ErrorRows::new(world.arrival());
    rows_of.push(&ErrorEvent {
        project: &dirty,
        fingerprint: 1,
        ts: NOW as i64,
        event_id: [1; 16],
        source: 0,
        kind: &dirty,
        message: &dirty,
        normalized: &dirty,
        level: &dirty,
        grouped_by: Some(dirty.clone()),
        release: &dirty,
        environment: &dirty,
        user: &dirty,
        trace_id: &[],
        span_id: &[],
        frames: &[frame],
        stack: &dirty,
        tags: &[("authorization".into(), "anything".into()), (dirty.as_str().into(), dirty.as_str().into())],
    });
    assert_eq!(rows_of.redacted().total(), 15);
    let found = rows(&[rows_of.into_block()], "error_events");
    assert!(found[0].values().all(|value| !value.contains(&secret) && !value.contains("anything")), "{found:?}");
}

/// Spans of as many traces, with a failed one in each hundred.
fn many(count: u64) -> ExportTraceServiceRequest {
    let spans = (0..count).map(|at| {
        let mut span = named("work", if at % 100 == 0 { 2 } else { 0 }, 1);
        let id = xxhash_rust::xxh3::xxh3_128(&at.to_le_bytes());
        span.trace_id = id.to_be_bytes().to_vec();
        span
    });
    traces_of(spans.collect())
}

#[test]
fn sampling_keeps_counts_right() {
    let world =
        world(json!({"sampling": {"spans": [{"match": {"status": "error"}, "ratio": 1}, {"match": {"service": "shop"}, "ratio": 0.3}]}}));
    let built = spans::build(&many(5_000), world.arrival());
    let found = rows(&built.blocks, "spans");
    let errors: Vec<_> = found.iter().filter(|row| row["status"] == "ERROR").collect();
    assert!(errors.len() == 50 && errors.iter().all(|row| row["sample_rate"] == "1" && row["trace_state"].is_empty()));
    let weights: u64 = found.iter().map(|row| row["sample_rate"].parse::<u64>().unwrap()).sum();
    assert!((1_300..1_800).contains(&found.len()) && (4_700..5_300).contains(&weights), "{} stand for {weights}", found.len());
    assert!(
        found.iter().filter(|row| row["status"] != "ERROR").all(|row| row["trace_state"].starts_with("ot=th:b33333")),
        "{:?}",
        found[1]
    );
    assert_eq!(built.changes.sampled_spans as usize, 5_000 - found.len());
    let calls: f64 = rows(&built.blocks, "points").iter().map(|row| row["value"].parse::<f64>().unwrap()).sum();
    assert_eq!(calls, 5_000.0, "series are counted before sampling");
    // What was sampled by the sender counts for what it stands for.
    let mut sent = named("work", 0, 1);
    sent.trace_id = vec![0xFF; 16];
    sent.trace_state = "ot=th:8".into();
    let built = spans::build(&traces_of(vec![sent]), World::default().arrival());
    assert_eq!((names(&built, "spans", "sample_rate"), names(&built, "points", "value")), (vec!["2".to_owned()], vec!["2".to_owned()]));
}

#[test]
fn errors_of_spans_that_are_not_stored_are_kept_and_logs_count_for_what_they_stand_for() {
    let world = world(json!({"sampling": {"spans": [{"ratio": 0}], "logs": [{"match": {"max_severity": "info"}, "ratio": 0.25}]}}));
    let built = spans::build(&traces(NOW), world.arrival());
    assert_eq!(
        (rows(&built.blocks, "spans").len(), rows(&built.blocks, "error_events").len(), rows(&built.blocks, "points").len()),
        (0, 1, 1)
    );
    let quiet = |at: u64| {
        let mut quiet = record(NOW - at);
        quiet.severity_number = 9;
        quiet.trace_id.clear();
        quiet
    };
    let mut records: Vec<_> = (0..2_000).map(quiet).collect();
    records.push(record(NOW));
    let built = logs::build(&logs_of(records), world.arrival());
    let weights = names(&built, "logs", "sample_rate");
    let stored: u64 = weights.iter().map(|weight| weight.parse::<u64>().unwrap()).sum();
    assert!((400..600).contains(&weights.len()) && (1_600..2_400).contains(&stored), "{} stand for {stored}", weights.len());
    assert_eq!(weights.last().unwrap(), "1", "the loud one is stored");
    let counted: u64 = names(&built, "patterns", "count").iter().map(|count| count.parse::<u64>().unwrap()).sum();
    assert_eq!(counted, 2_001, "templates are counted before sampling");
}

#[test]
fn templates_are_rows_beside_their_records() {
    let world = World::default();
    let line = |at: u64, body: &str, severity| {
        let mut record = record(NOW - at);
        record.severity_number = severity;
        record.body.as_mut().unwrap().value = Some(opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(body.into()));
        record
    };
    let secret = format!("order 9 paid with {}", "4111 1111 1111 1111");
    let request = logs_of(vec![
        line(9, "order 1 paid by card", 9),
        line(5, "order 22 paid by card", 9),
        line(7, "order 3 paid by card", 17),
        line(1, &secret, 9),
    ]);
    let built = logs::build(&request, world.arrival());
    let found = rows(&built.blocks, "patterns");
    let texts: Vec<_> =
        found.iter().map(|row| (row["template"].as_str(), row["severity_number"].as_str(), row["count"].as_str())).collect();
    assert_eq!(
        texts,
        [("order <*> paid by card", "9", "2"), ("order <*> paid by card", "17", "1"), ("order <*> paid with [redacted:card]", "9", "1")]
    );
    assert_eq!((found[0]["service"].as_str(), found[0]["sample"].as_str()), ("shop", "order 1 paid by card"));
    assert_eq!((found[0]["first_ts"].clone(), found[0]["last_ts"].clone()), ((NOW - 14).to_string(), (NOW - 10).to_string()));
    assert_eq!(found[0]["pattern_id"], found[1]["pattern_id"]);
}

fn labelled(count: u32) -> Vec<opentelemetry_proto::tonic::metrics::v1::NumberDataPoint> {
    let point = |at: u32| {
        let mut point = number(NOW, Number::AsInt(1));
        point.attributes = vec![text("id", &at.to_string())];
        point
    };
    (0..count).map(point).collect()
}

/// name -> labels -> values of points.
fn series_values(built: &Built, metric: &str, label: &str) -> Vec<String> {
    let fingerprint = rows(&built.blocks, "series")
        .iter()
        .find(|row| row["metric"] == metric && row["labels"].contains(label))
        .map(|row| row["fingerprint"].clone());
    let Some(fingerprint) = fingerprint else { return Vec::new() };
    let table = rows(&built.blocks, "points");
    table.iter().filter(|row| row["fingerprint"] == fingerprint).map(|row| row["value"].clone()).collect()
}

const OVERFLOW: &str = "{otel_metric_overflow=true}";

#[test]
fn series_over_the_limit_become_one_that_is_visible_and_harmless() {
    let world = world(json!({"cardinality": {"max_series_per_metric": 3, "metrics": [{"metric": "free_*", "max_series": 0}]}}));
    let request = metrics_of(vec![
        sum("delta", 1, true, labelled(5)),
        gauge("level", labelled(5)),
        sum("cumulative", 2, true, labelled(5)),
        gauge("free.one", labelled(50)),
    ]);
    let built = points::build(&request, world.arrival());
    assert_eq!(series_values(&built, "delta_total", OVERFLOW), ["1", "1"], "delta points add up");
    assert_eq!(series_values(&built, "level_bytes", OVERFLOW), ["1"], "a gauge shows one value");
    assert_eq!(series_values(&built, "cumulative_total", OVERFLOW), ["0"], "of cumulative points no value is right");
    let of = |metric: &str| rows(&built.blocks, "series").iter().filter(|row| row["metric"] == metric).count();
    assert_eq!([of("delta_total"), of("level_bytes"), of("cumulative_total"), of("free_one_bytes")], [4, 4, 4, 50]);
    assert_eq!(built.tally.rejected_total(), 2, "the sender is told of cumulative points");
    assert!(built.tally.message("data points").unwrap().contains("raise pipeline.cardinality"));
    assert_eq!(built.changes.overflowed, 6);
    world.series.remember(&built.series);
    let again = points::build(&request, world.arrival());
    assert_eq!(again.changes.overflowed, 6, "known series pass, the others overflow again");
    assert_eq!(rows(&again.blocks, "points").len(), 3 + 2 + 3 + 1 + 3 + 1 + 50 + 1, "and target_info");
}

#[test]
fn histograms_over_the_limit_overflow_too() {
    let world = world(json!({"cardinality": {"max_series_per_metric": 1}}));
    let point = |at: u32| HistogramDataPoint {
        attributes: vec![text("id", &at.to_string())],
        time_unix_nano: NOW,
        count: 2,
        sum: Some(3.0),
        explicit_bounds: vec![1.0],
        bucket_counts: vec![1, 1],
        ..Default::default()
    };
    let histogram = |name: &str, temporality| -> Metric {
        metric(name, "s", Data::Histogram(Histogram { data_points: (0..3).map(point).collect(), aggregation_temporality: temporality }))
    };
    let built = points::build(&metrics_of(vec![histogram("d", 1), histogram("c", 2)]), world.arrival());
    assert_eq!(
        names(&built, "histograms", "count"),
        ["2", "2", "2", "2", "0"],
        "one and two of the delta one, one and a zero of the other"
    );
    assert_eq!(built.tally.rejected_total(), 2);
}

#[test]
fn labels_are_redacted_when_a_series_is_described_and_again_under_another_pipeline() {
    let mut world = World::default();
    let mut point = number(NOW, Number::AsInt(1));
    point.attributes = vec![text("user", "ann@x.org"), text("password", "p")];
    let request = metrics_of(vec![gauge("g", vec![point])]);
    let built = points::build(&request, world.arrival());
    world.series.remember(&built.series);
    assert!(rows(&built.blocks, "series")[0]["labels"].contains("password=[redacted:password],user=ann@x.org"));
    assert_eq!(points::build(&request, world.arrival()).changes.redacted.total(), 0, "a known series costs no second look");
    world.pipeline = Pipeline::new(&config(json!({"redaction": {"mail": "mask"}}))).unwrap();
    let built = points::build(&request, world.arrival());
    assert!(
        rows(&built.blocks, "series")[0]["labels"].contains("user=[redacted:mail]"),
        "a new pipeline is not bound by what the old one remembered"
    );
}

fn limited(json: Value) -> Rig {
    let rig = Rig::new(crate::Config::default());
    rig.collector.set_pipeline(Arc::new(Pipeline::new(&config(json!({"rate_limits": json}))).unwrap()));
    rig
}

#[tokio::test]
async fn a_tenant_over_its_rate_is_refused_before_anything_is_written() {
    let rig = limited(json!({"tenants": {"default": {"spans": {"records": 2, "burst": "1s"}}}}));
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    let send = |count: u64, from: u64| {
        let spans = (0..count).map(|at| named(&format!("{from}/{at}"), 0, 1)).collect();
        router.clone().oneshot(post("/v1/traces", &[PROTOBUF], traces_of(spans).encode_to_vec()))
    };
    assert_eq!(send(8, 0).await.unwrap().status(), 200, "more than the burst, which was full");
    let answer = send(1, 1).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "4"), "6 are owed, 2 come each second");
    assert_eq!(rig.sink.rows("spans").len(), 8);
    let body = logs_of(vec![record(NOW)]).encode_to_vec();
    assert_eq!(router.clone().oneshot(post("/v1/logs", &[PROTOBUF], body)).await.unwrap().status(), 200, "other signals have no limit");
    let address = serve(with_principal(rig.collector.grpc_router(), Permission::Ingest)).await;
    let status = TraceServiceClient::connect(address).await.unwrap().export(traces(NOW)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(
        status.message().starts_with("more than 2 spans each second (pipeline.rate_limits): send again in 3.0 s"),
        "{}",
        status.message()
    );
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay.unwrap().as_secs(), 3);
    assert_eq!(rig.meter("watchfire_pipeline_rate_limited_requests_total", &[("tenant", "default"), ("signal", "spans")]), 2.0);
    // A new pipeline without limits opens the door at once.
    rig.collector.set_pipeline(Arc::new(Pipeline::off()));
    assert_eq!(send(1, 2).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_refused_request_gives_back_what_it_took() {
    let rig = limited(json!({"default": {"spans": {"bytes": "1KiB", "burst": "1s"}}}));
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    let body = many(40).encode_to_vec();
    rig.sink.refuse(vec![model::sink::Refusal::Stopping]);
    assert_eq!(router.clone().oneshot(post("/v1/traces", &[PROTOBUF], body.clone())).await.unwrap().status(), 503);
    assert_eq!(router.clone().oneshot(post("/v1/traces", &[PROTOBUF], body.clone())).await.unwrap().status(), 200);
    let answer = router.oneshot(post("/v1/traces", &[PROTOBUF], traces(NOW).encode_to_vec())).await.unwrap();
    assert_eq!(answer.status(), 429);
}

#[tokio::test]
async fn what_was_done_is_counted() {
    let rig = Rig::new(crate::Config::default());
    let config = config(json!({
        "rules": [{"name": "no pings", "drop": true, "match": {"name": "ping"}}],
        "sampling": {"spans": [{"match": {"name": "work"}, "ratio": 0}]},
        "cardinality": {"max_series_per_metric": 1},
    }));
    rig.collector.set_pipeline(Arc::new(Pipeline::new(&config).unwrap()));
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    let mut dirty = named("pay", 0, 1);
    dirty.attributes = vec![text("password", "x")];
    let body = traces_of(vec![named("ping", 0, 1), named("work", 0, 1), dirty]).encode_to_vec();
    for _ in 0..2 {
        assert_eq!(router.clone().oneshot(post("/v1/traces", &[PROTOBUF], body.clone())).await.unwrap().status(), 200);
    }
    let body = metrics_of(vec![sum("m", 1, true, labelled(3))]).encode_to_vec();
    assert_eq!(router.oneshot(post("/v1/metrics", &[PROTOBUF], body)).await.unwrap().status(), 200);
    for (name, labels, count) in [
        ("watchfire_pipeline_dropped_records_total", &[("signal", "traces"), ("rule", "no pings")][..], 1.0),
        ("watchfire_pipeline_sampled_out_records_total", &[("signal", "traces")], 1.0),
        ("watchfire_pipeline_redactions_total", &[("kind", "password")], 1.0),
        ("watchfire_pipeline_overflow_points_total", &[], 2.0),
        ("watchfire_pipeline_active_series", &[], 2.0),
    ] {
        assert_eq!(rig.meter(name, labels), count, "{name}: a resent request counts once");
    }
}

/// Other pipelines are put in place while requests run: each is processed by one of them as a whole, and none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reloading_under_load_loses_no_row() {
    let rig = Rig::new(crate::Config::default());
    let pipelines: Vec<Arc<Pipeline>> =
        ["a", "b"].map(|mark| Arc::new(Pipeline::new(&config(json!({"rules": [{"set": {"mark": mark}}]}))).unwrap())).to_vec();
    rig.collector.set_pipeline(pipelines[0].clone());
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    let (requests, each) = (200u64, 20u64);
    let sender = |sender: u64| {
        let router = router.clone();
        tokio::spawn(async move {
            for request in 0..requests {
                let spans = (0..each).map(|at| named(&format!("{sender}/{request}/{at}"), 0, 1)).collect();
                let answer = router.clone().oneshot(post("/v1/traces", &[PROTOBUF], traces_of(spans).encode_to_vec())).await.unwrap();
                assert_eq!(answer.status(), 200);
            }
        })
    };
    let senders: Vec<_> = (0..3).map(sender).collect();
    let mut turns = 0usize;
    while !senders.iter().all(tokio::task::JoinHandle::is_finished) {
        turns += 1;
        rig.collector.set_pipeline(pipelines[turns % 2].clone());
        tokio::task::yield_now().await;
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let batches = rig.sink.batches.lock().unwrap();
    assert_eq!(batches.len() as u64, 3 * requests);
    let mut seen = std::collections::HashSet::new();
    let mut marks = std::collections::HashSet::new();
    for batch in batches.iter() {
        let found = rows(&batch.blocks, "spans");
        let mark = found[0]["attributes"].contains("mark=a");
        marks.insert(mark);
        assert!(
            found.len() as u64 == each && found.iter().all(|row| row["attributes"].contains("mark=a") == mark),
            "one pipeline a request"
        );
        seen.extend(found.into_iter().map(|row| row["name"].clone()));
    }
    assert_eq!(seen.len() as u64, 3 * requests * each, "every span once");
    assert_eq!(marks.len(), 2, "both pipelines were used in {turns} turns");
}

/// What is derived of spans is not sampled, and the spans are marked as undecided.
#[test]
fn spans_wait_where_tail_sampling_is_on_and_series_count_them_all() {
    let request = traces_of(vec![named("a", 0, 1), span(NOW)]);
    let waits = world(json!({"tail_sampling": {"enabled": true}}));
    let (waiting, plain) = (spans::build(&request, waits.arrival()), spans::build(&request, World::default().arrival()));
    let numbers = |built: &Built| built.blocks.iter().map(|block| (block.table.number, block.rows())).collect::<Vec<_>>();
    assert_eq!(numbers(&waiting)[0], (model::tables::UNDECIDED_SPANS.number, 2));
    assert_eq!(numbers(&plain)[0], (model::tables::SPANS.number, 2));
    assert_eq!(numbers(&waiting)[1..], numbers(&plain)[1..], "errors and series as without it");
    assert_eq!(dump(&waiting.blocks), dump(&plain.blocks));
}

#[test]
fn trying_out_tells_what_would_be_stored_and_why() {
    let pipeline = Pipeline::new(&config(json!({
        "rules": [{"name": "no pings", "drop": true, "match": {"name": "ping"}}, {"name": "team", "set": {"team": "core"}}],
        "sampling": {"spans": [{"match": {"name": "work"}, "ratio": 0}]},
    })))
    .unwrap();
    let mut dirty = named("pay", 0, 1);
    dirty.attributes = vec![text("note", "Bearer abcdefghij0123456789")];
    let mut bad = named("bad", 0, 1);
    bad.trace_id.clear();
    // Old spans are fine: the request arrives at its newest time.
    let mut spans = vec![named("ping", 0, 1), named("work", 0, 1), dirty, bad];
    spans.iter_mut().for_each(|span| {
        span.start_time_unix_nano = 1_500_000_000_000_000_000;
        span.end_time_unix_nano = 1_500_000_000_001_000_000;
    });
    let input = serde_json::to_vec(&traces_of(spans)).unwrap();
    let run = |input: &[u8]| {
        dry_run::dry_run(
            &crate::Config::default(),
            &pipeline,
            dry_run::InputFormat::Otlp,
            input,
            model::time::Timestamp::from_nanos(NOW as i64),
        )
    };
    let report = &run(&input).unwrap()[0];
    let told: Vec<_> =
        report.records.iter().map(|record| (record.record, record.name.as_str(), record.fate, record.by.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("span", "ping", "dropped", Some("no pings")),
            ("span", "work", "sampled out", Some("sampling.spans[0]")),
            ("span", "pay", "stored", None),
            ("span", "bad", "rejected", Some("bad_trace_id")),
        ]
    );
    let steps: Vec<_> = report.records[2].steps.iter().map(|step| (step.by.as_str(), &step.changes)).collect();
    let change = |field: &str, before: Option<&str>, after: &str| Change {
        field: field.into(),
        before: before.map(str::to_owned),
        after: Some(after.into()),
    };
    assert_eq!(steps[0], ("team", &vec![change("attributes.team", None, "core")]));
    let note = change("attributes.note", Some("Bearer abcdefghij0123456789"), "Bearer [redacted:authorization]");
    assert_eq!(steps[1], ("redaction (authorization)", &vec![note]));
    let spans = &report.tables.iter().find(|table| table.table == "spans").unwrap().rows;
    assert_eq!((spans.len(), &spans[0]["name"], &spans[0]["attributes"]["team"]), (1, &json!("pay"), &json!("core")));
    assert_eq!(spans[0]["ts"], "2017-07-14T02:40:00Z");
    assert_eq!(report.redacted, [("authorization".to_owned(), 1)]);
    assert!(report.rejected.as_ref().unwrap().starts_with("1 of 4 spans rejected"));
    let logs = serde_json::to_string(&logs_of(vec![record(NOW)])).unwrap();
    assert_eq!(run(format!("{logs}\n{logs}").as_bytes()).unwrap().len(), 2, "several requests");
    assert!(run(b"{}").unwrap_err().to_string().contains("`resourceSpans`, `resourceLogs` or `resourceMetrics`"));
    assert!(run(b"").unwrap_err().to_string().contains("no OTLP request"));
    assert!(run(b"{\"resourceSpans\": [").unwrap_err().to_string().contains("line 1"));
}
