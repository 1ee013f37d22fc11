//! Connections: so many at a time, each with a task of its own, until the server stops. Fails: never; an accept that fails is tried
//! again after a pause.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::meters::Fault;
use super::store::Store;

/// Senders that stay silent for so long are asked whether they are still there: those that vanished must not hold a place for ever.
const SILENCE: Duration = Duration::from_secs(60);

/// Accepts connections until the stop, then waits for their tasks: they hear of it themselves.
pub(super) async fn serve<F>(listener: TcpListener, most: usize, store: &Store, serve_one: impl Fn(TcpStream, SocketAddr) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (meters, protocol) = (&store.collector.inner.meters.sockets, store.protocol());
    let (mut tasks, open) = (JoinSet::new(), meters.connections(protocol));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => {
                open.set(tasks.len() as i64);
                continue;
            }
            () = store.stop.cancelled() => break,
        };
        match accepted {
            Ok(_) if tasks.len() >= most => meters.fault(protocol, "tcp", Fault::TooManyConnections, 1),
            Ok((stream, peer)) => {
                // Acknowledgements (Fluent) are small and must not wait for those before them.
                let _ = stream.set_nodelay(true);
                if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE)) {
                    tracing::debug!(protocol, %peer, %error, "a connection whose other end vanishes may stay open");
                }
                tasks.spawn(serve_one(stream, peer));
                open.set(tasks.len() as i64);
            }
            // Out of file descriptors, or the client went away: neither passes at once.
            Err(error) => {
                tracing::warn!(protocol, %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
    open.set(0);
}
