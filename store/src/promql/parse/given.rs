//! The text as the crate `promql-parser` is given it: the same expression in words that it knows. It takes backslashes in raw strings for
//! escapes, patterns for the crate `regex`'s, and refuses `anchored` and `smoothed` as names, durations of zero and the label matchers
//! of `info` that may match nothing. In: a text and what was noted of it; out: another text, and a way back in the tree that was
//! read of it. Pure.

use promql_parser::label::{Labels, MatchOp, Matcher};
use promql_parser::parser::{Expr, LabelModifier, VectorMatchCardinality, VectorSelector};
use promql_parser::util::escape_string;

/// Something in a text that the crate must be given in other words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// What it is.
    pub what: What,
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// What is noted of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A raw string, with what stands in it.
    Raw(String),
    /// A keyword that is a name here.
    Name(String),
    /// A pattern in quotes, with what stands in them.
    Pattern(String),
    /// The brace that opens label matchers without a name before them.
    Matchers,
    /// A duration of nothing.
    Zero,
    /// A unary plus.
    Plus,
}

/// What becomes of a unary plus, for which the crate has no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pluses {
    /// It goes.
    Dropped,
    /// It is read as a minus; who asks knows which are none.
    AsMinus,
}

/// A text for the crate.
#[derive(Debug)]
pub struct Given {
    /// The text.
    pub text: String,
    /// What all stand-ins begin with; it does not stand in the user's text.
    prefix: String,
    /// What each stand-in stands for.
    meant: Vec<String>,
}

impl Given {
    /// The text with all that was noted of it in other words.
    pub fn new(text: &str, mut notes: Vec<Noted>, pluses: Pluses) -> Self {
        // Short whatever the text is, and no text holds its own hash, escaped or not.
        let prefix = format!("given{:016x}_", xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        let mut given = Given { text: String::with_capacity(text.len() + 16), prefix, meant: Vec::new() };
        notes.sort_by_key(|note| note.start);
        let mut done = 0;
        for Noted { what, start, end } in notes {
            let Some(between) = text.get(done..start) else { continue };
            given.text.push_str(between);
            done = end;
            match what {
                What::Raw(meant) => given.text.push_str(&format!("\"{}\"", escape_string(&meant))),
                What::Name(meant) => given.stand_in("", meant),
                What::Pattern(meant) => given.stand_in("\"", meant),
                What::Matchers => given.text.push_str(&format!("{{{}!=\"\",", given.prefix)),
                What::Zero => given.text.push('0'),
                What::Plus if pluses == Pluses::AsMinus => given.text.push('-'),
                What::Plus => given.text.push('+'),
            }
        }
        given.text.push_str(text.get(done..).unwrap_or(""));
        given
    }

    fn stand_in(&mut self, quote: &str, meant: String) {
        self.text.push_str(&format!("{quote}{}{}{quote}", self.prefix, self.meant.len()));
        self.meant.push(meant);
    }

    /// Puts what was meant in the place of what was given.
    pub fn restore(&self, expr: &mut Expr) {
        match expr {
            Expr::Paren(of) => self.restore(&mut of.expr),
            Expr::Unary(of) => self.restore(&mut of.expr),
            Expr::Subquery(of) => self.restore(&mut of.expr),
            Expr::Binary(of) => {
                self.restore(&mut of.lhs);
                self.restore(&mut of.rhs);
                if let Some(modifier) = &mut of.modifier {
                    self.modifier(&mut modifier.matching);
                    match &mut modifier.card {
                        VectorMatchCardinality::ManyToOne(labels) | VectorMatchCardinality::OneToMany(labels) => self.labels(labels),
                        VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => {}
                    }
                }
            }
            Expr::Aggregate(of) => {
                of.param.iter_mut().for_each(|param| self.restore(param));
                self.restore(&mut of.expr);
                self.modifier(&mut of.modifier);
            }
            Expr::Call(of) => of.args.args.iter_mut().for_each(|arg| self.restore(arg)),
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&mut matrix.vs),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }

    fn selector(&self, selector: &mut VectorSelector) {
        selector.name.iter_mut().for_each(|name| self.word(name));
        let marks = |matcher: &Matcher| matcher.name == self.prefix;
        selector.matchers.matchers.retain(|matcher| !marks(matcher));
        for matcher in &mut selector.matchers.matchers {
            match matcher.op {
                MatchOp::Re(_) | MatchOp::NotRe(_) => self.word(&mut matcher.value),
                MatchOp::Equal | MatchOp::NotEqual => {}
            }
        }
    }

    fn modifier(&self, modifier: &mut Option<LabelModifier>) {
        match modifier {
            Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) => self.labels(labels),
            None => {}
        }
    }

    fn labels(&self, labels: &mut Labels) {
        labels.labels.iter_mut().for_each(|label| self.word(label));
    }

    fn word(&self, word: &mut String) {
        let number = word.strip_prefix(&self.prefix).and_then(|number| number.parse::<usize>().ok());
        if let Some(meant) = number.and_then(|number| self.meant.get(number)) {
            word.clone_from(meant);
        }
    }
}
