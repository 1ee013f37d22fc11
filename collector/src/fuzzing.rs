//! A door for the fuzz targets in `fuzz/`: bodies in, blocks out, by the very functions that the receivers call between the socket
//! and the log. Checks on the way what must hold whatever comes: memory that was reserved is given back, a refusal is one line.
//! Compiled with the feature `fuzzing` and for tests only. Panics: where something does not hold.

mod processing;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use model::columns::TableBlock;
use model::sink::{Appended, Batch, Refusal, TelemetrySink};
use model::tenant::TenantId;
use model::time::{SimulatedClock, Timestamp};
use model::units::ByteCount;
use prometheus::Registry;
use prost::Message;

use crate::decode::remote_write::Version;
use crate::decode::{Format, Protocol, Signal};
use crate::fluent::msgpack::Scan;
use crate::inflate::{Encoding, inflate};
use crate::intake::{Payload, prepare};
use crate::rows::Built;
use crate::sentry::Endpoint;
use crate::statsd::aggregate::Aggregator;
use crate::statsd::line::parse;
use crate::syslog::framing::Framer;
use crate::{Collector, Config, StatsdConfig, fluent, scrape, syslog};

pub use processing::Redaction;

/// When all bodies arrive: 2026-03-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_nanos(1_772_323_200_000_000_000);

/// Longest message of syslog and of Fluent.
const SYSLOG_MESSAGE: usize = 1 << 10;
const FLUENT_MESSAGE: usize = 64 << 10;

/// What a body is.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the names say it
pub enum Body {
    OtlpTraces,
    OtlpMetrics,
    OtlpLogs,
    OtlpTracesJson,
    OtlpMetricsJson,
    OtlpLogsJson,
    RemoteWriteV1,
    RemoteWriteV2,
    SentryEnvelope,
    SentryStore,
    LokiProtobuf,
    LokiJson,
    Ndjson,
    Zipkin,
}

impl Body {
    fn protocol(self) -> Protocol {
        match self {
            Body::OtlpTraces => Protocol::Otlp(Signal::Traces, Format::Protobuf),
            Body::OtlpMetrics => Protocol::Otlp(Signal::Metrics, Format::Protobuf),
            Body::OtlpLogs => Protocol::Otlp(Signal::Logs, Format::Protobuf),
            Body::OtlpTracesJson => Protocol::Otlp(Signal::Traces, Format::Json),
            Body::OtlpMetricsJson => Protocol::Otlp(Signal::Metrics, Format::Json),
            Body::OtlpLogsJson => Protocol::Otlp(Signal::Logs, Format::Json),
            Body::RemoteWriteV1 => Protocol::RemoteWrite(Version::V1),
            Body::RemoteWriteV2 => Protocol::RemoteWrite(Version::V2),
            Body::SentryEnvelope => Protocol::Sentry(Endpoint::Envelope, 1),
            Body::SentryStore => Protocol::Sentry(Endpoint::Store, 1),
            Body::LokiProtobuf => Protocol::Loki(Format::Protobuf),
            Body::LokiJson => Protocol::Loki(Format::Json),
            Body::Ndjson => Protocol::Ndjson,
            Body::Zipkin => Protocol::Zipkin,
        }
    }
}

/// How a body is compressed.
const ENCODINGS: [Encoding; 6] =
    [Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Zstd, Encoding::Brotli, Encoding::Snappy];

struct Nowhere;

#[async_trait]
impl TelemetrySink for Nowhere {
    async fn append(&self, _: Batch) -> Result<Appended, Refusal> {
        Ok(Appended::Durable)
    }
}

/// An intake with small limits, whose memories are new.
pub struct Door {
    collector: Collector,
    tenant: TenantId,
}

impl Default for Door {
    fn default() -> Self {
        let config = Config {
            max_wire_bytes: ByteCount(1 << 20),
            max_decoded_bytes: ByteCount(2 << 20),
            max_request_memory: ByteCount(16 << 20),
            series_cache: 1_000,
            red_span_names: 4,
            red_services: 2,
            ..Config::default()
        };
        let collector = Collector::new(config, Arc::new(Nowhere), Arc::new(SimulatedClock::new(NOW)), &Registry::new());
        Door { collector: collector.unwrap_or_else(|error| panic!("{error}")), tenant: TenantId::default() }
    }
}

impl Door {
    /// The rows of a body, or the sentence of its refusal.
    pub fn rows(&self, body: Body, bytes: &[u8]) -> Result<Vec<TableBlock>, String> {
        self.read(body.protocol(), Bytes::copy_from_slice(bytes))
    }

    fn read(&self, protocol: Protocol, body: Bytes) -> Result<Vec<TableBlock>, String> {
        let payload = Payload { protocol, encoding: Encoding::Identity, body };
        let inner = &self.collector.inner;
        let pipeline = inner.pipeline.get();
        let prepared = prepare(&inner.config, payload, inner.arrival(&self.tenant, NOW, &pipeline), self.collector.aside());
        let rows = prepared.map(|prepared| prepared.built).map_err(|failure| failure.to_string());
        self.settle(rows)
    }

    /// The rows of the messages on a connection of syslog, which come in two pieces; `piece` is the length of the first.
    pub fn syslog(&self, piece: usize, bytes: &[u8]) -> Result<Vec<TableBlock>, String> {
        let (mut framer, mut batch) = (Framer::new(SYSLOG_MESSAGE), BytesMut::new());
        let mut each = |message: &[u8], _| {
            assert!(message.len() <= SYSLOG_MESSAGE, "no message is longer than allowed");
            syslog::append(&mut batch, NOW, IpAddr::V4(Ipv4Addr::LOCALHOST), message);
        };
        let (first, second) = bytes.split_at(piece.min(bytes.len()));
        if framer.push(first, &mut each).and_then(|()| framer.push(second, &mut each)).is_ok() {
            framer.finish(&mut each);
        }
        self.read(Protocol::Syslog(3_600), batch.freeze())
    }

    /// The rows of each message on a connection of Fluent's.
    pub fn fluent(&self, bytes: &[u8]) -> Vec<Result<Vec<TableBlock>, String>> {
        let (mut rest, mut rows) = (Bytes::copy_from_slice(bytes), Vec::new());
        while let Ok(Some(length)) = Scan::new(FLUENT_MESSAGE).end(&rest) {
            assert!(length > 0 && length <= rest.len(), "a message is a part of what has come");
            let message = rest.split_to(length);
            let about = fluent::envelope(&message).unwrap_or_default();
            rows.push(self.read(Protocol::Fluent { resends: about.chunk.is_some() }, message));
        }
        rows
    }

    /// The rows of two flushes of StatsD, with the lines before each.
    pub fn statsd(&self, lines: &[u8]) -> Vec<Result<Vec<TableBlock>, String>> {
        let config = StatsdConfig { max_series: 64, ..StatsdConfig::default() };
        let mut sums = Aggregator::new(config, NOW);
        let mut flush = |at: Timestamp| {
            for sample in lines.split(|byte| *byte == b'\n').filter_map(|line| parse(line).ok()) {
                sums.add(&sample, at, |_| {});
                assert!(sums.len() <= 64, "the series are bounded");
            }
            let request = sums.flush(at.plus(Duration::from_secs(1)), usize::MAX).pop()?.request;
            Some(self.read(Protocol::Otlp(Signal::Metrics, Format::Protobuf), request.encode_to_vec().into()))
        };
        [NOW, NOW.plus(Duration::from_secs(10))].into_iter().filter_map(&mut flush).collect()
    }

    /// The rows of a text that is scraped twice, and then is empty.
    pub fn scraped(&self, open_metrics: bool, text: &str) -> Vec<Result<Vec<TableBlock>, String>> {
        let pipeline = self.collector.inner.pipeline.get();
        let arrival = self.collector.inner.arrival(&self.tenant, NOW, &pipeline);
        let texts = [text, text, if open_metrics { "# EOF\n" } else { "" }];
        scrape::door::scrapes(&texts, open_metrics, arrival).into_iter().map(|built| self.settle(built)).collect()
    }

    /// Inflates with a limit, which must hold; `encoding` is the number of one.
    pub fn inflated(&self, encoding: u8, wire: &[u8], limit: usize) -> Option<Vec<u8>> {
        let encoding = ENCODINGS[usize::from(encoding) % ENCODINGS.len()];
        let mut reservation = self.collector.aside();
        let body = inflate(encoding, wire, limit as u64, &mut reservation).ok();
        assert!(body.as_ref().is_none_or(|body| body.len() <= limit), "the limit holds");
        let beginning = crate::inflate::beginning(encoding, wire, limit);
        assert!(beginning.len() <= limit, "the limit holds for the beginning too");
        if let Some(body) = &body
            && encoding != Encoding::Snappy
        {
            assert!(body.starts_with(&beginning), "the beginning is that of the body");
        }
        drop(reservation);
        self.settled();
        body
    }

    fn settle(&self, built: Result<Built, String>) -> Result<Vec<TableBlock>, String> {
        self.settled();
        let built = built.inspect_err(|sentence| assert!(!sentence.contains('\n'), "a refusal is one line: {sentence}"))?;
        for block in &built.blocks {
            block.check().unwrap_or_else(|error| panic!("{error}"));
        }
        self.collector.inner.targets.remember(&built.targets);
        let series = self.collector.inner.series.remember(&built.series);
        assert!(series <= self.collector.inner.config.series_cache, "the memory of series is bounded");
        Ok(built.blocks)
    }

    fn settled(&self) {
        assert_eq!(self.collector.inner.meters.in_flight.get(), 0, "memory that was reserved is given back");
    }
}
