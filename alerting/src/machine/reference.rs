//! Prometheus's machine once more, written from its description and as naively as possible: a list of alerts in a growing journal
//! of evaluations, every answer computed from the whole past. What `step` must agree with.

use std::time::Duration;

use model::time::Timestamp;

/// What Prometheus would say of one label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Inactive,
    Pending { active_at: Timestamp },
    Firing { active_at: Timestamp },
    Resolved,
}

/// Replays the whole history: `(moment, whether the result held the label set)`.
pub(super) fn replay(history: &[(Timestamp, bool)], hold: Duration, keep: Duration) -> Expected {
    let mut at = 0;
    let mut last = Expected::Inactive;
    while at < history.len() {
        if !history[at].1 {
            at += 1;
            continue;
        }
        // An episode begins here. Find where it fires, then where it ends.
        let active_at = history[at].0;
        let present = history[at..].iter().take_while(|(_, active)| *active).count();
        let Some(fires) = (at..at + present).find(|place| history[*place].0.since(active_at) >= hold) else {
            at += present;
            last = if at == history.len() { Expected::Pending { active_at } } else { Expected::Inactive };
            continue;
        };
        let mut absent_since = None;
        let end = (fires + 1..history.len()).find(|place| {
            let (moment, active) = history[*place];
            if active {
                absent_since = None;
                return false;
            }
            let since = *absent_since.get_or_insert(moment);
            keep.is_zero() || moment.since(since) >= keep
        });
        match end {
            None => return Expected::Firing { active_at },
            Some(end) => {
                last = Expected::Resolved;
                at = end;
            }
        }
    }
    last
}
