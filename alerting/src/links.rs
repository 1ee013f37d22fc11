//! The follower `alert-links`: writes into alerts which incident they belong to and who has it, so that readers of an alert need
//! nothing else.

use async_trait::async_trait;
use model::alert::Acknowledgement;
use model::drive::Follower;
use model::event::{EventKind, Recorded};
use model::ids::AlertId;
use model::incident::Incident;
use model::state::{Commit, Expect, StateError, StateStore, Versioned, load};
use model::tenant::TenantId;
use model::time::Timestamp;

use crate::machine::Instance;

/// Links alerts with incidents.
pub struct AlertLinks;

#[async_trait]
impl Follower for AlertLinks {
    fn name(&self) -> &'static str {
        "alert-links"
    }

    async fn follow(&self, event: &Recorded, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
        let (event, mut commit) = (&event.event, Commit::at(now));
        let tenant = &event.tenant;
        let Some(incident) = event.subject.incident else { return Ok(commit) };
        let incident = async || load::<Incident>(state, tenant, &incident.to_string()).await;
        match (&event.kind, event.subject.alert) {
            (EventKind::IncidentOpened { .. } | EventKind::IncidentAlertAttached { .. }, Some(alert)) => {
                let Some(found) = incident().await? else { return Ok(commit) };
                change(&mut commit, state, tenant, alert, |instance| {
                    instance.alert.incident = Some(found.entity.id);
                    if instance.alert.acknowledged.is_none() {
                        instance.alert.acknowledged.clone_from(&found.entity.acknowledged);
                    }
                })
                .await?;
            }
            (EventKind::IncidentAcknowledged, _) => {
                let by = Acknowledgement { at: event.at, by: event.actor.clone() };
                change_all(&mut commit, state, incident().await?, |instance| {
                    // Whoever took this very alert has it: a wake-up knows it by its moment.
                    instance.alert.acknowledged.get_or_insert_with(|| by.clone());
                })
                .await?;
            }
            (EventKind::IncidentUnacknowledged | EventKind::IncidentEscalated { .. }, _) => {
                change_all(&mut commit, state, incident().await?, |instance| instance.alert.acknowledged = None).await?;
            }
            // Nothing else links an alert.
            (_, _) => {}
        }
        Ok(commit)
    }
}

/// Changes the alerts that belonged to an incident when this was said of it: one that joined later is not linked yet.
async fn change_all(
    commit: &mut Commit,
    state: &dyn StateStore,
    incident: Option<Versioned<Incident>>,
    how: impl Fn(&mut Instance),
) -> Result<(), StateError> {
    let Some(Incident { id, tenant, alerts, .. }) = incident.map(|found| found.entity) else { return Ok(()) };
    for alert in alerts {
        change(commit, state, &tenant, alert, |instance| {
            if instance.alert.incident == Some(id) {
                how(instance);
            }
        })
        .await?;
    }
    Ok(())
}

async fn change(
    commit: &mut Commit,
    state: &dyn StateStore,
    tenant: &TenantId,
    alert: AlertId,
    how: impl FnOnce(&mut Instance),
) -> Result<(), StateError> {
    let Some(found) = load::<Instance>(state, tenant, &alert.to_string()).await? else { return Ok(()) };
    let mut instance = found.entity.clone();
    how(&mut instance);
    // A resolved alert keeps its link, but nobody needs to take it any more.
    if instance != found.entity {
        commit.put(&instance, Expect::Version(found.version))?;
    }
    Ok(())
}
