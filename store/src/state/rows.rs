//! How rows read as entities: texts, integers of microseconds, JSON as text. A row that does not is an error that names its table.

use model::event::{Event, Recorded, Subject};
use model::ids::WorkId;
use model::json::Json;
use model::state::{Record, StateError};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Lane, Queue, Work, WorkState};

use super::dialect::{Dialect, failed};

/// A row that does not read as what it should be.
#[derive(Debug, thiserror::Error)]
#[error("a row of table {table} holds `{value}` where {wanted} should be")]
struct RowError {
    table: &'static str,
    value: String,
    wanted: &'static str,
}

/// A row with the name of its table, for errors.
struct Reader<'a, D: Dialect> {
    table: &'static str,
    row: &'a D::Row,
}

impl<D: Dialect> Reader<'_, D> {
    fn broken(&self, value: &str, wanted: &'static str) -> StateError {
        let source = RowError { table: self.table, value: value.chars().take(100).collect(), wanted };
        StateError::Backend { doing: "reading a row", source: Box::new(source) }
    }
    fn int(&self, column: usize) -> Result<i64, StateError> {
        D::int(self.row, column).map_err(failed::<D>("reading a row"))
    }
    fn natural<T: TryFrom<i64>>(&self, column: usize) -> Result<T, StateError> {
        let number = self.int(column)?;
        T::try_from(number).map_err(|_| self.broken(&number.to_string(), "a natural number"))
    }
    fn time(&self, column: usize) -> Result<Timestamp, StateError> {
        self.int(column).map(Timestamp::from_micros)
    }
    fn maybe(&self, column: usize) -> Result<Option<String>, StateError> {
        D::text(self.row, column).map_err(failed::<D>("reading a row"))
    }
    fn text(&self, column: usize) -> Result<String, StateError> {
        self.maybe(column)?.ok_or_else(|| self.broken("NULL", "a text"))
    }
    fn parsed<T>(&self, column: usize, wanted: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StateError> {
        let text = self.text(column)?;
        parse(&text).ok_or_else(|| self.broken(&text, wanted))
    }
    fn maybe_parsed<T>(&self, column: usize, wanted: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, StateError> {
        let Some(text) = self.maybe(column)? else { return Ok(None) };
        parse(&text).map(Some).ok_or_else(|| self.broken(&text, wanted))
    }
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// The columns that [`record`] reads.
pub const RECORD: &str = "kind, tenant, id, key, status, version, updated_at, body";

/// Reads a record.
pub fn record<D: Dialect>(row: &D::Row) -> Result<Record, StateError> {
    let row = Reader::<D> { table: "record", row };
    Ok(Record {
        kind: row.text(0)?,
        tenant: row.parsed(1, "a tenant", |text| TenantId::new(text).ok())?,
        id: row.text(2)?,
        key: row.maybe(3)?,
        status: row.text(4)?,
        version: row.natural(5)?,
        updated_at: row.time(6)?,
        body: Json::stored(row.text(7)?),
    })
}

/// Reads a journal event from `seq, body`.
pub fn recorded<D: Dialect>(row: &D::Row) -> Result<Recorded, StateError> {
    let row = Reader::<D> { table: "journal", row };
    Ok(Recorded { seq: row.natural(0)?, event: row.parsed(1, "an event", json::<Event>)? })
}

/// The columns that [`work`] reads. A lease that nobody holds reads as 0.
pub const WORK: &str = "id, tenant, queue, key, lane, subject_alert, subject_incident, state, due_at, attempts, body, progress, error, \
     created_at, CASE WHEN lease_until IS NULL THEN 0 ELSE lease END";

/// Reads a work row.
pub fn work<D: Dialect>(row: &D::Row) -> Result<Work, StateError> {
    let row = Reader::<D> { table: "work", row };
    Ok(Work {
        id: row.parsed(0, "an id", |text| text.parse().ok())?,
        tenant: row.parsed(1, "a tenant", |text| TenantId::new(text).ok())?,
        queue: row.parsed(2, "a queue", Queue::parse)?,
        key: row.text(3)?,
        lane: Lane::from_number(row.int(4)?),
        subject: Subject {
            alert: row.maybe_parsed(5, "an alert's id", |text| text.parse().ok())?,
            incident: row.maybe_parsed(6, "an incident's id", |text| text.parse().ok())?,
        },
        state: row.parsed(7, "a state", WorkState::parse)?,
        due_at: row.time(8)?,
        attempts: row.natural(9)?,
        body: Json::stored(row.text(10)?),
        progress: row.maybe_parsed(11, "JSON", json)?,
        error: row.maybe(12)?,
        created_at: row.time(13)?,
        lease: row.natural(14)?,
    })
}

/// Reads a work row's id.
pub fn work_id<D: Dialect>(row: &D::Row) -> Result<WorkId, StateError> {
    Reader::<D> { table: "work", row }.parsed(0, "an id", |text| text.parse().ok())
}

/// A number for the database.
pub fn int(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// One number of a row.
pub fn number<D: Dialect>(row: &D::Row, column: usize) -> Result<i64, StateError> {
    Reader::<D> { table: "an answer", row }.int(column)
}

/// One text of a row.
pub fn text<D: Dialect>(row: &D::Row, column: usize) -> Result<String, StateError> {
    Reader::<D> { table: "an answer", row }.text(column)
}
