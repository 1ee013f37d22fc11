//! The store against real parts: the embedded engine, SQLite, PostgreSQL. One test binary.
#[path = "store/wal.rs"]
mod wal;
