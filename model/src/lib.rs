//! The shared language of Watchfire: ids, units, time, labels, signals, events and ports. No I/O lives here.
//!
//! The six sibling packages (`store`, `collector`, `alerting`, `incidents`, `remediation`, `dashboards`) never import one
//! another. Whatever two of them need stands here: as data (what was seen and decided) or as a port (a small trait that one
//! of them implements and another calls).

pub mod access;
pub mod alert;
pub mod columns;
pub mod deployment;
pub mod drive;
pub mod error_events;
pub mod event;
pub mod evidence;
pub mod fingerprint;
pub mod ids;
pub mod incident;
pub mod issue;
pub mod json;
pub mod labels;
pub mod message;
pub mod query;
pub mod re2;
pub mod repair;
pub mod secret;
pub mod severity;
pub mod sink;
pub mod state;
pub mod tables;
pub mod tail;
pub mod tenant;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod units;
pub mod work;
