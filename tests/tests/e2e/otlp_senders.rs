//! The OpenTelemetry SDKs for Python, Node and Rust, over gRPC and HTTP, each say everything that OTLP can say and they can send; all of
//! it is stored, and stored alike.

#[path = "otlp_senders/rust.rs"]
mod rust;

use std::process::Command;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_sdk::metrics::Temporality;
use serde_json::{Value, json};
use tests::process::Watchfire;
use tests::wait::wait_for;
use tests::{node, python, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What differs from SDK to SDK.
struct Sender {
    service: &'static str,
    /// `grpc`, `http` (protobuf) or `json`.
    protocol: &'static str,
    /// Python's does not send a link's trace state.
    link_state: &'static str,
    /// Node's has no attributes of scopes.
    scope_attributes: Value,
    /// Node's is told to keep two attributes of a log record.
    log_dropped: u32,
    /// Of counters and of histograms.
    temporality: (&'static str, &'static str),
    /// Python's alone sends them.
    exemplars: bool,
}

fn python_sender(service: &'static str, protocol: &'static str) -> Sender {
    let scope_attributes = json!({ "scope.kind": "test" });
    Sender { service, protocol, link_state: "", scope_attributes, log_dropped: 0, temporality: ("delta", "cumulative"), exemplars: true }
}

fn node_sender(service: &'static str, protocol: &'static str) -> Sender {
    let link_state = "linked=two";
    Sender { link_state, scope_attributes: json!({}), log_dropped: 1, exemplars: false, ..python_sender(service, protocol) }
}

fn rust_sender(service: &'static str, protocol: &'static str) -> Sender {
    let temporality = if protocol == "grpc" { ("cumulative", "cumulative") } else { ("delta", "delta") };
    Sender { link_state: "linked=two", temporality, exemplars: false, ..python_sender(service, protocol) }
}

/// A server that asks for a key, and the key.
struct World {
    server: Watchfire,
    key: String,
}

impl World {
    async fn start() -> Self {
        let mut server = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
        server.start().await;
        let key = server.make_key().await;
        World { server, key }
    }
    fn endpoint(&self, sender: &Sender) -> String {
        format!("http://{}", if sender.protocol == "grpc" { self.server.grpc } else { self.server.otlp_http })
    }
    /// The rows of an SQL question, one object each.
    async fn rows(&self, sql: &str) -> Vec<Value> {
        let url = format!("http://{}/api/watchfire/v1/sql?format=JSONEachRow", self.server.http);
        let answer = reqwest::Client::new().post(url).bearer_auth(&self.key).body(sql.to_owned()).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let row = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{sql}: {text}"));
        text.lines().map(row).collect()
    }
    /// Runs a program with the protocol, the endpoint, the key and the service.
    fn run(&self, sender: &Sender, program: &mut Command) {
        let output = program.args([sender.protocol, &self.endpoint(sender), &self.key, sender.service]).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains("sent"), "{}: {said}", sender.service);
    }
    async fn check(&self, sender: &Sender) {
        let service = sender.service;
        for (table, rows) in [("spans", 21), ("logs", 7)] {
            let sql = format!("SELECT count() FROM {table} WHERE service = '{service}'");
            wait_for(&sql, async || (self.server.count(&sql).await >= rows).then_some(())).await;
            assert_eq!(self.server.count(&sql).await, rows, "{sql}");
        }
        let plain = format!("SELECT uniqExact(name) FROM spans WHERE service = '{service}' AND name LIKE 'plain %'");
        assert_eq!(self.server.count(&plain).await, 20, "{service}");
        self.check_span(sender).await;
        self.check_logs(sender).await;
        self.check_metrics(sender).await;
    }

    async fn check_span(&self, sender: &Sender) {
        let service = sender.service;
        let sql = format!(
            "SELECT lower(hex(trace_id)) AS trace, lower(hex(parent_span_id)) AS parent, trace_state, kind, status, status_message, scope_name, \
             scope_version, scope_attributes, mapFilter((k, v) -> k NOT LIKE 'telemetry.sdk.%', resource) AS resource, attributes, event_name, \
             event_attributes, arrayMap(x -> lower(hex(x)), link_trace_id) AS link_trace, arrayMap(x -> lower(hex(x)), link_span_id) AS link_span, \
             link_trace_state, link_attributes, dropped_attributes, dropped_events, dropped_links, event_dropped_attributes, \
             link_dropped_attributes, resource_dropped_attributes, scope_dropped_attributes FROM spans \
             WHERE service = '{service}' AND name = 'everything'"
        );
        let expected = json!({
            "trace": TRACE, "parent": "b7ad6b7169203331", "trace_state": "vendor=one", "kind": "CLIENT",
            "status": "ERROR", "status_message": "declined",
            "scope_name": "senders", "scope_version": "1.2", "scope_attributes": sender.scope_attributes,
            "resource": {
                "host.cpus": "4", "host.load": "0.5", "host.ports": "[80,443]", "host.ready": "true",
                "service.instance.id": "one", "service.name": service,
            },
            "attributes": {
                "flag": "true", "flags": "[true,false]", "float": "2.5", "floats": "[0.5,1.5]", "last": "kept", "number": "-7",
                "numbers": "[1,-2]", "text": "é \"quoted\" \\ '\n", "texts": "[\"a\",\"b\"]",
            },
            "event_name": ["retry", "retry"],
            "event_attributes": [{ "attempt": "1" }, { "attempt": "2", "hosts": "[\"x\",\"y\"]" }],
            "link_trace": ["1af7651916cd43dd8448eb211c80319c"], "link_span": ["c7ad6b7169203331"],
            "link_trace_state": [sender.link_state], "link_attributes": [{ "reason": "batch" }],
            "dropped_attributes": 1, "dropped_events": 1, "dropped_links": 1, "event_dropped_attributes": [0, 1],
            "link_dropped_attributes": [1], "resource_dropped_attributes": 0, "scope_dropped_attributes": 0,
        });
        assert_eq!(self.rows(&sql).await, [expected], "{service}");
    }

    async fn check_logs(&self, sender: &Sender) {
        let service = sender.service;
        let sql = format!(
            "SELECT body, attributes['at'] AS at, attributes['nested'] AS nested, length(attributes) AS pairs, event_name, severity_number, severity_text, \
             lower(hex(trace_id)) AS trace, flags, scope_name, scope_version, dropped_attributes FROM logs WHERE service = '{service}' ORDER BY at"
        );
        let nested = json!({ "text": "x", "list": [1, "two", { "three": 3.5 }], "flag": false, "bytes": "AP8=" });
        let bodies = [json!("plain text"), json!(17), json!(2.5), json!(true), json!("AAH/"), json!(["a", 1, [true]]), nested.clone()];
        let rows = self.rows(&sql).await;
        assert_eq!(rows.len(), bodies.len(), "{rows:?}");
        for (at, (mut row, body)) in rows.into_iter().zip(bodies).enumerate() {
            // Rust's SDK sends a map in any order, so texts that are JSON are read.
            for column in ["body", "nested"] {
                let text = row[column].as_str().unwrap().to_owned();
                row[column] = serde_json::from_str(&text).unwrap_or(Value::String(text));
            }
            let first = at == 0;
            let expected = json!({
                "body": body, "at": at.to_string(), "nested": if first { nested.clone() } else { json!("") },
                "pairs": if first { 2 } else { 1 }, "event_name": if first { "order.placed" } else { "" },
                "severity_number": 14, "severity_text": "WARN2", "trace": TRACE, "flags": 1, "scope_name": "senders",
                "scope_version": "1.2", "dropped_attributes": if first { sender.log_dropped } else { 0 },
            });
            assert_eq!(row, expected, "{service}");
        }
    }

    async fn check_metrics(&self, sender: &Sender) {
        let (service, (counter, histogram)) = (sender.service, sender.temporality);
        let of = format!("fingerprint IN (SELECT fingerprint FROM series WHERE labels['job'] = '{service}') AND metric != 'target_info'");
        let sql = format!(
            "SELECT DISTINCT metric, kind, temporality, monotonic, otel_name, unit, description, scope_name, \
             mapFilter((k, v) -> k NOT IN ('job', 'instance'), labels) AS labels FROM series WHERE {of} ORDER BY metric"
        );
        let series =
            |metric: &str, kind: &str, temporality: &str, monotonic: u8, name: &str, unit: &str, description: &str, labels: Value| {
                json!({
                    "metric": metric, "kind": kind, "temporality": temporality, "monotonic": monotonic, "otel_name": name, "unit": unit,
                    "description": description, "scope_name": "senders", "labels": labels,
                })
            };
        let labels = json!({ "code": "200", "outcome": "ok", "retried": "false" });
        let all = [
            series("latency_seconds", "histogram", histogram, 0, "latency", "s", "Latency.", json!({ "route": "/pay" })),
            series("orders_total", "sum", counter, 1, "orders", "1", "Orders by outcome.", labels),
            series("queue_depth", "sum", "cumulative", 0, "queue.depth", "", "", json!({})),
            series("reply_size_bytes", "exp_histogram", histogram, 0, "reply.size", "By", "", json!({})),
            series("temperature_celsius", "gauge", "unspecified", 0, "temperature", "Cel", "", json!({ "room": "küche" })),
            series("workers", "gauge", "unspecified", 0, "workers", "", "", json!({})),
        ];
        assert_eq!(self.rows(&sql).await, all, "{service}");

        let points = self.rows(&format!("SELECT metric, value FROM points WHERE {of} ORDER BY metric")).await;
        let point = |metric: &str, value: f64| json!({ "metric": metric, "value": value });
        let numbers = |rows: &[Value]| rows.iter().map(|row| (row["metric"].to_string(), row["value"].as_f64())).collect::<Vec<_>>();
        let expected = [point("orders_total", 3.0), point("queue_depth", -2.0), point("temperature_celsius", 21.5), point("workers", 7.0)];
        assert_eq!(numbers(&points), numbers(&expected), "{service}");

        let sql = format!("SELECT count, sum, min, max, bounds, counts, start_ts <= ts AS started FROM histograms WHERE {of}");
        let expected = json!({ "count": 2, "sum": 2.6, "min": 0.1, "max": 2.5, "bounds": [0.25, 1], "counts": [1, 0, 1], "started": 1 });
        assert_eq!(self.rows(&sql).await, [expected], "{service}");

        // 1, 2, 4 and 8 end buckets that are 32 apart: the finest scale at which they fit into 160 buckets is 5. 0 has its own.
        let sql = format!(
            "SELECT count, sum, min, max, scale, zero_count, positive_offset, arraySum(positive_counts) AS positive, arraySum(negative_counts) AS negative, \
             arrayFilter(at -> positive_counts[at] = 1, arrayEnumerate(positive_counts)) AS full FROM exp_histograms WHERE {of}"
        );
        let expected = json!({
            "count": 5, "sum": 15, "min": 0, "max": 8, "scale": 5, "zero_count": 1, "positive_offset": -1, "positive": 4, "negative": 0,
            "full": [1, 33, 65, 97],
        });
        assert_eq!(self.rows(&sql).await, [expected], "{service}");

        let sql = format!("SELECT metric, value, lower(hex(trace_id)) AS trace FROM exemplars WHERE {of} ORDER BY metric, value");
        let exemplars = self.rows(&sql).await;
        let found: Vec<_> = exemplars.iter().map(|row| (row["metric"].as_str().unwrap(), row["value"].as_f64().unwrap())).collect();
        assert!(exemplars.iter().all(|row| row["trace"] == TRACE), "{exemplars:?}");
        // The 0 goes into the zero bucket, for which the SDK takes no exemplar.
        let sizes = [1.0, 2.0, 4.0, 8.0].map(|value| ("reply_size_bytes", value));
        let rest = [("latency_seconds", 0.1), ("latency_seconds", 2.5), ("orders_total", 3.0), ("queue_depth", -2.0)];
        let all: Vec<_> = rest.into_iter().chain(sizes).collect();
        assert_eq!(found, if sender.exemplars { all } else { Vec::new() }, "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_sdk_over_both_protocols() {
    let Some(interpreter) = python::interpreter() else {
        return python::skip("Python 3 with venv and the packages of tests/python/requirements.txt");
    };
    let world = World::start().await;
    for sender in [python_sender("python-grpc", "grpc"), python_sender("python-http", "http")] {
        world.run(&sender, Command::new(&interpreter).arg(python::programs().join("otlp.py")));
        world.check(&sender).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_sdk_over_both_protocols_and_as_json() {
    let Some(folder) = node::packages() else {
        return python::skip("Node 20 with npm and the packages of tests/node/package.json");
    };
    let world = World::start().await;
    for sender in [node_sender("node-grpc", "grpc"), node_sender("node-http", "http"), node_sender("node-json", "json")] {
        world.run(&sender, Command::new("node").arg(node::programs().join("otlp.js")).arg(&folder));
        world.check(&sender).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rusts_sdk_over_both_protocols_packed_with_zstd() {
    let world = World::start().await;
    for sender in [rust_sender("rust-grpc", "grpc"), rust_sender("rust-http", "http")] {
        let grpc = sender.protocol == "grpc";
        let temporality = if grpc { Temporality::Cumulative } else { Temporality::Delta };
        let to = rust::To { grpc, endpoint: world.endpoint(&sender), key: world.key.clone(), service: sender.service, temporality };
        tokio::task::spawn_blocking(move || rust::send(&to)).await.unwrap();
        world.check(&sender).await;
    }
}

/// The streams of one HTTP/2 connection that the server lets be open at a time: what its settings say, which come first.
async fn streams_at_a_time(address: std::net::SocketAddr) -> u32 {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "a frame of settings");
    let mut settings = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut settings).await.unwrap();
    let named = settings.chunks_exact(6).find(|one| u16::from_be_bytes([one[0], one[1]]) == MAX_CONCURRENT_STREAMS);
    named.map(|one| u32::from_be_bytes([one[2], one[3], one[4], one[5]])).expect("streams are bounded")
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_on_one_connection_are_bounded_and_all_are_stored() {
    const REQUESTS: usize = 1_000;
    let world = World::start().await;
    let most = streams_at_a_time(world.server.grpc).await;
    assert!((50..=500).contains(&most), "{most} streams at a time");
    assert!(REQUESTS > most as usize * 2, "more are open than may be");
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", world.server.grpc)).unwrap().connect().await.unwrap();
    let key: tonic::metadata::MetadataValue<_> = format!("Bearer {}", world.key).parse().unwrap();
    let calls: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let mut request = tonic::Request::new(send::spans(&format!("stream.{}", number % 10), 5, 0));
            request.metadata_mut().insert("authorization", key.clone());
            let mut client = TraceServiceClient::new(channel.clone());
            tokio::spawn(async move { client.export(request).await })
        })
        .collect();
    for call in calls {
        let answer = call.await.unwrap().unwrap().into_inner();
        assert!(answer.partial_success.is_none_or(|partial| partial.rejected_spans == 0));
    }
    let stored = "SELECT count() FROM spans WHERE service LIKE 'stream.%'";
    wait_for(stored, async || (world.server.count(stored).await >= 5 * REQUESTS as u64).then_some(())).await;
    assert_eq!(world.server.count(stored).await, 5 * REQUESTS as u64);
    assert_eq!(world.server.count("SELECT uniqExact(span_id) FROM spans WHERE service LIKE 'stream.%'").await, 5 * REQUESTS as u64);
}
