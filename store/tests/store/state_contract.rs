//! The contract of the state store's ports, over any backend. Each story uses ids and queues of its own, so that all can run on one store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use model::event::{Actor, Event, EventKind, Subject};
use model::ids::{AlertId, EventId, IncidentId, RandomIds, SequentialIds, WorkId};
use model::state::{Commit, Entity, Expect, Fence, JournalQuery, Put, RecordQuery, StateError, StateStore, all, by_beginning};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Claim, Lane, NewWork, Queue, WorkChange, WorkQuery, WorkState};
use serde_json::json;

use crate::state_many;

/// The node in whose name the store under test claims.
pub const NODE: &str = "node0";
/// The moment of the stories.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

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
        body: Some(body.into()),
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
    let new =
        NewWork { queue: Queue::Delivery, key: key.into(), lane, subject: Subject::default(), due_at, body: json!({"key": key}).into() };
    (TenantId::default(), WorkChange::Schedule(new))
}

fn claim(now: Timestamp, limit: usize) -> Claim {
    Claim { queue: Queue::Delivery, now, lease_for: Duration::from_secs(30), limit }
}

/// Records: versions, keys, pages, conflicts.
async fn records(store: &dyn StateStore) {
    let first = json!({"text": "Grüße, \u{1F525} 'quoted' \\ \u{0007}", "big": "x".repeat(300_000)});
    store.commit(commit(vec![put("a", Expect::New, Some("k"), first.clone())])).await.unwrap();
    let read = store.get(&TenantId::default(), "thing", "a").await.unwrap().unwrap();
    assert_eq!((read.version, &read.body.value(), read.key.as_deref()), (1, &first, Some("k")));
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
    assert_eq!(backlog[0].overdue, Duration::from_secs(65), "a row that is held is pending still");
    assert_eq!(backlog.len(), model::work::QUEUES.len(), "idle queues are told too");
}

async fn leases(store: &dyn StateStore) {
    let ttl = Duration::from_secs(10);
    let first = store.acquire("leader", "a", NOW, ttl).await.unwrap().unwrap();
    assert!(store.acquire("leader", "b", NOW, ttl).await.unwrap().is_none());
    assert_eq!(store.acquire("leader", "a", NOW.plus(ttl), ttl).await.unwrap().as_ref(), Some(&first), "a renewal keeps the token");
    let fenced = |fence: &Fence, id: &str| Commit { fence: Some(fence.clone()), ..commit(vec![put(id, Expect::New, None, json!(1))]) };
    store.commit(fenced(&first, "f1")).await.unwrap();
    let second = store.acquire("leader", "b", NOW.plus(ttl * 3), ttl).await.unwrap().unwrap();
    assert!(second.token > first.token);
    assert!(matches!(store.commit(fenced(&first, "f2")).await, Err(StateError::Fenced { .. })));
    store.commit(fenced(&second, "f2")).await.unwrap();
    store.release(&second, "a").await.unwrap();
    store.commit(fenced(&second, "f3")).await.expect("only its holder gives a lease back");
    store.release(&second, "b").await.unwrap();
    assert!(matches!(store.commit(fenced(&second, "f4")).await, Err(StateError::Fenced { .. })), "given back is not held");
    assert!(store.acquire("leader", "a", NOW, ttl).await.unwrap().unwrap().token > second.token);
}

/// A node that starts again: what its earlier process held is free at once, what others hold is not, and the earlier process can write
/// no more.
async fn taken_back(store: &dyn StateStore) {
    let queue = Queue::Remediation;
    store.take_back(NODE).await.unwrap(); // what the stories before this one left
    let hour = Duration::from_secs(3600);
    let due = Claim { queue, lease_for: hour, ..claim(NOW, 2) };
    for (key, ago) in [("back-1", 3), ("back-2", 2), ("back-3", 1)] {
        let (owner, mut new) = work(key, Lane::Page, NOW.minus(Duration::from_secs(ago)));
        if let WorkChange::Schedule(row) = &mut new {
            row.queue = queue;
        }
        store.commit(Commit { work: vec![(owner, new)], ..Commit::at(NOW) }).await.unwrap();
    }
    let fence = store.acquire("repairs", &format!("{NODE}/first"), NOW, hour).await.unwrap().unwrap();
    let elsewhere = store.acquire("elsewhere", &format!("{NODE}-2/x"), NOW, hour).await.unwrap().unwrap();
    let claimed = store.claim(&due).await.unwrap();
    assert_eq!(claimed.len(), 2);
    store.commit(change(WorkChange::Progress { id: claimed[0].id, lease: claimed[0].lease, progress: json!("sending") })).await.unwrap();
    store.commit(change(WorkChange::Done { id: claimed[1].id, lease: claimed[1].lease })).await.unwrap();
    assert_eq!(store.take_back("another").await.unwrap(), 0, "a claim is its node's own");
    assert!(store.acquire("repairs", &format!("{NODE}/second"), NOW, hour).await.unwrap().is_none());
    assert_eq!(store.take_back(NODE).await.unwrap(), 1, "what is done needs no freeing");
    assert_eq!(store.take_back(NODE).await.unwrap(), 0);
    // The lease too, under a higher token; nobody else's.
    let fenced = Commit { fence: Some(fence.clone()), ..commit(vec![put("back", Expect::Any, None, json!(1))]) };
    assert!(matches!(store.commit(fenced).await, Err(StateError::Fenced { .. })));
    assert!(store.acquire("repairs", &format!("{NODE}/second"), NOW, hour).await.unwrap().unwrap().token > fence.token);
    assert!(store.acquire("elsewhere", "other", NOW, hour).await.unwrap().is_none(), "{elsewhere:?}");
    // The row is taken again at the same moment, with the note; the earlier claim is void.
    let again = store.claim(&due).await.unwrap();
    assert_eq!(again.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["back-1", "back-3"]);
    assert_eq!(again[0].progress, Some(json!("sending")));
    assert!(again[0].lease > claimed[0].lease);
    let late = WorkChange::Done { id: claimed[0].id, lease: claimed[0].lease };
    assert!(store.commit(change(late)).await.unwrap_err().is_conflict());
    for row in again {
        store.commit(change(WorkChange::Done { id: row.id, lease: row.lease })).await.unwrap();
    }
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
                let next = json!(read.body.value().as_u64().unwrap() + 1);
                let mut change = commit(vec![put("race", Expect::Version(read.version), None, next)]);
                let mut unique = event(&ids, None, "won");
                unique.id = EventId::new(NOW, &RandomIds);
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
    assert_eq!(store.get(&TenantId::default(), "thing", "race").await.unwrap().unwrap().body, json!(80).into());
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

/// Texts that databases like to trip over come back as they were; NUL, which PostgreSQL's text cannot hold, as U+FFFD.
async fn texts(store: &dyn StateStore) {
    for (at, text) in
        ["naïve \u{1F4A5}\u{200D}", "'; DROP TABLE record; --", "\u{FEFF}\u{FFFF}\r\n\t", "a\0b", "%_\\$1?"].into_iter().enumerate()
    {
        let body = json!({ text: [text, 9_007_199_254_740_993_u64, -1, null, 1.5] });
        let id = format!("text-{at}");
        let mut write = commit(vec![Put { status: text.to_owned(), ..put(&id, Expect::New, Some(text), body.clone()) }]);
        write.work.push(work(text, Lane::Page, NOW));
        let (tenant, queue) = (TenantId::default(), Queue::Incident);
        if let WorkChange::Schedule(new) = &mut write.work[0].1 {
            new.queue = queue;
        }
        store.commit(write).await.unwrap();
        let stands = text.replace('\0', "\u{FFFD}");
        let query = RecordQuery { tenant: Some(tenant), kind: "thing", key: Some(text.to_owned()), ..RecordQuery::default() };
        let found = store.find(&RecordQuery { statuses: vec!["no".into(), text.to_owned()], ..query }).await.unwrap();
        assert_eq!((found.len(), &found[0].body.value(), found[0].key.as_deref()), (1, &body, Some(&*stands)));
        let claimed = store.claim(&Claim { queue, ..claim(NOW, 5) }).await.unwrap();
        assert_eq!((claimed.len(), claimed[0].key.as_str()), (1, &*stands));
        let dead = WorkChange::Dead { id: claimed[0].id, lease: claimed[0].lease, error: text.to_owned() };
        store.commit(change(dead)).await.unwrap();
        let listed = store.list(&WorkQuery { queue: Some(queue), limit: 9, ..WorkQuery::default() }).await.unwrap();
        assert!(listed.iter().any(|row| row.error.as_deref() == Some(&*stands)));
    }
}

/// Keys pass from one record to another; deletes obey what they expect; a page of ids has the order of their bytes.
async fn keys_and_order(store: &dyn StateStore) {
    let delete = |id: &str, expect| Put { body: None, ..put(id, expect, None, json!(null)) };
    store.commit(commit(vec![put("k1", Expect::New, Some("lock"), json!(1))])).await.unwrap();
    for taker in [Expect::New, Expect::Any] {
        assert!(store.commit(commit(vec![put("k2", taker, Some("lock"), json!(2))])).await.unwrap_err().is_conflict());
    }
    store.commit(commit(vec![put("k2", Expect::New, None, json!(2))])).await.unwrap();
    assert!(store.commit(commit(vec![put("k2", Expect::Version(1), Some("lock"), json!(2))])).await.unwrap_err().is_conflict());
    let other = Put { tenant: tenant("other"), ..put("k1", Expect::New, Some("lock"), json!(3)) };
    store.commit(commit(vec![other])).await.expect("keys and ids are a tenant's own");
    // In one commit: the holder goes, the next takes the key.
    store.commit(commit(vec![delete("k1", Expect::Version(1)), put("k2", Expect::Version(1), Some("lock"), json!(2))])).await.unwrap();
    store.commit(commit(vec![delete("k1", Expect::Any), delete("k1", Expect::New)])).await.expect("nothing is there, as expected");
    assert!(store.commit(commit(vec![delete("k2", Expect::New)])).await.unwrap_err().is_conflict());
    assert!(store.commit(commit(vec![delete("k2", Expect::Version(9))])).await.unwrap_err().is_conflict());
    let ids = ["o-B", "o-a", "o-Z", "o_a", "o-é", "o-1", "o~"];
    let puts = ids.iter().map(|id| Put { kind: "ordered", ..put(id, Expect::New, None, json!(0)) }).collect();
    store.commit(commit(puts)).await.unwrap();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = store.find(&RecordQuery { kind: "ordered", before: before.clone(), limit: 3, ..RecordQuery::default() }).await.unwrap();
        seen.extend(page.iter().map(|record| record.id.clone()));
        let Some(last) = page.last() else { break };
        before = Some(last.id.clone());
    }
    let mut sorted = ids.map(str::to_owned);
    sorted.sort_by(|a, b| b.cmp(a));
    assert_eq!(seen, sorted);
}

/// Keys that begin so, by bytes; counts; and lists that are longer than a page.
async fn beginnings(store: &dyn StateStore) {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Listed(usize);
    impl Entity for Listed {
        const KIND: &'static str = "listed";
        fn tenant(&self) -> &TenantId {
            static TENANT: std::sync::LazyLock<TenantId> = std::sync::LazyLock::new(TenantId::default);
            &TENANT
        }
        fn id(&self) -> String {
            format!("{:05}", self.0)
        }
        fn key(&self) -> Option<String> {
            let beginnings = ["a/", "a", "A/", "a/é", "a0", "ä/", "a/\u{10FFFF}"];
            Some(format!("{}{}", beginnings[self.0 % beginnings.len()], self.0))
        }
        fn status(&self) -> &'static str {
            if self.0.is_multiple_of(2) { "even" } else { "odd" }
        }
    }
    let mut making = commit(Vec::new());
    for number in 0..2_100 {
        making.put(&Listed(number), Expect::New).unwrap();
    }
    store.commit(making).await.unwrap();
    let tenant = TenantId::default();
    let wanted: Vec<usize> = (0..2_100).rev().filter(|number| [0, 3, 6].contains(&(number % 7))).collect();
    let found = by_beginning::<Listed>(store, &tenant, "a/".to_owned(), &[]).await.unwrap();
    assert_eq!(found.iter().map(|found| found.entity.0).collect::<Vec<_>>(), wanted);
    let odd = by_beginning::<Listed>(store, &tenant, "a/".to_owned(), &["odd"]).await.unwrap();
    assert_eq!(odd.len(), wanted.iter().filter(|number| *number % 2 == 1).count());
    let narrow = by_beginning::<Listed>(store, &tenant, "a/é7".to_owned(), &["even"]).await.unwrap();
    let wanted: Vec<usize> = (0..2_100).rev().filter(|n| n % 7 == 3 && n % 2 == 0 && n.to_string().starts_with('7')).collect();
    assert_eq!(narrow.iter().map(|found| found.entity.0).collect::<Vec<_>>(), wanted);
    let last = by_beginning::<Listed>(store, &tenant, "a/\u{10FFFF}".to_owned(), &[]).await.unwrap();
    assert_eq!(last.len(), 300);
    assert!(by_beginning::<Listed>(store, &tenant, "\u{10FFFF}".to_owned(), &[]).await.unwrap().is_empty());
    assert_eq!(by_beginning::<Listed>(store, &tenant, String::new(), &[]).await.unwrap().len(), 2_100);
    let query = |statuses: &[&str]| RecordQuery {
        kind: "listed",
        statuses: statuses.iter().map(|word| (*word).to_owned()).collect(),
        ..RecordQuery::default()
    };
    assert_eq!((store.count(&query(&[])).await.unwrap(), store.count(&query(&["odd"])).await.unwrap()), (2_100, 1_050));
    assert_eq!(store.count(&RecordQuery { kind: "nothing", ..RecordQuery::default() }).await.unwrap(), 0);
    let list = all::<Listed>(store, Some(&tenant), &["even"], 0).await.unwrap();
    assert_eq!(list.iter().map(|found| found.entity.0).collect::<Vec<_>>(), (0..2_100).rev().filter(|n| n % 2 == 0).collect::<Vec<_>>());
    assert_eq!(all::<Listed>(store, None, &[], 7).await.unwrap().len(), 7);
}

/// The journal finds events by alert and by tenant, keeps actors, and takes each event once.
async fn journal_finds(store: &dyn StateStore) {
    let ids = SequentialIds::default();
    let alert = AlertId::new(NOW, &RandomIds);
    let mut about = event(&ids, None, "about an alert");
    (about.id, about.subject.alert, about.tenant) = (EventId::new(NOW, &RandomIds), Some(alert), tenant("other"));
    about.actor = Actor::Chat { provider: "slack".into(), id: "U1".into() };
    about.at = Timestamp::from_nanos(NOW.nanos() + 123_456_789);
    let write = |events: Vec<Event>| Commit { events, ..Commit::at(NOW) };
    let numbers = store.commit(write(vec![about.clone()])).await.unwrap();
    for query in [
        JournalQuery { alert: Some(alert), ..JournalQuery::default() },
        JournalQuery { alert: Some(alert), tenant: Some(tenant("other")), after: numbers[0] - 1, limit: 1, ..JournalQuery::default() },
    ] {
        let found = store.events(&query).await.unwrap();
        assert_eq!(found.iter().map(|found| (found.seq, &found.event)).collect::<Vec<_>>(), [(numbers[0], &about)]);
    }
    let elsewhere = JournalQuery { alert: Some(alert), tenant: Some(TenantId::default()), ..JournalQuery::default() };
    assert!(store.events(&elsewhere).await.unwrap().is_empty());
    let twice = store.commit(write(vec![about])).await.unwrap_err();
    assert!(twice.is_conflict() && twice.to_string().contains("evt_"), "{twice}");
    assert_eq!(store.head().await.unwrap(), numbers[0]);
}

/// Rows that nobody holds have lease 0; a claim's number is never given twice; only the tenant's own commit changes a row.
async fn claims(store: &dyn StateStore) {
    let queue = Queue::Ladder;
    let due = |secs| Claim { queue, ..claim(NOW.plus(Duration::from_secs(secs)), 9) };
    let (owner, mut new) = work("step", Lane::Page, NOW);
    if let WorkChange::Schedule(row) = &mut new {
        row.queue = queue;
        row.subject = Subject::alert(AlertId::new(NOW, &RandomIds), Some(IncidentId::new(NOW, &RandomIds)));
    }
    store.commit(Commit { work: vec![(owner, new.clone())], ..Commit::at(NOW) }).await.unwrap();
    let listed = async || store.list(&WorkQuery { queue: Some(queue), ..WorkQuery::default() }).await.unwrap().remove(0);
    assert_eq!((listed().await.lease, listed().await.created_at), (0, NOW));
    let WorkChange::Schedule(planned) = new else { unreachable!() };
    let mut held = 0;
    for round in 0..3_u64 {
        let row = store.claim(&due(round * 60)).await.unwrap().remove(0);
        assert!(row.lease > held, "the number rises with each claim");
        assert_eq!((row.attempts, row.lease, &row.subject), (round as u32 + 1, listed().await.lease, &planned.subject));
        let stolen = vec![(tenant("other"), WorkChange::Done { id: row.id, lease: row.lease })];
        assert!(store.commit(Commit { work: stolen, ..Commit::at(NOW) }).await.unwrap_err().is_conflict());
        held = row.lease;
        if round == 1 {
            let retry = WorkChange::Retry { id: row.id, lease: held, due_at: NOW, error: "x".into(), progress: Some(json!([1])) };
            store.commit(change(retry)).await.unwrap();
            assert_eq!((listed().await.lease, listed().await.progress), (0, Some(json!([1]))));
            assert!(store.commit(change(WorkChange::Done { id: row.id, lease: held })).await.unwrap_err().is_conflict(), "given back");
        }
    }
    // A lease that ran out and that nobody took is still good: the work was done once.
    store.commit(change(WorkChange::Done { id: listed().await.id, lease: held })).await.unwrap();
    assert_eq!((listed().await.state, listed().await.lease), (WorkState::Done, 0));
    store.commit(change(WorkChange::Schedule(planned))).await.expect("a finished key stays known");
    assert_eq!(listed().await.state, WorkState::Done);
    let nothing = WorkId::derived(NOW, "nothing");
    assert!(store.commit(change(WorkChange::Replay { id: nothing, due_at: NOW })).await.unwrap_err().is_conflict());
}

/// A row that is held from the beginning: nobody else gets it while the lease lasts, afterwards anybody, with the note; its node takes it back.
async fn held_from_the_beginning(store: &dyn StateStore) {
    let queue = Queue::Intake;
    store.take_back(NODE).await.unwrap(); // what the stories before this one left
    let (owner, new) = work("taken", Lane::Page, NOW);
    let WorkChange::Schedule(new) = new else { unreachable!() };
    let new = NewWork { queue, ..new };
    let take = WorkChange::Take { new: new.clone(), lease_for: Duration::from_secs(30), progress: json!({"sending": 1}) };
    let wanted = new.clone().taken(&owner, NOW, json!({"sending": 1}));
    store.commit(Commit { work: vec![(owner.clone(), take.clone())], ..Commit::at(NOW) }).await.unwrap();
    let due = |secs| Claim { queue, ..claim(NOW.plus(Duration::from_secs(secs)), 9) };
    let listed = async || store.list(&WorkQuery { queue: Some(queue), ..WorkQuery::default() }).await.unwrap().remove(0);
    assert_eq!(listed().await, wanted, "the holder knows the row without reading it");
    assert_eq!(store.pending(queue).await.unwrap(), [wanted.id]);
    assert!(store.claim(&due(29)).await.unwrap().is_empty());
    // Its key is taken, also for whoever only schedules.
    let both = vec![(owner.clone(), WorkChange::Schedule(NewWork { key: "beside".into(), ..new.clone() })), (owner.clone(), take)];
    assert!(store.commit(Commit { work: both, ..Commit::at(NOW) }).await.unwrap_err().is_conflict());
    store.commit(Commit { work: vec![(owner, WorkChange::Schedule(new))], ..Commit::at(NOW) }).await.unwrap();
    assert_eq!(store.list(&WorkQuery { queue: Some(queue), ..WorkQuery::default() }).await.unwrap().len(), 1, "nothing of it was written");
    // A later claim has another number: the first holder can no longer change the row.
    let again = store.claim(&due(30)).await.unwrap().remove(0);
    assert!((again.attempts, again.progress) == (2, Some(json!({"sending": 1}))) && again.lease > wanted.lease);
    assert!(store.commit(change(WorkChange::Done { id: wanted.id, lease: wanted.lease })).await.unwrap_err().is_conflict());
    assert_eq!(store.take_back(NODE).await.unwrap(), 1);
    let last = store.claim(&due(30)).await.unwrap().remove(0);
    store.commit(change(WorkChange::Done { id: last.id, lease: last.lease })).await.unwrap();
}

/// When there will be something to do, and what is forgotten.
async fn next_and_old(store: &dyn StateStore) {
    let queue = Queue::Maintenance;
    let later = |secs| NOW.plus(Duration::from_secs(secs));
    let next = async |now| store.next_due_in(queue, now).await.unwrap();
    assert_eq!(next(NOW).await, None);
    let row = |key: &str, due_at| {
        let (owner, mut new) = work(key, Lane::Mail, due_at);
        if let WorkChange::Schedule(row) = &mut new {
            row.queue = queue;
        }
        (owner, new)
    };
    store.commit(Commit { work: vec![row("b", later(90)), row("a", later(20))], ..Commit::at(NOW) }).await.unwrap();
    assert_eq!((next(NOW).await, next(later(30)).await), (Some(later(20)), Some(later(20))));
    // A row that is held comes back when its lease ends, unless another one is due before.
    let held = store.claim(&Claim { queue, ..claim(later(20), 9) }).await.unwrap().remove(0);
    assert_eq!(next(later(21)).await, Some(later(50)));
    store.commit(Commit { work: vec![row("c", later(40))], ..Commit::at(NOW) }).await.unwrap();
    assert_eq!(next(later(21)).await, Some(later(40)));
    store.commit(Commit { at: later(22), ..change(WorkChange::Done { id: held.id, lease: held.lease }) }).await.unwrap();
    store.commit(Commit { at: later(23), ..change(WorkChange::Cancel { queue, key: "c".into() }) }).await.unwrap();
    assert_eq!(next(later(24)).await, Some(later(90)));

    let keys = async || {
        let rows = store.list(&WorkQuery { queue: Some(queue), ..WorkQuery::default() }).await.unwrap();
        rows.into_iter().map(|row| row.key).collect::<std::collections::BTreeSet<String>>().into_iter().collect::<String>()
    };
    store.prune_work(later(22)).await.unwrap(); // what ended in other parts of this contract
    assert_eq!((store.prune_work(later(22)).await.unwrap(), keys().await.as_str()), (0, "abc"), "what ended at that very moment stays");
    assert_eq!((store.prune_work(later(23)).await.unwrap(), keys().await.as_str()), (1, "bc"));
    assert_eq!((store.prune_work(later(9_999)).await.unwrap(), keys().await.as_str()), (1, "b"), "what is pending stays");
    store.commit(Commit { work: vec![row("a", later(5))], ..Commit::at(NOW) }).await.unwrap();
    assert_eq!(next(NOW).await, Some(later(5)), "a forgotten key can be scheduled again");
}

/// One step of a commit fails at each place in turn: nothing of it is there afterwards.
async fn all_or_nothing(store: &dyn StateStore) {
    let head = store.head().await.unwrap();
    let known = store.list(&WorkQuery { limit: 999, ..WorkQuery::default() }).await.unwrap();
    let ids = SequentialIds::default();
    let base = || {
        let mut base = commit(vec![put("whole", Expect::New, Some("whole"), json!(1))]);
        base.events.push(Event { id: EventId::new(NOW, &RandomIds), ..event(&ids, None, "whole") });
        base.work.push(work("whole", Lane::Page, NOW));
        base
    };
    let mut broken = [base(), base(), base(), base()];
    broken[0].puts.push(put("whole", Expect::New, None, json!(2)));
    broken[1].work.push((TenantId::default(), WorkChange::Done { id: WorkId::derived(NOW, "none"), lease: 1 }));
    let twice = broken[2].events[0].clone();
    broken[2].events.push(twice);
    broken[3].fence = Some(Fence { lease: "nobody has it".into(), token: 1 });
    for wrong in broken {
        assert!(matches!(store.commit(wrong).await.unwrap_err(), StateError::Conflict { .. } | StateError::Fenced { .. }));
        assert!(store.get(&TenantId::default(), "thing", "whole").await.unwrap().is_none());
        assert_eq!(store.head().await.unwrap(), head);
        assert_eq!(store.list(&WorkQuery { limit: 999, ..WorkQuery::default() }).await.unwrap(), known);
    }
}

/// Polls a future at most `polls` times, then drops it: a process that dies in the middle.
async fn die_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// A commit that is dropped in the middle changes everything or nothing, and the store goes on.
async fn dies_in_the_middle(store: &dyn StateStore) {
    let ids = SequentialIds::default();
    let mut finished = false;
    for polls in 1..200 {
        let before = store.head().await.unwrap();
        let mut change = commit(vec![put(&format!("die-{polls}"), Expect::New, None, json!(1))]);
        change.puts.extend((0..3).map(|at| put(&format!("die-{polls}-{at}"), Expect::Any, None, json!(at))));
        change.events.push(Event { id: EventId::new(NOW, &RandomIds), ..event(&ids, None, "die") });
        finished = die_after(polls, store.commit(change)).await.is_some();
        // Another commit, so that what hung in the air is decided.
        store.commit(commit(vec![put("after", Expect::Any, None, json!(polls))])).await.unwrap();
        let written = store.get(&TenantId::default(), "thing", &format!("die-{polls}")).await.unwrap().is_some();
        assert_eq!(store.get(&TenantId::default(), "thing", &format!("die-{polls}-2")).await.unwrap().is_some(), written);
        assert_eq!(store.head().await.unwrap() - before, u64::from(written));
        if finished {
            assert!(written);
            break;
        }
    }
    assert!(finished, "a commit ends");
}

fn change(change: WorkChange) -> Commit {
    Commit { work: vec![(TenantId::default(), change)], ..Commit::at(NOW) }
}

/// All stories, one after the other.
pub async fn contract(store: Arc<dyn StateStore>) {
    records(&*store).await;
    journal(&*store).await;
    journal_finds(&*store).await;
    work_rows(&*store).await;
    claims(&*store).await;
    held_from_the_beginning(&*store).await;
    next_and_old(&*store).await;
    leases(&*store).await;
    taken_back(&*store).await;
    keys_and_order(&*store).await;
    beginnings(&*store).await;
    texts(&*store).await;
    all_or_nothing(&*store).await;
    dies_in_the_middle(&*store).await;
    races(store.clone()).await;
    racing_claims(store.clone()).await;
    state_many::rows(&*store).await;
    state_many::callers(store).await;
}

/// An event of no importance.
pub fn fresh_event() -> Event {
    Event { id: EventId::new(NOW, &RandomIds), ..event(&SequentialIds::default(), None, "fresh") }
}

/// Writers on two stores over one database; a reader on each sees every number once, in order.
pub async fn in_order<S: StateStore + 'static>(one: &Arc<S>, two: &Arc<S>) {
    const EACH: u64 = 60;
    let start = one.head().await.unwrap();
    let mut tasks = Vec::new();
    for store in [one, two, one, two] {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..EACH / 2 {
                store.commit(Commit { events: vec![fresh_event(), fresh_event()], ..Commit::at(NOW) }).await.unwrap();
            }
        }));
    }
    for store in [one, two] {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let mut seen = start;
            while seen < start + 4 * EACH {
                for recorded in store.events(&JournalQuery { after: seen, limit: 7, ..JournalQuery::default() }).await.unwrap() {
                    assert_eq!(recorded.seq, seen + 1, "no number appears after a larger one");
                    seen = recorded.seq;
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}
