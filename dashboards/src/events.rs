//! `GET /api/watchfire/v1/events`: the journal as server-sent events, so that screens need not ask again and again. In: who asks, and the number of
//! the last event seen (`Last-Event-ID` or `?after=`; without either only what is new). Out: each event of the tenant once, in order, with its number as
//! id. Streams are bounded in number; one ends after a few minutes, so that a revoked key hears no more, and its reader resumes.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream;
use model::access::{Permission, Principal};
use model::drive::{Nudge, NudgeListener};
use model::event::{EventKind, Recorded};
use model::state::{JournalQuery, StateError, StateStore};
use model::tenant::TenantId;
use prometheus::{IntGauge, Registry};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::answer::ApiError;

/// How many streams one tenant may hold open.
const STREAMS: usize = 64;
/// How many all tenants may.
const STREAMS_OF_ALL: usize = 512;
/// How many events one look at the journal fetches at most.
const BATCH: usize = 256;
/// The least time between two looks at the journal of one stream.
const PACE: Duration = Duration::from_millis(150);
/// How long a stream lives.
const LIFE: Duration = Duration::from_secs(240);
/// How soon a reader comes back after its stream ended.
const COME_BACK: Duration = Duration::from_secs(1);
/// How often a quiet stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What streams read from.
pub struct Feed {
    /// The journal.
    pub state: Arc<dyn StateStore>,
    /// Tells of commits of this process.
    pub nudge: Nudge,
    /// The longest time between two looks: for commits of other nodes.
    pub longest: Duration,
    /// Ends every stream.
    pub closing: CancellationToken,
}

/// The bounds of streams.
struct Places {
    all: Arc<Semaphore>,
    tenants: Mutex<BTreeMap<TenantId, Arc<Semaphore>>>,
    open: IntGauge,
}

/// One stream's place, given back when it ends.
struct Place {
    _all: OwnedSemaphorePermit,
    _tenant: OwnedSemaphorePermit,
    open: IntGauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Places {
    /// A place, while there are any.
    fn take(&self, tenant: &TenantId) -> Option<Place> {
        let of_tenant = {
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            tenants.retain(|_, places| places.available_permits() < STREAMS);
            tenants.entry(tenant.clone()).or_insert_with(|| Arc::new(Semaphore::new(STREAMS))).clone()
        };
        let place = Place {
            _tenant: of_tenant.try_acquire_owned().ok()?,
            _all: self.all.clone().try_acquire_owned().ok()?,
            open: self.open.clone(),
        };
        self.open.inc();
        Some(place)
    }
}

#[derive(Clone)]
struct Desk {
    feed: Arc<Feed>,
    places: Arc<Places>,
}

/// The route. Registers `watchfire_event_streams`, the streams that are open.
pub fn router(feed: Feed, registry: &Registry) -> Result<Router, prometheus::Error> {
    let open = IntGauge::new("watchfire_event_streams", "Streams of journal events that are open.")?;
    registry.register(Box::new(open.clone()))?;
    let places = Places { all: Arc::new(Semaphore::new(STREAMS_OF_ALL)), tenants: Mutex::default(), open };
    Ok(Router::new().route("/api/watchfire/v1/events", get(events)).with_state(Desk { feed: Arc::new(feed), places: Arc::new(places) }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    after: Option<u64>,
}

fn unavailable(error: &StateError) -> ApiError {
    ApiError { status: StatusCode::SERVICE_UNAVAILABLE, kind: "unavailable", message: error.to_string() }
}

async fn events(
    State(desk): State<Desk>,
    Extension(principal): Extension<Principal>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let last = match headers.get("last-event-id") {
        Some(id) => Some(
            id.to_str()
                .ok()
                .and_then(|id| id.trim().parse::<u64>().ok())
                .ok_or_else(|| ApiError::bad_data("Last-Event-ID is the number of an event of this stream, or is left out"))?,
        ),
        None => wanted.after,
    };
    let Some(place) = desk.places.take(&principal.tenant) else {
        let message =
            format!("{STREAMS} streams of events are open already, and no more are served: close one, or ask the other routes instead");
        let refused = ApiError { status: StatusCode::SERVICE_UNAVAILABLE, kind: "unavailable", message };
        return Ok(([(RETRY_AFTER, HeaderValue::from_static("30"))], refused).into_response());
    };
    let listener = desk.feed.nudge.listener();
    let head = desk.feed.state.head().await.map_err(|error| unavailable(&error))?;
    let reader = Reader {
        is_admin: principal.require(Permission::Admin).is_ok(),
        tenant: principal.tenant,
        // A number of another journal (the state was set up anew) would wait for ever.
        after: last.map_or(head, |last| last.min(head)),
        hello: true,
        waiting: VecDeque::new(),
        listener,
        until: Instant::now() + LIFE,
        feed: desk.feed,
        _place: place,
    };
    let stream = stream::unfold(reader, |mut reader| async move { reader.next().await.map(|event| (Ok::<_, Infallible>(event), reader)) });
    let answer = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Proxies that collect answers would hold events back.
    Ok(([(CACHE_CONTROL, "no-store"), (axum::http::HeaderName::from_static("x-accel-buffering"), "no")], answer).into_response())
}

/// One stream.
struct Reader {
    feed: Arc<Feed>,
    tenant: TenantId,
    is_admin: bool,
    /// Everything up to here was sent or is not for this reader.
    after: u64,
    /// Whether the stream's beginning is still to be told.
    hello: bool,
    waiting: VecDeque<Recorded>,
    listener: NudgeListener,
    until: Instant,
    _place: Place,
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.hello) {
            // The reader's place, so that one that is cut off before the first event resumes here.
            return Some(Event::default().id(self.after.to_string()).retry(COME_BACK).comment("events follow"));
        }
        loop {
            if let Some(recorded) = self.waiting.pop_front() {
                return Some(written(&recorded));
            }
            if self.feed.closing.is_cancelled() || Instant::now() >= self.until {
                return None;
            }
            match self.look().await {
                Ok(()) if !self.waiting.is_empty() => continue,
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the journal could not be read for a stream of events")
                }
            }
            let closing = self.feed.closing.clone();
            tokio::select! {
                () = self.listener.wait(self.feed.longest) => {
                    // Many commits come together.
                    sleep(PACE).await;
                }
                () = closing.cancelled() => return None,
                () = sleep_until(self.until) => return None,
            }
        }
    }

    async fn look(&mut self) -> Result<(), StateError> {
        let head = self.feed.state.head().await?;
        if head <= self.after {
            return Ok(());
        }
        let query = JournalQuery { after: self.after, tenant: Some(self.tenant.clone()), limit: BATCH, ..JournalQuery::default() };
        let found = self.feed.state.events(&query).await?;
        let last = found.last().map_or(0, |recorded| recorded.seq);
        self.after = if found.len() < BATCH { last.max(head) } else { last };
        self.waiting.extend(found.into_iter().filter(|recorded| self.is_admin || !is_for_admins(&recorded.event.kind)));
        Ok(())
    }
}

fn is_for_admins(kind: &EventKind) -> bool {
    matches!(kind, EventKind::KeyCreated { .. } | EventKind::KeyRevoked { .. })
}

fn written(recorded: &Recorded) -> Event {
    let event = Event::default().id(recorded.seq.to_string());
    // What came out of the journal as JSON can be written as JSON; a reader that gets nothing still gets the number.
    event.json_data(recorded).unwrap_or_else(|_| Event::default().id(recorded.seq.to_string()).comment("unreadable"))
}

#[cfg(test)]
mod tests;
