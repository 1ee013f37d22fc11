//! Rule files, and what an editor asks about a changed one before it is saved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::basics::{Labels, Problem, Severity};

/// A rule file: Prometheus's format with Watchfire's keys.
#[derive(Serialize, ToSchema)]
pub(super) struct RuleFile {
    /// Its path below the folder of rules.
    name: String,
    text: String,
    /// Changes with the text.
    version: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RuleFiles {
    /// Whether who asks may write them.
    editable: bool,
    /// Why not.
    #[schema(required)]
    read_only_because: Option<String>,
    files: Vec<RuleFile>,
    /// The names of the configured receivers.
    receivers: Vec<String>,
}

/// A file as somebody has it before them; it need not be stored.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleDraft {
    #[schema(example = "shop.yml", max_length = 200, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]*\\.ya?ml$")]
    name: String,
    #[schema(example = "groups:\n- name: shop\n  rules:\n  - alert: Down\n    expr: up == 0\n")]
    text: String,
}

/// With a test file in promtool's format, without `rule_files`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleTestDraft {
    #[schema(example = "shop.yml", max_length = 200, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]*\\.ya?ml$")]
    name: String,
    #[schema(example = "groups:\n- name: shop\n  rules:\n  - alert: Down\n    expr: up == 0\n")]
    text: String,
    #[schema(
        example = "tests:\n- interval: 1m\n  input_series:\n  - { series: up, values: 0x5 }\n  alert_rule_test:\n  - { eval_time: 2m, alertname: Down, exp_alerts: [ {} ] }\n"
    )]
    test: String,
}

/// With a span of time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleReplayDraft {
    #[schema(example = "shop.yml", max_length = 200, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]*\\.ya?ml$")]
    name: String,
    #[schema(example = "groups:\n- name: shop\n  rules:\n  - alert: Down\n    expr: up == 0\n")]
    text: String,
    #[schema(format = DateTime, example = "2026-03-01T09:00:00Z")]
    from: String,
    #[schema(format = DateTime, example = "2026-03-01T10:00:00Z")]
    to: String,
}

/// A file to be written over the version that was read; without one, a new file.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleWrite {
    #[schema(example = "shop.yml", max_length = 200, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]*\\.ya?ml$")]
    name: String,
    #[schema(example = "groups:\n- name: shop\n  rules:\n  - alert: Down\n    expr: up == 0\n")]
    text: String,
    version: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DraftGroup {
    name: String,
    rules: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RuleVerdict {
    /// One sentence each, with file and line; none: all rules are right with this file.
    problems: Vec<String>,
    /// The file's groups.
    groups: Vec<DraftGroup>,
}

/// What became of one expectation.
#[derive(Serialize, ToSchema)]
pub(super) struct RuleTestCase {
    test: String,
    #[schema(example = "alert_rule_test")]
    kind: String,
    about: String,
    /// In the test file, from 1; 0 where it is not known.
    line: u64,
    /// Why it fails.
    #[schema(required)]
    failure: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RuleTestReport {
    success: bool,
    /// Why it could not be run.
    errors: Vec<String>,
    warnings: Vec<String>,
    cases: Vec<RuleTestCase>,
}

/// An alert that would have been.
#[derive(Serialize, ToSchema)]
pub(super) struct ReplayedAlert {
    name: String,
    labels: Labels,
    severity: Severity,
    /// When its expression became true.
    #[schema(format = DateTime)]
    pending: String,
    /// It was there at the first evaluation: it became true no later than `pending`.
    began_before: bool,
    #[schema(required, format = DateTime)]
    fired: Option<String>,
    /// None: it still was there at the end.
    #[schema(required, format = DateTime)]
    ended: Option<String>,
}

/// A message that would have left.
#[derive(Serialize, ToSchema)]
pub(super) struct ReplayedPage {
    #[schema(format = DateTime)]
    at: String,
    receiver: String,
    #[schema(example = "trigger")]
    kind: String,
    alerts: Vec<String>,
    #[schema(required)]
    ladder: Option<String>,
    /// From 1.
    #[schema(required)]
    step: Option<u32>,
    /// All of its alerts began before: it left no later than `at`, or never.
    began_before: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RuleReplay {
    alerts: Vec<ReplayedAlert>,
    pages: Vec<ReplayedPage>,
    /// By rule: how often it could not be evaluated, and the last reason.
    failures: BTreeMap<String, (u64, String)>,
    evaluations: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RuleWritten {
    version: String,
    message: String,
}

/// Rule files
#[utoipa::path(get, path = "/api/watchfire/v1/rules/files", tag = "alerts", description = "Needs `read`.", responses(
    (status = 200, body = RuleFiles), (status = 403, body = Problem), (status = 503, body = Problem)))]
pub(super) fn files() {}

/// Write a rule file
#[utoipa::path(put, path = "/api/watchfire/v1/rules/files", tag = "alerts",
    description = "Only where `dashboards.edit_rules` is set; nothing is written unless all rules are right with it. Needs `admin`.",
    request_body = RuleWrite, responses(
    (status = 200, body = RuleWritten), (status = 400, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem, description = "Somebody changed it meanwhile"),
    (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) fn write() {}

/// Check a rule file
#[utoipa::path(post, path = "/api/watchfire/v1/rules/check", tag = "alerts",
    description = "Together with all other files, without storing it. Needs `read`.", request_body = RuleDraft, responses(
    (status = 200, body = RuleVerdict), (status = 400, body = Problem), (status = 403, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem),
    (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) fn check() {}

/// Run unit tests against a rule file
#[utoipa::path(post, path = "/api/watchfire/v1/rules/test", tag = "alerts",
    description = "Over series of the test; nothing is stored or sent. Needs `read`.", request_body = RuleTestDraft, responses(
    (status = 200, body = RuleTestReport), (status = 400, body = Problem), (status = 403, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem),
    (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) fn test() {}

/// Replay a rule file over the stored history
#[utoipa::path(post, path = "/api/watchfire/v1/rules/replay", tag = "alerts",
    description = "When its rules would have fired and whom they would have told; nothing is stored or sent. Needs `read`.", request_body = RuleReplayDraft, responses(
    (status = 200, body = RuleReplay), (status = 400, body = Problem), (status = 403, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem),
    (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) fn replay() {}
