//! What providers answer and what follows: retries, doubts, dead letters, metrics. No secret in anything that is written down.

use super::*;
use crate::channels::catcher::fakes;
use crate::channels::catcher::http::Fault;

#[tokio::test]
async fn a_page_is_sent_once_and_journalled() {
    let mut world = World::new();
    let catcher = fakes::pagerduty().await;
    let worker = world.worker(&pagerduty(&catcher.url));
    let delivery = world.page("pd", PageAction::Trigger, "inc_1").await;
    assert_eq!(world.round(&worker).await, 1);
    let event = EventKind::NotificationSent {
        notification: delivery.id,
        receiver: "pd".into(),
        action: "trigger".into(),
        attempt: 1,
        resend: false,
        provider_id: Some("inc_1".into()),
        dedup_key: Some("inc_1".into()),
    };
    assert_eq!(world.state.kinds(), [event]);
    assert_eq!(world.round(&worker).await, 0);
    assert_eq!(catcher.requests().len(), 1);
    assert_eq!(catcher.bodies("")[0]["routing_key"], "R0UT1NGKEY");
    assert_eq!(world.metric("watchfire_notifications_total", &[("receiver", "pd"), ("outcome", "sent")]), 1.0);
    assert_eq!(world.metric("watchfire_notification_seconds", &[("receiver", "pd")]), 1.0);
    world.advance(10);
    world.round(&worker).await;
    assert_eq!(world.metric("watchfire_delivery_pending", &[]), 0.0);
}

#[tokio::test]
async fn every_passing_failure_is_tried_again_and_arrives() {
    let faults = [
        Fault::RetryAfter(429, "7"),
        Fault::RetryAfter(429, "whenever"),
        Fault::Answer(500, "oops R0UT1NGKEY"),
        Fault::Answer(503, ""),
        Fault::Answer(504, ""),
        Fault::Hang,
        Fault::Reset,
        Fault::LostAnswer,
    ];
    for fault in faults {
        let mut world = World::new();
        let catcher = fakes::pagerduty().await;
        catcher.fault("", fault.clone());
        let receivers = pagerduty(&catcher.url).replace("timeout: 2s", "timeout: 1s");
        let worker = world.worker(&receivers);
        world.page("pd", PageAction::Trigger, "inc_1").await;
        world.settle(&worker).await;
        assert_eq!(catcher.requests().len(), 2, "{fault:?}");
        let events = world.state.kinds();
        let EventKind::NotificationRetried { attempt: 1, error, next_at, .. } = &events[0] else { panic!("{fault:?}: {events:?}") };
        assert!(!error.contains("R0UT1NGKEY") && !error.contains("127.0.0.1"), "{error}");
        assert!(*next_at > START, "{fault:?}");
        let EventKind::NotificationSent { attempt: 2, resend, .. } = &events[1] else { panic!("{fault:?}: {events:?}") };
        let doubtful = matches!(fault, Fault::Hang | Fault::Reset | Fault::LostAnswer | Fault::Answer(504, _));
        assert_eq!(*resend, doubtful, "{fault:?}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_still_counts_where_the_status_says_enough() {
    for fault in [Fault::SlowBody, Fault::Huge] {
        let mut world = World::new();
        let catcher = fakes::pagerduty().await;
        catcher.fault("", fault.clone());
        let worker = world.worker(&pagerduty(&catcher.url).replace("timeout: 2s", "timeout: 1s"));
        world.page("pd", PageAction::Trigger, "inc_1").await;
        world.settle(&worker).await;
        assert_eq!(catcher.requests().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn slack_answers_that_cannot_be_read_are_cleared_up_by_asking() {
    for fault in [Fault::SlowBody, Fault::Huge, Fault::LostAnswer, Fault::Answer(200, "<html>"), Fault::Answer(200, "{}"), Fault::Hang] {
        let mut world = World::new();
        let (catcher, workspace) = fakes::slack(secs(START)).await;
        catcher.fault("chat.postMessage", fault.clone());
        let worker = world.worker(&slack(&catcher.url).replace("timeout: 2s", "timeout: 1s"));
        world.page("chat", PageAction::Trigger, "inc_1").await;
        world.settle(&worker).await;
        assert_eq!(workspace.lock().unwrap().messages.len(), 1, "{fault:?}");
        assert!(matches!(world.sent()[..], [EventKind::NotificationSent { resend: false, .. }]), "{fault:?}");
    }
}

#[tokio::test]
async fn slack_says_no_with_200() {
    for (answer, dead) in [
        (r#"{"ok":false,"error":"invalid_auth"}"#, true),
        (r#"{"ok":false,"error":"channel_not_found"}"#, true),
        (r#"{"ok":false,"error":"ratelimited"}"#, false),
        (r#"{"ok":false,"error":"service_unavailable"}"#, false),
    ] {
        let mut world = World::new();
        let (catcher, _) = fakes::slack(secs(START)).await;
        catcher.fault("chat.postMessage", Fault::Answer(200, answer));
        let worker = world.worker(&slack(&catcher.url));
        world.page("chat", PageAction::Trigger, "inc_1").await;
        world.settle(&worker).await;
        assert_eq!(world.rows(WorkState::Dead).len(), usize::from(dead), "{answer}");
        assert_eq!(world.sent().len(), usize::from(!dead), "{answer}");
    }
}

#[tokio::test]
async fn what_can_never_arrive_is_a_dead_letter_with_a_reason() {
    let mut world = World::new();
    let (pd, (sms, _), hook) = (fakes::pagerduty().await, fakes::twilio(secs(START)).await, fakes::plain().await);
    pd.fault("", Fault::Answer(400, r#"{"status":"invalid event","errors":["bad key R0UT1NGKEY"]}"#));
    hook.fault("", Fault::RetryAfter(302, "1"));
    let receivers = [pagerduty(&pd.url), twilio(&sms.url), webhook(&hook.url)].map(|one| one[1..one.len() - 1].to_owned());
    let worker = world.worker(&format!("[{}]", receivers.join(", ")));
    world.page("pd", PageAction::Trigger, "inc_1").await;
    world.send("sms", chat_open(), Lane::Chat).await;
    world.page("hook", PageAction::Trigger, "inc_1").await;
    world.page("nobody", PageAction::Trigger, "inc_1").await;
    world.settle(&worker).await;
    let mut errors: Vec<String> = world.rows(WorkState::Dead).into_iter().filter_map(|row| row.error).collect();
    errors.sort();
    assert_eq!(
        errors,
        [
            "a text message cannot carry opening a chat channel: it takes notices only",
            "no receiver is called `nobody`: configure it and replay",
            r#"the receiver answered 302, a redirect: configure the URL that it leads to"#,
            r#"the receiver answered 400: {"status":"invalid event","errors":["bad key <secret>"]}"#,
        ]
    );
    assert_eq!(world.metric("watchfire_notifications_total", &[("receiver", "unknown"), ("outcome", "dead")]), 1.0);
    assert!(world.state.kinds().iter().all(|event| matches!(event, EventKind::NotificationDead { .. })));
}

/// Nobody gets a text message in the night that says that there is nothing to do; chat and PagerDuty hear of it.
#[tokio::test]
async fn acknowledgements_go_only_where_they_are_of_use() {
    let mut world = World::new();
    let (pd, hook, (sms, _)) = (fakes::pagerduty().await, fakes::plain().await, fakes::twilio(secs(START)).await);
    let (chat, workspace) = fakes::slack(secs(START)).await;
    let post = catcher::smtp::SmtpCatcher::start().await;
    let receivers = [pagerduty(&pd.url), slack(&chat.url), webhook(&hook.url), twilio(&sms.url), mail(post.port)];
    let receivers = receivers.map(|one| one[1..one.len() - 1].to_owned());
    let worker = world.worker(&format!("[{}]", receivers.join(", ")));
    for receiver in ["pd", "chat", "hook", "sms", "post"] {
        world.page(receiver, PageAction::Acknowledge, "inc_1").await;
    }
    world.settle(&worker).await;
    assert_eq!(world.rows(WorkState::Done).len(), 5);
    assert_eq!((pd.requests().len(), workspace.lock().unwrap().messages.len()), (1, 1));
    assert_eq!((hook.requests().len(), sms.requests().len(), post.mails().len()), (0, 0, 0));
    assert_eq!(world.sent().len(), 2, "the journal says of nothing that it was sent that was not");
    for receiver in ["hook", "sms", "post"] {
        assert_eq!(world.metric("watchfire_notifications_total", &[("receiver", receiver), ("outcome", "unneeded")]), 1.0);
    }
}

#[tokio::test]
async fn nobody_is_named_in_the_journal() {
    let mut world = World::new();
    let (sms, _) = fakes::twilio(secs(START)).await;
    let receivers = twilio(&sms.url).replace("+15550002222", "+15550009999");
    let worker = world.worker(&receivers);
    world.page("sms", PageAction::Trigger, "inc_1").await;
    world.settle(&worker).await;
    let dead = world.rows(WorkState::Dead);
    assert_eq!(
        dead[0].error.as_deref(),
        Some("recipient 1 of 2: Twilio refused it: error 21211 (https://www.twilio.com/docs/errors/21211)")
    );
    assert!(!format!("{:?}", world.state.kinds()).contains("1555"));
}

#[tokio::test]
async fn a_receiver_that_stays_down_is_given_up_after_a_day_and_probed_seldom() {
    let mut world = World::new();
    let catcher = catcher::http::Catcher::start(|_| (503, serde_json::Value::Null)).await;
    let worker = world.worker(&pagerduty(&catcher.url));
    world.page("pd", PageAction::Trigger, "inc_1").await;
    world.settle(&worker).await;
    let dead = world.rows(WorkState::Dead);
    assert!(dead[0].error.as_deref().is_some_and(|error| error.starts_with("given up after 1d: the receiver answered 503")));
    let tries = catcher.requests().len();
    assert!((288..2_000).contains(&tries), "{tries} tries in a day, at most 5 minutes apart");
}

#[tokio::test]
async fn a_dead_receiver_is_not_hammered_by_many_rows() {
    let mut world = World::new();
    let catcher = catcher::http::Catcher::start(|_| (503, serde_json::Value::Null)).await;
    let worker = world.worker(&webhook(&catcher.url));
    for number in 0..100 {
        world.page("hook", PageAction::Trigger, &format!("k{number}")).await;
    }
    world.round(&worker).await;
    let tried = catcher.requests().len();
    assert!(tried <= 10, "{tried} of 100 tried before the receiver was left alone");
    assert_eq!(world.rows(WorkState::Pending).len(), 100);
}

#[tokio::test]
async fn a_body_that_is_no_delivery_is_a_dead_letter() {
    let mut world = World::new();
    let worker = world.worker("[]");
    let mut commit = Commit::at(START);
    let body = serde_json::json!({"receiver": 7});
    let work = model::work::NewWork {
        queue: model::work::Queue::Delivery,
        key: "k".into(),
        lane: Lane::Page,
        subject: Subject::default(),
        due_at: START,
        body: body.into(),
    };
    commit.schedule(&TenantId::default(), work);
    world.state.commit(commit).await.unwrap();
    world.round(&worker).await;
    let dead = world.rows(WorkState::Dead);
    assert!(dead[0].error.as_deref().is_some_and(|error| error.starts_with("the row's body is no delivery")));
}
