//! The newest samples in memory, as Prometheus's head has them: what dashboards and rules ask for most is answered without ClickHouse. In:
//! every batch that the log has taken, and, after a start, what ClickHouse has ([`fill`]). Out: the samples of a selector, where all
//! that it asks for is here; else nothing, and ClickHouse is asked. Bounded by bytes: the oldest samples go first. Nothing is lost with it:
//! it is made again at each start. Right only where one node writes.

pub mod chunk;
pub mod fill;
mod metric;
mod postings;
pub mod samples;
pub mod source;

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hashbrown::HashMap;
use model::columns::{Column, Dictionary, TableBlock};
use model::labels::{METRIC_NAME, MatchOp};
use model::query::QueryError;
use model::tables::SERIES_KINDS;
use model::tenant::TenantId;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use self::metric::{Known, Metric, Points};
use self::samples::Held;
use super::clickhouse::named;
use super::eval::LoadedSeries;
use super::source::{Selection, Shape, too_many_samples, too_many_series};

/// Staleness markers are rows without a recorded value.
const NO_VALUE: u32 = 1;

/// What a tenant has.
#[derive(Default)]
struct Tenant {
    metrics: RwLock<HashMap<String, Arc<Metric>>>,
    /// Names whose rows are no plain numbers: distributions.
    others: RwLock<HashSet<String>>,
}

/// The newest samples of all tenants.
pub struct Head {
    limit: usize,
    bytes: AtomicUsize,
    /// Nothing at or before this moment is held.
    floor: AtomicI64,
    /// Everything after this moment is held, unless it lies below the floor. The end of time until it was filled.
    complete: AtomicI64,
    tenants: RwLock<HashMap<TenantId, Arc<Tenant>>>,
    /// Whoever makes room.
    trimming: Mutex<()>,
    questions: IntCounterVec,
    looked_at: IntCounter,
    held: IntGauge,
    since: IntGauge,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Head")
            .field("limit", &self.limit)
            .field("bytes", &self.bytes)
            .field("covered", &self.covered())
            .finish_non_exhaustive()
    }
}

impl Head {
    /// An empty one of at most so many bytes, which answers nothing before it is filled. Registers `watchfire_promql_head_bytes`,
    /// `watchfire_promql_head_since_timestamp_seconds`, `watchfire_promql_head_questions_total{from}` and
    /// `watchfire_promql_head_series_examined_total`; fails if they are there.
    pub fn new(limit: usize, registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Selectors of plain numbers by who answered: the `head` in memory, or the `store`.";
        let questions = IntCounterVec::new(Opts::new("watchfire_promql_head_questions_total", help), &["from"])?;
        let help = "Series that were looked at to answer selectors from memory.";
        let looked_at = IntCounter::new("watchfire_promql_head_series_examined_total", help)?;
        registry.register(Box::new(looked_at.clone()))?;
        let held = IntGauge::new("watchfire_promql_head_bytes", "Memory of the newest samples, which are kept for PromQL.")?;
        let help = "Samples after this moment are all in memory. 0: none are yet; before 1970: all there are.";
        let since = IntGauge::new("watchfire_promql_head_since_timestamp_seconds", help)?;
        registry.register(Box::new(questions.clone()))?;
        registry.register(Box::new(held.clone()))?;
        registry.register(Box::new(since.clone()))?;
        Ok(Head {
            limit,
            bytes: AtomicUsize::new(0),
            floor: AtomicI64::new(i64::MIN),
            complete: AtomicI64::new(i64::MAX),
            tenants: RwLock::default(),
            trimming: Mutex::default(),
            questions,
            looked_at,
            held,
            since,
        })
    }

    /// Everything after this moment (milliseconds) is here.
    pub fn covered(&self) -> i64 {
        self.floor.load(Ordering::Acquire).max(self.complete.load(Ordering::Acquire))
    }

    /// Memory, about, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// From now on everything after this moment is here.
    fn completed_from(&self, moment: i64) {
        self.complete.store(moment, Ordering::Release);
        self.measure();
    }

    fn measure(&self) {
        self.held.set(i64::try_from(self.bytes()).unwrap_or(i64::MAX));
        let covered = self.covered();
        self.since.set(if covered == i64::MAX { 0 } else { covered / 1_000 });
    }

    fn grow(&self, by: isize) {
        if by >= 0 {
            self.bytes.fetch_add(by.unsigned_abs(), Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(by.unsigned_abs().min(self.bytes()), Ordering::Relaxed);
        }
    }

    fn tenant(&self, tenant: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    fn tenant_or_new(&self, tenant: &TenantId) -> Arc<Tenant> {
        match self.tenant(tenant) {
            Some(known) => known,
            None => Arc::clone(self.tenants.write().unwrap_or_else(PoisonError::into_inner).entry(tenant.clone()).or_default()),
        }
    }

    /// What a batch has for [`Head::take`].
    pub fn of_interest(blocks: &[TableBlock]) -> Vec<TableBlock> {
        blocks.iter().filter(|block| matches!(block.table.name, "points" | "series")).cloned().collect()
    }

    /// Takes what the log has taken: new series first, then samples.
    pub fn take(&self, tenant: &TenantId, blocks: &[TableBlock]) {
        if blocks.is_empty() {
            return;
        }
        let tenant = self.tenant_or_new(tenant);
        for block in blocks.iter().filter(|block| block.table.name == "series") {
            self.describe(&tenant, block);
        }
        for block in blocks.iter().filter(|block| block.table.name == "points") {
            self.append(&tenant, block);
        }
        if self.bytes() > self.limit {
            self.make_room();
        }
    }

    fn describe(&self, tenant: &Tenant, block: &TableBlock) {
        let Some(rows) = SeriesRows::of(block) else { return };
        let names: Vec<&[u8]> = rows.metric.keys().iter().collect();
        let keys: Vec<&[u8]> = rows.labels.keys.keys().iter().collect();
        let mut values = rows.labels.values.iter();
        let mut pair = 0usize;
        for (row, end) in rows.labels.ends.iter().enumerate() {
            let name = text(names[rows.metric.rows()[row] as usize]);
            let pairs = pair..*end as usize;
            pair = pairs.end;
            let pairs: Vec<(String, String)> =
                pairs.filter_map(|at| Some((text(keys[rows.labels.keys.rows()[at] as usize]), text(values.next()?)))).collect();
            let code = rows.kind[row].cast_signed();
            if !matches!(named(SERIES_KINDS, code), "gauge" | "sum" | "untyped") {
                tenant.others.write().unwrap_or_else(PoisonError::into_inner).insert(name);
                continue;
            }
            let known = Known::new(&name, pairs, (code, rows.temporality[row].cast_signed(), rows.monotonic[row]));
            self.grow(tenant.metric(&name).name(rows.fingerprint[row], known));
        }
    }

    fn append(&self, tenant: &Tenant, block: &TableBlock) {
        let Some(rows) = PointRows::of(block) else { return };
        let floor = self.floor.load(Ordering::Acquire);
        let names: Vec<&[u8]> = rows.metric.keys().iter().collect();
        let mut from = 0;
        for run in rows.metric.rows().chunk_by(|a, b| a == b) {
            let to = from + run.len();
            let points = Points {
                fingerprints: &rows.fingerprint[from..to],
                times: &rows.ts[from..to],
                values: &rows.value[from..to],
                flags: &rows.flags[from..to],
            };
            from = to;
            let metric = tenant.metric(&text(names[run[0] as usize]));
            self.grow(metric.append(&points, floor));
        }
    }

    /// What a selector asks for, if that is plain numbers of one name and all of it is here. Unpacked, it is in order of labels, and two
    /// series may have the same.
    pub fn hold(&self, selection: &Selection<'_>) -> Option<Result<Answer, QueryError>> {
        let found = self.find(selection);
        self.questions.with_label_values(&[if found.is_some() { "head" } else { "store" }]).inc();
        found
    }

    fn find(&self, selection: &Selection<'_>) -> Option<Result<Answer, QueryError>> {
        let is_name = |matcher: &&model::labels::Matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
        let name = selection.matchers.iter().find(is_name)?.value.as_str();
        if selection.after < self.covered() {
            return None;
        }
        let (after, until) = (selection.after, selection.until);
        let mut answer = Answer { held: Vec::new(), after, until, max_samples: selection.max_samples };
        let Some(tenant) = self.tenant(selection.tenant) else { return Some(Ok(answer)) };
        if tenant.is_distribution(name) {
            return None;
        }
        let Some(metric) = tenant.known_metric(name) else { return Some(Ok(answer)) };
        let found = metric.hold(selection.matchers, after, until, selection.max_series)?;
        self.looked_at.inc_by(found.looked_at as u64);
        answer.held = found.held;
        if answer.held.len() > selection.max_series {
            return Some(Err(too_many_series(selection.max_series)));
        }
        // Something may have gone while it was read.
        (after >= self.covered()).then_some(Ok(answer))
    }

    /// Forgets what is not after a moment.
    pub fn forget(&self, until: i64) {
        self.floor.fetch_max(until, Ordering::AcqRel);
        for metric in self.metrics() {
            self.grow(-(metric.forget(until) as isize));
        }
        self.measure();
    }

    fn metrics(&self) -> Vec<Arc<Metric>> {
        let tenants: Vec<Arc<Tenant>> = self.tenants.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let of = |tenant: &Arc<Tenant>| -> Vec<Arc<Metric>> {
            tenant.metrics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
        };
        tenants.iter().flat_map(of).collect()
    }

    /// Forgets the oldest samples until an eighth of the room is free.
    fn make_room(&self) {
        let Ok(_only) = self.trimming.try_lock() else { return };
        let bytes = self.bytes();
        if bytes <= self.limit {
            return;
        }
        let mut weights = Vec::new();
        self.metrics().iter().for_each(|metric| metric.weights(&mut weights));
        weights.sort_unstable();
        let (mut freed, wanted) = (0, bytes - self.limit + self.limit / 8);
        let enough = weights.iter().find(|(_, weight)| {
            freed += weight;
            freed >= wanted
        });
        if let Some((until, _)) = enough.or(weights.last()) {
            self.forget(*until);
        }
    }
}

/// What is here of a selector, still packed.
pub struct Answer {
    held: Vec<(Known, Held)>,
    after: i64,
    until: i64,
    max_samples: usize,
}

impl Answer {
    /// How many samples, about.
    pub fn samples(&self) -> usize {
        self.held.iter().map(|(_, held)| held.count()).sum()
    }

    /// The series that have samples. Fails with more of these than the selection allows.
    pub fn unpack(self) -> Result<Vec<LoadedSeries>, QueryError> {
        let (mut all, mut total) = (Vec::with_capacity(self.held.len()), 0);
        for (known, held) in self.held {
            let (times, values) = held.unpack(self.after, self.until);
            total += times.len();
            if total > self.max_samples {
                return Err(too_many_samples(self.max_samples));
            }
            if times.is_empty() {
                continue;
            }
            let Known { labels, delta, counter } = known;
            let mut series = LoadedSeries { labels, delta, counter, times, values, histograms: Vec::new() };
            series.settle();
            all.push(series);
        }
        Ok(all)
    }
}

impl Tenant {
    fn known_metric(&self, name: &str) -> Option<Arc<Metric>> {
        self.metrics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn metric(&self, name: &str) -> Arc<Metric> {
        match self.known_metric(name) {
            Some(metric) => metric,
            None => Arc::clone(self.metrics.write().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default()),
        }
    }

    /// Whether rows that are no plain numbers have the name, or give it to a part of theirs.
    fn is_distribution(&self, name: &str) -> bool {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        Shape::ALL.iter().filter_map(|shape| name.strip_suffix(shape.suffix())).any(|base| others.contains(base))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The columns of `series` that say what a series is.
struct SeriesRows<'a> {
    metric: &'a Dictionary,
    fingerprint: &'a [u64],
    kind: &'a [u8],
    temporality: &'a [u8],
    monotonic: &'a [u8],
    labels: &'a model::columns::StringMaps,
}

fn column<'a>(block: &'a TableBlock, name: &str) -> Option<&'a Column> {
    block.columns.get(block.table.position(name)?)
}

impl<'a> SeriesRows<'a> {
    fn of(block: &'a TableBlock) -> Option<Self> {
        let bytes = |name| match column(block, name)? {
            Column::UInt8(rows) => Some(rows.as_slice()),
            _ => None,
        };
        let Column::LowCardinality(metric) = column(block, "metric")? else { return None };
        let Column::UInt64(fingerprint) = column(block, "fingerprint")? else { return None };
        let Column::StringMap(labels) = column(block, "labels")? else { return None };
        Some(SeriesRows {
            metric,
            fingerprint,
            kind: bytes("kind")?,
            temporality: bytes("temporality")?,
            monotonic: bytes("monotonic")?,
            labels,
        })
    }
}

/// The columns of `points` that make samples.
struct PointRows<'a> {
    metric: &'a Dictionary,
    fingerprint: &'a [u64],
    ts: &'a [i64],
    value: &'a [f64],
    flags: &'a [u32],
}

impl<'a> PointRows<'a> {
    fn of(block: &'a TableBlock) -> Option<Self> {
        let Column::LowCardinality(metric) = column(block, "metric")? else { return None };
        let Column::UInt64(fingerprint) = column(block, "fingerprint")? else { return None };
        let Column::Int64(ts) = column(block, "ts")? else { return None };
        let Column::Float64(value) = column(block, "value")? else { return None };
        let Column::UInt32(flags) = column(block, "flags")? else { return None };
        Some(PointRows { metric, fingerprint, ts, value, flags })
    }
}
