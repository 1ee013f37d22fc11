//! What can be configured about the log.

use std::path::PathBuf;
use std::time::Duration;

/// How the log works. All sizes in bytes.
#[derive(Clone, Debug)]
pub struct WalConfig {
    /// Its folder; made if missing. One process at a time.
    pub dir: PathBuf,
    /// This node's id: the first part of every deduplication token, unique among the nodes that write to one ClickHouse.
    pub node: String,
    /// A segment is closed once it is larger than this.
    pub segment_bytes: u64,
    /// Refuse while the segments hold more than this.
    pub max_bytes: u64,
    /// Refuse while more blocks than this wait for ClickHouse (each takes 40 bytes of memory).
    pub max_blocks: u64,
    /// Refuse while the disk has less than this left.
    pub disk_reserve_bytes: u64,
    /// Refuse while this many encoded bytes wait for the disk.
    pub waiting_bytes: u64,
    /// How long the hash of an accepted request is remembered.
    pub request_window: Duration,
    /// How many hashes at most; past it the oldest are forgotten early.
    pub max_requests: usize,
    /// How many batches are encoded at the same time.
    pub encoders: usize,
    /// When blocks are sent on.
    pub batch: BatchLimits,
    /// An insert that takes longer is given up and sent again.
    pub insert_timeout: Duration,
    /// First and longest pause before an insert that failed is sent again.
    pub retry: (Duration, Duration),
    /// What a sender that is refused is told to wait.
    pub retry_after: Duration,
}

/// When the blocks that wait for a table make an insert.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// As soon as there are this many rows.
    pub rows: u64,
    /// Or this many bytes.
    pub bytes: u64,
    /// Or when the first has waited this long.
    pub linger: Duration,
}

impl WalConfig {
    /// The defaults, in `dir`: segments of 64 MiB, at most 8 GiB and 4 million blocks, 1 GiB of the disk left free, 256 MiB waiting,
    /// hashes for 10 minutes (at most a million), inserts of 100,000 rows, 32 MiB or one second, given up after
    /// five minutes, sent again after 250 ms to 30 s.
    pub fn new(dir: PathBuf, node: &str) -> Self {
        const MIB: u64 = 1 << 20;
        WalConfig {
            dir,
            node: node.to_owned(),
            segment_bytes: 64 * MIB,
            max_bytes: 8192 * MIB,
            max_blocks: 4_000_000,
            disk_reserve_bytes: 1024 * MIB,
            waiting_bytes: 256 * MIB,
            request_window: Duration::from_secs(600),
            max_requests: 1_000_000,
            encoders: 2,
            batch: BatchLimits { rows: 100_000, bytes: 32 * MIB, linger: Duration::from_secs(1) },
            insert_timeout: Duration::from_secs(300),
            retry: (Duration::from_millis(250), Duration::from_secs(30)),
            retry_after: Duration::from_secs(5),
        }
    }
}
