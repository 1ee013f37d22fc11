//! The store against real parts: the embedded engine, SQLite, PostgreSQL. One test binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // tests fail by panicking, and read the real world

#[path = "store/engine.rs"]
mod engine;
#[path = "store/engine_http.rs"]
mod engine_http;
#[path = "store/fixture.rs"]
mod fixture;
#[path = "store/postgres.rs"]
mod postgres;
#[path = "store/state.rs"]
mod state;
#[path = "store/wal.rs"]
mod wal;
