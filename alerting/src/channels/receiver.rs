//! Receivers as configured. Secrets never print; every base URL can be set, for tests and private installations.

use std::collections::{BTreeMap, BTreeSet};

use model::secret::Secret;
use model::time::Span;
use serde::{Deserialize, Serialize};

/// A receiver: a name, a kind with its settings, and its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceiverConfig {
    /// What ladders and routes call it.
    pub name: String,
    /// How long one attempt may take.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// How fast it may be sent to; none: the kind's usual limit.
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
    /// Its kind.
    #[serde(flatten)]
    pub receiver: Receiver,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Tokens that come back each second.
    pub per_second: f64,
    /// Tokens at most.
    pub burst: u32,
}

fn ten_seconds() -> Span {
    Span::secs(10)
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

/// The kinds of receivers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Receiver {
    /// PagerDuty, Events API v2.
    Pagerduty {
        /// The integration's key.
        routing_key: Secret,
        /// Where Events v2 answers.
        #[serde(default = "pagerduty_url")]
        url: String,
    },
    /// Slack's Web API: posts, and channels for incidents.
    Slack {
        /// A bot token with `chat:write`, `channels:manage`, `channels:history`.
        token: Secret,
        /// Where notices go.
        channel: String,
        /// Where the Web API answers.
        #[serde(default = "slack_url")]
        api_url: String,
        /// User ids that are invited into every incident's channel.
        #[serde(default)]
        invite: Vec<String>,
    },
    /// A Slack incoming webhook.
    SlackWebhook {
        /// Its URL, which is a secret.
        url: Secret,
    },
    /// A generic webhook: Alertmanager's body, version 4.
    Webhook {
        /// Where to POST; may hold a secret.
        url: Secret,
        /// More headers.
        #[serde(default)]
        headers: BTreeMap<String, Secret>,
        /// `Authorization: Bearer ...`
        #[serde(default)]
        bearer_token: Option<Secret>,
    },
    /// Mail over SMTP.
    Mail(MailConfig),
    /// SMS through Twilio.
    TwilioSms(TwilioConfig),
}

/// Mail over SMTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// The mail server.
    pub host: String,
    /// Its port; 587 unless given.
    #[serde(default = "submission")]
    pub port: u16,
    /// Whether to insist on STARTTLS; only a server on this machine should do without.
    #[serde(default = "yes")]
    pub starttls: bool,
    /// Log in as.
    #[serde(default)]
    pub username: Option<String>,
    /// With this password.
    #[serde(default)]
    pub password: Secret,
    /// The sender.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
}

fn submission() -> u16 {
    587
}

fn yes() -> bool {
    true
}

/// SMS through Twilio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwilioConfig {
    /// The account.
    pub account_sid: String,
    /// Its token.
    pub auth_token: Secret,
    /// The sending number.
    #[serde(default)]
    pub from: Option<String>,
    /// Or the messaging service.
    #[serde(default)]
    pub messaging_service_sid: Option<String>,
    /// The numbers that are called, in E.164 form.
    pub to: Vec<String>,
    /// Where the API answers.
    #[serde(default = "twilio_url")]
    pub url: String,
}

impl ReceiverConfig {
    /// How fast it may be sent to.
    pub fn rate(&self) -> RateLimit {
        self.rate_limit.unwrap_or(match &self.receiver {
            Receiver::Pagerduty { .. } => RateLimit { per_second: 10.0, burst: 60 },
            Receiver::Slack { .. } | Receiver::SlackWebhook { .. } => RateLimit { per_second: 1.0, burst: 10 },
            Receiver::Webhook { .. } => RateLimit { per_second: 50.0, burst: 200 },
            Receiver::Mail(_) => RateLimit { per_second: 2.0, burst: 20 },
            Receiver::TwilioSms(_) => RateLimit { per_second: 1.0, burst: 10 },
        })
    }
}

/// What is wrong with a list of receivers, one sentence each.
pub fn problems(receivers: &[ReceiverConfig]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for receiver in receivers {
        let name = &receiver.name;
        if !names.insert(name) {
            problems.push(format!("receivers: the name `{name}` stands twice"));
        }
        let rate = receiver.rate();
        if rate.per_second.is_nan() || rate.per_second <= 0.0 || rate.burst == 0 {
            problems.push(format!("receivers: `{name}`: rate_limit must let something through"));
        }
        let urls: Vec<(&str, &str)> = match &receiver.receiver {
            Receiver::Pagerduty { url, .. } => vec![("url", url)],
            Receiver::Slack { api_url, .. } => vec![("api_url", api_url)],
            Receiver::SlackWebhook { url } | Receiver::Webhook { url, .. } => vec![("url", url.reveal())],
            Receiver::Mail(mail) => {
                if mail.to.is_empty() {
                    problems.push(format!("receivers: `{name}`: `to` is empty"));
                }
                Vec::new()
            }
            Receiver::TwilioSms(sms) => {
                if sms.to.is_empty() {
                    problems.push(format!("receivers: `{name}`: `to` is empty"));
                }
                if sms.from.is_none() == sms.messaging_service_sid.is_none() {
                    problems.push(format!("receivers: `{name}`: give either `from` or `messaging_service_sid`"));
                }
                vec![("url", &sms.url)]
            }
        };
        for (key, url) in urls {
            let fits = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if !fits {
                problems.push(format!("receivers: `{name}`: `{key}` is not an http(s) URL"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_are_read_checked_and_never_printed() {
        let text = "- { name: a, type: pagerduty, routing_key: hush }\n- { name: a, type: twilio_sms, account_sid: AC, auth_token: hush, to: [] }\n- { name: w, type: webhook, url: nowhere }\n";
        let receivers: Vec<ReceiverConfig> = serde_saphyr::from_str(text).unwrap();
        let problems = problems(&receivers);
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(!format!("{receivers:?}").contains("hush"));
        assert!(!serde_json::to_string(&receivers).unwrap().contains("hush"));
        assert!(serde_saphyr::from_str::<Vec<ReceiverConfig>>("- { name: a, type: pagerduty, routing_kee: x }").is_err());
    }
}
