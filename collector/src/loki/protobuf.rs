//! `logproto.PushRequest`, once snappy is off. In: the message. Out: log records. Fails: as the wire format and the labels do.

use super::{Stream, labels};
use crate::decode::DecodeError;
use crate::decode::protobuf::{Message, WireError};
use crate::record::{Attribute, Attributes, LogRecord, Value};
use crate::rows::Builder;

/// Reads a request into the builder's rows.
pub(super) fn read<'a>(body: &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let mut record = LogRecord::default();
    let mut request = Message::new("PushRequest", body);
    while let Some(field) = request.next()? {
        if field.number == 1 {
            stream(field.bytes()?, &mut record, to)?;
        }
    }
    Ok(())
}

/// `StreamAdapter`: the labels are read first, wherever they stand.
fn stream<'a>(bytes: &'a [u8], record: &mut LogRecord<'a>, to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let limit = to.limits().attributes;
    let (mut message, mut text) = (Message::new("Stream", bytes), "{}");
    while let Some(field) = message.next()? {
        if field.number == 1 {
            text = field.str()?;
        }
    }
    let stream = Stream::enter(labels::parse(text, limit).map_err(DecodeError::LokiLabels)?, to);
    let mut message = Message::new("Stream", bytes);
    while let Some(field) = message.next()? {
        if field.number == 2 {
            record.clear();
            entry(field.message("Entry")?, limit, record)?;
            stream.add(record, to)?;
        }
    }
    Ok(())
}

/// `EntryAdapter`.
fn entry<'a>(mut message: Message<'a>, limit: usize, record: &mut LogRecord<'a>) -> Result<(), WireError> {
    while let Some(field) = message.next()? {
        match field.number {
            1 => record.time = time(field.message("Timestamp")?)?,
            2 => record.body = Value::Text(field.text()?),
            3 => label(field.message("LabelPair")?, limit, &mut record.attributes)?,
            _ => {}
        }
    }
    Ok(())
}

/// `google.protobuf.Timestamp` in nanoseconds; times before 1970 are 1, which is older than anything that is kept.
fn time(mut message: Message<'_>) -> Result<u64, WireError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    while let Some(field) = message.next()? {
        match field.number {
            1 => seconds = field.varint()? as i64,
            2 => nanos = i64::from(field.int32()?),
            _ => {}
        }
    }
    Ok(u64::try_from(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)).unwrap_or(1).max(1))
}

fn label<'a>(mut message: Message<'a>, limit: usize, to: &mut Attributes<'a>) -> Result<(), WireError> {
    let mut attribute = Attribute::default();
    while let Some(field) = message.next()? {
        match field.number {
            1 => attribute.key = field.text()?,
            2 => attribute.value = Value::Text(field.text()?),
            _ => {}
        }
    }
    to.push(attribute, limit);
    Ok(())
}
