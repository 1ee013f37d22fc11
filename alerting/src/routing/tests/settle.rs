//! Another tree while alerts fire: who should hear of them now does, within a moment, and for who no longer does they are over.

use super::super::Routing;
use super::super::group::{AlertGroup, Member};
use super::super::settle::SettledTree;
use super::{told, world};
use crate::testing::World;
use model::event::EventKind;
use model::state::all;

/// The world goes on with another tree, once all is placed by the one before.
async fn reroute(world: &World, tree: &str) {
    world.pass(2).await;
    let config: crate::Config = serde_saphyr::from_str(tree).unwrap();
    let receivers = ["mail", "chat", "db", "pd", "sms", "boss"].map(ToOwned::to_owned);
    world.alerting.reroute(Routing::of(&config).knowing(receivers));
}

fn fire(world: &World, hosts: &[&str]) {
    let labels: Vec<[(&str, &str); 1]> = hosts.iter().map(|host| [("host", *host)]).collect();
    world.set("slow", &labels.iter().map(|labels| (&labels[..], 1.0)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_new_tree_takes_the_groups_of_the_old_one_over() {
    let world = world("route: { receivers: [mail], group_wait: 30s, routes: [{ matchers: [alertname=Slow], receivers: [db] }] }");
    fire(&world, &["a"]);
    world.tick().await;
    reroute(&world, "route: { receivers: [chat], group_wait: 5s }").await;
    world.pass(40).await;
    assert_eq!(told(&world), ["17s chat trigger 1+0"], "nobody was told before: nobody hears of an end");
}

/// The first of them is kept in the group that goes, the others in records.
#[tokio::test]
async fn alerts_of_a_route_that_is_gone_are_told_elsewhere_and_are_over_where_they_were() {
    let tree =
        "route: { receivers: [mail], routes: [{ matchers: [alertname=Slow], receivers: [db], group_wait: 0s, group_interval: 30s }] }";
    let world = world(tree);
    fire(&world, &["a", "b", "c"]);
    world.tick().await;
    assert_eq!(told(&world), ["0s db trigger 3+0"]);
    reroute(&world, "route: { receivers: [chat], group_wait: 5s, group_interval: 30s, repeat_interval: 1h }").await;
    fire(&world, &["a", "b", "c", "d"]);
    world.pass(100).await;
    assert_eq!(told(&world)[1..], ["16s db resolve 0+3", "17s chat trigger 4+0"]);
    let groups = all::<AlertGroup>(&*world.state, None, &[], 0).await.unwrap();
    let members = all::<Member>(&*world.state, None, &[], 0).await.unwrap();
    assert_eq!((groups.len(), members.len()), (1, 3), "the first is kept in the group");
    fire(&world, &[]);
    world.pass(60).await;
    assert_eq!(told(&world)[3..], ["107s chat resolve 0+4"]);
}

/// A route that did not change keeps its groups wherever it stands: nobody is told anything.
#[tokio::test]
async fn a_route_beside_it_changes_nothing_for_a_group() {
    let slow = "{ matchers: [alertname=Slow], receivers: [db], group_wait: 0s, group_interval: 5m }";
    let world = world(&format!("route: {{ receivers: [mail], routes: [{slow}] }}"));
    fire(&world, &["a"]);
    world.tick().await;
    reroute(&world, &format!("route: {{ receivers: [mail], routes: [{{ matchers: [team=web], receivers: [chat] }}, {slow}] }}")).await;
    world.pass(100).await;
    assert_eq!(told(&world), ["0s db trigger 1+0"]);
    fire(&world, &[]);
    world.pass(300).await;
    assert_eq!(told(&world)[1..], ["300s db resolve 0+1"]);
}

/// A route in front takes some of the alerts of a group whose own route stays.
#[tokio::test]
async fn alerts_that_another_route_takes_now_leave_their_group() {
    let world = world("route: { receivers: [mail], group_wait: 0s }");
    fire(&world, &["a", "b"]);
    world.tick().await;
    reroute(&world, "route: { receivers: [mail], group_wait: 0s, routes: [{ matchers: [host=b], receivers: [db] }] }").await;
    world.pass(30).await;
    let mut rest = told(&world)[1..].to_vec();
    rest.sort();
    assert_eq!(rest, ["16s mail trigger 1+1", "17s db trigger 1+0"]);
}

#[tokio::test]
async fn new_receivers_of_a_route_hear_of_what_fires_and_old_ones_of_its_end() {
    let world = world("route: { receivers: [mail, pd], group_wait: 0s, repeat_interval: 10m }");
    fire(&world, &["a"]);
    world.tick().await;
    reroute(&world, "route: { receivers: [mail, chat], group_wait: 0s, repeat_interval: 10m }").await;
    world.pass(20).await;
    assert_eq!(told(&world)[2..], ["16s pd resolve 0+1", "16s chat trigger 1+0"], "mail knows of it");
    let reasons: Vec<String> = world.deliveries()[2..]
        .iter()
        .map(|(_, delivery, _)| {
            let model::message::Message::Notice(notice) = &delivery.message else { panic!() };
            notice.reason.clone()
        })
        .collect();
    assert_eq!(reasons, ["route mail+chat: it leads elsewhere now", "route mail+chat: the route leads here now"]);
    world.pass(600).await;
    assert_eq!(told(&world)[4..], ["616s mail trigger 1+0", "616s chat trigger 1+0"], "the interval is the group's");
    fire(&world, &[]);
    world.pass(300).await;
    assert_eq!(told(&world)[6..].len(), 2);
}

/// Another node took the alert in by the tree that it still has.
#[tokio::test]
async fn a_look_sends_on_what_another_node_put_into_the_wrong_group() {
    let world = world("route: { receivers: [mail], group_wait: 30s, group_interval: 10s }");
    world.tick().await;
    world.pass(5).await;
    fire(&world, &["a"]);
    world.pass(15).await;
    assert_eq!(all::<AlertGroup>(&*world.state, None, &[], 0).await.unwrap().len(), 1, "it waits to be told");
    let config: crate::Config =
        serde_saphyr::from_str("route: { receivers: [mail], routes: [{ matchers: [host=a], receivers: [db], group_wait: 0s }] }").unwrap();
    world.alerting.shared.set_routing(Routing::of(&config));
    world.pass(30).await;
    assert_eq!(told(&world), ["45s db trigger 1+0"], "nobody heard of it where it was");
}

/// A node that still has another tree leads for a moment, places an alert, and dies before it has looked at its tree.
#[tokio::test]
async fn what_a_leader_with_another_tree_placed_is_placed_anew_by_the_next() {
    let tree =
        "route: { receivers: [mail], routes: [{ matchers: [alertname=Slow], receivers: [db], group_wait: 0s, group_interval: 5s }] }";
    let world = world(tree);
    fire(&world, &["a"]);
    world.tick().await;
    world.pass(2).await;
    let routing = |tree: &str| Routing::of(&serde_saphyr::from_str::<crate::Config>(tree).unwrap());
    world.alerting.shared.set_routing(routing("route: { receivers: [mail], group_wait: 0s, group_interval: 5s }"));
    fire(&world, &["a", "b"]);
    world.pass(13).await;
    assert_eq!(told(&world), ["0s db trigger 1+0", "15s mail trigger 1+0"], "`b` went by the other tree");
    world.alerting.shared.set_routing(routing(tree));
    world.pass(30).await;
    let mut rest = told(&world)[2..].to_vec();
    rest.sort();
    assert_eq!(rest, ["17s mail resolve 0+1", "20s db trigger 2+0"]);
}

/// Somebody has it: nobody else is called. Where it is given back, they are.
#[tokio::test]
async fn new_receivers_are_not_told_of_what_somebody_has() {
    let world = world("route: { receivers: [mail], group_wait: 0s, group_interval: 10s }");
    fire(&world, &["a"]);
    world.tick().await;
    world.take(true).await;
    reroute(&world, "route: { receivers: [mail, pd], group_wait: 0s, group_interval: 10s }").await;
    world.pass(60).await;
    assert!(!told(&world).iter().any(|line| line.contains("pd trigger")), "{:?}", told(&world));
    world.take(false).await;
    world.pass(20).await;
    assert!(told(&world).iter().any(|line| line.contains("pd trigger")), "{:?}", told(&world));
}

/// What somebody has is nobody else's: they hear neither of its beginning nor of its end.
#[tokio::test]
async fn an_end_is_told_to_those_who_heard_of_the_beginning() {
    let world = world("route: { receivers: [mail], group_wait: 0s, group_interval: 10s }");
    fire(&world, &["a"]);
    world.tick().await;
    world.take(true).await;
    reroute(&world, "route: { receivers: [mail, pd], group_wait: 0s, group_interval: 10s }").await;
    world.pass(60).await;
    fire(&world, &[]);
    world.pass(60).await;
    assert_eq!(told(&world), ["0s mail trigger 1+0", "0s mail acknowledge 1+0", "76s mail resolve 0+1"]);
}

/// Nor where another alert of the group ends meanwhile.
#[tokio::test]
async fn an_end_beside_what_somebody_has_is_told_to_those_who_know_of_it() {
    let world = world("route: { receivers: [mail], group_wait: 0s, group_interval: 10s, repeat_interval: 1h }");
    fire(&world, &["a", "b"]);
    world.tick().await;
    let firing: Vec<_> = world.alerts().await.into_iter().filter(|one| one.alert.is_firing()).collect();
    for one in &firing {
        world.take_one(one.alert.id, true).await;
    }
    reroute(&world, "route: { receivers: [mail, pd], group_wait: 0s, group_interval: 10s, repeat_interval: 1h }").await;
    world.pass(30).await;
    fire(&world, &["a"]);
    world.pass(60).await;
    assert!(!told(&world).iter().any(|line| line.contains(" pd ")), "{:?}", told(&world));
    assert!(told(&world).contains(&"46s mail trigger 1+1".to_owned()), "{:?}", told(&world));
}

#[tokio::test]
async fn who_is_no_receiver_any_more_is_left_out() {
    let world = world("route: { receivers: [mail, gone], group_wait: 0s }");
    fire(&world, &["a"]);
    world.tick().await;
    reroute(&world, "route: { receivers: [mail], group_wait: 0s }").await;
    world.pass(60).await;
    assert_eq!(told(&world), ["0s mail trigger 1+0", "0s gone trigger 1+0"], "a dead letter would help nobody");
}

/// Hours that are taken out hold nothing back any more.
#[tokio::test]
async fn what_muted_hours_held_back_is_told_when_they_are_taken_out() {
    let tree = |hours: &str| {
        format!(
            "time_intervals: [{{ name: morning, time_intervals: [{{ times: [{{ start_time: '08:00', end_time: '12:00' }}] }}] }}]\n\
             route: {{ receivers: [mail], routes: [{{ matchers: [alertname=Slow], receivers: [chat], group_wait: 0s{hours} }}] }}"
        )
    };
    let world = world(&tree(", mute_time_intervals: [morning]"));
    fire(&world, &["a"]);
    world.tick().await;
    reroute(&world, &tree("")).await;
    world.pass(90).await;
    assert_eq!(told(&world), ["16s chat trigger 1+0"], "not at noon");
}

/// In muted hours nobody is called; when they are over, both sides hear.
#[tokio::test]
async fn the_hours_of_the_route_hold_for_new_receivers() {
    let hours = "time_intervals: [{ name: morning, time_intervals: [{ times: [{ start_time: '08:00', end_time: '08:10' }] }] }]";
    let world = world("route: { receivers: [mail], routes: [{ matchers: [alertname=Slow], receivers: [db], group_wait: 0s }] }");
    fire(&world, &["a"]);
    world.tick().await;
    let tree = "route: { receivers: [mail], routes: [{ matchers: [alertname=Slow], receivers: [chat], mute_time_intervals: [morning], group_wait: 0s, group_interval: 1m }] }";
    reroute(&world, &format!("{hours}\n{tree}")).await;
    world.pass(590).await;
    assert_eq!(told(&world), ["0s db trigger 1+0"]);
    world.pass(90).await;
    assert_eq!(told(&world)[1..], ["616s db resolve 0+1", "616s chat trigger 1+0"]);
}

#[tokio::test]
async fn a_ladder_that_the_new_tree_wants_begins_once() {
    let world = world("route: { receivers: [mail], group_wait: 0s }");
    world.set("down", &[(&[("host", "a")], 1.0), (&[("host", "b")], 1.0)]);
    fire(&world, &["a"]);
    world.tick().await;
    let tree = "escalations:\n- { name: page, steps: [{ after: 0s, notify: [pd] }, { after: 5m, notify: [sms] }] }\nroute: { receivers: [mail], group_wait: 0s, routes: [{ matchers: [alertname=Down], escalation: page }] }";
    for _ in 0..3 {
        reroute(&world, tree).await;
        world.pass(30).await;
    }
    let paged: Vec<String> = world.outbox().into_iter().filter(|line| line.contains(" pd ") || line.contains(" sms ")).collect();
    assert_eq!(paged, ["16s pd trigger"], "one incident, one ladder");
    world.pass(301).await;
    assert!(world.outbox().contains(&"316s sms trigger".to_owned()), "{:?}", world.outbox());
    world.act(EventKind::IncidentAcknowledged).await;
    reroute(&world, &tree.replace("Down", "Slow")).await;
    world.pass(30).await;
    let paged: Vec<String> = world.outbox().into_iter().filter(|line| line.ends_with("pd trigger")).collect();
    assert_eq!(paged.len(), 2, "the alert that is of no incident climbs for itself");
}

/// What fires was placed when the process ended: another file at the next start leads it elsewhere, and the same one says nothing.
#[tokio::test]
async fn a_restart_with_another_tree_places_what_fires_and_with_the_same_nothing() {
    let mut world = world("route: { receivers: [mail], group_wait: 0s }");
    fire(&world, &["a"]);
    world.tick().await;
    world.restart();
    world.pass(60).await;
    assert_eq!(told(&world), ["0s mail trigger 1+0"]);
    let commits = world.state.commits();
    world.restart();
    world.evaluate().await.unwrap();
    world.settle().await.unwrap();
    assert_eq!(world.state.commits(), commits, "one look at one record");
    world.restart();
    reroute(&world, "route: { receivers: [chat], group_wait: 0s }").await;
    world.pass(20).await;
    assert_eq!(told(&world)[1..], ["76s mail resolve 0+1", "76s chat trigger 1+0"]);
    let settled = all::<SettledTree>(&*world.state, None, &[], 0).await.unwrap();
    assert_eq!(settled.len(), 1);
}

/// More than are taken at once, with ends and restarts in between: all are told in one notice, and once.
#[tokio::test]
async fn a_thousand_alerts_are_placed_in_pages() {
    let mut world =
        world("route: { receivers: [mail], routes: [{ matchers: [alertname=Slow], receivers: [db], group_by: [host], group_wait: 0s }] }");
    let hosts: Vec<String> = (0..600).map(|number| format!("h{number:04}")).collect();
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    fire(&world, &names);
    world.tick().await;
    world.pass(1).await;
    assert_eq!(told(&world).len(), 600);
    reroute(&world, "route: { receivers: [chat], group_wait: 1s }").await;
    world.pass(14).await;
    world.restart();
    reroute(&world, "route: { receivers: [chat], group_wait: 1s }").await;
    world.pass(60).await;
    let rest = told(&world)[600..].to_vec();
    assert_eq!(rest.iter().filter(|line| **line == "16s db resolve 0+1").count(), 600);
    assert_eq!(rest.iter().filter(|line| line.contains("chat")).collect::<Vec<_>>(), ["17s chat trigger 600+0"]);
    assert_eq!(all::<AlertGroup>(&*world.state, None, &[], 0).await.unwrap().len(), 1);
}

/// Another process, with a tree of its own and without the lead, takes alerts in; then all goes on.
async fn taken_in_by_a_follower(world: &mut World, tree: &str, alerts: serde_json::Value) {
    let other = world.another();
    other.shared.set_routing(Routing::of(&serde_saphyr::from_str::<crate::Config>(tree).unwrap()));
    let leader = std::mem::replace(&mut world.alerting, other);
    assert_eq!(world.ask(axum::http::Method::POST, "/api/v2/alerts", Some(alerts)).await.0, 200);
    world.alerting = leader;
    world.pass(10).await;
}

/// A node that does not lead has an older file: by it nobody hears of these alerts, or others do. The leader's receivers hear all the same.
#[tokio::test]
async fn alerts_that_a_node_with_another_tree_takes_in_are_placed_by_the_leaders() {
    let others = |fields: &str| {
        format!("route: {{ receivers: [mail], routes: [{{ matchers: [alertname=Others], group_by: [n], group_wait: 0s, {fields} }}] }}")
    };
    for (theirs, first) in [("receivers: []", None), ("receivers: [chat]", Some("2s chat trigger 1+0"))] {
        let mut world = world(&others("receivers: [db]"));
        world.tick().await;
        world.pass(2).await;
        let alerts = serde_json::json!([{"labels": {"alertname": "Others", "n": "1"}}]);
        taken_in_by_a_follower(&mut world, &others(theirs), alerts.clone()).await;
        let told = told(&world);
        assert_eq!(told.first().map(String::as_str).filter(|line| line.contains("chat")), first, "{told:?}");
        assert!(told.iter().any(|line| line.ends_with("db trigger 1+0")), "{told:?}");
        let rows = rows(&world).await;
        taken_in_by_a_follower(&mut world, &others(theirs), alerts).await;
        assert_eq!(self::rows(&world).await, rows, "it is known: nothing is placed");
    }
}

/// How many rows have placed anything anew.
async fn rows(world: &World) -> usize {
    let query = model::work::WorkQuery { queue: Some(model::work::Queue::Alerting), limit: 100_000, ..Default::default() };
    let rows = model::state::WorkRows::list(&*world.state, &query).await.unwrap();
    rows.into_iter().filter(|row| row.key.starts_with("settle/")).count()
}

/// Rules are read again and again while what fires is placed: the rows that were at it end, and new ones begin.
#[tokio::test]
async fn only_the_newest_rows_place_what_fires() {
    let mut world = world("route: { receivers: [mail], group_by: [host], group_wait: 0s }");
    let hosts: Vec<String> = (0..600).map(|number| format!("h{number:04}")).collect();
    fire(&world, &hosts.iter().map(String::as_str).collect::<Vec<_>>());
    world.tick().await;
    world.pass(2).await;
    let before = rows(&world).await;
    let config: crate::Config = serde_saphyr::from_str("route: { receivers: [chat], group_by: [host], group_wait: 0s }").unwrap();
    world.alerting.reroute(Routing::of(&config));
    for _ in 0..4 {
        world.evaluate().await.unwrap();
        world.reload(super::RULES);
    }
    world.evaluate().await.unwrap();
    world.pass(4).await;
    assert_eq!(rows(&world).await - before, 4 + 6, "four that ended at once, three pages of alerts and three of groups");
    assert_eq!(told(&world).iter().filter(|line| line.ends_with("chat trigger 1+0")).count(), 600);
}

#[tokio::test]
async fn a_route_that_tells_no_ends_tells_none_when_it_is_gone() {
    let world = world(
        "route: { receivers: [mail], routes: [{ matchers: [alertname=Slow], receivers: [db], group_wait: 0s, send_resolved: false }] }",
    );
    fire(&world, &["a"]);
    world.tick().await;
    reroute(&world, "route: { receivers: [chat], group_wait: 0s }").await;
    world.pass(30).await;
    assert_eq!(told(&world), ["0s db trigger 1+0", "17s chat trigger 1+0"]);
}

const PAGES: &str = "escalations:
- { name: page, steps: [{ after: 0s, notify: [pd] }, { after: 5m, notify: [sms] }] }
- { name: calls, steps: [{ after: 0s, notify: [boss] }] }
time_intervals:
- { name: morning, time_intervals: [{ times: [{ start_time: '08:00', end_time: '08:30' }] }] }
- { name: forenoon, time_intervals: [{ times: [{ start_time: '08:00', end_time: '12:00' }] }] }
";

fn leads_to(ladder: &str) -> String {
    format!("{PAGES}route: {{ receivers: [mail], group_wait: 0s, routes: [{{ matchers: [alertname=Down], escalation: {ladder} }}] }}")
}

fn calls(world: &World, receiver: &str) -> Vec<String> {
    world.outbox().into_iter().filter(|line| line.contains(&format!(" {receiver} trigger"))).collect()
}

/// The tree changes while nobody is to be paged, because somebody has the alert, its incident, or it is muted.
#[tokio::test]
async fn a_ladder_that_the_new_tree_wants_begins_when_what_it_is_about_is_given_back_or_heard_again() {
    for (incidents, way) in [(false, "alert"), (true, "incident"), (false, "silence"), (true, "silence")] {
        let mut world = World::new(&format!("incident_wait: 0s\n{}", leads_to("page")), super::RULES);
        world.incidents = incidents;
        world.set("down", &[(&[("service", "shop")], 1.0)]);
        world.tick().await;
        assert_eq!(calls(&world, "pd"), ["0s pd trigger"]);
        match way {
            "alert" => world.take(true).await,
            "incident" => world.act(EventKind::IncidentAcknowledged).await,
            _ => world.silence(world.now(), world.now().plus(std::time::Duration::from_secs(60))).await,
        }
        world.pass(15).await;
        reroute(&world, &leads_to("calls")).await;
        world.pass(30).await;
        assert_eq!(calls(&world, "boss").len(), 0, "{way}");
        match way {
            "alert" => world.take(false).await,
            "incident" => world.act(EventKind::IncidentUnacknowledged).await,
            _ => {}
        }
        world.pass(30).await;
        assert_eq!(calls(&world, "boss").len(), 1, "{way}: {:?}", world.outbox());
        let went_on = if way == "silence" { calls(&world, "sms").len() } else { calls(&world, "pd").len() - 1 };
        assert_eq!(went_on, 1, "{way}: the one that climbed goes on");
    }
}

/// While somebody has an incident the tree changes: its alerts want ladders of their own now, and each of those begins.
#[tokio::test]
async fn each_ladder_that_the_new_tree_wants_begins_when_an_incident_is_given_back() {
    let texts = "- { name: texts, steps: [{ after: 0s, notify: [chat] }] }\n- { name: calls";
    let (before, texts) = (leads_to("page").replace("- { name: calls", texts), PAGES.replace("- { name: calls", texts));
    let world = World::new(&format!("incident_wait: 0s\n{before}"), super::RULES);
    world.set("down", &[(&[("service", "shop")], 1.0), (&[("service", "cart")], 1.0)]);
    world.tick().await;
    assert_eq!(calls(&world, "pd"), ["0s pd trigger"]);
    world.act(EventKind::IncidentAcknowledged).await;
    let routes = "[{ matchers: [service=shop], escalation: calls }, { matchers: [service=cart], escalation: texts }]";
    reroute(&world, &format!("{texts}route: {{ receivers: [mail], group_wait: 0s, routes: {routes} }}")).await;
    world.pass(30).await;
    assert_eq!((calls(&world, "boss").len(), calls(&world, "chat").len()), (0, 0), "somebody has it");
    world.act(EventKind::IncidentUnacknowledged).await;
    world.pass(30).await;
    assert_eq!((calls(&world, "boss").len(), calls(&world, "chat").len()), (1, 1), "{:?}", world.outbox());
}

/// The tree comes to want a ladder before the incident of what just fired has opened: one ladder for all of it, not one each.
#[tokio::test]
async fn a_ladder_that_the_new_tree_wants_waits_for_the_incident() {
    let mut world = World::new(&format!("incident_wait: 60s\n{PAGES}route: {{ receivers: [mail], group_wait: 0s }}"), super::RULES);
    world.incidents = false;
    world.set("down", &[(&[("service", "shop")], 1.0), (&[("service", "cart")], 1.0)]);
    world.tick().await;
    reroute(&world, &leads_to("page")).await;
    world.pass(30).await;
    assert!(calls(&world, "pd").is_empty(), "{:?}", world.outbox());
    world.incidents = true;
    world.pass(60).await;
    assert_eq!(calls(&world, "pd").len(), 1, "{:?}", world.outbox());
}

/// Two trees in turn: the ladder that gave way to another one is wanted again.
#[tokio::test]
async fn a_ladder_that_gave_way_begins_again_when_the_tree_wants_it_again() {
    let mut world = World::new(&format!("incident_wait: 0s\n{}", leads_to("page")), super::RULES);
    world.incidents = false;
    world.set("down", &[(&[("service", "shop")], 1.0)]);
    world.tick().await;
    reroute(&world, &leads_to("calls")).await;
    world.pass(13).await;
    world.incidents = true;
    world.set("down", &[(&[("service", "shop")], 1.0), (&[("service", "cart")], 1.0)]);
    world.pass(30).await;
    let gave_way =
        |runs: &[crate::ladder::LadderRun]| runs.iter().any(|run| matches!(run.status, crate::ladder::LadderStatus::Stopped { .. }));
    assert!(gave_way(&world.runs().await), "{:?}", world.runs().await);
    let before = calls(&world, "pd").len();
    reroute(&world, &leads_to("page")).await;
    world.pass(30).await;
    assert!(calls(&world, "pd").len() > before, "{:?}", world.outbox());
}

/// A ladder waits for the hours of its route. Other hours, or the same name for other ones: it waits for those.
#[tokio::test]
async fn a_ladder_waits_for_the_hours_that_its_route_has_now() {
    let hours = |name: &str| leads_to("page").replace("escalation: page", &format!("escalation: page, mute_time_intervals: [{name}]"));
    let earlier = hours("forenoon").replace("12:00", "08:20");
    for (then, at) in [(leads_to("page"), 16), (hours("morning"), 1800), (earlier, 1200), (hours("forenoon"), 14400)] {
        let world = World::new(&format!("incident_wait: 0s\n{}", hours("forenoon")), super::RULES);
        world.set("down", &[(&[("service", "shop")], 1.0)]);
        world.tick().await;
        reroute(&world, &then).await;
        world.pass(30).await;
        world.clock.advance(std::time::Duration::from_secs(at.max(32) - 32));
        world.settle().await.unwrap();
        assert_eq!(calls(&world, "pd"), [format!("{at}s pd trigger")]);
        world.pass(301).await;
        assert_eq!(calls(&world, "sms").len(), 1, "{:?}", world.outbox());
    }
}

/// The hours of one alert's route do not hold back what another one of its incident wants at once.
#[tokio::test]
async fn what_joins_an_incident_without_hours_does_not_wait_for_those_of_the_others() {
    let tree = leads_to("page").replace("escalation: page", "escalation: page, mute_time_intervals: [forenoon]");
    let rules = super::RULES
        .replace("escalation: special", "escalation: page")
        .replace("expr: own, labels: { severity: warning }", "expr: own, labels: { severity: critical }");
    let world = World::new(&format!("incident_wait: 0s\n{tree}"), &rules);
    world.set("down", &[(&[("service", "shop")], 1.0)]);
    world.tick().await;
    world.pass(20).await;
    assert_eq!(calls(&world, "pd").len(), 0);
    world.set("own", &[(&[("service", "shop")], 1.0)]);
    world.pass(10).await;
    assert_eq!(calls(&world, "pd"), ["30s pd trigger"], "{:?}", world.outbox());
}
