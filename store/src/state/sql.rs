//! The ports over SQL: one text for SQLite and PostgreSQL (`$1`, integers of microseconds, JSON as text; only [`Leases::now`] asks
//! a database for its clock).

mod commit;
#[cfg(test)]
mod tests;
mod work;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::event::Recorded;
use model::ids::WorkId;
use model::state::{Backlog, Commit, Fence, Journal, JournalQuery, Leases, Record, RecordQuery, Records, StateError, WorkRows};
use model::tenant::TenantId;
use model::time::{Clock, Timestamp};
use model::work::{Claim, Queue, Work, WorkQuery, WorkState};

use super::dialect::{Arg, Dialect, Synced, args, failed};
use super::rows;
use super::text::{USUAL_RECORDS, limit, storable};
use writer::Writer;

/// So many rows that are named are found shortly.
const FEW: usize = 64;
/// So much of the journal is read shortly.
const PAGE: usize = 256;

/// The state in an SQL database. Dropping it leaves connections to be closed in the background; [`SqlState::close`] waits for them.
pub struct SqlState<D: Dialect> {
    /// One connection: writes of this process queue up for it in order.
    writer: Arc<Writer<D>>,
    readers: D::Pool,
    /// `None`: the database's own clock counts.
    clock: Option<Arc<dyn Clock>>,
}

/// The first text, by bytes, after all that begin so; `None`: there is none.
fn after_all(beginning: &str) -> Option<String> {
    let mut text = beginning.to_owned();
    while let Some(last) = text.pop() {
        // Some numbers after a character's are none's.
        if let Some(next) = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// A condition list that is built while its arguments are numbered.
#[derive(Default)]
struct Conditions {
    text: String,
    args: Vec<Arg>,
}

impl Conditions {
    /// What a query asks of a record.
    fn of(query: &RecordQuery) -> Self {
        let mut wanted = Conditions::default();
        wanted.with("kind =", query.kind);
        if let Some(tenant) = &query.tenant {
            wanted.with("tenant =", tenant.as_str());
        }
        if let Some(key) = &query.key {
            wanted.with("key =", &*storable(key));
        }
        if let Some(begins) = &query.key_begins {
            let begins = storable(begins);
            wanted.with("key >=", &*begins);
            if let Some(end) = after_all(&begins) {
                wanted.with("key <", &*end);
            }
        }
        if let Some(before) = &query.before {
            wanted.with("id <", &*storable(before));
        }
        wanted.among("id", &query.ids);
        wanted.among("key", &query.keys);
        wanted.among("status", &query.statuses);
        if !query.statuses.is_empty() && query.statuses.iter().all(|status| !status.is_empty()) {
            wanted.also("status <> ''"); // the words of the index
        }
        wanted
    }
    /// Adds `left $n` for the argument.
    fn with(&mut self, left: &str, arg: impl Into<Arg>) {
        self.args.push(arg.into());
        self.also(&format!("{left} ${}", self.args.len()));
    }
    /// Adds a condition without arguments.
    fn also(&mut self, condition: &str) {
        self.text.push_str(if self.text.is_empty() { " WHERE " } else { " AND " });
        self.text.push_str(condition);
    }
    /// Adds `column IN ($n, ...)`; nothing where there are no values.
    fn among(&mut self, column: &str, values: &[String]) {
        if values.is_empty() {
            return;
        }
        let first = self.args.len() + 1;
        let places: Vec<String> = (first..first + values.len()).map(|n| format!("${n}")).collect();
        self.also(&format!("{column} IN ({})", places.join(", ")));
        self.args.extend(values.iter().map(|value| Arg::from(&*storable(value))));
    }
}

impl<D: Dialect> SqlState<D> {
    pub(super) fn new(writer: D::Pool, readers: D::Pool, clock: Option<Arc<dyn Clock>>) -> Self {
        SqlState { writer: Arc::new(Writer::new(writer)), readers, clock }
    }

    /// Makes its claims in the name of a node, which can [take them back](Leases::take_back) when it starts again.
    pub fn named(self, node: &str) -> Self {
        self.writer.name(node);
        self
    }

    /// Closes the connections once they are idle.
    pub async fn close(&self) {
        D::close(&self.readers).await;
        self.writer.close().await;
    }

    /// For what an index answers with few rows: it may hold up a write.
    async fn read(&self, doing: &'static str, sql: &str, args: Vec<Arg>) -> Result<Vec<D::Row>, StateError> {
        D::read(&self.readers, sql, args, false).await.map_err(failed::<D>(doing))
    }

    /// For what may go through many rows, where `long` says so.
    async fn read_as(&self, long: bool, doing: &'static str, sql: &str, args: Vec<Arg>) -> Result<Vec<D::Row>, StateError> {
        D::read(&self.readers, sql, args, long).await.map_err(failed::<D>(doing))
    }
}

#[async_trait]
impl<D: Dialect> Records for SqlState<D> {
    async fn commit(&self, commit: Commit) -> Result<Vec<u64>, StateError> {
        self.writer.commit(commit).await
    }

    async fn get(&self, tenant: &TenantId, kind: &'static str, id: &str) -> Result<Option<Record>, StateError> {
        let sql = "SELECT kind, tenant, id, key, status, version, updated_at, body FROM record WHERE kind = $1 AND tenant = $2 AND id = $3";
        let found = self.read("reading a record", sql, args![kind, tenant.as_str(), &*storable(id)]).await?;
        found.first().map(rows::record::<D>).transpose()
    }

    async fn find(&self, query: &RecordQuery) -> Result<Vec<Record>, StateError> {
        let mut wanted = Conditions::of(query);
        if !(query.keys.is_empty() && query.ids.is_empty() && query.key_begins.is_none()) {
            // Put in order here: asked for the newest, SQLite would go through all records of the kind instead of these.
            let sql = format!("SELECT {} FROM record{}", rows::RECORD, wanted.text);
            let found =
                self.read_as(query.ids.len().max(query.keys.len()) > FEW, "finding records by their names", &sql, wanted.args).await?;
            let mut found = found.iter().map(rows::record::<D>).collect::<Result<Vec<_>, _>>()?;
            found.sort_by(|a, b| (&b.id, b.tenant.as_str()).cmp(&(&a.id, a.tenant.as_str())));
            found.truncate(limit(query.limit, USUAL_RECORDS));
            return Ok(found);
        }
        wanted.args.push(rows::int(limit(query.limit, USUAL_RECORDS)).into());
        let Conditions { text, args } = wanted;
        let sql = format!("SELECT {} FROM record{text} ORDER BY id DESC, tenant DESC LIMIT ${}", rows::RECORD, args.len());
        let wide = query.key.is_none() && query.key_begins.is_none() && !query.few;
        self.read_as(wide, "finding records", &sql, args).await?.iter().map(rows::record::<D>).collect()
    }

    async fn count(&self, query: &RecordQuery) -> Result<u64, StateError> {
        let Conditions { text, args } = Conditions::of(query);
        let sql = format!("SELECT count(*) FROM record{text}");
        let found = self.read("counting records", &sql, args).await?;
        let count = found.first().map(|row| rows::number::<D>(row, 0)).transpose()?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }
}

#[async_trait]
impl<D: Dialect> Journal for SqlState<D> {
    async fn events(&self, query: &JournalQuery) -> Result<Vec<Recorded>, StateError> {
        let mut wanted = Conditions::default();
        wanted.with("seq >", rows::int(query.after));
        if let Some(tenant) = &query.tenant {
            wanted.with("tenant =", tenant.as_str());
        }
        if let Some(incident) = query.incident {
            wanted.with("incident =", incident.to_string());
        }
        if let Some(alert) = query.alert {
            wanted.with("alert =", alert.to_string());
        }
        wanted.args.push(rows::int(limit(query.limit, USUAL_RECORDS)).into());
        let Conditions { text, args } = wanted;
        let sql = format!("SELECT seq, body FROM journal{text} ORDER BY seq LIMIT ${}", args.len());
        let chosen = query.tenant.is_some() || query.incident.is_some() || query.alert.is_some();
        self.read_as(chosen || limit(query.limit, USUAL_RECORDS) > PAGE, "reading the journal", &sql, args)
            .await?
            .iter()
            .map(rows::recorded::<D>)
            .collect()
    }

    async fn head(&self) -> Result<u64, StateError> {
        let found = self.read("reading the journal's head", commit::HEAD, Vec::new()).await?;
        let head = found.first().map(|row| rows::number::<D>(row, 0)).transpose()?;
        Ok(head.and_then(|head| u64::try_from(head).ok()).unwrap_or(0))
    }
}

#[async_trait]
impl<D: Dialect> WorkRows for SqlState<D> {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Work>, StateError> {
        let (now, queue) = (claim.now.micros(), claim.queue.as_str());
        // Nearly always nothing is due: that costs no turn.
        if self.read("looking for due work", work::DUE, args![1, queue, now]).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut write = self.writer.begin("claiming work", Synced::WithTheNext).await?;
        let claimed = work::claim::<D>(&mut write, claim, self.writer.node()).await?;
        D::commit(write).await.map_err(failed::<D>("claiming work"))?;
        Ok(claimed)
    }

    async fn list(&self, query: &WorkQuery) -> Result<Vec<Work>, StateError> {
        let mut wanted = Conditions::default();
        if let Some(tenant) = &query.tenant {
            // Few rows of any tenant are pending, many of each are finished: SQLite is kept from the index that has both.
            let pending = query.state == Some(WorkState::Pending);
            wanted.with(if pending { "tenant || '' =" } else { "tenant =" }, tenant.as_str());
        }
        if let Some(queue) = query.queue {
            wanted.with("queue =", queue.as_str());
        }
        if let Some(state) = query.state {
            // As a word of the statement: the indexes of what is pending or dead are for these words.
            wanted.also(&format!("state = '{}'", state.as_str()));
        }
        let ids: Vec<String> = query.ids.iter().map(ToString::to_string).collect();
        wanted.among("id", &ids);
        if let Some(alert) = query.alert {
            wanted.with("subject_alert =", alert.to_string());
        }
        if let Some(incident) = query.incident {
            wanted.with("subject_incident =", incident.to_string());
        }
        if let Some(since) = query.since {
            wanted.with("id >=", WorkId::lowest(since).to_string());
        }
        if let Some(before) = query.before {
            wanted.with("id <", before.to_string());
        }
        wanted.args.push(rows::int(limit(query.limit, super::text::USUAL_WORK)).into());
        let Conditions { text, args } = wanted;
        let sql = format!("SELECT {} FROM work{text} ORDER BY id DESC LIMIT ${}", rows::WORK, args.len());
        self.read_as(query.ids.is_empty() || query.ids.len() > FEW, "listing work", &sql, args).await?.iter().map(rows::work::<D>).collect()
    }

    async fn pending(&self, queue: Queue) -> Result<Vec<WorkId>, StateError> {
        let sql = "SELECT id FROM work WHERE queue = $1 AND state = 'pending'";
        // An index has them, and who asks knows that there are few.
        let found = self.read("listing pending work", sql, args![queue.as_str()]).await?;
        found.iter().map(rows::work_id::<D>).collect()
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<Backlog>, StateError> {
        let found = self.read_as(true, "counting work", work::BACKLOG, Vec::new()).await?;
        work::backlog::<D>(&found, now)
    }

    async fn next_due_in(&self, queue: Queue, now: Timestamp) -> Result<Option<Timestamp>, StateError> {
        let first = |found: Vec<D::Row>| {
            let times = found.iter().map(|row| rows::number::<D>(row, 0)).collect::<Result<Vec<i64>, _>>()?;
            Ok::<_, StateError>(times.into_iter().min())
        };
        let free = first(self.read("looking for the next work", work::NEXT_FREE, args![1, queue.as_str()]).await?)?;
        if let Some(free) = free.filter(|free| *free <= now.micros()) {
            return Ok(Some(Timestamp::from_micros(free)));
        }
        let held = first(self.read("looking for held work", work::NEXT_HELD, args![queue.as_str(), now.micros()]).await?)?;
        Ok(free.into_iter().chain(held).min().map(Timestamp::from_micros))
    }

    async fn prune_work(&self, before: Timestamp) -> Result<u64, StateError> {
        let mut pruned = 0;
        loop {
            let mut write = self.writer.begin("pruning work", Synced::Yes).await?;
            let gone = work::prune::<D>(&mut write, before.micros()).await?;
            D::commit(write).await.map_err(failed::<D>("pruning work"))?;
            pruned += gone;
            if gone < work::PRUNED_AT_ONCE {
                return Ok(pruned);
            }
        }
    }
}

#[async_trait]
impl<D: Dialect> Leases for SqlState<D> {
    async fn acquire(&self, lease: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<Option<Fence>, StateError> {
        let mut write = self.writer.begin("taking a lease", Synced::Yes).await?;
        let token = commit::acquire::<D>(&mut write, lease, holder, now, ttl).await?;
        D::commit(write).await.map_err(failed::<D>("taking a lease"))?;
        Ok(token.map(|token| Fence { lease: lease.to_owned(), token }))
    }

    async fn release(&self, fence: &Fence, holder: &str) -> Result<(), StateError> {
        let mut write = self.writer.begin("giving a lease back", Synced::Yes).await?;
        let sql = "UPDATE lease SET holder = NULL WHERE name = $1 AND holder = $2 AND token = $3";
        D::run(&mut write, sql, args![&*fence.lease, holder, rows::int(fence.token)]).await.map_err(failed::<D>("giving a lease back"))?;
        D::commit(write).await.map_err(failed::<D>("giving a lease back"))
    }

    async fn take_back(&self, node: &str) -> Result<u64, StateError> {
        let mut write = self.writer.begin("taking back what this node held", Synced::Yes).await?;
        commit::give_back_all::<D>(&mut write, node).await?;
        let freed = work::free::<D>(&mut write, node).await?;
        D::commit(write).await.map_err(failed::<D>("taking back what this node held"))?;
        Ok(freed)
    }

    async fn now(&self) -> Result<Timestamp, StateError> {
        if let Some(clock) = &self.clock {
            return Ok(clock.now());
        }
        let sql = "SELECT CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000) AS BIGINT)";
        let found = self.read("asking for the time", sql, Vec::new()).await?;
        let now = found.first().map(|row| rows::number::<D>(row, 0)).transpose()?;
        Ok(now.map_or(Timestamp::EPOCH, Timestamp::from_micros))
    }
}
