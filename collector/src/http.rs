//! OTLP over HTTP: `/v1/traces`, `/v1/metrics`, `/v1/logs`, protobuf or JSON, gzip or not. Answers in the content type of the
//! request; errors are `google.rpc.Status`. Fails: as [`Failure::http`] says.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use model::access::Principal;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use tonic_types::Status;

use crate::admission::Reservation;
use crate::decode::{Format, Protocol, Signal};
use crate::failure::{Failure, Stage};
use crate::inflate::Encoding;
use crate::intake::{Accepted, Collector, Payload};

impl Collector {
    /// The formats of others than OpenTelemetry: Loki's push, newline JSON, Zipkin v2. Takes the [`Principal`] from the request's
    /// extensions; without one they answer 401.
    pub fn formats_router(&self) -> Router {
        self.loki_router().merge(self.ndjson_router()).merge(self.zipkin_router())
    }

    /// `POST /v1/{traces,metrics,logs}`. Takes the [`Principal`] from the request's extensions; without one it answers 401.
    pub fn http_router(&self) -> Router {
        Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .route("/v1/logs", post(logs))
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

async fn answer(collector: Collector, signal: Signal, request: Request) -> Response {
    let format = format(request.headers());
    let result = export(&collector, signal, &format, request).await;
    let format = format.unwrap_or(Format::Json);
    let (status, body, retry) = match &result {
        Ok(accepted) => (StatusCode::OK, success(signal, format, accepted), None),
        Err(failure) => (failure.http(), failed(format, failure), failure.retry_after()),
    };
    collector.inner.meters.requests.with_label_values(&["http", signal.label(), status.as_str()]).inc();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = match format {
        Format::Protobuf => "application/x-protobuf",
        Format::Json => "application/json",
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(retry) = retry {
        let seconds = retry.as_secs() + u64::from(retry.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

async fn export(collector: &Collector, signal: Signal, format: &Result<Format, Failure>, request: Request) -> Result<Accepted, Failure> {
    let (parts, body) = request.into_parts();
    let principal = parts.extensions.get::<Principal>();
    let mut reservation = collector.enter(principal).await?;
    let principal = principal.ok_or(Failure::Unauthenticated)?;
    let format = match format {
        Ok(format) => *format,
        Err(Failure::ContentType(name)) => return Err(Failure::ContentType(name.clone())),
        Err(_) => return Err(Failure::Internal),
    };
    let encoding = encoding(&parts.headers, header::CONTENT_ENCODING.as_str())?;
    let body = read(collector, &parts.headers, body, &mut reservation).await?;
    let protocol = Protocol::Otlp(signal, format);
    collector.accept(Payload { protocol, encoding, body }, principal, reservation).await
}

fn format(headers: &HeaderMap) -> Result<Format, Failure> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    match value.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "application/x-protobuf" => Ok(Format::Protobuf),
        "application/json" => Ok(Format::Json),
        _ => Err(Failure::ContentType(shown(value))),
    }
}

/// The compression that the named header tells.
pub(crate) fn encoding(headers: &HeaderMap, name: &str) -> Result<Encoding, Failure> {
    let value = headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"));
    Encoding::named(value).ok_or_else(|| Failure::ContentEncoding(shown(value)))
}

/// What a client sent, fit for a sentence.
pub(crate) fn shown(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// The whole body of a request, within the limits of size and time.
pub(crate) async fn read(collector: &Collector, headers: &HeaderMap, body: Body, reservation: &mut Reservation) -> Result<Bytes, Failure> {
    let config = &collector.inner.config;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    let reading = async {
        let mut reader = Reader::new(body, config.max_wire_bytes.0);
        match announced {
            Some(length) if length > config.max_wire_bytes.0 => return Err(reader.refuse().await),
            Some(length) => reservation.grow(length).await.map_err(Failure::from)?,
            None => {}
        }
        let mut whole = BytesMut::with_capacity(announced.map_or(0, |length| length as usize));
        while let Some(chunk) = reader.next().await? {
            if announced.is_none() {
                reservation.grow(chunk.len() as u64).await.map_err(Failure::from)?;
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    };
    tokio::time::timeout(config.body_timeout.0, reading).await.unwrap_or(Err(Failure::Slow(config.body_timeout.0)))
}

/// Reads a body up to a limit.
pub(crate) struct Reader {
    body: Body,
    limit: u64,
    read: u64,
}

impl Reader {
    /// Of a body that may be `limit` bytes long.
    pub(crate) fn new(body: Body, limit: u64) -> Self {
        Reader { body, limit, read: 0 }
    }
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| Failure::Body(error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(chunk) = self.chunk().await? else {
            return Ok(None);
        };
        self.read += chunk.len() as u64;
        if self.read > self.limit { Err(self.refuse().await) } else { Ok(Some(chunk)) }
    }
    /// The refusal of a body that is too large. Reads on for as much again and throws it away, since a client that is still
    /// sending when the connection closes sees a broken pipe instead of the answer.
    pub(crate) async fn refuse(&mut self) -> Failure {
        let mut thrown_away = 0;
        while thrown_away <= self.limit
            && let Ok(Some(chunk)) = self.chunk().await
        {
            thrown_away += chunk.len() as u64;
        }
        Failure::TooLarge(Stage::Wire, self.limit)
    }
}

/// The response message of a signal, in protobuf.
pub(crate) fn response_message(signal: Signal, accepted: &Accepted) -> Vec<u8> {
    let rejected = i64::try_from(accepted.rejected).unwrap_or(i64::MAX);
    let message = accepted.message.clone();
    match signal {
        Signal::Traces => {
            let partial_success = message.map(|error_message| ExportTracePartialSuccess { rejected_spans: rejected, error_message });
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        }
        Signal::Metrics => {
            let partial_success =
                message.map(|error_message| ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message });
            ExportMetricsServiceResponse { partial_success }.encode_to_vec()
        }
        Signal::Logs => {
            let partial_success = message.map(|error_message| ExportLogsPartialSuccess { rejected_log_records: rejected, error_message });
            ExportLogsServiceResponse { partial_success }.encode_to_vec()
        }
    }
}

fn success(signal: Signal, format: Format, accepted: &Accepted) -> Vec<u8> {
    match (format, &accepted.message) {
        (Format::Protobuf, _) => response_message(signal, accepted),
        (Format::Json, None) => b"{}".to_vec(),
        (Format::Json, Some(message)) => {
            let field = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Metrics => "rejectedDataPoints",
                Signal::Logs => "rejectedLogRecords",
            };
            let partial = serde_json::json!({ field: accepted.rejected.to_string(), "errorMessage": message });
            serde_json::json!({ "partialSuccess": partial }).to_string().into_bytes()
        }
    }
}

fn failed(format: Format, failure: &Failure) -> Vec<u8> {
    let status = Status { code: failure.grpc() as i32, message: failure.to_string(), details: Vec::new() };
    match format {
        Format::Protobuf => status.encode_to_vec(),
        Format::Json => serde_json::json!({ "code": status.code, "message": status.message }).to_string().into_bytes(),
    }
}
