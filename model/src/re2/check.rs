//! Whether a pattern is one to Go's `regexp/syntax`, with which Prometheus reads patterns, and its words where it is not: the crate
//! `regex` takes some that RE2 refuses (`a**`, `[a-\d]`, `[[:foo:]]`). Source: the syntax page of RE2 and what Go says. Pure.

/// No count may be higher, nor the product of counts inside of each other.
const MOST: usize = 1_000;
/// The classes that have names.
const NAMED: [&str; 14] =
    ["alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word", "xdigit"];

fn wrong<T>(what: &str, part: &str) -> Result<T, String> {
    Err(said(what, part))
}

/// Go's sentence about a part of a pattern.
pub fn said(what: &str, part: &str) -> String {
    format!("error parsing regexp: {what}: `{part}`")
}

/// Looks at a pattern as a whole. Fails with Go's sentence about what is wrong with it.
pub fn check(pattern: &str) -> Result<(), String> {
    let mut reader = Reader { pattern, rest: pattern, open: Vec::new(), operand: None, widest: 1, repeated: None };
    while let Some(next) = reader.rest.chars().next() {
        reader.step(next)?;
    }
    if reader.open.is_empty() { Ok(()) } else { wrong("missing closing )", pattern) }
}

struct Reader<'p> {
    pattern: &'p str,
    rest: &'p str,
    /// Of each open group: how often the widest part before it is repeated.
    open: Vec<usize>,
    /// How often what could be repeated next is repeated inside of itself; `None` where there is nothing.
    operand: Option<usize>,
    /// The most of the open group's parts.
    widest: usize,
    /// Where the repetition that was read last begins.
    repeated: Option<&'p str>,
}

impl<'p> Reader<'p> {
    fn step(&mut self, next: char) -> Result<(), String> {
        let before = self.repeated.take();
        match next {
            '(' if self.rest.starts_with("(?") => self.flags()?,
            '(' => self.opened(&self.rest[1..]),
            '|' => {
                self.operand = None;
                self.rest = &self.rest[1..];
            }
            ')' => {
                let Some(outside) = self.open.pop() else { return wrong("unexpected )", self.pattern) };
                self.read(self.widest, &self.rest[1..]);
                self.widest = self.widest.max(outside);
            }
            '[' => self.read(1, class(self.rest)?),
            '*' | '+' | '?' => self.repeat(&self.rest[1..], before, None)?,
            '{' => match counts(self.rest) {
                Some(counts) => self.repeat(counts.after, before, Some(counts))?,
                None => self.read(1, &self.rest[1..]),
            },
            '\\' if self.rest.starts_with(r"\Q") => {
                let (literal, after) = self.rest[2..].split_once(r"\E").unwrap_or((&self.rest[2..], ""));
                let operand = if literal.is_empty() { self.operand } else { Some(1) };
                (self.operand, self.rest) = (operand, after);
            }
            '\\' => match self.rest[1..].chars().next() {
                Some('A' | 'b' | 'B' | 'z') => self.read(1, &self.rest[2..]),
                _ => self.read(1, escape(self.rest, true)?),
            },
            other => self.read(1, &self.rest[other.len_utf8()..]),
        }
        Ok(())
    }

    /// A part that may be repeated has been read.
    fn read(&mut self, repeated: usize, rest: &'p str) {
        (self.operand, self.rest) = (Some(repeated), rest);
        self.widest = self.widest.max(repeated);
    }

    fn opened(&mut self, rest: &'p str) {
        self.open.push(std::mem::replace(&mut self.widest, 1));
        (self.operand, self.rest) = (None, rest);
    }

    fn repeat(&mut self, after: &'p str, before: Option<&'p str>, counts: Option<Counts<'p>>) -> Result<(), String> {
        let written = |rest: &'p str, after: &str| &rest[..rest.len() - after.len()];
        let narrow = written(self.rest, after);
        if counts.as_ref().is_some_and(|counts| counts.least > MOST || counts.most.is_some_and(|most| most > MOST || counts.least > most)) {
            return wrong("invalid repeat count", narrow);
        }
        let after = after.strip_prefix('?').unwrap_or(after);
        if let Some(before) = before {
            return wrong("invalid nested repetition operator", written(before, after));
        }
        let Some(inside) = self.operand else {
            return wrong("missing argument to repetition operator", written(self.rest, after));
        };
        let times = counts.map_or(1, |counts| counts.most.unwrap_or(counts.least));
        let repeated = if times == 0 { 1 } else { inside.saturating_mul(times) };
        if repeated > MOST && times > 1 {
            return wrong("invalid repeat count", written(self.rest, after));
        }
        self.repeated = Some(self.rest);
        self.read(repeated, after);
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?flags)` and `(?flags:`.
    fn flags(&mut self) -> Result<(), String> {
        let rest = self.rest;
        for start in ["(?P<", "(?<"] {
            let Some(named) = rest.strip_prefix(start).filter(|named| !named.is_empty()) else { continue };
            let Some((name, after)) = named.split_once('>') else { return wrong("invalid named capture", rest) };
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return wrong("invalid named capture", &rest[..rest.len() - after.len()]);
            }
            self.opened(after);
            return Ok(());
        }
        let (mut negative, mut some) = (false, false);
        for (at, next) in rest.char_indices().skip(2) {
            match next {
                'i' | 'm' | 's' | 'U' => some = true,
                '-' if !negative => (negative, some) = (true, false),
                ':' if !negative || some => {
                    self.opened(&rest[at + 1..]);
                    return Ok(());
                }
                ')' if !negative || some => {
                    self.rest = &rest[at + 1..];
                    return Ok(());
                }
                other => return wrong("invalid or unsupported Perl syntax", &rest[..at + other.len_utf8()]),
            }
        }
        wrong("missing closing )", self.pattern)
    }
}

/// How often something is repeated.
pub struct Counts<'p> {
    least: usize,
    most: Option<usize>,
    after: &'p str,
}

/// Reads `{n}`, `{n,}` or `{n,m}`; everything else is literal.
pub fn counts(rest: &str) -> Option<Counts<'_>> {
    let inside = rest.strip_prefix('{')?;
    let end = inside.find(|c: char| !c.is_ascii_digit() && c != ',').filter(|end| inside[*end..].starts_with('}'))?;
    let (inside, after) = (&inside[..end], &inside[end + 1..]);
    let number = |text: &str| {
        let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        good.then(|| text.parse().unwrap_or(usize::MAX))
    };
    let (least, most) = match inside.split_once(',') {
        None => (number(inside)?, Some(number(inside)?)),
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    Some(Counts { least, most, after })
}

/// What follows an escape. Outside of ranges it may stand for a class.
fn escape(rest: &str, may_be_class: bool) -> Result<&str, String> {
    let Some(escaped) = rest[1..].chars().next() else { return wrong("trailing backslash at end of expression", "") };
    let after = &rest[1 + escaped.len_utf8()..];
    let octal = |text: &str| text.starts_with(|c| matches!(c, '0'..='7'));
    match escaped {
        'd' | 'D' | 's' | 'S' | 'w' | 'W' if may_be_class => Ok(after),
        'p' | 'P' if may_be_class => match (after.strip_prefix('{'), after.chars().next()) {
            (Some(name), _) => match name.find('}') {
                Some(end) => Ok(&name[end + 1..]),
                None => wrong("invalid character class range", rest),
            },
            (None, Some(name)) => Ok(&after[name.len_utf8()..]),
            (None, None) => wrong("invalid escape sequence", rest),
        },
        'a' | 'f' | 'n' | 'r' | 't' | 'v' => Ok(after),
        '0'..='7' if escaped == '0' || octal(after) => {
            let digits = after.bytes().take(2).take_while(|digit| matches!(digit, b'0'..=b'7')).count();
            Ok(&after[digits..])
        }
        'x' => hexadecimal(rest, after),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(after),
        _ => wrong("invalid escape sequence", &rest[..rest.len() - after.len()]),
    }
}

/// What follows `\x12` or `\x{123}`.
fn hexadecimal<'p>(rest: &'p str, digits: &'p str) -> Result<&'p str, String> {
    if let Some(braced) = digits.strip_prefix('{') {
        let end = braced.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(braced.len());
        let good = u32::from_str_radix(&braced[..end], 16).is_ok_and(|code| code <= 0x0010_FFFF) && braced[end..].starts_with('}');
        return if good { Ok(&braced[end + 1..]) } else { wrong("invalid escape sequence", upto(rest, 3 + end + 1)) };
    }
    match digits.as_bytes() {
        [one, two, ..] if one.is_ascii_hexdigit() && two.is_ascii_hexdigit() => Ok(&digits[2..]),
        _ => wrong("invalid escape sequence", upto(rest, 4)),
    }
}

fn upto(text: &str, end: usize) -> &str {
    text.get(..end).unwrap_or(text)
}

/// The name of a class of characters that begins here, and what follows it. No name is longer than what is looked at.
pub fn named(rest: &str) -> Option<(&str, &str)> {
    let inside = rest.strip_prefix("[:")?;
    let end = inside[..inside.floor_char_boundary(32)].find(":]")?;
    Some((&inside[..end], &inside[end + 2..]))
}

/// What follows a class in brackets.
fn class(whole: &str) -> Result<&str, String> {
    let mut rest = whole[1..].strip_prefix('^').unwrap_or(&whole[1..]);
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if let Some((name, after)) = named(rest) {
            if !NAMED.contains(&name.strip_prefix('^').unwrap_or(name)) {
                return wrong("invalid character class range", &rest[..rest.len() - after.len()]);
            }
            rest = after;
            continue;
        }
        if rest.starts_with('\\') && rest[1..].starts_with(['d', 'D', 's', 'S', 'w', 'W', 'p', 'P']) {
            rest = escape(rest, true)?;
            continue;
        }
        let low = rest;
        rest = member(rest, whole)?;
        let low_end = &low[..low.len() - rest.len()];
        if rest.starts_with('-') && rest.len() > 1 && !rest.starts_with("-]") {
            let high = &rest[1..];
            rest = member(high, whole)?;
            if let (Some(from), Some(to)) = (value(low_end), value(&high[..high.len() - rest.len()]))
                && to < from
            {
                return wrong("invalid character class range", &low[..low.len() - rest.len()]);
            }
        }
    }
    Ok(&rest[1..])
}

/// What follows one character of a class.
fn member<'p>(rest: &'p str, whole: &str) -> Result<&'p str, String> {
    match rest.chars().next() {
        None => wrong("missing closing ]", whole),
        Some('\\') => escape(rest, false),
        Some(other) => Ok(&rest[other.len_utf8()..]),
    }
}

/// The character that a member of a class stands for, where that is plain; the crate `regex` looks at the others.
fn value(member: &str) -> Option<char> {
    let mut chars =
        member.strip_prefix('\\').filter(|escaped| !escaped.starts_with(|c: char| c.is_ascii_alphanumeric())).unwrap_or(member).chars();
    chars.next().filter(|_| chars.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        for (pattern, words) in [
            ("(", "missing closing ): `(`"),
            ("a(b|c", "missing closing ): `a(b|c`"),
            ("a)", "unexpected ): `a)`"),
            ("x[a", "missing closing ]: `[a`"),
            ("[]a", "missing closing ]: `[]a`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a|+?b", "missing argument to repetition operator: `+?`"),
            ("(?i)*", "missing argument to repetition operator: `*`"),
            ("({2})", "missing argument to repetition operator: `{2}`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{2}*?b", "invalid nested repetition operator: `{2}*?`"),
            ("a{2,1}", "invalid repeat count: `{2,1}`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("((a{100}){10}){2}", "invalid repeat count: `{2}`"),
            (r"\8", r"invalid escape sequence: `\8`"),
            (r"\C{99999}", r"invalid escape sequence: `\C`"),
            (r"\xg0", r"invalid escape sequence: `\xg0`"),
            (r"[\b]", r"invalid escape sequence: `\b`"),
            (r"[a-\d]", r"invalid escape sequence: `\d`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("[b-a]", "invalid character class range: `b-a`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            ("(?P<n", "invalid named capture: `(?P<n`"),
            ("(?P<a-b>x)", "invalid named capture: `(?P<a-b>`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?i-)", "invalid or unsupported Perl syntax: `(?i-)`"),
        ] {
            assert_eq!(check(pattern), Err(format!("error parsing regexp: {words}")), "{pattern}");
        }
    }

    #[test]
    fn what_go_takes_is_taken() {
        for pattern in [
            "",
            "a*?b+c??",
            "(a)*",
            "()*",
            "^*$",
            "a{,2}b{x}{",
            "a{01}",
            "(?i)a",
            "(?i:a)*",
            "(?P<n>a)(?<m>b)",
            r"\Qa**(\E+",
            r"\Q(",
            r"[]a-]",
            r"[^]^]",
            "[a-]",
            r"[\d\-x]",
            "[[:alpha:][:^digit:]]",
            r"\pL\p{Greek}\PN",
            r"\0\12\x41\x{1F600}\a\-\/\z\b",
            "(a{10}){100}",
            "(a{600}|b{600})",
            "[[a]",
            "é[à-ü]",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }
}
