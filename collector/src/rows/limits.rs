//! The limits of the configuration in the form that rows need, and the event times that are accepted. Pure.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use model::fingerprint::Rules;
use model::time::Timestamp;

use super::tally::Reason;
use crate::config::{Config, RetentionDays};
use crate::decode::protobuf::Bounds;

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
    /// Bytes of memory that all requests may take.
    pub(crate) memory: u64,
    /// Days that rows are kept.
    pub(crate) retention: RetentionDays,
    /// The services of Sentry's project numbers.
    pub(crate) projects: BTreeMap<u64, String>,
    /// How errors are grouped, where not by type, message and frames.
    rules: Arc<RwLock<Arc<Rules>>>,
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
            memory: config.max_request_memory.0,
            retention: config.retention_days,
            projects: config.sentry.projects.clone(),
            rules: Arc::default(),
            max_age: config.max_age.map(|age| age.0),
            max_ahead: config.max_ahead.0,
        }
    }
    /// The span of event times that is accepted for rows that arrive at `at` and are kept so many days.
    pub(crate) fn window(&self, at: Timestamp, retention_days: u16) -> Window {
        let retention = std::time::Duration::from_secs(u64::from(retention_days) * 86_400);
        let age = self.max_age.map_or(retention, |age| age.min(retention));
        Window { oldest: at.minus(age).nanos(), newest: at.plus(self.max_ahead).nanos() }
    }
    /// The rules that group errors, as they are now.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Other rules, from the next request on.
    pub(crate) fn set_rules(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
    /// How much of a record is kept while reading.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { attributes: self.attributes, events: self.events, links: self.links }
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
