//! The intake: OTLP over gRPC and HTTP, Sentry envelopes in, columnar blocks out to the durable log.
//!
//! A request walks: principal -> admission (requests, memory) -> body (limits while reading and inflating) -> decode ->
//! rows (one block per table, rejected records counted) -> [`model::sink::TelemetrySink`] -> answer. Only an answer of
//! the sink is acknowledged. Everything between the body and the blocks is pure and runs off the async threads.

mod admission;
mod columns;
mod config;
mod decode;
pub mod errors;
mod failure;
mod family;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod grpc;
mod http;
mod inflate;
mod intake;
mod meters;
mod naming;
mod record;
mod remote_write;
mod rows;
pub mod scrape;
pub mod sentry;
mod series;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, RetentionDays, SentryConfig, SentryRateLimit};
pub use intake::Collector;
pub use naming::{label_name, metric_name};
