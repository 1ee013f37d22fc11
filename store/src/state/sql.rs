//! The SQL that SQLite and PostgreSQL share, as a macro over the sqlx database: one text, one meaning. What differs (how a
//! commit takes its turn, whose clock counts) stands in `sqlite.rs` and `postgres.rs`.

/// Implements the ports for a type with the inherent methods `pool(&self) -> &Pool<$db>`, `begin(&self)` (a transaction that holds
/// the commit turn) and `present(&self)` (the one clock).
macro_rules! sql_state {
    ($state:ty, $db:ty) => {
        use async_trait::async_trait;
        use model::event::{Event, Recorded};
        use model::ids::WorkId;
        use model::state::{
            Backlog, Commit, Expect, Fence, Journal, JournalQuery, Leases, Put, Record, RecordQuery, Records, StateError, WorkRows,
        };
        use model::tenant::TenantId;
        use model::time::Timestamp;
        use model::work::{Claim, Queue, Work, WorkChange, WorkQuery};
        use sqlx::{AssertSqlSafe, Transaction};

        use $crate::state::failed;
        use $crate::state::rows::{self, EventRow, RecordRow, WORK_COLUMNS, WorkRow, int, limit};

        type Tx = Transaction<'static, $db>;

        fn conflict(what: String) -> StateError {
            StateError::Conflict { what }
        }

        async fn check_fence(tx: &mut Tx, fence: &Fence) -> Result<(), StateError> {
            let held: Option<(i64,)> = sqlx::query_as("SELECT token FROM lease WHERE name = $1")
                .bind(&fence.lease)
                .fetch_optional(&mut **tx)
                .await
                .map_err(failed("checking the lease"))?;
            if held == Some((int(fence.token),)) { Ok(()) } else { Err(StateError::Fenced { lease: fence.lease.clone() }) }
        }

        async fn apply_put(tx: &mut Tx, put: &Put, at: i64) -> Result<(), StateError> {
            let what = || conflict(format!("{} {}", put.kind, put.id));
            let Some(body) = &put.body else { return delete(tx, put).await };
            let body = body.to_string();
            let sql = match put.expect {
                Expect::New => "INSERT INTO record (kind, tenant, id, key, status, version, updated_at, body) VALUES ($1, $2, $3, $4, $5, 1, $6, $7) ON CONFLICT DO NOTHING",
                Expect::Any => "INSERT INTO record (kind, tenant, id, key, status, version, updated_at, body) VALUES ($1, $2, $3, $4, $5, 1, $6, $7) ON CONFLICT (kind, tenant, id) DO UPDATE SET key = $4, status = $5, version = record.version + 1, updated_at = $6, body = $7",
                Expect::Version(_) => "UPDATE record SET key = $4, status = $5, version = version + 1, updated_at = $6, body = $7 WHERE kind = $1 AND tenant = $2 AND id = $3 AND version = $8",
            };
            let mut query = sqlx::query(sql)
                .bind(put.kind)
                .bind(put.tenant.as_str())
                .bind(&put.id)
                .bind(&put.key)
                .bind(&put.status)
                .bind(at)
                .bind(body);
            if let Expect::Version(version) = put.expect {
                query = query.bind(int(version));
            }
            let done = query.execute(&mut **tx).await.map_err(failed("writing a record"))?;
            if done.rows_affected() == 1 { Ok(()) } else { Err(what()) }
        }

        async fn delete(tx: &mut Tx, put: &Put) -> Result<(), StateError> {
            let version = match put.expect {
                Expect::Version(version) => int(version),
                Expect::Any => -1,
                Expect::New => return Err(conflict(format!("{} {}", put.kind, put.id))),
            };
            let done = sqlx::query("DELETE FROM record WHERE kind = $1 AND tenant = $2 AND id = $3 AND ($4 = -1 OR version = $4)")
                .bind(put.kind)
                .bind(put.tenant.as_str())
                .bind(&put.id)
                .bind(version)
                .execute(&mut **tx)
                .await
                .map_err(failed("deleting a record"))?;
            if done.rows_affected() == 1 || version == -1 { Ok(()) } else { Err(conflict(format!("{} {}", put.kind, put.id))) }
        }

        async fn append(tx: &mut Tx, events: &[Event]) -> Result<Vec<u64>, StateError> {
            if events.is_empty() {
                return Ok(Vec::new());
            }
            let (head,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(seq), 0) FROM journal")
                .fetch_one(&mut **tx)
                .await
                .map_err(failed("reading the journal's head"))?;
            let mut numbers = Vec::with_capacity(events.len());
            for (seq, event) in (head + 1..).zip(events) {
                let body = serde_json::to_string(event).map_err(|source| StateError::Body {
                    kind: "event".to_owned(),
                    id: event.id.to_string(),
                    source,
                })?;
                sqlx::query("INSERT INTO journal (seq, id, tenant, at, kind, alert, incident, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
                    .bind(seq)
                    .bind(event.id.to_string())
                    .bind(event.tenant.as_str())
                    .bind(event.at.micros())
                    .bind(event.kind.tag())
                    .bind(event.subject.alert.map(|id| id.to_string()))
                    .bind(event.subject.incident.map(|id| id.to_string()))
                    .bind(body)
                    .execute(&mut **tx)
                    .await
                    .map_err(failed("appending to the journal"))?;
                numbers.push(u64::try_from(seq).unwrap_or(0));
            }
            Ok(numbers)
        }

        async fn schedule(tx: &mut Tx, tenant: &TenantId, new: &model::work::NewWork, at: Timestamp) -> Result<(), StateError> {
            let cause = format!("{tenant}/{}/{}", new.queue.as_str(), new.key);
            let text = |value: Result<String, serde_json::Error>| {
                value.map_err(|source| StateError::Body { kind: "work".to_owned(), id: cause.clone(), source })
            };
            sqlx::query("INSERT INTO work (id, tenant, queue, key, lane, subject, state, due_at, attempts, body, created_at, lease, lease_until) VALUES ($1, $2, $3, $4, $5, $6, 'pending', $7, 0, $8, $9, 0, 0) ON CONFLICT (tenant, queue, key) DO NOTHING")
                .bind(WorkId::derived(at, &cause).to_string())
                .bind(tenant.as_str())
                .bind(new.queue.as_str())
                .bind(&new.key)
                .bind(new.lane.number())
                .bind(text(serde_json::to_string(&new.subject))?)
                .bind(new.due_at.micros())
                .bind(new.body.to_string())
                .bind(at.micros())
                .execute(&mut **tx)
                .await
                .map_err(failed("scheduling work"))?;
            Ok(())
        }

        async fn apply_work(tx: &mut Tx, tenant: &TenantId, change: &WorkChange, at: Timestamp) -> Result<(), StateError> {
            let now = at.micros();
            let (id, query) = match change {
                WorkChange::Schedule(new) => return schedule(tx, tenant, new, at).await,
                WorkChange::Cancel { queue, key } => {
                    sqlx::query("UPDATE work SET state = 'cancelled', finished_at = $4 WHERE tenant = $1 AND queue = $2 AND key = $3 AND state = 'pending'")
                        .bind(tenant.as_str())
                        .bind(queue.as_str())
                        .bind(key)
                        .bind(now)
                        .execute(&mut **tx)
                        .await
                        .map_err(failed("cancelling work"))?;
                    return Ok(());
                }
                WorkChange::Progress { id, lease, progress } => (
                    id,
                    sqlx::query("UPDATE work SET progress = $3 WHERE id = $1 AND lease = $2 AND state = 'pending' AND lease_until > 0")
                        .bind(id.to_string())
                        .bind(int(*lease))
                        .bind(progress.to_string()),
                ),
                WorkChange::Done { id, lease } => (
                    id,
                    sqlx::query("UPDATE work SET state = 'done', finished_at = $3, lease_until = 0 WHERE id = $1 AND lease = $2 AND state = 'pending' AND lease_until > 0")
                        .bind(id.to_string())
                        .bind(int(*lease))
                        .bind(now),
                ),
                WorkChange::Retry { id, lease, due_at, error, progress } => (
                    id,
                    sqlx::query("UPDATE work SET due_at = $3, error = $4, progress = $5, lease_until = 0 WHERE id = $1 AND lease = $2 AND state = 'pending' AND lease_until > 0")
                        .bind(id.to_string())
                        .bind(int(*lease))
                        .bind(due_at.micros())
                        .bind(error)
                        .bind(progress.as_ref().map(ToString::to_string)),
                ),
                WorkChange::Dead { id, lease, error } => (
                    id,
                    sqlx::query("UPDATE work SET state = 'dead', error = $3, finished_at = $4, lease_until = 0 WHERE id = $1 AND lease = $2 AND state = 'pending' AND lease_until > 0")
                        .bind(id.to_string())
                        .bind(int(*lease))
                        .bind(error)
                        .bind(now),
                ),
                WorkChange::Replay { id, due_at } => (
                    id,
                    sqlx::query("UPDATE work SET state = 'pending', attempts = 0, due_at = $3, finished_at = NULL, lease_until = 0 WHERE id = $1 AND tenant = $2 AND state = 'dead'")
                        .bind(id.to_string())
                        .bind(tenant.as_str())
                        .bind(due_at.micros()),
                ),
            };
            let done = query.execute(&mut **tx).await.map_err(failed("changing work"))?;
            if done.rows_affected() == 1 { Ok(()) } else { Err(conflict(format!("work {id}"))) }
        }

        #[async_trait]
        impl Records for $state {
            async fn commit(&self, commit: Commit) -> Result<Vec<u64>, StateError> {
                let mut tx = self.begin().await?;
                if let Some(fence) = &commit.fence {
                    check_fence(&mut tx, fence).await?;
                }
                for put in &commit.puts {
                    apply_put(&mut tx, put, commit.at.micros()).await?;
                }
                let numbers = append(&mut tx, &commit.events).await?;
                for (tenant, change) in &commit.work {
                    apply_work(&mut tx, tenant, change, commit.at).await?;
                }
                tx.commit().await.map_err(failed("committing"))?;
                Ok(numbers)
            }

            async fn get(&self, tenant: &TenantId, kind: &'static str, id: &str) -> Result<Option<Record>, StateError> {
                let row: Option<RecordRow> = sqlx::query_as("SELECT kind, tenant, id, key, status, version, updated_at, body FROM record WHERE kind = $1 AND tenant = $2 AND id = $3")
                    .bind(kind)
                    .bind(tenant.as_str())
                    .bind(id)
                    .fetch_optional(self.pool())
                    .await
                    .map_err(failed("reading a record"))?;
                row.map(rows::record).transpose()
            }

            async fn find(&self, query: &RecordQuery) -> Result<Vec<Record>, StateError> {
                let places: Vec<String> = (0..query.statuses.len()).map(|at| format!("${}", at + 6)).collect();
                let statuses = if places.is_empty() { String::new() } else { format!(" AND status IN ({})", places.join(", ")) };
                let sql = format!("SELECT kind, tenant, id, key, status, version, updated_at, body FROM record WHERE kind = $1 AND ($2 = '' OR tenant = $2) AND ($3 = '' OR key = $3) AND ($4 = '' OR id < $4){statuses} ORDER BY id DESC LIMIT $5");
                let mut ask = sqlx::query_as::<$db, RecordRow>(AssertSqlSafe(sql))
                    .bind(query.kind)
                    .bind(query.tenant.as_ref().map_or("", |tenant| tenant.as_str()))
                    .bind(query.key.as_deref().unwrap_or(""))
                    .bind(query.before.as_deref().unwrap_or(""))
                    .bind(limit(query.limit, 1_000));
                for status in &query.statuses {
                    ask = ask.bind(status);
                }
                ask.fetch_all(self.pool()).await.map_err(failed("finding records"))?.into_iter().map(rows::record).collect()
            }
        }

        #[async_trait]
        impl Journal for $state {
            async fn events(&self, query: &JournalQuery) -> Result<Vec<Recorded>, StateError> {
                let found: Vec<EventRow> = sqlx::query_as("SELECT seq, body FROM journal WHERE seq > $1 AND ($2 = '' OR tenant = $2) AND ($3 = '' OR incident = $3) AND ($4 = '' OR alert = $4) ORDER BY seq LIMIT $5")
                    .bind(int(query.after))
                    .bind(query.tenant.as_ref().map_or("", |tenant| tenant.as_str()))
                    .bind(query.incident.map(|id| id.to_string()).unwrap_or_default())
                    .bind(query.alert.map(|id| id.to_string()).unwrap_or_default())
                    .bind(limit(query.limit, 1_000))
                    .fetch_all(self.pool())
                    .await
                    .map_err(failed("reading the journal"))?;
                found.into_iter().map(rows::recorded).collect()
            }

            async fn head(&self) -> Result<u64, StateError> {
                let (head,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(seq), 0) FROM journal")
                    .fetch_one(self.pool())
                    .await
                    .map_err(failed("reading the journal's head"))?;
                Ok(u64::try_from(head).unwrap_or(0))
            }
        }

        #[async_trait]
        impl WorkRows for $state {
            async fn claim(&self, claim: &Claim) -> Result<Vec<Work>, StateError> {
                let (now, until) = (claim.now.micros(), claim.now.plus(claim.lease_for).micros());
                let due: Vec<(String, i64)> = sqlx::query_as("SELECT id, lease FROM work WHERE queue = $1 AND state = 'pending' AND due_at <= $2 AND lease_until <= $2 ORDER BY lane, due_at, id LIMIT $3")
                    .bind(claim.queue.as_str())
                    .bind(now)
                    .bind(limit(claim.limit, 32))
                    .fetch_all(self.pool())
                    .await
                    .map_err(failed("looking for due work"))?;
                let mut claimed = Vec::with_capacity(due.len());
                for (id, lease) in due {
                    // Whoever moves the lease number first has the row.
                    let sql = format!("UPDATE work SET lease = lease + 1, lease_until = $3, attempts = attempts + 1 WHERE id = $1 AND lease = $2 AND state = 'pending' AND lease_until <= $4 RETURNING {WORK_COLUMNS}");
                    let row: Option<WorkRow> = sqlx::query_as(AssertSqlSafe(sql))
                        .bind(&id)
                        .bind(lease)
                        .bind(until)
                        .bind(now)
                        .fetch_optional(self.pool())
                        .await
                        .map_err(failed("claiming work"))?;
                    claimed.extend(row.map(rows::work).transpose()?);
                }
                Ok(claimed)
            }

            async fn list(&self, query: &WorkQuery) -> Result<Vec<Work>, StateError> {
                let sql = format!("SELECT {WORK_COLUMNS} FROM work WHERE ($1 = '' OR tenant = $1) AND ($2 = '' OR queue = $2) AND ($3 = '' OR state = $3) ORDER BY id DESC LIMIT $4");
                let found: Vec<WorkRow> = sqlx::query_as(AssertSqlSafe(sql))
                    .bind(query.tenant.as_ref().map_or("", |tenant| tenant.as_str()))
                    .bind(query.queue.map_or("", Queue::as_str))
                    .bind(query.state.map_or("", model::work::WorkState::as_str))
                    .bind(limit(query.limit, 100))
                    .fetch_all(self.pool())
                    .await
                    .map_err(failed("listing work"))?;
                found.into_iter().map(rows::work).collect()
            }

            async fn backlog(&self, now: Timestamp) -> Result<Vec<Backlog>, StateError> {
                let found: Vec<(String, i64, i64, i64)> = sqlx::query_as("SELECT queue, COUNT(CASE WHEN state = 'pending' THEN 1 END), COUNT(CASE WHEN state = 'dead' THEN 1 END), COALESCE(MIN(CASE WHEN state = 'pending' THEN due_at END), $1) FROM work WHERE state IN ('pending', 'dead') GROUP BY queue ORDER BY queue")
                    .bind(now.micros())
                    .fetch_all(self.pool())
                    .await
                    .map_err(failed("counting work"))?;
                let backlog = found.into_iter().filter_map(|(queue, pending, dead, oldest)| {
                    Some(Backlog {
                        queue: Queue::parse(&queue)?,
                        pending: u64::try_from(pending).unwrap_or(0),
                        dead: u64::try_from(dead).unwrap_or(0),
                        overdue: now.since(Timestamp::from_micros(oldest)),
                    })
                });
                Ok(backlog.collect())
            }
        }

        #[async_trait]
        impl Leases for $state {
            async fn acquire(&self, lease: &str, holder: &str, now: Timestamp, ttl: std::time::Duration) -> Result<Option<Fence>, StateError> {
                let mut tx = self.begin().await?;
                let until = now.plus(ttl).micros();
                let found: Option<(String, i64, i64)> = sqlx::query_as("SELECT holder, token, until FROM lease WHERE name = $1")
                    .bind(lease)
                    .fetch_optional(&mut *tx)
                    .await
                    .map_err(failed("reading a lease"))?;
                let token = match found {
                    Some((held_by, token, _)) if held_by == holder => token,
                    Some((_, _, until)) if until > now.micros() => return Ok(None),
                    Some((_, token, _)) => token + 1,
                    None => 1,
                };
                sqlx::query("INSERT INTO lease (name, holder, token, until) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE SET holder = $2, token = $3, until = $4")
                    .bind(lease)
                    .bind(holder)
                    .bind(token)
                    .bind(until)
                    .execute(&mut *tx)
                    .await
                    .map_err(failed("taking a lease"))?;
                tx.commit().await.map_err(failed("taking a lease"))?;
                Ok(Some(Fence { lease: lease.to_owned(), token: u64::try_from(token).unwrap_or(0) }))
            }

            async fn release(&self, fence: &Fence, holder: &str) -> Result<(), StateError> {
                sqlx::query("UPDATE lease SET until = 0, holder = '' WHERE name = $1 AND holder = $2 AND token = $3")
                    .bind(&fence.lease)
                    .bind(holder)
                    .bind(int(fence.token))
                    .execute(self.pool())
                    .await
                    .map_err(failed("giving a lease back"))?;
                Ok(())
            }

            async fn now(&self) -> Result<Timestamp, StateError> {
                self.present().await
            }
        }

        impl $state {
            /// Deletes finished work rows that ended before `before`. Returns how many.
            pub async fn prune(&self, before: Timestamp) -> Result<u64, StateError> {
                let done = sqlx::query("DELETE FROM work WHERE state IN ('done', 'cancelled') AND finished_at < $1")
                    .bind(before.micros())
                    .execute(self.pool())
                    .await
                    .map_err(failed("pruning work"))?;
                Ok(done.rows_affected())
            }
        }

        async fn migrate(pool: &sqlx::Pool<$db>, place: &str) -> Result<(), $crate::state::OpenError> {
            use $crate::state::{OpenError, migrations};
            let database = |source| OpenError::Database { place: place.to_owned(), source };
            sqlx::query("CREATE TABLE IF NOT EXISTS schema_migration (number BIGINT NOT NULL PRIMARY KEY)").execute(pool).await.map_err(database)?;
            let (found,): (i64,) =
                sqlx::query_as("SELECT COALESCE(MAX(number), 0) FROM schema_migration").fetch_one(pool).await.map_err(database)?;
            if found > migrations::newest() {
                return Err(OpenError::Newer { place: place.to_owned(), found, known: migrations::newest() });
            }
            for (number, sql) in migrations::STATE.iter().filter(|(number, _)| *number > found) {
                let mut tx = pool.begin().await.map_err(database)?;
                for statement in migrations::statements(sql) {
                    sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await.map_err(database)?;
                }
                sqlx::query("INSERT INTO schema_migration (number) VALUES ($1)").bind(number).execute(&mut *tx).await.map_err(database)?;
                tx.commit().await.map_err(database)?;
            }
            Ok(())
        }
    };
}

pub(crate) use sql_state;
