//! What an answer means: healthy, degraded or down, and the series that say so. Pure.

use std::time::Duration;

use model::labels::{Labels, METRIC_NAME};
use model::query::SeriesSample;
use model::time::{Span, Timestamp};
use serde::Serialize;

use super::ask::Said;

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not asked yet.
    Unknown,
    /// As it should be.
    Healthy,
    /// It answers, but late, or not for long any more.
    Degraded,
    /// It does not answer, or wrongly.
    Down,
}

/// How a check went.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub health: Health,
    /// Why it is not healthy; empty where it is.
    pub reason: String,
    pub status: Option<u16>,
    pub expires: Option<Timestamp>,
}

/// What is to be thought of an answer.
pub(super) fn judge(answer: Result<Said, String>, took: Duration, degraded_after: Option<Span>) -> Verdict {
    let said = match answer {
        Ok(said) => said,
        Err(reason) => return Verdict { health: Health::Down, reason, status: None, expires: None },
    };
    let late = degraded_after.filter(|limit| took > limit.0);
    let late = late.map(|limit| format!("the answer took {} ms, more than {limit}", took.as_millis()));
    let (health, reason) = match (said.wrong, said.doubtful.or(late)) {
        (Some(why), _) => (Health::Down, why),
        (None, Some(why)) => (Health::Degraded, why),
        (None, None) => (Health::Healthy, String::new()),
    };
    Verdict { health, reason, status: said.status, expires: said.expires }
}

/// The samples of one check. `labels` are those of all its series.
pub(super) fn samples(labels: &Labels, verdict: &Verdict, took: Duration, at: Timestamp) -> Vec<(Labels, SeriesSample)> {
    let flag = |holds: bool| if holds { 1.0 } else { 0.0 };
    let values = [
        ("watchfire_check_up", Some(flag(verdict.health != Health::Down))),
        ("watchfire_check_degraded", Some(flag(verdict.health == Health::Degraded))),
        ("watchfire_check_duration_seconds", Some(took.as_secs_f64())),
        ("watchfire_check_http_status_code", verdict.status.map(f64::from)),
        ("watchfire_check_certificate_expiry_timestamp_seconds", verdict.expires.map(Timestamp::secs_f64)),
    ];
    let sample = |(name, value): (&str, Option<f64>)| Some((labels.clone().with(METRIC_NAME, name), SeriesSample { at, value: value? }));
    values.into_iter().filter_map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_and_words_make_the_verdict() {
        let fast = Duration::from_millis(20);
        let limit = Some(Span::millis(500));
        let of = |said: Said, took: Duration| judge(Ok(said), took, limit).health;
        assert_eq!(of(Said::default(), fast), Health::Healthy);
        assert_eq!(of(Said::default(), Duration::from_secs(1)), Health::Degraded);
        assert_eq!(of(Said { wrong: Some("no".to_owned()), ..Said::default() }, Duration::from_secs(1)), Health::Down);
        assert_eq!(of(Said { doubtful: Some("soon".to_owned()), ..Said::default() }, fast), Health::Degraded);
        let late = judge(Ok(Said::default()), Duration::from_millis(501), limit);
        assert_eq!(late.reason, "the answer took 501 ms, more than 500ms");
        let down = judge(Err("no answer".to_owned()), fast, limit);
        assert_eq!((down.health, down.reason.as_str()), (Health::Down, "no answer"));
    }

    #[test]
    fn only_what_is_known_is_a_sample() {
        let labels: Labels = [("check", "a")].into_iter().collect();
        let verdict = judge(Ok(Said { status: Some(200), ..Said::default() }), Duration::from_millis(5), None);
        let told = samples(&labels, &verdict, Duration::from_millis(5), Timestamp::from_secs(1));
        let names: Vec<String> = told.iter().map(|(labels, sample)| format!("{labels} {}", sample.value)).collect();
        assert_eq!(
            names,
            [
                r#"watchfire_check_up{check="a"} 1"#,
                r#"watchfire_check_degraded{check="a"} 0"#,
                r#"watchfire_check_duration_seconds{check="a"} 0.005"#,
                r#"watchfire_check_http_status_code{check="a"} 200"#
            ]
        );
    }
}
