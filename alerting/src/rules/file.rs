//! The YAML of rule files: Prometheus's keys and ours, unknown keys refused, places kept for messages.

use std::collections::BTreeMap;

use model::time::Span;
use serde::{Deserialize, Deserializer, Serialize};
use serde_saphyr::Spanned;

use super::question::NoData;
use super::sources::{AbsentYaml, AnomalyYaml, ErrorsYaml, HeartbeatYaml, LogsYaml, SloYaml, SpansYaml};
use super::words::yaml_mistake;
use super::{Ladder, RuleError};

/// A rule file or a sidecar.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileYaml {
    #[serde(default)]
    pub groups: Vec<GroupYaml>,
    #[serde(default)]
    pub escalations: Vec<Spanned<Ladder>>,
    #[serde(default)]
    pub slos: Vec<Spanned<SloYaml>>,
}

/// A group.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupYaml {
    pub name: Spanned<String>,
    pub interval: Option<Span>,
    pub query_offset: Option<Span>,
    /// 0 or less: none.
    #[serde(default)]
    pub limit: i64,
    #[serde(default, deserialize_with = "texts")]
    pub labels: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub rules: Vec<RuleYaml>,
}

/// Texts by name; nothing at all is an empty one, as in Prometheus.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Spanned<String>>, D::Error> {
    let read = Option::<BTreeMap<String, Spanned<Option<String>>>>::deserialize(deserializer)?.unwrap_or_default();
    let text = |read: Spanned<Option<String>>| Spanned::new(read.value.unwrap_or_default(), read.referenced, read.defined);
    Ok(read.into_iter().map(|(name, read)| (name, text(read))).collect())
}

/// A rule; which keys fit together is checked later.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleYaml {
    pub record: Option<Spanned<String>>,
    pub alert: Option<Spanned<String>>,
    pub expr: Option<Spanned<String>>,
    pub sql: Option<Spanned<String>>,
    pub logs: Option<Spanned<LogsYaml>>,
    pub spans: Option<Spanned<SpansYaml>>,
    pub errors: Option<Spanned<ErrorsYaml>>,
    pub absent: Option<Spanned<AbsentYaml>>,
    pub heartbeat: Option<Spanned<HeartbeatYaml>>,
    pub anomaly: Option<Spanned<AnomalyYaml>>,
    /// Of `sql`, `logs`, `spans` and `errors`.
    pub window: Option<Span>,
    pub no_data: Option<NoData>,
    #[serde(rename = "for")]
    pub hold: Option<Span>,
    pub keep_firing_for: Option<Span>,
    #[serde(default, deserialize_with = "texts")]
    pub labels: BTreeMap<String, Spanned<String>>,
    #[serde(default, deserialize_with = "texts")]
    pub annotations: BTreeMap<String, Spanned<String>>,
    pub thresholds: Option<Spanned<BTreeMap<String, String>>>,
    /// Beside `thresholds`: an alert is over only when this holds.
    pub recovery: Option<Spanned<String>>,
    pub escalation: Option<Spanned<EscalationYaml>>,
    pub remediation: Option<Spanned<String>>,
}

/// A ladder's name, or one per severity.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum EscalationYaml {
    One(String),
    PerSeverity(BTreeMap<String, String>),
}

/// Where a value stands.
pub(super) fn line<T>(value: &Spanned<T>) -> Option<u64> {
    Some(value.referenced.line()).filter(|line| *line > 0)
}

impl RuleYaml {
    /// The line of the rule.
    pub(super) fn line(&self) -> Option<u64> {
        [&self.alert, &self.record, &self.expr].into_iter().flatten().find_map(line)
    }
    /// The line of its expression.
    pub(super) fn expr_line(&self) -> Option<u64> {
        self.sources().into_iter().find_map(|(_, line)| line?).or_else(|| self.line())
    }
    /// Every source by its key, with its line where it is written.
    pub(super) fn sources(&self) -> [(&'static str, Option<Option<u64>>); 8] {
        [
            ("expr", self.expr.as_ref().map(line)),
            ("sql", self.sql.as_ref().map(line)),
            ("logs", self.logs.as_ref().map(line)),
            ("spans", self.spans.as_ref().map(line)),
            ("errors", self.errors.as_ref().map(line)),
            ("absent", self.absent.as_ref().map(line)),
            ("heartbeat", self.heartbeat.as_ref().map(line)),
            ("anomaly", self.anomaly.as_ref().map(line)),
        ]
    }
}

/// Parses one file. An empty file is a file without groups.
pub(super) fn parse(file: &str, text: &str) -> Result<FileYaml, RuleError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(FileYaml::default());
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|place| place.line()).filter(|line| *line > 0);
        let message = yaml_mistake(&error.without_snippet().to_string());
        let message = match line.and_then(|line| field(text, line)) {
            Some(field) if !message.contains(&format!("`{field}`")) => format!("`{field}`: {message}"),
            Some(_) | None => message,
        };
        RuleError { file: file.to_owned(), line, message }
    })
}

/// The key that stands on a line, for errors that do not name it.
fn field(text: &str, line: u64) -> Option<&str> {
    let line = text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
    let (key, _) = line.trim_start_matches([' ', '-']).split_once(':')?;
    (!key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(key)
}
