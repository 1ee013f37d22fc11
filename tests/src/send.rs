//! A minimal OTLP sender for load and for hand-made bad input.

use std::time::Duration;

use model::time::{Clock, SystemClock};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

/// A string attribute.
pub fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// A request of `count` server spans of a service; `errors` of them failed. Every span is distinct.
pub fn spans(service: &str, count: usize, errors: usize) -> ExportTraceServiceRequest {
    let now = SystemClock.now();
    let spans = (0..count)
        .map(|at| Span {
            trace_id: rand::random::<[u8; 16]>().to_vec(),
            span_id: rand::random::<[u8; 8]>().to_vec(),
            name: "POST /order".to_owned(),
            kind: 2,
            start_time_unix_nano: now.minus(Duration::from_millis(20)).nanos().unsigned_abs(),
            end_time_unix_nano: now.nanos().unsigned_abs(),
            status: Some(Status { code: if at < errors { 2 } else { 0 }, message: String::new() }),
            attributes: vec![attribute("http.request.method", "POST"), attribute("order", &at.to_string())],
            ..Span::default()
        })
        .collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: vec![attribute("service.name", service)], ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

/// Posts protobuf over OTLP/HTTP and gives the status, or `None` where nobody answered.
pub async fn post(client: &reqwest::Client, url: &str, request: &ExportTraceServiceRequest) -> Option<u16> {
    let request = client.post(url).header("content-type", "application/x-protobuf").body(request.encode_to_vec());
    request.send().await.ok().map(|answer| answer.status().as_u16())
}
