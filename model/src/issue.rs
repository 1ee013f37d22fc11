//! Error issues: one kind of error, whichever protocol its events came by. `incidents` decides their state; counts are read from the
//! telemetry when somebody looks ([`crate::error_events`]). An issue owns fingerprints; which issue a fingerprint belongs to is a
//! record of its own ([`FingerprintOwner`]), so that there is one issue per tenant and fingerprint and merging rewrites no event.

use serde::{Deserialize, Serialize};

use crate::event::Actor;
use crate::fingerprint::Fingerprint;
use crate::ids::IssueId;
use crate::state::Entity;
use crate::tenant::TenantId;
use crate::time::Timestamp;

/// How long an issue is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum IgnoreUntil {
    /// Until somebody says otherwise.
    Forever,
    /// Until the first event after this moment.
    Time {
        /// The moment.
        at: Timestamp,
    },
    /// Until so many more events.
    Events {
        /// How many.
        count: u64,
    },
    /// Until so many users were affected from now on.
    Users {
        /// How many.
        count: u64,
    },
}

/// Where an issue stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum IssueState {
    /// It is new, or somebody opened it again.
    Open,
    /// It was resolved and came back.
    Regressed {
        /// When.
        at: Timestamp,
        /// In which release, where the event names one.
        release: Option<String>,
    },
    /// Somebody says that it is fixed.
    Resolved {
        /// When.
        at: Timestamp,
        /// Who.
        by: Actor,
        /// The release that has the fix; none: everything from now on has it.
        in_release: Option<String>,
    },
    /// Nobody wants to hear of it for now.
    Ignored {
        /// Since when.
        at: Timestamp,
        /// Who said so.
        by: Actor,
        /// For how long.
        until: IgnoreUntil,
    },
    /// It is part of another issue, which has its fingerprints.
    Merged {
        /// Since when.
        at: Timestamp,
        /// Which.
        into: IssueId,
        /// Its number.
        into_number: u64,
    },
}

impl IssueState {
    /// The word in APIs and on screens.
    pub fn as_str(&self) -> &'static str {
        match self {
            IssueState::Open => "open",
            IssueState::Regressed { .. } => "regressed",
            IssueState::Resolved { .. } => "resolved",
            IssueState::Ignored { .. } => "ignored",
            IssueState::Merged { .. } => "merged",
        }
    }
    /// Whether it asks for somebody.
    pub fn is_open(&self) -> bool {
        match self {
            IssueState::Open | IssueState::Regressed { .. } => true,
            IssueState::Resolved { .. } | IssueState::Ignored { .. } | IssueState::Merged { .. } => false,
        }
    }
}

/// A fingerprint of an issue, with where it came from and when it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// The time of its first event.
    pub first_seen: Timestamp,
    /// The time of its newest event, up to a minute late: readers ask the telemetry.
    pub last_seen: Timestamp,
}

/// An issue that was merged into another, with what it brought along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absorbed {
    /// Which.
    pub issue: IssueId,
    /// Its number.
    pub number: u64,
    /// Its fingerprints.
    pub fingerprints: Vec<Fingerprint>,
}

/// A release in which an issue was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseSeen {
    /// Its name, as the events give it.
    pub release: String,
    /// The time of its first event of this issue.
    pub first_seen: Timestamp,
    /// The time of its newest event of this issue, up to a minute late.
    pub last_seen: Timestamp,
}

/// What happened to an issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum IssueChange {
    /// An event with a fingerprint that no issue had.
    Opened {
        /// One line for people.
        title: String,
        /// The fingerprint.
        fingerprint: Fingerprint,
    },
    /// It came back.
    Regressed {
        /// In which release, where the event names one.
        release: Option<String>,
    },
    /// Somebody says that it is fixed.
    Resolved {
        /// The release that has the fix.
        in_release: Option<String>,
    },
    /// Somebody opened it again.
    Reopened,
    /// Nobody wants to hear of it for now.
    Ignored {
        /// For how long.
        until: IgnoreUntil,
    },
    /// What it was ignored until has come.
    Unignored {
        /// What.
        reason: String,
    },
    /// Somebody has it, or nobody any more.
    Assigned {
        /// The person's id.
        to: Option<String>,
    },
    /// It became part of another issue.
    Merged {
        /// Which.
        into: IssueId,
        /// Its number.
        into_number: u64,
    },
    /// Another issue became part of it.
    Absorbed {
        /// Which.
        issue: IssueId,
        /// Its number.
        number: u64,
        /// Its fingerprints.
        fingerprints: Vec<Fingerprint>,
    },
    /// It is an issue of its own again.
    Unmerged {
        /// Which one it was part of.
        from: IssueId,
        /// Its number.
        from_number: u64,
    },
    /// A part of it is an issue of its own again.
    Released {
        /// Which.
        issue: IssueId,
        /// Its number.
        number: u64,
    },
    /// It was deleted: not seen for longer than error events are kept, or there were too many issues.
    Forgotten {
        /// Why.
        reason: String,
    },
}

impl IssueChange {
    /// The word in statistics.
    pub fn word(&self) -> &'static str {
        self.tag().trim_start_matches("issue_")
    }
    /// The word under which the journal keeps it.
    pub fn tag(&self) -> &'static str {
        match self {
            IssueChange::Opened { .. } => "issue_opened",
            IssueChange::Regressed { .. } => "issue_regressed",
            IssueChange::Resolved { .. } => "issue_resolved",
            IssueChange::Reopened => "issue_reopened",
            IssueChange::Ignored { .. } => "issue_ignored",
            IssueChange::Unignored { .. } => "issue_unignored",
            IssueChange::Assigned { .. } => "issue_assigned",
            IssueChange::Merged { .. } => "issue_merged",
            IssueChange::Absorbed { .. } => "issue_absorbed",
            IssueChange::Unmerged { .. } => "issue_unmerged",
            IssueChange::Released { .. } => "issue_released",
            IssueChange::Forgotten { .. } => "issue_forgotten",
        }
    }
}

/// A change with its moment and author.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Actor,
    /// What.
    pub change: IssueChange,
}

/// An error issue. State kind `issue`, key = its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Issue {
    /// Its id.
    pub id: IssueId,
    /// Whose.
    pub tenant: TenantId,
    /// Its running number within the tenant, from 1.
    pub number: u64,
    /// One line for people.
    pub title: String,
    /// The exception's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The normalised message.
    pub message: String,
    /// The innermost call of the application; empty where no frames are known.
    pub culprit: String,
    /// Why its events are one issue, for people.
    pub grouped_by: String,
    /// Where it stands.
    pub state: IssueState,
    /// The id of the person who has it.
    pub assignee: Option<String>,
    /// Services in which it was seen, at most 50.
    pub services: Vec<String>,
    /// The release of its first event, where that named one.
    pub first_release: Option<String>,
    /// Releases in which it was seen, oldest first, the newest 50.
    pub releases: Vec<ReleaseSeen>,
    /// Its fingerprints; none while it is part of another issue.
    pub groups: Vec<Group>,
    /// The issues that are part of it.
    pub absorbed: Vec<Absorbed>,
    /// How often it came back.
    pub regressions: u32,
    /// The newest 50 changes; the journal has all.
    pub history: Vec<Move>,
}

impl Issue {
    /// The time of its first event.
    pub fn first_seen(&self) -> Option<Timestamp> {
        self.groups.iter().map(|group| group.first_seen).min()
    }
    /// The time of its newest event, up to a minute late.
    pub fn last_seen(&self) -> Option<Timestamp> {
        self.groups.iter().map(|group| group.last_seen).max()
    }
    /// The release of its newest event that named one.
    pub fn last_release(&self) -> Option<&str> {
        self.releases.iter().max_by_key(|seen| seen.last_seen).map(|seen| seen.release.as_str())
    }
    /// Its fingerprints.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.groups.iter().map(|group| group.fingerprint)
    }
}

impl Entity for Issue {
    const KIND: &'static str = "issue";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn key(&self) -> Option<String> {
        Some(self.number.to_string())
    }
    fn status(&self) -> &'static str {
        self.state.as_str()
    }
}

/// Which issue a fingerprint belongs to. State kind `issue_fingerprint`, id = the fingerprint: one per tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FingerprintOwner {
    /// Whose.
    pub tenant: TenantId,
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// Its issue.
    pub issue: IssueId,
}

impl Entity for FingerprintOwner {
    const KIND: &'static str = "issue_fingerprint";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.fingerprint.to_string()
    }
    fn status(&self) -> &'static str {
        "live"
    }
}
