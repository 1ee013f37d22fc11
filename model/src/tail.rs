//! Tail sampling: which traces are kept once their spans came. In: settings that the collector checked. Out: what the log decides by.

use std::collections::BTreeMap;
use std::time::Duration;

/// Which traces are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct TailPolicy {
    /// From the first span of a trace to the decision.
    pub wait: Duration,
    /// How many decided traces are remembered, and for how long: spans that come later follow.
    pub remember: Duration,
    /// Share of the traces that are kept for no other reason, from 0 to 1.
    pub ratio: f64,
    /// Traces with a failed span are kept.
    pub errors: bool,
    /// Traces with a span that took at least this long are kept.
    pub slow: Option<Duration>,
    /// The same for spans of a service, instead of `slow`.
    pub slow_by_service: BTreeMap<String, Duration>,
    /// Of each operation (service and span name), so many traces are kept in each such time.
    pub rare: Option<(u32, Duration)>,
    /// Traces that wait, and traces that are remembered, at most; past it decisions come early.
    pub max_traces: usize,
}
