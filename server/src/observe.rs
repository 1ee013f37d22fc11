//! Watchfire's own logs and spans. Logs go to standard error; spans through `tracing-opentelemetry` to nowhere, into Watchfire's own
//! intake or to any OTLP/gRPC endpoint. Spans tell of what Watchfire decides and answers (API requests, PromQL, followers, work
//! rows); intake and storage have counters instead, so that a span about spans can never be.

pub mod own;
pub mod queries;

use std::io::IsTerminal;

use anyhow::Context;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, TracerProviderBuilder};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use self::own::{OwnExporter, Slot};
use crate::config::{LogFormat, ObserveConfig};
use crate::pipeline::Running;

/// Where own spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spans {
    /// Nowhere.
    Off,
    /// Into the own intake.
    Own,
    /// To this OTLP/gRPC endpoint.
    Endpoint(String),
}

impl Spans {
    /// Reads `observe.spans`. The error is one sentence with the fix.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" | "" => Ok(Spans::Off),
            "self" => Ok(Spans::Own),
            url => match url::Url::parse(url) {
                Ok(parsed) if parsed.scheme() == "http" && parsed.has_host() => Ok(Spans::Endpoint(url.to_owned())),
                _ => Err(format!("observe.spans: `{url}` is none of off, self and the http address of an OTLP/gRPC endpoint")),
            },
        }
    }
}

/// The export of own spans. Dropping it sends what is left and ends it.
pub struct Observing {
    provider: Option<SdkTracerProvider>,
    slot: Slot,
    own: bool,
}

impl Observing {
    /// Lets `spans: self` reach the intake of a server that runs.
    pub fn attach(&self, running: &Running) -> anyhow::Result<()> {
        if self.own {
            self.slot.attach(running.intake_router.clone(), &running.registry)?;
        }
        Ok(())
    }
    /// Sends what is left into the intake, before that stops. Nothing goes there afterwards.
    pub async fn detach(&self) {
        if self.own
            && let Some(provider) = self.provider.clone()
        {
            // The flush waits for the exporter's thread, which waits for this runtime.
            let flushed = tokio::task::spawn_blocking(move || provider.force_flush()).await;
            if let Ok(Err(error)) = flushed {
                tracing::warn!(%error, "the last own spans could not be stored");
            }
        }
        self.slot.detach();
    }
}

impl Drop for Observing {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown()
        {
            eprintln!("watchfire: the last own spans could not be sent: {error}");
        }
    }
}

/// Installs the log and span layers for this process.
pub fn install(config: &ObserveConfig) -> anyhow::Result<Observing> {
    let filter = EnvFilter::try_new(&config.log).with_context(|| format!("observe.log: `{}` is no log filter", config.log))?;
    let wanted = Spans::parse(&config.spans).map_err(anyhow::Error::msg)?;
    let slot = Slot::default();
    let provider = match &wanted {
        Spans::Off => None,
        Spans::Own => Some(provider(SdkTracerProvider::builder().with_batch_exporter(OwnExporter::new(slot.clone())))),
        Spans::Endpoint(endpoint) => Some(provider(to_endpoint(endpoint)?)),
    };
    let spans = provider.as_ref().map(|provider| {
        // Only Watchfire's own spans: those of the HTTP libraries would make the export trace itself.
        let own = EnvFilter::new("off,model=info,alerting=info,incidents=info,remediation=info,server=info");
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("watchfire")).with_location(false).with_threads(false);
        layer.with_filter(own.and(filter_fn(|one| one.is_span() || one.level() <= &tracing::Level::WARN)))
    });
    let colours = std::io::stderr().is_terminal();
    let logs = match config.log_format {
        LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false).boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json().boxed(),
    };
    // Spans are for traces: log lines name what they are about themselves. Without own spans none is made at all.
    let logs = logs.with_filter(filter.and(filter_fn(|one| one.is_event())));
    // A second server in one process (tests) keeps the first one's layers.
    let _ = tracing_subscriber::registry().with(spans).with(logs).try_init();
    Ok(Observing { provider, slot, own: wanted == Spans::Own })
}

fn provider(builder: TracerProviderBuilder) -> SdkTracerProvider {
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    builder.with_resource(Resource::builder().with_service_name("watchfire").with_attribute(version).build()).build()
}

fn to_endpoint(endpoint: &str) -> anyhow::Result<TracerProviderBuilder> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| format!("observe.spans: {endpoint} cannot be used as an OTLP/gRPC endpoint"))?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_own_spans_go_is_one_of_three() {
        assert_eq!(Spans::parse("off"), Ok(Spans::Off));
        assert_eq!(Spans::parse("self"), Ok(Spans::Own));
        assert_eq!(Spans::parse("http://collector:4317"), Ok(Spans::Endpoint("http://collector:4317".into())));
        for wrong in ["on", "collector:4317", "https://collector:4317", "http://"] {
            assert!(Spans::parse(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
