//! Large requests: durable at once, taken apart later, in order, each alert once over any end of the process.

use std::time::Duration;

use model::state::{Commit, Records};
use model::testing::Death;
use model::work::{Queue, WorkState};

use super::*;

const MANY: usize = 1_200;

fn alert(number: usize, over: bool) -> Value {
    let mut alert = json!({"labels": {"alertname": "Many", "n": number.to_string()}, "startsAt": "2026-01-15T08:00:00Z"});
    if over {
        alert["endsAt"] = json!("2026-01-15T09:00:00Z");
    }
    alert
}

fn many() -> Value {
    (0..MANY).map(|number| alert(number, false)).collect()
}

/// The records of requests that are not taken yet.
async fn left(world: &World) -> Vec<String> {
    let query = model::state::RecordQuery { kind: "received_alerts", ..Default::default() };
    world.state.find(&query).await.unwrap().into_iter().map(|record| record.id).collect()
}

fn waits(world: &World) -> usize {
    world.state.rows().iter().filter(|row| row.queue == Queue::Intake && row.state == WorkState::Pending).count()
}

#[tokio::test]
async fn a_large_request_is_one_commit_and_what_comes_after_it_counts_after_it() {
    let world = world();
    let before = world.state.commits();
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(many())).await.0, 200);
    assert_eq!((world.state.commits() - before, waits(&world), world.count("alert_fired")), (1, 1, 0));
    // An end overtakes no beginning.
    world.clock.advance(Duration::from_millis(2));
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(json!([alert(7, true)]))).await.0, 200);
    assert_eq!(world.count("alert_resolved"), 0);
    world.settle().await.unwrap();
    assert_eq!((waits(&world), world.count("alert_fired"), world.count("alert_resolved")), (0, MANY, 1));
    assert_eq!(world.alerting.shared.meters.requests.with_label_values(&["taken_apart"]).get(), 2);
    assert!(left(&world).await.is_empty());
    world.pass(2).await;
    assert_eq!(told(&world).len(), MANY - 1, "each of a group of its own; one was over before anybody was told");
    // The same again changes nothing but when they were last heard of.
    world.pass(60).await;
    post(&world, many()).await;
    assert_eq!(world.count("alert_fired"), MANY + 1, "and the one that had ended fires again");
    let (_, list) = world.ask(Method::GET, "/api/v2/alerts?filter=n%3D~%2299.%22", None).await;
    assert_eq!(list.as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn what_is_wrong_in_a_large_request_is_told_and_the_rest_is_taken() {
    let world = world();
    let mut batch = many();
    batch[3] = json!({"labels": {}});
    let (status, said) = world.ask(Method::POST, "/api/v2/alerts", Some(batch)).await;
    assert_eq!((status, said), (400, json!("at least one label pair required")));
    world.settle().await.unwrap();
    assert_eq!(world.count("alert_fired"), MANY - 1);
}

/// However it is cut.
#[tokio::test]
async fn an_alert_in_two_pieces_is_one_that_says_what_came_last() {
    // Nobody is told of these: they join no group, and nothing keeps them in one piece.
    let world = World::new("{}", "groups: []\n");
    let mut batch = many();
    batch[1_100] = alert(20, false);
    batch[1_100]["annotations"] = json!({"summary": "the last word"});
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(batch)).await.0, 200);
    let before = world.state.commits();
    world.settle().await.unwrap();
    assert_eq!((waits(&world), world.count("alert_fired"), world.count("alert_resolved")), (0, MANY - 1, 0));
    assert!(world.state.commits() >= before + 2, "more than one piece");
    let (_, list) = world.ask(Method::GET, "/api/v2/alerts?filter=n%3D%2220%22", None).await;
    let said: Vec<&Value> = list.as_array().unwrap().iter().map(|alert| &alert["annotations"]["summary"]).collect();
    assert_eq!(said, ["the last word"]);
}

#[tokio::test]
async fn whenever_the_process_ends_each_alert_is_taken_and_told_once() {
    for commit in 1..=4 {
        for death in [Death::Before(commit), Death::After(commit)] {
            let world = world();
            assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(many())).await.0, 200);
            world.state.die(death);
            let _ = world.settle().await;
            assert!(world.state.revive(), "{death:?}");
            world.pass(61).await; // the claim of the process that ended runs out
            assert_eq!((waits(&world), world.count("alert_fired"), told(&world).len()), (0, MANY, MANY), "{death:?}");
        }
    }
}

#[tokio::test]
async fn too_many_large_requests_are_refused_and_leave_nothing() {
    let world = world();
    for _ in 0..128 {
        assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(many())).await.0, 200);
    }
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(json!([alert(1, false)]))).await.0, 200, "a page waits for nobody");
    assert_eq!(world.count("alert_fired"), 1);
    let before = world.state.commits();
    let (status, said) = world.ask(Method::POST, "/api/v2/alerts", Some(json!([alert(1, true)]))).await;
    assert_eq!((status, said), (503, json!("128 large requests wait to be taken apart: send it again in a second")));
    assert_eq!(world.state.commits(), before);
    let meters = &world.alerting.shared.meters;
    let counted = ["taken", "waiting", "refused"].map(|outcome| meters.requests.with_label_values(&[outcome]).get());
    assert_eq!(counted, [1, 128, 1]);
}

#[tokio::test]
async fn who_reads_sees_what_was_sent_before() {
    let world = world();
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(many())).await.0, 200);
    let later = async {
        tokio::task::yield_now().await;
        world.settle().await.unwrap();
    };
    let ((status, list), ()) = tokio::join!(world.ask(Method::GET, "/api/v2/alerts", None), later);
    assert_eq!((status, list.as_array().unwrap().len()), (200, MANY));
}

#[tokio::test]
async fn a_row_without_its_record_is_a_dead_letter() {
    let world = world();
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(many())).await.0, 200);
    let row = world.state.rows().into_iter().find(|row| row.queue == Queue::Intake).unwrap();
    let record = world.state.get(&row.tenant, "received_alerts", &row.key).await.unwrap().unwrap();
    let mut commit = Commit::at(world.now());
    let expect = model::state::Expect::Version(record.version);
    let kind = "received_alerts";
    let (tenant, id, key, status, body) = (record.tenant, record.id, None, String::new(), None);
    commit.puts.push(model::state::Put { tenant, kind, id, key, status, expect, body });
    world.state.commit(commit).await.unwrap();
    world.settle().await.unwrap();
    let row = world.state.rows().into_iter().find(|row| row.queue == Queue::Intake).unwrap();
    assert_eq!(row.state, WorkState::Dead);
    assert!(row.error.unwrap().contains("is gone"));
}

#[tokio::test]
async fn a_request_waits_for_the_one_before_it_whoever_holds_that() {
    let world = world();
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(many())).await.0, 200);
    let claim = model::work::Claim { queue: Queue::Intake, now: world.now(), lease_for: Duration::from_secs(30), limit: 1 };
    assert_eq!(model::state::WorkRows::claim(&*world.state, &claim).await.unwrap().len(), 1, "a node that dies now");
    world.clock.advance(Duration::from_millis(2));
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(json!([alert(7, true)]))).await.0, 200);
    world.pass(20).await;
    assert_eq!((waits(&world), world.count("alert_fired")), (2, 0));
    world.pass(20).await;
    assert_eq!((waits(&world), world.count("alert_fired"), world.count("alert_resolved")), (0, MANY, 1));
}

#[tokio::test]
async fn what_waited_changes_nothing_that_was_received_after_it() {
    let world = world();
    post(&world, json!([alert(7, false)])).await;
    world.pass(1).await;
    let ends: Value = (0..MANY).map(|number| alert(number, true)).collect();
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(ends)).await.0, 200);
    world.clock.advance(Duration::from_millis(2));
    // It fires after all, and is told at once: nobody waits for what is large.
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(json!([alert(7, false), alert(8, false)]))).await.0, 200);
    assert_eq!((waits(&world), world.count("alert_fired")), (1, 2));
    world.settle().await.unwrap();
    assert_eq!((waits(&world), world.count("alert_resolved")), (0, 0));
}

#[tokio::test]
async fn a_group_is_told_whole_though_it_takes_several_commits() {
    let config = CONFIG.replace("group_by: ['...']", "group_by: [alertname]");
    let world = World::new(&config, "groups: []\n");
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(many())).await.0, 200);
    world.settle().await.unwrap();
    world.pass(2).await;
    let deliveries = world.deliveries();
    let Message::Notice(notice) = &deliveries[0].1.message else { panic!() };
    let total = notice.details.get("alerts_total").map(String::as_str);
    assert_eq!((deliveries.len(), total), (1, Some("1200")));
}
