//! Columns: what the collector fills and the store encodes. A block is one table's rows, column by column, in the layout of
//! ClickHouse's Native format, so that encoding is little more than copying.

mod select;
pub mod spare;

use std::fmt;
use std::hash::BuildHasher;
use std::io::Write;

use hashbrown::{DefaultHashBuilder, HashTable};

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
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        let mut length = value.len();
        if length < 0x80 {
            self.encoded.push(length as u8);
        } else {
            while length >= 0x80 {
                self.encoded.push(length as u8 | 0x80);
                length >>= 7;
            }
            self.encoded.push(length as u8);
        }
        self.encoded.extend_from_slice(value);
        self.rows += 1;
    }
    /// Appends what `value` displays as, without a string of its own.
    pub fn push_display(&mut self, value: impl fmt::Display) {
        let at = self.encoded.len();
        self.encoded.push(0);
        // Writing to a vector cannot fail; a failing `Display` leaves what it wrote.
        let _ = write!(self.encoded, "{value}");
        let length = self.encoded.len() - at - 1;
        if length < 0x80 {
            self.encoded[at] = length as u8;
            self.rows += 1;
        } else {
            let long = self.encoded.split_off(at);
            self.push(&long[1..]);
        }
    }
    /// Forgets the strings; the room for them stays.
    fn clear(&mut self) {
        self.encoded.clear();
        self.rows = 0;
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
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    keys: Strings,
    /// Where each key stands in `keys.encoded`.
    places: Vec<(u32, u32)>,
    /// Hash -> index into `places`.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    rows: Vec<u32>,
}

impl Dictionary {
    /// Appends a row. A row like the one before costs one comparison.
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        let guess = self.rows.last().copied().unwrap_or(0);
        self.push_like(guess, value);
    }
    /// Appends the last row once more; the empty string where there is none.
    #[inline]
    pub fn repeat(&mut self) {
        match self.rows.last() {
            Some(at) => self.rows.push(*at),
            None => self.push(b""),
        }
    }
    /// Appends a row that is probably entry `guess`.
    #[inline]
    fn push_like(&mut self, guess: u32, value: &[u8]) {
        let at = self.entry_like(guess, value);
        self.rows.push(at);
    }
    /// The entry of a value that is probably `guess`, added where there is none.
    #[inline]
    fn entry_like(&mut self, guess: u32, value: &[u8]) -> u32 {
        if self.key(guess).is_some_and(|key| key == value) { guess } else { self.find_or_add(value) }
    }
    #[inline]
    fn key(&self, at: u32) -> Option<&[u8]> {
        let (start, end) = *self.places.get(at as usize)?;
        self.keys.encoded.get(start as usize..end as usize)
    }
    fn find_or_add(&mut self, value: &[u8]) -> u32 {
        if self.places.is_empty() {
            self.add(b"");
        }
        let hash = self.hasher.hash_one(value);
        let (places, encoded) = (&self.places, &self.keys.encoded);
        let same = |at: &u32| places.get(*at as usize).is_some_and(|(start, end)| &encoded[*start as usize..*end as usize] == value);
        match self.index.find(hash, same) {
            Some(at) => *at,
            None => self.add(value),
        }
    }
    fn add(&mut self, value: &[u8]) -> u32 {
        let at = self.places.len() as u32;
        self.keys.push(value);
        let end = self.keys.encoded.len();
        self.places.push(((end - value.len()) as u32, end as u32));
        let (hasher, places, encoded) = (&self.hasher, &self.places, &self.keys.encoded);
        let hash = |at: &u32| places.get(*at as usize).map_or(0, |(start, end)| hasher.hash_one(&encoded[*start as usize..*end as usize]));
        self.index.insert_unique(hasher.hash_one(value), at, hash);
        at
    }
    /// Forgets rows and keys; the room for them stays.
    fn clear(&mut self) {
        self.keys.clear();
        self.places.clear();
        self.index.clear();
        self.rows.clear();
    }
    fn room(&self) -> usize {
        self.keys.encoded.capacity() + self.places.capacity() * 8 + self.index.capacity() * 5 + self.rows.capacity() * 4
    }
    /// The distinct strings; entry 0 is empty. None at all while there is no row.
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
    /// Where the last row's pairs and its values' bytes start.
    last: (usize, usize),
    /// The keys of the last row that was pushed unsorted, as they came, and the places that were kept of them, in their order.
    order: (Vec<u32>, Vec<u32>),
    scratch: Vec<u32>,
}

impl StringMaps {
    /// Maps out of their parts, as they stand in Native.
    pub fn from_parts(ends: Vec<u64>, keys: Dictionary, values: Strings) -> Self {
        let last = (values.len(), values.encoded.len());
        StringMaps { ends, keys, values, last, ..StringMaps::default() }
    }
    fn begin_row(&mut self) {
        self.last = (self.values.len(), self.values.encoded.len());
    }
    fn end_row(&mut self) {
        self.ends.push(self.values.len() as u64);
    }
    /// Appends one row. The pairs should be sorted by key, each key once.
    pub fn push<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
        self.begin_row();
        for (key, value) in pairs {
            self.keys.push(key.as_bytes());
            self.values.push(value.as_bytes());
        }
        self.end_row();
    }
    /// Appends one row of `count` pairs in any order: stored sorted by key, and of a key that stands twice its first pair. Rows mostly
    /// have the keys of the row before, in the same places: then a key costs one comparison and nothing is sorted.
    pub fn push_unsorted<'a>(&mut self, count: usize, key: impl Fn(usize) -> &'a [u8], mut value: impl FnMut(usize, &mut Strings)) {
        self.begin_row();
        let mut entries = std::mem::take(&mut self.scratch);
        entries.clear();
        for at in 0..count {
            let guess = self.order.0.get(at).copied().unwrap_or(0);
            entries.push(self.keys.entry_like(guess, key(at)));
        }
        if entries != self.order.0 {
            let (keys, kept) = (&mut self.order.0, &mut self.order.1);
            kept.clear();
            kept.extend(0..count as u32);
            kept.sort_by(|a, b| key(*a as usize).cmp(key(*b as usize)));
            kept.dedup_by_key(|at| entries[*at as usize]);
            std::mem::swap(keys, &mut entries);
        }
        for at in &self.order.1 {
            self.keys.rows.push(self.order.0[*at as usize]);
            value(*at as usize, &mut self.values);
        }
        self.scratch = entries;
        self.end_row();
    }
    /// Forgets the rows; the room for them stays.
    fn clear(&mut self) {
        self.ends.clear();
        self.keys.clear();
        self.values.clear();
        self.last = (0, 0);
        self.order.0.clear();
        self.order.1.clear();
    }
    fn room(&self) -> usize {
        self.ends.capacity() * 8 + self.keys.room() + self.values.encoded.capacity()
    }
    /// Appends the last row once more; an empty one where there is none.
    pub fn repeat_row(&mut self) {
        let (pairs, bytes) = if self.ends.is_empty() { (0, 0) } else { self.last };
        self.begin_row();
        self.values.rows += self.values.rows - pairs;
        self.keys.rows.extend_from_within(pairs..);
        self.values.encoded.extend_from_within(bytes..);
        self.end_row();
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

impl Column {
    /// Forgets the rows; the room for them stays.
    fn clear(&mut self) {
        match self {
            Column::UInt8(rows) => rows.clear(),
            Column::UInt16(rows) => rows.clear(),
            Column::UInt32(rows) => rows.clear(),
            Column::UInt64(rows) => rows.clear(),
            Column::Int32(rows) => rows.clear(),
            Column::Int64(rows) => rows.clear(),
            Column::Float64(rows) => rows.clear(),
            Column::String(rows) => rows.clear(),
            Column::LowCardinality(rows) => rows.clear(),
            Column::Fixed { bytes, .. } => bytes.clear(),
            Column::StringMap(rows) => rows.clear(),
            Column::Array { ends, items } => {
                ends.clear();
                items.clear();
            }
        }
    }
    /// About how many bytes it has room for.
    fn room(&self) -> usize {
        match self {
            Column::UInt8(rows) => rows.capacity(),
            Column::UInt16(rows) => rows.capacity() * 2,
            Column::UInt32(rows) => rows.capacity() * 4,
            Column::UInt64(rows) => rows.capacity() * 8,
            Column::Int32(rows) => rows.capacity() * 4,
            Column::Int64(rows) => rows.capacity() * 8,
            Column::Float64(rows) => rows.capacity() * 8,
            Column::String(rows) => rows.encoded.capacity(),
            Column::LowCardinality(rows) => rows.room(),
            Column::Fixed { bytes, .. } => bytes.capacity(),
            Column::StringMap(rows) => rows.room(),
            Column::Array { ends, items } => ends.capacity() * 8 + items.room(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(maps: &StringMaps) -> Vec<Vec<(String, String)>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let keys: Vec<String> = maps.keys.keys().iter().map(text).collect();
        let values: Vec<String> = maps.values.iter().map(text).collect();
        let mut start = 0;
        let row = |end: &u64| {
            let row = (start..*end as usize).map(|at| (keys[maps.keys.rows()[at] as usize].clone(), values[at].clone())).collect();
            start = *end as usize;
            row
        };
        maps.ends.iter().map(row).collect()
    }

    proptest! {
        #[test]
        fn unsorted_rows_are_stored_sorted_and_each_key_once(
            given in prop::collection::vec((prop::collection::vec(("[a-c]{0,2}", "[x-z]{0,3}"), 0..5), any::<bool>(), any::<bool>()), 0..12),
            used in 0usize..12,
        ) {
            let (mut maps, mut wanted) = (StringMaps::default(), Vec::new());
            for (pairs, _, _) in given.iter().take(used) {
                maps.push_unsorted(pairs.len(), |at| pairs[at].0.as_bytes(), |at, to| to.push(pairs[at].1.as_bytes()));
            }
            maps.clear();
            for (pairs, repeat, sorted) in &given {
                let mut row: Vec<(String, String)> = pairs.clone();
                row.sort_by(|a, b| a.0.cmp(&b.0));
                row.dedup_by(|later, first| later.0 == first.0);
                if *repeat {
                    maps.repeat_row();
                    let last = wanted.last().cloned().unwrap_or_default();
                    wanted.push(last);
                } else if *sorted {
                    maps.push(row.iter().map(|(key, value)| (key.as_str(), value.as_str())));
                    wanted.push(row);
                } else {
                    maps.push_unsorted(pairs.len(), |at| pairs[at].0.as_bytes(), |at, to| to.push(pairs[at].1.as_bytes()));
                    wanted.push(row);
                }
            }
            prop_assert_eq!(rows(&maps), wanted);
        }

        #[test]
        fn a_dictionary_gives_back_what_was_pushed(values in prop::collection::vec("[a-b]{0,3}", 0..50), used in 0usize..50) {
            let mut dictionary = Dictionary::default();
            values.iter().rev().take(used).for_each(|value| dictionary.push(value.as_bytes()));
            dictionary.clear();
            for (at, value) in values.iter().enumerate() {
                if at > 0 && values[at - 1] == *value { dictionary.repeat() } else { dictionary.push(value.as_bytes()) }
            }
            let keys: Vec<&[u8]> = dictionary.keys().iter().collect();
            let found: Vec<&[u8]> = dictionary.rows().iter().map(|at| keys[*at as usize]).collect();
            prop_assert_eq!(found, values.iter().map(String::as_bytes).collect::<Vec<_>>());
            prop_assert!(keys.is_empty() || keys[0].is_empty());
            prop_assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), keys.len());
        }
    }

    #[test]
    fn values_are_written_as_they_are_shown() {
        let (mut strings, wanted) = (Strings::default(), [i64::MIN.to_string(), "x".repeat(127), "y".repeat(128), f64::MAX.to_string()]);
        strings.push_display(i64::MIN);
        strings.push_display("x".repeat(127));
        strings.push_display("y".repeat(128));
        strings.push_display(f64::MAX);
        let found: Vec<&[u8]> = strings.iter().collect();
        assert_eq!(found, wanted.each_ref().map(|text| text.as_bytes()));
        assert_eq!(strings.len(), 4);
    }
}
