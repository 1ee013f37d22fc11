//! Token buckets: how fast a destination is spoken to, and how those that must wait are spread over the time to come. Pure: the moment is
//! an argument. A waiting row is given a moment of its own, behind the others of its lane and of the lanes before it; a page never queues
//! behind chat.

use std::time::Duration;

use model::time::Timestamp;
use model::work::Lane;

use crate::channels::RateLimit;

/// One destination's tokens, counted in whole nanoseconds: a bucket is its interval, and the moment at which it will be full again.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// The time in which one token grows.
    interval: Duration,
    /// How long an empty bucket with one token left takes to fill.
    depth: Duration,
    full_at: Timestamp,
    paused_until: Timestamp,
    /// The latest moment given to a waiting row, per lane.
    promised: [Timestamp; 3],
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: RateLimit) -> Self {
        let interval = Duration::try_from_secs_f64(1.0 / rate.per_second).unwrap_or(LONGEST).clamp(Duration::from_nanos(1), LONGEST);
        TokenBucket {
            interval,
            depth: interval.saturating_mul(rate.burst.saturating_sub(1)),
            full_at: Timestamp::EPOCH,
            paused_until: Timestamp::EPOCH,
            promised: [Timestamp::EPOCH; 3],
        }
    }

    /// Takes a token, or says when to come again: later than `now`.
    pub fn take(&mut self, lane: Lane, now: Timestamp) -> Result<(), Timestamp> {
        let earliest = self.full_at.minus(self.depth).max(self.paused_until);
        if earliest <= now {
            self.full_at = self.full_at.max(now).plus(self.interval);
            return Ok(());
        }
        let mine = usize::try_from(lane.number()).unwrap_or(2).min(2);
        let ahead = self.promised[..=mine].iter().copied().max().unwrap_or_default();
        let at = if ahead >= earliest { ahead.plus(self.interval) } else { earliest };
        self.promised[mine] = at;
        Err(whole_micros(at))
    }

    /// As [`TokenBucket::take`], but past those that wait already: whoever jumps the queue comes again when the next token grows.
    pub fn jump(&mut self, lane: Lane, now: Timestamp) -> Result<(), Timestamp> {
        let earliest = self.full_at.minus(self.depth).max(self.paused_until);
        if earliest <= now { self.take(lane, now) } else { Err(whole_micros(earliest)) }
    }

    /// Whether somebody was given a moment that lies ahead, or was given it so shortly before that he may still be on his way.
    pub fn is_waited_for(&self, now: Timestamp) -> bool {
        self.promised.iter().any(|promised| promised.plus(ON_ITS_WAY) > now)
    }

    /// Until when nothing goes out, where that lies ahead.
    pub fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.paused_until).filter(|until| *until > now)
    }

    /// How many tokens are promised already.
    pub fn ahead(&self, now: Timestamp) -> usize {
        let last = self.promised.iter().copied().max().unwrap_or_default();
        usize::try_from(last.since(now).as_nanos() / self.interval.as_nanos().max(1)).unwrap_or(usize::MAX)
    }

    /// How many tokens there are.
    pub fn tokens(&self, now: Timestamp) -> usize {
        let empty_at = now.plus(self.depth).plus(self.interval);
        if self.paused_until > now {
            return 0;
        }
        let free = empty_at.since(self.full_at.max(now)).as_nanos() / self.interval.as_nanos().max(1);
        usize::try_from(free).unwrap_or(usize::MAX)
    }

    /// Gives a token back that was not used.
    pub fn put_back(&mut self) {
        self.full_at = self.full_at.minus(self.interval);
    }

    /// Nothing goes out before `until`.
    pub fn pause(&mut self, until: Timestamp) {
        self.paused_until = self.paused_until.max(until);
    }
}

/// From the moment that a waiting row was given to its asking for the token.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// One message a day is the slowest.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Rounded up: the state store keeps microseconds and would come too early.
fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.plus(Duration::from_nanos(999)).micros())
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
    fn tokens_are_counted() {
        let mut bucket = TokenBucket::new(RateLimit { per_second: 2.0, burst: 3 });
        assert_eq!(bucket.tokens(START), 3);
        for left in [2, 1, 0] {
            bucket.take(Lane::Chat, START).unwrap();
            assert_eq!(bucket.tokens(START), left);
        }
        assert_eq!((bucket.tokens(at(499)), bucket.tokens(at(500)), bucket.tokens(at(9_000))), (0, 1, 3));
        bucket.pause(at(20_000));
        assert_eq!(bucket.tokens(at(9_000)), 0);
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
        assert_eq!(bucket.jump(Lane::Chat, START), Err(at(1000)), "past all of them");
        assert_eq!(bucket.jump(Lane::Chat, at(1000)), Ok(()));
    }

    /// Each lane waits behind its own and those before it, and behind none after it.
    #[test]
    fn pages_come_before_chat_and_chat_before_mail() {
        let mut bucket = TokenBucket::new(RateLimit { per_second: 1.0, burst: 1 });
        assert!(bucket.take(Lane::Mail, START).is_ok());
        let mut wait = |lane| bucket.take(lane, START).unwrap_err();
        assert_eq!([wait(Lane::Mail), wait(Lane::Mail)], [at(1000), at(2000)]);
        assert_eq!([wait(Lane::Chat), wait(Lane::Page), wait(Lane::Chat)], [at(1000), at(1000), at(2000)]);
        assert_eq!([wait(Lane::Mail), wait(Lane::Page)], [at(3000), at(2000)]);
    }

    #[test]
    fn a_pause_holds_everything() {
        let mut bucket = TokenBucket::new(RateLimit { per_second: 10.0, burst: 10 });
        bucket.pause(at(30_000));
        assert_eq!(bucket.take(Lane::Page, START), Err(at(30_000)));
        assert_eq!(bucket.take(Lane::Page, START), Err(at(30_100)));
        assert_eq!(bucket.take(Lane::Page, at(30_000)), Ok(()));
    }

    #[test]
    fn a_token_given_back_is_there_again() {
        let mut bucket = TokenBucket::new(RateLimit { per_second: 1.0, burst: 1 });
        assert!(bucket.take(Lane::Page, START).is_ok());
        bucket.put_back();
        assert!(bucket.take(Lane::Page, START).is_ok());
        assert!(bucket.take(Lane::Page, START).is_err());
    }

    #[test]
    fn whoever_comes_at_the_moment_given_is_served() {
        let mut bucket = TokenBucket::new(RateLimit { per_second: 3.0, burst: 1 });
        let mut now = START;
        for _ in 0..1_000 {
            assert_eq!(bucket.take(Lane::Page, now), Ok(()));
            now = bucket.take(Lane::Page, now).unwrap_err();
        }
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
