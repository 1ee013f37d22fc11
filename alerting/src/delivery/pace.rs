//! Token buckets, one a receiver. Pure: the moment is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use model::time::Timestamp;

use crate::channels::RateLimit;

/// The buckets.
#[derive(Clone, Debug)]
pub struct Pace {
    rates: BTreeMap<String, RateLimit>,
    buckets: BTreeMap<String, (f64, Timestamp)>,
}

impl Pace {
    /// All full.
    pub fn new(rates: BTreeMap<String, RateLimit>) -> Self {
        Pace { rates, buckets: BTreeMap::new() }
    }
    /// Takes a token, or says how long until there is one.
    pub fn take(&mut self, receiver: &str, now: Timestamp) -> Result<(), Duration> {
        let Some(rate) = self.rates.get(receiver) else { return Ok(()) };
        let burst = f64::from(rate.burst);
        let (tokens, at) = self.buckets.get(receiver).copied().unwrap_or((burst, now));
        let tokens = (tokens + now.since(at).as_secs_f64() * rate.per_second).min(burst);
        if tokens >= 1.0 {
            self.buckets.insert(receiver.to_owned(), (tokens - 1.0, now));
            return Ok(());
        }
        self.buckets.insert(receiver.to_owned(), (tokens, now));
        Err(Duration::from_secs_f64((1.0 - tokens) / rate.per_second).min(Duration::from_secs(3600)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_a_second() {
        let rates = BTreeMap::from([("slack".to_owned(), RateLimit { per_second: 1.0, burst: 2 })]);
        let mut pace = Pace::new(rates);
        let now = Timestamp::from_secs(100);
        assert_eq!((pace.take("slack", now), pace.take("slack", now)), (Ok(()), Ok(())));
        assert_eq!(pace.take("slack", now), Err(Duration::from_secs(1)));
        assert_eq!(pace.take("slack", now.plus(Duration::from_secs(1))), Ok(()));
        assert_eq!(pace.take("unknown", now), Ok(()));
    }
}
