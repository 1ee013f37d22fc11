//! Text messages and what a list of messages decides.

use model::ids::NotificationId;
use model::message::PageAction;
use model::tenant::TenantId;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::delivery::testing::{START, notice};

fn delivery() -> Delivery {
    Delivery {
        id: NotificationId::derived(START, "n"),
        tenant: TenantId::default(),
        receiver: "sms".into(),
        subject: model::event::Subject::default(),
        queued_at: START,
        message: Message::Notice(Box::new(notice(PageAction::Trigger, "inc_1"))),
    }
}

#[test]
fn one_text_with_number_severity_and_title() {
    let id = short_id(&delivery());
    let text = |action, resend| render(&delivery(), &notice(action, "inc_1"), resend);
    assert_eq!(text(PageAction::Trigger, false), format!("[CRITICAL] #42 checkout fails 7.5% of requests wf:{id}"));
    assert_eq!(text(PageAction::Resolve, true), format!("[RESOLVED critical] #42 checkout fails 7.5% of requests (sent again) wf:{id}"));
}

proptest! {
    #[test]
    fn never_more_than_320_characters_and_always_the_id(title in prop::collection::vec(any::<char>(), 0..600), resend: bool) {
        let mut notice = notice(PageAction::Trigger, "inc_1");
        notice.title = title.into_iter().collect();
        let text = render(&delivery(), &notice, resend);
        prop_assert!(text.chars().count() <= 320);
        let mark = format!("wf:{}", short_id(&delivery()));
        prop_assert!(text.ends_with(&mark));
    }
}

fn listed(body: &str, status: &str, date: &str) -> Value {
    json!({"sid": "SM1", "body": body, "status": status, "date_created": date})
}

#[test]
fn a_page_decides_only_what_it_covers() {
    let (new, old) = ("Wed, 25 Feb 2026 06:13:20 +0000", "Wed, 25 Feb 2026 05:00:00 +0000");
    let page = |messages: Vec<Value>| json!({"messages": messages});
    let full = |last: Value| page(std::iter::repeat_n(listed("other", "sent", new), PAGE - 1).chain([last]).collect());
    for (listing, found) in [
        (page(vec![listed("x wf:abcd1234", "queued", new)]), Found::Yes("SM1".into())),
        (page(vec![listed("x wf:abcd1234", "failed", new)]), Found::No),
        (page(vec![listed("x wf:abcd1234 y", "sent", new)]), Found::No),
        (page(vec![]), Found::No),
        (full(listed("other", "sent", new)), Found::CannotTell),
        (full(listed("other", "sent", old)), Found::No),
        (full(listed("x wf:abcd1234", "sent", new)), Found::Yes("SM1".into())),
        (json!({"message": "?"}), Found::CannotTell),
    ] {
        assert_eq!(search(&listing, "abcd1234", START.minus(SKEW)), found, "{listing}");
    }
}
