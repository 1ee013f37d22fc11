//! Bad input of Loki, newline JSON, Zipkin, syslog, Fluent and StatsD. Each row is sent to the whole program, and tells the status and
//! the words of the answer, the counter that moves and how far, and how many rows are stored all the same. After each row a good one
//! is sent to the same receiver; in the end every good one is stored once, and nothing else.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use model::time::{Clock, SystemClock};
use prost::Message;
use serde_json::{Value, json};
use tests::process::{Watchfire, free_port};
use tests::wait::wait_for;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const LOKI: &str = "/loki/api/v1/push";
const LINES: &str = "/api/watchfire/v1/logs";
const ZIPKIN: &str = "/api/v2/spans";

const REQUESTS: &str = "watchfire_collector_requests_total";
const REJECTED: &str = "watchfire_collector_rejected_rows_total";
const DUPLICATES: &str = "watchfire_collector_duplicate_requests_total";
const REFUSED: &str = "watchfire_access_refused_total";
const FAULTS: &str = "watchfire_collector_socket_faults_total";
const CUT: &str = "watchfire_collector_cut_values_total";

/// A counter and some of its labels.
type Counter = (&'static str, &'static [&'static str]);

fn now() -> u64 {
    u64::try_from(SystemClock.now().nanos()).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

/// Loki's messages, of its published proto.
mod logproto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct PushRequest {
        #[prost(message, repeated, tag = "1")]
        pub streams: Vec<Stream>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Stream {
        #[prost(string, tag = "1")]
        pub labels: String,
        #[prost(message, repeated, tag = "2")]
        pub entries: Vec<Entry>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Entry {
        #[prost(message, optional, tag = "1")]
        pub timestamp: Option<Timestamp>,
        #[prost(string, tag = "2")]
        pub line: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Timestamp {
        #[prost(int64, tag = "1")]
        pub seconds: i64,
        #[prost(int32, tag = "2")]
        pub nanos: i32,
    }
}

fn loki_protobuf(app: &str, time: u64, line: &str) -> Vec<u8> {
    let timestamp = logproto::Timestamp { seconds: (time / 1_000_000_000) as i64, nanos: (time % 1_000_000_000) as i32 };
    let entries = vec![logproto::Entry { timestamp: Some(timestamp), line: line.to_owned() }];
    let request = logproto::PushRequest { streams: vec![logproto::Stream { labels: format!("{{app=\"{app}\"}}"), entries }] };
    snappy(&request.encode_to_vec())
}

fn loki_json(app: &str, time: u64, line: &str) -> Vec<u8> {
    json!({ "streams": [{ "stream": { "app": app }, "values": [[time.to_string(), line]] }] }).to_string().into_bytes()
}

fn json_line(app: &str, time: u64, line: &str) -> Vec<u8> {
    format!("{}\n", json!({ "time": time, "service": app, "msg": line })).into_bytes()
}

fn zipkin_span(app: &str, time: u64, name: &str) -> Vec<u8> {
    let id = format!("{:016x}", rand::random::<u64>().max(1));
    let span = json!({ "traceId": id, "id": id, "name": name, "timestamp": time / 1_000, "localEndpoint": { "serviceName": app } });
    json!([span]).to_string().into_bytes()
}

fn text(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    [vec![0xdb], length.to_be_bytes().to_vec(), text.as_bytes().to_vec()].concat()
}

/// `[tag, [[time, {message, service}]], option]`
fn fluent_message(app: &str, seconds: u32, message: &str, chunk: Option<&str>) -> Vec<u8> {
    let record = [vec![0x82], text("message"), text(message), text("service"), text(app)].concat();
    let event = [vec![0x92, 0xce], seconds.to_be_bytes().to_vec(), record].concat();
    let option = chunk.map_or_else(|| vec![0x80], |chunk| [vec![0x81], text("chunk"), text(chunk)].concat());
    [vec![0x93], text("bad.input"), vec![0x91], event, option].concat()
}

/// `[tag, packed bytes, {compressed, chunk}]`
fn fluent_packed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    let option = [vec![0x82], text("compressed"), text("gzip"), text("chunk"), text("packed")].concat();
    [vec![0x93], text("bad.input"), vec![0xc6], length.to_be_bytes().to_vec(), bytes.to_vec(), option].concat()
}

struct World {
    server: Watchfire,
    key: String,
    reader: String,
    syslog: SocketAddr,
    fluent: SocketAddr,
    statsd: SocketAddr,
    client: reqwest::Client,
    /// Good ones sent, by the receiver they went to.
    good: BTreeMap<&'static str, u64>,
}

impl World {
    /// With small limits; senders to Fluent's socket must know the shared key, if there is one.
    async fn start(shared_key: Option<&str>) -> Self {
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (syslog, fluent, statsd) = (address(), address(), address());
        let shared = shared_key.map(|key| format!(", shared_key: {key}")).unwrap_or_default();
        let config = format!(
            "collector:\n  max_wire_bytes: 1MiB\n  max_decoded_bytes: 2MiB\n  max_text: 64KiB\n  body_timeout: 5s\n  \
             syslog: {{ udp: \"{syslog}\", tcp: \"{syslog}\", max_message: 1KiB, batch_linger: 10ms }}\n  \
             fluent: {{ listen: \"{fluent}\", max_message: 1MiB{shared} }}\n  \
             statsd: {{ udp: \"{statsd}\", tcp: \"{statsd}\", flush: 1s }}\n"
        );
        let mut server = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
        server.start().await;
        let made = server.command(&["keys", "create", "reader", "--permission", "read", "--json"]).output().unwrap();
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let reader = made["key"].as_str().unwrap().to_owned();
        let key = server.make_key().await;
        let client = reqwest::Client::new();
        World { server, key, reader, syslog, fluent, statsd, client, good: BTreeMap::new() }
    }

    async fn counter(&self, (name, labels): Counter) -> f64 {
        let text = self.server.text("/metrics").await;
        let all = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        let ours = all.filter(|line| labels.iter().all(|label| line.contains(label)));
        ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until a counter has moved so far.
    async fn moved(&self, what: &str, counter: Counter, before: f64, by: f64) {
        wait_for(&format!("{what}: {counter:?} to be {before} and {by} more"), async || {
            let now = self.counter(counter).await;
            assert!(now <= before + by, "{what}: {counter:?} moved from {before} to {now}");
            (now == before + by).then_some(())
        })
        .await;
    }

    async fn post(&self, path: &str, key: Option<&str>, headers: &[(&str, &str)], body: Vec<u8>) -> Option<(u16, String)> {
        let mut request = self.client.post(format!("http://{}{path}", self.server.http)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        // A server may answer 413 and hang up while a large body is still being sent.
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }

    /// Sends a good one to each receiver, and counts it.
    async fn send_good(&mut self, after: &str, to: &'static str) {
        let number = self.good.entry(to).or_default();
        *number += 1;
        let line = format!("good {number}");
        let sent = match to {
            LOKI if *number % 2 == 0 => self.post(LOKI, Some(&self.key), &[JSON], loki_json("good.loki", now(), &line)).await,
            LOKI => self.post(LOKI, Some(&self.key), &[PROTOBUF], loki_protobuf("good.loki", now(), &line)).await,
            LINES => self.post(LINES, Some(&self.key), &[], json_line("good.lines", now(), &line)).await,
            ZIPKIN => self.post(ZIPKIN, Some(&self.key), &[JSON], zipkin_span("good.zipkin", now(), &line)).await,
            "syslog" => {
                let mut stream = TcpStream::connect(self.syslog).await.unwrap();
                stream.write_all(format!("<14>1 - host good.syslog - - - {line}\n").as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                Some((200, String::new()))
            }
            "fluent" => {
                let mut stream = TcpStream::connect(self.fluent).await.unwrap();
                let seconds = u32::try_from(now() / 1_000_000_000).unwrap();
                stream.write_all(&fluent_message("good.fluent", seconds, &line, Some(&line))).await.unwrap();
                let mut answer = vec![0; 5];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(answer, b"\x81\xa3ack", "after {after}");
                Some((200, String::new()))
            }
            "statsd" => {
                let mut stream = TcpStream::connect(self.statsd).await.unwrap();
                stream.write_all(b"good.statsd:1|c\n").await.unwrap();
                stream.shutdown().await.unwrap();
                Some((200, String::new()))
            }
            other => panic!("{other}"),
        };
        let (status, said) = sent.unwrap_or_else(|| panic!("after {after}: no answer"));
        assert!((200..300).contains(&status), "after {after}: {status} {said}");
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        let text = self.server.sql(sql).await;
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{sql}: {text}"));
        serde_json::from_value(json["data"].clone()).unwrap_or_else(|_| panic!("{sql}: {text}"))
    }

    async fn until(&self, sql: &str, expected: u64) {
        wait_for(&format!("{expected} from {sql}"), async || (self.server.count(sql).await == expected).then_some(())).await;
    }

    /// Every good one is there, once; of all else exactly so many log records and spans.
    async fn check_all(&self, logs: u64, spans: u64) {
        let mut of_logs = 0;
        for (to, sent) in &self.good {
            let name = match *to {
                LOKI => "loki",
                LINES => "lines",
                ZIPKIN => "zipkin",
                other => other,
            };
            if name == "statsd" {
                self.until("SELECT toUInt64(sum(value)) FROM points WHERE metric = 'good_statsd_total'", *sent).await;
                continue;
            }
            let (table, column) = if name == "zipkin" { ("spans", "name") } else { ("logs", "body") };
            self.until(&format!("SELECT uniqExact({column}) FROM {table} WHERE service = 'good.{name}'"), *sent).await;
            if table == "logs" {
                of_logs += sent;
            }
        }
        self.until("SELECT count() FROM logs", of_logs + logs).await;
        self.until("SELECT count() FROM spans WHERE service != 'watchfire'", self.good.get(ZIPKIN).copied().unwrap_or(0) + spans).await;
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

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

/// What a bad message goes through.
#[derive(Clone, Copy)]
enum Via {
    SyslogUdp,
    SyslogTcp,
    Fluent,
    StatsdUdp,
    StatsdTcp,
}

/// A bad message; the connection is ended behind it, and must not be acknowledged.
struct Sent {
    name: &'static str,
    via: Via,
    bytes: Vec<u8>,
    counter: Counter,
    by: f64,
    stored: u64,
}

fn syslog_messages() -> Vec<Sent> {
    let udp = |name, bytes: &[u8], counter, by| Sent { name, via: Via::SyslogUdp, bytes: bytes.to_vec(), counter, by, stored: 1 };
    let tcp = |name, bytes: &[u8], counter, by, stored| Sent { name, via: Via::SyslogTcp, bytes: bytes.to_vec(), counter, by, stored };
    const HEADER: Counter = (CUT, &["syslog_header"]);
    const TIME: Counter = (CUT, &["syslog_time"]);
    const READ: Counter = ("watchfire_collector_socket_messages_total", &["protocol=\"syslog\"", "transport=\"udp\""]);
    const TOO_LONG: Counter = (FAULTS, &["protocol=\"syslog\"", "too_long"]);
    const TRUNCATED: Counter = (FAULTS, &["protocol=\"syslog\"", "truncated"]);
    const FRAMING: Counter = (FAULTS, &["protocol=\"syslog\"", "framing"]);
    let long = [b"<14>1 - h a - - - ".to_vec(), vec![b'x'; 5_000]].concat();
    let counted = [format!("{} ", long.len()).into_bytes(), long.clone()].concat();
    vec![
        udp("syslog: no header", b"\x00\x01\x02 anything", HEADER, 1.0),
        udp("syslog: a truncated header", b"<34>1 2026-02-28T23:59:59Z web", HEADER, 1.0),
        udp("syslog: not UTF-8", b"<14>1 - h a - - - \xff\xfe", READ, 1.0),
        udp("syslog: a clock behind", b"<34>1 2001-02-03T04:05:06Z h a - - - m", TIME, 1.0),
        udp("syslog: a clock ahead", b"<34>1 2091-02-03T04:05:06Z h a - - - m", TIME, 1.0),
        udp("syslog: a long datagram", &long, TOO_LONG, 1.0),
        tcp("syslog: a long message, counted", &counted, TOO_LONG, 1.0, 1),
        tcp("syslog: a long line", &[long, b"\n".to_vec()].concat(), TOO_LONG, 1.0, 1),
        tcp("syslog: half a message", b"90 <34>half", TRUNCATED, 1.0, 1),
        tcp("syslog: a senseless length", b"99999999999 <34>x", FRAMING, 1.0, 0),
        tcp("syslog: a line, and a senseless length", b"<14>a: kept\n99999999999 <34>x", FRAMING, 1.0, 1),
        udp("syslog: the same again", b"<14>1 - h a - - - twice", READ, 1.0),
        udp("syslog: and again is another", b"<14>1 - h a - - - twice", READ, 1.0),
    ]
}

fn fluent_messages() -> Vec<Sent> {
    let sent = |name, bytes, counter, stored| Sent { name, via: Via::Fluent, bytes, counter, by: 1.0, stored };
    const FRAMING: Counter = (FAULTS, &["protocol=\"fluent\"", "framing"]);
    const TOO_LONG: Counter = (FAULTS, &["protocol=\"fluent\"", "too_long"]);
    const TRUNCATED: Counter = (FAULTS, &["protocol=\"fluent\"", "truncated"]);
    const NOT_STORED: Counter = (FAULTS, &["protocol=\"fluent\"", "not_stored"]);
    const MALFORMED: Counter = (REJECTED, &["signal=\"logs\"", "malformed"]);
    const OLD: Counter = (REJECTED, &["signal=\"logs\"", "too_old"]);
    const AHEAD: Counter = (REJECTED, &["signal=\"logs\"", "too_far_ahead"]);
    let seconds = u32::try_from(now() / 1_000_000_000).unwrap();
    let good = fluent_message("bad", seconds, "x", Some("c"));
    let two = [fluent_message("bad", 1, "old", None), fluent_message("bad", seconds, "kept", None)].concat();
    vec![
        sent("Fluent: no MessagePack", b"\xc1\xc1".to_vec(), FRAMING, 0),
        sent("Fluent: half a message", good[..good.len() - 4].to_vec(), TRUNCATED, 0),
        sent("Fluent: a length past the limit", b"\xdb\xff\xff\xff\xff".to_vec(), TOO_LONG, 0),
        sent("Fluent: lists in lists", vec![0x91; 10_000], FRAMING, 0),
        sent("Fluent: a gzip bomb", fluent_packed(&gzip(&vec![0xc0; 64 << 20])), NOT_STORED, 0),
        sent("Fluent: no gzip", fluent_packed(b"plain"), NOT_STORED, 0),
        sent("Fluent: truncated gzip", fluent_packed(&gzip(&vec![0xc0; 500])[..15]), NOT_STORED, 0),
        sent("Fluent: another type", text("a text"), MALFORMED, 0),
        sent("Fluent: a clock behind, beside a good one", two, OLD, 1),
        sent("Fluent: a clock ahead", fluent_message("bad", seconds + 400 * 86_400, "x", None), AHEAD, 0),
    ]
}

fn statsd_messages() -> Vec<Sent> {
    let sent = |name, via, bytes: &[u8], counter, by| Sent { name, via, bytes: bytes.to_vec(), counter, by, stored: 0 };
    const MALFORMED: Counter = (FAULTS, &["protocol=\"statsd\"", "malformed"]);
    const UNSUPPORTED: Counter = (FAULTS, &["protocol=\"statsd\"", "unsupported"]);
    const FRAMING: Counter = (FAULTS, &["protocol=\"statsd\"", "framing"]);
    vec![
        sent("StatsD: truncated", Via::StatsdUdp, b"bad.name:1|", MALFORMED, 1.0),
        sent("StatsD: not UTF-8", Via::StatsdUdp, b"bad\xff:1|c", MALFORMED, 1.0),
        sent("StatsD: no number", Via::StatsdUdp, b"bad:NaN|c\nbad:inf|g\nbad:x|ms\nbad:1e999|c", MALFORMED, 4.0),
        sent("StatsD: a rate that is none", Via::StatsdTcp, b"bad:1|c|@0\nbad:1|c|@2\n", MALFORMED, 2.0),
        sent("StatsD: control characters", Via::StatsdTcp, b"bad\x01name:1|c\nbad:1|c|#a:\x1b[2J\n", MALFORMED, 2.0),
        sent("StatsD: another type", Via::StatsdTcp, b"bad:1|q\n", MALFORMED, 1.0),
        sent("StatsD: an event", Via::StatsdUdp, b"_e{5,4}:title|text", UNSUPPORTED, 1.0),
        sent("StatsD: a line without end", Via::StatsdTcp, &vec![b'x'; 1 << 20], FRAMING, 1.0),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_of_syslog_fluent_and_statsd() {
    let mut world = World::start(None).await;
    let mut logs = 0;
    for message in syslog_messages().into_iter().chain(fluent_messages()).chain(statsd_messages()) {
        let Sent { name, via, bytes, counter, by, stored } = message;
        let before = world.counter(counter).await;
        let (to, address, datagram) = match via {
            Via::SyslogUdp => ("syslog", world.syslog, true),
            Via::SyslogTcp => ("syslog", world.syslog, false),
            Via::Fluent => ("fluent", world.fluent, false),
            Via::StatsdUdp => ("statsd", world.statsd, true),
            Via::StatsdTcp => ("statsd", world.statsd, false),
        };
        if datagram {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.send_to(&bytes, address).await.unwrap();
        } else {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The server may hang up before all is sent.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert_eq!(answer, b"", "{name} is not acknowledged");
        }
        world.moved(name, counter, before, by).await;
        logs += stored;
        world.send_good(name, to).await;
    }
    world.check_all(logs, 0).await;
    let cut = world.rows("SELECT DISTINCT length(body) FROM logs WHERE body LIKE '%xxx%'").await;
    assert!(!cut.is_empty() && cut.iter().all(|row| row[0].to_string().trim_matches('"').parse::<u64>().unwrap() < 1_024), "{cut:?}");
    assert_eq!(
        world.server.count("SELECT count() FROM logs WHERE abs(dateDiff('second', ts, now())) > 600").await,
        0,
        "wrong clocks give way"
    );
    assert_eq!(world.server.count("SELECT count() FROM points WHERE startsWith(metric, 'bad')").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fluent_chunk_that_is_sent_again_is_stored_once() {
    let world = World::start(None).await;
    let seconds = u32::try_from(now() / 1_000_000_000).unwrap();
    let message = fluent_message("again", seconds, "once", Some("chunk-1"));
    for _ in 0..3 {
        let mut stream = TcpStream::connect(world.fluent).await.unwrap();
        stream.write_all(&message).await.unwrap();
        let mut answer = vec![0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"\x81\xa3ack");
    }
    world.moved("two of them", (DUPLICATES, &["signal=\"logs\""]), 0.0, 2.0).await;
    world.until("SELECT count() FROM logs WHERE service = 'again'", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_fluents_shared_key_stores_nothing() {
    let world = World::start(Some("opensesame")).await;
    let seconds = u32::try_from(now() / 1_000_000_000).unwrap();
    const STRANGER: Counter = (FAULTS, &["protocol=\"fluent\"", "stranger"]);
    let wrong = [vec![0x96], text("PING"), text("me"), text("salt"), text(&"0".repeat(128)), text(""), text("")].concat();
    for (number, first) in [wrong, Vec::new()].into_iter().enumerate() {
        let mut stream = TcpStream::connect(world.fluent).await.unwrap();
        let mut helo = vec![0; 8];
        stream.read_exact(&mut helo).await.unwrap();
        let _ = stream.write_all(&[first, fluent_message("stranger", seconds, "x", Some("c"))].concat()).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.windows(5).any(|bytes| bytes == b"\x81\xa3ack"), "{rest:?}");
        world.moved("a stranger", STRANGER, number as f64, 1.0).await;
    }
    assert_eq!(world.server.count("SELECT count() FROM logs WHERE service = 'stranger'").await, 0);
    assert!(!world.server.log().contains("opensesame"));
}

/// Strings that mean something to somebody else.
const HOSTILE: [&str; 12] = [
    "'; DROP TABLE logs; --",
    "\") OR 1=1 UNION SELECT * FROM spans --",
    "a\u{0}b",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "\u{202e}txt.exe",
    "\u{feff}\u{200b}\u{d7ff}\u{e000}\u{10ffff}",
    "<script>alert(1)</script>",
    "${jndi:ldap://x/y} {{7*7}} %s%n %00 ../../etc/passwd",
    "tab\tand \\backslash \"quote\" 'single' `back`",
    "\u{1f469}\u{200d}\u{1f4bb} e\u{301}",
    "{\"json\":[1,null]}",
    "  ends with blanks  ",
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_strings_are_stored_as_they_are() {
    let world = World::start(None).await;
    let mut fluent = TcpStream::connect(world.fluent).await.unwrap();
    let mut syslog = TcpStream::connect(world.syslog).await.unwrap();
    for (number, string) in HOSTILE.iter().enumerate() {
        let key = Some(world.key.as_str());
        let service = |receiver: &str| format!("{receiver}.{number}");
        for (path, headers, body, status) in [
            (LOKI, [JSON], loki_json(&service("json"), now(), string), 204),
            (LOKI, [PROTOBUF], loki_protobuf(&service("protobuf"), now(), string), 204),
            (LINES, [JSON], json_line(&service("lines"), now(), string), 200),
            (ZIPKIN, [JSON], zipkin_span(&service("zipkin"), now(), string), 202),
        ] {
            let (answered, said) = world.post(path, key, &headers, body).await.unwrap();
            assert_eq!(answered, status, "{string:?} at {path}: {said}");
        }
        let message = format!("<14>1 - h {} - - - {string}", service("syslog"));
        syslog.write_all(format!("{} {message}", message.len()).as_bytes()).await.unwrap();
        let seconds = u32::try_from(now() / 1_000_000_000).unwrap();
        fluent.write_all(&fluent_message(&service("fluent"), seconds, string, None)).await.unwrap();
    }
    let logs = HOSTILE.len() as u64 * 5;
    world.until("SELECT count() FROM logs", logs).await;
    world.until("SELECT count() FROM spans WHERE startsWith(service, 'zipkin.')", HOSTILE.len() as u64).await;
    let found =
        world.rows("SELECT service, body FROM logs UNION ALL SELECT service, name FROM spans WHERE startsWith(service, 'zipkin.')").await;
    for row in &found {
        let (receiver, number) = row[0].as_str().unwrap().split_once('.').unwrap();
        let sent = HOSTILE[number.parse::<usize>().unwrap()];
        // Syslog leaves out the mark of UTF-8 that RFC 5424 puts in front of a message.
        let want = if receiver == "syslog" { sent.strip_prefix('\u{feff}').unwrap_or(sent) } else { sent };
        assert_eq!(row[1].as_str().unwrap(), want, "{receiver}: {sent:?}");
    }
    assert_eq!(found.len(), HOSTILE.len() * 6);
    // Values that are too long are cut where the configuration says so, and told.
    let long = "é".repeat(200_000);
    let (status, said) = world.post(LINES, Some(&world.key), &[], json_line("long", now(), &long)).await.unwrap();
    assert_eq!(status, 200, "{said}");
    world
        .until(
            "SELECT count() FROM logs WHERE service = 'long' AND length(body) <= 65536 AND endsWith(body, '...[cut from 400000 bytes]')",
            1,
        )
        .await;
    assert!(world.counter((CUT, &["signal=\"logs\"", "part=\"text\""])).await >= 1.0);
}
