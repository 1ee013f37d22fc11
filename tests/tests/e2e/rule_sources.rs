//! Rules over logs, spans, errors, SQL and heartbeats on the real program: what is sent in fires them, with evidence; rule tests run the
//! same statements; a statement without a time bound never gets in; replay asks the same questions of the past.

use serde_json::{Value, json};
use tests::process::Watchfire;
use tests::wait::wait_for;

const RULES: &str = r#"
groups:
- name: sources
  interval: 1s
  rules:
  - alert: Refused
    logs: { match: "connection refused", severity: error, service: shop, attributes: { peer: db }, by: [service, attributes.http.route] }
    window: 10m
    thresholds: { warning: "> 1", critical: "> 100" }
    annotations: { summary: "{{ $value }} refused on {{ $labels.http_route }}" }
  - alert: AnyPanic
    logs: { regex: "^panic: .+", by: service }
  - alert: Failing
    spans: { service: checkout, by: service, ratio: { status: error }, minimum: 5 }
    thresholds: { high: "> 0.4" }
    window: 10m
  - alert: Slow
    spans: { service: checkout, by: [service], quantile: 0.9 }
    thresholds: { info: "> 0" }
    window: 10m
  - alert: NewKind
    errors: { is: new, type: KeyError }
    window: 10m
  - alert: PeopleHit
    errors: { count: users, by: service }
    thresholds: { high: ">= 3" }
    window: 10m
  - alert: Statement
    sql: |
      SELECT toString(service) AS service_name, count() AS value, any(body) AS example_log
      FROM logs WHERE ts > {from} AND ts <= {to} AND body ILIKE '%refused%' GROUP BY service
    window: 10m
  - record: logs:by_service:count10m
    sql: SELECT toString(service) AS service, count() AS value FROM logs WHERE ts > {from} AND ts <= {to} GROUP BY service
    window: 10m
  - alert: Counted
    expr: logs:by_service:count10m{service="shop"} >= 3
  - alert: BackupMissing
    heartbeat: { name: backup, every: 1h }
  - alert: BackupFailed
    heartbeat: { name: nightly, every: 1h }
  - alert: Wrong
    sql: SELECT sum(toInt32(body)) AS value FROM logs WHERE ts > {from} AND ts <= {to}
  - alert: NotASeries
    sql: SELECT count() AS n FROM logs WHERE ts > {from} AND ts <= {to}
"#;

async fn alerts(world: &Watchfire) -> Vec<Value> {
    world.get("/api/watchfire/v1/alerts?state=firing").await["alerts"].as_array().cloned().unwrap_or_default()
}

async fn firing(world: &Watchfire, name: &str) -> Value {
    wait_for(name, async || alerts(world).await.into_iter().find(|alert| alert["labels"]["alertname"] == name)).await
}

async fn post(world: &Watchfire, path: &str, body: String, media: &str) -> u16 {
    let url = format!("http://{}{path}", world.http);
    reqwest::Client::new().post(url).header("content-type", media.to_owned()).body(body).send().await.unwrap().status().as_u16()
}

/// Three refused connections and one panic, as newline JSON.
fn lines() -> String {
    let mut lines: Vec<String> = (0..3)
        .map(|at| {
            json!({"message": format!("db{at}: Connection refused (111)"), "level": "error", "service": "shop", "peer": "db", "http.route": "/pay"})
                .to_string()
        })
        .collect();
    lines.push(json!({"message": "panic: index out of range", "level": "info", "service": "cart"}).to_string());
    lines
        .push(json!({"message": "connection refused", "level": "info", "service": "shop", "peer": "db", "http.route": "/pay"}).to_string());
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_fires_rules_over_every_signal_with_evidence() {
    let config = "alerting:\n  rules: rules\n  failing_after: 2\n  failing_for: 1s\n";
    let mut world = Watchfire::prepare(crate::WATCHFIRE, config, &[("sources.yaml", RULES)]);
    world.start().await;
    firing(&world, "BackupMissing").await;
    assert!(alerts(&world).await.iter().all(|alert| alert["labels"]["alertname"] != "Refused"), "nothing was sent yet");
    for name in ["backup", "nightly", "nightly?status=failed"] {
        assert_eq!(post(&world, &format!("/api/watchfire/v1/heartbeats/{name}"), String::new(), "text/plain").await, 200);
    }
    assert_eq!(post(&world, "/api/watchfire/v1/logs", lines(), "application/x-ndjson").await, 200);
    let mut request = tests::send::spans("checkout", 10, 6);
    for (at, span) in request.resource_spans[0].scope_spans[0].spans.iter_mut().enumerate() {
        span.attributes.push(tests::send::attribute("user.id", &format!("user-{at}")));
        if at < 6 {
            span.events.push(opentelemetry_proto::tonic::trace::v1::span::Event {
                time_unix_nano: span.end_time_unix_nano,
                name: "exception".to_owned(),
                attributes: vec![
                    tests::send::attribute("exception.type", "KeyError"),
                    tests::send::attribute("exception.message", "'price'"),
                ],
                ..Default::default()
            });
        }
    }
    let url = format!("http://{}/v1/traces", world.otlp_http);
    assert_eq!(tests::send::post(&reqwest::Client::new(), &url, &request).await, Some(200));

    let refused = firing(&world, "Refused").await;
    assert_eq!((&refused["labels"]["service_name"], &refused["labels"]["http_route"]), (&"shop".into(), &"/pay".into()), "{refused}");
    assert_eq!((&refused["labels"]["severity"], &refused["annotations"]["summary"]), (&"warning".into(), &"3 refused on /pay".into()));
    assert!(refused["annotations"]["example_log"].as_str().unwrap().contains("Connection refused (111)"), "{refused}");
    let panic = firing(&world, "AnyPanic").await;
    assert_eq!(panic["annotations"]["example_log"], "panic: index out of range");
    let failing = firing(&world, "Failing").await;
    assert_eq!((&failing["labels"]["service_name"], &failing["labels"]["severity"]), (&"checkout".into(), &"high".into()), "{failing}");
    let trace = failing["annotations"]["example_trace"].as_str().unwrap().to_owned();
    let known = world.count(&format!("SELECT count() FROM spans WHERE trace_id = unhex('{trace}') AND status = 'ERROR'")).await;
    assert!(known >= 1, "the example is a failed trace: {trace}");
    firing(&world, "Slow").await;
    let new = firing(&world, "NewKind").await;
    assert!(new["annotations"]["example_error"].as_str().unwrap().starts_with("KeyError: "), "{new}");
    let named = wait_for("the issue of the new kind", async || {
        let alert = alerts(&world).await.into_iter().find(|alert| alert["labels"]["alertname"] == "NewKind")?;
        alert["annotations"]["issue"].as_str().map(str::to_owned)
    })
    .await;
    assert!(named.starts_with("#1 KeyError") && named.ends_with("(watchfire error show 1)"), "{named}");
    let people = firing(&world, "PeopleHit").await;
    assert_eq!(people["labels"]["service_name"], "checkout", "{people}");
    let statement = firing(&world, "Statement").await;
    assert!(statement["annotations"]["example_log"].as_str().unwrap().to_lowercase().contains("refused"), "{statement}");
    firing(&world, "Counted").await;
    firing(&world, "BackupFailed").await;
    wait_for("the backup to be well", async || {
        alerts(&world).await.iter().all(|alert| alert["labels"]["alertname"] != "BackupMissing").then_some(())
    })
    .await;

    // What cannot be answered is told, with why.
    for (rule, part) in [("Wrong", "Cannot parse"), ("NotASeries", "column `n` is a number")] {
        let told = wait_for(rule, async || {
            let own = |alert: &Value| alert["labels"]["alertname"] == "WatchfireRuleFailing" && alert["labels"]["rule"] == rule;
            alerts(&world).await.into_iter().find(own)
        })
        .await;
        assert!(told["annotations"]["summary"].as_str().unwrap().contains(part), "{told}");
    }

    // The past is asked the same questions.
    let now = chrono_text(0);
    let output = world.command(&["rules", "replay", "--from", &chrono_text(120), "--to", &now, "--json"]).output().unwrap();
    let replayed: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let names: Vec<&str> = replayed["alerts"].as_array().unwrap().iter().filter_map(|alert| alert["name"].as_str()).collect();
    for name in ["Refused", "AnyPanic", "Failing", "Statement", "PeopleHit"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
}

/// So many seconds ago, as the command line takes it.
fn chrono_text(seconds: u64) -> String {
    use model::time::{Clock, SystemClock};
    SystemClock.now().minus(std::time::Duration::from_secs(seconds)).rfc3339()
}

const TESTED: &str = r#"
groups:
- name: sources
  rules:
  - alert: Refused
    logs: { match: refused, severity: error, by: service }
    window: 2m
    thresholds: { warning: "> 2" }
  - alert: Failing
    spans: { service: shop, by: [service, operation], ratio: { status: error } }
    window: 5m
    thresholds: { critical: "> 0.5" }
  - alert: Slow
    spans: { service: shop, by: service, quantile: 0.5 }
    thresholds: { warning: "> 1" }
  - alert: New
    errors: { is: new }
    window: 2m
  - alert: Spike
    errors: { is: spiking, minimum: 10, baseline: 3m, by: service }
    window: 1m
  - alert: Users
    errors: { count: users, by: [service, release] }
    thresholds: { high: ">= 3" }
    window: 2m
  - alert: Back
    errors: { is: regressed }
  - alert: Statement
    sql: SELECT toString(service) AS service, max(duration) / 1e9 AS value FROM spans WHERE ts > {from} AND ts <= {to} GROUP BY service HAVING value > 1
"#;

const TESTS: &str = r##"
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
- name: logs
  input_logs:
  - { at: 10s, count: 3, every: 10s, body: "Connection refused", severity: error, service: shop }
  - { at: 10s, count: 9, every: 1s, body: "connection refused", severity: warn, service: shop }
  - { at: 5m, count: 1, body: "refused", severity: fatal, service: shop }
  alert_rule_test:
  - { eval_time: 0s, alertname: Refused }
  - eval_time: 1m
    alertname: Refused
    exp_alerts:
    - exp_labels: { service_name: shop, severity: warning }
      exp_annotations: { example_log: "Connection refused" }
  - { eval_time: 3m, alertname: Refused }
  - { eval_time: 5m, alertname: Refused }
- name: spans
  input_spans:
  - { at: 10s, count: 4, every: 1s, service: shop, operation: pay, status: error, duration: 2s, trace_id: 0af7651916cd43dd8448eb211c80319c }
  - { at: 10s, count: 3, every: 1s, service: shop, operation: pay, status: ok, duration: 100ms }
  - { at: 10s, count: 30, every: 1s, service: other, operation: pay, status: error, duration: 9s }
  alert_rule_test:
  - eval_time: 1m
    alertname: Failing
    exp_alerts:
    - exp_labels: { service_name: shop, span_name: pay, severity: critical }
      exp_annotations: { example_trace: 0af7651916cd43dd8448eb211c80319c, example_span: "shop pay" }
  - eval_time: 2m
    alertname: Slow
    exp_alerts:
    - exp_labels: { service_name: shop, severity: warning }
      exp_annotations: { example_trace: 0af7651916cd43dd8448eb211c80319c, example_span: "shop pay" }
  - eval_time: 1m
    alertname: Statement
    exp_alerts: [{ exp_labels: { service: shop } }, { exp_labels: { service: other } }]
  - { eval_time: 6m, alertname: Failing }
- name: errors
  input_errors:
  - { at: 10s, service: shop, type: KeyError, message: old, release: "1.0", user: ana }
  - { at: 6m10s, count: 12, every: 1s, service: shop, type: KeyError, message: old, release: "1.1", user: eve }
  - { at: 9m10s, service: shop, type: IOError, message: disk, release: "1.1" }
  - { at: 12m10s, service: shop, type: IOError, message: disk, release: "1.1" }
  - { at: 13m10s, service: shop, type: IOError, message: disk, release: "1.2" }
  - { at: 25m10s, count: 12, every: 1s, service: shop, type: KeyError, message: old, release: "1.1", user: eve }
  people:
  - { at: 11m, resolve_error: IOError, in_release: "1.2" }
  - { at: 20m, ignore_error: KeyError }
  alert_rule_test:
  - { eval_time: 13m, alertname: Back }
  - eval_time: 14m
    alertname: Back
    exp_alerts:
    - exp_labels: { service_name: shop, issue: "2" }
      exp_annotations: { issue: "#2 IOError: disk (watchfire error show 2)", example_error: "IOError: disk", example_release: "1.2" }
  - { eval_time: 26m, alertname: Users }
  - { eval_time: 7m, alertname: New }
  - eval_time: 7m
    alertname: Spike
    exp_alerts:
    - exp_labels: { service_name: shop }
      exp_annotations: { example_error: "KeyError: old", example_release: "1.1" }
  - { eval_time: 9m, alertname: Spike }
  - eval_time: 7m
    alertname: Users
    exp_alerts:
    - exp_labels: { service_name: shop, release: "1.1", severity: high }
      exp_annotations: { example_error: "KeyError: old", example_release: "1.1" }
  - eval_time: 10m
    alertname: New
    exp_alerts:
    - exp_labels: { service_name: shop, fingerprint: PRINT }
      exp_annotations: { example_error: "IOError: disk", example_release: "1.1" }
"##;

fn rules_test(folder: &std::path::Path, tests: &str) -> (Option<i32>, String) {
    std::fs::write(folder.join("rules.yaml"), TESTED).unwrap();
    std::fs::write(folder.join("t.yaml"), tests).unwrap();
    let output = std::process::Command::new(crate::WATCHFIRE).args(["rules", "test"]).arg(folder.join("t.yaml")).output().unwrap();
    (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn rule_tests_run_logs_spans_and_errors_on_the_real_engine() {
    let folder = tempfile::tempdir().unwrap();
    let print = model::fingerprint::Fingerprint::of_parts(["IOError", "disk"]).to_string();
    let tests = TESTS.replace("PRINT", &format!("\"{print}\""));
    let (code, said) = rules_test(folder.path(), &tests);
    assert_eq!(code, Some(0), "{said}");
    // The checks can fail.
    let (code, said) = rules_test(folder.path(), &tests.replace("every: 10s, body", "every: 3m, body"));
    assert!(code == Some(1) && said.contains("alert_rule_test Refused at 1m"), "{said}");
    let (code, said) = rules_test(folder.path(), &tests.replace("in_release: \"1.2\"", "in_release: \"1.3\""));
    assert!(code == Some(1) && said.contains("alert_rule_test Back at 14m"), "{said}");
    let (code, said) = rules_test(folder.path(), &tests.replace("ignore_error: KeyError", "resolve_error: KeyError"));
    assert!(code == Some(1) && said.contains("alert_rule_test Users at 26m"), "{said}");
    let (code, said) = rules_test(folder.path(), &tests.replace("resolve_error: IOError", "resolve_error: OSError"));
    assert!(code == Some(1) && said.contains("no error `OSError` has come by then"), "{said}");
    let (code, said) = rules_test(folder.path(), &tests.replace("severity: fatal", "severity: bad"));
    assert!(code == Some(1) && said.contains("`severity: bad` is not known"), "{said}");
}

/// The rule editor's tests run on an engine of their own: what is stored is not seen by them, and nothing of theirs is stored.
#[tokio::test(flavor = "multi_thread")]
async fn the_editors_tests_run_logs_spans_and_errors_beside_what_is_stored() {
    let print = model::fingerprint::Fingerprint::of_parts(["IOError", "disk"]).to_string();
    let tests = TESTS.replace("PRINT", &format!("\"{print}\"")).replace("rule_files: [rules.yaml]\n", "");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "alerting:\n  rules: rules\n", &[]);
    world.start().await;
    let draft = |tests: &str| serde_json::json!({"name": "rules.yaml", "text": TESTED, "test": tests});
    let answer = world.post("/api/watchfire/v1/rules/test", &draft(&tests)).await;
    assert_eq!((&answer["success"], &answer["errors"]), (&serde_json::json!(true), &serde_json::json!([])), "{answer}");
    assert!(answer["cases"].as_array().unwrap().len() > 10, "{answer}");
    let answer = world.post("/api/watchfire/v1/rules/test", &draft(&tests.replace("every: 10s, body", "every: 3m, body"))).await;
    assert!(answer["success"] == false && answer.to_string().contains("Refused"), "the checks can fail: {answer}");
    for table in ["logs", "spans", "error_events"] {
        assert_eq!(world.count(&format!("SELECT count() FROM {table}")).await, 0, "{table}");
    }
}

#[test]
fn a_statement_that_is_no_bounded_question_never_gets_in() {
    for (rule, part) in [
        (
            "sql: SELECT count() AS value FROM logs",
            "rules/a.yaml, line 4: `sql` of rule `A` is refused: the statement has no time bound `{from}`",
        ),
        ("sql: SELECT count() AS value FROM system.parts WHERE {from} < {to}", "`system.parts` is not a table"),
        ("sql: INSERT INTO logs SELECT {from}, {to}", "must begin with SELECT"),
        ("logs: { mathc: x }", "unknown field `mathc`"),
    ] {
        let rules = format!("groups:\n- name: g\n  rules:\n  - {{alert: A, {rule}}}\n");
        let rules = if rule.starts_with("sql") { format!("groups:\n- name: g\n  rules:\n  - {rule}\n    alert: A\n") } else { rules };
        let world = Watchfire::prepare(crate::WATCHFIRE, "alerting:\n  rules: rules\n", &[("a.yaml", &rules)]);
        let output = world.command(&["check"]).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let part = part.replace("rules/", "");
        assert!(output.status.code() != Some(0) && said.contains(&part), "{rule}: {said}");
    }
}

const OBJECTIVE: &str = r#"
slos:
- name: web
  objective: 99.9
  errors: sum(rate(bad_total[$window]))
  total: sum(rate(all_total[$window]))
- name: young
  objective: 99.9
  error_ratio: young_ratio
"#;

/// Ten percent fail from minute 90 to minute 150: the hour burns 14.4 times from minute 99 on, and until the bad minutes are out of it.
const OBJECTIVE_TESTS: &str = r#"
rule_files: [slo.yaml]
evaluation_interval: 30s
tests:
- interval: 30s
  input_series:
  - { series: all_total, values: "0+30x480" }
  - { series: bad_total, values: "0x179 0+3x120 360x180" }
  - { series: young_ratio, values: "1x80 0x400" }
  alert_rule_test:
  - { eval_time: 39m, alertname: SloBudgetBurn }
  - { eval_time: 95m, alertname: SloBudgetBurn }
  - eval_time: 102m
    alertname: SloBudgetBurn
    exp_alerts:
    - exp_labels: { slo: web, window: 1h, severity: critical }
      exp_annotations: { summary: "web burns its error budget 16.25 times as fast as 99.9% over 30d allows (over 1h and 5m)" }
  - eval_time: 170m
    alertname: SloBudgetBurn
    exp_alerts:
    - exp_labels: { slo: web, window: 1h, severity: critical }
      exp_annotations: { summary: "web burns its error budget 70 times as fast as 99.9% over 30d allows (over 1h and 5m)" }
  - { eval_time: 210m, alertname: SloBudgetBurn }
  promql_expr_test:
  - { expr: 'slo:objective:ratio{slo="web"}', eval_time: 4h, exp_samples: [{ labels: 'slo:objective:ratio{slo="web"}', value: 0.999 }] }
  - { expr: 'slo:error_budget_remaining:ratio{slo="web"} < bool 0', eval_time: 4h, exp_samples: [{ labels: '{slo="web"}', value: 1 }] }
"#;

#[test]
fn objectives_fire_by_burn_rate_and_end_with_the_long_window() {
    let run = |tests: &str| judged("slo.yaml", OBJECTIVE, tests);
    let (code, said) = run(OBJECTIVE_TESTS);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&OBJECTIVE_TESTS.replace("eval_time: 210m", "eval_time: 190m"));
    assert!(code == Some(1) && said.contains("SloBudgetBurn at 3h10m"), "{said}");
}

/// 0.8 percent fail from hour 10 to hour 16, which is eight times what is allowed: no hour burns 14.4 times, six hours do so six times from
/// 14:30 on and until 17:30. Then, 0.15 percent from hour 80 to hour 140: three days burn more than once from hour 128 to hour 164.
const SLOW_BURNS: &str = r#"
rule_files: [slo.yaml]
evaluation_interval: 2m
tests:
- interval: 1m
  input_series:
  - { series: all_total, values: "0+60x1200" }
  - { series: bad_total, values: "0x599 0+0.48x360 172.8x240" }
  alert_rule_test:
  - { eval_time: 14h, alertname: SloBudgetBurn }
  - eval_time: 15h
    alertname: SloBudgetBurn
    exp_alerts:
    - exp_labels: { slo: web, window: 6h, severity: high }
      exp_annotations: { summary: "web burns its error budget 6.631 times as fast as 99.9% over 30d allows (over 6h and 30m)" }
  - eval_time: 17h
    alertname: SloBudgetBurn
    exp_alerts:
    - exp_labels: { slo: web, window: 6h, severity: high }
      exp_annotations: { summary: "web burns its error budget 6.689 times as fast as 99.9% over 30d allows (over 6h and 30m)" }
  - { eval_time: 18h, alertname: SloBudgetBurn }
- interval: 1m
  input_series:
  - { series: all_total, values: "0+60x10000" }
  - { series: bad_total, values: "0x4799 0+0.09x3600 324x1600" }
  alert_rule_test:
  - { eval_time: 127h, alertname: SloBudgetBurn }
  - eval_time: 130h
    alertname: SloBudgetBurn
    exp_alerts:
    - exp_labels: { slo: web, window: 3d, severity: warning }
      exp_annotations: { summary: "web burns its error budget 1.041 times as fast as 99.9% over 30d allows (over 3d and 6h)" }
  - eval_time: 163h
    alertname: SloBudgetBurn
    exp_alerts:
    - exp_labels: { slo: web, window: 3d, severity: warning }
      exp_annotations: { summary: "web burns its error budget 1.021 times as fast as 99.9% over 30d allows (over 3d and 6h)" }
  - { eval_time: 165h, alertname: SloBudgetBurn }
"#;

#[test]
fn objectives_that_burn_slowly_are_told_by_their_longer_windows() {
    // How long there is history is counted in evaluations.
    let objective = OBJECTIVE.replace("- name: web\n", "- name: web\n  interval: 2m\n");
    let (code, said) = judged("slo.yaml", &objective, SLOW_BURNS);
    assert_eq!(code, Some(0), "{said}");
    let (sooner, _) = SLOW_BURNS.rsplit_once("- interval: 1m").unwrap();
    let (code, said) = judged("slo.yaml", &objective, &sooner.replace("eval_time: 14h", "eval_time: 14h45m"));
    assert!(code == Some(1) && said.contains("SloBudgetBurn at 14h45m"), "{said}");
}

const ABSENCE: &str = r#"
groups:
- name: g
  rules:
  - { alert: Gone, absent: { series: 'up{job="shop"}', within: 5m }, annotations: { summary: "{{ $labels.job }} is gone" } }
  - { alert: OneGone, absent: { series: up, within: 5m, by: [job, instance] }, annotations: { summary: "{{ $labels.instance }} is gone" } }
"#;
/// One of two instances stops after 10 minutes and is back after 30; the other one after 60, for good.
const ABSENCE_TESTS: &str = r#"
rule_files: [absence.yaml]
tests:
- interval: 1m
  input_series:
  - { series: 'up{job="shop",instance="a"}', values: "1x10 _x19 1x30" }
  - { series: 'up{job="shop",instance="b"}', values: "1x60" }
  alert_rule_test:
  - { eval_time: 14m, alertname: OneGone }
  - eval_time: 16m
    alertname: OneGone
    exp_alerts: [{ exp_labels: { job: shop, instance: a }, exp_annotations: { summary: a is gone } }]
  - { eval_time: 16m, alertname: Gone }
  - { eval_time: 31m, alertname: OneGone }
  - { eval_time: 64m, alertname: Gone }
  - eval_time: 67m
    alertname: Gone
    exp_alerts: [{ exp_labels: { job: shop }, exp_annotations: { summary: shop is gone } }]
"#;

#[test]
fn what_is_absent_fires_for_all_of_it_or_for_each() {
    let (code, said) = judged("absence.yaml", ABSENCE, ABSENCE_TESTS);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = judged("absence.yaml", ABSENCE, &ABSENCE_TESTS.replace("eval_time: 14m", "eval_time: 17m"));
    assert!(code == Some(1) && said.contains("OneGone at 17m"), "{said}");
}

/// [`rules_test`] in a folder of its own with a file of rules.
fn judged(name: &str, rules: &str, tests: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), rules).unwrap();
    rules_test(folder.path(), tests)
}

const UNUSUAL: &str = r#"
groups:
- name: unusual
  interval: 1s
  rules:
  - alert: TrafficUnusual
    anomaly: { expr: traffic, seasons: [1m], step: 5s, history: 10m, minimum: 20% }
    labels: { severity: high }
    annotations: { description: "{{ $value }} instead of {{ printf \"%.0f\" $expected }}" }
"#;

/// A minute is a season: a wave with noise every five seconds.
fn traffic(step: i64) -> f64 {
    let noise = f64::from(u8::try_from((step * 7_919).rem_euclid(11)).unwrap_or_default()) - 5.0;
    200.0 + 5.0 * (std::f64::consts::TAU * (step % 12) as f64 / 12.0).sin() + noise
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unusual_is_told_beside_what_was_expected() {
    use model::time::{Clock, SystemClock};
    use tests::remote_write::{Label, Sample, TimeSeries, WriteRequest};

    let mut world = Watchfire::prepare(crate::WATCHFIRE, "alerting:\n  rules: rules\n", &[("unusual.yaml", UNUSUAL)]);
    world.start().await;
    let client = reqwest::Client::new();
    let write = async |samples: Vec<Sample>| {
        let labels = vec![Label::new("__name__", "traffic"), Label::new("job", "shop")];
        let body = WriteRequest { timeseries: vec![TimeSeries { labels, samples }] }.body();
        let request = client.post(format!("http://{}/api/v1/write", world.http)).header("content-encoding", "snappy");
        assert!(request.body(body).send().await.unwrap().status().is_success());
    };
    // One sample a minute ago is no history: no data, with the reason.
    let second = SystemClock.now().millis() / 1_000;
    let sample = |second: i64, value: f64| Sample { value, timestamp: second * 1_000 };
    write(vec![sample(second - 5, 200.0)]).await;
    let rule = async || world.get("/api/v1/rules").await["data"]["groups"][0]["rules"][0].clone();
    let reason = wait_for("the reason", async || rule().await["noDataReason"].as_str().map(str::to_owned)).await;
    assert!(reason.contains("none can be learned yet"), "{reason}");
    // Eleven minutes that were stored while nobody looked.
    let first = (second - 660) / 5;
    write((first..second / 5).map(|step| sample(step * 5, traffic(step))).collect()).await;
    wait_for("what is expected", async || world.promql("watchfire_anomaly_expected{job=\"shop\",rule=\"TrafficUnusual\"}").await).await;
    let upper = world.promql("watchfire_anomaly_upper").await.unwrap();
    let lower = world.promql("watchfire_anomaly_lower").await.unwrap();
    assert!(lower < 200.0 && upper > 200.0 && upper - lower < 100.0, "{lower} to {upper}");
    assert!(alerts(&world).await.is_empty(), "usual traffic");

    write(vec![sample(SystemClock.now().millis() / 1_000, 900.0)]).await;
    let told = firing(&world, "TrafficUnusual").await;
    assert!(told["annotations"]["summary"].as_str().unwrap().starts_with("900 is above the "), "{told}");
    assert!(told["annotations"]["description"].as_str().unwrap().starts_with("900 instead of "), "{told}");
    for figure in ["expected", "lower", "upper"] {
        assert!(told["annotations"][figure].is_string(), "{told}");
    }
    let output = world.command(&["rules", "replay", "--from", &chrono_text(60), "--to", &chrono_text(0), "--json"]).output().unwrap();
    let replayed: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(replayed["alerts"][0]["name"], "TrafficUnusual", "{replayed}");
}

#[test]
fn rule_tests_know_anomalies() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "groups:\n- name: g\n  rules:\n  - alert: Unusual\n    anomaly: { expr: requests, seasons: [1h], step: 1m, history: 6h, minimum: 10% }\n    annotations: { summary: s, anomaly: a, expected: e, lower: l, upper: u }\n";
    std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
    // Eight hours as usual, then a quarter of an hour with half of the traffic.
    let wave = |minute: i64| 100.0 + 20.0 * (std::f64::consts::TAU * (minute % 60) as f64 / 60.0).sin() + (minute * 7_919 % 11) as f64;
    let values: Vec<String> =
        (0..600).map(|minute| format!("{:.1}", wave(minute) * if (480..495).contains(&minute) { 0.5 } else { 1.0 })).collect();
    let values = values.join(" ");
    let run = |after: &str| {
        let tests = format!(
            "rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series: [{{ series: 'requests{{job=\"a\"}}', values: '{values}' }}]\n  \
             alert_rule_test:\n  - {{ eval_time: 1h, alertname: Unusual }}\n  - {{ eval_time: 7h59m, alertname: Unusual }}\n  - {{ eval_time: 7h58m, alertname: Unusual }}\n  \
             - eval_time: 8h\n    alertname: Unusual\n    exp_alerts: [{{ exp_labels: {{ job: a }}, exp_annotations: {{ summary: s, anomaly: a, expected: e, lower: l, upper: u }} }}]\n  - {{ eval_time: {after}, alertname: Unusual }}\n  \
             promql_expr_test:\n  - {{ expr: 'max by (job) (watchfire_anomaly_upper{{rule=\"Unusual\"}} > bool watchfire_anomaly_expected)', eval_time: 8h, exp_samples: [{{ labels: '{{job=\"a\"}}', value: 1 }}] }}\n"
        );
        std::fs::write(folder.path().join("t.yaml"), tests).unwrap();
        let output =
            std::process::Command::new(crate::WATCHFIRE).args(["rules", "test"]).arg(folder.path().join("t.yaml")).output().unwrap();
        (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    };
    let (code, said) = run("8h30m");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run("8h");
    assert!(code == Some(1) && said.contains("Unusual at 8h"), "{said}");
}
