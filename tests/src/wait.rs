//! Waiting for a condition, never for time.

use std::time::{Duration, Instant};

/// Asks again and again until there is an answer. Panics with `what` when there is none for two minutes.
pub async fn wait_for<T, F, Fut>(what: &str, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    wait_at_most(Duration::from_secs(120), what, &mut ask).await
}

/// The same with another bound: it only ends a hopeless wait.
pub async fn wait_at_most<T, F, Fut>(bound: Duration, what: &str, ask: &mut F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < bound, "waited {bound:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
