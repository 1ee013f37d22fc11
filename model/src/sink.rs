//! The port that intake writes through: acknowledged means durable. `store` implements it with the write-ahead log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::columns::TableBlock;
use crate::labels::Labels;
use crate::query::SeriesSample;
use crate::tail::TailPolicy;
use crate::tenant::TenantId;
use crate::time::Timestamp;

/// xxh3-128 of a request's decompressed body: a sender that got no answer sends the same bytes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestHash(pub u128);

impl RequestHash {
    /// Of a body; `protocol` keeps the same bytes on two protocols apart.
    pub fn of(protocol: &str, body: &[u8]) -> Self {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.update(protocol.as_bytes());
        hasher.update(&[0]);
        hasher.update(body);
        RequestHash(hasher.digest128())
    }
}

/// What one accepted request stores: all of it or none.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Whose data it is.
    pub tenant: TenantId,
    /// The request's hash, where the protocol resends.
    pub request: Option<RequestHash>,
    /// When it arrived.
    pub arrived: Timestamp,
    /// The rows, one block per table.
    pub blocks: Vec<TableBlock>,
}

/// What became of an accepted batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk (fsynced) and will be in ClickHouse exactly once.
    Durable,
    /// The same request was accepted within the last ten minutes: acknowledged without a second write.
    Duplicate,
}

/// Why a batch was refused. Nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The log is at its cap because ClickHouse does not take rows fast enough, or not at all.
    #[error("the write-ahead log is full ({used} of {cap} bytes): ClickHouse is behind or unreachable; send again later")]
    LogFull {
        /// Bytes in the log.
        used: u64,
        /// The configured cap.
        cap: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is nearly full.
    #[error("the disk has {free} bytes left, less than the configured reserve of {reserve}; free some space")]
    DiskFull {
        /// Bytes left.
        free: u64,
        /// The configured reserve.
        reserve: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// Too much is waiting for the disk.
    #[error("too many requests are waiting for the disk; send again later")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The write or the fsync failed.
    #[error("the write-ahead log could not be written")]
    Io(#[from] std::io::Error),
    /// The blocks do not fit their tables: a defect on our side.
    #[error(transparent)]
    Block(#[from] crate::columns::BlockError),
}

impl Refusal {
    /// When the sender should try again.
    pub fn retry_after(&self) -> Duration {
        match self {
            Refusal::LogFull { retry_after, .. } | Refusal::DiskFull { retry_after, .. } | Refusal::Busy { retry_after } => *retry_after,
            Refusal::Stopping | Refusal::Io(_) | Refusal::Block(_) => Duration::from_secs(5),
        }
    }
}

/// Durable intake.
#[async_trait]
pub trait TelemetrySink: Send + Sync {
    /// Returns after the batch is durable, or refuses it whole. A batch without rows is `Durable` at once.
    async fn append(&self, batch: Batch) -> Result<Appended, Refusal>;

    /// Decides about rows of [`crate::tables::UNDECIDED_SPANS`] by this policy from now on; without one, all of them are kept.
    fn set_tail_policy(&self, _policy: Option<Arc<TailPolicy>>) {}
}

/// Writes series that Watchfire computes itself: recording rules, `ALERTS`, health checks.
#[async_trait]
pub trait SeriesSink: Send + Sync {
    /// Appends samples of gauge series; `labels` include `__name__`.
    async fn write(&self, tenant: &TenantId, samples: Vec<(Labels, SeriesSample)>) -> Result<(), Refusal>;
}

/// Writes counts that Watchfire makes itself, each as what was added: `increase` and `rate` add them up exactly, whatever restarts
/// lie between.
#[async_trait]
pub trait DeltaSink: Send + Sync {
    /// Appends samples of delta sums; `labels` include `__name__`. `request` names this very call: the same one sent again within
    /// ten minutes is stored once.
    async fn add(&self, tenant: &TenantId, samples: Vec<(Labels, SeriesSample)>, request: RequestHash) -> Result<(), Refusal>;
}
