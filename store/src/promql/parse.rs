//! Text to [`Plan`]: the crate `promql-parser` reads the grammar, we resolve names, compile matchers and check what it leaves
//! unchecked. Every failure is a [`QueryError::BadData`] with the place, where the parser's message names something in the text.

mod call;
mod given;
mod grammar;
mod lexer;
mod places;
mod tree;
mod types;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use given::{Given, Pluses};
use grammar::{Part, Tree};
use lexer::{Kind, Lexer};
use model::labels::{METRIC_NAME, MatchOp, Matcher};
use model::query::QueryError;
use places::Places;
use promql_parser::label::{MatchOp as ParsedOp, Matcher as ParsedMatcher};
use promql_parser::parser::token::TokenType;
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    AggregateExpr, AtModifier, BinModifier, BinaryExpr, Expr, LabelModifier, Offset, SubqueryExpr, VectorMatchCardinality, VectorSelector,
};
use regex::Regex;

use super::plan::{
    Aggregate, Aggregator, Arithmetic, At, Binary, Bool, Cardinality, Comparison, Fill, Grouping, Matching, Node, NotePlaces, Operator,
    Place, Plan, RangeNode, RangeOf, Root, Selector, SetOperator, Shift,
};
use super::stack::with_room;

/// What is said of syntax that the crate reads and Prometheus does not.
const OR: &str = "`or` between label matchers is not PromQL: write two selectors joined by the operator `or`";
/// Longer expressions are refused.
const MAX_BYTES: usize = 128 << 10;
/// More operators and opening brackets than this are refused before parsing: they bound how deep the tree can be.
const MAX_OPERATORS: usize = 5_000;
/// Brackets inside of more brackets than this are refused: the crate copies what stands in an aggregation.
const MAX_NESTED: usize = 2_000;
/// Deeper trees are not laid out: each level is moved in, so what is written grows with the square of them.
const MAX_LAID_OUT: usize = 2_000;
/// Deeper trees are refused.
const MAX_DEPTH: usize = MAX_OPERATORS;

/// Parses and checks an expression.
pub fn parse(text: &str) -> Result<Plan, QueryError> {
    with_room(levels(text)?, || planned(text))
}

fn planned(text: &str) -> Result<Plan, QueryError> {
    let (expr, tree) = syntax(text, Pluses::Dropped)?;
    let places = tree.map(|tree| Places::new(text, &expr, &tree)).unwrap_or_default();
    let mut planner = Planner { text, places, selectors: Vec::new(), subqueries: false, depth: 0, deepest: 0 };
    let root = match unwrap(&expr) {
        Expr::MatrixSelector(_) | Expr::Subquery(_) => planner.range(&expr).map(Root::Range),
        other => planner.node(other).map(Root::Node),
    };
    Ok(Plan { root: root?, selectors: planner.selectors, subqueries: planner.subqueries, depth: planner.deepest })
}

/// Parses one series selector (`up{job="api"}`) into its matchers.
pub fn selector(text: &str) -> Result<Vec<Matcher>, QueryError> {
    with_room(levels(text)?, || match unwrap(&syntax(text, Pluses::Dropped)?.0) {
        Expr::VectorSelector(selector) if selector.offset.is_none() && selector.at.is_none() => {
            let places = Places::default();
            Planner { text, places, selectors: Vec::new(), subqueries: false, depth: 0, deepest: 0 }.matchers(selector)
        }
        _ => Err(QueryError::BadData(format!("parse error: `{text}` is no series selector, such as up{{job=\"api\"}}"))),
    })
}

/// Fails where an expression is none; what fails only where it is evaluated is one.
fn checked(text: &str) -> Result<(), QueryError> {
    match parse(text) {
        Err(error @ QueryError::BadData(_)) => Err(error),
        Err(_) | Ok(_) => Ok(()),
    }
}

/// The expression in Prometheus's standard layout.
pub fn format(text: &str) -> Result<String, QueryError> {
    checked(text)?;
    let levels = levels(text)?;
    if levels > MAX_LAID_OUT {
        let message = format!("the expression has more than {MAX_LAID_OUT} operators and brackets: too many to be laid out");
        return Err(QueryError::BadData(message));
    }
    with_room(levels, || {
        let (expr, tree) = syntax(text, Pluses::AsMinus)?;
        let pretty = expr.prettify();
        match tree.and_then(|tree| with_pluses(&pretty, &tree)) {
            Some(pretty) => Ok(pretty),
            None => syntax(text, Pluses::Dropped).map(|(expr, _)| expr.prettify()),
        }
    })
}

/// A layout in which the pluses of the expression that was laid out stand as minuses, with its pluses.
fn with_pluses(pretty: &str, of: &Tree) -> Option<String> {
    let mut signs = Vec::new();
    unaries(of, &mut signs);
    if !signs.iter().any(|(_, plus)| *plus) {
        return Some(pretty.to_owned());
    }
    let mut written = Vec::new();
    unaries(&grammar::read(pretty).ok()?.0, &mut written);
    let mut bytes = pretty.as_bytes().to_owned();
    for ((at, _), _) in written.iter().zip(&signs).filter(|(_, (_, plus))| *plus) {
        *bytes.get_mut(*at).filter(|sign| **sign == b'-')? = b'+';
    }
    String::from_utf8(bytes).ok().filter(|_| written.len() == signs.len())
}

/// The unary operators in order of the text: where, and whether it is a plus.
fn unaries(tree: &Tree, into: &mut Vec<(usize, bool)>) {
    if let Part::Unary { plus } = tree.part {
        into.push((tree.start, plus));
    }
    tree.children.iter().for_each(|child| unaries(child, into));
}

/// The expression as a tree: JSON text in the form of Prometheus's `parse_query`.
pub fn tree(text: &str) -> Result<String, QueryError> {
    checked(text)?;
    let failed = |error| QueryError::Execution(format!("the syntax tree could not be written: {error}"));
    with_room(levels(text)?, || {
        let (expr, tree) = syntax(text, Pluses::AsMinus)?;
        serde_json::to_string(&tree::json(&expr, tree.as_ref())).map_err(failed)
    })
}

/// An upper bound of the depth of an expression's tree. Fails where that, or the text, is more than is read.
fn levels(text: &str) -> Result<usize, QueryError> {
    if text.len() > MAX_BYTES {
        return Err(QueryError::BadData(format!("the expression has {} bytes, more than the limit of {MAX_BYTES}", text.len())));
    }
    let (mut count, mut open, mut nested, mut braces) = (0, 0_usize, 0, false);
    let mut lexer = Lexer::new(text);
    // Behind what is no word nothing is read.
    while let Ok(item) = lexer.next() {
        match item.kind {
            Kind::Eof => break,
            Kind::LeftBrace => braces = true,
            Kind::RightBrace => braces = false,
            Kind::Operator => count += usize::from(!braces),
            Kind::LeftParen | Kind::LeftBracket => {
                (count, open) = (count + 1, open + 1);
                nested = nested.max(open);
            }
            Kind::RightParen | Kind::RightBracket => open = open.saturating_sub(1),
            Kind::Comma | Kind::Colon | Kind::Number | Kind::Duration | Kind::Identifier | Kind::MetricIdentifier | Kind::Text => {}
            Kind::Assign | Kind::At | Kind::Aggregator | Kind::Keyword | Kind::Preprocessor => {}
        }
    }
    if nested > MAX_NESTED {
        return Err(QueryError::BadData(format!("the expression has brackets inside of more than {MAX_NESTED} brackets")));
    }
    if count > MAX_OPERATORS {
        return Err(QueryError::BadData(format!("the expression has more than {MAX_OPERATORS} operators and brackets")));
    }
    // One more for what stands inside of all.
    Ok(count + 1)
}

/// What the crate reads of a text, and what we do, if we do.
fn syntax(text: &str, pluses: Pluses) -> Result<(Expr, Option<Tree>), QueryError> {
    let (tree, notes) = match grammar::read(text) {
        Ok((tree, notes)) => match types::check(&tree) {
            Ok(_) => (Some(tree), notes),
            Err(wrong) => return Err(placed(text, Some(wrong.at), &wrong.message)),
        },
        Err(grammar::Unread::Wrong(wrong)) => return Err(placed(text, Some(wrong.at), &wrong.message)),
        Err(grammar::Unread::GivenUp) => (None, Vec::new()),
    };
    let unchanged = notes.is_empty();
    let given = Given::new(text, notes, pluses);
    // The parser panics on some numbers where it expects a duration (`x[1e30]`).
    let parsed = catch_unwind(AssertUnwindSafe(|| promql_parser::parser::parse(&given.text)))
        .map_err(|_| QueryError::BadData("parse error: a number or duration is out of range".to_owned()))?;
    let mut expr = parsed.map_err(|message| match experimental(text) {
        Some((at, what)) => placed(text, Some(at), &format!("{what} are experimental in Prometheus and not supported")),
        None => at_place(text, &message),
    })?;
    if !unchanged {
        given.restore(&mut expr);
    }
    Ok((expr, tree))
}

/// Where a text that does not parse uses syntax that Prometheus has behind a feature flag, and what that is.
fn experimental(text: &str) -> Option<(usize, &'static str)> {
    let quoted = Regex::new(r#""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`"#).ok()?;
    // Of the same length, so that places stay where they are.
    let bare = quoted.replace_all(text, |found: &regex::Captures<'_>| " ".repeat(found[0].len()));
    [(r"\[[^\]]*(?:[-+*/%^(]|\bstep\b)[^\]]*\]", "duration expressions"), (r"\boffset\s*-?\s*\(", "duration expressions")]
        .into_iter()
        .find_map(|(pattern, what)| Some((Regex::new(pattern).ok()?.find(&bare)?.start(), what)))
}

/// Puts `line:column` before one of the crate's messages, or of ours, that quotes a part of the text.
fn at_place(text: &str, message: &str) -> QueryError {
    let quoted = message.split(['\'', '"', '`']).nth(1).filter(|quoted| !quoted.is_empty() && *quoted != text);
    // The types as Prometheus calls them.
    let message = ["expected type ", "got "].into_iter().fold(message.to_owned(), |message, before| {
        message
            .replace(&format!("{before}vector"), &format!("{before}instant vector"))
            .replace(&format!("{before}matrix"), &format!("{before}range vector"))
    });
    let message = if message == "invalid promql query" { "the text is no PromQL expression".to_owned() } else { message };
    placed(text, quoted.and_then(|quoted| text.rfind(quoted)), &message)
}

/// Puts `line:column` of a byte before a message.
fn placed(text: &str, at: Option<usize>, message: &str) -> QueryError {
    let place = at.map(|at| places::place(text, at)).map(|Place { line, column }| format!("{line}:{column}: "));
    QueryError::BadData(format!("{}parse error: {message}", place.unwrap_or_default()))
}

/// The expression inside of parentheses.
fn unwrap(expr: &Expr) -> &Expr {
    let mut inner = expr;
    while let Expr::Paren(paren) = inner {
        inner = &paren.expr;
    }
    inner
}

fn millis(duration: Duration) -> Result<i64, QueryError> {
    // A hundred years: so that sums of a few never overflow.
    i64::try_from(duration.as_millis())
        .ok()
        .filter(|millis| *millis as f64 <= grammar::LONGEST * 1_000.0)
        .ok_or_else(|| QueryError::BadData(format!("parse error: {}", grammar::TOO_LONG)))
}

struct Planner<'t> {
    text: &'t str,
    places: Places,
    selectors: Vec<Selector>,
    subqueries: bool,
    depth: usize,
    deepest: usize,
}

impl Planner<'_> {
    fn bad(&self, message: &str) -> QueryError {
        at_place(self.text, message)
    }

    fn node(&mut self, expr: &Expr) -> Result<Node, QueryError> {
        if self.depth >= MAX_DEPTH {
            return Err(QueryError::BadData(format!("the expression is nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        let node = match expr {
            Expr::Paren(paren) => self.node(&paren.expr),
            Expr::NumberLiteral(number) => Ok(Node::Number(number.val)),
            Expr::StringLiteral(text) => Ok(Node::Text(text.val.clone())),
            Expr::Unary(unary) => self.node(&unary.expr).map(|node| Node::Negate(Box::new(node))),
            Expr::VectorSelector(selector) => self.select(selector),
            Expr::Call(call) => self.noting_call(expr, call),
            Expr::Aggregate(aggregate) => {
                let parameter = aggregate.param.as_ref().map(|param| self.places.of(param)).unwrap_or_default();
                let places = NotePlaces { of: self.places.of(&aggregate.expr), parameter };
                self.aggregate(aggregate).map(|node| Node::Noting(places, Box::new(node)))
            }
            Expr::Binary(binary) => {
                let places = NotePlaces { of: self.places.of(expr), parameter: Place::default() };
                self.binary(binary).map(|node| Node::Noting(places, Box::new(node)))
            }
            Expr::MatrixSelector(_) | Expr::Subquery(_) => Err(self.bad("unexpected range vector: only functions such as rate() take one")),
            Expr::Extension(_) => Err(self.bad("unknown syntax")),
        };
        self.depth -= 1;
        node
    }

    /// A node that must be of a type.
    fn typed(&mut self, expr: &Expr, wanted: ValueType, place: &str) -> Result<Node, QueryError> {
        let found = expr.value_type();
        if found != wanted {
            return Err(self.bad(&format!("expected type {} in {place}, got {}", type_name(wanted), type_name(found))));
        }
        self.node(expr)
    }

    fn select(&mut self, selector: &VectorSelector) -> Result<Node, QueryError> {
        let shift = self.shift(&selector.at, &selector.offset)?;
        let matchers = self.matchers(selector)?;
        self.selectors.push(Selector { matchers });
        Ok(Node::Select(self.selectors.len() - 1, shift))
    }

    fn matchers(&self, selector: &VectorSelector) -> Result<Vec<Matcher>, QueryError> {
        if !selector.matchers.or_matchers.is_empty() {
            return Err(self.bad(OR));
        }
        let mut matchers = Vec::with_capacity(selector.matchers.matchers.len() + 1);
        if let Some(name) = &selector.name {
            matchers.push(self.matcher(METRIC_NAME, MatchOp::Equal, name)?);
        }
        for parsed in &selector.matchers.matchers {
            let ParsedMatcher { op, name, value } = parsed;
            let op = match op {
                ParsedOp::Equal => MatchOp::Equal,
                ParsedOp::NotEqual => MatchOp::NotEqual,
                ParsedOp::Re(_) => MatchOp::Regex,
                ParsedOp::NotRe(_) => MatchOp::NotRegex,
            };
            matchers.push(self.matcher(name, op, value)?);
        }
        Ok(matchers)
    }

    fn matcher(&self, name: &str, op: MatchOp, value: &str) -> Result<Matcher, QueryError> {
        Matcher::new(name, op, value).map_err(|error| self.bad(&error.to_string()))
    }

    fn shift(&self, at: &Option<AtModifier>, offset: &Option<Offset>) -> Result<Shift, QueryError> {
        let at = match at {
            None => None,
            Some(AtModifier::Start) => Some(At::Start),
            Some(AtModifier::End) => Some(At::End),
            Some(AtModifier::At(time)) => Some(At::Millis(match time.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(since) => millis(since)?,
                Err(before) => -millis(before.duration())?,
            })),
        };
        let offset = match offset {
            None => 0,
            Some(Offset::Pos(duration)) => millis(*duration)?,
            Some(Offset::Neg(duration)) => -millis(*duration)?,
        };
        Ok(Shift { at, offset })
    }

    fn range(&mut self, expr: &Expr) -> Result<RangeNode, QueryError> {
        match unwrap(expr) {
            Expr::MatrixSelector(matrix) => {
                let Node::Select(selector, shift) = self.select(&matrix.vs)? else {
                    return Err(self.bad("ranges only allowed for vector selectors"));
                };
                let range = self.positive(matrix.range)?;
                Ok(RangeNode { of: RangeOf::Selector(selector), range, shift })
            }
            Expr::Subquery(SubqueryExpr { expr, offset, at, range, step }) => {
                let (range, shift) = (self.positive(*range)?, self.shift(at, offset)?);
                let step = step.map(|step| self.positive(step)).transpose()?;
                self.subqueries = true;
                let of = RangeOf::Subquery(Box::new(self.typed(expr, ValueType::Vector, "a subquery")?), step);
                Ok(RangeNode { of, range, shift })
            }
            other => Err(self.bad(&format!("expected type range vector, got {}", type_name(other.value_type())))),
        }
    }

    fn positive(&self, duration: Duration) -> Result<i64, QueryError> {
        match millis(duration)? {
            0 => Err(self.bad("duration must be greater than 0")),
            millis => Ok(millis),
        }
    }

    fn aggregate(&mut self, expr: &AggregateExpr) -> Result<Node, QueryError> {
        let name = expr.op.to_string();
        let grouping = match &expr.modifier {
            None => Grouping::By(Vec::new()),
            Some(LabelModifier::Include(labels)) => Grouping::By(labels.labels.clone()),
            Some(LabelModifier::Exclude(labels)) => Grouping::Without(labels.labels.clone()),
        };
        let place = "aggregation expression";
        let scalar = |planner: &mut Self| match &expr.param {
            Some(param) => planner.typed(param, ValueType::Scalar, place),
            None => Err(planner.bad(&format!("{name} needs a scalar as its first argument"))),
        };
        let aggregator = match name.as_str() {
            "sum" => Aggregator::Sum,
            "avg" => Aggregator::Avg,
            "min" => Aggregator::Min,
            "max" => Aggregator::Max,
            "count" => Aggregator::Count,
            "group" => Aggregator::Group,
            "stddev" => Aggregator::Stddev,
            "stdvar" => Aggregator::Stdvar,
            "quantile" => Aggregator::Quantile(scalar(self)?),
            "topk" => Aggregator::Topk(scalar(self)?),
            "bottomk" => Aggregator::Bottomk(scalar(self)?),
            "limitk" => Aggregator::Limitk(scalar(self)?),
            "limit_ratio" => Aggregator::LimitRatio(scalar(self)?),
            "count_values" => match expr.param.as_deref().map(unwrap) {
                Some(Expr::StringLiteral(label)) if !label.val.is_empty() => Aggregator::CountValues(label.val.clone()),
                Some(Expr::StringLiteral(_)) => return Err(self.bad("invalid label name \"\" in count_values")),
                _ => return Err(self.bad("count_values needs a label name in quotes as its first argument")),
            },
            other => return Err(self.bad(&format!("aggregation '{other}' is not supported"))),
        };
        let of = self.typed(&expr.expr, ValueType::Vector, place)?;
        Ok(Node::Aggregate(Box::new(Aggregate { aggregator, of, grouping })))
    }

    fn binary(&mut self, expr: &BinaryExpr) -> Result<Node, QueryError> {
        let modifier = expr.modifier.clone().unwrap_or_default();
        let operator = self.operator(expr.op, modifier.return_bool)?;
        let BinModifier { card, matching, fill_values, .. } = modifier;
        let fill = Fill { left: fill_values.lhs, right: fill_values.rhs };
        let between_vectors = [&expr.lhs, &expr.rhs].iter().all(|side| side.value_type() == ValueType::Vector);
        if fill != Fill::default() && (matches!(operator, Operator::Set(_)) || !between_vectors) {
            return Err(self.bad("filling in missing series only allowed between instant vectors, and not for set operators"));
        }
        let matching = match matching {
            None => Matching::Ignoring(Vec::new()),
            Some(LabelModifier::Include(labels)) => Matching::On(labels.labels),
            Some(LabelModifier::Exclude(labels)) => Matching::Ignoring(labels.labels),
        };
        let cardinality = match card {
            VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => Cardinality::OneToOne,
            VectorMatchCardinality::ManyToOne(labels) => Cardinality::ManyToOne(labels.labels),
            VectorMatchCardinality::OneToMany(labels) => Cardinality::OneToMany(labels.labels),
        };
        let (left, right) = (self.node(&expr.lhs)?, self.node(&expr.rhs)?);
        Ok(Node::Binary(Box::new(Binary { operator, left, right, matching, cardinality, fill })))
    }

    fn operator(&self, token: TokenType, number: bool) -> Result<Operator, QueryError> {
        let bool = if number { Bool::Number } else { Bool::Filter };
        Ok(match token.to_string().as_str() {
            "+" => Operator::Arithmetic(Arithmetic::Add),
            "-" => Operator::Arithmetic(Arithmetic::Subtract),
            "*" => Operator::Arithmetic(Arithmetic::Multiply),
            "/" => Operator::Arithmetic(Arithmetic::Divide),
            "%" => Operator::Arithmetic(Arithmetic::Modulo),
            "^" => Operator::Arithmetic(Arithmetic::Power),
            "atan2" => Operator::Arithmetic(Arithmetic::Atan2),
            "==" => Operator::Compare(Comparison::Equal, bool),
            "!=" => Operator::Compare(Comparison::NotEqual, bool),
            "<" => Operator::Compare(Comparison::Less, bool),
            "<=" => Operator::Compare(Comparison::LessOrEqual, bool),
            ">" => Operator::Compare(Comparison::Greater, bool),
            ">=" => Operator::Compare(Comparison::GreaterOrEqual, bool),
            "and" => Operator::Set(SetOperator::And),
            "or" => Operator::Set(SetOperator::Or),
            "unless" => Operator::Set(SetOperator::Unless),
            other => return Err(self.bad(&format!("operator '{other}' is not supported"))),
        })
    }
}

fn type_name(kind: ValueType) -> &'static str {
    match kind {
        ValueType::Vector => "instant vector",
        ValueType::Scalar => "scalar",
        ValueType::Matrix => "range vector",
        ValueType::String => "string",
    }
}

#[cfg(test)]
mod tests;
