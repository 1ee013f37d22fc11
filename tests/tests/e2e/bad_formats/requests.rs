//! The rows of Loki, newline JSON and Zipkin, over HTTP.

use serde_json::json;

use super::*;

/// Whose key is sent.
#[derive(Clone, Copy)]
enum Who {
    Sender,
    Nobody,
    Unknown,
    Reader,
}

/// A bad request.
struct Row {
    name: &'static str,
    path: &'static str,
    who: Who,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    /// Sent so many times.
    times: usize,
    status: u16,
    says: &'static str,
    counter: Counter,
    /// How far the counter moves.
    by: f64,
    /// Rows that are stored all the same.
    stored: u64,
}

/// A refused request that is stored not at all and counted once.
fn row(
    name: &'static str,
    path: &'static str,
    headers: &[(&'static str, &'static str)],
    body: Vec<u8>,
    status: u16,
    says: &'static str,
    counter: Counter,
) -> Row {
    Row { name, path, who: Who::Sender, headers: headers.to_vec(), body, times: 1, status, says, counter, by: 1.0, stored: 0 }
}

fn loki_rows() -> Vec<Row> {
    const CODE_400: Counter = (REQUESTS, &["protocol=\"loki\"", "code=\"400\""]);
    const CODE_413: Counter = (REQUESTS, &["protocol=\"loki\"", "code=\"413\""]);
    const CODE_415: Counter = (REQUESTS, &["protocol=\"loki\"", "code=\"415\""]);
    const OLD: Counter = (REJECTED, &["signal=\"logs\"", "reason=\"too_old\""]);
    const AHEAD: Counter = (REJECTED, &["signal=\"logs\"", "reason=\"too_far_ahead\""]);
    let year = 365 * 86_400 * 1_000_000_000;
    let json = |app: &str| loki_json(app, now(), "x");
    let protobuf = loki_protobuf("bad", now(), "x");
    let half = protobuf[..protobuf.len() / 2].to_vec();
    let mixed = json!({ "streams": [{ "stream": { "app": "mixed" }, "values": [[now().to_string(), "kept"], ["1", "old"]] }] });
    vec![
        row("Loki: truncated JSON", LOKI, &[JSON], json("a")[..20].to_vec(), 400, "EOF while parsing", CODE_400),
        row("Loki: truncated snappy", LOKI, &[PROTOBUF], half, 400, "not a complete snappy stream", CODE_400),
        row("Loki: truncated gzip", LOKI, &[JSON, GZIP], gzip(&json("a"))[..15].to_vec(), 400, "not a complete gzip stream", CODE_400),
        row("Loki: no protobuf", LOKI, &[PROTOBUF], snappy(b"\xff\xff\xff"), 400, "not the protobuf message", CODE_400),
        row("Loki: large on the wire", LOKI, &[JSON], vec![b' '; 2 << 20], 413, "on the wire", CODE_413),
        row("Loki: a gzip bomb", LOKI, &[JSON, GZIP], gzip(&vec![b' '; 64 << 20]), 413, "after decompression", CODE_413),
        row("Loki: a snappy bomb", LOKI, &[PROTOBUF], snappy(&vec![0; 8 << 20]), 413, "after decompression", CODE_413),
        row("Loki: plain text", LOKI, &[("content-type", "text/plain")], json("a"), 415, "`text/plain`", CODE_415),
        row("Loki: unknown encoding", LOKI, &[JSON, ("content-encoding", "rot13")], json("a"), 415, "`rot13`", CODE_415),
        row("Loki: packed twice", LOKI, &[PROTOBUF, GZIP], gzip(&protobuf), 415, "packed with snappy", CODE_415),
        row("Loki: a clock behind", LOKI, &[JSON], loki_json("a", now() - year, "x"), 400, "older than the retention", OLD),
        row("Loki: a clock ahead", LOKI, &[PROTOBUF], loki_protobuf("a", now() + year, "x"), 400, "in the future", AHEAD),
        Row { stored: 1, ..row("Loki: one of two", LOKI, &[JSON], mixed.to_string().into_bytes(), 400, "the others are stored", OLD) },
        Row {
            times: 3,
            by: 2.0,
            stored: 1,
            ..row("Loki: sent again", LOKI, &[PROTOBUF], loki_protobuf("again", now(), "once"), 204, "", (DUPLICATES, &["signal=\"logs\""]))
        },
    ]
}

fn line_rows() -> Vec<Row> {
    const CODE_200: Counter = (REQUESTS, &["protocol=\"ndjson\"", "code=\"200\""]);
    const CODE_400: Counter = (REQUESTS, &["protocol=\"ndjson\"", "code=\"400\""]);
    const CODE_413: Counter = (REQUESTS, &["protocol=\"ndjson\"", "code=\"413\""]);
    const CODE_415: Counter = (REQUESTS, &["protocol=\"ndjson\"", "code=\"415\""]);
    const MALFORMED: Counter = (REJECTED, &["signal=\"logs\"", "reason=\"malformed\""]);
    const OLD: Counter = (REJECTED, &["signal=\"logs\"", "reason=\"too_old\""]);
    const AHEAD: Counter = (REJECTED, &["signal=\"logs\"", "reason=\"too_far_ahead\""]);
    const HTML: (&str, &str) = ("content-type", "text/html");
    let year = 365 * 86_400 * 1_000_000_000;
    let line = |line: &str| json_line("bad", now(), line);
    let mixed = [line("kept"), b"{\"msg\":\n[1]\n".to_vec(), line("kept too")].concat();
    let deep = format!("{{\"msg\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    vec![
        row("lines: truncated", LINES, &[], b"{\"msg\":\"x".to_vec(), 400, "\"line\":1", MALFORMED),
        row("lines: not UTF-8", LINES, &[], b"{\"msg\":\"\xff\"}".to_vec(), 400, "not UTF-8", MALFORMED),
        row("lines: another type", LINES, &[], b"17".to_vec(), 400, "neither an object nor a string", MALFORMED),
        Row {
            stored: 1,
            ..row("lines: nested deeply, kept as text", LINES, &[], deep.into_bytes(), 200, "\"accepted\":1", (CUT, &["part=\"text\""]))
        },
        row("lines: truncated gzip", LINES, &[GZIP], gzip(&line("x"))[..15].to_vec(), 400, "not a complete gzip stream", CODE_400),
        row("lines: large on the wire", LINES, &[], vec![b'\n'; 2 << 20], 413, "on the wire", CODE_413),
        row("lines: a gzip bomb", LINES, &[GZIP], gzip(&vec![b'\n'; 64 << 20]), 413, "after decompression", CODE_413),
        row("lines: unknown encoding", LINES, &[("content-encoding", "rot13")], line("x"), 415, "`rot13`", CODE_415),
        row("lines: a clock behind", LINES, &[], json_line("bad", now() - year, "x"), 400, "older than the retention", OLD),
        row("lines: a clock ahead", LINES, &[], json_line("bad", now() + year, "x"), 400, "in the future", AHEAD),
        // Senders name many types, and curl calls everything a form: none is wrong.
        Row { stored: 1, ..row("lines: any content type", LINES, &[HTML], line("x"), 200, "\"accepted\":1", CODE_200) },
        Row { by: 2.0, stored: 2, ..row("lines: two of four", LINES, &[], mixed, 200, "\"rejected\":2", MALFORMED) },
        Row { times: 2, by: 2.0, stored: 2, ..row("lines: the same twice is two", LINES, &[], line("x"), 200, "\"accepted\":1", CODE_200) },
    ]
}

fn zipkin_rows() -> Vec<Row> {
    const CODE_400: Counter = (REQUESTS, &["protocol=\"zipkin\"", "code=\"400\""]);
    const CODE_413: Counter = (REQUESTS, &["protocol=\"zipkin\"", "code=\"413\""]);
    const CODE_415: Counter = (REQUESTS, &["protocol=\"zipkin\"", "code=\"415\""]);
    const OLD: Counter = (REJECTED, &["signal=\"traces\"", "reason=\"too_old\""]);
    const AHEAD: Counter = (REJECTED, &["signal=\"traces\"", "reason=\"too_far_ahead\""]);
    const TRACE_ID: Counter = (REJECTED, &["signal=\"traces\"", "trace_id"]);
    let year = 365 * 86_400 * 1_000_000_000;
    let span = || zipkin_span("bad", now(), "x");
    let thrift = ("content-type", "application/x-thrift");
    vec![
        row("Zipkin: truncated", ZIPKIN, &[JSON], span()[..30].to_vec(), 400, "EOF while parsing", CODE_400),
        row("Zipkin: another type", ZIPKIN, &[JSON], b"{}".to_vec(), 400, "expected a list of spans", CODE_400),
        row("Zipkin: not UTF-8", ZIPKIN, &[JSON], b"[\"\xff\"]".to_vec(), 400, "not UTF-8", CODE_400),
        row("Zipkin: truncated gzip", ZIPKIN, &[JSON, GZIP], gzip(&span())[..15].to_vec(), 400, "not a complete gzip stream", CODE_400),
        row("Zipkin: large on the wire", ZIPKIN, &[JSON], vec![b' '; 2 << 20], 413, "on the wire", CODE_413),
        row("Zipkin: a gzip bomb", ZIPKIN, &[JSON, GZIP], gzip(&vec![b' '; 64 << 20]), 413, "after decompression", CODE_413),
        row("Zipkin: unknown encoding", ZIPKIN, &[JSON, ("content-encoding", "rot13")], span(), 415, "`rot13`", CODE_415),
        row("Zipkin: version 1 in thrift", ZIPKIN, &[thrift], b"\x0c".to_vec(), 415, "send application/json", CODE_415),
        row("Zipkin: a clock behind", ZIPKIN, &[JSON], zipkin_span("bad", now() - year, "x"), 202, "older than the retention", OLD),
        row("Zipkin: a clock ahead", ZIPKIN, &[JSON], zipkin_span("bad", now() + year, "x"), 202, "in the future", AHEAD),
        row(
            "Zipkin: an id that is none",
            ZIPKIN,
            &[JSON],
            format!("[{{\"traceId\":\"xyz\",\"id\":\"1\",\"timestamp\":{}}}]", now() / 1_000).into_bytes(),
            202,
            "trace id",
            TRACE_ID,
        ),
        Row {
            times: 3,
            by: 2.0,
            stored: 1,
            ..row("Zipkin: sent again", ZIPKIN, &[JSON], zipkin_span("again", now(), "once"), 202, "", (DUPLICATES, &["signal=\"traces\""]))
        },
    ]
}

/// Who may not send, at each of the three.
fn access_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (path, body, forbidden) in [
        (LOKI, loki_json("a", now(), "x"), (REQUESTS, &["protocol=\"loki\"", "code=\"403\""] as &[_])),
        (LINES, json_line("a", now(), "x"), (REQUESTS, &["protocol=\"ndjson\"", "code=\"403\""])),
        (ZIPKIN, zipkin_span("a", now(), "x"), (REQUESTS, &["protocol=\"zipkin\"", "code=\"403\""])),
    ] {
        let missing: Counter = (REFUSED, &["key_missing"]);
        let unknown: Counter = (REFUSED, &["key_unknown"]);
        rows.push(Row { who: Who::Nobody, ..row("no key", path, &[JSON], body.clone(), 401, "an API key is needed", missing) });
        rows.push(Row { who: Who::Unknown, ..row("another key", path, &[JSON], body.clone(), 401, "unknown or revoked", unknown) });
        rows.push(Row { who: Who::Reader, ..row("a key that reads", path, &[JSON], body, 403, "", forbidden) });
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_of_loki_lines_and_zipkin() {
    let mut world = World::start(None).await;
    let (mut logs, mut spans) = (0, 0);
    for row in [loki_rows(), line_rows(), zipkin_rows(), access_rows()].into_iter().flatten() {
        let what = format!("{} at {}", row.name, row.path);
        let key = match row.who {
            Who::Sender => Some(world.key.clone()),
            Who::Nobody => None,
            Who::Unknown => Some("wf_unknown".to_owned()),
            Who::Reader => Some(world.reader.clone()),
        };
        let before = world.counter(row.counter).await;
        for _ in 0..row.times {
            let Some((status, said)) = world.post(row.path, key.as_deref(), &row.headers, row.body.clone()).await else {
                assert_eq!(row.status, 413, "{what}: no answer");
                continue;
            };
            assert_eq!(status, row.status, "{what}: {said}");
            assert!(said.contains(row.says) && said.trim_end().lines().count() <= 1, "{what}: {said}");
        }
        world.moved(&what, row.counter, before, row.by).await;
        *(if row.path == ZIPKIN { &mut spans } else { &mut logs }) += row.stored;
        world.send_good(&what, row.path).await;
    }
    world.check_all(logs, spans).await;
}

/// One record a second.
const RATES: &str = "pipeline:\n  rate_limits: { default: { spans: { records: 1, burst: 1s }, logs: { records: 1, burst: 1s }, metrics: { records: 1, burst: 1s } } }\n";

#[tokio::test(flavor = "multi_thread")]
async fn who_is_over_the_rate_waits_and_loses_nothing() {
    let mut world = World::start_with(None, RATES).await;
    let key = Some(world.key.clone());
    // A request is taken whole; what it is beyond the rate is owed for minutes.
    let lines = (0..300).flat_map(|number| json_line("heavy", now(), &format!("line {number}"))).collect();
    assert_eq!(world.post(LINES, key.as_deref(), &[], lines).await.unwrap().0, 200);
    let spans: Vec<Value> =
        (0..300).flat_map(|_| serde_json::from_slice::<Vec<Value>>(&zipkin_span("heavy", now(), "x")).unwrap()).collect();
    assert_eq!(world.post(ZIPKIN, key.as_deref(), &[JSON], json!(spans).to_string().into_bytes()).await.unwrap().0, 202);
    // In one datagram, so that all are of one flush.
    let statsd = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let samples: String = (0..300).map(|number| format!("heavy.statsd:1|c|#number:{number}\n")).collect();
    statsd.send_to(samples.as_bytes(), world.statsd).await.unwrap();
    world.until("SELECT toUInt64(sum(value)) FROM points WHERE metric = 'heavy_statsd_total'", 300).await;

    for (path, headers, body) in [
        (LOKI, vec![JSON], loki_json("late", now(), "x")),
        (LOKI, vec![PROTOBUF], loki_protobuf("late", now(), "x")),
        (LINES, vec![], json_line("late", now(), "x")),
        (ZIPKIN, vec![JSON], zipkin_span("late", now(), "x")),
    ] {
        let (status, said) = world.post(path, key.as_deref(), &headers, body).await.unwrap();
        assert!(status == 429 && said.contains("pipeline.rate_limits"), "{path}: {status} {said}");
    }
    // Nobody can tell a sender of syslog or StatsD to wait: what it sent waits here. Fluent waits for its acknowledgement.
    let mut syslog = TcpStream::connect(world.syslog).await.unwrap();
    syslog.write_all(b"<14>1 - host waits - - - a line\n").await.unwrap();
    let mut fluent = TcpStream::connect(world.fluent).await.unwrap();
    let seconds = u32::try_from(now() / 1_000_000_000).unwrap();
    fluent.write_all(&fluent_message("waits", seconds, "an event", Some("waits"))).await.unwrap();
    statsd.send_to(b"waits.statsd:3|c", world.statsd).await.unwrap();
    for protocol in ["protocol=\"syslog\"", "protocol=\"fluent\"", "protocol=\"statsd\""] {
        wait_for(protocol, async || {
            let text = world.server.text("/metrics").await;
            let refused = |line: &&str| line.starts_with(REQUESTS) && line.contains(protocol) && line.contains("code=\"429\"");
            text.lines().find(refused).map(|_| ())
        })
        .await;
    }
    assert_eq!(world.server.count("SELECT count() FROM logs WHERE service = 'waits'").await, 0);

    // Other limits are taken up while they wait.
    let file = world.server.folder().join("watchfire.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(world.server.folder().join(".fresh"), text.replace(RATES, "")).unwrap();
    std::fs::rename(world.server.folder().join(".fresh"), &file).unwrap();
    assert!(std::process::Command::new("kill").args(["-HUP", &world.server.pid().to_string()]).status().unwrap().success());
    world.until("SELECT count() FROM logs WHERE service = 'waits'", 2).await;
    let mut answer = vec![0; 5];
    fluent.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"\x81\xa3ack");
    world.until("SELECT toUInt64(sum(value)) FROM points WHERE metric = 'waits_statsd_total'", 3).await;
    world.send_good("the limits", LOKI).await;
    assert_eq!(world.server.count("SELECT count() FROM logs WHERE service = 'late'").await, 0);
    assert_eq!(world.server.count("SELECT count() FROM spans WHERE service = 'late'").await, 0);
}
