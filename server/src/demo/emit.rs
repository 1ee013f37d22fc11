//! Sends what the shop emits, over OTLP/gRPC like any client: a batch a second, sent again when it is refused.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::time::Clock;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::shop::{ShopState, slice};

/// The shop's present state, shared with its admin endpoints.
pub type SharedShop = Arc<Mutex<ShopState>>;

/// Reads the shop's state.
pub fn shop_state(shop: &SharedShop) -> ShopState {
    *shop.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Emits `requests` check-outs a second until `stop`.
pub async fn emit(
    endpoint: String,
    shop: SharedShop,
    clock: Arc<dyn Clock>,
    requests: usize,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let channel = Channel::from_shared(endpoint)?.connect_lazy();
    let mut traces = TraceServiceClient::new(channel.clone());
    let mut logs = LogsServiceClient::new(channel);
    let mut rng = StdRng::seed_from_u64(clock.now().nanos().unsigned_abs());
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let emission = slice(clock.now(), requests.div_ceil(2), shop_state(&shop), &mut rng);
        let spans = ExportTraceServiceRequest { resource_spans: emission.spans };
        while let Err(status) = traces.export(spans.clone()).await {
            tracing::debug!(%status, "spans were not taken; they are sent again");
            tokio::time::sleep(Duration::from_millis(200)).await;
            if stop.is_cancelled() {
                return Ok(());
            }
        }
        if !emission.logs.is_empty()
            && let Err(status) = logs.export(ExportLogsServiceRequest { resource_logs: emission.logs }).await
        {
            tracing::debug!(%status, "logs were not taken");
        }
    }
}
