//! Rows: what becomes of decoded OTLP messages. In: a message, the tenant, the moment of arrival, limits. Out: one block per
//! table and a tally of what was rejected or cut. Pure but for two bounded memories (described series, span names).

pub(crate) mod logs;
pub(crate) mod points;
pub(crate) mod red;
pub(crate) mod tally;
pub(crate) mod text;
pub(crate) mod traces;

use model::columns::TableBlock;
use model::tenant::TenantId;
use model::time::Timestamp;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::config::{Config, RetentionDays};
use crate::series::{Known, SeriesCache, SeriesKey, TargetInfoCache};
use red::NameGuard;
use tally::{Part, Reason, Tally};
use text::{Pairs, cut, find, pairs};

/// The limits of the configuration in the form that rows need.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes of an attribute value.
    pub(crate) value: usize,
    /// Bytes of a body, message or stack.
    pub(crate) text: usize,
    /// Bytes of a name.
    pub(crate) name: usize,
    /// Attributes of a record.
    pub(crate) attributes: usize,
    /// Events of a span.
    pub(crate) events: usize,
    /// Links of a span.
    pub(crate) links: usize,
    /// Labels of a series.
    pub(crate) labels: usize,
    /// Bytes of a label name.
    pub(crate) label_name: usize,
    /// Bytes of a label value.
    pub(crate) label_value: usize,
    /// In-app frames that group errors.
    pub(crate) frames: usize,
    /// Days that rows are kept.
    pub(crate) retention: RetentionDays,
    max_age: Option<std::time::Duration>,
    max_ahead: std::time::Duration,
}

impl Limits {
    /// As configured.
    pub(crate) fn new(config: &Config) -> Self {
        let bytes = |size: model::units::ByteCount| usize::try_from(size.0).unwrap_or(usize::MAX);
        Limits {
            value: bytes(config.max_attribute_value),
            text: bytes(config.max_text),
            name: bytes(config.max_name),
            attributes: config.max_attributes,
            events: config.max_events,
            links: config.max_links,
            labels: config.max_labels,
            label_name: bytes(config.max_label_name),
            label_value: bytes(config.max_label_value),
            frames: config.grouping_frames,
            retention: config.retention_days,
            max_age: config.max_age.map(|age| age.0),
            max_ahead: config.max_ahead.0,
        }
    }
}

/// What all rows of a request share.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    /// Whose rows they are.
    pub(crate) tenant: &'a TenantId,
    /// When the request arrived.
    pub(crate) at: Timestamp,
    /// The limits.
    pub(crate) limits: &'a Limits,
    /// Series that the store knows.
    pub(crate) series: &'a SeriesCache,
    /// When `target_info` was last written.
    pub(crate) targets: &'a TargetInfoCache,
    /// Span names that the derived series know.
    pub(crate) names: &'a NameGuard,
}

impl Arrival<'_> {
    /// The span of event times that is accepted for rows kept so many days.
    pub(crate) fn window(&self, retention_days: u16) -> Window {
        let retention = std::time::Duration::from_secs(u64::from(retention_days) * 86_400);
        let age = self.limits.max_age.map_or(retention, |age| age.min(retention));
        Window { oldest: self.at.minus(age).nanos(), newest: self.at.plus(self.limits.max_ahead).nanos() }
    }
}

/// The event times that are accepted, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    oldest: i64,
    newest: i64,
}

impl Window {
    /// The time as stored, or why it is refused.
    pub(crate) fn check(self, unix_nano: u64) -> Result<i64, Reason> {
        let at = nanos(unix_nano);
        match () {
            () if at == 0 => Err(Reason::NoTime),
            () if at < self.oldest => Err(Reason::TooOld),
            () if at > self.newest => Err(Reason::TooFarAhead),
            () => Ok(at),
        }
    }
}

/// Nanoseconds as stored; times past the year 2262 stop there.
pub(crate) fn nanos(unix_nano: u64) -> i64 {
    i64::try_from(unix_nano).unwrap_or(i64::MAX)
}

/// The blocks of a request and what to do once they are durable.
#[derive(Default)]
pub(crate) struct Built {
    /// Blocks with at least one row.
    pub(crate) blocks: Vec<TableBlock>,
    /// What was rejected and cut.
    pub(crate) tally: Tally,
    /// Series to remember.
    pub(crate) series: Vec<(SeriesKey, Known)>,
    /// `target_info` to remember.
    pub(crate) targets: Vec<((u64, u64), i64)>,
}

impl Built {
    /// Adds a block, if it has rows.
    pub(crate) fn push(&mut self, block: TableBlock) {
        if block.rows() > 0 {
            self.blocks.push(block);
        }
    }
}

/// The service of a resource that names none.
pub(crate) const UNKNOWN_SERVICE: &str = "unknown_service";

/// A resource as rows need it.
pub(crate) struct ResourceView<'a> {
    /// Its attributes.
    pub(crate) pairs: Pairs<'a>,
    /// `service.name`, or `unknown_service`.
    pub(crate) service: String,
}

impl<'a> ResourceView<'a> {
    /// Of a resource that may be absent.
    pub(crate) fn new(resource: Option<&'a Resource>, limits: &Limits, tally: &mut Tally) -> Self {
        let pairs = pairs(resource.map_or(&[], |resource| resource.attributes.as_slice()), limits, tally);
        let service = match find(&pairs, "service.name") {
            "" => UNKNOWN_SERVICE.to_owned(),
            name => cut(name, limits.name, Part::Name, tally).into_owned(),
        };
        ResourceView { service, pairs }
    }
}

/// Name and version of a scope that may be absent.
pub(crate) fn scope_names<'a>(scope: Option<&'a InstrumentationScope>, limits: &Limits, tally: &mut Tally) -> (String, String) {
    let mut name = |text: Option<&'a str>| cut(text.unwrap_or(""), limits.name, Part::Name, tally).into_owned();
    (name(scope.map(|scope| scope.name.as_str())), name(scope.map(|scope| scope.version.as_str())))
}
