//! Typed, prefixed, time-ordered ids (`inc_` + UUIDv7). Time and randomness come in as arguments.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::time::Timestamp;

/// Where fresh ids come from.
pub trait IdSource: Send + Sync + fmt::Debug {
    /// 80 or more random bits.
    fn random(&self) -> u128;
}

/// Random bits of the operating system's generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct RandomIds;

impl IdSource for RandomIds {
    fn random(&self) -> u128 {
        rand::random()
    }
}

/// A counter that is mixed into well spread bits: the same ids in every run of a simulated test.
#[derive(Debug, Default)]
pub struct SequentialIds(std::sync::atomic::AtomicU64);

impl IdSource for SequentialIds {
    fn random(&self) -> u128 {
        let n = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        // Low bits hold the counter, so that ids of one millisecond keep their order.
        u128::from(n)
    }
}

/// A text that is not an id of the wanted kind.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not an id of the form {prefix}_<uuid>")]
pub struct IdError {
    text: String,
    prefix: &'static str,
}

fn uuid_v7(at: Timestamp, random: u128) -> Uuid {
    let millis = u64::try_from(at.millis()).unwrap_or(0);
    let mut bytes = [0u8; 10];
    bytes.copy_from_slice(&random.to_be_bytes()[6..]);
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The prefix of the text form.
            pub const PREFIX: &'static str = $prefix;
            /// A fresh id of the given moment.
            pub fn new(at: Timestamp, ids: &dyn IdSource) -> Self {
                $name(uuid_v7(at, ids.random()))
            }
            /// The id that always belongs to the same cause: for rows that must exist once. Ordered by `at` like the others.
            pub fn derived(at: Timestamp, cause: &str) -> Self {
                $name(uuid_v7(at, xxhash_rust::xxh3::xxh3_128(cause.as_bytes())))
            }
            /// The lowest id of a moment: all that are made then or later come after it.
            pub fn lowest(at: Timestamp) -> Self {
                $name(uuid_v7(at, 0))
            }
            /// When it was made, in whole milliseconds.
            pub fn made_at(&self) -> Timestamp {
                let millis = self.0.as_u128() >> 80;
                Timestamp::from_micros(i64::try_from(millis * 1_000).unwrap_or(i64::MAX))
            }
            /// The bare UUID.
            pub fn uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(|rest| Uuid::try_parse(rest).ok())
                    .map($name)
                    .ok_or_else(|| IdError { text: text.to_owned(), prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// An alert instance: one label set of one rule, from pending to resolved.
    AlertId,
    "alr"
);
id!(
    /// An incident.
    IncidentId,
    "inc"
);
id!(
    /// One delivery to one receiver (an outbox row).
    NotificationId,
    "ntf"
);
id!(
    /// One remediation run.
    RemediationId,
    "rem"
);
id!(
    /// One run of an escalation ladder.
    LadderRunId,
    "lad"
);
id!(
    /// A silence.
    SilenceId,
    "sil"
);
id!(
    /// A change of who is on call.
    OverrideId,
    "ovr"
);
id!(
    /// A journal event.
    EventId,
    "evt"
);
id!(
    /// A deferred act (a timer).
    WorkId,
    "wrk"
);
id!(
    /// An API key (not its secret).
    KeyId,
    "key"
);
id!(
    /// An error issue.
    IssueId,
    "iss"
);
id!(
    /// A postmortem document.
    PostmortemId,
    "pom"
);
id!(
    /// A deployment.
    DeploymentId,
    "dep"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_prefixed_typed_and_ordered_by_time() {
        let ids = SequentialIds::default();
        let early = IncidentId::new(Timestamp::from_secs(1), &ids);
        let same = IncidentId::new(Timestamp::from_secs(1), &ids);
        let late = IncidentId::new(Timestamp::from_secs(2), &ids);
        assert!(early < same && same < late);
        assert_eq!(early.to_string().parse::<IncidentId>().unwrap(), early);
        assert!(early.to_string().parse::<AlertId>().is_err());
        assert_eq!(WorkId::derived(Timestamp::EPOCH, "a"), WorkId::derived(Timestamp::EPOCH, "a"));
    }
}
