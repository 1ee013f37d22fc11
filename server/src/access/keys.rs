//! API keys: `wf_<id>_<secret>`, letters, digits and `_` only, so that a key can stand in a DSN. Only a SHA-256 of the secret is kept (the secret has 256 random bits, so a slow hash adds
//! nothing). The ring is a snapshot of the live keys that is read again every second, and before a key that it does not have is refused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

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
    /// The person whose key it is: the journal then names them, not the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
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
    /// The person whose key it is.
    pub user: Option<String>,
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
        user: new.user,
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
pub struct KeyRing {
    keys: RwLock<Arc<Keys>>,
    /// How many have asked for a fresh look, and how many of these the last one answered.
    asked: AtomicU64,
    answered: tokio::sync::Mutex<u64>,
}

/// Between two looks for the sake of unknown keys: whoever guesses keys costs this many reads a second, however many guess.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

impl KeyRing {
    /// The keys as last read.
    pub fn snapshot(&self) -> Arc<Keys> {
        self.keys.read().map(|keys| keys.clone()).unwrap_or_else(|poisoned| poisoned.into_inner().clone())
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
        match self.keys.write() {
            Ok(mut slot) => *slot = fresh,
            Err(poisoned) => *poisoned.into_inner() = fresh,
        }
        Ok(())
    }
    /// Returns once the keys have been read at least once after this was called: a key that was made a moment ago counts at once. Many
    /// who wait share one read.
    pub async fn look_again(&self, state: &dyn StateStore) -> Result<(), StateError> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answered = self.answered.lock().await;
        if *answered > mine {
            return Ok(());
        }
        let waiting = self.asked.load(Ordering::SeqCst);
        self.refresh(state).await?;
        *answered = waiting;
        tokio::time::sleep(BETWEEN_LOOKS).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ids::RandomIds;
    use model::time::SystemClock;

    #[tokio::test]
    async fn a_key_counts_at_once_when_it_is_asked_for() {
        let state = store::state::memory::MemoryState::new(Arc::new(SystemClock));
        let ring = KeyRing::default();
        let new =
            || NewKey { tenant: TenantId::default(), name: "k".to_owned(), permissions: vec![Permission::Read], user: None, text: None };
        for _ in 0..3 {
            let (_, text) = create(&state, &RandomIds, Actor::system("test"), new()).await.unwrap();
            assert!(ring.snapshot().check(&text).is_none());
            let (one, other, third) = tokio::join!(ring.look_again(&state), ring.look_again(&state), ring.look_again(&state));
            assert!(one.and(other).and(third).is_ok());
            assert!(ring.snapshot().check(&text).is_some());
        }
        assert_eq!(*ring.answered.lock().await, 9);
    }
}
