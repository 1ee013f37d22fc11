//! The state store's backends under one contract, and what is special to each: SQLite's file, PostgreSQL's clock.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use model::state::{Commit, Journal, JournalQuery, Leases, Records};
use model::time::{Clock, SimulatedClock, SystemClock};
use model::work::WorkQuery;
use store::state::{MemoryState, OpenError, PostgresState, SqliteState};

use crate::postgres::Postgres;
use crate::state_contract::{NODE, NOW, contract};
use crate::state_random::{agree, finished_work};

fn clock() -> Arc<SimulatedClock> {
    Arc::new(SimulatedClock::new(NOW))
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    contract(Arc::new(MemoryState::new(clock()).named(NODE))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_contract_and_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let clock = clock();
    let store = Arc::new(SqliteState::open(&path, clock.clone()).await.unwrap().named(NODE));
    contract(store.clone()).await;
    assert_eq!(store.now().await.unwrap(), NOW);
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", file.path().display());
    }
    let head = store.head().await.unwrap();
    store.close().await;
    let again = SqliteState::open(&path, clock.clone()).await.unwrap();
    assert_eq!(again.head().await.unwrap(), head);
    again.close().await;
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.execute("INSERT INTO schema_migration (number) VALUES (9999)", []).unwrap();
    drop(newer);
    let refused = SqliteState::open(&path, clock).await.err().unwrap();
    assert!(matches!(refused, OpenError::Newer { found: 9999, .. }), "{refused}");
}

/// What an earlier version wrote is there afterwards, and numbers go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_of_an_earlier_version_is_brought_forward() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let earlier = rusqlite::Connection::open(&path).unwrap();
    for (number, text) in [
        (1, include_str!("../../migrations/state/0001_state.sql")),
        (2, include_str!("../../migrations/state/0002_claim_holder.sql")),
        (3, include_str!("../../migrations/state/0003_fewer_indexes.sql")),
    ] {
        earlier.execute_batch(text).unwrap();
        earlier.execute_batch("CREATE TABLE IF NOT EXISTS schema_migration (number BIGINT NOT NULL PRIMARY KEY)").unwrap();
        earlier.execute("INSERT INTO schema_migration (number) VALUES (?1)", [number]).unwrap();
    }
    let events: Vec<_> = (0..3).map(|_| crate::state_contract::fresh_event()).collect();
    for (seq, event) in (1..).zip(&events) {
        let sql =
            "INSERT INTO journal (seq, id, tenant, at, actor, alert, incident, kind, body) VALUES (?1, ?2, ?3, ?4, '{}', ?5, NULL, ?6, ?7)";
        let (alert, body) = (event.subject.alert.map(|alert| alert.to_string()), serde_json::to_string(event).unwrap());
        let row = rusqlite::params![seq, event.id.to_string(), event.tenant.as_str(), event.at.micros(), alert, event.kind.tag(), body];
        earlier.execute(sql, row).unwrap();
    }
    drop(earlier);
    let store = SqliteState::open(&path, clock()).await.unwrap();
    let found = store.events(&JournalQuery { limit: 10, ..JournalQuery::default() }).await.unwrap();
    assert_eq!(found.iter().map(|found| (found.seq, &found.event)).collect::<Vec<_>>(), (1..).zip(&events).collect::<Vec<_>>());
    let next = Commit { events: vec![crate::state_contract::fresh_event()], ..Commit::at(NOW) };
    assert_eq!(store.commit(next).await.unwrap(), [4]);
    let again = Commit { events: vec![events[0].clone()], ..Commit::at(NOW) };
    assert!(store.commit(again).await.unwrap_err().is_conflict(), "an event is there once");
    store.close().await;
}

/// The server and the command line beside it: two processes on one file.
#[tokio::test(flavor = "multi_thread")]
async fn two_owners_of_one_sqlite_file_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (one, two) = tokio::join!(SqliteState::open(&path, clock()), SqliteState::open(&path, clock()));
    let stores = [Arc::new(one.unwrap()), Arc::new(two.unwrap())];
    let writers = stores.clone().map(|store| {
        tokio::spawn(async move {
            for _ in 0..40 {
                store.commit(Commit { events: vec![crate::state_contract::fresh_event()], ..Commit::at(NOW) }).await.unwrap();
            }
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!((stores[0].head().await.unwrap(), stores[1].head().await.unwrap()), (80, 80));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_database_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    std::fs::write(&path, "this is not a database, whatever its name says".repeat(200)).unwrap();
    let refused = SqliteState::open(&path, clock()).await.err().unwrap().to_string();
    assert!(refused.contains("state.db cannot be opened") && refused.contains("not a database"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_contract() {
    let Some(server) = Postgres::start() else { return };
    let store = Arc::new(PostgresState::connect(&server.url()).await.unwrap().named(NODE));
    contract(store.clone()).await;
    let off = store.now().await.unwrap().since(SystemClock.now()).max(SystemClock.now().since(store.now().await.unwrap()));
    assert!(off < Duration::from_secs(60), "the server's clock, in microseconds of the epoch: {off:?} off");
    let second = PostgresState::connect(&server.url()).await.unwrap();
    assert!(second.head().await.unwrap() > 80);
    store.close().await;
    second.close().await;
}

/// Two nodes: writers on both, and a reader on each that must see every number in order.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_on_one_postgres_see_the_journal_in_order() {
    let Some(server) = Postgres::start() else { return };
    let url = server.url();
    let (one, two) = tokio::join!(PostgresState::connect(&url), PostgresState::connect(&url));
    let nodes = [Arc::new(one.unwrap()), Arc::new(two.unwrap())];
    crate::state_contract::in_order(&nodes[0].clone(), &nodes[1].clone()).await;
    let wrong = PostgresState::connect(&model::secret::Secret::new("mysql://root:hunter2@db/x")).await.err().unwrap().to_string();
    assert!(wrong.contains("postgres://user:password@host") && !wrong.contains("hunter2"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_rows_go_and_dead_letters_stay() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteState::open(&folder.path().join("state.db"), clock()).await.unwrap();
    let memory = MemoryState::new(clock());
    for (name, store) in [("memory", &memory as &dyn model::state::StateStore), ("sqlite", &sqlite)] {
        finished_work(store).await;
        let count = async || store.list(&WorkQuery { limit: 9_999, ..WorkQuery::default() }).await.unwrap().len();
        assert_eq!(count().await, 2_502, "{name}");
        assert_eq!(store.prune_work(NOW).await.unwrap(), 0, "{name}: what ended at that very moment stays");
        assert_eq!(store.prune_work(NOW.plus(Duration::from_millis(1))).await.unwrap(), 2_500, "{name}: in several transactions");
        assert_eq!(count().await, 2, "{name}: one pending, one dead");
    }
    sqlite.close().await;
}

#[test]
fn sqlite_and_memory_agree_on_random_histories() {
    agree(48, async |folder| Arc::new(SqliteState::open(&folder.join("state.db"), clock()).await.unwrap().named(NODE)));
}

#[test]
fn postgres_and_memory_agree_on_random_histories() {
    let Some(server) = Postgres::start() else { return };
    let number = std::cell::Cell::new(0);
    agree(12, async |_| {
        number.set(number.get() + 1);
        Arc::new(PostgresState::connect(&server.database(number.get()).await).await.unwrap().named(NODE))
    });
}
