//! Metric families as Prometheus describes them: type, help and unit, and the memory of what remote write v1 said about each
//! name, since there the description comes in requests of its own. The memory is bounded and not durable: after a restart a
//! series is of unknown type until its sender describes it again, which Prometheus does once a minute.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use model::tenant::TenantId;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::series::{Generations, SeriesKind};

/// Families that are remembered.
const CAPACITY: usize = 50_000;

/// Prometheus's metric types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum FamilyKind {
    /// Nobody said.
    #[default]
    Unknown,
    /// A total.
    Counter,
    /// A present value.
    Gauge,
    /// Cumulative buckets, count and sum.
    Histogram,
    /// Buckets that may fall.
    GaugeHistogram,
    /// Quantiles, count and sum.
    Summary,
    /// A constant 1 whose labels say something.
    Info,
    /// Booleans, one series each.
    StateSet,
}

impl FamilyKind {
    /// By the number that both versions of remote write give it; numbers nobody knows are unknown types.
    pub(crate) fn numbered(number: i32) -> Self {
        match number {
            1 => FamilyKind::Counter,
            2 => FamilyKind::Gauge,
            3 => FamilyKind::Histogram,
            4 => FamilyKind::GaugeHistogram,
            5 => FamilyKind::Summary,
            6 => FamilyKind::Info,
            7 => FamilyKind::StateSet,
            _ => FamilyKind::Unknown,
        }
    }
    /// Suffixes that the names of its series may have behind the family's name.
    fn suffixes(self) -> &'static [&'static str] {
        match self {
            FamilyKind::Counter => &["_total", "_created"],
            FamilyKind::Histogram => &["_bucket", "_count", "_sum", "_created"],
            FamilyKind::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
            FamilyKind::Summary => &["_count", "_sum", "_created"],
            FamilyKind::Info => &["_info"],
            FamilyKind::Unknown | FamilyKind::Gauge | FamilyKind::StateSet => &[],
        }
    }
    /// Whether a series of this name belongs to a family of this name and type.
    pub(crate) fn owns(self, family: &str, series: &str) -> bool {
        series.strip_prefix(family).is_some_and(|suffix| suffix.is_empty() || self.suffixes().contains(&suffix))
    }
    /// What the number samples of a series of this name are, and whether they are a rising total.
    pub(crate) fn of_numbers(self, name: &str) -> (SeriesKind, bool) {
        let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
        match self {
            FamilyKind::Unknown => (SeriesKind::Untyped, false),
            FamilyKind::Counter | FamilyKind::Histogram | FamilyKind::Summary if ends(&["_created"]) => (SeriesKind::Gauge, false),
            FamilyKind::Counter => (SeriesKind::Sum, true),
            FamilyKind::Histogram if ends(&["_bucket", "_count", "_sum"]) => (SeriesKind::Sum, true),
            FamilyKind::Summary if ends(&["_count", "_sum"]) => (SeriesKind::Sum, true),
            FamilyKind::Histogram => (SeriesKind::Untyped, false),
            FamilyKind::Gauge | FamilyKind::GaugeHistogram | FamilyKind::Summary | FamilyKind::Info | FamilyKind::StateSet => {
                (SeriesKind::Gauge, false)
            }
        }
    }
}

/// What is known of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Family<'a> {
    /// Its type.
    pub(crate) kind: FamilyKind,
    /// For people.
    pub(crate) help: Cow<'a, str>,
    /// The unit.
    pub(crate) unit: Cow<'a, str>,
    /// Of all that, hashed: series are described again when it changes. 0 where nothing is known.
    pub(crate) id: u64,
}

impl<'a> Family<'a> {
    /// With its hash.
    pub(crate) fn new(kind: FamilyKind, help: impl Into<Cow<'a, str>>, unit: impl Into<Cow<'a, str>>) -> Self {
        let (help, unit) = (help.into(), unit.into());
        if kind == FamilyKind::Unknown && help.is_empty() && unit.is_empty() {
            return Family::default();
        }
        let mut hasher = Xxh3::new();
        hasher.update(&[kind as u8]);
        hasher.update(unit.as_bytes());
        hasher.update(&[0xFF]);
        hasher.update(help.as_bytes());
        Family { kind, help, unit, id: hasher.digest() | 1 }
    }
}

type Key = (u64, u64);

/// What was said about families, by tenant and name.
#[derive(Clone)]
pub(crate) struct Families(Arc<Mutex<Generations<Key, Arc<Family<'static>>>>>);

impl Default for Families {
    fn default() -> Self {
        Families(Arc::new(Mutex::new(Generations::new(CAPACITY))))
    }
}

/// Suffixes that the name of a series may have behind the name of its family, whatever the type.
pub(crate) const SUFFIXES: [&str; 8] = ["_total", "_bucket", "_count", "_sum", "_created", "_info", "_gcount", "_gsum"];

impl Families {
    fn key(tenant: &TenantId, name: &str) -> Key {
        (xxh3_64(tenant.as_str().as_bytes()), xxh3_64(name.as_bytes()))
    }
    /// Remembers what was said of a family.
    pub(crate) fn learn(&self, tenant: &TenantId, name: &str, kind: FamilyKind, help: &str, unit: &str) {
        let (key, mut cache) = (Families::key(tenant, name), self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let family = Family::new(kind, help, unit);
        if cache.get(&key).is_none_or(|known| known.id != family.id) {
            cache.put(key, Arc::new(Family::new(kind, help.to_owned(), unit.to_owned())));
        }
    }
    /// What is known of the family that a series of this name belongs to.
    pub(crate) fn of_series(&self, tenant: &TenantId, name: &str) -> Option<Arc<Family<'static>>> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(family) = cache.get(&Families::key(tenant, name)) {
            return Some(family);
        }
        let base = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix))?;
        cache.get(&Families::key(tenant, base)).filter(|family| family.kind.owns(base, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_what_its_family_says() {
        let (families, tenant) = (Families::default(), TenantId::default());
        for (name, kind) in [
            ("latency", FamilyKind::Histogram),
            ("requests_total", FamilyKind::Counter),
            ("jobs", FamilyKind::Counter),
            ("size", FamilyKind::Summary),
            ("temperature", FamilyKind::Gauge),
        ] {
            families.learn(&tenant, name, kind, "help", "unit");
        }
        for (series, expected) in [
            ("latency_bucket", (SeriesKind::Sum, true)),
            ("latency_sum", (SeriesKind::Sum, true)),
            ("latency_created", (SeriesKind::Gauge, false)),
            ("requests_total", (SeriesKind::Sum, true)),
            ("jobs_total", (SeriesKind::Sum, true)),
            ("size", (SeriesKind::Gauge, false)),
            ("size_count", (SeriesKind::Sum, true)),
            ("temperature", (SeriesKind::Gauge, false)),
        ] {
            let family = families.of_series(&tenant, series).unwrap();
            assert_eq!(family.kind.of_numbers(series), expected, "{series}");
        }
        for unknown in ["temperature_count", "size_bucket", "requests", "_total"] {
            assert_eq!(families.of_series(&tenant, unknown), None, "{unknown}");
        }
        assert_eq!(families.of_series(&TenantId::new("other").unwrap(), "size"), None);
    }

    #[test]
    fn what_is_said_anew_counts() {
        let (families, tenant) = (Families::default(), TenantId::default());
        families.learn(&tenant, "m", FamilyKind::Gauge, "a", "");
        let first = families.of_series(&tenant, "m").unwrap();
        families.learn(&tenant, "m", FamilyKind::Gauge, "a", "");
        assert!(Arc::ptr_eq(&first, &families.of_series(&tenant, "m").unwrap()));
        families.learn(&tenant, "m", FamilyKind::Gauge, "b", "");
        assert_ne!(first.id, families.of_series(&tenant, "m").unwrap().id);
        assert_eq!(Family::new(FamilyKind::Unknown, "", "").id, 0);
    }
}
