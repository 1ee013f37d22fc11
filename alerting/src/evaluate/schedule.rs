//! When groups are evaluated: at multiples of their interval, each shifted by a hash of its name, as Prometheus does. Pure.

use std::time::Duration;

use model::labels::Labels;
use model::time::Timestamp;

/// The rhythm of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    interval: i64,
    offset: i64,
}

impl Rhythm {
    /// Of a group; an interval of 0 counts as 1 ms.
    pub fn new(interval: Duration, source: &str, group: &str) -> Self {
        let interval = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1_000_000);
        let name: Labels = [("source", source), ("group", group)].into_iter().collect();
        // Whole milliseconds: PromQL knows no finer time.
        let offset = (name.fingerprint() % (interval as u64)) as i64;
        Rhythm { interval, offset: offset - offset % 1_000_000 }
    }
    /// The newest tick at or before a moment.
    pub fn tick(&self, now: Timestamp) -> Timestamp {
        let shifted = now.nanos().saturating_sub(self.offset);
        Timestamp::from_nanos(shifted - shifted.rem_euclid(self.interval) + self.offset)
    }
    /// The first tick after a moment.
    pub fn next(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_nanos(self.tick(now).nanos().saturating_add(self.interval))
    }
    /// How many ticks lie between two ticks, both left out.
    pub fn between(&self, earlier: Timestamp, later: Timestamp) -> u64 {
        let steps = later.nanos().saturating_sub(earlier.nanos()) / self.interval;
        u64::try_from(steps - 1).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ticks_are_evenly_spaced_and_never_in_the_future(millis in 1u64..600_000, now in 0i64..4_000_000_000_000_000_000, name in "[a-z]{1,8}") {
            let rhythm = Rhythm::new(Duration::from_millis(millis), "file:a.yaml", &name);
            let now = Timestamp::from_nanos(now);
            let (tick, next) = (rhythm.tick(now), rhythm.next(now));
            prop_assert!(tick <= now && now < next);
            prop_assert_eq!(next.since(tick), Duration::from_millis(millis));
            prop_assert_eq!(rhythm.tick(tick), tick);
            prop_assert_eq!(rhythm.between(tick, next), 0);
            prop_assert_eq!(tick.nanos() % 1_000_000, 0);
        }
    }

    #[test]
    fn ticks_left_out_are_counted() {
        let rhythm = Rhythm::new(Duration::from_secs(15), "s", "g");
        let tick = rhythm.tick(Timestamp::from_secs(1_000_000));
        assert_eq!(rhythm.between(tick, tick.plus(Duration::from_secs(60))), 3);
    }
}
