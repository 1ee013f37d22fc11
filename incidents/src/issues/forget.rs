//! Which issues are let go: those that were not seen for longer than error events are kept, and beyond the most that a tenant may have
//! those that were not seen for longest. In: issues, the limits, now. Out: which, and why; and the commits that delete them. What was
//! merged into an issue goes with it. Fails only with the state store.

use std::collections::{BTreeMap, HashSet};

use model::event::{Actor, Event, EventKind, Subject};
use model::fingerprint::Fingerprint;
use model::ids::{EventId, IdSource, IssueId};
use model::issue::{FingerprintOwner, Issue, IssueChange, IssueState};
use model::state::{Commit, Entity, Expect, Fence, RecordQuery, StateError, StateStore, Versioned, decode};
use model::tenant::TenantId;
use model::time::Timestamp;

use super::config::Config;
use super::cursor::Counters;

/// Issues that are read at a time.
const PAGE: usize = 1_000;
/// Issues that one commit deletes.
const PER_COMMIT: usize = 200;

/// All issues of a tenant, or of all, with one of the statuses (none: any). Newest first.
pub async fn every_issue(
    state: &dyn StateStore,
    tenant: Option<&TenantId>,
    statuses: &[&str],
) -> Result<Vec<Versioned<Issue>>, StateError> {
    let mut query = RecordQuery {
        tenant: tenant.cloned(),
        kind: Issue::KIND,
        statuses: statuses.iter().map(|status| (*status).to_owned()).collect(),
        limit: PAGE,
        ..RecordQuery::default()
    };
    let mut found = Vec::new();
    loop {
        let page = state.find(&query).await?;
        let full = page.len() >= PAGE;
        query.before = page.last().map(|record| record.id.clone());
        for record in page {
            found.push(decode(record)?);
        }
        if !full {
            return Ok(found);
        }
    }
}

/// Which issues are let go, with the reason.
pub fn forgettable<'a>(issues: &'a [Versioned<Issue>], config: &Config, now: Timestamp) -> Vec<(&'a Versioned<Issue>, String)> {
    let limit = now.minus(config.forget_after.0);
    let mut living: BTreeMap<&TenantId, Vec<&Versioned<Issue>>> = BTreeMap::new();
    let (mut gone, mut parts) = (Vec::new(), Vec::new());
    for one in issues {
        match (&one.entity.state, one.entity.last_seen()) {
            (IssueState::Merged { .. }, _) => parts.push(one),
            (_, Some(seen)) if seen >= limit => living.entry(one.entity.tenant()).or_default().push(one),
            (_, seen) => {
                let seen = seen.map_or_else(|| "never".to_owned(), |seen| format!("at {seen}"));
                gone.push((one, format!("last seen {seen}, longer ago than {}", config.forget_after)));
            }
        }
    }
    for of_tenant in living.values_mut().filter(|of_tenant| of_tenant.len() > config.max_issues) {
        of_tenant.sort_by_key(|one| one.entity.last_seen());
        // A little more than needed, so that the next one finds room.
        let over = of_tenant.len() - config.max_issues + config.max_issues / 20;
        let reason = format!("there are more than {} issues, and it was not seen for longest", config.max_issues);
        gone.extend(of_tenant.drain(..over).map(|one| (one, reason.clone())));
    }
    let kept: HashSet<IssueId> = living.values().flatten().map(|one| one.entity.id).collect();
    let by_id: BTreeMap<IssueId, &Issue> = issues.iter().map(|one| (one.entity.id, &one.entity)).collect();
    for part in parts {
        if let IssueState::Merged { into, into_number, .. } = &part.entity.state
            && !whole_of(&by_id, *into, &kept)
        {
            gone.push((part, format!("issue {into_number}, of which it was part, was forgotten")));
        }
    }
    gone
}

/// Whether the issue that something is part of, or the one that that is part of, is kept.
fn whole_of(issues: &BTreeMap<IssueId, &Issue>, mut id: IssueId, kept: &HashSet<IssueId>) -> bool {
    for _ in 0..issues.len() {
        match issues.get(&id).map(|issue| &issue.state) {
            Some(IssueState::Merged { into, .. }) => id = *into,
            Some(_) | None => break,
        }
    }
    kept.contains(&id)
}

/// Deletes what is to be let go. Returns how many.
pub async fn forget(
    state: &dyn StateStore,
    config: &Config,
    ids: &dyn IdSource,
    fence: Option<&Fence>,
    now: Timestamp,
) -> Result<usize, StateError> {
    let issues = every_issue(state, None, &[]).await?;
    let gone = forgettable(&issues, config, now);
    for some in gone.chunks(PER_COMMIT) {
        let mut commit = Commit { fence: fence.cloned(), ..Commit::at(now) };
        let mut counters = Counters::default();
        for (one, reason) in some {
            let issue = &one.entity;
            commit.delete(issue, Expect::Version(one.version));
            for fingerprint in issue.fingerprints() {
                commit.delete(&owner(issue, fingerprint), Expect::Any);
            }
            let counter = counters.of(state, &issue.tenant).await?;
            counter.live = counter.live.saturating_sub(1);
            commit.event(event(issue, IssueChange::Forgotten { reason: reason.clone() }, &Actor::system("issues"), now, ids));
        }
        counters.write(&mut commit)?;
        state.commit(commit).await?;
    }
    Ok(gone.len())
}

/// The record that says whose a fingerprint is.
pub fn owner(issue: &Issue, fingerprint: Fingerprint) -> FingerprintOwner {
    FingerprintOwner { tenant: issue.tenant.clone(), fingerprint, issue: issue.id }
}

/// The journal's event for a change.
pub fn event(issue: &Issue, change: IssueChange, actor: &Actor, at: Timestamp, ids: &dyn IdSource) -> Event {
    Event {
        id: EventId::new(at, ids),
        tenant: issue.tenant.clone(),
        at,
        actor: actor.clone(),
        subject: Subject::default(),
        kind: EventKind::Issue { issue: issue.id, number: issue.number, change },
    }
}
