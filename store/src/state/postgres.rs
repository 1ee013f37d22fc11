//! PostgreSQL: the state of several nodes. Its clock is the one clock; writes of all nodes take turns through an advisory lock, of
//! which each node waits with one connection, so that reading goes on.

use std::str::FromStr;
use std::time::Duration;

use model::secret::Secret;
use sqlx::Postgres;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{OpenError, SqlState, migrations};

/// How long a caller waits for a connection.
const WAIT: Duration = Duration::from_secs(30);

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
        let database = |source| OpenError::Database { place: place.clone(), source };
        let pool = |most| PgPoolOptions::new().max_connections(most).acquire_timeout(WAIT);
        let writer = pool(1).connect_with(options.clone()).await.map_err(database)?;
        migrations::migrate(&writer, &place).await?;
        let readers = pool(7).connect_with(options).await.map_err(database)?;
        Ok(SqlState::new(writer, readers, None))
    }
}
