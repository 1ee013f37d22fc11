//! Slack messages block by block, escaping and limits.

use model::event::Subject;
use model::ids::{IncidentId, NotificationId};
use model::message::Message;
use model::severity::Severity;
use model::tenant::TenantId;

use super::*;
use crate::delivery::testing::{START, notice};

#[test]
fn a_trigger_in_blocks() {
    let notice = notice(PageAction::Trigger, "inc_1");
    let wanted = json!([
        {"type": "section", "text": {"type": "mrkdwn",
            "text": ":red_circle: *CRITICAL* <https://watchfire.example.org/incidents/42|#42 checkout fails 7.5% of requests>"}},
        {"type": "section", "text": {"type": "mrkdwn", "text": "• checkout fails 7.5% of requests (firing, value 0.075)"}},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "*service_name*\ncheckout"}, {"type": "mrkdwn", "text": "*team*\npayments"}]},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "critical-page, step 1 of 2"}]},
        {"type": "actions", "block_id": "watchfire_actions", "elements": [
            {"type": "button", "action_id": "watchfire_ack", "value": "inc_1", "style": "primary", "text": {"type": "plain_text", "text": "Acknowledge"}},
            {"type": "button", "action_id": "watchfire_resolve", "value": "inc_1", "text": {"type": "plain_text", "text": "Resolve"}},
        ]},
    ]);
    assert_eq!(notice_blocks(&notice, Some("inc_1"), false), wanted);
    assert_eq!(notice_text(&notice), "[CRITICAL] #42 checkout fails 7.5% of requests");
}

#[test]
fn buttons_fit_the_state() {
    let actions = |action| {
        let blocks = notice_blocks(&notice(action, "inc_1"), Some("inc_1"), false);
        let last = blocks.as_array().unwrap().last().unwrap().clone();
        last["elements"].as_array().unwrap().iter().filter_map(|one| one["action_id"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(actions(PageAction::Acknowledge), ["watchfire_resolve"]);
    assert_eq!(actions(PageAction::Resolve), Vec::<String>::new());
}

#[test]
fn every_severity_is_a_word_beside_its_sign() {
    for severity in [Severity::Info, Severity::Warning, Severity::High, Severity::Critical] {
        for action in [PageAction::Trigger, PageAction::Acknowledge, PageAction::Resolve] {
            let notice = Notice { severity, ..notice(action, "k") };
            assert!(title(&notice).to_lowercase().contains(severity.as_str()), "{}", title(&notice));
        }
    }
}

#[test]
fn labels_cannot_write_slack_markup() {
    let mut notice = notice(PageAction::Trigger, "inc_1");
    notice.title = "<!channel> & <https://evil.example|click>".into();
    notice.details.insert("<!here>".into(), "<@U1>".into());
    notice.url = Some("https://example.org/a|b>c".into());
    let blocks = notice_blocks(&notice, None, true).to_string();
    for forged in ["<!channel>", "<!here>", "<@U1>", "|click>", "a|b"] {
        assert!(!blocks.contains(forged), "{forged} in {blocks}");
    }
    assert!(blocks.contains("Sent again") && !blocks.contains("action_id"));
}

#[test]
fn limits_hold() {
    let mut notice = notice(PageAction::Trigger, "inc_1");
    notice.title = "t".repeat(10_000);
    notice.reason = "r".repeat(10_000);
    notice.url = Some(format!("https://example.org/{}", "u".repeat(1_000)));
    notice.alerts = vec![notice.alerts[0].clone(); 100];
    notice.details = (0..100).map(|n| (format!("k{n}"), "v".repeat(5_000))).collect();
    let blocks = notice_blocks(&notice, Some("inc_1"), true);
    assert!(blocks.as_array().unwrap().len() <= 50);
    for block in blocks.as_array().unwrap() {
        for text in [&block["text"]["text"], &block["elements"][0]["text"]] {
            assert!(text.as_str().is_none_or(|text| text.chars().count() <= 3_000));
        }
        let fields = block["fields"].as_array().cloned().unwrap_or_default();
        assert!(fields.len() <= 10 && fields.iter().all(|field| field["text"].as_str().unwrap().chars().count() <= 2_000));
    }
    assert!(blocks.to_string().contains("… and 90 more"));
}

#[test]
fn our_message_is_found_by_its_metadata() {
    let delivery = Delivery {
        id: NotificationId::derived(START, "n"),
        tenant: TenantId::default(),
        receiver: "chat".into(),
        subject: Subject::incident(IncidentId::derived(START, "i")),
        queued_at: START,
        message: Message::Notice(Box::new(notice(PageAction::Trigger, "inc_1"))),
    };
    let other = json!({"event_type": EVENT_TYPE, "event_payload": {"id": "ntf_other"}});
    let page = json!({"messages": [{"ts": "1.1"}, {"ts": "1.2", "metadata": other}, {"ts": "1.3", "metadata": metadata(&delivery)}]});
    assert_eq!(find_ours(&page, &delivery).as_deref(), Some("1.3"));
    assert_eq!(find_ours(&json!({}), &delivery), None);
    assert_eq!(subject_id(&delivery), Some(delivery.subject.incident.unwrap().to_string()));
}

#[test]
fn files_that_cannot_go_along_are_named() {
    let files = [Attachment { name: "review.ics".into(), media_type: "text/calendar".into(), content: String::new() }];
    assert_eq!(
        document_text("Postmortem <42>", "a & b", &files, false),
        "*Postmortem &lt;42&gt;*\na &amp; b\n_Not attached here: review.ics_"
    );
}
