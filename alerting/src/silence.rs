//! Muting: silences (made by people, for a time) and inhibition (configured: one alert mutes others). In: a firing alert's labels
//! and everything that fires. Out: what mutes it, if anything. Pure; a muted alert still fires, only nobody is told.

use std::fmt;

use model::event::Actor;
use model::ids::SilenceId;
use model::labels::{Labels, MatchOp, Matcher};
use model::state::Entity;
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A silence. State kind `silence`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Its id.
    pub id: SilenceId,
    /// Whose.
    pub tenant: TenantId,
    /// All of them must match.
    pub matchers: Vec<Matcher>,
    /// From, inclusive.
    pub starts_at: Timestamp,
    /// To, exclusive.
    pub ends_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    /// Why.
    pub comment: String,
    /// Whether it is over for good: ended by hand, or put away after its end.
    #[serde(default)]
    pub over: bool,
}

impl Silence {
    /// Whether it mutes a label set now.
    pub fn mutes(&self, labels: &Labels, now: Timestamp) -> bool {
        self.state(now) == "active" && self.matchers.iter().all(|matcher| matcher.matches(labels))
    }
    /// pending, active or expired.
    pub fn state(&self, now: Timestamp) -> &'static str {
        if self.over || now >= self.ends_at {
            "expired"
        } else if now < self.starts_at {
            "pending"
        } else {
            "active"
        }
    }
}

impl Entity for Silence {
    const KIND: &'static str = "silence";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn status(&self) -> &'static str {
        if self.over { "over" } else { "live" }
    }
}

/// A matcher in Alertmanager's text form: `severity="critical"`, `service=~"shop.*"`; quotes may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MatcherText(pub Matcher);

/// A text that is no matcher.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a matcher: write a label, one of = != =~ !~, and a value, for example severity=\"critical\"{}", because.as_deref().map(|why| format!(" ({why})")).unwrap_or_default())]
pub struct MatcherTextError {
    text: String,
    because: Option<String>,
}

impl std::str::FromStr for MatcherText {
    type Err = MatcherTextError;
    fn from_str(text: &str) -> Result<Self, MatcherTextError> {
        let fail = |because: Option<String>| MatcherTextError { text: text.to_owned(), because };
        let at = text.find(['=', '!']).ok_or_else(|| fail(None))?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let words = [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
        let (op, value) =
            words.into_iter().find_map(|(word, op)| rest.strip_prefix(word).map(|rest| (op, rest.trim()))).ok_or_else(|| fail(None))?;
        let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':'));
        let value = match value.strip_prefix('"') {
            Some(quoted) => serde_json::from_str::<String>(&format!("\"{quoted}")).map_err(|_| fail(None))?,
            None => value.to_owned(),
        };
        if !named {
            return Err(fail(None));
        }
        Matcher::new(name, op, &value).map(MatcherText).map_err(|error| fail(Some(error.to_string())))
    }
}

impl TryFrom<String> for MatcherText {
    type Error = MatcherTextError;
    fn try_from(text: String) -> Result<Self, MatcherTextError> {
        text.parse()
    }
}

impl fmt::Display for MatcherText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.0.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{}{op}{:?}", self.0.name, self.0.value)
    }
}

impl From<MatcherText> for String {
    fn from(matcher: MatcherText) -> String {
        matcher.to_string()
    }
}

/// While an alert fires that matches `source_matchers`, alerts that match `target_matchers` and have the same values for the
/// labels in `equal` are muted (Alertmanager's inhibition rule).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InhibitRule {
    /// Which alerts mute.
    pub source_matchers: Vec<MatcherText>,
    /// Which alerts are muted.
    pub target_matchers: Vec<MatcherText>,
    /// Labels that must be equal (absent on both counts as equal).
    pub equal: Vec<String>,
}

fn all_match(matchers: &[MatcherText], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.0.matches(labels))
}

impl InhibitRule {
    /// Whether a firing alert mutes another. An alert that matches both sides is not muted by one that does so too.
    fn mutes(&self, source: &Labels, target: &Labels) -> bool {
        let both_sides = all_match(&self.source_matchers, target);
        all_match(&self.source_matchers, source)
            && all_match(&self.target_matchers, target)
            && self.equal.iter().all(|label| source.get(label) == target.get(label))
            && !(both_sides && all_match(&self.target_matchers, source))
    }
}

/// Everything that may mute, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Muting {
    /// Live silences.
    pub silences: Vec<Silence>,
    /// Inhibition rules.
    pub inhibit_rules: Vec<InhibitRule>,
    /// What fires: fingerprint and labels.
    pub firing: Vec<(u64, Labels)>,
}

impl Muting {
    /// What mutes this alert now: `silence sil_...` or `alert <name>`.
    pub fn by(&self, fingerprint: u64, labels: &Labels, now: Timestamp) -> Option<String> {
        if let Some(silence) = self.silences.iter().find(|silence| silence.mutes(labels, now)) {
            return Some(format!("silence {}", silence.id));
        }
        let others = || self.firing.iter().filter(|(other, _)| *other != fingerprint);
        let source = self.inhibit_rules.iter().find_map(|rule| others().find(|(_, source)| rule.mutes(source, labels)))?;
        Some(format!("alert {}", source.1.get("alertname").unwrap_or("without a name")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    #[test]
    fn matchers_read_alertmanagers_text() {
        for (text, back) in [
            ("severity=critical", "severity=\"critical\""),
            ("severity=\"critical\"", "severity=\"critical\""),
            ("service =~ shop.*", "service=~\"shop.*\""),
            ("a!=\"b=c\"", "a!=\"b=c\""),
            ("a!~b", "a!~\"b\""),
        ] {
            assert_eq!(text.parse::<MatcherText>().unwrap().to_string(), back, "{text}");
        }
        for bad in ["severity", "=x", "a=~(", "a=\"b"] {
            assert!(bad.parse::<MatcherText>().unwrap_err().to_string().contains("is not a matcher"), "{bad}");
        }
    }

    #[test]
    fn an_alert_does_not_mute_itself_nor_its_equal() {
        let rule = InhibitRule {
            source_matchers: vec!["severity=critical".parse().unwrap()],
            target_matchers: vec!["severity=~critical|warning".parse().unwrap()],
            equal: vec!["service".to_owned()],
        };
        let (critical, warning) =
            (labels(&[("severity", "critical"), ("service", "a")]), labels(&[("severity", "warning"), ("service", "a")]));
        let other = labels(&[("severity", "warning"), ("service", "b")]);
        let firing = vec![(1, critical.clone()), (2, critical.clone()), (3, warning.clone())];
        let muting = Muting { silences: Vec::new(), inhibit_rules: vec![rule], firing };
        assert_eq!(muting.by(1, &critical, Timestamp::EPOCH), None);
        assert!(muting.by(3, &warning, Timestamp::EPOCH).is_some());
        assert_eq!(muting.by(4, &other, Timestamp::EPOCH), None);
    }
}
