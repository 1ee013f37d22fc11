//! Function calls: name and arguments to a [`Node`].

use model::labels::{Labels, METRIC_NAME, MatchOp, Matcher};
use model::query::QueryError;
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{Call, Expr};

use super::{Planner, unwrap};
use crate::promql::functions::{self, RangeFunction};
use crate::promql::plan::{
    Direction, HistogramPart, Info, LabelJoin, LabelReplace, Node, NotePlaces, Pick, Place, QueryTime, RangeOf, Selector, SortBy,
};

impl Planner<'_> {
    /// A call, with the places of what there may be to say about it.
    pub(super) fn noting_call(&mut self, expr: &Expr, call: &Call) -> Result<Node, QueryError> {
        let argument = |at: usize| call.args.args.get(at).map(|arg| self.places.of(arg)).unwrap_or_default();
        let places = match call.func.name {
            "histogram_quantile" => NotePlaces { of: argument(1), parameter: argument(0) },
            "histogram_fraction" => NotePlaces { of: argument(2), parameter: argument(0) },
            "histogram_quantiles" => NotePlaces { of: argument(0), parameter: argument(2) },
            name if name.starts_with("sort") => NotePlaces { of: self.places.of(expr), parameter: Place::default() },
            _ => NotePlaces { of: argument(0), parameter: argument(0) },
        };
        Ok(match self.call(call)? {
            node @ (Node::Over(..) | Node::HistogramQuantile(..) | Node::HistogramFraction(..)) => Node::Noting(places, Box::new(node)),
            node @ (Node::HistogramQuantiles(..) | Node::Sort(..)) => Node::Noting(places, Box::new(node)),
            node => node,
        })
    }

    fn call(&mut self, call: &Call) -> Result<Node, QueryError> {
        let name = call.func.name;
        let args: Vec<&Expr> = call.args.args.iter().map(|arg| unwrap(arg)).collect();
        if let Some(function) = functions::math::by_name(name) {
            return Ok(Node::Map(function, self.vector(&args, 0, name)?));
        }
        if let Some(part) = functions::date::DatePart::by_name(name) {
            let of = if args.is_empty() { None } else { Some(self.vector(&args, 0, name)?) };
            return Ok(Node::Date(part, of));
        }
        if let Some(function) = RangeFunction::by_name(name) {
            return self.over(function, &args, name);
        }
        if let Some(node) = self.numeric(&args, name)? {
            return Ok(node);
        }
        match name {
            "absent" => {
                let of = self.vector(&args, 0, name)?;
                let labels = match &*of {
                    Node::Select(selector, _) => self.absent_labels(*selector),
                    _ => Labels::empty(),
                };
                Ok(Node::Absent(of, labels))
            }
            "absent_over_time" => {
                let range = self.range(self.argument(&args, 0, name)?)?;
                let labels = match &range.of {
                    RangeOf::Selector(selector) => self.absent_labels(*selector),
                    RangeOf::Subquery(..) => Labels::empty(),
                };
                Ok(Node::AbsentOver(Box::new(range), labels))
            }
            "histogram_quantile" => Ok(Node::HistogramQuantile(self.scalar(&args, 0, name)?, self.vector(&args, 1, name)?)),
            "histogram_fraction" => {
                Ok(Node::HistogramFraction(self.scalar(&args, 0, name)?, self.scalar(&args, 1, name)?, self.vector(&args, 2, name)?))
            }
            "histogram_quantiles" => {
                let (of, label) = (self.vector(&args, 0, name)?, self.text(&args, 1, name)?.to_owned());
                if label.is_empty() {
                    return Err(self.bad("invalid label name \"\" in histogram_quantiles"));
                }
                let qs = (2..args.len()).map(|at| self.scalar(&args, at, name).map(|q| *q)).collect::<Result<_, _>>()?;
                Ok(Node::HistogramQuantiles(of, label, qs))
            }
            "histogram_count" => Ok(Node::HistogramPart(HistogramPart::Count, self.vector(&args, 0, name)?)),
            "histogram_sum" => Ok(Node::HistogramPart(HistogramPart::Sum, self.vector(&args, 0, name)?)),
            "histogram_avg" => Ok(Node::HistogramPart(HistogramPart::Avg, self.vector(&args, 0, name)?)),
            "histogram_stddev" => Ok(Node::HistogramPart(HistogramPart::Stddev, self.vector(&args, 0, name)?)),
            "histogram_stdvar" => Ok(Node::HistogramPart(HistogramPart::Stdvar, self.vector(&args, 0, name)?)),
            "info" => self.info(&args, name),
            "label_replace" => self.label_replace(&args, name),
            "label_join" => self.label_join(&args, name),
            "sort" => Ok(Node::Sort(self.vector(&args, 0, name)?, SortBy::Value, Direction::Ascending)),
            "sort_desc" => Ok(Node::Sort(self.vector(&args, 0, name)?, SortBy::Value, Direction::Descending)),
            "sort_by_label" => self.sort_by_label(&args, name, Direction::Ascending),
            "sort_by_label_desc" => self.sort_by_label(&args, name, Direction::Descending),
            other => Err(self.bad(&format!("function '{other}' is not supported: it is experimental in Prometheus"))),
        }
    }

    /// Functions of times and numbers, and of vectors with numbers.
    fn numeric(&mut self, args: &[&Expr], name: &str) -> Result<Option<Node>, QueryError> {
        let node = match name {
            "time" => Node::Time,
            "pi" => Node::Number(std::f64::consts::PI),
            "start" => Node::QueryTime(QueryTime::Start),
            "end" => Node::QueryTime(QueryTime::End),
            "step" => Node::QueryTime(QueryTime::Step),
            "range" => Node::QueryTime(QueryTime::Range),
            "min_of" => Node::Pick(Pick::Least, self.scalar(args, 0, name)?, self.scalar(args, 1, name)?),
            "max_of" => Node::Pick(Pick::Greatest, self.scalar(args, 0, name)?, self.scalar(args, 1, name)?),
            "scalar" => Node::Scalar(self.vector(args, 0, name)?),
            "vector" => Node::Vector(self.scalar(args, 0, name)?),
            "timestamp" => Node::Timestamp(self.vector(args, 0, name)?),
            // Prometheus fills it where a feature flag lets it keep start timestamps with samples; without, it has no value.
            "start_timestamp" => Node::Nothing(self.vector(args, 0, name)?),
            "clamp" => Node::Clamp(self.vector(args, 0, name)?, self.scalar(args, 1, name)?, self.scalar(args, 2, name)?),
            "clamp_min" => Node::Clamp(self.vector(args, 0, name)?, self.scalar(args, 1, name)?, Box::new(Node::Number(f64::INFINITY))),
            "clamp_max" => {
                let below = Box::new(Node::Number(f64::NEG_INFINITY));
                Node::Clamp(self.vector(args, 0, name)?, below, self.scalar(args, 1, name)?)
            }
            "round" => {
                let nearest = if args.len() > 1 { self.scalar(args, 1, name)? } else { Box::new(Node::Number(1.0)) };
                Node::Round(self.vector(args, 0, name)?, nearest)
            }
            _ => return Ok(None),
        };
        Ok(Some(node))
    }

    fn argument<'e>(&self, args: &[&'e Expr], at: usize, name: &str) -> Result<&'e Expr, QueryError> {
        args.get(at).copied().ok_or_else(|| self.bad(&format!("call to function '{name}' needs argument {}", at + 1)))
    }

    fn vector(&mut self, args: &[&Expr], at: usize, name: &str) -> Result<Box<Node>, QueryError> {
        let arg = self.argument(args, at, name)?;
        self.typed(arg, ValueType::Vector, &format!("call to function '{name}'")).map(Box::new)
    }

    fn scalar(&mut self, args: &[&Expr], at: usize, name: &str) -> Result<Box<Node>, QueryError> {
        let arg = self.argument(args, at, name)?;
        self.typed(arg, ValueType::Scalar, &format!("call to function '{name}'")).map(Box::new)
    }

    fn text<'e>(&self, args: &[&'e Expr], at: usize, name: &str) -> Result<&'e str, QueryError> {
        match self.argument(args, at, name)? {
            Expr::StringLiteral(text) => Ok(&text.val),
            _ => Err(self.bad(&format!("argument {} of function '{name}' must be a text in quotes", at + 1))),
        }
    }

    fn over(&mut self, function: RangeFunction, args: &[&Expr], name: &str) -> Result<Node, QueryError> {
        let at = args.iter().position(|arg| arg.value_type() == ValueType::Matrix);
        let at = at.ok_or_else(|| self.bad(&format!("expected type range vector in call to function '{name}'")))?;
        // In order of the text, so that selectors are numbered as they appear.
        let (mut params, mut range) = (Vec::new(), None);
        for (index, arg) in args.iter().enumerate() {
            if index == at {
                range = Some(self.range(arg)?);
            } else {
                params.push(self.typed(arg, ValueType::Scalar, &format!("call to function '{name}'"))?);
            }
        }
        match range {
            Some(range) if params.len() == function.parameters() => Ok(Node::Over(function, params, Box::new(range))),
            _ => Err(self.bad(&format!("call to function '{name}' needs one range vector and {} scalars", function.parameters()))),
        }
    }

    /// The labels of `absent(...)`: those that the selector pins to one value.
    fn absent_labels(&self, selector: usize) -> Labels {
        let mut labels = Labels::empty();
        let mut seen: Vec<&str> = Vec::new();
        for matcher in &self.selectors[selector].matchers {
            if matcher.name == METRIC_NAME {
                continue;
            }
            let pinned = matcher.op == MatchOp::Equal && !seen.contains(&matcher.name.as_str());
            labels.set(&matcher.name, if pinned { &matcher.value } else { "" });
            if pinned {
                seen.push(&matcher.name);
            }
        }
        labels
    }

    /// `info(v)` joins with `target_info`; `info(v, {__name__=~"...", label=~"..."})` with what the selector says.
    fn info(&mut self, args: &[&Expr], name: &str) -> Result<Node, QueryError> {
        let of = self.vector(args, 0, name)?;
        let (names, wanted): (Vec<Matcher>, Vec<Matcher>) = match args.get(1) {
            None => (Vec::new(), Vec::new()),
            Some(Expr::VectorSelector(selector)) if selector.at.is_none() && selector.offset.is_none() => {
                self.matchers(selector)?.into_iter().partition(|matcher| matcher.name == METRIC_NAME)
            }
            Some(_) => return Err(self.bad("expected label selectors as second argument of info function")),
        };
        let mut names = names;
        if names.is_empty() {
            names.push(self.matcher(METRIC_NAME, MatchOp::Equal, "target_info")?);
        } else if names.iter().all(|matcher| matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRegex)) {
            // What is excluded is excluded from the info metrics, not from everything.
            names.push(self.matcher(METRIC_NAME, MatchOp::Regex, ".+_info")?);
        }
        self.selectors.push(Selector { matchers: names.iter().chain(&wanted).cloned().collect() });
        Ok(Node::Info(of, Info { selector: self.selectors.len() - 1, names, wanted }))
    }

    fn label_replace(&mut self, args: &[&Expr], name: &str) -> Result<Node, QueryError> {
        let of = self.vector(args, 0, name)?;
        let (destination, pattern) = (self.text(args, 1, name)?, self.text(args, 4, name)?);
        // As Prometheus says it: where it is evaluated.
        let failed = |what: &str, text: &str| QueryError::Execution(format!("invalid {what} in label_replace(): {text}"));
        let compiled = model::re2::anchored(pattern).map_err(|_| failed("regular expression", pattern))?;
        if destination.is_empty() {
            return Err(failed("destination label name", destination));
        }
        let replace = LabelReplace {
            destination: destination.to_owned(),
            replacement: self.text(args, 2, name)?.to_owned(),
            source: self.text(args, 3, name)?.to_owned(),
            pattern: compiled,
        };
        Ok(Node::LabelReplace(of, Box::new(replace)))
    }

    fn label_join(&mut self, args: &[&Expr], name: &str) -> Result<Node, QueryError> {
        let of = self.vector(args, 0, name)?;
        let (destination, separator) = (self.text(args, 1, name)?.to_owned(), self.text(args, 2, name)?.to_owned());
        let sources: Vec<String> = (3..args.len()).map(|at| self.text(args, at, name).map(str::to_owned)).collect::<Result<_, _>>()?;
        let failed = |what: &str| Err(QueryError::Execution(format!("invalid {what} label name in label_join(): ")));
        if sources.iter().any(String::is_empty) {
            return failed("source");
        }
        if destination.is_empty() {
            return failed("destination");
        }
        Ok(Node::LabelJoin(of, LabelJoin { destination, separator, sources }))
    }

    fn sort_by_label(&mut self, args: &[&Expr], name: &str, direction: Direction) -> Result<Node, QueryError> {
        let of = self.vector(args, 0, name)?;
        let labels: Vec<String> = (1..args.len()).map(|at| self.text(args, at, name).map(str::to_owned)).collect::<Result<_, _>>()?;
        Ok(Node::Sort(of, SortBy::Labels(labels), direction))
    }
}
