//! The sender: some requests under way at the same time, each as cheap as it can be: bytes in, status out. Counts what was
//! acknowledged, refused and failed, and how long each acknowledgement took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::{Buf, BufMut, Bytes};
use indicatif::ProgressBar;
use model::secret::Secret;
use model::time::{Clock, Stopwatch, SystemClock};
use tokio::task::JoinSet;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::bodies::Bodies;
use super::{LoadCommand, Protocol, Signal};

/// Where the requests go.
#[derive(Clone)]
pub enum Target {
    /// OTLP/gRPC.
    Grpc {
        /// The address.
        endpoint: Box<Endpoint>,
        /// The method's path.
        path: http::uri::PathAndQuery,
        /// `authorization`.
        key: Option<MetadataValue<Ascii>>,
    },
    /// OTLP/HTTP.
    Http {
        /// The whole URL.
        url: String,
        /// The key.
        key: Option<String>,
    },
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Records that the server answered for.
    pub acknowledged: u64,
    /// Requests that it refused, to be sent again later.
    pub refused: u64,
    /// Requests that failed otherwise.
    pub failed: u64,
    /// The last failure.
    pub failure: Option<String>,
    /// Microseconds from sending to the acknowledgement, sorted.
    pub latencies: Vec<u32>,
    /// Requests that were due before they could be sent, where a rate is given.
    pub late: u64,
}

enum Outcome {
    Acknowledged,
    Refused,
    Failed(String),
}

impl Target {
    /// As the command says.
    pub fn new(command: &LoadCommand, key: Option<&Secret>) -> anyhow::Result<Self> {
        let path = match (command.protocol, command.signal) {
            (Protocol::Grpc, Signal::Spans) => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            (Protocol::Grpc, Signal::Logs) => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            (Protocol::Grpc, Signal::Metrics) => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            (Protocol::Http, Signal::Spans) => "/v1/traces",
            (Protocol::Http, Signal::Logs) => "/v1/logs",
            (Protocol::Http, Signal::Metrics) => "/v1/metrics",
        };
        let key = key.map(|key| format!("Bearer {}", key.reveal()));
        match command.protocol {
            Protocol::Grpc => {
                let address = command.target.clone().unwrap_or_else(|| "http://127.0.0.1:4317".to_owned());
                let endpoint = Endpoint::from_shared(address.clone()).with_context(|| format!("--target {address} is no URL"))?;
                let key = key.map(|key| key.parse()).transpose().context("the key cannot be sent as a header")?;
                Ok(Target::Grpc { endpoint: Box::new(endpoint), path: http::uri::PathAndQuery::from_static(path), key })
            }
            Protocol::Http => {
                let address = command.target.clone().unwrap_or_else(|| "http://127.0.0.1:4318".to_owned());
                Ok(Target::Http { url: format!("{}{path}", address.trim_end_matches('/')), key })
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        match self {
            Target::Grpc { endpoint, path, key } => {
                let channel = endpoint.connect().await.context("the OTLP/gRPC address does not answer")?;
                Ok(Connection::Grpc { client: tonic::client::Grpc::new(channel), path: path.clone(), key: key.clone() })
            }
            Target::Http { url, key } => {
                let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().context("preparing the HTTP client")?;
                Ok(Connection::Http { client, url: url.clone(), key: key.clone() })
            }
        }
    }
}

enum Connection {
    Grpc { client: tonic::client::Grpc<Channel>, path: http::uri::PathAndQuery, key: Option<MetadataValue<Ascii>> },
    Http { client: reqwest::Client, url: String, key: Option<String> },
}

impl Connection {
    async fn export(&mut self, body: Bytes) -> Outcome {
        match self {
            Connection::Grpc { client, path, key } => {
                if let Err(error) = client.ready().await {
                    return Outcome::Failed(error.to_string());
                }
                let mut request = Request::new(body);
                if let Some(key) = key {
                    request.metadata_mut().insert("authorization", key.clone());
                }
                match client.unary(request, path.clone(), Raw).await {
                    Ok(_) => Outcome::Acknowledged,
                    Err(status) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => Outcome::Refused,
                    Err(status) => Outcome::Failed(status.message().to_owned()),
                }
            }
            Connection::Http { client, url, key } => {
                let mut request = client.post(url.as_str()).header("content-type", "application/x-protobuf").body(body);
                if let Some(key) = key {
                    request = request.header("authorization", key.as_str());
                }
                match request.send().await {
                    Ok(answer) if answer.status().is_success() => match answer.bytes().await {
                        Ok(_) => Outcome::Acknowledged,
                        Err(error) => Outcome::Failed(error.to_string()),
                    },
                    Ok(answer) if matches!(answer.status().as_u16(), 429 | 502..=504) => Outcome::Refused,
                    Ok(answer) => Outcome::Failed(format!("HTTP {}", answer.status())),
                    Err(error) => Outcome::Failed(error.to_string()),
                }
            }
        }
    }
}

/// Sends for as long as the command says.
pub async fn send(command: &LoadCommand, target: &Target, bodies: &Arc<Bodies>, bar: &ProgressBar) -> anyhow::Result<Sent> {
    let (next, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (watch, length) = (Stopwatch::start(), command.duration.0);
    // Time between two requests, where a rate is given.
    let interval = command.rate.map(|rate| bodies.records as f64 / rate as f64);
    let mut tasks = JoinSet::new();
    for _ in 0..command.concurrency {
        let mut connection = target.connect().await?;
        let (bodies, next, acknowledged) = (Arc::clone(bodies), Arc::clone(&next), Arc::clone(&acknowledged));
        tasks.spawn(async move {
            let mut sent = Sent::default();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let due = interval.map_or(Duration::ZERO, |interval| Duration::from_secs_f64(interval * at as f64));
                let wait = due.saturating_sub(watch.elapsed());
                if watch.elapsed() + wait >= length {
                    return sent;
                }
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                } else if interval.is_some() && watch.elapsed() > due + Duration::from_millis(5) {
                    sent.late += 1;
                }
                let body = bodies.request(at, SystemClock.now().nanos() as u64);
                let one = Stopwatch::start();
                match connection.export(body).await {
                    Outcome::Acknowledged => {
                        sent.acknowledged += bodies.records as u64;
                        acknowledged.fetch_add(bodies.records as u64, Ordering::Relaxed);
                        sent.latencies.push(u32::try_from(one.elapsed().as_micros()).unwrap_or(u32::MAX));
                    }
                    Outcome::Refused => {
                        sent.refused += 1;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    Outcome::Failed(why) => {
                        sent.failed += 1;
                        sent.failure = Some(why);
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
    }
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut all = Sent::default();
    while !tasks.is_empty() {
        tokio::select! {
            joined = tasks.join_next() => {
                if let Some(joined) = joined {
                    all.join(joined.context("a sender stopped because of a defect")?);
                }
            }
            _ = tick.tick() => {
                bar.set_position(watch.elapsed().as_millis() as u64);
                let rate = acknowledged.load(Ordering::Relaxed) as f64 / watch.elapsed().as_secs_f64().max(0.001);
                bar.set_message(format!("{rate:.0} records/s acknowledged"));
            }
        }
    }
    all.latencies.sort_unstable();
    Ok(all)
}

impl Sent {
    fn join(&mut self, other: Sent) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.failed += other.failed;
        self.failure = other.failure.or(self.failure.take());
        self.latencies.extend(other.latencies);
        self.late += other.late;
    }
    /// The latency that a share of the acknowledgements did not pass, in milliseconds.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let at = ((self.latencies.len() as f64 * share).ceil() as usize).max(1) - 1;
        self.latencies.get(at).map(|micros| f64::from(*micros) / 1e3)
    }
}

/// Messages that are bytes already.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;
    fn encoder(&mut self) -> Raw {
        Raw
    }
    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}
