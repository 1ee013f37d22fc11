//! How much one key may send: envelopes per minute and kind. In: a key, a kind, the time. Out: let in, or how long to wait. Memory
//! is bounded by the keys that exist, and old minutes are forgotten.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::time::Timestamp;

use crate::config::SentryRateLimit;

/// How long a limit holds.
const WINDOW: Duration = Duration::from_secs(60);
/// Windows that are kept before those that are over are looked for.
const TIDY: usize = 1_024;

/// What an envelope holds first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// An error or a message.
    Errors,
    /// A transaction.
    Transactions,
    /// All else.
    Others,
}

impl Class {
    /// Of an envelope whose first item has this type.
    pub(super) fn of(kind: &str) -> Self {
        match kind {
            "event" => Class::Errors,
            "transaction" => Class::Transactions,
            _ => Class::Others,
        }
    }
    /// As `X-Sentry-Rate-Limits` says it: what, and of whom.
    pub(super) fn scope(self) -> &'static str {
        match self {
            Class::Errors => "error:key",
            Class::Transactions => "transaction:key",
            Class::Others => "session;monitor;log_item;log_byte;attachment;profile;replay;feedback;span:key",
        }
    }
}

/// Envelopes let in since the start of a window.
struct Window {
    start: Timestamp,
    count: u32,
}

/// The envelopes of this minute.
pub(crate) struct Rates {
    limits: SentryRateLimit,
    windows: Mutex<HashMap<(String, Class), Window>>,
}

impl Rates {
    /// Nothing was sent yet.
    pub(crate) fn new(limits: SentryRateLimit) -> Self {
        Rates { limits, windows: Mutex::default() }
    }
    /// Whether there is any limit.
    pub(super) fn any(&self) -> bool {
        self.limits != SentryRateLimit::default()
    }
    /// Lets an envelope of a key in, or says how long to wait.
    pub(super) fn admit(&self, key: &str, class: Class, now: Timestamp) -> Result<(), Duration> {
        let limit = match class {
            Class::Errors => self.limits.errors,
            Class::Transactions => self.limits.transactions,
            Class::Others => self.limits.others,
        };
        let Some(limit) = limit else { return Ok(()) };
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= TIDY {
            windows.retain(|_, window| now.since(window.start) < WINDOW);
        }
        let window = windows.entry((key.to_owned(), class)).or_insert(Window { start: now, count: 0 });
        let passed = now.since(window.start);
        if passed >= WINDOW {
            *window = Window { start: now, count: 0 };
        } else if window.count >= limit {
            return Err(WINDOW - passed);
        }
        window.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_minute_for_each_kind() {
        let rates = Rates::new(SentryRateLimit { errors: Some(2), ..SentryRateLimit::default() });
        let at = |seconds: i64| Timestamp::from_secs(1_000 + seconds);
        assert!(rates.any());
        assert_eq!(rates.admit("a", Class::Errors, at(0)), Ok(()));
        assert_eq!(rates.admit("a", Class::Errors, at(10)), Ok(()));
        assert_eq!(rates.admit("a", Class::Errors, at(15)), Err(Duration::from_secs(45)));
        assert_eq!(rates.admit("b", Class::Errors, at(15)), Ok(()));
        assert_eq!(rates.admit("a", Class::of("transaction"), at(15)), Ok(()));
        assert_eq!(rates.admit("a", Class::of("event"), at(60)), Ok(()), "another minute");
        assert!(!Rates::new(SentryRateLimit::default()).any());
    }

    #[test]
    fn minutes_that_are_over_are_forgotten() {
        let rates = Rates::new(SentryRateLimit { others: Some(1), ..SentryRateLimit::default() });
        for key in 0..TIDY {
            rates.admit(&key.to_string(), Class::Others, Timestamp::from_secs(0)).unwrap();
        }
        rates.admit("new", Class::of("session"), Timestamp::from_secs(61)).unwrap();
        assert_eq!(rates.windows.lock().unwrap().len(), 1);
    }
}
