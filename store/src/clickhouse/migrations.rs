//! Telemetry migrations: numbered, idempotent SQL files, applied in order and recorded with a checksum. A schema that is newer than
//! this binary is refused; so is one whose files differ from what was applied.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{ClickHouse, ClickHouseError};
use crate::engine::sql::split;

/// One migration.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// From 1, without gaps.
    pub number: u32,
    /// The file's name.
    pub name: &'static str,
    /// Statements with `;` between them. Every one can be run again without harm.
    pub sql: &'static str,
}

/// The migrations of this binary.
pub const TELEMETRY: &[Migration] = &[
    Migration { number: 1, name: "0001_telemetry", sql: include_str!("../../migrations/clickhouse/0001_telemetry.sql") },
    Migration { number: 2, name: "0002_views", sql: include_str!("../../migrations/clickhouse/0002_views.sql") },
    Migration { number: 3, name: "0003_otlp", sql: include_str!("../../migrations/clickhouse/0003_otlp.sql") },
    Migration { number: 4, name: "0004_errors", sql: include_str!("../../migrations/clickhouse/0004_errors.sql") },
    Migration { number: 5, name: "0005_parts", sql: include_str!("../../migrations/clickhouse/0005_parts.sql") },
    Migration { number: 6, name: "0006_processing", sql: include_str!("../../migrations/clickhouse/0006_processing.sql") },
    Migration { number: 7, name: "0007_dropped", sql: include_str!("../../migrations/clickhouse/0007_dropped.sql") },
    Migration { number: 8, name: "0008_custom_buckets", sql: include_str!("../../migrations/clickhouse/0008_custom_buckets.sql") },
];

/// Why the schema is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// ClickHouse.
    #[error("telemetry migration {name} failed: {source}")]
    ClickHouse {
        /// Which one, or `the list`.
        name: String,
        /// What it said.
        #[source]
        source: ClickHouseError,
    },
    /// From the future.
    #[error("the telemetry schema is at version {found}, and this watchfire knows versions up to {known}: use the newer watchfire")]
    Newer {
        /// The newest applied.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// Another history.
    #[error("telemetry migration {number} was applied from other text than this watchfire has: the data folder belongs to another build")]
    Changed {
        /// Which one.
        number: u32,
    },
}

#[derive(Row, Serialize, Deserialize)]
struct Applied {
    number: u32,
    checksum: u64,
}

/// The statements of a file: split at `;` outside of quotes and comments.
pub fn statements(sql: &str) -> Vec<String> {
    split(sql).into_iter().map(str::to_owned).collect()
}

/// Brings the schema up to date.
pub async fn migrate(clickhouse: &ClickHouse, migrations: &[Migration]) -> Result<(), MigrationError> {
    let list = |source: ClickHouseError| MigrationError::ClickHouse { name: "list".to_owned(), source };
    clickhouse
        .execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (number UInt32, name String, checksum UInt64) ENGINE = MergeTree ORDER BY number",
        )
        .await
        .map_err(list)?;
    let rows = clickhouse.client().query("SELECT number, checksum FROM schema_migrations ORDER BY number").fetch_all::<Applied>().await;
    let applied = rows.map_err(|error| list(error.into()))?;
    let known = migrations.last().map_or(0, |migration| migration.number);
    if let Some(newest) = applied.iter().map(|row| row.number).max().filter(|newest| *newest > known) {
        return Err(MigrationError::Newer { found: newest, known });
    }
    for migration in migrations {
        let checksum = xxh3_64(migration.sql.as_bytes());
        match applied.iter().find(|row| row.number == migration.number) {
            Some(row) if row.checksum == checksum => continue,
            Some(_) => return Err(MigrationError::Changed { number: migration.number }),
            None => {}
        }
        let failed = |source: ClickHouseError| MigrationError::ClickHouse { name: migration.name.to_owned(), source };
        for statement in split(migration.sql) {
            clickhouse.execute(statement).await.map_err(failed)?;
        }
        let record = format!("INSERT INTO schema_migrations VALUES ({}, '{}', {checksum})", migration.number, migration.name);
        clickhouse.execute(&record).await.map_err(failed)?;
        tracing::info!(migration = migration.name, "the telemetry schema was brought forward");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telemetry_migrations_are_numbered_without_gaps_and_hold_statements() {
        for (index, migration) in TELEMETRY.iter().enumerate() {
            assert_eq!(migration.number as usize, index + 1);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.number)));
            let statements = split(migration.sql);
            assert!(!statements.is_empty());
            for statement in statements {
                let code: Vec<&str> = statement.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
                let statement = code.join("\n");
                assert!(!statement.ends_with(';') && statement.matches('\'').count().is_multiple_of(2), "{statement}");
            }
        }
    }
}
