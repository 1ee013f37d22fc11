//! A stream's labels as Loki's protobuf carries them: the text `{app="shop", level="warn"}`, values quoted as Go quotes them. In: the
//! text. Out: attributes that borrow from it. Fails: with the place.

use std::borrow::Cow;

use crate::record::{Attribute, Attributes, Text};

/// A text that is no set of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the labels of a stream are malformed at byte {at}: {problem}")]
pub(crate) struct LabelError {
    at: usize,
    problem: &'static str,
}

/// Reads a text; more labels than `limit` are counted as cut.
pub(super) fn parse(text: &str, limit: usize) -> Result<Attributes<'_>, LabelError> {
    let mut reader = Reader { text, at: 0 };
    let mut labels = Attributes::default();
    reader.space();
    reader.expect('{', "`{` was expected")?;
    loop {
        reader.space();
        if reader.take('}') {
            break;
        }
        let name = reader.name()?;
        reader.space();
        reader.expect('=', "`=` was expected after the label's name")?;
        reader.space();
        let value = reader.value()?;
        labels.push(Attribute { key: Cow::Borrowed(name), value: crate::record::Value::Text(value) }, limit);
        reader.space();
        if !reader.take(',') {
            reader.expect('}', "`,` or `}` was expected after the label's value")?;
            break;
        }
    }
    reader.space();
    if reader.at == text.len() { Ok(labels) } else { reader.fail("something follows the labels") }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn fail<T>(&self, problem: &'static str) -> Result<T, LabelError> {
        Err(LabelError { at: self.at, problem })
    }
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }
    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }
    fn take(&mut self, wanted: char) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }
    fn expect(&mut self, wanted: char, problem: &'static str) -> Result<(), LabelError> {
        if self.take(wanted) { Ok(()) } else { self.fail(problem) }
    }
    fn name(&mut self) -> Result<&'a str, LabelError> {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':' | '.' | '-' | '/'))).unwrap_or(rest.len());
        if end == 0 {
            return self.fail("the name of a label was expected");
        }
        self.at += end;
        Ok(&rest[..end])
    }
    fn value(&mut self) -> Result<Text<'a>, LabelError> {
        if self.take('`') {
            let rest = self.rest();
            let Some(end) = rest.find('`') else { return self.fail("a value has no end") };
            self.at += end + 1;
            return Ok(Cow::Borrowed(&rest[..end]));
        }
        self.expect('"', "a value in quotes was expected")?;
        let rest = self.rest();
        let Some(end) = rest.find(['"', '\\']) else { return self.fail("a value has no end") };
        if rest[end..].starts_with('"') {
            self.at += end + 1;
            return Ok(Cow::Borrowed(&rest[..end]));
        }
        self.escaped().map(Cow::Owned)
    }
    /// A value with escapes; bytes that are no UTF-8 together become replacement characters.
    fn escaped(&mut self) -> Result<String, LabelError> {
        let mut value = Vec::new();
        loop {
            let Some(c) = self.rest().chars().next() else { return self.fail("a value has no end") };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(String::from_utf8_lossy(&value).into_owned()),
                '\\' => self.escape(&mut value)?,
                c => value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    fn escape(&mut self, value: &mut Vec<u8>) -> Result<(), LabelError> {
        let Some(kind) = self.rest().chars().next() else { return self.fail("a value ends in its escape") };
        self.at += kind.len_utf8();
        let byte = match kind {
            'a' => 7,
            'b' => 8,
            't' => b'\t',
            'n' => b'\n',
            'v' => 11,
            'f' => 12,
            'r' => b'\r',
            '\\' | '"' | '\'' => kind as u8,
            'x' => self.digits(2, 16)? as u8,
            '0'..='3' => {
                self.at -= 1;
                self.digits(3, 8)? as u8
            }
            'u' | 'U' => {
                let number = self.digits(if kind == 'u' { 4 } else { 8 }, 16)?;
                let Some(c) = char::from_u32(number) else { return self.fail("an escape names no character") };
                value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.fail("an escape is unknown"),
        };
        value.push(byte);
        Ok(())
    }
    fn digits(&mut self, count: usize, radix: u32) -> Result<u32, LabelError> {
        let digits = self.rest().get(..count).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(number) = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok()) else {
            return self.fail("an escape has too few digits");
        };
        self.at += count;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
        let labels = parse(text, 100).map_err(|error| error.to_string())?;
        Ok(labels.list.iter().map(|label| (label.key.to_string(), label.value.text().into_owned())).collect())
    }

    #[test]
    fn labels_are_read_as_go_writes_them() {
        for (text, want) in [
            ("{}", vec![]),
            (r#"{app="shop"}"#, vec![("app", "shop")]),
            (r#" { app = "shop" , env="p\"r\\o\td\n" , } "#, vec![("app", "shop"), ("env", "p\"r\\o\td\n")]),
            (r#"{a="\u00e9\x41\101\U0001F600", b=`raw\n`}"#, vec![("a", "éAA😀"), ("b", "raw\\n")]),
            (r#"{a="\xff"}"#, vec![("a", "\u{fffd}")]),
            (r#"{k8s.pod/name="a{b,c}"}"#, vec![("k8s.pod/name", "a{b,c}")]),
        ] {
            let want: Vec<(String, String)> = want.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            assert_eq!(pairs(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_named_with_its_place() {
        for (text, words) in [
            ("", "byte 0: `{` was expected"),
            ("{", "byte 1: the name"),
            (r#"{a}"#, "byte 2: `=`"),
            (r#"{a=b}"#, "byte 3: a value in quotes"),
            (r#"{a="b}"#, "a value has no end"),
            (r#"{a="b" c="d"}"#, "byte 7: `,` or `}`"),
            (r#"{a="\q"}"#, "an escape is unknown"),
            (r#"{a="\u12"}"#, "too few digits"),
            (r#"{a="\ud800"}"#, "names no character"),
            (r#"{a="b"} x"#, "something follows"),
        ] {
            let error = pairs(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = parse(&text, 3);
            let _ = parse(&format!("{{a=\"{text}"), 3);
        }
    }
}
