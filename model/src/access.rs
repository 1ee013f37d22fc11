//! Who asks and what they may: one `Principal` per request, put there by the server's access layer, checked by every route.

use std::fmt;
use std::sync::Arc;

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

/// Tells who a request is from once a route has found the key inside its body: Sentry's envelopes may carry it there. The access
/// layer puts it into the request's extensions in place of a [`Principal`] where a path allows that.
#[derive(Clone)]
pub struct LateKey(Arc<LookUp>);

type LookUp = dyn Fn(&str) -> Option<Principal> + Send + Sync;

impl LateKey {
    /// Over a way to look keys up by their text.
    pub fn new(look_up: impl Fn(&str) -> Option<Principal> + Send + Sync + 'static) -> Self {
        LateKey(Arc::new(look_up))
    }
    /// Whose key this is; `None` for one that is unknown or revoked.
    pub fn principal(&self, key: &str) -> Option<Principal> {
        (self.0)(key)
    }
}

impl fmt::Debug for LateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LateKey")
    }
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
