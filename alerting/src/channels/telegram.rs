//! Telegram's bot API. In: notices and documents. Out: one plain-text message. `ok: false` is a failure whatever the status, and the time
//! that Telegram asks for stands in the body (`parameters.retry_after`). A bot cannot read what it sent: a resend is marked.

use std::time::Duration;

use async_trait::async_trait;
use model::message::{Delivery, Message};
use serde_json::json;

use super::config::TelegramConfig;
use super::http::{ANSWER, Http};
use super::text::{cut, headline, lines, one_line};
use super::{Attempt, Channel, Reconciled, SendError, Sent, cannot_carry};

/// Telegram's limit, in characters.
const TEXT: usize = 4_096;
const SHOWN: usize = 20;

/// One chat.
#[derive(Debug)]
pub struct Telegram {
    http: Http,
    config: TelegramConfig,
}

impl Telegram {
    /// From its settings.
    pub fn new(config: &TelegramConfig, client: &reqwest::Client) -> Self {
        Telegram { http: Http::new(client, config.timeout.0, [config.token.clone()]), config: config.clone() }
    }
}

/// The text of a message; no markup, so that nothing in a label can be taken for some.
pub fn render(message: &Message, resend: bool) -> Option<String> {
    let again = if resend { " (sent again)" } else { "" };
    let text = match message {
        Message::Notice(notice) => {
            let url = notice.url.as_ref().map_or(String::new(), |url| format!("\n{url}"));
            format!("{}{again}\n{}{url}", headline(notice), cut(&lines(notice, SHOWN), TEXT - 1_200))
        }
        Message::Document { title, text, .. } => format!("{}{again}\n{text}", one_line(title)),
        Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } => return None,
    };
    Some(cut(&text, TEXT))
}

#[async_trait]
impl Channel for Telegram {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let Some(text) = render(&delivery.message, attempt.resend) else {
            return Err(cannot_carry("a Telegram chat", "it takes notices and documents", &delivery.message));
        };
        let url = format!("{}/bot{}/sendMessage", self.config.url.trim_end_matches('/'), self.config.token.reveal());
        let body = json!({"chat_id": self.config.chat_id, "text": text, "link_preview_options": {"is_disabled": true}});
        let answer = self.http.exchange(self.http.client.post(url).json(&body), attempt.now, ANSWER).await?;
        let said = answer.json();
        let wait = said.as_ref().and_then(|said| said["parameters"]["retry_after"].as_u64()).map(Duration::from_secs);
        match self.http.judge(&answer) {
            Err(SendError::Retry { after, reason, doubt }) => return Err(SendError::Retry { after: after.max(wait), reason, doubt }),
            other => other?,
        }
        match said {
            Some(said) if said["ok"] == false => Err(SendError::last(format!(
                "Telegram refused it: {}",
                self.http.excerpt(said["description"].as_str().unwrap_or("no reason").as_bytes())
            ))),
            said => Ok(Sent {
                provider_id: said.and_then(|said| said["result"]["message_id"].as_i64()).map(|id| id.to_string()),
                channel: None,
            }),
        }
    }

    async fn reconcile(&self, _: &Delivery, _: &Attempt) -> Reconciled {
        Reconciled::Unknown
    }
}
