//! Which moments are over: until when no stored sample can appear any more of which this node does not know yet. In: every batch on its way
//! into the log, and how far the log is behind; out: the newest moment whose values are final. Right only where one node writes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::columns::{Column, TableBlock};
use model::sink::{Appended, Batch, Refusal, TelemetrySink};
use model::tail::TailPolicy;
use model::tenant::TenantId;
use model::time::{Clock, Timestamp};

use super::cache::Cache;
use super::head::Head;

/// Samples that arrive later than this after their own time are late.
const MARGIN: i64 = 120_000;
/// How long after its batch a late sample may still be on its way, beyond what the log says.
const SLACK: i64 = 60_000;
/// Late batches of a tenant that begin within so many milliseconds of each other count as one.
const TOGETHER: i64 = 10_000;
/// More than this are one.
const MOST: usize = 512;

/// How far the log is behind: the age of the oldest row that it holds and ClickHouse does not; `None` where there is none.
pub type Lag = Box<dyn Fn() -> Option<Duration> + Send + Sync>;

/// Until when ClickHouse has all that the log was given, in milliseconds.
pub fn stored_until(now: i64, lag: &Lag) -> i64 {
    let lag = lag().map_or(0, |lag| i64::try_from(lag.as_millis()).unwrap_or(i64::MAX / 4));
    now.saturating_sub(lag)
}

/// Late samples on their way.
struct Late {
    begun: i64,
    /// The oldest of them.
    from: i64,
    /// Batches of which the log has not said yet that it has them.
    open: usize,
    /// When the last of them was over.
    over: i64,
    number: u64,
}

/// What is known of arrivals.
pub struct Arrivals {
    clock: Arc<dyn Clock>,
    started: i64,
    lag: Lag,
    late: Mutex<(u64, HashMap<TenantId, VecDeque<Late>>)>,
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrivals").field("started", &self.started).finish_non_exhaustive()
    }
}

/// What was final when a question began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Values at or before this moment (milliseconds) ...
    pub until: i64,
    number: u64,
}

impl Arrivals {
    /// From now on. What the log held before was late or not, nobody knows: nothing is final until that is stored.
    pub fn new(clock: Arc<dyn Clock>, lag: Lag) -> Self {
        Arrivals { started: clock.now().millis(), clock, lag, late: Mutex::default() }
    }

    /// What is final now, for a tenant.
    pub fn seen(&self, tenant: &TenantId) -> Seen {
        let now = self.clock.now().millis();
        let stored = stored_until(now, &self.lag);
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let number = late.0;
        if stored < self.started {
            return Seen { until: i64::MIN, number };
        }
        let mut until = stored.saturating_sub(MARGIN);
        if let Some(all) = late.1.get_mut(tenant) {
            all.retain(|late| late.open > 0 || late.over.saturating_add(SLACK) >= stored);
            until = all.iter().map(|late| late.from - 1).fold(until, i64::min);
        }
        Seen { until, number }
    }

    /// What is still final of what was, when the question ends.
    pub fn still(&self, tenant: &TenantId, seen: Seen) -> i64 {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let since = late.1.get(tenant).into_iter().flatten().filter(|late| late.number > seen.number);
        since.map(|late| late.from - 1).fold(seen.until, i64::min)
    }

    /// Samples as old as `from` begin their way. True if they are late.
    fn begin(&self, tenant: &TenantId, from: i64) -> bool {
        let now = self.clock.now().millis();
        if from > now.saturating_sub(MARGIN) {
            return false;
        }
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.0 += 1;
        let number = late.0;
        let all = late.1.entry(tenant.clone()).or_default();
        match all.back_mut() {
            Some(last) if now - last.begun < TOGETHER => {
                (last.from, last.open, last.number) = (last.from.min(from), last.open + 1, number);
            }
            Some(_) | None => all.push_back(Late { begun: now, from, open: 1, over: now, number }),
        }
        if all.len() > MOST
            && let Some(first) = all.pop_front()
            && let Some(next) = all.front_mut()
        {
            (next.from, next.open) = (next.from.min(first.from), next.open + first.open);
            (next.begun, next.over, next.number) = (first.begun, next.over.max(first.over), next.number.max(first.number));
        }
        true
    }

    /// The log has them, or has refused them.
    fn end(&self, tenant: &TenantId) {
        let now = self.clock.now().millis();
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        // Which of them is the same to the result: one that is open longer only keeps its moments from being final for longer.
        if let Some(open) = late.1.get_mut(tenant).into_iter().flatten().find(|late| late.open > 0) {
            open.open -= 1;
        }
        late.1.get_mut(tenant).into_iter().flatten().for_each(|late| late.over = now);
    }
}

/// The oldest moment of which a batch tells something new to PromQL, in milliseconds.
fn oldest(blocks: &[TableBlock]) -> Option<i64> {
    let times = |block: &TableBlock| {
        let column = match block.table.name {
            "points" | "histograms" | "exp_histograms" | "summaries" => "ts",
            "series" => "first_seen",
            _ => return None,
        };
        let at = block.table.position(column)?;
        let Column::Int64(times) = &block.columns[at] else { return None };
        times.iter().min().copied()
    };
    blocks.iter().filter_map(times).min()
}

/// A way into the log that tells a [`Cache`] what passes, and gives a [`Head`] what the log has taken.
pub struct Watched {
    inner: Arc<dyn TelemetrySink>,
    cache: Option<Arc<Cache>>,
    head: Option<Arc<Head>>,
}

impl Watched {
    /// Before another sink.
    pub fn new(inner: Arc<dyn TelemetrySink>, cache: Option<Arc<Cache>>, head: Option<Arc<Head>>) -> Self {
        Watched { inner, cache, head }
    }

    /// Appends, and gives the head what was taken. Once begun it ends, whether or not anybody waits for it: what the log has, the head
    /// must have.
    async fn append_and_keep(&self, batch: Batch, head: &Arc<Head>) -> Result<Appended, Refusal> {
        let samples = head.of_interest(&batch.tenant, &batch.blocks);
        if samples.is_empty() {
            return self.inner.append(batch).await;
        }
        let (inner, head) = (Arc::clone(&self.inner), Arc::clone(head));
        let appended = tokio::spawn(async move {
            let tenant = batch.tenant.clone();
            let appended = inner.append(batch).await;
            if matches!(appended, Ok(Appended::Durable)) {
                head.take(&tenant, &samples);
            }
            appended
        });
        // It dies with the runtime only.
        appended.await.unwrap_or(Err(Refusal::Stopping))
    }
}

/// Ends what [`Arrivals::begin`] began, also when nobody waits for the log's answer any more.
struct Open<'a>(&'a Arrivals, TenantId);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.end(&self.1);
    }
}

#[async_trait]
impl TelemetrySink for Watched {
    async fn append(&self, batch: Batch) -> Result<Appended, Refusal> {
        let mut open = None;
        if let Some(cache) = &self.cache
            && let Some(from) = oldest(&batch.blocks)
            && cache.arrivals().begin(&batch.tenant, from)
        {
            cache.cut(&batch.tenant, Timestamp::from_millis(from));
            open = Some(Open(cache.arrivals(), batch.tenant.clone()));
        }
        let appended = match &self.head {
            Some(head) => self.append_and_keep(batch, head).await,
            None => self.inner.append(batch).await,
        };
        drop(open);
        appended
    }

    fn set_tail_policy(&self, policy: Option<Arc<TailPolicy>>) {
        self.inner.set_tail_policy(policy);
    }
}
