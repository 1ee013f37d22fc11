//! Watchfire's own logs and spans. Logs go to standard error; spans through `tracing-opentelemetry` to nowhere, to Watchfire
//! itself or to any OTLP/gRPC endpoint.

use anyhow::Context;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{LogFormat, ObserveConfig};

/// Flushes and ends the export of own spans when dropped.
pub struct Observing(Option<SdkTracerProvider>);

impl Drop for Observing {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            eprintln!("watchfire: the last own spans could not be sent: {error}");
        }
    }
}

/// Installs the log and span layers for this process. `own_endpoint` is where `spans: self` sends to.
pub fn install(config: &ObserveConfig, own_endpoint: &str) -> anyhow::Result<Observing> {
    let filter = EnvFilter::try_new(&config.log).with_context(|| format!("observe.log: `{}` is no log filter", config.log))?;
    let endpoint = match config.spans.as_str() {
        "off" | "" => None,
        "self" => Some(own_endpoint.to_owned()),
        url => Some(url.to_owned()),
    };
    let provider = endpoint.map(|endpoint| tracer_provider(&endpoint)).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        // Only Watchfire's own spans: those of the HTTP libraries would make the export trace itself.
        let own = EnvFilter::new("off,alerting=info,incidents=info,remediation=info,store=info,server=info,collector=info");
        tracing_opentelemetry::layer().with_tracer(provider.tracer("watchfire")).with_filter(own)
    });
    let logs = match config.log_format {
        LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json().boxed(),
    };
    // A second server in one process (tests) keeps the first one's layers.
    let _ = tracing_subscriber::registry().with(spans).with(logs.with_filter(filter)).try_init();
    Ok(Observing(provider))
}

fn tracer_provider(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| format!("observe.spans: {endpoint} cannot be used as an OTLP/gRPC endpoint"))?;
    let resource = Resource::builder().with_service_name("watchfire").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
