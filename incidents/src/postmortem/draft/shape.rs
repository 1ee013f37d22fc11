//! The shape of a postmortem's content: what a template can lay out. Plain data; templates of users name these fields, so a field is
//! only ever added.

use serde::Serialize;

use super::{ChangeFacts, Ladder, Notification, Repair};

/// A postmortem's content. All texts are raw: the template's escaping makes them harmless.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Draft {
    /// The incident's number.
    pub number: u64,
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its severity.
    pub severity: String,
    /// Its status.
    pub status: String,
    /// When the draft was made.
    pub drafted_at: String,
    /// When the review begins.
    pub review_at: String,
    /// The story in a few sentences.
    pub summary: Vec<String>,
    /// Moment by name.
    pub moments: Vec<Named>,
    /// Time to ... by name.
    pub clocks: Vec<Named>,
    /// Why the telemetry's part is missing; none where it is there.
    pub missing: Option<String>,
    /// Impact in numbers, per service.
    pub impact: Vec<Impact>,
    /// Impact in one sentence.
    pub impact_summary: Option<String>,
    /// The alerts.
    pub alerts: Vec<AlertFacts>,
    /// Error groups.
    pub errors: Vec<ErrorFacts>,
    /// Slowest traces.
    pub traces: Vec<TraceFacts>,
    /// Log groups.
    pub logs: Vec<LogFacts>,
    /// What remediation did.
    pub repairs: Vec<Repair>,
    /// Whom the ladders called.
    pub ladders: Vec<Ladder>,
    /// What was sent.
    pub notifications: Vec<Notification>,
    /// What went out before the start and during the incident, the earliest first.
    pub deployments: Vec<ChangeFacts>,
    /// From when on that was looked for.
    pub deployments_since: String,
    /// Why the spans could not be asked for versions; none where they could.
    pub deployments_missing: Option<String>,
    /// What Watchfire and people changed during the incident.
    pub changes: Vec<Line>,
    /// What happened.
    pub timeline: Vec<Line>,
    /// How many lines the timeline leaves out in its middle.
    pub timeline_left_out: usize,
    /// A checklist.
    pub follow_ups: Vec<String>,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A line with its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// When (UTC).
    pub at: String,
    /// Who.
    pub actor: String,
    /// What.
    pub text: String,
}

/// One service's numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Impact {
    /// Which.
    pub service: String,
    /// Requests.
    pub requests: u64,
    /// Failed ones.
    pub errors: u64,
    /// Their share.
    pub ratio: String,
    /// The share before.
    pub ratio_before: String,
    /// Requests before.
    pub requests_before: u64,
    /// Users on failed requests; `not recorded` where spans name none.
    pub users: String,
    /// 95th percentile.
    pub p95: String,
    /// 95th percentile before.
    pub p95_before: String,
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertFacts {
    /// Its name.
    pub name: String,
    /// Its summary.
    pub summary: String,
    /// Its labels.
    pub labels: String,
    /// Its severity at the end.
    pub severity: String,
    /// Its expression; none where the record is gone.
    pub expr: Option<String>,
    /// The value when it fired.
    pub fired_value: String,
    /// The last value.
    pub last_value: String,
    /// When it fired.
    pub fired_at: String,
    /// When it ended.
    pub resolved_at: String,
}

/// One error group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorFacts {
    /// Fingerprint.
    pub fingerprint: String,
    /// Service.
    pub service: String,
    /// Exception type.
    pub kind: String,
    /// Message.
    pub message: String,
    /// Events.
    pub count: u64,
    /// Events before.
    pub count_before: u64,
    /// First seen.
    pub first_seen: String,
    /// Last seen.
    pub last_seen: String,
    /// Stack; none where none was sent.
    pub stack: Option<String>,
    /// A trace; none where none is known.
    pub trace_id: Option<String>,
}

/// One slow trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceFacts {
    /// Its id.
    pub trace_id: String,
    /// Service.
    pub service: String,
    /// Entry span.
    pub name: String,
    /// When.
    pub at: String,
    /// How long.
    pub duration: String,
    /// Whether it failed.
    pub failed: bool,
}

/// One log group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogFacts {
    /// Service.
    pub service: String,
    /// Severity.
    pub severity: String,
    /// Body.
    pub body: String,
    /// How many.
    pub count: u64,
}
