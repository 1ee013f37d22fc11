//! Time intervals by Alertmanager's rules: times of the day, weekdays, days of the month, months, years, in an IANA time zone. In: a
//! configuration, a moment. Out: whether the moment lies in it, and when that changes. Pure. What cannot be read is told in a sentence.

use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use chrono_tz::Tz;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Intervals under a name, as configured: a moment lies in it if it lies in one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedIntervals {
    /// What routes and maintenance windows call it.
    pub name: String,
    /// Any of these.
    pub time_intervals: Vec<IntervalConfig>,
}

/// One interval: a moment must fit every kind that is given. Ranges are `from:to`, both included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntervalConfig {
    /// Times of the day; the end is not included and may be `24:00`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<TimesConfig>,
    /// `monday:friday`, `saturday`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weekdays: Vec<String>,
    /// `1:5`, `-3:-1` (from the end of the month).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub days_of_month: Vec<String>,
    /// `january:march`, `5`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub months: Vec<String>,
    /// `2026:2028`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub years: Vec<String>,
    /// `Europe/Berlin`; none: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// A part of the day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimesConfig {
    /// `09:00`, included.
    pub start_time: String,
    /// `17:00`, not included.
    pub end_time: String,
}

/// One interval, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// Minutes of the day; the end is not included.
    times: Vec<(u32, u32)>,
    /// 0: Sunday.
    weekdays: Vec<RangeInclusive<u32>>,
    days: Vec<RangeInclusive<i32>>,
    months: Vec<RangeInclusive<u32>>,
    years: Vec<RangeInclusive<i32>>,
    zone: Tz,
}

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];

fn minutes(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a time of the day: write HH:MM, from 00:00 to 24:00");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |part: &str| (part.len() == 2).then(|| part.parse::<u32>().ok()).flatten().ok_or_else(wrong);
    let (hour, minute) = (number(hour)?, number(minute)?);
    let total = hour * 60 + minute;
    if minute > 59 || total > 24 * 60 { Err(wrong()) } else { Ok(total) }
}

fn ranges<T: PartialOrd + Copy>(texts: &[String], one: impl Fn(&str) -> Result<T, String>) -> Result<Vec<RangeInclusive<T>>, String> {
    let read = |text: &String| {
        let (from, to) = text.split_once(':').unwrap_or((text, text));
        let (from, to) = (one(from.trim())?, one(to.trim())?);
        if from > to { Err(format!("`{text}` ends before it begins")) } else { Ok(from..=to) }
    };
    texts.iter().map(read).collect()
}

fn day(text: &str) -> Result<i32, String> {
    let wrong = || format!("`{text}` is not a day of a month: write 1 to 31, or -1 to -31 from its end");
    text.parse::<i32>().ok().filter(|day| (1..=31).contains(&day.abs())).ok_or_else(wrong)
}

fn month(text: &str) -> Result<u32, String> {
    let named = MONTHS.iter().position(|name| text.eq_ignore_ascii_case(name)).and_then(|at| u32::try_from(at + 1).ok());
    let number = || text.parse::<u32>().ok().filter(|month| (1..=12).contains(month));
    named.or_else(number).ok_or_else(|| format!("`{text}` is not a month: write its English name or 1 to 12"))
}

fn weekday(text: &str) -> Result<u32, String> {
    let named = WEEKDAYS.iter().position(|name| text.eq_ignore_ascii_case(name)).and_then(|at| u32::try_from(at).ok());
    named.ok_or_else(|| format!("`{text}` is not a weekday: write its English name"))
}

/// A zone by its IANA name; none: UTC. The error is one sentence.
pub fn zone(name: Option<&str>) -> Result<Tz, String> {
    let Some(name) = name else { return Ok(Tz::UTC) };
    name.parse().map_err(|_| format!("`{name}` is not a time zone: write its IANA name, such as Europe/Berlin"))
}

impl IntervalConfig {
    /// Reads it.
    pub fn read(&self) -> Result<Interval, String> {
        let zone = zone(self.location.as_deref())?;
        let mut times = Vec::new();
        for TimesConfig { start_time, end_time } in &self.times {
            let (start, end) = (minutes(start_time)?, minutes(end_time)?);
            if start >= end {
                return Err(format!("the times {start_time} to {end_time} end before they begin: write two, one up to 24:00"));
            }
            times.push((start, end));
        }
        let days = read_days(&self.days_of_month)?;
        let year = |text: &str| text.parse::<i32>().map_err(|_| format!("`{text}` is not a year"));
        Ok(Interval {
            times,
            days,
            weekdays: ranges(&self.weekdays, weekday)?,
            months: ranges(&self.months, month)?,
            years: ranges(&self.years, year)?,
            zone,
        })
    }
}

/// `5:-5` is from the fifth to the fifth before the end: its order depends on the month.
fn read_days(texts: &[String]) -> Result<Vec<RangeInclusive<i32>>, String> {
    let read = |text: &String| {
        let (from, to) = text.split_once(':').unwrap_or((text, text));
        let (from, to) = (day(from.trim())?, day(to.trim())?);
        match (from < 0, to < 0) {
            (true, false) => Err(format!("`{text}` begins before the end of the month and ends after its beginning")),
            (false, true) => Ok(from..=to),
            (true, true) | (false, false) if from > to => Err(format!("`{text}` ends before it begins")),
            (true, true) | (false, false) => Ok(from..=to),
        }
    };
    texts.iter().map(read).collect()
}

fn days_in_month(date: NaiveDate) -> i32 {
    let next = if date.month() == 12 { (date.year() + 1, 1) } else { (date.year(), date.month() + 1) };
    NaiveDate::from_ymd_opt(next.0, next.1, 1).and_then(|first| first.pred_opt()).map_or(31, |last| i32::try_from(last.day()).unwrap_or(31))
}

fn none_or_any<T>(list: &[T], fits: impl Fn(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(fits)
}

impl Interval {
    /// Whether a moment lies in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        let local: DateTime<Tz> = at.to_chrono().with_timezone(&self.zone);
        let minute = local.hour() * 60 + local.minute();
        let length = days_in_month(local.date_naive());
        let (day, from_end) = (i32::try_from(local.day()).unwrap_or(0), |day: i32| if day < 0 { length + day + 1 } else { day });
        let in_days = |range: &RangeInclusive<i32>| {
            let (begin, end) = (from_end(*range.start()), from_end(*range.end()));
            begin <= length && day >= begin && day <= end
        };
        none_or_any(&self.times, |(start, end)| (*start..*end).contains(&minute))
            && none_or_any(&self.days, in_days)
            && none_or_any(&self.months, |range| range.contains(&local.month()))
            && none_or_any(&self.weekdays, |range| range.contains(&local.weekday().num_days_from_sunday()))
            && none_or_any(&self.years, |range| range.contains(&local.year()))
    }
}

/// How far ahead a change is looked for.
const HORIZON: Duration = Duration::from_secs(40 * 24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

/// The first full minute after `from` at which `holds` is false; `None`: not within 40 days.
pub fn until(from: Timestamp, holds: impl Fn(Timestamp) -> bool) -> Option<Timestamp> {
    let first = Timestamp::from_secs(from.nanos().div_euclid(60_000_000_000) * 60 + 60);
    let mut at = first;
    while at.since(first) < HORIZON {
        if !holds(at) {
            return Some(at);
        }
        at = at.plus(MINUTE);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(yaml: &str) -> Interval {
        serde_saphyr::from_str::<IntervalConfig>(yaml).unwrap().read().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn all_kinds_must_fit() {
        let offhours = interval("{ times: [{ start_time: '09:00', end_time: '17:00' }], weekdays: ['monday:friday'] }");
        assert!(offhours.contains(at("2026-03-02T09:00:00Z")), "a Monday");
        assert!(!offhours.contains(at("2026-03-02T17:00:00Z")), "the end is not included");
        assert!(!offhours.contains(at("2026-03-01T12:00:00Z")), "a Sunday");
        let last = interval("{ days_of_month: ['-3:-1'], months: ['february', '4:5'] }");
        assert!(last.contains(at("2026-02-26T00:00:00Z")) && !last.contains(at("2026-02-25T23:59:00Z")));
        assert!(last.contains(at("2028-02-29T00:00:00Z")) && !last.contains(at("2026-03-31T00:00:00Z")));
        let beyond = interval("{ days_of_month: ['31'] }");
        assert!(!beyond.contains(at("2026-04-30T00:00:00Z")));
        assert!(interval("{ days_of_month: ['5:-5'] }").contains(at("2026-04-26T00:00:00Z")));
        assert!(interval("{ years: ['2025:2026'] }").contains(at("2026-12-31T23:59:59Z")));
        assert!(interval("{}").contains(at("2026-12-31T23:59:59Z")), "nothing given: always");
    }

    #[test]
    fn zones_know_summer_time() {
        let berlin = interval("{ times: [{ start_time: '08:00', end_time: '09:00' }], location: Europe/Berlin }");
        assert!(berlin.contains(at("2026-03-28T07:30:00Z")), "winter: UTC+1");
        assert!(!berlin.contains(at("2026-03-29T07:30:00Z")), "summer time begins");
        assert!(berlin.contains(at("2026-03-29T06:30:00Z")), "UTC+2");
        let sydney = interval("{ weekdays: [monday], location: Australia/Sydney }");
        assert!(sydney.contains(at("2026-03-01T20:00:00Z")), "Monday there already");
    }

    #[test]
    fn the_end_is_found() {
        let night = interval("{ times: [{ start_time: '22:00', end_time: '24:00' }, { start_time: '00:00', end_time: '06:00' }] }");
        assert_eq!(until(at("2026-03-01T23:10:30Z"), |at| night.contains(at)), Some(at("2026-03-02T06:00:00Z")));
        assert_eq!(until(at("2026-03-01T23:10:30Z"), |_| true), None);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for (yaml, word) in [
            ("{ times: [{ start_time: '17:00', end_time: '09:00' }] }", "end before they begin"),
            ("{ times: [{ start_time: '9:00', end_time: '10:00' }] }", "not a time of the day"),
            ("{ times: [{ start_time: '09:00', end_time: '24:01' }] }", "not a time of the day"),
            ("{ weekdays: ['freitag'] }", "not a weekday"),
            ("{ weekdays: ['friday:monday'] }", "ends before it begins"),
            ("{ days_of_month: ['0'] }", "not a day of a month"),
            ("{ days_of_month: ['-3:5'] }", "begins before the end"),
            ("{ months: ['13'] }", "not a month"),
            ("{ years: ['x'] }", "not a year"),
            ("{ location: Mars/Base }", "not a time zone"),
        ] {
            let error = serde_saphyr::from_str::<IntervalConfig>(yaml).unwrap().read().unwrap_err();
            assert!(error.contains(word), "{yaml}: {error}");
        }
    }
}
