//! Which samples a plan needs: the same frames as in the evaluation, walked without data. Also where `@` and `offset` move a step.

use crate::promql::plan::{Aggregator, At, Node, RangeNode, RangeOf, Root, Shift};
use crate::promql::value::Frame;

use super::Setting;

/// The time span of one selector in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Exclusive.
    pub after: i64,
    /// Inclusive.
    pub until: i64,
}

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

/// The span of each selector, in order of their numbers. `None` for one that is never asked (a subquery without steps).
pub fn extents(root: &Root, selectors: usize, setting: &Setting) -> Vec<Option<Extent>> {
    let mut walk = Walk { setting, found: vec![None; selectors] };
    match root {
        Root::Node(node) => walk.node(node, &setting.query),
        Root::Range(range) => walk.range(range, &setting.query),
    }
    walk.found
}

struct Walk<'a> {
    setting: &'a Setting,
    found: Vec<Option<Extent>>,
}

impl Walk<'_> {
    fn selector(&mut self, selector: usize, shift: &Shift, range: i64, frame: &Frame) {
        if frame.is_empty() {
            return;
        }
        let (first, last) = (self.setting.moment(shift, frame.start), self.setting.moment(shift, frame.time(frame.len() - 1)));
        self.found[selector] = Some(Extent { after: first.saturating_sub(range), until: last });
    }

    fn range(&mut self, range: &RangeNode, frame: &Frame) {
        match &range.of {
            RangeOf::Selector(selector) => self.selector(*selector, &range.shift, range.range, frame),
            RangeOf::Subquery(node, step) => {
                let inner = self.setting.subquery(range, *step, frame);
                self.node(node, &inner);
            }
        }
    }

    fn node(&mut self, node: &Node, frame: &Frame) {
        match node {
            Node::Number(_) | Node::Text(_) | Node::Time | Node::QueryTime(_) | Node::Date(_, None) => {}
            Node::Select(selector, shift) => self.selector(*selector, shift, self.setting.lookback, frame),
            Node::Negate(of) | Node::Scalar(of) | Node::Vector(of) | Node::Timestamp(of) | Node::Map(_, of) => self.node(of, frame),
            Node::Date(_, Some(of)) | Node::Absent(of, _) | Node::LabelReplace(of, _) | Node::LabelJoin(of, _) => self.node(of, frame),
            Node::Sort(of, _, _) | Node::HistogramPart(_, of) => self.node(of, frame),
            Node::HistogramQuantiles(of, _, qs) => {
                self.node(of, frame);
                qs.iter().for_each(|q| self.node(q, frame));
            }
            Node::Info(of, info) => {
                self.node(of, frame);
                self.selector(info.selector, &Shift::default(), self.setting.lookback, frame);
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
            Node::Over(_, params, range) => {
                params.iter().for_each(|param| self.node(param, frame));
                self.range(range, frame);
            }
            Node::AbsentOver(range, _) => self.range(range, frame),
        }
    }
}
