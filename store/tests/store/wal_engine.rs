//! An engine of its own for each test of the log, with the telemetry tables.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::columns::TableSpec;
use store::wal::{BlockInsert, InsertError};

use crate::fixture::TestEngine;

/// Clones share it.
#[derive(Clone)]
pub struct Engine(pub Arc<TestEngine>);

impl Engine {
    /// A fresh one.
    pub async fn start() -> Engine {
        Engine(Arc::new(TestEngine::with_schema().await))
    }

    /// Runs a statement.
    pub async fn execute(&self, sql: &str) {
        self.0.clickhouse.execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The answer in a format.
    pub async fn bytes(&self, sql: &str, format: &str) -> Vec<u8> {
        let answer = async { self.0.clickhouse.client().query_raw(sql).fetch_bytes(format)?.collect().await };
        answer.await.unwrap_or_else(|error: clickhouse::error::Error| panic!("{sql}: {error}")).to_vec()
    }

    /// The answer as text, columns split by tabs.
    pub async fn text(&self, sql: &str) -> String {
        self.0.text(sql).await
    }
}

#[async_trait]
impl BlockInsert for Engine {
    async fn insert(&self, table: &'static TableSpec, token: &str, bytes: Bytes) -> Result<(), InsertError> {
        self.0.clickhouse.insert(table, token, bytes).await
    }
}
