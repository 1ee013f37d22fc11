//! Writes an incident's changes into a commit: the record, its events, and what follows from them (chat, clocks, postmortem), all in
//! one. In: an incident after a decision. Out: a fuller commit. Fails only where something cannot be written as JSON.

use std::sync::Arc;

use model::event::{Actor, Event, EventKind, Subject, UpdatePhase};
use model::ids::{AlertId, EventId, IdSource, NotificationId};
use model::incident::Incident;
use model::message::{Delivery, Message};
use model::state::{Commit, Expect, StateError};
use model::time::Timestamp;
use model::work::Lane;

use crate::chat;
use crate::config::Config;
use crate::job::{Clock, Job};

/// Knows the settings that decide what follows from an event.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The settings.
    pub config: Arc<Config>,
    /// How links begin (`https://watchfire.example.org`).
    pub public_url: Option<String>,
    /// Fresh ids.
    pub ids: Arc<dyn IdSource>,
}

/// An incident as it shall be written.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The incident afterwards.
    pub incident: &'a Incident,
    /// What is expected to be there.
    pub expect: Expect,
    /// Who did it.
    pub actor: &'a Actor,
    /// The alert that caused it.
    pub alert: Option<AlertId>,
    /// When.
    pub now: Timestamp,
}

impl Writer {
    /// The incident's address in the API.
    pub fn url(&self, incident: &Incident) -> Option<String> {
        let base = self.public_url.as_deref()?.trim_end_matches('/');
        Some(format!("{base}/api/watchfire/v1/incidents/{}", incident.number))
    }

    /// An event with a fresh id.
    pub fn event(&self, change: &Change<'_>, kind: EventKind) -> Event {
        let Change { incident, actor, alert, now, .. } = *change;
        Event {
            id: EventId::new(now, &*self.ids),
            tenant: incident.tenant.clone(),
            at: now,
            actor: actor.clone(),
            subject: Subject { alert, incident: Some(incident.id) },
            kind,
        }
    }

    /// Adds the record, the events and what follows from each.
    pub fn write(&self, commit: &mut Commit, change: &Change<'_>, events: Vec<EventKind>) -> Result<(), StateError> {
        commit.put(change.incident, change.expect)?;
        for kind in events {
            self.follow_up(commit, change, &kind).map_err(|source| body_error(change.incident, source))?;
            commit.event(self.event(change, kind));
        }
        Ok(())
    }

    /// Adds a post into the incident's channel about an event that somebody else journaled.
    pub fn post_update(&self, commit: &mut Commit, incident: &Incident, event: &Event, now: Timestamp) -> Result<(), StateError> {
        if !self.config.chat_updates || !incident.status.is_open() {
            return Ok(());
        }
        let text = chat::update(&event.actor, &event.kind);
        self.post(commit, incident, text, now).map_err(|source| body_error(incident, source))
    }

    fn follow_up(&self, commit: &mut Commit, change: &Change<'_>, kind: &EventKind) -> Result<(), serde_json::Error> {
        let Change { incident, now, .. } = *change;
        match kind {
            EventKind::IncidentOpened { .. } => {
                self.open_channel(commit, incident, now)?;
                self.clock(commit, incident, Clock::Detect, now)
            }
            EventKind::IncidentAcknowledged => {
                self.update(commit, change, kind)?;
                self.clock(commit, incident, Clock::Acknowledge, now)
            }
            EventKind::IncidentMitigated { .. } => {
                self.update(commit, change, kind)?;
                self.clock(commit, incident, Clock::Mitigate, now)
            }
            EventKind::IncidentResolved { .. } => {
                self.leave_channel(commit, change, kind)?;
                self.clock(commit, incident, Clock::Resolve, now)?;
                self.job(commit, incident, Job::Postmortem { incident: incident.id }, now)
            }
            EventKind::IncidentCancelled { .. } => self.leave_channel(commit, change, kind),
            EventKind::IncidentUpdated { phase, text } => {
                self.update(commit, change, kind)?;
                self.tell_those_who_wait(commit, change, *phase, text)
            }
            EventKind::IncidentUnacknowledged
            | EventKind::IncidentEscalated { .. }
            | EventKind::IncidentAlertAttached { .. }
            | EventKind::IncidentNoted { .. }
            | EventKind::DeploymentMarked { .. } => self.update(commit, change, kind),
            EventKind::IncidentClosed
            | EventKind::AlertPending { .. }
            | EventKind::AlertCancelled
            | EventKind::AlertFired { .. }
            | EventKind::AlertSeverityChanged { .. }
            | EventKind::AlertResolved { .. }
            | EventKind::AlertAcknowledged
            | EventKind::AlertUnacknowledged { .. }
            | EventKind::AlertMuted { .. }
            | EventKind::AlertUnmuted
            | EventKind::RuleUnknown { .. }
            | EventKind::RuleRecovered { .. }
            | EventKind::SilenceCreated { .. }
            | EventKind::SilenceExpired { .. }
            | EventKind::ChatChannelOpened { .. }
            | EventKind::ChatChannelArchived { .. }
            | EventKind::LadderStarted { .. }
            | EventKind::LadderStepTaken { .. }
            | EventKind::LadderExhausted { .. }
            | EventKind::LadderStopped { .. }
            | EventKind::NotificationSent { .. }
            | EventKind::NotificationRetried { .. }
            | EventKind::NotificationDead { .. }
            | EventKind::OnCallOverridden { .. }
            | EventKind::OnCallRestored { .. }
            | EventKind::RepairRequested { .. }
            | EventKind::RepairAwaitsApproval { .. }
            | EventKind::RepairApproved { .. }
            | EventKind::RepairStarted { .. }
            | EventKind::RepairActed { .. }
            | EventKind::RepairChecked { .. }
            | EventKind::RepairUndone { .. }
            | EventKind::RepairFinished { .. }
            | EventKind::PostmortemDrafted { .. }
            | EventKind::ReviewScheduled { .. }
            | EventKind::ReviewDue
            | EventKind::KeyCreated { .. }
            | EventKind::KeyRevoked { .. }
            | EventKind::Issue { .. }
            | EventKind::DeploymentRecorded { .. }
            | EventKind::Noted { .. } => Ok(()),
        }
    }

    fn update(&self, commit: &mut Commit, change: &Change<'_>, kind: &EventKind) -> Result<(), serde_json::Error> {
        if !self.config.chat_updates || !change.incident.status.is_open() {
            return Ok(());
        }
        self.post(commit, change.incident, chat::update(change.actor, kind), change.now)
    }

    /// A status update goes to the configured receivers, as a document.
    fn tell_those_who_wait(
        &self,
        commit: &mut Commit,
        change: &Change<'_>,
        phase: UpdatePhase,
        text: &str,
    ) -> Result<(), serde_json::Error> {
        let Change { incident, actor, now, .. } = *change;
        let link = self.url(incident).map(|url| format!("\n\n{url}")).unwrap_or_default();
        for receiver in &self.config.update_receivers {
            let message = Message::Document {
                title: format!("Incident {}, {}: {}", incident.number, phase.as_str(), incident.title),
                text: format!("{text}\n\n{actor}, {now}{link}"),
                attachments: Vec::new(),
            };
            self.deliver_to(commit, incident, receiver, message, now)?;
        }
        Ok(())
    }

    fn open_channel(&self, commit: &mut Commit, incident: &Incident, now: Timestamp) -> Result<(), serde_json::Error> {
        let message = Message::ChatOpen {
            incident: incident.id,
            name: incident.channel_name(),
            topic: chat::topic(incident),
            invite: self.config.chat_invite.clone(),
            text: chat::first_post(incident, self.url(incident).as_deref()),
        };
        self.deliver(commit, incident, message, now)
    }

    fn leave_channel(&self, commit: &mut Commit, change: &Change<'_>, kind: &EventKind) -> Result<(), serde_json::Error> {
        if self.config.chat_receiver.is_none() {
            return Ok(());
        }
        let Change { incident, now, .. } = *change;
        self.post(commit, incident, chat::farewell(incident, kind, now, self.url(incident).as_deref()), now)?;
        self.job(commit, incident, Job::Archive { incident: incident.id }, now)
    }

    fn post(&self, commit: &mut Commit, incident: &Incident, text: String, now: Timestamp) -> Result<(), serde_json::Error> {
        self.deliver(commit, incident, Message::ChatPost { incident: incident.id, text }, now)
    }

    /// Queues a message for the chat receiver, if there is one.
    pub fn deliver(&self, commit: &mut Commit, incident: &Incident, message: Message, now: Timestamp) -> Result<(), serde_json::Error> {
        let Some(receiver) = &self.config.chat_receiver else { return Ok(()) };
        self.deliver_to(commit, incident, receiver, message, now)
    }

    /// Queues a message for a receiver. The key names what exists once: a channel is opened and archived once, posts are many.
    pub fn deliver_to(
        &self,
        commit: &mut Commit,
        incident: &Incident,
        receiver: &str,
        message: Message,
        now: Timestamp,
    ) -> Result<(), serde_json::Error> {
        let id = NotificationId::new(now, &*self.ids);
        let (lane, key) = match &message {
            Message::ChatOpen { .. } => (Lane::Chat, format!("chat-open/{}", incident.id)),
            Message::ChatArchive { .. } => (Lane::Chat, format!("chat-archive/{}", incident.id)),
            Message::ChatPost { .. } | Message::Notice(_) => (Lane::Chat, format!("chat-post/{id}")),
            Message::Document { .. } => (Lane::Mail, format!("document/{id}")),
        };
        let delivery = Delivery {
            id,
            tenant: incident.tenant.clone(),
            receiver: receiver.to_owned(),
            subject: Subject::incident(incident.id),
            queued_at: now,
            message,
        };
        commit.schedule(&incident.tenant, delivery.as_work(key, lane)?);
        Ok(())
    }

    fn clock(&self, commit: &mut Commit, incident: &Incident, clock: Clock, now: Timestamp) -> Result<(), serde_json::Error> {
        self.job(commit, incident, Job::Clock { incident: incident.id, clock }, now)
    }

    fn job(&self, commit: &mut Commit, incident: &Incident, job: Job, now: Timestamp) -> Result<(), serde_json::Error> {
        commit.schedule(&incident.tenant, job.at(now)?);
        Ok(())
    }
}

/// A part of an incident that cannot be written as JSON.
pub fn body_error(incident: &Incident, source: serde_json::Error) -> StateError {
    StateError::Body { kind: "incident".to_owned(), id: incident.id.to_string(), source }
}
