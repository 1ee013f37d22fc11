//! Both stores behind `model`'s ports: ClickHouse for telemetry (with the write-ahead log before it) and SQL for state.

pub mod clickhouse;
pub mod engine;
pub mod errors;
pub mod evidence;
pub mod native;
pub mod promql;
pub mod sql;
pub mod state;
pub mod wal;
