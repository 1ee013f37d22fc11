//! The settings of error issues: the `errors:` part of the configuration file. In: YAML. Out: `Config`, and from `check` one sentence
//! for each setting that makes no sense.

use std::time::Duration;

use model::fingerprint::{FingerprintRule, Rules};
use model::time::Span;
use serde::{Deserialize, Serialize};

/// How error events become issues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What replaces the computed fingerprint or title of an event; the first rule that matches decides. For events that come from
    /// now on: what is stored keeps its fingerprint.
    pub rules: Vec<FingerprintRule>,
    /// How often new events are looked for.
    pub poll_interval: Span,
    /// How many issues a tenant may have. Beyond it those that were not seen for longest are forgotten.
    pub max_issues: usize,
    /// An issue that was not seen for so long is forgotten; if it comes back, it is new.
    pub forget_after: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config { rules: Vec::new(), poll_interval: Span::secs(2), max_issues: 20_000, forget_after: Span::secs(90 * 86_400) }
    }
}

impl Config {
    /// What is wrong, one sentence each; empty where all is well.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Rules::new(&self.rules).err().unwrap_or_default();
        let poll = self.poll_interval.0;
        if poll < Duration::from_millis(100) || poll > Duration::from_secs(300) {
            problems.push(format!("errors.poll_interval is {}: use 100ms to 5m", self.poll_interval));
        }
        if !(100..=100_000).contains(&self.max_issues) {
            problems.push(format!("errors.max_issues is {}: use 100 to 100000", self.max_issues));
        }
        if self.forget_after.0 < Duration::from_secs(86_400) {
            problems.push(format!("errors.forget_after is {}: use at least 1d", self.forget_after));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fine_and_mistakes_are_named() {
        assert_eq!(Config::default().check(), Vec::<String>::new());
        let wrong =
            Config { rules: vec![FingerprintRule::default()], poll_interval: Span::secs(0), max_issues: 1, forget_after: Span::secs(60) };
        let problems = wrong.check();
        for part in ["errors.rules[0] has no name", "errors.poll_interval is 0", "errors.max_issues is 1", "errors.forget_after is 1m"] {
            assert!(problems.iter().any(|problem| problem.contains(part)), "{part}: {problems:#?}");
        }
        assert!(serde_json::from_str::<Config>(r#"{"rule":[]}"#).is_err());
    }
}
