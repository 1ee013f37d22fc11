//! OTLP's JSON, as lenient as the protobuf JSON mapping asks: enums as numbers or names, 64-bit integers as strings or numbers,
//! `null` as the default, unknown fields ignored; ids in hex, bytes in base64. In: JSON text. Out: the protobuf messages. Fails:
//! with line and column.

mod metrics;
mod scalar;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::resource::v1 as resource;
use opentelemetry_proto::tonic::trace::v1 as trace;
use serde::Deserialize;

pub(crate) use metrics::MetricsRequest;
use scalar::{Base64, Enum, Flag, Float, Hex, Int, List, Text, Word};

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct AnyValue {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<Int>,
    double_value: Option<Float>,
    array_value: Option<Values<AnyValue>>,
    kvlist_value: Option<Values<KeyValue>>,
    bytes_value: Option<Base64>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Values<T> {
    values: List<T>,
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Values { values: List::default() }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct KeyValue {
    key: Text,
    value: Option<AnyValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resource {
    attributes: List<KeyValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Scope {
    name: Text,
    version: Text,
    attributes: List<KeyValue>,
}

impl From<AnyValue> for common::AnyValue {
    fn from(any: AnyValue) -> Self {
        let value = any
            .string_value
            .map(Value::StringValue)
            .or(any.bool_value.map(Value::BoolValue))
            .or(any.int_value.map(|value| Value::IntValue(value.0)))
            .or(any.double_value.map(|value| Value::DoubleValue(value.0)))
            .or(any.array_value.map(|list| Value::ArrayValue(common::ArrayValue { values: list.values.into() })))
            .or(any.kvlist_value.map(|list| Value::KvlistValue(common::KeyValueList { values: list.values.into() })))
            .or(any.bytes_value.map(|bytes| Value::BytesValue(bytes.0)));
        common::AnyValue { value }
    }
}

impl From<KeyValue> for common::KeyValue {
    fn from(pair: KeyValue) -> Self {
        common::KeyValue { key: pair.key.0, value: pair.value.map(Into::into), ..Default::default() }
    }
}

impl From<Resource> for resource::Resource {
    fn from(from: Resource) -> Self {
        resource::Resource { attributes: from.attributes.into(), ..Default::default() }
    }
}

impl From<Scope> for common::InstrumentationScope {
    fn from(from: Scope) -> Self {
        common::InstrumentationScope {
            name: from.name.0,
            version: from.version.0,
            attributes: from.attributes.into(),
            ..Default::default()
        }
    }
}

/// `ExportTraceServiceRequest`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct TracesRequest {
    resource_spans: List<ResourceSpans>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ResourceSpans {
    resource: Option<Resource>,
    scope_spans: List<ScopeSpans>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ScopeSpans {
    scope: Option<Scope>,
    spans: List<Span>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Span {
    trace_id: Hex,
    span_id: Hex,
    trace_state: Text,
    parent_span_id: Hex,
    flags: Word,
    name: Text,
    kind: Enum<SpanKind>,
    start_time_unix_nano: Int<u64>,
    end_time_unix_nano: Int<u64>,
    attributes: List<KeyValue>,
    events: List<Event>,
    links: List<Link>,
    status: Option<Status>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Event {
    time_unix_nano: Int<u64>,
    name: Text,
    attributes: List<KeyValue>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Link {
    trace_id: Hex,
    span_id: Hex,
    trace_state: Text,
    attributes: List<KeyValue>,
    flags: Word,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    message: Text,
    code: Enum<StatusCode>,
}

/// Names of `SpanKind`.
struct SpanKind;
impl scalar::Names for SpanKind {
    fn number(name: &str) -> Option<i32> {
        trace::span::SpanKind::from_str_name(name).map(i32::from)
    }
}

/// Names of `StatusCode`.
struct StatusCode;
impl scalar::Names for StatusCode {
    fn number(name: &str) -> Option<i32> {
        trace::status::StatusCode::from_str_name(name).map(i32::from)
    }
}

/// Names of `SeverityNumber`.
struct Severity;
impl scalar::Names for Severity {
    fn number(name: &str) -> Option<i32> {
        logs::SeverityNumber::from_str_name(name).map(i32::from)
    }
}

impl From<TracesRequest> for ExportTraceServiceRequest {
    fn from(from: TracesRequest) -> Self {
        ExportTraceServiceRequest { resource_spans: from.resource_spans.into() }
    }
}

impl From<ResourceSpans> for trace::ResourceSpans {
    fn from(from: ResourceSpans) -> Self {
        trace::ResourceSpans { resource: from.resource.map(Into::into), scope_spans: from.scope_spans.into(), ..Default::default() }
    }
}

impl From<ScopeSpans> for trace::ScopeSpans {
    fn from(from: ScopeSpans) -> Self {
        trace::ScopeSpans { scope: from.scope.map(Into::into), spans: from.spans.into(), ..Default::default() }
    }
}

impl From<Span> for trace::Span {
    fn from(from: Span) -> Self {
        trace::Span {
            trace_id: from.trace_id.0,
            span_id: from.span_id.0,
            trace_state: from.trace_state.0,
            parent_span_id: from.parent_span_id.0,
            flags: from.flags.0,
            name: from.name.0,
            kind: from.kind.0,
            start_time_unix_nano: from.start_time_unix_nano.0,
            end_time_unix_nano: from.end_time_unix_nano.0,
            attributes: from.attributes.into(),
            events: from.events.into(),
            links: from.links.into(),
            status: from.status.map(|status| trace::Status { message: status.message.0, code: status.code.0 }),
            ..Default::default()
        }
    }
}

impl From<Event> for trace::span::Event {
    fn from(from: Event) -> Self {
        trace::span::Event {
            time_unix_nano: from.time_unix_nano.0,
            name: from.name.0,
            attributes: from.attributes.into(),
            ..Default::default()
        }
    }
}

impl From<Link> for trace::span::Link {
    fn from(from: Link) -> Self {
        trace::span::Link {
            trace_id: from.trace_id.0,
            span_id: from.span_id.0,
            trace_state: from.trace_state.0,
            attributes: from.attributes.into(),
            flags: from.flags.0,
            ..Default::default()
        }
    }
}

/// `ExportLogsServiceRequest`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct LogsRequest {
    resource_logs: List<ResourceLogs>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ResourceLogs {
    resource: Option<Resource>,
    scope_logs: List<ScopeLogs>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ScopeLogs {
    scope: Option<Scope>,
    log_records: List<LogRecord>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct LogRecord {
    time_unix_nano: Int<u64>,
    observed_time_unix_nano: Int<u64>,
    severity_number: Enum<Severity>,
    severity_text: Text,
    body: Option<AnyValue>,
    attributes: List<KeyValue>,
    flags: Word,
    trace_id: Hex,
    span_id: Hex,
    event_name: Text,
}

impl From<LogsRequest> for ExportLogsServiceRequest {
    fn from(from: LogsRequest) -> Self {
        ExportLogsServiceRequest { resource_logs: from.resource_logs.into() }
    }
}

impl From<ResourceLogs> for logs::ResourceLogs {
    fn from(from: ResourceLogs) -> Self {
        logs::ResourceLogs { resource: from.resource.map(Into::into), scope_logs: from.scope_logs.into(), ..Default::default() }
    }
}

impl From<ScopeLogs> for logs::ScopeLogs {
    fn from(from: ScopeLogs) -> Self {
        logs::ScopeLogs { scope: from.scope.map(Into::into), log_records: from.log_records.into(), ..Default::default() }
    }
}

impl From<LogRecord> for logs::LogRecord {
    fn from(from: LogRecord) -> Self {
        logs::LogRecord {
            time_unix_nano: from.time_unix_nano.0,
            observed_time_unix_nano: from.observed_time_unix_nano.0,
            severity_number: from.severity_number.0,
            severity_text: from.severity_text.0,
            body: from.body.map(Into::into),
            attributes: from.attributes.into(),
            flags: from.flags.0,
            trace_id: from.trace_id.0,
            span_id: from.span_id.0,
            event_name: from.event_name.0,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests;
