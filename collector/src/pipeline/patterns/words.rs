//! The words of a log body, with what varies by its look masked: numbers, ids, times, addresses, quoted texts. Pure.

use std::borrow::Cow;

use serde::Deserialize;

/// What stands for anything.
pub(crate) const VARIABLE: &str = "<*>";
/// Only so many words are told apart; the rest is one.
const MAX_WORDS: usize = 40;
/// A longer word varies.
const MAX_WORD: usize = 64;
/// Only so much of a body is looked at.
const MAX_INPUT: usize = 2_048;

/// The words of a body; of a JSON object those of its message.
pub(super) fn words(body: &str) -> Vec<Cow<'_, str>> {
    let body = body.trim_start();
    if body.starts_with('{')
        && let Some(message) = message(body)
    {
        return split(&message).into_iter().map(|word| Cow::Owned(word.into_owned())).collect();
    }
    split(body)
}

/// The message of a JSON object, under one of the keys that loggers use.
fn message(body: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        message: Option<Cow<'a, str>>,
        #[serde(borrow)]
        msg: Option<Cow<'a, str>>,
        #[serde(borrow)]
        event: Option<Cow<'a, str>>,
    }
    let line: Line<'_> = serde_json::from_str(body).ok()?;
    line.message.or(line.msg).or(line.event)
}

fn split(text: &str) -> Vec<Cow<'_, str>> {
    // The first line says what it is; a stack below it is as long as it is.
    let text = text.lines().next().unwrap_or("");
    let mut rest = text[..text.floor_char_boundary(MAX_INPUT)].trim_start();
    let mut all = Vec::with_capacity(16);
    while !rest.is_empty() {
        if all.len() == MAX_WORDS {
            all.push(Cow::Borrowed(VARIABLE));
            break;
        }
        let end = word(rest);
        let masked = mask(&rest[..end]);
        // A list of what varies is one thing, however long it is.
        if !(masked == VARIABLE && all.last().is_some_and(|last: &Cow<'_, str>| last == VARIABLE)) {
            all.push(masked);
        }
        rest = rest[end..].trim_start();
    }
    all
}

/// The length of the first word: up to a blank that is not within double quotes.
fn word(rest: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in rest.char_indices() {
        match c {
            c if c.is_whitespace() && !quoted => return at,
            '"' if !escaped => {
                let opens = at == 0 || rest[..at].ends_with(['=', ':', '(', '[', ',', '{']);
                // A quote that is never closed is a word's own.
                quoted = !quoted && opens && rest[at + 1..].contains('"');
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

fn delimits(byte: u8) -> bool {
    matches!(
        byte,
        b'=' | b':' | b',' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'\'' | b'/' | b'|' | b'<' | b'>' | b'&' | b'?' | b'@' | b'#'
    )
}

/// The word with its varying parts masked.
fn mask(word: &str) -> Cow<'_, str> {
    let bytes = word.as_bytes();
    let quoted = bytes.contains(&b'"');
    if !quoted && bytes.len() <= MAX_WORD && !bytes.iter().any(u8::is_ascii_digit) {
        return Cow::Borrowed(word);
    }
    let (mut out, mut at) = (String::with_capacity(word.len()), 0);
    while at < bytes.len() {
        if bytes[at] == b'"' {
            let end = bytes[at + 1..].iter().position(|byte| *byte == b'"').map(|length| at + 1 + length);
            match end {
                Some(end) if end > at + 1 => {
                    out.push_str("\"<*>\"");
                    at = end + 1;
                }
                Some(_) | None => {
                    out.push('"');
                    at += 1;
                }
            }
        } else if delimits(bytes[at]) {
            out.push(bytes[at] as char);
            at += 1;
        } else {
            let end = bytes[at..].iter().position(|byte| delimits(*byte) || *byte == b'"').map_or(bytes.len(), |length| at + length);
            part(&word[at..end], &mut out);
            at = end;
        }
    }
    // `12:30:01` and `10.0.0.1:80` are one thing.
    while let Some(twice) = ["<*>:<*>", "<*>/<*>", "<*>,<*>"].iter().find(|twice| out.contains(**twice)) {
        out = out.replace(twice, VARIABLE);
    }
    Cow::Owned(out)
}

/// A part between delimiters: what has digits varies, but for short names such as `s3` and `http2`, and signs around it stay.
fn part(part: &str, out: &mut String) {
    let core = part.trim_matches(['.', '!', '*', '~']);
    let digits = core.bytes().filter(u8::is_ascii_digit).count();
    let name = digits == 1
        && core.len() <= 5
        && core.as_bytes().last().is_some_and(u8::is_ascii_digit)
        && core.bytes().rev().skip(1).all(|byte| byte.is_ascii_alphabetic())
        && core.len() > 1;
    if (digits == 0 || name) && core.len() <= MAX_WORD {
        out.push_str(part);
        return;
    }
    let start = part.len() - part.trim_start_matches(['.', '!', '*', '~']).len();
    out.push_str(&part[..start]);
    out.push_str(VARIABLE);
    out.push_str(&part[start + core.len()..]);
}
