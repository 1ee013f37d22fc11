//! The settings of receivers: `receivers: [{name, type, ...}]`. Unknown keys are refused, secrets never show, every base URL can be set.
//! Credentials that would travel unencrypted beyond this machine are refused by [`ReceiverConfig::problems`].

mod read;

use std::collections::{BTreeMap, BTreeSet};

use model::secret::Secret;
use model::time::Span;
use serde::{Deserialize, Serialize};

/// How fast a destination is spoken to: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Messages a second in the long run.
    pub per_second: f64,
    /// Messages at once after a rest.
    pub burst: u32,
}

impl RateLimit {
    const fn new(per_second: f64, burst: u32) -> Self {
        RateLimit { per_second, burst }
    }
}

/// One receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", try_from = "read::Form")]
pub enum ReceiverConfig {
    /// PagerDuty's Events API v2.
    Pagerduty(PagerDutyConfig),
    /// Slack's Web API: notices in a channel, a channel per incident.
    Slack(SlackConfig),
    /// A Slack incoming webhook: notices in the channel it belongs to.
    SlackWebhook(SlackWebhookConfig),
    /// Any HTTP endpoint that takes Alertmanager's webhook body (version 4).
    Webhook(WebhookConfig),
    /// Mail over SMTP.
    Mail(MailConfig),
    /// Text messages through Twilio.
    TwilioSms(TwilioConfig),
    /// Calls through Twilio, acknowledged by the keypad.
    TwilioVoice(TwilioVoiceConfig),
    /// Microsoft Teams, a Workflows webhook.
    MsTeams(MsTeamsConfig),
    /// A Discord webhook.
    Discord(DiscordConfig),
    /// A Telegram chat.
    Telegram(TelegramConfig),
    /// An ntfy topic.
    Ntfy(NtfyConfig),
    /// Opsgenie's Alert API.
    Opsgenie(OpsgenieConfig),
}

/// PagerDuty.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PagerDutyConfig {
    /// What ladders and rules call it.
    pub name: String,
    /// The integration's key.
    pub routing_key: Secret,
    /// The base URL.
    pub url: String,
    /// How fast.
    pub rate_limit: RateLimit,
    /// The longest one request may take.
    pub timeout: Span,
}

/// Slack, Web API.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlackConfig {
    /// What ladders and rules call it.
    pub name: String,
    /// A bot token (`xoxb-...`) with chat:write, channels:manage, channels:read, channels:history.
    pub token: Secret,
    /// Where notices go: a channel id (`C012345`) or a name.
    pub channel: String,
    /// The base URL of the API.
    pub api_url: String,
    /// User ids that are invited to every incident channel.
    pub invite: Vec<String>,
    /// How fast messages are posted.
    pub rate_limit: RateLimit,
    /// How fast channels are opened and archived (Slack allows about 20 a minute).
    pub channel_rate_limit: RateLimit,
    /// The longest one request may take.
    pub timeout: Span,
}

/// Slack, incoming webhook.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlackWebhookConfig {
    /// What ladders and rules call it.
    pub name: String,
    /// The webhook's URL: whoever has it can post, so it is a secret.
    pub url: Secret,
    /// How fast.
    pub rate_limit: RateLimit,
    /// The longest one request may take.
    pub timeout: Span,
}

/// Generic webhook.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WebhookConfig {
    /// What ladders and rules call it.
    pub name: String,
    /// Where to; it may hold a token, so it is kept as a secret.
    pub url: Secret,
    /// More headers; their values are secrets.
    pub headers: BTreeMap<String, Secret>,
    /// Sent as `Authorization: Bearer ...`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<Secret>,
    /// How fast.
    pub rate_limit: RateLimit,
    /// The longest one request may take.
    pub timeout: Span,
}

/// Mail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MailConfig {
    /// What ladders and rules call it.
    pub name: String,
    /// The SMTP server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether to insist on STARTTLS; without it mail may go to this machine only.
    pub starttls: bool,
    /// The user name, where the server asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The sender: `Watchfire <watchfire@example.org>`.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
    /// How fast.
    pub rate_limit: RateLimit,
    /// The longest one SMTP command may take.
    pub timeout: Span,
}

/// Twilio.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TwilioConfig {
    /// What ladders and rules call it.
    pub name: String,
    /// The account (`AC...`).
    pub account_sid: String,
    /// Its token.
    pub auth_token: Secret,
    /// The sending number; or `messaging_service_sid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The messaging service (`MG...`); or `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messaging_service_sid: Option<String>,
    /// The numbers to send to (`+15551234567`).
    pub to: Vec<String>,
    /// The base URL.
    pub url: String,
    /// How fast.
    pub rate_limit: RateLimit,
    /// The longest one request may take.
    pub timeout: Span,
}

/// Calls through Twilio.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TwilioVoiceConfig {
    /// What ladders and rules call it.
    pub name: String,
    /// The account (`AC...`).
    pub account_sid: String,
    /// Its token; it signs what Twilio sends back, too.
    pub auth_token: Secret,
    /// The calling number.
    pub from: String,
    /// The numbers to call (`+15551234567`).
    pub to: Vec<String>,
    /// How Twilio reaches Watchfire from outside (`https://watchfire.example.org`); none: no keypad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// The base URL.
    pub url: String,
    /// How fast.
    pub rate_limit: RateLimit,
    /// The longest one request may take.
    pub timeout: Span,
}

/// Microsoft Teams.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MsTeamsConfig {
    /// What ladders and rules call it.
    pub name: String,
    /// The workflow's URL: whoever has it can post, so it is a secret.
    pub url: Secret,
    /// How fast.
    pub rate_limit: RateLimit,
    /// The longest one request may take.
    pub timeout: Span,
}

/// Discord.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DiscordConfig {
    /// What ladders and rules call it.
    pub name: String,
    /// The webhook's URL: whoever has it can post, so it is a secret.
    pub url: Secret,
    /// How fast.
    pub rate_limit: RateLimit,
    /// The longest one request may take.
    pub timeout: Span,
}

/// Telegram.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TelegramConfig {
    /// What ladders and rules call it.
    pub name: String,
    /// The bot's token.
    pub token: Secret,
    /// The chat: a number, or `@name` of a channel.
    pub chat_id: String,
    /// The base URL.
    pub url: String,
    /// How fast.
    pub rate_limit: RateLimit,
    /// The longest one request may take.
    pub timeout: Span,
}

/// ntfy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NtfyConfig {
    /// What ladders and rules call it.
    pub name: String,
    /// The topic; who knows it can read along on a public server, so it is a secret.
    pub topic: Secret,
    /// An access token, where the server asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// The server.
    pub url: String,
    /// How fast.
    pub rate_limit: RateLimit,
    /// The longest one request may take.
    pub timeout: Span,
}

/// Opsgenie.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpsgenieConfig {
    /// What ladders and rules call it.
    pub name: String,
    /// The integration's key.
    pub api_key: Secret,
    /// The base URL (`https://api.eu.opsgenie.com` in the EU).
    pub url: String,
    /// How fast.
    pub rate_limit: RateLimit,
    /// The longest one request may take.
    pub timeout: Span,
}

fn usual_timeout() -> Span {
    Span::secs(10)
}
fn yes() -> bool {
    true
}
fn submission_port() -> u16 {
    587
}
fn pagerduty_url() -> String {
    "https://events.pagerduty.com".to_owned()
}
fn slack_url() -> String {
    "https://slack.com/api".to_owned()
}
fn twilio_url() -> String {
    "https://api.twilio.com".to_owned()
}
fn pagerduty_rate() -> RateLimit {
    RateLimit::new(2.0, 60)
}
fn slack_rate() -> RateLimit {
    RateLimit::new(1.0, 5)
}
fn slack_channel_rate() -> RateLimit {
    RateLimit::new(0.3, 3)
}
fn webhook_rate() -> RateLimit {
    RateLimit::new(20.0, 100)
}
fn mail_rate() -> RateLimit {
    RateLimit::new(1.0, 20)
}
fn sms_rate() -> RateLimit {
    RateLimit::new(1.0, 5)
}
fn telegram_url() -> String {
    "https://api.telegram.org".to_owned()
}
fn ntfy_url() -> String {
    "https://ntfy.sh".to_owned()
}
fn opsgenie_url() -> String {
    "https://api.opsgenie.com".to_owned()
}
fn teams_rate() -> RateLimit {
    RateLimit::new(1.0, 4)
}
fn discord_rate() -> RateLimit {
    RateLimit::new(0.5, 5)
}
fn telegram_rate() -> RateLimit {
    RateLimit::new(0.3, 10)
}
fn ntfy_rate() -> RateLimit {
    RateLimit::new(0.2, 60)
}
fn opsgenie_rate() -> RateLimit {
    RateLimit::new(2.0, 30)
}

impl ReceiverConfig {
    /// Whether it can carry a letter: an invitation, a status update.
    pub fn takes_documents(&self) -> bool {
        match self {
            ReceiverConfig::Slack(_)
            | ReceiverConfig::SlackWebhook(_)
            | ReceiverConfig::Mail(_)
            | ReceiverConfig::MsTeams(_)
            | ReceiverConfig::Discord(_)
            | ReceiverConfig::Telegram(_)
            | ReceiverConfig::Ntfy(_) => true,
            ReceiverConfig::Pagerduty(_)
            | ReceiverConfig::Webhook(_)
            | ReceiverConfig::TwilioSms(_)
            | ReceiverConfig::TwilioVoice(_)
            | ReceiverConfig::Opsgenie(_) => false,
        }
    }

    /// What ladders and rules call it.
    pub fn name(&self) -> &str {
        match self {
            ReceiverConfig::Pagerduty(config) => &config.name,
            ReceiverConfig::Slack(config) => &config.name,
            ReceiverConfig::SlackWebhook(config) => &config.name,
            ReceiverConfig::Webhook(config) => &config.name,
            ReceiverConfig::Mail(config) => &config.name,
            ReceiverConfig::TwilioSms(config) => &config.name,
            ReceiverConfig::TwilioVoice(config) => &config.name,
            ReceiverConfig::MsTeams(config) => &config.name,
            ReceiverConfig::Discord(config) => &config.name,
            ReceiverConfig::Telegram(config) => &config.name,
            ReceiverConfig::Ntfy(config) => &config.name,
            ReceiverConfig::Opsgenie(config) => &config.name,
        }
    }
    /// How fast it is spoken to.
    pub fn rate_limit(&self) -> RateLimit {
        match self {
            ReceiverConfig::Pagerduty(config) => config.rate_limit,
            ReceiverConfig::Slack(config) => config.rate_limit,
            ReceiverConfig::SlackWebhook(config) => config.rate_limit,
            ReceiverConfig::Webhook(config) => config.rate_limit,
            ReceiverConfig::Mail(config) => config.rate_limit,
            ReceiverConfig::TwilioSms(config) => config.rate_limit,
            ReceiverConfig::TwilioVoice(config) => config.rate_limit,
            ReceiverConfig::MsTeams(config) => config.rate_limit,
            ReceiverConfig::Discord(config) => config.rate_limit,
            ReceiverConfig::Telegram(config) => config.rate_limit,
            ReceiverConfig::Ntfy(config) => config.rate_limit,
            ReceiverConfig::Opsgenie(config) => config.rate_limit,
        }
    }
    /// How fast its chat channels are opened and archived, where it has channels.
    pub fn channel_rate_limit(&self) -> Option<RateLimit> {
        match self {
            ReceiverConfig::Slack(config) => Some(config.channel_rate_limit),
            ReceiverConfig::Pagerduty(_)
            | ReceiverConfig::SlackWebhook(_)
            | ReceiverConfig::Webhook(_)
            | ReceiverConfig::Mail(_)
            | ReceiverConfig::TwilioSms(_)
            | ReceiverConfig::TwilioVoice(_)
            | ReceiverConfig::MsTeams(_)
            | ReceiverConfig::Discord(_)
            | ReceiverConfig::Telegram(_)
            | ReceiverConfig::Ntfy(_)
            | ReceiverConfig::Opsgenie(_) => None,
        }
    }
    /// The longest one request may take.
    pub fn timeout(&self) -> Span {
        match self {
            ReceiverConfig::Pagerduty(config) => config.timeout,
            ReceiverConfig::Slack(config) => config.timeout,
            ReceiverConfig::SlackWebhook(config) => config.timeout,
            ReceiverConfig::Webhook(config) => config.timeout,
            ReceiverConfig::Mail(config) => config.timeout,
            ReceiverConfig::TwilioSms(config) => config.timeout,
            ReceiverConfig::TwilioVoice(config) => config.timeout,
            ReceiverConfig::MsTeams(config) => config.timeout,
            ReceiverConfig::Discord(config) => config.timeout,
            ReceiverConfig::Telegram(config) => config.timeout,
            ReceiverConfig::Ntfy(config) => config.timeout,
            ReceiverConfig::Opsgenie(config) => config.timeout,
        }
    }
    /// What is wrong with it, one sentence each, without its name; empty where all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.name().is_empty() {
            found.push("name is empty: give it one that ladders can call".to_owned());
        }
        if self.timeout().0.is_zero() || self.timeout() > Span::secs(60) {
            found.push("timeout must be between 1ms and 60s".to_owned());
        }
        for (key, rate) in [("rate_limit", Some(self.rate_limit())), ("channel_rate_limit", self.channel_rate_limit())] {
            if rate.is_some_and(|rate| !rate.per_second.is_finite() || rate.per_second <= 0.0 || rate.burst == 0) {
                found.push(format!("{key} needs per_second above 0 and burst of at least 1"));
            }
        }
        match self {
            ReceiverConfig::Pagerduty(config) => {
                wanted(&mut found, "routing_key", config.routing_key.reveal());
                found.extend(http_url("url", &config.url, true));
            }
            ReceiverConfig::Slack(config) => {
                wanted(&mut found, "token", config.token.reveal());
                wanted(&mut found, "channel", &config.channel);
                found.extend(http_url("api_url", &config.api_url, true));
            }
            ReceiverConfig::SlackWebhook(config) => found.extend(http_url("url", config.url.reveal(), true)),
            ReceiverConfig::Webhook(config) => {
                let secret = config.bearer_token.is_some();
                found.extend(http_url("url", config.url.reveal(), secret));
                found.extend(config.headers.iter().filter_map(|(name, value)| bad_header(name, value)));
            }
            ReceiverConfig::Mail(config) => found.extend(super::mail::problems(config)),
            ReceiverConfig::TwilioSms(config) => found.extend(twilio_problems(config)),
            ReceiverConfig::TwilioVoice(config) => found.extend(voice_problems(config)),
            ReceiverConfig::MsTeams(config) => found.extend(http_url("url", config.url.reveal(), true)),
            ReceiverConfig::Discord(config) => found.extend(http_url("url", config.url.reveal(), true)),
            ReceiverConfig::Telegram(config) => {
                wanted(&mut found, "token", config.token.reveal());
                wanted(&mut found, "chat_id", &config.chat_id);
                found.extend(http_url("url", &config.url, true));
            }
            ReceiverConfig::Ntfy(config) => {
                wanted(&mut found, "topic", config.topic.reveal());
                found.extend(http_url("url", &config.url, true));
            }
            ReceiverConfig::Opsgenie(config) => {
                wanted(&mut found, "api_key", config.api_key.reveal());
                found.extend(http_url("url", &config.url, true));
            }
        }
        found
    }
}

fn wanted(found: &mut Vec<String>, key: &str, value: &str) {
    if value.is_empty() {
        found.push(format!("{key} is empty"));
    }
}

/// The URL's text never appears: it may hold a token.
pub(crate) fn http_url(key: &str, text: &str, secret: bool) -> Option<String> {
    let Ok(url) = url::Url::parse(text) else {
        return Some(format!("{key} is not a URL: write it as https://host/path"));
    };
    match url.scheme() {
        "https" => None,
        "http" if !secret || is_local(url.host_str().unwrap_or_default()) => None,
        "http" => Some(format!("{key} would send a secret unencrypted: use https (http is for this machine only)")),
        _ => Some(format!("{key} must begin with https:// or http://")),
    }
}

/// Whether a host is this machine.
pub(crate) fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn bad_header(name: &str, value: &Secret) -> Option<String> {
    let fits = http::HeaderName::try_from(name).is_ok() && http::HeaderValue::try_from(value.reveal()).is_ok();
    (!fits).then(|| format!("headers.{name} is not a valid HTTP header"))
}

fn twilio_problems(config: &TwilioConfig) -> Vec<String> {
    let mut found = Vec::new();
    wanted(&mut found, "account_sid", &config.account_sid);
    wanted(&mut found, "auth_token", config.auth_token.reveal());
    found.extend(http_url("url", &config.url, true));
    if config.from.is_some() == config.messaging_service_sid.is_some() {
        found.push("needs either from or messaging_service_sid".to_owned());
    }
    found.extend(number_problems(&config.to));
    found
}

fn number_problems(to: &[String]) -> Vec<String> {
    if to.is_empty() {
        return vec!["to is empty: name at least one number".to_owned()];
    }
    let bad = |number: &&String| !(number.starts_with('+') && number.len() > 4 && number[1..].bytes().all(|b| b.is_ascii_digit()));
    to.iter().filter(bad).map(|number| format!("to: `{number}` is not a number in E.164 form (+15551234567)")).collect()
}

fn voice_problems(config: &TwilioVoiceConfig) -> Vec<String> {
    let mut found = Vec::new();
    wanted(&mut found, "account_sid", &config.account_sid);
    wanted(&mut found, "auth_token", config.auth_token.reveal());
    wanted(&mut found, "from", &config.from);
    found.extend(http_url("url", &config.url, true));
    found.extend(config.callback_url.as_ref().and_then(|url| http_url("callback_url", url, false)));
    found.extend(number_problems(&config.to));
    found
}

/// What is wrong with a list of receivers, one sentence each; empty where all is well.
pub fn check_receivers(receivers: &[ReceiverConfig]) -> Vec<String> {
    let (mut problems, mut names) = (Vec::new(), BTreeSet::new());
    for (at, receiver) in receivers.iter().enumerate() {
        problems.extend(receiver.problems().into_iter().map(|problem| format!("receivers[{at}] `{}`: {problem}", receiver.name())));
        if !names.insert(receiver.name()) {
            problems.push(format!("receivers[{at}]: the name `{}` exists twice: rename one of them", receiver.name()));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
