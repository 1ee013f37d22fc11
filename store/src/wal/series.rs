//! Series that Watchfire computes itself (recording rules, `ALERTS`, health checks, counts of errors): samples to blocks of `points`
//! and `series`, appended like any other batch. What a series means is sent again once a day, so that `last_seen` moves on.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use model::columns::{Column, TableBlock};
use model::labels::{Labels, METRIC_NAME};
use model::query::SeriesSample;
use model::sink::{Batch, DeltaSink, Refusal, RequestHash, SeriesSink, TelemetrySink};
use model::tables::{POINTS, SERIES};
use model::tenant::TenantId;
use model::time::Clock;

use super::lock;

/// How series are written.
#[derive(Clone, Copy, Debug)]
pub struct WalSeriesConfig {
    /// The retention class of the samples, in days.
    pub retention_days: u16,
    /// How many series are remembered as known.
    pub known: usize,
}

impl Default for WalSeriesConfig {
    /// 30 days; 200,000 series.
    fn default() -> Self {
        WalSeriesConfig { retention_days: 30, known: 200_000 }
    }
}

/// [`SeriesSink`] and [`DeltaSink`] over the log.
pub struct WalSeries {
    sink: Arc<dyn TelemetrySink>,
    clock: Arc<dyn Clock>,
    config: WalSeriesConfig,
    known: Mutex<Known>,
}

type SeriesKey = (TenantId, u64);

/// The day on which each series was last described. Two generations, so that it is bounded and keeps what is in use.
#[derive(Debug, Default)]
struct Known {
    young: HashMap<SeriesKey, i64>,
    old: HashMap<SeriesKey, i64>,
}

impl Known {
    fn has(&self, key: &SeriesKey, day: i64) -> bool {
        self.young.get(key).or_else(|| self.old.get(key)) == Some(&day)
    }

    fn insert(&mut self, key: SeriesKey, day: i64, cap: usize) {
        if self.young.len() >= (cap / 2).max(1) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, day);
    }
}

/// Prometheus's staleness marker.
const STALE_BITS: u64 = 0x7FF0_0000_0000_0002;
/// `flags` bit 0: no recorded value.
const NO_RECORDED_VALUE: u32 = 1;
const DAY_SECS: i64 = 86_400;

/// What the samples of a series are, in the words of its description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A value at a moment.
    Gauge,
    /// What was added since the sample before.
    Delta,
}

/// The span of sample times of one series.
type Described<'a> = BTreeMap<u64, (&'a Labels, i64, i64)>;

impl WalSeries {
    /// Writes through `sink` (the log).
    pub fn new(sink: Arc<dyn TelemetrySink>, clock: Arc<dyn Clock>, config: WalSeriesConfig) -> Self {
        WalSeries { sink, clock, config, known: Mutex::default() }
    }

    async fn append(
        &self,
        tenant: &TenantId,
        samples: Vec<(Labels, SeriesSample)>,
        meaning: Meaning,
        request: Option<RequestHash>,
    ) -> Result<(), Refusal> {
        let now = self.clock.now();
        let day = now.nanos().div_euclid(DAY_SECS * 1_000_000_000);
        let mut described = Described::new();
        for (labels, sample) in &samples {
            let at = sample.at.millis();
            let (_, first, last) = described.entry(labels.fingerprint()).or_insert((labels, at, at));
            (*first, *last) = ((*first).min(at), (*last).max(at));
        }
        let points = points_block(tenant, &samples, self.config.retention_days);
        {
            let known = lock(&self.known);
            described.retain(|fingerprint, _| !known.has(&(tenant.clone(), *fingerprint), day));
        }
        let series = series_block(tenant, &described, meaning);
        let batch = Batch { tenant: tenant.clone(), request, arrived: now, blocks: vec![points, series] };
        self.sink.append(batch).await?;
        let mut known = lock(&self.known);
        for fingerprint in described.into_keys() {
            known.insert((tenant.clone(), fingerprint), day, self.config.known);
        }
        Ok(())
    }
}

#[async_trait]
impl SeriesSink for WalSeries {
    async fn write(&self, tenant: &TenantId, samples: Vec<(Labels, SeriesSample)>) -> Result<(), Refusal> {
        self.append(tenant, samples, Meaning::Gauge, None).await
    }
}

#[async_trait]
impl DeltaSink for WalSeries {
    async fn add(&self, tenant: &TenantId, samples: Vec<(Labels, SeriesSample)>, request: RequestHash) -> Result<(), Refusal> {
        self.append(tenant, samples, Meaning::Delta, Some(request)).await
    }
}

fn points_block(tenant: &TenantId, samples: &[(Labels, SeriesSample)], retention_days: u16) -> TableBlock {
    let mut block = TableBlock::new(&POINTS);
    for (labels, sample) in samples {
        let metric = labels.get(METRIC_NAME).unwrap_or("");
        let stale = sample.value.to_bits() == STALE_BITS;
        for (spec, column) in POINTS.columns.iter().zip(&mut block.columns) {
            match (spec.name, column) {
                ("tenant", Column::LowCardinality(rows)) => rows.push(tenant.as_str().as_bytes()),
                ("metric", Column::LowCardinality(rows)) => rows.push(metric.as_bytes()),
                ("fingerprint", Column::UInt64(rows)) => rows.push(labels.fingerprint()),
                ("ts", Column::Int64(rows)) => rows.push(sample.at.millis()),
                ("value", Column::Float64(rows)) => rows.push(sample.value),
                ("flags", Column::UInt32(rows)) => rows.push(if stale { NO_RECORDED_VALUE } else { 0 }),
                ("retention_days", Column::UInt16(rows)) => rows.push(retention_days),
                (_, column) => push_default(column),
            }
        }
    }
    block
}

fn series_block(tenant: &TenantId, described: &Described<'_>, meaning: Meaning) -> TableBlock {
    let delta = meaning == Meaning::Delta;
    let mut block = TableBlock::new(&SERIES);
    for (fingerprint, (labels, first, last)) in described {
        let metric = labels.get(METRIC_NAME).unwrap_or("");
        for (spec, column) in SERIES.columns.iter().zip(&mut block.columns) {
            match (spec.name, column) {
                ("tenant", Column::LowCardinality(rows)) => rows.push(tenant.as_str().as_bytes()),
                ("metric" | "otel_name", Column::LowCardinality(rows)) => rows.push(metric.as_bytes()),
                ("fingerprint", Column::UInt64(rows)) => rows.push(*fingerprint),
                ("labels", Column::StringMap(maps)) => maps.push(labels.iter().filter(|(name, _)| *name != METRIC_NAME)),
                ("first_seen", Column::Int64(rows)) => rows.push(*first),
                ("last_seen", Column::Int64(rows)) => rows.push(*last),
                // gauge and unspecified are 0; sum, delta and monotonic are 1.
                ("kind" | "temporality" | "monotonic", Column::UInt8(rows)) => rows.push(u8::from(delta)),
                (_, column) => push_default(column),
            }
        }
    }
    block
}

/// Appends the type's default: 0, empty.
fn push_default(column: &mut Column) {
    match column {
        Column::UInt8(rows) => rows.push(0),
        Column::UInt16(rows) => rows.push(0),
        Column::UInt32(rows) => rows.push(0),
        Column::UInt64(rows) => rows.push(0),
        Column::Int32(rows) => rows.push(0),
        Column::Int64(rows) => rows.push(0),
        Column::Float64(rows) => rows.push(0.0),
        Column::String(rows) => rows.push(b""),
        Column::LowCardinality(rows) => rows.push(b""),
        Column::Fixed { width, bytes } => bytes.resize(bytes.len() + *width, 0),
        Column::StringMap(maps) => maps.push([]),
        Column::Array { ends, items } => ends.push(items.rows() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::sink::Appended;
    use model::time::{SimulatedClock, Timestamp};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// Keeps batches, or refuses them.
    #[derive(Default)]
    struct Keeper {
        batches: Mutex<Vec<Batch>>,
        refuse: AtomicBool,
    }

    #[async_trait]
    impl TelemetrySink for Keeper {
        async fn append(&self, batch: Batch) -> Result<Appended, Refusal> {
            if self.refuse.load(Ordering::SeqCst) {
                return Err(Refusal::Stopping);
            }
            lock(&self.batches).push(batch);
            Ok(Appended::Durable)
        }
    }

    #[tokio::test]
    async fn a_series_is_described_once_a_day_and_only_counts_once_appended() {
        let keeper = Arc::new(Keeper::default());
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_secs(86_400 * 100)));
        let series = WalSeries::new(keeper.clone(), clock.clone(), WalSeriesConfig { retention_days: 7, known: 10 });
        let up: Labels = [("__name__", "up"), ("job", "api")].into_iter().collect();
        let tenant = TenantId::default();
        let sample = |secs, value| SeriesSample { at: Timestamp::from_secs(secs), value };
        keeper.refuse.store(true, Ordering::SeqCst);
        assert!(series.write(&tenant, vec![(up.clone(), sample(1, 1.0))]).await.is_err());
        keeper.refuse.store(false, Ordering::SeqCst);
        series.write(&tenant, vec![(up.clone(), sample(1, 1.0)), (up.clone(), sample(9, f64::from_bits(STALE_BITS)))]).await.unwrap();
        series.write(&tenant, vec![(up.clone(), sample(20, 1.0))]).await.unwrap();
        clock.advance(Duration::from_secs(86_400));
        series.write(&tenant, vec![(up.clone(), sample(30, 1.0))]).await.unwrap();
        let batches = lock(&keeper.batches);
        let rows: Vec<(usize, usize)> = batches.iter().map(|b| (b.blocks[0].rows(), b.blocks[1].rows())).collect();
        assert_eq!(rows, [(2, 1), (1, 0), (1, 1)]);
        batches.iter().flat_map(|batch| &batch.blocks).for_each(|block| block.check().unwrap());
        let cell =
            |table: &'static model::columns::TableSpec, at: usize, name| &batches[0].blocks[at].columns[table.position(name).unwrap()];
        assert!(matches!(cell(&POINTS, 0, "flags"), Column::UInt32(flags) if flags == &[0, 1]));
        assert!(matches!(cell(&POINTS, 0, "fingerprint"), Column::UInt64(rows) if rows == &[up.fingerprint(); 2]));
        assert!(matches!(cell(&SERIES, 1, "first_seen"), Column::Int64(rows) if rows == &[1_000]));
        assert!(matches!(cell(&SERIES, 1, "last_seen"), Column::Int64(rows) if rows == &[9_000]));
    }

    #[tokio::test]
    async fn what_is_added_is_described_as_a_delta_and_named_by_its_request() {
        let keeper = Arc::new(Keeper::default());
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_secs(1)));
        let series = WalSeries::new(keeper.clone(), clock, WalSeriesConfig::default());
        let errors: Labels = [("__name__", "errors_total")].into_iter().collect();
        let sample = SeriesSample { at: Timestamp::from_secs(1), value: 3.0 };
        let request = RequestHash::of("test", b"1");
        series.add(&TenantId::default(), vec![(errors, sample)], request).await.unwrap();
        let batches = lock(&keeper.batches);
        assert_eq!(batches[0].request, Some(request));
        for name in ["kind", "temporality", "monotonic"] {
            let column = &batches[0].blocks[1].columns[SERIES.position(name).unwrap()];
            assert!(matches!(column, Column::UInt8(rows) if rows == &[1]), "{name}: {column:?}");
        }
    }

    #[test]
    fn the_memory_of_known_series_is_bounded() {
        let mut known = Known::default();
        for n in 0..1_000 {
            known.insert((TenantId::default(), n), 1, 100);
            assert!(known.young.len() + known.old.len() <= 100);
            assert!(known.has(&(TenantId::default(), n), 1));
        }
    }
}
