//! The notice of a group, as outbox rows. In: a group, what is told. Out: one work row of queue `delivery` per receiver.

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
use crate::ladder::notice::{lane, notice_alert};
use crate::shared::Shared;

/// The most alerts of one notice; how many there are is told besides.
const SHOWN: usize = 1_000;

/// What is said.
pub(super) struct Telling<'a> {
    pub firing: Vec<&'a Alert>,
    pub over: Vec<&'a Alert>,
    pub why: &'static str,
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
    route: &Route,
    telling: &Telling<'_>,
    key: &str,
    now: Timestamp,
) -> Result<(), StateError> {
    let all = || telling.firing.iter().chain(&telling.over);
    let total = telling.firing.len() + telling.over.len();
    if total == 0 {
        return Ok(());
    }
    let said = if telling.firing.is_empty() { &telling.over } else { &telling.firing };
    let severity = said.iter().map(|alert| alert.severity).max().unwrap_or(Severity::Info);
    let mut details: BTreeMap<String, String> = [("group_key".to_owned(), group.key_text())].into();
    if total > SHOWN {
        details.insert("alerts_total".to_owned(), total.to_string());
    }
    let notice = Notice {
        action: if telling.firing.is_empty() { PageAction::Resolve } else { PageAction::Trigger },
        dedup_key: group.id.clone(),
        severity,
        title: title(telling, group),
        incident_number: None,
        group_labels: group.labels.clone(),
        alerts: all()
            .take(SHOWN)
            .enumerate()
            .map(|(at, alert)| {
                let mut shown = notice_alert(alert);
                // What left the group is over for its readers, though it may fire elsewhere.
                if at >= telling.firing.len() && !shown.resolved {
                    (shown.resolved, shown.ends_at) = (true, Some(now));
                }
                shown
            })
            .collect(),
        url: shared.config.external_url.as_ref().map(|base| format!("{}/api/watchfire/v1/alerts", base.trim_end_matches('/'))),
        reason: format!("route {}: {}", route.name, telling.why),
        details,
    };
    let subject = said.first().map(|alert| Subject::alert(alert.id, alert.incident)).unwrap_or_default();
    for receiver in &route.receivers {
        let key = format!("group/{}/{key}/{receiver}", group.id);
        let delivery = Delivery {
            id: NotificationId::derived(now, &key),
            tenant: group.tenant.clone(),
            receiver: receiver.clone(),
            subject: subject.clone(),
            queued_at: now,
            message: Message::Notice(Box::new(notice.clone())),
        };
        let body = |source| StateError::Body { kind: "delivery".to_owned(), id: key.clone(), source };
        commit.schedule(&group.tenant, delivery.into_work(key.clone(), lane(severity)).map_err(body)?);
    }
    Ok(())
}
