//! How SQLite goes about the statements that must stay fast, and how it was compiled.

use std::path::Path;
use std::sync::Arc;

use model::state::{Commit, Expect, Put};
use model::tenant::TenantId;
use model::time::{SimulatedClock, Timestamp};

use super::super::sqlite::{LogLength, Sqlite};
use super::*;

async fn open(folder: &Path) -> SqlState<Sqlite> {
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_secs(1_800_000_000)));
    SqlState::<Sqlite>::open(&folder.join("state.db"), clock).await.unwrap()
}

async fn texts(store: &SqlState<Sqlite>, sql: &str, args: Vec<Arg>, column: usize) -> Vec<String> {
    let rows = Sqlite::read(&store.readers, sql, args, true).await.unwrap();
    rows.iter().map(|row| Sqlite::text(row, column).unwrap().unwrap()).collect()
}

#[tokio::test]
async fn what_is_asked_often_is_answered_by_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for (sql, args, wanted) in [
        (work::free_statement(), args!["node0"], "SEARCH work USING INDEX work_turn (queue=?)"),
        (work::NEXT_FREE.to_owned(), args![1, "delivery"], "SEARCH work USING INDEX work_turn (queue=? AND lane=?)"),
        (
            "SELECT id FROM record WHERE kind = $1 AND tenant = $2 AND status IN ($3) AND status <> '' ORDER BY id DESC LIMIT $4"
                .to_owned(),
            args!["alert", "default", "firing", 10],
            "SEARCH record USING INDEX record_status (kind=? AND status=?)",
        ),
        (commit::HEAD.to_owned(), args![], "SEARCH journal"),
        (
            work::done_statement::<Sqlite>(2),
            args!["wrk_1", "default", 1, 1, "wrk_2", "default", 1, 1],
            "SEARCH work USING INDEX sqlite_autoindex_work_1 (id=?)",
        ),
    ] {
        let plan = texts(&store, &format!("EXPLAIN QUERY PLAN {sql}"), args, 3).await;
        assert!(plan.iter().any(|line| line.starts_with(wanted)), "{sql}\n{plan:#?}");
        assert!(!plan.iter().any(|line| line.starts_with("SCAN work") || line.starts_with("SCAN record")), "{sql}\n{plan:#?}");
    }
    store.close().await;
}

/// `.cargo/config.toml` says how: without its flags each commit syncs the file's times too.
#[tokio::test]
async fn sqlite_is_compiled_as_it_should_be() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let options = texts(&store, "PRAGMA compile_options", args![], 0).await;
    assert!(options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"), "{options:?}");
    assert!(!options.iter().any(|option| option == "ENABLE_API_ARMOR"), "{options:?}");
    store.close().await;
}

/// Writes so many records in a commit, each of which fills a page.
async fn write_pages(store: &SqlState<Sqlite>, commit: usize, pages: usize, derived: bool) {
    let put = |record: usize| Put {
        tenant: TenantId::default(),
        kind: "large",
        id: format!("{commit:03}/{record:04}"),
        key: None,
        status: String::new(),
        expect: Expect::New,
        body: Some(serde_json::json!("x".repeat(3_500)).into()),
    };
    store.commit(Commit { puts: (0..pages).map(put).collect(), derived, ..Commit::at(Timestamp::from_secs(1)) }).await.unwrap();
}

/// Commits go on meanwhile; what a process that is killed then leaves is opened again.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_written_ahead_and_nothing_that_is_written_is_lost_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_secs(1_800_000_000)));
    let log = LogLength { ahead: 8_192, settled: std::time::Duration::ZERO, ..LogLength::default() };
    let store = SqlState::<Sqlite>::open_with(&folder.path().join("state.db"), clock.clone(), log).await.unwrap();
    let length = || std::fs::metadata(folder.path().join("state.db-wal")).map_or(0, |file| file.len());
    let mut commits = 0;
    while length() < 32 + 8_192 * 4_120 {
        assert!(commits < 900, "it was not written ahead: {} bytes", length());
        write_pages(&store, commits, 2, false).await;
        commits += 1;
        // Some commits come in the pauses in which it is made longer, some do not.
        tokio::time::sleep(std::time::Duration::from_millis([0, 20, 120][commits % 3])).await;
    }
    for _ in 0..3 {
        write_pages(&store, commits, 2, false).await;
        commits += 1;
    }
    assert_eq!(length(), 32 + 8_192 * 4_120, "it is long enough");
    let killed = tempfile::tempdir().unwrap();
    for name in ["state.db", "state.db-wal"] {
        std::fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
    }
    store.close().await;
    let again = SqlState::<Sqlite>::open(&killed.path().join("state.db"), clock).await.unwrap();
    let found = texts(&again, "SELECT id FROM record WHERE kind = 'large'", args![], 0).await;
    assert_eq!(found.len(), 2 * commits);
    assert_eq!(texts(&again, "PRAGMA integrity_check", args![], 0).await, ["ok"]);
    again.close().await;
}

/// Whether it waits for the disk or not, and however large it is: the frames of a commit are kept back no longer than it takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_in_the_log_when_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut written = 0;
    for (commit, pages) in [1, 4, 40, 4_000, 2].into_iter().enumerate() {
        for derived in [false, true] {
            write_pages(&store, 2 * commit + usize::from(derived), pages, derived).await;
            written += pages;
            let killed = tempfile::tempdir().unwrap();
            for name in ["state.db", "state.db-wal"] {
                std::fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
            }
            let again = rusqlite::Connection::open(killed.path().join("state.db")).unwrap();
            let found: i64 = again.query_row("SELECT COUNT(*) FROM record WHERE kind = 'large'", [], |row| row.get(0)).unwrap();
            assert_eq!(usize::try_from(found), Ok(written), "after {pages} pages, derived: {derived}");
            assert_eq!(again.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
        }
    }
    store.close().await;
}

/// In a pause; where there is none, beside the writes; where that does not keep up, by a commit.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_carried_over_and_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_secs(1_800_000_000)));
    let log = LogLength { worth_it: 4_096, long: 8_192, longest: 16_384, ahead: 0, ..LogLength::default() };
    let store = SqlState::<Sqlite>::open_with(&folder.path().join("state.db"), clock, log).await.unwrap();
    let length = |name: &str| std::fs::metadata(folder.path().join(name)).map_or(0, |file| file.len() / 4_096);
    for commit in 0..5 {
        write_pages(&store, commit, 1_000, false).await;
    }
    for tries in 0.. {
        if length("state.db") > 4_000 {
            break;
        }
        assert!(tries < 1_000, "nothing was carried over: {} pages", length("state.db"));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for commit in 5..40 {
        write_pages(&store, commit, 1_000, false).await;
    }
    let (file, log) = (length("state.db"), length("state.db-wal"));
    assert!(file > 20_000 && log < 30_000, "{file} pages, and {log} in the log");
    store.close().await;
}
