//! Order within a line, lanes, rate limits, and that a hanging receiver holds up nobody.

use serde_json::json;

use super::*;
use crate::channels::catcher::fakes;
use crate::channels::catcher::http::Fault;
use crate::delivery::config::Config;

fn actions(catcher: &catcher::http::Catcher) -> Vec<String> {
    catcher
        .bodies("enqueue")
        .iter()
        .map(|body| format!("{} {}", body["event_action"].as_str().unwrap(), body["dedup_key"].as_str().unwrap()))
        .collect()
}

/// SEMANTICS, failure 3: one 429 with Retry-After, and the alert resolves before the next try.
#[tokio::test]
async fn firing_and_resolved_both_arrive_in_order_after_a_429() {
    let mut world = World::new();
    let catcher = fakes::pagerduty().await;
    catcher.fault("enqueue", Fault::RetryAfter(429, "30"));
    let worker = world.worker(&pagerduty(&catcher.url));
    world.page("pd", PageAction::Trigger, "inc_1").await;
    world.round(&worker).await;
    world.advance(5);
    world.page("pd", PageAction::Resolve, "inc_1").await;
    world.round(&worker).await;
    assert_eq!(actions(&catcher), ["trigger inc_1"], "the resolve waits for its trigger");
    world.settle(&worker).await;
    assert_eq!(actions(&catcher), ["trigger inc_1", "trigger inc_1", "resolve inc_1"]);
    assert_eq!(world.state.clock().now(), START.plus(Duration::from_secs(30)), "Retry-After is obeyed, and no more than that");
    assert_eq!(world.sent().len(), 2);
}

#[tokio::test]
async fn a_whole_line_that_is_due_goes_out_in_order_even_from_a_better_lane() {
    let mut world = World::new();
    let catcher = fakes::pagerduty().await;
    let worker = world.worker(&pagerduty(&catcher.url));
    for (action, lane) in [(PageAction::Trigger, Lane::Mail), (PageAction::Acknowledge, Lane::Chat), (PageAction::Resolve, Lane::Page)] {
        world.send("pd", Message::Notice(Box::new(notice(action, "inc_1"))), lane).await;
        world.advance(1);
    }
    assert_eq!(world.round(&worker).await, 3);
    assert_eq!(actions(&catcher), ["trigger inc_1", "acknowledge inc_1", "resolve inc_1"]);
}

#[tokio::test]
async fn rows_of_one_moment_go_by_what_they_do() {
    let mut world = World::new();
    let catcher = fakes::pagerduty().await;
    let worker = world.worker(&pagerduty(&catcher.url));
    for action in [PageAction::Resolve, PageAction::Acknowledge, PageAction::Trigger] {
        world.page("pd", action, "inc_1").await;
    }
    world.round(&worker).await;
    assert_eq!(actions(&catcher), ["trigger inc_1", "acknowledge inc_1", "resolve inc_1"]);
}

#[tokio::test]
async fn a_dead_trigger_holds_up_no_resolve() {
    let mut world = World::new();
    let catcher = fakes::pagerduty().await;
    catcher.fault("enqueue", Fault::Answer(400, r#"{"status":"invalid event"}"#));
    let worker = world.worker(&pagerduty(&catcher.url));
    world.page("pd", PageAction::Trigger, "inc_1").await;
    world.page("pd", PageAction::Resolve, "inc_1").await;
    world.round(&worker).await;
    assert_eq!(actions(&catcher), ["trigger inc_1", "resolve inc_1"]);
    assert_eq!((world.rows(WorkState::Dead).len(), world.rows(WorkState::Done).len()), (1, 1));
}

#[tokio::test]
async fn another_key_does_not_wait() {
    let mut world = World::new();
    let catcher = fakes::pagerduty().await;
    catcher.fault("enqueue", Fault::Answer(500, "{}"));
    let worker = world.worker(&pagerduty(&catcher.url));
    world.page("pd", PageAction::Trigger, "inc_1").await;
    world.round(&worker).await;
    world.page("pd", PageAction::Trigger, "inc_2").await;
    world.page("pd", PageAction::Resolve, "inc_1").await;
    world.round(&worker).await;
    assert_eq!(actions(&catcher), ["trigger inc_1", "trigger inc_2"]);
    world.settle(&worker).await;
    assert_eq!(actions(&catcher)[2..], ["trigger inc_1", "resolve inc_1"]);
}

#[tokio::test]
async fn a_row_by_itself_waits_too() {
    use model::drive::work_once;
    let mut world = World::new();
    let catcher = fakes::pagerduty().await;
    catcher.fault("enqueue", Fault::Answer(500, "{}"));
    let worker = world.worker(&pagerduty(&catcher.url));
    world.page("pd", PageAction::Trigger, "inc_1").await;
    world.page("pd", PageAction::Resolve, "inc_1").await;
    for _ in 0..20 {
        let Some(due) = world.state.next_due() else { break };
        world.state.clock().set(due.max(world.state.clock().now()));
        work_once(&*worker, &*world.state, None, world.state.clock().now()).await.unwrap();
    }
    assert_eq!(actions(&catcher), ["trigger inc_1", "trigger inc_1", "resolve inc_1"]);
}

#[tokio::test]
async fn the_rate_limit_spreads_without_counting_attempts_and_pages_go_first() {
    let mut world = World::new();
    let catcher = fakes::plain().await;
    let receivers = format!("[{{name: hook, type: webhook, url: '{}', rate_limit: {{per_second: 2, burst: 2}}}}]", catcher.url);
    let worker = world.worker(&receivers);
    for number in 0..6 {
        world.send("hook", Message::Notice(Box::new(notice(PageAction::Trigger, &format!("chat{number}")))), Lane::Chat).await;
    }
    world.round(&worker).await;
    assert_eq!(catcher.requests().len(), 2, "the burst");
    let waiting = world.rows(WorkState::Pending);
    let mut due: Vec<u64> = waiting.iter().map(|row| row.due_at.since(START).as_millis() as u64).collect();
    due.sort();
    assert_eq!(due, [500, 1000, 1500, 2000]);
    assert!(!world.state.kinds().iter().any(|event| matches!(event, EventKind::NotificationRetried { .. })), "waiting is no failure");
    world.page("hook", PageAction::Trigger, "page").await;
    world.round(&worker).await;
    world.state.clock().advance(Duration::from_millis(500));
    world.round(&worker).await;
    let keys = || -> Vec<String> { catcher.bodies("").iter().map(|body| body["groupKey"].as_str().unwrap().to_owned()).collect() };
    assert!(keys()[2].contains("page"), "{:?}", keys());
    world.settle(&worker).await;
    assert_eq!(keys().len(), 7);
    assert!(world.sent().iter().all(|event| matches!(event, EventKind::NotificationSent { attempt: 1, .. })));
    assert!(world.state.clock().now() >= START.plus(Duration::from_millis(2500)), "7 messages, 2 at once, then 2 a second");
}

#[tokio::test]
async fn a_hanging_receiver_holds_up_nobody() {
    let mut world = World::new();
    let (slow, fast) = (fakes::plain().await, fakes::pagerduty().await);
    for _ in 0..4 {
        slow.fault("", Fault::Hang);
    }
    let receivers = format!(
        "[{{name: hook, type: webhook, url: '{}', timeout: 5s}}, {{name: pd, type: pagerduty, routing_key: x, url: '{}'}}]",
        slow.url, fast.url
    );
    let config = Config { patience: model::time::Span::millis(50), per_destination: 4, ..Config::default() };
    let worker = world.worker_with(&receivers, config);
    for number in 0..8 {
        world.page("hook", PageAction::Trigger, &format!("slow{number}")).await;
    }
    world.round(&worker).await;
    world.page("pd", PageAction::Trigger, "inc_1").await;
    world.round(&worker).await;
    // A busy machine may need longer than the round waits; the webhook hangs for five seconds.
    while *worker.in_flight.borrow() > 8 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(*worker.in_flight.borrow(), 8, "all of the webhook's rows are under way still");
    assert_eq!(fast.requests().len(), 1, "the page went out while the webhook hangs");
    assert!(world.sent().iter().any(|event| matches!(event, EventKind::NotificationSent { receiver, .. } if receiver == "pd")));
    worker.drain(Duration::from_secs(30)).await;
    assert_eq!(*worker.in_flight.borrow(), 0);
    assert_eq!(slow.requests().len(), 4, "what had not begun is given back");
    assert!(world.rows(WorkState::Pending).iter().all(|row| row.lease == 0));
    assert_eq!(world.round(&worker).await, 0, "a stopping worker claims nothing");
}

#[tokio::test]
async fn a_large_backlog_is_read_once() {
    let mut world = World::new();
    let catcher = fakes::plain().await;
    let receivers = format!("[{{name: hook, type: webhook, url: '{}', rate_limit: {{per_second: 1000, burst: 1000}}}}]", catcher.url);
    let config = Config { claimed: 10, patience: model::time::Span::secs(60), ..Config::default() };
    let worker = world.worker_with(&receivers, config);
    for number in 0..60 {
        world.page("hook", PageAction::Trigger, &format!("k{number}")).await;
    }
    world.settle(&worker).await;
    assert_eq!(catcher.requests().len(), 60);
    assert_eq!(world.state.lists(), 1);
}

#[tokio::test]
async fn a_posts_wait_for_their_channel_and_the_archive_comes_last() {
    let mut world = World::new();
    let (catcher, workspace) = fakes::slack(secs(START)).await;
    world.incident(None).await;
    let worker = world.worker(&slack(&catcher.url));
    catcher.fault("conversations.create", Fault::RetryAfter(429, "3"));
    world.send("chat", chat_open(), Lane::Chat).await;
    world.send("chat", Message::ChatPost { incident: incident_id(), text: "second".into() }, Lane::Chat).await;
    world.advance(1);
    world.send("chat", Message::ChatPost { incident: incident_id(), text: "third".into() }, Lane::Page).await;
    world.advance(1);
    world.send("chat", Message::ChatArchive { incident: incident_id() }, Lane::Page).await;
    world.settle(&worker).await;
    let workspace = workspace.lock().unwrap();
    let texts: Vec<&str> = workspace.messages.iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["*CRITICAL* checkout fails", "second", "third"]);
    assert_eq!(workspace.channels[1]["is_archived"], json!(true));
    assert_eq!(workspace.channels[1]["members"], json!(["U1", "U2"]));
    let channel = "C0000002".to_owned();
    let opened = EventKind::ChatChannelOpened { receiver: "chat".into(), channel: channel.clone(), name: "incident-42".into() };
    assert!(world.state.kinds().contains(&opened));
    assert!(world.state.kinds().contains(&EventKind::ChatChannelArchived { channel }));
}

#[tokio::test]
async fn a_post_without_a_channel_is_given_up_after_a_day() {
    let mut world = World::new();
    let (catcher, _) = fakes::slack(secs(START)).await;
    world.incident(None).await;
    let worker = world.worker(&slack(&catcher.url));
    world.send("chat", Message::ChatPost { incident: incident_id(), text: "x".into() }, Lane::Chat).await;
    world.settle(&worker).await;
    assert_eq!(catcher.requests().len(), 0);
    let dead = world.rows(WorkState::Dead);
    assert_eq!(dead[0].error.as_deref(), Some("given up after 1d: the incident has no chat channel"));
    assert!(world.state.clock().now().since(START) >= Duration::from_secs(86_400));
}

#[tokio::test]
async fn a_node_that_lost_the_lead_sends_nothing() {
    let mut world = World::new();
    let catcher = fakes::pagerduty().await;
    let worker = world.worker(&pagerduty(&catcher.url));
    world.page("pd", PageAction::Trigger, "inc_1").await;
    let fence = model::state::Leases::acquire(&*world.state, "leader", "a", START, Duration::from_secs(9)).await.unwrap();
    world.state.lead(1);
    let state: Arc<dyn StateStore> = world.state.clone();
    worker.deliver_due(&state, fence.as_ref(), START).await.unwrap();
    assert_eq!(catcher.requests().len(), 0);
    assert_eq!(world.rows(WorkState::Pending).len(), 1);
}
