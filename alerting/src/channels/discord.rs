//! Discord, a channel's webhook. In: notices and documents. Out: one message with an embed whose colour goes with the severity, the word
//! beside it. `wait=true` makes Discord answer with the message's id; a webhook cannot read, so a resend of unknown outcome is marked.

use async_trait::async_trait;
use model::message::{Delivery, Message, Notice, PageAction};
use model::severity::Severity;
use serde_json::{Value, json};

use super::config::DiscordConfig;
use super::http::Http;
use super::text::{cut, headline, lines, one_line};
use super::{Attempt, Channel, Reconciled, SendError, Sent, cannot_carry};

/// Discord's limits, in characters.
const CONTENT: usize = 2_000;
const TITLE: usize = 256;
const DESCRIPTION: usize = 4_000;
/// How many alerts are shown.
const SHOWN: usize = 10;

/// One webhook.
#[derive(Debug)]
pub struct Discord {
    http: Http,
    url: model::secret::Secret,
}

impl Discord {
    /// From its settings.
    pub fn new(config: &DiscordConfig, client: &reqwest::Client) -> Self {
        Discord { http: Http::new(client, config.timeout.0, [config.url.clone()]), url: config.url.clone() }
    }
}

fn colour(notice: &Notice) -> u32 {
    match (notice.action, notice.severity) {
        (PageAction::Resolve, _) => 0x002e_7d32,
        (PageAction::Acknowledge, _) => 0x0061_6161,
        (PageAction::Trigger, Severity::Critical) => 0x00c6_2828,
        (PageAction::Trigger, Severity::High) => 0x00ef_6c00,
        (PageAction::Trigger, Severity::Warning) => 0x00f9_a825,
        (PageAction::Trigger, Severity::Info) => 0x0015_65c0,
    }
}

/// Markdown's own signs lose their meaning: labels come from outside.
fn escape(text: &str) -> String {
    let signs = ['*', '_', '~', '|', '[', ']', '`', '\\'];
    text.chars().flat_map(|c| signs.contains(&c).then_some('\\').into_iter().chain([c])).collect()
}

/// The message. No mention in it does anything: labels come from outside.
pub fn render(message: &Message, resend: bool) -> Option<Value> {
    let again = if resend { " (sent again)" } else { "" };
    let nobody = json!({"parse": []});
    match message {
        Message::Notice(notice) => {
            let mut embed = json!({
                "title": cut(&format!("{}{again}", headline(notice)), TITLE),
                "description": cut(&escape(&lines(notice, SHOWN)), DESCRIPTION),
                "color": colour(notice),
            });
            if let Some(url) = &notice.url {
                embed["url"] = url.as_str().into();
            }
            Some(json!({"embeds": [embed], "allowed_mentions": nobody}))
        }
        Message::Document { title, text, .. } => {
            Some(json!({"content": cut(&format!("**{}**{again}\n{text}", one_line(title)), CONTENT), "allowed_mentions": nobody}))
        }
        Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } => None,
    }
}

#[async_trait]
impl Channel for Discord {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let Some(body) = render(&delivery.message, attempt.resend) else {
            return Err(cannot_carry("a Discord webhook", "it belongs to one channel", &delivery.message));
        };
        let request = self.http.client.post(self.url.reveal()).query(&[("wait", "true")]).json(&body);
        let answer = self.http.send(request, attempt.now).await?;
        Ok(Sent { provider_id: answer.json().and_then(|body| body["id"].as_str().map(str::to_owned)), channel: None })
    }

    async fn reconcile(&self, _: &Delivery, _: &Attempt) -> Reconciled {
        Reconciled::Unknown
    }
}
