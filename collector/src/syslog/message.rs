//! One syslog message: its priority, and then whatever of RFC 5424 and RFC 3164 its header is. Pure; never fails.

use model::time::Timestamp;

use super::{rfc3164, rfc5424};
use crate::record::Attributes;

/// Facility `user` and severity `notice`: what RFC 3164 gives to a message without a priority.
const NO_PRIORITY: u8 = 13;

/// The parts of a message.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Message<'a> {
    /// 0 to 23.
    pub(super) facility: u8,
    /// 0 to 7.
    pub(super) severity: u8,
    /// Of RFC 5424.
    pub(super) version: Option<u8>,
    /// Nanoseconds since 1970.
    pub(super) time: Option<u64>,
    /// The time as it stands in the header.
    pub(super) time_text: &'a str,
    /// The host.
    pub(super) host: Option<&'a str>,
    /// The app name or tag.
    pub(super) app: Option<&'a str>,
    /// The process.
    pub(super) process: Option<&'a str>,
    /// The message id.
    pub(super) id: Option<&'a str>,
    /// Structured data, as `syslog.<id>.<name>`.
    pub(super) data: Attributes<'a>,
    /// What is said.
    pub(super) text: &'a str,
    /// Whether the header could not be read.
    pub(super) malformed: bool,
}

impl<'a> Message<'a> {
    /// Reads a message that arrived at this time; times without a zone are `offset` seconds east of UTC. At most `limit` parameters
    /// of structured data are kept.
    pub(super) fn read(text: &'a str, arrived: Timestamp, offset: i32, limit: usize) -> Message<'a> {
        let (priority, rest) = match priority(text) {
            Some((priority, rest)) => (Some(priority), rest),
            None => (None, text),
        };
        let priority_or_default = priority.unwrap_or(NO_PRIORITY);
        let mut message = match (priority, rest.strip_prefix("1 ")) {
            (Some(_), Some(header)) => {
                rfc5424::read(header, limit).unwrap_or_else(|| Message { text: rest, malformed: true, ..Message::default() })
            }
            (Some(_), None) => rfc3164::read(rest, arrived, offset),
            (None, _) => Message { text, malformed: true, ..Message::default() },
        };
        (message.facility, message.severity) = (priority_or_default >> 3, priority_or_default & 7);
        message
    }
}

/// `<0>` to `<191>`, and what follows.
fn priority(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    let fits = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|priority| fits && *priority <= 191).map(|priority| (priority, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRIVED: Timestamp = Timestamp::from_secs(1_772_323_200); // 2026-03-01T00:00:00Z

    fn read(text: &str) -> Message<'_> {
        Message::read(text, ARRIVED, 0, 8)
    }

    #[test]
    fn the_priority_is_facility_and_severity() {
        for (text, facility, severity, malformed) in [
            ("<0>x", 0, 0, false),
            ("<191>x", 23, 7, false),
            ("<34>1 - - - - - -", 4, 2, false),
            ("<192>x", 1, 5, true),
            ("<>x", 1, 5, true),
            ("<1234>x", 1, 5, true),
            ("<+1>x", 1, 5, true),
            ("x", 1, 5, true),
            ("", 1, 5, true),
        ] {
            let message = read(text);
            assert_eq!((message.facility, message.severity, message.malformed), (facility, severity, malformed), "{text}");
        }
    }

    #[test]
    fn a_header_that_is_none_leaves_the_text_whole() {
        let message = read("<34>1 yesterday host app - - - hello");
        assert_eq!((message.text, message.malformed, message.host), ("1 yesterday host app - - - hello", true, None));
        assert_eq!(read("no header at all").text, "no header at all");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(
            free in ".{0,60}",
            like in "<[0-9]{1,3}>(1 )?[-A-Za-z0-9:.+\\[\\]\"\\\\= ]{0,80}",
            offset in -50_000i32..50_000,
        ) {
            for text in [&free, &like] {
                let message = Message::read(text, ARRIVED, offset, 3);
                assert!(message.data.list.len() <= 3);
            }
        }
    }
}
