//! Scans under way: the panels of a dashboard ask for the same samples at the same time in different expressions, and then one of them
//! reads for all. In: what a selector asks for; out: its series, shared. Nothing is kept: once the last who waits has its answer, the next
//! question reads again. A scan that has no time left fails for nobody but the one who began it.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use model::labels::Matcher;
use model::query::QueryError;
use model::tenant::TenantId;

use super::eval::{Extent, Loaded};
use super::load::LoadLimits;

/// The series of one selector, on their way.
pub type Scan = BoxFuture<'static, Result<Arc<Loaded>, QueryError>>;

/// What makes two scans the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    tenant: TenantId,
    matchers: String,
    extent: Extent,
    max_series: usize,
    max_samples: usize,
}

impl Asked {
    /// By a selector.
    pub fn new(tenant: &TenantId, matchers: &[Matcher], extent: Extent, limits: LoadLimits) -> Self {
        let LoadLimits { max_series, max_samples, .. } = limits;
        Asked { tenant: tenant.clone(), matchers: text(matchers), extent, max_series, max_samples }
    }
}

/// What tells selectors apart.
pub fn text(matchers: &[Matcher]) -> String {
    matchers.iter().fold(String::new(), |mut text, matcher| {
        let Matcher { name, op, value, .. } = matcher;
        // Into a string it does not fail.
        let _ = write!(text, "{name:?} {op:?} {value:?},");
        text
    })
}

/// The scans of one evaluator.
#[derive(Default)]
pub struct Scans(Mutex<HashMap<Asked, WeakShared<Scan>>>);

impl Scans {
    /// Joins the scan that is under way for the same, or begins it. Says whether it joined one.
    pub async fn ask(&self, asked: Asked, scan: impl Fn() -> Scan) -> (Result<Arc<Loaded>, QueryError>, bool) {
        let (under_way, joined) = self.enter(asked, &scan);
        match under_way.await {
            // It may have had less time; the limits were the same.
            Err(QueryError::Timeout(_) | QueryError::Unavailable(_)) if joined => (scan().await, false),
            answer => (answer, joined),
        }
    }

    fn enter(&self, asked: Asked, scan: &impl Fn() -> Scan) -> (Shared<Scan>, bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = all.get(&asked).and_then(WeakShared::upgrade) {
            return (under_way, true);
        }
        all.retain(|_, scan| scan.upgrade().is_some());
        let own = scan().shared();
        all.extend(own.downgrade().map(|weak| (asked, weak)));
        (own, false)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use model::labels::MatchOp;
    use tokio::sync::Semaphore;

    use super::*;

    fn asked(until: i64) -> Asked {
        let matchers = [Matcher::new("a", MatchOp::Equal, "b").unwrap()];
        let limits = LoadLimits { max_series: 1, max_samples: 1, timeout: std::time::Duration::from_secs(1) };
        Asked::new(&TenantId::default(), &matchers, Extent { after: 0, until, wish: None }, limits)
    }

    /// Scans that wait for the gate; the first `failing` of them fail.
    struct Store {
        begun: AtomicUsize,
        ended: AtomicUsize,
        failing: usize,
        gate: Semaphore,
    }

    impl Store {
        fn new(failing: usize) -> Arc<Self> {
            Arc::new(Store { begun: AtomicUsize::new(0), ended: AtomicUsize::new(0), failing, gate: Semaphore::new(0) })
        }
        fn scan(self: &Arc<Self>) -> Scan {
            let store = Arc::clone(self);
            async move {
                let number = store.begun.fetch_add(1, Ordering::SeqCst);
                store.gate.acquire().await.unwrap().forget();
                store.ended.fetch_add(1, Ordering::SeqCst);
                if number < store.failing { Err(QueryError::Unavailable(format!("scan {number}"))) } else { Ok(Arc::default()) }
            }
            .boxed()
        }
        fn begun(&self) -> usize {
            self.begun.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn the_same_at_the_same_time_is_read_once() {
        let (scans, store) = (Scans::default(), Store::new(0));
        let open = async { store.gate.add_permits(10) };
        let ask = |until| scans.ask(asked(until), || store.scan());
        let (first, second, other, ()) = tokio::join!(ask(1), ask(1), ask(2), open);
        assert_eq!((first.1, second.1, other.1), (false, true, false));
        assert!(Arc::ptr_eq(&first.0.unwrap(), &second.0.unwrap()));
        assert_eq!(store.begun(), 2);
        assert!(!ask(1).await.1, "what is over is read again");
        assert_eq!(scans.0.lock().unwrap().len(), 1, "nothing is kept of what is over");
    }

    #[tokio::test]
    async fn who_gives_up_takes_the_scan_from_nobody_but_the_last() {
        let (scans, store) = (Arc::new(Scans::default()), Store::new(0));
        let ask = || {
            let (scans, store) = (Arc::clone(&scans), Arc::clone(&store));
            tokio::spawn(async move { scans.ask(asked(1), || store.scan()).await })
        };
        let (first, second) = (ask(), ask());
        while scans.0.lock().unwrap().values().all(|scan| scan.upgrade().is_none()) || store.begun() == 0 {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        store.gate.add_permits(1);
        assert!(second.await.unwrap().0.is_ok());
        let alone = ask();
        while store.begun() < 2 {
            tokio::task::yield_now().await;
        }
        alone.abort();
        assert!(alone.await.unwrap_err().is_cancelled());
        store.gate.add_permits(1);
        tokio::task::yield_now().await;
        assert_eq!(store.ended.load(Ordering::SeqCst), 1, "a scan that nobody waits for is dropped");
    }

    #[tokio::test]
    async fn who_joined_reads_again_where_the_other_had_no_luck() {
        let (scans, store) = (Scans::default(), Store::new(1));
        let open = async { store.gate.add_permits(10) };
        let ask = || scans.ask(asked(1), || store.scan());
        let (first, second, ()) = tokio::join!(ask(), ask(), open);
        assert!(first.0.is_err() && second.0.is_ok() && !second.1);
        assert_eq!(store.begun(), 2);
    }
}
