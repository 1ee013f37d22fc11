//! Loki, newline JSON and Zipkin over HTTP: what arrives as rows, what is answered, and a table of bad input for each.

use std::io::Write;

use axum::Router;
use http::StatusCode;
use model::access::Permission;
use model::sink::Refusal;
use model::time::Span as Pause;
use model::units::ByteCount;
use proptest::prelude::*;
use prost::Message;
use tower::ServiceExt;

use super::bad_input::gzip;
use super::fixtures::*;
use super::services::{JSON, PROTOBUF, bytes, post, with_principal};
use crate::Config;

const LOKI: &str = "/loki/api/v1/push";
const LOGS: &str = "/api/watchfire/v1/logs";
const ZIPKIN: &str = "/api/v2/spans";
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// Loki's messages as its published proto has them, for senders' side.
mod logproto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct PushRequest {
        #[prost(message, repeated, tag = "1")]
        pub streams: Vec<Stream>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Stream {
        #[prost(string, tag = "1")]
        pub labels: String,
        #[prost(message, repeated, tag = "2")]
        pub entries: Vec<Entry>,
        #[prost(uint64, tag = "3")]
        pub hash: u64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Entry {
        #[prost(message, optional, tag = "1")]
        pub timestamp: Option<Timestamp>,
        #[prost(string, tag = "2")]
        pub line: String,
        #[prost(message, repeated, tag = "3")]
        pub metadata: Vec<Label>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Timestamp {
        #[prost(int64, tag = "1")]
        pub seconds: i64,
        #[prost(int32, tag = "2")]
        pub nanos: i32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Label {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub value: String,
    }
}

pub(super) type Pairs = Vec<(String, String)>;
/// Nanoseconds, line, metadata.
pub(super) type Line = (u64, String, Pairs);

/// A push as JSON.
fn loki_json(streams: &[(Pairs, Vec<Line>)]) -> Vec<u8> {
    let object =
        |pairs: &Pairs| pairs.iter().cloned().map(|(key, value)| (key, value.into())).collect::<serde_json::Map<_, serde_json::Value>>();
    let streams: Vec<_> = streams
        .iter()
        .map(|(labels, lines)| {
            let values: Vec<_> = lines.iter().map(|(time, line, meta)| serde_json::json!([time.to_string(), line, object(meta)])).collect();
            serde_json::json!({ "values": values, "stream": object(labels) })
        })
        .collect();
    serde_json::json!({ "streams": streams }).to_string().into_bytes()
}

/// The same push as snappy protobuf; labels are quoted as Go quotes them.
pub(super) fn loki_protobuf(streams: &[(Pairs, Vec<Line>)]) -> Vec<u8> {
    let quoted = |pairs: &Pairs| pairs.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join(", ");
    let streams = streams
        .iter()
        .map(|(labels, lines)| logproto::Stream {
            labels: format!("{{{}}}", quoted(labels)),
            entries: lines
                .iter()
                .map(|(time, line, meta)| logproto::Entry {
                    timestamp: Some(logproto::Timestamp { seconds: (time / 1_000_000_000) as i64, nanos: (time % 1_000_000_000) as i32 }),
                    line: line.clone(),
                    metadata: meta.iter().map(|(name, value)| logproto::Label { name: name.clone(), value: value.clone() }).collect(),
                })
                .collect(),
            hash: 7,
        })
        .collect();
    snappy(&logproto::PushRequest { streams }.encode_to_vec())
}

fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn push() -> Vec<(Pairs, Vec<Line>)> {
    vec![
        (
            pairs(&[("app", "shop"), ("job", "k8s"), ("level", "warn")]),
            vec![
                (NOW - 5, "disk \"full\"".to_owned(), pairs(&[("trace_id", "0102030405060708090a0b0c0d0e0f10"), ("pod", "p-1")])),
                (NOW - 4, "boom".to_owned(), pairs(&[("level", "error")])),
            ],
        ),
        (pairs(&[("job", "cron")]), vec![(NOW - 3, String::new(), Pairs::new())]),
    ]
}

fn router(rig: &Rig) -> Router {
    with_principal(rig.collector.formats_router(), Permission::Ingest)
}

async fn send(router: &Router, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> (StatusCode, String) {
    let answer = router.clone().oneshot(post(path, headers, body.into())).await.unwrap();
    let status = answer.status();
    (status, String::from_utf8(bytes(answer).await).unwrap())
}

#[tokio::test]
async fn loki_streams_become_logs() {
    for (headers, body) in [
        (vec![JSON], loki_json(&push())),
        (vec![JSON, GZIP], gzip(&loki_json(&push()))),
        (vec![PROTOBUF], loki_protobuf(&push())),
        (vec![PROTOBUF, ("content-encoding", "snappy")], loki_protobuf(&push())),
    ] {
        let rig = Rig::new(Config::default());
        assert_eq!(send(&router(&rig), LOKI, &headers, body.clone()).await, (StatusCode::NO_CONTENT, String::new()), "{headers:?}");
        let rows = rig.sink.rows("logs");
        let seen: Vec<_> = rows
            .iter()
            .map(|row| ["ts", "service", "severity_number", "severity_text", "body", "attributes"].map(|name| row[name].as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                [&*(NOW - 5).to_string(), "shop", "13", "warn", "disk \"full\"", "{pod=p-1}"],
                [&*(NOW - 4).to_string(), "shop", "17", "error", "boom", "{level=error}"],
                [&*(NOW - 3).to_string(), "cron", "0", "", "", "{}"],
            ]
        );
        assert_eq!(rows[0]["resource"], "{app=shop,job=k8s,level=warn,service.name=shop}");
        assert_eq!(rows[0]["trace_id"], "0102030405060708090a0b0c0d0e0f10");
        // The same push again, as an agent sends it that got no answer.
        assert_eq!(send(&router(&rig), LOKI, &headers, body).await.0, StatusCode::NO_CONTENT);
        assert_eq!(rig.sink.rows("logs").len(), 3);
        assert_eq!(rig.meter("watchfire_collector_duplicate_requests_total", &[("signal", "logs")]), 1.0);
        assert_eq!(rig.meter("watchfire_collector_requests_total", &[("protocol", "loki"), ("code", "204")]), 2.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn lokis_json_and_protobuf_decode_alike(
        streams in proptest::collection::vec(
            (
                proptest::collection::btree_map("[a-z_]{1,5}|level|service_name", "[a-zé\"\\\\\n{},=]{0,6}", 0..4),
                proptest::collection::vec(
                    (prop_oneof![9 => NOW - 86_400_000_000_000..NOW + 1_000, 1 => 0..NOW], "[ -~é\u{1}]{0,9}", proptest::collection::btree_map("[a-z]{1,3}|level|trace_id", "[a-z0-9]{0,4}|error", 0..3)),
                    0..4,
                ),
            ),
            0..3,
        )
    ) {
        let streams: Vec<(Pairs, Vec<Line>)> = streams
            .into_iter()
            .map(|(labels, lines)| {
                let lines = lines.into_iter().map(|(time, line, meta)| (time, line, meta.into_iter().collect())).collect();
                (labels.into_iter().collect(), lines)
            })
            .collect();
        let rows = |body: &[u8], format| {
            let world = World::default();
            let arrival = world.arrival();
            let mut builder = crate::rows::Builder::new(arrival, None);
            crate::decode::Protocol::Loki(format).read(body, arrival.limits.bounds(), &mut builder).unwrap();
            let built = builder.finish().unwrap();
            (dump(&built.blocks), built.tally)
        };
        let packed = loki_protobuf(&streams);
        let plain = snap::raw::Decoder::new().decompress_vec(&packed).unwrap();
        prop_assert_eq!(
            rows(&loki_json(&streams), crate::decode::Format::Json),
            rows(&plain, crate::decode::Format::Protobuf)
        );
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), text in "[\\[\\]{}\":,a-z0-9.\n ]{0,80}") {
        use crate::decode::{Format, Protocol};
        for protocol in [
            Protocol::Loki(Format::Json),
            Protocol::Loki(Format::Protobuf),
            Protocol::Ndjson,
            Protocol::Zipkin,
            Protocol::Syslog(0),
            Protocol::Fluent { resends: false },
        ] {
            for body in [&bytes[..], text.as_bytes()] {
                let world = World::default();
                let arrival = world.arrival();
                let mut builder = crate::rows::Builder::new(arrival, None);
                let _ = protocol.read(body, arrival.limits.bounds(), &mut builder);
                for block in builder.finish().unwrap().blocks {
                    block.check().unwrap();
                }
            }
        }
    }
}

#[tokio::test]
async fn entries_of_another_age_are_told_and_the_others_stored() {
    let rig = Rig::new(Config::default());
    let streams = [(
        pairs(&[("app", "a")]),
        vec![(NOW, "new".to_owned(), Pairs::new()), (5, "old".to_owned(), Pairs::new()), (0, "none".to_owned(), Pairs::new())],
    )];
    for (headers, body) in [(JSON, loki_json(&streams)), (PROTOBUF, loki_protobuf(&streams))] {
        let (status, text) = send(&router(&rig), LOKI, &[headers], body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(
            text.starts_with("2 of 3 log records rejected: 2 older than the retention") && text.ends_with("; the others are stored\n"),
            "{text}"
        );
    }
    assert_eq!(rig.sink.rows("logs").len(), 2);
}

#[tokio::test]
async fn lines_of_json_become_logs_and_bad_ones_are_told_by_number() {
    let rig = Rig::new(Config::default());
    let body = format!(
        "{{\"time\":\"2026-03-01T00:00:00.5Z\",\"level\":\"info\",\"msg\":\"started\",\"service\":\"shop\",\"port\":80,\"deep\":{{\"a\":[1]}}}}\n\
         \n\"plain\"\r\nnot json\n{{\"ts\":{},\"severity\":\"ERROR\",\"message\":\"boom\",\"trace_id\":\"0102030405060708090a0b0c0d0e0f10\",\"span_id\":\"0102030405060708\"}}\n\
         {{\"time\":1,\"msg\":\"old\"}}\n[]\n{{\"time\":\"noon\"}}\n{{\"msg\":\"hostile \\u0000 \u{202e} '; DROP TABLE logs; -- <script>\",\"service\":\"shop\"}}",
        NOW / 1_000_000
    );
    let (status, text) = send(&router(&rig), LOGS, &[NDJSON], body).await;
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &answer["accepted"], &answer["rejected"]), (StatusCode::OK, &4.into(), &4.into()), "{text}");
    let errors: Vec<_> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["line"].as_u64().unwrap(), error["error"].as_str().unwrap()))
        .collect();
    assert_eq!(errors.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4, 6, 7, 8]);
    for ((_, error), words) in
        errors.iter().zip(["not JSON: expected ident", "older than the retention", "neither an object", "`time` is `noon`"])
    {
        assert!(error.contains(words), "{error}");
    }
    let rows = rig.sink.rows("logs");
    let seen: Vec<_> =
        rows.iter().map(|row| ["ts", "service", "severity_number", "body", "attributes"].map(|name| row[name].as_str())).collect();
    assert_eq!(seen[0], ["1772323200500000000", "shop", "9", "started", "{deep={\"a\":[1]},port=80}"]);
    assert_eq!(seen[1], [&*NOW.to_string(), "unknown_service", "0", "plain", "{}"]);
    assert_eq!(seen[2], [&*NOW.to_string(), "unknown_service", "17", "boom", "{}"]);
    assert_eq!((seen[3][1], seen[3][3]), ("shop", "hostile \u{0} \u{202e} '; DROP TABLE logs; -- <script>"));
    assert_eq!((rows[2]["trace_id"].as_str(), rows[2]["span_id"].as_str()), ("0102030405060708090a0b0c0d0e0f10", "0102030405060708"));
    assert_eq!(rig.meter("watchfire_collector_rejected_rows_total", &[("signal", "logs"), ("reason", "malformed")]), 3.0);
}

const SPANS: &str = r#"[
 {"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"a2fb4a1d1a96d312","name":"get","kind":"CLIENT","timestamp":1772323199000000,"duration":2000,
  "localEndpoint":{"serviceName":"front"},"annotations":[{"timestamp":1772323199000500,"value":"retry"}],"tags":{"http.path":"/"}},
 {"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"a2fb4a1d1a96d312","name":"get","kind":"SERVER","timestamp":1772323199000100,"duration":1000,
  "shared":true,"localEndpoint":{"serviceName":"back"},"tags":{"error":"boom"}},
 {"traceId":"48485a3953bb6124","id":"1","parentId":"2","name":"job","timestamp":1772323199000000,"duration":1,"localEndpoint":{"serviceName":"back"}}
]"#;

#[tokio::test]
async fn zipkin_spans_become_spans_with_their_derived_series() {
    let rig = Rig::new(Config::default());
    for headers in [&[JSON][..], &[]] {
        assert_eq!(send(&router(&rig), ZIPKIN, headers, SPANS).await, (StatusCode::ACCEPTED, String::new()));
    }
    let rows = rig.sink.rows("spans");
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            ["trace_id", "span_id", "parent_span_id", "service", "kind", "duration", "status", "status_message", "attributes", "event_name"]
                .map(|name| row[name].as_str())
        })
        .map(|row| row.join(" "))
        .collect();
    assert_eq!(rows.len(), 3, "sent twice, stored once");
    assert!(seen[0].starts_with("463ac35c9f6413ad48485a3953bb6124 a2fb4a1d1a96d312 0000000000000000 front"), "{seen:?}");
    assert!(seen[1].contains("back") && seen[1].contains("boom") && seen[1].contains("zipkin.shared=true"), "{seen:?}");
    assert!(seen[2].starts_with("000000000000000048485a3953bb6124 0000000000000001 0000000000000002 back"), "{seen:?}");
    assert!(!rig.sink.rows("histograms").is_empty(), "spans of every protocol have RED series");
}

/// name, headers, body, status, words of the answer
type Case = (&'static str, Vec<(&'static str, &'static str)>, Vec<u8>, StatusCode, &'static str);

fn small() -> Config {
    Config {
        max_wire_bytes: ByteCount(64 << 10),
        max_decoded_bytes: ByteCount(256 << 10),
        max_request_memory: ByteCount(4 << 20),
        hold: Pause::millis(1),
        ..Config::default()
    }
}

/// Sends every bad body, and after each a good one: the answer, the counter, and that nothing else was lost.
async fn check(
    path: &str,
    names: (&str, &str),
    table: &str,
    good: impl Fn(u64) -> (Vec<(&'static str, &'static str)>, Vec<u8>),
    cases: Vec<Case>,
) {
    let rig = Rig::new(small());
    let router = router(&rig);
    let mut stored = 0;
    for (at, (name, headers, body, status, words)) in (0u64..).zip(cases) {
        let labels = [("protocol", names.0), ("signal", names.1), ("code", status.as_str())];
        let before = rig.meter("watchfire_collector_requests_total", &labels);
        let answer = router.clone().oneshot(post(path, &headers, body)).await.unwrap();
        assert_eq!(answer.status(), status, "{name}");
        assert!(answer.headers().get("retry-after").is_none(), "{name} is of no use a second time");
        let text = String::from_utf8(bytes(answer).await).unwrap();
        assert!(text.contains(words) && text.trim_end().lines().count() == 1, "{name}: {text}");
        assert_eq!(rig.meter("watchfire_collector_requests_total", &labels), before + 1.0, "{name} is counted");
        assert_eq!(rig.sink.rows(table).len(), stored, "{name} stores nothing");
        let (headers, body) = good(at);
        let (status, text) = send(&router, path, &headers, body).await;
        assert!(status.is_success(), "after {name}: {status} {text}");
        stored += 1;
        assert_eq!(rig.sink.rows(table).len(), stored, "after {name}");
    }
    assert_eq!(rig.meter("watchfire_collector_inflight_bytes", &[]), 0.0);
}

fn one_line(at: u64) -> Vec<(Pairs, Vec<Line>)> {
    vec![(pairs(&[("app", "good")]), vec![(NOW - at, "good".to_owned(), Pairs::new())])]
}

#[tokio::test]
async fn bad_pushes_of_loki() {
    let bad = StatusCode::BAD_REQUEST;
    let json = |text: &str| text.as_bytes().to_vec();
    let wrong_labels = snappy(
        &logproto::PushRequest { streams: vec![logproto::Stream { labels: "{app=shop}".into(), ..Default::default() }] }.encode_to_vec(),
    );
    let whole = loki_protobuf(&push());
    let bomb = snappy(&vec![0; 1 << 20]);
    assert!(bomb.len() < 64 << 10);
    let mut lying = vec![0xff, 0xff, 0xff, 0xff, 0x0f];
    lying.extend_from_slice(b"x");
    check(
        LOKI,
        ("loki", "logs"),
        "logs",
        |at| if at % 2 == 0 { (vec![JSON], loki_json(&one_line(at))) } else { (vec![PROTOBUF], loki_protobuf(&one_line(at))) },
        vec![
            ("truncated JSON", vec![JSON], json("{\"streams\":[{"), bad, "EOF while parsing"),
            ("JSON with garbage", vec![JSON], json("{} x"), bad, "trailing characters"),
            ("not UTF-8", vec![JSON], b"{\"streams\":\"\xff\"}".to_vec(), bad, "not UTF-8"),
            ("streams of another type", vec![JSON], json("{\"streams\":{}}"), bad, "expected a list of streams"),
            ("a list", vec![JSON], json("[]"), bad, "expected an object with `streams`"),
            ("labels of another type", vec![JSON], json(r#"{"streams":[{"stream":[],"values":[]}]}"#), bad, "stream 1, labels"),
            (
                "a time that is none",
                vec![JSON],
                json(r#"{"streams":[{"stream":{},"values":[["noon","x"]]}]}"#),
                bad,
                "nanoseconds in quotes",
            ),
            ("an entry without a line", vec![JSON], json(r#"{"streams":[{"stream":{},"values":[["1"]]}]}"#), bad, "a time and a line"),
            ("a line of another type", vec![JSON], json(r#"{"streams":[{"stream":{},"values":[["1",{}]]}]}"#), bad, "stream 1, values"),
            (
                "no snappy at all",
                vec![PROTOBUF],
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffzz".to_vec(),
                bad,
                "not a complete snappy stream",
            ),
            ("truncated snappy", vec![PROTOBUF], whole[..whole.len() / 2].to_vec(), bad, "not a complete snappy stream"),
            ("snappy around no protobuf", vec![PROTOBUF], snappy(b"\xff\xff\xff"), bad, "not the protobuf message"),
            ("labels that are none", vec![PROTOBUF], wrong_labels, bad, "malformed at byte 5: a value in quotes"),
            ("a snappy bomb", vec![PROTOBUF], bomb, StatusCode::PAYLOAD_TOO_LARGE, "after decompression"),
            ("a snappy block that lies", vec![PROTOBUF], lying, StatusCode::PAYLOAD_TOO_LARGE, "after decompression"),
            ("a gzip bomb", vec![JSON, GZIP], gzip(&vec![b' '; 8 << 20]), StatusCode::PAYLOAD_TOO_LARGE, "after decompression"),
            ("too large", vec![JSON], vec![b' '; 65 << 10], StatusCode::PAYLOAD_TOO_LARGE, "on the wire"),
            ("text", vec![("content-type", "text/plain")], json("x"), StatusCode::UNSUPPORTED_MEDIA_TYPE, "`text/plain`"),
            ("gzip around protobuf", vec![PROTOBUF, GZIP], gzip(&whole), StatusCode::UNSUPPORTED_MEDIA_TYPE, "packed with snappy"),
            ("snappy around JSON", vec![JSON, ("content-encoding", "snappy")], json("{}"), StatusCode::UNSUPPORTED_MEDIA_TYPE, "`snappy`"),
        ],
    )
    .await;
}

#[tokio::test]
async fn bad_lines_of_json() {
    let bad = StatusCode::BAD_REQUEST;
    let mut half = gzip(b"{\"msg\":\"x\"}");
    half.truncate(12);
    check(
        LOGS,
        ("ndjson", "logs"),
        "logs",
        |at| (vec![NDJSON], format!("{{\"time\":{},\"msg\":\"good\"}}", NOW - at).into_bytes()),
        vec![
            ("no JSON", vec![NDJSON], b"hello".to_vec(), bad, r#""rejected":1"#),
            ("truncated", vec![NDJSON], b"{\"msg\":\"x".to_vec(), bad, "EOF while parsing"),
            ("not UTF-8", vec![NDJSON], b"{\"msg\":\"\xff\"}".to_vec(), bad, "not UTF-8"),
            ("a clock of another age", vec![NDJSON], b"{\"time\":\"1999-01-01T00:00:00Z\"}".to_vec(), bad, "older than the retention"),
            ("a clock ahead", vec![NDJSON], b"{\"time\":\"2031-01-01T00:00:00Z\"}".to_vec(), bad, "in the future"),
            ("a time past what can be", vec![NDJSON], b"{\"time\":\"9999-01-01T00:00:00Z\"}".to_vec(), bad, "which is no time"),
            ("truncated gzip", vec![NDJSON, GZIP], half, bad, "not a complete gzip stream"),
            ("a gzip bomb", vec![NDJSON, GZIP], gzip(&vec![b'\n'; 8 << 20]), StatusCode::PAYLOAD_TOO_LARGE, "after decompression"),
            ("too large", vec![NDJSON], vec![b'\n'; 65 << 10], StatusCode::PAYLOAD_TOO_LARGE, "on the wire"),
            ("countless lines", vec![NDJSON], b"\"\"\n".repeat(20_000), StatusCode::PAYLOAD_TOO_LARGE, "send smaller batches"),
            (
                "an encoding that is none",
                vec![NDJSON, ("content-encoding", "rot13")],
                b"{}".to_vec(),
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "`rot13`",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn bad_spans_of_zipkin() {
    let bad = StatusCode::BAD_REQUEST;
    let accepted = StatusCode::ACCEPTED;
    let span = |extra: &str| format!(r#"[{{"traceId":"1","id":"2","timestamp":1772323199000000{extra}}}]"#).into_bytes();
    let text = |text: &str| text.as_bytes().to_vec();
    check(
        ZIPKIN,
        ("zipkin", "traces"),
        "spans",
        move |at| (vec![JSON], format!(r#"[{{"traceId":"1","id":"{:x}","timestamp":1772323199000000}}]"#, at + 1).into_bytes()),
        vec![
            ("truncated", vec![JSON], text("[{\"traceId\":"), bad, "EOF while parsing"),
            ("an object", vec![JSON], text("{}"), bad, "expected a list of spans"),
            ("garbage behind", vec![JSON], text("[] x"), bad, "trailing characters"),
            ("not UTF-8", vec![JSON], b"[\"\xff\"]".to_vec(), bad, "not UTF-8"),
            ("a time of another type", vec![JSON], text(r#"[{"timestamp":"x"}]"#), bad, "a number of microseconds"),
            ("tags of another type", vec![JSON], span(r#","tags":[1]"#), bad, "an object of texts"),
            ("no ids", vec![JSON], text("[{}]"), accepted, "trace id that is not 16 bytes"),
            (
                "a trace id that is none",
                vec![JSON],
                text(r#"[{"traceId":"xyz","id":"1","timestamp":1772323199000000}]"#),
                accepted,
                "trace id",
            ),
            (
                "a span id that is too long",
                vec![JSON],
                text(r#"[{"traceId":"1","id":"11112222333344445","timestamp":1}]"#),
                accepted,
                "span id",
            ),
            ("a parent that is none", vec![JSON], span(r#","parentId":"zz""#), accepted, "parent span id"),
            ("no time", vec![JSON], text(r#"[{"traceId":"1","id":"2"}]"#), accepted, "without a time"),
            (
                "a clock of another age",
                vec![JSON],
                text(r#"[{"traceId":"1","id":"2","timestamp":1000}]"#),
                accepted,
                "older than the retention",
            ),
            ("a clock ahead", vec![JSON], text(r#"[{"traceId":"1","id":"2","timestamp":9000000000000000}]"#), accepted, "in the future"),
            ("a gzip bomb", vec![JSON, GZIP], gzip(&vec![b' '; 8 << 20]), StatusCode::PAYLOAD_TOO_LARGE, "after decompression"),
            ("too large", vec![JSON], vec![b' '; 65 << 10], StatusCode::PAYLOAD_TOO_LARGE, "on the wire"),
            ("protobuf", vec![PROTOBUF], text("x"), StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json"),
            (
                "Zipkin v1 in thrift",
                vec![("content-type", "application/x-thrift")],
                text("x"),
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "x-thrift",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn hostile_strings_are_kept_as_they_are_or_cut() {
    let rig = Rig::new(Config { max_text: ByteCount(100), max_name: ByteCount(64), max_attributes: 3, ..Config::default() });
    let long = "é".repeat(500);
    let body = format!("{{\"msg\":\"{long}\",\"service\":\"{long}\",\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"{long}\":1}}\n");
    assert_eq!(send(&router(&rig), LOGS, &[NDJSON], body).await.0, StatusCode::OK);
    let spans =
        format!(r#"[{{"traceId":"1","id":"2","name":"{long}","timestamp":1772323199000000,"tags":{{"x\u0000\n":"\u202e","":""}}}}]"#);
    assert_eq!(send(&router(&rig), ZIPKIN, &[JSON], spans).await.0, StatusCode::ACCEPTED);
    let logs = rig.sink.rows("logs");
    assert!(logs[0]["body"].ends_with("...[cut from 1000 bytes]") && logs[0]["service"].len() <= 64, "{logs:?}");
    assert!(logs[0]["attributes"].contains("watchfire.dropped_attributes="), "{logs:?}");
    let spans = rig.sink.rows("spans");
    assert!(spans[0]["name"].ends_with("...[cut from 1000 bytes]") && spans[0]["attributes"].contains("x\u{0}\n=\u{202e}"), "{spans:?}");
    for part in ["text", "name", "attribute"] {
        assert!(rig.meter("watchfire_collector_cut_values_total", &[("part", part)]) > 0.0, "{part}");
    }
}

#[tokio::test]
async fn who_may_not_send_is_refused_and_who_must_wait_is_told_so() {
    let rig = Rig::new(Config { hold: Pause::millis(1), ..Config::default() });
    let full = || Refusal::LogFull { used: 9, cap: 8, retry_after: std::time::Duration::from_millis(2_500) };
    for (path, headers, body) in
        [(LOKI, JSON, loki_json(&push())), (LOGS, NDJSON, b"\"x\"".to_vec()), (ZIPKIN, JSON, SPANS.as_bytes().to_vec())]
    {
        let nobody = rig.collector.formats_router().oneshot(post(path, &[headers], body.clone())).await.unwrap();
        assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED, "{path}");
        let reader = with_principal(rig.collector.formats_router(), Permission::Read);
        assert_eq!(send(&reader, path, &[headers], body.clone()).await.0, StatusCode::FORBIDDEN, "{path}");
        rig.sink.refuse(vec![full(), full()]);
        let answer = router(&rig).oneshot(post(path, &[headers], body)).await.unwrap();
        assert_eq!((answer.status(), answer.headers()["retry-after"].to_str().unwrap()), (StatusCode::SERVICE_UNAVAILABLE, "3"), "{path}");
        let text = String::from_utf8(bytes(answer).await).unwrap();
        assert!(text.contains("the write-ahead log is full"), "{text}");
    }
    assert!(rig.sink.rows("logs").is_empty() && rig.sink.rows("spans").is_empty());
}

#[tokio::test]
async fn a_body_of_many_members_and_a_long_one_are_read_whole() {
    let rig = Rig::new(Config::default());
    let mut body = Vec::new();
    for line in 0..5_000 {
        writeln!(body, "{{\"time\":{NOW},\"msg\":\"line {line}\",\"service\":\"s{}\"}}", line % 7).unwrap();
    }
    let (status, text) = send(&router(&rig), LOGS, &[NDJSON, GZIP], gzip(&body)).await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, r#"{"accepted":5000,"errors":[],"rejected":0}"#));
    assert_eq!(rig.sink.rows("logs").len(), 5_000);
}
