//! API keys: `wf_<id>_<secret>`, letters, digits and `_` only, so that a key can stand in a DSN. Only a SHA-256 of the secret is kept (the secret has 256 random bits, so a slow hash adds
//! nothing). The ring is a snapshot of the live keys that is read again every second.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use model::access::Permission;
use model::event::{Actor, Event, EventKind, Subject};
use model::ids::{EventId, IdSource, KeyId};
use model::state::{Commit, Entity, Expect, StateError, StateStore, all, load};
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A key as it is kept. State kind `key`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id (not secret).
    pub id: KeyId,
    /// The tenant it opens.
    pub tenant: TenantId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the whole key text, in hex.
    pub hash: String,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Entity for ApiKey {
    const KIND: &'static str = "key";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn status(&self) -> &'static str {
        if self.revoked_at.is_some() { "revoked" } else { "live" }
    }
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The tenant it opens.
    pub tenant: TenantId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// A text that the operator brings along (a container's key file); else one is made.
    pub text: Option<String>,
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Makes a key and journals it. Returns it with its text, which is shown once and never kept.
pub async fn create(state: &dyn StateStore, ids: &dyn IdSource, actor: Actor, new: NewKey) -> Result<(ApiKey, String), StateError> {
    let now = state.now().await?;
    let id = KeyId::new(now, ids);
    let text = new.text.unwrap_or_else(|| {
        let mut secret = [0u8; 32];
        secret[..16].copy_from_slice(&ids.random().to_be_bytes());
        secret[16..].copy_from_slice(&ids.random().to_be_bytes());
        format!("wf_{}_{}", id.uuid().simple(), hex::encode(secret))
    });
    let key = ApiKey {
        id,
        tenant: new.tenant,
        name: new.name,
        hash: digest(&text),
        permissions: new.permissions,
        created_at: now,
        revoked_at: None,
    };
    let mut commit = Commit::at(now);
    commit.put(&key, Expect::New)?;
    commit.event(event(&key, actor, now, ids, EventKind::KeyCreated { key: id, name: key.name.clone() }));
    state.commit(commit).await?;
    Ok((key, text))
}

fn event(key: &ApiKey, actor: Actor, now: Timestamp, ids: &dyn IdSource, kind: EventKind) -> Event {
    Event { id: EventId::new(now, ids), tenant: key.tenant.clone(), at: now, actor, subject: Subject::default(), kind }
}

/// All keys, revoked ones too, newest first.
pub async fn list(state: &dyn StateStore) -> Result<Vec<ApiKey>, StateError> {
    Ok(all::<ApiKey>(state, None, &[], 0).await?.into_iter().map(|key| key.entity).collect())
}

/// Revokes a key; `false` where there is no live key with this id.
pub async fn revoke(state: &dyn StateStore, ids: &dyn IdSource, actor: Actor, id: KeyId) -> Result<bool, StateError> {
    let Some(found) = list(state).await?.into_iter().find(|key| key.id == id && key.revoked_at.is_none()) else { return Ok(false) };
    let Some(mut key) = load::<ApiKey>(state, &found.tenant, &found.id()).await? else { return Ok(false) };
    let now = state.now().await?;
    key.entity.revoked_at = Some(now);
    let mut commit = Commit::at(now);
    commit.put(&key.entity, Expect::Version(key.version))?;
    commit.event(event(&key.entity, actor, now, ids, EventKind::KeyRevoked { key: id }));
    state.commit(commit).await?;
    Ok(true)
}

/// The live keys, by hash.
#[derive(Debug, Default)]
pub struct Keys(HashMap<String, ApiKey>);

impl Keys {
    /// Whether no key exists: the keyless mode.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// All of them, revoked ones too, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &ApiKey> {
        self.0.values()
    }
    /// The live key with this text.
    pub fn check(&self, text: &str) -> Option<&ApiKey> {
        let wanted = digest(text);
        let key = self.0.get(&wanted)?;
        bool::from(key.hash.as_bytes().ct_eq(wanted.as_bytes())).then_some(key)
    }
}

/// A snapshot of the live keys.
#[derive(Debug, Default)]
pub struct KeyRing(RwLock<Arc<Keys>>);

impl KeyRing {
    /// The keys as last read.
    pub fn snapshot(&self) -> Arc<Keys> {
        self.0.read().map(|keys| keys.clone()).unwrap_or_else(|poisoned| poisoned.into_inner().clone())
    }
    /// Reads them again. A key that was ever made keeps the keyless mode off, revoked or not: revoking the last key must not
    /// open the door.
    pub async fn refresh(&self, state: &dyn StateStore) -> Result<(), StateError> {
        let keys: HashMap<String, ApiKey> = list(state)
            .await?
            .into_iter()
            .map(|key| {
                // A revoked key stays in the ring under a hash that no text has.
                let slot = if key.revoked_at.is_some() { format!("revoked:{}", key.id) } else { key.hash.clone() };
                (slot, key)
            })
            .collect();
        let fresh = Arc::new(Keys(keys));
        match self.0.write() {
            Ok(mut slot) => *slot = fresh,
            Err(poisoned) => *poisoned.into_inner() = fresh,
        }
        Ok(())
    }
}
