//! Evidence for a postmortem: what the telemetry says about an incident's time. `store` gathers it, `incidents` writes it down.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::query::QueryError;
use crate::tenant::TenantId;
use crate::time::Timestamp;
use crate::units::Value;

/// What to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct EvidenceQuery {
    /// Whose telemetry.
    pub tenant: TenantId,
    /// Start of the harm.
    pub start: Timestamp,
    /// Its end.
    pub end: Timestamp,
    /// The services that the alerts name; none means all.
    pub services: Vec<String>,
    /// How many error groups, traces and patterns at most.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Per service, worst first.
    pub impact: Vec<ServiceImpact>,
    /// Error groups by how much they grew against the same time before, largest first.
    pub errors: Vec<ErrorGroup>,
    /// The slowest traces of the time.
    pub slow_traces: Vec<SlowTrace>,
    /// Log bodies at level error or worse, by count.
    pub logs: Vec<LogGroup>,
    /// The services that took part in failed traces of the named ones, those themselves included, most involved first: the cause
    /// often stands further down. None where no service was named.
    #[serde(default)]
    pub touched: Vec<String>,
}

/// Requests of one service during the incident and in the same time before it. Requests are spans of kind SERVER or CONSUMER.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceImpact {
    /// Which service.
    pub service: String,
    /// Requests.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Distinct users named by `enduser.id`/`user.id` on failed requests; 0 where spans name none.
    pub users: u64,
    /// 95th percentile of the duration, in seconds.
    pub p95_seconds: Value,
    /// Requests in a window of the same length before the start.
    pub requests_before: u64,
    /// Errors in that window.
    pub errors_before: u64,
    /// 95th percentile in that window, in seconds.
    pub p95_seconds_before: Value,
}

/// One group of error events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorGroup {
    /// Fingerprint in hex.
    pub fingerprint: String,
    /// Which service (project).
    pub service: String,
    /// The exception's type.
    pub kind: String,
    /// The message of the newest event.
    pub message: String,
    /// Events during the incident.
    pub count: u64,
    /// Events in a window of the same length before.
    pub count_before: u64,
    /// First seen within the window.
    pub first_seen: Timestamp,
    /// Last seen within the window.
    pub last_seen: Timestamp,
    /// The stack of the newest event, as text.
    pub stack: String,
    /// A trace in which it happened, in hex; empty where none is known.
    pub trace_id: String,
}

/// One slow trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowTrace {
    /// In hex.
    pub trace_id: String,
    /// The service of its slowest entry span.
    pub service: String,
    /// That span's name.
    pub name: String,
    /// When it began.
    pub at: Timestamp,
    /// In seconds.
    pub seconds: Value,
    /// Whether it failed.
    pub failed: bool,
}

/// Log records with the same body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogGroup {
    /// Which service.
    pub service: String,
    /// error, fatal, ...
    pub severity: String,
    /// The body, shortened.
    pub body: String,
    /// How many, also of those that sampling left out.
    pub count: u64,
}

/// Whose versions to look at, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionQuery {
    /// Whose telemetry.
    pub tenant: TenantId,
    /// Changes from here on; what ran just before is looked up too.
    pub from: Timestamp,
    /// And before here.
    pub to: Timestamp,
    /// Which services; none means all.
    pub services: Vec<String>,
    /// How many changes at most: the latest.
    pub limit: usize,
}

/// A version that began to send spans where another one was running before: a rollout or a rollback, whoever made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionChange {
    /// Which service (`service.name`).
    pub service: String,
    /// Where (`deployment.environment.name`); empty where spans do not say.
    pub environment: String,
    /// The version that appeared (`service.version`).
    pub version: String,
    /// The one that was seen last before it.
    pub previous: String,
    /// Its first span.
    pub first_seen: Timestamp,
}

/// Gathers evidence.
#[async_trait]
pub trait EvidenceSource: Send + Sync {
    /// Reads the telemetry of the window and of the window before.
    async fn evidence(&self, query: &EvidenceQuery) -> Result<Evidence, QueryError>;
    /// Which versions appeared in the spans, in order of time.
    async fn versions(&self, query: &VersionQuery) -> Result<Vec<VersionChange>, QueryError>;
}
