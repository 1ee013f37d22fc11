//! Reads a receiver. All keys of all types stand in one flat form, so that every value is read as the type it must have: a tagged enum would
//! guess first, take the token `12345678` for a number, and show it in its complaint.

use std::collections::BTreeMap;

use model::secret::Secret;
use model::time::Span;
use serde::Deserialize;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Pagerduty,
    Slack,
    SlackWebhook,
    Webhook,
    Mail,
    TwilioSms,
}

macro_rules! form {
    ($($key:ident: $kind:ty,)*) => {
        /// Every key that some type of receiver has.
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Form {
            name: String,
            r#type: Kind,
            $(#[serde(default)] $key: Option<$kind>,)*
        }

        impl Form {
            /// The keys that nobody took.
            fn left(&self) -> Vec<&'static str> {
                let mut left = Vec::new();
                $(if self.$key.is_some() { left.push(stringify!($key)); })*
                left
            }
        }
    };
}

form! {
    routing_key: Secret,
    url: Secret,
    token: Secret,
    channel: String,
    api_url: String,
    invite: Vec<String>,
    headers: BTreeMap<String, Secret>,
    bearer_token: Secret,
    host: String,
    port: u16,
    starttls: bool,
    username: String,
    password: Secret,
    from: String,
    to: Vec<String>,
    account_sid: String,
    auth_token: Secret,
    messaging_service_sid: String,
    rate_limit: RateLimit,
    channel_rate_limit: RateLimit,
    timeout: Span,
}

/// A receiver that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A key is missing.
    #[error("receiver `{receiver}` needs the key `{key}`")]
    Missing {
        /// Which receiver.
        receiver: String,
        /// Which key.
        key: &'static str,
    },
    /// A key belongs to another type.
    #[error("receiver `{receiver}` has the key `{key}`, which its type does not know: remove it")]
    Stray {
        /// Which receiver.
        receiver: String,
        /// Which key.
        key: &'static str,
    },
}

impl TryFrom<Form> for ReceiverConfig {
    type Error = FormError;

    fn try_from(mut form: Form) -> Result<Self, FormError> {
        let name = form.name.clone();
        let missing = |key: &'static str| move |name: String| FormError::Missing { receiver: name, key };
        macro_rules! need {
            ($key:ident) => {
                form.$key.take().ok_or_else(|| missing(stringify!($key))(name.clone()))?
            };
        }
        let timeout = form.timeout.take().unwrap_or_else(usual_timeout);
        let rate = form.rate_limit.take();
        let url = |form: &mut Form, usual: fn() -> String| form.url.take().map_or_else(usual, |url| url.reveal().to_owned());
        let config = match form.r#type {
            Kind::Pagerduty => ReceiverConfig::Pagerduty(PagerDutyConfig {
                routing_key: need!(routing_key),
                url: url(&mut form, pagerduty_url),
                rate_limit: rate.unwrap_or_else(pagerduty_rate),
                timeout,
                name: name.clone(),
            }),
            Kind::Slack => ReceiverConfig::Slack(SlackConfig {
                token: need!(token),
                channel: need!(channel),
                api_url: form.api_url.take().unwrap_or_else(slack_url),
                invite: form.invite.take().unwrap_or_default(),
                rate_limit: rate.unwrap_or_else(slack_rate),
                channel_rate_limit: form.channel_rate_limit.take().unwrap_or_else(slack_channel_rate),
                timeout,
                name: name.clone(),
            }),
            Kind::SlackWebhook => ReceiverConfig::SlackWebhook(SlackWebhookConfig {
                url: need!(url),
                rate_limit: rate.unwrap_or_else(slack_rate),
                timeout,
                name: name.clone(),
            }),
            Kind::Webhook => ReceiverConfig::Webhook(WebhookConfig {
                url: need!(url),
                headers: form.headers.take().unwrap_or_default(),
                bearer_token: form.bearer_token.take(),
                rate_limit: rate.unwrap_or_else(webhook_rate),
                timeout,
                name: name.clone(),
            }),
            Kind::Mail => ReceiverConfig::Mail(MailConfig {
                host: need!(host),
                port: form.port.take().unwrap_or_else(submission_port),
                starttls: form.starttls.take().unwrap_or_else(yes),
                username: form.username.take(),
                password: form.password.take(),
                from: need!(from),
                to: need!(to),
                rate_limit: rate.unwrap_or_else(mail_rate),
                timeout,
                name: name.clone(),
            }),
            Kind::TwilioSms => ReceiverConfig::TwilioSms(TwilioConfig {
                account_sid: need!(account_sid),
                auth_token: need!(auth_token),
                from: form.from.take(),
                messaging_service_sid: form.messaging_service_sid.take(),
                to: need!(to),
                url: url(&mut form, twilio_url),
                rate_limit: rate.unwrap_or_else(sms_rate),
                timeout,
                name: name.clone(),
            }),
        };
        match form.left().first() {
            Some(key) => Err(FormError::Stray { receiver: name, key }),
            None => Ok(config),
        }
    }
}
