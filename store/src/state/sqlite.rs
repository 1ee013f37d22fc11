//! SQLite: the state of one node in a file that only its owner can read. A commit is synced to disk before it is confirmed, unless it is derived. One
//! connection writes, the others read beside it (write-ahead journal).

use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::time::Clock;
use sqlx::Sqlite;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{OpenError, SqlState, migrations};

/// How long a write waits for another process (the command line beside the server).
const BUSY: Duration = Duration::from_secs(15);
/// How long a caller waits for a connection.
const WAIT: Duration = Duration::from_secs(30);

impl SqlState<Sqlite> {
    /// Opens or makes the file and brings its schema up to date. `clock` is the one that [`now`](model::state::Leases::now) tells.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let database = |source| OpenError::Database { place: path.display().to_string(), source };
        private(path).map_err(|source| database(sqlx::Error::Io(source)))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let pool = |most| SqlitePoolOptions::new().max_connections(most).acquire_timeout(WAIT);
        let writer = pool(1).connect_with(options.clone()).await.map_err(database)?;
        migrations::migrate(&writer, &path.display().to_string()).await?;
        let readers = pool(4).connect_with(options.pragma("query_only", "ON")).await.map_err(database)?;
        Ok(SqlState::new(writer, readers, Some(clock)))
    }
}

/// Makes the file before SQLite does, because the files that SQLite puts beside it take its permissions.
fn private(path: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}
