//! The Fluent socket: greets where a key is set, reads whole messages, stores them and acknowledges what asks for it, in this order.
//! While messages are being stored the connection is not read. A message that asks to be acknowledged, or is compressed, is a
//! request of its own; the others that have arrived are stored together. A connection whose messages can never be stored is
//! closed without an acknowledgement: its sender keeps them and tells.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use model::ids::IdSource;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::meters::Fault;
use super::store::Store;
use super::tcp;
use crate::Collector;
use crate::admission::Reservation;
use crate::config::FluentConfig;
use crate::decode::Protocol;
use crate::fluent::msgpack::{Scan, ScanError};
use crate::fluent::{envelope, handshake};

/// A greeting is shorter than this.
const LONGEST_GREETING: usize = 16 << 10;
/// What a connection may hold without asking for memory.
const FREE: usize = 64 << 10;
/// With less room than this the buffer grows.
const SPARE: usize = 4 << 10;
/// Bytes of messages that are stored together at most.
const TOGETHER: usize = 4 << 20;

/// Serves the socket until the stop, and until what was read is stored.
pub(super) async fn serve(collector: Collector, listener: TcpListener, ids: Arc<dyn IdSource>, stop: CancellationToken) {
    let config = Arc::new(collector.inner.config.fluent.clone());
    let store = Store::new(collector, &config.tenant, ("fluent", "logs"), stop);
    let serve_one = |stream, _| {
        let (config, store, nonce) = (Arc::clone(&config), store.clone(), format!("{:032x}", ids.random()));
        async move {
            if let Err(fault) = Connection::new(stream, &config, &store).run(&nonce).await {
                store.collector.inner.meters.sockets.fault("fluent", "tcp", fault, 1);
                tracing::debug!(?fault, "a Fluent connection was closed");
            }
        }
    };
    tcp::serve(listener, config.connections, &store, serve_one).await;
}

/// One sender.
struct Connection<'s> {
    stream: TcpStream,
    config: &'s FluentConfig,
    store: &'s Store,
    buffer: BytesMut,
    /// The memory that the buffer holds of what all requests may take.
    memory: Option<Reservation>,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Read {
    Some,
    /// The sender is done, or the server stops.
    End,
}

impl<'s> Connection<'s> {
    fn new(stream: TcpStream, config: &'s FluentConfig, store: &'s Store) -> Self {
        Connection { stream, config, store, buffer: BytesMut::new(), memory: None }
    }

    fn patience(&self) -> Duration {
        self.store.collector.inner.config.body_timeout.0
    }

    async fn run(mut self, nonce: &str) -> Result<(), Fault> {
        if let Some(key) = &self.config.shared_key
            && !self.greet(nonce, key.reveal()).await?
        {
            return Ok(());
        }
        let max = usize::try_from(self.config.max_message.0).unwrap_or(usize::MAX);
        loop {
            match self.message(max).await? {
                Some(first) => self.take(first, max).await?,
                None if self.buffer.is_empty() => return Ok(()),
                None => return Err(Fault::Truncated),
            }
        }
    }

    /// HELO, PING, PONG. False where the sender went away.
    async fn greet(&mut self, nonce: &str, key: &str) -> Result<bool, Fault> {
        let patience = self.patience();
        let greeting = async {
            self.stream.write_all(&handshake::helo(nonce.as_bytes())).await.map_err(|_| Fault::Truncated)?;
            let Some(ping) = self.message(LONGEST_GREETING).await? else { return Ok(false) };
            let (pong, outcome) = handshake::pong(&ping, nonce.as_bytes(), key);
            self.stream.write_all(&pong).await.map_err(|_| Fault::Truncated)?;
            outcome.map(|()| true).map_err(|_| Fault::Stranger)
        };
        timeout(patience, greeting).await.unwrap_or(Err(Fault::Slow))
    }

    /// The next whole message; none where the sender is done or the server stops.
    async fn message(&mut self, max: usize) -> Result<Option<Bytes>, Fault> {
        let mut scan = Scan::new(max);
        // A message that began must be whole before long: it holds memory.
        let mut deadline = None;
        loop {
            match scan.end(&self.buffer) {
                Ok(Some(length)) => return Ok(Some(self.buffer.split_to(length).freeze())),
                Ok(None) => {}
                Err(ScanError::Broken(_)) => return Err(Fault::Framing),
                Err(ScanError::TooLarge(_)) => return Err(Fault::TooLong),
            }
            if !self.buffer.is_empty() && deadline.is_none() {
                deadline = Some(Instant::now() + self.patience());
            }
            if self.read(deadline).await? == Read::End {
                return Ok(None);
            }
        }
    }

    /// Reads on, once there is memory for it.
    async fn read(&mut self, deadline: Option<Instant>) -> Result<Read, Fault> {
        if self.buffer.capacity() - self.buffer.len() < SPARE {
            self.grow(deadline).await?;
        }
        let stop = self.store.stop.clone();
        let reading = async {
            tokio::select! {
                read = self.stream.read_buf(&mut self.buffer) => read.unwrap_or(0),
                () = stop.cancelled() => 0,
            }
        };
        let read = match deadline {
            Some(deadline) => timeout_at(deadline, reading).await.map_err(|_| Fault::Slow)?,
            None => reading.await,
        };
        Ok(if read == 0 { Read::End } else { Read::Some })
    }

    /// Room for more; past a little of it, for as much again as is there, from what all requests may take.
    async fn grow(&mut self, deadline: Option<Instant>) -> Result<(), Fault> {
        if self.buffer.len() < FREE {
            self.buffer.reserve(FREE / 2);
            return Ok(());
        }
        let more = self.buffer.len() as u64;
        let memory = self.memory.get_or_insert_with(|| self.store.collector.inner.admission.aside());
        let deadline = deadline.unwrap_or_else(|| Instant::now() + self.store.collector.inner.config.body_timeout.0);
        let growing = async {
            while memory.grow(more).await.is_err() {
                if self.store.stop.is_cancelled() {
                    return Err(Fault::NotStored);
                }
            }
            Ok(())
        };
        timeout_at(deadline, growing).await.unwrap_or(Err(Fault::Slow))?;
        self.buffer.reserve(self.buffer.len());
        Ok(())
    }

    /// Stores a message and those behind it that have arrived whole, and acknowledges what asks for it.
    async fn take(&mut self, first: Bytes, max: usize) -> Result<(), Fault> {
        // The request that the message becomes takes its own memory.
        self.memory = None;
        let mut together = BytesMut::new();
        let mut next = Some(first);
        while let Some(message) = next.take() {
            self.store.collector.inner.meters.sockets.messages("fluent", "tcp").inc();
            let about = envelope(&message).unwrap_or_default();
            if about.chunk.is_some() || about.compressed {
                self.store_all(&mut together).await?;
                let resends = about.chunk.is_some();
                self.store.store(Protocol::Fluent { resends }, message).await.map_err(|_| Fault::NotStored)?;
                if let Some(chunk) = about.chunk {
                    self.stream.write_all(&acknowledgement(&chunk)).await.map_err(|_| Fault::Truncated)?;
                }
            } else {
                together.extend_from_slice(&message);
            }
            if together.len() < self.store.most(TOGETHER) {
                // What is not whole yet, or is broken, shows itself when it is read on.
                next = Scan::new(max).end(&self.buffer).ok().flatten().map(|length| self.buffer.split_to(length).freeze());
            }
        }
        self.store_all(&mut together).await
    }

    async fn store_all(&self, together: &mut BytesMut) -> Result<(), Fault> {
        if together.is_empty() {
            return Ok(());
        }
        let body = together.split().freeze();
        self.store.store(Protocol::Fluent { resends: false }, body).await.map(drop).map_err(|_| Fault::NotStored)
    }
}

/// `{"ack": chunk}`
fn acknowledgement(chunk: &[u8]) -> Vec<u8> {
    let mut message = b"\x81\xa3ack".to_vec();
    match u8::try_from(chunk.len()) {
        Ok(length) => message.extend_from_slice(&[0xd9, length]),
        Err(_) => {
            message.push(0xdb);
            message.extend_from_slice(&u32::try_from(chunk.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    message.extend_from_slice(chunk);
    message
}
