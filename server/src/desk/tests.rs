//! The editor's questions over a folder of rules: reading, judging, testing, replaying, writing, and who may.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use model::event::Actor;
use model::time::SystemClock;
use store::promql::PromQl;
use store::promql::memory::MemorySource;
use store::state::MemoryState;
use tower::ServiceExt;

use super::*;
use crate::simulate::NoRows;

const RULES: &str =
    "groups:\n- name: shop\n  interval: 1m\n  rules:\n  - alert: Down\n    expr: up == 0\n    for: 2m\n    labels: { severity: warning }\n";
const TEST: &str = "evaluation_interval: 1m\ntests:\n- name: a target that is gone\n  interval: 1m\n  input_series:\n  - series: up{job=\"shop\"}\n    values: 0x10\n  alert_rule_test:\n  - eval_time: 5m\n    alertname: Down\n    exp_alerts:\n    - exp_labels: { severity: warning, job: shop }\n";

struct World {
    place: tempfile::TempDir,
    router: Router,
}

fn world(editable: bool) -> World {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("rules")).unwrap();
    std::fs::write(place.path().join("rules/shop.yml"), RULES).unwrap();
    let mut config = Config::default();
    config.alerting.rules = Some(PathBuf::from("rules"));
    config.dashboards.edit_rules = editable;
    let desk = Desk {
        running: Arc::new(Mutex::new(config)),
        config_file: Some(place.path().join("watchfire.yaml")),
        metrics: Arc::new(PromQl::new(Arc::new(MemorySource::new()))),
        rows: Arc::new(NoRows),
        state: Arc::new(MemoryState::new(Arc::new(SystemClock))),
        engine: None,
        turn: Arc::new(Semaphore::new(1)),
    };
    World { router: router(Arc::new(desk)), place }
}

impl World {
    async fn ask_as(&self, tenant: &str, may: Permission, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(format!("/api/watchfire/v1/rules/{path}"));
        let mut request = request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap();
        let actor = Actor::system("test");
        request.extensions_mut().insert(Principal {
            tenant: TenantId::new(tenant).unwrap(),
            permissions: vec![may],
            actor,
            keyless: false,
        });
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({"error": String::from_utf8_lossy(&bytes)})))
    }
    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.ask_as("default", Permission::Admin, method, path, body).await
    }
    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.place.path().join("rules").join(name)).unwrap()
    }
}

#[tokio::test]
async fn a_file_is_read_and_judged_together_with_the_others() {
    let world = world(false);
    let (status, found) = world.ask("GET", "files", Value::Null).await;
    assert_eq!((status, &found["files"][0]["name"], &found["files"][0]["text"]), (200, &json!("shop.yml"), &json!(RULES)));
    let (_, found) = world.ask("POST", "check", json!({"name": "shop.yml", "text": RULES})).await;
    assert_eq!(found, json!({"problems": [], "groups": [{"name": "shop", "rules": 1}]}));
    let (status, found) = world.ask("POST", "check", json!({"name": "new.yml", "text": RULES.replace("up == 0", "up == (")})).await;
    assert_eq!(status, 200);
    let problem = found["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("new.yml, line 6: "), "{problem}");
    let (_, found) =
        world.ask("POST", "check", json!({"name": "new.yml", "text": RULES.replace("for: 2m", "for: 2m\n    escalation: nobody")})).await;
    assert!(found["problems"][0].as_str().unwrap().contains("nobody"), "{found}");
    let (status, found) = world.ask("POST", "check", json!({"name": "../x.yml", "text": ""})).await;
    assert!(status == 400 && found["error"].as_str().unwrap().contains("no name for a rule file"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_run_against_the_text_in_the_editor() {
    let world = world(false);
    let (status, found) = world.ask("POST", "test", json!({"name": "shop.yml", "text": RULES, "test": TEST})).await;
    assert_eq!((status, &found["success"], found["cases"].as_array().unwrap().len()), (200, &json!(true), 1), "{found}");
    let other = RULES.replace("up == 0", "up == 1");
    let (_, found) = world.ask("POST", "test", json!({"name": "shop.yml", "text": other, "test": TEST})).await;
    assert_eq!(found["success"], json!(false));
    assert!(found["cases"][0]["failure"].as_str().unwrap().contains("Down"), "{found}");
    let named = format!("rule_files: [/etc/passwd]\nconfig: /etc/passwd\n{TEST}");
    let (_, found) = world.ask("POST", "test", json!({"name": "shop.yml", "text": RULES, "test": named})).await;
    assert_eq!(
        (&found["success"], found["warnings"].as_array().unwrap().len()),
        (&json!(true), 2),
        "nothing is read from the disk: {found}"
    );
    let long = TEST.replace("eval_time: 5m", "eval_time: 1000d");
    let (_, found) = world.ask("POST", "test", json!({"name": "shop.yml", "text": RULES, "test": long})).await;
    assert!(found["cases"][0]["failure"].as_str().unwrap().contains("more than 20000"), "{found}");
    let (_, found) = world.ask("POST", "test", json!({"name": "shop.yml", "text": RULES, "test": "tests: {"})).await;
    assert!(found["errors"][0].as_str().unwrap().starts_with("the test: "), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_bounded_and_needs_right_rules() {
    let world = world(false);
    let day = |from: &str, to: &str, text: &str| json!({"name": "shop.yml", "text": text, "from": from, "to": to});
    let (status, found) = world.ask("POST", "replay", day("2026-03-01T00:00:00Z", "2026-03-01T01:00:00Z", RULES)).await;
    assert_eq!((status, &found["alerts"], &found["failures"]), (200, &json!([]), &json!({})), "{found}");
    assert!(found["evaluations"].as_u64().unwrap() >= 60, "{found}");
    for (from, to, text, said) in [
        ("2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z", RULES, "before"),
        ("2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z", RULES, "more than 20000"),
        ("2026-03-01T00:00:00Z", "2026-03-01T01:00:00Z", "groups: []", "has no rules"),
        ("2026-03-01T00:00:00Z", "2026-03-01T01:00:00Z", "groups: [", "shop.yml"),
    ] {
        let (status, found) = world.ask("POST", "replay", day(from, to, text)).await;
        assert!(status == 400 && found["error"].as_str().unwrap().contains(said), "{said}: {found}");
    }
}

#[tokio::test]
async fn a_file_is_written_only_where_that_is_allowed_and_all_rules_are_right() {
    let more = RULES.replace("for: 2m", "for: 5m");
    let closed = world(false);
    let (_, found) = closed.ask("GET", "files", Value::Null).await;
    assert_eq!(found["editable"], json!(false));
    assert!(found["read_only_because"].as_str().unwrap().contains("dashboards.edit_rules"), "{found}");
    let version = found["files"][0]["version"].clone();
    let body = |text: &str, version: &Value| json!({"name": "shop.yml", "text": text, "version": version});
    let (status, _) = closed.ask("PUT", "files", body(&more, &version)).await;
    assert_eq!((status, closed.text("shop.yml").as_str()), (403, RULES));

    let open = world(true);
    for (tenant, may) in [("default", Permission::Read), ("default", Permission::Respond), ("other", Permission::Admin)] {
        let (status, _) = open.ask_as(tenant, may, "PUT", "files", body(&more, &version)).await;
        assert_eq!((status, open.text("shop.yml").as_str()), (403, RULES), "{tenant} {may}");
    }
    let (status, found) = open.ask("PUT", "files", body(&RULES.replace("up == 0", "up =="), &version)).await;
    assert!(status == 400 && found["error"].as_str().unwrap().contains("shop.yml, line 6"), "{found}");
    let (status, _) = open.ask("PUT", "files", body(&more, &json!("older"))).await;
    assert_eq!((status, open.text("shop.yml").as_str()), (409, RULES));
    let (status, found) = open.ask("PUT", "files", body(&more, &version)).await;
    assert_eq!((status, open.text("shop.yml")), (200, more), "{found}");
    assert!(found["message"].as_str().unwrap().contains("within seconds"));
    // A second group of the same name in another file is right; the same file beside itself is not there.
    let (status, _) = open.ask("PUT", "files", json!({"name": "new.yml", "text": RULES})).await;
    assert_eq!(status, 200);
    let (_, found) = open.ask_as("default", Permission::Read, "GET", "files", Value::Null).await;
    assert_eq!((&found["editable"], found["files"].as_array().unwrap().len()), (&json!(false), 2), "a reader is told why");
}

#[tokio::test]
async fn rules_are_nobody_elses() {
    let world = world(true);
    for (method, path, body) in [("GET", "files", Value::Null), ("POST", "check", json!({"name": "a.yml", "text": RULES}))] {
        let (status, found) = world.ask_as("other", Permission::Admin, method, path, body).await;
        assert!(status == 403 && !found.to_string().contains("alert: Down"), "{found}");
    }
}
