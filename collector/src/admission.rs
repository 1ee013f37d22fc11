//! Admission: how many requests and how many bytes of them may be in flight. In: sizes as they become known. Out: permits
//! that are given back on drop. Fails: refuses after the configured hold time.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;

/// Memory is counted in units of this many bytes.
const UNIT: u64 = 1024;

/// There was no room within the hold time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Too many requests are in flight.
    Requests,
    /// Their bodies and messages take too much memory.
    Memory,
    /// This request alone takes more than all may together.
    Alone {
        /// Bytes that it has come to take.
        taken: u64,
        /// What all may take.
        limit: u64,
    },
}

/// The two budgets.
pub(crate) struct Admission {
    requests: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    units: u32,
    hold: Duration,
    in_flight: IntGauge,
}

/// One admitted request and the memory it holds.
pub(crate) struct Reservation {
    _request: Option<OwnedSemaphorePermit>,
    memory: Option<OwnedSemaphorePermit>,
    held: u32,
    admission: Arc<Admission>,
}

impl Admission {
    /// Budgets as configured; `in_flight` shows the reserved bytes.
    pub(crate) fn new(config: &Config, in_flight: IntGauge) -> Self {
        let units = u32::try_from(config.max_request_memory.0.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Admission {
            requests: Arc::new(Semaphore::new(config.concurrent_requests.min(Semaphore::MAX_PERMITS))),
            memory: Arc::new(Semaphore::new(units as usize)),
            units,
            hold: config.hold.0,
            in_flight,
        }
    }
    /// Admits one request, after at most the hold time.
    pub(crate) async fn enter(self: &Arc<Self>) -> Result<Reservation, Full> {
        let entered = tokio::time::timeout(self.hold, Arc::clone(&self.requests).acquire_owned()).await;
        let request = entered.map_err(|_| Full::Requests)?.map_err(|_| Full::Requests)?;
        Ok(Reservation { _request: Some(request), memory: None, held: 0, admission: Arc::clone(self) })
    }
}

impl Admission {
    /// Memory for something that is no request and must not take the place of one.
    pub(crate) fn aside(self: &Arc<Self>) -> Reservation {
        Reservation { _request: None, memory: None, held: 0, admission: Arc::clone(self) }
    }
}

impl Reservation {
    /// The units still to take; a request never takes more than there are, so that a large one can run alone.
    fn units(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.admission.units.saturating_sub(self.held))
    }
    fn keep(&mut self, permit: OwnedSemaphorePermit, units: u32) {
        self.held += units;
        self.admission.in_flight.add(i64::from(units) * UNIT as i64);
        match &mut self.memory {
            Some(memory) => memory.merge(permit),
            None => self.memory = Some(permit),
        }
    }
    /// Takes more memory, after at most the hold time.
    pub(crate) async fn grow(&mut self, bytes: u64) -> Result<(), Full> {
        let units = self.units(bytes);
        let memory = Arc::clone(&self.admission.memory);
        let taken = tokio::time::timeout(self.admission.hold, memory.acquire_many_owned(units)).await;
        let permit = taken.map_err(|_| Full::Memory)?.map_err(|_| Full::Memory)?;
        self.keep(permit, units);
        Ok(())
    }
    /// Takes more memory at once or not at all: for the threads that decode.
    pub(crate) fn try_grow(&mut self, bytes: u64) -> Result<(), Full> {
        let units = self.units(bytes);
        let permit = Arc::clone(&self.admission.memory).try_acquire_many_owned(units).map_err(|_| Full::Memory)?;
        self.keep(permit, units);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.admission.in_flight.sub(i64::from(self.held) * UNIT as i64);
    }
}

#[cfg(test)]
mod tests {
    use model::time::Span;
    use model::units::ByteCount;

    use super::*;

    fn admission(requests: usize, memory: u64) -> Arc<Admission> {
        let config =
            Config { concurrent_requests: requests, max_request_memory: ByteCount(memory), hold: Span::millis(50), ..Config::default() };
        Arc::new(Admission::new(&config, IntGauge::new("g", "g").unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_its_turn_and_is_refused_after_the_hold_time() {
        let admission = admission(1, 1 << 20);
        let first = admission.enter().await.unwrap();
        assert_eq!(admission.enter().await.err(), Some(Full::Requests));
        let waiting = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter().await.map(|_| ()) }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_shared_and_given_back() {
        let admission = admission(4, 10 << 10);
        let mut large = admission.enter().await.unwrap();
        large.grow(8 << 10).await.unwrap();
        let mut small = admission.enter().await.unwrap();
        assert_eq!(small.try_grow(3 << 10), Err(Full::Memory));
        assert_eq!(small.grow(3 << 10).await, Err(Full::Memory));
        assert_eq!(admission.in_flight.get(), 8 << 10);
        drop(large);
        small.grow(99 << 10).await.expect("a request larger than all memory runs alone");
        assert_eq!(admission.in_flight.get(), 10 << 10);
        drop(small);
        assert_eq!(admission.in_flight.get(), 0);
    }
}
