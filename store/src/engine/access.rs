//! Who may ask over TCP, and what. Users stand in a file (names and SHA-256 of their keys) that is read again when it changes, so that a
//! revoked key stops working at once. Every statement passes a [`SqlGuard`], and runs with `readonly = 1` on a connection of its own.
//! Without a guard there is no TCP listener at all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use base64::Engine as _;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::output::Refusal;
use super::request::Ask;

/// Decides whether a user may run a statement.
pub trait SqlGuard: Send + Sync + 'static {
    /// `Err` with one sentence for the user when the statement is not allowed.
    ///
    /// # Errors
    /// The sentence.
    fn check(&self, user: &str, sql: &str) -> Result<(), String>;
}

/// A user of the TCP listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineUser {
    /// The name that comes with the key.
    pub name: String,
    /// SHA-256 of the key, in hex.
    pub key_sha256: String,
    /// The database its statements run in; no other can be named.
    pub database: String,
    /// Settings of its statements, which it cannot change (such as `additional_table_filters`).
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// A user who was let in, and the guard its statements must pass.
#[derive(Clone)]
pub struct Visitor {
    /// The user.
    pub user: EngineUser,
    /// The guard.
    pub guard: Arc<dyn SqlGuard>,
}

struct Loaded {
    stamp: (Option<SystemTime>, u64),
    users: Vec<EngineUser>,
}

/// The door of the TCP listener.
pub struct Access {
    users_file: PathBuf,
    guard: Arc<dyn SqlGuard>,
    loaded: Mutex<Option<Loaded>>,
}

impl Access {
    /// Users from a file: a JSON list of [`EngineUser`].
    pub fn new(users_file: PathBuf, guard: Arc<dyn SqlGuard>) -> Self {
        Access { users_file, guard, loaded: Mutex::default() }
    }

    /// Lets a request in by HTTP basic auth or `X-ClickHouse-User` and `X-ClickHouse-Key`.
    ///
    /// # Errors
    /// 401 without credentials, 403 with wrong ones, 503 when the file of users cannot be read.
    pub fn enter(&self, headers: &HeaderMap) -> Result<Visitor, Refusal> {
        let Some((name, key)) = credentials(headers) else {
            let words = "name a user and its key, by HTTP basic auth or X-ClickHouse-User and X-ClickHouse-Key";
            return Err(Refusal::exception(194, "REQUIRED_PASSWORD", words));
        };
        let users = self.users().map_err(|error| {
            eprintln!("<Error> the file of users cannot be read: {error}");
            Refusal::request(503, "the engine cannot read its users now: try again later")
        })?;
        let digest = hex::encode(Sha256::digest(key.as_bytes()));
        let fits = |user: &EngineUser| {
            let same_key: bool = user.key_sha256.to_ascii_lowercase().as_bytes().ct_eq(digest.as_bytes()).into();
            user.name == name && same_key
        };
        match users.into_iter().find(fits) {
            Some(user) => Ok(Visitor { user, guard: self.guard.clone() }),
            None => Err(Refusal::exception(516, "AUTHENTICATION_FAILED", "the user or its key is wrong")),
        }
    }

    fn users(&self) -> std::io::Result<Vec<EngineUser>> {
        let meta = std::fs::metadata(&self.users_file)?;
        let stamp = (meta.modified().ok(), meta.len());
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaded.as_ref().filter(|known| known.stamp == stamp) {
            return Ok(known.users.clone());
        }
        let users: Vec<EngineUser> = serde_json::from_slice(&std::fs::read(&self.users_file)?)?;
        *loaded = Some(Loaded { stamp, users: users.clone() });
        Ok(users)
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let (Some(user), Some(key)) = (text("X-ClickHouse-User"), text("X-ClickHouse-Key")) {
        return Some((user.to_owned(), key.to_owned()));
    }
    let basic = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = basic.split_once(' ')?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let (user, key) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| (user.to_owned(), key.to_owned()))
}

/// Settings that a visitor may choose: they change how much is read and how an answer looks, never what is visible.
fn is_harmless(setting: &str) -> bool {
    const NAMES: [&str; 17] = [
        "max_execution_time",
        "max_result_rows",
        "max_result_bytes",
        "max_rows_to_read",
        "max_bytes_to_read",
        "max_block_size",
        "result_overflow_mode",
        "extremes",
        "log_comment",
        "session_timezone",
        "readonly",
        "date_time_output_format",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "cancel_http_readonly_queries_on_client_close",
        "timeout_overflow_mode",
        "join_use_nulls",
    ];
    NAMES.contains(&setting) || setting.starts_with("output_format_") || setting.starts_with("param_")
}

impl Visitor {
    /// Puts the user's own database and settings into a request; refuses settings and databases that are not the user's to choose.
    ///
    /// # Errors
    /// 164 READONLY or 497 ACCESS_DENIED, in ClickHouse's words.
    pub fn bind(&self, ask: &mut Ask) -> Result<(), Refusal> {
        if let Some(setting) = ask.settings.keys().find(|setting| !is_harmless(setting)) {
            let words = format!("Cannot modify '{setting}' setting in readonly mode.");
            return Err(Refusal::exception(164, "READONLY", &words));
        }
        if ask.database.as_ref().is_some_and(|database| *database != self.user.database) {
            let words = format!("user {} reads database {} only.", self.user.name, self.user.database);
            return Err(Refusal::exception(497, "ACCESS_DENIED", &words));
        }
        ask.database = Some(self.user.database.clone());
        ask.settings.extend(self.user.settings.clone());
        Ok(())
    }

    /// Asks the guard.
    ///
    /// # Errors
    /// 497 ACCESS_DENIED with the guard's sentence.
    pub fn check(&self, sql: &str) -> Result<(), Refusal> {
        self.guard.check(&self.user.name, sql).map_err(|words| Refusal::exception(497, "ACCESS_DENIED", &words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::request::understand;

    struct Nothing;
    impl SqlGuard for Nothing {
        fn check(&self, _: &str, _: &str) -> Result<(), String> {
            Err("nothing is allowed".to_owned())
        }
    }

    fn user(name: &str, key: &str) -> EngineUser {
        EngineUser {
            name: name.to_owned(),
            key_sha256: hex::encode(Sha256::digest(key)),
            database: "watchfire".to_owned(),
            settings: BTreeMap::from([("additional_table_filters".to_owned(), "{}".to_owned())]),
        }
    }

    fn write(folder: &tempfile::TempDir, users: &[EngineUser]) -> PathBuf {
        let path = folder.path().join("users.json");
        std::fs::write(&path, serde_json::to_vec(users).unwrap()).unwrap();
        path
    }

    fn basic(name: &str, key: &str) -> HeaderMap {
        let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{name}:{key}")));
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn keys_let_in_and_stop_working_when_they_are_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(&folder, &[user("grafana", "k:1"), user("other", "k2")]);
        let access = Access::new(path, Arc::new(Nothing));
        assert_eq!(access.enter(&basic("grafana", "k:1")).ok().unwrap().user.name, "grafana");
        let mut headers = HeaderMap::new();
        headers.insert("X-ClickHouse-User", "other".parse().unwrap());
        assert_eq!(access.enter(&headers).err().unwrap().status, 401);
        headers.insert("X-ClickHouse-Key", "k2".parse().unwrap());
        assert!(access.enter(&headers).is_ok());
        assert_eq!(access.enter(&basic("grafana", "k2")).err().unwrap().status, 403);
        write(&folder, &[user("other", "k2")]);
        assert_eq!(access.enter(&basic("grafana", "k:1")).err().unwrap().code, Some(516));
    }

    #[test]
    fn a_visitor_keeps_to_its_database_and_settings() {
        let visitor = Visitor { user: user("grafana", "k"), guard: Arc::new(Nothing) };
        let ask = |parameters: &[(&str, &str)]| {
            let pairs: Vec<_> = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            understand(true, &pairs, &HeaderMap::new()).unwrap()
        };
        let mut harmless = ask(&[("max_execution_time", "5"), ("param_x", "1"), ("database", "watchfire")]);
        visitor.bind(&mut harmless).unwrap();
        assert_eq!(harmless.settings.get("additional_table_filters").map(String::as_str), Some("{}"));
        assert_eq!(visitor.bind(&mut ask(&[("additional_table_filters", "")])).unwrap_err().code, Some(164));
        assert_eq!(visitor.bind(&mut ask(&[("database", "system")])).unwrap_err().code, Some(497));
        assert_eq!(visitor.check("SELECT 1").unwrap_err().code, Some(497));
    }
}
