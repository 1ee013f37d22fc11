//! Native blocks, the telemetry tables, and the write-ahead log against the real engine.

#[path = "samples.rs"]
mod samples;

#[path = "wal_engine.rs"]
mod engine;
#[path = "wal_log.rs"]
mod log;
#[path = "wal_outage.rs"]
mod outage;
#[path = "wal_tables.rs"]
mod tables;
