//! State migrations: numbered files, each applied once in a transaction of its own.

/// Number and text of each, in order. Only ever added to.
pub const STATE: &[(i64, &str)] = &[(1, include_str!("../../migrations/state/0001_state.sql"))];

/// The newest number.
pub fn newest() -> i64 {
    STATE.last().map_or(0, |(number, _)| *number)
}

/// The statements of a file.
pub fn statements(sql: &str) -> impl Iterator<Item = String> + '_ {
    crate::clickhouse::migrations::statements(sql).into_iter()
}
