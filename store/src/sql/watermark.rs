//! The arrival watermark: a rule's question is asked when what was received before the end of its window is stored, instead of after a fixed
//! delay. In: a window. Out: the window that can be asked: the same after a short wait, or one that ends where the stored rows do, so that
//! rows that are still in a log neither fire nor resolve anything. What other nodes' logs hold is part of the lag that it is given.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::query::QueryError;
use model::time::{Clock, Span, Timestamp};

use crate::promql::arrivals::{Lag, stored_until};

/// So long the rows are waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether they are there.
const AGAIN: Duration = Duration::from_millis(20);
/// A window that would have to end more than this before it should is not asked for: rules fail then, which holds their alerts and is told.
const FURTHEST: Duration = Duration::from_secs(300);

/// How far the store is, by the logs.
pub struct Watermark {
    clock: Arc<dyn Clock>,
    lag: Lag,
    /// The newest moment that was waited for in vain, in nanoseconds: nobody else waits for it, or the rules of one moment would wait one
    /// after the other.
    in_vain: AtomicI64,
}

impl fmt::Debug for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watermark").finish_non_exhaustive()
    }
}

impl Watermark {
    /// By this clock, which is also that of the rows' arrival.
    pub fn new(clock: Arc<dyn Clock>, lag: Lag) -> Self {
        Watermark { clock, lag, in_vain: AtomicI64::new(i64::MIN) }
    }

    /// How much later than what is stored this moment is; zero where all that was received before it is there.
    pub fn missing(&self, at: Timestamp) -> Duration {
        // Nobody has received yet what is said to be of later.
        at.min(self.clock.now()).since(Timestamp::from_millis(stored_until(self.clock.now().millis(), &self.lag)))
    }

    /// How much earlier than asked for a question has to end, after a short wait; zero where all that was received before is stored.
    ///
    /// # Errors
    /// [`QueryError::Unavailable`] where the store is too far behind.
    pub async fn earlier(&self, to: Timestamp) -> Result<Duration, QueryError> {
        let waited = async {
            while !self.missing(to).is_zero() {
                tokio::time::sleep(AGAIN).await;
            }
        };
        let to = to.min(self.clock.now());
        let patience = if to.nanos() <= self.in_vain.load(Ordering::Relaxed) { Duration::ZERO } else { PATIENCE };
        if tokio::time::timeout(patience, waited).await.is_ok() {
            return Ok(Duration::ZERO);
        }
        self.in_vain.fetch_max(to.nanos(), Ordering::Relaxed);
        let missing = self.missing(to);
        if missing > FURTHEST {
            let behind = Span::secs(missing.as_secs());
            return Err(QueryError::Unavailable(format!(
                "what was received in the last {behind} is not stored yet: the log waits for ClickHouse"
            )));
        }
        Ok(missing)
    }

    /// The window that can be asked.
    ///
    /// # Errors
    /// [`QueryError::Unavailable`] where the store is too far behind.
    pub async fn reached(&self, from: Timestamp, to: Timestamp) -> Result<(Timestamp, Timestamp), QueryError> {
        let earlier = self.earlier(to).await?;
        Ok((from.minus(earlier), to.minus(earlier)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use model::time::SimulatedClock;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn earlier(secs: u64) -> Timestamp {
        NOW.minus(Duration::from_secs(secs))
    }

    fn watermark(behind: &Arc<Mutex<Option<Duration>>>) -> Watermark {
        let behind = behind.clone();
        Watermark::new(Arc::new(SimulatedClock::new(NOW)), Box::new(move || *behind.lock().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_received_is_waited_for_and_what_does_not_come_is_left_to_the_next_time() {
        let behind = Arc::new(Mutex::new(None));
        let watermark = watermark(&behind);
        let begun = tokio::time::Instant::now();
        let window = (earlier(60), NOW);
        assert_eq!(watermark.reached(window.0, window.1).await.unwrap(), window, "nothing is in the log");
        *behind.lock().unwrap() = Some(Duration::from_secs(30));
        let past = (earlier(90), earlier(30));
        assert_eq!(watermark.reached(past.0, past.1).await.unwrap(), past, "a window of the past is over");
        assert!(begun.elapsed().is_zero(), "and neither waits");
        let before = (earlier(61), earlier(1));
        for asked in ["one waits", "others that ask about the same moment do not"] {
            assert_eq!(
                watermark.reached(before.0, before.1).await.unwrap(),
                (earlier(90), earlier(30)),
                "it ends where the stored rows do"
            );
            assert_eq!(begun.elapsed(), PATIENCE, "{asked}");
        }
        let (stored, begun) = (behind.clone(), tokio::time::Instant::now());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            *stored.lock().unwrap() = None;
        });
        assert_eq!(watermark.reached(window.0, window.1).await.unwrap(), window, "it came in time");
        assert!(begun.elapsed() < Duration::from_secs(1));
        *behind.lock().unwrap() = Some(Duration::from_secs(20));
        let later = NOW.plus(Duration::from_secs(3_600));
        assert_eq!(watermark.earlier(later).await.unwrap(), Duration::from_secs(20), "what is not yet is not waited for");
        *behind.lock().unwrap() = None;
        assert_eq!(watermark.earlier(later).await.unwrap(), Duration::ZERO);
        *behind.lock().unwrap() = Some(Duration::from_secs(301));
        assert_eq!(watermark.earlier(earlier(301)).await.unwrap(), Duration::ZERO);
        let error = watermark.reached(window.0, window.1).await.unwrap_err().to_string();
        assert!(error.contains("what was received in the last 5m1s is not stored yet"), "{error}");
    }
}
