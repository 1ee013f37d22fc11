//! Who may ask over TCP, and what. Users stand in a file (the SHA-256 of their keys, and what holds for their statements) that is read
//! again when it changes, so that a revoked key stops working at once. The key alone decides who it is: 256 random bits need no name
//! beside them, and clients insist on different names. Every statement passes a [`SqlGuard`], and runs with `readonly = 1` on a
//! connection of its own. Without a guard there is no TCP listener at all.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
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
    /// What is run instead of the user's own text. `format` is the one that the request names beside the statement.
    ///
    /// # Errors
    /// One sentence for the user when the statement is not allowed.
    fn check(&self, user: &EngineUser, sql: &str, format: &str) -> Result<Permitted, String>;
}

/// A statement that may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permitted {
    /// What is sent to the engine.
    pub sql: String,
    /// The format of the answer.
    pub format: String,
}

/// A user of the TCP listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineUser {
    /// What the key is called in messages; not what a client must send as user.
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
    stamp: (Option<SystemTime>, u64, u64),
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
        let Some(key) = credentials(headers) else {
            let words = "send an API key as the password, by HTTP basic auth or in X-ClickHouse-Key; any user name will do";
            return Err(Refusal::exception(194, "REQUIRED_PASSWORD", words));
        };
        let users = self.users().map_err(|error| {
            eprintln!("<Error> the file of users cannot be read: {error}");
            Refusal::request(503, "the engine cannot read its users now: try again later")
        })?;
        let digest = hex::encode(Sha256::digest(key.as_bytes()));
        let fits = |user: &EngineUser| bool::from(user.key_sha256.to_ascii_lowercase().as_bytes().ct_eq(digest.as_bytes()));
        match users.into_iter().find(fits) {
            Some(user) => Ok(Visitor { user, guard: self.guard.clone() }),
            None => Err(Refusal::exception(516, "AUTHENTICATION_FAILED", "this key is unknown, is revoked or may not read")),
        }
    }

    fn users(&self) -> std::io::Result<Vec<EngineUser>> {
        let meta = std::fs::metadata(&self.users_file)?;
        let stamp = (meta.modified().ok(), meta.len(), meta.ino());
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaded.as_ref().filter(|known| known.stamp == stamp) {
            return Ok(known.users.clone());
        }
        let users: Vec<EngineUser> = serde_json::from_slice(&std::fs::read(&self.users_file)?)?;
        *loaded = Some(Loaded { stamp, users: users.clone() });
        Ok(users)
    }
}

/// The key in `X-ClickHouse-Key`, or in the password (or user) of `Authorization: Basic`.
fn credentials(headers: &HeaderMap) -> Option<String> {
    if let Some(key) = headers.get("X-ClickHouse-Key").and_then(|value| value.to_str().ok()).filter(|key| !key.is_empty()) {
        return Some(key.to_owned());
    }
    let basic = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = basic.split_once(' ')?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    let key = if password.is_empty() { user } else { password };
    (scheme.eq_ignore_ascii_case("basic") && !key.is_empty()).then(|| key.to_owned())
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
    // `output_format_schema` names a file that is written.
    let output = setting.starts_with("output_format_") && !setting.contains("schema");
    NAMES.contains(&setting) || output || setting.starts_with("param_")
}

/// Whether a visitor's own value of a setting is a stricter limit than the user's.
fn is_stricter(setting: &str, own: &str, users: &str) -> bool {
    const LIMITS: [&str; 3] = ["max_execution_time", "max_result_rows", "max_result_bytes"];
    let (Ok(own), Ok(users)) = (own.parse::<f64>(), users.parse::<f64>()) else { return false };
    // 0 is no limit.
    LIMITS.contains(&setting) && own > 0.0 && own < users
}

impl Visitor {
    /// Puts the user's own database and settings into a request; refuses settings and databases that are not the user's to choose. Of a
    /// limit the stricter value holds.
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
        for (setting, value) in &self.user.settings {
            let stricter = ask.settings.get(setting).is_some_and(|own| is_stricter(setting, own, value));
            if !stricter {
                ask.settings.insert(setting.clone(), value.clone());
            }
        }
        Ok(())
    }

    /// Asks the guard.
    ///
    /// # Errors
    /// 497 ACCESS_DENIED with the guard's sentence.
    pub fn check(&self, sql: &str, format: &str) -> Result<Permitted, Refusal> {
        self.guard.check(&self.user, sql, format).map_err(|words| Refusal::exception(497, "ACCESS_DENIED", &words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::request::understand;

    struct Nothing;
    impl SqlGuard for Nothing {
        fn check(&self, _: &EngineUser, _: &str, _: &str) -> Result<Permitted, String> {
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
        for anyone in ["default", "", "grafana"] {
            assert_eq!(access.enter(&basic(anyone, "k:1")).ok().unwrap().user.name, "grafana");
        }
        assert_eq!(access.enter(&basic("k2", "")).ok().unwrap().user.name, "other");
        let mut headers = HeaderMap::new();
        headers.insert("X-ClickHouse-User", "other".parse().unwrap());
        assert_eq!(access.enter(&headers).err().unwrap().status, 401);
        headers.insert("X-ClickHouse-Key", "k2".parse().unwrap());
        assert_eq!(access.enter(&headers).ok().unwrap().user.name, "other");
        assert_eq!(access.enter(&basic("grafana", "k3")).err().unwrap().status, 403);
        assert_eq!(access.enter(&basic("", "")).err().unwrap().status, 401);
        write(&folder, &[user("other", "k2")]);
        assert_eq!(access.enter(&basic("grafana", "k:1")).err().unwrap().code, Some(516));
        // The file is put in place whole, by a rename: what is the same in length and time is another file.
        let path = folder.path().join("users.json");
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let next = folder.path().join("next");
        std::fs::write(&next, serde_json::to_vec(&[user("other", "k3")]).unwrap()).unwrap();
        std::fs::File::options().write(true).open(&next).unwrap().set_modified(time).unwrap();
        std::fs::rename(next, &path).unwrap();
        assert!(access.enter(&basic("", "k2")).is_err() && access.enter(&basic("", "k3")).is_ok());
        std::fs::remove_file(path).unwrap();
        assert_eq!(access.enter(&basic("", "k3")).err().unwrap().status, 503);
    }

    #[test]
    fn a_visitor_keeps_to_its_database_and_settings() {
        let mut visitor = Visitor { user: user("grafana", "k"), guard: Arc::new(Nothing) };
        visitor.user.settings.insert("max_execution_time".to_owned(), "60".to_owned());
        let ask = |parameters: &[(&str, &str)]| {
            let pairs: Vec<_> = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            understand(true, &pairs, &HeaderMap::new()).unwrap()
        };
        let mut harmless = ask(&[("max_execution_time", "5"), ("param_x", "1"), ("database", "watchfire")]);
        visitor.bind(&mut harmless).unwrap();
        assert_eq!(harmless.settings.get("additional_table_filters").map(String::as_str), Some("{}"));
        for (own, bound) in [("5", "5"), ("0.5", "0.5"), ("61", "60"), ("0", "60"), ("-1", "60"), ("x", "60"), ("inf", "60"), ("nan", "60")]
        {
            let mut limited = ask(&[("max_execution_time", own)]);
            visitor.bind(&mut limited).unwrap();
            assert_eq!(limited.settings.get("max_execution_time").map(String::as_str), Some(bound), "{own}");
        }
        for setting in ["additional_table_filters", "output_format_schema", "format_schema", "max_memory_usage", "use_query_cache"] {
            assert_eq!(visitor.bind(&mut ask(&[(setting, "")])).unwrap_err().code, Some(164), "{setting}");
        }
        assert_eq!(visitor.bind(&mut ask(&[("database", "system")])).unwrap_err().code, Some(497));
        assert_eq!(visitor.check("SELECT 1", "TSV").unwrap_err().code, Some(497));
    }
}
