//! Which versions of a service appeared when, out of the resource attribute `service.version` of its spans. In: when each version was
//! seen, five minutes at a time. Out: the moments at which one began where another was running. Pure; never fails.

use std::collections::BTreeMap;
use std::time::Duration;

use clickhouse::Row;
use model::evidence::VersionChange;
use model::time::Timestamp;
use serde::Deserialize;

/// How far before the first change is looked for what ran until then.
pub const BASELINE: Duration = Duration::from_secs(3_600);
/// A version that was silent for this long, while another one ran, appears again: a rollback.
const ABSENCE: Duration = Duration::from_secs(600);

/// The statement; its rows are [`SeenRow`]. The latest win where there are too many.
pub const VERSIONS: &str = "SELECT toString(service) AS service_name, if(resource['deployment.environment.name'] != '', \
     resource['deployment.environment.name'], resource['deployment.environment']) AS place, resource['service.version'] AS release, \
     toUnixTimestamp64Nano(min(ts)) AS first_seen, toUnixTimestamp64Nano(max(ts)) AS last_seen FROM spans \
     WHERE {within} AND release != '' GROUP BY service_name, place, release, toStartOfFiveMinutes(ts) ORDER BY first_seen DESC LIMIT 100000";

/// One version within one stretch of five minutes; times in nanoseconds.
#[derive(Row, Deserialize, Clone, Debug)]
pub struct SeenRow {
    pub service_name: String,
    pub place: String,
    pub release: String,
    pub first_seen: i64,
    pub last_seen: i64,
}

/// The changes from `from` on, in order of time. A service that begins with no other version before it tells nothing: it may just
/// have been idle.
pub fn changes(mut seen: Vec<SeenRow>, from: Timestamp) -> Vec<VersionChange> {
    seen.sort_by(|a, b| (a.first_seen, &a.service_name, &a.release).cmp(&(b.first_seen, &b.service_name, &b.release)));
    let mut last: BTreeMap<(String, String), BTreeMap<String, i64>> = BTreeMap::new();
    let mut found = Vec::new();
    let absence = i64::try_from(ABSENCE.as_nanos()).unwrap_or(i64::MAX);
    for row in seen {
        let versions = last.entry((row.service_name.clone(), row.place.clone())).or_default();
        let own = versions.get(&row.release).copied();
        let other = versions.iter().filter(|(version, _)| **version != row.release).max_by_key(|(_, at)| **at);
        if let Some((previous, at)) = other
            && own.is_none_or(|own| row.first_seen.saturating_sub(own) >= absence && *at > own)
            && row.first_seen >= from.nanos()
        {
            found.push(VersionChange {
                service: row.service_name,
                environment: row.place,
                version: row.release.clone(),
                previous: previous.clone(),
                first_seen: Timestamp::from_nanos(row.first_seen),
            });
        }
        versions.insert(row.release, own.unwrap_or(i64::MIN).max(row.last_seen));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `version` ran from minute to minute.
    fn ran(service: &str, version: &str, from: i64, to: i64) -> Vec<SeenRow> {
        const MINUTE: i64 = 60_000_000_000;
        let stretch = |begin: i64| SeenRow {
            service_name: service.into(),
            place: "production".into(),
            release: version.into(),
            first_seen: begin * MINUTE,
            last_seen: (begin + 5).min(to) * MINUTE,
        };
        (from..to).step_by(5).map(stretch).collect()
    }

    fn told(seen: Vec<Vec<SeenRow>>, from_minute: i64) -> Vec<String> {
        let from = Timestamp::from_secs(from_minute * 60);
        let mut rows: Vec<SeenRow> = seen.into_iter().flatten().collect();
        rows.reverse();
        let told = changes(rows, from);
        told.iter().map(|c| format!("{} {}>{} {}", c.service, c.previous, c.version, c.first_seen.millis() / 60_000)).collect()
    }

    #[test]
    fn a_rollout_and_a_rollback_are_changes_and_idleness_is_none() {
        let none: [&str; 0] = [];
        assert_eq!(told(vec![ran("cart", "1", 0, 100)], 0), none, "nothing changed");
        assert_eq!(told(vec![ran("cart", "1", 0, 20), ran("cart", "1", 60, 90)], 0), none, "idle for a while");
        assert_eq!(told(vec![ran("cart", "1", 0, 50), ran("mail", "9", 60, 90)], 0), none, "another service");
        // Rolled out over eight minutes.
        assert_eq!(told(vec![ran("cart", "1", 0, 48), ran("cart", "2", 40, 90)], 0), ["cart 1>2 40"]);
        // And back again.
        let back = || vec![ran("cart", "1", 0, 40), ran("cart", "2", 40, 60), ran("cart", "1", 58, 90)];
        assert_eq!(told(back(), 0), ["cart 1>2 40", "cart 2>1 58"]);
        assert_eq!(told(back(), 50), ["cart 2>1 58"], "what came before is only what ran until then");
        // Two at the same time are no change after the first; a third one is.
        let two = vec![ran("cart", "1", 0, 90), ran("cart", "2", 10, 90), ran("cart", "3", 70, 90)];
        assert_eq!(told(two, 5), ["cart 1>2 10", "cart 2>3 70"]);
    }
}
