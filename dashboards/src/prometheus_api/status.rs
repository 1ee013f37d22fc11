//! `status/{buildinfo,config,flags,runtimeinfo,tsdb}`: what clients look at to learn which features they may use. What Prometheus
//! has and Watchfire has not is zero or empty, never made up.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use model::access::{Permission, Principal};
use model::query::QueryOptions;
use model::time::Timestamp;
use serde_json::{Value, json};

use crate::Sources;
use crate::answer::{ApiError, success};
use crate::parameters::{LONGEST, MOST, Parameters};

/// `version` is the Prometheus version whose API is spoken.
pub(super) async fn buildinfo(Extension(principal): Extension<Principal>) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    Ok(success(json!({
        "version": "3.0.0", "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
        "application": "watchfire", "applicationVersion": env!("CARGO_PKG_VERSION"),
    })))
}

pub(super) async fn config(State(sources): State<Arc<Sources>>, Extension(principal): Extension<Principal>) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    Ok(success(json!({"yaml": (sources.configuration)()})))
}

/// The flags of Prometheus whose meaning Watchfire shares, with its values.
pub(super) async fn flags(Extension(principal): Extension<Principal>) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let lookback = QueryOptions::default().lookback.as_secs();
    Ok(success(json!({
        "query.lookback-delta": format!("{}m", lookback / 60),
        "query.timeout": format!("{}m", LONGEST.as_secs() / 60),
        "web.cors.origin": ".*",
        "web.enable-admin-api": "false",
        "web.enable-lifecycle": "false",
        "web.enable-remote-write-receiver": "true",
    })))
}

pub(super) async fn runtimeinfo(
    started: Timestamp,
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    Ok(success(json!({
        "startTime": started, "serverTime": sources.clock.now(), "CWD": "", "hostname": "", "reloadConfigSuccess": true,
        "lastConfigTime": started, "corruptionCount": 0, "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(0, usize::from), "GOMEMLIMIT": 0, "GOGC": "", "GODEBUG": "",
        "storageRetention": "",
    })))
}

pub(super) async fn tsdb(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let limit = parameters.limit()?.unwrap_or(10).min(MOST);
    let found = sources.catalog.cardinality(&principal.tenant, limit).await?;
    let list = |pairs: &[(String, u64)]| -> Value { pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect() };
    let (first, last) = found.seen.map_or((0, 0), |(first, last)| (first.millis(), last.millis()));
    Ok(success(json!({
        "headStats": {"numSeries": found.series, "numLabelPairs": found.label_pairs, "chunkCount": 0, "minTime": first, "maxTime": last},
        "seriesCountByMetricName": list(&found.by_metric),
        "labelValueCountByLabelName": list(&found.values_by_label),
        "memoryInBytesByLabelName": list(&found.bytes_by_label),
        "seriesCountByLabelValuePair": list(&found.by_pair),
    })))
}
