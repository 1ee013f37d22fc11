//! The API as its users see it.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use model::access::{Permission, Principal};
use model::event::Actor;
use model::severity::Severity;
use model::tenant::TenantId;
use model::work::Queue;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::world::World;
use crate::Config;

async fn ask(world: &World, method: &str, path: &str, body: &str, permissions: &[Permission], tenant: &str) -> (StatusCode, String) {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/api/watchfire/v1/incidents{path}").replace("incidents/../", ""))
        .body(Body::from(body.to_owned()))
        .unwrap();
    request.extensions_mut().insert(Principal {
        tenant: TenantId::new(tenant).unwrap(),
        permissions: permissions.to_vec(),
        actor: Actor::User { id: "ana".into() },
        keyless: false,
    });
    let response = world.incidents.router().oneshot(request).await.unwrap();
    let status = response.status();
    (status, String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
}

async fn json_of(world: &World, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
    let (status, text) = ask(world, method, path, body, &[Permission::Read, Permission::Respond], "default").await;
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")))
}

#[tokio::test]
async fn people_take_and_end_an_incident() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    world.fire("Down", "cart", Severity::Critical).await;
    world.pass(30).await.unwrap();

    let (status, listed) = json_of(&world, "GET", "?status=open", "").await;
    assert_eq!((status, listed["incidents"][0]["number"].as_u64()), (StatusCode::OK, Some(1)));
    let id = listed["incidents"][0]["id"].as_str().unwrap().to_owned();

    let (status, answer) = json_of(&world, "POST", "/1/acknowledge", "").await;
    assert_eq!((status, answer["message"].as_str()), (StatusCode::OK, Some("incident 1 is acknowledged")));
    let (status, answer) = json_of(&world, "POST", &format!("/{id}/acknowledge"), "").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(answer["error"].as_str().unwrap().starts_with("incident 1 cannot be acknowledged: ana has had it since"), "{answer}");

    json_of(&world, "POST", "/1/note", r#"{"text":"it is the database"}"#).await;
    world.pass(60).await.unwrap();
    let (status, answer) = json_of(&world, "POST", "/incident-1/resolve", r#"{"reason":"failed over"}"#).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["message"], "incident 1 is resolved, although 1 alert still fires");
    assert_eq!(answer["incident"]["seconds_to_acknowledge"], json!(30.0));
    world.settle().await.unwrap();

    let (_, shown) = json_of(&world, "GET", "/1", "").await;
    let kinds: Vec<&str> = shown["timeline"].as_array().unwrap().iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "alert_fired",
            "incident_opened",
            "incident_acknowledged",
            "incident_noted",
            "incident_resolved",
            "postmortem_drafted",
            "review_scheduled"
        ]
    );
    assert_eq!(shown["alerts"][0]["rule"]["name"], "Down");
    let (status, markdown) = ask(&world, "GET", "/1/postmortem", "", &[Permission::Read], "default").await;
    assert!(status == StatusCode::OK && markdown.starts_with("# Postmortem: incident 1\n"), "{markdown}");
    let (status, calendar) = ask(&world, "GET", "/1/review.ics", "", &[Permission::Read], "default").await;
    assert!(status == StatusCode::OK && calendar.starts_with("BEGIN:VCALENDAR"));
    people_finish_the_postmortem(&world, folder.path()).await;
    assert_eq!(json_of(&world, "POST", "/1/close", "").await.0, StatusCode::OK);
    assert_eq!(json_of(&world, "GET", "?status=open", "").await.1["incidents"], json!([]));
}

#[tokio::test]
async fn wrong_requests_get_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    world.fire("Down", "cart", Severity::Critical).await;
    world.settle().await.unwrap();
    for (method, path, body, status, sentence) in [
        ("GET", "/7", "", 404, "there is no incident 7"),
        ("GET", "/seven", "", 400, "`seven` names no incident"),
        ("GET", "?status=burning", "", 400, "status `burning` is unknown"),
        ("GET", "/1/postmortem", "", 404, "incident 1 has no postmortem yet"),
        ("POST", "/1/explode", "", 404, "`explode` is no command"),
        ("POST", "/1/note", "{}", 409, "incident 1 cannot be annotated: the note is empty"),
        ("POST", "/1/resolve", "because", 400, "the body is not JSON"),
        ("POST", "/1/close", "", 409, "incident 1 cannot be closed: it is still open"),
        ("POST", "/1/unacknowledge", "", 409, "nobody has acknowledged it"),
    ] {
        let (got, answer) = json_of(&world, method, path, body).await;
        assert_eq!(got.as_u16(), status, "{path}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(sentence), "{path}: {answer}");
    }
    let (status, _) = ask(&world, "POST", "/1/acknowledge", "", &[Permission::Read], "default").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = ask(&world, "GET", "/1", "", &[Permission::Ingest], "default").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = ask(&world, "GET", "/1", "", &[Permission::Admin], "other").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "another tenant's incident does not exist");
}

/// The document is replaced as a whole, by one who read the newest version and may respond; the file follows, the timeline tells.
async fn people_finish_the_postmortem(world: &World, folder: &std::path::Path) {
    let put = async |body: Value, permission| ask(world, "PUT", "/1/postmortem", &body.to_string(), &[permission], "default").await;
    let text = "# Postmortem: incident 1\n\nIt was the database.\n";
    let (status, said) = put(json!({"markdown": text, "version": 1}), Permission::Read).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{said}");
    let (status, said) = put(json!({"markdown": text, "version": 1}), Permission::Respond).await;
    assert!(status == StatusCode::OK && said.contains("\"version\":2"), "{status} {said}");
    let (status, said) = put(json!({"markdown": "# Mine\n", "version": 1}), Permission::Respond).await;
    assert!(status == StatusCode::CONFLICT && said.contains("since version 1"), "{status} {said}");
    for wrong in [json!({"markdown": " ", "version": 2}), json!({"markdown": "x".repeat(300_000), "version": 2}), json!({"text": "x"})] {
        assert_eq!(put(wrong, Permission::Respond).await.0, StatusCode::BAD_REQUEST);
    }
    assert_eq!(ask(world, "GET", "/1/postmortem", "", &[Permission::Read], "default").await.1, text);
    assert_eq!(std::fs::read_to_string(folder.join("postmortems/default/incident-1.md")).unwrap(), text);
    let (_, shown) = json_of(world, "GET", "/1", "").await;
    let last = shown["timeline"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((last["actor"].as_str(), last["text"].as_str()), (Some("ana"), Some("note: edited the postmortem")));
}

#[tokio::test]
async fn an_alert_has_a_timeline_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(Config::default(), folder.path());
    world.fire("Down", "cart", Severity::Critical).await;
    world.fire("Slow", "cart", Severity::High).await;
    world.pass(30).await.unwrap();
    let (_, shown) = json_of(&world, "GET", "/1", "").await;
    let alert = shown["alerts"][1]["id"].as_str().unwrap();
    let (status, told) = json_of(&world, "GET", &format!("/../alerts/{alert}/timeline"), "").await;
    let texts: Vec<&str> = told["timeline"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!((status, &told["alert"]), (StatusCode::OK, &json!(alert)));
    assert!(texts[0].starts_with("alert Slow fired") && !texts.iter().any(|text| text.contains("Down")), "{texts:?}");
    assert_eq!(json_of(&world, "GET", "/../alerts/alr_019c936c63407f86afc3b56278c6744e/timeline", "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(json_of(&world, "GET", "/../alerts/x/timeline", "").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn those_who_wait_are_told_and_help_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { update_receivers: vec!["customers".into()], chat_receiver: Some("slack".into()), ..Config::default() };
    let world = World::new(config, folder.path());
    world.fire("Down", "cart", Severity::Critical).await;
    world.pass(30).await.unwrap();
    let body = r#"{"phase": "identified", "text": "A disk is full."}"#;
    let (status, answer) = json_of(&world, "POST", "/1/update", body).await;
    assert_eq!((status, answer["incident"]["last_update"]["phase"].as_str()), (StatusCode::OK, Some("identified")), "{answer}");
    let told = |receiver: &'static str| {
        let rows = world.state.rows().into_iter().filter(|row| row.queue == Queue::Delivery);
        rows.map(|row| row.body.value())
            .filter_map(move |body| (body["receiver"] == receiver).then_some(body["message"].clone()))
            .collect::<Vec<_>>()
    };
    let letters = told("customers");
    assert_eq!(letters.len(), 1);
    assert!(letters[0]["title"].as_str().unwrap().starts_with("Incident 1, identified: "), "{letters:?}");
    assert!(letters[0]["text"].as_str().unwrap().starts_with("A disk is full.\n\nana, "), "{letters:?}");
    let posts = told("slack");
    assert!(posts.iter().any(|post| post["text"] == "status update, identified: A disk is full. (by ana)"), "{posts:?}");

    json_of(&world, "POST", "/1/acknowledge", "").await;
    let (status, answer) = json_of(&world, "POST", "/1/escalate", r#"{"reason": "the database too"}"#).await;
    assert_eq!((status, answer["incident"]["status"].as_str()), (StatusCode::OK, Some("open")), "nobody has it now: {answer}");
    assert_eq!(json_of(&world, "POST", "/1/escalate", "").await.0, StatusCode::OK, "and once more");
    for (path, body, status, word) in [
        ("/1/update", r#"{"phase": "resolved", "text": "over"}"#, 409, "still open; resolve it first"),
        ("/1/update", r#"{"phase": "odd", "text": "x"}"#, 400, "use one of investigating, identified, monitoring, resolved"),
        ("/1/update", r#"{"phase": "identified", "text": " "}"#, 409, "the update is empty"),
        ("/1/note", r#"{"phase": "identified", "text": "x"}"#, 400, "`phase` belongs to `update`"),
    ] {
        let (got, answer) = json_of(&world, "POST", path, body).await;
        assert!(got.as_u16() == status && answer["error"].as_str().unwrap().contains(word), "{path} {body}: {got} {answer}");
    }
    json_of(&world, "POST", "/1/resolve", "").await;
    for (path, body, status) in [
        ("/1/escalate", "", 409),
        ("/1/update", r#"{"phase": "monitoring", "text": "x"}"#, 409),
        ("/1/update", r#"{"phase": "resolved", "text": "All is well."}"#, 200),
    ] {
        assert_eq!(json_of(&world, "POST", path, body).await.0.as_u16(), status, "{path} {body}");
    }
    assert_eq!(told("customers").len(), 2);
}
