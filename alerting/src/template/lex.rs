//! Cuts a template into text and actions, and actions into tokens. Handles trim markers and comments.

use super::parse::TemplateError;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// A token with whether white space stands before it (`f .x` is two operands, `$a.x` is one).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub spaced: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    Ident(String),
    Field(String),
    Dot,
    Variable(String),
    Text(String),
    Int(i64),
    Float(f64),
    Open,
    Close,
    Pipe,
    Comma,
    Declare,
    Assign,
}

fn fail(message: impl Into<String>) -> TemplateError {
    TemplateError(message.into())
}

/// Cuts a template.
pub(super) fn lex(template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let (mut rest, mut trim_next) = (template, false);
    loop {
        let (text, action) = match rest.find("{{") {
            Some(at) => (&rest[..at], Some(&rest[at + 2..])),
            None => (rest, None),
        };
        let trim_end = action.is_some_and(|action| action.starts_with('-') && action[1..].starts_with([' ', '\t', '\r', '\n']));
        let mut text = if trim_next { text.trim_start() } else { text };
        if trim_end {
            text = text.trim_end();
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let Some(action) = action else { return Ok(pieces) };
        let action = if trim_end { &action[2..] } else { action };
        if let Some(comment) = action.trim_start().strip_prefix("/*") {
            let end = comment.find("*/").ok_or_else(|| fail("unclosed comment: end it with */}}"))?;
            let after = comment[end + 2..].trim_start();
            (rest, trim_next) = match (after.strip_prefix("-}}"), after.strip_prefix("}}")) {
                (Some(rest), _) => (rest, true),
                (None, Some(rest)) => (rest, false),
                (None, None) => return Err(fail("comment ends before closing delimiter: write */}}")),
            };
            continue;
        }
        let (tokens, after, trims) = tokens(action)?;
        pieces.push(Piece::Action(tokens));
        (rest, trim_next) = (after, trims);
    }
}

/// The tokens up to `}}`, what follows it, and whether it trims.
fn tokens(action: &str) -> Result<(Vec<Token>, &str, bool), TemplateError> {
    let (mut tokens, mut rest) = (Vec::new(), action);
    loop {
        let trimmed = rest.trim_start();
        let spaced = trimmed.len() < rest.len();
        rest = trimmed;
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((tokens, after, false));
        }
        if spaced && let Some(after) = rest.strip_prefix("-}}") {
            return Ok((tokens, after, true));
        }
        let (kind, length) = token(rest)?;
        tokens.push(Token { kind, spaced });
        rest = &rest[length..];
    }
}

fn word(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())
}

fn token(rest: &str) -> Result<(TokenKind, usize), TemplateError> {
    let Some(first) = rest.chars().next() else { return Err(fail("unclosed action: end it with }}")) };
    let single = |kind| Ok((kind, 1));
    match first {
        '(' => single(TokenKind::Open),
        ')' => single(TokenKind::Close),
        '|' => single(TokenKind::Pipe),
        ',' => single(TokenKind::Comma),
        '=' => single(TokenKind::Assign),
        ':' if rest[1..].starts_with('=') => Ok((TokenKind::Declare, 2)),
        '"' => quoted(rest),
        '`' => {
            let end = rest[1..].find('`').ok_or_else(|| fail("unterminated raw quoted string"))?;
            Ok((TokenKind::Text(rest[1..1 + end].to_owned()), end + 2))
        }
        '.' if rest[1..].starts_with(|c: char| c.is_alphabetic() || c == '_') => {
            let length = word(&rest[1..]);
            Ok((TokenKind::Field(rest[1..1 + length].to_owned()), 1 + length))
        }
        '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => number(rest),
        '.' => single(TokenKind::Dot),
        '$' => {
            let length = 1 + word(&rest[1..]);
            Ok((TokenKind::Variable(rest[..length].to_owned()), length))
        }
        '-' | '+' | '0'..='9' => number(rest),
        c if c.is_alphabetic() || c == '_' => {
            let length = word(rest);
            Ok((TokenKind::Ident(rest[..length].to_owned()), length))
        }
        c => Err(fail(format!("unexpected {c:?} in action"))),
    }
}

fn number(rest: &str) -> Result<(TokenKind, usize), TemplateError> {
    let bytes = rest.as_bytes();
    let sign = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    if rest[sign..].starts_with("0x") {
        let length = rest[sign + 2..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len() - sign - 2);
        let value = i64::from_str_radix(&rest[sign + 2..sign + 2 + length], 16).map_err(|_| fail("bad number syntax"))?;
        return Ok((TokenKind::Int(if rest.starts_with('-') { -value } else { value }), sign + 2 + length));
    }
    let mut end = sign;
    while end < bytes.len() {
        let exponent_sign = matches!(bytes[end], b'-' | b'+') && matches!(bytes[end - 1], b'e' | b'E') && end > sign;
        if !(bytes[end].is_ascii_digit() || matches!(bytes[end], b'.' | b'e' | b'E' | b'_') || exponent_sign) {
            break;
        }
        end += 1;
    }
    let digits = rest[..end].replace('_', "");
    if let Ok(value) = digits.parse::<i64>() {
        return Ok((TokenKind::Int(value), end));
    }
    let value: f64 = digits.parse().map_err(|_| fail(format!("bad number syntax: {:?}", &rest[..end])))?;
    Ok((TokenKind::Float(value), end))
}

fn quoted(rest: &str) -> Result<(TokenKind, usize), TemplateError> {
    let unterminated = || fail("unterminated quoted string");
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((TokenKind::Text(text), at + 1)),
            '\n' => return Err(unterminated()),
            '\\' => {
                let (_, escape) = chars.next().ok_or_else(unterminated)?;
                let mut hex = |count: usize| -> Result<char, TemplateError> {
                    let digits: String = chars.by_ref().take(count).map(|(_, c)| c).collect();
                    u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).ok_or_else(|| fail("bad escape in string"))
                };
                text.push(match escape {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'a' => '\x07',
                    'b' => '\x08',
                    'f' => '\x0c',
                    'v' => '\x0b',
                    '\\' | '"' | '\'' => escape,
                    'x' => hex(2)?,
                    'u' => hex(4)?,
                    'U' => hex(8)?,
                    other => return Err(fail(format!("unknown escape \\{other} in string: write \\\\{other}, or use back quotes"))),
                });
            }
            c => text.push(c),
        }
    }
    Err(unterminated())
}
