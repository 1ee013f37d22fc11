//! OTLP's JSON, as lenient as the protobuf JSON mapping asks: enums as numbers or names, 64-bit integers as strings or numbers,
//! `null` as the default, unknown fields ignored; ids in hex, bytes in base64. In: JSON text. Out: records. Fails: with line and column.

mod metrics;
mod scalar;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::{logs::v1 as logs, trace::v1 as trace};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::DecodeError;
use crate::record;
use crate::rows::Builder;
pub(crate) use metrics::metrics;
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

/// The values of a list or a map: `{"values": [...]}`, or the bare list that the specification's own example of events has.
struct Values<T> {
    values: List<T>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Values<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Shapes<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Shapes<T> {
            type Value = Values<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with `values`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut values = List::default();
                while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
                    match &*name {
                        "values" => values = fields.next_value()?,
                        _ => drop(fields.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Values { values })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
                Ok(Values { values: List::deserialize(SeqAccessDeserializer::new(items))? })
            }
        }
        from.deserialize_any(Shapes(PhantomData))
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct KeyValue {
    key: Text,
    value: Option<AnyValue>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Resource {
    attributes: List<KeyValue>,
    dropped_attributes_count: Word,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Scope {
    name: Text,
    version: Text,
    attributes: List<KeyValue>,
    dropped_attributes_count: Word,
}

impl From<AnyValue> for record::Value<'static> {
    fn from(any: AnyValue) -> Self {
        let text = |text| record::Value::Text(Cow::Owned(text));
        if any.array_value.is_some() || any.kvlist_value.is_some() {
            return text(serde_json::to_string(&any).unwrap_or_default());
        }
        any.string_value
            .map(text)
            .or(any.bool_value.map(record::Value::Bool))
            .or(any.int_value.map(|value| record::Value::Int(value.0)))
            .or(any.double_value.map(|value| record::Value::Double(value.0)))
            .or(any.bytes_value.map(|bytes| text(STANDARD.encode(bytes.0))))
            .unwrap_or_default()
    }
}

/// As plain JSON: numbers that JSON cannot say and bytes are strings, no value is null.
impl Serialize for AnyValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            AnyValue { string_value: Some(text), .. } => serializer.serialize_str(text),
            AnyValue { bool_value: Some(flag), .. } => serializer.serialize_bool(*flag),
            AnyValue { int_value: Some(number), .. } => serializer.serialize_i64(number.0),
            AnyValue { double_value: Some(number), .. } if number.0.is_finite() => serializer.serialize_f64(number.0),
            AnyValue { double_value: Some(number), .. } => serializer.collect_str(&number.0),
            AnyValue { bytes_value: Some(bytes), .. } => serializer.serialize_str(&STANDARD.encode(&bytes.0)),
            AnyValue { array_value: Some(list), .. } => {
                let mut items = serializer.serialize_seq(Some(list.values.0.len()))?;
                list.values.0.iter().try_for_each(|item| items.serialize_element(item))?;
                items.end()
            }
            AnyValue { kvlist_value: Some(list), .. } => {
                let mut items = serializer.serialize_map(Some(list.values.0.len()))?;
                list.values.0.iter().try_for_each(|pair| items.serialize_entry(&pair.key.0, &pair.value))?;
                items.end()
            }
            AnyValue { .. } => serializer.serialize_unit(),
        }
    }
}

impl From<KeyValue> for record::Attribute<'static> {
    fn from(pair: KeyValue) -> Self {
        record::Attribute { key: Cow::Owned(pair.key.0), value: pair.value.map(Into::into).unwrap_or_default() }
    }
}

impl From<List<KeyValue>> for record::Attributes<'static> {
    fn from(list: List<KeyValue>) -> Self {
        Vec::from(list).into()
    }
}

impl Resource {
    fn record(self, schema_url: Text) -> record::Resource<'static> {
        record::Resource { attributes: self.attributes.into(), dropped: self.dropped_attributes_count.0, schema_url: schema_url.into() }
    }
}

impl Scope {
    fn record(self, schema_url: Text) -> record::Scope<'static> {
        record::Scope {
            name: self.name.into(),
            version: self.version.into(),
            attributes: self.attributes.into(),
            dropped: self.dropped_attributes_count.0,
            schema_url: schema_url.into(),
        }
    }
}

fn id(hex: Hex) -> Cow<'static, [u8]> {
    Cow::Owned(hex.0)
}

/// `ExportTraceServiceRequest`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct TracesRequest {
    resource_spans: List<ResourceSpans>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ResourceSpans {
    resource: Option<Resource>,
    scope_spans: List<ScopeSpans>,
    schema_url: Text,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ScopeSpans {
    scope: Option<Scope>,
    spans: List<Span>,
    schema_url: Text,
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
    dropped_attributes_count: Word,
    events: List<Event>,
    dropped_events_count: Word,
    links: List<Link>,
    dropped_links_count: Word,
    status: Option<Status>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Event {
    time_unix_nano: Int<u64>,
    name: Text,
    attributes: List<KeyValue>,
    dropped_attributes_count: Word,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Link {
    trace_id: Hex,
    span_id: Hex,
    trace_state: Text,
    attributes: List<KeyValue>,
    dropped_attributes_count: Word,
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

impl From<Span> for record::Span<'static> {
    fn from(from: Span) -> Self {
        let status = from.status.unwrap_or_default();
        record::Span {
            trace_id: id(from.trace_id),
            span_id: id(from.span_id),
            parent_span_id: id(from.parent_span_id),
            trace_state: from.trace_state.into(),
            flags: from.flags.0,
            name: from.name.into(),
            kind: from.kind.0,
            start: from.start_time_unix_nano.0,
            end: from.end_time_unix_nano.0,
            attributes: from.attributes.into(),
            dropped_attributes: from.dropped_attributes_count.0,
            events: from.events.into(),
            dropped_events: from.dropped_events_count.0,
            links: from.links.into(),
            dropped_links: from.dropped_links_count.0,
            status: status.code.0,
            status_message: status.message.into(),
            ..record::Span::default()
        }
    }
}

impl From<Event> for record::Event<'static> {
    fn from(from: Event) -> Self {
        record::Event {
            time: from.time_unix_nano.0,
            name: from.name.into(),
            attributes: from.attributes.into(),
            dropped: from.dropped_attributes_count.0,
        }
    }
}

impl From<Link> for record::Link<'static> {
    fn from(from: Link) -> Self {
        record::Link {
            trace_id: id(from.trace_id),
            span_id: id(from.span_id),
            trace_state: from.trace_state.into(),
            attributes: from.attributes.into(),
            dropped: from.dropped_attributes_count.0,
        }
    }
}

/// Reads a traces request into the builder's rows.
pub(crate) fn traces(body: &[u8], to: &mut Builder<'_, '_>) -> Result<(), DecodeError> {
    for of_resource in parse::<TracesRequest>(body)?.resource_spans.0 {
        to.enter_resource(of_resource.resource.unwrap_or_default().record(of_resource.schema_url));
        for of_scope in of_resource.scope_spans.0 {
            to.enter_scope(of_scope.scope.unwrap_or_default().record(of_scope.schema_url));
            for span in of_scope.spans.0 {
                to.span(&mut span.into())?;
            }
        }
    }
    Ok(())
}

/// Reads a logs request into the builder's rows.
pub(crate) fn logs(body: &[u8], to: &mut Builder<'_, '_>) -> Result<(), DecodeError> {
    for of_resource in parse::<LogsRequest>(body)?.resource_logs.0 {
        to.enter_resource(of_resource.resource.unwrap_or_default().record(of_resource.schema_url));
        for of_scope in of_resource.scope_logs.0 {
            to.enter_scope(of_scope.scope.unwrap_or_default().record(of_scope.schema_url));
            for record in of_scope.log_records.0 {
                to.log(&mut record.into())?;
            }
        }
    }
    Ok(())
}

/// A request is an object; a list would be read as its fields in order.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    let text = std::str::from_utf8(body)?;
    if text.trim_ascii_start().starts_with('[') {
        return Err(DecodeError::Json(serde::de::Error::custom("expected an object, found a list")));
    }
    Ok(serde_json::from_str(text)?)
}

/// `ExportLogsServiceRequest`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct LogsRequest {
    resource_logs: List<ResourceLogs>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ResourceLogs {
    resource: Option<Resource>,
    scope_logs: List<ScopeLogs>,
    schema_url: Text,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ScopeLogs {
    scope: Option<Scope>,
    log_records: List<LogRecord>,
    schema_url: Text,
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
    dropped_attributes_count: Word,
    flags: Word,
    trace_id: Hex,
    span_id: Hex,
    event_name: Text,
}

impl From<LogRecord> for record::LogRecord<'static> {
    fn from(from: LogRecord) -> Self {
        record::LogRecord {
            time: from.time_unix_nano.0,
            observed: from.observed_time_unix_nano.0,
            severity: from.severity_number.0,
            severity_text: from.severity_text.into(),
            body: from.body.map(Into::into).unwrap_or_default(),
            attributes: from.attributes.into(),
            dropped_attributes: from.dropped_attributes_count.0,
            flags: from.flags.0,
            trace_id: id(from.trace_id),
            span_id: id(from.span_id),
            event_name: from.event_name.into(),
        }
    }
}

#[cfg(test)]
mod tests;
