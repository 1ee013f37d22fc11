//! INTERIM
use async_trait::async_trait;
use bytes::Bytes;
use model::columns::TableSpec;
use store::wal::{BlockInsert, InsertError};

#[derive(Clone)]
pub struct Engine {
    client: clickhouse::Client,
}

const MIGRATIONS: [&str; 2] =
    [include_str!("../../migrations/clickhouse/0001_telemetry.sql"), include_str!("../../migrations/clickhouse/0002_views.sql")];

impl Engine {
    pub async fn start(name: &str) -> Option<Engine> {
        let client = clickhouse::Client::default().with_url("http://127.0.0.1:18123").with_validation(false);
        client.query_raw(&format!("DROP DATABASE IF EXISTS {name}")).execute().await.unwrap();
        client.query_raw(&format!("CREATE DATABASE {name}")).execute().await.unwrap();
        let engine = Engine { client: client.with_database(name) };
        for text in MIGRATIONS {
            for st in text.split(";\n") {
                if st.lines().any(|l| !l.trim().is_empty() && !l.starts_with("--")) {
                    engine.execute(st).await;
                }
            }
        }
        Some(engine)
    }
    pub async fn execute(&self, sql: &str) {
        self.client.query_raw(sql).execute().await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    pub async fn bytes(&self, sql: &str, format: &str) -> Vec<u8> {
        self.client.query_raw(sql).fetch_bytes(format).unwrap().collect().await.unwrap_or_else(|e| panic!("{sql}: {e}")).to_vec()
    }
    pub async fn text(&self, sql: &str) -> String {
        String::from_utf8(self.bytes(sql, "TabSeparatedRaw").await).unwrap().trim_end().to_owned()
    }
}

#[async_trait]
impl BlockInsert for Engine {
    async fn insert(&self, table: &'static TableSpec, token: &str, bytes: Bytes) -> Result<(), InsertError> {
        let cols = table.columns.iter().map(|c| format!("`{}`", c.name)).collect::<Vec<_>>().join(", ");
        let mut insert = self
            .client
            .insert_formatted_with(format!("INSERT INTO {} ({cols}) FORMAT Native", table.name))
            .with_setting("insert_deduplication_token", token)
            .with_setting("async_insert", "0")
            .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1");
        let e = |e: clickhouse::error::Error| InsertError { retryable: !e.to_string().contains("Code: "), message: e.to_string() };
        insert.send(bytes).await.map_err(e)?;
        insert.end().await.map_err(e)
    }
}
