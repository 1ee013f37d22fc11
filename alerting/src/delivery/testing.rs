//! What the tests of channels and deliveries share: a moment, a notice, and a row in the outbox.

use std::time::Duration;

use model::ids::WorkId;
use model::message::{Delivery, Notice, NoticeAlert, PageAction};
use model::severity::Severity;
use model::state::{Commit, Records};
use model::testing::Memory;
use model::time::{Clock, Timestamp};
use model::work::Lane;

/// The moment at which tests begin.
pub const START: Timestamp = Timestamp::from_secs(1_772_000_000);

/// A notice about the incident or alert `key`.
pub fn notice(action: PageAction, key: &str) -> Notice {
    let resolved = action == PageAction::Resolve;
    let labels: model::labels::Labels =
        [("alertname", "CheckoutErrorRate"), ("service_name", "checkout"), ("severity", "critical")].into_iter().collect();
    Notice {
        action,
        dedup_key: key.to_owned(),
        severity: Severity::Critical,
        title: "checkout fails 7.5% of requests".to_owned(),
        incident_number: Some(42),
        group_labels: labels.filtered(|name| name == "service_name"),
        alerts: vec![NoticeAlert {
            resolved,
            labels,
            annotations: [("summary".to_owned(), "checkout fails 7.5% of requests".to_owned())].into(),
            starts_at: START.minus(Duration::from_secs(120)),
            ends_at: resolved.then_some(START),
            fingerprint: "00000000000000aa".to_owned(),
            value: "0.075".to_owned(),
            expr: "rate(errors[5m]) > 0.05".to_owned(),
            generator_url: String::new(),
        }],
        url: Some("https://watchfire.example.org/incidents/42".to_owned()),
        reason: "critical-page, step 1 of 2".to_owned(),
        details: [("team".to_owned(), "payments".to_owned())].into(),
    }
}

/// Writes a delivery into the outbox, at the clock's moment.
pub async fn queue(state: &Memory, delivery: Delivery, lane: Lane) -> WorkId {
    let now = state.clock().now();
    let key = delivery.id.to_string();
    let mut commit = Commit::at(now);
    commit.schedule(&delivery.tenant.clone(), Delivery { queued_at: now, ..delivery }.as_work(key.clone(), lane).unwrap());
    state.commit(commit).await.unwrap();
    state.rows().into_iter().find(|row| row.key == key).unwrap().id
}
