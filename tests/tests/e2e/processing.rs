//! Processing by the real server: no secret reaches the log or a table; another configuration is taken up under load without losing a
//! row; and the command that tries it out.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::time::{Clock, SystemClock};
use opentelemetry_proto::tonic::trace::v1::span::Event;
use rand::Rng;
use rand::distr::Alphanumeric;
use serde_json::{Value, json};
use tests::process::{Watchfire, free_port};
use tests::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use tests::send::{attribute, post, spans};
use tests::wait::wait_for;
use tokio::io::AsyncWriteExt;

use crate::bad_formats::{fluent_message, json_line, loki_json, zipkin_span};

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

/// Redacts what it always does, mail, and one thing of one's own.
const REDACTION: &str = "pipeline:\n  redaction: { enabled: true, mail: mask, custom: [{ name: customer, regex: 'K-[A-Za-z0-9]{20}' }] }\n  \
                         patterns: { enabled: true }\n";

/// The secrets as they stand in a text; the second part of each must be found nowhere.
fn secrets() -> Vec<(String, String)> {
    let (github, bearer, password, url, jwt) = (random(36), random(32), random(16), random(16), random(43));
    let (mail, customer) = (random(20), random(20));
    vec![
        (format!("written by {mail}@example.org to us"), mail),
        (format!("bought by K-{customer} today"), customer),
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
    let mut world = Watchfire::prepare(crate::WATCHFIRE, REDACTION, &[]);
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
    let marked = check_tables(&world, &secrets, &marks).await;
    assert_eq!(marked.len(), TABLES.len() - 1, "the marks are in all tables with texts: {marked:?}");
    let metrics = world.text("/metrics").await;
    for kind in ["github", "authorization", "password", "url_password", "jwt", "card", "mail", "customer"] {
        assert!(metrics.contains(&format!("watchfire_pipeline_redactions_total{{kind=\"{kind}\"}}")), "{kind} is not counted:\n{metrics}");
    }
    for (_, secret) in &secrets {
        assert!(!world.log().contains(secret.as_str()), "Watchfire's own log holds a secret");
    }
}

const TABLES: [&str; 7] = ["spans", "logs", "series", "points", "error_events", "exemplars", "patterns"];

/// No table holds a secret; the tables that hold a mark.
async fn check_tables(world: &Watchfire, secrets: &[(String, String)], marks: &[String]) -> HashSet<&'static str> {
    let mut marked = HashSet::new();
    for table in TABLES {
        let url = format!("http://{}/api/watchfire/v1/sql?format=TSVWithNames", world.http);
        let answer = reqwest::Client::new().post(url).body(format!("SELECT * FROM {table}")).send().await.unwrap();
        assert!(answer.status().is_success(), "{table}: {}", answer.status());
        let rows = answer.text().await.unwrap();
        if marks.iter().any(|mark| rows.contains(mark.as_str())) {
            marked.insert(table);
        }
        for (text, secret) in secrets {
            assert!(!rows.contains(secret.as_str()), "{table} holds a secret of `{text}`");
        }
    }
    marked
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_any_protocol_reaches_the_log_or_a_table() {
    let secrets = secrets();
    let names = ["loki", "lines", "zipkin", "syslog", "fluent", "statsd", "sentry", "store", "remote", "scraped"];
    // Nothing in them stands elsewhere: the log is packed, and would hold the place of that instead.
    let marks: Vec<String> = names.iter().map(|_| random(24)).collect();
    let dirty = |name: &str| text(&marks[names.iter().position(|known| *known == name).unwrap()], &secrets);
    let exposed = format!("secretive{{note=\"{}\"}} 1\n", dirty("scraped"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(move || async move { exposed.clone() });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let (syslog, fluent, statsd) = (free_port(), free_port(), free_port());
    let config = format!(
        "{REDACTION}collector:\n  sentry: {{ projects: {{ 1: shop }} }}\n  syslog: {{ tcp: \"127.0.0.1:{syslog}\", batch_linger: 10ms }}\n  \
         fluent: {{ listen: \"127.0.0.1:{fluent}\" }}\n  statsd: {{ tcp: \"127.0.0.1:{statsd}\", flush: 1s }}\nscrape:\n  \
         scrape_configs: [{{ job_name: target, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
    );
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
    world.start().await;
    let client = reqwest::Client::new();
    let now = SystemClock.now().nanos().unsigned_abs();
    let protobuf = ("content-type", "application/x-protobuf");
    let json_type = ("content-type", "application/json");
    let write = WriteRequest {
        timeseries: vec![TimeSeries {
            labels: vec![Label::new("__name__", "written"), Label::new("note", dirty("remote"))],
            samples: vec![Sample { value: 1.0, timestamp: SystemClock.now().millis() }],
        }],
    };
    let event = |name: &str| {
        let frames = json!([{ "function": "f", "filename": "a.py", "lineno": 1, "vars": { "note": dirty(name) } }]);
        let raised = json!({ "type": name, "value": dirty(name), "stacktrace": { "frames": frames } });
        let (note, exception) = (json!({ "note": dirty(name) }), json!({ "values": [raised] }));
        json!({ "exception": exception, "tags": note, "extra": note, "user": { "id": dirty(name) }, "breadcrumbs": { "values": [note] } })
    };
    let envelope = format!("{{}}\n{{\"type\":\"event\"}}\n{}\n", event("sentry"));
    for (path, headers, body) in [
        ("/loki/api/v1/push", vec![json_type], loki_json("shop", now, &dirty("loki"))),
        ("/api/watchfire/v1/logs", vec![json_type], json_line("shop", now, &dirty("lines"))),
        ("/api/v2/spans", vec![json_type], zipkin_span("shop", now, &dirty("zipkin"))),
        ("/api/1/envelope/", vec![], envelope.into_bytes()),
        ("/api/1/store/", vec![json_type], event("store").to_string().into_bytes()),
        ("/api/v1/write", vec![protobuf, ("content-encoding", "snappy")], write.body()),
    ] {
        let mut request = client.post(format!("http://{}{path}", world.http)).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {} {}", answer.status(), answer.text().await.unwrap());
    }
    let to = async |port: u16, bytes: Vec<u8>| {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    to(syslog, format!("<14>1 - host shop - - - {}\n", dirty("syslog")).into_bytes()).await;
    to(fluent, fluent_message("shop", u32::try_from(now / 1_000_000_000).unwrap(), &dirty("fluent"), None)).await;
    to(statsd, format!("counted.statsd:1|c|#note:{}\n", dirty("statsd")).into_bytes()).await;

    // What came is in the log: the marks are found there, so secrets would be, too.
    for mark in &marks {
        let name = names[marks.iter().position(|one| one == mark).unwrap()];
        wait_for(&format!("the mark of {name} in the log"), async || holds(&bytes_below(&world.data().join("wal")), mark).then_some(()))
            .await;
    }
    let log = bytes_below(&world.data().join("wal"));
    for (text, secret) in &secrets {
        assert!(!holds(&log, secret), "the log holds a secret of `{text}`");
    }
    for mark in &marks {
        let stored = format!(
            "SELECT (SELECT countIf(position(body, '{mark}') > 0) FROM logs) + (SELECT countIf(position(name, '{mark}') > 0) FROM spans) \
             + (SELECT countIf(position(labels['note'], '{mark}') > 0) FROM series) \
             + (SELECT countIf(position(value, '{mark}') > 0) FROM error_events)"
        );
        wait_for(mark, async || (world.count(&stored).await > 0).then_some(())).await;
    }
    let marked = check_tables(&world, &secrets, &marks).await;
    assert_eq!(marked, HashSet::from(["spans", "logs", "series", "error_events", "patterns"]));
    // Nor what people are shown of targets and errors.
    for shown in ["/api/v1/targets", "/api/watchfire/v1/errors?status=all", "/api/v1/label/note/values", "/metrics"] {
        let text = world.text(shown).await;
        for (what, secret) in &secrets {
            assert!(!text.contains(secret.as_str()), "{shown} holds a secret of `{what}`");
        }
    }
    for (_, secret) in &secrets {
        assert!(!world.log().contains(secret.as_str()), "Watchfire's own log holds a secret");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_of_log_records_add_up_over_batches_and_restarts() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "pipeline: { patterns: { enabled: true } }\n", &[]);
    world.start().await;
    let client = reqwest::Client::new();
    let mut number = 0;
    for batch in 0..6 {
        if batch == 3 {
            // Templates are found anew by a process that starts, and have the same ids.
            assert_eq!(world.stop().await, Some(0));
            world.start().await;
        }
        let mut lines = Vec::new();
        for _ in 0..50 {
            number += 1;
            for (level, body) in [
                ("info", format!("user {number} logged in from 10.0.{}.{}", number % 256, number % 200)),
                ("error", format!("payment of order {} declined by bank after {} ms", number * 7, number % 900)),
            ] {
                lines.push(json!({ "service": "shop", "level": level, "msg": body }).to_string());
            }
        }
        lines.push(json!({ "service": "shop", "level": "warn", "msg": "cache is cold" }).to_string());
        let sent = client.post(format!("http://{}/api/watchfire/v1/logs", world.http)).body(lines.join("\n")).send().await.unwrap();
        assert_eq!(sent.status().as_u16(), 200);
    }
    wait_for("all to be counted", async || (world.count("SELECT sum(count) FROM patterns").await == 606).then_some(())).await;
    let sql = "SELECT template, severity_number, sum(count), uniqExact(pattern_id), countIf(position(sample, template) > 0) > 0 FROM patterns \
               GROUP BY template, severity_number ORDER BY template";
    let found: Value = serde_json::from_str(&world.sql(sql).await).unwrap();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows: Vec<Vec<String>> =
        found["data"].as_array().unwrap().iter().map(|row| row.as_array().unwrap().iter().map(text).collect()).collect();
    let expected = [
        ["cache is cold", "13", "6", "1", "1"],
        ["payment of order <*> declined by bank after <*> ms", "17", "300", "1", "0"],
        ["user <*> logged in from <*>", "9", "300", "1", "0"],
    ];
    assert_eq!(rows, expected);
    assert_eq!(world.count("SELECT count() FROM logs").await, 606, "templates leave records as they are");
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
    // Spans and points are inserted one after the other.
    let calls = "SELECT toUInt64(sum(value)) FROM points WHERE metric = 'traces_span_metrics_calls_total'";
    wait_for("the derived series", async || (world.count(calls).await >= sent).then_some(())).await;
    assert_eq!(world.count(calls).await, sent, "the derived series count each span once");
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
    // Other formats' bodies: the rule about names drops the first, redaction finds the secret in the second.
    let now = SystemClock.now().nanos().unsigned_abs();
    let (secret, ping) = ("Bearer abcdefghij0123456789", "ping");
    let zipkin: Vec<Value> =
        [ping, secret].iter().flat_map(|name| serde_json::from_slice::<Vec<Value>>(&zipkin_span("shop", now, name)).unwrap()).collect();
    let event = json!({ "message": secret });
    for (format, body, table, column, rows) in [
        ("zipkin", json!(zipkin).to_string().into_bytes(), "spans", "name", 1),
        ("loki", loki_json("shop", now, secret), "logs", "body", 1),
        ("ndjson", [json_line("shop", now, secret), json_line("shop", now, secret)].concat(), "logs", "body", 2),
        ("sentry-envelope", format!("{{}}\n{{\"type\":\"event\"}}\n{event}\n").into_bytes(), "error_events", "value", 1),
        ("sentry-store", event.to_string().into_bytes(), "error_events", "value", 1),
    ] {
        std::fs::write(&input, body).unwrap();
        let (code, said, errors) = run(&["pipeline", "test", "--json", "--format", format, "--input", path], Stdio::null());
        assert_eq!(code, Some(0), "{format}: {errors}");
        let reports: Value = serde_json::from_str(&said).unwrap();
        let found: Vec<&Value> = reports[0]["tables"].as_array().unwrap().iter().filter(|found| found["table"] == table).collect();
        let found = found[0]["rows"].as_array().unwrap();
        assert_eq!((found.len(), &found[0][column]), (rows, &json!("Bearer [redacted:authorization]")), "{format}");
    }
    let (code, _, errors) = run(&["pipeline", "test", "--format", "thrift", "--input", path], Stdio::null());
    assert!(code == Some(2) && errors.contains("sentry-envelope"), "{errors}");
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
