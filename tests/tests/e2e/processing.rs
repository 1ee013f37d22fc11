//! Processing by the real server: no secret reaches the log or a table; another configuration is taken up under load without losing a
//! row; and the command that tries it out.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use opentelemetry_proto::tonic::trace::v1::span::Event;
use rand::Rng;
use rand::distr::Alphanumeric;
use serde_json::{Value, json};
use tests::process::Watchfire;
use tests::send::{attribute, post, spans};
use tests::wait::wait_for;

/// Letters and digits that nobody can compress or guess.
fn random(length: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

/// All bytes of the files below a folder.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_below(&path));
        } else {
            all.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
    all
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The secrets as they stand in a text; the second part of each must be found nowhere.
fn secrets() -> Vec<(String, String)> {
    let (github, bearer, password, url, jwt) = (random(36), random(32), random(16), random(16), random(43));
    vec![
        (format!("token ghp_{github} refused"), github),
        (format!("sent Authorization: Bearer {bearer} upstream"), bearer),
        (format!("login with password={password} failed"), password),
        (format!("cannot reach postgres://shop:{url}@db/orders"), url),
        (format!("session eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{jwt}"), jwt),
        (format!("card 4111 1111 1111 1111 of {}", random(4)), "4111 1111 1111 1111".to_owned()),
    ]
}

/// A text that may stay, beside a secret that may not.
fn text(mark: &str, secrets: &[(String, String)]) -> String {
    let all: Vec<&str> = secrets.iter().map(|(text, _)| text.as_str()).collect();
    format!("{mark}: {}", all.join("; "))
}

fn otlp(kind: &str, dirty: &str, key: &str, now: u64) -> Value {
    let attributes = json!([{"key": "note", "value": {"stringValue": dirty}}, {"key": key, "value": {"kvlistValue": {"values": [{"key": "in", "value": {"stringValue": dirty}}]}}}]);
    let resource =
        json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}, {"key": "cmd", "value": {"stringValue": dirty}}]});
    let scope = json!({"name": "lib", "version": dirty, "attributes": attributes});
    let now = now.to_string();
    match kind {
        "logs" => json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": [
            {"timeUnixNano": now, "body": {"stringValue": dirty}, "severityText": dirty, "attributes": attributes},
            {"timeUnixNano": now, "body": {"arrayValue": {"values": [{"stringValue": dirty}]}}, "attributes": [
                {"key": "exception.type", "value": {"stringValue": "E"}}, {"key": "exception.message", "value": {"stringValue": dirty}},
                {"key": "exception.stacktrace", "value": {"stringValue": format!("E: {dirty}\n  at a (b.js:1:1)")}}]}]}]}]}),
        "metrics" => json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": scope, "metrics": [
            {"name": "m", "description": dirty, "unit": "1", "gauge": {"dataPoints": [{"timeUnixNano": now, "asInt": "1", "attributes": attributes,
                "exemplars": [{"timeUnixNano": now, "asInt": "1", "filteredAttributes": attributes}]}]}}]}]}]}),
        _ => panic!("{kind}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_the_log_or_a_table() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "pipeline: { redaction: { enabled: true }, patterns: { enabled: true } }\n", &[]);
    world.start().await;
    let client = reqwest::Client::new();
    let (secrets, marks): (Vec<_>, Vec<String>) = (secrets(), (0..3).map(|_| format!("mark{}", random(24))).collect());
    let url = |path: &str| format!("http://{}/v1/{path}", world.otlp_http);

    let mut request = spans("shop", 1, 1);
    let dirty = text(&marks[0], &secrets);
    let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
    span.name = dirty.clone();
    span.status.as_mut().unwrap().message = dirty.clone();
    span.trace_state = "a=b".to_owned();
    span.attributes = vec![attribute("note", &dirty), attribute("http.request.header.authorization", &secrets[1].1)];
    let attributes =
        vec![attribute("exception.type", "E"), attribute("exception.message", &dirty), attribute("exception.stacktrace", &dirty)];
    span.events = vec![Event { time_unix_nano: span.start_time_unix_nano, name: "exception".into(), attributes, ..Event::default() }];
    let now = span.start_time_unix_nano;
    assert_eq!(post(&client, &url("traces"), &request).await, Some(200));
    for (kind, mark) in [("logs", &marks[1]), ("metrics", &marks[2])] {
        let answer = client.post(url(kind)).json(&otlp(kind, &text(mark, &secrets), &text(mark, &secrets[..2]), now)).send().await.unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success() && body == "{}", "{kind}: {status} {body}");
    }

    // What was acknowledged is in the log: the marks are found there, so secrets would be, too.
    let log = bytes_below(&world.data().join("wal"));
    for mark in &marks {
        assert!(holds(&log, mark), "the log does not hold {mark}: this test would see nothing");
    }
    for (text, secret) in &secrets {
        assert!(!holds(&log, secret), "the log holds a secret of `{text}`");
    }

    wait_for("all to be stored", async || {
        (world.count("SELECT (SELECT count() FROM spans) + (SELECT count() FROM logs) + (SELECT count() FROM exemplars)").await == 4)
            .then_some(())
    })
    .await;
    let tables = ["spans", "logs", "series", "points", "error_events", "exemplars", "patterns"];
    let mut marked = HashSet::new();
    for table in tables {
        let url = format!("http://{}/api/watchfire/v1/sql?format=TSVWithNames", world.http);
        let answer = client.post(url).body(format!("SELECT * FROM {table}")).send().await.unwrap();
        assert!(answer.status().is_success(), "{table}: {}", answer.status());
        let rows = answer.text().await.unwrap();
        if marks.iter().any(|mark| rows.contains(mark.as_str())) {
            marked.insert(table);
        }
        for (text, secret) in &secrets {
            assert!(!rows.contains(secret.as_str()), "{table} holds a secret of `{text}`");
        }
    }
    assert_eq!(marked.len(), tables.len() - 1, "the marks are in all tables with texts: {marked:?}");
    let metrics = world.text("/metrics").await;
    for kind in ["github", "authorization", "password", "url_password", "jwt", "card"] {
        assert!(metrics.contains(&format!("watchfire_pipeline_redactions_total{{kind=\"{kind}\"}}")), "{kind} is not counted:\n{metrics}");
    }
    for (_, secret) in &secrets {
        assert!(!world.log().contains(secret.as_str()), "Watchfire's own log holds a secret");
    }
}

fn marking(mark: &str) -> String {
    format!(
        "pipeline:\n  rules:\n  - {{ name: mark, set: {{ mark: {mark} }} }}\n  - {{ name: no pings, match: {{ name: ping }}, drop: true }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pipeline_is_taken_up_under_load_and_no_row_is_lost() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &marking("a"), &[]);
    world.start().await;
    let file = world.folder().join("watchfire.yaml");
    let server = std::fs::read_to_string(&file).unwrap().replace(&marking("a"), "");
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let url = format!("http://{}/v1/traces", world.otlp_http);
    let senders: Vec<_> = (0..3)
        .map(|_| {
            let (stop, sent, url) = (stop.clone(), sent.clone(), url.clone());
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(post(&client, &url, &spans("shop", 20, 0)).await, Some(200), "no request is refused because of a reload");
                    sent.fetch_add(20, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for turn in 1..=6 {
        let mark = if turn % 2 == 1 { "b" } else { "a" };
        let (before, fresh) = (sent.load(Ordering::SeqCst), world.folder().join(".fresh"));
        std::fs::write(&fresh, format!("{server}{}", marking(mark))).unwrap();
        std::fs::rename(&fresh, &file).unwrap();
        assert!(Command::new("kill").args(["-HUP", &world.pid().to_string()]).status().unwrap().success());
        wait_for("the reload", async || {
            let log = world.log();
            (log.matches("is taken up").count() >= turn).then_some(())
        })
        .await;
        wait_for("more spans", async || (sent.load(Ordering::SeqCst) > before + 100).then_some(())).await;
    }
    // A mistake is refused, and the pipeline before goes on.
    std::fs::write(&file, format!("{server}pipeline:\n  rules:\n  - {{ match: {{ service: x }} }}\n")).unwrap();
    assert!(Command::new("kill").args(["-HUP", &world.pid().to_string()]).status().unwrap().success());
    wait_for("the refusal", async || world.log().contains("pipeline.rules[0]: does nothing").then_some(())).await;
    stop.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
    let sent = sent.load(Ordering::SeqCst);
    wait_for("every span to be stored", async || (world.count("SELECT count() FROM spans").await >= sent).then_some(())).await;
    assert_eq!(world.count("SELECT count() FROM spans").await, sent);
    assert_eq!(world.count("SELECT uniqExact(span_id) FROM spans").await, sent);
    assert_eq!(
        world.count("SELECT count() FROM spans WHERE attributes['mark'] NOT IN ('a', 'b')").await,
        0,
        "no request without a pipeline"
    );
    assert_eq!(world.count("SELECT uniqExact(attributes['mark']) FROM spans").await, 2);
    let calls = world.count("SELECT toUInt64(sum(value)) FROM points WHERE metric = 'traces_span_metrics_calls_total'").await;
    assert_eq!(calls, sent, "the derived series count each span once");
}

#[test]
fn a_pipeline_is_tried_out_without_a_server() {
    let config = "pipeline:\n  redaction: { enabled: true }\n  rules:\n  - { name: no pings, match: { name: ping }, drop: true }\n  - { name: team, set: { team: core }, match: { signal: span } }\n";
    let world = Watchfire::prepare(crate::WATCHFIRE, config, &[]);
    let mut request = spans("shop", 2, 0);
    request.resource_spans[0].scope_spans[0].spans[0].name = "ping".to_owned();
    request.resource_spans[0].scope_spans[0].spans[1].attributes = vec![attribute("note", "Bearer abcdefghij0123456789")];
    let input = world.folder().join("request.json");
    std::fs::write(&input, serde_json::to_vec(&request).unwrap()).unwrap();
    let run = |arguments: &[&str], input: Stdio| {
        let output = world.command(arguments).stdin(input).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let path = input.to_str().unwrap();
    let (code, said, errors) = run(&["pipeline", "test", "--input", path], Stdio::null());
    assert_eq!(code, Some(0), "{errors}");
    for line in [
        "span `ping`: dropped (no pings)",
        "span `POST /order`: stored",
        "    attributes.team: (absent) -> `core`",
        "  redaction (authorization)",
        "    attributes.note: `Bearer abcdefghij0123456789` -> `Bearer [redacted:authorization]`",
        "Redacted: 1 authorization.",
    ] {
        assert!(said.lines().any(|found| found == line), "{line} is not in\n{said}");
    }
    let (code, said, _) = run(&["pipeline", "test", "--input", "-", "--json"], std::fs::File::open(&input).unwrap().into());
    let reports: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, reports[0]["records"][0]["fate"].as_str(), reports[0]["records"][1]["fate"].as_str()),
        (Some(0), Some("dropped"), Some("stored"))
    );
    let spans: Vec<_> = reports[0]["tables"].as_array().unwrap().iter().filter(|table| table["table"] == "spans").collect();
    assert_eq!(spans[0]["rows"][0]["attributes"], json!({"note": "Bearer [redacted:authorization]", "team": "core"}));
    std::fs::write(&input, "{\"resourceSpans\": 7}").unwrap();
    let (code, _, errors) = run(&["pipeline", "test", "--input", path], Stdio::null());
    assert!(code == Some(1) && errors.contains("request.json"), "{errors}");
    std::fs::write(world.folder().join("watchfire.yaml"), "pipeline:\n  rules:\n  - { dropp: true }\n").unwrap();
    let (code, _, errors) = run(&["pipeline", "test", "--input", path], Stdio::null());
    assert!(code == Some(1) && errors.contains("dropp") && errors.contains("line 3"), "{errors}");
    std::fs::write(world.folder().join("watchfire.yaml"), "pipeline:\n  rules:\n  - { name: x }\n").unwrap();
    let (code, _, errors) = run(&["check"], Stdio::null());
    assert!(code == Some(1) && errors.contains("pipeline.rules[0] `x`: does nothing: say drop"), "{errors}");
}
