//! What the three backends must do alike with texts and numbers, so that a simulation on memory says what PostgreSQL would do.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::state::Backlog;
use model::time::Timestamp;
use model::work::{QUEUES, Queue};

/// How many records and events a query without a limit gives.
pub const USUAL_RECORDS: usize = 1_000;
/// How many work rows a query without a limit gives.
pub const USUAL_WORK: usize = 100;

/// A text as every backend can hold it: PostgreSQL's text takes no NUL, so U+FFFD stands for one. (Bodies are JSON, which escapes it.)
pub fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { Cow::Borrowed(text) }
}

/// A moment with the precision that is stored: microseconds, rounded down.
pub fn stored(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.micros())
}

/// A limit, where 0 means the usual one.
pub fn limit(wanted: usize, usual: usize) -> usize {
    if wanted == 0 { usual } else { wanted }
}

/// One backlog for every queue, idle ones too, from the pending rows, the dead letters and the first due time of those that have some.
pub fn backlogs(counts: &BTreeMap<Queue, (u64, u64, Timestamp)>, now: Timestamp) -> Vec<Backlog> {
    let backlog = |queue| {
        let (pending, dead, first_due) = counts.get(&queue).copied().unwrap_or((0, 0, now));
        Backlog { queue, pending, dead, overdue: stored(now).since(first_due) }
    };
    QUEUES.into_iter().map(backlog).collect()
}
