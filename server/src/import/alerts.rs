//! Rule files: their text stays as it is; below each `alert` stands which ladder it climbs. In: texts, the routing plan. Out: texts and the
//! ladders that are needed. A file that Watchfire cannot read is an error.

use std::collections::{BTreeMap, BTreeSet};

use alerting::RuleSet;
use alerting::rules::{Escalation, Rule};
use model::labels::Labels;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::receivers::quoted;
use super::routes::{Plan, Said};
use super::tree::Notes;
use super::{Imported, Note};

/// A ladder: its name and whom it tells.
pub(super) type Ladders = BTreeMap<String, Vec<String>>;

/// What is needed of a rule file to know where its alerts go.
#[derive(Deserialize)]
struct FileYaml {
    groups: Option<Vec<GroupYaml>>,
}

#[derive(Deserialize)]
struct GroupYaml {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    rules: Option<Vec<RuleYaml>>,
}

#[derive(Deserialize)]
struct RuleYaml {
    alert: Option<Spanned<String>>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// The name of a file in the output: its last part, made distinct.
fn name(path: &str, taken: &BTreeSet<String>) -> String {
    let last = path.rsplit('/').next().unwrap_or(path);
    let stem = last.strip_suffix(".yaml").or_else(|| last.strip_suffix(".yml")).unwrap_or(last);
    let candidates = std::iter::once(format!("{stem}.yaml")).chain((2u32..).map(|number| format!("{stem}-{number}.yaml")));
    candidates.into_iter().find(|candidate| !taken.contains(candidate)).unwrap_or_else(|| format!("{stem}.yaml"))
}

/// The text before `alert:` on its line, as spaces: where a key of the same rule must stand.
fn indent(line: &str) -> Option<String> {
    let at = line.find("alert")?;
    let (before, after) = line.split_at(at);
    let plain = before.chars().all(|c| matches!(c, ' ' | '-')) && after["alert".len()..].trim_start().starts_with(':');
    plain.then(|| " ".repeat(before.chars().count()))
}

/// Which ladder each alert climbs: line of the alert, name, ladder.
fn led(yaml: &FileYaml, plan: &Plan, ladders: &mut Ladders) -> Vec<(u64, String, String)> {
    let mut found = Vec::new();
    for group in yaml.groups.iter().flatten() {
        for rule in group.rules.iter().flatten() {
            let Some(alert) = &rule.alert else { continue };
            let mut fixed = Labels::empty().with("alertname", &alert.value);
            for (label, value) in group.labels.iter().chain(&rule.labels) {
                fixed.set(label, if value.contains("{{") { "" } else { value });
            }
            let receivers = plan.lead(&Said { name: &alert.value, fixed });
            if receivers.iter().all(|name| plan.root() == Some(name.as_str())) {
                continue;
            }
            let mut members: Vec<String> = Vec::new();
            for member in receivers.iter().flat_map(|name| plan.members(name)) {
                if !members.contains(member) {
                    members.push(member.clone());
                }
            }
            if !members.is_empty() {
                let ladder = receivers.join("+");
                ladders.insert(ladder.clone(), members);
                found.push((alert.referenced.line(), alert.value.clone(), ladder));
            }
        }
    }
    found
}

/// Writes the ladders below the alerts. Those that stand in one line with other keys are told.
fn write(text: &str, led: &[(u64, String, String)], notes: &mut Notes) -> String {
    let mut out = String::new();
    for (number, line) in (1u64..).zip(text.split_inclusive('\n')) {
        out.push_str(line);
        for (_, alert, ladder) in led.iter().filter(|(at, ..)| *at == number) {
            match indent(line) {
                Some(indent) => {
                    if !line.ends_with('\n') {
                        out.push('\n');
                    }
                    out.push_str(&format!("{indent}escalation: {}\n", quoted(ladder)));
                }
                None => notes.say(
                    number,
                    format!("alert `{alert}` goes to `{ladder}`, but stands in one line: write `escalation: {ladder}` there by hand"),
                ),
            }
        }
    }
    out
}

/// Whether the ladders are the only difference.
fn same_but_ladders(before: &RuleSet, after: &RuleSet) -> bool {
    let bare = |set: &RuleSet| {
        let mut set = set.clone();
        for rule in set.groups.iter_mut().flat_map(|group| &mut group.rules) {
            match rule {
                Rule::Alert(rule) => (rule.escalation, rule.place.line) = (Escalation::None, None),
                Rule::Record(rule) => rule.place.line = None,
            }
        }
        set
    };
    bare(before) == bare(after)
}

/// Takes the rule files over; adds texts, notes and errors.
pub(super) fn take(files: &[(&str, &str)], plan: Option<&Plan>, imported: &mut Imported) -> Ladders {
    let (mut ladders, mut taken) = (Ladders::new(), BTreeSet::new());
    for (path, text) in files {
        let name = name(path, &taken);
        let load = |text: &str| RuleSet::load(vec![(name.clone(), text.to_owned())]);
        let before = match load(text) {
            Ok(set) => set,
            Err(errors) => {
                imported.errors.extend(
                    errors
                        .into_iter()
                        .map(|error| Note { file: (*path).to_owned(), line: error.line.unwrap_or(0), text: error.message }.to_string()),
                );
                continue;
            }
        };
        let mut notes = Notes::new(path);
        let mut out = (*text).to_owned();
        if let (Some(plan), Ok(yaml)) = (plan, serde_saphyr::from_str::<FileYaml>(text)) {
            let led = led(&yaml, plan, &mut ladders);
            let written = write(text, &led, &mut notes);
            match load(&written) {
                Ok(after) if same_but_ladders(&before, &after) => out = written,
                Ok(_) | Err(_) => {
                    for (line, alert, ladder) in led {
                        notes.say(line, format!("alert `{alert}` goes to `{ladder}`: write `escalation: {ladder}` there by hand"));
                    }
                }
            }
        }
        imported.notes.append(&mut notes.into_notes());
        taken.insert(name.clone());
        imported.rules.push((name, out));
    }
    if let Some(plan) = plan {
        let mut notes = Notes::new(&plan.file);
        plan.tell_open(&mut notes);
        imported.notes.append(&mut notes.into_notes());
    }
    ladders
}
