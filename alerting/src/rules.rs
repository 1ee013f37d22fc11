//! Rule files: Prometheus's format plus `thresholds`, `escalation` and `remediation`. Pure: text in, rules or one sentence per
//! problem out. The loader of a folder is the only I/O.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use model::alert::RuleKey;
use model::severity::Severity;

pub use file::load;

/// `> 0.05`: a severity of a `thresholds` ladder begins where this holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// How it compares.
    pub op: Comparison,
    /// With what.
    pub value: f64,
}

/// How a threshold compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    Different,
}

impl Threshold {
    /// Whether a value is past it.
    pub fn holds(&self, value: f64) -> bool {
        match self.op {
            Comparison::Above => value > self.value,
            Comparison::AtLeast => value >= self.value,
            Comparison::Below => value < self.value,
            Comparison::AtMost => value <= self.value,
            Comparison::Equal => value == self.value,
            Comparison::Different => value != self.value,
        }
    }
}

/// An alerting rule.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRule {
    /// How long the expression must be true.
    pub for_: Duration,
    /// How long an alert goes on firing after its expression was last true.
    pub keep_firing_for: Duration,
    /// Templates of labels that are added.
    pub labels: BTreeMap<String, String>,
    /// Templates of annotations.
    pub annotations: BTreeMap<String, String>,
    /// The severity ladder, worst first; empty: every result is an alert of the label `severity` (else warning).
    pub thresholds: Vec<(Severity, Threshold)>,
    /// The escalation ladder of each severity.
    pub escalation: BTreeMap<Severity, String>,
    /// The remediation.
    pub remediation: Option<String>,
}

/// What a rule makes.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleKind {
    /// Alerts.
    Alert(Box<AlertRule>),
    /// A series, with these labels added.
    Record(BTreeMap<String, String>),
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which.
    pub key: RuleKey,
    /// The expression.
    pub expr: String,
    /// What it makes.
    pub kind: RuleKind,
}

/// A group: evaluated together, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Where it comes from (`file:services.yaml`).
    pub source: String,
    /// Its name.
    pub name: String,
    /// How often; none: the configured default.
    pub interval: Option<Duration>,
    /// The most alerts or series one rule may make; 0: any number.
    pub limit: usize,
    /// How far behind now it looks.
    pub query_offset: Duration,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    /// The groups, by source and name.
    pub groups: Vec<Group>,
}

/// Something wrong with a rule file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct RuleError {
    /// Which file.
    pub file: String,
    /// Where, what and how to fix it.
    pub problem: String,
}

impl RuleSet {
    /// How many rules.
    pub fn rules(&self) -> usize {
        self.groups.iter().map(|group| group.rules.len()).sum()
    }
    /// How many groups.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }
    /// A rule by its key.
    pub fn find(&self, key: &RuleKey) -> Option<&Rule> {
        self.groups.iter().flat_map(|group| &group.rules).find(|rule| rule.key == *key)
    }
    /// Names that no configuration knows, and expressions that do not parse.
    pub fn problems(
        &self,
        ladders: &BTreeSet<String>,
        remediations: &BTreeSet<String>,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Vec<RuleError> {
        let mut problems = Vec::new();
        let list = |names: &BTreeSet<String>| if names.is_empty() { "none".to_owned() } else { names.iter().cloned().collect::<Vec<_>>().join(", ") };
        for group in &self.groups {
            for rule in &group.rules {
                let file = group.source.strip_prefix("file:").unwrap_or(&group.source).to_owned();
                let place = format!("group `{}`, rule `{}`", group.name, rule.key.name);
                let mut problem = |text: String| problems.push(RuleError { file: file.clone(), problem: format!("{place}: {text}") });
                if let Err(error) = check(&rule.expr) {
                    problem(format!("expr: {error}"));
                }
                let RuleKind::Alert(alert) = &rule.kind else { continue };
                for name in alert.escalation.values().collect::<BTreeSet<_>>().into_iter().filter(|name| !ladders.contains(*name)) {
                    problem(format!("escalation: there is no ladder `{name}` in alerting.escalations (known: {})", list(ladders)));
                }
                if let Some(name) = alert.remediation.as_ref().filter(|name| !remediations.contains(*name)) {
                    problem(format!("remediation: there is no `{name}` in remediation.remediations (known: {})", list(remediations)));
                }
            }
        }
        problems
    }
}

/// Reads every rule file of a folder, in order of name.
pub fn load_folder(folder: &Path) -> Result<RuleSet, Vec<RuleError>> {
    let unreadable = |path: &Path, error: std::io::Error| vec![RuleError { file: path.display().to_string(), problem: format!("cannot be read: {error}") }];
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .map_err(|error| unreadable(folder, error))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
        .collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
        files.push((path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(), text));
    }
    load(&files)
}
