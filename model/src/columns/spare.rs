//! Columns whose rows are encoded, kept for the rows of the next request: memory that is fresh from the system costs about as much as
//! filling it (a fifth of intake's CPU, measured with `perf`). One per process, as the allocator is; bounded, the oldest go first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::{Column, ColumnSpec, TableBlock, TableSpec};

/// Most memory of spare columns, in bytes.
const MOST: usize = 12 << 20;
/// Most blocks whose columns are kept: each question looks at them.
const BLOCKS: usize = 64;
/// Columns of a table that take more are given back to the allocator: few requests are so large.
const LARGEST: usize = 2 << 20;

static SPARE: Mutex<Spare> = Mutex::new(Spare { kept: VecDeque::new(), bytes: 0 });

struct Spare {
    kept: VecDeque<Kept>,
    bytes: usize,
}

struct Kept {
    of: &'static [ColumnSpec],
    columns: Vec<Column>,
    bytes: usize,
}

/// Empty columns of the table that have room already, if there are any.
pub fn take(table: &TableSpec) -> Option<Vec<Column>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner).take(table)
}

/// Keeps the columns of a block that nobody needs any more. The rows are forgotten.
pub fn give(block: TableBlock) {
    let kept = Kept::new(block);
    if (1..=LARGEST).contains(&kept.bytes) {
        // What has to go is freed when the lock is.
        let _gone = SPARE.lock().unwrap_or_else(PoisonError::into_inner).give(kept);
    }
}

impl Kept {
    fn new(block: TableBlock) -> Self {
        let mut columns = block.columns;
        columns.iter_mut().for_each(Column::clear);
        let bytes = columns.iter().map(Column::room).sum();
        Kept { of: block.table.columns, columns, bytes }
    }
}

impl Spare {
    fn take(&mut self, table: &TableSpec) -> Option<Vec<Column>> {
        // The last ones are most likely in the processor's cache.
        let at = self.kept.iter().rposition(|kept| std::ptr::eq(kept.of, table.columns))?;
        let found = self.kept.remove(at)?;
        self.bytes -= found.bytes;
        Some(found.columns)
    }

    fn give(&mut self, kept: Kept) -> Vec<Kept> {
        self.bytes += kept.bytes;
        self.kept.push_back(kept);
        let mut gone = Vec::new();
        while (self.bytes > MOST || self.kept.len() > BLOCKS)
            && let Some(oldest) = self.kept.pop_front()
        {
            self.bytes -= oldest.bytes;
            gone.push(oldest);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{LOGS, SPANS, UNDECIDED_SPANS};

    fn block(table: &'static TableSpec, rows: usize) -> TableBlock {
        let mut block = TableBlock::new(table);
        for column in &mut block.columns {
            if let Column::Int64(times) = column {
                times.resize(rows, 7);
            }
        }
        block
    }

    #[test]
    fn columns_come_back_empty_and_for_their_own_table_only() {
        let mut spare = Spare { kept: VecDeque::new(), bytes: 0 };
        assert!(spare.take(&LOGS).is_none());
        spare.give(Kept::new(block(&UNDECIDED_SPANS, 100)));
        assert!(spare.take(&LOGS).is_none());
        let found = spare.take(&SPANS).expect("spans that wait for a decision have the columns of spans");
        assert!(found.iter().all(|column| column.rows() == 0) && found.iter().map(Column::room).sum::<usize>() >= 800);
        assert_eq!((spare.bytes, spare.kept.len()), (0, 0));
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_go_first() {
        let mut spare = Spare { kept: VecDeque::new(), bytes: 0 };
        spare.give(Kept::new(block(&LOGS, 10)));
        let gone: usize = (0..200).map(|_| spare.give(Kept::new(block(&SPANS, 20_000))).len()).sum();
        assert!(spare.bytes <= MOST && spare.bytes + LARGEST > MOST);
        assert_eq!(spare.kept.len() + gone, 201);
        assert!(spare.take(&LOGS).is_none(), "it was the oldest");
        (0..200).for_each(|_| drop(spare.give(Kept::new(block(&SPANS, 1)))));
        assert_eq!(spare.kept.len(), BLOCKS);
    }
}
