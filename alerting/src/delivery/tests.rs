//! The outbox worker against catchers that misbehave on purpose, and against its own death at every commit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use model::event::{EventKind, Subject};
use model::ids::{IncidentId, NotificationId, SequentialIds};
use model::labels::Labels;
use model::message::{Delivery, Message, Notice, NoticeAlert, PageAction};
use model::severity::Severity;
use model::state::{Commit, Records};
use model::tenant::TenantId;
use model::time::{SimulatedClock, Timestamp};
use model::work::{Lane, WorkState};
use serde_json::Value;

use super::DeliveryWorker;
use crate::channels::ReceiverConfig;
use crate::testing::Memory;

const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// What a catcher does with its next request.
#[derive(Clone, Debug)]
enum Act {
    Answer(u16, &'static str),
    RetryAfter(&'static str),
    Silence,
    Huge,
}

#[derive(Clone, Default)]
struct Catcher {
    seen: Arc<Mutex<Vec<(String, String)>>>,
    script: Arc<Mutex<VecDeque<Act>>>,
    history: Arc<Mutex<Value>>,
}

impl Catcher {
    async fn start(script: &[Act]) -> (Catcher, String) {
        let catcher = Catcher { script: Arc::new(Mutex::new(script.iter().cloned().collect())), ..Catcher::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(catch).with_state(catcher.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (catcher, url)
    }
    fn bodies(&self, path: &str) -> Vec<String> {
        self.seen.lock().unwrap().iter().filter(|(seen, _)| seen == path).map(|(_, body)| body.clone()).collect()
    }
}

async fn catch(State(catcher): State<Catcher>, uri: Uri, body: Bytes) -> Response {
    if uri.path().ends_with("conversations.history") {
        return axum::Json(catcher.history.lock().unwrap().clone()).into_response();
    }
    catcher.seen.lock().unwrap().push((uri.path().to_owned(), String::from_utf8_lossy(&body).into_owned()));
    let act = catcher.script.lock().unwrap().pop_front();
    match act {
        Some(Act::Answer(status, text)) => (StatusCode::from_u16(status).unwrap(), text).into_response(),
        Some(Act::RetryAfter(value)) => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", value)], "slow down").into_response(),
        Some(Act::Silence) => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            StatusCode::OK.into_response()
        }
        Some(Act::Huge) => (StatusCode::OK, "x".repeat(2 << 20)).into_response(),
        None if uri.path().contains("/slack/") => r#"{"ok":true,"ts":"1.2","channel":{"id":"C1","name":"incident-1"}}"#.into_response(),
        None if uri.path().contains("Messages.json") => (StatusCode::CREATED, r#"{"sid":"SM1"}"#).into_response(),
        None => (StatusCode::ACCEPTED, r#"{"status":"success"}"#).into_response(),
    }
}

struct Desk {
    state: Arc<Memory>,
    clock: Arc<SimulatedClock>,
    worker: DeliveryWorker,
    ids: Arc<SequentialIds>,
}

impl Desk {
    fn new(receivers: &str) -> Desk {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let receivers: Vec<ReceiverConfig> = serde_saphyr::from_str(receivers).unwrap();
        let clock = Arc::new(SimulatedClock::new(START));
        let ids = Arc::new(SequentialIds::default());
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let worker = DeliveryWorker::new(&receivers, &client, ids.clone(), &prometheus::Registry::new()).unwrap();
        Desk { state: Memory::new(clock.clone()), clock, worker, ids }
    }
    fn now(&self) -> Timestamp {
        model::time::Clock::now(&*self.clock)
    }
    async fn write(&self, receiver: &str, key: &str, message: Message) {
        let now = self.now();
        let delivery = Delivery {
            id: NotificationId::new(now, &*self.ids),
            tenant: TenantId::default(),
            receiver: receiver.to_owned(),
            subject: Subject::default(),
            queued_at: now,
            message,
        };
        let mut commit = Commit::at(now);
        commit.schedule(&TenantId::default(), delivery.into_work(key.to_owned(), Lane::Page).unwrap());
        self.state.commit(commit).await.unwrap();
    }
    async fn deliver(&self) {
        // A worker whose commit fails leaves its row; the caller sees how many were taken.
        let _ = self.worker.deliver_due(&*self.state, None, self.now()).await;
    }
    /// Delivers until nothing is due, moving the clock to each due time.
    async fn settle(&self) {
        for _ in 0..200 {
            self.deliver().await;
            if self.state.rows().iter().all(|row| row.state != WorkState::Pending) {
                return;
            }
            self.clock.advance(Duration::from_secs(1));
        }
        panic!("not settled: {:?}", self.state.rows());
    }
    fn kinds(&self) -> Vec<EventKind> {
        self.state.journal().into_iter().map(|recorded| recorded.event.kind).collect()
    }
}

fn notice(action: PageAction) -> Message {
    let labels: Labels = [("alertname", "A"), ("service_name", "checkout")].into_iter().collect();
    Message::Notice(Box::new(Notice {
        action,
        dedup_key: "inc_1".to_owned(),
        severity: Severity::Critical,
        title: "checkout <fails> & burns".to_owned(),
        incident_number: Some(1),
        group_labels: labels.clone(),
        alerts: vec![NoticeAlert {
            resolved: action == PageAction::Resolve,
            labels,
            annotations: Default::default(),
            starts_at: START,
            ends_at: (action == PageAction::Resolve).then_some(START),
            fingerprint: "00ff".to_owned(),
            value: "0.1".to_owned(),
            expr: "up".to_owned(),
        }],
        url: None,
        reason: "critical, step 1 of 2".to_owned(),
        details: Default::default(),
    }))
}

fn receiver(kind: &str, url: &str) -> String {
    let rest = match kind {
        "pagerduty" => format!("routing_key: hush, url: \"{url}\""),
        "slack" => format!("token: hush, channel: \"#a\", api_url: \"{url}/slack\""),
        "slack_webhook" => format!("url: \"{url}/hook/hush\""),
        "webhook" => format!("url: \"{url}/hook/hush\""),
        _ => format!("account_sid: AC1, auth_token: hush, from: \"+1\", to: [\"+2\"], url: \"{url}\""),
    };
    format!("- {{ name: r, type: {kind}, timeout: 300ms, {rest} }}\n")
}

const KINDS: [&str; 5] = ["pagerduty", "slack", "slack_webhook", "webhook", "twilio_sms"];

#[tokio::test]
async fn every_channel_survives_every_fault_and_shows_no_secret() {
    for kind in KINDS {
        let faults = [
            Act::RetryAfter("7"),
            Act::Answer(429, ""),
            Act::Answer(500, "no"),
            Act::Silence,
            Act::Answer(503, "<html>hush-free page</html>"),
        ];
        let (catcher, url) = Catcher::start(&faults).await;
        let desk = Desk::new(&receiver(kind, &url));
        desk.write("r", "k", notice(PageAction::Trigger)).await;
        desk.deliver().await;
        let row = &desk.state.rows()[0];
        assert!(row.due_at >= START.plus(Duration::from_secs(7)), "{kind}: Retry-After is honoured: {row:?}");
        for _ in 0..4_000 {
            if desk.state.rows()[0].state != WorkState::Pending {
                break;
            }
            desk.clock.advance(Duration::from_secs(2));
            desk.deliver().await;
        }
        assert_eq!(desk.state.rows()[0].state, WorkState::Done, "{kind}: {:?}", desk.state.rows());
        assert!(catcher.seen.lock().unwrap().len() >= 6, "{kind}");
        let told = format!("{:?}", desk.kinds());
        assert!(!told.contains("hush\"") && !told.contains("/hush"), "{kind}: {told}");
    }
}

#[tokio::test]
async fn a_final_no_is_a_dead_letter_that_can_be_replayed() {
    let (catcher, url) = Catcher::start(&[Act::Answer(400, r#"{"message":"Event object is invalid"}"#)]).await;
    let desk = Desk::new(&receiver("pagerduty", &url));
    desk.write("r", "k", notice(PageAction::Trigger)).await;
    desk.settle().await;
    let row = desk.state.rows()[0].clone();
    assert_eq!(row.state, WorkState::Dead);
    assert!(
        matches!(&desk.kinds()[..], [EventKind::NotificationDead { error, .. }] if error.contains("HTTP 400") && error.contains("invalid"))
    );
    let mut commit = Commit::at(desk.now());
    commit.change(&row.tenant, model::work::WorkChange::Replay { id: row.id, due_at: desk.now() });
    desk.state.commit(commit).await.unwrap();
    desk.settle().await;
    assert_eq!((desk.state.rows()[0].state, catcher.bodies("/v2/enqueue").len()), (WorkState::Done, 2));
}

#[tokio::test]
async fn slack_says_no_with_200() {
    for (answer, ends) in [
        (r#"{"ok":false,"error":"channel_not_found"}"#, WorkState::Dead),
        (r#"{"ok":false,"error":"ratelimited"}"#, WorkState::Done),
        ("not json", WorkState::Done),
    ] {
        let (_catcher, url) = Catcher::start(&[Act::Answer(200, answer)]).await;
        let desk = Desk::new(&receiver("slack", &url));
        desk.write("r", "k", notice(PageAction::Trigger)).await;
        desk.settle().await;
        assert_eq!(desk.state.rows()[0].state, ends, "{answer}");
    }
}

#[tokio::test]
async fn a_two_megabyte_answer_is_read_in_part() {
    let (_catcher, url) = Catcher::start(&[Act::Huge]).await;
    let desk = Desk::new(&receiver("webhook", &url));
    desk.write("r", "k", notice(PageAction::Trigger)).await;
    desk.settle().await;
    assert_eq!(desk.state.rows()[0].state, WorkState::Done);
}

/// SEMANTICS, failure 3: the alert resolves while its trigger is held back by a 429; both are delivered, in order.
#[tokio::test]
async fn trigger_and_resolve_both_arrive_in_order() {
    let (catcher, url) = Catcher::start(&[Act::RetryAfter("20")]).await;
    let desk = Desk::new(&receiver("pagerduty", &url));
    desk.write("r", "trigger", notice(PageAction::Trigger)).await;
    desk.deliver().await;
    desk.clock.advance(Duration::from_secs(1));
    desk.write("r", "resolve", notice(PageAction::Resolve)).await;
    desk.settle().await;
    let actions: Vec<Value> =
        catcher.bodies("/v2/enqueue").iter().map(|body| serde_json::from_str::<Value>(body).unwrap()["event_action"].clone()).collect();
    assert_eq!(actions, ["trigger", "trigger", "resolve"], "the first was refused");
}

/// The process dies before the note, after the note, after the send: nothing is lost; what may be a second sending goes out under
/// the same key and is marked, unless the provider says that the first never came.
#[tokio::test]
async fn dying_at_every_commit_loses_nothing_and_marks_every_doubt() {
    for kind in KINDS {
        for crash in 0..3 {
            let (catcher, url) = Catcher::start(&[]).await;
            *catcher.history.lock().unwrap() = serde_json::json!({"ok": true, "messages": []});
            let desk = Desk::new(&receiver(kind, &url));
            desk.write("r", "k", notice(PageAction::Trigger)).await;
            desk.state.crash_after(crash);
            desk.deliver().await;
            let died = desk.state.revive();
            desk.clock.advance(super::LEASE + Duration::from_secs(1));
            desk.settle().await;
            let sent =
                catcher.seen.lock().unwrap().iter().filter(|(path, body)| !path.contains("Messages.json") || !body.is_empty()).count();
            assert_eq!(desk.state.rows()[0].state, WorkState::Done, "{kind}, crash {crash}");
            assert_eq!(died, crash < 2, "{kind}: two commits a delivery");
            let resend = desk.kinds().iter().any(|kind| matches!(kind, EventKind::NotificationSent { resend: true, .. }));
            match (crash, sent) {
                (0 | 2, 1) => assert!(!resend, "{kind}, crash {crash}"),
                // Sent, not marked: sent again. Slack's history was empty, so there it is no resend but the first.
                (1, 2) => assert_eq!(resend, kind != "slack", "{kind}"),
                other => panic!("{kind}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn slacks_history_tells_that_it_arrived() {
    let (catcher, url) = Catcher::start(&[]).await;
    let desk = Desk::new(&receiver("slack", &url));
    desk.write("r", "k", notice(PageAction::Trigger)).await;
    desk.state.crash_after(1);
    desk.deliver().await;
    assert!(desk.state.revive());
    let posted: Value = serde_json::from_str(&catcher.bodies("/slack/chat.postMessage")[0]).unwrap();
    *catcher.history.lock().unwrap() = serde_json::json!({"ok": true, "messages": [{"ts": "9.9", "metadata": posted["metadata"]}]});
    desk.clock.advance(super::LEASE + Duration::from_secs(1));
    desk.settle().await;
    assert_eq!(catcher.bodies("/slack/chat.postMessage").len(), 1, "not posted twice");
    assert!(
        desk.kinds()
            .iter()
            .any(|kind| matches!(kind, EventKind::NotificationSent { resend: false, provider_id: Some(id), .. } if id == "9.9"))
    );
}

#[tokio::test]
async fn a_chat_post_waits_for_its_channel() {
    let (catcher, url) = Catcher::start(&[]).await;
    let desk = Desk::new(&receiver("slack", &url));
    let incident = IncidentId::new(START, &*desk.ids);
    desk.write("r", "post", Message::ChatPost { incident, text: "hello".to_owned() }).await;
    desk.deliver().await;
    assert!(catcher.seen.lock().unwrap().is_empty());
    let open = Message::ChatOpen { incident, name: "incident-1".into(), topic: "t".into(), invite: Vec::new(), text: "opened".into() };
    desk.write("r", "open", open).await;
    desk.deliver().await;
    assert!(desk.kinds().iter().any(|kind| matches!(kind, EventKind::ChatChannelOpened { channel, .. } if channel == "C1")));
    assert_eq!(desk.state.rows().iter().filter(|row| row.state == WorkState::Pending).count(), 1, "the post waits for the record");
}

#[tokio::test]
async fn a_receiver_that_cannot_carry_a_message_says_so() {
    let (_catcher, url) = Catcher::start(&[]).await;
    let desk = Desk::new(&receiver("twilio_sms", &url));
    desk.write("r", "k", Message::Document { title: "t".into(), text: "x".into(), attachments: Vec::new() }).await;
    desk.write("nobody", "n", notice(PageAction::Trigger)).await;
    desk.settle().await;
    let errors = format!("{:?}", desk.kinds());
    assert!(errors.contains("cannot carry documents") && errors.contains("no receiver `nobody`"), "{errors}");
}
