//! Decoding: one function per signal, bytes in, OTLP messages out, for protobuf and JSON. Before anything is decoded its size
//! in memory is estimated, so that a small body of countless empty messages cannot take all memory. Fails: malformed bytes,
//! with what the decoder had to say.

pub(crate) mod json;
mod weight;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

pub(crate) use weight::weight;

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

/// A body that is not what it says it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Not the protobuf message of this signal.
    #[error("the body is not the protobuf message of this path: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// Not the JSON of this signal.
    #[error("the body is not the JSON of this path: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON is UTF-8, also where nobody looks.
    #[error("the body is not UTF-8: {0}")]
    Utf8(#[from] std::str::Utf8Error),
}

fn json<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    Ok(serde_json::from_str(std::str::from_utf8(body)?)?)
}

/// A traces request.
pub(crate) fn traces(format: Format, body: &[u8]) -> Result<ExportTraceServiceRequest, DecodeError> {
    Ok(match format {
        Format::Protobuf => ExportTraceServiceRequest::decode(body)?,
        Format::Json => json::<json::TracesRequest>(body)?.into(),
    })
}

/// A metrics request.
pub(crate) fn metrics(format: Format, body: &[u8]) -> Result<ExportMetricsServiceRequest, DecodeError> {
    Ok(match format {
        Format::Protobuf => ExportMetricsServiceRequest::decode(body)?,
        Format::Json => json::<json::MetricsRequest>(body)?.into(),
    })
}

/// A logs request.
pub(crate) fn logs(format: Format, body: &[u8]) -> Result<ExportLogsServiceRequest, DecodeError> {
    Ok(match format {
        Format::Protobuf => ExportLogsServiceRequest::decode(body)?,
        Format::Json => json::<json::LogsRequest>(body)?.into(),
    })
}
