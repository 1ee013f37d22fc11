//! The check: pure. In: a statement. Out: the statement, to be sent, or one sentence. It is no grammar of ClickHouse's SELECT; it
//! finds every place where a table can stand, every call and every clause that does more than read, and where ClickHouse might see
//! such a place that it does not see, it refuses.

mod words;

use super::functions;
use super::refused::SqlRefused;
use super::tokens::{self, Token};
use words::{BEFORE_PARENTHESIS, CLAUSES, MAKERS, PARTS};
pub use words::{INTERNAL, TABLES};

/// The longest statement, in bytes: ClickHouse's own limit.
const LONGEST: usize = 262_144;

/// A statement that may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    statement: String,
}

impl Checked {
    /// What is sent: the statement without comments.
    pub fn statement(&self) -> &str {
        &self.statement
    }
}

/// Where in a SELECT the words of one pair of parentheses are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Not where tables stand.
    Elsewhere,
    /// After FROM or JOIN: a comma is followed by a table.
    Tables,
    /// After ARRAY JOIN: a comma is followed by an expression.
    Arrays,
}

struct Frame {
    part: Part,
    /// Names of WITH queries that can be read here.
    named: Vec<String>,
    /// The name that the query in these parentheses gets where they close.
    names: Option<String>,
}

struct Guard<'a> {
    tokens: &'a [Token],
    database: &'a str,
    frames: Vec<Frame>,
}

/// Checks a statement. `database` may stand before a table's name.
pub fn check(statement: &str, database: &str) -> Result<Checked, SqlRefused> {
    if statement.len() > LONGEST {
        return Err(SqlRefused::Long);
    }
    let read = tokens::read(statement)?;
    let mut guard = Guard { tokens: &read.tokens, database, frames: vec![Frame { part: Part::Elsewhere, named: Vec::new(), names: None }] };
    if !guard.word_at(0, "SELECT") && !guard.word_at(0, "WITH") {
        return Err(SqlRefused::NotSelect);
    }
    for at in 0..read.tokens.len() {
        guard.step(at)?;
    }
    if guard.frames.len() != 1 {
        return Err(SqlRefused::Parentheses);
    }
    Ok(Checked { statement: read.text.trim().to_owned() })
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|other| other.eq_ignore_ascii_case(word))
}

impl<'a> Guard<'a> {
    fn sign_at(&self, at: usize, sign: char) -> bool {
        self.tokens.get(at) == Some(&Token::Sign(sign))
    }

    /// Whether a bare word that is no part of a dotted name stands there.
    fn word_at(&self, at: usize, word: &str) -> bool {
        matches!(self.tokens.get(at), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word)) && !self.is_dotted(at)
    }

    fn name_at(&self, at: usize) -> Option<&'a str> {
        match self.tokens.get(at) {
            Some(Token::Word(name) | Token::Quoted(name)) => Some(name),
            Some(Token::Text | Token::Number | Token::Sign(_)) | None => None,
        }
    }

    fn is_dotted(&self, at: usize) -> bool {
        at > 0 && self.sign_at(at - 1, '.')
    }

    fn part(&mut self, part: Part) {
        if let Some(frame) = self.frames.last_mut() {
            frame.part = part;
        }
    }

    fn step(&mut self, at: usize) -> Result<(), SqlRefused> {
        match &self.tokens[at] {
            Token::Text | Token::Number => Ok(()),
            Token::Quoted(name) => {
                if is_one_of(name, &PARTS) {
                    return Err(SqlRefused::Keyword { word: name.clone() });
                }
                self.name(at, name)
            }
            Token::Word(word) if self.is_dotted(at) => self.name(at, word),
            Token::Word(word) => {
                self.name(at, word)?;
                self.clause(at, word)?;
                self.keyword(at, word)
            }
            Token::Sign('(' | '[') => {
                let names = self.named_query(at);
                self.frames.push(Frame { part: Part::Elsewhere, named: Vec::new(), names });
                Ok(())
            }
            Token::Sign(')' | ']') => {
                let closed = self.frames.pop();
                let outer = self.frames.last_mut().ok_or(SqlRefused::Parentheses)?;
                outer.named.extend(closed.and_then(|frame| frame.names));
                Ok(())
            }
            Token::Sign(',') if self.frames.last().is_some_and(|frame| frame.part == Part::Tables) => self.table(at + 1),
            Token::Sign(_) => Ok(()),
        }
    }

    /// What holds for every name and word, wherever it stands.
    fn name(&self, at: usize, name: &str) -> Result<(), SqlRefused> {
        let refused = || Err(SqlRefused::Name { name: name.to_owned() });
        if is_one_of(name, &INTERNAL) || name.to_ascii_lowercase().starts_with(".inner") {
            return refused();
        }
        if is_one_of(name, &["system", "information_schema"]) && self.sign_at(at + 1, '.') {
            return refused();
        }
        if !self.sign_at(at + 1, '(') {
            return Ok(());
        }
        let bare = matches!(self.tokens[at], Token::Word(_)) && !self.is_dotted(at);
        let called = !bare || !is_one_of(name, &BEFORE_PARENTHESIS);
        if called && !(bare && (functions::is_allowed(name) || is_one_of(name, &MAKERS) && self.is_table_place(at))) {
            return Err(SqlRefused::Function { function: name.to_owned() });
        }
        Ok(())
    }

    fn is_table_place(&self, at: usize) -> bool {
        let in_list = self.frames.last().is_some_and(|frame| frame.part == Part::Tables) && at > 0 && self.sign_at(at - 1, ',');
        in_list || at > 0 && (self.word_at(at - 1, "FROM") || self.word_at(at - 1, "JOIN") && !(at > 1 && self.word_at(at - 2, "ARRAY")))
    }

    fn clause(&self, at: usize, word: &str) -> Result<(), SqlRefused> {
        // format(...) is a function, and was checked as one.
        if word.eq_ignore_ascii_case("FORMAT") && self.sign_at(at + 1, '(') {
            return Ok(());
        }
        match CLAUSES.iter().find(|(clause, _)| clause.eq_ignore_ascii_case(word)) {
            Some((clause, why)) => Err(SqlRefused::Clause { clause, why }),
            None => Ok(()),
        }
    }

    /// Follows the parts of a SELECT.
    fn keyword(&mut self, at: usize, word: &str) -> Result<(), SqlRefused> {
        let upper = word.to_ascii_uppercase();
        if at > 0 && self.word_at(at - 1, "AS") && is_one_of(word, &PARTS) {
            return Err(SqlRefused::Keyword { word: word.to_owned() });
        }
        match upper.as_str() {
            "FROM" => {
                self.part(Part::Tables);
                self.table(at + 1)
            }
            "JOIN" if at > 0 && self.word_at(at - 1, "ARRAY") => Ok(()),
            "JOIN" => {
                self.part(Part::Tables);
                self.table(at + 1)
            }
            "ARRAY" if self.word_at(at + 1, "JOIN") => {
                self.ends_an_expression(at, &["LEFT", "INNER"])?;
                self.part(Part::Arrays);
                Ok(())
            }
            // WINDOW is a clause only before `name AS (`; elsewhere it may be an alias, which ends nothing.
            "WINDOW" if !(self.word_at(at + 2, "AS") && self.sign_at(at + 3, '(')) => Ok(()),
            "WHERE" | "GROUP" | "ORDER" | "HAVING" | "QUALIFY" | "WINDOW" | "LIMIT" | "UNION" | "INTERSECT" | "EXCEPT" => {
                if self.frames.last().is_some_and(|frame| frame.part != Part::Elsewhere) {
                    self.ends_an_expression(at, &[])?;
                    self.begins_an_expression(at)?;
                    self.part(Part::Elsewhere);
                }
                Ok(())
            }
            "IN" => {
                // Without a left side it is the function of that name, whose second argument may be a table.
                let operator = at - usize::from(at > 0 && (self.word_at(at - 1, "NOT") || self.word_at(at - 1, "GLOBAL")));
                let operator = operator - usize::from(operator > 0 && self.word_at(operator - 1, "GLOBAL"));
                if !self.follows_an_operand(operator) {
                    return Err(SqlRefused::Function { function: word.to_owned() });
                }
                self.right_of_in(at + 1)
            }
            _ => Ok(()),
        }
    }

    /// Whether an operand ends before this place, so that the word here joins on to it and is no operand itself.
    fn follows_an_operand(&self, at: usize) -> bool {
        match at.checked_sub(1).and_then(|before| self.tokens.get(before)) {
            Some(Token::Quoted(_) | Token::Text | Token::Number | Token::Sign(')' | ']')) => true,
            Some(Token::Word(before)) => {
                let joint = is_one_of(before, &BEFORE_PARENTHESIS) || is_one_of(before, &PARTS);
                self.is_dotted(at - 1) || !joint || before.eq_ignore_ascii_case("FINAL")
            }
            Some(Token::Sign(_)) | None => false,
        }
    }

    /// Before a word that ends the list of tables there must be the end of a table or a condition: else it is itself an operand.
    fn ends_an_expression(&self, at: usize, or: &[&str]) -> Result<(), SqlRefused> {
        let joint = at.checked_sub(1).and_then(|before| self.name_at(before)).is_some_and(|before| is_one_of(before, or));
        if joint || self.follows_an_operand(at) { Ok(()) } else { Err(self.misplaced(at)) }
    }

    /// After such a word there must be what it applies to: else it is an alias, and the tables go on.
    fn begins_an_expression(&self, at: usize) -> Result<(), SqlRefused> {
        let begins = match self.tokens.get(at + 1) {
            Some(Token::Quoted(_) | Token::Text | Token::Number | Token::Sign('(' | '[' | '-' | '*' | ':')) => true,
            Some(Token::Word(next)) => {
                let grouped = self.word_at(at, "GROUP") || self.word_at(at, "ORDER");
                let query = is_one_of(next, &["SELECT", "WITH", "ALL", "DISTINCT"]);
                let modifiers =
                    ["SAMPLE", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "ASOF", "ANTI", "SEMI", "ANY", "GLOBAL", "PASTE", "NATURAL"];
                if grouped {
                    next.eq_ignore_ascii_case("BY")
                } else {
                    query || !is_one_of(next, &PARTS) && (!is_one_of(next, &modifiers) || self.sign_at(at + 2, '('))
                }
            }
            Some(Token::Sign(_)) | None => false,
        };
        if begins { Ok(()) } else { Err(self.misplaced(at)) }
    }

    fn misplaced(&self, at: usize) -> SqlRefused {
        SqlRefused::Keyword { word: self.name_at(at).unwrap_or_default().to_owned() }
    }

    /// A place where a table stands.
    fn table(&self, at: usize) -> Result<(), SqlRefused> {
        // Parentheses may hold a list of joins as well: only queries are let in.
        let inner = (at..self.tokens.len()).find(|at| !self.sign_at(*at, '(')).unwrap_or(self.tokens.len());
        if inner > at {
            let query = self.word_at(inner, "SELECT") || self.word_at(inner, "WITH");
            let table = || format!("({}", self.name_at(inner).unwrap_or_default());
            return if query { Ok(()) } else { Err(SqlRefused::Table { table: table() }) };
        }
        let unknown = |table: &str| Err(SqlRefused::Table { table: table.to_owned() });
        let Some(first) = self.name_at(at) else { return unknown("") };
        if self.sign_at(at + 1, '.') {
            let table = self.name_at(at + 2).unwrap_or_default();
            let known = first == self.database && TABLES.contains(&table) && !self.sign_at(at + 3, '.') && !self.sign_at(at + 3, '(');
            return if known { Ok(()) } else { unknown(&format!("{first}.{table}")) };
        }
        if self.sign_at(at + 1, '(') {
            let maker = matches!(self.tokens[at], Token::Word(_)) && is_one_of(first, &MAKERS);
            return if maker { Ok(()) } else { unknown(&format!("{first}()")) };
        }
        let known = TABLES.contains(&first) || self.frames.iter().any(|frame| frame.named.iter().any(|name| name == first));
        if known { Ok(()) } else { unknown(first) }
    }

    /// `IN name` and `IN (name)` read a table: a bare name can only be one of this database, a dotted one must be known.
    fn right_of_in(&self, at: usize) -> Result<(), SqlRefused> {
        let first = (at..self.tokens.len()).find(|at| !self.sign_at(*at, '(')).unwrap_or(self.tokens.len());
        let is_query = self.word_at(first, "SELECT") || self.word_at(first, "WITH");
        if is_query || self.name_at(first).is_none() || self.sign_at(first + 1, '(') {
            return Ok(());
        }
        let literal = ["NULL", "TRUE", "FALSE", "NOT", "CASE", "INTERVAL", "DATE", "TIMESTAMP"];
        if self.name_at(first).is_some_and(|name| is_one_of(name, &literal)) && first > at {
            return Ok(());
        }
        self.table(first)
    }

    /// The name before `AS (` where a query follows: that of a WITH query.
    fn named_query(&self, at: usize) -> Option<String> {
        let query = self.word_at(at + 1, "SELECT") || self.word_at(at + 1, "WITH") || self.sign_at(at + 1, '(');
        let mut before = at.checked_sub(1)?;
        if self.word_at(before, "MATERIALIZED") {
            before = before.checked_sub(1)?;
        }
        let name = before.checked_sub(1)?;
        let named = query && self.word_at(before, "AS") && !self.is_dotted(name);
        named.then(|| self.name_at(name)).flatten().map(str::to_owned)
    }
}

#[cfg(test)]
#[path = "guard/tests.rs"]
mod tests;
