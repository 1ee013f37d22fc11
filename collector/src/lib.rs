//! The intake: OTLP over gRPC and HTTP, Sentry envelopes in, columnar blocks out to the durable log.
//!
//! A request walks: principal -> admission (requests, memory) -> body (limits while reading and inflating) -> decode ->
//! processing ([`pipeline`]) -> rows (one block per table, rejected records counted) -> [`model::sink::TelemetrySink`] -> answer. Only an answer of
//! the sink is acknowledged. Everything between the body and the blocks is pure and runs off the async threads.

mod admission;
pub mod checks;
mod columns;
mod config;
mod decode;
pub mod errors;
mod failure;
mod family;
mod fluent;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod grpc;
mod http;
mod inflate;
mod intake;
mod json_text;
mod loki;
mod meters;
mod naming;
mod ndjson;
pub mod pipeline;
mod push;
mod record;
mod remote_write;
mod rows;
pub mod scrape;
pub mod sentry;
mod series;
mod severity;
mod sockets;
mod statsd;
mod structured;
mod syslog;
#[cfg(test)]
mod tests;
mod zipkin;

pub use config::{Config, ConfigError, FluentConfig, RetentionDays, SentryConfig, SentryRateLimit, StatsdConfig, SyslogConfig, UtcOffset};
pub use intake::Collector;
pub use naming::{label_name, metric_name};
pub use sockets::{BindError, Sockets};
