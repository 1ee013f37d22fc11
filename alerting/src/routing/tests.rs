//! The tree in the world of rules: groups, ladders, hours, silences, maintenance, restarts.

mod between;
mod settle;

use model::event::EventKind;
use model::message::Message;
use model::state::all;

use super::group::{AlertGroup, Member};
use crate::testing::World;

const RULES: &str = "
groups:
- name: g
  rules:
  - { alert: Slow, expr: slow, labels: { severity: warning } }
  - { alert: Down, expr: down, labels: { severity: critical } }
  - { alert: Own, expr: own, labels: { severity: warning }, escalation: special }
  - { alert: Load, expr: load, thresholds: { warning: '> 1', critical: '> 5' } }
";
const LADDERS: &str = "
escalations:
- { name: page, steps: [{ after: 0s, notify: [pd] }, { after: 5m, notify: [sms] }] }
- { name: special, steps: [{ after: 0s, notify: [boss] }] }
";

fn world(config: &str) -> World {
    World::new(&format!("{LADDERS}\nincident_wait: 0s\nexternal_url: https://w.example.org\n{config}"), RULES)
}

/// Receivers and how many alerts of which state each notice is about.
fn told(world: &World) -> Vec<String> {
    let shown = |(second, delivery, action): (u64, model::message::Delivery, &str)| {
        let Message::Notice(notice) = &delivery.message else { panic!() };
        let firing = notice.alerts.iter().filter(|alert| !alert.resolved).count();
        format!("{second}s {} {action} {firing}+{}", delivery.receiver, notice.alerts.len() - firing)
    };
    world.deliveries().into_iter().map(shown).collect()
}

#[tokio::test]
async fn alerts_are_told_in_groups_when_waits_and_intervals_are_over() {
    let world =
        world("route: { receivers: [mail, chat], group_by: [alertname], group_wait: 30s, group_interval: 1m, repeat_interval: 10m }");
    world.set("slow", &[(&[("host", "a")], 1.0)]);
    world.tick().await;
    world.pass(15).await;
    world.set("slow", &[(&[("host", "a")], 1.0), (&[("host", "b")], 1.0)]);
    world.pass(25).await;
    assert_eq!(told(&world), ["30s mail trigger 2+0", "30s chat trigger 2+0"], "one notice for both");
    world.set("slow", &[(&[("host", "a")], 1.0), (&[("host", "b")], 1.0), (&[("host", "c")], 1.0)]);
    world.pass(60).await;
    assert_eq!(told(&world)[2..], ["90s mail trigger 3+0", "90s chat trigger 3+0"], "not before the interval is over");
    world.set("slow", &[(&[("host", "a")], 1.0)]);
    world.pass(60).await;
    assert_eq!(told(&world)[4..], ["150s mail trigger 1+2", "150s chat trigger 1+2"]);
    world.pass(601).await;
    assert_eq!(told(&world)[6..], ["750s mail trigger 1+0", "750s chat trigger 1+0"], "repeated");
    world.set("slow", &[]);
    world.pass(90).await;
    assert_eq!(told(&world)[8..], ["810s mail resolve 0+1", "810s chat resolve 0+1"]);
    assert!(all::<AlertGroup>(&*world.state, None, &[], 0).await.unwrap().is_empty(), "nothing is left");
    assert!(all::<Member>(&*world.state, None, &[], 0).await.unwrap().is_empty());
    let (_, delivery, _) = &world.deliveries()[0];
    let Message::Notice(notice) = &delivery.message else { panic!() };
    assert_eq!(notice.title, "2 alerts: Slow");
    assert_eq!(notice.reason, "route mail+chat: new alerts");
    assert_eq!(notice.details["group_key"], "{}:{alertname=\"Slow\"}");
}

/// The design's section 5: the first alert at once, then `group_interval`.
#[tokio::test]
async fn a_route_that_says_nothing_of_time_tells_at_once_and_of_more_a_minute_later() {
    let world = world("no_data_after: 0s\nroute: { receivers: [mail], group_by: [alertname] }");
    world.set("slow", &[(&[("host", "a")], 1.0)]);
    world.tick().await;
    assert_eq!(told(&world), ["0s mail trigger 1+0"]);
    world.set("slow", &[(&[("host", "a")], 1.0), (&[("host", "b")], 1.0)]);
    world.pass(50).await;
    assert_eq!(told(&world).len(), 1, "{:?}", told(&world));
    world.pass(3_600 * 4 + 30).await;
    assert_eq!(told(&world)[1..], ["60s mail trigger 2+0", "14460s mail trigger 2+0"]);
}

#[tokio::test]
async fn the_alert_that_made_a_group_may_leave_it_and_come_again() {
    let world = world("route: { receivers: [mail], group_by: [alertname], group_wait: 30s, group_interval: 1m, repeat_interval: 10m }");
    let fire = |hosts: &[&str]| {
        let labels: Vec<[(&str, &str); 1]> = hosts.iter().map(|host| [("host", *host)]).collect();
        world.set("slow", &labels.iter().map(|labels| (&labels[..], 1.0)).collect::<Vec<_>>());
    };
    let kept = async || {
        let groups = all::<AlertGroup>(&*world.state, None, &[], 0).await.unwrap();
        let records = all::<Member>(&*world.state, None, &[], 0).await.unwrap().len();
        (groups.iter().filter(|group| group.entity.first.is_some()).count(), records)
    };
    fire(&["a"]);
    world.tick().await;
    fire(&["a", "b"]);
    world.pass(40).await;
    assert_eq!(kept().await, (1, 1), "the first is kept in the group");
    fire(&["b"]);
    world.pass(60).await;
    assert_eq!(kept().await, (0, 1));
    fire(&["a", "b"]);
    world.pass(60).await;
    assert_eq!(kept().await, (0, 2), "the group is there already");
    fire(&[]);
    world.pass(60).await;
    assert_eq!(told(&world), ["30s mail trigger 2+0", "90s mail trigger 1+1", "150s mail trigger 2+0", "210s mail resolve 0+2"]);
    assert!(all::<AlertGroup>(&*world.state, None, &[], 0).await.unwrap().is_empty());
    assert_eq!(kept().await, (0, 0));
}

#[tokio::test]
async fn of_a_group_with_too_many_alerts_the_new_ones_are_shown() {
    let world = world("route: { receivers: [mail], group_wait: 0s, group_interval: 1m }");
    let hosts: Vec<String> = (0..1_002).map(|number| format!("h{number:04}")).collect();
    let fire = |count: usize| {
        let labels: Vec<[(&str, &str); 1]> = hosts[..count].iter().map(|host| [("host", host.as_str())]).collect();
        world.set("slow", &labels.iter().map(|labels| (&labels[..], 1.0)).collect::<Vec<_>>());
    };
    fire(1_001);
    world.tick().await;
    fire(1_002);
    world.pass(70).await;
    let newest = world.deliveries().pop().unwrap().1;
    let Message::Notice(notice) = &newest.message else { panic!() };
    assert_eq!((notice.alerts.len(), notice.details["alerts_total"].as_str()), (1_000, "1002"));
    assert!(notice.alerts.iter().any(|alert| alert.labels.get("host") == Some("h1001")), "who is told hears what is new");
}

#[tokio::test]
async fn a_restart_in_every_wait_loses_and_repeats_nothing() {
    let mut world = world("route: { receivers: [mail], group_wait: 30s, group_interval: 1m, repeat_interval: 5m }");
    world.set("slow", &[(&[("host", "a")], 1.0)]);
    world.tick().await;
    for _ in 0..40 {
        world.pass(10).await;
        world.restart();
    }
    assert_eq!(told(&world), ["30s mail trigger 1+0", "330s mail trigger 1+0"]);
    world.set("slow", &[]);
    for _ in 0..10 {
        world.restart();
        world.pass(10).await;
    }
    assert_eq!(told(&world)[2..], ["450s mail resolve 0+1"]);
}

#[tokio::test]
async fn routes_lead_to_ladders_and_rules_that_name_one_go_their_own_way() {
    let tree = "
route:
  receivers: [mail]
  group_wait: 0s
  routes:
  - { matchers: [severity=critical], escalation: page, continue: true }
  - { matchers: [team=db], receivers: [db] }
";
    let world = world(tree);
    world.set("down", &[(&[("host", "a"), ("team", "db")], 1.0)]);
    world.set("own", &[(&[("host", "a")], 1.0)]);
    world.tick().await;
    let mut first: Vec<String> = world.outbox();
    first.sort();
    assert_eq!(first, ["0s boss trigger", "0s db trigger", "0s pd trigger"]);
    world.pass(300).await;
    assert!(world.outbox().contains(&"300s sms trigger".to_owned()), "the ladder climbs: {:?}", world.outbox());
    world.act(EventKind::IncidentAcknowledged).await;
    world.set("down", &[]);
    world.pass(400).await;
    let ends: Vec<String> = world.outbox().into_iter().filter(|line| line.ends_with("resolve")).collect();
    assert!(ends.iter().any(|line| line.contains(" db ")) && ends.iter().any(|line| line.contains(" pd ")), "{ends:?}");
}

#[tokio::test]
async fn muted_hours_hold_notices_and_ladders_back_and_say_why() {
    // The world begins on 2027-01-15 at 08:00 UTC, a Friday.
    let config = "
time_intervals:
- { name: morning, time_intervals: [{ times: [{ start_time: '09:00', end_time: '09:10' }], location: Europe/Berlin }] }
route:
  receivers: [mail]
  group_wait: 0s
  routes:
  - { matchers: [alertname=Slow], mute_time_intervals: [morning], group_interval: 1m }
  - { matchers: [alertname=Down], escalation: page, mute_time_intervals: [morning] }
";
    let world = world(config);
    world.set("slow", &[(&[("host", "a")], 1.0)]);
    world.set("down", &[(&[("host", "a")], 1.0)]);
    world.tick().await;
    world.pass(599).await;
    assert_eq!(told(&world), Vec::<String>::new());
    let notes: Vec<String> = world
        .state
        .kinds()
        .into_iter()
        .filter_map(|kind| match kind {
            EventKind::Noted { text, .. } => Some(text),
            _ => None,
        })
        .collect();
    assert_eq!(
        notes,
        [
            "ladder page waits: muted by time interval morning until 2027-01-15T08:10:00Z",
            "route mail tells nobody: muted by time interval morning until 2027-01-15T08:10:00Z"
        ]
    );
    world.pass(1).await;
    let mut lines = world.outbox();
    lines.sort();
    assert_eq!(lines, ["600s mail trigger", "600s pd trigger"]);
    world.pass(301).await;
    assert!(world.outbox().contains(&"900s sms trigger".to_owned()), "{:?}", world.outbox());
}

#[tokio::test]
async fn recurring_maintenance_mutes_and_what_still_fires_is_told_at_its_end() {
    let config = "
time_intervals:
- { name: window, time_intervals: [{ times: [{ start_time: '08:05', end_time: '08:20' }] }] }
maintenance:
- { name: db-upgrade, matchers: ['team=\"db\"'], time_intervals: [window] }
route: { receivers: [mail], group_by: [host], group_wait: 0s, group_interval: 1m }
";
    let world = world(config);
    world.pass(360).await;
    world.set("slow", &[(&[("host", "a"), ("team", "db")], 1.0), (&[("host", "b")], 1.0)]);
    world.set("down", &[(&[("host", "c"), ("team", "db")], 1.0)]);
    world.pass(60).await;
    assert_eq!(told(&world), ["375s mail trigger 1+0"], "only what stands outside of it");
    let muted = world.alerts().await.iter().filter(|one| one.alert.muted).count();
    assert_eq!(muted, 2, "they are recorded and shown");
    let by: Vec<String> =
        world.state.kinds().into_iter().filter_map(|kind| if let EventKind::AlertMuted { by } = kind { Some(by) } else { None }).collect();
    assert_eq!(by, ["maintenance db-upgrade until 2027-01-15T08:20:00Z"; 2]);
    world.set("down", &[]);
    world.pass(900).await;
    assert_eq!(told(&world)[1..], ["1215s mail trigger 1+0"], "what is over by then is not told");
}

#[tokio::test]
async fn another_severity_may_be_another_route() {
    let world = world(
        "route: { receivers: [mail], group_wait: 0s, group_interval: 10s, routes: [{ matchers: [severity=critical], receivers: [pd] }] }",
    );
    world.set("load", &[(&[("host", "a")], 2.0)]);
    world.tick().await;
    assert_eq!(told(&world), ["0s mail trigger 1+0"]);
    world.set("load", &[(&[("host", "a")], 9.0)]);
    world.pass(30).await;
    let mut rest = told(&world)[1..].to_vec();
    rest.sort();
    assert_eq!(rest, ["15s pd trigger 1+0", "20s mail resolve 0+1"]);
}

/// Whoever heard that alerts fire hears, once, that somebody has them, and of the next one who takes them after they were given back.
#[tokio::test]
async fn an_acknowledgement_is_told_to_the_receivers_of_the_group() {
    let world = world("route: { receivers: [chat], group_wait: 0s, group_interval: 30s, repeat_interval: 10m }");
    world.set("slow", &[(&[("host", "a")], 1.0), (&[("host", "b")], 1.0)]);
    world.tick().await;
    world.pass(30).await;
    assert_eq!(told(&world), ["0s chat trigger 2+0"]);
    world.take(true).await;
    assert_eq!(told(&world)[1..], ["30s chat acknowledge 1+0"]);
    let (_, delivery, _) = &world.deliveries()[1];
    let Message::Notice(notice) = &delivery.message else { panic!() };
    assert_eq!((notice.reason.as_str(), notice.details["unanswered"].as_str()), ("route chat: acknowledged by ada", "1"));
    let (_, trigger, _) = &world.deliveries()[0];
    let Message::Notice(trigger) = &trigger.message else { panic!() };
    assert_eq!(notice.dedup_key, trigger.dedup_key, "it is joined to what it answers");
    assert!(crate::channels::is_partial_acknowledgement(&delivery.message), "one of two: PagerDuty would take all for acknowledged");
    world.take(false).await;
    world.pass(600).await;
    assert_eq!(told(&world)[2..], ["600s chat trigger 2+0"], "repeated, now that nobody has it");
    world.take(true).await;
    world.set("slow", &[(&[("host", "a")], 1.0)]);
    world.pass(60).await;
    let rest = told(&world)[3..].to_vec();
    assert_eq!(rest, ["630s chat acknowledge 1+0", "660s chat trigger 1+1"]);
}

/// An incident is acknowledged: one notice per group for all of its alerts; an alert that was taken for itself is not told of twice.
#[tokio::test]
async fn the_acknowledgement_of_an_incident_is_one_notice_a_group() {
    let world = world("route: { receivers: [chat], group_wait: 0s, group_interval: 30s }");
    world.set("down", &[(&[("host", "a")], 1.0), (&[("host", "b")], 1.0)]);
    world.tick().await;
    world.pass(30).await;
    assert_eq!(told(&world), ["0s chat trigger 2+0"]);
    world.take(true).await;
    world.pass(30).await;
    assert_eq!(told(&world)[1..], ["30s chat acknowledge 1+0", "30s chat acknowledge 1+0"], "the alert, then the rest of its incident");
    let (_, last, _) = world.deliveries().remove(2);
    assert!(!crate::channels::is_partial_acknowledgement(&last.message), "now all are taken");
    world.act(EventKind::IncidentUnacknowledged).await;
    world.act(EventKind::IncidentAcknowledged).await;
    assert_eq!(told(&world)[3..], ["60s chat acknowledge 2+0"]);
    world.set("down", &[]);
    world.pass(60).await;
    assert_eq!(told(&world).last().unwrap(), "90s chat resolve 0+2");
}

/// What the readers never heard of, because it was muted or came after the last notice, is not told to be taken.
#[tokio::test]
async fn nobody_hears_that_somebody_has_what_he_never_heard_of() {
    let world = world("route: { receivers: [chat], group_wait: 5m }");
    world.set("slow", &[(&[("host", "a")], 1.0)]);
    world.tick().await;
    world.take(true).await;
    world.pass(60).await;
    assert_eq!(told(&world), Vec::<String>::new());
}
