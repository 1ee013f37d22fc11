//! SMS through Twilio. One message a number; after a crash the account's message list says whether it arrived.

use async_trait::async_trait;
use model::message::{Delivery, Message, Notice, PageAction};
use serde_json::Value;

use super::http::Http;
use super::receiver::TwilioConfig;
use super::{Attempt, Channel, Reconciled, SendError, Sent, cut, unsupported};

/// SMS through Twilio.
pub struct TwilioSms {
    http: Http,
    config: TwilioConfig,
    url: String,
}

impl TwilioSms {
    /// For one account.
    pub fn new(http: Http, config: TwilioConfig) -> Self {
        let url = format!("{}/2010-04-01/Accounts/{}/Messages.json", config.url.trim_end_matches('/'), config.account_sid);
        TwilioSms { http, config, url }
    }
}

/// The text: number, severity, title, and the short id by which a sent message is found again.
pub fn text(notice: &Notice, id: &str, resend: bool) -> String {
    let number = notice.incident_number.map(|number| format!(" #{number}")).unwrap_or_default();
    let word = match notice.action {
        PageAction::Trigger => notice.severity.as_str().to_uppercase(),
        PageAction::Acknowledge => "ACKNOWLEDGED".to_owned(),
        PageAction::Resolve => "RESOLVED".to_owned(),
    };
    let again = if resend { " (again)" } else { "" };
    format!("{}{again} [{}]", cut(&format!("{word}{number}: {}", notice.title), 290), short(id))
}

/// The last eight characters of a notification's id.
fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}

#[async_trait]
impl Channel for TwilioSms {
    async fn send(&self, delivery: &Delivery, attempt: Attempt<'_>) -> Result<Sent, SendError> {
        let Message::Notice(notice) = &delivery.message else { return Err(unsupported("twilio_sms", &delivery.message)) };
        // Who was called knows that somebody has it from the call they did not get: no message for that.
        if notice.action == PageAction::Acknowledge {
            return Ok(Sent::default());
        }
        // A message that was taken for one number is not sent to it again when the next number fails: what arrived is looked up.
        let arrived = if attempt.resend { self.arrived(delivery).await.unwrap_or_default() } else { Vec::new() };
        let body = text(notice, &delivery.id.to_string(), attempt.resend);
        let mut sids = Vec::new();
        for to in self.config.to.iter().filter(|to| !arrived.contains(to)) {
            let mut form = vec![("To", to.clone()), ("Body", body.clone())];
            form.extend(self.config.from.clone().map(|from| ("From", from)));
            form.extend(self.config.messaging_service_sid.clone().map(|sid| ("MessagingServiceSid", sid)));
            let request = self.http.post(&self.url).basic_auth(&self.config.account_sid, Some(self.config.auth_token.reveal())).form(&form);
            let answer = self.http.deliver(request).await?;
            let json: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
            sids.extend(json["sid"].as_str().map(str::to_owned));
        }
        Ok(Sent { provider_id: (!sids.is_empty()).then(|| sids.join(",")), channel: None })
    }

    async fn reconcile(&self, delivery: &Delivery, _: Attempt<'_>) -> Reconciled {
        match self.arrived(delivery).await {
            Some(arrived) if self.config.to.iter().all(|to| arrived.contains(to)) => Reconciled::Arrived(Sent::default()),
            Some(arrived) if arrived.is_empty() => Reconciled::NotArrived,
            Some(_) | None => Reconciled::Unknown,
        }
    }
}

impl TwilioSms {
    /// The numbers that have this notification already; `None` where the list cannot be read.
    async fn arrived(&self, delivery: &Delivery) -> Option<Vec<String>> {
        let date = delivery.queued_at.to_chrono().format("%Y-%m-%d").to_string();
        let query = [("DateSent>", date), ("PageSize", "200".to_owned())];
        let request = self.http.get(&self.url).basic_auth(&self.config.account_sid, Some(self.config.auth_token.reveal())).query(&query);
        let answer = self.http.deliver(request).await.ok()?;
        let json: Value = serde_json::from_str(&answer.body).ok()?;
        let mark = format!("[{}]", short(&delivery.id.to_string()));
        let messages = json["messages"].as_array()?;
        let ours = messages.iter().filter(|message| message["body"].as_str().is_some_and(|body| body.ends_with(&mark)));
        Some(ours.filter_map(|message| message["to"].as_str().map(str::to_owned)).collect())
    }
}
