//! The state store: records, journal, work rows and leases behind `model::state`'s ports, with three backends under one contract
//! suite: memory (simulations), SQLite (one node), PostgreSQL (several).
//!
//! Writes take turns: in SQLite on its one writing connection, in PostgreSQL by an advisory lock that a write holds to its end. So
//! journal numbers become visible in order of commit, and a reader never finds a smaller one later. Fails as
//! [`StateError`](model::state::StateError): a conflict, a lost lease, or a database that does not answer; then nothing was changed.

mod dialect;
pub mod memory;
mod migrations;
mod postgres;
mod rows;
pub mod sql;
mod sqlite;
mod text;

pub use dialect::Dialect;
pub use memory::MemoryState;
pub use sql::SqlState;
pub use sqlite::Sqlite;

/// The state of one node, in a SQLite file.
pub type SqliteState = SqlState<Sqlite>;
/// The state of several nodes, in a PostgreSQL database.
pub type PostgresState = SqlState<sqlx::Postgres>;

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
        source: Box<dyn std::error::Error + Send + Sync>,
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

impl OpenError {
    fn database<D: Dialect>(place: &str, source: D::Error) -> Self {
        OpenError::Database { place: place.to_owned(), source: Box::new(source) }
    }
}
