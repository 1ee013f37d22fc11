//! Shapes of error issues, as the API describes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::basics::{Labels, Problem};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum IssueStatus {
    Open,
    Regressed,
    Resolved,
    Ignored,
    Merged,
}

/// Error events of one kind.
#[derive(Serialize, ToSchema)]
pub(super) struct Issue {
    id: String,
    tenant: String,
    number: u64,
    title: String,
    #[serde(rename = "type")]
    kind: String,
    message: String,
    /// The function that it comes from.
    culprit: String,
    grouped_by: String,
    status: IssueStatus,
    /// The state's name under `status`, with its fields.
    state: BTreeMap<String, serde_json::Value>,
    #[schema(required)]
    assignee: Option<String>,
    services: Vec<String>,
    #[schema(required, format = DateTime)]
    first_seen: Option<String>,
    #[schema(required, format = DateTime)]
    last_seen: Option<String>,
    #[schema(required)]
    first_release: Option<String>,
    #[schema(required)]
    last_release: Option<String>,
    regressions: u64,
    fingerprints: Vec<String>,
}

/// An issue in a list, with the numbers of the window; null where the telemetry store does not answer.
#[derive(Serialize, ToSchema)]
pub(super) struct IssueLine {
    id: String,
    tenant: String,
    number: u64,
    title: String,
    #[serde(rename = "type")]
    kind: String,
    message: String,
    culprit: String,
    grouped_by: String,
    status: IssueStatus,
    state: BTreeMap<String, serde_json::Value>,
    #[schema(required)]
    assignee: Option<String>,
    services: Vec<String>,
    #[schema(required, format = DateTime)]
    first_seen: Option<String>,
    #[schema(required, format = DateTime)]
    last_seen: Option<String>,
    #[schema(required)]
    first_release: Option<String>,
    #[schema(required)]
    last_release: Option<String>,
    regressions: u64,
    fingerprints: Vec<String>,
    #[schema(required)]
    events: Option<u64>,
    #[schema(required)]
    users: Option<u64>,
    /// Events of each of the last hours, oldest first.
    #[schema(required)]
    hourly: Option<Vec<u64>>,
    #[schema(required)]
    environments: Option<Vec<String>>,
    releases: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Window {
    #[schema(format = DateTime)]
    start: String,
    #[schema(format = DateTime)]
    end: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct IssueList {
    issues: Vec<IssueLine>,
    total: u64,
    #[schema(required)]
    next_offset: Option<u64>,
    warnings: Vec<String>,
    window: Window,
}

#[derive(Serialize, ToSchema)]
pub(super) struct IssuePast {
    #[schema(format = DateTime)]
    at: String,
    by: String,
    change: String,
    text: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct StackFrame {
    file: String,
    function: String,
    line: u64,
    in_app: bool,
}

/// The newest event.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorEvent {
    event_id: String,
    #[schema(format = DateTime)]
    at: String,
    source: String,
    service: String,
    #[serde(rename = "type")]
    kind: String,
    message: String,
    level: String,
    release: String,
    environment: String,
    user: String,
    trace_id: String,
    span_id: String,
    frames: Vec<StackFrame>,
    stack: String,
    tags: Labels,
}

/// An issue with its history and, unless it is merged, with what its events of the window say.
#[derive(Serialize, ToSchema)]
pub(super) struct IssueDetail {
    issue: Issue,
    history: Vec<IssuePast>,
    #[schema(nullable = false)]
    window: Option<Window>,
    events: Option<u64>,
    users: Option<u64>,
    hourly: Option<Vec<u64>>,
    daily: Option<Vec<u64>>,
    /// Lists of `{value, events}` by release, environment, user, ..., and under `tags` by tag.
    breakdowns: Option<BTreeMap<String, serde_json::Value>>,
    latest: Option<ErrorEvent>,
    warnings: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct IssueChanged {
    issue: Issue,
    message: String,
}

/// What a command needs: `resolve` may take `in_release`; `ignore` one of `for`, `until`, `events`, `users`; `assign` takes `to`; `merge` takes `issues`, `unmerge` takes `issue`.
#[derive(Deserialize, ToSchema)]
pub(super) struct IssueWish {
    #[schema(nullable = false)]
    in_release: Option<String>,
    #[serde(rename = "for")]
    #[schema(nullable = false, example = "24h")]
    length: Option<String>,
    #[schema(nullable = false, format = DateTime)]
    until: Option<String>,
    #[schema(nullable = false)]
    events: Option<u64>,
    #[schema(nullable = false)]
    users: Option<u64>,
    #[schema(nullable = false)]
    to: Option<String>,
    #[schema(nullable = false)]
    issue: Option<u64>,
    #[schema(nullable = false)]
    issues: Option<Vec<u64>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum IssueFilter {
    Open,
    Regressed,
    Resolved,
    Ignored,
    Merged,
    All,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum IssueSort {
    LastSeen,
    FirstSeen,
    Events,
    Users,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct IssueQuery {
    #[param(inline)]
    status: Option<IssueFilter>,
    service: Option<String>,
    release: Option<String>,
    environment: Option<String>,
    /// In title, type, message or culprit.
    text: Option<String>,
    /// `none`: of nobody.
    assignee: Option<String>,
    #[param(inline)]
    sort: Option<IssueSort>,
    /// From 1h to 90d.
    #[param(example = "14d")]
    window: Option<String>,
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    offset: Option<u32>,
}

/// Issues
#[utoipa::path(get, path = "/api/watchfire/v1/errors", tag = "errors", params(IssueQuery), description = "Needs `read`.", responses(
    (status = 200, body = IssueList), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn list() {}

#[derive(Serialize, ToSchema)]
pub(super) struct IssueRecords {
    /// With `state`, `releases`, `groups`, `absorbed` and `history`, the newest 50 changes.
    issues: Vec<BTreeMap<String, serde_json::Value>>,
    /// Null on the last page.
    #[schema(required)]
    next_before: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct IssueRecordQuery {
    /// Those made before the one with this id: the next page.
    before: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// The records of all issues
#[utoipa::path(get, path = "/api/watchfire/v1/errors/records", tag = "errors", params(IssueRecordQuery), description = "Newest first, with what they remember of themselves, and without numbers. Needs `read`.", responses(
    (status = 200, body = IssueRecords), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn records() {}

/// One issue
#[utoipa::path(get, path = "/api/watchfire/v1/errors/{issue}", tag = "errors", description = "Needs `read`.",
    params(("issue" = String, Path, description = "Its number or its id", example = "1"), ("window" = Option<String>, Query, description = "From 1h to 90d", example = "14d")), responses(
    (status = 200, body = IssueDetail), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn show() {}

/// A command
#[utoipa::path(post, path = "/api/watchfire/v1/errors/{issue}/{command}", tag = "errors", description = "resolve, unresolve, ignore, assign, merge or unmerge. Needs `respond`.",
    params(("issue" = String, Path, description = "Its number or its id", example = "1"), ("command" = String, Path, description = "What to do")), request_body = Option<IssueWish>, responses(
    (status = 200, body = IssueChanged), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) fn command() {}
