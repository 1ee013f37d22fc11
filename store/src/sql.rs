//! SQL for tenants: one SELECT over one tenant's telemetry, checked here ([`check`]) and then run on ClickHouse under settings that let
//! it see only that tenant's rows and change nothing.
//!
//! Two walls. The check allows our tables and views by name, functions by name, and clauses that only read; what it does not know it
//! refuses, with one sentence. The settings put the tenant's condition on every base table, beneath views and subqueries, and keep
//! the statement's own conditions above it: moved into PREWHERE or merged with it, they would be evaluated on rows of other tenants,
//! and an error or its text would tell what stands there (tried on 26.7: `WHERE throwIf(...)` did).

mod functions;
mod guard;
mod questions;
mod refused;
mod tokens;
mod visitors;
mod watermark;

use std::time::Duration;

use async_trait::async_trait;
use clickhouse::Client;
use model::query::{QueryError, SqlAnswer, SqlQuery};
use model::tenant::TenantId;

use crate::clickhouse::ClickHouseError;

pub use functions::names as allowed_functions;
pub use guard::{Checked, INTERNAL, TABLES, check};
pub use questions::{RuleSql, bound, check_question, table};
pub use refused::SqlRefused;
pub use visitors::TenantGuard;
pub use watermark::Watermark;

/// Tables with a column `tenant` that statements may read themselves; all other names in [`TABLES`] are views over them.
pub const BASE_TABLES: [&str; 12] = [
    "spans",
    "logs",
    "series",
    "points",
    "histograms",
    "exp_histograms",
    "summaries",
    "exemplars",
    "patterns",
    "error_events",
    "trace_index",
    "error_arrivals",
];

/// The most rows of an answer.
pub const MAX_RESULT_ROWS: u64 = 100_000;
/// The most bytes of an answer, as ClickHouse counts them.
pub const MAX_RESULT_BYTES: u64 = 256 << 20;
/// The most memory of one statement.
pub const MAX_MEMORY_BYTES: u64 = 1 << 30;

/// Output formats and their media types.
const FORMATS: [(&str, &str); 24] = [
    ("JSON", JSON),
    ("JSONCompact", JSON),
    ("JSONStrings", JSON),
    ("JSONColumns", JSON),
    ("JSONColumnsWithMetadata", JSON),
    ("JSONEachRow", NDJSON),
    ("JSONStringsEachRow", NDJSON),
    ("JSONCompactEachRow", NDJSON),
    ("JSONCompactEachRowWithNames", NDJSON),
    ("JSONCompactEachRowWithNamesAndTypes", NDJSON),
    ("CSV", "text/csv; charset=utf-8"),
    ("CSVWithNames", "text/csv; charset=utf-8; header=present"),
    ("TSV", TSV),
    ("TSVWithNames", TSV),
    ("TSVWithNamesAndTypes", TSV),
    ("TabSeparated", TSV),
    ("TabSeparatedWithNames", TSV),
    ("PrettyCompact", "text/plain; charset=utf-8"),
    ("Vertical", "text/plain; charset=utf-8"),
    ("Markdown", "text/markdown; charset=utf-8"),
    ("Native", BYTES),
    ("RowBinaryWithNamesAndTypes", BYTES),
    ("ArrowStream", "application/vnd.apache.arrow.stream"),
    ("Parquet", "application/vnd.apache.parquet"),
];
const JSON: &str = "application/json; charset=utf-8";
const NDJSON: &str = "application/x-ndjson; charset=utf-8";
const TSV: &str = "text/tab-separated-values; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// SQL behind the guard.
#[derive(Clone)]
pub struct GuardedSql {
    client: Client,
    database: String,
}

impl GuardedSql {
    /// Over a client; `database` is the one that holds the telemetry.
    pub fn new(client: Client, database: &str) -> Self {
        GuardedSql { client: client.with_database(database), database: database.to_owned() }
    }

    /// The client for one statement of a tenant.
    fn client(&self, tenant: &TenantId, timeout: Duration) -> Client {
        let limits = Limits { timeout, result_bytes: MAX_RESULT_BYTES, memory_bytes: MAX_MEMORY_BYTES };
        let fixed = [("wait_end_of_query", "1".to_owned()), ("readonly", "1".to_owned())];
        let settings = tenant_settings(&self.database, tenant, limits).into_iter().chain(fixed);
        settings.fold(self.client.clone(), |client, (name, value)| client.with_setting(name, value))
    }
}

/// What one statement of a tenant may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long it may run.
    pub timeout: Duration,
    /// The most bytes of its answer.
    pub result_bytes: u64,
    /// The most memory, in bytes.
    pub memory_bytes: u64,
}

/// The settings under which a tenant's statements run: its condition on every table that holds rows, and limits.
pub fn tenant_settings(database: &str, tenant: &TenantId, limits: Limits) -> Vec<(&'static str, String)> {
    let filters: Vec<String> =
        BASE_TABLES.iter().map(|table| format!("'{}.{table}': 'tenant = \\'{tenant}\\''", database.replace('\'', "\\'"))).collect();
    vec![
        ("additional_table_filters", format!("{{{}}}", filters.join(", "))),
        // The tenant's condition first, on its own.
        ("optimize_move_to_prewhere", "0".to_owned()),
        ("optimize_prewhere_after_pushdown", "0".to_owned()),
        ("query_plan_merge_filters", "0".to_owned()),
        ("enable_join_runtime_filters", "0".to_owned()),
        // What one tenant's statement learned about a part must not speed up another's.
        ("use_query_condition_cache", "0".to_owned()),
        ("use_query_cache", "0".to_owned()),
        ("max_execution_time", limits.timeout.as_secs_f64().max(0.001).to_string()),
        ("timeout_overflow_mode", "throw".to_owned()),
        ("max_result_rows", MAX_RESULT_ROWS.to_string()),
        ("max_result_bytes", limits.result_bytes.to_string()),
        ("result_overflow_mode", "throw".to_owned()),
        ("max_memory_usage", limits.memory_bytes.to_string()),
    ]
}

#[async_trait]
impl SqlQuery for GuardedSql {
    async fn sql(&self, tenant: &TenantId, statement: &str, format: &str, timeout: Duration) -> Result<SqlAnswer, QueryError> {
        let checked = check(statement, &self.database).map_err(|refused| QueryError::BadData(refused.to_string()))?;
        let Some((format, content_type)) = FORMATS.iter().find(|(name, _)| *name == format) else {
            let known = FORMATS.map(|(name, _)| name).join(", ");
            return Err(QueryError::BadData(format!("`{format}` is not an output format that is served: use one of {known}")));
        };
        let query = self.client(tenant, timeout).query_raw(checked.statement());
        let failed = |error: clickhouse::error::Error| understood(error.into(), timeout);
        let mut cursor = query.fetch_bytes(format).map_err(failed)?;
        // ClickHouse ends a statement at its limit; this is for one that does not answer at all. Dropping the request ends it too.
        let patience = timeout + Duration::from_secs(2);
        let body = tokio::time::timeout(patience, cursor.collect()).await.map_err(|_| QueryError::Timeout(timeout))?.map_err(failed)?;
        Ok(SqlAnswer { body, content_type: (*content_type).to_owned() })
    }
}

/// What an error means to the one who asked.
pub(crate) fn understood(error: ClickHouseError, timeout: Duration) -> QueryError {
    match error.code {
        None => QueryError::Unavailable(error.message),
        Some(159) => QueryError::Timeout(timeout),
        // TOO_MANY_SIMULTANEOUS_QUERIES, a server that shuts down
        Some(202 | 209 | 210 | 236) => QueryError::Unavailable(error.message),
        // Wrong types, names, arguments or syntax; READONLY and ACCESS_DENIED are what the check did not see.
        Some(
            6 | 10 | 16 | 20 | 27 | 36 | 41 | 42 | 43 | 44 | 46 | 47 | 50 | 53 | 60 | 62 | 81 | 164 | 179 | 184 | 207 | 215 | 352 | 497,
        ) => QueryError::BadData(error.message),
        Some(_) => QueryError::Execution(error.message),
    }
}
