//! A PromQL selector without a time: `name{label="value",other=~"a|b"}`. In: its text. Out: matchers that must all hold. Pure.
//! Fails: with one sentence that says what was expected and where.

use model::labels::{METRIC_NAME, MatchOp, Matcher};

/// Reads a selector.
pub(super) fn selector(text: &str) -> Result<Vec<Matcher>, String> {
    let (name, rest) = name(text.trim_start(), true);
    let mut matchers = Vec::new();
    if !name.is_empty() {
        matchers.push(equal(METRIC_NAME, name)?);
    }
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('{') {
        Some(inside) => braces(inside, &mut matchers)?,
        None if name.is_empty() => return Err(expected("a metric name or `{`", rest)),
        None => rest,
    };
    if rest.trim().is_empty() { Ok(matchers) } else { Err(expected("the end", rest)) }
}

/// Reads `label="value", ...}`; the rest behind it.
fn braces<'t>(mut rest: &'t str, matchers: &mut Vec<Matcher>) -> Result<&'t str, String> {
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok(behind);
        }
        let (label, behind) = name(rest, false);
        if label.is_empty() {
            return Err(expected("a label name or `}`", rest));
        }
        rest = behind.trim_start();
        let ops = [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
        let found = ops.into_iter().find_map(|(sign, op)| Some((op, rest.strip_prefix(sign)?)));
        let (op, behind) = found.ok_or_else(|| expected("=, !=, =~ or !~", rest))?;
        let (value, behind) = quoted(behind.trim_start())?;
        matchers.push(Matcher::new(label, op, &value).map_err(|error| error.to_string())?);
        rest = behind.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(behind) => behind,
            None if rest.starts_with('}') => rest,
            None => return Err(expected("`,` or `}`", rest)),
        };
    }
}

fn equal(label: &str, value: &str) -> Result<Matcher, String> {
    Matcher::new(label, MatchOp::Equal, value).map_err(|error| error.to_string())
}

/// A name at the start, and the rest.
fn name(text: &str, colons: bool) -> (&str, &str) {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    let end = text.find(|c: char| !inner(c)).unwrap_or(text.len());
    let end = if text.starts_with(|c: char| c.is_ascii_digit()) { 0 } else { end };
    text.split_at(end)
}

/// A text in quotes of one of PromQL's three kinds, and the rest.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')).ok_or_else(|| expected("a quoted value", text))?;
    let (mut value, mut chars) = (String::new(), text.char_indices().skip(1));
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((value, &text[at + c.len_utf8()..])),
            '\\' if quote != '`' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, 't')) => '\t',
                Some((_, escaped @ ('\\' | '"' | '\''))) => escaped,
                _ => return Err(expected("one of \\\\, \\n, \\t and a quote behind `\\`", &text[at..])),
            }),
            _ => value.push(c),
        }
    }
    Err(expected("a closing quote", ""))
}

fn expected(what: &str, rest: &str) -> String {
    let near: String = rest.chars().take(20).filter(|c| !c.is_control()).collect();
    if near.is_empty() { format!("{what} was expected at its end") } else { format!("{what} was expected at `{near}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read() {
        for (text, shown) in [
            ("up", "__name__Equal=up"),
            ("{}", ""),
            (" { job = \"a\\\"b\" , } ", "jobEqual=a\"b"),
            ("a:b{x!='1', y=~\"a|b\",z!~`\\d+`}", "__name__Equal=a:b xNotEqual=1 yRegex=a|b zNotRegex=\\d+"),
        ] {
            let found = selector(text).unwrap();
            let told: Vec<String> = found.iter().map(|matcher| format!("{}{:?}={}", matcher.name, matcher.op, matcher.value)).collect();
            assert_eq!(told.join(" "), shown, "{text}");
        }
    }

    #[test]
    fn wrong_ones_are_named() {
        for (text, said) in [
            ("", "a metric name or `{` was expected"),
            ("{job", "!~ was expected at its end"),
            ("{job=}", "a quoted value was expected at `}`"),
            ("{job=\"a}", "a closing quote"),
            ("{job=\"a\\q\"}", "behind `\\`"),
            ("{job=\"a\" x=\"b\"}", "`,` or `}`"),
            ("{9=\"a\"}", "a label name"),
            ("{job=~\"(\"}", "not a regular expression"),
            ("up[5m]", "the end was expected at `[5m]`"),
            ("{é=\"a\"}", "a label name"),
        ] {
            let error = selector(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
