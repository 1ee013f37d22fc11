//! Which incident an alert belongs to. In: the open incidents and the alert's labels. Out: join one, or open another. Never fails.

use model::ids::IncidentId;
use model::incident::Incident;
use model::labels::Labels;

/// What to do with an alert that opens incidents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Correlation {
    /// It is part of this outage.
    Join(IncidentId),
    /// It is an outage of its own, with these labels in common.
    Open(Labels),
}

/// The labels that alerts of one outage share: those of `group_by` that the alert has, else its `alertname`.
pub fn group_of(labels: &Labels, group_by: &[String]) -> Labels {
    let group = labels.filtered(|name| group_by.iter().any(|wanted| wanted == name));
    if group.is_empty() { labels.filtered(|name| name == "alertname") } else { group }
}

/// Joins the newest open incident with the same group, else opens one. `open` may hold ended incidents; they are passed over.
pub fn correlate<'a>(open: impl IntoIterator<Item = &'a Incident>, labels: &Labels, group_by: &[String]) -> Correlation {
    let group = group_of(labels, group_by);
    let same = open.into_iter().filter(|incident| incident.status.is_open() && incident.group == group);
    match same.max_by_key(|incident| incident.number) {
        Some(incident) => Correlation::Join(incident.id),
        None => Correlation::Open(group),
    }
}
