//! Who asks and what they may: one `Principal` per request, put there by the server's access layer, checked by every route.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::Actor;
use crate::tenant::TenantId;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Send telemetry.
    Ingest,
    /// Read telemetry, alerts, incidents.
    Read,
    /// Acknowledge, resolve, silence, annotate, run approved remediation.
    Respond,
    /// Keys, configuration, dead letters, erasure.
    Admin,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Permission::Ingest => "ingest",
            Permission::Read => "read",
            Permission::Respond => "respond",
            Permission::Admin => "admin",
        })
    }
}

/// The one who asks. Routes take it from the request's extensions (`axum::Extension<Principal>`); where it is missing the
/// request fails closed.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Whose data the request may touch.
    pub tenant: TenantId,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// Who it is, for the journal.
    pub actor: Actor,
    /// Whether the request came in without a key (loopback, before any key exists): `command` actions stay off.
    pub keyless: bool,
}

/// The one who asks may not do this.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this key lacks the permission `{0}`: create one with `watchfire keys create --permission {0}`")]
pub struct Forbidden(pub Permission);

impl Principal {
    /// Passes only with the permission; `Admin` includes all others.
    pub fn require(&self, permission: Permission) -> Result<(), Forbidden> {
        let fits = self.permissions.iter().any(|has| *has == permission || *has == Permission::Admin);
        if fits { Ok(()) } else { Err(Forbidden(permission)) }
    }
}
