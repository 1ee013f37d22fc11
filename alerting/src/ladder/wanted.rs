//! Whether a notice of a ladder is still of use when its turn to be sent comes: it may have waited for a provider's patience, a rate limit
//! or the end of an outage. In: the row, the run and what it is about as they stand now, the journal. Out: why it is not sent, or nothing.
//!
//! - A page is not sent once somebody has the alert or the incident: nobody is woken for what is taken. It stays wanted when the alert is over
//!   meanwhile and nobody took it: a page that was held up must not vanish, its end follows it.
//! - An acknowledgement or an end is not sent to a receiver none of whose pages left: there is nothing that it would acknowledge or close.
//!   Where it is not certain that none did, it is sent.
//! - The notice to the default receivers informs, as groups do, and is always sent.

use std::ops::ControlFlow;

use model::alert::{Acknowledgement, Alert};
use model::event::{EventKind, Recorded, page_action_word};
use model::ids::LadderRunId;
use model::incident::{Incident, IncidentStatus};
use model::message::{Delivery, Message, PageAction};
use model::state::{Journal, JournalQuery, StateError, StateStore, load, pages};
use model::work::Work;

use super::{LadderRun, LadderSubject};

/// The detail of the journal's note about a page that was not sent: to whom.
const TO: &str = "receiver";
/// The detail that says whether an earlier attempt may have arrived.
const UNSENT: &str = "unsent";
const CERTAINLY: &str = "certain";
const PERHAPS: &str = "an earlier attempt may have arrived";
/// How many events are read at once.
const PAGE: usize = 1_000;

/// The note in the journal about a page that is not sent. `doubt`: an earlier attempt may have arrived.
pub(crate) fn unsent_page(delivery: &Delivery, reason: &str, doubt: bool) -> EventKind {
    let details = [
        (TO.to_owned(), delivery.receiver.clone()),
        (UNSENT.to_owned(), if doubt { PERHAPS } else { CERTAINLY }.to_owned()),
        ("notification".to_owned(), delivery.id.to_string()),
    ];
    EventKind::Noted { text: format!("the page to {} was not sent: {reason}", delivery.receiver), details: details.into() }
}

/// Why a delivery is not sent any more; `None`: it is, or it is none of a ladder's.
pub(crate) async fn unneeded(state: &dyn StateStore, work: &Work, delivery: &Delivery) -> Result<Option<String>, StateError> {
    let Message::Notice(notice) = &delivery.message else { return Ok(None) };
    let Some(run) = run_of(&work.key) else { return Ok(None) };
    let Some(run) = load::<LadderRun>(state, &delivery.tenant, &run.to_string()).await?.map(|found| found.entity) else { return Ok(None) };
    if run.route {
        return Ok(None);
    }
    match notice.action {
        PageAction::Trigger => Ok(taken(state, &run).await?.map(|by| format!("acknowledged by {}", by.by))),
        PageAction::Acknowledge | PageAction::Resolve => Ok(match never_paged(state, &run, &delivery.receiver).await? {
            true => Some(format!("{} was never told of what this would {}", delivery.receiver, page_action_word(notice.action))),
            false => None,
        }),
    }
}

/// The run in a delivery's key: `ladder/<run>/...`.
fn run_of(key: &str) -> Option<LadderRunId> {
    key.strip_prefix("ladder/")?.split('/').next()?.parse().ok()
}

/// Who has what the run is about, also after its end.
async fn taken(state: &dyn StateStore, run: &LadderRun) -> Result<Option<Acknowledgement>, StateError> {
    match run.subject {
        LadderSubject::Alert { id } => {
            Ok(load::<Alert>(state, &run.tenant, &id.to_string()).await?.and_then(|found| found.entity.acknowledged))
        }
        LadderSubject::Incident { id } => {
            let found = load::<Incident>(state, &run.tenant, &id.to_string()).await?.map(|found| found.entity);
            Ok(found.filter(|incident| incident.status != IncidentStatus::Open).and_then(|incident| incident.acknowledged))
        }
    }
}

/// Whether the journal says that a page to this receiver was certainly not sent, and of none that it was, or may have been.
async fn never_paged(state: &dyn StateStore, run: &LadderRun, receiver: &str) -> Result<bool, StateError> {
    let mut about = Vec::new();
    match run.subject {
        LadderSubject::Alert { id } => about.push(JournalQuery { alert: Some(id), ..JournalQuery::default() }),
        LadderSubject::Incident { id } => {
            about.push(JournalQuery { incident: Some(id), ..JournalQuery::default() });
            // A run that began for an alert, before its incident: its first pages are told of that alert.
            if run.dedup_key != id.to_string()
                && let Some(found) = load::<Incident>(state, &run.tenant, &id.to_string()).await?
            {
                let alerts = found.entity.alerts.into_iter();
                about.extend(alerts.map(|alert| JournalQuery { alert: Some(alert), ..JournalQuery::default() }));
            }
        }
    }
    let mut unsent = false;
    for query in about {
        match heard(state, JournalQuery { tenant: Some(run.tenant.clone()), limit: PAGE, ..query }, run, receiver).await? {
            Heard::Yes => return Ok(false),
            Heard::No => unsent = true,
            Heard::Nothing => {}
        }
    }
    Ok(unsent)
}

/// What the journal says about a receiver.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// A page left, or may have left.
    Yes,
    /// A page was certainly not sent, and none left.
    No,
    /// Nothing about pages.
    Nothing,
}

async fn heard(state: &(impl Journal + ?Sized), query: JournalQuery, run: &LadderRun, receiver: &str) -> Result<Heard, StateError> {
    let mut heard = Heard::Nothing;
    let yes = pages(state, query, |events| {
        for event in &events {
            match says(event, run, receiver) {
                Heard::Yes => return ControlFlow::Break(Heard::Yes),
                Heard::No => heard = Heard::No,
                Heard::Nothing => {}
            }
        }
        ControlFlow::Continue(())
    });
    Ok(yes.await?.unwrap_or(heard))
}

/// What was told of another thing to the provider, as a group's notice is, is no page of this one.
fn says(recorded: &Recorded, run: &LadderRun, receiver: &str) -> Heard {
    let mine = |key: &Option<String>| key.as_ref().is_none_or(|key| *key == run.dedup_key);
    match &recorded.event.kind {
        EventKind::NotificationSent { receiver: to, action, dedup_key, .. }
            if to == receiver && action == page_action_word(PageAction::Trigger) && mine(dedup_key) =>
        {
            Heard::Yes
        }
        // A dead letter may have left before it was given up, and may be replayed.
        EventKind::NotificationDead { receiver: to, dedup_key, .. } if to == receiver && mine(dedup_key) => Heard::Yes,
        EventKind::Noted { details, .. } if details.get(TO).is_some_and(|to| to == receiver) => {
            match details.get(UNSENT).map(String::as_str) {
                Some(CERTAINLY) => Heard::No,
                Some(_) => Heard::Yes,
                None => Heard::Nothing,
            }
        }
        _ => Heard::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_stands_in_the_key() {
        let run = LadderRunId::derived(model::time::Timestamp::EPOCH, "run");
        assert_eq!(run_of(&format!("ladder/{run}/0/0/0/pager")), Some(run));
        assert_eq!(run_of(&format!("ladder/{run}/1/resolve/a/b")), Some(run));
        for other in ["group/0011/22/mail", "ladder/", "ladder/x/0", ""] {
            assert_eq!(run_of(other), None, "{other}");
        }
    }
}
