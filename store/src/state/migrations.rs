//! State migrations: numbered files, applied in one transaction that holds the writers' turn, so that one node migrates. A database
//! that a newer binary has migrated is refused.

use super::OpenError;
use super::dialect::{Dialect, Synced, args};

/// Number and text of each, in order. Only ever added to.
const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("../../migrations/state/0001_state.sql")),
    (2, include_str!("../../migrations/state/0002_claim_holder.sql")),
    (3, include_str!("../../migrations/state/0003_fewer_indexes.sql")),
    (4, include_str!("../../migrations/state/0004_fewer_trees.sql")),
    (5, include_str!("../../migrations/state/0005_first_in_group.sql")),
];

/// Brings the schema up to date. `place` names the database in errors.
pub async fn migrate<D: Dialect>(writer: &D::Pool, place: &str) -> Result<(), OpenError> {
    let database = |source| OpenError::database::<D>(place, source);
    let mut write = D::begin(writer, Synced::Yes).await.map_err(database)?;
    let list = "CREATE TABLE IF NOT EXISTS schema_migration (number BIGINT NOT NULL PRIMARY KEY)";
    D::script(&mut write, list).await.map_err(database)?;
    let newest = "SELECT COALESCE(MAX(number), 0) FROM schema_migration";
    let found = match D::rows(&mut write, newest, Vec::new()).await.map_err(database)?.first() {
        Some(row) => D::int(row, 0).map_err(database)?,
        None => 0,
    };
    let known = MIGRATIONS.last().map_or(0, |(number, _)| *number);
    if found > known {
        return Err(OpenError::Newer { place: place.to_owned(), found, known });
    }
    for (number, text) in MIGRATIONS.iter().filter(|(number, _)| *number > found) {
        let text = text.replace(" TEXT", &format!(" {}", D::TEXT));
        D::script(&mut write, &text).await.map_err(database)?;
        for (_, own) in D::MIGRATIONS.iter().filter(|(of, _)| of == number) {
            D::script(&mut write, own).await.map_err(database)?;
        }
        let note = "INSERT INTO schema_migration (number) VALUES ($1)";
        D::run(&mut write, note, args![*number]).await.map_err(database)?;
        tracing::info!(place, number, "the state schema was brought forward");
    }
    D::commit(write).await.map_err(database)
}
