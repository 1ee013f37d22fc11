//! MessagePack as the forward protocol needs it: where a value ends while its bytes still come in, and reading values without
//! building them. The markers are those of the crate `rmp`. In: bytes. Out: heads, attribute values, JSON text. Fails: on bytes
//! that are no MessagePack, nested deeper than 32, or longer than allowed.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmp::Marker;

use crate::record::Value;

/// Lists and maps within each other.
const MAX_DEPTH: usize = 32;

/// Bytes that are no MessagePack, or end too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no MessagePack, end early, or are nested deeper than 32")]
pub(crate) struct Broken;

/// The beginning of a value. What lists and maps hold follows them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Head<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    /// Past what 64 bits with a sign hold.
    Large(u64),
    Float(f64),
    /// A string or bytes: senders of old have no strings, and some of today no bytes.
    Text(&'a [u8]),
    /// An extension's type and bytes.
    Ext(i8, &'a [u8]),
    /// So many values follow.
    Array(u32),
    /// So many pairs of values follow.
    Map(u32),
}

fn number<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Broken> {
    let (number, rest) = bytes.split_first_chunk::<N>().ok_or(Broken)?;
    *bytes = rest;
    Ok(*number)
}

fn slice<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Broken> {
    let (slice, rest) = bytes.split_at_checked(length).ok_or(Broken)?;
    *bytes = rest;
    Ok(slice)
}

/// A length of one, two or four bytes, by the power of two.
fn length(bytes: &mut &[u8], power: u8) -> Result<u32, Broken> {
    Ok(match power {
        0 => u32::from(number::<1>(bytes)?[0]),
        1 => u32::from(u16::from_be_bytes(number(bytes)?)),
        _ => u32::from_be_bytes(number(bytes)?),
    })
}

fn ext<'a>(bytes: &mut &'a [u8], length: u32) -> Result<Head<'a>, Broken> {
    let [kind] = number::<1>(bytes)?;
    Ok(Head::Ext(kind as i8, slice(bytes, length as usize)?))
}

/// Takes the head of the next value.
pub(crate) fn head<'a>(bytes: &mut &'a [u8]) -> Result<Head<'a>, Broken> {
    let [marker] = number::<1>(bytes)?;
    let text = |bytes: &mut &'a [u8], power| -> Result<Head<'a>, Broken> {
        let length = length(bytes, power)?;
        Ok(Head::Text(slice(bytes, length as usize)?))
    };
    let long_ext = |bytes: &mut &'a [u8], power| -> Result<Head<'a>, Broken> {
        let length = length(bytes, power)?;
        ext(bytes, length)
    };
    Ok(match Marker::from_u8(marker) {
        Marker::Null => Head::Nil,
        Marker::True => Head::Bool(true),
        Marker::False => Head::Bool(false),
        Marker::FixPos(value) => Head::Int(i64::from(value)),
        Marker::FixNeg(value) => Head::Int(i64::from(value)),
        Marker::U8 => Head::Int(i64::from(number::<1>(bytes)?[0])),
        Marker::U16 => Head::Int(i64::from(u16::from_be_bytes(number(bytes)?))),
        Marker::U32 => Head::Int(i64::from(u32::from_be_bytes(number(bytes)?))),
        Marker::U64 => {
            let value = u64::from_be_bytes(number(bytes)?);
            i64::try_from(value).map_or(Head::Large(value), Head::Int)
        }
        Marker::I8 => Head::Int(i64::from(i8::from_be_bytes(number(bytes)?))),
        Marker::I16 => Head::Int(i64::from(i16::from_be_bytes(number(bytes)?))),
        Marker::I32 => Head::Int(i64::from(i32::from_be_bytes(number(bytes)?))),
        Marker::I64 => Head::Int(i64::from_be_bytes(number(bytes)?)),
        Marker::F32 => Head::Float(f64::from(f32::from_be_bytes(number(bytes)?))),
        Marker::F64 => Head::Float(f64::from_be_bytes(number(bytes)?)),
        Marker::FixStr(length) => Head::Text(slice(bytes, usize::from(length))?),
        Marker::Str8 | Marker::Bin8 => text(bytes, 0)?,
        Marker::Str16 | Marker::Bin16 => text(bytes, 1)?,
        Marker::Str32 | Marker::Bin32 => text(bytes, 2)?,
        Marker::FixExt1 => ext(bytes, 1)?,
        Marker::FixExt2 => ext(bytes, 2)?,
        Marker::FixExt4 => ext(bytes, 4)?,
        Marker::FixExt8 => ext(bytes, 8)?,
        Marker::FixExt16 => ext(bytes, 16)?,
        Marker::Ext8 => long_ext(bytes, 0)?,
        Marker::Ext16 => long_ext(bytes, 1)?,
        Marker::Ext32 => long_ext(bytes, 2)?,
        Marker::FixArray(length) => Head::Array(u32::from(length)),
        Marker::Array16 => Head::Array(length(bytes, 1)?),
        Marker::Array32 => Head::Array(length(bytes, 2)?),
        Marker::FixMap(length) => Head::Map(u32::from(length)),
        Marker::Map16 => Head::Map(length(bytes, 1)?),
        Marker::Map32 => Head::Map(length(bytes, 2)?),
        Marker::Reserved => return Err(Broken),
    })
}

/// Goes behind the next value.
pub(crate) fn skip(bytes: &mut &[u8]) -> Result<(), Broken> {
    let mut scan = Scan::new(usize::MAX);
    match scan.end(bytes) {
        Ok(Some(end)) => {
            *bytes = &bytes[end..];
            Ok(())
        }
        Ok(None) | Err(_) => Err(Broken),
    }
}

/// Why the bytes of a connection can be no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScanError {
    /// No MessagePack, or too deep.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// Longer than allowed, or announced to be.
    #[error("a message is larger than {0} bytes (collector.fluent.max_message)")]
    TooLarge(usize),
}

/// Finds the end of a value whose bytes come in pieces. What was looked at once is not looked at again.
pub(crate) struct Scan {
    max: usize,
    at: usize,
    /// How many values are open on each level.
    open: Vec<u64>,
}

impl Scan {
    /// For values of at most so many bytes.
    pub(crate) fn new(max: usize) -> Self {
        Scan { max, at: 0, open: vec![1] }
    }

    /// The length of the value at the front of `bytes`; `None` where more bytes are needed: then it is called again with the same
    /// bytes and more.
    pub(crate) fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, ScanError> {
        loop {
            while self.open.last() == Some(&0) {
                self.open.pop();
            }
            let Some(open) = self.open.last_mut() else { return Ok(Some(self.at)) };
            let Some(size) = Size::of(bytes.get(self.at..).unwrap_or(&[]))? else {
                return if bytes.len() > self.max { Err(ScanError::TooLarge(self.max)) } else { Ok(None) };
            };
            let end = self.at.saturating_add(size.bytes);
            // Each value inside takes a byte at least.
            if end as u64 + size.inside > self.max as u64 {
                return Err(ScanError::TooLarge(self.max));
            }
            if end > bytes.len() {
                return Ok(None);
            }
            *open -= 1;
            self.at = end;
            if size.inside > 0 {
                if self.open.len() >= MAX_DEPTH {
                    return Err(Broken.into());
                }
                self.open.push(size.inside);
            }
        }
    }
}

/// How long a value is, the values inside it apart.
struct Size {
    bytes: usize,
    inside: u64,
}

impl Size {
    /// `None` where the bytes end before the value's length is told.
    fn of(bytes: &[u8]) -> Result<Option<Size>, Broken> {
        let Some((&marker, rest)) = bytes.split_first() else { return Ok(None) };
        let flat = |bytes: usize| Some(Size { bytes: 1 + bytes, inside: 0 });
        let told = |power: u8| length(&mut &*rest, power).ok();
        // A length in front, and so many bytes of it.
        let long = |power: u8, more: usize| told(power).map(|length| Size { bytes: 1 + (1 << power) + more + length as usize, inside: 0 });
        let list = |power: u8, each: u64| told(power).map(|length| Size { bytes: 1 + (1 << power), inside: u64::from(length) * each });
        Ok(match Marker::from_u8(marker) {
            Marker::Null | Marker::True | Marker::False | Marker::FixPos(_) | Marker::FixNeg(_) => flat(0),
            Marker::U8 | Marker::I8 => flat(1),
            Marker::U16 | Marker::I16 | Marker::FixExt1 => flat(2),
            Marker::FixExt2 => flat(3),
            Marker::U32 | Marker::I32 | Marker::F32 => flat(4),
            Marker::FixExt4 => flat(5),
            Marker::U64 | Marker::I64 | Marker::F64 => flat(8),
            Marker::FixExt8 => flat(9),
            Marker::FixExt16 => flat(17),
            Marker::FixStr(length) => flat(usize::from(length)),
            Marker::Str8 | Marker::Bin8 => long(0, 0),
            Marker::Str16 | Marker::Bin16 => long(1, 0),
            Marker::Str32 | Marker::Bin32 => long(2, 0),
            Marker::Ext8 => long(0, 1),
            Marker::Ext16 => long(1, 1),
            Marker::Ext32 => long(2, 1),
            Marker::FixArray(length) => Some(Size { bytes: 1, inside: u64::from(length) }),
            Marker::FixMap(length) => Some(Size { bytes: 1, inside: 2 * u64::from(length) }),
            Marker::Array16 => list(1, 1),
            Marker::Array32 => list(2, 1),
            Marker::Map16 => list(1, 2),
            Marker::Map32 => list(2, 2),
            Marker::Reserved => return Err(Broken),
        })
    }
}

/// Takes the next value as attributes hold it; `None` for nil. Lists and maps become JSON text, bytes that are no UTF-8 base64.
pub(crate) fn value<'a>(bytes: &mut &'a [u8]) -> Result<Option<Value<'a>>, Broken> {
    let before = *bytes;
    Ok(match head(bytes)? {
        Head::Nil => None,
        Head::Bool(flag) => Some(Value::Bool(flag)),
        Head::Int(number) => Some(Value::Int(number)),
        Head::Large(number) => Some(Value::Text(Cow::Owned(number.to_string()))),
        Head::Float(number) => Some(Value::Double(number)),
        Head::Text(text) => Some(Value::Text(text_of(text))),
        Head::Ext(_, data) => Some(Value::Text(Cow::Owned(STANDARD.encode(data)))),
        Head::Array(_) | Head::Map(_) => {
            *bytes = before;
            let mut json = Vec::new();
            write_json(bytes, 0, &mut json)?;
            // The parts are UTF-8: strings went through `text_of`, the rest is ours.
            Some(Value::Text(Cow::Owned(String::from_utf8_lossy(&json).into_owned())))
        }
    })
}

/// Text as it is; bytes that are no UTF-8 as base64.
pub(crate) fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| Cow::Owned(STANDARD.encode(bytes)), Cow::Borrowed)
}

fn write_json(bytes: &mut &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), Broken> {
    if depth > MAX_DEPTH {
        return Err(Broken);
    }
    match head(bytes)? {
        Head::Nil => write(&(), out),
        Head::Bool(flag) => write(&flag, out),
        Head::Int(number) => write(&number, out),
        Head::Large(number) => write(&number, out),
        Head::Float(number) if number.is_finite() => write(&number, out),
        Head::Float(number) => write(&number.to_string(), out),
        Head::Text(text) => write(&text_of(text), out),
        Head::Ext(_, data) => write(&STANDARD.encode(data), out),
        Head::Array(count) => {
            out.push(b'[');
            for at in 0..count {
                if at > 0 {
                    out.push(b',');
                }
                write_json(bytes, depth + 1, out)?;
            }
            out.push(b']');
        }
        Head::Map(count) => {
            out.push(b'{');
            for at in 0..count {
                if at > 0 {
                    out.push(b',');
                }
                key(bytes, out)?;
                out.push(b':');
                write_json(bytes, depth + 1, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// A key: JSON knows texts only. A list or map becomes an empty one: as text in text in text, each level would double the one below.
fn key(bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    if matches!(head(&mut &**bytes)?, Head::Array(_) | Head::Map(_)) {
        skip(bytes)?;
        write("", out);
        return Ok(());
    }
    let text = value(bytes)?.map_or(Cow::Borrowed("null"), Value::into_text);
    write(&text, out);
    Ok(())
}

fn write(value: &(impl serde::Serialize + ?Sized), out: &mut Vec<u8>) {
    // Strings, numbers, booleans and null always have a JSON form, and writing to a vector cannot fail.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> Option<String> {
        let mut rest = bytes;
        let value = value(&mut rest).unwrap();
        assert!(rest.is_empty());
        value.map(|value| value.into_text().into_owned())
    }

    /// Found by fuzzing: 464 bytes became more than 80 MiB.
    #[test]
    fn keys_within_keys_do_not_grow() {
        let nested = [vec![0x81; 24], vec![0xa1, b'k'], vec![0xc0; 24]].concat();
        assert_eq!(text(&nested).unwrap(), r#"{"":null}"#);
    }

    #[test]
    fn values_become_attributes() {
        for (bytes, want) in [
            (&b"\xc0"[..], None),
            (b"\xc3", Some("true")),
            (b"\x07", Some("7")),
            (b"\xff", Some("-1")),
            (b"\xcd\x01\x00", Some("256")),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", Some("18446744073709551615")),
            (b"\xd3\xff\xff\xff\xff\xff\xff\xff\xfe", Some("-2")),
            (b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", Some("1.5")),
            (b"\xa3abc", Some("abc")),
            (b"\xd9\x02\xc3\xa9", Some("é")),
            (b"\xc4\x01\xff", Some("/w==")),
            (b"\xd4\x01a", Some("YQ==")),
            (b"\x92\x01\xa1x", Some(r#"[1,"x"]"#)),
            (b"\x82\xa1a\xc0\x01\x90", Some(r#"{"a":null,"1":[]}"#)),
        ] {
            assert_eq!(text(bytes).as_deref(), want, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_broken_deep_or_large_is_refused() {
        for bytes in [&b""[..], b"\xc1", b"\xa3ab", b"\x92\x01", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xffx", b"\xcd\x01"] {
            assert_eq!(skip(&mut &*bytes), Err(Broken), "{bytes:?}");
            assert!(value(&mut &*bytes).is_err(), "{bytes:?}");
        }
        let deep = vec![0x91; 100_000];
        assert_eq!(Scan::new(1 << 20).end(&deep), Err(ScanError::Broken(Broken)));
        assert!(value(&mut &deep[..]).is_err());
        assert_eq!(Scan::new(100).end(b"\xdd\xff\xff\xff\xff"), Err(ScanError::TooLarge(100)));
        assert_eq!(Scan::new(100).end(b"\xdf\xff\xff\xff\xff"), Err(ScanError::TooLarge(100)));
        assert_eq!(Scan::new(100).end(b"\xdb\x00\x00\x00\x60"), Err(ScanError::TooLarge(100)));
        assert_eq!(Scan::new(100).end(b"\xdb\x00\x00\x00\x50"), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = skip(&mut &bytes[..]);
            let _ = value(&mut &bytes[..]);
        }

        #[test]
        fn pieces_do_not_matter_to_the_end(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let whole = Scan::new(60).end(&bytes);
            let mut scan = Scan::new(60);
            let mut found = Ok(None);
            for length in 0..=bytes.len() {
                found = scan.end(&bytes[..length]);
                if found != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(found.is_err(), whole.is_err());
            if let Ok(end) = whole {
                prop_assert_eq!(found, Ok(end));
            }
        }

        #[test]
        fn scanning_and_reading_agree(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let (mut scanned, mut read) = (&bytes[..], &bytes[..]);
            if skip(&mut scanned).is_ok() {
                prop_assert!(value(&mut read).is_ok());
                prop_assert_eq!(scanned.len(), read.len());
            }
        }
    }
}
