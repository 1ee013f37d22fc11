//! What Prometheus says of an expression that is none, and where the parts of one stand. Only for messages and places: the crate
//! `promql-parser` decides what an expression means. In: a text; out: its parts with their places, or the first thing that is wrong in
//! Prometheus's words. Pure.

use super::MAX_DEPTH;
use super::given::{Noted, What};
use super::lexer::{Item, Kind, Lexer, Wrong, quoted, unquoted};

/// Deeper trees are given up.
const DEEPEST: usize = MAX_DEPTH + 100;
/// The longest duration in seconds: a hundred years, so that sums of a few never overflow.
pub const LONGEST: f64 = 3_200_000_000.0;
/// What is said of longer ones.
pub const TOO_LONG: &str = "duration out of range (at most 100 years)";
/// What is said of `anchored` and `smoothed` behind an expression.
const MODIFIERS: &str = "the range modifiers anchored and smoothed are experimental in Prometheus and not supported";

/// What a part is.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// A number, or a duration in its place.
    Number,
    /// A text.
    Text,
    /// A series selector.
    Selector(Selector),
    /// A range vector selector; its child is the selector.
    Matrix,
    /// A subquery; its child is what is evaluated.
    Subquery,
    /// Something in parentheses.
    Paren,
    /// A sign before something; `+` changes nothing.
    Unary { plus: bool },
    /// Two sides.
    Binary(Binary),
    /// A parameter, where there is one, and what is aggregated.
    Aggregate { operator: String },
    /// The arguments.
    Call { function: String },
}

/// A series selector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector {
    /// The metric's name before the braces.
    pub name: Option<String>,
    /// Label, operator and text without its quotes.
    pub matchers: Vec<(String, String, String)>,
}

/// What stands between two sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// In small letters.
    pub operator: String,
    /// Where it stands, in bytes.
    pub at: usize,
    /// Whether `bool` follows.
    pub bool: bool,
    /// Whether the labels are those of `on`.
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// The labels of `group_left` or `group_right`, where one stands there.
    pub group: Option<Vec<String>>,
    /// Whether missing series are filled in.
    pub fill: bool,
}

/// A part with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// What it is.
    pub part: Part,
    /// Where it begins, in bytes.
    pub start: usize,
    /// Its parts in order of the text.
    pub children: Vec<Tree>,
    offset: bool,
    at: bool,
    height: usize,
}

impl Tree {
    fn new(part: Part, start: usize, children: Vec<Tree>) -> Self {
        let height = 1 + children.iter().map(|child| child.height).max().unwrap_or(0);
        Tree { part, start, children, offset: false, at: false, height }
    }
}

/// Why a text was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is no expression.
    Wrong(Wrong),
    /// It is too deep, or uses syntax that is not known here.
    GivenUp,
}

impl From<Wrong> for Unread {
    fn from(wrong: Wrong) -> Self {
        Unread::Wrong(wrong)
    }
}

type Read<T> = Result<T, Unread>;

/// Reads an expression, and notes what the crate must be given in other words. Types are not looked at.
pub fn read(text: &str) -> Read<(Tree, Vec<Noted>)> {
    let mut reader = Reader { lexer: Lexer::new(text), ahead: None, aggregations: 0, depth: 0, notes: Vec::new() };
    if reader.peek()?.kind == Kind::Eof {
        return wrong(0, "no expression found in input");
    }
    let tree = reader.expression(0)?;
    let rest = reader.peek()?;
    if rest.kind == Kind::Eof { Ok((tree, reader.notes)) } else { reader.unexpected(rest) }
}

fn wrong<T>(at: usize, message: impl Into<String>) -> Read<T> {
    Err(Unread::Wrong(Wrong { at, message: message.into() }))
}

struct Reader<'t> {
    lexer: Lexer<'t>,
    ahead: Option<Item<'t>>,
    /// How many aggregations are open.
    aggregations: usize,
    depth: usize,
    notes: Vec<Noted>,
}

/// How strongly an operator binds; `None` for what is none.
fn strength(item: &Item<'_>) -> Option<u8> {
    if item.kind != Kind::Operator {
        return None;
    }
    Some(match item.text.to_ascii_lowercase().as_str() {
        "or" => 1,
        "and" | "unless" => 2,
        "==" | "!=" | "<" | "<=" | ">" | ">=" => 3,
        "+" | "-" => 4,
        "*" | "/" | "%" | "atan2" => 5,
        "^" => 6,
        _ => return None,
    })
}

impl<'t> Reader<'t> {
    fn peek(&mut self) -> Read<Item<'t>> {
        match self.ahead {
            Some(item) => Ok(item),
            None => {
                let item = self.lexer.next()?;
                self.ahead = Some(item);
                if item.kind == Kind::Text && item.text.starts_with('`') {
                    self.note(item, What::Raw(unquoted(item.text)));
                }
                Ok(item)
            }
        }
    }

    fn take(&mut self) -> Read<Item<'t>> {
        let item = self.peek()?;
        self.ahead = None;
        Ok(item)
    }

    fn note(&mut self, item: Item<'_>, what: What) {
        self.notes.push(Noted { what, start: item.start, end: item.start + item.text.len() });
    }

    /// `anchored` and `smoothed` are modifiers where they do not stand in the place of a name.
    fn note_name(&mut self, item: Item<'_>) {
        if item.is("anchored") || item.is("smoothed") {
            self.note(item, What::Name(item.text.to_owned()));
        }
    }

    fn unexpected<T>(&self, item: Item<'_>) -> Read<T> {
        let place = if self.aggregations > 0 { " in aggregation" } else { "" };
        wrong(item.start, format!("unexpected {}{place}", item.described()))
    }

    fn unexpected_in<T>(&self, item: Item<'_>, place: &str, expected: &str) -> Read<T> {
        wrong(item.start, format!("unexpected {} in {place}, expected {expected}", item.described()))
    }

    fn expect(&mut self, kind: Kind) -> Read<Item<'t>> {
        let item = self.peek()?;
        if item.kind == kind { self.take() } else { self.unexpected(item) }
    }

    /// Operands joined by operators that bind at least so strongly.
    fn expression(&mut self, least: u8) -> Read<Tree> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Unread::GivenUp);
        }
        let mut left = self.operand()?;
        loop {
            let item = self.peek()?;
            let Some(strength) = strength(&item).filter(|strength| *strength >= least) else { break };
            self.take()?;
            let binary = self.modifiers(item)?;
            let right = self.expression(if item.text == "^" { strength } else { strength + 1 })?;
            let start = left.start;
            left = Tree::new(Part::Binary(binary), start, vec![left, right]);
            if left.height > DEEPEST {
                return Err(Unread::GivenUp);
            }
        }
        self.depth -= 1;
        Ok(left)
    }

    /// What may stand between an operator and its right side.
    fn modifiers(&mut self, operator: Item<'_>) -> Read<Binary> {
        let mut binary = Binary {
            operator: operator.text.to_ascii_lowercase(),
            at: operator.start,
            bool: false,
            on: false,
            labels: Vec::new(),
            group: None,
            fill: false,
        };
        let keyword = |item: &Item<'_>, words: &[&str]| item.kind == Kind::Keyword && words.iter().any(|word| item.is(word));
        if keyword(&self.peek()?, &["bool"]) {
            self.take()?;
            binary.bool = true;
        }
        if keyword(&self.peek()?, &["on", "ignoring"]) {
            binary.on = self.take()?.is("on");
            binary.labels = self.labels()?;
            if keyword(&self.peek()?, &["group_left", "group_right"]) {
                self.take()?;
                binary.group = Some(if self.peek()?.kind == Kind::LeftParen { self.labels()? } else { Vec::new() });
            }
        }
        while keyword(&self.peek()?, &["fill", "fill_left", "fill_right"]) {
            self.take()?;
            binary.fill = true;
            self.expect(Kind::LeftParen)?;
            if matches!(self.peek()?.text, "+" | "-") {
                self.take()?;
            }
            self.expect(Kind::Number)?;
            self.expect(Kind::RightParen)?;
        }
        Ok(binary)
    }

    /// Label names in parentheses.
    fn labels(&mut self) -> Read<Vec<String>> {
        let open = self.peek()?;
        if open.kind != Kind::LeftParen {
            return self.unexpected_in(open, "grouping opts", "\"(\"");
        }
        self.take()?;
        let mut all = Vec::new();
        loop {
            let item = self.peek()?;
            match item.kind {
                Kind::RightParen => break,
                Kind::Identifier | Kind::Aggregator | Kind::Keyword | Kind::Preprocessor | Kind::MetricIdentifier => {
                    self.note_name(item);
                    all.push(item.text.to_owned());
                }
                Kind::Text => all.push(unquoted(item.text)),
                Kind::Operator if item.text.starts_with(|c: char| c.is_ascii_alphabetic()) => all.push(item.text.to_owned()),
                _ => return self.unexpected_in(item, "grouping opts", "label"),
            }
            self.take()?;
            let next = self.peek()?;
            match next.kind {
                Kind::Comma => drop(self.take()?),
                Kind::RightParen => break,
                _ => return self.unexpected_in(next, "grouping opts", "\",\" or \")\""),
            }
        }
        self.take()?;
        Ok(all)
    }

    /// A part with what may follow it: a range, `offset`, `@`.
    fn operand(&mut self) -> Read<Tree> {
        let mut tree = self.primary()?;
        loop {
            let item = self.peek()?;
            match item.kind {
                Kind::LeftBracket => tree = self.range(tree)?,
                Kind::At => self.at(&mut tree)?,
                Kind::Keyword if item.is("offset") => self.offset(&mut tree)?,
                Kind::Keyword if item.is("anchored") || item.is("smoothed") => return wrong(item.start, MODIFIERS),
                _ => return Ok(tree),
            }
        }
    }

    fn primary(&mut self) -> Read<Tree> {
        let item = self.peek()?;
        match item.kind {
            Kind::Number => {
                self.take()?;
                Ok(Tree::new(Part::Number, item.start, Vec::new()))
            }
            Kind::Duration => {
                self.take()?;
                self.seconds(item)?;
                Ok(Tree::new(Part::Number, item.start, Vec::new()))
            }
            Kind::Text => {
                self.take()?;
                Ok(Tree::new(Part::Text, item.start, Vec::new()))
            }
            Kind::LeftParen => {
                self.take()?;
                let inner = self.expression(0)?;
                self.expect(Kind::RightParen)?;
                Ok(Tree::new(Part::Paren, item.start, vec![inner]))
            }
            Kind::LeftBrace => self.selector(item.start, None),
            Kind::Operator if matches!(item.text, "+" | "-") => {
                self.take()?;
                let inner = self.expression(6)?;
                if inner.part == Part::Number {
                    return Ok(Tree { start: item.start, ..inner });
                }
                if item.text == "+" {
                    self.note(item, What::Plus);
                }
                Ok(Tree::new(Part::Unary { plus: item.text == "+" }, item.start, vec![inner]))
            }
            Kind::Identifier | Kind::Preprocessor | Kind::Aggregator | Kind::MetricIdentifier => self.named(),
            Kind::Operator if item.is("and") || item.is("or") || item.is("unless") => self.named(),
            Kind::Keyword if ["by", "without", "offset", "anchored", "smoothed"].iter().any(|word| item.is(word)) => self.named(),
            _ => self.unexpected(item),
        }
    }

    /// What begins with a name.
    fn named(&mut self) -> Read<Tree> {
        let name = self.take()?;
        let next = self.peek()?;
        let modifier = next.kind == Kind::Keyword && (next.is("by") || next.is("without"));
        match name.kind {
            Kind::Identifier if next.kind == Kind::LeftParen => {
                let children = self.arguments()?;
                let Some(function) = super::types::function(name.text) else {
                    return wrong(name.start, format!("unknown function with name {}", quoted(name.text)));
                };
                Ok(Tree::new(Part::Call { function: function.name.to_owned() }, name.start, children))
            }
            Kind::Preprocessor if next.kind == Kind::LeftParen => {
                let children = self.arguments()?;
                Ok(Tree::new(Part::Call { function: name.text.to_ascii_lowercase() }, name.start, children))
            }
            Kind::Aggregator if next.kind == Kind::LeftParen || modifier => self.aggregation(name),
            _ => {
                self.note_name(name);
                self.selector(name.start, Some(name.text.to_owned()))
            }
        }
    }

    /// Arguments in parentheses.
    fn arguments(&mut self) -> Read<Vec<Tree>> {
        self.expect(Kind::LeftParen)?;
        let mut all = Vec::new();
        if self.peek()?.kind == Kind::RightParen {
            self.take()?;
            return Ok(all);
        }
        loop {
            all.push(self.expression(0)?);
            if self.peek()?.kind != Kind::Comma {
                self.expect(Kind::RightParen)?;
                return Ok(all);
            }
            let comma = self.take()?;
            if matches!(self.peek()?.kind, Kind::RightParen | Kind::Comma | Kind::Eof) {
                return wrong(comma.start, "trailing commas not allowed in function call args");
            }
        }
    }

    fn aggregation(&mut self, name: Item<'_>) -> Read<Tree> {
        self.aggregations += 1;
        let is_modifier = |item: &Item<'_>| item.kind == Kind::Keyword && (item.is("by") || item.is("without"));
        let before = is_modifier(&self.peek()?);
        if before {
            self.take()?;
            self.labels()?;
        }
        let children = self.arguments()?;
        if !before && is_modifier(&self.peek()?) {
            self.take()?;
            self.labels()?;
        }
        self.aggregations -= 1;
        let operator = name.text.to_ascii_lowercase();
        let with_parameter = ["topk", "bottomk", "count_values", "quantile", "limitk", "limit_ratio"].contains(&operator.as_str());
        let wanted = 1 + usize::from(with_parameter);
        if children.is_empty() {
            return wrong(name.start, "no arguments for aggregate expression provided");
        }
        if children.len() != wanted {
            let given = children.len();
            let message = format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {given}");
            return wrong(name.start, message);
        }
        Ok(Tree::new(Part::Aggregate { operator }, name.start, children))
    }

    /// The seconds of a number or duration that has been taken.
    fn seconds(&mut self, item: Item<'_>) -> Read<f64> {
        let seconds = seconds(item)?;
        if item.kind == Kind::Duration && seconds == 0.0 {
            self.note(item, What::Zero);
        }
        Ok(seconds)
    }

    /// Label matchers in braces, where there are any, after a name that has been taken.
    fn selector(&mut self, start: usize, name: Option<String>) -> Read<Tree> {
        let mut selector = Selector { name, matchers: Vec::new() };
        if self.peek()?.kind == Kind::LeftBrace {
            let brace = self.take()?;
            if selector.name.is_none() {
                // Whether one of them must not match the empty text is looked at elsewhere: the crate sees no patterns.
                self.note(brace, What::Matchers);
            }
            while self.peek()?.kind != Kind::RightBrace {
                self.matcher(&mut selector)?;
                let next = self.peek()?;
                match next.kind {
                    Kind::Comma => drop(self.take()?),
                    Kind::RightBrace => {}
                    Kind::Identifier if next.is("or") => return wrong(next.start, super::OR),
                    _ => return self.unexpected_in(next, "label matching", "\",\" or \"}\""),
                }
            }
            self.take()?;
        }
        Ok(Tree::new(Part::Selector(selector), start, Vec::new()))
    }

    fn matcher(&mut self, selector: &mut Selector) -> Read<()> {
        let label = self.peek()?;
        if !matches!(label.kind, Kind::Identifier | Kind::Text) {
            return self.unexpected_in(label, "label matching", "identifier or \"}\"");
        }
        self.take()?;
        let name = if label.kind == Kind::Text { unquoted(label.text) } else { label.text.to_owned() };
        let operator = self.peek()?;
        if !matches!(operator.kind, Kind::Assign | Kind::Operator) {
            if label.kind == Kind::Text {
                selector.matchers.push(("__name__".to_owned(), "=".to_owned(), name));
                return Ok(());
            }
            return self.unexpected_in(operator, "label matching", "label matching operator");
        }
        self.take()?;
        let value = self.peek()?;
        if value.kind != Kind::Text {
            return self.unexpected_in(value, "label matching", "string");
        }
        self.take()?;
        let text = unquoted(value.text);
        if operator.text.ends_with('~') {
            if let Err(error) = model::re2::anchored(&text) {
                return wrong(label.start, error.to_string());
            }
            // In its place there may be a note of a raw string.
            if self.notes.last().is_some_and(|note| note.start == value.start) {
                self.notes.pop();
            }
            self.note(value, What::Pattern(text.clone()));
        }
        selector.matchers.push((name, operator.text.to_owned(), text));
        Ok(())
    }

    /// A number or duration with its sign; `None` where none begins here. Says where it begins and whether it is above zero.
    fn length(&mut self) -> Read<Option<(usize, bool)>> {
        let first = self.peek()?;
        let signed = matches!(first.text, "+" | "-");
        if signed {
            self.take()?;
        }
        let number = self.peek()?;
        match number.kind {
            Kind::Number | Kind::Duration => {
                self.take()?;
                let seconds = self.seconds(number)?;
                // What is computed from durations is told of elsewhere.
                if strength(&self.peek()?).is_some_and(|strength| strength >= 4) {
                    return Err(Unread::GivenUp);
                }
                if seconds > LONGEST {
                    return wrong(first.start, TOO_LONG);
                }
                // Less than a millisecond is nothing.
                Ok(Some((first.start, seconds >= 0.001 && first.text != "-")))
            }
            Kind::LeftParen | Kind::Preprocessor | Kind::Aggregator => Err(Unread::GivenUp),
            _ if signed => Err(Unread::GivenUp),
            _ => Ok(None),
        }
    }

    fn range(&mut self, of: Tree) -> Read<Tree> {
        const LENGTH: &str = "number, duration, step(), or range()";
        let open = self.take()?;
        let Some((start, positive)) = self.length()? else {
            let item = self.peek()?;
            return self.unexpected_in(item, "subquery or range selector", LENGTH);
        };
        let next = self.peek()?;
        if !positive {
            return wrong(start, "duration must be greater than 0");
        }
        match next.kind {
            Kind::RightBracket => {
                self.take()?;
                let message = match &of.part {
                    Part::Selector(_) if of.offset => Some("no offset modifiers allowed before range"),
                    Part::Selector(_) if of.at => Some("no @ modifiers allowed before range"),
                    Part::Selector(_) => None,
                    _ => Some("ranges only allowed for vector selectors"),
                };
                let start = of.start;
                message.map_or_else(|| Ok(Tree::new(Part::Matrix, start, vec![of])), |message| wrong(open.start, message))
            }
            Kind::Colon => {
                self.take()?;
                if self.peek()?.kind != Kind::RightBracket {
                    let Some((start, positive)) = self.length()? else {
                        let item = self.peek()?;
                        return self.unexpected_in(item, "subquery selector", "number, duration, step(), range(), or \"]\"");
                    };
                    let item = self.peek()?;
                    if !positive {
                        return wrong(start, "duration must be greater than 0");
                    }
                    if item.kind != Kind::RightBracket {
                        return self.unexpected_in(item, "subquery selector", "\"]\"");
                    }
                }
                self.take()?;
                let start = of.start;
                Ok(Tree::new(Part::Subquery, start, vec![of]))
            }
            _ => self.unexpected_in(next, "subquery or range", "\":\" or \"]\""),
        }
    }

    fn offset(&mut self, of: &mut Tree) -> Read<()> {
        self.take()?;
        let sign = self.peek()?;
        if matches!(sign.text, "+" | "-") {
            self.take()?;
        }
        let number = self.peek()?;
        match number.kind {
            Kind::Number | Kind::Duration => drop(self.take()?),
            Kind::LeftParen | Kind::Preprocessor | Kind::Aggregator => return Err(Unread::GivenUp),
            _ => return self.unexpected_in(number, "offset", "number, duration, step(), or range()"),
        }
        let seconds = self.seconds(number)?;
        self.peek()?;
        if seconds.is_nan() || seconds > LONGEST {
            return wrong(number.start, TOO_LONG);
        }
        if !matches!(of.part, Part::Selector(_) | Part::Matrix | Part::Subquery) {
            let message = "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return wrong(of.start, message);
        }
        if of.offset {
            return wrong(of.start, "offset may not be set multiple times");
        }
        of.offset = seconds != 0.0;
        Ok(())
    }

    fn at(&mut self, of: &mut Tree) -> Read<()> {
        self.take()?;
        let first = self.peek()?;
        if matches!(first.text, "+" | "-") {
            self.take()?;
        }
        let moment = self.peek()?;
        match moment.kind {
            Kind::Number | Kind::Duration => {
                self.take()?;
                let seconds = self.seconds(moment)?;
                if seconds.is_nan() || seconds > LONGEST {
                    let signed = if first.text == "-" { -seconds } else { seconds };
                    let said = if seconds == f64::INFINITY { format!("{signed:+}").replace("inf", "Inf") } else { format!("{signed:.6}") };
                    return wrong(of.start, format!("timestamp out of bounds for @ modifier: {said}"));
                }
            }
            Kind::Preprocessor if (moment.is("start") || moment.is("end")) && first.start == moment.start => {
                self.take()?;
                for kind in [Kind::LeftParen, Kind::RightParen] {
                    let item = self.peek()?;
                    if item.kind != kind {
                        return self.unexpected_in(item, "@", "timestamp");
                    }
                    self.take()?;
                }
            }
            _ => return self.unexpected_in(moment, "@", "timestamp"),
        }
        if !matches!(of.part, Part::Selector(_) | Part::Matrix | Part::Subquery) {
            let message = "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return wrong(of.start, message);
        }
        if of.at {
            return wrong(of.start, "@ <timestamp> may not be set multiple times");
        }
        of.at = true;
        Ok(())
    }
}

/// A number, or a duration's seconds. Fails where a duration has units in the wrong order, or some that there are not.
fn seconds(item: Item<'_>) -> Read<f64> {
    const UNITS: [(&str, f64); 7] =
        [("y", 31_536_000.0), ("w", 604_800.0), ("d", 86_400.0), ("h", 3_600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001)];
    if item.kind != Kind::Duration {
        // What the crate does not read either is refused by it.
        return Ok(promql_parser::util::parse_str_radix(item.text).unwrap_or(0.0));
    }
    let (mut next, mut sum, mut rest) = (0, 0.0, item.text);
    while !rest.is_empty() {
        let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let Some(at) = UNITS.iter().position(|(known, _)| *known == unit) else {
            return wrong(item.start, format!("unknown unit {} in duration {}", quoted(unit), quoted(item.text)));
        };
        if at < next {
            return wrong(item.start, format!("not a valid duration string: {}", quoted(item.text)));
        }
        // More digits than a number has are infinitely many.
        sum += digits.parse::<f64>().unwrap_or(f64::INFINITY) * UNITS[at].1;
        (next, rest) = (at + 1, tail);
    }
    Ok(sum)
}
