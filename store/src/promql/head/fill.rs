//! Fills the head after a start with what ClickHouse has, newest first, and asks it for labels that nobody has said. In: the tables `points`
//! and `series`. Fails: never for good; what cannot be read now is tried again.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ::clickhouse::{Client, Row};
use model::tenant::TenantId;
use model::time::Clock;
use serde::Deserialize;

use super::Head;
use super::metric::Known;
use crate::clickhouse::ClickHouseError;
use crate::promql::arrivals::{Lag, stored_until};
use crate::promql::clickhouse::SeriesRow;
use crate::promql::clickhouse::sql::{SERIES_COLUMNS, STALE};

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
}

#[derive(Row, Deserialize)]
struct SamplesRow {
    owner: String,
    name: String,
    fingerprint: u64,
    times: Vec<i64>,
    samples: Vec<f64>,
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
        self.learn_distributions().await?;
        let statement = "SELECT count() AS rows, toUnixTimestamp64Milli(max(ts)) AS newest FROM points";
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
            self.fill_span(after, until).await?;
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

    async fn learn_distributions(&self) -> Result<(), ClickHouseError> {
        let statement = "SELECT DISTINCT toString(tenant) AS owner, toString(metric) AS name FROM series \
                         WHERE kind IN ('histogram', 'exp_histogram', 'summary')";
        let mut cursor = self.query(statement).fetch::<NameRow>()?;
        while let Some(row) = cursor.next().await? {
            let Ok(tenant) = TenantId::new(&row.owner) else { continue };
            let tenant = self.head.tenant_or_new(&tenant);
            tenant.others.write().unwrap_or_else(PoisonError::into_inner).insert(row.name);
        }
        Ok(())
    }

    async fn fill_span(&self, after: i64, until: i64) -> Result<(), ClickHouseError> {
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
        }
        Ok(())
    }

    /// Asks for the labels that nobody has said. Returns how many are still not known.
    async fn name_all(&self) -> Result<usize, ClickHouseError> {
        let tenants: Vec<(TenantId, Vec<String>)> = {
            let all = self.head.tenants.read().unwrap_or_else(PoisonError::into_inner);
            let names = |tenant: &super::Tenant| -> Vec<String> {
                let metrics = tenant.metrics.read().unwrap_or_else(PoisonError::into_inner);
                metrics.iter().filter(|(_, metric)| !metric.unknown().is_empty()).map(|(name, _)| name.clone()).collect()
            };
            all.iter().map(|(id, tenant)| (id.clone(), names(tenant))).collect()
        };
        let mut left = 0;
        for (id, names) in tenants {
            for names in names.chunks(NAMES) {
                left += self.name_some(&id, names).await?;
            }
        }
        Ok(left)
    }

    async fn name_some(&self, id: &TenantId, names: &[String]) -> Result<usize, ClickHouseError> {
        let tenant = self.head.tenant_or_new(id);
        let metrics: HashMap<&str, _> = names.iter().map(|name| (name.as_str(), tenant.metric(name))).collect();
        let places = vec!["?"; names.len()].join(", ");
        let statement = format!("{SERIES_COLUMNS}tenant = ? AND metric IN ({places}) GROUP BY metric, fingerprint");
        let query = names.iter().fold(self.query(&statement).bind(id.as_str()), |query, name| query.bind(name.as_str()));
        let unknown: HashMap<&str, std::collections::HashSet<u64>> =
            metrics.iter().map(|(name, metric)| (*name, metric.unknown().into_iter().collect())).collect();
        let mut cursor = query.fetch::<SeriesRow>()?;
        while let Some(row) = cursor.next().await? {
            let Some(metric) = metrics.get(row.name.as_str()).filter(|_| unknown[row.name.as_str()].contains(&row.fingerprint)) else {
                continue;
            };
            let known = Known::new(&row.name, row.label_map, (row.kind_code, row.temporality_code, row.is_monotonic));
            self.head.grow(metric.name(row.fingerprint, known));
        }
        Ok(metrics.values().map(|metric| metric.unknown().len()).sum())
    }
}
