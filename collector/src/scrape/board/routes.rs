//! `GET /api/v1/targets`, `/api/v1/targets/metadata` and `/api/v1/scrape_pools`, as Prometheus answers them, for the targets of
//! the principal's tenant. They need the permission to read. Fails: with 400 and one sentence.

use std::collections::BTreeMap;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::StatusCode;
use model::access::{Permission, Principal};
use model::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::selector::selector;
use super::{Board, Health, Place, Pool};
use crate::family::FamilyKind;

impl Board {
    /// The routes.
    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/api/v1/targets", get(targets))
            .route("/api/v1/targets/metadata", get(metadata))
            .route("/api/v1/scrape_pools", get(scrape_pools))
            .with_state(self.clone())
    }
}

/// `?state=active|dropped|any&scrapePool=<job>`
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wanted {
    state: String,
    scrape_pool: String,
}

/// `?match_target=<selector>&metric=<name>&limit=<number>`
#[derive(Default, Deserialize)]
#[serde(default)]
struct Described {
    match_target: String,
    metric: String,
    limit: String,
}

fn error(status: StatusCode, kind: &str, error: String) -> Response {
    (status, Json(json!({"status": "error", "errorType": kind, "error": error}))).into_response()
}

fn bad(message: String) -> Response {
    error(StatusCode::BAD_REQUEST, "bad_data", message)
}

fn success(data: &Value) -> Response {
    Json(json!({"status": "success", "data": data})).into_response()
}

/// A refusal, where the principal may not read.
fn refused(principal: &Principal) -> Option<Response> {
    let refusal = principal.require(Permission::Read).err()?;
    Some(error(StatusCode::FORBIDDEN, "forbidden", refusal.to_string()))
}

async fn targets(State(board): State<Board>, Extension(principal): Extension<Principal>, Query(wanted): Query<Wanted>) -> Response {
    if let Some(refusal) = refused(&principal) {
        return refusal;
    }
    let (active, dropped) = match wanted.state.to_ascii_lowercase().as_str() {
        "" | "any" => (true, true),
        "active" => (true, false),
        "dropped" => (false, true),
        other => return bad(format!("parameter `state` is `{other}`: use active, dropped or any")),
    };
    let pools = board.pools();
    let named = |job: &str| wanted.scrape_pool.is_empty() || wanted.scrape_pool == job;
    let mine = || pools.iter().filter(|(job, pool)| pool.tenant == principal.tenant && named(job));
    let shown: Vec<Value> =
        mine().filter(|_| active).flat_map(|(job, pool)| pool.active.iter().map(|place| active_json(job, place))).collect();
    let gone = |(job, pool): (&String, &Pool)| -> Vec<Value> {
        pool.dropped.iter().map(|labels| json!({"discoveredLabels": labels, "scrapePool": job})).collect()
    };
    let gone: Vec<Value> = mine().filter(|_| dropped).flat_map(gone).collect();
    let counts: BTreeMap<&str, usize> = mine().filter(|_| dropped).map(|(job, pool)| (job.as_str(), pool.dropped_count)).collect();
    success(&json!({"activeTargets": shown, "droppedTargets": gone, "droppedTargetCounts": counts}))
}

fn active_json(job: &str, place: &Place) -> Value {
    let (target, seen) = (&place.target, place.seen().clone());
    let state = seen.state;
    let health = match state.health {
        Health::Unknown => "unknown",
        Health::Up => "up",
        Health::Down => "down",
    };
    let last = if state.last_scrape == Timestamp::EPOCH { "0001-01-01T00:00:00Z".to_owned() } else { state.last_scrape.rfc3339() };
    json!({
        "discoveredLabels": seen.discovered,
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

/// A type as OpenMetrics writes it.
fn word(kind: FamilyKind) -> &'static str {
    match kind {
        FamilyKind::Unknown => "unknown",
        FamilyKind::Counter => "counter",
        FamilyKind::Gauge => "gauge",
        FamilyKind::Histogram => "histogram",
        FamilyKind::GaugeHistogram => "gaugehistogram",
        FamilyKind::Summary => "summary",
        FamilyKind::Info => "info",
        FamilyKind::StateSet => "stateset",
    }
}

async fn metadata(State(board): State<Board>, Extension(principal): Extension<Principal>, Query(wanted): Query<Described>) -> Response {
    if let Some(refusal) = refused(&principal) {
        return refusal;
    }
    let matchers = match wanted.match_target.as_str() {
        "" => Ok(Vec::new()),
        text => selector(text),
    };
    let matchers = match matchers {
        Ok(matchers) => matchers,
        Err(problem) => return bad(format!("parameter `match_target`: {problem}")),
    };
    // As in Prometheus, a limit that is not above 0 is none.
    let limit = match wanted.limit.as_str() {
        "" => None,
        text => match text.parse::<i64>() {
            Ok(limit) => usize::try_from(limit).ok().filter(|limit| *limit > 0),
            Err(_) => return bad("parameter `limit` must be a whole number".to_owned()),
        },
    };
    let pools = board.pools();
    let places = pools.values().filter(|pool| pool.tenant == principal.tenant).flat_map(|pool| &pool.active);
    let matched = places.filter(|place| matchers.iter().all(|matcher| matcher.matches(&place.target.labels)));
    let told = matched.flat_map(|place| {
        let described = std::sync::Arc::clone(&place.seen().described);
        let one = |one: &super::Described| {
            let (family, mut told) = (&one.family, json!({"target": place.target.labels}));
            told["type"] = word(family.kind).into();
            told["help"] = family.help.as_ref().into();
            told["unit"] = family.unit.as_ref().into();
            if wanted.metric.is_empty() {
                told["metric"] = one.name.as_str().into();
            }
            told
        };
        described.iter().filter(|one| wanted.metric.is_empty() || one.name == wanted.metric).map(one).collect::<Vec<Value>>()
    });
    success(&told.take(limit.unwrap_or(usize::MAX)).collect())
}

async fn scrape_pools(State(board): State<Board>, Extension(principal): Extension<Principal>) -> Response {
    if let Some(refusal) = refused(&principal) {
        return refusal;
    }
    let pools = board.pools();
    let names: Vec<&String> = pools.iter().filter(|(_, pool)| pool.tenant == principal.tenant).map(|(job, _)| job).collect();
    success(&json!({"scrapePools": names}))
}
