//! The YAML of test files: promtool's keys, then ours. Unknown keys are refused; places are kept for messages.

use std::collections::BTreeMap;

use model::time::{Span, Timestamp};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::signals::{ErrorYaml, LogYaml, SpanYaml};

/// A test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileYaml {
    pub rule_files: Option<Vec<Spanned<String>>>,
    pub evaluation_interval: Option<Span>,
    pub group_eval_order: Option<Vec<String>>,
    #[serde(default)]
    pub fuzzy_compare: bool,
    pub tests: Option<Vec<Spanned<TestYaml>>>,
    /// Ours: a Watchfire configuration with the ladders, receivers and remediations; relative to this file.
    pub config: Option<Spanned<String>>,
}

/// One test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestYaml {
    pub name: Option<String>,
    pub interval: Option<Span>,
    pub start_timestamp: Option<StartYaml>,
    pub input_series: Option<Vec<SeriesYaml>>,
    pub alert_rule_test: Option<Vec<Spanned<AlertYaml>>>,
    pub promql_expr_test: Option<Vec<Spanned<ExprYaml>>>,
    #[serde(default)]
    pub external_labels: Option<BTreeMap<String, String>>,
    pub external_url: Option<String>,
    /// Ours: what people do.
    pub people: Option<Vec<Spanned<ActYaml>>>,
    /// Ours: who hears of what.
    pub delivery_test: Option<Spanned<DeliveryYaml>>,
    /// Ours: what is repaired.
    pub remediation_test: Option<Spanned<RemediationYaml>>,
    /// Ours: rows of the telemetry tables.
    pub input_logs: Option<Vec<Spanned<LogYaml>>>,
    pub input_spans: Option<Vec<Spanned<SpanYaml>>>,
    pub input_errors: Option<Vec<Spanned<ErrorYaml>>>,
}

/// When the series begin: RFC 3339, or seconds since 1970.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum StartYaml {
    Seconds(f64),
    Text(String),
}

impl StartYaml {
    pub(super) fn moment(&self) -> Result<Timestamp, String> {
        let wrong = || "`start_timestamp` is neither RFC 3339 nor seconds since 1970".to_owned();
        match self {
            StartYaml::Seconds(seconds) => Timestamp::from_secs_f64(*seconds).ok_or_else(wrong),
            StartYaml::Text(text) => match text.parse::<f64>() {
                Ok(seconds) => Timestamp::from_secs_f64(seconds).ok_or_else(wrong),
                Err(_) => text.parse().map_err(|_| wrong()),
            },
        }
    }
}

/// A series and its values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeriesYaml {
    pub series: Spanned<String>,
    pub values: Option<Spanned<String>>,
}

/// Which alerts fire at a moment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertYaml {
    #[serde(default)]
    pub eval_time: Span,
    pub alertname: Option<String>,
    pub exp_alerts: Option<Vec<ExpAlertYaml>>,
}

/// One alert that is expected to fire.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpAlertYaml {
    pub exp_labels: Option<BTreeMap<String, String>>,
    pub exp_annotations: Option<BTreeMap<String, String>>,
}

/// What an expression gives at a moment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExprYaml {
    pub expr: String,
    #[serde(default)]
    pub eval_time: Span,
    pub exp_samples: Option<Vec<ExpSampleYaml>>,
}

/// One sample that is expected.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpSampleYaml {
    #[serde(default)]
    pub labels: String,
    #[serde(default)]
    pub value: f64,
    pub histogram: Option<String>,
}

/// What somebody does: exactly one of the acts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActYaml {
    pub at: Span,
    /// Takes the incident of this alert, or the alert itself where it has none.
    pub acknowledge: Option<String>,
    pub unacknowledge: Option<String>,
    pub resolve: Option<String>,
    /// Says of the error issues of this type, or of this `type: message`, that they are fixed.
    pub resolve_error: Option<String>,
    /// The release that has the fix; none: everything from then on has it.
    pub in_release: Option<String>,
    /// Wants to hear no more of them.
    pub ignore_error: Option<String>,
    /// Matchers, as `watchfire silence add` takes them.
    pub silence: Option<Vec<String>>,
    /// How long the silence lasts.
    #[serde(rename = "for")]
    pub lasts: Option<Span>,
}

impl ActYaml {
    /// Whether it is done to error issues.
    pub(super) fn is_about_errors(&self) -> bool {
        self.resolve_error.is_some() || self.ignore_error.is_some()
    }
}

/// Who hears of what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryYaml {
    /// How long is looked; none: to the end of the longest series, or to the last expectation where that is later.
    pub until: Option<Span>,
    pub exp_notifications: Option<Vec<Spanned<PageYaml>>>,
}

/// One message; what is left out is not compared.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageYaml {
    pub at: Span,
    pub receiver: String,
    /// trigger, acknowledge, resolve, `chat_open`, `chat_post`, `chat_archive`, `document`.
    pub kind: String,
    /// One of the alerts in it.
    pub alertname: Option<String>,
    pub severity: Option<String>,
    pub ladder: Option<String>,
    /// From 1, as notices say it.
    pub step: Option<u32>,
}

/// What is repaired.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemediationYaml {
    pub until: Option<Span>,
    /// What acts come to; an act that is not named goes well. Whether it helped is what the series say.
    pub results: Option<Vec<ResultYaml>>,
    pub exp_steps: Option<Vec<Spanned<StepYaml>>>,
}

/// What the acts come to whose description holds a text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultYaml {
    pub act: String,
    /// done, failed, `not_sent` or unknown.
    pub outcome: remediation::perform::Outcome,
}

/// One step of a run; what is left out is not compared.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepYaml {
    pub at: Span,
    /// started, acted, undone or finished.
    pub event: String,
    pub remediation: Option<String>,
    pub rung: Option<String>,
    /// Of acts: whether it went well.
    pub ok: Option<bool>,
    /// Of the end: verified, `handed_over`, refused, `dry_run` or `not_needed`.
    pub outcome: Option<String>,
    /// A part of what was done and came back, or of the reason.
    pub text: Option<String>,
}

/// Where a value stands.
pub(super) fn line<T>(value: &Spanned<T>) -> u64 {
    value.referenced.line()
}

/// Reads a file; fails with `line 3: ...`.
pub(super) fn parse(text: &str) -> Result<FileYaml, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        let message = alerting::rules::yaml_mistake(&error.without_snippet().to_string());
        match error.location().map(|place| place.line()).filter(|line| *line > 0) {
            Some(line) => format!("line {line}: {message}"),
            None => message,
        }
    })
}
