//! Work rows in SQL: how they are scheduled, claimed, changed by the holder of the claim, counted and at last deleted.

use std::collections::BTreeMap;

use model::ids::WorkId;
use model::state::{Backlog, StateError};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Claim, FIRST_LEASE, NewWork, QUEUES, Queue, Work, WorkChange};

use super::super::dialect::{Arg, Dialect, args, failed, is_taken};
use super::super::rows;
use super::super::text::{backlogs, limit, storable};
use super::commit::{places, sizes};

/// One statement for each lane, joined by `UNION ALL`. The index has the rows of a lane in the order of
/// their times: nothing is sorted, and no more than what is wanted is read.
macro_rules! lanes {
    ($select:literal) => {
        concat!(
            "SELECT * FROM (",
            $select,
            " AND lane = 0 ORDER BY due_at, id LIMIT $1) AS page UNION ALL SELECT * FROM (",
            $select,
            " AND lane = 1 ORDER BY due_at, id LIMIT $1) AS chat UNION ALL SELECT * FROM (",
            $select,
            " AND lane = 2 ORDER BY due_at, id LIMIT $1) AS mail"
        )
    };
}

/// `$1` rows of each lane of queue `$2` that are due at `$3` and that nobody holds.
pub const DUE: &str = lanes!(
    "SELECT id, lane, due_at FROM work WHERE queue = $2 AND state = 'pending' AND due_at <= $3 AND (lease_until IS NULL OR lease_until <= $3)"
);

/// For each lane of queue `$2`, when the first row that nobody holds is due; `$1` is 1.
pub const NEXT_FREE: &str = lanes!("SELECT due_at FROM work WHERE queue = $2 AND state = 'pending' AND lease_until IS NULL");

/// When the first lease on a row of queue `$1` ends. Rows that are held were due, and where this is asked no other row is: few are read.
pub const NEXT_HELD: &str = "SELECT lease_until FROM work WHERE queue = $1 AND state = 'pending' AND lane IN (0, 1, 2) AND due_at <= $2 AND \
     lease_until IS NOT NULL ORDER BY lease_until LIMIT 1";

/// How many rows one transaction of [`prune`] deletes at most.
pub const PRUNED_AT_ONCE: u64 = 1_000;

/// Per queue, in one row or two: rows that are pending, dead letters, and when the first pending one was due.
pub const BACKLOG: &str = "SELECT queue, COUNT(*), 0, MIN(due_at) FROM work WHERE state = 'pending' GROUP BY queue UNION ALL \
     SELECT queue, 0, COUNT(*), 9223372036854775807 FROM work WHERE state = 'dead' GROUP BY queue";

/// Takes due rows that nobody holds.
pub async fn claim<D: Dialect>(write: &mut D::Connection, claim: &Claim, node: Option<&str>) -> Result<Vec<Work>, StateError> {
    // The conditions stand in the outer statement too: whoever changes a row first has it, even without a turn.
    let sql = format!(
        "{} work SET lease = lease + 1, lease_until = $4, holder = $5, attempts = attempts + 1 WHERE id IN \
         (SELECT id FROM ({DUE}) AS due ORDER BY lane, due_at, id LIMIT $1) AND \
         state = 'pending' AND (lease_until IS NULL OR lease_until <= $3) RETURNING {}",
        D::UPDATE,
        rows::WORK
    );
    let until = claim.now.plus(claim.lease_for).micros();
    let most = rows::int(limit(claim.limit, super::super::text::USUAL_WORK));
    let args = args![most, claim.queue.as_str(), claim.now.micros(), until, node.map(str::to_owned)];
    let found = D::rows(write, &sql, args).await.map_err(failed::<D>("claiming work"))?;
    let mut claimed: Vec<Work> = found.iter().map(rows::work::<D>).collect::<Result<_, _>>()?;
    claimed.sort_by_key(|work| (work.lane, work.due_at, work.id));
    Ok(claimed)
}

/// The rows of node `$1` that are held, by the index of what is pending: it begins with the queue.
pub fn free_statement() -> String {
    let queues = QUEUES.map(|queue| format!("'{}'", queue.as_str())).join(", ");
    format!(
        "UPDATE work SET lease_until = NULL WHERE state = 'pending' AND queue IN ({queues}) AND holder = $1 AND lease_until IS NOT NULL"
    )
}

/// Ends the claims of a node that is gone; gives how many. Whoever made them can no longer change the rows.
pub async fn free<D: Dialect>(write: &mut D::Connection, node: &str) -> Result<u64, StateError> {
    D::run(write, &free_statement(), args![node]).await.map_err(failed::<D>("freeing work"))
}

/// What a change by the holder of a claim requires.
macro_rules! held {
    ($set:literal) => {
        concat!("UPDATE work SET ", $set, " WHERE id = $1 AND tenant = $2 AND lease = $3 AND lease_until IS NOT NULL AND state = 'pending'")
    };
}

/// What changes have in common that are one statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// New rows that nobody holds; of a key that is there the row stays as it is.
    Schedule,
    /// New rows that are held.
    Take,
    /// Rows that are done.
    Done,
    /// One by itself.
    One,
}

impl Way {
    fn of(change: &WorkChange) -> Self {
        match change {
            WorkChange::Schedule(_) => Way::Schedule,
            WorkChange::Take { .. } => Way::Take,
            WorkChange::Done { .. } => Way::Done,
            WorkChange::Cancel { .. }
            | WorkChange::Progress { .. }
            | WorkChange::Retry { .. }
            | WorkChange::Dead { .. }
            | WorkChange::Replay { .. } => Way::One,
        }
    }
}

/// A change, whose it is and its moment.
type Change<'a> = (&'a (TenantId, WorkChange), Timestamp);

/// Applies changes, in order; rows that are written one after the other in one statement. Rows that are held are so in the name of a node.
pub async fn changes<D: Dialect>(write: &mut D::Connection, changes: &[Change<'_>], node: Option<&str>) -> Result<(), StateError> {
    for alike in changes.chunk_by(|(a, _), (b, _)| Way::of(&a.1) == Way::of(&b.1)) {
        let Some(way) = alike.first().map(|((_, change), _)| Way::of(change)) else { continue };
        let mut rows = alike.iter().filter_map(|((tenant, change), at)| row(tenant, change, *at, node));
        let statements = sizes(alike.len()).map(|some| (some, rows.by_ref().take(some).flatten().collect::<Vec<Arg>>()));
        match way {
            Way::Schedule => {
                for (rows, args) in statements {
                    schedule::<D>(write, rows, args).await?;
                }
            }
            Way::Take => {
                for (rows, args) in statements {
                    take::<D>(write, rows, args).await?;
                }
            }
            Way::Done => {
                for (rows, args) in statements {
                    done::<D>(write, rows, args).await?;
                }
            }
            Way::One => {
                for ((tenant, one), at) in alike {
                    change::<D>(write, tenant, one, *at).await?;
                }
            }
        }
    }
    Ok(())
}

/// Applies one change of a row that is there.
async fn change<D: Dialect>(write: &mut D::Connection, tenant: &TenantId, change: &WorkChange, at: Timestamp) -> Result<(), StateError> {
    let by = |id: &WorkId, lease: u64| args![id.to_string(), tenant.as_str(), rows::int(lease)];
    let (id, sql, mut args, more): (_, _, _, Vec<Arg>) = match change {
        WorkChange::Schedule(_) | WorkChange::Take { .. } | WorkChange::Done { .. } => return Ok(()), // many at once
        WorkChange::Cancel { queue, key } => return cancel::<D>(write, tenant, *queue, key, at).await,
        WorkChange::Progress { id, lease, progress } => (id, held!("progress = $4"), by(id, *lease), args![progress.to_string()]),
        WorkChange::Retry { id, lease, due_at, error, progress } => (
            id,
            held!("due_at = $4, error = $5, progress = $6, lease_until = NULL"),
            by(id, *lease),
            args![due_at.micros(), &*storable(error), progress.as_ref().map(ToString::to_string)],
        ),
        WorkChange::Dead { id, lease, error } => {
            (id, held!("state = 'dead', error = $4, lease_until = NULL"), by(id, *lease), args![&*storable(error)])
        }
        WorkChange::Replay { id, due_at } => (
            id,
            "UPDATE work SET state = 'pending', attempts = 0, due_at = $3 WHERE id = $1 AND tenant = $2 AND state = 'dead'",
            args![id.to_string(), tenant.as_str()],
            args![due_at.micros()],
        ),
    };
    args.extend(more);
    let changed = D::run(write, sql, args).await.map_err(failed::<D>("changing work"))?;
    if changed == 1 { Ok(()) } else { Err(StateError::Conflict { what: format!("work {id}") }) }
}

/// What is written of a row where many are written at once.
fn row(tenant: &TenantId, change: &WorkChange, at: Timestamp, node: Option<&str>) -> Option<Vec<Arg>> {
    match change {
        WorkChange::Schedule(new) => Some(columns(tenant, new, at)),
        WorkChange::Take { new, lease_for, progress } => {
            let mut row = columns(tenant, new, at);
            row.extend(args![progress.to_string(), at.plus(*lease_for).micros(), node.map(str::to_owned)]);
            Some(row)
        }
        WorkChange::Done { id, lease } => Some(args![id.to_string(), tenant.as_str(), rows::int(*lease), at.micros()]),
        WorkChange::Cancel { .. }
        | WorkChange::Progress { .. }
        | WorkChange::Retry { .. }
        | WorkChange::Dead { .. }
        | WorkChange::Replay { .. } => None,
    }
}

fn columns(tenant: &TenantId, new: &NewWork, at: Timestamp) -> Vec<Arg> {
    args![
        new.id(tenant, at).to_string(),
        tenant.as_str(),
        new.queue.as_str(),
        &*storable(&new.key),
        new.lane.number(),
        new.subject.alert.map(|alert| alert.to_string()),
        new.subject.incident.map(|incident| incident.to_string()),
        new.due_at.micros(),
        new.body.as_str(),
        at.micros(),
    ]
}

async fn schedule<D: Dialect>(write: &mut D::Connection, rows: usize, args: Vec<Arg>) -> Result<(), StateError> {
    let sql = format!(
        "{} work (id, tenant, queue, key, lane, subject_alert, subject_incident, due_at, body, created_at, state, attempts, lease) \
         VALUES {} ON CONFLICT (tenant, queue, key) DO NOTHING",
        D::INSERT,
        places(rows, 10, ", 'pending', 0, 0")
    );
    D::run(write, &sql, args).await.map(|_| ()).map_err(failed::<D>("scheduling work"))
}

async fn take<D: Dialect>(write: &mut D::Connection, rows: usize, args: Vec<Arg>) -> Result<(), StateError> {
    let sql = format!(
        "{} work (id, tenant, queue, key, lane, subject_alert, subject_incident, due_at, body, created_at, progress, lease_until, \
         holder, state, attempts, lease) VALUES {}",
        D::INSERT,
        places(rows, 13, &format!(", 'pending', 1, {FIRST_LEASE}"))
    );
    match D::run(write, &sql, args).await {
        Ok(_) => Ok(()),
        Err(error) if is_taken::<D>(&error) => Err(StateError::Conflict { what: format!("one of {rows} work rows") }),
        Err(error) => Err(failed::<D>("writing work that is held")(error)),
    }
}

/// So many rows, of `id`, `tenant`, `lease` and the moment, are done: as their holder, of each.
pub fn done_statement<D: Dialect>(rows: usize) -> String {
    format!(
        "{} work SET state = 'done', finished_at = v.column4, lease_until = NULL FROM (VALUES {}) AS v WHERE work.id = v.column1 AND \
         work.tenant = v.column2 AND work.lease = v.column3 AND work.lease_until IS NOT NULL AND work.state = 'pending'",
        D::UPDATE,
        places(rows, 4, "")
    )
}

async fn done<D: Dialect>(write: &mut D::Connection, rows: usize, args: Vec<Arg>) -> Result<(), StateError> {
    let what = match args.first() {
        Some(Arg::Text(id)) if rows == 1 => format!("work {id}"),
        _ => format!("one of {rows} work rows"),
    };
    let changed = D::run(write, &done_statement::<D>(rows), args).await.map_err(failed::<D>("finishing work"))?;
    if changed == rows as u64 { Ok(()) } else { Err(StateError::Conflict { what }) }
}

async fn cancel<D: Dialect>(
    write: &mut D::Connection,
    tenant: &TenantId,
    queue: Queue,
    key: &str,
    at: Timestamp,
) -> Result<(), StateError> {
    let sql = "UPDATE work SET state = 'cancelled', finished_at = $4, lease_until = NULL WHERE tenant = $1 AND queue = $2 AND key = $3 AND \
         state = 'pending'";
    let args = args![tenant.as_str(), queue.as_str(), &*storable(key), at.micros()];
    D::run(write, sql, args).await.map(|_| ()).map_err(failed::<D>("cancelling work"))
}

/// Deletes some rows that ended before a moment in microseconds; gives how many.
pub async fn prune<D: Dialect>(write: &mut D::Connection, before: i64) -> Result<u64, StateError> {
    let sql = "DELETE FROM work WHERE id IN (SELECT id FROM work WHERE finished_at < $1 LIMIT $2)";
    D::run(write, sql, args![before, rows::int(PRUNED_AT_ONCE)]).await.map_err(failed::<D>("pruning work"))
}

/// Reads [`BACKLOG`]'s rows.
pub fn backlog<D: Dialect>(found: &[D::Row], now: Timestamp) -> Result<Vec<Backlog>, StateError> {
    let mut counts = BTreeMap::new();
    for row in found {
        let Some(queue) = Queue::parse(&rows::text::<D>(row, 0)?) else { continue };
        let natural = |column| rows::number::<D>(row, column).map(|number| u64::try_from(number).unwrap_or(0));
        let (pending, dead, due) = counts.entry(queue).or_insert((0, 0, Timestamp::from_micros(i64::MAX)));
        (*pending, *dead) = (*pending + natural(1)?, *dead + natural(2)?);
        *due = (*due).min(Timestamp::from_micros(rows::number::<D>(row, 3)?));
    }
    Ok(backlogs(&counts, now))
}
