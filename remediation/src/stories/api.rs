//! The API as its users see it.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use model::access::{Permission, Principal};
use model::event::Actor;
use model::repair::RepairOutcome;
use model::tenant::TenantId;
use serde_json::Value;
use tower::ServiceExt;

use super::world::{World, two_rungs};

pub(super) async fn ask(world: &World, method: &str, path: &str, body: &str, permission: Permission, tenant: &str) -> (u16, Value) {
    let uri = format!("/api/watchfire/v1/remediations{path}");
    let mut request = Request::builder().method(method).uri(uri).body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(Principal {
        tenant: TenantId::new(tenant).unwrap(),
        permissions: vec![permission],
        actor: Actor::User { id: "ana".into() },
        keyless: false,
    });
    let response = world.remediation.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let text = String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
    assert!(!text.contains("s3cret"));
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")))
}

#[tokio::test]
async fn people_see_runs_and_stop_them() {
    let world = World::new(two_rungs());
    world.fire(&world.alert("checkout")).await.unwrap();
    world.pass(5).await.unwrap();
    let (status, listed) = ask(&world, "GET", "?status=live", "", Permission::Read, "default").await;
    assert_eq!((status, listed["runs"][0]["status"].as_str()), (200, Some("settling")));
    assert_eq!(listed["runs"][0]["rungs"][0]["action"], "POST http://svc/restart/checkout");
    let run = &listed["runs"][0];
    for (wanted, count) in [
        (format!("?alert={}", run["alert"].as_str().unwrap()), 1),
        (format!("?incident={}&status=live", run["incident"].as_str().unwrap()), 1),
        ("?alert=alr_019c936c63407f86afc3b56278c6744e".to_owned(), 0),
    ] {
        let (status, found) = ask(&world, "GET", &wanted, "", Permission::Read, "default").await;
        assert_eq!((status, found["runs"].as_array().unwrap().len()), (200, count), "{wanted}: {found}");
    }
    let path = format!("/{}", listed["runs"][0]["id"].as_str().unwrap());
    assert_eq!(ask(&world, "GET", &path, "", Permission::Read, "other").await.0, 404);
    assert_eq!(ask(&world, "POST", &format!("{path}/stop"), "", Permission::Read, "default").await.0, 403);
    let (status, answer) = ask(&world, "POST", &format!("{path}/stop"), r#"{"reason":"I do it"}"#, Permission::Respond, "default").await;
    assert_eq!((status, answer["message"].as_str()), (200, Some("the run is stopped")));
    let reason = "ana stopped it: I do it; rung restart acted and stays as it is".to_owned();
    assert_eq!(world.outcome().await, RepairOutcome::HandedOver { reason });
    let (status, answer) = ask(&world, "POST", &format!("{path}/stop"), "", Permission::Respond, "default").await;
    assert_eq!((status, answer["error"].as_str()), (409, Some("the run is over already: handed_over")));
    world.pass(300).await.unwrap();
    assert_eq!(world.acts().len(), 1);
    let (_, shown) = ask(&world, "GET", &path, "", Permission::Read, "default").await;
    assert_eq!(shown["run"]["history"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn wrong_requests_get_one_sentence() {
    let world = World::new(two_rungs());
    for (method, path, body, status, sentence) in [
        ("GET", "?status=odd", "", 400, "status `odd` is unknown"),
        ("GET", "/seven", "", 400, "`seven` is not an id of the form rem_<uuid>"),
        ("GET", "/rem_019c936c63407f86afc3b56278c6744e", "", 404, "there is no remediation run"),
        ("POST", "/rem_019c936c63407f86afc3b56278c6744e/stop", "now", 400, "the body is not JSON"),
    ] {
        let (got, answer) = ask(&world, method, path, body, Permission::Admin, "default").await;
        assert_eq!(got, status, "{path}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(sentence), "{path}: {answer}");
    }
    assert_eq!(ask(&world, "GET", "", "", Permission::Ingest, "default").await.0, StatusCode::FORBIDDEN.as_u16());
}
