//! What `incidents` does later: the bodies of its work rows. In: an incident and a moment. Out: rows with keys that exist once.

use model::event::Subject;
use model::ids::IncidentId;
use model::incident::Incident;
use model::json::Json;
use model::time::Timestamp;
use model::work::{Lane, NewWork, Queue};
use serde::{Deserialize, Serialize};

/// Which clock of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// From the start of the harm to the first firing alert.
    Detect,
    /// From detection to acknowledgement.
    Acknowledge,
    /// From detection to mitigation.
    Mitigate,
    /// From detection to resolution.
    Resolve,
}

impl Clock {
    /// All of them, in order.
    pub const ALL: [Clock; 4] = [Clock::Detect, Clock::Acknowledge, Clock::Mitigate, Clock::Resolve];

    /// The word in metric names and keys.
    pub fn word(self) -> &'static str {
        match self {
            Clock::Detect => "detect",
            Clock::Acknowledge => "acknowledge",
            Clock::Mitigate => "mitigate",
            Clock::Resolve => "resolve",
        }
    }
    /// The metric that holds it, in seconds.
    pub fn metric(self) -> &'static str {
        match self {
            Clock::Detect => "watchfire_incident_time_to_detect_seconds",
            Clock::Acknowledge => "watchfire_incident_time_to_acknowledge_seconds",
            Clock::Mitigate => "watchfire_incident_time_to_mitigate_seconds",
            Clock::Resolve => "watchfire_incident_time_to_resolve_seconds",
        }
    }
    /// When it stopped, if it has.
    pub fn stopped(self, incident: &Incident) -> Option<Timestamp> {
        match self {
            Clock::Detect => Some(incident.clocks.detected),
            Clock::Acknowledge => incident.clocks.acknowledged,
            Clock::Mitigate => incident.clocks.mitigated,
            Clock::Resolve => incident.clocks.resolved,
        }
    }
    /// How many seconds it ran, if it has stopped.
    pub fn seconds(self, incident: &Incident) -> Option<f64> {
        let from = match self {
            Clock::Detect => incident.clocks.started,
            Clock::Acknowledge | Clock::Mitigate | Clock::Resolve => incident.clocks.detected,
        };
        self.stopped(incident).map(|to| to.since(from).as_secs_f64())
    }
}

/// The body of a work row of queue `incident`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Job {
    /// Resolve if it has stayed quiet.
    Resolve {
        /// Which.
        incident: IncidentId,
        /// The journal's number at which it became quiet.
        quiet_since: u64,
    },
    /// Write one clock as a series, so that it can be asked with PromQL after a restart.
    Clock {
        /// Which.
        incident: IncidentId,
        /// Which of its clocks.
        clock: Clock,
    },
    /// Archive the chat channel once nothing waits to be posted there.
    Archive {
        /// Which.
        incident: IncidentId,
    },
    /// Draft the postmortem and schedule the review.
    Postmortem {
        /// Which.
        incident: IncidentId,
    },
    /// Remind of the review.
    Review {
        /// Which.
        incident: IncidentId,
    },
}

impl Job {
    /// Which incident it is about.
    pub fn incident(&self) -> IncidentId {
        match self {
            Job::Resolve { incident, .. }
            | Job::Clock { incident, .. }
            | Job::Archive { incident }
            | Job::Postmortem { incident }
            | Job::Review { incident } => *incident,
        }
    }

    /// The row for it. The same cause gives the same key, and a key exists once.
    pub fn at(self, due_at: Timestamp) -> Result<NewWork, serde_json::Error> {
        let incident = self.incident();
        let key = match &self {
            Job::Resolve { quiet_since, .. } => format!("resolve/{incident}/{quiet_since}"),
            Job::Clock { clock, .. } => format!("clock/{incident}/{}/{}", clock.word(), due_at.nanos()),
            Job::Archive { .. } => format!("archive/{incident}"),
            Job::Postmortem { .. } => format!("postmortem/{incident}"),
            Job::Review { .. } => format!("review/{incident}"),
        };
        let body = Json::of(&self)?;
        Ok(NewWork { queue: Queue::Incident, key, lane: Lane::Mail, subject: Subject::incident(incident), due_at, body })
    }
}
