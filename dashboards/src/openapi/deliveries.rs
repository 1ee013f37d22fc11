//! Notifications: the outbox as people see it.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::basics::Problem;

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeliveryState {
    Pending,
    Done,
    Dead,
    Cancelled,
}

/// A notification on its way.
#[derive(Serialize, ToSchema)]
pub(super) struct Delivery {
    id: String,
    notification: String,
    receiver: String,
    #[schema(example = "trigger")]
    action: String,
    title: String,
    state: DeliveryState,
    attempts: u32,
    #[schema(format = DateTime)]
    due_at: String,
    #[schema(format = DateTime)]
    queued_at: String,
    #[schema(required)]
    error: Option<String>,
    /// Why it was done without a send.
    #[schema(required)]
    unneeded: Option<String>,
    /// The notification of the digest that told it.
    #[schema(nullable = false)]
    digest: Option<String>,
    #[schema(required)]
    alert: Option<String>,
    #[schema(required)]
    incident: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryList {
    deliveries: Vec<Delivery>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Replayed {
    id: String,
    state: DeliveryState,
}

/// One attempt to deliver, or what ended them.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryAttempt {
    #[schema(format = DateTime)]
    at: String,
    outcome: AttemptOutcome,
    /// From 1; null where nothing was tried.
    #[schema(required)]
    attempt: Option<u32>,
    #[schema(required)]
    error: Option<String>,
    /// When it was to be tried again.
    #[schema(required, format = DateTime)]
    next_at: Option<String>,
}

/// `unsent`: not sent on purpose, because somebody had it by then.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AttemptOutcome {
    Sent,
    Failed,
    Dead,
    Unsent,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryDetail {
    delivery: Delivery,
    attempts: Vec<DeliveryAttempt>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveryQuery {
    #[param(inline)]
    state: Option<DeliveryState>,
    /// Only those about this alert (its id).
    alert: Option<String>,
    /// Only those about this incident (its id).
    incident: Option<String>,
    /// An id: only those that are older.
    before: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Notifications, newest first
#[utoipa::path(get, path = "/api/watchfire/v1/deliveries", tag = "alerts", params(DeliveryQuery), description = "Needs `respond`.", responses(
    (status = 200, body = DeliveryList), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn deliveries() {}

/// One notification with its attempts
#[utoipa::path(get, path = "/api/watchfire/v1/deliveries/{id}", tag = "alerts", description = "Needs `respond`.", params(("id" = String, Path)), responses(
    (status = 200, body = DeliveryDetail), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn delivery() {}

/// Send a dead letter again
#[utoipa::path(post, path = "/api/watchfire/v1/deliveries/{id}/replay", tag = "alerts", description = "Needs `admin`.",
    params(("id" = String, Path), ("force" = Option<bool>, Query, description = "Even where that would open something again at the receiver")), responses(
    (status = 202, body = Replayed), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) fn replay() {}
