//! After the tree has changed, or Watchfire was started with another one: what fires goes where the tree leads it now, and who heard of it and
//! no longer does is told so. In: the tree by which what fires was placed last. Out: work rows, one page of alerts or groups each, until all were
//! looked at; each may be done twice without harm. Prometheus's Alertmanager puts all of its alerts into a new tree, too; whoever hears of
//! them no more is not told there. A node that does not lead and has another file may take alerts in: who leads places just those anew.

use std::time::Duration;

use model::alert::Alert;
use model::ids::AlertId;
use model::labels::Labels;
use model::state::{Commit, Entity, Expect, Fence, RecordQuery, StateError, StateStore, TRIES, Versioned, by_ids, decode, load};
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::follower::{Placing, schedule_look};
use super::group::{AlertGroup, fresh};
use super::tree::{GroupBy, Route};
use super::worker::{Alerts, Job, members, row};
use super::{NamedIntervals, Routing};
use crate::external::TOGETHER;
use crate::ladder::settle_rows;
use crate::shared::Shared;

/// So many alerts or groups are one commit.
const PAGE: usize = 250;
/// How long after the tree has changed: what was being decided by the one before is written by then.
const SOON: Duration = Duration::from_secs(1);

/// The tree by which what fires was placed. State kind `settled_tree`, one a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledTree {
    /// Whose.
    pub tenant: TenantId,
    /// Its digest.
    pub tree: String,
    /// Whether all of it was: else rows are still at it, or were given up for another tree.
    pub settled: bool,
    /// Which rows are at it: others are of a time before, and end.
    #[serde(default)]
    pub chain: String,
}

impl Entity for SettledTree {
    const KIND: &'static str = "settled_tree";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        ID.to_owned()
    }
    fn status(&self) -> &'static str {
        ""
    }
}

const ID: &str = "tree";

/// What is looked at: all that fires, then all groups, newest first; or what a node with another tree placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub(crate) enum Page {
    /// Alerts with ids below this one.
    Alerts { before: Option<String> },
    /// Groups with ids below this one.
    Groups { before: Option<String> },
    /// These alerts, and then the groups that they were put into.
    Placed { alerts: Vec<AlertId>, groups: Vec<String> },
}

/// A page to be done, by which tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settling {
    tree: String,
    #[serde(default)]
    chain: String,
    page: Page,
}

/// What decides where an alert goes and who hears of it, in a few letters: the same tree has the same. Empty where there is none.
pub(super) fn digest(root: Option<&Route>, intervals: &[NamedIntervals]) -> String {
    let Some(root) = root else { return String::new() };
    // Plain data: if it could not be written, hours would not be known to differ.
    let intervals = serde_json::to_string(intervals).unwrap_or_default();
    let lines = root.all().into_iter().map(|route| {
        let by = match &route.group_by {
            GroupBy::All => "...".to_owned(),
            GroupBy::Labels(names) => names.iter().map(String::as_str).collect::<Vec<_>>().join(","),
        };
        let ladder = route.escalation.as_deref().unwrap_or_default();
        let hours = format!("[{}] [{}]", route.hours.mute.join(","), route.hours.active.join(","));
        format!("{} {} [{by}] {ladder} [{}] {hours}\n", route.id, route.goes_on, route.receivers.join(","))
    });
    format!("{:016x}", Labels::empty().with("tree", &lines.collect::<String>()).with("hours", &intervals).fingerprint())
}

/// Has what fires placed anew where it was placed by another tree. Asked when a node begins to lead, or has read its configuration.
pub(crate) async fn settle_where_changed(shared: &Shared, now: Timestamp, fence: Option<&Fence>) -> Result<(), StateError> {
    for attempt in 1..=TRIES {
        let Some(mut commit) = announced(shared, &*shared.state, true, now).await? else { break };
        commit.fence = fence.cloned();
        match shared.state.commit(commit).await {
            Ok(_) => break,
            // The last page of an earlier one was written meanwhile.
            Err(error) if error.is_conflict() && attempt < TRIES => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// For the commit of whoever places alerts or looks at groups: that they are placed by this node's tree from now on, where another one stands there.
/// So whoever leads next, by the other one, places anew.
pub(crate) async fn announcement(shared: &Shared, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
    Ok(announced(shared, state, false, now).await?.unwrap_or(Commit::at(now)))
}

/// None where this node's tree stands there already; `and_settled`: and all that fires was placed by it.
async fn announced(shared: &Shared, state: &dyn StateStore, and_settled: bool, now: Timestamp) -> Result<Option<Commit>, StateError> {
    let tree = shared.routing().digest.clone();
    let found = load::<SettledTree>(state, &shared.tenant, ID).await?;
    let stands = |found: &SettledTree| found.tree == tree && (found.settled || !and_settled);
    if found.as_ref().map_or(tree.is_empty(), |found| stands(&found.entity)) {
        return Ok(None);
    }
    let mut commit = Commit::at(now);
    let chain = fresh(now, &*shared.ids);
    let record = SettledTree { tenant: shared.tenant.clone(), tree: tree.clone(), settled: false, chain: chain.clone() };
    commit.put(&record, found.map_or(Expect::New, |found| Expect::Version(found.version)))?;
    next(shared, &mut commit, Settling { tree, chain, page: Page::Alerts { before: None } }, now.plus(SOON))?;
    Ok(Some(commit))
}

/// For the commit of a node that does not lead and put alerts into groups: what fires is placed by another tree, so that one has its say.
pub(crate) async fn settle_placed(
    shared: &Shared,
    commit: &mut Commit,
    alerts: Vec<AlertId>,
    groups: Vec<String>,
) -> Result<(), StateError> {
    let Some(found) = load::<SettledTree>(&*shared.state, &shared.tenant, ID).await?.map(|found| found.entity) else { return Ok(()) };
    if found.tree == shared.routing().digest {
        return Ok(());
    }
    let SettledTree { tree, chain, .. } = found;
    let now = commit.at;
    next(shared, commit, Settling { tree, chain, page: Page::Placed { alerts, groups } }, now)
}

fn next(shared: &Shared, commit: &mut Commit, settling: Settling, due_at: Timestamp) -> Result<(), StateError> {
    let key = format!("settle/{}", fresh(commit.at, &*shared.ids));
    commit.schedule(&shared.tenant, row(key, due_at, &Job::Settle(settling))?);
    Ok(())
}

/// Does a page, with the row of the next one.
pub(super) async fn settle(shared: &Shared, state: &dyn StateStore, settling: &Settling, now: Timestamp) -> Result<Commit, StateError> {
    let Settling { tree, chain, page } = settling;
    let Some(standing) = load::<SettledTree>(state, &shared.tenant, ID).await? else { return Ok(Commit::at(now)) };
    if shared.routing().digest != *tree || standing.entity.tree != *tree {
        return Ok(Commit::at(now)); // it has changed once more: whoever read it asks again
    }
    let goes_on = |page| Some(Settling { tree: tree.clone(), chain: chain.clone(), page });
    let mine = standing.entity.chain == *chain;
    let (mut commit, following) = match page {
        Page::Placed { alerts, groups } if alerts.is_empty() => {
            (look_again(shared, state, by_ids(state, &shared.tenant, groups).await?, now).await?, None)
        }
        Page::Placed { alerts, groups } => {
            let ids: Vec<String> = alerts.iter().map(AlertId::to_string).collect();
            let firing = by_ids::<Alert>(state, &shared.tenant, &ids).await?.into_iter().filter(|found| found.entity.is_firing()).collect();
            (place(shared, state, firing, now).await?, goes_on(Page::Placed { alerts: Vec::new(), groups: groups.clone() }))
        }
        // Others are at it, from the beginning.
        Page::Alerts { .. } | Page::Groups { .. } if !mine => return Ok(Commit::at(now)),
        Page::Alerts { before } => {
            let found = read::<Alert>(shared, state, &["firing"], before.clone()).await?;
            let last = found.last().map(|last| last.entity.id.to_string()).filter(|_| found.len() == PAGE);
            let following = last.map_or(Page::Groups { before: None }, |last| Page::Alerts { before: Some(last) });
            (place(shared, state, found, now).await?, goes_on(following))
        }
        Page::Groups { before } => {
            let found = read::<AlertGroup>(shared, state, &[], before.clone()).await?;
            let last = found.last().map(|last| last.entity.id.clone()).filter(|_| found.len() == PAGE);
            let mut commit = look_again(shared, state, found, now).await?;
            if last.is_none() {
                commit.put(&SettledTree { settled: true, ..standing.entity }, Expect::Version(standing.version))?;
            }
            (commit, last.and_then(|last| goes_on(Page::Groups { before: Some(last) })))
        }
    };
    if let Some(following) = following {
        next(shared, &mut commit, following, now)?;
    }
    Ok(commit)
}

async fn read<T: Entity>(
    shared: &Shared,
    state: &dyn StateStore,
    statuses: &[&str],
    before: Option<String>,
) -> Result<Vec<Versioned<T>>, StateError> {
    let query = RecordQuery {
        tenant: Some(shared.tenant.clone()),
        kind: T::KIND,
        statuses: statuses.iter().map(|word| (*word).to_owned()).collect(),
        before,
        limit: PAGE,
        ..RecordQuery::default()
    };
    state.find(&query).await?.into_iter().map(decode::<T>).collect()
}

/// Alerts join the groups that the tree has for them now; ladders that they never had begin.
async fn place(shared: &Shared, state: &dyn StateStore, alerts: Vec<Versioned<Alert>>, now: Timestamp) -> Result<Commit, StateError> {
    let mut placing = Placing::new(shared, state, now).waiting(TOGETHER);
    let mut ladders = Vec::new();
    for Versioned { entity: alert, .. } in &alerts {
        placing.place(alert, false).await?;
        ladders.extend(settle_rows(shared, state, alert, now).await?);
    }
    let mut commit = placing.finish()?;
    ladders.into_iter().for_each(|row| commit.schedule(&shared.tenant, row));
    Ok(commit)
}

/// Groups that are no longer what they were look now: their route is gone or has other receivers, or it is not the one of all of their alerts.
async fn look_again(
    shared: &Shared,
    state: &dyn StateStore,
    groups: Vec<Versioned<AlertGroup>>,
    now: Timestamp,
) -> Result<Commit, StateError> {
    let routing = shared.routing();
    let mut commit = Commit::at(now);
    for Versioned { entity: mut group, version } in groups {
        let route = routing.root.as_ref().and_then(|root| root.find(&group.route));
        let stays = match route {
            Some(route) => {
                let opens = |until| routing.calendar.closed(&route.hours, now).is_none_or(|closed| closed.until != until);
                let same = group.newcomers(route).is_empty() && group.left_out(Some(route)).is_empty();
                same && !group.closed_until.is_some_and(opens)
            }
            None => false,
        };
        if stays && !has_moved(shared, state, &routing, &group).await? {
            continue;
        }
        // One that is due may be decided already, by the tree before: it is decided again.
        if group.pending.as_ref().is_none_or(|pending| pending.at > now) {
            schedule_look(shared, &mut commit, &mut group, Some(now))?;
        }
        commit.put(&group, Expect::Version(version))?;
    }
    Ok(commit)
}

/// Whether an alert of a group belongs to another one now.
async fn has_moved(shared: &Shared, state: &dyn StateStore, routing: &Routing, group: &AlertGroup) -> Result<bool, StateError> {
    let records = members(shared, state, &group.id).await?.into_iter().map(|found| found.entity);
    let mut alerts = Alerts::read(shared, state, records.len()).await?;
    for member in group.first.clone().into_iter().chain(records) {
        let alert = alerts.take(member.alert).await?;
        if alert.is_some_and(|alert| !routing.belongs(&alert, group)) {
            return Ok(true);
        }
    }
    Ok(false)
}
