//! PostgreSQL: the state of several nodes. Its clock is the one clock; commits take turns through an advisory lock, so that journal
//! numbers become visible in order.

use std::str::FromStr;
use std::time::Duration;

use model::secret::Secret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, Postgres};
use sqlx::{PgPool, Pool};

use super::OpenError;

/// The key of the lock that every commit holds to its end: any number, the same on all nodes.
const COMMIT_TURN: i64 = 0x0057_4154_4348;

/// The state in a PostgreSQL database.
pub struct PostgresState {
    pool: PgPool,
}

impl PostgresState {
    /// Connects and brings the schema up to date; one node migrates at a time.
    pub async fn connect(url: &Secret) -> Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(url.reveal()).map_err(|_| OpenError::Url)?;
        let place = format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or(""));
        let database = |source| OpenError::Database { place: place.clone(), source };
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await
            .map_err(database)?;
        let mut guard = pool.acquire().await.map_err(database)?;
        sqlx::query("SELECT pg_advisory_lock($1)").bind(COMMIT_TURN + 1).execute(&mut *guard).await.map_err(database)?;
        let migrated = migrate(&pool, &place).await;
        sqlx::query("SELECT pg_advisory_unlock($1)").bind(COMMIT_TURN + 1).execute(&mut *guard).await.map_err(database)?;
        migrated?;
        Ok(PostgresState { pool })
    }

    /// Closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn pool(&self) -> &Pool<Postgres> {
        &self.pool
    }

    async fn begin(&self) -> Result<Tx, StateError> {
        let mut tx = self.pool.begin().await.map_err(failed("beginning a commit"))?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(COMMIT_TURN)
            .execute(&mut *tx)
            .await
            .map_err(failed("waiting for the commit turn"))?;
        Ok(tx)
    }

    async fn present(&self) -> Result<Timestamp, StateError> {
        let (micros,): (i64,) = sqlx::query_as("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)")
            .fetch_one(&self.pool)
            .await
            .map_err(failed("asking for the time"))?;
        Ok(Timestamp::from_micros(micros))
    }
}

super::sql::sql_state!(PostgresState, Postgres);
