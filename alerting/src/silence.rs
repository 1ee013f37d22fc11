//! Muting: silences (made by people, for a time) and inhibition (configured: one alert mutes others). In: a firing alert's labels
//! and everything that fires. Out: what mutes it, if anything. Pure; a muted alert still fires, only nobody is told.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use model::event::Actor;
use model::ids::SilenceId;
use model::labels::{Labels, MatchOp, Matcher};
use model::state::Entity;
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::matchers::{MatcherText, MatcherTextError, Matchers};
use crate::routing::Routing;

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
    /// The name of the maintenance window that it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
    /// Whom Alertmanager's API was told as its author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When it was last changed, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
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

/// Whether matchers ask for nothing, so that they would silence whatever there is: each lets an absent label through because that is what
/// it looks for. `env!="prod"` does ask for something (Alertmanager's rule).
pub fn asks_nothing(matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| match matcher.op {
        MatchOp::Equal | MatchOp::Regex => matcher.matches_value(""),
        MatchOp::NotEqual | MatchOp::NotRegex => false,
    })
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
    fn key<'a>(&self, labels: &'a Labels) -> Vec<&'a str> {
        self.equal.iter().map(|label| labels.get(label).unwrap_or("")).collect()
    }

    /// Whether a firing alert mutes another. An alert that matches both sides is not muted by one that does so too.
    fn mutes(&self, source: &Labels, target: &Labels) -> bool {
        let both_sides = all_match(&self.source_matchers, target);
        all_match(&self.source_matchers, source)
            && all_match(&self.target_matchers, target)
            && self.equal.iter().all(|label| source.get(label) == target.get(label))
            && !(both_sides && all_match(&self.target_matchers, source))
    }
}

/// What mutes an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Mute {
    /// A silence.
    Silence {
        /// Which.
        id: SilenceId,
        /// Until when.
        until: Timestamp,
    },
    /// A planned maintenance window.
    Planned {
        /// Which.
        id: SilenceId,
        /// What it is called.
        name: String,
        /// Until when.
        until: Timestamp,
    },
    /// A recurring maintenance window.
    Window {
        /// What it is called.
        name: String,
        /// Until when.
        until: Timestamp,
    },
    /// Another alert.
    Inhibited {
        /// Its labels.
        source: Labels,
    },
}

impl fmt::Display for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mute::Silence { id, until } => write!(f, "silence {id} until {until}"),
            Mute::Planned { name, until, .. } | Mute::Window { name, until } => write!(f, "maintenance {name} until {until}"),
            Mute::Inhibited { source } => write!(f, "alert {}", source.get("alertname").unwrap_or("without a name")),
        }
    }
}

impl From<&Silence> for Mute {
    fn from(silence: &Silence) -> Self {
        match &silence.maintenance {
            Some(name) => Mute::Planned { id: silence.id, name: name.clone(), until: silence.ends_at },
            None => Mute::Silence { id: silence.id, until: silence.ends_at },
        }
    }
}

/// Everything that may mute, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Muting {
    /// Live silences and planned maintenance windows.
    pub silences: Vec<Silence>,
    /// Recurring maintenance windows.
    pub routing: Arc<Routing>,
    /// Inhibition rules.
    pub inhibit_rules: Vec<InhibitRule>,
    /// What fires: fingerprint and labels.
    pub firing: Vec<(u64, Labels)>,
}

impl Muting {
    /// What mutes this alert now: `silence sil_... until ...`, `maintenance <name> until ...` or `alert <name>`.
    pub fn by(&self, fingerprint: u64, labels: &Labels, now: Timestamp) -> Option<Mute> {
        if let Some(silence) = self.silences.iter().find(|silence| silence.mutes(labels, now)) {
            return Some(silence.into());
        }
        if let Some(window) = self.routing.maintained(labels, now) {
            return Some(window);
        }
        let others = || self.firing.iter().filter(|(other, _)| *other != fingerprint);
        let source = self.inhibit_rules.iter().find_map(|rule| others().find(|(_, source)| rule.mutes(source, labels)))?;
        Some(Mute::Inhibited { source: source.1.clone() })
    }
}

/// Inhibition for many alerts at once: the sources of every rule, found by the labels that must be equal.
pub struct Inhibition<'a> {
    rules: Vec<(&'a InhibitRule, Sources<'a>)>,
}

/// Alerts that may mute, by the labels that must be equal.
type Sources<'a> = HashMap<Vec<&'a str>, Vec<&'a (u64, Labels)>>;

impl<'a> Inhibition<'a> {
    /// Over what fires.
    pub fn over(rules: &'a [InhibitRule], firing: &'a [(u64, Labels)]) -> Self {
        let indexed = rules.iter().map(|rule| {
            let mut sources = Sources::new();
            for source in firing.iter().filter(|(_, labels)| all_match(&rule.source_matchers, labels)) {
                sources.entry(rule.key(&source.1)).or_default().push(source);
            }
            (rule, sources)
        });
        Inhibition { rules: indexed.collect() }
    }

    /// The first alert that mutes this one.
    pub fn by(&self, fingerprint: u64, labels: &Labels) -> Option<&'a (u64, Labels)> {
        self.rules.iter().find_map(|(rule, sources)| {
            let candidates = sources.get(&rule.key(labels))?;
            candidates.iter().find(|(other, source)| *other != fingerprint && rule.mutes(source, labels)).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
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
        let muting = Muting { inhibit_rules: vec![rule], firing, ..Muting::default() };
        assert_eq!(muting.by(1, &critical, Timestamp::EPOCH), None);
        assert_eq!(muting.by(3, &warning, Timestamp::EPOCH).unwrap().to_string(), "alert without a name");
        assert_eq!(muting.by(4, &other, Timestamp::EPOCH), None);
        let index = Inhibition::over(&muting.inhibit_rules, &muting.firing);
        for (fingerprint, labels) in [(1, &critical), (3, &warning), (4, &other)] {
            let expected = muting.by(fingerprint, labels, Timestamp::EPOCH).is_some();
            assert_eq!(index.by(fingerprint, labels).is_some(), expected, "{labels}");
        }
    }
}
