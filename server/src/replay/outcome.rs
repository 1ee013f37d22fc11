//! What a replay came to: its journal as alerts with their times, its messages as pages, and which of both began before anybody looked.

use std::collections::{BTreeMap, BTreeSet};

use model::event::EventKind;
use model::ids::{AlertId, IncidentId};
use model::labels::Labels;
use model::message::{Message, NoticeAlert};
use model::severity::Severity;
use model::time::Timestamp;

use super::{Paged, Raised};
use crate::ruletest::Page;
use crate::simulate::{Sent, Simulation};

/// The first evaluation of each group, by its source and name.
pub type First = BTreeMap<(String, String), Timestamp>;

/// Alerts that were there from `from` on, and the messages since then.
pub async fn outcome(simulation: &Simulation, first: &First, from: Timestamp) -> anyhow::Result<(Vec<Raised>, Vec<Paged>)> {
    let (found, incidents) = told(simulation, first).await?;
    let before = Before::of(&found, incidents);
    let shown = simulation.sent().iter().filter(|sent| sent.at >= from);
    let mut pages: Vec<Paged> = shown.map(|sent| paged(sent, before.holds(sent))).collect();
    // What leaves at one moment has no order.
    pages.sort_by(|a, b| (a.at, &a.receiver, a.kind).cmp(&(b.at, &b.receiver, b.kind)));
    let mut alerts: Vec<Raised> = found.into_values().filter(|one| one.ended.is_none_or(|ended| ended >= from)).collect();
    alerts.sort_by(|a, b| (a.pending, &a.name, &a.labels).cmp(&(b.pending, &b.name, &b.labels)));
    Ok((alerts, pages))
}

fn paged(sent: &Sent, began_before: bool) -> Paged {
    let Page { receiver, kind, alerts, ladder, step, .. } = Page::of(sent, sent.at);
    Paged { at: sent.at, receiver, kind, alerts, ladder, step, began_before: began_before && kind != "resolve" }
}

type Told = (BTreeMap<AlertId, Raised>, Vec<(IncidentId, AlertId)>);

/// What the journal says of alerts, and whose incidents are whose.
async fn told(simulation: &Simulation, first: &First) -> anyhow::Result<Told> {
    let (mut found, mut incidents) = (BTreeMap::<AlertId, Raised>::new(), Vec::new());
    for recorded in simulation.journal().await? {
        let event = recorded.event;
        let Some(id) = event.subject.alert else { continue };
        incidents.extend(event.subject.incident.map(|incident| (incident, id)));
        let begin = |rule: &model::alert::RuleKey, labels: &Labels, severity: Severity| {
            let began_before = first.get(&(rule.source.clone(), rule.group.clone())).is_some_and(|first| event.at <= *first);
            Raised { name: rule.name.clone(), labels: labels.clone(), severity, pending: event.at, began_before, fired: None, ended: None }
        };
        match &event.kind {
            EventKind::AlertPending { rule, labels, .. } => {
                let severity = labels.get("severity").and_then(|word| word.parse().ok()).unwrap_or(Severity::Warning);
                found.insert(id, begin(rule, labels, severity));
            }
            EventKind::AlertFired { rule, labels, severity, .. } => {
                let entry = found.entry(id).or_insert_with(|| begin(rule, labels, *severity));
                (entry.fired, entry.severity) = (Some(event.at), *severity);
            }
            EventKind::AlertResolved { .. } | EventKind::AlertCancelled => {
                if let Some(entry) = found.get_mut(&id) {
                    entry.ended = Some(event.at);
                }
            }
            _ => {}
        }
    }
    Ok((found, incidents))
}

/// What was there before anybody looked.
struct Before {
    alerts: BTreeSet<(Labels, Timestamp)>,
    incidents: BTreeSet<IncidentId>,
}

impl Before {
    fn of(found: &BTreeMap<AlertId, Raised>, links: Vec<(IncidentId, AlertId)>) -> Self {
        let old = found.values().filter(|one| one.began_before);
        let alerts = old.map(|one| (one.labels.clone(), one.pending)).collect();
        let (before, seen): (Vec<_>, Vec<_>) =
            links.into_iter().partition(|(_, alert)| found.get(alert).is_some_and(|one| one.began_before));
        let seen: BTreeSet<IncidentId> = seen.into_iter().map(|(incident, _)| incident).collect();
        let incidents = before.into_iter().map(|(incident, _)| incident).filter(|incident| !seen.contains(incident)).collect();
        Before { alerts, incidents }
    }

    fn holds(&self, sent: &Sent) -> bool {
        let old = |alert: &NoticeAlert| self.alerts.contains(&(alert.labels.clone(), alert.starts_at));
        match &sent.delivery.message {
            Message::Notice(notice) if !notice.alerts.is_empty() => notice.alerts.iter().all(old),
            _ => sent.delivery.subject.incident.is_some_and(|incident| self.incidents.contains(&incident)),
        }
    }
}
