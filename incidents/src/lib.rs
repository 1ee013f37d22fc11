//! Incidents: what begins when an alert is bad enough, and ends with a postmortem. In: journal events, due rows, API requests. Out:
//! incident records, events, outbox rows, documents. Everything that decides is pure (`lifecycle`, `postmortem::draft`);
//! `follower`, `worker` and `router` carry it to and from the ports.

pub mod chat;
pub mod config;
pub mod counter;
pub mod deployments;
pub mod follower;
pub mod groups;
pub mod issues;
pub mod job;
pub mod lifecycle;
pub mod meters;
pub mod postmortem;
pub mod router;
#[cfg(test)]
mod stories;
pub mod timeline;
pub mod worker;
pub mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use model::drive::{Follower, Worker};
use model::evidence::EvidenceSource;
use model::ids::IdSource;
use model::sink::SeriesSink;
use model::state::{StateError, StateStore};

pub use config::Config;

use follower::IncidentFollower;
use meters::Meters;
use router::Desk;
use worker::IncidentWorker;
use writer::Writer;

/// What this part needs from others.
pub struct Deps {
    /// The settings.
    pub config: Config,
    /// Postmortems are written below `postmortems/` in this folder.
    pub data_dir: PathBuf,
    /// How links in messages begin; none: no links.
    pub public_url: Option<String>,
    /// The state store, for the API.
    pub state: Arc<dyn StateStore>,
    /// Gathers evidence for postmortems.
    pub evidence: Arc<dyn EvidenceSource>,
    /// Takes the clocks of incidents as series.
    pub series: Arc<dyn SeriesSink>,
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
}

/// The part, wired.
pub struct Incidents {
    follower: Arc<IncidentFollower>,
    worker: Arc<IncidentWorker>,
    desk: Arc<Desk>,
    meters: Meters,
    state: Arc<dyn StateStore>,
}

impl Incidents {
    /// Wires it. Fails if the registry has its metrics already.
    pub fn new(deps: Deps, registry: &prometheus::Registry) -> Result<Self, prometheus::Error> {
        let Deps { config, data_dir, public_url, state, evidence, series, ids } = deps;
        let writer = Writer { config: Arc::new(config), public_url, ids };
        let meters = Meters::new(registry)?;
        let follower = IncidentFollower::new(writer.clone(), meters.clone());
        let worker = IncidentWorker { writer: writer.clone(), meters: meters.clone(), evidence, series, data_dir };
        Ok(Incidents {
            follower: Arc::new(follower),
            worker: Arc::new(worker),
            desk: Arc::new(Desk { state: state.clone(), writer }),
            meters,
            state,
        })
    }

    /// What reads the journal.
    pub fn followers(&self) -> Vec<Arc<dyn Follower>> {
        vec![self.follower.clone()]
    }

    /// What takes due rows.
    pub fn workers(&self) -> Vec<Arc<dyn Worker>> {
        vec![self.worker.clone()]
    }

    /// The HTTP API; every route takes a `Principal` from the request's extensions.
    pub fn router(&self) -> axum::Router {
        router::router(self.desk.clone())
    }

    /// Counts the open incidents for `watchfire_incidents_open`: once at the start, because a registry forgets.
    pub async fn refresh_metrics(&self) -> Result<(), StateError> {
        self.meters.refresh(&*self.state).await
    }
}
