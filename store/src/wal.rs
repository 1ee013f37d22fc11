//! The write-ahead log: what stands between an accepted request and ClickHouse. In: [`model::sink::Batch`]es; out: large inserts
//! with deduplication tokens. Acknowledged means fsynced; after that every row reaches ClickHouse exactly once, through crashes of
//! either side. Fails by refusing a batch whole ([`model::sink::Refusal`]), never by dropping one that was acknowledged.
//!
//! On disk (`WalConfig::dir`): `segments/*.wal` hold the accepted batches, `segments/*.requests` the request hashes of segments that
//! are gone, `batches/*.log` which blocks went into which insert, `aside/` damaged segments, `quarantine/` inserts that ClickHouse
//! refuses for good.
//!
//! The way: [`sink`] encodes -> [`appender`] writes and fsyncs groups of records -> [`lanes`] queue the blocks per table ->
//! [`writer`] plans a batch, logs it ([`batchlog`]), sends it, logs that it is done -> [`segments`] deletes what is done.

pub(crate) mod appender;
pub(crate) mod batchlog;
pub(crate) mod caps;
pub(crate) mod codec;
pub(crate) mod config;
pub(crate) mod file;
pub(crate) mod frame;
pub(crate) mod lanes;
pub(crate) mod metrics;
pub(crate) mod open;
pub(crate) mod quarantine;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod requests;
pub(crate) mod segments;
pub mod series;
pub(crate) mod sink;
pub(crate) mod tail;
pub mod verdict;
pub mod writer;

#[cfg(test)]
#[path = "../tests/store/samples.rs"]
#[allow(missing_docs)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use config::{BatchLimits, WalConfig};
pub use open::{OpenError, OpenReport};
pub use series::{WalSeries, WalSeriesConfig};
pub use sink::{StopReport, Wal, WalHealth};
pub use writer::{BlockInsert, InsertError};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a panic elsewhere while it was held does not spread.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
