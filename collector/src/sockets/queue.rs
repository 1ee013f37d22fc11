//! Syslog messages on their way to the log: a queue bounded in bytes, emptied in batches by count, size or time. In: messages of all
//! connections and datagrams. Out: one request a batch. Fails: gives a datagram back where the queue is full; connections wait.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use model::time::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::meters::Fault;
use super::store::Store;
use crate::config::SyslogConfig;
use crate::decode::Protocol;
use crate::syslog::append;

/// What a message takes beside its bytes.
const OVERHEAD: usize = 128;
/// Messages that wait at most, beside their bytes.
const MOST_WAITING: usize = 65_536;
/// A batch is stored once it holds so many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// A message as it came.
#[derive(Debug)]
pub(super) struct Arrived {
    /// When.
    pub(super) at: Timestamp,
    /// From whom.
    pub(super) peer: IpAddr,
    /// The bytes.
    pub(super) bytes: Box<[u8]>,
}

impl Arrived {
    fn size(&self) -> u32 {
        u32::try_from(self.bytes.len() + OVERHEAD).unwrap_or(u32::MAX)
    }
}

/// The end that receivers put messages in.
#[derive(Clone)]
pub(super) struct Queue {
    sender: mpsc::Sender<Arrived>,
    room: Arc<Semaphore>,
}

impl Queue {
    /// Puts a message in, or gives it up where there is no room. Tells whether it is in.
    pub(super) fn offer(&self, message: Arrived) -> bool {
        let Ok(permit) = self.room.try_acquire_many(message.size()) else { return false };
        let taken = self.sender.try_send(message).is_ok();
        if taken {
            permit.forget();
        }
        taken
    }
    /// Puts a message in once there is room. Tells whether it is in: not once the other end is gone.
    pub(super) async fn put(&self, message: Arrived) -> bool {
        let Ok(permit) = self.room.acquire_many(message.size()).await else { return false };
        let taken = self.sender.send(message).await.is_ok();
        if taken {
            permit.forget();
        }
        taken
    }
}

/// The end that batches come out of.
pub(super) struct Batches {
    receiver: mpsc::Receiver<Arrived>,
    room: Arc<Semaphore>,
    config: SyslogConfig,
}

/// A queue of the configured size.
pub(super) fn queue(config: &SyslogConfig) -> (Queue, Batches) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    let room = Arc::new(Semaphore::new(usize::try_from(config.queue.0).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)));
    (Queue { sender, room: Arc::clone(&room) }, Batches { receiver, room, config: config.clone() })
}

impl Batches {
    /// Stores batches until every receiver has gone and nothing waits.
    pub(super) async fn run(mut self, store: Store) {
        let protocol = Protocol::Syslog(self.config.utc_offset.seconds());
        let most = store.most(BATCH_BYTES);
        while let Some(first) = self.receiver.recv().await {
            let (mut batch, mut held, mut count) = (BytesMut::new(), 0, 0);
            let (mut next, deadline) = (Some(first), Instant::now() + self.config.batch_linger.0);
            while let Some(message) = next.take() {
                append(&mut batch, message.at, message.peer, &message.bytes);
                (held, count) = (held + message.size() as usize, count + 1);
                if count >= self.config.batch_messages || batch.len() >= most {
                    break;
                }
                // Behind a stop nothing is waited for: the queue is emptied.
                next = timeout_at(if store.stop.is_cancelled() { Instant::now() } else { deadline }, self.receiver.recv())
                    .await
                    .ok()
                    .flatten();
            }
            if !batch.is_empty() && store.store(protocol, batch.freeze()).await.is_err() {
                store.collector.inner.meters.sockets.fault(store.protocol(), "any", Fault::NotStored, count as u64);
            }
            self.room.add_permits(held);
        }
    }
}
