//! The words of a statement, read so that ClickHouse cannot read them otherwise: whatever two readers might tell apart (comments within
//! comments, letters outside ASCII that ClickHouse takes for quotes or signs, prefixed strings, here-documents, numbers that run into
//! words) is refused or left out of the text that is sent.

use super::refused::SqlRefused;

/// A word of the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A bare word: keyword or name.
    Word(String),
    /// A name in backticks or double quotes.
    Quoted(String),
    /// A text in single quotes; what it says does not matter here.
    Text,
    /// A number.
    Number,
    /// One sign: `(`, `,`, `.`, `+`, ...
    Sign(char),
}

/// The words, and the statement without comments and without a semicolon at its end.
pub struct Read {
    /// In order.
    pub tokens: Vec<Token>,
    /// What is sent.
    pub text: String,
}

struct Reader<'a> {
    rest: &'a str,
    read: Read,
}

/// Reads a statement.
pub fn read(statement: &str) -> Result<Read, SqlRefused> {
    let mut reader = Reader { rest: statement, read: Read { tokens: Vec::new(), text: String::with_capacity(statement.len()) } };
    while let Some(first) = reader.rest.chars().next() {
        reader.step(first)?;
    }
    Ok(reader.read)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl Reader<'_> {
    fn step(&mut self, first: char) -> Result<(), SqlRefused> {
        match first {
            ' ' | '\t' | '\r' | '\n' => self.copy(1),
            '-' if self.rest.starts_with("--") => {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.skip(end);
            }
            '/' if self.rest.starts_with("/*") => {
                let end = self.rest.find("*/").ok_or(SqlRefused::Unfinished { what: "comment" })?;
                self.skip(end + 2);
            }
            '\'' => {
                self.quoted("text")?;
                self.read.tokens.push(Token::Text);
            }
            '`' | '"' => {
                let name = self.quoted("name")?;
                self.read.tokens.push(Token::Quoted(name));
            }
            '0'..='9' => self.number()?,
            c if is_word(c) => {
                let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
                if self.rest[end..].starts_with(['\'', '"', '`']) {
                    return Err(SqlRefused::Sign { sign: self.rest[..=end].to_owned() });
                }
                self.read.tokens.push(Token::Word(self.rest[..end].to_owned()));
                self.copy(end);
            }
            ';' if self.rest[1..].trim().is_empty() => self.skip(self.rest.len()),
            ';' => return Err(SqlRefused::Several),
            '(' | ')' | '[' | ']' | ',' | '.' | '*' | '+' | '-' | '/' | '%' | '=' | '<' | '>' | '!' | '|' | ':' | '?' | '^' => {
                self.read.tokens.push(Token::Sign(first));
                self.copy(1);
            }
            other => return Err(SqlRefused::Sign { sign: other.to_string() }),
        }
        Ok(())
    }

    fn copy(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at(bytes);
        self.read.text.push_str(taken);
        self.rest = rest;
    }

    fn skip(&mut self, bytes: usize) {
        self.read.text.push(' ');
        self.rest = &self.rest[bytes..];
    }

    /// Copies what stands in quotes, and gives it without them and their escapes.
    fn quoted(&mut self, what: &'static str) -> Result<String, SqlRefused> {
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map_or('\'', |(_, quote)| quote);
        let mut inner = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                '\0' => return Err(SqlRefused::Sign { sign: "\\0".to_owned() }),
                '\\' => inner.extend(chars.next().map(|(_, escaped)| escaped)),
                c if c == quote && self.rest[at + 1..].starts_with(quote) => {
                    inner.push(quote);
                    chars.next();
                }
                c if c == quote => {
                    self.copy(at + 1);
                    return Ok(inner);
                }
                c => inner.push(c),
            }
        }
        Err(SqlRefused::Unfinished { what })
    }

    /// `12`, `0x1F`, `1.5`, `2e-3`.
    fn number(&mut self) -> Result<(), SqlRefused> {
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let mut end = digits(self.rest);
        if self.rest.starts_with("0x") || self.rest.starts_with("0X") {
            end = 2 + self.rest[2..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(self.rest.len() - 2);
        } else {
            if self.rest[end..].starts_with('.') {
                end += 1;
                end += digits(&self.rest[end..]);
            }
            if self.rest[end..].starts_with(['e', 'E']) {
                let sign = usize::from(self.rest[end + 1..].starts_with(['+', '-']));
                end += 1 + sign + digits(&self.rest[end + 1 + sign..]);
            }
        }
        // `t.1.2` is two elements of tuples, not a number; a word that begins where a number ends is either's to read.
        if self.rest[end..].starts_with(|c: char| is_word(c) || c == '\'' || c == '"' || c == '`') {
            let word = self.rest[..end].chars().chain(self.rest[end..].chars().take(1)).collect();
            return Err(SqlRefused::Sign { sign: word });
        }
        self.read.tokens.push(Token::Number);
        self.copy(end);
        Ok(())
    }
}
