//! Failures of a request and what each means on the wire: one sentence, an HTTP status, a gRPC code, and for those that may
//! be sent again the time to wait. The only place that maps errors to statuses.

use std::time::Duration;

use http::StatusCode;
use model::access::Forbidden;
use model::sink::Refusal;
use model::units::ByteCount;
use tonic::Code;

use crate::admission::Full;
use crate::decode::DecodeError;
use crate::pipeline::rates::Over;

/// Where a size limit was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// As received.
    Wire,
    /// After decompression.
    Inflated,
}

/// Why a request is not accepted. Nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No principal came with it: the access layer is missing or let nobody in.
    #[error("no key: send `Authorization: Bearer <key>`; create one with `watchfire keys create --permission ingest`")]
    Unauthenticated,
    /// The key may not send telemetry.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// Neither protobuf nor JSON.
    #[error("content type `{0}` is not supported: send application/x-protobuf or application/json")]
    ContentType(String),
    /// Another compression around Loki's protobuf, which is snappy in itself.
    #[error("content encoding: protobuf is packed with snappy, and with nothing around it")]
    AroundSnappy,
    /// Not JSON, where nothing else is taken.
    #[error("content type `{0}` is not supported: send application/json")]
    NotJson(String),
    /// None that is known.
    #[error("content encoding `{0}` is not supported: send gzip, zstd, deflate, br or no compression")]
    ContentEncoding(String),
    /// Not a message of remote write.
    #[error(
        "content type `{0}` is not supported: send application/x-protobuf, with proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request"
    )]
    RemoteWriteType(String),
    /// Remote write is snappy and nothing else.
    #[error("content encoding `{0}` is not supported: send snappy")]
    RemoteWriteEncoding(String),
    /// Larger than configured.
    #[error("{}", too_large(*.0, *.1))]
    TooLarge(Stage, u64),
    /// Its messages alone would take more memory than all requests may.
    #[error("the messages of the body would take about {} of memory, more than collector.max_request_memory ({}): send smaller batches", mib(*.0), ByteCount(*.1))]
    TooHeavy(u64, u64),
    /// The body did not arrive in time.
    #[error("the body did not arrive within {0:?} (collector.body_timeout)")]
    Slow(Duration),
    /// The connection broke.
    #[error("the body could not be read: {0}")]
    Body(String),
    /// The gRPC frame around the message is wrong.
    #[error("the gRPC frame is malformed: {0}")]
    Frame(&'static str),
    /// The body is no complete stream of its encoding.
    #[error("the body is not a complete {0} stream: {1}")]
    Compression(&'static str, String),
    /// The body is not the message of the path.
    #[error(transparent)]
    Decode(DecodeError),
    /// No room within the hold time.
    #[error("{}", match .0 {
        Full::Requests => "too many requests are in flight (collector.concurrent_requests); send again later",
        Full::Memory | Full::Alone { .. } => "the requests in flight take all memory that they may (collector.max_request_memory); send again later",
    })]
    Full(Full),
    /// The tenant sends more than it may.
    #[error("{}", rate_limited(.0))]
    RateLimited(Over),
    /// The log refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A defect on our side.
    #[error("the request could not be processed because of a defect in Watchfire; it is logged")]
    Internal,
}

impl From<Full> for Failure {
    fn from(full: Full) -> Self {
        match full {
            Full::Alone { taken, limit } => Failure::TooHeavy(taken, limit),
            Full::Requests | Full::Memory => Failure::Full(full),
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Full(full) => full.into(),
            DecodeError::Protobuf(_)
            | DecodeError::Json(_)
            | DecodeError::Utf8(_)
            | DecodeError::TooManyBuckets
            | DecodeError::Sentry(_)
            | DecodeError::LokiLabels(_)
            | DecodeError::Fluent(_) => Failure::Decode(error),
        }
    }
}

fn too_large(stage: Stage, limit: u64) -> String {
    let (what, key) = match stage {
        Stage::Wire => ("on the wire", "max_wire_bytes"),
        Stage::Inflated => ("after decompression", "max_decoded_bytes"),
    };
    format!("the body is larger than {} {what} (collector.{key}): send smaller batches", ByteCount(limit))
}

fn rate_limited(over: &Over) -> String {
    let (limit, what) = if over.bytes { (ByteCount(over.limit).to_string(), "of ") } else { (over.limit.to_string(), "") };
    let seconds = over.wait.as_secs_f64();
    format!("more than {limit} {what}{} each second (pipeline.rate_limits): send again in {seconds:.1} s", over.flow.label())
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

impl Failure {
    /// The HTTP status. Of these, exporters send again after 429 and 503 only.
    pub(crate) fn http(&self) -> StatusCode {
        match self {
            Failure::Unauthenticated => StatusCode::UNAUTHORIZED,
            Failure::Forbidden(_) => StatusCode::FORBIDDEN,
            Failure::ContentType(_)
            | Failure::NotJson(_)
            | Failure::AroundSnappy
            | Failure::ContentEncoding(_)
            | Failure::RemoteWriteType(_)
            | Failure::RemoteWriteEncoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Failure::TooLarge(..) | Failure::TooHeavy(..) => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Failure::Body(_) | Failure::Frame(_) | Failure::Compression(..) | Failure::Decode(_) => StatusCode::BAD_REQUEST,
            Failure::Full(_) | Failure::RateLimited(_) | Failure::Refused(Refusal::Busy { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Failure::Refused(Refusal::LogFull { .. } | Refusal::DiskFull { .. } | Refusal::Stopping | Refusal::Io(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Failure::Refused(Refusal::Block(_)) | Failure::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
    /// The gRPC code. Exporters send again after `RESOURCE_EXHAUSTED` only where it goes with `RetryInfo`: for rate limits.
    pub(crate) fn grpc(&self) -> Code {
        match self {
            Failure::Unauthenticated => Code::Unauthenticated,
            Failure::Forbidden(_) => Code::PermissionDenied,
            Failure::ContentEncoding(_) | Failure::RemoteWriteEncoding(_) | Failure::RemoteWriteType(_) => Code::Unimplemented,
            Failure::TooLarge(..) | Failure::TooHeavy(..) | Failure::RateLimited(_) => Code::ResourceExhausted,
            Failure::Slow(_) => Code::DeadlineExceeded,
            Failure::ContentType(_)
            | Failure::NotJson(_)
            | Failure::AroundSnappy
            | Failure::Body(_)
            | Failure::Frame(_)
            | Failure::Compression(..)
            | Failure::Decode(_) => Code::InvalidArgument,
            Failure::Full(_)
            | Failure::Refused(
                Refusal::Busy { .. } | Refusal::LogFull { .. } | Refusal::DiskFull { .. } | Refusal::Stopping | Refusal::Io(_),
            ) => Code::Unavailable,
            Failure::Refused(Refusal::Block(_)) | Failure::Internal => Code::Internal,
        }
    }
    /// When to send again; `None` where that is of no use.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Full(_) => Some(Duration::from_secs(1)),
            Failure::RateLimited(over) => Some(over.wait.max(Duration::from_secs(1))),
            Failure::Refused(Refusal::Block(_)) => None,
            Failure::Refused(refusal) => Some(refusal.retry_after().max(Duration::from_secs(1))),
            Failure::Unauthenticated
            | Failure::Forbidden(_)
            | Failure::ContentType(_)
            | Failure::NotJson(_)
            | Failure::AroundSnappy
            | Failure::ContentEncoding(_)
            | Failure::RemoteWriteType(_)
            | Failure::RemoteWriteEncoding(_)
            | Failure::TooLarge(..)
            | Failure::TooHeavy(..)
            | Failure::Slow(_)
            | Failure::Body(_)
            | Failure::Frame(_)
            | Failure::Compression(..)
            | Failure::Decode(_)
            | Failure::Internal => None,
        }
    }
    /// Whether it may pass by itself within the hold time: then the request is tried once more before it is refused.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Failure::Refused(Refusal::Busy { .. } | Refusal::LogFull { .. } | Refusal::DiskFull { .. }))
    }
}
