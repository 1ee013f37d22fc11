//! Every outbound client: PagerDuty, Opsgenie, Slack, Teams, Discord, Telegram, ntfy, webhooks, mail, SMS, calls. In: a [`Delivery`] and what is known of earlier attempts. Out: the
//! provider's id, or a [`SendError`] that says whether to try again. What a message looks like is decided by pure functions
//! (`render` of each channel); the `Channel` around them only sends. Nothing here reads or writes state, and no error shows a secret.

#[cfg(test)]
pub(crate) mod catcher;
pub mod config;
pub mod discord;
pub mod heartbeat;
mod http;
pub mod mail;
pub mod msteams;
pub mod ntfy;
pub mod opsgenie;
pub mod pagerduty;
pub mod slack;
pub mod slack_webhook;
pub mod telegram;
mod text;
pub mod twilio;
pub mod twilio_voice;
pub mod webhook;

use std::time::Duration;

use async_trait::async_trait;
use model::incident::ChatChannel;
use model::message::{Delivery, Message, PageAction};
use model::time::Timestamp;

pub(crate) use http::chain;

pub use config::{RateLimit, ReceiverConfig, check_receivers};

/// What is known when a message is sent, or asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Whether an earlier attempt may have arrived: the message says so where the provider has no idempotency key.
    pub resend: bool,
    /// The present moment.
    pub now: Timestamp,
    /// Since when nobody knows whether an attempt arrived.
    pub since: Option<Timestamp>,
    /// The incident's chat channel, as far as it is known.
    pub chat: Option<ChatChannel>,
    /// Recipients that have it already (of a receiver with several).
    pub reached: Vec<String>,
}

/// A provider took the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The provider's id for it.
    pub provider_id: Option<String>,
    /// The chat channel, where the message asked to open one.
    pub channel: Option<OpenedChannel>,
}

impl Sent {
    /// Taken, under the provider's id.
    pub fn with(provider_id: impl Into<String>) -> Self {
        Sent { provider_id: Some(provider_id.into()), channel: None }
    }
}

/// A chat channel as the provider knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedChannel {
    /// The provider's id (`C012345`).
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Why a provider did not take the message. Reasons hold no secret and no person's address: they are journalled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Worth another try.
    #[error("{reason}")]
    Retry {
        /// Not before this much time has passed, where the provider says so (`Retry-After`).
        after: Option<Duration>,
        /// What went wrong.
        reason: String,
        /// Whether it may have arrived nevertheless, wholly or at some recipients (the answer was lost).
        doubt: bool,
    },
    /// Trying again cannot help: somebody has to change something.
    #[error("{reason}")]
    Final {
        /// What went wrong.
        reason: String,
        /// Whether some recipients may have it.
        doubt: bool,
    },
}

impl SendError {
    /// It did not arrive; try again.
    pub fn retry(reason: impl Into<String>) -> Self {
        SendError::Retry { after: None, reason: reason.into(), doubt: false }
    }
    /// Nobody knows whether it arrived; find out, or try again and say so.
    pub fn doubtful(reason: impl Into<String>) -> Self {
        SendError::Retry { after: None, reason: reason.into(), doubt: true }
    }
    /// It did not arrive and never will.
    pub fn last(reason: impl Into<String>) -> Self {
        SendError::Final { reason: reason.into(), doubt: false }
    }
    /// The same failure of a message that has several steps or recipients, some of which are done.
    pub fn after_a_part(self) -> Self {
        match self {
            SendError::Retry { after, reason, .. } => SendError::Retry { after, reason, doubt: true },
            SendError::Final { reason, .. } => SendError::Final { reason, doubt: true },
        }
    }
    /// The same failure with something said before it.
    pub fn at(self, place: &str) -> Self {
        match self {
            SendError::Retry { after, reason, doubt } => SendError::Retry { after, reason: format!("{place}: {reason}"), doubt },
            SendError::Final { reason, doubt } => SendError::Final { reason: format!("{place}: {reason}"), doubt },
        }
    }
}

/// What asking the provider brought to light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// It is there: nothing to send.
    Arrived(Sent),
    /// These recipients have it, the others do not.
    Partly {
        /// Who has it.
        reached: Vec<String>,
    },
    /// It is not there.
    NotArrived,
    /// The provider cannot be asked, or its answer does not decide it.
    Unknown,
}

/// One receiver's way out.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Sends one message.
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError>;
    /// Whether the receiver is told of such a message at all; what it has no use for is done without a send.
    fn has_use_for(&self, _: &Message) -> bool {
        true
    }
    /// Asks the provider whether a message arrived whose sender did not live to hear the answer, or never got one.
    async fn reconcile(&self, delivery: &Delivery, attempt: &Attempt) -> Reconciled;
}

/// A receiver that cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
#[error("receiver `{receiver}`: {problem}")]
pub struct ReceiverError {
    /// Which.
    pub receiver: String,
    /// What is wrong and how to mend it.
    pub problem: String,
}

/// Builds the way out for one receiver. `client` is shared by all of them; see [`client`].
pub fn open(config: &ReceiverConfig, client: &reqwest::Client) -> Result<Box<dyn Channel>, ReceiverError> {
    if let Some(problem) = config.problems().into_iter().next() {
        return Err(ReceiverError { receiver: config.name().to_owned(), problem });
    }
    Ok(match config {
        ReceiverConfig::Pagerduty(config) => Box::new(pagerduty::PagerDuty::new(config, client)),
        ReceiverConfig::Slack(config) => Box::new(slack::Slack::new(config, client)),
        ReceiverConfig::SlackWebhook(config) => Box::new(slack_webhook::SlackWebhook::new(config, client)),
        ReceiverConfig::Webhook(config) => Box::new(webhook::Webhook::new(config, client)),
        ReceiverConfig::Mail(mail) => {
            Box::new(mail::Mail::new(mail).map_err(|problem| ReceiverError { receiver: config.name().to_owned(), problem })?)
        }
        ReceiverConfig::TwilioSms(config) => Box::new(twilio::TwilioSms::new(config, client)),
        ReceiverConfig::TwilioVoice(config) => Box::new(twilio_voice::TwilioVoice::new(config, client)),
        ReceiverConfig::MsTeams(config) => Box::new(msteams::MsTeams::new(config, client)),
        ReceiverConfig::Discord(config) => Box::new(discord::Discord::new(config, client)),
        ReceiverConfig::Telegram(config) => Box::new(telegram::Telegram::new(config, client)),
        ReceiverConfig::Ntfy(config) => Box::new(ntfy::Ntfy::new(config, client)),
        ReceiverConfig::Opsgenie(config) => Box::new(opsgenie::Opsgenie::new(config, client)),
    })
}

/// The HTTP client that all receivers share: no redirects (a webhook that moved is a mistake to be seen, and a secret must not follow it).
/// The process must have installed rustls's `ring` provider before (`rustls::crypto::ring::default_provider().install_default()`).
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(concat!("watchfire/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .build()
}

/// What kind of message it is, in words for people.
pub fn kind_word(message: &Message) -> &'static str {
    match message {
        Message::Notice(_) => "a notice",
        Message::ChatOpen { .. } => "opening a chat channel",
        Message::ChatPost { .. } => "a post in a chat channel",
        Message::ChatArchive { .. } => "archiving a chat channel",
        Message::Document { .. } => "a document",
    }
}

/// Whether a notice says that somebody has it. Mail, text messages and webhooks are not told: nobody is woken to hear that there is
/// nothing to do, and Alertmanager's body has no word for it (its readers would take it for another firing).
pub(crate) fn is_acknowledgement(message: &Message) -> bool {
    matches!(message, Message::Notice(notice) if notice.action == PageAction::Acknowledge)
}

/// The detail of a group's acknowledgement that says how many others of its alerts nobody has; missing where all are taken.
pub(crate) const UNANSWERED: &str = "unanswered";

/// Whether a notice says that somebody has some of a group's alerts, while others wait for an answer. Providers that keep one alert for the
/// group are not told: to them, all of it would be acknowledged.
pub(crate) fn is_partial_acknowledgement(message: &Message) -> bool {
    matches!(message, Message::Notice(notice) if notice.action == PageAction::Acknowledge && notice.details.contains_key(UNANSWERED))
}

/// The answer of a receiver to a message it has no way to carry.
pub(crate) fn cannot_carry(receiver: &str, instead: &str, message: &Message) -> SendError {
    SendError::last(format!("{receiver} cannot carry {}: {instead}", kind_word(message)))
}
