//! How entities look as database rows: texts, integers of microseconds, JSON as text. Shared by the SQL backends.

use model::event::{Event, Recorded, Subject};
use model::state::{Record, StateError};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Lane, Queue, Work, WorkState};

/// A row that does not read as what it should be.
#[derive(Debug, thiserror::Error)]
#[error("a row of table {table} holds `{value}` where {wanted} should be")]
pub struct RowError {
    table: &'static str,
    value: String,
    wanted: &'static str,
}

fn broken(table: &'static str, value: &str, wanted: &'static str) -> StateError {
    let source = Box::new(RowError { table, value: value.chars().take(100).collect(), wanted });
    StateError::Backend { doing: "reading a row", source }
}

fn json<T: serde::de::DeserializeOwned>(table: &'static str, text: &str, wanted: &'static str) -> Result<T, StateError> {
    serde_json::from_str(text).map_err(|_| broken(table, text, wanted))
}

fn tenant(table: &'static str, name: &str) -> Result<TenantId, StateError> {
    TenantId::new(name).map_err(|_| broken(table, name, "a tenant's name"))
}

/// kind, tenant, id, key, status, version, updated_at, body
pub type RecordRow = (String, String, String, Option<String>, String, i64, i64, String);

/// Reads a record.
pub fn record(row: RecordRow) -> Result<Record, StateError> {
    let (kind, tenant_name, id, key, status, version, updated_at, body) = row;
    Ok(Record {
        tenant: tenant("record", &tenant_name)?,
        kind,
        id,
        key,
        status,
        version: u64::try_from(version).unwrap_or(0),
        updated_at: Timestamp::from_micros(updated_at),
        body: json("record", &body, "JSON")?,
    })
}

/// seq, body
pub type EventRow = (i64, String);

/// Reads a journal event.
pub fn recorded((seq, body): EventRow) -> Result<Recorded, StateError> {
    let event: Event = json("journal", &body, "an event")?;
    Ok(Recorded { seq: u64::try_from(seq).unwrap_or(0), event })
}

/// id, tenant, queue, key, lane, subject, state, due_at, attempts, body, progress, error, created_at, lease
pub type WorkRow = (String, String, String, String, i64, String, String, i64, i64, String, Option<String>, Option<String>, i64, i64);

/// The columns of [`WorkRow`].
pub const WORK_COLUMNS: &str = "id, tenant, queue, key, lane, subject, state, due_at, attempts, body, progress, error, created_at, lease";

/// Reads a work row.
pub fn work(row: WorkRow) -> Result<Work, StateError> {
    let (id, tenant_name, queue, key, lane, subject, state, due_at, attempts, body, progress, error, created_at, lease) = row;
    let subject: Subject = json("work", &subject, "a subject")?;
    Ok(Work {
        id: id.parse().map_err(|_| broken("work", &id, "an id"))?,
        tenant: tenant("work", &tenant_name)?,
        queue: Queue::parse(&queue).ok_or_else(|| broken("work", &queue, "a queue"))?,
        key,
        lane: Lane::from_number(lane),
        subject,
        state: WorkState::parse(&state).ok_or_else(|| broken("work", &state, "a state"))?,
        due_at: Timestamp::from_micros(due_at),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        body: json("work", &body, "JSON")?,
        progress: progress.map(|text| json("work", &text, "JSON")).transpose()?,
        error,
        created_at: Timestamp::from_micros(created_at),
        lease: u64::try_from(lease).unwrap_or(0),
    })
}

/// A number for the database.
pub fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A limit: `0` means `usual`.
pub fn limit(wanted: usize, usual: i64) -> i64 {
    if wanted == 0 { usual } else { i64::try_from(wanted).unwrap_or(i64::MAX) }
}
