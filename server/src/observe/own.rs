//! Own spans to Watchfire itself: handed to the intake inside the process, so that no key is needed, none exists to be listed or
//! stolen, and no request about them is ever seen. In: batches of finished spans. Out: rows of the default tenant. While no intake is
//! there (start, stop) spans are dropped and counted; whatever the intake does with them makes no span and no log line of its own.

use std::fmt;
use std::sync::{Arc, RwLock};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use model::access::{Permission, Principal};
use model::event::Actor;
use model::tenant::TenantId;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prometheus::{IntCounterVec, Opts, Registry};
use prost::Message;
use tokio::runtime::Handle;
use tower::ServiceExt;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

/// The intake, once there is one.
#[derive(Clone)]
struct Intake {
    router: Router,
    runtime: Handle,
    spans: IntCounterVec,
}

/// Where the exporter finds the intake. Cheap to clone; clones share the place.
#[derive(Clone, Default)]
pub struct Slot(Arc<RwLock<Option<Intake>>>);

impl Slot {
    /// From now on spans go here. `router` is the collector's own, without the guard before it. Must be called on the runtime that
    /// the intake runs on. Registers `watchfire_own_spans_total{outcome}`.
    pub fn attach(&self, router: Router, registry: &Registry) -> Result<(), prometheus::Error> {
        let spans = IntCounterVec::new(Opts::new("watchfire_own_spans_total", "Own spans handed to the own intake."), &["outcome"])?;
        registry.register(Box::new(spans.clone()))?;
        self.set(Some(Intake { router, runtime: Handle::current(), spans }));
        Ok(())
    }
    /// From now on spans are dropped.
    pub fn detach(&self) {
        self.set(None);
    }
    fn set(&self, intake: Option<Intake>) {
        *self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = intake;
    }
    fn get(&self) -> Option<Intake> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

/// Exports into the own intake.
pub struct OwnExporter {
    slot: Slot,
    resource: ResourceAttributesWithSchema,
}

impl OwnExporter {
    /// Into whatever the slot holds at the time.
    pub fn new(slot: Slot) -> Self {
        OwnExporter { slot, resource: ResourceAttributesWithSchema::default() }
    }
}

impl fmt::Debug for OwnExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnExporter")
    }
}

impl SpanExporter for OwnExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let Some(intake) = self.slot.get() else { return Ok(()) };
        let count = batch.len() as u64;
        let request = ExportTraceServiceRequest { resource_spans: group_spans_by_resource_and_scope(batch, &self.resource) };
        // The exporter's thread has no runtime of its own; and nothing that the intake does shall make a span again.
        let stored = store(intake.router, request.encode_to_vec()).with_subscriber(NoSubscriber::default());
        let outcome = match intake.runtime.spawn(stored).await {
            Ok(StatusCode::OK) => Ok(()),
            Ok(status) => Err(format!("the own intake answered {status}")),
            Err(error) => Err(error.to_string()),
        };
        intake.spans.with_label_values(&[if outcome.is_ok() { "stored" } else { "lost" }]).inc_by(count);
        outcome.map_err(OTelSdkError::InternalFailure)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

async fn store(router: Router, body: Vec<u8>) -> StatusCode {
    let principal =
        Principal { tenant: TenantId::default(), permissions: vec![Permission::Ingest], actor: Actor::system("observe"), keyless: false };
    let request = Request::post("/v1/traces").header(header::CONTENT_TYPE, "application/x-protobuf").body(Body::from(body));
    let Ok(mut request) = request else { return StatusCode::INTERNAL_SERVER_ERROR };
    request.extensions_mut().insert(principal);
    match router.oneshot(request).await {
        Ok(response) => response.status(),
        Err(never) => match never {},
    }
}
