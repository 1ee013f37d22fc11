//! A made-up ClickHouse that treats tokens as the real one does, and a folder to open logs in.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::columns::{Column, TableBlock, TableSpec};
use model::ids::SequentialIds;
use model::sink::{Batch, RequestHash};
use model::tables::{HISTOGRAMS, POINTS};
use model::tenant::TenantId;
use model::time::{SimulatedClock, Timestamp};
use prometheus::Registry;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::wal::samples::block_of;
use crate::wal::{BlockInsert, InsertError, OpenError, OpenReport, Wal, WalConfig, lock};

/// Where the simulated clock starts.
pub const START: Timestamp = Timestamp::from_secs(1_793_491_200);

/// `count` row ids that belong to number `n`.
pub fn ids(n: u64, count: u64) -> Vec<u64> {
    (0..count).map(|row| n * 1_000 + row).collect()
}

/// A batch of points and histograms with these row ids.
pub fn batch(ids: &[u64], request: Option<u64>) -> Batch {
    let block = |table: &'static TableSpec| {
        let mut block = block_of(table, ids.len(), ids.first().copied().unwrap_or(0));
        block.columns[table.position("fingerprint").unwrap()] = Column::UInt64(ids.to_vec());
        block
    };
    Batch {
        tenant: TenantId::default(),
        request: request.map(|n| RequestHash::of("test", &n.to_le_bytes())),
        arrived: START,
        blocks: vec![block(&POINTS), TableBlock::new(&model::tables::SPANS), block(&HISTOGRAMS)],
    }
}

/// The row ids in Native bytes.
pub fn row_ids(table: &'static TableSpec, bytes: &[u8]) -> Vec<u64> {
    // Spans are told apart by their duration.
    let at = table.position("fingerprint").or(table.position("duration")).unwrap();
    let blocks = crate::native::decode(&crate::native::packed::unpack(bytes).unwrap(), table).unwrap();
    blocks
        .iter()
        .flat_map(|block| match &block.columns[at] {
            Column::UInt64(ids) => ids.clone(),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Stores rows, drops what comes under a known token, notes when the bytes under a token change, and fails as it is told.
#[derive(Debug)]
pub struct ClickHouse {
    refuse_points: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    rows: HashMap<&'static str, Vec<u64>>,
    seen: HashMap<String, Bytes>,
    changed: Vec<String>,
    calls: usize,
    fail_before: f64,
    fail_after: f64,
    rng: StdRng,
}

impl Default for ClickHouse {
    fn default() -> Self {
        ClickHouse::failing(0, 0.0, 0.0)
    }
}

impl ClickHouse {
    /// Fails with these probabilities before and after the rows are stored.
    pub fn failing(seed: u64, fail_before: f64, fail_after: f64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let inner = Inner { rows: HashMap::new(), seen: HashMap::new(), changed: Vec::new(), calls: 0, fail_before, fail_after, rng };
        ClickHouse { refuse_points: false, inner: Mutex::new(inner) }
    }
    /// Refuses every insert into `points` for good.
    pub fn refusing_points(self) -> Self {
        ClickHouse { refuse_points: true, ..self }
    }
    /// No more failures.
    pub fn heal(&self) {
        let mut inner = lock(&self.inner);
        (inner.fail_before, inner.fail_after) = (0.0, 0.0);
    }
    /// How often an insert was sent.
    pub fn calls(&self) -> usize {
        lock(&self.inner).calls
    }
    /// What `sample_rate` of all stored spans adds up to.
    pub fn weight(&self) -> u64 {
        let inner = lock(&self.inner);
        let rates = |bytes: &Bytes| -> Option<u64> {
            let plain = crate::native::packed::unpack(bytes).ok()?;
            let spans = &model::tables::SPANS;
            let at = spans.position("sample_rate").unwrap();
            let blocks = crate::native::decode(&plain, spans).ok()?;
            let sum = |block: &TableBlock| match &block.columns[at] {
                Column::UInt32(rates) => rates.iter().map(|rate| u64::from(*rate)).sum::<u64>(),
                other => panic!("{other:?}"),
            };
            Some(blocks.iter().map(sum).sum())
        };
        inner.seen.values().filter_map(rates).sum()
    }
    /// The row ids of a table, sorted.
    pub fn stored(&self, table: &str) -> Vec<u64> {
        let mut rows = lock(&self.inner).rows.get(table).cloned().unwrap_or_default();
        rows.sort_unstable();
        rows
    }
    /// The table holds exactly these rows, each once, and no token was ever used for other bytes.
    #[track_caller]
    pub fn assert_stored(&self, table: &str, wanted: &[u64]) {
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        assert_eq!(self.stored(table), wanted);
        let changed = lock(&self.inner).changed.clone();
        assert!(changed.is_empty(), "other bytes under the same token: {changed:?}");
    }
}

#[async_trait]
impl BlockInsert for ClickHouse {
    async fn insert(&self, table: &'static TableSpec, token: &str, bytes: Bytes) -> Result<(), InsertError> {
        tokio::task::yield_now().await;
        if self.refuse_points && table.name == "points" {
            return Err(InsertError { retryable: false, message: "no such column".into() });
        }
        {
            let mut inner = lock(&self.inner);
            inner.calls += 1;
            let chance = inner.fail_before;
            if inner.rng.random_bool(chance) {
                return Err(InsertError { retryable: true, message: "not reached".into() });
            }
            match inner.seen.get(token) {
                Some(before) if *before != bytes => inner.changed.push(token.to_owned()),
                Some(_) => {}
                None => {
                    inner.seen.insert(token.to_owned(), bytes.clone());
                    inner.rows.entry(table.name).or_default().extend(row_ids(table, &bytes));
                }
            }
        }
        tokio::task::yield_now().await;
        let mut inner = lock(&self.inner);
        let chance = inner.fail_after;
        if inner.rng.random_bool(chance) {
            return Err(InsertError { retryable: true, message: "no answer".into() });
        }
        Ok(())
    }
}

/// A folder, a clock, ids and the metrics of the log that was opened last.
pub struct World {
    pub dir: tempfile::TempDir,
    pub clock: Arc<SimulatedClock>,
    ids: SequentialIds,
    registry: Mutex<Registry>,
    pub config: WalConfig,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = WalConfig::new(dir.path().join("wal"), "node-1");
        config.segment_bytes = 4_000;
        config.disk_reserve_bytes = 0;
        config.batch.rows = 20;
        config.batch.linger = Duration::from_millis(2);
        config.retry = (Duration::from_millis(1), Duration::from_millis(4));
        World { dir, clock: Arc::new(SimulatedClock::new(START)), ids: SequentialIds::default(), registry: Mutex::default(), config }
    }
    pub fn try_open(&self) -> Result<(Wal, OpenReport), OpenError> {
        let registry = Registry::new();
        *lock(&self.registry) = registry.clone();
        Wal::open(self.config.clone(), self.clock.clone(), &self.ids, &registry)
    }
    pub fn open(&self) -> Wal {
        self.try_open().unwrap().0
    }
    /// Opens as soon as the log before it has let go of the folder.
    pub async fn reopen(&self) -> Wal {
        self.reopen_report().await.0
    }
    pub async fn reopen_report(&self) -> (Wal, OpenReport) {
        for _ in 0..5_000 {
            match self.try_open() {
                Ok(opened) => return opened,
                Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
            }
        }
        panic!("the log before is still open");
    }
    pub async fn wait_for(&self, condition: impl Fn() -> bool) {
        for _ in 0..10_000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("waited in vain");
    }
    /// The files of a folder with an extension, in order.
    pub fn list(&self, folder: &str, extension: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.config.dir.join(folder)).unwrap();
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|ext| ext == extension)).collect();
        paths.sort();
        paths
    }
    pub fn files(&self, folder: &str, extension: &str) -> usize {
        self.list(folder, extension).len()
    }
    pub fn read(&self, folder: &str, extension: &str) -> Vec<u8> {
        std::fs::read::<&Path>(self.list(folder, extension)[0].as_ref()).unwrap()
    }
    /// The sum of a metric over its labels.
    pub fn counter(&self, name: &str) -> f64 {
        let families = lock(&self.registry).gather();
        let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("no metric {name}"));
        family.get_metric().iter().map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
    }
}
