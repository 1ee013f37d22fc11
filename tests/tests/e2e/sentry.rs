//! Sentry's own SDKs, unchanged but for the DSN, against the real server: errors, transactions, logs, check-ins, sessions; and the
//! same crashes told by OpenTelemetry's SDKs have the same fingerprints.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::node::{self, packages};
use tests::process::Watchfire;
use tests::python::{self, environment, skip};
use tests::wait::wait_for;

const CONFIG: &str = "collector:\n  sentry:\n    projects: { 1: checkout }\n";

/// A server with a key to read with and a DSN to send to.
struct World {
    server: Watchfire,
    reader: String,
    dsn: String,
}

impl World {
    async fn start() -> Self {
        let mut server = Watchfire::prepare(crate::WATCHFIRE, CONFIG, &[]);
        let create = |arguments: &[&str]| -> Value {
            let output = server.command(&[&["keys", "create", "--json"], arguments].concat()).output().unwrap();
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
        };
        let reader = create(&["reader", "--permission", "read"])["key"].as_str().unwrap().to_owned();
        let made = create(&["sdk", "--dsn", "1"]);
        assert_eq!(made["permissions"], serde_json::json!(["ingest"]), "the key of a DSN may only send");
        let dsn = made["dsn"].as_str().unwrap().to_owned();
        assert_eq!(dsn, format!("http://{}@{}/1", made["key"].as_str().unwrap(), server.http));
        server.start().await;
        World { server, reader, dsn }
    }
    fn key(&self) -> &str {
        self.dsn.trim_start_matches("http://").split('@').next().unwrap()
    }
    /// The rows of an SQL question.
    async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let url = format!("http://{}/api/watchfire/v1/sql?format=JSONCompact", self.server.http);
        let answer = reqwest::Client::new().post(url).bearer_auth(&self.reader).body(sql.to_owned()).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{sql}: {text}"));
        let cell = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
        let rows = json["data"].as_array().unwrap_or_else(|| panic!("{sql}: {text}"));
        rows.iter().map(|row| row.as_array().unwrap().iter().map(cell).collect()).collect()
    }
    async fn number(&self, sql: &str) -> u64 {
        self.rows(sql).await[0][0].parse().unwrap()
    }
    /// Waits until a question has this answer.
    async fn until(&self, sql: &str, expected: u64) {
        wait_for(sql, async || (self.number(sql).await == expected).then_some(())).await;
    }
    async fn promql(&self, expr: &str) -> Option<f64> {
        let url = format!("http://{}/api/v1/query", self.server.http);
        let request = reqwest::Client::new().get(url).bearer_auth(&self.reader).query(&[("query", expr)]);
        let json: Value = request.send().await.ok()?.json().await.ok()?;
        json["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
    /// The list of issues.
    async fn issues(&self) -> Vec<Value> {
        let url = format!("http://{}/api/watchfire/v1/errors?status=all", self.server.http);
        let list: Value = reqwest::Client::new().get(url).bearer_auth(&self.reader).send().await.unwrap().json().await.unwrap();
        list["issues"].as_array().unwrap_or_else(|| panic!("{list}")).clone()
    }
    /// Kinds told by a source: fingerprints with the type and how many events.
    async fn kinds(&self, source: &str) -> Vec<(String, String)> {
        let sql = format!(
            "SELECT toString(fingerprint) AS f, any(normalized) FROM error_events WHERE source = '{source}' AND type != 'Message' GROUP BY f ORDER BY f"
        );
        self.rows(&sql).await.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
    }
}

/// Runs a program with the addresses; its last words.
fn run(program: &mut Command, world: &World) -> (Option<i32>, String) {
    program.arg(&world.dsn).arg(format!("http://{}", world.server.otlp_http)).arg(world.key());
    let output = program.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_sdk_works_with_only_the_dsn_changed() {
    let Some(interpreter) = environment("requirements-sentry.txt", "test-python-sentry") else {
        return skip("Python 3 with venv and the packages of tests/python/requirements-sentry.txt");
    };
    let world = World::start().await;
    let (code, said) = run(Command::new(interpreter).arg(python::programs().join("crashes.py")), &world);
    assert!(code == Some(1) && said.contains("sent") && said.contains("PaymentDeclined: bank-1 did not answer"), "{code:?} {said}");

    // Six kinds, ten events each (five caught inside two spans, five outside all), and the one that ended the program.
    world.until("SELECT uniqExact(event_id) FROM error_events WHERE source = 'sentry' AND type != 'Message'", 61).await;
    world.until("SELECT uniqExact(event_id) FROM error_events WHERE source = 'otel_span'", 60).await;
    world.until("SELECT uniqExact(event_id) FROM error_events WHERE source = 'otel_log'", 30).await;
    let sentry = world.kinds("sentry").await;
    assert_eq!(sentry.len(), 6, "{sentry:#?}");
    assert_eq!(world.kinds("otel_span").await, sentry, "the same crashes, the same kinds");
    assert_eq!(world.kinds("otel_log").await, sentry, "the same crashes, the same kinds");
    // One list: six kinds and the message, with the events of all three ways.
    let listed = wait_for("the list of issues", async || {
        let issues = world.issues().await;
        let events: u64 = issues.iter().filter_map(|issue| issue["events"].as_u64()).sum();
        (events == 61 + 60 + 30 + 1).then_some(issues)
    })
    .await;
    assert_eq!(listed.len(), 7, "{listed:#?}");
    let died = "SELECT count() FROM error_events WHERE tags['handled'] = 'no' AND type = '__main__.PaymentDeclined' AND user = 'customer-7' AND project = 'checkout' AND release = '2.4.1' AND environment = 'test'";
    assert_eq!(world.number(died).await, 1);
    assert_eq!(
        world.number("SELECT count() FROM error_events WHERE type = 'Message' AND value = 'stock is low' AND level = 'warning'").await,
        1
    );

    let spans = world.rows("SELECT name, kind, attributes['sentry.op'] FROM spans WHERE service = 'checkout' AND name NOT IN ('inner', 'outer') ORDER BY name").await;
    assert_eq!(
        spans,
        [["GET", "CLIENT", "http.client"], ["POST /order", "SERVER", "http.server"], ["SELECT", "CLIENT", "db"]]
            .map(|row| row.map(str::to_owned).to_vec())
    );
    let related = "SELECT count() FROM error_events AS e WHERE e.type = 'Message' AND e.trace_id IN (SELECT trace_id FROM spans WHERE name = 'POST /order')";
    assert_eq!(world.number(related).await, 1, "the message stands in its trace");
    let calls = "sum(increase(traces_span_metrics_calls_total{service_name=\"checkout\",span_name=\"POST /order\",span_kind=\"SPAN_KIND_SERVER\"}[5m]))";
    wait_for(calls, async || world.promql(calls).await.filter(|calls| *calls >= 1.0)).await;

    world.until("SELECT count() FROM logs WHERE service = 'checkout' AND body = 'cart 7 is slow' AND severity_number = 13", 1).await;
    for (expr, least) in [
        ("watchfire_checkin_timestamp_seconds{monitor=\"nightly\",status=\"ok\"}", 1.7e9),
        ("sum(increase(watchfire_checkin_total{monitor=\"nightly\"}[5m]))", 2.0),
        ("watchfire_checkin_duration_seconds{monitor=\"nightly\",status=\"ok\"} + 1", 1.0),
        ("sum(increase(watchfire_sentry_sessions_total{status=\"exited\",release=\"2.4.1\"}[5m]))", 1.0),
        ("absent_over_time(watchfire_checkin_timestamp_seconds{monitor=\"weekly\",status=\"ok\"}[7d])", 1.0),
    ] {
        wait_for(expr, async || world.promql(expr).await.filter(|value| *value >= least)).await;
    }
    assert!(!world.server.log().contains(world.key()), "the log must not hold a key");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_sdk_works_with_only_the_dsn_changed() {
    let Some(folder) = packages() else {
        return skip("Node 20 with npm and the packages of tests/node/package.json");
    };
    let world = World::start().await;
    let program: PathBuf = node::programs().join("crashes.js");
    let (code, said) = run(Command::new("node").arg(&program).arg(&folder), &world);
    assert!(code == Some(0) && said.contains("sent"), "{code:?} {said}");
    world.until("SELECT uniqExact(event_id) FROM error_events WHERE source = 'sentry'", 20).await;
    world.until("SELECT uniqExact(event_id) FROM error_events WHERE source = 'otel_span'", 20).await;
    let sentry = world.kinds("sentry").await;
    assert_eq!(sentry.len(), 4, "{sentry:#?}");
    assert_eq!(world.kinds("otel_span").await, sentry, "the same crashes, the same kinds");
    let frames = |source: &str| {
        format!("SELECT DISTINCT frames_function, frames_file, frames_line FROM error_events WHERE source = '{source}' ORDER BY ALL")
    };
    assert_eq!(world.rows(&frames("sentry")).await, world.rows(&frames("otel_span")).await, "frame by frame");
    let spans = world.rows("SELECT name, kind FROM spans WHERE service = 'checkout' AND name != 'crash' ORDER BY name").await;
    assert!(
        spans.contains(&vec!["GET /cart".into(), "SERVER".into()]) && spans.contains(&vec!["SELECT".into(), "CLIENT".into()]),
        "{spans:?}"
    );
    world.until("SELECT count() FROM logs WHERE body = 'cart 8 is slow' AND attributes['cart'] = '8'", 1).await;
    let job = "sum(increase(watchfire_checkin_total{monitor=\"hourly\",status=\"ok\"}[5m]))";
    wait_for(job, async || world.promql(job).await.filter(|count| *count >= 1.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_dsn_sends_from_everywhere_and_opens_nothing_else() {
    let world = World::start().await;
    let client = reqwest::Client::new();
    let base = format!("http://{}", world.server.http);
    let event = r#"{"event_id":"9ec79c33ec9942ab8353589fcb2e04dc","message":"from a page"}"#;
    let envelope = |header: &str| format!("{header}\n{{\"type\":\"event\"}}\n{event}\n");
    let send = async |query: &str, header: (&str, &str), body: String| {
        let request =
            client.post(format!("{base}/api/1/envelope/{query}")).header("origin", "https://shop.example").header(header.0, header.1);
        let answer = request.body(body).send().await.unwrap();
        let allowed = answer.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), allowed, answer.text().await.unwrap())
    };
    let any = Some("*".to_owned());
    let none = ("x-none", "");
    let id = r#"{"id":"9ec79c33ec9942ab8353589fcb2e04dc"}"#;
    let key = world.key();
    let in_header = format!("Sentry sentry_version=7, sentry_key={key}");
    let in_query = format!("?sentry_version=7&sentry_key={key}");
    let in_body = envelope(&format!("{{\"dsn\":\"{}\"}}", world.dsn));
    for (query, header, body) in
        [(in_query.as_str(), none, envelope("{}")), ("", ("x-sentry-auth", in_header.as_str()), envelope("{}")), ("", none, in_body)]
    {
        assert_eq!(send(query, header, body).await, (200, any.clone(), id.to_owned()), "{query}");
    }
    for (query, header, body) in [
        ("?sentry_key=wf_wrong", none, envelope("{}")),
        ("", none, envelope("{}")),
        ("", none, envelope(r#"{"dsn":"http://wf_wrong@localhost/1"}"#)),
    ] {
        let (status, allowed, text) = send(query, header, body).await;
        assert!(status == 401 && allowed == any && text.starts_with("{\"detail\":\""), "{query}: {status} {text}");
    }
    let reader = format!("?sentry_key={}", world.reader);
    let (status, _, text) = send(&reader, none, envelope("{}")).await;
    assert!(status == 403 && text.contains("lacks the permission `ingest`"), "{status} {text}");
    let ask = client.request(reqwest::Method::OPTIONS, format!("{base}/api/1/envelope/")).header("origin", "https://shop.example");
    assert_eq!(ask.send().await.unwrap().status().as_u16(), 200);
    // The same key, in the ways of SDKs, on other paths; and as a bearer for reading.
    for path in ["/api/watchfire/v1/status", "/api/v1/query?query=1", "/metrics"] {
        let separator = if path.contains('?') { '&' } else { '?' };
        let answer =
            client.get(format!("{base}{path}{separator}sentry_key={key}")).header("x-sentry-auth", &in_header).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 401, "{path}");
        let answer = client.get(format!("{base}{path}")).bearer_auth(key).send().await.unwrap();
        assert!(matches!(answer.status().as_u16(), 401 | 403), "{path}");
    }
    world.until("SELECT count() FROM error_events WHERE value = 'from a page'", 1).await;
    assert!(Path::new(&world.server.data()).exists());
}
