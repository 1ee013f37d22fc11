//! The running number of incidents: one record per tenant. Two who take a number at once conflict, and one decides again.

use model::state::{Commit, Entity, Expect, Records, StateError, load};
use model::tenant::TenantId;
use serde::{Deserialize, Serialize};

/// The last number given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentCounter {
    /// Whose.
    pub tenant: TenantId,
    /// The number of the newest incident.
    pub last: u64,
}

impl Entity for IncidentCounter {
    const KIND: &'static str = "incident_counter";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.tenant.to_string()
    }
    fn status(&self) -> &'static str {
        "live"
    }
}

/// Takes the next number within the commit.
pub async fn take(store: &(impl Records + ?Sized), tenant: &TenantId, commit: &mut Commit) -> Result<u64, StateError> {
    let found = load::<IncidentCounter>(store, tenant, tenant.as_str()).await?;
    let (last, expect) = found.map_or((0, Expect::New), |found| (found.entity.last, Expect::Version(found.version)));
    commit.put(&IncidentCounter { tenant: tenant.clone(), last: last + 1 }, expect)?;
    Ok(last + 1)
}
