//! Remediation runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::basics::{Actor, Labels, Problem, Reason};

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
    /// Whether its plan wants a person's yes before the first act.
    approval: bool,
    /// Who said yes.
    #[schema(required)]
    approved_by: Option<Actor>,
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
    AwaitingApproval,
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
    /// Only those for this alert (its id), among the newest 10,000.
    alert: Option<String>,
    /// Only those for this incident (its id), among the newest 10,000.
    incident: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// An id: only those that are older.
    before: Option<String>,
}

/// Runs, newest first
#[utoipa::path(get, path = "/api/watchfire/v1/remediations", tag = "remediation", params(RunQuery), description = "Needs `read`.", responses(
    (status = 200, body = RemediationList), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn list() {}

/// A plan of the configuration.
#[derive(Serialize, ToSchema)]
pub(super) struct RemediationPlan {
    name: String,
    /// Whether it waits for a person's yes where an alert asks for it.
    approval: bool,
    dry_run: bool,
    /// Names of its rungs.
    rungs: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RemediationPlans {
    plans: Vec<RemediationPlan>,
}

/// What to start, and for what: `alert` or `incident`, one of them.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewRemediation {
    /// The plan's name.
    remediation: String,
    /// The id of an alert that fires.
    #[schema(nullable = false)]
    alert: Option<String>,
    /// An incident's number or id: the worst of its alerts that fire is taken.
    #[schema(nullable = false)]
    incident: Option<String>,
}

/// Plans that can be started
#[utoipa::path(get, path = "/api/watchfire/v1/remediations/plans", tag = "remediation", description = "Needs `read`.", responses(
    (status = 200, body = RemediationPlans), (status = 403, body = Problem)))]
pub(super) fn plans() {}

/// Start a remediation by hand
#[utoipa::path(post, path = "/api/watchfire/v1/remediations", tag = "remediation", description = "It passes the same guards as one that an alert asks for; whoever starts it has approved it. Needs `respond`.", request_body = NewRemediation, responses(
    (status = 201, body = RemediationStopped), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) fn start() {}

/// Approve a run that waits for it
#[utoipa::path(post, path = "/api/watchfire/v1/remediations/{run}/approve", tag = "remediation", description = "Its guards are asked once more. Needs `respond`.", params(("run" = String, Path, description = "Its id")), responses(
    (status = 200, body = RemediationStopped), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) fn approve() {}

/// One run
#[utoipa::path(get, path = "/api/watchfire/v1/remediations/{run}", tag = "remediation", description = "Needs `read`.", params(("run" = String, Path, description = "Its id")), responses(
    (status = 200, body = RemediationOne), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn show() {}

/// Stop a run
#[utoipa::path(post, path = "/api/watchfire/v1/remediations/{run}/stop", tag = "remediation", description = "Needs `respond`.", params(("run" = String, Path, description = "Its id")), request_body = Option<Reason>, responses(
    (status = 200, body = RemediationStopped), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) fn stop() {}
