//! A door for the fuzz targets in `fuzz/`: bodies in, blocks out, by the very functions that the receivers call between the socket
//! and the log. Checks on the way what must hold whatever comes: memory that was reserved is given back, a refusal is one line.
//! Compiled with the feature `fuzzing` only. Panics: where something does not hold.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::columns::TableBlock;
use model::sink::{Appended, Batch, Refusal, TelemetrySink};
use model::tenant::TenantId;
use model::time::{SimulatedClock, Timestamp};
use model::units::ByteCount;
use prometheus::Registry;

use crate::decode::remote_write::Version;
use crate::decode::{Format, Protocol, Signal};
use crate::inflate::{Encoding, inflate};
use crate::intake::{Payload, prepare};
use crate::rows::Built;
use crate::sentry::Endpoint;
use crate::{Collector, Config, scrape};

/// When all bodies arrive: 2026-03-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_nanos(1_772_323_200_000_000_000);

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
        let payload = Payload { protocol: body.protocol(), encoding: Encoding::Identity, body: Bytes::copy_from_slice(bytes) };
        let inner = &self.collector.inner;
        let prepared = prepare(&inner.config, payload, inner.arrival(&self.tenant, NOW), self.collector.aside());
        let rows = prepared.map(|prepared| prepared.built).map_err(|failure| failure.to_string());
        self.settle(rows)
    }

    /// The rows of a text that is scraped twice, and then is empty.
    pub fn scraped(&self, open_metrics: bool, text: &str) -> Vec<Result<Vec<TableBlock>, String>> {
        let arrival = self.collector.inner.arrival(&self.tenant, NOW);
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
