//! Series: label sets with their fingerprints, and the memory of which series are described in the store. A series is
//! remembered only after its description is durable, so a failed append describes it again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::labels::METRIC_NAME;
use model::tenant::TenantId;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use crate::columns::SeriesColumns;
use crate::record::Attribute;
use crate::rows::attributes::push_row;

/// A description is sent again when samples run this far past what the store knows, in milliseconds.
const REFRESH_MILLIS: i64 = 3_600_000;

/// A label set with its metric name: sorted, no name twice, no empty value.
pub(crate) struct LabelSet<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    fingerprint: u64,
}

impl<'a> LabelSet<'a> {
    /// Of labels in any order; where a name stands twice the later one counts.
    pub(crate) fn new(metric: &'a str, labels: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Self {
        let mut pairs: Vec<_> = labels.into_iter().collect();
        pairs.push((Cow::Borrowed(METRIC_NAME), Cow::Borrowed(metric)));
        // Stable, and the later of two equals first, so that `dedup` keeps it.
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, kept| later.0 == kept.0);
        pairs.retain(|(_, value)| !value.is_empty());
        let mut hasher = Xxh3::new();
        for (name, value) in &pairs {
            hasher.update(name.as_bytes());
            hasher.update(&[0xFF]);
            hasher.update(value.as_bytes());
            hasher.update(&[0xFF]);
        }
        LabelSet { fingerprint: hasher.digest(), pairs }
    }
    /// [`model::labels::Labels::fingerprint`] of the set.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
    /// Name and value without `__name__`.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().filter(|(name, _)| name != METRIC_NAME).map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
    /// How many labels, `__name__` not counted.
    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }
}

/// What a series is, by its value of `SERIES_KINDS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SeriesKind {
    /// The last value counts.
    #[default]
    Gauge = 0,
    /// Values add up.
    Sum = 1,
    /// Explicit buckets.
    Histogram = 2,
    /// Exponential buckets.
    ExponentialHistogram = 3,
    /// Quantiles computed by the sender.
    Summary = 4,
    /// Nobody said.
    Untyped = 5,
}

/// What a series is, beside its labels.
#[derive(Clone, Copy, Default)]
pub(crate) struct Description<'a> {
    /// The Prometheus name.
    pub(crate) metric: &'a str,
    /// What its points are.
    pub(crate) kind: SeriesKind,
    /// Value of `TEMPORALITIES`.
    pub(crate) temporality: u8,
    /// Whether it is a monotonic sum.
    pub(crate) monotonic: bool,
    /// The name as sent.
    pub(crate) otel_name: &'a str,
    /// The unit as sent.
    pub(crate) unit: &'a str,
    /// The description as sent.
    pub(crate) text: &'a str,
    /// The resource's attributes, tidy.
    pub(crate) resource: &'a [Attribute<'a>],
    /// The scope's name.
    pub(crate) scope_name: &'a str,
    /// The scope's version.
    pub(crate) scope_version: &'a str,
    /// Attributes of the resource that are left out.
    pub(crate) resource_dropped: u32,
    /// Attributes of the scope that are left out.
    pub(crate) scope_dropped: u32,
}

/// Identity of a described series in this process: tenant, labels, and what may change under the same labels, hashed. Several
/// keys may stand for one series: it is then described once for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeriesKey(u128);

impl SeriesKey {
    /// Of bytes that say all of it.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        SeriesKey(xxh3_128(bytes))
    }
    /// Of a hash of all of it.
    pub(crate) fn of_hash(hash: u128) -> Self {
        SeriesKey(hash)
    }
    fn of_labels(tenant: &TenantId, fingerprint: u64, about: &Description<'_>) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(tenant.as_str().as_bytes());
        hasher.update(&[0xFF, about.kind as u8, about.temporality, u8::from(about.monotonic)]);
        hasher.update(&fingerprint.to_le_bytes());
        hasher.update(about.unit.as_bytes());
        SeriesKey(hasher.digest128())
    }
}

impl std::hash::Hash for SeriesKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// For keys that are hashes already; of a hash with something beside it both count.
#[derive(Clone, Copy, Default)]
pub(crate) struct AsIs(u64);

impl std::hash::Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = self.0.rotate_left(17) ^ value;
    }
    fn write_i64(&mut self, value: i64) {
        self.0 ^= (value as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// Builds no hash: the keys are hashes.
pub(crate) type Hashed = std::hash::BuildHasherDefault<AsIs>;

/// Milliseconds of sample time that the store knows for a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    first: i64,
    last: i64,
    fingerprint: u64,
}

impl Known {
    fn covers(&self, at: i64) -> bool {
        at >= self.first && at < self.last.saturating_add(REFRESH_MILLIS)
    }
    fn join(self, other: Known) -> Known {
        Known { first: self.first.min(other.first), last: self.last.max(other.last), fingerprint: self.fingerprint }
    }
}

/// A bounded memory in two generations: when the young one is full the old one is forgotten. Recently used entries survive.
pub(crate) struct Generations<K, V, S = std::hash::RandomState> {
    young: HashMap<K, V, S>,
    old: HashMap<K, V, S>,
    half: usize,
}

impl<K: std::hash::Hash + Eq + Clone, V: Clone, S: std::hash::BuildHasher + Default> Generations<K, V, S> {
    /// At most about `capacity` entries.
    pub(crate) fn new(capacity: usize) -> Self {
        Generations { young: HashMap::default(), old: HashMap::default(), half: (capacity / 2).max(1) }
    }
    /// The entry, made young again.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.put(key.clone(), value.clone());
        Some(value)
    }
    /// Sets an entry.
    pub(crate) fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// The memory of described series.
#[derive(Clone)]
pub(crate) struct SeriesCache(Arc<Mutex<Generations<SeriesKey, Known, Hashed>>>);

impl SeriesCache {
    /// For at most about `capacity` series.
    pub(crate) fn new(capacity: usize) -> Self {
        SeriesCache(Arc::new(Mutex::new(Generations::new(capacity))))
    }
    fn lock(&self) -> MutexGuard<'_, Generations<SeriesKey, Known, Hashed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Remembers series whose description is durable now; returns how many are remembered in all.
    pub(crate) fn remember(&self, marks: &[(SeriesKey, Known)]) -> usize {
        let mut cache = self.lock();
        for (key, known) in marks {
            let known = cache.get(key).map_or(*known, |before| before.join(*known));
            cache.put(*key, known);
        }
        cache.len()
    }
}

/// The series of one request.
pub(crate) struct SeriesBatch<'r> {
    cache: &'r SeriesCache,
    tenant: &'r TenantId,
    /// Those that are described here: their times and their row.
    here: HashMap<SeriesKey, (Known, usize), Hashed>,
    columns: SeriesColumns,
}

impl<'r> SeriesBatch<'r> {
    /// No series yet.
    pub(crate) fn new(cache: &'r SeriesCache, tenant: &'r TenantId) -> Self {
        SeriesBatch { cache, tenant, here: HashMap::default(), columns: SeriesColumns::reused() }
    }
    /// The fingerprint of a series with a sample at `at` (milliseconds); `None` if it must be described.
    pub(crate) fn find(&mut self, key: SeriesKey, at: i64) -> Option<u64> {
        if !self.here.is_empty()
            && let Some((known, row)) = self.here.get_mut(&key)
        {
            *known = known.join(Known { first: at, last: at, fingerprint: known.fingerprint });
            self.columns.first_seen[*row] = known.first;
            self.columns.last_seen[*row] = known.last;
            return Some(known.fingerprint);
        }
        let stored = self.cache.lock().get(&key)?;
        stored.covers(at).then_some(stored.fingerprint)
    }
    /// Describes a series that [`SeriesBatch::find`] did not find; returns its fingerprint.
    pub(crate) fn describe(&mut self, key: SeriesKey, labels: &LabelSet<'_>, about: &Description<'_>, at: i64) -> u64 {
        let known = Known { first: at, last: at, fingerprint: labels.fingerprint() };
        self.here.insert(key, (known, self.columns.fingerprint.len()));
        describe(&mut self.columns, self.tenant, labels, about, known);
        labels.fingerprint()
    }
    /// Notes a sample of a series whose labels are at hand; returns its fingerprint.
    pub(crate) fn note(&mut self, labels: &LabelSet<'_>, about: &Description<'_>, at: i64) -> u64 {
        let key = SeriesKey::of_labels(self.tenant, labels.fingerprint(), about);
        self.find(key, at).unwrap_or_else(|| self.describe(key, labels, about, at))
    }
    /// About how many bytes its rows take.
    pub(crate) fn bytes(&self) -> usize {
        self.columns.bytes()
    }
    /// The rows of `series`, and what to remember once they are durable.
    pub(crate) fn finish(self) -> (SeriesColumns, Vec<(SeriesKey, Known)>) {
        (self.columns, self.here.into_iter().map(|(key, (known, _))| (key, known)).collect())
    }
}

fn describe(columns: &mut SeriesColumns, tenant: &TenantId, labels: &LabelSet<'_>, about: &Description<'_>, known: Known) {
    columns.tenant.push(tenant.as_str().as_bytes());
    columns.metric.push(about.metric.as_bytes());
    columns.fingerprint.push(labels.fingerprint());
    columns.kind.push(about.kind as u8);
    columns.temporality.push(about.temporality);
    columns.monotonic.push(u8::from(about.monotonic));
    columns.otel_name.push(about.otel_name.as_bytes());
    columns.unit.push(about.unit.as_bytes());
    columns.description.push(about.text.as_bytes());
    columns.labels.push(labels.iter());
    push_row(&mut columns.resource, about.resource);
    columns.scope_name.push(about.scope_name.as_bytes());
    columns.scope_version.push(about.scope_version.as_bytes());
    columns.first_seen.push(known.first);
    columns.last_seen.push(known.last);
    columns.resource_dropped_attributes.push(about.resource_dropped);
    columns.scope_dropped_attributes.push(about.scope_dropped);
}

/// When `target_info` of a resource was last written, per tenant and fingerprint: at most once a minute.
#[derive(Clone)]
pub(crate) struct TargetInfoCache(Arc<Mutex<Generations<(u64, u64), i64>>>);

/// `target_info` is written again after this many milliseconds.
const TARGET_INFO_MILLIS: i64 = 60_000;

impl TargetInfoCache {
    /// For at most about `capacity` resources.
    pub(crate) fn new(capacity: usize) -> Self {
        TargetInfoCache(Arc::new(Mutex::new(Generations::new(capacity))))
    }
    /// Whether it is due at `at`, and what to remember once it is durable.
    pub(crate) fn due(&self, tenant: &TenantId, fingerprint: u64, at: i64) -> Option<((u64, u64), i64)> {
        let key = (xxh3_64(tenant.as_str().as_bytes()), fingerprint);
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key);
        last.is_none_or(|last| (at - last).abs() >= TARGET_INFO_MILLIS).then_some((key, at))
    }
    /// Remembers what is durable now.
    pub(crate) fn remember(&self, marks: &[((u64, u64), i64)]) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, at) in marks {
            cache.put(*key, *at);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::labels::Labels;
    use proptest::prelude::*;

    use super::*;

    fn about() -> Description<'static> {
        Description { metric: "m", otel_name: "m", ..Description::default() }
    }

    fn set(value: &'static str) -> LabelSet<'static> {
        LabelSet::new("m", [(Cow::Borrowed("a"), Cow::Borrowed(value))])
    }

    proptest! {
        #[test]
        fn the_fingerprint_is_that_of_labels(pairs in proptest::collection::vec(("[A-Za-z_]{1,3}", "[a-z]{0,2}"), 0..8)) {
            let mut labels = Labels::empty();
            for (name, value) in &pairs {
                labels.set(name, value);
            }
            let labels = labels.with(METRIC_NAME, "metric_total");
            let set = LabelSet::new("metric_total", pairs.iter().map(|(n, v)| (n.as_str().into(), v.as_str().into())));
            prop_assert_eq!(set.fingerprint(), labels.fingerprint());
            prop_assert_eq!(set.len() + 1, labels.len());
        }
    }

    #[test]
    fn a_series_is_described_until_its_description_is_durable() {
        let (cache, tenant) = (SeriesCache::new(100), TenantId::default());
        let rows = |at: i64, remember: bool| {
            let mut batch = SeriesBatch::new(&cache, &tenant);
            batch.note(&set("x"), &about(), at);
            batch.note(&set("x"), &about(), at + 5);
            let (columns, marks) = batch.finish();
            if remember {
                cache.remember(&marks);
            }
            columns.first_seen.iter().copied().zip(columns.last_seen).collect::<Vec<_>>()
        };
        assert_eq!(rows(1_000, false), [(1_000, 1_005)], "first sight");
        assert_eq!(rows(1_000, true), [(1_000, 1_005)], "the append had failed");
        assert_eq!(rows(2_000, true), [], "known");
        assert_eq!(rows(1_005 + REFRESH_MILLIS, true), [(1_005 + REFRESH_MILLIS, 1_010 + REFRESH_MILLIS)], "an hour later");
        assert_eq!(rows(500, true), [(500, 505)], "older than what the store knows");
        assert_eq!(rows(700, true), []);
    }

    #[test]
    fn another_kind_under_the_same_labels_is_described_again() {
        let (cache, tenant) = (SeriesCache::new(100), TenantId::default());
        let mut batch = SeriesBatch::new(&cache, &tenant);
        batch.note(&set("x"), &about(), 1);
        batch.note(&set("x"), &Description { kind: SeriesKind::Sum, temporality: 1, ..about() }, 1);
        assert_eq!(batch.finish().0.fingerprint.len(), 2);
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_is_used() {
        let mut memory: Generations<u32, u32> = Generations::new(100);
        for key in 0..10_000u32 {
            memory.put(key, key);
            assert_eq!(memory.get(&0), Some(0));
        }
        assert!(memory.len() <= 100, "{}", memory.len());
        assert_eq!(memory.get(&17), None);
    }

    #[test]
    fn target_info_is_due_once_a_minute() {
        let (cache, tenant) = (TargetInfoCache::new(10), TenantId::default());
        let first = cache.due(&tenant, 7, 1_000).unwrap();
        assert!(cache.due(&tenant, 7, 1_000).is_some(), "not durable yet");
        cache.remember(&[first]);
        assert!(cache.due(&tenant, 7, 60_999).is_none());
        assert!(cache.due(&tenant, 7, 61_000).is_some());
        assert!(cache.due(&TenantId::new("other").unwrap(), 7, 1_000).is_some());
    }
}
