//! The one place that decides who a request is from. A middleware turns the credentials of each HTTP and gRPC request into a
//! [`Principal`] extension, or refuses it. Without any key only loopback may connect, and `Host` and `Origin` are checked, since
//! any web page can post to localhost. Sentry's SDKs name the key in ways of their own, on the paths of their own alone, and there
//! it opens intake only: it stands in pages that anyone can read.

pub mod keys;
pub mod visitors;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use model::access::{LateKey, Permission, Principal};
use model::event::Actor;
use model::state::StateStore;
use model::tenant::TenantId;
use prometheus::{IntCounterVec, Opts, Registry};
use serde_json::json;
use tracing::{Instrument, Span, field};

use crate::request_line::Peer;

use keys::{ApiKey, KeyRing};

/// What the middleware needs.
#[derive(Clone)]
pub struct Access {
    ring: Arc<KeyRing>,
    state: Arc<dyn StateStore>,
    refused: IntCounterVec,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No key was given, and there are keys.
    #[error("an API key is needed: send `Authorization: Bearer <key>`; make one with `watchfire keys create`")]
    KeyMissing,
    /// The key is unknown or revoked.
    #[error("this API key is unknown or revoked")]
    KeyUnknown,
    /// Keyless, and not from this machine.
    #[error("no API key exists yet, so only this machine may connect; make a key with `watchfire keys create`")]
    NotLoopback,
    /// Keyless, and the Host header names another host.
    #[error("no API key exists yet, so the Host header must name this machine (localhost or a loopback address)")]
    ForeignHost,
    /// Keyless, and a web page of another origin sent it.
    #[error("no API key exists yet, so requests of web pages from elsewhere are refused")]
    ForeignOrigin,
}

impl Refused {
    fn status(self) -> StatusCode {
        match self {
            Refused::KeyMissing | Refused::KeyUnknown => StatusCode::UNAUTHORIZED,
            Refused::NotLoopback | Refused::ForeignHost | Refused::ForeignOrigin => StatusCode::FORBIDDEN,
        }
    }
    fn word(self) -> &'static str {
        match self {
            Refused::KeyMissing => "key_missing",
            Refused::KeyUnknown => "key_unknown",
            Refused::NotLoopback => "not_loopback",
            Refused::ForeignHost => "foreign_host",
            Refused::ForeignOrigin => "foreign_origin",
        }
    }
}

impl Access {
    /// Over a ring of keys, which are kept in `state`. Registers `watchfire_access_refused_total{reason}`.
    pub fn new(ring: Arc<KeyRing>, state: Arc<dyn StateStore>, registry: &Registry) -> Result<Self, prometheus::Error> {
        let refused =
            IntCounterVec::new(Opts::new("watchfire_access_refused_total", "Requests refused before any route saw them."), &["reason"])?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Access { ring, state, refused })
    }

    /// Whether the keys were read again because a request's key is unknown: it may be new.
    async fn look_again(&self, refused: Option<&Refused>) -> bool {
        if refused != Some(&Refused::KeyUnknown) {
            return false;
        }
        let looked = self.ring.look_again(&*self.state).await;
        if let Err(error) = &looked {
            tracing::warn!(error = %crate::runtime::chain(error), "the API keys could not be read again; the known ones stay");
        }
        looked.is_ok()
    }

    /// Who the request is from.
    pub fn principal(&self, headers: &HeaderMap, authority: Option<&str>, peer: Option<SocketAddr>) -> Result<Principal, Refused> {
        let keys = self.ring.snapshot();
        if keys.is_empty() {
            return keyless(headers, authority, peer, false);
        }
        let text = credentials(headers).ok_or(Refused::KeyMissing)?;
        keys.check(&text).map(of_key).ok_or(Refused::KeyUnknown)
    }

    /// Who a request of a Sentry SDK is from; `None` where only its body can tell.
    pub fn sender(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        authority: Option<&str>,
        peer: Option<SocketAddr>,
    ) -> Result<Option<Principal>, Refused> {
        let keys = self.ring.snapshot();
        if keys.is_empty() {
            return keyless(headers, authority, peer, true).map(Some);
        }
        let Some(text) = collector::sentry::key(headers, query).map(Cow::into_owned).or_else(|| credentials(headers)) else {
            return Ok(None);
        };
        keys.check(&text).map(|key| Some(sending(of_key(key)))).ok_or(Refused::KeyUnknown)
    }

    /// Looks up keys that stand in the bodies of Sentry SDKs.
    fn late(&self) -> LateKey {
        let ring = self.ring.clone();
        LateKey::new(move |text| ring.snapshot().check(text).map(|key| sending(of_key(key))))
    }
}

fn of_key(key: &ApiKey) -> Principal {
    let actor = key.user.clone().map_or(Actor::Key { id: key.id }, |id| Actor::User { id });
    Principal { tenant: key.tenant.clone(), permissions: key.permissions.clone(), actor, keyless: false }
}

/// The same one, who may at most send.
fn sending(principal: Principal) -> Principal {
    let may_send = principal.require(Permission::Ingest).is_ok();
    Principal { permissions: if may_send { vec![Permission::Ingest] } else { Vec::new() }, ..principal }
}

/// The key in `Authorization: Bearer`, in the password (or user) of `Authorization: Basic`, or in `X-Api-Key`.
fn credentials(headers: &HeaderMap) -> Option<String> {
    if let Some(key) = headers.get("x-api-key").and_then(|value| value.to_str().ok()) {
        return Some(key.trim().to_owned());
    }
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
    let pair = String::from_utf8(decoded).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some(if password.is_empty() { user } else { password }.to_owned())
}

/// `pages` lets other pages of this machine in: browsers' error trackers run in the pages of whatever is being developed.
fn keyless(headers: &HeaderMap, authority: Option<&str>, peer: Option<SocketAddr>, pages: bool) -> Result<Principal, Refused> {
    if !peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
        return Err(Refused::NotLoopback);
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).or(authority);
    if !host.is_some_and(is_loopback_authority) {
        return Err(Refused::ForeignHost);
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        let same = origin.is_some_and(|(_, authority)| Some(authority) == host || (pages && is_loopback_authority(authority)));
        if !same {
            return Err(Refused::ForeignOrigin);
        }
    }
    let permissions = vec![Permission::Ingest, Permission::Read, Permission::Respond];
    Ok(Principal { tenant: TenantId::default(), permissions, actor: Actor::User { id: "local".to_owned() }, keyless: true })
}

fn is_loopback_authority(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The middleware: every route behind it sees a [`Principal`]. `/-/healthy` and `/-/ready` answer without one.
pub async fn guard(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    // What Twilio sends back is signed by its account's token.
    if request.uri().path().starts_with("/-/") || request.uri().path().starts_with("/hooks/twilio/") {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|info| info.0.0);
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    if collector::sentry::is_intake(request.uri().path()) {
        return guard_sender(&access, request, authority.as_deref(), peer, next).await;
    }
    // A browser's question before the question to the Prometheus API carries no key, and its answer tells nothing.
    if request.method() == Method::OPTIONS && request.uri().path().starts_with("/api/v1/") {
        return next.run(request).await;
    }
    // PagerDuty's senders have their key in the body.
    if request.uri().path() == "/v2/enqueue" && !access.ring.snapshot().is_empty() && credentials(request.headers()).is_none() {
        let ring = access.ring.clone();
        request.extensions_mut().insert(alerting::router::KeyLookup::new(move |text| ring.snapshot().check(text).map(of_key)));
        return next.run(request).await;
    }
    let mut outcome = access.principal(request.headers(), authority.as_deref(), peer);
    if access.look_again(outcome.as_ref().err()).await {
        outcome = access.principal(request.headers(), authority.as_deref(), peer);
    }
    // The exposition has no route of its own to check: it is read, like everything else.
    let exposition = request.uri().path() == "/metrics";
    let may = |principal: &Principal| !exposition || principal.require(Permission::Read).is_ok();
    match outcome.and_then(|principal| may(&principal).then_some(principal).ok_or(Refused::KeyUnknown)) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            let span = span(&request);
            let response = next.run(request).instrument(span.clone()).await;
            span.record("http.response.status_code", response.status().as_u16());
            if response.status().is_server_error() {
                span.record("otel.status_code", "ERROR");
            }
            response
        }
        Err(refused) => {
            access.refused.with_label_values(&[refused.word()]).inc();
            refuse(refused, request.headers())
        }
    }
}

/// The span of a request. Intake has none: a span about spans would cause the next one.
fn span(request: &Request) -> Span {
    let Some(route) = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) else { return Span::none() };
    let intake = ["/api/v1/write", "/loki/api/v1/push", "/api/watchfire/v1/logs", "/api/v2/spans"].contains(&route);
    if intake || route.starts_with("/v1/") || route.starts_with("/opentelemetry.proto.collector.") {
        return Span::none();
    }
    let method = request.method().as_str();
    tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// The guard of the paths of Sentry's SDKs: keys stand elsewhere there, and refusals have another shape.
async fn guard_sender(access: &Access, mut request: Request, authority: Option<&str>, peer: Option<SocketAddr>, next: Next) -> Response {
    // A browser asks before it sends; the question carries no key.
    if request.method() == Method::OPTIONS {
        return next.run(request).await;
    }
    let mut outcome = access.sender(request.headers(), request.uri().query(), authority, peer);
    if access.look_again(outcome.as_ref().err()).await {
        outcome = access.sender(request.headers(), request.uri().query(), authority, peer);
    }
    match outcome {
        Ok(Some(principal)) => request.extensions_mut().insert(principal).map(drop),
        Ok(None) => request.extensions_mut().insert(access.late()).map(drop),
        Err(refused) => {
            access.refused.with_label_values(&[refused.word()]).inc();
            return collector::sentry::refusal(refused.status(), &refused.to_string());
        }
    };
    next.run(request).await
}

fn refuse(refused: Refused, headers: &HeaderMap) -> Response {
    let grpc = headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if grpc {
        let status = match refused.status() {
            StatusCode::UNAUTHORIZED => tonic::Status::unauthenticated(refused.to_string()),
            _ => tonic::Status::permission_denied(refused.to_string()),
        };
        return status.into_http::<axum::body::Body>();
    }
    let body = Json(json!({"status": "error", "errorType": "unauthorized", "error": refused.to_string()}));
    (refused.status(), [(WWW_AUTHENTICATE, "Bearer realm=\"watchfire\"")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn without_keys_only_this_machine_and_its_own_pages_get_in() {
        let here: Option<SocketAddr> = Some("127.0.0.1:9".parse().unwrap());
        let there: Option<SocketAddr> = Some("10.0.0.9:9".parse().unwrap());
        assert!(keyless(&headers(&[("host", "localhost:7700")]), None, here, false).is_ok());
        assert!(keyless(&headers(&[]), Some("[::1]:4317"), here, false).is_ok());
        assert_eq!(keyless(&headers(&[("host", "localhost:7700")]), None, there, false).unwrap_err(), Refused::NotLoopback);
        assert_eq!(keyless(&headers(&[("host", "evil.example")]), None, here, false).unwrap_err(), Refused::ForeignHost);
        assert_eq!(keyless(&headers(&[("host", "localhost.evil.example")]), None, here, false).unwrap_err(), Refused::ForeignHost);
        let page = headers(&[("host", "localhost:7700"), ("origin", "http://evil.example")]);
        assert_eq!(keyless(&page, None, here, false).unwrap_err(), Refused::ForeignOrigin);
        assert!(keyless(&headers(&[("host", "localhost:7700"), ("origin", "http://localhost:7700")]), None, here, false).is_ok());
        assert_eq!(keyless(&headers(&[]), None, here, false).unwrap_err(), Refused::ForeignHost);
    }

    #[test]
    fn sdks_of_pages_on_this_machine_get_in_without_keys() {
        let here: Option<SocketAddr> = Some("127.0.0.1:9".parse().unwrap());
        let from = |origin: &str| headers(&[("host", "localhost:7700"), ("origin", origin)]);
        assert!(keyless(&from("http://localhost:3000"), None, here, true).is_ok());
        assert_eq!(keyless(&from("http://localhost:3000"), None, here, false).unwrap_err(), Refused::ForeignOrigin);
        assert_eq!(keyless(&from("http://evil.example"), None, here, true).unwrap_err(), Refused::ForeignOrigin);
        assert_eq!(keyless(&from("http://localhost.evil.example"), None, here, true).unwrap_err(), Refused::ForeignOrigin);
        assert_eq!(keyless(&from("null"), None, here, true).unwrap_err(), Refused::ForeignOrigin);
    }

    #[test]
    fn the_key_of_a_dsn_opens_nothing_but_intake() {
        let principal = |permissions| Principal { tenant: TenantId::default(), permissions, actor: Actor::system("x"), keyless: false };
        assert_eq!(sending(principal(vec![Permission::Read, Permission::Ingest])).permissions, [Permission::Ingest]);
        assert_eq!(sending(principal(vec![Permission::Admin])).permissions, [Permission::Ingest]);
        assert_eq!(sending(principal(vec![Permission::Read])).permissions, []);
    }

    #[test]
    fn keys_are_read_from_three_places() {
        assert_eq!(credentials(&headers(&[("authorization", "Bearer wf_a")])).as_deref(), Some("wf_a"));
        assert_eq!(credentials(&headers(&[("x-api-key", "wf_b")])).as_deref(), Some("wf_b"));
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("grafana:wf_c"));
        assert_eq!(credentials(&headers(&[("authorization", &basic)])).as_deref(), Some("wf_c"));
        assert_eq!(credentials(&headers(&[("authorization", "Digest x")])), None);
    }
}
