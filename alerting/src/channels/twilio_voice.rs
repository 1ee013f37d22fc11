//! Calls through Twilio. In: notices that something is wrong. Out: one call per number that reads the notice twice and, where Watchfire
//! can be reached from outside, takes a 1 on the keypad for an acknowledgement (`delivery::voice` hears of it).
//!
//! A call carries nothing that could be searched for: after a send of unknown outcome it is made again and says so.

use async_trait::async_trait;
use model::message::{Delivery, Message, Notice, PageAction};
use model::severity::Severity;

use super::config::TwilioVoiceConfig;
use super::http::{ANSWER, Http};
use super::text::{cut, one_line};
use super::twilio::refusal;
use super::{Attempt, Channel, Reconciled, SendError, Sent, cannot_carry};

/// How much is read out.
const SPOKEN: usize = 400;
/// Twilio's limit of the TwiML of a call, in characters.
const TWIML: usize = 4_000;

/// One account.
#[derive(Debug)]
pub struct TwilioVoice {
    http: Http,
    config: TwilioVoiceConfig,
    calls: String,
}

impl TwilioVoice {
    /// From its settings.
    pub fn new(config: &TwilioVoiceConfig, client: &reqwest::Client) -> Self {
        TwilioVoice {
            http: Http::new(client, config.timeout.0, [config.auth_token.clone()]),
            calls: format!("{}/2010-04-01/Accounts/{}/Calls.json", config.url.trim_end_matches('/'), config.account_sid),
            config: config.clone(),
        }
    }

    async fn call(&self, to: &str, twiml: &str, attempt: &Attempt) -> Result<String, SendError> {
        let form = [("To", to), ("From", self.config.from.as_str()), ("Twiml", twiml)];
        let request = self.http.client.post(&self.calls).form(&form);
        let request = request.basic_auth(&self.config.account_sid, Some(self.config.auth_token.reveal()));
        let answer = self.http.exchange(request, attempt.now, ANSWER).await?;
        refusal(&answer)?;
        self.http.judge(&answer)?;
        Ok(answer.json().and_then(|body| body["sid"].as_str().map(str::to_owned)).unwrap_or_else(|| "accepted".to_owned()))
    }
}

/// XML's own signs.
pub(crate) fn escape(text: &str) -> String {
    let escaped = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&apos;".to_owned(),
        '\u{FFFE}' | '\u{FFFF}' => " ".to_owned(), // no XML may hold them
        c => c.to_string(),
    };
    one_line(text).chars().map(escaped).collect()
}

/// The path of the keypad's route for a delivery: which receiver, which alert.
pub(crate) fn keypad_path(delivery: &Delivery) -> Option<String> {
    let alert = delivery.subject.alert?;
    let receiver: String = url::form_urlencoded::byte_serialize(delivery.receiver.as_bytes()).collect();
    Some(format!("/hooks/twilio/{}/{alert}", receiver.replace('+', "%20")))
}

/// What the call says, in TwiML; where escaping makes it longer than Twilio takes, less is read out.
pub fn render(delivery: &Delivery, notice: &Notice, callback: Option<&str>, resend: bool) -> String {
    let spoken = [SPOKEN, SPOKEN / 2, SPOKEN / 4, SPOKEN / 8].map(|spoken| twiml(delivery, notice, callback, resend, spoken));
    let [.., least] = &spoken;
    spoken.iter().find(|twiml| twiml.chars().count() <= TWIML).unwrap_or(least).clone()
}

fn twiml(delivery: &Delivery, notice: &Notice, callback: Option<&str>, resend: bool, spoken: usize) -> String {
    let severity = match notice.severity {
        Severity::Critical => "Critical",
        Severity::High => "High",
        Severity::Warning => "Warning",
        Severity::Info => "Information",
    };
    let again = if resend { " This call may be a repetition." } else { "" };
    let number = notice.incident_number.map_or(String::new(), |number| format!(" Incident {number}."));
    let words = escape(&cut(&format!("Watchfire.{again} {severity}.{number} {}", notice.title), spoken));
    let say = format!("<Say>{words}</Say>");
    match callback.zip(keypad_path(delivery)) {
        Some((base, path)) => {
            let action = escape(&format!("{}{path}", base.trim_end_matches('/')));
            let gather = format!(
                "<Gather input=\"dtmf\" numDigits=\"1\" timeout=\"10\" method=\"POST\" action=\"{action}\">{say}<Say>Press 1 to acknowledge.</Say></Gather>"
            );
            format!("<Response>{gather}{gather}<Say>Nobody acknowledged. Goodbye.</Say></Response>")
        }
        None => format!("<Response>{say}<Pause length=\"1\"/>{say}</Response>"),
    }
}

#[async_trait]
impl Channel for TwilioVoice {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let Message::Notice(notice) = &delivery.message else {
            return Err(cannot_carry("a call", "it takes notices only", &delivery.message));
        };
        let twiml = render(delivery, notice, self.config.callback_url.as_deref(), attempt.resend);
        let (mut sids, mut failure) = (Vec::new(), None::<SendError>);
        for (at, to) in self.config.to.iter().enumerate() {
            match self.call(to, &twiml, attempt).await {
                Ok(sid) => sids.push(sid),
                Err(error) => {
                    let error = error.at(&format!("recipient {} of {}", at + 1, self.config.to.len()));
                    let worse = matches!((&failure, &error), (None, _) | (Some(SendError::Final { .. }), SendError::Retry { .. }));
                    failure = if worse { Some(error) } else { failure };
                }
            }
        }
        match failure {
            None => Ok(Sent::with(sids.join(","))),
            Some(error) if sids.is_empty() => Err(error),
            // Calling everybody once more is better than calling some of them not at all.
            Some(error) => Err(error.after_a_part()),
        }
    }

    /// Nobody is called to hear that there is nothing to do.
    fn has_use_for(&self, message: &Message) -> bool {
        !matches!(message, Message::Notice(notice) if notice.action != PageAction::Trigger)
    }

    async fn reconcile(&self, _: &Delivery, _: &Attempt) -> Reconciled {
        Reconciled::Unknown
    }
}
