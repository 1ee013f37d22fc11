//! The receiver of both systems: a webhook that takes Alertmanager's body, can be busy once and can keep its answers back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::sync::watch;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Whether it was taken: 200.
    pub taken: bool,
    /// `firing` or `resolved`.
    pub status: String,
    /// Name and status of its alerts.
    pub alerts: Vec<(String, String)>,
    /// `Idempotency-Key`, where there is one.
    pub key: Option<String>,
    /// Whether it says that it may be a repetition.
    pub resend: bool,
}

/// The receiver.
#[derive(Clone)]
pub struct Hook {
    /// Where it listens.
    pub address: SocketAddr,
    desk: Arc<Desk>,
}

struct Desk {
    notices: Mutex<Vec<Notice>>,
    busy: AtomicU32,
    held: watch::Sender<bool>,
}

impl Hook {
    /// On a free port.
    pub async fn start() -> Self {
        let desk = Arc::new(Desk { notices: Mutex::default(), busy: AtomicU32::new(0), held: watch::Sender::new(false) });
        let router = Router::new().route("/hook", post(take)).with_state(desk.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Hook { address, desk }
    }
    /// The next request is answered with 429 and `Retry-After: 2`.
    pub fn be_busy_once(&self) {
        self.desk.busy.store(1, Ordering::SeqCst);
    }
    /// Whether answers wait until this is called again with `false`.
    pub fn hold(&self, hold: bool) {
        self.desk.held.send_replace(hold);
    }
    /// Requests about this alert, in order.
    pub fn about(&self, name: &str) -> Vec<Notice> {
        let all = self.desk.notices.lock().unwrap();
        all.iter().filter(|notice| notice.alerts.iter().any(|(alert, _)| alert == name)).cloned().collect()
    }
    /// How many requests about this alert with this status were taken.
    pub fn taken(&self, name: &str, status: &str) -> usize {
        self.about(name).iter().filter(|notice| notice.taken && notice.status == status).count()
    }
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let busy = desk.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    let alerts = body["alerts"].as_array().into_iter().flatten();
    desk.notices.lock().unwrap().push(Notice {
        taken: !busy,
        status: text(&body["status"]),
        alerts: alerts.map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["status"]))).collect(),
        key: headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned),
        resend: headers.contains_key("x-watchfire-resend"),
    });
    let _ = desk.held.subscribe().wait_for(|held| !held).await;
    if busy { (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "2")]).into_response() } else { StatusCode::OK.into_response() }
}
