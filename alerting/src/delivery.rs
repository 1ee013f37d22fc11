//! The delivery worker: claims outbox rows, sends them through their receiver's channel and commits what became of them.
//!
//! In: work rows of queue `delivery`. Out: requests to providers, and per row one commit with the row's new state and its event. Before a
//! send the row notes that it is about to be sent; a row found with that note belonged to a process that ended in the act, and the
//! provider is asked before anything is sent again. Nothing is lost: a failure is a retry with backoff, at last a dead letter that can be
//! listed and replayed.
//!
//! Order: page before chat before mail. Rows about the same thing (receiver and dedup key, or receiver and incident channel) are a
//! [`lines::Line`] and go out one after the other in the order in which they were written; different lines run side by side, a few per
//! destination, so that a receiver that hangs never holds up another one. Where too many wait for a receiver, they become a [`digest`].

mod api;
mod bucket;
mod carry;
pub mod config;
mod destination;
mod digest;
mod hand_over;
mod lines;
mod meters;
mod outcomes;
mod progress;
mod settle;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod voice;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use model::drive::Worker;
use model::ids::{IdSource, WorkId};
use model::message::Delivery;
use model::state::{Fence, StateError, StateStore};
use model::time::Timestamp;
use model::work::{Claim, Queue, Work, WorkQuery, WorkState};
use prometheus::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::channels::{Channel, ReceiverConfig, ReceiverError};

pub use api::router;
pub use config::Config;

use destination::Destination;
pub(crate) use hand_over::{Handing, Outbox};
use lines::{Line, Lines, Place};
use meters::Meters;

/// The receivers by name, with the settings that each was made from.
type Destinations = BTreeMap<String, (ReceiverConfig, Arc<Destination>)>;

/// Sends the outbox. One per process; cheap to share.
pub struct DeliveryWorker {
    destinations: RwLock<Destinations>,
    config: Config,
    lease: Duration,
    ids: Arc<dyn IdSource>,
    meters: Meters,
    lines: Mutex<Lines>,
    heard: Mutex<digest::Heard>,
    slots: Semaphore,
    in_flight: watch::Sender<usize>,
    hand: Mutex<hand_over::Hand>,
    /// What became of them, where it is not written.
    outcomes: outcomes::Outcomes,
    /// How many rows were handed over and are not done.
    handed: watch::Sender<usize>,
    stopping: AtomicBool,
    backlog_at: Mutex<Option<Timestamp>>,
}

/// A worker that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A receiver's settings do not work.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// Two receivers have one name.
    #[error("two receivers are called `{0}`: rename one of them")]
    Twice(String),
    /// The HTTP client cannot be built.
    #[error("the HTTP client of the receivers cannot be built")]
    Client(#[from] reqwest::Error),
    /// A metric cannot be registered.
    #[error("the metrics of the delivery worker cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The settings of the worker do not work.
    #[error("delivery: {0}")]
    Config(String),
}

/// A line's rows of one claim, in order.
struct Job {
    destination: Option<Arc<Destination>>,
    rows: Vec<Claimed>,
}

/// A claimed row.
struct Claimed {
    work: Work,
    /// What its body says; where it is no delivery, why.
    delivery: Result<Arc<Delivery>, String>,
    place: Option<Place>,
    /// An earlier row of the line that is not in this claim and not done, and when it is due.
    waits_for: Option<(WorkId, Timestamp)>,
}

impl DeliveryWorker {
    /// Builds the channels of all receivers. The process must have installed rustls's `ring` provider (see [`crate::channels::client`]).
    pub fn new(receivers: &[ReceiverConfig], config: Config, ids: Arc<dyn IdSource>, registry: &Registry) -> Result<Self, BuildError> {
        let client = crate::channels::client()?;
        let mut channels = Vec::new();
        for receiver in receivers {
            channels.push((receiver.clone(), crate::channels::open(receiver, &client)?));
        }
        Self::with_channels(channels, config, ids, registry)
    }

    /// With channels that are made elsewhere.
    pub fn with_channels(
        channels: Vec<(ReceiverConfig, Box<dyn Channel>)>,
        config: Config,
        ids: Arc<dyn IdSource>,
        registry: &Registry,
    ) -> Result<Self, BuildError> {
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(BuildError::Config(problem));
        }
        // A claim must outlast one question to the provider and one send.
        let longest = channels.iter().map(|(receiver, _)| receiver.timeout().0).max().unwrap_or_default();
        let lease = config.lease.0.max(longest * 3);
        let mut destinations = BTreeMap::new();
        for (receiver, channel) in channels {
            let destination = Arc::new(Destination::new(&receiver, channel, config.per_destination));
            if let Some((twice, _)) = destinations.insert(receiver.name().to_owned(), (receiver, destination)) {
                return Err(BuildError::Twice(twice.name().to_owned()));
            }
        }
        Ok(DeliveryWorker {
            destinations: RwLock::new(destinations),
            lease,
            ids,
            meters: Meters::new(registry)?,
            lines: Mutex::default(),
            heard: Mutex::default(),
            slots: Semaphore::new(config.concurrency),
            in_flight: watch::Sender::new(0),
            hand: Mutex::default(),
            outcomes: outcomes::Outcomes::default(),
            handed: watch::Sender::new(0),
            stopping: AtomicBool::new(false),
            backlog_at: Mutex::new(None),
            config,
        })
    }

    /// Goes on with other receivers. One whose settings are the same keeps its pace and its sends under way; the rows of one that is
    /// gone become dead letters. Nothing changes where it fails.
    pub fn reload(&self, receivers: &[ReceiverConfig]) -> Result<(), BuildError> {
        let client = crate::channels::client()?;
        let mut fresh = Destinations::new();
        for receiver in receivers {
            if receiver.timeout().0 * 3 > self.lease {
                let (name, timeout) = (receiver.name(), receiver.timeout());
                return Err(BuildError::Config(format!("the timeout {timeout} of `{name}` needs a longer `lease`: restart")));
            }
            let known = self.destinations().get(receiver.name()).filter(|(settings, _)| settings == receiver).cloned();
            let entry = match known {
                Some(known) => known,
                None => {
                    let channel = crate::channels::open(receiver, &client)?;
                    (receiver.clone(), Arc::new(Destination::new(receiver, channel, self.config.per_destination)))
                }
            };
            if fresh.insert(receiver.name().to_owned(), entry).is_some() {
                return Err(BuildError::Twice(receiver.name().to_owned()));
            }
        }
        *self.destinations.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn destinations(&self) -> std::sync::RwLockReadGuard<'_, Destinations> {
        self.destinations.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims due rows and sends them, different lines side by side. It returns the number of rows claimed as soon as all of them, and those
    /// that were handed over, are settled, or after [`Config::patience`]: what then still waits for a slow provider goes on in the background and holds up nobody.
    pub async fn deliver_due(
        self: &Arc<Self>,
        state: &Arc<dyn StateStore>,
        fence: Option<&Fence>,
        now: Timestamp,
    ) -> Result<usize, StateError> {
        let (claimed, mut tasks) = self.begin_due(state, fence, now).await?;
        let all = async {
            while tasks.join_next().await.is_some() {}
            // What was handed over is not counted, but waited for.
            none(&self.handed).await;
        };
        if tokio::time::timeout(self.config.patience.0, all).await.is_err() {
            tasks.detach_all();
        }
        Ok(claimed)
    }

    /// Claims due rows and begins to send them, different lines side by side. This is what the server calls, on a tick and on a nudge: no
    /// row waits for the sends of those before it. While too many are under way it waits for room, at most [`Config::patience`].
    /// Gives the number of rows claimed, and the tasks, which should go on.
    pub async fn begin_due(
        self: &Arc<Self>,
        state: &Arc<dyn StateStore>,
        fence: Option<&Fence>,
        now: Timestamp,
    ) -> Result<(usize, JoinSet<()>), StateError> {
        self.measure(&**state, now).await?;
        let room = self.room().await;
        if room == 0 || self.is_stopping() {
            return Ok((0, JoinSet::new()));
        }
        let claim = Claim { queue: Queue::Delivery, now, lease_for: self.lease, limit: room.min(self.batch()) };
        let rows = state.claim(&claim).await?;
        let claimed = rows.len();
        let mut tasks = JoinSet::new();
        let jobs = self.plan(rows, &**state).await?;
        for job in self.fold(jobs, &**state, fence, now).await? {
            let (worker, state, fence) = (Arc::clone(self), Arc::clone(state), fence.cloned());
            let counted = Counted::new(&self.in_flight, job.rows.len());
            tasks.spawn(async move {
                worker.run(job, &*state, fence.as_ref(), now).await;
                drop(counted);
            });
        }
        Ok((claimed, tasks))
    }

    /// Starts no further send and waits for those under way, at most this long. Rows that were claimed but not begun are given back.
    pub async fn drain(&self, at_most: Duration) {
        self.stopping.store(true, Ordering::SeqCst);
        let all = async {
            none(&self.in_flight).await;
            none(&self.handed).await;
        };
        if tokio::time::timeout(at_most, all).await.is_err() {
            tracing::warn!(
                rows = *self.in_flight.borrow() + *self.handed.borrow(),
                "deliveries were still under way at the end; they are reconciled at the next start"
            );
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// For how many rows there is room. Where there is little, it waits for more, as long as a round lasts.
    async fn room(&self) -> usize {
        let mut in_flight = self.in_flight.subscribe();
        let some = in_flight.wait_for(|count| *count <= self.config.claimed - self.config.claimed / 8);
        // Without it there is the room that there is.
        let _ = tokio::time::timeout(self.config.patience.0, some).await;
        self.config.claimed.saturating_sub(*self.in_flight.borrow())
    }

    /// Groups claimed rows by line, in order, and finds out which lines must wait.
    async fn plan(&self, rows: Vec<Work>, state: &dyn StateStore) -> Result<Vec<Job>, StateError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let batch: HashSet<WorkId> = rows.iter().map(|row| row.id).collect();
        let mut jobs = self.by_line(rows);
        let fresh = {
            let lines = self.lines();
            let mut rows = jobs.iter().flat_map(|job| &job.rows);
            rows.all(|row| lines.knows(row.work.id) && row.place.as_ref().is_none_or(|place| lines.before(place, &batch).is_none()))
        };
        if !fresh {
            self.look_again(&jobs, state).await?;
        }
        let lines = self.lines();
        for row in jobs.iter_mut().flat_map(|job| &mut job.rows) {
            row.waits_for = row.place.as_ref().and_then(|place| lines.before(place, &batch));
        }
        drop(lines);
        Ok(jobs)
    }

    fn by_line(&self, rows: Vec<Work>) -> Vec<Job> {
        let mut jobs: Vec<Job> = Vec::new();
        let mut met: HashMap<Line, usize> = HashMap::new();
        for work in rows {
            let delivery = work.body.read::<Delivery>().map(Arc::new).map_err(|error| error.to_string());
            let place = delivery.as_ref().ok().map(|delivery| Place::of(&work, delivery));
            let line = place.as_ref().map(|place| &place.line);
            let found = line.and_then(|line| met.get(line).copied());
            if let (Some(line), None) = (line, found) {
                met.insert(line.clone(), jobs.len());
            }
            let destination = line.and_then(|line| self.destinations().get(&line.receiver).map(|(_, destination)| destination.clone()));
            let row = Claimed { work, delivery, place, waits_for: None };
            match found {
                Some(at) => jobs[at].rows.push(row),
                None => jobs.push(Job { destination, rows: vec![row] }),
            }
        }
        for job in &mut jobs {
            job.rows.sort_by(|a, b| a.place.as_ref().map(|place| &place.turn).cmp(&b.place.as_ref().map(|place| &place.turn)));
        }
        jobs
    }

    /// Takes the picture of all pending rows anew; those that it has, or that are at hand, are not read again.
    async fn look_again(&self, jobs: &[Job], state: &dyn StateStore) -> Result<(), StateError> {
        let added = self.lines().added();
        let pending = state.pending(Queue::Delivery).await?;
        let unknown = {
            let mut lines = self.lines();
            jobs.iter().flat_map(|job| &job.rows).for_each(|row| lines.add(&row.work, row.place.clone()));
            lines.keep(&pending, added)
        };
        self.get_to_know(&unknown, state).await
    }

    /// Takes pending rows into the picture, all at once: nobody sees a line without its beginning.
    async fn get_to_know(&self, unknown: &[WorkId], state: &dyn StateStore) -> Result<(), StateError> {
        let mut found = Vec::with_capacity(unknown.len());
        for some in unknown.chunks(500) {
            let query = WorkQuery { state: Some(WorkState::Pending), ids: some.to_vec(), limit: some.len(), ..WorkQuery::default() };
            found.extend(state.list(&query).await?.into_iter().map(|row| (Place::read(&row), row)));
        }
        let mut lines = self.lines();
        found.into_iter().for_each(|(place, row)| lines.add(&row, place));
        Ok(())
    }

    /// The gauges of the queue, at most once in five seconds.
    async fn measure(&self, state: &dyn StateStore, now: Timestamp) -> Result<(), StateError> {
        {
            let mut last = self.backlog_at.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| last <= now && now.since(last) < Duration::from_secs(5)) {
                return Ok(());
            }
            *last = Some(now);
        }
        let backlog = state.backlog(now).await?;
        self.meters.backlog(backlog.iter().find(|backlog| backlog.queue == Queue::Delivery));
        Ok(())
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until none are counted. The counter cannot go away meanwhile.
async fn none(count: &watch::Sender<usize>) {
    let _ = count.subscribe().wait_for(|count| *count == 0).await;
}

/// Rows under way, counted until dropped.
struct Counted(watch::Sender<usize>, usize);

impl Counted {
    fn new(count: &watch::Sender<usize>, rows: usize) -> Self {
        count.send_modify(|count| *count += rows);
        Counted(count.clone(), rows)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(self.1));
    }
}

#[async_trait]
impl Worker for DeliveryWorker {
    fn queue(&self) -> Queue {
        Queue::Delivery
    }
    fn lease(&self) -> Duration {
        self.lease
    }
    fn batch(&self) -> usize {
        self.config.claimed
    }
    /// One row by itself, for drivers that go row by row ([`DeliveryWorker::deliver_due`] is the way of the server).
    async fn work(&self, work: Work, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<(), StateError> {
        for job in self.plan(vec![work], state).await? {
            self.run(job, state, fence, now).await;
        }
        Ok(())
    }
}
