//! The engine's SQL listener as SQL clients see it: curl (as Grafana's ClickHouse plugin speaks over HTTP) and the official Rust
//! client read with an API key, see their tenant only, change nothing, and are out within moments of the key's revocation.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use model::secret::Secret;
use prost::Message as _;
use store::clickhouse::ClickHouse;
use tests::process::{Watchfire, free_port};
use tests::python::skip;
use tests::send;
use tests::wait::wait_for;

struct Key {
    id: String,
    text: String,
}

fn create(world: &Watchfire, tenant: &str, permission: &str) -> Key {
    let arguments = ["keys", "create", "test", "--tenant", tenant, "--permission", permission, "--json"];
    let output = world.command(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    Key { id: text("id"), text: text("key") }
}

async fn ingest(world: &Watchfire, key: &Key, service: &str, count: usize) {
    let request = reqwest::Client::new()
        .post(format!("http://{}/v1/traces", world.otlp_http))
        .header("content-type", "application/x-protobuf")
        .bearer_auth(&key.text)
        .body(send::spans(service, count, 0).encode_to_vec());
    assert_eq!(request.send().await.unwrap().status(), 200);
}

/// Runs curl; gives the status and the body.
fn curl(port: u16, arguments: &[&str], query: &str) -> (u16, String) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--compressed", "--write-out", "\n%{http_code}", "--get", "--data-urlencode"])
        .arg(format!("query={query}"))
        .args(arguments)
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.trim_end().to_owned())
}

/// As `curl`, by POST: the statement is the body.
fn post(port: u16, key: &Key, statement: &str) -> (u16, String) {
    let output = Command::new("curl")
        .args(["--silent", "--write-out", "\n%{http_code}", "--user", &format!("default:{}", key.text), "--data-binary", statement])
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.trim_end().to_owned())
}

fn engine_pid(world: &Watchfire) -> Option<String> {
    let output = Command::new("ps").args(["-o", "pid=", "--ppid", &world.pid().to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().map(str::to_owned)
}

const COUNT: &str = "SELECT count() FROM otel_traces";

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_a_key_read_their_tenant_and_nothing_else() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("curl (apt install curl)");
    }
    let port = free_port();
    let config = format!("storage:\n  clickhouse:\n    sql_listen: 127.0.0.1:{port}\n");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
    let (ours_in, theirs_in) = (create(&world, "ours", "ingest"), create(&world, "theirs", "ingest"));
    let theirs = create(&world, "theirs", "read");
    world.start().await;
    // A key that is made while everything runs.
    let ours = create(&world, "ours", "read");
    ingest(&world, &ours_in, "shop", 7).await;
    ingest(&world, &theirs_in, "bank", 5).await;
    let basic = |key: &Key| format!("grafana:{}", key.text);
    for (key, rows) in [(&ours, "7"), (&theirs, "5")] {
        wait_for("the rows of the tenant", async || (curl(port, &["-u", &basic(key)], COUNT) == (200, rows.to_owned())).then_some(()))
            .await;
    }

    reads_as_grafana_does(port, &ours);
    refuses(port, &ours, &ours_in);
    the_official_client_reads(port, &ours).await;
    let users = world.data().join("sql-users.json");
    assert_eq!(std::fs::metadata(&users).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&users).unwrap().contains(&ours.text), "no key stands in the file");

    // The listener comes back with the engine, at the same place.
    Command::new("kill").args(["-9", &engine_pid(&world).unwrap()]).status().unwrap();
    wait_for("the engine to come back", async || (curl(port, &["-u", &basic(&ours)], COUNT) == (200, "7".to_owned())).then_some(())).await;

    // What the child says stands in the server's log: here that its users cannot be read, until the server puts the file right.
    wait_for("the child's words in the log", async || {
        std::fs::write(&users, "spoilt").unwrap();
        curl(port, &["-u", &basic(&ours)], COUNT);
        world.log().contains("the file of users cannot be read").then_some(())
    })
    .await;
    wait_for("the file to be put right", async || (curl(port, &["-u", &basic(&ours)], COUNT).0 == 200).then_some(())).await;

    assert!(world.command(&["keys", "revoke", &ours.id]).output().unwrap().status.success());
    wait_for("the revoked key to be refused", async || (curl(port, &["-u", &basic(&ours)], COUNT).0 == 403).then_some(())).await;
    assert_eq!(curl(port, &["-u", &basic(&theirs)], COUNT), (200, "5".to_owned()), "others still read");

    // Everything that was refused changed nothing, and the end is clean.
    let engine = engine_pid(&world).unwrap();
    assert_eq!(world.stop().await, Some(0));
    assert!(!std::path::Path::new(&format!("/proc/{engine}")).exists(), "a stopped server leaves no engine");
}

/// Headers, formats, compression and the first questions of Grafana's plugin and the official Go client.
fn reads_as_grafana_does(port: u16, key: &Key) {
    let header = format!("X-ClickHouse-Key: {}", key.text);
    let headers = ["-H", "X-ClickHouse-User: default", "-H", header.as_str()];
    let ask = |more: &[&str], query: &str| curl(port, &[&headers[..], more].concat(), query);
    assert_eq!(ask(&[], COUNT), (200, "7".to_owned()));
    assert_eq!(
        ask(&[], "SELECT DISTINCT tenant, ServiceName FROM watchfire.otel_traces FORMAT CSV"),
        (200, "\"ours\",\"shop\"".to_owned())
    );
    let (status, json) = ask(&["--data-urlencode", "default_format=JSON"], "SELECT count() AS n, 'shop' AS s FROM spans -- all");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(status == 200 && json["data"][0]["s"] == "shop" && json["data"][0]["n"].to_string().contains('7'), "{json}");
    let settings = ask(&[], "SELECT name, value, readonly FROM system.settings LIMIT 10000");
    assert!(settings.0 == 200 && settings.1.contains("readonly\t1\t") && !settings.1.contains("tenant ="), "{settings:?}");
    let (status, hello) = ask(&[], "SELECT displayName(), version(), revision(), timezone()");
    assert!(status == 200 && hello.starts_with("Watchfire\t2"), "{hello}");
    assert!(
        ask(&[], "SHOW TABLES").1.contains("otel_logs") && ask(&[], "DESC TABLE \"watchfire\".\"otel_logs\"").1.contains("SeverityText")
    );
    for parameter in ["max_execution_time=5", "session_id=x", "enable_http_compression=1", "database=watchfire", "wait_end_of_query=1"] {
        assert_eq!(ask(&["--data-urlencode", parameter], COUNT).0, 200, "{parameter}");
    }
    // Rows beyond what one frame holds, and a statement that is ended by its own limit.
    let (status, rows) = ask(&[], "SELECT number, repeat('x', 50) FROM numbers(50000)");
    assert_eq!((status, rows.lines().count()), (200, 50_000));
    let slow = "SELECT sum(cityHash64(number)) FROM numbers(100000000000)";
    let (status, text) = ask(&["--data-urlencode", "max_execution_time=0.3"], slow);
    assert!(status == 408 && text.contains("Code: 159"), "{status} {text}");
}

fn refuses(port: u16, ours: &Key, ingest_only: &Key) {
    assert_eq!(curl(port, &[], COUNT).0, 401);
    assert_eq!(curl(port, &["-u", "default:wrong"], COUNT).0, 403);
    assert_eq!(curl(port, &["-u", &format!("x:{}", ingest_only.text)], COUNT).0, 403, "a key that may not read");
    for statement in [
        "INSERT INTO logs (tenant) VALUES ('ours')",
        "INSERT INTO logs SELECT * FROM logs",
        "INSERT INTO logs FORMAT TSV\nx",
        "DROP TABLE spans",
        "ALTER TABLE spans DELETE WHERE 1",
        "CREATE TABLE t (x UInt8) ENGINE = Memory",
        "SET readonly = 0",
        "SELECT * FROM system.tables",
        "SELECT * FROM file('/etc/passwd')",
        "SELECT * FROM url('http://127.0.0.1:1')",
        "SELECT 1 INTO OUTFILE '/tmp/x'",
        "SELECT count() FROM spans SETTINGS additional_table_filters = {}",
        "SELECT count() FROM schema_migrations",
        "SELECT 1; SELECT 2",
        "BACKUP DATABASE watchfire TO File('x')",
        "KILL QUERY WHERE 1",
        "SHOW TABLES FROM system",
        "SELECT 1 FORMAT Template",
    ] {
        let (status, text) = post(port, ours, statement);
        assert!(status >= 400 && text.contains("Code: "), "{statement}: {status} {text}");
    }
    let user = format!("default:{}", ours.text);
    for parameter in [
        "additional_table_filters={}",
        "readonly=0&additional_table_filters={}",
        "database=system",
        "output_format_schema=/tmp/x",
        "role=x",
    ] {
        let parts: Vec<&str> = parameter.split('&').flat_map(|pair| ["--data-urlencode", pair]).collect();
        assert!(curl(port, &[&["-u", user.as_str()][..], &parts].concat(), COUNT).0 >= 400, "{parameter}");
    }
    for question in [
        "SELECT count() FROM otel_traces WHERE tenant = 'theirs'",
        "SELECT count() FROM spans WHERE tenant != 'ours' OR service = 'bank'",
        "SELECT count() FROM (SELECT * FROM otel_traces_trace_id_ts) WHERE tenant = 'theirs'",
    ] {
        assert_eq!(post(port, ours, question), (200, "0".to_owned()), "{question}");
    }
    assert_eq!(post(port, ours, COUNT), (200, "7".to_owned()), "nothing was changed");
}

/// The same code that talks to the engine's socket and to a ClickHouse server.
async fn the_official_client_reads(port: u16, key: &Key) {
    let clickhouse = ClickHouse::url(&format!("http://127.0.0.1:{port}"), "anyone", &Secret::new(key.text.clone())).database("watchfire");
    clickhouse.ping().await.unwrap();
    let rows = clickhouse.client().query("SELECT ServiceName, toUInt64(count()) FROM otel_traces GROUP BY 1").fetch_all::<(String, u64)>();
    assert_eq!(rows.await.unwrap(), [("shop".to_owned(), 7)]);
    let refused = clickhouse.execute("TRUNCATE TABLE spans").await.unwrap_err();
    assert_eq!((refused.code, refused.retryable), (Some(497), false), "{refused}");
}
