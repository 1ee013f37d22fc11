//! The write-ahead log's way into ClickHouse: Native bytes as they are, under a deduplication token.

use async_trait::async_trait;
use bytes::Bytes;
use model::columns::TableSpec;

use super::{ClickHouse, ClickHouseError};
use crate::wal::{BlockInsert, InsertError, verdict};

#[async_trait]
impl BlockInsert for ClickHouse {
    async fn insert(&self, table: &'static TableSpec, token: &str, bytes: Bytes) -> Result<(), InsertError> {
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let sql = format!("INSERT INTO {} ({}) FORMAT Native", table.name, columns.join(", "));
        let mut insert = self
            .client()
            .insert_formatted_with(sql)
            .with_setting("insert_deduplicate", "1")
            .with_setting("insert_deduplication_token", token)
            .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1")
            // Whatever the server's profile says: one batch must always become the same blocks, or its token would not hold, and rows
            // of many days must not be refused.
            .with_setting("max_insert_threads", "1")
            .with_setting("min_insert_block_size_rows", "1048576")
            .with_setting("min_insert_block_size_bytes", "268435456")
            .with_setting("max_partitions_per_insert_block", "0")
            .with_setting("async_insert", "0");
        let outcome = match insert.send(bytes).await {
            Ok(()) => insert.end().await,
            Err(error) => Err(error),
        };
        outcome.map_err(|error| {
            let error = ClickHouseError::from(error);
            // Stricter than for statements: what an operator can set right (a missing table, a missing column) only delays.
            InsertError { retryable: verdict::is_retryable(&error.message), message: error.message }
        })
    }
}
