//! Inhibition: which firing alerts mute which others, found by the labels that must be equal, so that thousands of alerts cost a look each.
//! In: rules, alerts that begin and end. Out: an alert that mutes another. Pure.

use std::collections::{BTreeMap, HashMap};

use model::labels::Labels;
use serde::{Deserialize, Serialize};

use super::MatcherText;

/// While an alert fires that matches `source_matchers`, alerts that match `target_matchers` and have the same values for the
/// labels in `equal` are muted (Alertmanager's inhibition rule). An alert that matches both sides is not muted by one that does so too.
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

/// What the labels have that must be equal.
type Key = Vec<String>;

fn all_match(matchers: &[MatcherText], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.0.matches(labels))
}

impl InhibitRule {
    fn key(&self, labels: &Labels) -> Key {
        self.equal.iter().map(|label| labels.get(label).unwrap_or("").to_owned()).collect()
    }

    fn is_source(&self, labels: &Labels) -> bool {
        all_match(&self.source_matchers, labels)
    }

    /// Whether other alerts may mute one with these labels.
    pub fn is_target(&self, labels: &Labels) -> bool {
        all_match(&self.target_matchers, labels)
    }
}

/// Alerts that mute by one rule and have the same key, by fingerprint.
#[derive(Clone, Debug, Default)]
struct Sources {
    /// Which cannot be muted by the rule.
    only: BTreeMap<u64, Labels>,
    /// Which match both of its sides.
    both: BTreeMap<u64, Labels>,
}

/// The rules with what fires and may mute.
#[derive(Clone, Debug, Default)]
pub struct Inhibition(Vec<(InhibitRule, HashMap<Key, Sources>)>);

impl Inhibition {
    /// While nothing fires.
    pub fn new(rules: &[InhibitRule]) -> Self {
        Inhibition(rules.iter().map(|rule| (rule.clone(), HashMap::new())).collect())
    }

    /// An alert fires. Says so again where it did.
    pub fn begins(&mut self, fingerprint: u64, labels: &Labels) {
        for (rule, sources) in self.0.iter_mut().filter(|(rule, _)| rule.is_source(labels)) {
            let sources = sources.entry(rule.key(labels)).or_default();
            let side = if rule.is_target(labels) { &mut sources.both } else { &mut sources.only };
            side.insert(fingerprint, labels.clone());
        }
    }

    /// An alert that fired with these labels does not any more.
    pub fn ends(&mut self, fingerprint: u64, labels: &Labels) {
        for (rule, sources) in self.0.iter_mut().filter(|(rule, _)| rule.is_source(labels)) {
            if let Some(sources) = sources.get_mut(&rule.key(labels)) {
                sources.only.remove(&fingerprint);
                sources.both.remove(&fingerprint);
            }
        }
    }

    /// The labels of an alert that mutes this one: of the first rule that does, the one with the lowest fingerprint.
    pub fn by(&self, fingerprint: u64, labels: &Labels) -> Option<&Labels> {
        self.0.iter().filter(|(rule, _)| rule.is_target(labels)).find_map(|(rule, sources)| {
            let sources = sources.get(&rule.key(labels))?;
            // Of those that match both sides none is muted by another.
            let both = sources.both.iter().filter(|_| !rule.is_source(labels));
            sources.only.iter().chain(both).find(|(other, _)| **other != fingerprint).map(|(_, source)| source)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    fn rule(source: &str, target: &str, equal: &[&str]) -> InhibitRule {
        let equal = equal.iter().map(|label| (*label).to_owned()).collect();
        InhibitRule { source_matchers: vec![source.parse().unwrap()], target_matchers: vec![target.parse().unwrap()], equal }
    }

    /// Alertmanager's definition, word by word.
    fn mutes(rule: &InhibitRule, source: &Labels, target: &Labels) -> bool {
        rule.is_source(source)
            && rule.is_target(target)
            && rule.equal.iter().all(|label| source.get(label) == target.get(label))
            && !(rule.is_source(target) && rule.is_target(source))
    }

    #[test]
    fn an_alert_does_not_mute_itself_nor_its_equal() {
        let (critical, warning) =
            (labels(&[("severity", "critical"), ("service", "a")]), labels(&[("severity", "warning"), ("service", "a")]));
        let other = labels(&[("severity", "warning"), ("service", "b")]);
        let mut inhibition = Inhibition::new(&[rule("severity=critical", "severity=~critical|warning", &["service"])]);
        for (fingerprint, labels) in [(1, &critical), (2, &critical), (3, &warning)] {
            inhibition.begins(fingerprint, labels);
        }
        assert_eq!(inhibition.by(1, &critical), None);
        assert_eq!(inhibition.by(3, &warning), Some(&critical));
        assert_eq!(inhibition.by(4, &other), None);
        inhibition.ends(1, &critical);
        assert_eq!(inhibition.by(3, &warning), Some(&critical), "the second one still fires");
        inhibition.ends(2, &critical);
        assert_eq!(inhibition.by(3, &warning), None);
        // One that is no target of its rule mutes, but not itself.
        let mut own = Inhibition::new(&[rule("severity=critical", "service=a", &[])]);
        own.begins(1, &critical);
        assert_eq!((own.by(1, &critical), own.by(3, &warning)), (None, Some(&critical)));
    }

    fn any_labels() -> impl Strategy<Value = Labels> {
        let severity = prop_oneof![Just("critical"), Just("warning"), Just("info")];
        (severity, prop_oneof![Just(""), Just("a"), Just("b")]).prop_map(|(severity, service)| {
            let pairs = [("severity", severity), ("service", service)];
            pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect()
        })
    }

    fn any_rule() -> impl Strategy<Value = InhibitRule> {
        let side =
            || prop_oneof![Just("severity=critical"), Just("severity=~critical|warning"), Just("severity!=critical"), Just("service=a")];
        (side(), side(), prop_oneof![Just(&[][..]), Just(&["service"][..]), Just(&["service", "severity"][..])])
            .prop_map(|(source, target, equal)| rule(source, target, equal))
    }

    proptest! {
        #[test]
        fn whoever_is_muted_by_the_definition_is_muted(
            rules in proptest::collection::vec(any_rule(), 0..3),
            alerts in proptest::collection::vec((any_labels(), any::<bool>()), 0..8),
        ) {
            let mut inhibition = Inhibition::new(&rules);
            alerts.iter().zip(1..).for_each(|((labels, _), fingerprint)| inhibition.begins(fingerprint, labels));
            alerts.iter().zip(1..).filter(|((_, goes_on), _)| !goes_on).for_each(|((labels, _), fingerprint)| inhibition.ends(fingerprint, labels));
            for ((labels, _), fingerprint) in alerts.iter().zip(1u64..) {
                let sources = || alerts.iter().zip(1u64..).filter(|((_, goes_on), other)| *goes_on && *other != fingerprint);
                let muting = |rule: &InhibitRule| sources().any(|((source, _), _)| mutes(rule, source, labels));
                let found = inhibition.by(fingerprint, labels);
                prop_assert_eq!(found.is_some(), rules.iter().any(muting));
                if let Some(found) = found {
                    prop_assert!(rules.iter().any(|rule| mutes(rule, found, labels)));
                }
            }
        }
    }
}
