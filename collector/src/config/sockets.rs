//! The settings of the receivers that listen on sockets of their own: syslog, Fluent forward, StatsD. All off by default. They
//! carry no API key, so they listen on this machine only unless told otherwise. Fails: by [`super::Config::check`].

use std::net::SocketAddr;

use model::secret::Secret;
use model::tenant::TenantId;
use model::time::Span;
use model::units::ByteCount;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Syslog over UDP and TCP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyslogConfig {
    /// Where datagrams are taken, RFC 5424 and 3164; none: nowhere.
    pub udp: Option<SocketAddr>,
    /// Where connections are taken, with octet counting or a line a message; none: nowhere.
    pub tcp: Option<SocketAddr>,
    /// Whose logs they are. Default `default`.
    pub tenant: TenantId,
    /// Listens also where other machines can reach it: whoever does can write logs. Default false.
    pub allow_unauthenticated: bool,
    /// Hours and minutes east of UTC, for the times of RFC 3164 that name no zone. Default `+00:00`.
    pub utc_offset: UtcOffset,
    /// Longest message; the rest of a longer one is left out and counted. Default 64KiB.
    pub max_message: ByteCount,
    /// Messages that wait to be stored; datagrams past it are lost and counted, connections wait. Default 16MiB.
    pub queue: ByteCount,
    /// Messages that are stored together at most. Default 4096.
    pub batch_messages: usize,
    /// How long a message waits for others to be stored together. Default 200ms.
    pub batch_linger: Span,
    /// Connections at the same time; further ones are closed and counted. Default 256.
    pub connections: usize,
}

impl Default for SyslogConfig {
    fn default() -> Self {
        SyslogConfig {
            udp: None,
            tcp: None,
            tenant: TenantId::default(),
            allow_unauthenticated: false,
            utc_offset: UtcOffset::default(),
            max_message: ByteCount(64 << 10),
            queue: ByteCount(16 << 20),
            batch_messages: 4096,
            batch_linger: Span::millis(200),
            connections: 256,
        }
    }
}

/// Fluentd's and Fluent Bit's forward protocol over TCP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FluentConfig {
    /// Where connections are taken; none: nowhere. Senders expect port 24224.
    pub listen: Option<SocketAddr>,
    /// Whose logs they are. Default `default`.
    pub tenant: TenantId,
    /// The key that senders must know (`shared_key` there); none: anyone who can connect may send.
    pub shared_key: Option<Secret>,
    /// Listens also where other machines can reach it, without a shared key. Default false.
    pub allow_unauthenticated: bool,
    /// Largest message, and largest after decompression; a sender of larger ones is cut off. Default 32MiB.
    pub max_message: ByteCount,
    /// Connections at the same time; further ones are closed and counted. Default 256.
    pub connections: usize,
}

impl Default for FluentConfig {
    fn default() -> Self {
        FluentConfig {
            listen: None,
            tenant: TenantId::default(),
            shared_key: None,
            allow_unauthenticated: false,
            max_message: ByteCount(32 << 20),
            connections: 256,
        }
    }
}

/// StatsD over UDP and TCP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatsdConfig {
    /// Where datagrams are taken; none: nowhere. Senders expect port 8125.
    pub udp: Option<SocketAddr>,
    /// Where connections are taken, a sample a line; none: nowhere.
    pub tcp: Option<SocketAddr>,
    /// Whose metrics they are. Default `default`.
    pub tenant: TenantId,
    /// Listens also where other machines can reach it: whoever does can write metrics. Default false.
    pub allow_unauthenticated: bool,
    /// How often what was added up is stored. Default 10s.
    pub flush: Span,
    /// Series between two flushes; samples of further ones are lost and counted. Default 100000.
    pub max_series: usize,
    /// Different values that a set tells apart; further ones are counted as lost. Default 10000.
    pub max_set_values: usize,
    /// How long a gauge that nobody sets is written on with its last value. Default 1h.
    pub gauge_ttl: Span,
    /// Upper bounds of the histograms of timers, in milliseconds, and of histograms and distributions, in their own unit. Default:
    /// those of OpenTelemetry.
    pub bounds: Vec<f64>,
    /// Connections at the same time; further ones are closed and counted. Default 256.
    pub connections: usize,
}

impl Default for StatsdConfig {
    fn default() -> Self {
        StatsdConfig {
            udp: None,
            tcp: None,
            tenant: TenantId::default(),
            allow_unauthenticated: false,
            flush: Span::secs(10),
            max_series: 100_000,
            max_set_values: 10_000,
            gauge_ttl: Span::secs(3_600),
            bounds: vec![0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0],
            connections: 256,
        }
    }
}

/// Hours and minutes east of UTC, written `+01:00` or `-03:30`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UtcOffset {
    seconds: i32,
}

impl UtcOffset {
    /// Seconds east of UTC.
    pub fn seconds(self) -> i32 {
        self.seconds
    }
}

impl TryFrom<String> for UtcOffset {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let read = || {
            let (sign, rest) = match text.split_at_checked(1)? {
                ("+", rest) => (1, rest),
                ("-", rest) => (-1, rest),
                _ => return None,
            };
            let (hours, minutes) = rest.split_once(':')?;
            let number = |digits: &str| {
                (digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()))
                    .then(|| digits.parse::<u8>().ok())
                    .flatten()
                    .map(i32::from)
            };
            let (hours, minutes) = (number(hours)?, number(minutes)?);
            (hours <= 14 && minutes < 60).then_some(UtcOffset { seconds: sign * (hours * 3_600 + minutes * 60) })
        };
        read().ok_or_else(|| format!("`{text}` is not an offset from UTC: write for example +01:00 or -03:30"))
    }
}

impl From<UtcOffset> for String {
    fn from(offset: UtcOffset) -> String {
        let (sign, minutes) = (if offset.seconds < 0 { '-' } else { '+' }, offset.seconds.abs() / 60);
        format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// Whether an address may be listened on by a receiver that asks nobody who he is.
fn open(address: Option<SocketAddr>, allowed: bool) -> bool {
    address.is_some_and(|address| !address.ip().to_canonical().is_loopback()) && !allowed
}

type Check = Result<(), ConfigError>;

fn wrong(key: &'static str, problem: &'static str) -> Check {
    Err(ConfigError { key, problem })
}

const OPEN: &str =
    "can be reached by other machines, and whoever reaches it may write: listen on 127.0.0.1, or set allow_unauthenticated: true";

impl SyslogConfig {
    pub(super) fn check(&self) -> Check {
        if open(self.udp, self.allow_unauthenticated) {
            return wrong("syslog.udp", OPEN);
        }
        if open(self.tcp, self.allow_unauthenticated) {
            return wrong("syslog.tcp", OPEN);
        }
        if !(480..=16 << 20).contains(&self.max_message.0) {
            return wrong("syslog.max_message", "is not between 480B (what RFC 5424 asks for) and 16MiB");
        }
        if self.queue.0 < 2 * self.max_message.0 || self.queue.0 > 1 << 30 {
            return wrong("syslog.queue", "is not between twice max_message and 1GiB");
        }
        if self.batch_messages == 0 || self.connections == 0 {
            return wrong("syslog.batch_messages, connections", "hold a 0: set at least 1");
        }
        Ok(())
    }
}

impl FluentConfig {
    pub(super) fn check(&self) -> Check {
        if self.shared_key.as_ref().is_some_and(Secret::is_empty) {
            return wrong("fluent.shared_key", "is empty: set a key, or leave it out");
        }
        if self.shared_key.is_none() && open(self.listen, self.allow_unauthenticated) {
            return wrong(
                "fluent.listen",
                "can be reached by other machines, and whoever reaches it may write: listen on 127.0.0.1, set a shared_key, or set allow_unauthenticated: true",
            );
        }
        if !(64 << 10..=1 << 30).contains(&self.max_message.0) {
            return wrong("fluent.max_message", "is not between 64KiB and 1GiB");
        }
        if self.connections == 0 {
            return wrong("fluent.connections", "is 0: set at least 1");
        }
        Ok(())
    }
}

impl StatsdConfig {
    pub(super) fn check(&self) -> Check {
        if open(self.udp, self.allow_unauthenticated) {
            return wrong("statsd.udp", OPEN);
        }
        if open(self.tcp, self.allow_unauthenticated) {
            return wrong("statsd.tcp", OPEN);
        }
        if self.flush.0.as_millis() < 100 {
            return wrong("statsd.flush", "is below 100ms: set for example 10s");
        }
        if self.max_series == 0 || self.max_set_values == 0 || self.connections == 0 {
            return wrong("statsd.max_series, max_set_values, connections", "hold a 0: set at least 1");
        }
        let rising = self.bounds.is_sorted_by(|a, b| a < b) && self.bounds.iter().all(|bound| bound.is_finite());
        if !rising || self.bounds.len() > 256 {
            return wrong("statsd.bounds", "are not rising, finite and at most 256");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_listens_to_other_machines_by_mistake() {
        let far: Option<SocketAddr> = Some("0.0.0.0:514".parse().unwrap());
        let near: Option<SocketAddr> = Some("[::1]:514".parse().unwrap());
        assert_eq!(SyslogConfig { udp: near, tcp: near, ..SyslogConfig::default() }.check(), Ok(()));
        assert!(
            SyslogConfig { udp: far, ..SyslogConfig::default() }.check().unwrap_err().to_string().contains("collector.syslog.udp: can be")
        );
        assert!(SyslogConfig { tcp: far, ..SyslogConfig::default() }.check().is_err());
        assert_eq!(SyslogConfig { tcp: far, allow_unauthenticated: true, ..SyslogConfig::default() }.check(), Ok(()));
        assert!(StatsdConfig { udp: far, ..StatsdConfig::default() }.check().is_err());
        assert!(StatsdConfig { tcp: far, ..StatsdConfig::default() }.check().is_err());
        assert!(FluentConfig { listen: far, ..FluentConfig::default() }.check().is_err());
        assert_eq!(FluentConfig { listen: far, shared_key: Some(Secret::new("k")), ..FluentConfig::default() }.check(), Ok(()));
        assert!(FluentConfig { listen: near, shared_key: Some(Secret::new("")), ..FluentConfig::default() }.check().is_err());
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert!(SyslogConfig { max_message: ByteCount(100), ..SyslogConfig::default() }.check().is_err());
        assert!(SyslogConfig { queue: ByteCount(1 << 10), ..SyslogConfig::default() }.check().is_err());
        assert!(SyslogConfig { batch_messages: 0, ..SyslogConfig::default() }.check().is_err());
        assert!(FluentConfig { max_message: ByteCount(1), ..FluentConfig::default() }.check().is_err());
        assert!(StatsdConfig { flush: Span::millis(1), ..StatsdConfig::default() }.check().is_err());
        for bounds in [vec![2.0, 1.0], vec![1.0, 1.0], vec![f64::NAN], vec![f64::INFINITY]] {
            assert!(StatsdConfig { bounds: bounds.clone(), ..StatsdConfig::default() }.check().is_err(), "{bounds:?}");
        }
    }

    #[test]
    fn offsets_are_read_and_written() {
        for (text, seconds) in [("+00:00", 0), ("+05:30", 19_800), ("-03:30", -12_600), ("+14:00", 50_400)] {
            let offset = UtcOffset::try_from(text.to_owned()).unwrap();
            assert_eq!((offset.seconds(), String::from(offset)), (seconds, text.to_owned()));
        }
        for text in ["", "+", "01:00", "+1:00", "+15:00", "+01:60", "Europe/Berlin", "é1:00", "++1:00"] {
            assert!(UtcOffset::try_from(text.to_owned()).unwrap_err().contains("write for example +01:00"), "{text}");
        }
    }
}
