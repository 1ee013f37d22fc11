//! The content of a postmortem, as a pure function. In: the incident, its journal, its alerts, the telemetry's evidence, when. Out: a
//! `Draft` of plain texts and numbers that a template lays out. Nothing is guessed: what is not known is said to be not known.

mod changes;
mod journal;
mod shape;

use std::collections::BTreeMap;

use model::alert::Alert;
use model::event::{EventKind, Recorded};
use model::evidence::{ErrorGroup, Evidence, ServiceImpact, SlowTrace};
use model::ids::AlertId;
use model::incident::Incident;
use model::time::Timestamp;
use model::units::Value;

use super::follow_ups::follow_ups;
use crate::job::Clock;
use crate::timeline::{alert_names, duration, text};

pub use changes::{ChangeFacts, Changes};
pub use journal::{Ladder, Notification, Repair, Rung};
pub use shape::{AlertFacts, Draft, ErrorFacts, Impact, Line, LogFacts, Named, TraceFacts};

/// How many lines of the timeline are shown: the first and the last ones.
const TIMELINE_HEAD: usize = 200;
const TIMELINE_TAIL: usize = 100;

/// What the telemetry had to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// It answered.
    Evidence(Box<Evidence>),
    /// It did not.
    Missing {
        /// How often it was asked.
        attempts: u32,
        /// The last answer.
        reason: String,
    },
}

/// Everything that is known.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// The events of the incident and its alerts, in order.
    pub events: &'a [Recorded],
    /// Its alerts, as far as their records exist.
    pub alerts: &'a [Alert],
    /// The telemetry.
    pub found: &'a Found,
    /// What went out before the start and during the incident.
    pub changes: &'a Changes,
    /// When the draft is made.
    pub now: Timestamp,
}

/// Writes everything down.
pub fn draft(facts: &Facts<'_>, review_at: Timestamp) -> Draft {
    let Facts { incident, events, now, .. } = *facts;
    let (evidence, missing) = match facts.found {
        Found::Evidence(evidence) => (evidence.as_ref().clone(), None),
        Found::Missing { attempts, reason } => {
            let text = format!(
                "The telemetry store was asked {attempts} times and did not answer ({reason}), so this draft has no impact, error, trace and log figures. Query them by hand for the time given above."
            );
            (Evidence::default(), Some(text))
        }
    };
    let (timeline, timeline_left_out) = shown_timeline(events);
    let repairs = journal::repairs(events);
    let notifications = journal::notifications(events);
    let impact_summary = impact_sentence(&evidence.impact);
    let mut draft = Draft {
        number: incident.number,
        id: incident.id.to_string(),
        title: incident.title.clone(),
        severity: incident.severity.to_string(),
        status: incident.status.as_str().to_owned(),
        drafted_at: moment(now),
        review_at: moment(review_at),
        summary: Vec::new(),
        moments: moments(incident),
        clocks: clocks(incident),
        missing,
        impact: evidence.impact.iter().map(impact).collect(),
        impact_summary,
        alerts: alerts(facts),
        errors: evidence.errors.iter().map(error_facts).collect(),
        traces: evidence.slow_traces.iter().map(trace_facts).collect(),
        logs: evidence
            .logs
            .iter()
            .map(|log| LogFacts { service: log.service.clone(), severity: log.severity.clone(), body: log.body.clone(), count: log.count })
            .collect(),
        repairs,
        ladders: journal::ladders(events),
        notifications,
        deployments: changes::changes(facts.changes, incident.clocks.started),
        deployments_since: moment(incident.clocks.started.minus(facts.changes.before.0)),
        deployments_missing: facts.changes.missing.clone(),
        changes: changes_during(events),
        timeline,
        timeline_left_out,
        follow_ups: Vec::new(),
    };
    draft.summary = summary(incident, &draft, now);
    draft.follow_ups = follow_ups(incident, &draft);
    draft
}

/// A moment in UTC, for tables.
pub(crate) fn moment(at: Timestamp) -> String {
    at.to_chrono().format("%Y-%m-%d %H:%M:%S").to_string()
}

fn moments(incident: &Incident) -> Vec<Named> {
    let clocks = incident.clocks;
    let rows = [
        ("Started (first evidence in the data)", Some(clocks.started)),
        ("Detected (first alert fired)", Some(clocks.detected)),
        ("Acknowledged", clocks.acknowledged),
        ("Mitigated", clocks.mitigated),
        ("Resolved", clocks.resolved),
    ];
    rows.into_iter().map(|(name, at)| Named { name: name.to_owned(), value: at.map_or_else(|| "-".to_owned(), moment) }).collect()
}

fn clocks(incident: &Incident) -> Vec<Named> {
    let name = |clock| match clock {
        Clock::Detect => "Time to detect (start to detection)",
        Clock::Acknowledge => "Time to acknowledge (from detection)",
        Clock::Mitigate => "Time to mitigate (from detection)",
        Clock::Resolve => "Time to resolve (from detection)",
    };
    let value = |clock: Clock| match clock.seconds(incident) {
        Some(seconds) => duration(std::time::Duration::from_secs_f64(seconds)),
        None => "never happened".to_owned(),
    };
    Clock::ALL.into_iter().map(|clock| Named { name: name(clock).to_owned(), value: value(clock) }).collect()
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.2} %", part as f64 * 100.0 / whole as f64) }
}

fn seconds(value: Value) -> String {
    let Value(seconds) = value;
    if !seconds.is_finite() {
        "-".to_owned()
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

fn impact(one: &ServiceImpact) -> Impact {
    Impact {
        service: one.service.clone(),
        requests: one.requests,
        errors: one.errors,
        ratio: percent(one.errors, one.requests),
        ratio_before: percent(one.errors_before, one.requests_before),
        requests_before: one.requests_before,
        users: if one.users == 0 { "not recorded".to_owned() } else { one.users.to_string() },
        p95: seconds(one.p95_seconds),
        p95_before: seconds(one.p95_seconds_before),
    }
}

fn impact_sentence(services: &[ServiceImpact]) -> Option<String> {
    let sum = |pick: fn(&ServiceImpact) -> u64| services.iter().map(pick).sum::<u64>();
    let (requests, errors, users) = (sum(|one| one.requests), sum(|one| one.errors), services.iter().map(|one| one.users).max()?);
    let (requests_before, errors_before) = (sum(|one| one.requests_before), sum(|one| one.errors_before));
    let before = if requests_before == 0 {
        "there were no requests in the same time before".to_owned()
    } else {
        format!("in the same time before it was {errors_before} of {requests_before} ({})", percent(errors_before, requests_before))
    };
    let hurt = if users == 0 { String::new() } else { format!(", at least {users} users saw a failed request") };
    Some(format!("{errors} of {requests} requests failed ({}){hurt}; {before}.", percent(errors, requests)))
}

fn error_facts(one: &ErrorGroup) -> ErrorFacts {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.trim().is_empty());
    ErrorFacts {
        fingerprint: one.fingerprint.clone(),
        service: one.service.clone(),
        kind: one.kind.clone(),
        message: one.message.clone(),
        count: one.count,
        count_before: one.count_before,
        first_seen: moment(one.first_seen),
        last_seen: moment(one.last_seen),
        stack: some(&one.stack),
        trace_id: some(&one.trace_id),
    }
}

fn trace_facts(one: &SlowTrace) -> TraceFacts {
    TraceFacts {
        trace_id: one.trace_id.clone(),
        service: one.service.clone(),
        name: one.name.clone(),
        at: moment(one.at),
        duration: seconds(one.seconds),
        failed: one.failed,
    }
}

/// One row per alert of the incident: from its journal, completed by its record where that still exists.
fn alerts(facts: &Facts<'_>) -> Vec<AlertFacts> {
    let mut rows = Vec::new();
    for id in &facts.incident.alerts {
        let record = facts.alerts.iter().find(|alert| alert.id == *id);
        let about_it = || facts.events.iter().map(|one| &one.event).filter(|event| event.subject.alert == Some(*id));
        let fired = about_it().find_map(|event| {
            let EventKind::AlertFired { rule, labels, severity, value, summary, .. } = &event.kind else { return None };
            Some((rule.name.clone(), labels.clone(), *severity, *value, summary.clone(), event.at))
        });
        let ended = about_it().find_map(|event| {
            let EventKind::AlertResolved { value } = &event.kind else { return None };
            Some((*value, event.at))
        });
        let Some((name, labels, severity, value, summary, at)) = fired else { continue };
        let last = record.map(|alert| alert.value).or(ended.map(|(value, _)| value));
        rows.push(AlertFacts {
            name,
            summary,
            labels: labels.filtered(|label| label != "alertname").to_string(),
            severity: record.map_or(severity, |alert| alert.severity).to_string(),
            expr: record.map(|alert| alert.expr.clone()).filter(|expr| !expr.is_empty()),
            fired_value: value.to_string(),
            last_value: last.map_or_else(|| "-".to_owned(), |value| value.to_string()),
            fired_at: moment(at),
            resolved_at: ended.map_or_else(|| "still firing".to_owned(), |(_, at)| moment(at)),
        });
    }
    rows
}

fn line(names: &BTreeMap<AlertId, String>, one: &Recorded) -> Line {
    Line { at: moment(one.event.at), actor: one.event.actor.to_string(), text: text(names, &one.event) }
}

fn shown_timeline(events: &[Recorded]) -> (Vec<Line>, usize) {
    let names = alert_names(events);
    let line = |one: &Recorded| line(&names, one);
    if events.len() <= TIMELINE_HEAD + TIMELINE_TAIL {
        return (events.iter().map(line).collect(), 0);
    }
    let tail = events.len() - TIMELINE_TAIL;
    let shown = events[..TIMELINE_HEAD].iter().chain(&events[tail..]).map(line).collect();
    (shown, tail - TIMELINE_HEAD)
}

/// What the journal knows to have been changed during the incident: acts of remediation, silences and people's notes.
fn changes_during(events: &[Recorded]) -> Vec<Line> {
    let is_change = |one: &&Recorded| {
        matches!(
            &one.event.kind,
            EventKind::RepairActed { .. }
                | EventKind::RepairUndone { .. }
                | EventKind::SilenceCreated { .. }
                | EventKind::SilenceExpired { .. }
                | EventKind::IncidentNoted { .. }
                | EventKind::IncidentUpdated { .. }
                | EventKind::Noted { .. }
        )
    };
    events.iter().filter(is_change).map(|one| line(&BTreeMap::new(), one)).collect()
}

fn summary(incident: &Incident, draft: &Draft, now: Timestamp) -> Vec<String> {
    let clocks = incident.clocks;
    let alerts = match draft.alerts.len() {
        1 => "one alert".to_owned(),
        count => format!("{count} alerts"),
    };
    let mut lines = vec![format!(
        "A {} incident ({}) began at {} UTC, was detected by {alerts} {} later and lasted {} from detection.",
        incident.severity,
        incident.title,
        moment(clocks.started),
        duration(clocks.detected.since(clocks.started)),
        duration(clocks.resolved.unwrap_or(now).since(clocks.detected)),
    )];
    lines.extend(draft.impact_summary.clone());
    if let Some(change) = draft.deployments.iter().rfind(|change| change.suspect) {
        lines.push(format!("{} {} went out in {} {}.", change.service, change.version, change.environment, change.when));
    }
    lines.push(match (&incident.acknowledged, clocks.acknowledged) {
        (Some(has), _) => format!("{} acknowledged it after {}.", has.by, duration(has.at.since(clocks.detected))),
        (None, Some(at)) => format!("It was acknowledged after {}.", duration(at.since(clocks.detected))),
        (None, None) => "Nobody acknowledged it.".to_owned(),
    });
    for repair in &draft.repairs {
        lines.push(format!("Remediation {}: {}.", repair.remediation, repair.outcome));
    }
    if let Some(by) = &incident.resolved_by {
        lines.push(format!("It was resolved by {by}."));
    }
    lines
}
