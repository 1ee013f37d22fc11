//! Opsgenie's Alert API v2. In: notices. Out: create, acknowledge, close of the alert with this `alias`, which makes a resend harmless:
//! Opsgenie folds what has the alias of an open alert.

use async_trait::async_trait;
use model::message::{Delivery, Message, Notice, PageAction};
use model::severity::Severity;
use serde_json::{Map, Value, json};

use super::config::OpsgenieConfig;
use super::http::Http;
use super::pagerduty::hashed_beyond;
use super::text::{cut, lines, one_line};
use super::{Attempt, Channel, Reconciled, SendError, Sent, cannot_carry, is_partial_acknowledgement};

/// Opsgenie's limits, in characters.
const MESSAGE: usize = 130;
const ALIAS: usize = 512;
const DESCRIPTION: usize = 15_000;
const NOTE: usize = 1_000;
const VALUE: usize = 1_000;
/// Of all names and values of `details` together.
const DETAILS: usize = 8_000;
const SHOWN: usize = 50;

/// One integration.
#[derive(Debug)]
pub struct Opsgenie {
    http: Http,
    config: OpsgenieConfig,
}

impl Opsgenie {
    /// From its settings.
    pub fn new(config: &OpsgenieConfig, client: &reqwest::Client) -> Self {
        Opsgenie { http: Http::new(client, config.timeout.0, [config.api_key.clone()]), config: config.clone() }
    }
}

fn priority(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "P1",
        Severity::High => "P2",
        Severity::Warning => "P3",
        Severity::Info => "P5",
    }
}

/// As many pairs as Opsgenie takes; of two of one name the first.
fn fit<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Map<String, Value> {
    let (mut details, mut room) = (Map::new(), DETAILS);
    for (name, value) in pairs {
        let value = cut(value, VALUE);
        let size = name.chars().count() + value.chars().count();
        if size <= room && !details.contains_key(name) {
            room -= size;
            details.insert(name.to_owned(), value.into());
        }
    }
    details
}

/// The path below `/v2/alerts` and the body.
pub fn render(delivery: &Delivery, notice: &Notice, resend: bool) -> (String, Value) {
    let alias = hashed_beyond(&notice.dedup_key, ALIAS);
    let act = |word: &str| {
        let place: String = url::form_urlencoded::byte_serialize(alias.as_bytes()).collect::<String>().replace('+', "%20");
        (format!("/{place}/{word}?identifierType=alias"), json!({"source": "Watchfire", "note": cut(&notice.reason, NOTE)}))
    };
    match notice.action {
        PageAction::Acknowledge => act("acknowledge"),
        PageAction::Resolve => act("close"),
        PageAction::Trigger => {
            let labels = notice.alerts.first().map(|alert| alert.labels.clone()).unwrap_or_default();
            let id = delivery.id.to_string();
            let own = [("watchfire_notification", id.as_str())].into_iter().chain(resend.then_some(("watchfire_resend", "true")));
            let own = own.chain(notice.url.as_deref().map(|url| ("url", url)));
            let said = notice.details.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let details = fit(own.chain(labels.iter()).chain(said));
            let body = json!({
                "message": cut(&one_line(&notice.title), MESSAGE),
                "alias": alias,
                "description": cut(&lines(notice, SHOWN), DESCRIPTION),
                "priority": priority(notice.severity),
                "source": "Watchfire",
                "tags": [notice.severity.as_str()],
                "details": details,
            });
            (String::new(), body)
        }
    }
}

#[async_trait]
impl Channel for Opsgenie {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let Message::Notice(notice) = &delivery.message else {
            return Err(cannot_carry("Opsgenie", "it takes notices only", &delivery.message));
        };
        let (path, body) = render(delivery, notice, attempt.resend);
        let url = format!("{}/v2/alerts{path}", self.config.url.trim_end_matches('/'));
        let request = self.http.client.post(url).header("Authorization", format!("GenieKey {}", self.config.api_key.reveal()));
        let answer = self.http.send(request.json(&body), attempt.now).await?;
        Ok(Sent { provider_id: answer.json().and_then(|body| body["requestId"].as_str().map(str::to_owned)), channel: None })
    }

    fn has_use_for(&self, message: &Message) -> bool {
        !is_partial_acknowledgement(message)
    }

    /// The alias makes asking needless.
    async fn reconcile(&self, _: &Delivery, _: &Attempt) -> Reconciled {
        Reconciled::Unknown
    }
}
