//! The client side of ClickHouse: the official client over a Unix socket (the embedded engine) or a URL (a server). One code path
//! for both. Also what the official client has no words for: a ping, and errors that say whether to try again.

pub mod connector;
pub mod insert;
pub mod migrations;

use std::path::Path;
use std::time::Duration;

use clickhouse::Client;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use model::secret::Secret;

use connector::UnixConnector;

/// A ClickHouse: cheap to clone.
#[derive(Clone)]
pub struct ClickHouse {
    client: Client,
}

/// Why ClickHouse did not do it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ClickHouseError {
    /// Whether the same may succeed later. If in doubt, yes.
    pub retryable: bool,
    /// ClickHouse's error code, where it answered.
    pub code: Option<u32>,
    /// What it or the connection said.
    pub message: String,
}

/// Codes after which the same statement cannot succeed: the statement or its data are wrong.
const FINAL_CODES: [u32; 24] = [6, 8, 10, 16, 20, 26, 27, 33, 36, 38, 41, 42, 43, 44, 46, 47, 50, 53, 62, 69, 72, 115, 117, 131];

impl From<clickhouse::error::Error> for ClickHouseError {
    fn from(error: clickhouse::error::Error) -> Self {
        let message = error.to_string();
        let code = crate::engine::statement::error_code(&message);
        ClickHouseError { retryable: code.is_none_or(|code| !FINAL_CODES.contains(&code)), code, message }
    }
}

impl ClickHouse {
    /// Over a Unix socket.
    pub fn unix(socket: &Path) -> Self {
        let http = HttpClient::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(30)).build(UnixConnector::new(socket));
        ClickHouse { client: Client::with_http_client(http).with_url("http://engine") }
    }
    /// Over HTTP.
    pub fn url(url: &str, user: &str, password: &Secret) -> Self {
        let client = Client::default().with_url(url).with_user(user);
        ClickHouse { client: if password.is_empty() { client } else { client.with_password(password.reveal()) } }
    }
    /// The same with another database.
    pub fn database(&self, name: &str) -> Self {
        ClickHouse { client: self.client.clone().with_database(name) }
    }
    /// The official client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }
    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), ClickHouseError> {
        self.execute("SELECT 1 FORMAT Null").await
    }
    /// Runs a statement that gives no rows.
    pub async fn execute(&self, sql: &str) -> Result<(), ClickHouseError> {
        Ok(self.client.query(&sql.replace('?', "??")).execute().await?)
    }
}
