//! ntfy: push messages to phones. In: notices and documents. Out: one message on a topic, with a tag that names the delivery: after a send
//! of unknown outcome the topic's last messages are read and searched for it.

use async_trait::async_trait;
use model::message::{Delivery, Message, Notice, PageAction};
use model::severity::Severity;
use serde_json::{Value, json};

use super::config::NtfyConfig;
use super::http::{Http, LISTING};
use super::text::{cut, headline, lines, one_line};
use super::twilio::short_id;
use super::{Attempt, Channel, Reconciled, SendError, Sent, cannot_carry};

/// A little under ntfy's 4,096 bytes, whatever the characters take.
const MESSAGE: usize = 1_000;
const TITLE: usize = 200;
const SHOWN: usize = 5;
/// Clocks differ: so many seconds before the attempt are read too.
const SKEW: std::time::Duration = std::time::Duration::from_secs(300);

/// One topic.
#[derive(Debug)]
pub struct Ntfy {
    http: Http,
    config: NtfyConfig,
}

impl Ntfy {
    /// From its settings.
    pub fn new(config: &NtfyConfig, client: &reqwest::Client) -> Self {
        let secrets = [config.topic.clone()].into_iter().chain(config.token.clone());
        Ntfy { http: Http::new(client, config.timeout.0, secrets), config: config.clone() }
    }

    fn signed(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.config.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }
}

/// 5 wakes people, 1 makes no sound.
fn priority(notice: &Notice) -> u8 {
    match (notice.action, notice.severity) {
        (PageAction::Resolve | PageAction::Acknowledge, _) => 3,
        (PageAction::Trigger, Severity::Critical) => 5,
        (PageAction::Trigger, Severity::High) => 4,
        (PageAction::Trigger, Severity::Warning) => 3,
        (PageAction::Trigger, Severity::Info) => 2,
    }
}

fn mark(delivery: &Delivery) -> String {
    format!("wf-{}", short_id(delivery))
}

/// The message.
pub fn render(delivery: &Delivery, topic: &str, resend: bool) -> Option<Value> {
    let again = if resend { " (sent again)" } else { "" };
    let tags = json!([mark(delivery)]);
    match &delivery.message {
        Message::Notice(notice) => {
            let mut body = json!({
                "topic": topic,
                "title": cut(&format!("{}{again}", headline(notice)), TITLE),
                "message": cut(&lines(notice, SHOWN), MESSAGE),
                "priority": priority(notice),
                "tags": tags,
            });
            if let Some(url) = &notice.url {
                body["click"] = url.as_str().into();
            }
            Some(body)
        }
        Message::Document { title, text, .. } => {
            let title = cut(&format!("{}{again}", one_line(title)), TITLE);
            Some(json!({"topic": topic, "title": title, "message": cut(text, MESSAGE), "priority": 3, "tags": tags}))
        }
        Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } => None,
    }
}

/// Looks for the mark in lines of JSON; `None` where they cannot be read.
fn search(listing: &str, mark: &str) -> Option<Option<String>> {
    let messages = listing.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str::<Value>);
    for message in messages {
        let message = message.ok()?;
        if message["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == mark)) {
            return Some(Some(message["id"].as_str().unwrap_or("found").to_owned()));
        }
    }
    Some(None)
}

#[async_trait]
impl Channel for Ntfy {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let Some(body) = render(delivery, self.config.topic.reveal(), attempt.resend) else {
            return Err(cannot_carry("an ntfy topic", "it takes notices and documents", &delivery.message));
        };
        let answer = self.http.send(self.signed(self.http.client.post(&self.config.url).json(&body)), attempt.now).await?;
        Ok(Sent { provider_id: answer.json().and_then(|body| body["id"].as_str().map(str::to_owned)), channel: None })
    }

    async fn reconcile(&self, delivery: &Delivery, attempt: &Attempt) -> Reconciled {
        let since = attempt.since.unwrap_or(attempt.now).minus(SKEW).millis() / 1_000;
        let url = format!("{}/{}/json", self.config.url.trim_end_matches('/'), self.config.topic.reveal());
        let request = self.http.client.get(url).query(&[("poll", "1".to_owned()), ("since", since.to_string())]);
        match self.http.exchange(self.signed(request), attempt.now, LISTING).await {
            Ok(answer) if answer.status == 200 && answer.whole => match search(&String::from_utf8_lossy(&answer.body), &mark(delivery)) {
                Some(Some(id)) => Reconciled::Arrived(Sent::with(id)),
                Some(None) => Reconciled::NotArrived,
                None => Reconciled::Unknown,
            },
            Ok(_) | Err(_) => Reconciled::Unknown,
        }
    }
}
