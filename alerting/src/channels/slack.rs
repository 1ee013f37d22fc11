//! Slack's Web API. In: notices and documents for the configured channel, and the life of incident channels (open, post, archive). Out: the
//! message's `channel:ts`, or the channel opened.
//!
//! Slack takes no idempotency key. Every message carries metadata (`watchfire_notification`, our id); after a send of unknown outcome the
//! channel's history is searched for it. Opening a channel repeats safely: see [`rooms`].

mod api;
pub mod render;
mod rooms;

use async_trait::async_trait;
use model::incident::ChatChannel;
use model::message::{Delivery, Message};
use model::time::Timestamp;
use serde_json::{Value, json};

use super::config::SlackConfig;
use super::{Attempt, Channel, OpenedChannel, Reconciled, SendError, Sent};
use api::Api;

/// Clocks differ; history is read from this much before the attempt.
const SKEW: std::time::Duration = std::time::Duration::from_secs(120);
const HISTORY_PAGES: usize = 5;
const HISTORY_PAGE: &str = "50";

/// One workspace and channel.
#[derive(Debug)]
pub struct Slack {
    api: Api,
    config: SlackConfig,
}

impl Slack {
    /// From its settings.
    pub fn new(config: &SlackConfig, client: &reqwest::Client) -> Self {
        Slack { api: Api::new(config, client), config: config.clone() }
    }

    async fn post(&self, delivery: &Delivery, body: Value, now: Timestamp) -> Result<Sent, SendError> {
        let mut body = body;
        body["metadata"] = render::metadata(delivery);
        let answer = self.api.call("chat.postMessage", &body, now).await?;
        let channel = answer["channel"].as_str().or(body["channel"].as_str()).unwrap_or_default();
        Ok(Sent { provider_id: answer["ts"].as_str().map(|ts| format!("{channel}:{ts}")), channel: None })
    }

    /// Looks for our message in a channel since `since`. `Err` where Slack does not say.
    async fn find(&self, channel: &str, delivery: &Delivery, since: Timestamp, now: Timestamp) -> Result<Option<String>, SendError> {
        let (oldest, mut cursor) = (format!("{:.6}", since.minus(SKEW).secs_f64()), String::new());
        for _ in 0..HISTORY_PAGES {
            let query =
                [("channel", channel), ("oldest", &oldest), ("limit", HISTORY_PAGE), ("include_all_metadata", "true"), ("cursor", &cursor)];
            let page = self.api.list("conversations.history", &query, now).await?;
            if let Some(ts) = render::find_ours(&page, delivery) {
                return Ok(Some(format!("{channel}:{ts}")));
            }
            match api::next_cursor(&page) {
                Some(next) => cursor = next,
                None => return Ok(None),
            }
        }
        Err(SendError::retry("the channel's history is too long to search"))
    }

    /// The id of the configured channel: history is asked by id, posts may go to a name.
    async fn configured_channel(&self, now: Timestamp) -> Result<Option<String>, SendError> {
        if looks_like_id(&self.config.channel) {
            return Ok(Some(self.config.channel.clone()));
        }
        let found = rooms::find(&self.api, self.config.channel.trim_start_matches('#'), now).await?;
        Ok(found.map(|room| room.id))
    }

    /// Where the message is to be found, if it was sent.
    async fn place(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Option<String>, SendError> {
        match &delivery.message {
            Message::Notice(_) | Message::Document { .. } => self.configured_channel(attempt.now).await,
            Message::ChatPost { .. } => Ok(attempt.chat.as_ref().map(|chat| chat.id.clone())),
            Message::ChatOpen { .. } | Message::ChatArchive { .. } => Ok(None),
        }
    }
}

fn looks_like_id(channel: &str) -> bool {
    channel.len() >= 7
        && channel.starts_with(['C', 'G', 'D'])
        && channel.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// The incident's channel, if this receiver opened it.
fn own_chat<'a>(delivery: &Delivery, attempt: &'a Attempt) -> Result<&'a ChatChannel, SendError> {
    match &attempt.chat {
        None => Err(SendError::retry("the incident has no chat channel yet")),
        Some(chat) if chat.receiver != delivery.receiver => {
            Err(SendError::last(format!("the incident's chat channel was opened by receiver `{}`", chat.receiver)))
        }
        Some(chat) => Ok(chat),
    }
}

#[async_trait]
impl Channel for Slack {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let channel = self.config.channel.as_str();
        match &delivery.message {
            Message::Notice(notice) => {
                let blocks = render::notice_blocks(notice, render::subject_id(delivery).as_deref(), attempt.resend);
                let body = json!({"channel": channel, "text": render::notice_text(notice), "blocks": blocks, "unfurl_links": false});
                self.post(delivery, body, attempt.now).await
            }
            Message::Document { title, text, attachments } => {
                let text = render::document_text(title, text, attachments, attempt.resend);
                self.post(delivery, json!({"channel": channel, "text": text, "unfurl_links": false}), attempt.now).await
            }
            Message::ChatPost { text, .. } => {
                let chat = own_chat(delivery, attempt)?;
                let text = render::post_text(text, attempt.resend);
                self.post(delivery, json!({"channel": chat.id, "text": text, "unfurl_links": false}), attempt.now).await
            }
            Message::ChatArchive { .. } => {
                let chat = own_chat(delivery, attempt)?;
                rooms::archive(&self.api, &chat.id, attempt.now).await?;
                Ok(Sent::with(chat.id.clone()))
            }
            Message::ChatOpen { name, topic, invite, text, .. } => {
                let invite: Vec<&str> = invite.iter().chain(&self.config.invite).map(String::as_str).collect();
                let wish = rooms::Wish { name, topic, invite, queued_at: delivery.queued_at, suffix: super::twilio::short_id(delivery) };
                let room = match &attempt.chat {
                    Some(chat) if chat.receiver == delivery.receiver => OpenedChannel { id: chat.id.clone(), name: chat.name.clone() },
                    Some(_) | None => rooms::open(&self.api, &wish, attempt.now).await?,
                };
                rooms::furnish(&self.api, &room.id, &wish, attempt.now).await.map_err(SendError::after_a_part)?;
                // `Ok(true)`: an earlier attempt said it; `Err`: it may have.
                let said = match attempt.since {
                    Some(_) => self.find(&room.id, delivery, delivery.queued_at, attempt.now).await.map(|found| found.is_some()),
                    None => Ok(false),
                };
                if !matches!(said, Ok(true)) {
                    let text = render::post_text(text, said.is_err());
                    let body = json!({"channel": room.id, "text": text, "unfurl_links": false});
                    self.post(delivery, body, attempt.now).await.map_err(SendError::after_a_part)?;
                }
                Ok(Sent { provider_id: Some(room.id.clone()), channel: Some(room) })
            }
        }
    }

    async fn reconcile(&self, delivery: &Delivery, attempt: &Attempt) -> Reconciled {
        if matches!(delivery.message, Message::ChatOpen { .. } | Message::ChatArchive { .. }) {
            return Reconciled::NotArrived; // each of their steps may be repeated
        }
        let since = attempt.since.unwrap_or(attempt.now);
        match self.place(delivery, attempt).await {
            Ok(Some(channel)) => match self.find(&channel, delivery, since, attempt.now).await {
                Ok(Some(id)) => Reconciled::Arrived(Sent::with(id)),
                Ok(None) => Reconciled::NotArrived,
                Err(_) => Reconciled::Unknown,
            },
            Ok(None) | Err(_) => Reconciled::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
