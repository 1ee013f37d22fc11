//! Sentry's intake: `POST /api/<project>/envelope/` and the older `/store/`, as every Sentry SDK sends to the host of its DSN. Errors
//! become error events that group with OpenTelemetry's exceptions, transactions spans, logs log records; sessions, client reports and
//! check-ins series; all else is ignored and counted. Answers and refusals are what the SDKs expect. Fails: as
//! [`crate::failure::Failure::http`] says, with one sentence; a log that is full is 429 here, because SDKs only obey that.

mod auth;
mod counts;
mod envelope;
mod event;
mod faults;
mod frames;
pub(crate) mod items;
mod logs;
mod loose;
pub(crate) mod rates;
mod read;
mod spans;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use model::access::{LateKey, Permission, Principal};
use model::event::Actor;
use model::sink::Refusal;

use crate::decode::Protocol;
use crate::failure::Failure;
use crate::http::{encoding, read as read_body};
use crate::inflate::{Encoding, beginning};
use crate::intake::{Accepted, Collector, Payload};
pub use auth::{is_intake, key};
pub(crate) use envelope::Broken;
use rates::Class;
use read::{Said, id};
pub(crate) use read::{read, request_hash};

/// The two ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Several items, framed.
    Envelope,
    /// One event as JSON.
    Store,
}

impl Endpoint {
    /// The value of the metric label `signal`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Endpoint::Envelope => "envelope",
            Endpoint::Store => "store",
        }
    }
}

/// How much of an envelope is looked at before it is let in: its header and that of the first item.
const PEEK: usize = 16 << 10;
/// For how long a browser may remember a preflight.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("3600");

/// Why a request is not accepted.
enum Refused {
    /// As for every protocol.
    Failure(Failure),
    /// The key sent too much of this within a minute.
    Rate(Class, Duration),
}

impl<F: Into<Failure>> From<F> for Refused {
    fn from(failure: F) -> Self {
        Refused::Failure(failure.into())
    }
}

impl Collector {
    /// `POST /api/{project}/{envelope,store}/`, with and without the last slash. Takes the [`Principal`] from the request's
    /// extensions, or a [`LateKey`] for requests that carry the key only inside their body; without both it answers 401.
    pub fn sentry_router(&self) -> Router {
        Router::new()
            .route("/api/{project}/envelope/", post(envelope).options(preflight))
            .route("/api/{project}/envelope", post(envelope).options(preflight))
            .route("/api/{project}/store/", post(store).options(preflight))
            .route("/api/{project}/store", post(store).options(preflight))
            .with_state(self.clone())
    }
}

async fn envelope(State(collector): State<Collector>, Path(project): Path<String>, request: Request) -> Response {
    answer(collector, Endpoint::Envelope, &project, request).await
}

async fn store(State(collector): State<Collector>, Path(project): Path<String>, request: Request) -> Response {
    answer(collector, Endpoint::Store, &project, request).await
}

/// Pages of every origin send errors: the key in the request decides, not where the page is from.
async fn preflight() -> Response {
    let mut response = json(StatusCode::OK, &serde_json::json!({}));
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    let allowed = "authorization, baggage, content-encoding, content-type, sentry-trace, x-requested-with, x-sentry-auth";
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    response
}

async fn answer(collector: Collector, endpoint: Endpoint, project: &str, request: Request) -> Response {
    let response = match project.parse::<u64>() {
        Ok(project) => match take(&collector, endpoint, project, request).await {
            Ok(accepted) => {
                let id = accepted.id.map(hex::encode);
                json(StatusCode::OK, &id.map_or_else(|| serde_json::json!({}), |id| serde_json::json!({ "id": id })))
            }
            Err(refused) => refuse(&refused),
        },
        Err(_) => refusal(StatusCode::NOT_FOUND, "a DSN ends in the project's number, for example http://<key>@host/1"),
    };
    collector.inner.meters.requests.with_label_values(&["sentry", endpoint.label(), response.status().as_str()]).inc();
    response
}

async fn take(collector: &Collector, endpoint: Endpoint, project: u64, request: Request) -> Result<Accepted, Refused> {
    let (parts, body) = request.into_parts();
    let (known, late) = (parts.extensions.get::<Principal>(), parts.extensions.get::<LateKey>());
    let mut reservation = match late.filter(|_| known.is_none()) {
        Some(_) => collector.admit().await?,
        None => collector.enter(known).await?,
    };
    let encoding = encoding(&parts.headers, header::CONTENT_ENCODING.as_str())?;
    let body = read_body(collector, &parts.headers, body, &mut reservation).await?;
    let rates = &collector.inner.rates;
    let peek = if known.is_none() || rates.any() { peek(endpoint, encoding, &body) } else { Peek::default() };
    let principal = match (known, late) {
        (Some(principal), _) => principal.clone(),
        (None, late) => late.and_then(|late| late.principal(peek.key.as_deref()?)).ok_or(Failure::Unauthenticated)?,
    };
    principal.require(Permission::Ingest).map_err(Failure::from)?;
    if rates.any() {
        let key = match &principal.actor {
            Actor::Key { id } => id.to_string(),
            _ => principal.tenant.to_string(),
        };
        rates.admit(&key, peek.class, collector.now()).map_err(|wait| Refused::Rate(peek.class, wait))?;
    }
    let payload = Payload { protocol: Protocol::Sentry(endpoint, project), encoding, body };
    Ok(collector.accept(payload, &principal, reservation).await?)
}

/// What the beginning of a body says.
struct Peek {
    key: Option<String>,
    class: Class,
}

impl Default for Peek {
    fn default() -> Self {
        Peek { key: None, class: Class::Others }
    }
}

fn peek(endpoint: Endpoint, encoding: Encoding, body: &[u8]) -> Peek {
    if endpoint == Endpoint::Store {
        return Peek { class: Class::Errors, ..Peek::default() };
    }
    let start = beginning(encoding, body, PEEK);
    let Ok((header, _)) = envelope::open(&start) else { return Peek::default() };
    let (_, rest) = envelope::line(&start);
    let class = envelope::kind(envelope::line(rest).0).map_or(Class::Others, |kind| Class::of(&kind));
    Peek { key: auth::in_dsn(&header.dsn).map(|key| key.into_owned()), class }
}

/// A refusal in the shape that SDKs read: `{"detail": "..."}`, readable for pages of every origin.
pub fn refusal(status: StatusCode, detail: &str) -> Response {
    json(status, &serde_json::json!({ "detail": detail }))
}

fn refuse(refused: &Refused) -> Response {
    let (status, detail, limit) = match refused {
        Refused::Failure(failure) => (status(failure), detail(failure), failure.retry_after().map(|wait| (wait, ":organization"))),
        Refused::Rate(class, wait) => {
            let limits = "this key has sent more than collector.sentry.rate_limit allows within a minute";
            (StatusCode::TOO_MANY_REQUESTS, limits.to_owned(), Some((*wait, class.scope())))
        }
    };
    let mut response = refusal(status, &detail);
    if let Some((wait, scope)) = limit {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        if let Ok(limits) = HeaderValue::from_str(&format!("{seconds}:{scope}")) {
            headers.insert(HeaderName::from_static("x-sentry-rate-limits"), limits);
        }
    }
    response
}

/// SDKs pause after 429 only: a log or disk that is full is said so.
fn status(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Refused(Refusal::LogFull { .. } | Refusal::DiskFull { .. }) => StatusCode::TOO_MANY_REQUESTS,
        failure => failure.http(),
    }
}

fn detail(failure: &Failure) -> String {
    match failure {
        Failure::Unauthenticated => {
            "no valid key: the user part of the DSN must be an API key; `watchfire keys create NAME --dsn PROJECT` prints a DSN".to_owned()
        }
        failure => failure.to_string(),
    }
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let readable = HeaderValue::from_static("retry-after, x-sentry-rate-limits");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, readable);
    response
}
