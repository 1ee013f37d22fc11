//! Every outbound client: PagerDuty, Slack (Web API and incoming webhook), generic webhook, mail, SMS. A channel sends one message
//! and says what became of it; when, how often and in which order is `delivery`'s business. Rendering is pure and apart.

pub mod http;
pub mod mail;
pub mod pagerduty;
pub mod receiver;
pub mod slack;
pub mod twilio;
pub mod webhook;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use model::message::{Delivery, Message};

pub use receiver::{RateLimit, Receiver, ReceiverConfig};

/// A provider took it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The provider's id for it.
    pub provider_id: Option<String>,
    /// The chat channel that was opened: id and name.
    pub channel: Option<(String, String)>,
}

/// Why it was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Later it may be.
    #[error("{reason}")]
    Retry {
        /// Not before this much later, where the provider said so.
        after: Option<Duration>,
        /// Why.
        reason: String,
        /// Whether it may have arrived all the same (a broken connection, a timeout).
        uncertain: bool,
    },
    /// Never.
    #[error("{reason}")]
    Final {
        /// Why.
        reason: String,
    },
}

impl SendError {
    /// Worth another try.
    pub fn retry(reason: impl Into<String>) -> Self {
        SendError::Retry { after: None, reason: reason.into(), uncertain: false }
    }
    /// Worth another try, and it may have arrived all the same.
    pub fn uncertain(reason: impl Into<String>) -> Self {
        SendError::Retry { after: None, reason: reason.into(), uncertain: true }
    }
    /// Not worth another try.
    pub fn fatal(reason: impl Into<String>) -> Self {
        SendError::Final { reason: reason.into() }
    }
}

/// Whether a message whose sender died in the act has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// It has.
    Arrived(Sent),
    /// It has not.
    NotArrived,
    /// Nobody knows: it is sent again and marked as a resend.
    Unknown,
}

/// What a channel is told about one attempt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt<'a> {
    /// Whether an earlier attempt may have arrived too.
    pub resend: bool,
    /// The incident's chat channel, where it has one.
    pub chat: Option<&'a str>,
}

/// One kind of destination.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Sends it once.
    async fn send(&self, delivery: &Delivery, attempt: Attempt<'_>) -> Result<Sent, SendError>;
    /// Finds out whether an attempt that was cut off has arrived. The default does not know.
    async fn reconcile(&self, _: &Delivery, _: Attempt<'_>) -> Reconciled {
        Reconciled::Unknown
    }
}

/// The channels by receiver name.
pub type Channels = BTreeMap<String, Box<dyn Channel>>;

/// Makes a channel for each receiver.
pub fn open(receivers: &[ReceiverConfig], client: &reqwest::Client) -> Channels {
    let make = |config: &ReceiverConfig| -> Box<dyn Channel> {
        let http = http::Http::new(client.clone(), config.timeout.0);
        match &config.receiver {
            Receiver::Pagerduty { routing_key, url } => Box::new(pagerduty::PagerDuty::new(http, url, routing_key.clone())),
            Receiver::Slack { token, channel, api_url, invite } => {
                Box::new(slack::Slack::new(http, api_url, token.clone(), channel.clone(), invite.clone()))
            }
            Receiver::SlackWebhook { url } => Box::new(slack::SlackWebhook::new(http, url.clone())),
            Receiver::Webhook { url, headers, bearer_token } => {
                Box::new(webhook::Webhook::new(http, url.clone(), headers.clone(), bearer_token.clone(), config.name.clone()))
            }
            Receiver::Mail(mail) => Box::new(mail::Mail::new(mail.clone(), config.timeout.0)),
            Receiver::TwilioSms(sms) => Box::new(twilio::TwilioSms::new(http, sms.clone())),
        }
    };
    receivers.iter().map(|config| (config.name.clone(), make(config))).collect()
}

/// What a receiver that has no such thing says to a message.
pub fn unsupported(kind: &str, message: &Message) -> SendError {
    let what = match message {
        Message::Notice(_) => "notices",
        Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } => "chat channels",
        Message::Document { .. } => "documents",
    };
    SendError::fatal(format!("a receiver of type {kind} cannot carry {what}: name another receiver there"))
}

/// At most so many characters, the last one an ellipsis where something was cut.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}
