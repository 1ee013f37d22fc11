//! The notices of a group, as outbox rows. In: a group, what is told. Out: one work row of queue `delivery` per receiver.

use std::collections::BTreeMap;

use model::alert::Alert;
use model::event::Subject;
use model::ids::NotificationId;
use model::message::{Delivery, Message, Notice, PageAction};
use model::severity::Severity;
use model::state::{Commit, StateError};
use model::time::Timestamp;

use super::group::AlertGroup;
use super::tree::Route;
use crate::channels::UNANSWERED;
use crate::delivery::Handing;
use crate::ladder::notice::{lane, notice_alert};
use crate::shared::Shared;

/// The most alerts of one notice; how many there are is told besides.
pub(super) const SHOWN: usize = 1_000;

/// What is said.
pub(super) struct Telling<'a> {
    pub firing: Vec<&'a Alert>,
    pub over: Vec<&'a Alert>,
    pub why: &'a str,
    /// What the route is called.
    pub route: &'a str,
    /// Who is told.
    pub to: &'a [String],
}

/// What is said when somebody took alerts of a group.
pub(super) struct Taking<'a> {
    /// Which.
    pub taken: Vec<&'a Alert>,
    /// How many others of the group fire that nobody has.
    pub unanswered: usize,
    /// By whom.
    pub by: String,
}

/// One alert speaks for itself; several are counted under their name, or what they share.
fn title(telling: &Telling<'_>, group: &AlertGroup) -> String {
    let mut all = telling.firing.iter().chain(&telling.over);
    match (all.next(), telling.firing.len() + telling.over.len()) {
        (Some(only), 1) => only.summary(),
        (first, count) => {
            let shared = match (group.labels.get("alertname"), group.labels.is_empty()) {
                (Some(name), _) => {
                    let rest = group.labels.clone().without("alertname");
                    if rest.is_empty() { name.to_owned() } else { format!("{name} {rest}") }
                }
                (None, false) => group.labels.to_string(),
                (None, true) => first.map(|alert| format!("{} and others", alert.summary())).unwrap_or_default(),
            };
            let over = if telling.over.is_empty() { String::new() } else { format!(", {} resolved", telling.over.len()) };
            match telling.firing.len() {
                0 => format!("{count} alerts resolved: {shared}"),
                firing => format!("{firing} alerts{over}: {shared}"),
            }
        }
    }
}

/// Adds one delivery per receiver to the commit. `key` is fresh for every look.
pub(super) fn tell(
    shared: &Shared,
    commit: &mut Commit,
    group: &AlertGroup,
    telling: &Telling<'_>,
    key: &str,
    now: Timestamp,
    handing: Option<&mut Handing>,
) -> Result<(), StateError> {
    let all = || telling.firing.iter().chain(&telling.over);
    let total = telling.firing.len() + telling.over.len();
    if total == 0 {
        return Ok(());
    }
    let said = if telling.firing.is_empty() { &telling.over } else { &telling.firing };
    let mut details: BTreeMap<String, String> = [("group_key".to_owned(), group.key_text())].into();
    if total > SHOWN {
        details.insert("alerts_total".to_owned(), total.to_string());
    }
    let shown = all().take(SHOWN).enumerate().map(|(at, alert)| {
        let mut shown = notice_alert(alert);
        // What left the group is over for its readers, though it may fire elsewhere.
        if at >= telling.firing.len() && !shown.resolved {
            (shown.resolved, shown.ends_at) = (true, Some(now));
        }
        shown
    });
    let notice = Notice {
        action: if telling.firing.is_empty() { PageAction::Resolve } else { PageAction::Trigger },
        dedup_key: group.id.clone(),
        severity: said.iter().map(|alert| alert.severity).max().unwrap_or(Severity::Info),
        title: title(telling, group),
        incident_number: None,
        group_labels: group.labels.clone(),
        alerts: shown.collect(),
        url: url(shared),
        reason: format!("route {}: {}", telling.route, telling.why),
        details,
    };
    let subject = said.first().map(|alert| Subject::alert(alert.id, alert.incident)).unwrap_or_default();
    queue(commit, group, telling.to, &subject, notice, key, now, handing)
}

/// Tells receivers that no longer hear of a group that what they heard of it is over for them. Who is no receiver any more is left out.
#[allow(clippy::too_many_arguments)] // the group, its surroundings and the moment
pub(super) fn tell_elsewhere(
    shared: &Shared,
    commit: &mut Commit,
    group: &AlertGroup,
    route: &str,
    owed: Vec<&Alert>,
    mut to: Vec<String>,
    key: &str,
    now: Timestamp,
) -> Result<(), StateError> {
    to.retain(|name| shared.routing().roster.is_receiver(name));
    let telling = Telling { firing: Vec::new(), over: owed, why: "it leads elsewhere now", route, to: &to };
    tell(shared, commit, group, &telling, key, now, None)
}

/// Tells those who heard that alerts fire that somebody has them.
pub(super) fn tell_taken(
    shared: &Shared,
    commit: &mut Commit,
    group: &AlertGroup,
    route: &Route,
    taking: &Taking<'_>,
    key: &str,
    now: Timestamp,
) -> Result<(), StateError> {
    let Some(first) = taking.taken.first() else { return Ok(()) };
    let mut details: BTreeMap<String, String> = [("group_key".to_owned(), group.key_text())].into();
    if taking.unanswered > 0 {
        details.insert(UNANSWERED.to_owned(), taking.unanswered.to_string());
    }
    let to = group.hearers(route);
    let words = Telling { firing: taking.taken.clone(), over: Vec::new(), why: "", route: &route.name, to: &to };
    let notice = Notice {
        action: PageAction::Acknowledge,
        dedup_key: group.id.clone(),
        severity: taking.taken.iter().map(|alert| alert.severity).max().unwrap_or(Severity::Info),
        title: title(&words, group),
        incident_number: None,
        group_labels: group.labels.clone(),
        alerts: taking.taken.iter().take(SHOWN).map(|alert| notice_alert(alert)).collect(),
        url: url(shared),
        reason: format!("route {}: acknowledged by {}", route.name, taking.by),
        details,
    };
    queue(commit, group, &to, &Subject::alert(first.id, first.incident), notice, key, now, None)
}

fn url(shared: &Shared) -> Option<String> {
    shared.config.external_url.as_ref().map(|base| format!("{}/api/watchfire/v1/alerts", base.trim_end_matches('/')))
}

#[allow(clippy::too_many_arguments)] // as above
fn queue(
    commit: &mut Commit,
    group: &AlertGroup,
    to: &[String],
    subject: &Subject,
    notice: Notice,
    key: &str,
    now: Timestamp,
    mut handing: Option<&mut Handing>,
) -> Result<(), StateError> {
    for receiver in to {
        let key = format!("group/{key}/{}/{receiver}", group.id);
        let delivery = Delivery {
            id: NotificationId::derived(now, &key),
            tenant: group.tenant.clone(),
            receiver: receiver.clone(),
            subject: subject.clone(),
            queued_at: now,
            message: Message::Notice(Box::new(notice.clone())),
        };
        let body = |source| StateError::Body { kind: "delivery".to_owned(), id: key.clone(), source };
        let new = delivery.as_work(key.clone(), lane(notice.severity)).map_err(body)?;
        match handing.as_deref_mut() {
            Some(handing) => commit.change(&group.tenant, handing.write(&group.tenant, delivery, new, now)),
            None => commit.schedule(&group.tenant, new),
        }
    }
    Ok(())
}
