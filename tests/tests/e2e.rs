//! The proofs that need the whole program: one test binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // tests fail by panicking, and read the real world

#[path = "e2e/agents.rs"]
mod agents;
#[path = "e2e/agents_syslog.rs"]
mod agents_syslog;
#[path = "e2e/alertmanager.rs"]
mod alertmanager;
#[path = "e2e/arrival.rs"]
mod arrival;
#[path = "e2e/bad_formats.rs"]
mod bad_formats;
#[path = "e2e/bad_input.rs"]
mod bad_input;
#[path = "e2e/bad_requests.rs"]
mod bad_requests;
#[path = "e2e/boards.rs"]
mod boards;
#[path = "e2e/checks.rs"]
mod checks;
#[path = "e2e/clickhouse_url.rs"]
mod clickhouse_url;
#[path = "e2e/command_line.rs"]
mod command_line;
#[cfg(feature = "console")]
#[path = "e2e/console.rs"]
mod console;
#[path = "e2e/console_routes.rs"]
mod console_routes;
#[path = "e2e/deliveries.rs"]
mod deliveries;
#[path = "e2e/deploy.rs"]
mod deploy;
#[path = "e2e/heavy_queries.rs"]
mod heavy_queries;
#[path = "e2e/issues.rs"]
mod issues;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/nodes.rs"]
mod nodes;
#[path = "e2e/otlp_examples.rs"]
mod otlp_examples;
#[path = "e2e/otlp_senders.rs"]
mod otlp_senders;
#[path = "e2e/own_spans.rs"]
mod own_spans;
#[path = "e2e/people.rs"]
mod people;
#[path = "../../store/tests/store/postgres.rs"]
mod postgres;
#[path = "e2e/processing.rs"]
mod processing;
#[path = "e2e/prometheus_api.rs"]
mod prometheus_api;
#[path = "e2e/reload.rs"]
mod reload;
#[path = "e2e/remote_write.rs"]
mod remote_write;
#[path = "e2e/rule_sources.rs"]
mod rule_sources;
#[path = "e2e/rule_tests.rs"]
mod rule_tests;
#[path = "e2e/scrape.rs"]
mod scrape;
#[path = "e2e/sentry.rs"]
mod sentry;
#[path = "e2e/six_failures.rs"]
mod six_failures;
#[path = "e2e/spine.rs"]
mod spine;
#[path = "e2e/sql_listener.rs"]
mod sql_listener;
#[path = "e2e/tail_sampling.rs"]
mod tail_sampling;
#[path = "e2e/tree.rs"]
mod tree;

/// The binary under test.
const WATCHFIRE: &str = env!("CARGO_BIN_EXE_watchfire-under-test");
