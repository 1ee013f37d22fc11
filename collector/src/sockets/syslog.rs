//! The syslog sockets: datagrams and connections into one queue, batches out of it. Connections that the queue has no room for are not
//! read; datagrams are lost and counted. On the stop what was read is stored.

use std::net::{IpAddr, SocketAddr};

use model::time::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::meters::Fault;
use super::queue::{Arrived, Queue, queue};
use super::store::Store;
use super::{tcp, udp};
use crate::Collector;
use crate::syslog::framing::{Ended, Framer};

/// Bytes read at once from a connection.
const READ: usize = 64 << 10;

/// Serves both sockets until the stop, and until what was read is stored.
pub(super) async fn serve(collector: Collector, datagrams: Option<UdpSocket>, connections: Option<TcpListener>, stop: CancellationToken) {
    let config = collector.inner.config.syslog.clone();
    let store = Store::new(collector, &config.tenant, ("syslog", "logs"), stop);
    let max = usize::try_from(config.max_message.0).unwrap_or(usize::MAX);
    let (queue, batches) = queue(&config);
    let storing = tokio::spawn(batches.run(store.clone()));
    let receiving = async {
        let by_udp = async {
            if let Some(socket) = datagrams {
                udp::serve(socket, &store, |peer, bytes| datagram(&store, &queue, peer, bytes, max)).await;
            }
        };
        let by_tcp = async {
            if let Some(listener) = connections {
                let serve_one = |stream, peer| connection(stream, peer, store.clone(), queue.clone(), max);
                tcp::serve(listener, config.connections, &store, serve_one).await;
            }
        };
        tokio::join!(by_udp, by_tcp);
    };
    receiving.await;
    drop(queue);
    if let Err(error) = storing.await {
        tracing::error!(%error, "storing syslog messages ended because of a defect");
    }
}

fn now(store: &Store) -> Timestamp {
    store.collector.inner.clock.now()
}

fn datagram(store: &Store, queue: &Queue, peer: IpAddr, bytes: &[u8], max: usize) {
    let meters = &store.collector.inner.meters.sockets;
    if bytes.len() > max {
        meters.fault("syslog", "udp", Fault::TooLong, 1);
    }
    meters.messages("syslog", "udp").inc();
    if !queue.offer(Arrived { at: now(store), peer, bytes: bytes[..bytes.len().min(max)].into() }) {
        meters.fault("syslog", "udp", Fault::QueueFull, 1);
    }
}

/// Reads a connection until it ends or the server stops.
async fn connection(mut stream: TcpStream, peer: SocketAddr, store: Store, queue: Queue, max: usize) {
    let (mut framer, mut buffer, mut ready) = (Framer::new(max), vec![0; READ], Vec::new());
    let meters = &store.collector.inner.meters.sockets;
    let messages = meters.messages("syslog", "tcp");
    loop {
        let read = tokio::select! {
            read = stream.read(&mut buffer) => read.unwrap_or(0),
            () = store.stop.cancelled() => 0,
        };
        let at = now(&store);
        let each = |bytes: &[u8], ended| {
            match ended {
                Ended::Whole => {}
                Ended::TooLong => meters.fault("syslog", "tcp", Fault::TooLong, 1),
                Ended::Truncated => meters.fault("syslog", "tcp", Fault::Truncated, 1),
            }
            ready.push(Arrived { at, peer: peer.ip(), bytes: bytes.into() });
        };
        let framed = if read == 0 {
            framer.finish(each);
            Ok(())
        } else {
            framer.push(&buffer[..read], each)
        };
        messages.inc_by(ready.len() as u64);
        // Waiting here is what holds the sender back.
        for message in ready.drain(..) {
            if !queue.put(message).await {
                return;
            }
        }
        if let Err(error) = framed {
            meters.fault("syslog", "tcp", Fault::Framing, 1);
            tracing::debug!(%peer, %error, "a syslog connection was closed");
            return;
        }
        if read == 0 {
            return;
        }
    }
}
