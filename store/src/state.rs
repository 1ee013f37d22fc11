//! The state store: records, journal, work rows and leases behind `model::state`'s ports, with three backends under one contract
//! suite: memory (simulations), SQLite (one node), PostgreSQL (several).
//!
//! Commits are serialised: SQLite by its write lock, PostgreSQL by an advisory lock that every commit takes first. So journal
//! numbers rise in order of commit, and a reader never finds a smaller one later.

pub mod memory;
pub mod migrations;
pub mod postgres;
pub mod rows;
mod sql;
pub mod sqlite;

pub use memory::MemoryState;
pub use postgres::PostgresState;
pub use sqlite::SqliteState;

use model::state::StateError;

/// Why the state store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database.
    #[error("the state store {place} cannot be opened: {source}")]
    Database {
        /// File or server, without a password.
        place: String,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// From the future.
    #[error("the state store {place} is at version {found}, and this watchfire knows versions up to {known}: use the newer watchfire")]
    Newer {
        /// File or server.
        place: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A URL that is none.
    #[error("storage.postgres_url is not a PostgreSQL URL: write postgres://user:password@host:5432/database")]
    Url,
}

fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StateError {
    move |source| match &source {
        // Another writer holds the key that this write wants: to be read and decided again.
        sqlx::Error::Database(error) if error.is_unique_violation() => StateError::Conflict { what: doing.to_owned() },
        _ => StateError::Backend { doing, source: Box::new(source) },
    }
}
