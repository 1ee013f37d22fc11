//! Many at once: rows in one commit, commits of many callers. Part of the contract of the state store's ports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::ids::WorkId;
use model::state::{Commit, Expect, Put, RecordQuery, StateStore};
use model::tenant::TenantId;
use model::work::{Claim, Lane, NewWork, Queue, Work, WorkChange, WorkQuery, WorkState};
use serde_json::json;

use crate::state_contract::{NOW, fresh_event};

fn put(id: usize, expect: Expect, body: usize) -> Put {
    Put {
        tenant: TenantId::default(),
        kind: "many",
        id: format!("m{id:04}"),
        key: Some(format!("key{id}")),
        status: "live".into(),
        expect,
        body: Some(json!(body).into()),
    }
}

async fn all(store: &dyn StateStore) -> BTreeMap<String, (u64, serde_json::Value)> {
    let query = RecordQuery { kind: "many", ..RecordQuery::default() };
    store.find(&query).await.unwrap().into_iter().map(|record| (record.id, (record.version, record.body.value()))).collect()
}

/// More rows than one statement takes, of each kind of statement, and that one that does not fit undoes all.
pub async fn rows(store: &dyn StateStore) {
    let commit = |puts: Vec<Put>| Commit { puts, events: vec![fresh_event()], ..Commit::at(NOW) };
    store.commit(commit((0..150).map(|id| put(id, Expect::New, 1)).collect())).await.unwrap();
    assert_eq!(all(store).await.len(), 150);
    // Updated, written whatever there is, new and gone, in one commit.
    let mut puts: Vec<Put> = (0..140).map(|id| put(id, Expect::Version(1), 2)).collect();
    puts.extend((135..160).map(|id| put(id, Expect::Any, 3)));
    puts.extend([Put { body: None, ..put(0, Expect::Version(2), 0) }, put(200, Expect::New, 4)]);
    store.commit(commit(puts)).await.unwrap();
    let now = all(store).await;
    let of = |id: usize| now.get(&format!("m{id:04}")).map(|(version, body)| (*version, body.as_u64().unwrap()));
    assert_eq!((of(0), of(1), of(134), of(135), of(149), of(159), of(200)), {
        (None, Some((2, 2)), Some((2, 2)), Some((3, 3)), Some((2, 3)), Some((1, 3)), Some((1, 4)))
    });
    // The same record twice in one commit, one version after the other.
    store.commit(commit((0..100).map(|version| put(1, Expect::Version(2 + version), 5)).collect())).await.unwrap();
    let now = all(store).await;
    assert_eq!(now["m0001"], (102, json!(5)));
    // One of many does not fit: a version, a record, a key.
    let head = store.head().await.unwrap();
    let stale = (2..132).map(|id| put(id, Expect::Version(if id == 100 { 9 } else { 2 }), 6)).collect();
    let there = (300..420).map(|id| put(if id == 399 { 2 } else { id }, Expect::New, 6)).collect();
    let taken = (300..420).map(|id| Put { key: (id == 410).then(|| "key2".to_owned()), ..put(id, Expect::New, 6) }).collect();
    let taken_later = (2..132).map(|id| Put { key: Some("key2".to_owned()), ..put(id, Expect::Version(2), 6) }).skip(70).collect();
    let refused: [Vec<Put>; 4] = [stale, there, taken, taken_later];
    for puts in refused {
        let error = store.commit(commit(puts)).await.unwrap_err();
        assert!(error.is_conflict(), "{error}");
    }
    assert_eq!((all(store).await, store.head().await.unwrap()), (now, head), "all or nothing");
    by_names(store).await;
    work(store).await;
    done(store).await;
}

async fn by_names(store: &dyn StateStore) {
    let query = |ids: &[usize], keys: &[usize]| RecordQuery {
        tenant: Some(TenantId::default()),
        kind: "many",
        ids: ids.iter().map(|id| format!("m{id:04}")).collect(),
        keys: keys.iter().map(|id| format!("key{id}")).collect(),
        ..RecordQuery::default()
    };
    let found =
        async |query: RecordQuery| -> Vec<String> { store.find(&query).await.unwrap().into_iter().map(|record| record.id).collect() };
    assert_eq!(found(query(&[3, 0, 140, 9_999], &[])).await, ["m0140", "m0003"], "the newest first, and only what is there");
    assert_eq!(found(query(&[], &[7, 5, 9_999])).await, ["m0007", "m0005"]);
    assert_eq!(found(query(&[7, 8], &[8, 9])).await, ["m0008"]);
    assert_eq!(found(RecordQuery { limit: 1, ..query(&[7, 8], &[]) }).await, ["m0008"]);
}

async fn work(store: &dyn StateStore) {
    let row = |number: usize| {
        let new = NewWork {
            queue: Queue::Maintenance,
            key: format!("many{number}"),
            lane: Lane::Mail,
            subject: model::event::Subject::default(),
            due_at: NOW,
            body: json!(number).into(),
        };
        (TenantId::default(), WorkChange::Schedule(new))
    };
    let before: BTreeSet<WorkId> = store.pending(Queue::Maintenance).await.unwrap().into_iter().collect();
    // One that is cancelled between two of the same key: the key stays taken.
    let mut changes: Vec<_> = (0..100).map(row).collect();
    changes.push((TenantId::default(), WorkChange::Cancel { queue: Queue::Maintenance, key: "many7".into() }));
    changes.extend((0..130).map(row));
    store.commit(Commit { work: changes, ..Commit::at(NOW) }).await.unwrap();
    let pending = store.pending(Queue::Maintenance).await.unwrap();
    assert_eq!(pending.len(), before.len() + 129);
    let fresh: Vec<WorkId> = pending.into_iter().filter(|id| !before.contains(id)).take(40).collect();
    let query = WorkQuery { state: Some(WorkState::Pending), ids: fresh.clone(), limit: 100, ..WorkQuery::default() };
    let listed: BTreeSet<WorkId> = store.list(&query).await.unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(listed, fresh.into_iter().collect());
}

/// Many rows are done in one commit: all of them by their holder, once, or none.
async fn done(store: &dyn StateStore) {
    let claim = Claim { queue: Queue::Maintenance, now: NOW, lease_for: std::time::Duration::from_secs(60), limit: 100 };
    let held = store.claim(&claim).await.unwrap();
    assert_eq!(held.len(), 100);
    let change = |row: &Work, more: u64| (row.tenant.clone(), WorkChange::Done { id: row.id, lease: row.lease + more });
    let commit = |changes: Vec<_>| Commit { work: changes, events: vec![fresh_event()], ..Commit::at(NOW) };
    let all: Vec<_> = held.iter().map(|row| change(row, 0)).collect();
    let foreign = held.iter().enumerate().map(|(at, row)| change(row, u64::from(at == 70))).collect();
    let twice = all.iter().chain(&all[90..91]).cloned().collect();
    let (pending, head) = (store.pending(Queue::Maintenance).await.unwrap(), store.head().await.unwrap());
    for refused in [foreign, twice] {
        assert!(store.commit(commit(refused)).await.unwrap_err().is_conflict());
    }
    assert_eq!((store.pending(Queue::Maintenance).await.unwrap(), store.head().await.unwrap()), (pending, head), "all or nothing");
    store.commit(commit(all.clone())).await.unwrap();
    let pending: BTreeSet<WorkId> = store.pending(Queue::Maintenance).await.unwrap().into_iter().collect();
    assert!(held.iter().all(|row| !pending.contains(&row.id)));
    assert!(store.commit(commit(all[..1].to_vec())).await.unwrap_err().is_conflict(), "it is done already");
}

/// Many callers commit at once: each hears of its own, numbers are given once, and one that cannot be takes no other with it.
pub async fn callers(store: Arc<dyn StateStore>) {
    let head = store.head().await.unwrap();
    let tasks: Vec<_> = (0..200)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                // Every tenth wants a record that its predecessor makes or made.
                let id = if caller % 10 == 9 { caller - 1 } else { caller };
                let puts = vec![Put { kind: "caller", key: None, ..put(id, Expect::New, caller) }];
                let derived = caller % 3 == 0;
                (id, store.commit(Commit { puts, events: vec![fresh_event(), fresh_event()], derived, ..Commit::at(NOW) }).await)
            })
        })
        .collect();
    let (mut numbers, mut made) = (BTreeSet::new(), BTreeMap::new());
    for task in tasks {
        let (id, result) = task.await.unwrap();
        match result {
            Ok(pair) => {
                assert_eq!((pair.len(), pair[1]), (2, pair[0] + 1));
                numbers.extend(pair);
                assert!(made.insert(id, ()).is_none(), "{id} was made twice");
            }
            Err(error) => assert!(error.is_conflict(), "{error}"),
        }
    }
    assert_eq!(made.len(), 180);
    assert_eq!(numbers, (head + 1..=head + 360).collect());
    // Callers that go away: whatever became of theirs, nobody else waits for them.
    let leaving: Vec<_> = (1_000..1_100)
        .map(|caller| {
            let store = store.clone();
            let puts = vec![Put { kind: "caller", key: None, ..put(caller, Expect::New, caller) }];
            tokio::spawn(async move { store.commit(Commit { puts, ..Commit::at(NOW) }).await })
        })
        .collect();
    for (number, task) in leaving.iter().enumerate() {
        if number % 2 == 0 {
            task.abort();
        }
    }
    for (number, task) in leaving.into_iter().enumerate() {
        match task.await {
            Ok(result) => drop(result.unwrap()),
            Err(error) => assert!(number % 2 == 0 && error.is_cancelled()),
        }
    }
    store.commit(Commit { events: vec![fresh_event()], ..Commit::at(NOW) }).await.unwrap();
}
