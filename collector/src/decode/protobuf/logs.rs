//! `ExportLogsServiceRequest`.

use super::common::{Entered, Levels, push, value};
use super::{Bounds, Message, WireError};
use crate::decode::DecodeError;
use crate::record::LogRecord;
use crate::rows::Builder;

/// Reads a request into the builder's rows.
pub(crate) fn logs<'a>(body: &'a [u8], bounds: Bounds, to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let mut record = LogRecord::default();
    let enter = |to: &mut Builder<'a, '_>, entered| {
        match entered {
            Entered::Resource(resource) => to.enter_resource(resource),
            Entered::Scope(scope) => to.enter_scope(scope),
        }
        Ok(())
    };
    let levels = Levels { names: ["ResourceLogs", "ScopeLogs", "LogRecord"], bounds };
    levels.walk(body, to, enter, |to, message| {
        record.clear();
        read(message, bounds, &mut record)?;
        Ok(to.log(&mut record)?)
    })
}

fn read<'a>(mut message: Message<'a>, bounds: Bounds, record: &mut LogRecord<'a>) -> Result<(), WireError> {
    while let Some(field) = message.next()? {
        match field.number {
            1 => record.time = field.fixed64()?,
            2 => record.severity = field.int32()?,
            3 => record.severity_text = field.text()?,
            5 => record.body = value(field.message("AnyValue")?)?,
            6 => push(&mut record.attributes, bounds, field.message("KeyValue")?)?,
            7 => record.dropped_attributes = field.uint32()?,
            8 => record.flags = field.fixed32()?,
            9 => record.trace_id = field.id()?,
            10 => record.span_id = field.id()?,
            11 => record.observed = field.fixed64()?,
            12 => record.event_name = field.text()?,
            _ => {}
        }
    }
    Ok(())
}
