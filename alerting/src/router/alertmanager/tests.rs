//! Alertmanager's API and PagerDuty's events over a world: what comes in, what is shown, what is told.

mod ahead;
mod large;

use axum::http::Method;
use model::message::{Message, NoticeAlert};
use model::state::all;
use serde_json::{Value, json};

use crate::routing::group::AlertGroup;
use crate::testing::{World, labels};

const CONFIG: &str = "
route: { receivers: [mail], group_by: ['...'], group_wait: 0s, group_interval: 10s, routes: [{ matchers: [team=db], receivers: [db, chat], name: databases }] }
inhibit_rules: [{ source_matchers: [severity=critical], target_matchers: [severity=warning], equal: [host] }]
";

fn world() -> World {
    World::new(CONFIG, "groups: []\n")
}

async fn post(world: &World, alerts: Value) {
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(alerts)).await.0, 200);
    world.settle().await.unwrap();
}

fn told(world: &World) -> Vec<String> {
    let shown = |(second, delivery, action): (u64, model::message::Delivery, &str)| {
        let Message::Notice(notice) = &delivery.message else { panic!() };
        format!("{second}s {} {action} {}", delivery.receiver, notice.alerts[0].labels.get("alertname").unwrap_or("-"))
    };
    world.deliveries().into_iter().map(shown).collect()
}

#[test]
fn fingerprints_are_alertmanagers() {
    // From Alertmanager 0.25 itself.
    assert_eq!(labels(&[]).alertmanager_fingerprint(), "cbf29ce484222325");
    assert_eq!(labels(&[("a", "b")]).alertmanager_fingerprint(), "d2b371819297f98a");
    assert_ne!(labels(&[("a", "bc")]).alertmanager_fingerprint(), labels(&[("ab", "c")]).alertmanager_fingerprint());
}

#[tokio::test]
async fn alerts_come_again_end_and_time_out() {
    let world = world();
    let alert = |ends: Option<String>| {
        let mut alert = json!({"startsAt": "0001-01-01T00:00:00.000Z", "endsAt": "0001-01-01T00:00:00Z", "labels": {"alertname": "Down", "host": "a", "empty": ""}, "annotations": {"summary": "a is down"}, "generatorURL": "http://p/graph"});
        if let Some(ends) = ends {
            alert["endsAt"] = ends.into();
        }
        json!([alert])
    };
    post(&world, alert(None)).await;
    assert_eq!(told(&world), ["0s mail trigger Down"]);
    world.pass(200).await;
    post(&world, alert(None)).await;
    world.pass(290).await;
    assert_eq!(world.count("alert_fired"), 1, "the same labels are the same alert");
    assert_eq!(world.count("alert_resolved"), 0, "sent again within five minutes");
    world.pass(20).await;
    assert_eq!(world.count("alert_resolved"), 1, "nobody sends it any more");
    assert_eq!(told(&world)[1..].len(), 1);
    post(&world, alert(None)).await;
    world.pass(5).await;
    post(&world, alert(Some(world.now().rfc3339()))).await;
    world.pass(20).await;
    assert_eq!((world.count("alert_fired"), world.count("alert_resolved")), (2, 2), "a new one, ended by its sender");
    let (_, list) = world.ask(Method::GET, "/api/v2/alerts", None).await;
    assert_eq!(list, json!([]));
}

#[tokio::test]
async fn what_is_wrong_is_told_and_the_rest_is_taken() {
    let world = world();
    let bad = json!([{"labels": {}}, {"labels": {"alertname": "Good"}}, {"labels": {"a": "b"}, "startsAt": "2027-01-15T09:00:00Z", "endsAt": "2027-01-15T08:00:00Z"}]);
    let (status, said) = world.ask(Method::POST, "/api/v2/alerts", Some(bad)).await;
    assert_eq!((status, said), (400, json!("at least one label pair required; start time must be before end time")));
    assert_eq!(world.count("alert_fired"), 1);
    let (status, _) = world.ask(Method::POST, "/api/v2/alerts", Some(json!({"labels": {}}))).await;
    assert_eq!(status, 400);
    for path in ["/api/v2/alerts?filter=a~b", "/api/v2/alerts?active=maybe", "/api/v2/alerts?receiver=("] {
        assert_eq!(world.ask(Method::GET, path, None).await.0, 400, "{path}");
    }
}

#[tokio::test]
async fn a_hundred_alerts_are_one_commit() {
    let world = world();
    let batch: Vec<Value> = (0..100).map(|n| json!({"labels": {"alertname": "Many", "n": n.to_string()}})).collect();
    let before = world.state.commits();
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(json!(batch))).await.0, 200);
    assert_eq!(world.state.commits() - before, 1);
    assert_eq!(world.count("alert_fired"), 100);
    world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(json!(batch))).await.0, 200);
    assert_eq!(world.state.commits() - before, 2);
    assert_eq!(world.count("alert_fired"), 100);
    let (_, list) = world.ask(Method::GET, "/api/v2/alerts?filter=n%3D~%229.%22", None).await;
    assert_eq!(list.as_array().unwrap().len(), 10);
}

/// The first is kept in the group, which was told of in the commit that made it.
#[tokio::test]
async fn the_first_alert_of_a_group_that_was_told_at_once_ends_before_the_others() {
    let world = World::new("route: { receivers: [mail], group_by: [alertname], group_wait: 0s, group_interval: 10s }", "groups: []\n");
    let alert = |host: &str, ends: Option<String>| {
        let mut alert = json!({"labels": {"alertname": "Down", "host": host}});
        if let Some(ends) = ends {
            alert["endsAt"] = ends.into();
        }
        alert
    };
    let told = || -> Vec<String> {
        let shown = |(second, delivery, action): (u64, model::message::Delivery, &str)| {
            let Message::Notice(notice) = &delivery.message else { panic!() };
            let host = |alert: &NoticeAlert| format!("{}{}", if alert.resolved { "-" } else { "+" }, alert.labels.get("host").unwrap());
            let mut hosts: Vec<String> = notice.alerts.iter().map(host).collect();
            hosts.sort();
            format!("{second}s {action} {}", hosts.join(" "))
        };
        world.deliveries().into_iter().map(shown).collect()
    };
    post(&world, json!([alert("a", None), alert("b", None), alert("c", None)])).await;
    assert_eq!(told(), ["0s trigger +a +b +c"]);
    post(&world, json!([alert("a", Some(world.now().rfc3339()))])).await;
    world.pass(10).await;
    assert_eq!(told()[1..], ["10s trigger +b +c -a"]);
    post(&world, json!([alert("a", None)])).await;
    world.pass(10).await;
    assert_eq!(told()[2..], ["20s trigger +a +b +c"], "it came again, into a group that has others");
    let ends = Some(world.now().rfc3339());
    post(&world, json!([alert("a", ends.clone()), alert("b", ends.clone()), alert("c", ends)])).await;
    world.pass(10).await;
    assert_eq!(told().len(), 4);
    assert!(all::<AlertGroup>(&*world.state, None, &[], 0).await.unwrap().is_empty(), "nothing is left");
}

#[tokio::test]
async fn what_comes_together_with_what_mutes_it_is_told_to_nobody() {
    let world = world();
    let one = |name: &str, host: &str, severity: &str| json!({"labels": {"alertname": name, "host": host, "severity": severity}});
    let both = json!([one("W", "a", "warning"), one("C", "a", "critical"), one("W", "b", "warning")]);
    post(&world, both.clone()).await;
    world.pass(2).await;
    let mut first = told(&world);
    first.sort();
    assert_eq!(first, ["0s mail trigger C", "0s mail trigger W"], "one W has another host");
    // Sent again, everything is as it was; what is new is muted by what came before.
    post(&world, both).await;
    post(&world, json!([one("X", "a", "warning")])).await;
    world.pass(2).await;
    assert_eq!((told(&world).len(), world.count("alert_muted"), world.count("alert_unmuted")), (2, 2, 0));
    // Its source ends in the very request that brings it.
    let mut over = one("C", "a", "critical");
    over["endsAt"] = world.now().rfc3339().into();
    post(&world, json!([over, one("Y", "a", "warning")])).await;
    assert!(told(&world).contains(&"4s mail trigger Y".to_owned()), "{:?}", told(&world));
}

#[tokio::test]
async fn silences_and_other_alerts_mute_and_say_so() {
    let world = world();
    let until = world.now().plus(std::time::Duration::from_secs(100)).rfc3339();
    let silence = json!({"matchers": [{"name": "host", "value": "b", "isRegex": false}], "startsAt": world.now().rfc3339(), "endsAt": until, "createdBy": "ann", "comment": "upgrade"});
    let (status, made) = world.ask(Method::POST, "/api/v2/silences", Some(silence.clone())).await;
    assert_eq!(status, 200);
    let id = made["silenceID"].as_str().unwrap().to_owned();
    post(
        &world,
        json!([
            {"labels": {"alertname": "W", "host": "a", "severity": "warning"}},
            {"labels": {"alertname": "W", "host": "b", "severity": "warning"}},
            {"labels": {"alertname": "D", "team": "db", "host": "c", "severity": "info"}},
        ]),
    )
    .await;
    world.pass(2).await;
    let mut first = told(&world);
    first.sort();
    assert_eq!(first, ["0s chat trigger D", "0s db trigger D", "0s mail trigger W"]);
    post(&world, json!([{"labels": {"alertname": "C", "host": "a", "severity": "critical"}}])).await;
    world.pass(2).await;
    let (_, list) = world.ask(Method::GET, "/api/v2/alerts", None).await;
    let shown: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let by = |key: &str| one["status"][key].as_array().unwrap().len();
            format!(
                "{}{} {} {}/{} {}",
                one["labels"]["alertname"].as_str().unwrap(),
                one["labels"]["host"].as_str().unwrap(),
                one["status"]["state"].as_str().unwrap(),
                by("silencedBy"),
                by("inhibitedBy"),
                one["receivers"][0]["name"].as_str().unwrap()
            )
        })
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    assert_eq!(shown, ["Ca active 0/0 mail", "Dc active 0/0 databases", "Wa suppressed 0/1 mail", "Wb suppressed 1/0 mail"]);
    let by: Vec<String> = world
        .state
        .kinds()
        .into_iter()
        .filter_map(|kind| if let model::event::EventKind::AlertMuted { by } = kind { Some(by) } else { None })
        .collect();
    assert_eq!(by.len(), 2);
    assert!(by[0].starts_with("silence sil_") && by[0].ends_with(&format!("until {until}")) && by[1] == "alert C", "{by:?}");
    for (query, count) in [
        ("silenced=false", 3),
        ("inhibited=false", 3),
        ("active=false", 2),
        ("receiver=data.*", 1),
        ("filter=host%3D%22a%22&filter=alertname%21%3DC", 1),
    ] {
        let (_, list) = world.ask(Method::GET, &format!("/api/v2/alerts?{query}"), None).await;
        assert_eq!(list.as_array().unwrap().len(), count, "{query}");
    }
    let (_, groups) = world.ask(Method::GET, "/api/v2/alerts/groups", None).await;
    assert_eq!(groups.as_array().unwrap().len(), 4);
    assert!(groups.as_array().unwrap().iter().all(|group| group["alerts"].as_array().unwrap().len() == 1));
    // The silence ends: what it kept quiet is told.
    let (_, shown) = world.ask(Method::GET, &format!("/api/v2/silence/{id}"), None).await;
    assert_eq!(
        (&shown["status"]["state"], &shown["createdBy"], &shown["matchers"][0]["isEqual"]),
        (&json!("active"), &json!("ann"), &json!(true))
    );
    world.pass(110).await;
    assert!(told(&world).iter().any(|line| line == "110s mail trigger W"), "{:?}", told(&world));
    let (status, _) = world.ask(Method::DELETE, &format!("/api/v2/silence/{id}"), None).await;
    assert_eq!(status, 200, "it is over already, which is no error there either");
}

#[tokio::test]
async fn silences_are_changed_as_alertmanager_changes_them() {
    let world = world();
    let at = |seconds: u64| world.now().plus(std::time::Duration::from_secs(seconds)).rfc3339();
    let body = |id: Option<&str>, value: &str, end: String| json!({"id": id, "matchers": [{"name": "host", "value": value, "isRegex": true}], "startsAt": at(0), "endsAt": end, "createdBy": "ann", "comment": "x"});
    let make = async |body| world.ask(Method::POST, "/api/v2/silences", Some(body)).await;
    let (_, first) = make(body(None, "b.+", at(60))).await;
    let first = first["silenceID"].as_str().unwrap().to_owned();
    let (_, same) = make(body(Some(&first), "b.+", at(120))).await;
    assert_eq!(same["silenceID"], first.as_str(), "a longer one is the same one");
    let (_, other) = make(body(Some(&first), "c.+", at(120))).await;
    assert_ne!(other["silenceID"], first.as_str());
    let (_, list) = world.ask(Method::GET, "/api/v2/silences", None).await;
    let states: Vec<&str> = list.as_array().unwrap().iter().map(|one| one["status"]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["active", "expired"]);
    assert_eq!(make(body(None, ".*", at(0))).await.0, 400);
    assert_eq!(make(body(Some("00000000-0000-7000-8000-000000000000"), "b.+", at(60))).await.0, 404);
    assert_eq!(world.ask(Method::GET, "/api/v2/silence/nonsense", None).await.0, 422);
    let (status, _) = world.ask(Method::DELETE, &format!("/api/v2/silence/{}", other["silenceID"].as_str().unwrap()), None).await;
    assert_eq!(status, 200);
}

fn silence(matchers: Value, end: &str) -> Value {
    json!({"matchers": matchers, "startsAt": "2026-01-01T00:00:00Z", "endsAt": end, "createdBy": "ann", "comment": "x"})
}

/// `amtool silence expire $(amtool silence query -q service!=shop)` must not end silences that do not speak of the service.
#[tokio::test]
async fn a_filter_finds_silences_by_their_very_matchers() {
    let world = world();
    let own = [
        json!([{"name": "host", "value": "b.+", "isRegex": true}]),
        json!([{"name": "env", "value": "prod", "isRegex": false, "isEqual": false}]),
        json!([{"name": "host", "value": "b", "isRegex": false, "isEqual": null}]),
    ];
    for matchers in own {
        let (status, said) = world.ask(Method::POST, "/api/v2/silences", Some(silence(matchers, "9999-12-31T23:59:59Z"))).await;
        assert_eq!(status, 200, "{said}");
    }
    for (filter, found) in [
        ("host%3D~%22b.%2B%22", 1),
        ("host%3D%22b%22", 1),
        ("env!%3Dprod", 1),
        ("env%3Dprod", 0),
        ("host%3D~%22.*%22", 0),
        ("service!%3D%22shop%22", 0),
        ("service!~%22shop%22", 0),
    ] {
        let (_, list) = world.ask(Method::GET, &format!("/api/v2/silences?filter={filter}"), None).await;
        assert_eq!(list.as_array().unwrap().len(), found, "{filter}: {list}");
    }
}

#[tokio::test]
async fn a_silence_ends_once_and_is_no_error_the_second_time() {
    let world = world();
    let matchers = json!([{"name": "host", "value": "b", "isRegex": false}]);
    let (_, made) = world.ask(Method::POST, "/api/v2/silences", Some(silence(matchers, "9999-12-31T23:59:59Z"))).await;
    let path = format!("/api/v2/silence/{}", made["silenceID"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(world.ask(Method::DELETE, &path, None).await.0, 200);
    }
    assert_eq!(world.count("silence_expired"), 1);
}

#[tokio::test]
async fn what_looks_for_something_absent_may_be_silenced_and_nothing_at_all_may_not() {
    let world = world();
    for (op, value, status) in [("!=", "prod", 201), ("!~", "prod|stage", 201), ("=~", ".*", 400), ("=", "", 400)] {
        let body = json!({"matchers": [{"name": "env", "op": op, "value": value}], "duration": "1h", "comment": "x"});
        assert_eq!(world.ask(Method::POST, "/api/watchfire/v1/silences", Some(body)).await.0, status, "env{op}{value}");
    }
}

#[tokio::test]
async fn what_other_clients_write_is_read_as_there() {
    let world = world();
    let far = json!([{"labels": {"alertname": "Far", "host": "f"}, "endsAt": "9999-12-31T23:59:59Z"}]);
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(far)).await.0, 200, "for ever is an end too");
    let nameless = json!([{"labels": {"alertname": "Nameless", "": "x"}}]);
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(nameless)).await.0, 400);
    for (query, found) in
        [("active=1&silenced=False&inhibited=TRUE", 1), ("active=&receiver=&unprocessed=t", 1), ("active=off", 0), ("active=0", 0)]
    {
        let (status, list) = world.ask(Method::GET, &format!("/api/v2/alerts?{query}"), None).await;
        assert_eq!((status, list.as_array().map(Vec::len)), (200, Some(found)), "{query}: {list}");
    }
}

/// Who links what a webhook told with the list of alerts does it by the fingerprint.
#[tokio::test]
async fn a_notice_knows_an_alert_by_alertmanagers_fingerprint() {
    let world = world();
    post(&world, json!([{"labels": {"a": "b"}}])).await;
    let (_, list) = world.ask(Method::GET, "/api/v2/alerts", None).await;
    let (_, delivery, _) = world.deliveries().remove(0);
    let Message::Notice(notice) = delivery.message else { panic!() };
    assert_eq!((notice.alerts[0].fingerprint.as_str(), &list[0]["fingerprint"]), ("d2b371819297f98a", &json!("d2b371819297f98a")));
}

#[tokio::test]
async fn the_status_holds_a_configuration_that_alertmanager_reads() {
    let world = world();
    let (_, status) = world.ask(Method::GET, "/api/v2/status", None).await;
    let original = status["config"]["original"].as_str().unwrap();
    let read: Value = serde_saphyr::from_str(original).unwrap();
    assert_eq!(read["route"]["receiver"], "mail");
    assert_eq!(read["route"]["routes"][0]["receiver"], "databases");
    assert_eq!(read["receivers"], json!([{"name": "databases"}, {"name": "mail"}]));
    assert_eq!(read["inhibit_rules"][0]["equal"], json!(["host"]));
    let (_, receivers) = world.ask(Method::GET, "/api/v2/receivers", None).await;
    assert_eq!(receivers, json!([{"name": "databases"}, {"name": "mail"}]));
    // What is exchanged while it runs shows.
    let other = "route: { receivers: [mail] }\ntime_intervals: [{ name: nights, time_intervals: [{ times: [{ start_time: '20:00', end_time: '24:00' }] }] }]";
    world.alerting.reroute(crate::routing::Routing::of(&serde_saphyr::from_str(other).unwrap()));
    let (_, status) = world.ask(Method::GET, "/api/v2/status", None).await;
    let read: Value = serde_saphyr::from_str(status["config"]["original"].as_str().unwrap()).unwrap();
    assert_eq!((&read["time_intervals"][0]["name"], &read["route"]["routes"]), (&json!("nights"), &Value::Null));
}

#[tokio::test]
async fn maintenance_is_planned_by_api_and_pages_nobody() {
    let world = world();
    let body = json!({"name": "db upgrade", "matchers": ["host=\"a\""], "duration": "1m", "comment": "15.2"});
    let (status, made) = world.ask(Method::POST, "/api/watchfire/v1/maintenance", Some(body)).await;
    assert_eq!((status, &made["maintenance"]["maintenance"]), (201, &json!("db upgrade")));
    post(&world, json!([{"labels": {"alertname": "C", "host": "a", "severity": "critical"}}])).await;
    world.pass(30).await;
    assert!(told(&world).is_empty() && world.count("incident_opened") == 0);
    let (_, list) = world.ask(Method::GET, "/api/watchfire/v1/maintenance", None).await;
    assert_eq!(list["planned"].as_array().unwrap().len(), 1);
    world.pass(40).await;
    assert_eq!(told(&world), ["70s mail trigger C"], "what still fires at its end");
    assert_eq!(
        world.ask(Method::POST, "/api/watchfire/v1/maintenance", Some(json!({"name": "", "matchers": ["a=b"], "duration": "1m"}))).await.0,
        400
    );
}

#[tokio::test]
async fn pagerduty_events_trigger_acknowledge_and_resolve() {
    let world = world();
    let send = async |body| world.ask(Method::POST, "/v2/enqueue", Some(body)).await;
    let trigger = json!({"routing_key": "k", "event_action": "trigger", "dedup_key": "disk-1", "payload": {"summary": "disk full", "source": "db1", "severity": "error", "class": "DiskFull", "custom_details": {"free": "1%"}}});
    let (status, said) = send(trigger.clone()).await;
    assert_eq!((status, said), (202, json!({"status": "success", "message": "Event processed", "dedup_key": "disk-1"})));
    world.settle().await.unwrap();
    assert_eq!(told(&world), ["0s mail trigger DiskFull"]);
    let mut nulls = trigger.clone();
    (nulls["links"], nulls["images"], nulls["client"]) = (Value::Null, Value::Null, Value::Null);
    assert_eq!(send(nulls).await.0, 202, "some clients write null for what they leave out");
    let mut again = trigger;
    again["payload"]["severity"] = "critical".into();
    assert_eq!(send(again).await.0, 202);
    world.pass(1).await;
    assert_eq!((world.count("alert_fired"), world.count("alert_severity_changed")), (1, 1));
    assert_eq!(send(json!({"routing_key": "k", "event_action": "acknowledge", "dedup_key": "disk-1"})).await.0, 202);
    world.pass(1).await;
    assert!(world.alerts().await[0].alert.acknowledged.is_some());
    assert_eq!(send(json!({"routing_key": "k", "event_action": "resolve", "dedup_key": "disk-1"})).await.0, 202);
    world.pass(20).await;
    assert_eq!(world.count("alert_resolved"), 1);
    let (status, said) = send(json!({"routing_key": "k", "event_action": "trigger", "payload": {"severity": "loud"}})).await;
    assert_eq!((status, said["errors"].as_array().unwrap().len()), (400, 3));
    assert_eq!(send(json!({"routing_key": "k", "event_action": "resolve"})).await.0, 400);
    assert_eq!(send(json!({"routing_key": "k", "event_action": "close", "dedup_key": "x"})).await.0, 400);
    assert_eq!(send(json!({"routing_key": "k", "event_action": "resolve", "dedup_key": "never-seen"})).await.0, 202);
}

/// Who has it is asked for by the ladder's next step; a snooze ends by itself, and only if it is still the one that holds.
#[tokio::test]
async fn a_snoozed_alert_climbs_again_when_its_time_is_over() {
    let world = World::new(
        "incident_wait: 0s\nescalations: [{ name: page, steps: [{ after: 0s, notify: [pd] }, { after: 10m, notify: [sms] }] }]\nroute: { escalation: page }",
        "groups: []\n",
    );
    post(&world, json!([{"labels": {"alertname": "Down", "severity": "warning"}}])).await;
    let again = async || post(&world, json!([{"labels": {"alertname": "Down", "severity": "warning"}}])).await;
    let id = world.alerts().await[0].alert.id;
    let act = async |act: &str, body: Value| world.ask(Method::POST, &format!("/api/watchfire/v1/alerts/{id}/{act}"), Some(body)).await.0;
    let triggers = || world.outbox().into_iter().filter(|line| line.ends_with("trigger")).collect::<Vec<_>>();
    assert_eq!(act("snooze", json!({"duration": "2m"})).await, 200);
    world.pass(110).await;
    again().await;
    assert_eq!(triggers(), ["0s pd trigger"], "somebody has it");
    world.pass(15).await;
    assert_eq!(triggers(), ["0s pd trigger", "120s pd trigger"], "it goes on: the ladder climbs again from its first step");
    assert_eq!(act("snooze", json!({"duration": "1m"})).await, 200);
    world.pass(1).await;
    assert_eq!(act("snooze", json!({"duration": "4m"})).await, 200);
    world.pass(100).await;
    again().await;
    assert_eq!(triggers().len(), 2, "the longer one holds");
    assert_eq!(act("unacknowledge", json!({})).await, 200);
    world.pass(1).await;
    assert_eq!(triggers().len(), 3, "given back");
    assert_eq!(act("acknowledge", json!({})).await, 200);
    world.pass(200).await;
    assert_eq!(triggers().len(), 3, "the wake-up of the snooze is not about this acknowledgement");
    assert_eq!(act("snooze", json!({"duration": "1s"})).await, 400);
    assert_eq!(act("snooze", json!({"duration": "8d"})).await, 400);
}
