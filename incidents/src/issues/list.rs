//! The list of issues: records of the state joined with what their events add up to. In: records, summaries, what is wanted. Out: the
//! issues in order. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use model::error_events::{ErrorQuery, ErrorSummary};
use model::fingerprint::Fingerprint;
use model::issue::Issue;
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// The one that was seen last first.
    #[default]
    LastSeen,
    /// The newest first.
    FirstSeen,
    /// The commonest of the window first.
    Events,
    /// The one that hit most users of the window first.
    Users,
}

/// Which issues are wanted, beside their status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Seen in this service, release and environment within the window.
    pub service: Option<String>,
    /// See `service`.
    pub release: Option<String>,
    /// See `service`.
    pub environment: Option<String>,
    /// With this text in title, type, message or culprit, whatever the case.
    pub text: Option<String>,
    /// Of this person; `none`: of nobody.
    pub assignee: Option<String>,
    /// In which order.
    pub sort: Sort,
}

/// An issue with what its events in the window add up to.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The record.
    pub issue: Issue,
    /// `None` where there were no events, or nobody could say.
    pub summary: Option<ErrorSummary>,
}

impl Row {
    /// The time of its newest event.
    fn last_seen(&self) -> Option<Timestamp> {
        self.issue.last_seen().max(self.summary.as_ref().map(|summary| summary.last_seen))
    }
}

impl Wanted {
    /// The question about the events of the issues: those of one issue are added up under its first fingerprint.
    pub fn query(&self, tenant: &TenantId, issues: &[Issue], end: Timestamp, window: Duration) -> ErrorQuery {
        let mut aliases = BTreeMap::new();
        for issue in issues {
            let mut prints = issue.fingerprints();
            if let Some(first) = prints.next() {
                aliases.extend(prints.map(|other| (other, first)));
            }
        }
        ErrorQuery {
            tenant: tenant.clone(),
            start: end.minus(window),
            end,
            service: self.service.clone(),
            release: self.release.clone(),
            environment: self.environment.clone(),
            fingerprints: Vec::new(),
            aliases,
        }
    }

    /// Whether an issue fits as far as its record tells.
    pub fn fits(&self, issue: &Issue) -> bool {
        let assigned = match self.assignee.as_deref() {
            None => true,
            Some("none") => issue.assignee.is_none(),
            Some(person) => issue.assignee.as_deref() == Some(person),
        };
        assigned && self.text.as_deref().is_none_or(|text| has_text(issue, text))
    }

    fn by_events(&self) -> bool {
        self.service.is_some() || self.release.is_some() || self.environment.is_some()
    }

    /// Whether the record alone says that it was seen there. What it does not name it may have been.
    fn seen_there(&self, issue: &Issue) -> bool {
        let service = self.service.as_ref().is_none_or(|service| issue.services.contains(service));
        let release = self.release.as_ref().is_none_or(|release| issue.releases.iter().any(|seen| seen.release == *release));
        service && release
    }

    /// The issues that fit, in order. Without summaries (the telemetry store does not answer) the records must do.
    pub fn arrange(&self, issues: Vec<Issue>, summaries: Option<Vec<ErrorSummary>>) -> Vec<Row> {
        let known = summaries.is_some();
        let mut by_print: HashMap<Fingerprint, ErrorSummary> =
            summaries.unwrap_or_default().into_iter().map(|summary| (summary.fingerprint, summary)).collect();
        let rows = issues.into_iter().filter(|issue| self.fits(issue)).map(|issue| {
            let summary = issue.fingerprints().next().and_then(|print| by_print.remove(&print));
            Row { issue, summary }
        });
        let mut rows: Vec<Row> = rows
            .filter(|row| match (self.by_events(), known) {
                (false, _) => true,
                (true, true) => row.summary.is_some(),
                (true, false) => self.seen_there(&row.issue),
            })
            .collect();
        let counts = |row: &Row| row.summary.as_ref().map(|summary| summary.counts).unwrap_or_default();
        rows.sort_by_key(|row| {
            let first = match self.sort {
                Sort::LastSeen => 0,
                Sort::FirstSeen => row.issue.first_seen().map_or(0, |at| at.nanos().unsigned_abs()),
                Sort::Events => counts(row).events,
                Sort::Users => counts(row).users,
            };
            Reverse((first, row.last_seen(), row.issue.number))
        });
        rows
    }
}

fn has_text(issue: &Issue, text: &str) -> bool {
    let text = text.to_lowercase();
    [&issue.title, &issue.kind, &issue.message, &issue.culprit].into_iter().any(|place| place.to_lowercase().contains(&text))
}

/// An issue as the API shows it.
pub fn view(issue: &Issue) -> Value {
    let mut value = json!(issue);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("status".to_owned(), json!(issue.state.as_str()));
        fields.insert("first_seen".to_owned(), json!(issue.first_seen()));
        fields.insert("last_seen".to_owned(), json!(issue.last_seen()));
        fields.insert("last_release".to_owned(), json!(issue.last_release()));
        fields.insert("fingerprints".to_owned(), json!(issue.fingerprints().collect::<Vec<_>>()));
    }
    value
}

/// A line of the list as the API shows it: the record with the numbers of the window, without what only matters on its own page.
pub fn line(row: &Row, telemetry: bool, hourly: Option<&Vec<u64>>) -> Value {
    let mut value = view(&row.issue);
    let counts = row.summary.as_ref().map(|summary| summary.counts).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        ["groups", "history", "absorbed"].iter().for_each(|field| drop(fields.remove(*field)));
        fields.insert("last_seen".to_owned(), json!(row.last_seen()));
        fields.insert("events".to_owned(), if telemetry { json!(counts.events) } else { Value::Null });
        fields.insert("users".to_owned(), if telemetry { json!(counts.users) } else { Value::Null });
        fields.insert("hourly".to_owned(), json!(hourly));
        let environments = row.summary.as_ref().map(|summary| &summary.environments);
        fields.insert("environments".to_owned(), json!(environments));
        let names: Vec<&str> = row.issue.releases.iter().map(|seen| seen.release.as_str()).collect();
        fields.insert("releases".to_owned(), json!(names));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issues::tests::issue;
    use model::error_events::EventCounts;
    use model::issue::Group;

    fn summary(print: u64, events: u64, users: u64, last: i64) -> ErrorSummary {
        ErrorSummary {
            fingerprint: Fingerprint(print),
            counts: EventCounts { events, users },
            first_seen: Timestamp::from_secs(1),
            last_seen: Timestamp::from_secs(last),
            services: vec![],
            releases: vec![],
            environments: vec![],
        }
    }

    fn numbers(wanted: &Wanted, summaries: Option<Vec<ErrorSummary>>) -> Vec<u64> {
        let mut merged = issue(2, 20, 200);
        merged.groups.push(Group { fingerprint: Fingerprint(21), ..merged.groups[0].clone() });
        let mut mine = issue(3, 30, 50);
        (mine.assignee, mine.title, mine.services) = (Some("ana".into()), "Card IS blue".into(), vec!["mail".into()]);
        let issues = vec![issue(1, 10, 100), merged, mine];
        let query = wanted.query(&TenantId::default(), &issues, Timestamp::from_secs(10_000), Duration::from_secs(9_000));
        assert_eq!(query.aliases, BTreeMap::from([(Fingerprint(21), Fingerprint(20))]));
        assert_eq!(query.start, Timestamp::from_secs(1_000));
        wanted.arrange(issues, summaries).iter().map(|row| row.issue.number).collect()
    }

    #[test]
    fn lists_are_filtered_and_sorted() {
        let sums = || Some(vec![summary(10, 5, 1, 300), summary(20, 9, 0, 250)]);
        let sorted = |sort| numbers(&Wanted { sort, ..Wanted::default() }, sums());
        assert_eq!(sorted(Sort::LastSeen), [1, 2, 3], "by the events, else by the record");
        assert_eq!(sorted(Sort::FirstSeen), [2, 1, 3]);
        assert_eq!(sorted(Sort::Events), [2, 1, 3]);
        assert_eq!(sorted(Sort::Users), [1, 2, 3]);
        let text = |text: &str| numbers(&Wanted { text: Some(text.into()), ..Wanted::default() }, sums());
        assert_eq!(text("card is"), [3]);
        assert_eq!(text("nowhere"), Vec::<u64>::new());
        let of = |person: &str| numbers(&Wanted { assignee: Some(person.into()), ..Wanted::default() }, sums());
        assert_eq!((of("ana"), of("none"), of("bob")), (vec![3], vec![1, 2], vec![]));
    }

    #[test]
    fn a_filter_on_events_wants_events_or_without_telemetry_the_record() {
        let mail = Wanted { service: Some("mail".into()), ..Wanted::default() };
        assert_eq!(numbers(&mail, Some(vec![summary(10, 5, 1, 300)])), [1]);
        assert_eq!(numbers(&mail, None), [3]);
        assert_eq!(numbers(&Wanted::default(), None), [2, 1, 3]);
    }
}
