//! SQLite: the state of one node in a file. A commit takes SQLite's write lock at its start; every commit is synced to disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::time::Clock;
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Pool, SqlitePool};

use super::OpenError;

/// The state in a SQLite file.
pub struct SqliteState {
    pool: SqlitePool,
    clock: Arc<dyn Clock>,
}

impl SqliteState {
    /// Opens or makes the file (readable by its owner only) and brings its schema up to date.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let place = path.display().to_string();
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(15));
        let open = SqlitePoolOptions::new().max_connections(4).connect_with(options).await;
        let pool = open.map_err(|source| OpenError::Database { place: place.clone(), source })?;
        private(path).map_err(|source| OpenError::Database { place: place.clone(), source: sqlx::Error::Io(source) })?;
        migrate(&pool, &place).await?;
        Ok(SqliteState { pool, clock })
    }

    /// Closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn pool(&self) -> &Pool<Sqlite> {
        &self.pool
    }

    async fn begin(&self) -> Result<Tx, StateError> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed("beginning a commit"))
    }

    async fn present(&self) -> Result<Timestamp, StateError> {
        Ok(self.clock.now())
    }
}

fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

super::sql::sql_state!(SqliteState, Sqlite);
