//! Native bytes to columns: for whoever must look again into blocks that were written (and for the tests of the encoder).

use model::columns::{Column, ColumnType, Dictionary, StringMaps, Strings, TableBlock, TableSpec};

use super::encode::item_kind;
use super::{HAS_ADDITIONAL_KEYS, SHARED_DICTIONARIES};

/// Bytes that are not Native blocks of the table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Native block for {table}, byte {at}: {what}")]
pub struct DecodeError {
    table: &'static str,
    at: usize,
    what: String,
}

/// All blocks in `bytes`, which hold exactly the table's columns in its order.
pub fn decode(bytes: &[u8], table: &'static TableSpec) -> Result<Vec<TableBlock>, DecodeError> {
    let mut input = Input { bytes, at: 0, table: table.name };
    let mut blocks = Vec::new();
    while input.at < bytes.len() {
        let columns = input.varint()?;
        let rows = input.varint()?;
        if columns != table.columns.len() {
            return Err(input.fail(format!("{columns} columns where the table has {}", table.columns.len())));
        }
        let mut block = TableBlock { table, columns: Vec::with_capacity(columns) };
        for spec in table.columns {
            input.expect_text(spec.name)?;
            input.expect_text(&spec.kind.to_string())?;
            // Every type that holds a dictionary has one version word before all its data.
            if spec.kind.to_string().contains("LowCardinality") && rows > 0 && input.u64()? != SHARED_DICTIONARIES {
                return Err(input.fail("an unknown LowCardinality version"));
            }
            block.columns.push(input.column(spec.kind, rows)?);
        }
        blocks.push(block);
    }
    Ok(blocks)
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    table: &'static str,
}

impl<'a> Input<'a> {
    fn fail(&self, what: impl Into<String>) -> DecodeError {
        DecodeError { table: self.table, at: self.at, what: what.into() }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.fail(format!("{length} more bytes were expected")))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn many(&mut self, rows: usize, width: usize) -> Result<&'a [u8], DecodeError> {
        let length = rows.checked_mul(width).ok_or_else(|| self.fail("too many rows"))?;
        self.take(length)
    }

    fn varint(&mut self) -> Result<usize, DecodeError> {
        let (mut value, mut shift) = (0usize, 0u32);
        loop {
            let byte = self.take(1)?[0];
            value |= usize::from(byte & 0x7F).checked_shl(shift).ok_or_else(|| self.fail("a length that is too long"))?;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        let mut word = [0; 8];
        word.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(word))
    }

    fn expect_text(&mut self, wanted: &str) -> Result<(), DecodeError> {
        let length = self.varint()?;
        let text = self.take(length)?;
        if text == wanted.as_bytes() {
            return Ok(());
        }
        Err(self.fail(format!("`{}` where `{wanted}` was expected", String::from_utf8_lossy(text))))
    }

    fn ends(&mut self, rows: usize) -> Result<(Vec<u64>, usize), DecodeError> {
        let ends = words(self.many(rows, 8)?, u64::from_le_bytes);
        let items = usize::try_from(ends.last().copied().unwrap_or(0)).map_err(|_| self.fail("too many items"))?;
        Ok((ends, items))
    }

    fn strings(&mut self, rows: usize) -> Result<Strings, DecodeError> {
        let mut strings = Strings::default();
        for _ in 0..rows {
            let length = self.varint()?;
            strings.push(self.take(length)?);
        }
        Ok(strings)
    }

    fn dictionary(&mut self, rows: usize) -> Result<Dictionary, DecodeError> {
        let mut out = Dictionary::default();
        if rows == 0 {
            return Ok(out);
        }
        let flags = self.u64()?;
        let width = match flags & 0xFF {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => return Err(self.fail("an unknown index width")),
        };
        if flags & HAS_ADDITIONAL_KEYS == 0 {
            return Err(self.fail("a dictionary without keys"));
        }
        let count = self.u64()? as usize;
        let keys = self.strings(count)?;
        let keys: Vec<&[u8]> = keys.iter().collect();
        if self.u64()? != rows as u64 {
            return Err(self.fail("a dictionary with another number of rows"));
        }
        for index in self.many(rows, width)?.chunks_exact(width) {
            let at = index.iter().rev().fold(0usize, |value, byte| value << 8 | usize::from(*byte));
            let key = keys.get(at).ok_or_else(|| self.fail("an index past its dictionary"))?;
            out.push(key);
        }
        Ok(out)
    }

    fn column(&mut self, kind: ColumnType, rows: usize) -> Result<Column, DecodeError> {
        Ok(match kind {
            ColumnType::UInt8 | ColumnType::Enum8(_) => Column::UInt8(self.take(rows)?.to_vec()),
            ColumnType::UInt16 => Column::UInt16(words(self.many(rows, 2)?, u16::from_le_bytes)),
            ColumnType::UInt32 => Column::UInt32(words(self.many(rows, 4)?, u32::from_le_bytes)),
            ColumnType::UInt64 => Column::UInt64(words(self.many(rows, 8)?, u64::from_le_bytes)),
            ColumnType::Int32 => Column::Int32(words(self.many(rows, 4)?, i32::from_le_bytes)),
            ColumnType::Int64 | ColumnType::DateTime64Millis | ColumnType::DateTime64Nanos => {
                Column::Int64(words(self.many(rows, 8)?, i64::from_le_bytes))
            }
            ColumnType::Float64 => Column::Float64(words(self.many(rows, 8)?, f64::from_le_bytes)),
            ColumnType::String => Column::String(self.strings(rows)?),
            ColumnType::LowCardinality => Column::LowCardinality(self.dictionary(rows)?),
            ColumnType::FixedString(width) => {
                let width = usize::from(width);
                Column::Fixed { width, bytes: self.many(rows, width)?.to_vec() }
            }
            ColumnType::Uuid => {
                let halves = self.many(rows, 16)?.chunks_exact(8);
                Column::Fixed { width: 16, bytes: halves.flat_map(|half| half.iter().rev().copied()).collect() }
            }
            ColumnType::StringMap => {
                let (ends, pairs) = self.ends(rows)?;
                let keys = self.dictionary(pairs)?;
                Column::StringMap(StringMaps::from_parts(ends, keys, self.strings(pairs)?))
            }
            ColumnType::Array(_) | ColumnType::LowCardinalityArray | ColumnType::StringMapArray => {
                let (ends, count) = self.ends(rows)?;
                let item = item_kind(kind).ok_or_else(|| self.fail("an array of nothing"))?;
                Column::Array { ends, items: Box::new(self.column(item, count)?) }
            }
        })
    }
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|word| read(*word)).collect()
}
