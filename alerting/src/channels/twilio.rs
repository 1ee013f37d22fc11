//! Text messages through Twilio. In: notices. Out: one message per number, at most 320 characters, ending in a short id.
//!
//! Twilio takes no idempotency key: after a send of unknown outcome, the messages to each number are listed and searched for the short
//! id, so that only those are sent that did not arrive.

use async_trait::async_trait;
use chrono::DateTime;
use model::message::{Delivery, Message, Notice};
use model::time::Timestamp;
use serde_json::Value;

use super::config::TwilioConfig;
use super::http::{Answer, Http, LISTING};
use super::text::{cut, headline};
use super::{Attempt, Channel, Reconciled, SendError, Sent, cannot_carry, is_acknowledgement};

const CHARACTERS: usize = 320;
const PAGE: usize = 100;
/// Clocks differ; what Twilio wrote this much before the attempt is looked at too.
const SKEW: std::time::Duration = std::time::Duration::from_secs(300);

/// One account.
#[derive(Debug)]
pub struct TwilioSms {
    http: Http,
    config: TwilioConfig,
    messages: String,
}

/// What a number's list of messages says.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Yes(String),
    No,
    CannotTell,
}

impl TwilioSms {
    /// From its settings.
    pub fn new(config: &TwilioConfig, client: &reqwest::Client) -> Self {
        let base = config.url.trim_end_matches('/');
        TwilioSms {
            http: Http::new(client, config.timeout.0, [config.auth_token.clone()]),
            messages: format!("{base}/2010-04-01/Accounts/{}/Messages.json", config.account_sid),
            config: config.clone(),
        }
    }

    async fn send_one(&self, to: &str, text: &str, now: Timestamp) -> Result<String, SendError> {
        let mut form = vec![("To", to), ("Body", text)];
        form.extend(self.config.from.as_deref().map(|from| ("From", from)));
        form.extend(self.config.messaging_service_sid.as_deref().map(|service| ("MessagingServiceSid", service)));
        let request = self.http.client.post(&self.messages).form(&form);
        let request = request.basic_auth(&self.config.account_sid, Some(self.config.auth_token.reveal()));
        let answer = self.http.exchange(request, now, super::http::ANSWER).await?;
        refusal(&answer)?;
        self.http.judge(&answer)?;
        Ok(answer.json().and_then(|body| body["sid"].as_str().map(str::to_owned)).unwrap_or_else(|| "accepted".to_owned()))
    }

    async fn find(&self, to: &str, delivery: &Delivery, attempt: &Attempt) -> Found {
        let since = attempt.since.unwrap_or(attempt.now).minus(SKEW);
        let request = self.http.client.get(&self.messages).query(&[("To", to), ("PageSize", &PAGE.to_string())]);
        let request = request.basic_auth(&self.config.account_sid, Some(self.config.auth_token.reveal()));
        match self.http.exchange(request, attempt.now, LISTING).await {
            Ok(answer) if answer.status == 200 => {
                answer.json().map_or(Found::CannotTell, |listing| search(&listing, &short_id(delivery), since))
            }
            Ok(_) | Err(_) => Found::CannotTell,
        }
    }
}

#[async_trait]
impl Channel for TwilioSms {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let Message::Notice(notice) = &delivery.message else {
            return Err(cannot_carry("a text message", "it takes notices only", &delivery.message));
        };
        let text = render(delivery, notice, attempt.resend);
        let (mut sids, mut failure) = (Vec::new(), None::<SendError>);
        for (at, to) in self.config.to.iter().enumerate().filter(|(_, to)| !attempt.reached.contains(to)) {
            match self.send_one(to, &text, attempt.now).await {
                Ok(sid) => sids.push(sid),
                Err(error) => {
                    let error = error.at(&format!("recipient {} of {}", at + 1, self.config.to.len()));
                    let worse = matches!((&failure, &error), (None, _) | (Some(SendError::Final { .. }), SendError::Retry { .. }));
                    failure = if worse { Some(error) } else { failure };
                }
            }
        }
        match failure {
            None => Ok(Sent { provider_id: (!sids.is_empty()).then(|| sids.join(",")), channel: None }),
            Some(error) if sids.is_empty() && attempt.reached.is_empty() => Err(error),
            Some(error) => Err(error.after_a_part()),
        }
    }

    fn has_use_for(&self, message: &Message) -> bool {
        !is_acknowledgement(message)
    }

    async fn reconcile(&self, delivery: &Delivery, attempt: &Attempt) -> Reconciled {
        let (mut reached, mut sids) = (Vec::new(), Vec::new());
        for to in &self.config.to {
            match self.find(to, delivery, attempt).await {
                Found::Yes(sid) => {
                    reached.push(to.clone());
                    sids.push(sid);
                }
                Found::No => {}
                Found::CannotTell => return Reconciled::Unknown,
            }
        }
        match reached.len() {
            0 => Reconciled::NotArrived,
            all if all == self.config.to.len() => Reconciled::Arrived(Sent::with(sids.join(","))),
            _ => Reconciled::Partly { reached },
        }
    }
}

/// A refusal that stays. Twilio's own sentences quote the number: only the code is kept.
pub(super) fn refusal(answer: &Answer) -> Result<(), SendError> {
    let code = answer.json().and_then(|body| body["code"].as_i64());
    match (answer.status, code) {
        (400..=407 | 409..=428 | 430..=499, Some(code)) => {
            Err(SendError::last(format!("Twilio refused it: error {code} (https://www.twilio.com/docs/errors/{code})")))
        }
        (400..=407 | 409..=428 | 430..=499, None) => Err(SendError::last(format!("Twilio answered {}", answer.status))),
        _ => Ok(()),
    }
}

/// The last eight hex digits of the notification's id: random bits.
pub fn short_id(delivery: &Delivery) -> String {
    let id = delivery.id.uuid().simple().to_string();
    id[id.len() - 8..].to_owned()
}

/// Severity, number, title, and the short id at the end: at most 320 characters.
pub fn render(delivery: &Delivery, notice: &Notice, resend: bool) -> String {
    let again = if resend { " (sent again)" } else { "" };
    let tail = format!("{again} wf:{}", short_id(delivery));
    format!("{}{tail}", cut(&headline(notice), CHARACTERS - tail.len()))
}

/// Looks for the short id in a page of messages, newest first. The page decides it only if it reaches back to `since` or is the last.
fn search(listing: &Value, id: &str, since: Timestamp) -> Found {
    let Some(messages) = listing["messages"].as_array() else { return Found::CannotTell };
    let mark = format!("wf:{id}");
    let ours = |message: &&Value| {
        let failed = matches!(message["status"].as_str(), Some("failed" | "undelivered" | "canceled"));
        !failed && message["body"].as_str().is_some_and(|body| body.ends_with(&mark))
    };
    if let Some(found) = messages.iter().find(ours) {
        return Found::Yes(found["sid"].as_str().unwrap_or("found").to_owned());
    }
    let created = |message: &Value| {
        let text = message["date_created"].as_str()?;
        DateTime::parse_from_rfc2822(text).ok().map(|at| Timestamp::from_millis(at.timestamp_millis()))
    };
    let reaches_back = messages.iter().filter_map(created).any(|at| at < since);
    if messages.len() < PAGE || reaches_back { Found::No } else { Found::CannotTell }
}

#[cfg(test)]
mod tests;
