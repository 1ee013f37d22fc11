//! One contract over memory, SQLite and PostgreSQL.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::event::{Actor, Event, EventKind, Subject};
use model::ids::{EventId, IncidentId, SequentialIds};
use model::state::{Commit, Expect, JournalQuery, Put, RecordQuery, StateError, StateStore};
use model::tenant::TenantId;
use model::time::{SimulatedClock, Timestamp};
use model::work::{Claim, Lane, NewWork, Queue, WorkChange, WorkQuery, WorkState};
use serde_json::json;
use store::state::{MemoryState, OpenError, PostgresState, SqliteState};

use crate::postgres::Postgres;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn put(id: &str, expect: Expect, key: Option<&str>, body: serde_json::Value) -> Put {
    Put {
        tenant: TenantId::default(),
        kind: "thing",
        id: id.into(),
        key: key.map(str::to_owned),
        status: "live".into(),
        expect,
        body: Some(body),
    }
}

fn commit(puts: Vec<Put>) -> Commit {
    Commit { at: NOW, puts, ..Commit::default() }
}

fn event(ids: &SequentialIds, incident: Option<IncidentId>, text: &str) -> Event {
    Event {
        id: EventId::new(NOW, ids),
        tenant: TenantId::default(),
        at: NOW,
        actor: Actor::system("test"),
        subject: Subject { alert: None, incident },
        kind: EventKind::Noted { text: text.to_owned(), details: BTreeMap::new() },
    }
}

fn work(key: &str, lane: Lane, due_at: Timestamp) -> (TenantId, WorkChange) {
    let new = NewWork { queue: Queue::Delivery, key: key.into(), lane, subject: Subject::default(), due_at, body: json!({"key": key}) };
    (TenantId::default(), WorkChange::Schedule(new))
}

fn claim(now: Timestamp, limit: usize) -> Claim {
    Claim { queue: Queue::Delivery, now, lease_for: Duration::from_secs(30), limit }
}

async fn records(store: &dyn StateStore) {
    let first = json!({"text": "Grüße, \u{1F525} 'quoted' \\ \u{0007}", "big": "x".repeat(300_000)});
    store.commit(commit(vec![put("a", Expect::New, Some("k"), first.clone())])).await.unwrap();
    let read = store.get(&TenantId::default(), "thing", "a").await.unwrap().unwrap();
    assert_eq!((read.version, &read.body, read.key.as_deref()), (1, &first, Some("k")));
    assert!(store.get(&tenant("other"), "thing", "a").await.unwrap().is_none(), "another tenant sees nothing");
    // A new one over an old one, a stale version, a taken key: conflicts that change nothing.
    for wrong in [
        vec![put("a", Expect::New, None, json!(1))],
        vec![put("a", Expect::Version(7), None, json!(1))],
        vec![put("missing", Expect::Version(1), None, json!(1))],
        vec![put("b", Expect::New, None, json!(1)), put("c", Expect::New, Some("k"), json!(1))],
    ] {
        let refused = store.commit(commit(wrong)).await.unwrap_err();
        assert!(refused.is_conflict(), "{refused}");
    }
    assert!(store.get(&TenantId::default(), "thing", "b").await.unwrap().is_none(), "all or nothing");
    // A key is free again once its holder gives it up; two holders without a key are fine.
    store
        .commit(commit(vec![
            put("a", Expect::Version(1), None, json!(2)),
            put("c", Expect::New, Some("k"), json!(3)),
            put("d", Expect::Any, None, json!(4)),
        ]))
        .await
        .unwrap();
    let by_key = RecordQuery { tenant: Some(TenantId::default()), kind: "thing", key: Some("k".into()), ..RecordQuery::default() };
    assert_eq!(store.find(&by_key).await.unwrap()[0].id, "c");
    store.commit(commit(vec![put("d", Expect::Any, None, json!(5))])).await.unwrap();
    let page = RecordQuery { kind: "thing", limit: 2, ..RecordQuery::default() };
    let newest: Vec<(String, u64)> = store.find(&page).await.unwrap().into_iter().map(|record| (record.id, record.version)).collect();
    assert_eq!(newest, [("d".to_owned(), 2), ("c".to_owned(), 1)]);
    let older = store.find(&RecordQuery { before: Some("c".into()), ..page.clone() }).await.unwrap();
    assert_eq!(older[0].id, "a");
    assert!(store.find(&RecordQuery { statuses: vec!["gone".into(), "dead".into()], ..page }).await.unwrap().is_empty());
    let delete = Put { body: None, ..put("c", Expect::Version(1), None, json!(null)) };
    store.commit(commit(vec![delete.clone()])).await.unwrap();
    assert!(store.commit(commit(vec![delete])).await.unwrap_err().is_conflict());
}

async fn journal(store: &dyn StateStore) {
    let ids = SequentialIds::default();
    let incident = IncidentId::new(NOW, &ids);
    let head = store.head().await.unwrap();
    let numbers = store
        .commit(Commit { at: NOW, events: vec![event(&ids, None, "one"), event(&ids, Some(incident), "two")], ..Commit::default() })
        .await
        .unwrap();
    assert_eq!(numbers, [head + 1, head + 2]);
    let about = store.events(&JournalQuery { incident: Some(incident), ..JournalQuery::default() }).await.unwrap();
    assert_eq!(about.len(), 1);
    assert_eq!(about[0].seq, head + 2);
    let rest = store.events(&JournalQuery { after: head + 1, ..JournalQuery::default() }).await.unwrap();
    assert_eq!(rest, about);
    // A commit that fails leaves no event behind.
    let failing = Commit {
        puts: vec![put("nowhere", Expect::Version(1), None, json!(1))],
        events: vec![event(&ids, None, "never")],
        ..Commit::at(NOW)
    };
    assert!(store.commit(failing).await.is_err());
    assert_eq!(store.head().await.unwrap(), head + 2);
}

async fn work_rows(store: &dyn StateStore) {
    let later = NOW.plus(Duration::from_secs(60));
    let rows =
        vec![work("mail", Lane::Mail, NOW), work("page", Lane::Page, NOW), work("chat", Lane::Chat, NOW), work("later", Lane::Page, later)];
    store.commit(Commit { at: NOW, work: rows, ..Commit::default() }).await.unwrap();
    store.commit(Commit { at: NOW, work: vec![work("page", Lane::Mail, later)], ..Commit::default() }).await.unwrap();
    let first = store.claim(&claim(NOW, 2)).await.unwrap();
    assert_eq!(first.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["page", "chat"], "lanes first; a known key changes nothing");
    assert_eq!(store.claim(&claim(NOW, 9)).await.unwrap().iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["mail"]);
    assert!(store.claim(&claim(NOW, 9)).await.unwrap().is_empty(), "claimed rows are held");
    let change = |change: WorkChange| Commit { at: NOW, work: vec![(TenantId::default(), change)], ..Commit::default() };
    let (page, chat) = (&first[0], &first[1]);
    store.commit(change(WorkChange::Progress { id: page.id, lease: page.lease, progress: json!({"sending": 1}) })).await.unwrap();
    // The lease runs out: somebody else has it, with the note, and the first holder is too late.
    let again = store.claim(&claim(NOW.plus(Duration::from_secs(31)), 9)).await.unwrap();
    let page_again = again.iter().find(|row| row.key == "page").unwrap();
    assert_eq!((page_again.attempts, page_again.progress.clone()), (2, Some(json!({"sending": 1}))));
    assert!(store.commit(change(WorkChange::Done { id: page.id, lease: page.lease })).await.unwrap_err().is_conflict());
    store.commit(change(WorkChange::Done { id: page_again.id, lease: page_again.lease })).await.unwrap();
    assert!(store.commit(change(WorkChange::Done { id: page_again.id, lease: page_again.lease })).await.unwrap_err().is_conflict());
    let chat_again = again.iter().find(|row| row.id == chat.id).unwrap();
    let retry = WorkChange::Retry { id: chat.id, lease: chat_again.lease, due_at: later, error: "429".into(), progress: None };
    store.commit(change(retry)).await.unwrap();
    let mail = again.iter().find(|row| row.key == "mail").unwrap();
    store.commit(change(WorkChange::Dead { id: mail.id, lease: mail.lease, error: "550".into() })).await.unwrap();
    let dead = store.list(&WorkQuery { state: Some(WorkState::Dead), ..WorkQuery::default() }).await.unwrap();
    assert_eq!((dead.len(), dead[0].error.as_deref()), (1, Some("550")));
    let other = Commit { at: NOW, work: vec![(tenant("other"), WorkChange::Replay { id: mail.id, due_at: NOW })], ..Commit::default() };
    assert!(store.commit(other).await.unwrap_err().is_conflict(), "another tenant cannot replay it");
    store.commit(change(WorkChange::Replay { id: mail.id, due_at: NOW })).await.unwrap();
    store.commit(change(WorkChange::Cancel { queue: Queue::Delivery, key: "later".into() })).await.unwrap();
    store.commit(change(WorkChange::Cancel { queue: Queue::Delivery, key: "no such".into() })).await.unwrap();
    let rest = store.claim(&claim(later, 9)).await.unwrap();
    assert_eq!(rest.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["chat", "mail"]);
    let backlog = store.backlog(later.plus(Duration::from_secs(5))).await.unwrap();
    assert_eq!((backlog[0].queue, backlog[0].pending, backlog[0].dead), (Queue::Delivery, 2, 0));
}

async fn leases(store: &dyn StateStore) {
    let ttl = Duration::from_secs(10);
    let first = store.acquire("leader", "a", NOW, ttl).await.unwrap().unwrap();
    assert!(store.acquire("leader", "b", NOW, ttl).await.unwrap().is_none());
    assert_eq!(store.acquire("leader", "a", NOW.plus(ttl), ttl).await.unwrap().as_ref(), Some(&first), "a renewal keeps the token");
    let fenced =
        |fence: &model::state::Fence, id: &str| Commit { fence: Some(fence.clone()), ..commit(vec![put(id, Expect::New, None, json!(1))]) };
    store.commit(fenced(&first, "f1")).await.unwrap();
    let second = store.acquire("leader", "b", NOW.plus(ttl * 3), ttl).await.unwrap().unwrap();
    assert!(second.token > first.token);
    assert!(matches!(store.commit(fenced(&first, "f2")).await, Err(StateError::Fenced { .. })));
    store.commit(fenced(&second, "f2")).await.unwrap();
    store.release(&second, "b").await.unwrap();
    assert!(store.acquire("leader", "a", NOW, ttl).await.unwrap().unwrap().token > second.token);
}

/// Eight writers race for one record and for the journal: one wins each version, and no reader misses a number.
async fn races(store: Arc<dyn StateStore>) {
    store.commit(commit(vec![put("race", Expect::New, None, json!(0))])).await.unwrap();
    let start = store.head().await.unwrap();
    let ids = Arc::new(SequentialIds::default());
    let mut writers = Vec::new();
    for _ in 0..8 {
        let (store, ids) = (store.clone(), ids.clone());
        writers.push(tokio::spawn(async move {
            let mut won = 0;
            while won < 10 {
                let read = store.get(&TenantId::default(), "thing", "race").await.unwrap().unwrap();
                let next = json!(read.body.as_u64().unwrap() + 1);
                let mut change = commit(vec![put("race", Expect::Version(read.version), None, next)]);
                let mut unique = event(&ids, None, "won");
                unique.id = EventId::new(NOW, &model::ids::RandomIds);
                change.events.push(unique);
                match store.commit(change).await {
                    Ok(_) => won += 1,
                    Err(error) => assert!(error.is_conflict(), "{error}"),
                }
            }
        }));
    }
    let reader = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut seen = start;
            while seen < start + 80 {
                for recorded in store.events(&JournalQuery { after: seen, ..JournalQuery::default() }).await.unwrap() {
                    assert_eq!(recorded.seq, seen + 1, "no number appears after a larger one");
                    seen = recorded.seq;
                }
                tokio::task::yield_now().await;
            }
        })
    };
    for writer in writers {
        writer.await.unwrap();
    }
    reader.await.unwrap();
    assert_eq!(store.get(&TenantId::default(), "thing", "race").await.unwrap().unwrap().body, json!(80));
}

async fn racing_claims(store: Arc<dyn StateStore>) {
    let rows = (0..60).map(|at| work(&format!("claim-{at}"), Lane::Page, NOW.minus(Duration::from_secs(1000)))).collect();
    store.commit(Commit { at: NOW, work: rows, ..Commit::default() }).await.unwrap();
    let mut claimers = Vec::new();
    for _ in 0..6 {
        let store = store.clone();
        claimers.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let rows = store.claim(&claim(NOW.minus(Duration::from_secs(900)), 7)).await.unwrap();
                if rows.is_empty() {
                    let left = store.claim(&claim(NOW.minus(Duration::from_secs(900)), 60)).await.unwrap();
                    mine.extend(left.into_iter().map(|row| row.key));
                    return mine;
                }
                mine.extend(rows.into_iter().map(|row| row.key));
            }
        }));
    }
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.unwrap());
    }
    all.sort();
    let count = all.len();
    all.dedup();
    assert_eq!((count, all.len()), (60, 60), "every row once");
}

async fn contract(store: Arc<dyn StateStore>) {
    records(&*store).await;
    journal(&*store).await;
    work_rows(&*store).await;
    leases(&*store).await;
    races(store.clone()).await;
    racing_claims(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    contract(Arc::new(MemoryState::new(Arc::new(SimulatedClock::new(NOW))))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_contract_and_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let clock = Arc::new(SimulatedClock::new(NOW));
    let store = Arc::new(SqliteState::open(&path, clock.clone()).await.unwrap());
    contract(store.clone()).await;
    let head = model::state::Journal::head(&*store).await.unwrap();
    store.close().await;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let again = SqliteState::open(&path, clock.clone()).await.unwrap();
    assert_eq!(model::state::Journal::head(&again).await.unwrap(), head);
    again.close().await;
    let newer = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::query("INSERT INTO schema_migration (number) VALUES (9999)").execute(&newer).await.unwrap();
    newer.close().await;
    assert!(matches!(SqliteState::open(&path, clock).await.err(), Some(OpenError::Newer { found: 9999, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_contract() {
    let Some(server) = Postgres::start() else { return };
    let mut store = None;
    for _ in 0..200 {
        match PostgresState::connect(&server.url()).await {
            Ok(connected) => {
                store = Some(connected);
                break;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    let store = Arc::new(store.expect("PostgreSQL takes connections"));
    contract(store.clone()).await;
    let second = PostgresState::connect(&server.url()).await.unwrap();
    assert!(model::state::Journal::head(&second).await.unwrap() > 80);
    store.close().await;
    second.close().await;
}
