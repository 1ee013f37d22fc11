//! Slack's incoming webhook: notices and documents into the one channel it belongs to. The body `ok` is success; it gives no message id, so
//! a resend after a send of unknown outcome is marked in its text.

use async_trait::async_trait;
use model::message::{Delivery, Message};
use serde_json::{Value, json};

use super::config::SlackWebhookConfig;
use super::http::Http;
use super::slack::render;
use super::{Attempt, Channel, Reconciled, SendError, Sent, cannot_carry};

/// One webhook.
#[derive(Debug)]
pub struct SlackWebhook {
    http: Http,
    url: model::secret::Secret,
}

impl SlackWebhook {
    /// From its settings.
    pub fn new(config: &SlackWebhookConfig, client: &reqwest::Client) -> Self {
        SlackWebhook { http: Http::new(client, config.timeout.0, [config.url.clone()]), url: config.url.clone() }
    }
}

/// What goes to the webhook: text and blocks, without buttons (their clicks have nowhere to go).
fn body(delivery: &Delivery, resend: bool) -> Option<Value> {
    match &delivery.message {
        Message::Notice(notice) => {
            let blocks = render::notice_blocks(notice, None, resend);
            Some(json!({"text": render::notice_text(notice), "blocks": blocks}))
        }
        Message::Document { title, text, attachments } => Some(json!({"text": render::document_text(title, text, attachments, resend)})),
        Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } => None,
    }
}

#[async_trait]
impl Channel for SlackWebhook {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let Some(body) = body(delivery, attempt.resend) else {
            return Err(cannot_carry("a Slack webhook", "it belongs to one channel; use a receiver of type slack", &delivery.message));
        };
        self.http.send(self.http.client.post(self.url.reveal()).json(&body), attempt.now).await?;
        Ok(Sent::default())
    }

    /// A webhook can post, not read.
    async fn reconcile(&self, _: &Delivery, _: &Attempt) -> Reconciled {
        Reconciled::Unknown
    }
}
