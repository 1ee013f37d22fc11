//! The client side of ClickHouse: the official client over a Unix socket (the embedded engine) or a URL (a server). One code path
//! for both. Also what the official client has no words for: a ping, answers in a raw format, bytes inserted as they are, and errors
//! that say whether to try again.

pub mod connector;
pub mod insert;
pub mod migrations;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::query::BytesCursor;
use clickhouse::{Client, Compression};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use model::secret::Secret;

use crate::engine::status::{ErrorClass, error_code};
use connector::{UnixConnector, UnixHttp};

/// A ClickHouse: cheap to clone.
#[derive(Clone)]
pub struct ClickHouse {
    client: Client,
    unix: Option<UnixHttp>,
}

/// Why ClickHouse did not do it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ClickHouseError {
    /// Whether the same may succeed later. If in doubt, yes.
    pub retryable: bool,
    /// What kind of trouble it is.
    pub class: ErrorClass,
    /// ClickHouse's error code, where it answered.
    pub code: Option<u32>,
    /// What it or the connection said.
    pub message: String,
    /// The client's error, if it was one.
    #[source]
    pub source: Option<clickhouse::error::Error>,
}

impl From<clickhouse::error::Error> for ClickHouseError {
    fn from(error: clickhouse::error::Error) -> Self {
        use clickhouse::error::Error;
        let message = error.to_string();
        let class = match &error {
            Error::BadResponse(_) => ErrorClass::of(error_code(&message)),
            Error::Network(_) | Error::TimedOut | Error::Decompression(_) => ErrorClass::Unreachable,
            // The client itself refuses: parameters, rows and types that do not fit.
            _ => ErrorClass::Final,
        };
        let code = matches!(error, Error::BadResponse(_)).then(|| error_code(&message)).flatten();
        ClickHouseError { retryable: class.is_retryable(), class, code, message, source: Some(error) }
    }
}

/// An answer that is still coming, in a raw format.
pub struct Answer(BytesCursor);

impl Answer {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`ClickHouseError`], also when the statement fails after its first rows.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClickHouseError> {
        Ok(self.0.next().await?)
    }

    /// All bytes, if they are not more than `limit`.
    ///
    /// # Errors
    /// [`ClickHouseError`]; final when the answer is larger.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, ClickHouseError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            if all.len() + bytes.len() > limit {
                let message = format!("the answer is larger than {limit} bytes: ask for less");
                return Err(ClickHouseError { retryable: false, class: ErrorClass::Final, code: None, message, source: None });
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all.into())
    }
}

impl ClickHouse {
    /// The embedded engine, over its Unix socket.
    pub fn unix(socket: &Path) -> Self {
        let http = HttpClient::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(30)).build(UnixConnector::new(socket));
        let client = Client::with_http_client(http).with_url("http://engine").with_compression(Compression::None);
        ClickHouse { client, unix: Some(UnixHttp::new(socket)) }
    }

    /// A server, over HTTP.
    pub fn url(url: &str, user: &str, password: &Secret) -> Self {
        let client = Client::default().with_url(url).with_user(user).with_compression(Compression::None);
        let client = if password.is_empty() { client } else { client.with_password(password.reveal()) };
        ClickHouse { client, unix: None }
    }

    /// The same with another database.
    pub fn database(&self, name: &str) -> Self {
        ClickHouse { client: self.client.clone().with_database(name), unix: self.unix.clone() }
    }

    /// The official client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Whether it answers: the engine's listener, or a server that also knows the user.
    ///
    /// # Errors
    /// [`ClickHouseError`].
    pub async fn ping(&self) -> Result<(), ClickHouseError> {
        let Some(unix) = &self.unix else { return self.execute("SELECT 1 FORMAT Null").await };
        unix.get("/ping").await.map_err(|error| ClickHouseError {
            retryable: true,
            class: ErrorClass::Unreachable,
            code: None,
            message: format!("the engine does not answer: {error}"),
            source: None,
        })
    }

    /// Runs a statement that gives no rows, as it is written.
    ///
    /// # Errors
    /// [`ClickHouseError`].
    pub async fn execute(&self, sql: &str) -> Result<(), ClickHouseError> {
        Ok(self.client.query_raw(sql).execute().await?)
    }

    /// Runs a query and gives its answer in `format` (a ClickHouse format name), as it comes. `parameters` are bound to `{name:Type}` in
    /// the text, in ClickHouse's text form (tabs, line ends and backslashes are escaped here); `settings` hold for this query only.
    ///
    /// # Errors
    /// [`ClickHouseError`]; an error of the statement itself comes with the first bytes.
    pub fn query(
        &self,
        sql: &str,
        parameters: &[(&str, &str)],
        settings: &[(&str, &str)],
        format: &str,
    ) -> Result<Answer, ClickHouseError> {
        let mut query = self.client.query_raw(sql);
        for (name, value) in settings {
            query = query.with_setting(*name, *value);
        }
        for (name, value) in parameters {
            query = query.with_setting(format!("param_{name}"), escaped(value));
        }
        Ok(Answer(query.fetch_bytes(format)?))
    }

    /// Inserts packed Native blocks ([`crate::native::packed`]) exactly as they are, once: the same token with the same bytes is stored once.
    ///
    /// # Errors
    /// [`ClickHouseError`].
    pub async fn insert_native(&self, table: &str, columns: &[&str], token: &str, bytes: Bytes) -> Result<(), ClickHouseError> {
        let sql = format!("INSERT INTO {table} ({}) FORMAT Native", columns.join(", "));
        let mut insert = self
            .client
            .insert_formatted_with(sql)
            .with_setting("decompress", "1")
            .with_setting("insert_deduplicate", "1")
            .with_setting("insert_deduplication_token", token)
            .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1")
            // Whatever the server's profile says: one batch must always become the same blocks, or its token would not hold, and rows
            // of many days must not be refused.
            .with_setting("max_insert_threads", "1")
            .with_setting("min_insert_block_size_rows", "1048576")
            .with_setting("min_insert_block_size_bytes", "268435456")
            .with_setting("max_partitions_per_insert_block", "0")
            // Rows that add up do so when parts merge, and readers add up: doing it in the insert too costs a pass over every row of the
            // index of traces, which are one row each already. Events that are sent twice at once are worth it.
            .with_setting("optimize_on_insert", if table == "error_events" { "1" } else { "0" })
            .with_setting("async_insert", "0");
        insert.send(bytes).await?;
        Ok(insert.end().await?)
    }
}

/// A parameter's value as ClickHouse reads it: like a field of TabSeparated.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clickhouse::error::Error;

    #[test]
    fn errors_are_sorted() {
        for (error, class, code) in [
            (Error::BadResponse("Code: 241. DB::Exception: x".to_owned()), ErrorClass::Overloaded, Some(241)),
            (Error::BadResponse("502 Bad Gateway".to_owned()), ErrorClass::Unreachable, None),
            (Error::BadResponse("Code: 62. DB::Exception: x".to_owned()), ErrorClass::Final, Some(62)),
            (Error::Network("Code: 9 of the weather".into()), ErrorClass::Unreachable, None),
            (Error::TimedOut, ErrorClass::Unreachable, None),
            (Error::RowNotFound, ErrorClass::Final, None),
        ] {
            let error = ClickHouseError::from(error);
            assert_eq!((error.class, error.code, error.retryable), (class, code, class != ErrorClass::Final), "{error}");
        }
    }

    #[test]
    fn parameters_are_escaped() {
        assert_eq!(escaped("a\tb\\n\nc'"), "a\\tb\\\\n\\nc'");
    }
}
