//! The state of all targets, for people and tools: `GET /api/v1/targets` and `/api/v1/scrape_pools` in Prometheus's JSON. Only
//! the node that scrapes has targets to show.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::StatusCode;
use model::access::{Permission, Principal};
use model::labels::Labels;
use model::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

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

/// A target and its state.
#[derive(Debug)]
pub(crate) struct Place {
    /// The target.
    pub(crate) target: Target,
    state: Mutex<TargetState>,
}

impl Place {
    /// Of a target that was not scraped yet.
    pub(crate) fn new(target: Target) -> Self {
        Place { target, state: Mutex::default() }
    }
    /// Its state.
    pub(crate) fn state(&self) -> TargetState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Sets its state; the one before.
    pub(crate) fn set(&self, state: TargetState) -> TargetState {
        std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), state)
    }
}

/// The targets of a job.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Those that are scraped.
    pub(crate) active: Vec<Arc<Place>>,
    /// Those that relabelling dropped.
    pub(crate) dropped: Vec<Labels>,
}

/// All jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<String, Pool>>>);

/// Dropped targets of a job that are shown; all are counted.
const SHOWN: usize = 1_000;

impl Board {
    /// The jobs.
    pub(crate) fn pools(&self) -> MutexGuard<'_, BTreeMap<String, Pool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The routes; they need the permission to read.
    pub(crate) fn router(&self) -> Router {
        Router::new().route("/api/v1/targets", get(targets)).route("/api/v1/scrape_pools", get(scrape_pools)).with_state(self.clone())
    }
}

/// `?state=active|dropped|any&scrapePool=<job>`
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wanted {
    state: String,
    scrape_pool: String,
}

/// A refusal, where the principal may not read.
fn refused(principal: &Principal) -> Option<Response> {
    let error = principal.require(Permission::Read).err()?;
    let body = Json(json!({"status": "error", "errorType": "forbidden", "error": error.to_string()}));
    Some((StatusCode::FORBIDDEN, body).into_response())
}

async fn targets(State(board): State<Board>, Extension(principal): Extension<Principal>, Query(wanted): Query<Wanted>) -> Response {
    if let Some(refusal) = refused(&principal) {
        return refusal;
    }
    let (active, dropped) = match wanted.state.to_ascii_lowercase().as_str() {
        "" | "any" => (true, true),
        "active" => (true, false),
        "dropped" => (false, true),
        other => {
            let error = format!("parameter `state` is `{other}`: use active, dropped or any");
            let body = Json(json!({"status": "error", "errorType": "bad_data", "error": error}));
            return (StatusCode::BAD_REQUEST, body).into_response();
        }
    };
    let pools = board.pools();
    let pools = || pools.iter().filter(|(job, _)| wanted.scrape_pool.is_empty() || wanted.scrape_pool == **job);
    let shown: Vec<Value> =
        pools().filter(|_| active).flat_map(|(job, pool)| pool.active.iter().map(|place| active_json(job, place))).collect();
    let gone: Vec<Value> = pools()
        .filter(|_| dropped)
        .flat_map(|(job, pool)| pool.dropped.iter().take(SHOWN).map(move |labels| json!({"discoveredLabels": labels, "scrapePool": job})))
        .collect();
    let counts: BTreeMap<&str, usize> = pools().map(|(job, pool)| (job.as_str(), pool.dropped.len())).collect();
    let data = json!({"activeTargets": shown, "droppedTargets": gone, "droppedTargetCounts": counts});
    Json(json!({"status": "success", "data": data})).into_response()
}

fn active_json(job: &str, place: &Place) -> Value {
    let (target, state) = (&place.target, place.state());
    let health = match state.health {
        Health::Unknown => "unknown",
        Health::Up => "up",
        Health::Down => "down",
    };
    let last = if state.last_scrape == Timestamp::EPOCH { "0001-01-01T00:00:00Z".to_owned() } else { state.last_scrape.rfc3339() };
    json!({
        "discoveredLabels": target.discovered,
        "labels": target.labels,
        "scrapePool": job,
        "scrapeUrl": target.url.as_str(),
        "globalUrl": target.url.as_str(),
        "lastError": state.last_error,
        "lastScrape": last,
        "lastScrapeDuration": state.last_duration.as_secs_f64(),
        "health": health,
        "scrapeInterval": target.interval.to_string(),
        "scrapeTimeout": target.timeout.to_string(),
    })
}

async fn scrape_pools(State(board): State<Board>, Extension(principal): Extension<Principal>) -> Response {
    if let Some(refusal) = refused(&principal) {
        return refusal;
    }
    let names: Vec<String> = board.pools().keys().cloned().collect();
    Json(json!({"status": "success", "data": {"scrapePools": names}})).into_response()
}
