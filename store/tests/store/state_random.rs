//! Random histories: the same operations on memory and on an SQL backend must give the same answers, refusals and states.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::ids::WorkId;
use model::state::{Commit, Expect, JournalQuery, Put, RecordQuery, StateError, StateStore};
use model::tenant::TenantId;
use model::time::{SimulatedClock, Timestamp};
use model::work::{Claim, Lane, NewWork, Queue, WorkChange, WorkQuery};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use store::state::MemoryState;

use crate::state_contract::{NODE, NOW, fresh_event};

const QUEUE: Queue = Queue::Remediation;

/// Names come from small sets, so that operations meet.
#[derive(Clone, Debug)]
enum Step {
    Put {
        id: u8,
        key: Option<u8>,
        expect: Expect,
        delete: bool,
    },
    Schedule {
        key: u8,
        lane: Lane,
        due: u64,
    },
    Cancel {
        key: u8,
    },
    /// One of the ways to end or change the row that was claimed as number `claimed`, with that claim's lease or a stale one.
    Change {
        claimed: usize,
        how: u8,
        stale: bool,
    },
}

#[derive(Clone, Debug)]
enum Op {
    Commit { steps: Vec<Step>, events: usize, fenced: Option<u64> },
    Claim { limit: usize, secs: u64 },
    Acquire { holder: u8, secs: u64 },
    Release { token: u64, holder: u8 },
    TakeBack { node: u8 },
    Wait { secs: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let expect = prop_oneof![Just(Expect::New), Just(Expect::Any), (0..4_u64).prop_map(Expect::Version)];
    let lane = prop_oneof![Just(Lane::Page), Just(Lane::Chat), Just(Lane::Mail)];
    prop_oneof![
        4 => (0..4_u8, proptest::option::of(0..3_u8), expect, proptest::bool::weighted(0.2))
            .prop_map(|(id, key, expect, delete)| Step::Put { id, key, expect, delete }),
        3 => (0..8_u8, lane, 0..90_u64).prop_map(|(key, lane, due)| Step::Schedule { key, lane, due }),
        1 => (0..8_u8).prop_map(|key| Step::Cancel { key }),
        3 => (0..12_usize, 0..5_u8, proptest::bool::weighted(0.2)).prop_map(|(claimed, how, stale)| Step::Change { claimed, how, stale }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (proptest::collection::vec(step(), 0..4), 0..3_usize, proptest::option::weighted(0.2, 1..4_u64))
            .prop_map(|(steps, events, fenced)| Op::Commit { steps, events, fenced }),
        3 => (0..4_usize, 0..40_u64).prop_map(|(limit, secs)| Op::Claim { limit, secs }),
        1 => (0..2_u8, 0..40_u64).prop_map(|(holder, secs)| Op::Acquire { holder, secs }),
        1 => (1..4_u64, 0..2_u8).prop_map(|(token, holder)| Op::Release { token, holder }),
        1 => (0..2_u8).prop_map(|node| Op::TakeBack { node }),
        2 => (1..40_u64).prop_map(|secs| Op::Wait { secs }),
    ]
}

/// What is known from earlier answers: the claimed rows, and the time.
struct World {
    now: Timestamp,
    claimed: Vec<(WorkId, u64)>,
}

impl World {
    fn apply(&self, steps: &[Step], commit: &mut Commit) {
        let tenant = TenantId::default();
        for step in steps {
            match step {
                Step::Put { id, key, expect, delete } => commit.puts.push(Put {
                    tenant: tenant.clone(),
                    kind: "random",
                    id: format!("r{id}"),
                    key: key.map(|key| format!("key{key}")),
                    status: if id % 2 == 0 { "even" } else { "odd" }.to_owned(),
                    expect: *expect,
                    body: (!delete).then(|| json!({"key": key}).into()),
                }),
                Step::Schedule { key, lane, due } => {
                    let due_at = NOW.plus(Duration::from_secs(*due));
                    let (key, subject) = (format!("w{key}"), model::event::Subject::default());
                    commit.schedule(&tenant, NewWork { queue: QUEUE, key, lane: *lane, subject, due_at, body: json!(due).into() });
                }
                Step::Cancel { key } => commit.change(&tenant, WorkChange::Cancel { queue: QUEUE, key: format!("w{key}") }),
                Step::Change { claimed, how, stale } => {
                    let Some(&(id, lease)) = self.claimed.get(*claimed) else { continue };
                    let (lease, due_at) = (lease - u64::from(*stale), self.now.plus(Duration::from_secs(7)));
                    commit.change(
                        &tenant,
                        match how {
                            0 => WorkChange::Progress { id, lease, progress: json!({"at": how}) },
                            1 => WorkChange::Done { id, lease },
                            2 => WorkChange::Retry { id, lease, due_at, error: "again".into(), progress: stale.then(|| json!(1)) },
                            3 => WorkChange::Dead { id, lease, error: "dead".into() },
                            _ => WorkChange::Replay { id, due_at },
                        },
                    );
                }
            }
        }
    }
}

fn words<T: std::fmt::Debug>(answer: &Result<T, StateError>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        // Which record or row is named may differ where several are wrong; that it is refused may not.
        Err(StateError::Conflict { .. }) => "conflict".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Everything that readers can see.
async fn picture(store: &dyn StateStore, now: Timestamp) -> String {
    let records = store.find(&RecordQuery { kind: "random", ..RecordQuery::default() }).await.unwrap();
    let odd = RecordQuery { kind: "random", statuses: vec!["odd".into()], key: Some("key1".into()), limit: 1, ..RecordQuery::default() };
    let odd = store.find(&odd).await.unwrap();
    let work = store.list(&WorkQuery::default()).await.unwrap();
    let journal = store.events(&JournalQuery::default()).await.unwrap();
    let (head, backlog) = (store.head().await.unwrap(), store.backlog(now).await.unwrap());
    format!("{records:#?}\n{odd:#?}\n{work:#?}\n{journal:#?}\n{head}\n{backlog:#?}")
}

async fn run(ops: &[Op], left: &dyn StateStore, right: &dyn StateStore) -> Result<(), TestCaseError> {
    let mut world = World { now: NOW, claimed: Vec::new() };
    for op in ops {
        let (a, b) = match op {
            Op::Wait { secs } => {
                world.now = world.now.plus(Duration::from_secs(*secs));
                continue;
            }
            Op::Commit { steps, events, fenced } => {
                let mut commit = Commit::at(world.now);
                commit.fence = fenced.map(|token| model::state::Fence { lease: "leader".into(), token });
                commit.events = (0..*events).map(|_| fresh_event()).collect();
                world.apply(steps, &mut commit);
                (words(&left.commit(commit.clone()).await), words(&right.commit(commit).await))
            }
            Op::Claim { limit, secs } => {
                let claim = Claim { queue: QUEUE, now: world.now, lease_for: Duration::from_secs(*secs), limit: *limit };
                let (a, b) = (left.claim(&claim).await, right.claim(&claim).await);
                world.claimed.extend(a.iter().flatten().map(|row| (row.id, row.lease)));
                (words(&a), words(&b))
            }
            Op::Acquire { holder, secs } => {
                let (holder, ttl) = (format!("node{holder}/x"), Duration::from_secs(*secs));
                let a = left.acquire("leader", &holder, world.now, ttl).await;
                (words(&a), words(&right.acquire("leader", &holder, world.now, ttl).await))
            }
            Op::Release { token, holder } => {
                let fence = model::state::Fence { lease: "leader".into(), token: *token };
                let holder = format!("node{holder}/x");
                (words(&left.release(&fence, &holder).await), words(&right.release(&fence, &holder).await))
            }
            Op::TakeBack { node } => {
                let node = format!("node{node}");
                (words(&left.take_back(&node).await), words(&right.take_back(&node).await))
            }
        };
        prop_assert_eq!(a, b, "{:?}", op);
        prop_assert_eq!(picture(left, world.now).await, picture(right, world.now).await, "after {:?}", op);
    }
    Ok(())
}

/// Runs random histories on memory and on what `open` gives (a fresh store each time, in a folder of its own).
pub fn agree<S: StateStore>(cases: u32, open: impl AsyncFn(&Path) -> Arc<S>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() });
    let outcome = runner.run(&proptest::collection::vec(op(), 1..30), |ops| {
        let folder = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let memory = MemoryState::new(Arc::new(SimulatedClock::new(NOW))).named(NODE);
            run(&ops, &memory, &*open(folder.path()).await).await
        })
    });
    outcome.unwrap();
}

/// 2,500 finished and cancelled rows, one dead letter and one pending row.
pub async fn finished_work(store: &dyn StateStore) {
    let tenant = TenantId::default();
    let mut commit = Commit::at(NOW);
    for at in 0..2_502 {
        let (key, subject) = (format!("p{at}"), model::event::Subject::default());
        commit.schedule(&tenant, NewWork { queue: QUEUE, key, lane: Lane::Mail, subject, due_at: NOW, body: json!(at).into() });
    }
    store.commit(commit).await.unwrap();
    let claimed = store.claim(&Claim { queue: QUEUE, now: NOW, lease_for: Duration::from_secs(1), limit: 9_999 }).await.unwrap();
    let mut commit = Commit::at(NOW);
    for (at, row) in claimed.into_iter().enumerate() {
        match at {
            0 => {}
            1 => commit.change(&tenant, WorkChange::Dead { id: row.id, lease: row.lease, error: "no".into() }),
            2..1_000 => commit.change(&tenant, WorkChange::Cancel { queue: QUEUE, key: row.key }),
            _ => commit.change(&tenant, WorkChange::Done { id: row.id, lease: row.lease }),
        }
    }
    store.commit(commit).await.unwrap();
}
