//! The real services over sockets: what clients send arrives as rows, and every answer is what the protocol asks for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use model::access::Permission;
use model::sink::Refusal;
use model::time::Span as Pause;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use prost::Message;
use tokio::net::TcpListener;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic_types::StatusExt;
use tower::ServiceExt;

use super::fixtures::*;
use crate::Config;

/// A router whose requests all have a principal, as the server's access layer would put it there.
pub(crate) fn with_principal(router: Router, permission: Permission) -> Router {
    router.layer(from_fn(move |mut request: Request, next: Next| {
        request.extensions_mut().insert(principal(permission));
        next.run(request)
    }))
}

/// Serves a router on a port of its own; the address.
pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request {
    let mut request = Request::builder().method("POST").uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

pub(crate) async fn bytes(response: Response<Body>) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

pub(crate) const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

fn full() -> Refusal {
    Refusal::LogFull { used: 9, cap: 8, retry_after: Duration::from_millis(2_500) }
}

#[tokio::test]
async fn a_grpc_client_sends_all_three_signals() {
    let rig = Rig::new(Config::default());
    let address = serve(with_principal(rig.collector.grpc_router(), Permission::Ingest)).await;
    let mut traces_client = TraceServiceClient::connect(address.clone()).await.unwrap().send_compressed(CompressionEncoding::Gzip);
    let answer = traces_client.export(traces(NOW)).await.unwrap().into_inner();
    assert_eq!(answer.partial_success, None);
    let mut logs_client = LogsServiceClient::connect(address.clone()).await.unwrap();
    let mut old = record(NOW);
    old.time_unix_nano = 1;
    let partial = logs_client.export(logs_of(vec![record(NOW), old])).await.unwrap().into_inner().partial_success.unwrap();
    assert_eq!(partial.rejected_log_records, 1);
    assert!(partial.error_message.starts_with("1 of 2 log records rejected: 1 older than the retention"));
    let mut metrics_client = MetricsServiceClient::connect(address).await.unwrap();
    metrics_client.export(metrics_of(vec![gauge("g", vec![number(NOW, Number::AsInt(1))])])).await.unwrap();
    assert_eq!((rig.sink.rows("spans").len(), rig.sink.rows("logs").len(), rig.sink.rows("error_events").len()), (1, 1, 1));
    assert_eq!(rig.sink.rows("points").len(), 3, "calls of the span, the gauge, target_info");
    assert_eq!(rig.meter("watchfire_collector_requests_total", &[("protocol", "grpc"), ("code", "OK")]), 3.0);
    assert_eq!(rig.meter("watchfire_collector_rows_total", &[("signal", "spans")]), 1.0);
    assert_eq!(rig.meter("watchfire_collector_rejected_rows_total", &[("signal", "logs"), ("reason", "too_old")]), 1.0);
    assert_eq!(rig.meter("watchfire_collector_inflight_bytes", &[]), 0.0);
}

#[tokio::test]
async fn http_answers_in_the_content_type_of_the_request() {
    let rig = Rig::new(Config::default());
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    let mut bad = traces_of(vec![span(NOW), span(NOW)]);
    bad.resource_spans[0].scope_spans[0].spans[1].trace_id.clear();
    let answer = router.clone().oneshot(post("/v1/traces", &[PROTOBUF], bad.encode_to_vec())).await.unwrap();
    assert_eq!((answer.status(), answer.headers()["content-type"].to_str().unwrap()), (StatusCode::OK, "application/x-protobuf"));
    let partial = ExportTraceServiceResponse::decode(bytes(answer).await.as_slice()).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 1);
    let answer = router.clone().oneshot(post("/v1/traces", &[JSON], serde_json::to_vec(&bad).unwrap())).await.unwrap();
    assert_eq!((answer.status(), answer.headers()["content-type"].to_str().unwrap()), (StatusCode::OK, "application/json"));
    let partial: serde_json::Value = serde_json::from_slice(&bytes(answer).await).unwrap();
    assert_eq!(partial["partialSuccess"]["rejectedSpans"], "1");
    let good = router.clone().oneshot(post("/v1/traces", &[JSON], serde_json::to_vec(&traces(NOW)).unwrap())).await.unwrap();
    assert_eq!(bytes(good).await, b"{}");
    let good = router.oneshot(post("/v1/traces", &[PROTOBUF], traces(NOW - 1).encode_to_vec())).await.unwrap();
    assert_eq!(bytes(good).await, b"", "success leaves partial_success unset");
    assert_eq!(rig.sink.rows("spans").len(), 4);
}

#[tokio::test]
async fn a_resent_request_is_acknowledged_and_stored_once() {
    let rig = Rig::new(Config::default());
    let http = with_principal(rig.collector.http_router(), Permission::Ingest);
    let body = traces(NOW).encode_to_vec();
    for _ in 0..3 {
        let answer = http.clone().oneshot(post("/v1/traces", &[PROTOBUF], body.clone())).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let zipped = super::bad_input::gzip(&body);
    let answer = http.oneshot(post("/v1/traces", &[PROTOBUF, ("content-encoding", "gzip")], zipped)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut frame = vec![0];
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(&body);
    let grpc = with_principal(rig.collector.grpc_router(), Permission::Ingest);
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let answer = grpc.oneshot(post(path, &[("content-type", "application/grpc")], frame)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!((rig.sink.rows("spans").len(), rig.sink.rows("points").len()), (1, 1), "compression and framing do not change the request");
    assert_eq!(rig.meter("watchfire_collector_duplicate_requests_total", &[("signal", "traces")]), 4.0);
    assert_eq!(rig.meter("watchfire_collector_rows_total", &[("signal", "spans")]), 1.0);
}

#[tokio::test]
async fn a_refusal_is_held_for_a_moment_and_tried_once_more() {
    let rig = Rig::new(Config { hold: Pause::millis(1), ..Config::default() });
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    rig.sink.refuse(vec![full()]);
    let answer = router.clone().oneshot(post("/v1/traces", &[PROTOBUF], traces(NOW).encode_to_vec())).await.unwrap();
    assert_eq!((answer.status(), rig.sink.asked.load(Ordering::SeqCst)), (StatusCode::OK, 2));
    assert_eq!(rig.sink.rows("series").len(), 2);
    rig.sink.refuse(vec![full(), full()]);
    let again = traces(NOW - 1).encode_to_vec();
    let answer = router.clone().oneshot(post("/v1/traces", &[PROTOBUF], again.clone())).await.unwrap();
    assert_eq!((answer.status(), answer.headers()["retry-after"].to_str().unwrap()), (StatusCode::SERVICE_UNAVAILABLE, "3"));
    let status = tonic_types::Status::decode(bytes(answer).await.as_slice()).unwrap();
    assert_eq!(status.code, Code::Unavailable as i32);
    assert!(status.message.starts_with("the write-ahead log is full (9 of 8 bytes)"));
    rig.sink.refuse(vec![Refusal::Busy { retry_after: Duration::ZERO }, Refusal::Busy { retry_after: Duration::ZERO }]);
    let answer = router.clone().oneshot(post("/v1/traces", &[PROTOBUF], again.clone())).await.unwrap();
    assert_eq!((answer.status(), answer.headers()["retry-after"].to_str().unwrap()), (StatusCode::TOO_MANY_REQUESTS, "1"));
    let answer = router.oneshot(post("/v1/traces", &[PROTOBUF], again)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "nothing of the refused request was remembered as accepted");
}

#[tokio::test]
async fn series_of_a_refused_request_are_described_again() {
    let rig = Rig::new(Config { hold: Pause::millis(1), ..Config::default() });
    let router = with_principal(rig.collector.http_router(), Permission::Ingest);
    let body = metrics_of(vec![gauge("g", vec![number(NOW, Number::AsInt(1))])]).encode_to_vec();
    rig.sink.refuse(vec![Refusal::Stopping]);
    let answer = router.clone().oneshot(post("/v1/metrics", &[PROTOBUF], body.clone())).await.unwrap();
    assert_eq!((answer.status(), rig.sink.asked.load(Ordering::SeqCst)), (StatusCode::SERVICE_UNAVAILABLE, 1), "a stop is not waited for");
    router.clone().oneshot(post("/v1/metrics", &[PROTOBUF], body)).await.unwrap();
    assert_eq!(rig.sink.rows("series").len(), 2, "the gauge and target_info");
    assert_eq!(rig.meter("watchfire_collector_known_series", &[]), 2.0);
    let later = metrics_of(vec![gauge("g", vec![number(NOW + 1_000_000, Number::AsInt(2))])]).encode_to_vec();
    router.oneshot(post("/v1/metrics", &[PROTOBUF], later)).await.unwrap();
    assert_eq!((rig.sink.rows("series").len(), rig.sink.rows("points").len()), (2, 3));
}

#[tokio::test]
async fn grpc_refusals_say_when_to_send_again() {
    let rig = Rig::new(Config { hold: Pause::millis(1), ..Config::default() });
    let address = serve(with_principal(rig.collector.grpc_router(), Permission::Ingest)).await;
    let mut client = TraceServiceClient::connect(address).await.unwrap();
    rig.sink.refuse(vec![full(), full()]);
    let status = client.export(traces(NOW)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_millis(2_500)));
    let io = Refusal::Io(std::io::Error::other("secret path"));
    rig.sink.refuse(vec![io]);
    let status = client.export(traces(NOW)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the write-ahead log could not be written"));
    client.export(traces(NOW)).await.unwrap();
}

#[tokio::test]
async fn without_a_principal_or_permission_nothing_gets_in() {
    let rig = Rig::new(Config::default());
    let body = traces(NOW).encode_to_vec();
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let grpc = [("content-type", "application/grpc")];
    let answer = rig.collector.http_router().oneshot(post("/v1/traces", &[PROTOBUF], body.clone())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let answer = rig.collector.grpc_router().oneshot(post(path, &grpc, body.clone())).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], (Code::Unauthenticated as i32).to_string());
    for permission in [Permission::Read, Permission::Respond] {
        let http = with_principal(rig.collector.http_router(), permission);
        let answer = http.oneshot(post("/v1/traces", &[JSON], body.clone())).await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert!(String::from_utf8(bytes(answer).await).unwrap().contains("lacks the permission `ingest`"));
        let answer = with_principal(rig.collector.grpc_router(), permission).oneshot(post(path, &grpc, body.clone())).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], (Code::PermissionDenied as i32).to_string());
    }
    assert_eq!(rig.sink.asked.load(Ordering::SeqCst), 0);
    let http = with_principal(rig.collector.http_router(), Permission::Admin);
    assert_eq!(http.oneshot(post("/v1/traces", &[PROTOBUF], body)).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn other_methods_and_plain_http_on_the_grpc_port_are_told_so() {
    let rig = Rig::new(Config::default());
    let router = with_principal(rig.collector.grpc_router(), Permission::Ingest);
    let answer = router.clone().oneshot(post("/grpc.health.v1.Health/Check", &[("content-type", "application/grpc")], "")).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], (Code::Unimplemented as i32).to_string());
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    for other in [JSON, ("content-type", "application/grpc-web"), ("content-type", "application/grpc+json")] {
        let answer = router.clone().oneshot(post(path, &[other], "{}")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{other:?}");
    }
}

#[tokio::test]
async fn two_collectors_live_in_one_process() {
    let (one, other) = (Rig::new(Config::default()), Rig::new(Config::default()));
    let http = with_principal(one.collector.http_router(), Permission::Ingest);
    http.oneshot(post("/v1/traces", &[PROTOBUF], traces(NOW).encode_to_vec())).await.unwrap();
    assert_eq!((one.sink.rows("spans").len(), other.sink.rows("spans").len()), (1, 0));
    assert_eq!(other.meter("watchfire_collector_requests_total", &[]), 0.0);
}
