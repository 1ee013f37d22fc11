//! `GET /api/watchfire/v1/logs/tail`: log lines as they arrive, as server-sent events. In: every batch that the log takes (this stands before the log
//! and looks on), and a search that says which lines somebody wants. Out: lines a moment after they are durable, long before a query finds them. Nothing
//! is looked at while nobody listens. What is too much to be shown is counted and told, never waited for: intake is not slowed by who looks on.

mod line;
mod search;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream;
use model::access::{Permission, Principal};
use model::sink::{Appended, Batch, Refusal, TelemetrySink};
use model::tail::TailPolicy;
use model::tenant::TenantId;
use prometheus::{IntCounter, IntGauge, Registry};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::answer::ApiError;
use line::Line;
use search::Search;

/// How many streams may be open.
const STREAMS: usize = 32;
/// How many batches a slow reader may be behind.
const BEHIND: usize = 32;
/// The most lines of one event.
const MOST_LINES: usize = 500;
/// The least time between two events of one stream.
const PACE: Duration = Duration::from_millis(100);
/// How long a stream lives, so that a revoked key hears no more.
const LIFE: Duration = Duration::from_secs(240);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The lines of one batch.
#[derive(Clone, Debug)]
struct Arrived {
    tenant: TenantId,
    lines: Arc<Vec<Line>>,
    /// Lines of the batch that are left out because it is too large.
    left_out: u64,
}

/// Hands lines on to whoever listens.
#[derive(Clone)]
pub struct Tail {
    channel: broadcast::Sender<Arrived>,
    places: Arc<Semaphore>,
    closing: CancellationToken,
    open: IntGauge,
    left_out: IntCounter,
}

impl Tail {
    /// Registers `watchfire_log_tail_streams` and `watchfire_log_tail_left_out_total`. `closing` ends every stream.
    pub fn new(closing: CancellationToken, registry: &Registry) -> Result<Self, prometheus::Error> {
        let open = IntGauge::new("watchfire_log_tail_streams", "Streams of arriving log lines that are open.")?;
        let left_out =
            IntCounter::new("watchfire_log_tail_left_out_total", "Lines that were too many to be shown as they arrived; they are stored.")?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(left_out.clone()))?;
        Ok(Tail { channel: broadcast::channel(BEHIND).0, places: Arc::new(Semaphore::new(STREAMS)), closing, open, left_out })
    }

    /// A sink that looks on what goes into `inner`.
    pub fn before(&self, inner: Arc<dyn TelemetrySink>) -> Arc<dyn TelemetrySink> {
        Arc::new(Watching { tail: self.clone(), inner })
    }

    /// The route.
    pub fn router(&self) -> Router {
        Router::new().route("/api/watchfire/v1/logs/tail", get(tail)).with_state(self.clone())
    }

    fn look(&self, batch: &Batch) -> Option<Arrived> {
        if self.channel.receiver_count() == 0 {
            return None;
        }
        let (mut lines, mut left_out) = (Vec::new(), 0);
        for block in batch.blocks.iter().filter(|block| block.table.name == model::tables::LOGS.name) {
            left_out += line::read(block, &mut lines);
        }
        (!lines.is_empty()).then(|| Arrived { tenant: batch.tenant.clone(), lines: Arc::new(lines), left_out })
    }
}

struct Watching {
    tail: Tail,
    inner: Arc<dyn TelemetrySink>,
}

#[async_trait]
impl TelemetrySink for Watching {
    async fn append(&self, batch: Batch) -> Result<Appended, Refusal> {
        let seen = self.tail.look(&batch);
        let appended = self.inner.append(batch).await?;
        if let (Some(arrived), Appended::Durable) = (seen, appended) {
            // Fails when the last listener has just gone.
            let _ = self.tail.channel.send(arrived);
        }
        Ok(appended)
    }

    fn set_tail_policy(&self, policy: Option<Arc<TailPolicy>>) {
        self.inner.set_tail_policy(policy);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Terms as JSON; all lines where it is left out.
    search: Option<String>,
}

/// One stream's place, given back when it ends.
struct Place {
    _permit: OwnedSemaphorePermit,
    open: IntGauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

async fn tail(
    State(tail): State<Tail>,
    Extension(principal): Extension<Principal>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let search = Search::parse(wanted.search.as_deref().unwrap_or("[]")).map_err(ApiError::bad_data)?;
    let Ok(permit) = tail.places.clone().try_acquire_owned() else {
        let message = format!("{STREAMS} live tails are open already, and no more are served: close one");
        let refused = ApiError { status: StatusCode::SERVICE_UNAVAILABLE, kind: "unavailable", message };
        return Ok(([(RETRY_AFTER, HeaderValue::from_static("30"))], refused).into_response());
    };
    tail.open.inc();
    let reader = Reader {
        tenant: principal.tenant,
        search,
        channel: tail.channel.subscribe(),
        waiting: VecDeque::from([Event::default().retry(Duration::from_secs(1)).comment("lines follow")]),
        until: Instant::now() + LIFE,
        closing: tail.closing.clone(),
        left_out: tail.left_out.clone(),
        _place: Place { _permit: permit, open: tail.open.clone() },
    };
    let stream = stream::unfold(reader, |mut reader| async move { reader.next().await.map(|event| (Ok::<_, Infallible>(event), reader)) });
    let answer = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([(CACHE_CONTROL, "no-store"), (HeaderName::from_static("x-accel-buffering"), "no")], answer).into_response())
}

struct Reader {
    tenant: TenantId,
    search: Search,
    channel: broadcast::Receiver<Arrived>,
    waiting: VecDeque<Event>,
    until: Instant,
    closing: CancellationToken,
    left_out: IntCounter,
    _place: Place,
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let first = tokio::select! {
                received = self.channel.recv() => received,
                () = self.closing.cancelled() => return None,
                () = sleep_until(self.until) => return None,
            };
            let (mut lines, mut left_out, mut lost) = (Vec::new(), 0, 0);
            match first {
                Ok(arrived) => self.take(&arrived, &mut lines, &mut left_out),
                Err(broadcast::error::RecvError::Lagged(batches)) => lost += batches,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
            // Requests come in swarms: one event for what comes within a moment.
            sleep(PACE).await;
            loop {
                match self.channel.try_recv() {
                    Ok(arrived) => self.take(&arrived, &mut lines, &mut left_out),
                    Err(broadcast::error::TryRecvError::Lagged(batches)) => lost += batches,
                    Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => break,
                }
            }
            self.left_out.inc_by(left_out);
            if lines.is_empty() && left_out == 0 && lost == 0 {
                continue;
            }
            let event = json!({"lines": lines, "left_out": left_out, "lost_batches": lost});
            self.waiting.extend(Event::default().event("lines").json_data(event).ok());
        }
    }

    /// The lines of a batch that fit, as far as there is room for them.
    fn take(&self, arrived: &Arrived, lines: &mut Vec<Line>, left_out: &mut u64) {
        if arrived.tenant != self.tenant {
            return;
        }
        *left_out += arrived.left_out;
        for line in arrived.lines.iter().filter(|line| self.search.fits(line)) {
            if lines.len() < MOST_LINES { lines.push(line.clone()) } else { *left_out += 1 }
        }
    }
}

#[cfg(test)]
mod tests;
