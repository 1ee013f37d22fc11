//! Catchers that stand for PagerDuty, Slack and Twilio: they answer as the providers do and keep what came. PagerDuty can be made to
//! keep its answers back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

/// One request that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// pagerduty, twilio, or a Slack method.
    pub to: String,
    /// Its body (forms as objects).
    pub body: Value,
    /// When.
    pub at: Instant,
}

/// All catchers on one port.
#[derive(Clone)]
pub struct Catchers {
    /// Where they listen.
    pub address: SocketAddr,
    requests: Kept,
    held: watch::Sender<bool>,
}

impl Catchers {
    /// Starts them on a free port.
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }
    /// Starts them at an address.
    pub async fn start_at(address: SocketAddr) -> Self {
        let (requests, held) = (Kept::default(), watch::Sender::new(false));
        let router = Router::new()
            .route("/v2/enqueue", post(pagerduty))
            .route("/any/{name}/{secret}", post(anything).get(anything))
            .route("/slack/{method}", any(slack))
            .route("/2010-04-01/Accounts/{account}/Messages.json", post(twilio).get(|| async { Json(json!({"messages": []})) }))
            .with_state((requests.clone(), held.clone()));
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Catchers { address, requests, held }
    }
    /// Whether PagerDuty's answers wait until this is called again with `false`.
    pub fn hold(&self, hold: bool) {
        self.held.send_replace(hold);
    }
    /// What came to a destination, in order.
    pub fn to(&self, destination: &str) -> Vec<Request> {
        self.requests.lock().unwrap().iter().filter(|request| request.to == destination).cloned().collect()
    }
    /// Everything that came, in order.
    pub fn all(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
    /// PagerDuty events with this action.
    pub fn pagerduty(&self, action: &str) -> Vec<Request> {
        self.to("pagerduty").into_iter().filter(|request| request.body["event_action"] == action).collect()
    }
}

type Kept = Arc<Mutex<Vec<Request>>>;
type Desk = (Kept, watch::Sender<bool>);

fn keep(kept: &Kept, to: &str, body: Value) -> usize {
    let mut kept = kept.lock().unwrap();
    kept.push(Request { to: to.to_owned(), body, at: Instant::now() });
    kept.len()
}

fn parse(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| {
        url::form_urlencoded::parse(body.as_bytes()).map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect()
    })
}

async fn pagerduty(State((kept, held)): State<Desk>, Json(event): Json<Value>) -> Response {
    let key = event["dedup_key"].clone();
    keep(&kept, "pagerduty", event);
    let _ = held.subscribe().wait_for(|held| !held).await;
    (StatusCode::ACCEPTED, Json(json!({"status": "success", "message": "Event processed", "dedup_key": key}))).into_response()
}

async fn slack(State((kept, _)): State<Desk>, Path(method): Path<String>, body: String) -> Json<Value> {
    let body = parse(&body);
    let number = keep(&kept, &method, body.clone());
    Json(match method.as_str() {
        "conversations.create" => json!({"ok": true, "channel": {"id": format!("C{number:06}"), "name": body["name"]}}),
        "chat.postMessage" => json!({"ok": true, "channel": body["channel"], "ts": format!("1700000000.{number:06}")}),
        "conversations.history" => json!({"ok": true, "messages": [], "has_more": false}),
        _ => json!({"ok": true}),
    })
}

/// Whatever else: kept under its name.
async fn anything(State((kept, _)): State<Desk>, Path((name, _)): Path<(String, String)>, body: String) -> &'static str {
    keep(&kept, &name, parse(&body));
    "ok"
}

async fn twilio(State((kept, _)): State<Desk>, body: String) -> Response {
    let number = keep(&kept, "twilio", parse(&body));
    (StatusCode::CREATED, Json(json!({"sid": format!("SM{number:032}"), "status": "queued"}))).into_response()
}
