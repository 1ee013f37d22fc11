//! Shapes that many answers share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How bad.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    Info,
    Warning,
    High,
    Critical,
}

/// Names with values.
pub(super) type Labels = BTreeMap<String, String>;

/// Who did it. `part` of a system, `id` of a user, key or person in a chat, `provider` of the chat, `name` of a service.
#[derive(Serialize, ToSchema)]
pub(super) struct Actor {
    actor: ActorKind,
    #[schema(nullable = false)]
    part: Option<String>,
    #[schema(nullable = false)]
    id: Option<String>,
    #[schema(nullable = false)]
    provider: Option<String>,
    #[schema(nullable = false)]
    name: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ActorKind {
    System,
    User,
    Key,
    Chat,
    Provider,
}

/// Who took it, and when.
#[derive(Serialize, ToSchema)]
pub(super) struct Acknowledgement {
    #[schema(format = DateTime)]
    at: String,
    by: Actor,
}

/// What could not be done: one sentence, and a word for machines.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem {
    #[schema(example = "error")]
    status: String,
    #[serde(rename = "errorType")]
    #[schema(nullable = false, example = "bad_data")]
    error_type: Option<String>,
    error: String,
}

/// A sentence about what was done.
#[derive(Serialize, ToSchema)]
pub(super) struct Reason {
    /// Why, in a few words.
    #[schema(nullable = false, max_length = 4000)]
    reason: Option<String>,
}
