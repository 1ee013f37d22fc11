//! Made-up blocks for the tests of the encoder and of the log: every kind of value, the awkward ones often.

use model::columns::{Column, ColumnType, TableBlock, TableSpec};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// 2026-11-01T00:00:00Z.
pub const START_SECS: i64 = 1_793_491_200;

/// One value, in a form that can be compared and sorted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Int(i128),
    Bits(u64),
    Bytes(Vec<u8>),
    Map(Vec<(Vec<u8>, Vec<u8>)>),
    Array(Vec<Cell>),
}

/// A block of so many rows, the same for the same seed. Times lie within three days, retention classes are two.
pub fn block_of(table: &'static TableSpec, rows: usize, seed: u64) -> TableBlock {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut block = TableBlock::new(table);
    for (spec, column) in table.columns.iter().zip(&mut block.columns) {
        for _ in 0..rows {
            push(column, spec.name, spec.kind, &mut rng);
        }
    }
    block
}

fn bytes(rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..6) {
        0 => Vec::new(),
        1 => vec![0xFF, 0xFE, 0, b'\n'],
        2 => "Zahl \u{1F600} = 1; 'quoted\\'".into(),
        3 => vec![b'x'; rng.random_range(120..300)],
        _ => format!("value-{}", rng.random_range(0..40)).into_bytes(),
    }
}

fn push(column: &mut Column, name: &str, kind: ColumnType, rng: &mut StdRng) {
    match column {
        Column::UInt8(rows) => rows.push(match kind {
            ColumnType::Enum8(names) => names[rng.random_range(0..names.len())].1 as u8,
            _ => rng.random_range(0..=1),
        }),
        Column::UInt16(rows) => rows.push(if name == "retention_days" { rng.random_range(20_000..20_002) } else { rng.random() }),
        Column::UInt32(rows) => rows.push(rng.random()),
        Column::UInt64(rows) => rows.push(rng.random()),
        Column::Int32(rows) => rows.push(rng.random()),
        Column::Int64(rows) => rows.push(match kind {
            ColumnType::DateTime64Millis => START_SECS * 1_000 + rng.random_range(0..3 * 86_400_000),
            ColumnType::DateTime64Nanos => START_SECS * 1_000_000_000 + rng.random_range(0..3 * 86_400_000_000_000),
            _ => rng.random(),
        }),
        Column::Float64(rows) => rows.push(match rng.random_range(0..5) {
            0 => f64::from_bits(0x7FF0_0000_0000_0002),
            1 => f64::NEG_INFINITY,
            2 => -0.0,
            _ => rng.random_range(-1e6..1e6),
        }),
        Column::String(rows) => rows.push(&bytes(rng)),
        Column::LowCardinality(rows) if name == "tenant" => rows.push(b"default"),
        Column::LowCardinality(rows) => rows.push(&bytes(rng)),
        Column::Fixed { width, bytes } => {
            let zero = rng.random_range(0..4) == 0;
            bytes.extend((0..*width).map(|_| if zero { 0 } else { rng.random::<u8>() }));
        }
        Column::StringMap(maps) => {
            for key in 0..rng.random_range(0..4u8) {
                let name = [b'k', key, 0xFF];
                maps.keys.push(if key == 0 { b"" } else { &name });
                maps.values.push(&bytes(rng));
            }
            maps.ends.push(maps.values.len() as u64);
        }
        Column::Array { ends, items } => {
            let item = match kind {
                ColumnType::Array(item) => *item,
                ColumnType::LowCardinalityArray => ColumnType::LowCardinality,
                _ => ColumnType::StringMap,
            };
            for _ in 0..rng.random_range(0..3) {
                push(items, "", item, rng);
            }
            ends.push(items.rows() as u64);
        }
    }
}

/// The rows of a block, cell by cell.
pub fn rows_of(block: &TableBlock) -> Vec<Vec<Cell>> {
    let columns: Vec<Vec<Cell>> = block.columns.iter().map(cells).collect();
    (0..block.rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

fn slices<T: Clone>(ends: &[u64], items: &[T]) -> Vec<Vec<T>> {
    let mut from = 0;
    ends.iter().map(|end| items[std::mem::replace(&mut from, *end as usize)..*end as usize].to_vec()).collect()
}

fn cells(column: &Column) -> Vec<Cell> {
    match column {
        Column::UInt8(rows) => rows.iter().map(|v| Cell::Int((*v).into())).collect(),
        Column::UInt16(rows) => rows.iter().map(|v| Cell::Int((*v).into())).collect(),
        Column::UInt32(rows) => rows.iter().map(|v| Cell::Int((*v).into())).collect(),
        Column::UInt64(rows) => rows.iter().map(|v| Cell::Int((*v).into())).collect(),
        Column::Int32(rows) => rows.iter().map(|v| Cell::Int((*v).into())).collect(),
        Column::Int64(rows) => rows.iter().map(|v| Cell::Int((*v).into())).collect(),
        Column::Float64(rows) => rows.iter().map(|v| Cell::Bits(v.to_bits())).collect(),
        Column::String(rows) => rows.iter().map(|v| Cell::Bytes(v.to_vec())).collect(),
        Column::LowCardinality(rows) => {
            let keys: Vec<&[u8]> = rows.keys().iter().collect();
            rows.rows().iter().map(|at| Cell::Bytes(keys[*at as usize].to_vec())).collect()
        }
        Column::Fixed { width, bytes } => bytes.chunks(*width).map(|v| Cell::Bytes(v.to_vec())).collect(),
        Column::StringMap(maps) => {
            let keys: Vec<&[u8]> = maps.keys.keys().iter().collect();
            let pairs: Vec<(Vec<u8>, Vec<u8>)> =
                maps.keys.rows().iter().zip(maps.values.iter()).map(|(at, value)| (keys[*at as usize].to_vec(), value.to_vec())).collect();
            slices(&maps.ends, &pairs).into_iter().map(Cell::Map).collect()
        }
        Column::Array { ends, items } => slices(ends, &cells(items)).into_iter().map(Cell::Array).collect(),
    }
}
