//! The process ends at every commit of every kind of delivery, before it and after it; another process goes on. Nothing is lost; only
//! providers without a key may see a thing twice, and then the second is marked.

use serde_json::Value;

use super::*;
use crate::channels::catcher::http::Catcher;
use crate::channels::catcher::smtp::SmtpCatcher;
use crate::channels::catcher::{fakes, smtp};
use model::testing::Death;

/// Every place at which one delivery can be cut: two commits (note, outcome), each before and after it takes effect.
pub(super) const DEATHS: [Death; 4] = [Death::Before(1), Death::After(1), Death::Before(2), Death::After(2)];

/// Whether the message had left when the process ended, but nobody wrote that down.
pub(super) fn unmarked(death: Death) -> bool {
    death == Death::Before(2)
}

/// Runs one delivery into its death, then lets a second process finish it.
pub(super) async fn through_death(world: &mut World, receivers: &str, message: Message, death: Death) -> Delivery {
    let first = world.worker(receivers);
    let delivery = world.send(receivers_name(receivers), message, Lane::Page).await;
    world.state.die(death);
    world.round(&first).await;
    assert!(world.state.is_dead(), "{death:?} was reached");
    world.state.revive();
    drop(first);
    let second = world.worker(receivers);
    world.settle(&second).await;
    assert_eq!(world.rows(WorkState::Done).len(), 1, "{death:?}");
    assert_eq!(world.sent().len(), 1, "{death:?}: it is journalled as sent once");
    delivery
}

/// A node that starts again does not wait for the claims of its earlier process: what that one held goes out at the same moment.
#[tokio::test]
async fn what_the_earlier_process_held_goes_out_at_once() {
    for death in [Death::Before(1), Death::After(1), Death::Before(2)] {
        let mut world = World::new();
        let catcher = fakes::pagerduty().await;
        let first = world.worker(&pagerduty(&catcher.url));
        world.page("pd", PageAction::Trigger, "inc_1").await;
        world.state.die(death);
        world.round(&first).await;
        assert!(world.state.revive(), "{death:?} was reached");
        let second = world.worker(&pagerduty(&catcher.url));
        assert_eq!(world.round(&second).await, 0, "{death:?}: another node would have to wait");
        assert_eq!(model::state::Leases::take_back(&*world.state, "this").await.unwrap(), 1);
        assert_eq!(world.round(&second).await, 1);
        assert_eq!((world.rows(WorkState::Done).len(), world.state.clock().now()), (1, START));
        assert_eq!(resend(&world), death != Death::Before(1), "{death:?}: what may have been sent is marked");
    }
}

fn receivers_name(receivers: &str) -> &str {
    receivers.split("name: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap()
}

fn resend(world: &World) -> bool {
    matches!(world.sent()[0], EventKind::NotificationSent { resend: true, .. })
}

fn trigger() -> Message {
    Message::Notice(Box::new(notice(PageAction::Trigger, "inc_1")))
}

#[tokio::test]
async fn pagerduty_sees_the_same_key_and_a_mark() {
    for death in DEATHS {
        let mut world = World::new();
        let catcher = fakes::pagerduty().await;
        through_death(&mut world, &pagerduty(&catcher.url), trigger(), death).await;
        let events = catcher.bodies("enqueue");
        let marks: Vec<bool> = events.iter().map(|event| event["payload"]["custom_details"]["watchfire_resend"] == true).collect();
        // PagerDuty cannot be asked: after the note, nobody knows.
        let expected: &[bool] = match death {
            Death::Before(1) | Death::After(2) => &[false],
            Death::After(_) => &[true],
            Death::Before(_) => &[false, true],
        };
        assert_eq!(marks, expected, "{death:?}");
        assert!(events.iter().all(|event| event["dedup_key"] == "inc_1"));
        assert_eq!(resend(&world), marks.last() == Some(&true), "{death:?}");
    }
}

#[tokio::test]
async fn pagerduty_resolves_are_repeated_as_they_are() {
    let mut world = World::new();
    let catcher = fakes::pagerduty().await;
    through_death(&mut world, &pagerduty(&catcher.url), Message::Notice(Box::new(notice(PageAction::Resolve, "inc_1"))), Death::Before(2))
        .await;
    let events = catcher.bodies("enqueue");
    assert_eq!(events.len(), 2);
    assert_eq!(events[0], events[1]);
    assert_eq!(events[0].as_object().unwrap().len(), 3, "routing key, action, dedup key");
}

#[tokio::test]
async fn webhooks_see_the_same_key_and_a_mark() {
    for death in DEATHS {
        let mut world = World::new();
        let catcher = fakes::plain().await;
        let delivery = through_death(&mut world, &webhook(&catcher.url), trigger(), death).await;
        let seen = catcher.requests();
        assert_eq!(seen.len(), if unmarked(death) { 2 } else { 1 }, "{death:?}");
        assert!(seen.iter().all(|request| request.headers["idempotency-key"] == delivery.id.to_string()));
        assert!(seen.iter().skip(1).all(|request| request.headers["x-watchfire-resend"] == "true"));
    }
}

#[tokio::test]
async fn slack_is_asked_and_never_sees_a_message_twice() {
    for death in DEATHS {
        for message in [trigger(), document()] {
            let mut world = World::new();
            let (catcher, workspace) = fakes::slack(secs(START)).await;
            through_death(&mut world, &slack(&catcher.url), message, death).await;
            assert_eq!(workspace.lock().unwrap().messages.len(), 1, "{death:?}");
            assert!(!resend(&world), "{death:?}");
            assert_eq!(
                world.metric("watchfire_notification_reconciliations_total", &[("answer", "arrived")]),
                f64::from(u8::from(unmarked(death)))
            );
        }
    }
}

#[tokio::test]
async fn slack_that_cannot_be_asked_sees_a_marked_copy() {
    let mut world = World::new();
    let (catcher, workspace) = fakes::slack(secs(START)).await;
    for part in ["conversations.list", "conversations.list"] {
        catcher.fault(part, catcher::http::Fault::Answer(200, r#"{"ok":false,"error":"missing_scope"}"#));
    }
    through_death(&mut world, &slack(&catcher.url), trigger(), Death::Before(2)).await;
    let messages = workspace.lock().unwrap().messages.clone();
    let marked: Vec<bool> = messages.iter().map(|message| message["blocks"].to_string().contains("Sent again")).collect();
    assert_eq!(marked, [false, true]);
    assert!(resend(&world));
}

#[tokio::test]
async fn a_chat_channel_is_opened_once_with_one_first_post() {
    // Beside the commits, the answer of every single step may be lost.
    for step in ["none", "conversations.create", "conversations.setTopic", "conversations.invite", "chat.postMessage"] {
        for death in DEATHS {
            let mut world = World::new();
            world.incident(None).await;
            let (catcher, workspace) = fakes::slack(secs(START)).await;
            let receivers = slack(&catcher.url);
            if step == "none" {
                through_death(&mut world, &receivers, chat_open(), death).await;
            } else {
                catcher.fault(step, catcher::http::Fault::LostAnswer);
                let worker = world.worker(&receivers);
                world.send("chat", chat_open(), Lane::Chat).await;
                world.settle(&worker).await;
            }
            let workspace = workspace.lock().unwrap();
            assert_eq!(workspace.channels.len(), 2, "{step} {death:?}: ops and the incident's");
            assert_eq!(workspace.channels[1]["topic"], "checkout fails");
            assert_eq!(workspace.messages.len(), 1, "{step} {death:?}");
            let opened = world.state.kinds().into_iter().filter(|event| matches!(event, EventKind::ChatChannelOpened { .. })).count();
            assert_eq!(opened, 1);
        }
    }
}

#[tokio::test]
async fn chat_posts_and_archiving_survive_too() {
    for death in DEATHS {
        for archive in [false, true] {
            let mut world = World::new();
            let (catcher, workspace) = fakes::slack(secs(START)).await;
            let chat = ChatChannel { receiver: "chat".into(), id: "C0000001".into(), name: "ops".into(), archived: false };
            world.incident(Some(chat)).await;
            let message = if archive {
                Message::ChatArchive { incident: incident_id() }
            } else {
                Message::ChatPost { incident: incident_id(), text: "hello".into() }
            };
            through_death(&mut world, &slack(&catcher.url), message, death).await;
            let workspace = workspace.lock().unwrap();
            assert_eq!(workspace.messages.len(), usize::from(!archive), "{death:?}");
            assert_eq!(workspace.channels[0]["is_archived"], archive, "{death:?}");
        }
    }
}

#[tokio::test]
async fn twilio_is_asked_and_never_sends_twice() {
    for death in DEATHS {
        let mut world = World::new();
        let (catcher, messages) = fakes::twilio(secs(START)).await;
        through_death(&mut world, &twilio(&catcher.url), trigger(), death).await;
        assert_eq!(numbers(&messages.lock().unwrap()), ["+15550002222", "+15550003333"], "{death:?}");
        assert!(!resend(&world));
    }
}

#[tokio::test]
async fn twilio_sends_only_to_the_numbers_that_have_it_not() {
    for fault in [catcher::http::Fault::LostAnswer, catcher::http::Fault::Reset, catcher::http::Fault::Answer(500, "{}")] {
        let mut world = World::new();
        let (catcher, messages) = fakes::twilio(secs(START)).await;
        catcher.fault("Messages", fault.clone());
        let worker = world.worker(&twilio(&catcher.url));
        world.send("sms", trigger(), Lane::Page).await;
        world.settle(&worker).await;
        let mut found = numbers(&messages.lock().unwrap());
        found.sort();
        assert_eq!(found, ["+15550002222", "+15550003333"], "{fault:?}");
        assert!(messages.lock().unwrap().iter().all(|message| !message["body"].as_str().unwrap().contains("again")));
    }
}

fn numbers(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| message["to"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn slack_webhooks_may_see_a_marked_copy() {
    for death in DEATHS {
        let mut world = World::new();
        let catcher = Catcher::start(|_| (200, Value::from("ok"))).await;
        through_death(&mut world, &slack_webhook(&catcher.url), trigger(), death).await;
        let bodies = catcher.bodies("services");
        assert_eq!(bodies.len(), if unmarked(death) { 2 } else { 1 }, "{death:?}");
        assert!(bodies.iter().skip(1).all(|body| body["blocks"].to_string().contains("Sent again")));
    }
}

#[tokio::test]
async fn mail_may_come_twice_as_the_same_mail() {
    for death in DEATHS {
        let mut world = World::new();
        let catcher = SmtpCatcher::start().await;
        let delivery = through_death(&mut world, &mail(catcher.port), trigger(), death).await;
        let mails = catcher.mails();
        assert_eq!(mails.len(), if unmarked(death) { 2 } else { 1 }, "{death:?}");
        let id = format!("Message-ID: <{}@example.org>", delivery.id);
        assert!(mails.iter().all(|mail| mail.contains(&id)), "{mails:?}");
        assert!(mails.iter().skip(1).all(|mail| mail.contains("X-Watchfire-Resend: true")));
    }
}

#[tokio::test]
async fn a_lost_answer_of_the_mail_server_is_a_marked_copy_and_a_hang_up_before_it_is_tried_again() {
    for (fault, mails) in [(smtp::Fault::LostAnswer, 2), (smtp::Fault::HangUp, 1)] {
        let mut world = World::new();
        let catcher = SmtpCatcher::start().await;
        catcher.fault(fault);
        let worker = world.worker(&mail(catcher.port));
        world.send("post", trigger(), Lane::Mail).await;
        world.settle(&worker).await;
        assert_eq!(catcher.mails().len(), mails, "{fault:?}");
    }
}

/// Many deliveries to all receivers, and the process ends at every commit in turn.
#[tokio::test]
async fn a_storm_survives_a_death_at_any_commit() {
    for nth in 1..=14 {
        for death in [Death::Before(nth), Death::After(nth)] {
            let mut world = World::new();
            let (pd, (chat, workspace), (sms, messages)) =
                (fakes::pagerduty().await, fakes::slack(secs(START)).await, fakes::twilio(secs(START)).await);
            let receivers = [pagerduty(&pd.url), slack(&chat.url), twilio(&sms.url)].map(|one| one[1..one.len() - 1].to_owned());
            let receivers = format!("[{}]", receivers.join(", "));
            let first = world.worker(&receivers);
            for receiver in ["pd", "chat", "sms"] {
                for action in [PageAction::Trigger, PageAction::Resolve] {
                    world.page(receiver, action, "inc_1").await;
                }
            }
            world.state.die(death);
            world.round(&first).await;
            world.state.revive();
            let second = world.worker(&receivers);
            world.settle(&second).await;
            assert_eq!(world.sent().len(), 6, "{death:?}");
            assert_eq!(workspace.lock().unwrap().messages.len(), 2, "{death:?}");
            assert_eq!(messages.lock().unwrap().len(), 4, "{death:?}");
            let actions: Vec<String> = pd.bodies("").iter().map(|event| event["event_action"].as_str().unwrap().to_owned()).collect();
            let mut once = actions.clone();
            once.dedup();
            assert_eq!(once, ["trigger", "resolve"], "{death:?}: {actions:?}");
        }
    }
}
