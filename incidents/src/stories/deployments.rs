//! Deployments through the API, into timelines and into the postmortem.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use model::access::{Permission, Principal};
use model::event::{Actor, EventKind};
use model::evidence::VersionChange;
use model::severity::Severity;
use model::state::by_key;
use model::tenant::TenantId;
use model::time::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::with_chat;
use super::world::{START, World};
use crate::Config;
use crate::postmortem::Postmortem;

async fn ask(world: &World, method: &str, query: &str, body: &Value, permission: Permission, tenant: &str) -> (StatusCode, Value) {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let mut request = Request::builder().method(method).uri(format!("/api/watchfire/v1/deployments{query}")).body(body).unwrap();
    request.extensions_mut().insert(Principal {
        tenant: TenantId::new(tenant).unwrap(),
        permissions: vec![permission],
        actor: Actor::User { id: "ci".into() },
        keyless: false,
    });
    let response = world.incidents.router().oneshot(request).await.unwrap();
    let status = response.status();
    (status, serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap())
}

async fn say(world: &World, body: Value) -> (StatusCode, Value) {
    ask(world, "POST", "", &body, Permission::Respond, "default").await
}

async fn listed(world: &World, query: &str) -> Vec<String> {
    let (status, answer) = ask(world, "GET", query, &Value::Null, Permission::Read, "default").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let line = |one: &Value| format!("{} {}", one["service"].as_str().unwrap(), one["version"].as_str().unwrap());
    answer["deployments"].as_array().unwrap().iter().map(line).collect()
}

fn ago(minutes: u64) -> Timestamp {
    START.minus(Duration::from_secs(minutes * 60))
}

#[tokio::test]
async fn a_deployment_is_recorded_once_and_listed_by_service_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    let first =
        json!({"service": "checkout", "version": "1.4.2", "at": ago(30), "description": "new cart", "link": "https://ci.example.org/7"});
    let (status, answer) = say(&world, first.clone()).await;
    assert_eq!((status, &answer["created"]), (StatusCode::CREATED, &json!(true)), "{answer}");
    assert_eq!((&answer["deployment"]["environment"], &answer["deployment"]["by"]["id"]), (&json!("production"), &json!("ci")));
    let (status, again) = say(&world, first).await;
    assert_eq!((status, &again["created"]), (StatusCode::OK, &json!(false)), "the same service, version, environment and time");
    assert_eq!(again["deployment"]["id"], answer["deployment"]["id"]);

    let keyed = json!({"service": "checkout", "version": "1.4.3", "key": "build-8"});
    assert_eq!(say(&world, keyed.clone()).await.0, StatusCode::CREATED);
    world.pass(60).await.unwrap();
    assert_eq!(say(&world, keyed).await.0, StatusCode::OK, "the same key, a minute later");
    let (status, refused) = say(&world, json!({"service": "mail", "version": "2", "key": "build-8"})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(refused["error"].as_str().unwrap().contains("`build-8` names checkout 1.4.3"), "{refused}");
    say(&world, json!({"service": "mail", "version": "2", "at": ago(90), "environment": "staging"})).await;

    assert_eq!(listed(&world, "").await, ["checkout 1.4.3", "checkout 1.4.2", "mail 2"], "newest first, by when they went out");
    assert_eq!(listed(&world, "?service=checkout&limit=1").await, ["checkout 1.4.3"]);
    assert_eq!(listed(&world, "?environment=staging").await, ["mail 2"]);
    let to = format!("?since={}&until={}", ago(90), ago(30));
    assert_eq!(listed(&world, &to).await, ["checkout 1.4.2", "mail 2"], "both ends are included");
    let recorded = world.state.journal().iter().filter(|one| matches!(one.event.kind, EventKind::DeploymentRecorded { .. })).count();
    assert_eq!(recorded, 3);
}

#[tokio::test]
async fn only_who_may_respond_records_and_tenants_are_apart() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    let body = json!({"service": "checkout", "version": "1"});
    for permission in [Permission::Read, Permission::Ingest] {
        assert_eq!(ask(&world, "POST", "", &body, permission, "default").await.0, StatusCode::FORBIDDEN);
    }
    assert_eq!(ask(&world, "GET", "", &Value::Null, Permission::Ingest, "default").await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(&world, "POST", "", &body, Permission::Respond, "acme").await.0, StatusCode::CREATED);
    assert!(listed(&world, "").await.is_empty(), "another tenant's");
    for wrong in
        [json!({"service": "checkout"}), json!({"service": "", "version": "1"}), json!({"service": "a", "version": "1", "sha": "x"})]
    {
        let (status, answer) = say(&world, wrong).await;
        assert_eq!((status, &answer["errorType"]), (StatusCode::BAD_REQUEST, &json!("bad_data")), "{answer}");
    }
}

fn marks(world: &World) -> Vec<String> {
    let mark = |one: &model::event::Recorded| match &one.event.kind {
        EventKind::DeploymentMarked { service, version, .. } => Some(format!("{service} {version}")),
        _ => None, // not a mark
    };
    world.state.journal().iter().filter_map(mark).collect()
}

#[tokio::test]
async fn an_open_incident_shows_what_went_out_in_its_service() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(with_chat(), folder.path());
    for (service, version, at) in [("cart", "6", ago(2_000)), ("cart", "7", ago(20)), ("mail", "3", ago(10)), ("cart", "8", ago(4))] {
        say(&world, json!({"service": service, "version": version, "at": at})).await;
    }
    // Recorded before the incident opens, but read from the journal after it: it is marked once all the same.
    let alert = world.fire("Down", "cart", Severity::Critical).await;
    say(&world, json!({"service": "cart", "version": "9"})).await;
    world.pass(30).await.unwrap();
    assert_eq!(marks(&world), ["cart 7", "cart 8", "cart 9"], "of the last day and of its service, the earliest first");

    say(&world, json!({"service": "cart", "version": "8-rollback"})).await;
    say(&world, json!({"service": "mail", "version": "4"})).await;
    world.pass(30).await.unwrap();
    assert_eq!(marks(&world).last().unwrap(), "cart 8-rollback");
    let posts = format!("{:?}", world.messages());
    assert!(posts.contains("cart 8-rollback went out in production"), "the channel is told: {posts}");

    world.clear(alert).await.unwrap();
    world.pass(30).await.unwrap();
    say(&world, json!({"service": "cart", "version": "10"})).await;
    world.pass(30).await.unwrap();
    assert_eq!(marks(&world).len(), 4, "an incident that is over is left alone: {:?}", marks(&world));
}

async fn postmortem(world: &World) -> String {
    let alert = world.fire("Down", "cart", Severity::Critical).await;
    world.pass(120).await.unwrap();
    world.clear(alert).await.unwrap();
    world.pass(600).await.unwrap();
    let incident = world.incident(1).await;
    by_key::<Postmortem>(&*world.state, &TenantId::default(), &incident.id.to_string()).await.unwrap().unwrap().entity.markdown
}

fn section(markdown: &str) -> String {
    let rest = markdown.split_once("## Changes before the start\n").unwrap().1;
    rest.split_once("\n## ").unwrap().0.trim().to_owned()
}

#[tokio::test]
async fn the_postmortem_tells_what_went_out_recorded_or_seen() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    let seen = |service: &str, version: &str, previous: &str, first_seen| VersionChange {
        service: service.into(),
        environment: "production".into(),
        version: version.into(),
        previous: previous.into(),
        first_seen,
    };
    *world.telemetry.versions.lock().unwrap() = vec![
        seen("cart", "7", "6", ago(60)),
        seen("cart", "8", "7", ago(9)),
        seen("mail", "4", "3", ago(9)),
        seen("payments", "2", "1", ago(50)),
    ];
    let body = json!({"service": "cart", "version": "8", "at": ago(10), "description": "faster | <b>cart</b>", "link": "https://ci.example.org/8"});
    say(&world, body).await;
    say(&world, json!({"service": "cart", "version": "8.1", "at": START.plus(Duration::from_secs(60))})).await;
    let markdown = postmortem(&world).await;
    // The incident's start is two minutes before its first alert.
    assert_eq!(
        section(&markdown).lines().skip(2).collect::<Vec<_>>(),
        [
            "| 2026-02-25 05:13:20 | 58m before the start | cart | 7 | 6 | production | its first span; nobody recorded it |",
            "| 2026-02-25 05:23:20 | 48m before the start | payments | 2 | 1 | production | its first span; nobody recorded it |",
            "| 2026-02-25 06:03:20 | 8m before the start | cart | 8 | 7 | production | recorded by ci, first span at 2026-02-25 06:04:20: faster \\| &lt;b&gt;cart&lt;/b&gt; ([link](<https://ci.example.org/8>)) |",
            "| 2026-02-25 06:14:20 | 3m after the start | cart | 8.1 | - | production | recorded by ci |",
        ]
    );
    assert!(markdown.contains("- cart 8 went out in production 8m before the start."), "{markdown}");
    assert!(markdown.contains("- [ ] Find out whether cart 8, out 8m before the start, is the cause"), "{markdown}");
}

#[tokio::test]
async fn without_changes_the_postmortem_says_what_was_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    let quiet = section(&postmortem(&world).await);
    assert_eq!(
        quiet,
        "No deployment of these services is on record since 2026-02-24 06:11:20 UTC, and no other version appeared in their spans."
    );

    let world = World::new(Config::default(), folder.path());
    say(&world, json!({"service": "cart", "version": "8", "at": ago(10)})).await;
    *world.telemetry.dead.lock().unwrap() = true;
    let dead = section(&postmortem(&world).await);
    assert!(dead.contains("| cart | 8 | - | production | recorded by ci |"), "{dead}");
    assert!(dead.ends_with("The spans could not be asked for versions: the telemetry store does not answer: connection refused"), "{dead}");
}
