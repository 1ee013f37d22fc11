//! The header of RFC 3164, behind `<priority>`, as it is met in practice: a time with or without a year, or RFC 3339; a host, or
//! none; a tag with a process, or none. Pure; never fails: what is no header is the text.

use chrono::{Datelike, NaiveDate};
use model::time::Timestamp;

use super::message::Message;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Longest tag. The RFC says 32; programs write longer ones.
const TAG: usize = 64;

/// Reads `[TIME] [HOST] [TAG[PROCESS]:] TEXT`.
pub(super) fn read(text: &str, arrived: Timestamp, offset: i32) -> Message<'_> {
    let Some((time, length)) = time(text, arrived, offset) else {
        let (app, process, rest) = tag(text);
        return Message { app, process, text: rest, ..Message::default() };
    };
    let (time_text, rest) = text.split_at(length);
    let rest = rest.strip_prefix(':').unwrap_or(rest).trim_start_matches(' ');
    let (host, rest) = match tag(rest) {
        // The time is followed by a tag at once: programs that speak to the daemon of their own host leave the host out.
        (Some(_), ..) => (None, rest),
        (None, ..) => match rest.split_once(' ') {
            Some((host, after)) if !host.is_empty() => (Some(host), after),
            _ => (None, rest),
        },
    };
    let (app, process, rest) = tag(rest);
    Message { time: Some(time), time_text, host: host.filter(|host| *host != "-"), app, process, text: rest, ..Message::default() }
}

/// `tag:` or `tag[process]:`, and the text behind it; the whole text where none stands there.
fn tag(text: &str) -> (Option<&str>, Option<&str>, &str) {
    let none = (None, None, text);
    let Some(end) = text.find([':', '[', ' ']).filter(|end| (1..=TAG).contains(end)) else { return none };
    let (name, rest) = text.split_at(end);
    let (process, rest) = match rest.strip_prefix('[').map(|inner| inner.split_once(']')) {
        Some(Some((process, after))) if process.len() <= TAG && !process.contains(' ') => (Some(process), after),
        Some(_) => return none,
        None => (None, rest),
    };
    match rest.strip_prefix(':') {
        // `::1` and `10.0.0.1:514` are no tags.
        Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t']) => {
            (Some(name), process.filter(|process| !process.is_empty()), rest.strip_prefix(' ').unwrap_or(rest))
        }
        _ => none,
    }
}

/// The time at the front and how many bytes it takes.
fn time(text: &str, arrived: Timestamp, offset: i32) -> Option<(u64, usize)> {
    let nanos = |time: Timestamp| u64::try_from(time.nanos()).ok();
    let first = text.find(' ').unwrap_or(text.len());
    if let Ok(time) = text[..first].parse::<Timestamp>() {
        return Some((nanos(time)?, first));
    }
    let mut words = Words { text, at: 0 };
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as u32 + 1;
    let day = words.next()?.parse::<u32>().ok()?;
    let (mut year, mut clock) = (None, words.next()?);
    if clock.len() == 4 && !clock.contains(':') {
        (year, clock) = (Some(clock.parse::<i32>().ok()?), words.next()?);
    }
    let end = words.at - (clock.len() - clock.trim_end_matches(':').len());
    let of_day = of_day(clock.trim_end_matches(':'))?;
    let at = |year| {
        let date = NaiveDate::from_ymd_opt(year, month, day)?.and_hms_opt(0, 0, 0)?;
        let start = date.and_utc().timestamp_nanos_opt()?;
        start.checked_add(of_day)?.checked_sub(i64::from(offset) * 1_000_000_000)
    };
    let found = match year {
        Some(year) => at(year)?,
        // Without a year: the one that brings it nearest to its arrival.
        None => {
            let present = arrived.to_chrono().year();
            (present - 1..=present + 1).filter_map(at).min_by_key(|time| time.abs_diff(arrived.nanos()))?
        }
    };
    nanos(Timestamp::from_nanos(found)).map(|time| (time, end))
}

/// `hh:mm:ss`, with a fraction or without, in nanoseconds.
fn of_day(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':').map(|part| part.parse::<i64>().ok().filter(|_| part.len() <= 2 && !part.starts_with(['+', '-'])));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 || fraction.len() > 9 {
        return None;
    }
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let fraction: i64 = if digits { format!("{fraction:0<9}").parse().ok()? } else { return None };
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000_000 + fraction)
}

/// Words between single or several spaces.
struct Words<'a> {
    text: &'a str,
    /// Where the last word ended.
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start_matches(' ');
        let word = &trimmed[..trimmed.find(' ').unwrap_or(trimmed.len())];
        self.at += rest.len() - trimmed.len() + word.len();
        (!word.is_empty()).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRIVED: Timestamp = Timestamp::from_secs(1_772_323_200); // 2026-03-01T00:00:00Z

    fn when(text: &str) -> Option<String> {
        time(text, ARRIVED, 0).map(|(nanos, _)| Timestamp::from_nanos(nanos as i64).rfc3339())
    }

    #[test]
    fn times_without_a_year_lie_nearest_to_their_arrival() {
        for (text, want) in [
            ("Mar  1 00:00:05 h", "2026-03-01T00:00:05Z"),
            ("Feb 28 23:59:59 h", "2026-02-28T23:59:59Z"),
            ("Dec 31 23:59:59 h", "2025-12-31T23:59:59Z"),
            ("Oct 11 22:14:15 h", "2025-10-11T22:14:15Z"),
            ("Aug  1 00:00:00 h", "2026-08-01T00:00:00Z"),
            ("jan 1 01:02:03.25 h", "2026-01-01T01:02:03.250Z"),
            ("Oct 11 2024 22:14:15: h", "2024-10-11T22:14:15Z"),
            ("2026-02-28T10:00:00.5+01:00 h", "2026-02-28T09:00:00.500Z"),
        ] {
            assert_eq!(when(text).as_deref(), Some(want), "{text}");
        }
        for text in [
            "",
            "Foo 11 22:14:15",
            "Oct 32 22:14:15",
            "Feb 29 22:14:15",
            "Oct 11 24:14:15",
            "Oct 11",
            "Oct 11 1:2",
            "Oct 11 -1:02:03",
            "Oct é 1:1:1",
        ] {
            assert_eq!(when(text), None, "{text}");
        }
        // The last quarter of an hour that 64 bits hold, in a zone where it ends later.
        assert!(time("Apr 11 2262 23:47:16 h", ARRIVED, -12_600).is_none());
        // A new year's message that arrives before midnight elsewhere, and a leap day.
        let eve = "2025-12-31T23:59:58Z".parse().unwrap();
        let (nanos, _) = time("Jan  1 00:00:01 h", eve, 0).unwrap();
        assert_eq!(Timestamp::from_nanos(nanos as i64).rfc3339(), "2026-01-01T00:00:01Z");
        let leap = "2024-03-01T00:00:00Z".parse().unwrap();
        assert!(time("Feb 29 12:00:00 h", leap, 0).is_some());
        let (east, _) = time("Mar  1 01:00:00 h", ARRIVED, 3_600).unwrap();
        assert_eq!(east, 1_772_323_200_000_000_000);
    }

    #[test]
    fn headers_as_they_are_met() {
        for (text, host, app, process, rest) in [
            ("Oct 11 22:14:15 mymachine su: 'su root' failed", Some("mymachine"), Some("su"), None, "'su root' failed"),
            ("Oct 11 22:14:15 myhost sshd[12345]: Accepted", Some("myhost"), Some("sshd"), Some("12345"), "Accepted"),
            ("Oct 11 22:14:15 su[1]: no host", None, Some("su"), Some("1"), "no host"),
            ("Oct 11 22:14:15 host no tag here", Some("host"), None, None, "no tag here"),
            ("Oct 11 22:14:15 ::1 app: x", Some("::1"), Some("app"), None, "x"),
            ("2026-02-28T10:00:00Z h systemd[1]: Started", Some("h"), Some("systemd"), Some("1"), "Started"),
            ("Oct 11 2024 22:14:15: %ASA-6-302013: Built", None, Some("%ASA-6-302013"), None, "Built"),
            ("myapp: only a tag", None, Some("myapp"), None, "only a tag"),
            ("only text", None, None, None, "only text"),
            ("http://x: y", None, None, None, "http://x: y"),
            ("Oct 11 22:14:15 host", None, None, None, "host"),
            ("Oct 11 22:14:15 h a[b c]: x", Some("h"), None, None, "a[b c]: x"),
            ("", None, None, None, ""),
        ] {
            let message = read(text, ARRIVED, 0);
            assert_eq!((message.host, message.app, message.process, message.text), (host, app, process, rest), "{text}");
        }
    }
}
