//! Receivers with sockets of their own: syslog, Fluent forward, StatsD. The server binds them before anything is served, and ends them
//! by a token: what was read by then is stored before their tasks end. They carry no key, so the configuration names the tenant.
//! Fails: only where an address cannot be bound.

mod drops;
mod fluent;
mod meters;
mod queue;
mod statsd;
mod store;
mod syslog;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;

use model::ids::IdSource;
use socket2::SockRef;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Collector, Config};
pub(crate) use meters::SocketMeters;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("collector.{key}: {address} cannot be bound (is another program using the port?)")]
pub struct BindError {
    key: &'static str,
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Bytes of datagrams that may wait in the kernel to be read.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Bound sockets; those that the configuration leaves out are none.
#[derive(Debug, Default)]
pub struct Sockets {
    syslog_udp: Option<UdpSocket>,
    syslog_tcp: Option<TcpListener>,
    fluent: Option<TcpListener>,
    statsd_udp: Option<UdpSocket>,
    statsd_tcp: Option<TcpListener>,
}

async fn tcp(key: &'static str, address: Option<SocketAddr>) -> Result<Option<TcpListener>, BindError> {
    let Some(address) = address else { return Ok(None) };
    TcpListener::bind(address).await.map(Some).map_err(|source| BindError { key, address, source })
}

async fn udp(key: &'static str, address: Option<SocketAddr>) -> Result<Option<UdpSocket>, BindError> {
    let Some(address) = address else { return Ok(None) };
    let socket = UdpSocket::bind(address).await.map_err(|source| BindError { key, address, source })?;
    // The kernel gives as much of it as net.core.rmem_max allows.
    if let Err(error) = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER) {
        tracing::debug!(%address, %error, "datagrams have the kernel's default room");
    }
    Ok(Some(socket))
}

impl Sockets {
    /// Binds what the configuration names.
    pub async fn bind(config: &Config) -> Result<Self, BindError> {
        Ok(Sockets {
            syslog_udp: udp("syslog.udp", config.syslog.udp).await?,
            syslog_tcp: tcp("syslog.tcp", config.syslog.tcp).await?,
            fluent: tcp("fluent.listen", config.fluent.listen).await?,
            statsd_udp: udp("statsd.udp", config.statsd.udp).await?,
            statsd_tcp: tcp("statsd.tcp", config.statsd.tcp).await?,
        })
    }

    /// What was bound, with a name for each (port 0 in the configuration takes a free one).
    pub fn addresses(&self) -> std::io::Result<Vec<(&'static str, SocketAddr)>> {
        let mut list = Vec::new();
        for (name, socket) in [("syslog over UDP", &self.syslog_udp), ("StatsD over UDP", &self.statsd_udp)] {
            if let Some(socket) = socket {
                list.push((name, socket.local_addr()?));
            }
        }
        for (name, listener) in
            [("syslog over TCP", &self.syslog_tcp), ("Fluent forward", &self.fluent), ("StatsD over TCP", &self.statsd_tcp)]
        {
            if let Some(listener) = listener {
                list.push((name, listener.local_addr()?));
            }
        }
        Ok(list)
    }
}

impl Collector {
    /// Serves bound sockets until `stop`. The tasks end once what was read is stored; `ids` makes the nonces of greetings.
    pub fn serve_sockets(&self, sockets: Sockets, ids: Arc<dyn IdSource>, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        if sockets.syslog_udp.is_some() || sockets.syslog_tcp.is_some() {
            tasks.push(tokio::spawn(syslog::serve(self.clone(), sockets.syslog_udp, sockets.syslog_tcp, stop.clone())));
        }
        if let Some(listener) = sockets.fluent {
            tasks.push(tokio::spawn(fluent::serve(self.clone(), listener, ids, stop.clone())));
        }
        if sockets.statsd_udp.is_some() || sockets.statsd_tcp.is_some() {
            tasks.push(tokio::spawn(statsd::serve(self.clone(), sockets.statsd_udp, sockets.statsd_tcp, stop.clone())));
        }
        tasks
    }
}
