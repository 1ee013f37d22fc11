//! One event: a time and a record. In: its MessagePack. Out: a log record and the service that it names. Fails: where the time is
//! none or the record no map.

use std::borrow::Cow;

use super::msgpack::{Broken, Head, head, skip, text_of, value};
use crate::record::{Attribute, Attributes, LogRecord, Resource, Text};
use crate::structured::{Times, push, shape};

/// Takes the time and the record of an event.
pub(super) fn read<'a>(event: &mut &'a [u8], limit: usize, to: &mut LogRecord<'a>) -> Result<Option<Text<'a>>, Broken> {
    let mut time_at = *event;
    skip(event)?;
    to.time = time(&mut time_at, limit, &mut to.attributes)?;
    pairs(event, limit, &mut to.attributes)?;
    shape(to, Times::AreAttributes).map_err(|_| Broken)
}

/// Seconds, whole or not, or an EventTime (extension 0: seconds and nanoseconds); Fluent Bit may put metadata beside it. 0 where
/// none is told: the time of arrival counts.
fn time<'a>(bytes: &mut &'a [u8], limit: usize, metadata: &mut Attributes<'a>) -> Result<u64, Broken> {
    Ok(match head(bytes)? {
        Head::Nil => 0,
        Head::Int(seconds) => u64::try_from(seconds).map_err(|_| Broken)?.saturating_mul(1_000_000_000),
        Head::Float(seconds) if (0.0..1e11).contains(&seconds) => (seconds * 1e6).round() as u64 * 1_000,
        Head::Ext(0, data) => {
            let (seconds, rest) = data.split_first_chunk::<4>().ok_or(Broken)?;
            let nanos: [u8; 4] = rest.try_into().map_err(|_| Broken)?;
            u64::from(u32::from_be_bytes(*seconds)) * 1_000_000_000 + u64::from(u32::from_be_bytes(nanos))
        }
        Head::Array(2) => {
            let mut inner = *bytes;
            skip(bytes)?;
            if matches!(head(&mut &*inner), Ok(Head::Array(_))) {
                return Err(Broken);
            }
            pairs(bytes, limit, metadata)?;
            time(&mut inner, limit, metadata)?
        }
        Head::Bool(_) | Head::Large(_) | Head::Float(_) | Head::Text(_) | Head::Ext(..) | Head::Array(_) | Head::Map(_) => {
            return Err(Broken);
        }
    })
}

/// The pairs of a map.
fn pairs<'a>(bytes: &mut &'a [u8], limit: usize, to: &mut Attributes<'a>) -> Result<(), Broken> {
    let Head::Map(count) = head(bytes)? else { return Err(Broken) };
    for _ in 0..count {
        let mut key_at = *bytes;
        skip(bytes)?;
        let key = match head(&mut key_at)? {
            Head::Text(text) => text_of(text),
            Head::Int(number) => Cow::Owned(number.to_string()),
            _ => Cow::Borrowed(""),
        };
        if let Some(value) = value(bytes)? {
            push(to, Attribute { key, value }, limit);
        }
    }
    Ok(())
}

/// The resource of events of a service.
pub(super) fn resource(service: Text<'_>) -> Resource<'_> {
    Resource { attributes: vec![Attribute::text("service.name", service)].into(), ..Resource::default() }
}

/// Adds what the message around it says.
pub(super) fn finish<'a>(tag: &Text<'a>, record: &mut LogRecord<'a>, limit: usize) {
    record.attributes.push(Attribute::text("fluent.tag", tag.clone()), limit.saturating_add(64));
    if let crate::record::Value::Text(line) = &mut record.body
        && line.ends_with('\n')
    {
        // Container runtimes leave the end of the line in.
        let trimmed = line.trim_end_matches(['\n', '\r']).len();
        match line {
            Cow::Borrowed(text) => *text = &text[..trimmed],
            Cow::Owned(text) => text.truncate(trimmed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: &[u8]) -> Result<(Option<String>, u64, String, Vec<String>), Broken> {
        let mut record = LogRecord::default();
        let service = read(&mut &*bytes, 9, &mut record)?.map(Cow::into_owned);
        let list = record.attributes.list.iter().map(|pair| format!("{}={}", pair.key, pair.value.text())).collect();
        Ok((service, record.time, record.body.text().into_owned(), list))
    }

    #[test]
    fn times_and_records() {
        let body = b"\x83\xa3msg\xa2hi\xa7service\xa4shop\xa4time\xa1x";
        for (time, want) in [
            (&b"\xce\x69\xa3\x83\x80"[..], 1_772_323_712_000_000_000),
            (b"\xd7\x00\x69\xa3\x83\x80\x00\x00\x00\x07", 1_772_323_712_000_000_007),
            (b"\xcb\x41\xda\x68\xe0\xe0\x10\x00\x00", 1_772_323_712_250_000_000),
            (b"\xc0", 0),
            (b"\x92\xce\x69\xa3\x83\x80\x80", 1_772_323_712_000_000_000),
        ] {
            let all = [time, body].concat();
            assert_eq!(event(&all), Ok((Some("shop".into()), want, "hi".into(), vec!["time=x".into()])), "{time:?}");
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for bytes in [
            &b"\x01"[..],
            b"\x01\x90",
            b"\xff\x80",
            b"\xa1x\x80",
            b"\xd7\x01\0\0\0\0\0\0\0\0\x80",
            b"\xd4\x00\0\x80",
            b"\x92\x91\x01\x80\x80",
        ] {
            assert_eq!(event(bytes), Err(Broken), "{bytes:?}");
        }
    }

    #[test]
    fn the_end_of_the_line_is_left_out() {
        let mut record = LogRecord { body: crate::record::Value::Text("a\r\n".into()), ..LogRecord::default() };
        finish(&Cow::Borrowed("t"), &mut record, 0);
        assert_eq!((record.body.text().as_ref(), record.attributes.text("fluent.tag").as_ref()), ("a", "t"));
    }
}
