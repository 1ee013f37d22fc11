//! A real ClickHouse for the tests: a fresh database with the telemetry tables.

use async_trait::async_trait;
use bytes::Bytes;
use clickhouse::Client;
use model::columns::TableSpec;
use store::wal::{BlockInsert, InsertError, verdict};

const MIGRATIONS: [&str; 2] =
    [include_str!("../../migrations/clickhouse/0001_telemetry.sql"), include_str!("../../migrations/clickhouse/0002_views.sql")];

/// One database of the server whose HTTP address stands in `WATCHFIRE_TEST_CLICKHOUSE`.
#[derive(Clone)]
pub struct Engine {
    client: Client,
}

impl Engine {
    /// A fresh database; `None` (and a word about it) where no server is named.
    pub async fn start(database: &str) -> Option<Engine> {
        let Some(url) = std::env::var_os("WATCHFIRE_TEST_CLICKHOUSE") else {
            assert_ne!(std::env::var_os("CI"), Some("true".into()), "the tests of the log need a ClickHouse");
            println!("SKIPPED: needs a ClickHouse (name its HTTP address in WATCHFIRE_TEST_CLICKHOUSE)");
            return None;
        };
        let client = Client::default().with_url(url.to_string_lossy()).with_validation(false);
        for statement in [format!("DROP DATABASE IF EXISTS {database}"), format!("CREATE DATABASE {database}")] {
            client.query_raw(&statement).execute().await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let engine = Engine { client: client.with_database(database) };
        let has_words = |statement: &&str| statement.lines().any(|line| !line.trim().is_empty() && !line.starts_with("--"));
        for statement in MIGRATIONS.iter().flat_map(|text| text.split(";\n")).filter(has_words) {
            engine.execute(statement).await;
        }
        Some(engine)
    }

    /// Runs a statement.
    pub async fn execute(&self, sql: &str) {
        self.client.query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The answer in a format.
    pub async fn bytes(&self, sql: &str, format: &str) -> Vec<u8> {
        let answer = async { self.client.query_raw(sql).fetch_bytes(format)?.collect().await };
        answer.await.unwrap_or_else(|error| panic!("{sql}: {error}")).to_vec()
    }

    /// The answer as text, columns split by tabs.
    pub async fn text(&self, sql: &str) -> String {
        String::from_utf8_lossy(&self.bytes(sql, "TabSeparatedRaw").await).trim_end().to_owned()
    }
}

#[async_trait]
impl BlockInsert for Engine {
    async fn insert(&self, table: &'static TableSpec, token: &str, bytes: Bytes) -> Result<(), InsertError> {
        let sent = async {
            let mut insert = self
                .client
                .insert_formatted_with(format!("INSERT INTO {} FORMAT Native", table.name))
                .with_setting("insert_deduplication_token", token)
                .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1")
                .with_setting("async_insert", "0");
            insert.send(bytes).await?;
            insert.end().await
        };
        sent.await.map_err(|error: clickhouse::error::Error| {
            let message = error.to_string();
            InsertError { retryable: verdict::is_retryable(&message), message }
        })
    }
}
