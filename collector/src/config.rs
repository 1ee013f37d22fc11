//! The settings of the intake: limits, retention, memory. In: the `collector` part of the YAML file. Fails: unknown keys
//! are refused while parsing, values that cannot work by [`Config::check`].

mod sockets;

use std::collections::BTreeMap;
use std::time::Duration;

use model::time::Span;
use model::units::ByteCount;
use serde::{Deserialize, Serialize};
pub use sockets::{FluentConfig, StatsdConfig, SyslogConfig, UtcOffset};

/// Settings of the intake. Every key has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Largest request body on the wire, compressed or not; beyond it 413 or `RESOURCE_EXHAUSTED`. Default 64MiB.
    pub max_wire_bytes: ByteCount,
    /// Largest request body after decompression; checked while inflating. Default 64MiB.
    pub max_decoded_bytes: ByteCount,
    /// Memory that all requests in flight may take together (bodies and decoded messages); a request that would pass it waits
    /// for `hold`, then is refused. A single request that alone needs more is too large. Default 512MiB.
    pub max_request_memory: ByteCount,
    /// Requests worked on at the same time, those that wait for the disk included. Default 256.
    pub concurrent_requests: usize,
    /// Threads that decode; 0 means one per core. Default 0.
    pub decode_threads: usize,
    /// How long a request is held before it is refused for want of room, because some exporters never send again. Default 500ms.
    pub hold: Span,
    /// A body must have arrived within this time. Default 30s.
    pub body_timeout: Span,
    /// Longest attribute value in bytes; longer ones are cut and marked. Default 64KiB.
    pub max_attribute_value: ByteCount,
    /// Longest log body, status message, exception message or stack trace; longer ones are cut and marked. Default 256KiB.
    pub max_text: ByteCount,
    /// Longest name: service, span, event, scope, severity, attribute key; longer ones are cut and marked. Default 1KiB.
    pub max_name: ByteCount,
    /// Most attributes of one record; the rest is dropped and `watchfire.dropped_attributes` says how many. Default 256.
    pub max_attributes: usize,
    /// Most events of one span; the rest is dropped and counted. Default 256.
    pub max_events: usize,
    /// Most links of one span; the rest is dropped and counted. Default 256.
    pub max_links: usize,
    /// Most labels of one series; a point with more is rejected. Default 64.
    pub max_labels: usize,
    /// Longest label name; a point with a longer one is rejected. Default 256B.
    pub max_label_name: ByteCount,
    /// Longest label value; a point with a longer one is rejected. Default 2KiB.
    pub max_label_value: ByteCount,
    /// Series that this process remembers as described in the store; those it forgets are described again. Default 1000000.
    pub series_cache: usize,
    /// Span names per service in the series derived from spans; further ones count as `overflow`. Default 500.
    pub red_span_names: usize,
    /// Services in the series derived from spans; further ones count as `overflow`. Default 1000.
    pub red_services: usize,
    /// In-app frames that take part in the grouping of errors, from the innermost on. One, because further ones depend on where an
    /// error was caught: a span inside and an error tracker outside would see two kinds. Default 1.
    pub grouping_frames: usize,
    /// What Sentry's SDKs send.
    pub sentry: SentryConfig,
    /// Days that rows are kept, per signal.
    pub retention_days: RetentionDays,
    /// Records older than this at arrival are rejected, even where the retention is longer. Default: the retention alone.
    pub max_age: Option<Span>,
    /// Records further ahead of arrival than this are rejected. Default 1d.
    pub max_ahead: Span,
    /// Syslog over UDP and TCP. Default: off.
    pub syslog: SyslogConfig,
    /// Fluentd's and Fluent Bit's forward protocol over TCP. Default: off.
    pub fluent: FluentConfig,
    /// StatsD over UDP and TCP. Default: off.
    pub statsd: StatsdConfig,
}

/// What Sentry's SDKs send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SentryConfig {
    /// The service of each project number (the end of a DSN). Default: project 7 is `project-7`.
    pub projects: BTreeMap<u64, String>,
    /// Envelopes that one key may send.
    pub rate_limit: SentryRateLimit,
}

/// Envelopes that one key may send within a minute, by what they hold first; beyond it they are refused until the minute is over.
/// No limit by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SentryRateLimit {
    /// Errors and messages.
    pub errors: Option<u32>,
    /// Transactions.
    pub transactions: Option<u32>,
    /// All else: sessions, check-ins, logs.
    pub others: Option<u32>,
}

/// Days that rows are kept, per signal; records that are older at arrival are rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionDays {
    /// Spans. Default 14.
    pub spans: u16,
    /// Log records. Default 14.
    pub logs: u16,
    /// Metric points and histograms. Default 90.
    pub metrics: u16,
    /// Error events. Default 90.
    pub errors: u16,
}

impl Default for RetentionDays {
    fn default() -> Self {
        RetentionDays { spans: 14, logs: 14, metrics: 90, errors: 90 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_wire_bytes: ByteCount(64 << 20),
            max_decoded_bytes: ByteCount(64 << 20),
            max_request_memory: ByteCount(512 << 20),
            concurrent_requests: 256,
            decode_threads: 0,
            hold: Span::millis(500),
            body_timeout: Span::secs(30),
            max_attribute_value: ByteCount(64 << 10),
            max_text: ByteCount(256 << 10),
            max_name: ByteCount(1 << 10),
            max_attributes: 256,
            max_events: 256,
            max_links: 256,
            max_labels: 64,
            max_label_name: ByteCount(256),
            max_label_value: ByteCount(2 << 10),
            series_cache: 1_000_000,
            red_span_names: 500,
            red_services: 1_000,
            grouping_frames: 1,
            sentry: SentryConfig::default(),
            retention_days: RetentionDays::default(),
            max_age: None,
            max_ahead: Span::secs(86_400),
            syslog: SyslogConfig::default(),
            fluent: FluentConfig::default(),
            statsd: StatsdConfig::default(),
        }
    }
}

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("collector.{key}: {problem}")]
pub struct ConfigError {
    key: &'static str,
    problem: &'static str,
}

/// Cut values carry a mark of up to 40 bytes: limits below this could not hold it.
const SMALLEST_TEXT: u64 = 64;

impl Config {
    /// Checks what the types cannot: sizes that would refuse everything. Names the first key that is wrong and the fix.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem| Err(ConfigError { key, problem });
        for (key, size) in [
            ("max_wire_bytes", self.max_wire_bytes),
            ("max_decoded_bytes", self.max_decoded_bytes),
            ("max_attribute_value", self.max_attribute_value),
            ("max_text", self.max_text),
            ("max_name", self.max_name),
            ("max_label_name", self.max_label_name),
            ("max_label_value", self.max_label_value),
        ] {
            if size.0 < SMALLEST_TEXT {
                return wrong(key, "is below 64B: set at least 64B");
            }
            if size.0 > 1 << 30 {
                return wrong(key, "is above 1GiB: set at most 1GiB");
            }
        }
        if self.max_request_memory.0 < self.max_decoded_bytes.0.max(self.max_wire_bytes.0) {
            return wrong(
                "max_request_memory",
                "is smaller than one request may be: raise it to at least max_decoded_bytes and max_wire_bytes",
            );
        }
        if self.max_request_memory.0 > 1 << 40 {
            return wrong("max_request_memory", "is above 1024GiB: set at most that");
        }
        for (key, count) in [
            ("concurrent_requests", self.concurrent_requests),
            ("max_attributes", self.max_attributes),
            ("max_labels", self.max_labels),
            ("series_cache", self.series_cache),
            ("grouping_frames", self.grouping_frames),
        ] {
            if count == 0 {
                return wrong(key, "is 0: set at least 1");
            }
        }
        let days = self.retention_days;
        if days.spans == 0 || days.logs == 0 || days.metrics == 0 || days.errors == 0 {
            return wrong("retention_days", "holds a 0: every signal is kept for at least 1 day");
        }
        if self.sentry.projects.values().any(|name| name.trim().is_empty()) {
            return wrong("sentry.projects", "holds an empty name: name the service that the project's errors are of");
        }
        let rates = self.sentry.rate_limit;
        if [rates.errors, rates.transactions, rates.others].contains(&Some(0)) {
            return wrong("sentry.rate_limit", "holds a 0: nothing could ever be sent; set null for no limit");
        }
        if self.body_timeout.0 == Duration::ZERO {
            return wrong("body_timeout", "is 0: no body could ever arrive; set for example 30s");
        }
        if self.fluent.max_message.0 > self.max_decoded_bytes.0 && self.fluent.listen.is_some() {
            return wrong("fluent.max_message", "is larger than max_decoded_bytes: such a message could never be stored");
        }
        self.syslog.check()?;
        self.fluent.check()?;
        self.statsd.check()
    }
    /// How many threads decode.
    pub(crate) fn threads(&self) -> usize {
        if self.decode_threads > 0 { self.decode_threads } else { std::thread::available_parallelism().map_or(2, usize::from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_and_survive_text() {
        let config = Config::default();
        assert_eq!(config.check(), Ok(()));
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
        assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), config);
    }

    #[test]
    fn bad_settings_get_a_sentence() {
        assert!(serde_json::from_str::<Config>(r#"{"max_wire_byte": "1MiB"}"#).unwrap_err().to_string().contains("max_wire_byte"));
        let error = Config { max_request_memory: ByteCount(1 << 20), ..Config::default() }.check().unwrap_err();
        assert!(error.to_string().starts_with("collector.max_request_memory: is smaller"));
        assert!(Config { series_cache: 0, ..Config::default() }.check().is_err());
        assert!(Config { max_name: ByteCount(8), ..Config::default() }.check().is_err());
        let unnamed = SentryConfig { projects: [(1, " ".to_owned())].into(), ..SentryConfig::default() };
        assert!(Config { sentry: unnamed, ..Config::default() }.check().is_err());
        let shut = SentryRateLimit { errors: Some(0), ..SentryRateLimit::default() };
        assert!(Config { sentry: SentryConfig { rate_limit: shut, ..SentryConfig::default() }, ..Config::default() }.check().is_err());
        let none = RetentionDays { logs: 0, ..RetentionDays::default() };
        assert!(Config { retention_days: none, ..Config::default() }.check().is_err());
    }
}
