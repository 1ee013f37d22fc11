//! Which incident is open for what alerts of one outage share: a record for each such group, which names the incident that opened for it last.
//! However many incidents are open, an alert finds its own by one read.

use std::collections::BTreeSet;

use model::ids::IncidentId;
use model::incident::Incident;
use model::labels::Labels;
use model::state::{Commit, Entity, Expect, Records, StateError, Versioned, all, load};
use model::tenant::TenantId;
use serde::{Deserialize, Serialize};

/// The labels that alerts of one outage share: those of `group_by` that the alert has, else its `alertname`.
pub fn group_of(labels: &Labels, group_by: &[String]) -> Labels {
    let group = labels.filtered(|name| group_by.iter().any(|wanted| wanted == name));
    if group.is_empty() { labels.filtered(|name| name == "alertname") } else { group }
}

/// The incident that opened last for a group. State kind `incident_group`, by the group's fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentGroup {
    tenant: TenantId,
    group: Labels,
    incident: IncidentId,
}

impl Entity for IncidentGroup {
    const KIND: &'static str = "incident_group";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        name(&self.group)
    }
    fn status(&self) -> &'static str {
        "" // nobody asks for them by it
    }
}

fn name(group: &Labels) -> String {
    format!("{:016x}", group.fingerprint())
}

/// The open incident of a group.
pub async fn open_in(
    store: &(impl Records + ?Sized),
    tenant: &TenantId,
    group: &Labels,
) -> Result<Option<Versioned<Incident>>, StateError> {
    let Some(found) = load::<IncidentGroup>(store, tenant, &name(group)).await? else { return Ok(None) };
    let incident = load::<Incident>(store, tenant, &found.entity.incident.to_string()).await?;
    Ok(incident.filter(|found| found.entity.status.is_open() && found.entity.group == *group))
}

/// Adds to a commit that this incident opens for its group.
pub async fn opens(store: &(impl Records + ?Sized), incident: &Incident, commit: &mut Commit) -> Result<(), StateError> {
    let known = load::<IncidentGroup>(store, &incident.tenant, &name(&incident.group)).await?;
    let expect = known.map_or(Expect::New, |known| Expect::Version(known.version));
    let record = IncidentGroup { tenant: incident.tenant.clone(), group: incident.group.clone(), incident: incident.id };
    commit.put(&record, expect)
}

/// What was open before there were records of groups.
pub struct Older {
    /// The newest open incident of the group that was asked for.
    pub of_group: Option<Versioned<Incident>>,
    /// How many groups had no record.
    pub missing: usize,
}

/// Adds to a commit the records of groups whose open incident has none: it opened before there were any.
pub async fn catch_up(
    store: &(impl Records + ?Sized),
    tenant: &TenantId,
    group: &Labels,
    commit: &mut Commit,
) -> Result<Older, StateError> {
    let mut open = all::<Incident>(store, Some(tenant), &["open", "acknowledged"], 0).await?;
    open.sort_by_key(|found| std::cmp::Reverse(found.entity.number));
    let (mut seen, mut older) = (BTreeSet::new(), Older { of_group: None, missing: 0 });
    for found in open.into_iter().filter(|found| seen.insert(name(&found.entity.group))) {
        if open_in(store, tenant, &found.entity.group).await?.is_none() {
            opens(store, &found.entity, commit).await?;
            older.missing += 1;
        }
        if found.entity.group == *group {
            older.of_group = Some(found);
        }
    }
    Ok(older)
}
