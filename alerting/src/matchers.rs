//! Alertmanager's matchers as text: `severity="critical"`, `service=~"shop.*"`, `{a="b", "a name"!~"c"}`. In: text. Out: matchers, and
//! text again that reads back as the same. A label's name may be any UTF-8 in quotes. What is no matcher is refused in one sentence.

use std::fmt;

use model::labels::{Labels, MatchOp, Matcher};
use serde::{Deserialize, Serialize};

/// Characters that need quotes.
const RESERVED: &str = "{}!=~,\\\"'`";

/// A matcher in Alertmanager's text form; quotes may be left out.
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

/// Takes a quoted text off the front. A backslash before `"`, `\` or `n` escapes; before anything else it is itself, as in Alertmanager.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut inner = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((inner, &text[at + 2..])),
            '\\' => match chars.next()?.1 {
                'n' => inner.push('\n'),
                c @ ('"' | '\\') => inner.push(c),
                other => inner.extend(['\\', other]),
            },
            other => inner.push(other),
        }
    }
    None
}

fn plain_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || RESERVED.contains(c))
}

/// A name or value that needs no quotes is as it stands; anything else is quoted so that [`quoted`] reads it back.
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

impl std::str::FromStr for MatcherText {
    type Err = MatcherTextError;
    fn from_str(text: &str) -> Result<Self, MatcherTextError> {
        let fail = |because: Option<String>| MatcherTextError { text: text.to_owned(), because };
        let trimmed = text.trim();
        let (name, rest) = match trimmed.starts_with('"') {
            true => quoted(trimmed).ok_or_else(|| fail(Some("a quote is not closed".to_owned())))?,
            false => {
                let at = trimmed.find(['=', '!']).ok_or_else(|| fail(None))?;
                let name = trimmed[..at].trim();
                if !plain_name(name) {
                    return Err(fail(None));
                }
                (name.to_owned(), &trimmed[at..])
            }
        };
        let words = [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
        let rest = rest.trim_start();
        let (op, value) =
            words.into_iter().find_map(|(word, op)| rest.strip_prefix(word).map(|rest| (op, rest.trim()))).ok_or_else(|| fail(None))?;
        let value = match value.starts_with('"') {
            true => match quoted(value) {
                Some((value, "")) => value,
                Some(_) | None => return Err(fail(Some("a quote is not closed".to_owned()))),
            },
            false if value.contains('"') => return Err(fail(Some("a quote stands inside a value without quotes".to_owned()))),
            false => value.to_owned(),
        };
        if name.is_empty() {
            return Err(fail(Some("the label has no name".to_owned())));
        }
        Matcher::new(&name, op, &value).map(MatcherText).map_err(|error| fail(Some(error.to_string())))
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
        let name = if plain_name(&self.0.name) { self.0.name.clone() } else { quote(&self.0.name) };
        write!(f, "{name}{op}{}", quote(&self.0.value))
    }
}

impl From<MatcherText> for String {
    fn from(matcher: MatcherText) -> String {
        matcher.to_string()
    }
}

/// `{a="b", c=~"d,e"}`, `a="b", c="d"` or `a=b`: one text as single matchers, not read yet.
fn split(text: &str) -> Vec<String> {
    let text = text.trim();
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let (mut parts, mut part, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in inner.chars() {
        if c == ',' && !quoted {
            parts.push(std::mem::take(&mut part));
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        part.push(c);
    }
    parts.push(part);
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// Reads one text that may hold several matchers.
pub fn read(text: &str) -> Result<Vec<Matcher>, MatcherTextError> {
    split(text).into_iter().map(|part| part.parse::<MatcherText>().map(|matcher| matcher.0)).collect()
}

/// A list of texts, each with one or several matchers, as Alertmanager's `matchers`. All of them must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Matchers(pub Vec<Matcher>);

impl Matchers {
    /// Whether all of them match.
    pub fn match_all(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.matches(labels))
    }
    /// As texts.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(|matcher| MatcherText(matcher.clone()).to_string()).collect()
    }
}

impl TryFrom<Vec<String>> for Matchers {
    type Error = MatcherTextError;
    fn try_from(texts: Vec<String>) -> Result<Self, MatcherTextError> {
        let lists = texts.iter().map(|text| read(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(Matchers(lists.into_iter().flatten().collect()))
    }
}

impl From<Matchers> for Vec<String> {
    fn from(matchers: Matchers) -> Vec<String> {
        matchers.texts()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn matchers_read_alertmanagers_text() {
        for (text, back) in [
            ("severity=critical", "severity=\"critical\""),
            ("severity=\"critical\"", "severity=\"critical\""),
            ("service =~ shop.*", "service=~\"shop.*\""),
            ("a!=\"b=c\"", "a!=\"b=c\""),
            ("a!~b", "a!~\"b\""),
            ("a=~\"x\\.y\"", "a=~\"x\\\\.y\""),
            ("\"a name\" = \"b\"", "\"a name\"=\"b\""),
            ("\"k8s.pod/ name\"!~\"ü.*\"", "\"k8s.pod/ name\"!~\"ü.*\""),
            ("größe=groß", "größe=\"groß\""),
            ("a=", "a=\"\""),
            ("a=\"line\\nbreak\"", "a=\"line\\nbreak\""),
        ] {
            assert_eq!(text.parse::<MatcherText>().unwrap().to_string(), back, "{text}");
        }
        for bad in ["severity", "=x", "a=~(", "a=\"b", "a b=c", "\"\"=x", "a=\"b\"c", "\"a=b", "a=b\"c"] {
            assert!(bad.parse::<MatcherText>().unwrap_err().to_string().contains("is not a matcher"), "{bad}");
        }
    }

    #[test]
    fn one_text_may_hold_several() {
        let texts = |text: &str| Matchers(read(text).unwrap()).texts();
        assert_eq!(texts("{i=~\"j,k\", l=m}"), ["i=~\"j,k\"", "l=\"m\""]);
        assert_eq!(texts("a=\"x\\\",y\",b!=c"), ["a=\"x\\\",y\"", "b!=\"c\""]);
        assert!(texts("{}").is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(name in "[^\\x00]{1,8}", value in ".*", op in 0..2) {
            let op = [MatchOp::Equal, MatchOp::NotEqual][op as usize];
            let matcher = MatcherText(Matcher::new(&name, op, &value).unwrap());
            prop_assert_eq!(matcher.to_string().parse::<MatcherText>().unwrap(), matcher.clone());
            let list = format!("{{{matcher}, {matcher}}}");
            prop_assert_eq!(read(&list).unwrap().len(), 2);
        }
    }
}
