//! Datagrams: read until the server stops, and then what the kernel still holds. What the kernel dropped is counted. Fails: never; a
//! read that fails is logged and tried again.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::MissedTickBehavior;

use super::drops::Drops;
use super::meters::Fault;
use super::store::Store;

/// The largest datagram there is.
const LARGEST: usize = 65_536;
/// Datagrams read between two looks at anything else, and after the stop.
const BURST: usize = 1_024;
/// How often the kernel is asked what it dropped.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Reads datagrams; `each` takes them and must not wait.
pub(super) async fn serve(socket: UdpSocket, store: &Store, mut each: impl FnMut(IpAddr, &[u8])) {
    let (meters, protocol) = (&store.collector.inner.meters.sockets, store.protocol());
    let (mut buffer, mut drops) = (vec![0; LARGEST], Drops::of(&socket));
    let mut ask = tokio::time::interval(ASK_EVERY);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopping = tokio::select! {
            ready = socket.readable() => {
                if let Err(error) = ready {
                    tracing::warn!(protocol, %error, "datagrams could not be read");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                false
            }
            _ = ask.tick() => {
                meters.fault(protocol, "udp", Fault::KernelDropped, drops.more().await);
                continue;
            }
            () = store.stop.cancelled() => true,
        };
        for _ in 0..BURST {
            // An error here is one of an earlier datagram, or none is there.
            let Ok((length, peer)) = socket.try_recv_from(&mut buffer) else { break };
            each(peer.ip(), &buffer[..length]);
        }
        if stopping {
            meters.fault(protocol, "udp", Fault::KernelDropped, drops.more().await);
            return;
        }
        tokio::task::yield_now().await;
    }
}
