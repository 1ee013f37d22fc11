//! The API over a simulated world: shapes, permissions, errors.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use model::access::{Permission, Principal};
use model::event::Actor;
use model::tenant::TenantId;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::testing::World;

const CONFIG: &str = "escalations: [{ name: p, steps: [{ after: 0s, notify: [pd] }] }]";
const RULES: &str = "groups:\n- name: g\n  rules:\n  - record: r\n    expr: raw\n  - alert: Small\n    expr: small\n    for: 15s\n    keep_firing_for: 1m\n    labels: { severity: warning }\n    annotations: { summary: \"{{ $value }}\" }\n    escalation: p\n";

fn principal(permissions: &[Permission], tenant: &str) -> Principal {
    let actor = Actor::User { id: "ada".to_owned() };
    Principal { tenant: TenantId::new(tenant).unwrap(), permissions: permissions.to_vec(), actor, keyless: false }
}

async fn call(world: &World, who: Option<Principal>, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(who) = who {
        request = request.extension(who);
    }
    let body = match body {
        Some(body) => {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    let answer = world.alerting.router().oneshot(request.body(body).unwrap()).await.unwrap();
    let status = answer.status();
    let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn get(world: &World, path: &str) -> Value {
    let (status, body) = call(world, Some(principal(&[Permission::Read], "default")), "GET", path, None).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    body
}

async fn respond(world: &World, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    call(world, Some(principal(&[Permission::Respond, Permission::Read], "default")), method, path, body).await
}

async fn firing() -> World {
    let world = World::new(CONFIG, RULES);
    world.set("small", &[(&[("job", "api")], 2.5)]);
    world.tick().await;
    world.pass(15).await;
    world
}

#[tokio::test]
async fn a_rule_that_fails_says_why_in_prometheus_words() {
    let world = firing().await;
    world.fail("small");
    world.pass(15).await;
    let rule = get(&world, "/api/v1/rules?rule_name[]=Small").await["data"]["groups"][0]["rules"][0].clone();
    assert_eq!((rule["health"].as_str(), rule["state"].as_str()), (Some("err"), Some("firing")), "its alerts are held: {rule}");
    assert_eq!(rule["lastError"], "the telemetry store does not answer: engine down");
}

#[tokio::test]
async fn prometheus_shapes() {
    let world = firing().await;
    world.set("small", &[]);
    world.pass(15).await;
    let rules = get(&world, "/api/v1/rules").await;
    let group = &rules["data"]["groups"][0];
    assert_eq!((rules["status"].as_str(), group["name"].as_str(), group["file"].as_str()), (Some("success"), Some("g"), Some("a.yaml")));
    assert_eq!((group["interval"].as_f64(), group["limit"].as_u64()), (Some(15.0), Some(0)));
    let (record, rule) = (&group["rules"][0], &group["rules"][1]);
    assert_eq!((record["type"].as_str(), record["name"].as_str(), record["noData"].as_bool()), (Some("recording"), Some("r"), Some(true)));
    for (field, value) in [
        ("state", json!("firing")),
        ("name", json!("Small")),
        ("query", json!("small")),
        ("duration", json!(15.0)),
        ("keepFiringFor", json!(60.0)),
        ("health", json!("ok")),
        ("type", json!("alerting")),
        ("labels", json!({"severity": "warning"})),
        ("annotations", json!({"summary": "{{ $value }}"})),
    ] {
        assert_eq!(rule[field], value, "{field}");
    }
    assert!(rule.get("lastError").is_none(), "{rule}");
    let alerts = get(&world, "/api/v1/alerts").await;
    let alert = &alerts["data"]["alerts"][0];
    assert_eq!(*alert, rule["alerts"][0]);
    assert_eq!(alert["labels"], json!({"alertname": "Small", "job": "api", "severity": "warning"}));
    assert_eq!((alert["value"].as_str(), alert["state"].as_str()), (Some("2.5e+00"), Some("firing")));
    assert_eq!(alert["annotations"]["summary"], "2.5");
    assert!(alert["activeAt"].is_string() && alert["keepFiringSince"].is_string());
    assert_eq!(get(&world, "/api/v1/rules?type=record").await["data"]["groups"][0]["rules"].as_array().unwrap().len(), 1);
    assert_eq!(get(&world, "/api/v1/rules?type=alert&exclude_alerts=true").await["data"]["groups"][0]["rules"][0]["alerts"], json!([]));
    for (asked, groups, rules) in [
        ("rule_name[]=Small", 1, 1),
        ("rule_name[]=r&rule_name[]=Small", 1, 2),
        ("rule_name[]=other", 0, 0),
        ("rule_group[]=g&file[]=a.yaml&type=record", 1, 1),
        ("rule_group[]=h", 0, 0),
        ("file[]=b.yaml", 0, 0),
        ("match[]={severity=\"warning\"}", 1, 1),
        ("match[]={severity=~\"war.*\",team!=\"x\"}", 1, 1),
        ("match[]={severity=\"page\"}", 0, 0),
        ("match[]={severity=\"page\"}&match[]={severity=\"warning\"}", 1, 1),
        ("group_limit=1", 1, 2),
    ] {
        let encoded = asked.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let found = get(&world, &format!("/api/v1/rules?{encoded}")).await["data"]["groups"].as_array().unwrap().clone();
        assert_eq!(found.len(), groups, "{asked}");
        assert_eq!(found.first().map_or(0, |group| group["rules"].as_array().unwrap().len()), rules, "{asked}");
    }
    let unread = World::new(CONFIG, RULES);
    assert_eq!(get(&unread, "/api/v1/rules").await["data"]["groups"][0]["rules"][1]["health"], "unknown");
}

#[tokio::test]
async fn episodes_of_an_alert_and_the_values_of_any_question() {
    let world = firing().await;
    for value in [&[][..], &[(&[("job", "api")][..], 3.5)][..]] {
        world.set("small", value);
        world.pass(120).await;
    }
    let open = get(&world, "/api/watchfire/v1/alerts?state=firing").await["alerts"][0].clone();
    assert_eq!(open["question"], "promql");
    let fingerprint = open["fingerprint"].as_str().unwrap();
    let episodes = get(&world, &format!("/api/watchfire/v1/alerts?state=all&fingerprint={fingerprint}")).await;
    let states: Vec<_> = episodes["alerts"].as_array().unwrap().iter().map(|one| one["state"]["state"].clone()).collect();
    assert_eq!(states, ["firing", "resolved"]);
    let none = get(&world, "/api/watchfire/v1/alerts?state=all&fingerprint=00").await;
    assert_eq!(none["alerts"], json!([]));
    let rule = get(&world, "/api/v1/rules").await["data"]["groups"][0]["rules"][1].clone();
    assert_eq!((rule["question"].as_str(), rule["source"].as_str()), (Some("promql"), Some("file:a.yaml")));

    // A moment that the rule is asked at shows what it says, without its `for` and whether or not it is active.
    let path = |more: &str| format!("/api/watchfire/v1/rules/values?source=file:a.yaml&group=g&name=Small&{more}");
    let values = get(&world, &path("from=2027-01-15T08:00:00Z&to=2027-01-15T08:04:00Z&points=5")).await;
    assert_eq!((&values["question"], &values["complete"], &values["step"]), (&json!("promql"), &json!(true), &json!(60.0)), "{values}");
    let series = &values["series"][0];
    assert_eq!((&series["fingerprint"], series["values"].as_array().unwrap().len()), (&open["fingerprint"], 5));
    assert_eq!(series["values"][0], json!([1_800_000_000.0, "3.5"]), "the oldest first");
    world.fail("small");
    for (more, status) in
        [("from=2027-01-15T08:00:00Z&to=2027-01-15T08:00:00Z", 400), ("from=2027-01-15T08:00:00Z&to=2027-01-15T09:00:00Z", 503)]
    {
        let (got, body) = respond(&world, "GET", &path(more), None).await;
        assert_eq!(got.as_u16(), status, "{more}: {body}");
    }
    let (status, _) = respond(&world, "GET", &path("from=2027-01-15T08:00:00Z&to=2027-01-15T09:00:00Z").replace("Small", "x"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn groups_come_page_by_page() {
    let group = |name: &str| format!("- name: {name}\n  rules: [{{ record: r, expr: raw }}]\n");
    let text = format!("groups:\n{}{}{}", group("one"), group("two"), group("three"));
    let world = World::new(CONFIG, Box::leak(text.into_boxed_str()));
    let (mut seen, mut path) = (Vec::new(), "/api/v1/rules?group_limit=2".to_owned());
    loop {
        let data = get(&world, &path).await["data"].clone();
        seen.extend(data["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap().to_owned()));
        let Some(next) = data["groupNextToken"].as_str() else { break };
        path = format!("/api/v1/rules?group_limit=2&group_next_token={next}");
    }
    seen.sort();
    assert_eq!(seen, ["one", "three", "two"]);
    for bad in ["group_limit=0", "group_next_token=x", "group_limit=1&group_next_token=x", "match[]=%7Ba"] {
        let (status, body) = respond(&world, "GET", &format!("/api/v1/rules?{bad}"), None).await;
        assert_eq!((status, body["errorType"].as_str()), (StatusCode::BAD_REQUEST, Some("bad_data")), "{bad}: {body}");
    }
}

#[tokio::test]
async fn an_alert_is_acknowledged_once() {
    let world = firing().await;
    let list = get(&world, "/api/watchfire/v1/alerts?state=firing").await;
    let alert = &list["alerts"][0];
    assert_eq!((alert["summary"].as_str(), alert["fingerprint"].as_str().map(str::len)), (Some("2.5"), Some(16)));
    let path = format!("/api/watchfire/v1/alerts/{}", alert["id"].as_str().unwrap());
    for _ in 0..2 {
        let (status, body) = respond(&world, "POST", &format!("{path}/acknowledge"), None).await;
        assert_eq!((status, body["alert"]["acknowledged"]["by"]["id"].as_str()), (StatusCode::OK, Some("ada")));
    }
    world.settle().await.unwrap();
    assert_eq!(world.count("alert_acknowledged"), 1);
    assert_eq!(world.outbox(), ["15s pd trigger", "15s pd acknowledge"]);
    let ladders = get(&world, "/api/watchfire/v1/ladders").await;
    assert_eq!((ladders["ladders"][0]["name"].as_str(), ladders["runs"][0]["status"].as_str()), (Some("p"), Some("stopped")));
    assert!(get(&world, &path).await["alert"]["acknowledged"].is_object());
    world.set("small", &[]);
    world.pass(90).await;
    let (status, body) = respond(&world, "POST", &format!("{path}/acknowledge"), None).await;
    assert_eq!((status, body["errorType"].as_str()), (StatusCode::CONFLICT, Some("conflict")));
    assert_eq!(get(&world, "/api/watchfire/v1/alerts").await["alerts"], json!([]));
    assert_eq!(get(&world, "/api/watchfire/v1/alerts?state=resolved").await["alerts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn silences_are_made_listed_and_ended() {
    let world = firing().await;
    let body =
        json!({"matchers": ["job=\"api\"", {"name": "alertname", "op": "=~", "value": "Sm.*"}], "duration": "1h", "comment": "deploy"});
    let (status, made) = respond(&world, "POST", "/api/watchfire/v1/silences", Some(body)).await;
    assert_eq!((status, made["silence"]["state"].as_str()), (StatusCode::CREATED, Some("active")), "{made}");
    world.pass(15).await;
    assert_eq!((world.count("alert_muted"), world.count("silence_created")), (1, 1));
    let path = format!("/api/watchfire/v1/silences/{}", made["silence"]["id"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(respond(&world, "DELETE", &path, None).await.0, StatusCode::OK);
    }
    world.pass(15).await;
    assert_eq!((world.count("alert_unmuted"), world.count("silence_expired")), (1, 1));
    assert_eq!(get(&world, "/api/watchfire/v1/silences?state=active").await["silences"], json!([]));
    assert_eq!(get(&world, "/api/watchfire/v1/silences").await["silences"][0]["comment"], "deploy");
}

#[tokio::test]
async fn bad_requests_are_told_in_one_sentence() {
    let world = firing().await;
    for (method, path, body, status, word) in [
        ("POST", "silences", Some(json!({"matchers": ["a=b"]})), 400, "either `ends_at` or `duration`"),
        ("POST", "silences", Some(json!({"matchers": [], "duration": "1h"})), 400, "silence everything"),
        ("POST", "silences", Some(json!({"matchers": ["a=~.*"], "duration": "1h"})), 400, "silence everything"),
        ("POST", "silences", Some(json!({"matchers": ["a~b"], "duration": "1h"})), 400, "is not a matcher"),
        ("POST", "silences", Some(json!({"matchers": ["a=b"], "duration": "0s"})), 400, "must end after it starts"),
        ("POST", "silences", Some(json!({"matchers": ["a=b"], "durration": "1h"})), 400, "durration"),
        ("DELETE", "silences/sil_00000000000000000000000000000000", None, 404, "there is no silence"),
        ("DELETE", "silences/nope", None, 400, "is not an id"),
        ("GET", "alerts/alr_00000000000000000000000000000000", None, 404, "there is no alert"),
        ("POST", "alerts/alr_00000000000000000000000000000000/acknowledge", None, 404, "there is no alert"),
        ("GET", "alerts?state=burning", None, 400, "`burning` is unknown"),
        ("GET", "ladders?state=burning", None, 400, "`burning` is unknown"),
        ("GET", "silences?state=burning", None, 400, "`burning` is unknown"),
    ] {
        let (got, answer) = respond(&world, method, &format!("/api/watchfire/v1/{path}"), body).await;
        assert_eq!((got.as_u16(), answer["status"].as_str()), (status, Some("error")), "{path}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(word), "{path}: {answer}");
    }
}

#[tokio::test]
async fn every_route_asks_who_and_shows_only_their_tenant() {
    let world = firing().await;
    let id = world.alerts().await[0].alert.id;
    let routes = [
        ("GET", "/api/v1/rules".to_owned(), false),
        ("GET", "/api/v1/alerts".to_owned(), false),
        ("GET", "/api/watchfire/v1/alerts".to_owned(), false),
        ("GET", format!("/api/watchfire/v1/alerts/{id}"), false),
        ("GET", "/api/watchfire/v1/silences".to_owned(), false),
        ("GET", "/api/watchfire/v1/ladders".to_owned(), false),
        ("POST", format!("/api/watchfire/v1/alerts/{id}/acknowledge"), true),
        ("POST", "/api/watchfire/v1/silences".to_owned(), true),
        ("DELETE", "/api/watchfire/v1/silences/sil_x".to_owned(), true),
    ];
    for (method, path, changes) in &routes {
        let body = || (*method == "POST").then(|| json!({"matchers": ["a=b"], "duration": "1h"}));
        assert!(call(&world, None, method, path, body()).await.0.is_server_error(), "{path} without a principal fails closed");
        let wrong = if *changes { Permission::Read } else { Permission::Ingest };
        let (status, answer) = call(&world, Some(principal(&[wrong], "default")), method, path, body()).await;
        assert_eq!((status, answer["errorType"].as_str()), (StatusCode::FORBIDDEN, Some("forbidden")), "{path}");
        if !changes {
            let (_, answer) = call(&world, Some(principal(&[Permission::Admin], "other")), method, path, None).await;
            assert!(!answer.to_string().contains("Small"), "{path}: {answer}");
        }
    }
    let (status, _) = call(&world, Some(principal(&[Permission::Admin], "other")), "POST", &routes[6].1, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
