//! The life of an incident after it was opened, as a pure function. In: the incident, a command, who gives it, when. Out: the
//! changed incident and the events to journal, or one sentence why this move is not possible.
//!
//! ```text
//! open <-> acknowledged --> resolved --> closed
//!   \___________\_________> cancelled
//! ```
//! There is no way back from resolved: an outage that returns is a new incident with its own clocks.

use model::alert::Acknowledgement;
use model::event::{Actor, EventKind, UpdatePhase};
use model::incident::{Incident, IncidentStatus, StatusUpdate};
use model::time::Timestamp;

/// What somebody wants to do with an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// "I have it."
    Acknowledge,
    /// "I give it back."
    Unacknowledge,
    /// "I cannot cope": whoever comes next on its ladders is told now, and nobody has it until one of them takes it.
    Escalate {
        /// Why.
        reason: String,
    },
    /// Tell those who wait how it stands.
    Update {
        /// How it stands.
        phase: UpdatePhase,
        /// The text.
        text: String,
    },
    /// The harm is contained.
    Mitigate {
        /// How.
        how: String,
    },
    /// It is over.
    Resolve {
        /// By what.
        reason: String,
    },
    /// The aftermath is done too.
    Close,
    /// It was none.
    Cancel {
        /// Why.
        reason: String,
    },
    /// Something to remember.
    Note {
        /// What.
        text: String,
    },
}

impl Command {
    fn done_word(&self) -> &'static str {
        match self {
            Command::Acknowledge => "acknowledged",
            Command::Unacknowledge => "unacknowledged",
            Command::Escalate { .. } => "escalated",
            Command::Update { .. } => "updated",
            Command::Mitigate { .. } => "marked as mitigated",
            Command::Resolve { .. } => "resolved",
            Command::Close => "closed",
            Command::Cancel { .. } => "cancelled",
            Command::Note { .. } => "annotated",
        }
    }
}

/// A move that the incident's state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("incident {number} cannot be {wanted}: {why}")]
pub struct IllegalMove {
    /// Which incident.
    pub number: u64,
    /// What was wanted.
    pub wanted: &'static str,
    /// Why not, and what to do instead.
    pub why: String,
}

/// The outcome of a legal move.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The incident afterwards.
    pub incident: Incident,
    /// What to journal.
    pub events: Vec<EventKind>,
    /// One sentence for whoever gave the command.
    pub message: String,
}

/// Carries out a command.
pub fn decide(incident: &Incident, command: &Command, now: Timestamp, actor: &Actor) -> Result<Decision, IllegalMove> {
    let mut next = incident.clone();
    let refuse = |why: String| IllegalMove { number: incident.number, wanted: command.done_word(), why };
    let mut message = format!("incident {} is {}", incident.number, command.done_word());
    let event = match command {
        Command::Acknowledge => {
            may_acknowledge(incident).map_err(refuse)?;
            next.status = IncidentStatus::Acknowledged;
            next.acknowledged = Some(Acknowledgement { at: now, by: actor.clone() });
            next.clocks.acknowledged = Some(now);
            EventKind::IncidentAcknowledged
        }
        Command::Unacknowledge => {
            may_unacknowledge(incident).map_err(refuse)?;
            give_back(&mut next);
            EventKind::IncidentUnacknowledged
        }
        Command::Escalate { reason } => {
            asks_for_somebody(incident).map_err(refuse)?;
            give_back(&mut next);
            EventKind::IncidentEscalated { reason: reason.clone() }
        }
        Command::Update { phase, text } => {
            may_update(incident, *phase, text).map_err(refuse)?;
            next.last_update = Some(StatusUpdate { at: now, by: actor.clone(), phase: *phase, text: text.clone() });
            EventKind::IncidentUpdated { phase: *phase, text: text.clone() }
        }
        Command::Mitigate { how } => {
            may_mitigate(incident).map_err(refuse)?;
            next.clocks.mitigated = Some(now);
            EventKind::IncidentMitigated { how: how.clone() }
        }
        Command::Resolve { reason } => {
            asks_for_somebody(incident).map_err(refuse)?;
            next.status = IncidentStatus::Resolved;
            next.clocks.resolved = Some(now);
            next.resolved_by = Some(actor.clone());
            let reason = match still_firing(incident) {
                None => reason.clone(),
                Some(still) => {
                    message = format!("{message}, although {still}");
                    format!("{reason} ({still})")
                }
            };
            EventKind::IncidentResolved { reason }
        }
        Command::Close => {
            may_close(incident).map_err(refuse)?;
            next.status = IncidentStatus::Closed;
            next.clocks.closed = Some(now);
            EventKind::IncidentClosed
        }
        Command::Cancel { reason } => {
            asks_for_somebody(incident).map_err(refuse)?;
            next.status = IncidentStatus::Cancelled;
            next.clocks.cancelled = Some(now);
            EventKind::IncidentCancelled { reason: reason.clone() }
        }
        Command::Note { text } if text.trim().is_empty() => return Err(refuse("the note is empty: send its text".into())),
        Command::Note { text } => EventKind::IncidentNoted { text: text.clone() },
    };
    Ok(Decision { incident: next, events: vec![event], message })
}

/// Nobody has it any more.
fn give_back(incident: &mut Incident) {
    incident.status = IncidentStatus::Open;
    incident.acknowledged = None;
    incident.clocks.acknowledged = None;
}

fn may_acknowledge(incident: &Incident) -> Result<(), String> {
    match (incident.status, &incident.acknowledged) {
        (IncidentStatus::Open, _) => Ok(()),
        (IncidentStatus::Acknowledged, Some(has)) => Err(format!("{} has had it since {}", has.by, has.at)),
        (IncidentStatus::Acknowledged, None) => Err("somebody has it already".into()),
        (IncidentStatus::Resolved | IncidentStatus::Closed | IncidentStatus::Cancelled, _) => Err(ended(incident)),
    }
}

fn may_unacknowledge(incident: &Incident) -> Result<(), String> {
    match incident.status {
        IncidentStatus::Acknowledged => Ok(()),
        IncidentStatus::Open => Err("nobody has acknowledged it".into()),
        IncidentStatus::Resolved | IncidentStatus::Closed | IncidentStatus::Cancelled => Err(ended(incident)),
    }
}

fn may_update(incident: &Incident, phase: UpdatePhase, text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("the update is empty: send its text".into());
    }
    match (incident.status, phase) {
        (IncidentStatus::Open | IncidentStatus::Acknowledged, UpdatePhase::Resolved) => Err("it is still open; resolve it first".into()),
        (IncidentStatus::Open | IncidentStatus::Acknowledged, _) | (IncidentStatus::Resolved, UpdatePhase::Resolved) => Ok(()),
        (IncidentStatus::Resolved, _) => Err("it is resolved: use the phase `resolved` for a last word".into()),
        (IncidentStatus::Closed | IncidentStatus::Cancelled, _) => Err(ended(incident)),
    }
}

fn may_mitigate(incident: &Incident) -> Result<(), String> {
    asks_for_somebody(incident)?;
    incident.clocks.mitigated.map_or(Ok(()), |at| Err(format!("it has been mitigated since {at}")))
}

fn may_close(incident: &Incident) -> Result<(), String> {
    match incident.status {
        IncidentStatus::Resolved => Ok(()),
        IncidentStatus::Open | IncidentStatus::Acknowledged => Err("it is still open; resolve it first".into()),
        IncidentStatus::Closed | IncidentStatus::Cancelled => Err(ended(incident)),
    }
}

fn asks_for_somebody(incident: &Incident) -> Result<(), String> {
    if incident.status.is_open() { Ok(()) } else { Err(ended(incident)) }
}

fn ended(incident: &Incident) -> String {
    format!("it is already {}; an outage that returns opens a new incident", incident.status.as_str())
}

fn still_firing(incident: &Incident) -> Option<String> {
    match incident.firing.len() {
        0 => None,
        1 => Some("1 alert still fires".to_owned()),
        count => Some(format!("{count} alerts still fire")),
    }
}
