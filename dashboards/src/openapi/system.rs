//! How Watchfire is, and what happens in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::basics::{Actor, Labels, Problem};

#[derive(Serialize, ToSchema)]
pub(super) struct PartHealth {
    part: String,
    healthy: bool,
    detail: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct QueueState {
    queue: String,
    pending: u64,
    dead: u64,
    overdue_seconds: f64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct NewestRow {
    signal: String,
    #[schema(required, format = DateTime)]
    received: Option<String>,
    #[schema(required)]
    age_seconds: Option<f64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    version: String,
    #[schema(format = DateTime)]
    now: String,
    ready: bool,
    parts: Vec<PartHealth>,
    open_incidents: u64,
    firing_alerts: u64,
    queues: Vec<QueueState>,
    newest_rows: Vec<NewestRow>,
}

/// What an event is about.
#[derive(Serialize, ToSchema)]
pub(super) struct EventSubject {
    #[schema(nullable = false)]
    alert: Option<String>,
    #[schema(nullable = false)]
    incident: Option<String>,
}

/// One thing that happened; `kind` has the kind's name under `kind`, with its fields.
#[derive(Serialize, ToSchema)]
pub(super) struct JournalEvent {
    id: String,
    tenant: String,
    #[schema(format = DateTime)]
    at: String,
    actor: Actor,
    subject: EventSubject,
    kind: BTreeMap<String, serde_json::Value>,
}

/// The data of one server-sent event.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordedEvent {
    seq: u64,
    event: JournalEvent,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// The number of the last event seen; only what is new where neither this nor `Last-Event-ID` is given.
    after: Option<u64>,
}

/// Something that is asked from outside, as it was last.
#[derive(Serialize, ToSchema)]
pub(super) struct Check {
    check: String,
    #[schema(example = "healthy")]
    health: String,
    reason: String,
    #[schema(required, format = DateTime)]
    since: Option<String>,
    #[schema(required, format = DateTime)]
    checked_at: Option<String>,
    /// How long the last one took.
    seconds: f64,
    labels: Labels,
}

#[derive(Serialize, ToSchema)]
pub(super) struct CheckList {
    checks: Vec<Check>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Heartbeat {
    #[schema(example = "success")]
    status: String,
    heartbeat: String,
    #[schema(format = DateTime)]
    at: String,
}

/// Days.
#[derive(Serialize, ToSchema)]
pub(super) struct RetentionDays {
    spans: u32,
    logs: u32,
    metrics: u32,
    errors: u32,
}

/// The write-ahead log.
#[derive(Serialize, ToSchema)]
pub(super) struct LogState {
    /// The age of the oldest row that waits to be stored.
    #[schema(required)]
    lag_seconds: Option<f64>,
    bytes: u64,
    max_bytes: u64,
    /// Inserts that a person must look at.
    quarantined: u64,
    damaged: u64,
    #[schema(required)]
    disk_error: Option<String>,
    /// By table: why its insert keeps failing.
    insert_errors: BTreeMap<String, String>,
}

/// The embedded engine.
#[derive(Serialize, ToSchema)]
pub(super) struct EngineState {
    up: bool,
    restarts: u64,
    #[schema(format = DateTime)]
    since: String,
    resident_bytes: u64,
    /// What it may use.
    memory_bytes: u64,
    #[schema(required)]
    trouble: Option<String>,
    serves_sql: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ProcessingState {
    tail: bool,
    redaction: bool,
}

/// Where and how long things are kept.
#[derive(Serialize, ToSchema)]
pub(super) struct System {
    retention_days: RetentionDays,
    /// How long done work rows (deliveries, timers) are kept.
    finished_work_seconds: u64,
    #[schema(example = "sqlite")]
    state: String,
    /// Whether this node leads: evaluates rules, decides, sends. Of several over one PostgreSQL one does.
    leads: bool,
    #[schema(example = "embedded")]
    telemetry: String,
    log: LogState,
    /// None: ClickHouse is a server of its own.
    #[schema(required)]
    engine: Option<EngineState>,
    /// What is switched on.
    sampling: ProcessingState,
}

/// An API key without its text, which is never kept.
#[derive(Serialize, ToSchema)]
pub(super) struct Key {
    id: String,
    name: String,
    permissions: Vec<String>,
    /// The person whose key it is.
    #[schema(required)]
    user: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(required, format = DateTime)]
    revoked_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct KeyList {
    keys: Vec<Key>,
    /// No key exists: only this machine may connect.
    keyless: bool,
}

/// A log line as it arrived.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ArrivedLine {
    /// Nanoseconds since 1970.
    nanos: String,
    severity: u8,
    severity_text: String,
    service: String,
    /// At most 4000 bytes.
    body: String,
    /// Empty where there is none.
    trace: String,
    span: String,
    attributes: Labels,
    resource: Labels,
}

/// The data of one event `lines`.
#[derive(Serialize, ToSchema)]
pub(super) struct ArrivedLines {
    lines: Vec<ArrivedLine>,
    /// Lines that were too many to be shown; they are stored.
    left_out: u64,
    /// Requests that were not looked through because the reader was too slow.
    lost_batches: u64,
}

/// Where and how long things are kept
#[utoipa::path(get, path = "/api/watchfire/v1/system", tag = "system", description = "Needs `read`.", responses(
    (status = 200, body = System), (status = 403, body = Problem)))]
pub(super) fn system() {}

/// API keys
#[utoipa::path(get, path = "/api/watchfire/v1/keys", tag = "system", description = "Of the tenant, revoked ones too. Needs `admin`.", responses(
    (status = 200, body = KeyList), (status = 403, body = Problem), (status = 503, body = Problem)))]
pub(super) fn keys() {}

/// Log lines as they arrive
#[utoipa::path(get, path = "/api/watchfire/v1/logs/tail", tag = "telemetry",
    description = "Server-sent events `lines` with an `ArrivedLines` as data, a moment after the lines are durable. A stream ends after some minutes: come back. Needs `read`.",
    params(("search" = Option<String>, Query, description = "Terms as JSON: `[{\"kind\":\"text\",\"text\":\"timeout\",\"not\":false},{\"kind\":\"field\",\"key\":\"service\",\"op\":\"=\",\"value\":\"shop\"}]`")), responses(
    (status = 200, body = ArrivedLines, content_type = "text/event-stream"), (status = 400, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem)))]
pub(super) fn tail() {}

/// Checks from outside
#[utoipa::path(get, path = "/api/watchfire/v1/checks", tag = "system", description = "Needs `read`.", responses(
    (status = 200, body = CheckList), (status = 403, body = Problem)))]
pub(super) fn checks() {}

/// A job ran
#[utoipa::path(post, path = "/api/watchfire/v1/heartbeats/{name}", tag = "system",
    description = "Also as GET, for schedulers that can do nothing else. Needs `ingest`.",
    params(("name" = String, Path, description = "The job"), ("status" = Option<String>, Query, description = "ok or failed")), responses(
    (status = 200, body = Heartbeat), (status = 400, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem)))]
pub(super) fn heartbeat() {}

/// How Watchfire is
#[utoipa::path(get, path = "/api/watchfire/v1/status", tag = "system", description = "Needs `read`.", responses(
    (status = 200, body = Status), (status = 403, body = Problem), (status = 503, body = Problem)))]
pub(super) fn status() {}

/// What happens, as it happens
#[utoipa::path(get, path = "/api/watchfire/v1/events", tag = "system",
    description = "Server-sent events from the journal: each event of the tenant once, in order, with its number as id and a `RecordedEvent` as data. A stream ends after some minutes: come back with `Last-Event-ID`. Events of keys are for `admin` only. Needs `read`.",
    params(EventQuery, ("Last-Event-ID" = Option<String>, Header, description = "The number of the last event seen")), responses(
    (status = 200, body = RecordedEvent, content_type = "text/event-stream"), (status = 400, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem)))]
pub(super) fn events() {}

/// This document
#[utoipa::path(get, path = "/api/openapi.json", tag = "system", responses((status = 200, body = serde_json::Value)))]
pub(super) fn document() {}
