//! A node: the real evaluator, followers and workers over the state that both nodes share. Its store can be told to let the process die
//! around a commit, or to hold it before one until the other node has taken over.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alerting::delivery::DeliveryWorker;
use alerting::evaluate::Evaluator;
use alerting::ladder::LadderRun;
use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use model::access::{Permission, Principal};
use model::drive::{Cursor, Follower, Worker, step, work_once};
use model::event::{Actor, Recorded};
use model::state::{
    Backlog, Commit, Entity, Fence, Journal, JournalQuery, Leases, Record, RecordQuery, Records, StateError, StateStore, WorkRows,
};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Claim, Queue, Work, WorkChange, WorkQuery};
use serde_json::Value;
use store::state::MemoryState;
use tokio::sync::{Notify, watch};
use tower::ServiceExt;

/// How long a node leads without renewing it.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// More rounds at one moment than this are a defect, not patience.
const MOST_ROUNDS: usize = 10_000;

/// A commit of a node's loops that the store took.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    /// Which node.
    pub node: &'static str,
    /// The token that it carried.
    pub token: Option<u64>,
    /// The highest token that had been given to anybody by then.
    pub highest: u64,
}

/// What both nodes tell the checks.
#[derive(Debug, Default)]
pub(super) struct Watched {
    highest: AtomicU64,
    taken: Mutex<Vec<Taken>>,
    /// Commits that hand notices over.
    handed_over: AtomicU64,
    /// Alerts that others send to whoever leads next.
    sent: Mutex<Vec<Value>>,
}

impl Watched {
    /// What was committed since the last call.
    pub(super) fn take(&self) -> Vec<Taken> {
        std::mem::take(&mut *self.taken.lock().unwrap())
    }
    /// Others send alerts to whoever leads next.
    pub(super) fn send(&self, alerts: Value) {
        self.sent.lock().unwrap().push(alerts);
    }
    /// How many commits handed notices over.
    pub(super) fn handed_over(&self) -> u64 {
        self.handed_over.load(Ordering::SeqCst)
    }
}

/// A defect that the invariants must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// Deliveries do not see the ladders that wrote them, so that what waited is sent whoever has taken it meanwhile.
    Blind,
    /// No commit waits for the disk, not even the note before a send.
    Careless,
}

/// What is to happen at a commit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The process dies before it is written.
    DieBefore,
    /// The process dies after it is written, without hearing so.
    DieAfter,
    /// The process stands still before it, until it is told to go on.
    Hold,
    /// The machine loses its power before it is written, and with it the process.
    PowerBefore,
    /// The machine loses its power once it is written: it stays where it had to outlive the machine.
    PowerAfter,
}

/// The store as one process sees it.
pub(super) struct NodeState {
    inner: Arc<MemoryState>,
    name: &'static str,
    watched: Arc<Watched>,
    working: AtomicBool,
    /// While alerts of others come in. Who takes them need not lead: only what hands notices over is fenced.
    answering: AtomicBool,
    dead: AtomicBool,
    held: AtomicBool,
    go_on: Notify,
    fault: Mutex<Option<(u32, Fault)>>,
    defect: Option<Defect>,
    delivering: AtomicBool,
}

impl NodeState {
    pub(super) fn new(inner: Arc<MemoryState>, name: &'static str, watched: Arc<Watched>, defect: Option<Defect>) -> Self {
        let (working, answering, dead, held, delivering) = Default::default();
        NodeState {
            inner,
            name,
            watched,
            working,
            answering,
            dead,
            held,
            go_on: Notify::new(),
            fault: Mutex::default(),
            defect,
            delivering,
        }
    }
    fn alive(&self) -> Result<(), StateError> {
        if self.dead.load(Ordering::SeqCst) { Err(gone()) } else { Ok(()) }
    }
    /// What is due at this commit.
    fn next_fault(&self) -> Option<Fault> {
        let mut slot = self.fault.lock().unwrap();
        let (left, fault) = slot.take()?;
        if left == 0 {
            return Some(fault);
        }
        *slot = Some((left - 1, fault));
        None
    }
}

/// Whether a commit may be that of alerts of others: it moves no follower on and ends no work, and hands no notice over.
fn is_received(commit: &Commit) -> bool {
    let schedules = |change: &WorkChange| matches!(change, WorkChange::Schedule(_) | WorkChange::Cancel { .. });
    !commit.takes() && commit.puts.iter().all(|put| put.kind != Cursor::KIND) && commit.work.iter().all(|(_, change)| schedules(change))
}

fn gone() -> StateError {
    StateError::Backend { doing: "anything: the process is gone", source: "killed".into() }
}

#[async_trait]
impl Records for NodeState {
    async fn commit(&self, mut commit: Commit) -> Result<Vec<u64>, StateError> {
        self.alive()?;
        commit.derived |= self.defect == Some(Defect::Careless);
        let working = self.working.load(Ordering::SeqCst);
        let fault = if working { self.next_fault() } else { None };
        match fault {
            Some(Fault::DieBefore) => {
                self.dead.store(true, Ordering::SeqCst);
                return Err(gone());
            }
            Some(Fault::PowerBefore) => {
                self.inner.lose_power();
                self.dead.store(true, Ordering::SeqCst);
                return Err(gone());
            }
            Some(Fault::Hold) => {
                self.held.store(true, Ordering::SeqCst);
                self.go_on.notified().await;
            }
            Some(Fault::DieAfter | Fault::PowerAfter) | None => {}
        }
        let (token, takes, received) = (commit.fence.as_ref().map(|fence| fence.token), commit.takes(), is_received(&commit));
        let result = self.inner.commit(commit).await;
        if takes && result.is_ok() {
            self.watched.handed_over.fetch_add(1, Ordering::SeqCst);
        }
        let may_be_unfenced = received && self.answering.load(Ordering::SeqCst);
        if working && !(token.is_none() && may_be_unfenced) && result.is_ok() {
            let highest = self.watched.highest.load(Ordering::SeqCst);
            self.watched.taken.lock().unwrap().push(Taken { node: self.name, token, highest });
        }
        if matches!(fault, Some(Fault::PowerAfter)) {
            self.inner.lose_power();
        }
        if matches!(fault, Some(Fault::DieAfter | Fault::PowerAfter)) {
            self.dead.store(true, Ordering::SeqCst);
            return Err(gone());
        }
        result
    }
    async fn get(&self, tenant: &TenantId, kind: &'static str, id: &str) -> Result<Option<Record>, StateError> {
        self.alive()?;
        if self.defect == Some(Defect::Blind) && self.delivering.load(Ordering::SeqCst) && kind == LadderRun::KIND {
            return Ok(None);
        }
        self.inner.get(tenant, kind, id).await
    }
    async fn find(&self, query: &RecordQuery) -> Result<Vec<Record>, StateError> {
        self.alive()?;
        self.inner.find(query).await
    }
}

#[async_trait]
impl Journal for NodeState {
    async fn events(&self, query: &JournalQuery) -> Result<Vec<Recorded>, StateError> {
        self.alive()?;
        self.inner.events(query).await
    }
    async fn head(&self) -> Result<u64, StateError> {
        self.inner.head().await
    }
}

#[async_trait]
impl WorkRows for NodeState {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Work>, StateError> {
        self.alive()?;
        self.inner.claim(claim).await
    }
    async fn list(&self, query: &WorkQuery) -> Result<Vec<Work>, StateError> {
        self.inner.list(query).await
    }
    async fn backlog(&self, now: Timestamp) -> Result<Vec<Backlog>, StateError> {
        self.inner.backlog(now).await
    }
    async fn next_due_in(&self, queue: Queue, now: Timestamp) -> Result<Option<Timestamp>, StateError> {
        self.inner.next_due_in(queue, now).await
    }
    async fn prune_work(&self, before: Timestamp) -> Result<u64, StateError> {
        self.inner.prune_work(before).await
    }
}

#[async_trait]
impl Leases for NodeState {
    async fn acquire(&self, lease: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<Option<Fence>, StateError> {
        self.alive()?;
        let fence = self.inner.acquire(lease, holder, now, ttl).await?;
        if let Some(fence) = &fence {
            self.watched.highest.fetch_max(fence.token, Ordering::SeqCst);
        }
        Ok(fence)
    }
    async fn release(&self, fence: &Fence, holder: &str) -> Result<(), StateError> {
        self.inner.release(fence, holder).await
    }
    async fn take_back(&self, node: &str) -> Result<u64, StateError> {
        self.inner.take_back(node).await
    }
    async fn now(&self) -> Result<Timestamp, StateError> {
        self.inner.now().await
    }
}

/// A request of a person, or of a program in a person's name.
pub(super) async fn send(router: &axum::Router, path: &str, method: Method, body: Value) -> StatusCode {
    let actor = Actor::User { id: "ana".to_owned() };
    let principal = Principal { tenant: TenantId::default(), permissions: vec![Permission::Admin], actor, keyless: false };
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let mut request = Request::builder().method(method).uri(path).body(body).unwrap();
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    request.extensions_mut().insert(principal);
    let Ok(answer) = router.clone().oneshot(request).await;
    answer.status()
}

/// A process of a node.
pub(super) struct Node {
    pub name: &'static str,
    /// `<node>/<number of the process>`.
    pub holder: String,
    pub state: Arc<NodeState>,
    pub evaluator: Arc<Evaluator>,
    pub alerting: alerting::Alerting,
    pub followers: Vec<Arc<dyn Follower>>,
    pub workers: Vec<Arc<dyn Worker>>,
    pub delivery: Arc<DeliveryWorker>,
    pub router: axum::Router,
    /// Whether it leads, for whoever hands notices over.
    pub leading: watch::Sender<Option<Fence>>,
}

impl Node {
    /// Arms a fault for the commit that comes after this many.
    pub(super) fn arm(&self, after: u32, fault: Fault) {
        *self.state.fault.lock().unwrap() = Some((after, fault));
    }
    pub(super) fn disarm(&self) {
        *self.state.fault.lock().unwrap() = None;
    }
    pub(super) fn is_dead(&self) -> bool {
        self.state.dead.load(Ordering::SeqCst)
    }
    pub(super) fn is_held(&self) -> bool {
        self.state.held.load(Ordering::SeqCst)
    }
    pub(super) fn go_on(&self) {
        self.state.held.store(false, Ordering::SeqCst);
        self.state.go_on.notify_one();
    }
    /// Ends the process: nothing that it began can reach the store any more.
    pub(super) fn kill(&self) {
        self.state.dead.store(true, Ordering::SeqCst);
        self.state.go_on.notify_one();
    }

    /// What the loops of a node do at one moment: leads if it can, evaluates where it is time, then lets everything happen that is due.
    /// `false`: another node leads.
    pub(super) async fn work(&self, evaluate: bool) -> Result<bool, StateError> {
        let now = self.state.now().await?;
        let fence = self.state.acquire("leader", &self.holder, now, LEASE).await?;
        self.leading.send_replace(fence.clone());
        let Some(fence) = fence else { return Ok(false) };
        self.state.working.store(true, Ordering::SeqCst);
        let done = self.lead(evaluate, &fence, now).await;
        self.state.working.store(false, Ordering::SeqCst);
        done.map(|()| true)
    }

    async fn lead(&self, evaluate: bool, fence: &Fence, now: Timestamp) -> Result<(), StateError> {
        let fence = Some(fence);
        let sent = std::mem::take(&mut *self.state.watched.sent.lock().unwrap());
        for alerts in sent {
            // Where the process ends in it, nobody was answered: the sender has to come again.
            self.state.answering.store(true, Ordering::SeqCst);
            let answer = send(&self.router, "/api/v2/alerts", Method::POST, alerts).await;
            self.state.answering.store(false, Ordering::SeqCst);
            self.state.alive()?;
            assert!(answer.is_success(), "alerts of others: {answer}");
        }
        if evaluate {
            self.evaluator.evaluate_all(now, fence).await?;
        }
        let state: Arc<dyn StateStore> = self.state.clone();
        let followers: Vec<&dyn Follower> = self.followers.iter().map(|follower| &**follower).collect();
        for _ in 0..MOST_ROUNDS {
            let step = step(&followers, &*state, fence, now, 256).await;
            if let Some((_, error)) = step.failed.into_iter().next() {
                return Err(error);
            }
            let mut moved = step.handled;
            for worker in &self.workers {
                moved += work_once(&**worker, &*state, fence, now).await?;
            }
            self.state.delivering.store(true, Ordering::SeqCst);
            let delivered = self.delivery.deliver_due(&state, fence, now).await;
            self.state.delivering.store(false, Ordering::SeqCst);
            moved += delivered?;
            self.state.alive()?;
            if moved == 0 {
                return Ok(());
            }
        }
        panic!("at {now} one thing leads to another without end");
    }
}
