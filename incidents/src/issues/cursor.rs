//! Where the follower stands: the durable place in the table of arrivals, the running number of issues. A place moves in the same
//! commit as what its arrivals caused, so each arrival counts once, whoever is killed when.
//!
//! An arrival may become visible a little after one that was stored later. So the place is not the newest arrival but a moment
//! [`OVERLAP`] before it, with the ids of the arrivals since then that are done.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use model::error_events::Arrival;
use model::labels::Labels;
use model::state::{Commit, Entity, Expect, Records, StateError, Versioned, load};
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How much later an arrival may become visible than one that was stored after it.
pub const OVERLAP: Duration = Duration::from_secs(120);
/// How many ids a place remembers; beyond it the overlap is shorter.
pub const MOST_IDS: usize = 10_000;

/// A count that is to be added to a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Whose.
    pub tenant: TenantId,
    /// Of which series, `__name__` included.
    pub labels: Labels,
    /// When.
    pub at: Timestamp,
    /// How many.
    pub count: u64,
}

/// A place in the table of arrivals. State kind `issue_place`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Places are nobody's.
    pub tenant: TenantId,
    /// Drawn once: what names the counts of this place, however often a state store is made anew.
    pub lineage: String,
    /// How many times arrivals were handled.
    pub batch: u64,
    /// Arrivals that were stored before are done.
    pub from: Timestamp,
    /// Arrivals since then that are done too: when they were stored, in milliseconds, and their ids.
    pub done: Vec<(i64, u64)>,
    /// Counts that this batch added and that may not have been written yet.
    pub unsent: Vec<Delta>,
}

impl Place {
    /// The beginning.
    pub fn start(lineage: u128) -> Self {
        Place {
            tenant: TenantId::default(),
            lineage: format!("{lineage:032x}"),
            batch: 0,
            from: Timestamp::EPOCH,
            done: Vec::new(),
            unsent: Vec::new(),
        }
    }

    /// The place at its newest arrival, without the overlap; `None` where it is there already.
    pub fn rested(&self) -> Option<Self> {
        let newest = self.done.iter().map(|(stored, _)| *stored).max()?;
        let done: Vec<(i64, u64)> = self.done.iter().copied().filter(|(stored, _)| *stored == newest).collect();
        (done.len() < self.done.len()).then(|| Place { from: Timestamp::from_millis(newest), done, ..self.clone() })
    }

    /// Those that are not done, of arrivals as they were read from this place on.
    pub fn fresh(&self, read: &[Arrival], most: usize) -> Vec<Arrival> {
        let done: HashSet<u64> = self.done.iter().map(|(_, id)| *id).collect();
        read.iter().filter(|arrival| !done.contains(&arrival.id)).take(most).cloned().collect()
    }

    /// The place after `fresh` of what was read are done; `unsent` is what they count.
    pub fn after(&self, read: &[Arrival], fresh: &[Arrival], unsent: Vec<Delta>) -> Self {
        let mut done = self.done.clone();
        done.extend(fresh.iter().map(|arrival| (arrival.stored.millis(), arrival.id)));
        done.sort_unstable();
        let handled: HashSet<u64> = done.iter().map(|(_, id)| *id).collect();
        let newest = fresh.iter().map(|arrival| arrival.stored).max().unwrap_or(self.from);
        let mut from = self.from.max(newest.minus(OVERLAP));
        if done.len() > MOST_IDS {
            from = from.max(Timestamp::from_millis(done[done.len() - MOST_IDS].0));
        }
        // Not beyond the first one that is not done yet, if not all were taken.
        let waiting = read.iter().find(|arrival| !handled.contains(&arrival.id)).map(|arrival| arrival.stored);
        from = waiting.map_or(from, |waiting| from.min(waiting));
        done.retain(|(stored, _)| *stored >= from.millis());
        Place { tenant: self.tenant.clone(), lineage: self.lineage.clone(), batch: self.batch + 1, from, done, unsent }
    }
}

impl Entity for Place {
    const KIND: &'static str = "issue_place";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        "error_arrivals".to_owned()
    }
    fn status(&self) -> &'static str {
        "live"
    }
}

/// The numbers of a tenant's issues. State kind `issue_counter`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueCounter {
    /// Whose.
    pub tenant: TenantId,
    /// The number of the newest issue.
    pub last: u64,
    /// How many there are.
    pub live: u64,
}

impl Entity for IssueCounter {
    const KIND: &'static str = "issue_counter";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.tenant.to_string()
    }
    fn status(&self) -> &'static str {
        "live"
    }
}

/// The counters that one commit changes.
#[derive(Default)]
pub struct Counters(BTreeMap<TenantId, (IssueCounter, Expect)>);

impl Counters {
    /// A tenant's counter, read once.
    pub async fn of(&mut self, store: &(impl Records + ?Sized), tenant: &TenantId) -> Result<&mut IssueCounter, StateError> {
        if !self.0.contains_key(tenant) {
            let found: Option<Versioned<IssueCounter>> = load(store, tenant, tenant.as_str()).await?;
            let none = IssueCounter { tenant: tenant.clone(), last: 0, live: 0 };
            let read = found.map_or((none, Expect::New), |found| (found.entity, Expect::Version(found.version)));
            self.0.insert(tenant.clone(), read);
        }
        let none = || (IssueCounter { tenant: tenant.clone(), last: 0, live: 0 }, Expect::New);
        Ok(&mut self.0.entry(tenant.clone()).or_insert_with(none).0)
    }

    /// Writes them.
    pub fn write(&self, commit: &mut Commit) -> Result<(), StateError> {
        self.0.values().try_for_each(|(counter, expect)| commit.put(counter, *expect))
    }

    /// The largest number of issues of a tenant.
    pub fn most(&self) -> u64 {
        self.0.values().map(|(counter, _)| counter.live).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issues::tests::arrival;
    use proptest::prelude::*;

    fn stored(id: u64, secs: i64) -> Arrival {
        Arrival { stored: Timestamp::from_secs(secs), ..arrival(id, id, secs) }
    }

    #[test]
    fn what_becomes_visible_late_is_still_fresh() {
        let start = Place::start(1);
        let first = [stored(1, 1_000), stored(3, 1_100)];
        let place = start.after(&first, &start.fresh(&first, 100), Vec::new());
        assert_eq!((place.from, place.done.clone()), (Timestamp::from_secs(980), vec![(1_000_000, 1), (1_100_000, 3)]));
        let second = [stored(1, 1_000), stored(2, 1_050), stored(3, 1_100)];
        let fresh = place.fresh(&second, 100);
        assert_eq!(fresh.iter().map(|arrival| arrival.id).collect::<Vec<_>>(), [2]);
        let place = place.after(&second, &fresh, Vec::new());
        assert!(place.fresh(&second, 100).is_empty());
        let third = [stored(3, 1_100), stored(4, 1_300)];
        let place = place.after(&third, &place.fresh(&third, 100), Vec::new());
        assert_eq!((place.from, place.done), (Timestamp::from_secs(1_180), vec![(1_300_000, 4)]));
    }

    #[test]
    fn at_rest_only_the_newest_is_remembered() {
        let start = Place::start(1);
        assert_eq!(start.rested(), None);
        let read = [stored(1, 1_000), stored(2, 1_100), stored(3, 1_100)];
        let rested = start.after(&read, &read, Vec::new()).rested().unwrap();
        assert_eq!((rested.from, rested.done.len()), (Timestamp::from_secs(1_100), 2));
        assert!(rested.fresh(&read[1..], 10).is_empty());
        assert_eq!(rested.rested(), None);
    }

    proptest! {
        /// Whatever order arrivals become visible in, within the overlap, and however few are taken at a time: each is taken once.
        #[test]
        fn every_arrival_is_taken_once(times in prop::collection::vec((0i64..600, 0i64..100), 1..60), most in 1usize..8) {
            let all: Vec<(Arrival, i64)> =
                times.iter().enumerate().map(|(id, (at, late))| (stored(id as u64, 10_000 + at), 10_000 + at + late)).collect();
            let (mut place, mut taken) = (Place::start(1), Vec::new());
            for now in (10_000..10_900).step_by(7) {
                loop {
                    let mut visible: Vec<Arrival> =
                        all.iter().filter(|(one, shown)| *shown <= now && one.stored >= place.from).map(|(one, _)| one.clone()).collect();
                    visible.sort_by_key(|one| (one.stored, one.id));
                    visible.truncate(place.done.len() + most);
                    let fresh = place.fresh(&visible, most);
                    if fresh.is_empty() {
                        break;
                    }
                    taken.extend(fresh.iter().map(|one| one.id));
                    place = place.after(&visible, &fresh, Vec::new());
                }
            }
            taken.sort_unstable();
            prop_assert_eq!(taken, (0..times.len() as u64).collect::<Vec<_>>());
        }
    }
}
