//! Little-endian fields in and out of bytes, for the log's own records.

/// Bytes that end too early or hold a text that is no UTF-8.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the record ends in the middle of a field")]
pub struct ShortRecord;

/// Reads fields from the front.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], ShortRecord> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(ShortRecord)?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ShortRecord> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(ShortRecord)?;
        self.0 = rest;
        Ok(*taken)
    }
    pub fn u8(&mut self) -> Result<u8, ShortRecord> {
        Ok(self.array::<1>()?[0])
    }
    pub fn u16(&mut self) -> Result<u16, ShortRecord> {
        self.array().map(u16::from_le_bytes)
    }
    pub fn u32(&mut self) -> Result<u32, ShortRecord> {
        self.array().map(u32::from_le_bytes)
    }
    pub fn u64(&mut self) -> Result<u64, ShortRecord> {
        self.array().map(u64::from_le_bytes)
    }
    pub fn u128(&mut self) -> Result<u128, ShortRecord> {
        self.array().map(u128::from_le_bytes)
    }
    pub fn i64(&mut self) -> Result<i64, ShortRecord> {
        self.array().map(i64::from_le_bytes)
    }
    /// A text with its length as `u16`.
    pub fn text(&mut self) -> Result<&'a str, ShortRecord> {
        let length = self.u16()?;
        std::str::from_utf8(self.bytes(length.into())?).map_err(|_| ShortRecord)
    }
}

/// Appends a text with its length as `u16`; what is longer is cut at a character.
pub fn put_text(text: &str, out: &mut Vec<u8>) {
    let kept = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    out.extend_from_slice(&(kept.len() as u16).to_le_bytes());
    out.extend_from_slice(kept.as_bytes());
}
