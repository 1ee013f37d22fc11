//! What blocks on their way into the log say of series and of their samples: the columns that the head reads, of `series`, `points` and
//! `histograms`.

use model::columns::{Column, Dictionary, StringMaps, TableBlock};

use super::NO_VALUE;

/// The columns of `series` that say what a series is.
pub struct SeriesRows<'a> {
    pub metric: &'a Dictionary,
    pub fingerprint: &'a [u64],
    pub kind: &'a [u8],
    pub temporality: &'a [u8],
    pub monotonic: &'a [u8],
    pub labels: &'a StringMaps,
}

/// The columns of `points` that make samples.
pub struct PointRows<'a> {
    pub metric: &'a Dictionary,
    pub fingerprint: &'a [u64],
    pub ts: &'a [i64],
    pub value: &'a [f64],
    pub flags: &'a [u32],
}

/// The columns of `histograms` that make samples. Of an array: where each row's items end, and all items.
pub struct HistogramRows<'a> {
    pub metric: &'a Dictionary,
    pub fingerprint: &'a [u64],
    ts: &'a [i64],
    count: &'a [u64],
    sum: &'a [f64],
    bounds: (&'a [u64], &'a [f64]),
    counts: (&'a [u64], &'a [u64]),
    flags: &'a [u32],
}

/// A row of `histograms`.
#[derive(Clone, Copy, Debug)]
pub struct HistogramRow<'a> {
    /// Milliseconds.
    pub at: i64,
    /// Upper bounds, ascending, without +Inf.
    pub bounds: &'a [f64],
    /// One more than bounds, each for itself; empty where there is only a count.
    pub counts: &'a [u64],
    /// All observations.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// No recorded value: the series ended.
    pub stale: bool,
}

fn column<'a>(block: &'a TableBlock, name: &str) -> Option<&'a Column> {
    block.columns.get(block.table.position(name)?)
}

fn texts<'a>(block: &'a TableBlock, name: &str) -> Option<&'a Dictionary> {
    match column(block, name)? {
        Column::LowCardinality(rows) => Some(rows),
        _ => None,
    }
}

fn wholes<'a>(block: &'a TableBlock, name: &str) -> Option<&'a [u64]> {
    match column(block, name)? {
        Column::UInt64(rows) => Some(rows.as_slice()),
        _ => None,
    }
}

fn times(block: &TableBlock) -> Option<&[i64]> {
    match column(block, "ts")? {
        Column::Int64(rows) => Some(rows.as_slice()),
        _ => None,
    }
}

fn floats<'a>(block: &'a TableBlock, name: &str) -> Option<&'a [f64]> {
    match column(block, name)? {
        Column::Float64(rows) => Some(rows.as_slice()),
        _ => None,
    }
}

fn flags(block: &TableBlock) -> Option<&[u32]> {
    match column(block, "flags")? {
        Column::UInt32(rows) => Some(rows.as_slice()),
        _ => None,
    }
}

fn array<'a>(block: &'a TableBlock, name: &str) -> Option<(&'a [u64], &'a Column)> {
    match column(block, name)? {
        Column::Array { ends, items } => Some((ends.as_slice(), &**items)),
        _ => None,
    }
}

impl<'a> SeriesRows<'a> {
    pub fn of(block: &'a TableBlock) -> Option<Self> {
        let bytes = |name| match column(block, name)? {
            Column::UInt8(rows) => Some(rows.as_slice()),
            _ => None,
        };
        let Column::StringMap(labels) = column(block, "labels")? else { return None };
        Some(SeriesRows {
            metric: texts(block, "metric")?,
            fingerprint: wholes(block, "fingerprint")?,
            kind: bytes("kind")?,
            temporality: bytes("temporality")?,
            monotonic: bytes("monotonic")?,
            labels,
        })
    }
}

impl<'a> PointRows<'a> {
    pub fn of(block: &'a TableBlock) -> Option<Self> {
        Some(PointRows {
            metric: texts(block, "metric")?,
            fingerprint: wholes(block, "fingerprint")?,
            ts: times(block)?,
            value: floats(block, "value")?,
            flags: flags(block)?,
        })
    }
}

impl<'a> HistogramRows<'a> {
    pub fn of(block: &'a TableBlock) -> Option<Self> {
        let (bound_ends, Column::Float64(bounds)) = array(block, "bounds")? else { return None };
        let (count_ends, Column::UInt64(counts)) = array(block, "counts")? else { return None };
        Some(HistogramRows {
            metric: texts(block, "metric")?,
            fingerprint: wholes(block, "fingerprint")?,
            ts: times(block)?,
            count: wholes(block, "count")?,
            sum: floats(block, "sum")?,
            bounds: (bound_ends, bounds.as_slice()),
            counts: (count_ends, counts.as_slice()),
            flags: flags(block)?,
        })
    }

    /// The row of a number.
    pub fn row(&self, row: usize) -> HistogramRow<'a> {
        HistogramRow {
            at: self.ts[row],
            bounds: items(self.bounds, row),
            counts: items(self.counts, row),
            count: self.count[row],
            sum: self.sum[row],
            stale: self.flags[row] & NO_VALUE != 0,
        }
    }
}

fn items<'a, T>((ends, items): (&'a [u64], &'a [T]), row: usize) -> &'a [T] {
    let from = row.checked_sub(1).map_or(0, |before| ends[before]);
    &items[from as usize..ends[row] as usize]
}
