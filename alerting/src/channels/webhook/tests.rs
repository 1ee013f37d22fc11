//! The webhook body against Alertmanager's, field by field.

use serde_json::json;

use super::*;
use crate::delivery::testing::{START, notice};

/// Field by field what Alertmanager's documentation shows for version 4.
#[test]
fn the_body_is_alertmanagers() {
    let mut notice = notice(PageAction::Trigger, "inc_1");
    let mut other = notice.alerts[0].clone();
    other.labels = other.labels.with("instance", "b:1");
    other.annotations.insert("description".into(), "more".into());
    other.generator_url = "http://prometheus:9090/graph?g0.expr=up".into();
    notice.alerts.push(other);
    let wanted = json!({
        "version": "4",
        "groupKey": "{}/{dedup_key=\"inc_1\"}:{service_name=\"checkout\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "hook",
        "groupLabels": {"service_name": "checkout"},
        "commonLabels": {"alertname": "CheckoutErrorRate", "service_name": "checkout", "severity": "critical"},
        "commonAnnotations": {"summary": "checkout fails 7.5% of requests"},
        "externalURL": "https://watchfire.example.org",
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "CheckoutErrorRate", "service_name": "checkout", "severity": "critical"},
                "annotations": {"summary": "checkout fails 7.5% of requests"},
                "startsAt": "2026-02-25T06:11:20Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "https://watchfire.example.org/incidents/42",
                "fingerprint": "00000000000000aa",
            },
            {
                "status": "firing",
                "labels": {"alertname": "CheckoutErrorRate", "instance": "b:1", "service_name": "checkout", "severity": "critical"},
                "annotations": {"summary": "checkout fails 7.5% of requests", "description": "more"},
                "startsAt": "2026-02-25T06:11:20Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
                "fingerprint": "00000000000000aa",
            },
        ],
    });
    assert_eq!(serde_json::to_value(render("hook", &notice, START)).unwrap(), wanted);
}

#[test]
fn the_external_url_is_the_scheme_and_host_of_the_notices_link() {
    for (link, wanted) in [
        ("http://watchfire:7070/alerts/alr_1", "http://watchfire:7070"),
        ("https://[::1]:7070?alert=1", "https://[::1]:7070"),
        ("https://watchfire.example.org", "https://watchfire.example.org"),
        ("/alerts/alr_1", ""),
        ("", ""),
    ] {
        assert_eq!(origin(link), wanted, "{link}");
    }
}

#[test]
fn what_is_left_out_is_counted() {
    let mut notice = notice(PageAction::Trigger, "inc_1");
    notice.details.insert("alerts_total".into(), "1200".into());
    assert_eq!(render("hook", &notice, START).truncated_alerts, 1_199);
}

#[test]
fn resolved_alerts_have_an_end() {
    let notice = notice(PageAction::Resolve, "inc_1");
    let body = serde_json::to_value(render("hook", &notice, START)).unwrap();
    assert_eq!((&body["status"], &body["alerts"][0]["status"]), (&json!("resolved"), &json!("resolved")));
    assert_eq!(body["alerts"][0]["endsAt"], "2026-02-25T06:13:20Z");
}

/// A person resolves the incident while its alert still fires.
#[test]
fn what_a_person_resolved_is_resolved_for_the_reader() {
    let mut notice = notice(PageAction::Resolve, "inc_1");
    (notice.alerts[0].resolved, notice.alerts[0].ends_at) = (false, None);
    let body = serde_json::to_value(render("hook", &notice, START)).unwrap();
    assert_eq!((&body["alerts"][0]["status"], &body["alerts"][0]["endsAt"]), (&json!("resolved"), &json!("2026-02-25T06:13:20Z")));
}

#[test]
fn a_group_fires_while_one_of_its_alerts_does() {
    let mut notice = notice(PageAction::Trigger, "inc_1");
    let resolved = crate::delivery::testing::notice(PageAction::Resolve, "inc_1").alerts;
    notice.alerts.extend(resolved);
    assert_eq!(render("hook", &notice, START).status, "firing");
    notice.alerts.remove(0);
    assert_eq!(render("hook", &notice, START).status, "resolved");
    notice.alerts.clear();
    assert_eq!(render("hook", &notice, START).status, "firing");
}
