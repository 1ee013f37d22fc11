//! The severity of a firing alert with thresholds: it rises at once and falls only after `for`.

use std::collections::BTreeMap;
use std::time::Duration;

use model::severity::Severity;
use model::time::Timestamp;

const LADDER: [Severity; 4] = [Severity::Info, Severity::Warning, Severity::High, Severity::Critical];

/// The severity after a value of this level. A severity is given up once the value has been below it for `hold`; `below_since`
/// remembers since when.
pub(super) fn settle(
    below_since: &mut BTreeMap<Severity, Timestamp>,
    from: Severity,
    level: Severity,
    hold: Duration,
    now: Timestamp,
) -> Severity {
    if level >= from {
        below_since.clear();
        return level;
    }
    below_since.retain(|severity, _| *severity > level && *severity <= from);
    for severity in LADDER.into_iter().filter(|severity| *severity > level && *severity <= from) {
        below_since.entry(severity).or_insert(now);
    }
    let kept = |severity: &Severity| below_since.get(severity).is_some_and(|since| now.since(*since) < hold);
    let severity = LADDER.into_iter().rev().filter(|severity| *severity > level && *severity <= from).find(kept).unwrap_or(level);
    below_since.retain(|below, _| *below <= severity);
    severity
}
