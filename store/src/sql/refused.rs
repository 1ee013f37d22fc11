//! Why a statement is refused: one sentence each, for the one who wrote it.

use super::guard::TABLES;

/// Why a statement is not run: one sentence that says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlRefused {
    /// Not a question.
    #[error("a statement must begin with SELECT or WITH: nothing else is run here")]
    NotSelect,
    /// Too much.
    #[error("the statement is longer than 256 KiB: ask for less at a time")]
    Long,
    /// More than one.
    #[error("send one statement at a time: there is more text after a semicolon")]
    Several,
    /// Quotes or a comment.
    #[error("a {what} has no end")]
    Unfinished {
        /// text, name or comment
        what: &'static str,
    },
    /// Parentheses.
    #[error("the parentheses and brackets do not match")]
    Parentheses,
    /// A sign.
    #[error("`{sign}` cannot be read outside quotes: use plain words, numbers, operators and texts in single quotes")]
    Sign {
        /// Which one.
        sign: String,
    },
    /// A clause.
    #[error("{clause} is not allowed here: {why}")]
    Clause {
        /// Its words.
        clause: &'static str,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// A keyword as a name.
    #[error("`{word}` cannot stand here or be a name: choose another alias")]
    Keyword {
        /// Which one.
        word: String,
    },
    /// A table.
    #[error("`{table}` is not a table that can be read here: use one of {}, or a subquery", TABLES.join(", "))]
    Table {
        /// What stands there.
        table: String,
    },
    /// A function.
    #[error("the function `{function}` cannot be called here")]
    Function {
        /// Its name.
        function: String,
    },
    /// A name.
    #[error("`{name}` cannot be read here")]
    Name {
        /// As written.
        name: String,
    },
}
