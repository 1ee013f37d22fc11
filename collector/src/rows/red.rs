//! Rate, errors, duration: series derived from spans before any sampling, as the OpenTelemetry span-metrics connector names
//! them. They are delta series in the same batch as their spans, so they are exactly as durable. Their time is the time of
//! arrival: a late span counts when it comes. Several batches may write the same series at the same millisecond: such
//! points add up.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use model::tenant::TenantId;
use model::time::Timestamp;

use super::{Arrival, Built};
use crate::columns::{HistogramColumns, PointColumns};
use crate::config::Config;
use crate::series::{Description, LabelSet, SeriesBatch};

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

/// Which services and span names the derived series know: bounded, so that a sender that puts ids into span names cannot
/// make series without end.
pub(crate) struct NameGuard {
    services: Mutex<HashMap<(TenantId, String), HashMap<String, i64>>>,
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
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.clone(), service.to_owned());
        if !services.contains_key(&key) && services.len() >= self.max_services {
            services.retain(|_, names| names.values().any(|seen| now - seen < FORGET_MILLIS));
            if services.len() >= self.max_services {
                return (OVERFLOW, OVERFLOW, true);
            }
        }
        let names = services.entry(key).or_default();
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
    fn add(&mut self, duration: u64) {
        let at = BOUNDS.partition_point(|bound| *bound < duration as f64 / 1e9);
        self.counts[at] += 1;
        self.least = if self.calls == 0 { duration } else { self.least.min(duration) };
        self.most = self.most.max(duration);
        self.nanos += u128::from(duration);
        self.calls += 1;
    }
}

/// Names under which a span counts: service, span name.
type Names = (String, String);

/// The derived series of one request.
pub(crate) struct Red<'a> {
    arrival: Arrival<'a>,
    admitted: HashMap<Names, (Names, bool)>,
    sums: BTreeMap<(String, String, u8, u8), Sums>,
    overflow: u64,
}

impl<'a> Red<'a> {
    /// No spans yet.
    pub(crate) fn new(arrival: Arrival<'a>) -> Self {
        Red { arrival, admitted: HashMap::new(), sums: BTreeMap::new(), overflow: 0 }
    }
    /// Adds a span; `duration` in nanoseconds.
    pub(crate) fn add(&mut self, service: &str, name: &str, kind: u8, status: u8, duration: u64) {
        let arrival = self.arrival;
        let (names, over) = self.admitted.entry((service.to_owned(), name.to_owned())).or_insert_with(|| {
            let (service, name, over) = arrival.names.admit(arrival.tenant, service, name, arrival.at);
            ((service.to_owned(), name.to_owned()), over)
        });
        self.overflow += u64::from(*over);
        let key = (names.0.clone(), names.1.clone(), kind, status);
        self.sums.entry(key).or_default().add(duration);
    }
    /// How many spans passed the limit.
    pub(crate) fn overflow(&self) -> u64 {
        self.overflow
    }
    /// The blocks: one point a series.
    pub(crate) fn finish(self, built: &mut Built) {
        let mut batch = SeriesBatch::new(self.arrival.series, self.arrival.tenant);
        let (mut points, mut histograms) = (PointColumns::default(), HistogramColumns::default());
        for ((service, name, kind, status), sums) in &self.sums {
            let labels = [
                ("service_name", service.as_str()),
                ("span_name", name.as_str()),
                ("span_kind", KINDS[usize::from(*kind).min(5)]),
                ("status_code", STATUSES[usize::from(*status).min(2)]),
            ];
            let at = self.arrival.at.millis();
            for about in [calls(), duration()] {
                let set = LabelSet::new(about.metric, labels.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))));
                batch.note(&set, &about, at);
                if about.metric == CALLS {
                    push_calls(&mut points, self.arrival, set.fingerprint(), sums);
                } else {
                    push_duration(&mut histograms, self.arrival, set.fingerprint(), sums);
                }
            }
        }
        let (series, marks) = batch.finish();
        built.push(series.into_block());
        built.push(points.into_block());
        built.push(histograms.into_block());
        built.series.extend(marks);
    }
}

fn calls() -> Description<'static> {
    Description {
        metric: CALLS,
        kind: 1,
        temporality: 1,
        monotonic: true,
        otel_name: "traces.span.metrics.calls",
        unit: "",
        text: "Number of spans, counted at arrival, before any sampling.",
        resource: &[],
        scope_name: "",
        scope_version: "",
    }
}

fn duration() -> Description<'static> {
    Description {
        metric: DURATION,
        kind: 2,
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
            sums.add(nanos);
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
        let later = start.plus(std::time::Duration::from_millis(FORGET_MILLIS as u64));
        assert_eq!(admit("a", "x", later), ("a", "x", false), "seen again");
        assert_eq!(admit("a", "z", later), ("a", "z", false), "y is forgotten");
        assert_eq!(admit("a", "y", later), ("a", OVERFLOW, true));
    }
}
