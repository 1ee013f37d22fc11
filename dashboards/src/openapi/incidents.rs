//! Incidents, their documents, deployments.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::alerting::Alert;
use super::basics::{Acknowledgement, Actor, Labels, Problem, Severity};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum IncidentStatus {
    Open,
    Acknowledged,
    Resolved,
    Closed,
    Cancelled,
}

/// When what happened; null where it did not happen yet.
#[derive(Serialize, ToSchema)]
pub(super) struct IncidentClocks {
    /// When the first alert became active.
    #[schema(format = DateTime)]
    started: String,
    #[schema(format = DateTime)]
    detected: String,
    #[schema(required, format = DateTime)]
    acknowledged: Option<String>,
    #[schema(required, format = DateTime)]
    mitigated: Option<String>,
    #[schema(required, format = DateTime)]
    resolved: Option<String>,
    #[schema(required, format = DateTime)]
    closed: Option<String>,
    #[schema(required, format = DateTime)]
    cancelled: Option<String>,
}

/// The channel of an incident.
#[derive(Serialize, ToSchema)]
pub(super) struct ChatChannel {
    receiver: String,
    id: String,
    name: String,
    archived: bool,
}

/// How an incident stands, in the words of status pages.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum UpdatePhase {
    Investigating,
    Identified,
    Monitoring,
    Resolved,
}

/// What those who wait were told last.
#[derive(Serialize, ToSchema)]
pub(super) struct StatusUpdate {
    #[schema(format = DateTime)]
    at: String,
    by: Actor,
    phase: UpdatePhase,
    text: String,
}

/// One outage.
#[derive(Serialize, ToSchema)]
pub(super) struct Incident {
    #[schema(example = "inc_0198c0f0000070008000000000000001")]
    id: String,
    tenant: String,
    number: u64,
    title: String,
    severity: Severity,
    status: IncidentStatus,
    /// The labels that its alerts share.
    group: Labels,
    /// Ids of its alerts.
    alerts: Vec<String>,
    /// Ids of those that fire now.
    firing: Vec<String>,
    clocks: IncidentClocks,
    #[schema(required)]
    acknowledged: Option<Acknowledgement>,
    #[schema(required)]
    resolved_by: Option<Actor>,
    #[schema(required)]
    chat: Option<ChatChannel>,
    /// The id of the remediation run that is at work.
    #[schema(required)]
    repair: Option<String>,
    /// The newest status update.
    #[schema(nullable = false)]
    last_update: Option<StatusUpdate>,
    #[schema(required)]
    seconds_to_detect: Option<f64>,
    #[schema(required)]
    seconds_to_acknowledge: Option<f64>,
    #[schema(required)]
    seconds_to_mitigate: Option<f64>,
    #[schema(required)]
    seconds_to_resolve: Option<f64>,
}

/// One event in a timeline.
#[derive(Serialize, ToSchema)]
pub(super) struct TimelineLine {
    /// Its number in the journal.
    seq: u64,
    #[schema(format = DateTime)]
    at: String,
    actor: String,
    #[schema(example = "alert_fired")]
    kind: String,
    text: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct IncidentList {
    incidents: Vec<Incident>,
}

/// An incident with its alerts and its whole timeline.
#[derive(Serialize, ToSchema)]
pub(super) struct IncidentDetail {
    incident: Incident,
    alerts: Vec<Alert>,
    timeline: Vec<TimelineLine>,
}

/// What the journal tells of one alert.
#[derive(Serialize, ToSchema)]
pub(super) struct AlertTimeline {
    /// The alert's id.
    alert: String,
    timeline: Vec<TimelineLine>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Timeline {
    /// The incident's id.
    incident: String,
    number: u64,
    timeline: Vec<TimelineLine>,
}

/// What a command did.
#[derive(Serialize, ToSchema)]
pub(super) struct IncidentChanged {
    incident: Incident,
    message: String,
}

/// A postmortem: drafted by Watchfire, finished by people.
#[derive(Serialize, ToSchema)]
pub(super) struct Postmortem {
    id: String,
    tenant: String,
    /// The incident's id.
    incident: String,
    number: u64,
    title: String,
    markdown: String,
    #[schema(format = DateTime)]
    created_at: String,
    status: String,
    /// The file, where one was written.
    #[schema(required)]
    path: Option<String>,
    #[schema(format = DateTime)]
    review_at: String,
    #[schema(example = "1h")]
    review_length: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PostmortemRead {
    postmortem: Postmortem,
    /// Whoever writes names the version that was read.
    version: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PostmortemSaved {
    postmortem: Postmortem,
    version: u64,
    message: String,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct PostmortemEdit {
    /// The whole document.
    #[schema(min_length = 1)]
    markdown: String,
    /// The version that it was made from.
    version: u64,
}

/// What a person says with a command: `resolve`, `cancel` and `escalate` take a `reason`, `mitigate` takes `how`, `note` takes `text`,
/// `update` takes `text` and `phase`.
#[derive(Deserialize, ToSchema)]
pub(super) struct Said {
    #[schema(nullable = false)]
    reason: Option<String>,
    #[schema(nullable = false)]
    how: Option<String>,
    #[schema(nullable = false)]
    text: Option<String>,
    #[schema(nullable = false)]
    phase: Option<UpdatePhase>,
}

/// A version of a service that went out.
#[derive(Serialize, ToSchema)]
pub(super) struct Deployment {
    id: String,
    tenant: String,
    key: String,
    service: String,
    version: String,
    environment: String,
    #[schema(nullable = false)]
    description: Option<String>,
    #[schema(nullable = false)]
    link: Option<String>,
    #[schema(format = DateTime)]
    at: String,
    #[schema(format = DateTime)]
    recorded_at: String,
    by: Actor,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DeploymentList {
    deployments: Vec<Deployment>,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct NewDeployment {
    #[schema(min_length = 1, max_length = 200)]
    service: String,
    #[schema(min_length = 1, max_length = 200)]
    version: String,
    #[schema(nullable = false)]
    environment: Option<String>,
    #[schema(nullable = false)]
    description: Option<String>,
    #[schema(nullable = false)]
    link: Option<String>,
    /// When it went out; now where it is left out.
    #[schema(nullable = false, format = DateTime)]
    at: Option<String>,
    /// The same key twice is one deployment.
    #[schema(nullable = false)]
    key: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DeploymentRecorded {
    deployment: Deployment,
    /// False where it was known already.
    created: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum IncidentFilter {
    Open,
    Unacknowledged,
    Acknowledged,
    Resolved,
    Closed,
    Cancelled,
    All,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct IncidentQuery {
    /// `open` means: still asks for somebody.
    #[param(inline)]
    status: Option<IncidentFilter>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// An id: only those that are older.
    before: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeploymentQuery {
    service: Option<String>,
    environment: Option<String>,
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Incidents, newest first
#[utoipa::path(get, path = "/api/watchfire/v1/incidents", tag = "incidents", params(IncidentQuery), description = "Needs `read`.", responses(
    (status = 200, body = IncidentList), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn list() {}

/// One incident
#[utoipa::path(get, path = "/api/watchfire/v1/incidents/{incident}", tag = "incidents", description = "Needs `read`.", params(("incident" = String, Path, description = "Its number or its id", example = "1")), responses(
    (status = 200, body = IncidentDetail), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn show() {}

/// Its timeline
#[utoipa::path(get, path = "/api/watchfire/v1/incidents/{incident}/timeline", tag = "incidents", description = "Needs `read`.", params(("incident" = String, Path, description = "Its number or its id", example = "1")), responses(
    (status = 200, body = Timeline), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn timeline() {}

/// Its postmortem
#[utoipa::path(get, path = "/api/watchfire/v1/incidents/{incident}/postmortem", tag = "incidents",
    description = "As JSON where `Accept` names it, else as Markdown. Needs `read`.", params(("incident" = String, Path, description = "Its number or its id", example = "1")), responses(
    (status = 200, content((PostmortemRead = "application/json"), (String = "text/markdown"))), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn postmortem() {}

/// Write its postmortem
#[utoipa::path(put, path = "/api/watchfire/v1/incidents/{incident}/postmortem", tag = "incidents",
    description = "409 where somebody else wrote since `version`. Needs `respond`.", params(("incident" = String, Path, description = "Its number or its id", example = "1")), request_body = PostmortemEdit, responses(
    (status = 200, body = PostmortemSaved), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) fn edit_postmortem() {}

/// The invitation to its review
#[utoipa::path(get, path = "/api/watchfire/v1/incidents/{incident}/review.ics", tag = "incidents", description = "Needs `read`.", params(("incident" = String, Path, description = "Its number or its id", example = "1")), responses(
    (status = 200, body = String, content_type = "text/calendar"), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn review() {}

/// A command
#[utoipa::path(post, path = "/api/watchfire/v1/incidents/{incident}/{command}", tag = "incidents",
    description = "acknowledge, unacknowledge, mitigate, resolve, close, cancel or note. Needs `respond`.",
    params(("incident" = String, Path, description = "Its number or its id", example = "1"), ("command" = String, Path, description = "What to do")), request_body = Option<Said>, responses(
    (status = 200, body = IncidentChanged), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) fn command() {}

/// Deployments, newest first
#[utoipa::path(get, path = "/api/watchfire/v1/deployments", tag = "incidents", params(DeploymentQuery), description = "Needs `read`.", responses(
    (status = 200, body = DeploymentList), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn deployments() {}

/// Record a deployment
#[utoipa::path(post, path = "/api/watchfire/v1/deployments", tag = "incidents", request_body = NewDeployment, description = "Needs `respond`.", responses(
    (status = 200, body = DeploymentRecorded), (status = 201, body = DeploymentRecorded), (status = 400, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub(super) fn record_deployment() {}

/// The timeline of an alert
#[utoipa::path(get, path = "/api/watchfire/v1/alerts/{id}/timeline", tag = "alerts", description = "Needs `read`.", params(("id" = String, Path)), responses(
    (status = 200, body = AlertTimeline), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn alert_timeline() {}
