//! Generic webhook with Alertmanager's body, version 4, field by field. In: notices. Out: one POST that carries `Idempotency-Key` (the
//! notification's id, the same at every attempt), `X-Watchfire-Action` and, where an earlier attempt may have arrived, `X-Watchfire-Resend`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use model::labels::Labels;
use model::message::{Delivery, Message, Notice, NoticeAlert, PageAction};
use model::time::Timestamp;
use serde::Serialize;

use super::config::WebhookConfig;
use super::http::Http;
use super::{Attempt, Channel, Reconciled, SendError, Sent, cannot_carry, is_acknowledgement};

/// What Alertmanager writes for a moment that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// One endpoint.
#[derive(Debug)]
pub struct Webhook {
    http: Http,
    config: WebhookConfig,
}

impl Webhook {
    /// From its settings.
    pub fn new(config: &WebhookConfig, client: &reqwest::Client) -> Self {
        let secrets = [config.url.clone()].into_iter().chain(config.bearer_token.clone()).chain(config.headers.values().cloned());
        Webhook { http: Http::new(client, config.timeout.0, secrets), config: config.clone() }
    }
}

#[async_trait]
impl Channel for Webhook {
    async fn send(&self, delivery: &Delivery, attempt: &Attempt) -> Result<Sent, SendError> {
        let Message::Notice(notice) = &delivery.message else {
            return Err(cannot_carry("a webhook", "it takes notices only", &delivery.message));
        };
        let id = delivery.id.to_string();
        let mut request = self.http.client.post(self.config.url.reveal());
        for (name, value) in &self.config.headers {
            request = request.header(name, value.reveal());
        }
        if let Some(token) = &self.config.bearer_token {
            request = request.bearer_auth(token.reveal());
        }
        request = request.header("Idempotency-Key", &id);
        request = request.header("X-Watchfire-Action", model::event::page_action_word(notice.action));
        if attempt.resend {
            request = request.header("X-Watchfire-Resend", "true");
        }
        self.http.send(request.json(&render(&delivery.receiver, notice, delivery.queued_at)), attempt.now).await?;
        Ok(Sent::with(id))
    }

    fn has_use_for(&self, message: &Message) -> bool {
        !is_acknowledgement(message)
    }

    /// A webhook cannot be asked; the key lets it fold duplicates.
    async fn reconcile(&self, _: &Delivery, _: &Attempt) -> Reconciled {
        Reconciled::Unknown
    }
}

/// Alertmanager's webhook body.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Body<'a> {
    version: &'static str,
    group_key: String,
    truncated_alerts: usize,
    status: &'static str,
    receiver: &'a str,
    group_labels: &'a Labels,
    common_labels: BTreeMap<&'a str, &'a str>,
    common_annotations: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    alerts: Vec<BodyAlert<'a>>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BodyAlert<'a> {
    status: &'static str,
    labels: &'a Labels,
    annotations: &'a BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: &'a str,
}

/// The body for a notice that was written at `at`. `externalURL` is the scheme and host of the notice's link. What a person resolved is
/// over for the reader too, though an alert of it may fire a little longer: nothing more will be said about it.
pub fn render<'a>(receiver: &'a str, notice: &'a Notice, at: Timestamp) -> Body<'a> {
    let url = notice.url.as_deref().unwrap_or_default();
    let resolves = notice.action == PageAction::Resolve;
    let over = resolves || (!notice.alerts.is_empty() && notice.alerts.iter().all(|alert| alert.resolved));
    Body {
        version: "4",
        group_key: format!("{{}}/{{dedup_key={:?}}}:{}", notice.dedup_key, notice.group_labels),
        truncated_alerts: left_out(notice),
        status: status(over),
        receiver,
        group_labels: &notice.group_labels,
        common_labels: common(&notice.alerts, |alert| alert.labels.iter().collect()),
        common_annotations: common(&notice.alerts, |alert| alert.annotations.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect()),
        external_url: origin(url),
        alerts: notice.alerts.iter().map(|alert| body_alert(alert, url, resolves.then_some(at))).collect(),
    }
}

/// Scheme and host of a link; empty where it has none.
fn origin(url: &str) -> &str {
    let Some((scheme, rest)) = url.split_once("://") else { return "" };
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    &url[..scheme.len() + "://".len() + host]
}

/// How many alerts of the group are not shown.
fn left_out(notice: &Notice) -> usize {
    let total = notice.details.get("alerts_total").and_then(|total| total.parse::<usize>().ok()).unwrap_or(0);
    total.saturating_sub(notice.alerts.len())
}

fn status(over: bool) -> &'static str {
    if over { "resolved" } else { "firing" }
}

/// `over_at`: when everything was declared over, whatever this alert itself says.
fn body_alert<'a>(alert: &'a NoticeAlert, url: &'a str, over_at: Option<Timestamp>) -> BodyAlert<'a> {
    let over = alert.resolved || over_at.is_some();
    let ends_at = alert.ends_at.or(over_at).filter(|_| over).map_or_else(|| NEVER.to_owned(), |at| at.rfc3339());
    BodyAlert {
        status: status(over),
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: alert.starts_at.rfc3339(),
        ends_at,
        generator_url: if alert.generator_url.is_empty() { url } else { &alert.generator_url },
        fingerprint: &alert.fingerprint,
    }
}

fn common<'a>(alerts: &'a [NoticeAlert], pairs: impl Fn(&'a NoticeAlert) -> BTreeMap<&'a str, &'a str>) -> BTreeMap<&'a str, &'a str> {
    let mut rest = alerts.iter().map(pairs);
    let mut shared = rest.next().unwrap_or_default();
    for other in rest {
        shared.retain(|name, value| other.get(name) == Some(value));
    }
    shared
}

#[cfg(test)]
mod tests;
