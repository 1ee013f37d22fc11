//! SQLite: the state of one node in a file that only its owner can read. A commit is synced to disk before it is confirmed, unless it is
//! derived. One connection writes, the others read beside it (write-ahead journal).
//!
//! Statements run on the thread that asks: most take microseconds, and handing each to another thread and back takes ten times as long.
//! Commits are written by a thread of their own; where a question has many rows, the runtime is told so that other tasks go on elsewhere. SQLite's
//! log of writes takes what a commit changed in one call (`joined`) and is carried over into the file beside the commits, not in them (`carrier`).

mod ahead;
mod carrier;
mod frames;
mod joined;
mod thread;

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::time::{Clock, Stopwatch};
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::types::{ToSqlOutput, Type, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Params, ToSql, ffi};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::dialect::{Arg, Dialect, Fault, Synced};
use super::{OpenError, SqlState, migrations};
use carrier::Carrier;
pub(crate) use carrier::LogLength;
use thread::{Task, Thread};

/// How long a write waits for another process (the command line beside the server).
const BUSY: Duration = Duration::from_secs(15);
/// How long it waits before it asks again.
const AGAIN: Duration = Duration::from_millis(2);
/// How long a read waits for another process, which is only while that one opens the file.
const OPENING: Duration = Duration::from_secs(5);
/// How many reads run side by side.
const READERS: usize = 8;
/// What the writer's connection keeps of the file in memory, in KiB.
const WRITER_KEEPS: i64 = 8_192;
/// What each of the readers' keeps: each commit makes it useless.
const READER_KEEPS: i64 = 512;
/// Statements that are kept prepared on each connection.
const PREPARED: usize = 200;
/// The database of this module's state.
#[derive(Debug)]
pub enum Sqlite {}

/// Connections to one file.
#[derive(Debug)]
pub struct Connections {
    slots: Vec<Arc<Mutex<Slot>>>,
    /// For readers: the writer's connection, which answers short questions while it is free. It alone need not look whether the file changed.
    writer: Option<Arc<Mutex<Slot>>>,
    /// Where there are writes: the connection that carries them over.
    carrier: Option<Arc<Carrier>>,
    /// Where there are writes: who writes.
    thread: Option<Thread>,
}

/// What connections are for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Migrates,
    /// And how long the log may become.
    Writes(LogLength),
    Reads,
}

/// A connection until it is closed.
#[derive(Debug)]
pub struct Slot {
    connection: Option<Connection>,
    /// What its commits do at present; it opens with [`Synced::Yes`].
    synced: Synced,
}

/// A write that has its turn.
#[derive(Debug)]
pub struct Turn {
    slot: OwnedMutexGuard<Slot>,
    open: bool,
}

/// One row.
#[derive(Debug)]
pub struct Values(Vec<Value>);

impl SqlState<Sqlite> {
    /// Opens or makes the file and brings its schema up to date. `clock` is the one that [`now`](model::state::Leases::now) tells.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_with(path, clock, LogLength::default()).await
    }

    pub(crate) async fn open_with(path: &Path, clock: Arc<dyn Clock>, length: LogLength) -> Result<Self, OpenError> {
        let place = path.display().to_string();
        let database = |source| OpenError::database::<Sqlite>(&place, source);
        private(path).map_err(|source| OpenError::Database { place: place.clone(), source: Box::new(source) })?;
        let migrates = Connections::open(path, 1, Purpose::Migrates).map_err(database)?;
        migrations::migrate::<Sqlite>(&migrates, &place).await?;
        let mut writer = Connections::open(path, 1, Purpose::Writes(length)).map_err(database)?;
        writer.thread = Some(Thread::start().map_err(|source| OpenError::Database { place: place.clone(), source: Box::new(source) })?);
        Sqlite::close(&migrates).await;
        let mut readers = Connections::open(path, READERS, Purpose::Reads).map_err(database)?;
        readers.writer = writer.slots.first().cloned();
        Ok(SqlState::new(writer, readers, Some(clock)))
    }
}

/// Makes the file before SQLite does, because the files that SQLite puts beside it take its permissions.
fn private(path: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

impl Purpose {
    fn open(self, path: &Path) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match self {
            Purpose::Writes(_) => Connection::open_with_flags_and_vfs(path, flags, joined::register()?)?,
            Purpose::Migrates | Purpose::Reads => Connection::open_with_flags(path, flags)?,
        };
        // Until the journal's mode is set, another process that does the same is waited for here.
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let (query_only, keeps, wait) = match self {
            Purpose::Migrates | Purpose::Writes(_) => ("OFF", WRITER_KEEPS, Duration::ZERO),
            Purpose::Reads => ("ON", READER_KEEPS, OPENING),
        };
        connection.pragma_update(None, "query_only", query_only)?;
        connection.pragma_update(None, "cache_size", -keeps)?;
        connection.busy_timeout(wait)?;
        if let Purpose::Writes(_) = self {
            // What a statement may take back is kept in memory: else it is a file as soon as that is 64 KiB. So is what a commit changed until
            // it is made: some ten MiB for a thousand alerts (`joined`). Not while tables are made anew, which may be large.
            connection.pragma_update(None, "temp_store", "MEMORY")?;
            connection.pragma_update(None, "cache_spill", "OFF")?;
            // What is kept back must not outlive a transaction that is taken back: this is what it stands on.
            if connection.pragma_query_value(None, "cache_spill", |row| row.get::<_, i64>(0))? != 0 {
                let why = "SQLite would write to its log before a commit".to_owned();
                return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_MISUSE), Some(why)));
            }
        }
        // Else each new value of a `LIMIT` has its statement compiled again.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        Ok(connection)
    }
}

impl Connections {
    fn open(path: &Path, count: usize, purpose: Purpose) -> rusqlite::Result<Self> {
        let carrier = match purpose {
            Purpose::Writes(length) => Some(Arc::new(Carrier::open(path, length)?)),
            Purpose::Migrates | Purpose::Reads => None,
        };
        let open = |_| {
            let mut connection = purpose.open(path)?;
            if let Some(carrier) = carrier.clone() {
                // In the place of SQLite's own, which would carry over every thousand pages in the middle of a commit.
                connection.wal_hook(Some(move |log: &mut Wal, pages| {
                    carrier.committed(log, u64::try_from(pages).unwrap_or(0));
                    Ok(())
                }))?;
            }
            Ok(Arc::new(Mutex::new(Slot { connection: Some(connection), synced: Synced::Yes })))
        };
        let slots: Vec<Arc<Mutex<Slot>>> = (0..count).map(open).collect::<rusqlite::Result<_>>()?;
        Ok(Connections { slots, writer: None, carrier, thread: None })
    }

    /// A connection that nobody uses, or one that somebody is about to be done with. The writer's is only for what is `short`.
    async fn take(&self, short: bool) -> rusqlite::Result<OwnedMutexGuard<Slot>> {
        let writer = self.writer.iter().filter(|_| short);
        let free = writer.chain(&self.slots).find_map(|slot| slot.clone().try_lock_owned().ok());
        match (free, self.slots.first()) {
            (Some(free), _) => Ok(free),
            (None, Some(first)) => Ok(first.clone().lock_owned().await),
            (None, None) => Err(closed()),
        }
    }
}

fn closed() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_MISUSE), Some("the store is closed".to_owned()))
}

impl Slot {
    fn connection(&mut self) -> rusqlite::Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(closed)
    }

    /// Lets its next commits wait for the disk, or not.
    fn set(&mut self, synced: Synced) -> rusqlite::Result<()> {
        if self.synced != synced {
            let word = match synced {
                Synced::Yes => "FULL",
                Synced::WithTheNext => "NORMAL",
            };
            // Until it is certain, it counts as one that does not wait.
            self.synced = Synced::WithTheNext;
            self.connection()?.pragma_update(None, "synchronous", word)?;
            self.synced = synced;
        }
        Ok(())
    }
}

impl Deref for Turn {
    type Target = Slot;
    fn deref(&self) -> &Slot {
        &self.slot
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut Slot {
        &mut self.slot
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if std::mem::take(&mut self.open)
            && let Ok(connection) = self.slot.connection()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            // SQLite takes some transactions back by itself; then there is none.
            tracing::debug!(%error, "there was no transaction to roll back");
        }
    }
}

impl ToSql for Arg {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Arg::Int(number) => ValueRef::Integer(*number),
            Arg::Text(text) | Arg::Maybe(Some(text)) => ValueRef::Text(text.as_bytes()),
            Arg::Maybe(None) => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// Does something that may take milliseconds. Other tasks of this thread go on elsewhere, where there is an elsewhere.
fn aside<T>(long: bool, act: impl FnOnce() -> T) -> T {
    let elsewhere = long && Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if elsewhere { tokio::task::block_in_place(act) } else { act() }
}

/// SQLite takes `$1` for a name and numbers names as they appear; `?1` is a number.
fn numbered(sql: &str) -> String {
    sql.replace('$', "?")
}

fn given(args: &[Arg]) -> impl Params {
    rusqlite::params_from_iter(args)
}

fn ask(connection: &Connection, sql: &str, args: &[Arg]) -> rusqlite::Result<Vec<Values>> {
    let mut statement = connection.prepare_cached(&numbered(sql))?;
    let columns = statement.column_count();
    let mut found = statement.query(given(args))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(Values((0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<_>>()?));
    }
    Ok(rows)
}

impl Dialect for Sqlite {
    const TEXT: &'static str = "TEXT";
    const MIGRATIONS: &'static [(i64, &'static str)] = &[(4, include_str!("../../migrations/state/0004_sqlite.sql"))];
    /// Elsewise SQLite copies each page before a statement of several rows touches it, to take back that statement alone. It still does where
    /// `DO UPDATE` stands.
    const INSERT: &'static str = "INSERT OR FAIL INTO";
    const UPDATE: &'static str = "UPDATE OR FAIL";
    type Error = rusqlite::Error;
    type Pool = Connections;
    type Connection = Slot;
    type Transaction = Turn;
    type Row = Values;

    /// The turn is SQLite's write lock; within this process, the one connection.
    async fn begin(writer: &Connections, synced: Synced) -> rusqlite::Result<Turn> {
        let mut slot = writer.take(false).await?;
        slot.set(synced)?;
        let waiting = Stopwatch::start();
        loop {
            match slot.connection()?.execute_batch("BEGIN IMMEDIATE") {
                Ok(()) => return Ok(Turn { slot, open: true }),
                Err(error) if is_busy(&error) && waiting.elapsed() < BUSY => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn commit(mut write: Turn) -> rusqlite::Result<()> {
        aside(write.slot.synced == Synced::Yes, || write.slot.connection()?.execute_batch("COMMIT"))?;
        write.open = false;
        Ok(())
    }

    async fn read(readers: &Connections, sql: &str, args: Vec<Arg>, many: bool) -> rusqlite::Result<Vec<Values>> {
        let answer = {
            let mut slot = readers.take(!many).await?;
            let connection = slot.connection()?;
            aside(many, || ask(connection, sql, &args))
        };
        match answer {
            // The writer's connection does not wait for a process that opens the file: the readers' do.
            Err(error) if !many && is_busy(&error) => ask(readers.take(false).await?.connection()?, sql, &args),
            answer => answer,
        }
    }

    async fn run(on: &mut Slot, sql: &str, args: Vec<Arg>) -> rusqlite::Result<u64> {
        on.connection()?.prepare_cached(&numbered(sql))?.execute(given(&args)).map(|changed| changed as u64)
    }

    async fn rows(on: &mut Slot, sql: &str, args: Vec<Arg>) -> rusqlite::Result<Vec<Values>> {
        ask(on.connection()?, sql, &args)
    }

    async fn script(on: &mut Slot, sql: &str) -> rusqlite::Result<()> {
        on.connection()?.execute_batch(sql)
    }

    /// On the thread that writes. A runtime of one thread, as tests have it, does it itself: its clock may stand still meanwhile.
    fn apart(writer: &Connections, task: Task) {
        let alone = Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread);
        let left = match writer.thread.as_ref().filter(|_| !alone) {
            Some(thread) => thread.run(task).err(),
            None => Some(task),
        };
        left.map(tokio::spawn);
    }

    async fn close(pool: &Connections) {
        for slot in &pool.slots {
            drop(slot.lock().await.connection.take());
        }
        if let Some(carrier) = &pool.carrier {
            carrier.close().await;
        }
    }

    fn int(row: &Values, column: usize) -> rusqlite::Result<i64> {
        match row.0.get(column) {
            Some(Value::Integer(number)) => Ok(*number),
            other => Err(wrong(column, other)),
        }
    }

    fn text(row: &Values, column: usize) -> rusqlite::Result<Option<String>> {
        match row.0.get(column) {
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(Value::Null) => Ok(None),
            other => Err(wrong(column, other)),
        }
    }

    fn fault(error: &rusqlite::Error) -> Fault {
        const UNIQUE: [i32; 2] = [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CONSTRAINT_PRIMARYKEY];
        match error {
            rusqlite::Error::SqliteFailure(failure, _) if UNIQUE.contains(&failure.extended_code) => Fault::Taken,
            _ => Fault::Other,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn wrong(column: usize, found: Option<&Value>) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, "an answer".to_owned(), found.map_or(Type::Null, Value::data_type))
}
