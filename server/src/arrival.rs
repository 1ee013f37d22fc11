//! Whether rows arrive in ClickHouse, whatever the process thinks of itself: every ten seconds a row goes the way of all rows (log,
//! insert, table) and is then looked for in ClickHouse itself. When none was found there for 25 seconds the server is not ready,
//! and says why. The rows are points of the tenant `watchfire`, one series for each node.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dashboards::health::{PartHealth, Probe};
use model::labels::{Labels, METRIC_NAME};
use model::query::SeriesSample;
use model::sink::SeriesSink;
use model::tenant::{TenantError, TenantId};
use model::time::{Clock, Stopwatch};
use prometheus::{Gauge, Registry};
use store::clickhouse::ClickHouse;
use tokio_util::sync::CancellationToken;

/// How often a row is sent.
const EVERY: Duration = Duration::from_secs(10);
/// How often ClickHouse is asked for it.
const LOOK: Duration = Duration::from_secs(2);
/// A question that takes longer counts as no answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Red when the newest row that was found there is older than this; with the pauses above, half a minute after rows stop arriving.
const LATE: Duration = Duration::from_secs(25);
/// Rows that are remembered while they are under way.
const UNDER_WAY: usize = 64;
/// The series.
const METRIC: &str = "watchfire_arrival_probe";

/// What is known of the rows that were sent. Times are since the start of the process; pure.
#[derive(Debug, Default)]
struct Trail {
    under_way: VecDeque<(i64, Duration)>,
    /// When the newest row that was found had been sent.
    found: Option<Duration>,
    trouble: Option<String>,
}

impl Trail {
    fn sent(&mut self, stamp: i64, at: Duration) {
        if self.under_way.len() == UNDER_WAY {
            self.under_way.pop_front();
        }
        self.under_way.push_back((stamp, at));
    }

    /// ClickHouse answered and has the rows with these stamps. What was sent before one of them need not be looked for any more.
    fn seen(&mut self, stamps: &[i64]) {
        self.trouble = None;
        if let Some(place) = self.under_way.iter().rposition(|(sent, _)| stamps.contains(sent)) {
            self.found = self.under_way.drain(..=place).next_back().map(|(_, at)| at).max(self.found);
        }
    }

    /// How long ago the newest row that is there was sent; since the start if none is.
    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.found.unwrap_or_default())
    }
}

/// Sends the rows and looks for them; its health is that of the whole way.
pub struct Arrival {
    tenant: TenantId,
    labels: Labels,
    series: Arc<dyn SeriesSink>,
    clickhouse: ClickHouse,
    clock: Arc<dyn Clock>,
    since: Stopwatch,
    trail: Mutex<Trail>,
    age: Gauge,
}

/// Why the probe cannot be built: a defect on our side.
#[derive(Debug, thiserror::Error)]
pub enum ArrivalError {
    /// Of the tenant.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// Of the gauge.
    #[error(transparent)]
    Meter(#[from] prometheus::Error),
}

impl Arrival {
    /// For the node of this name. Registers `watchfire_arrival_age_seconds`.
    pub fn new(
        node: &str,
        series: Arc<dyn SeriesSink>,
        clickhouse: ClickHouse,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Arc<Self>, ArrivalError> {
        let age = Gauge::new("watchfire_arrival_age_seconds", "Age of the newest row that this node sent and found in ClickHouse.")?;
        registry.register(Box::new(age.clone()))?;
        let labels = [(METRIC_NAME, METRIC), ("node", node)].into_iter().collect();
        let (tenant, since) = (TenantId::new("watchfire")?, Stopwatch::start());
        Ok(Arc::new(Arrival { tenant, labels, series, clickhouse, clock, since, trail: Mutex::default(), age }))
    }

    fn trail(&self) -> std::sync::MutexGuard<'_, Trail> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self) {
        let at = self.clock.now();
        self.trail().sent(at.millis(), self.since.elapsed());
        if let Err(refusal) = self.series.write(&self.tenant, vec![(self.labels.clone(), SeriesSample { at, value: 1.0 })]).await {
            self.trail().trouble = Some(refusal.to_string());
        }
    }

    async fn look(&self) {
        // By their very times: after the clock was set back the newest row by time is not the last one sent.
        let stamps: Vec<String> = self.trail().under_way.iter().map(|(stamp, _)| format!("fromUnixTimestamp64Milli({stamp})")).collect();
        let wanted = stamps.join(", ");
        let question = self
            .clickhouse
            .client()
            .query(&format!(
                "SELECT toUnixTimestamp64Milli(ts) FROM points WHERE tenant = ? AND metric = ? AND fingerprint = ? AND ts IN ({wanted})"
            ))
            .bind(self.tenant.as_str())
            .bind(METRIC)
            .bind(self.labels.fingerprint());
        match tokio::time::timeout(PATIENCE, question.fetch_all::<i64>()).await {
            Ok(Ok(stamps)) => self.trail().seen(&stamps),
            Ok(Err(error)) => self.trail().trouble = Some(error.to_string()),
            Err(_) => self.trail().trouble = Some(format!("no answer within {PATIENCE:?}")),
        }
        self.age.set(self.trail().age(self.since.elapsed()).as_secs_f64());
    }

    /// Sends and looks until told to stop. Neither waits for the other: a log that hangs must not keep us from seeing it.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let sending = async {
            loop {
                self.send().await;
                tokio::time::sleep(EVERY).await;
            }
        };
        let looking = async {
            loop {
                tokio::time::sleep(LOOK).await;
                // Nothing to look for: what was sent is there, and the next one is not due.
                if !self.trail().under_way.is_empty() {
                    self.look().await;
                }
            }
        };
        tokio::select! {
            () = async { tokio::join!(sending, looking); } => {}
            () = stop.cancelled() => {}
        }
    }
}

#[async_trait]
impl Probe for Arrival {
    async fn health(&self) -> PartHealth {
        let trail = self.trail();
        let age = trail.age(self.since.elapsed());
        let mut detail = match trail.found {
            Some(_) => format!("the newest row found in ClickHouse was sent {:.0} s ago", age.as_secs_f64()),
            None => format!("no row was found in ClickHouse since the start, {:.0} s ago", age.as_secs_f64()),
        };
        if let Some(trouble) = &trail.trouble {
            detail.push_str(&format!("; {trouble}"));
        }
        PartHealth { part: "arrival".to_owned(), healthy: age <= LATE, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_age_is_that_of_the_newest_row_that_is_there() {
        let mut trail = Trail::default();
        assert_eq!(trail.age(secs(7)), secs(7), "since the start");
        for n in 0..5 {
            trail.sent(1_000 + n, secs(10 * n as u64));
        }
        trail.seen(&[1_000, 1_002]);
        assert_eq!(trail.age(secs(41)), secs(21));
        assert_eq!(trail.under_way.len(), 2);
        trail.seen(&[1_002, 999]);
        trail.seen(&[]);
        assert_eq!(trail.age(secs(41)), secs(21), "an old row, or one of an earlier process, says nothing new");
        trail.seen(&[1_004]);
        assert_eq!((trail.age(secs(41)), trail.under_way.len()), (secs(1), 0));
    }

    #[test]
    fn a_long_outage_takes_no_memory_and_a_clock_set_back_does_no_harm() {
        let mut trail = Trail::default();
        for n in 0..10_000 {
            trail.sent(5_000 - n, secs(10 * n as u64));
        }
        assert_eq!(trail.under_way.len(), UNDER_WAY);
        trail.seen(&[5_000 - 9_999]);
        assert_eq!(trail.age(secs(99_990)), secs(0));
    }
}
