//! How texts are matched: a glob (`*` any characters, `?` one), a regular expression, or several of them. In: YAML. Out: a test of a
//! text. Fails: with a sentence at what cannot be compiled. Pure.

use std::collections::BTreeMap;
use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a text is matched, as configured: `shop-*`, `{ regex: "^a|b$" }`, `{ equals: "a*b" }`, or a list of these, of which one must match.
#[derive(Clone, Debug, PartialEq)]
pub enum TextMatch {
    /// The whole text; `*` stands for any characters, `?` for one.
    Glob(String),
    /// The whole text, letter by letter.
    Equals(String),
    /// Somewhere in the text; `^` and `$` hold it to the ends.
    Regex(String),
    /// One of these.
    OneOf(Vec<TextMatch>),
}

impl Serialize for TextMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let one = |name: &'static str, text: &str| BTreeMap::from([(name, text.to_owned())]);
        match self {
            TextMatch::Glob(glob) => serializer.serialize_str(glob),
            TextMatch::Equals(text) => one("equals", text).serialize(serializer),
            TextMatch::Regex(regex) => one("regex", regex).serialize(serializer),
            TextMatch::OneOf(list) => list.serialize(serializer),
        }
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = TextMatch;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text (`*` and `?` are wildcards), `{ regex: \"...\" }`, `{ equals: \"...\" }`, or a list of these")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TextMatch, E> {
        Ok(TextMatch::Glob(text.to_owned()))
    }
    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<TextMatch, E> {
        Ok(TextMatch::Equals(flag.to_string()))
    }
    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<TextMatch, E> {
        Ok(TextMatch::Equals(number.to_string()))
    }
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<TextMatch, E> {
        Ok(TextMatch::Equals(number.to_string()))
    }
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<TextMatch, E> {
        Ok(TextMatch::Equals(number.to_string()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TextMatch, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        Ok(TextMatch::OneOf(all))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TextMatch, A::Error> {
        let entry: Option<(String, String)> = map.next_entry()?;
        let more = map.next_key::<String>()?;
        match (entry, more) {
            (Some((key, text)), None) if key == "regex" => Ok(TextMatch::Regex(text)),
            (Some((key, text)), None) if key == "equals" => Ok(TextMatch::Equals(text)),
            _ => Err(serde::de::Error::custom("write one key: `regex` or `equals`")),
        }
    }
}

impl<'de> Deserialize<'de> for TextMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

/// A compiled [`TextMatch`].
#[derive(Clone, Debug)]
pub(crate) enum Wording {
    Any,
    Exact(String),
    Prefix(String),
    Suffix(String),
    Within(String),
    Glob(Vec<char>),
    Regex(Box<Regex>),
    OneOf(Vec<Wording>),
}

impl Wording {
    /// Compiles; the error is a sentence.
    pub(crate) fn new(config: &TextMatch) -> Result<Self, String> {
        Ok(match config {
            TextMatch::Glob(glob) => Wording::glob(glob),
            TextMatch::Equals(text) => Wording::Exact(text.clone()),
            TextMatch::Regex(text) => Wording::Regex(Box::new(regex(text)?)),
            TextMatch::OneOf(list) if list.is_empty() => {
                return Err("the list of texts is empty, so nothing would match: name at least one".to_owned());
            }
            TextMatch::OneOf(list) => Wording::OneOf(list.iter().map(Wording::new).collect::<Result<_, _>>()?),
        })
    }
    /// A glob.
    pub(crate) fn glob(glob: &str) -> Self {
        let wild = |text: &str| text.contains(['*', '?']);
        match (glob.strip_prefix('*'), glob.strip_suffix('*')) {
            _ if glob == "*" => Wording::Any,
            _ if !wild(glob) => Wording::Exact(glob.to_owned()),
            (_, Some(head)) if !wild(head) => Wording::Prefix(head.to_owned()),
            (Some(tail), _) if !wild(tail) => Wording::Suffix(tail.to_owned()),
            (Some(_), Some(_)) if glob.len() > 2 && !wild(&glob[1..glob.len() - 1]) => Wording::Within(glob[1..glob.len() - 1].to_owned()),
            (_, _) => Wording::Glob(glob.chars().collect()),
        }
    }
    /// Whether the text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Wording::Any => true,
            Wording::Exact(exact) => exact == text,
            Wording::Prefix(head) => text.starts_with(head.as_str()),
            Wording::Suffix(tail) => text.ends_with(tail.as_str()),
            Wording::Within(part) => text.contains(part.as_str()),
            Wording::Glob(glob) => wildcards(glob, text),
            Wording::Regex(regex) => regex.is_match(text),
            Wording::OneOf(list) => list.iter().any(|one| one.matches(text)),
        }
    }
}

/// A regular expression of bounded size; the error says what is wrong in one line.
pub(crate) fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(4 << 20).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("`{text}` is too large once compiled: make it simpler"),
        other => {
            let said = other.to_string();
            format!("`{text}` is no regular expression: {}", said.lines().last().unwrap_or("").trim_start_matches("error: "))
        }
    })
}

/// Goes back to the last `*` only: time is at most the product of both lengths.
fn wildcards(glob: &[char], text: &str) -> bool {
    let (mut at, mut rest) = (0, text);
    let mut star: Option<(usize, &str)> = None;
    loop {
        let c = rest.chars().next();
        match (glob.get(at), c) {
            (Some('*'), _) => {
                star = Some((at + 1, rest));
                at += 1;
            }
            (Some('?'), Some(c)) => {
                at += 1;
                rest = &rest[c.len_utf8()..];
            }
            (Some(wanted), Some(c)) if *wanted == c => {
                at += 1;
                rest = &rest[c.len_utf8()..];
            }
            (None, None) => return true,
            (_, _) => match star {
                Some((after, from)) => {
                    let Some(skipped) = from.chars().next() else { return false };
                    let from = &from[skipped.len_utf8()..];
                    star = Some((after, from));
                    (at, rest) = (after, from);
                }
                None => return false,
            },
        }
    }
}

/// A constant that is written as an attribute: a text, a number or a flag.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Constant(pub String);

struct ConstantVisitor;

impl Visitor<'_> for ConstantVisitor {
    type Value = Constant;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Constant, E> {
        Ok(Constant(text.to_owned()))
    }
    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Constant, E> {
        Ok(Constant(flag.to_string()))
    }
    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Constant, E> {
        Ok(Constant(number.to_string()))
    }
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Constant, E> {
        Ok(Constant(number.to_string()))
    }
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Constant, E> {
        Ok(Constant(number.to_string()))
    }
}

impl<'de> Deserialize<'de> for Constant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConstantVisitor)
    }
}

/// One or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct OneOrMany<T>(pub Vec<T>);

struct ListVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = OneOrMany<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word or a list of words")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
        T::deserialize(serde::de::value::StrDeserializer::new(text)).map(|one| OneOrMany(vec![one]))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        Ok(OneOrMany(all))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn globs_match_whole_texts() {
        for (glob, text, matches) in [
            ("*", "", true),
            ("shop", "shop", true),
            ("shop", "shops", false),
            ("shop-*", "shop-eu", true),
            ("shop-*", "shop", false),
            ("*-eu", "shop-eu", true),
            ("*health*", "GET /healthz", true),
            ("*health*", "GET /", false),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("**", "x", true),
            ("?*", "", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Wording::glob(glob).matches(text), matches, "{glob} {text}");
        }
    }

    #[test]
    fn all_forms_are_read_and_mistakes_are_said() {
        let read = |json: &str| serde_json::from_str::<TextMatch>(json).map_err(|error| error.to_string());
        let matches = |json: &str, text: &str| Wording::new(&read(json).unwrap()).unwrap().matches(text);
        assert!(matches(r#""a*""#, "abc") && matches("200", "200") && matches("true", "true"));
        assert!(
            matches(r#"{"regex": "b+"}"#, "abbc") && !matches(r#"{"equals": "a*"}"#, "abc") && matches(r#"["x", {"regex": "^a"}]"#, "abc")
        );
        assert!(read(r#"{"regexp": "b"}"#).unwrap_err().contains("write one key: `regex` or `equals`"));
        assert!(Wording::new(&read(r#"{"regex": "(a"}"#).unwrap()).unwrap_err().contains("`(a` is no regular expression: unclosed group"));
        assert!(Wording::new(&read("[]").unwrap()).unwrap_err().contains("name at least one"));
        assert!(regex(r"\w{1000}{1000}").unwrap_err().contains("too large"));
    }

    proptest! {
        #[test]
        fn a_glob_is_its_regular_expression(glob in "[ab*?é]{0,8}", text in "[abé]{0,8}") {
            let pattern: String = glob.chars().map(|c| match c { '*' => ".*".to_owned(), '?' => ".".to_owned(), c => c.to_string() }).collect();
            let expected = Regex::new(&format!("^(?s:{pattern})$")).unwrap().is_match(&text);
            prop_assert_eq!(Wording::glob(&glob).matches(&text), expected);
        }
    }
}
