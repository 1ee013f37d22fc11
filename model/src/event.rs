//! Journal events: what happened, once, in order. The journal is the timeline, the audit trail and the source of the
//! postmortem. Events are versioned: a field is only ever added, with a default; a changed meaning is a new kind.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::alert::RuleKey;
use crate::ids::{
    AlertId, DeploymentId, EventId, IncidentId, IssueId, KeyId, LadderRunId, NotificationId, OverrideId, PostmortemId, RemediationId,
    SilenceId,
};
use crate::issue::IssueChange;
use crate::labels::Labels;
use crate::message::PageAction;
use crate::repair::RepairOutcome;
use crate::severity::Severity;
use crate::tenant::TenantId;
use crate::time::Timestamp;
use crate::units::Value;

/// Who did it. Persons appear by id only, so that they can be erased elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "actor", rename_all = "snake_case")]
pub enum Actor {
    /// A part of Watchfire.
    System {
        /// alerting, incidents, remediation, ...
        part: String,
    },
    /// A person on this machine or with a session: the id only.
    User {
        /// The person's id.
        id: String,
    },
    /// An API key.
    Key {
        /// The key's id.
        id: KeyId,
    },
    /// A person in a chat tool.
    Chat {
        /// slack, ...
        provider: String,
        /// The provider's user id.
        id: String,
    },
    /// Another service (pagerduty, ...).
    Provider {
        /// Its name.
        name: String,
    },
}

impl Actor {
    /// A part of Watchfire.
    pub fn system(part: &str) -> Self {
        Actor::System { part: part.to_owned() }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::System { part } => write!(f, "watchfire ({part})"),
            Actor::User { id } => write!(f, "{id}"),
            Actor::Key { id } => write!(f, "{id}"),
            Actor::Chat { provider, id } => write!(f, "{id} ({provider})"),
            Actor::Provider { name } => write!(f, "{name}"),
        }
    }
}

/// What an event is about; the journal is indexed by alert and by incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertId>,
    /// The incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
}

impl Subject {
    /// About an alert and, if it belongs to one, its incident.
    pub fn alert(alert: AlertId, incident: Option<IncidentId>) -> Self {
        Subject { alert: Some(alert), incident }
    }
    /// About an incident.
    pub fn incident(incident: IncidentId) -> Self {
        Subject { alert: None, incident: Some(incident) }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Whose.
    pub tenant: TenantId,
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// What it is about.
    pub subject: Subject,
    /// What happened.
    pub kind: EventKind,
}

/// An event with its place in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Strictly rising in order of commit, over all tenants.
    pub seq: u64,
    /// The event.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// An alert became pending.
    AlertPending {
        /// Which rule.
        rule: RuleKey,
        /// Its labels.
        labels: Labels,
        /// The value.
        value: Value,
    },
    /// A pending alert vanished before it fired.
    AlertCancelled,
    /// An alert fires.
    AlertFired {
        /// Which rule.
        rule: RuleKey,
        /// Its labels.
        labels: Labels,
        /// How bad.
        severity: Severity,
        /// The value.
        value: Value,
        /// One line for people.
        summary: String,
        /// The ladder its severity names.
        escalation: Option<String>,
        /// The remediation its rule names.
        remediation: Option<String>,
    },
    /// A firing alert got worse or better.
    AlertSeverityChanged {
        /// From.
        from: Severity,
        /// To.
        to: Severity,
        /// The value.
        value: Value,
        /// The ladder that the new severity names.
        escalation: Option<String>,
    },
    /// An alert is over.
    AlertResolved {
        /// The last value seen.
        value: Value,
    },
    /// Somebody took an alert that has no incident.
    AlertAcknowledged,
    /// They gave it back, or the time ran out for which they had put it off.
    AlertUnacknowledged {
        /// `given back`, `snoozed until ...`
        reason: String,
    },
    /// A silence or inhibition began to mute a firing alert.
    AlertMuted {
        /// By what.
        by: String,
    },
    /// It no longer does.
    AlertUnmuted,
    /// A rule's query fails: its alerts are held as they are.
    RuleUnknown {
        /// Which rule.
        rule: RuleKey,
        /// Why.
        error: String,
    },
    /// It answers again.
    RuleRecovered {
        /// Which rule.
        rule: RuleKey,
    },
    /// A silence was made.
    SilenceCreated {
        /// Which.
        silence: SilenceId,
        /// Why.
        comment: String,
        /// Until when.
        ends_at: Timestamp,
    },
    /// A silence was ended by hand.
    SilenceExpired {
        /// Which.
        silence: SilenceId,
    },
    /// An incident was opened. The subject names its first alert.
    IncidentOpened {
        /// Its number.
        number: u64,
        /// One line for people.
        title: String,
        /// How bad.
        severity: Severity,
    },
    /// An alert joined an open incident.
    IncidentAlertAttached {
        /// How bad the incident is now.
        severity: Severity,
    },
    /// Somebody took it.
    IncidentAcknowledged,
    /// They gave it back.
    IncidentUnacknowledged,
    /// The harm is contained.
    IncidentMitigated {
        /// How.
        how: String,
    },
    /// It is over.
    IncidentResolved {
        /// By what: `alerts cleared`, a person's words, ...
        reason: String,
    },
    /// The aftermath is done.
    IncidentClosed,
    /// It was none.
    IncidentCancelled {
        /// Why.
        reason: String,
    },
    /// Whoever looks at it cannot cope: its ladders take their next step at once.
    IncidentEscalated {
        /// Why.
        reason: String,
    },
    /// Somebody told those who wait how it stands.
    IncidentUpdated {
        /// How it stands, in their words.
        phase: UpdatePhase,
        /// The text.
        text: String,
    },
    /// Somebody wrote something down.
    IncidentNoted {
        /// The text.
        text: String,
    },
    /// The chat channel exists.
    ChatChannelOpened {
        /// The receiver that opened it.
        receiver: String,
        /// The provider's id.
        channel: String,
        /// Its name.
        name: String,
    },
    /// The chat channel is archived.
    ChatChannelArchived {
        /// The provider's id.
        channel: String,
    },
    /// A ladder began to climb.
    LadderStarted {
        /// The run.
        run: LadderRunId,
        /// The ladder's name.
        ladder: String,
    },
    /// A step was taken: the notifications are queued in the same commit.
    LadderStepTaken {
        /// The run.
        run: LadderRunId,
        /// The ladder's name.
        ladder: String,
        /// From 0.
        step: u32,
        /// From 0: which repetition.
        round: u32,
        /// Whom.
        notify: Vec<String>,
        /// Which people that reached, and why them: `ada (on call on primary)`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        people: Vec<String>,
    },
    /// Nobody answered to the end.
    LadderExhausted {
        /// The run.
        run: LadderRunId,
        /// The ladder's name.
        ladder: String,
    },
    /// A ladder stopped.
    LadderStopped {
        /// The run.
        run: LadderRunId,
        /// The ladder's name.
        ladder: String,
        /// acknowledged, resolved, ...
        reason: String,
    },
    /// A provider took a notification.
    NotificationSent {
        /// Which.
        notification: NotificationId,
        /// To whom.
        receiver: String,
        /// trigger, resolve, ... or chat, document.
        action: String,
        /// From 1.
        attempt: u32,
        /// Whether an earlier attempt may have arrived too (the process ended between send and mark).
        resend: bool,
        /// The provider's id for it.
        provider_id: Option<String>,
        /// The provider's key for what it was about; `None`: it is about no alert, or was sent before this was told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dedup_key: Option<String>,
    },
    /// An attempt failed; another follows.
    NotificationRetried {
        /// Which.
        notification: NotificationId,
        /// To whom.
        receiver: String,
        /// From 1.
        attempt: u32,
        /// Why.
        error: String,
        /// When it is tried again.
        next_at: Timestamp,
    },
    /// It cannot be delivered: a dead letter, to be looked at and replayed.
    NotificationDead {
        /// Which.
        notification: NotificationId,
        /// To whom.
        receiver: String,
        /// How often it was tried.
        attempts: u32,
        /// Why.
        error: String,
        /// As of [`EventKind::NotificationSent`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dedup_key: Option<String>,
    },
    /// Somebody takes the place of whoever is on call.
    OnCallOverridden {
        /// Which change.
        id: OverrideId,
        /// On which schedule.
        schedule: String,
        /// Who.
        user: String,
        /// From, included.
        starts_at: Timestamp,
        /// To, not included.
        ends_at: Timestamp,
    },
    /// Such a change was taken back.
    OnCallRestored {
        /// Which change.
        id: OverrideId,
        /// On which schedule.
        schedule: String,
        /// Who it had named.
        user: String,
    },
    /// Somebody asked for a remediation by hand.
    RepairRequested {
        /// The run.
        run: RemediationId,
        /// The remediation's name.
        remediation: String,
    },
    /// A remediation run waits for somebody's yes.
    RepairAwaitsApproval {
        /// The run.
        run: RemediationId,
        /// The remediation's name.
        remediation: String,
        /// What each rung would do.
        would: Vec<String>,
        /// Without a yes by then it is refused.
        until: Timestamp,
    },
    /// Somebody said yes.
    RepairApproved {
        /// The run.
        run: RemediationId,
        /// The remediation's name.
        remediation: String,
    },
    /// A remediation run began.
    RepairStarted {
        /// The run.
        run: RemediationId,
        /// The remediation's name.
        remediation: String,
        /// The rungs in order.
        rungs: Vec<String>,
    },
    /// A rung's action was carried out.
    RepairActed {
        /// The run.
        run: RemediationId,
        /// The rung.
        rung: String,
        /// What was done and what came back, without secrets.
        result: String,
        /// Whether it went well.
        ok: bool,
    },
    /// After the settle window, the alert's own expression was evaluated.
    RepairChecked {
        /// The run.
        run: RemediationId,
        /// The rung.
        rung: String,
        /// Whether the alert cleared.
        cleared: bool,
        /// The value, or why nobody knows.
        detail: String,
    },
    /// A rung that did not help was undone.
    RepairUndone {
        /// The run.
        run: RemediationId,
        /// The rung.
        rung: String,
        /// What was done and what came back, without secrets.
        result: String,
        /// Whether it went well.
        ok: bool,
    },
    /// A remediation run ended.
    RepairFinished {
        /// The run.
        run: RemediationId,
        /// The remediation's name.
        remediation: String,
        /// How.
        outcome: RepairOutcome,
    },
    /// A postmortem draft lies ready.
    PostmortemDrafted {
        /// Which.
        postmortem: PostmortemId,
        /// The file, where one was written.
        path: Option<String>,
    },
    /// The review meeting is scheduled.
    ReviewScheduled {
        /// When it begins.
        starts_at: Timestamp,
    },
    /// The review is due now.
    ReviewDue,
    /// A key was made.
    KeyCreated {
        /// Which.
        key: KeyId,
        /// What it is called.
        name: String,
    },
    /// A key was revoked.
    KeyRevoked {
        /// Which.
        key: KeyId,
    },
    /// Something happened to an error issue.
    Issue {
        /// Which.
        issue: IssueId,
        /// Its number.
        number: u64,
        /// What.
        change: IssueChange,
    },
    /// Somebody said that a version of a service went out.
    DeploymentRecorded {
        /// Which.
        deployment: DeploymentId,
        /// Of which service.
        service: String,
        /// Which version.
        version: String,
        /// Where.
        environment: String,
        /// When it went out, which may be before it was recorded.
        at: Timestamp,
    },
    /// An incident of that service is open: the deployment stands in its timeline. The event's own time is when it was noticed.
    DeploymentMarked {
        /// Which.
        deployment: DeploymentId,
        /// Of which service.
        service: String,
        /// Which version.
        version: String,
        /// Where.
        environment: String,
        /// When it went out.
        at: Timestamp,
    },
    /// Anything else worth a line in the timeline.
    Noted {
        /// What.
        text: String,
        /// Details.
        #[serde(default)]
        details: BTreeMap<String, String>,
    },
}

/// The word for each kind, as serde writes it; taken from here because it is asked for more often than events are written.
macro_rules! tags {
    ($($variant:ident => $tag:literal,)*) => {
        impl EventKind {
            /// The tag under which it is stored (`alert_fired`, `issue_opened`).
            pub fn tag(&self) -> &'static str {
                match self {
                    $(EventKind::$variant { .. } => $tag,)*
                    EventKind::Issue { change, .. } => change.tag(),
                }
            }
        }

        #[cfg(test)]
        const TAGS: &[&str] = &[$($tag),*];
    };
}

tags! {
    AlertPending => "alert_pending",
    AlertCancelled => "alert_cancelled",
    AlertFired => "alert_fired",
    AlertSeverityChanged => "alert_severity_changed",
    AlertResolved => "alert_resolved",
    AlertAcknowledged => "alert_acknowledged",
    AlertUnacknowledged => "alert_unacknowledged",
    AlertMuted => "alert_muted",
    AlertUnmuted => "alert_unmuted",
    RuleUnknown => "rule_unknown",
    RuleRecovered => "rule_recovered",
    SilenceCreated => "silence_created",
    SilenceExpired => "silence_expired",
    IncidentOpened => "incident_opened",
    IncidentAlertAttached => "incident_alert_attached",
    IncidentAcknowledged => "incident_acknowledged",
    IncidentUnacknowledged => "incident_unacknowledged",
    IncidentMitigated => "incident_mitigated",
    IncidentResolved => "incident_resolved",
    IncidentClosed => "incident_closed",
    IncidentCancelled => "incident_cancelled",
    IncidentEscalated => "incident_escalated",
    IncidentUpdated => "incident_updated",
    IncidentNoted => "incident_noted",
    ChatChannelOpened => "chat_channel_opened",
    ChatChannelArchived => "chat_channel_archived",
    LadderStarted => "ladder_started",
    LadderStepTaken => "ladder_step_taken",
    LadderExhausted => "ladder_exhausted",
    LadderStopped => "ladder_stopped",
    NotificationSent => "notification_sent",
    NotificationRetried => "notification_retried",
    NotificationDead => "notification_dead",
    OnCallOverridden => "on_call_overridden",
    OnCallRestored => "on_call_restored",
    RepairRequested => "repair_requested",
    RepairAwaitsApproval => "repair_awaits_approval",
    RepairApproved => "repair_approved",
    RepairStarted => "repair_started",
    RepairActed => "repair_acted",
    RepairChecked => "repair_checked",
    RepairUndone => "repair_undone",
    RepairFinished => "repair_finished",
    PostmortemDrafted => "postmortem_drafted",
    ReviewScheduled => "review_scheduled",
    ReviewDue => "review_due",
    KeyCreated => "key_created",
    KeyRevoked => "key_revoked",
    DeploymentRecorded => "deployment_recorded",
    DeploymentMarked => "deployment_marked",
    Noted => "noted",
}

/// How an incident stands, in the words of status pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdatePhase {
    /// What it is, is not known yet.
    Investigating,
    /// The cause is known.
    Identified,
    /// It looks repaired and is watched.
    Monitoring,
    /// It is over.
    Resolved,
}

impl UpdatePhase {
    /// All of them, in the order in which they come.
    pub const ALL: [UpdatePhase; 4] = [UpdatePhase::Investigating, UpdatePhase::Identified, UpdatePhase::Monitoring, UpdatePhase::Resolved];
    /// The word in APIs and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            UpdatePhase::Investigating => "investigating",
            UpdatePhase::Identified => "identified",
            UpdatePhase::Monitoring => "monitoring",
            UpdatePhase::Resolved => "resolved",
        }
    }
    /// From the word.
    pub fn parse(word: &str) -> Option<Self> {
        UpdatePhase::ALL.into_iter().find(|phase| phase.as_str() == word)
    }
}

/// The word for an action in [`EventKind::NotificationSent`].
pub fn page_action_word(action: PageAction) -> &'static str {
    match action {
        PageAction::Trigger => "trigger",
        PageAction::Acknowledge => "acknowledge",
        PageAction::Resolve => "resolve",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::ids::SequentialIds;

    #[test]
    fn changes_of_issues_keep_their_words_through_json() {
        let ids = SequentialIds::default();
        let issue = IssueId::new(Timestamp::from_secs(1), &ids);
        let change = IssueChange::Absorbed { issue, number: 3, fingerprints: vec![Fingerprint(7)] };
        let kind = EventKind::Issue { issue, number: 2, change };
        assert_eq!(kind.tag(), "issue_absorbed");
        let text = serde_json::to_string(&kind).unwrap();
        assert_eq!(serde_json::from_str::<EventKind>(&text).unwrap(), kind, "{text}");
        assert_eq!(EventKind::ReviewDue.tag(), "review_due");
        let said = serde_json::from_str::<EventKind>(r#"{"kind":"?"}"#).unwrap_err().to_string();
        let words: Vec<&str> = said.split('`').skip(3).step_by(2).filter(|word| *word != "issue").collect();
        assert_eq!(words, TAGS, "what serde writes");
    }
}
