//! Loki's JSON: `{"streams": [{"stream": {labels}, "values": [[nanoseconds, line, {metadata}], ...]}]}`. One entry is in memory at a
//! time. In: JSON text. Out: log records. Fails: with the stream, and line and column within its values.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Stream;
use crate::admission::Full;
use crate::decode::DecodeError;
use crate::json_text::{Borrowed, Pairs, Plain};
use crate::record::{Attributes, LogRecord, Value};
use crate::rows::Builder;

/// Reads a request into the builder's rows.
pub(super) fn read<'a>(body: &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let text = std::str::from_utf8(body)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let mut reader = Request { to, record: LogRecord::default(), full: None };
    let read = (&mut reader).deserialize(&mut json).and_then(|()| json.end());
    match (reader.full, read) {
        (Some(full), _) => Err(DecodeError::Full(full)),
        (None, read) => read.map_err(DecodeError::Json),
    }
}

struct Request<'b, 'a, 'r> {
    to: &'b mut Builder<'a, 'r>,
    record: LogRecord<'a>,
    /// Why reading was given up, where it was not the text's fault.
    full: Option<Full>,
}

/// The object around the streams.
impl<'a> DeserializeSeed<'a> for &mut Request<'_, 'a, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for &mut Request<'_, 'a, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `streams`")
    }
    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<Borrowed<'a>>()? {
            if key.0 == "streams" {
                map.next_value_seed(Streams(self))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Streams<'s, 'b, 'a, 'r>(&'s mut Request<'b, 'a, 'r>);

impl<'a> DeserializeSeed<'a> for Streams<'_, '_, 'a, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Streams<'_, '_, 'a, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of streams")
    }
    fn visit_seq<S: SeqAccess<'a>>(self, mut list: S) -> Result<(), S::Error> {
        let mut number = 0u64;
        while let Some(OneStream { stream, values }) = list.next_element()? {
            number += 1;
            let limit = self.0.to.limits().attributes;
            let labels = labels(stream, limit).map_err(|error| S::Error::custom(format_args!("stream {number}, labels: {error}")))?;
            let stream = Stream::enter(labels, self.0.to);
            let Some(values) = values else { continue };
            let mut json = serde_json::Deserializer::from_str(values.get());
            let read = Values { request: &mut *self.0, stream, limit }.deserialize(&mut json);
            read.map_err(|error| S::Error::custom(format_args!("stream {number}, values: {error}")))?;
        }
        Ok(())
    }
}

/// A stream whose labels may stand behind its values.
#[derive(Deserialize)]
struct OneStream<'a> {
    #[serde(borrow, default)]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default)]
    values: Option<&'a RawValue>,
}

fn labels(raw: Option<&RawValue>, limit: usize) -> Result<Attributes<'_>, serde_json::Error> {
    let Some(raw) = raw else { return Ok(Attributes::default()) };
    Pairs(limit).deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
}

/// The entries of a stream.
struct Values<'s, 'b, 'a, 'r> {
    request: &'s mut Request<'b, 'a, 'r>,
    stream: Stream,
    limit: usize,
}

impl<'a> DeserializeSeed<'a> for Values<'_, '_, 'a, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Values<'_, '_, 'a, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }
    fn visit_seq<S: SeqAccess<'a>>(self, mut list: S) -> Result<(), S::Error> {
        let Request { to, record, full } = self.request;
        loop {
            record.clear();
            if list.next_element_seed(Entry { record: &mut *record, limit: self.limit })?.is_none() {
                return Ok(());
            }
            match self.stream.add(record, to) {
                Ok(()) => {}
                Err(DecodeError::Full(why)) => {
                    *full = Some(why);
                    return Err(S::Error::custom("no memory left"));
                }
                Err(error) => return Err(S::Error::custom(error)),
            }
        }
    }
}

/// `[nanoseconds, line]` or `[nanoseconds, line, {metadata}]`.
struct Entry<'s, 'a> {
    record: &'s mut LogRecord<'a>,
    limit: usize,
}

impl<'a> DeserializeSeed<'a> for Entry<'_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Entry<'_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry: [\"<nanoseconds>\", \"<line>\"], with metadata as an object behind them or not")
    }
    fn visit_seq<S: SeqAccess<'a>>(self, mut list: S) -> Result<(), S::Error> {
        let short = || S::Error::custom("an entry has a time and a line");
        let time: Plain<'a> = list.next_element()?.ok_or_else(short)?;
        let nanos: u64 = time.0.parse().map_err(|_| S::Error::custom("the time of an entry is a number of nanoseconds in quotes"))?;
        // Zero would mean that it is not known; it is older than anything that is kept.
        self.record.time = nanos.max(1);
        let line: Borrowed<'a> = list.next_element()?.ok_or_else(short)?;
        self.record.body = Value::Text(line.0);
        if let Some(metadata) = list.next_element_seed(Pairs(self.limit))? {
            self.record.attributes = metadata;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}
