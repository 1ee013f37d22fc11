//! The store against real parts: the embedded engine, SQLite, PostgreSQL. One test binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // tests fail by panicking, and read the real world

#[path = "store/engine.rs"]
mod engine;
#[path = "store/engine_http.rs"]
mod engine_http;
#[path = "store/errors.rs"]
mod errors;
#[path = "store/evidence.rs"]
mod evidence;
#[path = "store/fixture.rs"]
mod fixture;
#[path = "store/postgres.rs"]
mod postgres;
#[path = "store/promql.rs"]
mod promql;
#[path = "store/sql.rs"]
mod sql;
#[path = "store/state.rs"]
mod state;
#[path = "store/state_contract.rs"]
mod state_contract;
#[path = "store/state_many.rs"]
mod state_many;
#[path = "store/state_random.rs"]
mod state_random;
#[path = "store/wal.rs"]
mod wal;
