//! The loops that move the parts: leadership, followers, workers, keys. Each sleeps until something can be due or is nudged, takes no
//! input and may be run twice without harm. Only the leader's loops decide; every commit they make carries the leader's fencing token.

mod followers;
pub mod nudging;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alerting::delivery::DeliveryWorker;
use incidents::issues::follower::IssueFollower;
use model::drive::{LOOKS_AGAIN, Nudge, NudgeListener, Worker, work_once};
use model::state::{Fence, StateError, StateStore};
use model::time::Timestamp;
use model::work::Queue;
use prometheus::IntGauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access::keys::KeyRing;
use crate::access::visitors::UsersFile;

pub use followers::follow;

/// How soon a loop looks again after a failure, and while what is due cannot be taken yet.
const AGAIN: Duration = Duration::from_millis(250);
/// The longest a loop sleeps where this process alone writes the state: every commit nudges, and due times are known. It is only for
/// what nobody tells: a key that the command line made, a clock that was set.
pub const ALONE: Duration = LOOKS_AGAIN;
/// The longest a loop sleeps where other nodes write the state too, which nudges nobody here.
pub const SHARED: Duration = Duration::from_secs(1);
/// How long leadership lasts without renewal.
const LEASE: Duration = Duration::from_secs(10);

/// What every loop has.
#[derive(Clone)]
pub struct Loop {
    /// The state store, which nudges on commits.
    pub state: Arc<dyn StateStore>,
    /// Wakes the loops.
    pub nudge: Nudge,
    /// The leader's fence while this node leads.
    pub fence: watch::Receiver<Option<Fence>>,
    /// Ends the loops.
    pub stop: CancellationToken,
    /// The longest sleep: [`ALONE`] or [`SHARED`].
    pub longest: Duration,
}

/// How long to sleep when the next row is due at `due` and nothing was to be taken at `looked`: until then, not longer than `longest`.
/// What was due at `looked` already cannot be taken yet (the worker is full, another node was first), so it is looked at again soon.
fn sleep_until(due: Option<Timestamp>, looked: Timestamp, longest: Duration) -> Duration {
    match due {
        None => longest,
        Some(due) if due <= looked => AGAIN.min(longest),
        // A whole millisecond more, because timers may fire a little early and the store's clock counts microseconds.
        Some(due) => (due.since(looked) + Duration::from_millis(1)).min(longest),
    }
}

impl Loop {
    /// Whether to go on after waiting for a nudge, for some time or for the end.
    async fn pause(&self, listener: &mut NudgeListener, at_most: Duration) -> bool {
        tokio::select! {
            () = listener.wait(at_most) => !self.stop.is_cancelled(),
            () = self.stop.cancelled() => false,
        }
    }
    /// The same until a row of the queue can be due.
    async fn pause_for(&self, listener: &mut NudgeListener, queue: Queue) -> bool {
        let asked = async {
            let now = self.state.now().await?;
            Ok::<_, StateError>(sleep_until(self.state.next_due_in(queue, now).await?, now, self.longest))
        };
        // Where another node leads, its rows are not ours; taking over nudges.
        let at_most = if self.leading().is_none() { self.longest } else { asked.await.unwrap_or(AGAIN) };
        self.pause(listener, at_most).await
    }
    /// The fence, if this node leads now.
    pub fn leading(&self) -> Option<Fence> {
        self.fence.borrow().clone()
    }
}

/// Who leads, as it is told.
pub struct Leadership {
    /// The name of this process among those that may lead.
    pub holder: String,
    /// Where the fence is published.
    pub publish: watch::Sender<Option<Fence>>,
    /// 1 while this node leads.
    pub gauge: IntGauge,
}

impl Leadership {
    /// Nobody leads yet. Fails when the metric is registered already.
    pub fn new(holder: String, publish: watch::Sender<Option<Fence>>, registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let help = "1 while this node leads: evaluates rules, decides, sends. Of several over one PostgreSQL one does.";
        let gauge = IntGauge::new("watchfire_leader", help)?;
        registry.register(Box::new(gauge.clone()))?;
        Ok(Leadership { holder, publish, gauge })
    }
    fn tell(&self, fence: Option<Fence>) {
        self.gauge.set(i64::from(fence.is_some()));
        self.publish.send_replace(fence);
    }
}

/// Takes and renews leadership; publishes the fence. Gives it back at the end.
pub async fn lead(state: Arc<dyn StateStore>, leadership: Leadership, nudge: Nudge, stop: CancellationToken) {
    let holder = &leadership.holder;
    loop {
        let taken = async { state.acquire("leader", holder, state.now().await?, LEASE).await }.await;
        match taken {
            Ok(fence) => {
                if *leadership.publish.borrow() != fence {
                    tracing::info!(leads = fence.is_some(), "leadership changed");
                    leadership.tell(fence);
                    nudge.nudge();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "leadership could not be renewed");
                leadership.tell(None);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LEASE / 4) => {}
            () = stop.cancelled() => break,
        }
    }
    let fence = leadership.publish.borrow().clone();
    if let Some(fence) = fence
        && let Err(error) = state.release(&fence, holder).await
    {
        tracing::warn!(%error, "leadership could not be given back; it runs out by itself");
    }
}

/// Lets a worker carry out due rows.
pub async fn work(context: Loop, worker: Arc<dyn Worker>) {
    let queue = worker.queue();
    let mut listener = context.nudge.listener_for(queue);
    loop {
        while let Some(fence) = context.leading() {
            let step = async {
                let now = context.state.now().await?;
                work_once(&*worker, &*context.state, Some(&fence), now).await
            };
            match step.await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(queue = queue.as_str(), error = %chain(&error), "due rows could not be taken; it tries again");
                    break;
                }
            }
            if context.stop.is_cancelled() {
                return;
            }
        }
        if !context.pause_for(&mut listener, queue).await {
            break;
        }
    }
}

/// Follows the table of error events.
pub async fn issues(context: Loop, follower: Arc<IssueFollower>) {
    loop {
        while let Some(fence) = context.leading() {
            let step = async { follower.advance(&*context.state, Some(&fence), context.state.now().await?).await };
            match step.await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the error issues could not be brought up to date; it tries again");
                    break;
                }
            }
            if context.stop.is_cancelled() {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(follower.interval()) => {}
            () = context.stop.cancelled() => return,
        }
    }
}

/// Empties the outbox. Sends that take long go on in the background and hold up nobody.
pub async fn deliver(context: Loop, worker: Arc<DeliveryWorker>) {
    let mut listener = context.nudge.listener_for(Queue::Delivery);
    loop {
        while let Some(fence) = context.leading() {
            let step = async { worker.begin_due(&context.state, Some(&fence), context.state.now().await?).await };
            match step.await {
                Ok((0, _)) => break,
                Ok((_, mut sends)) => sends.detach_all(),
                Err(error) => {
                    tracing::error!(error = %chain(&error), "due deliveries could not be taken; it tries again");
                    break;
                }
            }
            if context.stop.is_cancelled() {
                return;
            }
        }
        if !context.pause_for(&mut listener, Queue::Delivery).await {
            break;
        }
    }
}

/// Reads the live keys again, so that a new or revoked key counts within a second on every node, at the SQL listener too.
pub async fn keys(
    state: Arc<dyn StateStore>,
    ring: Arc<KeyRing>,
    keyless: Arc<AtomicBool>,
    visitors: Option<UsersFile>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = ring.refresh(&*state).await {
            tracing::warn!(error = %chain(&error), "the API keys could not be read again; the known ones stay");
        }
        keyless.store(ring.snapshot().is_empty(), Ordering::SeqCst);
        if let Some(error) = visitors.as_ref().and_then(|file| file.keep(&ring.snapshot()).err()) {
            tracing::error!(%error, "the SQL listener's users could not be written: it refuses everybody until they are");
        }
    }
}

/// An error with its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use model::drive::done;
    use model::event::Subject;
    use model::state::Commit;
    use model::tenant::TenantId;
    use model::testing::Memory;
    use model::time::SimulatedClock;
    use model::work::{Lane, NewWork, Work};
    use serde_json::json;

    use super::nudging::Nudging;
    use super::*;

    #[test]
    fn a_loop_sleeps_until_the_next_row_is_due() {
        let at = |millis: i64| Timestamp::from_millis(1_000_000 + millis);
        assert_eq!(sleep_until(None, at(0), ALONE), ALONE);
        assert_eq!(sleep_until(Some(at(60_000)), at(0), ALONE), ALONE);
        assert_eq!(sleep_until(Some(at(700)), at(0), ALONE), Duration::from_millis(701));
        assert_eq!(sleep_until(Some(at(700)), at(0), Duration::from_millis(500)), Duration::from_millis(500));
        assert_eq!(sleep_until(Some(at(-1)), at(0), ALONE), AGAIN, "due and not to be had: no spinning");
        assert_eq!(sleep_until(Some(at(0)), at(0), SHARED), AGAIN);
    }

    /// Notes when it was asked to work, by the clock of the state.
    struct Noting(Mutex<Vec<String>>);

    #[async_trait]
    impl Worker for Noting {
        fn queue(&self) -> Queue {
            Queue::Incident
        }
        fn lease(&self) -> Duration {
            Duration::from_secs(60)
        }
        async fn work(&self, work: Work, state: &dyn StateStore, _: Option<&Fence>, now: Timestamp) -> Result<(), StateError> {
            self.0.lock().unwrap().push(work.key.clone());
            state.commit(done(&work, now)).await.map(|_| ())
        }
    }

    /// A clock that the runtime moves.
    async fn keep_time(clock: Arc<SimulatedClock>) {
        let (start, began) = (model::time::Clock::now(&*clock), tokio::time::Instant::now());
        loop {
            clock.set(start.plus(began.elapsed()));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_is_taken_when_it_is_due_and_at_once_when_it_is_written_due() {
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_secs(1_772_000_000)));
        let (nudge, inner) = (Nudge::default(), Memory::new(clock.clone()));
        let fence = inner.lead(7);
        let state: Arc<dyn StateStore> = Arc::new(Nudging::new(inner, nudge.clone()));
        let time = tokio::spawn(keep_time(clock));
        let (_lead, fence) = watch::channel(Some(fence));
        let context = Loop { state: state.clone(), nudge, fence, stop: CancellationToken::new(), longest: ALONE };
        let worker = Arc::new(Noting(Mutex::default()));
        let looping = tokio::spawn(work(context.clone(), worker.clone()));
        let write = async |key: &str, after: Duration| {
            let now = state.now().await.unwrap();
            let new = NewWork {
                queue: Queue::Incident,
                key: key.to_owned(),
                lane: Lane::Page,
                subject: Subject::default(),
                due_at: now.plus(after),
                body: json!({}).into(),
            };
            let mut commit = Commit::at(now);
            commit.schedule(&TenantId::default(), new);
            state.commit(commit).await.unwrap();
        };
        let taken_after = async |key: &str| {
            let began = tokio::time::Instant::now();
            while !worker.0.lock().unwrap().iter().any(|taken| taken == key) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            began.elapsed()
        };
        tokio::time::sleep(Duration::from_secs(3)).await; // asleep for seven seconds more
        write("now", Duration::ZERO).await;
        assert!(taken_after("now").await <= Duration::from_millis(5), "a page goes out at once");
        write("soon", Duration::from_millis(1_500)).await;
        let soon = taken_after("soon").await;
        assert!((1_500..=1_510).contains(&soon.as_millis()), "{soon:?}");
        // A sooner one that is written while it sleeps for a later one.
        write("later", Duration::from_secs(8)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        write("sooner", Duration::from_secs(1)).await;
        let sooner = taken_after("sooner").await;
        assert!((1_000..=1_010).contains(&sooner.as_millis()), "{sooner:?}");
        let later = taken_after("later").await;
        assert!((5_990..=6_010).contains(&later.as_millis()), "{later:?}");
        context.stop.cancel();
        looping.await.unwrap();
        time.abort();
    }
}
