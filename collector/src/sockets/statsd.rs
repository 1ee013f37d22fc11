//! The StatsD sockets: samples of datagrams and connections are added up, and the sums stored at every flush. Where intake has no room
//! the flush waits for the next one, and samples go on adding up. On the stop there is a last flush.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use prost::Message;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::meters::Fault;
use super::store::Store;
use super::{tcp, udp};
use crate::Collector;
use crate::decode::Protocol;
use crate::statsd::aggregate::{Aggregator, Lost, Part};
use crate::statsd::line::{LineError, parse};

/// Longest line of a connection.
const LONGEST_LINE: usize = 64 << 10;

/// Bytes read at once from a connection.
const READ: usize = 8 << 10;

/// What all samples are added to.
#[derive(Clone)]
struct Sums {
    store: Store,
    all: Arc<Mutex<Aggregator>>,
}

impl Sums {
    fn lock(&self) -> MutexGuard<'_, Aggregator> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the samples of some lines.
    fn add(&self, transport: &'static str, lines: &[u8]) {
        let (meters, now) = (&self.store.collector.inner.meters.sockets, self.store.collector.inner.clock.now());
        let mut all = self.lock();
        let mut added = 0;
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            match parse(line) {
                Err(LineError::NoMetric | LineError::Timed) => meters.fault("statsd", transport, Fault::Unsupported, 1),
                Err(LineError::Malformed) => meters.fault("statsd", transport, Fault::Malformed, 1),
                Ok(sample) => {
                    added += all.add(&sample, now, |lost| match lost {
                        Lost::Malformed => meters.fault("statsd", transport, Fault::Malformed, 1),
                        Lost::TooManySeries | Lost::TooManyValues => meters.fault("statsd", transport, Fault::Overflow, 1),
                    });
                }
            }
        }
        meters.messages("statsd", transport).inc_by(added);
        meters.statsd_series.set(all.len() as i64);
    }

    /// What was added up since the last flush, and when it was flushed.
    fn flush(&self) -> (Vec<Part>, Protocol) {
        let now = self.store.collector.inner.clock.now();
        let mut all = self.lock();
        let parts = all.flush(now, self.store.most(usize::MAX) / 4);
        self.store.collector.inner.meters.sockets.statsd_series.set(all.len() as i64);
        (parts, Protocol::Statsd(now.nanos(), all.flushes()))
    }
}

/// Serves both sockets until the stop and the last flush.
pub(super) async fn serve(collector: Collector, datagrams: Option<UdpSocket>, connections: Option<TcpListener>, stop: CancellationToken) {
    let (config, now) = (collector.inner.config.statsd.clone(), collector.inner.clock.now());
    let store = Store::new(collector, &config.tenant, ("statsd", "metrics"), stop);
    let sums = Sums { store: store.clone(), all: Arc::new(Mutex::new(Aggregator::new(config.clone(), now))) };
    let by_udp = async {
        if let Some(socket) = datagrams {
            udp::serve(socket, &store, |_, bytes| sums.add("udp", bytes)).await;
        }
    };
    let by_tcp = async {
        if let Some(listener) = connections {
            tcp::serve(listener, config.connections, &store, |stream, _| connection(stream, sums.clone())).await;
        }
    };
    let flushing = async {
        let mut tick = tokio::time::interval(config.flush.0);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tokio::select! {
                _ = tick.tick() => flush(&sums).await,
                () = store.stop.cancelled() => return,
            }
        }
    };
    tokio::join!(by_udp, by_tcp, flushing);
    flush(&sums).await;
}

/// Stores what was added up. While that waits for room, samples go on adding up.
async fn flush(sums: &Sums) {
    let (parts, protocol) = sums.flush();
    for Part { request, points } in parts {
        if sums.store.store(protocol, request.encode_to_vec().into()).await.is_err() {
            sums.store.collector.inner.meters.sockets.fault("statsd", "any", Fault::NotStored, points);
        }
    }
}

/// Reads a connection until it ends or the server stops.
async fn connection(mut stream: TcpStream, sums: Sums) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ);
        let read = tokio::select! {
            read = stream.read_buf(&mut buffer) => read.unwrap_or(0),
            () = sums.store.stop.cancelled() => 0,
        };
        if read == 0 {
            sums.add("tcp", &buffer);
            return;
        }
        if let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') {
            let lines = buffer.split_to(end + 1);
            sums.add("tcp", &lines);
        }
        if buffer.len() > LONGEST_LINE {
            sums.store.collector.inner.meters.sockets.fault("statsd", "tcp", Fault::Framing, 1);
            return;
        }
    }
}
