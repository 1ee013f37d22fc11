//! Walks a parsed template and writes its text. Stops with the next unanswered query, or with the first error.

use model::time::Timestamp;

use super::parse::{Head, Node, Operand, Pipeline};
use super::value::Val;
use super::{Answers, Expansion, MOST_QUERIES, functions};

/// The longest text that an expansion may write, in bytes.
const LONGEST: usize = 256 * 1024;
/// The most passes through loop bodies.
const MOST_PASSES: usize = 100_000;

/// Why a walk ended early.
pub(super) enum Stop {
    Query(String),
    Error(String),
    Break,
    Continue,
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Stop::Error(message)
    }
}

/// What functions may reach.
pub(super) struct World<'a> {
    pub answers: &'a Answers,
    pub external_url: &'a str,
    pub now: Timestamp,
}

struct Walk<'a> {
    world: World<'a>,
    variables: Vec<(String, Val)>,
    out: String,
    passes: usize,
}

/// Expands a tree.
pub(super) fn run(nodes: &[Node], dot: Val, variables: Vec<(String, Val)>, world: World<'_>) -> Expansion {
    let answers = world.answers;
    let mut walk = Walk { world, variables, out: String::new(), passes: 0 };
    match walk.nodes(nodes, &dot) {
        Ok(()) | Err(Stop::Break | Stop::Continue) => Expansion::Text(walk.out),
        Err(Stop::Query(_)) if answers.len() >= MOST_QUERIES => Expansion::Failed(format!("more than {MOST_QUERIES} queries")),
        Err(Stop::Query(expr)) => Expansion::NeedsQuery(expr),
        Err(Stop::Error(message)) => Expansion::Failed(message),
    }
}

impl Walk<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Val) -> Result<(), Stop> {
        nodes.iter().try_for_each(|node| self.node(node, dot))
    }

    fn node(&mut self, node: &Node, dot: &Val) -> Result<(), Stop> {
        let known = self.variables.len();
        let ended = match node {
            Node::Text(text) => self.write(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    return self.write(&value.print());
                }
                return Ok(());
            }
            Node::If { condition, then, otherwise } => match self.pipeline(condition, dot) {
                Ok(value) => self.nodes(if value.truth() { then } else { otherwise }, dot),
                Err(stop) => Err(stop),
            },
            Node::With { value, then, otherwise } => match self.pipeline(value, dot) {
                Ok(value) if value.truth() => self.nodes(then, &value),
                Ok(_) => self.nodes(otherwise, dot),
                Err(stop) => Err(stop),
            },
            Node::Range { over, body, otherwise } => self.range(over, body, otherwise, dot),
            Node::Break => Err(Stop::Break),
            Node::Continue => Err(Stop::Continue),
        };
        self.variables.truncate(known);
        ended
    }

    fn write(&mut self, text: &str) -> Result<(), Stop> {
        if self.out.len() + text.len() > LONGEST {
            return Err(Stop::Error(format!("the text is longer than {LONGEST} bytes")));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn range(&mut self, over: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Val) -> Result<(), Stop> {
        let items: Vec<(Val, Val)> = match self.value(over, dot)? {
            Val::List(values) => values.into_iter().enumerate().map(|(at, value)| (Val::Int(at as i64), value)).collect(),
            Val::Map(map) => map.into_iter().map(|(key, value)| (Val::Str(key), value)).collect(),
            Val::Nil => Vec::new(),
            other @ (Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::Str(_) | Val::Time(_) | Val::Struct(_) | Val::Sample(_)) => {
                return Err(Stop::Error(format!("range can't iterate over {}", other.print())));
            }
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let known = self.variables.len();
        for (key, value) in items {
            self.passes += 1;
            if self.passes > MOST_PASSES {
                return Err(Stop::Error(format!("loops pass more than {MOST_PASSES} times")));
            }
            match over.variables.as_slice() {
                [] => {}
                [one] if over.declares => self.variables.push((one.clone(), value.clone())),
                [one] => self.assign(one, value.clone()),
                [index, one, ..] => self.variables.extend([(index.clone(), key), (one.clone(), value.clone())]),
            }
            let ended = self.nodes(body, &value);
            self.variables.truncate(known);
            match ended {
                Ok(()) | Err(Stop::Continue) => {}
                Err(Stop::Break) => break,
                Err(stop @ (Stop::Query(_) | Stop::Error(_))) => return Err(stop),
            }
        }
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Val) {
        if let Some((_, slot)) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            *slot = value;
        }
    }

    /// A pipeline's value; its variables are set.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Val) -> Result<Val, Stop> {
        let value = self.value(pipeline, dot)?;
        for name in &pipeline.variables {
            if pipeline.declares {
                self.variables.push((name.clone(), value.clone()));
            } else {
                self.assign(name, value.clone());
            }
        }
        Ok(value)
    }

    fn value(&mut self, pipeline: &Pipeline, dot: &Val) -> Result<Val, Stop> {
        let mut last: Option<Val> = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Val::Nil))
    }

    fn command(&mut self, operands: &[Operand], piped: Option<Val>, dot: &Val) -> Result<Val, Stop> {
        let Some((first, rest)) = operands.split_first() else { return Ok(Val::Nil) };
        let Operand::Function(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err(Stop::Error("can't give argument to non-function".to_owned()));
            }
            return self.operand(first, dot);
        };
        if matches!(name.as_str(), "and" | "or") {
            return self.short_circuit(name == "and", rest, piped, dot);
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        match functions::call(name, &arguments, &self.world) {
            Ok(value) => Ok(value),
            Err(Stop::Error(message)) => Err(Stop::Error(format!("error calling {name}: {message}"))),
            Err(stop @ (Stop::Query(_) | Stop::Break | Stop::Continue)) => Err(stop),
        }
    }

    fn short_circuit(&mut self, all: bool, operands: &[Operand], piped: Option<Val>, dot: &Val) -> Result<Val, Stop> {
        let mut last = None;
        for operand in operands {
            let value = self.operand(operand, dot)?;
            if value.truth() != all {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| Stop::Error("wrong number of args: want at least 1 got 0".to_owned()))
    }

    fn operand(&mut self, operand: &Operand, dot: &Val) -> Result<Val, Stop> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Function(_) => self.command(std::slice::from_ref(operand), None, dot),
            Operand::Chain(head, fields) => {
                let mut value = match head {
                    Head::Dot => dot.clone(),
                    Head::Variable(name) => {
                        let found = self.variables.iter().rev().find(|(known, _)| known == name);
                        found.map(|(_, value)| value.clone()).ok_or_else(|| Stop::Error(format!("undefined variable {name:?}")))?
                    }
                    Head::Nested(pipeline) => self.pipeline(pipeline, dot)?,
                };
                for field in fields {
                    value = value.field(field)?;
                }
                Ok(value)
            }
        }
    }
}
