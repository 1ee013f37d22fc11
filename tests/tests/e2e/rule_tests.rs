//! Rule tests beside promtool: the same files through both, and the same verdict for each test; what Watchfire adds; the way of an
//! Alertmanager installation into Watchfire.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const RULES: &str = r#"
groups:
- name: first
  rules:
  - record: job:requests:rate5m
    expr: sum by (job) (rate(requests_total[5m]))
  - alert: InstanceDown
    expr: up == 0
    for: 5m
    labels: { severity: page }
    annotations:
      summary: "Instance {{ $labels.instance }} of {{ $externalLabels.cluster }} is down"
      description: "{{ $labels.job }} has been at {{ $value }} since {{ $value | humanizeDuration }}; {{ $externalURL }}"
- name: second
  rules:
  - record: job:requests:doubled
    expr: 2 * job:requests:rate5m
  - alert: Busy
    expr: job:requests:doubled > 1
    labels: { level: '{{ if gt $value 3.0 }}high{{ else }}low{{ end }}' }
    annotations: { value: "{{ printf \"%.2f\" $value }}" }
  - alert: NothingThere
    expr: absent(up{job="never"})
  - alert: AlreadyDown
    expr: ALERTS{alertname="InstanceDown", alertstate="firing"} == 1
- name: broken
  rules:
  - alert: TwoOfOne
    expr: '{__name__=~"twin_.*"} > 0'
"#;

/// Each is one test of one file: a name and its YAML below `tests:`.
const CASES: &[(&str, bool, &str)] = &[
    (
        "fires",
        true,
        "input_series: [{ series: 'up{job=\"p\",instance=\"a\"}', values: '0x15' }]\nexternal_labels: { cluster: c1 }\nexternal_url: http://x\nalert_rule_test:\n- { eval_time: 4m, alertname: InstanceDown }\n- eval_time: 5m\n  alertname: InstanceDown\n  exp_alerts:\n  - exp_labels: { severity: page, instance: a, job: p }\n    exp_annotations: { summary: 'Instance a of c1 is down', description: 'p has been at 0 since 0s; http://x' }",
    ),
    (
        "fires_wrong_annotation",
        false,
        "input_series: [{ series: 'up{job=\"p\",instance=\"a\"}', values: '0x15' }]\nalert_rule_test:\n- eval_time: 5m\n  alertname: InstanceDown\n  exp_alerts: [{ exp_labels: { severity: page, instance: a, job: p }, exp_annotations: { summary: nonsense } }]",
    ),
    (
        "fires_wrong_label",
        false,
        "input_series: [{ series: 'up{job=\"p\"}', values: '0x15' }]\nalert_rule_test:\n- { eval_time: 10m, alertname: NothingThere, exp_alerts: [{ exp_labels: { job: other } }] }",
    ),
    (
        "expected_but_absent",
        false,
        "input_series: [{ series: 'up{job=\"p\"}', values: '1x15' }]\nalert_rule_test:\n- { eval_time: 10m, alertname: InstanceDown, exp_alerts: [{ exp_labels: { severity: page } }] }",
    ),
    (
        "firing_but_not_expected",
        false,
        "input_series: [{ series: 'up{job=\"p\"}', values: '0x15' }]\nalert_rule_test:\n- { eval_time: 10m, alertname: InstanceDown, exp_alerts: [] }",
    ),
    (
        "absent_fires",
        true,
        "input_series: [{ series: 'up{job=\"p\"}', values: '1x15' }]\nalert_rule_test:\n- { eval_time: 0s, alertname: NothingThere, exp_alerts: [{ exp_labels: { job: never } }] }",
    ),
    (
        "between_ticks",
        true,
        "interval: 1m\ninput_series: [{ series: 'up{job=\"p\"}', values: '0x6 1x9' }]\nalert_rule_test:\n- { eval_time: 6m59s, alertname: AlreadyDown, exp_alerts: [{ exp_labels: { job: p, severity: page, alertstate: firing } }] }\n- { eval_time: 7m, alertname: InstanceDown }",
    ),
    (
        "stale_resolves",
        true,
        "input_series: [{ series: 'up{job=\"p\"}', values: '0x6 stale' }]\nalert_rule_test:\n- { eval_time: 7m, alertname: InstanceDown }\npromql_expr_test:\n- { expr: up, eval_time: 7m }",
    ),
    (
        "pending_vanishes",
        true,
        "input_series: [{ series: 'up{job=\"p\"}', values: '0 0 0 1 0 0 0 0 0 1' }]\nalert_rule_test:\n- { eval_time: 8m, alertname: InstanceDown }",
    ),
    (
        "recorded_feeds_alert",
        true,
        "input_series: [{ series: 'requests_total{job=\"p\"}', values: '0+60x20' }]\nalert_rule_test:\n- { eval_time: 10m, alertname: Busy, exp_alerts: [{ exp_labels: { job: p, level: low }, exp_annotations: { value: '2.00' } }] }\npromql_expr_test:\n- { expr: 'job:requests:doubled', eval_time: 10m, exp_samples: [{ labels: 'job:requests:doubled{job=\"p\"}', value: 2 }] }",
    ),
    (
        "recorded_wrong_value",
        false,
        "input_series: [{ series: 'requests_total{job=\"p\"}', values: '0+60x20' }]\npromql_expr_test:\n- { expr: 'job:requests:doubled', eval_time: 10m, exp_samples: [{ labels: 'job:requests:doubled{job=\"p\"}', value: 2.5 }] }",
    ),
    (
        "scalar_and_name",
        true,
        "promql_expr_test:\n- { expr: 'scalar(vector(3)) * 2', eval_time: 1m, exp_samples: [{ labels: '{}', value: 6 }] }\n- { expr: 'vector(time())', eval_time: 1m, exp_samples: [{ value: 60 }] }",
    ),
    ("expression_does_not_parse", false, "promql_expr_test:\n- { expr: 'sum(', eval_time: 1m }"),
    (
        "alerts_series",
        true,
        "input_series: [{ series: 'up{job=\"p\"}', values: '0x15' }]\npromql_expr_test:\n- { expr: 'ALERTS{alertname=\"InstanceDown\"}', eval_time: 3m, exp_samples: [{ labels: 'ALERTS{alertname=\"InstanceDown\",alertstate=\"pending\",job=\"p\",severity=\"page\"}', value: 1 }] }\n- { expr: 'ALERTS_FOR_STATE{alertname=\"InstanceDown\"}', eval_time: 3m, exp_samples: [{ labels: 'ALERTS_FOR_STATE{alertname=\"InstanceDown\",job=\"p\",severity=\"page\"}', value: 0 }] }",
    ),
    (
        "blanks_and_steps",
        true,
        "interval: 30s\ninput_series:\n- { series: 'a', values: '1 _ _x2 4-1x3 1e2 .5x1 -3+1.5x2' }\npromql_expr_test:\n- { expr: a, eval_time: 90s, exp_samples: [{ labels: a, value: 1 }] }\n- { expr: a, eval_time: 3m, exp_samples: [{ labels: a, value: 2 }] }\n- { expr: a, eval_time: 4m, exp_samples: [{ labels: a, value: 100 }] }\n- { expr: 'max_over_time(a[1h])', eval_time: 30m, exp_samples: [{ labels: '{}', value: 100 }] }",
    ),
    (
        "bad_values",
        false,
        "input_series: [{ series: 'a', values: '1 2 x' }]\npromql_expr_test: [{ expr: a, eval_time: 1m, exp_samples: [{ labels: a, value: 2 }] }]",
    ),
    (
        "bad_series",
        false,
        "input_series: [{ series: 'a{b!=\"c\"}', values: '1' }]\npromql_expr_test: [{ expr: '1', eval_time: 1m, exp_samples: [{ value: 1 }] }]",
    ),
    (
        "rule_fails",
        false,
        "input_series: [{ series: twin_a, values: '1x5' }, { series: twin_b, values: '1x5' }]\npromql_expr_test: [{ expr: '1', eval_time: 1m, exp_samples: [{ value: 1 }] }]",
    ),
    ("no_alertname", false, "alert_rule_test: [{ eval_time: 1m }]"),
    ("unknown_key", false, "alert_rule_tests: [{ eval_time: 1m, alertname: InstanceDown }]"),
    (
        "last_tick_is_what_is_known",
        true,
        "interval: 30s\ninput_series: [{ series: a, values: '1 2 3 4' }]\npromql_expr_test: [{ expr: a, eval_time: 1m30s, exp_samples: [{ labels: a, value: 3 }] }]",
    ),
    (
        "negative_offset_sees_the_end",
        true,
        "input_series: [{ series: a, values: '1 2 3 4' }]\npromql_expr_test:\n- { expr: 'a offset -2m', eval_time: 1m, exp_samples: [{ labels: a, value: 4 }] }\n- { expr: 'a', eval_time: 3m, exp_samples: [{ labels: a, value: 4 }] }",
    ),
];

fn indented(body: &str) -> String {
    // Debian's promtool has no default for it.
    let body = if body.starts_with("interval:") { body.to_owned() } else { format!("interval: 1m\n{body}") };
    body.lines().enumerate().map(|(at, line)| format!("{} {line}\n", if at == 0 { "-" } else { " " })).collect()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn watchfire(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(crate::WATCHFIRE).args(arguments).current_dir(folder).output().unwrap()
}

#[test]
fn the_same_files_have_the_same_verdicts_as_with_promtool() {
    if Command::new("promtool").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "promtool is missing: apt install prometheus");
        println!("SKIPPED: needs promtool (apt install prometheus)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    let mut names = Vec::new();
    for (name, ..) in CASES {
        names.push(format!("{name}.test.yml"));
    }
    for ((_, _, body), name) in CASES.iter().zip(&names) {
        let text =
            format!("rule_files: ['rule?.yml']\nevaluation_interval: 1m\ngroup_eval_order: [first, second]\ntests:\n{}", indented(body));
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    for ((name, good, _), file) in CASES.iter().zip(&names) {
        let theirs = Command::new("promtool").args(["test", "rules", file]).current_dir(folder.path()).output().unwrap();
        assert_eq!(theirs.status.success(), *good, "promtool on {name}: {}", said(&theirs));
        let ours = watchfire(folder.path(), &["rules", "test", file]);
        assert_eq!(ours.status.code(), Some(i32::from(!*good)), "watchfire on {name}: {}", said(&ours));
    }
    // All in one call, and as JSON.
    let mut arguments = vec!["rules", "test", "--json"];
    arguments.extend(names.iter().map(String::as_str));
    let all = watchfire(folder.path(), &arguments);
    let json: Value = serde_json::from_slice(&all.stdout).unwrap_or_else(|_| panic!("{}", said(&all)));
    for ((name, good, _), file) in CASES.iter().zip(json["files"].as_array().unwrap()) {
        let cases = file["cases"].as_array().unwrap();
        let passed = file["errors"].as_array().unwrap().is_empty() && cases.iter().all(|case| case["failure"].is_null());
        assert_eq!(passed, *good, "{name}: {file}");
    }
    assert_eq!((all.status.code(), &json["success"]), (Some(1), &Value::Bool(false)));
}

#[test]
fn a_failure_names_file_and_line_and_tests_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    let test = "rule_files: [rules.yml]\ntests:\n- name: good\n  promql_expr_test: [{ expr: '1', exp_samples: [{ value: 1 }] }]\n- name: bad\n  promql_expr_test:\n  - { expr: '1', exp_samples: [{ value: 2 }] }\n";
    std::fs::write(folder.path().join("t.yml"), test).unwrap();
    let all = watchfire(folder.path(), &["rules", "test", "t.yml"]);
    let text = said(&all);
    assert!(
        all.status.code() == Some(1) && text.contains("t.yml:7: promql_expr_test 1 at 0s") && text.contains("1 passed, 1 failed"),
        "{text}"
    );
    let one = watchfire(folder.path(), &["rules", "test", "--run", "^goo", "t.yml"]);
    assert!(one.status.success() && said(&one).contains("SUCCESS: 1 passed, 0 failed"), "{}", said(&one));
    let wrong = watchfire(folder.path(), &["rules", "test", "--run", "(", "t.yml"]);
    assert_eq!(wrong.status.code(), Some(1), "{}", said(&wrong));
}

#[test]
fn an_alertmanager_installation_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    let manager = "route:\n  receiver: mail\n  group_wait: 10s\n  routes:\n  - match: { severity: page }\n    receiver: hook\nreceivers:\n- name: mail\n  email_configs: [{ to: a@example.org, from: b@example.org, smarthost: 'localhost:25', require_tls: false }]\n- name: hook\n  webhook_configs: [{ url: 'http://127.0.0.1:9/hook' }]\n";
    std::fs::write(folder.path().join("alertmanager.yml"), manager).unwrap();
    let output = watchfire(folder.path(), &["rules", "import", "rules.yml", "alertmanager.yml", "--out", "new"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("1 rule files; 0 notes"), "{}", said(&output));
    let check = watchfire(folder.path(), &["check", "--config", "new/watchfire.yaml"]);
    assert!(check.status.success() && said(&check).contains("7 rules in 3 groups, 2 receivers"), "{}", said(&check));
    let again = watchfire(folder.path(), &["rules", "import", "rules.yml", "--out", "new"]);
    assert!(again.status.code() == Some(1) && said(&again).contains("exists"), "{}", said(&again));
    // What was taken over pages as it did: the test drives the imported rules with the imported configuration. AlreadyDown has its
    // severity from a series and is in the same group.
    let test = "rule_files: [new/rules/rules.yaml]\nconfig: new/watchfire.yaml\nevaluation_interval: 1m\ntests:\n- input_series: [{ series: 'up{job=\"never\"}', values: '0x8 1x8' }]\n  delivery_test:\n    exp_notifications:\n    - { at: 5m10s, receiver: hook, kind: trigger, alertname: InstanceDown }\n    - { at: 10m10s, receiver: hook, kind: resolve, alertname: InstanceDown }\n";
    std::fs::write(folder.path().join("t.yml"), test).unwrap();
    let tested = watchfire(folder.path(), &["rules", "test", "t.yml"]);
    assert!(tested.status.success(), "{}", said(&tested));
}

#[test]
fn the_shipped_tests_of_the_shipped_rules_pass() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let output = watchfire(&deploy, &["rules", "test", "rule-tests/services.test.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    // They can fail.
    let text = std::fs::read_to_string(deploy.join("rule-tests/services.test.yaml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let moved = text.replace("../", &format!("{}/", deploy.display())).replace("0+10x20", "0+2x20");
    std::fs::write(folder.path().join("t.yaml"), moved).unwrap();
    let output = watchfire(folder.path(), &["rules", "test", "t.yaml"]);
    assert!(output.status.code() == Some(1) && said(&output).contains("severity=\"warning\""), "{}", said(&output));
}

/// Twenty minutes of a pool that is empty from the eighth minute to the fourteenth, a point every 15 s.
fn pool(now: i64) -> Value {
    let point = |n: i64| {
        let value = if (32..56).contains(&n) { 0 } else { 5 };
        serde_json::json!({"timeUnixNano": (now - (80 - n) * 15_000_000_000).to_string(), "asDouble": value})
    };
    let points: Vec<Value> = (0..80).map(point).collect();
    serde_json::json!({"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "scopeMetrics": [{"metrics": [{"name": "pool.free", "gauge": {"dataPoints": points}}]}],
    }]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_tells_what_the_stored_history_would_have_raised() {
    use model::time::{Clock, SystemClock, Timestamp};
    let mut world = tests::process::Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    world.start().await;
    let now = SystemClock.now();
    let url = format!("http://{}/v1/metrics", world.otlp_http);
    assert_eq!(reqwest::Client::new().post(url).json(&pool(now.nanos())).send().await.unwrap().status(), 200);
    tests::wait::wait_for("the points to be stored", async || {
        (world.promql("sum(count_over_time(pool_free[30m]))").await == Some(80.0)).then_some(())
    })
    .await;
    let rules = "groups:\n- name: g\n  interval: 15s\n  rules:\n  - record: pool:free\n    expr: sum(pool_free)\n  - alert: PoolEmpty\n    expr: pool:free == 0\n    for: 1m\n    labels: { severity: critical }\n    escalation: page\nescalations: [{ name: page, steps: [{ after: 0s, notify: [pd] }, { after: 3m, notify: [sms] }] }]\n";
    std::fs::write(world.folder().join("other.yml"), rules).unwrap();
    let (from, to) = (now.minus(std::time::Duration::from_secs(1_140)).to_string(), now.to_string());
    let arguments = ["rules", "replay", "--from", &from, "--to", &to, "--rules", "other.yml"];
    let shown = world.command(&arguments).output().unwrap();
    let text = said(&shown);
    assert!(shown.status.success() && text.contains("PoolEmpty") && text.contains("-###"), "{text}");
    let json = world.command(&arguments).arg("--json").output().unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap_or_else(|_| panic!("{}", said(&json)));
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    let alerts = json["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 1, "{json}");
    let (pending, fired, ended) = (time(&alerts[0]["pending"]), time(&alerts[0]["fired"]), time(&alerts[0]["ended"]));
    assert_eq!((fired.since(pending).as_secs(), ended.since(pending).as_secs()), (60, 360), "{json}");
    let pages: Vec<String> = json["pages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|page| {
            format!(
                "{} {} {}",
                time(&page["at"]).since(pending).as_secs(),
                page["receiver"].as_str().unwrap(),
                page["kind"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(pages, ["60 pd trigger", "240 sms trigger", "360 pd resolve", "360 sms resolve"], "{json}");
    world.stop().await;
    assert_eq!(world.command(&arguments).output().unwrap().status.code(), Some(4), "no server is exit code 4");
}
