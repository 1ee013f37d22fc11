//! The life of an issue, as pure functions. In: the issue, what was seen or wanted, when. Out: the changes to journal, or one sentence
//! why this move is not possible; and the issue after a change.
//!
//! ```text
//! open --> resolved --> regressed --> resolved ...
//!  ^  \--> ignored  (until a time, so many events or users)
//!  \_________/
//! any --> merged --> open (unmerged)
//! ```

use model::error_events::EventCounts;
use model::event::Actor;
use model::issue::{Absorbed, IgnoreUntil, Issue, IssueChange, IssueState, Move};
use model::time::Timestamp;

use super::release::shows_regression;
use super::sighting::Sighting;

#[cfg(test)]
mod tests;

/// How many changes an issue remembers itself.
const HISTORY: usize = 50;
/// The longest id of a person, in bytes.
const LONGEST_ID: usize = 200;

/// What was seen of an issue, or is wanted of it.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// New events.
    Seen(&'a Sighting),
    /// How many events and users there were since it was ignored.
    Counted(EventCounts),
    /// "It is fixed."
    Resolve {
        /// The release that has the fix.
        in_release: Option<String>,
    },
    /// "It is not", or "I want to hear of it again".
    Unresolve,
    /// "Not now."
    Ignore {
        /// For how long.
        until: IgnoreUntil,
    },
    /// Somebody takes it, or nobody any more.
    Assign {
        /// The person's id.
        to: Option<String>,
    },
}

/// A move that the issue's state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("issue {number} cannot be {wanted}: {why}")]
pub struct IllegalMove {
    /// Which issue.
    pub number: u64,
    /// What was wanted.
    pub wanted: &'static str,
    /// Why not, and what to do instead.
    pub why: String,
}

/// What follows. Sightings and counts are never refused: where nothing follows from them there is no change.
pub fn decide(issue: &Issue, input: &Input<'_>, now: Timestamp) -> Result<Vec<IssueChange>, IllegalMove> {
    let refuse = |wanted, why: String| Err(IllegalMove { number: issue.number, wanted, why });
    match input {
        Input::Seen(sighting) => Ok(seen(issue, sighting).into_iter().collect()),
        Input::Counted(counts) => Ok(counted(issue, *counts).into_iter().collect()),
        Input::Resolve { in_release } => match &issue.state {
            IssueState::Open | IssueState::Regressed { .. } | IssueState::Ignored { .. } => {
                let in_release = in_release.clone().filter(|release| !release.is_empty());
                Ok(vec![IssueChange::Resolved { in_release }])
            }
            IssueState::Resolved { at, by, .. } => refuse("resolved", format!("{by} resolved it at {at}; unresolve it first")),
            IssueState::Merged { into_number, .. } => refuse("resolved", merged(*into_number)),
        },
        Input::Unresolve => match &issue.state {
            IssueState::Resolved { .. } | IssueState::Ignored { .. } => Ok(vec![IssueChange::Reopened]),
            IssueState::Open | IssueState::Regressed { .. } => refuse("opened again", "it is open".to_owned()),
            IssueState::Merged { into_number, .. } => refuse("opened again", merged(*into_number)),
        },
        Input::Ignore { until } => match &issue.state {
            IssueState::Open | IssueState::Regressed { .. } | IssueState::Ignored { .. } => match nonsense(*until, now) {
                Some(why) => refuse("ignored", why),
                None => Ok(vec![IssueChange::Ignored { until: *until }]),
            },
            IssueState::Resolved { .. } => refuse("ignored", "it is resolved, and opens again if it comes back".to_owned()),
            IssueState::Merged { into_number, .. } => refuse("ignored", merged(*into_number)),
        },
        Input::Assign { to } => match &issue.state {
            IssueState::Merged { into_number, .. } => refuse("assigned", merged(*into_number)),
            IssueState::Open | IssueState::Regressed { .. } | IssueState::Resolved { .. } | IssueState::Ignored { .. } => match to {
                Some(id) if id.trim().is_empty() || id.len() > LONGEST_ID || id.chars().any(char::is_control) => {
                    refuse("assigned", format!("a person's id has 1 to {LONGEST_ID} bytes and no control characters"))
                }
                Some(_) | None if *to == issue.assignee => Ok(Vec::new()),
                Some(_) | None => Ok(vec![IssueChange::Assigned { to: to.clone() }]),
            },
        },
    }
}

fn merged(into: u64) -> String {
    format!("it is part of issue {into}; use that one, or unmerge it")
}

fn nonsense(until: IgnoreUntil, now: Timestamp) -> Option<String> {
    match until {
        IgnoreUntil::Forever => None,
        IgnoreUntil::Time { at } => (at <= now).then(|| format!("{at} is over; name a later time")),
        IgnoreUntil::Events { count } => (count == 0).then(|| "0 events have come already; name at least 1".to_owned()),
        IgnoreUntil::Users { count } => (count == 0).then(|| "0 users are affected already; name at least 1".to_owned()),
    }
}

fn seen(issue: &Issue, sighting: &Sighting) -> Option<IssueChange> {
    match &issue.state {
        IssueState::Open | IssueState::Regressed { .. } | IssueState::Merged { .. } => None,
        IssueState::Resolved { at, in_release, .. } => {
            let known = |release: &str| issue.releases.iter().any(|seen| seen.release == release && seen.first_seen <= *at);
            let shows = |release: &str| in_release.as_deref().is_none_or(|fixed| shows_regression(release, fixed, known(release)));
            let back = sighting.releases.iter().filter(|(release, (_, last))| last > at && shows(release));
            let (release, _) = back.max_by_key(|(_, (_, last))| *last)?;
            Some(IssueChange::Regressed { release: Some(release.clone()).filter(|release| !release.is_empty()) })
        }
        IssueState::Ignored { until, .. } => match until {
            IgnoreUntil::Time { at } if sighting.last_seen >= *at => {
                Some(IssueChange::Unignored { reason: format!("it was ignored until {at} and was seen again") })
            }
            IgnoreUntil::Forever | IgnoreUntil::Time { .. } | IgnoreUntil::Events { .. } | IgnoreUntil::Users { .. } => None,
        },
    }
}

fn counted(issue: &Issue, counts: EventCounts) -> Option<IssueChange> {
    let reason = match asks_for_counts(issue)? {
        (IgnoreUntil::Events { count }, _) if counts.events >= count => format!("{} more events came", counts.events),
        (IgnoreUntil::Users { count }, _) if counts.users >= count => format!("{} users were affected since", counts.users),
        (IgnoreUntil::Forever | IgnoreUntil::Time { .. } | IgnoreUntil::Events { .. } | IgnoreUntil::Users { .. }, _) => return None,
    };
    Some(IssueChange::Unignored { reason })
}

/// The condition that is decided by counting, and since when to count.
pub fn asks_for_counts(issue: &Issue) -> Option<(IgnoreUntil, Timestamp)> {
    match &issue.state {
        IssueState::Ignored { at, until: until @ (IgnoreUntil::Events { .. } | IgnoreUntil::Users { .. }), .. } => Some((*until, *at)),
        IssueState::Ignored { until: IgnoreUntil::Forever | IgnoreUntil::Time { .. }, .. }
        | IssueState::Open
        | IssueState::Regressed { .. }
        | IssueState::Resolved { .. }
        | IssueState::Merged { .. } => None,
    }
}

/// Carries a change out and remembers it. Fingerprints move in [`super::merge`].
pub fn apply(issue: &mut Issue, change: &IssueChange, at: Timestamp, by: &Actor) {
    match change {
        IssueChange::Opened { .. } | IssueChange::Reopened | IssueChange::Unignored { .. } | IssueChange::Unmerged { .. } => {
            issue.state = IssueState::Open;
        }
        IssueChange::Regressed { release } => {
            issue.state = IssueState::Regressed { at, release: release.clone() };
            issue.regressions += 1;
        }
        IssueChange::Resolved { in_release } => {
            issue.state = IssueState::Resolved { at, by: by.clone(), in_release: in_release.clone() };
        }
        IssueChange::Ignored { until } => issue.state = IssueState::Ignored { at, by: by.clone(), until: *until },
        IssueChange::Assigned { to } => issue.assignee = to.clone(),
        IssueChange::Merged { into, into_number } => issue.state = IssueState::Merged { at, into: *into, into_number: *into_number },
        IssueChange::Absorbed { issue: other, number, fingerprints } => {
            issue.absorbed.push(Absorbed { issue: *other, number: *number, fingerprints: fingerprints.clone() });
        }
        IssueChange::Released { issue: other, .. } => issue.absorbed.retain(|part| part.issue != *other),
        IssueChange::Forgotten { .. } => {}
    }
    issue.history.push(Move { at, by: by.clone(), change: change.clone() });
    let over = issue.history.len().saturating_sub(HISTORY);
    issue.history.drain(..over);
}

/// The issue as it was after each change that it remembers, with the moments, the earliest first. Before the first of them, if that is not its
/// beginning, nothing is known. Services, releases and fingerprints are today's.
pub fn past(issue: &Issue) -> Vec<(Timestamp, Issue)> {
    let came_back = |change: &IssueChange| matches!(change, IssueChange::Regressed { .. });
    let remembered = issue.history.iter().filter(|one| came_back(&one.change)).count();
    let mut then = issue.clone();
    then.state = IssueState::Open;
    then.regressions = issue.regressions.saturating_sub(u32::try_from(remembered).unwrap_or(u32::MAX));
    then.history.clear();
    let after = |one: &Move| {
        apply(&mut then, &one.change, one.at, &one.by);
        (one.at, then.clone())
    };
    issue.history.iter().map(after).collect()
}

/// One sentence for a change.
pub fn sentence(change: &IssueChange) -> String {
    let in_release = |release: &Option<String>| release.as_ref().map_or(String::new(), |release| format!(" in release {release}"));
    match change {
        IssueChange::Opened { title, .. } => format!("a new error: {title}"),
        IssueChange::Regressed { release } => format!("it came back{}", in_release(release)),
        IssueChange::Resolved { in_release: release } => format!("resolved{}", in_release(release)),
        IssueChange::Reopened => "opened again".to_owned(),
        IssueChange::Ignored { until } => match until {
            IgnoreUntil::Forever => "ignored".to_owned(),
            IgnoreUntil::Time { at } => format!("ignored until {at}"),
            IgnoreUntil::Events { count } => format!("ignored until {count} more events"),
            IgnoreUntil::Users { count } => format!("ignored until {count} users are affected"),
        },
        IssueChange::Unignored { reason } => format!("no longer ignored: {reason}"),
        IssueChange::Assigned { to: Some(person) } => format!("assigned to {person}"),
        IssueChange::Assigned { to: None } => "assigned to nobody".to_owned(),
        IssueChange::Merged { into_number, .. } => format!("merged into issue {into_number}"),
        IssueChange::Absorbed { number, .. } => format!("issue {number} was merged into it"),
        IssueChange::Unmerged { from_number, .. } => format!("no longer part of issue {from_number}"),
        IssueChange::Released { number, .. } => format!("issue {number} is no longer part of it"),
        IssueChange::Forgotten { reason } => format!("forgotten: {reason}"),
    }
}
