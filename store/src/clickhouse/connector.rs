//! A hyper connector that ignores the URL and connects to one Unix socket, and the one request that needs no client above it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;

/// Connects to a Unix socket.
#[derive(Clone, Debug)]
pub struct UnixConnector {
    socket: PathBuf,
}

impl UnixConnector {
    /// To this socket, whatever the URL says.
    pub fn new(socket: &Path) -> Self {
        UnixConnector { socket: socket.to_owned() }
    }
}

/// Plain requests to a Unix socket.
#[derive(Clone, Debug)]
pub struct UnixHttp {
    client: HttpClient<UnixConnector, Empty<Bytes>>,
}

impl UnixHttp {
    /// To this socket.
    pub fn new(socket: &Path) -> Self {
        UnixHttp { client: HttpClient::builder(TokioExecutor::new()).build(UnixConnector::new(socket)) }
    }

    /// Asks for a path; `Ok` when the answer is 200.
    ///
    /// # Errors
    /// Without an answer, or with another status.
    pub async fn get(&self, path: &'static str) -> std::io::Result<()> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        parts.authority = Some(http::uri::Authority::from_static("engine"));
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static(path));
        let uri = http::Uri::from_parts(parts).map_err(std::io::Error::other)?;
        let answer = self.client.get(uri).await.map_err(std::io::Error::other)?;
        let status = answer.status();
        answer.into_body().collect().await.map_err(std::io::Error::other)?;
        if status.is_success() { Ok(()) } else { Err(std::io::Error::other(format!("{path} answers {status}"))) }
    }
}

/// A connected Unix socket.
pub struct UnixIo(TokioIo<UnixStream>);

impl Connection for UnixIo {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for UnixIo {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: hyper::rt::ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for UnixIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

type Connecting = Pin<Box<dyn Future<Output = std::io::Result<UnixIo>> + Send>>;

impl hyper::service::Service<http::Uri> for UnixConnector {
    type Response = UnixIo;
    type Error = std::io::Error;
    type Future = Connecting;

    fn call(&self, _: http::Uri) -> Connecting {
        let socket = self.socket.clone();
        Box::pin(async move { UnixStream::connect(socket).await.map(TokioIo::new).map(UnixIo) })
    }
}

impl tower_service::Service<http::Uri> for UnixConnector {
    type Response = UnixIo;
    type Error = std::io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, uri: http::Uri) -> Connecting {
        hyper::service::Service::call(self, uri)
    }
}
