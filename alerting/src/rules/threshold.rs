//! Thresholds: a severity ladder instead of one comparison, `{ warning: "> 0.01", critical: "> 0.05" }`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use model::severity::Severity;
use serde::{Deserialize, Serialize};

/// How a value is compared.
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
    Unequal,
}

/// One comparison with a number. Written `> 0.01`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Threshold {
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub limit: f64,
}

/// A text that is no threshold.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a threshold: write a comparison and a number, for example \"> 0.05\"")]
pub struct ThresholdError(String);

const WORDS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

impl FromStr for Threshold {
    type Err = ThresholdError;
    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let fail = || ThresholdError(text.to_owned());
        let trimmed = text.trim();
        let (comparison, rest) =
            WORDS.iter().find_map(|(word, comparison)| trimmed.strip_prefix(word).map(|rest| (*comparison, rest))).ok_or_else(fail)?;
        let limit: f64 = rest.trim().parse().map_err(|_| fail())?;
        if limit.is_nan() { Err(fail()) } else { Ok(Threshold { comparison, limit }) }
    }
}

impl TryFrom<String> for Threshold {
    type Error = ThresholdError;
    fn try_from(text: String) -> Result<Self, ThresholdError> {
        text.parse()
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(_, comparison)| *comparison == self.comparison).map_or(">", |(word, _)| word);
        write!(f, "{word} {}", self.limit)
    }
}

impl From<Threshold> for String {
    fn from(threshold: Threshold) -> String {
        threshold.to_string()
    }
}

impl Threshold {
    /// Whether a value passes; NaN passes only `!=`, as in PromQL.
    pub fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Above => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::Below => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::Equal => value == self.limit,
            Comparison::Unequal => value != self.limit,
        }
    }
    /// Whether some value passes both.
    pub fn meets(&self, other: &Threshold) -> bool {
        // What passes changes at the limits only.
        let around = |limit: f64| [limit.next_down(), limit, limit.next_up()];
        around(self.limit).into_iter().chain(around(other.limit)).any(|value| self.holds(value) && other.holds(value))
    }
}

/// A severity ladder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thresholds(pub BTreeMap<Severity, Threshold>);

impl Thresholds {
    /// The worst severity whose threshold the value passes.
    pub fn severity(&self, value: f64) -> Option<Severity> {
        self.0.iter().rev().find(|(_, threshold)| threshold.holds(value)).map(|(severity, _)| *severity)
    }
    /// The mildest severity.
    pub fn mildest(&self) -> Option<Severity> {
        self.0.keys().next().copied()
    }
}
