//! Turns: what is decided about alerts and groups is decided by versions, side by side, and again where somebody else was first. A look at a
//! group of thousands takes long, and alerts that join it all the while would have it decided again and again: who decides again does so
//! alone on this node, and whoever begins meanwhile waits. Other nodes are not waited for.

use tokio::sync::{RwLock, RwLockWriteGuard};

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Turn(RwLock<()>);

impl Turn {
    /// Waits until nobody decides alone.
    pub(crate) async fn pass(&self) {
        drop(self.0.read().await);
    }

    /// For the first attempt the same; from the second on the turn is the caller's alone, as long as it holds what it is given.
    pub(crate) async fn take(&self, attempt: usize) -> Option<RwLockWriteGuard<'_, ()>> {
        if attempt > 1 {
            return Some(self.0.write().await);
        }
        self.pass().await;
        None
    }
}
