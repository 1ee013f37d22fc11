//! The timeline of an incident: the journal's events about it and its alerts, as lines for people. In: the journal. Out: events in
//! order and one sentence each. Fails only where the journal cannot be read.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use model::event::{Event, EventKind, Recorded};
use model::ids::AlertId;
use model::incident::Incident;
use model::repair::RepairOutcome;
use model::state::{Journal, JournalQuery, StateError, pages};
use model::tenant::TenantId;
use model::time::{Span, Timestamp};
use serde::Serialize;

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Its number in the journal.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// The kind of event (`alert_fired`).
    pub kind: String,
    /// One sentence.
    pub text: String,
}

/// How many events of one subject are read at a time.
const PAGE: usize = 1_000;
/// How many events a timeline holds at most: the oldest win, because they say how it began.
const MOST: usize = 20_000;

/// All events of the incident and of its alerts, each once, in order.
pub async fn collect(journal: &(impl Journal + ?Sized), incident: &Incident) -> Result<Vec<Recorded>, StateError> {
    let tenant = Some(incident.tenant.clone());
    let about_it = JournalQuery { tenant: tenant.clone(), incident: Some(incident.id), limit: PAGE, ..JournalQuery::default() };
    let about_alerts = incident.alerts.iter().map(|alert| JournalQuery {
        tenant: tenant.clone(),
        alert: Some(*alert),
        limit: PAGE,
        ..JournalQuery::default()
    });
    read(journal, std::iter::once(about_it).chain(about_alerts)).await
}

/// All events of one alert, in order.
pub async fn about_alert(journal: &(impl Journal + ?Sized), tenant: &TenantId, alert: AlertId) -> Result<Vec<Recorded>, StateError> {
    let query = JournalQuery { tenant: Some(tenant.clone()), alert: Some(alert), limit: PAGE, ..JournalQuery::default() };
    read(journal, std::iter::once(query)).await
}

async fn read(journal: &(impl Journal + ?Sized), queries: impl Iterator<Item = JournalQuery>) -> Result<Vec<Recorded>, StateError> {
    let mut events = BTreeMap::new();
    for query in queries {
        pages(journal, query, |page| {
            events.extend(page.into_iter().map(|event| (event.seq, event)));
            if events.len() >= MOST { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
    }
    Ok(events.into_values().take(MOST).collect())
}

/// The lines of some events.
pub fn lines(events: &[Recorded]) -> Vec<Line> {
    let names = alert_names(events);
    let line = |Recorded { seq, event }: &Recorded| Line {
        seq: *seq,
        at: event.at,
        actor: event.actor.to_string(),
        kind: event.kind.tag().to_owned(),
        text: text(&names, event),
    };
    events.iter().map(line).collect()
}

/// What the alerts are called, from the events that name their rules.
pub fn alert_names(events: &[Recorded]) -> BTreeMap<AlertId, String> {
    let name = |one: &Recorded| match &one.event.kind {
        EventKind::AlertFired { rule, .. } | EventKind::AlertPending { rule, .. } => Some((one.event.subject.alert?, rule.name.clone())),
        _ => None, // names no rule
    };
    events.iter().filter_map(name).collect()
}

/// The sentence for an event, with the alert's name where the event itself does not say it.
pub fn text(names: &BTreeMap<AlertId, String>, event: &Event) -> String {
    let unnamed = matches!(
        event.kind,
        EventKind::AlertCancelled
            | EventKind::AlertSeverityChanged { .. }
            | EventKind::AlertResolved { .. }
            | EventKind::AlertAcknowledged
            | EventKind::AlertUnacknowledged { .. }
            | EventKind::AlertMuted { .. }
            | EventKind::AlertUnmuted
            | EventKind::IncidentAlertAttached { .. }
    );
    match event.subject.alert.filter(|_| unnamed).and_then(|alert| names.get(&alert)) {
        Some(name) => format!("{name}: {}", sentence(&event.kind)),
        None => sentence(&event.kind),
    }
}

/// A duration for people: whole seconds from one second on.
pub fn duration(duration: Duration) -> String {
    let millis = if duration < Duration::from_secs(1) { duration.as_millis() } else { u128::from(duration.as_secs()) * 1_000 };
    Span::millis(u64::try_from(millis).unwrap_or(u64::MAX)).to_string()
}

/// One sentence for an event. One arm for each kind, so that a new kind cannot be forgotten.
pub fn sentence(kind: &EventKind) -> String {
    match kind {
        EventKind::AlertPending { rule, value, .. } => format!("alert {} is pending (value {value})", rule.name),
        EventKind::AlertCancelled => "the pending alert vanished before it fired".to_owned(),
        EventKind::AlertFired { rule, severity, value, summary, .. } => {
            format!("alert {} fired, {severity}, value {value}: {summary}", rule.name)
        }
        EventKind::AlertSeverityChanged { from, to, value, .. } => {
            format!("the alert went from {from} to {to} (value {value})")
        }
        EventKind::AlertResolved { value } => format!("the alert is over (last value {value})"),
        EventKind::AlertAcknowledged => "the alert was acknowledged".to_owned(),
        EventKind::AlertUnacknowledged { reason } => format!("nobody has the alert any more: {reason}"),
        EventKind::AlertMuted { by } => format!("the alert was muted by {by}"),
        EventKind::AlertUnmuted => "the alert is no longer muted".to_owned(),
        EventKind::RuleUnknown { rule, error } => format!("rule {} cannot be evaluated, its alerts are held: {error}", rule.name),
        EventKind::RuleRecovered { rule } => format!("rule {} can be evaluated again", rule.name),
        EventKind::SilenceCreated { comment, ends_at, .. } => format!("a silence until {ends_at} was made: {comment}"),
        EventKind::SilenceExpired { .. } => "a silence was ended".to_owned(),
        EventKind::IncidentOpened { number, title, severity } => format!("incident {number} opened, {severity}: {title}"),
        EventKind::IncidentAlertAttached { severity } => format!("the alert joined the incident, which is {severity} now"),
        EventKind::IncidentAcknowledged => "the incident was acknowledged".to_owned(),
        EventKind::IncidentUnacknowledged => "the acknowledgement was taken back".to_owned(),
        EventKind::IncidentMitigated { how } => format!("the harm is contained: {how}"),
        EventKind::IncidentResolved { reason } => format!("the incident is resolved: {reason}"),
        EventKind::IncidentClosed => "the incident is closed".to_owned(),
        EventKind::IncidentCancelled { reason } => format!("the incident was cancelled: {reason}"),
        EventKind::IncidentEscalated { reason } => format!("the incident was escalated: {reason}"),
        EventKind::IncidentUpdated { phase, text } => format!("status update, {}: {text}", phase.as_str()),
        EventKind::IncidentNoted { text } => format!("note: {text}"),
        EventKind::ChatChannelOpened { name, .. } => format!("chat channel {name} opened"),
        EventKind::ChatChannelArchived { channel } => format!("chat channel {channel} archived"),
        EventKind::LadderStarted { ladder, .. } => format!("ladder {ladder} started"),
        EventKind::LadderStepTaken { ladder, step, round, notify, people, .. } => {
            let again = if *round > 0 { format!(", round {}", round + 1) } else { String::new() };
            format!("ladder {ladder}, step {}{again}: notifies {}", step + 1, notified(people, notify))
        }
        EventKind::LadderExhausted { ladder, .. } => format!("ladder {ladder} came to its end and nobody acknowledged"),
        EventKind::LadderStopped { ladder, reason, .. } => format!("ladder {ladder} stopped: {reason}"),
        EventKind::NotificationSent { receiver, action, attempt, resend, .. } => {
            let again = if *resend { ", a resend: an earlier attempt may have arrived too" } else { "" };
            format!("{receiver} took {action} (attempt {attempt}{again})")
        }
        EventKind::NotificationRetried { receiver, attempt, error, next_at, .. } => {
            format!("{receiver} did not take attempt {attempt}, next at {next_at}: {error}")
        }
        EventKind::NotificationDead { receiver, attempts, error, .. } => {
            format!("{receiver} was given up after {attempts} attempts: {error}")
        }
        EventKind::OnCallOverridden { schedule, user, starts_at, ends_at, .. } => {
            format!("{user} is on call on {schedule} from {starts_at} to {ends_at}")
        }
        EventKind::OnCallRestored { schedule, user, .. } => format!("{user} no longer takes a turn on {schedule}"),
        EventKind::RepairRequested { remediation, .. } => format!("remediation {remediation} was asked for"),
        EventKind::RepairAwaitsApproval { remediation, would, until, .. } => {
            format!("remediation {remediation} waits for a yes until {until}; it would: {}", would.join("; "))
        }
        EventKind::RepairApproved { remediation, .. } => format!("remediation {remediation} was approved"),
        EventKind::RepairStarted { remediation, rungs, .. } => format!("remediation {remediation} started: {}", rungs.join(", then ")),
        EventKind::RepairActed { rung, result, ok, .. } => {
            format!("remediation acted, rung {rung}{}: {result}", if *ok { "" } else { ", without success" })
        }
        EventKind::RepairChecked { rung, cleared, detail, .. } => {
            format!("rung {rung} checked on the alert's own expression, {}: {detail}", if *cleared { "cleared" } else { "NOT cleared" })
        }
        EventKind::RepairUndone { rung, result, ok, .. } => {
            format!("rung {rung} {}: {result}", if *ok { "was undone" } else { "COULD NOT BE UNDONE" })
        }
        EventKind::RepairFinished { remediation, outcome, .. } => format!("remediation {remediation}: {}", outcome_sentence(outcome)),
        EventKind::PostmortemDrafted { path, .. } => match path {
            Some(path) => format!("the postmortem draft lies in {path}"),
            None => "the postmortem draft is ready".to_owned(),
        },
        EventKind::ReviewScheduled { starts_at } => format!("the review meeting is scheduled for {starts_at}"),
        EventKind::ReviewDue => "the review meeting is due".to_owned(),
        EventKind::KeyCreated { name, .. } => format!("API key {name} was made"),
        EventKind::KeyRevoked { key } => format!("API key {key} was revoked"),
        EventKind::Issue { number, change, .. } => format!("error issue {number}: {}", crate::issues::machine::sentence(change)),
        EventKind::DeploymentRecorded { service, version, environment, at, .. }
        | EventKind::DeploymentMarked { service, version, environment, at, .. } => {
            format!("deployment: {service} {version} went out in {environment} at {}", at.to_chrono().format("%Y-%m-%dT%H:%M:%SZ"))
        }
        EventKind::Noted { text, .. } => text.clone(),
    }
}

/// Whom a step of a ladder told: the people and why them, where it named people, and the receivers.
pub fn notified(people: &[String], notify: &[String]) -> String {
    let who = if people.is_empty() { String::new() } else { format!("{}: ", people.join(", ")) };
    format!("{who}{}", notify.join(", "))
}

/// How a remediation run ended, as half a sentence.
pub fn outcome_sentence(outcome: &RepairOutcome) -> String {
    match outcome {
        RepairOutcome::Verified { rung } => format!("rung {rung} helped, verified on the alert's own expression"),
        RepairOutcome::HandedOver { reason } => format!("handed over to people: {reason}"),
        RepairOutcome::Refused { reason } => format!("refused, nothing was done: {reason}"),
        RepairOutcome::DryRun => "dry run, nothing was done".to_owned(),
        RepairOutcome::NotNeeded => "not needed, the alert ended before anything was done".to_owned(),
    }
}
