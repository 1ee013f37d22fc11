//! PagerDuty, Events API v2. `dedup_key` joins trigger, acknowledge and resolve, so that a second sending changes nothing there.

use async_trait::async_trait;
use model::event::page_action_word;
use model::message::{Delivery, Message, Notice, PageAction};
use model::secret::Secret;
use serde_json::{Value, json};

use super::http::Http;
use super::{Attempt, Channel, SendError, Sent, cut, unsupported};

/// The most alerts that are listed in `custom_details` (an event may have 512 KB).
const MAX_ALERTS: usize = 20;

/// PagerDuty.
pub struct PagerDuty {
    http: Http,
    url: String,
    routing_key: Secret,
}

impl PagerDuty {
    /// For one integration.
    pub fn new(http: Http, url: &str, routing_key: Secret) -> Self {
        PagerDuty { http, url: format!("{}/v2/enqueue", url.trim_end_matches('/')), routing_key }
    }
}

/// The event for a notice.
pub fn event(notice: &Notice, routing_key: &str, resend: bool) -> Value {
    let action = page_action_word(notice.action);
    let mut event = json!({"routing_key": routing_key, "event_action": action, "dedup_key": cut(&notice.dedup_key, 255)});
    if notice.action != PageAction::Trigger {
        return event;
    }
    let first = notice.alerts.first();
    let label = |names: [&str; 3]| names.iter().find_map(|name| first.and_then(|alert| alert.labels.get(name)));
    let alerts: Vec<Value> = notice
        .alerts
        .iter()
        .take(MAX_ALERTS)
        .map(|alert| json!({"labels": alert.labels, "annotations": alert.annotations, "value": alert.value, "expr": cut(&alert.expr, 2_000)}))
        .collect();
    let mut details = json!({"alerts": alerts, "reason": notice.reason});
    if let Some(number) = notice.incident_number {
        details["incident"] = json!(number);
    }
    for (name, value) in &notice.details {
        details[name] = json!(value);
    }
    if resend {
        details["watchfire_resend"] = json!(true);
    }
    event["payload"] = json!({
        "summary": cut(&notice.title, 1_024),
        "source": label(["instance", "service_name", "job"]).unwrap_or("watchfire"),
        "severity": notice.severity.pagerduty(),
        "timestamp": first.map(|alert| alert.starts_at.rfc3339()),
        "component": label(["service_name", "service", "job"]),
        "class": first.and_then(|alert| alert.labels.get("alertname")),
        "custom_details": details,
    });
    event["client"] = json!("Watchfire");
    if let Some(url) = &notice.url {
        event["client_url"] = json!(url);
        event["links"] = json!([{"href": url, "text": "Watchfire"}]);
    }
    event
}

#[async_trait]
impl Channel for PagerDuty {
    async fn send(&self, delivery: &Delivery, attempt: Attempt<'_>) -> Result<Sent, SendError> {
        let Message::Notice(notice) = &delivery.message else { return Err(unsupported("pagerduty", &delivery.message)) };
        let event = event(notice, self.routing_key.reveal(), attempt.resend);
        self.http.deliver(self.http.post(&self.url).json(&event)).await?;
        Ok(Sent { provider_id: Some(notice.dedup_key.clone()), channel: None })
    }
}
