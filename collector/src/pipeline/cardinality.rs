//! How many series a metric and a tenant have, and which are over the limit. In: each series when it is described, which is at least
//! once an hour while it is active. Out: whether it is stored as it is, becomes its metric's overflow series, or is rejected: a tenant whose
//! series are used up gets an overflow series for each of its further metrics, but only for so many of them. Bounded: never remembers
//! more series than the limits allow, nor more names than that, and forgets what is no longer seen.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::tenant::TenantId;
use model::time::Timestamp;

use super::Problem;
use super::config::CardinalityConfig;
use super::text::Wording;
use crate::series::Hashed;

/// The label that the OpenTelemetry SDKs put on their own overflow series.
pub(crate) const OVERFLOW_LABEL: &str = "otel_metric_overflow";
/// A tenant whose series are used up has at most so many metrics that are an overflow series and nothing else; points of further ones are
/// rejected. Who makes up metric names without end would else have as many series as names.
pub(crate) const MAX_OVERFLOW_METRICS: usize = 1_000;
/// The least window: a described series is looked at once an hour, so a shorter one would forget what is active.
const LEAST_WINDOW: Duration = Duration::from_secs(7_200);

/// Compiled limits.
#[derive(Clone)]
pub(crate) struct Limits {
    per_metric: usize,
    per_tenant: usize,
    window: Duration,
    metrics: Vec<(Wording, usize)>,
}

impl Limits {
    /// Checks and compiles.
    pub(crate) fn new(config: &CardinalityConfig, problems: &mut Vec<Problem>) -> Self {
        if config.window.0 < LEAST_WINDOW {
            let sentence = "`window` is below 2h: active series are looked at once an hour, set at least 2h";
            problems.push(Problem::new("cardinality", sentence));
        }
        let limit = |count: usize| if count == 0 { usize::MAX } else { count };
        Limits {
            per_metric: limit(config.max_series_per_metric),
            per_tenant: limit(config.max_series_per_tenant),
            window: config.window.0,
            metrics: config.metrics.iter().map(|one| (Wording::glob(&one.metric), limit(one.max_series))).collect(),
        }
    }
    /// No limits.
    pub(crate) fn off() -> Self {
        Limits { per_metric: usize::MAX, per_tenant: usize::MAX, window: LEAST_WINDOW, metrics: Vec::new() }
    }
    fn none(&self) -> bool {
        self.per_metric == usize::MAX && self.per_tenant == usize::MAX && self.metrics.iter().all(|(_, limit)| *limit == usize::MAX)
    }
    fn of(&self, metric: &str) -> usize {
        self.metrics.iter().find(|(wording, _)| wording.matches(metric)).map_or(self.per_metric, |(_, limit)| *limit)
    }
}

/// Whether a series may be stored as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it is.
    Admitted,
    /// As the metric's overflow series.
    Overflow,
    /// Not at all: the tenant has too many metrics that are nothing but overflow.
    Refused,
}

/// The series of a metric in this window and the one before.
#[derive(Default)]
struct Seen {
    now: HashSet<u64, Hashed>,
    before: HashSet<u64, Hashed>,
    /// Whether the overflow of this window was logged.
    told: bool,
}

#[derive(Default)]
struct Tenant {
    since: Timestamp,
    /// Those without a series have but their overflow series.
    metrics: HashMap<String, Seen>,
    /// Series of all metrics.
    series: usize,
    /// Metrics without a series.
    overflowing: usize,
    told: bool,
}

impl Tenant {
    /// Starts a new window where the old one is over.
    fn turn(&mut self, now: Timestamp, window: Duration) {
        let age = now.since(self.since);
        if age < window {
            return;
        }
        // After two windows without a look nothing of them is left.
        let both = age >= window.saturating_mul(2);
        self.since = now;
        self.told = false;
        self.metrics.retain(|_, seen| {
            seen.before = if both { HashSet::default() } else { std::mem::take(&mut seen.now) };
            seen.now = HashSet::default();
            seen.told = false;
            !seen.before.is_empty()
        });
        self.series = self.metrics.values().map(|seen| seen.before.len()).sum();
        self.overflowing = 0;
    }
}

/// The memory of active series.
#[derive(Default)]
pub(crate) struct ActiveSeries(Mutex<HashMap<TenantId, Tenant>>);

impl ActiveSeries {
    /// Whether this series of a metric may be stored as it is. Logs the first one of a window that may not.
    pub(crate) fn admit(&self, limits: &Limits, tenant: &TenantId, metric: &str, fingerprint: u64, now: Timestamp) -> Verdict {
        if limits.none() {
            return Verdict::Admitted;
        }
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !tenants.contains_key(tenant) {
            tenants.insert(tenant.clone(), Tenant { since: now, ..Tenant::default() });
        }
        let Some(of) = tenants.get_mut(tenant) else { return Verdict::Admitted };
        of.turn(now, limits.window);
        let room = of.series < limits.per_tenant;
        let Some(seen) = of.metrics.get_mut(metric) else {
            if room {
                of.metrics.entry(metric.to_owned()).or_default().now.insert(fingerprint);
                of.series += 1;
                return Verdict::Admitted;
            }
            let refused = of.overflowing >= MAX_OVERFLOW_METRICS;
            if refused && !std::mem::replace(&mut of.told, true) {
                tracing::warn!(
                    %tenant, metric, series = of.series, limit = limits.per_tenant, overflowing = of.overflowing,
                    "a tenant has too many series and too many metrics beside them: points of further metrics are rejected"
                );
            }
            if refused {
                return Verdict::Refused;
            }
            of.metrics.entry(metric.to_owned()).or_default().told = true;
            of.overflowing += 1;
            if of.overflowing == 1 {
                tracing::warn!(
                    %tenant, metric, series = of.series, limit = limits.per_tenant,
                    "a tenant has too many series: further metrics are their series with otel_metric_overflow=\"true\" only"
                );
            }
            return Verdict::Overflow;
        };
        if seen.now.contains(&fingerprint) {
            return Verdict::Admitted;
        }
        if seen.before.remove(&fingerprint) {
            seen.now.insert(fingerprint);
            return Verdict::Admitted;
        }
        let (active, limit) = (seen.now.len() + seen.before.len(), limits.of(metric));
        if room && active < limit {
            if active == 0 {
                of.overflowing = of.overflowing.saturating_sub(1);
            }
            seen.now.insert(fingerprint);
            of.series += 1;
            return Verdict::Admitted;
        }
        if !std::mem::replace(&mut seen.told, true) {
            tracing::warn!(%tenant, metric, active, limit, "a metric has too many series: further ones become its series with otel_metric_overflow=\"true\"");
        }
        Verdict::Overflow
    }

    /// How many series are remembered.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(|tenant| tenant.series).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(per_metric: usize, per_tenant: usize) -> Limits {
        Limits { per_metric, per_tenant, ..Limits::off() }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    #[test]
    fn further_series_overflow_until_others_are_forgotten() {
        let (active, tenant) = (ActiveSeries::default(), TenantId::default());
        let limits = limits(2, usize::MAX);
        let admit = |metric, series, secs| active.admit(&limits, &tenant, metric, series, at(secs));
        assert_eq!([admit("m", 1, 0), admit("m", 2, 1), admit("m", 3, 2)], [Verdict::Admitted, Verdict::Admitted, Verdict::Overflow]);
        assert_eq!([admit("m", 1, 3), admit("n", 3, 4)], [Verdict::Admitted; 2], "known ones pass, and so do other metrics");
        // One window later only the first is seen again; two windows later the second is forgotten.
        assert_eq!([admit("m", 1, 7_200), admit("m", 3, 7_201)], [Verdict::Admitted, Verdict::Overflow]);
        assert_eq!(
            [admit("m", 1, 14_400), admit("m", 3, 14_401), admit("m", 2, 14_402)],
            [Verdict::Admitted, Verdict::Admitted, Verdict::Overflow]
        );
        let other = TenantId::new("other").unwrap();
        assert_eq!(active.admit(&limits, &other, "m", 9, at(14_403)), Verdict::Admitted, "tenants are apart");
        assert_eq!(admit("m", 7, 100_000), Verdict::Admitted, "after a long silence all is forgotten");
        assert_eq!(active.len(), 2);
    }

    #[test]
    fn further_metrics_of_a_tenant_are_overflow_and_only_so_many() {
        let (active, tenant) = (ActiveSeries::default(), TenantId::default());
        let limits = limits(10, 2);
        let admit = |metric: &str, series, secs| active.admit(&limits, &tenant, metric, series, at(secs));
        assert_eq!([admit("a", 1, 0), admit("b", 2, 0)], [Verdict::Admitted; 2]);
        assert_eq!([admit("c", 3, 0), admit("a", 4, 0), admit("a", 1, 0)], [Verdict::Overflow, Verdict::Overflow, Verdict::Admitted]);
        let verdicts: Vec<Verdict> = (0..=MAX_OVERFLOW_METRICS).map(|number| admit(&format!("m{number}"), 5, 1)).collect();
        let overflow = verdicts.iter().filter(|verdict| **verdict == Verdict::Overflow).count();
        assert_eq!((overflow, verdicts.last()), (MAX_OVERFLOW_METRICS - 1, Some(&Verdict::Refused)), "`c` is one of them");
        assert_eq!([admit("c", 6, 1), admit("m0", 6, 1), admit("late", 6, 1)], [Verdict::Overflow, Verdict::Overflow, Verdict::Refused]);
        assert_eq!(active.len(), 2);
        // Where a series of `a` is no longer seen there is room for another metric, and names are counted anew.
        assert_eq!(
            [admit("a", 1, 7_200), admit("b", 2, 7_200), admit("late", 6, 7_201)],
            [Verdict::Admitted, Verdict::Admitted, Verdict::Overflow]
        );
        assert_eq!([admit("a", 1, 14_400), admit("late", 6, 14_400)], [Verdict::Admitted, Verdict::Overflow], "`b` may still come");
        assert_eq!([admit("a", 1, 21_600), admit("late", 6, 21_601)], [Verdict::Admitted, Verdict::Admitted]);
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_active_series_stay(steps in proptest::collection::vec((0..6u64, 0..4_000i64), 1..200)) {
            let (active, tenant) = (ActiveSeries::default(), TenantId::default());
            let limits = limits(3, 5);
            let (mut now, mut held) = (0, HashSet::new());
            prop_assert_eq!(active.admit(&limits, &tenant, "m", 0, at(0)), Verdict::Admitted);
            for (series, step) in steps {
                now += step.min(3_599);
                // The first series is looked at every hour, so it is never refused.
                prop_assert_eq!(active.admit(&limits, &tenant, "m", 0, at(now)), Verdict::Admitted);
                if active.admit(&limits, &tenant, "m", series, at(now)) == Verdict::Admitted {
                    held.insert(series);
                }
                prop_assert!(active.len() <= 3);
            }
            prop_assert!(!held.is_empty());
        }
    }
}
