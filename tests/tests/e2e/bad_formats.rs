//! Bad input of Loki, newline JSON, Zipkin, syslog, Fluent and StatsD. Each row is sent to the whole program, and tells the status and
//! the words of the answer, the counter that moves and how far, and how many rows are stored all the same. After each row a good one
//! is sent to the same receiver; in the end every good one is stored once, and nothing else.

#[path = "bad_formats/hostile.rs"]
mod hostile;
#[path = "bad_formats/messages.rs"]
mod messages;
#[path = "bad_formats/requests.rs"]
mod requests;

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

pub(crate) fn snappy(bytes: &[u8]) -> Vec<u8> {
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

pub(crate) fn loki_json(app: &str, time: u64, line: &str) -> Vec<u8> {
    json!({ "streams": [{ "stream": { "app": app }, "values": [[time.to_string(), line]] }] }).to_string().into_bytes()
}

pub(crate) fn json_line(app: &str, time: u64, line: &str) -> Vec<u8> {
    format!("{}\n", json!({ "time": time, "service": app, "msg": line })).into_bytes()
}

pub(crate) fn zipkin_span(app: &str, time: u64, name: &str) -> Vec<u8> {
    let id = format!("{:016x}", rand::random::<u64>().max(1));
    let span = json!({ "traceId": id, "id": id, "name": name, "timestamp": time / 1_000, "localEndpoint": { "serviceName": app } });
    json!([span]).to_string().into_bytes()
}

fn text(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    [vec![0xdb], length.to_be_bytes().to_vec(), text.as_bytes().to_vec()].concat()
}

/// `[tag, [[time, {message, service}]], option]`
pub(crate) fn fluent_message(app: &str, seconds: u32, message: &str, chunk: Option<&str>) -> Vec<u8> {
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
        World::start_with(shared_key, "").await
    }

    /// With sections of the configuration besides.
    async fn start_with(shared_key: Option<&str>, more: &str) -> Self {
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (syslog, fluent, statsd) = (address(), address(), address());
        let shared = shared_key.map(|key| format!(", shared_key: {key}")).unwrap_or_default();
        let config = format!(
            "collector:\n  max_wire_bytes: 1MiB\n  max_decoded_bytes: 2MiB\n  max_text: 64KiB\n  body_timeout: 5s\n  \
             syslog: {{ udp: \"{syslog}\", tcp: \"{syslog}\", max_message: 1KiB, batch_linger: 10ms }}\n  \
             fluent: {{ listen: \"{fluent}\", max_message: 1MiB{shared} }}\n  \
             statsd: {{ udp: \"{statsd}\", tcp: \"{statsd}\", flush: 1s }}\n{more}"
        );
        let mut server = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
        server.start().await;
        let made = server.command(&["keys", "create", "reader", "--permission", "read", "--json"]).output().unwrap();
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let reader = made["key"].as_str().unwrap().to_owned();
        let key = server.make_key().await;
        // A connection each: the server hangs up on a body that it does not want to read.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
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
            LOKI if (*number).is_multiple_of(2) => self.post(LOKI, Some(&self.key), &[JSON], loki_json("good.loki", now(), &line)).await,
            LOKI => self.post(LOKI, Some(&self.key), &[PROTOBUF], loki_protobuf("good.loki", now(), &line)).await,
            LINES => self.post(LINES, Some(&self.key), &[], json_line("good.lines", now(), &line)).await,
            ZIPKIN => self.post(ZIPKIN, Some(&self.key), &[JSON], zipkin_span("good.zipkin", now(), &line)).await,
            "syslog" => {
                let mut stream = TcpStream::connect(self.syslog).await.unwrap();
                stream.write_all(format!("<14>1 - host good.syslog - - - {line}\n").as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                // Once the server hangs up it has counted the message.
                stream.read_to_end(&mut Vec::new()).await.unwrap();
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
                stream.read_to_end(&mut Vec::new()).await.unwrap();
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
