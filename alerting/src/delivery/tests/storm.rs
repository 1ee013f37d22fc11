//! A storm of a thousand alerts: people get few messages in which every alert is counted, a page is a page, and every row says where it
//! went.

use super::*;

fn storm_notice(number: usize) -> Message {
    let mut one = notice(PageAction::Trigger, &format!("alert-{number}"));
    let service = format!("service-{}", number % 5);
    one.severity = if number == 777 { Severity::Critical } else { Severity::Warning };
    one.alerts[0].fingerprint = format!("{number:016x}");
    one.alerts[0].labels =
        [("alertname", "Storm"), ("service_name", service.as_str()), ("severity", one.severity.as_str())].into_iter().collect();
    one.group_labels = one.alerts[0].labels.filtered(|name| name == "service_name");
    Message::Notice(Box::new(one))
}

/// How many notices a message stands for.
fn stands_for(text: &str) -> usize {
    let count = text.split_once("Digest of ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    count.unwrap_or(1)
}

const RECEIVERS: &str = "\
- { name: chat, type: slack_webhook, url: 'URL/services/T0/B0/SECRET', timeout: 2s, rate_limit: { per_second: 1, burst: 8 } }
- { name: hook, type: webhook, url: 'URL/hook', timeout: 2s, rate_limit: { per_second: 1000, burst: 1000 } }
- { name: pd, type: pagerduty, routing_key: R0UT1NGKEY, url: 'URL/pd', timeout: 2s, rate_limit: { per_second: 1000, burst: 1000 } }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_alerts_are_a_few_messages_and_every_page() {
    let mut world = World::new();
    let catcher = catcher::http::Catcher::start(|request| {
        let pagerduty = request.path.starts_with("/pd");
        (if pagerduty { 202 } else { 200 }, serde_json::json!({"status": "success", "dedup_key": "k"}))
    })
    .await;
    let worker = world.worker(&RECEIVERS.replace("URL", &catcher.url));
    let rows = (0..1_000).map(|number| ("chat", Lane::Chat, number));
    let rows = rows.chain((0..100).flat_map(|number| [("pd", Lane::Page, number), ("hook", Lane::Chat, number)]));
    let mut commit = Commit::at(START);
    for (receiver, lane, number) in rows {
        let delivery = world.delivery(receiver, storm_notice(number));
        let key = delivery.id.to_string();
        commit.schedule(&delivery.tenant.clone(), delivery.as_work(key, lane).unwrap());
    }
    world.state.commit(commit).await.unwrap();
    world.settle(&worker).await;
    assert!(world.rows(WorkState::Dead).is_empty());

    let texts: Vec<String> = catcher.bodies("/services").iter().map(ToString::to_string).collect();
    assert!(texts.len() <= 16, "{} messages", texts.len());
    assert_eq!(texts.iter().map(|text| stands_for(text)).sum::<usize>(), 1_000, "every notice counts once");
    assert!(texts.iter().any(|text| text.contains("1 critical")), "{texts:?}");
    // The first of each service goes before the digest.
    let singles = texts.iter().take_while(|text| stands_for(text) == 1).count();
    assert_eq!(singles, 5, "{texts:?}");
    // What wakes people, and what programs read, is never folded.
    assert_eq!((catcher.bodies("/pd").len(), catcher.bodies("/hook").len()), (100, 100));

    // Every row says where it went, and so does the journal.
    let rows = world.rows(WorkState::Done);
    let digest = |row: &Work| row.progress.as_ref().and_then(|note| note["digest"].as_str().map(str::to_owned));
    let folded: Vec<String> = rows.iter().filter_map(digest).collect();
    assert_eq!(folded.len(), 1_000 - singles);
    let ids: std::collections::BTreeSet<String> =
        rows.iter().filter_map(|row| row.body.read::<Delivery>().ok()).map(|delivery| delivery.id.to_string()).collect();
    assert!(folded.iter().all(|id| ids.contains(id)), "each digest is a delivery of its own");
    let noted =
        world.state.kinds().into_iter().filter(|kind| matches!(kind, EventKind::Noted { details, .. } if details.contains_key("digest")));
    assert_eq!(noted.count(), folded.len());
    assert_eq!(world.metric("watchfire_notifications_total", &[("receiver", "chat"), ("outcome", "folded")]), folded.len() as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_that_comes_slowly_is_folded_too_and_ends_with_its_triggers() {
    let mut world = World::new();
    let catcher = catcher::http::Catcher::start(|_| (200, serde_json::json!({}))).await;
    let worker = world.worker(&RECEIVERS.replace("URL", &catcher.url).replace("burst: 8", "burst: 1"));
    for second in 0..30 {
        for one in 0..5 {
            world.send("chat", storm_notice(second * 5 + one), Lane::Chat).await;
        }
        world.round(&worker).await;
        world.advance(1);
    }
    // The first 50 are over before they are told.
    for number in 0..50 {
        let Message::Notice(mut over) = storm_notice(number) else { panic!() };
        over.action = PageAction::Resolve;
        over.alerts[0].resolved = true;
        world.send("chat", Message::Notice(over), Lane::Chat).await;
    }
    world.settle(&worker).await;
    let texts: Vec<String> = catcher.bodies("/services").iter().map(ToString::to_string).collect();
    assert!(texts.len() < 60, "{} messages", texts.len());
    assert_eq!(texts.iter().map(|text| stands_for(text)).sum::<usize>(), 200, "{texts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_that_conflicts_folds_nothing_and_nothing_is_lost() {
    let mut world = World::new();
    let catcher = catcher::http::Catcher::start(|_| (200, serde_json::json!({}))).await;
    let worker = world.worker(&RECEIVERS.replace("URL", &catcher.url));
    for number in 0..50 {
        world.send("chat", storm_notice(number), Lane::Chat).await;
    }
    // Another node takes a row that this one has claimed.
    let claim = model::work::Claim { queue: model::work::Queue::Delivery, now: START, lease_for: Duration::from_secs(30), limit: 50 };
    use model::state::WorkRows;
    let rows = world.state.claim(&claim).await.unwrap();
    let mut stolen = Commit::at(START);
    stolen.change(&rows[20].tenant, model::work::WorkChange::Done { id: rows[20].id, lease: rows[20].lease });
    world.state.commit(stolen).await.unwrap();
    let state: &dyn StateStore = &*world.state;
    let jobs = worker.plan(rows, state).await.unwrap();
    let left = worker.fold(jobs, state, None, START).await.unwrap();
    assert_eq!(left.len(), 50, "all of them go on by themselves");
    assert_eq!(world.rows(WorkState::Pending).len(), 49);
    assert_eq!(catcher.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_of_a_service_jumps_the_queue() {
    let mut world = World::new();
    let catcher = catcher::http::Catcher::start(|_| (202, serde_json::json!({"status": "success", "dedup_key": "k"}))).await;
    let slow = RECEIVERS.replace("URL", &catcher.url).replace("per_second: 1000, burst: 1000", "per_second: 1, burst: 1");
    let worker = world.worker(&slow);
    for number in 0..30 {
        world.send("pd", storm_notice(number * 5), Lane::Page).await;
    }
    world.round(&worker).await;
    world.advance(3);
    world.round(&worker).await;
    world.send("pd", storm_notice(1), Lane::Page).await;
    world.settle(&worker).await;
    let keys: Vec<String> = catcher.bodies("/pd").iter().map(|body| body["dedup_key"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(keys.len(), 31, "every page");
    let place = keys.iter().position(|key| key == "alert-1").unwrap();
    assert!(place <= 5, "{keys:?}");
}
