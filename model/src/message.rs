//! Outbox messages: what is to be said to whom. Anyone may write one (as a work row of queue `delivery`); only
//! `alerting/src/channels/` sends them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::Subject;
use crate::ids::{IncidentId, NotificationId};
use crate::json::Json;
use crate::labels::Labels;
use crate::severity::Severity;
use crate::tenant::TenantId;
use crate::time::{Span, Timestamp};
use crate::work::{Lane, NewWork, Queue};

/// One message to one receiver: the body of a `delivery` work row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its id: the idempotency key where a provider takes one.
    pub id: NotificationId,
    /// Whose.
    pub tenant: TenantId,
    /// The name of a configured receiver.
    pub receiver: String,
    /// What it is about.
    pub subject: Subject,
    /// When it was written.
    pub queued_at: Timestamp,
    /// What to say.
    pub message: Message,
}

impl Delivery {
    /// The work row for it. `key` makes it unique among the open deliveries (a ladder step is written once).
    pub fn as_work(&self, key: String, lane: Lane) -> Result<NewWork, serde_json::Error> {
        Ok(NewWork { queue: Queue::Delivery, key, lane, subject: self.subject.clone(), due_at: self.queued_at, body: Json::of(self)? })
    }
}

/// What to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// A page or notice about alerts: every channel can carry it.
    Notice(Box<Notice>),
    /// Open the incident's chat channel (receivers that have channels: Slack's Web API). On success the delivery worker journals
    /// [`crate::event::EventKind::ChatChannelOpened`].
    ChatOpen {
        /// For which incident.
        incident: IncidentId,
        /// The wished name, `incident-42`.
        name: String,
        /// The topic.
        topic: String,
        /// The provider's user ids to invite.
        invite: Vec<String>,
        /// The first post.
        text: String,
    },
    /// Post into the incident's chat channel; waits (is retried) until the channel exists.
    ChatPost {
        /// For which incident.
        incident: IncidentId,
        /// Markdown of the provider's kind.
        text: String,
    },
    /// Archive the incident's chat channel.
    ChatArchive {
        /// For which incident.
        incident: IncidentId,
    },
    /// A document: a postmortem, an invitation.
    Document {
        /// The subject line.
        title: String,
        /// Plain text or Markdown.
        text: String,
        /// Attached files: name, media type, content.
        attachments: Vec<Attachment>,
    },
}

/// A file that goes with a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// File name.
    pub name: String,
    /// Media type (`text/calendar; method=REQUEST`).
    pub media_type: String,
    /// Content (text).
    pub content: String,
}

/// What a notice asks the receiver to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageAction {
    /// Something is wrong.
    Trigger,
    /// Somebody has it.
    Acknowledge,
    /// It is over.
    Resolve,
}

/// A notice about one alert, an incident or a group of alerts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// What to do.
    pub action: PageAction,
    /// The provider's key that joins trigger, acknowledge and resolve: the incident's id, else the alert's fingerprint in hex.
    pub dedup_key: String,
    /// How bad (the worst of the alerts).
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The incident's number, if there is one.
    pub incident_number: Option<u64>,
    /// What the alerts are grouped by.
    pub group_labels: Labels,
    /// The alerts.
    pub alerts: Vec<NoticeAlert>,
    /// Where to look (the console's or the API's URL).
    pub url: Option<String>,
    /// Why this receiver hears of it: `critical-page, step 2 of 2: nobody acknowledged within 5m`.
    pub reason: String,
    /// More facts, for providers that take them.
    pub details: BTreeMap<String, String>,
}

/// One alert inside a notice, as Alertmanager's webhook shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoticeAlert {
    /// Whether it is over.
    pub resolved: bool,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// When it began (ActiveAt).
    pub starts_at: Timestamp,
    /// When it ended.
    pub ends_at: Option<Timestamp>,
    /// Fingerprint in hex.
    pub fingerprint: String,
    /// The value, in Prometheus's text.
    pub value: String,
    /// The expression.
    pub expr: String,
    /// Where whoever sent it shows its rule; empty for rules of our own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub generator_url: String,
}

/// A step of a ladder, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LadderStep {
    /// How long after the ladder's start.
    pub after: Span,
    /// Names of receivers.
    pub notify: Vec<String>,
}
