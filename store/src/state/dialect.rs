//! The two SQL databases behind one small face: a statement with texts and integers goes in, rows come out. What is said in SQL is
//! the same for both; only how a write takes its turn differs.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use model::state::StateError;
use sqlx::{Database, Pool, Postgres, Row, SqlStr, Sqlite, Transaction};

/// A value in a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// A text, or NULL.
    Maybe(Option<String>),
}

impl From<i64> for Arg {
    fn from(number: i64) -> Self {
        Arg::Int(number)
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Arg::Text(text.to_owned())
    }
}

impl From<String> for Arg {
    fn from(text: String) -> Self {
        Arg::Text(text)
    }
}

impl From<Option<String>> for Arg {
    fn from(text: Option<String>) -> Self {
        Arg::Maybe(text)
    }
}

/// Values in the order of `$1`, `$2`, ...
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::state::dialect::Arg::from($value)),*] };
}
pub(crate) use args;

/// Whether a write waits for the disk.
#[derive(Clone, Copy, Debug)]
pub enum Synced<'a> {
    /// It does: what is confirmed outlives the machine.
    Yes(&'a AtomicBool),
    /// It does not; the next one that does makes it lasting too, because both databases write one log in order.
    WithTheNext(&'a AtomicBool),
}

/// A database that keeps state.
pub trait Dialect: Database {
    /// The migrations' word for a text column.
    const TEXT: &'static str;
    /// Begins a write: the transaction has its turn, no other write of any node happens before it ends.
    fn begin(writer: &Pool<Self>, synced: Synced<'_>) -> impl Future<Output = Result<Transaction<'static, Self>, sqlx::Error>> + Send;
    /// Runs a statement; gives the number of rows that it changed.
    fn run(on: &mut Self::Connection, sql: SqlStr, args: Vec<Arg>) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
    /// Runs a statement that gives rows.
    fn rows(on: &mut Self::Connection, sql: SqlStr, args: Vec<Arg>) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send;
    /// Runs several statements without arguments.
    fn script(on: &mut Self::Connection, sql: SqlStr) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// The number in a column, from 0.
    fn int(row: &Self::Row, column: usize) -> Result<i64, sqlx::Error>;
    /// The text in a column, from 0.
    fn text(row: &Self::Row, column: usize) -> Result<Option<String>, sqlx::Error>;
}

/// The key of the advisory lock that every write holds to its end: any number, the same on all nodes.
const TURN: i64 = 0x0057_4154_4348;

macro_rules! speak {
    ($database:ty) => {
        async fn run(on: &mut Self::Connection, sql: SqlStr, args: Vec<Arg>) -> Result<u64, sqlx::Error> {
            Ok(bound!($database, sql, args).execute(on).await?.rows_affected())
        }
        async fn rows(on: &mut Self::Connection, sql: SqlStr, args: Vec<Arg>) -> Result<Vec<Self::Row>, sqlx::Error> {
            bound!($database, sql, args).fetch_all(on).await
        }
        async fn script(on: &mut Self::Connection, sql: SqlStr) -> Result<(), sqlx::Error> {
            sqlx::raw_sql(sql).execute(on).await.map(|_| ())
        }
        fn int(row: &Self::Row, column: usize) -> Result<i64, sqlx::Error> {
            row.try_get(column)
        }
        fn text(row: &Self::Row, column: usize) -> Result<Option<String>, sqlx::Error> {
            row.try_get(column)
        }
    };
}

macro_rules! bound {
    ($database:ty, $sql:expr, $args:expr) => {
        $args.into_iter().fold(sqlx::query::<$database>($sql), |query, arg| match arg {
            Arg::Int(number) => query.bind(number),
            Arg::Text(text) => query.bind(text),
            Arg::Maybe(text) => query.bind(text),
        })
    };
}

impl Dialect for Sqlite {
    const TEXT: &'static str = "TEXT";
    /// The turn is SQLite's write lock; within this process, the pool's one connection.
    async fn begin(writer: &Pool<Self>, synced: Synced<'_>) -> Result<Transaction<'static, Self>, sqlx::Error> {
        // The connection opens with FULL. The flag says NORMAL for as long as the connection might.
        match synced {
            Synced::Yes(relaxed) if relaxed.load(Ordering::Acquire) => {
                sqlx::query("PRAGMA synchronous = FULL").execute(writer).await?;
                relaxed.store(false, Ordering::Release);
            }
            Synced::WithTheNext(relaxed) if !relaxed.swap(true, Ordering::AcqRel) => {
                sqlx::query("PRAGMA synchronous = NORMAL").execute(writer).await?;
            }
            Synced::Yes(_) | Synced::WithTheNext(_) => {}
        }
        writer.begin_with("BEGIN IMMEDIATE").await
    }
    speak!(Sqlite);
}

impl Dialect for Postgres {
    const TEXT: &'static str = "TEXT COLLATE \"C\"";
    async fn begin(writer: &Pool<Self>, synced: Synced<'_>) -> Result<Transaction<'static, Self>, sqlx::Error> {
        // Each statement must see what was committed before it got its turn, whatever the server's default isolation is.
        let mut write = writer.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        let turn = match synced {
            Synced::Yes(_) => "SELECT pg_advisory_xact_lock($1)",
            Synced::WithTheNext(_) => "SELECT pg_advisory_xact_lock($1), set_config('synchronous_commit', 'off', true)",
        };
        sqlx::query(turn).bind(TURN).execute(&mut *write).await?;
        Ok(write)
    }
    speak!(Postgres);
}

/// A failure of the database in the port's words.
pub fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StateError {
    move |source| {
        let code = source.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            // PostgreSQL took the transaction back (serialization failure, deadlock): to be read and decided again.
            Some("40001" | "40P01") => StateError::Conflict { what: format!("something needed for {doing}") },
            Some(_) | None => StateError::Backend { doing, source: Box::new(source) },
        }
    }
}

/// Whether another row holds what must be unique.
pub fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}
