//! Rule tests that pass, that fail, and that cannot be read.

use std::path::{Path, PathBuf};

use super::{Options, Report, run_file};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Folder(folder)
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

async fn run(path: &Path) -> Report {
    run_file(path, &Options::default()).await
}

fn failures(report: &Report) -> Vec<String> {
    report.cases.iter().filter_map(|case| Some(format!("{}:{} {}", case.kind, case.line, case.failure.as_ref()?))).collect()
}

const RULES: &str = r#"
groups:
- name: g
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: job:up:sum == 0
    for: 2m
    keep_firing_for: 1m
    labels: { severity: critical }
    annotations: { summary: "{{ $labels.job }} of {{ $externalLabels.site }} is down: {{ $value }}" }
    escalation: page
    remediation: heal
escalations:
- name: page
  steps: [{ after: 0s, notify: [pd] }, { after: 5m, notify: [sms] }]
"#;

const CONFIG: &str = r#"
receivers:
- { name: pd, type: pagerduty, routing_key: "${NOBODY_SETS_THIS}" }
- { name: sms, type: webhook, url: "${NOR_THIS}" }
remediation:
  remediations:
  - name: heal
    rungs:
    - { name: restart, action: { type: http, url: "http://svc/restart/{{labels.job}}" }, settle: 30s, check_every: 30s, verify_timeout: 1m,
        undo: { type: http, url: "http://svc/unrestart" } }
    - { name: scale, action: { type: http, url: "http://svc/scale" }, settle: 30s, check_every: 30s, verify_timeout: 1m }
"#;

fn story(body: &str) -> String {
    format!("rule_files: [rules.yml]\nconfig: watchfire.yaml\nevaluation_interval: 1m\ntests:\n- interval: 1m\n{body}")
}

async fn told(body: &str) -> Report {
    let folder = Folder::new(&[("rules.yml", RULES), ("watchfire.yaml", CONFIG), ("t.yml", &story(body))]);
    let report = run(&folder.path("t.yml")).await;
    assert_eq!(report.errors, Vec::<String>::new());
    report
}

#[tokio::test]
async fn recorded_series_feed_alerts_and_templates_see_external_labels() {
    let report = told(
        r#"
  external_labels: { site: berlin }
  input_series:
  - { series: 'up{job="api"}', values: "1 0x6 1x3" }
  alert_rule_test:
  - { eval_time: 2m, alertname: Down }
  - eval_time: 3m
    alertname: Down
    exp_alerts: [{ exp_labels: { severity: critical, job: api }, exp_annotations: { summary: "api of berlin is down: 0" } }]
  - eval_time: 7m30s
    alertname: Down
    exp_alerts: [{ exp_labels: { severity: critical, job: api }, exp_annotations: { summary: "api of berlin is down: 0" } }]
  - { eval_time: 9m, alertname: Down, exp_alerts: [] }
  promql_expr_test:
  - { expr: 'ALERTS{alertstate="firing"}', eval_time: 4m, exp_samples: [{ labels: 'ALERTS{alertname="Down",alertstate="firing",job="api",severity="critical"}', value: 1 }] }
  - { expr: "ALERTS_FOR_STATE", eval_time: 4m, exp_samples: [{ labels: 'ALERTS_FOR_STATE{alertname="Down",job="api",severity="critical"}', value: 60 }] }
  - { expr: "job:up:sum", eval_time: 0s, exp_samples: [{ labels: 'job:up:sum{job="api"}', value: 1 }] }
"#,
    )
    .await;
    assert_eq!(failures(&report), Vec::<String>::new());
    assert_eq!(report.cases.len(), 7);
}

#[tokio::test]
async fn what_differs_is_told_with_its_line() {
    let report = told(
        r#"
  input_series: [{ series: 'up{job="api"}', values: "0x9" }]
  alert_rule_test:
  - eval_time: 3m
    alertname: Down
    exp_alerts: [{ exp_labels: { severity: critical, job: web } }]
  promql_expr_test:
  - { expr: up, eval_time: 1m, exp_samples: [{ labels: 'up{job="api"}', value: 1 }] }
  - { expr: "sum(", eval_time: 1m }
"#,
    )
    .await;
    let failures = failures(&report);
    assert_eq!(failures.len(), 3, "{failures:#?}");
    assert!(failures[0].starts_with("alert_rule_test:9 expected, but not firing:  {alertname=\"Down\", job=\"web\""), "{failures:#?}");
    assert!(failures[0].contains("firing, but not expected:  {alertname=\"Down\", job=\"api\""), "{failures:#?}");
    assert!(failures[1].contains("up{job=\"api\"} 1\nthere, but not expected:   up{job=\"api\"} 0"), "{failures:#?}");
    assert!(failures[2].contains("cannot be evaluated"), "{failures:#?}");
}

/// "Critical at 0, nobody acknowledges: a text message at 5 minutes; resolved at 4 minutes: nothing."
#[tokio::test]
async fn a_ladder_climbs_unless_somebody_acts_or_it_is_over() {
    let fires = r#"
  input_series: [{ series: 'up{job="api"}', values: "0x20" }]
"#;
    let step_one = "    - { at: 2m, receiver: pd, kind: trigger, alertname: Down, ladder: page, step: 1, severity: critical }\n";
    let nobody = format!(
        "{fires}  remediation_test: {{ until: 0s }}\n  delivery_test:\n    until: 15m\n    exp_notifications:\n{step_one}    - {{ at: 7m, receiver: sms, kind: trigger, step: 2 }}\n"
    );
    assert_eq!(failures(&told(&nobody).await), Vec::<String>::new());
    let taken = format!(
        "{fires}  people: [{{ at: 6m30s, acknowledge: Down }}]\n  delivery_test:\n    until: 15m\n    exp_notifications:\n{step_one}    - {{ at: 6m30s, receiver: pd, kind: acknowledge }}\n"
    );
    assert_eq!(failures(&told(&taken).await), Vec::<String>::new());
    let silenced = format!(
        "{fires}  people: [{{ at: 1m, silence: ['alertname=Down'], for: 4m }}]\n  delivery_test:\n    until: 6m\n    exp_notifications:\n    - {{ at: 5m, receiver: pd, kind: trigger, step: 1 }}\n"
    );
    assert_eq!(failures(&told(&silenced).await), Vec::<String>::new());
    let over = format!(
        "\n  input_series: [{{ series: 'up{{job=\"api\"}}', values: \"0x4 1x20\" }}]\n  delivery_test:\n    exp_notifications:\n{step_one}    - {{ at: 6m, receiver: pd, kind: resolve }}\n"
    );
    assert_eq!(failures(&told(&over).await), Vec::<String>::new());
    let wrong = format!("{fires}  delivery_test:\n    until: 15m\n    exp_notifications:\n{step_one}");
    let said = failures(&told(&wrong).await);
    assert!(
        said.len() == 1 && said[0].contains("there, but not expected:   at 7m to sms: trigger Down (critical), ladder page, step 2"),
        "{said:#?}"
    );
}

#[tokio::test]
async fn remediations_run_as_scripted_and_are_judged_by_the_series() {
    let report = told(
        r#"
  input_series: [{ series: 'up{job="api"}', values: "0 0 0 0 0 0 1x10" }]
  remediation_test:
    results: [{ act: "/restart/", outcome: failed }]
    exp_steps:
    - { at: 2m, event: started, remediation: heal }
    - { at: 2m, event: acted, rung: restart, ok: false, text: "POST http://svc/restart/api" }
    - { at: 2m, event: undone, rung: restart, ok: true }
    - { at: 2m, event: acted, rung: scale, ok: true }
    - { at: 3m30s, event: finished, remediation: heal, outcome: handed_over, text: no rung helped }
"#,
    )
    .await;
    let said = failures(&report);
    assert_eq!(said, Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_run_is_one_sentence() {
    let report = told("\n  input_logs: [{ body: x }]\n  input_spans: []\n").await;
    assert!(report.errors.len() == 1 && report.errors[0].contains("need the engine, and there is none here"), "{report:#?}");
    let said = failures(&told("\n  input_series: [{ series: 'up', values: '1 2 x' }]\n  alert_rule_test: [{ alertname: Down }]\n").await);
    assert!(said.len() == 1 && said[0].starts_with("rules:7 `x` is no sample"), "{said:#?}");
    let said = failures(&told("\n  people: [{ at: 1m, acknowledge: Down }]\n").await);
    assert!(said.len() == 1 && said[0].contains("no alert `Down` has fired by then"), "{said:#?}");
    let folder = Folder::new(&[("t.yml", "rule_files: []\ntests:\n- intervall: 1m\n"), ("u.yml", "rule_files: [no.yml]\ntests: []\n")]);
    let report = run(&folder.path("t.yml")).await;
    assert!(report.errors.len() == 1 && report.errors[0].contains("intervall") && report.errors[0].contains("line 3"), "{report:?}");
    let report = run(&folder.path("u.yml")).await;
    assert!(report.passed() && report.warnings[0].contains("no file matches `no.yml`"), "{report:?}");
    assert!(!run(&folder.path("missing.yml")).await.passed());
}
