//! Alerts of others come in by Alertmanager's API, and the first notices of their groups are handed over: one commit before the request,
//! one after it. And all that keeps a notice from being handed over, which then goes the usual way.

use axum::http::Method;
use model::state::Fence;
use model::testing::Death;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::channels::catcher::fakes;
use crate::channels::catcher::http::{Catcher, Fault};
use crate::testing::World as Alerts;

const LEADER: u64 = 7;

/// Alerting over one receiver, and the worker that notices are handed over to.
struct Scene {
    alerts: Alerts,
    worker: Arc<DeliveryWorker>,
    leading: watch::Sender<Option<Fence>>,
}

impl Scene {
    fn new(receivers: &str, config: Config) -> Self {
        catcher::crypto();
        let name = receivers.split("name: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        // A name that stands twice is one receiver.
        let routes = format!("route: {{ receivers: [{name}, {name}], group_by: ['...'], group_wait: 0s, group_interval: 10s }}");
        let alerts = Alerts::new(&routes, "groups: []\n");
        let (leading, fence) = watch::channel(Some(alerts.state.lead(LEADER)));
        let worker = worker(receivers, config);
        alerts.alerting.hand_over_to(worker.clone(), fence);
        Scene { alerts, worker, leading }
    }

    async fn post(&self, alerts: Value) -> u16 {
        self.alerts.ask(Method::POST, "/api/v2/alerts", Some(alerts)).await.0
    }

    fn rows(&self, state: WorkState) -> Vec<Work> {
        let rows = self.alerts.state.rows().into_iter();
        rows.filter(|row| row.queue == model::work::Queue::Delivery && row.state == state).collect()
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        for _ in 0..10_000 {
            if is(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("never: {what}");
    }

    /// Another process sends what is due, moment by moment, until nothing is pending.
    async fn another(&self, receivers: &str) {
        let worker = worker(receivers, Config::default());
        let state: Arc<dyn StateStore> = self.alerts.state.clone();
        while !self.rows(WorkState::Pending).is_empty() {
            let due = self.alerts.state.next_due().unwrap().max(self.alerts.now());
            self.alerts.clock.set(due);
            worker.deliver_due(&state, None, due).await.unwrap();
        }
    }
}

fn worker(receivers: &str, config: Config) -> Arc<DeliveryWorker> {
    let receivers: Vec<ReceiverConfig> = serde_saphyr::from_str(receivers).unwrap();
    Arc::new(DeliveryWorker::new(&receivers, config, Arc::new(model::ids::RandomIds), &Registry::new()).unwrap())
}

fn firing(numbers: std::ops::Range<usize>) -> Value {
    numbers.map(|number| json!({"labels": {"alertname": "Full", "n": number.to_string(), "severity": "critical"}})).collect()
}

fn hook(catcher: &Catcher, more: &str) -> String {
    format!("[{{name: hook, type: webhook, url: '{}/hook', timeout: 300ms{more}}}]", catcher.url)
}

/// All of it is as if it had been claimed: nothing but the number of commits is different.
#[tokio::test]
async fn one_commit_stands_between_an_alert_and_its_request() {
    let catcher = fakes::plain().await;
    let scene = Scene::new(&hook(&catcher, ", rate_limit: {per_second: 1000, burst: 1000}"), Config::default());
    assert_eq!(scene.post(firing(0..3)).await, 200);
    let rows = scene.alerts.state.rows();
    assert_eq!(scene.alerts.state.commits(), 1, "alerts, groups and deliveries");
    assert!(rows.iter().filter(|row| row.attempts > 0).all(|row| row.progress.as_ref().is_some_and(|note| note["sending"].is_string())));
    scene.until("all are told", |scene| scene.rows(WorkState::Done).len() == 3).await;
    assert!((2..=4).contains(&scene.alerts.state.commits()), "and what became of them");
    let seen = catcher.requests();
    assert!(seen.iter().all(|request| !request.headers.contains_key("x-watchfire-resend")) && seen.len() == 3);
    assert_eq!(scene.alerts.count("notification_sent"), 3);
    assert!(scene.rows(WorkState::Done).iter().all(|row| row.attempts == 1));
    assert_eq!(*scene.worker.handed.borrow(), 0);
    assert!(scene.worker.hand.lock().unwrap().is_empty(), "no task is left over");
    // A storm of them, more than there are tasks.
    assert_eq!(scene.post(firing(10..110)).await, 200);
    scene.until("the storm is told", |scene| scene.rows(WorkState::Done).len() == 103).await;
    assert_eq!(catcher.requests().len(), 103);
}

/// Of a request: the key by which its receiver knows what comes again, and whether it is marked as such.
fn key_and_mark(request: &catcher::http::Request) -> (String, bool) {
    if let Some(key) = request.headers.get("idempotency-key") {
        return (key.clone(), request.headers.contains_key("x-watchfire-resend"));
    }
    let body = request.json();
    // PagerDuty's, else Opsgenie's.
    let key = body["dedup_key"].as_str().or(body["alias"].as_str()).unwrap().to_owned();
    (key, body.to_string().contains("watchfire_resend"))
}

/// With each kind of receiver to which notices are handed over.
#[tokio::test]
async fn the_process_ends_around_each_commit() {
    for kind in ["webhook", "pagerduty", "opsgenie"] {
        for death in crash::DEATHS {
            let catcher = fakes::plain().await;
            let receivers = match kind {
                "webhook" => hook(&catcher, ""),
                "pagerduty" => pagerduty(&catcher.url),
                _ => format!("[{{name: og, type: opsgenie, api_key: TOPSECRET, url: '{}'}}]", catcher.url),
            };
            let scene = Scene::new(&receivers, Config::default());
            scene.alerts.state.die(death);
            let answer = scene.post(firing(0..1)).await;
            scene.until("the end", |scene| scene.alerts.state.is_dead()).await;
            // Whatever of it was under way ends with it.
            scene.until("nothing is held", |scene| *scene.worker.handed.borrow() == 0).await;
            scene.alerts.state.revive();
            scene.another(&receivers).await;
            let (keys, marks): (std::collections::HashSet<String>, Vec<bool>) = catcher.requests().iter().map(key_and_mark).unzip();
            // Nobody was told that it was taken, or it went out; after the note, nobody knows whether it did.
            let expected: (u16, &[bool]) = match death {
                Death::Before(1) => (503, &[]),
                Death::After(1) => (503, &[true]),
                Death::Before(_) => (200, &[false, true]),
                Death::After(_) => (200, &[false]),
            };
            assert_eq!((answer, &*marks), expected, "{kind}: {death:?}");
            assert!(keys.len() <= 1, "{kind}: {death:?}: one key");
        }
    }
}

/// Nothing is held for it; it is sent when it is claimed.
async fn goes_the_usual_way(scene: &Scene, receivers: &str, count: usize) {
    assert_eq!(scene.post(firing(0..count)).await, 200);
    let pending = scene.rows(WorkState::Pending);
    assert!(pending.len() >= count && pending.iter().all(|row| (row.attempts, row.lease, &row.progress) == (0, 0, &None)), "{pending:?}");
    scene.another(receivers).await;
}

#[tokio::test]
async fn what_people_read_is_not_handed_over() {
    let catcher = fakes::plain().await;
    let receivers = slack_webhook(&catcher.url);
    goes_the_usual_way(&Scene::new(&receivers, Config::default()), &receivers, 2).await;
    assert_eq!(catcher.requests().len(), 2);
}

#[tokio::test]
async fn only_the_leader_sends() {
    let catcher = fakes::plain().await;
    let receivers = hook(&catcher, "");
    let scene = Scene::new(&receivers, Config::default());
    scene.leading.send_replace(None);
    goes_the_usual_way(&scene, &receivers, 1).await;
    // One that does not know yet that another leads.
    let scene = Scene::new(&receivers, Config::default());
    scene.alerts.state.lead(LEADER + 1);
    goes_the_usual_way(&scene, &receivers, 1).await;
    assert_eq!(catcher.requests().len(), 2);
}

#[tokio::test]
async fn without_a_token_it_waits() {
    let catcher = fakes::plain().await;
    let receivers = hook(&catcher, ", rate_limit: {per_second: 1, burst: 2}");
    let scene = Scene::new(&receivers, Config::default());
    assert_eq!(scene.post(firing(0..5)).await, 200);
    scene.until("two are told", |scene| scene.rows(WorkState::Done).len() == 2).await;
    assert!(scene.rows(WorkState::Pending).iter().all(|row| row.progress.is_none()));
    scene.another(&receivers).await;
    assert_eq!(catcher.requests().len(), 5);
}

/// A group of the same name that is gone still has something to say.
#[tokio::test]
async fn nothing_overtakes_what_was_written_before() {
    let catcher = fakes::plain().await;
    let receivers = hook(&catcher, "");
    let scene = Scene::new(&receivers, Config::default());
    scene.leading.send_replace(None);
    assert_eq!(scene.post(firing(0..1)).await, 200);
    let Message::Notice(first) = scene.alerts.deliveries().remove(0).1.message else { panic!() };
    let scene = Scene::new(&receivers, Config::default());
    let over = notice(PageAction::Resolve, &first.dedup_key);
    let now = scene.alerts.now();
    let delivery = Delivery {
        id: NotificationId::derived(now, "before"),
        tenant: TenantId::default(),
        receiver: "hook".to_owned(),
        subject: Subject::default(),
        queued_at: now,
        message: Message::Notice(Box::new(over)),
    };
    queue(&scene.alerts.state, delivery, Lane::Page).await;
    scene.alerts.clock.advance(Duration::from_millis(5));
    goes_the_usual_way(&scene, &receivers, 1).await;
    let states: Vec<Value> = catcher.bodies("hook").iter().map(|body| body["status"].clone()).collect();
    assert_eq!(states, ["resolved", "firing"]);
}

#[tokio::test]
async fn what_cannot_be_begun_before_the_end_is_given_back_unmarked() {
    let catcher = fakes::plain().await;
    catcher.fault("hook", Fault::Hang);
    let receivers = hook(&catcher, "");
    let scene = Scene::new(&receivers, Config { per_destination: 1, ..Config::default() });
    assert_eq!(scene.post(firing(0..3)).await, 200);
    scene.until("one hangs", |_| catcher.requests().len() == 1).await;
    scene.worker.drain(Duration::from_secs(20)).await;
    assert_eq!(scene.rows(WorkState::Pending).len(), 3);
    let mut doubted = 0;
    for row in scene.rows(WorkState::Pending) {
        assert_eq!(row.lease, 0, "nobody holds it");
        doubted += usize::from(row.progress.unwrap()["sending"].is_string());
    }
    assert_eq!(doubted, 1, "only the one that was begun");
    // A process that ends takes no more.
    assert_eq!(scene.post(firing(5..6)).await, 200);
    scene.another(&receivers).await;
    let marked = catcher.requests().iter().filter(|request| request.headers.contains_key("x-watchfire-resend")).count();
    assert_eq!((catcher.requests().len(), marked), (5, 1));
}

/// What becomes of many is written together; one that somebody ended meanwhile takes no other with it.
#[tokio::test]
async fn one_that_was_ended_meanwhile_takes_no_other_with_it() {
    let catcher = fakes::plain().await;
    let scene = Scene::new(&hook(&catcher, ", rate_limit: {per_second: 1000, burst: 1000}"), Config::default());
    assert_eq!(scene.post(firing(0..20)).await, 200);
    let ended = scene.rows(WorkState::Pending).swap_remove(4);
    let mut commit = model::state::Commit::at(scene.alerts.now());
    commit.change(&ended.tenant, model::work::WorkChange::Cancel { queue: model::work::Queue::Delivery, key: ended.key.clone() });
    scene.alerts.state.commit(commit).await.unwrap();
    scene.until("the others are done", |scene| scene.rows(WorkState::Done).len() == 19).await;
    scene.until("none is held", |scene| *scene.worker.handed.borrow() == 0).await;
    assert_eq!((catcher.requests().len(), scene.alerts.count("notification_sent")), (20, 19));
    assert_eq!(scene.rows(WorkState::Cancelled).len(), 1);
    assert_eq!(scene.worker.lines().len(), 1, "it alone is looked at again when its lease would end");
    assert!(scene.alerts.state.commits() < 20, "{} commits", scene.alerts.state.commits());
}

/// What fails is tried again by a claim, and leaves nothing in the picture that would hold up what follows.
#[tokio::test]
async fn what_fails_is_tried_again_and_its_line_goes_on() {
    let catcher = fakes::plain().await;
    catcher.fault("hook", Fault::Answer(500, "{}"));
    let scene = Scene::new(&hook(&catcher, ""), Config { patience: model::time::Span::secs(60), ..Config::default() });
    scene.alerts.clock.advance(Duration::from_nanos(123));
    assert_eq!(scene.post(firing(0..1)).await, 200);
    scene.until("it failed", |scene| scene.alerts.count("notification_retried") == 1).await;
    let state: Arc<dyn StateStore> = scene.alerts.state.clone();
    scene.alerts.clock.set(scene.alerts.state.next_due().unwrap());
    // With one that this worker does not know, so that it looks at all that is pending.
    let Message::Notice(told) = scene.alerts.deliveries().remove(0).1.message else { panic!() };
    let mut over = scene.alerts.deliveries().remove(0).1;
    over.id = NotificationId::derived(scene.alerts.now(), "over");
    over.message = Message::Notice(Box::new(notice(PageAction::Resolve, &told.dedup_key)));
    queue(&scene.alerts.state, over, Lane::Page).await;
    scene.worker.deliver_due(&state, Some(&scene.alerts.state.lead(LEADER)), scene.alerts.now()).await.unwrap();
    let states: Vec<Value> = catcher.bodies("hook").iter().map(|body| body["status"].clone()).collect();
    assert_eq!(states, ["firing", "firing", "resolved"]);
    assert_eq!(scene.worker.lines().len(), 0);
}

/// A provider that asks for patience gets it from what is held too; and nothing new is handed over past those that wait.
#[tokio::test]
async fn what_is_held_waits_where_the_receiver_asks_for_it() {
    let catcher = fakes::plain().await;
    catcher.fault("hook", Fault::RetryAfter(429, "60"));
    let receivers = hook(&catcher, "");
    let scene = Scene::new(&receivers, Config { per_destination: 1, ..Config::default() });
    assert_eq!(scene.post(firing(0..3)).await, 200);
    scene.until("all are given back", |scene| scene.rows(WorkState::Pending).iter().all(|row| row.lease == 0)).await;
    assert_eq!(catcher.requests().len(), 1);
    let untried = scene.rows(WorkState::Pending).iter().filter(|row| row.progress.as_ref().unwrap()["attempts"] == 0).count();
    assert_eq!(untried, 2, "only one was begun");
    assert_eq!(scene.post(firing(5..6)).await, 200);
    assert!(scene.rows(WorkState::Pending).iter().any(|row| row.progress.is_none()), "it is scheduled as usual");
    scene.another(&receivers).await;
    assert_eq!(scene.rows(WorkState::Done).len(), 4);
}
