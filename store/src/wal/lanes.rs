//! Which blocks go into the next insert. Two lanes per table: what just arrived, and the backlog that an outage left. As long as
//! there is a backlog the lanes take turns, so that fresh rows are seen soon and the backlog still shrinks. Pure.

use std::collections::VecDeque;

use model::time::Timestamp;

use super::config::BatchLimits;
use super::record::BlockRef;

/// When the fresh lane holds this many full inserts, it has fallen behind: what is in it becomes backlog.
const BEHIND: u64 = 4;

/// The blocks of one table that wait.
#[derive(Debug, Default)]
pub struct Lanes {
    fresh: Lane,
    backlog: Lane,
    backlog_next: bool,
}

#[derive(Debug, Default)]
struct Lane {
    blocks: VecDeque<BlockRef>,
    rows: u64,
    bytes: u64,
}

impl Lane {
    fn push(&mut self, block: BlockRef) {
        self.rows += u64::from(block.rows);
        self.bytes += u64::from(block.length);
        self.blocks.push_back(block);
    }

    fn holds(&self, limits: &BatchLimits, times: u64) -> bool {
        self.rows >= limits.rows.saturating_mul(times) || self.bytes >= limits.bytes.saturating_mul(times)
    }

    /// From the front, all of one layout and within the limits, but at least one.
    fn take(&mut self, limits: &BatchLimits) -> Vec<BlockRef> {
        let (mut taken, mut rows, mut bytes) = (Vec::<BlockRef>::new(), 0u64, 0u64);
        while let Some(next) = self.blocks.front() {
            let (more_rows, more_bytes) = (rows + u64::from(next.rows), bytes + u64::from(next.length));
            let fits = more_rows <= limits.rows && more_bytes <= limits.bytes;
            if taken.first().is_some_and(|first| first.layout != next.layout || !fits) {
                break;
            }
            (rows, bytes) = (more_rows, more_bytes);
            taken.extend(self.blocks.pop_front());
        }
        self.rows -= rows;
        self.bytes -= bytes;
        taken
    }
}

impl Lanes {
    /// A block that was just made durable.
    pub fn push_fresh(&mut self, block: BlockRef) {
        self.fresh.push(block);
    }

    /// A block from before the start.
    pub fn push_backlog(&mut self, block: BlockRef) {
        self.backlog.push(block);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.fresh.blocks.is_empty() && self.backlog.blocks.is_empty()
    }

    /// Whether the next insert need not wait for more rows.
    pub fn is_due(&self, limits: &BatchLimits) -> bool {
        !self.backlog.blocks.is_empty() || self.fresh.holds(limits, 1)
    }

    /// Whether there is enough for an insert as large as they may be.
    pub fn has_whole(&self, limits: &BatchLimits) -> bool {
        [&self.backlog, &self.fresh].into_iter().any(|lane| !lane.blocks.is_empty() && lane.holds(limits, 1))
    }

    /// The arrival of the oldest block that waits.
    pub fn oldest(&self) -> Option<Timestamp> {
        let fronts = [self.fresh.blocks.front(), self.backlog.blocks.front()];
        fronts.into_iter().flatten().map(|block| block.arrived).min()
    }

    /// The blocks of the next insert; none if nothing waits.
    pub fn take(&mut self, limits: &BatchLimits) -> Vec<BlockRef> {
        if self.fresh.holds(limits, BEHIND) {
            let behind = std::mem::take(&mut self.fresh);
            behind.blocks.into_iter().for_each(|block| self.backlog.push(block));
        }
        let from_backlog = !self.backlog.blocks.is_empty() && (self.backlog_next || self.fresh.blocks.is_empty());
        self.backlog_next = !from_backlog;
        if from_backlog { self.backlog.take(limits) } else { self.fresh.take(limits) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const LIMITS: BatchLimits = BatchLimits { rows: 100, bytes: 10_000, linger: Duration::from_secs(1) };

    fn block(n: u64, rows: u32, length: u32, layout: u32) -> BlockRef {
        BlockRef { segment: 1, offset: n, length, rows, checksum: 0, layout, arrived: Timestamp::from_secs(n as i64) }
    }

    #[test]
    fn after_an_outage_fresh_rows_and_the_backlog_take_turns() {
        let mut lanes = Lanes::default();
        for n in 0..1_000 {
            lanes.push_fresh(block(n, 50, 10, 0));
        }
        let mut served = Vec::new();
        for round in 0..4 {
            lanes.push_fresh(block(2_000 + round, 50, 10, 0));
            served.push(lanes.take(&LIMITS)[0].offset);
        }
        assert_eq!(served[0], 0, "the oldest first: {served:?}");
        assert!(served[1] >= 2_000 || served[2] >= 2_000, "fresh rows do not wait for the backlog: {served:?}");
        assert!(served.iter().filter(|at| **at < 2_000).count() >= 2, "and the backlog shrinks: {served:?}");
        assert_eq!(lanes.oldest(), Some(Timestamp::from_secs(served.iter().filter(|at| **at < 2_000).count() as i64 * 2)));
    }

    #[test]
    fn one_block_over_the_limit_goes_alone() {
        let mut lanes = Lanes::default();
        lanes.push_fresh(block(0, 300, 1, 0));
        lanes.push_fresh(block(1, 1, 1, 0));
        assert!(lanes.is_due(&LIMITS));
        assert_eq!(lanes.take(&LIMITS).len(), 1);
        assert!(!lanes.is_due(&LIMITS));
    }

    proptest! {
        #[test]
        fn every_block_is_taken_once_and_within_the_limits(
            blocks in prop::collection::vec((1u32..150, 1u32..6_000, 0u32..2, any::<bool>()), 0..60),
        ) {
            let mut lanes = Lanes::default();
            for (n, (rows, length, layout, fresh)) in blocks.iter().enumerate() {
                let block = block(n as u64, *rows, *length, *layout);
                if *fresh { lanes.push_fresh(block) } else { lanes.push_backlog(block) }
            }
            let mut seen = Vec::new();
            while !lanes.is_empty() {
                let taken = lanes.take(&LIMITS);
                prop_assert!(!taken.is_empty());
                let rows: u64 = taken.iter().map(|b| u64::from(b.rows)).sum();
                let bytes: u64 = taken.iter().map(|b| u64::from(b.length)).sum();
                prop_assert!(taken.len() == 1 || (rows <= LIMITS.rows && bytes <= LIMITS.bytes));
                prop_assert!(taken.iter().all(|b| b.layout == taken[0].layout));
                seen.extend(taken.iter().map(|b| b.offset));
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..blocks.len() as u64).collect::<Vec<_>>());
        }
    }
}
