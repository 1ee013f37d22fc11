//! Listeners: bind everything before anything is served, log every address, stop with grace.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::ServerConfig;
use crate::request_line::{Forgiving, Peer};

/// The bound sockets.
pub struct Listeners {
    /// Everything over HTTP.
    pub http: TcpListener,
    /// OTLP over gRPC.
    pub otlp_grpc: TcpListener,
    /// OTLP over HTTP.
    pub otlp_http: TcpListener,
    /// Zipkin; none unless `server.zipkin` names one.
    pub zipkin: Option<TcpListener>,
}

/// The addresses that were bound (port 0 in the configuration takes a free one).
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Everything over HTTP.
    pub http: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// Zipkin; none unless `server.zipkin` names one.
    pub zipkin: Option<SocketAddr>,
    /// SQL for ClickHouse's clients, served by the embedded engine; none unless `storage.clickhouse.sql_listen` names one.
    pub sql: Option<SocketAddr>,
}

/// Binds all sockets. Off loopback only when a key exists.
pub async fn bind(config: &ServerConfig, keys_exist: bool) -> anyhow::Result<Listeners> {
    let always = [("listen", config.listen), ("otlp_grpc", config.otlp_grpc), ("otlp_http", config.otlp_http)];
    for (key, address) in always.into_iter().chain(config.zipkin.map(|address| ("zipkin", address))) {
        if !address.ip().is_loopback() && !keys_exist {
            bail!(
                "server.{key} is {address}, which other machines can reach, and no API key exists: make one with `watchfire keys create NAME`, or name a file in server.first_key_file"
            );
        }
    }
    Ok(Listeners {
        http: bind_one("listen", config.listen).await?,
        otlp_grpc: bind_one("otlp_grpc", config.otlp_grpc).await?,
        otlp_http: bind_one("otlp_http", config.otlp_http).await?,
        zipkin: match config.zipkin {
            Some(address) => Some(bind_one("zipkin", address).await?),
            None => None,
        },
    })
}

async fn bind_one(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("server.{key}: {address} cannot be bound (is another program using the port? set server.{key} to another one)")
    })
}

impl Listeners {
    /// What was bound; the engine binds `sql` itself, later.
    pub fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            http: self.http.local_addr()?,
            otlp_grpc: self.otlp_grpc.local_addr()?,
            otlp_http: self.otlp_http.local_addr()?,
            zipkin: self.zipkin.as_ref().map(TcpListener::local_addr).transpose()?,
            sql: None,
        })
    }
}

/// Serves a router on a socket until `stop`; requests at work are finished.
pub fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let service = router.into_make_service_with_connect_info::<Peer>();
        let server = axum::serve(Forgiving(listener), service).with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = server.await {
            tracing::error!(%error, "a listener failed");
        }
    })
}
