//! How long a certificate is valid: the two times of its DER, and nothing else of it. Pure; whatever is no certificate is `None`.

use chrono::{NaiveDate, NaiveDateTime};
use model::time::Timestamp;

/// One element: its tag, what is in it, what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let count = usize::from(first & 0x7F);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (digits, rest) = rest.split_at(count);
        (digits.iter().fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
    };
    (rest.len() >= length).then(|| (*tag, &rest[..length], &rest[length..]))
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `991231235959Z` or `20501231235959Z`.
fn moment(tag: u8, bytes: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('Z')?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let (year, rest): (i32, &str) = match (tag, text.len()) {
        (UTC_TIME, 12) if digits => {
            let year: i32 = text[..2].parse().ok()?;
            // RFC 5280, 4.1.2.5.1
            (if year >= 50 { 1900 + year } else { 2000 + year }, &text[2..])
        }
        (GENERALIZED_TIME, 14) if digits => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<u32>().ok();
    let time: NaiveDateTime = NaiveDate::from_ymd_opt(year, part(0)?, part(2)?)?.and_hms_opt(part(4)?, part(6)?, part(8)?)?;
    Some(Timestamp::from_secs(time.and_utc().timestamp()))
}

/// From when and until when a certificate (X.509, DER) is valid.
pub(super) fn validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (SEQUENCE, certificate, _) = element(der)? else { return None };
    let (SEQUENCE, mut rest, _) = element(certificate)? else { return None };
    if let (VERSION, _, after) = element(rest)? {
        rest = after;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, times, _) = element(rest)? else { return None };
    let (tag, from, rest) = element(times)?;
    let (last_tag, until, _) = element(rest)?;
    Some((moment(tag, from)?, moment(last_tag, until)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrapped(tag: u8, inner: &[u8]) -> Vec<u8> {
        let mut all = vec![tag, 0x82, (inner.len() >> 8) as u8, inner.len() as u8];
        all.extend_from_slice(inner);
        all
    }

    /// The outline of a certificate, with these times in it.
    fn certificate(times: &[u8]) -> Vec<u8> {
        let mut body = wrapped(VERSION, &[2, 1, 2]);
        body.extend([2, 1, 7]);
        body.extend(wrapped(SEQUENCE, &[]));
        body.extend(wrapped(SEQUENCE, &[0x31, 0]));
        body.extend(wrapped(SEQUENCE, times));
        wrapped(SEQUENCE, &wrapped(SEQUENCE, &body))
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let mut times = wrapped(UTC_TIME, b"991231235959Z");
        times.extend(wrapped(GENERALIZED_TIME, b"20500102030405Z"));
        let (from, until) = validity(&certificate(&times)).unwrap();
        assert_eq!((from.rfc3339().as_str(), until.rfc3339().as_str()), ("1999-12-31T23:59:59Z", "2050-01-02T03:04:05Z"));
        let mut times = wrapped(UTC_TIME, b"991331235959Z");
        times.extend(wrapped(UTC_TIME, b"20500102030405Z"));
        assert_eq!(validity(&certificate(&times)), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), times in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = validity(&bytes);
            let _ = validity(&certificate(&times));
        }
    }
}
