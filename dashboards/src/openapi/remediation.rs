//! Remediation runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::basics::{Labels, Problem, Reason};

/// One step of a plan, as it will be or was done.
#[derive(Serialize, ToSchema)]
pub(super) struct Rung {
    name: String,
    action: String,
    #[schema(required)]
    undo: Option<String>,
}

/// Something that a run did; `event` has a `kind` and the fields of that kind.
#[derive(Serialize, ToSchema)]
pub(super) struct RunPast {
    #[schema(format = DateTime)]
    at: String,
    event: BTreeMap<String, serde_json::Value>,
}

/// A plan at work on an alert.
#[derive(Serialize, ToSchema)]
pub(super) struct Remediation {
    id: String,
    /// The plan's name.
    remediation: String,
    #[schema(example = "verified")]
    status: String,
    /// The state's name under `state`, with its fields.
    state: BTreeMap<String, serde_json::Value>,
    /// The alert's id.
    alert: String,
    #[schema(required)]
    incident: Option<String>,
    target: Labels,
    dry_run: bool,
    /// Why it is to stop.
    #[schema(required)]
    stop: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    rungs: Vec<Rung>,
    history: Vec<RunPast>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RemediationList {
    runs: Vec<Remediation>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RemediationOne {
    run: Remediation,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RemediationStopped {
    run: Remediation,
    message: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunFilter {
    Live,
    Verified,
    HandedOver,
    Refused,
    DryRun,
    NotNeeded,
    All,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RunQuery {
    #[param(inline)]
    status: Option<RunFilter>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// An id: only those that are older.
    before: Option<String>,
}

/// Runs, newest first
#[utoipa::path(get, path = "/api/watchfire/v1/remediations", tag = "remediation", params(RunQuery), description = "Needs `read`.", responses(
    (status = 200, body = RemediationList), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn list() {}

/// One run
#[utoipa::path(get, path = "/api/watchfire/v1/remediations/{run}", tag = "remediation", description = "Needs `read`.", params(("run" = String, Path, description = "Its id")), responses(
    (status = 200, body = RemediationOne), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn show() {}

/// Stop a run
#[utoipa::path(post, path = "/api/watchfire/v1/remediations/{run}/stop", tag = "remediation", description = "Needs `respond`.", params(("run" = String, Path, description = "Its id")), request_body = Option<Reason>, responses(
    (status = 200, body = RemediationStopped), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) fn stop() {}
