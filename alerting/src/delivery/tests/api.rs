//! The API of the outbox, over a real socket: who may, what is shown, replay.

use axum::{Extension, Router};
use model::access::{Permission, Principal};
use model::drive::Nudge;
use model::event::Actor;
use serde_json::Value;

use super::*;
use crate::channels::catcher::fakes;
use crate::channels::catcher::http::Fault;

async fn serve(world: &World, permissions: Vec<Permission>, tenant: &str) -> String {
    let state: Arc<dyn StateStore> = world.state.clone();
    let tenant = TenantId::new(tenant).unwrap();
    let principal = Principal { tenant, permissions, actor: Actor::User { id: "u1".into() }, keyless: false };
    let app: Router = crate::delivery::router(state, Arc::new(model::ids::RandomIds), Nudge::default()).layer(Extension(principal));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/watchfire/v1/deliveries", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

async fn get(url: &str) -> (u16, Value) {
    let answer = catcher::client().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn post(url: &str) -> (u16, Value) {
    let answer = catcher::client().post(url).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn dead_letters_are_listed_and_replayed() {
    let mut world = World::new();
    let catcher = fakes::pagerduty().await;
    catcher.fault("", Fault::Answer(400, "no"));
    let worker = world.worker(&pagerduty(&catcher.url));
    let delivery = world.page("pd", PageAction::Trigger, "inc_1").await;
    world.settle(&worker).await;

    let url = serve(&world, vec![Permission::Admin], "default").await;
    let (status, listed) = get(&format!("{url}?state=dead")).await;
    assert_eq!(status, 200);
    let row = &listed["deliveries"][0];
    assert_eq!((row["notification"].as_str(), row["action"].as_str()), (Some(delivery.id.to_string().as_str()), Some("trigger")));
    assert_eq!((row["error"].as_str(), row["attempts"].as_u64()), (Some("the receiver answered 400: no"), Some(1)));
    assert!(!listed.to_string().contains("R0UT1NGKEY"));
    assert_eq!(get(&format!("{url}?state=done")).await.1["deliveries"], serde_json::json!([]));
    assert_eq!(get(&format!("{url}?state=lost")).await.0, 400);
    let (status, one) = get(&format!("{url}/{}", row["id"].as_str().unwrap())).await;
    assert_eq!((status, &one["delivery"]["id"]), (200, &row["id"]));
    let attempt = &one["attempts"][0];
    assert_eq!((attempt["outcome"].as_str(), attempt["attempt"].as_u64()), (Some("dead"), Some(1)), "{one}");
    assert_eq!(get(&format!("{url}/wrk_019c936c63407f86afc3b56278c6744e")).await.0, 404);
    assert_eq!(get(&format!("{url}?before={}", row["id"].as_str().unwrap())).await.1["deliveries"], serde_json::json!([]), "none is older");
    let nothing = get(&format!("{url}?alert=alr_019c936c63407f86afc3b56278c6744e")).await;
    assert_eq!((nothing.0, &nothing.1["deliveries"]), (200, &serde_json::json!([])));

    world.advance(90_000);
    let (status, answer) = post(&format!("{url}/{}/replay", row["id"].as_str().unwrap())).await;
    assert_eq!((status, answer["state"].as_str()), (202, Some("pending")));
    assert!(
        world.state.kinds().iter().any(|event| matches!(event, EventKind::Noted { text, .. } if text.starts_with("delivery replayed")))
    );
    world.settle(&worker).await;
    assert_eq!(world.rows(WorkState::Done).len(), 1, "a replay has a day again");
    assert_eq!(catcher.bodies("").len(), 2);
    assert_eq!(catcher.bodies("")[1]["payload"]["custom_details"]["watchfire_resend"], Value::Null, "it certainly had not arrived");
    assert_eq!(post(&format!("{url}/{}/replay", row["id"].as_str().unwrap())).await.0, 404, "it is dead no more");
}

#[tokio::test]
async fn a_replay_that_would_reopen_asks_first() {
    let mut world = World::new();
    let catcher = fakes::pagerduty().await;
    catcher.fault("", Fault::Answer(400, "no"));
    let worker = world.worker(&pagerduty(&catcher.url));
    world.page("pd", PageAction::Trigger, "inc_1").await;
    world.page("pd", PageAction::Resolve, "inc_1").await;
    world.settle(&worker).await;
    // More is delivered afterwards than is looked at in one go.
    for other in 0..1_010 {
        world.page("pd", PageAction::Resolve, &format!("other_{other}")).await;
    }
    world.settle(&worker).await;
    assert_eq!(world.rows(WorkState::Done).len(), 1_011);
    let url = serve(&world, vec![Permission::Admin], "default").await;
    let id = world.rows(WorkState::Dead)[0].id;
    let (status, answer) = post(&format!("{url}/{id}/replay")).await;
    assert_eq!(status, 409);
    assert!(answer["error"].as_str().unwrap().contains("force=true"));
    assert_eq!(post(&format!("{url}/{id}/replay?force=true")).await.0, 202);
}

#[tokio::test]
async fn permissions_and_tenants_hold() {
    let mut world = World::new();
    let worker = world.worker("[]");
    world.page("nobody", PageAction::Trigger, "inc_1").await;
    world.settle(&worker).await;
    let id = world.rows(WorkState::Dead)[0].id;
    let reader = serve(&world, vec![Permission::Read], "default").await;
    assert_eq!(get(&reader).await.0, 403);
    let responder = serve(&world, vec![Permission::Respond], "default").await;
    assert_eq!(get(&responder).await.0, 200);
    let (status, answer) = post(&format!("{responder}/{id}/replay")).await;
    assert_eq!(status, 403);
    assert!(answer["error"].as_str().unwrap().contains("admin"));
    let stranger = serve(&world, vec![Permission::Admin], "other").await;
    assert_eq!(get(&stranger).await.1["deliveries"], serde_json::json!([]));
    assert_eq!(post(&format!("{stranger}/{id}/replay")).await.0, 404);
    let admin = serve(&world, vec![Permission::Admin], "default").await;
    assert_eq!(post(&format!("{admin}/not-an-id/replay")).await.0, 400);
}

#[tokio::test]
async fn without_a_principal_nothing_is_told() {
    let world = World::new();
    let state: Arc<dyn StateStore> = world.state.clone();
    let app = crate::delivery::router(state, Arc::new(model::ids::RandomIds), Nudge::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/watchfire/v1/deliveries", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    assert!(catcher::client().get(url).send().await.unwrap().status().is_server_error());
}
