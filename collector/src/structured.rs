//! Log records that come as a flat list of keys and values (newline JSON, Fluent): the well-known keys among them become time,
//! severity, body, service and trace context, all others attributes. Pure. Fails: a time that cannot be read.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDateTime};
use serde::Deserialize;

use crate::record::{Attribute, Attributes, LogRecord, Text, Value};
use crate::severity;

const TIME: &[&str] = &["time", "timestamp", "ts", "@timestamp"];
const LEVEL: &[&str] = &["level", "severity", "severity_text", "log.level", "lvl"];
const NUMBER: &[&str] = &["severity_number", "severityNumber"];
const MESSAGE: &[&str] = &["msg", "message", "body", "log"];
const SERVICE: &[&str] = &["service", "service.name", "service_name"];
const TRACE: &[&str] = &["trace_id", "traceId", "traceID", "trace.id"];
const SPAN: &[&str] = &["span_id", "spanId", "spanID", "span.id"];
const WELL_KNOWN: [&[&str]; 7] = [TIME, LEVEL, NUMBER, MESSAGE, SERVICE, TRACE, SPAN];

/// A time that is neither RFC 3339 nor a number since 1970.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{key}` is `{value}`, which is no time: send RFC 3339 or a number of seconds, milliseconds, microseconds or nanoseconds since 1970"
)]
pub(crate) struct BadTime {
    key: String,
    value: String,
}

/// Adds a key and its value. Past `limit` only well-known keys are kept, the others counted.
pub(crate) fn push<'a>(to: &mut Attributes<'a>, attribute: Attribute<'a>, limit: usize) {
    let known = WELL_KNOWN.iter().any(|keys| keys.contains(&&*attribute.key));
    to.push(attribute, if known { limit.saturating_add(64) } else { limit });
}

/// What keys are that are called as times are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// The time of the record.
    AreTheRecords,
    /// Attributes like others: the record has its time from elsewhere.
    AreAttributes,
}

/// Moves the well-known keys among the record's attributes to where they belong; gives the service, if one is named. Of several
/// keys for the same thing the first of its list counts; the others stay attributes, and so do values that do not fit.
pub(crate) fn shape<'a>(record: &mut LogRecord<'a>, times: Times) -> Result<Option<Text<'a>>, BadTime> {
    let list = &mut record.attributes.list;
    if times == Times::AreTheRecords
        && let Some(at) = position(list, TIME)
    {
        match nanos(&list[at].value) {
            Some(time) => record.time = time,
            None => return Err(BadTime { key: shown(&list[at].key), value: shown(&list[at].value.text()) }),
        }
        list.remove(at);
    }
    if let Some(at) = position(list, LEVEL) {
        let level = list.remove(at).value;
        record.severity = level_number(&level).unwrap_or(0);
        record.severity_text = level.into_text();
    }
    if let Some(at) = position(list, NUMBER)
        && let Value::Int(number @ 1..=24) = list[at].value
    {
        record.severity = number as i32;
        list.remove(at);
    }
    if let Some(at) = position(list, MESSAGE) {
        record.body = list.remove(at).value;
    }
    if let Some(id) = id(list, TRACE, 16) {
        record.trace_id = Cow::Owned(id);
    }
    if let Some(id) = id(list, SPAN, 8) {
        record.span_id = Cow::Owned(id);
    }
    Ok(service(list))
}

/// OTLP's severity number of a level's value: a word, or a number as pino and bunyan write it.
fn level_number(level: &Value<'_>) -> Option<i32> {
    match level {
        Value::Text(word) => severity::of_word(word).or_else(|| word.parse().ok().and_then(severity::of_number)),
        Value::Int(number) => severity::of_number(*number),
        Value::Bool(_) | Value::Double(_) => None,
    }
}

fn position(list: &[Attribute<'_>], keys: &[&str]) -> Option<usize> {
    keys.iter().find_map(|key| list.iter().position(|attribute| attribute.key == *key))
}

/// Takes an id in hex out of the list.
fn id(list: &mut Vec<Attribute<'_>>, keys: &[&str], length: usize) -> Option<Vec<u8>> {
    let at = position(list, keys)?;
    let found = hex::decode(list[at].value.text().as_bytes()).ok().filter(|id| id.len() == length && id.iter().any(|byte| *byte != 0))?;
    list.remove(at);
    Some(found)
}

/// The service: a text, or an object with a `name` (Elastic's common schema), which stays an attribute.
fn service<'a>(list: &mut Vec<Attribute<'a>>) -> Option<Text<'a>> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let at = position(list, SERVICE)?;
    match &list[at].value {
        Value::Text(text) if text.starts_with('{') => serde_json::from_str::<Named>(text).ok().map(|named| Cow::Owned(named.name)),
        Value::Text(text) if text.is_empty() => None,
        _ => Some(list.remove(at).value.into_text()),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// A time in nanoseconds since 1970: RFC 3339 (also with a space, a comma, or without a zone, which is UTC), or a number whose size
/// tells its unit.
pub(crate) fn nanos(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Int(number) => scaled(*number),
        Value::Double(number) => scaled_float(*number),
        Value::Bool(_) => None,
        Value::Text(text) => {
            let text = text.trim();
            if let Ok(number) = text.parse() {
                return scaled(number);
            }
            if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
                return text.parse().ok().and_then(scaled_float);
            }
            calendar(text)
        }
    }
}

/// Up to the year 5138 seconds are below 10^11; milliseconds, microseconds and nanoseconds follow, each for the years after 1973.
fn scaled(number: i64) -> Option<u64> {
    let number = u64::try_from(number).ok()?;
    let factor = match number {
        0..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        100_000_000_000_000_000.. => 1,
    };
    number.checked_mul(factor)
}

fn scaled_float(number: f64) -> Option<u64> {
    let factor = match number {
        _ if !(0.0..1e19).contains(&number) => return None,
        _ if number < 1e11 => 1e9,
        _ if number < 1e14 => 1e6,
        _ if number < 1e17 => 1e3,
        _ => 1.0,
    };
    // `as` and the multiplication saturate. A float holds a present time in seconds to some 200 ns: whole microseconds are what was meant.
    let nanos = number * factor;
    Some(if factor >= 1e6 { ((nanos / 1e3).round() as u64).saturating_mul(1_000) } else { nanos as u64 })
}

fn calendar(text: &str) -> Option<u64> {
    let dotted = text.replace(',', ".");
    let zoned = || {
        DateTime::parse_from_str(&dotted, "%Y-%m-%dT%H:%M:%S%.f%#z")
            .or_else(|_| DateTime::parse_from_str(&dotted, "%Y-%m-%d %H:%M:%S%.f %#z"))
    };
    let parsed = DateTime::parse_from_rfc3339(&dotted).or_else(|_| zoned()).ok().map(|time| time.timestamp_nanos_opt());
    let found = parsed.or_else(|| {
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(&dotted, format).ok())
            .map(|time| time.and_utc().timestamp_nanos_opt())
    });
    found.flatten().and_then(|nanos| u64::try_from(nanos).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pairs: &[(&'static str, Value<'static>)]) -> LogRecord<'static> {
        let list: Vec<_> = pairs.iter().map(|(key, value)| Attribute { key: Cow::Borrowed(*key), value: value.clone() }).collect();
        LogRecord { attributes: list.into(), ..LogRecord::default() }
    }

    fn text(text: &'static str) -> Value<'static> {
        Value::Text(Cow::Borrowed(text))
    }

    #[test]
    fn times_are_read_in_every_common_form() {
        let want = Some(1_772_323_200_123_000_000);
        for value in [
            text("2026-03-01T00:00:00.123Z"),
            text("2026-03-01T01:00:00.123+01:00"),
            text("2026-03-01T01:00:00.123+0100"),
            text("2026-03-01 00:00:00,123"),
            text("2026-03-01T00:00:00.123"),
            text("1772323200.123"),
            text("1772323200123"),
            Value::Int(1_772_323_200_123),
            Value::Int(1_772_323_200_123_000),
            Value::Int(1_772_323_200_123_000_000),
            Value::Double(1_772_323_200.123),
            Value::Double(1_772_323_200_123.0),
        ] {
            assert_eq!(nanos(&value), want, "{value:?}");
        }
        for value in [text("yesterday"), text(""), text("2026-13-01T00:00:00Z"), Value::Int(-1), Value::Double(f64::NAN), Value::Bool(true)]
        {
            assert_eq!(nanos(&value), None, "{value:?}");
        }
        assert_eq!(nanos(&text("9999-01-01T00:00:00Z")), None, "past what nanoseconds can say");
    }

    #[test]
    fn well_known_keys_find_their_place_and_the_rest_stays() {
        let mut record = record(&[
            ("ts", Value::Int(1_772_323_200)),
            ("timestamp", text("2026-03-01T00:00:01Z")),
            ("level", text("Warn")),
            ("msg", text("disk full")),
            ("service", text("shop")),
            ("trace_id", text("0102030405060708090a0b0c0d0e0f10")),
            ("span_id", text("not hex")),
            ("disk", text("sda")),
        ]);
        assert_eq!(shape(&mut record, Times::AreTheRecords), Ok(Some(Cow::Borrowed("shop"))));
        assert_eq!(record.time, 1_772_323_201_000_000_000);
        assert_eq!((record.severity, &*record.severity_text, record.body.text()), (13, "Warn", Cow::Borrowed("disk full")));
        assert_eq!((record.trace_id.len(), record.span_id.len()), (16, 0));
        let rest: Vec<&str> = record.attributes.list.iter().map(|attribute| &*attribute.key).collect();
        assert_eq!(rest, ["ts", "span_id", "disk"]);
    }

    #[test]
    fn levels_are_words_or_numbers() {
        for (value, number, kept) in [(Value::Int(50), 17, "50"), (text("30"), 9, "30"), (text("loud"), 0, "loud"), (Value::Int(3), 0, "3")]
        {
            let mut record = record(&[("level", value)]);
            shape(&mut record, Times::AreTheRecords).unwrap();
            assert_eq!((record.severity, &*record.severity_text), (number, kept));
        }
        let mut both = record(&[("severity_text", text("whatever")), ("severity_number", Value::Int(21))]);
        shape(&mut both, Times::AreTheRecords).unwrap();
        assert_eq!((both.severity, &*both.severity_text), (21, "whatever"));
    }

    #[test]
    fn a_service_may_be_an_object_with_a_name() {
        let mut object = record(&[("service", text(r#"{"name":"cart","version":"1"}"#))]);
        assert_eq!(shape(&mut object, Times::AreTheRecords).unwrap().as_deref(), Some("cart"));
        assert_eq!(object.attributes.list.len(), 1);
        let mut odd = record(&[("service", text("{nonsense"))]);
        assert_eq!(shape(&mut odd, Times::AreTheRecords).unwrap(), None);
    }

    #[test]
    fn a_time_that_cannot_be_read_is_named() {
        let error = shape(&mut record(&[("time", text("now\n"))]), Times::AreTheRecords).unwrap_err();
        assert!(error.to_string().starts_with("`time` is `now`, which is no time: send RFC 3339"), "{error}");
    }

    #[test]
    fn past_the_limit_well_known_keys_are_still_kept() {
        let mut attributes = Attributes::default();
        for key in ["a", "b", "msg", "level"] {
            push(&mut attributes, Attribute::text(key, "x"), 1);
        }
        assert_eq!((attributes.list.len(), attributes.cut), (3, 1));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_time_panic(text in ".{0,40}", number in proptest::num::i64::ANY, float in proptest::num::f64::ANY) {
            nanos(&Value::Text(text.into()));
            nanos(&Value::Int(number));
            nanos(&Value::Double(float));
        }
    }
}
