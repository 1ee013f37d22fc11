//! Senders that people already run, unchanged: winston-loki, Fluentd's clients for Python and Node, py_zipkin and
//! OpenTelemetry's exporter for Zipkin, StatsD's clients of Etsy's and Datadog's kind, curl. What they send is stored, once, with the
//! right names; also where the store hangs, and where the server dies in between.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use model::time::{Clock, SystemClock};
use serde_json::{Value, json};
use tests::node;
use tests::process::{Watchfire, free_port};
use tests::python::{self, skip};
use tests::wait::wait_for;

/// The rows of an SQL question, as text.
pub(crate) async fn rows(world: &Watchfire, sql: &str) -> Vec<Vec<String>> {
    let text = world.sql(sql).await;
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{sql}: {text}"));
    let cell = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    let rows = json["data"].as_array().unwrap_or_else(|| panic!("{sql}: {text}"));
    rows.iter().map(|row| row.as_array().unwrap().iter().map(cell).collect()).collect()
}

/// Waits until a count is this.
pub(crate) async fn until(world: &Watchfire, sql: &str, expected: u64) {
    wait_for(&format!("{expected} from {sql}"), async || (world.count(sql).await == expected).then_some(())).await;
}

/// The sum of a counter's series that have all of these labels.
pub(crate) async fn metric(world: &Watchfire, name: &str, labels: &[&str]) -> f64 {
    let text = world.text("/metrics").await;
    let ours = text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label)));
    ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

pub(crate) const FAULTS: &str = "watchfire_collector_socket_faults_total";
pub(crate) const MESSAGES: &str = "watchfire_collector_socket_messages_total";
pub(crate) const REQUESTS: &str = "watchfire_collector_requests_total";

pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {} {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs one of the Python clients; false where Python cannot be had.
pub(crate) fn python_client(arguments: &[&str]) -> bool {
    let Some(python) = python::environment("requirements-senders.txt", "test-python-senders") else {
        skip("Python 3 with venv and the packages of tests/python/requirements-senders.txt");
        return false;
    };
    succeed(Command::new(python).arg(python::programs().join("senders.py")).args(arguments));
    true
}

/// Runs one of the Node clients; false where Node cannot be had.
fn node_client(arguments: &[&str]) -> bool {
    let Some(packages) = node::packages() else {
        skip("Node.js with npm and the packages of tests/node/package.json");
        return false;
    };
    succeed(Command::new("node").arg(node::programs().join("senders.js")).arg(packages).args(arguments));
    true
}

pub(crate) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn winston_pushes_to_loki_in_json_and_protobuf() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "pipeline: { patterns: { enabled: true } }\n", &[]);
    world.start().await;
    if !node_client(&["loki", &format!("http://{}", world.http)]) {
        return;
    }
    for app in ["node-json", "node-protobuf"] {
        until(&world, &format!("SELECT count() FROM logs WHERE service = '{app}'"), 21).await;
        let levels = format!(
            "SELECT severity_text, severity_number, count(), uniqExact(body), any(resource['job']) FROM logs WHERE service = '{app}' GROUP BY 1, 2 ORDER BY 2"
        );
        assert_eq!(rows(&world, &levels).await, [["info", "9", "1", "1", ""], ["error", "17", "20", "20", "orders"]]);
        // Twenty of them differ in a number only: one template, however many batches they came in.
        let templates = format!(
            "SELECT position(template, 'order <*>') > 0, severity_number, sum(count) FROM patterns \
             WHERE service = '{app}' GROUP BY pattern_id, template, severity_number ORDER BY sum(count)"
        );
        until(&world, &format!("SELECT sum(count) FROM patterns WHERE service = '{app}'"), 21).await;
        assert_eq!(rows(&world, &templates).await, [["0", "9", "1"], ["1", "17", "20"]]);
    }
    let metrics = world.text("/metrics").await;
    assert!(metrics.contains("watchfire_collector_requests_total{code=\"204\",protocol=\"loki\",signal=\"logs\"}"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fluent_clients_send_in_every_mode_and_are_acknowledged() {
    let (open, guarded) = (free_port(), free_port());
    let config = |port, more: &str| format!("collector:\n  fluent: {{ listen: \"127.0.0.1:{port}\"{more} }}\n");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config(open, ""), &[]);
    world.start().await;
    if !node_client(&["fluent", &open.to_string()]) || !python_client(&["fluent", "127.0.0.1", &open.to_string()]) {
        return;
    }
    // Acknowledged is durable: nothing is waited for but the store.
    until(&world, "SELECT count() FROM logs WHERE startsWith(service, 'node.')", 100).await;
    let modes = rows(&world, "SELECT service, uniqExact(body), any(severity_number), any(attributes['number'] != '') FROM logs WHERE startsWith(service, 'node.') GROUP BY 1 ORDER BY 1").await;
    let want = ["CompressedPackedForward", "Forward", "Message", "PackedForward"]
        .map(|mode| [format!("node.{mode}"), "25".into(), "13".into(), "1".into()]);
    assert_eq!(modes, want);
    until(
        &world,
        "SELECT count() FROM logs WHERE service = 'shop.orders' AND severity_number = 17 AND attributes['nested'] = '{\"a\":[1,null]}'",
        20,
    )
    .await;
    until(&world, "SELECT count() FROM logs WHERE service = 'social' AND attributes['fluent.tag'] = 'global.follow'", 1).await;
    drop(world);

    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config(guarded, ", shared_key: opensesame"), &[]);
    world.start().await;
    assert!(node_client(&["fluent", &guarded.to_string(), "opensesame"]));
    until(&world, "SELECT count() FROM logs WHERE startsWith(service, 'node.')", 100).await;
    assert!(!world.log().contains("opensesame"));
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fluent_was_acknowledged_survives_a_killed_server() {
    let port = free_port();
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &format!("collector:\n  fluent: {{ listen: \"127.0.0.1:{port}\" }}\n"), &[]);
    world.start().await;
    let Some(packages) = node::packages() else {
        return skip("Node.js with npm and the packages of tests/node/package.json");
    };
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let mut command = Command::new("node");
        command.arg(node::programs().join("senders.js")).arg(&packages).args([
            "acknowledged",
            &port.to_string(),
            &format!("round {round}"),
        ]);
        let mut client = Running(command.stdout(Stdio::piped()).spawn().unwrap());
        let told = BufReader::new(client.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut of_this_round = 0;
        for line in told {
            assert!(acknowledged.insert(line));
            of_this_round += 1;
            if of_this_round == 300 {
                // Further acknowledgements may be on their way: they count too, the client tells them before it gives up.
                world.kill();
            }
        }
        assert!(of_this_round >= 300, "{of_this_round}");
        world.start().await;
    }
    let stored = "SELECT DISTINCT body FROM logs WHERE service = 'killed.events'";
    wait_for("every acknowledged event to be stored", async || {
        let stored: BTreeSet<String> = rows(&world, stored).await.into_iter().flatten().collect();
        acknowledged.is_subset(&stored).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn py_zipkin_and_opentelemetry_report_spans_to_zipkin() {
    let zipkin: SocketAddr = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    let file = world.folder().join("watchfire.yaml");
    let config = std::fs::read_to_string(&file).unwrap().replace("server:\n", &format!("server:\n  zipkin: {zipkin}\n"));
    std::fs::write(&file, config).unwrap();
    world.start().await;
    // The listener of its own, and the common one.
    if !python_client(&["zipkin", &format!("http://{zipkin}/api/v2/spans")])
        || !python_client(&["zipkin", &format!("http://{}/api/v2/spans", world.http)])
        || !python_client(&["opentelemetry", &format!("http://{zipkin}/api/v2/spans")])
    {
        return;
    }
    until(&world, "SELECT count() FROM spans WHERE service IN ('front', 'worker')", 6).await;
    let tree = "SELECT count() FROM spans AS child JOIN spans AS parent ON child.trace_id = parent.trace_id AND child.parent_span_id = parent.span_id WHERE child.name = 'pay' AND child.kind = 'CLIENT' AND parent.name = 'GET /' AND parent.kind = 'SERVER'";
    assert_eq!(world.count(tree).await, 2, "{:?}", rows(&world, "SELECT * FROM spans").await);
    let peers = "SELECT count() FROM spans WHERE attributes['peer.service'] = 'bank' AND attributes['network.peer.port'] = '443'";
    assert_eq!(world.count(peers).await, 2);
    assert_eq!(
        world.count("SELECT count() FROM spans WHERE name = 'job' AND status = 'ERROR' AND status_message LIKE '%no paper%'").await,
        2
    );
    let depot = "SELECT name, kind, status, status_message, scope_name, scope_version, count(), uniqExact(span_id), countIf(notEmpty(parent_span_id)), sum(toUInt8(attributes['number'] != '')), sum(toUInt64(length(event_name))) FROM spans WHERE service = 'depot' GROUP BY ALL ORDER BY ALL";
    until(&world, "SELECT count() FROM spans WHERE service = 'depot'", 100).await;
    assert_eq!(
        rows(&world, depot).await,
        [
            ["POST /pick", "SERVER", "UNSET", "", "shelves", "1.2.3", "50", "50", "0", "50", "0"],
            ["reserve", "INTERNAL", "UNSET", "", "shelves", "1.2.3", "45", "45", "45", "0", "45"],
            ["reserve", "INTERNAL", "ERROR", "no stock", "shelves", "1.2.3", "5", "5", "5", "0", "5"],
        ]
    );
    // RED series of spans count, whichever way they came.
    wait_for("the derived series", async || {
        world.promql("sum(increase(traces_span_metrics_calls_total{service_name=\"worker\"}[5m]))").await.filter(|calls| *calls >= 1.9)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_sends_lines_of_json() {
    if !has("curl") {
        return skip("curl (apt install curl)");
    }
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    world.start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.log");
    let lines: String = (0..100)
        .map(|number| format!("{{\"level\":\"error\",\"msg\":\"line {number}\",\"service\":\"curled\",\"number\":{number}}}\n"))
        .collect();
    std::fs::write(&file, format!("{lines}not json\n\"a plain one\"\n")).unwrap();
    let url = format!("http://{}/api/watchfire/v1/logs", world.http);
    let said = succeed(Command::new("curl").args(["--silent", "--fail", "--data-binary", &format!("@{}", file.display()), &url]));
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&answer["accepted"], &answer["rejected"], &answer["errors"][0]["line"]), (&101.into(), &1.into(), &101.into()), "{said}");
    until(&world, "SELECT count() FROM logs WHERE service = 'curled' AND severity_number = 17 AND attributes['number'] != ''", 100).await;
    until(&world, "SELECT count() FROM logs WHERE body = 'a plain one'", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_pushes_to_loki() {
    if !has("curl") || !has("gzip") {
        return skip("curl and gzip (apt install curl gzip)");
    }
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    world.start().await;
    let key = world.make_key().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("push.json");
    let now = SystemClock.now().nanos();
    let values: Vec<Value> = (0..150)
        .map(|line| {
            json!([(now + line).to_string(), format!("GET /{line} 500"), { "trace_id": "0af7651916cd43dd8448eb211c80319c", "pod": "p-7" }])
        })
        .collect();
    let push = json!({ "streams": [{ "stream": { "app": "nginx", "env": "prod", "level": "error" }, "values": values }] });
    std::fs::write(&file, push.to_string()).unwrap();
    succeed(Command::new("gzip").arg("--keep").arg(&file));
    let url = format!("http://{}/loki/api/v1/push", world.http);
    let send = |file: &str, more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--write-out", "%{http_code}", "--header", "Content-Type: application/json"]);
        curl.arg("--data-binary").arg(format!("@{}", folder.path().join(file).display())).args(more).arg(&url);
        succeed(&mut curl)
    };
    // Loki's agents have a user name and a password to send: the password is the key.
    let user = format!("loki:{key}");
    assert_eq!(send("push.json", &["--user", &user]), "204");
    assert_eq!(send("push.json.gz", &["--user", &user, "--header", "Content-Encoding: gzip"]), "204", "the same again, packed");
    assert!(send("push.json", &[]).ends_with("401"));
    assert!(send("push.json", &["--user", "loki:wf_wrong"]).ends_with("401"));
    let of = "FROM logs WHERE service = 'nginx' AND severity_number = 17 AND resource['env'] = 'prod' AND attributes['pod'] = 'p-7' AND lower(hex(trace_id)) = '0af7651916cd43dd8448eb211c80319c'";
    until(&world, &format!("SELECT count() {of}"), 150).await;
    until(&world, &format!("SELECT toUInt64(max(toUnixTimestamp64Nano(ts)) - min(toUnixTimestamp64Nano(ts))) {of}"), 149).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statsd_clients_are_added_up() {
    let port = free_port();
    let config = format!("collector:\n  statsd: {{ udp: \"127.0.0.1:{port}\", tcp: \"127.0.0.1:{port}\", flush: 1s }}\n");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
    world.start().await;
    if !python_client(&["statsd", "127.0.0.1", &port.to_string()]) {
        return;
    }
    for (expr, want) in [
        ("sum(sum_over_time(py_orders_total[10m]))", 10.0),
        ("sum(sum_over_time(stream_orders_total[10m]))", 10.0),
        ("sum(sum_over_time(tagged_orders_total{env=\"prod\",region=\"eu\",canary=\"true\"}[10m]))", 4.0),
        ("py_queue", 10.0),
        ("stream_queue", 10.0),
        ("sum(increase(py_checkout_milliseconds_count[10m]))", 1.0),
        ("sum(increase(tagged_size_sum{region=\"eu\"}[10m]))", 92.5),
    ] {
        let what = format!("{want} from {expr}");
        wait_for(&what, async || world.promql(expr).await.filter(|value| (value - want).abs() < 0.01 * want)).await;
    }
    for (metric, table, column, want) in [
        ("py_users", "points", "max(value)", 2.0),
        ("py_orders_total", "points", "sum(value)", 10.0),
        ("tagged_orders_total", "points", "sum(value)", 4.0),
        ("py_checkout_milliseconds", "histograms", "sum(sum)", 320.0),
        ("tagged_size", "histograms", "sum(sum)", 92.5),
    ] {
        let sql = format!("SELECT {column} FROM {table} WHERE metric = '{metric}'");
        assert_eq!(rows(&world, &sql).await[0][0].parse::<f64>().unwrap(), want, "{sql}");
    }
    let metrics = world.text("/metrics").await;
    let unsupported = "watchfire_collector_socket_faults_total{fault=\"unsupported\",protocol=\"statsd\",transport=\"udp\"} 1";
    assert!(metrics.contains(unsupported), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statsd_samples_past_the_limit_are_lost_and_counted() {
    let port = free_port();
    let config = format!("collector:\n  statsd: {{ udp: \"127.0.0.1:{port}\", flush: 1h, max_series: 50 }}\n");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
    world.start().await;
    if !python_client(&["series", "127.0.0.1", &port.to_string(), "200"]) {
        return;
    }
    wait_for("200 samples, added or lost", async || {
        let (added, lost) = (metric(&world, MESSAGES, &["statsd"]).await, metric(&world, FAULTS, &["statsd"]).await);
        (added + lost == 200.0).then_some(())
    })
    .await;
    let overflow = metric(&world, FAULTS, &["statsd", "overflow"]).await;
    let kept = metric(&world, MESSAGES, &["statsd"]).await;
    assert!(kept <= 50.0 && overflow + kept + metric(&world, FAULTS, &["kernel_dropped"]).await == 200.0, "{kept} {overflow}");
    // Nothing has been flushed yet; a stop does.
    assert_eq!(world.count("SELECT count() FROM points WHERE metric = 'many_total'").await, 0);
    assert_eq!(world.stop().await, Some(0));
    world.start().await;
    until(&world, "SELECT count() FROM points WHERE metric = 'many_total' AND value = 1", kept as u64).await;
}
