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
    TwilioVoice,
    #[serde(rename = "msteams")]
    MsTeams,
    Discord,
    Telegram,
    Ntfy,
    Opsgenie,
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
    callback_url: String,
    chat_id: String,
    topic: Secret,
    api_key: Secret,
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
        let config = match form.r#type {
            Kind::Pagerduty => ReceiverConfig::Pagerduty(form.pagerduty()?),
            Kind::Slack => ReceiverConfig::Slack(form.slack()?),
            Kind::SlackWebhook => ReceiverConfig::SlackWebhook(form.slack_webhook()?),
            Kind::Webhook => ReceiverConfig::Webhook(form.webhook()?),
            Kind::Mail => ReceiverConfig::Mail(form.mail()?),
            Kind::TwilioSms => ReceiverConfig::TwilioSms(form.twilio()?),
            Kind::TwilioVoice => ReceiverConfig::TwilioVoice(form.voice()?),
            Kind::MsTeams => ReceiverConfig::MsTeams(form.msteams()?),
            Kind::Discord => ReceiverConfig::Discord(form.discord()?),
            Kind::Telegram => ReceiverConfig::Telegram(form.telegram()?),
            Kind::Ntfy => ReceiverConfig::Ntfy(form.ntfy()?),
            Kind::Opsgenie => ReceiverConfig::Opsgenie(form.opsgenie()?),
        };
        match form.left().first() {
            Some(key) => Err(FormError::Stray { receiver: form.name, key }),
            None => Ok(config),
        }
    }
}

/// Takes a key that must be there.
macro_rules! need {
    ($form:ident.$key:ident) => {
        $form.$key.take().ok_or_else(|| FormError::Missing { receiver: $form.name.clone(), key: stringify!($key) })?
    };
}

impl Form {
    fn timeout(&mut self) -> Span {
        self.timeout.take().unwrap_or_else(usual_timeout)
    }
    fn rate(&mut self, usual: fn() -> RateLimit) -> RateLimit {
        self.rate_limit.take().unwrap_or_else(usual)
    }
    fn base_url(&mut self, usual: fn() -> String) -> String {
        self.url.take().map_or_else(usual, |url| url.reveal().to_owned())
    }

    fn pagerduty(&mut self) -> Result<PagerDutyConfig, FormError> {
        Ok(PagerDutyConfig {
            name: self.name.clone(),
            routing_key: need!(self.routing_key),
            url: self.base_url(pagerduty_url),
            rate_limit: self.rate(pagerduty_rate),
            timeout: self.timeout(),
        })
    }
    fn slack(&mut self) -> Result<SlackConfig, FormError> {
        Ok(SlackConfig {
            name: self.name.clone(),
            token: need!(self.token),
            channel: need!(self.channel),
            api_url: self.api_url.take().unwrap_or_else(slack_url),
            invite: self.invite.take().unwrap_or_default(),
            rate_limit: self.rate(slack_rate),
            channel_rate_limit: self.channel_rate_limit.take().unwrap_or_else(slack_channel_rate),
            timeout: self.timeout(),
        })
    }
    fn slack_webhook(&mut self) -> Result<SlackWebhookConfig, FormError> {
        Ok(SlackWebhookConfig { name: self.name.clone(), url: need!(self.url), rate_limit: self.rate(slack_rate), timeout: self.timeout() })
    }
    fn webhook(&mut self) -> Result<WebhookConfig, FormError> {
        Ok(WebhookConfig {
            name: self.name.clone(),
            url: need!(self.url),
            headers: self.headers.take().unwrap_or_default(),
            bearer_token: self.bearer_token.take(),
            rate_limit: self.rate(webhook_rate),
            timeout: self.timeout(),
        })
    }
    fn mail(&mut self) -> Result<MailConfig, FormError> {
        Ok(MailConfig {
            name: self.name.clone(),
            host: need!(self.host),
            port: self.port.take().unwrap_or_else(submission_port),
            starttls: self.starttls.take().unwrap_or_else(yes),
            username: self.username.take(),
            password: self.password.take(),
            from: need!(self.from),
            to: need!(self.to),
            rate_limit: self.rate(mail_rate),
            timeout: self.timeout(),
        })
    }
    fn twilio(&mut self) -> Result<TwilioConfig, FormError> {
        Ok(TwilioConfig {
            name: self.name.clone(),
            account_sid: need!(self.account_sid),
            auth_token: need!(self.auth_token),
            from: self.from.take(),
            messaging_service_sid: self.messaging_service_sid.take(),
            to: need!(self.to),
            url: self.base_url(twilio_url),
            rate_limit: self.rate(sms_rate),
            timeout: self.timeout(),
        })
    }
    fn voice(&mut self) -> Result<TwilioVoiceConfig, FormError> {
        Ok(TwilioVoiceConfig {
            name: self.name.clone(),
            account_sid: need!(self.account_sid),
            auth_token: need!(self.auth_token),
            from: need!(self.from),
            to: need!(self.to),
            callback_url: self.callback_url.take(),
            url: self.base_url(twilio_url),
            rate_limit: self.rate(sms_rate),
            timeout: self.timeout(),
        })
    }
    fn msteams(&mut self) -> Result<MsTeamsConfig, FormError> {
        Ok(MsTeamsConfig { name: self.name.clone(), url: need!(self.url), rate_limit: self.rate(teams_rate), timeout: self.timeout() })
    }
    fn discord(&mut self) -> Result<DiscordConfig, FormError> {
        Ok(DiscordConfig { name: self.name.clone(), url: need!(self.url), rate_limit: self.rate(discord_rate), timeout: self.timeout() })
    }
    fn telegram(&mut self) -> Result<TelegramConfig, FormError> {
        Ok(TelegramConfig {
            name: self.name.clone(),
            token: need!(self.token),
            chat_id: need!(self.chat_id),
            url: self.base_url(telegram_url),
            rate_limit: self.rate(telegram_rate),
            timeout: self.timeout(),
        })
    }
    fn ntfy(&mut self) -> Result<NtfyConfig, FormError> {
        Ok(NtfyConfig {
            name: self.name.clone(),
            topic: need!(self.topic),
            token: self.token.take(),
            url: self.base_url(ntfy_url),
            rate_limit: self.rate(ntfy_rate),
            timeout: self.timeout(),
        })
    }
    fn opsgenie(&mut self) -> Result<OpsgenieConfig, FormError> {
        Ok(OpsgenieConfig {
            name: self.name.clone(),
            api_key: need!(self.api_key),
            url: self.base_url(opsgenie_url),
            rate_limit: self.rate(opsgenie_rate),
            timeout: self.timeout(),
        })
    }
}
