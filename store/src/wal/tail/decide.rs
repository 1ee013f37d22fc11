//! Which traces are kept, decided once a trace has waited: those that failed, were slow or are rare with all their spans, of the others
//! a share, each of which stands for several. Why a trace is kept is told by what it is, never by the number that the share is drawn
//! by, so weights add up to what came. Pure: times are arguments. Bounded: forgets, and then keeps what it does not know.

use std::collections::HashMap;

use model::tail::TailPolicy;
use model::time::Timestamp;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// Operations that are counted within the time of `rare`; those past it are not rare.
const MAX_OPERATIONS: usize = 20_000;

/// What counts of a span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'s> {
    /// [`trace_key`].
    pub trace: u128,
    /// Whether it failed.
    pub error: bool,
    /// How long it took, in nanoseconds.
    pub duration: u64,
    /// Of which service.
    pub service: &'s [u8],
    /// Its name.
    pub name: &'s [u8],
}

/// A trace of a tenant. Every collector makes the same one.
pub(crate) fn trace_key(tenant: &[u8], trace_id: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(tenant);
    hasher.update(&[0]);
    hasher.update(trace_id);
    hasher.digest128()
}

/// Why a trace is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// A span failed.
    Error,
    /// A span was slow.
    Slow,
    /// One of few traces with a span of this operation.
    Rare,
    /// It may be the rest of a trace that was kept before what is remembered.
    Unsure,
    /// It is of the share.
    Share,
}

impl Why {
    /// The value of the metric label `decision`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Why::Error => "error",
            Why::Slow => "slow",
            Why::Rare => "rare",
            Why::Unsure => "unsure",
            Why::Share => "share",
        }
    }
}

/// What becomes of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// All its spans are kept, each of which stands for so many.
    Kept(Why, u32),
    /// None is.
    Dropped,
}

impl Fate {
    /// How many spans one of its spans stands for.
    pub(crate) fn weight(self) -> u32 {
        match self {
            Fate::Kept(_, weight) => weight,
            Fate::Dropped => 0,
        }
    }
    /// The value of the metric label `decision`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Fate::Kept(why, _) => why.label(),
            Fate::Dropped => "dropped",
        }
    }
}

/// What was seen of a trace that waits.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    error: bool,
    slow: bool,
    rare: bool,
}

/// Traces with an operation, within the time of `rare`.
#[derive(Clone, Copy, Debug)]
struct Operation {
    traces: u32,
    last: u128,
}

/// What is known of traces.
#[derive(Debug)]
pub(crate) struct Memory {
    waiting: HashMap<u128, Seen>,
    decided: HashMap<u128, Fate>,
    /// Decided before `turned`.
    before: HashMap<u128, Fate>,
    turned: Timestamp,
    operations: HashMap<u64, Operation>,
    counted_since: Timestamp,
    /// Until then a trace that is not known may have been decided before.
    unsure_until: Timestamp,
}

impl Memory {
    /// That of a process that starts: what was decided before is not known.
    pub(crate) fn new(policy: &TailPolicy, now: Timestamp) -> Self {
        Memory {
            waiting: HashMap::new(),
            decided: HashMap::new(),
            before: HashMap::new(),
            turned: now,
            operations: HashMap::new(),
            counted_since: now,
            unsure_until: now.plus(policy.remember),
        }
    }

    /// Traces that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A span came.
    pub(crate) fn note(&mut self, policy: &TailPolicy, span: &Facts<'_>, now: Timestamp) {
        if self.known(span.trace).is_some() {
            return;
        }
        let slow = || {
            let own = std::str::from_utf8(span.service).ok().and_then(|service| policy.slow_by_service.get(service));
            own.or(policy.slow.as_ref()).is_some_and(|slow| u128::from(span.duration) >= slow.as_nanos())
        };
        let rare = self.rare(policy, span, now);
        let seen = self.waiting.entry(span.trace).or_default();
        seen.error |= policy.errors && span.error;
        seen.slow |= slow();
        seen.rare |= rare;
    }

    /// Whether the span is of an operation that few traces have, this one among them.
    fn rare(&mut self, policy: &TailPolicy, span: &Facts<'_>, now: Timestamp) -> bool {
        let Some((traces, per)) = policy.rare else { return false };
        if now.since(self.counted_since) >= per {
            self.operations.clear();
            self.counted_since = now;
        }
        let mut hasher = Xxh3::new();
        hasher.update(span.service);
        hasher.update(&[0]);
        hasher.update(span.name);
        let (room, key) = (self.operations.len() < MAX_OPERATIONS, hasher.digest());
        match self.operations.get_mut(&key) {
            // Counted already, and told then.
            Some(operation) if operation.last == span.trace => false,
            Some(operation) => {
                let rare = operation.traces < traces;
                if rare {
                    *operation = Operation { traces: operation.traces + 1, last: span.trace };
                }
                rare
            }
            None if room => {
                self.operations.insert(key, Operation { traces: 1, last: span.trace });
                traces > 0
            }
            None => false,
        }
    }

    fn known(&self, trace: u128) -> Option<Fate> {
        self.decided.get(&trace).or_else(|| self.before.get(&trace)).copied()
    }

    /// What becomes of a trace, and whether that is decided only now. Once decided it stays so for as long as it is remembered.
    pub(crate) fn fate(&mut self, policy: &TailPolicy, trace: u128, now: Timestamp) -> (Fate, bool) {
        if let Some(fate) = self.known(trace) {
            return (fate, false);
        }
        let seen = self.waiting.remove(&trace).unwrap_or_default();
        let fate = match () {
            () if seen.error => Fate::Kept(Why::Error, 1),
            () if seen.slow => Fate::Kept(Why::Slow, 1),
            () if seen.rare => Fate::Kept(Why::Rare, 1),
            // Not by the share: for this time all are kept, so each stands for itself.
            () if now < self.unsure_until => Fate::Kept(Why::Unsure, 1),
            () => share(policy.ratio, trace),
        };
        self.remember(policy, trace, fate, now);
        (fate, true)
    }

    fn remember(&mut self, policy: &TailPolicy, trace: u128, fate: Fate, now: Timestamp) {
        let full = self.decided.len() >= policy.max_traces.max(1);
        if full && !self.before.is_empty() {
            // What is forgotten now may still be followed by spans.
            self.unsure_until = self.unsure_until.max(self.turned.plus(policy.remember));
        }
        if full || now.since(self.turned) >= policy.remember {
            self.before = std::mem::take(&mut self.decided);
            self.turned = now;
        }
        self.decided.insert(trace, fate);
    }
}

/// Whether a trace is of the share, drawn by its key: every collector draws alike, and otherwise than head sampling does.
fn share(ratio: f64, trace: u128) -> Fate {
    let drawn = |seed: u64| xxh3_64_with_seed(&trace.to_le_bytes(), seed) as f64 / 2f64.powi(64);
    if drawn(0x7A11) >= ratio {
        return Fate::Dropped;
    }
    let weight = (1.0 / ratio).min(f64::from(u32::MAX));
    // A whole number of which the mean is the weight.
    let more = drawn(0x7A12) < weight.fract();
    Fate::Kept(Why::Share, (weight.floor() as u32).saturating_add(u32::from(more)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_000_000);

    fn policy(ratio: f64) -> TailPolicy {
        TailPolicy {
            wait: Duration::from_secs(10),
            remember: Duration::from_secs(60),
            ratio,
            errors: true,
            slow: Some(Duration::from_secs(1)),
            slow_by_service: [("batch".to_owned(), Duration::from_secs(100))].into(),
            rare: Some((2, Duration::from_secs(60))),
            max_traces: 1_000_000,
        }
    }

    fn span(trace: u128) -> Facts<'static> {
        Facts { trace, error: false, duration: 5, service: b"shop", name: b"GET /" }
    }

    /// Past the time in which it is not sure.
    fn settled(policy: &TailPolicy) -> (Memory, Timestamp) {
        (Memory::new(policy, START), START.plus(policy.remember))
    }

    #[test]
    fn failed_slow_and_rare_traces_are_kept_and_late_spans_follow() {
        let policy = policy(0.0);
        let (mut memory, now) = settled(&policy);
        // Two use up what is rare of the plain operation.
        memory.note(&policy, &span(1), now);
        memory.note(&policy, &span(1), now);
        memory.note(&policy, &span(2), now);
        for trace in 3..7 {
            memory.note(&policy, &span(trace), now);
        }
        memory.note(&policy, &Facts { error: true, ..span(4) }, now);
        memory.note(&policy, &Facts { duration: 1_000_000_000, ..span(5) }, now);
        memory.note(&policy, &Facts { name: b"GET /admin", ..span(6) }, now);
        memory.note(&policy, &Facts { duration: 1_000_000_000, service: b"batch", ..span(7) }, now);
        let fates: Vec<Fate> = (1..8).map(|trace| memory.fate(&policy, trace, now).0).collect();
        let kept = |why| Fate::Kept(why, 1);
        let (rare, error, slow) = (kept(Why::Rare), kept(Why::Error), kept(Why::Slow));
        assert_eq!(fates, [rare, rare, Fate::Dropped, error, slow, rare, rare], "a minute is not slow for `batch`");
        assert_eq!(memory.waiting(), 0);
        memory.note(&policy, &Facts { error: true, ..span(3) }, now);
        assert_eq!(memory.fate(&policy, 3, now), (Fate::Dropped, false), "late spans follow the decision");
        assert_eq!(memory.fate(&policy, 4, now.plus(Duration::from_secs(59))), (error, false));
        assert_eq!(memory.waiting(), 0);
    }

    #[test]
    fn what_may_be_the_rest_of_a_kept_trace_is_kept() {
        let small = TailPolicy { max_traces: 2, rare: None, ..policy(0.0) };
        let mut memory = Memory::new(&small, START);
        let unsure = Fate::Kept(Why::Unsure, 1);
        assert_eq!(memory.fate(&small, 1, START).0, unsure, "after a start nothing is known");
        let later = START.plus(Duration::from_secs(60));
        assert_eq!(memory.fate(&small, 2, later).0, Fate::Dropped);
        assert_eq!(memory.fate(&small, 1, later), (unsure, false));
        // The third and fourth fill a half of the memory, the fifth makes it forget the first ones before their time.
        let fates: Vec<Fate> = (3..8).map(|trace| memory.fate(&small, trace, later).0).collect();
        assert!(fates[..2].iter().all(|fate| *fate == Fate::Dropped) && fates[4] == unsure, "{fates:?}");
        let much_later = later.plus(Duration::from_secs(61));
        assert_eq!(memory.fate(&small, 9, much_later).0, Fate::Dropped, "and is over");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever the share, the weights of the kept spans add up to what came, in all and for each kind of trace.
        #[test]
        fn weights_add_up(ratio in 0.02f64..=1.0, seed in any::<u64>()) {
            const TRACES: u64 = 20_000;
            let policy = TailPolicy { max_traces: usize::MAX, ..policy(ratio) };
            let (mut memory, now) = settled(&policy);
            let key = |at: u64| trace_key(&seed.to_le_bytes(), &at.to_le_bytes());
            // Every tenth trace fails; a trace has one to four spans.
            let spans = |at: u64| 1 + at % 4;
            for at in 0..TRACES {
                for part in 0..spans(at) {
                    memory.note(&policy, &Facts { error: at % 10 == 0 && part == 0, ..span(key(at)) }, now);
                }
            }
            let (mut failed, mut others) = (0u64, 0u64);
            for at in 0..TRACES {
                let weight = u64::from(memory.fate(&policy, key(at), now).0.weight()) * spans(at);
                if at % 10 == 0 { failed += weight } else { others += weight }
            }
            let came = |wanted: bool| (0..TRACES).filter(|at| (at % 10 == 0) == wanted).map(spans).sum::<u64>();
            prop_assert_eq!(failed, came(true));
            // Five standard deviations; a trace has at most four spans.
            let deviation = 5.0 * (16.0 * (1.25 - ratio) / ratio * TRACES as f64).sqrt();
            prop_assert!((others as f64 - came(false) as f64).abs() <= deviation, "{} of {}", others, came(false));
        }
    }
}
