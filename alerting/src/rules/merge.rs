//! From parsed files to a rule set: sidecars merged in, fields checked against one another, templates parsed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::alert::RuleKey;
use model::severity::Severity;
use model::time::Span;
use serde_saphyr::Spanned;

use super::file::{EscalationYaml, FileYaml, GroupYaml, RuleYaml, line, parse};
use super::question::Question;
use super::sources::{self, Compiled, SloYaml};
use super::{AlertRule, Escalation, Group, Place, RecordRule, Rule, RuleError, RuleSet, Threshold, Thresholds};
use crate::template::Template;

/// Labels and annotations with their places.
type Texts = BTreeMap<String, Spanned<String>>;

struct Errors {
    file: String,
    errors: Vec<RuleError>,
}

impl Errors {
    fn push(&mut self, line: Option<u64>, message: impl Into<String>) {
        self.errors.push(RuleError { file: self.file.clone(), line, message: message.into() });
    }
}

fn stem(path: &str) -> Option<&str> {
    path.strip_suffix(".yaml").or_else(|| path.strip_suffix(".yml"))
}

pub(super) fn load(files: Vec<(String, String)>) -> Result<RuleSet, Vec<RuleError>> {
    let (mut bases, mut sidecars, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (path, text) in files {
        match parse(&path, &text) {
            Ok(yaml) => match stem(&path).and_then(|stem| stem.strip_suffix(".watchfire")) {
                Some(base) => sidecars.push((base.to_owned(), path.clone(), yaml)),
                None => bases.push((path, yaml)),
            },
            Err(error) => errors.push(error),
        }
    }
    let mut set = RuleSet::default();
    for (base, path, yaml) in sidecars {
        let mut found = Errors { file: path, errors: Vec::new() };
        match bases.iter_mut().find(|(path, _)| stem(path) == Some(&base)) {
            Some((_, target)) => merge(target, yaml, &mut found),
            None => found.push(None, format!("this sidecar has no rule file: `{base}.yaml` does not exist or cannot be read")),
        }
        errors.extend(found.errors);
    }
    for (path, yaml) in bases {
        let mut found = Errors { file: path, errors: Vec::new() };
        file(yaml, &mut set, &mut found);
        errors.extend(found.errors);
    }
    if errors.is_empty() { Ok(set) } else { Err(errors) }
}

/// Adds a sidecar's keys to the rules of the same group and name.
fn merge(target: &mut FileYaml, sidecar: FileYaml, errors: &mut Errors) {
    target.escalations.extend(sidecar.escalations);
    target.slos.extend(sidecar.slos);
    for group in sidecar.groups {
        let Some(base) = target.groups.iter_mut().find(|base| base.name.value == group.name.value) else {
            errors.push(line(&group.name), format!("the rule file has no group `{}`: correct the name", group.name.value));
            continue;
        };
        for extra in group.rules {
            merge_rule(base, &extra, errors);
        }
    }
}

fn merge_rule(base: &mut GroupYaml, extra: &RuleYaml, errors: &mut Errors) {
    let Some(name) = &extra.alert else {
        return errors.push(extra.line(), "a sidecar's rule needs `alert`, the name of the alert that it adds to");
    };
    let foreign = extra.record.is_some()
        || extra.sources().iter().any(|(_, line)| line.is_some())
        || extra.window.is_some()
        || extra.no_data.is_some()
        || extra.hold.is_some()
        || extra.keep_firing_for.is_some()
        || !extra.labels.is_empty()
        || !extra.annotations.is_empty();
    if foreign {
        errors.push(
            extra.line(),
            "a sidecar holds `thresholds`, `recovery`, `escalation` and `remediation` only: put the rest into the rule file",
        );
    }
    let mut found = false;
    for rule in base.rules.iter_mut().filter(|rule| rule.alert.as_ref().is_some_and(|alert| alert.value == name.value)) {
        found = true;
        let twice = (rule.thresholds.is_some() && extra.thresholds.is_some())
            || (rule.recovery.is_some() && extra.recovery.is_some())
            || (rule.escalation.is_some() && extra.escalation.is_some())
            || (rule.remediation.is_some() && extra.remediation.is_some());
        if twice {
            errors.push(line(name), format!("rule `{}` has this key in the rule file too: keep one of them", name.value));
        }
        let merge = |to: &mut Option<Spanned<String>>, from: &Option<Spanned<String>>| {
            if let Some(from) = from {
                *to = Some(from.clone());
            }
        };
        merge(&mut rule.remediation, &extra.remediation);
        merge(&mut rule.recovery, &extra.recovery);
        rule.escalation = extra.escalation.clone().or(rule.escalation.take());
        rule.thresholds = extra.thresholds.clone().or(rule.thresholds.take());
    }
    if !found {
        errors.push(line(name), format!("group `{}` of the rule file has no alert `{}`: correct the name", base.name.value, name.value));
    }
}

fn file(yaml: FileYaml, set: &mut RuleSet, errors: &mut Errors) {
    for ladder in yaml.escalations {
        let at = line(&ladder);
        for problem in ladder.value.problems() {
            errors.push(at, problem);
        }
        if set.escalations.iter().any(|known| known.name == ladder.value.name) {
            errors.push(at, format!("escalation `{}` exists twice: rename one of them", ladder.value.name));
        }
        set.escalations.push(ladder.value);
    }
    let mut names = BTreeSet::new();
    let source = format!("file:{}", errors.file);
    for group in yaml.groups {
        if group.name.value.is_empty() {
            errors.push(line(&group.name), "`name` of a group must not be empty");
        }
        if !names.insert(group.name.value.clone()) {
            errors.push(line(&group.name), format!("group `{}` exists twice in this file: rename one of them", group.name.value));
        }
        for (label, value) in group.labels.iter().filter(|(label, _)| !is_label_name(label) || *label == "__name__") {
            errors.push(line(value), format!("`{label}` of group `{}` is not a label name: use letters, digits and _", group.name.value));
        }
        let built = self::group(&group, &source, errors);
        set.groups.push(built);
    }
    for slo in yaml.slos {
        objective(&slo, &source, &mut names, set, errors);
    }
}

/// The groups of an objective; its rules stand where it stands.
fn objective(slo: &Spanned<SloYaml>, source: &str, names: &mut BTreeSet<String>, set: &mut RuleSet, errors: &mut Errors) {
    let (at, name) = (line(slo), &slo.value.name);
    let expanded = slo.value.expand().map_err(|problem| format!("slo `{name}` {problem}"));
    let parsed = expanded.and_then(|text| parse(&errors.file, &text).map_err(|error| format!("slo `{name}`: {}", error.message)));
    let yaml = match parsed {
        Ok(yaml) => yaml,
        Err(problem) => return errors.push(at, problem),
    };
    for group in yaml.groups {
        if !names.insert(group.name.value.clone()) {
            errors.push(at, format!("slo `{name}` exists twice in this file, or a group has the name `{}`: rename one", group.name.value));
        }
        let mut found = Errors { file: errors.file.clone(), errors: Vec::new() };
        let mut built = self::group(&group, source, &mut found);
        errors.errors.extend(found.errors.into_iter().map(|error| RuleError { line: at, ..error }));
        for rule in &mut built.rules {
            match rule {
                Rule::Alert(rule) => rule.place.line = at,
                Rule::Record(rule) => rule.place.line = at,
            }
        }
        set.groups.push(built);
    }
}

fn group(yaml: &GroupYaml, source: &str, errors: &mut Errors) -> Group {
    let mut keys = BTreeSet::new();
    let mut rules = Vec::new();
    for rule in &yaml.rules {
        let name = rule.alert.as_ref().or(rule.record.as_ref()).map(|name| name.value.clone()).unwrap_or_default();
        let key = unique(&name, rule, &keys);
        keys.insert(key.clone());
        let key = RuleKey { source: source.to_owned(), group: yaml.name.value.clone(), name: key };
        if let Some(rule) = self::rule(rule, &yaml.labels, key, errors) {
            rules.push(rule);
        }
    }
    let span = |span: &Option<Span>| span.map(|span| span.0);
    Group {
        source: source.to_owned(),
        name: yaml.name.value.clone(),
        // As in Prometheus 0 is as none.
        interval: span(&yaml.interval).filter(|interval| !interval.is_zero()),
        query_offset: span(&yaml.query_offset),
        limit: usize::try_from(yaml.limit).unwrap_or(0),
        rules,
    }
}

/// A name that no earlier rule of the group has: with its labels, then with a number.
fn unique(name: &str, rule: &RuleYaml, taken: &BTreeSet<String>) -> String {
    if !taken.contains(name) {
        return name.to_owned();
    }
    let labels: Vec<String> = rule.labels.iter().map(|(label, value)| format!("{label}={:?}", value.value)).collect();
    let labelled = format!("{name}{{{}}}", labels.join(", "));
    let numbered = (2u32..).map(|number| format!("{labelled}#{number}"));
    std::iter::once(labelled.clone()).chain(numbered).find(|candidate| !taken.contains(candidate)).unwrap_or(labelled)
}

fn is_label_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_metric_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn rule(yaml: &RuleYaml, group_labels: &Texts, key: RuleKey, errors: &mut Errors) -> Option<Rule> {
    let place = Place { file: errors.file.clone(), line: yaml.expr_line() };
    let asked = match asked(yaml) {
        Ok(asked) => asked,
        Err(problem) => {
            errors.push(yaml.expr_line(), format!("rule `{}` {problem}", key.name));
            return None;
        }
    };
    for (label, value) in &yaml.labels {
        if !is_label_name(label) || label == "__name__" {
            errors.push(line(value), format!("`{label}` is not a label name: use letters, digits and _"));
        }
    }
    match (&yaml.alert, &yaml.record) {
        (Some(_), Some(_)) => errors.push(yaml.line(), "a rule has either `record` or `alert`: remove one of them"),
        (None, None) => errors.push(yaml.line(), "a rule needs `alert` or `record`: add a name"),
        (None, Some(record)) => return record_rule(yaml, record, group_labels, key, asked, place, errors),
        (Some(alert), None) if alert.value.is_empty() => errors.push(line(alert), "`alert` must not be empty: write a name"),
        (Some(_), None) => return Some(Rule::Alert(Box::new(alert_rule(yaml, group_labels, key, asked, place, errors)))),
    }
    None
}

/// What a rule asks: exactly one of its sources. Fails with the rest of a sentence that begins with the rule.
fn asked(yaml: &RuleYaml) -> Result<Compiled, String> {
    let written: Vec<&str> = yaml.sources().iter().filter(|(_, line)| line.is_some()).map(|(key, _)| *key).collect();
    if let [one, other, ..] = written.as_slice() {
        return Err(format!("has both `{one}` and `{other}`: a rule asks one thing, write two rules"));
    }
    let timed = ["sql", "logs", "spans", "errors"];
    if yaml.window.is_some() && !written.iter().any(|key| timed.contains(key)) {
        return Err("has a `window`, which goes with sql, logs, spans and errors: write the range into the expression".to_owned());
    }
    let window = sources::window(yaml.window)?;
    // A recording rule keeps zeros, and so does one with thresholds: they may ask for too few.
    let found_only = yaml.record.is_none() && yaml.thresholds.is_none();
    let named = |key: &str, result: Result<Compiled, String>| result.map_err(|problem| format!("`{key}` {problem}"));
    let compiled = if let Some(sql) = yaml.sql.as_ref().filter(|sql| !sql.value.trim().is_empty()) {
        sources::sql(&sql.value, window)
    } else if let Some(logs) = &yaml.logs {
        named("logs", sources::logs::compile(&logs.value, window, found_only))?
    } else if let Some(spans) = &yaml.spans {
        named("spans", sources::spans::compile(&spans.value, window, found_only))?
    } else if let Some(errors) = &yaml.errors {
        named("errors", sources::errors::compile(&errors.value, window, found_only))?
    } else if let Some(absent) = &yaml.absent {
        named("absent", absent.value.compile())?
    } else if let Some(heartbeat) = &yaml.heartbeat {
        named("heartbeat", heartbeat.value.compile())?
    } else if let Some(anomaly) = &yaml.anomaly {
        if yaml.record.is_some() {
            return Err(
                "is recorded, but `anomaly` writes series of its own (watchfire_anomaly_expected, _lower, _upper): use `alert`".to_owned()
            );
        }
        named("anomaly", anomaly.value.compile())?
    } else {
        let expr = yaml.expr.as_ref().map(|expr| expr.value.trim().to_owned()).filter(|expr| !expr.is_empty());
        let expr =
            expr.ok_or("has no `expr`: write the PromQL expression, or one of sql, logs, spans, errors, absent, heartbeat, anomaly")?;
        Compiled { question: Question::PromQl, expr, needs_thresholds: false }
    };
    if compiled.needs_thresholds && found_only {
        return Err("measures a share or a time, which alone is no alert: add `thresholds`, for example { warning: \"> 0.05\" }".to_owned());
    }
    Ok(compiled)
}

fn record_rule(
    yaml: &RuleYaml,
    record: &Spanned<String>,
    group_labels: &Texts,
    key: RuleKey,
    asked: Compiled,
    place: Place,
    errors: &mut Errors,
) -> Option<Rule> {
    let foreign = [
        ("no_data", yaml.no_data.is_some()),
        ("for", yaml.hold.is_some()),
        ("keep_firing_for", yaml.keep_firing_for.is_some()),
        ("annotations", !yaml.annotations.is_empty()),
        ("thresholds", yaml.thresholds.is_some()),
        ("recovery", yaml.recovery.is_some()),
        ("escalation", yaml.escalation.is_some()),
        ("remediation", yaml.remediation.is_some()),
    ];
    for (field, _) in foreign.iter().filter(|(_, set)| *set) {
        errors.push(line(record), format!("recording rule `{}` cannot have `{field}`: remove it", record.value));
    }
    if !is_metric_name(&record.value) {
        errors.push(line(record), format!("`record: {}` is not a metric name: use letters, digits, _ and :", record.value));
    }
    let labels = group_labels.iter().chain(&yaml.labels).map(|(label, value)| (label.clone(), value.value.clone())).collect();
    let Compiled { question, expr, .. } = asked;
    Some(Rule::Record(Box::new(RecordRule { key, metric: record.value.clone(), question, expr, labels, place })))
}

fn templates<'a>(
    field: &str,
    texts: impl Iterator<Item = (&'a String, &'a str, Option<u64>)>,
    rule: &str,
    errors: &mut Errors,
) -> BTreeMap<String, Template> {
    let mut parsed = BTreeMap::new();
    for (name, text, line) in texts {
        match Template::parse(text) {
            Ok(template) => {
                parsed.insert(name.clone(), template);
            }
            Err(problem) => errors.push(line, format!("{field} `{name}` of rule `{rule}` is not a valid template: {problem}")),
        }
    }
    parsed
}

fn alert_rule(yaml: &RuleYaml, group_labels: &Texts, key: RuleKey, asked: Compiled, place: Place, errors: &mut Errors) -> AlertRule {
    let name = yaml.alert.as_ref().map(|alert| alert.value.clone()).unwrap_or_default();
    for (annotation, value) in &yaml.annotations {
        if !is_label_name(annotation) {
            errors.push(line(value), format!("`{annotation}` is not an annotation name: use letters, digits and _"));
        }
    }
    if let Some(severity) = yaml.labels.get("severity").filter(|_| yaml.thresholds.is_some()) {
        errors.push(line(severity), format!("rule `{name}` has both `thresholds` and a label `severity`: remove the label"));
    }
    let inherited = group_labels.iter().filter(|(label, _)| !yaml.labels.contains_key(*label)).map(|(l, v)| (l, v.value.as_str(), line(v)));
    let own = yaml.labels.iter().map(|(label, value)| (label, value.value.as_str(), line(value)));
    let labels = templates("label", inherited.chain(own), &name, errors);
    let texts = yaml.annotations.iter().map(|(annotation, value)| (annotation, value.value.as_str(), line(value)));
    let annotations = templates("annotation", texts, &name, errors);
    let thresholds = yaml.thresholds.as_ref().and_then(|thresholds| self::thresholds(thresholds, &name, errors));
    let recovery = yaml.recovery.as_ref().and_then(|recovery| self::recovery(recovery, thresholds.as_ref(), &name, errors));
    AlertRule {
        key,
        question: asked.question,
        expr: asked.expr,
        no_data: yaml.no_data.unwrap_or_default(),
        hold: yaml.hold.map_or(Duration::ZERO, |span| span.0),
        keep_firing_for: yaml.keep_firing_for.map_or(Duration::ZERO, |span| span.0),
        labels,
        annotations,
        thresholds,
        recovery,
        escalation: yaml.escalation.as_ref().map(|escalation| self::escalation(escalation, &name, errors)).unwrap_or_default(),
        remediation: yaml.remediation.as_ref().map(|remediation| remediation.value.clone()),
        place,
        name,
    }
}

fn by_severity<T, E: std::fmt::Display>(
    field: &str,
    entries: impl Iterator<Item = (String, Result<T, E>)>,
    at: Option<u64>,
    rule: &str,
    errors: &mut Errors,
) -> BTreeMap<Severity, T> {
    let mut map = BTreeMap::new();
    for (word, value) in entries {
        match (word.parse::<Severity>(), value) {
            (Err(problem), _) => errors.push(at, format!("`{field}` of rule `{rule}`: {problem}")),
            (_, Err(problem)) => errors.push(at, format!("`{field}` of rule `{rule}`: {problem}")),
            (Ok(severity), Ok(value)) => {
                if map.insert(severity, value).is_some() {
                    errors.push(at, format!("`{field}` of rule `{rule}` names severity {severity} twice: keep one"));
                }
            }
        }
    }
    map
}

fn thresholds(yaml: &Spanned<BTreeMap<String, String>>, rule: &str, errors: &mut Errors) -> Option<Thresholds> {
    let entries = yaml.value.iter().map(|(word, text)| (word.clone(), text.parse::<Threshold>()));
    let map = by_severity("thresholds", entries, line(yaml), rule, errors);
    if yaml.value.is_empty() {
        errors.push(line(yaml), format!("`thresholds` of rule `{rule}` is empty: write for example {{ warning: \"> 0.01\" }}"));
        return None;
    }
    Some(Thresholds(map))
}

fn recovery(yaml: &Spanned<String>, thresholds: Option<&Thresholds>, rule: &str, errors: &mut Errors) -> Option<Threshold> {
    let mut fail = |problem: String| errors.push(line(yaml), format!("`recovery` of rule `{rule}` {problem}"));
    let recovery = match yaml.value.parse::<Threshold>() {
        Ok(recovery) => recovery,
        Err(problem) => {
            fail(format!("is wrong: {problem}"));
            return None;
        }
    };
    let Some(thresholds) = thresholds else {
        fail("stands beside `thresholds`: move the comparison out of the expression into them".to_owned());
        return None;
    };
    if let Some((severity, threshold)) = thresholds.0.iter().find(|(_, threshold)| threshold.meets(&recovery)) {
        fail(format!("is `{recovery}`, which can hold while {severity} (`{threshold}`) does: write one that never does"));
    }
    Some(recovery)
}

fn escalation(yaml: &Spanned<EscalationYaml>, rule: &str, errors: &mut Errors) -> Escalation {
    match &yaml.value {
        EscalationYaml::One(name) => Escalation::One(name.clone()),
        EscalationYaml::PerSeverity(map) => {
            let entries = map.iter().map(|(word, name)| (word.clone(), Ok::<_, std::convert::Infallible>(name.clone())));
            Escalation::PerSeverity(by_severity("escalation", entries, line(yaml), rule, errors))
        }
    }
}
