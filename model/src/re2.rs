//! Regular expressions in RE2's syntax, which Prometheus and ClickHouse speak, for the crate `regex`, which differs in details: there
//! classes such as `\d` and `\b` are Unicode's, classes nest, braces must repeat something, `\Q...\E` is unknown. Pure.

mod check;

/// An expression that matches whole texts as Prometheus's matchers do: anchored at both ends, `.` matches newlines too. Fails where the
/// pattern has no meaning, with the sentence that Prometheus has for it.
pub fn anchored(pattern: &str) -> Result<regex::Regex, regex::Error> {
    check::check(pattern).map_err(regex::Error::Syntax)?;
    regex::Regex::new(&format!("^(?s:{})$", translate(pattern))).map_err(|error| {
        let what = if matches!(error, regex::Error::CompiledTooBig(_)) { "expression too large" } else { "unknown syntax" };
        regex::Error::Syntax(check::said(what, pattern))
    })
}

/// The pattern in the syntax of the crate `regex`. What is wrong in RE2 stays wrong. Source: the syntax page of RE2.
pub fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(next) = rest.chars().next() {
        let taken = if next == '\\' {
            escape(rest, in_class, &mut out)
        } else if in_class {
            class_member(rest, &mut in_class, &mut out)
        } else if next == '[' {
            in_class = true;
            let open = opening(rest);
            out.push_str(open);
            open.len()
        } else {
            // Braces that repeat nothing stand for themselves.
            if next == '{' && check::counts(rest).is_none() {
                out.push('\\');
            }
            out.push(next);
            next.len_utf8()
        };
        rest = &rest[taken..];
    }
    out
}

/// The opening of a class: a bracket that closes is literal as its first member.
fn opening(rest: &str) -> &str {
    let open = if rest.starts_with("[^") { 2 } else { 1 };
    &rest[..open + usize::from(rest[open..].starts_with(']'))]
}

/// What begins with a backslash; returns how many bytes that is.
fn escape(rest: &str, in_class: bool, out: &mut String) -> usize {
    let Some(escaped) = rest[1..].chars().next() else {
        out.push('\\');
        return 1;
    };
    let ascii = match (escaped, in_class) {
        // In brackets too they are classes of their own, so that no range begins with their last character: `[\w-.]`.
        ('d', _) => "[0-9]",
        ('D', _) => "[^0-9]",
        ('w', _) => "[0-9A-Za-z_]",
        ('W', _) => "[^0-9A-Za-z_]",
        ('s', _) => r"[\t\n\f\r ]",
        ('S', _) => r"[^\t\n\f\r ]",
        ('b', false) => r"(?-u:\b)",
        ('0'..='7', _) => return octal(rest, out),
        // Word boundaries to `regex`, the characters themselves to RE2.
        ('<', _) => "<",
        ('>', _) => ">",
        ('Q', false) => {
            let quoted = &rest[2..];
            let end = quoted.find(r"\E");
            out.push_str(&regex::escape(&quoted[..end.unwrap_or(quoted.len())]));
            return end.map_or(rest.len(), |end| 2 + end + 2);
        }
        (other, _) => {
            out.push('\\');
            out.push(other);
            return 1 + other.len_utf8();
        }
    };
    out.push_str(ascii);
    2
}

/// A character by its number in octal digits; returns how many bytes that is.
fn octal(rest: &str, out: &mut String) -> usize {
    let digits = rest[1..].bytes().take(3).take_while(|digit| matches!(digit, b'0'..=b'7')).count();
    let code = rest[1..=digits].bytes().fold(0, |code: u32, digit| code * 8 + u32::from(digit - b'0'));
    out.push_str(&format!(r"\x{{{code:x}}}"));
    1 + digits
}

/// One member of a class, or its end; returns how many bytes that is.
fn class_member(rest: &str, in_class: &mut bool, out: &mut String) -> usize {
    if let Some((_, after)) = check::named(rest) {
        let taken = rest.len() - after.len();
        out.push_str(&rest[..taken]);
        return taken;
    }
    // Classes do not nest and know no operators.
    if let Some(pair) = ["&&", "--", "~~"].into_iter().find(|pair| rest.starts_with(pair)) {
        out.push_str(&format!("{}\\{}", &pair[..1], &pair[1..]));
        return 2;
    }
    let Some(next) = rest.chars().next() else { return rest.len() };
    match next {
        ']' => *in_class = false,
        '[' => out.push('\\'),
        _ => {}
    }
    out.push(next);
    next.len_utf8()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        anchored(pattern).unwrap().is_match(text)
    }

    #[test]
    fn classes_are_of_ascii() {
        assert!(matches(r"\d+", "42") && !matches(r"\d", "٣"));
        assert!(matches(r"\w", "a") && !matches(r"\w", "é") && matches(r"\W", "é"));
        assert!(matches(r"[\d.]+", "1.5") && matches(r"[^\s]+", "é") && !matches(r"[\w]", "é"));
        assert!(matches(r"é\bb", "éb") && !matches(r"e\bb", "eb"), "only ASCII letters make words");
    }

    #[test]
    fn braces_that_repeat_nothing_stand_for_themselves() {
        assert!(matches(r"{(.*)}", "{x}") && matches(r"a{2}", "aa") && matches(r"a{1,}b{,2}", "aab{,2}"));
        assert!(matches(r"/api/{id}", "/api/{id}") && matches(r"[{]x}", "{x}"));
    }

    #[test]
    fn classes_do_not_nest_and_know_no_operators() {
        assert!(matches(r"[[a]+", "[a") && matches(r"[a&&b]+", "a&b") && matches(r"[+--]+", "+,-"));
        assert!(matches(r"[\w-.]+", "a_b-c.d") && matches(r"[\s-x]+", " -x") && !matches(r"[\s-x]", "A"), "no range begins with a class");
        assert!(matches(r"[[:alpha:]]+", "abc") && matches(r"[]a]+", "]a") && matches(r"[^]a]", "b"));
    }

    #[test]
    fn quotes_and_brackets_are_what_they_are() {
        assert!(matches(r"\Qa.b\E.", "a.bc") && !matches(r"\Qa.b\E", "axb") && matches(r"\<a\>", "<a>"));
        assert!(matches("a.b", "a\nb"));
        assert!(anchored("(").is_err() && anchored(r"a\").is_err());
        assert!(matches(r"\12\0[\101-\103]", "\n\0B"), "octal");
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let said = |pattern| anchored(pattern).unwrap_err().to_string();
        assert_eq!(said("a**"), "error parsing regexp: invalid nested repetition operator: `**`");
        assert_eq!(said(r"\p{Nothing}"), r"error parsing regexp: unknown syntax: `\p{Nothing}`");
        assert_eq!(
            said(r"(\w{1000}|\pL{1000}){1}\pL{1000}"),
            r"error parsing regexp: expression too large: `(\w{1000}|\pL{1000}){1}\pL{1000}`"
        );
    }
}
