//! Microsoft Teams through a Workflows webhook. In: notices and documents. Out: one adaptive card (version 1.4, at most 28 KB). The answer
//! holds no id and nothing can be read: a resend of unknown outcome is marked in the card.

use async_trait::async_trait;
use model::message::{Delivery, Message, Notice, PageAction};
use model::severity::Severity;
use serde_json::{Value, json};

use super::config::MsTeamsConfig;
use super::http::Http;
use super::text::{alert_line, cut, headline, one_line};
use super::{Attempt, Channel, Reconciled, SendError, Sent, cannot_carry};

const SHOWN: usize = 20;
const LINE: usize = 300;
const DOCUMENT: usize = 10_000;

/// One workflow.
#[derive(Debug)]
pub struct MsTeams {
    http: Http,
    url: model::secret::Secret,
}

impl MsTeams {
    /// From its settings.
    pub fn new(config: &MsTeamsConfig, client: &reqwest::Client) -> Self {
        MsTeams { http: Http::new(client, config.timeout.0, [config.url.clone()]), url: config.url.clone() }
    }
}

fn colour(notice: &Notice) -> &'static str {
    match (notice.action, notice.severity) {
        (PageAction::Resolve, _) => "good",
        (PageAction::Acknowledge, _) => "default",
        (PageAction::Trigger, Severity::Critical | Severity::High) => "attention",
        (PageAction::Trigger, Severity::Warning) => "warning",
        (PageAction::Trigger, Severity::Info) => "accent",
    }
}

fn block(text: &str) -> Value {
    json!({"type": "TextBlock", "text": text, "wrap": true})
}

/// Markdown's own signs lose their meaning: labels come from outside.
fn escape(text: &str) -> String {
    text.chars().flat_map(|c| matches!(c, '*' | '_' | '[' | ']' | '`' | '\\').then_some('\\').into_iter().chain([c])).collect()
}

/// The card in its envelope.
pub fn render(message: &Message, resend: bool) -> Option<Value> {
    let again = if resend { " (sent again)" } else { "" };
    let (body, url) = match message {
        Message::Notice(notice) => {
            let mut head = block(&escape(&cut(&format!("{}{again}", headline(notice)), LINE)));
            (head["size"], head["weight"], head["color"]) = ("large".into(), "bolder".into(), colour(notice).into());
            let mut body = vec![head];
            body.extend(notice.alerts.iter().take(SHOWN).map(|alert| block(&escape(&cut(&alert_line(alert), LINE)))));
            if notice.alerts.len() > SHOWN {
                body.push(block(&format!("and {} more", notice.alerts.len() - SHOWN)));
            }
            let mut why = block(&escape(&cut(&notice.reason, LINE)));
            why["isSubtle"] = true.into();
            body.push(why);
            (body, notice.url.as_deref())
        }
        Message::Document { title, text, .. } => {
            let mut head = block(&escape(&cut(&format!("{}{again}", one_line(title)), LINE)));
            head["weight"] = "bolder".into();
            (vec![head, block(&cut(text, DOCUMENT))], None)
        }
        Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } => return None,
    };
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
    });
    if let Some(url) = url {
        card["actions"] = json!([{"type": "Action.OpenUrl", "title": "Open in Watchfire", "url": url}]);
    }
    let attachment = json!({"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card});
    Some(json!({"type": "message", "attachments": [attachment]}))
}

#[async_trait]
impl Channel for MsTeams {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let Some(body) = render(&delivery.message, attempt.resend) else {
            return Err(cannot_carry("a Teams workflow", "it belongs to one channel", &delivery.message));
        };
        self.http.send(self.http.client.post(self.url.reveal()).json(&body), attempt.now).await?;
        Ok(Sent::default())
    }

    async fn reconcile(&self, _: &Delivery, _: &Attempt) -> Reconciled {
        Reconciled::Unknown
    }
}
