//! What went out before and during an incident: deployments that somebody recorded, and versions that appeared in the spans, as one
//! list. In: both lists and the incident's start. Out: one row per change, in order of time. Never fails.

use std::time::Duration;

use model::deployment::Deployment;
use model::event::Actor;
use model::evidence::VersionChange;
use model::time::{Span, Timestamp};
use serde::Serialize;

use super::moment;
use crate::timeline::duration;

/// A recorded deployment and a version in the spans are one change if they lie no further apart.
const SAME: Duration = Duration::from_secs(2 * 3600);
/// A change that lies no further before the start is named in the summary.
const SUSPECT: Duration = Duration::from_secs(3600);

/// What is known of changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// How far before the start deployments are listed.
    pub before: Span,
    /// Recorded ones of the affected services, in any order.
    pub deployments: Vec<Deployment>,
    /// Versions that appeared in the spans.
    pub versions: Vec<VersionChange>,
    /// Why the spans could not be asked; none where they could.
    pub missing: Option<String>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangeFacts {
    /// When (UTC).
    pub at: String,
    /// `3m before the start`, `1m after the start`.
    pub when: String,
    /// Whether it lies before the start.
    pub before_start: bool,
    /// Whether it lies so shortly before the start that it may be the cause.
    pub suspect: bool,
    /// Which service.
    pub service: String,
    /// Which version.
    pub version: String,
    /// What ran before, where the spans say so.
    pub previous: Option<String>,
    /// Where.
    pub environment: String,
    /// How it is known: recorded by somebody, seen in spans, or both.
    pub source: String,
    /// Somebody's words.
    pub description: Option<String>,
    /// Where to read more.
    pub link: Option<String>,
}

/// All of them, the earliest first.
pub fn changes(known: &Changes, started: Timestamp) -> Vec<ChangeFacts> {
    let mut versions: Vec<Option<&VersionChange>> = known.versions.iter().map(Some).collect();
    let mut rows: Vec<(Timestamp, ChangeFacts)> = Vec::new();
    for deployment in &known.deployments {
        let seen = versions.iter_mut().find(|one| one.is_some_and(|one| is_same(deployment, one))).and_then(Option::take);
        rows.push((deployment.at, recorded(deployment, seen, started)));
    }
    rows.extend(versions.into_iter().flatten().map(|version| (version.first_seen, seen_only(version, started))));
    rows.sort_by(|(a, one), (b, other)| (a, &one.service, &one.version).cmp(&(b, &other.service, &other.version)));
    rows.into_iter().map(|(_, row)| row).collect()
}

fn is_same(deployment: &Deployment, version: &VersionChange) -> bool {
    let (at, seen) = (deployment.at, version.first_seen);
    let there = version.environment.is_empty() || version.environment == deployment.environment;
    deployment.service == version.service && deployment.version == version.version && there && at.since(seen).max(seen.since(at)) <= SAME
}

fn recorded(deployment: &Deployment, seen: Option<&VersionChange>, started: Timestamp) -> ChangeFacts {
    let by = match &deployment.by {
        Actor::Key { id } => format!("the API key {id}"),
        other => other.to_string(),
    };
    let seen_at = seen.map(|seen| format!(", first span at {}", moment(seen.first_seen))).unwrap_or_default();
    ChangeFacts {
        service: deployment.service.clone(),
        version: deployment.version.clone(),
        previous: seen.map(|seen| seen.previous.clone()),
        environment: deployment.environment.clone(),
        source: format!("recorded by {by}{seen_at}"),
        description: deployment.description.clone(),
        link: deployment.link.clone(),
        ..placed(deployment.at, started)
    }
}

fn seen_only(version: &VersionChange, started: Timestamp) -> ChangeFacts {
    ChangeFacts {
        service: version.service.clone(),
        version: version.version.clone(),
        previous: Some(version.previous.clone()),
        environment: if version.environment.is_empty() { "-".to_owned() } else { version.environment.clone() },
        source: "its first span; nobody recorded it".to_owned(),
        ..placed(version.first_seen, started)
    }
}

fn placed(at: Timestamp, started: Timestamp) -> ChangeFacts {
    let before_start = at <= started;
    let when = if before_start {
        format!("{} before the start", duration(started.since(at)))
    } else {
        format!("{} after the start", duration(at.since(started)))
    };
    ChangeFacts {
        at: moment(at),
        when,
        before_start,
        suspect: before_start && started.since(at) <= SUSPECT,
        service: String::new(),
        version: String::new(),
        previous: None,
        environment: String::new(),
        source: String::new(),
        description: None,
        link: None,
    }
}
