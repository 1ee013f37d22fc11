//! Work rows: everything that must happen later is a row with a due time, claimed under a lease, retried with backoff, and
//! kept as a dead letter when nothing helps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Subject;
use crate::ids::{AlertId, IncidentId, WorkId};
use crate::json::Json;
use crate::tenant::TenantId;
use crate::time::Timestamp;

/// Which worker takes the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Queue {
    /// Messages out ([`crate::message::Delivery`]).
    Delivery,
    /// Ladder steps (`alerting`).
    Ladder,
    /// Group flushes and other timers of `alerting`.
    Alerting,
    /// Timers of `incidents`: postmortem drafts, review reminders.
    Incident,
    /// Steps of remediation runs.
    Remediation,
    /// What the server does for itself once a day.
    Maintenance,
    /// Large requests with alerts that others sent (`alerting`).
    Intake,
}

/// All queues, in the order in which they are listed.
pub const QUEUES: [Queue; 7] =
    [Queue::Delivery, Queue::Ladder, Queue::Alerting, Queue::Incident, Queue::Remediation, Queue::Maintenance, Queue::Intake];

impl Queue {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Queue::Delivery => "delivery",
            Queue::Ladder => "ladder",
            Queue::Alerting => "alerting",
            Queue::Incident => "incident",
            Queue::Remediation => "remediation",
            Queue::Maintenance => "maintenance",
            Queue::Intake => "intake",
        }
    }
    /// From the word in the database.
    pub fn parse(word: &str) -> Option<Self> {
        QUEUES.into_iter().find(|queue| queue.as_str() == word)
    }
}

/// Priority: a lower lane is claimed first among rows that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Wakes people.
    Page,
    /// Chat.
    Chat,
    /// Mail and documents.
    Mail,
}

impl Lane {
    /// The number in the database.
    pub fn number(self) -> i64 {
        match self {
            Lane::Page => 0,
            Lane::Chat => 1,
            Lane::Mail => 2,
        }
    }
    /// From the number in the database.
    pub fn from_number(number: i64) -> Self {
        match number {
            0 => Lane::Page,
            1 => Lane::Chat,
            _ => Lane::Mail,
        }
    }
}

/// A row to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct NewWork {
    /// Who takes it.
    pub queue: Queue,
    /// Unique per tenant and queue over ALL rows, finished ones too (kept for `storage.finished_work`): scheduling the same key again changes nothing.
    pub key: String,
    /// Priority.
    pub lane: Lane,
    /// What it is about.
    pub subject: Subject,
    /// Not before.
    pub due_at: Timestamp,
    /// What to do, in the worker's own words.
    pub body: Json,
}

impl NewWork {
    /// Its id as a row: always the same for the same tenant, queue, key and moment, so that it does not depend on the backend.
    pub fn id(&self, tenant: &TenantId, at: Timestamp) -> WorkId {
        // As stores keep a text: PostgreSQL's takes no NUL.
        WorkId::derived(at, &format!("{tenant}/{}/{}", self.queue.as_str(), self.key.replace('\0', "\u{FFFD}")))
    }
    /// The row that is written of it, which nobody holds, with the times that stores keep: whole microseconds.
    pub fn row(self, tenant: &TenantId, at: Timestamp) -> Work {
        Work {
            id: self.id(tenant, at),
            tenant: tenant.clone(),
            queue: self.queue,
            key: self.key,
            lane: self.lane,
            subject: self.subject,
            state: WorkState::Pending,
            due_at: Timestamp::from_micros(self.due_at.micros()),
            attempts: 0,
            body: self.body,
            progress: None,
            error: None,
            created_at: Timestamp::from_micros(at.micros()),
            lease: 0,
        }
    }
    /// The row of a [`WorkChange::Take`], as its holder knows it: claimed once, with this note.
    pub fn taken(self, tenant: &TenantId, at: Timestamp, progress: serde_json::Value) -> Work {
        Work { attempts: 1, lease: FIRST_LEASE, progress: Some(progress), ..self.row(tenant, at) }
    }
}

/// The claim of a row that is held from the beginning.
pub const FIRST_LEASE: u64 = 1;

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkState {
    /// Waits for its time, or for the end of a lease.
    Pending,
    /// Finished.
    Done,
    /// Given up: a dead letter.
    Dead,
    /// No longer wanted.
    Cancelled,
}

impl WorkState {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            WorkState::Pending => "pending",
            WorkState::Done => "done",
            WorkState::Dead => "dead",
            WorkState::Cancelled => "cancelled",
        }
    }
    /// From the word in the database.
    pub fn parse(word: &str) -> Option<Self> {
        [WorkState::Pending, WorkState::Done, WorkState::Dead, WorkState::Cancelled].into_iter().find(|state| state.as_str() == word)
    }
}

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Work {
    /// Its id.
    pub id: WorkId,
    /// Whose.
    pub tenant: TenantId,
    /// Who takes it.
    pub queue: Queue,
    /// Its key.
    pub key: String,
    /// Priority.
    pub lane: Lane,
    /// What it is about.
    pub subject: Subject,
    /// Where it stands.
    pub state: WorkState,
    /// Not before.
    pub due_at: Timestamp,
    /// How often it has been claimed, this claim included.
    pub attempts: u32,
    /// What to do.
    pub body: Json,
    /// What the worker noted before it acted ("I am about to send"): still there if it died in the act.
    pub progress: Option<serde_json::Value>,
    /// The last failure.
    pub error: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
    /// The claim: a change by the worker must name it. 0 where nobody holds it.
    pub lease: u64,
}

/// A change of a row. Those of a worker name the lease that the claim gave; a lost lease makes the whole commit a conflict.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkChange {
    /// Write a row, unless one with its queue and key exists.
    Schedule(NewWork),
    /// Write a row that whoever writes it holds from the beginning, claimed once ([`FIRST_LEASE`]) and with a note: it is begun as soon as
    /// this is written, without a claim. A key that is taken is a conflict. A commit with one of these must last (it is never `derived`).
    Take {
        /// The row.
        new: NewWork,
        /// Held for this long from the commit's moment.
        lease_for: Duration,
        /// The note.
        progress: serde_json::Value,
    },
    /// Cancel the pending row with this key, whoever holds it; none is no error.
    Cancel {
        /// Its queue.
        queue: Queue,
        /// Its key.
        key: String,
    },
    /// Note what is about to be done; the lease stays.
    Progress {
        /// Which row.
        id: WorkId,
        /// The claim.
        lease: u64,
        /// The note.
        progress: serde_json::Value,
    },
    /// Finished.
    Done {
        /// Which row.
        id: WorkId,
        /// The claim.
        lease: u64,
    },
    /// Again later; gives the lease back. The progress note is replaced.
    Retry {
        /// Which row.
        id: WorkId,
        /// The claim.
        lease: u64,
        /// When.
        due_at: Timestamp,
        /// Why.
        error: String,
        /// The new note.
        progress: Option<serde_json::Value>,
    },
    /// Given up.
    Dead {
        /// Which row.
        id: WorkId,
        /// The claim.
        lease: u64,
        /// Why.
        error: String,
    },
    /// A dead letter is due again, with its attempts at 0.
    Replay {
        /// Which row.
        id: WorkId,
        /// When.
        due_at: Timestamp,
    },
}

/// Which rows a worker wants.
#[derive(Clone, Debug)]
pub struct Claim {
    /// From this queue.
    pub queue: Queue,
    /// Due by now.
    pub now: Timestamp,
    /// Held for this long; afterwards another worker may take them.
    pub lease_for: Duration,
    /// At most so many.
    pub limit: usize,
}

/// Which rows a reader wants to see.
#[derive(Clone, Debug, Default)]
pub struct WorkQuery {
    /// One tenant, or all.
    pub tenant: Option<TenantId>,
    /// One queue, or all.
    pub queue: Option<Queue>,
    /// One state, or all.
    pub state: Option<WorkState>,
    /// These rows; none means any. At most 1,000.
    pub ids: Vec<WorkId>,
    /// About this alert.
    pub alert: Option<AlertId>,
    /// About this incident.
    pub incident: Option<IncidentId>,
    /// Made at this moment or later.
    pub since: Option<Timestamp>,
    /// With ids below this one (they are time-ordered): the next page.
    pub before: Option<WorkId>,
    /// At most so many, newest first; 0 means 100.
    pub limit: usize,
}

/// Exponential backoff with full jitter: between `base` and `base * 2^(attempt-1)`, at most `cap`. `random` is in `0.0..1.0`.
pub fn backoff(attempt: u32, base: Duration, cap: Duration, random: f64) -> Duration {
    let ceiling = base.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1).min(20))).min(cap);
    base.min(ceiling) + ceiling.saturating_sub(base).mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many that failed together must not come again together.
    #[test]
    fn a_pause_doubles_up_to_its_cap_and_is_drawn_from_all_of_it() {
        let pause = |attempt, random| backoff(attempt, Duration::from_secs(2), Duration::from_secs(60), random).as_secs_f64();
        let longest: Vec<f64> = (1..=7).map(|attempt| pause(attempt, 1.0)).collect();
        assert_eq!(longest, [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(|random| pause(4, random)), [2.0, 5.5, 9.0, 16.0]);
        assert_eq!((pause(u32::MAX, 1.0), pause(0, 1.0)), (60.0, 2.0));
        assert_eq!(backoff(3, Duration::from_secs(90), Duration::from_secs(60), 0.5), Duration::from_secs(60), "never beyond the cap");
    }
}
