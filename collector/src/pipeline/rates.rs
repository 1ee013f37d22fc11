//! How much each tenant may send: a token bucket for records and one for bytes, per signal. A request is taken whole while there is
//! anything in the bucket, and what it takes beyond is owed, so that a request larger than the burst passes too and the mean is kept.
//! Time is an argument. Bounded by the number of tenants.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::tenant::TenantId;
use model::time::Timestamp;

use super::Problem;
use super::config::{RateConfig, RateLimitsConfig, TenantLimits};

/// What a request holds of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Spans.
    Spans,
    /// Log records.
    Logs,
    /// Metric points.
    Metrics,
    /// Error events that were sent as such.
    Errors,
}

/// All of them, in the order of the enum.
const FLOWS: [Flow; 4] = [Flow::Spans, Flow::Logs, Flow::Metrics, Flow::Errors];

impl Flow {
    /// Its key in the configuration.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Flow::Spans => "spans",
            Flow::Logs => "logs",
            Flow::Metrics => "metrics",
            Flow::Errors => "errors",
        }
    }
    /// Of a request's metric label `signal`, where all its records are of one kind.
    pub(crate) fn of_signal(label: &str) -> Option<Self> {
        match label {
            "traces" | "spans" => Some(Flow::Spans),
            "logs" => Some(Flow::Logs),
            "metrics" => Some(Flow::Metrics),
            "errors" => Some(Flow::Errors),
            _ => None,
        }
    }
}

/// The records of a request, by [`Flow`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load(pub(crate) [u64; FLOWS.len()]);

impl Load {
    /// Adds one.
    pub(crate) fn add(&mut self, flow: Flow) {
        self.0[flow as usize] += 1;
    }
    /// Adds several.
    pub(crate) fn add_many(&mut self, flow: Flow, count: u64) {
        self.0[flow as usize] += count;
    }
    fn total(&self) -> u64 {
        self.0.iter().sum()
    }
    /// What each kind takes of the records and bytes of a request: bytes in proportion to the records.
    fn costs(self, bytes: u64) -> impl Iterator<Item = (Flow, u64, u64)> {
        let total = u128::from(self.total().max(1));
        let share = move |records: u64| u64::try_from(u128::from(bytes) * u128::from(records) / total).unwrap_or(u64::MAX);
        FLOWS.into_iter().zip(self.0).filter(|(_, records)| *records > 0).map(move |(flow, records)| (flow, records, share(records)))
    }
}

/// Compiled limits.
#[derive(Clone, Default)]
pub(crate) struct RateLimits {
    config: RateLimitsConfig,
}

impl RateLimits {
    /// Checks.
    pub(crate) fn new(config: &RateLimitsConfig, problems: &mut Vec<Problem>) -> Self {
        let named = config.tenants.iter().map(|(name, limits)| (format!("rate_limits.tenants.{name}"), limits));
        for (place, limits) in named.chain([("rate_limits.default".to_owned(), &config.default)]) {
            for (flow, rate) in
                [(Flow::Spans, limits.spans), (Flow::Logs, limits.logs), (Flow::Metrics, limits.metrics), (Flow::Errors, limits.errors)]
            {
                let place = format!("{place}.{}", flow.label());
                if rate.records == Some(0) || rate.bytes.is_some_and(|bytes| bytes.0 == 0) {
                    problems.push(Problem::new(&place, "a rate is 0: nothing would pass; leave it out for no limit, or revoke the key"));
                }
                if rate.burst.0 < Duration::from_secs(1) {
                    problems.push(Problem::new(&place, "`burst` is below 1s: set at least 1s"));
                }
            }
        }
        for name in config.tenants.keys().filter(|name| TenantId::new(name.as_str()).is_err()) {
            problems.push(Problem::new("rate_limits.tenants", format!("`{name}` is no name of a tenant")));
        }
        RateLimits { config: config.clone() }
    }
    fn of(&self, tenant: &TenantId, flow: Flow) -> RateConfig {
        let TenantLimits { spans, logs, metrics, errors } =
            self.config.tenants.get(tenant.as_str()).copied().unwrap_or(self.config.default);
        match flow {
            Flow::Spans => spans,
            Flow::Logs => logs,
            Flow::Metrics => metrics,
            Flow::Errors => errors,
        }
    }
    fn none(&self) -> bool {
        self.config == RateLimitsConfig::default()
    }
}

/// What was over its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Over {
    /// Which kind.
    pub(crate) flow: Flow,
    /// Whether it was the bytes, not the records.
    pub(crate) bytes: bool,
    /// The limit, each second.
    pub(crate) limit: u64,
    /// How long until something passes again.
    pub(crate) wait: Duration,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// What is in it; below 0 what is owed.
    tokens: f64,
    at: Timestamp,
}

impl Bucket {
    fn fill(&mut self, rate: f64, burst: Duration, now: Timestamp) {
        let most = rate * burst.as_secs_f64();
        self.tokens = (self.tokens + now.since(self.at).as_secs_f64() * rate).min(most);
        self.at = now;
    }
}

/// The buckets of all tenants.
#[derive(Default)]
pub(crate) struct Buckets(Mutex<HashMap<(TenantId, u8, bool), Bucket>>);

impl Buckets {
    /// Takes a request's cost out of the buckets, or nothing of it where one of them is empty.
    pub(crate) fn take(&self, limits: &RateLimits, tenant: &TenantId, load: Load, bytes: u64, now: Timestamp) -> Result<(), Over> {
        if limits.none() {
            return Ok(());
        }
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let costs = || load.costs(bytes).flat_map(|(flow, records, bytes)| [(flow, false, records), (flow, true, bytes)]);
        for (flow, of_bytes, _) in costs() {
            look(&mut buckets, limits, tenant, flow, of_bytes, now)?;
        }
        for (flow, of_bytes, cost) in costs() {
            if let Some(bucket) = buckets.get_mut(&(tenant.clone(), flow as u8, of_bytes)) {
                bucket.tokens -= cost as f64;
            }
        }
        Ok(())
    }

    /// Refuses where a request of this kind would be: before it is decoded.
    pub(crate) fn check(&self, limits: &RateLimits, tenant: &TenantId, flow: Flow, now: Timestamp) -> Result<(), Over> {
        if limits.none() {
            return Ok(());
        }
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut buckets, limits, tenant, flow, false, now)?;
        look(&mut buckets, limits, tenant, flow, true, now)
    }

    /// Gives back what a request took that was not stored after all.
    pub(crate) fn give_back(&self, limits: &RateLimits, tenant: &TenantId, load: Load, bytes: u64) {
        if limits.none() {
            return;
        }
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (flow, records, bytes) in load.costs(bytes) {
            for (of_bytes, cost) in [(false, records), (true, bytes)] {
                if let Some(bucket) = buckets.get_mut(&(tenant.clone(), flow as u8, of_bytes)) {
                    bucket.tokens += cost as f64;
                }
            }
        }
    }
}

/// Whether there is anything in a bucket; fills it first. Without a limit there is no bucket.
fn look(
    buckets: &mut HashMap<(TenantId, u8, bool), Bucket>,
    limits: &RateLimits,
    tenant: &TenantId,
    flow: Flow,
    bytes: bool,
    now: Timestamp,
) -> Result<(), Over> {
    let config = limits.of(tenant, flow);
    let key = (tenant.clone(), flow as u8, bytes);
    let Some(limit) = (if bytes { config.bytes.map(|bytes| bytes.0) } else { config.records }) else {
        buckets.remove(&key);
        return Ok(());
    };
    let rate = limit.max(1) as f64;
    let bucket = buckets.entry(key).or_insert(Bucket { tokens: rate * config.burst.0.as_secs_f64(), at: now });
    bucket.fill(rate, config.burst.0, now);
    if bucket.tokens > 0.0 {
        return Ok(());
    }
    // A little more than nothing must be in it again.
    let wait = Duration::from_secs_f64((-bucket.tokens / rate).min(86_400.0)) + Duration::from_millis(1);
    Err(Over { flow, bytes, limit, wait })
}

#[cfg(test)]
mod tests {
    use model::time::Span;
    use model::units::ByteCount;
    use proptest::prelude::*;

    use super::*;

    fn limits(records: Option<u64>, bytes: Option<u64>) -> RateLimits {
        let rate = RateConfig { records, bytes: bytes.map(ByteCount), burst: Span::secs(2) };
        RateLimits {
            config: RateLimitsConfig { default: TenantLimits { spans: rate, ..TenantLimits::default() }, ..RateLimitsConfig::default() },
        }
    }

    fn spans(count: u64) -> Load {
        Load([count, 0, 0, 0])
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    #[test]
    fn a_bucket_gives_what_it_has_and_says_when_it_has_more() {
        let (buckets, tenant, limits) = (Buckets::default(), TenantId::default(), limits(Some(100), None));
        let take = |count, millis| buckets.take(&limits, &tenant, spans(count), 1 << 20, at(millis));
        assert_eq!(take(150, 0), Ok(()));
        assert_eq!(take(150, 0), Ok(()), "there were 50 left, 100 are owed");
        let over = take(1, 0).unwrap_err();
        assert_eq!((over.flow, over.bytes, over.limit, over.wait), (Flow::Spans, false, 100, Duration::from_millis(1_001)));
        assert!(take(1, 999).is_err(), "a refused request takes nothing");
        assert_eq!(take(5, 1_010), Ok(()));
        assert_eq!(buckets.take(&limits, &tenant, Load([0, 999_999, 0, 0]), 0, at(0)), Ok(()), "other signals have no limit");
        assert_eq!(buckets.take(&limits, &TenantId::new("other").unwrap(), spans(1), 0, at(0)), Ok(()), "tenants are apart");
        assert!(buckets.check(&limits, &tenant, Flow::Spans, at(1_010)).is_err());
        buckets.give_back(&limits, &tenant, spans(100), 0);
        assert_eq!(buckets.check(&limits, &tenant, Flow::Spans, at(1_010)), Ok(()));
    }

    #[test]
    fn bytes_are_limited_too_and_a_limit_that_goes_takes_its_debt_along() {
        let (buckets, tenant) = (Buckets::default(), TenantId::default());
        let tight = limits(None, Some(1_000));
        assert_eq!(buckets.take(&tight, &tenant, spans(1), 50_000, at(0)), Ok(()), "larger than the burst");
        let over = buckets.take(&tight, &tenant, spans(1), 1, at(1_000)).unwrap_err();
        assert!(over.bytes && over.wait > Duration::from_secs(46), "{over:?}");
        assert_eq!(buckets.take(&limits(Some(5), None), &tenant, spans(1), 1, at(1_000)), Ok(()));
        assert_eq!(buckets.take(&tight, &tenant, spans(1), 1, at(1_000)), Ok(()));
    }

    proptest! {
        /// Over any time, no more passes than burst, rate and one request.
        #[test]
        fn the_mean_is_kept(requests in proptest::collection::vec((1..500u64, 0..3_000i64), 1..100)) {
            let (buckets, tenant, limits) = (Buckets::default(), TenantId::default(), limits(Some(100), None));
            let (mut now, mut passed, mut largest) = (0i64, 0u64, 0);
            for (count, pause) in requests {
                now += pause;
                largest = largest.max(count);
                match buckets.take(&limits, &tenant, spans(count), 0, at(now)) {
                    Ok(()) => passed += count,
                    Err(over) => prop_assert!(over.wait <= Duration::from_secs(6)),
                }
            }
            prop_assert!(passed as f64 <= 200.0 + now as f64 / 10.0 + largest as f64);
        }
    }
}
