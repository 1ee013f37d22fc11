//! Attributes, values, resources and scopes.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Bounds, Message, WireError};
use crate::record::{Attribute, Attributes, Resource, Scope, Value};

/// Nesting beyond this is refused.
const MAX_DEPTH: usize = 64;

/// `KeyValue` as nearly all senders write it: a short key, then a short value that is a string, a small integer, a boolean or a float.
/// `None` where it is written in another way, or is broken: then it is read field by field, which says what is wrong.
#[inline]
fn usual(bytes: &[u8]) -> Option<Attribute<'_>> {
    let ([0x0A, length @ ..0x80], rest) = bytes.split_first_chunk::<2>()? else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(*length))?;
    let ([0x12, length @ ..0x80], any) = rest.split_first_chunk::<2>()? else { return None };
    if any.len() != usize::from(*length) {
        return None;
    }
    let value = match any {
        [0x0A, length, text @ ..] if text.len() == usize::from(*length) => Value::Text(Cow::Borrowed(std::str::from_utf8(text).ok()?)),
        [0x10, flag @ 0..=1] => Value::Bool(*flag != 0),
        [0x18, number @ ..0x80] => Value::Int(i64::from(*number)),
        [0x18, low @ 0x80..=0xFF, high @ ..0x80] => Value::Int(i64::from(*low & 0x7F) | i64::from(*high) << 7),
        [0x18, low @ 0x80..=0xFF, middle @ 0x80..=0xFF, high @ ..0x80] => {
            Value::Int(i64::from(*low & 0x7F) | i64::from(*middle & 0x7F) << 7 | i64::from(*high) << 14)
        }
        [0x21, number @ ..] => Value::Double(f64::from_le_bytes(number.try_into().ok()?)),
        _ => return None,
    };
    Some(Attribute { key: Cow::Borrowed(std::str::from_utf8(key).ok()?), value })
}

/// `KeyValue`.
#[inline]
pub(super) fn attribute<'a>(message: Message<'a>) -> Result<Attribute<'a>, WireError> {
    match usual(message.rest()) {
        Some(attribute) => Ok(attribute),
        None => field_by_field(message),
    }
}

fn field_by_field<'a>(mut message: Message<'a>) -> Result<Attribute<'a>, WireError> {
    let mut attribute = Attribute::default();
    while let Some(field) = message.next()? {
        match field.number {
            1 => attribute.key = field.text()?,
            2 => attribute.value = value(field.message("AnyValue")?)?,
            _ => {}
        }
    }
    Ok(attribute)
}

/// Adds an attribute, or counts it where there are enough.
#[inline]
pub(super) fn push<'a>(to: &mut Attributes<'a>, bounds: Bounds, message: Message<'a>) -> Result<(), WireError> {
    to.push(attribute(message)?, bounds.attributes);
    Ok(())
}

/// `AnyValue`: of several values the last one counts.
#[inline]
pub(super) fn value<'a>(mut message: Message<'a>) -> Result<Value<'a>, WireError> {
    let mut value = Value::default();
    while let Some(field) = message.next()? {
        value = match field.number {
            1 => Value::Text(field.text()?),
            2 => Value::Bool(field.varint()? != 0),
            3 => Value::Int(field.varint()? as i64),
            4 => Value::Double(field.double()?),
            5 => nested(b'[', field.message("ArrayValue")?)?,
            6 => nested(b'{', field.message("KeyValueList")?)?,
            7 => Value::Text(Cow::Owned(STANDARD.encode(field.bytes()?))),
            // An index into the string table of a profile: meaningless in the other signals.
            8 => Value::default(),
            _ => continue,
        };
    }
    Ok(value)
}

/// A list or map as JSON.
fn nested<'a>(open: u8, message: Message<'_>) -> Result<Value<'a>, WireError> {
    let mut json = Vec::new();
    items(open, message, 0, &mut json)?;
    // The parts are UTF-8: strings were checked, the rest is ours.
    Ok(Value::Text(Cow::Owned(String::from_utf8_lossy(&json).into_owned())))
}

/// The items of a list (`[`) or the pairs of a map (`{`).
fn items(open: u8, mut message: Message<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    out.push(open);
    let mut first = true;
    while let Some(field) = message.next()? {
        if field.number != 1 {
            continue;
        }
        if depth >= MAX_DEPTH {
            return Err(field.error("values are nested more than 64 deep"));
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        match open {
            b'{' => pair(field.message("KeyValue")?, depth, out)?,
            _ => json(field.message("AnyValue")?, depth, out)?,
        }
    }
    out.push(if open == b'{' { b'}' } else { b']' });
    Ok(())
}

fn pair(mut message: Message<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    let (mut key, mut value) = ("", None);
    while let Some(field) = message.next()? {
        match field.number {
            1 => key = field.str()?,
            2 => value = Some(field.message("AnyValue")?),
            _ => {}
        }
    }
    write(&key, out);
    out.push(b':');
    json(value.unwrap_or(Message::new("AnyValue", &[])), depth, out)
}

/// A value as JSON: numbers that JSON cannot say and bytes are strings, no value is null.
fn json(mut message: Message<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    while let Some(field) = message.next()? {
        let before = out.len();
        match field.number {
            1 => write(&field.str()?, out),
            2 => write(&(field.varint()? != 0), out),
            3 => write(&(field.varint()? as i64), out),
            4 => match field.double()? {
                number if number.is_finite() => write(&number, out),
                number => write(&number.to_string(), out),
            },
            5 => items(b'[', field.message("ArrayValue")?, depth + 1, out)?,
            6 => items(b'{', field.message("KeyValueList")?, depth + 1, out)?,
            7 => write(&STANDARD.encode(field.bytes()?), out),
            8 => write(&(), out),
            _ => {}
        }
        // Of several values the last one counts.
        if out.len() > before {
            out.drain(start..before);
        }
    }
    if out.len() == start {
        write(&(), out);
    }
    Ok(())
}

fn write(value: &impl serde::Serialize, out: &mut Vec<u8>) {
    // Strings, numbers, booleans and null always have a JSON form, and writing to a vector cannot fail.
    let _ = serde_json::to_writer(out, value);
}

/// `Resource`, added to what stood there before: a field that is sent twice is merged.
pub(super) fn resource<'a>(mut message: Message<'a>, bounds: Bounds, to: &mut Resource<'a>) -> Result<(), WireError> {
    while let Some(field) = message.next()? {
        match field.number {
            1 => push(&mut to.attributes, bounds, field.message("KeyValue")?)?,
            2 => to.dropped = field.uint32()?,
            _ => {}
        }
    }
    Ok(())
}

/// `InstrumentationScope`.
pub(super) fn scope<'a>(mut message: Message<'a>, bounds: Bounds, to: &mut Scope<'a>) -> Result<(), WireError> {
    while let Some(field) = message.next()? {
        match field.number {
            1 => to.name = field.text()?,
            2 => to.version = field.text()?,
            3 => push(&mut to.attributes, bounds, field.message("KeyValue")?)?,
            4 => to.dropped = field.uint32()?,
            _ => {}
        }
    }
    Ok(())
}

/// The three levels that all signals share: `Resource*`, `Scope*`, records. Resource and scope are read before the records,
/// wherever they stand.
pub(super) struct Levels {
    /// Names for errors: the outer, the middle and the inner message.
    pub(super) names: [&'static str; 3],
    /// The field of the outer message that holds the middle ones.
    pub(super) bounds: Bounds,
}

impl Levels {
    /// Walks a request: `enter` for each resource and scope, `record` for each record.
    pub(super) fn walk<'a, T, E: From<WireError>>(
        &self,
        body: &'a [u8],
        to: &mut T,
        mut enter: impl FnMut(&mut T, Entered<'a>) -> Result<(), E>,
        mut record: impl FnMut(&mut T, Message<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut request = Message::new("request", body);
        while let Some(field) = request.next()? {
            if field.number != 1 {
                continue;
            }
            let bytes = field.bytes()?;
            enter(to, Entered::Resource(self.resource(bytes)?))?;
            let mut message = Message::new(self.names[0], bytes);
            while let Some(field) = message.next()? {
                if field.number != 2 {
                    continue;
                }
                let bytes = field.bytes()?;
                enter(to, Entered::Scope(self.scope(bytes)?))?;
                let mut message = Message::new(self.names[1], bytes);
                while let Some(field) = message.next()? {
                    if field.number == 2 {
                        record(to, field.message(self.names[2])?)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn resource<'a>(&self, bytes: &'a [u8]) -> Result<Resource<'a>, WireError> {
        let (mut message, mut found) = (Message::new(self.names[0], bytes), Resource::default());
        while let Some(field) = message.next()? {
            match field.number {
                1 => resource(field.message("Resource")?, self.bounds, &mut found)?,
                3 => found.schema_url = field.text()?,
                _ => {}
            }
        }
        Ok(found)
    }

    fn scope<'a>(&self, bytes: &'a [u8]) -> Result<Scope<'a>, WireError> {
        let (mut message, mut found) = (Message::new(self.names[1], bytes), Scope::default());
        while let Some(field) = message.next()? {
            match field.number {
                1 => scope(field.message("InstrumentationScope")?, self.bounds, &mut found)?,
                3 => found.schema_url = field.text()?,
                _ => {}
            }
        }
        Ok(found)
    }
}

/// What a walk comes to before records.
pub(super) enum Entered<'a> {
    /// A resource.
    Resource(Resource<'a>),
    /// A scope below it.
    Scope(Scope<'a>),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Sent;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

    /// What both ways say of the same bytes, where the short one takes them.
    fn agree(bytes: &[u8]) -> Result<bool, TestCaseError> {
        let Some(attribute) = usual(bytes) else { return Ok(false) };
        let whole = field_by_field(Message::new("KeyValue", bytes));
        // By their text: NaN is like no other.
        prop_assert_eq!(format!("{:?}", whole.unwrap()), format!("{attribute:?}"));
        Ok(true)
    }

    proptest! {
        #[test]
        fn the_short_way_says_what_the_long_one_says(
            key in "\\PC{0,20}", text in "\\PC{0,40}", int in any::<i64>(), shift in 0u32..64, double in any::<f64>(), flag in any::<bool>(),
            broken in prop::option::of((any::<prop::sample::Index>(), any::<u8>())), cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let values = [Sent::StringValue(text), Sent::IntValue(int >> shift), Sent::DoubleValue(double), Sent::BoolValue(flag)];
            for value in values {
                let small = !matches!(value, Sent::IntValue(number) if !(0..1 << 21).contains(&number));
                let mut bytes = KeyValue { key: key.clone(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }.encode_to_vec();
                let short = bytes.len() < 0x80 && !key.is_empty();
                let whole = broken.is_none() && cut.is_none();
                if let Some((at, byte)) = &broken {
                    *at.get_mut(&mut bytes) ^= byte;
                }
                if let Some(cut) = &cut {
                    bytes.truncate(cut.index(bytes.len() + 1));
                }
                let taken = agree(&bytes)?;
                prop_assert!(!(whole && small && short) || taken, "{:?} goes the long way", bytes);
            }
        }
    }
}
