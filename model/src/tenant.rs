//! Tenants: every row, state record and event belongs to one.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a tenant: 1 to 64 of `a-z 0-9 - _`. `default` unless a key says otherwise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

/// A name that no tenant can have.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a tenant name: use 1 to 64 of a-z, 0-9, - and _")]
pub struct TenantError(String);

impl TenantId {
    /// Checks and wraps a name.
    pub fn new(name: &str) -> Result<Self, TenantError> {
        let fits =
            (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if fits { Ok(TenantId(name.into())) } else { Err(TenantError(name.to_owned())) }
    }
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    fn default() -> Self {
        TenantId("default".into())
    }
}

impl TryFrom<String> for TenantId {
    type Error = TenantError;
    fn try_from(name: String) -> Result<Self, TenantError> {
        TenantId::new(&name)
    }
}

impl From<TenantId> for String {
    fn from(tenant: TenantId) -> String {
        tenant.0.to_string()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
