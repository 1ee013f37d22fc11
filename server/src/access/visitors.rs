//! Which keys open the engine's SQL listener. The engine's process has no state store: it reads a file that this one keeps in step with
//! the keys, within a second of every change on any node. In the file stand digests of keys, never keys; only the owner can read it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use model::access::Permission;
use store::engine::access::EngineUser;
use store::sql::{Limits, MAX_MEMORY_BYTES, MAX_RESULT_BYTES, tenant_settings};

use super::keys::{ApiKey, Keys};

/// How long a statement of a visitor may run.
pub const VISITOR_TIMEOUT: Duration = Duration::from_secs(60);

/// The file of users.
#[derive(Clone, Debug)]
pub struct UsersFile {
    /// Where it stands.
    pub path: PathBuf,
    /// The database that visitors read.
    pub database: String,
    /// What the engine may use, in bytes: a visitor's statement gets a part of it.
    pub engine_memory: u64,
}

impl UsersFile {
    /// The user that a key is, if it is live and may read.
    fn user(&self, key: &ApiKey) -> Option<EngineUser> {
        let reads = key.permissions.iter().any(|permission| matches!(permission, Permission::Read | Permission::Admin));
        let limits = Limits {
            timeout: VISITOR_TIMEOUT,
            // An answer that cannot be streamed is held several times over.
            result_bytes: MAX_RESULT_BYTES.min(self.engine_memory / 16),
            memory_bytes: MAX_MEMORY_BYTES.min(self.engine_memory / 4),
        };
        let settings = tenant_settings(&self.database, &key.tenant, limits).into_iter();
        (key.revoked_at.is_none() && reads).then(|| EngineUser {
            name: key.id.to_string(),
            key_sha256: key.hash.clone(),
            database: self.database.clone(),
            settings: settings.map(|(name, value)| (name.to_owned(), value)).collect(),
        })
    }

    /// Writes the file if what stands in it is not what the keys say. When that fails the file is taken away, so that the listener refuses
    /// everybody rather than lets a revoked key in.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep(&self, keys: &Keys) -> std::io::Result<()> {
        let mut users: Vec<EngineUser> = keys.iter().filter_map(|key| self.user(key)).collect();
        users.sort_by(|one, other| one.name.cmp(&other.name));
        let wanted = serde_json::to_vec(&users)?;
        if std::fs::read(&self.path).is_ok_and(|found| found == wanted) {
            return Ok(());
        }
        self.replace(&wanted).inspect_err(|_| {
            // If even this fails, the error says that the file is not as it should be.
            let _ = std::fs::remove_file(&self.path);
        })
    }

    fn replace(&self, bytes: &[u8]) -> std::io::Result<()> {
        let next = self.path.with_extension("next");
        // One that a crash left behind may have other rights.
        match std::fs::remove_file(&next) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
        file.write_all(bytes)?;
        std::fs::rename(next, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use model::event::Actor;
    use model::ids::RandomIds;
    use model::tenant::TenantId;
    use model::time::SystemClock;
    use store::state::MemoryState;

    use super::*;
    use crate::access::keys::{KeyRing, NewKey, create, revoke};

    #[tokio::test]
    async fn live_keys_that_read_stand_in_the_file_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = UsersFile { path: folder.path().join("users.json"), database: "wf".to_owned(), engine_memory: 1 << 30 };
        let (state, ring) = (MemoryState::new(Arc::new(SystemClock)), KeyRing::default());
        let actor = || Actor::User { id: "t".to_owned() };
        let mut keys = Vec::new();
        for (name, permissions) in [
            ("reads", vec![Permission::Read]),
            ("sends", vec![Permission::Ingest, Permission::Respond]),
            ("rules", vec![Permission::Admin]),
        ] {
            let new = NewKey { tenant: TenantId::new("acme").unwrap(), name: name.to_owned(), permissions, user: None, text: None };
            keys.push(create(&state, &RandomIds, actor(), new).await.unwrap());
        }
        let kept = async || {
            ring.refresh(&state).await.unwrap();
            file.keep(&ring.snapshot()).unwrap();
            serde_json::from_slice::<Vec<EngineUser>>(&std::fs::read(&file.path).unwrap()).unwrap()
        };
        let users = kept().await;
        let named = |users: &[EngineUser]| users.iter().map(|user| user.name.clone()).collect::<Vec<_>>();
        let mut expected = vec![keys[0].0.id.to_string(), keys[2].0.id.to_string()];
        expected.sort();
        assert_eq!(named(&users), expected);
        assert_eq!(std::fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&file.path).unwrap();
        assert!(keys.iter().all(|(_, key)| !text.contains(key)), "no key stands in the file");
        assert!(users[0].settings["additional_table_filters"].contains("'wf.spans': 'tenant = \\'acme\\''"));
        assert_eq!(users[0].settings["max_memory_usage"], (256u64 << 20).to_string());

        assert!(revoke(&state, &RandomIds, actor(), keys[0].0.id).await.unwrap());
        assert_eq!(named(&kept().await), [keys[2].0.id.to_string()]);
        std::fs::write(&file.path, "spoilt").unwrap();
        assert_eq!(named(&kept().await), [keys[2].0.id.to_string()], "a spoilt file is put right");
    }

    #[test]
    fn what_cannot_be_written_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = UsersFile { path: folder.path().join("users.json"), database: "wf".to_owned(), engine_memory: 1 << 30 };
        std::fs::write(&file.path, "[\"a revoked one\"]").unwrap();
        // A folder in the way of the next file, as a full disk would be.
        std::fs::create_dir(folder.path().join("users.next")).unwrap();
        assert!(file.keep(&Keys::default()).is_err());
        assert!(!file.path.exists());
    }
}
