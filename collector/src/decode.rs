//! Decoding: bytes in, rows out, one module per format. A builder takes the records as they are read. JSON is held whole while
//! it is read, so its size in memory is estimated first: a small body of countless empty objects cannot take all memory. Fails:
//! malformed bytes, with what the decoder had to say.

pub(crate) mod json;
pub(crate) mod protobuf;
pub(crate) mod remote_write;
mod surrogates;
mod weight;

use std::borrow::Cow;

use bytes::Bytes;

use crate::admission::{Full, Reservation};
use crate::failure::Failure;
use crate::rows::Builder;
use crate::sentry;
use crate::{fluent, loki, ndjson, syslog, zipkin};
use model::sink::RequestHash;
use remote_write::Version;
use weight::{weight, weight_of_maps};

/// The signals that OTLP requests carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Spans.
    Traces,
    /// Metric points.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// The value of the metric label `signal`, and the last part of the HTTP path.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }
    /// The protocol name that request hashes are made with.
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Signal::Traces => "otlp/traces",
            Signal::Metrics => "otlp/metrics",
            Signal::Logs => "otlp/logs",
        }
    }
    /// What its records are called.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Signal::Traces => "spans",
            Signal::Metrics => "data points",
            Signal::Logs => "log records",
        }
    }
}

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Protobuf.
    Protobuf,
    /// OTLP's JSON.
    Json,
}

/// A body that is not what it says it is, or that there is no room for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Not the protobuf message of this path.
    #[error("the body is not the protobuf message of this path: {0}")]
    Protobuf(#[from] protobuf::WireError),
    /// Not the JSON of this path.
    #[error("the body is not the JSON of this path: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON is UTF-8, also where nobody looks.
    #[error("the body is not UTF-8: {0}")]
    Utf8(#[from] std::str::Utf8Error),
    /// A histogram whose buckets alone would take the memory.
    #[error("a histogram has more than {} buckets", protobuf::MAX_BUCKETS)]
    TooManyBuckets,
    /// Labels of a Loki stream that are none.
    #[error(transparent)]
    LokiLabels(loki::LabelError),
    /// Bytes of a Fluent message that are no MessagePack.
    #[error(transparent)]
    Fluent(fluent::msgpack::Broken),
    /// Not an envelope of Sentry's, or not its items.
    #[error(transparent)]
    Sentry(sentry::Broken),
    /// The rows take more memory than there is.
    #[error("no memory left")]
    Full(Full),
}

impl From<Full> for DecodeError {
    fn from(full: Full) -> Self {
        DecodeError::Full(full)
    }
}

/// What a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// OTLP's Export requests.
    Otlp(Signal, Format),
    /// Loki's push.
    Loki(Format),
    /// A JSON value a line.
    Ndjson,
    /// A batch of syslog messages; senders that name no zone are so many seconds east of UTC.
    Syslog(i32),
    /// Messages of Fluent's forward protocol; those that ask for an acknowledgement are sent again without one.
    Fluent {
        /// Whether this one asks.
        resends: bool,
    },
    /// Zipkin v2.
    Zipkin,
    /// What Sentry's SDKs send, for a project of this number.
    Sentry(sentry::Endpoint, u64),
    /// Prometheus remote write.
    RemoteWrite(Version),
    /// What StatsD's samples have added up to, as OTLP's request in protobuf: when it was flushed in nanoseconds, and the flush's number since
    /// the start.
    Statsd(i64, u64),
}

impl Protocol {
    /// The value of the metric label `signal`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Protocol::Otlp(signal, _) => signal.label(),
            Protocol::Loki(_) | Protocol::Ndjson | Protocol::Syslog(_) | Protocol::Fluent { .. } => Signal::Logs.label(),
            Protocol::Zipkin => Signal::Traces.label(),
            Protocol::Sentry(endpoint, _) => endpoint.label(),
            Protocol::RemoteWrite(_) | Protocol::Statsd(..) => "metrics",
        }
    }
    /// What its records are called.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Protocol::Otlp(signal, _) => signal.noun(),
            Protocol::Loki(_) | Protocol::Ndjson | Protocol::Syslog(_) | Protocol::Fluent { .. } => Signal::Logs.noun(),
            Protocol::Zipkin => Signal::Traces.noun(),
            Protocol::Sentry(..) => "items",
            Protocol::RemoteWrite(_) => "samples",
            Protocol::Statsd(..) => Signal::Metrics.noun(),
        }
    }
    /// The hash by which a request that is sent again is known; `None` where senders do not.
    pub(crate) fn request(self, body: &[u8]) -> Option<RequestHash> {
        let name = match self {
            Protocol::Otlp(signal, _) => signal.protocol(),
            Protocol::Loki(_) => "loki",
            Protocol::Fluent { resends: true } => "fluent",
            Protocol::Zipkin => "zipkin",
            Protocol::RemoteWrite(Version::V1) => "remote_write/v1",
            Protocol::RemoteWrite(Version::V2) => "remote_write/v2",
            Protocol::Ndjson | Protocol::Syslog(_) | Protocol::Fluent { resends: false } => return None,
            Protocol::Sentry(endpoint, project) => return sentry::request_hash(endpoint, project, body),
            // Two flushes may hold the same samples: only the same flush is the same request.
            Protocol::Statsd(flushed, number) => &format!("statsd/{flushed}/{number}"),
        };
        Some(RequestHash::of(name, body))
    }
    /// How much memory reading takes beside the rows: formats that are held whole while they are read, in bytes.
    pub(crate) fn weight(self, body: &[u8]) -> u64 {
        match self {
            Protocol::Otlp(_, Format::Protobuf) | Protocol::RemoteWrite(_) | Protocol::Statsd(..) => 0,
            Protocol::Otlp(_, Format::Json) => weight(body),
            // One record of these is in memory at a time.
            Protocol::Loki(_) | Protocol::Ndjson | Protocol::Syslog(_) | Protocol::Fluent { .. } | Protocol::Zipkin => 0,
            Protocol::Sentry(..) => weight_of_maps(body),
        }
    }
    /// Inflates what the format itself compresses, at most `limit` bytes.
    pub(crate) fn unpack(self, body: Bytes, limit: u64, reservation: &mut Reservation) -> Result<Bytes, Failure> {
        match self {
            Protocol::Fluent { .. } => fluent::unpack(body, limit, reservation),
            Protocol::Otlp(..)
            | Protocol::Sentry(..)
            | Protocol::RemoteWrite(_)
            | Protocol::Loki(_)
            | Protocol::Ndjson
            | Protocol::Syslog(_)
            | Protocol::Statsd(..)
            | Protocol::Zipkin => Ok(body),
        }
    }
    /// The body in a form that can be read: JSON without halves of surrogate pairs.
    pub(crate) fn mend(self, body: Bytes, reservation: &mut Reservation) -> Result<Bytes, Full> {
        match self {
            Protocol::Otlp(_, Format::Json) | Protocol::Loki(Format::Json) | Protocol::Ndjson | Protocol::Zipkin | Protocol::Sentry(..) => {
                match surrogates::mend(&body) {
                    Cow::Borrowed(_) => Ok(body),
                    Cow::Owned(mended) => {
                        reservation.try_grow(mended.len() as u64)?;
                        Ok(mended.into())
                    }
                }
            }
            Protocol::Otlp(_, Format::Protobuf)
            | Protocol::Loki(Format::Protobuf)
            | Protocol::Syslog(_)
            | Protocol::Fluent { .. }
            | Protocol::RemoteWrite(_)
            | Protocol::Statsd(..) => Ok(body),
        }
    }
    /// Reads a body into the builder's rows.
    pub(crate) fn read<'a>(self, body: &'a [u8], bounds: protobuf::Bounds, to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
        match self {
            Protocol::Otlp(Signal::Traces, Format::Protobuf) => protobuf::traces(body, bounds, to),
            Protocol::Otlp(Signal::Metrics, Format::Protobuf) | Protocol::Statsd(..) => protobuf::metrics(body, bounds, to),
            Protocol::Otlp(Signal::Logs, Format::Protobuf) => protobuf::logs(body, bounds, to),
            Protocol::Otlp(Signal::Traces, Format::Json) => json::traces(body, to),
            Protocol::Otlp(Signal::Metrics, Format::Json) => json::metrics(body, to),
            Protocol::Otlp(Signal::Logs, Format::Json) => json::logs(body, to),
            Protocol::Loki(format) => loki::read(format, body, to),
            Protocol::Ndjson => ndjson::read(body, to),
            Protocol::Syslog(offset) => syslog::read(offset, body, to),
            Protocol::Fluent { .. } => fluent::read(body, to),
            Protocol::Zipkin => zipkin::read(body, to),
            Protocol::Sentry(endpoint, project) => sentry::read(endpoint, project, body, to),
            Protocol::RemoteWrite(Version::V1) => remote_write::v1(body, to),
            Protocol::RemoteWrite(Version::V2) => remote_write::v2(body, to),
        }
    }
}
