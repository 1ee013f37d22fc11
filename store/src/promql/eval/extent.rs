//! Which samples a plan needs: the same frames as in the evaluation, walked without data. Also where `@` and `offset` move a step.

use crate::promql::functions::RangeFunction;
use crate::promql::plan::{Aggregator, At, Node, RangeNode, RangeOf, Root, Shift};
use crate::promql::source::{GridFunction, Wish};
use crate::promql::value::Frame;

use super::Setting;

/// What one selector is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// From here on (milliseconds, exclusive) ...
    pub after: i64,
    /// ... to here (inclusive).
    pub until: i64,
    /// The only thing that is done with its samples, if a store may do that.
    pub wish: Option<Wish>,
}

/// Frames of fewer steps are evaluated here: their samples are hardly more than their cells.
const WORTH_A_WISH: usize = 8;
/// A store computes no grid of more steps (ClickHouse: 2^24 - 1).
const GRID: usize = 1 << 20;

impl Setting {
    /// The moment that a step means after `@` and `offset`.
    pub fn moment(&self, shift: &Shift, step_time: i64) -> i64 {
        let at = match shift.at {
            None => step_time,
            Some(At::Start) => self.query.start,
            Some(At::End) => self.query.end,
            Some(At::Millis(millis)) => millis,
        };
        at.saturating_sub(shift.offset)
    }

    /// The steps at which a subquery evaluates its expression: multiples of its step inside of all its windows together.
    pub fn subquery(&self, range: &RangeNode, step: Option<i64>, frame: &Frame) -> Frame {
        let step = step.unwrap_or(self.subquery_step).max(1);
        let last = frame.time(frame.len().saturating_sub(1));
        let (from, until) = (self.moment(&range.shift, frame.start).saturating_sub(range.range), self.moment(&range.shift, last));
        // Left-open: the first multiple after the left edge.
        let start = from.div_euclid(step).saturating_mul(step).saturating_add(step);
        Frame { start, end: if frame.is_empty() { start - 1 } else { until }, step }
    }
}

/// What a plan asks of the store.
#[derive(Clone, Debug)]
pub struct Needs {
    /// For each selector, in order of their numbers. `None` for one that is never asked (a subquery without steps).
    pub extents: Vec<Option<Extent>>,
    /// Whether the value at a step depends on nothing but that step and on samples that are not after it: not on where the query begins or
    /// ends, and no `@` or negative offset.
    pub steady: bool,
}

/// Walks the plan over the steps of a frame.
pub fn needs(root: &Root, selectors: usize, setting: &Setting, frame: &Frame) -> Needs {
    let mut walk = Walk { setting, found: vec![None; selectors], steady: true };
    match root {
        Root::Node(node) => walk.node(node, frame),
        Root::Range(range) => walk.range(range, frame, None),
    }
    Needs { extents: walk.found, steady: walk.steady }
}

fn is_steady(shift: &Shift) -> bool {
    shift.at.is_none() && shift.offset >= 0
}

struct Walk<'a> {
    setting: &'a Setting,
    found: Vec<Option<Extent>>,
    steady: bool,
}

impl Walk<'_> {
    fn selector(&mut self, selector: usize, shift: &Shift, range: i64, frame: &Frame, function: Option<GridFunction>) {
        self.steady &= is_steady(shift);
        if frame.is_empty() {
            return;
        }
        let (first, last) = (self.setting.moment(shift, frame.start), self.setting.moment(shift, frame.time(frame.len() - 1)));
        let moves = shift.at.is_none() && (WORTH_A_WISH..=GRID).contains(&frame.len());
        let steps = Frame { start: first, end: last, step: frame.step };
        let wish = function.filter(|_| moves).map(|function| Wish { function, frame: steps, range });
        self.found[selector] = Some(Extent { after: first.saturating_sub(range), until: last, wish });
    }

    fn range(&mut self, range: &RangeNode, frame: &Frame, function: Option<RangeFunction>) {
        let function = function.and_then(|function| match function {
            RangeFunction::Rate => Some(GridFunction::Rate),
            RangeFunction::Increase => Some(GridFunction::Increase),
            RangeFunction::Delta => Some(GridFunction::Delta),
            RangeFunction::Irate => Some(GridFunction::Irate),
            RangeFunction::Idelta => Some(GridFunction::Idelta),
            RangeFunction::LastOverTime => Some(GridFunction::Last),
            _ => None,
        });
        match &range.of {
            RangeOf::Selector(selector) => self.selector(*selector, &range.shift, range.range, frame, function),
            RangeOf::Subquery(node, step) => {
                self.steady &= is_steady(&range.shift);
                let inner = self.setting.subquery(range, *step, frame);
                self.node(node, &inner);
            }
        }
    }

    fn node(&mut self, node: &Node, frame: &Frame) {
        match node {
            Node::Number(_) | Node::Text(_) | Node::Time | Node::Date(_, None) => {}
            Node::QueryTime(_) => self.steady = false,
            Node::Select(selector, shift) => self.selector(*selector, shift, self.setting.lookback, frame, Some(GridFunction::Newest)),
            Node::Timestamp(of) => match &**of {
                Node::Select(selector, shift) => self.selector(*selector, shift, self.setting.lookback, frame, None),
                other => self.node(other, frame),
            },
            Node::Noting(_, of) | Node::Negate(of) | Node::Nothing(of) | Node::Scalar(of) | Node::Vector(of) | Node::Map(_, of) => {
                self.node(of, frame)
            }
            Node::Date(_, Some(of)) | Node::Absent(of, _) | Node::LabelReplace(of, _) | Node::LabelJoin(of, _) => self.node(of, frame),
            Node::Sort(of, _, _) | Node::HistogramPart(_, of) => self.node(of, frame),
            Node::HistogramQuantiles(of, _, qs) => {
                self.node(of, frame);
                qs.iter().for_each(|q| self.node(q, frame));
            }
            Node::Info(of, info) => {
                self.node(of, frame);
                self.selector(info.selector, &Shift::default(), self.setting.lookback, frame, None);
            }
            Node::Pick(_, left, right) | Node::Round(left, right) | Node::HistogramQuantile(left, right) => {
                self.node(left, frame);
                self.node(right, frame);
            }
            Node::Clamp(of, min, max) | Node::HistogramFraction(of, min, max) => {
                self.node(of, frame);
                self.node(min, frame);
                self.node(max, frame);
            }
            Node::Binary(binary) => {
                self.node(&binary.left, frame);
                self.node(&binary.right, frame);
            }
            Node::Aggregate(aggregate) => {
                match &aggregate.aggregator {
                    Aggregator::Quantile(node) | Aggregator::Topk(node) | Aggregator::Bottomk(node) => self.node(node, frame),
                    Aggregator::Limitk(node) | Aggregator::LimitRatio(node) => self.node(node, frame),
                    Aggregator::Sum | Aggregator::Avg | Aggregator::Min | Aggregator::Max | Aggregator::Count | Aggregator::Group => {}
                    Aggregator::Stddev | Aggregator::Stdvar | Aggregator::CountValues(_) => {}
                }
                self.node(&aggregate.of, frame);
            }
            Node::Over(function, params, range) => {
                params.iter().for_each(|param| self.node(param, frame));
                self.range(range, frame, Some(*function));
            }
            Node::AbsentOver(range, _) => self.range(range, frame, None),
        }
    }
}
