//! One list of errors, on the real program: exceptions in spans and in log records are one issue; it is resolved on the command line,
//! comes back and says so; the shipped rules fire; a kill between acknowledgement and list loses nothing.

use std::time::Duration;

use model::time::{Clock, SystemClock, Timestamp};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use prost::Message;
use serde_json::{Value, json};
use tests::process::Watchfire;
use tests::send::{attribute, spans};
use tests::wait::wait_for;

const LIST: &str = "/api/watchfire/v1/errors?status=all";

/// A Python exception: every one with another key and line, all of one kind.
fn exception(function: &str, key: &str, line: u32) -> Vec<KeyValue> {
    let stack = format!(
        "Traceback (most recent call last):\n  File \"/srv/shop/app.py\", line {line}, in {function}\n    return prices[{key}]\nKeyError: '{key}'\n"
    );
    vec![
        attribute("exception.type", "KeyError"),
        attribute("exception.message", &format!("'{key}'")),
        attribute("exception.stacktrace", &stack),
    ]
}

fn resource(service: &str, release: &str) -> Option<Resource> {
    let attributes =
        vec![attribute("service.name", service), attribute("service.version", release), attribute("deployment.environment.name", "prod")];
    Some(Resource { attributes, ..Resource::default() })
}

/// `count` failed requests, each with an exception and a user of its own.
fn failed(service: &str, release: &str, function: &str, count: usize) -> ExportTraceServiceRequest {
    let mut request = spans(service, count, count);
    request.resource_spans[0].resource = resource(service, release);
    for (at, span) in request.resource_spans[0].scope_spans[0].spans.iter_mut().enumerate() {
        span.attributes.push(attribute("user.id", &format!("user-{at}")));
        span.events.push(Event {
            time_unix_nano: span.end_time_unix_nano,
            name: "exception".to_owned(),
            attributes: exception(function, &format!("item{at}"), 10 + at as u32),
            ..Event::default()
        });
    }
    request
}

/// The same exception in a log record.
fn logged(service: &str, release: &str, function: &str) -> ExportLogsServiceRequest {
    let record = LogRecord {
        time_unix_nano: SystemClock.now().minus(Duration::from_millis(5)).nanos().unsigned_abs(),
        severity_number: 17,
        attributes: exception(function, "logged", 99),
        ..LogRecord::default()
    };
    let logs = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource: resource(service, release), scope_logs: vec![logs], ..ResourceLogs::default() }],
    }
}

async fn send(world: &Watchfire, path: &str, request: &impl Message) {
    let url = format!("http://{}{path}", world.otlp_http);
    let post = reqwest::Client::new().post(url).header("content-type", "application/x-protobuf").body(request.encode_to_vec());
    assert_eq!(post.send().await.unwrap().status().as_u16(), 200, "the exceptions are acknowledged");
}

fn said(world: &Watchfire, arguments: &[&str]) -> String {
    let output = world.command(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn firing(world: &Watchfire, name: &str) -> Value {
    wait_for(name, async || {
        let alerts = world.get("/api/watchfire/v1/alerts?state=firing").await;
        alerts["alerts"].as_array()?.iter().find(|alert| alert["labels"]["alertname"] == name).cloned()
    })
    .await
}

/// Waits until issue `number` has so many events.
async fn issue_with(world: &Watchfire, number: u64, events: u64) -> Value {
    wait_for(&format!("issue {number} with {events} events"), async || {
        let list = world.get(LIST).await;
        let issue = list["issues"].as_array()?.iter().find(|issue| issue["number"] == number)?.clone();
        (issue["events"] == events).then_some(issue)
    })
    .await
}

/// By the program and by the editor's API: a rule that nobody had when it happened.
async fn assert_that_a_replay_knows_when_it_came_back(world: &Watchfire, came_back: &str) {
    let rules = "groups: [{ name: past, interval: 1s, rules: [{ alert: Back, errors: { is: regressed } }] }]\n";
    let file = world.folder().join("past.yaml");
    std::fs::write(&file, rules).unwrap();
    let came_back: Timestamp = came_back.parse().unwrap();
    let (from, to) = (came_back.minus(Duration::from_secs(30)), came_back.plus(Duration::from_secs(5)));
    let arguments = ["--from", &from.rfc3339(), "--to", &to.rfc3339(), "--rules", file.to_str().unwrap(), "--json"];
    let told = world.command(&["rules", "replay"]).args(arguments).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let draft = json!({"name": "past.yaml", "text": rules, "from": from.rfc3339(), "to": to.rfc3339()});
    for replayed in [told, world.post("/api/watchfire/v1/rules/replay", &draft).await] {
        let alert = &replayed["alerts"][0];
        assert_eq!((&alert["name"], &alert["labels"]["issue"]), (&"Back".into(), &"1".into()), "{replayed}");
        let fired: Timestamp = alert["fired"].as_str().unwrap().parse().unwrap();
        assert!(fired >= came_back && fired <= came_back.plus(Duration::from_secs(1)), "{replayed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_of_every_way_are_one_list_and_a_resolved_one_that_returns_has_regressed() {
    // The rules as shipped, only asked more often; nobody is paged.
    let rules = include_str!("../../../deploy/rules/errors.yaml").replace("interval: 15s", "interval: 1s");
    let rules: String = rules.lines().filter(|line| !line.contains("escalation:")).map(|line| format!("{line}\n")).collect();
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "alerting:\n  rules: rules\n", &[("errors.yaml", &rules)]);
    world.start().await;
    assert!(said(&world, &["errors"]).contains("No errors. All quiet."));

    // Acknowledged, and killed at once: the issue is there after the restart, with every event.
    send(&world, "/v1/traces", &failed("checkout", "1.3.0", "price", 4)).await;
    world.kill();
    world.start().await;
    send(&world, "/v1/logs", &logged("checkout", "1.3.0", "price")).await;
    send(&world, "/v1/traces", &failed("mail", "7.0.0", "price", 2)).await;
    let issue = issue_with(&world, 1, 7).await;
    assert_eq!((&issue["status"], &issue["type"], &issue["users"]), (&"open".into(), &"KeyError".into(), &4.into()), "{issue}");
    assert_eq!(issue["culprit"], "price (/srv/shop/app.py)");
    let grouped = issue["grouped_by"].as_str().unwrap();
    assert!(grouped.contains("`KeyError`") && grouped.contains("`<str>`") && grouped.contains("price (/srv/shop/app.py)"), "{grouped}");
    assert_eq!(world.get(LIST).await["total"], 1, "one crash, three ways, one issue");
    let alert = firing(&world, "NewErrorIssue").await;
    assert_eq!(alert["labels"]["severity"], "info", "{alert}");

    let shown = world.get("/api/watchfire/v1/errors/1").await;
    let of = |name: &str| shown["breakdowns"][name].to_string();
    assert!(of("service").contains(r#"{"events":5,"value":"checkout"}"#), "{}", of("service"));
    assert!(of("release").contains("7.0.0") && of("environment").contains("prod") && of("source").contains("otel_log"), "{shown}");
    assert_eq!(shown["latest"]["frames"][0]["function"], "price", "{shown}");
    let text = said(&world, &["error", "show", "1"]);
    for part in ["Error issue 1 · open", "KeyError: <str>", "grouped by", "7 in 2w, 4 users", "otel_span", "> price", "a new error"] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    // Which services a kind has is its record's, which follows the rows.
    wait_for("the issue to be one of both services", async || {
        let list = said(&world, &["errors", "--service", "mail"]);
        (list.contains("KeyError: <str>") && list.contains("checkout,mail")).then_some(())
    })
    .await;
    assert!(said(&world, &["errors", "--service", "nobody"]).contains("No errors"));

    // Resolved in 1.4.0: the old release does not open it again, the new one does.
    assert_eq!(said(&world, &["error", "resolve", "1", "--in-release", "1.4.0"]).trim(), "issue 1: resolved in release 1.4.0");
    send(&world, "/v1/traces", &failed("checkout", "1.3.0", "price", 1)).await;
    let issue = issue_with(&world, 1, 8).await;
    wait_for("the count of the resolved issue", async || {
        world.promql(r#"sum(increase(watchfire_error_events_total{issue="1",status="resolved"}[10m]))"#).await.filter(|sum| *sum == 1.0)
    })
    .await;
    assert_eq!(world.get("/api/watchfire/v1/errors/1").await["issue"]["status"], "resolved", "{issue}");
    send(&world, "/v1/traces", &failed("checkout", "1.4.0", "price", 1)).await;
    let regressed = wait_for("the regression", async || {
        let one = world.get("/api/watchfire/v1/errors/1").await;
        (one["issue"]["status"] == "regressed").then_some(one)
    })
    .await;
    assert_eq!(regressed["issue"]["state"]["release"], "1.4.0");
    assert!(said(&world, &["errors"]).contains("regressed"));
    firing(&world, "ErrorIssueRegressed").await;
    assert_that_a_replay_knows_when_it_came_back(&world, regressed["issue"]["state"]["at"].as_str().unwrap()).await;

    // Everything counted once, over the kill too.
    let total = "sum(increase(watchfire_error_events_total[30m]))";
    wait_for("the sum of all events", async || world.promql(total).await.filter(|sum| *sum == 9.0)).await;
    assert_eq!(world.promql("sum(increase(watchfire_error_issues_total[30m]))").await, Some(2.0), "one new, one regressed");

    // A second kind; people merge it, and a spike is told.
    send(&world, "/v1/traces", &failed("checkout", "1.4.0", "refund", 60)).await;
    issue_with(&world, 2, 60).await;
    let spike = firing(&world, "ErrorIssueSpiking").await;
    assert_eq!((&spike["labels"]["issue"], &spike["labels"]["service"]), (&"2".into(), &"checkout".into()), "{spike}");
    assert!(said(&world, &["error", "assign", "2", "ana"]).contains("assigned to ana"));
    assert!(said(&world, &["error", "ignore", "2", "--for", "1h"]).contains("ignored until"));
    assert!(said(&world, &["errors", "--status", "ignored", "--assignee", "ana"]).contains("KeyError"));
    assert!(said(&world, &["error", "merge", "1", "2"]).contains("2 merged into it"));
    let whole = issue_with(&world, 1, 69).await;
    assert_eq!(whole["users"], 60, "people count once");
    let refused = world.command(&["error", "resolve", "2"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("it is part of issue 1"), "{refused:?}");
    assert_eq!(world.command(&["error", "show", "99"]).output().unwrap().status.code(), Some(3));
    let events = world.count("SELECT uniqExact(event_id) FROM error_events").await;
    assert_eq!(events, 69, "merging rewrites no event");
}

const RULES: &str = r#"
errors:
  rules:
  - name: lookups
    match: { type: KeyError, service: "shop-*", frame: "*/app.py" }
    fingerprint: [lookup, "{{ service }}"]
    title: "Lookups of {{ service }}"
  - name: retitled
    match: { type: KeyError }
    title: "{{ type }} in {{ function }}"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_the_configuration_merge_kinds_and_name_them_and_are_reloaded() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, RULES, &[]);
    world.start().await;
    // Two functions in spans, a third in a log record: three kinds by themselves, one by the rule for each service.
    send(&world, "/v1/traces", &failed("shop-cart", "1.0.0", "price", 2)).await;
    send(&world, "/v1/traces", &failed("shop-cart", "1.0.0", "refund", 3)).await;
    send(&world, "/v1/logs", &logged("shop-cart", "1.0.0", "discount")).await;
    let issue = issue_with(&world, 1, 6).await;
    assert_eq!((&issue["title"], &issue["users"]), (&"Lookups of shop-cart".into(), &3.into()), "{issue}");
    assert!(issue["grouped_by"].as_str().unwrap().contains("lookups"), "{issue}");
    send(&world, "/v1/traces", &failed("shop-stock", "1.0.0", "price", 1)).await;
    assert_eq!(issue_with(&world, 2, 1).await["title"], "Lookups of shop-stock");
    // A rule without a fingerprint leaves the kinds as they are.
    send(&world, "/v1/traces", &failed("mail", "1.0.0", "price", 1)).await;
    assert_eq!(issue_with(&world, 3, 1).await["title"], "KeyError in price");
    send(&world, "/v1/traces", &failed("mail", "1.0.0", "refund", 1)).await;
    assert_eq!(issue_with(&world, 4, 1).await["title"], "KeyError in refund");

    // A rule that cannot be is refused, with its name, and the ones before go on; a good one is taken up.
    let file = world.folder().join("watchfire.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let reload = async |rules: &str, says: &str| {
        std::fs::write(world.folder().join(".fresh"), text.replace(RULES, rules)).unwrap();
        std::fs::rename(world.folder().join(".fresh"), &file).unwrap();
        assert!(std::process::Command::new("kill").args(["-HUP", &world.pid().to_string()]).status().unwrap().success());
        wait_for(says, async || world.log().contains(says).then_some(())).await;
    };
    let wrong = RULES.replace("{{ service }}\"]", "{{ weather }}\"]");
    reload(&wrong, "weather").await;
    send(&world, "/v1/traces", &failed("shop-cart", "1.0.0", "tax", 1)).await;
    issue_with(&world, 1, 7).await;
    reload(&RULES.replace("[lookup, \"{{ service }}\"]", "[lookup]"), "is taken up").await;
    for service in ["shop-cart", "shop-stock"] {
        send(&world, "/v1/traces", &failed(service, "1.0.0", "price", 1)).await;
    }
    let both = issue_with(&world, 5, 2).await;
    assert_eq!(both["services"], serde_json::json!(["shop-cart", "shop-stock"]), "{both}");
    assert_eq!(world.get(LIST).await["total"], 5, "what is stored keeps its issue");
}
