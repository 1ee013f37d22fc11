//! The form of a rule file, and its reading.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::alert::RuleKey;
use model::severity::Severity;
use model::time::Span;
use serde::Deserialize;

use super::{AlertRule, Comparison, Group, Rule, RuleError, RuleKind, RuleSet, Threshold};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    #[serde(default)]
    groups: Vec<GroupForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupForm {
    name: String,
    interval: Option<Span>,
    #[serde(default)]
    limit: usize,
    query_offset: Option<Span>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    rules: Vec<RuleForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleForm {
    alert: Option<String>,
    record: Option<String>,
    expr: Expr,
    #[serde(rename = "for")]
    for_: Option<Span>,
    keep_firing_for: Option<Span>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    thresholds: Option<BTreeMap<Severity, String>>,
    escalation: Option<EscalationForm>,
    remediation: Option<String>,
}

/// An expression may be a bare number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Expr {
    Text(String),
    Number(f64),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum EscalationForm {
    One(String),
    BySeverity(BTreeMap<Severity, String>),
}

/// Reads rule files: name and text each. All problems of all files at once.
pub fn load(files: &[(String, String)]) -> Result<RuleSet, Vec<RuleError>> {
    let mut set = RuleSet::default();
    let mut errors = Vec::new();
    for (name, text) in files {
        let problem = |problem: String| RuleError { file: name.clone(), problem };
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        match serde_saphyr::from_str::<FileForm>(text) {
            Err(error) => errors.push(problem(error.to_string())),
            Ok(form) => {
                let mut names = BTreeSet::new();
                for group in form.groups {
                    if !names.insert(group.name.clone()) {
                        errors.push(problem(format!("group `{}` stands twice: give each group of a file its own name", group.name)));
                    }
                    match read_group(name, group) {
                        Ok(group) => set.groups.push(group),
                        Err(texts) => errors.extend(texts.into_iter().map(problem)),
                    }
                }
            }
        }
    }
    if errors.is_empty() { Ok(set) } else { Err(errors) }
}

fn read_group(file: &str, form: GroupForm) -> Result<Group, Vec<String>> {
    let source = format!("file:{file}");
    let mut rules = Vec::new();
    let mut problems = Vec::new();
    for (place, rule) in form.rules.into_iter().enumerate() {
        match read_rule(&source, &form.name, &form.labels, rule) {
            Ok(rule) => rules.push(rule),
            Err(problem) => problems.push(format!("group `{}`, rule {}: {problem}", form.name, place + 1)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let duration = |span: Option<Span>| span.map(|span| span.0);
    Ok(Group {
        source,
        name: form.name,
        interval: duration(form.interval).filter(|interval| !interval.is_zero()),
        limit: form.limit,
        query_offset: duration(form.query_offset).unwrap_or(Duration::ZERO),
        rules,
    })
}

fn read_rule(source: &str, group: &str, group_labels: &BTreeMap<String, String>, form: RuleForm) -> Result<Rule, String> {
    let expr = match form.expr {
        Expr::Text(text) => text,
        Expr::Number(number) => number.to_string(),
    };
    let key = |name: &str| RuleKey { source: source.to_owned(), group: group.to_owned(), name: name.to_owned() };
    let mut labels = group_labels.clone();
    labels.extend(form.labels);
    if let Some(bad) = labels.keys().find(|label| label.as_str() == "__name__" || label.as_str() == "alertname") {
        return Err(format!("labels: `{bad}` cannot be set by a rule"));
    }
    match (form.alert, form.record) {
        (Some(name), None) => {
            let thresholds = read_thresholds(form.thresholds.unwrap_or_default()).map_err(|error| format!("`{name}`: {error}"))?;
            let alert = AlertRule {
                for_: form.for_.unwrap_or_default().0,
                keep_firing_for: form.keep_firing_for.unwrap_or_default().0,
                labels,
                annotations: form.annotations,
                thresholds,
                escalation: read_escalation(form.escalation),
                remediation: form.remediation,
            };
            Ok(Rule { key: key(&name), expr, kind: RuleKind::Alert(Box::new(alert)) })
        }
        (None, Some(name)) => {
            let ours = form.thresholds.is_some() || form.escalation.is_some() || form.remediation.is_some();
            if form.for_.is_some() || form.keep_firing_for.is_some() || !form.annotations.is_empty() || ours {
                return Err(format!("`{name}`: a recording rule has only `record`, `expr` and `labels`"));
            }
            Ok(Rule { key: key(&name), expr, kind: RuleKind::Record(labels) })
        }
        (None, None) => Err("it has neither `alert` nor `record`: give it one".to_owned()),
        (Some(alert), Some(_)) => Err(format!("`{alert}`: it has both `alert` and `record`: keep one")),
    }
}

const EVERY_SEVERITY: [Severity; 4] = [Severity::Info, Severity::Warning, Severity::High, Severity::Critical];

fn read_escalation(form: Option<EscalationForm>) -> BTreeMap<Severity, String> {
    match form {
        None => BTreeMap::new(),
        Some(EscalationForm::One(name)) => EVERY_SEVERITY.into_iter().map(|severity| (severity, name.clone())).collect(),
        Some(EscalationForm::BySeverity(map)) => map,
    }
}

fn read_thresholds(form: BTreeMap<Severity, String>) -> Result<Vec<(Severity, Threshold)>, String> {
    let mut thresholds = Vec::new();
    for (severity, text) in form {
        let threshold = read_threshold(&text)
            .ok_or_else(|| format!("thresholds.{severity}: `{text}` is not a comparison: write for example \"> 0.05\""))?;
        thresholds.push((severity, threshold));
    }
    thresholds.sort_by(|a, b| b.0.cmp(&a.0));
    Ok(thresholds)
}

fn read_threshold(text: &str) -> Option<Threshold> {
    let text = text.trim();
    let operators = [
        (">=", Comparison::AtLeast),
        ("<=", Comparison::AtMost),
        ("==", Comparison::Equal),
        ("!=", Comparison::Different),
        (">", Comparison::Above),
        ("<", Comparison::Below),
    ];
    let (rest, op) = operators.into_iter().find_map(|(sign, op)| text.strip_prefix(sign).map(|rest| (rest, op)))?;
    let value = rest.trim().parse::<f64>().ok()?;
    Some(Threshold { op, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<RuleSet, String> {
        load(&[("a.yaml".to_owned(), text.to_owned())]).map_err(|errors| errors[0].to_string())
    }

    #[test]
    fn prometheus_files_and_our_keys_are_read() {
        let set = one("groups:\n- name: g\n  interval: 1s\n  rules:\n  - record: a:b\n    expr: 1\n  - alert: A\n    expr: up\n    for: 2m\n    thresholds: { warning: '> 0.01', critical: '>= 0.05' }\n    escalation: { critical: page }\n    remediation: fix\n").unwrap();
        assert_eq!((set.rules(), set.groups()), (2, 1));
        let RuleKind::Alert(alert) = &set.groups[0].rules[1].kind else { panic!() };
        assert_eq!(alert.thresholds[0], (Severity::Critical, Threshold { op: Comparison::AtLeast, value: 0.05 }));
        assert_eq!(alert.for_, Duration::from_secs(120));
        assert_eq!(alert.escalation.get(&Severity::Critical).map(String::as_str), Some("page"));
        assert_eq!(alert.escalation.get(&Severity::Warning), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, words) in [
            ("groups:\n- name: g\n  rules:\n  - alert: A\n    exprr: up\n", "exprr"),
            ("groups:\n- name: g\n  rules:\n  - expr: up\n", "neither `alert` nor `record`"),
            ("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    for: 5\n", "5"),
            ("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    thresholds: { critical: '0.05' }\n", "thresholds.critical: `0.05` is not a comparison"),
            ("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    thresholds: { grave: '> 1' }\n", "grave"),
            ("groups:\n- name: g\n  rules:\n  - record: a\n    expr: up\n    for: 1m\n", "recording rule"),
            ("groups:\n- name: g\n- name: g\n", "stands twice"),
        ] {
            let error = one(text).unwrap_err();
            assert!(error.starts_with("a.yaml: ") && error.contains(words), "{error}");
        }
    }
}
