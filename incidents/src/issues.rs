//! Error issues: one list of what goes wrong in code, whichever protocol told of it. In: arrivals of error events (a port), API
//! requests. Out: issue records, journal events, series, JSON. Everything that decides is pure (`machine`, `merge`, `release`,
//! `sighting`, `list`); `follower` and `router` carry it to and from the ports.

pub mod config;
pub mod cursor;
pub mod follower;
pub mod forget;
pub mod list;
pub mod machine;
pub mod merge;
pub mod meters;
pub mod release;
pub mod router;
pub mod series;
pub mod sighting;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use model::error_events::{ErrorArrivals, ErrorReads};
use model::ids::IdSource;
use model::sink::DeltaSink;
use model::state::StateStore;

pub use config::Config;

use follower::IssueFollower;
use meters::Meters;
use router::Desk;

/// What this part needs from others.
pub struct Deps {
    /// The settings.
    pub config: Config,
    /// The state store, for the API.
    pub state: Arc<dyn StateStore>,
    /// Tells what arrived.
    pub arrivals: Arc<dyn ErrorArrivals>,
    /// Adds events up, for readers.
    pub reads: Arc<dyn ErrorReads>,
    /// Takes counts of events and issues as series.
    pub series: Arc<dyn DeltaSink>,
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
}

/// The part, wired.
pub struct Issues {
    follower: Arc<IssueFollower>,
    desk: Arc<Desk>,
}

impl Issues {
    /// Wires it. Fails if the registry has its metrics already.
    pub fn new(deps: Deps, registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let Deps { config, state, arrivals, reads, series, ids } = deps;
        let meters = Meters::new(registry)?;
        let follower = IssueFollower::new(config, arrivals, series, ids.clone(), meters);
        Ok(Issues { follower: Arc::new(follower), desk: Arc::new(Desk { state, reads, ids }) })
    }

    /// What follows the table of error events; only the leader drives it.
    pub fn follower(&self) -> Arc<IssueFollower> {
        self.follower.clone()
    }

    /// The HTTP API; every route takes a `Principal` from the request's extensions.
    pub fn router(&self) -> axum::Router {
        router::router(self.desk.clone())
    }
}
