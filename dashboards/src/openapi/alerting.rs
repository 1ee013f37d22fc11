//! Alerts, rules, silences, ladders, deliveries.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::basics::{Acknowledgement, Actor, Labels, Problem, Severity};

/// Which rule.
#[derive(Serialize, ToSchema)]
pub(super) struct RuleKey {
    /// Where it comes from, for example a file.
    source: String,
    group: String,
    name: String,
}

/// A state with its moments: `fired_at` of one that fired, `resolved_at` of one that is over.
#[derive(Serialize, ToSchema)]
pub(super) struct AlertMoments {
    state: AlertWord,
    #[schema(format = DateTime)]
    active_at: String,
    #[schema(nullable = false, format = DateTime)]
    fired_at: Option<String>,
    #[schema(format = DateTime)]
    keep_firing_since: Option<String>,
    #[schema(nullable = false, format = DateTime)]
    resolved_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AlertWord {
    Pending,
    Firing,
    Resolved,
}

/// One label set of one rule. `summary`, `flapping` come from the alerts' own routes; there the fingerprint is hexadecimal.
#[derive(Serialize, ToSchema)]
pub(super) struct Alert {
    id: String,
    tenant: String,
    rule: RuleKey,
    fingerprint: Fingerprint,
    labels: Labels,
    annotations: Labels,
    severity: Severity,
    state: AlertMoments,
    /// The newest value of its expression.
    value: String,
    expr: String,
    /// The ladder that its severity names.
    #[schema(required)]
    escalation: Option<String>,
    #[schema(required)]
    remediation: Option<String>,
    #[schema(required)]
    acknowledged: Option<Acknowledgement>,
    /// The incident's id.
    #[schema(required)]
    incident: Option<String>,
    /// Whether its query fails at present.
    unknown: bool,
    /// Whether a silence covers it.
    muted: bool,
    /// Where whoever sent it shows its rule.
    #[schema(nullable = false)]
    generator_url: Option<String>,
    #[schema(nullable = false)]
    summary: Option<String>,
    #[schema(nullable = false)]
    flapping: Option<bool>,
    /// What its expression is, where the alerts' own routes tell it.
    #[schema(nullable = false)]
    question: Option<QuestionWord>,
}

/// What a rule's expression is: PromQL, SQL over logs, spans or errors, the list of issues, or PromQL beside its forecast.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum QuestionWord {
    PromQl,
    Sql,
    Issues,
    Anomaly,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Fingerprint {
    Hex(String),
    Number(u64),
}

#[derive(Serialize, ToSchema)]
pub(super) struct AlertList {
    alerts: Vec<Alert>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AlertOne {
    alert: Alert,
}

#[derive(Serialize, Deserialize, ToSchema)]
pub(super) enum MatchOp {
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "=~")]
    Regex,
    #[serde(rename = "!~")]
    NotRegex,
}

#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SilenceState {
    Active,
    Pending,
    Expired,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Silence {
    id: String,
    tenant: String,
    matchers: Vec<Matcher>,
    #[schema(format = DateTime)]
    starts_at: String,
    #[schema(format = DateTime)]
    ends_at: String,
    created_by: Actor,
    comment: String,
    state: SilenceState,
    /// The name of the maintenance window that it is.
    maintenance: Option<String>,
}

/// How long an alert is put off.
#[derive(Deserialize, ToSchema)]
pub(super) struct Snooze {
    #[schema(example = "30m")]
    duration: String,
}

/// A maintenance window of the configuration.
#[derive(Serialize, ToSchema)]
pub(super) struct RecurringMaintenance {
    name: String,
    matchers: Vec<String>,
    /// Names of the configured intervals.
    time_intervals: Vec<String>,
    /// Until when, while it is one.
    #[schema(required, format = DateTime)]
    active_until: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MaintenanceList {
    planned: Vec<Silence>,
    recurring: Vec<RecurringMaintenance>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MaintenanceOne {
    maintenance: Silence,
}

/// A silence with a name.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewMaintenance {
    #[schema(min_length = 1)]
    name: String,
    #[schema(min_items = 1, max_items = 64)]
    matchers: Vec<Matcher>,
    #[schema(nullable = false, format = DateTime)]
    starts_at: Option<String>,
    #[schema(nullable = false, format = DateTime)]
    ends_at: Option<String>,
    #[schema(nullable = false, example = "2h")]
    duration: Option<String>,
    #[schema(nullable = false)]
    comment: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SilenceList {
    silences: Vec<Silence>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SilenceOne {
    silence: Silence,
}

/// Ends at `ends_at`, or `duration` after its start: one of them.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewSilence {
    #[schema(min_items = 1, max_items = 64)]
    matchers: Vec<Matcher>,
    #[schema(nullable = false, format = DateTime)]
    starts_at: Option<String>,
    #[schema(nullable = false, format = DateTime)]
    ends_at: Option<String>,
    #[schema(nullable = false, example = "2h")]
    duration: Option<String>,
    #[schema(nullable = false)]
    comment: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct LadderStep {
    #[schema(example = "5m")]
    after: String,
    notify: Vec<String>,
}

/// Whom to tell, one step after the other until somebody acknowledges.
#[derive(Serialize, ToSchema)]
pub(super) struct Ladder {
    name: String,
    steps: Vec<LadderStep>,
    repeat: u32,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LadderStatus {
    Running,
    Stopped,
    Exhausted,
    Closed,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LadderAbout {
    Incident,
    Alert,
}

#[derive(Serialize, ToSchema)]
pub(super) struct LadderSubject {
    about: LadderAbout,
    id: String,
}

/// A ladder at work.
#[derive(Serialize, ToSchema)]
pub(super) struct LadderRun {
    id: String,
    tenant: String,
    subject: LadderSubject,
    ladder: Ladder,
    severity: Severity,
    title: String,
    status: LadderStatus,
    /// Why it was stopped.
    #[schema(nullable = false)]
    reason: Option<String>,
    round: u32,
    step: u32,
    #[schema(format = DateTime)]
    started_at: String,
    #[schema(required, format = DateTime)]
    next_at: Option<String>,
    /// The receivers that were told.
    notified: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct LadderList {
    ladders: Vec<Ladder>,
    runs: Vec<LadderRun>,
}

/// An alert as Prometheus shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromAlert {
    labels: Labels,
    annotations: Labels,
    state: PromAlertState,
    #[schema(format = DateTime)]
    active_at: String,
    value: String,
    #[schema(nullable = false, format = DateTime)]
    keep_firing_since: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum PromAlertState {
    Pending,
    Firing,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RuleType {
    Alerting,
    Recording,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RuleState {
    Inactive,
    Pending,
    Firing,
}

/// Conditions that name a severity.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct Thresholds {
    #[schema(nullable = false, example = "> 0.05")]
    critical: Option<String>,
    #[schema(nullable = false)]
    high: Option<String>,
    #[schema(nullable = false)]
    warning: Option<String>,
    #[schema(nullable = false)]
    info: Option<String>,
}

/// A rule as Prometheus shows it, with what is Watchfire's own: `noData`, `noDataReason`, `thresholds`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromRule {
    name: String,
    query: String,
    #[serde(rename = "type")]
    kind: RuleType,
    #[schema(example = "ok")]
    health: String,
    #[schema(nullable = false)]
    last_error: Option<String>,
    /// No selector of the expression matched any series.
    #[schema(nullable = false)]
    no_data: Option<bool>,
    /// What is missing where an anomaly rule cannot judge yet.
    #[schema(nullable = false)]
    no_data_reason: Option<String>,
    labels: Labels,
    /// Seconds.
    evaluation_time: f64,
    last_evaluation: String,
    #[schema(nullable = false)]
    state: Option<RuleState>,
    /// Seconds of `for`.
    #[schema(nullable = false)]
    duration: Option<f64>,
    #[schema(nullable = false)]
    keep_firing_for: Option<f64>,
    #[schema(nullable = false)]
    annotations: Option<Labels>,
    #[schema(nullable = false)]
    alerts: Option<Vec<PromAlert>>,
    #[schema(nullable = false)]
    thresholds: Option<Thresholds>,
    /// What must hold until a firing alert is over, where the rule says it: `< 0.005`.
    #[schema(nullable = false)]
    recovery: Option<String>,
    #[schema(nullable = false)]
    question: Option<QuestionWord>,
    /// Where the rule stands, as alerts name it.
    #[schema(nullable = false)]
    source: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleGroup {
    name: String,
    file: String,
    rules: Vec<PromRule>,
    /// Seconds.
    interval: f64,
    #[schema(nullable = false)]
    limit: Option<u64>,
    evaluation_time: f64,
    last_evaluation: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RuleGroups {
    groups: Vec<RuleGroup>,
    /// Where the next page begins (`group_limit`).
    #[serde(rename = "groupNextToken")]
    #[schema(nullable = false)]
    group_next_token: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RulesAnswer {
    #[schema(example = "success")]
    status: String,
    data: RuleGroups,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PromAlerts {
    alerts: Vec<PromAlert>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PromAlertsAnswer {
    #[schema(example = "success")]
    status: String,
    data: PromAlerts,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AlertFilter {
    Open,
    Pending,
    Firing,
    Resolved,
    All,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SilenceFilter {
    Active,
    Pending,
    Expired,
    All,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LadderFilter {
    Running,
    Stopped,
    Exhausted,
    Closed,
    All,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AlertQuery {
    #[param(inline)]
    state: Option<AlertFilter>,
    /// Only the episodes of the alert with this identity, among the newest 10,000.
    fingerprint: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// An id: only those that are older.
    before: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SilenceQuery {
    #[param(inline)]
    state: Option<SilenceFilter>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// An id: only those that are older.
    before: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LadderQuery {
    #[param(inline)]
    state: Option<LadderFilter>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// An id: only those that are older.
    before: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RuleKind {
    Alert,
    Record,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RuleQuery {
    #[param(inline)]
    r#type: Option<RuleKind>,
    /// `true`: without the alerts of each rule.
    exclude_alerts: Option<bool>,
}

/// Alerts, newest first
#[utoipa::path(get, path = "/api/watchfire/v1/alerts", tag = "alerts", params(AlertQuery), description = "Pending and firing ones unless another state is named. Needs `read`.", responses(
    (status = 200, body = AlertList), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn alerts() {}

/// One alert
#[utoipa::path(get, path = "/api/watchfire/v1/alerts/{id}", tag = "alerts", description = "Needs `read`.", params(("id" = String, Path)), responses(
    (status = 200, body = AlertOne), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn alert() {}

/// Take an alert
#[utoipa::path(post, path = "/api/watchfire/v1/alerts/{id}/acknowledge", tag = "alerts", description = "Its ladder stops, and so does its incident's. Needs `respond`.", params(("id" = String, Path)), responses(
    (status = 200, body = AlertOne), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) fn acknowledge() {}

/// Silences, newest first
#[utoipa::path(get, path = "/api/watchfire/v1/silences", tag = "alerts", params(SilenceQuery), description = "Needs `read`.", responses(
    (status = 200, body = SilenceList), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn silences() {}

/// Silence alerts
#[utoipa::path(post, path = "/api/watchfire/v1/silences", tag = "alerts", request_body = NewSilence, description = "Needs `respond`.", responses(
    (status = 201, body = SilenceOne), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn create_silence() {}

/// End a silence
#[utoipa::path(delete, path = "/api/watchfire/v1/silences/{id}", tag = "alerts", description = "Needs `respond`.", params(("id" = String, Path)), responses(
    (status = 200, body = SilenceOne), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn end_silence() {}

/// Ladders and their runs
#[utoipa::path(get, path = "/api/watchfire/v1/ladders", tag = "alerts", params(LadderQuery), description = "Needs `read`.", responses(
    (status = 200, body = LadderList), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn ladders() {}

/// Rules with their state
#[utoipa::path(get, path = "/api/v1/rules", tag = "alerts", params(RuleQuery), description = "As Prometheus. Needs `read`.", responses(
    (status = 200, body = RulesAnswer), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn rules() {}

/// Pending and firing alerts
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", description = "As Prometheus. Needs `read`.", responses(
    (status = 200, body = PromAlertsAnswer), (status = 403, body = Problem)))]
pub(super) fn open_alerts() {}

/// Give an alert back
#[utoipa::path(
    post, path = "/api/watchfire/v1/alerts/{id}/unacknowledge", tag = "alerts",
    description = "Its ladder climbs again from the first step. Needs `respond`.", params(("id" = String, Path)),
    responses((status = 200, body = AlertOne), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) fn unacknowledge() {}

/// Put an alert off
#[utoipa::path(
    post, path = "/api/watchfire/v1/alerts/{id}/snooze", tag = "alerts",
    description = "Taken for a time; if it still fires then, its ladder climbs again. Needs `respond`.", params(("id" = String, Path)), request_body = Snooze,
    responses((status = 200, body = AlertOne), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) fn snooze() {}

/// Maintenance windows
#[utoipa::path(
    get, path = "/api/watchfire/v1/maintenance", tag = "alerts", description = "Planned ones that are not over, and those of the configuration. Needs `read`.",
    responses((status = 200, body = MaintenanceList), (status = 403, body = Problem)))]
pub(super) fn maintenance() {}

/// Plan a maintenance window
#[utoipa::path(
    post, path = "/api/watchfire/v1/maintenance", tag = "alerts", description = "Needs `respond`.", request_body = NewMaintenance,
    responses((status = 201, body = MaintenanceOne), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn create_maintenance() {}

/// End a maintenance window
#[utoipa::path(
    delete, path = "/api/watchfire/v1/maintenance/{id}", tag = "alerts", description = "Needs `respond`.", params(("id" = String, Path)),
    responses((status = 200, body = SilenceOne), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) fn end_maintenance() {}

/// A label set with its values, as its alert would have it.
#[derive(Serialize, ToSchema)]
pub(super) struct ValueSeries {
    /// The identity of its alert, in hex.
    fingerprint: String,
    labels: Labels,
    /// Seconds since 1970 and the value as a text.
    values: Vec<(f64, String)>,
}

/// What a rule's question said over a span.
#[derive(Serialize, ToSchema)]
pub(super) struct RuleValues {
    question: QuestionWord,
    /// Seconds between two moments.
    step: f64,
    /// False where time ran out: the oldest are missing.
    complete: bool,
    /// How many moments could not be asked about.
    failures: u32,
    /// Why the last of them could not.
    #[schema(required)]
    error: Option<String>,
    series: Vec<ValueSeries>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ValuesQuery {
    /// The rule's source, as `/api/v1/rules` and alerts name it.
    source: String,
    group: String,
    name: String,
    #[param(format = DateTime)]
    from: String,
    #[param(format = DateTime)]
    to: String,
    #[param(minimum = 2, maximum = 60)]
    points: Option<u32>,
}

/// The values of an alerting rule's question
#[utoipa::path(get, path = "/api/watchfire/v1/rules/values", tag = "alerts", params(ValuesQuery), description = "The rule is asked at up to 60 moments of a span, whatever its question is: for plots. One at a time. Needs `read`.", responses(
    (status = 200, body = RuleValues), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub(super) fn values() {}
