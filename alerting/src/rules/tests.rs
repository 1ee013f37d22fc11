//! Rule files, good and bad: what is read, and the one sentence for what is wrong.

use super::*;

fn load_one(text: &str) -> Result<RuleSet, Vec<RuleError>> {
    RuleSet::load(vec![("a.yaml".to_owned(), text.to_owned())])
}

fn alert(set: &RuleSet, at: usize) -> &AlertRule {
    match &set.groups[0].rules[at] {
        Rule::Alert(rule) => rule,
        Rule::Record(rule) => panic!("{} is a recording rule", rule.key.name),
    }
}

const FULL: &str = r#"
groups:
  - name: checkout
    interval: 30s
    limit: 5
    query_offset: 10s
    labels: { team: shop }
    rules:
      - record: job:errors:rate5m
        expr: sum by (job) (rate(errors_total[5m]))
        labels: { kind: recorded }
      - alert: CheckoutErrorRate
        expr: |
          sum(rate(x{a="b"}[5m]))
        thresholds: { warning: "> 0.01", critical: "> 0.05" }
        for: 2m
        keep_firing_for: 1m
        escalation: { warning: chat, critical: critical-page }
        remediation: scale-checkout
        annotations: { summary: "{{ $labels.service }} fails {{ $value | humanizePercentage }} of requests" }
      - alert: Down
        expr: up == 0
        for: 0s
        labels: { severity: page, team: other }
        escalation: critical-page
escalations:
  - name: critical-page
    steps:
      - { after: 0s, notify: [pagerduty] }
      - { after: 5m, notify: [sms, phone] }
    repeat: 3
"#;

#[test]
fn a_full_file_is_read() {
    let set = load_one(FULL).unwrap_or_else(|errors| panic!("{errors:?}"));
    let group = &set.groups[0];
    assert_eq!((group.name.as_str(), group.source.as_str(), group.limit, set.len()), ("checkout", "file:a.yaml", 5, 3));
    assert_eq!((group.interval, group.query_offset), (Some(Duration::from_secs(30)), Some(Duration::from_secs(10))));
    let rule = alert(&set, 1);
    assert_eq!((rule.hold, rule.keep_firing_for), (Duration::from_secs(120), Duration::from_secs(60)));
    let thresholds = rule.thresholds.as_ref().unwrap();
    assert_eq!(thresholds.severity(0.06), Some(Severity::Critical));
    assert_eq!(thresholds.severity(0.02), Some(Severity::Warning));
    assert_eq!((thresholds.severity(0.01), thresholds.severity(f64::NAN)), (None, None));
    assert_eq!(rule.escalation.ladder(Severity::High), Some("chat"), "the next lower entry");
    assert_eq!(rule.escalation.ladder(Severity::Critical), Some("critical-page"));
    assert_eq!(rule.escalation.ladder(Severity::Info), None);
    assert_eq!(rule.remediation.as_deref(), Some("scale-checkout"));
    assert_eq!(rule.labels["team"].text(), "shop");
    assert_eq!(alert(&set, 2).labels["team"].text(), "other", "the rule's label wins over the group's");
    assert_eq!(
        set.remediations().map(|(rule, name)| (rule.name.as_str(), name)).collect::<Vec<_>>(),
        [("CheckoutErrorRate", "scale-checkout")]
    );
    assert_eq!(set.escalations[0].repeat, 3);
    assert!(set.check(|_| Ok(()), |_| Ok(()), &[]).iter().any(|error| error.message.contains("`chat`")));
}

#[test]
fn errors_name_file_line_field_and_fix() {
    let rule = |rest: &str| format!("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n{rest}");
    for (text, line, words) in [
        ("groups:\n- name: g\n  rules:\n  - alert: Up\n    exprr: up\n".to_owned(), Some(5), vec!["exprr"]),
        (rule("    for: soon\n"), Some(6), vec!["`for`", "soon", "5m"]),
        (rule("    for: [1]\n"), Some(6), vec!["`for`"]),
        (rule("    escalation: [x]\n"), Some(6), vec!["`escalation`"]),
        (rule("    labels: { severity: page }\n    thresholds: { warning: \"> 1\" }\n"), Some(6), vec!["severity", "remove the label"]),
        (rule("    thresholds: { warning: \"1\" }\n"), Some(6), vec!["thresholds", "`1`", "> 0.05"]),
        (rule("    thresholds: { loud: \"> 1\" }\n"), Some(6), vec!["`loud`", "critical, high, warning or info"]),
        (rule("    thresholds: { warn: \"> 1\", medium: \"> 2\" }\n"), Some(6), vec!["twice"]),
        (rule("    thresholds: { warning: \"> 1\" }\n    recovery: soon\n"), Some(7), vec!["`recovery` of rule `A`", "`soon`", "> 0.05"]),
        (rule("    recovery: \"< 1\"\n"), Some(6), vec!["`recovery`", "beside `thresholds`"]),
        (rule("    thresholds: { high: \"> 1\" }\n    recovery: \"< 2\"\n"), Some(7), vec!["`< 2`", "while high (`> 1`) does"]),
        ("groups:\n- name: g\n  rules:\n  - record: a\n    expr: up\n    recovery: \"< 1\"\n".to_owned(), Some(4), vec!["`recovery`"]),
        (rule("    annotations: { summary: \"{{ nope }}\" }\n"), Some(6), vec!["summary", "nope", "not defined"]),
        (rule("    labels: { bad-name: x }\n"), Some(6), vec!["bad-name", "not a label name"]),
        (rule("    record: b\n"), Some(4), vec!["either `record` or `alert`"]),
        ("groups:\n- name: g\n  rules:\n  - expr: up\n".to_owned(), Some(4), vec!["needs `alert` or `record`"]),
        ("groups:\n- name: g\n  rules:\n  - alert: A\n".to_owned(), Some(4), vec!["no `expr`"]),
        ("groups:\n- name: g\n  rules:\n  - record: a\n    expr: up\n    for: 1m\n".to_owned(), Some(4), vec!["`for`", "remove it"]),
        ("groups:\n- name: g\n- name: g\n".to_owned(), Some(3), vec!["exists twice"]),
        ("groups:\n- name: g\n  labels: { bad-name: x }\n".to_owned(), Some(3), vec!["`bad-name` of group `g`", "not a label name"]),
        (rule("    labels: { a: b, a: c }\n"), Some(6), vec!["`a` stands twice", "keep one"]),
        ("groups: []\n---\ngroups: []\n".to_owned(), None, vec!["more than one YAML document"]),
        ("groups: { a: b }\n".to_owned(), Some(1), vec!["a list is expected"]),
        (rule("    labels: [x]\n"), Some(6), vec!["`labels`", "key: value"]),
        ("groups: [\n".to_owned(), None, vec![]),
        ("escalations:\n- name: a\n  steps: []\n".to_owned(), Some(2), vec!["no steps"]),
    ] {
        let errors = load_one(&text).err().unwrap_or_else(|| panic!("taken: {text}"));
        let shown = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(shown.starts_with("a.yaml"), "{shown}");
        assert!(line.is_none() || errors.iter().any(|error| error.line == line), "line {line:?} in {shown}\nof {text}");
        for word in words {
            assert!(shown.contains(word), "{word} in {shown}");
        }
        assert!(errors.iter().all(|error| !error.message.contains('\n')), "{shown}");
    }
}

#[test]
fn what_prometheus_takes_is_taken() {
    let text = "groups:\n- name: g\n  interval: 0s\n  limit: -1\n  labels: { team: }\n  rules:\n  - alert: A\n    expr: up\n    labels: { a: null, b: ~, n: 1, t: true }\n    annotations:\n      summary:\n  - record: r\n    expr: up\n    labels:\n";
    let set = load_one(text).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!((set.groups[0].interval, set.groups[0].limit), (None, 0), "none of its own");
    let rule = alert(&set, 0);
    let texts: Vec<&str> = rule.labels.values().map(crate::template::Template::text).collect();
    assert_eq!((texts, rule.annotations["summary"].text()), (vec!["", "", "1", "true", ""], ""));
}

#[test]
fn a_sidecar_adds_our_keys_to_a_plain_prometheus_file() {
    let base = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n  - alert: B\n    expr: up\n";
    let load = |sidecar: &str| RuleSet::load(vec![("x/a.yaml".into(), base.into()), ("x/a.watchfire.yaml".into(), sidecar.into())]);
    let good = "groups:\n- name: g\n  rules:\n  - alert: B\n    thresholds: { high: \"< 1\" }\n    recovery: \">= 2\"\n    escalation: page\n    remediation: fix\n";
    let set = load(good).unwrap();
    assert_eq!(alert(&set, 1).recovery.map(|one| one.to_string()).as_deref(), Some(">= 2"));
    assert!(alert(&set, 0).thresholds.is_none());
    assert_eq!(alert(&set, 1).escalation, Escalation::One("page".to_owned()));
    assert_eq!((set.len(), alert(&set, 1).remediation.as_deref()), (2, Some("fix")));
    for (bad, word) in [
        ("groups:\n- name: h\n  rules: []\n", "no group `h`"),
        ("groups:\n- name: g\n  rules:\n  - alert: C\n    escalation: x\n", "no alert `C`"),
        ("groups:\n- name: g\n  rules:\n  - alert: B\n    expr: up\n", "into the rule file"),
    ] {
        let errors = load(bad).unwrap_err();
        assert!(errors[0].file == "x/a.watchfire.yaml" && errors[0].message.contains(word), "{errors:?}");
    }
    let alone = RuleSet::load(vec![("a.watchfire.yaml".into(), good.into())]).unwrap_err();
    assert!(alone[0].message.contains("`a.yaml` does not exist"), "{alone:?}");
}

#[test]
fn rules_of_one_name_keep_apart() {
    let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up > 1\n    labels: { severity: warning }\n  - alert: A\n    expr: up > 2\n    labels: { severity: page }\n  - alert: A\n    expr: up > 3\n    labels: { severity: page }\n";
    let set = load_one(text).unwrap();
    let keys: Vec<&str> = set.groups[0].rules.iter().map(|rule| rule.key().name.as_str()).collect();
    assert_eq!(keys, ["A", "A{severity=\"page\"}", "A{severity=\"page\"}#2"]);
    assert!(set.groups[0].rules.iter().all(|rule| matches!(rule, Rule::Alert(rule) if rule.name == "A")));
}

#[test]
fn empty_files_and_plain_scalars_are_fine() {
    assert!(load_one("# nothing here\n\n").unwrap().is_empty());
    let set = load_one("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: 1\n    for: 0\n    labels: { n: 1, b: true }\n").unwrap();
    assert_eq!((alert(&set, 0).expr.as_str(), alert(&set, 0).labels["n"].text()), ("1", "1"));
}

#[test]
fn expressions_are_judged_with_their_place() {
    let set = load_one("groups:\n- name: g\n  rules:\n  - alert: Up\n    expr: sum by (\n").unwrap();
    let errors = set.check(|_| Err(QueryError::BadData("unexpected end".to_owned())), |_| Ok(()), &[]);
    assert_eq!(errors[0].to_string(), "a.yaml, line 5: `expr` of rule `Up` is not valid PromQL: unexpected end");
}

#[test]
fn a_folder_is_read_with_its_folders() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("b")).unwrap();
    for (path, text) in [("a.yaml", "groups: []"), ("b/c.yml", "groups: []"), (".hidden.yaml", "x"), ("notes.txt", "x")] {
        std::fs::write(folder.path().join(path), text).unwrap();
    }
    let files = read_folder(folder.path()).unwrap();
    assert_eq!(files.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["a.yaml", "b/c.yml"]);
    assert!(read_folder(&folder.path().join("none")).unwrap_err().to_string().contains("cannot be read"));
}
