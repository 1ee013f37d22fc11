//! Token buckets: how fast a destination is spoken to, and how those that must wait are spread over the time to come. Pure: the moment is
//! an argument. A waiting row is given a moment of its own, behind the others of its lane and of the lanes before it; a page never queues
//! behind chat.

use std::time::Duration;

use model::time::Timestamp;
use model::work::Lane;

use crate::channels::RateLimit;

/// One destination's tokens.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Option<Timestamp>,
    paused_until: Timestamp,
    /// The latest moment given to a waiting row, per lane.
    promised: [Timestamp; 3],
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: RateLimit) -> Self {
        TokenBucket {
            per_second: rate.per_second.max(1e-6),
            burst: f64::from(rate.burst).max(1.0),
            tokens: f64::from(rate.burst).max(1.0),
            at: None,
            paused_until: Timestamp::EPOCH,
            promised: [Timestamp::EPOCH; 3],
        }
    }

    /// Takes a token, or says when to come again.
    pub fn take(&mut self, lane: Lane, now: Timestamp) -> Result<(), Timestamp> {
        self.refill(now);
        if self.tokens >= 1.0 && self.paused_until <= now {
            self.tokens -= 1.0;
            return Ok(());
        }
        let earliest = now.plus(self.time_for(1.0 - self.tokens)).max(self.paused_until);
        let mine = usize::try_from(lane.number()).unwrap_or(2).min(2);
        let ahead = self.promised[..=mine].iter().copied().max().unwrap_or_default();
        let at = if ahead >= earliest { ahead.plus(self.time_for(1.0)) } else { earliest };
        self.promised[mine] = at;
        Err(at)
    }

    /// Gives a token back that was not used.
    pub fn put_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }

    /// Nothing goes out before `until`.
    pub fn pause(&mut self, until: Timestamp) {
        self.paused_until = self.paused_until.max(until);
    }

    fn refill(&mut self, now: Timestamp) {
        let gone = self.at.map_or(Duration::ZERO, |at| now.since(at));
        self.tokens = (self.tokens + gone.as_secs_f64() * self.per_second).min(self.burst);
        // A clock that steps back must not earn tokens twice.
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
    }

    fn time_for(&self, tokens: f64) -> Duration {
        Duration::try_from_secs_f64(tokens.max(0.0) / self.per_second).unwrap_or(Duration::from_secs(3600))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_772_000_000);

    fn at(millis: u64) -> Timestamp {
        START.plus(Duration::from_millis(millis))
    }

    #[test]
    fn a_burst_passes_and_the_rest_is_spread() {
        let mut bucket = TokenBucket::new(RateLimit { per_second: 2.0, burst: 3 });
        for _ in 0..3 {
            assert_eq!(bucket.take(Lane::Chat, START), Ok(()));
        }
        let waits: Vec<_> = (0..3).map(|_| bucket.take(Lane::Chat, START)).collect();
        assert_eq!(waits, [Err(at(500)), Err(at(1000)), Err(at(1500))]);
        assert_eq!(bucket.take(Lane::Chat, at(500)), Ok(()));
    }

    #[test]
    fn a_page_never_queues_behind_chat() {
        let mut bucket = TokenBucket::new(RateLimit { per_second: 1.0, burst: 1 });
        assert!(bucket.take(Lane::Chat, START).is_ok());
        for _ in 0..50 {
            assert!(bucket.take(Lane::Chat, START).is_err());
        }
        assert_eq!(bucket.take(Lane::Page, START), Err(at(1000)));
        assert_eq!(bucket.take(Lane::Mail, START), Err(at(51_000)));
    }

    #[test]
    fn a_pause_holds_everything() {
        let mut bucket = TokenBucket::new(RateLimit { per_second: 10.0, burst: 10 });
        bucket.pause(at(30_000));
        assert_eq!(bucket.take(Lane::Page, START), Err(at(30_000)));
        assert_eq!(bucket.take(Lane::Page, START), Err(at(30_100)));
        assert_eq!(bucket.take(Lane::Page, at(30_000)), Ok(()));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(steps in prop::collection::vec(0u64..2_000, 1..200), rate in 1u32..20, burst in 1u32..20) {
            let mut bucket = TokenBucket::new(RateLimit { per_second: f64::from(rate), burst });
            let (mut now, mut taken) = (0u64, 0u32);
            for step in steps {
                now += step;
                match bucket.take(Lane::Page, at(now)) {
                    Ok(()) => taken += 1,
                    Err(next) => prop_assert!(next > at(now)),
                }
            }
            let allowed = f64::from(burst) + f64::from(rate) * now as f64 / 1000.0;
            prop_assert!(f64::from(taken) <= allowed + 1e-6, "{taken} > {allowed}");
        }
    }
}
