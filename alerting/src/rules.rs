//! Rules: Prometheus rule files plus Watchfire's optional keys and sources. In: file texts. Out: a checked [`RuleSet`]. Fails with a list of
//! sentences, each naming file, line, field and the fix; a set with errors is never used in part.

mod file;
mod folder;
mod merge;
mod question;
mod sources;
mod threshold;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use model::alert::RuleKey;
use model::message::LadderStep;
use model::query::QueryError;
use model::severity::Severity;
use model::time::Span;
use serde::{Deserialize, Serialize};

use crate::template::Template;

pub use folder::read_folder;
pub use question::{Anomaly, Direction, IGNORED, NoData, Question, Regressed, SqlQuestion};
pub use threshold::{Comparison, Threshold, ThresholdError, Thresholds};
pub use words::yaml_mistake;

/// What is wrong with a rule file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct RuleError {
    /// The file, as it was named to the loader.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<u64>,
    /// One sentence: the field, what is wrong, the fix.
    pub message: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}, line {line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// An escalation ladder as configured. `after` counts from the start of the ladder's round and may not fall from step to step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    /// What rules call it.
    pub name: String,
    /// Its steps, in order.
    pub steps: Vec<LadderStep>,
    /// How often the whole ladder is climbed again when nobody answers.
    #[serde(default)]
    pub repeat: u32,
}

impl Ladder {
    /// What is wrong with it, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.name.is_empty() {
            problems.push("an escalation has no name: add `name`".to_owned());
        }
        if self.steps.is_empty() {
            problems.push(format!("escalation `{}` has no steps: add at least one `{{ after: 0s, notify: [<receiver>] }}`", self.name));
        }
        if self.steps.windows(2).any(|pair| pair[1].after < pair[0].after) {
            problems.push(format!("escalation `{}`: `after` counts from the start and must not fall from step to step", self.name));
        }
        if self.steps.iter().any(|step| step.notify.is_empty()) {
            problems.push(format!("escalation `{}` has a step that notifies nobody: name a receiver in `notify`", self.name));
        }
        problems
    }
}

/// Which ladder an alert climbs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Escalation {
    /// None: the default receivers hear of it.
    #[default]
    None,
    /// The same for every severity.
    One(String),
    /// By severity; a severity without an entry climbs the ladder of the next lower one that has one.
    PerSeverity(BTreeMap<Severity, String>),
}

impl Escalation {
    /// The ladder of a severity.
    pub fn ladder(&self, severity: Severity) -> Option<&str> {
        match self {
            Escalation::None => None,
            Escalation::One(name) => Some(name),
            Escalation::PerSeverity(map) => map.range(..=severity).next_back().map(|(_, name)| name.as_str()),
        }
    }
    /// All ladders that it names.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Escalation::None => Vec::new(),
            Escalation::One(name) => vec![name],
            Escalation::PerSeverity(map) => map.values().map(String::as_str).collect(),
        }
    }
}

/// An alerting rule.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRule {
    /// Its identity. The second and later rules of one name in one group carry their labels in the name.
    pub key: RuleKey,
    /// The `alertname`.
    pub name: String,
    /// What it asks.
    pub question: Question,
    /// PromQL; of other questions what people read of them.
    pub expr: String,
    /// What it means that it finds nothing to look at.
    pub no_data: NoData,
    /// `for`.
    pub hold: Duration,
    /// `keep_firing_for`.
    pub keep_firing_for: Duration,
    /// Label templates, group labels included.
    pub labels: BTreeMap<String, Template>,
    /// Annotation templates.
    pub annotations: BTreeMap<String, Template>,
    /// The severity ladder, where the expression has no comparison of its own.
    pub thresholds: Option<Thresholds>,
    /// A firing alert goes on until this holds, even where no threshold does.
    pub recovery: Option<Threshold>,
    /// Which ladder it climbs.
    pub escalation: Escalation,
    /// Which remediation is tried.
    pub remediation: Option<String>,
    /// Where it stands: file and line.
    pub place: Place,
}

/// A recording rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordRule {
    /// Its identity.
    pub key: RuleKey,
    /// The metric name that it records.
    pub metric: String,
    /// What it asks.
    pub question: Question,
    /// PromQL; of other questions what people read of them.
    pub expr: String,
    /// Label templates do not exist here: plain labels to set.
    pub labels: BTreeMap<String, String>,
    /// Where it stands.
    pub place: Place,
}

/// Where a rule stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line of the rule's expression, from 1.
    pub line: Option<u64>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Raises alerts.
    Alert(Box<AlertRule>),
    /// Records series.
    Record(Box<RecordRule>),
}

impl Rule {
    /// Its identity.
    pub fn key(&self) -> &RuleKey {
        match self {
            Rule::Alert(rule) => &rule.key,
            Rule::Record(rule) => &rule.key,
        }
    }
    /// Its expression.
    pub fn expr(&self) -> &str {
        match self {
            Rule::Alert(rule) => &rule.expr,
            Rule::Record(rule) => &rule.expr,
        }
    }
    /// Its expression, where that is PromQL.
    pub fn promql(&self) -> Option<&str> {
        matches!(self.question(), Question::PromQl | Question::Anomaly(_)).then(|| self.expr())
    }
    /// What it asks.
    pub fn question(&self) -> &Question {
        match self {
            Rule::Alert(rule) => &rule.question,
            Rule::Record(rule) => &rule.question,
        }
    }
    /// Where it stands.
    pub fn place(&self) -> &Place {
        match self {
            Rule::Alert(rule) => &rule.place,
            Rule::Record(rule) => &rule.place,
        }
    }
}

/// Rules that are evaluated together, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// `file:<path>` or `state`.
    pub source: String,
    /// Its name, unique within its source.
    pub name: String,
    /// How often; none: the configured default.
    pub interval: Option<Duration>,
    /// How far back it asks; none: 0.
    pub query_offset: Option<Duration>,
    /// The most alerts or series of one rule; 0: no limit.
    pub limit: usize,
    /// In order.
    pub rules: Vec<Rule>,
}

/// All rules and the ladders that their files define.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    /// The groups, by source and place.
    pub groups: Vec<Group>,
    /// `escalations:` of rule files.
    pub escalations: Vec<Ladder>,
}

impl RuleSet {
    /// Reads rule files: `(path below the rules folder, text)`. Files named `<name>.watchfire.yaml` are sidecars of
    /// `<name>.yaml`. Pure; expressions and names of ladders are checked by [`RuleSet::check`].
    pub fn load(files: Vec<(String, String)>) -> Result<RuleSet, Vec<RuleError>> {
        merge::load(files)
    }

    /// Checks what needs a judge: expressions by `parse` (PromQL), statements by `statement` (SQL), ladders by the configured names.
    pub fn check(
        &self,
        parse: impl Fn(&str) -> Result<(), QueryError>,
        statement: impl Fn(&str) -> Result<(), QueryError>,
        configured: &[Ladder],
    ) -> Vec<RuleError> {
        let known = |name: &str| configured.iter().chain(&self.escalations).any(|ladder| ladder.name == name);
        let mut errors = Vec::new();
        for rule in self.groups.iter().flat_map(|group| &group.rules) {
            let mut error = |message: String| {
                let Place { file, line } = rule.place().clone();
                errors.push(RuleError { file, line, message });
            };
            match rule.question() {
                Question::PromQl | Question::Anomaly(_) => {
                    if let Err(problem) = parse(rule.expr()) {
                        error(format!("`expr` of rule `{}` is not valid PromQL: {problem}", rule.key().name));
                    }
                }
                Question::Sql(asked) => {
                    if let Some(problem) = asked.statements().find_map(|text| statement(&text).err()) {
                        error(format!("`sql` of rule `{}` is refused: {problem}", rule.key().name));
                    }
                }
                Question::Regressed(_) => {}
            }
            let Rule::Alert(alert) = rule else { continue };
            for name in alert.escalation.names().into_iter().filter(|name| !known(name)) {
                error(format!(
                    "`escalation` of rule `{}` names `{name}`, which does not exist: define it under `escalations` or correct the name",
                    alert.name
                ));
            }
        }
        errors
    }

    /// The alerting rule with this identity.
    pub fn alert_rule(&self, key: &RuleKey) -> Option<&AlertRule> {
        self.groups.iter().flat_map(|group| &group.rules).find_map(|rule| match rule {
            Rule::Alert(rule) if rule.key == *key => Some(&**rule),
            Rule::Alert(_) | Rule::Record(_) => None,
        })
    }

    /// The remediations that rules name, with their rules: for whoever knows which exist.
    pub fn remediations(&self) -> impl Iterator<Item = (&AlertRule, &str)> {
        self.groups.iter().flat_map(|group| &group.rules).filter_map(|rule| match rule {
            Rule::Alert(rule) => rule.remediation.as_deref().map(|name| (&**rule, name)),
            Rule::Record(_) => None,
        })
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.rules.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The group's interval as text, for people.
pub fn interval_text(interval: Duration) -> String {
    Span(interval).to_string()
}

#[cfg(test)]
mod tests;
