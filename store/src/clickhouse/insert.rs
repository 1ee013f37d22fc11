//! The write-ahead log's way into ClickHouse: Native bytes as they are, under a deduplication token.

use async_trait::async_trait;
use bytes::Bytes;
use model::columns::TableSpec;

use super::ClickHouse;
use crate::wal::{BlockInsert, InsertError, verdict};

#[async_trait]
impl BlockInsert for ClickHouse {
    async fn insert(&self, table: &'static TableSpec, token: &str, bytes: Bytes) -> Result<(), InsertError> {
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        self.insert_native(table.name, &columns, token, bytes).await.map_err(|error| {
            // Stricter than for statements: what an operator can set right (a missing table, a missing column) only delays.
            InsertError { retryable: verdict::is_retryable(&error.message), message: error.message }
        })
    }
}
