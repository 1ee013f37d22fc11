//! Rate, errors, duration: series derived from spans before any sampling, as the OpenTelemetry span-metrics connector names
//! them. They are delta series in the same batch as their spans, so they are exactly as durable. Their time is the time of
//! arrival: a late span counts when it comes. Several batches may write the same series at the same millisecond: such
//! points add up.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use model::tenant::TenantId;
use model::time::Timestamp;

use super::Arrival;
use crate::columns::{HistogramColumns, PointColumns};
use crate::config::Config;
use crate::series::{Description, LabelSet, SeriesBatch, SeriesKind};

/// Number of spans.
pub(crate) const CALLS: &str = "traces_span_metrics_calls_total";
/// Distribution of their durations.
pub(crate) const DURATION: &str = "traces_span_metrics_duration_seconds";
/// The service or span name of what passed the limit.
pub(crate) const OVERFLOW: &str = "overflow";

/// The connector's default bounds, in seconds.
const BOUNDS: [f64; 16] = [0.002, 0.004, 0.006, 0.008, 0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.4, 2.0, 5.0, 10.0, 15.0];

/// A span name is forgotten when it was not seen for this long, if room is needed.
const FORGET_MILLIS: i64 = 3_600_000;

const KINDS: [&str; 6] =
    ["SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT", "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER"];
const STATUSES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// The span names of each service, and when they were seen last, in milliseconds.
type Services = HashMap<String, HashMap<String, i64>>;

/// Which services and span names of each tenant the derived series know: bounded, so that a sender that puts ids into span names cannot
/// make series without end.
pub(crate) struct NameGuard {
    services: Mutex<HashMap<TenantId, Services>>,
    max_services: usize,
    max_names: usize,
}

impl NameGuard {
    /// With the configured limits.
    pub(crate) fn new(config: &Config) -> Self {
        NameGuard { services: Mutex::default(), max_services: config.red_services, max_names: config.red_span_names }
    }
    /// The service and name under which a span counts, and whether it passed the limit.
    fn admit<'a>(&self, tenant: &TenantId, service: &'a str, name: &'a str, now: Timestamp) -> (&'a str, &'a str, bool) {
        let now = now.millis();
        let mut tenants = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        // Each tenant has all of the room: no other one can take it.
        let services = match tenants.get_mut(tenant) {
            Some(services) => services,
            None => tenants.entry(tenant.clone()).or_default(),
        };
        if !services.contains_key(service) && services.len() >= self.max_services {
            services.retain(|_, names| names.values().any(|seen| now - seen < FORGET_MILLIS));
            if services.len() >= self.max_services {
                return (OVERFLOW, OVERFLOW, true);
            }
        }
        let names = match services.get_mut(service) {
            Some(names) => names,
            None => services.entry(service.to_owned()).or_default(),
        };
        if let Some(seen) = names.get_mut(name) {
            *seen = now;
            return (service, name, false);
        }
        if names.len() >= self.max_names {
            names.retain(|_, seen| now - *seen < FORGET_MILLIS);
            if names.len() >= self.max_names {
                return (service, OVERFLOW, true);
            }
        }
        names.insert(name.to_owned(), now);
        (service, name, false)
    }
}

#[derive(Default)]
struct Sums {
    calls: u64,
    nanos: u128,
    least: u64,
    most: u64,
    counts: [u64; BOUNDS.len() + 1],
}

impl Sums {
    /// Adds a span that stands for `weight` of them.
    fn add(&mut self, duration: u64, weight: u64) {
        let at = BOUNDS.partition_point(|bound| *bound < duration as f64 / 1e9);
        self.counts[at] += weight;
        self.least = if self.calls == 0 { duration } else { self.least.min(duration) };
        self.most = self.most.max(duration);
        self.nanos += u128::from(duration) * u128::from(weight);
        self.calls += weight;
    }
}

/// The spans of one service and name in a request.
struct Group {
    /// The service and span name under which they count.
    names: (String, String),
    /// Whether they passed the limit.
    over: bool,
    /// Per kind and status.
    cells: Vec<(u8, u8, Sums)>,
}

/// The derived series of one request.
pub(crate) struct Red<'r> {
    arrival: Arrival<'r>,
    /// Service -> span name -> index into `groups`.
    index: HashMap<String, HashMap<String, usize>>,
    groups: Vec<Group>,
    overflow: u64,
}

impl<'r> Red<'r> {
    /// No spans yet.
    pub(crate) fn new(arrival: Arrival<'r>) -> Self {
        Red { arrival, index: HashMap::default(), groups: Vec::new(), overflow: 0 }
    }
    /// Adds a span; `duration` in nanoseconds; `weight` is how many spans it stands for since its sender sampled.
    pub(crate) fn add(&mut self, service: &str, name: &str, kind: u8, status: u8, duration: u64, weight: u32) {
        let weight = u64::from(weight);
        let at = match self.index.get(service).and_then(|names| names.get(name)) {
            Some(at) => *at,
            None => self.admit(service, name),
        };
        let Some(group) = self.groups.get_mut(at) else { return };
        self.overflow += u64::from(group.over);
        match group.cells.iter_mut().find(|cell| (cell.0, cell.1) == (kind, status)) {
            Some(cell) => cell.2.add(duration, weight),
            None => {
                let mut sums = Sums::default();
                sums.add(duration, weight);
                group.cells.push((kind, status, sums));
            }
        }
    }
    /// The group of a service and name that were not seen in this request; those past the limit share one.
    fn admit(&mut self, service: &str, name: &str) -> usize {
        let (as_service, as_name, over) = self.arrival.names.admit(self.arrival.tenant, service, name, self.arrival.at);
        let same = |group: &Group| group.over && group.names.0 == as_service && group.names.1 == as_name;
        let known = if over { self.groups.iter().position(same) } else { None };
        let at = known.unwrap_or_else(|| {
            self.groups.push(Group { names: (as_service.to_owned(), as_name.to_owned()), over, cells: Vec::new() });
            self.groups.len() - 1
        });
        self.index.entry(service.to_owned()).or_default().insert(name.to_owned(), at);
        at
    }
    /// How many spans passed the limit.
    pub(crate) fn overflow(&self) -> u64 {
        self.overflow
    }
    /// Adds the points: one a series.
    pub(crate) fn finish(self, series: &mut SeriesBatch<'_>, points: &mut PointColumns, histograms: &mut HistogramColumns) {
        let cells = self.groups.iter().flat_map(|group| group.cells.iter().map(move |cell| (&group.names, cell)));
        for ((service, name), (kind, status, sums)) in cells {
            let labels = [
                ("service_name", service.as_str()),
                ("span_name", name.as_str()),
                ("span_kind", KINDS[usize::from(*kind).min(5)]),
                ("status_code", STATUSES[usize::from(*status).min(2)]),
            ];
            let at = self.arrival.at.millis();
            for about in [calls(), duration()] {
                let set = LabelSet::new(about.metric, labels.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))));
                let fingerprint = series.note(&set, &about, at);
                if about.metric == CALLS {
                    push_calls(points, self.arrival, fingerprint, sums);
                } else {
                    push_duration(histograms, self.arrival, fingerprint, sums);
                }
            }
        }
    }
}

fn calls() -> Description<'static> {
    Description {
        metric: CALLS,
        kind: SeriesKind::Sum,
        temporality: 1,
        monotonic: true,
        otel_name: "traces.span.metrics.calls",
        text: "Number of spans, counted at arrival, before any sampling.",
        ..Description::default()
    }
}

fn duration() -> Description<'static> {
    Description {
        metric: DURATION,
        kind: SeriesKind::Histogram,
        monotonic: false,
        otel_name: "traces.span.metrics.duration",
        unit: "s",
        text: "Duration of spans, counted at arrival, before any sampling.",
        ..calls()
    }
}

fn push_calls(to: &mut PointColumns, arrival: Arrival<'_>, fingerprint: u64, sums: &Sums) {
    to.tenant.push(arrival.tenant.as_str().as_bytes());
    to.metric.push(CALLS.as_bytes());
    to.fingerprint.push(fingerprint);
    to.ts.push(arrival.at.millis());
    to.start_ts.push(0);
    to.value.push(sums.calls as f64);
    to.flags.push(0);
    to.retention_days.push(arrival.limits.retention.metrics);
}

fn push_duration(to: &mut HistogramColumns, arrival: Arrival<'_>, fingerprint: u64, sums: &Sums) {
    to.tenant.push(arrival.tenant.as_str().as_bytes());
    to.metric.push(DURATION.as_bytes());
    to.fingerprint.push(fingerprint);
    to.ts.push(arrival.at.millis());
    to.start_ts.push(0);
    to.count.push(sums.calls);
    to.sum.push(sums.nanos as f64 / 1e9);
    to.min.push(sums.least as f64 / 1e9);
    to.max.push(sums.most as f64 / 1e9);
    to.bounds.items.extend(BOUNDS);
    to.bounds.end_row(BOUNDS.len());
    to.counts.items.extend(sums.counts);
    to.counts.end_row(sums.counts.len());
    to.flags.push(0);
    to.retention_days.push(arrival.limits.retention.metrics);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_pass() {
        let mut sums = Sums::default();
        for nanos in [0, 2_000_000, 2_000_001, 15_000_000_000, 15_000_000_001] {
            sums.add(nanos, 1);
        }
        assert_eq!((sums.counts[0], sums.counts[1], sums.counts[15], sums.counts[16]), (2, 1, 1, 1));
        assert_eq!((sums.calls, sums.least, sums.most), (5, 0, 15_000_000_001));
    }

    #[test]
    fn names_past_the_limit_overflow_until_old_ones_are_forgotten() {
        let guard = NameGuard::new(&Config { red_span_names: 2, red_services: 1, ..Config::default() });
        let (tenant, start) = (TenantId::default(), Timestamp::from_secs(1_000));
        let admit = |service, name, at| guard.admit(&tenant, service, name, at);
        assert_eq!(admit("a", "x", start), ("a", "x", false));
        assert_eq!(admit("a", "y", start), ("a", "y", false));
        assert_eq!(admit("a", "z", start), ("a", OVERFLOW, true));
        assert_eq!(admit("b", "x", start), (OVERFLOW, OVERFLOW, true));
        let other = TenantId::new("other").unwrap();
        assert_eq!(guard.admit(&other, "b", "x", start), ("b", "x", false), "a tenant does not take another one's room");
        let later = start.plus(std::time::Duration::from_millis(FORGET_MILLIS as u64));
        assert_eq!(admit("a", "x", later), ("a", "x", false), "seen again");
        assert_eq!(admit("a", "z", later), ("a", "z", false), "y is forgotten");
        assert_eq!(admit("a", "y", later), ("a", OVERFLOW, true));
    }
}
