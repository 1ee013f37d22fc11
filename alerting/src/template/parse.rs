//! Parses a template into a tree. Unknown functions and undefined variables are refused here, as Go does.

use super::functions;
use super::lex::{Piece, Token, TokenKind, lex};
use super::value::Val;

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub(super) String);

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { over: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
    Break,
    Continue,
}

/// `$x := command | command`
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub variables: Vec<String>,
    /// Whether the variables are new (`:=`) or exist (`=`).
    pub declares: bool,
    pub commands: Vec<Vec<Operand>>,
}

/// One word of a command.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Literal(Val),
    Function(String),
    /// `.`, `$x`, `(pipeline)`, each with fields behind it.
    Chain(Head, Vec<String>),
}

/// What a chain of fields starts from.
#[derive(Clone, Debug)]
pub(super) enum Head {
    Dot,
    Variable(String),
    Nested(Box<Pipeline>),
}

/// How deep blocks and parentheses may nest.
const DEEPEST: usize = 64;

fn fail<T>(message: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError(message.into()))
}

/// Parses a whole template.
pub(super) fn parse(template: &str) -> Result<Vec<Node>, TemplateError> {
    let variables = ["$", "$labels", "$externalLabels", "$externalURL", "$value"].map(str::to_owned).to_vec();
    let variables = [variables, super::FIGURES.iter().map(|name| format!("${name}")).collect()].concat();
    let mut parser = Parser { pieces: lex(template)?.into_iter(), variables, depth: 0, loops: 0 };
    match parser.block()? {
        (nodes, End::OfText) => Ok(nodes),
        (_, End::Word(word, _)) => fail(format!("unexpected {{{{{word}}}}}: no block is open here")),
    }
}

/// What ended a block: `end`, or `else` with what follows it in the action.
enum End {
    OfText,
    Word(&'static str, Vec<Token>),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    variables: Vec<String>,
    depth: usize,
    loops: usize,
}

impl Parser {
    fn block(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let mut tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let keyword = match tokens.first() {
                Some(Token { kind: TokenKind::Ident(word), .. }) => word.clone(),
                Some(_) => String::new(),
                None => return fail("missing value for command: write something between {{ and }}"),
            };
            match keyword.as_str() {
                "end" => return Ok((nodes, End::Word("end", Vec::new()))),
                "else" => return Ok((nodes, End::Word("else", tokens.split_off(1)))),
                "if" | "with" | "range" => {
                    let head = tokens.split_off(1);
                    nodes.push(self.control(&keyword, head)?);
                }
                "break" | "continue" if self.loops == 0 => return fail(format!("{{{{{keyword}}}}} outside {{{{range}}}}")),
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "define" | "template" | "block" => {
                    return fail(format!("{{{{{keyword}}}}} cannot stand in a rule: write the text in place"));
                }
                _ => nodes.push(Node::Action(self.pipeline(tokens)?)),
            }
        }
        Ok((nodes, End::OfText))
    }

    fn control(&mut self, keyword: &str, head: Vec<Token>) -> Result<Node, TemplateError> {
        self.deeper()?;
        let known = self.variables.len();
        let value = self.pipeline(head)?;
        let ranges = keyword == "range";
        self.loops += usize::from(ranges);
        let (then, end) = self.block()?;
        self.loops -= usize::from(ranges);
        let otherwise = match end {
            End::OfText => return fail(format!("{{{{{keyword}}}}} is never closed: add {{{{end}}}}")),
            End::Word("end", _) => Vec::new(),
            End::Word(_, mut tokens) => match tokens.first() {
                None => match self.block()? {
                    (nodes, End::Word("end", _)) => nodes,
                    (_, End::Word(_, _)) => return fail(format!("expected {{{{end}}}} of {{{{{keyword}}}}}; found {{{{else}}}}")),
                    (_, End::OfText) => return fail(format!("{{{{{keyword}}}}} is never closed: add {{{{end}}}}")),
                },
                Some(Token { kind: TokenKind::Ident(word), .. }) if word == keyword && !ranges => {
                    let head = tokens.split_off(1);
                    vec![self.control(keyword, head)?]
                }
                Some(_) => return fail(format!("unexpected words after {{{{else}}}} of {{{{{keyword}}}}}")),
            },
        };
        self.variables.truncate(known);
        self.depth -= 1;
        Ok(match keyword {
            "if" => Node::If { condition: value, then, otherwise },
            "with" => Node::With { value, then, otherwise },
            _ => Node::Range { over: value, body: then, otherwise },
        })
    }

    fn deeper(&mut self) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > DEEPEST { fail(format!("blocks and parentheses nest deeper than {DEEPEST}")) } else { Ok(()) }
    }

    /// A whole action as one pipeline.
    fn pipeline(&mut self, tokens: Vec<Token>) -> Result<Pipeline, TemplateError> {
        let mut tokens = tokens.into_iter().peekable();
        let pipeline = self.pipe(&mut tokens)?;
        match tokens.next() {
            None => Ok(pipeline),
            Some(token) => fail(format!("unexpected {} in command", show(&token.kind))),
        }
    }

    fn pipe(&mut self, tokens: &mut Tokens) -> Result<Pipeline, TemplateError> {
        let (variables, declares) = self.declaration(tokens)?;
        let mut commands = vec![Vec::new()];
        while let Some(token) = tokens.peek() {
            match &token.kind {
                TokenKind::Close => break,
                TokenKind::Pipe => {
                    tokens.next();
                    if commands.last().is_some_and(Vec::is_empty) {
                        return fail("missing value for command before |");
                    }
                    commands.push(Vec::new());
                }
                TokenKind::Comma | TokenKind::Declare | TokenKind::Assign => {
                    return fail(format!("unexpected {} in command", show(&token.kind)));
                }
                TokenKind::Ident(_)
                | TokenKind::Field(_)
                | TokenKind::Dot
                | TokenKind::Variable(_)
                | TokenKind::Text(_)
                | TokenKind::Int(_)
                | TokenKind::Float(_)
                | TokenKind::Open => {
                    let operand = self.operand(tokens)?;
                    if let Some(command) = commands.last_mut() {
                        command.push(operand);
                    }
                }
            }
        }
        if commands.last().is_some_and(Vec::is_empty) {
            return fail("missing value for command");
        }
        if commands.iter().skip(1).any(|command| !matches!(command.first(), Some(Operand::Function(_)))) {
            return fail("only a function can stand after |");
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, declares, commands })
    }

    /// `$x :=`, `$i, $x :=`, `$x =`: consumed if there is one.
    fn declaration(&mut self, tokens: &mut Tokens) -> Result<(Vec<String>, bool), TemplateError> {
        let ahead: Vec<TokenKind> = tokens.clone().take(4).map(|token| token.kind).collect();
        let (names, declares, length) = match ahead.as_slice() {
            [TokenKind::Variable(x), TokenKind::Declare, ..] => (vec![x.clone()], true, 2),
            [TokenKind::Variable(x), TokenKind::Assign, ..] => (vec![x.clone()], false, 2),
            [TokenKind::Variable(i), TokenKind::Comma, TokenKind::Variable(x), TokenKind::Declare, ..] => {
                (vec![i.clone(), x.clone()], true, 4)
            }
            _ => return Ok((Vec::new(), true)),
        };
        if let Some(unknown) = names.iter().find(|name| !declares && !self.variables.contains(name)) {
            return fail(format!("undefined variable {unknown:?}"));
        }
        tokens.nth(length - 1);
        Ok((names, declares))
    }

    fn operand(&mut self, tokens: &mut Tokens) -> Result<Operand, TemplateError> {
        let Some(token) = tokens.next() else { return fail("missing value for command") };
        let (head, mut fields) = match token.kind {
            TokenKind::Ident(word) => {
                return match word.as_str() {
                    "true" => Ok(Operand::Literal(Val::Bool(true))),
                    "false" => Ok(Operand::Literal(Val::Bool(false))),
                    "nil" => Ok(Operand::Literal(Val::Nil)),
                    name if functions::exists(name) => Ok(Operand::Function(word)),
                    name => fail(format!("function {name:?} not defined")),
                };
            }
            TokenKind::Text(text) => return Ok(Operand::Literal(Val::Str(text))),
            TokenKind::Int(value) => return Ok(Operand::Literal(Val::Int(value))),
            TokenKind::Float(value) => return Ok(Operand::Literal(Val::Float(value))),
            TokenKind::Dot => (Head::Dot, Vec::new()),
            TokenKind::Field(name) => (Head::Dot, vec![name]),
            TokenKind::Variable(name) if self.variables.contains(&name) => (Head::Variable(name), Vec::new()),
            TokenKind::Variable(name) => return fail(format!("undefined variable {name:?}")),
            TokenKind::Open => {
                self.deeper()?;
                let nested = self.pipe(tokens)?;
                self.depth -= 1;
                if !matches!(tokens.next().map(|token| token.kind), Some(TokenKind::Close)) {
                    return fail("unclosed left paren");
                }
                (Head::Nested(Box::new(nested)), Vec::new())
            }
            kind @ (TokenKind::Close | TokenKind::Pipe | TokenKind::Comma | TokenKind::Declare | TokenKind::Assign) => {
                return fail(format!("unexpected {} in operand", show(&kind)));
            }
        };
        while let Some(Token { kind: TokenKind::Field(name), spaced: false }) = tokens.peek() {
            fields.push(name.clone());
            tokens.next();
        }
        Ok(Operand::Chain(head, fields))
    }
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<Token>>;

fn show(kind: &TokenKind) -> String {
    match kind {
        TokenKind::Ident(name) | TokenKind::Variable(name) => format!("{name:?}"),
        TokenKind::Field(name) => format!("\".{name}\""),
        TokenKind::Dot => "\".\"".to_owned(),
        TokenKind::Text(text) => format!("{text:?}"),
        TokenKind::Int(value) => value.to_string(),
        TokenKind::Float(value) => value.to_string(),
        TokenKind::Open => "\"(\"".to_owned(),
        TokenKind::Close => "\")\"".to_owned(),
        TokenKind::Pipe => "\"|\"".to_owned(),
        TokenKind::Comma => "\",\"".to_owned(),
        TokenKind::Declare => "\":=\"".to_owned(),
        TokenKind::Assign => "\"=\"".to_owned(),
    }
}
