//! Slack against a workspace that behaves like one: channels, names that are taken, history.

use model::event::Subject;
use model::ids::{IncidentId, NotificationId};
use model::tenant::TenantId;

use super::*;
use crate::channels::ReceiverConfig;
use crate::channels::catcher::http::Fault;
use crate::channels::catcher::{client, fakes};
use crate::delivery::testing::START;

fn slack(url: &str) -> Slack {
    let text = format!("{{name: chat, type: slack, token: xoxb-test-token, channel: ops, api_url: '{url}/api', timeout: 2s}}");
    match serde_saphyr::from_str(&text).unwrap() {
        ReceiverConfig::Slack(config) => Slack::new(&config, &client()),
        other => panic!("{other:?}"),
    }
}

fn incident() -> IncidentId {
    IncidentId::derived(START, "i")
}

fn delivery(message: Message) -> Delivery {
    Delivery {
        id: NotificationId::derived(START, "n"),
        tenant: TenantId::default(),
        receiver: "chat".into(),
        subject: Subject::incident(incident()),
        queued_at: START,
        message,
    }
}

fn open(invite: &[&str]) -> Delivery {
    let invite = invite.iter().map(|&user| user.to_owned()).collect();
    delivery(Message::ChatOpen { incident: incident(), name: "incident-42".into(), topic: "t".repeat(400), invite, text: "first".into() })
}

fn attempt() -> Attempt {
    Attempt { number: 1, now: START, ..Attempt::default() }
}

fn secs() -> i64 {
    START.millis() / 1000
}

fn taken(created: i64, creator: &str, archived: bool) -> Value {
    json!({"id": "C0000009", "name": "incident-42", "creator": creator, "created": created, "is_archived": archived, "topic": "", "members": []})
}

#[tokio::test]
async fn a_name_that_another_holds_gets_a_suffix_and_is_found_again() {
    for (created, creator, archived, reused) in [
        (secs() + 1, "UBOT", false, true),
        (secs() + 1, "UBOT", true, false),
        (secs() + 1, "UOTHER", false, false),
        (secs() - 86_400, "UBOT", false, false),
    ] {
        let (catcher, workspace) = fakes::slack(secs()).await;
        workspace.lock().unwrap().channels.push(taken(created, creator, archived));
        let slack = slack(&catcher.url);
        let room = slack.send(&open(&[]), &attempt()).await.unwrap().channel.unwrap();
        assert_eq!(room.id == "C0000009", reused, "{created} {creator} {archived}");
        if !reused {
            assert!(room.name.starts_with("incident-42-") && room.name.len() == "incident-42-".len() + 8, "{}", room.name);
            let again = slack.send(&open(&[]), &attempt()).await.unwrap().channel.unwrap();
            assert_eq!(again, room, "the suffix is always the same");
        }
        let topics: Vec<Value> = catcher.bodies("setTopic").into_iter().map(|body| body["topic"].clone()).collect();
        assert!(topics.iter().all(|topic| topic.as_str().unwrap().chars().count() == 250));
    }
}

#[tokio::test]
async fn one_person_who_is_gone_does_not_keep_the_others_out() {
    let (catcher, workspace) = fakes::slack(secs()).await;
    slack(&catcher.url).send(&open(&["U1", "UGONE", "U2", "U1"]), &attempt()).await.unwrap();
    assert_eq!(workspace.lock().unwrap().channels[1]["members"], json!(["U1", "U2"]));
    assert_eq!(catcher.bodies("postMessage").len(), 1);
}

#[tokio::test]
async fn archiving_twice_is_success() {
    let (catcher, _) = fakes::slack(secs()).await;
    let chat = ChatChannel { receiver: "chat".into(), id: "C0000001".into(), name: "ops".into(), archived: false };
    let attempt = Attempt { chat: Some(chat), ..attempt() };
    let archive = delivery(Message::ChatArchive { incident: incident() });
    for _ in 0..2 {
        assert_eq!(slack(&catcher.url).send(&archive, &attempt).await.unwrap().provider_id.as_deref(), Some("C0000001"));
    }
}

#[tokio::test]
async fn a_channel_that_another_receiver_opened_is_refused() {
    let (catcher, _) = fakes::slack(secs()).await;
    let chat = ChatChannel { receiver: "other".into(), id: "C0000001".into(), name: "ops".into(), archived: false };
    let post = delivery(Message::ChatPost { incident: incident(), text: "x".into() });
    let error = slack(&catcher.url).send(&post, &Attempt { chat: Some(chat), ..attempt() }).await.unwrap_err();
    assert_eq!(error, SendError::last("the incident's chat channel was opened by receiver `other`"));
}

#[tokio::test]
async fn errors_name_the_method_and_never_the_token() {
    let (catcher, _) = fakes::slack(secs()).await;
    for (fault, said) in [
        (Fault::Answer(200, r#"{"ok":false,"error":"missing_scope"}"#), "Slack answered missing_scope: give the bot the scopes"),
        (Fault::Answer(200, "xoxb-test-token is bad"), "conversations.create: no readable answer: \"<secret> is bad\""),
        (Fault::RetryAfter(429, "11"), "conversations.create: 429: too many requests"),
        (Fault::Reset, "conversations.create: the connection broke"),
    ] {
        catcher.fault("conversations.create", fault);
        let error = slack(&catcher.url).send(&open(&[]), &attempt()).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error} should say {said}");
        assert!(!error.contains("xoxb-test-token") && !error.contains("127.0.0.1"), "{error}");
    }
}

/// The message is on the third page of history: pages are walked, and metadata is asked for.
#[tokio::test]
async fn history_is_searched_page_by_page() {
    let (catcher, workspace) = fakes::slack(secs()).await;
    let slack = slack(&catcher.url);
    let document = delivery(Message::Document { title: "d".into(), text: "d".into(), attachments: Vec::new() });
    assert_eq!(slack.reconcile(&document, &attempt()).await, Reconciled::NotArrived);
    slack.send(&document, &attempt()).await.unwrap();
    for _ in 0..5 {
        let noise = json!({"channel": "C0000001", "ts": format!("{}.9", secs() + 1), "text": "noise"});
        workspace.lock().unwrap().messages.push(noise);
    }
    let Reconciled::Arrived(sent) = slack.reconcile(&document, &attempt()).await else { panic!() };
    assert!(sent.provider_id.unwrap().starts_with("C0000001:"));
    let much_later = Attempt { since: Some(START.plus(std::time::Duration::from_secs(3600))), ..attempt() };
    assert_eq!(slack.reconcile(&document, &much_later).await, Reconciled::NotArrived);
}
