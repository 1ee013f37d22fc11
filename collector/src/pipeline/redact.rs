//! Redaction: credentials, card numbers and mail addresses in text become marks such as `[redacted:jwt]`. Clean text, which is nearly
//! all, costs one look for anchors and one for digits, and no allocation. In: any text. Out: nothing where it is clean, else the text
//! without secrets; redacting that again changes nothing. Never fails; cuts at characters only. Pure.

mod blob;
mod card;
mod names;
mod secrets;
#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::packed;
use aho_corasick::{AhoCorasick, MatchKind};
use regex::{Regex, RegexSet};

use super::config::{Mode, RedactionConfig};
use super::hash::Hasher;
use super::{Problem, Wording};
use crate::record::{Attribute, Value};
use secrets::{FINDERS, is_mark};

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Mail addresses.
    Mail,
    /// Payment card numbers.
    Card,
    /// Bearer and basic credentials, `Authorization` headers.
    Authorization,
    /// Keys of Amazon Web Services.
    Aws,
    /// Tokens of GitHub.
    Github,
    /// Tokens and hooks of Slack.
    Slack,
    /// Keys of Stripe.
    Stripe,
    /// Keys of Google.
    Google,
    /// Keys of other well-known makers.
    ApiKey,
    /// JSON Web Tokens.
    Jwt,
    /// PEM blocks of private keys.
    PrivateKey,
    /// Passwords in URLs.
    UrlPassword,
    /// `password=...` and the like, and attributes whose key says so.
    Password,
}

/// All kinds, in the order of the enum.
pub(crate) const KINDS: [Kind; 13] = [
    Kind::Mail,
    Kind::Card,
    Kind::Authorization,
    Kind::Aws,
    Kind::Github,
    Kind::Slack,
    Kind::Stripe,
    Kind::Google,
    Kind::ApiKey,
    Kind::Jwt,
    Kind::PrivateKey,
    Kind::UrlPassword,
    Kind::Password,
];

impl Kind {
    /// Its name in the configuration, in marks and in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Kind::Mail => "mail",
            Kind::Card => "card",
            Kind::Authorization => "authorization",
            Kind::Aws => "aws",
            Kind::Github => "github",
            Kind::Slack => "slack",
            Kind::Stripe => "stripe",
            Kind::Google => "google",
            Kind::ApiKey => "api_key",
            Kind::Jwt => "jwt",
            Kind::PrivateKey => "private_key",
            Kind::UrlPassword => "url_password",
            Kind::Password => "password",
        }
    }
}

/// How many secrets were redacted: by kind, then by custom rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// One for each of [`KINDS`], then one for each custom rule; empty where there was nothing.
    by: Vec<u64>,
}

impl Counts {
    fn add(&mut self, at: usize, count: u64) {
        if self.by.len() <= at {
            self.by.resize(at + 1, 0);
        }
        self.by[at] += count;
    }
    /// Adds others.
    pub(crate) fn join(&mut self, other: &Counts) {
        other.by.iter().enumerate().filter(|(_, count)| **count > 0).for_each(|(at, count)| self.add(at, *count));
    }
    /// How many in all.
    pub(crate) fn total(&self) -> u64 {
        self.by.iter().sum()
    }
}

/// Where a secret stands, and what is put there.
struct Found {
    range: Range<usize>,
    kind: Kind,
}

struct Custom {
    name: String,
    regex: Regex,
    replacement: String,
}

/// Rounds over one text: each takes away at least one secret; a second is needed only where a mark makes two texts neighbours.
const MAX_ROUNDS: usize = 8;
/// No secret is shorter: `pwd=x`.
const SHORTEST: usize = 5;

/// A compiled [`RedactionConfig`].
pub(crate) struct Redactor {
    modes: [Mode; KINDS.len()],
    hasher: Hasher,
    finders: Vec<(Regex, usize)>,
    /// Which finders an anchor calls for, by the pattern of `anchors`.
    calls: Vec<u32>,
    anchors: AhoCorasick,
    /// Finds whether there is any anchor, fast; not on every machine.
    packed: Option<packed::Searcher>,
    /// Finders that `@` calls for.
    at: u32,
    cards: bool,
    /// Names of attributes that hold secrets, as they are compared.
    keys: Vec<String>,
    /// Whether names that are not configured count, too.
    further_keys: bool,
    /// The last letters of all these names: most keys are told by theirs.
    endings: u32,
    custom: Vec<Custom>,
    custom_set: RegexSet,
    keep: Vec<Wording>,
}

impl Redactor {
    /// Compiles the configuration; `None` where nothing is to be redacted. Names each mistake.
    pub(crate) fn new(config: &RedactionConfig, hasher: Hasher, problems: &mut Vec<Problem>) -> Option<Self> {
        let modes = KINDS.map(|kind| config.mode(kind));
        let keys: Vec<String> = config.attribute_keys.iter().filter_map(|key| names::plain(key)).collect();
        // Who left one out decided on them.
        let further_keys = RedactionConfig::default().attribute_keys.iter().all(|key| config.attribute_keys.contains(key));
        let endings = keys.iter().fold(if further_keys { names::further_endings() } else { 0 }, |all, key| all | names::ending(key));
        let mut redactor = Redactor {
            modes,
            hasher,
            finders: Vec::new(),
            calls: Vec::new(),
            anchors: AhoCorasick::new::<_, &str>([]).ok()?,
            packed: None,
            at: 0,
            cards: config.card != Mode::Keep,
            keys,
            further_keys,
            endings,
            custom: Vec::new(),
            custom_set: RegexSet::empty(),
            keep: config.keep_attributes.iter().map(|glob| Wording::glob(glob)).collect(),
        };
        redactor.compile_custom(config, problems);
        redactor.compile_finders(problems);
        (config.enabled && (redactor.cards || !redactor.finders.is_empty() || !redactor.custom.is_empty())).then_some(redactor)
    }

    fn compile_finders(&mut self, problems: &mut Vec<Problem>) {
        // Each once, however many finders it calls for: the fast search takes 64 at most.
        let mut patterns: Vec<&str> = Vec::new();
        for (index, finder) in FINDERS.iter().enumerate() {
            if self.modes[finder.kind as usize] == Mode::Keep {
                continue;
            }
            match Regex::new(finder.regex) {
                Ok(regex) => self.finders.push((regex, index)),
                Err(error) => problems.push(Problem::new("redaction", format!("{}: {error}", finder.kind.label()))),
            }
            let bit = 1 << (self.finders.len() - 1);
            for anchor in finder.anchors {
                if *anchor == "@" {
                    self.at |= bit;
                } else if let Some(known) = patterns.iter().position(|known| known == anchor) {
                    self.calls[known] |= bit;
                } else {
                    patterns.push(*anchor);
                    self.calls.push(bit);
                }
            }
        }
        match AhoCorasick::builder().match_kind(MatchKind::Standard).build(&patterns) {
            Ok(anchors) => self.anchors = anchors,
            Err(error) => problems.push(Problem::new("redaction", error.to_string())),
        }
        self.packed = packed::Searcher::new(&patterns);
    }

    fn compile_custom(&mut self, config: &RedactionConfig, problems: &mut Vec<Problem>) {
        for (index, custom) in config.custom.iter().enumerate() {
            let place = format!("redaction.custom[{index}]");
            if custom.name.is_empty() || !custom.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
                problems.push(Problem::new(&place, "`name` is needed, of letters, digits, `_` and `-`: it stands in marks and metrics"));
            }
            match super::text::regex(&custom.regex) {
                Ok(regex) if regex.is_match("") => {
                    problems
                        .push(Problem::new(&place, "`regex` matches an empty text, so it would match everywhere: make it match something"));
                }
                Ok(regex) => {
                    let mark = format!("[redacted:{}]", custom.name);
                    let replacement = custom.replacement.clone().unwrap_or(mark);
                    self.custom.push(Custom { name: custom.name.clone(), regex, replacement });
                }
                Err(error) => problems.push(Problem::new(&place, format!("`regex`: {error}"))),
            }
        }
        match RegexSet::new(self.custom.iter().map(|custom| custom.regex.as_str())) {
            Ok(set) => self.custom_set = set,
            Err(error) => problems.push(Problem::new("redaction.custom", error.to_string())),
        }
    }

    /// What a count stands for.
    pub(crate) fn labels<'c>(&'c self, counts: &'c Counts) -> impl Iterator<Item = (&'c str, u64)> {
        let custom = self.custom.iter().map(|custom| custom.name.as_str());
        KINDS.iter().map(|kind| kind.label()).chain(custom).zip(counts.by.iter().copied()).filter(|(_, count)| *count > 0)
    }

    /// Whether there may be a secret: looks for anchors and digits, nothing else.
    #[inline]
    fn suspect(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        if bytes.len() < SHORTEST {
            return false;
        }
        let anchored = match &self.packed {
            Some(packed) => packed.find(bytes).is_some(),
            None => self.anchors.is_match(bytes),
        };
        anchored || (self.at != 0 && bytes.contains(&b'@')) || (self.cards && card::next(bytes, 0).is_some())
    }

    /// The text without its secrets; `None` where it has none. Counts what it redacts.
    pub(crate) fn redact(&self, text: &str, counts: &mut Counts) -> Option<String> {
        if self.custom.is_empty() && !self.suspect(text) {
            return None;
        }
        self.rewrite(text, counts)
    }

    #[cold]
    fn rewrite(&self, text: &str, counts: &mut Counts) -> Option<String> {
        let mut text = self.replace_custom(text, counts);
        for _ in 0..MAX_ROUNDS {
            let Some(next) = self.round(&text, counts) else { break };
            text = Cow::Owned(next);
        }
        match text {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        }
    }

    fn replace_custom<'t>(&self, text: &'t str, counts: &mut Counts) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for at in self.custom_set.matches(&text).iter() {
            let Some(custom) = self.custom.get(at) else { continue };
            let times = custom.regex.find_iter(&text).count() as u64;
            if let Cow::Owned(replaced) = custom.regex.replace_all(&text, custom.replacement.as_str())
                && replaced != *text
            {
                counts.add(KINDS.len() + at, times);
                text = Cow::Owned(replaced);
            }
        }
        text
    }

    /// One pass over a text: all secrets of it at once.
    fn round(&self, text: &str, counts: &mut Counts) -> Option<String> {
        let mut called = if text.contains('@') { self.at } else { 0 };
        for anchor in self.anchors.find_overlapping_iter(text) {
            called |= self.calls[anchor.pattern().as_usize()];
        }
        let mut all: Vec<Found> = Vec::new();
        for (_, (regex, finder)) in self.finders.iter().enumerate().filter(|(bit, _)| called & (1 << bit) != 0) {
            let finder = &FINDERS[*finder];
            for captures in regex.captures_iter(text) {
                let Some(whole) = captures.get(0) else { continue };
                let secret = captures.iter().skip(1).flatten().next().unwrap_or(whole);
                if !secret.is_empty() && !hashed(&text[..secret.start()]) && (finder.accept)(&captures, secret, text) {
                    all.push(Found { range: secret.range(), kind: finder.kind });
                }
            }
        }
        if self.cards {
            let mut from = 0;
            while let Some(range) = card::next(text.as_bytes(), from) {
                from = range.end;
                all.push(Found { range, kind: Kind::Card });
            }
        }
        let all = merged(all);
        if all.is_empty() {
            return None;
        }
        let (mut out, mut done) = (String::with_capacity(text.len()), 0);
        for found in all {
            out.push_str(&text[done..found.range.start]);
            out.push_str(&self.mark(found.kind, &text[found.range.clone()]));
            counts.add(found.kind as usize, 1);
            done = found.range.end;
        }
        out.push_str(&text[done..]);
        Some(out)
    }

    /// What stands for a secret.
    fn mark(&self, kind: Kind, secret: &str) -> String {
        match self.modes[kind as usize] {
            Mode::Hash => format!("[redacted:{}:{}]", kind.label(), &self.hasher.hash(secret)[..12]),
            Mode::Mask | Mode::Keep => format!("[redacted:{}]", kind.label()),
        }
    }

    /// Redacts a text in place.
    #[inline]
    pub(crate) fn text(&self, text: &mut Cow<'_, str>, counts: &mut Counts) {
        if let Some(redacted) = self.redact(text, counts) {
            *text = Cow::Owned(redacted);
        }
    }

    /// Redacts a value in place: texts, texts that came as bytes (they are base64 here, and stay it), and numbers by their text: those
    /// that may be a card's, and all where somebody's own rules may know them.
    pub(crate) fn value(&self, value: &mut Value<'_>, counts: &mut Counts) {
        match value {
            Value::Text(text) => {
                let redacted = self.redact(text, counts);
                if let Some(redacted) = redacted.or_else(|| self.redact_bytes(text, counts)) {
                    *text = Cow::Owned(redacted);
                }
            }
            Value::Bool(_) => {}
            Value::Int(number) => {
                if (number.unsigned_abs() >= 10_000_000_000_000 || !self.custom.is_empty())
                    && let Some(redacted) = self.redact(&number.to_string(), counts)
                {
                    *value = Value::Text(Cow::Owned(redacted));
                }
            }
            Value::Double(number) => {
                if (number.abs() >= 1e13 || (!self.custom.is_empty() && number.fract() == 0.0))
                    && let Some(redacted) = self.redact(&number.to_string(), counts)
                {
                    *value = Value::Text(Cow::Owned(redacted));
                }
            }
        }
    }

    fn redact_bytes(&self, base64: &str, counts: &mut Counts) -> Option<String> {
        let text = blob::decoded(base64)?;
        self.redact(&text, counts).map(|clean| blob::encoded(&clean))
    }

    /// Redacts attributes in place: keys, values, and whole values of keys that hold secrets by their name.
    pub(crate) fn attributes(&self, attributes: &mut [Attribute<'_>], counts: &mut Counts) {
        for attribute in attributes {
            self.attribute(attribute, counts);
        }
    }

    fn attribute(&self, attribute: &mut Attribute<'_>, counts: &mut Counts) {
        if self.keep.iter().any(|wording| wording.matches(&attribute.key)) {
            return;
        }
        let secret = self.modes[Kind::Password as usize] != Mode::Keep && self.is_secret(attribute);
        self.text(&mut attribute.key, counts);
        if secret {
            let text = attribute.value.text();
            // Whether there is a password is none.
            if !text.is_empty() && !is_mark(&text) && !matches!(&*text, "true" | "false") {
                let mark = self.mark(Kind::Password, &text);
                counts.add(Kind::Password as usize, 1);
                attribute.value = Value::Text(Cow::Owned(mark));
            }
        } else {
            self.value(&mut attribute.value, counts);
        }
    }

    /// Whether the whole value is a secret: the key's last words are one of the names. By those that are not configured no number is: one of
    /// tokens is no token.
    #[inline]
    fn is_secret(&self, attribute: &Attribute<'_>) -> bool {
        let key = &*attribute.key;
        let further = || self.further_keys && matches!(attribute.value, Value::Text(_)) && names::further(key);
        self.endings & names::ending(key) != 0 && (self.keys.iter().any(|name| names::ends(key, name)) || further())
    }
}

/// Whether what follows is the hash in a mark: `[redacted:password:` is no name of a password.
fn hashed(before: &str) -> bool {
    let label = |before: &str| KINDS.iter().any(|kind| before.strip_suffix(kind.label()).is_some_and(|mark| mark.ends_with("[redacted:")));
    before.strip_suffix(':').is_some_and(label)
}

/// In order, with those that overlap made one: what two kinds share is the first one's, and nothing of the second stays.
fn merged(mut all: Vec<Found>) -> Vec<Found> {
    all.sort_by(|a, b| a.range.start.cmp(&b.range.start).then(b.range.end.cmp(&a.range.end)));
    let mut out: Vec<Found> = Vec::with_capacity(all.len());
    for found in all {
        match out.last_mut() {
            Some(last) if found.range.start < last.range.end => last.range.end = last.range.end.max(found.range.end),
            Some(_) | None => out.push(found),
        }
    }
    out
}
