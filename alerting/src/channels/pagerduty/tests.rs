//! PagerDuty events, field by field, and their limits.

use model::ids::NotificationId;
use model::tenant::TenantId;

use super::*;
use crate::delivery::testing::{START, notice};

fn delivery(notice: Notice) -> Delivery {
    Delivery {
        id: NotificationId::derived(START, "n"),
        tenant: TenantId::default(),
        receiver: "pd".into(),
        subject: model::event::Subject::default(),
        queued_at: START,
        message: Message::Notice(Box::new(notice)),
    }
}

#[test]
fn a_trigger_says_everything_pagerduty_shows() {
    let mut notice = notice(PageAction::Trigger, "inc_1");
    notice.alerts[0].annotations.insert("runbook_url".into(), "https://example.org/runbook".into());
    let delivery = delivery(notice.clone());
    let wanted = json!({
        "event_action": "trigger",
        "dedup_key": "inc_1",
        "client": "Watchfire",
        "client_url": "https://watchfire.example.org/incidents/42",
        "links": [
            {"href": "https://watchfire.example.org/incidents/42", "text": "Open in Watchfire"},
            {"href": "https://example.org/runbook", "text": "Runbook"},
        ],
        "payload": {
            "summary": "checkout fails 7.5% of requests",
            "source": "checkout",
            "severity": "critical",
            "timestamp": "2026-02-25T06:11:20Z",
            "class": "CheckoutErrorRate",
            "custom_details": {
                "watchfire_notification": delivery.id,
                "reason": "critical-page, step 1 of 2",
                "incident": 42,
                "group": {"service_name": "checkout"},
                "details": {"team": "payments"},
                "alerts": [{
                    "labels": {"alertname": "CheckoutErrorRate", "service_name": "checkout", "severity": "critical"},
                    "annotations": {"summary": "checkout fails 7.5% of requests", "runbook_url": "https://example.org/runbook"},
                    "value": "0.075",
                    "expr": "rate(errors[5m]) > 0.05",
                    "starts_at": "2026-02-25T06:11:20Z",
                    "resolved": false,
                }],
            },
        },
    });
    assert_eq!(render(&delivery, &notice, false), wanted);
    assert_eq!(render(&delivery, &notice, true)["payload"]["custom_details"]["watchfire_resend"], true);
}

#[test]
fn acknowledge_and_resolve_are_their_key_alone() {
    for (action, word) in [(PageAction::Acknowledge, "acknowledge"), (PageAction::Resolve, "resolve")] {
        let notice = notice(action, "inc_1");
        let event = render(&delivery(notice.clone()), &notice, true);
        assert_eq!(event, json!({"event_action": word, "dedup_key": "inc_1"}));
    }
}

#[test]
fn limits_hold_for_any_notice() {
    let mut big = notice(PageAction::Trigger, &"k".repeat(300));
    big.title = "ü".repeat(5_000);
    big.alerts[0].annotations.insert("description".into(), "x".repeat(1_000_000));
    big.alerts = vec![big.alerts[0].clone(); 5_000];
    let event = render(&delivery(big.clone()), &big, true);
    assert!(event.to_string().len() <= EVENT_BYTES);
    assert_eq!(event["payload"]["summary"].as_str().unwrap().chars().count(), SUMMARY);
    assert_eq!(event["dedup_key"].as_str().unwrap().len(), 64);
    assert_eq!(event["payload"]["custom_details"]["watchfire_resend"], true);
    assert!(event["payload"]["custom_details"]["alerts_left_out"].as_u64().unwrap() >= 4_900);

    let mut wide = notice(PageAction::Trigger, "inc_1");
    wide.details = (0..1_000).map(|n| (format!("key{n}"), "x".repeat(4_000))).collect();
    let event = render(&delivery(wide.clone()), &wide, false);
    assert!(event.to_string().len() <= EVENT_BYTES);
    assert_eq!(event["payload"]["custom_details"]["reason"], "critical-page, step 1 of 2");
}

#[test]
fn long_keys_that_differ_stay_different() {
    let (one, two) = ("k".repeat(300) + "1", "k".repeat(300) + "2");
    assert_ne!(dedup_key(&one), dedup_key(&two));
    assert_eq!(dedup_key("short"), "short");
}
