//! The state of all targets, for people and tools; [`routes`] tells it in Prometheus's JSON. Only the node that scrapes has
//! targets to show.

mod routes;
mod selector;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::labels::Labels;
use model::tenant::TenantId;
use model::time::Timestamp;

use super::memory::{Described, Live};
use super::target::Target;

/// How a target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// The last scrape succeeded.
    Up,
    /// It did not.
    Down,
}

/// What is known of a target's last scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetState {
    /// How it is.
    pub health: Health,
    /// What went wrong in the last scrape; empty where nothing did.
    pub last_error: String,
    /// When it began; the epoch before the first.
    pub last_scrape: Timestamp,
    /// How long it took.
    pub last_duration: Duration,
}

/// A target and what is known of it.
#[derive(Debug)]
pub(crate) struct Place {
    /// The target.
    pub(crate) target: Target,
    seen: Mutex<Seen>,
}

/// What changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The last scrape.
    pub(crate) state: TargetState,
    /// What was known of the target before relabelling.
    pub(crate) discovered: Labels,
    /// The series that have samples.
    pub(crate) live: Arc<Live>,
    /// What it says of its families.
    pub(crate) described: Arc<Vec<Described>>,
}

impl Place {
    /// Of a target that was not scraped yet.
    pub(crate) fn new(target: Target) -> Self {
        let seen = Seen { discovered: target.discovered.clone(), ..Seen::default() };
        Place { target, seen: Mutex::new(seen) }
    }
    /// What changes.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Its state.
    pub(crate) fn state(&self) -> TargetState {
        self.seen().state.clone()
    }
}

/// The targets of a job.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Whose they are.
    pub(crate) tenant: TenantId,
    /// Those that are scraped.
    pub(crate) active: Vec<Arc<Place>>,
    /// Those that relabelling dropped, as far as they are kept.
    pub(crate) dropped: Vec<Labels>,
    /// How many it dropped.
    pub(crate) dropped_count: usize,
}

/// All jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<String, Pool>>>);

impl Board {
    /// The jobs.
    pub(crate) fn pools(&self) -> MutexGuard<'_, BTreeMap<String, Pool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The series of other targets with these labels.
    pub(crate) fn others(&self, tenant: &TenantId, labels: &Labels, but: &Place) -> Vec<Arc<Live>> {
        let pools = self.pools();
        let of = pools.values().filter(|pool| pool.tenant == *tenant).flat_map(|pool| &pool.active);
        of.filter(|place| place.target.labels == *labels && !std::ptr::eq(&***place, but))
            .map(|place| Arc::clone(&place.seen().live))
            .collect()
    }
}
