//! Faults under load: what was acknowledged is stored once, what was given up is stored at most once. Senders of every signal send
//! the same bytes until they are acknowledged, as OTLP clients do, or give up now and then, as OTLP clients do too. Meanwhile server
//! and engine are killed, the engine hangs, the log reaches its cap, and a write is torn.

use std::fmt;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest};
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::process::Watchfire;
use crate::send::{attribute, spans};
use crate::wait::wait_for;

/// Records a request.
const RECORDS: u64 = 50;

/// What a sender sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Spans,
    Logs,
    Metrics,
}

/// What became of a sender's records.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    acknowledged: u64,
    given_up: u64,
}

/// Faults that were made, and what was sent meanwhile.
#[derive(Debug, Default)]
pub struct Told {
    kills: usize,
    engine_kills: usize,
    hangs: usize,
    torn: usize,
    refused: u64,
    acknowledged: u64,
    given_up: u64,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records acknowledged and stored once, {} given up and stored at most once, {} requests refused; server killed {} times \
             ({} torn writes), engine killed {} times, hung {} times",
            self.acknowledged, self.given_up, self.refused, self.kills, self.torn, self.engine_kills, self.hangs
        )
    }
}

impl Signal {
    fn path(self) -> &'static str {
        match self {
            Signal::Spans => "/v1/traces",
            Signal::Logs => "/v1/logs",
            Signal::Metrics => "/v1/metrics",
        }
    }
    /// A request whose records are numbered from `first`.
    fn request(self, service: &str, first: u64) -> Vec<u8> {
        let resource = Some(Resource { attributes: vec![attribute("service.name", service)], ..Resource::default() });
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        match self {
            Signal::Spans => spans(service, RECORDS as usize, 5).encode_to_vec(),
            Signal::Logs => {
                let record = |at: u64| LogRecord {
                    time_unix_nano: now,
                    severity_number: 9,
                    body: Some(any(any_value::Value::StringValue(format!("order {at} was taken")))),
                    attributes: vec![attribute("number", &at.to_string())],
                    ..LogRecord::default()
                };
                let log_records = (first..first + RECORDS).map(record).collect();
                let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
                let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
                ExportLogsServiceRequest { resource_logs }.encode_to_vec()
            }
            Signal::Metrics => {
                let point = |at: u64| NumberDataPoint {
                    attributes: vec![attribute("shard", &(at % 10).to_string())],
                    // Points of a series need times of their own.
                    time_unix_nano: now + (at % RECORDS) * 1_000_000,
                    value: Some(number_data_point::Value::AsInt(at as i64)),
                    ..NumberDataPoint::default()
                };
                let data_points = (first..first + RECORDS).map(point).collect();
                let name = format!("crash_{service}");
                let metrics = vec![Metric { name, data: Some(metric::Data::Gauge(Gauge { data_points })), ..Metric::default() }];
                let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
                let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
                ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
            }
        }
    }
    /// Statements that count a sender's rows, and its distinct ones.
    fn counts(self, service: &str) -> [String; 2] {
        match self {
            Signal::Spans => ["count()", "uniqExact(span_id)"].map(|what| format!("SELECT {what} FROM spans WHERE service = '{service}'")),
            Signal::Logs => {
                ["count()", "uniqExact(attributes['number'])"].map(|what| format!("SELECT {what} FROM logs WHERE service = '{service}'"))
            }
            Signal::Metrics => {
                ["count()", "uniqExact(value)"].map(|what| format!("SELECT {what} FROM points WHERE metric = 'crash_{service}'"))
            }
        }
    }
}

fn any(value: any_value::Value) -> opentelemetry_proto::tonic::common::v1::AnyValue {
    opentelemetry_proto::tonic::common::v1::AnyValue { value: Some(value) }
}

/// Sends until told to stop.
async fn sender(signal: Signal, service: String, base: String, seed: u64, stop: Arc<AtomicBool>, refused: Arc<AtomicU64>) -> Sent {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    let (mut rng, mut sent, mut next) = (StdRng::seed_from_u64(seed), Sent::default(), 0);
    while !stop.load(Ordering::SeqCst) {
        let body = signal.request(&service, next);
        next += RECORDS;
        // The same bytes again until there is an answer: a lost answer must not store them twice.
        let acknowledged = loop {
            let request = client.post(format!("{base}{}", signal.path())).header("content-type", "application/x-protobuf");
            match request.body(body.clone()).send().await.ok().map(|answer| answer.status().as_u16()) {
                Some(200) => break true,
                Some(status) if status != 429 && status < 500 => panic!("{service}: refused with {status}"),
                Some(_) => {
                    refused.fetch_add(1, Ordering::SeqCst);
                }
                None => {}
            }
            if rng.random_bool(0.02) {
                break false;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        };
        if acknowledged {
            sent.acknowledged += RECORDS;
        } else {
            sent.given_up += RECORDS;
        }
    }
    sent
}

fn engine_of(server: u32) -> Option<u32> {
    let output = Command::new("ps").args(["-o", "pid=", "--ppid", &server.to_string()]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.split_whitespace().next()?.parse().ok()
}

fn signal(pid: u32, name: &str) {
    Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
}

/// Appends the beginning of a record that was never acknowledged to the newest segment.
fn tear(world: &Watchfire, rng: &mut StdRng) -> bool {
    let folder = world.data().join("wal").join("segments");
    let mut segments: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    segments.sort();
    let Some(newest) = segments.pop() else { return false };
    let mut torn: Vec<u8> = b"WFR2".to_vec();
    torn.extend((0..rng.random_range(1..5_000)).map(|_| rng.random::<u8>()));
    std::fs::OpenOptions::new().append(true).open(newest).unwrap().write_all(&torn).unwrap();
    true
}

/// Runs `rounds` random faults and checks the sums. Panics where anything acknowledged is missing or anything is stored twice.
pub async fn rounds(executable: &str, rounds: usize, seed: u64) -> Told {
    // A small log with small segments: they are written over one another often, and a hung engine fills it within seconds.
    let config = "storage:\n  wal: { max_bytes: 2MiB, segment_bytes: 256KiB, batch_linger: 200ms }\n";
    let mut world = Watchfire::prepare(executable, config, &[]);
    world.start().await;
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let base = format!("http://{}", world.otlp_http);
    let kinds = [Signal::Spans, Signal::Logs, Signal::Metrics, Signal::Spans];
    let named: Vec<(Signal, String)> = kinds.into_iter().enumerate().map(|(at, kind)| (kind, format!("s{at}"))).collect();
    let start = |(at, (kind, service)): (usize, &(Signal, String))| {
        tokio::spawn(sender(*kind, service.clone(), base.clone(), seed + at as u64, stop.clone(), refused.clone()))
    };
    let senders: Vec<_> = named.iter().enumerate().map(start).collect();
    let (mut rng, mut told) = (StdRng::seed_from_u64(seed), Told::default());
    for round in 0..rounds {
        // The moment of the fault is what is random here; nothing is waited for.
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..2_000))).await;
        match (round % 3, engine_of(world.pid())) {
            (1, Some(engine)) if rng.random_bool(0.5) => {
                signal(engine, "-9");
                told.engine_kills += 1;
                world.ready().await;
            }
            (1, Some(engine)) => {
                signal(engine, "-STOP");
                tokio::time::sleep(Duration::from_millis(rng.random_range(200..6_000))).await;
                signal(engine, "-CONT");
                told.hangs += 1;
            }
            _ => {
                world.kill();
                told.kills += 1;
                told.torn += usize::from(rng.random_bool(0.5) && tear(&world, &mut rng));
                world.start().await;
            }
        }
    }
    stop.store(true, Ordering::SeqCst);
    for ((kind, service), sender) in named.iter().zip(senders) {
        let sent = sender.await.unwrap();
        check(&world, *kind, service, sent).await;
        told.acknowledged += sent.acknowledged;
        told.given_up += sent.given_up;
    }
    told.refused = refused.load(Ordering::SeqCst);
    told
}

async fn check(world: &Watchfire, kind: Signal, service: &str, sent: Sent) {
    let [rows, distinct] = kind.counts(service);
    let what = format!("{} records of {service} to be stored", sent.acknowledged);
    wait_for(&what, async || (world.count(&rows).await >= sent.acknowledged).then_some(())).await;
    wait_for("the log to be empty", async || {
        let metrics = world.text("/metrics").await;
        metrics.lines().any(|line| line == "watchfire_wal_blocks 0").then_some(())
    })
    .await;
    let (rows, distinct) = (world.count(&rows).await, world.count(&distinct).await);
    assert_eq!(rows, distinct, "{service}: rows stored twice");
    assert!(rows >= sent.acknowledged && rows <= sent.acknowledged + sent.given_up, "{service}: {rows} rows of {sent:?}");
    if kind == Signal::Spans {
        // The RED series are as durable and as exact as the spans they count.
        let calls = world.count(&format!("SELECT toUInt64(sum(p.value)) FROM points AS p INNER JOIN (SELECT DISTINCT fingerprint FROM series WHERE metric = 'traces_span_metrics_calls_total' AND labels['service_name'] = '{service}') AS s ON p.fingerprint = s.fingerprint WHERE p.metric = 'traces_span_metrics_calls_total'")).await;
        assert_eq!(calls, rows, "calls of {service}");
    }
}
