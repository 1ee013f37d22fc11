//! What the HTTP receivers of foreign formats share: who may send, reading the body within its limits, handing it to the intake,
//! counting. The answers are each receiver's own. Fails: as [`Failure`] says.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use model::access::Principal;

use crate::decode::Protocol;
use crate::failure::Failure;
use crate::http::read;
use crate::inflate::Encoding;
use crate::intake::{Accepted, Collector, Payload};

/// Takes a request through the intake; `what` tells from its head how its body is to be read.
pub(crate) async fn receive(
    collector: &Collector,
    request: Request,
    what: impl FnOnce(&Parts) -> Result<(Protocol, Encoding), Failure>,
) -> Result<Accepted, Failure> {
    let (parts, body) = request.into_parts();
    let principal = parts.extensions.get::<Principal>();
    let mut reservation = collector.enter(principal).await?;
    let principal = principal.ok_or(Failure::Unauthenticated)?;
    let (protocol, encoding) = what(&parts)?;
    let body = read(collector, &parts.headers, body, &mut reservation).await?;
    collector.accept(Payload { protocol, encoding, body }, principal, reservation).await
}

/// An answer, counted under the receiver's name; `body` is empty, text, or JSON.
pub(crate) fn answer(collector: &Collector, names: (&str, &str), status: StatusCode, content_type: &'static str, body: String) -> Response {
    collector.inner.meters.requests.with_label_values(&[names.0, names.1, status.as_str()]).inc();
    let empty = body.is_empty();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    if !empty {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

/// The same, with when to come again.
pub(crate) fn refusal(response: Response, failure: &Failure) -> Response {
    let mut response = response;
    if let Some(wait) = failure.retry_after() {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The content type of a request without its parameters, in small letters.
pub(crate) fn content_type(parts: &Parts) -> String {
    let value = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}
