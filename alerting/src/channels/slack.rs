//! Slack: the Web API (posts, incident channels) and incoming webhooks. Severity is a word beside its colour. Every post carries the
//! notification's id as message metadata, so that after a crash the channel's history says whether it arrived.

use async_trait::async_trait;
use model::message::{Delivery, Message, Notice, PageAction};
use model::secret::Secret;
use model::severity::Severity;
use serde_json::{Value, json};

use super::http::{Http, refused};
use super::{Attempt, Channel, Reconciled, SendError, Sent, cut, unsupported};

const METADATA: &str = "watchfire_notification";

/// Slack's Web API.
pub struct Slack {
    http: Http,
    api: String,
    token: Secret,
    channel: String,
    invite: Vec<String>,
}

fn symbol(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => ":information_source:",
        Severity::Warning => ":warning:",
        Severity::High => ":large_orange_circle:",
        Severity::Critical => ":red_circle:",
    }
}

/// Escapes what Slack's markup would take for its own.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The one line of a notice.
pub fn headline(notice: &Notice) -> String {
    let number = notice.incident_number.map(|number| format!(" #{number}")).unwrap_or_default();
    let title = plain(&cut(&notice.title, 500));
    match notice.action {
        PageAction::Trigger => format!("{} {}{number}: {title}", symbol(notice.severity), notice.severity.as_str().to_uppercase()),
        PageAction::Acknowledge => format!(":eyes: ACKNOWLEDGED{number}: {title}"),
        PageAction::Resolve => format!(":white_check_mark: RESOLVED{number}: {title}"),
    }
}

/// A notice as Block Kit.
pub fn blocks(notice: &Notice) -> Value {
    let mut blocks = vec![json!({"type": "section", "text": {"type": "mrkdwn", "text": format!("*{}*", headline(notice))}})];
    for alert in notice.alerts.iter().take(5) {
        let labels = plain(&alert.labels.to_string());
        let text = format!("{}\nvalue {} · since {}", cut(&labels, 600), plain(&alert.value), alert.starts_at);
        blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}));
    }
    let more = notice.alerts.len().saturating_sub(5);
    let why = if more > 0 { format!("{} · and {more} more alerts", plain(&notice.reason)) } else { plain(&notice.reason) };
    if !why.is_empty() {
        blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": cut(&why, 1_000)}]}));
    }
    if notice.action == PageAction::Trigger {
        let button = |action: &str, text: &str| json!({"type": "button", "action_id": action, "value": notice.dedup_key, "text": {"type": "plain_text", "text": text}});
        blocks
            .push(json!({"type": "actions", "elements": [button("watchfire_ack", "Acknowledge"), button("watchfire_resolve", "Resolve")]}));
    }
    Value::Array(blocks)
}

impl Slack {
    /// For one workspace.
    pub fn new(http: Http, api_url: &str, token: Secret, channel: String, invite: Vec<String>) -> Self {
        Slack { http, api: api_url.trim_end_matches('/').to_owned(), token, channel, invite }
    }

    /// Calls a method; `ok: false` is a failure, classified by its word. Words in `fine` pass.
    async fn call(&self, method: &str, body: Value, fine: &[&str]) -> Result<Value, SendError> {
        let request = self.http.post(&format!("{}/{method}", self.api)).bearer_auth(self.token.reveal()).json(&body);
        let answer = self.http.send(request).await?;
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        let json: Value = serde_json::from_str(&answer.body).map_err(|_| SendError::retry(format!("{method}: the answer is not JSON")))?;
        let word = json["error"].as_str().unwrap_or("").to_owned();
        if json["ok"] == true || fine.contains(&word.as_str()) {
            return Ok(json);
        }
        let reason = format!("{method}: {word}");
        let again = matches!(
            word.as_str(),
            "" | "ratelimited"
                | "rate_limited"
                | "internal_error"
                | "fatal_error"
                | "service_unavailable"
                | "request_timeout"
                | "team_added_to_org"
        );
        Err(if again { SendError::Retry { after: answer.retry_after, reason, uncertain: false } } else { SendError::Final { reason } })
    }

    async fn post(&self, delivery: &Delivery, channel: &str, mut body: Value, resend: bool) -> Result<Sent, SendError> {
        body["channel"] = json!(channel);
        body["metadata"] = json!({"event_type": METADATA, "event_payload": {"id": delivery.id.to_string(), "resend": resend}});
        if resend {
            let text = body["text"].as_str().unwrap_or("").to_owned();
            body["text"] = json!(format!("{text} (sent again: the first may have arrived)"));
        }
        let answer = self.call("chat.postMessage", body, &[]).await?;
        Ok(Sent { provider_id: answer["ts"].as_str().map(str::to_owned), channel: None })
    }

    /// Creates the channel, or finds the one that an earlier attempt created.
    async fn open(&self, name: &str) -> Result<(String, String), SendError> {
        let answer = self.call("conversations.create", json!({"name": name, "is_private": false}), &["name_taken"]).await?;
        if answer["ok"] == true {
            return channel_of(&answer["channel"]).ok_or_else(|| SendError::retry("conversations.create: the answer names no channel"));
        }
        let mut cursor = String::new();
        loop {
            let ask = json!({"limit": 1000, "exclude_archived": true, "cursor": cursor});
            let page = self.call("conversations.list", ask, &[]).await?;
            let found = page["channels"].as_array().into_iter().flatten().find(|channel| channel["name"] == name);
            if let Some(found) = found.and_then(channel_of) {
                return Ok(found);
            }
            cursor = page["response_metadata"]["next_cursor"].as_str().unwrap_or("").to_owned();
            if cursor.is_empty() {
                return Err(SendError::fatal(format!("conversations.create: the name {name} is taken by an archived or hidden channel")));
            }
        }
    }

    async fn open_channel(
        &self,
        delivery: &Delivery,
        name: &str,
        topic: &str,
        invite: &[String],
        text: &str,
        resend: bool,
    ) -> Result<Sent, SendError> {
        let (id, name) = self.open(name).await?;
        self.call("conversations.setTopic", json!({"channel": id, "topic": cut(topic, 250)}), &[]).await?;
        let people: Vec<&str> = self.invite.iter().chain(invite).map(String::as_str).collect();
        if !people.is_empty() {
            let fine = ["already_in_channel", "cant_invite_self", "user_not_found", "users_not_found"];
            self.call("conversations.invite", json!({"channel": id, "users": people.join(",")}), &fine).await?;
        }
        let sent = self.post(delivery, &id, json!({"text": text}), resend).await?;
        Ok(Sent { channel: Some((id, name)), ..sent })
    }

    fn place<'a>(&'a self, delivery: &Delivery, attempt: Attempt<'a>) -> Result<&'a str, SendError> {
        match &delivery.message {
            Message::ChatPost { .. } | Message::ChatArchive { .. } => {
                attempt.chat.ok_or_else(|| SendError::retry("the incident's channel does not exist yet"))
            }
            Message::Notice(_) | Message::Document { .. } | Message::ChatOpen { .. } => Ok(&self.channel),
        }
    }
}

fn channel_of(channel: &Value) -> Option<(String, String)> {
    Some((channel["id"].as_str()?.to_owned(), channel["name"].as_str()?.to_owned()))
}

#[async_trait]
impl Channel for Slack {
    async fn send(&self, delivery: &Delivery, attempt: Attempt<'_>) -> Result<Sent, SendError> {
        let place = self.place(delivery, attempt)?;
        match &delivery.message {
            Message::Notice(notice) => {
                let body = json!({"text": headline(notice), "blocks": blocks(notice)});
                self.post(delivery, place, body, attempt.resend).await
            }
            Message::ChatOpen { name, topic, invite, text, .. } => {
                self.open_channel(delivery, name, topic, invite, text, attempt.resend).await
            }
            Message::ChatPost { text, .. } => self.post(delivery, place, json!({"text": cut(text, 3_900)}), attempt.resend).await,
            Message::ChatArchive { .. } => {
                self.call("conversations.archive", json!({"channel": place}), &["already_archived", "is_archived"]).await?;
                Ok(Sent { provider_id: Some(place.to_owned()), channel: None })
            }
            Message::Document { title, text, .. } => {
                let body = json!({"text": format!("*{}*\n{}", plain(title), cut(text, 3_500))});
                self.post(delivery, place, body, attempt.resend).await
            }
        }
    }

    async fn reconcile(&self, delivery: &Delivery, attempt: Attempt<'_>) -> Reconciled {
        // Opening and archiving are idempotent: they are simply done again.
        if matches!(delivery.message, Message::ChatOpen { .. } | Message::ChatArchive { .. }) {
            return Reconciled::NotArrived;
        }
        let Ok(place) = self.place(delivery, attempt) else { return Reconciled::NotArrived };
        let ask = json!({"channel": place, "limit": 200, "include_all_metadata": true});
        let Ok(history) = self.call("conversations.history", ask, &[]).await else { return Reconciled::Unknown };
        let id = delivery.id.to_string();
        let found = history["messages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|message| message["metadata"]["event_type"] == METADATA && message["metadata"]["event_payload"]["id"] == id);
        match found {
            Some(message) => Reconciled::Arrived(Sent { provider_id: message["ts"].as_str().map(str::to_owned), channel: None }),
            None => Reconciled::NotArrived,
        }
    }
}

/// A Slack incoming webhook.
pub struct SlackWebhook {
    http: Http,
    url: Secret,
}

impl SlackWebhook {
    /// For one URL.
    pub fn new(http: Http, url: Secret) -> Self {
        SlackWebhook { http, url }
    }
}

#[async_trait]
impl Channel for SlackWebhook {
    async fn send(&self, delivery: &Delivery, attempt: Attempt<'_>) -> Result<Sent, SendError> {
        let mut body = match &delivery.message {
            Message::Notice(notice) => json!({"text": headline(notice), "blocks": blocks(notice)}),
            Message::Document { title, text, .. } => json!({"text": format!("*{}*\n{}", plain(title), cut(text, 3_500))}),
            other @ (Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. }) => {
                return Err(unsupported("slack_webhook", other));
            }
        };
        if attempt.resend {
            let text = body["text"].as_str().unwrap_or("").to_owned();
            body["text"] = json!(format!("{text} (sent again: the first may have arrived)"));
        }
        self.http.deliver(self.http.post(self.url.reveal()).json(&body)).await?;
        Ok(Sent::default())
    }
}
