//! Sentry's own SDKs, unchanged but for the DSN, against the real server: errors, transactions, logs, check-ins, sessions; and the
//! same crashes told by OpenTelemetry's SDKs have the same fingerprints.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tests::node::{self, packages};
use tests::process::Watchfire;
use tests::python::{self, environment, skip};
use tests::wait::wait_for;

const CONFIG: &str = "collector:\n  sentry:\n    projects: { 1: checkout }\n";

/// Makes one kind of two.
const RULES: &str = "errors:\n  rules:\n  - { name: lookups of a service, match: { type: KeyError, service: check* }, fingerprint: [lookup, \"{{ service }}\"], title: \"Lookups of {{ service }}\" }\n";

/// A server with keys to read and to respond with, and a DSN to send to.
struct World {
    server: Watchfire,
    reader: String,
    responder: String,
    dsn: String,
}

impl World {
    async fn start() -> Self {
        World::start_with(CONFIG).await
    }
    async fn start_with(config: &str) -> Self {
        let mut server = Watchfire::prepare(crate::WATCHFIRE, config, &[]);
        let create = |arguments: &[&str]| -> Value {
            let output = server.command(&[&["keys", "create", "--json"], arguments].concat()).output().unwrap();
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
        };
        let reader = create(&["reader", "--permission", "read"])["key"].as_str().unwrap().to_owned();
        let responder = create(&["responder", "--permission", "respond"])["key"].as_str().unwrap().to_owned();
        let made = create(&["sdk", "--dsn", "1"]);
        assert_eq!(made["permissions"], serde_json::json!(["ingest"]), "the key of a DSN may only send");
        let dsn = made["dsn"].as_str().unwrap().to_owned();
        assert_eq!(dsn, format!("http://{}@{}/1", made["key"].as_str().unwrap(), server.http));
        server.start().await;
        World { server, reader, responder, dsn }
    }
    /// A person's command about an issue.
    async fn command(&self, number: u64, word: &str, said: Value) -> Value {
        let url = format!("http://{}/api/watchfire/v1/errors/{number}/{word}", self.server.http);
        let answer = reqwest::Client::new().post(&url).bearer_auth(&self.reader).json(&said).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 403, "who may only read changes nothing");
        let answer = reqwest::Client::new().post(url).bearer_auth(&self.responder).json(&said).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{number} {word}");
        answer.json().await.unwrap()
    }
    /// Watchfire's own metrics.
    async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.server.http);
        reqwest::Client::new().get(url).bearer_auth(&self.reader).send().await.unwrap().text().await.unwrap()
    }
    /// Gives the running server another configuration in place of [`CONFIG`].
    async fn reload(&self, config: &str) {
        let file = self.server.folder().join("watchfire.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(CONFIG));
        std::fs::write(self.server.folder().join(".fresh"), text.replace(CONFIG, config)).unwrap();
        std::fs::rename(self.server.folder().join(".fresh"), &file).unwrap();
        assert!(Command::new("kill").args(["-HUP", &self.server.pid().to_string()]).status().unwrap().success());
        wait_for("the reload", async || self.server.log().contains("is taken up").then_some(())).await;
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

/// The issue of a type whose innermost frame is a function. The type is written as by the event that came first, with its module or without.
fn named(issues: &[Value], kind: &str, function: &str) -> Value {
    let of = |issue: &&Value| {
        issue["type"].as_str().is_some_and(|found| found.ends_with(kind))
            && issue["culprit"].as_str().is_some_and(|culprit| culprit.starts_with(function))
    };
    issues.iter().find(of).unwrap_or_else(|| panic!("no {kind} in {function}: {issues:#?}")).clone()
}

/// Runs a program with the addresses; its last words.
fn run(program: &mut Command, world: &World, more: &[&str]) -> (Option<i32>, String) {
    program.arg(&world.dsn).arg(format!("http://{}", world.server.otlp_http)).arg(world.key()).args(more);
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
    let program = python::programs().join("crashes.py");
    let (code, said) = run(Command::new(&interpreter).arg(&program), &world, &[]);
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
        (events == 61 + 60 + 30 + 2).then_some(issues)
    })
    .await;
    assert_eq!(listed.len(), 8, "{listed:#?}");
    let died = "SELECT count() FROM error_events WHERE tags['handled'] = 'no' AND type = '__main__.PaymentDeclined' AND user = 'customer-7' AND project = 'checkout' AND release = '2.4.1' AND environment = 'test'";
    assert_eq!(world.number(died).await, 1);
    assert_eq!(
        world.number("SELECT count() FROM error_events WHERE type = 'Message' AND value = 'stock is low' AND level = 'warning'").await,
        1
    );

    // Errors and spans are two tables, and either may be written first.
    world.until("SELECT count() FROM spans WHERE service = 'checkout' AND name NOT IN ('inner', 'outer')", 3).await;
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
    // What is neither kept nor refused: a report of what the SDK left out is counted, an attachment and a profile are ignored.
    let left_out = "sum(increase(watchfire_sentry_discarded_events_total{reason=\"before_send\"}[5m]))";
    wait_for(left_out, async || world.promql(left_out).await.filter(|count| *count >= 1.0)).await;
    assert_eq!(world.number("SELECT count() FROM error_events WHERE value = 'nobody wants to know'").await, 0);
    world.until("SELECT count() FROM error_events WHERE value = 'an attachment comes with it'", 1).await;
    let metrics = world.metrics().await;
    for item in ["attachment", "profile"] {
        let ignored = format!("watchfire_collector_sentry_items_total{{outcome=\"ignored\",type=\"{item}\"}} ");
        assert!(metrics.lines().any(|line| line.starts_with(&ignored) && !line.ends_with(" 0")), "{item}: {metrics}");
    }
    assert!(
        !metrics.lines().any(|line| line.contains("protocol=\"sentry\"") && line.contains("code=\"4")),
        "nothing is refused: {metrics}"
    );

    // People resolve and assign through the API, with a key that may; the configuration gets a rule while the server runs.
    let declined = named(&listed, "PaymentDeclined", "charge");
    assert_eq!(declined["users"], 1, "customer-7: {declined}");
    let number = declined["number"].as_u64().unwrap();
    let resolved = world.command(number, "resolve", json!({})).await;
    assert_eq!(resolved["issue"]["status"], "resolved", "{resolved}");
    let assigned = world.command(number, "assign", json!({ "to": "ana" })).await;
    assert_eq!(assigned["issue"]["assignee"], "ana", "{assigned}");
    let decode = named(&listed, "JSONDecodeError", "read");
    let ignored = world.command(decode["number"].as_u64().unwrap(), "ignore", json!({ "events": 1_000 })).await;
    assert_eq!(ignored["issue"]["status"], "ignored", "{ignored}");
    world.reload(&format!("{CONFIG}{RULES}")).await;

    // The same crashes once more, of a later release and another customer.
    let (code, said) = run(Command::new(&interpreter).arg(&program), &world, &["again"]);
    assert!(code == Some(0) && said.contains("sent"), "{code:?} {said}");
    // Six kinds: each caught once by Sentry's SDK, in two spans and in a log record.
    let after = wait_for("the list of issues", async || {
        let issues = world.issues().await;
        let events: u64 = issues.iter().filter_map(|issue| issue["events"].as_u64()).sum();
        (events == 153 + 6 * 4).then_some(issues)
    })
    .await;
    let regressed = named(&after, "PaymentDeclined", "charge");
    assert_eq!((&regressed["number"], &regressed["status"]), (&json!(number), &json!("regressed")), "{regressed}");
    assert_eq!((&regressed["users"], &regressed["assignee"]), (&json!(2), &json!("ana")), "{regressed}");
    assert_eq!(named(&after, "JSONDecodeError", "read")["status"], "ignored", "a thousand have not come");
    // Two kinds, told by two SDKs in three ways, are one by the rule.
    assert_eq!(after.len(), 9, "{after:#?}");
    let lookups = after.iter().find(|issue| issue["title"] == "Lookups of checkout").unwrap_or_else(|| panic!("{after:#?}"));
    assert_eq!((&lookups["events"], &lookups["users"]), (&json!(8), &json!(1)), "{lookups}");
    assert!(lookups["grouped_by"].as_str().unwrap().contains("lookups of a service"), "{lookups}");
    let sources = "SELECT uniqExact(source), uniqExact(frames_function[1]) FROM error_events WHERE release = '2.5.0' AND type = 'KeyError'";
    assert_eq!(world.rows(sources).await, [["3", "2"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_sdk_works_with_only_the_dsn_changed() {
    let Some(folder) = packages() else {
        return skip("Node 20 with npm and the packages of tests/node/package.json");
    };
    let world = World::start().await;
    let program: PathBuf = node::programs().join("crashes.js");
    let (code, said) = run(Command::new("node").arg(&program).arg(&folder), &world, &[]);
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
    // One list: four kinds, each told five times by either SDK to the same issue, of the one customer.
    let listed = wait_for("the list of issues", async || {
        let issues = world.issues().await;
        let events: u64 = issues.iter().filter_map(|issue| issue["events"].as_u64()).sum();
        (events == 40).then_some(issues)
    })
    .await;
    assert_eq!(listed.len(), 4, "{listed:#?}");
    assert!(listed.iter().all(|issue| issue["events"] == 10 && issue["users"] == 1 && issue["status"] == "open"), "{listed:#?}");
    let sessions = "sum(increase(watchfire_sentry_sessions_total{release=\"2.4.1\"}[5m]))";
    wait_for(sessions, async || world.promql(sessions).await.filter(|count| *count >= 1.0)).await;
    let left_out = "sum(increase(watchfire_sentry_discarded_events_total{reason=\"before_send\"}[5m]))";
    wait_for(left_out, async || world.promql(left_out).await.filter(|count| *count >= 1.0)).await;
    let metrics = world.metrics().await;
    for item in ["attachment", "feedback"] {
        let ignored = format!("watchfire_collector_sentry_items_total{{outcome=\"ignored\",type=\"{item}\"}} ");
        assert!(metrics.lines().any(|line| line.starts_with(&ignored) && !line.ends_with(" 0")), "{item}: {metrics}");
    }
    assert!(
        !metrics.lines().any(|line| line.contains("protocol=\"sentry\"") && line.contains("code=\"4")),
        "nothing is refused: {metrics}"
    );
    for (name, kind) in [("GET /cart", "SERVER"), ("SELECT", "CLIENT")] {
        let one = format!("SELECT toUInt64(count() > 0) FROM spans WHERE service = 'checkout' AND name = '{name}' AND kind = '{kind}'");
        world.until(&one, 1).await;
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn the_client_before_envelopes_tells_the_same_issue() {
    let Some(interpreter) = environment("requirements-sentry.txt", "test-python-sentry") else {
        return skip("Python 3 with venv and the packages of tests/python/requirements-sentry.txt");
    };
    let world = World::start().await;
    let output = Command::new(interpreter).arg(python::programs().join("older.py")).arg(&world.dsn).output().unwrap();
    assert!(output.status.success() && output.stdout.ends_with(b"sent\n"), "{}", String::from_utf8_lossy(&output.stderr));
    world.until("SELECT count() FROM error_events WHERE release = '1.0.0'", 4).await;
    world.until("SELECT count() FROM error_events WHERE release = '2.0.0'", 3).await;
    let of = |release: &str| {
        format!(
            "SELECT DISTINCT toString(fingerprint), type, frames_function[1], environment, project FROM error_events \
             WHERE release = '{release}' AND type != 'Message'"
        )
    };
    let older = world.rows(&of("1.0.0")).await;
    assert_eq!((older.len(), &older[0][1..]), (1, &["KeyError", "price", "test", "checkout"].map(str::to_owned)[..]));
    assert_eq!(older, world.rows(&of("2.0.0")).await, "one crash, told by both");
    let message = "SELECT value, level, tags['site'] FROM error_events WHERE type = 'Message'";
    assert_eq!(world.rows(message).await, [["stock of pens is low", "warning", "east"]]);
    let issue = wait_for("the issue", async || world.issues().await.into_iter().find(|issue| issue["events"] == 6)).await;
    assert_eq!(issue["users"], 3, "{issue}");
    let store = "watchfire_collector_requests_total{code=\"200\",protocol=\"sentry\",signal=\"store\"} 4";
    assert!(world.metrics().await.contains(store), "the client of then posts to /store/");
}

/// One event a second of the tenant, and two hundred a minute of a key.
const RATES: &str = "collector:\n  sentry:\n    projects: { 1: checkout }\n    rate_limit: { errors: 200 }\npipeline:\n  \
                     rate_limits: { default: { errors: { records: 1, burst: 2s } } }\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_pauses_when_it_is_told_to_and_comes_back() {
    let Some(interpreter) = environment("requirements-sentry.txt", "test-python-sentry") else {
        return skip("Python 3 with venv and the packages of tests/python/requirements-sentry.txt");
    };
    let world = World::start_with(RATES).await;
    let output = Command::new(interpreter).arg(python::programs().join("paused.py")).arg(&world.dsn).output().unwrap();
    assert!(output.status.success() && output.stdout.ends_with(b"sent\n"), "{}", String::from_utf8_lossy(&output.stderr));
    world.until("SELECT count() FROM error_events WHERE value = 'afterwards'", 1).await;
    let stored = world.number("SELECT count() FROM error_events WHERE value LIKE 'many %'").await;
    let metrics = world.metrics().await;
    let requests = |code: u16| {
        let series = format!("watchfire_collector_requests_total{{code=\"{code}\",protocol=\"sentry\",signal=\"envelope\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<u64>().ok()).unwrap_or_default()
    };
    let refused = requests(429);
    assert!(stored < 60 && refused > 0, "{stored} stored, {refused} refused");
    assert!(stored + refused < 60, "it paused: {stored} stored and {refused} refused of 60, so not all were sent");
    // What it did not send it reports.
    let left_out = "sum(increase(watchfire_sentry_discarded_events_total{reason=\"ratelimit_backoff\"}[5m]))";
    wait_for(left_out, async || world.promql(left_out).await.filter(|count| *count >= 1.0)).await;

    // A key's own limit, by kind: errors wait, transactions pass.
    let client = reqwest::Client::new();
    let send = async |kind: &str, item: Value| {
        let body = format!("{{}}\n{{\"type\":\"{kind}\"}}\n{item}\n");
        let url = format!("http://{}/api/1/envelope/?sentry_key={}", world.server.http, world.key());
        let answer = client.post(url).body(body).send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), header("x-sentry-rate-limits"), header("retry-after"))
    };
    let mut last = None;
    for _ in 0..400 {
        let (status, limits, again) = send("event", json!({ "message": "more" })).await;
        if let Some(limits) = limits.filter(|limits| limits.ends_with(":error:key")) {
            last = Some((status, limits, again));
            break;
        }
    }
    let (status, limits, again) = last.expect("two hundred a minute is the most");
    let seconds: u64 = limits.split(':').next().unwrap().parse().unwrap();
    assert!(status == 429 && (1..=60).contains(&seconds) && again == Some(seconds.to_string()), "{status} {limits} {again:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let trace = json!({ "trace": { "trace_id": "4c79f60c11214eb38604f4ae0781bfb2", "span_id": "fa90fdead5f74052", "op": "http.server" } });
    let transaction =
        json!({ "type": "transaction", "transaction": "GET /", "start_timestamp": now - 1.0, "timestamp": now, "contexts": trace });
    let (status, limits, _) = send("transaction", transaction).await;
    assert_eq!((status, limits), (200, None));
    world.until("SELECT count() FROM spans WHERE service = 'checkout' AND name = 'GET /'", 1).await;
}
