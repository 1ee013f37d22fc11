//! PostgreSQL: the state of several nodes. Its clock is the one clock; writes of all nodes take turns through an advisory lock, of
//! which each node waits with one connection, so that reading goes on.

use std::str::FromStr;
use std::time::Duration;

use model::secret::Secret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Postgres, Row, Transaction};

use super::dialect::{Arg, Dialect, Fault, Synced};
use super::{OpenError, SqlState, migrations};

/// How long a caller waits for a connection.
const WAIT: Duration = Duration::from_secs(30);
/// The key of the advisory lock that every write holds to its end: any number, the same on all nodes.
const TURN: i64 = 0x0057_4154_4348;

impl SqlState<Postgres> {
    /// Connects and brings the schema up to date; one node migrates at a time.
    pub async fn connect(url: &Secret) -> Result<Self, OpenError> {
        // sqlx reads any scheme as PostgreSQL's.
        let url = url.reveal();
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(OpenError::Url);
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| OpenError::Url)?.application_name("watchfire");
        let place = format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or(""));
        let database = |source| OpenError::database::<Postgres>(&place, source);
        let pool = |most| PgPoolOptions::new().max_connections(most).acquire_timeout(WAIT);
        let writer = pool(1).connect_with(options.clone()).await.map_err(database)?;
        migrations::migrate::<Postgres>(&writer, &place).await?;
        let readers = pool(7).connect_with(options).await.map_err(database)?;
        Ok(SqlState::new(writer, readers, None))
    }
}

macro_rules! bound {
    ($sql:expr, $args:expr) => {
        $args.into_iter().fold(sqlx::query::<Postgres>(AssertSqlSafe($sql.to_owned())), |query, arg| match arg {
            Arg::Int(number) => query.bind(number),
            Arg::Text(text) => query.bind(text),
            Arg::Maybe(text) => query.bind(text),
        })
    };
}

impl Dialect for Postgres {
    const TEXT: &'static str = "TEXT COLLATE \"C\"";
    const MIGRATIONS: &'static [(i64, &'static str)] = &[];
    const INSERT: &'static str = "INSERT INTO";
    const UPDATE: &'static str = "UPDATE";
    type Error = sqlx::Error;
    type Pool = PgPool;
    type Connection = PgConnection;
    type Transaction = Transaction<'static, Postgres>;
    type Row = PgRow;

    async fn begin(writer: &PgPool, synced: Synced) -> Result<Self::Transaction, sqlx::Error> {
        // Each statement must see what was committed before it got its turn, whatever the server's default isolation is.
        let mut write = writer.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        let turn = match synced {
            Synced::Yes => "SELECT pg_advisory_xact_lock($1)",
            Synced::WithTheNext => "SELECT pg_advisory_xact_lock($1), set_config('synchronous_commit', 'off', true)",
        };
        sqlx::query(turn).bind(TURN).execute(&mut *write).await?;
        Ok(write)
    }

    async fn commit(write: Self::Transaction) -> Result<(), sqlx::Error> {
        write.commit().await
    }

    async fn read(readers: &PgPool, sql: &str, args: Vec<Arg>, _: bool) -> Result<Vec<PgRow>, sqlx::Error> {
        bound!(sql, args).fetch_all(readers).await
    }

    async fn run(on: &mut PgConnection, sql: &str, args: Vec<Arg>) -> Result<u64, sqlx::Error> {
        Ok(bound!(sql, args).execute(on).await?.rows_affected())
    }

    async fn rows(on: &mut PgConnection, sql: &str, args: Vec<Arg>) -> Result<Vec<PgRow>, sqlx::Error> {
        bound!(sql, args).fetch_all(on).await
    }

    async fn script(on: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(on).await.map(|_| ())
    }

    async fn close(pool: &PgPool) {
        pool.close().await;
    }

    fn int(row: &PgRow, column: usize) -> Result<i64, sqlx::Error> {
        row.try_get(column)
    }

    fn text(row: &PgRow, column: usize) -> Result<Option<String>, sqlx::Error> {
        row.try_get(column)
    }

    fn fault(error: &sqlx::Error) -> Fault {
        let Some(error) = error.as_database_error() else { return Fault::Other };
        match error.code().as_deref() {
            Some("40001" | "40P01") => Fault::Again,
            _ if error.is_unique_violation() => Fault::Taken,
            _ => Fault::Other,
        }
    }
}
