//! Time: nanoseconds UTC inside, RFC 3339 at the edges. `Clock` is the only door to the wall clock.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, in nanoseconds since the Unix epoch, UTC. Serialised as RFC 3339 text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Timestamp(nanos)
    }
    /// From microseconds since the epoch (what the state store keeps).
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros.saturating_mul(1_000))
    }
    /// From milliseconds since the epoch (what PromQL speaks).
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis.saturating_mul(1_000_000))
    }
    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Timestamp(secs.saturating_mul(1_000_000_000))
    }
    /// From fractional seconds since the epoch (Prometheus's HTTP API); `None` when not finite or out of range.
    pub fn from_secs_f64(secs: f64) -> Option<Self> {
        let nanos = secs * 1e9;
        (nanos.is_finite() && nanos.abs() < 9.2e18).then(|| Timestamp((secs * 1e3).round() as i64 * 1_000_000))
    }
    /// From RFC 3339 text. What lies beyond the years that fit (1677 to 2262) becomes the first or the last moment: who writes
    /// `9999-12-31T23:59:59Z` means never.
    pub fn parse_clamped(text: &str) -> Result<Self, TimestampError> {
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| TimestampError(text.to_owned()))?;
        let end = if time.timestamp() < 0 { i64::MIN } else { i64::MAX };
        Ok(Timestamp(time.timestamp_nanos_opt().unwrap_or(end)))
    }
    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }
    /// Microseconds since the epoch, rounded down.
    pub const fn micros(self) -> i64 {
        self.0.div_euclid(1_000)
    }
    /// Milliseconds since the epoch, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
    /// Seconds since the epoch with a fraction.
    pub fn secs_f64(self) -> f64 {
        self.millis() as f64 / 1e3
    }
    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
    /// This moment plus a duration, saturating.
    pub fn plus(self, duration: Duration) -> Self {
        Timestamp(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }
    /// This moment minus a duration, saturating.
    pub fn minus(self, duration: Duration) -> Self {
        Timestamp(self.0.saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }
    /// The same moment as chrono's type, for calendars and zones.
    pub fn to_chrono(self) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(self.0)
    }
    /// RFC 3339 in UTC with as many fraction digits as are needed.
    pub fn rfc3339(self) -> String {
        self.to_chrono().to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// A text that is no RFC 3339 time.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a time: write it as RFC 3339, for example 2026-03-01T09:30:00Z")]
pub struct TimestampError(String);

impl FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        DateTime::parse_from_rfc3339(text)
            .ok()
            .and_then(|time| time.timestamp_nanos_opt())
            .map(Timestamp)
            .ok_or_else(|| TimestampError(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.rfc3339())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The door to "now". The shell hands one down; the core takes a [`Timestamp`].
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;
    /// Time since a moment that is the same as long as the process runs. Somebody who sets the clock does not move it: for "remember
    /// this for ten minutes".
    fn steady(&self) -> Duration;
}

/// The machine's wall clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that reads the wall clock
    fn now(&self) -> Timestamp {
        Timestamp(Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX))
    }
    fn steady(&self) -> Duration {
        static SINCE: LazyLock<Stopwatch> = LazyLock::new(Stopwatch::start);
        SINCE.elapsed()
    }
}

/// A clock that stands still until it is moved: for simulated tests.
#[derive(Debug)]
pub struct SimulatedClock {
    shown: AtomicI64,
    passed: AtomicI64,
}

impl SimulatedClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        SimulatedClock { shown: AtomicI64::new(start.nanos()), passed: AtomicI64::new(0) }
    }
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        self.shown.fetch_add(nanos, Ordering::SeqCst);
        self.passed.fetch_add(nanos, Ordering::SeqCst);
    }
    /// Sets the clock, backwards too. No time passes.
    pub fn set(&self, to: Timestamp) {
        self.shown.store(to.nanos(), Ordering::SeqCst);
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.shown.load(Ordering::SeqCst))
    }
    fn steady(&self) -> Duration {
        Duration::from_nanos(self.passed.load(Ordering::SeqCst).unsigned_abs())
    }
}

/// Measures elapsed time for metrics; never used in a decision.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts to measure.
    #[allow(clippy::disallowed_methods)] // the one place that reads the monotonic clock
    pub fn start() -> Self {
        Stopwatch(std::time::Instant::now())
    }
    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A duration written the way Prometheus writes it: `1h30m`, `5m`, `15s`, `250ms`, `2d`, `1w`, `1y`, `0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

impl Span {
    /// From whole seconds.
    pub const fn secs(secs: u64) -> Self {
        Span(Duration::from_secs(secs))
    }
    /// From whole milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Span(Duration::from_millis(millis))
    }
}

/// A text that is no duration.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a duration: write a number and a unit (ms, s, m, h, d, w, y), for example 90s, 5m or 1h30m")]
pub struct SpanError(String);

const UNITS: [(&str, u64); 7] =
    [("y", 31_536_000_000), ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Span {
    type Err = SpanError;
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let fail = || SpanError(text.to_owned());
        if text == "0" {
            return Ok(Span::default());
        }
        let (mut rest, mut total, mut next_unit) = (text, 0u64, 0usize);
        if rest.is_empty() {
            return Err(fail());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0).ok_or_else(fail)?;
            let number: u64 = rest[..digits].parse().map_err(|_| fail())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let at = UNITS.iter().position(|(unit, _)| *unit == &rest[..letters]).filter(|at| *at >= next_unit).ok_or_else(fail)?;
            next_unit = at + 1;
            total = number.checked_mul(UNITS[at].1).and_then(|ms| total.checked_add(ms)).ok_or_else(fail)?;
            rest = &rest[letters..];
        }
        Ok(Span(Duration::from_millis(total)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in UNITS {
            // Prometheus writes years and weeks only where they are whole.
            if matches!(unit, "y" | "w") && left % size != 0 {
                continue;
            }
            if left >= size {
                write!(f, "{}{unit}", left / size)?;
                left %= size;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_as_prometheus_does() {
        for (text, millis) in [("5m", 300_000), ("1h30m", 5_400_000), ("250ms", 250), ("2d", 172_800_000), ("1w", 604_800_000)] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.as_millis(), millis, "{text}");
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("90m".parse::<Span>().unwrap().to_string(), "1h30m");
        for bad in ["", "5", "m", "5x", "5s5m", "-5m", "5m 5s", "99999999999999999999y"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_lies_beyond_is_never() {
        let read = |text: &str| Timestamp::parse_clamped(text).unwrap();
        assert_eq!(read("9999-12-31T23:59:59Z"), Timestamp::from_nanos(i64::MAX));
        assert_eq!(read("1066-10-14T09:00:00Z"), Timestamp::from_nanos(i64::MIN));
        assert_eq!(read("2026-03-01T09:30:00Z"), "2026-03-01T09:30:00Z".parse().unwrap());
        assert!(Timestamp::parse_clamped("never").is_err());
    }

    #[test]
    fn timestamps_keep_nanoseconds_through_text() {
        let time = Timestamp::from_nanos(1_772_000_000_123_456_789);
        assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
        assert_eq!(Timestamp::from_secs_f64(1.5).unwrap().millis(), 1_500);
        assert!(Timestamp::from_secs_f64(f64::NAN).is_none());
    }
}
