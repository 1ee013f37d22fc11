//! `absent` and `heartbeat`: something that must come every so often and did not. Compiled to PromQL.

use std::time::Duration;

use model::time::Span;
use serde::Deserialize;

use super::{Compiled, OneOrMany, values};
use crate::rules::question::Question;

/// What is written below `absent`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::rules) struct AbsentYaml {
    /// A PromQL selector.
    pub series: String,
    /// How long nothing may come.
    pub within: Span,
    /// Each of these on its own, if it was there in `remember`.
    pub by: Option<OneOrMany>,
    /// How long one is missed that will not come back.
    pub remember: Option<Span>,
}

/// What is written below `heartbeat`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::rules) struct HeartbeatYaml {
    /// As in `POST /api/watchfire/v1/heartbeats/<name>`.
    pub name: Option<String>,
    /// A monitor of Sentry's check-ins.
    pub monitor: Option<String>,
    /// How often it comes.
    pub every: Span,
    /// How late it may be.
    pub grace: Option<Span>,
}

const REMEMBER: Duration = Duration::from_secs(24 * 3_600);
const LONGEST: Duration = Duration::from_secs(62 * 24 * 3_600);

fn promql(expr: String) -> Compiled {
    Compiled { question: Question::PromQl, expr, needs_thresholds: false }
}

impl AbsentYaml {
    /// PromQL.
    pub(in crate::rules) fn compile(&self) -> Result<Compiled, String> {
        let (series, within, by) = (self.series.trim(), self.within, values(self.by.as_ref()));
        if within.0.is_zero() {
            return Err("`within` is 0: say how long nothing may come, for example 5m".to_owned());
        }
        let remember = self.remember.map_or(REMEMBER, |span| span.0);
        if by.is_empty() {
            if self.remember.is_some() {
                return Err("`remember` goes with `by`: without it the absence of all of them is told for as long as it lasts".to_owned());
            }
            return Ok(promql(format!("absent_over_time({series}[{within}])")));
        }
        if remember <= within.0 {
            return Err("`remember` must be longer than `within`: it says for how long one that is gone is missed".to_owned());
        }
        let (by, remember) = (by.join(", "), Span(remember));
        Ok(promql(format!(
            "group by ({by}) (present_over_time({series}[{remember}])) unless group by ({by}) (present_over_time({series}[{within}]))"
        )))
    }
}

impl HeartbeatYaml {
    /// PromQL: nothing good for too long, or the newest was a failure.
    pub(in crate::rules) fn compile(&self) -> Result<Compiled, String> {
        let (metric, label, name, bad) = match (&self.name, &self.monitor) {
            (Some(name), None) => ("watchfire_heartbeat_timestamp_seconds", "heartbeat", name, "failed"),
            (None, Some(monitor)) => ("watchfire_checkin_timestamp_seconds", "monitor", monitor, "error"),
            (Some(_), Some(_)) => return Err("has both `name` and `monitor`: keep one of them".to_owned()),
            (None, None) => return Err("needs `name` (of the heartbeat) or `monitor` (of Sentry's check-ins)".to_owned()),
        };
        if self.every.0.is_zero() {
            return Err("`every` is 0: say how often it comes, for example 1d".to_owned());
        }
        let patience = Span(self.every.0.saturating_add(self.grace.unwrap_or_default().0));
        if patience.0 > LONGEST {
            return Err("`every` and `grace` together must not be longer than 62d".to_owned());
        }
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        let of = |status: &str| format!("{metric}{{{label}=\"{name}\",status=\"{status}\"}}[{patience}]");
        let (good, bad) = (of("ok"), of(bad));
        Ok(promql(format!(
            "max by ({label}) (absent_over_time({good})) or max by ({label}) (max_over_time({bad})) > max by ({label}) (max_over_time({good}))"
        )))
    }
}
