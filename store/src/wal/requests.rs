//! The hashes of accepted requests, so that a resend is acknowledged without a second write. A resend that arrives while the first
//! is still on its way to the disk waits for the first's outcome: if that one fails, it takes its place. Times are
//! [`model::time::Clock::steady`]: a clock that is set makes nothing forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::tenant::TenantId;
use tokio::sync::watch;

use super::lock;

/// Tenant and hash.
pub type Key = (TenantId, u128);

/// All remembered requests.
#[derive(Debug)]
pub struct Requests {
    window: Duration,
    cap: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<Key, Entry>,
    /// In the order of acceptance, for forgetting.
    accepted: VecDeque<(Duration, Key)>,
}

#[derive(Debug)]
enum Entry {
    /// On its way to the disk; tells whether it arrived.
    Pending(watch::Receiver<Option<bool>>),
    /// Accepted at this time.
    Accepted(Duration),
}

/// What to do with a request.
#[derive(Debug)]
pub enum Admission {
    /// It is the first: write it, then say so.
    First(Claim),
    /// It was accepted before.
    Duplicate,
    /// The first is on its way; ask again when this says that it failed.
    Wait(watch::Receiver<Option<bool>>),
}

/// The right to write a request. Dropped without [`Claim::accepted`] it counts as failed.
#[derive(Debug)]
pub struct Claim {
    requests: Arc<Requests>,
    key: Option<Key>,
    outcome: watch::Sender<Option<bool>>,
}

impl Requests {
    /// Remembers at most `cap` hashes for `window`.
    pub fn new(window: Duration, cap: usize) -> Arc<Self> {
        Arc::new(Requests { window, cap, inner: Mutex::default() })
    }

    /// Whether the request is new.
    pub fn admit(self: &Arc<Self>, key: Key, now: Duration) -> Admission {
        let mut inner = lock(&self.inner);
        inner.forget(now, self.window, self.cap);
        match inner.known.get(&key) {
            Some(Entry::Accepted(at)) if now.saturating_sub(*at) <= self.window => return Admission::Duplicate,
            Some(Entry::Pending(outcome)) => return Admission::Wait(outcome.clone()),
            Some(Entry::Accepted(_)) | None => {}
        }
        let (outcome, receiver) = watch::channel(None);
        inner.known.insert(key.clone(), Entry::Pending(receiver));
        Admission::First(Claim { requests: Arc::clone(self), key: Some(key), outcome })
    }

    /// A request that the log itself remembers (at start).
    pub fn remember(&self, key: Key, at: Duration) {
        let mut inner = lock(&self.inner);
        inner.known.insert(key.clone(), Entry::Accepted(at));
        inner.accepted.push_back((at, key));
        inner.forget(at, self.window, self.cap);
    }

    /// How many are known.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        lock(&self.inner).known.len()
    }
}

impl Inner {
    fn forget(&mut self, now: Duration, window: Duration, cap: usize) {
        while let Some((at, _)) = self.accepted.front() {
            if now.saturating_sub(*at) <= window && self.accepted.len() <= cap {
                break;
            }
            let Some((at, key)) = self.accepted.pop_front() else { break };
            if matches!(self.known.get(&key), Some(Entry::Accepted(accepted)) if *accepted == at) {
                self.known.remove(&key);
            }
        }
    }
}

impl Claim {
    /// The request is durable.
    pub fn accepted(mut self, at: Duration) {
        if let Some(key) = self.key.take() {
            self.requests.remember(key, at);
            self.outcome.send_replace(Some(true));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            lock(&self.requests.inner).known.remove(&key);
            self.outcome.send_replace(Some(false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u128) -> Key {
        (TenantId::default(), n)
    }

    #[test]
    fn a_resend_is_known_for_the_window_and_per_tenant() {
        let requests = Requests::new(Duration::from_secs(600), 100);
        let at = Duration::from_secs(1_000);
        let Admission::First(claim) = requests.admit(key(1), at) else { panic!() };
        claim.accepted(at);
        assert!(matches!(requests.admit(key(1), Duration::from_secs(1_600)), Admission::Duplicate));
        assert!(matches!(requests.admit((TenantId::new("other").unwrap(), 1), at), Admission::First(_)));
        assert!(matches!(requests.admit(key(1), Duration::from_secs(1_601)), Admission::First(_)));
    }

    #[tokio::test]
    async fn a_resend_waits_for_the_first_and_replaces_it_if_it_fails() {
        let requests = Requests::new(Duration::from_secs(600), 100);
        let at = Duration::from_secs(1_000);
        let Admission::First(claim) = requests.admit(key(1), at) else { panic!() };
        let Admission::Wait(mut outcome) = requests.admit(key(1), at) else { panic!() };
        drop(claim);
        assert_eq!(*outcome.wait_for(Option::is_some).await.unwrap(), Some(false));
        let Admission::First(claim) = requests.admit(key(1), at) else { panic!() };
        let Admission::Wait(mut outcome) = requests.admit(key(1), at) else { panic!() };
        claim.accepted(at);
        assert_eq!(*outcome.wait_for(Option::is_some).await.unwrap(), Some(true));
        assert!(matches!(requests.admit(key(1), at), Admission::Duplicate));
    }

    #[test]
    fn memory_is_bounded() {
        let requests = Requests::new(Duration::from_secs(600), 10);
        for n in 0..1_000 {
            let Admission::First(claim) = requests.admit(key(n), Duration::from_secs(1)) else { panic!() };
            claim.accepted(Duration::from_secs(1));
        }
        assert!(requests.len() <= 11);
        assert!(matches!(requests.admit(key(999), Duration::from_secs(1)), Admission::Duplicate));
    }
}
