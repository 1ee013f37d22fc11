//! Providers, as far as the channels notice: a Slack with channels and messages, a Twilio with a list of messages.

use std::sync::{Arc, Mutex};

use chrono::DateTime;
use serde_json::{Value, json};

use super::http::{Catcher, Request};

/// PagerDuty: 202 and the key.
pub async fn pagerduty() -> Catcher {
    Catcher::start(|request| (202, json!({"status": "success", "message": "Event processed", "dedup_key": request.json()["dedup_key"]})))
        .await
}

/// Anything that says 200.
pub async fn plain() -> Catcher {
    Catcher::start(|_| (200, json!("ok"))).await
}

/// What is in a workspace.
#[derive(Default)]
pub struct Workspace {
    pub channels: Vec<Value>,
    pub messages: Vec<Value>,
    /// `created` of new channels, in seconds.
    pub now: i64,
}

impl Workspace {
    fn no(error: &str) -> (u16, Value) {
        (200, json!({"ok": false, "error": error}))
    }
    fn find(&mut self, id: &Value) -> Option<&mut Value> {
        self.channels.iter_mut().find(|channel| channel["id"] == *id)
    }
    fn create(&mut self, body: &Value) -> (u16, Value) {
        if self.channels.iter().any(|channel| channel["name"] == body["name"]) {
            return Self::no("name_taken");
        }
        let channel = json!({"id": format!("C{:07}", self.channels.len() + 1), "name": body["name"], "creator": "UBOT", "created": self.now,
            "is_archived": false, "topic": "", "members": []});
        self.channels.push(channel.clone());
        (200, json!({"ok": true, "channel": channel}))
    }
    fn post(&mut self, body: &Value) -> (u16, Value) {
        let named = |channel: &&Value| channel["id"] == body["channel"] || channel["name"] == body["channel"];
        let Some(channel) = self.channels.iter().find(named) else { return Self::no("channel_not_found") };
        if channel["is_archived"] == true {
            return Self::no("is_archived");
        }
        let (id, ts) = (channel["id"].clone(), format!("{}.{:06}", self.now, self.messages.len() + 1));
        let message = json!({"channel": id, "ts": ts, "text": body["text"], "blocks": body["blocks"], "metadata": body["metadata"]});
        self.messages.push(message);
        (200, json!({"ok": true, "channel": id, "ts": ts}))
    }
    fn history(&self, request: &Request) -> (u16, Value) {
        let query = &request.query;
        let oldest: f64 = query.get("oldest").and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let fits = |message: &&Value| {
            message["channel"] == query["channel"].as_str()
                && message["ts"].as_str().and_then(|ts| ts.parse::<f64>().ok()).unwrap_or(0.0) >= oldest
        };
        let mut found: Vec<Value> = self.messages.iter().rev().filter(fits).cloned().collect();
        if query.get("include_all_metadata").map(String::as_str) != Some("true") {
            found.iter_mut().for_each(|message| message["metadata"] = Value::Null);
        }
        // Two on a page, so that paging is walked.
        let at: usize = query.get("cursor").and_then(|text| text.parse().ok()).unwrap_or(0);
        let next = if at + 2 < found.len() { (at + 2).to_string() } else { String::new() };
        let page: Vec<Value> = found.into_iter().skip(at).take(2).collect();
        (200, json!({"ok": true, "messages": page, "response_metadata": {"next_cursor": next}}))
    }
    fn answer(&mut self, request: &Request) -> (u16, Value) {
        if request.headers.get("authorization").map(String::as_str) != Some("Bearer xoxb-test-token") {
            return Self::no("invalid_auth");
        }
        let body = request.json();
        match request.path.rsplit('/').next().unwrap_or_default() {
            "auth.test" => (200, json!({"ok": true, "user_id": "UBOT"})),
            "conversations.create" => self.create(&body),
            "conversations.list" => (200, json!({"ok": true, "channels": self.channels})),
            "conversations.history" => self.history(request),
            "chat.postMessage" => self.post(&body),
            "conversations.setTopic" => match self.find(&body["channel"]) {
                Some(channel) => {
                    channel["topic"] = body["topic"].clone();
                    (200, json!({"ok": true}))
                }
                None => Self::no("channel_not_found"),
            },
            "conversations.invite" => {
                let users: Vec<String> = body["users"].as_str().unwrap_or_default().split(',').map(str::to_owned).collect();
                if users.iter().any(|user| user == "UGONE") {
                    return Self::no("user_not_found");
                }
                match self.find(&body["channel"]) {
                    Some(channel) => {
                        let members = channel["members"].as_array_mut().unwrap();
                        let fresh: Vec<Value> = users.iter().map(|user| json!(user)).filter(|user| !members.contains(user)).collect();
                        if fresh.is_empty() {
                            return Self::no("already_in_channel");
                        }
                        members.extend(fresh);
                        (200, json!({"ok": true}))
                    }
                    None => Self::no("channel_not_found"),
                }
            }
            "conversations.archive" => match self.find(&body["channel"]) {
                Some(channel) if channel["is_archived"] == true => Self::no("already_archived"),
                Some(channel) => {
                    channel["is_archived"] = true.into();
                    (200, json!({"ok": true}))
                }
                None => Self::no("channel_not_found"),
            },
            _ => Self::no("unknown_method"),
        }
    }
}

/// A Slack with the channel `ops` (C0000001).
pub async fn slack(now: i64) -> (Catcher, Arc<Mutex<Workspace>>) {
    let workspace = Arc::new(Mutex::new(Workspace { now, ..Workspace::default() }));
    let _ = workspace.lock().unwrap().create(&json!({"name": "ops"}));
    let held = Arc::clone(&workspace);
    (Catcher::start(move |request| held.lock().unwrap().answer(request)).await, workspace)
}

/// A Twilio account: its messages, newest last.
pub async fn twilio(now: i64) -> (Catcher, Arc<Mutex<Vec<Value>>>) {
    let messages = Arc::new(Mutex::new(Vec::<Value>::new()));
    let held = Arc::clone(&messages);
    let date = DateTime::from_timestamp(now, 0).unwrap().to_rfc2822();
    let catcher = Catcher::start(move |request| {
        let mut messages = held.lock().unwrap();
        if request.method == "GET" {
            let found: Vec<&Value> = messages.iter().rev().filter(|message| message["to"] == request.query["To"].as_str()).collect();
            return (200, json!({"messages": found}));
        }
        let form = request.form();
        if form["To"] == "+15550009999" {
            return (400, json!({"code": 21211, "message": "The 'To' number +15550009999 is not a valid phone number."}));
        }
        let sid = format!("SM{:032}", messages.len() + 1);
        messages
            .push(json!({"sid": sid, "to": form["To"], "body": form["Body"], "status": "queued", "date_created": date, "date_sent": null}));
        (201, json!({"sid": sid, "status": "queued"}))
    });
    (catcher.await, messages)
}
