//! A generic webhook with Alertmanager's body, version 4. `Idempotency-Key` is the notification's id, so that a receiver can fold a
//! resend.

use std::collections::BTreeMap;

use async_trait::async_trait;
use model::labels::Labels;
use model::message::{Delivery, Message, Notice, PageAction};
use model::secret::Secret;
use serde_json::{Value, json};

use super::http::Http;
use super::{Attempt, Channel, SendError, Sent, unsupported};

/// A webhook.
pub struct Webhook {
    http: Http,
    url: Secret,
    headers: BTreeMap<String, Secret>,
    bearer_token: Option<Secret>,
    receiver: String,
}

impl Webhook {
    /// For one URL.
    pub fn new(http: Http, url: Secret, headers: BTreeMap<String, Secret>, bearer_token: Option<Secret>, receiver: String) -> Self {
        Webhook { http, url, headers, bearer_token, receiver }
    }
}

fn common(all: impl Iterator<Item = BTreeMap<String, String>>) -> BTreeMap<String, String> {
    all.reduce(|shared, next| shared.into_iter().filter(|(name, value)| next.get(name) == Some(value)).collect()).unwrap_or_default()
}

/// Alertmanager's webhook body, version 4.
pub fn body(notice: &Notice, receiver: &str) -> Value {
    let resolved = notice.action == PageAction::Resolve;
    let alerts: Vec<Value> = notice
        .alerts
        .iter()
        .map(|alert| {
            json!({
                "status": if resolved || alert.resolved { "resolved" } else { "firing" },
                "labels": alert.labels,
                "annotations": alert.annotations,
                "startsAt": alert.starts_at,
                "endsAt": alert.ends_at.map_or("0001-01-01T00:00:00Z".to_owned(), |at| at.rfc3339()),
                "generatorURL": notice.url.clone().unwrap_or_default(),
                "fingerprint": alert.fingerprint,
            })
        })
        .collect();
    let labels = |labels: &Labels| BTreeMap::from(labels.clone());
    json!({
        "version": "4",
        "groupKey": notice.dedup_key,
        "truncatedAlerts": 0,
        "status": if resolved { "resolved" } else { "firing" },
        "receiver": receiver,
        "groupLabels": notice.group_labels,
        "commonLabels": common(notice.alerts.iter().map(|alert| labels(&alert.labels))),
        "commonAnnotations": common(notice.alerts.iter().map(|alert| alert.annotations.clone())),
        "externalURL": notice.url.clone().unwrap_or_default(),
        "alerts": alerts,
    })
}

#[async_trait]
impl Channel for Webhook {
    async fn send(&self, delivery: &Delivery, attempt: Attempt<'_>) -> Result<Sent, SendError> {
        let body = match &delivery.message {
            // Alertmanager's body has no word for an acknowledgement: the receiver keeps what it knows.
            Message::Notice(notice) if notice.action == PageAction::Acknowledge => return Ok(Sent::default()),
            Message::Notice(notice) => body(notice, &self.receiver),
            other @ (Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } | Message::Document { .. }) => {
                return Err(unsupported("webhook", other));
            }
        };
        let mut request = self.http.post(self.url.reveal()).header("idempotency-key", delivery.id.to_string()).json(&body);
        if attempt.resend {
            request = request.header("x-watchfire-resend", "true");
        }
        if let Some(token) = &self.bearer_token {
            request = request.bearer_auth(token.reveal());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value.reveal());
        }
        self.http.deliver(request).await?;
        Ok(Sent::default())
    }
}
