//! The API as its users see it.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use model::access::{Permission, Principal};
use model::event::Actor;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

async fn ask(world: &World, method: &str, path: &str, body: &str, permissions: &[Permission], tenant: &str) -> (StatusCode, Value) {
    let uri = format!("/api/watchfire/v1/errors{path}");
    let mut request = Request::builder().method(method).uri(uri).body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(Principal {
        tenant: TenantId::new(tenant).unwrap(),
        permissions: permissions.to_vec(),
        actor: Actor::User { id: "ana".into() },
        keyless: false,
    });
    let response = world.issues.router().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 22).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&bytes))))
}

async fn get(world: &World, path: &str) -> Value {
    let (status, value) = ask(world, "GET", path, "", &[Permission::Read], "default").await;
    assert_eq!(status, StatusCode::OK, "{value}");
    value
}

async fn post(world: &World, path: &str, body: Value) -> (StatusCode, Value) {
    ask(world, "POST", path, &body.to_string(), &[Permission::Respond], "default").await
}

fn numbers(list: &Value) -> Vec<u64> {
    list["issues"].as_array().unwrap().iter().map(|issue| issue["number"].as_u64().unwrap()).collect()
}

/// Issues 1 (3 events of 2 users), 2 (1 event) and 3 (2 events), seen in this order.
async fn three() -> World {
    let world = World::new(Config::default());
    for (print, user) in [(7, "a"), (7, "b"), (7, "a"), (8, "a"), (9, "c"), (9, "")] {
        world.event(print, "1.0", user).await;
        world.pass(60);
    }
    world.follow().await.unwrap();
    world
}

#[tokio::test]
async fn the_records_come_page_by_page_with_what_they_remember() {
    let world = three().await;
    assert_eq!(post(&world, "/2/resolve", json!({})).await.0, StatusCode::OK);
    let first = get(&world, "/records?limit=2").await;
    assert_eq!(numbers(&first), [3, 2]);
    let resolved: Issue = serde_json::from_value(first["issues"][1].clone()).unwrap();
    assert_eq!(resolved, world.issue(2).await);
    assert_eq!(resolved.history.last().map(|one| one.change.word()), Some("resolved"));
    let rest = get(&world, &format!("/records?limit=2&before={}", first["next_before"].as_str().unwrap())).await;
    assert_eq!((numbers(&rest), &rest["next_before"]), (vec![1], &Value::Null));
    let (status, _) = ask(&world, "GET", "/records", "", &[Permission::Respond], "default").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (_, others) = ask(&world, "GET", "/records", "", &[Permission::Read], "other").await;
    assert_eq!(numbers(&others), Vec::<u64>::new());
}

#[tokio::test]
async fn the_list_joins_state_and_events() {
    let world = three().await;
    let list = get(&world, "").await;
    assert_eq!((numbers(&list), &list["total"], &list["next_offset"]), (vec![3, 2, 1], &json!(3), &Value::Null));
    let last = &list["issues"][2];
    assert_eq!((&last["events"], &last["users"], &last["status"]), (&json!(3), &json!(2), &json!("open")));
    assert_eq!((&last["title"], &last["releases"]), (&json!("E7: card <num>"), &json!(["1.0"])));
    assert_eq!(last["hourly"].as_array().unwrap().len(), 24);
    assert_eq!(last["fingerprints"], json!(["0000000000000007"]));
    assert_eq!(numbers(&get(&world, "?sort=events").await), [1, 3, 2]);
    let page = get(&world, "?limit=2").await;
    assert_eq!((numbers(&page), &page["next_offset"]), (vec![3, 2], &json!(2)));
    assert_eq!(numbers(&get(&world, "?limit=2&offset=2").await), [1]);
    assert_eq!(numbers(&get(&world, "?offset=99999999999").await), Vec::<u64>::new());
    assert_eq!(numbers(&get(&world, "?text=e8%3A").await), [2]);
    assert_eq!(numbers(&get(&world, "?service=mail").await), Vec::<u64>::new());
    let (_, others) = ask(&world, "GET", "", "", &[Permission::Read], "other").await;
    assert_eq!(numbers(&others), Vec::<u64>::new(), "another tenant sees nothing");

    *world.table.dead.lock().unwrap() = true;
    let list = get(&world, "").await;
    assert_eq!((numbers(&list), &list["issues"][0]["events"]), (vec![3, 2, 1], &Value::Null));
    assert_eq!(list["warnings"], json!(["counts cannot be told at present: the telemetry store does not answer"]));
    let one = get(&world, "/1").await;
    assert_eq!((&one["issue"]["number"], one["warnings"].as_array().unwrap().len()), (&json!(1), 5));
    assert_eq!(post(&world, "/1/resolve", json!({})).await.0, StatusCode::OK, "commands need no telemetry");
}

#[tokio::test]
async fn people_resolve_ignore_and_assign() {
    let world = three().await;
    let (status, answer) = post(&world, "/1/resolve", json!({"in_release": "1.4.0"})).await;
    assert_eq!((status, &answer["message"]), (StatusCode::OK, &json!("issue 1: resolved in release 1.4.0")));
    assert_eq!(answer["issue"]["state"]["by"], json!({"actor": "user", "id": "ana"}));
    let (status, answer) = post(&world, "/1/resolve", json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(answer["error"].as_str().unwrap().starts_with("issue 1 cannot be resolved: ana resolved it at 2026-"), "{answer}");
    assert_eq!(numbers(&get(&world, "?status=open").await), [3, 2]);
    assert_eq!(numbers(&get(&world, "?status=resolved").await), [1]);

    let id = get(&world, "/2").await["issue"]["id"].as_str().unwrap().to_owned();
    let (_, answer) = post(&world, &format!("/{id}/ignore"), json!({"users": 10})).await;
    assert_eq!(answer["message"], "issue 2: ignored until 10 users are affected");
    let (_, answer) = post(&world, "/2/ignore", json!({"for": "1h"})).await;
    assert!(answer["message"].as_str().unwrap().starts_with("issue 2: ignored until 2026-"), "{answer}");
    assert_eq!(numbers(&get(&world, "?status=ignored").await), [2]);
    assert_eq!(numbers(&get(&world, "?status=all").await), [3, 2, 1]);
    let (_, answer) = post(&world, "/2/unresolve", json!({})).await;
    assert_eq!(answer["issue"]["status"], "open");

    let (_, answer) = post(&world, "/3/assign", json!({"to": "bob"})).await;
    assert_eq!(answer["message"], "issue 3: assigned to bob");
    assert_eq!(post(&world, "/3/assign", json!({"to": "bob"})).await.1["message"], "issue 3: nothing to change");
    assert_eq!(numbers(&get(&world, "?assignee=bob").await), [3]);
    post(&world, "/3/assign", json!({"to": null})).await;

    let shown = get(&world, "/3").await;
    let texts: Vec<&str> = shown["history"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["a new error: E9: card <num>", "assigned to bob", "assigned to nobody"]);
    assert_eq!(shown["breakdowns"], json!({"release": [{"value": "1.0", "events": 2}], "tags": {"shop": [{"value": "eu", "events": 2}]}}));
    assert_eq!((shown["hourly"].as_array().unwrap().len(), shown["daily"].as_array().unwrap().len()), (24, 15));
    assert!(world.journal().contains(&"3 assigned".to_owned()));
}

#[tokio::test]
async fn merged_issues_are_one_and_come_apart() {
    let world = three().await;
    let (status, answer) = post(&world, "/1/merge", json!({"issues": [2, "3", 2]})).await;
    assert_eq!((status, &answer["message"]), (StatusCode::OK, &json!("issue 1: 2, 3 merged into it")));
    let list = get(&world, "").await;
    assert_eq!((numbers(&list), &list["issues"][0]["events"], &list["issues"][0]["users"]), (vec![1], &json!(6), &json!(3)));
    let part = get(&world, "/2").await;
    assert_eq!((&part["issue"]["status"], &part["issue"]["state"]["into_number"]), (&json!("merged"), &json!(1)));
    assert_eq!(part["events"], Value::Null, "an issue without fingerprints never shows those of all");
    let (status, answer) = post(&world, "/2/resolve", json!({})).await;
    assert_eq!((status, answer["error"].as_str().unwrap().contains("it is part of issue 1")), (StatusCode::CONFLICT, true));

    // A new event of a part is an event of the whole.
    post(&world, "/1/resolve", json!({})).await;
    world.pass(60);
    world.event(8, "", "d").await;
    world.follow().await.unwrap();
    assert_eq!(get(&world, "/1").await["issue"]["status"], "regressed");

    let (status, answer) = post(&world, "/1/unmerge", json!({"issue": 2})).await;
    assert_eq!((status, &answer["message"]), (StatusCode::OK, &json!("issue 1: issue 2 is one of its own again")));
    assert_eq!(numbers(&get(&world, "?sort=first_seen").await), [2, 1]);
    world.event(8, "", "d").await;
    world.pass(60);
    world.follow().await.unwrap();
    let shown = get(&world, "/2").await;
    assert_eq!((&shown["events"], &shown["issue"]["fingerprints"]), (&json!(3), &json!(["0000000000000008"])));
    assert_eq!(post(&world, "/1/unmerge", json!({"issue": 2})).await.0, StatusCode::CONFLICT);
    assert_eq!(post(&world, "/1/merge", json!({"issues": [1]})).await.0, StatusCode::CONFLICT);
}

#[tokio::test]
async fn what_is_wrong_is_said_in_a_sentence() {
    let world = three().await;
    let (read, respond) = ([Permission::Read], [Permission::Respond]);
    for (method, path, body, permissions, status, words) in [
        ("GET", "?status=odd", "", &read, 400, "status `odd` is unknown"),
        ("GET", "?window=5x", "", &read, 400, "window `5x`"),
        ("GET", "?window=400d", "", &read, 400, "from 1h to 90d"),
        ("GET", "/99", "", &read, 404, "there is no error issue 99"),
        ("GET", "/iss_1", "", &read, 400, "names no error issue"),
        ("GET", "", "", &respond, 403, "read"),
        ("POST", "/1/resolve", "", &read, 403, "respond"),
        ("POST", "/1/explode", "", &respond, 404, "resolve, unresolve, ignore, assign, merge or unmerge"),
        ("POST", "/1/resolve", "{", &respond, 400, "not JSON"),
        ("POST", "/1/ignore", r#"{"events": 5, "users": 5}"#, &respond, 400, "name one"),
        ("POST", "/1/ignore", r#"{"events": 0}"#, &respond, 409, "name at least 1"),
        ("POST", "/1/ignore", r#"{"until": "2020-01-01T00:00:00Z"}"#, &respond, 409, "is over"),
        ("POST", "/1/assign", r#"{"to": " "}"#, &respond, 409, "person's id"),
        ("POST", "/1/merge", "{}", &respond, 400, "name 1 to 50 issues"),
        ("POST", "/1/merge", r#"{"issues": [77]}"#, &respond, 404, "no error issue 77"),
        ("POST", "/1/unmerge", "{}", &respond, 400, r#"{"issue": 7}"#),
        ("POST", "/1/unresolve", "", &respond, 409, "it is open"),
    ] {
        let (found, answer) = ask(&world, method, path, body, permissions, "default").await;
        let said = answer["error"].as_str().unwrap_or_else(|| panic!("{path}: {answer}"));
        assert!(found.as_u16() == status && said.contains(words), "{method} {path} {body}: {found} {said}");
    }
    let (_, theirs) = ask(&world, "POST", "/1/resolve", "", &respond, "other").await;
    assert_eq!(theirs["error"], "there is no error issue 1");
    let longer = " ".repeat(9_000);
    assert_eq!(ask(&world, "POST", "/1/resolve", &longer, &respond, "default").await.0, StatusCode::BAD_REQUEST);
}
