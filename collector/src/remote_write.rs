//! Prometheus remote write over HTTP: `POST /api/v1/write`, versions 1 and 2 by content type. Answers 204 with the numbers of
//! what was stored; 400 where some of it can never be stored (the rest is); 429 and 5xx with `Retry-After` where sending again helps.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::access::Principal;
use model::sink::Refusal;

use crate::decode::Protocol;
use crate::decode::remote_write::Version;
use crate::failure::Failure;
use crate::http::{read, shown};
use crate::inflate::Encoding;
use crate::intake::{Accepted, Collector, Payload};

/// Response headers, without which senders of version 2 take it that nothing was stored.
const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

impl Collector {
    /// `POST /api/v1/write`. Takes the [`Principal`] from the request's extensions; without one it answers 401.
    pub fn remote_write_router(&self) -> Router {
        Router::new().route("/api/v1/write", post(write)).with_state(self.clone())
    }
}

async fn write(State(collector): State<Collector>, request: Request) -> Response {
    let version = version(request.headers());
    let protocol = match version {
        Ok(Version::V1) | Err(_) => "remote_write_v1",
        Ok(Version::V2) => "remote_write_v2",
    };
    let result = match version {
        Ok(version) => store(&collector, version, request).await,
        Err(failure) => Err(failure),
    };
    let (status, text, retry) = match &result {
        Ok(Accepted { message: None, .. }) => (StatusCode::NO_CONTENT, String::new(), None),
        // Prometheus's word for "do not send it again", also where the rest was stored.
        Ok(Accepted { message: Some(message), .. }) => (StatusCode::BAD_REQUEST, message.clone(), None),
        Err(failure) => (status(failure), failure.to_string(), failure.retry_after()),
    };
    collector.inner.meters.requests.with_label_values(&[protocol, "metrics", status.as_str()]).inc();
    let mut response = Response::new(if text.is_empty() { Body::empty() } else { Body::from(text + "\n") });
    *response.status_mut() = status;
    let written = result.map(|accepted| accepted.written).unwrap_or_default();
    let headers = response.headers_mut();
    for (name, count) in WRITTEN.into_iter().zip([written.samples, written.histograms, written.exemplars]) {
        headers.insert(name, HeaderValue::from(count));
    }
    if status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    if let Some(retry) = retry {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(retry.as_secs() + u64::from(retry.subsec_nanos() > 0)));
    }
    response
}

/// Prometheus sends again after 5xx, after 429 only where it is told to (`retry_on_http_429`): want of room is no reason to drop samples. Its
/// tenant's rate limit is.
fn status(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Full(_) | Failure::Refused(Refusal::Busy { .. }) => StatusCode::SERVICE_UNAVAILABLE,
        other => other.http(),
    }
}

async fn store(collector: &Collector, version: Version, request: Request) -> Result<Accepted, Failure> {
    let (parts, body) = request.into_parts();
    let principal = parts.extensions.get::<Principal>();
    let mut reservation = collector.enter(principal).await?;
    let principal = principal.ok_or(Failure::Unauthenticated)?;
    let encoding = encoding(&parts.headers)?;
    let body = read(collector, &parts.headers, body, &mut reservation).await?;
    collector.accept(Payload { protocol: Protocol::RemoteWrite(version), encoding, body }, principal, reservation).await
}

/// The message that the content type names. Without one it is version 1, as senders of old say nothing.
fn version(headers: &HeaderMap) -> Result<Version, Failure> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Version::V1) };
    let value = value.to_str().unwrap_or("?");
    let mut parts = value.split(';').map(str::trim);
    if !parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/x-protobuf")) {
        return Err(Failure::RemoteWriteType(shown(value)));
    }
    let proto = parts.find_map(|part| part.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("proto")));
    match proto.map(|(_, message)| message.trim().trim_matches('"')) {
        None | Some("prometheus.WriteRequest") => Ok(Version::V1),
        Some("io.prometheus.write.v2.Request") => Ok(Version::V2),
        Some(_) => Err(Failure::RemoteWriteType(shown(value))),
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Failure> {
    match headers.get(header::CONTENT_ENCODING).map_or("snappy", |value| value.to_str().unwrap_or("?")) {
        name if name.trim().eq_ignore_ascii_case("snappy") => Ok(Encoding::Snappy),
        name => Err(Failure::RemoteWriteEncoding(shown(name))),
    }
}
