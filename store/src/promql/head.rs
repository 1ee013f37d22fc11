//! The newest samples in memory, as Prometheus's head has them: what dashboards and rules ask for most is answered without ClickHouse. In:
//! every batch that the log has taken, and, after a start, what ClickHouse has ([`fill`]). Out: the samples of a selector, where all
//! that it asks for is here, numbers or the buckets, sums and counts of explicit histograms (`histograms`); else nothing, and ClickHouse
//! is asked. Bounded by bytes: the oldest samples go first. Nothing is lost with it: it is made again at each start. Right only where one
//! node writes.

pub mod chunk;
pub mod fill;
mod histograms;
mod metric;
mod postings;
mod rows;
pub mod samples;
pub mod source;

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hashbrown::HashMap;
use model::columns::TableBlock;
use model::labels::{METRIC_NAME, MatchOp};
use model::query::QueryError;
use model::tables::{SERIES_KINDS, TEMPORALITIES};
use model::tenant::TenantId;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use self::histograms::Histograms;
use self::metric::{Known, Metric, Points};
use self::rows::{HistogramRows, PointRows, SeriesRows};
use self::samples::Held;
use super::clickhouse::named;
use super::eval::LoadedSeries;
use super::source::{Part, Selection, Shape, too_many_samples, too_many_series};

/// Staleness markers are rows without a recorded value.
const NO_VALUE: u32 = 1;

/// What a tenant has.
#[derive(Default)]
struct Tenant {
    metrics: RwLock<HashMap<String, Arc<Metric>>>,
    /// Explicit histograms by name. The series that are made of them are among the metrics.
    histograms: RwLock<HashMap<String, Arc<Histograms>>>,
    others: RwLock<Others>,
}

/// Names of distributions that are not held.
#[derive(Default)]
struct Others {
    natives: HashSet<String>,
    summaries: HashSet<String>,
    /// Explicit histograms of which there are too many, or with delta temporality: each request has points of its own (RED series), and they
    /// would take the room of all else.
    explicit: HashSet<String>,
}

impl Others {
    fn of(&self, other: Other) -> &HashSet<String> {
        match other {
            Other::Native => &self.natives,
            Other::Summary => &self.summaries,
            Other::Explicit => &self.explicit,
        }
    }

    fn of_mut(&mut self, other: Other) -> &mut HashSet<String> {
        match other {
            Other::Native => &mut self.natives,
            Other::Summary => &mut self.summaries,
            Other::Explicit => &mut self.explicit,
        }
    }
}

/// What is not held.
#[derive(Clone, Copy)]
enum Other {
    Native,
    Summary,
    Explicit,
}

impl Other {
    /// What a series is by the codes of its kind and temporality; `None` where it is held.
    fn of(kind: i8, temporality: i8) -> Option<Self> {
        match named(SERIES_KINDS, kind) {
            "gauge" | "sum" | "untyped" => None,
            "histogram" => (named(TEMPORALITIES, temporality) == "delta").then_some(Other::Explicit),
            "summary" => Some(Other::Summary),
            _ => Some(Other::Native),
        }
    }
}

/// There is room for one explicit histogram for each so many bytes of the limit: half of it then goes to them, at 64 KiB for an hour of
/// one with 15 buckets (measured).
const HISTOGRAM_ROOM: usize = 128 << 10;
/// And for so many at least.
const FEW_HISTOGRAMS: usize = 64;

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
        let help = "Selectors by who answered: the `head` in memory (numbers and explicit histograms), or the `store`.";
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

    /// Everything after this moment is here; where that was said of an earlier one, it stays so.
    fn completed_from(&self, moment: i64) {
        self.complete.fetch_min(moment, Ordering::AcqRel);
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

    /// What a batch has for [`Head::take`]. Histograms none of which are held are not even copied: those of RED come with every request.
    pub fn of_interest(&self, tenant: &TenantId, blocks: &[TableBlock]) -> Vec<TableBlock> {
        let tenant = self.tenant(tenant);
        let is_held = |block: &TableBlock| match (&tenant, HistogramRows::of(block)) {
            (Some(tenant), Some(rows)) => rows.metric.keys().iter().any(|name| !tenant.refuses_explicit(&text(name))),
            _ => true,
        };
        let wanted = |block: &&TableBlock| match block.table.name {
            "points" | "series" => true,
            "histograms" => is_held(block),
            _ => false,
        };
        blocks.iter().filter(wanted).cloned().collect()
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
        for block in blocks.iter().filter(|block| block.table.name == "histograms") {
            self.append_histograms(&tenant, block);
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
        let (mut pair, mut has_histograms) = (0usize, false);
        for (row, end) in rows.labels.ends.iter().enumerate() {
            let name = text(names[rows.metric.rows()[row] as usize]);
            let pairs = pair..*end as usize;
            pair = pairs.end;
            let pairs: Vec<(String, String)> =
                pairs.filter_map(|at| Some((text(keys[rows.labels.keys.rows()[at] as usize]), text(values.next()?)))).collect();
            let code = rows.kind[row].cast_signed();
            let (fingerprint, temporality) = (rows.fingerprint[row], rows.temporality[row].cast_signed());
            if let Some(other) = Other::of(code, temporality) {
                tenant.refuse(&name, other);
                continue;
            }
            let known = Known::new(&name, pairs, (code, temporality, rows.monotonic[row]));
            if named(SERIES_KINDS, code) != "histogram" {
                self.grow(tenant.metric(&name).name(fingerprint, known));
            } else if !tenant.refuses_explicit(&name) {
                self.grow(tenant.histograms(&name).name(fingerprint, known));
                has_histograms = true;
            }
        }
        if has_histograms && self.complete.load(Ordering::Acquire) != i64::MAX {
            self.make_room_among_histograms();
        }
    }

    /// Where there are too many histograms, the names with the most of them are held no longer. Not before the store has said what there is.
    fn make_room_among_histograms(&self) {
        let tenants = self.all_tenants();
        let mut names: Vec<(usize, &Arc<Tenant>, String)> = Vec::new();
        for tenant in &tenants {
            let all = tenant.histograms.read().unwrap_or_else(PoisonError::into_inner);
            let held = all.iter().filter(|(name, _)| !tenant.refuses_explicit(name));
            names.extend(held.map(|(name, histograms)| (histograms.len(), tenant, name.clone())));
        }
        let mut held: usize = names.iter().map(|(count, ..)| count).sum();
        if held <= self.most_histograms() {
            return;
        }
        names.sort_unstable_by(|a, b| (b.0, &b.2).cmp(&(a.0, &a.2)));
        for (count, tenant, name) in names {
            if held <= self.most_histograms() {
                break;
            }
            tenant.refuse(&name, Other::Explicit);
            held -= count;
        }
    }

    fn most_histograms(&self) -> usize {
        (self.limit / HISTOGRAM_ROOM).max(FEW_HISTOGRAMS)
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

    fn append_histograms(&self, tenant: &Tenant, block: &TableBlock) {
        let Some(rows) = HistogramRows::of(block) else { return };
        let floor = self.floor.load(Ordering::Acquire);
        let names: Vec<&[u8]> = rows.metric.keys().iter().collect();
        let mut found: Vec<Option<Option<Arc<Histograms>>>> = vec![None; names.len()];
        let mut from = 0;
        for run in rows.metric.rows().chunk_by(|a, b| a == b) {
            let (all, name) = (from..from + run.len(), run[0] as usize);
            from = all.end;
            let histograms = found[name].get_or_insert_with(|| {
                let name = text(names[name]);
                (!tenant.refuses_explicit(&name)).then(|| tenant.histograms(&name))
            });
            if let Some(histograms) = histograms {
                self.grow(histograms.append(all.map(|row| (rows.fingerprint[row], rows.row(row))), floor));
            }
        }
    }

    /// What a selector asks for, if that is numbers of one name and all of it is here. Unpacked, it is in order of labels, and two
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
        if tenant.refuses(name) {
            return None;
        }
        let Some(metric) = tenant.known_metric(name) else { return Some(Ok(answer)) };
        let found = metric.hold(selection.matchers, after, until, selection.max_series)?;
        self.looked_at.inc_by(found.looked_at as u64);
        answer.held = found.held;
        if answer.held.len() > selection.max_series {
            return Some(Err(too_many_series(selection.max_series)));
        }
        // Something may have gone, or be taken no longer, while it was read.
        (after >= self.covered() && !tenant.refuses(name)).then_some(Ok(answer))
    }

    /// Forgets what is not after a moment.
    pub fn forget(&self, until: i64) {
        self.floor.fetch_max(until, Ordering::AcqRel);
        for metric in self.metrics() {
            self.grow(-(metric.forget(until) as isize));
        }
        for histograms in self.all_of(|tenant| &tenant.histograms) {
            self.grow(-(histograms.sweep(until) as isize));
        }
        self.measure();
    }

    fn metrics(&self) -> Vec<Arc<Metric>> {
        self.all_of(|tenant| &tenant.metrics)
    }

    fn all_tenants(&self) -> Vec<Arc<Tenant>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn all_of<T>(&self, kept: impl Fn(&Tenant) -> &RwLock<HashMap<String, Arc<T>>>) -> Vec<Arc<T>> {
        let of = |tenant: &Arc<Tenant>| -> Vec<Arc<T>> {
            kept(tenant).read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
        };
        self.all_tenants().iter().flat_map(of).collect()
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
            let (mut times, mut values) = held.unpack(self.after, self.until);
            if known.part == Some(Part::Bucket) {
                histograms::begin(&mut times, &mut values);
            }
            total += times.len();
            if total > self.max_samples {
                return Err(too_many_samples(self.max_samples));
            }
            if times.is_empty() {
                continue;
            }
            let Known { labels, delta, counter, .. } = known;
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

    /// The explicit histograms of a name.
    fn histograms(&self, name: &str) -> Arc<Histograms> {
        let known = self.histograms.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(known) = known {
            return known;
        }
        let parts = [Part::Bucket, Part::Sum, Part::Count].map(|part| self.metric(&format!("{name}{}", part.suffix())));
        let mut all = self.histograms.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.to_owned()).or_insert_with(|| Arc::new(Histograms::new(parts))))
    }

    /// From now on what has the name of such a distribution, or of a part of it, is not answered here.
    fn refuse(&self, name: &str, other: Other) {
        // Nearly always it is known: series of RED come with every request.
        if !self.others.read().unwrap_or_else(PoisonError::into_inner).of(other).contains(name) {
            self.others.write().unwrap_or_else(PoisonError::into_inner).of_mut(other).insert(name.to_owned());
        }
    }

    /// Whether the explicit histograms of a name are not held.
    fn refuses_explicit(&self, name: &str) -> bool {
        self.others.read().unwrap_or_else(PoisonError::into_inner).explicit.contains(name)
    }

    /// Whether rows that are not held have the name, or give it to a part of theirs.
    fn refuses(&self, name: &str) -> bool {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        Shape::ALL.iter().any(|shape| match shape {
            Shape::Native => others.natives.contains(name),
            Shape::Summaries(part) => name.strip_suffix(part.suffix()).is_some_and(|base| others.summaries.contains(base)),
            Shape::Histograms(part) => name.strip_suffix(part.suffix()).is_some_and(|base| others.explicit.contains(base)),
            Shape::Numbers => false,
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
