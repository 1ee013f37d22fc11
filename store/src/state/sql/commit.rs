//! What a commit writes besides work rows: records under their versions, journal events under their numbers, and the lease that
//! fences it.

use std::time::Duration;

use model::event::Event;
use model::state::{Expect, Fence, Put, StateError};
use model::time::Timestamp;
use sqlx::SqlSafeStr;

use super::super::dialect::{Arg, Dialect, args, failed, is_taken};
use super::super::rows;
use super::super::text::storable;

/// The number of the newest event. The journal is append-only, and a writer that asks has its turn.
pub const HEAD: &str = "SELECT COALESCE(MAX(seq), 0) FROM journal";

/// Refuses the commit unless the lease is held at the fence's token. A lease that ran out and that nobody took is still held.
pub async fn fence<D: Dialect>(write: &mut D::Connection, fence: &Fence) -> Result<(), StateError> {
    let sql = "SELECT token FROM lease WHERE name = $1 AND token = $2 AND holder IS NOT NULL".into_sql_str();
    let found = D::rows(write, sql, args![&*fence.lease, rows::int(fence.token)]).await.map_err(failed("checking the lease"))?;
    if found.is_empty() { Err(StateError::Fenced { lease: fence.lease.clone() }) } else { Ok(()) }
}

const INSERT: &str = "INSERT INTO record (kind, tenant, id, key, status, updated_at, body, version) VALUES ($1, $2, $3, $4, $5, $6, $7, 1) \
     ON CONFLICT DO NOTHING";
const UPSERT: &str = "INSERT INTO record (kind, tenant, id, key, status, updated_at, body, version) VALUES ($1, $2, $3, $4, $5, $6, $7, 1) \
     ON CONFLICT (kind, tenant, id) DO UPDATE SET key = $4, status = $5, version = record.version + 1, updated_at = $6, body = $7";
const UPDATE: &str = "UPDATE record SET key = $4, status = $5, version = version + 1, updated_at = $6, body = $7 \
     WHERE kind = $1 AND tenant = $2 AND id = $3 AND version = $8";

/// Writes or deletes one record.
pub async fn put<D: Dialect>(write: &mut D::Connection, put: &Put, at: Timestamp) -> Result<(), StateError> {
    let conflict = || StateError::Conflict { what: format!("{} {}", put.kind, put.id) };
    let mut args = args![put.kind, put.tenant.as_str(), &*storable(&put.id)];
    let Some(body) = &put.body else { return delete::<D>(write, put, args).await };
    let key = put.key.as_deref().map(|key| storable(key).into_owned());
    args.extend(args![key, &*storable(&put.status), at.micros(), body.to_string()]);
    let sql = match put.expect {
        Expect::New => INSERT,
        Expect::Any => UPSERT,
        Expect::Version(version) => {
            args.push(rows::int(version).into());
            UPDATE
        }
    };
    match D::run(write, sql.into_sql_str(), args).await {
        Ok(1) => Ok(()),
        Ok(_) => Err(conflict()),
        Err(error) if is_taken(&error) => Err(conflict()),
        Err(error) => Err(failed("writing a record")(error)),
    }
}

async fn delete<D: Dialect>(write: &mut D::Connection, put: &Put, mut args: Vec<Arg>) -> Result<(), StateError> {
    let (sql, wanted) = match put.expect {
        Expect::Version(version) => {
            args.push(rows::int(version).into());
            ("DELETE FROM record WHERE kind = $1 AND tenant = $2 AND id = $3 AND version = $4", Some(1))
        }
        Expect::Any => ("DELETE FROM record WHERE kind = $1 AND tenant = $2 AND id = $3", None),
        // Nothing is expected to be there: a row that is there, and would go, is a conflict.
        Expect::New => ("DELETE FROM record WHERE kind = $1 AND tenant = $2 AND id = $3", Some(0)),
    };
    let gone = D::run(write, sql.into_sql_str(), args).await.map_err(failed("deleting a record"))?;
    let fits = wanted.is_none_or(|wanted| wanted == gone);
    if fits { Ok(()) } else { Err(StateError::Conflict { what: format!("{} {}", put.kind, put.id) }) }
}

/// Appends events under the next numbers; the writer has its turn, so that nobody else takes them. Returns the numbers.
pub async fn append<D: Dialect>(write: &mut D::Connection, events: &[Event]) -> Result<Vec<u64>, StateError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let found = D::rows(write, HEAD.into_sql_str(), Vec::new()).await.map_err(failed("reading the journal's head"))?;
    let head = found.first().map(|row| rows::number::<D>(row, 0)).transpose()?.unwrap_or(0);
    let mut numbers = Vec::with_capacity(events.len());
    for (seq, event) in (head + 1..).zip(events) {
        append_one::<D>(write, seq, event).await?;
        numbers.push(u64::try_from(seq).unwrap_or(0));
    }
    Ok(numbers)
}

async fn append_one<D: Dialect>(write: &mut D::Connection, seq: i64, event: &Event) -> Result<(), StateError> {
    let id = event.id.to_string();
    let wrong = |source| StateError::Body { kind: "event".to_owned(), id: id.clone(), source };
    let sql = "INSERT INTO journal (seq, id, tenant, at, actor, alert, incident, kind, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let args = args![
        seq,
        &*id,
        event.tenant.as_str(),
        event.at.micros(),
        serde_json::to_string(&event.actor).map_err(wrong)?,
        event.subject.alert.map(|alert| alert.to_string()),
        event.subject.incident.map(|incident| incident.to_string()),
        event.kind.tag(),
        serde_json::to_string(event).map_err(wrong)?,
    ];
    match D::run(write, sql.into_sql_str(), args).await {
        Ok(_) => Ok(()),
        Err(error) if is_taken(&error) => Err(StateError::Conflict { what: format!("event {id}") }),
        Err(error) => Err(failed("appending to the journal")(error)),
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
    let found = D::rows(write, sql.into_sql_str(), args).await.map_err(failed("taking a lease"))?;
    let token = found.first().map(|row| rows::number::<D>(row, 0)).transpose()?;
    Ok(token.and_then(|token| u64::try_from(token).ok()))
}

/// Gives back the leases whose holder is `<node>/...`: nobody holds them, and whoever takes them next gets a higher token.
pub async fn give_back_all<D: Dialect>(write: &mut D::Connection, node: &str) -> Result<(), StateError> {
    let begins = format!("{node}/");
    let length = rows::int(begins.chars().count());
    let sql = "UPDATE lease SET holder = NULL WHERE SUBSTR(holder, 1, CAST($2 AS INTEGER)) = $1".into_sql_str();
    D::run(write, sql, args![begins, length]).await.map(|_| ()).map_err(failed("giving leases back"))
}
