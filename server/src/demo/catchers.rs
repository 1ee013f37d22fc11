//! Local catchers that stand for PagerDuty, Slack and Twilio, and the shop's own admin endpoints. They answer as the providers
//! do and tell the demo's screen what arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use axum::{Form, Json, Router};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::emit::SharedShop;

/// Something arrived somewhere.
#[derive(Clone, Debug)]
pub struct Caught {
    /// PagerDuty, Slack, SMS or shop.
    pub at: &'static str,
    /// One line for the screen.
    pub line: String,
}

#[derive(Clone)]
struct Desk {
    caught: mpsc::Sender<Caught>,
    shop: SharedShop,
    count: Arc<AtomicU64>,
}

impl Desk {
    async fn note(&self, at: &'static str, line: String) {
        // The screen may be gone at the end of the story; the provider still answers.
        let _ = self.caught.send(Caught { at, line }).await;
    }
    fn number(&self) -> u64 {
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// All catchers on one router.
pub fn router(caught: mpsc::Sender<Caught>, shop: SharedShop) -> Router {
    Router::new()
        .route("/v2/enqueue", post(pagerduty))
        .route("/slack/{method}", any(slack))
        .route("/2010-04-01/Accounts/{account}/Messages.json", post(sms).get(no_messages))
        .route("/shop/{act}", post(shop_act))
        .with_state(Desk { caught, shop, count: Arc::default() })
}

async fn pagerduty(State(desk): State<Desk>, Json(event): Json<Value>) -> Response {
    let word = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let summary = event.pointer("/payload/summary").and_then(Value::as_str).unwrap_or("").to_owned();
    desk.note("PagerDuty", format!("{} {summary}", word("event_action")).trim_end().to_owned()).await;
    (StatusCode::ACCEPTED, Json(json!({"status": "success", "message": "Event processed", "dedup_key": word("dedup_key")}))).into_response()
}

async fn slack(State(desk): State<Desk>, Path(method): Path<String>, body: String) -> Json<Value> {
    let form: Value = serde_json::from_str(&body).unwrap_or_else(|_| {
        Value::Object(
            url::form_urlencoded::parse(body.as_bytes())
                .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
                .collect(),
        )
    });
    let field = |name: &str| form.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let number = desk.number();
    match method.as_str() {
        "conversations.create" => {
            desk.note("Slack", format!("channel #{} opened", field("name"))).await;
            Json(json!({"ok": true, "channel": {"id": format!("C{number:06}"), "name": field("name")}}))
        }
        "chat.postMessage" => {
            let first = field("text").lines().next().unwrap_or("").to_owned();
            desk.note("Slack", first).await;
            Json(json!({"ok": true, "channel": field("channel"), "ts": format!("1700000000.{number:06}")}))
        }
        "conversations.archive" => {
            desk.note("Slack", "channel archived".to_owned()).await;
            Json(json!({"ok": true}))
        }
        "conversations.history" => Json(json!({"ok": true, "messages": [], "has_more": false})),
        _ => Json(json!({"ok": true})),
    }
}

async fn sms(State(desk): State<Desk>, Form(form): Form<Vec<(String, String)>>) -> Response {
    let field = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap_or_default();
    let number = desk.number();
    desk.note("SMS", format!("to {}: {}", field("To"), field("Body").lines().next().unwrap_or(""))).await;
    (StatusCode::CREATED, Json(json!({"sid": format!("SM{number:032}"), "status": "queued"}))).into_response()
}

async fn no_messages() -> Json<Value> {
    Json(json!({"messages": []}))
}

/// `scale`, `unscale`, `rollback`: what an operator would do to the shop.
async fn shop_act(State(desk): State<Desk>, Path(act): Path<String>) -> Response {
    let line = {
        let mut shop = desk.shop.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match act.as_str() {
            "scale" => {
                shop.scaled_up = true;
                "checkout scaled to 6 replicas"
            }
            "unscale" => {
                shop.scaled_up = false;
                "checkout back to 4 replicas"
            }
            "rollback" => {
                shop.bad_release = false;
                "payments rolled back to 2.4.0"
            }
            _ => return (StatusCode::NOT_FOUND, "the shop knows scale, unscale and rollback\n").into_response(),
        }
    };
    desk.note("shop", line.to_owned()).await;
    (StatusCode::OK, format!("{line}\n")).into_response()
}
