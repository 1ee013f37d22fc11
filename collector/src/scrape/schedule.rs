//! When targets are scraped: spread over the interval by their hash, so that neither many targets nor many servers ask at the
//! same moment, and the same after a restart. Pure.

use std::time::Duration;

use model::time::Timestamp;

/// Times this close to the regular ones are stored as those, which compresses better.
const TOLERANCE: Duration = Duration::from_millis(2);

/// How long a target waits for its first scrape.
pub(crate) fn offset(now: Timestamp, interval: Duration, key: u64, seed: u64) -> Duration {
    let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    let into = now.nanos().rem_euclid(i64::try_from(interval).unwrap_or(i64::MAX)).unsigned_abs();
    let place = (key ^ seed) % interval;
    Duration::from_nanos(if place >= into { place - into } else { interval - into + place })
}

/// The regular times of a target.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Regular(Option<Timestamp>);

impl Regular {
    /// The time that a scrape at `now` is stored under.
    pub(crate) fn at(&mut self, now: Timestamp, interval: Duration) -> Timestamp {
        let step = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1);
        let tolerance = TOLERANCE.min(interval / 100);
        let regular = self.0.map(|before| {
            let steps = (now.nanos() - before.nanos() + step / 2).div_euclid(step);
            Timestamp::from_nanos(before.nanos().saturating_add(steps.saturating_mul(step)))
        });
        let fits = |regular: &Timestamp| now.since(*regular).max(regular.since(now)) <= tolerance;
        let at = regular.filter(|regular| Some(*regular) != self.0 && fits(regular)).unwrap_or(now);
        self.0 = Some(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_close_to_regular_ones_are_regular() {
        let (mut regular, second) = (Regular::default(), Duration::from_secs(1));
        let at = Timestamp::from_millis;
        let stored: Vec<i64> = [1_000, 2_001, 2_999, 4_002, 5_003, 6_003, 9_004].map(|now| regular.at(at(now), second).millis()).into();
        assert_eq!(stored, [1_000, 2_000, 3_000, 4_000, 5_003, 6_003, 9_003], "beyond 2 ms a new grid begins; a gap keeps it");
    }

    proptest! {
        #[test]
        fn every_target_has_its_place_in_the_interval(now in 0i64..4_000_000_000_000_000_000, key in any::<u64>(), seed in any::<u64>(), secs in 1u64..600) {
            let interval = Duration::from_secs(secs);
            let wait = offset(Timestamp::from_nanos(now), interval, key, seed);
            prop_assert!(wait < interval);
            let first = (now as u64 + wait.as_nanos() as u64) % interval.as_nanos() as u64;
            prop_assert_eq!(first, (key ^ seed) % interval.as_nanos() as u64);
            let later = Timestamp::from_nanos(now).plus(wait);
            prop_assert_eq!(offset(later, interval, key, seed), Duration::ZERO, "it is the same after a restart");
        }

        #[test]
        fn stored_times_rise_and_are_near(steps in proptest::collection::vec(0i64..3_000, 1..30)) {
            let (mut regular, mut now, mut last) = (Regular::default(), 1_000_000i64, None);
            for step in steps {
                now += step + 500;
                let at = regular.at(Timestamp::from_millis(now), Duration::from_secs(1));
                prop_assert!((at.millis() - now).abs() <= 2);
                prop_assert!(last.is_none_or(|last| at > last));
                last = Some(at);
            }
        }
    }
}
