//! OTLP over gRPC: the `Export` method of the three collector services. The unary frame is read here rather than by generated
//! services, so that limits hold while reading, every gzip member counts, and the message's own bytes are hashed. Fails:
//! as [`Failure::grpc`] says, with `RetryInfo` where sending again helps.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full};
use model::access::Principal;
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::admission::Reservation;
use crate::decode::{Format, Protocol, Signal};
use crate::failure::{Failure, Stage};
use crate::http::{Reader, encoding, response_message};
use crate::inflate::Encoding;
use crate::intake::{Accepted, Collector, Payload};

/// Compressed flag and length, before each message.
const PREFIX: usize = 5;

impl Collector {
    /// `TraceService/Export`, `MetricsService/Export` and `LogsService/Export`. Takes the [`Principal`] from the request's
    /// extensions; without one it answers `UNAUTHENTICATED`. Other methods are `UNIMPLEMENTED`.
    pub fn grpc_router(&self) -> Router {
        Router::new()
            .route("/opentelemetry.proto.collector.trace.v1.TraceService/Export", post(traces))
            .route("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", post(metrics))
            .route("/opentelemetry.proto.collector.logs.v1.LogsService/Export", post(logs))
            .fallback(unimplemented)
            .with_state(self.clone())
    }
}

async fn traces(State(collector): State<Collector>, request: Request) -> Response {
    answer(collector, Signal::Traces, request).await
}

async fn metrics(State(collector): State<Collector>, request: Request) -> Response {
    answer(collector, Signal::Metrics, request).await
}

async fn logs(State(collector): State<Collector>, request: Request) -> Response {
    answer(collector, Signal::Logs, request).await
}

async fn unimplemented() -> Response {
    Status::unimplemented("this address takes OTLP: the Export method of the trace, metrics and logs services").into_http()
}

async fn answer(collector: Collector, signal: Signal, request: Request) -> Response {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !matches!(content_type.split(';').next().unwrap_or("").trim(), "application/grpc" | "application/grpc+proto") {
        collector.inner.meters.requests.with_label_values(&["grpc", signal.label(), "415"]).inc();
        let mut response = Response::new(Body::from("this address takes gRPC (application/grpc); OTLP/HTTP has its own port and paths\n"));
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let result = export(&collector, signal, request).await;
    let code = result.as_ref().map_or_else(Failure::grpc, |_| Code::Ok);
    collector.inner.meters.requests.with_label_values(&["grpc", signal.label(), code_name(code)]).inc();
    match result {
        Ok(accepted) => success(signal, &accepted),
        Err(failure) => failed(&failure),
    }
}

async fn export(collector: &Collector, signal: Signal, request: Request) -> Result<Accepted, Failure> {
    let (parts, body) = request.into_parts();
    let principal = parts.extensions.get::<Principal>();
    let mut reservation = collector.enter(principal).await?;
    let principal = principal.ok_or(Failure::Unauthenticated)?;
    let named = encoding(&parts.headers, "grpc-encoding")?;
    let timeout = collector.inner.config.body_timeout.0;
    let reading = read(body, collector.inner.config.max_wire_bytes.0, &mut reservation);
    let (compressed, body) = tokio::time::timeout(timeout, reading).await.unwrap_or(Err(Failure::Slow(timeout)))?;
    let encoding = match (compressed, named) {
        (true, Encoding::Identity) => {
            return Err(Failure::Frame("the message is marked as compressed, but grpc-encoding names no compression"));
        }
        (true, named) => named,
        (false, _) => Encoding::Identity,
    };
    let payload = Payload { protocol: Protocol::Otlp(signal, Format::Protobuf), encoding, body };
    collector.accept(payload, principal, reservation).await
}

/// The one message of a unary call, and whether it is compressed.
async fn read(body: Body, limit: u64, reservation: &mut Reservation) -> Result<(bool, Bytes), Failure> {
    let mut reader = Reader::new(body, limit.saturating_add(PREFIX as u64));
    let mut whole = BytesMut::new();
    let mut length = None;
    while let Some(chunk) = reader.next().await.map_err(|failure| without_prefix(failure, limit))? {
        whole.extend_from_slice(&chunk);
        if length.is_none() && whole.len() >= PREFIX {
            let announced = u32::from_be_bytes([whole[1], whole[2], whole[3], whole[4]]);
            if u64::from(announced) > limit {
                return Err(without_prefix(reader.refuse().await, limit));
            }
            reservation.grow(u64::from(announced)).await.map_err(Failure::from)?;
            whole.reserve(announced as usize);
            length = Some(announced as usize);
        }
        if length.is_some_and(|length| whole.len() > PREFIX + length) {
            return Err(Failure::Frame("bytes follow the message; Export takes one message"));
        }
    }
    let Some(length) = length else {
        return Err(Failure::Frame("the body is shorter than the five bytes before a message"));
    };
    if whole.len() < PREFIX + length {
        return Err(Failure::Frame("the body is shorter than its message was announced to be"));
    }
    let compressed = match whole[0] {
        0 => false,
        1 => true,
        _ => return Err(Failure::Frame("the first byte must be 0 or 1")),
    };
    Ok((compressed, whole.freeze().slice(PREFIX..)))
}

/// The limit as configured, without the bytes of the frame.
fn without_prefix(failure: Failure, limit: u64) -> Failure {
    match failure {
        Failure::TooLarge(Stage::Wire, _) => Failure::TooLarge(Stage::Wire, limit),
        other => other,
    }
}

fn success(signal: Signal, accepted: &Accepted) -> Response {
    let message = response_message(signal, accepted);
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip,zstd,deflate"));
    response
}

fn failed(failure: &Failure) -> Response {
    let (code, message) = (failure.grpc(), failure.to_string());
    let status = match failure.retry_after() {
        Some(delay) => Status::with_error_details(code, message, ErrorDetails::with_retry_info(Some(delay))),
        None => Status::new(code, message),
    };
    let mut response = status.into_http::<Body>();
    response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip,zstd,deflate"));
    response
}

/// The code as the protocol names it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
