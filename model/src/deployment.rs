//! Deployments: a version of a service that went out. `incidents` records them and writes them into timelines and postmortems.

use serde::{Deserialize, Serialize};

use crate::event::Actor;
use crate::ids::DeploymentId;
use crate::state::Entity;
use crate::tenant::TenantId;
use crate::time::Timestamp;

/// A deployment. State kind `deployment`, key = its idempotency key. Its id is ordered by `at`, so that lists are ordered by when
/// versions went out and not by when somebody said so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// Whose.
    pub tenant: TenantId,
    /// The same key means the same deployment, however often it is sent.
    pub key: String,
    /// Which service, as its telemetry calls itself (`service.name`).
    pub service: String,
    /// Which version (`service.version`).
    pub version: String,
    /// Where (`deployment.environment.name`).
    pub environment: String,
    /// What is in it, in somebody's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where to read more: an http or https address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// When it went out.
    pub at: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Who recorded it.
    pub by: Actor,
}

impl Deployment {
    /// The id of the deployment with this key that went out at this moment.
    pub fn id_of(tenant: &TenantId, key: &str, at: Timestamp) -> DeploymentId {
        DeploymentId::derived(at, &format!("{tenant}/{key}"))
    }
    /// The key of a deployment that nobody named: what went out where and when.
    pub fn natural_key(service: &str, version: &str, environment: &str, at: Timestamp) -> String {
        // As JSON, so that no choice of names makes two deployments one.
        serde_json::json!([service, version, environment, at]).to_string()
    }
}

impl Entity for Deployment {
    const KIND: &'static str = "deployment";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn key(&self) -> Option<String> {
        Some(self.key.clone())
    }
    fn status(&self) -> &'static str {
        "recorded"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_by_when_it_went_out_and_follow_from_the_key() {
        let tenant = TenantId::default();
        let at = Timestamp::from_secs(1_772_000_000);
        let early = Deployment::id_of(&tenant, "z", at);
        assert!(early < Deployment::id_of(&tenant, "a", at.plus(std::time::Duration::from_millis(1))));
        assert_eq!(early, Deployment::id_of(&tenant, "z", at));
        assert_ne!(early, Deployment::id_of(&TenantId::new("acme").unwrap(), "z", at));
        assert_ne!(Deployment::natural_key("a", "b\",\"c", "d", at), Deployment::natural_key("a\",\"b", "c", "d", at));
    }
}
