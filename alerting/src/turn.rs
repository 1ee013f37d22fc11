//! Turns: what is decided about alerts and groups is decided by versions, side by side, and again where somebody else was first. A look at a
//! group of thousands takes long, and alerts that join it all the while would have it decided again and again: whoever has to decide again
//! has the turn alone on this node until that is written, and who would begin meanwhile waits. What had begun before ends in milliseconds.
//! Other nodes are not waited for.

use tokio::sync::{RwLock, RwLockWriteGuard};

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Turn(RwLock<()>);

/// A turn that is one's own.
pub(crate) type Alone<'a> = Option<RwLockWriteGuard<'a, ()>>;

impl Turn {
    /// Waits until nobody decides alone.
    pub(crate) async fn pass(&self) {
        drop(self.0.read().await);
    }

    /// Before the first attempt the same; from the second on the turn is the caller's alone, over all further attempts, as long as it keeps
    /// `alone`.
    pub(crate) async fn wait<'a>(&'a self, attempt: usize, alone: &mut Alone<'a>) {
        if attempt == 1 {
            self.pass().await;
        } else if alone.is_none() {
            *alone = Some(self.0.write().await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody decides for a long time; others begin all the while.
    #[tokio::test]
    async fn who_decides_again_is_disturbed_by_nobody_who_comes_later() {
        let (turn, version) = (Turn::default(), std::sync::atomic::AtomicU64::new(0));
        let read = || version.load(std::sync::atomic::Ordering::SeqCst);
        let look = async {
            let mut alone = None;
            for attempt in 1.. {
                turn.wait(attempt, &mut alone).await;
                let before = read();
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                if read() == before {
                    return attempt;
                }
            }
            0
        };
        let joins = async {
            loop {
                turn.pass().await;
                tokio::task::yield_now().await;
                version.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        };
        tokio::select! {
            attempts = look => assert!((2..=3).contains(&attempts), "{attempts} attempts"),
            () = joins => {}
        }
    }
}
