//! Columns to Native bytes.

use model::columns::{BlockError, Column, ColumnType, Dictionary, StringMaps, TableBlock};

use super::{HAS_ADDITIONAL_KEYS, NEED_UPDATE_DICTIONARY, SHARED_DICTIONARIES};

/// A block that cannot be written as Native: a defect of whoever built it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EncodeError {
    /// A column does not fit the table.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The ends of an array or map do not add up to its items, an index points past its dictionary, or a width is wrong.
    #[error("block for {table}: the inner lengths of column {column} do not agree with each other")]
    Shape {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
}

/// Appends one Native block to `out`; a block without rows appends nothing.
pub fn encode(block: &TableBlock, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    block.check()?;
    for (spec, column) in block.table.columns.iter().zip(&block.columns) {
        if !well_formed(column, spec.kind) {
            return Err(EncodeError::Shape { table: block.table.name, column: spec.name });
        }
    }
    let rows = block.rows();
    if rows == 0 {
        return Ok(());
    }
    out.reserve(size_hint(block));
    varint(block.columns.len(), out);
    varint(rows, out);
    for (spec, column) in block.table.columns.iter().zip(&block.columns) {
        string(spec.name, out);
        string(&spec.kind.to_string(), out);
        if has_dictionary(spec.kind) {
            out.extend_from_slice(&SHARED_DICTIONARIES.to_le_bytes());
        }
        data(column, spec.kind, out);
    }
    Ok(())
}

/// About how many bytes the block takes encoded, without encoding it. Never much less than the truth.
pub fn size_hint(block: &TableBlock) -> usize {
    let header: usize = block.table.columns.iter().map(|column| column.name.len() + 64).sum();
    header + block.columns.iter().map(column_size).sum::<usize>()
}

fn column_size(column: &Column) -> usize {
    match column {
        Column::UInt8(rows) => rows.len(),
        Column::UInt16(rows) => rows.len() * 2,
        Column::UInt32(rows) => rows.len() * 4,
        Column::Int32(rows) => rows.len() * 4,
        Column::UInt64(rows) => rows.len() * 8,
        Column::Int64(rows) => rows.len() * 8,
        Column::Float64(rows) => rows.len() * 8,
        Column::String(rows) => rows.encoded().len(),
        Column::LowCardinality(rows) => dictionary_size(rows),
        Column::Fixed { bytes, .. } => bytes.len(),
        Column::StringMap(rows) => rows.ends.len() * 8 + dictionary_size(&rows.keys) + rows.values.encoded().len(),
        Column::Array { ends, items } => ends.len() * 8 + column_size(items),
    }
}

fn dictionary_size(rows: &Dictionary) -> usize {
    rows.keys().encoded().len() + rows.rows().len() * index_width(rows.keys().len()) + 24
}

fn has_dictionary(kind: ColumnType) -> bool {
    match kind {
        ColumnType::LowCardinality | ColumnType::LowCardinalityArray | ColumnType::StringMap | ColumnType::StringMapArray => true,
        ColumnType::Array(item) => has_dictionary(*item),
        ColumnType::UInt8
        | ColumnType::UInt16
        | ColumnType::UInt32
        | ColumnType::UInt64
        | ColumnType::Int32
        | ColumnType::Int64
        | ColumnType::Float64
        | ColumnType::String
        | ColumnType::FixedString(_)
        | ColumnType::Uuid
        | ColumnType::DateTime64Millis
        | ColumnType::DateTime64Nanos
        | ColumnType::Enum8(_) => false,
    }
}

/// The type of an array's items; `None` where the type is no array.
pub(super) fn item_kind(kind: ColumnType) -> Option<ColumnType> {
    match kind {
        ColumnType::Array(item) => Some(*item),
        ColumnType::LowCardinalityArray => Some(ColumnType::LowCardinality),
        ColumnType::StringMapArray => Some(ColumnType::StringMap),
        ColumnType::UInt8
        | ColumnType::UInt16
        | ColumnType::UInt32
        | ColumnType::UInt64
        | ColumnType::Int32
        | ColumnType::Int64
        | ColumnType::Float64
        | ColumnType::String
        | ColumnType::LowCardinality
        | ColumnType::FixedString(_)
        | ColumnType::Uuid
        | ColumnType::DateTime64Millis
        | ColumnType::DateTime64Nanos
        | ColumnType::Enum8(_)
        | ColumnType::StringMap => None,
    }
}

fn well_formed(column: &Column, kind: ColumnType) -> bool {
    match column {
        Column::Fixed { width, bytes } => {
            let wanted = match kind {
                ColumnType::FixedString(width) => usize::from(width),
                _ => 16,
            };
            *width == wanted && wanted > 0 && bytes.len() % wanted == 0
        }
        Column::UInt8(rows) => match kind {
            ColumnType::Enum8(names) => rows.iter().all(|row| names.iter().any(|(_, value)| *value as u8 == *row)),
            _ => true,
        },
        Column::LowCardinality(rows) => dictionary_ok(rows),
        Column::StringMap(maps) => {
            ends_ok(&maps.ends, maps.values.len()) && maps.keys.rows().len() == maps.values.len() && dictionary_ok(&maps.keys)
        }
        Column::Array { ends, items } => {
            ends_ok(ends, items.rows())
                && item_kind(kind).is_some_and(|item| {
                    std::mem::discriminant(items.as_ref()) == std::mem::discriminant(&Column::of(item)) && well_formed(items, item)
                })
        }
        Column::UInt16(_)
        | Column::UInt32(_)
        | Column::UInt64(_)
        | Column::Int32(_)
        | Column::Int64(_)
        | Column::Float64(_)
        | Column::String(_) => true,
    }
}

fn dictionary_ok(rows: &Dictionary) -> bool {
    let keys = rows.keys().len();
    rows.rows().iter().all(|at| (*at as usize) < keys)
}

fn ends_ok(ends: &[u64], items: usize) -> bool {
    ends.is_sorted() && ends.last().copied().unwrap_or(0) == items as u64
}

fn data(column: &Column, kind: ColumnType, out: &mut Vec<u8>) {
    match column {
        Column::UInt8(rows) => out.extend_from_slice(rows),
        Column::UInt16(rows) => out.extend(rows.iter().flat_map(|v| v.to_le_bytes())),
        Column::UInt32(rows) => out.extend(rows.iter().flat_map(|v| v.to_le_bytes())),
        Column::UInt64(rows) => out.extend(rows.iter().flat_map(|v| v.to_le_bytes())),
        Column::Int32(rows) => out.extend(rows.iter().flat_map(|v| v.to_le_bytes())),
        Column::Int64(rows) => out.extend(rows.iter().flat_map(|v| v.to_le_bytes())),
        Column::Float64(rows) => out.extend(rows.iter().flat_map(|v| v.to_le_bytes())),
        Column::String(rows) => out.extend_from_slice(rows.encoded()),
        Column::LowCardinality(rows) => dictionary(rows, out),
        Column::Fixed { bytes, .. } if kind == ColumnType::Uuid => uuids(bytes, out),
        Column::Fixed { bytes, .. } => out.extend_from_slice(bytes),
        Column::StringMap(maps) => string_maps(maps, out),
        Column::Array { ends, items } => {
            out.extend(ends.iter().flat_map(|v| v.to_le_bytes()));
            data(items, item_kind(kind).unwrap_or(kind), out);
        }
    }
}

/// A UUID is two little-endian halves, the upper one first.
fn uuids(bytes: &[u8], out: &mut Vec<u8>) {
    for half in bytes.chunks_exact(8) {
        out.extend(half.iter().rev());
    }
}

fn string_maps(maps: &StringMaps, out: &mut Vec<u8>) {
    out.extend(maps.ends.iter().flat_map(|v| v.to_le_bytes()));
    dictionary(&maps.keys, out);
    out.extend_from_slice(maps.values.encoded());
}

/// Bytes of one index into a dictionary of so many keys.
fn index_width(keys: usize) -> usize {
    if keys <= 1 << 8 {
        1
    } else if keys <= 1 << 16 {
        2
    } else {
        4
    }
}

/// Keys and indices; nothing at all where there is no row.
fn dictionary(rows: &Dictionary, out: &mut Vec<u8>) {
    if rows.rows().is_empty() {
        return;
    }
    let keys = rows.keys();
    let width = index_width(keys.len());
    let code = width.trailing_zeros() as u64;
    out.extend_from_slice(&(HAS_ADDITIONAL_KEYS | NEED_UPDATE_DICTIONARY | code).to_le_bytes());
    out.extend_from_slice(&(keys.len() as u64).to_le_bytes());
    out.extend_from_slice(keys.encoded());
    out.extend_from_slice(&(rows.rows().len() as u64).to_le_bytes());
    match width {
        1 => out.extend(rows.rows().iter().map(|at| *at as u8)),
        2 => out.extend(rows.rows().iter().flat_map(|at| (*at as u16).to_le_bytes())),
        _ => out.extend(rows.rows().iter().flat_map(|at| at.to_le_bytes())),
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    varint(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
