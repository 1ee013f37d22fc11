//! Waiting for a condition, never for time.

use std::time::{Duration, Instant};

/// Asks again and again until there is an answer. Panics with `what` when there is none for two minutes: the bound only ends a
/// hopeless wait.
pub async fn wait_for<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let (start, bound) = (Instant::now(), Duration::from_secs(120));
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < bound, "waited {bound:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
