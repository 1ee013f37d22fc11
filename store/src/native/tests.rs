//! The encoder against bytes that the engine itself wrote, and against the decoder.

use super::*;
use crate::wal::samples::{block_of, rows_of};
use model::columns::{Column, ColumnSpec, ColumnType, TableBlock};
use model::tables;
use proptest::prelude::*;

/// Bytes printed by the engine for `SELECT ... FORMAT Native`.
#[test]
fn the_engines_own_bytes_come_out() {
    static PAIR: TableSpec = TableSpec {
        number: 900,
        name: "pair",
        columns: &[
            ColumnSpec { name: "lc", kind: ColumnType::LowCardinality },
            ColumnSpec { name: "m", kind: ColumnType::StringMap },
            ColumnSpec { name: "u", kind: ColumnType::Uuid },
        ],
    };
    let mut block = TableBlock::new(&PAIR);
    for (text, value) in [("a", "x"), ("b", "y")] {
        match &mut block.columns[..] {
            [Column::LowCardinality(lc), Column::StringMap(map), Column::Fixed { bytes, .. }] => {
                lc.push(text.as_bytes());
                map.push([("k", value)]);
                bytes.extend_from_slice(&[0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF]);
            }
            other => panic!("{other:?}"),
        }
    }
    let mut bytes = Vec::new();
    encode(&block, &mut bytes).unwrap();
    let mut wanted = b"\x03\x02\x02lc\x16LowCardinality(String)\x01\0\0\0\0\0\0\0\x00\x06\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x00\x01a\x01b\x02\0\0\0\0\0\0\0\x01\x02".to_vec();
    wanted.extend_from_slice(b"\x01m\x23Map(LowCardinality(String), String)\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x00\x06\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x00\x01k\x02\0\0\0\0\0\0\0\x01\x01\x01x\x01y");
    wanted.extend_from_slice(b"\x01u\x04UUID");
    for _ in 0..2 {
        wanted.extend_from_slice(b"wfUD3\"\x11\x00\xff\xee\xdd\xcc\xbb\xaa\x99\x88");
    }
    assert_eq!(bytes, wanted);
}

#[test]
fn a_block_that_does_not_add_up_is_refused() {
    let mut block = block_of(&tables::SPANS, 3, 7);
    let at = tables::SPANS.position("attributes").unwrap();
    if let Column::StringMap(maps) = &mut block.columns[at] {
        maps.ends[2] += 1;
    }
    assert_eq!(encode(&block, &mut Vec::new()), Err(EncodeError::Shape { table: "spans", column: "attributes" }));
    let mut block = block_of(&tables::SPANS, 3, 7);
    block.columns[0] = Column::UInt8(vec![1, 2, 3]);
    assert!(matches!(encode(&block, &mut Vec::new()), Err(EncodeError::Block(_))));
    let mut block = block_of(&tables::SPANS, 1, 7);
    block.columns[tables::SPANS.position("kind").unwrap()] = Column::UInt8(vec![77]);
    assert!(encode(&block, &mut Vec::new()).is_err(), "an unknown enum value would be refused by ClickHouse");
}

#[test]
fn dictionaries_of_every_width_survive() {
    static ONE: TableSpec = TableSpec { number: 901, name: "one", columns: &[ColumnSpec { name: "lc", kind: ColumnType::LowCardinality }] };
    for keys in [1usize, 255, 256, 257, 65_535, 65_536, 70_000] {
        let mut block = TableBlock::new(&ONE);
        if let Column::LowCardinality(rows) = &mut block.columns[0] {
            (0..keys).for_each(|n| rows.push(n.to_string().as_bytes()));
        }
        let mut bytes = Vec::new();
        encode(&block, &mut bytes).unwrap();
        assert!(bytes.len() <= size_hint(&block));
        let back = decode(&bytes, &ONE).unwrap();
        assert_eq!(rows_of(&back[0]), rows_of(&block), "{keys} keys");
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same_rows(table in 0..tables::ALL.len(), rows in 0usize..20, seed: u64) {
        let block = block_of(tables::ALL[table], rows, seed);
        let mut bytes = Vec::new();
        encode(&block, &mut bytes).unwrap();
        prop_assert!(bytes.len() <= size_hint(&block) + 1024);
        encode(&block, &mut bytes).unwrap();
        let back = decode(&bytes, tables::ALL[table]).unwrap();
        let twice = rows_of(&block).into_iter().chain(rows_of(&block)).collect::<Vec<_>>();
        prop_assert_eq!(back.iter().flat_map(rows_of).collect::<Vec<_>>(), twice);
    }

    #[test]
    fn damaged_bytes_never_panic(seed: u64, at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = Vec::new();
        encode(&block_of(&tables::ERROR_EVENTS, 3, seed), &mut bytes).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = decode(&bytes, &tables::ERROR_EVENTS);
    }
}
