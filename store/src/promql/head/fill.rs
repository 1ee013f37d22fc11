//! Fills the head after a start with what ClickHouse has, newest first, and asks it for labels that nobody has said. In: the tables `points`,
//! `histograms` and `series`. Fails: never for good; what cannot be read now is tried again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ::clickhouse::{Client, Row};
use model::tenant::TenantId;
use model::time::Clock;
use serde::Deserialize;

use super::histograms::Histograms;
use super::metric::{Known, Metric};
use super::{Head, NO_VALUE, Other, Tenant};
use crate::clickhouse::ClickHouseError;
use crate::promql::arrivals::{Lag, stored_until};
use crate::promql::clickhouse::SeriesRow;
use crate::promql::clickhouse::sql::{SERIES_COLUMNS, STALE};
use crate::promql::source::BucketPoint;

/// How far back samples are read: a day's dashboard and its widest window.
const BACK: i64 = 25 * HOUR;
const HOUR: i64 = 3_600_000;
/// Samples older than this are forgotten, whatever room there is.
const AGE: i64 = 7 * 24 * HOUR;
/// How long between looks at what there is to do.
const PAUSE: Duration = Duration::from_secs(1);
/// How long between looks for the oldest samples.
const SWEEP: i64 = 60_000;
/// How many names of metrics stand in one question.
const NAMES: usize = 200;
/// So many points of a histogram are put into memory at a time.
const POINTS: usize = 4_096;
/// A statement may take so many seconds.
const SECONDS: &str = "60";

#[derive(Row, Deserialize)]
struct NewestRow {
    rows: u64,
    newest: i64,
}

#[derive(Row, Deserialize)]
struct NameRow {
    owner: String,
    name: String,
    is_summary: u8,
}

#[derive(Row, Deserialize)]
struct ExplicitRow {
    owner: String,
    name: String,
    is_delta: u8,
    number: u64,
}

#[derive(Row, Deserialize)]
struct SamplesRow {
    owner: String,
    name: String,
    fingerprint: u64,
    times: Vec<i64>,
    samples: Vec<f64>,
}

#[derive(Row, Deserialize)]
struct HistogramRow {
    owner: String,
    name: String,
    fingerprint: u64,
    at: i64,
    total: u64,
    summed: f64,
    bounds: Vec<f64>,
    counts: Vec<u64>,
    flags: u32,
}

/// Points of one histogram, in order of time.
#[derive(Default)]
struct Run {
    owner: String,
    name: String,
    fingerprint: u64,
    points: Vec<BucketPoint>,
    sums: Vec<f64>,
}

impl Run {
    /// Whether a row belongs to it. A long one ends between two moments.
    fn goes_on(&self, row: &HistogramRow) -> bool {
        let is_full = self.points.len() >= POINTS && self.points.last().is_some_and(|last| last.at != row.at);
        !is_full && self.fingerprint == row.fingerprint && self.name == row.name && self.owner == row.owner
    }
}

/// What has series of which nobody has said what they are.
enum Unnamed {
    Numbers(Arc<Metric>),
    Histograms(Arc<Histograms>),
}

impl Unnamed {
    /// By the names of their metrics.
    fn of(tenant: &Tenant) -> Vec<(String, Unnamed)> {
        let metrics = tenant.metrics.read().unwrap_or_else(PoisonError::into_inner);
        let numbers = metrics.iter().map(|(name, metric)| (name, Unnamed::Numbers(Arc::clone(metric))));
        let histograms = tenant.histograms.read().unwrap_or_else(PoisonError::into_inner);
        let others = histograms.iter().map(|(name, all)| (name, Unnamed::Histograms(Arc::clone(all))));
        let unnamed = numbers.chain(others).filter(|(_, one)| !one.fingerprints().is_empty());
        unnamed.map(|(name, one)| (name.clone(), one)).collect()
    }

    fn fingerprints(&self) -> Vec<u64> {
        match self {
            Unnamed::Numbers(metric) => metric.unknown(),
            Unnamed::Histograms(histograms) => histograms.unknown(),
        }
    }

    fn name(&self, fingerprint: u64, known: Known) -> isize {
        match self {
            Unnamed::Numbers(metric) => metric.name(fingerprint, known),
            Unnamed::Histograms(histograms) => histograms.name(fingerprint, known),
        }
    }
}

/// Fills a head.
pub struct Filler {
    head: Arc<Head>,
    client: Client,
    clock: Arc<dyn Clock>,
    lag: Lag,
    started: i64,
}

impl Filler {
    /// `lag` says how far the log is behind: nothing is read before ClickHouse has all that the log held at the start.
    pub fn new(head: Arc<Head>, client: Client, clock: Arc<dyn Clock>, lag: Lag) -> Self {
        let started = clock.now().millis();
        Filler { head, client, clock, lag, started }
    }

    /// Fills, then keeps labels known and forgets what is old, until it is dropped.
    pub async fn run(self) {
        while !self.is_caught_up() {
            tokio::time::sleep(PAUSE / 4).await;
        }
        while let Err(error) = self.fill().await {
            tracing::warn!(error = error.message, "the newest samples cannot be read into memory now; PromQL asks ClickHouse meanwhile");
            tokio::time::sleep(PAUSE * 5).await;
        }
        let mut swept = self.clock.now().millis();
        loop {
            let now = self.clock.now().millis();
            if now - swept >= SWEEP {
                swept = now;
                self.head.forget(now - AGE);
            }
            let wait = match self.name_all().await {
                Ok(0) => PAUSE,
                Ok(_) => PAUSE * 10,
                Err(error) => {
                    tracing::debug!(error = error.message, "labels of series in memory cannot be read now");
                    PAUSE * 5
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn is_caught_up(&self) -> bool {
        stored_until(self.clock.now().millis(), &self.lag) >= self.started
    }

    /// Reads what there is. After it, all that came after the newest stored sample is in memory, and before it an hour at a time.
    pub async fn fill(&self) -> Result<(), ClickHouseError> {
        let histograms = self.learn_distributions().await?;
        let statement = "SELECT sum(number) AS rows, toUnixTimestamp64Milli(max(last)) AS newest FROM \
                         (SELECT count() AS number, max(ts) AS last FROM points UNION ALL \
                          SELECT count() AS number, max(ts) AS last FROM histograms)";
        let NewestRow { rows, newest } = self.query(statement).fetch_one().await?;
        if rows == 0 {
            self.head.completed_from(i64::MIN);
            return Ok(());
        }
        self.head.completed_from(newest);
        let oldest = newest.saturating_sub(BACK);
        let mut until = newest;
        while until > oldest && self.head.bytes() < self.head.limit / 4 * 3 {
            let after = (until - 1).div_euclid(HOUR) * HOUR;
            if !(self.fill_numbers(after, until).await? && self.fill_all_histograms(after, until, &histograms).await?) {
                break; // there is no room for all of it
            }
            self.name_all().await?;
            self.head.completed_from(after);
            until = after;
        }
        tracing::info!(bytes = self.head.bytes(), hours = (newest - until) / HOUR, "the newest samples are in memory");
        Ok(())
    }

    fn query(&self, statement: &str) -> ::clickhouse::query::Query {
        self.client.query(statement).with_setting("max_execution_time", SECONDS).with_setting("max_threads", "1")
    }

    /// Learns which distributions are not held. Returns tenant and name of the explicit histograms that are.
    async fn learn_distributions(&self) -> Result<Vec<(String, String)>, ClickHouseError> {
        let statement = "SELECT DISTINCT toString(tenant) AS owner, toString(metric) AS name, kind = 'summary' AS is_summary FROM series \
                         WHERE kind IN ('exp_histogram', 'summary')";
        let mut cursor = self.query(statement).fetch::<NameRow>()?;
        while let Some(row) = cursor.next().await? {
            let Ok(tenant) = TenantId::new(&row.owner) else { continue };
            self.head.tenant_or_new(&tenant).refuse(&row.name, if row.is_summary != 0 { Other::Summary } else { Other::Native });
        }
        // The names with the fewest first, as far as there is room. Series say once a day that they live.
        let statement = "SELECT toString(tenant) AS owner, toString(metric) AS name, max(temporality = 'delta') AS is_delta, \
                         uniqExact(fingerprint) AS number FROM series WHERE kind = 'histogram' AND \
                         last_seen > (SELECT max(last_seen) FROM series) - INTERVAL 3 DAY GROUP BY owner, name ORDER BY number, name";
        let (mut cursor, mut held, mut wanted) = (self.query(statement).fetch::<ExplicitRow>()?, 0, Vec::new());
        while let Some(row) = cursor.next().await? {
            let Ok(tenant) = TenantId::new(&row.owner) else { continue };
            held += if row.is_delta == 0 { row.number } else { 0 };
            if row.is_delta != 0 || held > self.head.most_histograms() as u64 {
                self.head.tenant_or_new(&tenant).refuse(&row.name, Other::Explicit);
            } else {
                wanted.push((row.owner, row.name));
            }
        }
        Ok(wanted)
    }

    /// Says whether there was room for all.
    async fn fill_numbers(&self, after: i64, until: i64) -> Result<bool, ClickHouseError> {
        let statement = format!(
            "SELECT toString(tenant) AS owner, toString(metric) AS name, fingerprint, groupArray(toUnixTimestamp64Milli(ts)) AS times, \
             groupArray(if(bitTest(flags, 0), {STALE}, value)) AS samples FROM points \
             WHERE ts > fromUnixTimestamp64Milli(toInt64(?)) AND ts <= fromUnixTimestamp64Milli(toInt64(?)) GROUP BY owner, name, fingerprint"
        );
        let mut cursor = self.query(&statement).bind(after).bind(until).fetch::<SamplesRow>()?;
        while let Some(row) = cursor.next().await? {
            let Ok(tenant) = TenantId::new(&row.owner) else { continue };
            let metric = self.head.tenant_or_new(&tenant).metric(&row.name);
            self.head.grow(metric.fill(row.fingerprint, row.times, row.samples));
            if self.is_full() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Says whether there was room for all.
    async fn fill_all_histograms(&self, after: i64, until: i64, names: &[(String, String)]) -> Result<bool, ClickHouseError> {
        for some in names.chunks(NAMES) {
            if !self.fill_histograms(after, until, some).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same for some of them. Rows come in the order in which they are stored, so that nobody has to hold and sort them.
    async fn fill_histograms(&self, after: i64, until: i64, names: &[(String, String)]) -> Result<bool, ClickHouseError> {
        let places = vec!["(?, ?)"; names.len()].join(", ");
        let statement = format!(
            "SELECT toString(tenant) AS owner, toString(metric) AS name, fingerprint, toUnixTimestamp64Milli(ts) AS at, \
             count AS total, sum AS summed, bounds, counts, flags FROM histograms \
             WHERE ts > fromUnixTimestamp64Milli(toInt64(?)) AND ts <= fromUnixTimestamp64Milli(toInt64(?)) AND (tenant, metric) \
             IN ({places}) ORDER BY tenant, metric, toStartOfHour(ts), fingerprint, ts"
        );
        let query = self.query(&statement).bind(after).bind(until);
        let query = names.iter().fold(query, |query, (owner, name)| query.bind(owner.as_str()).bind(name.as_str()));
        let mut cursor = query.fetch::<HistogramRow>()?;
        let mut run = Run::default();
        while let Some(row) = cursor.next().await? {
            if !run.goes_on(&row) {
                self.keep(std::mem::take(&mut run));
                if self.is_full() {
                    return Ok(false);
                }
                (run.owner, run.name, run.fingerprint) = (row.owner, row.name, row.fingerprint);
            }
            let stale = row.flags & NO_VALUE != 0;
            run.points.push(BucketPoint { at: row.at, bounds: row.bounds, counts: row.counts, count: row.total, stale });
            run.sums.push(row.summed);
        }
        self.keep(run);
        Ok(true)
    }

    fn keep(&self, run: Run) {
        let Ok(tenant) = TenantId::new(&run.owner) else { return };
        let tenant = self.head.tenant_or_new(&tenant);
        if tenant.refuses_explicit(&run.name) {
            return;
        }
        let histograms = tenant.histograms(&run.name);
        self.head.grow(histograms.fill(run.fingerprint, run.points, &run.sums));
    }

    fn is_full(&self) -> bool {
        self.head.bytes() > self.head.limit
    }

    /// Asks for the labels that nobody has said. Returns how many are still not known.
    async fn name_all(&self) -> Result<usize, ClickHouseError> {
        let tenants: Vec<(TenantId, Vec<(String, Unnamed)>)> = {
            let all = self.head.tenants.read().unwrap_or_else(PoisonError::into_inner);
            all.iter().map(|(id, tenant)| (id.clone(), Unnamed::of(tenant))).collect()
        };
        let mut left = 0;
        for (id, unnamed) in tenants {
            for some in unnamed.chunks(NAMES) {
                left += self.name_some(&id, some).await?;
            }
        }
        Ok(left)
    }

    async fn name_some(&self, id: &TenantId, unnamed: &[(String, Unnamed)]) -> Result<usize, ClickHouseError> {
        let mut wanted: HashMap<&str, Vec<(&Unnamed, HashSet<u64>)>> = HashMap::new();
        for (name, one) in unnamed {
            wanted.entry(name.as_str()).or_default().push((one, one.fingerprints().into_iter().collect()));
        }
        let places = vec!["?"; unnamed.len()].join(", ");
        let statement = format!("{SERIES_COLUMNS}tenant = ? AND metric IN ({places}) GROUP BY metric, fingerprint");
        let query = unnamed.iter().fold(self.query(&statement).bind(id.as_str()), |query, (name, _)| query.bind(name.as_str()));
        let mut cursor = query.fetch::<SeriesRow>()?;
        while let Some(row) = cursor.next().await? {
            let named = wanted.get(row.name.as_str()).into_iter().flatten();
            let mut named = named.filter(|(_, wanted)| wanted.contains(&row.fingerprint)).map(|(one, _)| *one).peekable();
            if named.peek().is_none() {
                continue;
            }
            let known = Known::new(&row.name, row.label_map, (row.kind_code, row.temporality_code, row.is_monotonic));
            if let Some(other) = Other::of(row.kind_code, row.temporality_code) {
                self.head.tenant_or_new(id).refuse(&row.name, other);
            }
            named.for_each(|one| self.head.grow(one.name(row.fingerprint, known.clone())));
        }
        Ok(unnamed.iter().map(|(_, one)| one.fingerprints().len()).sum())
    }
}
