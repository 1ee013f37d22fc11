//! The log in front of the real engine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::columns::{Column, TableSpec};
use model::ids::RandomIds;
use model::labels::Labels;
use model::query::{Freshness, SeriesSample};
use model::sink::{Appended, Batch, RequestHash, SeriesSink, TelemetrySink};
use model::tables::{LOGS, SPANS};
use model::tenant::TenantId;
use model::time::{Clock, SystemClock, Timestamp};
use store::wal::{BlockInsert, InsertError, OpenError, Wal, WalConfig, WalSeries, WalSeriesConfig};

use super::engine::Engine;
use super::samples::{START_SECS, block_of};

fn open(dir: &tempfile::TempDir) -> Result<Wal, OpenError> {
    let mut config = WalConfig::new(dir.path().join("wal"), "node-1");
    config.disk_reserve_bytes = 0;
    config.segment_bytes = 64 << 10;
    config.batch.rows = 400;
    config.batch.linger = Duration::from_millis(20);
    config.retry = (Duration::from_millis(5), Duration::from_millis(50));
    Wal::open(config, Arc::new(SystemClock), &RandomIds, &prometheus::Registry::new()).map(|(wal, _)| wal)
}

async fn reopen(dir: &tempfile::TempDir) -> Wal {
    for _ in 0..10_000 {
        match open(dir) {
            Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
            other => return other.unwrap_or_else(|error| panic!("{error}")),
        }
    }
    panic!("the log before is still open");
}

/// A batch of spans and logs; number `n` stands in `flags` of each of its rows.
fn batch(n: u32, rows: usize) -> Batch {
    let block = |table: &'static TableSpec| {
        let mut block = block_of(table, rows, n.into());
        block.columns[table.position("flags").unwrap()] = Column::UInt32(vec![n; rows]);
        block
    };
    Batch {
        tenant: TenantId::default(),
        request: Some(RequestHash::of("test", &n.to_le_bytes())),
        arrived: SystemClock.now(),
        blocks: vec![block(&SPANS), block(&LOGS)],
    }
}

/// Loses every third answer: the engine has the rows, the writer does not know.
struct LostAnswers {
    engine: Engine,
    calls: AtomicU64,
}

#[async_trait]
impl BlockInsert for LostAnswers {
    async fn insert(&self, table: &'static TableSpec, token: &str, bytes: Bytes) -> Result<(), InsertError> {
        self.engine.insert(table, token, bytes).await?;
        if self.calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) {
            return Err(InsertError { retryable: true, message: "the answer was lost".into() });
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_the_engine_holds_every_row_once() {
    let engine = Engine::start().await;
    let dir = tempfile::tempdir().unwrap();
    let insert = Arc::new(LostAnswers { engine: engine.clone(), calls: AtomicU64::new(0) });
    let mut sent = 0u32;
    for life in 0..6u64 {
        let wal = reopen(&dir).await;
        wal.start_writer(insert.clone());
        let calls = insert.calls.load(Ordering::SeqCst);
        for _ in 0..15 {
            assert_eq!(wal.append(batch(sent, 30)).await.unwrap(), Appended::Durable);
            sent += 1;
        }
        assert_eq!(wal.append(batch(sent - 1, 30)).await.unwrap(), Appended::Duplicate);
        // Killed when the writer is a little further each time.
        while insert.calls.load(Ordering::SeqCst) < calls + life {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(wal);
    }
    let wal = reopen(&dir).await;
    wal.start_writer(insert);
    assert_eq!(wal.stop(Duration::from_secs(60)).await.unwritten_blocks, 0);
    assert_once(&engine, sent).await;
    let newest: BTreeSet<_> = wal.newest().await.unwrap().into_iter().filter(|(_, at)| at.is_some()).map(|(name, _)| name).collect();
    assert_eq!(newest, BTreeSet::from(["spans".to_owned(), "logs".to_owned()]));
    assert!(wal.health().is_ok());
}

/// Every row of the batches `0..sent` once in both tables, every span once in the trace index.
async fn assert_once(engine: &Engine, sent: u32) {
    for table in ["spans", "logs"] {
        let odd = format!("SELECT count() FROM (SELECT flags, count() AS rows FROM {table} GROUP BY flags HAVING rows != 30)");
        assert_eq!(engine.text(&odd).await, "0", "{table}");
        assert_eq!(engine.text(&format!("SELECT uniqExact(flags), count() FROM {table}")).await, format!("{sent}\t{}", sent * 30));
    }
    let traced = engine.text("SELECT count() FROM spans WHERE trace_id != toFixedString('', 16)").await;
    assert_eq!(engine.text("SELECT sum(spans) FROM trace_index").await, traced);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_killed_under_the_writer_ends_up_with_every_row_once() {
    let engine = Engine::start().await;
    let dir = tempfile::tempdir().unwrap();
    let wal = reopen(&dir).await;
    wal.start_writer(Arc::new(engine.clone()));
    let mut sent = 0u32;
    for kill in 1..=3u64 {
        for _ in 0..30 {
            assert_eq!(wal.append(batch(sent, 30)).await.unwrap(), Appended::Durable);
            sent += 1;
        }
        let pid = engine.0.supervisor.status().pid.map(|pid| pid.to_string()).unwrap_or_default();
        std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
        // Intake goes on while there is no engine.
        assert_eq!(wal.append(batch(sent, 30)).await.unwrap(), Appended::Durable);
        sent += 1;
        for _ in 0..1_000 {
            let status = engine.0.supervisor.status();
            if status.restarts >= kill && status.up {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(wal.stop(Duration::from_secs(60)).await.unwritten_blocks, 0);
    assert!(wal.health().is_ok(), "{:?}", wal.health());
    assert_once(&engine, sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn series_that_watchfire_computes_can_be_looked_up() {
    let engine = Engine::start().await;
    let dir = tempfile::tempdir().unwrap();
    let wal = reopen(&dir).await;
    wal.start_writer(Arc::new(engine.clone()));
    let series = WalSeries::new(Arc::new(wal.clone()), Arc::new(SystemClock), WalSeriesConfig { retention_days: 20_000, known: 100 });
    let labels: Labels = [("__name__", "job:errors:rate5m"), ("job", "api")].into_iter().collect();
    for n in 0..3 {
        let sample = SeriesSample { at: Timestamp::from_secs(START_SECS + n), value: n as f64 };
        series.write(&TenantId::default(), vec![(labels.clone(), sample)]).await.unwrap();
    }
    wal.stop(Duration::from_secs(60)).await;
    assert_eq!(engine.text("SELECT count() FROM series").await, "1", "described once");
    let joined = "SELECT s.labels['job'], s.kind, groupArray(p.value) FROM (SELECT * FROM points ORDER BY ts) AS p INNER JOIN series AS s \
                  USING (tenant, metric, fingerprint) GROUP BY ALL";
    assert_eq!(engine.text(joined).await, "api\tgauge\t[0,1,2]");
    assert_eq!(engine.text("SELECT fingerprint FROM series").await, labels.fingerprint().to_string());
}
