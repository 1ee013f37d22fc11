//! A place in a text, with the line for errors. Pure.

use super::ExpositionError;

/// A place in a text.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// How much of the text an error shows, in bytes.
const SHOWN: usize = 40;

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.text.len()
    }
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
    /// Goes on by a byte, which must be ASCII.
    pub(super) fn bump(&mut self) {
        self.at = (self.at + 1).min(self.text.len());
    }
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }
    /// From another place to here.
    pub(super) fn since(&self, start: &Cursor<'a>) -> &'a str {
        self.text.get(start.at..self.at).unwrap_or("")
    }
    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| !keep(*byte)).unwrap_or(rest.len());
        let start = self.at;
        self.at += length;
        self.text.get(start..self.at).unwrap_or("")
    }
    /// Passes blanks; whether there were any.
    pub(super) fn skip_blanks(&mut self) -> bool {
        !self.take_while(|byte| matches!(byte, b' ' | b'\t')).is_empty()
    }
    /// Capital letters.
    pub(super) fn word(&mut self) -> &'a str {
        self.take_while(|byte| byte.is_ascii_uppercase())
    }
    /// Everything up to a blank or the end of the line.
    pub(super) fn token(&mut self) -> &'a str {
        self.take_while(|byte| !matches!(byte, b' ' | b'\t' | b'\n'))
    }
    /// The rest of the line; passes its end.
    pub(super) fn rest_of_line(&mut self) -> &'a str {
        let line = self.take_while(|byte| byte != b'\n');
        self.bump();
        line
    }
    fn name(&mut self, more: impl Fn(u8) -> bool, problem: &'static str) -> Result<&'a str, ExpositionError> {
        let here = self.clone();
        match self.peek() {
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' || more(byte) => {
                Ok(self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || more(byte)))
            }
            _ => Err(here.error(problem)),
        }
    }
    pub(super) fn metric_name(&mut self) -> Result<&'a str, ExpositionError> {
        self.name(|byte| byte == b':', "a metric name was expected")
    }
    pub(super) fn label_name(&mut self) -> Result<&'a str, ExpositionError> {
        self.name(|_| false, "a label name was expected")
    }
    /// What stands between quotes, escapes as they are.
    pub(super) fn quoted(&mut self) -> Result<&'a str, ExpositionError> {
        let here = self.clone();
        if self.peek() != Some(b'"') {
            return Err(here.error("a quote was expected"));
        }
        self.bump();
        let start = self.clone();
        loop {
            self.take_while(|byte| !matches!(byte, b'"' | b'\\'));
            match self.peek() {
                Some(b'"') => break,
                Some(_) => {
                    self.bump();
                    // The escaped character may be longer than a byte.
                    let length = self.rest().chars().next().map_or(0, char::len_utf8);
                    self.at += length;
                }
                None => return Err(here.error("a quote is not closed")),
            }
        }
        let text = self.since(&start);
        self.bump();
        Ok(text)
    }
    /// Passes a byte that must stand here.
    pub(super) fn expect(&mut self, byte: u8, problem: &'static str) -> Result<(), ExpositionError> {
        if self.peek() == Some(byte) {
            self.bump();
            Ok(())
        } else {
            Err(self.error(problem))
        }
    }
    /// An error about this place.
    pub(super) fn error(&self, problem: &'static str) -> ExpositionError {
        let before = self.text.get(..self.at).unwrap_or("");
        let rest = self.rest().lines().next().unwrap_or("");
        let near = rest[..rest.floor_char_boundary(SHOWN)].chars().filter(|c| !c.is_control()).collect();
        ExpositionError { line: 1 + before.bytes().filter(|byte| *byte == b'\n').count(), problem, near }
    }
}
