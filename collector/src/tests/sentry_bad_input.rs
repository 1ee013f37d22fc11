//! Bad input in the ways of Sentry's SDKs: the right status, one sentence, counted, and nothing of it stored.

use http::StatusCode;
use model::time::Span as Pause;
use model::units::ByteCount;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::bad_input::gzip;
use super::fixtures::*;
use super::sentry::{ENVELOPE, envelope, error_event, send};
use crate::Config;
use crate::decode::Protocol;
use crate::rows::Builder;
use crate::sentry::Endpoint;

/// name, path, headers, body, status, words of the sentence
type Case = (&'static str, &'static str, Vec<(&'static str, &'static str)>, Vec<u8>, StatusCode, &'static str);

fn bad() -> Vec<Case> {
    let good = envelope(&[("event", &error_event())]).into_bytes();
    let gzip_header = vec![("content-encoding", "gzip")];
    let bad = StatusCode::BAD_REQUEST;
    let large = StatusCode::PAYLOAD_TOO_LARGE;
    let cut = |by: usize| good[..good.len() - by].to_vec();
    let of = |kind: &str, payload: &str| envelope(&[(kind, payload)]).into_bytes();
    let deep = format!(r#"{{"extra":{{"a":{}{}}}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let ignored = format!(r#"{{"breadcrumbs":{}"#, "[".repeat(50_000));
    let objects = format!(r#"{{"spans":[{}{{}}]}}"#, "{},".repeat(20_000));
    let not_utf8 = good.iter().map(|byte| if *byte == b'7' { 0xFF } else { *byte }).collect::<Vec<u8>>();
    vec![
        ("empty", ENVELOPE, vec![], vec![], bad, "first line of the envelope is not a JSON object"),
        ("text", ENVELOPE, vec![], b"hello".to_vec(), bad, "first line of the envelope"),
        ("a list", ENVELOPE, vec![], b"[]\n".to_vec(), bad, "another JSON value"),
        ("cut off", ENVELOPE, vec![], cut(100), bad, "the envelope is cut off"),
        ("cut inside JSON", ENVELOPE, vec![], of("event", "{\"a\":"), bad, "item 1 (event) is not a JSON object: EOF"),
        ("an item of another shape", ENVELOPE, vec![], of("transaction", "[1]"), bad, "item 1 (transaction) is not a JSON object"),
        ("a broken log", ENVELOPE, vec![], of("log", "x"), bad, "item 1 (log) is not a JSON object"),
        ("a broken check-in", ENVELOPE, vec![], of("check_in", ""), bad, "item 1 (check_in)"),
        ("no type", ENVELOPE, vec![], b"{}\n{}\n{}\n".to_vec(), bad, "names no type"),
        ("not UTF-8", ENVELOPE, vec![], not_utf8, bad, "not a JSON object"),
        ("event not UTF-8", "/api/1/store/", vec![], b"{\"message\":\"\xff\"}".to_vec(), bad, "item 1 (event) is not UTF-8"),
        ("no event", "/api/1/store/", vec![], b"".to_vec(), bad, "item 1 (event) is not a JSON object"),
        ("an envelope as event", "/api/1/store/", vec![], good.clone(), bad, "trailing characters"),
        ("too deep", "/api/1/store/", vec![], deep.into_bytes(), bad, "recursion limit"),
        ("deep where nobody looks", "/api/1/store/", vec![], ignored.into_bytes(), bad, "EOF while parsing"),
        ("no gzip", ENVELOPE, gzip_header.clone(), good.clone(), bad, "not a complete gzip stream"),
        ("cut gzip", ENVELOPE, gzip_header.clone(), gzip(&good)[..60].to_vec(), bad, "not a complete gzip stream"),
        ("no brotli", ENVELOPE, vec![("content-encoding", "br")], good.clone(), bad, "not a complete br stream"),
        ("cut brotli", ENVELOPE, vec![("content-encoding", "br")], vec![0x1b, 0x85, 0x00, 0x80], bad, "not a complete br stream"),
        ("no zstd", ENVELOPE, vec![("content-encoding", "zstd")], good.clone(), bad, "not a complete zstd stream"),
        ("no deflate", ENVELOPE, vec![("content-encoding", "deflate")], good.clone(), bad, "not a complete deflate stream"),
        ("bomb", ENVELOPE, gzip_header, gzip(&vec![0; 8 << 20]), large, "larger than 256KiB after decompression"),
        ("too large", ENVELOPE, vec![], vec![0; 65 << 10], large, "larger than 64KiB on the wire"),
        ("countless objects", ENVELOPE, vec![], of("transaction", &objects), large, "send smaller batches"),
        ("lzma", ENVELOPE, vec![("content-encoding", "lzma")], good.clone(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "`lzma` is not supported"),
        ("no number", "/api/shop/envelope/", vec![], good.clone(), StatusCode::NOT_FOUND, "the project's number"),
        ("a huge number", "/api/99999999999999999999/envelope/", vec![], good, StatusCode::NOT_FOUND, "the project's number"),
    ]
}

#[tokio::test]
async fn bad_input_gets_a_sentence_and_nothing_of_it_is_stored() {
    let rig = Rig::new(Config {
        max_wire_bytes: ByteCount(64 << 10),
        max_decoded_bytes: ByteCount(256 << 10),
        max_request_memory: ByteCount(4 << 20),
        hold: Pause::millis(1),
        ..Config::default()
    });
    for (name, path, headers, body, status, words) in bad() {
        let (found, headers, text) = send(&rig, path, &headers, body).await;
        assert_eq!(found, status, "{name}: {text}");
        let detail = serde_json::from_str::<serde_json::Value>(&text).unwrap()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words) && !detail.contains('\n'), "{name}: {detail}");
        assert!(headers.get("x-sentry-rate-limits").is_none(), "{name}: SDKs need not pause");
    }
    let refused = bad().len() as f64;
    assert_eq!(rig.meter("watchfire_collector_requests_total", &[("protocol", "sentry")]), refused);
    assert_eq!(rig.meter("watchfire_collector_inflight_bytes", &[]), 0.0);
    assert_eq!(rig.sink.batches.lock().unwrap().len(), 0);
    // An item that is to be stored takes the whole envelope with it: all or nothing. One that is only counted takes nothing.
    let mixed = |kind, payload| envelope(&[("event", &error_event()), (kind, payload)]);
    assert_eq!(send(&rig, ENVELOPE, &[], mixed("log", "x")).await.0, StatusCode::BAD_REQUEST);
    for (number, (kind, payload)) in [("session", "x"), ("sessions", "[]"), ("client_report", "{")].into_iter().enumerate() {
        assert_eq!(send(&rig, ENVELOPE, &[], mixed(kind, payload)).await.0, StatusCode::OK, "{kind}");
        assert_eq!(rig.sink.rows("error_events").len(), number + 1, "{kind}: nothing else was lost");
        assert_eq!(rig.meter("watchfire_collector_cut_values_total", &[("part", "sentry_item")]), number as f64 + 1.0);
    }
}

#[tokio::test]
async fn halves_of_surrogate_pairs_cost_no_event() {
    let rig = Rig::new(Config::default());
    let event = error_event().replace("order 17 failed", r"order \ud83d failed");
    assert_eq!(send(&rig, ENVELOPE, &[], envelope(&[("event", &event)])).await.0, StatusCode::OK);
    let rows = rig.sink.rows("error_events");
    assert_eq!(rows.len(), 1);
    assert!(format!("{:?}", rows[0]).contains("order \u{fffd} failed"), "{:?}", rows[0]);
}

#[tokio::test]
async fn a_check_in_that_nothing_tells_from_the_last_one_counts_each_time() {
    let rig = Rig::new(Config::default());
    let check_in = r#"{"monitor_slug":"backup","status":"ok"}"#;
    for number in 1..4 {
        let bare = format!("{{}}\n{{\"type\":\"check_in\"}}\n{check_in}\n");
        assert_eq!(send(&rig, ENVELOPE, &[], bare).await.0, StatusCode::OK);
        assert_eq!(rig.sink.batches.lock().unwrap().len(), number);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z{} .é\"\\\\0-9-]{0,8}".prop_map(Value::from),
        Just(json!("{{ tags.a }}")),
        Just(json!("0102030405060708")),
        Just(json!(NOW / 1_000_000_000)),
    ];
    let key = prop_oneof![
        Just("values"),
        Just("frames"),
        Just("type"),
        Just("value"),
        Just("stacktrace"),
        Just("trace"),
        Just("message"),
        Just("data"),
        Just("in_app"),
        Just("items"),
        Just("attributes"),
        Just("a"),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_shape_of_a_payload_is_refused_or_panics(
        kind in prop_oneof![Just("event"), Just("transaction"), Just("session"), Just("sessions"), Just("client_report"), Just("check_in"), Just("log")],
        fields in proptest::collection::vec((
            prop_oneof![
                Just("exception"), Just("tags"), Just("extra"), Just("contexts"), Just("fingerprint"), Just("spans"), Just("threads"),
                Just("message"), Just("logentry"), Just("user"), Just("request"), Just("platform"), Just("timestamp"), Just("items"),
                Just("aggregates"), Just("attrs"), Just("discarded_events"), Just("duration"), Just("measurements"), Just("sdk"),
            ],
            any_json(),
        ), 0..8),
    ) {
        let payload = Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()).to_string();
        let body = envelope(&[(kind, &payload)]);
        let world = World::default();
        let arrival = world.arrival();
        let mut builder = Builder::new(arrival, None);
        let read = Protocol::Sentry(Endpoint::Envelope, 1).read(body.as_bytes(), arrival.limits.bounds(), &mut builder);
        prop_assert!(read.is_ok(), "{:?}", read);
        let built = builder.finish().unwrap();
        for block in &built.blocks {
            prop_assert!(block.check().is_ok());
        }
    }
}
