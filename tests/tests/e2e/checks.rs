//! Health checks on the real program: a page, a port, a certificate, a name and PostgreSQL, as series, as a list, and as alerts of the
//! shipped rules; checks are exchanged while it runs.

use std::process::{Command, Stdio};

use serde_json::Value;
use tests::process::{Watchfire, free_port};
use tests::programs::Program;
use tests::python::skip;
use tests::wait::wait_for;

use crate::postgres;

async fn check(world: &Watchfire, name: &str) -> Option<Value> {
    let list = world.get("/api/watchfire/v1/checks").await;
    list["checks"].as_array()?.iter().find(|one| one["check"] == name && one["health"] != "unknown").cloned()
}

async fn health(world: &Watchfire, name: &str, health: &str) -> Value {
    wait_for(&format!("{name} to be {health}"), async || check(world, name).await.filter(|one| one["health"] == health)).await
}

/// Waits until the alert about a check fires.
async fn fires(world: &Watchfire, alert: &str, of: &str) {
    wait_for(&format!("{alert} of {of}"), async || {
        let alerts = world.get("/api/watchfire/v1/alerts?state=firing").await;
        let fits = |one: &Value| one["labels"]["alertname"] == alert && one["labels"]["check"] == of;
        alerts["alerts"].as_array()?.iter().any(fits).then_some(())
    })
    .await;
}

/// OpenSSL's server with a certificate of its own, which nobody trusts.
struct Openssl {
    child: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn openssl(port: u16) -> Option<Openssl> {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "3",
            "-subj",
            "/CN=localhost",
        ])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return None;
    }
    let child = Command::new("openssl")
        .args(["s_server", "-quiet", "-key", "key.pem", "-cert", "cert.pem", "-accept", &format!("127.0.0.1:{port}")])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Some(Openssl { child, _folder: folder })
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_checked_and_the_shipped_rules_tell() {
    let (tls_port, closed) = (free_port(), free_port());
    let Some(_server) = openssl(tls_port) else { return skip("openssl (apt install openssl)") };
    let database = postgres::Postgres::start();
    let rules = include_str!("../../../deploy/rules/checks.yaml").replace("interval: 15s", "interval: 1s").replace("for: 30s", "for: 2s");
    let rules: String = rules.lines().filter(|line| !line.contains("escalation:")).map(|line| format!("{line}\n")).collect();
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "alerting:\n  rules: rules\n", &[("checks.yaml", &rules)]);
    let file = world.folder().join("watchfire.yaml");
    let plain = std::fs::read_to_string(&file).unwrap();
    let mut checks = format!(
        "checks:\n  interval: 1s\n  timeout: 900ms\n  checks:\n  - {{ name: self, http: {{ url: 'http://{}/-/healthy' }}, labels: {{ team: own }} }}\n  \
         - {{ name: closed, tcp: {{ address: '127.0.0.1:{closed}' }} }}\n  - {{ name: certificate, tls: {{ address: 'localhost:{tls_port}' }} }}\n  \
         - {{ name: name, dns: {{ name: localhost, expect: [127.0.0.1] }} }}\n",
        world.http
    );
    if let Some(database) = &database {
        let url = database.url();
        checks += &format!("  - {{ name: db, postgres: {{ url: '{}' }} }}\n", url.reveal());
        checks += &format!("  - {{ name: db-wrong, postgres: {{ url: '{}', query: SELECT * FROM nothing }} }}\n", url.reveal());
    }
    std::fs::write(&file, format!("{plain}{checks}")).unwrap();
    world.start().await;
    let own = health(&world, "self", "healthy").await;
    assert_eq!((&own["labels"]["kind"], &own["labels"]["team"]), (&"http".into(), &"own".into()), "{own}");
    health(&world, "name", "healthy").await;
    let down = health(&world, "closed", "down").await;
    assert!(down["reason"].as_str().unwrap().contains("no connection"), "{down}");
    let certificate = health(&world, "certificate", "down").await;
    assert!(certificate["reason"].as_str().unwrap().contains("certificate is not valid"), "nobody trusts it: {certificate}");
    if database.is_some() {
        health(&world, "db", "healthy").await;
        let wrong = health(&world, "db-wrong", "down").await;
        assert!(wrong["reason"].as_str().unwrap().contains("does not exist"), "{wrong}");
    }
    let days = "(watchfire_check_certificate_expiry_timestamp_seconds{check=\"certificate\"} - time()) / 86400";
    let left = wait_for("the certificate's series", async || world.promql(days).await).await;
    assert!(left > 2.5 && left <= 3.0, "{left} days");
    wait_for("the series of a good check", async || {
        world.promql("watchfire_check_up{check=\"self\",team=\"own\"}").await.filter(|up| *up == 1.0)
    })
    .await;
    for (alert, of) in [("CheckDown", "closed"), ("CheckCertificateExpires", "certificate")] {
        fires(&world, alert, of).await;
    }

    // Exchanged while it runs: the one that is gone ends, and its alert with it.
    let without: String = checks.lines().filter(|line| !line.contains("name: closed")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, format!("{plain}{without}")).unwrap();
    wait_for("the check to be gone", async || check(&world, "closed").await.is_none().then_some(())).await;
    wait_for("its series to end", async || world.promql("watchfire_check_up{check=\"closed\"}").await.is_none().then_some(())).await;
    std::fs::write(&file, format!("{plain}{without}  - {{ name: bad, tcp: {{ address: nowhere }} }}\n")).unwrap();
    wait_for("the mistake to be told", async || world.log().contains("is not host:port").then_some(())).await;
    health(&world, "self", "healthy").await;
    assert_eq!(world.stop().await, Some(0));
}

/// A page that is there after 50 ms.
async fn slow_page() -> std::net::SocketAddr {
    let late = async || tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let router = axum::Router::new().route("/", axum::routing::get(late));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// ClickHouse (the engine of another Watchfire, as SQL clients reach it) and Redis, with and without the right key, and one that is slow.
#[tokio::test(flavor = "multi_thread")]
async fn stores_are_asked_as_their_clients_ask_and_slowness_is_told() {
    if Command::new("redis-server").arg("--version").output().is_err() {
        return skip("redis-server (apt install redis-server)");
    }
    let (sql, cache) = (free_port(), free_port());
    let mut house = Watchfire::prepare(crate::WATCHFIRE, &format!("storage:\n  clickhouse:\n    sql_listen: 127.0.0.1:{sql}\n"), &[]);
    let made = house.command(&["keys", "create", "check", "--permission", "read", "--json"]).output().unwrap();
    let key = serde_json::from_slice::<Value>(&made.stdout).unwrap()["key"].as_str().unwrap().to_owned();
    house.start().await;
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--port", &cache.to_string(), "--bind", "127.0.0.1", "--requirepass", "s3cret", "--save", "", "--dir"];
    let arguments: Vec<String> = arguments.into_iter().chain([folder.path().to_str().unwrap()]).map(str::to_owned).collect();
    let mut redis = Program::start("redis-server", &arguments);

    let slow = slow_page().await;
    let rules = include_str!("../../../deploy/rules/checks.yaml")
        .replace("interval: 15s", "interval: 1s")
        .replace("for: 30s", "for: 2s")
        .replace("[2m]", "[3s]")
        .replace("[3m]", "[3s]")
        .replace("for: 3m", "for: 2s");
    let rules: String = rules.lines().filter(|line| !line.contains("escalation:")).map(|line| format!("{line}\n")).collect();
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "alerting:\n  rules: rules\n", &[("checks.yaml", &rules)]);
    let ask = |name: &str, password: &str, more: &str| {
        format!("  - {{ name: {name}, clickhouse: {{ url: 'http://127.0.0.1:{sql}/', user: check, password: {password}{more} }}")
    };
    let checks = [
        "checks:\n  interval: 1s\n  timeout: 900ms\n  checks:".to_owned(),
        format!("{} }}", ask("house", &key, "")),
        format!("{} }}", ask("house-key", "nonsense", "")),
        format!("{} }}", ask("house-wrong", &key, ", query: SELECT nothing")),
        format!("  - {{ name: slow, http: {{ url: 'http://{slow}/' }}, degraded_after: 20ms }}"),
        format!("  - {{ name: no-house, clickhouse: {{ url: 'http://{}/-/healthy' }} }}", house.http),
        format!("  - {{ name: cache, redis: {{ url: 'redis://:s3cret@127.0.0.1:{cache}' }} }}"),
        format!("  - {{ name: cache-key, redis: {{ url: 'redis://:nonsense@127.0.0.1:{cache}' }} }}"),
    ];
    let file = world.folder().join("watchfire.yaml");
    let plain = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{plain}{}\n", checks.join("\n"))).unwrap();
    world.start().await;
    for name in ["house", "cache"] {
        health(&world, name, "healthy").await;
    }
    for (name, reason) in [("house-key", "ClickHouse answers"), ("house-wrong", "nothing"), ("no-house", "ClickHouse"), ("cache-key", "")] {
        let down = health(&world, name, "down").await;
        let said = down["reason"].as_str().unwrap();
        assert!(said.contains(reason) && !said.contains("nonsense") && !said.contains(&key), "{name}: {down}");
    }
    let late = health(&world, "slow", "degraded").await;
    assert!(late["reason"].as_str().unwrap().contains("20ms"), "{late}");
    fires(&world, "CheckDegraded", "slow").await;
    redis.kill();
    health(&world, "cache", "down").await;
    fires(&world, "CheckDown", "cache").await;
    assert_eq!((world.stop().await, house.stop().await), (Some(0), Some(0)));
}
