//! What Slack messages look like: text and blocks. Pure. Severity is a word beside a sign, never a colour alone; whatever comes from labels
//! is escaped; Slack's limits (50 blocks, 3,000 characters a section, 2,000 a field) hold for any notice.

use model::message::{Attachment, Delivery, Notice, PageAction};
use serde_json::{Value, json};

use super::super::text::{alert_line, cut, headline, one_line, sign, state_words};

/// The type of the metadata of every message.
pub const EVENT_TYPE: &str = "watchfire_notification";
const SECTION: usize = 2900;
const FIELD: usize = 1900;
const ALERTS: usize = 10;
/// Slack cuts texts at 40,000 characters.
const TEXT: usize = 39_000;
const AGAIN: &str = "Sent again: an earlier attempt may have arrived.";

/// `&`, `<` and `>` are Slack's control characters.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The metadata by which a message is found again.
pub fn metadata(delivery: &Delivery) -> Value {
    json!({"event_type": EVENT_TYPE, "event_payload": {"id": delivery.id}})
}

/// The `ts` of our message in a page of history.
pub fn find_ours(page: &Value, delivery: &Delivery) -> Option<String> {
    let id = delivery.id.to_string();
    let ours = |message: &&Value| {
        let metadata = &message["metadata"];
        metadata["event_type"] == EVENT_TYPE && metadata["event_payload"]["id"] == id.as_str()
    };
    let found = page["messages"].as_array()?.iter().find(ours)?;
    found["ts"].as_str().map(str::to_owned)
}

/// What a click on a button names: the incident, else the alert.
pub fn subject_id(delivery: &Delivery) -> Option<String> {
    let subject = &delivery.subject;
    subject.incident.map(|incident| incident.to_string()).or_else(|| subject.alert.map(|alert| alert.to_string()))
}

/// The text for notifications and for clients without blocks.
pub fn notice_text(notice: &Notice) -> String {
    escape(&cut(&headline(notice), 3000))
}

/// The blocks of a notice. `subject` is what the buttons name; without it there are none.
pub fn notice_blocks(notice: &Notice, subject: Option<&str>, resend: bool) -> Value {
    let mut blocks = vec![json!({"type": "section", "text": {"type": "mrkdwn", "text": title(notice)}})];
    if !notice.alerts.is_empty() {
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": alerts(notice)}}));
    }
    let fields = fields(notice);
    if !fields.is_empty() {
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    let mut footer = escape(&one_line(&notice.reason));
    if resend {
        footer = if footer.is_empty() { AGAIN.to_owned() } else { format!("{footer} · {AGAIN}") };
    }
    if !footer.is_empty() {
        blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": cut(&footer, SECTION)}]}));
    }
    let buttons = buttons(notice, subject);
    if !buttons.is_empty() {
        blocks.push(json!({"type": "actions", "block_id": "watchfire_actions", "elements": buttons}));
    }
    Value::Array(blocks)
}

fn title(notice: &Notice) -> String {
    let number = notice.incident_number.map_or(String::new(), |number| format!("#{number} "));
    let title = escape(&cut(&one_line(&notice.title), 500));
    let linked = match &notice.url {
        Some(url) => format!("<{}|{number}{title}>", link(url)),
        None => format!("{number}{title}"),
    };
    cut(&format!("{} *{}* {linked}", sign(notice), state_words(notice)), SECTION)
}

/// A URL inside `<...|...>`.
fn link(url: &str) -> String {
    escape(url).replace('|', "%7C")
}

fn alerts(notice: &Notice) -> String {
    let mut lines: Vec<String> =
        notice.alerts.iter().take(ALERTS).map(|alert| format!("• {}", escape(&cut(&alert_line(alert), 250)))).collect();
    if notice.alerts.len() > ALERTS {
        lines.push(format!("… and {} more", notice.alerts.len() - ALERTS));
    }
    cut(&lines.join("\n"), SECTION)
}

fn fields(notice: &Notice) -> Vec<Value> {
    let labels = notice.group_labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let details = notice.details.iter().map(|(name, value)| (name.clone(), value.clone()));
    labels
        .chain(details)
        .take(10)
        .map(|(name, value)| json!({"type": "mrkdwn", "text": cut(&format!("*{}*\n{}", escape(&name), escape(&value)), FIELD)}))
        .collect()
}

fn buttons(notice: &Notice, subject: Option<&str>) -> Vec<Value> {
    let button = |label: &str, action: &str, value: &str, style: Option<&str>| {
        let mut button = json!({"type": "button", "action_id": action, "value": value, "text": {"type": "plain_text", "text": label}});
        if let Some(style) = style {
            button["style"] = style.into();
        }
        button
    };
    match (notice.action, subject) {
        (PageAction::Trigger, Some(subject)) => {
            vec![button("Acknowledge", "watchfire_ack", subject, Some("primary")), button("Resolve", "watchfire_resolve", subject, None)]
        }
        (PageAction::Acknowledge, Some(subject)) => vec![button("Resolve", "watchfire_resolve", subject, None)],
        (PageAction::Resolve, _) | (_, None) => Vec::new(),
    }
}

/// A post in the provider's own Markdown.
pub fn post_text(text: &str, resend: bool) -> String {
    if resend { format!("{}\n_{AGAIN}_", cut(text, TEXT)) } else { cut(text, TEXT) }
}

/// A document as one message; attached files cannot go with it and are named.
pub fn document_text(title: &str, text: &str, attachments: &[Attachment], resend: bool) -> String {
    let names: Vec<&str> = attachments.iter().map(|file| file.name.as_str()).collect();
    let files = if names.is_empty() { String::new() } else { format!("\n_Not attached here: {}_", escape(&names.join(", "))) };
    let body = format!("*{}*\n{}", escape(&one_line(title)), escape(text));
    post_text(&format!("{}{files}", cut(&body, TEXT - 1000)), resend)
}

#[cfg(test)]
mod tests;
