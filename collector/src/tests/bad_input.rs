//! Bad input over both protocols: the right status, one sentence, counted, and nothing of it stored.

use std::io::Write;
use std::sync::atomic::Ordering;

use axum::body::{Body, Bytes};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::{Request, StatusCode};
use model::access::Permission;
use model::time::Span as Pause;
use model::units::ByteCount;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Status};
use tower::ServiceExt;

use super::fixtures::*;
use super::services::{JSON, PROTOBUF, bytes, post, with_principal};
use crate::Config;

const GZIP: (&str, &str) = ("content-encoding", "gzip");
const ZSTD: (&str, &str) = ("content-encoding", "zstd");
const GRPC: (&str, &str) = ("content-type", "application/grpc");
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

pub(super) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 1).unwrap()
}

pub(super) fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn frame(flag: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![flag];
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame
}

fn small() -> Config {
    Config {
        max_wire_bytes: ByteCount(64 << 10),
        max_decoded_bytes: ByteCount(256 << 10),
        max_request_memory: ByteCount(4 << 20),
        hold: Pause::millis(1),
        ..Config::default()
    }
}

/// A body cut in the middle: a span's field promises more bytes than follow.
fn truncated() -> Vec<u8> {
    let body = traces(NOW).encode_to_vec();
    body[..body.len() - 7].to_vec()
}

/// A span whose name is not UTF-8.
fn not_utf8() -> Vec<u8> {
    let mut body = traces(NOW).encode_to_vec();
    let at = body.windows(9).position(|window| window == b"POST /pay").unwrap();
    body[at] = 0xFF;
    body
}

/// Small on the wire, countless objects while JSON is held in memory.
fn bomb_of_objects() -> Vec<u8> {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#, "{},".repeat(20_000)).into_bytes()
}

fn trailing(mut body: Vec<u8>, garbage: &[u8]) -> Vec<u8> {
    body.extend(garbage);
    body
}

/// name, headers, body, status, words of the sentence
type Case = (&'static str, Vec<(&'static str, &'static str)>, Vec<u8>, StatusCode, &'static str);

fn cases() -> Vec<Case> {
    let good = traces(NOW).encode_to_vec();
    let zipped = gzip(&good);
    let half = zipped[..zipped.len() / 2].to_vec();
    vec![
        ("truncated protobuf", vec![PROTOBUF], truncated(), StatusCode::BAD_REQUEST, "not the protobuf message"),
        (
            "protobuf with garbage",
            vec![PROTOBUF],
            trailing(good.clone(), b"\xff\xff\xff"),
            StatusCode::BAD_REQUEST,
            "not the protobuf message",
        ),
        ("protobuf, name not UTF-8", vec![PROTOBUF], not_utf8(), StatusCode::BAD_REQUEST, "UTF-8"),
        ("JSON as protobuf", vec![PROTOBUF], b"{\"resourceSpans\":[]}".to_vec(), StatusCode::BAD_REQUEST, "not the protobuf message"),
        ("protobuf as JSON", vec![JSON], good.clone(), StatusCode::BAD_REQUEST, "the body is not"),
        ("truncated JSON", vec![JSON], b"{\"resourceSpans\":[".to_vec(), StatusCode::BAD_REQUEST, "line 1 column 18"),
        ("JSON not UTF-8", vec![JSON], b"{\"x\":\"\xff\"}".to_vec(), StatusCode::BAD_REQUEST, "not UTF-8"),
        ("JSON with garbage", vec![JSON], b"{} x".to_vec(), StatusCode::BAD_REQUEST, "trailing characters"),
        ("truncated gzip", vec![PROTOBUF, GZIP], half, StatusCode::BAD_REQUEST, "not a complete gzip stream"),
        ("gzip with garbage", vec![PROTOBUF, GZIP], trailing(zipped, b"garbage"), StatusCode::BAD_REQUEST, "not a complete gzip stream"),
        ("no gzip at all", vec![PROTOBUF, GZIP], good.clone(), StatusCode::BAD_REQUEST, "not a complete gzip stream"),
        (
            "gzip bomb",
            vec![PROTOBUF, GZIP],
            gzip(&vec![0; 8 << 20]),
            StatusCode::PAYLOAD_TOO_LARGE,
            "larger than 256KiB after decompression",
        ),
        ("too large", vec![PROTOBUF], vec![0; 65 << 10], StatusCode::PAYLOAD_TOO_LARGE, "larger than 64KiB on the wire"),
        ("countless objects", vec![JSON], bomb_of_objects(), StatusCode::PAYLOAD_TOO_LARGE, "send smaller batches"),
        ("no content type", vec![], good.clone(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/x-protobuf or application/json"),
        ("text", vec![("content-type", "text/plain")], good.clone(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "`text/plain` is not supported"),
        ("no zstd at all", vec![PROTOBUF, ZSTD], good.clone(), StatusCode::BAD_REQUEST, "not a complete zstd stream"),
        ("truncated zstd", vec![PROTOBUF, ZSTD], zstd(&good)[..20].to_vec(), StatusCode::BAD_REQUEST, "not a complete zstd stream"),
        ("zstd bomb", vec![PROTOBUF, ZSTD], zstd(&vec![0; 8 << 20]), StatusCode::PAYLOAD_TOO_LARGE, "larger than 256KiB"),
        ("no deflate", vec![PROTOBUF, ("content-encoding", "deflate")], good.clone(), StatusCode::BAD_REQUEST, "complete deflate stream"),
        ("no brotli", vec![PROTOBUF, ("content-encoding", "br")], good.clone(), StatusCode::BAD_REQUEST, "complete br stream"),
        (
            "compress",
            vec![PROTOBUF, ("content-encoding", "compress")],
            good,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "`compress` is not supported",
        ),
    ]
}

#[tokio::test]
async fn over_http() {
    let rig = Rig::new(small());
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    for (name, headers, body, status, words) in cases() {
        let code = ("code", status.as_str().to_owned());
        let labels = [("protocol", "http"), ("signal", "traces"), (code.0, code.1.as_str())];
        let before = rig.meter("watchfire_collector_requests_total", &labels);
        let answer = router.clone().oneshot(post("/v1/traces", &headers, body)).await.unwrap();
        assert_eq!(answer.status(), status, "{name}");
        assert!(answer.headers().get("retry-after").is_none(), "{name} is of no use a second time");
        let json = answer.headers()["content-type"] == "application/json";
        let body = bytes(answer).await;
        let message = if json {
            serde_json::from_slice::<serde_json::Value>(&body).unwrap()["message"].as_str().unwrap().to_owned()
        } else {
            tonic_types::Status::decode(body.as_slice()).unwrap().message
        };
        assert!(message.contains(words) && !message.contains('\n'), "{name}: {message}");
        assert_eq!(rig.meter("watchfire_collector_requests_total", &labels), before + 1.0, "{name} is counted");
    }
    assert_eq!(rig.sink.asked.load(Ordering::SeqCst), 0);
    assert_eq!(rig.meter("watchfire_collector_inflight_bytes", &[]), 0.0);
}

#[tokio::test]
async fn every_compression_is_read() {
    let rig = Rig::new(small());
    let http = with_principal(rig.collector.http_router(), Permission::Ingest);
    let grpc = with_principal(rig.collector.grpc_router(), Permission::Ingest);
    for (at, (name, pack)) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("zstd", zstd), ("deflate", deflate)].into_iter().enumerate() {
        let body = |at: u8| traces_of(vec![Span { span_id: vec![at; 8], ..span(NOW) }]).encode_to_vec();
        let at = at as u8 * 2 + 1;
        let answer = http.clone().oneshot(post("/v1/traces", &[PROTOBUF, ("content-encoding", name)], pack(&body(at)))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
        let message = frame(1, &pack(&body(at + 1)));
        let answer = grpc.clone().oneshot(post(EXPORT, &[GRPC, ("grpc-encoding", name)], message)).await.unwrap();
        assert!(Status::from_header_map(answer.headers()).is_none_or(|status| status.code() == Code::Ok), "{name}");
    }
    assert_eq!(rig.sink.rows("spans").len(), 6);
}

/// name, headers, body, code, words of the sentence
type GrpcCase = (&'static str, Vec<(&'static str, &'static str)>, Vec<u8>, Code, &'static str);

fn grpc_cases() -> Vec<GrpcCase> {
    let good = traces(NOW).encode_to_vec();
    let zipped = gzip(&good);
    let half = frame(1, &zipped[..zipped.len() / 2]);
    let named = vec![GRPC, ("grpc-encoding", "gzip")];
    let mut lying = frame(0, &good);
    lying[4] = lying[4].wrapping_add(9);
    vec![
        ("empty", vec![GRPC], vec![], Code::InvalidArgument, "shorter than the five bytes"),
        ("short frame", vec![GRPC], lying, Code::InvalidArgument, "shorter than its message"),
        ("two messages", vec![GRPC], trailing(frame(0, &good), &frame(0, &good)), Code::InvalidArgument, "one message"),
        ("bad flag", vec![GRPC], frame(7, &good), Code::InvalidArgument, "must be 0 or 1"),
        ("unnamed compression", vec![GRPC], frame(1, &zipped), Code::InvalidArgument, "grpc-encoding"),
        ("snappy", vec![GRPC, ("grpc-encoding", "snappy")], frame(1, &good), Code::Unimplemented, "`snappy`"),
        ("no zstd", vec![GRPC, ("grpc-encoding", "zstd")], frame(1, &good), Code::InvalidArgument, "not a complete zstd stream"),
        ("truncated protobuf", vec![GRPC], frame(0, &truncated()), Code::InvalidArgument, "not the protobuf message"),
        ("not UTF-8", vec![GRPC], frame(0, &not_utf8()), Code::InvalidArgument, "UTF-8"),
        ("truncated gzip", named.clone(), half, Code::InvalidArgument, "not a complete gzip stream"),
        ("gzip bomb", named, frame(1, &gzip(&vec![0; 8 << 20])), Code::ResourceExhausted, "larger than 256KiB after decompression"),
        ("too large", vec![GRPC], frame(0, &vec![0; 65 << 10]), Code::ResourceExhausted, "larger than 64KiB on the wire"),
    ]
}

#[tokio::test]
async fn over_grpc() {
    let rig = Rig::new(small());
    let router = with_principal(rig.collector.grpc_router(), Permission::Ingest);
    for (name, headers, body, code, words) in grpc_cases() {
        let answer = router.clone().oneshot(post(EXPORT, &headers, body)).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), code, "{name}");
        assert!(status.message().contains(words), "{name}: {}", status.message());
        assert!(status.details().is_empty(), "{name}: without RetryInfo exporters do not send again");
    }
    assert_eq!(rig.meter("watchfire_collector_requests_total", &[("protocol", "grpc")]), grpc_cases().len() as f64);
    assert_eq!(rig.sink.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_gzip_body_of_several_members_counts_whole() {
    let rig = Rig::new(Config::default());
    let (one, other) = (traces(NOW).encode_to_vec(), traces(NOW - 1).encode_to_vec());
    let body = trailing(gzip(&one), &gzip(&other));
    let http = with_principal(rig.collector.http_router(), Permission::Ingest);
    let answer = http.oneshot(post("/v1/traces", &[PROTOBUF, GZIP], body.clone())).await.unwrap();
    assert_eq!((answer.status(), rig.sink.rows("spans").len()), (StatusCode::OK, 2));
    let grpc = with_principal(rig.collector.grpc_router(), Permission::Ingest);
    let answer = grpc.oneshot(post(EXPORT, &[GRPC, ("grpc-encoding", "gzip")], frame(1, &body))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(rig.meter("watchfire_collector_duplicate_requests_total", &[]), 1.0, "the same two messages");
}

#[tokio::test]
async fn an_empty_request_is_accepted_and_writes_nothing() {
    let rig = Rig::new(Config::default());
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    for (path, headers, body) in
        [("/v1/traces", PROTOBUF, ""), ("/v1/logs", JSON, "{}"), ("/v1/metrics", JSON, "{\"resourceMetrics\":null}")]
    {
        let answer = router.clone().oneshot(post(path, &[headers], body)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    assert_eq!(rig.sink.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_request_that_is_rejected_whole_is_a_partial_success_and_writes_nothing() {
    let rig = Rig::new(Config::default());
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    let ten_years = 10 * 365 * 86_400_000_000_000;
    let body = traces(NOW - ten_years).encode_to_vec();
    let answer = router.oneshot(post("/v1/traces", &[PROTOBUF], body)).await.unwrap();
    assert_eq!((answer.status(), rig.sink.asked.load(Ordering::SeqCst)), (StatusCode::OK, 0));
    assert_eq!(rig.meter("watchfire_collector_rejected_rows_total", &[("signal", "traces"), ("reason", "too_old")]), 1.0);
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let rig = Rig::new(Config { body_timeout: Pause::millis(20), ..Config::default() });
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    let endless = || Body::from_stream(tokio_stream::pending::<Result<Bytes, std::io::Error>>());
    let answer = router.oneshot(post("/v1/traces", &[PROTOBUF], endless())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    let grpc = with_principal(rig.collector.grpc_router(), Permission::Ingest);
    let answer = grpc.oneshot(post(EXPORT, &[GRPC], endless())).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], (Code::DeadlineExceeded as i32).to_string());
}

#[tokio::test]
async fn a_full_house_refuses_after_the_hold_time_and_says_when_to_come_again() {
    let rig = Rig::new(Config { concurrent_requests: 1, hold: Pause::millis(5), ..Config::default() });
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    let endless = Body::from_stream(tokio_stream::pending::<Result<Bytes, std::io::Error>>());
    let stuck = tokio::spawn(router.clone().oneshot(post("/v1/traces", &[PROTOBUF], endless)));
    let answer = loop {
        let answer = router.clone().oneshot(post("/v1/traces", &[PROTOBUF], traces(NOW).encode_to_vec())).await.unwrap();
        if answer.status() != StatusCode::OK {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((answer.status(), answer.headers()["retry-after"].to_str().unwrap()), (StatusCode::TOO_MANY_REQUESTS, "1"));
    stuck.abort();
    assert!(stuck.await.unwrap_err().is_cancelled());
    let answer = router.oneshot(post("/v1/traces", &[PROTOBUF], traces(NOW).encode_to_vec())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "a client that went away gives its place back");
}

#[tokio::test]
async fn requests_whose_rows_would_take_all_memory_wait_for_their_turn() {
    let rig = Rig::new(small());
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    // Room for the body is left, room for its rows is not.
    let large = traces_of(vec![span(NOW); 150]).encode_to_vec();
    assert!(large.len() < 64 << 10);
    let mut taken = rig.collector.enter(Some(&principal(Permission::Ingest))).await.unwrap();
    taken.grow((4 << 20) - large.len() as u64 - 2_048).await.unwrap();
    let answer = router.clone().oneshot(post("/v1/traces", &[PROTOBUF], large.clone())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(String::from_utf8_lossy(&bytes(answer).await).contains("collector.max_request_memory"));
    drop(taken);
    let answer = router.oneshot(post("/v1/traces", &[PROTOBUF], large)).await.unwrap();
    assert_eq!((answer.status(), rig.sink.rows("spans").len()), (StatusCode::OK, 150));
    assert_eq!(rig.meter("watchfire_collector_inflight_bytes", &[]), 0.0);
}

#[tokio::test]
async fn a_small_body_of_countless_records_cannot_take_all_memory() {
    let rig = Rig::new(small());
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    // An empty log record takes two bytes on the wire and some two hundred in a row: they count from their time of arrival.
    let body = logs_of(vec![Default::default(); 30_000]).encode_to_vec();
    assert!(body.len() < 64 << 10);
    let answer = router.oneshot(post("/v1/logs", &[PROTOBUF], body)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let text = String::from_utf8_lossy(&bytes(answer).await).into_owned();
    assert!(text.contains("more than collector.max_request_memory (4MiB): send smaller batches"), "{text}");
    assert_eq!((rig.sink.rows("logs").len(), rig.meter("watchfire_collector_inflight_bytes", &[])), (0, 0.0));
}

#[tokio::test]
async fn a_client_that_sends_too_much_over_a_socket_reads_the_answer() {
    let rig = Rig::new(small());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let body = vec![0; 65 << 10];
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&body).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("larger than 64KiB on the wire (collector.max_wire_bytes): send smaller batches"), "{answer}");
}

#[tokio::test]
async fn the_wrong_method_is_not_an_export() {
    let rig = Rig::new(Config::default());
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    let get = Request::builder().uri("/v1/traces").body(Body::empty()).unwrap();
    assert_eq!(router.oneshot(get).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}
