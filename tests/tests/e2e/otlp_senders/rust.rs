//! Everything that OTLP can say and the Rust SDK can send: one span, one log record and one metric of every shape, and twenty plain
//! spans. Packed with zstd, which no other sender does.

use std::collections::HashMap;
use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Array, Context, InstrumentationScope, Key, KeyValue, Value};
use opentelemetry_otlp::{
    Compression, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream, Temporality};
use opentelemetry_sdk::trace::SdkTracerProvider;

/// Where to send, and as whom.
pub(super) struct To {
    pub(super) grpc: bool,
    pub(super) endpoint: String,
    pub(super) key: String,
    pub(super) service: &'static str,
    pub(super) temporality: Temporality,
}

impl To {
    fn headers(&self) -> HashMap<String, String> {
        [("authorization".to_owned(), format!("Bearer {}", self.key))].into()
    }
    fn metadata(&self) -> tonic::metadata::MetadataMap {
        let mut metadata = tonic::metadata::MetadataMap::new();
        metadata.insert("authorization", format!("Bearer {}", self.key).parse().unwrap());
        metadata
    }
    fn resource(&self) -> Resource {
        let list = [
            KeyValue::new("service.name", self.service),
            KeyValue::new("service.instance.id", "one"),
            KeyValue::new("host.ports", Value::Array(Array::I64(vec![80, 443]))),
            KeyValue::new("host.ready", true),
            KeyValue::new("host.load", 0.5),
            KeyValue::new("host.cpus", 4),
        ];
        Resource::builder_empty().with_attributes(list).build()
    }
    fn spans(&self) -> SdkTracerProvider {
        let exporter = if self.grpc {
            let tonic = SpanExporter::builder().with_tonic().with_endpoint(&self.endpoint).with_metadata(self.metadata());
            tonic.with_compression(Compression::Zstd).build()
        } else {
            let http = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
            http.with_endpoint(format!("{}/v1/traces", self.endpoint))
                .with_headers(self.headers())
                .with_compression(Compression::Zstd)
                .build()
        };
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter.unwrap()).with_resource(self.resource());
        let provider = provider.with_max_attributes_per_span(9).with_max_events_per_span(2).with_max_links_per_span(1);
        provider.with_max_attributes_per_event(2).with_max_attributes_per_link(1).build()
    }
    fn logs(&self) -> SdkLoggerProvider {
        let exporter = if self.grpc {
            let tonic = LogExporter::builder().with_tonic().with_endpoint(&self.endpoint).with_metadata(self.metadata());
            tonic.with_compression(Compression::Zstd).build()
        } else {
            let http = LogExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
            http.with_endpoint(format!("{}/v1/logs", self.endpoint))
                .with_headers(self.headers())
                .with_compression(Compression::Zstd)
                .build()
        };
        SdkLoggerProvider::builder().with_batch_exporter(exporter.unwrap()).with_resource(self.resource()).build()
    }
    fn metrics(&self) -> SdkMeterProvider {
        let builder = MetricExporter::builder().with_temporality(self.temporality);
        let exporter = if self.grpc {
            let tonic = builder.with_tonic().with_endpoint(&self.endpoint).with_metadata(self.metadata());
            tonic.with_compression(Compression::Zstd).build()
        } else {
            let http = builder.with_http().with_protocol(Protocol::HttpBinary);
            http.with_endpoint(format!("{}/v1/metrics", self.endpoint))
                .with_headers(self.headers())
                .with_compression(Compression::Zstd)
                .build()
        };
        let exponential = |instrument: &Instrument| {
            let aggregation = Aggregation::Base2ExponentialHistogram { max_size: 160, max_scale: 20, record_min_max: true };
            (instrument.name() == "reply.size").then(|| Stream::builder().with_aggregation(aggregation).build().unwrap())
        };
        let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.unwrap()).with_resource(self.resource());
        provider.with_view(exponential).build()
    }
}

fn remote(first: &str, state: (&str, &str)) -> SpanContext {
    let trace_id = TraceId::from_hex(&format!("{first}af7651916cd43dd8448eb211c80319c")).unwrap();
    let span_id = SpanId::from_hex(if first == "0" { "b7ad6b7169203331" } else { "c7ad6b7169203331" }).unwrap();
    SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, TraceState::from_key_value([state]).unwrap())
}

fn list<T>(values: Vec<T>) -> Value
where
    Array: From<Vec<T>>,
{
    Value::Array(values.into())
}

/// Sends all of it and returns when it is sent. Blocking.
pub(super) fn send(to: &To) {
    let (spans, logs, metrics) = (to.spans(), to.logs(), to.metrics());
    let context = send_spans(&spans);
    send_logs(&logs, &context);
    send_metrics(&metrics);
    spans.shutdown().unwrap();
    logs.shutdown().unwrap();
    metrics.shutdown().unwrap();
}

fn send_spans(provider: &SdkTracerProvider) -> SpanContext {
    let scope = InstrumentationScope::builder("senders").with_version("1.2").with_attributes([KeyValue::new("scope.kind", "test")]).build();
    let tracer = provider.tracer_with_scope(scope);
    for at in 0..20 {
        tracer.start_with_context(format!("plain {at}"), &Context::new()).end();
    }
    let attributes = [
        KeyValue::new("text", "é \"quoted\" \\ '\n"),
        KeyValue::new("flag", true),
        KeyValue::new("number", -7),
        KeyValue::new("float", 2.5),
        KeyValue::new("texts", Value::Array(Array::String(vec!["a".into(), "b".into()]))),
        KeyValue::new("flags", list(vec![true, false])),
        KeyValue::new("numbers", list(vec![1i64, -2])),
        KeyValue::new("floats", list(vec![0.5, 1.5])),
        KeyValue::new("last", "kept"),
    ];
    let other = remote("1", ("linked", "two"));
    let span = tracer.span_builder("everything").with_kind(SpanKind::Client).with_attributes(attributes);
    let links = vec![
        Link::new(other.clone(), vec![KeyValue::new("reason", "batch"), KeyValue::new("dropped.last", 1)], 0),
        Link::new(other, Vec::new(), 0),
    ];
    let parent = Context::new().with_remote_span_context(remote("0", ("vendor", "one")));
    let mut span = span.with_links(links).start_with_context(&tracer, &parent);
    span.set_attribute(KeyValue::new("dropped.last", 1));
    span.add_event("retry", vec![KeyValue::new("attempt", 1)]);
    let hosts = Value::Array(Array::String(vec!["x".into(), "y".into()]));
    span.add_event("retry", vec![KeyValue::new("attempt", 2), KeyValue::new("hosts", hosts), KeyValue::new("dropped.last", 1)]);
    span.add_event("dropped", vec![KeyValue::new("n", 1)]);
    span.set_status(Status::error("declined"));
    span.end();
    span.span_context().clone()
}

fn map<const N: usize>(pairs: [(&'static str, AnyValue); N]) -> AnyValue {
    AnyValue::Map(Box::new(pairs.into_iter().map(|(key, value)| (Key::new(key), value)).collect()))
}

fn any_list(values: Vec<AnyValue>) -> AnyValue {
    AnyValue::ListAny(Box::new(values))
}

fn nested() -> AnyValue {
    map([
        ("text", "x".into()),
        ("list", any_list(vec![1.into(), "two".into(), map([("three", 3.5.into())])])),
        ("flag", false.into()),
        ("bytes", AnyValue::Bytes(Box::new(vec![0, 255]))),
    ])
}

fn send_logs(provider: &SdkLoggerProvider, context: &SpanContext) {
    let logger = provider.logger_with_scope(InstrumentationScope::builder("senders").with_version("1.2").build());
    let bodies = [
        "plain text".into(),
        17.into(),
        2.5.into(),
        true.into(),
        AnyValue::Bytes(Box::new(vec![0, 1, 255])),
        any_list(vec!["a".into(), 1.into(), any_list(vec![true.into()])]),
        nested(),
    ];
    for (at, body) in (0i64..).zip(bodies) {
        let mut record = logger.create_log_record();
        record.set_timestamp(SystemTime::now());
        record.set_severity_number(Severity::Warn2);
        record.set_severity_text("WARN2");
        record.set_body(body);
        record.add_attribute("at", at);
        if at == 0 {
            record.set_event_name("order.placed");
            record.add_attribute("nested", nested());
        }
        record.set_trace_context(context.trace_id(), context.span_id(), Some(context.trace_flags()));
        logger.emit(record);
    }
}

fn send_metrics(provider: &SdkMeterProvider) {
    let meter = provider.meter_with_scope(InstrumentationScope::builder("senders").with_version("1.2").build());
    let labels = [KeyValue::new("outcome", "ok"), KeyValue::new("retried", false), KeyValue::new("code", 200)];
    meter.u64_counter("orders").with_unit("1").with_description("Orders by outcome.").build().add(3, &labels);
    meter.i64_up_down_counter("queue.depth").build().add(-2, &[]);
    let latency = meter.f64_histogram("latency").with_unit("s").with_description("Latency.").with_boundaries(vec![0.25, 1.0]).build();
    latency.record(0.1, &[KeyValue::new("route", "/pay")]);
    latency.record(2.5, &[KeyValue::new("route", "/pay")]);
    let size = meter.u64_histogram("reply.size").with_unit("By").build();
    [1, 2, 4, 8, 0].into_iter().for_each(|value| size.record(value, &[]));
    meter.i64_gauge("workers").build().record(7, &[]);
    let observe = |gauge: &dyn opentelemetry::metrics::AsyncInstrument<f64>| gauge.observe(21.5, &[KeyValue::new("room", "küche")]);
    meter.f64_observable_gauge("temperature").with_unit("Cel").with_callback(observe).build();
}
