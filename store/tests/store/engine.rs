//! The engine as a child process: answers through the official client, survives kills and hangs, refuses a second owner.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::Row;
use model::columns::{Column, ColumnSpec, ColumnType, TableBlock, TableSpec};
use serde::{Deserialize, Serialize};
use store::clickhouse::migrations::{Migration, MigrationError, migrate};
use store::engine::supervisor::Supervisor;
use store::wal::BlockInsert;

use crate::fixture::{TestEngine, config};

#[derive(Row, Serialize, Deserialize, Debug, PartialEq)]
struct Pair {
    id: u64,
    name: String,
}

static PAIRS: TableSpec = TableSpec {
    number: 900,
    name: "pairs",
    columns: &[ColumnSpec { name: "id", kind: ColumnType::UInt64 }, ColumnSpec { name: "name", kind: ColumnType::String }],
};

fn block(ids: std::ops::Range<u64>) -> Bytes {
    let mut block = TableBlock::new(&PAIRS);
    for id in ids {
        if let Column::UInt64(rows) = &mut block.columns[0] {
            rows.push(id);
        }
        if let Column::String(rows) = &mut block.columns[1] {
            rows.push(format!("n{id}").as_bytes());
        }
    }
    let (mut plain, mut bytes) = (Vec::new(), Vec::new());
    store::native::encode(&block, &mut plain).unwrap();
    store::native::packed::pack(&plain, &mut bytes).unwrap();
    bytes.into()
}

pub async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if ask().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited in vain for: {what}");
}

async fn with_pairs() -> TestEngine {
    let engine = TestEngine::start().await;
    let ddl = "CREATE TABLE pairs (id UInt64, name String) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1";
    engine.clickhouse.execute(ddl).await.unwrap();
    engine
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_reads_and_writes() {
    let engine = with_pairs().await;
    let client = engine.clickhouse.client();
    let mut insert = client.insert::<Pair>("pairs").await.unwrap();
    for id in 0..1_000 {
        insert.write(&Pair { id, name: format!("name '{id}'\n") }).await.unwrap();
    }
    insert.end().await.unwrap();
    let rows = client
        .query("SELECT ?fields FROM pairs WHERE id >= ? AND name != ? ORDER BY id")
        .bind(998)
        .bind("it's")
        .fetch_all::<Pair>()
        .await
        .unwrap();
    assert_eq!(rows, [998, 999].map(|id| Pair { id, name: format!("name '{id}'\n") }));
    for compression in [clickhouse::Compression::None, clickhouse::Compression::Lz4] {
        let client = client.clone().with_compression(compression);
        client.query("TRUNCATE TABLE pairs").execute().await.unwrap();
        let mut insert = client.insert::<Pair>("pairs").await.unwrap();
        for id in 0..50_000 {
            insert.write(&Pair { id, name: format!("n{id}") }).await.unwrap();
        }
        insert.end().await.unwrap();
        // Parameters travel in a multipart form.
        let rows = client
            .query("SELECT ?fields FROM pairs WHERE id >= {from:UInt64} AND name != {not:String} ORDER BY id")
            .param("from", 49_998)
            .param("not", "it's\\n")
            .fetch_all::<Pair>()
            .await
            .unwrap();
        assert_eq!(rows, [49_998, 49_999].map(|id| Pair { id, name: format!("n{id}") }), "{compression:?}");
        let count = client.query("SELECT count() FROM pairs").fetch_one::<u64>().await.unwrap();
        assert_eq!(count, 50_000, "{compression:?}");
    }
    let large = client.query("SELECT number AS id, repeat('x', 100) AS name FROM numbers(200000)").fetch_all::<Pair>().await.unwrap();
    assert_eq!(large.len(), 200_000);
    engine.supervisor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_stored_once_and_settings_do_not_leak() {
    let engine = with_pairs().await;
    for _ in 0..3 {
        engine.clickhouse.insert(&PAIRS, "node/1/pairs/1", block(0..500)).await.unwrap();
    }
    assert_eq!(engine.text("SELECT count(), uniqExact(id) FROM pairs").await, "500\t500");
    engine.clickhouse.insert(&PAIRS, "node/1/pairs/2", block(0..500)).await.unwrap();
    assert_eq!(engine.text("SELECT count() FROM pairs").await, "1000");
    for _ in 0..8 {
        assert_eq!(engine.text("SELECT value FROM system.settings WHERE name = 'insert_deduplication_token'").await, "");
    }
    let mut nonsense = Vec::new();
    store::native::packed::pack(b"\x02\x01nonsense", &mut nonsense).unwrap();
    let refused = engine.clickhouse.insert(&PAIRS, "node/1/pairs/3", nonsense.into()).await.unwrap_err();
    assert!(refused.message.contains("Code: "), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_carry_their_code() {
    let engine = with_pairs().await;
    let error = engine.clickhouse.execute("SELECT * FROM no_such_table").await.unwrap_err();
    assert_eq!(error.code, Some(60), "{error}");
    let error = engine.clickhouse.execute("SELEC 1").await.unwrap_err();
    assert_eq!((error.code, error.retryable), (Some(62), false), "{error}");
    let client = engine.clickhouse.client().with_setting("readonly", "1");
    let error = client.query("INSERT INTO pairs VALUES (1, 'x')").execute().await.unwrap_err().to_string();
    assert!(error.contains("readonly") || error.contains("READONLY"), "{error}");
    engine.clickhouse.execute("INSERT INTO pairs VALUES (1, 'x')").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_raw_with_parameters_and_settings() {
    let engine = TestEngine::start().await;
    let ask = |sql: &'static str, parameters: &'static [(&str, &str)], settings: &'static [(&str, &str)], format: &'static str| {
        let answer = engine.clickhouse.query(sql, parameters, settings, format).unwrap();
        async move { answer.collect(1 << 20).await }
    };
    let hostile = "a'b\\\n\tc?";
    let bytes = engine.clickhouse.query("SELECT {x:String}", &[("x", hostile)], &[], "RowBinary").unwrap().collect(100).await.unwrap();
    assert_eq!(&bytes[1..], hostile.as_bytes());
    let json = ask("SELECT 1 AS a WHERE {b:UInt8} = 2", &[("b", "2")], &[], "JSON").await.unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&json).unwrap()["data"][0]["a"], 1);
    let error = ask("SELECT sleep(3)", &[], &[("max_execution_time", "0.1")], "TSV").await.unwrap_err();
    assert_eq!((error.code, error.retryable), (Some(159), true), "{error}");
    let error = ask("SELECT number FROM numbers(10000000)", &[], &[], "TSV").await.unwrap_err();
    assert!(!error.retryable && error.message.contains("larger than"), "{error}");
    // What one request sets is gone at the next.
    let error = ask("SELECT {b:UInt8}", &[], &[], "TSV").await.unwrap_err();
    assert_eq!(error.code, Some(456), "{error}");
    engine.clickhouse.ping().await.unwrap();
    engine.supervisor.stop().await;
    assert!(engine.clickhouse.ping().await.unwrap_err().retryable);
    assert!(engine.clickhouse.execute("SELECT 1").await.unwrap_err().retryable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_after_the_first_rows_is_an_error_in_every_encoding() {
    let engine = TestEngine::start().await;
    for compression in [clickhouse::Compression::None, clickhouse::Compression::Lz4] {
        let client = engine.clickhouse.client().with_compression(compression);
        let sql = "SELECT throwIf(number = 1500000) AS id, toString(number) AS name FROM numbers(2000000)";
        let mut rows = client.query(sql).with_setting("max_threads", "1").fetch_bytes("JSONEachRow").unwrap();
        let (mut bytes, mut outcome) = (0, Ok(()));
        loop {
            match rows.next().await {
                Ok(Some(part)) => bytes += part.len(),
                Ok(None) => break,
                Err(error) => {
                    outcome = Err(error.to_string());
                    break;
                }
            }
        }
        assert!(bytes > 1_000_000, "{compression:?}: {bytes}");
        let error = outcome.unwrap_err();
        assert!(error.contains("Code: 395"), "{compression:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_can_be_deleted_and_changed() {
    let engine = with_pairs().await;
    engine.clickhouse.insert(&PAIRS, "t/1", block(0..100)).await.unwrap();
    engine.clickhouse.execute("ALTER TABLE pairs DELETE WHERE id < 50 SETTINGS mutations_sync = 1").await.unwrap();
    engine.clickhouse.execute("ALTER TABLE pairs UPDATE name = 'x' WHERE id = 50 SETTINGS mutations_sync = 1").await.unwrap();
    assert_eq!(engine.text("SELECT count(), countIf(name = 'x') FROM pairs").await, "50\t1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_can_be_backed_up_and_restored() {
    let engine = TestEngine::start_with(|folder, args| args.backups = Some(folder.join("backups"))).await;
    engine.clickhouse.execute("CREATE DATABASE d").await.unwrap();
    engine.clickhouse.execute("CREATE TABLE d.t (x UInt8) ENGINE = MergeTree ORDER BY x").await.unwrap();
    engine.clickhouse.execute("INSERT INTO d.t VALUES (7)").await.unwrap();
    let file = engine.args.backups.as_deref().unwrap().join("first");
    engine.clickhouse.execute(&format!("BACKUP DATABASE d TO File('{}')", file.display())).await.unwrap();
    engine.clickhouse.execute("DROP DATABASE d SYNC").await.unwrap();
    engine.clickhouse.execute(&format!("RESTORE DATABASE d FROM File('{}')", file.display())).await.unwrap();
    assert_eq!(engine.text("SELECT x FROM d.t").await, "7");
    assert!(engine.clickhouse.execute("BACKUP DATABASE d TO File('/tmp/elsewhere')").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_its_statement() {
    let engine = TestEngine::start().await;
    let long = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000) SETTINGS max_threads = 1 FORMAT Null";
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%1000000000000%' AND query NOT LIKE '%system.processes%'";
    let client = engine.clickhouse.clone();
    let task = tokio::spawn(async move { client.execute(long).await });
    until("the statement to run", async || engine.text(running).await == "1").await;
    task.abort();
    until("the statement to end", async || engine.text(running).await == "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_and_a_hung_engine_come_back_with_their_data() {
    let engine = with_pairs().await;
    engine.clickhouse.insert(&PAIRS, "t/1", block(0..100)).await.unwrap();
    for (signal, restarts) in [("-9", 1), ("-STOP", 2)] {
        let pid = engine.supervisor.status().pid.unwrap().to_string();
        Command::new("kill").args([signal, &pid]).status().unwrap();
        until("the engine to be started again", async || {
            let status = engine.supervisor.status();
            status.restarts >= restarts && status.up
        })
        .await;
        assert_eq!(engine.text("SELECT count() FROM pairs").await, "100", "after kill {signal}");
    }
    let pid = engine.supervisor.status().pid.unwrap();
    engine.supervisor.stop().await;
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "a stopped engine leaves no process");
}

#[test]
fn a_child_ends_with_its_parent_and_when_it_is_told() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let folder = tempfile::tempdir().unwrap();
    let args = serde_json::json!({
        "library": crate::fixture::library(), "data_dir": folder.path().join("engine"), "socket": folder.path().join("s"),
        "memory_bytes": 1u64 << 30, "threads": 1, "connections": 2,
    });
    for told in [false, true] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_store-engine"))
            .args(["engine", "--args", &args.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("\"ready\":true"), "{line}");
        // A parent that dies, however it does, closes its end of the pipe.
        let stdin = child.stdin.take();
        if told {
            Command::new("kill").arg(child.id().to_string()).status().unwrap();
        } else {
            drop(stdin);
        }
        assert!(child.wait().unwrap().success());
        assert!(!folder.path().join("s").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_supervisor_tells_how_the_engine_is() {
    let engine = TestEngine::start().await;
    let (registry, mut args) = (prometheus::Registry::new(), engine.args.clone());
    let folder = tempfile::tempdir().unwrap();
    (args.data_dir, args.socket) = (folder.path().join("engine"), folder.path().join("s"));
    let clock = std::sync::Arc::new(model::time::SystemClock);
    // An engine over its limit of resident memory is started again.
    let config =
        store::engine::supervisor::SupervisorConfig { ping_every: Duration::from_millis(20), resident_limit: 1 << 20, ..config(args) };
    let supervisor = Supervisor::start(config, clock, &registry).await.unwrap();
    assert!(supervisor.status().up && supervisor.status().resident_bytes > 50 << 20);
    assert!(supervisor.socket_path().exists());
    let value = |name: &str| {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        line.trim().parse::<f64>().unwrap()
    };
    assert_eq!(value("watchfire_engine_up"), 1.0);
    assert!(value("watchfire_engine_resident_bytes") > 1e6);
    until("the heavy engine to be started again", async || value("watchfire_engine_restarts_total") >= 1.0).await;
    supervisor.stop().await;
    assert_eq!(value("watchfire_engine_up"), 0.0);
    assert_eq!(supervisor.status().pid, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_would_burst_the_cap_fails_and_the_engine_goes_on() {
    let engine = TestEngine::start_with(|_, args| args.memory_bytes = 700 << 20).await;
    let error = engine.clickhouse.execute("SELECT length(groupArray(number)) FROM numbers(1000000000) FORMAT Null").await.unwrap_err();
    assert_eq!((error.code, error.retryable), (Some(241), true), "{error}");
    assert_eq!(engine.text("SELECT 1").await, "1");
    assert_eq!(engine.supervisor.status().restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_one_owner() {
    let engine = TestEngine::start().await;
    let mut args = engine.args.clone();
    args.socket = args.socket.with_file_name("second.sock");
    let refused = Supervisor::start(config(args), std::sync::Arc::new(model::time::SystemClock), &prometheus::Registry::new()).await;
    let words = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(words.contains("is in use by process"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_run_once_and_a_newer_schema_is_refused() {
    let engine = TestEngine::start().await;
    let one = Migration { number: 1, name: "0001_a", sql: "CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = MergeTree ORDER BY x;\n" };
    let two = Migration { number: 2, name: "0002_b", sql: "ALTER TABLE a ADD COLUMN IF NOT EXISTS y UInt8;\n" };
    migrate(&engine.clickhouse, &[one]).await.unwrap();
    migrate(&engine.clickhouse, &[one, two]).await.unwrap();
    migrate(&engine.clickhouse, &[one, two]).await.unwrap();
    assert_eq!(engine.text("SELECT count() FROM schema_migrations").await, "2");
    assert!(matches!(migrate(&engine.clickhouse, &[one]).await, Err(MigrationError::Newer { found: 2, known: 1 })));
    let other = Migration { sql: "SELECT 1;\n", ..one };
    assert!(matches!(migrate(&engine.clickhouse, &[other, two]).await, Err(MigrationError::Changed { number: 1 })));
}
