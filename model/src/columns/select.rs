//! Some rows of a column, appended to another one.

use super::{Column, Dictionary, StringMaps};

impl Column {
    /// Appends the rows of `from` that `keep` names, in order. A column of another type appends nothing.
    pub fn append_rows(&mut self, from: &Column, keep: &[bool]) {
        fn some<T: Copy>(to: &mut Vec<T>, from: &[T], keep: &[bool]) {
            to.extend(from.iter().zip(keep).filter(|(_, keep)| **keep).map(|(value, _)| *value));
        }
        match (self, from) {
            (Column::UInt8(to), Column::UInt8(from)) => some(to, from, keep),
            (Column::UInt16(to), Column::UInt16(from)) => some(to, from, keep),
            (Column::UInt32(to), Column::UInt32(from)) => some(to, from, keep),
            (Column::UInt64(to), Column::UInt64(from)) => some(to, from, keep),
            (Column::Int32(to), Column::Int32(from)) => some(to, from, keep),
            (Column::Int64(to), Column::Int64(from)) => some(to, from, keep),
            (Column::Float64(to), Column::Float64(from)) => some(to, from, keep),
            (Column::String(to), Column::String(from)) => {
                from.iter().zip(keep).filter(|(_, keep)| **keep).for_each(|(value, _)| to.push(value));
            }
            (Column::LowCardinality(to), Column::LowCardinality(from)) => append_words(to, from, keep),
            (Column::Fixed { bytes: to, .. }, Column::Fixed { width, bytes }) => {
                let rows = bytes.chunks_exact((*width).max(1)).zip(keep);
                rows.filter(|(_, keep)| **keep).for_each(|(value, _)| to.extend_from_slice(value));
            }
            (Column::StringMap(to), Column::StringMap(from)) => append_maps(to, from, keep),
            (Column::Array { ends: to_ends, items: to }, Column::Array { ends, items }) => {
                to.append_rows(items, &spread(ends, keep));
                let mut count = to_ends.last().copied().unwrap_or(0);
                to_ends.extend(lengths(ends).zip(keep).filter(|(_, keep)| **keep).map(|(length, _)| {
                    count += length;
                    count
                }));
            }
            // A block's columns are of its table's types.
            (_, _) => {}
        }
    }
}

fn append_words(to: &mut Dictionary, from: &Dictionary, keep: &[bool]) {
    let keys: Vec<&[u8]> = from.keys().iter().collect();
    for (at, _) in from.rows().iter().zip(keep).filter(|(_, keep)| **keep) {
        to.push(keys.get(*at as usize).copied().unwrap_or_default());
    }
}

fn append_maps(to: &mut StringMaps, from: &StringMaps, keep: &[bool]) {
    let pairs = spread(&from.ends, keep);
    append_words(&mut to.keys, &from.keys, &pairs);
    from.values.iter().zip(&pairs).filter(|(_, keep)| **keep).for_each(|(value, _)| to.values.push(value));
    let mut count = to.ends.last().copied().unwrap_or(0);
    for (length, _) in lengths(&from.ends).zip(keep).filter(|(_, keep)| **keep) {
        count += length;
        to.ends.push(count);
    }
    // Nothing may take the rows before for the last one.
    to.last = (to.values.len(), to.values.encoded.len());
    to.order = Default::default();
}

fn lengths(ends: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let mut before = 0;
    ends.iter().map(move |end| end - std::mem::replace(&mut before, *end))
}

/// For each item whether its row is kept.
fn spread(ends: &[u64], keep: &[bool]) -> Vec<bool> {
    lengths(ends).zip(keep).flat_map(|(length, keep)| std::iter::repeat_n(*keep, length as usize)).collect()
}
