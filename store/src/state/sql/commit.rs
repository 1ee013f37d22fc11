//! What a commit writes besides work rows: records under their versions, journal events under their numbers, and the lease that
//! fences it.

use std::collections::HashSet;
use std::time::Duration;

use model::event::Event;
use model::json;
use model::state::{Expect, Fence, Put, StateError};
use model::time::Timestamp;

use super::super::dialect::{Dialect, args, failed, is_taken};
use super::super::rows;
use super::super::text::storable;

/// The number of the newest event. The journal is append-only, and a writer that asks has its turn.
pub const HEAD: &str = "SELECT COALESCE(MAX(seq), 0) FROM journal";

/// Refuses the commit unless the lease is held at the fence's token. A lease that ran out and that nobody took is still held.
pub async fn fence<D: Dialect>(write: &mut D::Connection, fence: &Fence) -> Result<(), StateError> {
    let sql = "SELECT token FROM lease WHERE name = $1 AND token = $2 AND holder IS NOT NULL";
    let found = D::rows(write, sql, args![&*fence.lease, rows::int(fence.token)]).await.map_err(failed::<D>("checking the lease"))?;
    if found.is_empty() { Err(StateError::Fenced { lease: fence.lease.clone() }) } else { Ok(()) }
}

/// What puts of one kind of statement have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nothing may be there.
    Insert,
    /// Whatever there is.
    Upsert,
    /// This version must be there.
    Update,
    /// Gone afterwards.
    Delete,
}

impl Way {
    fn of(put: &Put) -> Self {
        match (&put.body, put.expect) {
            (None, _) => Way::Delete,
            (Some(_), Expect::New) => Way::Insert,
            (Some(_), Expect::Any) => Way::Upsert,
            (Some(_), Expect::Version(_)) => Way::Update,
        }
    }

    /// The statement for so many records.
    fn sql<D: Dialect>(self, records: usize) -> String {
        let insert = format!("{} record (kind, tenant, id, key, status, updated_at, body, version) VALUES", D::INSERT);
        match self {
            Way::Insert => format!("{insert} {} ON CONFLICT DO NOTHING", places(records, 7, ", 1")),
            Way::Upsert => format!(
                "{insert} {} ON CONFLICT (kind, tenant, id) DO UPDATE SET key = excluded.key, status = excluded.status, \
                 version = record.version + 1, updated_at = excluded.updated_at, body = excluded.body",
                places(records, 7, ", 1")
            ),
            Way::Update => format!(
                "{} record SET key = v.column4, status = v.column5, version = record.version + 1, updated_at = v.column6, body = v.column7 \
                 FROM (VALUES {}) AS v WHERE record.kind = v.column1 AND record.tenant = v.column2 AND record.id = v.column3 AND \
                 record.version = v.column8",
                D::UPDATE,
                places(records, 8, "")
            ),
            Way::Delete => "DELETE FROM record WHERE kind = $1 AND tenant = $2 AND id = $3".to_owned(),
        }
    }
}

/// `($1, $2), ($3, $4)`: so many rows of so many arguments, each row ending with a constant.
pub fn places(rows: usize, width: usize, constant: &str) -> String {
    let mut text = String::with_capacity(rows * width * 6);
    let mut number = itoa::Buffer::new();
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=width {
            let joint = if column == 1 { "$" } else { ", $" };
            text.push_str(joint);
            text.push_str(number.format(row * width + column));
        }
        text.push_str(constant);
        text.push(')');
    }
    text
}

/// Cuts what is written alike into statements of few different sizes, so that each is prepared once: how many rows each has.
pub fn sizes(mut left: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let size = [64, 16, 4, 2, 1].into_iter().find(|size| left >= *size)?;
        left -= size;
        Some(size)
    })
}

/// The rows of each statement.
fn statements<T>(mut alike: &[T]) -> impl Iterator<Item = &[T]> {
    sizes(alike.len()).map(move |size| {
        let (some, rest) = alike.split_at(size);
        alike = rest;
        some
    })
}

/// Writes or deletes records, each at its moment, in order; many that are written alike in one statement.
pub async fn puts<D: Dialect>(write: &mut D::Connection, puts: &[(&Put, Timestamp)]) -> Result<(), StateError> {
    for alike in puts.chunk_by(|a, b| Way::of(a.0) == Way::of(b.0)) {
        let Some(way) = alike.first().map(|(put, _)| Way::of(put)) else { continue };
        let mut ids = HashSet::with_capacity(alike.len());
        let distinct = alike.iter().all(|(put, _)| ids.insert((put.kind, &put.tenant, &put.id)));
        if way == Way::Delete || !distinct {
            for one in alike {
                some_puts::<D>(write, way, std::slice::from_ref(one)).await?;
            }
            continue;
        }
        for some in statements(alike) {
            some_puts::<D>(write, way, some).await?;
        }
    }
    Ok(())
}

async fn some_puts<D: Dialect>(write: &mut D::Connection, way: Way, puts: &[(&Put, Timestamp)]) -> Result<(), StateError> {
    let conflict = || match puts {
        [(put, _)] => StateError::Conflict { what: format!("{} {}", put.kind, put.id) },
        _ => {
            let first = puts.first().map(|(put, _)| format!("{} {}", put.kind, put.id)).unwrap_or_default();
            StateError::Conflict { what: format!("one of {} records from {first} on", puts.len()) }
        }
    };
    if way == Way::Delete {
        return match puts {
            [(put, _)] => delete::<D>(write, put).await,
            _ => Err(conflict()),
        };
    }
    let mut args = Vec::with_capacity(puts.len() * 8);
    for (put, at) in puts {
        let key = put.key.as_deref().map(|key| storable(key).into_owned());
        args.extend(args![put.kind, put.tenant.as_str(), &*storable(&put.id), key, &*storable(&put.status), at.micros()]);
        args.push(put.body.as_ref().map(|body| body.as_str().to_owned()).into());
        if let (Way::Update, Expect::Version(version)) = (way, put.expect) {
            args.push(rows::int(version).into());
        }
    }
    match D::run(write, &way.sql::<D>(puts.len()), args).await {
        Ok(written) if written == puts.len() as u64 => Ok(()),
        Ok(_) => Err(conflict()),
        Err(error) if is_taken::<D>(&error) => Err(conflict()),
        Err(error) => Err(failed::<D>("writing records")(error)),
    }
}

async fn delete<D: Dialect>(write: &mut D::Connection, put: &Put) -> Result<(), StateError> {
    let mut args = args![put.kind, put.tenant.as_str(), &*storable(&put.id)];
    let sql = Way::Delete.sql::<D>(1);
    let (sql, wanted) = match put.expect {
        Expect::Version(version) => {
            args.push(rows::int(version).into());
            (sql + " AND version = $4", Some(1))
        }
        Expect::Any => (sql, None),
        // Nothing is expected to be there: a row that is there, and would go, is a conflict.
        Expect::New => (sql, Some(0)),
    };
    let gone = D::run(write, &sql, args).await.map_err(failed::<D>("deleting a record"))?;
    let fits = wanted.is_none_or(|wanted| wanted == gone);
    if fits { Ok(()) } else { Err(StateError::Conflict { what: format!("{} {}", put.kind, put.id) }) }
}

/// Appends events under the next numbers; the writer has its turn, so that nobody else takes them. Returns the numbers.
pub async fn append<D: Dialect>(write: &mut D::Connection, events: &[&Event]) -> Result<Vec<u64>, StateError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let found = D::rows(write, HEAD, Vec::new()).await.map_err(failed::<D>("reading the journal's head"))?;
    let mut next = found.first().map(|row| rows::number::<D>(row, 0)).transpose()?.unwrap_or(0) + 1;
    let mut numbers = Vec::with_capacity(events.len());
    for some in statements(events) {
        append_some::<D>(write, next, some).await?;
        for _ in some {
            numbers.push(u64::try_from(next).unwrap_or(0));
            next += 1;
        }
    }
    Ok(numbers)
}

async fn append_some<D: Dialect>(write: &mut D::Connection, first: i64, events: &[&Event]) -> Result<(), StateError> {
    let mut args = Vec::with_capacity(events.len() * 9);
    for (seq, event) in (first..).zip(events) {
        let id = event.id.to_string();
        let wrong = |source| StateError::Body { kind: "event".to_owned(), id: id.clone(), source };
        args.extend(args![
            seq,
            &*id,
            event.tenant.as_str(),
            event.at.micros(),
            json::text(&event.actor).map_err(wrong)?,
            event.subject.alert.map(|alert| alert.to_string()),
            event.subject.incident.map(|incident| incident.to_string()),
            event.kind.tag(),
            json::text(event).map_err(wrong)?,
        ]);
    }
    let places = places(events.len(), 9, "");
    let sql = format!("{} journal (seq, id, tenant, at, actor, alert, incident, kind, body) VALUES {places}", D::INSERT);
    match D::run(write, &sql, args).await {
        Ok(_) => Ok(()),
        Err(error) if is_taken::<D>(&error) => {
            let first = events.first().map(|event| event.id.to_string()).unwrap_or_default();
            let what = if events.len() == 1 { format!("event {first}") } else { format!("one of {} events from {first} on", events.len()) };
            Err(StateError::Conflict { what })
        }
        Err(error) => Err(failed::<D>("appending to the journal")(error)),
    }
}

/// Takes or renews a lease; gives its token, or `None` while somebody else holds it.
pub async fn acquire<D: Dialect>(
    write: &mut D::Connection,
    lease: &str,
    holder: &str,
    now: Timestamp,
    ttl: Duration,
) -> Result<Option<u64>, StateError> {
    // A holder that is NULL (given back) equals nobody, the former holder neither: the token rises.
    let sql = "INSERT INTO lease (name, holder, token, until) VALUES ($1, $2, 1, $4) ON CONFLICT (name) DO UPDATE SET holder = $2, until = $4, \
         token = CASE WHEN lease.holder = $2 THEN lease.token ELSE lease.token + 1 END \
         WHERE lease.holder = $2 OR lease.holder IS NULL OR lease.until <= $3 RETURNING token";
    let args = args![lease, holder, now.micros(), now.plus(ttl).micros()];
    let found = D::rows(write, sql, args).await.map_err(failed::<D>("taking a lease"))?;
    let token = found.first().map(|row| rows::number::<D>(row, 0)).transpose()?;
    Ok(token.and_then(|token| u64::try_from(token).ok()))
}

/// Gives back the leases whose holder is `<node>/...`: nobody holds them, and whoever takes them next gets a higher token.
pub async fn give_back_all<D: Dialect>(write: &mut D::Connection, node: &str) -> Result<(), StateError> {
    let begins = format!("{node}/");
    let length = rows::int(begins.chars().count());
    let sql = "UPDATE lease SET holder = NULL WHERE SUBSTR(holder, 1, CAST($2 AS INTEGER)) = $1";
    D::run(write, sql, args![begins, length]).await.map(|_| ()).map_err(failed::<D>("giving leases back"))
}
