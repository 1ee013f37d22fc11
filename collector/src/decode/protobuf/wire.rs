//! The protobuf wire format: fields of a message one after the other. In: bytes. Out: numbers and slices of them. Fails: with
//! the message's name, the field and what is wrong.

use std::borrow::Cow;

/// Bytes that are not the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}: {problem}", field(*.number))]
pub(crate) struct WireError {
    message: &'static str,
    number: u32,
    problem: &'static str,
}

fn field(number: u32) -> String {
    if number == 0 { String::new() } else { format!(" field {number}") }
}

/// The fields of one message that are still to be read.
pub(crate) struct Message<'a> {
    name: &'static str,
    rest: &'a [u8],
}

/// A field.
pub(crate) struct Field<'a> {
    message: &'static str,
    /// Its number.
    pub(crate) number: u32,
    data: Wire<'a>,
}

enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

#[inline]
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(u64::from(first));
    }
    long_varint(bytes)
}

fn long_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * at);
        if *byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
    }
    None
}

impl<'a> Message<'a> {
    /// Of a message's bytes; `name` is what errors call it.
    pub(crate) fn new(name: &'static str, bytes: &'a [u8]) -> Self {
        Message { name, rest: bytes }
    }
    /// The bytes that are still to be read.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }
    #[cold]
    fn fail<T>(&self, number: u32, problem: &'static str) -> Result<T, WireError> {
        Err(WireError { message: self.name, number, problem })
    }
    /// The next field; `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Some(key) = varint(&mut self.rest) else {
            return self.fail(0, "a field's key is cut short");
        };
        let Ok(number) = u32::try_from(key >> 3) else {
            return self.fail(0, "a field number is out of range");
        };
        if number == 0 {
            return self.fail(0, "a field has the number 0");
        }
        let data = match key & 7 {
            0 => match varint(&mut self.rest) {
                Some(value) => Wire::Varint(value),
                None => return self.fail(number, "a number is cut short or longer than ten bytes"),
            },
            1 => Wire::Fixed64(u64::from_le_bytes(self.fixed(number)?)),
            5 => Wire::Fixed32(u32::from_le_bytes(self.fixed(number)?)),
            2 => {
                let split = varint(&mut self.rest)
                    .and_then(|length| usize::try_from(length).ok())
                    .and_then(|length| self.rest.split_at_checked(length));
                let Some((bytes, rest)) = split else {
                    return self.fail(number, "it is announced to be longer than the rest of the message");
                };
                self.rest = rest;
                Wire::Bytes(bytes)
            }
            3 | 4 => return self.fail(number, "it is a group, which OTLP does not use"),
            _ => return self.fail(number, "its wire type does not exist"),
        };
        Ok(Some(Field { message: self.name, number, data }))
    }
    #[inline]
    fn fixed<const N: usize>(&mut self, number: u32) -> Result<[u8; N], WireError> {
        match self.rest.split_first_chunk::<N>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(*bytes)
            }
            None => self.fail(number, "a number is cut short"),
        }
    }
}

impl<'a> Field<'a> {
    #[cold]
    fn fail<T>(&self, problem: &'static str) -> Result<T, WireError> {
        Err(WireError { message: self.message, number: self.number, problem })
    }
    /// An error about this field.
    pub(crate) fn error(&self, problem: &'static str) -> WireError {
        WireError { message: self.message, number: self.number, problem }
    }
    /// `uint64`, `int64`, `bool`, enums.
    #[inline]
    pub(crate) fn varint(&self) -> Result<u64, WireError> {
        match self.data {
            Wire::Varint(value) => Ok(value),
            Wire::Fixed64(_) | Wire::Fixed32(_) | Wire::Bytes(_) => self.fail("a varint was expected"),
        }
    }
    /// `int32` and enums: the low 32 bits.
    #[inline]
    pub(crate) fn int32(&self) -> Result<i32, WireError> {
        self.varint().map(|value| value as i32)
    }
    /// `uint32`: the low 32 bits.
    #[inline]
    pub(crate) fn uint32(&self) -> Result<u32, WireError> {
        self.varint().map(|value| value as u32)
    }
    /// `sint32`.
    #[inline]
    pub(crate) fn sint32(&self) -> Result<i32, WireError> {
        self.varint().map(|value| zigzag(value) as i32)
    }
    /// `fixed64` and `sfixed64`.
    #[inline]
    pub(crate) fn fixed64(&self) -> Result<u64, WireError> {
        match self.data {
            Wire::Fixed64(value) => Ok(value),
            Wire::Varint(_) | Wire::Fixed32(_) | Wire::Bytes(_) => self.fail("eight bytes were expected"),
        }
    }
    /// `double`.
    #[inline]
    pub(crate) fn double(&self) -> Result<f64, WireError> {
        self.fixed64().map(f64::from_bits)
    }
    /// `fixed32`.
    #[inline]
    pub(crate) fn fixed32(&self) -> Result<u32, WireError> {
        match self.data {
            Wire::Fixed32(value) => Ok(value),
            Wire::Varint(_) | Wire::Fixed64(_) | Wire::Bytes(_) => self.fail("four bytes were expected"),
        }
    }
    /// `bytes`.
    #[inline]
    pub(crate) fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.data {
            Wire::Bytes(bytes) => Ok(bytes),
            Wire::Varint(_) | Wire::Fixed64(_) | Wire::Fixed32(_) => self.fail("bytes were expected"),
        }
    }
    /// `bytes`, as records hold them.
    #[inline]
    pub(crate) fn id(&self) -> Result<Cow<'a, [u8]>, WireError> {
        self.bytes().map(Cow::Borrowed)
    }
    /// `string`.
    #[inline]
    pub(crate) fn text(&self) -> Result<Cow<'a, str>, WireError> {
        self.str().map(Cow::Borrowed)
    }
    /// `string`.
    #[inline]
    pub(crate) fn str(&self) -> Result<&'a str, WireError> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(text) => Ok(text),
            Err(_) => self.fail("the text is not UTF-8"),
        }
    }
    /// A message inside.
    #[inline]
    pub(crate) fn message(&self, name: &'static str) -> Result<Message<'a>, WireError> {
        self.bytes().map(|bytes| Message::new(name, bytes))
    }
    /// `repeated fixed64` or `repeated double`, packed or one of many; at most `limit` in all.
    pub(crate) fn fixed64s(&self, limit: usize, mut push: impl FnMut(u64) -> usize) -> Result<(), WireError> {
        let bytes = match self.data {
            Wire::Fixed64(value) => {
                return if push(value) > limit { self.fail("it holds more items than a histogram may have buckets") } else { Ok(()) };
            }
            Wire::Bytes(bytes) => bytes,
            Wire::Varint(_) | Wire::Fixed32(_) => return self.fail("packed numbers of eight bytes were expected"),
        };
        let (words, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return self.fail("packed numbers of eight bytes were expected");
        }
        for word in words {
            if push(u64::from_le_bytes(*word)) > limit {
                return self.fail("it holds more items than a histogram may have buckets");
            }
        }
        Ok(())
    }
    /// `repeated uint64` and its like, packed or one of many; at most `limit` in all.
    pub(crate) fn varints(&self, limit: usize, mut push: impl FnMut(u64) -> usize) -> Result<(), WireError> {
        let mut bytes = match self.data {
            Wire::Varint(value) => {
                return if push(value) > limit { self.fail("it holds more items than a histogram may have buckets") } else { Ok(()) };
            }
            Wire::Bytes(bytes) => bytes,
            Wire::Fixed64(_) | Wire::Fixed32(_) => return self.fail("packed varints were expected"),
        };
        while !bytes.is_empty() {
            match varint(&mut bytes) {
                None => return self.fail("a packed number is cut short"),
                Some(value) if push(value) > limit => return self.fail("it holds more items than a histogram may have buckets"),
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// The number behind a zigzag varint.
pub(crate) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<u32>, String> {
        let (mut message, mut numbers) = (Message::new("Span", bytes), Vec::new());
        loop {
            match message.next() {
                Ok(Some(field)) => numbers.push(field.number),
                Ok(None) => return Ok(numbers),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    #[test]
    fn what_is_broken_is_named() {
        assert_eq!(all(&[0x08, 0x01, 0x12, 0x01, b'a', 0x1d, 0, 0, 0, 0]), Ok(vec![1, 2, 3]));
        for (bytes, words) in [
            (&[0x80u8][..], "Span: a field's key is cut short"),
            (&[0x08, 0x80], "Span field 1: a number is cut short"),
            (&[0x09, 1, 2], "Span field 1: a number is cut short"),
            (&[0x12, 0x05, b'a'], "Span field 2: it is announced to be longer"),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "Span field 2: it is announced to be longer"),
            (&[0x0b], "Span field 1: it is a group"),
            (&[0x0e], "Span field 1: its wire type does not exist"),
            (&[0x02, 0x00], "Span: a field has the number 0"),
        ] {
            let found = all(bytes).unwrap_err();
            assert!(found.starts_with(words), "{found}");
        }
    }

    #[test]
    fn a_known_field_has_one_wire_type() {
        let mut message = Message::new("Span", &[0x12, 0x02, 0xff, 0xfe]);
        let field = message.next().unwrap().unwrap();
        assert_eq!(field.str().unwrap_err().to_string(), "Span field 2: the text is not UTF-8");
        assert_eq!(field.varint().unwrap_err().to_string(), "Span field 2: a varint was expected");
        assert_eq!(field.bytes(), Ok(&[0xff, 0xfe][..]));
    }

    #[test]
    fn packed_and_single_numbers_are_the_same() {
        let mut found = Vec::new();
        let mut message = Message::new("m", &[0x0a, 0x03, 0x01, 0x80, 0x01, 0x08, 0x05]);
        while let Some(field) = message.next().unwrap() {
            let push = |value| {
                found.push(value);
                found.len()
            };
            field.varints(9, push).unwrap();
        }
        assert_eq!(found, [1, 128, 5]);
        assert_eq!((zigzag(0), zigzag(1), zigzag(2), zigzag(u64::MAX)), (0, -1, 1, i64::MIN));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let _ = all(&bytes);
        }
    }
}
