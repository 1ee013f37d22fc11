//! The ports to the table of error events: what arrived (for whoever keeps issues) and what it adds up to (for whoever reads them).
//! `store` implements both over ClickHouse; every answer is bounded.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Serialize;

use crate::fingerprint::Fingerprint;
use crate::query::QueryError;
use crate::tenant::TenantId;
use crate::time::Timestamp;

/// Events of one kind, service and release that were stored by one insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Unique: the same arrival is never seen under another one.
    pub id: u64,
    /// When it was stored, on the telemetry store's clock.
    pub stored: Timestamp,
    /// Whose.
    pub tenant: TenantId,
    /// Of which kind.
    pub fingerprint: Fingerprint,
    /// The service or project.
    pub service: String,
    /// The release; empty where none was named.
    pub release: String,
    /// The time of the first event.
    pub first_seen: Timestamp,
    /// The time of the last event.
    pub last_seen: Timestamp,
    /// How many events.
    pub events: u64,
}

/// What the newest event of an arrival says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArrivalDetail {
    /// The arrival's id.
    pub id: u64,
    /// The exception's type.
    pub kind: String,
    /// The normalised message.
    pub message: String,
    /// The title that a rule gave; empty: none.
    pub title: String,
    /// The explanation that intake gave; empty: grouped by type, message and calls.
    pub grouped_by: String,
    /// The innermost calls of the application (all where none is), as `function (file)`, innermost first, at most 5.
    pub calls: Vec<String>,
}

/// How often, and to how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EventCounts {
    /// Events, each id once; up to some ten thousand exact, above an estimate within 1 %.
    pub events: u64,
    /// Distinct users that the events name, to the same precision.
    pub users: u64,
}

/// What arrived.
#[async_trait]
pub trait ErrorArrivals: Send + Sync {
    /// Arrivals of all tenants that were stored at or after a moment, oldest first, at most `limit`. An arrival may become visible
    /// seconds after one that was stored later.
    async fn arrivals(&self, from: Timestamp, limit: usize) -> Result<Vec<Arrival>, QueryError>;
    /// What some of these arrivals say, in any order.
    async fn details(&self, from: Timestamp, ids: &[u64]) -> Result<Vec<ArrivalDetail>, QueryError>;
    /// Events and users since a moment.
    async fn counts(&self, tenant: &TenantId, fingerprints: &[Fingerprint], since: Timestamp) -> Result<EventCounts, QueryError>;
}

/// Which events to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorQuery {
    /// Whose.
    pub tenant: TenantId,
    /// From, inclusive.
    pub start: Timestamp,
    /// To, exclusive.
    pub end: Timestamp,
    /// Of one service.
    pub service: Option<String>,
    /// Of one release.
    pub release: Option<String>,
    /// Of one environment.
    pub environment: Option<String>,
    /// Of these kinds; none means all.
    pub fingerprints: Vec<Fingerprint>,
    /// Fingerprints that count as another one (merged issues).
    pub aliases: BTreeMap<Fingerprint, Fingerprint>,
}

/// What the events of one kind add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorSummary {
    /// Which kind.
    pub fingerprint: Fingerprint,
    /// How often, and to how many.
    pub counts: EventCounts,
    /// The time of the first event in the window.
    pub first_seen: Timestamp,
    /// The time of the last event in the window.
    pub last_seen: Timestamp,
    /// The services, at most 10.
    pub services: Vec<String>,
    /// The releases, at most 10.
    pub releases: Vec<String>,
    /// The environments, at most 10.
    pub environments: Vec<String>,
}

/// Events of one kind over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorTrend {
    /// Which kind.
    pub fingerprint: Fingerprint,
    /// Events per step: from the query's start on, one number for each step that has begun.
    pub events: Vec<u64>,
}

/// How often a property had a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorFacet {
    /// release, environment, service, source, level, or `tag:` with the tag's name.
    pub name: String,
    /// The value.
    pub value: String,
    /// Events with it.
    pub events: u64,
}

/// One call on a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventFrame {
    /// The function.
    pub function: String,
    /// The file or path.
    pub file: String,
    /// The line, from 1; 0 where unknown.
    pub line: i32,
    /// Whether it belongs to the application.
    pub in_app: bool,
}

/// One error event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorEvent {
    /// Its id: a UUID.
    pub event_id: String,
    /// When.
    pub at: Timestamp,
    /// sentry, otel_span, otel_log or api.
    pub source: String,
    /// The service or project.
    pub service: String,
    /// The exception's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The message as it was sent.
    pub message: String,
    /// fatal, error, warning, info or debug.
    pub level: String,
    /// The release.
    pub release: String,
    /// The environment.
    pub environment: String,
    /// The user whom it hit, as the service names them.
    pub user: String,
    /// In hex; empty where none is known.
    pub trace_id: String,
    /// In hex; empty where none is known.
    pub span_id: String,
    /// From the innermost call outwards.
    pub frames: Vec<EventFrame>,
    /// The stack as it was sent.
    pub stack: String,
    /// Everything else.
    pub tags: BTreeMap<String, String>,
}

/// What the events add up to.
#[async_trait]
pub trait ErrorReads: Send + Sync {
    /// One line per kind, last seen first, at most `limit`.
    async fn summaries(&self, query: &ErrorQuery, limit: usize) -> Result<Vec<ErrorSummary>, QueryError>;
    /// Events over time, in steps of so many seconds from the query's start.
    async fn trends(&self, query: &ErrorQuery, step_secs: u32) -> Result<Vec<ErrorTrend>, QueryError>;
    /// The ten commonest values of each property, of all the query's events together; tags of the newest 10,000.
    async fn facets(&self, query: &ErrorQuery) -> Result<Vec<ErrorFacet>, QueryError>;
    /// The newest event.
    async fn latest(&self, query: &ErrorQuery) -> Result<Option<ErrorEvent>, QueryError>;
}
