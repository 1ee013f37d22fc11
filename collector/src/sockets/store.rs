//! Storing what came over a socket: where intake has no room it is tried again, until the server stops. Fails: as the intake does,
//! where trying again is of no use or the server stops.

use std::time::Duration;

use bytes::Bytes;
use model::access::{Permission, Principal};
use model::event::Actor;
use model::tenant::TenantId;
use tokio_util::sync::CancellationToken;

use crate::decode::Protocol;
use crate::failure::Failure;
use crate::inflate::Encoding;
use crate::intake::{Accepted, Collector, Payload};

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Who stores under which name.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) collector: Collector,
    principal: Principal,
    /// The metric labels `protocol` and `signal`.
    names: (&'static str, &'static str),
    pub(super) stop: CancellationToken,
}

impl Store {
    /// For a protocol whose data belongs to a tenant.
    pub(super) fn new(collector: Collector, tenant: &TenantId, names: (&'static str, &'static str), stop: CancellationToken) -> Self {
        let actor = Actor::System { part: names.0.to_owned() };
        let principal = Principal { tenant: tenant.clone(), permissions: vec![Permission::Ingest], actor, keyless: true };
        Store { collector, principal, names, stop }
    }

    /// The protocol's name.
    pub(super) fn protocol(&self) -> &'static str {
        self.names.0
    }

    /// How much is put together before it is stored, in bytes: so much, or what the intake takes in any case.
    pub(super) fn most(&self, bytes: usize) -> usize {
        bytes.min(usize::try_from(self.collector.inner.config.max_decoded_bytes.0 / 2).unwrap_or(bytes))
    }

    /// Stores a body; it is durable once this returns.
    pub(super) async fn store(&self, protocol: Protocol, body: Bytes) -> Result<Accepted, Failure> {
        loop {
            let stopping = self.stop.is_cancelled();
            let result = self.try_once(protocol, body.clone()).await;
            let code = result.as_ref().map_or_else(|failure| failure.http(), |_| http::StatusCode::OK);
            self.collector.inner.meters.requests.with_label_values(&[self.names.0, self.names.1, code.as_str()]).inc();
            let failure = match result {
                Ok(accepted) => return Ok(accepted),
                Err(failure) => failure,
            };
            match failure.retry_after().filter(|_| !stopping) {
                None => {
                    tracing::warn!(protocol = self.names.0, %failure, bytes = body.len(), "what came over a socket could not be stored");
                    return Err(failure);
                }
                Some(pause) => {
                    tokio::select! {
                        () = tokio::time::sleep(pause.min(LONGEST_PAUSE)) => {}
                        () = self.stop.cancelled() => {}
                    }
                }
            }
        }
    }

    async fn try_once(&self, protocol: Protocol, body: Bytes) -> Result<Accepted, Failure> {
        let mut reservation = self.collector.enter(Some(&self.principal)).await?;
        reservation.grow(body.len() as u64).await.map_err(Failure::from)?;
        self.collector.accept(Payload { protocol, encoding: Encoding::Identity, body }, &self.principal, reservation).await
    }
}
