//! One receiver at run time: its channel, its token buckets, how many sends to it run at once and how often it failed in a row.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use model::message::{Delivery, Message};
use model::time::Timestamp;
use model::work::Lane;
use tokio::sync::Semaphore;

use super::bucket::TokenBucket;
use crate::channels::{Channel, ReceiverConfig};

/// A receiver at run time.
pub struct Destination {
    /// The way out.
    pub channel: Box<dyn Channel>,
    /// Sends that may run at once.
    pub slots: Semaphore,
    messages: Mutex<TokenBucket>,
    /// For opening and archiving channels.
    rooms: Option<Mutex<TokenBucket>>,
    failures: AtomicU32,
    /// Whether people read what it gets.
    pub read: bool,
    /// Whether it knows a message that comes again by its key.
    pub keyed: bool,
}

impl Destination {
    /// Idle, with full buckets.
    pub fn new(config: &ReceiverConfig, channel: Box<dyn Channel>, slots: usize) -> Self {
        Destination {
            channel,
            slots: Semaphore::new(slots),
            messages: Mutex::new(TokenBucket::new(config.rate_limit())),
            rooms: config.channel_rate_limit().map(|rate| Mutex::new(TokenBucket::new(rate))),
            failures: AtomicU32::new(0),
            read: super::digest::is_read(config),
            keyed: super::hand_over::knows_keys(config),
        }
    }

    fn bucket(&self, message: &Message) -> &Mutex<TokenBucket> {
        match message {
            Message::ChatOpen { .. } | Message::ChatArchive { .. } => self.rooms.as_ref().unwrap_or(&self.messages),
            Message::Notice(_) | Message::ChatPost { .. } | Message::Document { .. } => &self.messages,
        }
    }

    /// Takes a token for a message, or says when to come again: behind those that wait, unless it `jumps` the queue.
    pub fn take(&self, delivery: &Delivery, lane: Lane, jumps: bool, now: Timestamp) -> Result<(), Timestamp> {
        let mut bucket = self.bucket(&delivery.message).lock().unwrap_or_else(PoisonError::into_inner);
        if jumps { bucket.jump(lane, now) } else { bucket.take(lane, now) }
    }

    /// Whether others wait for a token already.
    pub fn is_waited_for(&self, delivery: &Delivery, now: Timestamp) -> bool {
        self.bucket(&delivery.message).lock().unwrap_or_else(PoisonError::into_inner).is_waited_for(now)
    }

    /// Until when nothing of this kind of message goes out, where that lies ahead.
    pub fn paused_until(&self, delivery: &Delivery, now: Timestamp) -> Option<Timestamp> {
        self.bucket(&delivery.message).lock().unwrap_or_else(PoisonError::into_inner).paused_until(now)
    }

    /// How many messages of this kind wait for a moment that they were given.
    pub fn ahead(&self, delivery: &Delivery, now: Timestamp) -> usize {
        self.bucket(&delivery.message).lock().unwrap_or_else(PoisonError::into_inner).ahead(now)
    }

    /// How many messages of this kind could go out at once.
    pub fn tokens(&self, delivery: &Delivery, now: Timestamp) -> usize {
        self.bucket(&delivery.message).lock().unwrap_or_else(PoisonError::into_inner).tokens(now)
    }

    /// Gives the token back: nothing was sent.
    pub fn put_back(&self, delivery: &Delivery) {
        self.bucket(&delivery.message).lock().unwrap_or_else(PoisonError::into_inner).put_back();
    }

    /// Nothing of this kind of message goes out before `until`.
    pub fn pause(&self, delivery: &Delivery, until: Timestamp) {
        self.bucket(&delivery.message).lock().unwrap_or_else(PoisonError::into_inner).pause(until);
    }

    /// The receiver answered as it should.
    pub fn worked(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// It failed once more; how often in a row.
    pub fn failed(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }
}
