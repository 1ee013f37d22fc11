//! Rules over other signals than series: the YAML of `sql`, `logs`, `spans`, `errors`, `absent`, `heartbeat`, `anomaly`, and what each is compiled
//! to. Pure. In: YAML. Out: a question and how it is shown, or sentences.

mod absence;
mod anomaly;
pub(super) mod errors;
pub(super) mod logs;
mod slo;
pub(super) mod spans;
mod text;

use std::time::Duration;

use model::time::Span;
use serde::{Deserialize, Serialize};

use super::question::{Question, SqlQuestion};

pub use anomaly::{Anomaly, Direction};

pub(super) use absence::{AbsentYaml, HeartbeatYaml};
pub(super) use anomaly::AnomalyYaml;
pub(super) use errors::ErrorsYaml;
pub(super) use logs::LogsYaml;
pub(super) use slo::SloYaml;
pub(super) use spans::SpansYaml;

/// The window of a rule that names none.
pub(super) const WINDOW: Span = Span::secs(300);
/// The longest window: a day, because it is read at every evaluation.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// What a source is compiled to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Compiled {
    pub question: Question,
    /// PromQL, or the question for people.
    pub expr: String,
    /// Whether the value is a share or a time, which only a threshold makes an alert of.
    pub needs_thresholds: bool,
}

/// One value or several.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    Many(Vec<Scalar>),
    One(Scalar),
}

/// A text, or what YAML takes for something else.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Scalar::Bool(value) => value.to_string(),
            Scalar::Int(value) => value.to_string(),
            Scalar::Float(value) => value.to_string(),
            Scalar::Text(value) => value.clone(),
        }
    }
}

/// All values of a key; none where it is not written.
pub(super) fn values(written: Option<&OneOrMany>) -> Vec<String> {
    match written {
        None => Vec::new(),
        Some(OneOrMany::One(value)) => vec![value.text()],
        Some(OneOrMany::Many(values)) => values.iter().map(Scalar::text).collect(),
    }
}

/// A condition as people read it in a notice: what was written, on one line.
fn shown(source: &str, yaml: &impl Serialize, window: Span) -> String {
    let written = serde_json::to_string(yaml).unwrap_or_default();
    format!("{source} {written} over {window}")
}

/// The window of a rule, checked.
pub(super) fn window(written: Option<Span>) -> Result<Span, String> {
    let window = written.unwrap_or(WINDOW);
    if window.0.is_zero() || window.0 > LONGEST {
        return Err(format!("`window: {window}` must be more than 0 and at most 1d: the whole window is read at every evaluation"));
    }
    Ok(window)
}

/// `sql`.
pub(super) fn sql(statement: &str, window: Span) -> Compiled {
    let statement = statement.trim().to_owned();
    let question = SqlQuestion { statement: statement.clone(), window, presence: None, found_only: false };
    Compiled { question: Question::Sql(question), expr: statement, needs_thresholds: false }
}

#[cfg(test)]
mod tests;
