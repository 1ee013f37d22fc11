//! OTLP's protobuf, read straight into records that borrow from the body: no message is built, one record is in memory at a
//! time. Field numbers are those of opentelemetry-proto 1.11. Unknown fields are skipped; a known field of the wrong wire type,
//! a length past the end and text that is not UTF-8 are refused with the message and field.

mod common;
mod logs;
mod metrics;
mod traces;
mod wire;

pub(crate) use logs::logs;
pub(crate) use metrics::metrics;
pub(crate) use traces::traces;
pub(crate) use wire::{Field, Message, WireError, zigzag};

/// Most buckets of one histogram: a varint of one byte becomes eight, so they are bounded while reading.
pub(crate) const MAX_BUCKETS: usize = 16_384;

/// How many parts of a record are kept in memory; what is past it is counted as dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Attributes of a record, event, link or scope.
    pub(crate) attributes: usize,
    /// Events of a span.
    pub(crate) events: usize,
    /// Links of a span.
    pub(crate) links: usize,
}
