//! Words of an expression with their places, and what is wrong with a text that has none, in Prometheus's words. Only for messages and
//! places: the crate `promql-parser` decides what an expression means. Pure.

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Kind {
    Eof,
    Comma,
    Colon,
    Number,
    Duration,
    Identifier,
    MetricIdentifier,
    Text,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// `=`
    Assign,
    /// `@`
    At,
    Operator,
    Aggregator,
    Keyword,
    /// `start`, `end`, `step`, `range`
    Preprocessor,
}

/// A word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'t> {
    /// What it is.
    pub kind: Kind,
    /// Where it begins, in bytes.
    pub start: usize,
    /// As it is written.
    pub text: &'t str,
}

impl Item<'_> {
    /// Whether it is this word, in any case.
    pub fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    /// As messages name it.
    pub fn described(&self) -> String {
        let short = || match self.text.char_indices().nth(10) {
            Some((end, _)) if self.text.len() > 10 => format!("{}...", quoted(&self.text[..end])),
            Some(_) | None if self.text.len() > 10 => format!("{}...", quoted(self.text)),
            Some(_) | None => quoted(self.text),
        };
        match self.kind {
            Kind::Eof => "end of input".to_owned(),
            Kind::Identifier => format!("identifier {}", quoted(self.text)),
            Kind::MetricIdentifier => format!("metric identifier {}", quoted(self.text)),
            Kind::Text => format!("string {}", short()),
            Kind::Number => format!("number {}", short()),
            Kind::Duration => format!("duration {}", short()),
            Kind::Operator | Kind::At => format!("<op:{}>", self.text),
            Kind::Aggregator => format!("<aggr:{}>", self.text),
            Kind::Keyword => format!("<{}>", self.text),
            Kind::Comma | Kind::Colon | Kind::LeftParen | Kind::RightParen | Kind::LeftBrace | Kind::RightBrace => quoted(self.text),
            Kind::LeftBracket | Kind::RightBracket | Kind::Assign | Kind::Preprocessor => quoted(self.text),
        }
    }
}

/// A text in double quotes as Go writes it.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    text.chars().for_each(|c| escape(c, '"', &mut out));
    out.push('"');
    out
}

/// What stands in the quotes of a text whose escapes have been looked at.
pub fn unquoted(text: &str) -> String {
    let inside = || text.get(1..text.len().saturating_sub(1)).unwrap_or("").to_owned();
    promql_parser::util::unquote_string(text).unwrap_or_else(|_| inside())
}

/// A character in single quotes as Go writes it; the end of the text is the replacement character.
fn character(c: Option<char>) -> String {
    let mut out = String::from("'");
    escape(c.unwrap_or(char::REPLACEMENT_CHARACTER), '\'', &mut out);
    out.push('\'');
    out
}

fn escape(c: char, quote: char, out: &mut String) {
    let named = match c {
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{b}' => 'v',
        '\\' => '\\',
        c if c == quote => quote,
        c if c.is_control() && c.is_ascii() => {
            out.push_str(&format!("\\x{:02x}", c as u32));
            return;
        }
        c => {
            out.push(c);
            return;
        }
    };
    out.extend(['\\', named]);
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// In bytes.
    pub at: usize,
    /// Without the place.
    pub message: String,
}

/// Which rules hold for the next word.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Statements,
    Braces,
    Duration,
}

/// Reads words one after the other.
pub struct Lexer<'t> {
    input: &'t str,
    /// Where the word begins.
    start: usize,
    pos: usize,
    mode: Mode,
    depth: i64,
    bracket: bool,
    colon: bool,
    duration: bool,
}

/// What is said of operators that are Prometheus's but not ours.
const TRIMMING: &str = "the operators </ and >/, which trim native histograms, are not supported";

const AGGREGATORS: [&str; 14] = [
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
];
const KEYWORDS: [&str; 10] = ["offset", "smoothed", "anchored", "by", "without", "on", "ignoring", "group_left", "group_right", "bool"];
const FILLS: [&str; 3] = ["fill", "fill_left", "fill_right"];
const WORD_OPERATORS: [&str; 4] = ["and", "or", "unless", "atan2"];
const PREPROCESSORS: [&str; 4] = ["start", "end", "step", "range"];

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

impl<'t> Lexer<'t> {
    /// From the beginning.
    pub fn new(input: &'t str) -> Self {
        Lexer { input, start: 0, pos: 0, mode: Mode::Statements, depth: 0, bracket: false, colon: false, duration: false }
    }

    fn peek(&self) -> Option<char> {
        self.input[self.pos..].chars().next()
    }

    fn advance(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.pos += next.len_utf8();
        Some(next)
    }

    fn accept(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        let good = self.peek().is_some_and(wanted);
        if good {
            self.advance();
        }
        good
    }

    fn accept_run(&mut self, wanted: impl Fn(char) -> bool) {
        while self.accept(&wanted) {}
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Result<T, Wrong> {
        Err(Wrong { at: self.start, message: message.into() })
    }

    fn emit(&mut self, kind: Kind) -> Item<'t> {
        let item = Item { kind, start: self.start, text: &self.input[self.start..self.pos] };
        self.start = self.pos;
        item
    }

    /// The next word. Comments are passed over.
    pub fn next(&mut self) -> Result<Item<'t>, Wrong> {
        loop {
            self.accept_run(is_space);
            self.start = self.pos;
            if self.mode == Mode::Duration || self.peek() != Some('#') {
                break;
            }
            self.accept_run(|c| !matches!(c, '\n' | '\r'));
        }
        match self.mode {
            Mode::Braces => self.inside_braces(),
            Mode::Duration => self.inside_brackets(),
            Mode::Statements => self.statement(),
        }
    }

    fn statement(&mut self) -> Result<Item<'t>, Wrong> {
        let Some(next) = self.advance() else {
            return match (self.depth, self.bracket) {
                (0, false) => Ok(self.emit(Kind::Eof)),
                (0, true) => self.wrong("unclosed left bracket"),
                _ => self.wrong("unclosed left parenthesis"),
            };
        };
        match next {
            ',' => Ok(self.emit(Kind::Comma)),
            '*' | '/' | '%' | '+' | '-' | '^' => Ok(self.emit(Kind::Operator)),
            '=' => match self.peek() {
                Some('=') => {
                    self.advance();
                    Ok(self.emit(Kind::Operator))
                }
                Some('~') => self.wrong("unexpected character after '=': '~'"),
                Some(_) | None => Ok(self.emit(Kind::Assign)),
            },
            '!' => match self.advance() {
                Some('=') => Ok(self.emit(Kind::Operator)),
                other => self.wrong(format!("unexpected character after '!': {}", character(other))),
            },
            '<' | '>' if self.peek() == Some('/') => self.wrong(TRIMMING),
            '<' | '>' => {
                self.accept(|c| c == '=');
                Ok(self.emit(Kind::Operator))
            }
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit())) => self.number(),
            '"' | '\'' => self.text(next),
            '`' => self.raw_text(),
            c if is_alpha(c) || c == ':' => self.word(c),
            '(' => {
                self.depth += 1;
                Ok(self.emit(Kind::LeftParen))
            }
            ')' => self.closed(),
            '{' => {
                self.mode = Mode::Braces;
                Ok(self.emit(Kind::LeftBrace))
            }
            '[' if self.bracket => self.wrong("unexpected left bracket '['"),
            '[' => {
                (self.bracket, self.colon, self.duration, self.mode) = (true, false, false, Mode::Duration);
                Ok(self.emit(Kind::LeftBracket))
            }
            ']' if !self.bracket => self.wrong("unexpected right bracket ']'"),
            ']' => {
                self.bracket = false;
                Ok(self.emit(Kind::RightBracket))
            }
            '@' => Ok(self.emit(Kind::At)),
            other => self.wrong(format!("unexpected character: {}", character(Some(other)))),
        }
    }

    fn closed(&mut self) -> Result<Item<'t>, Wrong> {
        let item = self.emit(Kind::RightParen);
        self.depth -= 1;
        if self.depth < 0 { self.wrong("unexpected right parenthesis ')'") } else { Ok(item) }
    }

    /// A word of letters, or a colon, of which the first character has been taken.
    fn word(&mut self, first: char) -> Result<Item<'t>, Wrong> {
        if self.bracket {
            return match first {
                ':' if self.colon => self.wrong("unexpected colon ':'"),
                ':' => {
                    self.colon = true;
                    Ok(self.emit(Kind::Colon))
                }
                other => self.wrong(format!("unexpected character: {}, expected ':'", character(Some(other)))),
            };
        }
        self.accept_run(|c| is_alphanumeric(c) || c == ':');
        let word = self.input[self.start..self.pos].to_ascii_lowercase();
        let among = |words: &[&str]| words.contains(&word.as_str());
        let before_paren = || self.input[self.pos..].trim_start_matches(is_space).starts_with('(');
        let kind = if among(&AGGREGATORS) {
            Kind::Aggregator
        } else if among(&KEYWORDS) || (among(&FILLS) && before_paren()) {
            Kind::Keyword
        } else if among(&WORD_OPERATORS) {
            Kind::Operator
        } else if among(&PREPROCESSORS) {
            Kind::Preprocessor
        } else if among(&["inf", "nan"]) {
            Kind::Number
        } else if word.contains(':') {
            Kind::MetricIdentifier
        } else {
            Kind::Identifier
        };
        Ok(self.emit(kind))
    }

    fn inside_braces(&mut self) -> Result<Item<'t>, Wrong> {
        let Some(next) = self.advance() else { return self.wrong("unexpected end of input inside braces") };
        match next {
            c if is_alpha(c) => {
                self.accept_run(is_alphanumeric);
                Ok(self.emit(Kind::Identifier))
            }
            ',' => Ok(self.emit(Kind::Comma)),
            '"' | '\'' => self.text(next),
            '`' => self.raw_text(),
            '=' if self.accept(|c| c == '~') => Ok(self.emit(Kind::Operator)),
            '=' => Ok(self.emit(Kind::Assign)),
            '!' => match self.advance() {
                Some('~' | '=') => Ok(self.emit(Kind::Operator)),
                other => self.wrong(format!("unexpected character after '!' inside braces: {}", character(other))),
            },
            '{' => self.wrong("unexpected left brace '{'"),
            '}' => {
                self.mode = Mode::Statements;
                Ok(self.emit(Kind::RightBrace))
            }
            other => self.wrong(format!("unexpected character inside braces: {}", character(Some(other)))),
        }
    }

    fn inside_brackets(&mut self) -> Result<Item<'t>, Wrong> {
        let Some(next) = self.advance() else { return self.wrong("unexpected end of input in duration expression") };
        match next {
            ']' => {
                (self.bracket, self.colon, self.mode) = (false, false, Mode::Statements);
                Ok(self.emit(Kind::RightBracket))
            }
            ':' => {
                let item = self.emit(Kind::Colon);
                if !self.duration {
                    return self.wrong("unexpected colon before duration in duration expression");
                }
                if self.colon {
                    return self.wrong("unexpected repeated colon in duration expression");
                }
                self.colon = true;
                Ok(item)
            }
            '(' => {
                self.depth += 1;
                Ok(self.emit(Kind::LeftParen))
            }
            ')' => self.closed(),
            '+' | '-' | '*' | '/' | '%' | '^' => Ok(self.emit(Kind::Operator)),
            ',' => Ok(self.emit(Kind::Comma)),
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit())) => {
                (self.duration, self.mode) = (true, Mode::Statements);
                self.number()
            }
            's' | 'S' | 'm' | 'M' | 'r' | 'R' => {
                self.accept_run(is_alpha);
                let word = self.input[self.start..self.pos].to_ascii_lowercase();
                match word.as_str() {
                    "step" | "range" => Ok(self.emit(Kind::Preprocessor)),
                    "min" | "max" => Ok(self.emit(Kind::Aggregator)),
                    _ => self.wrong(format!("unexpected character in duration expression: {}", character(Some(next)))),
                }
            }
            other => self.wrong(format!("unexpected character in duration expression: {}", character(Some(other)))),
        }
    }

    /// A number or a duration of which the first character has been taken.
    fn number(&mut self) -> Result<Item<'t>, Wrong> {
        self.pos = self.start;
        if self.is_number() {
            return Ok(self.emit(Kind::Number));
        }
        if self.is_duration() {
            return Ok(self.emit(Kind::Duration));
        }
        self.wrong(format!("bad number or duration syntax: {}", quoted(&self.input[self.start..self.pos])))
    }

    /// The rest of a duration after its first digits. A character that must not follow is taken too.
    fn is_duration(&mut self) -> bool {
        if !self.accept(|c| "smhdwy".contains(c)) {
            return false;
        }
        self.accept(|c| c == 's');
        while self.accept(|c| c.is_ascii_digit()) {
            self.accept_run(|c| c.is_ascii_digit());
            if !self.accept(|c| "smhdw".contains(c)) {
                return false;
            }
            self.accept(|c| c == 's');
        }
        // What follows is shown where it makes a word of it.
        !self.accept(is_alphanumeric)
    }

    /// Decimal, hexadecimal, with point, exponent and underscores; what else may follow in a number is left to who reads it.
    fn is_number(&mut self) -> bool {
        let hexadecimal = self.input[self.pos..].starts_with("0x") || self.input[self.pos..].starts_with("0X");
        if hexadecimal {
            self.pos += 2;
            self.accept(|c| c == '_');
        } else {
            self.accept(|c| c == '.');
        }
        let digit = |c: char| if hexadecimal { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
        let (mut point, mut exponent) = (self.input[self.start..self.pos].ends_with('.'), false);
        loop {
            match self.peek() {
                Some(c) if digit(c) => self.accept_run(digit),
                Some('.') => {
                    self.advance();
                    if std::mem::replace(&mut point, true) || hexadecimal || self.accept(|c| matches!(c, '_' | '.')) {
                        return false;
                    }
                }
                Some('e' | 'E') => {
                    self.advance();
                    if std::mem::replace(&mut exponent, true) {
                        return false;
                    }
                    self.accept(|c| matches!(c, '+' | '-'));
                    if self.accept(|c| matches!(c, '.' | '_' | 'e' | 'E')) || self.peek().is_none() {
                        return false;
                    }
                }
                Some('_') => {
                    self.advance();
                    if self.accept(|c| matches!(c, '.' | '_' | 'e' | 'E')) || self.peek().is_none() {
                        return false;
                    }
                }
                other => return !other.is_some_and(is_alphanumeric),
            }
        }
    }

    /// A text of which the opening quote has been taken.
    fn text(&mut self, quote: char) -> Result<Item<'t>, Wrong> {
        loop {
            match self.advance() {
                Some('\\') => self.escaped(quote)?,
                None | Some('\n') => return self.wrong("unterminated quoted string"),
                Some(c) if c == quote => return Ok(self.emit(Kind::Text)),
                Some(_) => {}
            }
        }
    }

    fn raw_text(&mut self) -> Result<Item<'t>, Wrong> {
        loop {
            match self.advance() {
                None => return self.wrong("unterminated raw string"),
                Some('`') => return Ok(self.emit(Kind::Text)),
                Some(_) => {}
            }
        }
    }

    /// An escape of which the backslash has been taken.
    fn escaped(&mut self, quote: char) -> Result<(), Wrong> {
        let number = |c: char| format!("U+{:04X} '{c}'", c as u32);
        let (mut digits, base, most) = match self.advance() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some('0'..='7') => {
                self.pos -= 1;
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, 0x0010_FFFF),
            Some('U') => (8, 16, 0x0010_FFFF),
            None => return self.wrong("escape sequence not terminated"),
            Some(other) => return self.wrong(format!("unknown escape sequence {}", number(other))),
        };
        let mut value: u64 = 0;
        while digits > 0 {
            match self.advance() {
                None => return self.wrong("escape sequence not terminated"),
                Some(c) => match c.to_digit(base) {
                    Some(digit) => value = value * u64::from(base) + u64::from(digit),
                    None => return self.wrong(format!("illegal character {} in escape sequence", number(c))),
                },
            }
            digits -= 1;
        }
        if value > most || (0xD800..0xE000).contains(&value) {
            return self.wrong("escape sequence is an invalid Unicode code point");
        }
        Ok(())
    }
}
