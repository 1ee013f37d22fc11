//! PostgreSQL: a connection of its own with the real handshake, and one statement.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor};

use super::Said;
use crate::checks::config::PostgresCheck;

/// Connects, asks, closes.
pub(super) async fn answers(check: &PostgresCheck) -> Result<Said, String> {
    // Errors of the URL's reader may hold parts of it.
    let options: PgConnectOptions = check.url.reveal().parse().map_err(|_| "the URL cannot be read".to_owned())?;
    let told = |doing: &str, error: &sqlx::Error| format!("PostgreSQL: {doing}: {error}");
    let mut connection: PgConnection =
        options.disable_statement_logging().connect().await.map_err(|error| told("no connection", &error))?;
    let query = check.query.clone().unwrap_or_else(|| "SELECT 1".to_owned());
    let answer = connection.execute(sqlx::AssertSqlSafe(query)).await;
    let wrong = answer.err().map(|error| told("the statement failed", &error));
    // What became of the goodbye says nothing about the service.
    let _ = connection.close().await;
    Ok(Said { wrong, ..Said::default() })
}
