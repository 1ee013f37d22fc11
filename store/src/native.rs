//! ClickHouse's Native format: column blocks to bytes and back. In: [`model::columns::TableBlock`]; out: the bytes that
//! `INSERT ... FORMAT Native` takes over HTTP (no client revision), so blocks of one table may simply stand one after the other:
//! the engine squashes them into one part (tried: 100 blocks of 1,000 rows became one part, as fast as one block of 100,000).
//! Fails on blocks whose columns do not fit their table, and on bytes that are not what the table's columns say.

mod decode;
mod encode;
pub mod packed;

#[cfg(test)]
mod tests;

pub use decode::{DecodeError, decode};
pub use encode::{EncodeError, encode, size_hint};

use model::columns::TableSpec;

/// What a block's header says, as one number: xxh3-64 of the names and types of the columns in order. Blocks with the same table
/// and layout may share an insert.
pub fn layout(table: &TableSpec) -> u64 {
    let mut text = String::new();
    for column in table.columns {
        text.push_str(column.name);
        text.push(' ');
        text.push_str(&column.kind.to_string());
        text.push('\n');
    }
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

/// The version word that stands before the data of every column that holds a LowCardinality.
const SHARED_DICTIONARIES: u64 = 1;
/// LowCardinality flags: the keys stand in the block itself, none in a global dictionary; the low byte is the index width.
const HAS_ADDITIONAL_KEYS: u64 = 0x200;
const NEED_UPDATE_DICTIONARY: u64 = 0x400;
