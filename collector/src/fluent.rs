//! Fluentd's and Fluent Bit's forward protocol (version 1): messages in MessagePack, one event, a list, packed or compressed events.
//! In: whole messages. Out: log records; the record's well-known keys become severity, body, service and trace context, the tag
//! is the service where none is named. Events that are none are rejected; where packed events break off, those before are kept.
//! Fails: compressed events that do not inflate.

mod event;
pub(crate) mod handshake;
pub(crate) mod msgpack;

use std::borrow::Cow;

use bytes::Bytes;

use crate::admission::Reservation;
use crate::decode::DecodeError;
use crate::failure::{Failure, Stage};
use crate::inflate::{Encoding, InflateError, inflate};
use crate::record::{LogRecord, Text};
use crate::rows::Builder;
use crate::rows::tally::Reason;
use msgpack::{Broken, Head, head, skip};

/// What a message says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The id that the sender wants to be acknowledged.
    pub(crate) chunk: Option<Vec<u8>>,
    /// Whether its events are compressed with gzip.
    pub(crate) compressed: bool,
    /// Whether it holds something else than logs (Fluent Bit's metrics and traces).
    other_signal: bool,
}

/// Reads what a whole message says about itself; `None` for what is no message, such as the nil of a heartbeat.
pub(crate) fn envelope(message: &[u8]) -> Option<Envelope> {
    let mut rest = message;
    let Head::Array(parts @ 2..=4) = head(&mut rest).ok()? else { return None };
    let is_tag = matches!(head(&mut rest).ok()?, Head::Text(_));
    let mut second = rest;
    let event = !matches!(head(&mut second).ok()?, Head::Array(_) | Head::Text(_));
    skip(&mut rest).ok()?;
    let before_option = if event { 3 } else { 2 };
    if event && parts > 2 {
        skip(&mut rest).ok()?;
    }
    let mut envelope = Envelope::default();
    if parts > before_option
        && let Head::Map(pairs) = head(&mut rest).ok()?
    {
        for _ in 0..pairs {
            let key = head(&mut rest).ok()?;
            let mut value = rest;
            skip(&mut rest).ok()?;
            match (key, head(&mut value).ok()?) {
                (Head::Text(b"chunk"), Head::Text(id)) => envelope.chunk = Some(id.to_vec()),
                (Head::Text(b"compressed"), Head::Text(name)) => envelope.compressed = name == b"gzip",
                (Head::Text(b"fluent_signal"), Head::Int(signal)) => envelope.other_signal = signal != 0,
                _ => {}
            }
        }
    }
    is_tag.then_some(envelope)
}

/// Inflates the events of messages that are compressed; the others stay as they are.
pub(crate) fn unpack(body: Bytes, limit: u64, reservation: &mut Reservation) -> Result<Bytes, Failure> {
    let (mut rest, mut unpacked) = (&body[..], None::<Vec<u8>>);
    while !rest.is_empty() {
        let start = rest;
        if skip(&mut rest).is_err() {
            break;
        }
        let message = &start[..start.len() - rest.len()];
        match (envelope(message).filter(|envelope| envelope.compressed), &mut unpacked) {
            (None, None) => {}
            (None, Some(unpacked)) => unpacked.extend_from_slice(message),
            (Some(_), unpacked) => {
                let done = body.len() - start.len();
                inflated(message, limit, reservation, unpacked.get_or_insert_with(|| body[..done].to_vec()))?;
            }
        }
    }
    Ok(unpacked.map_or(body, Bytes::from))
}

/// Writes a compressed message anew: `[tag, events]`.
fn inflated(message: &[u8], limit: u64, reservation: &mut Reservation, to: &mut Vec<u8>) -> Result<(), Failure> {
    let broken = |_| Failure::Decode(DecodeError::Fluent(Broken));
    let mut rest = message;
    head(&mut rest).map_err(broken)?;
    let tag = rest;
    skip(&mut rest).map_err(broken)?;
    let tag = &tag[..tag.len() - rest.len()];
    let Head::Text(packed) = head(&mut rest).map_err(broken)? else { return Err(Failure::Decode(DecodeError::Fluent(Broken))) };
    let events = inflate(Encoding::Gzip, packed, limit, reservation).map_err(|error| match error {
        InflateError::TooLarge(limit) => Failure::TooLarge(Stage::Inflated, limit),
        InflateError::Broken(error) => Failure::Compression(Encoding::Gzip.name(), error.to_string()),
        InflateError::Full(full) => full.into(),
    })?;
    let length = u32::try_from(events.len()).map_err(|_| Failure::TooLarge(Stage::Inflated, limit))?;
    // An array of two, the tag as it was, the events as bytes with a length of 32 bits.
    to.push(0x92);
    to.extend_from_slice(tag);
    to.push(0xc6);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(&events);
    Ok(())
}

/// Reads whole messages into the builder's rows.
pub(crate) fn read<'a>(body: &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let (mut rest, mut reader) = (body, Reader { record: LogRecord::default(), around: None });
    while !rest.is_empty() {
        let start = rest;
        if skip(&mut rest).is_err() {
            to.reject(Reason::Malformed)?;
            break;
        }
        let message = &start[..start.len() - rest.len()];
        match envelope(message) {
            None if matches!(head(&mut &*message), Ok(Head::Nil)) => {}
            Some(envelope) if !envelope.other_signal => reader.message(message, to)?,
            None | Some(_) => to.reject(Reason::Malformed)?,
        }
    }
    Ok(())
}

/// Reads events one after the other.
struct Reader<'a> {
    record: LogRecord<'a>,
    /// The tag and the service of the last event.
    around: Option<(Text<'a>, Option<Text<'a>>)>,
}

impl<'a> Reader<'a> {
    /// The events of a message whose frame is known to be good.
    fn message(&mut self, message: &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
        let mut rest = message;
        let (Ok(Head::Array(_)), Ok(Head::Text(tag))) = (head(&mut rest), head(&mut rest)) else {
            return Ok(to.reject(Reason::Malformed)?);
        };
        let tag = String::from_utf8_lossy(tag);
        let events = rest;
        match head(&mut rest) {
            Ok(Head::Array(count)) => self.events(&tag, Some(count), rest, to),
            Ok(Head::Text(packed)) => self.events(&tag, None, packed, to),
            // One event: its time and its record are parts of the message.
            Ok(_) => self.event(&tag, &mut &*events, to),
            Err(Broken) => Ok(to.reject(Reason::Malformed)?),
        }
    }

    /// So many events, or all that there are: each `[time, record]`.
    fn events(&mut self, tag: &Text<'a>, count: Option<u32>, events: &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
        let (mut rest, mut left) = (events, count.unwrap_or(u32::MAX));
        while left > 0 && !rest.is_empty() {
            left -= 1;
            let mut event = rest;
            if skip(&mut rest).is_err() {
                return Ok(to.reject(Reason::Malformed)?);
            }
            match head(&mut event) {
                Ok(Head::Array(2..)) => self.event(tag, &mut event, to)?,
                _ => to.reject(Reason::Malformed)?,
            }
        }
        Ok(())
    }

    /// A time and a record.
    fn event(&mut self, tag: &Text<'a>, event: &mut &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
        self.record.clear();
        let Ok(service) = event::read(event, to.limits().attributes, &mut self.record) else {
            return Ok(to.reject(Reason::Malformed)?);
        };
        let here = (tag.clone(), service);
        if self.around.as_ref() != Some(&here) {
            let name: Text<'a> = here.1.clone().unwrap_or_else(|| Cow::Owned(here.0.clone().into_owned()));
            to.enter_resource(event::resource(name));
            self.around = Some(here);
        }
        event::finish(tag, &mut self.record, to.limits().attributes);
        Ok(to.log(&mut self.record)?)
    }
}
