//! PagerDuty, Events API v2. In: notices. Out: one event, joined by `dedup_key`, which also makes a resend harmless.
//!
//! Facts: `POST /v2/enqueue` answers 202; 400 is final; 429, 5xx and network failures are retried; an event is at most 512 KB.

use async_trait::async_trait;
use model::message::{Delivery, Message, Notice, NoticeAlert, PageAction};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::config::PagerDutyConfig;
use super::http::Http;
use super::text::{cut, one_line};
use super::{Attempt, Channel, Reconciled, SendError, Sent, cannot_carry, is_partial_acknowledgement};

const SUMMARY: usize = 1024;
const DEDUP_KEY: usize = 255;
/// A little under PagerDuty's 512 KB.
const EVENT_BYTES: usize = 500 << 10;
/// The longest value of a label, annotation or detail.
const VALUE: usize = 4096;
const ALERTS: usize = 100;

/// One integration.
#[derive(Debug)]
pub struct PagerDuty {
    http: Http,
    url: String,
    routing_key: model::secret::Secret,
}

impl PagerDuty {
    /// From its settings.
    pub fn new(config: &PagerDutyConfig, client: &reqwest::Client) -> Self {
        PagerDuty {
            http: Http::new(client, config.timeout.0, [config.routing_key.clone()]),
            url: format!("{}/v2/enqueue", config.url.trim_end_matches('/')),
            routing_key: config.routing_key.clone(),
        }
    }
}

#[async_trait]
impl Channel for PagerDuty {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let Message::Notice(notice) = &delivery.message else {
            return Err(cannot_carry("PagerDuty", "it takes notices only", &delivery.message));
        };
        let mut event = render(delivery, notice, attempt.resend);
        event["routing_key"] = self.routing_key.reveal().into();
        let answer = self.http.send(self.http.client.post(&self.url).json(&event), attempt.now).await?;
        let said = answer.json().and_then(|body| body["dedup_key"].as_str().map(str::to_owned));
        Ok(Sent::with(said.unwrap_or_else(|| dedup_key(&notice.dedup_key))))
    }

    fn has_use_for(&self, message: &Message) -> bool {
        !is_partial_acknowledgement(message)
    }

    /// The key makes a second event harmless; there is nothing to ask.
    async fn reconcile(&self, _: &Delivery, _: &Attempt) -> Reconciled {
        Reconciled::Unknown
    }
}

/// The event, without its routing key. Acknowledge and resolve are their key alone.
pub fn render(delivery: &Delivery, notice: &Notice, resend: bool) -> Value {
    let key = dedup_key(&notice.dedup_key);
    let action = model::event::page_action_word(notice.action);
    match notice.action {
        PageAction::Acknowledge | PageAction::Resolve => json!({"event_action": action, "dedup_key": key}),
        PageAction::Trigger => {
            let mut event = json!({
                "event_action": action,
                "dedup_key": key,
                "payload": payload(notice),
                "links": links(notice),
                "client": "Watchfire",
            });
            if let Some(url) = &notice.url {
                event["client_url"] = url.as_str().into();
            }
            event["payload"]["custom_details"] = details(delivery, notice, resend, &notice.alerts);
            fit(&mut event, delivery, notice, resend);
            event
        }
    }
}

fn dedup_key(key: &str) -> String {
    hashed_beyond(key, DEDUP_KEY)
}

/// A key that is longer than a provider takes becomes its hash, so that two never meet.
pub(super) fn hashed_beyond(key: &str, characters: usize) -> String {
    if key.chars().count() <= characters {
        return key.to_owned();
    }
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn payload(notice: &Notice) -> Value {
    let first = notice.alerts.first();
    let label = |names: &[&str]| {
        let from = |labels: &model::labels::Labels| names.iter().find_map(|name| labels.get(name).map(|value| cut(value, VALUE)));
        from(&notice.group_labels).or_else(|| first.and_then(|alert| from(&alert.labels)))
    };
    let mut payload = Map::new();
    payload.insert("summary".into(), cut(&one_line(&notice.title), SUMMARY).into());
    payload.insert("source".into(), label(&["service_name", "service", "instance", "job"]).unwrap_or_else(|| "watchfire".into()).into());
    payload.insert("severity".into(), notice.severity.pagerduty().into());
    let optional = [
        ("timestamp", notice.alerts.iter().map(|alert| alert.starts_at).min().map(|at| at.rfc3339())),
        ("component", label(&["component", "instance"])),
        ("group", label(&["job", "namespace"])),
        ("class", label(&["alertname"])),
    ];
    payload.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))));
    Value::Object(payload)
}

fn links(notice: &Notice) -> Value {
    let open = notice.url.iter().map(|url| json!({"href": url, "text": "Open in Watchfire"}));
    let mut runbooks: Vec<&String> = notice.alerts.iter().filter_map(|alert| alert.annotations.get("runbook_url")).collect();
    runbooks.sort();
    runbooks.dedup();
    open.chain(runbooks.into_iter().take(10).map(|url| json!({"href": url, "text": "Runbook"}))).collect()
}

fn details(delivery: &Delivery, notice: &Notice, resend: bool, alerts: &[NoticeAlert]) -> Value {
    let shown = &alerts[..alerts.len().min(ALERTS)];
    let mut details = json!({
        "watchfire_notification": delivery.id,
        "reason": cut(&notice.reason, VALUE),
        "group": short(notice.group_labels.iter()),
        "alerts": shown.iter().map(alert).collect::<Value>(),
    });
    if !notice.details.is_empty() {
        details["details"] = short(notice.details.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    }
    if let Some(number) = notice.incident_number {
        details["incident"] = number.into();
    }
    if shown.len() < notice.alerts.len() {
        details["alerts_left_out"] = (notice.alerts.len() - shown.len()).into();
    }
    if resend {
        details["watchfire_resend"] = true.into();
    }
    details
}

fn alert(alert: &NoticeAlert) -> Value {
    json!({
        "labels": short(alert.labels.iter()),
        "annotations": short(alert.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        "value": alert.value,
        "expr": cut(&alert.expr, VALUE),
        "starts_at": alert.starts_at,
        "resolved": alert.resolved,
    })
}

fn short<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    Value::Object(pairs.map(|(name, value)| (cut(name, VALUE), cut(value, VALUE).into())).collect())
}

/// Shows fewer alerts until the event is small enough; at last none and no details.
fn fit(event: &mut Value, delivery: &Delivery, notice: &Notice, resend: bool) {
    let mut shown = notice.alerts.len().min(ALERTS);
    while event.to_string().len() > EVENT_BYTES && shown > 0 {
        shown /= 2;
        event["payload"]["custom_details"] = details(delivery, notice, resend, &notice.alerts[..shown]);
    }
    if event.to_string().len() > EVENT_BYTES {
        event["payload"]["custom_details"] = json!({
            "watchfire_notification": delivery.id,
            "reason": cut(&notice.reason, VALUE),
            "watchfire_resend": resend,
            "alerts_left_out": notice.alerts.len(),
        });
        event["links"] = json!([]);
    }
}

#[cfg(test)]
mod tests;
