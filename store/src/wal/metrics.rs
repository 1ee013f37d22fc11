//! What the log says about itself.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// All metrics of the log and its writer.
#[derive(Debug)]
pub struct Metrics {
    pub bytes: IntGauge,
    pub segments: IntGauge,
    pub blocks: IntGauge,
    pub fsync: Histogram,
    pub refused: IntCounterVec,
    pub duplicates: IntCounter,
    pub torn: IntCounter,
    pub corrupt: IntCounter,
    pub rows: IntCounterVec,
    pub insert: HistogramVec,
    pub retries: IntCounterVec,
    pub quarantined: IntCounterVec,
    pub lag: prometheus::Gauge,
    pub tail: TailMetrics,
}

/// Tail sampling.
#[derive(Debug)]
pub struct TailMetrics {
    pub traces: IntCounterVec,
    pub spans: IntCounterVec,
    pub early: IntCounter,
    waiting_spans: IntGauge,
    waiting_traces: IntGauge,
}

impl TailMetrics {
    fn new() -> prometheus::Result<Self> {
        let metrics = TailMetrics {
            traces: IntCounterVec::new(
                Opts::new("watchfire_tail_sampling_traces_total", "Traces that tail sampling decided, by why they are kept."),
                &["decision"],
            )?,
            spans: IntCounterVec::new(
                Opts::new("watchfire_tail_sampling_spans_total", "Spans that were kept and dropped by tail sampling."),
                &["decision"],
            )?,
            early: IntCounter::new(
                "watchfire_tail_sampling_early_decisions_total",
                "Decisions before their time, because too many traces or bytes waited.",
            )?,
            waiting_spans: IntGauge::new("watchfire_tail_sampling_waiting_spans", "Spans that wait for the decision about their trace.")?,
            waiting_traces: IntGauge::new("watchfire_tail_sampling_waiting_traces", "Traces that wait for their decision.")?,
        };
        for label in super::tail::decide::Fate::LABELS {
            metrics.traces.with_label_values(&[label]);
        }
        for label in ["kept", "dropped"] {
            metrics.spans.with_label_values(&[label]);
        }
        Ok(metrics)
    }

    /// What waits.
    pub fn waiting(&self, traces: usize, spans: u64) {
        self.waiting_traces.set(i64::try_from(traces).unwrap_or(i64::MAX));
        self.waiting_spans.set(i64::try_from(spans).unwrap_or(i64::MAX));
    }

    fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.traces.clone()))?;
        registry.register(Box::new(self.spans.clone()))?;
        registry.register(Box::new(self.early.clone()))?;
        registry.register(Box::new(self.waiting_spans.clone()))?;
        registry.register(Box::new(self.waiting_traces.clone()))
    }
}

impl Metrics {
    /// Registers them; fails if they are registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let per_table = ["table"];
        let insert_buckets = vec![0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let fsync_buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0];
        let metrics = Metrics {
            bytes: IntGauge::new("watchfire_wal_bytes", "Bytes in the segments of the write-ahead log.")?,
            segments: IntGauge::new("watchfire_wal_segments", "Segments of the write-ahead log.")?,
            blocks: IntGauge::new("watchfire_wal_blocks", "Blocks in the write-ahead log that ClickHouse has not confirmed.")?,
            fsync: Histogram::with_opts(
                HistogramOpts::new("watchfire_wal_fsync_seconds", "Time to write and fsync a group of records.").buckets(fsync_buckets),
            )?,
            refused: IntCounterVec::new(Opts::new("watchfire_wal_refused_total", "Batches that were refused, by reason."), &["reason"])?,
            duplicates: IntCounter::new("watchfire_wal_duplicate_requests_total", "Requests that were accepted before.")?,
            torn: IntCounter::new("watchfire_wal_torn_records_total", "Records found cut short at the end of a segment at start.")?,
            corrupt: IntCounter::new("watchfire_wal_corrupt_records_total", "Damaged places found in the log: bytes that were lost.")?,
            rows: IntCounterVec::new(Opts::new("watchfire_writer_rows_total", "Rows that ClickHouse confirmed."), &per_table)?,
            insert: HistogramVec::new(
                HistogramOpts::new("watchfire_writer_insert_seconds", "Time of an insert, failed ones too.").buckets(insert_buckets),
                &per_table,
            )?,
            retries: IntCounterVec::new(
                Opts::new("watchfire_writer_retries_total", "Inserts that failed and were sent again."),
                &per_table,
            )?,
            quarantined: IntCounterVec::new(
                Opts::new("watchfire_writer_quarantined_batches_total", "Inserts that ClickHouse refuses for good; kept in a folder."),
                &per_table,
            )?,
            lag: prometheus::Gauge::new(
                "watchfire_writer_lag_seconds",
                "Age of the oldest durable row that ClickHouse does not hold yet.",
            )?,
            tail: TailMetrics::new()?,
        };
        metrics.register(registry)?;
        Ok(metrics)
    }

    fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.bytes.clone()))?;
        registry.register(Box::new(self.segments.clone()))?;
        registry.register(Box::new(self.blocks.clone()))?;
        registry.register(Box::new(self.fsync.clone()))?;
        registry.register(Box::new(self.refused.clone()))?;
        registry.register(Box::new(self.duplicates.clone()))?;
        registry.register(Box::new(self.torn.clone()))?;
        registry.register(Box::new(self.corrupt.clone()))?;
        registry.register(Box::new(self.rows.clone()))?;
        registry.register(Box::new(self.insert.clone()))?;
        registry.register(Box::new(self.retries.clone()))?;
        registry.register(Box::new(self.quarantined.clone()))?;
        registry.register(Box::new(self.lag.clone()))?;
        self.tail.register(registry)
    }

    /// Counts a refusal.
    pub fn refused(&self, refusal: &model::sink::Refusal) {
        use model::sink::Refusal;
        let reason = match refusal {
            Refusal::LogFull { .. } => "log_full",
            Refusal::DiskFull { .. } => "disk_full",
            Refusal::Busy { .. } => "busy",
            Refusal::Stopping => "stopping",
            Refusal::Io(_) => "io",
            Refusal::Block(_) => "block",
        };
        self.refused.with_label_values(&[reason]).inc();
    }
}
