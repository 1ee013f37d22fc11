//! Columns: what the collector fills and the store encodes. A block is one table's rows, column by column, in the layout of
//! ClickHouse's Native format, so that encoding is little more than copying.

use std::collections::HashMap;
use std::fmt;

/// The type of a column, as ClickHouse names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `UInt8`
    UInt8,
    /// `UInt16`
    UInt16,
    /// `UInt32`
    UInt32,
    /// `UInt64`
    UInt64,
    /// `Int32`
    Int32,
    /// `Int64`
    Int64,
    /// `Float64`
    Float64,
    /// `String`
    String,
    /// `LowCardinality(String)`
    LowCardinality,
    /// `FixedString(n)`
    FixedString(u8),
    /// `UUID`, held as 16 bytes in the order of its text
    Uuid,
    /// `DateTime64(3)`, held as milliseconds
    DateTime64Millis,
    /// `DateTime64(9)`, held as nanoseconds
    DateTime64Nanos,
    /// `Enum8` with its names and values
    Enum8(&'static [(&'static str, i8)]),
    /// `Map(LowCardinality(String), String)`
    StringMap,
    /// `Array(T)`; `T` is none of LowCardinality, Map or Array
    Array(&'static ColumnType),
    /// `Array(LowCardinality(String))`
    LowCardinalityArray,
    /// `Array(Map(LowCardinality(String), String))`
    StringMapArray,
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::UInt8 => f.write_str("UInt8"),
            ColumnType::UInt16 => f.write_str("UInt16"),
            ColumnType::UInt32 => f.write_str("UInt32"),
            ColumnType::UInt64 => f.write_str("UInt64"),
            ColumnType::Int32 => f.write_str("Int32"),
            ColumnType::Int64 => f.write_str("Int64"),
            ColumnType::Float64 => f.write_str("Float64"),
            ColumnType::String => f.write_str("String"),
            ColumnType::LowCardinality => f.write_str("LowCardinality(String)"),
            ColumnType::FixedString(width) => write!(f, "FixedString({width})"),
            ColumnType::Uuid => f.write_str("UUID"),
            ColumnType::DateTime64Millis => f.write_str("DateTime64(3)"),
            ColumnType::DateTime64Nanos => f.write_str("DateTime64(9)"),
            ColumnType::Enum8(names) => {
                f.write_str("Enum8(")?;
                for (at, (name, value)) in names.iter().enumerate() {
                    write!(f, "{}'{name}' = {value}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            ColumnType::StringMap => f.write_str("Map(LowCardinality(String), String)"),
            ColumnType::Array(item) => write!(f, "Array({item})"),
            ColumnType::LowCardinalityArray => f.write_str("Array(LowCardinality(String))"),
            ColumnType::StringMapArray => f.write_str("Array(Map(LowCardinality(String), String))"),
        }
    }
}

/// Strings one after the other, each as Native writes it: its length as a varint, then its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    encoded: Vec<u8>,
    rows: usize,
}

impl Strings {
    /// Appends one string (any bytes).
    pub fn push(&mut self, value: &[u8]) {
        let mut length = value.len();
        while length >= 0x80 {
            self.encoded.push(length as u8 | 0x80);
            length >>= 7;
        }
        self.encoded.push(length as u8);
        self.encoded.extend_from_slice(value);
        self.rows += 1;
    }
    /// The encoded bytes.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }
    /// How many strings.
    pub fn len(&self) -> usize {
        self.rows
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
    /// The strings again, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.encoded.as_slice();
        std::iter::from_fn(move || {
            let (mut length, mut shift) = (0usize, 0);
            loop {
                let (&byte, tail) = rest.split_first()?;
                rest = tail;
                length |= usize::from(byte & 0x7F) << shift;
                if byte < 0x80 {
                    break;
                }
                shift += 7;
            }
            let (value, tail) = rest.split_at_checked(length)?;
            rest = tail;
            Some(value)
        })
    }
}

/// A dictionary of strings and, for each row, the index into it (`LowCardinality(String)`). Entry 0 is the empty string.
#[derive(Clone, Debug)]
pub struct Dictionary {
    keys: Strings,
    index: HashMap<Box<[u8]>, u32>,
    rows: Vec<u32>,
}

impl Default for Dictionary {
    fn default() -> Self {
        let mut keys = Strings::default();
        keys.push(b"");
        Dictionary { keys, index: HashMap::from([(Box::default(), 0)]), rows: Vec::new() }
    }
}

impl Dictionary {
    /// Appends a row.
    pub fn push(&mut self, value: &[u8]) {
        let at = match self.index.get(value) {
            Some(at) => *at,
            None => {
                let at = self.keys.len() as u32;
                self.keys.push(value);
                self.index.insert(value.into(), at);
                at
            }
        };
        self.rows.push(at);
    }
    /// The distinct strings; entry 0 is empty.
    pub fn keys(&self) -> &Strings {
        &self.keys
    }
    /// Per row, the index into [`Dictionary::keys`].
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }
}

/// Key/value pairs of many rows: `ends[i]` is the number of pairs in rows `0..=i`.
#[derive(Clone, Debug, Default)]
pub struct StringMaps {
    /// Cumulative number of pairs after each row.
    pub ends: Vec<u64>,
    /// All keys.
    pub keys: Dictionary,
    /// All values.
    pub values: Strings,
}

impl StringMaps {
    /// Appends one row. The pairs should be sorted by key, each key once.
    pub fn push<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (key, value) in pairs {
            self.keys.push(key.as_bytes());
            self.values.push(value.as_bytes());
        }
        self.ends.push(self.values.len() as u64);
    }
}

/// One column's rows.
#[derive(Clone, Debug)]
pub enum Column {
    /// `UInt8`, and `Enum8` by its bits
    UInt8(Vec<u8>),
    /// `UInt16`
    UInt16(Vec<u16>),
    /// `UInt32`
    UInt32(Vec<u32>),
    /// `UInt64`
    UInt64(Vec<u64>),
    /// `Int32`
    Int32(Vec<i32>),
    /// `Int64`, `DateTime64(3)` and `DateTime64(9)`
    Int64(Vec<i64>),
    /// `Float64`
    Float64(Vec<f64>),
    /// `String`
    String(Strings),
    /// `LowCardinality(String)`
    LowCardinality(Dictionary),
    /// `FixedString(width)` and `UUID` (width 16): `width` bytes a row
    Fixed {
        /// Bytes a row.
        width: usize,
        /// All rows.
        bytes: Vec<u8>,
    },
    /// `Map(LowCardinality(String), String)`
    StringMap(StringMaps),
    /// `Array(T)`
    Array {
        /// Cumulative number of items after each row.
        ends: Vec<u64>,
        /// All items.
        items: Box<Column>,
    },
}

impl Column {
    /// An empty column that can hold the type.
    pub fn of(kind: ColumnType) -> Column {
        match kind {
            ColumnType::UInt8 | ColumnType::Enum8(_) => Column::UInt8(Vec::new()),
            ColumnType::UInt16 => Column::UInt16(Vec::new()),
            ColumnType::UInt32 => Column::UInt32(Vec::new()),
            ColumnType::UInt64 => Column::UInt64(Vec::new()),
            ColumnType::Int32 => Column::Int32(Vec::new()),
            ColumnType::Int64 | ColumnType::DateTime64Millis | ColumnType::DateTime64Nanos => Column::Int64(Vec::new()),
            ColumnType::Float64 => Column::Float64(Vec::new()),
            ColumnType::String => Column::String(Strings::default()),
            ColumnType::LowCardinality => Column::LowCardinality(Dictionary::default()),
            ColumnType::FixedString(width) => Column::Fixed { width: usize::from(width), bytes: Vec::new() },
            ColumnType::Uuid => Column::Fixed { width: 16, bytes: Vec::new() },
            ColumnType::StringMap => Column::StringMap(StringMaps::default()),
            ColumnType::Array(item) => Column::Array { ends: Vec::new(), items: Box::new(Column::of(*item)) },
            ColumnType::LowCardinalityArray => Column::Array { ends: Vec::new(), items: Box::new(Column::of(ColumnType::LowCardinality)) },
            ColumnType::StringMapArray => Column::Array { ends: Vec::new(), items: Box::new(Column::of(ColumnType::StringMap)) },
        }
    }
    /// How many rows it holds.
    pub fn rows(&self) -> usize {
        match self {
            Column::UInt8(rows) => rows.len(),
            Column::UInt16(rows) => rows.len(),
            Column::UInt32(rows) => rows.len(),
            Column::UInt64(rows) => rows.len(),
            Column::Int32(rows) => rows.len(),
            Column::Int64(rows) => rows.len(),
            Column::Float64(rows) => rows.len(),
            Column::String(rows) => rows.len(),
            Column::LowCardinality(rows) => rows.rows().len(),
            Column::Fixed { width, bytes } => bytes.len() / (*width).max(1),
            Column::StringMap(rows) => rows.ends.len(),
            Column::Array { ends, .. } => ends.len(),
        }
    }
}

/// A column of a table: its name and type.
#[derive(Clone, Copy, Debug)]
pub struct ColumnSpec {
    /// The name in ClickHouse.
    pub name: &'static str,
    /// The type in ClickHouse.
    pub kind: ColumnType,
}

/// A telemetry table that intake writes.
#[derive(Debug)]
pub struct TableSpec {
    /// Its number in the WAL: frozen.
    pub number: u16,
    /// The name in ClickHouse.
    pub name: &'static str,
    /// The columns that are written, in order.
    pub columns: &'static [ColumnSpec],
}

impl TableSpec {
    /// Empty columns for this table.
    pub fn empty_columns(&self) -> Vec<Column> {
        self.columns.iter().map(|column| Column::of(column.kind)).collect()
    }
    /// Where a column stands, by name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// One table's rows, column by column.
#[derive(Clone, Debug)]
pub struct TableBlock {
    /// Whose rows they are.
    pub table: &'static TableSpec,
    /// One column for each of `table.columns`, all of the same length.
    pub columns: Vec<Column>,
}

/// A block whose columns do not fit its table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("block for {table}: column {column} has {rows} rows where {expected} were expected, or another type")]
pub struct BlockError {
    table: &'static str,
    column: &'static str,
    rows: usize,
    expected: usize,
}

impl TableBlock {
    /// An empty block.
    pub fn new(table: &'static TableSpec) -> Self {
        TableBlock { table, columns: table.empty_columns() }
    }
    /// How many rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, Column::rows)
    }
    /// Checks that every column stands for its spec and all have the same length.
    pub fn check(&self) -> Result<(), BlockError> {
        let expected = self.rows();
        for (at, spec) in self.table.columns.iter().enumerate() {
            let rows = self.columns.get(at).map_or(usize::MAX, Column::rows);
            let same_kind =
                self.columns.get(at).is_some_and(|column| std::mem::discriminant(column) == std::mem::discriminant(&Column::of(spec.kind)));
            if rows != expected || !same_kind {
                return Err(BlockError { table: self.table.name, column: spec.name, rows, expected });
            }
        }
        Ok(())
    }
}
