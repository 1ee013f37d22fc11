//! Counts of error events and issues as delta series, for alert rules. In: what one batch of arrivals was and what followed. Out:
//! deltas, bounded. Pure.
//!
//! - `watchfire_error_events_total{service, issue, status}`: events per issue. `issue` is its number; `status` is `open`, `ignored` or
//!   `resolved` (an event of a release without the fix). Of one batch the 1,000 largest counts keep their issue, the rest is added up
//!   under `issue="other"`. An event that is sent twice counts twice here, and once wherever issues are shown.
//! - `watchfire_error_issues_total{service, change}`: issues that are `new`, `regressed` or `unignored`, under the service with most
//!   of the events that caused it.

use std::collections::BTreeMap;

use model::issue::{Issue, IssueChange, IssueState};
use model::labels::{Labels, METRIC_NAME};
use model::tenant::TenantId;
use model::time::Timestamp;

use super::cursor::Delta;
use super::sighting::Sighting;

/// Counts of one batch that name their issue.
pub const MOST_SERIES: usize = 1_000;
const EVENTS: &str = "watchfire_error_events_total";
const ISSUES: &str = "watchfire_error_issues_total";

/// The counts of one batch.
#[derive(Default)]
pub struct Tally {
    events: BTreeMap<(TenantId, String, u64, &'static str), u64>,
    issues: BTreeMap<(TenantId, String, &'static str), u64>,
}

impl Tally {
    /// Counts a sighting of an issue, as it is after what followed.
    pub fn add(&mut self, issue: &Issue, seen: &Sighting, changes: &[IssueChange]) {
        let status = match &issue.state {
            IssueState::Open | IssueState::Regressed { .. } => "open",
            IssueState::Ignored { .. } => "ignored",
            IssueState::Resolved { .. } | IssueState::Merged { .. } => "resolved",
        };
        for (service, events) in &seen.services {
            *self.events.entry((issue.tenant.clone(), service.clone(), issue.number, status)).or_default() += events;
        }
        for change in changes {
            let word = match change {
                IssueChange::Opened { .. } => "new",
                IssueChange::Regressed { .. } => "regressed",
                IssueChange::Unignored { .. } => "unignored",
                IssueChange::Resolved { .. }
                | IssueChange::Reopened
                | IssueChange::Ignored { .. }
                | IssueChange::Assigned { .. }
                | IssueChange::Merged { .. }
                | IssueChange::Absorbed { .. }
                | IssueChange::Unmerged { .. }
                | IssueChange::Released { .. }
                | IssueChange::Forgotten { .. } => continue,
            };
            *self.issues.entry((issue.tenant.clone(), seen.main_service().to_owned(), word)).or_default() += 1;
        }
    }

    /// The deltas.
    pub fn deltas(self, at: Timestamp) -> Vec<Delta> {
        let mut counts: Vec<_> = self.events.into_iter().collect();
        counts.sort_by_key(|(_, events)| std::cmp::Reverse(*events));
        let mut others: BTreeMap<(TenantId, String, &'static str), u64> = BTreeMap::new();
        for ((tenant, service, _, status), events) in counts.split_off(counts.len().min(MOST_SERIES)) {
            *others.entry((tenant, service, status)).or_default() += events;
        }
        let events = counts.into_iter().map(|((tenant, service, issue, status), count)| {
            let labels = [(METRIC_NAME, EVENTS), ("service", &service), ("issue", &issue.to_string()), ("status", status)];
            Delta { tenant, labels: labels.into_iter().collect(), at, count }
        });
        let others = others.into_iter().map(|((tenant, service, status), count)| {
            let labels = [(METRIC_NAME, EVENTS), ("service", &service), ("issue", "other"), ("status", status)];
            Delta { tenant, labels: labels.into_iter().collect(), at, count }
        });
        let issues = self.issues.into_iter().map(|((tenant, service, change), count)| {
            let labels: Labels = [(METRIC_NAME, ISSUES), ("service", &service), ("change", change)].into_iter().collect();
            Delta { tenant, labels, at, count }
        });
        events.chain(others).chain(issues).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issues::sighting::sightings;
    use crate::issues::tests::{arrival, issue};
    use model::error_events::Arrival;
    use model::fingerprint::Fingerprint;

    #[test]
    fn counts_are_named_by_service_issue_and_status() {
        let mut tally = Tally::default();
        let mail = Arrival { service: "mail".into(), events: 9, ..arrival(2, 7, 160) };
        let seen = sightings(&[arrival(1, 7, 100), mail]).remove(0);
        let change = IssueChange::Opened { title: "E".into(), fingerprint: Fingerprint(7) };
        tally.add(&issue(4, 7, 100), &seen, &[change, IssueChange::Reopened]);
        let lines: Vec<String> = tally.deltas(Timestamp::from_secs(1)).iter().map(|d| format!("{} {}", d.labels, d.count)).collect();
        assert_eq!(
            lines,
            [
                r#"watchfire_error_events_total{issue="4", service="mail", status="open"} 9"#,
                r#"watchfire_error_events_total{issue="4", service="checkout", status="open"} 1"#,
                r#"watchfire_error_issues_total{change="new", service="mail"} 1"#,
            ]
        );
    }

    #[test]
    fn a_batch_makes_only_so_many_series() {
        let mut tally = Tally::default();
        for number in 1..=1_500 {
            tally.add(&issue(number, number, 100), &sightings(&[arrival(1, number, 100)])[0], &[]);
        }
        let deltas = tally.deltas(Timestamp::from_secs(1));
        assert_eq!((deltas.len(), deltas.iter().map(|delta| delta.count).sum::<u64>()), (1_001, 1_500));
    }
}
