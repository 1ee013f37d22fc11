//! Label sets and label matchers, with Prometheus's meaning.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// A label set, sorted by name, no name twice, no empty value (an empty value is an absent label in Prometheus).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// The empty set.
    pub fn empty() -> Self {
        Labels::default()
    }
    /// The value of a label, or `None` where it is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok().map(|at| self.0[at].1.as_str())
    }
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) {
        match (self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)), value.is_empty()) {
            (Ok(at), true) => {
                self.0.remove(at);
            }
            (Ok(at), false) => self.0[at].1 = value.to_owned(),
            (Err(_), true) => {}
            (Err(at), false) => self.0.insert(at, (name.to_owned(), value.to_owned())),
        }
    }
    /// The same set with one label more (or another value).
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }
    /// The same set without the label.
    pub fn without(mut self, name: &str) -> Self {
        self.set(name, "");
        self
    }
    /// The set that keeps only the labels for which `keep` says so.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        Labels(self.0.iter().filter(|(name, _)| keep(name)).cloned().collect())
    }
    /// Name and value, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// xxh3-64 of the sorted labels, `__name__` included, as `name 0xFF value 0xFF ...`. Frozen: it is stored. 0xFF cannot
    /// stand in UTF-8, so two sets never share an input.
    pub fn fingerprint(&self) -> u64 {
        let mut bytes = Vec::with_capacity(self.0.iter().map(|(n, v)| n.len() + v.len() + 2).sum());
        for (name, value) in &self.0 {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0xFF);
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0xFF);
        }
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }
    /// Alertmanager's fingerprint: FNV-1a over sorted names and values, each followed by 0xFF, as 16 hex digits.
    pub fn alertmanager_fingerprint(&self) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        for (name, value) in self.iter() {
            name.bytes().for_each(&mut add);
            add(0xFF);
            value.bytes().for_each(&mut add);
            add(0xFF);
        }
        format!("{hash:016x}")
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let map: BTreeMap<String, String> = pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        Labels::from(map)
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(map: BTreeMap<String, String>) -> Self {
        Labels(map.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0.into_iter().collect()
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get(METRIC_NAME).unwrap_or(""))?;
        f.write_str("{")?;
        for (at, (name, value)) in self.iter().filter(|(name, _)| *name != METRIC_NAME).enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MatchOp {
    /// `=`
    #[serde(rename = "=")]
    Equal,
    /// `!=`
    #[serde(rename = "!=")]
    NotEqual,
    /// `=~`, anchored at both ends
    #[serde(rename = "=~")]
    Regex,
    /// `!~`, anchored at both ends
    #[serde(rename = "!~")]
    NotRegex,
}

/// One label matcher. An absent label matches as the empty string.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "MatcherText", into = "MatcherText")]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// How it compares.
    pub op: MatchOp,
    /// The text or the pattern.
    pub value: String,
    pattern: Option<Regex>,
}

#[derive(Clone, Serialize, Deserialize)]
struct MatcherText {
    name: String,
    op: MatchOp,
    value: String,
}

/// A matcher whose pattern does not parse.
#[derive(Debug, thiserror::Error)]
#[error("the pattern {value:?} for {name} is not a regular expression (RE2 syntax)")]
pub struct MatcherError {
    name: String,
    op: MatchOp,
    value: String,
    #[source]
    source: Box<regex::Error>,
}

impl Matcher {
    /// Compiles a matcher; the pattern is anchored at both ends, `.` matches new lines, as in Prometheus.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(crate::re2::anchored(value).map_err(|source| MatcherError {
                name: name.to_owned(),
                op,
                value: value.to_owned(),
                source: Box::new(source),
            })?),
        };
        Ok(Matcher { name: name.to_owned(), op, value: value.to_owned(), pattern })
    }
    /// Whether a value (empty where the label is absent) matches.
    pub fn matches_value(&self, value: &str) -> bool {
        let hit = self.pattern.as_ref().map_or(value == self.value, |pattern| pattern.is_match(value));
        match self.op {
            MatchOp::Equal | MatchOp::Regex => hit,
            MatchOp::NotEqual | MatchOp::NotRegex => !hit,
        }
    }
    /// Whether a label set matches.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_value(labels.get(&self.name).unwrap_or(""))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.op == other.op && self.value == other.value
    }
}

impl Eq for Matcher {}

impl TryFrom<MatcherText> for Matcher {
    type Error = MatcherError;
    fn try_from(text: MatcherText) -> Result<Self, MatcherError> {
        Matcher::new(&text.name, text.op, &text.value)
    }
}

impl From<Matcher> for MatcherText {
    fn from(matcher: Matcher) -> Self {
        MatcherText { name: matcher.name, op: matcher.op, value: matcher.value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_frozen() {
        let labels: Labels = [("__name__", "up"), ("job", "api"), ("instance", "a:1")].into_iter().collect();
        assert_eq!(labels.fingerprint(), xxhash_rust::xxh3::xxh3_64(b"__name__\xffup\xffinstance\xffa:1\xffjob\xffapi\xff"));
        assert_ne!(labels.fingerprint(), labels.clone().with("job", "web").fingerprint());
    }

    #[test]
    fn an_absent_label_matches_as_empty() {
        let labels: Labels = [("job", "api")].into_iter().collect();
        assert!(Matcher::new("zone", MatchOp::Equal, "").unwrap().matches(&labels));
        assert!(Matcher::new("zone", MatchOp::NotRegex, ".+").unwrap().matches(&labels));
        assert!(Matcher::new("job", MatchOp::Regex, "ap.").unwrap().matches(&labels));
        assert!(!Matcher::new("job", MatchOp::Regex, "ap").unwrap().matches(&labels));
    }
}
