//! The rows of the evidence's statements. Fields are named apart from the tables' columns, so that no alias hides a column from its
//! index.

use clickhouse::Row;
use serde::Deserialize;

/// One service.
#[derive(Row, Deserialize)]
pub struct ImpactRow {
    pub service_name: String,
    pub requests: u64,
    pub errors: u64,
    pub p95: f64,
    pub requests_before: u64,
    pub errors_before: u64,
    pub p95_before: f64,
}

/// People that one service failed.
#[derive(Row, Deserialize)]
pub struct UsersRow {
    pub service_name: String,
    pub users: u64,
}

/// The counts of one error group; times in nanoseconds.
#[derive(Row, Deserialize)]
pub struct GroupRow {
    pub service_name: String,
    pub print: u64,
    pub events: u64,
    pub events_before: u64,
    pub first_seen: i64,
    pub last_seen: i64,
}

/// The words of one error group.
#[derive(Row, Deserialize, Default)]
pub struct DetailRow {
    pub service_name: String,
    pub print: u64,
    pub kind: String,
    pub message: String,
    pub stack_text: String,
    pub trace: String,
}

/// The slowest entry span of a trace; times in nanoseconds.
#[derive(Row, Deserialize)]
pub struct TraceRow {
    pub trace: String,
    pub service_name: String,
    pub span_name: String,
    pub begun: i64,
    pub nanoseconds: u64,
    pub failed: u8,
}

/// Equal log bodies.
#[derive(Row, Deserialize)]
pub struct LogRow {
    pub service_name: String,
    pub severity: String,
    pub text: String,
    pub records: u64,
}

/// A service in failed traces.
#[derive(Row, Deserialize)]
pub struct TouchedRow {
    pub service_name: String,
    pub traces: u64,
}
