//! What a rule asks: PromQL, one SQL statement with a window, or the list of error issues. Logs, spans and errors are compiled to SQL
//! when rules are read; absence, heartbeats and objectives to PromQL. An anomaly is PromQL with a forecast beside it.

use model::time::Span;
use serde::{Deserialize, Serialize};

pub use super::sources::{Anomaly, Direction};

/// Stands in a compiled statement for the fingerprints of error issues that somebody ignores.
pub const IGNORED: &str = "{ignored}";

/// What a rule asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Question {
    /// The rule's `expr`, in PromQL.
    #[default]
    PromQl,
    /// One SELECT.
    Sql(SqlQuestion),
    /// Error issues that came back within the window.
    Regressed(Regressed),
    /// The rule's `expr`, in PromQL, beside its forecast.
    Anomaly(Anomaly),
}

impl Question {
    /// The word in APIs: what a rule's `expr` is.
    pub fn word(&self) -> &'static str {
        match self {
            Question::PromQl => "promql",
            Question::Sql(_) => "sql",
            Question::Regressed(_) => "issues",
            Question::Anomaly(_) => "anomaly",
        }
    }
}

/// One SELECT: each row is a series. Text columns are labels, `value` is the value, columns that begin with `example_` go into the
/// annotations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlQuestion {
    /// With `{from}` and `{to}`, and [`IGNORED`] where issues are left out.
    pub statement: String,
    /// From `{from}` to `{to}`; `{to}` is the moment of the evaluation.
    pub window: Span,
    /// Says by a row whether there is anything that could match; asked where the answer has no row above 0. None: an empty answer is
    /// as good as any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<String>,
    /// Whether rows whose value is 0 are left out: a rule without thresholds fires where something was found.
    #[serde(default)]
    pub found_only: bool,
}

impl SqlQuestion {
    /// The statements as they are run, but for the window: for the check when rules are read.
    pub fn statements(&self) -> impl Iterator<Item = String> {
        [Some(&self.statement), self.presence.as_ref()].into_iter().flatten().map(|text| text.replace(IGNORED, "0"))
    }
}

/// Which of the issues that came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regressed {
    /// How long ago at most.
    pub window: Span,
    /// Seen in one of these services; none: any.
    pub services: Vec<String>,
    /// Came back in one of these releases; none: any.
    pub releases: Vec<String>,
    /// Of one of these types; none: any.
    pub types: Vec<String>,
}

/// What it means that a rule found nothing that it could look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoData {
    /// An empty result, as in Prometheus; after `alerting.no_data_after` the group's own alert `WatchfireRuleNoData` tells.
    #[default]
    Alert,
    /// An empty result, and nobody is told.
    Ok,
    /// Nothing is known, as if the query had failed: open alerts stay open, and the rule is told as one that fails.
    Error,
}
