//! Sightings: arrivals of one kind of error, put together; and what an issue learns from them. In: arrivals, an issue. Out: sightings,
//! the issue with newer facts. Pure.
//!
//! A client's clock may be ahead: an event counts as seen no later than it was stored.

use std::collections::BTreeMap;
use std::time::Duration;

use model::error_events::Arrival;
use model::fingerprint::Fingerprint;
use model::issue::{Issue, ReleaseSeen};
use model::tenant::TenantId;
use model::time::Timestamp;

/// Records keep the newest event's time up to so much late, so that a busy issue is not written all the time.
pub const LATE: Duration = Duration::from_secs(60);
/// Services and releases that an issue names.
pub const NAMES: usize = 50;

/// What was newly seen of one kind of error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Whose.
    pub tenant: TenantId,
    /// Which kind.
    pub fingerprint: Fingerprint,
    /// The arrival with the newest event: it is asked what the error says.
    pub newest: u64,
    /// Events per service.
    pub services: BTreeMap<String, u64>,
    /// First and last event of each release; an empty name: none named.
    pub releases: BTreeMap<String, (Timestamp, Timestamp)>,
    /// The first event.
    pub first_seen: Timestamp,
    /// The last event.
    pub last_seen: Timestamp,
}

impl Sighting {
    /// The service with most of the events.
    pub fn main_service(&self) -> &str {
        self.services.iter().max_by_key(|(_, events)| **events).map_or("", |(service, _)| service.as_str())
    }
}

/// Arrivals by kind, in the order in which the kinds first came.
pub fn sightings(arrivals: &[Arrival]) -> Vec<Sighting> {
    let mut places: BTreeMap<(TenantId, Fingerprint), usize> = BTreeMap::new();
    let mut found: Vec<Sighting> = Vec::new();
    for arrival in arrivals {
        let first = arrival.first_seen.min(arrival.stored);
        let last = arrival.last_seen.min(arrival.stored);
        let place = *places.entry((arrival.tenant.clone(), arrival.fingerprint)).or_insert_with(|| {
            found.push(Sighting {
                tenant: arrival.tenant.clone(),
                fingerprint: arrival.fingerprint,
                newest: arrival.id,
                services: BTreeMap::new(),
                releases: BTreeMap::new(),
                first_seen: first,
                last_seen: last,
            });
            found.len() - 1
        });
        let seen = &mut found[place];
        if last > seen.last_seen {
            seen.newest = arrival.id;
        }
        (seen.first_seen, seen.last_seen) = (seen.first_seen.min(first), seen.last_seen.max(last));
        *seen.services.entry(arrival.service.clone()).or_default() += arrival.events;
        let release = seen.releases.entry(arrival.release.clone()).or_insert((first, last));
        *release = (release.0.min(first), release.1.max(last));
    }
    found
}

/// Adds a sighting's facts to the issue that has its fingerprint. Says whether there is anything new that is worth writing down.
pub fn observe(issue: &mut Issue, seen: &Sighting) -> bool {
    let mut news = times(issue, seen);
    for service in seen.services.keys().filter(|service| !service.is_empty()) {
        if issue.services.len() < NAMES && !issue.services.contains(service) {
            issue.services.push(service.clone());
            news = true;
        }
    }
    for (release, (first, last)) in seen.releases.iter().filter(|(release, _)| !release.is_empty()) {
        news |= saw_release(issue, &ReleaseSeen { release: release.clone(), first_seen: *first, last_seen: *last });
    }
    news
}

fn times(issue: &mut Issue, seen: &Sighting) -> bool {
    let Some(group) = issue.groups.iter_mut().find(|group| group.fingerprint == seen.fingerprint) else { return false };
    let news = seen.first_seen < group.first_seen || seen.last_seen >= group.last_seen.plus(LATE);
    if news {
        group.first_seen = group.first_seen.min(seen.first_seen);
        group.last_seen = group.last_seen.max(seen.last_seen);
    }
    news
}

/// Adds what is known of one release; the release seen longest ago makes room.
pub fn saw_release(issue: &mut Issue, seen: &ReleaseSeen) -> bool {
    let news = match issue.releases.iter_mut().find(|known| known.release == seen.release) {
        Some(known) => {
            let news = seen.first_seen < known.first_seen || seen.last_seen >= known.last_seen.plus(LATE);
            if news {
                known.first_seen = known.first_seen.min(seen.first_seen);
                known.last_seen = known.last_seen.max(seen.last_seen);
            }
            news
        }
        None => {
            let earlier = issue.releases.iter().all(|known| seen.first_seen < known.first_seen);
            if issue.first_release.is_none() || (earlier && issue.releases.len() < NAMES) {
                issue.first_release = Some(seen.release.clone());
            }
            issue.releases.push(seen.clone());
            true
        }
    };
    if issue.releases.len() > NAMES
        && let Some(oldest) = (0..issue.releases.len()).min_by_key(|at| issue.releases[*at].last_seen)
    {
        issue.releases.remove(oldest);
    }
    issue.releases.sort_by_key(|known| known.first_seen);
    news
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issues::tests::{arrival, issue};

    #[test]
    fn arrivals_of_one_kind_become_one_sighting() {
        let other = Arrival { tenant: TenantId::new("other").unwrap(), ..arrival(1, 7, 100) };
        let second = Arrival { id: 2, service: "mail".into(), release: "1.1".into(), events: 5, ..arrival(2, 7, 160) };
        let found = sightings(&[arrival(1, 7, 100), other, second, arrival(3, 8, 90)]);
        let line: Vec<_> = found.iter().map(|one| (one.tenant.as_str(), one.fingerprint.0, one.newest)).collect();
        assert_eq!(line, [("default", 7, 2), ("other", 7, 1), ("default", 8, 3)]);
        assert_eq!((found[0].first_seen, found[0].last_seen), (Timestamp::from_secs(100), Timestamp::from_secs(160)));
        assert_eq!(found[0].main_service(), "mail");
        assert_eq!(found[0].releases.len(), 2);
    }

    #[test]
    fn a_clock_ahead_does_not_see_the_future() {
        let ahead = Arrival { last_seen: Timestamp::from_secs(9_999), ..arrival(1, 7, 100) };
        assert_eq!(sightings(&[ahead])[0].last_seen, arrival(1, 7, 100).stored);
    }

    #[test]
    fn an_issue_is_written_for_news_and_once_a_minute() {
        let mut known = issue(1, 7, 100);
        let seen = |secs, release: &str| sightings(&[Arrival { release: release.into(), ..arrival(1, 7, secs) }]).remove(0);
        assert!(!observe(&mut known, &seen(130, "")));
        assert_eq!(known.last_seen(), Some(Timestamp::from_secs(100)));
        assert!(observe(&mut known, &seen(160, "")));
        assert_eq!(known.last_seen(), Some(Timestamp::from_secs(160)));
        assert!(observe(&mut known, &seen(50, "")), "an earlier one than all before");
        assert_eq!(known.first_seen(), Some(Timestamp::from_secs(50)));
        assert!(observe(&mut known, &seen(161, "2.0")) && !observe(&mut known, &seen(162, "2.0")));
        assert!(observe(&mut known, &seen(60, "1.0")), "it came late and is the first");
        assert_eq!((known.first_release.as_deref(), known.last_release()), (Some("1.0"), Some("2.0")));
        for n in 0..200 {
            observe(&mut known, &seen(1_000 + n, &format!("3.{n}")));
        }
        assert_eq!((known.releases.len(), known.first_release.as_deref(), known.last_release()), (NAMES, Some("1.0"), Some("3.199")));
    }
}
