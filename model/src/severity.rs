//! Severity: four steps, with the aliases that people already write.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How bad it is. Ordered: `Info < Warning < High < Critical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Severity {
    /// Worth knowing; pages nobody.
    Info,
    /// Somebody should look within the day (aliases: medium, warn).
    Warning,
    /// Somebody should look now (aliases: page, error); opens an incident.
    High,
    /// Users are hurt; opens an incident.
    Critical,
}

/// A word that is no severity.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a severity: use critical, high, warning or info")]
pub struct SeverityError(String);

impl Severity {
    /// Whether alerts of this severity open incidents.
    pub fn opens_incident(self) -> bool {
        self >= Severity::High
    }
    /// The canonical word.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
    /// PagerDuty's word (Events v2 knows critical, error, warning, info).
    pub fn pagerduty(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::High => "error",
            Severity::Critical => "critical",
        }
    }
}

impl FromStr for Severity {
    type Err = SeverityError;
    fn from_str(word: &str) -> Result<Self, SeverityError> {
        match word.to_ascii_lowercase().as_str() {
            "critical" => Ok(Severity::Critical),
            "high" | "page" | "error" => Ok(Severity::High),
            "warning" | "warn" | "medium" => Ok(Severity::Warning),
            "info" | "low" => Ok(Severity::Info),
            _ => Err(SeverityError(word.to_owned())),
        }
    }
}

impl TryFrom<String> for Severity {
    type Error = SeverityError;
    fn try_from(word: String) -> Result<Self, SeverityError> {
        word.parse()
    }
}

impl From<Severity> for String {
    fn from(severity: Severity) -> String {
        severity.as_str().to_owned()
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
