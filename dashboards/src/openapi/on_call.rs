//! Who is on call: shapes of the schedules, their turns and overrides.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::basics::{Actor, Problem};

/// Somebody, or nobody, from one moment to another.
#[derive(Serialize, ToSchema)]
pub(super) struct Shift {
    #[schema(format = DateTime)]
    from: String,
    #[schema(format = DateTime)]
    to: String,
    #[schema(required)]
    user: Option<String>,
    /// The layer that names them, from 1.
    #[schema(required)]
    layer: Option<u32>,
    /// The id of the override that names them.
    #[schema(required)]
    r#override: Option<String>,
}

/// Who comes next.
#[derive(Serialize, ToSchema)]
pub(super) struct NextShift {
    #[schema(required)]
    user: Option<String>,
    #[schema(format = DateTime)]
    from: String,
}

/// Whose turn it is on a schedule.
#[derive(Serialize, ToSchema)]
pub(super) struct OnCallSchedule {
    name: String,
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// Who is on call now; null: nobody.
    #[schema(required)]
    user: Option<String>,
    /// When that changes, if it does within 40 days or the days that were asked for.
    #[schema(required, format = DateTime)]
    until: Option<String>,
    #[schema(required)]
    next: Option<NextShift>,
    /// The turns of the asked days, without gaps; at most 1,000.
    shifts: Vec<Shift>,
}

/// A person of the configuration.
#[derive(Serialize, ToSchema)]
pub(super) struct OnCallUser {
    name: String,
    /// The receivers that reach them.
    receivers: Vec<String>,
    /// The schedules on which they are on call now.
    on_call: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct OnCallTeam {
    name: String,
    /// Users and schedules.
    members: Vec<String>,
}

/// Somebody takes the place of whoever is on call.
#[derive(Serialize, ToSchema)]
pub(super) struct OnCallOverride {
    id: String,
    schedule: String,
    user: String,
    #[schema(format = DateTime)]
    starts_at: String,
    #[schema(format = DateTime)]
    ends_at: String,
    created_by: Actor,
    comment: String,
}

/// Who is on call, and who can be.
#[derive(Serialize, ToSchema)]
pub(super) struct OnCall {
    #[schema(format = DateTime)]
    at: String,
    /// The user whose key asks.
    #[schema(required)]
    you: Option<String>,
    schedules: Vec<OnCallSchedule>,
    users: Vec<OnCallUser>,
    teams: Vec<OnCallTeam>,
    /// Those that hold now or later.
    overrides: Vec<OnCallOverride>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct OnCallOverrideOne {
    r#override: OnCallOverride,
}

/// Ends at `ends_at`, or `duration` after its start: one of them. Starts now where nothing is said.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewOnCallOverride {
    schedule: String,
    user: String,
    #[schema(nullable = false, format = DateTime)]
    starts_at: Option<String>,
    #[schema(nullable = false, format = DateTime)]
    ends_at: Option<String>,
    #[schema(nullable = false, example = "2h")]
    duration: Option<String>,
    #[schema(nullable = false)]
    comment: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OnCallQuery {
    /// For how many days the turns are told; 14 where nothing is said.
    #[param(minimum = 1, maximum = 92)]
    days: Option<u32>,
}

/// Who is on call
#[utoipa::path(get, path = "/api/watchfire/v1/on-call", tag = "alerts", params(OnCallQuery), description = "Needs `read`.", responses(
    (status = 200, body = OnCall), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn show() {}

/// Take a turn of somebody else
#[utoipa::path(post, path = "/api/watchfire/v1/on-call/overrides", tag = "alerts", request_body = NewOnCallOverride, description = "Needs `respond`.", responses(
    (status = 201, body = OnCallOverrideOne), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn create() {}

/// Take an override back
#[utoipa::path(delete, path = "/api/watchfire/v1/on-call/overrides/{id}", tag = "alerts", description = "Needs `respond`.", params(("id" = String, Path)), responses(
    (status = 200, body = OnCallOverrideOne), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn end() {}
