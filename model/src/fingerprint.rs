//! Which error events are one kind of error: the stored fingerprint, and the rules of the configuration that replace it. In: what
//! an event says of itself and the fingerprint that intake computed. Out: the fingerprint to store, and what to tell people about
//! it. Pure; a rule that makes no sense is refused at the start, in one sentence.
//!
//! Intake asks [`Rules::decide`] once per event and stores the answer with it: the fingerprint in its column, title and explanation
//! as the tags [`TITLE_TAG`] and [`GROUPED_BY_TAG`]. So an issue says how its events were grouped when they came, whatever the
//! rules say today.

mod glob;
mod template;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::Xxh3;

pub use glob::glob;
use template::Template;

/// The tag in which intake stores the title that a rule gives.
pub const TITLE_TAG: &str = "watchfire.title";
/// The tag in which intake stores how the event was grouped, where it was not by type, message and frames.
pub const GROUPED_BY_TAG: &str = "watchfire.grouped_by";
/// The most rules.
const MAX_RULES: usize = 500;

/// What makes events one kind. Stored with every error event, never changed; 16 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

/// A text that is no fingerprint.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a fingerprint: it has 16 hexadecimal digits")]
pub struct FingerprintError(String);

impl Fingerprint {
    /// Of parts that somebody chose: a rule of the configuration, or an SDK that sends a fingerprint of its own.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hasher = Xxh3::new();
        // No type begins with this byte: chosen fingerprints never meet computed ones by accident.
        hasher.update(&[0xFE]);
        for part in parts {
            hasher.update(part.as_bytes());
            hasher.update(&[0xFF]);
        }
        Fingerprint(hasher.digest())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let wrong = || FingerprintError(text.chars().take(64).collect());
        if text.len() != 16 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u64::from_str_radix(text, 16).map(Fingerprint).map_err(|_| wrong())
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One rule of `errors.rules`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FingerprintRule {
    /// What to call it: shown on the issues that it makes.
    pub name: String,
    /// Which events it is for: all that is written must hold.
    #[serde(rename = "match")]
    pub matches: EventMatch,
    /// The parts that make the fingerprint; empty leaves it as it was computed. Templates.
    pub fingerprint: Vec<String>,
    /// The issue's title. A template.
    pub title: Option<String>,
}

/// Conditions on an event: globs with `*` (anything) and `?` (one character) over the whole text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventMatch {
    /// The exception's type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The message as it was sent.
    pub message: Option<String>,
    /// The service or project.
    pub service: Option<String>,
    /// The environment.
    pub environment: Option<String>,
    /// The function or the file of at least one frame.
    pub frame: Option<String>,
}

/// A frame, as far as rules look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameFacts<'a> {
    /// The function.
    pub function: &'a str,
    /// The file or path.
    pub file: &'a str,
    /// Whether it belongs to the application.
    pub in_app: bool,
}

/// What an event says of itself.
#[derive(Clone, Copy, Debug)]
pub struct ErrorFacts<'a> {
    /// The exception's type.
    pub kind: &'a str,
    /// The message as it was sent.
    pub message: &'a str,
    /// The normalised message.
    pub normalized: &'a str,
    /// The service or project.
    pub service: &'a str,
    /// The environment.
    pub environment: &'a str,
    /// The release.
    pub release: &'a str,
    /// From the innermost call outwards.
    pub frames: &'a [FrameFacts<'a>],
    /// What intake computed from type, normalised message and frames.
    pub computed: Fingerprint,
}

impl ErrorFacts<'_> {
    /// The innermost frame of the application, else the innermost one.
    fn top(&self) -> Option<&FrameFacts<'_>> {
        self.frames.iter().find(|frame| frame.in_app).or(self.frames.first())
    }
}

/// What to store with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// The title, for [`TITLE_TAG`].
    pub title: Option<String>,
    /// How it was grouped, for [`GROUPED_BY_TAG`]; none: by type, message and frames.
    pub grouped_by: Option<String>,
}

#[derive(Clone, Debug)]
struct Rule {
    name: String,
    matches: EventMatch,
    fingerprint: Vec<Template>,
    title: Option<Template>,
}

/// The rules, checked and ready. The first one that matches an event decides.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Checks the rules of the configuration. One sentence for each problem.
    pub fn new(rules: &[FingerprintRule]) -> Result<Self, Vec<String>> {
        let (mut ready, mut problems, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
        if rules.len() > MAX_RULES {
            problems.push(format!("errors.rules has {} rules: use at most {MAX_RULES}", rules.len()));
        }
        for (at, rule) in rules.iter().enumerate() {
            let place = if rule.name.is_empty() { format!("errors.rules[{at}]") } else { format!("errors.rules: `{}`", rule.name) };
            if rule.name.is_empty() {
                problems.push(format!("{place} has no name: add `name:`, it is shown on the issues that the rule makes"));
            } else if !names.insert(&rule.name) {
                problems.push(format!("{place} is there twice: give one of them another name"));
            }
            if rule.matches == EventMatch::default() {
                problems.push(format!("{place} matches everything: add `match:` with type, message, service, environment or frame"));
            }
            if rule.fingerprint.is_empty() && rule.title.is_none() {
                problems.push(format!("{place} does nothing: add `fingerprint:` or `title:`"));
            }
            let mut parsed = |text: &String| Template::parse(text).map_err(|error| problems.push(format!("{place}: {error}"))).ok();
            let fingerprint = rule.fingerprint.iter().filter_map(&mut parsed).collect();
            let title = rule.title.as_ref().and_then(&mut parsed);
            ready.push(Rule { name: rule.name.clone(), matches: rule.matches.clone(), fingerprint, title });
        }
        if problems.is_empty() { Ok(Rules(ready)) } else { Err(problems) }
    }

    /// How an event is grouped.
    pub fn decide(&self, event: &ErrorFacts<'_>) -> Grouping {
        let Some(rule) = self.0.iter().find(|rule| rule.matches.holds(event)) else {
            return Grouping { fingerprint: event.computed, title: None, grouped_by: None };
        };
        let title = rule.title.as_ref().map(|title| title.fill(event));
        if rule.fingerprint.is_empty() {
            return Grouping { fingerprint: event.computed, title, grouped_by: None };
        }
        let parts: Vec<String> = rule.fingerprint.iter().map(|part| part.fill(event)).collect();
        let fingerprint = Fingerprint::of_parts(parts.iter().map(String::as_str));
        let grouped_by = Some(format!("grouped by the rule `{}`: {}", rule.name, parts.join(" · ")));
        Grouping { fingerprint, title, grouped_by }
    }
}

impl EventMatch {
    /// Whether an event fulfils every condition.
    fn holds(&self, event: &ErrorFacts<'_>) -> bool {
        let fits = |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|pattern| glob(pattern, text));
        let frame = |pattern: &str| event.frames.iter().any(|frame| glob(pattern, frame.function) || glob(pattern, frame.file));
        fits(&self.kind, event.kind)
            && fits(&self.message, event.message)
            && fits(&self.service, event.service)
            && fits(&self.environment, event.environment)
            && self.frame.as_deref().is_none_or(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: [FrameFacts<'static>; 2] = [
        FrameFacts { function: "recv", file: "/usr/lib/python3/ssl.py", in_app: false },
        FrameFacts { function: "charge", file: "/srv/shop/pay.py", in_app: true },
    ];

    fn event(kind: &'static str, message: &'static str) -> ErrorFacts<'static> {
        ErrorFacts {
            kind,
            message,
            normalized: "upstream <num>",
            service: "checkout",
            environment: "prod",
            release: "1.2.0",
            frames: &FRAMES,
            computed: Fingerprint(7),
        }
    }

    fn rule(name: &str, matches: EventMatch, fingerprint: &[&str], title: Option<&str>) -> FingerprintRule {
        let fingerprint = fingerprint.iter().map(|part| (*part).to_owned()).collect();
        FingerprintRule { name: name.into(), matches, fingerprint, title: title.map(str::to_owned) }
    }

    fn by_kind(kind: &str) -> EventMatch {
        EventMatch { kind: Some(kind.into()), ..EventMatch::default() }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = Rules::new(&[
            rule("timeouts", by_kind("*Timeout*"), &["upstream", "{{ service }}"], Some("Timeouts of {{ service }} in {{ function }}")),
            rule(
                "split",
                EventMatch { frame: Some("*/shop/pay.py".into()), ..by_kind("KeyError") },
                &["{{ default }}", "{{ release }}"],
                None,
            ),
            rule("named", EventMatch { message: Some("*card*".into()), ..EventMatch::default() }, &[], Some("Cards: {{message}}")),
            rule("never", by_kind("*Timeout*"), &["never"], None),
        ])
        .unwrap();
        let read = rules.decide(&event("ReadTimeout", "upstream 7"));
        let write = rules.decide(&event("WriteTimeoutError", "another message"));
        assert_eq!(read, write, "two types, one issue");
        assert_eq!(read.fingerprint, Fingerprint::of_parts(["upstream", "checkout"]));
        assert_eq!(read.title.as_deref(), Some("Timeouts of checkout in charge"));
        assert_eq!(read.grouped_by.as_deref(), Some("grouped by the rule `timeouts`: upstream · checkout"));
        let split = rules.decide(&event("KeyError", "'a'"));
        assert_eq!(split.fingerprint, Fingerprint::of_parts(["0000000000000007", "1.2.0"]));
        let named = rules.decide(&event("ValueError", "the card is blue"));
        let expected = Grouping { fingerprint: Fingerprint(7), title: Some("Cards: upstream <num>".into()), grouped_by: None };
        assert_eq!(named, expected, "a title alone changes no group");
        assert_eq!(rules.decide(&event("ValueError", "x")).fingerprint, Fingerprint(7));
    }

    #[test]
    fn all_conditions_must_hold() {
        let all = EventMatch {
            kind: Some("Read*".into()),
            message: Some("upstream ?".into()),
            service: Some("checkout".into()),
            environment: Some("prod".into()),
            frame: Some("charge".into()),
        };
        assert!(all.holds(&event("ReadTimeout", "upstream 7")));
        for wrong in [
            EventMatch { kind: Some("read*".into()), ..all.clone() },
            EventMatch { message: Some("upstream".into()), ..all.clone() },
            EventMatch { service: Some("check".into()), ..all.clone() },
            EventMatch { environment: Some("".into()), ..all.clone() },
            EventMatch { frame: Some("refund".into()), ..all.clone() },
        ] {
            assert!(!wrong.holds(&event("ReadTimeout", "upstream 7")), "{wrong:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said_in_a_sentence() {
        let problems = Rules::new(&[
            rule("", by_kind("a"), &["x"], None),
            rule("a", EventMatch::default(), &["x"], None),
            rule("a", by_kind("a"), &[], None),
            rule("b", by_kind("a"), &["{{ colour }}"], Some("{{ type")),
        ])
        .unwrap_err();
        for part in [
            "errors.rules[0] has no name",
            "`a` matches everything",
            "`a` is there twice",
            "`a` does nothing",
            "`b`: `{{ colour }}`",
            "`b`: `{{ type`",
        ] {
            assert!(problems.iter().any(|problem| problem.contains(part)), "{part}: {problems:#?}");
        }
        assert_eq!(problems.len(), 6, "{problems:#?}");
        let unknown = serde_json::from_str::<FingerprintRule>(r#"{"name":"a","match":{"kind":"x"}}"#).unwrap_err().to_string();
        assert!(unknown.contains("kind"), "{unknown}");
    }

    #[test]
    fn fingerprints_are_frozen_and_read_as_text() {
        assert_eq!(Fingerprint::of_parts(["a", "b"]), Fingerprint(xxhash_rust::xxh3::xxh3_64(b"\xfea\xffb\xff")));
        assert_ne!(Fingerprint::of_parts(["ab"]), Fingerprint::of_parts(["a", "b"]));
        let print = Fingerprint(0x2a);
        assert_eq!((print.to_string().as_str(), "000000000000002a".parse::<Fingerprint>().unwrap()), ("000000000000002a", print));
        assert!("2a".parse::<Fingerprint>().is_err() && "+00000000000002a".parse::<Fingerprint>().is_err());
    }
}
