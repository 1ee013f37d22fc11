//! What the console asks of a whole server: rules judged, tested, replayed over stored history and written; log lines as they arrive; keys and
//! retention without secrets.

use std::time::Duration;

use serde_json::{Value, json};
use tests::process::Watchfire;
use tests::wait::wait_for;

const RULES: &str = "groups:\n- name: shop\n  interval: 5s\n  rules:\n  - alert: Slow\n    expr: latency_seconds > 1\n    for: 10s\n    labels: { severity: warning }\n";

async fn ask(server: &Watchfire, key: Option<&str>, method: reqwest::Method, path: &str, body: &Value) -> (u16, Value) {
    let mut request = reqwest::Client::new().request(method, format!("http://{}{path}", server.http)).json(body);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap())
}

/// A key with so much permission, once the server knows it.
async fn key(server: &Watchfire, permission: &str) -> String {
    let made = server.command(&["keys", "create", permission, "--permission", permission, "--json"]).output().unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap_or_else(|_| panic!("{made:?}"));
    let key = made["key"].as_str().unwrap().to_owned();
    wait_for("the new key to be known", async || {
        let (status, _) = ask(server, Some(&key), reqwest::Method::GET, "/api/watchfire/v1/status", &Value::Null).await;
        (status != 401).then_some(())
    })
    .await;
    key
}

/// A gauge that was 2 from ten to five minutes ago, and is 0.5 since.
async fn history(server: &Watchfire, now: u64) {
    let points: Vec<Value> = (0..60)
        .map(|at| {
            let when = now - 600 + at * 10;
            json!({"timeUnixNano": format!("{when}000000000"), "asDouble": if at < 30 { 2.0 } else { 0.5 }})
        })
        .collect();
    let metric = json!({"name": "latency", "unit": "s", "gauge": {"dataPoints": points}});
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]});
    let (status, answer) = ask(server, None, reqwest::Method::POST, "/v1/metrics", &body).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_judged_replayed_over_history_written_and_taken_up() {
    let config = "alerting: { rules: rules }\ndashboards: { edit_rules: true }\n";
    let mut server = Watchfire::prepare(crate::WATCHFIRE, config, &[("other.yml", "groups: []\n")]);
    server.start().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    history(&server, now).await;
    wait_for("the newest sample", async || server.promql("latency_seconds").await).await;

    let post = reqwest::Method::POST;
    let draft = json!({"name": "shop.yml", "text": RULES});
    let (_, verdict) = ask(&server, None, post.clone(), "/api/watchfire/v1/rules/check", &draft).await;
    assert_eq!(verdict, json!({"problems": [], "groups": [{"name": "shop", "rules": 1}]}));
    let span = |from: u64, to: u64| {
        let text = |at: u64| model::time::Timestamp::from_secs(at as i64).rfc3339();
        json!({"name": "shop.yml", "text": RULES, "from": text(from), "to": text(to)})
    };
    let replay = "/api/watchfire/v1/rules/replay";
    let (status, replayed) = ask(&server, None, post.clone(), replay, &span(now - 900, now - 5)).await;
    let alerts = replayed["alerts"].as_array().unwrap_or_else(|| panic!("{status} {replayed}"));
    assert_eq!((alerts.len(), &alerts[0]["name"], &replayed["failures"]), (1, &json!("Slow"), &json!({})), "{replayed}");
    let at = |value: &Value| value.as_str().unwrap().parse::<model::time::Timestamp>().unwrap().millis() / 1_000;
    let (pending, fired, ended) = (at(&alerts[0]["pending"]), at(&alerts[0]["fired"]), at(&alerts[0]["ended"]));
    let begin = now as i64 - 600;
    assert!((begin..begin + 10).contains(&pending) && (10..16).contains(&(fired - pending)), "{replayed}");
    assert!((begin + 300..begin + 310).contains(&ended), "{replayed}");
    // Nothing of it is stored or running.
    assert_eq!(server.get("/api/watchfire/v1/alerts?state=all").await["alerts"], json!([]));
    assert_eq!(server.get("/api/v1/rules").await["data"]["groups"], json!([]));

    // Nobody writes without `admin`; who has it does, and what is written runs.
    let (status, answer) = ask(&server, None, reqwest::Method::PUT, "/api/watchfire/v1/rules/files", &draft).await;
    assert!(status == 403 && answer["error"].as_str().unwrap().contains("admin"), "{answer}");
    server.make_key().await;
    let admin = key(&server, "admin").await;
    let (status, answer) = ask(&server, Some(&admin), reqwest::Method::PUT, "/api/watchfire/v1/rules/files", &draft).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(std::fs::read_to_string(server.folder().join("rules/shop.yml")).unwrap(), RULES);
    wait_for("the rule to run", async || {
        let found = server.get("/api/v1/rules").await;
        (found["data"]["groups"][0]["rules"][0]["name"] == "Slow").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_comes_to_its_reader_as_it_is_taken_in() {
    let mut server = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    server.start().await;
    let search = r#"[{"kind":"field","key":"service","op":"=","value":"shop"},{"kind":"text","text":"answer","not":false}]"#;
    let url = format!("http://{}/api/watchfire/v1/logs/tail", server.http);
    let mut answer = reqwest::Client::new().get(url).query(&[("search", search)]).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut said = String::new();
    let mut until = async |mark: &str| {
        while !said.contains(mark) {
            let piece = tokio::time::timeout(Duration::from_secs(60), answer.chunk()).await.expect("nothing came").unwrap().unwrap();
            said.push_str(&String::from_utf8_lossy(&piece));
        }
        said.clone()
    };
    until("lines follow").await;
    let record = |body: &str| json!({"timeUnixNano": "1", "severityNumber": 9, "body": {"stringValue": body}});
    let of = |service: &str, body: &str| {
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
        json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record(body)]}]}]})
    };
    for (service, body) in [("shop", "fine"), ("cart", "no answer"), ("shop", "No Answer from the bank")] {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos().to_string();
        let mut sent = of(service, body);
        sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["timeUnixNano"] = json!(now);
        let (status, answer) = ask(&server, None, reqwest::Method::POST, "/v1/logs", &sent).await;
        assert_eq!(status, 200, "{answer}");
    }
    let said = until("from the bank").await;
    assert!(!said.contains("fine") && !said.contains("cart"), "{said}");
    let data: Value = serde_json::from_str(said.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap();
    assert_eq!((&data["lines"][0]["service"], data["lines"].as_array().unwrap().len()), (&json!("shop"), 1), "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_retention_are_told_without_secrets_and_places() {
    let mut server = Watchfire::prepare(crate::WATCHFIRE, "collector: { retention_days: { logs: 3 } }\n", &[]);
    server.start().await;
    assert_eq!(server.get("/api/watchfire/v1/keys").await, json!({"keys": [], "keyless": true}));
    server.make_key().await;
    let (admin, reader) = (key(&server, "admin").await, key(&server, "read").await);
    let (_, found) = ask(&server, Some(&reader), reqwest::Method::GET, "/api/watchfire/v1/system", &Value::Null).await;
    assert_eq!((&found["retention_days"]["logs"], &found["retention_days"]["spans"]), (&json!(3), &json!(14)));
    assert_eq!((&found["state"], &found["telemetry"], &found["engine"]["up"]), (&json!("sqlite"), &json!("embedded"), &json!(true)));
    assert!(!found.to_string().contains(server.folder().to_str().unwrap()), "{found}");
    let (status, refused) = ask(&server, Some(&reader), reqwest::Method::GET, "/api/watchfire/v1/keys", &Value::Null).await;
    assert!(status == 403 && refused["error"].as_str().unwrap().contains("admin"), "{refused}");
    let (status, found) = ask(&server, Some(&admin), reqwest::Method::GET, "/api/watchfire/v1/keys", &Value::Null).await;
    let mut names: Vec<&str> = found["keys"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!((status, names), (200, vec!["admin", "read", "test"]));
    assert!(!found.to_string().contains("hash") && !found.to_string().contains(&reader) && !found.to_string().contains(&admin));
}
