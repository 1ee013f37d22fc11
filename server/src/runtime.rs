//! The loops that move the parts: leadership, followers, workers, keys. Each runs on a tick and on a nudge, takes no input and
//! may be run twice without harm. Only the leader's loops decide; every commit they make carries the leader's fencing token.

pub mod nudging;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alerting::delivery::DeliveryWorker;
use incidents::issues::follower::IssueFollower;
use model::drive::{Follower, Nudge, Worker, advance, work_once};
use model::state::{Fence, StateStore};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access::keys::KeyRing;
use crate::access::visitors::UsersFile;

/// The longest a loop sleeps without a nudge: how late a due row may be taken.
const TICK: Duration = Duration::from_millis(250);
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
}

impl Loop {
    /// Whether to go on after waiting for a nudge, a tick or the end.
    async fn pause(&self, listener: &mut model::drive::NudgeListener) -> bool {
        tokio::select! {
            () = listener.wait(TICK) => !self.stop.is_cancelled(),
            () = self.stop.cancelled() => false,
        }
    }
    /// The fence, if this node leads now.
    pub fn leading(&self) -> Option<Fence> {
        self.fence.borrow().clone()
    }
}

/// Takes and renews leadership; publishes the fence. Gives it back at the end.
pub async fn lead(
    state: Arc<dyn StateStore>,
    holder: String,
    publish: watch::Sender<Option<Fence>>,
    nudge: Nudge,
    stop: CancellationToken,
) {
    loop {
        let taken = async { state.acquire("leader", &holder, state.now().await?, LEASE).await }.await;
        match taken {
            Ok(fence) => {
                if *publish.borrow() != fence {
                    tracing::info!(leads = fence.is_some(), "leadership changed");
                    publish.send_replace(fence);
                    nudge.nudge();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "leadership could not be renewed");
                publish.send_replace(None);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LEASE / 4) => {}
            () = stop.cancelled() => break,
        }
    }
    let fence = publish.borrow().clone();
    if let Some(fence) = fence
        && let Err(error) = state.release(&fence, &holder).await
    {
        tracing::warn!(%error, "leadership could not be given back; it runs out by itself");
    }
}

/// Lets the followers read the journal, in the order of the data flow: what one causes the next sees in the same round.
pub async fn follow(context: Loop, followers: Vec<Arc<dyn Follower>>) {
    let mut listener = context.nudge.listener();
    loop {
        if let Some(fence) = context.leading() {
            round(&context, &followers, &fence).await;
        }
        if !context.pause(&mut listener).await {
            break;
        }
    }
}

async fn round(context: &Loop, followers: &[Arc<dyn Follower>], fence: &Fence) {
    loop {
        let mut handled = 0;
        for follower in followers {
            let step = async {
                let now = context.state.now().await?;
                advance(&**follower, &*context.state, Some(fence), now, 256).await
            };
            match step.await {
                Ok(count) => handled += count,
                Err(error) => {
                    tracing::error!(follower = follower.name(), error = %chain(&error), "a follower could not go on; it tries again");
                    tokio::time::sleep(TICK).await;
                }
            }
        }
        if handled == 0 || context.stop.is_cancelled() {
            return;
        }
    }
}

/// Lets a worker carry out due rows.
pub async fn work(context: Loop, worker: Arc<dyn Worker>) {
    let mut listener = context.nudge.listener();
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
                    tracing::error!(queue = worker.queue().as_str(), error = %chain(&error), "due rows could not be taken; it tries again");
                    break;
                }
            }
            if context.stop.is_cancelled() {
                return;
            }
        }
        if !context.pause(&mut listener).await {
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
    let mut listener = context.nudge.listener();
    loop {
        while let Some(fence) = context.leading() {
            let step = async { worker.deliver_due(&context.state, Some(&fence), context.state.now().await?).await };
            match step.await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(error = %chain(&error), "due deliveries could not be taken; it tries again");
                    break;
                }
            }
            if context.stop.is_cancelled() {
                return;
            }
        }
        if !context.pause(&mut listener).await {
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
