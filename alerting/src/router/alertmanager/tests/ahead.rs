//! While a piece of a large request is written the next one is decided: what it was decided by may have changed once its turn comes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::drive::work_once;
use model::event::Recorded;
use model::state::{Backlog, Commit, Fence, Journal, JournalQuery, Leases, Record, RecordQuery, Records, StateError, WorkRows};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Claim, Queue, Work, WorkQuery};

use super::*;

const MANY: usize = 1_200;

/// The world's store, whose commits take a while. Something happens before the first piece is written, long after the second was decided.
struct Slow<'a> {
    world: &'a World,
    silences: bool,
    begun: AtomicUsize,
}

#[async_trait]
impl Records for Slow<'_> {
    async fn commit(&self, commit: Commit) -> Result<Vec<u64>, StateError> {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        if self.begun.fetch_add(1, Ordering::SeqCst) == 0 && self.silences {
            self.world.silence(self.world.now(), self.world.now().plus(Duration::from_secs(600))).await;
        }
        self.world.state.commit(commit).await
    }
    async fn get(&self, tenant: &TenantId, kind: &'static str, id: &str) -> Result<Option<Record>, StateError> {
        self.world.state.get(tenant, kind, id).await
    }
    async fn find(&self, query: &RecordQuery) -> Result<Vec<Record>, StateError> {
        self.world.state.find(query).await
    }
}

#[async_trait]
impl Journal for Slow<'_> {
    async fn events(&self, query: &JournalQuery) -> Result<Vec<Recorded>, StateError> {
        self.world.state.events(query).await
    }
    async fn head(&self) -> Result<u64, StateError> {
        self.world.state.head().await
    }
}

#[async_trait]
impl WorkRows for Slow<'_> {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Work>, StateError> {
        self.world.state.claim(claim).await
    }
    async fn list(&self, query: &WorkQuery) -> Result<Vec<Work>, StateError> {
        self.world.state.list(query).await
    }
    async fn backlog(&self, now: Timestamp) -> Result<Vec<Backlog>, StateError> {
        self.world.state.backlog(now).await
    }
    async fn next_due_in(&self, queue: Queue, now: Timestamp) -> Result<Option<Timestamp>, StateError> {
        self.world.state.next_due_in(queue, now).await
    }
    async fn prune_work(&self, before: Timestamp) -> Result<u64, StateError> {
        self.world.state.prune_work(before).await
    }
}

#[async_trait]
impl Leases for Slow<'_> {
    async fn acquire(&self, lease: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<Option<Fence>, StateError> {
        self.world.state.acquire(lease, holder, now, ttl).await
    }
    async fn release(&self, fence: &Fence, holder: &str) -> Result<(), StateError> {
        self.world.state.release(fence, holder).await
    }
    async fn take_back(&self, node: &str) -> Result<u64, StateError> {
        self.world.state.take_back(node).await
    }
    async fn now(&self) -> Result<Timestamp, StateError> {
        self.world.state.now().await
    }
}

/// Each of a group of its own, nothing mutes another: it is cut, and pieces are decided ahead.
fn world() -> World {
    World::new("route: { receivers: [mail], group_by: ['...'], group_wait: 0s, group_interval: 10s }", "groups: []\n")
}

/// They join no group: nothing keeps what is said of one alert in one piece.
fn untold() -> World {
    World::new("{}", "groups: []\n")
}

fn alert(number: usize) -> Value {
    json!({"labels": {"alertname": "Many", "service": "shop", "n": number.to_string()}, "startsAt": "2026-01-15T08:00:00Z"})
}

/// Has a request taken apart; in how many commits.
async fn take(world: &World, batch: Value, silences: bool) -> usize {
    assert_eq!(world.ask(Method::POST, "/api/v2/alerts", Some(batch)).await.0, 200);
    let slow = Slow { world, silences, begun: AtomicUsize::new(0) };
    let worker = world.alerting.workers().into_iter().find(|worker| worker.queue() == Queue::Intake).unwrap();
    work_once(&*worker, &slow, None, world.now()).await.unwrap();
    slow.begun.load(Ordering::SeqCst)
}

#[tokio::test]
async fn the_end_of_what_the_piece_before_begins_is_not_lost() {
    let world = untold();
    let mut batch: Value = (0..MANY).map(alert).collect();
    batch[1_100] = alert(20);
    batch[1_100]["endsAt"] = json!("2026-01-15T09:00:00Z");
    take(&world, batch, false).await;
    assert_eq!((world.count("alert_fired"), world.count("alert_resolved")), (MANY - 1, 1));
}

#[tokio::test]
async fn what_says_more_of_the_piece_before_is_decided_again() {
    let world = untold();
    let mut batch: Value = (0..MANY).map(alert).collect();
    batch[1_100] = alert(20);
    batch[1_100]["annotations"] = json!({"summary": "the last word"});
    let commits = take(&world, batch, false).await;
    assert_eq!((world.count("alert_fired"), commits), (MANY - 1, 3), "the second piece was decided too early, and once more");
    let (_, list) = world.ask(Method::GET, "/api/v2/alerts?filter=n%3D%2220%22", None).await;
    assert_eq!(list[0]["annotations"]["summary"], "the last word");
}

#[tokio::test]
async fn a_silence_that_begins_meanwhile_counts() {
    let world = world();
    let commits = take(&world, (0..MANY).map(alert).collect(), true).await;
    assert_eq!(commits, 2);
    let muted = world.count("alert_muted");
    assert_eq!((world.count("alert_fired"), muted), (MANY, 700), "all of the second piece");
    assert_eq!(world.deliveries().len(), MANY - muted);
}
