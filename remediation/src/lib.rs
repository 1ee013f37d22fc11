//! Remediation: bounded repairs that are checked on the alert's own expression and undone if they did not help. In: journal events, due
//! rows, API requests. Out: runs, events, requests and commands. Everything that decides is pure (`guard`, `machine`); `follower`,
//! `worker`, `router` and `perform` carry it to and from the world.

pub mod config;
pub mod follower;
pub mod guard;
pub mod machine;
pub mod meters;
pub mod perform;
pub mod planning;
pub mod router;
pub mod run;
#[cfg(test)]
mod stories;
pub mod template;
pub mod worker;
pub mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::alert::AlertProbe;
use model::drive::{Follower, Worker};
use model::ids::IdSource;
use model::state::StateStore;

pub use config::{Config, Plan};

use config::Live;
use follower::RepairFollower;
use meters::Meters;
use perform::{Hands, RealHands};
use router::Desk;
use worker::RepairWorker;
use writer::Writer;

/// What this part needs from others.
pub struct Deps {
    /// The settings.
    pub config: Config,
    /// The state store, for the API.
    pub state: Arc<dyn StateStore>,
    /// Evaluates alerts' own expressions.
    pub probe: Arc<dyn AlertProbe>,
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
    /// Whether no API key exists at present: `command` actions are off then. The server keeps it up to date.
    pub keyless: Arc<AtomicBool>,
}

/// Why it cannot be wired.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The registry has its metrics already.
    #[error("registering the metrics of remediation")]
    Metrics(#[from] prometheus::Error),
    /// TLS cannot be set up.
    #[error("preparing the HTTP client of remediation")]
    Http(#[from] reqwest::Error),
}

/// The part, wired.
pub struct Remediation {
    config: Live,
    follower: Arc<RepairFollower>,
    worker: Arc<RepairWorker>,
    desk: Arc<Desk>,
    parallel: usize,
}

impl Remediation {
    /// Wires it. The process must have a rustls provider installed.
    pub fn new(deps: Deps, registry: &prometheus::Registry) -> Result<Self, SetupError> {
        let hands = Arc::new(RealHands::new(deps.config.refuse_private_addresses)?);
        Remediation::with_hands(deps, hands, registry)
    }

    /// Wires it with other hands: for simulations.
    pub fn with_hands(deps: Deps, hands: Arc<dyn Hands>, registry: &prometheus::Registry) -> Result<Self, SetupError> {
        let Deps { config, state, probe, ids, keyless } = deps;
        let (config, writer, meters) = (Live::new(config), Writer { ids }, Meters::new(registry)?);
        let parallel = config.get().max_concurrent.clamp(1, 16) as usize;
        let follower = RepairFollower { config: config.clone(), writer: writer.clone(), meters: meters.clone() };
        let worker = RepairWorker { config: config.clone(), writer: writer.clone(), meters, probe, hands, keyless };
        let desk = Desk { state, writer, config: config.clone() };
        Ok(Remediation { config, follower: Arc::new(follower), worker: Arc::new(worker), desk: Arc::new(desk), parallel })
    }

    /// Goes on with other plans (checked before). Runs under way keep the plan that they began with; its secrets are looked up anew.
    pub fn reload(&self, remediations: Vec<Plan>) {
        self.config.set_remediations(remediations);
    }

    /// What reads the journal.
    pub fn followers(&self) -> Vec<Arc<dyn Follower>> {
        vec![self.follower.clone()]
    }

    /// What takes due rows: as many as runs may be at work, so that a slow act of one holds up no other. Drive each in a loop of its own.
    pub fn workers(&self) -> Vec<Arc<dyn Worker>> {
        (0..self.parallel).map(|_| self.worker.clone() as Arc<dyn Worker>).collect()
    }

    /// The HTTP API; every route takes a `Principal` from the request's extensions.
    pub fn router(&self) -> axum::Router {
        router::router(self.desk.clone())
    }
}
