//! Commits: the note before a send, and the one commit that ends an attempt (the row's new state with its events). Pure.

use model::event::{Actor, Event, EventKind, page_action_word};
use model::ids::{EventId, IdSource};
use model::message::{Delivery, Message};
use model::state::{Commit, Fence};
use model::time::Timestamp;
use model::work::{Work, WorkChange};

use super::progress::{Next, Progress};
use crate::channels::Sent;
use crate::ladder::wanted::unsent_page;

/// The word for a message in events: trigger, acknowledge, resolve, chat or document.
pub fn action_word(message: &Message) -> &'static str {
    match message {
        Message::Notice(notice) => page_action_word(notice.action),
        Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } => "chat",
        Message::Document { .. } => "document",
    }
}

/// "I am about to send": written before the send, still there if the process ends in it.
pub fn noted(work: &Work, progress: &Progress, fence: Option<&Fence>, now: Timestamp) -> Commit {
    let mut commit = Commit::at(now);
    commit.fence = fence.cloned();
    commit.change(&work.tenant, WorkChange::Progress { id: work.id, lease: work.lease, progress: progress.note() });
    commit
}

/// The end of an attempt.
pub fn settled(work: &Work, delivery: Option<&Delivery>, next: &Next, fence: Option<&Fence>, now: Timestamp, ids: &dyn IdSource) -> Commit {
    let (id, lease) = (work.id, work.lease);
    let mut commit = Commit::at(now);
    commit.fence = fence.cloned();
    // What became of an attempt must outlive the machine; where there was none, it comes to the same once more.
    commit.derived = match next {
        Next::Done { .. } | Next::Retry { .. } | Next::Dead { .. } => false,
        Next::Unneeded { .. } | Next::Wait { .. } => true,
    };
    match next {
        Next::Done { .. } => commit.change(&work.tenant, WorkChange::Done { id, lease }),
        Next::Unneeded { reason, progress, .. } => {
            commit.change(&work.tenant, WorkChange::Progress { id, lease, progress: progress.unneeded(reason).note() });
            commit.change(&work.tenant, WorkChange::Done { id, lease });
        }
        Next::Retry { at, reason, progress } | Next::Wait { at, reason, progress } => {
            let change = WorkChange::Retry { id, lease, due_at: *at, error: reason.clone(), progress: Some(progress.note()) };
            commit.change(&work.tenant, change);
        }
        Next::Dead { reason, progress } => {
            commit.change(&work.tenant, WorkChange::Progress { id, lease, progress: progress.note() });
            commit.change(&work.tenant, WorkChange::Dead { id, lease, error: reason.clone() });
        }
    }
    if let Some(delivery) = delivery {
        for kind in events(delivery, next) {
            let (id, actor) = (EventId::new(now, ids), Actor::system("delivery"));
            commit.event(Event { id, tenant: delivery.tenant.clone(), at: now, actor, subject: delivery.subject.clone(), kind });
        }
    }
    commit
}

fn events(delivery: &Delivery, next: &Next) -> Vec<EventKind> {
    let (notification, receiver) = (delivery.id, delivery.receiver.clone());
    let dedup_key = match &delivery.message {
        Message::Notice(notice) => Some(notice.dedup_key.clone()),
        Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::ChatArchive { .. } | Message::Document { .. } => None,
    };
    match next {
        Next::Done { sent, attempt, resend } => {
            let sent_event = EventKind::NotificationSent {
                notification,
                receiver,
                action: action_word(&delivery.message).to_owned(),
                attempt: *attempt,
                resend: *resend,
                provider_id: sent.provider_id.clone(),
                dedup_key,
            };
            std::iter::once(sent_event).chain(chat_event(delivery, sent)).collect()
        }
        Next::Retry { at, reason, progress } => {
            vec![EventKind::NotificationRetried { notification, receiver, attempt: progress.attempts, error: reason.clone(), next_at: *at }]
        }
        Next::Unneeded { reason, page: true, progress } => vec![unsent_page(delivery, reason, progress.sending.is_some())],
        Next::Wait { .. } | Next::Unneeded { page: false, .. } => Vec::new(),
        Next::Dead { reason, progress } => {
            vec![EventKind::NotificationDead { notification, receiver, attempts: progress.attempts, error: reason.clone(), dedup_key }]
        }
    }
}

fn chat_event(delivery: &Delivery, sent: &Sent) -> Option<EventKind> {
    match (&delivery.message, &sent.channel) {
        (Message::ChatOpen { .. }, Some(channel)) => Some(EventKind::ChatChannelOpened {
            receiver: delivery.receiver.clone(),
            channel: channel.id.clone(),
            name: channel.name.clone(),
        }),
        (Message::ChatArchive { .. }, _) => Some(EventKind::ChatChannelArchived { channel: sent.provider_id.clone().unwrap_or_default() }),
        (Message::ChatOpen { .. } | Message::ChatPost { .. } | Message::Notice(_) | Message::Document { .. }, _) => None,
    }
}
