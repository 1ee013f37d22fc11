//! Relabelling with Prometheus's meaning: rules in order, each may change labels or drop the whole set; expressions are anchored
//! at both ends. Pure. Fails: rules that cannot work, when they are compiled.

use md5::{Digest, Md5};
use model::labels::Labels;
use regex::Regex;
use serde::{Deserialize, Serialize};

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Sets the target label to the replacement where the expression matches.
    #[default]
    Replace,
    /// Drops the set where the expression does not match.
    Keep,
    /// Drops the set where it matches.
    Drop,
    /// Drops the set where the value is not that of the target label.
    KeepEqual,
    /// Drops the set where it is.
    DropEqual,
    /// Sets the target label to the value's hash modulo `modulus`.
    HashMod,
    /// Copies labels whose name matches to the name in the replacement.
    LabelMap,
    /// Removes labels whose name matches.
    LabelDrop,
    /// Removes labels whose name does not match.
    LabelKeep,
    /// Sets the target label to the value in lower case.
    Lowercase,
    /// Sets the target label to the value in upper case.
    Uppercase,
}

/// A rule as configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelabelConfig {
    /// Labels whose values, joined with `separator`, are looked at.
    pub source_labels: Vec<String>,
    /// Default `;`.
    pub separator: String,
    /// What the value, or the name, must match as a whole. Default `(.*)`.
    pub regex: String,
    /// Of `hashmod`.
    pub modulus: u64,
    /// The label that is set.
    pub target_label: String,
    /// Its value, with `$1` for groups of the expression. Default `$1`.
    pub replacement: String,
    /// What is done. Default `replace`.
    pub action: Action,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        RelabelConfig {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: Action::default(),
        }
    }
}

/// A compiled rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    config: RelabelConfig,
    regex: Regex,
}

/// A rule that cannot work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuleError {
    /// No RE2 expression.
    #[error("regex `{0}` is not a regular expression (RE2 syntax)")]
    Regex(String, #[source] Box<regex::Error>),
    /// An action without what it needs.
    #[error("action {0:?} needs {1}")]
    Needs(Action, &'static str),
}

impl Rule {
    /// Compiles a rule.
    pub(crate) fn new(config: &RelabelConfig) -> Result<Self, RuleError> {
        let regex = model::re2::anchored(&config.regex).map_err(|error| RuleError::Regex(config.regex.clone(), Box::new(error)))?;
        let needs = |what| Err(RuleError::Needs(config.action, what));
        match config.action {
            Action::Replace | Action::HashMod | Action::Lowercase | Action::Uppercase | Action::KeepEqual | Action::DropEqual
                if config.target_label.is_empty() =>
            {
                return needs("target_label");
            }
            Action::HashMod if config.modulus == 0 => return needs("modulus, larger than 0"),
            Action::LabelMap if config.replacement.is_empty() => return needs("replacement"),
            Action::KeepEqual | Action::DropEqual if config.source_labels.is_empty() => return needs("source_labels"),
            Action::Replace
            | Action::Keep
            | Action::Drop
            | Action::KeepEqual
            | Action::DropEqual
            | Action::HashMod
            | Action::LabelMap
            | Action::LabelDrop
            | Action::LabelKeep
            | Action::Lowercase
            | Action::Uppercase => {}
        }
        Ok(Rule { config: config.clone(), regex })
    }

    /// Compiles all rules of a list.
    pub(crate) fn list(configs: &[RelabelConfig]) -> Result<Vec<Self>, RuleError> {
        configs.iter().map(Rule::new).collect()
    }

    /// Whether the set stays.
    fn apply(&self, labels: &mut Labels) -> bool {
        let config = &self.config;
        match config.action {
            Action::Replace => {
                self.replace(labels);
                true
            }
            Action::Keep => self.regex.is_match(&self.value(labels)),
            Action::Drop => !self.regex.is_match(&self.value(labels)),
            Action::KeepEqual => labels.get(&config.target_label).unwrap_or("") == self.value(labels),
            Action::DropEqual => labels.get(&config.target_label).unwrap_or("") != self.value(labels),
            Action::HashMod => {
                labels.set(&config.target_label, &hash_mod(&self.value(labels), config.modulus).to_string());
                true
            }
            Action::LabelMap => {
                let renamed =
                    |name: &str| self.regex.is_match(name).then(|| self.regex.replace_all(name, &config.replacement).into_owned());
                let copies: Vec<(String, String)> =
                    labels.iter().filter_map(|(name, value)| Some((renamed(name)?, value.to_owned()))).collect();
                for (name, value) in copies.iter().filter(|(name, _)| !name.is_empty()) {
                    labels.set(name, value);
                }
                true
            }
            Action::LabelDrop => {
                *labels = labels.filtered(|name| !self.regex.is_match(name));
                true
            }
            Action::LabelKeep => {
                *labels = labels.filtered(|name| self.regex.is_match(name));
                true
            }
            Action::Lowercase => {
                labels.set(&config.target_label, &self.value(labels).to_lowercase());
                true
            }
            Action::Uppercase => {
                labels.set(&config.target_label, &self.value(labels).to_uppercase());
                true
            }
        }
    }

    fn value(&self, labels: &Labels) -> String {
        let values: Vec<&str> = self.config.source_labels.iter().map(|name| labels.get(name).unwrap_or("")).collect();
        values.join(&self.config.separator)
    }

    fn replace(&self, labels: &mut Labels) {
        let value = self.value(labels);
        let Some(found) = self.regex.captures(&value) else { return };
        let (mut target, mut replacement) = (String::new(), String::new());
        found.expand(&self.config.target_label, &mut target);
        found.expand(&self.config.replacement, &mut replacement);
        if !target.is_empty() {
            labels.set(&target, &replacement);
        }
    }
}

/// The last eight bytes of the MD5 of a value, modulo; so that Watchfire and Prometheus share out targets alike.
fn hash_mod(value: &str, modulus: u64) -> u64 {
    let digest = Md5::digest(value.as_bytes());
    let last = digest.iter().skip(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    last.checked_rem(modulus).unwrap_or(0)
}

/// The labels after all rules; `None` where they are dropped.
pub(crate) fn relabel(rules: &[Rule], mut labels: Labels) -> Option<Labels> {
    rules.iter().all(|rule| rule.apply(&mut labels)).then_some(labels)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(rules: &str, labels: &[(&str, &str)]) -> Option<String> {
        let configs: Vec<RelabelConfig> = serde_saphyr::from_str(rules).unwrap();
        let rules = Rule::list(&configs).unwrap();
        let found = relabel(&rules, labels.iter().copied().collect())?;
        Some(found.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn every_action_does_what_prometheus_does() {
        let base: &[(&str, &str)] = &[("a", "foo"), ("b", "bar"), ("c", "baz")];
        for (rules, expected) in [
            (
                "[{ source_labels: [a], regex: 'f(.*)', target_label: d, separator: ';', replacement: 'ch${1}-ch${1}' }]",
                Some("a=foo b=bar c=baz d=choo-choo"),
            ),
            ("[{ source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: a, replacement: 'b${1}${2}m' }]", Some("a=boobam b=bar c=baz")),
            ("[{ source_labels: [a], regex: f, target_label: b, replacement: x }]", Some("a=foo b=bar c=baz")),
            ("[{ source_labels: [a], regex: '.*', target_label: b, replacement: '' }]", Some("a=foo c=baz")),
            ("[{ source_labels: [missing], target_label: b }]", Some("a=foo c=baz")),
            ("[{ target_label: b, replacement: fixed }]", Some("a=foo b=fixed c=baz")),
            ("[{ source_labels: [a], regex: '(f)(oo)', target_label: 'x_$2', replacement: '$1$$' }]", Some("a=foo b=bar c=baz x_oo=f$")),
            ("[{ source_labels: [a], regex: '.*o.*', action: drop }]", None),
            ("[{ source_labels: [a], regex: o, action: drop }]", Some("a=foo b=bar c=baz")),
            ("[{ source_labels: [a], regex: 'foo|x', action: keep }]", Some("a=foo b=bar c=baz")),
            ("[{ source_labels: [a], regex: fo, action: keep }]", None),
            ("[{ source_labels: [a], target_label: b, action: keepequal }]", None),
            ("[{ source_labels: [a], target_label: b, action: dropequal }]", Some("a=foo b=bar c=baz")),
            ("[{ target_label: z, replacement: foo }, { source_labels: [a], target_label: z, action: dropequal }]", None),
            ("[{ source_labels: [c], target_label: d, modulus: 1000, action: hashmod }]", Some("a=foo b=bar c=baz d=976")),
            ("[{ regex: '(b)', replacement: 'bar_$1', action: labelmap }]", Some("a=foo b=bar bar_b=bar c=baz")),
            ("[{ regex: '[ab]', action: labeldrop }]", Some("c=baz")),
            ("[{ regex: '[ab]', action: labelkeep }]", Some("a=foo b=bar")),
            ("[{ source_labels: [a], target_label: u, action: uppercase }]", Some("a=foo b=bar c=baz u=FOO")),
            (
                "[{ target_label: a, replacement: FoO }, { source_labels: [a], target_label: a, action: lowercase }]",
                Some("a=foo b=bar c=baz"),
            ),
            ("[{ source_labels: [a], regex: foo, action: drop }, { target_label: z, replacement: never }]", None),
        ] {
            assert_eq!(run(rules, base).as_deref(), expected, "{rules}");
        }
        assert_eq!(
            run("[{ source_labels: [a], regex: 'x.y', target_label: hit, replacement: y }]", &[("a", "x\ny")]).unwrap(),
            "a=x\ny hit=y"
        );
    }

    #[test]
    fn hashes_are_those_of_prometheus() {
        // The MD5 of "foo" is acbd18db4cc2f85cedef654fccc4a4d8.
        assert_eq!(hash_mod("foo", u64::MAX), 0xedef_654f_ccc4_a4d8);
        assert_eq!(hash_mod("foo", 10), 0xedef_654f_ccc4_a4d8 % 10);
    }

    #[test]
    fn rules_that_cannot_work_are_refused() {
        for (rule, said) in [
            ("{ regex: '(' }", "not a regular expression"),
            ("{}", "needs target_label"),
            ("{ action: hashmod, target_label: x }", "needs modulus"),
            ("{ action: keepequal, target_label: x }", "needs source_labels"),
            ("{ action: labelmap, replacement: '' }", "needs replacement"),
        ] {
            let config: RelabelConfig = serde_saphyr::from_str(rule).unwrap();
            assert!(Rule::new(&config).unwrap_err().to_string().contains(said), "{rule}");
        }
    }

    proptest! {
        #[test]
        fn no_rule_makes_it_panic(regex in "[a-z().*$|^\\[\\]]{0,6}", replacement in "[a-z$0-9{}]{0,6}", value in ".{0,8}", action in 0usize..11) {
            let actions = [Action::Replace, Action::Keep, Action::Drop, Action::KeepEqual, Action::DropEqual, Action::HashMod,
                Action::LabelMap, Action::LabelDrop, Action::LabelKeep, Action::Lowercase, Action::Uppercase];
            let config = RelabelConfig {
                source_labels: vec!["a".into()], regex, replacement, modulus: 7, target_label: "t$1".into(), action: actions[action],
                ..RelabelConfig::default()
            };
            if let Ok(rule) = Rule::new(&config) {
                let _ = relabel(&[rule], [("a", value.as_str()), ("b", "x")].into_iter().collect());
            }
        }
    }
}
