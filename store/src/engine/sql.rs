//! Just enough of ClickHouse's lexical grammar to know what a statement is before the engine sees it: where the data of an INSERT
//! begins, which format an answer has, whether a text holds two statements. Pure; works on bytes, because data may follow.

/// One lexical element: a word, a quoted text or a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    kind: Kind,
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A bare word or number.
    Word,
    /// A text in quotes of any kind.
    Quoted,
    /// Any other byte.
    Sign(u8),
    /// A quote or comment that does not end.
    Broken,
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

impl<'a> Lexer<'a> {
    fn new(text: &'a [u8]) -> Self {
        Lexer { text, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// Skips blanks and comments; false when a comment does not end.
    fn skip_blanks(&mut self) -> bool {
        loop {
            let rest = self.rest();
            if rest.first().is_some_and(u8::is_ascii_whitespace) || rest.first() == Some(&0x0B) {
                self.at += 1;
            } else if rest.starts_with(b"--") || rest.starts_with(b"#!") || rest.starts_with(b"# ") {
                match rest.iter().position(|byte| *byte == b'\n') {
                    Some(end) => self.at += end + 1,
                    None => self.at = self.text.len(),
                }
            } else if rest.starts_with(b"/*") {
                match rest.windows(2).skip(2).position(|pair| pair == b"*/") {
                    Some(end) => self.at += end + 4,
                    None => return false,
                }
            } else {
                return true;
            }
        }
    }

    /// The end of a quoted text that begins here: backslash escapes, and a doubled quote stands for itself.
    fn quoted(&self, quote: u8) -> Option<usize> {
        let mut at = self.at + 1;
        while let Some(byte) = self.text.get(at) {
            match *byte {
                b'\\' => at += 2,
                byte if byte == quote && self.text.get(at + 1) == Some(&quote) => at += 2,
                byte if byte == quote => return Some(at + 1),
                _ => at += 1,
            }
        }
        None
    }

    /// The end of a heredoc (`$tag$ ... $tag$`) that begins here, if one does.
    fn heredoc(&self) -> Option<Option<usize>> {
        let rest = self.rest();
        let tag = 2 + rest.get(1..)?.iter().position(|byte| *byte == b'$')?;
        if !rest[1..tag - 1].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            return None;
        }
        let (opening, body) = rest.split_at(tag);
        Some(body.windows(tag).position(|window| window == opening).map(|end| self.at + tag + end + tag))
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let whole = self.skip_blanks();
        let start = self.at;
        let broken = Token { kind: Kind::Broken, start, end: self.text.len() };
        let Some(first) = self.text.get(start).copied() else { return (!whole).then_some(broken) };
        let token = match first {
            _ if !whole => broken,
            b'\'' | b'"' | b'`' => self.quoted(first).map_or(broken, |end| Token { kind: Kind::Quoted, start, end }),
            b'$' if self.heredoc().is_some() => self.heredoc().flatten().map_or(broken, |end| Token { kind: Kind::Quoted, start, end }),
            byte if is_word_byte(byte) => {
                let end = self.rest().iter().position(|byte| !is_word_byte(*byte)).map_or(self.text.len(), |length| start + length);
                Token { kind: Kind::Word, start, end }
            }
            byte => Token { kind: Kind::Sign(byte), start, end: start + 1 },
        };
        self.at = token.end;
        Some(token)
    }
}

/// What a statement is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing but blanks and comments.
    Empty,
    /// Begins as a SELECT does (`SELECT`, `WITH`, a bracket).
    Select,
    /// An INSERT that data follows.
    InsertData {
        /// The statement is the text up to here, without the clause that announces the data.
        statement_end: usize,
        /// The data's format.
        format: String,
        /// The data is the text from here on.
        data_start: usize,
    },
    /// Changes the session only: `SET`, `USE`, `CREATE TEMPORARY ...`.
    Session,
    /// Anything else, also an INSERT that reads its rows from a query.
    Other,
    /// More text is needed to tell.
    Unfinished,
}

/// Tells what a statement is. `complete` says that no text follows.
pub fn shape(text: &[u8], complete: bool) -> Shape {
    let mut tokens = Lexer::new(text);
    let is = |token: &Token, word: &str| token.kind == Kind::Word && text[token.start..token.end].eq_ignore_ascii_case(word.as_bytes());
    let Some(first) = tokens.next() else { return if complete { Shape::Empty } else { Shape::Unfinished } };
    if !complete && first.end == text.len() {
        return Shape::Unfinished;
    }
    if is(&first, "insert") {
        return insert(text, tokens, complete);
    }
    if is(&first, "select") || is(&first, "with") || first.kind == Kind::Sign(b'(') {
        return Shape::Select;
    }
    let second = tokens.next();
    let temporary = is(&first, "create") && second.is_some_and(|token| is(&token, "temporary"));
    if is(&first, "set") || is(&first, "use") || temporary { Shape::Session } else { Shape::Other }
}

fn insert(text: &[u8], mut tokens: Lexer<'_>, complete: bool) -> Shape {
    let undecided = if complete { Shape::Other } else { Shape::Unfinished };
    let word = |token: Token| text[token.start..token.end].to_ascii_lowercase();
    let (mut depth, mut opened, mut named, mut dotted) = (0usize, false, false, false);
    while let Some(token) = tokens.next() {
        let (after_bracket, after_dot) = (std::mem::take(&mut opened), std::mem::take(&mut dotted));
        match token.kind {
            Kind::Broken => return undecided,
            Kind::Sign(b'(') => {
                depth += 1;
                opened = true;
            }
            Kind::Sign(b')') => depth = depth.saturating_sub(1),
            Kind::Word if !complete && token.end == text.len() => return Shape::Unfinished,
            Kind::Word if depth > 0 => {
                if depth == 1 && after_bracket && matches!(word(token).as_slice(), b"select" | b"with") {
                    return Shape::Other;
                }
            }
            Kind::Word if after_dot => named = true,
            Kind::Word => match word(token).as_slice() {
                b"into" | b"table" | b"function" if !named => {}
                b"values" if named => {
                    return Shape::InsertData { statement_end: token.start, format: "Values".to_owned(), data_start: token.end };
                }
                b"format" if named => return announced(text, token, tokens, complete),
                b"select" | b"with" | b"from" | b"watch" | b"explain" if named => return Shape::Other,
                _ => named = true,
            },
            Kind::Quoted => named = true,
            Kind::Sign(sign) => dotted = sign == b'.',
        }
    }
    undecided
}

/// After `FORMAT`: a name, perhaps `;`, blanks, one line end, and then the data.
fn announced(text: &[u8], keyword: Token, mut tokens: Lexer<'_>, complete: bool) -> Shape {
    let undecided = if complete { Shape::Other } else { Shape::Unfinished };
    let Some(name) = tokens.next().filter(|token| token.kind == Kind::Word) else { return undecided };
    let mut at = name.end;
    while text.get(at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | 0x0C | b';')) {
        at += 1;
    }
    at += usize::from(text.get(at) == Some(&b'\r'));
    at += usize::from(text.get(at) == Some(&b'\n'));
    if at >= text.len() && !complete {
        return Shape::Unfinished;
    }
    let format = String::from_utf8_lossy(&text[name.start..name.end]).into_owned();
    Shape::InsertData { statement_end: keyword.start, format, data_start: at }
}

/// The format that a query's own `FORMAT` clause names.
pub fn format_clause(sql: &str) -> Option<&str> {
    let (mut depth, mut found, mut expecting) = (0usize, None, false);
    for token in Lexer::new(sql.as_bytes()) {
        let text = &sql[token.start..token.end];
        match token.kind {
            Kind::Sign(b'(') => depth += 1,
            Kind::Sign(b')') => depth = depth.saturating_sub(1),
            Kind::Word if expecting => found = Some(text),
            Kind::Word | Kind::Quoted | Kind::Sign(_) | Kind::Broken => {}
        }
        expecting = depth == 0 && token.kind == Kind::Word && !expecting && text.eq_ignore_ascii_case("format");
    }
    found
}

/// Whether one of the words stands in a statement outside of quotes and comments.
pub fn has_word(sql: &str, words: &[&str]) -> bool {
    Lexer::new(sql.as_bytes())
        .filter(|token| token.kind == Kind::Word)
        .any(|token| words.iter().any(|word| sql[token.start..token.end].eq_ignore_ascii_case(word)))
}

/// The statements of a text, split at `;` outside of quotes and comments, without those that are empty.
pub fn split(sql: &str) -> Vec<&str> {
    let (mut statements, mut start, mut holds_something) = (Vec::new(), 0, false);
    for token in Lexer::new(sql.as_bytes()) {
        if token.kind != Kind::Sign(b';') {
            holds_something = true;
            continue;
        }
        if std::mem::take(&mut holds_something) {
            statements.push(sql[start..token.start].trim());
        }
        start = token.end;
    }
    if holds_something {
        statements.push(sql[start..].trim());
    }
    statements
}

#[cfg(test)]
mod tests;
